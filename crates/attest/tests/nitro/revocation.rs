//! NIT-04: lists of several authorities (spec/attest.md §5.7), one mistake each.

use std::sync::LazyLock;
use std::time::Duration;

use casemate_attest::{
    Authentic, Endorsements, Evidence, Policy, Rejected, Revocation, TrustAnchors, verify,
};
use libtest_mimic::Failed;
use rcgen::{
    CertificateParams, CertificateRevocationListParams, CrlDistributionPoint, CrlIssuingDistributionPoint,
    CrlScope, DnType, KeyUsagePurpose, RevocationReason, SerialNumber, date_time_ymd,
};
use time::OffsetDateTime;

use crate::vendor::NOON;
use crate::vendor::authorities::{
    INSTANCE, LEAF, REGION, REGION_LIST, ROOT, Tree, ZONE, der, points, revoking, serial,
};
use crate::{Case, answer, bound, terms};

static TREE: LazyLock<Tree> = LazyLock::new(Tree::good);

const GOOD: &str = "verified, waived: ";
const WAIVED: &str = "verified, waived: NIT-04";

pub(crate) static CASES: &[Case] = &[
    ("lists of root and region", || by(TREE.lists()), GOOD),
    ("lists in another order", || by(TREE.lists().into_iter().rev().collect()), GOOD),
    ("lists, and one of the zone", || with(TREE.list(ZONE, |_| ())), GOOD),
    ("lists, one of them twice", || with(TREE.list(ROOT, |_| ())), GOOD),
    ("lists: what was compared", compared, COMPARED),
    ("lists: until when", until, "1767268800"),
    // Which are needed
    ("lists: an empty list of them", || by(Vec::new()), "crl.missing"),
    ("lists: the root's alone", || by(vec![TREE.list(ROOT, |_| ())]), "crl.missing"),
    ("lists: the root's as the only one", root_alone, "crl.missing"),
    ("lists: the region's alone", || by(vec![TREE.list(REGION, |_| ())]), "crl.missing"),
    ("lists: the zone's instead of the region's", zone_for_region, "crl.missing"),
    ("lists: an empty one", || with(Vec::new()), "crl.missing"),
    ("lists: ten", || by(vec![TREE.list(ROOT, |_| ()); 10]), "crl.too-many"),
    ("lists: nine", || by([vec![TREE.list(ROOT, |_| ()); 8], vec![region()]].concat()), GOOD),
    // Who is listed
    ("region revoked", || changed(ROOT, revoking(serial(REGION))), "crl.revoked"),
    ("zone revoked", || changed(REGION, revoking(serial(ZONE))), "crl.revoked"),
    ("instance revoked", || with(TREE.list(ZONE, revoking(serial(INSTANCE)))), "crl.revoked"),
    ("revoked in one of two lists of an authority", two_of_root, "crl.revoked"),
    ("region on hold", || changed(ROOT, on_hold), "crl.revoked"),
    ("the rejection names the serial number", named, "the intermediate certificate, 5e71a101"),
    ("another serial number revoked", || changed(ROOT, revoking(vec![0x5e, 0x71, 0xa1])), GOOD),
    ("zone in the list of the root, which did not issue it", || changed(ROOT, revoking(serial(ZONE))), GOOD),
    ("leaf in the list of the region", || changed(REGION, revoking(serial(LEAF))), GOOD),
    // Whose they are
    ("a list of another root of that name", || with(stranger().list(ROOT, |_| ())), "crl.signature"),
    ("a list of another region of that name", || with(stranger().list(REGION, |_| ())), "crl.signature"),
    ("a list of another name", || with(renamed().list(REGION, |_| ())), "crl.issuer"),
    ("a list of the instance, which may sign none", || with(TREE.list(INSTANCE, |_| ())), "crl.key-usage"),
    ("a list of the instance, whose key the prover lets sign lists", doubled, "crl.key-usage"),
    ("a list of the leaf", || with(TREE.list(LEAF, |_| ())), "crl.issuer"),
    ("region's list by an authority of that name that the prover brings", usurper, "crl.missing"),
    ("a revoked zone that the path does not need", unneeded, "crl.revoked"),
    // When they hold
    ("ends now", || changed(ROOT, |list| list.next_update = noon(0)), GOOD),
    ("ended a second ago", || changed(ROOT, |list| list.next_update = noon(-1)), "crl.expired"),
    ("begins now", || changed(REGION, |list| list.this_update = noon(0)), GOOD),
    ("begins in a second", || changed(REGION, |list| list.this_update = noon(1)), "crl.not-yet-valid"),
    // What they are
    ("not DER", || with(vec![0x30, 3, 2, 1, 0]), "crl.malformed"),
    ("a certificate", || with(TREE.certificate(REGION).to_vec()), "crl.malformed"),
    ("a byte more", || with([TREE.list(ROOT, |_| ()), vec![0]].concat()), "crl.malformed"),
    ("a byte less", || with(cut(TREE.list(ROOT, |_| ()))), "crl.malformed"),
    ("more than a MiB", || with(der(0x30, &[0; 0xffff]).repeat(17)), "crl.malformed"),
    ("a delta", || of_region(&extension(27, true, &[0x02, 1, 1])), "crl.scoped"),
    (
        "a delta that does not call itself critical",
        || of_region(&extension(27, false, &[2, 1, 1])),
        "crl.scoped",
    ),
    ("a partition at the very address", || changed(REGION, |list| scope(list, None)), "crl.scoped"),
    ("of users only", || changed(REGION, |list| scope(list, Some(CrlScope::UserCertsOnly))), "crl.scoped"),
    (
        "of authorities only",
        || changed(REGION, |list| scope(list, Some(CrlScope::CaCertsOnly))),
        "crl.scoped",
    ),
    ("of other issuers too", || of_region(&extension(28, true, &[0x30, 3, 0x84, 1, 0xff])), "crl.scoped"),
    ("of some reasons", || of_region(&extension(28, true, &[0x30, 4, 0x83, 2, 6, 0x40])), "crl.scoped"),
    ("an unknown critical extension", || of_region(&extension(99, true, &[5, 0])), "crl.malformed"),
    ("an unknown extension", || of_region(&extension(99, false, &[5, 0])), GOOD),
    // Certificates that name none
    ("zone names no list, and one is there", || of(&nameless(ZONE), both), GOOD),
    ("zone names no list, and none is there", || of(&nameless(ZONE), root_list), "crl.unlisted"),
    ("instance of a day and a second", || of(&longer(INSTANCE), both), "crl.unlisted"),
    ("leaf of a day and a second", || of(&longer(LEAF), both), "crl.unlisted"),
    ("leaf of a day and a second, and a list of the instance", || of(&listed_leaf(), three), GOOD),
    ("instance names a list, and none is there", || of(&naming(INSTANCE), both), "crl.missing"),
    ("leaf names a list, and none is there", || of(&naming(LEAF), both), "crl.missing"),
    ("unlisted, decided", || decided(&nameless(ZONE), root_list, "an audit"), WAIVED),
    ("unlisted, decided without a reason", || decided(&nameless(ZONE), root_list, " "), "crl.unlisted"),
    ("unlisted, decided, with nothing unlisted", || decided(&TREE, both, "an audit"), GOOD),
    ("unlisted, decided: what is named must be there", || decided(&TREE, root_list, "x"), "crl.missing"),
    ("unlisted, decided: what is listed is revoked", decided_revoked, "crl.revoked"),
    ("unlisted, decided, and no list", || decided(&nameless(ZONE), |_| Vec::new(), "x"), "crl.missing"),
    // What certificates say of their lists
    ("a list of some reasons", || of(&saying(&[REASONS]), both), "crl.distribution-point"),
    ("a list of another issuer", || of(&saying(&[ISSUER]), both), "crl.distribution-point"),
    ("a list named otherwise", || of(&saying(&[DIRECTORY]), both), "crl.distribution-point"),
    ("nowhere", || of(&saying(&[]), both), "crl.distribution-point"),
    ("eight places", || of(&saying(&[ADDRESS; 8]), both), GOOD),
    ("nine places", || of(&saying(&[ADDRESS; 9]), both), "crl.distribution-point"),
    ("a blank in an address", || of(&saying(&[BLANK]), both), "crl.distribution-point"),
];

