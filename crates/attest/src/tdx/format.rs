//! Why bytes are not a TDX quote.

use thiserror::Error;

use super::quote::MAX_QUOTE;

/// A departure from the layout of a quote: rule TDX-01.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum QuoteError {
    /// Longer than any quote.
    #[error("a TDX quote has at most {MAX_QUOTE} bytes, not {found}")]
    TooLong {
        /// Bytes that arrived.
        found: usize,
    },
    /// It ends in the middle of something, or a length says more than there is.
    #[error("the TDX quote ends too early")]
    Truncated,
    /// Version 3, TEE type 0 or body type 1.
    #[error("this is a quote of an SGX enclave, not of a TD")]
    Sgx,
    /// Neither 4 nor 5.
    #[error("TDX quote version {found} is not known")]
    Version {
        /// In the quote.
        found: u16,
    },
    /// Not ECDSA P-256.
    #[error("attestation key type {found} is not ECDSA P-256 (2)")]
    KeyType {
        /// In the quote.
        found: u16,
    },
    /// Neither SGX nor TDX.
    #[error("TEE type {found:#x} is not TDX (0x81)")]
    TeeType {
        /// In the quote.
        found: u32,
    },
    /// A byte that must be zero is not.
    #[error("the reserved bytes at {offset} are not zero")]
    Reserved {
        /// Where.
        offset: usize,
    },
    /// A quoting enclave that is not Intel's.
    #[error("the quoting enclave is not Intel's")]
    Vendor,
    /// Version 5 with an unknown body.
    #[error("body type {found} is not known")]
    BodyType {
        /// In the quote.
        found: u16,
    },
    /// Version 5 with a size that is not its body's.
    #[error("the body has {found} bytes by its own word instead of {expected}")]
    BodySize {
        /// In the quote.
        found: u32,
        /// Of that type.
        expected: usize,
    },
    /// Not a QE report.
    #[error("certification type {found} is not a QE report (6)")]
    Certification {
        /// In the quote.
        found: u16,
    },
    /// Neither a PCK certificate chain nor the name of a platform.
    #[error(
        "certification type {found} is neither a PCK certificate chain (5) nor the name of a platform (1 to 3)"
    )]
    PckCertification {
        /// In the quote.
        found: u16,
    },
    /// Lengths that do not end where what is around them ends.
    #[error("the lengths in the TDX quote contradict each other")]
    Nesting,
    /// The QE report binds 32 bytes and leaves 32 zero.
    #[error("the second half of the QE's report data is not zero")]
    QeReportData,
    /// Intel's quoting enclave puts 32 bytes there.
    #[error("the QE's authentication data has {found} bytes instead of 32")]
    QeAuthentication {
        /// In the quote.
        found: usize,
    },
    /// Something behind the end that is not padding.
    #[error("byte {offset}, behind the end of the TDX quote, is not zero")]
    Trailing {
        /// Where.
        offset: usize,
    },
}

impl QuoteError {
    /// Stable identifier, for logs, exit codes and tests.
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLong { .. } => "tdx.format.too-long",
            Self::Truncated => "tdx.format.truncated",
            Self::Sgx => "tdx.format.sgx",
            Self::Version { .. } => "tdx.format.version",
            Self::KeyType { .. } => "tdx.format.key-type",
            Self::TeeType { .. } => "tdx.format.tee-type",
            Self::Reserved { .. } => "tdx.format.reserved",
            Self::Vendor => "tdx.format.vendor",
            Self::BodyType { .. } => "tdx.format.body-type",
            Self::BodySize { .. } => "tdx.format.body-size",
            Self::Certification { .. } => "tdx.format.certification",
            Self::PckCertification { .. } => "tdx.format.pck-certification",
            Self::Nesting => "tdx.format.nesting",
            Self::QeReportData => "tdx.format.qe-report-data",
            Self::QeAuthentication { .. } => "tdx.format.qe-authentication",
            Self::Trailing { .. } => "tdx.format.trailing",
        }
    }
}
