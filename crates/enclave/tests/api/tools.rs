//! Functions that requests declare and models call (SRV-44 to SRV-46).

use axum::http::StatusCode;
use casemate_engine::{Input, Role};
use serde_json::{Value, json};

use crate::stub::{Behaviour, events, serve};

const CALL: &str =
    "I look. <tool_call>\n{\"name\": \"f\", \"arguments\": {\"b\": \"x y\", \"a\": 1}}\n</tool_call>";

fn functions() -> Value {
    let parameters = json!({"type": "object", "properties": {"a": {"$ref": "#/$defs/n"}}, "$defs": {"n": {"type": "integer"}}});
    json!([
        {"type": "function", "function": {"name": "f", "description": "an f", "parameters": parameters, "strict": true}},
        {"type": "function", "function": {"name": "g"}},
    ])
}

#[tokio::test]
async fn calls_have_openais_shape() {
    let served = serve(Behaviour::Say(CALL));
    let answer = served.chat(json!({"tools": functions()})).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    let mut choice = answer.json()["choices"][0].take();
    let id = choice["message"]["tool_calls"][0]["id"].take();
    assert!(id.as_str().unwrap().starts_with("call_"));
    let function = json!({"name": "f", "arguments": r#"{"b":"x y","a":1}"#});
    let expected = json!({
        "index": 0,
        "message": {
            "role": "assistant", "content": "I look.", "refusal": null,
            "tool_calls": [{"id": null, "type": "function", "function": function}],
        },
        "logprobs": null,
        "finish_reason": "tool_calls",
    });
    assert_eq!(choice, expected);

    let answer = served.chat(json!({"tools": functions(), "stream": true})).await;
    let events = events(answer.text());
    assert_eq!(events.last(), Some(&None), "[DONE] ends it");
    let chunks: Vec<Value> = events.into_iter().flatten().collect();
    let deltas: Vec<_> = chunks.iter().map(|c| &c["choices"][0]["delta"]).collect();
    let text: String = deltas.iter().filter_map(|delta| delta["content"].as_str()).collect();
    assert_eq!(text, "I look.");
    let calls: Vec<_> = deltas.iter().filter(|delta| delta["tool_calls"].is_array()).collect();
    let first = &calls[0]["tool_calls"][0];
    assert_eq!((&first["index"], &first["type"]), (&json!(0), &json!("function")));
    assert_eq!(first["function"], json!({"name": "f", "arguments": ""}));
    let second = json!([{"index": 0, "function": {"arguments": r#"{"b":"x y","a":1}"#}}]);
    assert_eq!((calls.len(), &calls[1]["tool_calls"]), (2, &second));
    assert_eq!(chunks.last().unwrap()["choices"][0]["finish_reason"], "tool_calls");
}

#[tokio::test]
async fn calls_have_anthropics_shape() {
    let served = serve(Behaviour::Say(CALL));
    let tools = json!([{"name": "f", "input_schema": {"type": "object"}, "cache_control": null}]);
    let mut body = served.message(json!({"tools": tools})).await.json();
    let id = body["content"][1]["id"].take();
    assert!(id.as_str().unwrap().starts_with("call_"));
    let called = json!({"type": "tool_use", "id": null, "name": "f", "input": {"b": "x y", "a": 1}});
    assert_eq!(body["content"], json!([{"type": "text", "text": "I look."}, called]));
    assert_eq!((&body["stop_reason"], &body["stop_sequence"]), (&json!("tool_use"), &Value::Null));

    let answer = served.message(json!({"tools": tools, "stream": true})).await;
    let data =
        |event: &str| -> Value { serde_json::from_str(event.split_once("data: ").unwrap().1).unwrap() };
    let events: Vec<_> = answer.text().trim_end().split("\n\n").map(data).collect();
    let names: Vec<_> =
        events.iter().map(|event| (event["type"].as_str().unwrap(), event["index"].as_u64())).collect();
    let tail = [
        ("content_block_stop", Some(0)),
        ("content_block_start", Some(1)),
        ("content_block_delta", Some(1)),
        ("content_block_stop", Some(1)),
        ("message_delta", None),
        ("message_stop", None),
    ];
    assert_eq!(names[..2], [("message_start", None), ("content_block_start", Some(0))]);
    assert_eq!(names[names.len() - 6..], tail);
    let at = names.len() - 5;
    let block = &events[at]["content_block"];
    assert_eq!(
        (&block["type"], &block["name"], &block["input"]),
        (&json!("tool_use"), &json!("f"), &json!({}))
    );
    let delta = json!({"type": "input_json_delta", "partial_json": r#"{"b":"x y","a":1}"#});
    assert_eq!(events[at + 1]["delta"], delta);
    assert_eq!(events[at + 3]["delta"]["stop_reason"], "tool_use");
}

/// The model's own answer otherwise: nothing is made a call by guessing.
#[tokio::test]
async fn what_is_no_call_is_text() {
    for (text, tools) in [
        (CALL, json!(null)),
        ("<tool_call>{\"name\":\"unknown\",\"arguments\":{}}</tool_call>", functions()),
        ("<tool_call>{\"name\":\"f\"}</tool_call>", functions()),
        ("plain", functions()),
    ] {
        let body = serve(Behaviour::Say(text)).chat(json!({"tools": tools})).await.json();
        let choice = &body["choices"][0];
        assert_eq!((&choice["message"]["content"], &choice["finish_reason"]), (&json!(text), &json!("stop")));
        assert!(choice["message"].get("tool_calls").is_none());
    }
    // Cut by its budget: what came of the call is shown as it is.
    let body = serve(Behaviour::Say(CALL)).chat(json!({"tools": functions(), "max_tokens": 3})).await.json();
    assert_eq!(body["choices"][0]["finish_reason"], "length");
}

#[tokio::test]
async fn what_the_engine_is_told() {
    let served = serve(Behaviour::Say(r#"{"name":"g","arguments":{}}"#));
    let request = async |extra: Value| {
        let mut body = json!({"tools": functions()});
        extra.as_object().unwrap().iter().for_each(|(key, value)| body[key] = value.clone());
        let answer = served.chat(body).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        let seen = served.stub.last();
        let schema = seen.schema.map(|schema| serde_json::from_str::<Value>(schema.as_str()).unwrap());
        (answer.json()["choices"][0].take(), seen.tools.map(|tools| tools.as_str().to_owned()), schema)
    };
    let (_, tools, schema) = request(json!({})).await;
    let shown: Value = serde_json::from_str(&tools.unwrap()).unwrap();
    assert_eq!(
        (&shown[0]["function"]["name"], &shown[0]["function"]["description"]),
        (&json!("f"), &json!("an f"))
    );
    assert_eq!((shown[1]["function"]["parameters"]["type"].as_str(), schema), (Some("object"), None));
    let (_, tools, schema) = request(json!({"tool_choice": "none"})).await;
    assert!(tools.is_none() && schema.is_none(), "the model is not told of what it must not call");

    let (choice, tools, schema) = request(json!({"tool_choice": "required"})).await;
    assert_eq!(choice["message"]["tool_calls"][0]["function"]["name"], "g");
    assert_eq!(
        (choice["message"]["content"].clone(), choice["finish_reason"].as_str()),
        (Value::Null, Some("tool_calls"))
    );
    let schema = schema.unwrap();
    let held = |at: usize| &schema["anyOf"][at]["properties"];
    assert_eq!((&held(0)["name"]["const"], &held(1)["name"]["const"]), (&json!("f"), &json!("g")));
    assert_eq!(held(0)["arguments"]["properties"]["a"]["$ref"], "#/anyOf/0/properties/arguments/$defs/n");
    assert!(tools.is_some());
    let named = json!({"type": "function", "function": {"name": "f"}});
    let schema = request(json!({ "tool_choice": named })).await.2.unwrap();
    assert_eq!(schema["properties"]["arguments"]["type"], "object");
    assert_eq!(schema["properties"]["name"]["const"], "f");
    assert_eq!(
        schema["properties"]["arguments"]["properties"]["a"]["$ref"],
        "#/properties/arguments/$defs/n"
    );
}

#[tokio::test]
async fn calls_and_their_answers_are_messages() {
    let served = serve(Behaviour::Echo);
    let call = json!({"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}});
    let messages = json!([
        {"role": "user", "content": "go"},
        {"role": "assistant", "content": null, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "42"},
    ]);
    assert_eq!(served.chat(json!({ "messages": messages })).await.status, StatusCode::OK);
    let first = served.stub.last();
    let messages = json!([
        {"role": "user", "content": "go"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "c1", "name": "f", "input": {"a": 1}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": [{"type": "text", "text": "42"}]}]},
    ]);
    assert_eq!(served.message(json!({ "messages": messages })).await.status, StatusCode::OK);
    for request in [first, served.stub.last()] {
        let Input::Chat(messages) = request.input else { panic!() };
        let roles: Vec<_> = messages.iter().map(|m| (m.role, m.content.as_str())).collect();
        assert_eq!(roles, [(Role::User, "go"), (Role::Assistant, ""), (Role::Tool, "42")]);
        let call = &messages[1].calls[0];
        assert_eq!(
            (call.id.as_str(), call.name.as_str(), call.arguments.as_str()),
            ("c1", "f", r#"{"a":1}"#)
        );
        assert_eq!(messages[2].call_id.as_deref(), Some("c1"));
    }
}

#[tokio::test]
async fn requests_that_are_refused() {
    let served = serve(Behaviour::Echo);
    let (missing, range) = ("request.field.missing", "request.field.out-of-range");
    let (unsupported, shape) = ("request.field.unsupported", "request.body.shape");
    let with = |choice: Value| json!({"tools": functions(), "tool_choice": choice});
    let function = |function: Value| json!({"tools": [{"type": "function", "function": function}]});
    let said = |message: Value| json!({"messages": [{"role": "user", "content": "a"}, message]});
    let called = |function: Value| {
        said(json!({"role": "assistant", "tool_calls": [{"id": "c", "function": function}]}))
    };
    let held = json!({"tools": functions(), "response_format": {"type": "json_object"}});
    let g = json!({"type": "function", "function": {"name": "g"}});
    for (extra, code, param) in [
        (json!({"tools": [{"type": "web_search"}]}), unsupported, Some("tools")),
        (json!({"tools": {}}), shape, None),
        (function(json!({})), unsupported, Some("tools")),
        (function(json!({"name": "a b"})), range, Some("tools")),
        (function(json!({"name": "x".repeat(65)})), range, Some("tools")),
        (function(json!({"name": "f", "parameters": []})), "engine.schema.invalid", None),
        (
            function(json!({"name": "f", "parameters": {"enum": vec![0; 4096]}})),
            "engine.schema.too-large",
            None,
        ),
        (function(json!({"name": "f", "parameters": {"type": "string"}})), range, Some("tools")),
        (function(json!({"name": "f", "parameters": {"type": ["object", "null"]}})), range, Some("tools")),
        (json!({"tools": [g, g]}), range, Some("tools")),
        (json!({"tools": vec![g.clone(); 129]}), range, Some("tools")),
        (with(json!("any")), unsupported, Some("tool_choice")),
        (with(json!({"type": "function"})), unsupported, Some("tool_choice")),
        (with(json!({"type": "function", "function": {"name": "h"}})), range, Some("tool_choice")),
        (json!({"tool_choice": g}), missing, Some("tools")),
        (held, unsupported, Some("response_format")),
        (said(json!({"role": "tool", "content": "a"})), missing, Some("messages.tool_call_id")),
        (
            said(json!({"role": "user", "content": "a", "tool_call_id": "c"})),
            unsupported,
            Some("messages.tool_call_id"),
        ),
        (
            said(json!({"role": "user", "content": "a", "tool_calls": [{}]})),
            unsupported,
            Some("messages.tool_calls"),
        ),
        (called(json!({"arguments": "{}"})), missing, Some("messages.tool_calls")),
        (called(json!({"name": "f", "arguments": "[]"})), range, Some("messages.tool_calls")),
        (called(json!({"name": "f", "arguments": "{"})), range, Some("messages.tool_calls")),
    ] {
        let answer = served.chat(extra.clone()).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (400, code), "{extra}");
        assert_eq!(answer.json()["error"]["param"].as_str(), param, "{extra}");
    }
    let part = |role: &str, part: Value| json!({"messages": [{"role": role, "content": [part]}]});
    let f = json!({"name": "f", "input_schema": {}});
    for (extra, code) in [
        (json!({"tools": [{"name": "f"}]}), unsupported),
        (json!({"tools": [{"type": "web_search_20250305", "name": "f", "input_schema": {}}]}), unsupported),
        (json!({"tools": [f], "tool_choice": {"type": "required"}}), unsupported),
        (json!({"tools": [f], "tool_choice": {"type": "tool"}}), unsupported),
        (json!({"tools": [f], "tool_choice": {"type": "tool", "name": "g"}}), range),
        (json!({"tool_choice": {"type": "any"}}), missing),
        (part("user", json!({"type": "tool_use", "id": "c", "name": "f", "input": {}})), unsupported),
        (part("assistant", json!({"type": "tool_result", "tool_use_id": "c"})), unsupported),
        (part("assistant", json!({"type": "tool_use", "id": "c", "name": "f"})), missing),
        (part("user", json!({"type": "tool_result"})), missing),
    ] {
        let answer = served.message(extra.clone()).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (400, code), "{extra}");
    }
    assert!(served.stub.seen.lock().unwrap().is_empty(), "none reached the engine");
}
