//! `POST /v1/embeddings`, `/tokenize`, `/detokenize`, `/ready` and the OpenAPI document.

use std::time::{Duration, Instant};

use axum::http::{StatusCode, header};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use casemate_enclave::api::Limits;
use casemate_enclave::{EndorsementHealth, EndorsementState};
use casemate_engine::{EmbedInput, EngineError, ProcessEnd};
use serde_json::{Value, json};

use crate::logs::LOG;
use crate::stub::{Answer, Behaviour, HEALTH, Served, serve, serve_health, serve_with};

const PATH: &str = "/v1/embeddings";

async fn embed(served: &Served, extra: Value) -> Answer {
    let mut body = json!({"model": "stub-1", "input": "a b"});
    for (key, value) in extra.as_object().unwrap() {
        body[key] = value.clone();
    }
    served.post(PATH, body.to_string()).await
}

#[tokio::test]
async fn every_form_of_input_has_its_vectors_in_order() {
    let served = serve(Behaviour::Embed);
    let cases: [(Value, &[usize]); 7] = [
        (json!("a b"), &[3]),
        (json!(["a", "bc"]), &[1, 2]),
        (json!([1, 2, 3, 4]), &[4]),
        (json!([[1, 2], [3], [4, 5, 6]]), &[2, 1, 3]),
        (json!(["a", [1, 2]]), &[1, 2]),
        (json!(["\u{0}\u{ffff}"]), &[4]),
        (json!([""]), &[0]),
    ];
    for (input, sizes) in cases {
        let answer = embed(&served, json!({"input": input, "user": {"any": "thing"}})).await;
        assert_eq!(answer.status, StatusCode::OK, "{input}");
        let total: usize = sizes.iter().sum();
        let vector = |(index, size): (usize, &usize)| json!({"object": "embedding", "index": index, "embedding": [*size as f64, 0.5, -0.25]});
        let expected = json!({
            "object": "list",
            "data": sizes.iter().enumerate().map(vector).collect::<Vec<_>>(),
            "model": "stub-1",
            "usage": {"prompt_tokens": total, "total_tokens": total},
        });
        assert_eq!(answer.json(), expected, "{input}");
    }
}

#[tokio::test]
async fn vectors_come_in_base64_too() {
    let served = serve(Behaviour::Embed);
    let answer = embed(&served, json!({"encoding_format": "base64", "dimensions": 3})).await;
    let text = answer.json()["data"][0]["embedding"].as_str().unwrap().to_owned();
    let numbers = BASE64_STANDARD.decode(text).unwrap();
    let numbers: Vec<f32> = numbers.chunks(4).map(|n| f32::from_le_bytes(n.try_into().unwrap())).collect();
    assert_eq!(numbers, [3.0, 0.5, -0.25]);
    assert!(
        matches!(&served.stub.embedded.lock().unwrap()[0].inputs[0], EmbedInput::Text(text) if text == "a b")
    );
}

#[tokio::test]
async fn one_mistake_each_is_refused_by_name() {
    let served = serve(Behaviour::Embed);
    let cases = [
        (json!({"model": null}), 400, "request.field.missing"),
        (json!({"model": "other"}), 404, "request.model.unknown"),
        (json!({"input": null}), 400, "request.field.missing"),
        (json!({"input": []}), 400, "request.field.out-of-range"),
        (json!({"input": vec!["a"; 2049]}), 400, "request.field.out-of-range"),
        (json!({"input": 7}), 400, "request.body.shape"),
        (json!({"input": {"text": "a"}}), 400, "request.body.shape"),
        (json!({"input": ["a", 1]}), 400, "request.body.shape"),
        (json!({"input": [[1], 1]}), 400, "request.body.shape"),
        (json!({"input": [1.5]}), 400, "request.body.shape"),
        (json!({"input": [["a"]]}), 400, "request.body.shape"),
        (json!({"input": [[[1]]]}), 400, "request.body.shape"),
        (json!({"input": [-1]}), 400, "engine.token.unknown"),
        (json!({"input": [u64::MAX]}), 400, "engine.token.unknown"),
        (json!({"encoding_format": "int8"}), 400, "request.field.out-of-range"),
        (json!({"dimensions": 2}), 400, "request.field.unsupported"),
        (json!({"dimensions": -1}), 400, "request.body.shape"),
        (json!({"truncate": true}), 400, "request.field.unknown"),
    ];
    for (extra, status, code) in cases {
        let answer = embed(&served, extra.clone()).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (status, code), "{extra}");
    }
}

#[tokio::test]
async fn failures_of_the_engine_have_their_status() {
    for (error, status) in [
        (EngineError::InputTooLong { tokens: 9, limit: 8 }, 400),
        (EngineError::InputsTooLong { limit: 8 }, 400),
        (EngineError::PromptEmpty, 400),
        (EngineError::QueueFull { capacity: 32 }, 429),
        (EngineError::NoVector, 500),
        (EngineError::Ended(ProcessEnd::Signal(9)), 503),
        (EngineError::Cancelled, 503),
    ] {
        let served = serve(Behaviour::FailEmbedding(error.clone()));
        let answer = embed(&served, json!({})).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (status, error.code()));
        assert_eq!(answer.headers.contains_key(header::RETRY_AFTER), status == 429);
    }
    // A model that answers makes no vectors, and says so before anything is computed.
    let served = serve(Behaviour::Echo);
    let answer = embed(&served, json!({})).await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (501, "engine.embeddings.unavailable"));
}

