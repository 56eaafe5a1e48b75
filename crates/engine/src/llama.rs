//! The embedded engine: one thread owns llama.cpp's context and works through a bounded queue.

use std::fs::File;
use std::num::{NonZeroU32, NonZeroUsize};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, TrySendError, channel, sync_channel};
use std::thread::{self, JoinHandle};

use crate::answer::{Completion, Event, FinishReason, Usage};
use crate::error::EngineError;
use crate::ffi::{self, Context, Model, Sampler, Token};
use crate::gguf;
use crate::pace::Pace;
use crate::request::{Cancel, GenerateRequest, Input, Sampling, TokenBudget};
use crate::template::{ChatTemplate, ControlTokens, Segment};
use crate::text::{StopGate, Utf8Stream};
use crate::{ChatSupport, Engine, ModelInfo};

/// Requests that may wait while one runs.
pub const QUEUE_CAPACITY: usize = 32;

/// Context size where the options do not say otherwise, in tokens. Smaller where the model was trained with less.
pub const DEFAULT_CONTEXT_TOKENS: NonZeroU32 = NonZeroU32::new(4096).unwrap();

/// Prompt tokens that are read in one step.
const BATCH_TOKENS: NonZeroU32 = NonZeroU32::new(512).unwrap();

/// A prompt with more bytes than this per token of context is refused before it is counted in tokens: no text has so
/// few tokens, and the tokenisers' work grows with the length.
const PROMPT_BYTES_PER_TOKEN: usize = 32;

/// Some tokenisers recurse once per character. Only the touched part of a stack costs memory.
const WORKER_STACK_BYTES: usize = 64 << 20;

/// How to load a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EngineOptions {
    /// Tokens that prompt and answer may have together. The model's trained context is an upper bound.
    pub context_tokens: NonZeroU32,
    /// Threads to compute with, at most the cores of this process.
    pub threads: NonZeroUsize,
}

impl Default for EngineOptions {
    /// [`DEFAULT_CONTEXT_TOKENS`], and a thread for each core that this process may use.
    fn default() -> Self {
        Self { context_tokens: DEFAULT_CONTEXT_TOKENS, threads: cores() }
    }
}

/// llama.cpp in this process. Dropping it ends its thread and unmaps the weights.
pub struct LlamaEngine {
    info: ModelInfo,
    template: Option<Result<ChatTemplate, EngineError>>,
    /// `None` only while it is dropped.
    queue: Option<SyncSender<Job>>,
    depth: Arc<AtomicUsize>,
    beat: Arc<AtomicU64>,
    worker: Option<JoinHandle<()>>,
}

impl LlamaEngine {
    /// Loads the GGUF file at `path`, which may name an anonymous memory file (`/proc/self/fd/N`).
    ///
    /// # Errors
    /// As [`LlamaEngine::load_file`].
    pub fn load(path: impl Into<PathBuf>, options: EngineOptions) -> Result<Self, EngineError> {
        check_machine(options)?;
        Self::load_file(gguf::open(&path.into())?, options)
    }

    /// Loads a GGUF file. It is mapped: its pages are the only copy of the weights, so it must not change while the engine
    /// lives. Nothing is opened here, so that a process that may open no file can load one that it was given.
    ///
    /// # Errors
    /// The `engine.model.*` errors about the file; `engine.cpu.unsupported`; `engine.threads.too-many`;
    /// `engine.context.unavailable`.
    pub fn load_file(file: File, options: EngineOptions) -> Result<Self, EngineError> {
        check_machine(options)?;
        let header = gguf::check_file(&file, ffi::block_of)?;

        let (queue, jobs) = sync_channel(QUEUE_CAPACITY);
        let (ready, loaded) = channel();
        let depth = Arc::new(AtomicUsize::new(0));
        let beat = Arc::<AtomicU64>::default();
        let worker = thread::Builder::new()
            .name("engine".into())
            .stack_size(WORKER_STACK_BYTES)
            .spawn({
                let counters = Counters { depth: Arc::clone(&depth), beat: Arc::clone(&beat) };
                move || work(file, header.architecture, options, &ready, &jobs, &counters)
            })
            .map_err(|e| EngineError::Thread { kind: e.kind() })?;
        let Loaded { info, template } = loaded.recv().map_err(|_| EngineError::Stopped)??;
        Ok(Self { info, template, queue: Some(queue), depth, beat, worker: Some(worker) })
    }

