//! Why a quote is not genuine.

use thiserror::Error;

use crate::snp::RejectionKind;
use crate::time::UnixTime;

/// Why a quote is not proven to be genuine: rules TDX-02 to TDX-08.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TdxRejection {
    /// The verifier holds no root of Intel's.
    #[error("no root of Intel SGX and TDX is pinned")]
    RootMissing,
    /// Something of the collateral is not there.
    #[error("the collateral has no {what}")]
    Missing {
        /// What.
        what: &'static str,
    },
    /// Longer than any collateral.
    #[error("the collateral has {found} bytes")]
    TooLong {
        /// Bytes that arrived.
        found: usize,
    },
    /// Not what it should be.
    #[error("{what} cannot be read")]
    Malformed {
        /// What.
        what: &'static str,
    },
    /// TCB info of something else than TDX, or of a version that is not known.
    #[error("the TCB info is for {id:?} version {version} instead of \"TDX\" version 3")]
    TcbInfoKind {
        /// `id`.
        id: String,
        /// `version`.
        version: u8,
    },
    /// TCB info of another kind of machine.
    #[error("the TCB info is for {what} {collateral}, and the quote is of {quote}")]
    TcbInfoPlatform {
        /// "FMSPC" or "PCE id".
        what: &'static str,
        /// In the TCB info.
        collateral: String,
        /// In the quote's PCK certificate.
        quote: String,
    },
    /// Identity of another enclave than the TD quoting enclave.
    #[error("the enclave identity is of {id:?} version {version} instead of \"TD_QE\" version 2 or 3")]
    QeIdentityKind {
        /// `id`.
        id: String,
        /// `version`.
        version: u8,
    },
    /// Valid later than now.
    #[error("{what} is valid from {from}, and the time is {now}")]
    NotYetValid {
        /// What.
        what: &'static str,
        /// First second.
        from: UnixTime,
        /// The time that was given.
        now: UnixTime,
    },
    /// Valid earlier than now.
    #[error("{what} was valid until {until}, and the time is {now}")]
    Expired {
        /// What.
        what: &'static str,
        /// Last second.
        until: UnixTime,
        /// The time that was given.
        now: UnixTime,
    },
    /// A certificate is in a revocation list.
    #[error("{what} is revoked: serial number {serial}")]
    Revoked {
        /// What.
        what: &'static str,
        /// In hexadecimal.
        serial: String,
    },
    /// A signature, other than the quote's, is not by the key that it should be by.
    #[error("{what} is not signed by the key that it should be signed by")]
    Signature {
        /// What.
        what: &'static str,
    },
    /// The attestation key did not sign the quote.
    #[error("the TDX quote is not signed by its attestation key")]
    QuoteSignature,
    /// The quoting enclave speaks for another attestation key.
    #[error("the quoting enclave does not vouch for the attestation key")]
    QeBinding,
    /// The quoting enclave is not the one that Intel names.
    #[error("the quoting enclave is not the one that Intel names: {detail}")]
    QeIdentity {
        /// In words.
        detail: String,
    },
    /// The TDX module is not the one that Intel names.
    #[error("the TDX module is not the one that Intel names: {detail}")]
    Module {
        /// In words.
        detail: String,
    },
    /// The platform, the module or the quoting enclave is below every level that Intel lists.
    #[error("no TCB level of Intel's is met")]
    TcbUnknown,
    /// Intel revoked the platform's TCB.
    #[error("the TCB of the platform is revoked")]
    TcbRevoked,
    /// Bits that have no meaning yet.
    #[error("reserved TD attributes are set: {reserved:#x}")]
    AttributesReserved {
        /// The bits.
        reserved: u64,
    },
    /// The TD can be moved to another machine.
    #[error("the TD is migratable")]
    Migratable,
    /// A TD 1.0 body, which names no service TD, with the attribute that says there may be more of them.
    #[error("the TD has SERVTD_EXT and its body names no service TD")]
    ServiceTdUnnamed,
    /// The host can inject virtualization exceptions.
    #[error("SEPT_VE_DISABLE is clear")]
    SeptVe,
    /// Anything else that DCAP quote verification refuses.
    #[error("refused: {detail}")]
    Dcap {
        /// In words.
        detail: String,
    },
}

impl TdxRejection {
    /// Stable identifier, for logs, exit codes and tests.
    pub fn code(&self) -> &'static str {
        match self {
            Self::RootMissing => "tdx.root.missing",
            Self::Missing { .. } => "tdx.collateral.missing",
            Self::TooLong { .. } => "tdx.collateral.too-long",
            Self::Malformed { .. } => "tdx.collateral.malformed",
            Self::TcbInfoKind { .. } => "tdx.tcb-info.kind",
            Self::TcbInfoPlatform { .. } => "tdx.tcb-info.platform",
            Self::QeIdentityKind { .. } => "tdx.qe-identity.kind",
            Self::NotYetValid { .. } => "tdx.collateral.not-yet-valid",
            Self::Expired { .. } => "tdx.collateral.expired",
            Self::Revoked { .. } => "tdx.collateral.revoked",
            Self::Signature { .. } => "tdx.collateral.signature",
            Self::QuoteSignature => "tdx.signature.invalid",
            Self::QeBinding => "tdx.qe.binding",
            Self::QeIdentity { .. } => "tdx.qe.identity",
            Self::Module { .. } => "tdx.module.identity",
            Self::TcbUnknown => "tdx.tcb.unknown",
            Self::TcbRevoked => "tdx.tcb.revoked",
            Self::AttributesReserved { .. } => "tdx.td.reserved",
            Self::Migratable => "tdx.td.migratable",
            Self::ServiceTdUnnamed => "tdx.td.service-td-unnamed",
            Self::SeptVe => "tdx.td.sept-ve",
            Self::Dcap { .. } => "tdx.dcap.refused",
        }
    }

    /// What kind of answer this is.
    pub fn kind(&self) -> RejectionKind {
        match self {
            Self::Missing { .. } => RejectionKind::Missing,
            Self::NotYetValid { .. } | Self::Expired { .. } => RejectionKind::Stale,
            Self::RootMissing
            | Self::TooLong { .. }
            | Self::Malformed { .. }
            | Self::TcbInfoKind { .. }
            | Self::TcbInfoPlatform { .. }
            | Self::QeIdentityKind { .. }
            | Self::Revoked { .. }
            | Self::Signature { .. }
            | Self::QuoteSignature
            | Self::QeBinding
            | Self::QeIdentity { .. }
            | Self::Module { .. }
            | Self::TcbUnknown
            | Self::TcbRevoked
            | Self::AttributesReserved { .. }
            | Self::Migratable
            | Self::ServiceTdUnnamed
            | Self::SeptVe
            | Self::Dcap { .. } => RejectionKind::NotGenuine,
        }
    }
}
