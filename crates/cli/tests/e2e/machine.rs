//! What the operating system sees of a running server: no plaintext on a disk, one copy in memory, no content in logs,
//! an unprivileged user.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::Case;
use crate::fixture::{Fixture, Server, casemate, engine_of, model, run};
use crate::path::http;

pub const CASES: &[(&str, Case)] = &[
    ("machine::no_plaintext_weights_on_any_disk", no_plaintext_weights_on_any_disk),
    ("machine::one_copy_of_the_weights_in_memory", one_copy_of_the_weights_in_memory),
    ("machine::no_prompt_or_answer_in_any_log", no_prompt_or_answer_in_any_log),
    ("machine::the_processes_are_hardened", the_processes_are_hardened),
    ("machine::a_dead_engine_is_named_and_followed", a_dead_engine_is_named_and_followed),
    ("machine::the_engine_dies_with_the_server", the_engine_dies_with_the_server),
    ("machine::keys_are_read_anew_while_it_runs", keys_are_read_anew_while_it_runs),
];

fn start(f: &Fixture, broker: &Server, folder: &Path, env: &[(&str, &str)]) -> Server {
    let args = f.serve_args(&broker.url, &f.path("sealed"));
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    Server::start(&casemate(), &args, env, Some(folder)).unwrap_or_else(|run| panic!("serve: {}", run.stderr))
}

/// A server whose working and temporary folders are watched; then every file that it could have written, and everything
/// that it holds open, is searched for pieces of the plaintext.
fn no_plaintext_weights_on_any_disk(f: &Fixture) {
    let broker = f.broker(&f.path("store"));
    let folder = f.folder("disk");
    // The unprivileged user may write here.
    fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let tmp = folder.to_str().unwrap().to_owned();
    let server = start(f, &broker, &folder, &[("TMPDIR", &tmp), ("HOME", &tmp), ("XDG_CACHE_HOME", &tmp)]);
    assert_eq!(http(&server.url).post("/infer", &json!({ "prompt": "Hi", "max_new_tokens": 8 })).status, 200);

    let needles = needles();
    // The search itself must be able to find: the model file has every needle.
    assert_eq!(found_in(&model().unwrap(), &needles), needles.len());
    // Every file below the folders that it can write, and the sealed model.
    let mut searched = 0;
    for root in [folder.clone(), PathBuf::from(f.path("sealed")), PathBuf::from(f.path("store"))] {
        for entry in
            walkdir::WalkDir::new(root).into_iter().map(Result::unwrap).filter(|e| e.file_type().is_file())
        {
            assert_eq!(found_in(entry.path(), &needles), 0, "plaintext in {}", entry.path().display());
            searched += 1;
        }
    }
    assert!(searched >= 3, "only {searched} files were searched");
    // An undumpable process shows its descriptors and mappings to root only.
    for pid in [server.child.id(), engine_of(server.child.id())] {
        if is_root() {
            nothing_on_a_disk_is_open_for_writing(pid);
        } else {
            let error = fs::read_dir(format!("/proc/{pid}/fd")).unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied);
        }
    }
}

fn nothing_on_a_disk_is_open_for_writing(pid: u32) {
    for fd in fs::read_dir(format!("/proc/{pid}/fd")).unwrap().map(Result::unwrap) {
        let target = fs::read_link(fd.path()).unwrap();
        let text = target.to_string_lossy().into_owned();
        let memory =
            ["socket:", "pipe:", "anon_inode:", "/memfd:", "/dev/null"].iter().any(|p| text.starts_with(p));
        if !memory {
            let info = fs::read_to_string(format!("/proc/{pid}/fdinfo/{}", fd.file_name().to_string_lossy()));
            let info = info.unwrap();
            let flags = info.lines().find_map(|l| l.strip_prefix("flags:")).unwrap().trim();
            let flags = u32::from_str_radix(flags, 8).unwrap();
            assert_eq!(flags & 0o3, 0, "{text} is open for writing");
        }
    }
    // And no writable shared mapping of a file.
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    for line in maps
        .lines()
        .filter(|l| l.split_whitespace().nth(1).is_some_and(|p| p.contains('w') && p.ends_with('s')))
    {
        let inode = line.split_whitespace().nth(4).unwrap();
        assert!(inode == "0" || line.contains("/memfd:") || line.contains("/dev/"), "{line}");
    }
}

