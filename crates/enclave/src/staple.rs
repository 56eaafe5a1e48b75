//! Endorsements that the server hands on with its evidence: what the machine brought, completed by the operator's file.
//!
//! Nothing in them is believed here or by those who get them. A document that lacks one would be refused by every client, so
//! a server that lacks one does not start (ATT-08).

use std::path::Path;

use casemate_attest::Platform;
use casemate_attest::endorse::{BundleError, EndorsementBundle, MAX_BUNDLE};
use casemate_protocol::document::DocumentEndorsements;

use crate::attester::RawEvidence;

/// The operator's endorsements: a file of `casemate endorse fetch`, or none.
#[derive(Debug, Clone, Default)]
pub struct Staples {
    bundle: EndorsementBundle,
}

/// Why endorsements cannot be handed on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StapleError {
    /// The file cannot be read.
    #[error("the file of endorsements cannot be read, or is longer than {MAX_BUNDLE} bytes")]
    Unreadable,
    /// The file is not a bundle.
    #[error("the file of endorsements: {0}")]
    Bundle(#[from] BundleError),
    /// Neither the machine nor the file has it.
    #[error("neither this machine nor a file brought {what}")]
    Missing {
        /// Which endorsement.
        what: &'static str,
    },
}

impl StapleError {
    /// The stable code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unreadable => "staple.unreadable",
            Self::Bundle(e) => e.code(),
            Self::Missing { .. } => "staple.missing",
        }
    }
}

impl Staples {
    /// Reads the operator's file.
    ///
    /// # Errors
    /// A file that cannot be read or is no bundle.
    pub fn read(path: &Path) -> Result<Self, StapleError> {
        let len = std::fs::metadata(path).map_err(|_| StapleError::Unreadable)?.len();
        if len > MAX_BUNDLE as u64 {
            return Err(StapleError::Unreadable);
        }
        let bytes = std::fs::read(path).map_err(|_| StapleError::Unreadable)?;
        Ok(Self { bundle: EndorsementBundle::parse(&bytes)? })
    }

    /// The endorsements of this evidence. What the machine itself brought comes first: it is as new as the evidence.
    ///
    /// # Errors
    /// [`StapleError::Missing`], by name.
    pub fn complete(&self, raw: &RawEvidence) -> Result<DocumentEndorsements, StapleError> {
        let missing = |what| StapleError::Missing { what };
        let brought = &raw.endorsements;
        let endorsements = match raw.platform {
            Platform::SevSnp | Platform::AzureVtpm => {
                let filed = self.bundle.amd();
                let vek = brought.vek.as_deref().or(filed.map(|(vek, _)| vek));
                let crl = brought.crl.as_deref().or(filed.map(|(_, crl)| crl));
                DocumentEndorsements::amd(
                    vek.ok_or(missing("the certificate of the key that signs reports (VCEK or VLEK)"))?,
                    crl.ok_or(missing("AMD's certificate revocation list"))?,
                )
            }
            Platform::Tdx | Platform::AzureVtpmTdx => {
                let collateral = self.bundle.intel().ok_or(missing("Intel's collateral"))?;
                DocumentEndorsements::intel(collateral.clone())
            }
            // Their evidence carries its certificates itself.
            _ => DocumentEndorsements::default(),
        };
        Ok(endorsements.with_ak(brought.ak_certificate.as_deref()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attester::Brought;

    fn raw(platform: Platform, vek: Option<&[u8]>, crl: Option<&[u8]>) -> RawEvidence {
        let endorsements =
            Brought { vek: vek.map(Into::into), crl: crl.map(Into::into), ak_certificate: None };
        RawEvidence { platform, evidence: Vec::new(), endorsements }
    }

    #[test]
    fn what_the_machine_brought_comes_first_and_the_file_completes_it() {
        let file =
            Staples { bundle: EndorsementBundle::default().with_amd(b"filed v".into(), b"filed c".into()) };
        for platform in [Platform::SevSnp, Platform::AzureVtpm] {
            let from = |staples: &Staples, vek, crl| staples.complete(&raw(platform, vek, crl));
            let amd = |vek: &[u8], crl: &[u8]| Ok(DocumentEndorsements::amd(vek, crl));
            assert_eq!(from(&file, Some(b"v"), None), amd(b"v", b"filed c"));
            assert_eq!(from(&file, None, None), amd(b"filed v", b"filed c"));
            assert_eq!(from(&Staples::default(), Some(b"v"), Some(b"c")), amd(b"v", b"c"));
            for (vek, crl) in [(None, None), (Some(&b"v"[..]), None), (None, Some(&b"c"[..]))] {
                assert_eq!(from(&Staples::default(), vek, crl).unwrap_err().code(), "staple.missing");
            }
        }
        let of = |platform| file.complete(&raw(platform, None, None));
        assert_eq!(of(Platform::Tdx).unwrap_err().code(), "staple.missing");
        assert_eq!(of(Platform::Nitro), Ok(DocumentEndorsements::default()));
    }

    #[test]
    fn a_file_that_is_none_has_its_code() {
        let dir = std::env::temp_dir().join(format!("casemate-staple-{}", std::process::id()));
        assert_eq!(Staples::read(&dir).unwrap_err().code(), "staple.unreadable");
        std::fs::write(&dir, "{}").unwrap();
        assert_eq!(Staples::read(&dir).unwrap_err().code(), "endorse.bundle.form");
        std::fs::remove_file(&dir).unwrap();
    }
}
