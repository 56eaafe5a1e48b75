//! `[tdx.event-log]`: the example, and one mistake each.

use crate::eventlog::{LogPolicy, LogTerms, dstack_event_digest};
use crate::policy::{Danger, Expected, PlatformPolicy, Policy};

const PLATFORM: &str = include_str!("../../../tests/policies/tdx.toml");
const EXAMPLE: &str = include_str!("../../../tests/policies/event-log.toml");
const AZURE: &str = include_str!("../../../tests/policies/azure.toml");

fn terms(text: &str) -> LogTerms {
    let policy = Policy::from_toml(&format!("{PLATFORM}\n{text}")).expect("a policy");
    let PlatformPolicy::Accepted(tdx) = policy.tdx else { panic!("terms for TDX") };
    let LogPolicy::Demanded(terms) = tdx.event_log else { panic!("terms for the log") };
    terms
}

fn code(from: &str, to: &str) -> &'static str {
    assert!(EXAMPLE.contains(from), "{from:?} is not in the example");
    let text = format!("{PLATFORM}\n{}", EXAMPLE.replacen(from, to, 1));
    Policy::from_toml(&text).map_or_else(|error| error.code(), |_| "policy")
}

#[test]
fn the_example_is_read_as_it_is_written() {
    let terms = terms(EXAMPLE);
    assert!(matches!(terms.other_registers, Danger::Allow { .. }));
    assert_eq!(terms.registers.keys().copied().collect::<Vec<_>>(), [1, 2, 3]);
    let Expected::OneOf(events) = &terms.registers[&1].events else { panic!("a list") };
    let action = crate::crypto::sha384(b"Calling EFI Application from Boot Option").to_vec();
    let separator = crate::crypto::sha384(&[0; 4]).to_vec();
    assert_eq!(*events, [action, separator, vec![0x64; 48]]);
    assert_eq!(terms.registers[&1].required, [vec![0x64; 48]]);
    assert_eq!(terms.registers[&3].required, [dstack_event_digest("compose-hash", &[0x34; 32]).to_vec()]);
}

#[test]
fn an_event_of_dstacks_may_be_of_version_2() {
    let version = |number: &str| EXAMPLE.replace("3434\" }", &format!("3434\", version = {number} }}"));
    let required = terms(&version("2")).registers[&3].required.clone();
    let measured = crate::eventlog::DstackVersion::V2.measured("compose-hash", &[0x34; 32]);
    assert_eq!(required, [crate::crypto::sha384(&measured).to_vec()]);
    assert_eq!(terms(&version("1")), terms(EXAMPLE));
    let three = Policy::from_toml(&format!("{PLATFORM}\n{}", version("3")));
    assert_eq!(three.expect_err("no version 3").code(), "policy.out-of-range");
}

#[test]
fn the_example_is_the_specifications() {
    assert!(include_str!("../../../../../spec/event-logs.md").contains(EXAMPLE.trim_end()));
}

#[test]
fn what_is_not_written_is_not_asked_or_refused() {
    let PlatformPolicy::Accepted(tdx) = Policy::from_toml(PLATFORM).expect("a policy").tdx else {
        panic!("TDX")
    };
    assert_eq!(tdx.event_log, LogPolicy::NotAsked);
    let strict = terms("[tdx.event-log.register.0]\nevents = \"none\"\n");
    assert_eq!(strict.other_registers, Danger::Refuse);
    assert_eq!(strict.registers[&0].events, Expected::OneOf(Vec::new()));
}

#[test]
fn one_mistake_each() {
    let word = "events = { any = \"the instance has a name of its own\" }";
    let payload = "payload = \"34";
    for (from, to, expected) in [
        ("other-registers = {", "unknown = 1\nother-registers = {", "policy.syntax"),
        ("RTMR0, the shape of the machine, is compared as a whole", " ", "policy.empty-reason"),
        ("[tdx.event-log.register.1]", "[tdx.event-log.register.4]", "policy.no-such-register"),
        ("[tdx.event-log.register.1]", "[tdx.event-log.register.01]", "policy.no-such-register"),
        ("[tdx.event-log.register.1]", "[tdx.event-log.register.rtmr1]", "policy.no-such-register"),
        (word, "events = \"any\"", "policy.unknown-word"),
        (word, "events = { any = \"\" }", "policy.empty-reason"),
        (word, "events = []", "policy.empty-list"),
        (word, "events = \"none\"", "policy"),
        (word, "events = { all = \"\" }", "policy.syntax"),
        (word, "", "policy.syntax"),
        ("required = [{ event", "# required = [{ event", "policy.empty-list"),
        ("\"646464", "\"6464", "policy.wrong-length"),
        ("\"646464", "\"zz6464", "policy.not-hex"),
        ("{ text = ", "{ words = ", "policy.syntax"),
        ("{ event = \"compose-hash\"", "{ event = \"compose:hash\"", "policy.unknown-word"),
        (payload, "payload = \"zz34", "policy.not-hex"),
        (payload, "payload = \"", "policy"),
    ] {
        assert_eq!(code(from, to), expected, "{to}");
    }
    let empty = format!("{PLATFORM}\n[tdx.event-log]\nregister = {{}}\n");
    assert_eq!(Policy::from_toml(&empty).expect_err("refused").code(), "policy.empty-list");
    let absent = format!("{PLATFORM}\n[tdx.event-log]\n");
    assert_eq!(Policy::from_toml(&absent).expect_err("refused").code(), "policy.syntax");
}

#[test]
fn a_tpm_has_other_registers_and_shorter_digests() {
    let with = |register: &str, events: &str| {
        let (platform, hardware) = AZURE.split_once("[azure.sev-snp]").expect("the example");
        let text = format!(
            "{platform}\n[azure.event-log.register.{register}]\nevents = [{events}]\n[azure.sev-snp]{hardware}"
        );
        Policy::from_toml(&text).map_or_else(|error| error.code(), |_| "policy")
    };
    let digest = format!("\"{}\"", "64".repeat(32));
    assert_eq!(with("0", &digest), "policy");
    assert_eq!(with("15", &digest), "policy");
    assert_eq!(with("16", &digest), "policy.no-such-register");
    assert_eq!(with("4", &format!("\"{}\"", "64".repeat(48))), "policy.wrong-length");
    assert_eq!(with("4", "{ text = \"words\" }"), "policy");
    assert_eq!(with("4", "{ event = \"app-id\", payload = \"\" }"), "policy.unknown-word");
}