/// Whether this test runs as root: the owner of its own entry in /proc.
pub fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// 64-byte pieces of the weights from all over the file, each with enough variety to be unique.
fn needles() -> Vec<Vec<u8>> {
    let file = File::open(model().unwrap()).unwrap();
    let len = file.metadata().unwrap().size();
    let mut needles = Vec::new();
    for step in 4..20u64 {
        let mut piece = vec![0; 64];
        file.read_exact_at(&mut piece, len / 20 * step).unwrap();
        let distinct: std::collections::BTreeSet<_> = piece.iter().collect();
        if distinct.len() > 24 {
            needles.push(piece);
        }
    }
    assert!(needles.len() >= 8, "the model has too little variety to search for");
    needles
}

fn found_in(path: &Path, needles: &[Vec<u8>]) -> usize {
    let bytes = fs::read(path).unwrap();
    // One pass: the first four bytes decide where to look closer.
    let mut found = vec![false; needles.len()];
    let first: std::collections::HashMap<&[u8], usize> =
        needles.iter().enumerate().map(|(i, needle)| (&needle[..4], i)).collect();
    for at in 0..bytes.len().saturating_sub(63) {
        if let Some(&i) = first.get(&bytes[at..at + 4]) {
            found[i] |= bytes[at..].starts_with(&needles[i]);
        }
    }
    found.iter().filter(|f| **f).count()
}

fn one_copy_of_the_weights_in_memory(f: &Fixture) {
    let broker = f.broker(&f.path("store"));
    let folder = f.folder("memory");
    let server = start(f, &broker, &folder, &[("CASEMATE_CACHE_TOKENS", "4096")]);
    assert_eq!(http(&server.url).post("/infer", &json!({ "prompt": "Hi", "max_new_tokens": 8 })).status, 200);
    let pids = [server.child.id(), engine_of(server.child.id())];
    let statuses = pids.map(|pid| fs::read_to_string(format!("/proc/{pid}/status")).unwrap());
    let kib = |name: &str| -> u64 {
        let in_kib = |status: &String| -> u64 {
            let line = status.lines().find_map(|l| l.strip_prefix(name));
            let line = line.unwrap_or_else(|| panic!("{name}: {status}"));
            line.trim_start_matches(':').trim().trim_end_matches(" kB").parse().unwrap()
        };
        statuses.iter().map(in_kib).sum()
    };
    let model = fs::metadata(model().unwrap()).unwrap().len() / 1024;
    // The memory file is the copy, and the engine's process maps it; private memory holds context and buffers only.
    assert!(kib("RssShmem") <= model + 1024, "more than one copy: {statuses:?}");
    assert!(kib("RssShmem") >= model / 2, "the weights are not in the memory file: {statuses:?}");
    // A cache of 4,096 tokens and compute buffers of this model are about 150 MiB; a second copy would add the model.
    let peak = kib("VmHWM");
    assert!(peak < 2 * model + 180 * 1024, "peak {peak} KiB for a model of {model} KiB");
}

