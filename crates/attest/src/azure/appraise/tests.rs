//! What no recorded machine shows, on evidence that is genuine but for the hardware's signature.

use std::collections::BTreeMap;

use serde_json::json;

use super::*;
use crate::azure::genuine::tests::{Made, made, steps};
use crate::policy::PlatformPolicy;
use crate::rules::SEV_SNP;
use crate::snp::accepted;

/// The code of the denial, or the numbers of the rules that were waived.
fn code(change: impl FnOnce(&mut Made), terms: impl FnOnce(&mut AzurePolicy)) -> String {
    code_bound(change, terms, &Binding::report_data([0x5a; 64]))
}

fn code_bound(
    change: impl FnOnce(&mut Made),
    terms: impl FnOnce(&mut AzurePolicy),
    binding: &Binding,
) -> String {
    let mut made = made();
    change(&mut made);
    let evidence = made.evidence();
    let (runtime, pcrs) = steps(&evidence).expect("genuine but for the hardware's signature");
    let (_, hardware, snp) = accepted(|_| {});
    let report = snp_report(&evidence);
    let hardware = Hardware::Snp { report, genuine: Box::new(hardware) };
    let genuine = Genuine { hardware, runtime, pcrs, certified: None };
    let expected: BTreeMap<_, _> =
        [4, 7, 9, 11].map(|index| (index, Expected::OneOf(vec![[index; 32]]))).into();
    let mut policy = AzurePolicy::strict(snp, expected);
    policy.vm_id = Expected::OneOf(vec![genuine.runtime.vm_id]);
    policy.user_data = UserDataTerms::one_of(vec![[0x11; 64]]);
    terms(&mut policy);
    let mut ledger = Ledger::new(SEV_SNP);
    match appraise(&genuine, &policy, binding, &mut ledger) {
        Err(denial) => denial.code().to_owned(),
        Ok(()) => {
            let waived = ledger.checks().iter().filter(|check| check.outcome == crate::Outcome::Waived);
            format!("accepted {:?}", waived.map(|check| check.rule.id).collect::<Vec<_>>())
        }
    }
}

fn snp_report(evidence: &crate::azure::AzureEvidence) -> snp::Report {
    match evidence.hcl().hardware() {
        crate::azure::HardwareReport::Snp(report) => report.clone(),
        crate::azure::HardwareReport::Tdx { .. } => panic!("a SEV-SNP report"),
    }
}

