//! What the server and the engine's process say to each other: frames on one socket, and nothing of one that is not
//! understood is believed (spec/confinement.md, section 4).
//!
//! ```text
//! offset  size  field
//!      0     4  length n of the message, little-endian, 1 to the limit of the direction
//!      4     n  the message in postcard's format (ToEngine or FromEngine), without a byte left over
//! ```
//!
//! Prompts and answers pass through here: every buffer is overwritten when it was used.

use std::io::{ErrorKind, Read};

use casemate_engine::{EngineError, FinishReason, Role, Sampling, SchemaFault, TemplateFault, ToolForm};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use super::lockdown::LockDownError;

/// Longest message to the engine's process.
pub(super) const MAX_TO_ENGINE: usize = 16 << 20;
/// Longest message from it.
pub(super) const MAX_FROM_ENGINE: usize = 64 << 10;
/// Longest piece of an answer in one message.
pub(super) const MAX_TEXT: usize = MAX_FROM_ENGINE - 64;
/// Most numbers of a vector.
pub(super) const MAX_DIMENSIONS: u32 = 16_000;
/// Most tokens of a text in one message.
pub(super) const MAX_TOKENS: usize = 8192;
/// Longest name or text that the engine reports about a model, in bytes.
pub(super) const MAX_REPORT: usize = 512;

/// From the server.
#[derive(Serialize, Deserialize)]
pub(super) enum ToEngine<'a> {
    /// Load the file whose descriptor came with this message.
    Load { context_tokens: u32, cache_tokens: u32, parallel: u32, threads: u32, guess_tokens: u32 },
    /// Answer this. `id` names the request from now on.
    Generate {
        id: u64,
        #[serde(borrow)]
        request: Request<'a>,
    },
    /// The answer is not wanted any more.
    Cancel { id: u64 },
    /// A vector of each input.
    Embed {
        id: u64,
        #[serde(borrow)]
        inputs: Vec<Piece<'a>>,
        tenant: Option<[u8; 32]>,
    },
    /// The tokens of a text.
    Tokenise { id: u64, text: &'a str, special: bool },
    /// The text of tokens.
    Detokenise { id: u64, tokens: Vec<i32> },
}

/// What a vector is computed of.
#[derive(Serialize, Deserialize)]
pub(super) enum Piece<'a> {
    Text(&'a str),
    Tokens(Vec<i32>),
}

#[derive(Serialize, Deserialize)]
pub(super) struct Request<'a> {
    #[serde(borrow)]
    pub(super) input: Prompt<'a>,
    pub(super) budget: Budget,
    pub(super) sampling: Choice,
    #[serde(borrow)]
    pub(super) stop: Vec<&'a str>,
    pub(super) schema: Option<&'a str>,
    pub(super) tools: Option<&'a str>,
    pub(super) logprobs: Option<u8>,
    pub(super) tenant: Option<[u8; 32]>,
}

