//! The attested inference server that runs inside the TEE: `casemate serve`.
//!
//! [`serve`] is the boot as numbered steps. `unsafe` is allowed in the modules `hardening`, `locked`, `confined::lockdown`
//! and `attester::nsm::device` only, each block with its justification (ARCHITECTURE.md).

pub mod api;
mod attestation;
mod attester;
mod boot;
mod config;
pub mod confined;
#[allow(unsafe_code)]
mod hardening;
#[allow(unsafe_code)]
mod locked;
mod release;
mod staple;
mod tls;
mod weights;

pub use attestation::{AttestationError, AttestationService};
pub use attester::{
    Attester, AttesterError, AzureError, Brought, CertificateTableError, Hardware, MetadataReason, NsmError,
    RawEvidence, Roots, SimulatedSnp, TsmError, detect, tpm,
};
pub use boot::{BootError, Ready, serve};
pub use config::{ConfigError, DEFAULT_PORT, MachineSource, ServeConfig, ServeSettings, TlsSource};
pub use hardening::{Hardened, HardeningError, SwapRule, harden};
pub use locked::{Locked, LockedBy};
pub use release::ReleaseError;
pub use staple::{StapleError, Staples};
pub use tls::{TlsError, TlsIdentity};
pub use weights::WeightsError;
