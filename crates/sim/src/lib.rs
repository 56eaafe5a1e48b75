//! Software silicon vendors: structurally real evidence under roots of their own.
//!
//! | platform | vendor | makes |
//! |---|---|---|
//! | AMD SEV-SNP | [`Vendor`] | [`Machine::report`], VCEK or VLEK, revocation list |
//! | Intel TDX | [`tdx::TdxVendor`] | [`tdx::TdxMachine::quote`], collateral |
//! | AWS Nitro Enclaves | [`nitro::NitroVendor`] | [`nitro::NitroModule::document`] |
//! | Azure, on either | [`azure::AzureVendor`] | [`azure::AzureMachine::evidence`], the certificate of the TPM's key |
//! | NVIDIA GPUs | [`nvidia::NvidiaVendor`] | [`nvidia::Gpu::report`], manifests, answers about revocation |
//!
//! [`Vendor::create`] makes what AMD's key distribution service has for one product line: a root key (ARK),
//! the two intermediate keys (ASK for chips, ASVK for cloud providers) and a certificate revocation list.
//! [`Vendor::machine`] makes a machine with an endorsed signing key (VCEK or VLEK), and [`Machine::report`]
//! signs attestation reports of every version in use, byte for byte in the layout that the firmware writes. The other
//! vendors do the same in their places. [`EventLog`] writes the log of what a machine measured.
//!
//! # Why it exists
//!
//! Fake hardware must not be a branch in the verifier. With this crate the whole path (parsing, certificate
//! chain, revocation, report signature, TCB, policy, binding) runs on every developer's machine and in every
//! test exactly as it runs in production; the single difference is which root certificate was given to it.
//! It also makes the evidence that no real machine will: one mistake at a time, correctly signed
//! ([`CertificateMistake`], [`AuthorityMistake`], [`CrlMistake`], [`Machine::sign`], and the `mistake` enums of the other
//! vendors).
//!
//! # Production verifiers never accept it
//!
//! The names follow the vendors' schemes (`ARK-Genoa`, `SEV-VCEK`, `Intel SGX Root CA` …) because a verifier checks them, but
//! the keys are made here and the vendors' roots are pinned by key, so nothing made here verifies under them. For a
//! person who reads a certificate, every name carries an organization such as [`ORGANIZATION`]. A verifier trusts a
//! simulated root only where someone named that root, and then reports itself as simulated.
//!
//! # Independence
//!
//! The encoders (of reports, quotes, documents, logs), AMD's certificates (`certificate.rs`) and the DER and CBOR writers
//! share no code with `casemate_attest`: two implementations of the same published layouts check each other. Certificates of the
//! other vendors are a library's.
//!
//! This crate draws randomness from the operating system. It does file I/O in the vendors' `save` and `load` and in
//! [`Platform::of`] only, reads a stream in [`launch_digest_reader`] only, and never asks the time.

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
pub mod azure;
mod certificate;
mod certifier;
mod error;
mod eventlog;
mod files;
mod folder;
mod keys;
mod launch;
mod line;
mod machine;
mod mistakes;
pub mod nitro;
pub mod nvidia;
mod platform;
mod report;
mod store;
pub mod tdx;
mod vendor;

pub use error::SimError;
pub use eventlog::{EV_EVENT_TAG, EV_IPL, EV_SEPARATOR, EventLog};
pub use launch::{launch_digest, launch_digest_at, launch_digest_reader};
pub use machine::{Machine, MachineConfig, Signer};
pub use mistakes::{AuthorityMistake, CertificateMistake, CrlMistake, PssParameters, VekExtension};
pub use platform::Platform;
pub use report::{Cpuid, FirmwareVersion, REPORT_BYTES, SIGNED_BYTES, Tcb};
pub use vendor::{CSP_ID, Vendor};

/// A certificate in PEM (RFC 7468).
pub fn certificate_pem(der: &[u8]) -> String {
    vendor::pem("CERTIFICATE", der)
}

/// The organization in every simulated certificate name, where AMD's say "Advanced Micro Devices".
pub const ORGANIZATION: &str = "SIMULATED - not AMD";
