//! Why a genuine quote is not ours.

use core::fmt;

use thiserror::Error;

use super::attributes::Attribute;
use super::body::ModuleSvn;
use super::pck::PlatformFlag;
use super::status::TcbStatus;

/// Why a genuine TDX quote is denied by a policy: rules TDX-10 to TDX-27.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TdxDenial {
    /// Not as well patched as the policy asks.
    #[error("the TCB status is {found}")]
    TcbStatus {
        /// Of the platform.
        found: TcbStatus,
    },
    /// A vulnerability that the policy does not live with.
    #[error("security advisory {found} applies")]
    Advisory {
        /// Intel's identifier.
        found: String,
    },
    /// Collateral of an older evaluation.
    #[error("the TCB evaluation is number {found}, below the minimum {minimum}")]
    EvaluationBelowMinimum {
        /// In the collateral.
        found: u32,
        /// By policy.
        minimum: u32,
    },
    /// An older TDX module.
    #[error("the TDX module {when} is {found}, below the minimum {minimum}")]
    ModuleBelowMinimum {
        /// "at launch" or "now".
        when: &'static str,
        /// In the quote.
        found: ModuleSvn,
        /// By policy.
        minimum: ModuleSvn,
    },
    /// The TDX module is not signed by Intel.
    #[error("the TDX module is signed by {} and not by Intel", hex::encode(found.as_slice()))]
    ModuleSigner {
        /// MRSIGNERSEAM.
        found: Box<[u8; 48]>,
    },
    /// The host can read and change what the TD holds, or profile it.
    #[error("the host can debug or profile the TD: TUD {tud:#x}")]
    Debug {
        /// Bits 7:0 of TDATTRIBUTES.
        tud: u64,
    },
    /// More service TDs may be bound.
    #[error("the TD has the attribute SERVTD_EXT")]
    ServiceTdExtension,
    /// An attribute that the policy does not name.
    #[error("the TD has the attribute {}", attribute.as_str())]
    Attribute {
        /// Which.
        attribute: Attribute,
    },
    /// Something about the platform that the policy does not name.
    #[error("the PCK certificate says {} of the platform, which the policy does not accept", flag.as_str())]
    PlatformFlag {
        /// Which.
        flag: PlatformFlag,
    },
    /// Processor state that the policy does not name.
    #[error("XFAM {found:#x} has {excess:#x}, which the policy does not accept")]
    Xfam {
        /// In the quote.
        found: u64,
        /// What is too much.
        excess: u64,
    },
    /// A value is not among the expected ones.
    #[error("{register} {} is not among the {accepted} accepted", hex::encode(found.as_slice()))]
    NotAccepted {
        /// Which.
        register: Register,
        /// In the quote.
        found: Box<[u8; 48]>,
        /// How many values the policy accepts.
        accepted: usize,
    },
}

/// A measurement or an identity of 48 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // the registers' own names
pub enum Register {
    MrSeam,
    MrServiceTd,
    MrTd,
    Rtmr0,
    Rtmr1,
    Rtmr2,
    Rtmr3,
    MrConfigId,
    MrOwner,
    MrOwnerConfig,
}

impl TdxDenial {
    /// Stable identifier, for logs, exit codes and tests.
    pub fn code(&self) -> &'static str {
        match self {
            Self::TcbStatus { .. } => "tdx.tcb.status",
            Self::Advisory { .. } => "tdx.tcb.advisory",
            Self::EvaluationBelowMinimum { .. } => "tdx.tcb.evaluation-below-minimum",
            Self::ModuleBelowMinimum { .. } => "tdx.module.below-minimum",
            Self::ModuleSigner { .. } => "tdx.module.signer",
            Self::Debug { .. } => "tdx.td.debug",
            Self::ServiceTdExtension => "tdx.td.service-td-extension",
            Self::Attribute { .. } => "tdx.td.attribute",
            Self::PlatformFlag { flag: PlatformFlag::Unstated } => "tdx.platform.unstated",
            Self::PlatformFlag { .. } => "tdx.platform.flag",
            Self::Xfam { .. } => "tdx.td.xfam",
            Self::NotAccepted { register, .. } => register.code(),
        }
    }
}

impl Register {
    fn code(self) -> &'static str {
        match self {
            Self::MrSeam => "tdx.mrseam.not-accepted",
            Self::MrServiceTd => "tdx.mrservicetd.not-accepted",
            Self::MrTd => "tdx.mrtd.not-accepted",
            Self::Rtmr0 => "tdx.rtmr0.not-accepted",
            Self::Rtmr1 => "tdx.rtmr1.not-accepted",
            Self::Rtmr2 => "tdx.rtmr2.not-accepted",
            Self::Rtmr3 => "tdx.rtmr3.not-accepted",
            Self::MrConfigId => "tdx.mrconfigid.not-accepted",
            Self::MrOwner => "tdx.mrowner.not-accepted",
            Self::MrOwnerConfig => "tdx.mrownerconfig.not-accepted",
        }
    }
}

impl fmt::Display for Register {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MrSeam => "MRSEAM",
            Self::MrServiceTd => "MRSERVICETD",
            Self::MrTd => "MRTD",
            Self::Rtmr0 => "RTMR0",
            Self::Rtmr1 => "RTMR1",
            Self::Rtmr2 => "RTMR2",
            Self::Rtmr3 => "RTMR3",
            Self::MrConfigId => "MRCONFIGID",
            Self::MrOwner => "MROWNER",
            Self::MrOwnerConfig => "MROWNERCONFIG",
        })
    }
}

impl fmt::Display for ModuleSvn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}
