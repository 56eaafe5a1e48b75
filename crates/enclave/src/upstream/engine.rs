//! The engine that is another program, and the watch over it (spec/upstream.md).
//!
//! One thread, the watch, starts the program, asks it what it must know before anybody else may, looks whether it lives, and starts the
//! next one when it ended: the kernel ends the program with the thread that started it.

use std::fs::{self, DirBuilder, File};
use std::net::{Ipv4Addr, TcpListener};
use std::ops::ControlFlow;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use casemate_engine::{
    Cancel, ChatSupport, Completion, Engine, EngineError, Event, FinishReason, GenerateRequest, ModelInfo,
    ProcessEnd, QUEUE_CAPACITY, ToolForm, UpstreamFault, Usage,
};
use rustix::process::{Pid, Signal, geteuid, kill_process_group};
use serde::Deserialize;

use super::answer::{Expected, hear};
use super::ask::asked;
use super::command::Places;
use super::error::UpstreamError;
use super::http::{Place, Stopped, Waits, Wiped, send};
use super::launch::{Executable, Launch, launch};
use super::settings::UpstreamConfig;
use super::{listener, probe};
use crate::confined::{Pause, Program, erase};

/// What an upstream is made of.
pub struct Upstream {
    /// What the operator wrote.
    pub config: UpstreamConfig,
    /// The program, opened and hashed.
    pub executable: Executable,
    /// The program of the process that becomes it.
    pub launcher: Program,
    /// The model's files by name: memory that nothing changes any more, open for reading.
    pub files: Vec<(String, File)>,
    /// The name of the model.
    pub name: String,
    /// Requests that it works on at the same time.
    pub parallel: u32,
    /// How long it is waited for.
    pub pace: Pace,
}

/// How long an upstream is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// How long it may take to load the model and to answer the probe.
    pub load: Duration,
    /// How often it is asked whether it lives, and how long it may take to say so. After six questions without an answer it is ended.
    pub look: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { load: Duration::from_secs(600), look: Duration::from_secs(10) }
    }
}

/// A program that answers in the place of the embedded engine. Requests that it had when it ended fail, and so do those that come before
/// the next one is ready.
pub struct UpstreamEngine {
    info: ModelInfo,
    parallel: usize,
    shared: Arc<Shared>,
    /// Its end is the watch's.
    alive: Option<Sender<()>>,
    watch: Option<JoinHandle<()>>,
}

struct Shared {
    config: UpstreamConfig,
    now: RwLock<Now>,
    requests: AtomicUsize,
    restarts: AtomicU64,
    /// Nobody wants the engine any more.
    unwanted: Cancel,
}

/// How it stands.
#[derive(Clone)]
enum Now {
    Up(Arc<Running>),
    Down(EngineError),
}

/// Whom to ask.
#[derive(Clone)]
struct Running {
    place: Place,
    /// The model's name there.
    model: String,
    pid: u32,
}

impl UpstreamEngine {
    /// Starts it, and returns when it has answered the probe.
    ///
    /// # Errors
    /// [`UpstreamError`]. The program is gone then.
    pub fn start(upstream: Upstream) -> Result<Self, UpstreamError> {
        no_dumps_for_programs(&fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap_or_default())?;
        let bytes = upstream.files.iter().filter_map(|(_, file)| Some(file.metadata().ok()?.len())).sum();
        let info = ModelInfo {
            name: upstream.name.clone(),
            architecture: upstream.config.kind.name().into(),
            parameters: 0,
            tensor_bytes: bytes,
            context_tokens: 0,
            parallel: upstream.parallel,
            trained_context_tokens: 0,
            chat: ChatSupport::Template,
            // The form that `answer` writes calls in.
            tools: ToolForm::Hermes,
            dimensions: None,
        };
        let shared = Arc::new(Shared {
            config: upstream.config.clone(),
            now: RwLock::new(Now::Down(EngineError::Upstream(UpstreamFault::NotReady))),
            requests: AtomicUsize::new(0),
            restarts: AtomicU64::new(0),
            unwanted: Cancel::new(),
        });
        let parallel = usize::try_from(upstream.parallel).unwrap_or(usize::MAX);
        let home = Home::make(&upstream)?;
        let (alive, ended) = mpsc::channel();
        let (first, came_up) = mpsc::channel();
        let watch = thread::Builder::new()
            .name("upstream-watch".into())
            .spawn({
                let shared = Arc::clone(&shared);
                move || Watch { upstream, home, shared, ended }.run(&first)
            })
            .map_err(UpstreamError::Start)?;
        let engine = Self { info, parallel, shared, alive: Some(alive), watch: Some(watch) };
        match came_up.recv() {
            Ok(Ok(())) => Ok(engine),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(UpstreamError::NoAnswer(EngineError::Stopped)),
        }
    }

