//! The README, run: its example is a script, and this test is the newcomer who types it.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};

use libtest_mimic::{Arguments, Failed, Trial};

#[path = "e2e/fixture.rs"]
#[allow(dead_code, unreachable_pub, missing_docs)]
mod fixture;

fn main() {
    let args = Arguments::from_args();
    let model = fixture::model();
    let example = Trial::test("readme::the_example_runs", {
        let model = model.clone();
        move || the_example_runs(&model.ok_or("no model")?)
    })
    .with_ignored_flag(model.is_none());
    let targets = Trial::test("readme::the_make_targets_exist", the_make_targets_exist);
    libtest_mimic::run(&args, vec![example, targets]).exit();
}

fn readme() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    fs::read_to_string(root.join("README.md")).unwrap()
}

/// The blocks of the README in this language.
fn blocks(language: &str) -> Vec<String> {
    let text = readme();
    let fence = format!("```{language}\n");
    text.split(&fence).skip(1).filter_map(|rest| rest.split("\n```").next()).map(str::to_owned).collect()
}

fn the_example_runs(model: &Path) -> Result<(), Failed> {
    let scripts = blocks("sh");
    let [script] = scripts.as_slice() else { return Err("the README has not exactly one script".into()) };
    // Other ports than the written ones, which may be taken on this machine.
    let script = script.replace("8080", &free_port()).replace("8443", &free_port());
    let dir = tempfile::tempdir()?;
    std::os::unix::fs::symlink(model, dir.path().join("model.gguf"))?;
    let bin = fixture::casemate();
    let path = format!("{}:{}", bin.parent().ok_or("no folder")?.display(), std::env::var("PATH")?);
    let script = format!("set -euo pipefail\ntrap 'kill $(jobs -p) 2>/dev/null; wait' EXIT\n{script}\n");
    let output = Command::new("bash")
        .args(["-c", &script])
        .current_dir(dir.path())
        .env("PATH", path)
        // As the README says for a machine with swap.
        .envs(fixture::swap_is_on().then_some(("CASEMATE_DANGER_ALLOW_SWAP", "true")))
        .stdin(Stdio::null())
        .output()?;
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if !output.status.success() || !stdout.contains(r#""attestation_status":"valid""#) {
        return Err(format!("{}\n{stdout}\n{stderr}", output.status).into());
    }
    Ok(())
}

fn the_make_targets_exist() -> Result<(), Failed> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).ok_or("no root")?;
    let makefile = fs::read_to_string(root.join("Makefile"))?;
    let commands: Vec<String> =
        blocks("console").iter().flat_map(|b| b.lines().map(str::to_owned).collect::<Vec<_>>()).collect();
    let targets: Vec<_> = commands.iter().filter_map(|c| c.strip_prefix("make ")).collect();
    if !targets.contains(&"demo") || !targets.contains(&"test") {
        return Err(format!("the README's commands are {commands:?}").into());
    }
    for target in targets {
        if !makefile.lines().any(|line| line.starts_with(&format!("{target}:"))) {
            return Err(format!("the Makefile has no target {target}").into());
        }
    }
    Ok(())
}

fn free_port() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string()
}
