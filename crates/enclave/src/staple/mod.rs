//! Endorsements that the server hands on with its evidence (spec/stapling.md): what the machine brought, completed by the
//! operator's file or by what the vendors' services gave to this very server.
//!
//! Nothing in them is believed by those who get them. A document that lacks one would be refused by every client, and so
//! would one with an endorsement that is not of this machine: the server checks its own evidence with every set before it
//! carries it, and [`Staples`] exist only after that.

mod part;
mod schedule;
mod stapler;

use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use casemate_attest::endorse::{BundleError, EndorsementBundle, MAX_BUNDLE};
use casemate_attest::{Platform, UnixTime};
use casemate_protocol::document::DocumentEndorsements;

use crate::attester::RawEvidence;

pub(crate) use part::{Part, PartSource, Said, keep};
pub use schedule::{EndorsementHealth, EndorsementState};
pub(crate) use stapler::notify;
pub use stapler::{RefreshError, Source, Stapler, Step};

use schedule::State;

/// The endorsements that are carried now. A handle: what [`Stapler`] renews is seen by every holder, always one whole set.
#[derive(Clone)]
pub struct Staples {
    current: Arc<RwLock<Current>>,
}

/// One set, and how it stands; replaced together.
#[derive(Clone)]
struct Current {
    set: Arc<EndorsementBundle>,
    state: State,
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
    /// Neither the machine nor anybody else has it.
    #[error("neither this machine nor a file brought {what}")]
    Missing {
        /// Which endorsement.
        what: &'static str,
    },
    /// The file holds nothing that ends later than what is carried.
    #[error("the file of endorsements holds nothing newer than what is carried")]
    NotNewer,
    /// The set that is carried has run out, and there is no newer one.
    #[error("the endorsements of this machine ran out at {valid_until}")]
    Expired {
        /// Its last good second.
        valid_until: UnixTime,
    },
}

impl StapleError {
    /// The stable code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unreadable => "staple.unreadable",
            Self::Bundle(e) => e.code(),
            Self::Missing { .. } => "staple.missing",
            Self::NotNewer => "staple.not-newer",
            Self::Expired { .. } => "staple.expired",
        }
    }
}

impl Staples {
    fn new(set: EndorsementBundle, state: State) -> Self {
        Self { current: Arc::new(RwLock::new(Current { set: Arc::new(set), state })) }
    }

    /// The endorsements of this evidence, from the set that is carried now.
    ///
    /// # Errors
    /// [`StapleError::Missing`], by name.
    pub fn complete(&self, raw: &RawEvidence) -> Result<DocumentEndorsements, StapleError> {
        let set = self.current().set;
        Ok(document(&complete(&set, raw)?, raw))
    }

    /// That the set has not run out: a verifier would refuse a document with it (STAPLE-07).
    ///
    /// # Errors
    /// [`StapleError::Expired`].
    pub fn in_date(&self, now: UnixTime) -> Result<(), StapleError> {
        let EndorsementHealth { state, valid_until, .. } = self.health(now);
        if state == EndorsementState::Expired {
            return Err(StapleError::Expired { valid_until });
        }
        Ok(())
    }

    /// How the endorsements stand.
    pub fn health(&self, now: UnixTime) -> EndorsementHealth {
        self.current().state.health(now)
    }

