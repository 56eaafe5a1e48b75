//! The HTTP API over a stub engine: every route, status, code and shape, and no content in any log.

use std::fmt;
use std::num::NonZeroU32;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, Once, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode, header};
use casemate_enclave::api::{
    ApiError, ApiState, AttestSource, AttestSourceError, Limits, MAX_BODY_BYTES, MAX_PROMPT_CHARS, router,
};
use casemate_engine::{
    ChatSupport, Completion, Engine, EngineError, Event, FinishReason, GenerateRequest, GgufFault, Input,
    ModelInfo, Role, Sampling, StopFault, TemplateFault, TokenBudget, Usage,
};
use casemate_protocol::document::AttestationDocument;
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tower::ServiceExt;

// ---------------------------------------------------------------------------------------------- the stub

/// Answers "echo " and the last message, a word at a time; deterministic.
struct Stub {
    info: ModelInfo,
    behaviour: Behaviour,
    seen: Mutex<Vec<GenerateRequest>>,
    cancelled: AtomicBool,
}

#[derive(Clone)]
enum Behaviour {
    Echo,
    /// Refuses every request.
    Fail(EngineError),
    /// Fails after the first piece.
    BreakOff,
    /// Starts and then waits to be cancelled.
    Hang,
    /// Ends as cancelled although nobody did.
    EndCancelled,
    /// Panics.
    Panic,
}

impl Stub {
    fn new(behaviour: Behaviour) -> Arc<Self> {
        let info = ModelInfo {
            name: "stub".into(),
            architecture: "stub".into(),
            parameters: 1,
            tensor_bytes: 4,
            context_tokens: 2048,
            trained_context_tokens: 2048,
            chat: ChatSupport::Template,
        };
        Arc::new(Self { info, behaviour, seen: Mutex::default(), cancelled: AtomicBool::new(false) })
    }

    fn last(&self) -> GenerateRequest {
        self.seen.lock().unwrap().last().unwrap().clone()
    }

    async fn wait_until_cancelled(&self) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !self.cancelled.load(Ordering::Acquire) {
            assert!(Instant::now() < deadline, "the generation was not cancelled");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

impl Engine for Stub {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn queue_depth(&self) -> usize {
        3
    }

    fn generate(
        &self,
        request: GenerateRequest,
        sink: &mut dyn FnMut(Event) -> ControlFlow<()>,
    ) -> Result<Completion, EngineError> {
        self.seen.lock().unwrap().push(request.clone());
        let Input::Chat(messages) = &request.input else { panic!("the API only sends conversations") };
        let text = format!("echo {}", messages.last().unwrap().content);
        let prompt_tokens =
            u32::try_from(messages.iter().map(|m| m.content.split(' ').count()).sum::<usize>()).unwrap();
        let mut usage = Usage { prompt_tokens, completion_tokens: 0 };
        let end = |finish, usage| Ok(Completion { finish, usage });
        if let Behaviour::Fail(error) = &self.behaviour {
            return Err(error.clone());
        }
        if sink(Event::Started { prompt_tokens }).is_break() {
            return end(FinishReason::Cancelled, usage);
        }
        match &self.behaviour {
            Behaviour::Hang => {
                // Longer than any case waits, so that a case fails and does not hang.
                let deadline = Instant::now() + Duration::from_secs(15);
                while !request.cancel.is_cancelled() && Instant::now() < deadline {
                    std::thread::sleep(Duration::from_millis(1));
                }
                self.cancelled.store(request.cancel.is_cancelled(), Ordering::Release);
                return end(FinishReason::Cancelled, usage);
            }
            Behaviour::EndCancelled => return end(FinishReason::Cancelled, usage),
            Behaviour::Panic => panic!("stub"),
            _ => {}
        }
        let (TokenBudget::Exact(most) | TokenBudget::UpTo(most)) = request.budget;
        for piece in text.split_inclusive(' ') {
            if usage.completion_tokens == most.get() {
                return end(FinishReason::Length, usage);
            }
            usage.completion_tokens += 1;
            if sink(Event::Text(piece.to_owned())).is_break() {
                return end(FinishReason::Cancelled, usage);
            }
            if matches!(self.behaviour, Behaviour::BreakOff) {
                return Err(EngineError::Compute { status: -3 });
            }
        }
        end(FinishReason::Stop, usage)
    }
}

struct StubAttest {
    fails: bool,
}

impl AttestSource for StubAttest {
    fn attestation_document(
        &self,
        nonce: Option<[u8; 32]>,
    ) -> Result<AttestationDocument, AttestSourceError> {
        if self.fails {
            return Err(AttestSourceError { code: "attester.no-device" });
        }
        let statement = nonce.map_or("none".into(), hex::encode);
        Ok(AttestationDocument::new("sev-snp", b"report", b"vek", b"crl", statement, None))
    }
}

// ---------------------------------------------------------------------------------------------- helpers

struct Served {
    stub: Arc<Stub>,
    state: ApiState,
    router: Router,
}

fn serve(behaviour: Behaviour) -> Served {
    serve_with(behaviour, Limits::default(), false)
}

fn serve_with(behaviour: Behaviour, limits: Limits, attest_fails: bool) -> Served {
    LOG.install();
    let stub = Stub::new(behaviour);
    let attest = Arc::new(StubAttest { fails: attest_fails });
    let mut state = ApiState::new(stub.clone(), "stub-1".into(), attest);
    state.limits = limits;
    Served { stub, router: router(state.clone()), state }
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    fn json(&self) -> Value {
        assert_eq!(self.headers[header::CONTENT_TYPE], "application/json");
        serde_json::from_slice(&self.body).unwrap()
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap().to_owned()
    }
}

impl Served {
    async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        assert_eq!(head.headers[header::CACHE_CONTROL], "no-store");
        Answer { status: head.status, headers: head.headers, body: to_bytes(body, usize::MAX).await.unwrap() }
    }

    async fn get(&self, path: &str) -> Answer {
        self.send(Request::get(path).body(Body::empty()).unwrap()).await
    }

    async fn post(&self, path: &str, body: impl Into<Body>) -> Answer {
        self.send(post(path, body)).await
    }

    async fn chat(&self, extra: Value) -> Answer {
        self.post(CHAT, chat_body(extra).to_string()).await
    }
}

const CHAT: &str = "/v1/chat/completions";

fn post(path: &str, body: impl Into<Body>) -> Request<Body> {
    Request::post(path).header(header::CONTENT_TYPE, "application/json").body(body.into()).unwrap()
}

/// A good chat request with some fields set or, with null, taken away.
fn chat_body(extra: Value) -> Value {
    let mut body = json!({"model": "stub-1", "messages": [{"role": "user", "content": "a b"}]});
    for (key, value) in extra.as_object().unwrap() {
        body[key] = value.clone();
    }
    body
}

fn n(v: u32) -> NonZeroU32 {
    NonZeroU32::new(v).unwrap()
}

/// The JSON of each event; `None` for the end mark.
fn events(text: &str) -> Vec<Option<Value>> {
    assert!(text.ends_with("\n\n"));
    text.trim_end()
        .split("\n\n")
        .map(|event| {
            let data = event.strip_prefix("data: ").unwrap();
            assert!(!data.contains('\n'));
            (data != "[DONE]").then(|| serde_json::from_str(data).unwrap())
        })
        .collect()
}

// ---------------------------------------------------------------------------------------------- good answers

#[tokio::test]
async fn health() {
    let answer = serve(Behaviour::Echo).get("/health").await;
    assert_eq!((answer.status, answer.json()), (StatusCode::OK, json!({"status": "ok"})));
}

#[tokio::test]
async fn attest_answers_the_nonce() {
    let served = serve(Behaviour::Echo);
    let nonce = "AbCdEf0123456789".repeat(4);
    let answer = served.get(&format!("/attest?nonce={nonce}")).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.json()["statement"], nonce.to_lowercase());
    assert_eq!(served.get("/attest").await.json()["statement"], "none");
    assert_eq!(answer.json()["schema"], "casemate.attestation/1");
}

