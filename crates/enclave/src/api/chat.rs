//! `POST /v1/chat/completions`, `GET /v1/models` and `GET /v1/models/{model}`, in OpenAI's shapes.
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
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use casemate_engine::{ChatMessage, GenerateRequest, Input, Role, Schema, TokenBudget, ToolCall};
use casemate_protocol::Plaintext;
use serde::Deserialize;
use serde::de::value::SeqAccessDeserializer;
use serde::de::{self, Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::calls::Reader;
use super::choosing::{self, Choosing, Stop};
use super::entry::entered;
use super::error::ApiError;
use super::reply::{Family, Reply};
use super::tools::{self, Choice, Function, Plan};
use super::{ApiState, answer, body};

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
    tools: Option<Vec<Tool>>,
    tool_choice: Option<Value>,
    parallel_tool_calls: Option<bool>,

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
    #[serde(default, rename = "prediction")]
    _prediction: IgnoredAny,

    // Accepted only where they change nothing.
    functions: Option<Value>,
    function_call: Option<Value>,
    modalities: Option<Value>,
    audio: Option<Value>,
    web_search_options: Option<Value>,
    reasoning_effort: Option<Value>,
    verbosity: Option<Value>,
}

/// A function that the model may call.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tool {
    #[serde(rename = "type")]
    kind: String,
    function: Option<Declared>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Declared {
    name: Option<String>,
    description: Option<String>,
    parameters: Option<Box<RawValue>>,
    // Where a call is demanded, it is held to the schema in any case.
    #[serde(default, rename = "strict")]
    _strict: IgnoredAny,
}

/// A function that the model called.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Called {
    id: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    function: Option<CalledFunction>,
    #[serde(default, rename = "index")]
    _index: IgnoredAny,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CalledFunction {
    name: Option<String>,
    arguments: Option<String>,
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
    tool_calls: Option<Vec<Called>>,
    function_call: Option<Value>,
    tool_call_id: Option<String>,
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
    pub(super) kind: String,
    pub(super) text: Option<Plaintext<String>>,
    // Of calls of functions and their answers, on Anthropic's route.
    pub(super) id: Option<String>,
    pub(super) name: Option<String>,
    pub(super) input: Option<Value>,
    pub(super) tool_use_id: Option<String>,
    pub(super) content: Option<Content>,
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
    let (request, reader) = generate_request(request, &state)?;
    let running = answer::start_several(&state, request, n, &entered).await?;
    let running = running.into_iter().map(|running| running.reading(reader.clone())).collect();
    let reply = Reply::new(Family::Chat, state.model_id.clone(), include_usage, n);
    if stream { Ok(reply.stream(running)) } else { reply.whole(running).await }
}

pub(super) async fn models(State(state): State<ApiState>) -> Response {
    Json(json!({"object": "list", "data": [shown(&state)]})).into_response()
}

pub(super) async fn model(
    State(state): State<ApiState>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiError> {
    match name {
        Ok(Path(name)) if name == state.model_id => Ok(Json(shown(&state)).into_response()),
        // Also what is no text.
        Ok(_) | Err(_) => Err(ApiError::UnknownModel),
    }
}

fn shown(state: &ApiState) -> Value {
    json!({"id": state.model_id, "object": "model", "created": state.loaded_at, "owned_by": "casemate"})
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
    let checks: [(&'static str, &Option<Value>, Unused); 7] = [
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

fn generate_request(request: ChatRequest, state: &ApiState) -> Result<(GenerateRequest, Reader), ApiError> {
    let limits = &state.limits;
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
    let functions =
        request.tools.unwrap_or_default().into_iter().map(function).collect::<Result<Vec<_>, _>>()?;
    let choice = choice(request.tool_choice.as_ref())?;
    let parallel = request.parallel_tool_calls.unwrap_or(true);
    let schema = schema(request.response_format)?;
    let Plan { tools, schema, reader } =
        tools::plan(functions, choice, parallel, state.engine.info().tools, schema)?;
    let request = GenerateRequest {
        sampling: choosing.sampling()?,
        stop: choosing::stop(request.stop)?,
        schema,
        tools,
        logprobs,
        ..GenerateRequest::new(Input::Chat(messages), budget)
    };
    Ok((request, reader))
}

fn function(tool: Tool) -> Result<Function, ApiError> {
    match tool.function {
        Some(Declared { name: Some(name), description, parameters, .. }) if tool.kind == "function" => {
            let parameters = parameters.map(|schema| schema.get().to_owned());
            Ok(Function { name, description, parameters })
        }
        _ => Err(ApiError::Unsupported { param: "tools" }),
    }
}

fn choice(choice: Option<&Value>) -> Result<Choice, ApiError> {
    let named = |value: &Value| {
        let function = value["function"]["name"].as_str().filter(|_| value["type"] == "function");
        function.map(|name| Choice::Named(name.to_owned()))
    };
    match choice {
        None => Ok(Choice::Auto),
        Some(Value::String(word)) if word == "none" => Ok(Choice::None),
        Some(Value::String(word)) if word == "auto" => Ok(Choice::Auto),
        Some(Value::String(word)) if word == "required" => Ok(Choice::Required),
        Some(value) => named(value).ok_or(ApiError::Unsupported { param: "tool_choice" }),
    }
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
        MessageRole::Tool => Role::Tool,
        MessageRole::Function => return Err(ApiError::Unsupported { param: "messages.role" }),
    };
    let calls = message.tool_calls.unwrap_or_default();
    let used = |v: &Option<Value>| v.as_ref().is_some_and(|v| !v.as_array().is_some_and(Vec::is_empty));
    let unused = [
        ("messages.name", used(&message.name)),
        ("messages.audio", used(&message.audio)),
        ("messages.function_call", used(&message.function_call)),
        ("messages.tool_calls", !calls.is_empty() && role != Role::Assistant),
        ("messages.tool_call_id", message.tool_call_id.is_some() && role != Role::Tool),
    ];
    if let Some((param, _)) = unused.into_iter().find(|(_, used)| *used) {
        return Err(ApiError::Unsupported { param });
    }
    if role == Role::Tool && message.tool_call_id.is_none() {
        return Err(ApiError::Missing { param: "messages.tool_call_id" });
    }
    let content = match message.content {
        Some(content) => content.text("messages.content")?,
        // A model that calls functions need not say anything.
        None if !calls.is_empty() => String::new(),
        None => return Err(ApiError::Missing { param: "messages.content" }),
    };
    Ok(ChatMessage {
        calls: calls.into_iter().map(called).collect::<Result<_, _>>()?,
        call_id: message.tool_call_id,
        ..ChatMessage::new(role, content)
    })
}

fn called(call: Called) -> Result<ToolCall, ApiError> {
    let Called { id: Some(id), kind, function: Some(CalledFunction { name: Some(name), arguments }), .. } =
        call
    else {
        return Err(ApiError::Missing { param: "messages.tool_calls" });
    };
    if kind.is_some_and(|kind| kind != "function") {
        return Err(ApiError::Unsupported { param: "messages.tool_calls" });
    }
    let arguments = arguments.filter(|text| !text.is_empty()).unwrap_or_else(|| "{}".into());
    if serde_json::from_str::<serde_json::Map<String, Value>>(&arguments).is_err() {
        let expected = "calls whose arguments are a JSON object as text";
        return Err(ApiError::OutOfRange { param: "messages.tool_calls", expected });
    }
    Ok(ToolCall { id, name, arguments })
}
