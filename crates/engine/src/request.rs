//! What goes into an engine.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{EngineError, StopFault};
use crate::schema::Schema;

/// Most stop strings in one request.
pub const MAX_STOP_STRINGS: usize = 16;
/// Longest stop string, in bytes.
pub const MAX_STOP_BYTES: usize = 256;
/// Most tokens with a bias in one request.
pub const MAX_BIASES: usize = 1024;

/// One request. Its `Debug` shows no content.
#[derive(Debug, Clone)]
pub struct GenerateRequest {
    /// What to answer.
    pub input: Input,
    /// How many tokens the answer may have.
    pub budget: TokenBudget,
    /// How the next token is chosen.
    pub sampling: Sampling,
    /// Strings that end the answer; they are not part of it. See [`MAX_STOP_STRINGS`] and [`MAX_STOP_BYTES`].
    pub stop: StopStrings,
    /// What the answer must fit; any text where there is none. It does so where it ends by itself: a stop string or the budget may
    /// cut it.
    pub schema: Option<Schema>,
    /// The functions that the model is told of, where its chat template has a place for them; marks of calls are then text of the answer.
    pub tools: Option<Tools>,
    /// Reports the probability of each token, and of so many others in its place, at most
    /// [`MAX_ALTERNATIVES`](crate::MAX_ALTERNATIVES).
    pub logprobs: Option<u8>,
    /// Whose it is. Tenants take turns in starting requests; requests of one tenant share what was computed for beginnings that
    /// are alike. `None` is a tenant too, which shares nothing.
    pub tenant: Option<Tenant>,
    /// Ends the request from outside, also while it waits or reads its prompt.
    pub cancel: Cancel,
}

impl GenerateRequest {
    /// A greedy request without stop strings.
    #[must_use]
    pub fn new(input: Input, budget: TokenBudget) -> Self {
        Self {
            input,
            budget,
            sampling: Sampling::greedy(),
            stop: StopStrings::default(),
            schema: None,
            tools: None,
            logprobs: None,
            tenant: None,
            cancel: Cancel::new(),
        }
    }
}

/// The name of a tenant. Requests of one tenant can learn of each other how they begin, by the time that a prompt takes: so it must
/// not be guessed or chosen by a client. Its `Debug` does not show it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tenant(pub [u8; 32]);

impl fmt::Debug for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tenant")
    }
}

/// The prompt.
#[derive(Clone)]
pub enum Input {
    /// Text to continue, as it is: no template, and control tokens written in it stay plain text.
    Raw(String),
    /// A conversation, rendered with the model's own chat template.
    Chat(Vec<ChatMessage>),
}

/// Content-free: shows sizes, never the text.
impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Input::Raw(text) => write!(f, "Raw(<{} bytes>)", text.len()),
            Input::Chat(messages) => write!(f, "Chat(<{} messages>)", messages.len()),
        }
    }
}

/// One message of a conversation.
#[derive(Clone)]
pub struct ChatMessage {
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub content: String,
    /// Functions that the model called with it.
    pub calls: Vec<ToolCall>,
    /// Of a message of [`Role::Tool`]: the call that it answers.
    pub call_id: Option<String>,
}

impl ChatMessage {
    /// A message that is text.
    #[must_use]
    pub fn new(role: Role, content: impl Into<String>) -> Self {
        Self { role, content: content.into(), calls: Vec::new(), call_id: None }
    }
}

/// Content-free: shows the role and the length, never the text.
impl fmt::Debug for ChatMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChatMessage({}, <{} bytes>)", self.role.as_str(), self.content.len())
    }
}

/// A function that the model called.
#[derive(Clone)]
pub struct ToolCall {
    /// By which its answer names it.
    pub id: String,
    /// The function.
    pub name: String,
    /// A JSON object as text.
    pub arguments: String,
}

/// Content-free: shows sizes, never the text.
impl fmt::Debug for ToolCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ToolCall(<{} bytes>)", self.arguments.len())
    }
}

/// The functions that a model may call, as a JSON list of `{"type":"function","function":{"name","description","parameters"}}`, which
/// its chat template shows it. Its `Debug` shows its length.
#[derive(Clone)]
pub struct Tools(String);

impl Tools {
    /// `None` where the text is no JSON list.
    #[must_use]
    pub fn new(text: String) -> Option<Self> {
        serde_json::from_str::<Vec<serde_json::Value>>(&text).ok()?;
        Some(Self(text))
    }

    /// The text. It is request content: do not log it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Content-free: shows the length, never the text.
impl fmt::Debug for Tools {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tools(<{} bytes>)", self.0.len())
    }
}

/// Who speaks. A closed list, so that a role can never carry text into the template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Instructions of the application.
    System,
    /// The person.
    User,
    /// The model.
    Assistant,
    /// A function that the model called.
    Tool,
}

impl Role {
    /// The name that chat templates compare with.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
            Role::Tool => "tool",
        }
    }
}

