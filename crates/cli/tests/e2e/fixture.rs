//! One simulated vendor, one sealed model, one key store, shared by all cases; and child processes that cannot outlive
//! their case.

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

pub const KEY_URI: &str = "kbs:///models/e2e/1";

/// The built binary.
pub fn casemate() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_casemate"))
}

/// Whether this machine has swap, on which a server refuses to start unless told otherwise.
pub fn swap_is_on() -> bool {
    fs::read_to_string("/proc/swaps").is_ok_and(|text| text.lines().count() > 1)
}

/// The model for these cases, where there is one.
pub fn model() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("CASEMATE_MODEL").map(PathBuf::from) {
        assert!(named.is_file(), "CASEMATE_MODEL names {}, which is not a file", named.display());
        return Some(named);
    }
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache")))
        .map(|cache| cache.join("casemate/SmolLM2-135M-Instruct.Q4_1.gguf"));
    cache.filter(|path| path.is_file())
}

pub struct Fixture {
    dir: tempfile::TempDir,
    pub manifest: String,
    pub measurement: String,
}

impl Fixture {
    pub fn new(model: &Path) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut fixture = Self { dir, manifest: String::new(), measurement: String::new() };
        fixture.ok(&["simulate", "init", &fixture.path("vendor")]);
        fixture.ok(&["keygen", &fixture.path("publisher")]);
        fixture.measurement = fixture.ok(&["measure"]).stdout.trim().to_owned();
        let sealed = fixture.ok(&[
            "seal",
            model.to_str().unwrap(),
            "-o",
            &fixture.path("sealed"),
            "--publisher-key",
            &fixture.path("publisher.key"),
            "--key-uri",
            KEY_URI,
            "--key-out",
            &fixture.path("model.key"),
        ]);
        fixture.manifest = sealed.stdout.trim().to_owned();
        let release = fixture.ok(&["policy", "release", "--measurement", &fixture.measurement]).stdout;
        fs::write(fixture.path("release.json"), release).unwrap();
        fixture.client_policy("client.toml", &fixture.measurement, &fixture.manifest);
        fixture.new_store("store");
        fixture
    }

    pub fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    /// A folder of a case's own.
    pub fn folder(&self, name: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::create_dir(&path).unwrap();
        path
    }

    pub fn root(&self) -> String {
        self.path("vendor/roots.pem")
    }

    pub fn client_policy(&self, name: &str, measurement: &str, manifest: &str) -> String {
        let policy =
            self.ok(&["policy", "client", "--measurement", measurement, "--manifest", manifest]).stdout;
        fs::write(self.path(name), policy).unwrap();
        self.path(name)
    }

    /// A store with the model's key, for the simulated root.
    pub fn new_store(&self, name: &str) -> String {
        self.new_store_with(name, &self.path("release.json"))
    }

    /// As [`Fixture::new_store`], with another policy of the key.
    pub fn new_store_with(&self, name: &str, policy: &str) -> String {
        let store = self.path(name);
        self.ok(&["broker", "init", &store, "--danger-simulated-root", &self.root()]);
        self.ok(&[
            "broker",
            "put",
            "--store",
            &store,
            "--key",
            &self.path("model.key"),
            "--uri",
            KEY_URI,
            "--policy",
            policy,
            "--danger-simulated-root",
            &self.root(),
        ]);
        store
    }

    pub fn broker(&self, store: &str) -> Server {
        self.broker_with(store, &[])
    }

    pub fn broker_with(&self, store: &str, more: &[&str]) -> Server {
        let root = self.root();
        let args = [
            "broker",
            "serve",
            "--store",
            store,
            "--listen",
            "127.0.0.1:0",
            "--danger-simulated-root",
            &root,
        ];
        let args = [&args[..], more].concat();
        Server::start(&casemate(), &args, &[], None).unwrap_or_else(|run| panic!("broker: {}", run.stderr))
    }

    pub fn serve_args(&self, broker: &str, sealed: &str) -> Vec<String> {
        let args = [
            "serve",
            "--model",
            sealed,
            "--publisher-key",
            &self.path("publisher.pub"),
            "--broker",
            broker,
            "--danger-simulate",
            &self.path("vendor"),
            "--listen",
            "127.0.0.1:0",
        ];
        let mut args = args.map(str::to_owned).to_vec();
        args.push("--stop-on-stdin-eof".into());
        if swap_is_on() {
            args.push("--danger-allow-swap".into());
        }
        args
    }

    /// A server that comes up.
    pub fn serve(&self, broker: &str) -> Server {
        self.try_serve(&casemate(), broker, &self.path("sealed"))
            .unwrap_or_else(|run| panic!("serve: {}", run.stderr))
    }

    /// A server that may be refused; then what it printed and its exit code.
    pub fn try_serve(&self, program: &Path, broker: &str, sealed: &str) -> Result<Server, Run> {
        let args = self.serve_args(broker, sealed);
        Server::start(program, &args.iter().map(String::as_str).collect::<Vec<_>>(), &[], None)
    }

    pub fn ask(&self, url: &str, policy: &str, prompt: &str) -> Run {
        run(&[
            "ask",
            url,
            prompt,
            "--policy",
            policy,
            "--danger-simulated-root",
            &self.root(),
            "--max-new-tokens",
            "24",
        ])
    }

    pub fn ok(&self, args: &[&str]) -> Run {
        let run = run(args);
        assert_eq!(run.exit, Some(0), "casemate {args:?}: {}", run.stderr);
        run
    }
}

