//! Inference engines behind one boundary.
//!
//! [`Engine`] is what the rest of Casemate sees: a request goes in, complete pieces of text come out through a
//! callback, and a [`Completion`] says why the text ended and what it cost. The boundary is synchronous and knows no
//! async runtime. [`LlamaEngine`] is the embedded implementation on llama.cpp.
//!
//! Three promises hold for every implementation:
//!
//! * a greedy request gives the same text again, whatever ran before it (on [`LlamaEngine`] where it runs alone: spec/serving.md, SRV-23);
//! * no byte of a prompt or an answer is written to a log, an error, a `Debug` or a `Display`;
//! * text inside a chat message is only ever text: it cannot become one of the model's control tokens.
//!
//! llama.cpp is linked through its raw bindings. The safe wrapper crate on top of them cannot switch off weight
//! repacking (a second copy of the weights in memory) and always links llama.cpp's helper library with its HTTP client.
//! All `unsafe` is in the private module `ffi`.

mod answer;
mod cells;
mod drafts;
mod embed;
mod embedder;
mod error;
mod ffi;
mod gguf;
mod grammar;
mod kept;
mod llama;
mod memory;
mod pace;
mod request;
mod sampler;
mod scheduler;
mod schema;
mod template;
mod text;
mod turns;
mod words;
mod writer;

pub use answer::{Completion, Event, FinishReason, Scored, TokenScore, Usage};
pub use embed::{EmbedInput, EmbedRequest, Embedded, MAX_EMBED_INPUTS, MAX_EMBED_TOKENS};
pub use error::{EngineError, GgufFault, ProcessEnd, SchemaFault, StopFault, TemplateFault, UpstreamFault};
pub use llama::{
    DEFAULT_CACHE_TOKENS, DEFAULT_CONTEXT_TOKENS, DEFAULT_GUESS_TOKENS, DEFAULT_PARALLEL, EngineOptions,
    LlamaEngine, MAX_GUESS_TOKENS, MAX_PARALLEL, QUEUE_CAPACITY,
};
pub use memory::MemoryNeed;
pub use request::{
    Cancel, ChatMessage, GenerateRequest, Input, MAX_BIASES, MAX_STOP_BYTES, MAX_STOP_STRINGS, Role,
    Sampling, StopStrings, Tenant, TokenBudget, ToolCall, Tools,
};
pub use sampler::MAX_ALTERNATIVES;
pub use schema::{MAX_SCHEMA_BYTES, MAX_SCHEMA_NESTING, MAX_SCHEMA_REFERENCES, MAX_SCHEMA_VALUES, Schema};

use std::num::NonZeroU32;
use std::ops::ControlFlow;

/// Something that turns a prompt into text.
pub trait Engine: Send + Sync {
    /// What is loaded.
    fn info(&self) -> &ModelInfo;

    /// Requests waiting or running now.
    fn queue_depth(&self) -> usize;

    /// A number that changes while the engine computes, so that a hang can be told from a long computation. An engine that
    /// does not say is always at 0.
    fn beat(&self) -> u64 {
        0
    }

    /// How often the engine was started anew since it was made.
    fn restarts(&self) -> u64 {
        0
    }

    /// Whether requests can be served.
    ///
    /// # Errors
    /// What every request would fail with.
    fn health(&self) -> Result<(), EngineError> {
        Ok(())
    }

    /// Runs one request and blocks until it ends. `sink` is called on the calling thread, first with
    /// [`Event::Started`], then with each piece of text. Breaking from `sink`, or cancelling
    /// [`GenerateRequest::cancel`] from anywhere, ends the request with [`FinishReason::Cancelled`].
    ///
    /// # Errors
    /// [`EngineError`]. An error about the request itself comes before the first event.
    fn generate(
        &self,
        request: GenerateRequest,
        sink: &mut dyn FnMut(Event) -> ControlFlow<()>,
    ) -> Result<Completion, EngineError>;

    /// Computes a vector of each input, and blocks until all are there.
    ///
    /// # Errors
    /// [`EngineError`]: [`EngineError::NoEmbeddings`] where the model makes none.
    fn embed(&self, request: EmbedRequest) -> Result<Embedded, EngineError> {
        drop(request);
        Err(EngineError::NoEmbeddings)
    }

    /// The tokens of a text. Control tokens that are written in it stay plain text. `special`: with the tokens around it that the
    /// model wants.
    ///
    /// # Errors
    /// [`EngineError`].
    fn tokenise(&self, text: String, special: bool) -> Result<Vec<i32>, EngineError> {
        drop((text, special));
        Err(EngineError::NoVocabulary)
    }

    /// The text of tokens; control tokens have none.
    ///
    /// # Errors
    /// [`EngineError`]: [`EngineError::TokenUnknown`] where one is none of the vocabulary.
    fn detokenise(&self, tokens: Vec<i32>) -> Result<String, EngineError> {
        drop(tokens);
        Err(EngineError::NoVocabulary)
    }

    /// As [`Engine::generate`], with the whole text at the end.
    ///
    /// # Errors
    /// As [`Engine::generate`].
    fn generate_text(&self, request: GenerateRequest) -> Result<(String, Completion), EngineError> {
        let mut text = String::new();
        let completion = self.generate(request, &mut |event| {
            if let Event::Text(piece) = event {
                text.push_str(&piece);
            }
            ControlFlow::Continue(())
        })?;
        Ok((text, completion))
    }
}

/// Facts about the loaded model, read from its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelInfo {
    /// `general.name`, or the architecture where the file has no name.
    pub name: String,
    /// `general.architecture`, such as `llama`.
    pub architecture: String,
    /// Number of weights.
    pub parameters: u64,
    /// Size of all tensors in bytes.
    pub tensor_bytes: u64,
    /// Tokens that prompt and answer may have together.
    pub context_tokens: u32,
    /// Requests that run at the same time.
    pub parallel: u32,
    /// Tokens of context that the model was trained with.
    pub trained_context_tokens: u32,
    /// Whether chat requests can be served.
    pub chat: ChatSupport,
    /// How the model is told of functions and calls them.
    pub tools: ToolForm,
    /// Numbers of a text's vector, where the file names a pooling: such a model makes vectors and no answers.
    pub dimensions: Option<NonZeroU32>,
}

/// The form in which a model calls functions, as its chat template shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToolForm {
    /// The template has no place for functions.
    None,
    /// `<tool_call>{"name":…,"arguments":{…}}</tool_call>`: Hermes, Qwen and others.
    Hermes,
    /// `{"name":…,"parameters":{…}}` as the whole answer: Llama 3.x.
    Llama,
    /// `[TOOL_CALLS][{"name":…,"arguments":{…}}]`: Mistral.
    Mistral,
    /// The template shows functions, and calls have a form that is not known here.
    Other,
}

/// Whether the model's own chat template can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChatSupport {
    /// The file carries a template and it compiles.
    Template,
    /// The file carries no template: chat requests fail with `engine.chat.no-template`.
    Missing,
    /// The file carries a template that does not compile: chat requests fail with `engine.chat.template`.
    Broken,
}
