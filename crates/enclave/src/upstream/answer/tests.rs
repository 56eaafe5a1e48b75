//! Streams as programs send them, and one mistake each.

use std::io::{Read, Write};
use std::num::NonZeroU32;
use std::os::unix::net::UnixListener;
use std::thread;
use std::time::Duration;

use casemate_engine::{Cancel, ChatMessage, Role, StopStrings, Tools};

use super::super::http::{Place, Waits, send};
use super::*;

const TEN: NonZeroU32 = NonZeroU32::new(10).unwrap();

fn request() -> GenerateRequest {
    let messages = vec![ChatMessage::new(Role::User, "12345678")];
    GenerateRequest::new(Input::Chat(messages), TokenBudget::Exact(TEN))
}

struct Heard {
    result: Result<Completion, EngineError>,
    started: Option<u32>,
    text: String,
    scores: Vec<TokenScore>,
}

/// What is heard of a body with this head.
fn heard_of(request: &GenerateRequest, cut_after: Option<u32>, head: &str, body: &str, most: usize) -> Heard {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let listener = UnixListener::bind(&path).unwrap();
    let sent = format!("{head}\r\n\r\n{body}");
    let server = thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let _ = socket.read(&mut [0; 4096]);
        let _ = socket.write_all(sent.as_bytes());
    });
    let second = Duration::from_secs(1);
    let waits = Waits { first: second, between: second, whole: second * 5 };
    let cancel = Cancel::new();
    let mut heard =
        Heard { result: Err(EngineError::Stopped), started: None, text: String::new(), scores: vec![] };
    let expected = Expected::of(request, cut_after);
    let answer = send(&Place::Socket(path), "POST", "/", b"", expected.limit(), waits, &cancel);
    let mut pieces = 0;
    let (mut started, mut text, mut scores) = (None, String::new(), Vec::new());
    heard.result = answer.map_err(EngineError::from).and_then(|answer| {
        hear(answer, expected, &mut |event| {
            match event {
                Event::Started { prompt_tokens } => started = Some(prompt_tokens),
                Event::Text(piece) => text.push_str(&piece),
                Event::Token(score) => scores.push(score),
            }
            pieces += 1;
            if pieces > most { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
    });
    server.join().unwrap();
    Heard { started, text, scores, ..heard }
}

const STREAM: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8";

fn hears(request: &GenerateRequest, events: &[&str]) -> Heard {
    let body: String = events.iter().map(|event| format!("data: {event}\n\n")).collect();
    heard_of(request, None, STREAM, &body, 100)
}

const HELLO: &str =
    r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":"Hello"},"finish_reason":null}]}"#;
const WORLD: &str = r#"{"choices":[{"index":0,"delta":{"content":" wörld"}}]}"#;
const END: &str = r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;
const USAGE: &str = r#"{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":3,"total_tokens":12,"prompt_tokens_details":{"cached_tokens":2}}}"#;
const DONE: &str = "[DONE]";

#[test]
fn an_answer_is_heard_to_its_end() {
    let heard = hears(&request(), &[HELLO, WORLD, END, USAGE, DONE]);
    let usage = Usage { prompt_tokens: 9, cached_tokens: 2, completion_tokens: 3 };
    assert_eq!(heard.result, Ok(Completion { finish: FinishReason::Stop, usage }));
    assert_eq!((heard.text.as_str(), heard.started), ("Hello wörld", Some(0)));
    // As others write it: comments, other fields, other line ends, everything in the last event.
    let last = r#"{"choices":[{"delta":{},"finish_reason":"length"}],"usage":{"prompt_tokens":9,"completion_tokens":3}}"#;
    let body = format!(
        ": ping\r\n\r\nevent: message\r\nid: 1\r\ndata:{HELLO}\r\n\r\ndata: {last}\r\n\r\ndata: [DONE]\r\n\r\n"
    );
    let heard = heard_of(&request(), None, STREAM, &body, 100);
    assert_eq!(heard.result.unwrap().finish, FinishReason::Length);
    // Texts that are continued.
    let text = r#"{"choices":[{"index":0,"text":"once","finish_reason":"stop","stop_reason":null}]}"#;
    let heard = hears(&request(), &[text, USAGE, DONE]);
    assert_eq!((heard.text.as_str(), heard.result.is_ok()), ("once", true));
}

#[test]
fn the_stop_string_is_the_requests_own() {
    let request =
        GenerateRequest { stop: StopStrings::new(vec!["a".into(), "b".into()]).unwrap(), ..request() };
    let finish = |member: &str| {
        let end = format!(r#"{{"choices":[{{"index":0,"delta":{{}},"finish_reason":"stop",{member}}}]}}"#);
        hears(&request, &[&end, USAGE, DONE]).result.unwrap().finish
    };
    assert_eq!(finish(r#""stop_reason":"b""#), FinishReason::StopString(1));
    assert_eq!(finish(r#""matched_stop":"a""#), FinishReason::StopString(0));
    assert_eq!(finish(r#""stop_reason":128001"#), FinishReason::Stop);
    assert_eq!(finish(r#""stop_reason":"c""#), FinishReason::Stop);
}

#[test]
fn a_budget_that_the_program_is_not_told_is_kept_here() {
    let counted = |n: u32| {
        format!(
            r#"{{"choices":[{{"index":0,"delta":{{"content":"x"}}}}],"usage":{{"prompt_tokens":5,"completion_tokens":{n}}}}}"#
        )
    };
    let body: String = (1..=20).map(|n| format!("data: {}\n\n", counted(n))).collect();
    let heard = heard_of(&request(), Some(10), STREAM, &body, 100);
    let completion = heard.result.unwrap();
    assert_eq!((completion.finish, completion.usage.completion_tokens), (FinishReason::Length, 10));
    assert_eq!((heard.text.len(), heard.started), (10, Some(5)));
}

#[test]
fn calls_are_put_together() {
    let tools = Tools::new(r#"[{"type":"function","function":{"name":"f"}}]"#.into());
    let request = GenerateRequest { tools, ..request() };
    let first = r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"c","type":"function","function":{"name":"f","arguments":""}}]}}]}"#;
    let piece = |text: &str| {
        let arguments = serde_json::to_string(text).unwrap();
        format!(
            r#"{{"choices":[{{"index":0,"delta":{{"tool_calls":[{{"index":0,"function":{{"arguments":{arguments}}}}}]}}}}]}}"#
        )
    };
    let end = r#"{"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}"#;
    let heard =
        hears(&request, &[HELLO, first, &piece(r#"{"a":"#), &piece(r#""</tool_call>"}"#), end, USAGE, DONE]);
    assert_eq!(heard.result.unwrap().finish, FinishReason::Stop);
    let call = heard
        .text
        .strip_prefix("Hello<tool_call>")
        .and_then(|rest| rest.strip_suffix("</tool_call>"))
        .unwrap();
    assert!(!call.contains('<'), "nothing in it ends it: {call}");
    let call: Value = serde_json::from_str(call).unwrap();
    assert_eq!(call, serde_json::json!({"name": "f", "arguments": {"a": "</tool_call>"}}));
    let broken = hears(&request, &[first, &piece(r#"{"a":"#), end, USAGE, DONE]);
    assert_eq!(broken.result.unwrap_err().code(), "upstream.answer");
}

#[test]
fn probabilities_in_both_forms() {
    let request = GenerateRequest { logprobs: Some(1), ..request() };
    let new = r#"{"choices":[{"index":0,"delta":{"content":"a"},"logprobs":{"content":[{"token":"a","logprob":-0.5,"bytes":[97],
        "top_logprobs":[{"token":"a","logprob":-0.5,"bytes":null},{"token":"b","logprob":-2.0}]}]}}]}"#
        .replace('\n', "");
    let old = r#"{"choices":[{"index":0,"text":"a","logprobs":{"tokens":["a"],"token_logprobs":[-0.5],"top_logprobs":[{"b":-2.0,"a":-0.5}],"text_offset":[0]}}]}"#;
    for event in [new.as_str(), old] {
        let heard = hears(&request, &[event, END, USAGE, DONE]);
        let scored = |bytes: &[u8], logprob| Scored { bytes: bytes.to_vec(), logprob };
        let score = TokenScore { chosen: scored(b"a", -0.5), top: vec![scored(b"a", -0.5)] };
        assert!(heard.result.is_ok() && heard.scores == [score], "as many as were asked for");
    }
    // Nobody asked.
    assert_eq!(
        hears(&self::request(), &[old, END, USAGE, DONE]).result.unwrap_err().code(),
        "upstream.answer"
    );
}

#[test]
fn who_goes_away_ends_it_and_pays() {
    let body: String =
        [HELLO, WORLD, WORLD, END, USAGE, DONE].iter().map(|event| format!("data: {event}\n\n")).collect();
    let completion = heard_of(&request(), None, STREAM, &body, 2).result.unwrap();
    // Two pieces were seen, and 24 bytes of a conversation are about six tokens.
    let usage = Usage { prompt_tokens: 6, cached_tokens: 0, completion_tokens: 2 };
    assert_eq!(completion, Completion { finish: FinishReason::Cancelled, usage });
}

/// UP-41 to UP-43: one mistake each.
#[test]
fn what_is_no_answer_has_no_end() {
    let long = format!(r#"{{"choices":[{{"index":0,"delta":{{"content":"{}"}}}}]}}"#, "x".repeat(80_000));
    let other_end = END.replace("stop", "abort");
    let cases: [&[&str]; 16] = [
        &[HELLO, END, USAGE],
        &[HELLO, USAGE, DONE],
        &[HELLO, END, DONE],
        &[DONE],
        &[],
        &[HELLO, "{", END, USAGE, DONE],
        &[HELLO, "<html>", END, USAGE, DONE],
        &[HELLO, "[]", END, USAGE, DONE],
        &[HELLO, END, WORLD, USAGE, DONE],
        &[HELLO, END, END, USAGE, DONE],
        &[HELLO, &other_end, USAGE, DONE],
        &[&long, END, USAGE, DONE],
        &[r#"{"choices":[{"index":1,"delta":{"content":"x"}}]}"#, END, USAGE, DONE],
        &[r#"{"choices":[{"index":0},{"index":0}]}"#, END, USAGE, DONE],
        &[HELLO, END, r#"{"usage":{"prompt_tokens":1,"prompt_tokens_details":{"cached_tokens":2}}}"#, DONE],
        &[
            r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"name":"f"}}]}}]}"#,
            END,
            USAGE,
            DONE,
        ],
    ];
    for events in cases {
        let refused = hears(&request(), events).result.unwrap_err();
        assert_eq!(refused.code(), "upstream.answer", "{events:?}");
    }
    let error = r#"{"error":{"message":"your prompt was: secret","code":500}}"#;
    let refused = hears(&request(), &[HELLO, error, END, USAGE, DONE]).result.unwrap_err();
    assert_eq!(refused.code(), "upstream.failed");
    assert!(!refused.to_string().contains("secret"));
}

#[test]
fn a_status_says_whose_fault_it_is() {
    let code = |status: u16, kind: &str| {
        let head = format!("HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: 2");
        heard_of(&request(), None, &head, "{}", 100).result.unwrap_err().code()
    };
    let json = "application/json";
    assert_eq!(code(400, json), "upstream.refused");
    assert_eq!(code(404, json), "upstream.refused");
    assert_eq!(code(429, json), "upstream.busy");
    assert_eq!(code(503, json), "upstream.not-ready");
    assert_eq!(code(500, json), "upstream.failed");
    assert_eq!(code(302, json), "upstream.failed");
    assert_eq!(code(200, json), "upstream.answer");
    assert_eq!(code(200, "text/html"), "upstream.answer");
}

/// Every way to cut a good stream is an error, and never an answer.
#[test]
fn a_cut_stream_is_no_answer() {
    let body: String =
        [HELLO, WORLD, END, USAGE, DONE].iter().map(|event| format!("data: {event}\n\n")).collect();
    let end = body.find(DONE).unwrap() + DONE.len() + 1;
    for at in (0..end).filter(|at| at % 7 == 0 || end - at < 9) {
        let cut = body.get(..at).unwrap_or_default();
        if body.is_char_boundary(at) {
            assert_eq!(
                heard_of(&request(), None, STREAM, cut, 100).result.unwrap_err().code(),
                "upstream.answer",
                "{at}"
            );
        }
    }
}
