//! When endorsements are renewed, and what is said of them meanwhile (spec/stapling.md, STAPLE-05 to STAPLE-07). Pure: time
//! and chance are arguments.

use casemate_attest::UnixTime;
use casemate_attest::endorse::{Dated, DatedPart};
use serde::Serialize;

/// The three dates of one whole set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    /// From when on newer ones are asked for.
    pub(crate) due: UnixTime,
    /// From when on `/health` says `expiring`.
    pub(crate) warn: UnixTime,
    /// Last second at which the machine's own evidence is genuine with it.
    pub(crate) valid_until: UnixTime,
}

/// What the refresher knows. All of it is replaced at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct State {
    span: Span,
    /// When the set that is carried was last obtained and checked.
    last_success: UnixTime,
    /// Not before then is anything asked for.
    attempt: UnixTime,
    /// Attempts that failed since the last success.
    failures: u32,
    /// Attempts that failed since the start.
    failures_total: u64,
    last_error: Option<&'static str>,
}

/// What is to be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Nothing, for so many seconds.
    Wait(u64),
    /// Obtain a set and check the machine's own evidence with it.
    Refresh,
}

/// A random number between 0 and 1 in steps of 1/65536, so that machines that started together do not ask together.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Jitter(pub(crate) u16);

/// How the endorsements stand, from best to worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EndorsementState {
    /// In date, and the last attempt to renew them, if there was one, succeeded.
    Fresh,
    /// In date, and the last attempt to renew them failed.
    RefreshFailing,
    /// In date, and about to run out, whatever the last attempt said.
    Expiring,
    /// Out of date: every verifier would refuse them.
    Expired,
}

/// How the endorsements stand, for `/health` and metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct EndorsementHealth {
    /// In one word.
    pub state: EndorsementState,
    /// Last second at which the machine's own evidence is genuine with them.
    pub valid_until: UnixTime,
    /// When they were last obtained and checked.
    pub last_success: UnixTime,
    /// Why the last attempt failed; `None` where it succeeded.
    pub last_error_code: Option<&'static str>,
    /// Attempts that failed since the start; in the metrics only.
    #[serde(skip)]
    pub failures_total: u64,
}

impl EndorsementHealth {
    /// Of two parts of one machine, which is as good as the worse of them.
    #[must_use]
    pub(crate) fn with(self, other: Self) -> Self {
        let failures_total = self.failures_total.saturating_add(other.failures_total);
        let (worse, better) = if other.state > self.state { (other, self) } else { (self, other) };
        Self {
            state: worse.state,
            valid_until: worse.valid_until.min(better.valid_until),
            last_success: worse.last_success.min(better.last_success),
            last_error_code: worse.last_error_code.or(better.last_error_code),
            failures_total,
        }
    }
}

impl Span {
    /// Of a set with these parts, that was checked at `now` and is good until `valid_until`.
    pub(crate) fn of(parts: &[DatedPart], now: UnixTime, valid_until: UnixTime) -> Self {
        // What ends first may be none of the parts: an authority's certificate, or one in the evidence itself.
        let checked = Dated { from: now, until: valid_until };
        let ends_otherwise = parts.iter().all(|part| valid_until < part.dated.until);
        let dated = parts.iter().map(|part| part.dated).chain(ends_otherwise.then_some(checked));
        let due = dated.map(Dated::renewal).min().unwrap_or(valid_until).min(valid_until);
        let lead = valid_until.0.saturating_sub(due.0);
        let warn = UnixTime(valid_until.0.saturating_sub((lead / 2).min(LONGEST_WARNING)));
        Self { due, warn, valid_until }
    }
}

/// The next step.
pub(crate) fn next(now: UnixTime, state: &State) -> Action {
    if now >= state.attempt {
        return Action::Refresh;
    }
    // A clock that goes forward, or a machine that slept, is noticed in time.
    Action::Wait(state.attempt.0.saturating_sub(now.0).min(LONGEST_SLEEP))
}

