//! Why a genuine report is not ours.

use core::fmt;

use thiserror::Error;

use super::bits::{GuestPermission, GuestProtection, PlatformProtection, PlatformWeakness};
use super::policy::Abi;
use super::product::ProductLine;
use super::report::{FirmwareVersion, Version};
use super::tcb::{Component, Tcb};

/// Why a genuine SEV-SNP report is denied by a policy: rules SNP-12 to SNP-30.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SnpDenial {
    /// The report is older than the policy accepts.
    #[error("report version {} is below the minimum {}", found.number(), minimum.number())]
    VersionBelowMinimum {
        /// VERSION.
        found: Version,
        /// By policy.
        minimum: Version,
    },
    /// Host software can forge reports of this line, and the policy does not trust the host.
    #[error("{line} is provider-trusted: {}; the policy demands host-untrusted", line.host_trust_reason())]
    ProviderTrusted {
        /// Product line.
        line: ProductLine,
    },
    /// The host may debug the guest.
    #[error("the guest policy permits debugging by the host")]
    Debug,
    /// A migration agent may move the guest.
    #[error("the guest policy permits a migration agent")]
    MigrationAgent,
    /// The guest policy accepts older firmware interfaces.
    #[error("the guest policy demands firmware ABI {found}, below the minimum {minimum}")]
    AbiBelowMinimum {
        /// In the guest policy.
        found: Abi,
        /// By policy.
        minimum: Abi,
    },
    /// The guest policy permits something.
    #[error("the guest policy permits {}", permission.as_str())]
    GuestPermits {
        /// What.
        permission: GuestPermission,
    },
    /// The guest policy does not demand something.
    #[error("the guest policy does not demand {}", protection.as_str())]
    GuestDoesNotDemand {
        /// What.
        protection: GuestProtection,
    },
    /// The host asked for the report and chose its report data.
    #[error("the host asked for the report, not the guest")]
    HostRequested,
    /// Another privilege level.
    #[error("the report was asked for at VMPL {found}")]
    VmplNotAccepted {
        /// VMPL.
        found: u32,
    },
    /// The policy has no TCB floor for the line.
    #[error("the policy has no minimum TCB for {line}")]
    LineNotAccepted {
        /// Product line.
        line: ProductLine,
    },
    /// A component is below the floor.
    #[error("{component} of the {which} TCB is {found}, below the minimum {minimum}")]
    TcbBelowMinimum {
        /// Which TCB.
        which: WhichTcb,
        /// Which component.
        component: Component,
        /// In the report.
        found: u8,
        /// By policy.
        minimum: u8,
    },
    /// The firmware that runs is older than what it reports.
    #[error("{component} of the current TCB is {current}, below the reported {reported}")]
    CurrentBelowReported {
        /// Which component.
        component: Component,
        /// In CURRENT_TCB.
        current: u8,
        /// In REPORTED_TCB.
        reported: u8,
    },
    /// The TCB that runs is not the one that is committed.
    #[error("current TCB [{current}] is not committed; committed is [{committed}]")]
    ProvisionalTcb {
        /// CURRENT_TCB.
        current: Tcb,
        /// COMMITTED_TCB.
        committed: Tcb,
    },
    /// The firmware that runs is not the one that is committed.
    #[error("current firmware {current} is not committed; committed is {committed}")]
    ProvisionalFirmware {
        /// CURRENT version.
        current: FirmwareVersion,
        /// COMMITTED version.
        committed: FirmwareVersion,
    },
    /// The report is too old to name mitigations.
    #[error("mitigations are required, and a version {} report names none", version.number())]
    MitigationsNotReported {
        /// VERSION.
        version: Version,
    },
    /// Required mitigations are not there.
    #[error("mitigations {missing:#x} were not active {when}")]
    MitigationsMissing {
        /// At launch or now.
        when: Moment,
        /// Bits that are required and clear.
        missing: u64,
    },
    /// The platform has a weakness.
    #[error("the platform has {}", weakness.as_str())]
    PlatformShows {
        /// Which.
        weakness: PlatformWeakness,
    },
    /// The platform lacks a protection.
    #[error("the platform does not report {}", protection.as_str())]
    PlatformLacks {
        /// Which.
        protection: PlatformProtection,
    },
    /// A value is not among the expected ones.
    #[error("{field} {} is not among the {accepted} accepted", hex::encode(found))]
    NotAccepted {
        /// Which field.
        field: Field,
        /// In the report.
        found: Vec<u8>,
        /// How many values the policy accepts.
        accepted: usize,
    },
    /// An author key digest is expected, and the report says that it means nothing.
    #[error("the author key digest is set and not in use")]
    AuthorKeyNotInUse,
    /// The guest image is older than its publisher accepts.
    #[error("guest security version {found} is below the minimum {minimum}")]
    GuestSvnBelowMinimum {
        /// GUEST_SVN.
        found: u32,
        /// By policy.
        minimum: u32,
    },
    /// The policy names chips, and a VLEK names none.
    #[error("the policy names chips, and the report is signed by a VLEK, which names none")]
    ChipNotNamed,
    /// Another provider's VLEK.
    #[error("the provider {found:?} is not among the accepted VLEK providers")]
    ProviderNotAccepted {
        /// CSP_ID.
        found: String,
    },
}