    /// The program's process number; 0 while there is none.
    #[must_use]
    pub fn pid(&self) -> u32 {
        match self.shared.now() {
            Now::Up(running) => running.pid,
            Now::Down(_) => 0,
        }
    }
}

impl Engine for UpstreamEngine {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn queue_depth(&self) -> usize {
        self.shared.requests.load(Ordering::Relaxed)
    }

    fn restarts(&self) -> u64 {
        self.shared.restarts.load(Ordering::Relaxed)
    }

    fn health(&self) -> Result<(), EngineError> {
        match self.shared.now() {
            Now::Up(_) => Ok(()),
            Now::Down(error) => Err(error),
        }
    }

    fn generate(
        &self,
        mut request: GenerateRequest,
        sink: &mut dyn FnMut(Event) -> ControlFlow<()>,
    ) -> Result<Completion, EngineError> {
        if request.cancel.is_cancelled() {
            return Ok(Completion { finish: FinishReason::Cancelled, usage: Usage::default() });
        }
        let running = match self.shared.now() {
            Now::Up(running) => running,
            Now::Down(error) => return Err(error),
        };
        let _place = InFlight::enter(&self.shared.requests, self.parallel)?;
        let result = exchange(&self.shared.config, &running, &request, ANSWERS, sink);
        erase(&mut request.input);
        result
    }
}

impl Drop for UpstreamEngine {
    fn drop(&mut self) {
        self.shared.unwanted.cancel();
        self.alive = None;
        if let Some(watch) = self.watch.take() {
            let _ = watch.join();
        }
    }
}

impl Shared {
    fn now(&self) -> Now {
        self.now.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, now: Now) {
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = now;
    }
}

/// A request that the program has, or that waits there (UP-21).
struct InFlight<'a>(&'a AtomicUsize);

