//! Why a bundle is refused.

use core::fmt;

use thiserror::Error;

use super::System;
use crate::nvidia::{GpuDenial, GpuRejection, SetDenied};
use crate::report::Report;
use crate::snp::RejectionKind;
use crate::time::UnixTime;
use crate::verdict::{Denial, Rejection};

/// A bundle that is refused, with all that was looked at.
#[derive(Debug, PartialEq, Eq)]
pub struct BundleRefused {
    /// Whose bundle.
    pub system: System,
    /// Why.
    pub reason: BundleRefusal,
    pub(super) report: Box<Report>,
}

/// Whose rule does not hold.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BundleRefusal {
    /// The evidence is not proven to be genuine.
    #[error(transparent)]
    Rejected(Rejection),
    /// The evidence is genuine, and refused: by the policy, or because it binds something else than the bundle says.
    #[error(transparent)]
    Denied(Denial),
    /// A rule of the bundle.
    #[error(transparent)]
    Bundle(BundleDenial),
    /// The evidence of a device is not proven to be genuine.
    #[error("device {position}: {reason}")]
    DeviceRejected {
        /// From 1, in the order of the bundle.
        position: usize,
        /// Why.
        reason: GpuRejection,
    },
    /// A genuine device that is refused.
    #[error("device {position}: {reason}")]
    DeviceDenied {
        /// From 1, in the order of the bundle.
        position: usize,
        /// Why.
        reason: GpuDenial,
    },
    /// Other devices than expected.
    #[error(transparent)]
    Devices(SetDenied),
}

/// A rule of bundles that does not hold (BUN-02 and after).
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BundleDenial {
    /// Neither the bundle nor the verifier has endorsements.
    #[error("the bundle carries no endorsements, and none were given")]
    EndorsementsMissing,
    /// The bundle answers another nonce.
    #[error("the bundle answers {}, not {}", hex::encode(found), hex::encode(expected))]
    ChallengeDiffers {
        /// Of the verifier.
        expected: Vec<u8>,
        /// In the bundle.
        found: Vec<u8>,
    },
    /// The bundle states no nonce, and a nonce was to be compared.
    #[error("the bundle states no nonce: what it must bind is report data")]
    NoNonce,
    /// The bundle states a nonce, and report data was to be compared.
    #[error("the bundle states the nonce that it answers: a nonce is compared, and report data is computed")]
    NotReportData,
    /// A waiver that nobody gave a reason for.
    #[error("{what} is waived without a reason")]
    WaiverWithoutReason {
        /// What is waived.
        what: &'static str,
    },
    /// The bundle states a value that its own parts do not have.
    #[error(
        "{member} is {}, and computed from the bundle it is {}",
        hex::encode(found),
        hex::encode(expected)
    )]
    Digest {
        /// Of the bundle.
        member: &'static str,
        /// As computed.
        expected: Vec<u8>,
        /// In the bundle.
        found: Vec<u8>,
    },
    /// A value that must be bound is not what stands beside it.
    #[error("{member} is not the one that the evidence binds")]
    Value {
        /// Of the bundle.
        member: &'static str,
    },
    /// A key that must be named is not.
    #[error("the bundle names no {name}")]
    NoKey {
        /// Which.
        name: &'static str,
    },
    /// A nonce of another length than the system's.
    #[error("the nonce has {found} bytes instead of {expected}")]
    NonceLength {
        /// Of the system.
        expected: usize,
        /// Of the verifier.
        found: usize,
    },
    /// An address or key that its algorithm cannot have.
    #[error("{name} has {found} bytes instead of {expected}, or is nobody's")]
    Signer {
        /// Which.
        name: &'static str,
        /// Bytes that it must have.
        expected: usize,
        /// Bytes that it has.
        found: usize,
    },
    /// One key in two roles.
    #[error("key {id:?} signs receipts, and is listed for encryption")]
    TwoRoles {
        /// Its name, shortened.
        id: String,
    },
    /// Keys that are no longer accepted.
    #[error("the keyset expired at {not_after}; it is {now}")]
    KeysetExpired {
        /// The time of the check.
        now: UnixTime,
        /// The first second at which it is not accepted.
        not_after: UnixTime,
    },
    /// Who has the private keys is not verified, and nobody decided that it need not be.
    #[error(
        "who else has the private keys is not verified here, and nobody wrote down why that is acceptable"
    )]
    CustodyNotDecided,
    /// What was started is in a register that the policy does not speak of.
    #[error("the policy asks for no event log of register {register}, which says what was started")]
    RegisterNotAsked {
        /// RTMR.
        register: u8,
    },
    /// An event that shows nothing of what was measured, or not one of dstack's.
    #[error("event {position} of RTMR3 does not show what was measured")]
    EventUnproven {
        /// Within the register, from 1.
        position: usize,
    },
    /// The boot measured a name twice.
    #[error("event {position} of RTMR3 is a second {name}")]
    EventTwice {
        /// Within the register, from 1.
        position: usize,
        /// Of the event.
        name: &'static str,
    },
    /// An event with the name of the boot's, after the boot.
    #[error("event {position} of RTMR3, after the boot, is called {name}, as one of the boot's")]
    EventLate {
        /// Within the register, from 1.
        position: usize,
        /// Of the event.
        name: &'static str,
    },
    /// The boot did not measure something.
    #[error("the boot measured no {name}")]
    NoEvent {
        /// Of the event.
        name: &'static str,
    },
    /// An event with a payload of another length.
    #[error("the boot measured a {name} of {found} bytes instead of {expected}")]
    EventLength {
        /// Of the event.
        name: &'static str,
        /// Bytes that it must have.
        expected: usize,
        /// Bytes that it has.
        found: usize,
    },
    /// Devices whose answer nobody can know.
    #[error("the bundle does not say which nonce its devices answer")]
    DeviceNonce,
    /// The bundle has devices, and nobody said how many there must be.
    #[error("the bundle carries {found} devices, and it was not said how many there must be")]
    DevicesNotExpected {
        /// In the bundle.
        found: usize,
    },
}

