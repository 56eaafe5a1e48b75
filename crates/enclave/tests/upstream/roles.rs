//! What this program is where it starts itself, and how the cases start it.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "what a process writes is what is tested")]

use std::fs::File;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use casemate_enclave::confined::Program;
use casemate_enclave::upstream::{
    CommandLine, Executable, Kind, LAUNCHER, Output, Pace, Question, Upstream, UpstreamConfig,
    UpstreamEngine, UpstreamError, launcher,
};
use casemate_engine::{
    ChatMessage, Completion, Engine, EngineError, Event, GenerateRequest, Input, Role, TokenBudget,
};

use crate::stand_in;

pub const STAND_IN: &str = "stand-in";
pub const SERVER: &str = "server-that-is-killed";

/// `None` where it is the test.
pub fn play(arguments: &[String]) -> Option<ExitCode> {
    match arguments.split_first()? {
        (first, []) if first == LAUNCHER => Some(launcher()),
        (first, rest) if first == STAND_IN => Some(stand_in::run(rest)),
        (first, []) if first == SERVER => {
            let engine = start("honest", "{port}").expect("an engine");
            println!("{}", engine.pid());
            std::thread::sleep(Duration::from_secs(600));
            Some(ExitCode::SUCCESS)
        }
        _ => None,
    }
}

pub fn own() -> PathBuf {
    std::env::current_exe().expect("this program")
}

/// Content of the model's files.
pub const WEIGHTS: &[u8] = b"GGUF and not a real one";
pub const CONFIG: &[u8] = b"{\"a\":1}";

pub fn upstream(behaviour: &str, address: &str) -> Upstream {
    let own = own();
    let command = format!("{} {STAND_IN} {behaviour} {{model}} {{folder}} {address}", own.display());
    Upstream {
        config: UpstreamConfig {
            command: CommandLine::parse(&command).expect("a command"),
            kind: Kind::Vllm,
            environment: vec!["WRITTEN=by the operator".into()],
            question: Question::default(),
            output: Output::Nowhere,
            separation: Kind::Vllm.separation(),
        },
        executable: Executable::open(own.to_str().expect("a path")).expect("this program"),
        launcher: Program { path: own, arguments: vec![LAUNCHER.into()] },
        files: vec![("weights.gguf".into(), memory(WEIGHTS)), ("sub/config.json".into(), memory(CONFIG))],
        name: "made".into(),
        parallel: 2,
        pace: Pace { load: Duration::from_secs(20), look: Duration::from_millis(300) },
    }
}

pub fn start(behaviour: &str, address: &str) -> Result<UpstreamEngine, UpstreamError> {
    UpstreamEngine::start(upstream(behaviour, address))
}

/// As weights are: memory that nothing changes, open for reading.
fn memory(content: &[u8]) -> File {
    use std::os::fd::{AsFd, AsRawFd};

    use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
    let file = memfd_create(c"weights", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).expect("memory");
    let mut file = File::from(file);
    file.write_all(content).expect("memory");
    let all = SealFlags::GROW | SealFlags::SHRINK | SealFlags::WRITE | SealFlags::SEAL;
    fcntl_add_seals(file.as_fd(), all).expect("seals");
    File::open(format!("/proc/self/fd/{}", file.as_raw_fd())).expect("a reader")
}

pub fn request(prompt: &str) -> GenerateRequest {
    let messages = vec![ChatMessage::new(Role::User, prompt)];
    GenerateRequest::new(Input::Chat(messages), TokenBudget::Exact(64.try_into().expect("not 0")))
}

pub fn ask(engine: &UpstreamEngine, prompt: &str) -> Result<String, EngineError> {
    engine.generate_text(request(prompt)).map(|(text, _)| text)
}

/// As [`ask`], until `most` events came.
pub fn ask_for(engine: &UpstreamEngine, prompt: &str, most: usize) -> Result<Completion, EngineError> {
    let mut events = 0;
    engine.generate(request(prompt), &mut |_: Event| {
        events += 1;
        if events >= most { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })
}

/// Waits until something is so.
pub fn until(what: &str, so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(15);
    while !so() {
        assert!(Instant::now() < deadline, "not within 15 s: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Whether a process is there, and no corpse.
pub fn lives(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
}
