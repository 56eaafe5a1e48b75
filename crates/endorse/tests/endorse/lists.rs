//! AWS's and Google's revocation lists (END-20 to END-22): made-up authorities, those of attest's tests, and a mirror of the
//! hosts that their certificates name.

use std::sync::LazyLock;
use std::time::Duration;

use casemate_attest::endorse::EndorsementBundle;
use casemate_attest::{Evidence, Outcome, TrustAnchors, UnixTime, verify};
use casemate_endorse::{EndorseError, EndorseKind, Fetched, Known, Origin, Settings};
use libtest_mimic::Failed;
use rcgen::CrlDistributionPoint;
use tempfile::TempDir;

use crate::google::{self, By, Provider};
use crate::machine::{cache, run, settings};
use crate::nitro::NOON;
use crate::nitro::authorities::{REGION, REGION_LIST, ROOT, ROOT_LIST, Tree, ZONE, revoking, serial};
use crate::recorded::file;
use crate::replay::{Replay, Reply};

type Case = (&'static str, fn() -> Result<(), Failed>);

pub(crate) const CASES: &[Case] = &[
    ("AWS: fetched, and verified with the bundle alone", fetched),
    ("AWS: the second fetch asks nobody, and the third offline", cached),
    ("AWS: offline, and an empty folder", offline),
    ("AWS: nobody is asked about a document that is not genuine", not_genuine),
    ("AWS: nobody is asked at a place that is not AWS's", elsewhere),
    ("AWS: nobody is asked at a place of Google's", at_googles),
    ("AWS: of several places the first that is AWS's", several_places),
    ("AWS: a document whose certificates name no list", nothing),
    ("AWS: a revoked certificate leaves no bundle, and no list is kept", revoked),
    ("AWS: one mistake in each answer", mistakes),
    ("AWS: a list out of date is asked for again", out_of_date),
    ("AWS: a list of another authority is asked for again", another_authority),
    ("AWS: a certificate that names no list and lives for days", unlisted),
    ("AWS: what a certificate says of its list is not understood", malformed_point),
];

/// On the recorded quote of a GCE virtual TPM.
pub(crate) const RECORDED: &[Case] = &[
    ("Google: fetched, and verified with the bundle alone", of_google),
    ("Google: the certificates above the key's must be given", without_chain),
    ("Google: a key whose certificate names no list", key_unlisted),
    ("Google: a revoked key leaves no bundle", key_revoked),
    ("Google: nobody is asked at a place of AWS's", key_elsewhere),
];

static TREE: LazyLock<Tree> = LazyLock::new(Tree::good);
static GOOGLE: LazyLock<Provider> = LazyLock::new(Provider::new);

/// What a mirror is asked for instead of this address.
fn target(address: &str) -> String {
    let (_, rest) = address.split_once("://").expect("an address");
    format!("/{rest}")
}

fn service(lists: [Vec<u8>; 2]) -> Replay {
    let [root, region] = lists;
    Replay::start([(target(ROOT_LIST), Reply::Body(root)), (target(REGION_LIST), Reply::Body(region))])
}

fn good() -> Replay {
    service(good_lists())
}

fn good_lists() -> [Vec<u8>; 2] {
    [TREE.list(ROOT, |_| ()), TREE.list(REGION, |_| ())]
}

fn mirrored(service: &Replay, cache: &TempDir) -> Settings {
    settings(&service.url(), cache)
}

fn fetch(tree: &Tree, now: UnixTime, settings: &Settings) -> Result<Fetched, EndorseError> {
    fetch_with(tree, &Known::default(), now, settings)
}

fn fetch_with(
    tree: &Tree,
    known: &Known,
    now: UnixTime,
    settings: &Settings,
) -> Result<Fetched, EndorseError> {
    let evidence = Evidence::parse(&tree.document()).expect("a document");
    run(&evidence, known, &tree.anchors, now, settings).0
}

fn code(fetched: Result<Fetched, EndorseError>) -> &'static str {
    fetched.map_or_else(|error| error.code(), |_| "fetched")
}