const COMPARED: &str = "in no list until 1767787200: 2 certificates; of a day at most and naming no list: 2";

/// DistributionPoint: `[0] { [0] { [6] "http://a" } }`, and behind it `[1]` reasons or `[2]` cRLIssuer.
const ADDRESS: &[u8] = b"\x30\x0e\xa0\x0c\xa0\x0a\x86\x08http://a";
const REASONS: &[u8] = b"\x30\x12\xa0\x0c\xa0\x0a\x86\x08http://a\x81\x02\x06\x40";
const ISSUER: &[u8] = b"\x30\x12\xa0\x0c\xa0\x0a\x86\x08http://a\xa2\x02\x82\x00";
const DIRECTORY: &[u8] = b"\x30\x08\xa0\x06\xa0\x04\xa4\x02\x30\x00";
const BLANK: &[u8] = b"\x30\x0e\xa0\x0c\xa0\x0a\x86\x08http:// ";

fn genuine(document: &[u8], revocation: Revocation, anchors: &TrustAnchors) -> Result<Authentic, Rejected> {
    let evidence = Evidence::parse(document).expect("the right form");
    verify(&evidence, &Endorsements::nitro(revocation), anchors, NOON)
}

fn judged(tree: &Tree, document: &[u8], revocation: Revocation) -> String {
    match genuine(document, revocation, &tree.anchors) {
        Ok(authentic) => answer(authentic, &Policy::for_nitro(terms()), &bound()),
        Err(rejected) => rejected.code().to_owned(),
    }
}

