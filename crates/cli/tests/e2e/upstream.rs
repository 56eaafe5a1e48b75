//! llama.cpp's own server in the place of the embedded engine (spec/upstream.md), between real processes.
//!
//! It wants a Python with the package xllamacpp, which every user of this machine may run: CASEMATE_UPSTREAM_PYTHON. Without it these cases
//! are reported as ignored, by name.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};
use serde_json::{Value, json};

use crate::fixture::{Fixture, Run, Server, casemate, engine_of, run};
use crate::path::{Http, http};

type Case = fn(&Fixture, &str);

const CASES: &[(&str, Case)] = &[
    ("upstream::answers_where_the_clients_policy_names_it", answers_where_the_clients_policy_names_it),
    ("upstream::every_route_is_answered_by_it", every_route_is_answered_by_it),
    ("upstream::killed_it_is_started_anew", killed_it_is_started_anew),
    ("upstream::the_probe_is_asked_before_anybody_else", the_probe_is_asked_before_anybody_else),
];

pub fn trials(model: Option<&std::path::Path>, shared: &Arc<OnceLock<Fixture>>) -> Vec<Trial> {
    let python = std::env::var("CASEMATE_UPSTREAM_PYTHON").ok();
    let trial = |(name, case): &(&str, Case)| {
        let (model, python, case) = (model.map(PathBuf::from), python.clone(), *case);
        let (shared, ignored) = (Arc::clone(shared), model.is_none() || python.is_none());
        let test = move || -> Result<(), Failed> {
            let (model, python) = (model.ok_or("no model")?, python.ok_or("no program")?);
            case(shared.get_or_init(|| Fixture::new(&model)), &python);
            Ok(())
        };
        Trial::test(*name, test).with_ignored_flag(ignored)
    };
    CASES.iter().map(trial).collect()
}

fn command(python: &str, address: &str) -> String {
    format!("{python} -c '{}' {{model}} {address}", include_str!("llama_server.py"))
}

/// A broker whose policy of the key names the upstream that listens there.
fn broker(f: &Fixture, python: &str, address: &str, name: &str) -> Server {
    let command = command(python, address);
    let mut args = f.serve_args("http://nowhere", &f.path("sealed"));
    args.extend(
        ["--check-config", "--upstream-kind", "llama-server", "--upstream-command", &command]
            .map(str::to_owned),
    );
    let digest = f.ok(&args.iter().map(String::as_str).collect::<Vec<_>>()).stdout;
    assert_eq!(digest.trim().len(), 64);
    let named = format!("casemate.upstream={}", digest.trim());
    let policy = f.ok(&["policy", "release", "--measurement", &f.measurement, "--equals", &named]).stdout;
    let path = f.path(&format!("{name}.json"));
    fs::write(&path, policy).unwrap();
    f.broker(&f.new_store_with(name, &path))
}

/// A server whose upstream listens there.
fn serve(f: &Fixture, broker: &str, python: &str, address: &str, more: &[&str]) -> Result<Server, Run> {
    let command = command(python, address);
    let mut args = f.serve_args(broker, &f.path("sealed"));
    args.extend(["--upstream-command", &command, "--upstream-kind", "llama-server"].map(str::to_owned));
    args.extend(more.iter().map(|&arg| arg.to_owned()));
    Server::start(&casemate(), &args.iter().map(String::as_str).collect::<Vec<_>>(), &[], None)
}

fn up(f: &Fixture, broker: &str, python: &str, address: &str) -> Server {
    serve(f, broker, python, address, &[]).unwrap_or_else(|run| panic!("serve: {}", run.stderr))
}

