//! Attributes that no recorded genuine quote has: the rules over a quote that is built here.

use super::*;
use crate::rules;
use crate::tdx::pck::PlatformFlag;
use crate::tdx::status::TcbStatus;
use crate::time::UnixTime;

/// Version 5, TD 1.5, with this change to its body.
pub(crate) fn quote(change: impl FnOnce(&mut [u8])) -> Quote {
    let mut bytes = Vec::new();
    bytes.extend([5, 0, 2, 0, 0x81, 0, 0, 0, 0, 0, 0, 0]);
    bytes.extend(hex::decode("939a7233f79c4ca9940a0db3957f0607").expect("hexadecimal"));
    bytes.extend([0; 20]);
    bytes.extend([3, 0]);
    bytes.extend(648_u32.to_le_bytes());
    bytes.extend([0; 648]);
    let (outer, inner) = (384_u32 + 64 + 2 + 32 + 2 + 4, 0_u32);
    bytes.extend((64 + 64 + 2 + 4 + outer).to_le_bytes());
    bytes.extend([0; 128]);
    bytes.extend([6, 0]);
    bytes.extend(outer.to_le_bytes());
    bytes.extend([0; 384 + 64]);
    bytes.extend([32, 0]);
    bytes.extend([0; 32]);
    bytes.extend([5, 0]);
    bytes.extend(inner.to_le_bytes());
    change(&mut bytes[54..54 + 648]);
    Quote::parse(&bytes).expect("the right form")
}

pub(crate) fn genuine() -> Genuine {
    Genuine {
        status: TcbStatus::UpToDate,
        advisories: Vec::new(),
        evaluation: 17,
        fmspc: [0; 6],
        flags: vec![PlatformFlag::Smt],
        valid_until: UnixTime(0),
    }
}

fn terms(change: impl FnOnce(&mut TdxPolicy)) -> TdxPolicy {
    let mut policy = TdxPolicy::strict(Expected::OneOf(vec![[0; 48]]));
    change(&mut policy);
    policy
}

fn code(quote: &Quote, genuine: &Genuine, policy: &TdxPolicy) -> &'static str {
    let mut ledger = Ledger::new(rules::TDX);
    appraise(quote, genuine, policy, &mut ledger).map_or_else(|denial| denial.code(), |()| "ours")
}

fn strict(change: impl FnOnce(&mut [u8])) -> &'static str {
    code(&quote(change), &genuine(), &terms(|_| ()))
}

fn because() -> Danger {
    Danger::Allow { reason: "the test needs it".to_owned() }
}

#[test]
fn strict_terms_refuse_every_attribute_but_sept_ve_disable() {
    assert_eq!(strict(|_| ()), "ours");
    let sept_ve_disable = 28;
    for bit in 0..64 {
        let found = strict(|body| body[120 + bit / 8] = 1 << (bit % 8));
        let expected = match bit {
            0..=7 => "tdx.td.debug",
            16 | 27 | 30 | 31 | 62 | 63 => "tdx.td.attribute",
            17 => "tdx.td.service-td-extension",
            bit if bit == sept_ve_disable => "ours",
            // MIGRATABLE and the reserved bits are refused by TDX-08 before any policy.
            _ => "ours",
        };
        assert_eq!(found, expected, "bit {bit}");
    }
}

#[test]
fn strict_terms_refuse_tracing_state() {
    for bit in 0..64 {
        let found = strict(|body| body[128 + bit / 8] = 1 << (bit % 8));
        let accepted = matches!(bit, 0 | 1 | 2 | 5 | 6 | 7 | 9 | 11 | 12 | 14 | 17 | 18);
        assert_eq!(found, if accepted { "ours" } else { "tdx.td.xfam" }, "bit {bit}");
    }
}

#[test]
fn service_td_and_module_signer_are_refused() {
    assert_eq!(strict(|body| body[600] = 1), "tdx.mrservicetd.not-accepted");
    assert_eq!(strict(|body| body[647] = 1), "tdx.mrservicetd.not-accepted");
    assert_eq!(strict(|body| body[64] = 1), "tdx.module.signer");
    assert_eq!(strict(|body| body[111] = 1), "tdx.module.signer");
}

