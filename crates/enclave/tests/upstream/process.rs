//! What the process is given and what not, how it is watched, and that it ends.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use casemate_engine::{Engine, FinishReason};

use crate::Case;
use crate::roles::{CONFIG, SERVER, WEIGHTS, ask, ask_for, lives, own, request, start, until};

pub const CASES: &[(&str, Case)] = &[
    ("process::it_reads_the_weights_out_of_memory", it_reads_the_weights_out_of_memory),
    ("process::it_inherits_nothing_else", it_inherits_nothing_else),
    ("process::it_is_started_anew_when_it_dies", it_is_started_anew_when_it_dies),
    ("process::it_is_started_anew_when_it_falls_silent", it_is_started_anew_when_it_falls_silent),
    ("process::it_ends_with_the_engine_and_leaves_nothing", it_ends_with_the_engine_and_leaves_nothing),
    ("process::it_ends_with_a_server_that_is_killed", it_ends_with_a_server_that_is_killed),
    ("process::who_goes_away_ends_the_answer", who_goes_away_ends_the_answer),
];

fn it_reads_the_weights_out_of_memory() {
    for address in ["{port}", "{socket}"] {
        let engine = start("honest", address).unwrap();
        assert_eq!(ask(&engine, "model").unwrap().as_bytes(), WEIGHTS);
        assert_eq!(ask(&engine, "config").unwrap().as_bytes(), CONFIG);
        let link = ask(&engine, "link").unwrap();
        assert!(link.starts_with(&format!("/proc/{}/fd/", engine.pid())), "no file but a link: {link}");
        assert_eq!(ask(&engine, "write").unwrap(), "refused");
        let (text, completion) = engine.generate_text(request("hello")).unwrap();
        assert_eq!(text, "The capital of France is Paris.");
        assert_eq!((completion.finish, completion.usage.prompt_tokens), (FinishReason::Stop, 20));
    }
}

fn it_inherits_nothing_else() {
    let engine = start("honest", "{port}").unwrap();
    let environment = ask(&engine, "environment").unwrap();
    let names: Vec<_> = environment.lines().filter_map(|line| Some(line.split_once('=')?.0)).collect();
    let expected = [
        "DO_NOT_TRACK",
        "HF_HUB_OFFLINE",
        "HOME",
        "LANG",
        "PATH",
        "TRANSFORMERS_OFFLINE",
        "VLLM_NO_USAGE_STATS",
        "WRITTEN",
    ];
    assert_eq!(names, expected);
    // What it opened itself: where it listens, this connection, and the listing. Nothing that it prints goes anywhere. Connections of
    // other requests may be about to close.
    let count = |open: &str, start: &str| open.lines().filter(|path| path.starts_with(start)).count();
    let counted = |open: &str| ["socket:", "/memfd:weights", "/dev/null"].map(|start| count(open, start));
    until("no other descriptor is open", || counted(&ask(&engine, "descriptors").unwrap()) == [2, 2, 3]);
    let open = ask(&engine, "descriptors").unwrap();
    let program = own().to_string_lossy().into_owned();
    let others = |path: &&str| {
        !path.starts_with("socket:")
            && !path.starts_with("/memfd:weights")
            && *path != "/dev/null"
            && **path != *program
    };
    let others: Vec<_> = open.lines().filter(others).collect();
    assert!(others.iter().all(|path| path.ends_with("/fd")), "{others:?}");
    // No new privileges is the server's to forbid, and is inherited: `harden` of the server's first step.
    assert!(ask(&engine, "status").unwrap().contains("NoNewPrivs"));
}

fn it_is_started_anew_when_it_dies() {
    let engine = start("honest", "{port}").unwrap();
    let (pid, child) = (engine.pid(), ask(&engine, "child").unwrap().parse().unwrap());
    assert!(lives(child));
    let died = ask(&engine, "die").unwrap_err();
    assert_eq!(died.code(), "upstream.answer", "the answer has no end");
    until("somebody sees that it died", || engine.pid() != pid);
    until("its own child ends with it", || !lives(child));
    until("the next one answers", || engine.health().is_ok());
    assert_eq!(engine.restarts(), 1);
    assert_eq!(ask(&engine, "model").unwrap().as_bytes(), WEIGHTS, "the same weights");
}

fn it_is_started_anew_when_it_falls_silent() {
    let engine = start("falls-silent", "{port}").unwrap();
    let pid = engine.pid();
    until("somebody sees that it hangs", || engine.pid() != pid);
    assert!(!lives(pid));
    until("the next one answers", || engine.restarts() > 0);
}

fn it_ends_with_the_engine_and_leaves_nothing() {
    for address in ["{port}", "{socket}"] {
        let engine = start("honest", address).unwrap();
        let (pid, child) = (engine.pid(), ask(&engine, "child").unwrap().parse().unwrap());
        let environment = ask(&engine, "environment").unwrap();
        let home = environment.lines().find_map(|line| line.strip_prefix("HOME=")).unwrap().to_owned();
        assert!(std::fs::exists(&home).unwrap());
        drop(engine);
        assert!(!lives(pid));
        until("its own child ends with it", || !lives(child));
        assert!(!std::fs::exists(&home).unwrap());
    }
}

fn it_ends_with_a_server_that_is_killed() {
    let mut server = Command::new(own()).arg(SERVER).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let pid = line.trim().parse().unwrap();
    assert!(lives(pid));
    server.kill().unwrap();
    server.wait().unwrap();
    until("it ends too", || !lives(pid));
}

fn who_goes_away_ends_the_answer() {
    let engine = start("honest", "{port}").unwrap();
    let ended = ask_for(&engine, "long", 4).unwrap();
    assert_eq!(ended.finish, FinishReason::Cancelled);
    assert!(ended.usage.completion_tokens >= 2, "what was seen is counted");
    until("it hears that nobody listens", || ask(&engine, "closed").unwrap() == "1");
    // From outside, while nothing comes.
    let request = request("long");
    let cancel = request.cancel.clone();
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(200));
        cancel.cancel();
    });
    let started = Instant::now();
    let (_, ended) = engine.generate_text(request).unwrap();
    assert_eq!(ended.finish, FinishReason::Cancelled);
    assert!(started.elapsed() < Duration::from_secs(3));
    assert_eq!(engine.queue_depth(), 0);
}
