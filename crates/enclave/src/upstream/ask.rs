//! A request in the dialect of the program that answers it (spec/upstream.md, UP-20, UP-23).

use std::collections::BTreeMap;

use aws_lc_rs::digest::{Context, SHA256};
use aws_lc_rs::rand;
use casemate_engine::{
    ChatMessage, EngineError, GenerateRequest, Input, Schema, Tenant, TokenBudget, Tools, UpstreamFault,
};
use casemate_protocol::statement::Separation;
use serde::Serialize;
use serde_json::value::RawValue;

use super::command::Kind;
use super::http::Wiped;

pub(super) const CHAT: &str = "/v1/chat/completions";
pub(super) const TEXT: &str = "/v1/completions";

/// A request as it is sent.
pub(super) struct Asked {
    pub(super) path: &'static str,
    pub(super) body: Wiped,
    /// Where the program was not told how many tokens there may be: how many there may be.
    pub(super) cut_after: Option<u32>,
}

/// Writes `request` for `kind`, whose model has this name.
///
/// # Errors
/// [`UpstreamFault::Untold`] where the dialect has no word for what the request asks for.
pub(super) fn asked(
    request: &GenerateRequest,
    kind: Kind,
    separation: Separation,
    model: &str,
) -> Result<Asked, EngineError> {
    let sampling = &request.sampling;
    let untold = |field| EngineError::Upstream(UpstreamFault::Untold { field });
    let by_lot = sampling.temperature > 0.0;
    if !kind.knows_candidates() {
        if by_lot && sampling.top_k != 0 {
            return Err(untold("top_k"));
        }
        if by_lot && sampling.min_p != 0.0 {
            return Err(untold("min_p"));
        }
    }
    let (path, messages, prompt) = match &request.input {
        Input::Chat(messages) => (CHAT, Some(messages.iter().map(said).collect::<Vec<_>>()), None),
        Input::Raw(text) => (TEXT, None, Some(text.as_str())),
    };
    let (max_tokens, cut_after) = match request.budget {
        TokenBudget::UpTo(tokens) if kind.refuses_budgets() => (None, Some(tokens.get())),
        TokenBudget::Exact(tokens) | TokenBudget::UpTo(tokens) => (Some(tokens.get()), None),
    };
    let (logprobs, top_logprobs) = match (request.logprobs, path) {
        (None, _) => (None, None),
        (Some(top), TEXT) => (Some(Logprobs::Number(top)), None),
        (Some(top), _) => (Some(Logprobs::Wanted(true)), Some(top)),
    };
    let tools = request.tools.as_ref().map(|tools| raw(Tools::as_str(tools))).transpose()?;
    let schema = request.schema.as_ref().map(|schema| raw(Schema::as_str(schema))).transpose()?;
    let choosing = by_lot.then_some(sampling);
    let candidates = choosing.filter(|_| kind.knows_candidates());
    let body = Body {
        model,
        messages,
        prompt,
        max_tokens,
        stream: true,
        stream_options: StreamOptions {
            include_usage: true,
            continuous_usage_stats: kind.refuses_budgets().then_some(true),
        },
        temperature: sampling.temperature,
        top_p: choosing.map(|it| it.top_p).filter(|p| kind.knows_candidates() || *p < 1.0),
        top_k: candidates.map(|it| if it.top_k == 0 { -1 } else { i64::from(it.top_k) }),
        min_p: candidates.map(|it| it.min_p),
        // Such programs have 32 bits for it, and one of its values means that there is none.
        seed: choosing.map(|it| it.seed & SEEDS),
        frequency_penalty: sampling.frequency_penalty,
        presence_penalty: sampling.presence_penalty,
        repetition_penalty: (kind.knows_candidates() && kind != Kind::LlamaServer).then_some(1.0),
        repeat_penalty: (kind == Kind::LlamaServer).then_some(1.0),
        logit_bias: (!sampling.bias.is_empty())
            .then(|| sampling.bias.iter().map(|(token, bias)| (token.to_string(), *bias)).collect()),
        stop: request.stop.as_slice(),
        logprobs,
        top_logprobs,
        response_format: schema.map(|schema| Format {
            kind: "json_schema",
            json_schema: JsonSchema { name: "answer", strict: true, schema },
        }),
        // An answer that is held to a schema is no call by itself.
        tool_choice: tools.is_some().then_some(if schema.is_some() { "none" } else { "auto" }),
        tools,
        cache_salt: (separation == Separation::Salt).then(|| salt(request.tenant)).transpose()?,
        cache_prompt: (separation == Separation::NoReuse).then_some(false),
    };
    let mut written = Wiped::default();
    serde_json::to_writer(&mut written, &body).map_err(|_| EngineError::Stopped)?;
    Ok(Asked { path, body: written, cut_after })
}

