//! What a service can do, and what is done then. The evidence is a simulated vendor's.

use std::time::{Duration, Instant};

use casemate_attest::endorse::EndorsementBundle;
use casemate_attest::snp::ProductLine;
use casemate_attest::{UnixTime, verify};
use casemate_endorse::{EndorseError, EndorseKind, Known, Notice, Origin, Settings};
use casemate_sim::{CrlMistake, Vendor};
use libtest_mimic::Failed;

use crate::machine::{Made, NOW, cache, genoa, run, settings, settings_in, turin};
use crate::replay::{Replay, Reply};

type Case = (&'static str, fn() -> Result<(), Failed>);

pub(crate) const CASES: &[Case] = &[
    ("simulated Genoa: fetched, written, read, verified", || round_trip(genoa())),
    ("simulated Turin: fetched, written, read, verified", || round_trip(turin())),
    ("the second fetch asks nobody, and the third offline", no_second_request),
    ("offline with an empty cache", offline_empty),
    ("offline with a list that has run out", offline_stale),
    ("online with a list that has run out: only the list is asked for", refetch_stale),
    ("a damaged file of the cache is fetched again, and refused offline", damaged),
    ("two vendors of one line and one cache", two_vendors),
    ("a chip that the list names is refused, and stays refused", revoked),
    ("a redirection is not followed", redirection),
    ("404", || code(Reply::Status(404, ""), "endorse.not-found", EndorseKind::Undecidable)),
    ("500", || code(Reply::Status(500, ""), "endorse.status", EndorseKind::Undecidable)),
    ("204", || code(Reply::Status(204, ""), "endorse.status", EndorseKind::Undecidable)),
    ("an answer cut short", || {
        code(Reply::Truncated(genoa().vek.clone()), "endorse.unreachable", EndorseKind::Unreachable)
    }),
    ("an answer one byte too long", || {
        code(Reply::Body(vec![0; (1 << 20) + 1]), "endorse.answer.too-long", EndorseKind::Undecidable)
    }),
    ("the longest answer that is read is still no certificate", || {
        code(Reply::Body(vec![0; 1 << 20]), "x509.too-long", EndorseKind::Rejected)
    }),
    ("an empty answer", || code(Reply::Body(Vec::new()), "x509.missing", EndorseKind::Undecidable)),
    ("a page instead of a certificate", || {
        code(Reply::Body(b"<html></html>".to_vec()), "x509.malformed", EndorseKind::Rejected)
    }),
    ("a list instead of a certificate", || {
        code(Reply::Body(genoa().crl.clone()), "x509.malformed", EndorseKind::Rejected)
    }),
    ("another line's certificate", || {
        code(Reply::Body(turin().vek.clone()), "snp.product.mismatch", EndorseKind::Rejected)
    }),
    ("a certificate instead of a list", || list(genoa().vek.clone(), "endorse.answer.form")),
    ("a page instead of a list", || list(b"<html></html>".to_vec(), "endorse.answer.form")),
    ("another line's list", || list(turin().crl.clone(), "crl.issuer")),
    ("a list with a byte after it", || list([&genoa().crl[..], &[0]].concat(), "endorse.answer.form")),
    ("a list with a flipped bit", flipped_list),
    ("nobody listens", nobody),
    ("a slow answer", slow),
    ("429 with a time is honoured", retry_after),
    ("429 with a date is honoured", retry_after_date),
    ("429 that asks for no wait, for ever, is not hammered", no_wait),
    ("503 without a time backs off, twice as long each time", backoff),
    ("503 for ever ends", unavailable),
    ("429 with a long time ends at once, and closes the host to the next fetch", long_refusal),
    ("the interval is kept, by two fetches at once", two_at_once),
    ("the interval is kept, by two processes at once", two_processes),
    ("the interval is another host's", other_host),
    ("a wait is told", told),
    ("an address without TLS", address),
    ("TLS by an unknown authority, and by a known one", tls),
    ("evidence with a flipped bit gets no bundle, and costs no second request", flipped_evidence),
];

fn round_trip(made: &Made) -> Result<(), Failed> {
    let (service, cache) = (made.service(), cache());
    let fetched = made.fetch(&settings(&service.url(), &cache))?;
    assert_eq!(service.targets(), made.targets);
    assert!(fetched.simulated);
    assert!(service.seen().iter().all(|seen| seen.head.to_lowercase().contains("user-agent: casemate/")));
    let file = fetched.bundle.to_bytes()?;
    let bundle = EndorsementBundle::parse(&file)?;
    let evidence = made.evidence();
    let authentic = verify(&evidence, &bundle.endorsements(&evidence)?, &made.anchors(), NOW)?;
    assert_eq!(authentic.valid_until(), fetched.valid_until);
    assert!(!file.windows(made.vek.len()).any(|window| window == made.vek), "base64");
    Ok(())
}

fn no_second_request() -> Result<(), Failed> {
    let (service, cache) = (genoa().service(), cache());
    let mut settings = settings(&service.url(), &cache);
    let first = genoa().fetch(&settings)?;
    assert!(first.items.iter().all(|item| item.origin == Origin::Service));
    let second = genoa().fetch(&settings)?;
    settings.offline = true;
    settings.kds = "https://kds.invalid".to_owned();
    let third = genoa().fetch(&settings)?;
    assert_eq!(service.seen().len(), 2);
    for again in [second, third] {
        assert_eq!(again.bundle, first.bundle);
        assert_eq!(again.items.len(), 2);
        assert!(again.items.iter().all(|item| item.origin == Origin::Cache));
    }
    Ok(())
}

fn offline_empty() -> Result<(), Failed> {
    let (service, cache) = (genoa().service(), cache());
    let settings = Settings { offline: true, ..settings(&service.url(), &cache) };
    let error = genoa().fetch(&settings).expect_err("nothing is there");
    assert_eq!((error.code(), error.kind()), ("endorse.cache.missing", EndorseKind::Undecidable));
    assert!(service.seen().is_empty());
    assert_eq!(std::fs::read_dir(cache.path())?.count(), 0, "a folder that is only read is not written");
    Ok(())
}

/// The simulated list holds for a year.
const IN_TWO_YEARS: UnixTime = UnixTime(NOW.0 + 2 * 366 * 86_400);

fn offline_stale() -> Result<(), Failed> {
    let (service, cache) = (genoa().service(), cache());
    let mut settings = settings(&service.url(), &cache);
    genoa().fetch(&settings)?;
    settings.offline = true;
    let error = genoa().fetch_at(&settings, IN_TWO_YEARS).expect_err("out of date");
    assert_eq!((error.code(), error.kind()), ("endorse.cache.stale", EndorseKind::Undecidable));
    assert!(error.to_string().contains("simulated/amd/crl/vcek/Genoa"), "{error}");
    Ok(())
}

fn refetch_stale() -> Result<(), Failed> {
    let (service, cache) = (genoa().service(), cache());
    let settings = settings(&service.url(), &cache);
    genoa().fetch(&settings)?;
    // The service has no newer one.
    let error = genoa().fetch_at(&settings, IN_TWO_YEARS).expect_err("out of date");
    assert_eq!((error.code(), error.kind()), ("endorse.answer.out-of-date", EndorseKind::Undecidable));
    assert_eq!(service.targets()[2..], [genoa().targets[1].clone()]);
    Ok(())
}

fn damaged() -> Result<(), Failed> {
    let (service, cache) = (genoa().service(), cache());
    let mut settings = settings(&service.url(), &cache);
    let first = genoa().fetch(&settings)?;
    let file = cache.path().join("simulated/amd/crl/vcek/Genoa.json");
    let mut bytes = std::fs::read(&file)?;
    bytes[100] ^= 1;
    std::fs::write(&file, &bytes)?;
    settings.offline = true;
    let error = genoa().fetch(&settings).expect_err("damaged");
    assert_eq!((error.code(), error.kind()), ("endorse.cache.damaged", EndorseKind::Undecidable));
    settings.offline = false;
    let (again, notices) = run(&genoa().evidence(), &Known::default(), &genoa().anchors(), NOW, &settings);
    assert_eq!(again?.bundle, first.bundle);
    assert_eq!(notices, [Notice::Damaged { name: "simulated/amd/crl/vcek/Genoa".to_owned() }]);
    assert_eq!(service.targets()[2..], [genoa().targets[1].clone()]);
    assert_eq!(genoa().fetch(&settings)?.bundle, first.bundle);
    assert_eq!(service.seen().len(), 3);
    Ok(())
}

/// The list in the cache is another root's: it is fetched again, and offline it does not serve.
fn two_vendors() -> Result<(), Failed> {
    let other = Made::of(&Vendor::create(ProductLine::Genoa, NOW)?, [8; 48]);
    let (service, other_service, cache) = (genoa().service(), other.service(), cache());
    genoa().fetch(&settings(&service.url(), &cache))?;
    other.fetch(&settings(&other_service.url(), &cache))?;
    assert_eq!(other_service.seen().len(), 2);
    let offline = Settings { offline: true, ..settings(&service.url(), &cache) };
    let error = genoa().fetch(&offline).expect_err("another vendor's");
    assert_eq!((error.code(), error.kind()), ("endorse.cache.stale", EndorseKind::Undecidable));
    other.fetch(&offline)?;
    Ok(())
}

fn revoked() -> Result<(), Failed> {
    let vendor = Vendor::create(ProductLine::Genoa, NOW)?;
    let listed = vendor.crl_with(&CrlMistake::RevokesVek)?;
    let made = Made::of(&vendor, [7; 48]);
    let (service, cache) = (made.service(), cache());
    service.answer(&made.targets[1], Reply::Body(listed));
    for _ in 0..2 {
        let error = made.fetch(&settings(&service.url(), &cache)).expect_err("revoked");
        assert_eq!((error.code(), error.kind()), ("crl.revoked", EndorseKind::Rejected));
    }
    assert!(!cache.path().join("simulated/amd/crl").exists());
    Ok(())
}

fn redirection() -> Result<(), Failed> {
    let service = genoa().service_with(Reply::Status(302, "Location: /elsewhere"));
    service.answer("/elsewhere", Reply::Body(genoa().vek.clone()));
    let cache = cache();
    let error = genoa().fetch(&settings(&service.url(), &cache)).expect_err("not followed");
    assert_eq!((error.code(), error.kind()), ("endorse.redirect", EndorseKind::Undecidable));
    assert_eq!(service.seen().len(), 1);
    Ok(())
}

/// One answer for the certificate; nothing of it is kept.
fn code(reply: Reply, expected: &str, kind: EndorseKind) -> Result<(), Failed> {
    let (service, cache) = (genoa().service_with(reply), cache());
    let error = genoa().fetch(&settings(&service.url(), &cache)).expect_err("must be refused");
    assert_eq!((error.code(), error.kind()), (expected, kind));
    assert_eq!(service.seen().len(), 1, "asked once, and not for the list");
    assert!(!cache.path().join("simulated").exists(), "nothing is kept");
    Ok(())
}

/// One answer for the list: the certificate is kept, the list is not.
fn list(body: Vec<u8>, expected: &str) -> Result<(), Failed> {
    let (service, cache) = (genoa().service(), cache());
    service.answer(&genoa().targets[1], Reply::Body(body));
    let error = genoa().fetch(&settings(&service.url(), &cache)).expect_err("must be refused");
    assert_eq!(error.code(), expected);
    assert!(cache.path().join("simulated/amd/vcek").exists());
    assert!(!cache.path().join("simulated/amd/crl").exists());
    Ok(())
}

fn flipped_list() -> Result<(), Failed> {
    let mut crl = genoa().crl.clone();
    let last = crl.len() - 1;
    crl[last] ^= 1;
    list(crl, "crl.signature")
}

fn nobody() -> Result<(), Failed> {
    let cache = cache();
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let error = genoa().fetch(&settings(&format!("http://127.0.0.1:{port}"), &cache)).expect_err("nobody");
    assert_eq!((error.code(), error.kind()), ("endorse.unreachable", EndorseKind::Unreachable));
    Ok(())
}

fn slow() -> Result<(), Failed> {
    let (service, cache) =
        (genoa().service_with(Reply::Late(Duration::from_secs(3), genoa().vek.clone())), cache());
    let mut settings = settings(&service.url(), &cache);
    settings.pace.timeout = Duration::from_millis(300);
    let error = genoa().fetch(&settings).expect_err("too slow");
    assert_eq!((error.code(), error.kind()), ("endorse.timeout", EndorseKind::Unreachable));
    Ok(())
}

fn retry_after() -> Result<(), Failed> {
    let vek = Reply::Body(genoa().vek.clone());
    let service = genoa().service_with(Reply::Then(vec![Reply::Status(429, "Retry-After: 1"), vek]));
    let cache = cache();
    genoa().fetch(&settings(&service.url(), &cache))?;
    let seen = service.seen();
    assert_eq!(seen.len(), 3);
    let waited = seen[1].at - seen[0].at;
    assert!(waited >= Duration::from_millis(990), "{waited:?}");
    Ok(())
}

fn retry_after_date() -> Result<(), Failed> {
    // A date that has passed asks for no wait; an eighth of the wait without a date is kept all the same.
    let vek = Reply::Body(genoa().vek.clone());
    let past = Reply::Status(503, "Retry-After: Sun, 06 Nov 1994 08:49:37 GMT");
    let (service, cache) = (genoa().service_with(Reply::Then(vec![past, vek])), cache());
    let mut settings = settings(&service.url(), &cache);
    settings.pace.backoff = Duration::from_secs(4);
    genoa().fetch(&settings)?;
    let seen = service.seen();
    assert_eq!(seen.len(), 3);
    let waited = seen[1].at - seen[0].at;
    assert!((490..3000).contains(&waited.as_millis()), "{waited:?}");
    Ok(())
}

fn no_wait() -> Result<(), Failed> {
    let (service, cache) = (genoa().service_with(Reply::Status(429, "Retry-After: 0")), cache());
    let mut settings = settings(&service.url(), &cache);
    settings.pace.backoff = Duration::from_millis(800);
    settings.pace.longest_wait = Duration::from_secs(10);
    settings.pace.patience = Duration::from_millis(1500);
    let error = genoa().fetch(&settings).expect_err("never");
    assert_eq!(error.code(), "endorse.busy");
    // 100, 200, 400 and 800 ms apart.
    assert!((3..=5).contains(&service.seen().len()), "{}", service.seen().len());
    Ok(())
}

fn backoff() -> Result<(), Failed> {
    let refused = Reply::Status(503, "");
    let vek = Reply::Body(genoa().vek.clone());
    let replies = vec![refused.clone(), refused.clone(), refused.clone(), refused, vek];
    let (service, cache) = (genoa().service_with(Reply::Then(replies)), cache());
    genoa().fetch(&settings(&service.url(), &cache))?;
    let seen = service.seen();
    for (index, least) in [100, 200, 400, 400].into_iter().enumerate() {
        let waited = seen[index + 1].at - seen[index].at;
        assert!(waited >= Duration::from_millis(least - 5), "{index}: {waited:?}");
        assert!(waited < Duration::from_millis(least + 2000), "{index}: {waited:?}");
    }
    Ok(())
}

fn unavailable() -> Result<(), Failed> {
    let (service, cache) = (genoa().service_with(Reply::Status(503, "")), cache());
    let mut settings = settings(&service.url(), &cache);
    settings.pace.patience = Duration::from_millis(500);
    let began = Instant::now();
    let error = genoa().fetch(&settings).expect_err("never");
    assert_eq!((error.code(), error.kind()), ("endorse.busy", EndorseKind::Unreachable));
    assert!(began.elapsed() < Duration::from_secs(3));
    assert!((2..=4).contains(&service.seen().len()), "{}", service.seen().len());
    Ok(())
}

fn long_refusal() -> Result<(), Failed> {
    let (service, cache) = (genoa().service_with(Reply::Status(429, "Retry-After: 600")), cache());
    let settings = settings(&service.url(), &cache);
    for _ in 0..2 {
        let error = genoa().fetch(&settings).expect_err("busy");
        assert_eq!(error.code(), "endorse.busy");
        let EndorseError::Busy { seconds, .. } = error else { panic!("{error}") };
        assert!((590..=600).contains(&seconds), "{seconds}");
    }
    assert_eq!(service.seen().len(), 1);
    Ok(())
}

fn two_at_once() -> Result<(), Failed> {
    let (service, cache) = (genoa().service(), cache());
    let mut settings = settings(&service.url(), &cache);
    settings.pace.interval = Duration::from_millis(400);
    std::thread::scope(|scope| {
        let fetches: Vec<_> = (0..2).map(|_| scope.spawn(|| genoa().fetch(&settings))).collect();
        for fetch in fetches {
            fetch.join().expect("no panic").expect("fetched");
        }
    });
    let seen = service.seen();
    assert!((2..=4).contains(&seen.len()), "{}", seen.len());
    for pair in seen.windows(2) {
        let distance = pair[1].at - pair[0].at;
        assert!(distance >= Duration::from_millis(390), "{distance:?}");
    }
    Ok(())
}

fn two_processes() -> Result<(), Failed> {
    let (service, folder) = (genoa().service(), cache());
    std::fs::write(folder.path().join("report"), &genoa().report)?;
    std::fs::write(folder.path().join("roots"), &genoa().roots)?;
    let child = || {
        std::process::Command::new(std::env::current_exe()?)
            .env(CHILD, folder.path())
            .env(CHILD_SERVICE, service.url())
            .spawn()
    };
    let children = [child()?, child()?];
    for mut child in children {
        assert!(child.wait()?.success());
    }
    let seen = service.seen();
    assert!((2..=4).contains(&seen.len()), "{}", seen.len());
    for pair in seen.windows(2) {
        let distance = pair[1].at - pair[0].at;
        assert!(distance >= CHILD_INTERVAL - Duration::from_millis(10), "{distance:?}");
    }
    Ok(())
}

/// Names the folder to a process that this test started.
const CHILD: &str = "CASEMATE_TEST_ENDORSE_FOLDER";
const CHILD_SERVICE: &str = "CASEMATE_TEST_ENDORSE_SERVICE";
const CHILD_INTERVAL: Duration = Duration::from_millis(600);

/// What such a process does, instead of running the cases; `None` where this is no such process.
pub(crate) fn child() -> Option<bool> {
    let folder = std::path::PathBuf::from(std::env::var_os(CHILD)?);
    let service = std::env::var(CHILD_SERVICE).ok()?;
    let report = std::fs::read(folder.join("report")).ok()?;
    let roots = std::fs::read_to_string(folder.join("roots")).ok()?;
    let mut settings = settings_in(&service, folder.join("cache"));
    settings.pace.interval = CHILD_INTERVAL;
    let evidence = casemate_attest::Evidence::parse(&report).ok()?;
    let anchors = casemate_attest::TrustAnchors::danger_only_pem(&roots).ok()?;
    Some(run(&evidence, &Known::default(), &anchors, NOW, &settings).0.is_ok())
}

fn other_host() -> Result<(), Failed> {
    let (service, cache) = (genoa().service(), cache());
    let mut settings = settings(&service.url(), &cache);
    settings.pace.interval = Duration::from_secs(60);
    settings.pace.host = "kdsintf.amd.com";
    genoa().fetch(&settings)?;
    assert_eq!(service.seen().len(), 2);
    Ok(())
}

fn told() -> Result<(), Failed> {
    let (service, cache) = (genoa().service(), cache());
    let mut settings = settings(&service.url(), &cache);
    settings.pace.interval = Duration::from_millis(2100);
    let (fetched, notices) = run(&genoa().evidence(), &Known::default(), &genoa().anchors(), NOW, &settings);
    fetched?;
    let host = service.url().trim_start_matches("http://").to_owned();
    assert_eq!(notices, [Notice::Waiting { host, seconds: 3 }]);
    Ok(())
}

fn address() -> Result<(), Failed> {
    let cache = cache();
    for bad in ["http://kdsintf.amd.com", "kdsintf.amd.com", "https://a@kdsintf.amd.com"] {
        let error = genoa().fetch(&settings(bad, &cache)).expect_err("not an address");
        assert_eq!((error.code(), error.kind()), ("endorse.address", EndorseKind::Usage), "{bad}");
    }
    Ok(())
}

fn tls() -> Result<(), Failed> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der())?;
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)?;
    let [vcek, crl] = genoa().targets.clone();
    let answers = [(vcek, Reply::Body(genoa().vek.clone())), (crl, Reply::Body(genoa().crl.clone()))];
    let (service, cache) = (Replay::start_tls(answers, std::sync::Arc::new(config)), cache());
    let mut settings = settings(&service.url(), &cache);
    let error = genoa().fetch(&settings).expect_err("an unknown authority");
    assert_eq!(error.code(), "endorse.unreachable");
    assert!(service.seen().is_empty());
    for bad in ["", "no certificate", "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"] {
        settings.authorities = Some(bad.as_bytes().to_vec());
        let error = genoa().fetch(&settings).expect_err("no authority");
        assert_eq!((error.code(), error.kind()), ("endorse.client", EndorseKind::Usage), "{bad}");
    }
    settings.authorities = Some(made.cert.pem().into_bytes());
    genoa().fetch(&settings)?;
    assert_eq!(service.seen().len(), 2);
    Ok(())
}

fn flipped_evidence() -> Result<(), Failed> {
    let (service, cache) = (genoa().service(), cache());
    let settings = settings(&service.url(), &cache);
    genoa().fetch(&settings)?;
    let mut report = genoa().report.clone();
    report[0x90] ^= 1; // MEASUREMENT
    let evidence = casemate_attest::Evidence::parse(&report)?;
    let (fetched, _) = run(&evidence, &Known::default(), &genoa().anchors(), NOW, &settings);
    let error = fetched.expect_err("not genuine");
    assert_eq!((error.code(), error.kind()), ("snp.signature.invalid", EndorseKind::Rejected));
    assert_eq!(service.seen().len(), 2);
    Ok(())
}
