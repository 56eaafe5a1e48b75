//! The stream of an answer, read strictly (spec/upstream.md, section 4): events of OpenAI's shape, within the bounds of what was asked for,
//! to an end that says why it is one and what it cost.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use casemate_engine::{
    Completion, EngineError, Event, FinishReason, GenerateRequest, Input, Scored, TokenBudget, TokenScore,
    UpstreamFault, Usage,
};
use casemate_protocol::Plaintext;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::http::{Answer, Body, Stopped, Wiped, wrong};
use crate::confined::longest_answer;

/// What an answer may be.
#[derive(Default)]
pub(super) struct Expected {
    stops: Vec<String>,
    /// Bytes of text that it may have.
    bytes: u64,
    tokens: u32,
    /// Others beside each token with a probability; `None` where none were asked for.
    alternatives: Option<u8>,
    tools: bool,
    /// Tokens after which it is cut here.
    cut_after: Option<u32>,
    /// A guess at the prompt, for an answer whose end nobody hears.
    prompt: u32,
}

impl Expected {
    pub(super) fn of(request: &GenerateRequest, cut_after: Option<u32>) -> Self {
        let (TokenBudget::Exact(tokens) | TokenBudget::UpTo(tokens)) = request.budget;
        let bytes: usize = match &request.input {
            Input::Raw(text) => text.len(),
            Input::Chat(messages) => messages.iter().map(|message| message.content.len() + 16).sum(),
        };
        Self {
            stops: request.stop.as_slice().to_vec(),
            bytes: longest_answer(tokens),
            tokens: tokens.get(),
            alternatives: request.logprobs,
            tools: request.tools.is_some() && request.schema.is_none(),
            cut_after,
            prompt: u32::try_from(bytes.div_ceil(4)).unwrap_or(u32::MAX),
        }
    }

    /// Bytes that the body of the answer may have: each token with what stands around it.
    pub(super) fn limit(&self) -> u64 {
        let beside =
            1 + u64::from(self.alternatives.map_or(0, |alternatives| alternatives.saturating_add(1)));
        (u64::from(self.tokens) + 64) * beside * 2048 + self.bytes * 6
    }
}

/// Tells `sink` what comes, to the end.
pub(super) fn hear(
    mut answer: Answer<'_>,
    expected: Expected,
    sink: &mut dyn FnMut(Event) -> ControlFlow<()>,
) -> Result<Completion, EngineError> {
    check(&answer)?;
    let mut hearing = Hearing { expected, ..Hearing::default() };
    let mut events = Events { body: &mut answer.body, pending: Wiped::default() };
    match hearing.listen(&mut events, sink) {
        Err(Stopped::Cancelled) => {
            Ok(Completion { finish: FinishReason::Cancelled, usage: hearing.usage_so_far() })
        }
        result => Ok(result?),
    }
}

/// Whether it is a stream of events. Of anything else only the status is looked at (UP-42).
fn check(answer: &Answer<'_>) -> Result<(), EngineError> {
    let fault = match answer.status {
        200 if answer.kind == "text/event-stream" => return Ok(()),
        200 => UpstreamFault::Answer { what: "no stream of events" },
        429 => UpstreamFault::Busy,
        503 => UpstreamFault::NotReady,
        status @ 400..500 => UpstreamFault::Refused { status },
        status => UpstreamFault::Failed { status },
    };
    Err(EngineError::Upstream(fault))
}

/// What was heard.
#[derive(Default)]
struct Hearing {
    expected: Expected,
    started: bool,
    finish: Option<FinishReason>,
    usage: Option<Usage>,
    calls: BTreeMap<u32, Call>,
    /// Bytes of text.
    bytes: u64,
    /// Pieces of the answer.
    pieces: u32,
    scores: u32,
}

#[derive(Default)]
struct Call {
    name: String,
    arguments: Zeroizing<String>,
}

