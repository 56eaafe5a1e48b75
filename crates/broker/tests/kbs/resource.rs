//! `GET /kbs/v0/resource/<repository>/<type>/<tag>`: who gets a key.

use axum::http::header;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as B64URL;
use casemate_attest::UnixTime;
use casemate_broker::policy::CLAIM_HOST_DATA;
use casemate_sim::{CrlMistake, MachineConfig};
use serde_json::{Value, json};

use crate::fixture::{
    Broker, DIGEST, KEY, NOW, SECRET, UUID, auth_body, pinned_policy, policy_with, tee_key, vendor,
};

#[tokio::test]
async fn an_attested_guest_gets_its_key_by_cookie_and_by_token() {
    let broker = Broker::new();
    let (guest, token) = broker.attested().await;
    let by_cookie = broker.resource(&guest, KEY).await.jwe();
    let bearer = format!("Bearer {token}");
    let path = format!("/kbs/v0/resource/{KEY}");
    let by_token = broker.get(&path, &[(header::AUTHORIZATION, &bearer)]).await.jwe();
    assert_ne!(by_cookie, by_token, "every answer is encrypted anew");
    assert_eq!(tee_key().open(&by_cookie).unwrap_err().code(), "jwe.not-authentic");
    assert_eq!(guest.key.open(&by_token).unwrap().as_slice(), SECRET);

    let rows = broker.audit();
    let row = |call: &str, outcome: &str| {
        let found: Vec<&Value> =
            rows.iter().filter(|row| row["call"] == call && row["outcome"] == outcome).collect();
        (found.len(), found[0].clone())
    };
    let (released, one) = row("resource", "released");
    let (attested, two) = row("attest", "attested");
    assert_eq!((rows.len(), released, attested), (4, 2, 1));
    assert_eq!((one["resource"].as_str(), one["code"].as_str()), (Some(KEY), Some("ok")));
    assert_eq!((&one["session"], &one["evidence_sha256"]), (&two["session"], &two["evidence_sha256"]));
    assert_eq!(one["measurement"], hex::encode(DIGEST));
    // Nothing in the log opens anything.
    let text = serde_json::to_string(&rows).unwrap();
    let id = guest.cookie.strip_prefix("kbs-session-id=").unwrap();
    let signature = token.rsplit('.').next().unwrap();
    for secret in [id, signature, &hex::encode(SECRET), std::str::from_utf8(SECRET).unwrap()] {
        assert!(!text.contains(secret), "{secret}");
    }
}

