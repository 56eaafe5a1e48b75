//! `POST /v1/chat/completions` and `GET /v1/models`, in OpenAI's shapes.
//!
//! Fields of OpenAI's interface fall into three groups. Some are honoured. Some do not touch the answer (`user`,
//! `metadata`, …) and are accepted. All others would change the answer: they are accepted only with the value that
//! means "not used", and refused by name otherwise. A field that OpenAI does not have is refused.
//!
//! Two defaults differ from OpenAI's, on purpose: without `temperature` the answer is greedy, so that the same request
//! gives the same answer; and the model must be named.

use std::convert::Infallible;
use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use casemate_engine::{
    ChatMessage, Completion, FinishReason, GenerateRequest, Input, Role, Sampling, StopStrings, TokenBudget,
    Usage,
};
use casemate_protocol::Plaintext;
use futures_util::stream;
use serde::Deserialize;
use serde::de::value::SeqAccessDeserializer;
use serde::de::{self, Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::{Value, json};

use super::answer::{self, Next, Running};
use super::error::{ApiError, Shape};
use super::{ApiState, Limits, body};

/// Most stop strings, as OpenAI has it.
const MAX_STOP: usize = 4;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChatRequest {
    model: Option<String>,
    messages: Option<Vec<Message>>,
    max_tokens: Option<u64>,
    max_completion_tokens: Option<u64>,
    temperature: Option<f64>,
    top_p: Option<f64>,
    seed: Option<i64>,
    stop: Option<Stop>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,

    // Without effect on the answer.
    #[serde(default, rename = "user")]
    _user: IgnoredAny,
    #[serde(default, rename = "metadata")]
    _metadata: IgnoredAny,
    #[serde(default, rename = "store")]
    _store: IgnoredAny,
    #[serde(default, rename = "service_tier")]
    _service_tier: IgnoredAny,
    #[serde(default, rename = "safety_identifier")]
    _safety_identifier: IgnoredAny,
    #[serde(default, rename = "prompt_cache_key")]
    _prompt_cache_key: IgnoredAny,
    #[serde(default, rename = "prompt_cache_retention")]
    _prompt_cache_retention: IgnoredAny,
    #[serde(default, rename = "parallel_tool_calls")]
    _parallel_tool_calls: IgnoredAny,
    #[serde(default, rename = "prediction")]
    _prediction: IgnoredAny,

    // Accepted only where they change nothing.
    n: Option<Value>,
    tools: Option<Value>,
    tool_choice: Option<Value>,
    functions: Option<Value>,
    function_call: Option<Value>,
    response_format: Option<Value>,
    logprobs: Option<Value>,
    top_logprobs: Option<Value>,
    logit_bias: Option<Value>,
    frequency_penalty: Option<Value>,
    presence_penalty: Option<Value>,
    modalities: Option<Value>,
    audio: Option<Value>,
    web_search_options: Option<Value>,
    reasoning_effort: Option<Value>,
    verbosity: Option<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Message {
    role: MessageRole,
    content: Option<Content>,
    name: Option<Value>,
    // What clients send back from an answer.
    #[serde(default, rename = "refusal")]
    _refusal: IgnoredAny,
    #[serde(default, rename = "annotations")]
    _annotations: IgnoredAny,
    audio: Option<Value>,
    tool_calls: Option<Value>,
    function_call: Option<Value>,
    tool_call_id: Option<Value>,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum MessageRole {
    System,
    Developer,
    User,
    Assistant,
    Tool,
    Function,
}

/// A text, or a list of parts.
enum Content {
    Text(Plaintext<String>),
    Parts(Vec<Part>),
}

/// By hand: a derived untagged enum would keep a copy of the text while it decides.
impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ContentVisitor;
        impl<'de> Visitor<'de> for ContentVisitor {
            type Value = Content;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or a list of parts")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Content, E> {
                Ok(Content::Text(Plaintext::new(text.to_owned())))
            }

            fn visit_string<E: de::Error>(self, text: String) -> Result<Content, E> {
                Ok(Content::Text(Plaintext::new(text)))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, parts: A) -> Result<Content, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(parts)).map(Content::Parts)
            }
        }
        deserializer.deserialize_any(ContentVisitor)
    }
}