#[derive(Serialize, Deserialize)]
pub(super) enum Prompt<'a> {
    Raw(&'a str),
    #[serde(borrow)]
    Chat(Vec<Said<'a>>),
}

/// A message of a conversation.
#[derive(Serialize, Deserialize)]
pub(super) struct Said<'a> {
    pub(super) speaker: Speaker,
    pub(super) text: &'a str,
    /// Calls of functions: id, name, arguments.
    #[serde(borrow)]
    pub(super) calls: Vec<(&'a str, &'a str, &'a str)>,
    pub(super) call_id: Option<&'a str>,
}

#[derive(Serialize, Deserialize, Clone, Copy)]
pub(super) enum Speaker {
    System,
    User,
    Assistant,
    Tool,
}

#[derive(Serialize, Deserialize, Clone, Copy)]
pub(super) enum Budget {
    Exact(u32),
    UpTo(u32),
}

#[derive(Serialize, Deserialize)]
pub(super) struct Choice {
    bias: Vec<(i32, f32)>,
    frequency_penalty: f32,
    presence_penalty: f32,
    temperature: f32,
    top_k: u32,
    top_p: f32,
    min_p: f32,
    seed: u64,
}

/// From the engine's process.
#[derive(Serialize, Deserialize)]
pub(super) enum FromEngine<'a> {
    /// First of all: this process can reach nothing any more.
    Confined { landlock_abi: u32 },
    /// Or it could, and ends.
    NotConfined(LockDownError),
    /// The model is loaded.
    Loaded {
        name: &'a str,
        architecture: &'a str,
        parameters: u64,
        tensor_bytes: u64,
        context_tokens: u32,
        parallel: u32,
        trained_context_tokens: u32,
        chat: Template,
        tools: Form,
        /// Of a vector; `None` where the model makes none.
        dimensions: Option<u32>,
    },
    /// It is not.
    NotLoaded { code: &'a str, text: &'a str },
    /// A request was accepted.
    Started { id: u64, prompt_tokens: u32 },
    /// A piece of its answer.
    Text { id: u64, text: &'a str },
    /// A token of it with what might have stood in its place, where that was asked for.
    Token { id: u64, chosen: Score<'a>, top: Vec<Score<'a>> },
    /// The vector of one of its inputs, little-endian.
    Vector { id: u64, input: u32, numbers: &'a [u8] },
    /// The next tokens of a text.
    Tokens { id: u64, tokens: Vec<i32> },
    /// Its end.
    End { id: u64, finish: Finish, prompt_tokens: u32, cached_tokens: u32, completion_tokens: u32 },
    /// Its end, without one.
    Failed { id: u64, failure: Failure },
    /// A long computation goes on.
    Alive,
}

/// A token's bytes and the logarithm of its probability.
pub(super) type Score<'a> = (&'a [u8], f32);

#[derive(Serialize, Deserialize, Clone, Copy)]
pub(super) enum Template {
    Compiles,
    Missing,
    Broken,
}

#[derive(Serialize, Deserialize, Clone, Copy)]
pub(super) enum Form {
    None,
    Hermes,
    Llama,
    Mistral,
    Other,
}

#[derive(Serialize, Deserialize, Clone, Copy)]
pub(super) enum Finish {
    Stop,
    StopString(u8),
    Length,
    Cancelled,
}

/// What a request can fail with: numbers and names only, so that no failure carries text of a request.
#[derive(Serialize, Deserialize, Clone, Copy)]
pub(super) enum Failure {
    QueueFull { capacity: u32 },
    PromptEmpty,
    PromptTooLong { prompt_tokens: u64, context_tokens: u32 },
    PromptTooManyBytes { bytes: u64, limit: u64 },
    ContextOverflow { prompt_tokens: u32, max_new_tokens: u32, context_tokens: u32 },
    Temperature,
    TopP,
    MinP,
    Penalty,
    Bias { limit: u32 },
    NoMessages,
    NoTemplate,
    Template(Fault),
    Schema(Misfit),
    Context { context_tokens: u32 },
    Compute { status: i32 },
    Stopped,
    NoEmbeddings,
    EmbedsOnly,
    NoVector,
    InputTooLong { tokens: u64, limit: u32 },
    InputsTooLong { limit: u64 },
    TokenUnknown { vocabulary: u32 },
    NoVocabulary,
    Cancelled,
}

#[derive(Serialize, Deserialize, Clone, Copy)]
pub(super) enum Fault {
    Syntax,
    Refused,
    TooLong,
    Failed,
}

#[derive(Serialize, Deserialize, Clone, Copy)]
pub(super) enum Misfit {
    NotAnObject,
    Refused,
    Bytes { bytes: u64, limit: u64 },
    Nesting { limit: u64 },
    Values { values: u64, limit: u64 },
    References { limit: u64 },
    Work,
    Unavailable,
}

// === frames ===

/// One message as a frame. `None` where it is longer than the limit.
pub(super) fn frame<T: Serialize>(
    message: &T,
    text_bytes: usize,
    limit: usize,
) -> Option<Zeroizing<Vec<u8>>> {
    // One allocation that is large enough: no half-grown copies stay behind.
    let room = text_bytes.checked_add(ROOM)?;
    let mut frame = Zeroizing::new(vec![0; room]);
    let (head, body) = frame.split_at_mut_checked(HEAD)?;
    let length = postcard::to_slice(message, body).ok()?.len();
    if length > limit {
        return None;
    }
    head.copy_from_slice(&u32::try_from(length).ok()?.to_le_bytes());
    frame.truncate(HEAD + length);
    Some(frame)
}

/// The message of a frame, if it is one and nothing else.
pub(super) fn message<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Option<T> {
    let (message, rest) = postcard::take_from_bytes(body).ok()?;
    rest.is_empty().then_some(message)
}

/// Cuts a stream of bytes into frames.
pub(super) struct Frames<R> {
    source: R,
    limit: usize,
    buffer: Zeroizing<Vec<u8>>,
    filled: usize,
}

/// What [`Frames::wait`] found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Waited {
    /// A whole frame, for [`Frames::take`].
    Frame,
    /// Nothing within the time that the source waits.
    Nothing,
    /// The other side is gone.
    Gone,
    /// A frame of a length that no message has.
    Length,
}

