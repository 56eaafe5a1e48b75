//! Answers in OpenAI's shapes: as one JSON object, or as Server-Sent Events while they are written.

use std::convert::Infallible;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use casemate_engine::{Completion, FinishReason, Scored, TokenScore, Usage};
use casemate_protocol::Plaintext;
use futures_util::stream::{self, BoxStream, SelectAll, StreamExt};
use serde_json::{Value, json};

use super::answer::{Next, Running, Whole};
use super::calls::Call;
use super::chat::unix_seconds;
use super::choosing::random;
use super::error::{ApiError, Shape};

/// Which route's shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    /// `POST /v1/chat/completions`.
    Chat,
    /// `POST /v1/completions`.
    Text,
}

/// What all parts of one answer share.
pub(super) struct Reply {
    family: Family,
    id: String,
    created: u64,
    model: String,
    include_usage: bool,
    /// Answers to the same prompt.
    choices: usize,
}

impl Reply {
    pub(super) fn new(family: Family, model: String, include_usage: bool, choices: u32) -> Self {
        let prefix = match family {
            Family::Chat => "chatcmpl",
            Family::Text => "cmpl",
        };
        Self {
            family,
            id: format!("{prefix}-{}", hex::encode(random::<12>())),
            created: unix_seconds(),
            model,
            include_usage,
            choices: usize::try_from(choices).unwrap_or(1).max(1),
        }
    }

    /// All answers, once the last of them is whole.
    pub(super) async fn whole(self, running: Vec<Running>) -> Result<Response, ApiError> {
        let answers = futures_util::future::try_join_all(running.into_iter().map(Running::whole)).await?;
        let mut usage = Total::new(self.choices);
        let choices: Vec<_> = answers
            .iter()
            .enumerate()
            .map(|(index, answer)| {
                usage.add(index, answer.completion.usage);
                self.choice(index, answer)
            })
            .collect();
        let mut body = self.head(false);
        body["choices"] = choices.into();
        body["usage"] = usage.json();
        Ok(Json(body).into_response())
    }

    fn choice(&self, index: usize, answer: &Whole) -> Value {
        let (text, scores) = (answer.text.expose(), &answer.scores);
        let finish = reason(answer.completion.finish, answer.calls.len());
        match self.family {
            Family::Chat => {
                let mut message = json!({"role": "assistant", "content": text, "refusal": null});
                if !answer.calls.is_empty() {
                    message["content"] = if text.is_empty() { Value::Null } else { text.as_str().into() };
                    message["tool_calls"] = answer.calls.iter().map(call).collect();
                }
                json!({
                    "index": index,
                    "message": message,
                    "logprobs": self.scores(scores, &mut 0),
                    "finish_reason": finish,
                })
            }
            Family::Text => json!({
                "index": index,
                "text": text,
                "logprobs": self.scores(scores, &mut 0),
                "finish_reason": finish,
            }),
        }
    }

    fn head(&self, chunk: bool) -> Value {
        let object = match (self.family, chunk) {
            (Family::Chat, false) => "chat.completion",
            (Family::Chat, true) => "chat.completion.chunk",
            (Family::Text, _) => "text_completion",
        };
        json!({"id": self.id, "object": object, "created": self.created, "model": self.model})
    }

    /// Probabilities in the family's form, null where none are there. `offset` is where the next token's text begins.
    fn scores(&self, scores: &[Plaintext<TokenScore>], offset: &mut usize) -> Value {
        if scores.is_empty() {
            return Value::Null;
        }
        let scores = scores.iter().map(Plaintext::expose);
        match self.family {
            Family::Chat => {
                let one = |score: &Scored| json!({"token": text(score), "logprob": number(score), "bytes": score.bytes});
                let content = scores.map(|score| {
                    let mut token = one(&score.chosen);
                    token["top_logprobs"] = score.top.iter().map(one).collect();
                    token
                });
                json!({"content": content.collect::<Value>(), "refusal": null})
            }
            Family::Text => {
                let (mut tokens, mut logprobs, mut tops, mut offsets) = (vec![], vec![], vec![], vec![]);
                for score in scores {
                    let token = text(&score.chosen);
                    offsets.push(Value::from(*offset));
                    *offset += token.chars().count();
                    tokens.push(Value::from(token));
                    logprobs.push(number(&score.chosen));
                    let top = score.top.iter().map(|other| (text(other), number(other)));
                    tops.push(top.collect::<serde_json::Map<_, _>>().into());
                }
                json!({
                    "tokens": tokens,
                    "token_logprobs": logprobs,
                    "top_logprobs": Value::Array(tops),
                    "text_offset": offsets,
                })
            }
        }
    }

