//! Child processes that never outlive the demo.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::error::CliError;

/// A command that ran to its end.
pub(super) struct Run {
    pub(super) exit: Option<i32>,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

/// Runs `program` to its end.
pub(super) fn run_to_end(program: &Path, args: &[&str]) -> Result<Run, CliError> {
    let start = |source| CliError::Start { program: program.to_owned(), source };
    let output = Command::new(program).args(args).stdin(Stdio::null()).output().map_err(start)?;
    Ok(Run {
        exit: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// A server that runs until this value is dropped. It also stops by itself when its standard input closes, so it does
/// not outlive a demo that was killed.
pub(super) struct Daemon {
    child: Child,
    /// The line of JSON with which it announced that it is up.
    pub(super) announced: Value,
}

impl Daemon {
    /// Starts `program` and waits for its announcement.
    pub(super) fn start(name: &'static str, program: &Path, args: &[&str]) -> Result<Self, CliError> {
        let start = |source| CliError::Start { program: program.to_owned(), source };
        let mut child = Command::new(program)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(start)?;
        let stdout = child.stdout.take();
        let stderr = child.stderr.take();
        let (announce, announced) = mpsc::channel();
        thread::spawn(move || {
            let mut lines = stdout.map(BufReader::new).into_iter().flat_map(BufRead::lines);
            if let Some(Ok(line)) = lines.next() {
                let _ = announce.send(line);
            }
            lines.for_each(drop);
        });
        // Read all the time, or a full pipe would stop the server; kept for the error message.
        let (talk, talked) = mpsc::channel();
        thread::spawn(move || {
            let mut text = String::new();
            if let Some(mut stderr) = stderr {
                let _ = stderr.read_to_string(&mut text);
            }
            let _ = talk.send(text);
        });
        let mut daemon = Self { child, announced: Value::Null };
        match announced.recv_timeout(START_LIMIT) {
            Ok(line) => {
                daemon.announced =
                    serde_json::from_str(&line).map_err(|_| CliError::NotJson { command: name })?;
                Ok(daemon)
            }
            Err(_) => {
                drop(daemon);
                let stderr = talked.recv_timeout(STOP_LIMIT).unwrap_or_default();
                Err(CliError::DidNotStart { name, stderr })
            }
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Closing its standard input asks it to stop; then wait, then insist.
        drop(self.child.stdin.take());
        let deadline = Instant::now() + STOP_LIMIT;
        while Instant::now() < deadline {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A server that has not announced itself by then has a problem: a 7B model unseals in seconds.
const START_LIMIT: Duration = Duration::from_secs(120);
const STOP_LIMIT: Duration = Duration::from_secs(5);
