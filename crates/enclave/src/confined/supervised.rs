//! An engine whose process is started anew when it ends (spec/confinement.md, CONF-12).

use std::fs::File;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use casemate_engine::{
    Completion, EmbedRequest, Embedded, Engine, EngineError, EngineOptions, Event, GenerateRequest, ModelInfo,
};

use super::engine::ConfinedEngine;
use super::error::ConfineError;
use super::process::{EngineProcess, Patience, Program};

/// What a new process is started with.
pub struct Restart {
    /// The program of the process.
    pub program: Program,
    /// How long it may be silent.
    pub patience: Patience,
    /// The weights: a memory file that nothing changes any more. It is held as long as the engine lives.
    pub weights: File,
    /// As the first one was loaded.
    pub options: EngineOptions,
}

/// A [`ConfinedEngine`] with a successor. Requests that a process had when it ended fail with what ended it, and so do those that come
/// before the next one is ready.
pub struct SupervisedEngine {
    info: ModelInfo,
    current: Arc<RwLock<Arc<ConfinedEngine>>>,
    restarts: Arc<AtomicU64>,
    /// Its end is the watch's.
    alive: Option<Sender<()>>,
    watch: Option<JoinHandle<()>>,
}

impl SupervisedEngine {
    /// Watches over `first`.
    ///
    /// # Errors
    /// Where no thread can be started.
    pub fn new(first: ConfinedEngine, restart: Restart) -> Result<Self, ConfineError> {
        let info = first.info().clone();
        let current = Arc::new(RwLock::new(Arc::new(first)));
        let restarts = Arc::<AtomicU64>::default();
        let (alive, ended) = channel::<()>();
        let watch = thread::Builder::new()
            .name("engine-watch".into())
            .spawn({
                let (current, restarts) = (Arc::clone(&current), Arc::clone(&restarts));
                move || {
                    let mut pause = Pause::default();
                    loop {
                        match ended.recv_timeout(pause.next(Instant::now())) {
                            Err(RecvTimeoutError::Timeout) => {}
                            Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
                        }
                        if now(&current).health().is_err() {
                            pause.tried(Instant::now());
                            if let Some(engine) = start(&restart) {
                                *current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(engine);
                                restarts.fetch_add(1, Ordering::Relaxed);
                            }
                        }
                    }
                }
            })
            .map_err(ConfineError::Start)?;
        Ok(Self { info, current, restarts, alive: Some(alive), watch: Some(watch) })
    }

    /// The process number of the engine's process now.
    #[must_use]
    pub fn pid(&self) -> u32 {
        now(&self.current).pid()
    }
}

/// The engine of this moment. Who has it keeps its process alive, not its successor from starting.
fn now(current: &RwLock<Arc<ConfinedEngine>>) -> Arc<ConfinedEngine> {
    Arc::clone(&current.read().unwrap_or_else(PoisonError::into_inner))
}

/// A new process with the same weights; `None` where it did not come so far, which is logged.
fn start(restart: &Restart) -> Option<ConfinedEngine> {
    let started = Instant::now();
    let weights = restart.weights.try_clone().ok()?;
    let loaded = match EngineProcess::start(&restart.program, restart.patience) {
        Ok(process) => process.load(weights, restart.options).map_err(|e| (e.code(), e.to_string())),
        Err(e) => Err((e.code(), e.to_string())),
    };
    match loaded {
        Ok(engine) => {
            let ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
            tracing::warn!(pid = engine.pid(), ms, "the engine's process was started anew");
            Some(engine)
        }
        Err((code, error)) => {
            tracing::error!(code, "the engine's process was not started anew: {error}");
            None
        }
    }
}

impl Engine for SupervisedEngine {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn queue_depth(&self) -> usize {
        now(&self.current).queue_depth()
    }

    fn health(&self) -> Result<(), EngineError> {
        now(&self.current).health()
    }

    fn restarts(&self) -> u64 {
        self.restarts.load(Ordering::Relaxed)
    }

    fn generate(
        &self,
        request: GenerateRequest,
        sink: &mut dyn FnMut(Event) -> ControlFlow<()>,
    ) -> Result<Completion, EngineError> {
        now(&self.current).generate(request, sink)
    }

    fn embed(&self, request: EmbedRequest) -> Result<Embedded, EngineError> {
        now(&self.current).embed(request)
    }

    fn tokenise(&self, text: String, special: bool) -> Result<Vec<i32>, EngineError> {
        now(&self.current).tokenise(text, special)
    }

    fn detokenise(&self, tokens: Vec<i32>) -> Result<String, EngineError> {
        now(&self.current).detokenise(tokens)
    }
}

impl Drop for SupervisedEngine {
    fn drop(&mut self) {
        self.alive = None;
        if let Some(watch) = self.watch.take() {
            let _ = watch.join();
        }
    }
}

/// How long the watch waits: between looks, and longer between attempts that follow each other. An engine that ends again and
/// again must not take the machine for its starts.
#[derive(Default)]
pub(crate) struct Pause {
    last: Option<Instant>,
    /// Attempts that followed each other.
    attempts: u32,
}

impl Pause {
    pub(crate) fn next(&self, now: Instant) -> Duration {
        let Some(last) = self.last else { return LOOK };
        let wait = FIRST.saturating_mul(1 << self.attempts.saturating_sub(1).min(6)).min(LONGEST);
        wait.saturating_sub(now.duration_since(last)).max(LOOK)
    }

    pub(crate) fn tried(&mut self, now: Instant) {
        let again = self.last.is_some_and(|last| now.duration_since(last) < CALM);
        self.attempts = if again { self.attempts.saturating_add(1) } else { 0 };
        self.last = Some(now);
    }
}

const LOOK: Duration = Duration::from_millis(100);
/// After the second attempt; doubled with each that follows.
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);
/// A process that has lived so long is one that works.
const CALM: Duration = Duration::from_secs(120);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_that_follow_each_other_wait_longer() {
        let mut pause = Pause::default();
        let mut now = Instant::now();
        assert_eq!(pause.next(now), LOOK);
        pause.tried(now);
        assert_eq!(pause.next(now), FIRST, "the second one waits already");
        let mut waited = Vec::new();
        for _ in 0..9 {
            now += pause.next(now);
            pause.tried(now);
            waited.push(pause.next(now).as_secs());
        }
        assert_eq!(waited, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        now += CALM;
        pause.tried(now);
        assert_eq!(pause.next(now), FIRST);
        assert_eq!(pause.next(now + FIRST), LOOK, "between attempts it looks as often as ever");
    }
}