#[tokio::test]
async fn infer_answers_with_response_only() {
    let served = serve(Behaviour::Echo);
    let answer = served.post("/infer", r#"{"prompt":"What is 2+2?"}"#).await;
    assert_eq!((answer.status, answer.json()), (StatusCode::OK, json!({"response": "echo What is 2+2?"})));
    let request = served.stub.last();
    assert_eq!((request.sampling, request.budget), (Sampling::Greedy, TokenBudget::UpTo(n(256))));
    let Input::Chat(messages) = request.input else { panic!() };
    assert_eq!(messages.len(), 1);
    assert_eq!((messages[0].role, messages[0].content.as_str()), (Role::User, "What is 2+2?"));

    let answer = served.post("/infer", r#"{"prompt":"a b c","max_new_tokens":2}"#).await;
    assert_eq!(answer.json(), json!({"response": "echo a "}));
    assert_eq!(served.stub.last().budget, TokenBudget::Exact(n(2)));
}

#[tokio::test]
async fn infer_takes_exactly_the_limit() {
    let served = serve(Behaviour::Echo);
    // Characters, not bytes.
    let prompt = "ü".repeat(MAX_PROMPT_CHARS);
    let answer = served.post("/infer", json!({"prompt": prompt}).to_string()).await;
    assert_eq!(answer.status, StatusCode::OK);
}

#[tokio::test]
async fn models_has_openais_shape() {
    let served = serve(Behaviour::Echo);
    let created = served.state.loaded_at;
    assert!(created > 1_700_000_000);
    let expected = json!({"object": "list", "data": [
        {"id": "stub-1", "object": "model", "created": created, "owned_by": "casemate"}
    ]});
    assert_eq!(served.get("/v1/models").await.json(), expected);
}

#[tokio::test]
async fn chat_has_openais_shape() {
    let served = serve(Behaviour::Echo);
    let answer = served.chat(json!({})).await;
    assert_eq!(answer.status, StatusCode::OK);
    let mut body = answer.json();
    let id = body["id"].take();
    assert!(id.as_str().unwrap().starts_with("chatcmpl-"));
    assert!(body["created"].take().as_u64().unwrap() > 1_700_000_000);
    let expected = json!({
        "id": null,
        "object": "chat.completion",
        "created": null,
        "model": "stub-1",
        "choices": [{
            "index": 0,
            "message": {"role": "assistant", "content": "echo a b", "refusal": null},
            "logprobs": null,
            "finish_reason": "stop",
        }],
        "usage": {"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5},
    });
    assert_eq!(body, expected);
    assert_ne!(served.chat(json!({})).await.json()["id"], id);
    let short = served.chat(json!({"max_tokens": 1})).await.json();
    assert_eq!(short["choices"][0]["finish_reason"], "length");
    assert_eq!(short["choices"][0]["message"]["content"], "echo ");
}

#[tokio::test]
async fn chat_honours_what_it_accepts() {
    let served = serve(Behaviour::Echo);
    let request = async |extra| {
        let answer = served.chat(extra).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        served.stub.last()
    };
    assert_eq!(request(json!({})).await.sampling, Sampling::Greedy);
    assert_eq!(request(json!({})).await.budget, TokenBudget::UpTo(n(4096)));
    assert_eq!(request(json!({"max_tokens": 7})).await.budget, TokenBudget::Exact(n(7)));
    assert_eq!(request(json!({"max_completion_tokens": 8})).await.budget, TokenBudget::Exact(n(8)));
    assert_eq!(
        request(json!({"max_completion_tokens": 8, "max_tokens": 8})).await.budget,
        TokenBudget::Exact(n(8))
    );
    assert_eq!(request(json!({"temperature": 0, "top_p": 0.5, "seed": 9})).await.sampling, Sampling::Greedy);
    let random = json!({"temperature": 0.5, "top_p": 0.25, "seed": 9});
    assert_eq!(request(random).await.sampling, Sampling::Random { temperature: 0.5, top_p: 0.25, seed: 9 });
    let unseeded = json!({"temperature": 0.5});
    assert_ne!(
        request(unseeded.clone()).await.sampling,
        request(unseeded).await.sampling,
        "no seed, no repetition"
    );
    assert_eq!(request(json!({"stop": "x"})).await.stop.as_slice(), ["x"]);
    assert_eq!(request(json!({"stop": ["x", "y"]})).await.stop.as_slice(), ["x", "y"]);
    assert!(request(json!({"stop": null})).await.stop.as_slice().is_empty());
    let messages = json!([
        {"role": "developer", "content": "one"},
        {"role": "user", "content": [{"type": "text", "text": "two "}, {"type": "text", "text": "three"}]},
        {"role": "assistant", "content": "four", "refusal": null, "tool_calls": [], "annotations": [], "name": null},
        {"role": "user", "content": "five"},
    ]);
    let Input::Chat(messages) = request(json!({ "messages": messages })).await.input else { panic!() };
    let roles: Vec<_> = messages.iter().map(|m| (m.role, m.content.as_str())).collect();
    let expected =
        [(Role::System, "one"), (Role::User, "two three"), (Role::Assistant, "four"), (Role::User, "five")];
    assert_eq!(roles, expected);
    // Fields that change nothing.
    request(json!({
        "user": "u", "metadata": {"a": "b"}, "store": true, "service_tier": "auto", "n": 1, "tools": [],
        "tool_choice": "none", "response_format": {"type": "text"}, "logprobs": false, "logit_bias": {},
        "frequency_penalty": 0, "presence_penalty": 0.0, "modalities": ["text"], "parallel_tool_calls": true,
        "top_logprobs": null, "audio": null, "stream": false, "stream_options": null, "seed": null,
    }))
    .await;
}

#[tokio::test]
async fn streams_are_server_sent_events() {
    let served = serve(Behaviour::Echo);
    let answer = served.chat(json!({"stream": true})).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.headers[header::CONTENT_TYPE], "text/event-stream");
    let events = events(answer.text());
    assert_eq!(events.last(), Some(&None), "[DONE] ends it");
    let chunks: Vec<Value> = events.into_iter().flatten().collect();
    let deltas: Vec<Value> = chunks.iter().map(|c| c["choices"][0]["delta"].clone()).collect();
    let expected = [
        json!({"role": "assistant", "content": ""}),
        json!({"content": "echo "}),
        json!({"content": "a "}),
        json!({"content": "b"}),
        json!({}),
    ];
    assert_eq!(deltas, expected);
    let finishes: Vec<Value> = chunks.iter().map(|c| c["choices"][0]["finish_reason"].clone()).collect();
    assert_eq!(finishes, [Value::Null, Value::Null, Value::Null, Value::Null, json!("stop")]);
    for chunk in &chunks {
        assert_eq!(chunk["object"], "chat.completion.chunk");
        assert_eq!((&chunk["id"], &chunk["created"]), (&chunks[0]["id"], &chunks[0]["created"]));
        assert_eq!(chunk["model"], "stub-1");
        assert!(chunk.get("usage").is_none());
    }
}

#[tokio::test]
async fn streams_carry_the_usage_where_it_is_asked_for() {
    let served = serve(Behaviour::Echo);
    let body = json!({"stream": true, "stream_options": {"include_usage": true}, "max_tokens": 2});
    let answer = served.chat(body).await;
    let mut chunks: Vec<Value> = events(answer.text()).into_iter().flatten().collect();
    let last = chunks.pop().unwrap();
    assert_eq!(last["choices"], json!([]));
    assert_eq!(last["usage"], json!({"prompt_tokens": 2, "completion_tokens": 2, "total_tokens": 4}));
    assert!(chunks.iter().all(|c| c["usage"].is_null() && c.get("usage").is_some()));
    assert_eq!(chunks.last().unwrap()["choices"][0]["finish_reason"], "length");
}

// ---------------------------------------------------------------------------------------------- refusals

#[tokio::test]
async fn requests_that_are_refused() {
    let served = serve(Behaviour::Echo);
    let long = json!({"prompt": "x".repeat(MAX_PROMPT_CHARS + 1)}).to_string();
    let large = format!(r#"{{"prompt":"{}"}}"#, "x".repeat(MAX_BODY_BYTES));
    let cases: &[(&str, &str, &str, u16, &str)] = &[
        ("empty body", "/infer", "", 400, "request.body.malformed"),
        ("not JSON", "/infer", "hello", 400, "request.body.malformed"),
        ("cut JSON", "/infer", r#"{"prompt":"a"#, 400, "request.body.malformed"),
        ("trailing bytes", "/infer", r#"{"prompt":"a"} x"#, 400, "request.body.malformed"),
        ("not UTF-8 escape", "/infer", r#"{"prompt":"\ud800"}"#, 400, "request.body.malformed"),
        ("a list", "/infer", "[]", 400, "request.body.shape"),
        ("prompt is a number", "/infer", r#"{"prompt":1}"#, 400, "request.body.shape"),
        ("prompt twice", "/infer", r#"{"prompt":"a","prompt":"b"}"#, 400, "request.body.shape"),
        ("tokens are text", "/infer", r#"{"prompt":"a","max_new_tokens":"9"}"#, 400, "request.body.shape"),
        ("tokens are negative", "/infer", r#"{"prompt":"a","max_new_tokens":-1}"#, 400, "request.body.shape"),
        ("no prompt", "/infer", "{}", 400, "request.field.missing"),
        ("null prompt", "/infer", r#"{"prompt":null}"#, 400, "request.field.missing"),
        ("unknown field", "/infer", r#"{"prompt":"a","temperature":1}"#, 400, "request.field.unknown"),
        ("empty prompt", "/infer", r#"{"prompt":""}"#, 400, "request.prompt.empty"),
        ("long prompt", "/infer", &long, 400, "request.prompt.too-long"),
        (
            "no tokens",
            "/infer",
            r#"{"prompt":"a","max_new_tokens":0}"#,
            400,
            "request.max-tokens.out-of-range",
        ),
        (
            "many tokens",
            "/infer",
            r#"{"prompt":"a","max_new_tokens":4097}"#,
            400,
            "request.max-tokens.out-of-range",
        ),
        (
            "absurd tokens",
            "/infer",
            r#"{"prompt":"a","max_new_tokens":4294967297}"#,
            400,
            "request.max-tokens.out-of-range",
        ),
        ("large body", "/infer", &large, 413, "request.body.too-large"),
        ("large body", CHAT, &large, 413, "request.body.too-large"),
        ("not JSON", CHAT, "{", 400, "request.body.malformed"),
        ("empty object", CHAT, "{}", 400, "request.field.missing"),
    ];
    for (name, path, body, status, code) in cases {
        let answer = served.post(path, (*body).to_owned()).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (*status, *code), "{path}: {name}");
    }
    assert!(served.stub.seen.lock().unwrap().is_empty(), "none reached the engine");
}

#[tokio::test]
async fn chat_requests_that_are_refused() {
    let served = serve(Behaviour::Echo);
    let message = |m: Value| json!({ "messages": [m] });
    let image = json!({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]});
    let unsupported = "request.field.unsupported";
    let range = "request.field.out-of-range";
    let cases: Vec<(Value, u16, &str, Option<&str>)> = vec![
        (json!({"model": null}), 400, "request.field.missing", Some("model")),
        (json!({"model": "other"}), 404, "request.model.unknown", Some("model")),
        (json!({"messages": null}), 400, "request.field.missing", Some("messages")),
        (json!({"messages": []}), 400, range, Some("messages")),
        (json!({"messages": "hello"}), 400, "request.body.shape", None),
        (json!({"top_k": 40}), 400, "request.field.unknown", None),
        (message(json!({"role": "user", "content": "a", "weight": 1})), 400, "request.field.unknown", None),
        (message(json!({"role": "wizard", "content": "a"})), 400, "request.body.shape", None),
        (message(json!({"role": "user<|im_end|>", "content": "a"})), 400, "request.body.shape", None),
        (message(json!({"role": "tool", "content": "a"})), 400, unsupported, Some("messages.role")),
        (message(json!({"role": "user"})), 400, "request.field.missing", Some("messages.content")),
        (message(json!({"role": "user", "content": 1})), 400, "request.body.shape", None),
        (message(image), 400, unsupported, Some("messages.content")),
        (
            message(json!({"role": "user", "content": "a", "name": "x"})),
            400,
            unsupported,
            Some("messages.name"),
        ),
        (
            message(json!({"role": "assistant", "content": "a", "tool_calls": [{}]})),
            400,
            unsupported,
            Some("messages.tool_calls"),
        ),
        (json!({"max_tokens": 0}), 400, "request.max-tokens.out-of-range", Some("max_tokens")),
        (
            json!({"max_completion_tokens": 5000}),
            400,
            "request.max-tokens.out-of-range",
            Some("max_completion_tokens"),
        ),
        (json!({"max_tokens": 1, "max_completion_tokens": 2}), 400, unsupported, Some("max_tokens")),
        (json!({"temperature": -0.1}), 400, range, Some("temperature")),
        (json!({"temperature": 2.1}), 400, range, Some("temperature")),
        (json!({"temperature": "hot"}), 400, "request.body.shape", None),
        (json!({"top_p": 0}), 400, range, Some("top_p")),
        (json!({"top_p": 1.1}), 400, range, Some("top_p")),
        (json!({"seed": 1.5}), 400, "request.body.shape", None),
        (json!({"stop": ["a", "b", "c", "d", "e"]}), 400, range, Some("stop")),
        (json!({"stop": ""}), 400, "engine.stop.invalid", None),
        (json!({"stop": "x".repeat(257)}), 400, "engine.stop.invalid", None),
        (json!({"n": 2}), 400, unsupported, Some("n")),
        (json!({"tools": [{"type": "function"}]}), 400, unsupported, Some("tools")),
        (json!({"tool_choice": "required"}), 400, unsupported, Some("tool_choice")),
        (json!({"functions": [{}]}), 400, unsupported, Some("functions")),
        (json!({"function_call": {"name": "f"}}), 400, unsupported, Some("function_call")),
        (json!({"response_format": {"type": "json_schema"}}), 400, unsupported, Some("response_format")),
        (json!({"response_format": {"type": "json_object"}}), 400, unsupported, Some("response_format")),
        (json!({"logprobs": true}), 400, unsupported, Some("logprobs")),
        (json!({"top_logprobs": 5}), 400, unsupported, Some("top_logprobs")),
        (json!({"logit_bias": {"50256": -100}}), 400, unsupported, Some("logit_bias")),
        (json!({"frequency_penalty": 0.5}), 400, unsupported, Some("frequency_penalty")),
        (json!({"presence_penalty": 0.5}), 400, unsupported, Some("presence_penalty")),
        (json!({"modalities": ["audio"]}), 400, unsupported, Some("modalities")),
        (json!({"audio": {}}), 400, unsupported, Some("audio")),
        (json!({"web_search_options": {}}), 400, unsupported, Some("web_search_options")),
        (json!({"reasoning_effort": "low"}), 400, unsupported, Some("reasoning_effort")),
        (json!({"verbosity": "low"}), 400, unsupported, Some("verbosity")),
        (json!({"stream_options": {"include_usage": true}}), 400, unsupported, Some("stream_options")),
        (json!({"stream": true, "stream_options": {"x": 1}}), 400, "request.field.unknown", None),
    ];
    for (extra, status, code, param) in cases {
        let answer = served.chat(extra.clone()).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (status, code), "{extra}");
        let error = &answer.json()["error"];
        assert_eq!(error["param"].as_str(), param, "{extra}");
        assert_eq!(error["type"], "invalid_request_error");
        assert_eq!(error.as_object().unwrap().len(), 4, "message, type, param, code");
    }
    assert!(served.stub.seen.lock().unwrap().is_empty(), "none reached the engine");
}

#[tokio::test]
async fn nonces_that_are_refused() {
    let served = serve(Behaviour::Echo);
    let good = "0".repeat(64);
    for (query, code) in [
        ("nonce=".to_owned(), "request.nonce"),
        (format!("nonce={}", &good[..62]), "request.nonce"),
        (format!("nonce={}", &good[..63]), "request.nonce"),
        (format!("nonce={good}0"), "request.nonce"),
        (format!("nonce={good}00"), "request.nonce"),
        (format!("nonce={}xx", &good[..62]), "request.nonce"),
        (format!("nonce=0x{}", &good[..62]), "request.nonce"),
        (format!("nonce={good}&nonce={good}"), "request.query"),
        (format!("nonce={good}&x=1"), "request.query"),
        (format!("Nonce={good}"), "request.query"),
        ("x=1".to_owned(), "request.query"),
        (String::new(), "request.query"),
    ] {
        let answer = served.get(&format!("/attest?{query}")).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (400, code), "{query}");
    }
    let answer = serve_with(Behaviour::Echo, Limits::default(), true).get("/attest").await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (503, "attester.no-device"));
}

#[tokio::test]
async fn content_types_methods_and_routes() {
    let served = serve(Behaviour::Echo);
    let body = r#"{"prompt":"a"}"#;
    for kind in
        ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", "", "application/json/x"]
    {
        let request =
            Request::post("/infer").header(header::CONTENT_TYPE, kind).body(Body::from(body)).unwrap();
        let answer = served.send(request).await;
        assert_eq!(
            (answer.status.as_u16(), answer.code().as_str()),
            (415, "request.content-type"),
            "{kind:?}"
        );
    }
    let answer = served.send(Request::post("/infer").body(Body::from(body)).unwrap()).await;
    assert_eq!(answer.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    for kind in ["application/json; charset=utf-8", "Application/JSON"] {
        let request =
            Request::post("/infer").header(header::CONTENT_TYPE, kind).body(Body::from(body)).unwrap();
        assert_eq!(served.send(request).await.status, StatusCode::OK, "{kind:?}");
    }

    for (method, path, allow) in [
        ("POST", "/health", "GET,HEAD"),
        ("POST", "/attest", "GET,HEAD"),
        ("GET", "/infer", "POST"),
        ("PUT", CHAT, "POST"),
        ("DELETE", "/v1/models", "GET,HEAD"),
        ("PATCH", "/metrics", "GET,HEAD"),
    ] {
        let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
        let answer = served.send(request).await;
        assert_eq!(
            (answer.status.as_u16(), answer.code().as_str()),
            (405, "request.method.not-allowed"),
            "{path}"
        );
        assert_eq!(answer.headers[header::ALLOW], allow, "{path}");
    }
    for path in
        ["/", "/healthz", "/health/", "/v1", "/v1/completions", "/v1/models/stub-1", "/infer?x/../attest/x/"]
    {
        let answer = served.get(path).await;
        if path.starts_with("/infer") {
            assert_eq!(answer.status.as_u16(), 405);
            continue;
        }
        assert_eq!(
            (answer.status.as_u16(), answer.code().as_str()),
            (404, "request.route.unknown"),
            "{path}"
        );
        assert_eq!(
            answer.json()["error"].get("type").is_some(),
            path.starts_with("/v1"),
            "{path}: OpenAI's form"
        );
    }
}

#[tokio::test]
async fn every_engine_error_has_its_status_and_code() {
    let io = std::io::ErrorKind::NotFound;
    let text = String::new;
    let cases = [
        (EngineError::QueueFull { capacity: 1 }, 429),
        (EngineError::PromptEmpty, 400),
        (EngineError::PromptTooLong { prompt_tokens: 9, context_tokens: 8 }, 400),
        (EngineError::PromptTooManyBytes { bytes: 9, limit: 8 }, 400),
        (EngineError::ContextOverflow { prompt_tokens: 7, max_new_tokens: 2, context_tokens: 8 }, 400),
        (EngineError::Stop(StopFault::Empty), 400),
        (EngineError::Temperature, 400),
        (EngineError::TopP, 400),
        (EngineError::NoMessages, 400),
        (EngineError::Template(TemplateFault::Refused), 400),
        (EngineError::Template(TemplateFault::TooLong), 400),
        (EngineError::Template(TemplateFault::Syntax), 500),
        (EngineError::Template(TemplateFault::Failed), 500),
        (EngineError::NoTemplate, 501),
        (EngineError::Stopped, 503),
        (EngineError::Unreadable { kind: io }, 500),
        (EngineError::NotGguf, 500),
        (EngineError::Gguf(GgufFault::NoTensors), 500),
        (EngineError::Refused { architecture: text() }, 500),
        (EngineError::NotDecoder { architecture: text() }, 500),
        (EngineError::Context { context_tokens: 1 }, 500),
        (EngineError::Cpu { feature: "AVX2" }, 500),
        (EngineError::Threads { threads: 2, cores: 1 }, 500),
        (EngineError::Thread { kind: io }, 500),
        (EngineError::Compute { status: 1 }, 500),
    ];
    for (error, status) in cases {
        assert_eq!(ApiError::Engine(error.clone()).status().as_u16(), status, "{error:?}");
        let served = serve(Behaviour::Fail(error.clone()));
        let bodies = [
            ("/infer", json!({"prompt": "a"})),
            (CHAT, chat_body(json!({}))),
            // Before the stream starts, so with a status.
            (CHAT, chat_body(json!({"stream": true}))),
        ];
        for (path, body) in bodies {
            let answer = served.post(path, body.to_string()).await;
            assert_eq!(
                (answer.status.as_u16(), answer.code().as_str()),
                (status, error.code()),
                "{path} {error:?}"
            );
            assert_eq!(answer.headers.get(header::RETRY_AFTER).is_some(), status == 429);
            let kind = match status {
                429 => "rate_limit_error",
                500.. => "server_error",
                _ => "invalid_request_error",
            };
            let shown = answer.json()["error"]["type"].as_str().map(str::to_owned);
            assert_eq!(shown.as_deref(), (path == CHAT).then_some(kind));
        }
    }
}

#[tokio::test]
async fn answers_that_break_off() {
    let served = serve(Behaviour::BreakOff);
    let answer = served.post("/infer", r#"{"prompt":"a"}"#).await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (500, "engine.compute.failed"));
    let answer = served.chat(json!({"stream": true})).await;
    assert_eq!(answer.status, StatusCode::OK, "the head was sent before");
    let events = events(answer.text());
    assert_eq!(events.len(), 3, "role, one piece, the error");
    let error = &events[2].as_ref().unwrap()["error"];
    assert_eq!((&error["code"], &error["type"]), (&json!("engine.compute.failed"), &json!("server_error")));
    assert!(!answer.text().contains("[DONE]"), "an answer that broke off does not look complete");

    for behaviour in [Behaviour::EndCancelled, Behaviour::Panic] {
        let panics = matches!(behaviour, Behaviour::Panic);
        let code = if panics { "engine.stopped" } else { "engine.interrupted" };
        let served = serve(behaviour);
        let answer = served.post("/infer", r#"{"prompt":"a"}"#).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (503, code));
        let answer = served.chat(json!({"stream": true})).await;
        assert!(answer.text().contains(code) && !answer.text().contains("[DONE]"));
    }
}

// ---------------------------------------------------------------------------------------------- cancellation

#[tokio::test]
async fn dropping_the_response_cancels_the_generation() {
    let served = serve(Behaviour::Hang);
    let request = post(CHAT, chat_body(json!({"stream": true})).to_string());
    let response = served.router.clone().oneshot(request).await.unwrap();
    let mut body = response.into_body().into_data_stream();
    assert!(body.next().await.unwrap().unwrap().starts_with(b"data: "));
    assert!(!served.stub.cancelled.load(Ordering::Acquire));
    drop(body);
    served.stub.wait_until_cancelled().await;
}

#[tokio::test]
async fn dropping_the_request_cancels_the_generation() {
    let served = serve(Behaviour::Hang);
    let call = served.router.clone().oneshot(post("/infer", r#"{"prompt":"a"}"#));
    assert!(tokio::time::timeout(Duration::from_millis(100), call).await.is_err());
    served.stub.wait_until_cancelled().await;
}

#[tokio::test]
async fn a_client_that_hangs_up_cancels_the_generation() {
    for body in [json!({"prompt": "a"}), chat_body(json!({})), chat_body(json!({"stream": true}))] {
        let served = serve(Behaviour::Hang);
        let address = listen(&served).await;
        let path = if body.get("prompt").is_some() { "/infer" } else { CHAT };
        let mut client = tokio::net::TcpStream::connect(address).await.unwrap();
        client.write_all(&raw_post(path, &body.to_string())).await.unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        while served.stub.seen.lock().unwrap().is_empty() {
            assert!(Instant::now() < deadline);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        assert!(!served.stub.cancelled.load(Ordering::Acquire));
        drop(client);
        served.stub.wait_until_cancelled().await;
    }
}

async fn listen(served: &Served) -> std::net::SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = served.router.clone();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

fn raw_post(path: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

// ---------------------------------------------------------------------------------------------- metrics

#[tokio::test]
async fn metrics_count_without_content() {
    let served = serve(Behaviour::Echo);
    served.get("/health").await;
    served.get("/health").await;
    served.get("/never-a-label").await;
    let infer = r#"{"prompt":"one two"}"#;
    served.post("/infer", infer).await;
    served.post("/infer", "nonsense").await;
    let chat = chat_body(json!({"stream": true})).to_string();
    served.post(CHAT, chat.clone()).await;
    let answer = served.get("/metrics").await;
    assert_eq!(answer.headers[header::CONTENT_TYPE], "text/plain; version=0.0.4; charset=utf-8");
    let body_bytes = infer.len() + "nonsense".len() + chat.len();
    assert_eq!(served.state.metrics.request_body_bytes(), body_bytes as u64);
    for line in [
        r#"casemate_requests_total{route="/health",status="200"} 2"#,
        r#"casemate_requests_total{route="/infer",status="200"} 1"#,
        r#"casemate_requests_total{route="/infer",status="400"} 1"#,
        r#"casemate_requests_total{route="/v1/chat/completions",status="200"} 1"#,
        r#"casemate_requests_total{route="other",status="404"} 1"#,
        &format!("casemate_request_body_bytes_total {body_bytes}"),
        "casemate_prompt_tokens_total 4",
        "casemate_generated_tokens_total 6",
        "casemate_engine_queue_depth 3",
        "# TYPE casemate_requests_total counter",
        "# TYPE casemate_engine_queue_depth gauge",
    ] {
        assert!(answer.text().lines().any(|l| l == line), "{line}\n{}", answer.text());
    }
    assert!(!answer.text().contains("never-a-label"));
}

#[tokio::test]
async fn bodies_of_refused_requests_are_counted() {
    let limits = Limits { body_bytes: 10, ..Limits::default() };
    let served = serve_with(Behaviour::Echo, limits, false);
    let answer = served.post("/infer", "x".repeat(11)).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(served.state.metrics.request_body_bytes(), 11);
    let request = Request::post("/infer").body(Body::from("12345")).unwrap();
    assert_eq!(served.send(request).await.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert_eq!(served.state.metrics.request_body_bytes(), 16);
    // A body that breaks off.
    let frames: Vec<Result<Bytes, std::io::Error>> =
        vec![Ok("1234".into()), Err(std::io::ErrorKind::BrokenPipe.into())];
    let body = Body::from_stream(futures_util::stream::iter(frames));
    let answer = served.post("/infer", body).await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (400, "request.body.unreadable"));
    assert_eq!(served.state.metrics.request_body_bytes(), 20);
}

// ---------------------------------------------------------------------------------------------- logs

/// Everything that any crate of this process traces, at every level: events and spans with all their fields.
struct Log {
    text: Mutex<String>,
    spans: AtomicUsize,
}

static LOG: LazyLock<Log> = LazyLock::new(|| Log { text: Mutex::default(), spans: AtomicUsize::new(1) });

impl Log {
    /// Also after a case failed while it read.
    fn text(&self) -> MutexGuard<'_, String> {
        self.text.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn install(&self) {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| tracing::subscriber::set_global_default(Capture).unwrap());
    }

    fn write(&self, name: &str, record: impl FnOnce(&mut Fields)) {
        let mut fields = Fields(name.to_owned());
        record(&mut fields);
        let mut text = self.text();
        text.push_str(&fields.0);
        text.push('\n');
    }
}

struct Fields(String);

impl tracing::field::Visit for Fields {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn fmt::Debug) {
        use std::fmt::Write;
        write!(self.0, " {}={value:?}", field.name()).unwrap();
    }
}

struct Capture;

impl tracing::Subscriber for Capture {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        LOG.write(span.metadata().name(), |fields| span.record(fields));
        tracing::span::Id::from_u64(LOG.spans.fetch_add(1, Ordering::Relaxed) as u64)
    }

    fn record(&self, _: &tracing::span::Id, values: &tracing::span::Record<'_>) {
        LOG.write("record", |fields| values.record(fields));
    }

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        LOG.write(event.metadata().target(), |fields| event.record(fields));
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

#[tokio::test]
async fn no_log_holds_a_prompt_or_an_answer() {
    // In pieces, so that this file is not what is found.
    let marker = ["xq7", "pineapple", "0Zk"].concat();
    let behaviours = [
        Behaviour::Echo,
        Behaviour::BreakOff,
        Behaviour::EndCancelled,
        Behaviour::Panic,
        Behaviour::Fail(EngineError::QueueFull { capacity: 1 }),
        Behaviour::Fail(EngineError::Template(TemplateFault::Refused)),
        Behaviour::Fail(EngineError::ContextOverflow {
            prompt_tokens: 1,
            max_new_tokens: 1,
            context_tokens: 1,
        }),
    ];
    let bodies = [
        ("/infer", json!({"prompt": marker}).to_string()),
        ("/infer", json!({"prompt": marker, "max_new_tokens": 0}).to_string()),
        ("/infer", json!({"prompt": marker.repeat(400)}).to_string()),
        ("/infer", json!({"prompt": {"x": marker}}).to_string()),
        ("/infer", json!({"prompt": "a", "max_new_tokens": marker}).to_string()),
        ("/infer", json!({ marker.as_str(): "a" }).to_string()),
        ("/infer", format!("{{\"prompt\":\"{marker}")),
        ("/infer", marker.clone()),
        (CHAT, chat_body(json!({"messages": [{"role": "user", "content": marker}]})).to_string()),
        (
            CHAT,
            chat_body(json!({"stream": true, "messages": [{"role": "user", "content": marker}]})).to_string(),
        ),
        (CHAT, chat_body(json!({"messages": [{"role": marker, "content": "a"}]})).to_string()),
        (
            CHAT,
            chat_body(json!({"messages": [{"role": "user", "content": [{"type": "text", "text": marker}]}]}))
                .to_string(),
        ),
        (CHAT, chat_body(json!({"messages": [{"role": "user", "content": [{"type": marker}]}]})).to_string()),
        (CHAT, chat_body(json!({"stop": marker})).to_string()),
        (CHAT, chat_body(json!({"stop": marker.repeat(30)})).to_string()),
        (CHAT, chat_body(json!({"model": marker})).to_string()),
        (CHAT, chat_body(json!({"user": marker, "metadata": {"a": marker}})).to_string()),
        (CHAT, chat_body(json!({"tools": [marker]})).to_string()),
        (CHAT, chat_body(json!({"seed": marker})).to_string()),
        (CHAT, chat_body(json!({ marker.as_str(): 1 })).to_string()),
    ];
    let mut answered = 0;
    for behaviour in behaviours {
        let served = serve(behaviour);
        let address = listen(&served).await;
        for (path, body) in &bodies {
            let direct = served.post(path, body.clone()).await;
            answered += usize::from(direct.text().contains(&marker));
            // And through a real server, for what its crates trace.
            let mut client = tokio::net::TcpStream::connect(address).await.unwrap();
            client.write_all(&raw_post(path, body)).await.unwrap();
            let mut answer = Vec::new();
            client.read_to_end(&mut answer).await.unwrap();
            assert!(answer.starts_with(b"HTTP/1.1 "));
        }
        let text = Request::post("/infer").body(Body::from(marker.clone())).unwrap();
        served.send(text).await;
        served.get(&format!("/attest?nonce={marker}")).await;
        served.get(&format!("/{marker}")).await;
        served.get(&format!("/v1/{marker}")).await;
        let metrics = served.get("/metrics").await;
        assert!(!metrics.text().contains(&marker));
    }
    assert!(answered >= 4, "the stub does echo the marker: {answered}");
    let log = LOG.text();
    assert!(
        log.contains("request.body.malformed") && log.contains("engine.queue.full"),
        "requests are logged"
    );
    assert!(!log.contains(&marker), "{}", log.lines().find(|l| l.contains(&marker)).unwrap_or_default());
    drop(log);
    // The capture works.
    tracing::trace!(probe = %marker);
    assert!(LOG.text().contains(&marker));
}
