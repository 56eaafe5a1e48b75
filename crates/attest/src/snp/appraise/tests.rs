//! What no recorded machine shows: one change to a blank report, and the denial that it must cause.

use super::*;
use crate::snp::bits::Signer;
use crate::snp::genuine::Tcbs;
use crate::snp::product::ProductLine;
use crate::snp::report::tests::blank;
use crate::snp::tcb::Tcb;
use crate::time::UnixTime;

const TCB: Tcb = Tcb { fmc: 0, bootloader: 9, tee: 0, snp: 0x17, microcode: 0x48 };

/// A blank report and what would be known of it if it were genuine.
struct Case {
    bytes: Vec<u8>,
    genuine: Genuine,
    policy: SnpPolicy,
}

fn case() -> Case {
    let mut bytes = blank(5);
    bytes[0x040] = 1 << 5; // ALIAS_CHECK_COMPLETE
    let genuine = Genuine {
        signer: Signer::Vcek,
        line: ProductLine::Genoa,
        product_name: "Genoa".to_owned(),
        subject: Subject::Chip([7; 64]),
        tcbs: Tcbs { current: TCB, reported: TCB, committed: TCB, launch: TCB },
        valid_until: UnixTime(0),
    };
    Case { bytes, genuine, policy: SnpPolicy::strict(Expected::OneOf(vec![[0; 48]])) }
}

/// A report that would be accepted on these terms, were it genuine. For platforms that contain one.
pub(crate) fn accepted(change: impl FnOnce(&mut Vec<u8>)) -> (Vec<u8>, Genuine, SnpPolicy) {
    let mut case = case();
    change(&mut case.bytes);
    (case.bytes, case.genuine, case.policy)
}

fn code(change: impl FnOnce(&mut Case)) -> &'static str {
    let mut case = case();
    change(&mut case);
    let report = Report::parse(&case.bytes).expect("form");
    let mut ledger = Ledger::new(rules::SEV_SNP);
    match appraise(&report, &case.genuine, &case.policy, &mut ledger) {
        Ok(()) => "accepted",
        Err(denial) => denial.code(),
    }
}

fn allow() -> Danger {
    Danger::Allow { reason: "case".to_owned() }
}

#[test]
fn the_unchanged_case_is_accepted() {
    assert_eq!(code(|_| ()), "accepted");
}

#[test]
fn dangers_are_refused_and_can_be_allowed_for_a_reason() {
    let debug = |case: &mut Case| case.bytes[0x00a] |= 1 << 3;
    let migration = |case: &mut Case| case.bytes[0x00a] |= 1 << 2;
    let provisional = |case: &mut Case| case.bytes[0x1e8] = 1;
    assert_eq!(code(debug), "snp.guest-policy.debug");
    assert_eq!(code(migration), "snp.guest-policy.migration-agent");
    assert_eq!(code(provisional), "snp.firmware.provisional");
    for minor_or_major in [0x1e9, 0x1ea, 0x1ec, 0x1ed, 0x1ee] {
        assert_eq!(code(|case| case.bytes[minor_or_major] = 1), "snp.firmware.provisional");
    }
    let allowed = [
        code(|case| (debug(case), case.policy.debug = allow()).1),
        code(|case| (migration(case), case.policy.migration_agent = allow()).1),
        code(|case| (provisional(case), case.policy.provisional_firmware = allow()).1),
    ];
    assert_eq!(allowed, ["accepted"; 3]);
    let no_reason = || Danger::Allow { reason: "\t".to_owned() };
    assert_eq!(code(|case| (debug(case), case.policy.debug = no_reason()).1), "policy.waiver-without-reason");
    let elsewhere = code(|case| (debug(case), case.policy.migration_agent = allow()).1);
    assert_eq!(elsewhere, "snp.guest-policy.debug", "one waiver does not cover another danger");
}

#[test]
fn a_danger_that_is_not_there_is_a_pass_and_no_waiver() {
    let case = case();
    let report = Report::parse(&case.bytes).expect("form");
    let policy = SnpPolicy { debug: allow(), ..case.policy };
    assert!(matches!(debug(&report, &policy), Ok(((), Finding::Pass(_)))));
}