/// What a tenant's texts are kept under: nothing that a client knows or chooses, and for a request of nobody what no other has.
fn salt(tenant: Option<Tenant>) -> Result<String, EngineError> {
    let mut hash = Context::new(&SHA256);
    hash.update(b"casemate/cache-salt/v1\0");
    match tenant {
        Some(Tenant(name)) => hash.update(&name),
        None => {
            let mut once = [0; 33];
            rand::fill(&mut once).map_err(|_| EngineError::Stopped)?;
            hash.update(&once);
        }
    }
    Ok(hex::encode(hash.finish()))
}

/// JSON that was read as such before.
fn raw(text: &str) -> Result<&RawValue, EngineError> {
    serde_json::from_str(text).map_err(|_| EngineError::Stopped)
}

fn said(message: &ChatMessage) -> Said<'_> {
    let calls = message.calls.iter().map(|call| Called {
        id: &call.id,
        kind: "function",
        function: CalledFunction { name: &call.name, arguments: &call.arguments },
    });
    Said {
        role: message.role.as_str(),
        content: &message.content,
        tool_calls: calls.collect(),
        tool_call_id: message.call_id.as_deref(),
    }
}

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    messages: Option<Vec<Said<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
    stream: bool,
    stream_options: StreamOptions,
    temperature: f32,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_k: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    min_p: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<u64>,
    frequency_penalty: f32,
    presence_penalty: f32,
    #[serde(skip_serializing_if = "Option::is_none")]
    repetition_penalty: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    repeat_penalty: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logit_bias: Option<BTreeMap<String, f32>>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    stop: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    logprobs: Option<Logprobs>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_logprobs: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<Format<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tools: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_salt: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_prompt: Option<bool>,
}

#[derive(Serialize)]
struct StreamOptions {
    include_usage: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    continuous_usage_stats: Option<bool>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Logprobs {
    Wanted(bool),
    Number(u8),
}

#[derive(Serialize)]
struct Format<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    json_schema: JsonSchema<'a>,
}

#[derive(Serialize)]
struct JsonSchema<'a> {
    name: &'static str,
    strict: bool,
    schema: &'a RawValue,
}

#[derive(Serialize)]
struct Said<'a> {
    role: &'static str,
    content: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<Called<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_call_id: Option<&'a str>,
}

#[derive(Serialize)]
struct Called<'a> {
    id: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    function: CalledFunction<'a>,
}

#[derive(Serialize)]
struct CalledFunction<'a> {
    name: &'a str,
    arguments: &'a str,
}