impl Hearing {
    fn listen(
        &mut self,
        events: &mut Events<'_, '_>,
        sink: &mut dyn FnMut(Event) -> ControlFlow<()>,
    ) -> Result<Completion, Stopped> {
        loop {
            let Some(event) = events.next()? else { return Err(wrong("a stream without its end mark")) };
            if event.as_slice() == b"[DONE]" {
                break;
            }
            let chunk: Chunk =
                serde_json::from_slice(&event).map_err(|_| wrong("an event of another shape"))?;
            if chunk.error.is_some() {
                return Err(UpstreamFault::Failed { status: 200 }.into());
            }
            if let Some(usage) = &chunk.usage {
                self.usage = Some(usage.read()?);
            }
            if !self.started {
                self.started = true;
                let prompt_tokens = self.usage.map_or(0, |usage| usage.prompt_tokens);
                tell(sink, Event::Started { prompt_tokens })?;
            }
            self.take(chunk, sink)?;
            let enough =
                |usage: Usage| self.expected.cut_after.is_some_and(|most| usage.completion_tokens >= most);
            // Where the budget is ours to keep. The connection closes, and the program stops.
            if self.finish.is_none() && self.usage.is_some_and(enough) {
                self.finish = Some(FinishReason::Length);
                break;
            }
        }
        let finish = self.finish.ok_or_else(|| wrong("an end without a reason"))?;
        // What cannot be counted cannot be bounded (UP-43).
        let usage = self.usage.ok_or_else(|| wrong("an end without its number of tokens"))?;
        for call in std::mem::take(&mut self.calls).into_values() {
            tell(sink, Event::Text(call.written()?))?;
        }
        Ok(Completion { finish, usage })
    }

    /// One event.
    fn take(&mut self, chunk: Chunk, sink: &mut dyn FnMut(Event) -> ControlFlow<()>) -> Result<(), Stopped> {
        let mut choices = chunk.choices.unwrap_or_default().into_iter();
        let Some(choice) = choices.next() else { return Ok(()) };
        if choices.next().is_some() || choice.index.unwrap_or(0) != 0 {
            return Err(wrong("more answers than one"));
        }
        if let Some(logprobs) = choice.logprobs {
            for score in logprobs.scores()? {
                let Some(alternatives) = self.expected.alternatives else {
                    return Err(wrong("probabilities that nobody asked for"));
                };
                self.scores += 1;
                if self.scores > self.expected.tokens.saturating_add(MORE) {
                    return Err(wrong("more tokens than were asked for"));
                }
                let mut score = score;
                score.top.truncate(usize::from(alternatives));
                tell(sink, Event::Token(score))?;
            }
        }
        let Delta { content, tool_calls } = choice.delta.unwrap_or_default();
        for text in [content, choice.text].into_iter().flatten() {
            let text = text.into_inner();
            if text.is_empty() {
                continue;
            }
            if self.finish.is_some() {
                return Err(wrong("text after its end"));
            }
            self.room(text.len())?;
            self.pieces = self.pieces.saturating_add(1);
            tell(sink, Event::Text(text))?;
        }
        for piece in tool_calls.unwrap_or_default() {
            self.call(piece)?;
        }
        if let Some(reason) = choice.finish_reason.filter(|reason| !reason.is_empty()) {
            if self.finish.is_some() {
                return Err(wrong("two ends"));
            }
            self.finish = Some(match reason.as_str() {
                "stop" | "tool_calls" | "function_call" | "eos_token" | "stop_sequence" => {
                    self.stopped(choice.stop_reason.or(choice.matched_stop))
                }
                "length" => FinishReason::Length,
                _ => return Err(wrong("an end for no reason that we know")),
            });
        }
        Ok(())
    }

    /// The request's own stop string, where the program says which.
    fn stopped(&self, by: Option<Value>) -> FinishReason {
        let Some(Value::String(by)) = by else { return FinishReason::Stop };
        let number = self.expected.stops.iter().position(|stop| *stop == by);
        number
            .and_then(|number| u8::try_from(number).ok())
            .map_or(FinishReason::Stop, FinishReason::StopString)
    }

