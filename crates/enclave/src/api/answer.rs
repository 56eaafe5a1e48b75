//! A running request: the engine works on a thread of its own, the handler hears from it through a channel, and a
//! handler that goes away, because its client did, ends the work.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::ops::ControlFlow;
use std::sync::Arc;

use casemate_engine::{Cancel, Completion, EngineError, Event, FinishReason, GenerateRequest, TokenScore};
use casemate_protocol::Plaintext;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::calls::{Call, Part, Reader};
use super::entry::Entered;
use super::error::ApiError;
use super::metrics::Passage;
use super::{ApiState, Limits};

/// A started answer. Dropping it cancels the work.
pub(super) struct Running {
    // Bounded by the request's token budget.
    steps: UnboundedReceiver<Step>,
    cancel: Cancel,
    /// Of the rendered prompt.
    pub(super) prompt_tokens: u32,
    /// What is text in it, and what calls.
    reader: Reader,
    ready: VecDeque<Next>,
}

/// What comes next.
pub(super) enum Next {
    /// A piece of the answer.
    Text(Plaintext<String>),
    /// A call of a function.
    Call(Call),
    /// A token with its probability, where that was asked for: before the text that it completes.
    Token(Plaintext<TokenScore>),
    /// The end.
    End(Completion),
}

/// A whole answer.
pub(super) struct Whole {
    pub(super) text: Plaintext<String>,
    pub(super) calls: Vec<Call>,
    pub(super) scores: Vec<Plaintext<TokenScore>>,
    pub(super) completion: Completion,
}

enum Step {
    Event(Event),
    End(Result<Completion, EngineError>),
}

/// Hands the request to the engine and waits until its prompt is accepted, so that a refusal has a status of its own.
pub(super) async fn start(
    state: &ApiState,
    mut request: GenerateRequest,
    entered: &Entered,
) -> Result<Running, ApiError> {
    let Entered { visit, draft } = entered.clone();
    if let Some(draft) = &draft {
        draft.begin(&state.model_id, Some(&request));
    }
    request.tenant = visit.as_ref().map(|visit| visit.tenant());
    let (sender, steps) = unbounded_channel();
    let mut running = Running {
        steps,
        cancel: request.cancel.clone(),
        prompt_tokens: 0,
        reader: Reader::text(),
        ready: VecDeque::new(),
    };
    let (engine, metrics) = (Arc::clone(&state.engine), Arc::clone(&state.metrics));
    tokio::task::spawn_blocking(move || {
        let mut passage = Passage::new(Arc::clone(&metrics));
        let result = engine.generate(request, &mut |event| {
            passage.event(&event);
            match sender.send(Step::Event(event)) {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            }
        });
        drop(passage);
        if let Ok(completion) = &result {
            metrics.count_usage(completion.usage);
            if let Some(visit) = &visit {
                visit.count(completion.usage);
            }
            if let Some(draft) = draft.filter(|_| completion.finish != FinishReason::Cancelled) {
                draft.end(completion.usage);
            }
        }
        // As long as the engine works, the tenant has this request.
        drop(visit);
        // A handler that is gone needs no end.
        let _ = sender.send(Step::End(result));
    });
    match running.steps.recv().await {
        Some(Step::Event(Event::Started { prompt_tokens })) => {
            running.prompt_tokens = prompt_tokens;
            Ok(running)
        }
        Some(Step::End(Err(error))) => Err(error.into()),
        // An end without a start is a cancelled request, and text without a start is not the engine's contract.
        Some(Step::End(Ok(_)) | Step::Event(Event::Text(_) | Event::Token(_))) => Err(ApiError::Interrupted),
        None => Err(EngineError::Stopped.into()),
    }
}

/// As [`start`], `n` answers to the same request at the same time: by lot, each with a seed of its own that follows from the
/// request's. Where one of them is refused, all are.
pub(super) async fn start_several(
    state: &ApiState,
    request: GenerateRequest,
    n: u32,
    entered: &Entered,
) -> Result<Vec<Running>, ApiError> {
    let same = |request: &GenerateRequest, number: u32| {
        let mut copy = GenerateRequest { cancel: Cancel::new(), ..request.clone() };
        copy.sampling.seed = copy.sampling.seed.wrapping_add(number.into());
        copy
    };
    let others: Vec<_> = (1..n).map(|number| same(&request, number)).collect();
    let all = std::iter::once(request).chain(others).map(|request| start(state, request, entered));
    futures_util::future::try_join_all(all).await
}

impl Running {
    /// The next step. After [`Next::End`] or an error there is none.
    pub(super) async fn next(&mut self) -> Result<Next, ApiError> {
        loop {
            if let Some(next) = self.ready.pop_front() {
                return Ok(next);
            }
            let parts = match self.steps.recv().await {
                Some(Step::Event(Event::Text(text))) => self.reader.push(Plaintext::new(text)),
                Some(Step::Event(Event::Token(score))) => return Ok(Next::Token(Plaintext::new(score))),
                Some(Step::Event(Event::Started { .. })) => continue,
                Some(Step::End(Ok(completion))) => {
                    self.ready.extend(self.reader.finish().into_iter().map(Next::from));
                    self.ready.push_back(Next::End(completion));
                    continue;
                }
                Some(Step::End(Err(error))) => return Err(error.into()),
                None => return Err(EngineError::Stopped.into()),
            };
            self.ready.extend(parts.into_iter().map(Next::from));
        }
    }

    /// The same, whose answer is read so.
    pub(super) fn reading(mut self, reader: Reader) -> Self {
        self.reader = reader;
        self
    }

    /// The whole answer.
    pub(super) async fn whole(mut self) -> Result<Whole, ApiError> {
        let (mut pieces, mut scores): (Vec<Plaintext<String>>, Vec<_>) = (Vec::new(), Vec::new());
        let mut calls = Vec::new();
        loop {
            match self.next().await? {
                Next::Text(piece) => pieces.push(piece),
                Next::Call(call) => calls.push(call),
                Next::Token(score) => scores.push(score),
                Next::End(Completion { finish: FinishReason::Cancelled, .. }) => {
                    return Err(ApiError::Interrupted);
                }
                Next::End(completion) => {
                    // One allocation of the final size: no half-grown copies stay behind.
                    let mut text = String::with_capacity(pieces.iter().map(|p| p.expose().len()).sum());
                    pieces.iter().for_each(|p| text.push_str(p.expose()));
                    return Ok(Whole { text: Plaintext::new(text), calls, scores, completion });
                }
            }
        }
    }
}

impl From<Part> for Next {
    fn from(part: Part) -> Self {
        match part {
            Part::Text(text) => Self::Text(text),
            Part::Call(call) => Self::Call(call),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

/// A number of tokens that a request asks for, within its bounds.
pub(super) fn new_tokens(param: &'static str, asked: u64, limits: &Limits) -> Result<NonZeroU32, ApiError> {
    u32::try_from(asked)
        .ok()
        .and_then(NonZeroU32::new)
        .filter(|n| *n <= limits.max_new_tokens)
        .ok_or(ApiError::TooManyTokens { param, limit: limits.max_new_tokens.get() })
}