const SEEDS: u64 = 0x7fff_ffff;

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use casemate_engine::{Role, Sampling, StopStrings, ToolCall};
    use serde_json::{Value, json};

    use super::*;

    const TEN: NonZeroU32 = NonZeroU32::new(10).unwrap();

    fn chat() -> GenerateRequest {
        let messages = vec![ChatMessage::new(Role::User, "hi \"you\"\n")];
        GenerateRequest::new(Input::Chat(messages), TokenBudget::Exact(TEN))
    }

    fn written(request: &GenerateRequest, kind: Kind) -> Value {
        let asked = asked(request, kind, kind.separation(), "m").unwrap();
        serde_json::from_slice(asked.body.bytes()).unwrap()
    }

    #[test]
    fn a_greedy_request_in_every_dialect() {
        let common = json!({
            "model": "m", "max_tokens": 10, "stream": true, "stream_options": {"include_usage": true},
            "temperature": 0.0, "frequency_penalty": 0.0, "presence_penalty": 0.0,
            "messages": [{"role": "user", "content": "hi \"you\"\n"}],
        });
        assert_eq!(written(&chat(), Kind::OpenAi), common);
        let mut llama = common.clone();
        llama["cache_prompt"] = json!(false);
        llama["repeat_penalty"] = json!(1.0);
        assert_eq!(written(&chat(), Kind::LlamaServer), llama);
        for kind in [Kind::Vllm, Kind::Sglang] {
            let mut with_salt = written(&chat(), kind);
            assert_eq!(
                with_salt.as_object_mut().unwrap().remove("cache_salt").unwrap().as_str().unwrap().len(),
                64
            );
            let mut expected = common.clone();
            expected["repetition_penalty"] = json!(1.0);
            expected["stream_options"]["continuous_usage_stats"] = json!(true);
            assert_eq!(with_salt, expected);
        }
    }

    #[test]
    fn what_is_chosen_by_lot_is_told_or_refused() {
        let mut request = chat();
        request.sampling = Sampling { top_k: 5, ..Sampling::random(0.5, 1.0, u64::MAX) };
        request.sampling.bias = vec![(7, -100.0)];
        request.stop = StopStrings::new(vec!["x".into()]).unwrap();
        let told = written(&request, Kind::Vllm);
        let expected = json!([0.5, 1.0, 5, 0.0, 0x7fff_ffff_u32, {"7": -100.0}, ["x"]]);
        let fields = ["temperature", "top_p", "top_k", "min_p", "seed", "logit_bias", "stop"];
        assert_eq!(fields.map(|field| told[field].clone()).to_vec(), *expected.as_array().unwrap());
        let refused = |request: &GenerateRequest| {
            let refused = asked(request, Kind::OpenAi, Separation::None, "m").err()?;
            assert_eq!(refused.code(), "upstream.untold");
            Some(refused.to_string())
        };
        assert!(refused(&request).unwrap().contains("top_k"));
        request.sampling.top_k = 0;
        assert_eq!(
            written(&request, Kind::LlamaServer)["top_k"],
            -1,
            "all of them, which 0 is not everywhere"
        );
        assert_eq!(refused(&request), None);
        request.sampling.min_p = 0.5;
        assert!(refused(&request).unwrap().contains("min_p"));
        // Where nothing is left to chance, nothing is refused.
        request.sampling.temperature = 0.0;
        assert_eq!(refused(&request), None);
    }

    #[test]
    fn texts_functions_and_schemas() {
        let text = GenerateRequest {
            logprobs: Some(3),
            ..GenerateRequest::new(Input::Raw("once".into()), TokenBudget::UpTo(TEN))
        };
        let sent = asked(&text, Kind::Vllm, Separation::Salt, "m").unwrap();
        assert_eq!((sent.path, sent.cut_after), (TEXT, Some(10)));
        let body: Value = serde_json::from_slice(sent.body.bytes()).unwrap();
        assert_eq!((&body["prompt"], &body["logprobs"]), (&json!("once"), &json!(3)));
        assert!(body.get("max_tokens").is_none() && body.get("messages").is_none());
        assert_eq!(written(&text, Kind::LlamaServer)["max_tokens"], 10);

        let mut request = chat();
        request.logprobs = Some(2);
        request.tools = Tools::new(r#"[{"type":"function","function":{"name":"f"}}]"#.into());
        let Input::Chat(messages) = &mut request.input else { panic!() };
        let call = ToolCall { id: "c".into(), name: "f".into(), arguments: "{}".into() };
        messages.push(ChatMessage { calls: vec![call], ..ChatMessage::new(Role::Assistant, "") });
        messages.push(ChatMessage { call_id: Some("c".into()), ..ChatMessage::new(Role::Tool, "4") });
        let body = written(&request, Kind::LlamaServer);
        assert_eq!((&body["logprobs"], &body["top_logprobs"]), (&json!(true), &json!(2)));
        assert_eq!(
            (&body["tools"][0]["function"]["name"], &body["tool_choice"]),
            (&json!("f"), &json!("auto"))
        );
        let function = json!({"name": "f", "arguments": "{}"});
        assert_eq!(
            body["messages"][1]["tool_calls"],
            json!([{"id": "c", "type": "function", "function": function}])
        );
        assert_eq!(body["messages"][2], json!({"role": "tool", "content": "4", "tool_call_id": "c"}));
        request.schema = Some(Schema::new(r#"{"type":"object"}"#.into()).unwrap());
        let body = written(&request, Kind::LlamaServer);
        assert_eq!(body["tool_choice"], "none");
        assert_eq!(body["response_format"]["json_schema"]["schema"], json!({"type": "object"}));
    }

    /// UP-30.
    #[test]
    fn a_salt_is_a_tenants_own() {
        let of = |tenant| {
            let request = GenerateRequest { tenant, ..chat() };
            written(&request, Kind::Vllm)["cache_salt"].as_str().unwrap().to_owned()
        };
        let (one, other) = (Some(Tenant([1; 32])), Some(Tenant([2; 32])));
        assert_eq!(of(one), of(one));
        assert_ne!(of(one), of(other));
        assert!(!of(one).contains(&hex::encode([1; 32])), "the tenant's inner name goes nowhere");
        assert_ne!(of(None), of(None), "nobody shares with nobody");
        let shared = asked(&chat(), Kind::Vllm, Separation::None, "m").unwrap();
        assert!(!String::from_utf8_lossy(shared.body.bytes()).contains("cache_salt"));
    }
}
