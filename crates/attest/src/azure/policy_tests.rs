//! `[azure]` of a policy file: the example, and one mistake each.

use super::UserDataTerms;
use crate::policy::{Danger, Expected, PlatformPolicy, Policy};

const EXAMPLE: &str = include_str!("../../tests/policies/azure.toml");

fn code(from: &str, to: &str) -> &'static str {
    assert!(EXAMPLE.contains(from), "{from:?} is not in the example");
    Policy::from_toml(&EXAMPLE.replacen(from, to, 1)).map_or_else(|error| error.code(), |_| "policy")
}

#[test]
fn the_example_is_read_as_it_is_written() {
    let policy = Policy::from_toml(EXAMPLE).expect("a policy");
    assert_eq!((&policy.snp, &policy.nitro), (&PlatformPolicy::NotAccepted, &PlatformPolicy::NotAccepted));
    let PlatformPolicy::Accepted(azure) = policy.azure else { panic!("terms for Azure") };
    assert_eq!(azure.pcrs.keys().copied().collect::<Vec<_>>(), [4, 7]);
    assert_eq!(azure.pcrs[&4], Expected::OneOf(vec![[4; 32]]));
    assert_eq!(azure.pcrs[&7], Expected::any("PCR 4 covers it"));
    assert_eq!(azure.secure_boot_off, Danger::Refuse);
    assert!(matches!(azure.console, Danger::Allow { .. }));
    let PlatformPolicy::Accepted(snp) = azure.snp else { panic!("terms for SEV-SNP") };
    assert_eq!(snp.measurement, Expected::OneOf(vec![[0x32; 48]]));
    assert_eq!(azure.tdx, PlatformPolicy::NotAccepted);
}

