//! spec/kms.md and the code name the same codes and rules, and every code is asserted by a case.

use std::collections::BTreeSet;
use std::path::Path;

const SPECIFICATION: &str = include_str!("../../../../spec/kms.md");
/// Failures of the system, which no case brings about.
const WITHOUT_CASE: [&str; 3] = ["kms.authority", "kms.key-pair", "kms.clock"];

#[test]
fn codes_are_those_of_the_specification_and_each_has_a_case() {
    let (code, cases) = sources();
    let written = codes(&code, '"');
    assert!(written.len() > 15, "the scan found only {} codes", written.len());
    assert_eq!(written, codes(SPECIFICATION, '`'));
    let asserted = codes(&cases, '"');
    let missing: Vec<_> =
        written.difference(&asserted).filter(|code| !WITHOUT_CASE.contains(&code.as_str())).collect();
    assert_eq!(missing, [] as [&String; 0]);
}

#[test]
fn rules_are_numbered_once_and_each_has_its_place_in_the_code() {
    let (code, _) = sources();
    let numbers: Vec<_> =
        SPECIFICATION.lines().filter_map(|line| line.strip_prefix("- **KMS-")?.get(..2)).collect();
    assert!(numbers.is_sorted() && numbers.len() > 9);
    assert_eq!(numbers.iter().collect::<BTreeSet<_>>().len(), numbers.len());
    for number in &numbers {
        assert!(code.contains(&format!("KMS-{number}")), "KMS-{number}");
    }
    for cited in code.split("KMS-").skip(1) {
        assert!(numbers.contains(&cited.get(..2).unwrap_or_default()), "KMS-{cited:.2}");
    }
}

fn sources() -> (String, String) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut code, mut cases) = (String::new(), String::new());
    let read = |folder: &str| {
        let entries = std::fs::read_dir(root.join(folder)).expect("a folder");
        let paths = entries.map(|entry| entry.expect("an entry").path());
        paths.filter(|path| path.extension().is_some_and(|it| it == "rs"))
    };
    let others = ["src/owner.rs", "src/config/kms.rs"].map(|name| root.join(name));
    for path in read("src/kms").chain(others) {
        let text = std::fs::read_to_string(path).expect("a source");
        let (before, after) = text.split_once("#[cfg(test)]\nmod tests").unwrap_or((&text, ""));
        code += before;
        cases += after;
    }
    for path in read("tests/kms") {
        cases += &std::fs::read_to_string(path).expect("a source");
    }
    (code, cases)
}

/// Everything between two of these marks that is a code of this family.
fn codes(text: &str, mark: char) -> BTreeSet<String> {
    let plain = |c: char| c.is_ascii_lowercase() || ".-".contains(c);
    let of_family = |code: &&str| code.starts_with("kms.") && !code.ends_with(".md");
    text.split(mark).filter(|code| code.chars().all(plain)).filter(of_family).map(ToOwned::to_owned).collect()
}
