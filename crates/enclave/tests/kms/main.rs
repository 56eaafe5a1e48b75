//! An enclave asks a stand-in of AWS KMS for its model's key (spec/kms.md). The stand-in speaks TLS and HTTP on this machine, checks the
//! signature of the request, verifies the attestation document with the production verifier under a made-up root of Nitro's,
//! looks at PCR0 as a key policy does, and encrypts the key in a CMS envelope of the service's form.

#[path = "../../../attest/tests/nitro/vendor.rs"]
#[allow(dead_code)] // the cases of attest use more of it
mod nitro;

mod answers;
mod flow;
mod refusals;
mod site;
mod specification;
mod standin;