#[test]
fn guest_policy_permissions() {
    assert_eq!(code(|case| case.bytes[0x00a] |= 1 << 5), "snp.guest-policy.permits", "CXL");
    assert_eq!(code(|case| case.policy.guest_may.clear()), "snp.guest-policy.permits", "SMT");
    assert_eq!(code(|case| case.bytes[0x00a] &= !1), "accepted", "SMT may be absent");
    let both = code(|case| {
        case.bytes[0x00a] |= 1 << 5;
        case.policy.guest_may.push(GuestPermission::Cxl);
    });
    assert_eq!(both, "accepted");
}

#[test]
fn guest_policy_demands() {
    for (protection, byte, bit) in [
        (GuestProtection::SingleSocket, 0x00a, 4),
        (GuestProtection::Aes256Xts, 0x00a, 6),
        (GuestProtection::RaplDisabled, 0x00a, 7),
        (GuestProtection::CiphertextHiding, 0x00b, 0),
        (GuestProtection::PageSwapDisabled, 0x00b, 1),
    ] {
        let missing = code(|case| case.policy.guest_must.push(protection));
        assert_eq!(missing, "snp.guest-policy.does-not-demand", "{protection:?}");
        let there = code(|case| {
            case.policy.guest_must.push(protection);
            case.bytes[byte] |= 1 << bit;
        });
        assert_eq!(there, "accepted", "{protection:?}");
    }
}

#[test]
fn abi_versions_are_ordered_by_major_first() {
    let with = |major, minor, minimum| {
        code(|case| {
            case.bytes[0x008] = minor;
            case.bytes[0x009] = major;
            case.policy.minimum_abi = minimum;
        })
    };
    let minimum = Abi { major: 1, minor: 51 };
    assert_eq!(with(1, 51, minimum), "accepted");
    assert_eq!(with(2, 0, minimum), "accepted");
    assert_eq!(with(1, 50, minimum), "snp.guest-policy.abi-below-minimum");
    assert_eq!(with(0, 255, minimum), "snp.guest-policy.abi-below-minimum");
}

#[test]
fn the_host_cannot_ask_for_a_report_whatever_the_policy_says() {
    let host = |case: &mut Case| case.bytes[0x030..0x034].fill(0xff);
    assert_eq!(code(host), "snp.vmpl.host-requested");
    let any = code(|case| (host(case), case.policy.vmpl = Expected::any("case")).1);
    assert_eq!(any, "snp.vmpl.host-requested");
}

#[test]
fn each_of_three_tcbs_has_the_floor_and_each_component_counts() {
    let lowered = [
        Tcb { bootloader: 8, ..TCB },
        Tcb { snp: 0x16, ..TCB },
        Tcb { microcode: 0x47, ..TCB },
        Tcb { bootloader: 255, tee: 255, snp: 255, microcode: 0x47, fmc: 255 },
    ];
    for low in lowered {
        assert_eq!(code(|case| case.genuine.tcbs.reported = low), "snp.tcb.below-minimum", "{low}");
        assert_eq!(code(|case| case.genuine.tcbs.committed = low), "snp.tcb.below-minimum", "{low}");
        assert_eq!(code(|case| case.genuine.tcbs.launch = low), "snp.tcb.below-minimum", "{low}");
    }
}

#[test]
fn a_line_without_a_floor_is_refused() {
    assert_eq!(code(|case| case.policy.minimum_tcb.genoa = Floor::NotAccepted), "snp.tcb.no-minimum");
    assert_eq!(code(|case| case.genuine.line = ProductLine::Milan), "snp.host-trust.provider-trusted");
    let milan = code(|case| {
        case.genuine.line = ProductLine::Milan;
        case.policy.host_trust = HostTrustPolicy::ProviderTrusted { reason: "case".to_owned() };
    });
    assert_eq!(milan, "snp.tcb.no-minimum");
}

#[test]
fn current_firmware_is_at_or_above_the_reported() {
    let low = Tcb { microcode: 0x47, ..TCB };
    assert_eq!(code(|case| case.genuine.tcbs.current = low), "snp.tcb.current-below-reported");
    let above = |case: &mut Case| case.genuine.tcbs.current = Tcb { microcode: 0x49, ..TCB };
    assert_eq!(code(above), "snp.firmware.provisional", "above, and not committed");
    assert_eq!(code(|case| (above(case), case.policy.provisional_firmware = allow()).1), "accepted");
}

