//! Bundles as NVIDIA's remote attestation service writes them, under keys of the test's own.

use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA256, digest};
use casemate_attest::token::{TokenAnchors, TokenBinding};
use serde_json::{Map, Value, json};

use crate::answer;
use crate::curve::CurveKey;
use crate::issuer::NOON;

pub(crate) const ISSUER: &str = "https://nras.test";
pub(crate) const NONCE: [u8; 32] = [0xab; 32];
/// Two GPUs and a switch.
pub(crate) const POLICY: &str = r#"
[nras]
issuers = ["https://nras.test"]
gpus = 2
switches = 1
devices = ["100", "101", "200"]
hardware = ["GH100", "LS10"]
driver = ["550.90.07"]
firmware = ["96.00.9F.00.01", "96.10.55.00.01"]
"#;

pub(crate) static SERVICE: LazyLock<CurveKey> = LazyLock::new(CurveKey::es384);

/// One bundle before it is signed.
pub(crate) struct Session {
    pub(crate) overall: Value,
    /// By name.
    pub(crate) devices: Vec<(String, Value)>,
}

/// What is signed, before it is put together.
pub(crate) struct Signed {
    pub(crate) overall: String,
    pub(crate) devices: Vec<(String, String)>,
}

fn common() -> Value {
    json!({
        "iss": ISSUER, "iat": NOON.0, "nbf": NOON.0, "exp": NOON.0 + 3600, "eat_nonce": hex::encode(NONCE),
    })
}

fn with(mut claims: Value, more: Value) -> Value {
    let Value::Object(more) = more else { panic!("an object") };
    claims.as_object_mut().expect("an object").extend(more);
    claims
}

fn chain() -> Value {
    json!({
        "x-nvidia-cert-status": "valid", "x-nvidia-cert-ocsp-status": "good",
        "x-nvidia-cert-expiration-date": "9999-12-31T23:59:59Z", "x-nvidia-cert-revocation-reason": null,
    })
}

/// The claims that a device of either kind has.
fn device(ueid: &str, hardware: &str) -> Value {
    with(
        common(),
        json!({
            "ueid": ueid, "hwmodel": hardware, "oemid": "5703", "measres": "success", "secboot": true,
            "dbgstat": "disabled", "x-nvidia-attestation-warning": null,
        }),
    )
}

pub(crate) fn gpu(ueid: &str) -> Value {
    with(
        device(ueid, "GH100"),
        json!({
            "x-nvidia-gpu-arch-check": true,
            "x-nvidia-gpu-attestation-report-parsed": true,
            "x-nvidia-gpu-attestation-report-nonce-match": true,
            "x-nvidia-gpu-attestation-report-signature-verified": true,
            "x-nvidia-gpu-attestation-report-cert-chain-fwid-match": true,
            "x-nvidia-gpu-driver-rim-fetched": true,
            "x-nvidia-gpu-driver-rim-schema-validated": true,
            "x-nvidia-gpu-driver-rim-signature-verified": true,
            "x-nvidia-gpu-driver-rim-version-match": true,
            "x-nvidia-gpu-driver-rim-measurements-available": true,
            "x-nvidia-gpu-vbios-rim-fetched": true,
            "x-nvidia-gpu-vbios-rim-schema-validated": true,
            "x-nvidia-gpu-vbios-rim-signature-verified": true,
            "x-nvidia-gpu-vbios-rim-version-match": true,
            "x-nvidia-gpu-vbios-rim-measurements-available": true,
            "x-nvidia-gpu-vbios-index-no-conflict": true,
            "x-nvidia-gpu-attestation-report-cert-chain": chain(),
            "x-nvidia-gpu-driver-rim-cert-chain": chain(),
            "x-nvidia-gpu-vbios-rim-cert-chain": chain(),
            "x-nvidia-gpu-driver-version": "550.90.07",
            "x-nvidia-gpu-vbios-version": "96.00.9F.00.01",
        }),
    )
}

