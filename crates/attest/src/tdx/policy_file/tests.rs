use crate::policy::{Danger, Expected, PlatformPolicy, Policy};
use crate::tdx::{ModuleSvn, TcbStatus, TdxPolicy};

const EXAMPLE: &str = include_str!("../../../tests/policies/tdx.toml");

fn code(text: &str) -> &'static str {
    Policy::from_toml(text).expect_err("must be refused").code()
}

#[test]
fn the_example_is_strict() {
    let policy = Policy::from_toml(EXAMPLE).expect("a policy");
    let PlatformPolicy::Accepted(terms) = policy.tdx else { panic!("terms") };
    assert_eq!(terms.tcb_statuses, [TcbStatus::UpToDate]);
    assert_eq!(terms.minimum_module, ModuleSvn { major: 1, minor: 5 });
    assert_eq!(terms.debug, Danger::Refuse);
    assert_eq!(terms.service_td_extension, Danger::Refuse);
    assert_eq!(terms.xfam_may, TdxPolicy::XFAM);
    assert_eq!(terms.mrtd, Expected::OneOf(vec![[0x64; 48]]));
    assert_eq!(policy.snp, PlatformPolicy::NotAccepted);
}

#[test]
fn one_mistake_each() {
    let status = "[\"UpToDate\"]";
    assert_eq!(code(&EXAMPLE.replace(status, "[]")), "policy.empty-list");
    assert_eq!(code(&EXAMPLE.replace(status, "[\"Revoked\"]")), "policy.syntax");
    assert_eq!(code(&EXAMPLE.replace(status, "[\"uptodate\"]")), "policy.syntax");
    assert_eq!(code(&EXAMPLE.replace("nothing is extended at run time", " ")), "policy.empty-reason");
    assert_eq!(code(&EXAMPLE.replacen("6464", "64", 1)), "policy.wrong-length");
    assert_eq!(code(&EXAMPLE.replacen("6464", "zz64", 1)), "policy.not-hex");
    assert_eq!(code(&format!("{EXAMPLE}unknown = 1\n")), "policy.syntax");
    for line in EXAMPLE.lines().filter(|line| line.contains(" = ")) {
        assert_eq!(code(&EXAMPLE.replace(&format!("{line}\n"), "")), "policy.syntax", "{line}");
    }
}
