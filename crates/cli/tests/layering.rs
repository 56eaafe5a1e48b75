//! The arrows of ARCHITECTURE.md, checked against `cargo metadata`; and the size of the files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Every arrow that ARCHITECTURE.md permits.
const ARROWS: &[(&str, &[&str])] = &[
    ("attest", &[]),
    ("seal", &[]),
    ("protocol", &["attest", "seal"]),
    ("sim", &["attest"]),
    ("engine", &[]),
    ("broker", &["attest", "protocol"]),
    ("enclave", &["attest", "endorse", "seal", "protocol", "engine", "sim"]),
    ("client", &["attest", "protocol"]),
    ("python", &["attest", "protocol", "client"]),
    ("endorse", &["attest"]),
    ("cli", &["attest", "seal", "protocol", "sim", "broker", "enclave", "client", "endorse"]),
];

/// Crates whose code must not do I/O, ask the time or draw randomness by a dependency that does.
const PURE: &[&str] = &["attest", "seal", "protocol"];
const NOT_IN_PURE: &[&str] =
    &["tokio", "reqwest", "axum", "rusqlite", "hyper", "getrandom", "rand", "libc", "rustix"];

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned()
}

/// Direct dependencies of each of our crates, without those for tests.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline", "--locked"])
        .current_dir(workspace())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let normal = |package: &Value| {
        let all = package["dependencies"].as_array().unwrap().iter();
        all.filter(|d| d["kind"].is_null()).map(|d| d["name"].as_str().unwrap().to_owned()).collect()
    };
    packages.iter().map(|p| (p["name"].as_str().unwrap().to_owned(), normal(p))).collect()
}

#[test]
fn only_the_arrows_of_the_architecture_exist() {
    let found = dependencies();
    let named: BTreeSet<String> = ARROWS.iter().map(|(name, _)| format!("casemate-{name}")).collect();
    assert_eq!(
        found.keys().cloned().collect::<BTreeSet<_>>(),
        named,
        "a crate that ARCHITECTURE.md does not know"
    );
    for (name, permitted) in ARROWS {
        let permitted: BTreeSet<_> = permitted.iter().map(|p| format!("casemate-{p}")).collect();
        let ours: BTreeSet<_> = found[&format!("casemate-{name}")].intersection(&named).cloned().collect();
        assert!(ours.is_subset(&permitted), "{name} depends on {:?}", ours.difference(&permitted));
    }
}

#[test]
fn pure_crates_have_no_impure_dependency() {
    let found = dependencies();
    for name in PURE {
        for banned in NOT_IN_PURE {
            assert!(!found[&format!("casemate-{name}")].contains(*banned), "{name} depends on {banned}");
        }
    }
}

#[test]
fn no_feature_of_ours_exists() {
    for (name, _) in ARROWS {
        let manifest =
            std::fs::read_to_string(workspace().join(format!("crates/{name}/Cargo.toml"))).unwrap();
        assert!(!manifest.contains("[features]"), "{name} has a feature; platforms are data (invariant 8)");
    }
}

#[test]
fn no_file_is_longer_than_800_lines() {
    let files = walkdir::WalkDir::new(workspace().join("crates")).into_iter().map(Result::unwrap);
    let mut seen = 0;
    for file in files.filter(|f| f.path().extension().is_some_and(|e| e == "rs")) {
        let lines = std::fs::read_to_string(file.path()).unwrap().lines().count();
        assert!(lines <= 800, "{} has {lines} lines", file.path().display());
        seen += 1;
    }
    assert!(seen > 50, "only {seen} files were seen");
}

/// `unsafe` only where ARCHITECTURE.md allows it: everything else forbids it for the compiler to enforce.
#[test]
fn unsafe_is_forbidden_everywhere_else() {
    for (name, _) in ARROWS {
        let manifest =
            std::fs::read_to_string(workspace().join(format!("crates/{name}/Cargo.toml"))).unwrap();
        let inherits = manifest.contains("[lints]\nworkspace = true");
        assert_eq!(inherits, !["engine", "enclave"].contains(name), "{name}");
    }
    let root = std::fs::read_to_string(workspace().join("Cargo.toml")).unwrap();
    assert!(root.contains("unsafe_code = \"forbid\""));
}
