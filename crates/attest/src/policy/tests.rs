use super::*;
use crate::snp::{
    Abi, Floor, GuestPermission, HostTrustPolicy, MinimumTcb, PlatformProtection, Tcb, Version,
};

/// The example of spec/attest.md §7; a test of its own keeps the two equal.
const EXAMPLE: &str = include_str!("../../tests/policies/example.toml");

fn code(text: &str) -> &'static str {
    Policy::from_toml(text).expect_err("must be refused").code()
}

/// The example with one thing replaced, which must be there.
fn changed(from: &str, to: &str) -> String {
    assert!(EXAMPLE.contains(from), "{from:?} is not in the example");
    EXAMPLE.replacen(from, to, 1)
}

fn terms(text: &str) -> SnpPolicy {
    match Policy::from_toml(text).expect("a policy").snp {
        PlatformPolicy::Accepted(terms) => terms,
        PlatformPolicy::NotAccepted => panic!("SEV-SNP is not accepted"),
    }
}

#[test]
fn the_example_says_what_it_reads_like() {
    let terms = terms(EXAMPLE);
    let zero = |reason: &str| Expected::any(reason);
    assert_eq!(terms.measurement, Expected::OneOf(vec![[0x32; 48], [0xdd; 48]]));
    assert_eq!(terms.host_data, Expected::OneOf(vec![[0; 32]]));
    assert_eq!(terms.chip_id, zero("the fleet is rented and changes daily"));
    assert_eq!(terms.vlek_providers, Vec::<String>::new());
    assert_eq!(terms.vmpl, Expected::OneOf(vec![0]));
    assert_eq!(terms.minimum_guest_svn, 0);
    assert_eq!(terms.minimum_report_version, Version::V3);
    assert_eq!(terms.minimum_abi, Abi { major: 0, minor: 0 });
    assert_eq!(terms.guest_may, [GuestPermission::Smt]);
    assert_eq!(terms.guest_must, []);
    assert_eq!(terms.platform_must, [PlatformProtection::AliasCheckComplete]);
    assert_eq!(terms.minimum_tcb, MinimumTcb::BASELINE);
    assert_eq!((terms.launch_mitigations, terms.current_mitigations), (0, 0));
}

#[test]
fn the_specification_shows_this_example() {
    assert!(include_str!("../../../../spec/attest.md").contains(EXAMPLE.trim_end()));
}

#[test]
fn what_is_not_written_refuses() {
    let terms = terms(EXAMPLE);
    assert_eq!(terms.debug, Danger::Refuse);
    assert_eq!(terms.migration_agent, Danger::Refuse);
    assert_eq!(terms.provisional_firmware, Danger::Refuse);
    assert_eq!(terms.host_trust, HostTrustPolicy::HostUntrusted);
    assert_eq!(terms.minimum_tcb.milan, Floor::NotAccepted);
    let bare = changed("guest-may = [\"smt\"]\n", "");
    assert_eq!(self::terms(&bare).guest_may, []);
    let bare = changed("platform-may = [\"smt\"]\n", "");
    assert_eq!(self::terms(&bare).platform_may, []);
}

#[test]
fn the_built_in_strict_policy_is_the_example_for_its_measurement() {
    let mut strict = SnpPolicy::strict(Expected::OneOf(vec![[0x32; 48], [0xdd; 48]]));
    strict.chip_id = Expected::any("the fleet is rented and changes daily");
    assert_eq!(terms(EXAMPLE), strict);
}

#[test]
fn every_key_without_a_refusing_default_is_required() {
    for key in [
        "measurement",
        "host-data",
        "id-key-digest",
        "author-key-digest",
        "family-id",
        "image-id",
        "chip-id",
        "vmpl",
        "minimum-guest-svn",
        "minimum-report-version",
        "minimum-abi",
        "guest-must",
        "platform-must",
        "launch-mitigations",
        "current-mitigations",
    ] {
        let mut skipping = false;
        let without: String = EXAMPLE
            .lines()
            .filter(|line| {
                if line.starts_with(&format!("{key} =")) {
                    skipping = !line.contains(']') && line.ends_with('[');
                    return false;
                }
                let drop = skipping;
                skipping = skipping && *line != "]";
                !drop
            })
            .flat_map(|line| [line, "\n"])
            .collect();
        assert_ne!(without, EXAMPLE, "{key} is in the example");
        assert_eq!(code(&without), "policy.syntax", "without {key}");
    }
}

#[test]
fn unknown_keys_and_words_are_refused() {
    assert_eq!(code("[tdx]\n"), "policy.syntax");
    assert_eq!(code(&format!("{EXAMPLE}\n[nitro]\n")), "policy.syntax");
    assert_eq!(code(&changed("vmpl =", "vmpls =")), "policy.syntax");
    assert_eq!(code(&changed("vmpl =", "policy = 1\nvmpl =")), "policy.syntax");
    assert_eq!(code(&changed("host-data =", "host_data =")), "policy.syntax", "one spelling");
    assert_eq!(code(&changed("guest-may = [\"smt\"]", "guest-may = [\"debug\"]")), "policy.syntax");
    assert_eq!(code(&changed("\"alias-check-complete\"", "\"alias-check\"")), "policy.syntax");
    assert_eq!(code(&changed("[sev-snp.minimum-tcb.genoa]", "[sev-snp.minimum-tcb.rome]")), "policy.syntax");
    assert_eq!(code(&changed("microcode =", "ucode =")), "policy.syntax");
}