fn origins(fetched: &Fetched) -> Vec<Origin> {
    fetched.items.iter().map(|item| item.origin).collect()
}

fn fetched() -> Result<(), Failed> {
    let (service, cache) = (good(), cache());
    let fetched = fetch(&TREE, NOON, &mirrored(&service, &cache))?;
    assert_eq!(service.targets(), [target(ROOT_LIST), target(REGION_LIST)]);
    assert_eq!(origins(&fetched), [Origin::Service; 2]);
    assert!(fetched.items[0].name.starts_with("simulated/crl/aws-nitro-enclaves-crl.s3.amazonaws.com/"));
    assert_eq!((fetched.platform, fetched.simulated), ("nitro", true));
    assert!(fetched.waived.is_empty());

    let bytes = fetched.bundle.to_bytes()?;
    let bundle = EndorsementBundle::parse(&bytes)?;
    assert_eq!(bundle, fetched.bundle);
    let evidence = Evidence::parse(&TREE.document())?;
    let authentic = verify(&evidence, &bundle.endorsements(&evidence)?, &TREE.anchors, NOON)?;
    assert_eq!(authentic.valid_until(), fetched.valid_until);
    let revocation = authentic.checks().iter().find(|check| check.rule.id == "NIT-04").expect("the rule");
    assert_eq!(revocation.outcome, Outcome::Pass);
    Ok(())
}

fn cached() -> Result<(), Failed> {
    let (service, cache) = (good(), cache());
    let settings = mirrored(&service, &cache);
    let first = fetch(&TREE, NOON, &settings)?;
    let second = fetch(&TREE, NOON, &settings)?;
    assert_eq!(service.targets().len(), 2);
    assert_eq!(origins(&second), [Origin::Cache; 2]);
    let third = fetch(&TREE, NOON, &Settings { offline: true, lists: None, ..settings })?;
    assert!(first.bundle == second.bundle && second.bundle == third.bundle);
    Ok(())
}

fn offline() -> Result<(), Failed> {
    let cache = cache();
    let settings = Settings { offline: true, ..settings("http://127.0.0.1:1", &cache) };
    assert_eq!(code(fetch(&TREE, NOON, &settings)), "endorse.cache.missing");
    Ok(())
}

/// Certificates that a stranger made name whatever the stranger likes.
fn not_genuine() -> Result<(), Failed> {
    let (service, cache, stranger) = (good(), cache(), Tree::good());
    let evidence = Evidence::parse(&stranger.document())?;
    let fetch = |anchors: &TrustAnchors| {
        code(run(&evidence, &Known::default(), anchors, NOON, &mirrored(&service, &cache)).0)
    };
    assert_eq!(fetch(&TREE.anchors), "x509.signature");
    assert_eq!(fetch(&TrustAnchors::vendors()), "x509.unknown-issuer");
    assert!(service.seen().is_empty(), "{:?}", service.targets());
    Ok(())
}

/// The zone's certificate names these places, one point each.
fn naming(places: &[&str]) -> Tree {
    Tree::new(|params| {
        let point = |uri: &&str| CrlDistributionPoint { uris: vec![(*uri).to_owned()] };
        params[ZONE].crl_distribution_points = places.iter().map(point).collect();
    })
}

fn elsewhere() -> Result<(), Failed> {
    for place in [
        "http://169.254.169.254/latest/meta-data/",
        "http://127.0.0.1:1/crl",
        "file:///etc/passwd",
        "ldap://aws-nitro-enclaves-crl.s3.amazonaws.com/crl",
        "http://crl-eu-test-1-aws-nitro-enclaves.s3.eu-test-2.amazonaws.com/crl",
        "http://aws-nitro-enclaves-crl.s3.amazonaws.com/crl?acl",
    ] {
        let (service, cache) = (good(), cache());
        let error = fetch(&naming(&[place]), NOON, &mirrored(&service, &cache)).expect_err(place);
        assert_eq!((error.code(), error.kind()), ("endorse.list-address", EndorseKind::Undecidable));
        assert!(error.to_string().contains(place), "{error}");
        // Not even at the root's, which is AWS's.
        assert!(service.seen().is_empty(), "{place}: {:?}", service.targets());
    }
    Ok(())
}

