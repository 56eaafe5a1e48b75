//! Everything that can go wrong in an engine. No variant holds request content.

use std::io;

/// An engine's error. [`EngineError::code`] is stable; the text is for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// The model file cannot be opened or read.
    #[error("the model file cannot be read: {kind}")]
    Unreadable {
        /// What the operating system said.
        kind: io::ErrorKind,
    },
    /// The file does not start with the GGUF magic.
    #[error("the model file is not GGUF")]
    NotGguf,
    /// The file starts like GGUF and is cut short, or its header contradicts itself or the file's length.
    #[error("the GGUF header is malformed: {0}")]
    Gguf(#[from] GgufFault),
    /// llama.cpp refused a file whose header is sound.
    #[error("llama.cpp cannot load this model (architecture {architecture})")]
    Refused {
        /// `general.architecture` of the file.
        architecture: String,
    },
    /// The model is not a text decoder (an encoder, or an encoder-decoder).
    #[error("a model of architecture {architecture} does not continue text")]
    NotDecoder {
        /// `general.architecture` of the file.
        architecture: String,
    },
    /// The model neither continues text nor says how a text becomes one vector.
    #[error(
        "a model of architecture {architecture} does not continue text, and its file names no pooling (mean, cls, last)"
    )]
    NoPooling {
        /// `general.architecture` of the file.
        architecture: String,
    },
    /// The model continues text and makes no vectors.
    #[error("this model makes no embeddings: its file names no pooling")]
    NoEmbeddings,
    /// The model makes vectors and does not continue text.
    #[error("this model makes embeddings and does not continue text")]
    EmbedsOnly,
    /// The model gave no vector that has a length.
    #[error("the model gave no vector for an input")]
    NoVector,
    /// An input of a request for vectors is too long.
    #[error("an input has {tokens} tokens, above {limit}")]
    InputTooLong {
        /// Its tokens.
        tokens: usize,
        /// The bound.
        limit: u32,
    },
    /// All inputs of a request for vectors together are too long.
    #[error("the inputs have more than {limit} tokens together")]
    InputsTooLong {
        /// The bound.
        limit: usize,
    },
    /// A token that the vocabulary does not have.
    #[error("a token is not one of this model's: they are numbered from 0, below {vocabulary}")]
    TokenUnknown {
        /// Tokens of the vocabulary.
        vocabulary: u32,
    },
    /// The engine does not show its tokens.
    #[error("this engine does not show its tokens")]
    NoVocabulary,
    /// The caller went away.
    #[error("the request was cancelled")]
    Cancelled,
    /// No memory for the attention cache.
    #[error("no attention cache of {context_tokens} tokens can be made")]
    Context {
        /// The size that was asked for, of all requests together.
        context_tokens: u32,
    },
    /// This CPU lacks an instruction set that the engine is compiled for.
    #[error("this CPU lacks {feature}")]
    Cpu {
        /// The missing instruction set.
        feature: &'static str,
    },
    /// More threads were asked for than there are cores for this process.
    #[error("{threads} threads were asked for and {cores} cores are available")]
    Threads {
        /// Asked for.
        threads: usize,
        /// Available to this process.
        cores: usize,
    },
    /// More requests at the same time than the engine can tell apart.
    #[error("{parallel} requests at the same time were asked for, above {limit}")]
    Parallel {
        /// Asked for.
        parallel: u32,
        /// The bound.
        limit: u32,
    },
    /// The engine's thread cannot be started.
    #[error("the engine's thread cannot be started: {kind}")]
    Thread {
        /// What the operating system said.
        kind: io::ErrorKind,
    },
    /// As many requests wait as may wait.
    #[error("the engine's queue is full ({capacity} requests)")]
    QueueFull {
        /// How many may wait.
        capacity: usize,
    },
    /// The prompt has no token.
    #[error("the prompt is empty")]
    PromptEmpty,
    /// The prompt alone does not fit into the context.
    #[error("the prompt has {prompt_tokens} tokens and the context holds {context_tokens}, answer included")]
    PromptTooLong {
        /// Tokens of the rendered prompt.
        prompt_tokens: usize,
        /// Tokens that fit.
        context_tokens: u32,
    },
    /// The prompt has so many bytes that it is not even counted in tokens.
    #[error("the prompt has {bytes} bytes; at most {limit} are read for this context size")]
    PromptTooManyBytes {
        /// Bytes of the rendered prompt.
        bytes: usize,
        /// Most bytes that are read.
        limit: usize,
    },
    /// The prompt fits, but not together with the tokens asked for.
    #[error(
        "a prompt of {prompt_tokens} tokens and {max_new_tokens} new ones do not fit into a context of {context_tokens}"
    )]
    ContextOverflow {
        /// Tokens of the rendered prompt.
        prompt_tokens: u32,
        /// Tokens asked for.
        max_new_tokens: u32,
        /// Tokens that fit.
        context_tokens: u32,
    },
    /// A stop string is not usable.
    #[error("stop strings: {0}")]
    Stop(StopFault),
    /// The temperature is not a number, or below 0.
    #[error("the temperature must be a number above 0 (0 means greedy)")]
    Temperature,
    /// `min_p` is not in `[0, 1]`.
    #[error("min_p must be from 0 to 1")]
    MinP,
    /// A penalty is not in `[-2, 2]`.
    #[error("penalties must be from -2 to 2")]
    Penalty,
    /// Too many biases, or one that is not a finite number.
    #[error("at most {limit} tokens can have a bias, a finite number each")]
    Bias {
        /// Most of them.
        limit: usize,
    },
    /// `top_p` is not in `(0, 1]`.
    #[error("top_p must be above 0 and at most 1")]
    TopP,
    /// A chat request has no message.
    #[error("a conversation needs at least one message")]
    NoMessages,
    /// The model file carries no chat template.
    #[error("this model has no chat template")]
    NoTemplate,
    /// The model's chat template does not compile, or refused the conversation.
    #[error("the model's chat template {0}")]
    Template(TemplateFault),
    /// An answer cannot be held to the JSON schema of its request.
    #[error("the JSON schema {0}")]
    Schema(#[from] SchemaFault),
    /// llama.cpp could not compute the next token.
    #[error("llama.cpp failed to compute (status {status})")]
    Compute {
        /// `llama_decode`'s result.
        status: i32,
    },
    /// The engine's thread is gone.
    #[error("the engine has stopped")]
    Stopped,
    /// The process that the engine runs in ended.
    #[error("the engine's process {0}")]
    Ended(ProcessEnd),
    /// The process that the engine runs in did not move on with a request, and was ended.
    #[error("the engine's process made no progress for {seconds} s and was ended")]
    Hung {
        /// How long it was waited for.
        seconds: u32,
    },
    /// The process that the engine runs in sent what no engine sends, and was ended.
    #[error("the engine's process broke the protocol and was ended: {what}")]
    Protocol {
        /// What it did.
        what: &'static str,
    },
    /// The process that the engine runs in could not load the model.
    #[error("{text}")]
    Reported {
        /// The code of what happened there, out of those of this type.
        code: &'static str,
        /// Its text there: printable ASCII, from before any request.
        text: String,
    },
    /// The engine is another program, and this is what is wrong with it.
    #[error("the upstream engine {0}")]
    Upstream(UpstreamFault),
}

