//! Bundles of NVIDIA's remote attestation service: one mistake each, under an issuer of the test's own.

use casemate_attest::UnixTime;
use casemate_attest::token::{MAX_TOKEN, TokenAnchors, TokenBinding};
use serde_json::{Value, json};

use crate::curve::{CurveKey, Service};
use crate::issuer::NOON;
use crate::nras_bundle::{
    ISSUER, NONCE, POLICY, SERVICE, Session, anchors, digested, gpu, judged, second, session, session_under,
    under,
};
use crate::{Case, answer, any};

pub(crate) const FORM: &[Case] = &[
    ("NRAS: nothing wrong", || session(|_| ()), "verified"),
    ("NRAS-01: an empty list", || judged("[[]]"), "nras.bundle"),
    ("NRAS-01: no devices", || session(|s| s.devices.clear()), "nras.bundle"),
    ("NRAS-01: too many devices", || session(many), "nras.bundle"),
    ("NRAS-01: another kind than JWT", || changed(|b| b.replacen("JWT", "CWT", 1)), "nras.bundle"),
    ("NRAS-01: something after it", || changed(|b| format!("{b}[]")), "nras.bundle"),
    ("NRAS-01: a third element", || changed(|b| format!("{},1]", &b[..b.len() - 1])), "nras.bundle"),
    ("NRAS-01: a GPU twice", gpu_twice, "nras.bundle"),
    (
        "NRAS-01: a device that is no text",
        || judged(r#"[["JWT","eyJhbGciOiJFUzM4NCJ9.e30.AA"],{"GPU-0":1}]"#),
        "nras.bundle",
    ),
    ("NRAS-01: too long", || judged(&format!("[[{}]]", " ".repeat(MAX_TOKEN))), "token.too-long"),
    ("NRAS-01: 10 MiB", || judged(&"[[".repeat(5 * 1024 * 1024)), "token.too-long"),
    ("NRAS-01: nesting", || judged(&"[".repeat(60_000)), "nras.bundle"),
    ("NRAS-01: the overall token alone", || judged(&Session::new().sign().overall), "token.kind"),
    (
        "NRAS-01: alg none on the overall token",
        || replaced(&SERVICE, &json!({"alg": "none"}), true),
        "token.algorithm",
    ),
    (
        "NRAS-01: alg none on a device's token",
        || replaced(&SERVICE, &json!({"alg": "none"}), false),
        "token.algorithm",
    ),
    (
        "NRAS-01: a key in a device's header",
        || replaced(&SERVICE, &json!({"alg": "ES384", "kid": "test", "jwk": {}}), false),
        "token.header",
    ),
    ("NRAS-02: ES256", es256, "token.algorithm-of-issuer"),
    (
        "NRAS-02: RS256 on a device's token",
        || replaced(&SERVICE, &json!({"alg": "RS256", "kid": "test"}), false),
        "token.algorithm-of-issuer",
    ),
    (
        "NRAS-02: a device's key is not named",
        || replaced(&SERVICE, &json!({"alg": "ES384"}), false),
        "token.key-unnamed",
    ),
    (
        "NRAS-02: an unknown key",
        || replaced(&SERVICE, &json!({"alg": "ES384", "kid": "other"}), true),
        "token.key",
    ),
    (
        "NRAS-02: keys of another issuer",
        || {
            let anchors =
                TokenAnchors::none().with_jwks("https://other.test", &SERVICE.jwks()).expect("keys");
            answer(Session::new().sign().bundle().as_bytes(), &anchors, NOON, POLICY, &any())
        },
        "token.issuer",
    ),
    ("NRAS-02: certificates under the pinned intermediate", || certified(true, 2, NOON), "verified"),
    ("NRAS-02: another intermediate of the same name", || certified(false, 2, NOON), "x509.signature"),
    ("NRAS-02: a leaf of another day", || certified(true, 1, NOON), "x509.expired"),
    ("NRAS-02: certificates, and NVIDIA's intermediate", nvidias, "x509.unknown-issuer"),
    ("NRAS-02: certificates, and nothing pinned", unpinned, "token.root-missing"),
    ("NRAS-02: published keys under the pinned intermediate", || published(|_| ()), "verified"),
    (
        "NRAS-02: a published key without certificates",
        || published(|jwk| drop(jwk.as_object_mut().expect("a key").remove("x5c"))),
        "token.key-unnamed",
    ),
    (
        "NRAS-02: a published key that is not the certificate's",
        || published(|jwk| *jwk = with_certificates_of(jwk, &CurveKey::es384())),
        "token.key",
    ),
    ("NRAS-03: a key of somebody else on a device's token", || foreign(false), "token.signature"),
    ("NRAS-03: a key of somebody else on the overall token", || foreign(true), "token.signature"),
    ("NRAS-04: the overall token expired", || session(|s| s.overall["exp"] = json!(NOON.0)), EXPIRED),
    ("NRAS-04: a device's token expired", || second("exp", json!(NOON.0)), EXPIRED),
    ("NRAS-04: a device's token is early", || second("nbf", json!(NOON.0 + 61)), "token.not-yet-valid"),
    ("NRAS-04: without nbf", || second("nbf", Value::Null), "token.time-missing"),
    ("NRAS-04: without exp", || second("exp", Value::Null), "token.time-missing"),
    ("NRAS-04: exp as text", || second("exp", json!("9999999999")), "token.time-missing"),
    ("NRAS-05: a GPU of another session", swapped, "nras.digest"),
    ("NRAS-05: two GPUs change places", places, "nras.digest"),
    ("NRAS-05: a GPU is left out", || signed(|s| drop(s.devices.remove(1))), "nras.submodules"),
    ("NRAS-05: a GPU is renamed", || signed(|s| s.devices[1].0 = "GPU-2".to_owned()), "nras.submodules"),
    ("NRAS-05: a GPU too many", || signed(|s| s.devices.push(("GPU-2".into(), one()))), "nras.submodules"),
    ("NRAS-05: a digest of something else", || submods(|s| s["GPU-1"] = digested("x")), "nras.digest"),
    ("NRAS-05: a digest cut short", || submods(|s| s["GPU-1"][1][1] = json!("00")), "nras.digest"),
    (
        "NRAS-05: another digest algorithm",
        || submods(|s| s["GPU-1"][1][0] = json!("SHA-1")),
        "nras.submodules-unreadable",
    ),
    (
        "NRAS-05: a token in the place of a digest",
        || submods(|s| s["GPU-1"] = json!(["JWT", one()])),
        "nras.submodules-unreadable",
    ),
    ("NRAS-05: no digests", || submods(|s| *s = Value::Null), "nras.submodules-unreadable"),
    (
        "NRAS-05: a device's token of another issuer",
        || second("iss", json!("https://other.test")),
        "nras.submodule-issuer",
    ),
];

const EXPIRED: &str = "token.expired";

pub(crate) const CLAIMS: &[Case] = &[
    (
        "NRAS-06: no table",
        || session_under(include_str!("../policies/nitro.toml"), |_| ()),
        "policy.platform-not-accepted",
    ),
    (
        "NRAS-07: another issuer",
        || session_under(&POLICY.replace("//nras.test", "//other.test"), |_| ()),
        "nras.issuer.not-accepted",
    ),
    (
        "NRAS-08: the overall result is false",
        || session(|s| s.overall["x-nvidia-overall-att-result"] = json!(false)),
        "nras.result",
    ),
    (
        "NRAS-08: the overall result is text",
        || session(|s| s.overall["x-nvidia-overall-att-result"] = json!("true")),
        "nras.result",
    ),
    (
        "NRAS-08: an error",
        || session(|s| s.overall["x-nvidia-error-details"] = json!({"code": 4010})),
        "nras.error",
    ),
    ("NRAS-08: other claims", || session(|s| s.overall["x-nvidia-ver"] = json!("2.0")), "nras.version"),
    ("NRAS-09: a GPU is missing from a genuine bundle", || session(|s| drop(s.devices.remove(1))), DEVICES),
    ("NRAS-09: the switch is missing", || session(|s| drop(s.devices.remove(2))), DEVICES),
    ("NRAS-09: a GPU too many", || session(|s| s.devices.push(("GPU-2".to_owned(), gpu("102")))), DEVICES),
    ("NRAS-09: a number that is left out", || session(|s| s.devices[1].0 = "GPU-2".to_owned()), DEVICES),
    ("NRAS-09: a number with a zero", || session(|s| s.devices[1].0 = "GPU-01".to_owned()), DEVICES),
    ("NRAS-09: a device of another kind", || session(|s| s.devices[1].0 = "NIC-0".to_owned()), DEVICES),
    ("NRAS-09: one GPU under two names", || second("ueid", json!("100")), "nras.device.twice"),
    ("NRAS-09: another GPU", || second("ueid", json!("102")), "nras.device.not-accepted"),
    ("NRAS-09: no identity", || second("ueid", Value::Null), "nras.device.not-accepted"),
    (
        "NRAS-09: any GPU, but not twice",
        || session_under(&any_device(), |s| s.devices[1].1["ueid"] = json!("100")),
        "nras.device.twice",
    ),
    (
        "NRAS-09: any GPU, in writing",
        || session_under(&any_device(), |s| s.devices[1].1["ueid"] = json!("102")),
        "verified, waived: NRAS-09",
    ),
    (
        "NRAS-10: the overall result is true, and a GPU's is not",
        || second("measres", json!("fail")),
        "nras.measurements",
    ),
    ("NRAS-10: no result", || second("measres", Value::Null), "nras.measurements"),
    ("NRAS-10: an error", || second("x-nvidia-error-details", json!({"code": 4007})), "nras.error"),
    ("NRAS-11: no secure boot", || second("secboot", json!(false)), "nras.secure-boot"),
    ("NRAS-11: secure boot is not spoken of", || second("secboot", Value::Null), "nras.secure-boot"),
    ("NRAS-11: debugging", || second("dbgstat", json!("enabled")), "nras.debug"),
    ("NRAS-11: debugging is not spoken of", || second("dbgstat", Value::Null), "nras.debug"),
    (
        "NRAS-11: debugging, in writing",
        || allowed("debug", |s| s.devices[1].1["dbgstat"] = json!("enabled")),
        "verified, waived: NRAS-11",
    ),
    ("NRAS-12: each claim of a report", || each(&REPORT), "nras.report"),
    ("NRAS-13: each claim of a manifest", || each(&MANIFESTS), "nras.manifest"),
    ("NRAS-12: each claim of a switch's report", || each_of_switch(&REPORT), "nras.report"),
    ("NRAS-13: each claim of a switch's manifest", || each_of_switch(&BIOS), "nras.manifest"),
    ("NRAS-14: a certificate that is not valid", || chain("x-nvidia-cert-status", "invalid"), CERTIFICATE),
    ("NRAS-14: a revoked certificate", || chain("x-nvidia-cert-ocsp-status", "revoked"), "nras.revocation"),
    ("NRAS-14: no chain", || second("x-nvidia-gpu-driver-rim-cert-chain", Value::Null), CERTIFICATE),
    (
        "NRAS-14: on hold, in writing",
        || {
            allowed("revocation", |s| {
                let chain = &mut s.devices[1].1["x-nvidia-gpu-vbios-rim-cert-chain"];
                chain["x-nvidia-cert-ocsp-status"] = json!("revoked");
            })
        },
        "verified, waived: NRAS-14",
    ),
    (
        "NRAS-14: not valid, whatever is written",
        || {
            allowed("revocation", |s| {
                let chain = &mut s.devices[1].1["x-nvidia-gpu-vbios-rim-cert-chain"];
                chain["x-nvidia-cert-status"] = json!("expired");
            })
        },
        CERTIFICATE,
    ),
    ("NRAS-15: a warning", || second("x-nvidia-attestation-warning", json!("cert hold")), "nras.warning"),
    (
        "NRAS-15: warnings are not spoken of",
        || second("x-nvidia-attestation-warning", Value::Null),
        "nras.warning",
    ),
    (
        "NRAS-15: a warning, in writing",
        || allowed("warnings", |s| s.devices[1].1["x-nvidia-attestation-warning"] = json!("cert hold")),
        "verified, waived: NRAS-15",
    ),
    ("NRAS-16: another model", || second("hwmodel", json!("GA100")), "nras.hardware.not-accepted"),
    ("NRAS-16: no model", || second("hwmodel", Value::Null), "nras.hardware.not-accepted"),
    (
        "NRAS-17: another driver",
        || second("x-nvidia-gpu-driver-version", json!("535.86.09")),
        "nras.driver.not-accepted",
    ),
    (
        "NRAS-18: other firmware",
        || second("x-nvidia-gpu-vbios-version", json!("96.00.5E.00.01")),
        "nras.firmware.not-accepted",
    ),
    ("NRAS-19: the nonce is on the overall token only", || second("eat_nonce", Value::Null), "nras.nonce"),
    ("NRAS-19: a device with another nonce", || second("eat_nonce", json!("00".repeat(32))), "nras.nonce"),
    (
        "NRAS-19: a device with another nonce, and nobody asks",
        || {
            let mut session = Session::new();
            session.devices[1].1["eat_nonce"] = json!("00".repeat(32));
            answer(session.sign().bundle().as_bytes(), &anchors(), NOON, POLICY, &any())
        },
        "nras.nonce",
    ),
    ("NRAS-19: no nonce", || session(|s| drop(remove(&mut s.overall, "eat_nonce"))), "nras.nonce"),
    ("NRAS-19: another exchange", || all_nonces("00"), "token.nonce"),
    ("NRAS-19: a nonce that is no hexadecimal", || all_nonces("xx"), "nras.nonce"),
    (
        "NRAS-19: a nonce cut short",
        || {
            let bundle = Session::new().sign().bundle();
            answer(bundle.as_bytes(), &anchors(), NOON, POLICY, &TokenBinding::nonce(&NONCE[..31]))
        },
        "token.nonce",
    ),
];

const DEVICES: &str = "nras.devices";
const CERTIFICATE: &str = "nras.certificate";

const REPORT: [&str; 5] = [
    "arch-check",
    "attestation-report-parsed",
    "attestation-report-nonce-match",
    "attestation-report-signature-verified",
    "attestation-report-cert-chain-fwid-match",
];
const MANIFESTS: [&str; 11] = [
    "driver-rim-fetched",
    "driver-rim-schema-validated",
    "driver-rim-signature-verified",
    "driver-rim-version-match",
    "driver-rim-measurements-available",
    "vbios-rim-fetched",
    "vbios-rim-schema-validated",
    "vbios-rim-signature-verified",
    "vbios-rim-version-match",
    "vbios-rim-measurements-available",
    "vbios-index-no-conflict",
];
const BIOS: [&str; 5] = [
    "bios-rim-fetched",
    "bios-rim-schema-validated",
    "bios-rim-signature-verified",
    "bios-rim-version-match",
    "bios-rim-measurements-available",
];

/// Each of these claims false, and each left out: all of the answers, which should be one.
fn each(claims: &[&str]) -> String {
    each_of("gpu", 1, claims)
}

fn each_of_switch(claims: &[&str]) -> String {
    each_of("switch", 2, claims)
}

fn each_of(kind: &str, device: usize, claims: &[&str]) -> String {
    let mut answers: Vec<String> = Vec::new();
    for claim in claims {
        let claim = format!("x-nvidia-{kind}-{claim}");
        answers.push(session(|s| s.devices[device].1[&claim] = json!(false)));
        answers.push(session(|s| s.devices[device].1[&claim] = json!("true")));
        answers.push(session(|s| drop(remove(&mut s.devices[device].1, &claim))));
    }
    answers.dedup();
    answers.join(", ")
}

fn remove(object: &mut Value, member: &str) -> Value {
    object.as_object_mut().expect("an object").remove(member).expect("it was there")
}

fn chain(claim: &str, value: &str) -> String {
    session(|s| s.devices[1].1["x-nvidia-gpu-attestation-report-cert-chain"][claim] = json!(value))
}

fn allowed(key: &str, change: impl Fn(&mut Session)) -> String {
    session_under(&format!("{POLICY}{key} = {{ danger-allow = \"a test\" }}\n"), change)
}

fn any_device() -> String {
    POLICY.replace(r#"devices = ["100", "101", "200"]"#, "devices = { any = \"a pool\" }")
}

fn all_nonces(byte: &str) -> String {
    session(|s| {
        s.overall["eat_nonce"] = json!(byte.repeat(32));
        for (_, claims) in &mut s.devices {
            claims["eat_nonce"] = json!(byte.repeat(32));
        }
    })
}

fn changed(change: impl Fn(String) -> String) -> String {
    judged(&change(Session::new().sign().bundle()))
}

/// Something is changed after the signatures.
fn signed(change: impl Fn(&mut crate::nras_bundle::Signed)) -> String {
    let mut signed = Session::new().sign();
    change(&mut signed);
    judged(&signed.bundle())
}

fn submods(change: impl Fn(&mut Value)) -> String {
    let session = Session::new();
    let devices = session.sign().devices;
    // The tokens are signed anew below, with other bytes: their digests are put in after.
    let mut digests: Value = devices.iter().map(|(name, token)| (name.clone(), digested(token))).collect();
    change(&mut digests);
    let overall = session.sign_with(&digests).overall;
    judged(&crate::nras_bundle::Signed { overall, devices }.bundle())
}

fn one() -> String {
    SERVICE.sign(&SERVICE.header(), &gpu("102"))
}

fn many(session: &mut Session) {
    session.devices = (0..129).map(|number| (format!("GPU-{number}"), json!({}))).collect();
}

/// The same member twice in the bundle's object.
fn gpu_twice() -> String {
    signed(|s| {
        let first = s.devices[0].clone();
        s.devices.push(first);
    })
}

/// Two sessions of one nonce: a failing GPU is replaced by that of the other session.
fn swapped() -> String {
    let mut bad = Session::new();
    bad.devices[1].1["measres"] = json!("fail");
    let mut bad = bad.sign();
    bad.devices[1] = Session::new().sign().devices[1].clone();
    judged(&bad.bundle())
}

fn places() -> String {
    signed(|s| {
        let (first, second) = (s.devices[0].1.clone(), s.devices[1].1.clone());
        s.devices[0].1 = second;
        s.devices[1].1 = first;
    })
}

/// The overall token, or the first device's with its digest, with this header.
fn replaced(key: &CurveKey, header: &Value, is_overall: bool) -> String {
    let session = Session::new();
    if is_overall {
        let good = session.sign();
        let overall = session.sign_as(header, key).overall;
        return judged(&crate::nras_bundle::Signed { overall, ..good }.bundle());
    }
    let mut devices = session.sign().devices;
    devices[0].1 = key.sign(header, &session.devices[0].1);
    let digests: Value = devices.iter().map(|(name, token)| (name.clone(), digested(token))).collect();
    let overall = session.sign_with(&digests).overall;
    judged(&crate::nras_bundle::Signed { overall, devices }.bundle())
}

fn foreign(is_overall: bool) -> String {
    replaced(&CurveKey::es384(), &SERVICE.header(), is_overall)
}

fn es256() -> String {
    let key = CurveKey::es256();
    let anchors = TokenAnchors::none().with_jwks(ISSUER, &key.jwks()).expect("keys");
    let bundle = Session::new().sign_as(&key.header(), &key).bundle();
    answer(bundle.as_bytes(), &anchors, NOON, POLICY, &any())
}

/// With certificates in every header.
fn with_certificates(service: &Service) -> String {
    let header = json!({"alg": "ES384", "x5c": service.x5c});
    Session::new().sign_as(&header, &service.leaf).bundle()
}

fn certified(is_ours: bool, last_day: u8, now: UnixTime) -> String {
    let service = Service::new(is_ours, last_day);
    let anchors = TokenAnchors::none().danger_nras_intermediate(&service.intermediate_pem).expect("one");
    let bundle = with_certificates(&service);
    answer(bundle.as_bytes(), &anchors, now, POLICY, &TokenBinding::nonce(NONCE))
}

fn nvidias() -> String {
    let bundle = with_certificates(&Service::new(true, 2));
    answer(bundle.as_bytes(), &TokenAnchors::embedded(), NOON, POLICY, &any())
}

fn unpinned() -> String {
    let bundle = with_certificates(&Service::new(true, 2));
    answer(bundle.as_bytes(), &TokenAnchors::none(), NOON, POLICY, &any())
}

/// By keys from wherever, which their certificates vouch for.
fn published(change: impl Fn(&mut Value)) -> String {
    let service = Service::new(true, 2);
    let mut set: Value = serde_json::from_slice(&service.jwks()).expect("a set");
    change(&mut set["keys"][0]);
    let anchors = TokenAnchors::none()
        .danger_nras_intermediate(&service.intermediate_pem)
        .expect("one")
        .with_nras_keys(set.to_string().as_bytes())
        .expect("keys");
    let bundle = Session::new().sign_as(&service.leaf.header(), &service.leaf).bundle();
    answer(bundle.as_bytes(), &anchors, NOON, POLICY, &TokenBinding::nonce(NONCE))
}

fn with_certificates_of(certified: &Value, key: &CurveKey) -> Value {
    let mut jwk = key.jwk("test");
    jwk["x5c"] = certified["x5c"].clone();
    jwk
}

/// The smallest bundle, for sweeps.
pub(crate) fn small() -> (String, TokenAnchors, UnixTime) {
    let mut session = Session::new();
    session.devices.truncate(1);
    session.devices[0].1 = json!({"iss": ISSUER, "iat": NOON.0, "nbf": NOON.0, "exp": NOON.0 + 3600});
    let bundle = session.sign().bundle();
    assert_eq!(under(POLICY, &bundle), DEVICES, "it is genuine, and not accepted");
    (bundle, anchors(), NOON)
}
