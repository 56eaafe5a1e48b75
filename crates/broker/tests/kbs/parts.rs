//! GPUs and a virtual TPM beside the processor (REL-16 to REL-20). The virtual TPM's own cases, on a TPM emulator, are
//! `crates/enclave/tests/gce_vtpm`.

use std::sync::LazyLock;

use axum::http::header;
use casemate_attest::{Danger, UnixTime};
use casemate_broker::policy::CLAIM_MEASUREMENT;
use casemate_broker::{Baseline, BrokerAnchors, baseline};
use casemate_protocol::additional::{AdditionalEvidence, device_nonce, part_data};
use casemate_protocol::document::{DocumentDevices, DocumentEndorsements, DocumentVtpm};
use casemate_protocol::kbs::{RuntimeData, report_data};
use casemate_protocol::statement::Stated;
use casemate_sim::MachineConfig;
use casemate_sim::nvidia::{Gpu, NvidiaVendor};
use serde_json::{Value, json};

use crate::fixture::{Answer, Broker, DIGEST, Guest, KEY, NOW, SECRET, pinned_policy, policy_with, vendor};

struct Gpus {
    vendor: NvidiaVendor,
    two: [Gpu; 2],
}

static GPUS: LazyLock<Gpus> = LazyLock::new(|| {
    let vendor = NvidiaVendor::create(UnixTime(NOW)).unwrap();
    Gpus { two: [vendor.gpu().unwrap(), vendor.gpu().unwrap()], vendor }
});

fn with_count(count: u64) -> Value {
    policy_with(json!({ "allOf": [
        { "claim": CLAIM_MEASUREMENT, "equals": hex::encode(DIGEST) },
        { "claim": "casemate.devices.count", "equals": count },
        { "claim": "casemate.devices.hopper", "equals": count },
        { "claim": "casemate.devices.driver-version", "equals": "570.10.01" },
    ] }))
}

fn broker_under(baseline: Baseline, policy: &Value) -> Broker {
    let anchors = BrokerAnchors::danger_simulated(&vendor().root_pem()).unwrap();
    let anchors = anchors.danger_simulated_gpus(&GPUS.vendor.root_pem()).unwrap();
    let broker = Broker::with(anchors, baseline);
    broker.put(KEY, policy, 1);
    broker
}

fn broker(policy: &Value) -> Broker {
    broker_under(baseline(Danger::Refuse), policy)
}

/// These GPUs with answers to this nonce, and what NVIDIA says of them.
fn devices(gpus: &[Gpu], nonce: &[u8; 32]) -> DocumentDevices {
    let (ocsp, rim) = (GPUS.vendor.answers(&GPUS.two).unwrap(), GPUS.vendor.manifests().unwrap());
    let (ocsp, rim) = (ocsp.iter().map(Vec::as_slice), rim.iter().map(String::as_bytes));
    let mut shown = DocumentDevices::endorsed(ocsp, rim);
    for gpu in gpus {
        shown.push(&gpu.report(nonce).unwrap(), gpu.chain_pem().as_bytes());
    }
    shown
}

fn nonce_of(guest: &Guest) -> [u8; 32] {
    device_nonce(&part_data(&guest.runtime()).unwrap())
}

/// An attestation that binds this text.
fn bound(guest: &Guest, text: &str) -> Value {
    let report = guest.machine.report(&report_data(&guest.runtime(), text).unwrap()).unwrap();
    let mut body = guest.attestation_of(&report, &guest.runtime());
    body["tee-evidence"]["additional_evidence"] = text.into();
    body
}

async fn shown(broker: &Broker, guest: &Guest, devices: Option<DocumentDevices>) -> Answer {
    let text = AdditionalEvidence { devices, ..AdditionalEvidence::default() }.to_text().unwrap();
    broker.attest_with(guest, bound(guest, &text)).await
}

