//! The engine that the API asks: it hands every request to the engine's process.

use std::num::NonZeroU32;
use std::ops::ControlFlow;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use casemate_engine::{
    Cancel, ChatMessage, Completion, EmbedInput, EmbedRequest, Embedded, Engine, EngineError, Event,
    FinishReason, GenerateRequest, Input, MAX_EMBED_INPUTS, MAX_EMBED_TOKENS, ModelInfo, QUEUE_CAPACITY,
    Schema, TokenBudget, Tools, Usage,
};
use zeroize::Zeroize;

use super::process::{Handle, Reply, Waiting};
use super::wire::{Budget, MAX_TO_ENGINE, Piece, Prompt, Request, Said, ToEngine};

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
            tokens: tokens.get(),
            bytes: longest_answer(tokens),
            scores: request.logprobs.map_or(0, |_| tokens.get()),
            alternatives: request.logprobs.unwrap_or(0).into(),
            ..nothing(replies)
        };
        let id = self.register(waiting)?;
        let (message, bytes) = message(id, &request);
        let sent = self.dispatch(id, &message, bytes);
        drop(message);
        erase(&mut request.input);
        sent.map(|()| id)
    }

    /// Gives a request its number.
    fn register(&self, waiting: Waiting) -> Result<u64, EngineError> {
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
        Ok(id)
    }

    /// Sends the message of a registered request, with `bytes` bytes of text in it.
    fn dispatch(&self, id: u64, message: &ToEngine<'_>, bytes: usize) -> Result<(), EngineError> {
        if self.handle.shared.send(message, bytes).is_some() {
            return Ok(());
        }
        let mut state = self.handle.shared.state();
        state.requests.remove(&id);
        Err(match &state.ended {
            Some(error) => error.clone(),
            None if bytes > MAX_TO_ENGINE => EngineError::PromptTooManyBytes { bytes, limit: MAX_TO_ENGINE },
            None => EngineError::Stopped,
        })
    }

    /// Hears everything that comes for a request, until its end.
    fn hear(
        &self,
        id: u64,
        replies: &mpsc::Receiver<Reply>,
        cancel: &Cancel,
        mut heard: impl FnMut(Reply),
    ) -> Result<Completion, EngineError> {
        let mut told = false;
        loop {
            match replies.recv_timeout(CANCEL_LATENCY) {
                Ok(Reply::End(result)) => return result,
                Ok(reply) => heard(reply),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(EngineError::Stopped),
            }
            if !told && cancel.is_cancelled() {
                told = true;
                // Where it cannot be told, it is being ended, and the end comes as a reply.
                let _ = self.handle.shared.send(&ToEngine::Cancel { id }, 0);
            }
        }
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
        let mut listening = true;
        self.hear(id, &replies, &cancel, |reply| {
            let event = match reply {
                Reply::Started { prompt_tokens } => Event::Started { prompt_tokens },
                Reply::Text(text) => Event::Text(text.into_inner()),
                Reply::Token(token) => Event::Token(token.into_inner()),
                // None was asked for: the keeper lets none through.
                Reply::Vector { .. } | Reply::Tokens(_) | Reply::End(_) => return,
            };
            if listening && sink(event).is_break() {
                listening = false;
                cancel.cancel();
            }
        })
    }

    fn embed(&self, mut request: EmbedRequest) -> Result<Embedded, EngineError> {
        let Some(dimensions) = self.info.dimensions else { return Err(EngineError::NoEmbeddings) };
        if request.inputs.len() > MAX_EMBED_INPUTS {
            return Err(EngineError::InputsTooLong { limit: MAX_EMBED_TOKENS });
        }
        let count = request.inputs.len();
        let (sender, replies) = mpsc::channel();
        let id = self.register(Waiting {
            vectors: u32::try_from(count).unwrap_or(u32::MAX),
            dimensions: usize::try_from(dimensions.get()).unwrap_or(usize::MAX),
            ..nothing(sender)
        })?;
        let (sizes, inputs): (Vec<usize>, Vec<Piece<'_>>) = request.inputs.iter_mut().map(piece).unzip();
        let tenant = request.tenant.map(|tenant| tenant.0);
        let mut message = ToEngine::Embed { id, inputs, tenant };
        let sent = self.dispatch(id, &message, sizes.iter().sum());
        if let ToEngine::Embed { inputs, .. } = &mut message {
            for input in inputs {
                if let Piece::Tokens(tokens) = input {
                    tokens.zeroize();
                }
            }
        }
        drop(message);
        for input in &mut request.inputs {
            if let EmbedInput::Text(text) = input {
                text.zeroize();
            }
        }
        sent?;
        let mut vectors = vec![Vec::new(); count];
        let completion = self.hear(id, &replies, &request.cancel, |reply| {
            if let Reply::Vector { input, numbers } = reply
                && let Some(place) = usize::try_from(input).ok().and_then(|input| vectors.get_mut(input))
            {
                *place = numbers.into_inner();
            }
        })?;
        // One of them twice, and another one not at all.
        if vectors.iter().any(Vec::is_empty) {
            return Err(EngineError::NoVector);
        }
        Ok(Embedded { vectors, tokens: completion.usage.prompt_tokens })
    }

    fn tokenise(&self, mut text: String, special: bool) -> Result<Vec<i32>, EngineError> {
        let (sender, replies) = mpsc::channel();
        // A byte has at most one token, and a text a few around it.
        let list = text.len().saturating_add(64);
        let id = self.register(Waiting { list, ..nothing(sender) })?;
        let sent = self.dispatch(id, &ToEngine::Tokenise { id, text: &text, special }, text.len());
        text.zeroize();
        sent?;
        let mut all = Vec::new();
        self.hear(id, &replies, &Cancel::new(), |reply| {
            if let Reply::Tokens(tokens) = reply {
                all.extend_from_slice(tokens.expose());
            }
        })?;
        Ok(all)
    }

    fn detokenise(&self, tokens: Vec<i32>) -> Result<String, EngineError> {
        let (sender, replies) = mpsc::channel();
        let count = u32::try_from(tokens.len()).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MIN);
        let bytes = longest_answer(count);
        let id = self.register(Waiting { started: true, bytes, ..nothing(sender) })?;
        let size = tokens.len() * BESIDE_TOKEN;
        self.dispatch(id, &ToEngine::Detokenise { id, tokens }, size)?;
        let mut all = String::new();
        self.hear(id, &replies, &Cancel::new(), |reply| {
            if let Reply::Text(text) = reply {
                all.push_str(text.expose());
            }
        })?;
        Ok(all)
    }
}

