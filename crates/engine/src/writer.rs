//! One answer: from scores to tokens, and from tokens to text that may leave.

use crate::answer::{Event, FinishReason, Scored, TokenScore};
use crate::error::EngineError;
use crate::ffi::{Model, Token};
use crate::grammar::Guide;
use crate::request::Sampling;
use crate::sampler::{self, Sampler};
use crate::text::{StopGate, Utf8Stream};

/// Writes one answer.
pub(crate) struct Writer {
    sampler: Sampler,
    utf8: Utf8Stream,
    gate: StopGate,
    /// Where the answer must fit a schema.
    guide: Option<Guide>,
    /// Whether control tokens that mark a call of a function are text.
    marks: bool,
    logprobs: Option<u8>,
    budget: u32,
    tokens: u32,
}

/// By which models mark calls of functions, where that is a control token: those have no text else.
const MARKS: &[&str] = &["<tool_call>", "</tool_call>", "[TOOL_CALLS]", "<|python_tag|>"];

/// What [`Writer::next`] chose.
pub(crate) struct Next {
    pub(crate) token: Token,
    /// How the answer ended, if it did.
    pub(crate) finish: Option<FinishReason>,
}

impl Writer {
    pub(crate) fn new(
        sampling: Sampling,
        stop: Vec<String>,
        guide: Option<Guide>,
        marks: bool,
        logprobs: Option<u8>,
        budget: u32,
    ) -> Self {
        Self {
            sampler: Sampler::new(sampling),
            utf8: Utf8Stream::default(),
            gate: StopGate::new(stop),
            guide,
            marks,
            logprobs,
            budget,
            tokens: 0,
        }
    }

    /// Tokens of the answer so far.
    pub(crate) fn tokens(&self) -> u32 {
        self.tokens
    }

    /// Tokens that the answer may still have.
    pub(crate) fn left(&self) -> u32 {
        self.budget.saturating_sub(self.tokens)
    }

    /// Whether the next token is the likeliest, and not chosen by lot.
    pub(crate) fn is_greedy(&self) -> bool {
        self.sampler.is_greedy()
    }

    /// Chooses the next token and sends what it adds. `send` returns false where nobody listens any more. `None`, and nothing has
    /// happened, where a greedy choice is not ahead by `lead`.
    pub(crate) fn next(
        &mut self,
        model: &Model,
        scores: &[f32],
        lead: f32,
        send: &mut dyn FnMut(Event) -> bool,
    ) -> Result<Option<Next>, EngineError> {
        let token = match &mut self.guide {
            None => self.sampler.choose(scores, lead),
            Some(guide) => guide.choose(&mut self.sampler, scores, lead)?,
        };
        let Some(token) = token else { return Ok(None) };
        let finish = if model.is_end(token) {
            Some(self.close(FinishReason::Stop, send))
        } else {
            let whole = match &mut self.guide {
                None => false,
                Some(guide) => guide.take(token)?,
            };
            self.tokens += 1;
            self.write(model, token, whole, scores, send)
        };
        Ok(Some(Next { token, finish }))
    }

    /// Sends what a token adds. `whole`: nothing can come behind it.
    fn write(
        &mut self,
        model: &Model,
        token: Token,
        whole: bool,
        scores: &[f32],
        send: &mut dyn FnMut(Event) -> bool,
    ) -> Option<FinishReason> {
        let mut bytes = model.piece(token);
        if bytes.is_empty() && self.marks {
            bytes =
                model.text(token).filter(|text| MARKS.contains(&text.as_str())).unwrap_or_default().into();
        }
        if let Some(alternatives) = self.logprobs {
            let (logprob, top) = sampler::logprobs(scores, token, alternatives);
            let scored = |(token, logprob)| Scored { bytes: model.piece(token), logprob };
            let chosen = Scored { bytes: bytes.clone(), logprob };
            let top = top.into_iter().map(scored).collect();
            if !send(Event::Token(TokenScore { chosen, top })) {
                return Some(FinishReason::Cancelled);
            }
        }
        let passed = self.gate.push(&self.utf8.push(&bytes));
        if !passed.text.is_empty() && !send(Event::Text(passed.text)) {
            return Some(FinishReason::Cancelled);
        }
        if let Some(number) = passed.stopped {
            return Some(FinishReason::StopString(number));
        }
        match whole {
            true => Some(self.close(FinishReason::Stop, send)),
            false => (self.tokens >= self.budget).then(|| self.close(FinishReason::Length, send)),
        }
    }

    /// The end: what was held back is text after all, or a stop string.
    fn close(&mut self, finish: FinishReason, send: &mut dyn FnMut(Event) -> bool) -> FinishReason {
        let mut last = self.gate.push(&self.utf8.finish());
        if last.stopped.is_none() {
            last.text.push_str(&self.gate.finish());
        }
        if !last.text.is_empty() && !send(Event::Text(last.text)) {
            return FinishReason::Cancelled;
        }
        last.stopped.map_or(finish, FinishReason::StopString)
    }
}
