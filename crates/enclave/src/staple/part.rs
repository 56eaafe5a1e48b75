//! Keeps what is said of the machine's GPUs and of its virtual TPM in date, as [`super::Stapler`] does for the processor
//! (spec/stapling.md, STAPLE-11).

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use casemate_attest::UnixTime;
use casemate_attest::endorse::EndorsementBundle;
use casemate_endorse::Settings;

use super::schedule::{self, Action, EndorsementHealth, LONGEST_SLEEP, Span, State};
use super::stapler::jitter;
use super::{RefreshError, StapleError, Step, read_bundle};

/// Who has newer endorsements of a part.
#[derive(Debug, Clone)]
pub(crate) enum PartSource {
    /// Nobody: a simulated part's are made once.
    Nobody,
    /// A file that somebody else renews.
    File(PathBuf),
    /// The vendors' services, or caches in front of them.
    Vendors(Box<Settings>),
}

/// What is carried of a part's endorsements, and how it stands; replaced together.
pub(crate) struct Said<T> {
    current: RwLock<(Arc<T>, State)>,
}

/// A part of the machine whose endorsements run out.
pub(crate) trait Part: Send + Sync {
    /// For the log.
    const NAME: &'static str;
    /// Why its own evidence is not genuine.
    type Error: std::fmt::Display + Send;
    /// Its endorsements as they are carried.
    type Said: Send + Sync;

    /// What is carried.
    fn said(&self) -> &Said<Self::Said>;

    /// Asks the vendors' services for newer ones.
    fn fetch(
        &self,
        settings: &Settings,
        now: UnixTime,
    ) -> impl Future<Output = Result<EndorsementBundle, RefreshError>> + Send;

    /// Checks this part's own fresh evidence with newer ones, as every client will. Returns them as they are carried, and the last
    /// second at which the evidence is genuine. May block on a device.
    ///
    /// # Errors
    /// Evidence that is not genuine with them.
    fn judge(&self, bundle: &EndorsementBundle, now: UnixTime)
    -> Result<(Self::Said, UnixTime), Self::Error>;

    /// The stable code of an error.
    fn code(error: &Self::Error) -> &'static str;
}

impl<T> Said<T> {
    /// The first endorsements, that were checked at `now` and are good until `valid_until`.
    pub(crate) fn new(said: T, now: UnixTime, valid_until: UnixTime) -> Self {
        let state = State::started(now, Span::of(&[], now, valid_until), jitter());
        Self { current: RwLock::new((Arc::new(said), state)) }
    }

    /// What is carried now.
    pub(crate) fn get(&self) -> Arc<T> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).0.clone()
    }

    /// How it stands.
    pub(crate) fn health(&self, now: UnixTime) -> EndorsementHealth {
        self.state().health(now)
    }

    /// Last second at which it is good.
    pub(crate) fn valid_until(&self) -> UnixTime {
        self.health(UnixTime(0)).valid_until
    }

    fn state(&self) -> State {
        self.current.read().unwrap_or_else(PoisonError::into_inner).1
    }

    fn replace(&self, said: Option<T>, state: State) {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(said) = said {
            current.0 = Arc::new(said);
        }
        current.1 = state;
    }
}

/// Does what is due at `now`: nothing, or one attempt. What fails is in [`Said::health`], and what is carried stays.
pub(crate) async fn keep<P: Part + 'static>(part: &Arc<P>, source: &PartSource, now: UnixTime) -> Step {
    let state = part.said().state();
    if let Action::Wait(wait) = schedule::next(now, &state) {
        return Step { wait, renewed: false };
    }
    let renewed = match attempt(part, source, now).await {
        Ok(Some((said, valid_until))) => {
            let span = Span::of(&[], now, valid_until);
            part.said().replace(Some(said), state.succeeded(now, span, jitter()));
            tracing::info!(part = P::NAME, valid_until = valid_until.0, "endorsements renewed");
            true
        }
        Ok(None) => return Step { wait: LONGEST_SLEEP, renewed: false },
        Err((code, reason)) => {
            let failed = state.failed(now, code, jitter());
            part.said().replace(None, failed);
            let valid_until = failed.health(now).valid_until.0;
            tracing::warn!(part = P::NAME, code, valid_until, "endorsements not renewed: {reason}");
            false
        }
    };
    let Action::Wait(wait) = schedule::next(now, &part.said().state()) else {
        return Step { wait: LONGEST_SLEEP, renewed };
    };
    Step { wait, renewed }
}

type Failure = (&'static str, String);

/// Newer endorsements with which the part's own evidence is genuine for longer; `None` where nobody has any.
async fn attempt<P: Part + 'static>(
    part: &Arc<P>,
    source: &PartSource,
    now: UnixTime,
) -> Result<Option<(P::Said, UnixTime)>, Failure> {
    let bundle = match source {
        PartSource::Nobody => return Ok(None),
        PartSource::File(path) => read_bundle(path).map_err(|error| (error.code(), error.to_string()))?,
        PartSource::Vendors(settings) => {
            let settings = Settings { renew: true, ..Settings::clone(settings) };
            part.fetch(&settings, now).await.map_err(|error| (error.code(), error.to_string()))?
        }
    };
    let judging = part.clone();
    let judged = tokio::task::spawn_blocking(move || judging.judge(&bundle, now)).await;
    // The device's code panicked.
    let judged = judged.map_err(|_| ("attester.stopped", "the device's code ended".to_owned()))?;
    let (said, valid_until) = judged.map_err(|error| (P::code(&error), error.to_string()))?;
    // Who hands out older answers takes back what is revoked meanwhile.
    if valid_until <= part.said().valid_until() {
        return Err((StapleError::NotNewer.code(), StapleError::NotNewer.to_string()));
    }
    Ok(Some((said, valid_until)))
}