#[test]
fn user_data_is_the_exchanges_or_one_of_a_list_or_anything_for_a_reason() {
    let written = r#"user-data = { any = "the quote binds the exchange" }"#;
    let read = |to: &str| {
        let policy = Policy::from_toml(&EXAMPLE.replacen(written, to, 1)).map_err(|error| error.code())?;
        let PlatformPolicy::Accepted(azure) = policy.azure else { panic!("terms for Azure") };
        Ok(azure.user_data)
    };
    assert_eq!(read(written), Ok(UserDataTerms::any("the quote binds the exchange")));
    assert_eq!(read(r#"user-data = "exchange""#), Ok(UserDataTerms::Exchange));
    let list = format!("user-data = [\"{}\"]", "11".repeat(64));
    assert_eq!(read(&list), Ok(UserDataTerms::one_of(vec![[0x11; 64]])));
    for (to, expected) in [
        ("", "policy.syntax"),
        (r#"user-data = "any""#, "policy.syntax"),
        ("user-data = ''", "policy.syntax"),
        ("user-data = true", "policy.syntax"),
        (r#"user-data = { exchange = "x" }"#, "policy.syntax"),
        (r#"user-data = ["exchange"]"#, "policy.not-hex"),
        ("user-data = []", "policy.empty-list"),
        (r#"user-data = { any = " " }"#, "policy.empty-reason"),
    ] {
        assert_eq!(read(to), Err(expected), "{to}");
    }
}

#[test]
fn the_example_is_the_specifications() {
    assert!(include_str!("../../../../spec/attest.md").contains(EXAMPLE.trim_end()));
}

#[test]
fn absent_dangers_are_refused() {
    let text: String = EXAMPLE
        .lines()
        .filter(|l| !l.starts_with("console") && !l.starts_with("secure") && !l.starts_with("ak-"))
        .fold(String::new(), |text, line| text + line + "\n");
    let policy = Policy::from_toml(&text).expect("a policy");
    let PlatformPolicy::Accepted(azure) = policy.azure else { panic!("terms for Azure") };
    assert_eq!((azure.console, azure.secure_boot_off), (Danger::Refuse, Danger::Refuse));
    assert_eq!(azure.ak_uncertified, Danger::Refuse);
}

#[test]
fn one_mistake_each() {
    let vm = r#"vm-id = { any = "machines come and go" }"#;
    for (from, to, expected) in [
        ("[azure]", "[azure]\nunknown = 1", "policy.syntax"),
        (vm, "", "policy.syntax"),
        (vm, r#"vm-id = ["390CBCF5-6C67-4D9B-98EF-C3F1699CC8FC"]"#, "policy"),
        (vm, r#"vm-id = ["390cbcf5-6c67-4d9b-98ef-c3f1699cc8fc"]"#, "policy"),
        (vm, r#"vm-id = ["390CBCF56C674D9B98EFC3F1699CC8FC"]"#, "policy.not-uuid"),
        (vm, r#"vm-id = ["390CBCF5-6C67-4D9B-98EF-C3F1699CC8FC-"]"#, "policy.not-uuid"),
        (vm, r#"vm-id = ["390CBCF5-6C67-4D9B-98EFC-3F1699CC8FC"]"#, "policy.not-uuid"),
        (vm, "vm-id = []", "policy.empty-list"),
        (vm, r#"vm-id = { any = " " }"#, "policy.empty-reason"),
        ("{ 4 = ", "{ 24 = ", "policy.no-such-pcr"),
        ("{ 4 = ", "{ 04 = ", "policy.no-such-pcr"),
        ("{ 4 = ", "{ +4 = ", "policy.syntax"),
        ("{ 4 = ", "{ 7 = ", "policy.syntax"),
        ("[\"0404", "[\"04", "policy.wrong-length"),
        ("[\"0404", "[\"zz04", "policy.not-hex"),
        ("7 = { any = \"PCR 4 covers it\" }", "7 = []", "policy.empty-list"),
        ("7 = { any = \"PCR 4 covers it\" }", "7 = { any = \"\" }", "policy.empty-reason"),
        ("[azure.sev-snp]", "[azure.snp]", "policy.syntax"),
        ("vmpl = [0]", "", "policy.syntax"),
    ] {
        assert_eq!(code(from, to), expected, "{to}");
    }
    let start = EXAMPLE.find("pcrs = ").expect("there");
    let end = start + EXAMPLE[start..].find('\n').expect("there");
    assert_eq!(code(&EXAMPLE[start..end], "pcrs = {}"), "policy.empty-list");
    assert_eq!(code(&EXAMPLE[start..end], ""), "policy.syntax");
}

#[test]
fn one_of_the_two_kinds_of_hardware_must_be_spoken_of() {
    let (own, snp) = EXAMPLE.split_once("[azure.sev-snp]").expect("the example");
    let tdx = include_str!("../../tests/policies/tdx.toml").replace("[tdx]", "[azure.tdx]");
    let read = |text: String| Policy::from_toml(&text).map_or_else(|error| error.code(), |_| "policy");
    assert_eq!(read(own.to_owned()), "policy.no-platform");
    assert_eq!(read(format!("{own}\n{tdx}")), "policy");
    assert_eq!(read(format!("{own}\n[azure.sev-snp]{snp}\n{tdx}")), "policy");
    let log = "[azure.tdx.event-log.register.1]\nevents = \"none\"\n";
    assert_eq!(read(format!("{own}\n{tdx}\n{log}")), "policy.no-such-register");
    let log = "[azure.event-log.register.1]\nevents = \"none\"\n";
    assert_eq!(read(format!("{own}\n{tdx}\n{log}")), "policy");
    let Policy { azure: PlatformPolicy::Accepted(azure), .. } =
        Policy::from_toml(&format!("{own}\n{tdx}")).expect("a policy")
    else {
        panic!("terms for Azure")
    };
    assert!(matches!((azure.snp, azure.tdx), (PlatformPolicy::NotAccepted, PlatformPolicy::Accepted(_))));
}
