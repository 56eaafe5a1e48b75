//! Three things that must not work, and the proof that they do not.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use tokio::runtime::Runtime;

use super::children::{Run, run_to_end};
use super::{Demo, policy};
use crate::error::CliError;
use crate::exit::Exit;
use crate::output;

impl Demo {
    /// One byte more at the end of the binary: another program, another measurement.
    pub(super) fn refuse_other_measurement(&self, broker: &str) -> Result<(), CliError> {
        let other = self.dir.join("casemate-changed");
        let write = |source| CliError::Write { path: other.clone(), source };
        fs::copy(&self.program, &other).map_err(write)?;
        OpenOptions::new().append(true).open(&other).and_then(|mut f| f.write_all(b"!")).map_err(write)?;
        let run = self.serve_once(other, broker, &self.path("sealed"))?;
        self.expect(&run, Exit::Refused, "release.policy.not-met")
    }

    /// The policy's measurement has one digit changed. The server's own counter shows that no body arrived.
    pub(super) fn refuse_by_client_policy(
        &self,
        runtime: &Runtime,
        url: &str,
        root: &str,
        prompt: &str,
        manifest: &str,
    ) -> Result<(), CliError> {
        self.write("other-client.toml", &policy::client(&"5a".repeat(48), manifest))?;
        let before = self.body_bytes(runtime, url)?;
        let policy = self.path("other-client.toml");
        let run = run_to_end(
            &self.program,
            &["ask", url, prompt, "--policy", &policy, "--danger-simulated-root", root],
        )?;
        let after = self.body_bytes(runtime, url)?;
        self.expect(&run, Exit::Refused, "snp.measurement")?;
        self.note(&format!("request body bytes that the server received: {before} before, {after} after"));
        if before == after {
            Ok(())
        } else {
            Err(CliError::Demo { stage: self.stage, expected: "a client that sends nothing" })
        }
    }

    /// One bit of one byte in the middle of the encrypted weights.
    pub(super) fn refuse_flipped_byte(&self, broker: &str) -> Result<(), CliError> {
        let flipped = self.dir.join("flipped");
        let blobs = flipped.join("blobs");
        let failed = |path: &PathBuf| {
            let path = path.clone();
            move |source| CliError::Write { path, source }
        };
        fs::create_dir_all(&blobs).map_err(failed(&blobs))?;
        fs::copy(self.dir.join("sealed/sealed.json"), flipped.join("sealed.json"))
            .map_err(failed(&flipped))?;
        for blob in fs::read_dir(self.dir.join("sealed/blobs")).map_err(failed(&blobs))? {
            let blob = blob.map_err(failed(&blobs))?;
            let copy = blobs.join(blob.file_name());
            fs::copy(blob.path(), &copy).map_err(failed(&copy))?;
            let file = OpenOptions::new().read(true).write(true).open(&copy).map_err(failed(&copy))?;
            let middle = file.metadata().map_err(failed(&copy))?.len() / 2;
            let mut byte = [0u8];
            file.read_exact_at(&mut byte, middle).map_err(failed(&copy))?;
            byte[0] ^= 1;
            file.write_all_at(&byte, middle).map_err(failed(&copy))?;
        }
        let run = self.serve_once(self.program.clone(), broker, &flipped.display().to_string())?;
        self.expect(&run, Exit::NotGenuine, "seal.chunk.tampered")
    }

    /// Starts a server that must end by itself, because it is refused.
    fn serve_once(&self, program: PathBuf, broker: &str, sealed: &str) -> Result<Run, CliError> {
        let args = self.serve_args(broker, sealed);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        run_to_end(&program, &args)
    }

    fn expect(&self, run: &Run, exit: Exit, code: &'static str) -> Result<(), CliError> {
        let error =
            run.stderr.lines().skip_while(|l| !l.starts_with("error:")).collect::<Vec<_>>().join("\n");
        output::talk(error.trim_end());
        if run.exit == Some(exit as i32) && error.contains(code) {
            self.note(&format!("refused as it must be: {code}, exit code {}", exit as i32));
            Ok(())
        } else {
            output::talk(&format!("exit {:?}; {}", run.exit, run.stderr.trim_end()));
            Err(CliError::Demo { stage: self.stage, expected: code })
        }
    }

    /// The server's counter of request-body bytes.
    fn body_bytes(&self, runtime: &Runtime, url: &str) -> Result<u64, CliError> {
        let (_, metrics) = runtime.block_on(casemate_client::unverified_get(url, "/metrics"))?;
        metrics
            .lines()
            .filter_map(|l| l.strip_prefix("casemate_request_body_bytes_total"))
            .filter_map(|rest| rest.split_whitespace().last()?.parse::<u64>().ok())
            .reduce(|a, b| a + b)
            .ok_or(CliError::NotJson { command: "metrics" })
    }
}