impl<R: Read> Frames<R> {
    pub(super) fn new(source: R, limit: usize) -> Self {
        Self { source, limit, buffer: Zeroizing::new(vec![0; FIRST]), filled: 0 }
    }

    pub(super) fn source_mut(&mut self) -> &mut R {
        &mut self.source
    }

    /// Reads until a frame is whole.
    pub(super) fn wait(&mut self) -> Waited {
        loop {
            let Ok(length) = self.length() else { return Waited::Length };
            let wanted = HEAD + length.unwrap_or(0);
            if length.is_some() && self.filled >= wanted {
                return Waited::Frame;
            }
            if wanted > self.buffer.len() {
                let mut larger = Zeroizing::new(vec![0; wanted]);
                if let Some((start, _)) = larger.split_at_mut_checked(self.buffer.len()) {
                    start.copy_from_slice(&self.buffer);
                }
                self.buffer = larger;
            }
            let Some(free) = self.buffer.get_mut(self.filled..) else { return Waited::Gone };
            match self.source.read(free) {
                Ok(0) => return Waited::Gone,
                Ok(read) => self.filled += read,
                Err(error) if error.kind() == ErrorKind::Interrupted => (),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return Waited::Nothing;
                }
                Err(_) => return Waited::Gone,
            }
        }
    }

    /// Gives the frame's message to `read`, then overwrites it.
    pub(super) fn take<T>(&mut self, read: impl FnOnce(&[u8], &mut R) -> T) -> Option<T> {
        let end = HEAD + self.length().ok()??;
        if end > self.filled {
            return None;
        }
        let taken = read(self.buffer.get(HEAD..end)?, &mut self.source);
        self.buffer.copy_within(end..self.filled, 0);
        let left = self.filled - end;
        if let Some(used) = self.buffer.get_mut(left..self.filled) {
            used.zeroize();
        }
        self.filled = left;
        if self.buffer.len() > FIRST && left <= FIRST {
            let mut smaller = Zeroizing::new(vec![0; FIRST]);
            if let (Some(to), Some(from)) = (smaller.get_mut(..left), self.buffer.get(..left)) {
                to.copy_from_slice(from);
            }
            self.buffer = smaller;
        }
        Some(taken)
    }

    /// Length of the message at the start of the buffer; `None` where too little is there to say.
    fn length(&self) -> Result<Option<usize>, ()> {
        let head = self.buffer.get(..self.filled).and_then(|filled| filled.first_chunk::<HEAD>());
        match head.map(|head| u32::from_le_bytes(*head) as usize) {
            None => Ok(None),
            Some(length) if length == 0 || length > self.limit => Err(()),
            Some(length) => Ok(Some(length)),
        }
    }
}

// === the engine's types ===

impl From<Role> for Speaker {
    fn from(role: Role) -> Self {
        match role {
            Role::System => Self::System,
            Role::User => Self::User,
            Role::Assistant => Self::Assistant,
            Role::Tool => Self::Tool,
        }
    }
}

impl From<Speaker> for Role {
    fn from(speaker: Speaker) -> Self {
        match speaker {
            Speaker::System => Self::System,
            Speaker::User => Self::User,
            Speaker::Assistant => Self::Assistant,
            Speaker::Tool => Self::Tool,
        }
    }
}