    fn call(&mut self, piece: CallPiece) -> Result<(), Stopped> {
        if !self.expected.tools {
            return Err(wrong("a call that nobody asked for"));
        }
        let CalledPiece { name, arguments } = piece.function.unwrap_or_default();
        let (name, arguments) =
            (name.unwrap_or_default(), arguments.map(Plaintext::into_inner).unwrap_or_default());
        self.room(name.len() + arguments.len() + 1)?;
        self.pieces = self.pieces.saturating_add(1);
        let index = piece.index.unwrap_or(0);
        let call = self.calls.entry(index).or_default();
        call.name.push_str(&name);
        // A growing text leaves copies behind: it is short, and of an answer.
        call.arguments.push_str(&arguments);
        if self.calls.len() > MOST_CALLS {
            return Err(wrong("more calls than anybody makes"));
        }
        Ok(())
    }

    fn room(&mut self, bytes: usize) -> Result<(), Stopped> {
        self.bytes += bytes as u64;
        if self.bytes > self.expected.bytes { Err(wrong("more text than was asked for")) } else { Ok(()) }
    }

    /// What an answer that nobody waits for has cost: what was said, or at least what was seen.
    fn usage_so_far(&self) -> Usage {
        let seen = Usage {
            prompt_tokens: if self.started { self.expected.prompt } else { 0 },
            cached_tokens: 0,
            completion_tokens: self.pieces,
        };
        self.usage.unwrap_or(seen)
    }
}

impl Call {
    /// In the form in which [`ToolForm::Hermes`](casemate_engine::ToolForm) has calls, which the API reads.
    fn written(self) -> Result<String, Stopped> {
        let arguments = if self.arguments.trim().is_empty() { "{}" } else { self.arguments.as_str() };
        let arguments: Map<String, Value> =
            serde_json::from_str(arguments).map_err(|_| wrong("a call whose arguments are no object"))?;
        let call = serde_json::json!({"name": self.name, "arguments": arguments}).to_string();
        // Inside JSON, where this character stands in texts only: no text of it can look like the end of the call.
        Ok(format!("<tool_call>{}</tool_call>", call.replace('<', "\\u003c")))
    }
}

fn tell(sink: &mut dyn FnMut(Event) -> ControlFlow<()>, event: Event) -> Result<(), Stopped> {
    match sink(event) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(Stopped::Cancelled),
    }
}

/// Server-Sent Events out of a body.
struct Events<'a, 'b> {
    body: &'a mut Body<'b>,
    pending: Wiped,
}

impl Events<'_, '_> {
    /// The data of the next event; `None` at the end of the body.
    fn next(&mut self) -> Result<Option<Zeroizing<Vec<u8>>>, Stopped> {
        let mut data: Option<Zeroizing<Vec<u8>>> = None;
        loop {
            let Some(line) = self.line()? else {
                return if data.is_none() { Ok(None) } else { Err(wrong("it ends in the middle")) };
            };
            if line.is_empty() {
                match data.take() {
                    Some(data) => return Ok(Some(data)),
                    None => continue,
                }
            }
            // Comments and other fields say nothing.
            let Some(value) = line.strip_prefix(b"data:") else { continue };
            let value = value.strip_prefix(b" ").unwrap_or(value);
            match &mut data {
                None => data = Some(Zeroizing::new(value.to_vec())),
                Some(_) => return Err(wrong("an event of two lines")),
            }
        }
    }

    /// A line without its end.
    fn line(&mut self) -> Result<Option<Zeroizing<Vec<u8>>>, Stopped> {
        let mut looked = 0;
        loop {
            let there = self.pending.bytes();
            if let Some(at) = there.iter().skip(looked).position(|byte| *byte == b'\n') {
                let end = looked + at;
                let line = there.get(..end).unwrap_or_default();
                let line = Zeroizing::new(line.strip_suffix(b"\r").unwrap_or(line).to_vec());
                self.pending.forget(end + 1);
                return Ok(Some(line));
            }
            looked = there.len();
            if looked > MAX_EVENT {
                return Err(wrong("an event that is too long"));
            }
            if !self.body.more(&mut self.pending)? {
                return if self.pending.bytes().is_empty() {
                    Ok(None)
                } else {
                    Err(wrong("it ends in the middle"))
                };
            }
        }
    }
}