fn at_googles() -> Result<(), Failed> {
    let (service, cache) = (good(), cache());
    let tree = naming(&[google::ROOT_LIST]);
    assert_eq!(code(fetch(&tree, NOON, &mirrored(&service, &cache))), "endorse.list-address");
    assert!(service.seen().is_empty());
    Ok(())
}

fn several_places() -> Result<(), Failed> {
    let tree = naming(&["http://evil.example/a.crl", REGION_LIST]);
    let (service, cache) = (service([tree.list(ROOT, |_| ()), tree.list(REGION, |_| ())]), cache());
    fetch(&tree, NOON, &mirrored(&service, &cache))?;
    assert_eq!(service.targets(), [target(ROOT_LIST), target(REGION_LIST)]);
    Ok(())
}

fn nothing() -> Result<(), Failed> {
    let (service, cache) = (good(), cache());
    let tree = Tree::new(|params| {
        params[REGION].crl_distribution_points.clear();
        params[ZONE].crl_distribution_points.clear();
    });
    assert_eq!(code(fetch(&tree, NOON, &mirrored(&service, &cache))), "endorse.nothing-to-fetch");
    assert!(service.seen().is_empty());
    Ok(())
}

fn revoked() -> Result<(), Failed> {
    for lists in [
        [TREE.list(ROOT, revoking(serial(REGION))), TREE.list(REGION, |_| ())],
        [TREE.list(ROOT, |_| ()), TREE.list(REGION, revoking(serial(ZONE)))],
    ] {
        let (service, cache) = (service(lists), cache());
        let error = fetch(&TREE, NOON, &mirrored(&service, &cache)).expect_err("revoked");
        assert_eq!((error.code(), error.kind()), ("crl.revoked", EndorseKind::Rejected));
        assert!(!cache.path().join("simulated").exists(), "something is kept");
    }
    Ok(())
}

fn mistakes() -> Result<(), Failed> {
    let stranger = Tree::good();
    let [root, region] = good_lists();
    let mut forged = region.clone();
    *forged.last_mut().expect("long") ^= 1;
    let past = TREE.list(REGION, |list| list.next_update -= Duration::from_secs(6 * 86_400 + 1));
    for (what, reply, expected) in [
        ("nothing there", Reply::Status(404, ""), "endorse.not-found"),
        ("elsewhere", Reply::Status(302, "Location: /elsewhere"), "endorse.redirect"),
        ("an error", Reply::Status(500, ""), "endorse.status"),
        ("a page", Reply::Body(b"<html>".to_vec()), "endorse.answer.form"),
        ("two MiB", Reply::Body(vec![0x30; 2 << 20]), "endorse.answer.too-long"),
        ("cut off", Reply::Truncated(region.clone()), "endorse.unreachable"),
        ("one bit of the signature", Reply::Body(forged), "crl.signature"),
        ("of another region of that name", Reply::Body(stranger.list(REGION, |_| ())), "crl.signature"),
        ("of Google's", Reply::Body(GOOGLE.list(By::Root, |_| ())), "crl.issuer"),
        ("the root's once more", Reply::Body(root.clone()), "crl.missing"),
        ("out of date", Reply::Body(past), "endorse.answer.out-of-date"),
        ("a delta", Reply::Body(TREE.list_with(REGION, DELTA)), "crl.scoped"),
    ] {
        let (service, cache) = (service([root.clone(), Vec::new()]), cache());
        service.answer(&target(REGION_LIST), reply);
        assert_eq!(code(fetch(&TREE, NOON, &mirrored(&service, &cache))), expected, "{what}");
        assert!(!cache.path().join("simulated").exists(), "{what}: something is kept");
    }
    Ok(())
}

