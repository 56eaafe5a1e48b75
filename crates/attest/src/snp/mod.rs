//! AMD SEV-SNP (spec/attest.md §2 to §6).

mod appraise;
mod bits;
mod claims;
mod deny;
mod genuine;
mod policy;
mod product;
mod reject;
mod report;
mod tcb;
mod vek;

pub use bits::{
    GuestPermission, GuestPolicy, GuestProtection, INFORMATIONAL_PLATFORM_BITS, InformationalBit, KeyInfo,
    PlatformInfo, PlatformProtection, PlatformWeakness, Signer,
};
pub use claims::{Identity, SnpClaims};
pub use deny::{Field, Moment, SnpDenial, WhichTcb};
pub use policy::{Abi, Floor, HostTrustPolicy, MinimumTcb, SnpPolicy};
pub use product::{Cpuid, HostTrust, ProductLine};
pub use reject::{RejectionKind, SnpRejection};
pub use report::{
    FirmwareVersion, HOST_REQUESTED_VMPL, REPORT_LEN, Report, ReportError, SIGNED_LEN, Version,
};
pub use tcb::{Component, RawTcb, Tcb};

pub(crate) use appraise::appraise;
#[cfg(test)]
pub(crate) use appraise::tests::accepted;
pub(crate) use genuine::{Genuine, verify};
