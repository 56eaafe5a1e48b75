//! What a running server does when its list ages, and when the service has a bad day.

use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::http::StatusCode;
use casemate_enclave::Source;

use crate::machine::{AGEING, DAY, Device, NEW, OLDER, Server, T, after, run_out, says, start, targets};
use crate::replay::Reply;

/// The first attempt at a list that was due at the start comes within a minute.
const SOON: u64 = 61;

#[tokio::test]
async fn a_list_about_to_run_out_is_renewed_and_carried() {
    let server = Server::start(&AGEING).await;
    assert_eq!(server.carried().await, *AGEING);
    assert_eq!(server.vendor.targets(), targets());
    server.vendor.answer(&targets()[1], Reply::Body(NEW.clone()));
    // Not at once: machines that started together do not ask together.
    assert!(!server.at(T).await);
    assert_eq!(server.vendor.seen().len(), 2);
    assert!(server.at(after(SOON)).await);
    assert_eq!(server.carried().await, *NEW);
    assert_eq!(server.vendor.targets()[2..], [targets()[1].clone()], "the certificate is not due");
    let health = server.get("/health").await;
    assert_eq!(health.status, StatusCode::OK);
    let expected = serde_json::json!({
        "state": "fresh",
        "valid_until": T.0 + 12 * DAY,
        "last_success": T.0 + SOON,
        "last_error_code": null,
    });
    assert_eq!(health.json()["endorsements"], expected);
    // Until the new one is due, nobody is asked.
    for days in 1..8 {
        assert!(!server.at(after(days * DAY)).await);
    }
    assert_eq!(server.vendor.seen().len(), 3);
}

#[tokio::test]
async fn a_service_that_fails_is_reported_and_the_old_set_stays() {
    let server = Server::start(&AGEING).await;
    let crl = &targets()[1];
    server.vendor.answer(crl, Reply::Status(500, ""));
    assert_eq!(server.health().await, says(200, "fresh", None));
    assert!(!server.at(after(SOON)).await);
    assert_eq!(server.health().await, says(200, "refresh_failing", Some("endorse.status")));
    assert_eq!(server.carried().await, *AGEING);
    let metrics = server.get("/metrics").await;
    let metrics = std::str::from_utf8(&metrics.body).expect("text").to_owned();
    for line in [
        format!("casemate_endorsements_valid_until_seconds {}", T.0 + 3 * DAY),
        format!("casemate_endorsements_last_refresh_seconds {}", T.0),
        "casemate_endorsement_refresh_failures_total 1".to_owned(),
    ] {
        assert!(metrics.lines().any(|l| l == line), "{line}\n{metrics}");
    }
    // The service is left alone for half a minute at least.
    assert!(!server.at(after(SOON + 29)).await);
    assert_eq!(server.vendor.seen().len(), 3);

    // A day later it is late, whatever the reason.
    assert!(!server.at(after(DAY)).await);
    assert_eq!(server.health().await, says(200, "expiring", Some("endorse.status")));
    assert_eq!(server.carried().await, *AGEING);

    // It recovers.
    server.vendor.answer(crl, Reply::Body(NEW.clone()));
    assert!(server.at(after(2 * DAY)).await);
    assert_eq!(server.health().await, says(200, "fresh", None));
    assert_eq!(server.carried().await, *NEW);
}

#[tokio::test]
async fn once_run_out_nothing_is_attested_until_a_newer_list_is_there() {
    let server = Server::start(&AGEING).await;
    let crl = &targets()[1];
    server.vendor.answer(crl, Reply::Status(404, ""));
    server.at(after(3 * DAY)).await;
    assert_eq!(server.health().await, says(200, "expiring", Some("endorse.not-found")));
    assert_eq!(server.carried().await, *AGEING, "its last second");
    server.at(after(3 * DAY + 1)).await;
    assert_eq!(server.health().await, says(503, "expired", Some("endorse.not-found")));
    assert_eq!(server.get("/health").await.json()["status"], "expired");
    let asked = server.device.asked.load(Ordering::Relaxed);
    for path in ["/attest".to_owned(), format!("/attest?nonce={}", "00".repeat(32))] {
        let answer = server.get(&path).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (503, "staple.expired"), "{path}");
    }
    assert_eq!(server.device.asked.load(Ordering::Relaxed), asked, "no evidence is made for nothing");
    server.vendor.answer(crl, Reply::Body(NEW.clone()));
    assert!(server.at(after(4 * DAY)).await);
    assert_eq!(server.carried().await, *NEW);
    assert_eq!(server.health().await, says(200, "fresh", None));
}

/// A service, or somebody on the way to it, that gives out a list from before a revocation.
#[tokio::test]
async fn an_older_list_never_takes_the_place_of_a_newer_one() {
    let server = Server::start(&AGEING).await;
    server.vendor.answer(&targets()[1], Reply::Body(OLDER.clone()));
    assert!(!server.at(after(SOON)).await);
    assert_eq!(server.health().await, says(200, "refresh_failing", Some("endorse.answer.older")));
    assert_eq!(server.carried().await, *AGEING);
    // Nor where the cache folder has forgotten the newer one: the disk is the host's.
    std::fs::remove_dir_all(server.cache.path().join("cache")).expect("removed");
    assert!(!server.at(after(3600)).await);
    assert_eq!(server.health().await, says(200, "refresh_failing", Some("staple.older")));
    assert_eq!(server.carried().await, *AGEING);
}

