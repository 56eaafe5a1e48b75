//! A server that was told to stop (spec/serving.md, SRV-62).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Whether a server was told to stop: requests are still answered, and `GET /ready` refuses.
#[derive(Debug, Clone, Default)]
pub struct Draining(Arc<AtomicBool>);

impl Draining {
    /// Whether it was.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Resolves when the listener may close: `time` after `stop`, while whoever asks `GET /ready` learns of it.
    pub async fn after(self, stop: impl Future<Output = ()>, time: Duration) {
        stop.await;
        self.0.store(true, Ordering::Relaxed);
        tracing::info!(seconds = time.as_secs(), "told to stop");
        tokio::time::sleep(time).await;
    }
}