/// deltaCRLIndicator, critical.
const DELTA: &[u8] = &[0x30, 13, 6, 3, 0x55, 0x1d, 27, 1, 1, 0xff, 4, 3, 2, 1, 1];

fn out_of_date() -> Result<(), Failed> {
    const HALF_AN_HOUR: u64 = 1800;
    let until = |list: &mut rcgen::CertificateRevocationListParams| {
        list.next_update -= Duration::from_secs(6 * 86_400 - HALF_AN_HOUR);
    };
    let (service, cache) = (service([TREE.list(ROOT, |_| ()), TREE.list(REGION, until)]), cache());
    let settings = mirrored(&service, &cache);
    assert_eq!(fetch(&TREE, NOON, &settings)?.valid_until, UnixTime(NOON.0 + HALF_AN_HOUR));
    let later = UnixTime(NOON.0 + HALF_AN_HOUR + 1);
    // The service has no better one yet.
    assert_eq!(code(fetch(&TREE, later, &settings)), "endorse.answer.out-of-date");
    let offline = Settings { offline: true, ..settings.clone() };
    assert_eq!(code(fetch(&TREE, later, &offline)), "endorse.cache.stale");
    service.answer(&target(REGION_LIST), Reply::Body(TREE.list(REGION, |_| ())));
    assert_eq!(origins(&fetch(&TREE, later, &settings)?), [Origin::Cache, Origin::Service]);
    Ok(())
}

/// The lists that are kept are of authorities of these names, with other keys.
fn another_authority() -> Result<(), Failed> {
    let (first, cache) = (good(), cache());
    fetch(&TREE, NOON, &mirrored(&first, &cache))?;
    let other = Tree::good();
    let second = service([other.list(ROOT, |_| ()), other.list(REGION, |_| ())]);
    let fetched = fetch(&other, NOON, &mirrored(&second, &cache))?;
    assert_eq!(origins(&fetched), [Origin::Service; 2]);
    Ok(())
}

fn unlisted() -> Result<(), Failed> {
    let tree = Tree::new(|params| params[ZONE].crl_distribution_points.clear());
    let (service, cache) = (service([tree.list(ROOT, |_| ()), Vec::new()]), cache());
    let settings = mirrored(&service, &cache);
    assert_eq!(code(fetch(&tree, NOON, &settings)), "crl.unlisted");
    let decided = |reason: &str| Known { danger_unlisted: Some(reason.to_owned()), ..Known::default() };
    assert_eq!(code(fetch_with(&tree, &decided(" "), NOON, &settings)), "crl.unlisted");
    let fetched = fetch_with(&tree, &decided("an audit"), NOON, &settings)?;
    assert_eq!(fetched.waived.iter().map(|(rule, _)| *rule).collect::<Vec<_>>(), ["NIT-04"]);
    assert!(fetched.waived[0].1.contains("an audit"), "{:?}", fetched.waived);
    // The bundle does not carry the decision.
    let evidence = Evidence::parse(&tree.document())?;
    let endorsements = fetched.bundle.endorsements(&evidence)?;
    let rejected = verify(&evidence, &endorsements, &tree.anchors, NOON).expect_err("not decided");
    assert_eq!(rejected.code(), "crl.unlisted");
    Ok(())
}

fn malformed_point() -> Result<(), Failed> {
    let (service, cache) = (good(), cache());
    let tree = Tree::new(|params| {
        params[ZONE].crl_distribution_points.clear();
        params[ZONE].custom_extensions.push(crate::nitro::authorities::points(&[0x30, 0]));
    });
    assert_eq!(code(fetch(&tree, NOON, &mirrored(&service, &cache))), "endorse.distribution-point");
    assert!(service.seen().is_empty());
    Ok(())
}

