//! spec/attesters.md and the code name the same codes, and every code of a rule is asserted by a case.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

const SPECIFICATION: &str = include_str!("../../../spec/attesters.md");
/// Failures of the system or of this program, which no case brings about.
const WITHOUT_CASE: [&str; 3] = ["attester.image", "attester.randomness", "attester.simulator"];

#[test]
fn codes_are_those_of_the_specification_and_each_has_a_case() {
    let (code, cases) = sources();
    let written = codes(&code, '"');
    let specified = codes(SPECIFICATION, '`');
    assert!(written.len() > 40, "the scan found only {} codes", written.len());
    assert_eq!(written, specified);
    let asserted = codes(&cases, '"');
    let missing: Vec<_> =
        written.difference(&asserted).filter(|code| !WITHOUT_CASE.contains(&code.as_str())).collect();
    assert_eq!(missing, [] as [&String; 0]);
}

#[test]
fn rules_are_numbered_once_and_the_code_cites_none_but_them() {
    let (code, _) = sources();
    let numbers: Vec<_> =
        SPECIFICATION.lines().filter_map(|line| line.strip_prefix("- **ATT-")?.get(..2)).collect();
    let once: BTreeSet<_> = numbers.iter().collect();
    assert_eq!(once.len(), numbers.len());
    assert!(numbers.is_sorted());
    for cited in code.split("ATT-").skip(1).filter_map(|rest| rest.get(..2)) {
        assert!(numbers.contains(&cited), "ATT-{cited}");
    }
}

/// The code without its cases, and the cases.
fn sources() -> (String, String) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut code, mut cases) = (String::new(), String::new());
    let mut files = files(&root.join("src/attester"));
    files.push(root.join("src/staple.rs"));
    for path in files {
        let text = std::fs::read_to_string(&path).expect("a source");
        if path.ends_with("tests.rs") {
            cases += &text;
            continue;
        }
        let (before, after) = text.split_once("#[cfg(test)]").unwrap_or((&text, ""));
        code += before;
        cases += after;
    }
    for path in self::files(&root.join("tests/azure")) {
        cases += &std::fs::read_to_string(path).expect("a source");
    }
    (code, cases)
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries =
        std::fs::read_dir(directory).expect("a directory").map(|entry| entry.expect("an entry").path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// Everything between two of these marks that is a code of these families.
fn codes(text: &str, mark: char) -> BTreeSet<String> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || ".-".contains(c);
    let family = |code: &&str| code.starts_with("attester.") || code.starts_with("staple.");
    text.split(mark).filter(|code| code.chars().all(plain)).filter(family).map(ToOwned::to_owned).collect()
}