#[test]
fn strict_terms_accept_without_a_waiver_of_azures() {
    // SNP-30: the strict terms for SEV-SNP name no chip.
    assert_eq!(code(|_| {}, |_| {}), r#"accepted ["SNP-30", "AZ-11"]"#);
}

#[test]
fn secure_boot_and_console() {
    let off = |made: &mut Made| made.runtime["vm-configuration"]["secure-boot"] = json!(false);
    let console = |made: &mut Made| made.runtime["vm-configuration"]["console-enabled"] = json!(true);
    let allow = |reason: &str| Danger::Allow { reason: reason.to_owned() };
    assert_eq!(code(off, |_| {}), "azure.secure-boot.off");
    assert_eq!(code(console, |_| {}), "azure.console.enabled");
    assert_eq!(code(off, |p| p.console = allow("case")), "azure.secure-boot.off");
    assert_eq!(code(console, |p| p.secure_boot_off = allow("case")), "azure.console.enabled");
    assert_eq!(code(off, |p| p.secure_boot_off = allow("case")), r#"accepted ["SNP-30", "AZ-06", "AZ-11"]"#);
    assert_eq!(code(console, |p| p.console = allow("case")), r#"accepted ["SNP-30", "AZ-07", "AZ-11"]"#);
    assert_eq!(code(off, |p| p.secure_boot_off = allow("\n")), "policy.waiver-without-reason");
}

#[test]
fn user_data_that_is_absent_is_equal_to_nothing() {
    let absent = |made: &mut Made| {
        made.runtime.as_object_mut().expect("an object").remove("user-data");
    };
    assert_eq!(code(absent, |_| {}), "azure.user-data.absent");
    assert_eq!(
        code(absent, |p| p.user_data = UserDataTerms::one_of(vec![[0; 64]])),
        "azure.user-data.absent"
    );
    let any = |p: &mut AzurePolicy| p.user_data = UserDataTerms::any("case");
    assert_eq!(code(absent, any), r#"accepted ["SNP-30", "AZ-10", "AZ-11"]"#);
    let last = |made: &mut Made| made.runtime["user-data"] = json!("11".repeat(63) + "12");
    assert_eq!(code(last, |_| {}), "azure.user-data.not-accepted");
}

#[test]
fn user_data_of_this_exchange_is_what_the_quote_must_bind_and_zeros_after_it() {
    let shows = |bytes: Vec<u8>| {
        move |made: &mut Made| {
            let mut shown = bytes;
            shown.resize(64, 0);
            made.runtime["user-data"] = json!(hex::encode(shown));
        }
    };
    let exchange = |p: &mut AzurePolicy| p.user_data = UserDataTerms::Exchange;
    let of = |length: usize| Binding::qualifying_data(vec![0x22; length]);
    let fresh = r#"accepted ["SNP-30", "AZ-11"]"#;
    for length in [1, 32, 48, 64] {
        assert_eq!(code_bound(shows(vec![0x22; length]), exchange, &of(length)), fresh, "{length}");
    }
    let other = "azure.user-data.other-exchange";
    // The boot's, another exchange's, one byte of it, one byte more, one less, what comes after it, no bytes, too many.
    assert_eq!(code_bound(shows(Vec::new()), exchange, &of(32)), other);
    assert_eq!(code_bound(shows(vec![0x23; 32]), exchange, &of(32)), other);
    assert_eq!(code_bound(shows([vec![0x22; 31], vec![0x23]].concat()), exchange, &of(32)), other);
    assert_eq!(code_bound(shows(vec![0x22; 33]), exchange, &of(32)), other);
    assert_eq!(code_bound(shows(vec![0x22; 31]), exchange, &of(32)), other);
    assert_eq!(code_bound(shows([vec![0x22; 32], vec![0; 31], vec![1]].concat()), exchange, &of(32)), other);
    assert_eq!(code_bound(shows(Vec::new()), exchange, &of(0)), other);
    assert_eq!(code_bound(shows(vec![0x22; 64]), exchange, &of(65)), other);
    // Absent is equal to nothing, and an exchange that nobody named is none.
    let absent = |made: &mut Made| {
        made.runtime.as_object_mut().expect("an object").remove("user-data");
    };
    assert_eq!(code_bound(absent, exchange, &of(32)), "azure.user-data.absent");
    let open = Binding::danger_unchecked("case");
    assert_eq!(code_bound(shows(vec![0x22; 32]), exchange, &open), "azure.user-data.no-exchange");
}

#[test]
fn the_report_data_is_the_quotes_qualifying_data_in_full_length() {
    for length in [0, 9, 48, 63, 64, 65] {
        let mut made = made();
        made.parts.extra = vec![0x5a; length];
        let evidence = made.evidence();
        let (runtime, pcrs) = steps(&evidence).expect("genuine but for the hardware's signature");
        let (_, hardware, _) = accepted(|_| {});
        let hardware = Hardware::Snp { report: snp_report(&evidence), genuine: Box::new(hardware) };
        let genuine = Genuine { hardware, runtime, pcrs, certified: None };
        let claims = crate::Claims::from_azure(&evidence, &genuine);
        assert_eq!(claims.report_data(), vec![0x5a; length]);
        assert_eq!(claims.platform(), Platform::AzureVtpm);
    }
}

#[test]
fn the_terms_for_the_hardware_report_come_first() {
    let other = |p: &mut AzurePolicy| {
        let PlatformPolicy::Accepted(snp) = &mut p.snp else { panic!("terms for SEV-SNP") };
        snp.measurement = Expected::OneOf(vec![[1; 48]]);
    };
    assert_eq!(code(|_| {}, other), "snp.measurement.not-accepted");
}

/// On TDX, with these terms for the TD.
fn on_tdx(change: impl FnOnce(&mut AzurePolicy)) -> String {
    let mut made = made();
    made.td = Some((0, 0));
    let evidence = made.evidence();
    let (runtime, pcrs) = steps(&evidence).expect("genuine but for the hardware's signature");
    let quote = Box::new(evidence.td_quote().expect("a TD quote").clone());
    let hardware = Hardware::Tdx { quote, genuine: Box::new(tdx::test_genuine()) };
    let genuine = Genuine { hardware, runtime, pcrs, certified: None };
    assert_eq!(genuine.hardware.platform(), Platform::AzureVtpmTdx);
    let expected: BTreeMap<_, _> =
        [4, 7, 9, 11].map(|index| (index, Expected::OneOf(vec![[index; 32]]))).into();
    let td = tdx::TdxPolicy::strict(Expected::OneOf(vec![[0; 48]]));
    let mut policy = AzurePolicy::strict_tdx(td, expected);
    policy.vm_id = Expected::OneOf(vec![genuine.runtime.vm_id]);
    policy.user_data = UserDataTerms::one_of(vec![[0x11; 64]]);
    change(&mut policy);
    let mut ledger = Ledger::new(rules::azure_vtpm_tdx());
    appraise(&genuine, &policy, &Binding::report_data([0x5a; 64]), &mut ledger).map_or_else(
        |denial| denial.code().to_owned(),
        |()| {
            let first = ledger.checks().first().expect("a rule").rule.id;
            let last = ledger.checks().last().expect("a rule").rule.id;
            format!("accepted by {first} to {last}")
        },
    )
}

fn td(policy: &mut AzurePolicy) -> &mut tdx::TdxPolicy {
    match &mut policy.tdx {
        PlatformPolicy::Accepted(terms) => terms,
        PlatformPolicy::NotAccepted => panic!("terms for TDX"),
    }
}

#[test]
fn on_tdx_the_rules_for_tdx_are_among_those_of_azure() {
    use crate::eventlog::LogTerms;
    assert_eq!(on_tdx(|_| {}), "accepted by TDX-10 to AZ-11");
    assert_eq!(on_tdx(|p| td(p).mrtd = Expected::OneOf(vec![[1; 48]])), "tdx.mrtd.not-accepted");
    assert_eq!(on_tdx(|p| drop(p.pcrs.remove(&11))), "azure.pcr.selection");
    assert_eq!(on_tdx(|p| p.tdx = PlatformPolicy::NotAccepted), "policy.platform-not-accepted");
    let (_, _, snp) = accepted(|_| {});
    let only_snp = |p: &mut AzurePolicy| {
        (p.snp, p.tdx) = (PlatformPolicy::Accepted(snp), PlatformPolicy::NotAccepted);
    };
    assert_eq!(on_tdx(only_snp), "policy.platform-not-accepted");
    let log = LogTerms { registers: BTreeMap::new(), other_registers: Danger::Refuse };
    assert_eq!(on_tdx(|p| td(p).event_log = LogPolicy::Demanded(log)), "log.missing");
}

#[test]
fn on_sev_snp_terms_for_tdx_are_not_enough() {
    let only_tdx = |p: &mut AzurePolicy| {
        let td = tdx::TdxPolicy::strict(Expected::OneOf(vec![[0; 48]]));
        (p.snp, p.tdx) = (PlatformPolicy::NotAccepted, PlatformPolicy::Accepted(td));
    };
    assert_eq!(code(|_| {}, only_tdx), "policy.platform-not-accepted");
}

#[test]
fn the_certificate_of_the_key_is_there_or_waived() {
    assert_eq!(code(|_| {}, |p| p.ak_uncertified = Danger::Refuse), "azure.ak.uncertified");
    let unwritten = Danger::Allow { reason: " ".to_owned() };
    assert_eq!(code(|_| {}, |p| p.ak_uncertified = unwritten), "policy.waiver-without-reason");
    let certified = crate::tpm::CertifiedAk {
        root: "root".to_owned(),
        issuer: "issuer".to_owned(),
        valid_until: crate::UnixTime(0),
    };
    let evidence = made().evidence();
    let (runtime, pcrs) = steps(&evidence).expect("genuine but for the hardware's signature");
    let (_, hardware, _) = accepted(|_| {});
    let hardware = Hardware::Snp { report: snp_report(&evidence), genuine: Box::new(hardware) };
    let genuine = Genuine { hardware, runtime, pcrs, certified: Some(certified) };
    assert!(super::certified(&genuine, &Danger::Refuse).is_ok());
    assert_eq!(genuine.valid_until(), crate::UnixTime(0));
}
