//! Verifies attestation evidence: bytes in, typed verdict out.