fn no_prompt_or_answer_in_any_log(f: &Fixture) {
    const MARKER: &str = "xq7-vermilion-otter-marker";
    let root = f.root();
    let store = f.path("store");
    let args =
        ["broker", "serve", "--store", &store, "--listen", "127.0.0.1:0", "--danger-simulated-root", &root];
    let broker = Server::start(&casemate(), &args, &[("RUST_LOG", "trace")], None)
        .unwrap_or_else(|r| panic!("{}", r.stderr));
    let folder = f.folder("logs");
    let server = start(f, &broker, &folder, &[("RUST_LOG", "trace")]);
    let http = http(&server.url);
    let prompt = format!("Repeat after me: {MARKER}");
    let answer = http.post("/infer", &json!({ "prompt": prompt, "max_new_tokens": 16 })).json();
    let answer = answer["response"].as_str().unwrap().to_owned();
    http.post("/infer", &json!({ "prompt": format!("{MARKER}{}", "x".repeat(5000)) }));
    http.post("/infer", &json!({ "prompt": 7, "note": MARKER }));
    http.post(
        "/v1/chat/completions",
        &json!({ "model": MARKER, "messages": [{ "role": "user", "content": MARKER }] }),
    );
    http.post("/v1/chat/completions", &json!({ "messages": MARKER }));
    http.get(&format!("/{MARKER}"));
    let log = [server.log(), broker.log()].concat();
    assert!(log.len() > 1000 && log.contains("TRACE"), "the logs were not captured: {log:.300}");
    assert!(!log.contains(MARKER), "the prompt is in a log");
    for words in answer.split_inclusive(['.', '\n']).map(str::trim).filter(|w| w.len() > 12) {
        assert!(!log.contains(words), "the answer is in a log: {words}");
    }
}

fn the_processes_are_hardened(f: &Fixture) {
    let broker = f.broker(&f.path("store"));
    let folder = f.folder("hardened");
    let server = start(f, &broker, &folder, &[]);
    let engine = engine_of(server.child.id());
    hardened(server.child.id());
    hardened(engine);
    let status = fs::read_to_string(format!("/proc/{engine}/status")).unwrap();
    assert!(status.contains("Seccomp:\t2"), "the engine's calls are not filtered: {status}");
    let log = server.log();
    assert!(log.contains("engine confined") && log.contains("landlock_abi"), "{log}");
    // Which memory held the key: one of the two, and which.
    assert!(log.contains("memory=memfd_secret") || log.contains("memory=mlock (no memfd_secret"), "{log}");
    // Without swap permission it would not have started; with a named device it refuses (unit test in the enclave).
    let check =
        run(&["serve", "--check-config", "--model", "m", "--publisher-key", "p", "--broker", "http://b"]);
    assert_eq!(check.exit, Some(0), "{}", check.stderr);
}