fn of(tree: &Tree, lists: fn(&Tree) -> Vec<Vec<u8>>) -> String {
    judged(tree, &tree.document(), Revocation::of_lists(lists(tree)))
}

fn decided(tree: &Tree, lists: fn(&Tree) -> Vec<Vec<u8>>, reason: &str) -> String {
    let revocation = Revocation::of_lists(lists(tree)).danger_unlisted(reason.to_owned());
    judged(tree, &tree.document(), revocation)
}

fn by(lists: Vec<Vec<u8>>) -> String {
    judged(&TREE, &TREE.document(), Revocation::of_lists(lists))
}

/// The good lists, and this one.
fn with(list: Vec<u8>) -> String {
    by([TREE.lists(), vec![list]].concat())
}

/// The good lists, one of them with a change.
fn changed(place: usize, change: impl FnOnce(&mut CertificateRevocationListParams)) -> String {
    let mut lists = TREE.lists();
    lists[place] = TREE.list(place, change);
    by(lists)
}

/// The root's list, and the region's with a further extension.
fn of_region(extension: &[u8]) -> String {
    by(vec![TREE.list(ROOT, |_| ()), TREE.list_with(REGION, extension)])
}

fn both(tree: &Tree) -> Vec<Vec<u8>> {
    tree.lists()
}

fn root_list(tree: &Tree) -> Vec<Vec<u8>> {
    vec![tree.list(ROOT, |_| ())]
}

fn three(tree: &Tree) -> Vec<Vec<u8>> {
    [tree.lists(), vec![tree.list(INSTANCE, |_| ())]].concat()
}

fn region() -> Vec<u8> {
    TREE.list(REGION, |_| ())
}

fn root_alone() -> String {
    judged(&TREE, &TREE.document(), Revocation::Crl(TREE.list(ROOT, |_| ())))
}

fn zone_for_region() -> String {
    by(vec![TREE.list(ROOT, |_| ()), TREE.list(ZONE, |_| ())])
}

fn two_of_root() -> String {
    with(TREE.list(ROOT, revoking(serial(REGION))))
}

fn on_hold(list: &mut CertificateRevocationListParams) {
    revoking(serial(REGION))(list);
    list.revoked_certs[0].reason_code = Some(RevocationReason::CertificateHold);
}

fn named() -> String {
    let lists = vec![TREE.list(ROOT, revoking(serial(REGION))), region()];
    let rejected = genuine(&TREE.document(), Revocation::of_lists(lists), &TREE.anchors);
    let text = rejected.expect_err("revoked").to_string();
    let serial = text.split(' ').find(|word| word.starts_with("5e71")).unwrap_or_default();
    let role =
        if text.contains("the intermediate certificate") { "the intermediate certificate" } else { "" };
    format!("{role}, {serial}")
}

fn compared() -> String {
    let authentic = genuine(&TREE.document(), Revocation::of_lists(TREE.lists()), &TREE.anchors);
    let verified = authentic.expect("genuine").appraise(&Policy::for_nitro(terms()), &bound()).expect("ours");
    let check = verified.checks().iter().find(|check| check.rule.id == "NIT-04").expect("the rule");
    check.compared.clone()
}

/// A list that ends now, before every certificate.
fn until() -> String {
    let lists = vec![TREE.list(ROOT, |list| list.next_update = noon(0)), region()];
    let authentic = genuine(&TREE.document(), Revocation::of_lists(lists), &TREE.anchors);
    authentic.expect("genuine").valid_until().0.to_string()
}

