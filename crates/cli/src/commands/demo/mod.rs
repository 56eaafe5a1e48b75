//! `casemate demo`: the whole product on this machine, each role a process of its own, as a newcomer would run it.
//!
//! The demo runs the same commands that a person types and checks what they answer. A stage that does not end as it
//! should ends the demo with an error: a refusal that does not happen is a failure.

mod children;
mod refusals;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use casemate_broker::DEFAULT_ISSUER;
use serde_json::Value;

use self::children::{Daemon, Run, run_to_end};
use super::measure::{launch_digest, this_program};
use super::{policy, random, runtime, stop_signal};
use crate::args::DemoArgs;
use crate::error::CliError;
use crate::exit::Exit;
use crate::output;

/// Where the demo works and what it learnt so far.
struct Demo {
    program: PathBuf,
    dir: PathBuf,
    started: Instant,
    stage: u32,
}

const STAGES: u32 = 8;
const KEY_URI: &str = "kbs:///models/demo/1";

pub(crate) fn run(args: &DemoArgs) -> Result<(), CliError> {
    let dir = std::env::temp_dir().join(format!("casemate-demo-{}", hex::encode(random::<8>()?)));
    crate::files::create_dir(&dir)?;
    clean_up_when_stopped(&dir)?;
    let mut demo = Demo { program: this_program()?, dir: dir.clone(), started: Instant::now(), stage: 0 };
    let ended = demo.play(args);
    // Children are gone by now (their guards stopped them); so are their files.
    let _ = fs::remove_dir_all(&dir);
    ended
}

/// Removes the demo's folder also where the person stops the demo. Its servers stop by themselves when this process ends.
fn clean_up_when_stopped(dir: &Path) -> Result<(), CliError> {
    let (runtime, dir) = (runtime()?, dir.to_owned());
    std::thread::spawn(move || {
        runtime.block_on(async { stop_signal(false).await });
        let _ = fs::remove_dir_all(&dir);
        std::process::exit(i32::from(Exit::Internal as u8));
    });
    Ok(())
}

/// Whether this machine has swap, on which a server refuses to start unless told otherwise.
fn swap_is_on() -> bool {
    fs::read_to_string("/proc/swaps").is_ok_and(|text| text.lines().count() > 1)
}

impl Demo {
    fn play(&mut self, args: &DemoArgs) -> Result<(), CliError> {
        output::simulated_banner(output::SIMULATED_MACHINE);

        self.stage(
            "a software silicon vendor stands in for AMD: its root is made now and named in every command",
        );
        self.command(&["simulate", "init", &self.path("vendor")])?;
        let root = self.path("vendor/roots.pem");

        self.stage("the model owner seals the model and signs its manifest");
        self.command(&["keygen", &self.path("publisher")])?;
        let sealed = self.command(&[
            "seal",
            &args.model.display().to_string(),
            "--out",
            &self.path("sealed"),
            "--publisher-key",
            &self.path("publisher.key"),
            "--key-uri",
            KEY_URI,
            "--key-out",
            &self.path("model.key"),
            "--json",
        ])?;
        let manifest = member(&json_line("seal", &sealed.stdout)?, "manifest")?;
        self.note(&format!("manifest {manifest}"));

        self.stage("the broker holds the key; its policy names the measurement of this very binary");
        let measurement = hex::encode(launch_digest(&self.program)?);
        self.note(&format!("measurement {measurement}"));
        self.write(
            "release-policy.json",
            &policy::release(policy::launched(&measurement).into_iter(), DEFAULT_ISSUER),
        )?;
        self.write("client.toml", &policy::client(&measurement, &manifest))?;
        self.command(&["broker", "init", &self.path("store"), "--danger-simulated-root", &root])?;
        self.command(&[
            "broker",
            "put",
            "--store",
            &self.path("store"),
            "--key",
            &self.path("model.key"),
            "--uri",
            KEY_URI,
            "--policy",
            &self.path("release-policy.json"),
            "--danger-simulated-root",
            &root,
        ])?;
        let broker = self.daemon(
            "broker",
            &self.program,
            &[
                "broker",
                "serve",
                "--store",
                &self.path("store"),
                "--listen",
                "127.0.0.1:0",
                "--danger-simulated-root",
                &root,
                "--stop-on-stdin-eof",
            ],
        )?;
        let broker_url = member(&broker.announced, "listening")?;
        self.note(&format!("listening on {broker_url}"));

        self.stage("the server attests, gets the key, unseals into memory, and only then listens");
        let server =
            self.daemon("serve", &self.program, &self.serve_args(&broker_url, &self.path("sealed")))?;
        let url = member(&server.announced, "listening")?;
        let runtime = runtime()?;
        let (status, health) = runtime.block_on(casemate_client::unverified_get(&url, "/health"))?;
        self.note(&format!("GET {url}/health: {status} {health}"));
        let said: Value = serde_json::from_str(&health).unwrap_or_default();
        if status != 200 || said["status"] != "ok" {
            return Err(CliError::Demo { stage: self.stage, expected: "a healthy server" });
        }

        self.stage("the client verifies the server, then asks it");
        let asked = self.command(&[
            "ask",
            &url,
            &args.prompt,
            "--policy",
            &self.path("client.toml"),
            "--danger-simulated-root",
            &root,
        ])?;
        output::talk(asked.stderr.trim_end());
        output::data(asked.stdout.trim_end());

        self.stage("refusal 1: a server with another measurement asks the broker for the key");
        self.refuse_other_measurement(&broker_url)?;
        self.stage("refusal 2: a client whose policy names another measurement sends nothing");
        self.refuse_by_client_policy(&runtime, &url, &root, &args.prompt, &manifest)?;
        self.stage("refusal 3: one flipped byte in the sealed file, and the server does not start");
        self.refuse_flipped_byte(&broker_url)?;

        drop(server);
        drop(broker);
        output::talk(&format!(
            "\nSIMULATED demo complete in {:.1} s: 1 answer, 3 refusals, no process left behind.",
            self.started.elapsed().as_secs_f32()
        ));
        Ok(())
    }

