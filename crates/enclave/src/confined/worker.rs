//! The engine's process: `casemate engine-worker`, which only `casemate serve` starts.
//!
//! Standard input is its one socket to the server, standard output and standard error lead nowhere, and the weights arrive
//! as a descriptor when it is confined. A thread for each request waits for the engine and sends what comes.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::num::{NonZeroU32, NonZeroUsize};
use std::ops::ControlFlow;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use casemate_engine::{
    Cancel, ChatMessage, ChatSupport, Completion, EmbedInput, EmbedRequest, Embedded, Engine, EngineError,
    EngineOptions, Event, FinishReason, GenerateRequest, Input, LlamaEngine, Schema, Scored, StopStrings,
    Tenant, TokenBudget, TokenScore, ToolCall, Tools, Usage,
};
use zeroize::{Zeroize, Zeroizing};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use super::lockdown::lock_down;
use super::wire::{
    Budget, Frames, FromEngine, MAX_FROM_ENGINE, MAX_REPORT, MAX_TEXT, MAX_TO_ENGINE, MAX_TOKENS, Piece,
    Prompt, Request, Said, Template, ToEngine, Waited, frame, message, start_of,
};

/// Confines this process and serves llama.cpp on standard input, until that closes.
pub fn worker() -> ExitCode {
    worker_with(|file, options| Ok(Box::new(LlamaEngine::load_file(file, options)?)))
}

/// As [`worker`], with another engine: for tests, whose engine is hostile.
pub fn worker_with(
    load: impl FnOnce(File, EngineOptions) -> Result<Box<dyn Engine>, EngineError>,
) -> ExitCode {
    // First of all: not a byte is read before (CONF-01).
    let confined = lock_down();
    let Ok(socket) = io::stdin().as_fd().try_clone_to_owned().map(UnixStream::from) else {
        return ExitCode::FAILURE;
    };
    let Ok(sender) = socket.as_fd().try_clone_to_owned().map(Sender::new) else {
        return ExitCode::FAILURE;
    };
    let confinement = match confined {
        Ok(confinement) => confinement,
        Err(error) => {
            // The server sees a process that ended in any case.
            let _ = sender.send(&FromEngine::NotConfined(error), 0);
            return ExitCode::FAILURE;
        }
    };
    let ready = FromEngine::Confined { landlock_abi: confinement.landlock_abi() };
    if sender.send(&ready, 0).is_err() {
        return ExitCode::FAILURE;
    }
    let mut frames = Frames::new(Receiver { socket, descriptor: None }, MAX_TO_ENGINE);
    let Some(engine) = loaded(&mut frames, &sender, load) else { return ExitCode::FAILURE };
    serve(&mut frames, &sender, &engine)
}

/// Waits for the weights and loads them.
fn loaded(
    frames: &mut Frames<Receiver>,
    sender: &Sender,
    load: impl FnOnce(File, EngineOptions) -> Result<Box<dyn Engine>, EngineError>,
) -> Option<Arc<dyn Engine>> {
    if frames.wait() != Waited::Frame {
        return None;
    }
    let options = frames.take(|body, _| match message(body) {
        Some(ToEngine::Load { context_tokens, cache_tokens, parallel, threads, guess_tokens }) => {
            Some(EngineOptions {
                context_tokens: NonZeroU32::new(context_tokens)?,
                cache_tokens: NonZeroU32::new(cache_tokens)?,
                parallel: NonZeroU32::new(parallel)?,
                threads: NonZeroUsize::new(usize::try_from(threads).ok()?)?,
                guess_tokens,
            })
        }
        _ => None,
    })??;
    let weights = frames.source_mut().descriptor.take()?;
    match load(File::from(weights), options) {
        Ok(engine) => {
            let info = engine.info();
            let (name, architecture) =
                (start_of(&info.name, MAX_REPORT), start_of(&info.architecture, MAX_REPORT));
            let report = FromEngine::Loaded {
                name,
                architecture,
                parameters: info.parameters,
                tensor_bytes: info.tensor_bytes,
                context_tokens: info.context_tokens,
                parallel: info.parallel,
                trained_context_tokens: info.trained_context_tokens,
                chat: match info.chat {
                    ChatSupport::Template => Template::Compiles,
                    ChatSupport::Missing => Template::Missing,
                    ChatSupport::Broken => Template::Broken,
                },
                tools: info.tools.into(),
                dimensions: info.dimensions.map(NonZeroU32::get),
            };
            sender.send(&report, name.len() + architecture.len()).ok()?;
            Some(Arc::from(engine))
        }
        Err(error) => {
            let text = error.to_string();
            let text = start_of(&text, MAX_REPORT);
            let _ = sender.send(&FromEngine::NotLoaded { code: error.code(), text }, text.len() + 64);
            None
        }
    }
}