    /// Renders what the worker turns into tokens.
    fn render(&self, input: Input) -> Result<Prompt, EngineError> {
        let segments = match input {
            Input::Raw(text) => vec![Segment { text, literal: true }],
            Input::Chat(messages) => {
                if messages.is_empty() {
                    return Err(EngineError::NoMessages);
                }
                match &self.template {
                    None => return Err(EngineError::NoTemplate),
                    Some(Err(error)) => return Err(error.clone()),
                    Some(Ok(template)) => template.render(&messages)?,
                }
            }
        };
        let bytes = segments.iter().map(|s| s.text.len()).sum();
        let limit = usize::try_from(self.info.context_tokens)
            .unwrap_or(usize::MAX)
            .saturating_mul(PROMPT_BYTES_PER_TOKEN);
        if bytes > limit {
            return Err(EngineError::PromptTooManyBytes { bytes, limit });
        }
        if bytes == 0 {
            return Err(EngineError::PromptEmpty);
        }
        Ok(Prompt(segments))
    }
}

impl Engine for LlamaEngine {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn queue_depth(&self) -> usize {
        self.depth.load(Ordering::Relaxed)
    }

    fn beat(&self) -> u64 {
        self.beat.load(Ordering::Relaxed)
    }

    fn generate(
        &self,
        request: GenerateRequest,
        sink: &mut dyn FnMut(Event) -> ControlFlow<()>,
    ) -> Result<Completion, EngineError> {
        request.sampling.check()?;
        let prompt = self.render(request.input)?;
        let cancel = request.cancel;
        // Not bounded by itself, but by the answer's token budget: a slow reader does not hold up the others.
        let (reply, replies) = channel();
        let job = Job {
            prompt,
            budget: request.budget,
            sampling: request.sampling,
            stop: request.stop.into_inner(),
            cancel: cancel.clone(),
            reply,
        };
        let queue = self.queue.as_ref().ok_or(EngineError::Stopped)?;
        self.depth.fetch_add(1, Ordering::Relaxed);
        if let Err(error) = queue.try_send(job) {
            self.depth.fetch_sub(1, Ordering::Relaxed);
            return Err(match error {
                TrySendError::Full(_) => EngineError::QueueFull { capacity: QUEUE_CAPACITY },
                TrySendError::Disconnected(_) => EngineError::Stopped,
            });
        }
        let mut listening = true;
        loop {
            match replies.recv() {
                Ok(Reply::Event(event)) => {
                    if listening && sink(event).is_break() {
                        listening = false;
                        cancel.cancel();
                    }
                }
                Ok(Reply::End(result)) => return result,
                Err(_) => return Err(EngineError::Stopped),
            }
        }
    }
}

impl Drop for LlamaEngine {
    /// Nobody can be inside `generate` now, so the queue is empty; the thread ends when its sender is gone.
    fn drop(&mut self) {
        self.queue = None;
        if let Some(worker) = self.worker.take() {
            // A panic of the thread has been reported by every request that met it.
            let _ = worker.join();
        }
    }
}

/// The start of a worker: what `load` returns to its caller.
struct Loaded {
    info: ModelInfo,
    template: Option<Result<ChatTemplate, EngineError>>,
}

struct Prompt(Vec<Segment>);

struct Job {
    prompt: Prompt,
    budget: TokenBudget,
    sampling: Sampling,
    stop: Vec<String>,
    cancel: Cancel,
    reply: Sender<Reply>,
}

enum Reply {
    Event(Event),
    End(Result<Completion, EngineError>),
}

/// What the worker counts.
struct Counters {
    depth: Arc<AtomicUsize>,
    beat: Arc<AtomicU64>,
}

/// The worker's life.
fn work(
    file: File,
    architecture: String,
    options: EngineOptions,
    ready: &Sender<Result<Loaded, EngineError>>,
    jobs: &Receiver<Job>,
    counters: &Counters,
) {
    // A caller that is gone gets no report, here and below.
    let Some(model) = Model::load(file) else {
        let _ = ready.send(Err(EngineError::Refused { architecture }));
        return;
    };
    let (loaded, mut context) = match start(&model, architecture, options, Arc::clone(&counters.beat)) {
        Ok(started) => started,
        Err(error) => {
            let _ = ready.send(Err(error));
            return;
        }
    };
    let room = loaded.info.context_tokens;
    let mut pace = Pace::new(u32::try_from(options.threads.get()).unwrap_or(u32::MAX));
    if ready.send(Ok(loaded)).is_err() {
        return;
    }
    for job in jobs {
        let reply = job.reply.clone();
        let result = run(&model, &mut context, &mut pace, room, job);
        // Before the next request waits, not after: nothing of this one stays in memory while the engine is idle.
        context.clear();
        counters.depth.fetch_sub(1, Ordering::Relaxed);
        let _ = reply.send(Reply::End(result));
    }
}