impl BundleRefused {
    /// [`BundleRefusal::code`] of the reason.
    pub fn code(&self) -> &'static str {
        self.reason.code()
    }

    /// The verdict as data.
    pub fn report(&self) -> &Report {
        &self.report
    }
}

impl BundleRefusal {
    /// Stable identifier, for logs, exit codes and tests.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Rejected(reason) => reason.code(),
            Self::Denied(reason) => reason.code(),
            Self::Bundle(reason) => reason.code(),
            Self::DeviceRejected { reason, .. } => reason.code(),
            Self::DeviceDenied { reason, .. } => reason.code(),
            Self::Devices(reason) => reason.code(),
        }
    }

    /// What kind of answer this is, where it is one about being genuine; `None` where it is a refusal.
    pub fn kind(&self) -> Option<RejectionKind> {
        match self {
            Self::Rejected(reason) => Some(reason.kind()),
            Self::DeviceRejected { reason, .. } => Some(reason.kind()),
            Self::Bundle(BundleDenial::EndorsementsMissing) => Some(RejectionKind::Missing),
            Self::Denied(_) | Self::Bundle(_) | Self::DeviceDenied { .. } | Self::Devices(_) => None,
        }
    }
}

impl BundleDenial {
    /// Stable identifier, for logs, exit codes and tests.
    pub fn code(&self) -> &'static str {
        match self {
            Self::EndorsementsMissing => "bundle.endorsements.missing",
            Self::ChallengeDiffers { .. } => "bundle.challenge.differs",
            Self::NoNonce => "bundle.challenge.no-nonce",
            Self::NotReportData => "bundle.challenge.not-report-data",
            Self::WaiverWithoutReason { .. } => "policy.waiver-without-reason",
            Self::Digest { .. } => "bundle.digest",
            Self::Value { .. } => "bundle.value",
            Self::NoKey { .. } => "bundle.no-key",
            Self::NonceLength { .. } => "bundle.challenge.nonce-length",
            Self::Signer { .. } => "bundle.dstack.signer",
            Self::TwoRoles { .. } => "bundle.aci.two-roles",
            Self::KeysetExpired { .. } => "bundle.aci.expired",
            Self::CustodyNotDecided => "bundle.aci.custody",
            Self::RegisterNotAsked { .. } => "bundle.register-not-asked",
            Self::EventUnproven { .. } => "bundle.boot.unproven",
            Self::EventTwice { .. } => "bundle.boot.twice",
            Self::EventLate { .. } => "bundle.boot.late",
            Self::NoEvent { .. } => "bundle.boot.no-event",
            Self::EventLength { .. } => "bundle.boot.length",
            Self::DeviceNonce => "bundle.devices.nonce",
            Self::DevicesNotExpected { .. } => "bundle.devices.not-expected",
        }
    }
}

impl fmt::Display for BundleRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = match self.reason {
            BundleRefusal::Rejected(_) | BundleRefusal::DeviceRejected { .. } => "not genuine",
            BundleRefusal::Denied(_)
            | BundleRefusal::Bundle(_)
            | BundleRefusal::DeviceDenied { .. }
            | BundleRefusal::Devices(_) => "refused",
        };
        write!(f, "bundle of {}, {how}: {}", self.system, self.reason)
    }
}

impl std::error::Error for BundleRefused {}