#[tokio::test]
async fn what_a_service_can_answer_instead_has_its_name() {
    let revoked = casemate_sim::CrlMistake::RevokesAsk;
    let revoked = crate::machine::VENDOR.crl_with(&revoked).expect("a list");
    let cases: Vec<(&str, Reply, &str)> = vec![
        ("a page", Reply::Body(b"<html>Down for maintenance</html>".to_vec()), "endorse.answer.form"),
        ("nothing", Reply::Body(Vec::new()), "endorse.answer.form"),
        ("half a list", Reply::Truncated(NEW.clone()), "endorse.unreachable"),
        ("an hour later", Reply::Late(Duration::from_secs(3600), NEW.clone()), "endorse.timeout"),
        ("elsewhere", Reply::Status(302, "Location: http://127.0.0.1:1/"), "endorse.redirect"),
        ("too many requests", Reply::Status(429, "Retry-After: 3000"), "endorse.busy"),
        ("a list that has run out", Reply::Body(run_out()), "endorse.answer.out-of-date"),
        ("a list that names our issuer", Reply::Body(revoked), "crl.revoked"),
    ];
    for (name, reply, code) in cases {
        let server = Server::start(&AGEING).await;
        server.vendor.answer(&targets()[1], reply);
        assert!(!server.at(after(SOON)).await, "{name}");
        assert_eq!(server.health().await, says(200, "refresh_failing", Some(code)), "{name}");
        assert_eq!(server.carried().await, *AGEING, "{name}");
        // And then it works again.
        server.vendor.answer(&targets()[1], Reply::Body(NEW.clone()));
        let later = after(SOON + 3600);
        let renewed = server.at(later).await;
        // Who asked for a long wait is waited for, in the time of this machine.
        assert_eq!(renewed, code != "endorse.busy", "{name}");
    }
}

/// STAPLE-09: no client without a nonce costs the device anything.
#[tokio::test]
async fn the_ready_document_asks_no_device() {
    let server = Server::start(&NEW).await;
    let asked = || server.device.asked.load(Ordering::Relaxed);
    let before = asked();
    let first = server.get("/attest").await.body;
    for _ in 0..20 {
        assert_eq!(server.get("/attest").await.body, first);
    }
    assert_eq!(asked(), before);
    server.get(&format!("/attest?nonce={}", "01".repeat(32))).await;
    assert_eq!(asked(), before + 1);
    // Its statement is good for an hour, and not served after it; the next one is another.
    server.clock(after(3599));
    assert_eq!(server.get("/attest").await.body, first);
    server.clock(after(3600));
    let answer = server.get("/attest").await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (503, "attestation.not-ready"));
    server.service.restaple().expect("a document");
    assert_ne!(server.get("/attest").await.body, first);
}

/// An attestation result that would run out while the document is served is not in it.
#[tokio::test]
async fn the_ready_document_carries_no_result_that_runs_out_meanwhile() {
    let server = Server::start(&NEW).await;
    server.service.set_token("a.b.c".to_owned()).expect("taken");
    for (seconds, token) in [(0, true), (239, true), (240, false), (299, false)] {
        server.clock(after(seconds));
        server.service.restaple().expect("a document");
        assert_eq!(server.get("/attest").await.json()["token"].is_string(), token, "{seconds}");
    }
    server.clock(after(299));
    let nonce = format!("/attest?nonce={}", "02".repeat(32));
    assert!(server.get(&nonce).await.json()["token"].is_string());
    server.clock(after(300));
    assert!(server.get(&nonce).await.json()["token"].is_null());
}

/// Nobody is asked where nobody may be: the machine says that it runs out, and why clients will refuse it.
#[tokio::test]
async fn without_a_service_the_end_is_announced() {
    let bundle = casemate_attest::endorse::EndorsementBundle::default()
        .with_amd(crate::machine::chip().vek_der().to_vec(), AGEING.clone());
    let stapler =
        start(Source::Given(Box::new(bundle)), Device::bringing(None, None)).await.expect("endorsed");
    let staples = stapler.staples();
    for (now, state) in [
        (T, "fresh"),
        (after(SOON), "fresh"),
        (after(DAY), "expiring"),
        (after(3 * DAY), "expiring"),
        (after(3 * DAY + 1), "expired"),
        // The self-check comes again after ten minutes at most, fails, and says so.
        (after(3 * DAY + 700), "expired"),
    ] {
        stapler.step(now).await;
        let health = serde_json::to_value(staples.health(now)).expect("JSON");
        assert_eq!(health["state"], state, "{now}");
    }
    let health = staples.health(after(3 * DAY + 700));
    assert_eq!(health.last_error_code, Some("crl.expired"));
    assert_eq!(health.failures_total, 1);
}
