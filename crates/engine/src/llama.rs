//! The embedded engine: one thread owns llama.cpp's context and works on all requests together, behind a bounded queue.

use std::fs::File;
use std::num::{NonZeroU32, NonZeroUsize};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

use crate::answer::{Completion, Event};
use crate::embed::{EmbedRequest, Embedded};
use crate::embedder::{EmbedJob, EmbedReply, Embedder};
use crate::error::EngineError;
use crate::error::SchemaFault;
use crate::ffi::{self, Context, Model, Pooling, Sizes, Token};
use crate::gguf;
use crate::grammar::{Grammars, Guide};
use crate::request::{GenerateRequest, Input, Tools};
use crate::scheduler::{Counters, Job, Reply, Room, Scheduler, Task};
use crate::schema::Schema;
use crate::template::{ChatTemplate, ControlTokens, Segment};
use crate::words::Words;
use crate::{ChatSupport, Engine, ModelInfo, ToolForm};

/// Requests that may wait while others run.
pub const QUEUE_CAPACITY: usize = 32;

/// Context size where the options do not say otherwise, in tokens. Smaller where the model was trained with less.
pub const DEFAULT_CONTEXT_TOKENS: NonZeroU32 = NonZeroU32::new(4096).unwrap();

/// Requests that run at the same time where the options do not say otherwise.
pub const DEFAULT_PARALLEL: NonZeroU32 = NonZeroU32::new(8).unwrap();

/// Tokens of the attention cache, of all requests together, where the options do not say otherwise.
pub const DEFAULT_CACHE_TOKENS: NonZeroU32 = NonZeroU32::new(16_384).unwrap();

/// Tokens of an answer that one step guesses at most, where the options do not say otherwise: none, because who watches a stream on
/// the network would see where its text repeats (SRV-73).
pub const DEFAULT_GUESS_TOKENS: u32 = 0;

/// Most tokens that one step guesses: each has scores of a whole vocabulary.
pub const MAX_GUESS_TOKENS: u32 = 64;

/// llama.cpp's own bound of sequences (`LLAMA_MAX_SEQ`).
const MAX_SEQUENCES: u32 = 256;

/// Most requests that run at the same time.
pub const MAX_PARALLEL: u32 = 128;

/// Prompt tokens that are read in one step.
pub(crate) const BATCH_TOKENS: NonZeroU32 = NonZeroU32::new(512).unwrap();

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
    /// Tokens that all requests at the same time have room for together; at least `context_tokens`. A request starts when
    /// there is room for its prompt and its whole token budget.
    pub cache_tokens: NonZeroU32,
    /// Requests that run at the same time.
    pub parallel: NonZeroU32,
    /// Threads to compute with, at most the cores of this process.
    pub threads: NonZeroUsize,
    /// Tokens that one step guesses at most, where an answer that runs alone repeats what it has read or written; 0: none. It changes
    /// how long an answer takes.
    pub guess_tokens: u32,
}

impl Default for EngineOptions {
    /// [`DEFAULT_CONTEXT_TOKENS`], [`DEFAULT_CACHE_TOKENS`], [`DEFAULT_PARALLEL`], [`DEFAULT_GUESS_TOKENS`], and a thread for each
    /// core that this process may use.
    fn default() -> Self {
        Self {
            context_tokens: DEFAULT_CONTEXT_TOKENS,
            cache_tokens: DEFAULT_CACHE_TOKENS,
            parallel: DEFAULT_PARALLEL,
            threads: cores(),
            guess_tokens: DEFAULT_GUESS_TOKENS,
        }
    }
}

/// llama.cpp in this process. Dropping it ends its thread and unmaps the weights.
pub struct LlamaEngine {
    info: ModelInfo,
    template: Option<Result<ChatTemplate, EngineError>>,
    grammars: Option<Grammars>,
    /// `None` only while it is dropped.
    queue: Option<Sender<Task>>,
    counters: Counters,
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

