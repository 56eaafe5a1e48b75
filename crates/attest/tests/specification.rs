//! The specification and the code name the same codes, rules and fields.

use std::collections::BTreeSet;
use std::path::Path;

use casemate_attest::rules::{
    ACI, AZURE, BUNDLE, COCO, CONFIDENTIAL_SPACE, DSTACK, EAR, EVENT_LOG, GCE, MAA, NITRO, NRAS, NVIDIA,
    NVIDIA_RIM, Rule, SEV_SNP, TDX, TINFOIL,
};
use walkdir::WalkDir;

const EVENT_LOGS: &str = include_str!("../../../spec/event-logs.md");
const TOKENS_EAR: &str = include_str!("../../../spec/tokens-ear.md");
const TOKENS_NRAS: &str = include_str!("../../../spec/tokens-nras.md");
const BUNDLES: &str = include_str!("../../../spec/bundles.md");
const BUNDLES_ACI: &str = include_str!("../../../spec/bundles-aci.md");
const BUNDLES_DSTACK: &str = include_str!("../../../spec/bundles-dstack.md");
const TOKENS: &str = include_str!("../../../spec/tokens.md");
const SPECIFICATION: &str = include_str!("../../../spec/attest.md");
const FAMILIES: [&str; 16] = [
    "anchors.",
    "azure.",
    "binding.",
    "crl.",
    "endorsements.",
    "evidence.",
    "gce.",
    "internal.",
    "nitro.",
    "nvidia.",
    "ocsp.",
    "policy.",
    "snp.",
    "tdx.",
    "tpm.",
    "x509.",
];
/// Each platform's rules, with the headings between which they are specified.
const RULES: [(&[Rule], &str, &str); 7] = [
    (SEV_SNP, "## 6. Rules", "## 7."),
    (NITRO, "### 11.3 Rules", "### 11.4"),
    (TDX, "### 12.3 Rules", "### 12.4"),
    (AZURE, "### 13.4 Rules", "### 13.5"),
    (GCE, "### 15.2 Rules", "### 15.3"),
    (NVIDIA, "### 14.3 Rules", "### 14.4"),
    (NVIDIA_RIM, "### 14.6 Reference", "### 14.7"),
];

#[test]
fn every_code_is_in_the_table_of_codes_and_nothing_else_is() {
    let (_, section) = SPECIFICATION.split_once("## 9. Codes").expect("section 9");
    let (section, _) = section.split_once("## 10.").expect("section 10");
    let specified: BTreeSet<_> = between(section, '`').filter(is_code).collect();
    let written = written_codes();
    let written: BTreeSet<_> = written.iter().map(String::as_str).filter(is_code).collect();

    assert!(written.len() > 80, "the scan found only {} codes", written.len());
    compare(&written, &specified);
}

#[test]
fn every_code_of_event_logs_is_in_their_own_table() {
    let (_, section) = EVENT_LOGS.split_once("## 7. Codes").expect("section 7");
    let (section, _) = section.split_once("## 8.").expect("section 8");
    let is_log = |text: &&str| text.starts_with("log.");
    let specified: BTreeSet<_> = between(section, '`').filter(is_log).collect();
    let written = written_codes();
    let written: BTreeSet<_> = written.iter().map(String::as_str).filter(is_log).collect();

    assert!(written.len() > 20, "the scan found only {} codes", written.len());
    compare(&written, &specified);
}

fn compare(written: &BTreeSet<&str>, specified: &BTreeSet<&str>) {
    let missing: Vec<_> = written.difference(specified).collect();
    let stale: Vec<_> = specified.difference(written).collect();
    assert!(missing.is_empty(), "not specified: {missing:?}");
    assert!(stale.is_empty(), "specified and not in the code: {stale:?}");
}

/// What stands in quotes after an arrow: codes, and other words.
fn written_codes() -> BTreeSet<String> {
    let mut sources = String::new();
    for entry in WalkDir::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")) {
        let entry = entry.expect("a file of this crate");
        if entry.file_type().is_file() && !entry.path().ends_with("tests.rs") {
            sources.push_str(&std::fs::read_to_string(entry.path()).expect("a source file"));
        }
    }
    let lines = sources.lines().filter(|line| line.contains("=> \""));
    lines.flat_map(|line| between(line, '"')).map(str::to_owned).collect()
}

