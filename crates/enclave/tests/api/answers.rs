//! What good requests get.

use axum::http::{StatusCode, header};
use casemate_enclave::api::MAX_PROMPT_CHARS;
use casemate_enclave::{EndorsementHealth, EndorsementState};
use casemate_engine::{Input, Role, Sampling, TokenBudget};
use serde_json::{Value, json};

use crate::stub::{Behaviour, HEALTH, events, n, serve, serve_health};

#[tokio::test]
async fn health() {
    let answer = serve(Behaviour::Echo).get("/health").await;
    let endorsements = json!({
        "state": "fresh", "valid_until": 2_000_000_000, "last_success": 1_900_000_000, "last_error_code": null
    });
    let body = json!({"status": "ok", "endorsements": endorsements});
    assert_eq!((answer.status, answer.json()), (StatusCode::OK, body));
}

/// STAPLE-06, STAPLE-07: up while clients can be served, and down when they cannot.
#[tokio::test]
async fn health_says_how_the_endorsements_stand() {
    for (state, word, status, service) in [
        (EndorsementState::Fresh, "fresh", 200, "ok"),
        (EndorsementState::RefreshFailing, "refresh_failing", 200, "ok"),
        (EndorsementState::Expiring, "expiring", 200, "ok"),
        (EndorsementState::Expired, "expired", 503, "expired"),
    ] {
        let health = EndorsementHealth { state, last_error_code: Some("endorse.timeout"), ..HEALTH };
        let answer = serve_health(Some(health)).get("/health").await;
        let body = answer.json();
        assert_eq!((answer.status.as_u16(), body["status"].as_str()), (status, Some(service)), "{word}");
        assert_eq!(body["endorsements"]["state"], word);
        assert_eq!(body["endorsements"]["last_error_code"], "endorse.timeout");
    }
    let answer = serve_health(None).get("/health").await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (503, "attestation.clock"));
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