#[tokio::test]
async fn one_mistake_each_gets_no_key() {
    let broker = Broker::new();
    let (guest, token) = broker.attested().await;
    let path = format!("/kbs/v0/resource/{KEY}");
    let unattested = broker.guest().await;
    // A token with another signature of the same length, and one in another's name.
    let mut parts: Vec<String> = token.split('.').map(str::to_owned).collect();
    parts[2] = B64URL.encode([1; 64]);
    let forged = parts.join(".");
    let header_none = B64URL.encode(r#"{"alg":"none","typ":"JWT"}"#);
    let none = format!("{header_none}.{}.", token.split('.').nth(1).unwrap());
    let other = Broker::new();
    let (_, foreign) = other.attested().await;

    let bearer = |token: &str| (header::AUTHORIZATION, format!("Bearer {token}"));
    let cookie = |cookie: &str| (header::COOKIE, cookie.to_owned());
    let zeros = format!("kbs-session-id={}", "0".repeat(32));
    for (headers, code) in [
        (vec![], "kbs.session.missing"),
        (vec![cookie(&zeros)], "kbs.session.unknown"),
        (vec![cookie(&unattested.cookie)], "kbs.session.not-attested"),
        (vec![cookie(&guest.cookie), cookie(&zeros)], "kbs.session.ambiguous"),
        (vec![bearer("")], "kbs.session.unknown"),
        (vec![bearer("a.b.c")], "kbs.session.unknown"),
        (vec![bearer(&forged)], "kbs.session.unknown"),
        (vec![bearer(&none)], "kbs.session.unknown"),
        (vec![bearer(&foreign)], "kbs.session.unknown"),
        (vec![bearer(&format!("{token} "))], "kbs.session.unknown"),
        (vec![(header::AUTHORIZATION, format!("bearer {token}"))], "kbs.session.missing"),
        (vec![(header::AUTHORIZATION, format!("Basic {token}"))], "kbs.session.missing"),
        (vec![bearer(&token), bearer(&token)], "kbs.session.ambiguous"),
        // A bad token is not rescued by a good cookie.
        (vec![bearer(&forged), cookie(&guest.cookie)], "kbs.session.unknown"),
    ] {
        let headers: Vec<(header::HeaderName, &str)> =
            headers.iter().map(|(name, value)| (name.clone(), value.as_str())).collect();
        // Header values lose white space at their ends on a real wire; here they do not.
        broker.get(&path, &headers).await.assert_refused(401, code);
    }
    assert_eq!(broker.resource(&guest, KEY).await.status, 200);
}

#[tokio::test]
async fn paths_that_name_no_key_are_not_found() {
    let broker = Broker::new();
    let (guest, _) = broker.attested().await;
    for path in [
        "a",
        "a/b",
        "a/b/c/d",
        "a//c",
        "models/smollm2/%31",
        "models/smollm2/1/",
        "a/b/.c",
        "models%2Fsmollm2/1/x",
    ] {
        broker.resource(&guest, path).await.assert_refused(404, "release.path");
    }
    for path in ["models/smollm2/2", "models/SMOLLM2/1"] {
        broker.resource(&guest, path).await.assert_refused(404, "release.key.missing");
    }
    // A query selects nothing.
    assert_eq!(broker.resource(&guest, &format!("{KEY}?version=0")).await.status, 200);
    // Whoever is not attested does not learn which keys there are.
    let stranger = broker.guest().await;
    for path in [KEY, "models/smollm2/2"] {
        broker.resource(&stranger, path).await.assert_refused(401, "kbs.session.not-attested");
    }
}

#[tokio::test]
async fn a_session_ends_five_minutes_after_its_evidence() {
    let broker = Broker::new();
    let guest = broker.guest().await;
    broker.at(200);
    let token = broker.attest(&guest).await.json()["token"].as_str().unwrap().to_owned();
    let bearer = format!("Bearer {token}");
    let path = format!("/kbs/v0/resource/{KEY}");
    broker.at(499);
    assert_eq!(broker.resource(&guest, KEY).await.status, 200);
    assert_eq!(broker.get(&path, &[(header::AUTHORIZATION, &bearer)]).await.status, 200);
    broker.at(500);
    broker.get(&path, &[(header::AUTHORIZATION, &bearer)]).await.assert_refused(401, "kbs.session.expired");
    broker.resource(&guest, KEY).await.assert_refused(401, "kbs.session.unknown");
}

#[tokio::test]
async fn evidence_that_ends_within_the_session_opens_nothing_more() {
    let broker = Broker::new();
    let mut guest = broker.guest().await;
    let window = CrlMistake::Window { this_update: UnixTime(NOW - 20), next_update: UnixTime(NOW + 60) };
    guest.crl = vendor().crl_with(&window).unwrap();
    assert_eq!(broker.attest(&guest).await.status, 200);
    broker.at(59);
    assert_eq!(broker.resource(&guest, KEY).await.status, 200);
    broker.at(61);
    broker.resource(&guest, KEY).await.assert_refused(401, "release.evidence.expired");
}

#[tokio::test]
async fn a_key_goes_to_the_machine_that_its_policy_names_and_to_no_other() {
    let broker = Broker::new();
    let other = MachineConfig::new([0xac; 48]);
    let guest = broker.guest_with(&other).await;
    assert_eq!(broker.attest(&guest).await.status, 200, "genuine, and so far anybody's");
    let answer = broker.resource(&guest, KEY).await;
    answer.assert_refused(403, "release.policy.not-met");
    let json = answer.json();
    assert_eq!(json["type"], "https://github.com/confidential-containers/kbs/errors/PolicyDeny");
    let detail = json["detail"].as_str().unwrap();
    for part in ["launchmeasurement", &hex::encode([0xac; 48]), &hex::encode(DIGEST)] {
        assert!(detail.contains(part), "{detail}");
    }
    let last = broker.audit().pop().unwrap();
    assert_eq!(
        (last["outcome"].as_str(), last["code"].as_str()),
        (Some("refused"), Some("release.policy.not-met"))
    );
    assert_eq!(last["measurement"], hex::encode([0xac; 48]));
}

#[tokio::test]
async fn conditions_see_what_the_evidence_says() {
    let broker = Broker::new();
    let healthy = MachineConfig::new(DIGEST);
    let tee = |name: &str| format!("x-ms-isolation-tee.x-ms-sevsnpvm-{name}");
    let measured = |condition: Value| {
        let mut policy = pinned_policy();
        policy["anyOf"][0]["allOf"].as_array_mut().unwrap().push(condition);
        policy
    };
    let met = [
        json!({ "claim": "x-ms-isolation-tee.x-ms-attestation-type", "equals": "sevsnpvm" }),
        json!({ "claim": tee("is-debuggable"), "equals": "false" }),
        json!({ "claim": tee("is-debuggable"), "equals": false }),
        json!({ "claim": tee("migration-allowed"), "equals": false }),
        json!({ "claim": tee("smt-allowed"), "equals": true }),
        json!({ "claim": tee("vmpl"), "equals": 0 }),
        json!({ "claim": tee("guestsvn"), "equals": 0 }),
        json!({ "claim": tee("bootloader-svn"), "greaterOrEquals": healthy.tcb.bootloader }),
        json!({ "claim": tee("tee-svn"), "equals": healthy.tcb.tee }),
        json!({ "claim": tee("snpfw-svn"), "equals": healthy.tcb.snp }),
        json!({ "claim": tee("microcode-svn"), "equals": healthy.tcb.microcode }),
        json!({ "claim": tee("hostdata"), "equals": "0".repeat(64) }),
        json!({ "claim": tee("idkeydigest"), "equals": "0".repeat(96) }),
        json!({ "claim": tee("authorkeydigest"), "equals": "0".repeat(96) }),
        json!({ "claim": tee("familyId"), "equals": "0".repeat(32) }),
        json!({ "claim": tee("imageId"), "equals": "0".repeat(32) }),
        json!({ "claim": tee("reportid"), "exists": true }),
        json!({ "claim": tee("reportdata"), "exists": true }),
        json!({ "claim": "casemate.platform", "equals": "sev-snp" }),
        json!({ "claim": "casemate.simulated", "equals": true }),
        json!({ "claim": "casemate.product-line", "equals": "Genoa" }),
        json!({ "claim": "casemate.host-trust", "equals": "host-untrusted" }),
        json!({ "claim": "casemate.chip-id", "equals": hex::encode(healthy.chip_id) }),
    ];
    let not_met = [
        // Another party's judgement, never asserted here: neither place, neither operator.
        json!({ "claim": "x-ms-compliance-status", "equals": "azure-compliant-cvm" }),
        json!({ "claim": "x-ms-isolation-tee.x-ms-compliance-status", "equals": "azure-compliant-cvm" }),
        json!({ "claim": "x-ms-compliance-status", "notEquals": "azure-compliant-uvm" }),
        json!({ "claim": "x-ms-sevsnpvm-is-debuggable", "equals": false }),
        json!({ "claim": tee("microcode-svn"), "greater": healthy.tcb.microcode }),
        json!({ "claim": tee("vmpl"), "equals": "0" }),
        json!({ "claim": "casemate.simulated", "equals": false }),
        json!({ "claim": "casemate", "exists": true }),
        json!({ "claim": "casemate.chip-id", "equals": "00" }),
        json!({ "claim": CLAIM_HOST_DATA, "equals": "cd".repeat(32) }),
    ];
    let (guest, _) = broker.attested().await;
    for (index, condition) in met.iter().chain(&not_met).enumerate() {
        let path = format!("models/c/{index}");
        broker.put(&path, &measured(condition.clone()), 1);
        let answer = broker.resource(&guest, &path).await;
        if index < met.len() {
            assert_eq!(answer.status, 200, "{condition}: {}", answer.text);
        } else {
            assert_eq!(answer.refusal(), (403, "release.policy.not-met".into()), "{condition}");
        }
    }
}

#[tokio::test]
async fn host_data_pins_a_workload_too() {
    let broker = Broker::new();
    broker.put("models/h/1", &policy_with(json!({ "claim": CLAIM_HOST_DATA, "equals": "cd".repeat(32) })), 1);
    let named = MachineConfig { host_data: [0xcd; 32], ..MachineConfig::new([1; 48]) };
    let guest = broker.guest_with(&named).await;
    assert_eq!(broker.attest(&guest).await.status, 200);
    let jwe = broker.resource(&guest, "models/h/1").await.jwe();
    assert_eq!(guest.key.open(&jwe).unwrap().as_slice(), SECRET);
}

#[tokio::test]
async fn another_authority_and_a_raised_floor_refuse() {
    let broker = Broker::new();
    let mut policy = pinned_policy();
    policy["anyOf"][0]["authority"] = json!("https://sharedweu.weu.attest.azure.net");
    broker.put("models/azure/1", &policy, 1);
    let (guest, _) = broker.attested().await;
    broker.resource(&guest, "models/azure/1").await.assert_refused(403, "release.policy.authority");
    assert_eq!(broker.resource(&guest, KEY).await.status, 200);
    broker.state.store().set_floor(UUID, 2, UnixTime(NOW)).unwrap();
    broker.resource(&guest, KEY).await.assert_refused(403, "release.version.below-floor");
}

#[tokio::test]
async fn a_removed_key_is_gone_for_sessions_that_were_attested_before() {
    let broker = Broker::new();
    let (guest, _) = broker.attested().await;
    broker.state.store().remove(&KEY.parse().unwrap(), UnixTime(NOW)).unwrap();
    broker.resource(&guest, KEY).await.assert_refused(404, "release.key.missing");
}

/// Opening a session costs a stranger nothing, so a flood of them must not push an attested machine out.
#[tokio::test]
async fn a_flood_of_new_sessions_does_not_push_an_attested_one_out() {
    let broker = Broker::new();
    let (guest, _) = broker.attested().await;
    for _ in 0..=casemate_broker::MAX_SESSIONS {
        let answer = broker.post("/kbs/v0/auth", None, auth_body().to_string()).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
    }
    let jwe = broker.resource(&guest, KEY).await.jwe();
    assert_eq!(guest.key.open(&jwe).unwrap().as_slice(), SECRET);
}