fn googles(key_list: Option<&str>) -> Evidence {
    let recorded = file("gcp/vtpm/gce-cos-85-nonce9009.pb");
    Evidence::parse(&GOOGLE.evidence(&recorded, key_list)).expect("evidence")
}

fn with_chain(danger_unlisted: Option<&str>) -> Known {
    Known {
        ak_chain: Some(vec![GOOGLE.issuer.clone()]),
        danger_unlisted: danger_unlisted.map(ToOwned::to_owned),
        ..Known::default()
    }
}

fn google_service(by_issuer: Vec<u8>) -> Replay {
    Replay::start([
        (target(google::ROOT_LIST), Reply::Body(GOOGLE.list(By::Root, |_| ()))),
        (target(google::ISSUER_LIST), Reply::Body(by_issuer)),
    ])
}

fn fetch_google(
    evidence: &Evidence,
    known: &Known,
    service: &Replay,
    cache: &TempDir,
) -> Result<Fetched, EndorseError> {
    run(evidence, known, &GOOGLE.anchors, google::NOON, &mirrored(service, cache)).0
}

fn of_google() -> Result<(), Failed> {
    let (service, cache) = (google_service(GOOGLE.list(By::Issuer, |_| ())), cache());
    let evidence = googles(Some(google::ISSUER_LIST));
    let fetched = fetch_google(&evidence, &with_chain(None), &service, &cache)?;
    assert_eq!(service.targets(), [target(google::ISSUER_LIST), target(google::ROOT_LIST)]);
    assert_eq!(origins(&fetched), [Origin::Given, Origin::Service, Origin::Service]);
    let bundle = EndorsementBundle::parse(&fetched.bundle.to_bytes()?)?;
    let authentic = verify(&evidence, &bundle.endorsements(&evidence)?, &GOOGLE.anchors, google::NOON)?;
    assert!(authentic.checks().iter().all(|check| check.outcome != Outcome::Waived));
    Ok(())
}

fn without_chain() -> Result<(), Failed> {
    let (service, cache) = (google_service(Vec::new()), cache());
    let evidence = googles(Some(google::ISSUER_LIST));
    let error = fetch_google(&evidence, &Known::default(), &service, &cache).expect_err("no chain");
    assert_eq!((error.code(), error.kind()), ("endorse.ak-chain", EndorseKind::Usage));
    assert!(service.seen().is_empty());
    Ok(())
}

fn key_unlisted() -> Result<(), Failed> {
    let (service, cache) = (google_service(Vec::new()), cache());
    let evidence = googles(None);
    assert_eq!(code(fetch_google(&evidence, &with_chain(None), &service, &cache)), "crl.unlisted");
    let fetched = fetch_google(&evidence, &with_chain(Some("Google lists no keys")), &service, &cache)?;
    assert_eq!(fetched.waived.iter().map(|(rule, _)| *rule).collect::<Vec<_>>(), ["GV-05"]);
    assert!(service.targets().iter().all(|asked| *asked == target(google::ROOT_LIST)));
    Ok(())
}

fn key_revoked() -> Result<(), Failed> {
    let list = GOOGLE.list(By::Issuer, google::revoking(google::LEAF_SERIAL));
    let (service, cache) = (google_service(list), cache());
    let evidence = googles(Some(google::ISSUER_LIST));
    assert_eq!(code(fetch_google(&evidence, &with_chain(None), &service, &cache)), "crl.revoked");
    Ok(())
}

fn key_elsewhere() -> Result<(), Failed> {
    let (service, cache) = (google_service(Vec::new()), cache());
    let evidence = googles(Some(REGION_LIST));
    assert_eq!(code(fetch_google(&evidence, &with_chain(None), &service, &cache)), "endorse.list-address");
    assert!(service.seen().is_empty());
    Ok(())
}
