//! A software silicon vendor: structurally real AMD SEV-SNP evidence under a root of its own.
//!
//! [`Vendor::create`] makes what AMD's key distribution service has for one product line: a root key (ARK),
//! the two intermediate keys (ASK for chips, ASVK for cloud providers) and a certificate revocation list.
//! [`Vendor::machine`] makes a machine with an endorsed signing key (VCEK or VLEK), and [`Machine::report`]
//! signs attestation reports of every version in use, byte for byte in the layout that the firmware writes.
//!
//! # Why it exists
//!
//! Fake hardware must not be a branch in the verifier. With this crate the whole path (parsing, certificate
//! chain, revocation, report signature, TCB, policy, binding) runs on every developer's machine and in every
//! test exactly as it runs in production; the single difference is which root certificate was given to it.
//! It also makes the evidence that no real machine will: one mistake at a time, correctly signed
//! ([`CertificateMistake`], [`AuthorityMistake`], [`CrlMistake`], [`Machine::sign`]).
//!
//! # Production verifiers never accept it
//!
//! The names follow AMD's scheme (`ARK-Genoa`, `SEV-Genoa`, `SEV-VCEK` …) because a verifier checks them, but
//! the keys are made here and AMD's root keys are pinned by key, so nothing made here verifies under them. For a
//! person who reads a certificate, every name carries the organization [`ORGANIZATION`]. A verifier trusts a
//! simulated root only where someone named that root, and then reports itself as simulated.
//!
//! # Independence
//!
//! The report encoder (`report.rs`), the certificate writer (`certificate.rs`) and the DER writer (`asn1.rs`)
//! share no code with `casemate_attest`: two implementations of the same published layouts check each other.
//!
//! This crate draws randomness from the operating system. It does file I/O in [`Vendor::save`] and
//! [`Vendor::load`] only, reads a stream in [`launch_digest_reader`] only, and never asks the time.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic
)]
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::panic
    )
)]

mod asn1;
mod certificate;
mod error;
mod keys;
mod launch;
mod line;
mod machine;
mod mistakes;
mod report;
mod store;
mod vendor;

pub use error::SimError;
pub use launch::{launch_digest, launch_digest_at, launch_digest_reader};
pub use machine::{Machine, MachineConfig, Signer};
pub use mistakes::{AuthorityMistake, CertificateMistake, CrlMistake, PssParameters, VekExtension};
pub use report::{Cpuid, FirmwareVersion, REPORT_BYTES, SIGNED_BYTES, Tcb};
pub use vendor::{CSP_ID, Vendor};

/// The organization in every simulated certificate name, where AMD's say "Advanced Micro Devices".
pub const ORGANIZATION: &str = "SIMULATED - not AMD";