/// Takes requests until the server is gone.
fn serve(frames: &mut Frames<Receiver>, sender: &Sender, engine: &Arc<dyn Engine>) -> ExitCode {
    let running = Arc::<Mutex<BTreeMap<u64, Cancel>>>::default();
    tell_that_it_lives(Arc::clone(engine), sender.clone());
    loop {
        if frames.wait() != Waited::Frame {
            // The engine may be in the middle of a computation, which nobody waits for.
            std::process::exit(0);
        }
        let understood = frames.take(|body, _| match message(body) {
            Some(ToEngine::Generate { id, request }) => {
                let Some(request) = request_of(request) else { return false };
                start(id, request, &running, sender, engine);
                true
            }
            Some(ToEngine::Embed { id, inputs, tenant }) => {
                let request = EmbedRequest {
                    inputs: inputs.into_iter().map(input_of).collect(),
                    tenant: tenant.map(Tenant),
                    cancel: Cancel::new(),
                };
                let cancel = request.cancel.clone();
                spawn(id, cancel, &running, sender, engine, move |engine, sender| {
                    embed(id, request, engine, sender)
                });
                true
            }
            Some(ToEngine::Tokenise { id, text, special }) => {
                let text = text.to_owned();
                spawn(id, Cancel::new(), &running, sender, engine, move |engine, sender| {
                    let tokens = engine.tokenise(text, special)?;
                    for tokens in tokens.chunks(MAX_TOKENS) {
                        let message = FromEngine::Tokens { id, tokens: tokens.to_vec() };
                        gone(sender.send(&message, tokens.len() * BESIDE_TOKEN))?;
                    }
                    Ok(NOTHING)
                });
                true
            }
            Some(ToEngine::Detokenise { id, tokens }) => {
                spawn(id, Cancel::new(), &running, sender, engine, move |engine, sender| {
                    let text = engine.detokenise(tokens)?;
                    gone(sender.event(id, &Event::Text(text)))?;
                    Ok(NOTHING)
                });
                true
            }
            Some(ToEngine::Cancel { id }) => {
                if let Some(cancel) = locked(&running).get(&id) {
                    cancel.cancel();
                }
                true
            }
            Some(ToEngine::Load { .. }) | None => false,
        });
        if understood != Some(true) {
            return ExitCode::FAILURE;
        }
    }
}

/// Starts a thread for a request for an answer.
fn start(
    id: u64,
    request: GenerateRequest,
    running: &Arc<Mutex<BTreeMap<u64, Cancel>>>,
    sender: &Sender,
    engine: &Arc<dyn Engine>,
) {
    let cancel = request.cancel.clone();
    spawn(id, cancel, running, sender, engine, move |engine, sender| {
        engine.generate(request, &mut |event| match sender.event(id, &event) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        })
    });
}

/// Does `work` on a thread of its own, and sends how it ended.
fn spawn(
    id: u64,
    cancel: Cancel,
    running: &Arc<Mutex<BTreeMap<u64, Cancel>>>,
    sender: &Sender,
    engine: &Arc<dyn Engine>,
    work: impl FnOnce(&dyn Engine, &Sender) -> Result<Completion, EngineError> + Send + 'static,
) {
    locked(running).insert(id, cancel);
    let started = thread::Builder::new().name("request".into()).spawn({
        let (running, sender, engine) = (Arc::clone(running), sender.clone(), Arc::clone(engine));
        move || {
            let result = work(engine.as_ref(), &sender);
            locked(&running).remove(&id);
            let _ = sender.send(&end(id, result), 0);
        }
    });
    if started.is_err() {
        locked(running).remove(&id);
        let _ = sender.send(&end(id, Err(EngineError::Stopped)), 0);
    }
}

fn embed(
    id: u64,
    request: EmbedRequest,
    engine: &dyn Engine,
    sender: &Sender,
) -> Result<Completion, EngineError> {
    let Embedded { mut vectors, tokens } = engine.embed(request)?;
    for (input, vector) in (0..).zip(&vectors) {
        let numbers: Zeroizing<Vec<u8>> =
            Zeroizing::new(vector.iter().flat_map(|number| number.to_le_bytes()).collect());
        gone(sender.send(&FromEngine::Vector { id, input, numbers: &numbers }, numbers.len()))?;
    }
    vectors.zeroize();
    Ok(Completion { usage: Usage { prompt_tokens: tokens, ..Usage::default() }, ..NOTHING })
}

/// A server that is gone needs no end.
fn gone(sent: io::Result<()>) -> Result<(), EngineError> {
    sent.map_err(|_| EngineError::Stopped)
}

fn input_of(piece: Piece<'_>) -> EmbedInput {
    match piece {
        Piece::Text(text) => EmbedInput::Text(text.to_owned()),
        Piece::Tokens(tokens) => EmbedInput::Tokens(tokens),
    }
}

