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
    TokenBudget, ToolCall, Usage,
};
use futures_util::stream::{self, StreamExt};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::answer::{self, Next, Running, Whole};
use super::calls::{Call, Reader};
use super::chat::{Content, check_model};
use super::choosing::{Choosing, random};
use super::entry::entered;
use super::error::{ApiError, Shape};
use super::tools::{self, Choice, Function, Plan};
use super::{ApiState, body};

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
    tools: Option<Vec<Tool>>,
    tool_choice: Option<ToolChoice>,

    // Without effect on the answer.
    #[serde(default, rename = "metadata")]
    _metadata: IgnoredAny,
    #[serde(default, rename = "service_tier")]
    _service_tier: IgnoredAny,

    // Accepted only where they change nothing.
    thinking: Option<Value>,
    container: Option<Value>,
    mcp_servers: Option<Value>,
    context_management: Option<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tool {
    #[serde(rename = "type")]
    kind: Option<String>,
    name: Option<String>,
    description: Option<String>,
    input_schema: Option<Box<RawValue>>,
    // Without effect on the answer.
    #[serde(default, rename = "cache_control")]
    _cache_control: IgnoredAny,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ToolChoice {
    #[serde(rename = "type")]
    kind: String,
    name: Option<String>,
    disable_parallel_tool_use: Option<bool>,
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
    let (request, reader) = generate_request(request, &state)?;
    let reply = Reply {
        id: format!("msg_{}", hex::encode(random::<12>())),
        model: state.model_id.clone(),
        stops: request.stop.clone(),
    };
    let running = answer::start(&state, request, &entered).await?.reading(reader);
    if stream { Ok(reply.stream(running)) } else { reply.whole(running).await }
}

/// Refuses fields that would change the answer and that this server does not honour.
fn check_unused(request: &MessagesRequest) -> Result<(), ApiError> {
    type Unused = fn(&Value) -> bool;
    let never: Unused = |_| false;
    let empty: Unused = |v| v.as_array().is_some_and(Vec::is_empty);
    let checks: [(&'static str, &Option<Value>, Unused); 4] = [
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

fn generate_request(
    request: MessagesRequest,
    state: &ApiState,
) -> Result<(GenerateRequest, Reader), ApiError> {
    let limits = &state.limits;
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
        let content = message.content.ok_or(ApiError::Missing { param: "messages.content" })?;
        add(message.role, content, &mut messages)?;
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
    let functions =
        request.tools.unwrap_or_default().into_iter().map(function).collect::<Result<Vec<_>, _>>()?;
    let (choice, parallel) = choice(request.tool_choice)?;
    let Plan { tools, schema, reader } =
        tools::plan(functions, choice, parallel, state.engine.info().tools, None)?;
    let request = GenerateRequest {
        sampling: choosing.sampling()?,
        stop: StopStrings::new(stops)?,
        schema,
        tools,
        ..GenerateRequest::new(Input::Chat(messages), budget)
    };
    Ok((request, reader))
}

/// Adds a message. What functions answered stands in one of the user's, and is a message of its own here.
fn add(speaker: Speaker, content: Content, messages: &mut Vec<ChatMessage>) -> Result<(), ApiError> {
    const UNSUPPORTED: ApiError = ApiError::Unsupported { param: "messages.content" };
    const MISSING: ApiError = ApiError::Missing { param: "messages.content" };
    let role = match speaker {
        Speaker::User => Role::User,
        Speaker::Assistant => Role::Assistant,
    };
    let parts = match content {
        Content::Text(text) => {
            messages.push(ChatMessage::new(role, text.into_inner()));
            return Ok(());
        }
        Content::Parts(parts) => parts,
    };
    let (mut said, mut answered) = (ChatMessage::new(role, ""), false);
    for part in parts {
        match (part.kind.as_str(), speaker) {
            ("text", _) => said.content.push_str(part.text.as_ref().ok_or(UNSUPPORTED)?.expose()),
            ("tool_use", Speaker::Assistant) => {
                let (Some(id), Some(name), Some(Value::Object(input))) = (part.id, part.name, part.input)
                else {
                    return Err(MISSING);
                };
                said.calls.push(ToolCall { id, name, arguments: Value::Object(input).to_string() });
            }
            ("tool_result", Speaker::User) => {
                let text =
                    part.content.map_or(Ok(String::new()), |content| content.text("messages.content"))?;
                let call_id = Some(part.tool_use_id.ok_or(MISSING)?);
                messages.push(ChatMessage { call_id, ..ChatMessage::new(Role::Tool, text) });
                answered = true;
            }
            _ => return Err(UNSUPPORTED),
        }
    }
    if !(answered && said.content.is_empty()) {
        messages.push(said);
    }
    Ok(())
}

fn function(tool: Tool) -> Result<Function, ApiError> {
    match tool {
        Tool { kind, name: Some(name), description, input_schema: Some(schema), .. }
            if kind.as_deref().is_none_or(|kind| kind == "custom") =>
        {
            Ok(Function { name, description, parameters: Some(schema.get().to_owned()) })
        }
        _ => Err(ApiError::Unsupported { param: "tools" }),
    }
}

/// What must be called, and whether several calls count.
fn choice(choice: Option<ToolChoice>) -> Result<(Choice, bool), ApiError> {
    let Some(ToolChoice { kind, name, disable_parallel_tool_use }) = choice else {
        return Ok((Choice::Auto, true));
    };
    let choice = match (kind.as_str(), name) {
        ("none", None) => Choice::None,
        ("auto", None) => Choice::Auto,
        ("any", None) => Choice::Required,
        ("tool", Some(name)) => Choice::Named(name),
        _ => return Err(ApiError::Unsupported { param: "tool_choice" }),
    };
    Ok((choice, !disable_parallel_tool_use.unwrap_or(false)))
}

/// What all parts of an answer share.
struct Reply {
    id: String,
    model: String,
    stops: StopStrings,
}

impl Reply {
    async fn whole(self, running: Running) -> Result<Response, ApiError> {
        let Whole { text, calls, completion, .. } = running.whole().await?;
        let mut message = self.head(usage(completion.usage));
        let text = Some(text.expose()).filter(|text| !text.is_empty());
        let text = text.map(|text| json!({"type": "text", "text": text}));
        let made = calls.iter().map(|call| {
            let input = serde_json::from_str(call.arguments.expose()).unwrap_or(json!({}));
            tool_use(call, input)
        });
        message["content"] = text.into_iter().chain(made).collect();
        let end = self.end(completion.finish, !calls.is_empty());
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

    fn end(&self, finish: FinishReason, called: bool) -> Value {
        let (reason, sequence) = match finish {
            FinishReason::Stop | FinishReason::StopString(_) if called => ("tool_use", None),
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
        let first = event(json!({"type": "message_start", "message": self.head(usage(prompt))}));
        let writing = Writing { reply: self, running, blocks: 0, text: false, called: false };
        let rest = stream::unfold(Some(writing), async |writing| writing?.next().await);
        let events = stream::once(async { first }).chain(rest);
        let events = events.map(|bytes| Ok::<_, Infallible>(Bytes::from(bytes)));
        ([(header::CONTENT_TYPE, "text/event-stream")], Body::from_stream(events)).into_response()
    }
}

/// A stream that is being written.
struct Writing {
    reply: Reply,
    running: Running,
    /// Blocks that are closed.
    blocks: usize,
    /// Whether a block of text is open behind them.
    text: bool,
    /// Whether functions were called.
    called: bool,
}

impl Writing {
    async fn next(mut self) -> Option<(Vec<u8>, Option<Self>)> {
        let mut bytes = Vec::new();
        loop {
            match self.running.next().await {
                Ok(Next::Token(_)) => continue,
                Ok(Next::Text(text)) => {
                    if !std::mem::replace(&mut self.text, true) {
                        bytes.extend(self.open(json!({"type": "text", "text": ""})));
                    }
                    bytes.extend(self.delta(json!({"type": "text_delta", "text": text.expose()})));
                }
                Ok(Next::Call(call)) => {
                    bytes.extend(self.close_text());
                    bytes.extend(self.open(tool_use(&call, json!({}))));
                    let json = call.arguments.expose();
                    bytes.extend(self.delta(json!({"type": "input_json_delta", "partial_json": json})));
                    bytes.extend(self.close());
                    self.called = true;
                }
                Ok(Next::End(Completion { finish: FinishReason::Cancelled, .. })) => {
                    return Some((failed(&ApiError::Interrupted), None));
                }
                Ok(Next::End(completion)) => {
                    bytes.extend(self.close_text());
                    let end = self.reply.end(completion.finish, self.called);
                    let usage = usage(completion.usage);
                    bytes.extend(event(json!({"type": "message_delta", "delta": end, "usage": usage})));
                    bytes.extend(event(json!({"type": "message_stop"})));
                    return Some((bytes, None));
                }
                Err(error) => return Some((failed(&error), None)),
            }
            return Some((bytes, Some(self)));
        }
    }

    fn open(&self, block: Value) -> Vec<u8> {
        event(json!({"type": "content_block_start", "index": self.blocks, "content_block": block}))
    }

    fn delta(&self, delta: Value) -> Vec<u8> {
        event(json!({"type": "content_block_delta", "index": self.blocks, "delta": delta}))
    }

    fn close_text(&mut self) -> Vec<u8> {
        if std::mem::take(&mut self.text) { self.close() } else { Vec::new() }
    }

    fn close(&mut self) -> Vec<u8> {
        self.blocks += 1;
        event(json!({"type": "content_block_stop", "index": self.blocks - 1}))
    }
}

fn tool_use(call: &Call, input: Value) -> Value {
    json!({"type": "tool_use", "id": call.id, "name": call.name, "input": input})
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