/// Makes the context and reads what the engine says about its model.
fn start(
    model: &Model,
    architecture: String,
    options: EngineOptions,
    beat: Arc<AtomicU64>,
) -> Result<(Loaded, Context<'_>), EngineError> {
    if !model.continues_text() {
        return Err(EngineError::NotDecoder { architecture });
    }
    let trained = model.trained_context_tokens();
    let tokens = NonZeroU32::new(trained).map_or(options.context_tokens, |t| t.min(options.context_tokens));
    let threads = i32::try_from(options.threads.get()).unwrap_or(i32::MAX);
    let context = Context::new(model, tokens, BATCH_TOKENS.min(tokens), threads, beat)
        .ok_or(EngineError::Context { context_tokens: tokens.get() })?;
    let text = |token: Option<Token>| token.and_then(|t| model.text(t)).unwrap_or_default();
    let template = model.chat_template().map(|source| {
        ChatTemplate::new(
            source,
            text(model.bos()),
            text(model.eos()),
            ControlTokens::new(model.control_texts()),
        )
    });
    let info = ModelInfo {
        name: model.name().unwrap_or_else(|| architecture.clone()),
        architecture,
        parameters: model.parameters(),
        tensor_bytes: model.tensor_bytes(),
        // The C side rounds up; the caller's number is the promise.
        context_tokens: tokens.get().min(context.capacity()),
        trained_context_tokens: trained,
        chat: match &template {
            Some(Ok(_)) => ChatSupport::Template,
            Some(Err(_)) => ChatSupport::Broken,
            None => ChatSupport::Missing,
        },
    };
    Ok((Loaded { info, template }, context))
}

/// One request, from text to text.
fn run(
    model: &Model,
    context: &mut Context<'_>,
    pace: &mut Pace,
    room: u32,
    job: Job,
) -> Result<Completion, EngineError> {
    let mut usage = Usage::default();
    let cancelled = |usage| Ok(Completion { finish: FinishReason::Cancelled, usage });
    if job.cancel.is_cancelled() {
        return cancelled(usage);
    }
    let mut prompt = tokens(model, &job.prompt)?;
    let (prompt_tokens, budget) = fit(prompt.len(), job.budget, room)?;
    usage.prompt_tokens = prompt_tokens;
    let mut sampler = Sampler::new(job.sampling).ok_or(EngineError::Context { context_tokens: room })?;
    if job.reply.send(Reply::Event(Event::Started { prompt_tokens })).is_err() {
        return cancelled(usage);
    }

    context.set_abort(Arc::clone(job.cancel.flag()));
    let batch = usize::try_from(BATCH_TOKENS.get()).unwrap_or(usize::MAX);
    for part in prompt.chunks_mut(batch) {
        if compute(context, pace, part)?.is_break() {
            return cancelled(usage);
        }
    }

    let mut utf8 = Utf8Stream::default();
    let mut gate = StopGate::new(job.stop);
    // Sends text on; false when nobody listens any more.
    let send = |text: String| text.is_empty() || job.reply.send(Reply::Event(Event::Text(text))).is_ok();
    let finish = loop {
        if job.cancel.is_cancelled() {
            return cancelled(usage);
        }
        let token = sampler.sample(context);
        if model.is_end(token) {
            break FinishReason::Stop;
        }
        usage.completion_tokens += 1;
        let passed = gate.push(&utf8.push(&model.piece(token)));
        if !send(passed.text) {
            return cancelled(usage);
        }
        if passed.stopped {
            return Ok(Completion { finish: FinishReason::Stop, usage });
        }
        if usage.completion_tokens >= budget {
            break FinishReason::Length;
        }
        if compute(context, pace, &mut [token])?.is_break() {
            return cancelled(usage);
        }
    };
    let last = gate.push(&utf8.finish());
    let delivered = send(last.text) && (last.stopped || send(gate.finish()));
    if !delivered {
        return cancelled(usage);
    }
    Ok(Completion { finish: if last.stopped { FinishReason::Stop } else { finish }, usage })
}

/// One step, with as many threads as there are free cores. Breaks where the request was cancelled meanwhile.
fn compute(
    context: &mut Context<'_>,
    pace: &mut Pace,
    tokens: &mut [Token],
) -> Result<ControlFlow<()>, EngineError> {
    let step = Pace::start();
    let result = context.decode(tokens);
    if pace.end(&step) {
        context.set_threads(pace.threads());
    }
    match result {
        Ok(()) => Ok(ControlFlow::Continue(())),
        Err(ffi::DecodeStatus(ffi::ABORTED)) => Ok(ControlFlow::Break(())),
        Err(ffi::DecodeStatus(status)) => Err(EngineError::Compute { status }),
    }
}

