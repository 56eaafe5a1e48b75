//! Whatever the engine's process does wrong has a name, and nobody waits for it.

use std::fs::File;
use std::sync::Arc;
use std::time::{Duration, Instant};

use casemate_enclave::confined::{
    ConfineError, EngineProcess, LockDownError, Patience, Program, Restart, SupervisedEngine,
};
use casemate_engine::{Engine, EngineError, EngineOptions, ProcessEnd};

use crate::Case;
use crate::hostile::{order, vectors};
use crate::roles::{hostile, hostile_with, program};

pub(crate) const CASES: &[(&str, Case)] = &[
    ("a_process_that_ends_is_named", a_process_that_ends_is_named),
    ("a_killed_process_is_named_to_everybody", a_killed_process_is_named_to_everybody),
    ("an_engine_that_ends_has_a_successor", an_engine_that_ends_has_a_successor),
    ("a_hang_is_named", a_hang_is_named),
    ("a_broken_protocol_is_named", a_broken_protocol_is_named),
    ("vectors_and_tokens_are_what_was_asked_for", vectors_and_tokens_are_what_was_asked_for),
    ("a_process_that_cannot_be_confined_is_refused", a_process_that_cannot_be_confined_is_refused),
    ("a_process_that_does_not_answer_is_refused", a_process_that_does_not_answer_is_refused),
    ("a_file_that_is_no_model_is_named", a_file_that_is_no_model_is_named),
    ("the_process_ends_with_its_engine", the_process_ends_with_its_engine),
];

fn a_process_that_ends_is_named() {
    for (line, end) in [("abort", ProcessEnd::Signal(libc::SIGABRT)), ("exit", ProcessEnd::Exit(7))] {
        let engine = hostile();
        let error = engine.generate_text(order(line)).unwrap_err();
        assert_eq!(error, EngineError::Ended(end), "{line}");
        assert_eq!(error.code(), "engine.process.ended");
        // And it stays so, at once.
        assert_eq!(engine.generate_text(order("exit")), Err(error.clone()));
        assert_eq!(engine.health(), Err(error));
        assert_eq!(engine.queue_depth(), 0);
    }
}

