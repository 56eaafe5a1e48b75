//! What two parties of Casemate must agree on, as pure functions over bytes.
//!
//! * [`statement`]: the runtime statement and how it becomes the 64 bytes of report data (spec/channel.md, CH-1 to CH-6);
//! * [`devices`]: GPUs and switches that belong to a machine (CH-9 to CH-11);
//! * [`vtpm`]: a virtual TPM beside a machine's hardware (CH-17, CH-18);
//! * [`document`]: the attestation document that a server hands to a client (CH-7);
//! * [`kbs`]: the messages of the confidential-containers Key Broker Service, RCAR 0.4.0 (spec/release.md);
//! * [`additional`]: GPUs and a virtual TPM in a key release (REL-16 to REL-20);
//! * [`jwe`]: encryption of a released key to the key that the evidence binds (RFC 7516, RFC 7518);
//! * [`sealed`]: requests and answers that only the attested machine can open (spec/sealed-channel.md);
//! * [`receipt`]: what an attested machine signs about an answer (spec/receipts.md);
//! * [`Plaintext`]: the only type that a prompt or an answer has outside the engine.
//!
//! No I/O, no clock, no randomness: time and random bytes are arguments.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::panic
    )
)]

pub mod additional;
pub mod devices;
pub mod document;
pub mod jwe;
pub mod kbs;
pub mod operator;
mod plaintext;
pub mod receipt;
mod rows;
pub mod sealed;
pub mod statement;
pub mod vtpm;

/// Which model, and which version of it, a message or a stored key speaks of (spec/sealed-model.md).
pub use casemate_seal::ModelId;
pub use plaintext::Plaintext;
