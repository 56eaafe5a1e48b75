//! `POST /kbs/v0/attest`: evidence, one mistake per case.

use axum::body::Body;
use axum::http::{Request, header};
use base64::Engine;
use base64::prelude::BASE64_STANDARD as B64;
use casemate_attest::UnixTime;
use casemate_attest::snp::ProductLine;
use casemate_broker::{BrokerAnchors, MAX_ATTEST_BODY};
use casemate_protocol::kbs::{RuntimeData, TeePubKey, report_data};
use casemate_sim::{CrlMistake, MachineConfig, Vendor};
use serde_json::{Value, json};

use crate::fixture::{Broker, DIGEST, Guest, KEY, NOW, tee_key, vendor};

async fn refused(broker: &Broker, guest: &Guest, body: Value, status: u16, code: &str) {
    broker.attest_with(guest, body.clone()).await.assert_refused(status, code);
    let last = broker.audit().pop().unwrap();
    if last["call"] == "attest" {
        assert_eq!((last["outcome"].as_str(), last["code"].as_str()), (Some("refused"), Some(code)));
    }
    // Nobody gets a key after that, under this cookie.
    let (status, _) = broker.resource(guest, KEY).await.refusal();
    assert_eq!(status, 401);
}

#[tokio::test]
async fn good_evidence_gets_a_token_and_the_same_request_gets_it_again() {
    let broker = Broker::new();
    let guest = broker.guest().await;
    let body = guest.attestation();
    let one = broker.attest_with(&guest, body.clone()).await;
    assert_eq!(one.status, 200, "{}", one.text);
    assert_eq!(one.json().as_object().unwrap().len(), 1);
    let two = broker.attest_with(&guest, body).await;
    assert_eq!((two.status, &two.text), (200, &one.text));
    // Another request under the attested session does not.
    broker.attest(&guest).await.assert_refused(401, "kbs.nonce.used");
    let rows = broker.audit();
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[1]["outcome"], "attested");
    assert_eq!(rows[1]["measurement"], hex::encode(DIGEST));
}

