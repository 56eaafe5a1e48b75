//! Counters hold numbers and nothing else.

use axum::body::{Body, Bytes};
use axum::http::{Request, StatusCode, header};
use casemate_enclave::api::Limits;
use serde_json::json;

use crate::stub::{Behaviour, CHAT, chat_body, serve, serve_health, serve_with};

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
        "casemate_requests_waiting 0",
        "casemate_requests_running 0",
        "casemate_prefix_cache_hits_total 0",
        "casemate_prefix_cache_tokens_total 0",
        "# TYPE casemate_time_to_first_token_seconds histogram",
        "casemate_time_to_first_token_seconds_count 2",
        r#"casemate_time_to_first_token_seconds_bucket{le="+Inf"} 2"#,
        // "echo ", "one " and "two"; "echo ", "a " and "b".
        "casemate_inter_token_latency_seconds_count 4",
        r#"casemate_inter_token_latency_seconds_bucket{le="30"} 4"#,
        "casemate_queue_wait_seconds_count 2",
        "casemate_evidence_age_seconds 11",
        "casemate_endorsements_valid_until_seconds 2000000000",
        "casemate_endorsements_last_refresh_seconds 1900000000",
        "casemate_endorsement_refresh_failures_total 3",
        "# TYPE casemate_endorsements_valid_until_seconds gauge",
        "# TYPE casemate_endorsement_refresh_failures_total counter",
        "# TYPE casemate_requests_total counter",
        "# TYPE casemate_engine_queue_depth gauge",
    ] {
        assert!(answer.text().lines().any(|l| l == line), "{line}\n{}", answer.text());
    }
    assert!(!answer.text().contains("never-a-label"));
    assert!(
        !answer.text().contains("casemate_api_keys"),
        "a server without tenants has no keys to read anew"
    );
}

#[tokio::test]
async fn requests_that_wait_and_run_are_counted_while_they_do() {
    let served = serve(Behaviour::Hang);
    let request = served.chat(json!({"max_tokens": 5}));
    let watched = async {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while !served.get("/metrics").await.text().contains("casemate_requests_running 1") {
            assert!(std::time::Instant::now() < deadline);
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        _ = request => panic!("it hangs"),
        () = watched => {}
    }
    served.stub.wait_until_cancelled().await;
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while !served.get("/metrics").await.text().contains("casemate_requests_running 0") {
        assert!(std::time::Instant::now() < deadline);
    }
    // One that is refused has not started, and waits no more.
    let refused = serve(Behaviour::Fail(casemate_engine::EngineError::PromptEmpty));
    refused.chat(json!({})).await;
    let text = refused.get("/metrics").await.text().to_owned();
    assert!(
        text.contains("casemate_requests_waiting 0") && text.contains("casemate_queue_wait_seconds_count 0")
    );
}

#[tokio::test]
async fn reading_the_keys_anew_is_counted() {
    let tenants = casemate_enclave::Tenants::new(&casemate_enclave::ApiKeysFile::default(), [7; 32]);
    assert!(tenants.reload(std::path::Path::new("/nonexistent")).is_err());
    let served = crate::stub::serve_tenants(Behaviour::Echo, tenants);
    let text = served.get("/metrics").await.text().to_owned();
    for line in [
        "casemate_api_keys_reloads_total 0",
        "casemate_api_keys_reload_failures_total 1",
        "casemate_api_keys_stale 1",
    ] {
        assert!(text.lines().any(|l| l == line), "{line}\n{text}");
    }
}

#[tokio::test]
async fn without_a_time_there_are_no_gauges_of_dates() {
    let answer = serve_health(None).get("/metrics").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert!(answer.text().contains("casemate_engine_queue_depth 3"));
    assert!(!answer.text().contains("casemate_endorsement"), "{}", answer.text());
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
