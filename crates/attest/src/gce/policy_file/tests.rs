//! `[gce-vtpm]` of a policy file: the example, and one mistake each.

use crate::eventlog::LogPolicy;
use crate::policy::{Danger, Expected, PlatformPolicy, Policy};

const EXAMPLE: &str = include_str!("../../../tests/policies/gce.toml");

fn code(from: &str, to: &str) -> &'static str {
    assert!(EXAMPLE.contains(from), "{from:?} is not in the example");
    Policy::from_toml(&EXAMPLE.replacen(from, to, 1)).map_or_else(|error| error.code(), |_| "policy")
}

#[test]
fn the_example_is_read_as_it_is_written() {
    let policy = Policy::from_toml(EXAMPLE).expect("a policy");
    assert_eq!(policy.snp, PlatformPolicy::NotAccepted);
    let PlatformPolicy::Accepted(gce) = policy.gce else { panic!("terms for GCE") };
    assert!(matches!(gce.memory_encryption_unproven, Danger::Allow { .. }));
    assert_eq!(gce.project_id, Expected::OneOf(vec!["my-project".to_owned()]));
    assert_eq!(gce.instance_id, Expected::any("machines come and go"));
    assert_eq!(gce.pcrs[&4], Expected::OneOf(vec![[4; 32]]));
    assert_eq!(gce.event_log, LogPolicy::NotAsked);
}

#[test]
fn the_example_is_the_specifications() {
    assert!(include_str!("../../../../../spec/attest.md").contains(EXAMPLE.trim_end()));
}

#[test]
fn one_mistake_each() {
    let zone = "zone = { any = \"machines come and go\" }";
    let instance = "instance-id = { any = \"machines come and go\" }";
    for (from, to, expected) in [
        ("[gce-vtpm]", "[gce-vtpm]\nunknown = 1", "policy.syntax"),
        ("[gce-vtpm]", "[gce]", "policy.syntax"),
        (zone, "", "policy.syntax"),
        (zone, "zone = []", "policy.empty-list"),
        (zone, "zone = { any = \" \" }", "policy.empty-reason"),
        (instance, "instance-id = [6797247218250647237]", "policy"),
        (instance, "instance-id = [-1]", "policy.syntax"),
        (instance, "instance-id = [\"1\"]", "policy.syntax"),
        ("the SEV-SNP report of the same machine binds the name of this key", "", "policy.empty-reason"),
        ("{ 4 = ", "{ 24 = ", "policy.no-such-pcr"),
        ("[\"0404", "[\"04", "policy.wrong-length"),
    ] {
        assert_eq!(code(from, to), expected, "{to}");
    }
}

#[test]
fn without_a_word_on_memory_it_is_refused() {
    let text: String = EXAMPLE
        .lines()
        .filter(|line| !line.starts_with("memory"))
        .fold(String::new(), |text, line| text + line + "\n");
    let PlatformPolicy::Accepted(gce) = Policy::from_toml(&text).expect("a policy").gce else {
        panic!("GCE")
    };
    assert_eq!(gce.memory_encryption_unproven, Danger::Refuse);
}