fn switch(ueid: &str) -> Value {
    with(
        device(ueid, "LS10"),
        json!({
            "x-nvidia-switch-arch-check": true,
            "x-nvidia-switch-attestation-report-parsed": true,
            "x-nvidia-switch-attestation-report-nonce-match": true,
            "x-nvidia-switch-attestation-report-signature-verified": true,
            "x-nvidia-switch-attestation-report-cert-chain-fwid-match": true,
            "x-nvidia-switch-bios-rim-fetched": true,
            "x-nvidia-switch-bios-rim-schema-validated": true,
            "x-nvidia-switch-bios-rim-signature-verified": true,
            "x-nvidia-switch-bios-rim-version-match": true,
            "x-nvidia-switch-bios-rim-measurements-available": true,
            "x-nvidia-switch-attestation-report-cert-chain": chain(),
            "x-nvidia-switch-bios-rim-cert-chain": chain(),
            "x-nvidia-switch-bios-version": "96.10.55.00.01",
        }),
    )
}

impl Session {
    pub(crate) fn new() -> Self {
        let overall = json!({
            "sub": "NVIDIA-PLATFORM-ATTESTATION", "x-nvidia-ver": "3.0", "x-nvidia-overall-att-result": true,
        });
        let devices = [("GPU-0", gpu("100")), ("GPU-1", gpu("101")), ("SWITCH-0", switch("200"))];
        Self {
            overall: with(common(), overall),
            devices: devices.map(|(name, claims)| (name.to_owned(), claims)).to_vec(),
        }
    }

    /// With the right digests.
    pub(crate) fn sign(&self) -> Signed {
        self.sign_as(&SERVICE.header(), &SERVICE)
    }

    pub(crate) fn sign_as(&self, header: &Value, key: &CurveKey) -> Signed {
        let devices: Vec<_> =
            self.devices.iter().map(|(name, claims)| (name.clone(), key.sign(header, claims))).collect();
        let submods: Map<_, _> =
            devices.iter().map(|(name, token)| (name.clone(), digested(token))).collect();
        let overall = with(self.overall.clone(), json!({ "submods": submods }));
        Signed { overall: key.sign(header, &overall), devices }
    }

    /// With other submodules in the overall token.
    pub(crate) fn sign_with(&self, submods: &Value) -> Signed {
        let overall = with(self.overall.clone(), json!({ "submods": submods }));
        Signed { overall: SERVICE.sign(&SERVICE.header(), &overall), ..self.sign() }
    }
}

pub(crate) fn digested(token: &str) -> Value {
    json!(["DIGEST", ["SHA-256", hex::encode(digest(&SHA256, token.as_bytes()))]])
}

impl Signed {
    pub(crate) fn bundle(&self) -> String {
        let devices: Vec<_> =
            self.devices.iter().map(|(name, token)| format!("{}:{}", json!(name), json!(token))).collect();
        format!("[[\"JWT\",{}],{{{}}}]", json!(self.overall), devices.join(","))
    }
}

pub(crate) fn anchors() -> TokenAnchors {
    TokenAnchors::none().with_jwks(ISSUER, &SERVICE.jwks()).expect("keys").danger_simulated()
}

pub(crate) fn judged(bundle: &str) -> String {
    under(POLICY, bundle)
}

pub(crate) fn under(policy: &str, bundle: &str) -> String {
    answer(bundle.as_bytes(), &anchors(), NOON, policy, &TokenBinding::nonce(NONCE))
}

/// One mistake before anything is signed.
pub(crate) fn session(change: impl Fn(&mut Session)) -> String {
    session_under(POLICY, change)
}

pub(crate) fn session_under(policy: &str, change: impl Fn(&mut Session)) -> String {
    let mut session = Session::new();
    change(&mut session);
    under(policy, &session.sign().bundle())
}

/// One mistake in one claim of the second GPU; null where it is to be left out.
pub(crate) fn second(claim: &str, value: Value) -> String {
    session(|session| {
        let claims = session.devices[1].1.as_object_mut().expect("an object");
        match &value {
            Value::Null => drop(claims.remove(claim).expect("it was there")),
            value => drop(claims.insert(claim.to_owned(), value.clone())),
        }
    })
}
