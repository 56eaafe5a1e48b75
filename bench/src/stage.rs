//! The whole product on this machine, from the vendor to the open port, for the benchmarks that ask a server.

use std::error::Error;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use casemate_attest::nvidia::NvidiaAnchors;
use casemate_attest::{TrustAnchors, UnixTime};
use casemate_client::{Anchors, ClientPolicy, VerifiedServer, Via, connect};
use casemate_engine::DEFAULT_CONTEXT_TOKENS;
use rustix::rand::{GetRandomFlags, getrandom};
use serde_json::Value;

/// Whatever goes wrong ends the benchmark; what it says is all that counts.
pub type Fallible<T> = Result<T, Box<dyn Error>>;

const KEY_URI: &str = "kbs:///models/bench/1";

/// A folder with vendor, keys and sealed model. Dropping it removes them.
pub struct Stage<'a> {
    program: &'a Path,
    directory: tempfile::TempDir,
}

/// The server, its broker, and the policy that it passes. Fields are dropped, and so stopped, in this order.
pub struct Serving {
    /// `casemate serve`.
    pub server: Daemon,
    _broker: Daemon,
    policy: String,
}

impl<'a> Stage<'a> {
    /// A folder for this program's files.
    pub fn new(program: &'a Path) -> Fallible<Self> {
        Ok(Self { program, directory: tempfile::Builder::new().prefix("casemate-tokens").tempdir()? })
    }

    /// A path in it.
    pub fn path(&self, name: &str) -> String {
        self.directory.path().join(name).to_string_lossy().into_owned()
    }

    /// Everything from the vendor to the open port, as an operator would do it.
    pub fn server(&self, model: &Path, threads: NonZeroUsize, more: &[&str]) -> Fallible<Serving> {
        let path = |name| self.path(name);
        let (root, store) = (path("vendor/roots.pem"), path("store"));
        self.command(&["simulate", "init", &path("vendor")])?;
        self.command(&["keygen", &path("publisher")])?;
        let measurement = self.command(&["measure"])?;
        let manifest = self.command(&[
            "seal",
            &model.to_string_lossy(),
            "-o",
            &path("sealed"),
            "--publisher-key",
            &path("publisher.key"),
            "--key-uri",
            KEY_URI,
            "--key-out",
            &path("model.key"),
        ])?;
        let release = self.command(&["policy", "release", "--measurement", measurement.trim()])?;
        fs::write(path("release.json"), release)?;
        self.command(&["broker", "init", &store, "--danger-simulated-root", &root])?;
        self.command(&[
            "broker",
            "put",
            "--store",
            &store,
            "--key",
            &path("model.key"),
            "--uri",
            KEY_URI,
            "--policy",
            &path("release.json"),
            "--danger-simulated-root",
            &root,
        ])?;
        let policy = self.command(&[
            "policy",
            "client",
            "--measurement",
            measurement.trim(),
            "--manifest",
            manifest.trim(),
        ])?;
        let broker = self.daemon(&[
            "broker",
            "serve",
            "--store",
            &store,
            "--listen",
            "127.0.0.1:0",
            "--danger-simulated-root",
            &root,
            "--stop-on-stdin-eof",
        ])?;
        // Swap is no matter here: key and model are no secrets.
        let (sealed, publisher, vendor) = (path("sealed"), path("publisher.pub"), path("vendor"));
        let (threads, context) = (threads.to_string(), DEFAULT_CONTEXT_TOKENS.to_string());
        let args = [
            "serve",
            "--model",
            &sealed,
            "--publisher-key",
            &publisher,
            "--broker",
            &broker.url,
            "--danger-simulate",
            &vendor,
            "--listen",
            "127.0.0.1:0",
            "--threads",
            &threads,
            "--context",
            &context,
            "--danger-allow-swap",
            "--stop-on-stdin-eof",
        ];
        let server = self.daemon(&[&args, more].concat())?;
        Ok(Serving { server, _broker: broker, policy })
    }

    /// The client, once it has verified the server.
    pub async fn connect(&self, serving: &Serving) -> Fallible<VerifiedServer> {
        let policy = ClientPolicy::from_toml(&serving.policy)?;
        let machines = TrustAnchors::danger_only_pem(&fs::read_to_string(self.path("vendor/roots.pem"))?)?;
        let anchors = Anchors { machines, devices: NvidiaAnchors::nvidia() };
        let mut nonce = [0; 32];
        getrandom(&mut nonce, GetRandomFlags::empty())?;
        Ok(connect(&serving.server.url, Via::Tls, &policy, &anchors, nonce, now()).await?)
    }

    /// Runs a command to its end and gives what it printed.
    pub fn command(&self, args: &[&str]) -> Fallible<String> {
        let output = casemate(self.program, args).stdin(Stdio::null()).output()?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(format!("casemate {}: {}\n{said}", args.join(" "), output.status).into());
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Starts a server and waits until it says where it listens.
    pub fn daemon(&self, args: &[&str]) -> Fallible<Daemon> {
        let log = self.path(&format!("{}.log", args[0]));
        let child = casemate(self.program, args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(&log)?)
            .spawn()?;
        // From here on the process is stopped whatever happens.
        let mut daemon = Daemon { child, url: String::new() };
        let mut line = String::new();
        if let Some(stdout) = &mut daemon.child.stdout {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        let announced: Value = serde_json::from_str(&line).unwrap_or_default();
        let Some(url) = announced["listening"].as_str() else {
            let said = fs::read_to_string(&log)?;
            return Err(format!("casemate {} did not start\n{said}", args.join(" ")).into());
        };
        daemon.url = url.to_owned();
        Ok(daemon)
    }
}

/// A server that runs until this value is dropped. Where this process is killed, its standard input closes and it stops
/// by itself.
pub struct Daemon {
    /// Its process.
    pub child: Child,
    /// Where it listens.
    pub url: String,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The binary, deaf to settings that are meant for this benchmark or for another server.
pub fn casemate(program: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(args);
    let foreign = |name: &str| name.starts_with("CASEMATE_") || name == "MODEL_PATH";
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(foreign)) {
        command.env_remove(name);
    }
    command
}

/// What the program says of itself.
pub fn version(program: &Path) -> Fallible<String> {
    let output = casemate(program, &["--version"]).output()?;
    Ok(String::from_utf8(output.stdout)?.lines().next().unwrap_or("casemate").to_owned())
}

/// The built binary.
pub fn program() -> Fallible<PathBuf> {
    let built = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/release/casemate");
    let program = std::env::var_os("CASEMATE_BIN").map_or_else(built, PathBuf::from);
    let missing =
        |_| format!("no binary at {}: run `cargo build --release`, or set CASEMATE_BIN", program.display());
    Ok(program.canonicalize().map_err(missing)?)
}

/// The model that is measured with.
pub fn model() -> Fallible<PathBuf> {
    let cache = || {
        let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        let cache = cache.or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache")))?;
        Some(cache.join("casemate/SmolLM2-135M-Instruct.Q4_1.gguf"))
    };
    let model = std::env::var_os("CASEMATE_MODEL").map(PathBuf::from).or_else(cache);
    let model = model.ok_or("neither CASEMATE_MODEL nor HOME is set")?;
    if !model.is_file() {
        let model = model.display();
        return Err(format!("no model at {model}: run scripts/fetch-model.sh, or set CASEMATE_MODEL").into());
    }
    Ok(model)
}

/// The machine's clock.
pub fn now() -> UnixTime {
    UnixTime(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
}
