//! `POST /v1/messages`, in Anthropic's shape (SRV-42, SRV-43).

use axum::http::{StatusCode, header};
use casemate_engine::{EngineError, Input, Role, Sampling, TokenBudget};
use serde_json::{Value, json};

use crate::stub::{Behaviour, MESSAGES, n, post, serve};

#[tokio::test]
async fn answers_have_anthropics_shape() {
    let served = serve(Behaviour::Echo);
    let answer = served.message(json!({"system": "be kind"})).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    let mut body = answer.json();
    assert!(body["id"].take().as_str().unwrap().starts_with("msg_"));
    let expected = json!({
        "id": null,
        "type": "message",
        "role": "assistant",
        "model": "stub-1",
        "content": [{"type": "text", "text": "echo a b"}],
        "stop_reason": "end_turn",
        "stop_sequence": null,
        "usage": usage(4, 3),
    });
    assert_eq!(body, expected);

    let body = served.message(json!({"max_tokens": 2})).await.json();
    assert_eq!(
        (&body["stop_reason"], &body["content"][0]["text"]),
        (&json!("max_tokens"), &json!("echo a "))
    );
    let body = served.message(json!({"stop_sequences": ["x", "b"]})).await.json();
    assert_eq!((&body["stop_reason"], &body["stop_sequence"]), (&json!("stop_sequence"), &json!("b")));
    let body = served.message(json!({"stop_sequences": ["echo"]})).await.json();
    assert_eq!(body["content"], json!([]), "no block without text");
}

fn usage(input: u32, output: u32) -> Value {
    json!({
        "input_tokens": input,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": output,
    })
}

#[tokio::test]
async fn what_is_accepted_is_honoured() {
    let served = serve(Behaviour::Echo);
    let request = async |extra| {
        let answer = served.message(extra).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        served.stub.last()
    };
    let plain = request(json!({})).await;
    assert_eq!((plain.sampling, plain.budget), (Sampling::greedy(), TokenBudget::Exact(n(64))));
    let found = request(json!({"temperature": 0.5, "top_p": 0.25, "top_k": 7})).await.sampling;
    assert_eq!(found, Sampling { top_k: 7, ..Sampling::random(0.5, 0.25, found.seed) });
    let part = |text: &str| json!({"type": "text", "text": text, "cache_control": {"type": "ephemeral"}});
    let body = json!({
        "system": [part("one "), part("two")],
        "messages": [
            {"role": "user", "content": [part("three")]},
            {"role": "assistant", "content": "four"},
            {"role": "user", "content": "five"},
        ],
        "metadata": {"user_id": "u"}, "service_tier": "auto", "tools": [], "tool_choice": {"type": "auto"},
        "thinking": {"type": "disabled"}, "stream": false,
    });
    let Input::Chat(messages) = request(body).await.input else { panic!() };
    let found: Vec<_> = messages.iter().map(|m| (m.role, m.content.as_str())).collect();
    let expected =
        [(Role::System, "one two"), (Role::User, "three"), (Role::Assistant, "four"), (Role::User, "five")];
    assert_eq!(found, expected);
}

/// The name and the data of each event.
fn events(text: &str) -> Vec<(&str, Value)> {
    let one = |event: &'_ str| -> (usize, Value) {
        let (name, data) = event.split_once('\n').unwrap();
        let data = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        (name.strip_prefix("event: ").unwrap().len(), data)
    };
    assert!(text.ends_with("\n\n"));
    text.trim_end()
        .split("\n\n")
        .map(|event| {
            let (length, data) = one(event);
            (&event["event: ".len()..][..length], data)
        })
        .collect()
}

#[tokio::test]
async fn streams_have_anthropics_events() {
    let served = serve(Behaviour::Echo);
    let answer = served.message(json!({"stream": true, "stop_sequences": ["b"]})).await;
    assert_eq!(answer.headers[header::CONTENT_TYPE], "text/event-stream");
    let events = events(answer.text());
    assert!(events.iter().all(|(name, data)| data["type"] == *name));
    let names: Vec<_> = events.iter().map(|(name, _)| *name).collect();
    let expected = [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ];
    assert_eq!(names, expected);
    let start = &events[0].1["message"];
    assert_eq!(
        (&start["role"], &start["content"], &start["model"]),
        (&json!("assistant"), &json!([]), &json!("stub-1"))
    );
    assert_eq!((&start["usage"], &start["stop_reason"]), (&usage(2, 0), &Value::Null));
    assert_eq!(events[1].1["content_block"], json!({"type": "text", "text": ""}));
    assert_eq!(events[2].1["delta"], json!({"type": "text_delta", "text": "echo "}));
    assert_eq!(events[5].1["delta"], json!({"stop_reason": "stop_sequence", "stop_sequence": "b"}));
    assert_eq!(events[5].1["usage"], usage(2, 2));
}

