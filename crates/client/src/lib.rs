//! The verifying client: believes nothing before the evidence is checked.