#[tokio::test]
async fn vectors_count_and_leave_no_trace() {
    let served = serve(Behaviour::Embed);
    let marker = "vermilion-otter-embedded";
    embed(&served, json!({"input": [marker, "x"]})).await;
    embed(&served, json!({"input": {"text": marker}})).await;
    let metrics = served.get("/metrics").await;
    let line = format!("casemate_prompt_tokens_total {}", marker.len() + 1);
    assert!(metrics.text().lines().any(|l| l == line), "{}", metrics.text());
    assert!(metrics.text().contains(r#"casemate_requests_total{route="/v1/embeddings",status="400"} 1"#));
    assert!(!LOG.text().contains(marker));
}

#[tokio::test]
async fn a_client_that_goes_away_ends_the_work() {
    let served = serve(Behaviour::HangEmbedding);
    let asked = tokio::time::timeout(Duration::from_millis(200), embed(&served, json!({}))).await;
    assert!(asked.is_err(), "it hangs");
    served.stub.wait_until_cancelled().await;
}

#[tokio::test]
async fn texts_become_tokens_and_back() {
    let served = serve(Behaviour::Echo);
    let answer = served.post("/tokenize", r#"{"content":"ab"}"#).await;
    assert_eq!(answer.json(), json!({"tokens": [97, 98], "count": 2, "max_model_len": 2048}));
    let answer =
        served.post("/tokenize", r#"{"content":"a","add_special":true,"parse_special":false}"#).await;
    assert_eq!(answer.json()["tokens"], json!([1, 97]));
    let answer = served.post("/detokenize", r#"{"tokens":[97,98]}"#).await;
    assert_eq!(answer.json(), json!({"content": "ab"}));
    for (path, body, code) in [
        ("/tokenize", r#"{}"#, "request.field.missing"),
        ("/tokenize", r#"{"content":7}"#, "request.body.shape"),
        ("/tokenize", r#"{"content":"a","with_pieces":true}"#, "request.field.unknown"),
        ("/tokenize", r#"{"content":"a","parse_special":true}"#, "request.field.unsupported"),
        ("/detokenize", r#"{}"#, "request.field.missing"),
        ("/detokenize", r#"{"tokens":["a"]}"#, "request.body.shape"),
        ("/detokenize", r#"{"tokens":[-1]}"#, "request.body.shape"),
        ("/detokenize", r#"{"tokens":[4294967296]}"#, "engine.token.unknown"),
    ] {
        let answer = served.post(path, body).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (400, code), "{path} {body}");
    }
}

#[tokio::test]
async fn one_model_is_shown_by_its_name() {
    let served = serve(Behaviour::Echo);
    let all = served.get("/v1/models").await.json();
    assert_eq!(served.get("/v1/models/stub-1").await.json(), all["data"][0]);
    assert_eq!(served.get("/v1/models/stub%2D1").await.status, StatusCode::OK);
    for name in ["other", "stub-1%20", "%ff"] {
        let answer = served.get(&format!("/v1/models/{name}")).await;
        assert_eq!(
            (answer.status.as_u16(), answer.code().as_str()),
            (404, "request.model.unknown"),
            "{name}"
        );
    }
    assert_eq!(served.get("/v1/models/a/b").await.code(), "request.route.unknown");
    let metrics = served.get("/metrics").await;
    let line = r#"casemate_requests_total{route="/v1/models/{model}",status="404"} 3"#;
    assert!(metrics.text().lines().any(|l| l == line), "{}", metrics.text());
}

#[tokio::test]
async fn ready_is_more_than_alive() {
    let answer = serve(Behaviour::Echo).get("/ready").await;
    assert_eq!((answer.status, answer.json()), (StatusCode::OK, json!({"status": "ready"})));
    let ended = EngineError::Ended(ProcessEnd::Exit(1));
    let expired = EndorsementHealth { state: EndorsementState::Expired, ..HEALTH };
    for (served, code) in [
        (serve(Behaviour::Fail(ended)), "engine.process.ended"),
        (serve_health(Some(expired)), "staple.expired"),
        (serve_health(None), "attestation.clock"),
        (serve_with(Behaviour::Echo, Limits::default(), true), "attester.no-device"),
    ] {
        let answer = served.get("/ready").await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (503, code));
    }
}

/// SRV-62.
#[tokio::test]
async fn a_server_that_was_told_to_stop_still_answers() {
    let served = serve(Behaviour::Echo);
    let draining = served.state.draining.clone();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let closing = tokio::spawn(draining.after(async { stopped.await.unwrap() }, Duration::from_millis(200)));
    let before = served.get("/ready").await;
    assert_eq!((before.status, before.headers.get("connection")), (StatusCode::OK, None));
    let told = Instant::now();
    stop.send(()).unwrap();
    let learnt = async {
        while served.get("/ready").await.status == StatusCode::OK {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), learnt).await.expect("/ready refuses");
    assert_eq!(served.get("/ready").await.code(), "serve.draining");
    let answer = served.get("/v1/models").await;
    assert_eq!(
        (answer.status, answer.headers.get("connection").unwrap()),
        (StatusCode::OK, &"close".parse().unwrap())
    );
    closing.await.unwrap();
    assert!(told.elapsed() >= Duration::from_millis(200), "it closes no earlier");
}

#[tokio::test]
async fn the_document_names_the_model() {
    let document = serve(Behaviour::Echo).get("/openapi.json").await.json();
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(document["components"]["schemas"]["Model"]["enum"], json!(["stub-1"]));
}
