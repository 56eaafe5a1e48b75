//! The time, as an argument: of the machine (STAPLE-10), or of a test.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use casemate_attest::UnixTime;

/// Where the time comes from. `None` is a clock before 1970, which tells no time.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Option<UnixTime> + Send + Sync>);

impl Clock {
    /// The machine's clock.
    pub fn system() -> Self {
        Self::new(|| SystemTime::now().duration_since(UNIX_EPOCH).ok().map(|since| UnixTime(since.as_secs())))
    }

    /// Another clock.
    pub fn new(now: impl Fn() -> Option<UnixTime> + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// The time.
    pub fn now(&self) -> Option<UnixTime> {
        (self.0)()
    }
}
