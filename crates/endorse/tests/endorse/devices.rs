//! NVIDIA devices of a made-up vendor (that of attest's tests) and its two services: END-15 to END-19.

use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use casemate_attest::UnixTime;
use casemate_attest::endorse::EndorsementBundle;
use casemate_attest::nvidia::{GpuEvidence, Manifest, NvidiaAnchors, NvidiaEndorsements, verify_gpu};
use casemate_endorse::{
    EndorseError, EndorseKind, Fetched, NvidiaServices, Origin, Pace, Settings, fetch_devices,
};
use casemate_sim::nvidia::{Answer, DRIVER, Hash, Party, Report, Rim, UNKNOWN, VBIOS, revoked};
use libtest_mimic::Failed;
use serde_json::json;
use tempfile::TempDir;

use crate::machine::{cache, settings};
use crate::replay::{Replay, Reply};
use crate::vendor::{NOON, VENDOR, Vendor, good_answer, good_report};

type Case = (&'static str, fn() -> Result<(), Failed>);

pub(crate) const CASES: &[Case] = &[
    ("NVIDIA: fetched, and verified with the bundle alone", fetched),
    ("NVIDIA: requests are OCSP, with a nonce of their own each", requests),
    ("NVIDIA: the second fetch asks nobody, and the third offline", cached),
    ("NVIDIA: what two devices share is asked for once", shared),
    ("NVIDIA: nobody is asked about a device that is not genuine", not_genuine),
    ("NVIDIA: a made-up vendor is nobody under NVIDIA's own roots", own_roots),
    ("NVIDIA: one mistake in each answer of the responder", answers),
    ("NVIDIA: a nonce of another request", nonce),
    ("NVIDIA: a certificate on hold is left to the policy", on_hold),
    ("NVIDIA: one mistake in each manifest's answer", manifests),
    ("NVIDIA: a missing manifest is named with its host", missing),
    ("NVIDIA: an answer in its last quarter is renewed, or serves where nobody answers", ageing),
    ("NVIDIA: an answer out of date is asked for again, and never serves", out_of_date),
    ("NVIDIA: a damaged file is fetched again", damaged),
    ("NVIDIA: busy, elsewhere, too long, too late", polite),
    ("NVIDIA: addresses that may not be asked", addresses),
];

/// Whom the made-up responder answers about: each certificate and its issuer.
fn pairs() -> [(&'static Party, &'static Party); 6] {
    let vendor: &'static Vendor = &VENDOR;
    [
        (vendor.identity, vendor.root),
        (vendor.provisioner, vendor.identity),
        (vendor.device, vendor.provisioner),
        (vendor.rim_outer, vendor.rim_root),
        (vendor.rim_inner, vendor.rim_outer),
        (vendor.rim_signer, vendor.rim_inner),
    ]
}

/// The nonce of a request: behind its OID, in two OCTET STRINGs.
fn nonce_of(request: &[u8]) -> Option<Vec<u8>> {
    const OID: [u8; 11] = [0x06, 9, 0x2b, 6, 1, 5, 5, 7, 0x30, 1, 2];
    let at = request.windows(OID.len()).position(|window| window == OID)? + OID.len();
    match &request[at..] {
        [0x04, outer, 0x04, inner, nonce @ ..]
            if *outer == inner + 2 && nonce.len() == usize::from(*inner) =>
        {
            Some(nonce.to_vec())
        }
        other => panic!("{other:02x?}"),
    }
}

/// The question's certificate: the request ends with its serial number, or has it before the extensions.
fn asked(request: &[u8]) -> (&'static Party, &'static Party) {
    let serial = |party: &Party| {
        let certificate = x509_parser::parse_x509_certificate(party.der()).expect("a certificate").1;
        let serial = certificate.raw_serial();
        [&[0x02, serial.len() as u8], serial].concat()
    };
    let contains = |serial: Vec<u8>| request.windows(serial.len()).any(|window| window == serial);
    pairs().into_iter().find(|(subject, _)| contains(serial(subject))).expect("one of the vendor's")
}

/// A responder that does as it should, but for what a case changes about the device's answer.
fn respond(request: &[u8], change: impl FnOnce(&mut Answer<'static>)) -> Vec<u8> {
    let (subject, issuer) = asked(request);
    let mut answer = Answer { nonce: nonce_of(request), hash: Hash::Sha384, ..good_answer(subject, issuer) };
    if std::ptr::eq(subject, VENDOR.device) {
        change(&mut answer);
    }
    answer.der().expect("an answer")
}

fn good(request: &[u8]) -> Vec<u8> {
    respond(request, |_| {})
}

const DRIVER_TARGET: &str = "/v1/rim/NV_GPU_DRIVER_GH100_570.10.01";
const VBIOS_TARGET: &str = "/v1/rim/NV_GPU_VBIOS_1010_0200_882_96009F0001";
const OCSP_TARGET: &str = "/";

/// As NVIDIA's service answers.
fn answer_of(target: &str, rim: &Rim) -> serde_json::Value {
    let id = target.trim_start_matches("/v1/rim/");
    let rim = STANDARD.encode(VENDOR.rim(rim));
    json!({
        "id": id, "rim": rim, "sha256": "", "last_updated": "2025-12-01T00:00:00", "rim_format": "TCG",
        "request_id": "00000000-0000-0000-0000-000000000000",
    })
}

fn body(value: &serde_json::Value) -> Reply {
    Reply::Body(value.to_string().into_bytes())
}

fn service() -> Replay {
    Replay::start([
        (DRIVER_TARGET.to_owned(), body(&answer_of(DRIVER_TARGET, &Rim::driver()))),
        (VBIOS_TARGET.to_owned(), body(&answer_of(VBIOS_TARGET, &Rim::vbios()))),
        (OCSP_TARGET.to_owned(), Reply::To(good)),
    ])
}

fn device() -> GpuEvidence {
    GpuEvidence::parse(&VENDOR.report(&good_report()), &VENDOR.chain()).expect("a report")
}

fn fetch(devices: &[GpuEvidence], now: UnixTime, settings: &Settings) -> Result<Fetched, EndorseError> {
    fetch_under(devices, &VENDOR.anchors, now, settings)
}

fn fetch_under(
    devices: &[GpuEvidence],
    anchors: &NvidiaAnchors,
    now: UnixTime,
    settings: &Settings,
) -> Result<Fetched, EndorseError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(fetch_devices(devices, anchors, now, settings, &|_| ()))
}

fn one(settings: &Settings) -> Result<Fetched, EndorseError> {
    fetch(&[device()], NOON, settings)
}

fn refused(settings: &Settings) -> (&'static str, EndorseKind) {
    let error = one(settings).expect_err("must be refused");
    (error.code(), error.kind())
}

/// Files of answers in the cache folder.
fn kept(cache: &TempDir, below: &str) -> usize {
    std::fs::read_dir(cache.path().join("simulated/nvidia").join(below)).map_or(0, Iterator::count)
}

fn fetched() -> Result<(), Failed> {
    let (service, cache) = (service(), cache());
    let fetched = one(&settings(&service.url(), &cache))?;
    assert_eq!((fetched.platform, fetched.simulated), ("nvidia", true));
    // The answers' nextUpdate comes before every certificate's end.
    assert_eq!(fetched.valid_until, UnixTime(NOON.0 + 12 * 3600));
    let mut targets = service.targets();
    assert_eq!(targets.split_off(2), [OCSP_TARGET; 6]);
    assert_eq!(targets, [DRIVER_TARGET, VBIOS_TARGET]);
    let names: Vec<_> = fetched.items.iter().map(|item| (item.name.as_str(), item.origin)).collect();
    assert_eq!(names.len(), 8);
    assert_eq!(names[0], ("simulated/nvidia/rim/NV_GPU_DRIVER_GH100_570.10.01", Origin::Service));
    assert!(names[2].0.starts_with("simulated/nvidia/ocsp/"), "{}", names[2].0);
    assert_eq!((kept(&cache, "rim"), kept(&cache, "ocsp")), (2, 6));
    assert!(!cache.path().join("nvidia").exists(), "a simulated vendor's answers are kept apart");

    // By the bundle's bytes alone.
    let bundle = EndorsementBundle::parse(&fetched.bundle.to_bytes()?)?;
    let endorsements = bundle.devices()?;
    let revocation = endorsements.revocation();
    let mut versions = Vec::new();
    for document in endorsements.manifests() {
        let manifest = Manifest::verify(document, &revocation, &VENDOR.anchors, NOON)?;
        versions.push(manifest.version().to_owned());
    }
    versions.sort();
    assert_eq!(versions, [DRIVER, VBIOS]);
    verify_gpu(&device(), &NvidiaEndorsements { revocation }, &VENDOR.anchors, NOON)?;
    Ok(())
}

fn requests() -> Result<(), Failed> {
    let (service, cache) = (service(), cache());
    one(&settings(&service.url(), &cache))?;
    let mut nonces = Vec::new();
    let mut certificates = Vec::new();
    for seen in service.seen().iter().filter(|seen| seen.target == OCSP_TARGET) {
        let head = seen.head.to_lowercase();
        assert!(head.starts_with("post / "), "{head}");
        assert!(head.contains("\r\ncontent-type: application/ocsp-request\r\n"), "{head}");
        let nonce = nonce_of(&seen.body).expect("a nonce");
        assert_eq!(nonce.len(), 32);
        assert!(!nonces.contains(&nonce), "one nonce twice");
        nonces.push(nonce);
        certificates.push(asked(&seen.body).0.der().to_vec());
    }
    certificates.sort();
    let mut expected = pairs().map(|(subject, _)| subject.der().to_vec());
    expected.sort();
    assert_eq!(certificates, expected, "every certificate but the leaf and the roots, once");
    // Without a nonce, where the responder stands behind a cache.
    let (service, cache) = (self::service(), crate::machine::cache());
    one(&without_nonce(settings(&service.url(), &cache)))?;
    assert!(service.seen().iter().all(|seen| seen.body.is_empty() || nonce_of(&seen.body).is_none()));
    Ok(())
}

fn without_nonce(settings: Settings) -> Settings {
    Settings { nvidia: NvidiaServices { nonce: false, ..settings.nvidia }, ..settings }
}

fn cached() -> Result<(), Failed> {
    let (service, cache) = (service(), cache());
    let online = settings(&service.url(), &cache);
    let first = one(&online)?;
    let second = one(&online)?;
    let third = one(&Settings { offline: true, ..online.clone() })?;
    assert_eq!(service.seen().len(), 8);
    for later in [second, third] {
        assert_eq!(later.bundle.to_bytes()?, first.bundle.to_bytes()?);
        assert!(later.items.iter().all(|item| item.origin == Origin::Cache));
    }
    let empty = crate::machine::cache();
    let offline = Settings { cache: empty.path().to_owned(), offline: true, ..online };
    assert_eq!(refused(&offline), ("endorse.cache.missing", EndorseKind::Undecidable));
    assert_eq!(service.seen().len(), 8);
    Ok(())
}

fn shared() -> Result<(), Failed> {
    let (service, cache) = (service(), cache());
    let fetched = fetch(&[device(), device(), device()], NOON, &settings(&service.url(), &cache))?;
    assert_eq!((service.seen().len(), fetched.items.len()), (8, 8));
    Ok(())
}

fn not_genuine() -> Result<(), Failed> {
    let (service, cache) = (service(), cache());
    let mut report = VENDOR.report(&good_report());
    report[60] ^= 1;
    let forged = GpuEvidence::parse(&report, &VENDOR.chain())?;
    for devices in [vec![forged.clone()], vec![device(), forged]] {
        let error = fetch(&devices, NOON, &settings(&service.url(), &cache)).expect_err("forged");
        assert_eq!((error.code(), error.kind()), ("nvidia.signature.invalid", EndorseKind::Rejected));
    }
    // A year after the certificates.
    let late = fetch(&[device()], UnixTime(2_600_000_000), &settings(&service.url(), &cache));
    let late = late.expect_err("late");
    assert_eq!((late.code(), late.kind()), ("x509.expired", EndorseKind::Undecidable));
    assert!(service.seen().is_empty());
    // A GPU that does not name its driver.
    let report = VENDOR.report(&Report { driver: None, ..good_report() });
    let nameless = [GpuEvidence::parse(&report, &VENDOR.chain())?];
    let error = fetch(&nameless, NOON, &settings(&service.url(), &cache)).expect_err("no version");
    assert_eq!((error.code(), error.kind()), ("endorse.firmware", EndorseKind::Undecidable));
    // A version that would be a path.
    let report = VENDOR.report(&Report { driver: Some("../../v2"), ..good_report() });
    let path = [GpuEvidence::parse(&report, &VENDOR.chain())?];
    let error = fetch(&path, NOON, &settings(&service.url(), &cache)).expect_err("a path");
    assert_eq!(error.code(), "endorse.firmware");
    assert!(service.seen().is_empty());
    Ok(())
}

fn own_roots() -> Result<(), Failed> {
    let (service, cache) = (service(), cache());
    let anchors = NvidiaAnchors::nvidia();
    let fetched = fetch_under(&[device()], &anchors, NOON, &settings(&service.url(), &cache));
    assert_eq!(fetched.expect_err("another root").code(), "nvidia.root.foreign");
    assert!(service.seen().is_empty());
    Ok(())
}

/// With another responder.
fn responded(respond: fn(&[u8]) -> Vec<u8>) -> (&'static str, EndorseKind) {
    let (service, cache) = (service(), cache());
    service.answer(OCSP_TARGET, Reply::To(respond));
    let refused = refused(&settings(&service.url(), &cache));
    // The others are kept as far as they were asked for, and this one never.
    assert!(kept(&cache, "ocsp") < 6, "{refused:?}");
    refused
}

fn answers() -> Result<(), Failed> {
    type Mistake = (&'static str, EndorseKind, fn(&[u8]) -> Vec<u8>);
    let mistakes: [Mistake; 12] = [
        ("ocsp.revoked", EndorseKind::Rejected, |r| respond(r, |a| a.status = revoked(Some(1)))),
        ("ocsp.unknown", EndorseKind::Rejected, |r| respond(r, |a| a.status = UNKNOWN.to_vec())),
        ("ocsp.expired", EndorseKind::Undecidable, |r| {
            respond(r, |a| a.next_update = Some("20260101115959Z"))
        }),
        ("ocsp.not-yet-valid", EndorseKind::Undecidable, |r| {
            respond(r, |a| a.this_update = "20260101120001Z")
        }),
        ("ocsp.no-next-update", EndorseKind::Rejected, |r| respond(r, |a| a.next_update = None)),
        ("ocsp.signature", EndorseKind::Rejected, |r| respond(r, |a| a.responder = VENDOR.identity)),
        ("ocsp.missing", EndorseKind::Undecidable, |r| respond(r, |a| a.serial = Some(vec![1]))),
        ("ocsp.missing", EndorseKind::Undecidable, |r| respond(r, |a| a.hash = Hash::Sha1)),
        ("ocsp.malformed", EndorseKind::Rejected, |_| Vec::new()),
        ("ocsp.malformed", EndorseKind::Rejected, |_| b"<html>busy</html>".to_vec()),
        ("ocsp.malformed", EndorseKind::Rejected, |r| [good(r), vec![0]].concat()),
        ("ocsp.unsuccessful", EndorseKind::Undecidable, |_| vec![0x30, 3, 0x0a, 1, 3]),
    ];
    for (code, kind, respond) in mistakes {
        assert_eq!(responded(respond), (code, kind));
    }
    // Of the manifests' signer.
    let signer = |request: &[u8]| {
        let (subject, issuer) = asked(request);
        let mut answer = Answer { nonce: nonce_of(request), ..good_answer(subject, issuer) };
        if std::ptr::eq(subject, VENDOR.rim_signer) {
            answer.status = revoked(None);
        }
        answer.der().expect("an answer")
    };
    assert_eq!(responded(signer), ("ocsp.revoked", EndorseKind::Rejected));
    // The error says of what and by whom.
    let (service, cache) = (service(), cache());
    service.answer(OCSP_TARGET, Reply::To(|r| respond(r, |a| a.status = revoked(None))));
    let error = one(&settings(&service.url(), &cache)).expect_err("revoked").to_string();
    for part in ["GH100 A01 GSP BROM", "nvidia/ocsp/", "127.0.0.1"] {
        assert!(error.contains(part), "{part}: {error}");
    }
    Ok(())
}

fn nonce() -> Result<(), Failed> {
    let other = |request: &[u8]| respond(request, |answer| answer.nonce = Some(vec![7; 32]));
    let none = |request: &[u8]| respond(request, |answer| answer.nonce = None);
    assert_eq!(responded(other), ("ocsp.nonce", EndorseKind::Rejected));
    assert_eq!(responded(none), ("ocsp.nonce", EndorseKind::Rejected));
    // Where none was sent, a cache's old one says nothing.
    let (service, cache) = (service(), cache());
    service.answer(OCSP_TARGET, Reply::To(other));
    one(&without_nonce(settings(&service.url(), &cache)))?;
    Ok(())
}

fn on_hold() -> Result<(), Failed> {
    let (service, cache) = (service(), cache());
    service.answer(OCSP_TARGET, Reply::To(|r| respond(r, |a| a.status = revoked(Some(6)))));
    one(&settings(&service.url(), &cache))?;
    Ok(())
}

fn manifests() -> Result<(), Failed> {
    let right = answer_of(DRIVER_TARGET, &Rim::driver());
    let with = |member: &str, value: serde_json::Value| {
        let mut answer = right.clone();
        answer[member] = value;
        body(&answer)
    };
    let changed = VENDOR.rim(&Rim::driver()).replace("alternatives=\"2\"", "alternatives=\"1\"");
    let foreign = VENDOR.rim(&Rim { product: "GH200", ..Rim::driver() });
    let encoded = |text: &str| json!(STANDARD.encode(text));
    for (reply, code, kind) in [
        (Reply::Body(Vec::new()), "endorse.answer.form", EndorseKind::Undecidable),
        (Reply::Body(b"<html>".to_vec()), "endorse.answer.form", EndorseKind::Undecidable),
        (Reply::Body("[".repeat(100_000).into_bytes()), "endorse.answer.form", EndorseKind::Undecidable),
        (with("rim", json!(null)), "endorse.answer.form", EndorseKind::Undecidable),
        (with("rim", json!("*")), "endorse.answer.form", EndorseKind::Undecidable),
        (
            with("id", json!("NV_GPU_DRIVER_GH100_570.10.02")),
            "endorse.answer.other",
            EndorseKind::Undecidable,
        ),
        (with("rim_format", json!("CORIM")), "endorse.answer.other", EndorseKind::Undecidable),
        (with("rim", encoded("<a></a>")), "nvidia.manifest.malformed", EndorseKind::Rejected),
        (with("rim", encoded(&changed)), "nvidia.manifest.digest", EndorseKind::Rejected),
        // Signed by the vendor, and of something else.
        (with("rim", encoded(&foreign)), "endorse.answer.other", EndorseKind::Undecidable),
        (with("rim", encoded(&VENDOR.rim(&Rim::vbios()))), "endorse.answer.other", EndorseKind::Undecidable),
    ] {
        let (service, cache) = (service(), cache());
        service.answer(DRIVER_TARGET, reply);
        assert_eq!(refused(&settings(&service.url(), &cache)), (code, kind));
        assert_eq!(service.targets(), [DRIVER_TARGET], "{code}");
        assert_eq!(kept(&cache, "rim"), 0, "{code}");
    }
    Ok(())
}

fn missing() -> Result<(), Failed> {
    let (service, cache) = (service(), cache());
    service.answer(VBIOS_TARGET, Reply::Status(404, ""));
    let error = one(&settings(&service.url(), &cache)).expect_err("no manifest");
    assert_eq!(error.code(), "endorse.not-found");
    let (error, id) = (error.to_string(), VBIOS_TARGET.trim_start_matches("/v1/rim/"));
    assert!(error.contains(id) && error.contains("127.0.0.1"), "{error}");
    assert_eq!((kept(&cache, "rim"), kept(&cache, "ocsp")), (1, 0), "what was had is kept");
    Ok(())
}

/// The answers hold for the whole of 2026-01-01.
fn at(hour: u64) -> UnixTime {
    UnixTime(NOON.0 - 12 * 3600 + hour * 3600)
}

fn next_day(request: &[u8]) -> Vec<u8> {
    let (subject, issuer) = asked(request);
    let dates = Answer {
        this_update: "20260101180000Z",
        next_update: Some("20260102180000Z"),
        ..good_answer(subject, issuer)
    };
    Answer { nonce: nonce_of(request), ..dates }.der().expect("an answer")
}

fn ageing() -> Result<(), Failed> {
    let (service, cache) = (service(), cache());
    let online = settings(&service.url(), &cache);
    let first = one(&online)?;
    fetch(&[device()], at(17), &online)?;
    assert_eq!(service.seen().len(), 8, "more than a quarter is left");
    // Offline the old one serves to its end.
    let offline = Settings { offline: true, ..online.clone() };
    assert_eq!(fetch(&[device()], at(23), &offline)?.valid_until, first.valid_until);
    // Nobody answers: it is in date.
    let nobody = NvidiaServices { ocsp: closed_port(), ..online.nvidia.clone() };
    let alone = fetch(&[device()], at(23), &Settings { nvidia: nobody, ..online.clone() })?;
    assert!(alone.items.iter().all(|item| item.origin == Origin::Cache));
    // Somebody answers: the manifests need nothing new, the answers do.
    service.answer(OCSP_TARGET, Reply::To(next_day));
    let renewed = fetch(&[device()], at(23), &online)?;
    assert_eq!(service.seen().len(), 8 + 6);
    assert_eq!(renewed.valid_until, at(24 + 18));
    // A word against it counts, though the old one is in date.
    let (service, cache) = (self::service(), crate::machine::cache());
    let online = settings(&service.url(), &cache);
    one(&online)?;
    service.answer(OCSP_TARGET, Reply::To(|r| respond(r, |a| a.status = revoked(None))));
    let error = fetch(&[device()], at(23), &online).expect_err("revoked");
    assert_eq!(error.code(), "ocsp.revoked");
    Ok(())
}

/// Nobody listens there any more.
fn closed_port() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    format!("http://{}", listener.local_addr().expect("an address"))
}

fn out_of_date() -> Result<(), Failed> {
    let (service, cache) = (service(), cache());
    let online = settings(&service.url(), &cache);
    one(&online)?;
    let offline = Settings { offline: true, ..online.clone() };
    let error = fetch(&[device()], at(25), &offline).expect_err("stale");
    assert_eq!((error.code(), error.kind()), ("endorse.cache.stale", EndorseKind::Undecidable));
    let nobody = NvidiaServices { ocsp: closed_port(), ..online.nvidia.clone() };
    let nobody = fetch(&[device()], at(25), &Settings { nvidia: nobody, ..online.clone() });
    assert_eq!(nobody.expect_err("unreachable").code(), "endorse.unreachable");
    // The responder has no better one.
    assert_eq!(fetch(&[device()], at(25), &online).expect_err("old").code(), "ocsp.expired");
    service.answer(OCSP_TARGET, Reply::To(next_day));
    assert_eq!(fetch(&[device()], at(25), &online)?.valid_until, at(24 + 18));
    Ok(())
}

fn damaged() -> Result<(), Failed> {
    let (service, cache) = (service(), cache());
    let online = settings(&service.url(), &cache);
    one(&online)?;
    let file = |below: &str| -> std::path::PathBuf {
        let folder: &Path = &cache.path().join("simulated/nvidia").join(below);
        std::fs::read_dir(folder).expect("a folder").next().expect("a file").expect("a file").path()
    };
    for below in ["rim", "ocsp"] {
        let path = file(below);
        let mut bytes = std::fs::read(&path)?;
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&path, bytes)?;
        assert_eq!(refused(&Settings { offline: true, ..online.clone() }).0, "endorse.cache.damaged");
        one(&online)?;
        one(&Settings { offline: true, ..online.clone() })?;
    }
    assert_eq!(service.seen().len(), 8 + 2);
    Ok(())
}