/// What `n` GPUs of a fresh guest get: the attestation's answer, or that to the request for the key.
async fn asked(broker: &Broker, n: usize) -> (Guest, Answer) {
    let guest = broker.guest().await;
    let devices = (n > 0).then(|| devices(&GPUS.two[..n], &nonce_of(&guest)));
    let attested = shown(broker, &guest, devices).await;
    if attested.status != 200 {
        return (guest, attested);
    }
    let answer = broker.resource(&guest, KEY).await;
    (guest, answer)
}

#[tokio::test]
async fn a_key_that_demands_gpus_is_released_to_a_machine_that_shows_them() {
    let broker = broker(&with_count(2));
    let (guest, answer) = asked(&broker, 2).await;
    assert_eq!(guest.key.open(&answer.jwe()).unwrap().as_slice(), SECRET);
    // One too few, and none: the same genuine machine without them.
    for n in [1, 0] {
        asked(&broker, n).await.1.assert_refused(403, "release.policy.not-met");
    }
}

#[tokio::test]
async fn a_key_that_demands_none_is_released_with_and_without() {
    let broker = broker(&pinned_policy());
    for n in 0..3 {
        let (guest, answer) = asked(&broker, n).await;
        assert_eq!(guest.key.open(&answer.jwe()).unwrap().as_slice(), SECRET, "{n}");
    }
}

#[tokio::test]
async fn the_attestation_result_says_what_was_shown() {
    let broker = broker(&with_count(2));
    let guest = broker.guest().await;
    let answer = shown(&broker, &guest, Some(devices(&GPUS.two, &nonce_of(&guest)))).await;
    let token = answer.json()["token"].as_str().unwrap().to_owned();
    let claims = crate::interop::payload(&token);
    let evidence = &claims["submods"]["cpu0"]["ear.veraison.annotated-evidence"]["casemate"]["devices"];
    let expected =
        json!({ "count": 2, "hopper": 2, "driver-version": "570.10.01", "vbios-version": "96.00.9F.00.01" });
    assert_eq!(*evidence, expected);
}

/// REL-16: what the processor did not sign, or signed for something else.
#[tokio::test]
async fn parts_that_the_processor_does_not_bind_are_refused() {
    let broker = broker(&pinned_policy());
    let guest = broker.guest().await;
    let devices = devices(&GPUS.two[..1], &nonce_of(&guest));
    let text =
        AdditionalEvidence { devices: Some(devices), ..AdditionalEvidence::default() }.to_text().unwrap();
    let mut body = bound(&guest, "");
    body["tee-evidence"]["additional_evidence"] = text.clone().into();
    broker.attest_with(&guest, body).await.assert_refused(401, "binding.report-data");
    // Stripped on the way, so that a policy that demands none would be met.
    let guest = broker.guest().await;
    let mut body = bound(&guest, &text);
    body["tee-evidence"]["additional_evidence"] = "".into();
    broker.attest_with(&guest, body).await.assert_refused(401, "binding.report-data");
}

