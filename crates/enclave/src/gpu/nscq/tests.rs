//! Over a stand-in of the library, which a C compiler makes from the published header's types.

use std::path::PathBuf;
use std::process::Command;

use super::*;

const NONCE: [u8; 32] = [0x6e; 32];

/// The stand-in, with what goes wrong in it.
fn library(folder: &tempfile::TempDir, defined: &[&str]) -> PathBuf {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/src/gpu/nscq/standin.c");
    let made = folder.path().join("libstandin.so");
    let flags = defined.iter().map(|define| format!("-D{define}"));
    let status = Command::new("cc")
        .args(["-shared", "-fPIC", "-Wall", "-Werror", "-o"])
        .arg(&made)
        .arg(source)
        .args(flags)
        .status()
        .expect("a C compiler, which this workspace needs anyway");
    assert!(status.success());
    made
}

fn switches(defined: &[&str]) -> Result<Vec<RawGpu>, GpuError> {
    let folder = tempfile::tempdir().unwrap();
    let library = library(&folder, defined);
    Nscq::of_library(library.as_os_str())?.evidence(&NONCE)
}

#[test]
fn every_switch_answers_the_nonce() {
    let expected = |number: u8| RawGpu {
        report: [&NONCE[..], &[number]].concat(),
        chain: format!("chain{number}").into_bytes(),
    };
    assert_eq!(switches(&[]).unwrap(), [expected(0), expected(1)]);
    assert_eq!(switches(&["COUNT=4"]).unwrap().len(), 4);
    assert_eq!(switches(&["COUNT=0"]).unwrap(), []);
    // Warnings come with an answer.
    assert_eq!(switches(&["CREATE=1", "OBSERVE=1"]).unwrap().len(), 2);
    // A session gives evidence again.
    let folder = tempfile::tempdir().unwrap();
    let mut nscq = Nscq::of_library(library(&folder, &[]).as_os_str()).unwrap();
    assert_eq!(nscq.locked().unwrap(), ["SWX-00", "SWX-01"]);
    assert_ne!(nscq.evidence(&NONCE).unwrap(), nscq.evidence(&[1; 32]).unwrap());
}

#[test]
fn one_mistake_each_has_its_code() {
    let code = |defined: &[&str]| switches(defined).unwrap_err().code();
    for mode in ["MODE=0", "MODE=1", "MODE=2", "MODE=-1"] {
        assert_eq!(code(&[mode]), "gpu.switch-open", "{mode}");
    }
    for wrong in [
        "CREATE=-7",
        "OBSERVE=-7",
        "INPUT=-4",
        "ONE=-8",
        "SIZE=0x2000",
        "SIZE=-64",
        "TIMES=0",
        "TIMES=2",
        "TIMES=100",
        "NAME=\"SWX/%02X\"",
        "NAME=\"%.0d\"",
        "NAME=\"SWY-%02X\"",
    ] {
        assert_eq!(code(&[wrong]), "gpu.switch", "{wrong}");
    }
    let words = switches(&["ONE=-8"]).unwrap_err().to_string();
    assert_eq!(words, "NVIDIA's library of switches cannot name the switches: timeout (-8)");
}

#[test]
fn without_the_library_there_is_nobody_to_ask() {
    let code = |library| Nscq::of_library(OsStr::new(library)).err().map(|error| error.code());
    assert_eq!(code("/nonexistent/libnvidia-nscq.so.2"), Some("gpu.no-switch-driver"));
    assert_eq!(code("libc.so.6"), Some("gpu.switch-library"), "a library, but another one");
}