/// A field that is compared with a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// MEASUREMENT.
    Measurement,
    /// HOST_DATA.
    HostData,
    /// ID_KEY_DIGEST.
    IdKeyDigest,
    /// AUTHOR_KEY_DIGEST.
    AuthorKeyDigest,
    /// FAMILY_ID.
    FamilyId,
    /// IMAGE_ID.
    ImageId,
    /// CHIP_ID.
    ChipId,
}

/// A TCB that has a floor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhichTcb {
    /// REPORTED_TCB.
    Reported,
    /// COMMITTED_TCB.
    Committed,
    /// LAUNCH_TCB.
    Launch,
}

/// When a mitigation was active.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// LAUNCH_MIT_VECTOR.
    AtLaunch,
    /// CURRENT_MIT_VECTOR.
    Now,
}

impl SnpDenial {
    /// Stable identifier, for logs, exit codes and tests.
    pub fn code(&self) -> &'static str {
        match self {
            Self::VersionBelowMinimum { .. } => "snp.version.below-minimum",
            Self::ProviderTrusted { .. } => "snp.host-trust.provider-trusted",
            Self::Debug => "snp.guest-policy.debug",
            Self::MigrationAgent => "snp.guest-policy.migration-agent",
            Self::AbiBelowMinimum { .. } => "snp.guest-policy.abi-below-minimum",
            Self::GuestPermits { .. } => "snp.guest-policy.permits",
            Self::GuestDoesNotDemand { .. } => "snp.guest-policy.does-not-demand",
            Self::HostRequested => "snp.vmpl.host-requested",
            Self::VmplNotAccepted { .. } => "snp.vmpl.not-accepted",
            Self::LineNotAccepted { .. } => "snp.tcb.no-minimum",
            Self::TcbBelowMinimum { .. } => "snp.tcb.below-minimum",
            Self::CurrentBelowReported { .. } => "snp.tcb.current-below-reported",
            Self::ProvisionalTcb { .. } | Self::ProvisionalFirmware { .. } => "snp.firmware.provisional",
            Self::MitigationsNotReported { .. } => "snp.mitigations.not-reported",
            Self::MitigationsMissing { .. } => "snp.mitigations.missing",
            Self::PlatformShows { .. } => "snp.platform.weakness",
            Self::PlatformLacks { .. } => "snp.platform.protection-missing",
            Self::NotAccepted { field, .. } => match field {
                Field::Measurement => "snp.measurement.not-accepted",
                Field::HostData => "snp.host-data.not-accepted",
                Field::IdKeyDigest => "snp.id-key.not-accepted",
                Field::AuthorKeyDigest => "snp.author-key.not-accepted",
                Field::FamilyId => "snp.family-id.not-accepted",
                Field::ImageId => "snp.image-id.not-accepted",
                Field::ChipId => "snp.chip-id.not-accepted",
            },
            Self::AuthorKeyNotInUse => "snp.author-key.not-in-use",
            Self::GuestSvnBelowMinimum { .. } => "snp.guest-svn.below-minimum",
            Self::ChipNotNamed => "snp.chip-id.not-named",
            Self::ProviderNotAccepted { .. } => "snp.vlek.provider-not-accepted",
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Measurement => "measurement",
            Self::HostData => "host data",
            Self::IdKeyDigest => "id key digest",
            Self::AuthorKeyDigest => "author key digest",
            Self::FamilyId => "family id",
            Self::ImageId => "image id",
            Self::ChipId => "chip id",
        })
    }
}

impl fmt::Display for WhichTcb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reported => "reported",
            Self::Committed => "committed",
            Self::Launch => "launch",
        })
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AtLaunch => "at launch",
            Self::Now => "when the report was made",
        })
    }
}

impl fmt::Display for Abi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}
