//! The virtual TPM beside the machine's hardware (spec/attesters.md §10): on Google Cloud it says what was booted, which the
//! launch measurement there does not.
//!
//! [`Vtpm`] exists only after its own evidence was found genuine, as every client will look at it. A server that was told to
//! show its virtual TPM and cannot does not start, and hands out no document without it.

use std::sync::Arc;

use casemate_attest::endorse::EndorsementBundle;
use casemate_attest::{Danger, Evidence, Platform, Rejected, TrustAnchors, UnixTime, verify};
use casemate_endorse::{Known, Settings, fetch};
use casemate_protocol::document::{DocumentEndorsements, DocumentError, DocumentVtpm};
use casemate_protocol::statement::Stated;
use casemate_protocol::vtpm;

use crate::attester::{Attester, AttesterError, GceError, RawEvidence, Roots, gce, google_vtpm};
use crate::config::VtpmSource;
use crate::staple::{EndorsementHealth, Part, RefreshError, Said, StapleError, notify, read_bundle};

/// A virtual TPM with what its provider says of its key. Only [`Vtpm::start`] makes one.
pub struct Vtpm {
    attester: Arc<dyn Attester>,
    key_sha256: [u8; 32],
    unlisted: Danger,
    anchors: TrustAnchors,
    said: Said<VtpmSaid>,
}

/// What Google says of its key, as it is carried and as it is renewed.
pub(crate) struct VtpmSaid {
    endorsements: DocumentEndorsements,
    chain: Vec<Vec<u8>>,
}

/// Why there is no evidence of the virtual TPM.
#[derive(Debug, thiserror::Error)]
pub enum VtpmError {
    /// The TPM.
    #[error(transparent)]
    Attester(#[from] AttesterError),
    /// The file of its endorsements, or one that is not in it.
    #[error(transparent)]
    Staple(#[from] StapleError),
    /// Its endorsements are not of its platform.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// Its own evidence is not genuine with them: every client would refuse it.
    #[error("the virtual TPM's own evidence does not verify: {0}")]
    Rejected(Box<Rejected>),
}

/// The virtual TPM that the operator wrote down, verified; `None` where nobody wrote that there is one. As root: the device is
/// not for the user that the server becomes.
pub(crate) fn start(
    source: &VtpmSource,
    hardware: Platform,
    now: UnixTime,
) -> Result<Option<Arc<Vtpm>>, VtpmError> {
    let VtpmSource::Google { endorsements, unlisted } = source else { return Ok(None) };
    gce::beside(hardware).map_err(AttesterError::from)?;
    let bundle = read_bundle(endorsements)?;
    let attester = google_vtpm(&Roots::system())?;
    let vtpm = Vtpm::start(attester, &bundle, unlisted, &TrustAnchors::vendors(), now)?;
    tracing::info!(
        key = hex::encode(vtpm.key_sha256),
        valid_until = vtpm.valid_until().0,
        "virtual TPM verified"
    );
    Ok(Some(Arc::new(vtpm)))
}

/// Evidence of this machine's virtual TPM of Google's, for `casemate endorse fetch`. It binds nothing.
///
/// # Errors
/// Where there is none, or it is none of Google's.
pub fn vtpm_evidence() -> Result<Vec<u8>, AttesterError> {
    Ok(google_vtpm(&Roots::system())?.evidence(&UNBOUND)?.evidence)
}

// === impl Vtpm ===

impl Vtpm {
    /// Verifies the evidence of this virtual TPM with these endorsements under `anchors`, as every client will (ATT-86).
    /// `unlisted` decides about certificates that name no revocation list, as a client's policy does.
    ///
    /// # Errors
    /// No evidence, a missing endorsement, or evidence that is not genuine with them.
    pub fn start(
        attester: Arc<dyn Attester>,
        bundle: &EndorsementBundle,
        unlisted: &Danger,
        anchors: &TrustAnchors,
        now: UnixTime,
    ) -> Result<Self, VtpmError> {
        let raw = attester.evidence(&UNBOUND)?;
        let (evidence, key_sha256) = read(&raw)?;
        let (said, valid_until) = judge(&evidence, bundle, unlisted, anchors, now)?;
        let said = Said::new(said, now, valid_until);
        Ok(Self { attester, key_sha256, unlisted: unlisted.clone(), anchors: anchors.clone(), said })
    }

    /// What the statement names of it.
    pub fn stated(&self) -> Stated {
        Stated::Is(self.key_sha256)
    }

    /// Fresh evidence that binds this report data, with its endorsements.
    ///
    /// # Errors
    /// A TPM that quotes no more, or with another key (ATT-83).
    pub fn evidence(&self, report_data: &[u8; 64]) -> Result<DocumentVtpm, VtpmError> {
        let raw = self.attester.evidence(report_data)?;
        let (_, found) = read(&raw)?;
        if found != self.key_sha256 {
            return Err(AttesterError::from(GceError::KeyChanged).into());
        }
        Ok(DocumentVtpm::new(&raw.evidence, self.said.get().endorsements.clone()))
    }

    /// That its endorsements have not run out: a verifier would refuse a document with them (ATT-86).
    ///
    /// # Errors
    /// [`StapleError::Expired`].
    pub fn in_date(&self, now: UnixTime) -> Result<(), StapleError> {
        let valid_until = self.valid_until();
        if now > valid_until { Err(StapleError::Expired { valid_until }) } else { Ok(()) }
    }

    /// Last second at which certificates and revocation lists are all valid.
    pub fn valid_until(&self) -> UnixTime {
        self.said.valid_until()
    }

    /// How its endorsements stand.
    pub(crate) fn health(&self, now: UnixTime) -> EndorsementHealth {
        self.said.health(now)
    }
}

impl Part for Vtpm {
    const NAME: &'static str = "virtual TPM";
    type Error = VtpmError;
    type Said = VtpmSaid;

    fn said(&self) -> &Said<VtpmSaid> {
        &self.said
    }

    async fn fetch(&self, settings: &Settings, now: UnixTime) -> Result<EndorsementBundle, RefreshError> {
        let attester = self.attester.clone();
        let raw = tokio::task::spawn_blocking(move || attester.evidence(&UNBOUND)).await;
        // The device's code panicked.
        let raw = raw.map_err(|_| AttesterError::Stopped)??;
        let evidence = Evidence::parse(&raw.evidence).map_err(AttesterError::Evidence)?;
        let danger_unlisted = match &self.unlisted {
            Danger::Refuse => None,
            Danger::Allow { reason } => Some(reason.clone()),
        };
        let ak_chain = Some(self.said.get().chain.clone());
        let known = Known { ak_chain, danger_unlisted, ..Known::default() };
        Ok(fetch(&evidence, &known, &self.anchors, now, settings, &notify).await?.bundle)
    }

    fn judge(&self, bundle: &EndorsementBundle, now: UnixTime) -> Result<(VtpmSaid, UnixTime), VtpmError> {
        let (evidence, found) = read(&self.attester.evidence(&UNBOUND)?)?;
        if found != self.key_sha256 {
            return Err(AttesterError::from(GceError::KeyChanged).into());
        }
        judge(&evidence, bundle, &self.unlisted, &self.anchors, now)
    }

    fn code(error: &VtpmError) -> &'static str {
        error.code()
    }
}

// === impl VtpmError ===

impl VtpmError {
    /// The stable code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Attester(error) => error.code(),
            Self::Staple(error) => error.code(),
            Self::Document(error) => error.code(),
            Self::Rejected(rejected) => rejected.code(),
        }
    }

    /// What the operator can do about it, where we know.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Attester(error) => error.hint(),
            Self::Staple(_) => Some(
                "the file of --gce-vtpm comes from `casemate endorse gce-vtpm` and `endorse fetch --ak-chain`",
            ),
            Self::Rejected(rejected) if rejected.code() == "crl.unlisted" => Some(
                "Google's newer certificates of attestation keys name no list: decide about them with --danger-vtpm-unlisted REASON",
            ),
            Self::Rejected(_) => Some(
                "every client would refuse this virtual TPM: are the endorsements of this instance, and of this day?",
            ),
            Self::Document(_) => None,
        }
    }
}

