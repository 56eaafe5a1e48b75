//! What this program is, when it is started by itself.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::process::{Child, ChildStdout, Command, ExitCode, Stdio};
use std::time::Duration;

use casemate_enclave::Locked;
use casemate_enclave::confined::{EngineProcess, Patience, Program, WORKER, walls, worker, worker_with};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

use crate::attempts::attempt;
use crate::hostile;

/// Plays the role that the arguments name, if they name one.
pub(crate) fn play(arguments: &[String]) -> Option<ExitCode> {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let failure = Some(ExitCode::FAILURE);
    match arguments.as_slice() {
        [WORKER] => Some(worker()),
        ["hostile"] => Some(worker_with(hostile::load)),
        ["hostile-without", call] => {
            without(call.parse().expect("a number"));
            Some(worker_with(hostile::load))
        }
        ["hostile-threads"] => {
            std::thread::spawn(|| std::thread::sleep(Duration::from_secs(3600)));
            Some(worker_with(hostile::load))
        }
        ["silent"] => {
            std::thread::sleep(Duration::from_secs(3600));
            failure
        }
        ["gone"] => Some(ExitCode::from(9)),
        ["attempt", wall, line] => {
            match *wall {
                "none" => (),
                "landlock" => drop(walls::landlock().expect("Landlock")),
                "seccomp" => walls::seccomp().expect("seccomp"),
                other => panic!("no wall is called {other}"),
            }
            say(&attempt(line).render())
        }
        ["key-without-secret-memory"] => {
            without(libc::SYS_memfd_secret);
            say(&Locked::new([1u8; 32]).expect("a locked page").locked_by().to_string())
        }
        ["victim"] => {
            let secret = Box::new(*b"a key of another process of ours");
            say(&format!("{}\n", secret.as_ptr() as usize))?;
            // Until whoever started this is gone.
            let _ = std::io::stdin().read(&mut [0]);
            Some(ExitCode::SUCCESS)
        }
        _ => None,
    }
}

fn say(text: &str) -> Option<ExitCode> {
    let mut out = std::io::stdout();
    let said = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    Some(if said.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// From now on this process runs on a kernel that has no such call.
fn without(call: i64) {
    let rules = BTreeMap::from([(call, Vec::new())]);
    let missing = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
    let arch = std::env::consts::ARCH.try_into().expect("an architecture");
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, missing, arch).expect("a filter");
    let program = BpfProgram::try_from(filter).expect("a program");
    seccompiler::apply_filter(&program).expect("seccomp");
}

/// This program in a role, as the engine's process.
pub(crate) fn program(role: &[&str]) -> Program {
    Program { arguments: role.iter().map(Into::into).collect(), ..Program::own() }
}

/// A confined process with the hostile engine.
pub(crate) fn hostile() -> casemate_enclave::confined::ConfinedEngine {
    hostile_with(Patience::default())
}

pub(crate) fn hostile_with(patience: Patience) -> casemate_enclave::confined::ConfinedEngine {
    let process = EngineProcess::start(&program(&["hostile"]), patience).unwrap();
    let weights = std::fs::File::open("/dev/null").unwrap();
    process.load(weights, casemate_engine::EngineOptions::default()).unwrap()
}

/// This program in a role, and what it printed.
pub(crate) fn run(role: &[&str]) -> (std::process::ExitStatus, String) {
    let output = Command::new("/proc/self/exe").args(role).stdin(Stdio::null()).output().unwrap();
    (output.status, String::from_utf8(output.stdout).unwrap())
}

/// Another process of the same user, with a secret, and nothing that protects it.
pub(crate) struct Victim {
    child: Child,
    _stdout: ChildStdout,
    pub(crate) address: usize,
}

impl Victim {
    pub(crate) fn start() -> Self {
        let mut child = Command::new("/proc/self/exe")
            .arg("victim")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let mut line = String::new();
        let mut byte = [0u8];
        while stdout.read(&mut byte).unwrap() == 1 && byte != [b'\n'] {
            line.push(char::from(byte[0]));
        }
        Self { child, _stdout: stdout, address: line.parse().unwrap() }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