/// What is wrong with an engine that is another program, or with what it is asked. It never quotes the program: its texts may hold
/// prompts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UpstreamFault {
    /// It is being started.
    #[error("is not ready yet")]
    NotReady,
    /// No connection to it.
    #[error("cannot be reached")]
    Unreachable,
    /// It refuses this request.
    #[error("refused the request with status {status}")]
    Refused {
        /// 400 to 499.
        status: u16,
    },
    /// It has too much to do.
    #[error("has too much to do")]
    Busy,
    /// It failed.
    #[error("failed with status {status}")]
    Failed {
        /// None of the others.
        status: u16,
    },
    /// It sent nothing.
    #[error("sent nothing for {seconds} s")]
    Silent {
        /// How long it was waited for.
        seconds: u32,
    },
    /// What it sent is no answer.
    #[error("sent what is no answer: {what}")]
    Answer {
        /// What it did.
        what: &'static str,
    },
    /// It cannot be told what the request asks for.
    #[error("cannot be told this request's {field}")]
    Untold {
        /// The field.
        field: &'static str,
    },
}

impl UpstreamFault {
    /// The stable name of the fault.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::NotReady => "upstream.not-ready",
            Self::Unreachable => "upstream.unreachable",
            Self::Refused { .. } => "upstream.refused",
            Self::Busy => "upstream.busy",
            Self::Failed { .. } => "upstream.failed",
            Self::Silent { .. } => "upstream.silent",
            Self::Answer { .. } => "upstream.answer",
            Self::Untold { .. } => "upstream.untold",
        }
    }
}