#[tokio::test]
async fn what_is_not_the_message_is_refused_before_the_nonce_is_used() {
    let broker = Broker::new();
    let guest = broker.guest().await;
    let good = guest.attestation();
    let edit = |pointer: &str, value: Value| {
        let mut body = good.clone();
        *body.pointer_mut(pointer).unwrap() = value;
        body.to_string()
    };
    let without = |pointer: &str, member: &str| {
        let mut body = good.clone();
        body.pointer_mut(pointer).unwrap().as_object_mut().unwrap().remove(member).unwrap();
        body.to_string()
    };
    let with = |pointer: &str| {
        let mut body = good.clone();
        body.pointer_mut(pointer).unwrap()["more"] = json!(1);
        body.to_string()
    };
    let twice = good.to_string().replacen(r#""nonce""#, r#""nonce":"x","nonce""#, 1);
    let cases = [
        (String::new(), 400, "kbs.json"),
        ("{}".into(), 400, "kbs.malformed"),
        ("[]".into(), 400, "kbs.malformed"),
        (good.to_string() + "x", 400, "kbs.json"),
        (good.to_string()[..200].into(), 400, "kbs.json"),
        (twice, 400, "kbs.duplicate-member"),
        (with(""), 400, "kbs.malformed"),
        (with("/runtime-data"), 400, "kbs.malformed"),
        (with("/runtime-data/tee-pubkey"), 400, "kbs.malformed"),
        (with("/tee-evidence"), 400, "kbs.malformed"),
        (without("", "runtime-data"), 400, "kbs.malformed"),
        (without("/runtime-data", "nonce"), 400, "kbs.malformed"),
        (without("/tee-evidence", "additional_evidence"), 400, "kbs.malformed"),
        (edit("/runtime-data/nonce", json!(1)), 400, "kbs.malformed"),
        (edit("/runtime-data/tee-pubkey/kty", json!("RSA")), 400, "kbs.malformed"),
        (edit("/tee-evidence/additional_evidence", json!({})), 400, "kbs.malformed"),
        (" ".repeat(MAX_ATTEST_BODY + 1), 413, "kbs.body"),
    ];
    for (body, status, code) in cases {
        let answer = broker.post("/kbs/v0/attest", Some(&guest.cookie), body.clone()).await;
        assert_eq!(answer.refusal(), (status, code.to_owned()), "{body:.200}");
    }
    // The challenge is still there.
    assert_eq!(broker.attest_with(&guest, good).await.status, 200);
}

#[tokio::test]
async fn a_session_is_named_by_one_cookie_of_ours() {
    let broker = Broker::new();
    let guest = broker.guest().await;
    let body = guest.attestation().to_string();
    let id = guest.cookie.strip_prefix("kbs-session-id=").unwrap();
    let post = |cookies: Vec<String>| {
        let mut request = Request::post("/kbs/v0/attest");
        for cookie in cookies {
            request = request.header(header::COOKIE, cookie);
        }
        broker.send(request.body(Body::from(body.clone())).unwrap())
    };
    let zeros = "0".repeat(32);
    for (cookies, code) in [
        (vec![], "kbs.session.missing"),
        (vec!["other=1".into()], "kbs.session.missing"),
        (vec![format!("KBS-SESSION-ID={id}")], "kbs.session.missing"),
        (vec![format!("kbs-session-id={zeros}")], "kbs.session.unknown"),
        (vec!["kbs-session-id=".into()], "kbs.session.unknown"),
        (vec![format!("kbs-session-id={}", id.to_uppercase())], "kbs.session.unknown"),
        (vec![format!("kbs-session-id=\"{id}\"")], "kbs.session.unknown"),
        (vec![format!("kbs-session-id={id}0")], "kbs.session.unknown"),
        (vec![format!("kbs-session-id={id}; kbs-session-id={zeros}")], "kbs.session.ambiguous"),
        (vec![guest.cookie.clone(), guest.cookie.clone()], "kbs.session.ambiguous"),
    ] {
        // An id of digits only is its own upper case.
        if id.to_uppercase() != id || !cookies.iter().any(|cookie| cookie.ends_with(&id.to_uppercase())) {
            post(cookies).await.assert_refused(401, code);
        }
    }
    assert_eq!(post(vec![format!("a=b; kbs-session-id={id} ;c=d")]).await.status, 200);
}

#[tokio::test]
async fn a_nonce_is_for_one_session_and_one_use() {
    let broker = Broker::new();
    // Replayed in another session: good evidence, but not this session's nonce.
    let (one, two) = (broker.guest().await, broker.guest().await);
    let replayed = one.attestation();
    assert_eq!(broker.attest_with(&one, replayed.clone()).await.status, 200);
    refused(&broker, &two, replayed, 401, "kbs.nonce").await;
    // The failed attempt used the nonce up.
    broker.attest(&two).await.assert_refused(401, "kbs.session.unknown");
    // Another session's nonce in good evidence.
    let (three, mut four) = (broker.guest().await, broker.guest().await);
    four.nonce.clone_from(&three.nonce);
    let body = four.attestation();
    refused(&broker, &four, body, 401, "kbs.nonce").await;
}

#[tokio::test]
async fn a_nonce_lives_for_five_minutes() {
    let broker = Broker::new();
    let (one, two) = (broker.guest().await, broker.guest().await);
    broker.at(299);
    assert_eq!(broker.attest(&one).await.status, 200);
    broker.at(300);
    broker.attest(&two).await.assert_refused(401, "kbs.session.expired");
    broker.attest(&two).await.assert_refused(401, "kbs.session.unknown");
}

#[tokio::test]
async fn two_requests_at_once_use_one_nonce_once() {
    let broker = Broker::new();
    let guest = broker.guest().await;
    let (a, b) = (guest.attestation(), guest.attestation());
    let (a, b) = tokio::join!(broker.attest_with(&guest, a), broker.attest_with(&guest, b));
    assert_eq!(
        [a.status, b.status].iter().filter(|status| **status == 200).count(),
        1,
        "{} {}",
        a.text,
        b.text
    );
}

#[tokio::test]
async fn what_the_evidence_does_not_bind_is_refused() {
    let broker = Broker::new();
    let binding = "binding.report-data";
    // Evidence for another key: a thief puts its own key beside somebody's evidence.
    let guest = broker.guest().await;
    let thief = RuntimeData { tee_pubkey: tee_key().public(), ..guest.runtime() };
    let body = guest.attestation_of(&guest.report(), &thief);
    refused(&broker, &guest, body, 401, binding).await;
    // Evidence over another nonce, with the right nonce beside it.
    let guest = broker.guest().await;
    let old = RuntimeData { nonce: "b2xk".into(), ..guest.runtime() };
    let report = guest.machine.report(&report_data(&old, "").unwrap()).unwrap();
    let body = guest.attestation_of(&report, &guest.runtime());
    refused(&broker, &guest, body, 401, binding).await;
    // Evidence that binds nothing, and evidence with one bit behind the hash.
    for byte in [0, 63] {
        let guest = broker.guest().await;
        let mut data = report_data(&guest.runtime(), "").unwrap();
        data[byte] ^= 1;
        let body = guest.attestation_of(&guest.machine.report(&data).unwrap(), &guest.runtime());
        refused(&broker, &guest, body, 401, binding).await;
    }
    let guest = broker.guest().await;
    let body = guest.attestation_of(&guest.machine.report(&[0; 64]).unwrap(), &guest.runtime());
    refused(&broker, &guest, body, 401, binding).await;
}

#[tokio::test]
async fn what_nobody_verifies_is_refused() {
    let broker = Broker::new();
    for (pointer, value, code) in [
        ("/init-data", json!({ "format": "toml", "body": "" }), "kbs.init-data"),
        ("/tee-evidence/additional_evidence", json!("{}"), "binding.report-data"),
        ("/tee-evidence/primary_evidence/endorsements/amd/vek", json!("?"), "kbs.endorsements"),
        ("/tee-evidence/primary_evidence/endorsements/amd/crl", json!("?"), "kbs.endorsements"),
        ("/tee-evidence/primary_evidence/endorsements/amd", json!(null), "kbs.endorsements"),
        ("/tee-evidence/primary_evidence/endorsements/ak", json!(["AA=="]), "kbs.endorsements"),
        ("/tee-evidence/primary_evidence/evidence", json!("?"), "kbs.base64"),
    ] {
        let guest = broker.guest().await;
        let mut body = guest.attestation();
        *body.pointer_mut(pointer).unwrap() = value;
        refused(&broker, &guest, body, 401, code).await;
    }
    let endorsements = json!({ "amd": null, "intel": null });
    for evidence in [
        json!(null),
        json!("x"),
        json!({}),
        json!({ "attestation_report": "", "vek": "", "crl": "" }),
        json!({ "evidence": "", "endorsements": endorsements }),
        json!({ "evidence": "", "endorsements": { "amd": null, "intel": null, "ak": [], "crl": [] }, "more": 1 }),
    ] {
        let guest = broker.guest().await;
        let mut body = guest.attestation();
        body["tee-evidence"]["primary_evidence"] = evidence;
        refused(&broker, &guest, body, 400, "kbs.malformed").await;
    }
}

#[tokio::test]
async fn a_recipient_that_cannot_be_encrypted_to_is_refused_although_bound() {
    let broker = Broker::new();
    let zero = "A".repeat(43);
    let TeePubKey::Ec { x, y, .. } = tee_key().public();
    let ec = |crv: &str, alg: &str, x: &str, y: &str| TeePubKey::Ec {
        crv: crv.into(),
        alg: alg.into(),
        x: x.into(),
        y: y.into(),
    };
    for tee_pubkey in [
        ec("P-256", "ECDH-ES+A256KW", &zero, &zero),
        ec("P-384", "ECDH-ES+A256KW", &x, &y),
        ec("P-256", "RSA1_5", &x, &y),
        ec("P-256", "ECDH-ES+A256KW", &x, &x),
        ec("P-256", "ECDH-ES+A256KW", "", ""),
    ] {
        let guest = broker.guest().await;
        let runtime = RuntimeData { tee_pubkey, ..guest.runtime() };
        let report = guest.machine.report(&report_data(&runtime, "").unwrap()).unwrap();
        let body = guest.attestation_of(&report, &runtime);
        refused(&broker, &guest, body, 401, "jwe.recipient-key").await;
    }
}

#[tokio::test]
async fn evidence_that_is_not_genuine_is_refused() {
    let broker = Broker::new();
    type Spoil = fn(&mut Vec<u8>);
    let cases: [(Spoil, &str); 5] = [
        (|report| report.truncate(1183), "evidence.unknown-format"),
        (|report| report.clear(), "evidence.unknown-format"),
        (|report| report[0x2A0] ^= 1, "snp.signature.invalid"),
        (|report| report[0x90] ^= 1, "snp.signature.invalid"),
        (|report| report[0] = 9, "snp.format.version"),
    ];
    for (spoil, code) in cases {
        let guest = broker.guest().await;
        let mut report = guest.report();
        spoil(&mut report);
        let body = guest.attestation_of(&report, &guest.runtime());
        refused(&broker, &guest, body, 401, code).await;
    }
    // Another machine's certificate.
    let (guest, other) = (broker.guest().await, broker.guest().await);
    let mut body = guest.attestation();
    let amd = &mut body["tee-evidence"]["primary_evidence"]["endorsements"]["amd"];
    amd["vek"] = json!(B64.encode(other.machine.vek_der()));
    refused(&broker, &guest, body, 401, "snp.signature.invalid").await;
}

/// Every 31st byte of a good request, each in a session of its own: one bit changed anywhere gets no token.
#[tokio::test]
async fn one_flipped_bit_anywhere_in_the_request_gets_no_token() {
    let broker = Broker::new();
    let length = broker.guest().await.attestation().to_string().len();
    for at in (0..length).step_by(31) {
        let guest = broker.guest().await;
        let mut body = guest.attestation().to_string().into_bytes();
        let Some(byte) = body.get_mut(at) else { break };
        *byte ^= 1 << (at % 7);
        let flipped =
            String::from_utf8_lossy(&body[at.saturating_sub(20)..(at + 20).min(length)]).into_owned();
        let answer = broker.post("/kbs/v0/attest", Some(&guest.cookie), body).await;
        let (status, code) = answer.refusal();
        assert!(matches!(status, 400 | 401), "byte {at} of {length}, {flipped}: {status} {code}");
    }
}

#[tokio::test]
async fn revocation_is_checked_and_cannot_be_left_out() {
    let broker = Broker::new();
    let past = CrlMistake::Window { this_update: UnixTime(NOW - 20), next_update: UnixTime(NOW - 10) };
    for (mistake, code) in [
        (CrlMistake::RevokesAsk, "crl.revoked"),
        (past, "crl.expired"),
        (CrlMistake::SignedByAsk, "crl.signature"),
    ] {
        let mut guest = broker.guest().await;
        guest.crl = vendor().crl_with(&mistake).unwrap();
        let body = guest.attestation();
        refused(&broker, &guest, body, 401, code).await;
    }
    let mut guest = broker.guest().await;
    guest.crl = Vec::new();
    let body = guest.attestation();
    refused(&broker, &guest, body, 401, "crl.missing").await;
}

#[tokio::test]
async fn guests_below_the_baseline_are_refused() {
    let broker = Broker::new();
    let healthy = || MachineConfig::new(DIGEST);
    let tcb = |snp| {
        let tcb = casemate_sim::Tcb { snp, ..healthy().tcb };
        healthy().with_all_tcbs(tcb)
    };
    for (config, code) in [
        (MachineConfig { policy: healthy().policy | 1 << 19, ..healthy() }, "snp.guest-policy.debug"),
        (
            MachineConfig { policy: healthy().policy | 1 << 18, ..healthy() },
            "snp.guest-policy.migration-agent",
        ),
        (MachineConfig { vmpl: 1, ..healthy() }, "snp.vmpl.not-accepted"),
        (tcb(1), "snp.tcb.below-minimum"),
        (MachineConfig { platform_info: 5, ..healthy() }, "snp.platform.protection-missing"),
    ] {
        let guest = broker.guest_with(&config).await;
        let body = guest.attestation();
        refused(&broker, &guest, body, 401, code).await;
        assert_eq!(broker.audit().pop().unwrap()["measurement"], hex::encode(DIGEST));
    }
}

#[tokio::test]
async fn vendors_anchors_refuse_a_simulator_and_one_simulator_another() {
    let broker = Broker::with_anchors(BrokerAnchors::vendors());
    let guest = broker.guest().await;
    let answer = broker.attest(&guest).await;
    answer.assert_refused(401, "x509.unknown-issuer");

    let other = Vendor::create(ProductLine::Genoa, UnixTime(NOW)).unwrap();
    let broker = Broker::with_anchors(BrokerAnchors::danger_simulated(&other.root_pem()).unwrap());
    let guest = broker.guest().await;
    broker.attest(&guest).await.assert_refused(401, "x509.signature");
}
