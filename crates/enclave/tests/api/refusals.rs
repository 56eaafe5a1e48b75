//! What other requests get: one mistake each.

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use casemate_enclave::api::{ApiError, Limits, MAX_BODY_BYTES, MAX_PROMPT_CHARS};
use casemate_engine::{
    EngineError, GgufFault, ProcessEnd, SchemaFault, StopFault, TemplateFault, UpstreamFault,
};
use serde_json::{Value, json};

use crate::stub::{Behaviour, CHAT, chat_body, events, serve, serve_with};

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
    let held = |schema: Value| json!({"response_format": {"type": "json_schema", "json_schema": schema}});
    let unsupported = "request.field.unsupported";
    let range = "request.field.out-of-range";
    let cases: Vec<(Value, u16, &str, Option<&str>)> = vec![
        (json!({"model": null}), 400, "request.field.missing", Some("model")),
        (json!({"model": "other"}), 404, "request.model.unknown", Some("model")),
        (json!({"messages": null}), 400, "request.field.missing", Some("messages")),
        (json!({"messages": []}), 400, range, Some("messages")),
        (json!({"messages": "hello"}), 400, "request.body.shape", None),
        (json!({"top_a": 40}), 400, "request.field.unknown", None),
        (message(json!({"role": "user", "content": "a", "weight": 1})), 400, "request.field.unknown", None),
        (message(json!({"role": "wizard", "content": "a"})), 400, "request.body.shape", None),
        (message(json!({"role": "user<|im_end|>", "content": "a"})), 400, "request.body.shape", None),
        (message(json!({"role": "function", "content": "a"})), 400, unsupported, Some("messages.role")),
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
            "request.field.missing",
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
        (json!({"n": 0}), 400, range, Some("n")),
        (json!({"n": 17}), 400, range, Some("n")),
        (json!({"tools": [{"type": "function"}]}), 400, unsupported, Some("tools")),
        (json!({"tool_choice": "required"}), 400, "request.field.missing", Some("tools")),
        (json!({"functions": [{}]}), 400, unsupported, Some("functions")),
        (json!({"function_call": {"name": "f"}}), 400, unsupported, Some("function_call")),
        (json!({"response_format": {}}), 400, "request.field.missing", Some("response_format.type")),
        (json!({"response_format": {"type": "yaml"}}), 400, unsupported, Some("response_format")),
        (json!({"response_format": "json"}), 400, "request.body.shape", None),
        (json!({"response_format": {"type": "text", "schema": {}}}), 400, "request.field.unknown", None),
        (
            json!({"response_format": {"type": "json_object", "json_schema": {}}}),
            400,
            unsupported,
            Some("response_format"),
        ),
        (
            json!({"response_format": {"type": "json_schema"}}),
            400,
            "request.field.missing",
            Some("response_format.json_schema"),
        ),
        (held(json!({"schema": {}})), 400, "request.field.missing", Some("response_format.json_schema.name")),
        (
            held(json!({"name": "a"})),
            400,
            "request.field.missing",
            Some("response_format.json_schema.schema"),
        ),
        (held(json!({"name": "a b", "schema": {}})), 400, range, Some("response_format.json_schema.name")),
        (held(json!({"name": "a", "schema": []})), 400, "engine.schema.invalid", None),
        (held(json!({"name": "a", "schema": "{}"})), 400, "engine.schema.invalid", None),
        (held(json!({"name": "a", "schema": {"x-guidance": {}}})), 400, "engine.schema.invalid", None),
        (held(json!({"name": "a", "schema": {"enum": vec![0; 4096]}})), 400, "engine.schema.too-large", None),
        (
            held(json!({"name": "a", "schema": {"title": "x".repeat(1 << 16)}})),
            400,
            "engine.schema.too-large",
            None,
        ),
        (json!({"top_logprobs": 5}), 400, unsupported, Some("top_logprobs")),
        (json!({"logprobs": true, "top_logprobs": 21}), 400, range, Some("top_logprobs")),
        (json!({"logprobs": 3}), 400, "request.body.shape", None),
        (json!({"logit_bias": {"50256": -101}}), 400, range, Some("logit_bias")),
        (json!({"logit_bias": {"the": 1}}), 400, "request.body.malformed", None),
        (json!({"logit_bias": [1]}), 400, "request.body.shape", None),
        (json!({"frequency_penalty": 2.1}), 400, range, Some("frequency_penalty")),
        (json!({"presence_penalty": -2.1}), 400, range, Some("presence_penalty")),
        (json!({"min_p": 1.1}), 400, range, Some("min_p")),
        (json!({"top_k": -1}), 400, "request.body.shape", None),
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

/// Deeper than a JSON parser goes, which has no name for it.
#[tokio::test]
async fn a_deep_schema_is_refused_by_its_name() {
    let served = serve(Behaviour::Echo);
    for depth in [65, 100, 100_000] {
        let schema = format!("{}true{}", r#"{"items":"#.repeat(depth), "}".repeat(depth));
        let format = format!(r#"{{"type":"json_schema","json_schema":{{"name":"a","schema":{schema}}}}}"#);
        let body = chat_body(json!({})).to_string();
        let body = format!(r#"{},"response_format":{format}}}"#, body.strip_suffix('}').unwrap());
        let answer = served.post(CHAT, body).await;
        assert_eq!(
            (answer.status.as_u16(), answer.code().as_str()),
            (400, "engine.schema.too-large"),
            "{depth}"
        );
    }
}

#[tokio::test]
async fn completions_that_are_refused() {
    let served = serve(Behaviour::Echo);
    let unsupported = "request.field.unsupported";
    let range = "request.field.out-of-range";
    let cases: Vec<(Value, u16, &str, Option<&str>)> = vec![
        (json!({"model": null}), 400, "request.field.missing", Some("model")),
        (json!({"model": "other"}), 404, "request.model.unknown", Some("model")),
        (json!({"prompt": null}), 400, "request.field.missing", Some("prompt")),
        (json!({"prompt": []}), 400, range, Some("prompt")),
        (json!({"prompt": vec!["a"; 17]}), 400, range, Some("prompt")),
        // Tokens could be control tokens.
        (json!({"prompt": [1, 2]}), 400, unsupported, Some("prompt")),
        (json!({"prompt": [[1, 2], [3]]}), 400, unsupported, Some("prompt")),
        (json!({"prompt": ["a", 2]}), 400, unsupported, Some("prompt")),
        (json!({"prompt": {"a": 1}}), 400, "request.body.shape", None),
        (json!({"messages": []}), 400, "request.field.unknown", None),
        (json!({"echo": true}), 400, unsupported, Some("echo")),
        (json!({"suffix": "x"}), 400, unsupported, Some("suffix")),
        (json!({"best_of": 3}), 400, unsupported, Some("best_of")),
        (json!({"logprobs": 6}), 400, range, Some("logprobs")),
        (json!({"max_tokens": 0}), 400, "request.max-tokens.out-of-range", Some("max_tokens")),
        (json!({"temperature": 3}), 400, range, Some("temperature")),
        (json!({"stop": vec!["a"; 5]}), 400, range, Some("stop")),
        (json!({"stream_options": {}}), 400, unsupported, Some("stream_options")),
    ];
    for (extra, status, code, param) in cases {
        let answer = served.complete(extra.clone()).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (status, code), "{extra}");
        assert_eq!(answer.json()["error"]["param"].as_str(), param, "{extra}");
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
        ("DELETE", "/v1/models/stub-1", "GET,HEAD"),
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
    for path in [
        "/",
        "/healthz",
        "/health/",
        "/v1",
        "/v1/completion",
        "/v1/models/",
        "/v1/models/a/b",
        "/infer?x/../attest/x/",
    ] {
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
async fn a_dead_engine_shows_in_health() {
    for error in [EngineError::Ended(ProcessEnd::Exit(1)), EngineError::Hung { seconds: 60 }] {
        let answer = serve(Behaviour::Fail(error.clone())).get("/health").await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (503, error.code()));
    }
}

#[tokio::test]
async fn every_engine_error_has_its_status_and_code() {
    let io = std::io::ErrorKind::NotFound;
    let text = String::new;
    let cases = [
        (EngineError::QueueFull { capacity: 1 }, 429),
        (EngineError::Upstream(UpstreamFault::Busy), 429),
        (EngineError::Upstream(UpstreamFault::Refused { status: 422 }), 400),
        (EngineError::Upstream(UpstreamFault::Untold { field: "top_k" }), 400),
        (EngineError::Upstream(UpstreamFault::Failed { status: 500 }), 502),
        (EngineError::Upstream(UpstreamFault::Answer { what: "x" }), 502),
        (EngineError::Upstream(UpstreamFault::Silent { seconds: 60 }), 504),
        (EngineError::Upstream(UpstreamFault::NotReady), 503),
        (EngineError::Upstream(UpstreamFault::Unreachable), 503),
        (EngineError::PromptEmpty, 400),
        (EngineError::PromptTooLong { prompt_tokens: 9, context_tokens: 8 }, 400),
        (EngineError::PromptTooManyBytes { bytes: 9, limit: 8 }, 400),
        (EngineError::ContextOverflow { prompt_tokens: 7, max_new_tokens: 2, context_tokens: 8 }, 400),
        (EngineError::Stop(StopFault::Empty), 400),
        (EngineError::Temperature, 400),
        (EngineError::TopP, 400),
        (EngineError::MinP, 400),
        (EngineError::Penalty, 400),
        (EngineError::Bias { limit: 1024 }, 400),
        (EngineError::NoMessages, 400),
        (EngineError::Template(TemplateFault::Refused), 400),
        (EngineError::Template(TemplateFault::TooLong), 400),
        (EngineError::Template(TemplateFault::Syntax), 500),
        (EngineError::Template(TemplateFault::Failed), 500),
        (EngineError::Schema(SchemaFault::NotAnObject), 400),
        (EngineError::Schema(SchemaFault::Refused), 400),
        (EngineError::Schema(SchemaFault::Bytes { bytes: 9, limit: 8 }), 400),
        (EngineError::Schema(SchemaFault::Nesting { limit: 8 }), 400),
        (EngineError::Schema(SchemaFault::Values { values: 9, limit: 8 }), 400),
        (EngineError::Schema(SchemaFault::References { limit: 8 }), 400),
        (EngineError::Schema(SchemaFault::Work), 400),
        (EngineError::Schema(SchemaFault::Unavailable), 501),
        (EngineError::NoTemplate, 501),
        (EngineError::Stopped, 503),
        (EngineError::Ended(ProcessEnd::Signal(9)), 503),
        (EngineError::Hung { seconds: 1 }, 503),
        (EngineError::Protocol { what: "x" }, 503),
        (EngineError::Reported { code: "engine.model.refused", text: text() }, 500),
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