#[test]
fn mitigations_at_launch_and_now() {
    let with = |launch, current, required_launch, required_current| {
        code(|case| {
            case.bytes[0x1f8] = launch;
            case.bytes[0x200] = current;
            case.policy.launch_mitigations = required_launch;
            case.policy.current_mitigations = required_current;
        })
    };
    assert_eq!(with(0x0b, 0x0b, 0x0b, 0x0b), "accepted");
    assert_eq!(with(0x0b, 0x0f, 0x0a, 0x05), "accepted");
    assert_eq!(with(0x0a, 0x0b, 0x0b, 0x0b), "snp.mitigations.missing");
    assert_eq!(with(0x0b, 0x0a, 0x0b, 0x0b), "snp.mitigations.missing");
    let old = code(|case| {
        case.bytes[0] = 4;
        case.policy.launch_mitigations = 1;
    });
    assert_eq!(old, "snp.mitigations.not-reported");
}

#[test]
fn platform_properties() {
    assert_eq!(code(|case| case.bytes[0x040] = 0), "snp.platform.protection-missing", "alias check");
    for (protection, bit) in [
        (PlatformProtection::Tsme, 1),
        (PlatformProtection::Ecc, 2),
        (PlatformProtection::RaplDisabled, 3),
        (PlatformProtection::CiphertextHiding, 4),
    ] {
        let missing = code(|case| case.policy.platform_must.push(protection));
        assert_eq!(missing, "snp.platform.protection-missing", "{protection:?}");
        let there = code(|case| {
            case.policy.platform_must.push(protection);
            case.bytes[0x040] |= 1 << bit;
        });
        assert_eq!(there, "accepted", "{protection:?}");
    }
    let smt = |case: &mut Case| case.bytes[0x040] |= 1;
    assert_eq!(code(smt), "accepted");
    assert_eq!(code(|case| (smt(case), case.policy.platform_may.clear()).1), "snp.platform.weakness");
    assert_eq!(
        code(|case| case.bytes[0x047] = 0x80),
        "accepted",
        "unknown bits are noted and refuse nothing"
    );
}

#[test]
fn the_alias_check_bit_means_nothing_in_version_2() {
    let old = code(|case| {
        case.bytes[0] = 2;
        case.policy.minimum_report_version = Version::V2;
    });
    assert_eq!(old, "snp.platform.protection-missing");
}

#[test]
fn an_author_key_counts_only_where_it_is_in_use() {
    let expected = |case: &mut Case| {
        case.bytes[0x110..0x140].fill(9);
        case.policy.author_key_digest = Expected::OneOf(vec![[9; 48]]);
    };
    assert_eq!(code(expected), "snp.author-key.not-in-use");
    assert_eq!(code(|case| (expected(case), case.bytes[0x048] = 1).1), "accepted");
    assert_eq!(code(|case| case.bytes[0x048] = 1), "accepted", "in use, and zero as expected");
    assert_eq!(code(|case| case.bytes[0x110] = 1), "snp.author-key.not-accepted");
}

#[test]
fn providers_and_chips() {
    let provider = |case: &mut Case| {
        case.genuine.signer = Signer::Vlek;
        case.genuine.subject = Subject::Provider("CN=a.example".to_owned());
    };
    let accept = |case: &mut Case, name: &str| case.policy.vlek_providers.push(name.to_owned());
    assert_eq!(code(provider), "snp.vlek.provider-not-accepted");
    assert_eq!(code(|case| (provider(case), accept(case, "CN=a.example")).1), "accepted");
    for other in ["a.example", "CN=a.example ", "CN=A.example", "CN=b.a.example", ""] {
        let found = code(|case| (provider(case), accept(case, other)).1);
        assert_eq!(found, "snp.vlek.provider-not-accepted", "{other:?}");
    }
    let listed = code(|case| {
        provider(case);
        accept(case, "CN=a.example");
        case.policy.chip_id = Expected::OneOf(vec![[0; 64]]);
    });
    assert_eq!(listed, "snp.chip-id.not-named");
    assert_eq!(code(|case| case.policy.chip_id = Expected::OneOf(vec![[7; 64]])), "accepted");
    assert_eq!(code(|case| case.policy.chip_id = Expected::OneOf(vec![[8; 64]])), "snp.chip-id.not-accepted");
}
