//! `POST /v1/messages`, in Anthropic's shape.
//!
//! As on OpenAI's routes, a field that would change the answer and is not honoured is refused by name, and one that is not known too. Two
//! defaults are ours: without `temperature` the answer is greedy, and the model must be named as `GET /v1/models` names it.

use std::convert::Infallible;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use casemate_engine::{
    ChatMessage, Completion, FinishReason, GenerateRequest, Input, MAX_STOP_STRINGS, Role, StopStrings,
    TokenBudget, Usage,
};
use futures_util::stream::{self, StreamExt};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use super::answer::{self, Next, Running, Whole};
use super::chat::{Content, check_model};
use super::choosing::{Choosing, random};
use super::entry::entered;
use super::error::{ApiError, Shape};
use super::{ApiState, Limits, body};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MessagesRequest {
    model: Option<String>,
    messages: Option<Vec<Message>>,
    max_tokens: Option<u64>,
    system: Option<Content>,
    stop_sequences: Option<Vec<String>>,
    temperature: Option<f64>,
    top_p: Option<f64>,
    top_k: Option<u32>,
    stream: Option<bool>,

    // Without effect on the answer.
    #[serde(default, rename = "metadata")]
    _metadata: IgnoredAny,
    #[serde(default, rename = "service_tier")]
    _service_tier: IgnoredAny,

    // Accepted only where they change nothing.
    tools: Option<Value>,
    tool_choice: Option<Value>,
    thinking: Option<Value>,
    container: Option<Value>,
    mcp_servers: Option<Value>,
    context_management: Option<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Message {
    role: Speaker,
    content: Option<Content>,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum Speaker {
    User,
    Assistant,
}

pub(super) async fn messages(State(state): State<ApiState>, request: Request) -> Result<Response, ApiError> {
    let entered = entered(&request);
    let request: MessagesRequest = body::json(&state, request).await?;
    check_model(request.model.as_deref(), &state.model_id)?;
    check_unused(&request)?;
    let stream = request.stream.unwrap_or(false);
    let request = generate_request(request, &state.limits)?;
    let reply = Reply {
        id: format!("msg_{}", hex::encode(random::<12>())),
        model: state.model_id.clone(),
        stops: request.stop.clone(),
    };
    let running = answer::start(&state, request, &entered).await?;
    if stream { Ok(reply.stream(running)) } else { reply.whole(running).await }
}

/// Refuses fields that would change the answer and that this server does not honour.
fn check_unused(request: &MessagesRequest) -> Result<(), ApiError> {
    type Unused = fn(&Value) -> bool;
    let never: Unused = |_| false;
    let empty: Unused = |v| v.as_array().is_some_and(Vec::is_empty);
    let checks: [(&'static str, &Option<Value>, Unused); 6] = [
        ("tools", &request.tools, empty),
        ("tool_choice", &request.tool_choice, |v| matches!(v["type"].as_str(), Some("none" | "auto"))),
        ("thinking", &request.thinking, |v| v["type"] == "disabled"),
        ("container", &request.container, never),
        ("mcp_servers", &request.mcp_servers, empty),
        ("context_management", &request.context_management, never),
    ];
    match checks.into_iter().find(|(_, value, unused)| value.as_ref().is_some_and(|v| !unused(v))) {
        Some((param, _, _)) => Err(ApiError::Unsupported { param }),
        None => Ok(()),
    }
}

fn generate_request(request: MessagesRequest, limits: &Limits) -> Result<GenerateRequest, ApiError> {
    let asked = request.max_tokens.ok_or(ApiError::Missing { param: "max_tokens" })?;
    let budget = TokenBudget::Exact(answer::new_tokens("max_tokens", asked, limits)?);
    let given = request.messages.ok_or(ApiError::Missing { param: "messages" })?;
    if given.is_empty() {
        return Err(ApiError::OutOfRange { param: "messages", expected: "a list of at least one message" });
    }
    let mut messages = Vec::with_capacity(given.len() + 1);
    if let Some(system) = request.system {
        messages.push(ChatMessage::new(Role::System, system.text("system")?));
    }
    for message in given {
        let role = match message.role {
            Speaker::User => Role::User,
            Speaker::Assistant => Role::Assistant,
        };
        let content = message.content.ok_or(ApiError::Missing { param: "messages.content" })?;
        messages.push(ChatMessage::new(role, content.text("messages.content")?));
    }
    // There an answer goes on where the last message ends, which no chat template renders.
    if messages.last().is_some_and(|last| last.role == Role::Assistant) {
        return Err(ApiError::Unsupported { param: "messages" });
    }
    if request.temperature.is_some_and(|temperature| !(0.0..=1.0).contains(&temperature)) {
        return Err(ApiError::OutOfRange { param: "temperature", expected: "a number from 0 to 1" });
    }
    let stops = request.stop_sequences.unwrap_or_default();
    if stops.len() > MAX_STOP_STRINGS {
        return Err(ApiError::OutOfRange { param: "stop_sequences", expected: "at most 16 strings" });
    }
    let choosing = Choosing {
        temperature: request.temperature,
        top_p: request.top_p,
        top_k: request.top_k,
        min_p: None,
        seed: None,
        frequency_penalty: None,
        presence_penalty: None,
        logit_bias: None,
    };
    Ok(GenerateRequest {
        sampling: choosing.sampling()?,
        stop: StopStrings::new(stops)?,
        ..GenerateRequest::new(Input::Chat(messages), budget)
    })
}

/// What all parts of an answer share.
struct Reply {
    id: String,
    model: String,
    stops: StopStrings,
}

impl Reply {
    async fn whole(self, running: Running) -> Result<Response, ApiError> {
        let Whole { text, completion, .. } = running.whole().await?;
        let mut message = self.head(usage(completion.usage));
        if !text.expose().is_empty() {
            message["content"] = json!([{"type": "text", "text": text.expose()}]);
        }
        let end = self.end(completion.finish);
        message["stop_reason"] = end["stop_reason"].clone();
        message["stop_sequence"] = end["stop_sequence"].clone();
        Ok(Json(message).into_response())
    }

    /// A message that has not begun.
    fn head(&self, usage: Value) -> Value {
        json!({
            "id": self.id,
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": [],
            "stop_reason": null,
            "stop_sequence": null,
            "usage": usage,
        })
    }

    fn end(&self, finish: FinishReason) -> Value {
        let (reason, sequence) = match finish {
            FinishReason::Length => ("max_tokens", None),
            FinishReason::StopString(number) => {
                ("stop_sequence", self.stops.as_slice().get(usize::from(number)))
            }
            FinishReason::Stop | FinishReason::Cancelled => ("end_turn", None),
        };
        json!({"stop_reason": reason, "stop_sequence": sequence})
    }

    /// Server-Sent Events. The body owns the running request, so a client that goes away ends it.
    fn stream(self, running: Running) -> Response {
        let prompt = Usage { prompt_tokens: running.prompt_tokens, ..Usage::default() };
        let mut first = event(json!({"type": "message_start", "message": self.head(usage(prompt))}));
        let block = json!({"type": "text", "text": ""});
        first.extend(event(json!({"type": "content_block_start", "index": 0, "content_block": block})));
        let rest = stream::unfold(Some((self, running)), async |state| {
            let (reply, mut running) = state?;
            loop {
                let (bytes, goes_on) = match running.next().await {
                    Ok(Next::Token(_)) => continue,
                    Ok(Next::Text(text)) => {
                        let delta = json!({"type": "text_delta", "text": text.expose()});
                        (event(json!({"type": "content_block_delta", "index": 0, "delta": delta})), true)
                    }
                    Ok(Next::End(Completion { finish: FinishReason::Cancelled, .. })) => {
                        (failed(&ApiError::Interrupted), false)
                    }
                    Ok(Next::End(completion)) => (reply.last(completion), false),
                    Err(error) => (failed(&error), false),
                };
                return Some((bytes, goes_on.then_some((reply, running))));
            }
        });
        let events =
            stream::once(async { first }).chain(rest).map(|bytes| Ok::<_, Infallible>(Bytes::from(bytes)));
        ([(header::CONTENT_TYPE, "text/event-stream")], Body::from_stream(events)).into_response()
    }

    fn last(&self, completion: Completion) -> Vec<u8> {
        let end = self.end(completion.finish);
        let mut bytes = event(json!({"type": "content_block_stop", "index": 0}));
        bytes.extend(event(json!({"type": "message_delta", "delta": end, "usage": usage(completion.usage)})));
        bytes.extend(event(json!({"type": "message_stop"})));
        bytes
    }
}

/// Tokens that were read before are not among Anthropic's `input_tokens`.
fn usage(usage: Usage) -> Value {
    json!({
        "input_tokens": usage.prompt_tokens.saturating_sub(usage.cached_tokens),
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": usage.completion_tokens,
    })
}

/// The status is already sent: the error is the last event.
fn failed(error: &ApiError) -> Vec<u8> {
    tracing::error!(code = error.code(), "answer broke off");
    event(error.body(Shape::Anthropic))
}

/// An event has the name of its type.
fn event(value: Value) -> Vec<u8> {
    format!("event: {}\ndata: {value}\n\n", value["type"].as_str().unwrap_or_default()).into_bytes()
}