fn end(id: u64, result: Result<Completion, EngineError>) -> FromEngine<'static> {
    match result {
        Ok(completion) => FromEngine::End {
            id,
            finish: completion.finish.into(),
            prompt_tokens: completion.usage.prompt_tokens,
            cached_tokens: completion.usage.cached_tokens,
            completion_tokens: completion.usage.completion_tokens,
        },
        Err(error) => FromEngine::Failed { id, failure: error.into() },
    }
}

/// Once a second, where the engine has moved on: so the server tells a long computation from a hang.
fn tell_that_it_lives(engine: Arc<dyn Engine>, sender: Sender) {
    let alive = move || {
        let mut before = engine.beat();
        loop {
            thread::sleep(Duration::from_secs(1));
            let now = engine.beat();
            if now != before && sender.send(&FromEngine::Alive, 0).is_err() {
                return;
            }
            before = now;
        }
    };
    // Without it long computations look like a hang, which is an error with a name.
    let _ = thread::Builder::new().name("alive".into()).spawn(alive);
}

fn request_of(request: Request<'_>) -> Option<GenerateRequest> {
    let input = match request.input {
        Prompt::Raw(text) => Input::Raw(text.to_owned()),
        Prompt::Chat(messages) => Input::Chat(messages.into_iter().map(message_of).collect()),
    };
    Some(GenerateRequest {
        input,
        budget: match request.budget {
            Budget::Exact(tokens) => TokenBudget::Exact(NonZeroU32::new(tokens)?),
            Budget::UpTo(tokens) => TokenBudget::UpTo(NonZeroU32::new(tokens)?),
        },
        sampling: request.sampling.into(),
        stop: StopStrings::new(request.stop.into_iter().map(str::to_owned).collect()).ok()?,
        schema: request.schema.map(|text| Schema::new(text.to_owned())).transpose().ok()?,
        tools: match request.tools {
            None => None,
            Some(text) => Some(Tools::new(text.to_owned())?),
        },
        logprobs: request.logprobs,
        tenant: request.tenant.map(Tenant),
        cancel: Cancel::new(),
    })
}

fn message_of(said: Said<'_>) -> ChatMessage {
    let calls = said.calls.into_iter().map(|(id, name, arguments)| ToolCall {
        id: id.to_owned(),
        name: name.to_owned(),
        arguments: arguments.to_owned(),
    });
    ChatMessage {
        calls: calls.collect(),
        call_id: said.call_id.map(str::to_owned),
        ..ChatMessage::new(said.speaker.into(), said.text)
    }
}

/// Writes whole messages, from any thread. As a file: the standard library's sockets may use `sendto`, whose address no
/// filter sees, and which is therefore refused.
#[derive(Clone)]
struct Sender(Arc<Mutex<File>>);

impl Sender {
    fn new(socket: OwnedFd) -> Self {
        Self(Arc::new(Mutex::new(File::from(socket))))
    }

    fn send(&self, message: &FromEngine<'_>, text_bytes: usize) -> io::Result<()> {
        let frame = frame(message, text_bytes, MAX_FROM_ENGINE).ok_or(io::ErrorKind::InvalidData)?;
        locked(&self.0).write_all(&frame)
    }

    fn event(&self, id: u64, event: &Event) -> io::Result<()> {
        let mut rest = match event {
            Event::Started { prompt_tokens } => {
                return self.send(&FromEngine::Started { id, prompt_tokens: *prompt_tokens }, 0);
            }
            Event::Text(text) => text.as_str(),
            Event::Token(TokenScore { chosen, top }) => {
                let score = |one: &'_ Scored| -> usize { one.bytes.len() + BESIDE_SCORE };
                let bytes = score(chosen) + top.iter().map(score).sum::<usize>();
                let top = top.iter().map(|other| (other.bytes.as_slice(), other.logprob)).collect();
                let chosen = (chosen.bytes.as_slice(), chosen.logprob);
                return self.send(&FromEngine::Token { id, chosen, top }, bytes);
            }
        };
        while !rest.is_empty() {
            let text = start_of(rest, MAX_TEXT);
            self.send(&FromEngine::Text { id, text }, text.len())?;
            rest = rest.get(text.len()..).unwrap_or_default();
        }
        Ok(())
    }
}

/// The end of what costs nothing.
const NOTHING: Completion = Completion {
    finish: FinishReason::Stop,
    usage: Usage { prompt_tokens: 0, cached_tokens: 0, completion_tokens: 0 },
};
/// A token's number, at most.
const BESIDE_TOKEN: usize = 5;
/// A token's length and probability, at most.
const BESIDE_SCORE: usize = 8;

/// Reads the socket, and keeps the descriptor that came last.
struct Receiver {
    socket: UnixStream,
    descriptor: Option<OwnedFd>,
}

impl Read for Receiver {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received =
            recvmsg(&self.socket, &mut [IoSliceMut::new(buffer)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                self.descriptor = descriptors.last().or(self.descriptor.take());
            }
        }
        Ok(received.bytes)
    }
}

/// Nothing that holds these locks can leave half a change behind.
fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
