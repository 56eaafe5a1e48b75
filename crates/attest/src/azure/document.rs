//! The wire form of Azure evidence: one JSON document of this project's own, since Azure has none.
//!
//! ```json
//! {"format":"casemate.azure-vtpm/1","hcl_report":"base64","quote":"base64","signature":"base64",
//!  "pcrs":[[0,"64 hexadecimal digits"],[4,"…"]],"td_quote":"base64"}
//! ```
//!
//! Every member exactly once and no other; `td_quote` where the HCL report rests on a TDREPORT, and only there; standard base64 with padding; PCRs strictly ascending; nothing follows.

use core::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use thiserror::Error;

use super::hcl::{HardwareReport, HclError, HclReport};
use crate::tdx;
use crate::tpm::{PcrError, PcrValues, Quote, QuoteError, QuoteSignature, SignatureError};

/// Name and version of the document.
pub const FORMAT: &str = "casemate.azure-vtpm/1";

/// Longer documents are refused before they are parsed; recorded evidence takes about 6 KiB.
const MAX_DOCUMENT: usize = 32 * 1024;

/// Azure evidence as it arrived. Believed by nobody yet.
#[derive(Clone, PartialEq, Eq)]
pub struct AzureEvidence {
    bytes: Vec<u8>,
    pub(super) hcl: HclReport,
    pub(super) quote: Quote,
    pub(super) signature: QuoteSignature,
    pub(super) pcrs: PcrValues,
    pub(super) td_quote: Option<Box<tdx::Quote>>,
}

/// Why bytes are not such a document.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DocumentError {
    /// More than evidence needs.
    #[error("a document of {found} bytes is longer than {MAX_DOCUMENT}")]
    TooLong {
        /// Octets that arrived.
        found: usize,
    },
    /// Not JSON, something follows it, or a member is unknown, missing, there twice or of another type.
    #[error("the document is not understood: {0}")]
    Json(String),
    /// Another format, or another version of this one.
    #[error("the document's format is not {FORMAT}")]
    Format,
    /// Not standard base64.
    #[error("{member} is not base64")]
    Base64 {
        /// Of the document.
        member: &'static str,
    },
    /// Not 32 bytes in hexadecimal.
    #[error("the value of PCR {index} is not 32 bytes in hexadecimal")]
    PcrValue {
        /// Which.
        index: u8,
    },
    /// A TD quote beside a report of SEV-SNP, or none beside a TDREPORT, which proves nothing away from its machine.
    #[error("a TD quote must be there where the HCL report rests on a TDREPORT, and only there")]
    TdQuote,
    /// The HCL report.
    #[error(transparent)]
    Hcl(#[from] HclError),
    /// The TD quote.
    #[error(transparent)]
    Td(#[from] tdx::QuoteError),
    /// The quote.
    #[error(transparent)]
    Quote(#[from] QuoteError),
    /// The quote's signature.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// The list of PCR values.
    #[error(transparent)]
    Pcr(#[from] PcrError),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    format: String,
    hcl_report: String,
    quote: String,
    signature: String,
    pcrs: Vec<(u8, String)>,
    #[serde(default)]
    td_quote: Option<String>,
}

/// Whether bytes are JSON that names this format somewhere, whatever its version.
pub(crate) fn looks_like(input: &[u8]) -> bool {
    const NAME: &[u8] = b"casemate.azure-vtpm/";
    input.first() == Some(&b'{') && input.windows(NAME.len()).any(|window| window == NAME)
}

impl AzureEvidence {
    /// Takes the document as it is.
    ///
    /// # Errors
    /// Every departure from the form at the head of this file and from the forms of its parts.
    pub fn parse(input: &[u8]) -> Result<Self, DocumentError> {
        if input.len() > MAX_DOCUMENT {
            return Err(DocumentError::TooLong { found: input.len() });
        }
        let file: File =
            serde_json::from_slice(input).map_err(|error| DocumentError::Json(error.to_string()))?;
        if file.format != FORMAT {
            return Err(DocumentError::Format);
        }
        let mut pcrs = Vec::with_capacity(file.pcrs.len());
        for (index, text) in &file.pcrs {
            let mut value = [0; 32];
            hex::decode_to_slice(text, &mut value).map_err(|_| DocumentError::PcrValue { index: *index })?;
            pcrs.push((*index, value));
        }
        let hcl = HclReport::parse(&base64(&file.hcl_report, "hcl_report")?)?;
        let td_quote = match (hcl.hardware(), file.td_quote) {
            (HardwareReport::Snp(_), None) => None,
            (HardwareReport::Tdx { .. }, Some(text)) => {
                Some(Box::new(tdx::Quote::parse(&base64(&text, "td_quote")?)?))
            }
            _ => return Err(DocumentError::TdQuote),
        };
        Ok(Self {
            bytes: input.to_vec(),
            hcl,
            td_quote,
            quote: Quote::parse(&base64(&file.quote, "quote")?)?,
            signature: QuoteSignature::parse(&base64(&file.signature, "signature")?)?,
            pcrs: PcrValues::new(pcrs)?,
        })
    }

    /// Exactly the bytes that arrived.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The HCL report. Reading a field of it proves nothing.
    pub fn hcl(&self) -> &HclReport {
        &self.hcl
    }

    /// The quote of the TD that is underneath; `None` on SEV-SNP. Reading a field of it proves nothing.
    pub fn td_quote(&self) -> Option<&tdx::Quote> {
        self.td_quote.as_deref()
    }

    /// The quote. Reading a field of it proves nothing.
    pub fn quote(&self) -> &Quote {
        &self.quote
    }
}

impl fmt::Debug for AzureEvidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AzureEvidence({:?}, {:?})", self.hcl, self.quote)
    }
}

impl DocumentError {
    /// Stable identifier, for logs, exit codes and tests.
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLong { .. } => "azure.document.too-long",
            Self::Json(_) => "azure.document.json",
            Self::Format => "azure.document.format",
            Self::Base64 { .. } => "azure.document.base64",
            Self::PcrValue { .. } => "azure.document.pcr-value",
            Self::TdQuote => "azure.document.td-quote",
            Self::Hcl(error) => error.code(),
            Self::Td(error) => error.code(),
            Self::Quote(error) => error.code(),
            Self::Signature(error) => error.code(),
            Self::Pcr(error) => error.code(),
        }
    }
}

fn base64(text: &str, member: &'static str) -> Result<Vec<u8>, DocumentError> {
    STANDARD.decode(text).map_err(|_| DocumentError::Base64 { member })
}
