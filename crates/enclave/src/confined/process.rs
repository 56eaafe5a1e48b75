//! The server's side of the engine's process: starts it, listens to it, and ends it.
//!
//! One thread, the keeper, does all three, for as long as the process lives: the kernel ends the process with the thread
//! that started it. Everything else speaks to the process through [`Shared`].

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, IoSlice, Write};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::num::NonZeroU32;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use casemate_engine::{
    ChatSupport, Completion, EngineError, EngineOptions, ModelInfo, ProcessEnd, Scored, TokenScore, Usage,
};
use casemate_protocol::Plaintext;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use super::WORKER;
use super::engine::ConfinedEngine;
use super::error::ConfineError;
use super::lockdown::{Confinement, LockDownError};
use super::wire::{
    Frames, FromEngine, MAX_DIMENSIONS, MAX_FROM_ENGINE, MAX_REPORT, MAX_TO_ENGINE, Score, Template,
    ToEngine, Waited, frame, message, printable, reported,
};

/// The program of the engine's process.
#[derive(Debug, Clone)]
pub struct Program {
    /// The file to execute.
    pub path: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
}

impl Program {
    /// This same program, asked to be an engine. The running file itself, whatever its path names now.
    #[must_use]
    pub fn own() -> Self {
        Self { path: "/proc/self/exe".into(), arguments: vec![WORKER.into()] }
    }
}

/// How long a process may be silent, in seconds. A second in which this process did not run either is not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Until it is confined.
    pub start: u32,
    /// Until it has loaded the model.
    pub load: u32,
    /// While it has requests: an engine that computes says so once a second.
    pub silence: u32,
}

impl Default for Patience {
    fn default() -> Self {
        Self { start: 20, load: 600, silence: 60 }
    }
}

/// A process that can reach nothing any more, and that has no model yet. Dropping it ends it.
pub struct EngineProcess {
    handle: Handle,
    reports: Receiver<Report>,
    confinement: Confinement,
    pid: u32,
}

impl EngineProcess {
    /// Starts the process and waits until it has confined itself.
    ///
    /// # Errors
    /// [`ConfineError`]. The process is gone then.
    pub fn start(program: &Program, patience: Patience) -> Result<Self, ConfineError> {
        let (ours, theirs) = UnixStream::pair().map_err(ConfineError::Start)?;
        let listening = ours.try_clone().map_err(ConfineError::Start)?;
        listening.set_read_timeout(Some(TICK)).map_err(ConfineError::Start)?;
        ours.set_write_timeout(Some(WRITE_PATIENCE)).map_err(ConfineError::Start)?;
        let shared = Arc::new(Shared { socket: ours, writing: Mutex::new(()), state: Mutex::default() });
        let (reporter, reports) = mpsc::channel();
        let keeper = thread::Builder::new().name("engine-keeper".into()).spawn({
            let (shared, program) = (Arc::clone(&shared), program.clone());
            move || match spawn(&program, theirs) {
                Ok(child) => {
                    // The caller waits.
                    let _ = reporter.send(Report::Started { pid: child.id() });
                    keep(child, listening, &shared, &reporter, patience);
                }
                Err(error) => {
                    let _ = reporter.send(Report::NotStarted(error));
                }
            }
        });
        let handle = Handle { shared, keeper: Some(keeper.map_err(ConfineError::Start)?) };
        let mut pid = 0;
        loop {
            match reports.recv() {
                Ok(Report::Started { pid: started }) => pid = started,
                Ok(Report::Confined(confinement)) => {
                    return Ok(Self { handle, reports, confinement, pid });
                }
                Ok(Report::NotConfined(error)) => return Err(error.into()),
                Ok(Report::NotStarted(error)) => return Err(ConfineError::Start(error)),
                Ok(Report::Ended(error)) => return Err(ConfineError::NoAnswer(error)),
                Ok(Report::Loaded(_) | Report::NotLoaded(_)) | Err(_) => {
                    return Err(ConfineError::NoAnswer(EngineError::Stopped));
                }
            }
        }
    }

    /// How far it is confined.
    #[must_use]
    pub fn confinement(&self) -> Confinement {
        self.confinement
    }

