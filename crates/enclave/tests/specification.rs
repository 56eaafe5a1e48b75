//! spec/attesters.md, spec/stapling.md, section 7 of spec/channel.md and the code name the same codes, and every code of a rule is
//! asserted by a case.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

const ATTESTERS: &str = include_str!("../../../spec/attesters.md");
const STAPLING: &str = include_str!("../../../spec/stapling.md");
const CHANNEL: &str = include_str!("../../../spec/channel.md");
const UPSTREAM: &str = include_str!("../../../spec/upstream.md");
/// Failures of the system or of this program, which no case brings about.
const WITHOUT_CASE: [&str; 4] =
    ["attester.image", "attester.randomness", "attester.simulator", "gpu.randomness"];

#[test]
fn codes_are_those_of_the_specification_and_each_has_a_case() {
    let (code, cases) = sources();
    let written = codes(&code, '"');
    let mut specified = codes(ATTESTERS, '`');
    specified.append(&mut codes(STAPLING, '`'));
    specified.append(&mut codes(CHANNEL, '`'));
    assert!(written.len() > 40, "the scan found only {} codes", written.len());
    assert_eq!(written, specified);
    let asserted = codes(&cases, '"');
    let missing: Vec<_> =
        written.difference(&asserted).filter(|code| !WITHOUT_CASE.contains(&code.as_str())).collect();
    assert_eq!(missing, [] as [&String; 0]);
}

#[test]
fn rules_are_numbered_once_and_the_code_cites_none_but_them() {
    let all: String = files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"))
        .iter()
        .map(|path| std::fs::read_to_string(path).expect("a source"))
        .collect();
    for (specification, family) in [(ATTESTERS, "ATT-"), (STAPLING, "STAPLE-")] {
        let rule = format!("- **{family}");
        let numbers: Vec<_> =
            specification.lines().filter_map(|line| line.strip_prefix(&rule)?.get(..2)).collect();
        let once: BTreeSet<_> = numbers.iter().collect();
        assert!(once.len() > 9, "{family}");
        assert_eq!(once.len(), numbers.len());
        assert!(numbers.is_sorted());
        for cited in all.split(family).skip(1).filter_map(|rest| rest.get(..2)) {
            assert!(numbers.contains(&cited), "{family}{cited}");
        }
    }
    // Every rule about stapling has its place in the code.
    for number in STAPLING.lines().filter_map(|line| line.strip_prefix("- **STAPLE-")?.get(..2)) {
        assert!(all.contains(&format!("STAPLE-{number}")), "STAPLE-{number}");
    }
    // And every one about vsock, which are listed; the rules before them are the relying party's, in tables.
    let vsock: Vec<_> = CHANNEL.lines().filter_map(|line| line.strip_prefix("- **CH-")?.get(..2)).collect();
    assert_eq!(vsock, ["12", "13", "14", "15", "16", "19"]);
    for number in vsock {
        assert!(all.contains(&format!("CH-{number}")), "CH-{number}");
    }
}

/// Another engine has a page of its own.
#[test]
fn an_upstream_is_as_specified() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &PathBuf| std::fs::read_to_string(path).expect("a source");
    let sources = files(&root.join("src/upstream")).iter().map(read).collect::<String>()
        + &read(&root.join("src/boot/backend.rs"))
        + &read(&root.join("../engine/src/error.rs"))
        + &read(&root.join("../protocol/src/statement/engine.rs"));
    let cases = files(&root.join("tests/upstream")).iter().map(read).collect::<String>() + &sources;
    // Rules are numbered once, and each has its place in the code or in a case.
    let rules: Vec<_> = UPSTREAM.lines().filter_map(|line| line.strip_prefix("- **UP-")?.get(..2)).collect();
    assert!(rules.len() > 20 && rules.is_sorted_by(|a, b| a < b), "{rules:?}");
    let cited: BTreeSet<_> = cases.split("UP-").skip(1).filter_map(|rest| rest.get(..2)).collect();
    assert_eq!(cited, rules.into_iter().collect());
    // Codes are those of the page, and all but two failures of the system are asserted: beside where they are given.
    let family = |text: &str, mark| -> Vec<String> {
        let plain = |c: char| c.is_ascii_lowercase() || ".-".contains(c);
        let code =
            |word: &&str| word.starts_with("upstream.") && word.chars().all(plain) && !word.ends_with(".md");
        text.split(mark).filter(code).map(str::to_owned).collect()
    };
    let set = |list: &[String]| list.iter().cloned().collect::<BTreeSet<_>>();
    let written = family(&sources, '"');
    assert_eq!(set(&written), set(&family(UPSTREAM, '`')));
    let all = family(&cases, '"');
    for code in set(&written) {
        let asserted = all.iter().filter(|other| **other == code).count() > 1;
        assert!(asserted || ["upstream.folder", "upstream.start"].contains(&code.as_str()), "{code}");
    }
}

/// The code without its cases, and the cases.
fn sources() -> (String, String) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut code, mut cases) = (String::new(), String::new());
    let mut files = files(&root.join("src/attester"));
    files.append(&mut self::files(&root.join("src/staple")));
    files.append(&mut self::files(&root.join("src/transport")));
    files.append(&mut self::files(&root.join("src/gpu")));
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
    for folder in ["tests/azure", "tests/gce_vtpm", "tests/stapling"] {
        for path in self::files(&root.join(folder)) {
            cases += &std::fs::read_to_string(path).expect("a source");
        }
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
    let families = ["attester.", "staple.", "gpu.", "address.", "vsock."];
    let family = |code: &&str| families.iter().any(|family| code.starts_with(family));
    text.split(mark).filter(|code| code.chars().all(plain)).filter(family).map(ToOwned::to_owned).collect()
}
