//! The first set: what is fetched, and what keeps a server from starting.

use std::sync::Arc;

use casemate_attest::endorse::EndorsementBundle;
use casemate_enclave::{RefreshError, Source};
use casemate_sim::MachineConfig;

use crate::machine::{AGEING, Device, NEW, T, VENDOR, chip, run_out, service, settings, start, targets};
use crate::replay::{Replay, Reply};

fn given(bundle: EndorsementBundle) -> Source {
    Source::Given(Box::new(bundle))
}

fn amd(vek: &[u8], crl: &[u8]) -> EndorsementBundle {
    EndorsementBundle::default().with_amd(vek.to_vec(), crl.to_vec())
}

async fn code(source: Source, device: Arc<Device>) -> &'static str {
    start(source, device).await.err().map_or("none", |error: RefreshError| error.code())
}

#[tokio::test]
async fn only_what_the_machine_does_not_bring_is_asked_for() {
    let [vcek, crl] = targets();
    let (vek, list) = (chip().vek_der(), &**NEW);
    for (device, expected) in [
        (Device::bringing(None, None), vec![vcek.clone(), crl.clone()]),
        (Device::bringing(Some(vek), None), vec![crl.clone()]),
        (Device::bringing(Some(vek), Some(list)), vec![]),
    ] {
        let (service, cache) = (service(list), tempfile::tempdir().expect("a folder"));
        let source = Source::Vendors(Box::new(settings(&service.url(), cache.path().into())));
        let stapler = start(source, device).await.unwrap_or_else(|e| panic!("{}: {e}", e.code()));
        assert_eq!(service.targets(), expected);
        assert_eq!(stapler.staples().health(T).valid_until.0, T.0 + 12 * 86_400);
    }
}

/// A restart where nobody can be reached: the folder has a whole set that is in date, though it is due.
#[tokio::test]
async fn a_start_from_the_cache_folder_asks_nobody() {
    let (service, cache) = (service(&AGEING), tempfile::tempdir().expect("a folder"));
    let source = |url: &str| Source::Vendors(Box::new(settings(url, cache.path().into())));
    start(source(&service.url()), Device::bringing(None, None)).await.expect("endorsed");
    let stapler = start(source("http://127.0.0.1:1"), Device::bringing(None, None)).await.expect("endorsed");
    assert_eq!(service.seen().len(), 2);
    // Then it says what it could not do.
    stapler.step(crate::machine::after(61)).await;
    assert_eq!(stapler.staples().health(T).last_error_code, Some("endorse.unreachable"));
}

#[tokio::test]
async fn what_every_client_would_refuse_does_not_start() {
    let none = || Device::bringing(None, None);
    let vek = chip().vek_der();
    let stranger = VENDOR.machine(&MachineConfig::new([6; 48])).expect("a machine");
    for (name, source, device, expected) in [
        ("nothing was brought", given(EndorsementBundle::default()), none(), "staple.missing"),
        ("a list that has run out", given(amd(vek, &run_out())), none(), "crl.expired"),
        ("another chip's certificate", given(amd(stranger.vek_der(), &NEW)), none(), "snp.signature.invalid"),
        ("no certificate", given(amd(b"x", &NEW)), none(), "x509.malformed"),
        (
            "what the machine brought counts, and the file does not mend it",
            given(amd(vek, &NEW)),
            Device::bringing(Some(stranger.vek_der()), None),
            "snp.signature.invalid",
        ),
    ] {
        assert_eq!(code(source, device).await, expected, "{name}");
    }
}

#[tokio::test]
async fn a_service_that_does_not_have_it_keeps_the_server_from_starting() {
    let [vcek, crl] = targets();
    for (name, missing, reply, expected) in [
        ("no certificate", &vcek, Reply::Status(404, ""), "endorse.not-found"),
        ("no list", &crl, Reply::Status(404, ""), "endorse.not-found"),
        ("a page", &crl, Reply::Body(b"<html>".to_vec()), "endorse.answer.form"),
        ("an old list", &crl, Reply::Body(run_out()), "endorse.answer.out-of-date"),
    ] {
        let (service, cache) = (service(&NEW), tempfile::tempdir().expect("a folder"));
        service.answer(missing, reply);
        let source = Source::Vendors(Box::new(settings(&service.url(), cache.path().into())));
        assert_eq!(code(source, Device::bringing(None, None)).await, expected, "{name}");
    }
    let cache = tempfile::tempdir().expect("a folder");
    let nobody = Replay::start([]);
    let mut settings = settings(&nobody.url(), cache.path().into());
    settings.kds = "http://kds.example".to_owned();
    let source = Source::Vendors(Box::new(settings));
    assert_eq!(code(source, Device::bringing(None, None)).await, "endorse.address");
}