fn answers_where_the_clients_policy_names_it(f: &Fixture, python: &str) {
    let broker = broker(f, python, "{socket}", "upstream-names");
    // Whoever has the model's key does not give it to a program that its policy does not speak of.
    let silent = f.broker(&f.path("store"));
    let refused = serve(f, &silent.url, python, "{socket}", &[]).err().unwrap();
    refused.refused(4, "release.refused");
    assert!(refused.stderr.contains("release.upstream"), "{}", refused.stderr);
    let server = up(f, &broker.url, python, "{socket}");
    // Whoever does not name it does not talk to it.
    f.ask(&server.url, &f.path("client.toml"), "What is 2+2?").refused(4, "statement.engine");
    let shown = http(&server.url).get("/attest").json();
    let statement: Value = serde_json::from_str(shown["statement"].as_str().unwrap()).unwrap();
    assert_eq!(
        statement["models"][0]["manifest_sha256"],
        f.manifest.as_str(),
        "the weights are stated as ever"
    );
    let upstream = &statement["engine"]["upstream"];
    assert_eq!((&upstream["kind"], &upstream["separation"]), (&json!("llama-server"), &json!("no-reuse")));
    assert_eq!(upstream["command"].as_array().unwrap().last().unwrap(), "{socket}");
    // A policy of what it shows names it, and the answer comes through.
    let anchors = ["--danger-simulated-root", &f.root()];
    let policy = f.ok(&[&["policy", "init", &server.url][..], &anchors].concat()).stdout;
    assert!(policy.contains("[engine]\nupstreams = ["), "{policy}");
    let path = f.path("upstream.toml");
    fs::write(&path, &policy).unwrap();
    let asked = f.ask(&server.url, &path, "What is the capital of France?");
    assert_eq!(asked.exit, Some(0), "{}", asked.stderr);
    assert!(asked.stderr.contains("CH-22"), "{}", asked.stderr);
    // Another program, even by one letter of its command, is another one.
    let (before, digest) = policy.split_once("upstreams = [\"").unwrap();
    let changed = if digest.starts_with('0') { "1" } else { "0" };
    let other = format!("{before}upstreams = [\"{changed}{}", &digest[1..]);
    fs::write(f.path("other.toml"), other).unwrap();
    f.ask(&server.url, &f.path("other.toml"), "x").refused(4, "statement.engine");
    f.ask(&server.url, &f.path("client.toml"), "x").refused(4, "statement.engine");
    // The model is in memory that has no name, and in no file.
    let engine = engine_of(server.child.id());
    let maps = fs::read_to_string(format!("/proc/{engine}/maps")).unwrap();
    assert!(maps.contains("/memfd:casemate-weights"), "mapped, and not read into a copy");
    assert!(!server.log().contains("France"), "{}", server.log());
}