/// REL-17.
#[tokio::test]
async fn text_that_is_not_the_member_is_refused() {
    let broker = broker(&pinned_policy());
    for (text, code) in [
        ("{}", "kbs.additional.malformed"),
        ("[]", "kbs.additional.malformed"),
        (" ", "kbs.additional.malformed"),
        (r#"{"devices":null}"#, "kbs.additional.malformed"),
        (r#"{"devices":null,"vtpm":null,"more":null}"#, "kbs.additional.malformed"),
        (r#"{"devices":null,"devices":null,"vtpm":null}"#, "kbs.additional.malformed"),
        (r#"{"devices":null,"vtpm":null} "x""#, "kbs.additional.malformed"),
        (r#"{"devices":null,"vtpm":null}"#, "kbs.additional.nothing"),
        (r#"{"devices":{"evidence":[],"ocsp":[],"rim":[]},"vtpm":null}"#, "kbs.additional.device-count"),
    ] {
        let guest = broker.guest().await;
        broker.attest_with(&guest, bound(&guest, text)).await.assert_refused(401, code);
    }
}

/// REL-19: GPUs that answer somebody else, or whom nobody vouches for.
#[tokio::test]
async fn gpus_that_answer_another_exchange_are_refused() {
    let broker = broker(&pinned_policy());
    let (guest, other) = (broker.guest().await, broker.guest().await);
    let borrowed = devices(&GPUS.two[..1], &nonce_of(&other));
    shown(&broker, &guest, Some(borrowed)).await.assert_refused(401, "nvidia.nonce");
    // Of the same session, and another key: what a relay would ask for.
    let guest = broker.guest().await;
    let relayed = RuntimeData { nonce: guest.nonce.clone(), tee_pubkey: crate::fixture::tee_key().public() };
    let nonce = device_nonce(&part_data(&relayed).unwrap());
    let answer = shown(&broker, &guest, Some(devices(&GPUS.two[..1], &nonce))).await;
    answer.assert_refused(401, "nvidia.nonce");
    // One GPU twice, one without manifests, and one without answers about revocation.
    let guest = broker.guest().await;
    let mut twice = devices(&GPUS.two[..1], &nonce_of(&guest));
    twice.evidence.push(twice.evidence[0].clone());
    shown(&broker, &guest, Some(twice)).await.assert_refused(401, "nvidia.set.duplicate");
    let guest = broker.guest().await;
    let bare = DocumentDevices { rim: Vec::new(), ..devices(&GPUS.two[..1], &nonce_of(&guest)) };
    shown(&broker, &guest, Some(bare)).await.assert_refused(401, "nvidia.manifest.missing");
    let guest = broker.guest().await;
    let silent = DocumentDevices { ocsp: Vec::new(), ..devices(&GPUS.two[..1], &nonce_of(&guest)) };
    let refused = shown(&broker, &guest, Some(silent)).await.refusal();
    assert_eq!((refused.0, refused.1.as_str()), (401, "ocsp.missing"));
}

/// REL-20: a broker that nobody told of a simulated vendor of GPUs.
#[tokio::test]
async fn simulated_machines_with_gpus_that_are_not_are_refused() {
    let anchors = BrokerAnchors::danger_simulated(&vendor().root_pem()).unwrap();
    let broker = Broker::with(anchors, baseline(Danger::Refuse));
    broker.put(KEY, &pinned_policy(), 1);
    asked(&broker, 1).await.1.assert_refused(401, "devices.mixed");
}

/// The operator's own file: as a client's policy, it demands exactly, or none.
#[tokio::test]
async fn a_baseline_from_a_file_demands_as_a_client_does() {
    let hopper = r#"
[nvidia]
architectures = ["hopper"]
device = { any = "test" }
driver-version = { any = "test" }
vbios-version = { any = "test" }
measurements = { any = "test" }
"#;
    let demanding = |head: &str| {
        let machine = baseline(Danger::Refuse).machine;
        Baseline { machine, ..Baseline::from_toml(head).unwrap() }
    };
    let one = broker_under(demanding(&format!("[devices]\ncount = 1\n{hopper}")), &pinned_policy());
    asked(&one, 1).await.1.jwe();
    asked(&one, 2).await.1.assert_refused(401, "nvidia.set.count");
    asked(&one, 0).await.1.assert_refused(401, "devices.missing");
    let snp = include_str!("../../../attest/tests/policies/example.toml");
    let none = broker_under(demanding(snp), &pinned_policy());
    asked(&none, 0).await.1.jwe();
    asked(&none, 1).await.1.assert_refused(401, "devices.not-expected");
    let code = |text: &str| Baseline::from_toml(text).unwrap_err().code();
    assert_eq!(code(hopper), "policy.devices-without-count");
    assert_eq!(code(&format!("{snp}\n[devices]\ncount = 1")), "policy.devices-without-terms");
    assert_eq!(code(&format!("{snp}\n[vtpm]\nprovider = \"google\"")), "policy.vtpm-without-terms");
    assert_eq!(code("["), "policy.malformed");
}

/// REL-18: in the place of a virtual TPM stands something else; beside a machine that has its own, one more.
#[tokio::test]
async fn a_virtual_tpm_is_one_and_stands_beside_bare_hardware() {
    let broker = broker(&pinned_policy());
    let attest = async |vtpm: DocumentVtpm| {
        let guest = broker.guest().await;
        let text =
            AdditionalEvidence { vtpm: Some(vtpm), ..AdditionalEvidence::default() }.to_text().unwrap();
        broker.attest_with(&guest, bound(&guest, &text)).await
    };
    let machine = vendor().machine(&MachineConfig::new(DIGEST)).unwrap();
    let report = machine.report(&[0; 64]).unwrap();
    let hardware = DocumentVtpm::new(&report, DocumentEndorsements::default());
    attest(hardware).await.assert_refused(401, "vtpm.platform");
    let nothing = attest(DocumentVtpm::new(b"", DocumentEndorsements::default())).await;
    assert_eq!(nothing.status, 401, "{}", nothing.text);
    let garbled = DocumentVtpm { evidence: "?".into(), endorsements: DocumentEndorsements::default() };
    attest(garbled).await.assert_refused(401, "document.base64");
}

/// REL-21: what the machine says of the program that will read the model is bound, and a policy without a word about it gives no key.
#[tokio::test]
async fn an_upstream_is_told_and_has_to_be_spoken_of() {
    let digest = Stated::Is([0xcd; 32]);
    let get = async |broker: &Broker, upstream: Option<Stated>| {
        let guest = broker.guest().await;
        let text = AdditionalEvidence { upstream, ..AdditionalEvidence::default() }.to_text().unwrap();
        let attested = broker.attest_with(&guest, bound(&guest, &text)).await;
        if attested.status != 200 {
            return (guest, attested);
        }
        let answer = broker.resource(&guest, KEY).await;
        (guest, answer)
    };
    let silent = broker(&pinned_policy());
    let (guest, answer) = get(&silent, None).await;
    assert_eq!(guest.key.open(&answer.jwe()).unwrap().as_slice(), SECRET);
    get(&silent, Some(digest)).await.1.assert_refused(403, "release.upstream");
    // That there is none is said by leaving it out.
    get(&silent, Some(Stated::None)).await.1.assert_refused(401, "kbs.additional.malformed");
    let named = broker(&policy_with(json!({ "allOf": [
        { "claim": CLAIM_MEASUREMENT, "equals": hex::encode(DIGEST) },
        { "claim": "casemate.upstream", "equals": "cd".repeat(32) },
    ] })));
    let (guest, answer) = get(&named, Some(digest)).await;
    assert_eq!(guest.key.open(&answer.jwe()).unwrap().as_slice(), SECRET);
    get(&named, None).await.1.assert_refused(403, "release.policy.not-met");
    // Another text than the processor's report data is for.
    let guest = named.guest().await;
    let text =
        AdditionalEvidence { upstream: Some(digest), ..AdditionalEvidence::default() }.to_text().unwrap();
    let mut body = bound(&guest, &text);
    body["tee-evidence"]["additional_evidence"] = "".into();
    named.attest_with(&guest, body).await.assert_refused(401, "binding.report-data");
}

/// The same in an attested session gives the same token: a lost answer can be asked for, with parts as without.
#[tokio::test]
async fn the_same_request_again_gets_the_same_answer() {
    let broker = broker(&with_count(1));
    let guest = broker.guest().await;
    let text = AdditionalEvidence {
        devices: Some(devices(&GPUS.two[..1], &nonce_of(&guest))),
        ..AdditionalEvidence::default()
    };
    let body = bound(&guest, &text.to_text().unwrap()).to_string();
    let (first, second) = (
        broker.post("/kbs/v0/attest", Some(&guest.cookie), body.clone()).await,
        broker.post("/kbs/v0/attest", Some(&guest.cookie), body).await,
    );
    assert_eq!((first.status, first.text), (200, second.text));
    let cookie = (header::COOKIE, guest.cookie.as_str());
    assert!(guest.key.open(&broker.get(&format!("/kbs/v0/resource/{KEY}"), &[cookie]).await.jwe()).is_ok());
}