impl From<ToolForm> for Form {
    fn from(form: ToolForm) -> Self {
        match form {
            ToolForm::None => Self::None,
            ToolForm::Hermes => Self::Hermes,
            ToolForm::Llama => Self::Llama,
            ToolForm::Mistral => Self::Mistral,
            ToolForm::Other => Self::Other,
        }
    }
}

impl From<Form> for ToolForm {
    fn from(form: Form) -> Self {
        match form {
            Form::None => Self::None,
            Form::Hermes => Self::Hermes,
            Form::Llama => Self::Llama,
            Form::Mistral => Self::Mistral,
            Form::Other => Self::Other,
        }
    }
}

impl From<&Sampling> for Choice {
    fn from(sampling: &Sampling) -> Self {
        Self {
            bias: sampling.bias.clone(),
            frequency_penalty: sampling.frequency_penalty,
            presence_penalty: sampling.presence_penalty,
            temperature: sampling.temperature,
            top_k: sampling.top_k,
            top_p: sampling.top_p,
            min_p: sampling.min_p,
            seed: sampling.seed,
        }
    }
}

impl From<Choice> for Sampling {
    fn from(choice: Choice) -> Self {
        Self {
            bias: choice.bias,
            frequency_penalty: choice.frequency_penalty,
            presence_penalty: choice.presence_penalty,
            temperature: choice.temperature,
            top_k: choice.top_k,
            top_p: choice.top_p,
            min_p: choice.min_p,
            seed: choice.seed,
        }
    }
}

impl From<FinishReason> for Finish {
    fn from(finish: FinishReason) -> Self {
        match finish {
            FinishReason::Stop => Self::Stop,
            FinishReason::StopString(number) => Self::StopString(number),
            FinishReason::Length => Self::Length,
            FinishReason::Cancelled => Self::Cancelled,
        }
    }
}

impl From<Finish> for FinishReason {
    fn from(finish: Finish) -> Self {
        match finish {
            Finish::Stop => Self::Stop,
            Finish::StopString(number) => Self::StopString(number),
            Finish::Length => Self::Length,
            Finish::Cancelled => Self::Cancelled,
        }
    }
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        let wide = |n: usize| n as u64;
        match error {
            EngineError::QueueFull { capacity } => {
                Self::QueueFull { capacity: u32::try_from(capacity).unwrap_or(u32::MAX) }
            }
            EngineError::PromptEmpty => Self::PromptEmpty,
            EngineError::PromptTooLong { prompt_tokens, context_tokens } => {
                Self::PromptTooLong { prompt_tokens: wide(prompt_tokens), context_tokens }
            }
            EngineError::PromptTooManyBytes { bytes, limit } => {
                Self::PromptTooManyBytes { bytes: wide(bytes), limit: wide(limit) }
            }
            EngineError::ContextOverflow { prompt_tokens, max_new_tokens, context_tokens } => {
                Self::ContextOverflow { prompt_tokens, max_new_tokens, context_tokens }
            }
            EngineError::Temperature => Self::Temperature,
            EngineError::TopP => Self::TopP,
            EngineError::MinP => Self::MinP,
            EngineError::Penalty => Self::Penalty,
            EngineError::Bias { limit } => Self::Bias { limit: u32::try_from(limit).unwrap_or(u32::MAX) },
            EngineError::NoMessages => Self::NoMessages,
            EngineError::NoTemplate => Self::NoTemplate,
            EngineError::Template(fault) => Self::Template(match fault {
                TemplateFault::Syntax => Fault::Syntax,
                TemplateFault::Refused => Fault::Refused,
                TemplateFault::TooLong => Fault::TooLong,
                TemplateFault::Failed => Fault::Failed,
            }),
            EngineError::Schema(fault) => Self::Schema(match fault {
                SchemaFault::NotAnObject => Misfit::NotAnObject,
                SchemaFault::Refused => Misfit::Refused,
                SchemaFault::Bytes { bytes, limit } => {
                    Misfit::Bytes { bytes: wide(bytes), limit: wide(limit) }
                }
                SchemaFault::Nesting { limit } => Misfit::Nesting { limit: wide(limit) },
                SchemaFault::Values { values, limit } => {
                    Misfit::Values { values: wide(values), limit: wide(limit) }
                }
                SchemaFault::References { limit } => Misfit::References { limit: wide(limit) },
                SchemaFault::Work => Misfit::Work,
                SchemaFault::Unavailable => Misfit::Unavailable,
            }),
            EngineError::Context { context_tokens } => Self::Context { context_tokens },
            EngineError::Compute { status } => Self::Compute { status },
            EngineError::NoEmbeddings => Self::NoEmbeddings,
            EngineError::EmbedsOnly => Self::EmbedsOnly,
            EngineError::NoVector => Self::NoVector,
            EngineError::InputTooLong { tokens, limit } => Self::InputTooLong { tokens: wide(tokens), limit },
            EngineError::InputsTooLong { limit } => Self::InputsTooLong { limit: wide(limit) },
            EngineError::TokenUnknown { vocabulary } => Self::TokenUnknown { vocabulary },
            EngineError::NoVocabulary => Self::NoVocabulary,
            EngineError::Cancelled => Self::Cancelled,
            // Of loading, which is over; of stop strings, which the server has checked; of processes, of which there is
            // no second one.
            EngineError::Unreadable { .. }
            | EngineError::NotGguf
            | EngineError::Upstream(_)
            | EngineError::Gguf(_)
            | EngineError::Refused { .. }
            | EngineError::NotDecoder { .. }
            | EngineError::NoPooling { .. }
            | EngineError::Cpu { .. }
            | EngineError::Threads { .. }
            | EngineError::Parallel { .. }
            | EngineError::Thread { .. }
            | EngineError::Stop(_)
            | EngineError::Stopped
            | EngineError::Ended(_)
            | EngineError::Hung { .. }
            | EngineError::Protocol { .. }
            | EngineError::Reported { .. } => Self::Stopped,
        }
    }
}