fn every_route_is_answered_by_it(f: &Fixture, python: &str) {
    let broker = broker(f, python, "{port}", "upstream-routes");
    let server = up(f, &broker.url, python, "{port}");
    let http = http(&server.url);
    let model = http.get("/v1/models").json()["data"][0]["id"].as_str().unwrap().to_owned();
    let chat = |more: Value| {
        let messages = json!([{"role": "user", "content": "Name three colours."}]);
        let mut body = json!({"model": model, "max_tokens": 24, "messages": messages});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let whole = |more: Value| http.post("/v1/chat/completions", &chat(more)).json();
    // The same again, greedily; and as a stream.
    let first = whole(json!({}));
    let text = first["choices"][0]["message"]["content"].as_str().unwrap().to_owned();
    assert!(!text.is_empty() && first["model"] == model.as_str(), "{first}");
    assert_eq!(whole(json!({}))["choices"], first["choices"]);
    let usage = &first["usage"];
    assert!(usage["prompt_tokens"].as_u64().unwrap() > 5 && usage["completion_tokens"].as_u64().unwrap() > 1);
    assert_eq!(
        usage["prompt_tokens_details"]["cached_tokens"], 0,
        "nothing is used again, also by nobody else"
    );
    let streamed = http.post("/v1/chat/completions", &chat(json!({"stream": true}))).text();
    let events: Vec<Value> =
        streamed.lines().filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok()).collect();
    let pieces = events.iter().filter_map(|event| event["choices"][0]["delta"]["content"].as_str());
    assert_eq!(pieces.collect::<String>(), text);
    assert!(streamed.contains("data: [DONE]"));
    // Chance, probabilities, stop strings, several answers.
    let lot = whole(json!({"temperature": 0.8, "seed": 7, "top_k": 20, "top_p": 0.9, "min_p": 0.05}));
    assert_eq!(
        lot["choices"],
        whole(json!({"temperature": 0.8, "seed": 7, "top_k": 20, "top_p": 0.9, "min_p": 0.05}))["choices"]
    );
    let scored = whole(json!({"logprobs": true, "top_logprobs": 2, "max_tokens": 4}));
    let tokens = scored["choices"][0]["logprobs"]["content"].as_array().unwrap();
    assert_eq!((tokens.len(), tokens[0]["top_logprobs"].as_array().unwrap().len()), (4, 2));
    let stop: String = text.chars().skip(6).take(4).collect();
    let stopped = whole(json!({"stop": [stop]}));
    assert!(!stopped["choices"][0]["message"]["content"].as_str().unwrap().contains(&stop));
    assert_eq!(whole(json!({"n": 2}))["choices"].as_array().unwrap().len(), 2);
    // Schemas and functions.
    let schema = json!({"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": false});
    let held = json!({"type": "json_schema", "json_schema": {"name": "x", "schema": schema}});
    let answer = whole(json!({"response_format": held, "max_tokens": 64}));
    let answer: Value =
        serde_json::from_str(answer["choices"][0]["message"]["content"].as_str().unwrap()).unwrap();
    assert!(answer["a"].is_i64(), "{answer}");
    let tools = json!([{"type": "function", "function": {"name": "paint", "parameters": schema}}]);
    let called = whole(json!({"tools": tools, "tool_choice": "required", "max_tokens": 64}));
    assert_eq!(called["choices"][0]["message"]["tool_calls"][0]["function"]["name"], "paint", "{called}");
    let auto = whole(json!({"tools": tools}));
    assert!(auto["choices"][0]["finish_reason"].is_string(), "{auto}");
    // The other routes.
    let text =
        http.post("/v1/completions", &json!({"model": model, "prompt": "One, two,", "max_tokens": 8})).json();
    assert!(!text["choices"][0]["text"].as_str().unwrap().is_empty());
    let message =
        json!({"model": model, "max_tokens": 8, "messages": [{"role": "user", "content": "Hello!"}]});
    assert_eq!(http.post("/v1/messages", &message).json()["type"], "message");
    let inferred = http.post("/infer", &json!({"prompt": "Hello!", "max_new_tokens": 8})).json();
    assert!(!inferred["response"].as_str().unwrap().is_empty());
    let embed = json!({"model": model, "input": "x"});
    assert_eq!(http.post("/v1/embeddings", &embed).refused(501), "engine.embeddings.unavailable");
    assert_eq!(http.post("/tokenize", &json!({"content": "x"})).refused(501), "engine.tokens.unavailable");
    // Longer than its context: it says so, and we say nothing of what it says.
    let long = json!({"messages": [{"role": "user", "content": "zebra ".repeat(6000)}]});
    assert_eq!(http.post("/v1/chat/completions", &chat(long)).refused(400), "upstream.refused");
    assert!(!server.log().contains("zebra") && !server.log().contains("colours"));
}

fn killed_it_is_started_anew(f: &Fixture, python: &str) {
    let broker = broker(f, python, "{port}", "upstream-killed");
    let server = up(f, &broker.url, python, "{port}");
    let http = http(&server.url);
    let asked = |http: &Http| {
        http.post("/infer", &json!({"prompt": "Name three colours.", "max_new_tokens": 8})).status
    };
    assert_eq!(asked(&http), 200);
    assert_eq!(http.get("/ready").status, 200);
    let engine = engine_of(server.child.id()).to_string();
    assert!(Command::new("kill").args(["-KILL", &engine]).status().unwrap().success());
    let deadline = Instant::now() + Duration::from_secs(180);
    while http.get("/ready").status == 200 {
        assert!(Instant::now() < deadline, "nobody saw that it died");
    }
    assert_eq!(asked(&http), 503);
    while http.get("/ready").status != 200 {
        assert!(Instant::now() < deadline, "no other was started");
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(asked(&http), 200);
    assert!(http.get("/metrics").text().contains("casemate_engine_restarts_total 1"), "counted");
    assert_ne!(engine_of(server.child.id()).to_string(), engine);
}

fn the_probe_is_asked_before_anybody_else(f: &Fixture, python: &str) {
    let broker = broker(f, python, "{port}", "upstream-probe");
    let with = |expected: &str| {
        let question = ["--upstream-ask", "Say hello.", "--upstream-expect", expected];
        serve(f, &broker.url, python, "{port}", &question)
    };
    with("A text that no small model says").err().unwrap().refused(1, "upstream.probe.unlike");
    let policy = ["--upstream-expect", ""];
    serve(f, &broker.url, python, "{port}", &policy).err().unwrap().refused(2, "config.unpaired");
    let gone =
        run(&["serve", "--check-config", "--upstream-command", "x {model}", "--upstream-kind", "vllm"]);
    gone.refused(2, "config.upstream-command");
}