    /// Its process number.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Gives it the weights: a GGUF file that nothing changes any more, open for reading. Returns when they are loaded.
    ///
    /// # Errors
    /// [`EngineError::Reported`] where the process could not load them; [`EngineError::Ended`], [`EngineError::Hung`] and
    /// [`EngineError::Protocol`] where it did not get so far. The process is gone then.
    pub fn load(self, weights: File, options: EngineOptions) -> Result<ConfinedEngine, EngineError> {
        let Self { handle, reports, pid, .. } = self;
        handle.shared.state().stage = Stage::Loading;
        let load = ToEngine::Load {
            context_tokens: options.context_tokens.get(),
            cache_tokens: options.cache_tokens.get(),
            parallel: options.parallel.get(),
            threads: u32::try_from(options.threads.get()).unwrap_or(u32::MAX),
            guess_tokens: options.guess_tokens,
        };
        if handle.shared.send_with(&load, &weights).is_err() {
            // The keeper sees why.
            let _ = handle.shared.socket.shutdown(Shutdown::Both);
        }
        drop(weights);
        match reports.recv() {
            Ok(Report::Loaded(info)) => Ok(ConfinedEngine::new(handle, info, pid)),
            Ok(Report::NotLoaded(error) | Report::Ended(error)) => Err(error),
            Ok(
                Report::Started { .. } | Report::NotStarted(_) | Report::Confined(_) | Report::NotConfined(_),
            )
            | Err(_) => Err(EngineError::Stopped),
        }
    }
}

/// Ends the process when it is dropped.
pub(super) struct Handle {
    pub(super) shared: Arc<Shared>,
    keeper: Option<JoinHandle<()>>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.state().unwanted = true;
        // The keeper reads an end, and ends the process.
        let _ = self.shared.socket.shutdown(Shutdown::Both);
        if let Some(keeper) = self.keeper.take() {
            let _ = keeper.join();
        }
    }
}

/// What the keeper and the callers share.
pub(super) struct Shared {
    socket: UnixStream,
    /// Held while a message is written: they must not mix.
    writing: Mutex<()>,
    state: Mutex<State>,
}

#[derive(Default)]
pub(super) struct State {
    stage: Stage,
    /// The handle is being dropped.
    unwanted: bool,
    /// Set once, when the process is gone.
    pub(super) ended: Option<EngineError>,
    pub(super) requests: BTreeMap<u64, Waiting>,
    pub(super) last_id: u64,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Stage {
    #[default]
    Starting,
    Confined,
    Loading,
    Serving,
}

/// A request that the process has.
pub(super) struct Waiting {
    pub(super) replies: Sender<Reply>,
    pub(super) started: bool,
    /// Tokens that the answer may have.
    pub(super) tokens: u32,
    /// Bytes that the answer may still have.
    pub(super) bytes: u64,
    /// Tokens with a probability that may still come.
    pub(super) scores: u32,
    /// Others that each of them may come with.
    pub(super) alternatives: usize,
    /// Vectors that may still come.
    pub(super) vectors: u32,
    /// Numbers that each of them has.
    pub(super) dimensions: usize,
    /// Tokens of a text that may still come.
    pub(super) list: usize,
}

/// What happened to a request.
pub(super) enum Reply {
    Started { prompt_tokens: u32 },
    Text(Plaintext<String>),
    Token(Plaintext<TokenScore>),
    Vector { input: u32, numbers: Plaintext<Vec<f32>> },
    Tokens(Plaintext<Vec<i32>>),
    End(Result<Completion, EngineError>),
}

/// What happened to the process, before it serves.
enum Report {
    Started { pid: u32 },
    NotStarted(io::Error),
    Confined(Confinement),
    NotConfined(LockDownError),
    Loaded(ModelInfo),
    NotLoaded(EngineError),
    Ended(EngineError),
}

impl Shared {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that holds the lock can leave half a change behind.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a message with `text_bytes` bytes of text in it. `None` where it is too long, or where the process does not
    /// take it: it is being ended then.
    pub(super) fn send(&self, message: &ToEngine<'_>, text_bytes: usize) -> Option<()> {
        let frame = frame(message, text_bytes, MAX_TO_ENGINE)?;
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        if (&self.socket).write_all(&frame).is_err() {
            let _ = self.socket.shutdown(Shutdown::Both);
            return None;
        }
        Some(())
    }

