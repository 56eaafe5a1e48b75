//! spec/endorse.md and the code name the same codes.

use std::collections::BTreeSet;
use std::path::Path;

use libtest_mimic::Failed;

const SPECIFICATION: &str = include_str!("../../../../spec/endorse.md");
const SOURCES: [&str; 6] = [
    "../attest/src/endorse/bundle.rs",
    "../attest/src/endorse/intel.rs",
    "../attest/src/endorse/needs.rs",
    "../attest/src/endorse/nvidia.rs",
    "src/error.rs",
    "../cli/src/error.rs",
];

pub(crate) fn codes() -> Result<(), Failed> {
    let (_, section) = SPECIFICATION.split_once("## 4. Codes").ok_or("section 4")?;
    let (section, _) = section.split_once("## 5.").ok_or("section 5")?;
    let specified: BTreeSet<_> = codes_in(section, '`').collect();
    let mut sources = String::new();
    for source in SOURCES {
        sources.push_str(&std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(source))?);
    }
    let written: BTreeSet<_> =
        sources.lines().filter(|line| line.contains("=> \"")).flat_map(|line| codes_in(line, '"')).collect();
    assert!(written.len() > 30, "the scan found only {} codes", written.len());
    assert_eq!(written, specified);
    Ok(())
}

fn codes_in(text: &str, quote: char) -> impl Iterator<Item = &str> {
    text.split(quote).skip(1).step_by(2).filter(|code| {
        code.starts_with("endorse.") && code.bytes().all(|b| matches!(b, b'a'..=b'z' | b'-' | b'.'))
    })
}
