//! The engine that the API asks: it hands every request to the engine's process.

use std::num::NonZeroU32;
use std::ops::ControlFlow;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use casemate_engine::{
    ChatMessage, Completion, Engine, EngineError, Event, FinishReason, GenerateRequest, Input, ModelInfo,
    QUEUE_CAPACITY, Schema, TokenBudget, Tools, Usage,
};
use zeroize::Zeroize;

use super::process::{Handle, Reply, Waiting};
use super::wire::{Budget, MAX_TO_ENGINE, Prompt, Request, Said, ToEngine};

/// An engine in a confined process. Dropping it ends the process.
pub struct ConfinedEngine {
    handle: Handle,
    info: ModelInfo,
    pid: u32,
}

impl ConfinedEngine {
    pub(super) fn new(handle: Handle, info: ModelInfo, pid: u32) -> Self {
        Self { handle, info, pid }
    }

    /// The process number of the engine's process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Sends the request, of which only the copy in the engine's process then exists.
    fn send(&self, mut request: GenerateRequest, replies: mpsc::Sender<Reply>) -> Result<u64, EngineError> {
        let (TokenBudget::Exact(tokens) | TokenBudget::UpTo(tokens)) = request.budget;
        let waiting = Waiting {
            replies,
            started: false,
            tokens: tokens.get(),
            bytes: longest_answer(tokens),
            scores: request.logprobs.map_or(0, |_| tokens.get()),
            alternatives: request.logprobs.unwrap_or(0).into(),
        };
        let id = {
            let mut state = self.handle.shared.state();
            if let Some(error) = &state.ended {
                return Err(error.clone());
            }
            let parallel = usize::try_from(self.info.parallel).unwrap_or(usize::MAX);
            if state.requests.len() >= QUEUE_CAPACITY.saturating_add(parallel) {
                return Err(EngineError::QueueFull { capacity: QUEUE_CAPACITY });
            }
            state.last_id += 1;
            let id = state.last_id;
            state.requests.insert(id, waiting);
            id
        };
        let (message, bytes) = message(id, &request);
        let sent = self.handle.shared.send(&message, bytes);
        drop(message);
        erase(&mut request.input);
        if sent.is_none() {
            let mut state = self.handle.shared.state();
            state.requests.remove(&id);
            return Err(match &state.ended {
                Some(error) => error.clone(),
                None if bytes > MAX_TO_ENGINE => {
                    EngineError::PromptTooManyBytes { bytes, limit: MAX_TO_ENGINE }
                }
                None => EngineError::Stopped,
            });
        }
        Ok(id)
    }
}

impl Engine for ConfinedEngine {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn queue_depth(&self) -> usize {
        self.handle.shared.state().requests.len()
    }

    fn health(&self) -> Result<(), EngineError> {
        self.handle.shared.state().ended.clone().map_or(Ok(()), Err)
    }

    fn generate(
        &self,
        request: GenerateRequest,
        sink: &mut dyn FnMut(Event) -> ControlFlow<()>,
    ) -> Result<Completion, EngineError> {
        let cancel = request.cancel.clone();
        if cancel.is_cancelled() {
            return Ok(Completion { finish: FinishReason::Cancelled, usage: Usage::default() });
        }
        let (sender, replies) = mpsc::channel();
        let id = self.send(request, sender)?;
        let (mut listening, mut told) = (true, false);
        loop {
            let event = match replies.recv_timeout(CANCEL_LATENCY) {
                Ok(Reply::Started { prompt_tokens }) => Some(Event::Started { prompt_tokens }),
                Ok(Reply::Text(text)) => Some(Event::Text(text.into_inner())),
                Ok(Reply::Token(token)) => Some(Event::Token(token.into_inner())),
                Ok(Reply::End(result)) => return result,
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return Err(EngineError::Stopped),
            };
            if let Some(event) = event
                && listening
                && sink(event).is_break()
            {
                listening = false;
                cancel.cancel();
            }
            if !told && cancel.is_cancelled() {
                told = true;
                // Where it cannot be told, it is being ended, and the end comes as a reply.
                let _ = self.handle.shared.send(&ToEngine::Cancel { id }, 0);
            }
        }
    }
}

/// The message of a request, and how many bytes of text it has, lengths included.
fn message(id: u64, request: &GenerateRequest) -> (ToEngine<'_>, usize) {
    let stop: Vec<&str> = request.stop.as_slice().iter().map(String::as_str).collect();
    let input = match &request.input {
        Input::Raw(text) => Prompt::Raw(text),
        Input::Chat(messages) => Prompt::Chat(messages.iter().map(said).collect()),
    };
    let texts = match &input {
        Prompt::Raw(text) => text.len(),
        Prompt::Chat(messages) => messages.iter().map(size).sum(),
    };
    let bytes = texts + stop.iter().map(|text| text.len() + BESIDE_TEXT).sum::<usize>();
    let budget = match request.budget {
        TokenBudget::Exact(tokens) => Budget::Exact(tokens.get()),
        TokenBudget::UpTo(tokens) => Budget::UpTo(tokens.get()),
    };
    let bytes = bytes + request.sampling.bias.len() * BESIDE_TEXT;
    let schema = request.schema.as_ref().map(Schema::as_str);
    let bytes = bytes + schema.map_or(0, |text| text.len() + BESIDE_TEXT);
    let tools = request.tools.as_ref().map(Tools::as_str);
    let bytes = bytes + tools.map_or(0, |text| text.len() + BESIDE_TEXT);
    let sampling = (&request.sampling).into();
    let tenant = request.tenant.map(|tenant| tenant.0);
    let request =
        Request { input, budget, sampling, stop, schema, tools, logprobs: request.logprobs, tenant };
    (ToEngine::Generate { id, request }, bytes)
}

fn said(message: &ChatMessage) -> Said<'_> {
    Said {
        speaker: message.role.into(),
        text: &message.content,
        calls: message.calls.iter().map(|call| (&*call.id, &*call.name, &*call.arguments)).collect(),
        call_id: message.call_id.as_deref(),
    }
}

/// Bytes that a message takes at most.
fn size(said: &Said<'_>) -> usize {
    let calls =
        said.calls.iter().map(|(id, name, text)| id.len() + name.len() + text.len() + 3 * BESIDE_TEXT);
    said.text.len() + said.call_id.map_or(0, str::len) + 3 * BESIDE_TEXT + calls.sum::<usize>()
}

fn erase(input: &mut Input) {
    match input {
        Input::Raw(text) => text.zeroize(),
        Input::Chat(messages) => messages.iter_mut().for_each(|message| {
            message.content.zeroize();
            message.calls.iter_mut().for_each(|call| call.arguments.zeroize());
        }),
    }
}

/// The most bytes that an answer of `tokens` tokens can have: far more than any vocabulary spells.
fn longest_answer(tokens: NonZeroU32) -> u64 {
    u64::from(tokens.get()) * 1024 + (1 << 16)
}

/// How soon a cancelled request is cancelled in the engine's process too, where no event comes before.
const CANCEL_LATENCY: Duration = Duration::from_millis(20);
/// A text's length and role, or a token and its bias, at most.
const BESIDE_TEXT: usize = 12;
