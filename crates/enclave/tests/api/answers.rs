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
    assert_eq!((request.sampling, request.budget), (Sampling::greedy(), TokenBudget::UpTo(n(256))));
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
        "usage": usage(2, 3),
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
    assert_eq!(request(json!({})).await.sampling, Sampling::greedy());
    assert_eq!(request(json!({})).await.budget, TokenBudget::UpTo(n(4096)));
    assert_eq!(request(json!({"max_tokens": 7})).await.budget, TokenBudget::Exact(n(7)));
    assert_eq!(request(json!({"max_completion_tokens": 8})).await.budget, TokenBudget::Exact(n(8)));
    assert_eq!(
        request(json!({"max_completion_tokens": 8, "max_tokens": 8})).await.budget,
        TokenBudget::Exact(n(8))
    );
    let greedy = json!({"temperature": 0, "top_p": 0.5, "seed": 9});
    assert_eq!(request(greedy).await.sampling, Sampling::greedy());
    let random = json!({"temperature": 0.5, "top_p": 0.25, "seed": 9});
    assert_eq!(request(random).await.sampling, Sampling::random(0.5, 0.25, 9));
    let all = json!({
        "temperature": 0.5, "top_k": 40, "min_p": 0.25, "frequency_penalty": -2, "presence_penalty": 1.5, "seed": -1,
        "logit_bias": {"50256": -100, "7": 2.5},
    });
    let expected = Sampling {
        bias: vec![(7, 2.5), (50256, -100.0)],
        frequency_penalty: -2.0,
        presence_penalty: 1.5,
        top_k: 40,
        min_p: 0.25,
        ..Sampling::random(0.5, 1.0, u64::MAX)
    };
    assert_eq!(request(all).await.sampling, expected);
    assert_eq!(request(json!({"logprobs": true})).await.logprobs, Some(0));
    assert_eq!(request(json!({"logprobs": true, "top_logprobs": 20})).await.logprobs, Some(20));
    assert_eq!(request(json!({"logprobs": false, "top_logprobs": 0})).await.logprobs, None);
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