    fn current(&self) -> Current {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes the state, and the set where there is a new one, in one step.
    fn replace(&self, set: Option<EndorsementBundle>, state: State) {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        current.set = set.map_or_else(|| current.set.clone(), Arc::new);
        current.state = state;
    }
}

/// Reads the operator's file, from `casemate endorse fetch`.
///
/// # Errors
/// A file that cannot be read or is no bundle.
pub(crate) fn read_bundle(path: &Path) -> Result<EndorsementBundle, StapleError> {
    let len = std::fs::metadata(path).map_err(|_| StapleError::Unreadable)?.len();
    if len > MAX_BUNDLE as u64 {
        return Err(StapleError::Unreadable);
    }
    let bytes = std::fs::read(path).map_err(|_| StapleError::Unreadable)?;
    Ok(EndorsementBundle::parse(&bytes)?)
}

/// The whole set for this evidence. What the machine itself brought comes first: it is as new as the evidence.
fn complete(bundle: &EndorsementBundle, raw: &RawEvidence) -> Result<EndorsementBundle, StapleError> {
    let missing = |what| StapleError::Missing { what };
    let (brought, set) = (&raw.endorsements, EndorsementBundle::default());
    match raw.platform {
        Platform::SevSnp | Platform::AzureVtpm => {
            let filed = bundle.amd();
            let vek = brought.vek.as_deref().or(filed.map(|(vek, _)| vek));
            let crl = brought.crl.as_deref().or(filed.map(|(_, crl)| crl));
            Ok(set.with_amd(
                vek.ok_or(missing("the certificate of the key that signs reports (VCEK or VLEK)"))?.to_vec(),
                crl.ok_or(missing("AMD's certificate revocation list"))?.to_vec(),
            ))
        }
        Platform::Tdx | Platform::AzureVtpmTdx => {
            let collateral = bundle.intel().ok_or(missing("Intel's collateral"))?;
            Ok(set.with_intel(collateral.clone()))
        }
        // Their evidence carries its certificates itself; Google's are the operator's to bring.
        Platform::Nitro => {
            let lists = bundle.aws().ok_or(missing("the revocation lists of AWS's authorities"))?;
            Ok(set.with_aws(lists.to_vec()))
        }
        Platform::GceVtpm => {
            let what = "the certificates above Google's attestation key, and their revocation lists";
            let ak_chain = bundle.google_ak_chain().ok_or(missing(what))?.to_vec();
            Ok(set.with_google(ak_chain, bundle.google_lists().unwrap_or_default().to_vec()))
        }
        // A platform that this crate does not know is found out by the check of the set.
        _ => Ok(set),
    }
}

/// A whole set as the document carries it.
fn document(set: &EndorsementBundle, raw: &RawEvidence) -> DocumentEndorsements {
    let endorsements = match (set.amd(), set.intel()) {
        (Some((vek, crl)), _) => DocumentEndorsements::amd(vek, crl),
        (None, Some(collateral)) => DocumentEndorsements::intel(collateral.clone()),
        (None, None) => DocumentEndorsements::default(),
    };
    let lists = set.aws().into_iter().chain(set.google_lists()).flatten();
    let ak = raw.endorsements.ak_certificate.iter().chain(set.google_ak_chain().into_iter().flatten());
    endorsements.with_ak(ak.map(Vec::as_slice)).with_lists(lists.map(Vec::as_slice))
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
        let none = EndorsementBundle::default();
        let file = none.clone().with_amd(b"filed v".into(), b"filed c".into());
        for platform in [Platform::SevSnp, Platform::AzureVtpm] {
            let from = |bundle, vek, crl| {
                let raw = raw(platform, vek, crl);
                complete(bundle, &raw).map(|set| document(&set, &raw))
            };
            let amd = |vek: &[u8], crl: &[u8]| Ok(DocumentEndorsements::amd(vek, crl));
            assert_eq!(from(&file, Some(b"v"), None), amd(b"v", b"filed c"));
            assert_eq!(from(&file, None, None), amd(b"filed v", b"filed c"));
            assert_eq!(from(&none, Some(b"v"), Some(b"c")), amd(b"v", b"c"));
            for (vek, crl) in [(None, None), (Some(&b"v"[..]), None), (None, Some(&b"c"[..]))] {
                assert_eq!(from(&none, vek, crl).unwrap_err().code(), "staple.missing");
            }
        }
        let of = |platform| complete(&file, &raw(platform, None, None));
        assert_eq!(of(Platform::Tdx).unwrap_err().code(), "staple.missing");
        for platform in [Platform::Nitro, Platform::GceVtpm] {
            assert_eq!(of(platform).unwrap_err().code(), "staple.missing");
        }
    }

    #[test]
    fn lists_of_aws_and_google_are_carried_where_their_evidence_is() {
        let bundle = EndorsementBundle::default()
            .with_aws(vec![b"region".into(), b"zone".into()])
            .with_google(vec![b"issuer".into()], vec![b"list".into()]);
        let carried = |platform| {
            let raw = raw(platform, None, None);
            document(&complete(&bundle, &raw).unwrap(), &raw)
        };
        let none = DocumentEndorsements::default;
        assert_eq!(carried(Platform::Nitro), none().with_lists([&b"region"[..], b"zone"]));
        assert_eq!(carried(Platform::GceVtpm), none().with_ak([&b"issuer"[..]]).with_lists([&b"list"[..]]));
    }

    #[test]
    fn a_file_that_is_none_has_its_code() {
        let dir = std::env::temp_dir().join(format!("casemate-staple-{}", std::process::id()));
        assert_eq!(read_bundle(&dir).unwrap_err().code(), "staple.unreadable");
        std::fs::write(&dir, "{}").unwrap();
        assert_eq!(read_bundle(&dir).unwrap_err().code(), "endorse.bundle.form");
        std::fs::remove_file(&dir).unwrap();
    }
}
