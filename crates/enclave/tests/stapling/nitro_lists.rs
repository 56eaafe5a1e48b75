//! A Nitro enclave: its documents bring their certificates, and the server fetches, carries and renews the revocation lists
//! of the authorities that they name (END-20 to END-24, STAPLE-08).

use std::sync::Arc;

use casemate_attest::endorse::EndorsementBundle;
use casemate_attest::{Evidence, Platform, UnixTime, verify};
use casemate_enclave::{Attester, AttesterError, Brought, RawEvidence, RefreshError, Source, Stapler};
use casemate_endorse::Settings;

use crate::machine::settings;
use crate::nitro::authorities::{REGION, REGION_LIST, ROOT, ROOT_LIST, Tree, ZONE, revoking, serial};
use crate::nitro::{NOON, bytes};
use crate::replay::{Replay, Reply};

/// Makes documents that bind what is asked, as `/dev/nsm` does.
struct Enclave(Tree);

impl Attester for Enclave {
    fn platform(&self) -> Platform {
        Platform::Nitro
    }

    fn evidence(&self, report_data: &[u8; 64]) -> Result<RawEvidence, AttesterError> {
        let payload = self.0.module.payload().with("user_data", bytes(report_data));
        Ok(RawEvidence {
            platform: Platform::Nitro,
            evidence: self.0.module.sign(&payload.encode()),
            endorsements: Brought::default(),
        })
    }

    fn simulated(&self) -> bool {
        true
    }
}

/// Where the mirror has the list of an address.
fn target(address: &str) -> String {
    address.replace("http://", "/")
}

/// A mirror with the root's list and this one of the region's.
fn mirror(tree: &Tree, region: Vec<u8>) -> Replay {
    let root = tree.list(ROOT, |_| ());
    Replay::start([(target(ROOT_LIST), Reply::Body(root)), (target(REGION_LIST), Reply::Body(region))])
}

fn vendors(mirror: &Replay, cache: &std::path::Path) -> Source {
    let lists = Some(mirror.url());
    Source::Vendors(Box::new(Settings { lists, ..settings("http://127.0.0.1:1", cache.into()) }))
}

async fn start(enclave: &Arc<Enclave>, source: Source) -> Result<Stapler, RefreshError> {
    Stapler::start(enclave.clone(), source, enclave.0.anchors.clone(), NOON).await
}

fn hours(after: u64) -> UnixTime {
    UnixTime(NOON.0 + after * 3600)
}

#[tokio::test]
async fn its_documents_carry_the_lists_that_a_client_needs() {
    let enclave = Arc::new(Enclave(Tree::good()));
    let (service, cache) = (mirror(&enclave.0, enclave.0.list(REGION, |_| ())), tempfile::tempdir().unwrap());
    let stapler = start(&enclave, vendors(&service, cache.path())).await.expect("endorsed");
    assert_eq!(service.seen().len(), 2);

    let raw = enclave.evidence(&[9; 64]).unwrap();
    let carried = stapler.staples().complete(&raw).expect("lists");
    let evidence = Evidence::parse(&raw.evidence).expect("a document");
    let endorsements = carried.of(&evidence).expect("a document's");
    verify(&evidence, &endorsements, &enclave.0.anchors, NOON).expect("genuine");
    // Another enclave's document, with another path under the same names, is not cleared by them.
    let other = Enclave(Tree::good()).evidence(&[9; 64]).unwrap();
    let evidence = Evidence::parse(&other.evidence).expect("a document");
    assert!(verify(&evidence, &endorsements, &enclave.0.anchors, NOON).is_err());
}

#[tokio::test]
async fn without_lists_or_with_a_revoked_authority_it_does_not_start() {
    let enclave = Arc::new(Enclave(Tree::good()));
    let tree = &enclave.0;
    let revoked = tree.list(REGION, revoking(serial(ZONE)));
    let given = |lists: Vec<Vec<u8>>| Source::Given(Box::new(EndorsementBundle::default().with_aws(lists)));
    for (source, expected) in [
        (Source::Given(Box::default()), "staple.missing"),
        (given(tree.lists()[..1].to_vec()), "crl.missing"),
        (given(vec![tree.list(ROOT, |_| ()), revoked.clone()]), "crl.revoked"),
    ] {
        assert_eq!(start(&enclave, source).await.err().map(|error| error.code()), Some(expected));
    }
    let (service, cache) = (mirror(tree, revoked), tempfile::tempdir().unwrap());
    let error = start(&enclave, vendors(&service, cache.path())).await.err();
    assert_eq!(error.map(|error| error.code()), Some("crl.revoked"));
}

/// The set is due with the enclave's own certificate, which lives for three hours and is made anew with each document. The
/// region's list is asked for when two thirds of its seven days are over.
#[tokio::test]
async fn a_list_is_not_taken_back_to_an_older_one() {
    let enclave = Arc::new(Enclave(Tree::good()));
    let tree = &enclave.0;
    let (service, cache) = (mirror(tree, tree.list(REGION, |_| ())), tempfile::tempdir().unwrap());
    let stapler = start(&enclave, vendors(&service, cache.path())).await.expect("endorsed");
    // The folder forgets, and the mirror has an older list, in date.
    std::fs::remove_dir_all(cache.path().join("simulated")).expect("it was kept");
    let older = tree.list(REGION, |list| list.this_update -= std::time::Duration::from_secs(86_400));
    service.answer(&target(REGION_LIST), Reply::Body(older));
    let now = hours(1);
    let mut renewed = false;
    for minute in 0..59 {
        renewed |= stapler.step(UnixTime(now.0 + minute * 60)).await.renewed;
    }
    let health = stapler.staples().health(now);
    assert_eq!((renewed, health.last_error_code), (false, Some("staple.older")));
}
