//! Where evidence comes from (spec/attesters.md).
//!
//! The trait is small on purpose: a platform makes evidence for 64 bytes and hands over the endorsements that the machine
//! itself brought. [`detect`] chooses by what the machine offers; the simulated machine stands behind the same trait, with
//! a root of its own (invariant 4), and only where a person named it.

mod azure;
pub mod confidential_space;
mod detect;
mod echo;
mod error;
pub(crate) mod gce;
mod hardware;
mod nsm;
mod patience;
mod sev_guest;
mod simulated;
mod tdx_guest;
pub mod tpm;
mod tsm;

use casemate_attest::{Platform, TrustAnchors};

pub use azure::{AzureError, AzureReport, MetadataReason};
pub use detect::{Roots, detect};
pub(crate) use detect::{Shown, Tried, shown};
pub use error::AttesterError;
pub use gce::{GceError, google_vtpm};
pub use hardware::Hardware;
pub(crate) use hardware::within;
pub use nsm::NsmError;
pub use sev_guest::SevGuestError;
pub use simulated::SimulatedSnp;

pub use tdx_guest::{QuoteService, TdxGuestError};
pub(crate) use tpm::TpmError;
pub use tsm::{CertificateTableError, TsmError};

/// Evidence for one set of report data, with the endorsements that came from the same machine. Believed by nobody yet.
pub struct RawEvidence {
    /// Whose evidence it is.
    pub platform: Platform,
    /// The evidence, as [`casemate_attest::Evidence::parse`] reads it.
    pub evidence: Vec<u8>,
    /// What the machine brought beside it.
    pub endorsements: Brought,
}

/// Endorsements that a machine brings: from its firmware, its host or its provider's metadata service. What is `None` was
/// not brought, and must come from elsewhere.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Brought {
    /// VCEK or VLEK certificate, DER.
    pub vek: Option<Vec<u8>>,
    /// AMD's certificate revocation list, DER.
    pub crl: Option<Vec<u8>>,
    /// Certificate of a virtual TPM's attestation key, DER.
    pub ak_certificate: Option<Vec<u8>>,
}

/// A machine that makes evidence.
pub trait Attester: Send + Sync {
    /// Whose evidence it makes.
    fn platform(&self) -> Platform;

    /// Evidence that binds exactly `report_data`: as it is, or on a virtual TPM by
    /// [`casemate_protocol::statement::bound`].
    ///
    /// # Errors
    /// Everything that keeps the machine from making such evidence; there is no other evidence instead.
    fn evidence(&self, report_data: &[u8; 64]) -> Result<RawEvidence, AttesterError>;

    /// Whether this hardware is not real: a warning belongs into every output.
    fn simulated(&self) -> bool;

    /// The roots under which a verifier must find its evidence genuine: the real vendors', unless the hardware is not real.
    fn anchors(&self) -> TrustAnchors {
        TrustAnchors::vendors()
    }

    /// A document that names `public_key` as that of a recipient, for AWS KMS (ATT-22). It binds nothing else, and is no evidence for any
    /// relying party of ours.
    ///
    /// # Errors
    /// [`AttesterError::NoRecipient`] on every machine but a Nitro enclave.
    fn recipient(&self, _public_key: &[u8]) -> Result<Vec<u8>, AttesterError> {
        Err(AttesterError::NoRecipient { platform: self.platform() })
    }

    /// Lets the user `uid`:`gid` make evidence. Called as root, before privileges are dropped.
    ///
    /// # Errors
    /// Where the system refuses.
    fn hand_over(&self, _uid: u32, _gid: u32) -> Result<(), AttesterError> {
        Ok(())
    }
}

#[cfg(test)]
pub(crate) use tsm::tests::Stand;
