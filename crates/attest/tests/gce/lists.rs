//! GV-05: lists of several authorities (spec/attest.md §5.7), under a made-up provider. The rule's own cases are those of
//! tests/nitro/revocation.rs; here is that a virtual TPM's path is held against them, and its 30-year certificate.

use std::sync::LazyLock;

use casemate_attest::{Authentic, Endorsements, Evidence, Outcome, Rejected, Revocation, verify};
use rcgen::date_time_ymd;

use crate::provider::{By, ISSUER_LIST, ISSUER_SERIAL, LEAF_SERIAL, NOON, Provider, revoking};
use crate::{Case, nonce};

pub(crate) const LISTS: &[Case] = &[
    ("lists: of root and issuer", || with(PROVIDER.lists()), "pass"),
    ("lists: until when", until, "1767830400"),
    ("lists: none", || with(Vec::new()), "crl.missing"),
    ("lists: the root's alone", || with(root()), "crl.missing"),
    ("lists: the issuer's alone", || with(issuer()), "crl.missing"),
    ("lists: the issuer is revoked", || with(both(ISSUER_SERIAL, [0; 3])), "crl.revoked"),
    ("lists: the key is revoked", || with(both([0; 3], LEAF_SERIAL)), "crl.revoked"),
    (
        "lists: the key in the list of the root, which did not certify it",
        || with(both(LEAF_SERIAL, [0; 3])),
        "pass",
    ),
    ("lists: of another provider of these names", another, "crl.signature"),
    ("lists: expired", || with(dated(|list| list.next_update = date_time_ymd(2026, 1, 1))), "crl.expired"),
    (
        "lists: of tomorrow",
        || with(dated(|list| list.this_update = date_time_ymd(2026, 1, 2))),
        "crl.not-yet-valid",
    ),
    ("lists: AMD's", amd, "crl.issuer"),
    ("a key that names no list: both lists", || unlisted(PROVIDER.lists(), None), "pass"),
    ("a key that names no list: the root's alone", || unlisted(root(), None), "crl.unlisted"),
    ("a key that names no list: decided", || unlisted(root(), Some("Google lists none")), "waived"),
    ("a key that names no list: decided without a reason", || unlisted(root(), Some("")), "crl.unlisted"),
    ("a key that names no list: decided, and its issuer revoked", decided_revoked, "crl.revoked"),
    (
        "a key that names no list: decided, and the root's missing",
        || unlisted(issuer(), Some("x")),
        "crl.missing",
    ),
    ("a key that names no list: decided, and no list", || unlisted(Vec::new(), Some("x")), "crl.missing"),
    ("sweep: every bit of both lists", bits, "none passes"),
];

static PROVIDER: LazyLock<Provider> = LazyLock::new(Provider::new);

impl Provider {
    fn lists(&self) -> Vec<Vec<u8>> {
        vec![self.list(By::Root, |_| ()), self.list(By::Issuer, |_| ())]
    }
}

fn root() -> Vec<Vec<u8>> {
    vec![PROVIDER.list(By::Root, |_| ())]
}

fn issuer() -> Vec<Vec<u8>> {
    vec![PROVIDER.list(By::Issuer, |_| ())]
}

/// Each revokes one serial number.
fn both(by_root: [u8; 3], by_issuer: [u8; 3]) -> Vec<Vec<u8>> {
    vec![PROVIDER.list(By::Root, revoking(by_root)), PROVIDER.list(By::Issuer, revoking(by_issuer))]
}

fn dated(change: impl FnOnce(&mut rcgen::CertificateRevocationListParams)) -> Vec<Vec<u8>> {
    let root = PROVIDER.list(By::Root, |list| {
        list.this_update = date_time_ymd(2025, 12, 30);
        change(list);
    });
    [vec![root], issuer()].concat()
}

fn genuine(list: Option<&str>, revocation: Revocation) -> Result<Authentic, Rejected> {
    judged(&evidence(list), revocation)
}

fn evidence(list: Option<&str>) -> Evidence {
    Evidence::parse(&PROVIDER.evidence(&nonce(), list)).expect("the form is right")
}

fn judged(evidence: &Evidence, revocation: Revocation) -> Result<Authentic, Rejected> {
    let endorsements = Endorsements::gce_vtpm(vec![PROVIDER.issuer.clone()], revocation);
    verify(evidence, &endorsements, &PROVIDER.anchors, NOON)
}

/// How GV-05 ended, or the code of the rejection.
fn answer(list: Option<&str>, revocation: Revocation) -> String {
    match genuine(list, revocation) {
        Ok(authentic) => {
            let check = authentic.checks().iter().find(|check| check.rule.id == "GV-05").expect("the rule");
            if check.outcome == Outcome::Waived { "waived" } else { "pass" }.to_owned()
        }
        Err(rejected) => rejected.code().to_owned(),
    }
}

fn with(lists: Vec<Vec<u8>>) -> String {
    answer(Some(ISSUER_LIST), Revocation::of_lists(lists))
}

fn unlisted(lists: Vec<Vec<u8>>, reason: Option<&str>) -> String {
    let revocation = Revocation::of_lists(lists);
    answer(
        None,
        match reason {
            Some(reason) => revocation.danger_unlisted(reason.to_owned()),
            None => revocation,
        },
    )
}

fn until() -> String {
    let authentic = genuine(Some(ISSUER_LIST), Revocation::of_lists(PROVIDER.lists())).expect("genuine");
    authentic.valid_until().0.to_string()
}

fn another() -> String {
    with(Provider::new().lists())
}

fn amd() -> String {
    with([PROVIDER.lists(), vec![crate::file("roots/amd/genoa_crl.der")]].concat())
}

fn decided_revoked() -> String {
    unlisted(vec![PROVIDER.list(By::Root, revoking(ISSUER_SERIAL))], Some("Google lists none"))
}

fn bits() -> String {
    let good = PROVIDER.lists();
    let evidence = evidence(Some(ISSUER_LIST));
    for (place, list) in good.iter().enumerate() {
        for at in 0..list.len() * 8 {
            let mut lists = good.clone();
            lists[place][at / 8] ^= 1 << (at % 8);
            if judged(&evidence, Revocation::of_lists(lists)).is_ok() {
                return format!("list {place}, byte {}, bit {} passes", at / 8, at % 8);
            }
        }
    }
    "none passes".to_owned()
}