#[derive(Deserialize)]
struct Part {
    #[serde(rename = "type")]
    kind: String,
    text: Option<Plaintext<String>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Stop {
    One(String),
    Many(Vec<String>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StreamOptions {
    include_usage: Option<bool>,
    #[serde(default, rename = "include_obfuscation")]
    _include_obfuscation: IgnoredAny,
}

pub(super) async fn completions(
    State(state): State<ApiState>,
    request: Request,
) -> Result<Response, ApiError> {
    let request: ChatRequest = body::json(&state, request).await?;
    check_model(request.model.as_deref(), &state.model_id)?;
    check_unused(&request)?;
    let stream = request.stream.unwrap_or(false);
    let include_usage = match &request.stream_options {
        Some(_) if !stream => return Err(ApiError::Unsupported { param: "stream_options" }),
        Some(options) => options.include_usage.unwrap_or(false),
        None => false,
    };
    let reply =
        Reply { id: random_id(), created: unix_seconds(), model: state.model_id.clone(), include_usage };
    let running = answer::start(&state, generate_request(request, &state.limits)?).await?;
    if stream {
        return Ok(reply.stream(running));
    }
    let (text, completion) = running.whole().await?;
    Ok(Json(reply.whole(&text, completion)).into_response())
}

pub(super) async fn models(State(state): State<ApiState>) -> Response {
    let model =
        json!({"id": state.model_id, "object": "model", "created": state.loaded_at, "owned_by": "casemate"});
    Json(json!({"object": "list", "data": [model]})).into_response()
}

/// Seconds since 1970, 0 on a machine whose clock is before that.
pub(super) fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

fn check_model(asked: Option<&str>, served: &str) -> Result<(), ApiError> {
    match asked {
        None => Err(ApiError::Missing { param: "model" }),
        Some(asked) if asked == served => Ok(()),
        Some(_) => Err(ApiError::UnknownModel),
    }
}

/// Refuses fields that would change the answer and that this server does not honour.
fn check_unused(request: &ChatRequest) -> Result<(), ApiError> {
    type Unused = fn(&Value) -> bool;
    let empty: Unused =
        |v| v.as_array().is_some_and(Vec::is_empty) || v.as_object().is_some_and(|o| o.is_empty());
    let zero: Unused = |v| v.as_f64() == Some(0.0);
    let never: Unused = |_| false;
    let checks: [(&'static str, &Option<Value>, Unused); 16] = [
        ("n", &request.n, |v| v.as_u64() == Some(1)),
        ("tools", &request.tools, empty),
        ("tool_choice", &request.tool_choice, |v| matches!(v.as_str(), Some("none" | "auto"))),
        ("functions", &request.functions, empty),
        ("function_call", &request.function_call, |v| matches!(v.as_str(), Some("none" | "auto"))),
        ("response_format", &request.response_format, |v| *v == json!({"type": "text"})),
        ("logprobs", &request.logprobs, |v| v.as_bool() == Some(false)),
        ("top_logprobs", &request.top_logprobs, zero),
        ("logit_bias", &request.logit_bias, empty),
        ("frequency_penalty", &request.frequency_penalty, zero),
        ("presence_penalty", &request.presence_penalty, zero),
        ("modalities", &request.modalities, |v| *v == json!(["text"])),
        ("audio", &request.audio, never),
        ("web_search_options", &request.web_search_options, never),
        ("reasoning_effort", &request.reasoning_effort, never),
        ("verbosity", &request.verbosity, never),
    ];
    match checks.into_iter().find(|(_, value, unused)| value.as_ref().is_some_and(|v| !unused(v))) {
        Some((param, _, _)) => Err(ApiError::Unsupported { param }),
        None => Ok(()),
    }
}

fn generate_request(request: ChatRequest, limits: &Limits) -> Result<GenerateRequest, ApiError> {
    let messages = request.messages.ok_or(ApiError::Missing { param: "messages" })?;
    if messages.is_empty() {
        return Err(ApiError::OutOfRange { param: "messages", expected: "a list of at least one message" });
    }
    let messages = messages.into_iter().map(chat_message).collect::<Result<_, _>>()?;
    let budget = match (request.max_completion_tokens, request.max_tokens) {
        (Some(a), Some(b)) if a != b => return Err(ApiError::Unsupported { param: "max_tokens" }),
        (Some(n), _) => TokenBudget::Exact(answer::new_tokens("max_completion_tokens", n, limits)?),
        (None, Some(n)) => TokenBudget::Exact(answer::new_tokens("max_tokens", n, limits)?),
        (None, None) => TokenBudget::UpTo(limits.max_new_tokens),
    };
    let stop = match request.stop {
        None => Vec::new(),
        Some(Stop::One(stop)) => vec![stop],
        Some(Stop::Many(stops)) if stops.len() > MAX_STOP => {
            return Err(ApiError::OutOfRange { param: "stop", expected: "at most four strings" });
        }
        Some(Stop::Many(stops)) => stops,
    };
    Ok(GenerateRequest {
        sampling: sampling(request.temperature, request.top_p, request.seed)?,
        stop: StopStrings::new(stop)?,
        ..GenerateRequest::new(Input::Chat(messages), budget)
    })
}

fn sampling(temperature: Option<f64>, top_p: Option<f64>, seed: Option<i64>) -> Result<Sampling, ApiError> {
    let temperature = temperature.unwrap_or(0.0);
    if !(0.0..=2.0).contains(&temperature) {
        return Err(ApiError::OutOfRange { param: "temperature", expected: "a number from 0 to 2" });
    }
    let top_p = top_p.unwrap_or(1.0);
    if !(top_p > 0.0 && top_p <= 1.0) {
        return Err(ApiError::OutOfRange { param: "top_p", expected: "a number above 0, at most 1" });
    }
    let temperature = temperature as f32;
    // Also where the number is so small that it rounds to nothing.
    if temperature <= 0.0 {
        return Ok(Sampling::Greedy);
    }
    let seed = match seed {
        // OpenAI's seeds have 64 bits, the engine's 32.
        Some(seed) => {
            let [a, b, c, d, e, f, g, h] = seed.to_le_bytes();
            u32::from_le_bytes([a, b, c, d]) ^ u32::from_le_bytes([e, f, g, h])
        }
        None => u32::from_le_bytes(random()),
    };
    Ok(Sampling::Random { temperature, top_p: (top_p as f32).max(f32::MIN_POSITIVE), seed })
}

fn chat_message(message: Message) -> Result<ChatMessage, ApiError> {
    let role = match message.role {
        MessageRole::System | MessageRole::Developer => Role::System,
        MessageRole::User => Role::User,
        MessageRole::Assistant => Role::Assistant,
        MessageRole::Tool | MessageRole::Function => {
            return Err(ApiError::Unsupported { param: "messages.role" });
        }
    };
    let tools = [
        ("messages.name", &message.name),
        ("messages.audio", &message.audio),
        ("messages.tool_calls", &message.tool_calls),
        ("messages.function_call", &message.function_call),
        ("messages.tool_call_id", &message.tool_call_id),
    ];
    let used = |v: &Option<Value>| v.as_ref().is_some_and(|v| !v.as_array().is_some_and(Vec::is_empty));
    if let Some((param, _)) = tools.into_iter().find(|(_, value)| used(value)) {
        return Err(ApiError::Unsupported { param });
    }
    let content = match message.content {
        None => return Err(ApiError::Missing { param: "messages.content" }),
        Some(Content::Text(text)) => text.into_inner(),
        Some(Content::Parts(parts)) => {
            if parts.iter().any(|part| part.kind != "text" || part.text.is_none()) {
                return Err(ApiError::Unsupported { param: "messages.content" });
            }
            parts.iter().filter_map(|part| part.text.as_ref()).map(|text| text.expose().as_str()).collect()
        }
    };
    Ok(ChatMessage { role, content })
}

/// What all parts of one answer share.
struct Reply {
    id: String,
    created: u64,
    model: String,
    include_usage: bool,
}

impl Reply {
    fn whole(&self, text: &Plaintext<String>, completion: Completion) -> Value {
        let message = json!({"role": "assistant", "content": text.expose(), "refusal": null});
        json!({
            "id": self.id,
            "object": "chat.completion",
            "created": self.created,
            "model": self.model,
            "choices": [{
                "index": 0,
                "message": message,
                "logprobs": null,
                "finish_reason": completion.finish.as_str(),
            }],
            "usage": usage(completion.usage),
        })
    }

    /// One chunk of a stream. `choices` is empty in the one that carries the usage.
    fn chunk(&self, choices: Value, usage: Value) -> Value {
        let mut chunk = json!({
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.model,
            "choices": choices,
        });
        if let (true, Some(chunk)) = (self.include_usage, chunk.as_object_mut()) {
            chunk.insert("usage".into(), usage);
        }
        chunk
    }

    fn delta(&self, delta: Value, finish: Option<&'static str>) -> Bytes {
        let choice = json!({"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish});
        event(&self.chunk(json!([choice]), Value::Null))
    }

    /// Server-Sent Events. The body owns the running request, so a client that goes away ends it.
    fn stream(self, running: Running) -> Response {
        let first = self.delta(json!({"role": "assistant", "content": ""}), None);
        let rest = stream::unfold(Some((self, running)), async |state| {
            let (reply, mut running) = state?;
            Some(match running.next().await {
                Ok(Next::Text(text)) => {
                    (reply.delta(json!({"content": text.expose()}), None), Some((reply, running)))
                }
                Ok(Next::End(Completion { finish: FinishReason::Cancelled, .. })) => {
                    (failed(&ApiError::Interrupted), None)
                }
                Ok(Next::End(completion)) => (reply.end(completion), None),
                Err(error) => (failed(&error), None),
            })
        });
        let events = stream::once(async move { first });
        let body = Body::from_stream(futures_util::StreamExt::map(
            futures_util::StreamExt::chain(events, rest),
            Ok::<_, Infallible>,
        ));
        ([(header::CONTENT_TYPE, "text/event-stream")], body).into_response()
    }

    /// The last chunk, the usage where it was asked for, and the end mark.
    fn end(&self, completion: Completion) -> Bytes {
        let mut bytes = self.delta(json!({}), Some(completion.finish.as_str())).to_vec();
        if self.include_usage {
            bytes.extend_from_slice(&event(&self.chunk(json!([]), usage(completion.usage))));
        }
        bytes.extend_from_slice(b"data: [DONE]\n\n");
        bytes.into()
    }
}

/// The status is already sent: the error is the last event, and no end mark follows.
fn failed(error: &ApiError) -> Bytes {
    tracing::error!(code = error.code(), "answer broke off");
    event(&error.body(Shape::OpenAi))
}

fn event(value: &Value) -> Bytes {
    format!("data: {value}\n\n").into()
}

fn usage(usage: Usage) -> Value {
    json!({
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": u64::from(usage.prompt_tokens) + u64::from(usage.completion_tokens),
    })
}

fn random_id() -> String {
    format!("chatcmpl-{}", hex::encode(random::<12>()))
}

/// Names and seeds, no secrets: where the system has no randomness to give, zeros do.
fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    bytes
}