fn noon(seconds: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(NOON.0 as i64 + seconds).expect("a time")
}

fn cut(mut list: Vec<u8>) -> Vec<u8> {
    list.pop();
    list
}

/// Others with the same names.
fn stranger() -> Tree {
    Tree::good()
}

fn renamed() -> Tree {
    Tree::new(|params| {
        params[REGION].distinguished_name.remove(DnType::CommonName);
        params[REGION].distinguished_name.push(DnType::CommonName, "elsewhere.aws.nitro-enclaves");
    })
}

/// The prover brings an authority of the region's name with a key of its own, and a list by it.
fn usurper() -> String {
    let other = stranger();
    let document = TREE.document_with(other.certificate(REGION));
    let lists = vec![TREE.list(ROOT, |_| ()), other.list(REGION, |_| ())];
    judged(&TREE, &document, Revocation::of_lists(lists))
}

/// The instance's certificate does not let it sign lists; another with its name and key does, which no path needs.
fn doubled() -> String {
    let document = TREE.document_with(&TREE.doubled(INSTANCE, &stranger()));
    judged(&TREE, &document, Revocation::of_lists(three(&TREE)))
}

/// The prover brings a zone that the path does not need, and it is revoked.
fn unneeded() -> String {
    let other = Tree::new(|params| params[ZONE].serial_number = Some(SerialNumber::from(vec![0x5e, 0x09])));
    let document = TREE.document_with(other.certificate(ZONE));
    let lists = vec![TREE.list(ROOT, |_| ()), TREE.list(REGION, revoking(vec![0x5e, 0x09]))];
    judged(&TREE, &document, Revocation::of_lists(lists))
}

fn nameless(place: usize) -> Tree {
    Tree::new(|params| params[place].crl_distribution_points.clear())
}

fn naming(place: usize) -> Tree {
    Tree::new(|params| params[place].crl_distribution_points = point())
}

fn longer(place: usize) -> Tree {
    Tree::new(|params| lengthen(&mut params[place]))
}

fn lengthen(params: &mut CertificateParams) {
    params.not_before = date_time_ymd(2026, 1, 1);
    params.not_after = params.not_before + Duration::from_secs(86_401);
}

/// An instance that may sign lists.
fn listed_leaf() -> Tree {
    Tree::new(|params| {
        params[INSTANCE].key_usages.push(KeyUsagePurpose::CrlSign);
        lengthen(&mut params[LEAF]);
    })
}

/// The zone's certificate says so of its list.
fn saying(list: &[&[u8]]) -> Tree {
    Tree::new(|params| {
        params[ZONE].crl_distribution_points.clear();
        params[ZONE].custom_extensions.push(points(&der(0x30, &list.concat())));
    })
}

fn decided_revoked() -> String {
    let tree = nameless(ZONE);
    let lists = vec![tree.list(ROOT, revoking(serial(REGION)))];
    let revocation = Revocation::of_lists(lists).danger_unlisted("an audit".to_owned());
    judged(&tree, &tree.document(), revocation)
}

fn point() -> Vec<CrlDistributionPoint> {
    vec![CrlDistributionPoint { uris: vec![REGION_LIST.to_owned()] }]
}

fn scope(list: &mut CertificateRevocationListParams, scope: Option<CrlScope>) {
    let distribution_point = CrlDistributionPoint { uris: vec![REGION_LIST.to_owned()] };
    list.issuing_distribution_point = Some(CrlIssuingDistributionPoint { distribution_point, scope });
}

/// 2.5.29.n.
fn extension(last: u8, critical: bool, value: &[u8]) -> Vec<u8> {
    let oid = der(0x06, &[0x55, 0x1d, last]);
    let critical = if critical { der(0x01, &[0xff]) } else { Vec::new() };
    der(0x30, &[oid, critical, der(0x04, value)].concat())
}

/// Every bit of a list, head and lengths included: no flip is overlooked.
pub(crate) fn every_bit() -> Result<(), Failed> {
    let document = TREE.document();
    let lists = TREE.lists();
    for (place, list) in lists.iter().enumerate() {
        for at in 0..list.len() * 8 {
            let mut lists = lists.clone();
            lists[place][at / 8] ^= 1 << (at % 8);
            if genuine(&document, Revocation::of_lists(lists), &TREE.anchors).is_ok() {
                return Err(format!("list {place}: byte {}, bit {} does not matter", at / 8, at % 8).into());
            }
        }
    }
    Ok(())
}