#[test]
fn not_toml() {
    assert_eq!(code("{\"sev-snp\": {}}"), "policy.syntax");
    assert_eq!(code("[sev-snp]\n[sev-snp]\n"), "policy.syntax");
    assert_eq!(code("\0"), "policy.syntax");
}

#[test]
fn an_empty_policy_accepts_nothing_and_is_refused() {
    assert_eq!(code(""), "policy.no-platform");
    assert_eq!(code("# nothing\n"), "policy.no-platform");
}

#[test]
fn lists_that_accept_nothing_are_refused() {
    let zero_32 = format!("host-data = [\"{}\"]", "00".repeat(32));
    assert_eq!(code(&changed(&zero_32, "host-data = []")), "policy.empty-list");
    assert_eq!(code(&changed("vmpl = [0]", "vmpl = []")), "policy.empty-list");
}

#[test]
fn waivers_need_a_reason_and_only_that() {
    let chip = "chip-id = { any = \"the fleet is rented and changes daily\" }";
    for (waiver, expected) in [
        ("chip-id = { any = \"\" }", "policy.empty-reason"),
        ("chip-id = { any = \"  \" }", "policy.empty-reason"),
        ("chip-id = { any = true }", "policy.syntax"),
        ("chip-id = {}", "policy.syntax"),
        ("chip-id = { any = \"a\", but = \"b\" }", "policy.syntax"),
        ("chip-id = { all = \"a\" }", "policy.syntax"),
        ("chip-id = \"any\"", "policy.syntax"),
        ("chip-id = true", "policy.syntax"),
        ("debug = { danger-allow = \"\" }\nchip-id = { any = \"a\" }", "policy.empty-reason"),
        ("debug = { allow = \"a\" }\nchip-id = { any = \"a\" }", "policy.syntax"),
        ("debug = \"allow\"\nchip-id = { any = \"a\" }", "policy.syntax"),
        ("debug = true\nchip-id = { any = \"a\" }", "policy.syntax"),
        ("host-trust = \"provider-trusted\"\nchip-id = { any = \"a\" }", "policy.syntax"),
        ("host-trust = { provider-trusted = \" \" }\nchip-id = { any = \"a\" }", "policy.empty-reason"),
    ] {
        assert_eq!(code(&changed(chip, waiver)), expected, "{waiver}");
    }
    let allowed = changed(
        chip,
        "debug = { danger-allow = \"lab\" }\nmigration-agent = { danger-allow = \"lab\" }\n\
         provisional-firmware = { danger-allow = \"lab\" }\nhost-trust = { provider-trusted = \"lab\" }\n\
         chip-id = { any = \"lab\" }",
    );
    let lab = || Danger::Allow { reason: "lab".to_owned() };
    let terms = terms(&allowed);
    assert_eq!((terms.debug, terms.migration_agent, terms.provisional_firmware), (lab(), lab(), lab()));
    assert_eq!(terms.host_trust, HostTrustPolicy::ProviderTrusted { reason: "lab".to_owned() });
}

#[test]
fn values_have_their_exact_length() {
    let zero_32 = "00".repeat(32);
    for (value, expected) in [
        ("00".repeat(31), "policy.wrong-length"),
        ("00".repeat(33), "policy.wrong-length"),
        (String::new(), "policy.wrong-length"),
        ("0".repeat(63), "policy.not-hex"),
        (format!("0x{}", "00".repeat(31)), "policy.not-hex"),
        (format!(" {}", "00".repeat(32)), "policy.not-hex"),
        ("zz".repeat(32), "policy.not-hex"),
    ] {
        let text = changed(&format!("host-data = [\"{zero_32}\"]"), &format!("host-data = [\"{value}\"]"));
        assert_eq!(code(&text), expected, "{value:?}");
    }
}

#[test]
fn numbers_have_their_range() {
    assert_eq!(code(&changed("vmpl = [0]", "vmpl = [4]")), "policy.out-of-range");
    assert_eq!(code(&changed("vmpl = [0]", "vmpl = [4294967295]")), "policy.out-of-range", "the host's mark");
    assert_eq!(code(&changed("vmpl = [0]", "vmpl = [-1]")), "policy.syntax");
    assert_eq!(code(&changed("vmpl = [0]", "vmpl = 0")), "policy.syntax");
    let version = "minimum-report-version = 3";
    assert_eq!(code(&changed(version, "minimum-report-version = 1")), "policy.out-of-range");
    assert_eq!(code(&changed(version, "minimum-report-version = 6")), "policy.out-of-range");
    assert_eq!(code(&changed("microcode = 72", "microcode = 256")), "policy.syntax");
    assert_eq!(code(&changed("launch-mitigations = 0", "launch-mitigations = -1")), "policy.syntax");
}

#[test]
fn fmc_belongs_to_turin() {
    assert_eq!(code(&changed("fmc = 0\n", "")), "policy.fmc-component");
    assert_eq!(code(&changed("bootloader = 9\n", "fmc = 0\nbootloader = 9\n")), "policy.fmc-component");
    let milan = "\n[sev-snp.minimum-tcb.milan]\nbootloader = 4\ntee = 0\nsnp = 24\nmicrocode = 219\n";
    let terms = terms(&format!("{EXAMPLE}{milan}"));
    let expected = Tcb { fmc: 0, bootloader: 4, tee: 0, snp: 24, microcode: 219 };
    assert_eq!(terms.minimum_tcb.milan, Floor::AtLeast(expected));
}