/// How many tokens an answer may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenBudget {
    /// This many; a request whose prompt leaves less room is refused.
    Exact(NonZeroU32),
    /// As many as the context has room for, at most this many.
    UpTo(NonZeroU32),
}

/// How the next token is chosen: out of the scores of all tokens, in the order of the fields. Its `Debug` shows how many biases
/// there are.
#[derive(Clone, PartialEq)]
pub struct Sampling {
    /// Added to the scores of these tokens, before everything else. See [`MAX_BIASES`].
    pub bias: Vec<(i32, f32)>,
    /// Taken off a token's score for each time that it is in the answer already, -2 to 2.
    pub frequency_penalty: f32,
    /// Taken off a token's score once it is in the answer, -2 to 2.
    pub presence_penalty: f32,
    /// 0 is greedy: always the best, and deterministic. Above 0: by lot, smaller is more predictable.
    pub temperature: f32,
    /// The likeliest so many tokens are candidates; 0 is all of them.
    pub top_k: u32,
    /// In `(0, 1]`: the likeliest tokens with this total probability are candidates.
    pub top_p: f32,
    /// In `[0, 1]`: tokens that are at least this many times as likely as the best one are candidates.
    pub min_p: f32,
    /// Start of the random sequence, which is the same for the same seed.
    pub seed: u64,
}

impl Sampling {
    /// Always the likeliest.
    #[must_use]
    pub fn greedy() -> Self {
        Self {
            bias: Vec::new(),
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            seed: 0,
        }
    }

    /// By lot.
    #[must_use]
    pub fn random(temperature: f32, top_p: f32, seed: u64) -> Self {
        Self { temperature, top_p, seed, ..Self::greedy() }
    }

    pub(crate) fn penalises(&self) -> bool {
        self.frequency_penalty != 0.0 || self.presence_penalty != 0.0
    }

    pub(crate) fn adjusts(&self) -> bool {
        self.penalises() || !self.bias.is_empty()
    }

    /// Checks that the numbers are usable.
    pub(crate) fn check(&self) -> Result<(), EngineError> {
        let penalty = |value: f32| (-2.0..=2.0).contains(&value);
        if !self.temperature.is_finite() || self.temperature < 0.0 {
            Err(EngineError::Temperature)
        } else if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            Err(EngineError::TopP)
        } else if !(0.0..=1.0).contains(&self.min_p) {
            Err(EngineError::MinP)
        } else if !penalty(self.frequency_penalty) || !penalty(self.presence_penalty) {
            Err(EngineError::Penalty)
        } else if self.bias.len() > MAX_BIASES || self.bias.iter().any(|(_, bias)| !bias.is_finite()) {
            Err(EngineError::Bias { limit: MAX_BIASES })
        } else {
            Ok(())
        }
    }
}

/// Content-free: which tokens are biased says something of a request.
impl fmt::Debug for Sampling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sampling")
            .field("bias", &format_args!("<{}>", self.bias.len()))
            .field("frequency_penalty", &self.frequency_penalty)
            .field("presence_penalty", &self.presence_penalty)
            .field("temperature", &self.temperature)
            .field("top_k", &self.top_k)
            .field("top_p", &self.top_p)
            .field("min_p", &self.min_p)
            .field("seed", &self.seed)
            .finish()
    }
}

/// Checked stop strings. Its `Debug` shows how many there are.
#[derive(Clone, Default)]
pub struct StopStrings(Vec<String>);

impl StopStrings {
    /// Accepts up to [`MAX_STOP_STRINGS`] strings of 1 to [`MAX_STOP_BYTES`] bytes.
    ///
    /// # Errors
    /// [`EngineError::Stop`] (`engine.stop.invalid`).
    pub fn new(strings: Vec<String>) -> Result<Self, EngineError> {
        if strings.len() > MAX_STOP_STRINGS {
            return Err(EngineError::Stop(StopFault::TooMany {
                given: strings.len(),
                limit: MAX_STOP_STRINGS,
            }));
        }
        for s in &strings {
            if s.is_empty() {
                return Err(EngineError::Stop(StopFault::Empty));
            }
            if s.len() > MAX_STOP_BYTES {
                return Err(EngineError::Stop(StopFault::TooLong { bytes: s.len(), limit: MAX_STOP_BYTES }));
            }
        }
        Ok(Self(strings))
    }

    pub(crate) fn into_inner(self) -> Vec<String> {
        self.0
    }

    /// The strings. They are request content: do not log them.
    #[must_use]
    pub fn as_slice(&self) -> &[String] {
        &self.0
    }
}

impl fmt::Debug for StopStrings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StopStrings(<{}>)", self.0.len())
    }
}

/// A switch that ends a request. Clones share it; it never goes back.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// A switch that is not yet thrown.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Throws the switch.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether it was thrown.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    pub(crate) fn flag(&self) -> &Arc<AtomicBool> {
        &self.0
    }
}
