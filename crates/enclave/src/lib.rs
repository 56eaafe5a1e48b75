//! The attested inference server that runs inside the TEE.