#[test]
fn dangers_are_allowed_for_a_reason() {
    let debugged = quote(|body| body[120] = 1);
    assert_eq!(code(&debugged, &genuine(), &terms(|terms| terms.debug = because())), "ours");
    let empty = Danger::Allow { reason: String::new() };
    let unfounded = terms(|terms| terms.debug = empty.clone());
    assert_eq!(code(&debugged, &genuine(), &unfounded), "policy.waiver-without-reason");

    let extended = quote(|body| body[122] = 2);
    assert_eq!(code(&extended, &genuine(), &terms(|terms| terms.service_td_extension = because())), "ours");
    let pks = quote(|body| body[123] = 0x40);
    assert_eq!(code(&pks, &genuine(), &terms(|terms| terms.attributes_may = vec![Attribute::Pks])), "ours");
    assert_eq!(
        code(&pks, &genuine(), &terms(|terms| terms.attributes_may = vec![Attribute::Kl])),
        "tdx.td.attribute"
    );
}

#[test]
fn both_modules_count() {
    use crate::tdx::ModuleSvn;
    let policy = terms(|terms| terms.minimum_module = ModuleSvn { major: 1, minor: 5 });
    let found = |launch: [u8; 2], now: [u8; 2]| {
        let quote = quote(|body| {
            body[..2].copy_from_slice(&launch);
            body[584..586].copy_from_slice(&now);
        });
        code(&quote, &genuine(), &policy)
    };
    assert_eq!(found([5, 1], [5, 1]), "ours");
    assert_eq!(found([4, 1], [5, 1]), "tdx.module.below-minimum");
    assert_eq!(found([5, 1], [4, 1]), "tdx.module.below-minimum");
    assert_eq!(found([0, 2], [0, 2]), "ours");
    assert_eq!(found([9, 0], [9, 0]), "tdx.module.below-minimum");
}

#[test]
fn advisories_must_each_be_named() {
    let advised =
        Genuine { advisories: vec!["INTEL-SA-00001".to_owned(), "INTEL-SA-00002".to_owned()], ..genuine() };
    let named = |names: &[&str]| {
        let policy = terms(|terms| terms.advisories = names.iter().map(|&name| name.to_owned()).collect());
        code(&quote(|_| ()), &advised, &policy)
    };
    assert_eq!(named(&[]), "tdx.tcb.advisory");
    assert_eq!(named(&["INTEL-SA-00001"]), "tdx.tcb.advisory");
    assert_eq!(named(&["INTEL-SA-00002", "INTEL-SA-00001"]), "ours");
    let outdated = Genuine { status: TcbStatus::OutOfDate, ..genuine() };
    assert_eq!(code(&quote(|_| ()), &outdated, &terms(|_| ())), "tdx.tcb.status");
}

#[test]
fn reserved_attributes_are_those_without_a_name() {
    let mut named = Vec::new();
    for bit in 0..64 {
        if crate::tdx::attributes::reserved(1 << bit) == 0 {
            named.push(bit);
        }
    }
    assert_eq!(named, [0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 27, 28, 29, 30, 31, 62, 63]);
}

#[test]
fn what_the_certificate_says_of_the_platform_must_be_named() {
    let quote = quote(|_| ());
    for flag in PlatformFlag::ALL {
        let genuine = Genuine { flags: vec![flag], ..genuine() };
        let expected = match flag {
            PlatformFlag::Unstated => "tdx.platform.unstated",
            _ => "tdx.platform.flag",
        };
        assert_eq!(code(&quote, &genuine, &terms(|t| t.platform_may.clear())), expected);
        assert_eq!(code(&quote, &genuine, &terms(|t| t.platform_may = vec![flag])), "ours");
        let others = PlatformFlag::ALL.into_iter().filter(|other| *other != flag).collect();
        assert_eq!(code(&quote, &genuine, &terms(|t| t.platform_may = others)), expected);
    }
    let genuine = Genuine { flags: Vec::new(), ..genuine() };
    assert_eq!(code(&quote, &genuine, &terms(|t| t.platform_may.clear())), "ours");
}