    fn send_with(&self, message: &ToEngine<'_>, file: &File) -> io::Result<()> {
        let frame = frame(message, 0, MAX_TO_ENGINE).ok_or(io::ErrorKind::InvalidData)?;
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let descriptors = [file.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let sent = sendmsg(&self.socket, &[IoSlice::new(&frame)], &mut control, SendFlags::NOSIGNAL)?;
        if sent == frame.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
    }

    /// How long the process may be silent now.
    fn limit(&self, patience: Patience) -> Option<u32> {
        let state = self.state();
        match state.stage {
            Stage::Starting => Some(patience.start),
            Stage::Loading => Some(patience.load),
            Stage::Serving if !state.requests.is_empty() => Some(patience.silence),
            Stage::Confined | Stage::Serving => None,
        }
    }
}

/// Nothing is inherited but the socket: no environment, no directory, no descriptor.
fn spawn(program: &Program, socket: UnixStream) -> io::Result<Child> {
    Command::new(&program.path)
        .arg0("casemate")
        .args(&program.arguments)
        .env_clear()
        // A failed assertion must not start a debugger.
        .env("GGML_NO_BACKTRACE", "1")
        .current_dir("/")
        .stdin(OwnedFd::from(socket))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
}

/// Why the keeper stopped listening.
enum Why {
    /// The process closed its socket, or we ours.
    Gone,
    Hung {
        seconds: u32,
    },
    Protocol(&'static str),
}

/// The keeper's life.
fn keep(
    mut child: Child,
    socket: UnixStream,
    shared: &Shared,
    reporter: &Sender<Report>,
    patience: Patience,
) {
    let why = listen(socket, shared, reporter, patience);
    // Whatever it does now, nobody listens. A process that has ended already keeps its own status.
    let _ = child.kill();
    let status = child.wait();
    let error = match why {
        Why::Hung { seconds } => EngineError::Hung { seconds },
        Why::Protocol(what) => EngineError::Protocol { what },
        Why::Gone => EngineError::Ended(match status.map(|status| (status.code(), status.signal())) {
            Ok((Some(code), _)) => ProcessEnd::Exit(code),
            Ok((None, Some(signal))) => ProcessEnd::Signal(signal),
            Ok((None, None)) | Err(_) => ProcessEnd::Unknown,
        }),
    };
    let requests = {
        let mut state = shared.state();
        if !state.unwanted && state.stage == Stage::Serving {
            tracing::error!(code = error.code(), "{error}");
        }
        state.ended = Some(error.clone());
        std::mem::take(&mut state.requests)
    };
    for (_, request) in requests {
        let _ = request.replies.send(Reply::End(Err(error.clone())));
    }
    let _ = reporter.send(Report::Ended(error));
}

/// Listens until the process is gone or must go.
fn listen(socket: UnixStream, shared: &Shared, reporter: &Sender<Report>, patience: Patience) -> Why {
    let mut frames = Frames::new(socket, MAX_FROM_ENGINE);
    let mut silent = 0;
    loop {
        match frames.wait() {
            Waited::Frame => {
                silent = 0;
                let heard = frames.take(|body, _| match message(body) {
                    Some(message) => hear(message, shared, reporter),
                    None => Err("a message that cannot be read"),
                });
                match heard {
                    Some(Ok(())) => (),
                    Some(Err(what)) => return Why::Protocol(what),
                    None => return Why::Protocol("no message"),
                }
            }
            Waited::Nothing => match shared.limit(patience) {
                Some(limit) if silent >= limit => return Why::Hung { seconds: limit },
                Some(_) => silent += 1,
                None => silent = 0,
            },
            Waited::Gone => return Why::Gone,
            Waited::Length => return Why::Protocol("a message of a length that none has"),
        }
    }
}

/// Takes one message, or says what is wrong with it.
fn hear(message: FromEngine<'_>, shared: &Shared, reporter: &Sender<Report>) -> Result<(), &'static str> {
    let mut state = shared.state();
    // A caller that is gone gets no report.
    let report = |report| {
        let _ = reporter.send(report);
    };
    match (message, state.stage) {
        (FromEngine::Confined { landlock_abi }, Stage::Starting) => {
            state.stage = Stage::Confined;
            report(Report::Confined(Confinement::reported(landlock_abi)));
        }
        (FromEngine::NotConfined(error), Stage::Starting) => report(Report::NotConfined(error)),
        (
            FromEngine::Loaded {
                name,
                architecture,
                parameters,
                tensor_bytes,
                context_tokens,
                parallel,
                trained_context_tokens,
                chat,
                tools,
                dimensions,
            },
            Stage::Loading,
        ) => {
            if dimensions.is_some_and(|dimensions| !(1..=MAX_DIMENSIONS).contains(&dimensions)) {
                return Err("a vector of a length that none has");
            }
            if name.len() > MAX_REPORT || architecture.len() > MAX_REPORT {
                return Err("a name that is too long");
            }
            state.stage = Stage::Serving;
            report(Report::Loaded(ModelInfo {
                name: printable(name),
                architecture: printable(architecture),
                parameters,
                tensor_bytes,
                context_tokens,
                parallel,
                trained_context_tokens,
                chat: match chat {
                    Template::Compiles => ChatSupport::Template,
                    Template::Missing => ChatSupport::Missing,
                    Template::Broken => ChatSupport::Broken,
                },
                tools: tools.into(),
                dimensions: dimensions.and_then(NonZeroU32::new),
            }));
        }
        (FromEngine::NotLoaded { code, text }, Stage::Loading) => {
            let error = reported(code, text).ok_or("a failure with an unknown code")?;
            report(Report::NotLoaded(error));
        }
        (FromEngine::Alive, Stage::Serving) => (),
        (FromEngine::Started { id, prompt_tokens }, Stage::Serving) => {
            let request = state.requests.get_mut(&id).ok_or(UNKNOWN)?;
            if std::mem::replace(&mut request.started, true) {
                return Err("a request that starts twice");
            }
            let _ = request.replies.send(Reply::Started { prompt_tokens });
        }
        (FromEngine::Text { id, text }, Stage::Serving) => {
            let request = state.requests.get_mut(&id).ok_or(UNKNOWN)?;
            if !request.started || text.is_empty() {
                return Err("text out of place");
            }
            request.bytes =
                request.bytes.checked_sub(text.len() as u64).ok_or("more text than was asked for")?;
            let _ = request.replies.send(Reply::Text(Plaintext::new(text.to_owned())));
        }
        (FromEngine::Token { id, chosen, top }, Stage::Serving) => {
            let request = state.requests.get_mut(&id).ok_or(UNKNOWN)?;
            if !request.started || top.len() > request.alternatives {
                return Err("probabilities out of place");
            }
            request.scores = request.scores.checked_sub(1).ok_or("more probabilities than were asked for")?;
            let scored = |(bytes, logprob): Score<'_>| Scored { bytes: bytes.to_owned(), logprob };
            let token = TokenScore { chosen: scored(chosen), top: top.into_iter().map(scored).collect() };
            let _ = request.replies.send(Reply::Token(Plaintext::new(token)));
        }
        (FromEngine::Vector { id, input, numbers }, Stage::Serving) => {
            let request = state.requests.get_mut(&id).ok_or(UNKNOWN)?;
            request.vectors = request.vectors.checked_sub(1).ok_or("more vectors than were asked for")?;
            let (numbers, rest) = numbers.as_chunks::<4>();
            if numbers.len() != request.dimensions || !rest.is_empty() {
                return Err("a vector of another length");
            }
            let numbers: Vec<f32> = numbers.iter().map(|number| f32::from_le_bytes(*number)).collect();
            if !numbers.iter().all(|number| number.is_finite()) {
                return Err("a vector with something that is no number");
            }
            let _ = request.replies.send(Reply::Vector { input, numbers: Plaintext::new(numbers) });
        }
        (FromEngine::Tokens { id, tokens }, Stage::Serving) => {
            let request = state.requests.get_mut(&id).ok_or(UNKNOWN)?;
            request.list =
                request.list.checked_sub(tokens.len()).ok_or("more of a text's tokens than it has")?;
            let _ = request.replies.send(Reply::Tokens(Plaintext::new(tokens)));
        }
        (FromEngine::End { id, finish, prompt_tokens, cached_tokens, completion_tokens }, Stage::Serving) => {
            let request = state.requests.get(&id).ok_or(UNKNOWN)?;
            if completion_tokens > request.tokens {
                // It stays among those that hear why the process was ended.
                return Err("more tokens than were asked for");
            }
            let request = state.requests.remove(&id).ok_or(UNKNOWN)?;
            let usage = Usage { prompt_tokens, cached_tokens, completion_tokens };
            let _ = request.replies.send(Reply::End(Ok(Completion { finish: finish.into(), usage })));
        }
        (FromEngine::Failed { id, failure }, Stage::Serving) => {
            let request = state.requests.remove(&id).ok_or(UNKNOWN)?;
            let _ = request.replies.send(Reply::End(Err(failure.into())));
        }
        (
            FromEngine::Confined { .. }
            | FromEngine::NotConfined(_)
            | FromEngine::Loaded { .. }
            | FromEngine::NotLoaded { .. }
            | FromEngine::Alive
            | FromEngine::Started { .. }
            | FromEngine::Text { .. }
            | FromEngine::Token { .. }
            | FromEngine::Vector { .. }
            | FromEngine::Tokens { .. }
            | FromEngine::End { .. }
            | FromEngine::Failed { .. },
            _,
        ) => return Err("a message at the wrong time"),
    }
    Ok(())
}

const UNKNOWN: &str = "a request that nobody made";
/// How often the keeper looks whether the process is silent for too long.
const TICK: Duration = Duration::from_secs(1);
/// The process only has to take a message, not to understand it.
const WRITE_PATIENCE: Duration = Duration::from_secs(10);