/// A process that ended.
#[derive(Debug)]
pub struct Run {
    pub exit: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Run {
    /// Asserts exit code and error code.
    #[track_caller]
    pub fn refused(&self, exit: i32, code: &str) {
        assert_eq!(self.exit, Some(exit), "{}", self.stderr);
        assert!(self.stderr.contains(code), "no {code} in: {}", self.stderr);
    }
}

pub fn run(args: &[&str]) -> Run {
    run_program(&casemate(), args)
}

pub fn run_program(program: &Path, args: &[&str]) -> Run {
    let output = Command::new(program).args(args).stdin(Stdio::null()).output().unwrap();
    Run {
        exit: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// The process of a server's engine: its only child.
pub fn engine_of(server: u32) -> u32 {
    let parent = format!("PPid:\t{server}");
    let is_child = |pid: &u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        status.lines().any(|line| line == parent)
    };
    let pids = fs::read_dir("/proc").unwrap().map(Result::unwrap);
    let children: Vec<u32> =
        pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(is_child).collect();
    assert_eq!(children.len(), 1, "{children:?}");
    children[0]
}

/// A server process. Dropping it kills it.
pub struct Server {
    pub child: Child,
    pub announced: Value,
    pub url: String,
    log: Arc<Mutex<String>>,
}

impl Server {
    pub fn start(
        program: &Path,
        args: &[&str],
        env: &[(&str, &str)],
        cwd: Option<&Path>,
    ) -> Result<Self, Run> {
        let mut command = Command::new(program);
        // An open pipe: it closes when this process ends, however it ends.
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.envs(env.iter().copied());
        if let Some(cwd) = cwd {
            command.current_dir(cwd);
        }
        let mut child = loop {
            match command.spawn() {
                // A program that was just written, whose file another case's new process still has open.
                Err(error) if error.kind() == ErrorKind::ExecutableFileBusy => {
                    thread::sleep(Duration::from_millis(10))
                }
                spawned => break spawned.unwrap(),
            }
        };
        let log = Arc::new(Mutex::new(String::new()));
        let stderr = child.stderr.take().unwrap();
        let copy = Arc::clone(&log);
        let reader = thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let mut log = copy.lock().unwrap();
                log.push_str(&line);
                log.push('\n');
            }
        });
        let (announce, announced) = mpsc::channel();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        thread::spawn(move || {
            let mut line = String::new();
            if stdout.read_line(&mut line).is_ok_and(|n| n > 0) {
                let _ = announce.send(line);
            }
            let _ = stdout.read_to_string(&mut String::new());
        });
        match announced.recv_timeout(Duration::from_secs(120)) {
            Ok(line) => {
                let announced: Value = serde_json::from_str(&line).unwrap();
                let url = announced["listening"].as_str().unwrap().to_owned();
                Ok(Self { child, announced, url, log })
            }
            Err(_) => {
                let _ = child.kill();
                let exit = child.wait().unwrap().code();
                reader.join().unwrap();
                let stderr = log.lock().unwrap().clone();
                Err(Run { exit, stdout: String::new(), stderr })
            }
        }
    }

    /// What it wrote to standard error until now.
    pub fn log(&self) -> String {
        // The last lines may still be on their way through the pipe.
        thread::sleep(Duration::from_millis(200));
        self.log.lock().unwrap().clone()
    }

    pub fn kill9(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to stop and returns its exit code.
    pub fn terminate(&mut self) -> Option<i32> {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        let deadline = Instant::now() + Duration::from_secs(15);
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            thread::sleep(Duration::from_millis(20));
        }
        panic!("the server did not stop within 15 s");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