/// The engine ends, by itself or by somebody: its requests say so by name, the server goes on, and the next engine is there soon.
fn a_dead_engine_is_named_and_followed(f: &Fixture) {
    let broker = f.broker(&f.path("store"));
    let server = f.serve(&broker.url);
    let http = http(&server.url);
    assert_eq!(http.get("/health").json()["status"], "ok");
    let engine = engine_of(server.child.id()).to_string();
    let question = json!({ "prompt": "Write a very long story.", "max_new_tokens": 2000 });
    let interrupted = std::thread::scope(|scope| {
        let long = scope.spawn(|| http.post("/infer", &question));
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while !http.get("/metrics").text().contains("casemate_engine_queue_depth 1") {
            assert!(std::time::Instant::now() < deadline, "the question never came to the engine");
        }
        assert!(std::process::Command::new("kill").args(["-KILL", &engine]).status().unwrap().success());
        assert_eq!(http.get("/attest").status, 200, "what does not need the engine goes on");
        long.join().unwrap()
    });
    assert_eq!(interrupted.refused(503), "engine.process.ended");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while http.get("/health").status != 200 || engine_of(server.child.id()).to_string() == engine {
        assert!(std::time::Instant::now() < deadline, "no engine follows: {}", server.log());
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    hardened(engine_of(server.child.id()));
    let question = json!({ "prompt": "What is 2+2?", "max_new_tokens": 8 });
    assert_eq!(http.post("/infer", &question).status, 200);
    assert!(http.get("/metrics").text().contains("casemate_engine_restarts_total 1"));
    let log = server.log();
    assert!(log.contains("signal 9") && log.contains("the engine's process was started anew"), "{log}");
}

fn the_engine_dies_with_the_server(f: &Fixture) {
    let broker = f.broker(&f.path("store"));
    let mut server = f.serve(&broker.url);
    let status = format!("/proc/{}/status", engine_of(server.child.id()));
    server.kill9();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    // Where nobody asks for the end of an orphan, a dead process keeps its entry.
    while fs::read_to_string(&status).is_ok_and(|status| !status.contains("State:\tZ")) {
        assert!(std::time::Instant::now() < deadline, "the engine lives on");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

/// SRV-57: by a change of the file, and by SIGHUP; a file that is not usable changes nothing and is named.
fn keys_are_read_anew_while_it_runs(f: &Fixture) {
    let broker = f.broker(&f.path("store"));
    let folder = f.folder("keys");
    // The server reads it as its own user.
    for path in [folder.parent().unwrap(), &folder] {
        fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
    let keys = folder.join("keys.json").to_str().unwrap().to_owned();
    let new = |tenant: &str| f.ok(&["keys", "new", &keys, "--tenant", tenant]).stdout.trim().to_owned();
    let first = new("acme");
    let mut args = f.serve_args(&broker.url, &f.path("sealed"));
    args.extend(["--api-keys", &keys].map(str::to_owned));
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    let server = Server::start(&casemate(), &args, &[], None).unwrap_or_else(|run| panic!("{}", run.stderr));
    let http = http(&server.url);
    let status = |key: &str| http.get_with("/v1/models", key).status;
    let until = |what: &str, holds: &dyn Fn() -> bool| {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while !holds() {
            assert!(std::time::Instant::now() < deadline, "{what}: {}", server.log());
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    };
    let counted = |line: &str| http.get("/metrics").text().lines().any(|l| l == line);
    assert_eq!((status(&first), status("casemate-other")), (200, 401));

    let second = new("other");
    until("a new key is let in", &|| status(&second) == 200);
    assert_eq!(status(&first), 200);
    let good = fs::read_to_string(&keys).unwrap();
    fs::write(&keys, "{").unwrap();
    until("it is said", &|| counted("casemate_api_keys_stale 1"));
    assert_eq!((status(&first), status(&second)), (200, 200), "the older keys stay");
    assert!(server.log().contains("keys.form"), "{}", server.log());
    fs::write(&keys, &good).unwrap();
    until("it is usable again", &|| counted("casemate_api_keys_stale 0"));

    let listed: serde_json::Value =
        serde_json::from_str(&f.ok(&["keys", "list", &keys, "--json"]).stdout).unwrap();
    f.ok(&["keys", "revoke", &keys, listed["tenants"][1]["keys"][0]["id"].as_str().unwrap()]);
    until("a revoked key is refused", &|| status(&second) == 401);

    let reloads = || {
        let text = http.get("/metrics").text();
        let line =
            text.lines().find_map(|line| line.strip_prefix("casemate_api_keys_reloads_total ")).unwrap();
        line.parse::<u64>().unwrap()
    };
    let before = reloads();
    let pid = server.child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-HUP", &pid]).status().unwrap().success());
    until("SIGHUP asks for it", &|| reloads() == before + 1);
    assert_eq!(status(&first), 200);
}

/// An unprivileged user, no new privileges, no core dump, not dumpable.
fn hardened(pid: u32) {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let field = |name: &str| status.lines().find_map(|l| l.strip_prefix(name)).unwrap().trim().to_owned();
    assert!(!field("Uid:").split_whitespace().any(|uid| uid == "0"), "runs as root: {status}");
    assert!(!field("Gid:").split_whitespace().any(|gid| gid == "0"), "runs with root's group: {status}");
    for thread in fs::read_dir(format!("/proc/{pid}/task")).unwrap().map(Result::unwrap) {
        let status = fs::read_to_string(thread.path().join("status")).unwrap();
        assert!(status.contains("NoNewPrivs:\t1"), "a thread may gain privileges: {status}");
    }
    assert_eq!(field("CapEff:"), "0000000000000000");
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let core = limits.lines().find(|l| l.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"], "{core}");
    // An undumpable process's files in /proc belong to root, whoever runs it.
    assert_eq!(fs::metadata(format!("/proc/{pid}/mem")).unwrap().uid(), 0);
}
