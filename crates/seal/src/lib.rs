//! The sealed-model format: encrypted weights and a signed manifest.
