//! Obtains endorsements, checks the machine's own evidence with them, and only then has them carried (spec/stapling.md,
//! STAPLE-01 to STAPLE-04, STAPLE-08).

use std::path::PathBuf;
use std::sync::Arc;

use casemate_attest::endorse::{AnswerError, EndorsementBundle};
use casemate_attest::{Evidence, Platform, Rejected, TrustAnchors, UnixTime, verify};
use casemate_endorse::{EndorseError, Known, Notice, Settings, fetch};
use casemate_protocol::document::{AttestationDocument, DocumentError};

use super::schedule::{self, Action, Jitter, LONGEST_SLEEP, Span, State};
use super::{StapleError, Staples, complete, document, read_bundle};
use crate::attester::{Attester, AttesterError, RawEvidence};
use crate::gpu::GpuError;

/// Who has what the machine does not bring.
#[derive(Debug, Clone)]
pub enum Source {
    /// What was read, or nobody (an empty bundle). Nobody is asked.
    Given(Box<EndorsementBundle>),
    /// A file, which is read anew whenever newer ones are due: somebody else renews it.
    File(PathBuf),
    /// The vendors' services, or caches in front of them.
    Vendors(Box<Settings>),
}

/// Keeps the endorsements of one machine in date.
pub struct Stapler {
    attester: Arc<dyn Attester>,
    source: Source,
    anchors: TrustAnchors,
    staples: Staples,
}

/// What a step did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Seconds until the next step.
    pub wait: u64,
    /// Whether another set is carried since.
    pub renewed: bool,
}

