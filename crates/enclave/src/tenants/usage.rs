//! How much a tenant uses now.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use casemate_attest::UnixTime;
use casemate_engine::{Tenant, Usage};

use super::TenantLimits;

/// A tenant and what it has left.
pub(super) struct Visitor {
    name: String,
    tenant: Tenant,
    state: Mutex<State>,
}

struct State {
    limits: TenantLimits,
    running: u32,
    requests: Bucket,
    tokens: Bucket,
    at: UnixTime,
}

/// What is left of a minute's worth, in sixtieths, so that each second gives back a whole number. Below zero after an answer that was
/// longer than what was left.
struct Bucket(i64);

/// Why a tenant must wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Busy {
    /// So many requests run at the same time already.
    Concurrent {
        /// As many as may.
        limit: u32,
    },
    /// So many requests came within a minute already.
    Requests {
        /// As many as may.
        limit: u32,
        /// Until the next one may.
        seconds: u64,
    },
    /// So many tokens were read and written within a minute already.
    Tokens {
        /// As many as may.
        limit: u32,
        /// Until the next request may.
        seconds: u64,
    },
}

/// One request of a tenant. It counts as running until it is dropped.
pub(crate) struct Visit {
    visitor: Arc<Visitor>,
}

impl Visitor {
    pub(super) fn new(name: &str, tenant: Tenant, limits: TenantLimits) -> Self {
        let state = State {
            limits,
            running: 0,
            requests: Bucket::full(limits.requests_per_minute),
            tokens: Bucket::full(limits.tokens_per_minute),
            at: UnixTime(0),
        };
        Self { name: name.to_owned(), tenant, state: Mutex::new(state) }
    }

    pub(super) fn enter(self: &Arc<Self>, now: UnixTime) -> Result<Visit, Busy> {
        let mut state = self.state();
        let TenantLimits { concurrent, requests_per_minute, tokens_per_minute } = state.limits;
        // A clock that was set back gives nothing.
        let seconds = now.0.saturating_sub(state.at.0);
        state.at = now.max(state.at);
        state.requests.fill(seconds, requests_per_minute);
        state.tokens.fill(seconds, tokens_per_minute);
        if let Some(limit) = concurrent.filter(|limit| state.running >= *limit) {
            return Err(Busy::Concurrent { limit });
        }
        if let Some(limit) = tokens_per_minute.filter(|_| state.tokens.0 <= 0) {
            return Err(Busy::Tokens { limit, seconds: state.tokens.seconds_until(1, limit) });
        }
        if let Some(limit) = requests_per_minute {
            if state.requests.0 < MINUTE {
                return Err(Busy::Requests { limit, seconds: state.requests.seconds_until(MINUTE, limit) });
            }
            state.requests.0 -= MINUTE;
        }
        state.running = state.running.saturating_add(1);
        Ok(Visit { visitor: Arc::clone(self) })
    }

