//! How often and how long a busy device is asked again (ATT-05).

use std::io;
use std::time::Duration;

/// How often and how long something is tried again.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    pub(crate) attempts: u32,
    /// Doubled after each try.
    pub(crate) pause: Duration,
}

impl Patience {
    /// 2.5 seconds in all: firmware takes milliseconds, and is throttled to a few requests in a second.
    pub(crate) const USUAL: Self = Self { attempts: 8, pause: Duration::from_millis(10) };

    /// The pauses, one after each try.
    pub(crate) fn pauses(self) -> impl Iterator<Item = Duration> {
        std::iter::successors(Some(self.pause), |pause| Some(pause.saturating_mul(2)))
            .take(self.attempts as usize)
    }
}

/// Another request is in progress, the firmware is throttled, or a signal came.
pub(crate) fn is_busy(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EBUSY | libc::EAGAIN | libc::EINTR))
}