    /// Server-Sent Events. The body owns the running requests, so a client that goes away ends them.
    pub(super) fn stream(self, running: Vec<Running>) -> Response {
        let usage = Total::new(self.choices);
        let open = running.iter().map(|_| Open::default()).collect();
        let steps = running.into_iter().enumerate().map(|(index, running)| steps(index, running).boxed());
        let writing = Writing { reply: self, steps: stream::select_all(steps), open, usage };
        let first = writing.first();
        let rest = stream::unfold(Some(writing), async |writing| writing?.next().await);
        let events = stream::once(async move { first }).chain(rest).filter(|bytes| {
            let something = !bytes.is_empty();
            async move { something }
        });
        let body = Body::from_stream(events.map(Ok::<_, Infallible>));
        ([(header::CONTENT_TYPE, "text/event-stream")], body).into_response()
    }

    /// One chunk of a stream. `choices` is empty in the one that carries the usage.
    fn chunk(&self, choices: Value, usage: Value) -> Bytes {
        let mut chunk = self.head(true);
        chunk["choices"] = choices;
        if self.include_usage {
            chunk["usage"] = usage;
        }
        event(&chunk)
    }
}

/// A stream of answers that are being written at the same time.
struct Writing {
    reply: Reply,
    steps: SelectAll<BoxStream<'static, (usize, Result<Next, ApiError>)>>,
    open: Vec<Open>,
    usage: Total,
}

/// What is known of one of them.
#[derive(Default)]
struct Open {
    /// Probabilities of tokens whose text has not come yet.
    scores: Vec<Plaintext<TokenScore>>,
    /// Where the next token's text begins, in characters.
    offset: usize,
    /// Calls of functions so far.
    calls: usize,
}

impl Writing {
    /// Who speaks, in a conversation.
    fn first(&self) -> Bytes {
        let mut bytes = Vec::new();
        if self.reply.family == Family::Chat {
            for index in 0..self.open.len() {
                let delta = json!({"role": "assistant", "content": ""});
                let choice = json!({"index": index, "delta": delta, "logprobs": null, "finish_reason": null});
                bytes.extend_from_slice(&self.reply.chunk(json!([choice]), Value::Null));
            }
        }
        bytes.into()
    }

    /// The next piece of any of them. The last one is followed by the usage, where it was asked for, and the end mark.
    async fn next(mut self) -> Option<(Bytes, Option<Self>)> {
        Some(match self.steps.next().await {
            None => {
                let mut bytes = Vec::new();
                if self.reply.include_usage {
                    bytes.extend_from_slice(&self.reply.chunk(json!([]), self.usage.json()));
                }
                bytes.extend_from_slice(b"data: [DONE]\n\n");
                (bytes.into(), None)
            }
            Some((index, Ok(Next::Token(score)))) => {
                self.open.get_mut(index)?.scores.push(score);
                (Bytes::new(), Some(self))
            }
            Some((index, Ok(Next::Text(text)))) => {
                let delta = match self.reply.family {
                    Family::Chat => json!({"content": text.expose()}),
                    Family::Text => text.expose().as_str().into(),
                };
                (self.piece(index, delta, None)?, Some(self))
            }
            Some((index, Ok(Next::Call(call)))) => (self.call(index, &call)?, Some(self)),
            Some((_, Ok(Next::End(Completion { finish: FinishReason::Cancelled, .. })))) => {
                (failed(&ApiError::Interrupted), None)
            }
            Some((index, Ok(Next::End(completion)))) => {
                self.usage.add(index, completion.usage);
                let finish = reason(completion.finish, self.open.get(index)?.calls);
                let delta = match self.reply.family {
                    Family::Chat => json!({}),
                    Family::Text => "".into(),
                };
                (self.piece(index, delta, Some(finish))?, Some(self))
            }
            Some((_, Err(error))) => (failed(&error), None),
        })
    }