#[derive(Deserialize)]
struct Chunk {
    choices: Option<Vec<Choice>>,
    usage: Option<UsageSaid>,
    error: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Choice {
    index: Option<u32>,
    delta: Option<Delta>,
    text: Option<Plaintext<String>>,
    finish_reason: Option<String>,
    logprobs: Option<LogprobsSaid>,
    // Which stop string it was: vLLM's and SGLang's words for it.
    stop_reason: Option<Value>,
    matched_stop: Option<Value>,
}

#[derive(Deserialize, Default)]
struct Delta {
    content: Option<Plaintext<String>>,
    tool_calls: Option<Vec<CallPiece>>,
}

#[derive(Deserialize)]
struct CallPiece {
    index: Option<u32>,
    function: Option<CalledPiece>,
}

#[derive(Deserialize, Default)]
struct CalledPiece {
    name: Option<String>,
    arguments: Option<Plaintext<String>>,
}

#[derive(Deserialize)]
struct UsageSaid {
    prompt_tokens: u32,
    completion_tokens: Option<u32>,
    prompt_tokens_details: Option<Details>,
}

#[derive(Deserialize)]
struct Details {
    cached_tokens: Option<u32>,
}

impl UsageSaid {
    fn read(&self) -> Result<Usage, Stopped> {
        let cached_tokens = self.prompt_tokens_details.as_ref().and_then(|it| it.cached_tokens).unwrap_or(0);
        if cached_tokens > self.prompt_tokens {
            return Err(wrong("numbers of tokens that cannot be"));
        }
        let completion_tokens = self.completion_tokens.unwrap_or(0);
        Ok(Usage { prompt_tokens: self.prompt_tokens, cached_tokens, completion_tokens })
    }
}

/// Probabilities, in the form of conversations or in the older one.
#[derive(Deserialize)]
struct LogprobsSaid {
    content: Option<Vec<TokenSaid>>,
    tokens: Option<Vec<String>>,
    token_logprobs: Option<Vec<Option<f32>>>,
    top_logprobs: Option<Vec<Option<BTreeMap<String, f32>>>>,
}

#[derive(Deserialize)]
struct TokenSaid {
    token: String,
    logprob: f32,
    bytes: Option<Vec<u8>>,
    top_logprobs: Option<Vec<TokenSaid>>,
}

impl LogprobsSaid {
    fn scores(self) -> Result<Vec<TokenScore>, Stopped> {
        if let Some(content) = self.content {
            return Ok(content.into_iter().map(TokenSaid::score).collect());
        }
        let Some(tokens) = self.tokens else { return Ok(Vec::new()) };
        let mut logprobs = self.token_logprobs.unwrap_or_default().into_iter();
        let mut tops = self.top_logprobs.unwrap_or_default().into_iter();
        let scores = tokens.into_iter().map(|token| {
            let logprob =
                logprobs.next().flatten().ok_or_else(|| wrong("a token without its probability"))?;
            let scored = |(text, logprob): (String, f32)| Scored {
                bytes: text.into_bytes(),
                logprob: at_most_0(logprob),
            };
            let mut top: Vec<_> = tops.next().flatten().unwrap_or_default().into_iter().map(scored).collect();
            top.sort_by(|a, b| b.logprob.total_cmp(&a.logprob));
            Ok(TokenScore { chosen: scored((token, logprob)), top })
        });
        scores.collect()
    }
}

impl TokenSaid {
    fn score(self) -> TokenScore {
        let scored = |said: TokenSaid| Scored {
            bytes: said.bytes.unwrap_or_else(|| said.token.into_bytes()),
            logprob: at_most_0(said.logprob),
        };
        let mut said = self;
        let top = said.top_logprobs.take().unwrap_or_default();
        TokenScore { chosen: scored(said), top: top.into_iter().map(scored).collect() }
    }
}

/// What is no probability is none at all.
fn at_most_0(logprob: f32) -> f32 {
    if logprob.is_nan() { f32::NEG_INFINITY } else { logprob.min(0.0) }
}

/// Of a line of a stream.
const MAX_EVENT: usize = 1 << 20;
const MOST_CALLS: usize = 128;
/// Tokens beyond the budget that may be spoken of: the one that ends the turn.
const MORE: u32 = 1;

#[cfg(test)]
mod tests;