impl From<Failure> for EngineError {
    fn from(failure: Failure) -> Self {
        let narrow = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        match failure {
            Failure::QueueFull { capacity } => Self::QueueFull { capacity: narrow(capacity.into()) },
            Failure::PromptEmpty => Self::PromptEmpty,
            Failure::PromptTooLong { prompt_tokens, context_tokens } => {
                Self::PromptTooLong { prompt_tokens: narrow(prompt_tokens), context_tokens }
            }
            Failure::PromptTooManyBytes { bytes, limit } => {
                Self::PromptTooManyBytes { bytes: narrow(bytes), limit: narrow(limit) }
            }
            Failure::ContextOverflow { prompt_tokens, max_new_tokens, context_tokens } => {
                Self::ContextOverflow { prompt_tokens, max_new_tokens, context_tokens }
            }
            Failure::Temperature => Self::Temperature,
            Failure::TopP => Self::TopP,
            Failure::MinP => Self::MinP,
            Failure::Penalty => Self::Penalty,
            Failure::Bias { limit } => Self::Bias { limit: narrow(limit.into()) },
            Failure::NoMessages => Self::NoMessages,
            Failure::NoTemplate => Self::NoTemplate,
            Failure::Template(fault) => Self::Template(match fault {
                Fault::Syntax => TemplateFault::Syntax,
                Fault::Refused => TemplateFault::Refused,
                Fault::TooLong => TemplateFault::TooLong,
                Fault::Failed => TemplateFault::Failed,
            }),
            Failure::Schema(fault) => Self::Schema(match fault {
                Misfit::NotAnObject => SchemaFault::NotAnObject,
                Misfit::Refused => SchemaFault::Refused,
                Misfit::Bytes { bytes, limit } => {
                    SchemaFault::Bytes { bytes: narrow(bytes), limit: narrow(limit) }
                }
                Misfit::Nesting { limit } => SchemaFault::Nesting { limit: narrow(limit) },
                Misfit::Values { values, limit } => {
                    SchemaFault::Values { values: narrow(values), limit: narrow(limit) }
                }
                Misfit::References { limit } => SchemaFault::References { limit: narrow(limit) },
                Misfit::Work => SchemaFault::Work,
                Misfit::Unavailable => SchemaFault::Unavailable,
            }),
            Failure::Context { context_tokens } => Self::Context { context_tokens },
            Failure::Compute { status } => Self::Compute { status },
            Failure::Stopped => Self::Stopped,
            Failure::NoEmbeddings => Self::NoEmbeddings,
            Failure::EmbedsOnly => Self::EmbedsOnly,
            Failure::NoVector => Self::NoVector,
            Failure::InputTooLong { tokens, limit } => Self::InputTooLong { tokens: narrow(tokens), limit },
            Failure::InputsTooLong { limit } => Self::InputsTooLong { limit: narrow(limit) },
            Failure::TokenUnknown { vocabulary } => Self::TokenUnknown { vocabulary },
            Failure::NoVocabulary => Self::NoVocabulary,
            Failure::Cancelled => Self::Cancelled,
        }
    }
}