/// An input of a vector, and how many bytes it has at most. Tokens are moved out.
fn piece(input: &mut EmbedInput) -> (usize, Piece<'_>) {
    match input {
        EmbedInput::Text(text) => (text.len() + BESIDE_TEXT, Piece::Text(text)),
        EmbedInput::Tokens(tokens) => {
            (tokens.len() * BESIDE_TOKEN + BESIDE_TEXT, Piece::Tokens(std::mem::take(tokens)))
        }
    }
}

/// A request to which nothing may come but its end.
fn nothing(replies: mpsc::Sender<Reply>) -> Waiting {
    Waiting {
        replies,
        started: false,
        tokens: 0,
        bytes: 0,
        scores: 0,
        alternatives: 0,
        vectors: 0,
        dimensions: 0,
        list: 0,
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

pub(crate) fn erase(input: &mut Input) {
    match input {
        Input::Raw(text) => text.zeroize(),
        Input::Chat(messages) => messages.iter_mut().for_each(|message| {
            message.content.zeroize();
            message.calls.iter_mut().for_each(|call| call.arguments.zeroize());
        }),
    }
}

/// The most bytes that an answer of `tokens` tokens can have: far more than any vocabulary spells.
pub(crate) fn longest_answer(tokens: NonZeroU32) -> u64 {
    u64::from(tokens.get()) * 1024 + (1 << 16)
}

/// How soon a cancelled request is cancelled in the engine's process too, where no event comes before.
const CANCEL_LATENCY: Duration = Duration::from_millis(20);
/// A token's number, at most.
const BESIDE_TOKEN: usize = 5;
/// A text's length and role, or a token and its bias, at most.
const BESIDE_TEXT: usize = 12;