impl<'a> InFlight<'a> {
    fn enter(requests: &'a AtomicUsize, parallel: usize) -> Result<Self, EngineError> {
        let before = requests.fetch_add(1, Ordering::Relaxed);
        let entered = Self(requests);
        if before >= QUEUE_CAPACITY.saturating_add(parallel) {
            return Err(EngineError::QueueFull { capacity: QUEUE_CAPACITY });
        }
        Ok(entered)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One request and its answer.
fn exchange(
    config: &UpstreamConfig,
    running: &Running,
    request: &GenerateRequest,
    waits: Waits,
    sink: &mut dyn FnMut(Event) -> ControlFlow<()>,
) -> Result<Completion, EngineError> {
    let asked = asked(request, config.kind, config.separation, &running.model)?;
    let expected = Expected::of(request, asked.cut_after);
    let (limit, body) = (expected.limit(), asked.body.bytes());
    match send(&running.place, "POST", asked.path, body, limit, waits, &request.cancel) {
        Ok(answer) => hear(answer, expected, sink),
        Err(Stopped::Cancelled) => {
            Ok(Completion { finish: FinishReason::Cancelled, usage: Usage::default() })
        }
        Err(stopped) => Err(stopped.into()),
    }
}

// === the watch ===

struct Watch {
    upstream: Upstream,
    home: Home,
    shared: Arc<Shared>,
    ended: Receiver<()>,
}

/// A process, which is ended with all that it started (UP-14).
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(group) = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Why the watch turned away from a process.
enum Why {
    /// Nobody wants the engine any more.
    Unwanted,
    Ended(EngineError),
}

impl Watch {
    fn run(self, first: &Sender<Result<(), UpstreamError>>) {
        let mut pause = Pause::default();
        let mut before = false;
        loop {
            let started = Instant::now();
            match self.start() {
                Ok((process, running)) => {
                    let ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
                    tracing::info!(pid = running.pid, ms, "the upstream has answered the probe");
                    if before {
                        self.shared.restarts.fetch_add(1, Ordering::Relaxed);
                    }
                    self.shared.set(Now::Up(Arc::new(running.clone())));
                    if !before && first.send(Ok(())).is_err() {
                        return;
                    }
                    before = true;
                    match self.mind(process, &running) {
                        Why::Unwanted => return,
                        Why::Ended(error) => {
                            tracing::error!(code = error.code(), "{error}");
                            self.shared.set(Now::Down(error));
                        }
                    }
                }
                // The first time somebody waits to hear why.
                Err(error) if !before => {
                    let _ = first.send(Err(error));
                    return;
                }
                Err(error) => {
                    tracing::error!(code = error.code(), "the upstream was not started anew: {error}");
                }
            }
            match self.ended.recv_timeout(pause.next(Instant::now())) {
                Err(RecvTimeoutError::Timeout) => pause.tried(Instant::now()),
                Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Looks after a process until it ends, hangs, or is not wanted any more.
    fn mind(&self, mut process: Process, running: &Running) -> Why {
        let (mut looked, mut unanswered) = (Instant::now(), 0);
        loop {
            match self.ended.recv_timeout(LOOK) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(()) | Err(RecvTimeoutError::Disconnected) => return Why::Unwanted,
            }
            if let Some(error) = end_of(&mut process.0) {
                return Why::Ended(error);
            }
            let Pace { look, .. } = self.upstream.pace;
            if looked.elapsed() < look {
                continue;
            }
            looked = Instant::now();
            unanswered =
                if models(&running.place, look, &self.shared.unwanted).is_ok() { 0 } else { unanswered + 1 };
            if unanswered >= UNANSWERED {
                let seconds = u32::try_from(2 * UNANSWERED as u64 * look.as_secs()).unwrap_or(u32::MAX);
                return Why::Ended(EngineError::Hung { seconds });
            }
        }
    }

    /// Starts a process, and returns when it is known to be what it should be.
    fn start(&self) -> Result<(Process, Running), UpstreamError> {
        let Upstream { config, executable, launcher, files, pace: Pace { load, .. }, .. } = &self.upstream;
        executable.unchanged()?;
        let (place, port) = self.home.place(config.command.by_socket())?;
        let places = Places {
            model: self.home.model.as_deref(),
            folder: &self.home.files(),
            port,
            socket: &self.home.socket(),
        };
        let child = launch(Launch {
            launcher,
            executable,
            arguments: config.command.filled(&places),
            environment: &config.environment,
            home: &self.home.folder,
            folder: &self.home.files(),
            files,
            output: config.output,
        });
        let mut process = Process(child.map_err(UpstreamError::Start)?);
        let deadline = Instant::now() + *load;
        let user = geteuid().as_raw();
        loop {
            let reached = self.reach(&place, user).and_then(|running| {
                let running = Running { pid: process.0.id(), ..running };
                let ask = |request: GenerateRequest| self.ask(&running, request, deadline);
                probe::run(&config.question, config.separation, &ask).map(|()| running)
            });
            let error = match reached {
                Ok(running) => return Ok((process, running)),
                Err(error) => error,
            };
            match self.ended.recv_timeout(LOOK) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(()) | Err(RecvTimeoutError::Disconnected) => {
                    return Err(UpstreamError::NoAnswer(EngineError::Stopped));
                }
            }
            // Why it ended says more than that it does not answer.
            if let Some(error) = end_of(&mut process.0) {
                return Err(UpstreamError::NoAnswer(error));
            }
            if !is_not_yet(&error) {
                return Err(error);
            }
            if Instant::now() >= deadline {
                let seconds = u32::try_from(load.as_secs()).unwrap_or(u32::MAX);
                return Err(UpstreamError::NoAnswer(EngineError::Hung { seconds }));
            }
        }
    }

    /// Whether it listens, as who, and how it calls its model.
    fn reach(&self, place: &Place, user: u32) -> Result<Running, UpstreamError> {
        let not_yet = |fault| UpstreamError::NoAnswer(EngineError::Upstream(fault));
        if let Place::Port(port) = place
            && !listener::check(*port, user)?
        {
            return Err(not_yet(UpstreamFault::Unreachable));
        }
        let model =
            models(place, self.upstream.pace.look, &self.shared.unwanted).map_err(UpstreamError::NoAnswer)?;
        Ok(Running { place: place.clone(), model, pid: 0 })
    }

    /// A question of the probe. Nobody but the clock ends it.
    fn ask(
        &self,
        running: &Running,
        request: GenerateRequest,
        deadline: Instant,
    ) -> Result<(String, Completion), EngineError> {
        let left = deadline.saturating_duration_since(Instant::now()).max(LOOK);
        let waits = Waits { first: left, between: ANSWERS.between.min(left), whole: left };
        let request = GenerateRequest { cancel: self.shared.unwanted.clone(), ..request };
        let mut text = String::new();
        let completion = exchange(&self.shared.config, running, &request, waits, &mut |event| {
            if let Event::Text(piece) = event {
                text.push_str(&piece);
            }
            ControlFlow::Continue(())
        })?;
        Ok((text, completion))
    }
}

/// Whether a program that is still loading may end this error.
fn is_not_yet(error: &UpstreamError) -> bool {
    use UpstreamFault::{Busy, NotReady, Silent, Unreachable};
    match error {
        UpstreamError::NoAnswer(EngineError::Upstream(fault)) => {
            matches!(fault, NotReady | Unreachable | Busy | Silent { .. })
        }
        UpstreamError::Probe(EngineError::Upstream(fault)) => matches!(fault, NotReady | Unreachable | Busy),
        _ => false,
    }
}

fn end_of(child: &mut Child) -> Option<EngineError> {
    let status = child.try_wait().ok()??;
    Some(EngineError::Ended(match (status.code(), status.signal()) {
        (Some(code), _) => ProcessEnd::Exit(code),
        (None, Some(signal)) => ProcessEnd::Signal(signal),
        (None, None) => ProcessEnd::Unknown,
    }))
}

/// The name of the first model that it says to have.
fn models(place: &Place, wait: Duration, cancel: &Cancel) -> Result<String, EngineError> {
    #[derive(Deserialize)]
    struct Models {
        data: Vec<Model>,
    }
    #[derive(Deserialize)]
    struct Model {
        id: String,
    }
    let what = "no list of models";
    let waits = Waits { first: wait, between: wait, whole: wait };
    let mut answer = send(place, "GET", "/v1/models", b"", MOST_MODELS, waits, cancel)?;
    match answer.status {
        200 => {}
        // It speaks already and has no model yet.
        404 | 503 => return Err(EngineError::Upstream(UpstreamFault::NotReady)),
        status => return Err(EngineError::Upstream(UpstreamFault::Failed { status })),
    }
    let text: Wiped = answer.body.whole()?;
    let models: Models = serde_json::from_slice(text.bytes())
        .map_err(|_| EngineError::Upstream(UpstreamFault::Answer { what }))?;
    let first = models.data.into_iter().next().filter(|model| (1..=1024).contains(&model.id.len()));
    Ok(first.ok_or(EngineError::Upstream(UpstreamFault::Answer { what }))?.id)
}

/// Core dumps that are handed to a program know no limit (core(5); UP-16).
fn no_dumps_for_programs(pattern: &str) -> Result<(), UpstreamError> {
    if pattern.trim_start().starts_with('|') { Err(UpstreamError::CorePattern) } else { Ok(()) }
}

/// A folder of links to descriptors, and of the program's socket. It has no file of the model.
struct Home {
    folder: PathBuf,
    /// The link to the file that `{model}` means, where the command wants one.
    model: Option<PathBuf>,
}

impl Home {
    fn make(upstream: &Upstream) -> Result<Self, UpstreamError> {
        let names: Vec<_> = upstream.files.iter().map(|(name, _)| name.as_str()).collect();
        let model = match upstream.config.command.wants_model() {
            true => Some(one_gguf(&names).ok_or(UpstreamError::Model)?),
            false => None,
        };
        let mut name = [0; 8];
        let failed = |_| UpstreamError::Folder(std::io::ErrorKind::Other.into());
        aws_lc_rs::rand::fill(&mut name).map_err(failed)?;
        let folder = std::env::temp_dir().join(format!("casemate-upstream-{}", hex::encode(name)));
        DirBuilder::new().mode(0o700).create(&folder).map_err(UpstreamError::Folder)?;
        let mut home = Self { folder, model: None };
        home.model = model.map(|name| home.files().join(name));
        Ok(home)
    }

    /// Where the links are.
    fn files(&self) -> PathBuf {
        self.folder.join("model")
    }

    fn socket(&self) -> PathBuf {
        self.folder.join("engine.sock")
    }

    /// Where the next process listens.
    fn place(&self, by_socket: bool) -> Result<(Place, u16), UpstreamError> {
        if by_socket {
            // Of the one before it.
            let _ = fs::remove_file(self.socket());
            return Ok((Place::Socket(self.socket()), 0));
        }
        // A port that nobody has now; who has it later is looked at (UP-12).
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|it| it.local_addr());
        let port = free.map_err(UpstreamError::Start)?.port();
        Ok((Place::Port(port), port))
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The one GGUF file, or the first part of one in several.
fn one_gguf<'a>(names: &[&'a str]) -> Option<&'a Path> {
    let all: Vec<&'a str> = names.iter().copied().filter(|name| name.ends_with(".gguf")).collect();
    let is_first = |name: &str| {
        let parts = name.strip_suffix(".gguf").and_then(|stem| stem.rsplit_once("-00001-of-"));
        parts.and_then(|(_, parts)| parts.parse().ok()) == Some(all.len())
    };
    match all.as_slice() {
        [one] => Some(Path::new(*one)),
        several => {
            let mut firsts = several.iter().copied().filter(|name| is_first(name));
            let found = firsts.next()?;
            firsts.next().is_none().then(|| Path::new(found))
        }
    }
}

/// Of clients' requests: a long prompt on processors may take minutes.
const ANSWERS: Waits = Waits {
    first: Duration::from_secs(600),
    between: Duration::from_secs(60),
    whole: Duration::from_secs(3600),
};
const LOOK: Duration = Duration::from_millis(100);
/// Questions in a row without an answer after which it hangs.
const UNANSWERED: u32 = 6;
const MOST_MODELS: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_gguf_is_one_file_or_the_first_of_its_parts() {
        assert_eq!(one_gguf(&["a.gguf", "b.json"]), Some(Path::new("a.gguf")));
        let parts = ["m-00002-of-00002.gguf", "m-00001-of-00002.gguf"];
        assert_eq!(one_gguf(&parts), Some(Path::new("m-00001-of-00002.gguf")));
        assert_eq!(one_gguf(&["a.gguf", "b.gguf"]), None);
        assert_eq!(one_gguf(&["m-00001-of-00003.gguf", "m-00002-of-00003.gguf"]), None, "a part is missing");
        assert_eq!(one_gguf(&["config.json"]), None);
    }

    #[test]
    fn a_dump_for_a_program_is_seen() {
        let code = |pattern: &str| no_dumps_for_programs(pattern).err().map_or("none", |error| error.code());
        assert_eq!(code("|/usr/lib/systemd/systemd-coredump %P\n"), "upstream.core-pattern");
        assert_eq!((code("core\n"), code("")), ("none", "none"));
    }

    #[test]
    fn more_requests_than_wait_are_refused() {
        let requests = AtomicUsize::new(0);
        let entered: Vec<_> =
            (0..QUEUE_CAPACITY + 2).map(|_| InFlight::enter(&requests, 2)).collect::<Result<_, _>>().unwrap();
        assert_eq!(InFlight::enter(&requests, 2).err().map(|error| error.code()), Some("engine.queue.full"));
        drop(entered);
        assert_eq!(requests.load(Ordering::Relaxed), 0);
    }
}
