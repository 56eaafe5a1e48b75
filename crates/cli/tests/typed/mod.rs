//! The program as somebody types it, and where recordings lie.

#![allow(dead_code)] // each test binary uses its own part

use std::path::PathBuf;
use std::process::Command;

/// How a command ended, and what it said.
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs the program with nothing of this environment's.
pub(crate) fn casemate(arguments: &[&str]) -> Run {
    let output = Command::new(env!("CARGO_BIN_EXE_casemate"))
        .args(arguments)
        .env_remove("CASEMATE_POLICY")
        .env_remove("CASEMATE_DANGER_SIMULATED_ROOT")
        .output()
        .expect("it starts");
    Run {
        code: output.status.code().expect("it ends by itself"),
        stdout: String::from_utf8(output.stdout).expect("UTF-8"),
        stderr: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}

/// `CASEMATE_VECTORS`, or `shared/vectors` beside the repository; `None` where neither exists.
pub(crate) fn vectors() -> Option<PathBuf> {
    let beside = || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/vectors"));
    let folder = std::env::var_os("CASEMATE_VECTORS").map_or_else(beside, PathBuf::from);
    folder.join("snp").is_dir().then_some(folder)
}

/// A recording.
pub(crate) fn recorded(path: &str) -> PathBuf {
    vectors().expect("recordings are at hand").join(path)
}
