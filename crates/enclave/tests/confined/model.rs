//! llama.cpp behind the walls, with a real model: it answers as it does without them.

use std::fs::File;
use std::io::Seek;
use std::num::NonZeroU32;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes, to_bytes};
use axum::http::Request;
use casemate_enclave::EndorsementHealth;
use casemate_enclave::api::{ApiState, AttestSource, AttestSourceError, router};
use casemate_enclave::confined::{ConfinedEngine, EngineProcess, Patience, Program};
use casemate_engine::{
    Cancel, ChatMessage, Engine, EngineError, EngineOptions, Event, FinishReason, GenerateRequest, Input,
    LlamaEngine, QUEUE_CAPACITY, Role, Sampling, Schema, StopStrings, Tenant, TokenBudget, ToolCall, Tools,
};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};

use serde_json::{Value, json};
use tower::ServiceExt;

use crate::Case;

pub(crate) const CASES: &[(&str, Case)] = &[
    ("the_answers_are_those_of_an_unconfined_engine", the_answers_are_those_of_an_unconfined_engine),
    ("a_demanded_call_fits_its_function", a_demanded_call_fits_its_function),
    ("refusals_are_those_of_an_unconfined_engine", refusals_are_those_of_an_unconfined_engine),
    ("requests_are_cancelled_in_the_process_too", requests_are_cancelled_in_the_process_too),
    ("a_full_queue_refuses", a_full_queue_refuses),
    ("damaged_models_are_named", damaged_models_are_named),
];

/// `$CASEMATE_MODEL`, or where `scripts/fetch-model.sh` leaves it.
pub(crate) fn file() -> Option<PathBuf> {
    let cache = || {
        let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        let cache = cache.or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache")))?;
        Some(cache.join("casemate/SmolLM2-135M-Instruct.Q4_1.gguf"))
    };
    std::env::var_os("CASEMATE_MODEL").map(PathBuf::from).or_else(cache).filter(|path| path.is_file())
}

/// The model in sealed memory, as `casemate serve` has it.
fn weights() -> File {
    let memory = memfd_create(c"weights", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
    let mut memory = File::from(memory);
    std::io::copy(&mut File::open(file().unwrap()).unwrap(), &mut memory).unwrap();
    memory.rewind().unwrap();
    fcntl_add_seals(&memory, SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)
        .unwrap();
    File::open(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&memory))).unwrap()
}

fn options() -> EngineOptions {
    EngineOptions { context_tokens: NonZeroU32::new(1024).unwrap(), ..EngineOptions::default() }
}

fn confined() -> ConfinedEngine {
    let process = EngineProcess::start(&Program::own(), Patience::default()).unwrap();
    process.load(weights(), options()).unwrap()
}

/// One request at a time.
fn alone() -> ConfinedEngine {
    let process = EngineProcess::start(&Program::own(), Patience::default()).unwrap();
    process.load(weights(), EngineOptions { parallel: NonZeroU32::MIN, ..options() }).unwrap()
}

fn chat(text: &str, tokens: u32) -> GenerateRequest {
    let messages = vec![ChatMessage::new(Role::User, text)];
    GenerateRequest::new(Input::Chat(messages), TokenBudget::Exact(NonZeroU32::new(tokens).unwrap()))
}

