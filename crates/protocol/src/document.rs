//! The attestation document: evidence, everything needed to check it, and the runtime statement that it binds.
//!
//! JSON, schema `casemate.attestation/1` (spec/channel.md, CH-7). It carries its endorsements, so checking it needs no
//! network. Parsing believes nothing: the parts go to [`casemate_attest::verify`] and [`crate::statement::check`].

use base64::Engine;
use base64::prelude::BASE64_STANDARD as B64;
use casemate_attest::{Endorsements, Revocation};
use serde::{Deserialize, Serialize};

/// The schema that we read and write.
pub const SCHEMA: &str = "casemate.attestation/1";
/// A larger document is refused before it is parsed; ours are under 16 KiB.
pub const MAX_LEN: usize = 1024 * 1024;

/// An attestation document as it travels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttestationDocument {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// The platform's name, such as `sev-snp`. A label for people: the evidence decides.
    pub platform: String,
    /// base64 of the evidence, for SEV-SNP the 1184-byte report.
    pub evidence: String,
    /// Certificates and revocation lists, as fetched by the server.
    pub endorsements: DocumentEndorsements,
    /// The runtime statement: the canonical text itself, as a JSON string.
    pub statement: String,
    /// The broker's attestation result (EAR, a JWT) where one was issued, else `null`.
    pub token: Option<String>,
}

/// Endorsements of an SEV-SNP report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DocumentEndorsements {
    /// base64 of the VCEK or VLEK certificate (DER).
    pub vek: String,
    /// base64 of the certificate revocation list (DER).
    pub crl: String,
}

/// Why bytes are not an attestation document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// Longer than [`MAX_LEN`].
    #[error("the attestation document has {len} bytes, more than {MAX_LEN}")]
    TooLong {
        /// Length found.
        len: usize,
    },
    /// Not the JSON that the specification describes.
    #[error("the attestation document is malformed at line {line}, column {column}")]
    Malformed {
        /// Line of the fault, from 1.
        line: usize,
        /// Column of the fault, from 1.
        column: usize,
    },
    /// Another schema.
    #[error("the attestation document has another schema than {SCHEMA}")]
    Schema,
    /// A member is not standard base64.
    #[error("the attestation document's member `{member}` is not base64")]
    Base64 {
        /// The member's name.
        member: &'static str,
    },
}

impl DocumentError {
    /// The stable code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLong { .. } => "document.too-long",
            Self::Malformed { .. } => "document.malformed",
            Self::Schema => "document.schema",
            Self::Base64 { .. } => "document.base64",
        }
    }
}

impl AttestationDocument {
    /// Assembles a document from its parts.
    pub fn new(
        platform: &str,
        evidence: &[u8],
        vek_der: &[u8],
        crl_der: &[u8],
        statement: String,
        token: Option<String>,
    ) -> Self {
        Self {
            schema: SCHEMA.into(),
            platform: platform.into(),
            evidence: B64.encode(evidence),
            endorsements: DocumentEndorsements { vek: B64.encode(vek_der), crl: B64.encode(crl_der) },
            statement,
            token,
        }
    }

    /// Reads a document from the bytes that arrived.
    pub fn parse(bytes: &[u8]) -> Result<Self, DocumentError> {
        if bytes.len() > MAX_LEN {
            return Err(DocumentError::TooLong { len: bytes.len() });
        }
        let document: Self = serde_json::from_slice(bytes)
            .map_err(|e| DocumentError::Malformed { line: e.line(), column: e.column() })?;
        if document.schema != SCHEMA {
            return Err(DocumentError::Schema);
        }
        Ok(document)
    }

    /// The evidence's bytes.
    pub fn evidence_bytes(&self) -> Result<Vec<u8>, DocumentError> {
        B64.decode(&self.evidence).map_err(|_| DocumentError::Base64 { member: "evidence" })
    }

    /// The endorsements for [`casemate_attest::verify`].
    pub fn endorsements(&self) -> Result<Endorsements, DocumentError> {
        let part = |member, text: &str| B64.decode(text).map_err(|_| DocumentError::Base64 { member });
        let vek = part("endorsements.vek", &self.endorsements.vek)?;
        let crl = part("endorsements.crl", &self.endorsements.crl)?;
        Ok(Endorsements::snp(vek, Revocation::Crl(crl)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> String {
        serde_json::to_string(&AttestationDocument::new("sev-snp", b"r", b"v", b"c", "{}".into(), None))
            .unwrap()
    }

    #[test]
    fn round_trip() {
        let document = AttestationDocument::parse(good().as_bytes()).unwrap();
        assert_eq!(document.evidence_bytes().unwrap(), b"r");
        assert!(document.endorsements().is_ok());
    }

    #[test]
    fn one_mistake_each_has_its_code() {
        let edit = |from: &str, to: &str| good().replacen(from, to, 1);
        let cases = [
            (edit("casemate.attestation/1", "casemate.attestation/2"), "document.schema"),
            (edit("\"token\"", "\"tokens\""), "document.malformed"),
            (edit(",\"crl\":\"Yw==\"", ""), "document.malformed"),
            (edit("{", "[{"), "document.malformed"),
            (String::new(), "document.malformed"),
            (" ".repeat(MAX_LEN + 1), "document.too-long"),
        ];
        for (text, code) in cases {
            assert_eq!(AttestationDocument::parse(text.as_bytes()).unwrap_err().code(), code, "{text:.60}");
        }
        let parsed = AttestationDocument::parse(edit("\"cg==\"", "\"c?==\"").as_bytes()).unwrap();
        assert_eq!(parsed.evidence_bytes().unwrap_err().code(), "document.base64");
        let parsed = AttestationDocument::parse(edit("\"Yw==\"", "\"*\"").as_bytes()).unwrap();
        assert_eq!(parsed.endorsements().unwrap_err().code(), "document.base64");
    }
}
