//! `POST /v1/chat/completions` and `GET /v1/models`, in OpenAI's shapes.
//!
//! Fields of OpenAI's interface fall into three groups. Some are honoured. Some do not touch the answer (`user`,
//! `metadata`, …) and are accepted. All others would change the answer: they are accepted only with the value that
//! means "not used", and refused by name otherwise. A field that OpenAI does not have is refused.
//!
//! Two defaults differ from OpenAI's, on purpose: without `temperature` the answer is greedy, so that the same request
//! gives the same answer; and the model must be named.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use casemate_engine::{ChatMessage, GenerateRequest, Input, Role, Schema, TokenBudget};
use casemate_protocol::Plaintext;
use serde::Deserialize;
use serde::de::value::SeqAccessDeserializer;
use serde::de::{self, Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::choosing::{self, Choosing, Stop};
use super::entry::entered;
use super::error::ApiError;
use super::reply::{Family, Reply};
use super::{ApiState, Limits, answer, body};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChatRequest {
    model: Option<String>,
    messages: Option<Vec<Message>>,
    max_tokens: Option<u64>,
    max_completion_tokens: Option<u64>,
    temperature: Option<f64>,
    top_p: Option<f64>,
    top_k: Option<u32>,
    min_p: Option<f64>,
    seed: Option<i64>,
    frequency_penalty: Option<f64>,
    presence_penalty: Option<f64>,
    logit_bias: Option<BTreeMap<i32, f64>>,
    logprobs: Option<bool>,
    top_logprobs: Option<u64>,
    n: Option<u64>,
    stop: Option<Stop>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    response_format: Option<ResponseFormat>,

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
    tools: Option<Value>,
    tool_choice: Option<Value>,
    functions: Option<Value>,
    function_call: Option<Value>,
    modalities: Option<Value>,
    audio: Option<Value>,
    web_search_options: Option<Value>,
    reasoning_effort: Option<Value>,
    verbosity: Option<Value>,
}

/// What an answer must be.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ResponseFormat {
    #[serde(rename = "type")]
    kind: Option<String>,
    json_schema: Option<JsonSchema>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonSchema {
    name: Option<String>,
    /// As it was written: how deep it is nested is looked at before it is read.
    schema: Option<Box<RawValue>>,
    // Answers are held to every schema.
    #[serde(default, rename = "strict")]
    _strict: IgnoredAny,
    // The model is not told.
    #[serde(default, rename = "description")]
    _description: IgnoredAny,
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
pub(super) enum Content {
    Text(Plaintext<String>),
    Parts(Vec<Part>),
}

impl Content {
    /// The text of all parts; nothing else is understood.
    pub(super) fn text(self, param: &'static str) -> Result<String, ApiError> {
        match self {
            Self::Text(text) => Ok(text.into_inner()),
            Self::Parts(parts) => {
                if parts.iter().any(|part| part.kind != "text" || part.text.is_none()) {
                    return Err(ApiError::Unsupported { param });
                }
                Ok(parts
                    .iter()
                    .filter_map(|part| part.text.as_ref())
                    .map(|text| text.expose().as_str())
                    .collect())
            }
        }
    }
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
pub(super) struct Part {
    #[serde(rename = "type")]
    kind: String,
    text: Option<Plaintext<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StreamOptions {
    include_usage: Option<bool>,
    #[serde(default, rename = "include_obfuscation")]
    _include_obfuscation: IgnoredAny,
}

pub(super) async fn completions(
    State(state): State<ApiState>,
    request: Request,
) -> Result<Response, ApiError> {
    let entered = entered(&request);
    let request: ChatRequest = body::json(&state, request).await?;
    check_model(request.model.as_deref(), &state.model_id)?;
    check_unused(&request)?;
    let stream = request.stream.unwrap_or(false);
    let include_usage = include_usage(request.stream_options.as_ref(), stream)?;
    let n = choosing::choices(request.n)?;
    let running =
        answer::start_several(&state, generate_request(request, &state.limits)?, n, &entered).await?;
    let reply = Reply::new(Family::Chat, state.model_id.clone(), include_usage, n);
    if stream { Ok(reply.stream(running)) } else { reply.whole(running).await }
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

/// Whether a stream carries the usage. Its options need a stream.
pub(super) fn include_usage(options: Option<&StreamOptions>, stream: bool) -> Result<bool, ApiError> {
    match options {
        Some(_) if !stream => Err(ApiError::Unsupported { param: "stream_options" }),
        Some(options) => Ok(options.include_usage.unwrap_or(false)),
        None => Ok(false),
    }
}

pub(super) fn check_model(asked: Option<&str>, served: &str) -> Result<(), ApiError> {
    match asked {
        None => Err(ApiError::Missing { param: "model" }),
        Some(asked) if asked == served => Ok(()),
        Some(_) => Err(ApiError::UnknownModel),
    }
}

/// Refuses fields that would change the answer and that this server does not honour.
fn check_unused(request: &ChatRequest) -> Result<(), ApiError> {
    type Unused = fn(&Value) -> bool;
    let empty: Unused = |v| v.as_array().is_some_and(Vec::is_empty);
    let never: Unused = |_| false;
    let checks: [(&'static str, &Option<Value>, Unused); 9] = [
        ("tools", &request.tools, empty),
        ("tool_choice", &request.tool_choice, |v| matches!(v.as_str(), Some("none" | "auto"))),
        ("functions", &request.functions, empty),
        ("function_call", &request.function_call, |v| matches!(v.as_str(), Some("none" | "auto"))),
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
    let logprobs = match (request.logprobs, request.top_logprobs) {
        (Some(true), top) => Some(choosing::alternatives("top_logprobs", top.unwrap_or(0))?),
        (_, None | Some(0)) => None,
        (_, Some(_)) => return Err(ApiError::Unsupported { param: "top_logprobs" }),
    };
    let choosing = Choosing {
        temperature: request.temperature,
        top_p: request.top_p,
        top_k: request.top_k,
        min_p: request.min_p,
        seed: request.seed,
        frequency_penalty: request.frequency_penalty,
        presence_penalty: request.presence_penalty,
        logit_bias: request.logit_bias,
    };
    Ok(GenerateRequest {
        sampling: choosing.sampling()?,
        stop: choosing::stop(request.stop)?,
        schema: schema(request.response_format)?,
        logprobs,
        ..GenerateRequest::new(Input::Chat(messages), budget)
    })
}

/// What the answer must fit (SRV-40).
fn schema(format: Option<ResponseFormat>) -> Result<Option<Schema>, ApiError> {
    let Some(ResponseFormat { kind, json_schema }) = format else { return Ok(None) };
    match (kind.as_deref(), json_schema) {
        (Some("text"), None) => Ok(None),
        (Some("json_object"), None) => Ok(Some(Schema::object())),
        (Some("json_schema"), Some(JsonSchema { name: Some(name), schema: Some(schema), .. })) => {
            choosing::check_name("response_format.json_schema.name", &name)?;
            Ok(Some(Schema::new(schema.get().to_owned())?))
        }
        (Some("json_schema"), None) => Err(ApiError::Missing { param: "response_format.json_schema" }),
        (Some("json_schema"), Some(JsonSchema { name: None, .. })) => {
            Err(ApiError::Missing { param: "response_format.json_schema.name" })
        }
        (Some("json_schema"), Some(JsonSchema { schema: None, .. })) => {
            Err(ApiError::Missing { param: "response_format.json_schema.schema" })
        }
        (None, _) => Err(ApiError::Missing { param: "response_format.type" }),
        (Some(_), _) => Err(ApiError::Unsupported { param: "response_format" }),
    }
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
    let content = message.content.ok_or(ApiError::Missing { param: "messages.content" })?;
    let content = content.text("messages.content")?;
    Ok(ChatMessage::new(role, content))
}