    /// A function's name and then its arguments.
    fn call(&mut self, index: usize, made: &Call) -> Option<Bytes> {
        let open = self.open.get_mut(index)?;
        let number = open.calls;
        open.calls += 1;
        let mut first = call(made);
        first["index"] = number.into();
        let arguments = std::mem::replace(&mut first["function"]["arguments"], "".into());
        let second = json!({"index": number, "function": {"arguments": arguments}});
        let mut bytes = self.piece(index, json!({"tool_calls": [first]}), None)?.to_vec();
        bytes.extend_from_slice(&self.piece(index, json!({"tool_calls": [second]}), None)?);
        Some(bytes.into())
    }

    fn piece(&mut self, index: usize, delta: Value, finish: Option<&'static str>) -> Option<Bytes> {
        let open = self.open.get_mut(index)?;
        let logprobs = self.reply.scores(&std::mem::take(&mut open.scores), &mut open.offset);
        let name = match self.reply.family {
            Family::Chat => "delta",
            Family::Text => "text",
        };
        let choice = json!({"index": index, name: delta, "logprobs": logprobs, "finish_reason": finish});
        Some(self.reply.chunk(json!([choice]), Value::Null))
    }
}

/// OpenAI's `finish_reason`.
fn reason(finish: FinishReason, calls: usize) -> &'static str {
    match finish {
        FinishReason::Stop | FinishReason::StopString(_) if calls > 0 => "tool_calls",
        finish => finish.as_str(),
    }
}

fn call(call: &Call) -> Value {
    let function = json!({"name": call.name, "arguments": call.arguments.expose()});
    json!({"id": call.id, "type": "function", "function": function})
}

/// The steps of one answer, to its end.
fn steps(index: usize, running: Running) -> impl stream::Stream<Item = (usize, Result<Next, ApiError>)> {
    stream::unfold(Some((index, running)), async |state| {
        let (index, mut running) = state?;
        let next = running.next().await;
        let goes_on = matches!(next, Ok(Next::Text(_) | Next::Call(_) | Next::Token(_)));
        Some(((index, next), goes_on.then_some((index, running))))
    })
}

/// The status is already sent: the error is the last event, and no end mark follows.
fn failed(error: &ApiError) -> Bytes {
    tracing::error!(code = error.code(), "answer broke off");
    event(&error.body(Shape::OpenAi))
}

fn event(value: &Value) -> Bytes {
    format!("data: {value}\n\n").into()
}

/// A token need not be whole characters: then its bytes say more than its text.
fn text(score: &Scored) -> String {
    String::from_utf8_lossy(&score.bytes).into_owned()
}

/// JSON has no infinity: a token that cannot come has OpenAI's number for it.
fn number(score: &Scored) -> Value {
    json!(if score.logprob.is_finite() { score.logprob } else { -9999.0 })
}

/// Tokens of all answers. A prompt counts once, however many answers it has.
struct Total {
    choices: usize,
    prompt: u64,
    cached: u64,
    completion: u64,
}

impl Total {
    fn new(choices: usize) -> Self {
        Self { choices, prompt: 0, cached: 0, completion: 0 }
    }

    fn add(&mut self, index: usize, usage: Usage) {
        if index.is_multiple_of(self.choices) {
            self.prompt += u64::from(usage.prompt_tokens);
            self.cached += u64::from(usage.cached_tokens);
        }
        self.completion += u64::from(usage.completion_tokens);
    }

    fn json(&self) -> Value {
        json!({
            "prompt_tokens": self.prompt,
            "completion_tokens": self.completion,
            "total_tokens": self.prompt + self.completion,
            "prompt_tokens_details": {"cached_tokens": self.cached},
        })
    }
}