#[tokio::test]
async fn streams_that_break_off_end_with_an_error() {
    for (behaviour, code) in
        [(Behaviour::BreakOff, "engine.compute.failed"), (Behaviour::EndCancelled, "engine.interrupted")]
    {
        let answer = serve(behaviour).message(json!({"stream": true})).await;
        let events = events(answer.text());
        let (name, data) = events.last().unwrap();
        assert_eq!(
            (*name, &data["error"]["code"], &data["error"]["type"]),
            ("error", &json!(code), &json!("api_error"))
        );
        assert!(!answer.text().contains("message_stop"), "an answer that broke off does not look complete");
    }
}

#[tokio::test]
async fn requests_that_are_refused() {
    let served = serve(Behaviour::Echo);
    let (missing, range) = ("request.field.missing", "request.field.out-of-range");
    let (unsupported, shape) = ("request.field.unsupported", "request.body.shape");
    let (invalid, unknown) = ("invalid_request_error", "request.field.unknown");
    let messages = |message: Value| json!({ "messages": [message] });
    for (extra, status, code, kind) in [
        (json!({"model": null}), 400, missing, invalid),
        (json!({"model": "other"}), 404, "request.model.unknown", "not_found_error"),
        (json!({"max_tokens": null}), 400, missing, invalid),
        (json!({"max_tokens": 0}), 400, "request.max-tokens.out-of-range", invalid),
        (json!({"messages": null}), 400, missing, invalid),
        (json!({"messages": []}), 400, range, invalid),
        (messages(json!({"role": "system", "content": "a"})), 400, shape, invalid),
        (messages(json!({"role": "assistant", "content": "a"})), 400, unsupported, invalid),
        (messages(json!({"role": "user"})), 400, missing, invalid),
        (
            messages(json!({"role": "user", "content": [{"type": "image", "source": {}}]})),
            400,
            unsupported,
            invalid,
        ),
        (json!({"system": [{"type": "image"}]}), 400, unsupported, invalid),
        (json!({"temperature": 1.1}), 400, range, invalid),
        (json!({"top_p": 0}), 400, range, invalid),
        (json!({"top_k": -1}), 400, shape, invalid),
        (json!({"stop_sequences": vec!["a"; 17]}), 400, range, invalid),
        (json!({"stop_sequences": [""]}), 400, "engine.stop.invalid", invalid),
        (json!({"thinking": {"type": "enabled", "budget_tokens": 9}}), 400, unsupported, invalid),
        (json!({"mcp_servers": [{}]}), 400, unsupported, invalid),
        (json!({"container": "x"}), 400, unsupported, invalid),
        (json!({"stop": "a"}), 400, unknown, invalid),
    ] {
        let answer = served.message(extra.clone()).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (status, code), "{extra}");
        let body = answer.json();
        assert_eq!((&body["type"], &body["error"]["type"]), (&json!("error"), &json!(kind)), "{extra}");
        assert_eq!(body["error"].as_object().unwrap().len(), 3, "type, message, code");
    }
    assert!(served.stub.seen.lock().unwrap().is_empty(), "none reached the engine");

    let large = "x".repeat(1 << 21);
    let answer = served.send(post(MESSAGES, large)).await;
    assert_eq!((answer.status.as_u16(), &answer.json()["error"]["type"]), (413, &json!("request_too_large")));
    let answer = serve(Behaviour::Fail(EngineError::QueueFull { capacity: 1 })).message(json!({})).await;
    assert_eq!((answer.status.as_u16(), &answer.json()["error"]["type"]), (429, &json!("rate_limit_error")));
    assert!(answer.headers.get(header::RETRY_AFTER).is_some());
    assert_eq!(served.get(MESSAGES).await.code(), "request.method.not-allowed");
}