/// SRV-40: the schema reaches the engine as it was written.
#[tokio::test]
async fn chat_answers_are_held_to_a_format() {
    let served = serve(Behaviour::Echo);
    let asked = async |format: Value| {
        let answer = served.chat(json!({"response_format": format})).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        served.stub.last().schema.map(|schema| schema.as_str().to_owned())
    };
    assert_eq!(asked(json!(null)).await, None);
    assert_eq!(asked(json!({"type": "text"})).await, None);
    assert_eq!(asked(json!({"type": "json_object"})).await.as_deref(), Some(r#"{"type":"object"}"#));
    let schema = json!({"type": "object", "required": ["b", "a"]});
    for strict in [json!(null), json!(true), json!(false)] {
        let format = json!({"name": "a-B_1", "description": "x", "strict": strict, "schema": schema});
        let found = asked(json!({"type": "json_schema", "json_schema": format})).await;
        assert_eq!(found, Some(schema.to_string()));
    }
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
    assert_eq!(last["usage"], usage(2, 2));
    assert!(chunks.iter().all(|c| c["usage"].is_null() && c.get("usage").is_some()));
    assert_eq!(chunks.last().unwrap()["choices"][0]["finish_reason"], "length");
}

fn usage(prompt: u32, completion: u32) -> Value {
    json!({
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": 0},
    })
}

#[tokio::test]
async fn several_answers_to_one_request() {
    let served = serve(Behaviour::Echo);
    let body = served.chat(json!({"n": 3, "temperature": 1, "seed": 7})).await.json();
    let indices: Vec<_> = body["choices"].as_array().unwrap().iter().map(|c| c["index"].clone()).collect();
    assert_eq!(indices, [0, 1, 2]);
    assert!(body["choices"].as_array().unwrap().iter().all(|c| c["message"]["content"] == "echo a b"));
    // The prompt counts once.
    assert_eq!(body["usage"], usage(2, 9));
    let mut seeds: Vec<_> = served.stub.seen.lock().unwrap().iter().map(|r| r.sampling.seed).collect();
    seeds.sort_unstable();
    assert_eq!(seeds, [7, 8, 9], "each has its own, and the request its sequence");

    let body = json!({"n": 2, "stream": true, "stream_options": {"include_usage": true}});
    let answer = served.chat(body).await;
    let events = events(answer.text());
    assert_eq!(events.last(), Some(&None), "[DONE] ends it, once");
    let chunks: Vec<Value> = events.into_iter().flatten().collect();
    for index in 0..2 {
        let own = chunks.iter().map(|c| &c["choices"][0]).filter(|c| c["index"] == index);
        let text: String = own.clone().filter_map(|c| c["delta"]["content"].as_str()).collect();
        assert_eq!(text, "echo a b");
        assert_eq!(own.filter(|c| c["finish_reason"] == "stop").count(), 1);
    }
    assert_eq!(chunks.last().unwrap()["usage"]["completion_tokens"], 6);
}

#[tokio::test]
async fn probabilities_have_openais_shape() {
    let served = serve(Behaviour::Echo);
    let token =
        |text: &str, logprob: f32| json!({"token": text, "logprob": logprob, "bytes": text.as_bytes()});
    let expected = |text: &str| {
        let mut expected = token(text, -0.5);
        expected["top_logprobs"] = json!([token("x", -1.0), token("x", -2.0)]);
        expected
    };
    let body = json!({"logprobs": true, "top_logprobs": 2, "max_tokens": 2});
    let choice = served.chat(body).await.json()["choices"][0].take();
    assert_eq!(choice["logprobs"], json!({"content": [expected("echo "), expected("a ")], "refusal": null}));
    let answer = served.chat(json!({"logprobs": true, "top_logprobs": 2, "stream": true})).await;
    let chunks: Vec<Value> = events(answer.text()).into_iter().flatten().collect();
    assert_eq!(chunks[0]["choices"][0]["logprobs"], Value::Null);
    assert_eq!(chunks[1]["choices"][0]["logprobs"]["content"], json!([expected("echo ")]));
    assert_eq!(chunks[2]["choices"][0]["logprobs"]["content"], json!([expected("a ")]));
    assert_eq!(chunks[4]["choices"][0]["logprobs"], Value::Null);
}

#[tokio::test]
async fn completions_have_openais_shape() {
    let served = serve(Behaviour::Echo);
    let mut body = served.complete(json!({})).await.json();
    assert!(body["id"].take().as_str().unwrap().starts_with("cmpl-"));
    assert!(body["created"].take().as_u64().unwrap() > 1_700_000_000);
    let expected = json!({
        "id": null,
        "object": "text_completion",
        "created": null,
        "model": "stub-1",
        "choices": [{"index": 0, "text": "echo a b", "logprobs": null, "finish_reason": "stop"}],
        "usage": usage(2, 3),
    });
    assert_eq!(body, expected);
    let seen = served.stub.last();
    assert!(matches!(seen.input, Input::Raw(text) if text == "a b"), "as it is, without a template");
    assert_eq!(seen.budget, TokenBudget::Exact(n(16)));

    // Several prompts, each with its answers, in order.
    let body = served.complete(json!({"prompt": ["a", "b c"], "n": 2, "best_of": 2})).await.json();
    let texts: Vec<_> = body["choices"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| (&c["index"], c["text"].as_str().unwrap()))
        .collect();
    let expected =
        [(&json!(0), "echo a"), (&json!(1), "echo a"), (&json!(2), "echo b c"), (&json!(3), "echo b c")];
    assert_eq!(texts, expected);
    assert_eq!(body["usage"], usage(3, 10));

    let logprobs = served.complete(json!({"logprobs": 1})).await.json()["choices"][0]["logprobs"].take();
    let expected = json!({
        "tokens": ["echo ", "a ", "b"],
        "token_logprobs": [-0.5, -0.5, -0.5],
        "top_logprobs": [{"x": -1.0}, {"x": -1.0}, {"x": -1.0}],
        "text_offset": [0, 5, 7],
    });
    assert_eq!(logprobs, expected);

    let answer = served.complete(json!({"stream": true, "logprobs": 0})).await;
    let chunks: Vec<Value> = events(answer.text()).into_iter().flatten().collect();
    let texts: Vec<_> = chunks.iter().map(|c| c["choices"][0]["text"].clone()).collect();
    assert_eq!(texts, ["echo ", "a ", "b", ""]);
    assert_eq!(
        chunks[1]["choices"][0]["logprobs"]["text_offset"],
        json!([5]),
        "it goes on where the last one ended"
    );
    assert!(chunks.iter().all(|c| c["object"] == "text_completion"));
    // Fields that change nothing.
    let same = json!({"echo": false, "suffix": null, "best_of": 1, "user": "u", "stop": null, "n": 1});
    assert_eq!(served.complete(same).await.status, StatusCode::OK);
}
