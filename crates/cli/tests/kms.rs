//! `casemate kms` writes what AWS KMS encrypts, and `serve --kms-key` asks it in nobody else's place (spec/kms.md). What KMS answers is
//! played in the enclave's own cases.

mod typed;

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use tempfile::TempDir;
use typed::{Run, casemate};

const ARN: &str = "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";

/// Two sealed models of one publisher, in a folder.
struct Owner(TempDir);

impl Owner {
    fn new() -> Self {
        let owner = Self(TempDir::new().expect("a folder"));
        owner.run(&["keygen", &owner.path("publisher")]);
        for name in ["one", "two"] {
            std::fs::write(owner.path("model.gguf"), b"GGUF, as far as sealing cares").expect("written");
            let (model, out, key) =
                (owner.path("model.gguf"), owner.path(name), owner.path(&format!("{name}.key")));
            let publisher = owner.path("publisher.key");
            let typed = ["seal", &model, "-o", &out, "--publisher-key", &publisher, "--key-out", &key];
            owner.run(&[&typed[..], &["--key-uri", "kbs:///models/m/1"]].concat());
        }
        owner
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    fn run(&self, arguments: &[&str]) -> Run {
        let run = casemate(arguments);
        assert_eq!(run.code, 0, "{arguments:?}: {}", run.stderr);
        run
    }

    fn kms(&self, key: &str, arn: &str, output: &str) -> Run {
        let (model, publisher, key, output) =
            (self.path("one"), self.path("publisher.pub"), self.path(key), self.path(output));
        casemate(&[
            "kms",
            &model,
            "--publisher-key",
            &publisher,
            "--key",
            &key,
            "--kms-key",
            arn,
            "-o",
            &output,
        ])
    }
}

fn refused(run: &Run, exit: i32, code: &str) {
    assert_eq!(run.code, exit, "{}", run.stderr);
    assert!(run.stderr.contains(&format!("[{code}]")), "{}", run.stderr);
}

/// KMS-02.
#[test]
fn what_kms_encrypts_is_the_key_bound_to_its_manifest_in_a_file_of_its_owners() {
    let owner = Owner::new();
    let run = owner.kms("one.key", ARN, "input.json");
    assert_eq!(run.code, 0, "{}", run.stderr);
    let digest = run.stdout.trim();
    let path = owner.path("input.json");
    assert_eq!(std::fs::metadata(&path).expect("a file").mode() & 0o777, 0o600);
    let key: Value =
        serde_json::from_slice(&std::fs::read(owner.path("one.key")).expect("a key")).expect("JSON");
    let key = BASE64_URL_SAFE_NO_PAD.decode(key["key"].as_str().expect("text")).expect("base64");
    let written: Value = serde_json::from_slice(&std::fs::read(&path).expect("a file")).expect("JSON");
    let expected = json!({
        "KeyId": ARN,
        "EncryptionContext": { "casemate-manifest-sha256": digest },
        "Plaintext": BASE64_STANDARD.encode(&key),
    });
    assert_eq!((written, digest.len(), key.len()), (expected, 64, 32));
    // Neither stream shows it.
    for said in [&run.stdout, &run.stderr] {
        assert!(!said.contains(&BASE64_STANDARD.encode(&key)) && !said.contains(&hex::encode(&key)));
    }

    refused(&owner.kms("one.key", ARN, "input.json"), 1, "cli.write");
    refused(&owner.kms("two.key", ARN, "other.json"), 2, "cli.other-models-key");
    refused(&owner.kms("one.key", "alias/model", "other.json"), 2, "config.kms-key");
    assert!(!Path::new(&owner.path("other.json")).exists());
}

/// KMS-01: before anybody is asked.
#[test]
fn a_machine_that_is_no_nitro_enclave_starts_no_server_with_kms() {
    let owner = Owner::new();
    owner.run(&["simulate", "init", &owner.path("vendor")]);
    let (model, publisher, vendor, nothing) =
        (owner.path("one"), owner.path("publisher.pub"), owner.path("vendor"), owner.path("nothing"));
    let serve = |more: &[&str]| {
        let typed = ["serve", "--model", &model, "--publisher-key", &publisher, "--danger-allow-swap"];
        let simulated = ["--danger-simulate", vendor.as_str(), "--listen", "127.0.0.1:0"];
        casemate(&[&typed[..], &simulated, more].concat())
    };
    let files = ["--kms-ciphertext", nothing.as_str(), "--kms-credentials", nothing.as_str()];
    let kms = [&["--kms-key", ARN], &files[..]].concat();
    let run = serve(&kms);
    refused(&run, 5, "attester.no-recipient");
    assert!(run.stderr.contains("hint: a key broker"), "{}", run.stderr);
    refused(&serve(&[&kms[..], &["--broker", "http://127.0.0.1:1"]].concat()), 2, "config.exclusive");
    refused(&serve(&files), 2, "config.unpaired");
    refused(&serve(&["--kms-key", ARN]), 2, "config.unpaired");
}