fn a_killed_process_is_named_to_everybody() {
    let engine = Arc::new(hostile());
    let waiting: Vec<_> = (0..3)
        .map(|_| {
            let engine = Arc::clone(&engine);
            std::thread::spawn(move || engine.generate_text(order("hang")))
        })
        .collect();
    while engine.queue_depth() < 3 {
        std::thread::sleep(Duration::from_millis(1));
    }
    let pid = rustix::process::Pid::from_raw(i32::try_from(engine.pid()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    for thread in waiting {
        let ended = EngineError::Ended(ProcessEnd::Signal(libc::SIGKILL));
        assert_eq!(thread.join().unwrap(), Err(ended));
    }
    assert_eq!(engine.health().unwrap_err().code(), "engine.process.ended");
}

fn an_engine_that_ends_has_a_successor() {
    let weights = || File::open("/dev/null").unwrap();
    let restart = Restart {
        program: program(&["hostile"]),
        patience: Patience::default(),
        weights: weights(),
        options: EngineOptions::default(),
    };
    let engine = SupervisedEngine::new(hostile(), restart).unwrap();
    for round in 1..3 {
        let before = engine.pid();
        let error = engine.generate_text(order("abort")).unwrap_err();
        assert_eq!(error, EngineError::Ended(ProcessEnd::Signal(libc::SIGABRT)));
        let started = Instant::now();
        while engine.health().is_err() {
            // Until then requests have the same error; or it is there now.
            if let Err(now) = engine.generate_text(order("environment")) {
                assert_eq!(now, error);
            }
            assert!(started.elapsed() < Duration::from_secs(10), "no successor");
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_ne!(engine.pid(), before);
        assert_eq!(engine.restarts(), round);
        assert_eq!(engine.generate_text(order("environment")).unwrap().0, "GGML_NO_BACKTRACE");
    }
}

fn a_hang_is_named() {
    let engine = hostile_with(Patience { silence: 1, ..Patience::default() });
    let error = engine.generate_text(order("hang")).unwrap_err();
    assert_eq!((error.code(), &error), ("engine.process.hung", &EngineError::Hung { seconds: 1 }));
    assert_eq!(engine.health(), Err(error));
}

fn a_broken_protocol_is_named() {
    for (line, what) in [
        ("start-twice", "a request that starts twice"),
        ("text-first", "text out of place"),
        ("scored", "more probabilities than were asked for"),
        ("too-much", "more text than was asked for"),
        ("too-many", "more tokens than were asked for"),
        ("noise", "a message of a length that none has"),
        ("nonsense", "a message that cannot be read"),
    ] {
        let engine = hostile();
        let error = engine.generate_text(order(line)).unwrap_err();
        assert_eq!(error, EngineError::Protocol { what }, "{line}");
        assert_eq!(error.code(), "engine.process.protocol");
        assert_eq!(engine.health(), Err(error));
    }
}

fn vectors_and_tokens_are_what_was_asked_for() {
    let engine = hostile();
    let embedded = engine.embed(vectors(&["a", "b"])).unwrap();
    assert_eq!((embedded.vectors, embedded.tokens), (vec![vec![0.6, 0.8]; 2], 7));
    assert_eq!(engine.tokenise("x".repeat(20_000), false), Ok(vec![7; 20_000]), "in several messages");
    assert_eq!(engine.detokenise(vec![1, 2, 3]), Ok("xxx".into()));
    assert_eq!(engine.embed(vectors(&["nothing"])), Err(EngineError::NoVector));
    for (line, what) in [
        ("longer", "a vector of another length"),
        ("more", "more vectors than were asked for"),
        ("no-number", "a vector with something that is no number"),
    ] {
        let engine = hostile();
        assert_eq!(engine.embed(vectors(&[line])), Err(EngineError::Protocol { what }), "{line}");
        assert_eq!(engine.health(), Err(EngineError::Protocol { what }));
    }
    let engine = hostile();
    let what = "more of a text's tokens than it has";
    assert_eq!(engine.tokenise("flood".into(), false), Err(EngineError::Protocol { what }));
    let engine = hostile();
    let what = "more text than was asked for";
    assert_eq!(engine.detokenise(vec![666]), Err(EngineError::Protocol { what }));
}

fn a_process_that_cannot_be_confined_is_refused() {
    let without = |call: i64| {
        EngineProcess::start(&program(&["hostile-without", &call.to_string()]), Patience::default()).err()
    };
    let code = |error: Option<ConfineError>| error.map(|error| error.code());
    let landlock = without(libc::SYS_landlock_create_ruleset);
    assert!(matches!(landlock, Some(ConfineError::LockDown(LockDownError::NoLandlock))), "{landlock:?}");
    assert_eq!(code(landlock), Some("confine.landlock.absent"));
    assert_eq!(code(without(libc::SYS_landlock_restrict_self)), Some("confine.landlock.refused"));
    assert_eq!(code(without(libc::SYS_seccomp)), Some("confine.seccomp"));
    assert_eq!(code(without(libc::SYS_close_range)), Some("confine.system"));
    let threads = EngineProcess::start(&program(&["hostile-threads"]), Patience::default()).err();
    assert!(
        matches!(threads, Some(ConfineError::LockDown(LockDownError::Threads { found: 2 }))),
        "{threads:?}"
    );
    assert_eq!(code(threads), Some("confine.threads"));
}

fn a_process_that_does_not_answer_is_refused() {
    let start =
        |program: &Program| EngineProcess::start(program, Patience { start: 1, ..Patience::default() }).err();
    let silent = start(&program(&["silent"]));
    assert!(matches!(silent, Some(ConfineError::NoAnswer(EngineError::Hung { seconds: 1 }))), "{silent:?}");
    let gone = start(&program(&["gone"]));
    let ended = EngineError::Ended(ProcessEnd::Exit(9));
    assert!(matches!(&gone, Some(ConfineError::NoAnswer(error)) if *error == ended), "{gone:?}");
    assert_eq!(gone.map(|error| error.code()), Some("confine.no-answer"));
    let nothing = start(&Program { path: "/nonexistent".into(), arguments: Vec::new() });
    assert_eq!(nothing.map(|error| error.code()), Some("confine.start"));
}

fn a_file_that_is_no_model_is_named() {
    let process = EngineProcess::start(&Program::own(), Patience::default()).unwrap();
    let file = File::open("/etc/passwd").unwrap();
    let error = process.load(file, EngineOptions::default()).err().unwrap();
    assert_eq!(
        (error.code(), error.to_string().as_str()),
        ("engine.model.not-gguf", "the model file is not GGUF")
    );
}

fn the_process_ends_with_its_engine() {
    let engine = hostile();
    let directory = format!("/proc/{}", engine.pid());
    assert!(std::fs::exists(&directory).unwrap());
    drop(engine);
    assert!(!std::fs::exists(&directory).unwrap());
}