    fn stage(&mut self, what: &str) {
        self.stage += 1;
        let seconds = self.started.elapsed().as_secs_f32();
        output::talk(&format!("\n[{}/{STAGES}] SIMULATED {seconds:>5.1} s  {what}", self.stage));
    }

    fn note(&self, text: &str) {
        output::talk(&format!("      {text}"));
    }

    fn path(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }

    fn write(&self, name: &str, text: &str) -> Result<(), CliError> {
        crate::files::create(&self.dir.join(name), text.as_bytes(), crate::files::PUBLIC)
    }

    fn serve_args(&self, broker: &str, sealed: &str) -> Vec<String> {
        let vendor = self.path("vendor");
        let publisher = self.path("publisher.pub");
        let args = [
            "serve",
            "--model",
            sealed,
            "--publisher-key",
            &publisher,
            "--broker",
            broker,
            "--danger-simulate",
            &vendor,
            "--listen",
            "127.0.0.1:0",
            "--stop-on-stdin-eof",
        ];
        let mut args = args.map(str::to_owned).to_vec();
        if swap_is_on() {
            // Right for a demonstration, where nothing is secret; a real server must not be told so.
            args.push("--danger-allow-swap".into());
        }
        args
    }

    /// Runs a command that must succeed.
    fn command(&self, args: &[&str]) -> Result<Run, CliError> {
        self.note(&format!("$ casemate {}", shown(args, &self.dir)));
        let run = run_to_end(&self.program, args)?;
        if run.exit != Some(0) {
            output::talk(run.stderr.trim_end());
            return Err(CliError::Demo { stage: self.stage, expected: "a command that succeeds" });
        }
        Ok(run)
    }

    fn daemon(
        &self,
        name: &'static str,
        program: &Path,
        args: &[impl AsRef<str>],
    ) -> Result<Daemon, CliError> {
        let args: Vec<&str> = args.iter().map(AsRef::as_ref).collect();
        self.note(&format!("$ casemate {}", shown(&args, &self.dir)));
        Daemon::start(name, program, &args)
    }
}

/// The command line with the demo's folder left out, for reading.
fn shown(args: &[&str], dir: &Path) -> String {
    let prefix = format!("{}/", dir.display());
    let quoted = args.iter().map(|a| {
        let a = a.replace(&prefix, "");
        if a.contains(' ') { format!("\"{a}\"") } else { a }
    });
    quoted.collect::<Vec<_>>().join(" ")
}

fn json_line(command: &'static str, stdout: &str) -> Result<Value, CliError> {
    serde_json::from_str(stdout.trim_end()).map_err(|_| CliError::NotJson { command })
}

fn member(value: &Value, name: &'static str) -> Result<String, CliError> {
    value.get(name).and_then(Value::as_str).map(str::to_owned).ok_or(CliError::NotJson { command: name })
}
