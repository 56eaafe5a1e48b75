//! Verifies attestation evidence: bytes in, typed verdict out.
//!
//! ```text
//! Evidence::parse(bytes)                       -> Evidence    parsed, believed by nobody     ParseError
//! verify(&evidence, &endorsements, &anchors, now) -> Authentic   genuine hardware said this  Rejected
//! authentic.appraise(&policy, &binding)        -> Verified    ours, fresh, bound to this key Denied
//! ```
//!
//! This crate does no input or output, asks no clock and draws no random numbers: time, certificates and revocation
//! lists are arguments. `Authentic` and `Verified` can be made by nothing but the functions above. The rules are
//! numbered in `spec/attest.md` and in [`rules`]; every verdict lists each of them with its outcome.
//!
//! ```
//! use casemate_attest::{Binding, Endorsements, Evidence, Policy, Revocation, TrustAnchors, UnixTime, verify};
//!
//! # fn example(report: &[u8], vcek: Vec<u8>, crl: Vec<u8>, now: u64, expected: [u8; 64]) -> Result<(), Box<dyn std::error::Error>> {
//! let evidence = Evidence::parse(report)?;
//! let endorsements = Endorsements::snp(vcek, Revocation::Crl(crl));
//! let authentic = verify(&evidence, &endorsements, &TrustAnchors::amd(), UnixTime(now))?;
//!
//! let policy = Policy::strict_for_measurement([0x32; 48]);
//! let verified = authentic.appraise(&policy, &Binding::report_data(expected))?;
//! assert!(!verified.simulated());
//! # Ok(()) }
//! # assert!(example(&[], vec![], vec![], 0, [0; 64]).is_err());
//! ```

#![forbid(unsafe_code)]
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

mod anchors;
pub mod azure;
pub mod bundle;
mod chain;
mod checks;
mod claims;
mod crypto;
mod der;
pub mod endorse;
mod endorsements;
pub mod eventlog;
mod evidence;
pub mod gce;
pub mod json;
pub mod nitro;
pub mod nvidia;
mod ocsp;
mod policy;
mod report;
pub mod rules;
pub mod snp;
pub mod tdx;
mod time;
pub mod token;
pub mod tpm;
mod verdict;
mod x509;

pub use anchors::{AnchorError, AnchorRole, TrustAnchors};
pub use chain::{ChainError, CrlError, Role};
pub use checks::{Check, Outcome};
pub use claims::Claims;
pub use crypto::IssuerCache;
pub use endorsements::{Endorsements, Revocation};
pub use evidence::{Evidence, ParseError, Platform};
pub use ocsp::{OcspError, OcspNonce, OcspResponse};
pub use policy::{Danger, Expected, PlatformPolicy, Policy, PolicyError};
pub use report::{Report, SCHEMA, Verdict};
pub use rules::Rule;
pub use snp::RejectionKind;
pub use time::UnixTime;
pub use verdict::{Authentic, Binding, Denial, Denied, Rejected, Rejection, Verified, verify};
pub use x509::CertificateError;