fn requests() -> Vec<GenerateRequest> {
    let random = |seed| Sampling::random(1.1, 0.9, seed);
    let raw = TokenBudget::UpTo(NonZeroU32::new(16).unwrap());
    vec![
        chat("What is 2+2?", 24),
        chat("Repeat exactly: 🦀🔒✨ 你好 🏳️‍🌈 ", 24),
        GenerateRequest { sampling: random(3), ..chat("Invent a name for a boat.", 16) },
        GenerateRequest { logprobs: Some(5), ..chat("What is 2+2?", 12) },
        GenerateRequest { tenant: Some(Tenant([1; 32])), ..chat("What is 2+2?", 12) },
        GenerateRequest { tenant: Some(Tenant([1; 32])), ..chat("What is 2+2?", 12) },
        GenerateRequest {
            sampling: Sampling {
                bias: vec![(40, 3.0), (28, -100.0)],
                frequency_penalty: 0.5,
                presence_penalty: 1.0,
                top_k: 40,
                min_p: 0.05,
                ..random(u64::MAX)
            },
            ..chat("Write a story about a lighthouse.", 24)
        },
        GenerateRequest {
            stop: StopStrings::new(vec!["never appears".into(), "e".into()]).unwrap(),
            ..chat("Count from one to nine in words.", 24)
        },
        GenerateRequest::new(Input::Raw("The capital of France is".into()), raw),
        GenerateRequest {
            schema: Some(
                Schema::new(r#"{"type":"object","properties":{"a":{"type":"string","minLength":9}},"required":["a"]}"#.into()).unwrap(),
            ),
            ..chat("What is 2+2?", 24)
        },
        GenerateRequest {
            input: Input::Chat(vec![
                ChatMessage::new(Role::User, "What is 2+2?"),
                ChatMessage {
                    calls: vec![ToolCall { id: "c".into(), name: "add".into(), arguments: "{}".into() }],
                    ..ChatMessage::new(Role::Assistant, "I add.")
                },
                ChatMessage { call_id: Some("c".into()), ..ChatMessage::new(Role::Tool, "4") },
            ]),
            tools: Tools::new("[]".into()),
            ..chat("", 12)
        },
    ]
}

fn the_answers_are_those_of_an_unconfined_engine() {
    let (confined, plain) = (confined(), LlamaEngine::load_file(weights(), options()).unwrap());
    assert_eq!(confined.info(), plain.info());
    for (at, request) in requests().into_iter().enumerate() {
        let mut pieces = Vec::new();
        let mut collect = |event: Event| {
            pieces.push(event);
            ControlFlow::Continue(())
        };
        let here = plain.generate(request.clone(), &mut collect).unwrap();
        let expected = std::mem::take(&mut pieces);
        let mut collect = |event: Event| {
            pieces.push(event);
            ControlFlow::Continue(())
        };
        let there = confined.generate(request, &mut collect).unwrap();
        assert!(pieces == expected, "request {at}: the events differ");
        assert_eq!(here, there, "request {at}");
        assert!(expected.len() > 2, "request {at} has an answer");
    }
    assert_eq!(confined.queue_depth(), 0);
}

/// Without evidence, which no case here asks for.
struct NoEvidence;

impl AttestSource for NoEvidence {
    fn attestation_document(&self, _: [u8; 32]) -> Result<Bytes, AttestSourceError> {
        Err(AttestSourceError { code: "attester.no-device" })
    }

    fn ready_document(&self) -> Result<Bytes, AttestSourceError> {
        Err(AttestSourceError { code: "attester.no-device" })
    }

    fn endorsements(&self) -> Result<EndorsementHealth, AttestSourceError> {
        Err(AttestSourceError { code: "attestation.clock" })
    }
}

/// SRV-44, from the API to llama.cpp: the model's template knows nothing of functions, and the call fits in any case.
fn a_demanded_call_fits_its_function() {
    let router = router(ApiState::new(Arc::new(confined()), "m".into(), Arc::new(NoEvidence)));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let ask = |path: &str, body: Value| -> Value {
        let request = Request::post(path).header("content-type", "application/json");
        let request = request.body(Body::from(body.to_string())).unwrap();
        runtime.block_on(async {
            let response = router.clone().oneshot(request).await.unwrap();
            let bytes = to_bytes(response.into_body(), usize::MAX).await.unwrap();
            serde_json::from_slice(&bytes).unwrap()
        })
    };
    let parameters = json!({
        "type": "object",
        "properties": {"city": {"$ref": "#/$defs/city"}, "days": {"type": "integer", "minimum": 1, "maximum": 5}},
        "required": ["city", "days"],
        "additionalProperties": false,
        "$defs": {"city": {"enum": ["Berlin", "Lima"]}},
    });
    let check = |name: &str, arguments: &Value| match name {
        "weather" => {
            assert!(["Berlin", "Lima"].contains(&arguments["city"].as_str().unwrap()), "{arguments}");
            assert!((1..=5).contains(&arguments["days"].as_u64().unwrap()), "{arguments}");
            assert_eq!(arguments.as_object().unwrap().len(), 2);
        }
        "now" => assert_eq!(*arguments, json!({})),
        other => panic!("{other}"),
    };
    let messages = json!([{"role": "user", "content": "What is the weather in Lima tomorrow?"}]);
    let functions = json!([
        {"type": "function", "function": {"name": "weather", "parameters": parameters}},
        {"type": "function", "function": {"name": "now"}},
    ]);
    let named = json!({"type": "function", "function": {"name": "weather"}});
    for (choice, temperature) in
        [(json!("required"), 0.0), (json!("required"), 1.5), (named.clone(), 0.0), (named, 1.5)]
    {
        let body = json!({
            "model": "m", "messages": messages, "max_tokens": 200, "tools": functions, "tool_choice": choice,
            "temperature": temperature, "seed": 7,
        });
        let answer = ask("/v1/chat/completions", body);
        let choice = &answer["choices"][0];
        assert_eq!(choice["finish_reason"], "tool_calls", "{answer}");
        let function = &choice["message"]["tool_calls"][0]["function"];
        let arguments = function["arguments"].as_str().unwrap().parse().unwrap();
        check(function["name"].as_str().unwrap(), &arguments);
    }
    let body = json!({
        "model": "m", "messages": messages, "max_tokens": 200, "tool_choice": {"type": "any"},
        "tools": [{"name": "weather", "input_schema": parameters}],
    });
    let answer = ask("/v1/messages", body);
    assert_eq!(answer["stop_reason"], "tool_use", "{answer}");
    check("weather", &answer["content"][0]["input"]);
    let body = json!({"model": "m", "messages": messages, "tools": functions});
    let answer = ask("/v1/chat/completions", body);
    assert_eq!(answer["error"]["code"], "request.field.unsupported", "the model would not know of them");
    for schema in [json!({"type": "wizard"}), json!({"$ref": "#"})] {
        let schema = json!({"type": "json_schema", "json_schema": {"name": "a", "schema": schema}});
        let answer = ask(
            "/v1/chat/completions",
            json!({"model": "m", "messages": messages, "response_format": schema}),
        );
        assert_eq!(answer["error"]["code"], "engine.schema.invalid");
    }
}

fn refusals_are_those_of_an_unconfined_engine() {
    let (confined, plain) = (confined(), LlamaEngine::load_file(weights(), options()).unwrap());
    let one = TokenBudget::Exact(NonZeroU32::MIN);
    let chosen = |sampling| GenerateRequest { sampling, ..chat("Hello", 1) };
    let sampling = |temperature, top_p| chosen(Sampling::random(temperature, top_p, 0));
    for request in [
        chat(&"word ".repeat(3000), 1),
        chat("Hello", 1020),
        chat(&"x".repeat(1 << 20), 1),
        GenerateRequest::new(Input::Raw(String::new()), one),
        GenerateRequest::new(Input::Chat(Vec::new()), one),
        sampling(-1.0, 1.0),
        sampling(1.0, f32::NAN),
        chosen(Sampling { min_p: 2.0, ..Sampling::greedy() }),
        chosen(Sampling { presence_penalty: f32::NAN, ..Sampling::greedy() }),
        chosen(Sampling { bias: vec![(1, 0.0); 1025], ..Sampling::greedy() }),
    ] {
        let expected = plain.generate_text(request.clone()).unwrap_err();
        assert_eq!(confined.generate_text(request).unwrap_err(), expected);
    }
    // What only the way to the process refuses.
    match confined.generate_text(chat(&"x".repeat(17 << 20), 1)).unwrap_err() {
        EngineError::PromptTooManyBytes { bytes, .. } => assert!(bytes > 17 << 20),
        other => panic!("{other:?}"),
    }
    assert!(!confined.generate_text(chat("Hello", 4)).unwrap().0.is_empty(), "and it goes on");
}

fn requests_are_cancelled_in_the_process_too() {
    let engine = confined();
    // By a sink that breaks.
    let mut pieces = 0;
    let completion = engine
        .generate(chat("Write a very long story.", 900), &mut |event| match event {
            Event::Started { .. } | Event::Token(_) => ControlFlow::Continue(()),
            Event::Text(_) => {
                pieces += 1;
                if pieces == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            }
        })
        .unwrap();
    assert_eq!((pieces, completion.finish), (3, FinishReason::Cancelled));
    assert!(completion.usage.completion_tokens < 200, "{completion:?}");
    // From elsewhere, while the prompt is read and no event comes.
    let request = GenerateRequest { cancel: Cancel::new(), ..chat(&"one two three ".repeat(300), 8) };
    let cancel = request.cancel.clone();
    let mut started = None;
    let completion = engine
        .generate(request, &mut |event| {
            if matches!(event, Event::Started { .. }) {
                started = Some(Instant::now());
                cancel.cancel();
            }
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!((completion.finish, completion.usage.completion_tokens), (FinishReason::Cancelled, 0));
    assert!(started.is_some());
    // Before it starts.
    let request = chat("Hello", 8);
    request.cancel.cancel();
    let (text, completion) = engine.generate_text(request).unwrap();
    assert_eq!((text.as_str(), completion.finish), ("", FinishReason::Cancelled));
}

fn a_full_queue_refuses() {
    let engine = Arc::new(alone());
    let release = Cancel::new();
    let running = Arc::new(Barrier::new(2));
    let busy = {
        let (engine, running) = (Arc::clone(&engine), Arc::clone(&running));
        let request = GenerateRequest { cancel: release.clone(), ..chat("Write a very long story.", 900) };
        std::thread::spawn(move || {
            engine.generate(request, &mut |event| {
                if matches!(event, Event::Started { .. }) {
                    running.wait();
                }
                ControlFlow::Continue(())
            })
        })
    };
    running.wait();
    let waiting: Vec<_> = (0..QUEUE_CAPACITY)
        .map(|_| {
            let engine = Arc::clone(&engine);
            let request = GenerateRequest { cancel: release.clone(), ..chat("Hello", 1) };
            std::thread::spawn(move || engine.generate_text(request))
        })
        .collect();
    let deadline = Instant::now() + Duration::from_secs(20);
    while engine.queue_depth() < QUEUE_CAPACITY + 1 {
        assert!(Instant::now() < deadline, "the queue never filled: {}", engine.queue_depth());
        std::thread::yield_now();
    }
    let error = engine.generate_text(chat("Hello", 1)).unwrap_err();
    assert_eq!(error, EngineError::QueueFull { capacity: QUEUE_CAPACITY });
    release.cancel();
    busy.join().unwrap().unwrap();
    for thread in waiting {
        thread.join().unwrap().unwrap();
    }
    assert_eq!(engine.queue_depth(), 0);
    assert!(!engine.generate_text(chat("Hello", 4)).unwrap().0.is_empty(), "and it goes on");
}

fn damaged_models_are_named() {
    let bytes = std::fs::read(file().unwrap()).unwrap();
    for (cut, code) in [(2, "engine.model.not-gguf"), (1000, "engine.model.truncated")] {
        let memory = memfd_create(c"cut", MemfdFlags::CLOEXEC).unwrap();
        rustix::io::write(&memory, &bytes[..cut]).unwrap();
        let process = EngineProcess::start(&Program::own(), Patience::default()).unwrap();
        let error = process.load(File::from(memory), options()).err().unwrap();
        assert_eq!(error.code(), code);
    }
}