/// Whether the evidence is genuine with these, and until when.
fn judge(
    evidence: &Evidence,
    bundle: &EndorsementBundle,
    unlisted: &Danger,
    anchors: &TrustAnchors,
    now: UnixTime,
) -> Result<(VtpmSaid, UnixTime), VtpmError> {
    let what = "the certificates above Google's attestation key, and their revocation lists";
    let chain = bundle.google_ak_chain().ok_or(StapleError::Missing { what })?;
    let lists = bundle.google_lists().unwrap_or_default();
    let endorsements = DocumentEndorsements::default()
        .with_ak(chain.iter().map(Vec::as_slice))
        .with_lists(lists.iter().map(Vec::as_slice));
    let judged = vtpm::with_unlisted(endorsements.of(evidence)?, unlisted);
    let authentic = verify(evidence, &judged, anchors, now);
    let authentic = authentic.map_err(|rejected| VtpmError::Rejected(Box::new(rejected)))?;
    Ok((VtpmSaid { endorsements, chain: chain.to_vec() }, authentic.valid_until()))
}

/// The evidence, and what a statement names of the key that signed it.
fn read(raw: &RawEvidence) -> Result<(Evidence, [u8; 32]), AttesterError> {
    let evidence = Evidence::parse(&raw.evidence).map_err(AttesterError::Evidence)?;
    let found = evidence.platform();
    let key = vtpm::key_sha256(&evidence);
    Ok((evidence, key.ok_or(AttesterError::Platform { expected: Platform::GceVtpm, found })?))
}

/// No statement's.
const UNBOUND: [u8; 64] = [0; 64];
