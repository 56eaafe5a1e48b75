//! Evidence: bytes with the form of a platform's evidence, believed by nobody yet.

use core::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{azure, gce, nitro, snp, tdx};

/// A kind of trusted execution environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Platform {
    /// AMD Secure Encrypted Virtualization with Secure Nested Paging.
    SevSnp,
    /// AWS Nitro Enclaves.
    Nitro,
    /// Intel Trust Domain Extensions.
    Tdx,
    /// An Azure confidential VM with a virtual TPM, on SEV-SNP.
    AzureVtpm,
    /// An Azure confidential VM with a virtual TPM, on TDX.
    AzureVtpmTdx,
    /// A virtual TPM of Google Compute Engine. It says nothing about memory encryption.
    GceVtpm,
}

/// Evidence as it arrived. [`crate::verify`] decides whether it is genuine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    kind: Kind,
}

/// What the evidence is; one variant per platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    SevSnp(snp::Report),
    Nitro(Box<nitro::Document>),
    Tdx(Box<tdx::Quote>),
    Azure(Box<azure::AzureEvidence>),
    Gce(Box<gce::GceEvidence>),
}

/// Why bytes are not evidence.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ParseError {
    /// No platform's evidence looks like this.
    #[error("{found} bytes are not evidence of a known platform")]
    UnknownFormat {
        /// Bytes that arrived.
        found: usize,
    },
    /// A SEV-SNP report with a mistake.
    #[error(transparent)]
    SevSnp(#[from] snp::ReportError),
    /// A Nitro Enclaves attestation document with a mistake.
    #[error(transparent)]
    Nitro(#[from] nitro::DocumentError),
    /// A TDX quote with a mistake.
    #[error(transparent)]
    Tdx(#[from] tdx::QuoteError),
    /// Azure evidence with a mistake.
    #[error(transparent)]
    Azure(#[from] azure::DocumentError),
    /// Evidence of a GCE virtual TPM with a mistake.
    #[error(transparent)]
    Gce(#[from] gce::GceFormatError),
}

impl Platform {
    /// As in policies and in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SevSnp => "sev-snp",
            Self::Nitro => "nitro",
            Self::Tdx => "tdx",
            Self::AzureVtpm => "azure-vtpm",
            Self::AzureVtpmTdx => "azure-vtpm-tdx",
            Self::GceVtpm => "gce-vtpm",
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Evidence {
    /// Recognises the platform and takes the bytes as they are.
    ///
    /// # Errors
    /// Every departure from the platform's format (spec/attest.md, rules SNP-01, NIT-01, AZ-01, GV-01 and
    /// TDX-01).
    pub fn parse(input: &[u8]) -> Result<Self, ParseError> {
        let kind = if nitro::looks_like(input) {
            Kind::Nitro(Box::new(nitro::Document::parse(input)?))
        } else if input.len() == snp::REPORT_LEN {
            Kind::SevSnp(snp::Report::parse(input)?)
        } else if azure::looks_like(input) {
            Kind::Azure(Box::new(azure::AzureEvidence::parse(input)?))
        } else if gce::looks_like(input) {
            Kind::Gce(Box::new(gce::GceEvidence::parse(input)?))
        } else if tdx::looks_like(input) {
            Kind::Tdx(Box::new(tdx::Quote::parse(input)?))
        } else {
            return Err(ParseError::UnknownFormat { found: input.len() });
        };
        Ok(Self { kind })
    }

    /// Whose evidence this is.
    pub fn platform(&self) -> Platform {
        match &self.kind {
            Kind::SevSnp(_) => Platform::SevSnp,
            Kind::Nitro(_) => Platform::Nitro,
            Kind::Tdx(_) => Platform::Tdx,
            Kind::Azure(evidence) if evidence.td_quote().is_some() => Platform::AzureVtpmTdx,
            Kind::Azure(_) => Platform::AzureVtpm,
            Kind::Gce(_) => Platform::GceVtpm,
        }
    }

    /// Exactly the bytes that arrived.
    pub fn bytes(&self) -> &[u8] {
        match &self.kind {
            Kind::SevSnp(report) => report.bytes(),
            Kind::Nitro(document) => document.bytes(),
            Kind::Tdx(quote) => quote.bytes(),
            Kind::Azure(evidence) => evidence.bytes(),
            Kind::Gce(evidence) => evidence.bytes(),
        }
    }

    /// What whoever made the evidence bound into it: report data, `user_data`, or the qualifying data of a TPM's quote.
    /// `None` where a Nitro document has none. Reading it proves nothing.
    pub fn bound(&self) -> Option<Vec<u8>> {
        match &self.kind {
            Kind::SevSnp(report) => Some(report.report_data().to_vec()),
            Kind::Nitro(document) => document.user_data().map(<[u8]>::to_vec),
            Kind::Tdx(quote) => Some(quote.report_data().to_vec()),
            Kind::Azure(evidence) => Some(evidence.quote().extra_data().to_vec()),
            Kind::Gce(evidence) => Some(evidence.quote().extra_data().to_vec()),
        }
    }

    /// The SEV-SNP report, where it is one. Reading a field of it proves nothing.
    pub fn snp(&self) -> Option<&snp::Report> {
        match &self.kind {
            Kind::SevSnp(report) => Some(report),
            Kind::Nitro(_) | Kind::Azure(_) | Kind::Tdx(_) | Kind::Gce(_) => None,
        }
    }

    /// The Nitro Enclaves document, where it is one. Reading a field of it proves nothing.
    pub fn nitro(&self) -> Option<&nitro::Document> {
        match &self.kind {
            Kind::Nitro(document) => Some(document),
            Kind::SevSnp(_) | Kind::Azure(_) | Kind::Tdx(_) | Kind::Gce(_) => None,
        }
    }

    /// The TDX quote, where it is one. Reading a field of it proves nothing.
    pub fn tdx(&self) -> Option<&tdx::Quote> {
        match &self.kind {
            Kind::Tdx(quote) => Some(quote),
            Kind::SevSnp(_) | Kind::Nitro(_) | Kind::Azure(_) | Kind::Gce(_) => None,
        }
    }

    /// The Azure evidence, where it is that. Reading a field of it proves nothing.
    pub fn azure(&self) -> Option<&azure::AzureEvidence> {
        match &self.kind {
            Kind::Azure(evidence) => Some(evidence),
            Kind::SevSnp(_) | Kind::Nitro(_) | Kind::Tdx(_) | Kind::Gce(_) => None,
        }
    }

    /// The evidence of a GCE virtual TPM, where it is that. Reading a field of it proves nothing.
    pub fn gce(&self) -> Option<&gce::GceEvidence> {
        match &self.kind {
            Kind::Gce(evidence) => Some(evidence),
            Kind::SevSnp(_) | Kind::Nitro(_) | Kind::Tdx(_) | Kind::Azure(_) => None,
        }
    }

    pub(crate) fn kind(&self) -> &Kind {
        &self.kind
    }
}

impl ParseError {
    /// The platform that the bytes seemed to be of.
    pub fn platform(&self) -> Option<Platform> {
        match self {
            Self::UnknownFormat { .. } => None,
            Self::SevSnp(_) => Some(Platform::SevSnp),
            Self::Nitro(_) => Some(Platform::Nitro),
            Self::Tdx(_) => Some(Platform::Tdx),
            Self::Azure(_) => Some(Platform::AzureVtpm),
            Self::Gce(_) => Some(Platform::GceVtpm),
        }
    }

    /// Stable identifier, for logs, exit codes and tests.
    pub fn code(&self) -> &'static str {
        match self {
            Self::UnknownFormat { .. } => "evidence.unknown-format",
            Self::SevSnp(error) => error.code(),
            Self::Nitro(error) => error.code(),
            Self::Tdx(error) => error.code(),
            Self::Azure(error) => error.code(),
            Self::Gce(error) => error.code(),
        }
    }
}