/// Why there is no set of endorsements with which the machine's own evidence is genuine.
#[derive(Debug, thiserror::Error)]
pub enum RefreshError {
    /// There is no evidence to check.
    #[error(transparent)]
    Attester(#[from] AttesterError),
    /// An endorsement is missing.
    #[error(transparent)]
    Staple(#[from] StapleError),
    /// There is no evidence of the GPUs to check.
    #[error(transparent)]
    Gpu(#[from] GpuError),
    /// A vendor's service did not give one, or gave a wrong one.
    #[error(transparent)]
    Fetch(Box<EndorseError>),
    /// They are not of this evidence's platform.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// The machine's own evidence is not genuine with them: every client would refuse it.
    #[error("this machine's own evidence does not verify: {0}")]
    Rejected(Box<Rejected>),
    /// One of them cannot be read.
    #[error(transparent)]
    Unreadable(#[from] AnswerError),
    /// One of them is older than the one that is carried: somebody takes back what is revoked (STAPLE-08).
    #[error("{what} is older than the one that is carried")]
    Older {
        /// Which.
        what: &'static str,
    },
}

impl RefreshError {
    /// The stable code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Attester(e) => e.code(),
            Self::Staple(e) => e.code(),
            Self::Gpu(e) => e.code(),
            Self::Fetch(e) => e.code(),
            Self::Document(e) => e.code(),
            Self::Rejected(e) => e.code(),
            Self::Unreadable(e) => e.code(),
            Self::Older { .. } => "staple.older",
        }
    }
}

impl From<EndorseError> for RefreshError {
    fn from(error: EndorseError) -> Self {
        Self::Fetch(Box::new(error))
    }
}

impl Stapler {
    /// Obtains the first set for this machine and checks the machine's own evidence with it under `anchors` at `now`
    /// (STAPLE-02, STAPLE-03).
    ///
    /// # Errors
    /// By name, whatever every client would stumble over.
    pub async fn start(
        attester: Arc<dyn Attester>,
        source: Source,
        anchors: TrustAnchors,
        now: UnixTime,
    ) -> Result<Self, RefreshError> {
        let (set, span) = obtain(&attester, &source, &anchors, now, false).await?;
        let staples = Staples::new(set, State::started(now, span, jitter()));
        Ok(Self { attester, source, anchors, staples })
    }

    /// The endorsements that are carried.
    pub fn staples(&self) -> Staples {
        self.staples.clone()
    }

    /// Does what is due at `now`: nothing, or one attempt to renew the set. What fails is in [`Staples::health`], and the
    /// set that is carried stays (STAPLE-04).
    pub async fn step(&self, now: UnixTime) -> Step {
        let state = self.staples.current().state;
        if let Action::Wait(wait) = schedule::next(now, &state) {
            return Step { wait, renewed: false };
        }
        let renewed = match self.renew(now).await {
            Ok((set, span)) => {
                self.staples.replace(Some(set), state.succeeded(now, span, jitter()));
                tracing::info!(valid_until = span.valid_until.0, "endorsements renewed");
                true
            }
            Err(error) => {
                let failed = state.failed(now, error.code(), jitter());
                self.staples.replace(None, failed);
                let valid_until = failed.health(now).valid_until.0;
                tracing::warn!(code = error.code(), valid_until, "endorsements not renewed: {error}");
                false
            }
        };
        let Action::Wait(wait) = schedule::next(now, &self.staples.current().state) else {
            return Step { wait: LONGEST_SLEEP, renewed };
        };
        Step { wait, renewed }
    }

    async fn renew(&self, now: UnixTime) -> Result<(EndorsementBundle, Span), RefreshError> {
        let (set, span) = obtain(&self.attester, &self.source, &self.anchors, now, true).await?;
        match set.older_than(&self.staples.current().set)? {
            Some(what) => Err(RefreshError::Older { what }),
            None => Ok((set, span)),
        }
    }
}

/// A whole set, with which the machine's own evidence is genuine at `now`.
async fn obtain(
    attester: &Arc<dyn Attester>,
    source: &Source,
    anchors: &TrustAnchors,
    now: UnixTime,
    renew: bool,
) -> Result<(EndorsementBundle, Span), RefreshError> {
    let device = attester.clone();
    let raw = tokio::task::spawn_blocking(move || device.evidence(&SELF_CHECK)).await;
    // The device's code panicked.
    let raw = raw.map_err(|_| AttesterError::Stopped)??;
    let evidence = Evidence::parse(&raw.evidence).map_err(AttesterError::Evidence)?;
    let bundle = match source {
        Source::Given(bundle) => (**bundle).clone(),
        Source::File(path) => read_bundle(path)?,
        Source::Vendors(settings) if lacks(&raw) => {
            let known = Known { vek: raw.endorsements.vek.clone(), ..Known::default() };
            let settings = Settings { renew, ..Settings::clone(settings) };
            fetch(&evidence, &known, anchors, now, &settings, &notify).await?.bundle
        }
        Source::Vendors(_) => EndorsementBundle::default(),
    };
    let set = complete(&bundle, &raw)?;
    let valid_until = check(&raw, &evidence, &set, anchors, now)?;
    let span = Span::of(&set.dates()?, now, valid_until);
    Ok((set, span))
}

/// Whether this evidence needs what the machine did not bring, and the vendors' services have.
fn lacks(raw: &RawEvidence) -> bool {
    match raw.platform {
        Platform::SevSnp | Platform::AzureVtpm => {
            raw.endorsements.vek.is_none() || raw.endorsements.crl.is_none()
        }
        // Of the others nothing comes with the evidence.
        _ => true,
    }
}

/// The machine's own evidence through a client's eyes: the same document, the same rules (STAPLE-03). Returns the last
/// second at which it is genuine.
fn check(
    raw: &RawEvidence,
    evidence: &Evidence,
    set: &EndorsementBundle,
    anchors: &TrustAnchors,
    now: UnixTime,
) -> Result<UnixTime, RefreshError> {
    let carried = document(set, raw);
    let carried = AttestationDocument::new(raw.platform, &raw.evidence, carried, String::new(), None);
    let endorsements = carried.endorsements(evidence)?;
    let authentic = verify(evidence, &endorsements, anchors, now);
    let authentic = authentic.map_err(|rejected| RefreshError::Rejected(Box::new(rejected)))?;
    Ok(authentic.valid_until())
}

pub(crate) fn notify(notice: &Notice) {
    match notice {
        Notice::Waiting { host, seconds } => {
            tracing::info!(host, seconds, "waiting before a vendor's service is asked");
        }
        Notice::Damaged { name } => tracing::warn!(name, "a damaged file of the endorsement cache"),
    }
}

/// Where the system gives no random bytes, machines may ask at the same time; nothing else rests on it.
pub(super) fn jitter() -> Jitter {
    let mut bytes = [0; 2];
    let drawn = aws_lc_rs::rand::fill(&mut bytes);
    Jitter(drawn.map_or(u16::MAX / 2, |()| u16::from_be_bytes(bytes)))
}

/// The report data of evidence that nobody else sees: no statement and no message to a broker has it.
const SELF_CHECK: [u8; 64] = [0; 64];