#[test]
fn every_rule_is_specified_and_no_other() {
    for (rules, start, end) in RULES {
        let (_, section) = SPECIFICATION.split_once(start).expect(start);
        let (section, _) = section.split_once(end).expect(end);
        for Rule { id, .. } in rules {
            assert!(section.contains(&format!("**{id} ")) || section.contains(&format!(", {id} ")), "{id}");
        }
        let (family, _) = rules[0].id.split_once('-').expect("a family");
        assert!(!section.contains(&format!("{family}-{:02}", rules.len() + 1)));
    }
}

#[test]
fn every_rule_and_key_of_event_logs_is_specified_and_no_other() {
    let (_, section) = EVENT_LOGS.split_once("## 4. Rules").expect("section 4");
    let (section, _) = section.split_once("## 5.").expect("section 5");
    for Rule { id, .. } in EVENT_LOG {
        assert!(section.contains(&format!("**{id} ")), "{id}");
    }
    assert!(!section.contains(&format!("LOG-{:02}", EVENT_LOG.len() + 1)));
    let (_, table) = EVENT_LOGS.split_once("| event-log key |").expect("the table");
    for line in include_str!("policies/event-log.toml").lines() {
        if let Some((key, _)) = line.split_once(" = ").filter(|_| !line.starts_with(' ')) {
            assert!(table.contains(&format!("`{key}`")), "{key}");
        }
    }
}

#[test]
fn every_code_and_rule_of_tokens_is_in_their_own_specification() {
    let (_, section) = TOKENS.split_once("## 5. Codes").expect("section 5");
    let (section, _) = section.split_once("## 6.").expect("section 6");
    let is_token = |text: &&str| {
        ["token.", "jwks.", "maa.", "confidential-space."].iter().any(|family| text.starts_with(family))
    };
    let specified: BTreeSet<_> = between(section, '`').filter(is_token).collect();
    let sources = [
        include_str!("../src/token/confidential_space.rs"),
        include_str!("../src/token/errors.rs"),
        include_str!("../src/token/jws.rs"),
        include_str!("../src/token/keys.rs"),
        include_str!("../src/token/maa.rs"),
    ];
    let written: BTreeSet<_> =
        sources.into_iter().flat_map(|source| between(source, '"')).filter(is_token).collect();
    assert!(written.len() > 40, "the scan found only {} codes", written.len());
    compare(&written, &specified);

    for Rule { id, .. } in MAA.iter().chain(CONFIDENTIAL_SPACE) {
        assert!(TOKENS.contains(&format!("**{id} ")), "{id}");
    }
}

#[test]
fn every_code_rule_and_key_of_bundles_and_results_is_in_their_own_specification() {
    let nras = [
        include_str!("../src/token/nras/appraise.rs"),
        include_str!("../src/token/errors.rs"),
        include_str!("../src/token/jws.rs"),
    ];
    let ear = [include_str!("../src/token/ear/appraise.rs")];
    of_a_kind(TOKENS_NRAS, "nras", &nras, NRAS, include_str!("policies/nras.toml"));
    of_a_kind(TOKENS_EAR, "ear", &ear, EAR, include_str!("policies/ear.toml"));
}

fn of_a_kind(specification: &str, family: &str, sources: &[&str], rules: &[Rule], policy: &str) {
    let (before, section) = specification.split_once("## 4. Codes").expect("section 4");
    let (section, _) = section.split_once("## 5.").expect("section 5");
    // The claims of attestation results begin with `ear.` too: a code here is what a term or an arrow has.
    let codes = |text: &&str| text.starts_with(&format!("{family}."));
    let specified: BTreeSet<_> = between(section, '`').filter(codes).collect();
    let in_terms = sources.iter().flat_map(|source| source.split("Term::new(\"").skip(1));
    let in_terms = in_terms.filter_map(|rest| rest.split('"').next());
    let in_arrows = sources.iter().flat_map(|source| source.lines().filter(|line| line.contains("=> \"")));
    let in_arrows = in_arrows.flat_map(|line| between(line, '"'));
    let in_calls = sources.iter().flat_map(|source| source.split("each_true(\"").skip(1));
    let in_calls = in_calls.filter_map(|rest| rest.split('"').next());
    let written: BTreeSet<_> = in_terms.chain(in_arrows).chain(in_calls).filter(codes).collect();
    assert!(written.len() > 7, "the scan found only {} codes", written.len());
    compare(&written, &specified);

    for Rule { id, .. } in rules {
        assert!(before.contains(&format!("**{id} ")), "{id}");
    }
    let one_more = format!("{}-{:02}", family.to_uppercase(), rules.len() + 1);
    assert!(!before.contains(&one_more), "{one_more}");
    let (_, table) = before.split_once(&format!("| key of `[{family}]` |")).expect("the table");
    for line in policy.lines() {
        if let Some((key, _)) = line.split_once(" = ") {
            assert!(table.contains(&format!("`{key}`")), "{key}");
        }
    }
}