fn polite() -> Result<(), Failed> {
    let replaced = |target: &str, reply: Reply| {
        let (service, cache) = (service(), cache());
        service.answer(target, reply);
        let fetched = one(&settings(&service.url(), &cache));
        (fetched.map_err(|error| error.code()).map(drop), service.seen().len())
    };
    let busy = |then: Reply| Reply::Then(vec![Reply::Status(429, "Retry-After: 0"), then]);
    assert_eq!(replaced(OCSP_TARGET, busy(Reply::To(good))), (Ok(()), 9));
    let right = body(&answer_of(DRIVER_TARGET, &Rim::driver()));
    assert_eq!(replaced(DRIVER_TARGET, busy(right)), (Ok(()), 9));
    for (reply, code) in [
        (Reply::Status(302, "Location: http://127.0.0.1/elsewhere"), "endorse.redirect"),
        (Reply::Status(307, "Location: https://rim.example/"), "endorse.redirect"),
        (Reply::Status(403, ""), "endorse.status"),
        (Reply::Status(503, "Retry-After: 86400"), "endorse.busy"),
        (Reply::Body(vec![b' '; 1024 * 1024 + 1]), "endorse.answer.too-long"),
        (Reply::Truncated(vec![0x30]), "endorse.unreachable"),
    ] {
        assert_eq!(replaced(DRIVER_TARGET, reply.clone()), (Err(code), 1));
        assert_eq!(replaced(OCSP_TARGET, reply), (Err(code), 3));
    }
    // However many answers there are: the whole fetch has an end.
    let (service, cache) = (service(), cache());
    service.answer(OCSP_TARGET, Reply::Late(Duration::from_secs(2), Vec::new()));
    let patient = settings(&service.url(), &cache);
    let pace = Pace { whole: Duration::from_millis(400), ..patient.pace };
    assert_eq!(refused(&Settings { pace, ..patient }).0, "endorse.timeout");
    Ok(())
}

fn addresses() -> Result<(), Failed> {
    let cache = cache();
    let good = settings("http://127.0.0.1:1", &cache);
    for bad in ["http://rim.attestation.nvidia.com", "ftp://127.0.0.1", "https://a@b.example", "x"] {
        let rim = NvidiaServices { rim: bad.to_owned(), ..good.nvidia.clone() };
        assert_eq!(
            refused(&Settings { nvidia: rim, ..good.clone() }),
            ("endorse.address", EndorseKind::Usage)
        );
    }
    let (service, cache) = (service(), crate::machine::cache());
    let good = settings(&service.url(), &cache);
    let ocsp = NvidiaServices { ocsp: "http://ocsp.ndis.nvidia.com".to_owned(), ..good.nvidia.clone() };
    assert_eq!(refused(&Settings { nvidia: ocsp, ..good }).0, "endorse.address");
    Ok(())
}