        let (queue, tasks) = channel();
        let (ready, loaded) = channel();
        let counters = Counters::default();
        let beat = Arc::<AtomicU64>::default();
        let worker = thread::Builder::new()
            .name("engine".into())
            .stack_size(WORKER_STACK_BYTES)
            .spawn({
                let (counters, beat) = (counters.clone(), Arc::clone(&beat));
                move || work(file, header.architecture, options, &ready, &tasks, counters, beat)
            })
            .map_err(|e| EngineError::Thread { kind: e.kind() })?;
        let Loaded { info, template, grammars } = loaded.recv().map_err(|_| EngineError::Stopped)??;
        Ok(Self { info, template, grammars, queue: Some(queue), counters, beat, worker: Some(worker) })
    }

    /// Tokens of answers that were guessed since the engine was loaded, and how many of them were right.
    #[must_use]
    pub fn guesses(&self) -> (u64, u64) {
        let Counters { guessed, right, .. } = &self.counters;
        (guessed.load(Ordering::Relaxed), right.load(Ordering::Relaxed))
    }

    /// Bytes other than zero in cells of the attention cache that nobody has any more; reads all of it. `None` where cells are not
    /// overwritten one by one (spec/serving.md, SRV-25), or the engine has stopped.
    #[must_use]
    pub fn stale_bytes(&self) -> Option<u64> {
        let (reply, answer) = channel();
        self.queue.as_ref()?.send(Task::Audit(reply)).ok()?;
        answer.recv().ok()?
    }

    /// Reads a schema, on the request's own time. The engine is alive meanwhile, which its beat says.
    fn guide(&self, schema: &Schema) -> Result<Guide, EngineError> {
        let guide = self.grammars.as_ref().ok_or(SchemaFault::Unavailable)?.guide(schema);
        self.beat.fetch_add(1, Ordering::Relaxed);
        guide
    }

    /// Hands work to the worker, which counts `depth` down when it has answered.
    fn send(&self, work: Task) -> Result<(), EngineError> {
        let queue = self.queue.as_ref().ok_or(EngineError::Stopped)?;
        let most = QUEUE_CAPACITY.saturating_add(usize::try_from(self.info.parallel).unwrap_or(usize::MAX));
        if self.counters.depth.fetch_add(1, Ordering::Relaxed) >= most {
            self.counters.depth.fetch_sub(1, Ordering::Relaxed);
            return Err(EngineError::QueueFull { capacity: QUEUE_CAPACITY });
        }
        queue.send(work).map_err(|_| {
            self.counters.depth.fetch_sub(1, Ordering::Relaxed);
            EngineError::Stopped
        })
    }

    /// Hands over work that needs the vocabulary only, and waits for its answer.
    fn words<T>(
        &self,
        words: impl FnOnce(Sender<Result<T, EngineError>>) -> Words,
    ) -> Result<T, EngineError> {
        let (reply, answer) = channel();
        self.send(Task::Words(words(reply)))?;
        answer.recv().unwrap_or(Err(EngineError::Stopped))
    }

    /// Renders what the worker turns into tokens.
    fn render(&self, input: Input, tools: Option<&Tools>) -> Result<Vec<Segment>, EngineError> {
        let segments = match input {
            Input::Raw(text) => vec![Segment { text, literal: true }],
            Input::Chat(messages) => {
                if messages.is_empty() {
                    return Err(EngineError::NoMessages);
                }
                match &self.template {
                    None => return Err(EngineError::NoTemplate),
                    Some(Err(error)) => return Err(error.clone()),
                    Some(Ok(template)) => template.render(&messages, tools)?,
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
        Ok(segments)
    }
}

impl Engine for LlamaEngine {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn queue_depth(&self) -> usize {
        self.counters.depth.load(Ordering::Relaxed)
    }

    fn beat(&self) -> u64 {
        self.beat.load(Ordering::Relaxed)
    }

    fn generate(
        &self,
        request: GenerateRequest,
        sink: &mut dyn FnMut(Event) -> ControlFlow<()>,
    ) -> Result<Completion, EngineError> {
        if self.info.dimensions.is_some() {
            return Err(EngineError::EmbedsOnly);
        }
        request.sampling.check()?;
        let prompt = self.render(request.input, request.tools.as_ref())?;
        let guide = request.schema.map(|schema| self.guide(&schema)).transpose()?;
        let cancel = request.cancel;
        // Not bounded by itself, but by the answer's token budget: a slow reader does not hold up the others.
        let (reply, replies) = channel();
        let job = Job {
            prompt,
            budget: request.budget,
            sampling: request.sampling,
            stop: request.stop.into_inner(),
            guide,
            marks: request.tools.is_some(),
            logprobs: request.logprobs,
            tenant: request.tenant,
            cancel: cancel.clone(),
            reply,
        };
        self.send(Task::Answer(Box::new(job)))?;
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

    fn embed(&self, request: EmbedRequest) -> Result<Embedded, EngineError> {
        if self.info.dimensions.is_none() {
            return Err(EngineError::NoEmbeddings);
        }
        let EmbedRequest { inputs, tenant, cancel } = request;
        let mut vectors = vec![Vec::new(); inputs.len()];
        let (reply, replies) = channel();
        self.send(Task::Embed(EmbedJob { inputs, tenant, cancel, reply }))?;
        loop {
            match replies.recv() {
                Ok(EmbedReply::Vector(input, vector)) => {
                    if let Some(place) = vectors.get_mut(input) {
                        *place = vector;
                    }
                }
                Ok(EmbedReply::End(Ok(tokens))) => return Ok(Embedded { vectors, tokens }),
                Ok(EmbedReply::End(Err(error))) => return Err(error),
                Err(_) => return Err(EngineError::Stopped),
            }
        }
    }

    fn tokenise(&self, text: String, special: bool) -> Result<Vec<i32>, EngineError> {
        self.words(|reply| Words::Tokenise { text, special, reply })
    }

    fn detokenise(&self, tokens: Vec<i32>) -> Result<String, EngineError> {
        self.words(|reply| Words::Detokenise { tokens, reply })
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
    grammars: Option<Grammars>,
}

/// The worker's life.
fn work(
    file: File,
    architecture: String,
    options: EngineOptions,
    ready: &Sender<Result<Loaded, EngineError>>,
    tasks: &Receiver<Task>,
    counters: Counters,
    beat: Arc<AtomicU64>,
) {
    // A caller that is gone gets no report, here and below.
    let Some(model) = Model::load(file) else {
        let _ = ready.send(Err(EngineError::Refused { architecture }));
        return;
    };
    let (loaded, context, room) = match start(&model, architecture, options, beat) {
        Ok(started) => started,
        Err(error) => {
            let _ = ready.send(Err(error));
            return;
        }
    };
    let dimensions = loaded.info.dimensions;
    if ready.send(Ok(loaded)).is_err() {
        return;
    }
    let threads = threads(options);
    if dimensions.is_some() {
        Embedder::new(&model, context, room.request, options.parallel, threads, counters.depth).work(tasks);
    } else {
        Scheduler::new(&model, context, room, options.parallel, threads, counters).work(tasks);
    }
}

fn threads(options: EngineOptions) -> u32 {
    u32::try_from(options.threads.get()).unwrap_or(u32::MAX)
}

/// Makes the context and reads what the engine says about its model.
fn start(
    model: &Model,
    architecture: String,
    options: EngineOptions,
    beat: Arc<AtomicU64>,
) -> Result<(Loaded, Context<'_>, Room), EngineError> {
    if !model.continues_text() {
        return Err(EngineError::NotDecoder { architecture });
    }
    let dimensions = match model.pooling(&architecture) {
        None => None,
        Some(Pooling::Vector) => NonZeroU32::new(model.dimensions()),
        Some(Pooling::Other) => return Err(EngineError::NoPooling { architecture }),
    };
    let embeddings = dimensions.is_some();
    let trained = model.trained_context_tokens();
    let tokens = NonZeroU32::new(trained).map_or(options.context_tokens, |t| t.min(options.context_tokens));
    // An embedding model reads an input in one computation and keeps nothing of it.
    let cells = if embeddings { tokens } else { options.cache_tokens.max(tokens) };
    // At most as many as llama.cpp has sequences for.
    let kept = match model.shares_beginnings() && !embeddings {
        true => options.parallel.get().min(MAX_SEQUENCES - options.parallel.get()),
        false => 0,
    };
    let sequences = options.parallel.saturating_add(kept);
    let batch = if embeddings { cells } else { BATCH_TOKENS.min(cells) }.max(options.parallel);
    // What is guessed wrong must be forgotten, which models that cannot share beginnings cannot either (SRV-70).
    let guess = if model.shares_beginnings() {
        options.guess_tokens.min(MAX_GUESS_TOKENS).min(batch.get() - 1)
    } else {
        0
    };
    let sizes = Sizes {
        embeddings,
        cells,
        sequences,
        batch,
        outputs: if embeddings { batch } else { sequences.max(NonZeroU32::MIN.saturating_add(guess)) },
        threads: i32::try_from(threads(options)).unwrap_or(i32::MAX),
    };
    let context =
        Context::new(model, sizes, beat).ok_or(EngineError::Context { context_tokens: cells.get() })?;
    if !embeddings && !context.is_causal() {
        return Err(EngineError::NoPooling { architecture });
    }
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
        parallel: options.parallel.get(),
        trained_context_tokens: trained,
        chat: match &template {
            Some(Ok(_)) => ChatSupport::Template,
            Some(Err(_)) => ChatSupport::Broken,
            None => ChatSupport::Missing,
        },
        tools: match &template {
            Some(Ok(template)) => template.tools(),
            Some(Err(_)) | None => ToolForm::None,
        },
        dimensions,
    };
    let room = Room {
        request: info.context_tokens,
        cells: cells.get().min(context.capacity()),
        batch: sizes.batch,
        kept,
        guess,
    };
    let grammars = if embeddings { None } else { Grammars::new(model) };
    Ok((Loaded { info, template, grammars }, context, room))
}

/// Checks that this machine can do what is asked for.
fn check_machine(options: EngineOptions) -> Result<(), EngineError> {
    check_cpu()?;
    let parallel = options.parallel.get();
    if parallel > MAX_PARALLEL {
        return Err(EngineError::Parallel { parallel, limit: MAX_PARALLEL });
    }
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

    #[test]
    fn more_threads_than_cores_are_refused() {
        let options = EngineOptions { threads: cores().saturating_add(1), ..EngineOptions::default() };
        let error = LlamaEngine::load("/nonexistent", options).err().unwrap();
        assert_eq!(error.code(), "engine.threads.too-many");
    }
}
