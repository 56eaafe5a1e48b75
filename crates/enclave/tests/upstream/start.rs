//! Programs that are not let near a prompt.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use casemate_enclave::upstream::{Pace, Question, UpstreamEngine};
use casemate_engine::Engine;

use crate::Case;
use crate::roles::{ask, start, upstream};

pub const CASES: &[(&str, Case)] = &[
    ("start::one_mistake_each_has_its_code", one_mistake_each_has_its_code),
    ("start::one_that_loads_is_waited_for", one_that_loads_is_waited_for),
    ("start::the_operators_own_question", the_operators_own_question),
    ("start::a_model_in_another_form", a_model_in_another_form),
    ("start::what_is_told_shows", what_is_told_shows),
];

fn one_mistake_each_has_its_code() {
    for (behaviour, code) in [
        ("exits", "upstream.no-answer"),
        ("dies-asked", "upstream.no-answer"),
        ("exposed", "upstream.exposed"),
        ("garbage", "upstream.probe.garbage"),
        ("changes", "upstream.probe.unstable"),
        ("shares", "upstream.cache-shared"),
        ("counts-nothing", "upstream.probe.failed"),
        ("fails", "upstream.probe.failed"),
    ] {
        let started = Instant::now();
        let error = start(behaviour, "{port}").err().map(|error| (error.code(), error.to_string()));
        assert_eq!(error.as_ref().map(|(code, _)| *code), Some(code), "{behaviour}: {error:?}");
        assert!(started.elapsed() < Duration::from_secs(10), "{behaviour}");
    }
    // One that never says anything is given up after its time.
    let short = Pace { load: Duration::from_secs(1), look: Duration::from_millis(200) };
    let silent = UpstreamEngine::start(casemate_enclave::upstream::Upstream {
        pace: short,
        ..upstream("silent", "{port}")
    });
    assert_eq!(silent.err().map(|error| error.code()), Some("upstream.no-answer"));
    // How it ended is said.
    assert!(start("exits", "{port}").err().is_some_and(|error| error.to_string().contains('3')));
}

fn one_that_loads_is_waited_for() {
    let engine = start("loads", "{port}").unwrap();
    assert_eq!(ask(&engine, "hello").unwrap(), "The capital of France is Paris.");
}

fn the_operators_own_question() {
    let with = |expected: &str| {
        let mut upstream = upstream("honest", "{port}");
        upstream.config.question =
            Question { question: "Which one?".into(), expected: Some(expected.into()) };
        UpstreamEngine::start(upstream).err().map(|error| error.code())
    };
    assert_eq!(with("The capital of France is Paris"), None);
    assert_eq!(with("It is Lyon"), Some("upstream.probe.unlike"));
}

fn a_model_in_another_form() {
    let mut upstream = upstream("honest", "{port}");
    upstream.files.remove(0);
    assert_eq!(UpstreamEngine::start(upstream).err().map(|error| error.code()), Some("upstream.model"));
}

/// A port that was taken by somebody else in between is never spoken to as if it were the program's.
fn what_is_told_shows() {
    let engine = start("honest", "{port}").unwrap();
    assert_eq!((engine.info().name.as_str(), engine.info().architecture.as_str()), ("made", "vllm"));
    assert_eq!(engine.info().tensor_bytes, 30);
    drop(engine);
    drop(TcpListener::bind("127.0.0.1:0").unwrap());
}