    /// From now on it may use this. What it has used stays used.
    pub(super) fn limit(&self, limits: TenantLimits) {
        let mut state = self.state();
        let before = std::mem::replace(&mut state.limits, limits);
        state.requests.change(before.requests_per_minute, limits.requests_per_minute);
        state.tokens.change(before.tokens_per_minute, limits.tokens_per_minute);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that holds the lock can leave half a change behind.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Visit {
    pub(crate) fn tenant(&self) -> Tenant {
        self.visitor.tenant
    }

    /// As the operator's file has it.
    pub(crate) fn name(&self) -> &str {
        &self.visitor.name
    }

    /// Counts what an answer has cost.
    pub(crate) fn count(&self, usage: Usage) {
        let tokens = i64::from(usage.prompt_tokens).saturating_add(usage.completion_tokens.into());
        let mut state = self.visitor.state();
        state.tokens.0 = state.tokens.0.saturating_sub(tokens.saturating_mul(MINUTE));
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let mut state = self.visitor.state();
        state.running = state.running.saturating_sub(1);
    }
}

impl Bucket {
    fn full(limit: Option<u32>) -> Self {
        Self(i64::from(limit.unwrap_or(0)).saturating_mul(MINUTE))
    }

    /// What is missing is missing from the new limit too. Where there was no limit, nothing is.
    fn change(&mut self, before: Option<u32>, now: Option<u32>) {
        let missing = before.map_or(0, |before| Self::full(Some(before)).0.saturating_sub(self.0));
        self.0 = Self::full(now).0.saturating_sub(missing);
    }

    fn fill(&mut self, seconds: u64, limit: Option<u32>) {
        let Some(limit) = limit else { return };
        let given = i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(limit.into());
        self.0 = self.0.saturating_add(given).min(Self::full(Some(limit)).0);
    }

    /// At least one second.
    fn seconds_until(&self, wanted: i64, limit: u32) -> u64 {
        let missing = u64::try_from(wanted.saturating_sub(self.0)).unwrap_or(0);
        missing.div_ceil(limit.max(1).into()).max(1)
    }
}

const MINUTE: i64 = 60;

#[cfg(test)]
mod tests {
    use super::*;

    fn visitor(limits: TenantLimits) -> Arc<Visitor> {
        Arc::new(Visitor::new("one", Tenant([1; 32]), limits))
    }

    fn at(seconds: u64) -> UnixTime {
        UnixTime(1_800_000_000 + seconds)
    }

    #[test]
    fn requests_come_back_with_time() {
        let visitor = visitor(TenantLimits { requests_per_minute: Some(3), ..TenantLimits::NONE });
        let enter = |seconds| visitor.enter(at(seconds)).map(drop);
        for _ in 0..3 {
            assert_eq!(enter(0), Ok(()));
        }
        assert_eq!(enter(0), Err(Busy::Requests { limit: 3, seconds: 20 }));
        assert_eq!(enter(19), Err(Busy::Requests { limit: 3, seconds: 1 }));
        assert_eq!(enter(20), Ok(()));
        assert_eq!(enter(20), Err(Busy::Requests { limit: 3, seconds: 20 }));
        // A clock that was set back, and forth again.
        assert_eq!(enter(0), Err(Busy::Requests { limit: 3, seconds: 20 }));
        assert_eq!(enter(20), Err(Busy::Requests { limit: 3, seconds: 20 }));
        // Not more than a minute's worth.
        for _ in 0..3 {
            assert_eq!(enter(10_000), Ok(()));
        }
        assert_eq!(enter(10_000), Err(Busy::Requests { limit: 3, seconds: 20 }));
    }

    #[test]
    fn tokens_are_counted_afterwards() {
        let visitor = visitor(TenantLimits { tokens_per_minute: Some(60), ..TenantLimits::NONE });
        let usage = Usage { prompt_tokens: 50, completion_tokens: 40, ..Usage::default() };
        visitor.enter(at(0)).unwrap().count(usage);
        // 30 below nothing.
        assert_eq!(visitor.enter(at(0)).map(drop), Err(Busy::Tokens { limit: 60, seconds: 31 }));
        assert_eq!(visitor.enter(at(30)).map(drop), Err(Busy::Tokens { limit: 60, seconds: 1 }));
        assert_eq!(visitor.enter(at(31)).map(drop), Ok(()));
    }

    #[test]
    fn what_was_used_counts_under_a_new_limit() {
        let per_minute = |limit| TenantLimits { requests_per_minute: limit, ..TenantLimits::NONE };
        let visitor = visitor(per_minute(Some(3)));
        let enter = |seconds| visitor.enter(at(seconds)).map(drop);
        assert_eq!((enter(0), enter(0)), (Ok(()), Ok(())));
        visitor.limit(per_minute(Some(2)));
        assert_eq!(enter(0), Err(Busy::Requests { limit: 2, seconds: 30 }));
        visitor.limit(per_minute(Some(6)));
        assert_eq!([(); 5].map(|()| enter(0).is_ok()), [true, true, true, true, false]);
        visitor.limit(per_minute(None));
        assert_eq!(enter(0), Ok(()));
        visitor.limit(per_minute(Some(1)));
        assert_eq!((enter(0).is_ok(), enter(0).is_ok()), (true, false), "a limit begins full");
    }

    #[test]
    fn without_limits_nothing_is_refused() {
        let visitor = visitor(TenantLimits::NONE);
        let visits: Vec<_> = (0..1000).map(|_| visitor.enter(at(0)).unwrap()).collect();
        visits[0].count(Usage { prompt_tokens: u32::MAX, ..Usage::default() });
        assert!(visitor.enter(at(0)).is_ok());
    }
}