impl State {
    /// After the first set. Where it is due already it came from the cache folder, and nobody was asked for a newer one yet.
    pub(crate) fn started(now: UnixTime, span: Span, jitter: Jitter) -> Self {
        let soon = UnixTime(now.0.saturating_add(jitter.upper_half(FIRST_WAIT)));
        let attempt = if now < span.due { after_success(now, &span, jitter) } else { soon };
        Self { span, last_success: now, attempt, failures: 0, failures_total: 0, last_error: None }
    }

    /// After another set.
    pub(crate) fn succeeded(self, now: UnixTime, span: Span, jitter: Jitter) -> Self {
        let attempt = after_success(now, &span, jitter);
        Self { span, last_success: now, attempt, failures: 0, last_error: None, ..self }
    }

    /// After an attempt that failed: the old set stays.
    pub(crate) fn failed(self, now: UnixTime, code: &'static str, jitter: Jitter) -> Self {
        let failures = self.failures.saturating_add(1);
        let doubled = 1_u64.checked_shl(failures.saturating_sub(1)).unwrap_or(u64::MAX);
        let wait = FIRST_WAIT.saturating_mul(doubled).min(LONGEST_WAIT);
        Self {
            attempt: UnixTime(now.0.saturating_add(jitter.upper_half(wait))),
            failures,
            failures_total: self.failures_total.saturating_add(1),
            last_error: Some(code),
            ..self
        }
    }

    /// What is said of the set at this time.
    pub(crate) fn health(&self, now: UnixTime) -> EndorsementHealth {
        let state = if now > self.span.valid_until {
            EndorsementState::Expired
        } else if now >= self.span.warn {
            EndorsementState::Expiring
        } else if self.failures > 0 {
            EndorsementState::RefreshFailing
        } else {
            EndorsementState::Fresh
        };
        EndorsementHealth {
            state,
            valid_until: self.span.valid_until,
            last_success: self.last_success,
            last_error_code: self.last_error,
            failures_total: self.failures_total,
        }
    }
}

impl Jitter {
    /// Between nothing and `most`.
    fn up_to(self, most: u64) -> u64 {
        // Waits are far below 2^48 seconds, where this would be cut off.
        most.saturating_mul(self.0.into()) >> 16
    }

    /// Between half of `whole` and `whole`.
    fn upper_half(self, whole: u64) -> u64 {
        let half = whole / 2;
        half.saturating_add(self.up_to(whole.saturating_sub(half)))
    }
}

/// In the first tenth of the time that is left once newer ones are due; where that has begun, nothing newer was to be had,
/// and it is asked again after an eighth of what is left.
fn after_success(now: UnixTime, span: &Span, jitter: Jitter) -> UnixTime {
    if now < span.due {
        let lead = span.valid_until.0.saturating_sub(span.due.0);
        return UnixTime(span.due.0.saturating_add(jitter.up_to(lead / 10)));
    }
    let left = span.valid_until.0.saturating_sub(now.0);
    let wait = (left / 8).clamp(LEAST_AGAIN, LONGEST_AGAIN);
    UnixTime(now.0.saturating_add(jitter.upper_half(wait)))
}

/// A service that fails is asked again after a minute, and then after twice as long each time.
const FIRST_WAIT: u64 = 60;
/// At most an hour: of the shortest lead that vendors' lists leave, a day, two dozen attempts are left.
const LONGEST_WAIT: u64 = 3600;
/// Where nothing newer was to be had: not more often than every ten minutes, so that nobody's service pays for its own lateness,
const LEAST_AGAIN: u64 = 600;
/// and not less often than every day, so that a renewed list is carried on the day after it was issued.
const LONGEST_AGAIN: u64 = 86_400;
/// `expiring` is for people who have to act: a week is enough, and an alarm that lasts for months is not read.
const LONGEST_WARNING: u64 = 7 * 86_400;
/// The clock is looked at every minute.
pub(super) const LONGEST_SLEEP: u64 = 60;

#[cfg(test)]
mod tests;