impl EngineError {
    /// The stable name of the error.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            EngineError::Unreadable { .. } => "engine.model.unreadable",
            EngineError::NotGguf => "engine.model.not-gguf",
            EngineError::Gguf(fault) => fault.code(),
            EngineError::Refused { .. } => "engine.model.refused",
            EngineError::NotDecoder { .. } => "engine.model.not-decoder",
            EngineError::NoPooling { .. } => "engine.model.no-pooling",
            EngineError::NoEmbeddings => "engine.embeddings.unavailable",
            EngineError::EmbedsOnly => "engine.answers.unavailable",
            EngineError::NoVector => "engine.embeddings.failed",
            EngineError::InputTooLong { .. } => "engine.input.too-long",
            EngineError::InputsTooLong { .. } => "engine.inputs.too-long",
            EngineError::TokenUnknown { .. } => "engine.token.unknown",
            EngineError::NoVocabulary => "engine.tokens.unavailable",
            EngineError::Cancelled => "engine.cancelled",
            EngineError::Context { .. } => "engine.context.unavailable",
            EngineError::Cpu { .. } => "engine.cpu.unsupported",
            EngineError::Threads { .. } => "engine.threads.too-many",
            EngineError::Parallel { .. } => "engine.parallel.too-many",
            EngineError::Thread { .. } => "engine.thread.failed",
            EngineError::QueueFull { .. } => "engine.queue.full",
            EngineError::PromptEmpty => "engine.prompt.empty",
            EngineError::PromptTooLong { .. } | EngineError::PromptTooManyBytes { .. } => {
                "engine.prompt.too-long"
            }
            EngineError::ContextOverflow { .. } => "engine.context.overflow",
            EngineError::Stop(_) => "engine.stop.invalid",
            EngineError::Temperature => "engine.sampling.temperature",
            EngineError::TopP => "engine.sampling.top-p",
            EngineError::MinP => "engine.sampling.min-p",
            EngineError::Penalty => "engine.sampling.penalty",
            EngineError::Bias { .. } => "engine.sampling.bias",
            EngineError::NoMessages => "engine.chat.no-messages",
            EngineError::NoTemplate => "engine.chat.no-template",
            EngineError::Template(_) => "engine.chat.template",
            EngineError::Schema(fault) => fault.code(),
            EngineError::Compute { .. } => "engine.compute.failed",
            EngineError::Stopped => "engine.stopped",
            EngineError::Ended(_) => "engine.process.ended",
            EngineError::Hung { .. } => "engine.process.hung",
            EngineError::Protocol { .. } => "engine.process.protocol",
            EngineError::Reported { code, .. } => code,
            EngineError::Upstream(fault) => fault.code(),
        }
    }
}

/// How an engine's process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProcessEnd {
    /// By itself.
    #[error("ended with exit code {0}")]
    Exit(i32),
    /// By a signal: a crash, a forbidden system call (31, SIGSYS) or somebody's `kill`.
    #[error("was ended by signal {0}")]
    Signal(i32),
    /// The system does not say.
    #[error("is gone")]
    Unknown,
}

/// What is wrong with a GGUF header.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GgufFault {
    /// The file ends inside the header.
    #[error("the file ends inside the header, at byte {at}")]
    Truncated {
        /// Length of the file.
        at: u64,
    },
    /// A tensor's bytes end after the file does.
    #[error("tensor {index} needs bytes up to {end} and the file has {len}")]
    TensorOutside {
        /// Position in the tensor list, from 0.
        index: u64,
        /// End of the tensor, in bytes from the start of the file.
        end: u64,
        /// Length of the file.
        len: u64,
    },
    /// A version that is not 2 or 3.
    #[error("version {version} is not 2 or 3")]
    Version {
        /// As read, little-endian.
        version: u32,
    },
    /// A count, length or dimension is above what any model needs.
    #[error("{what} is {value}, above {limit}")]
    TooMuch {
        /// Which number.
        what: &'static str,
        /// As read.
        value: u64,
        /// The bound.
        limit: u64,
    },
    /// A metadata value has an unknown type.
    #[error("metadata entry {index} has unknown value type {kind}")]
    ValueType {
        /// Position in the metadata, from 0.
        index: u64,
        /// As read.
        kind: u32,
    },
    /// A string is not UTF-8.
    #[error("a string at byte {at} is not UTF-8")]
    Utf8 {
        /// Where the string ends, in bytes from the start of the file.
        at: u64,
    },
    /// `general.architecture` is missing or not a string.
    #[error("general.architecture is missing or not a string")]
    NoArchitecture,
    /// `general.alignment` is not a power of two.
    #[error("alignment {alignment} is not a power of two")]
    Alignment {
        /// As read.
        alignment: u64,
    },
    /// The file has no tensor.
    #[error("the file holds no tensor")]
    NoTensors,
    /// A tensor has an element type that this version does not know.
    #[error("tensor {index} has unknown element type {kind}")]
    TensorType {
        /// Position in the tensor list, from 0.
        index: u64,
        /// As read.
        kind: u32,
    },
    /// A tensor's shape, size or offset is impossible.
    #[error("tensor {index} has an impossible shape or offset")]
    TensorShape {
        /// Position in the tensor list, from 0.
        index: u64,
    },
}