/// The prompt's tokens, with the token that starts a text in front where the model wants it.
fn tokens(model: &Model, prompt: &Prompt) -> Result<Vec<Token>, EngineError> {
    let mut tokens = Vec::new();
    for segment in &prompt.0 {
        let bytes = segment.text.len();
        model
            .tokenise(&segment.text, !segment.literal, &mut tokens)
            .ok_or(EngineError::PromptTooManyBytes { bytes, limit: i32::MAX.unsigned_abs() as usize })?;
    }
    if tokens.is_empty() {
        return Err(EngineError::PromptEmpty);
    }
    // Templates often write it themselves.
    if let Some(bos) = model.bos().filter(|bos| model.wants_bos() && tokens.first() != Some(bos)) {
        tokens.insert(0, bos);
    }
    Ok(tokens)
}

/// Checks that prompt and answer fit into `room` tokens; returns the prompt's tokens and the answer's bound.
fn fit(prompt_tokens: usize, budget: TokenBudget, room: u32) -> Result<(u32, u32), EngineError> {
    let too_long = EngineError::PromptTooLong { prompt_tokens, context_tokens: room };
    let prompt = match u32::try_from(prompt_tokens) {
        Ok(n) if n < room => n,
        _ => return Err(too_long),
    };
    let left = room - prompt;
    match budget {
        TokenBudget::UpTo(most) => Ok((prompt, left.min(most.get()))),
        TokenBudget::Exact(n) if n.get() <= left => Ok((prompt, n.get())),
        TokenBudget::Exact(n) => Err(EngineError::ContextOverflow {
            prompt_tokens: prompt,
            max_new_tokens: n.get(),
            context_tokens: room,
        }),
    }
}

/// Checks that this machine can do what is asked for.
fn check_machine(options: EngineOptions) -> Result<(), EngineError> {
    check_cpu()?;
    let (threads, cores) = (options.threads.get(), cores().get());
    if threads > cores { Err(EngineError::Threads { threads, cores }) } else { Ok(()) }
}

/// Cores that this process may use: its affinity and its control group are counted in.
fn cores() -> NonZeroUsize {
    thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

/// llama.cpp is compiled for these; without them it would end in an illegal instruction.
#[cfg(target_arch = "x86_64")]
fn check_cpu() -> Result<(), EngineError> {
    let needs = [
        ("AVX2", std::is_x86_feature_detected!("avx2")),
        ("FMA", std::is_x86_feature_detected!("fma")),
        ("F16C", std::is_x86_feature_detected!("f16c")),
        ("BMI2", std::is_x86_feature_detected!("bmi2")),
    ];
    match needs.into_iter().find(|(_, present)| !present) {
        Some((feature, _)) => Err(EngineError::Cpu { feature }),
        None => Ok(()),
    }
}

/// Nothing beyond the architecture's baseline is compiled in.
#[cfg(not(target_arch = "x86_64"))]
fn check_cpu() -> Result<(), EngineError> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn n(v: u32) -> NonZeroU32 {
        NonZeroU32::new(v).unwrap()
    }

    #[test]
    fn prompt_and_answer_fit_exactly_or_not() {
        assert_eq!(fit(90, TokenBudget::Exact(n(10)), 100), Ok((90, 10)));
        assert_eq!(
            fit(91, TokenBudget::Exact(n(10)), 100),
            Err(EngineError::ContextOverflow { prompt_tokens: 91, max_new_tokens: 10, context_tokens: 100 })
        );
        assert_eq!(fit(99, TokenBudget::UpTo(n(10)), 100), Ok((99, 1)));
        assert_eq!(fit(5, TokenBudget::UpTo(n(10)), 100), Ok((5, 10)));
        for prompt_tokens in [100, 101, usize::MAX] {
            assert_eq!(
                fit(prompt_tokens, TokenBudget::UpTo(n(1)), 100),
                Err(EngineError::PromptTooLong { prompt_tokens, context_tokens: 100 })
            );
        }
    }

    #[test]
    fn more_threads_than_cores_are_refused() {
        let options = EngineOptions { threads: cores().saturating_add(1), ..EngineOptions::default() };
        let error = LlamaEngine::load("/nonexistent", options).err().unwrap();
        assert_eq!(error.code(), "engine.threads.too-many");
    }
}
