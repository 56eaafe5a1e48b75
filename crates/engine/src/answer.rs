//! What comes out of an engine.

use std::fmt;

use zeroize::Zeroize;

/// One step of a running request.
#[derive(Clone, PartialEq)]
pub enum Event {
    /// The request was accepted and its prompt is being read.
    Started {
        /// Tokens of the rendered prompt.
        prompt_tokens: u32,
    },
    /// The next piece of the answer: complete UTF-8, never empty.
    Text(String),
    /// The next token, where its probability was asked for; before the text that it completes.
    Token(TokenScore),
}

/// Content-free: shows the length of a text, never the text.
impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Started { prompt_tokens } => {
                f.debug_struct("Started").field("prompt_tokens", prompt_tokens).finish()
            }
            Event::Text(text) => write!(f, "Text(<{} bytes>)", text.len()),
            Event::Token(_) => f.write_str("Token(<scored>)"),
        }
    }
}

/// A token of the answer and what might have stood in its place.
#[derive(Clone, Default, PartialEq, Zeroize)]
pub struct TokenScore {
    /// The token.
    pub chosen: Scored,
    /// The likeliest tokens there, the likeliest first; the chosen one may be among them.
    pub top: Vec<Scored>,
}

/// A token's bytes, which need not be whole characters, and the natural logarithm of its probability: as the model has it,
/// before temperature, penalties and biases.
#[derive(Clone, Default, PartialEq, Zeroize)]
pub struct Scored {
    /// What it stands for in the answer.
    pub bytes: Vec<u8>,
    /// At most 0.
    pub logprob: f32,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Completion {
    /// Why no more text comes.
    pub finish: FinishReason,
    /// What it cost.
    pub usage: Usage,
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishReason {
    /// The model ended its turn, or nothing more fits the request's schema.
    Stop,
    /// The request's stop string with this number, from 0, appeared.
    StopString(u8),
    /// The token budget is used up.
    Length,
    /// The caller went away.
    Cancelled,
}

impl FinishReason {
    /// The stable name: `stop`, `length` or `cancelled`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            FinishReason::Stop | FinishReason::StopString(_) => "stop",
            FinishReason::Length => "length",
            FinishReason::Cancelled => "cancelled",
        }
    }
}

/// Token counts of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Tokens of the rendered prompt, control tokens included.
    pub prompt_tokens: u32,
    /// Tokens of the prompt that were not read again, because a text of the same tenant began with them.
    pub cached_tokens: u32,
    /// Tokens sampled, without the one that ended the turn.
    pub completion_tokens: u32,
}