#[test]
fn every_code_and_rule_of_dstack_and_aci_is_in_their_own_pages() {
    let pages = [(DSTACK, "BUN-D", BUNDLES_DSTACK), (ACI, "BUN-A", BUNDLES_ACI)];
    let mut specified = BTreeSet::new();
    for (rules, family, page) in pages {
        let (_, section) = page.split_once("## 3. Rules").expect("section 3");
        let (section, _) = section.split_once("## 4.").expect("section 4");
        for Rule { id, .. } in rules {
            assert!(section.contains(&format!("**{id} ")), "{id}");
        }
        assert!(!page.contains(&format!("{family}{:02}", rules.len() + 1)));
        let (_, codes) = page.split_once("## 5. Codes").expect("section 5");
        let (codes, _) = codes.split_once("## 6.").expect("section 6");
        specified.extend(between(codes, '`').filter(is_of_dstack_or_aci));
    }
    let sources = [include_str!("../src/bundle/error.rs"), include_str!("../src/bundle/refused.rs")];
    let written = sources.into_iter().flat_map(|source| between(source, '"')).filter(is_of_dstack_or_aci);
    let written: BTreeSet<_> = written.collect();
    assert!(written.len() > 12, "the scan found only {} codes", written.len());
    compare(&written, &specified);
}

#[test]
fn every_code_and_rule_of_bundles_is_in_their_own_page() {
    for (rules, family) in [(BUNDLE, "BUN-"), (TINFOIL, "BUN-T"), (COCO, "BUN-C")] {
        for Rule { id, .. } in rules {
            assert!(BUNDLES.contains(&format!("**{id} ")), "{id}");
        }
        assert!(!BUNDLES.contains(&format!("{family}{:02}", rules.len() + 1)));
    }
    let (_, codes) = BUNDLES.split_once("## 6. Codes").expect("section 6");
    let (codes, _) = codes.split_once("## 7.").expect("section 7");
    let is_common = |text: &&str| text.starts_with("bundle.") && !is_of_dstack_or_aci(text);
    let specified: BTreeSet<_> = between(codes, '`').filter(is_common).collect();
    let sources = [include_str!("../src/bundle/error.rs"), include_str!("../src/bundle/refused.rs")];
    let written: BTreeSet<_> =
        sources.into_iter().flat_map(|source| between(source, '"')).filter(is_common).collect();
    assert!(written.len() > 20, "the scan found only {} codes", written.len());
    compare(&written, &specified);
}

/// Codes that no other system's bundles have.
fn is_of_dstack_or_aci(text: &&str) -> bool {
    let families = ["bundle.part.", "bundle.dstack.", "bundle.aci.", "bundle.boot."];
    let own = ["bundle.contradiction", "bundle.register-not-asked", "bundle.challenge.nonce-length"];
    families.iter().any(|family| text.starts_with(family)) || own.contains(text)
}

#[test]
fn every_policy_key_is_specified() {
    let (_, section) = SPECIFICATION.split_once("## 7. Policy").expect("section 7");
    let (_, table) = section.split_once("| key | value | rule |").expect("the table");
    let examples = [
        include_str!("policies/example.toml"),
        include_str!("policies/nitro.toml"),
        include_str!("policies/azure.toml"),
        include_str!("policies/gce.toml"),
        include_str!("policies/tdx.toml"),
        include_str!("policies/nvidia.toml"),
    ];
    for line in examples.into_iter().flat_map(str::lines) {
        if let Some((key, _)) = line.split_once(" = ") {
            assert!(table.contains(&format!("`{key}`")), "{key}");
        }
    }
}

fn between(text: &str, quote: char) -> impl Iterator<Item = &str> {
    text.split(quote).skip(1).step_by(2)
}

fn is_code(text: &&str) -> bool {
    FAMILIES.iter().any(|family| text.starts_with(family))
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '.' || c == '-')
}