impl GgufFault {
    /// The stable name of the fault.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            GgufFault::Truncated { .. } | GgufFault::TensorOutside { .. } => "engine.model.truncated",
            GgufFault::Version { .. } => "engine.model.version",
            GgufFault::TooMuch { .. }
            | GgufFault::ValueType { .. }
            | GgufFault::Utf8 { .. }
            | GgufFault::NoArchitecture
            | GgufFault::Alignment { .. }
            | GgufFault::NoTensors
            | GgufFault::TensorType { .. }
            | GgufFault::TensorShape { .. } => "engine.model.malformed",
        }
    }
}

/// What is wrong with the stop strings of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StopFault {
    /// An empty string would stop every answer at once.
    #[error("one is empty")]
    Empty,
    /// One is too long.
    #[error("one has {bytes} bytes, above {limit}")]
    TooLong {
        /// Its length.
        bytes: usize,
        /// The bound.
        limit: usize,
    },
    /// There are too many.
    #[error("{given} were given, above {limit}")]
    TooMany {
        /// How many.
        given: usize,
        /// The bound.
        limit: usize,
    },
}

/// Why a chat template gave no prompt. The template's own message may quote content, so it is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TemplateFault {
    /// It is not a valid template.
    #[error("does not compile")]
    Syntax,
    /// It called `raise_exception`: for instance because roles do not alternate.
    #[error("refused this conversation")]
    Refused,
    /// It ran longer than any honest template.
    #[error("ran for too long")]
    TooLong,
    /// It failed in another way.
    #[error("failed on this conversation")]
    Failed,
}

/// Why an answer cannot be held to a JSON schema. The schema is request content, so nothing of it is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SchemaFault {
    /// It is not JSON, or not an object.
    #[error("is not a JSON object")]
    NotAnObject,
    /// It is no schema, uses a keyword that answers cannot be held to, fits no text, or one of its patterns is too complex.
    #[error(
        "is not one that an answer can be held to: a keyword is unknown here, or no text fits, or a pattern is too complex"
    )]
    Refused,
    /// It is too long.
    #[error("has {bytes} bytes, above {limit}")]
    Bytes {
        /// Its length.
        bytes: usize,
        /// The bound.
        limit: usize,
    },
    /// Its text is nested too deeply.
    #[error("is nested more than {limit} deep")]
    Nesting {
        /// The bound.
        limit: usize,
    },
    /// It has too many values.
    #[error("has {values} values, above {limit}")]
    Values {
        /// How many.
        values: usize,
        /// The bound.
        limit: usize,
    },
    /// It has too many different references.
    #[error("has more than {limit} different references")]
    References {
        /// The bound.
        limit: usize,
    },
    /// A step of the answer would have taken too long.
    #[error("asks for too much work")]
    Work,
    /// The model's vocabulary does not allow it.
    #[error("cannot be had: this model's vocabulary does not allow it")]
    Unavailable,
}

impl SchemaFault {
    /// The stable name of the fault.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            SchemaFault::NotAnObject | SchemaFault::Refused => "engine.schema.invalid",
            SchemaFault::Bytes { .. }
            | SchemaFault::Nesting { .. }
            | SchemaFault::Values { .. }
            | SchemaFault::References { .. }
            | SchemaFault::Work => "engine.schema.too-large",
            SchemaFault::Unavailable => "engine.schema.unavailable",
        }
    }
}
