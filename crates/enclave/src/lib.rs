//! The attested inference server that runs inside the TEE: `casemate serve`.
//!
//! [`serve`] is the boot as numbered steps. `unsafe` is allowed in the modules `hardening`, `locked`, `confined::lockdown`,
//! `doctor::kernel`, `attester::{nsm, sev_guest, tdx_guest}::device`, `gpu::nscq` and `transport::registered` only, each block with its
//! justification (ARCHITECTURE.md).

pub mod api;
mod attestation;
mod attester;
mod boot;
mod budget;
mod clock;
mod composite;
mod config;
pub mod confined;
pub mod doctor;
mod endorsed;
mod gpu;
#[allow(unsafe_code)]
mod hardening;
pub mod kms;
#[allow(unsafe_code)]
mod locked;
mod operator;
mod owner;
mod receipts;
mod release;
mod sealed;
mod staple;
mod tenants;
mod tls;
mod transport;
pub mod upstream;
mod vtpm;
mod weights;

pub use attestation::{AttestationError, AttestationService};
pub use attester::{
    Attester, AttesterError, AzureError, AzureReport, Brought, CertificateTableError, GceError, Hardware,
    MetadataReason, NsmError, QuoteService, RawEvidence, Roots, SevGuestError, SimulatedSnp, TdxGuestError,
    TsmError, confidential_space, detect, google_vtpm, tpm,
};
pub use boot::{BootError, Ready, broker_authorities, serve};
pub use budget::{Bound, MemoryError};
pub use clock::Clock;
pub use composite::CompositeAttester;
pub use config::{
    ConfigError, DEFAULT_PORT, EndorsementSource, GpuSource, KeySource, MachineSource, NvidiaService,
    ServeConfig, ServeSettings, TlsSource, VtpmSource, broker_path,
};
pub use gpu::{GpuAttester, GpuError, GpuPolicy, Gpus, NvmlGpus, RawGpu, SimulatedGpus};
pub use hardening::{Hardened, HardeningError, SwapRule, harden};
pub use locked::{Locked, LockedBy};
pub use operator::{Operator, OperatorError};
pub use receipts::{Answered, FolderError, ReceiptFolder, Receipts, Unsigned};
pub use release::ReleaseError;
pub use sealed::{Offered, SealedKeys, Unopened};
pub use staple::{
    EndorsementHealth, EndorsementState, RefreshError, Source, StapleError, Stapler, Staples, Step,
};
pub use tenants::{
    ApiKeyEntry, ApiKeysFile, Busy, KeysError, NewKey, Reloads, TenantEntry, TenantLimits, Tenants,
};
pub use tls::{TlsError, TlsIdentity};
pub use transport::{AddressError, BrokerPath, ListenAddress, ListenError, VsockAddress, VsockError};
pub use vtpm::{Vtpm, VtpmError, vtpm_evidence};
pub use weights::WeightsError;