/// The codes of what loading a model can fail with.
const LOADING: &[&str] = &[
    "engine.model.unreadable",
    "engine.model.not-gguf",
    "engine.model.truncated",
    "engine.model.version",
    "engine.model.malformed",
    "engine.model.refused",
    "engine.model.not-decoder",
    "engine.model.no-pooling",
    "engine.context.unavailable",
    "engine.cpu.unsupported",
    "engine.threads.too-many",
    "engine.parallel.too-many",
    "engine.thread.failed",
    "engine.stopped",
];

/// Why a model was not loaded, as the engine's process reports it. `None` where that is no code of ours.
pub(super) fn reported(code: &str, text: &str) -> Option<EngineError> {
    let code = LOADING.iter().find(|known| **known == code)?;
    Some(EngineError::Reported { code, text: printable(text) })
}

/// What of a report may stand in a log.
pub(super) fn printable(text: &str) -> String {
    text.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').take(MAX_REPORT).collect()
}

/// The longest start of a text that has at most `bytes` bytes and ends with a whole character.
pub(super) fn start_of(text: &str, bytes: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes)).unwrap_or_default()
}

/// Bytes before a message.
const HEAD: usize = 4;
/// What a message has beside its texts and lists, at most: numbers, and lengths of the texts.
const ROOM: usize = 256;
/// A reader's buffer, unless a message needs a larger one.
const FIRST: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    /// Gives its bytes in pieces of `step`, and says in between that it has none.
    struct Dripping<'a> {
        bytes: &'a [u8],
        step: usize,
        dry: bool,
    }

    impl Read for Dripping<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.dry = !self.dry;
            if self.dry && !self.bytes.is_empty() {
                return Err(ErrorKind::WouldBlock.into());
            }
            let (now, later) = self.bytes.split_at(self.step.min(self.bytes.len()).min(buffer.len()));
            buffer[..now.len()].copy_from_slice(now);
            self.bytes = later;
            Ok(now.len())
        }
    }

    fn text(id: u64, text: &str) -> Zeroizing<Vec<u8>> {
        frame(&FromEngine::Text { id, text }, text.len(), MAX_FROM_ENGINE).unwrap()
    }

    #[test]
    fn frames_survive_every_cut() {
        let long = "x".repeat(MAX_TEXT);
        let bytes = [text(1, "a").to_vec(), text(2, &long).to_vec(), text(3, "").to_vec()].concat();
        for step in [1, 3, 4, 5, 1000, bytes.len()] {
            let mut frames = Frames::new(Dripping { bytes: &bytes, step, dry: true }, MAX_FROM_ENGINE);
            let mut seen = Vec::new();
            loop {
                match frames.wait() {
                    Waited::Frame => {
                        let read = |body: &[u8], _: &mut Dripping<'_>| match message(body) {
                            Some(FromEngine::Text { id, text }) => (id, text.len()),
                            _ => panic!("not a text"),
                        };
                        seen.push(frames.take(read).unwrap());
                    }
                    Waited::Nothing => (),
                    Waited::Gone => break,
                    Waited::Length => panic!("a length"),
                }
            }
            assert_eq!(seen, [(1, 1), (2, MAX_TEXT), (3, 0)], "in pieces of {step}");
            assert!(frames.buffer.iter().all(|byte| *byte == 0), "every frame was overwritten");
        }
    }

    #[test]
    fn lengths_beyond_the_limit_are_refused_before_memory_is_taken() {
        for length in [0, u32::try_from(MAX_FROM_ENGINE).unwrap() + 1, u32::MAX] {
            let bytes = length.to_le_bytes();
            let mut frames = Frames::new(bytes.as_slice(), MAX_FROM_ENGINE);
            assert_eq!(frames.wait(), Waited::Length);
            assert_eq!(frames.buffer.len(), FIRST);
        }
        let long = "x".repeat(MAX_FROM_ENGINE);
        assert!(frame(&FromEngine::Text { id: 1, text: &long }, long.len(), MAX_FROM_ENGINE).is_none());
    }

    #[test]
    fn a_message_is_all_of_its_frame() {
        let mut body = text(7, "abc")[HEAD..].to_vec();
        assert!(message::<FromEngine<'_>>(&body).is_some());
        body.push(0);
        assert!(message::<FromEngine<'_>>(&body).is_none(), "one byte more");
        body.truncate(body.len() - 2);
        assert!(message::<FromEngine<'_>>(&body).is_none(), "one byte less");
        assert!(message::<FromEngine<'_>>(&[99]).is_none(), "no such message");
        assert!(message::<FromEngine<'_>>(&[5, 7, 1, 0xff]).is_none(), "not UTF-8");
    }

    #[test]
    fn a_report_is_a_known_code_and_plain_text() {
        assert_eq!(reported("engine.model.invented", ""), None);
        let text = format!("a\n\u{1b}[31mb{}", "c".repeat(2 * MAX_REPORT));
        match reported("engine.model.refused", &text).unwrap() {
            EngineError::Reported { code: "engine.model.refused", text } => {
                assert!(text.starts_with("a[31mbc") && text.len() == MAX_REPORT, "{text}");
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(start_of("añb", 2), "a");
        assert_eq!(start_of("ab", 9), "ab");
    }

    #[test]
    fn failures_of_requests_come_back_as_they_were() {
        let errors = [
            EngineError::QueueFull { capacity: 32 },
            EngineError::PromptEmpty,
            EngineError::PromptTooLong { prompt_tokens: 9, context_tokens: 8 },
            EngineError::PromptTooManyBytes { bytes: 9, limit: 8 },
            EngineError::ContextOverflow { prompt_tokens: 7, max_new_tokens: 2, context_tokens: 8 },
            EngineError::Temperature,
            EngineError::TopP,
            EngineError::MinP,
            EngineError::Penalty,
            EngineError::Bias { limit: 1024 },
            EngineError::NoMessages,
            EngineError::NoTemplate,
            EngineError::Template(TemplateFault::Refused),
            EngineError::Schema(SchemaFault::NotAnObject),
            EngineError::Schema(SchemaFault::Refused),
            EngineError::Schema(SchemaFault::Bytes { bytes: 9, limit: 8 }),
            EngineError::Schema(SchemaFault::Nesting { limit: 8 }),
            EngineError::Schema(SchemaFault::Values { values: 9, limit: 8 }),
            EngineError::Schema(SchemaFault::References { limit: 8 }),
            EngineError::Schema(SchemaFault::Work),
            EngineError::Schema(SchemaFault::Unavailable),
            EngineError::Context { context_tokens: 8 },
            EngineError::Compute { status: -3 },
            EngineError::Stopped,
            EngineError::NoEmbeddings,
            EngineError::EmbedsOnly,
            EngineError::NoVector,
            EngineError::InputTooLong { tokens: 9, limit: 8 },
            EngineError::InputsTooLong { limit: 8 },
            EngineError::TokenUnknown { vocabulary: 8 },
            EngineError::NoVocabulary,
            EngineError::Cancelled,
        ];
        for error in errors {
            let sent = FromEngine::Failed { id: 1, failure: error.clone().into() };
            let frame = frame(&sent, 0, MAX_FROM_ENGINE).unwrap();
            match message(&frame[HEAD..]) {
                Some(FromEngine::Failed { id: 1, failure }) => assert_eq!(EngineError::from(failure), error),
                _ => panic!("{error:?}"),
            }
        }
    }
}
