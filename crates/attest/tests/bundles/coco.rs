//! Evidence of Confidential Containers, with one change each: TDX under a made-up vendor, by itself, in composites, and in the key
//! broker's message.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use casemate_attest::bundle::{Bundle, BundleQuestion, Challenge, DeviceTerms};
use casemate_attest::eventlog::{DstackVersion, LogPolicy, LogTerms, RegisterTerms};
use casemate_attest::tdx::TdxPolicy;
use casemate_attest::{Danger, Expected, Policy};
use casemate_sim::nvidia::Report;
use casemate_sim::{EV_IPL, EventLog};
use serde_json::{Value, json};

use crate::Case;
use crate::machine::{Asked, swept, vendor};
use crate::nvidia_vendor::VENDOR;
use crate::recorded::allow;
use crate::tdx_vendor::{Td, sha256, sha384};

/// What a broker sends: base64 of 32 bytes.
const NONCE: [u8; 32] = [0x6e; 32];
const REPORT_DATA: [u8; 64] = [0x44; 64];
const INIT_DATA: &str = "version = \"0.1.0\"\nalgorithm = \"sha384\"\n\n[data]\n\"aa.toml\" = \"x\"\n";

fn quote(report_data: [u8; 64], change: impl FnOnce(&mut Td)) -> String {
    let mut td = Td { report_data, ..Td::default() };
    change(&mut td);
    STANDARD.encode(vendor().quote(&td))
}

fn evidence() -> Value {
    json!({ "cc_eventlog": null, "quote": quote(REPORT_DATA, |_| {}) })
}

fn question() -> Asked {
    let mut asked = Asked::new(DstackVersion::V1);
    asked.terms = TdxPolicy::strict(Expected::OneOf(vec![[0x4d; 48]]));
    asked.terms.mr_config_id = Expected::OneOf(vec![[0; 48], sha384(INIT_DATA.as_bytes()), shorter()]);
    asked.challenge = Challenge::ReportData(REPORT_DATA.to_vec());
    asked
}

/// A SHA-256 in a field of 48 bytes.
fn shorter() -> [u8; 48] {
    let digest = sha256(INIT_DATA.replace("sha384", "sha256").as_bytes());
    [&digest[..], &[0; 16]].concat().try_into().expect("48 bytes")
}

fn sent(change: impl FnOnce(&mut Value)) -> String {
    let mut value = evidence();
    change(&mut value);
    question().answer(value.to_string().as_bytes())
}

fn asked(change: impl FnOnce(&mut Asked)) -> String {
    let mut question = question();
    change(&mut question);
    question.answer(evidence().to_string().as_bytes())
}

/// A guest that measured its boot, and sends this log of it, to somebody who asks for its kernel.
fn booted(sent: impl FnOnce(&mut EventLog), asked: impl FnOnce(&mut TdxPolicy)) -> String {
    let mut log = EventLog::simulated_td();
    let quote = quote(REPORT_DATA, |td| td.rtmrs = log.rtmrs());
    sent(&mut log);
    let evidence = json!({ "cc_eventlog": STANDARD.encode(log.bytes()), "quote": quote });
    let mut question = question();
    question.terms.event_log = kernel("SIMULATED kernel");
    asked(&mut question.terms);
    question.answer(evidence.to_string().as_bytes())
}

/// In RTMR1, behind whatever else.
fn kernel(name: &str) -> LogPolicy {
    let terms = RegisterTerms {
        events: Expected::any("a case of the kernel"),
        required: vec![sha384(name.as_bytes()).to_vec()],
    };
    LogPolicy::Demanded(LogTerms { registers: [(1, terms)].into(), other_registers: allow() })
}

fn composite(change: impl FnOnce(&mut Value)) -> String {
    let mut value = json!({ "primary_evidence": evidence(), "additional_evidence": "" });
    change(&mut value);
    question().answer(value.to_string().as_bytes())
}

/// A guest before it answers a broker.
struct Guest {
    key: Value,
    additional: String,
    init_data: Option<&'static str>,
    config: [u8; 48],
    digest: fn(&[u8]) -> Vec<u8>,
    device_nonce: Option<[u8; 32]>,
}

impl Guest {
    fn new() -> Self {
        Self {
            key: json!({ "kty": "EC", "crv": "P-256", "alg": "ECDH-ES+A256KW", "x": "eA", "y": "eQ" }),
            additional: String::new(),
            init_data: None,
            config: [0; 48],
            digest: |message| sha384(message).to_vec(),
            device_nonce: None,
        }
    }

    /// With this member names in the order of RFC 8785, written by hand.
    fn canonical(&self) -> (String, String) {
        let member = |name: &str| self.key.get(name).map(|value| format!("\"{name}\":{value}"));
        let names = ["alg", "crv", "e", "kty", "n", "pub", "x", "y"];
        let key = format!("{{{}}}", names.into_iter().filter_map(member).collect::<Vec<_>>().join(","));
        let nonce = STANDARD.encode(NONCE);
        let additional = json!(self.additional);
        (
            format!(r#"{{"additional-evidence":{additional},"nonce":"{nonce}","tee-pubkey":{key}}}"#),
            format!(r#"{{"nonce":"{nonce}","tee-pubkey":{key}}}"#),
        )
    }

    fn message(&mut self) -> Value {
        if let Some(nonce) = self.device_nonce {
            let report = VENDOR.report(&Report::new(nonce));
            let device = json!({
                "arch": "HOPPER",
                "uuid": "unknown",
                "evidence": STANDARD.encode(report),
                "certificate": STANDARD.encode(VENDOR.chain()),
            });
            self.additional = json!({ "nvidia": { "device_evidence_list": [device] } }).to_string();
        }
        let mut report_data = (self.digest)(self.canonical().0.as_bytes());
        report_data.resize(64, 0);
        let quote = quote(report_data.try_into().expect("64 bytes"), |td| td.mr_config_id = self.config);
        let mut message = json!({
            "runtime-data": { "nonce": STANDARD.encode(NONCE), "tee-pubkey": self.key },
            "tee-evidence": {
                "primary_evidence": { "cc_eventlog": null, "quote": quote },
                "additional_evidence": self.additional,
            },
        });
        if let Some(body) = self.init_data {
            message["init-data"] = json!({ "format": "toml", "body": body });
        }
        message
    }
}

fn broker(
    guest: impl FnOnce(&mut Guest),
    message: impl FnOnce(&mut Value),
    asked: impl FnOnce(&mut Asked),
) -> String {
    let mut own = Guest::new();
    guest(&mut own);
    let mut value = own.message();
    message(&mut value);
    let mut question = question();
    question.challenge = Challenge::Nonce(NONCE.to_vec());
    asked(&mut question);
    question.answer(value.to_string().as_bytes())
}

fn answered(guest: impl FnOnce(&mut Guest)) -> String {
    broker(guest, |_| {}, |_| {})
}

fn on_the_way(message: impl FnOnce(&mut Value)) -> String {
    broker(|_| {}, message, |_| {})
}

fn remove(object: &mut Value, member: &str) {
    object.as_object_mut().expect("an object").remove(member).expect("it was there");
}

fn initialized(guest: &mut Guest) {
    guest.init_data = Some(INIT_DATA);
    guest.config = sha384(INIT_DATA.as_bytes());
}

pub(crate) const CASES: &[Case] = &[
    // TDX, by itself.
    ("coco tdx: as it is made", || sent(|_| {}), "verified"),
    ("coco tdx: without a log", || sent(|e| e["cc_eventlog"] = "".into()), "verified"),
    ("coco tdx: with the agent's older log", || sent(|e| e["aa_eventlog"] = "INIT".into()), "verified"),
    ("coco tdx: a member twice", twice, "bundle.member.duplicate"),
    ("coco tdx: an unknown member", || sent(|e| e["x"] = 1.into()), "bundle.member.unknown"),
    (
        "coco tdx: without the member of the log",
        || sent(|e| remove(e, "cc_eventlog")),
        "bundle.unknown-system",
    ),
    (
        "coco tdx: two systems",
        || sent(|e| e["format"] = "https://tinfoil.sh/predicate/attestation/v3".into()),
        "bundle.two-systems",
    ),
    ("coco tdx: a quote that is no text", || sent(|e| e["quote"] = 1.into()), "bundle.member.type"),
    ("coco tdx: a quote in hexadecimal", || sent(|e| e["quote"] = "zz".into()), "bundle.member.encoding"),
    ("coco tdx: no quote in it", || sent(|e| e["quote"] = "".into()), "evidence.unknown-format"),
    ("coco tdx: with the CCEL of its boot", || booted(|_| {}, |_| {}), "verified"),
    (
        "coco tdx: a CCEL with an event more",
        || booted(|log| log.measure(2, EV_IPL, b"more"), |_| {}),
        "LOG-03 log.register.mismatch",
    ),
    (
        "coco tdx: the CCEL of nothing",
        || booted(|log| *log = EventLog::ccel(), |_| {}),
        "LOG-03 log.register.mismatch",
    ),
    (
        "coco tdx: a CCEL without the kernel that is asked for",
        || booted(|_| {}, |terms| terms.event_log = kernel("another kernel")),
        "LOG-06 log.event.required",
    ),
    (
        "coco tdx: a CCEL that nobody asked for is not looked at",
        || booted(|_| {}, |terms| terms.event_log = LogPolicy::NotAsked),
        "verified",
    ),
    (
        "coco tdx: no CCEL, and one is asked for",
        || asked(|a| a.terms.event_log = kernel("SIMULATED kernel")),
        "LOG-01 log.missing",
    ),
    ("coco tdx: a log that is none", || sent(|e| e["cc_eventlog"] = "AAAA".into()), "log.format.header"),
    ("coco tdx: a log that is no text", || sent(|e| e["cc_eventlog"] = json!([])), "bundle.member.type"),
    ("coco tdx: 10 MiB", || question().answer(&vec![b'{'; 10 * 1024 * 1024]), "bundle.too-long"),
    ("coco tdx: no endorsements", || asked(|a| a.endorsed = false), "BUN-02 bundle.endorsements.missing"),
    (
        "coco tdx: other report data",
        || asked(|a| a.challenge = Challenge::ReportData(vec![0; 64])),
        "TDX-28 binding.report-data",
    ),
    (
        "coco tdx: report data without its zeros",
        || asked(|a| a.challenge = Challenge::ReportData(vec![0x44; 32])),
        "TDX-28 binding.report-data",
    ),
    (
        "coco tdx: empty report data",
        || asked(|a| a.challenge = Challenge::ReportData(Vec::new())),
        "TDX-28 binding.report-data",
    ),
    (
        "coco tdx: a nonce was asked",
        || asked(|a| a.challenge = Challenge::Nonce(NONCE.to_vec())),
        "BUN-03 bundle.challenge.no-nonce",
    ),
    (
        "coco tdx: nothing was asked",
        || asked(|a| a.challenge = Challenge::DangerNone { reason: "an audit".into() }),
        "verified, waived: BUN-03",
    ),
    (
        "coco tdx: another image",
        || asked(|a| a.terms.mrtd = Expected::OneOf(vec![[1; 48]])),
        "TDX-20 tdx.mrtd.not-accepted",
    ),
    (
        "coco tdx: every byte",
        || swept(evidence().to_string().as_bytes(), question),
        "what is accepted says nothing else",
    ),
    // A composite.
    ("coco composite: as it is made", || composite(|_| {}), "verified"),
    (
        "coco composite: no devices in it",
        || composite(|c| c["additional_evidence"] = "{}".into()),
        "verified",
    ),
    ("coco composite: an unknown member", || composite(|c| c["x"] = 1.into()), "bundle.member.unknown"),
    (
        "coco composite: without the devices' member",
        || composite(|c| remove(c, "additional_evidence")),
        "bundle.member.missing",
    ),
    (
        "coco composite: no evidence",
        || composite(|c| c["primary_evidence"] = Value::Null),
        "bundle.member.type",
    ),
    (
        "coco composite: evidence of a sample",
        || composite(|c| c["primary_evidence"] = json!({ "svn": "1", "report_data": "" })),
        "bundle.unknown-system",
    ),
    (
        "coco composite: a composite within",
        || {
            composite(|c| {
                c["primary_evidence"] = json!({ "primary_evidence": {}, "additional_evidence": "" })
            })
        },
        "bundle.unknown-system",
    ),
    (
        "coco composite: devices as an object",
        || composite(|c| c["additional_evidence"] = json!({})),
        "bundle.member.type",
    ),
    (
        "coco composite: devices that are no JSON",
        || composite(|c| c["additional_evidence"] = "{".into()),
        "bundle.json",
    ),
    (
        "coco composite: a kind of device twice",
        || composite(|c| c["additional_evidence"] = r#"{"nvidia":{},"nvidia":{}}"#.into()),
        "bundle.member.duplicate",
    ),
    (
        "coco composite: a device of another kind",
        || composite(|c| c["additional_evidence"] = r#"{"hygondcu":{}}"#.into()),
        "bundle.version",
    ),
    (
        "coco composite: an unknown member of the devices",
        || composite(|c| c["additional_evidence"] = r#"{"nvidia":{"device_evidence_list":[],"x":1}}"#.into()),
        "bundle.member.unknown",
    ),
    (
        "coco composite: 65 devices",
        || {
            composite(|c| {
                c["additional_evidence"] =
                    json!({ "nvidia": { "device_evidence_list": vec![0; 65] } }).to_string().into()
            })
        },
        "bundle.item.too-many",
    ),
    ("coco composite: a device that is not looked at", composite_device, "verified, waived: BUN-04"),
    ("coco composite: a device, and no nonce for it", composite_nonce, "BUN-04 bundle.devices.nonce"),
    // The message.
    ("coco kbs: as it is made", || answered(|_| {}), "verified"),
    (
        "coco kbs: what is bound",
        bound,
        r#"tee-pubkey {"alg":"ECDH-ES+A256KW","crv":"P-256","kty":"EC","x":"eA","y":"eQ"}"#,
    ),
    ("coco kbs: SHA-256", || answered(|g| g.digest = |m| sha256(m).to_vec()), "verified"),
    ("coco kbs: SHA-512", || answered(|g| g.digest = sha512), "verified"),
    (
        "coco kbs: an RSA key",
        || answered(|g| g.key = json!({ "kty": "RSA", "alg": "RSA-OAEP-256", "n": "bg", "e": "AQAB" })),
        "verified",
    ),
    (
        "coco kbs: a key pair of an algorithm",
        || answered(|g| g.key = json!({ "kty": "AKP", "alg": "ML-KEM-768", "pub": "cA" })),
        "verified",
    ),
    ("coco kbs: a key with a quote in it", || answered(|g| g.key["x"] = "\"\\\u{1}\n".into()), "verified"),
    ("coco kbs: null for init data", || on_the_way(|m| m["init-data"] = Value::Null), "verified"),
    ("coco kbs: an unknown member", || on_the_way(|m| m["x"] = 1.into()), "bundle.member.unknown"),
    (
        "coco kbs: an unknown member of the runtime data",
        || on_the_way(|m| m["runtime-data"]["x"] = 1.into()),
        "bundle.member.unknown",
    ),
    (
        "coco kbs: an unknown member of the key",
        || answered(|g| g.key["kid"] = "x".into()),
        "bundle.member.unknown",
    ),
    ("coco kbs: a key of another kind", || answered(|g| g.key["kty"] = "OKP".into()), "bundle.version"),
    (
        "coco kbs: a key without a coordinate",
        || on_the_way(|m| remove(&mut m["runtime-data"]["tee-pubkey"], "y")),
        "bundle.member.missing",
    ),
    ("coco kbs: no runtime data", || on_the_way(|m| remove(m, "runtime-data")), "bundle.member.missing"),
    (
        "coco kbs: evidence that is a text",
        || on_the_way(|m| m["tee-evidence"] = "".into()),
        "bundle.member.type",
    ),
    (
        "coco kbs: an empty nonce",
        || on_the_way(|m| m["runtime-data"]["nonce"] = "".into()),
        "bundle.member.length",
    ),
    (
        "coco kbs: a nonce of 65 bytes",
        || on_the_way(|m| m["runtime-data"]["nonce"] = STANDARD.encode([0; 65]).into()),
        "bundle.member.length",
    ),
    (
        "coco kbs: a nonce that is not base64",
        || on_the_way(|m| m["runtime-data"]["nonce"] = "*".into()),
        "bundle.member.encoding",
    ),
    (
        "coco kbs: another nonce was asked",
        || broker(|_| {}, |_| {}, |a| a.challenge = Challenge::Nonce(vec![1; 32])),
        "BUN-03 bundle.challenge.differs",
    ),
    (
        "coco kbs: report data was asked",
        || broker(|_| {}, |_| {}, |a| a.challenge = Challenge::ReportData(vec![0; 64])),
        "BUN-03 bundle.challenge.not-report-data",
    ),
    (
        "coco kbs: nothing was asked",
        || broker(|_| {}, |_| {}, |a| a.challenge = Challenge::DangerNone { reason: "an audit".into() }),
        "verified, waived: BUN-03",
    ),
    (
        "coco kbs: another key",
        || on_the_way(|m| m["runtime-data"]["tee-pubkey"]["x"] = "eB".into()),
        "BUN-C01 bundle.digest",
    ),
    (
        "coco kbs: another nonce",
        || {
            broker(
                |_| {},
                |m| m["runtime-data"]["nonce"] = STANDARD.encode([1; 32]).into(),
                |a| a.challenge = Challenge::Nonce(vec![1; 32]),
            )
        },
        "BUN-C01 bundle.digest",
    ),
    (
        "coco kbs: devices that were left out",
        || {
            broker(
                |g| g.device_nonce = Some([1; 32]),
                |m| m["tee-evidence"]["additional_evidence"] = "".into(),
                |_| {},
            )
        },
        "BUN-C01 bundle.digest",
    ),
    (
        "coco kbs: devices that were put in",
        || on_the_way(|m| m["tee-evidence"]["additional_evidence"] = "{}".into()),
        "BUN-C01 bundle.digest",
    ),
    (
        "coco kbs: a digest of another hash",
        || answered(|g| g.digest = |m| sha384(&sha384(m)).to_vec()),
        "BUN-C01 bundle.digest",
    ),
    (
        "coco kbs: a digest with something after it",
        || answered(|g| g.digest = |m| [&sha256(m)[..], &[1]].concat()),
        "BUN-C01 bundle.digest",
    ),
    ("coco kbs: report data of zeros", || answered(|g| g.digest = |_| Vec::new()), "BUN-C01 bundle.digest"),
    ("coco kbs: init data", || answered(initialized), "verified"),
    (
        "coco kbs: init data by SHA-256",
        || {
            answered(|g| {
                g.init_data =
                    Some("version = \"0.1.0\"\nalgorithm = \"sha256\"\n\n[data]\n\"aa.toml\" = \"x\"\n");
                g.config = shorter();
            })
        },
        "verified",
    ),
    (
        "coco kbs: other init data",
        || broker(initialized, |m| m["init-data"]["body"] = format!("{INIT_DATA}\n").into(), |_| {}),
        "BUN-C02 bundle.digest",
    ),
    (
        "coco kbs: init data that the host did not hand in",
        || answered(|g| g.init_data = Some(INIT_DATA)),
        "BUN-C02 bundle.digest",
    ),
    (
        "coco kbs: init data in JSON",
        || broker(initialized, |m| m["init-data"]["format"] = "json".into(), |_| {}),
        "bundle.version",
    ),
    (
        "coco kbs: init data of an unknown hash",
        || broker(initialized, |m| m["init-data"]["body"] = "algorithm = \"sm3\"".into(), |_| {}),
        "bundle.version",
    ),
    (
        "coco kbs: init data that is no TOML",
        || broker(initialized, |m| m["init-data"]["body"] = "=".into(), |_| {}),
        "bundle.member.encoding",
    ),
    (
        "coco kbs: init data without a hash",
        || broker(initialized, |m| m["init-data"]["body"] = "".into(), |_| {}),
        "bundle.member.encoding",
    ),
    (
        "coco kbs: init data with an unknown member",
        || broker(initialized, |m| m["init-data"]["x"] = 1.into(), |_| {}),
        "bundle.member.unknown",
    ),
    (
        "coco kbs: init data, nested deep",
        || {
            broker(
                initialized,
                |m| m["init-data"]["body"] = format!("a = {}", "[".repeat(100_000)).into(),
                |_| {},
            )
        },
        "bundle.member.encoding",
    ),
    ("coco kbs: a device", || device(None), "verified"),
    ("coco kbs: a device that answered something else", || device(Some([9; 32])), "nvidia.nonce"),
    ("coco kbs: every byte", every_byte, "what is accepted says nothing else"),
];

fn twice() -> String {
    let text = evidence().to_string().replacen('{', r#"{"quote":"","#, 1);
    question().answer(text.as_bytes())
}

fn sha512(message: &[u8]) -> Vec<u8> {
    aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA512, message).as_ref().to_vec()
}

fn bound() -> String {
    let message = Guest::new().message().to_string();
    let mut question = question();
    question.challenge = Challenge::Nonce(NONCE.to_vec());
    let bundle = question.parse(message.as_bytes()).expect("a bundle");
    let verified = question.verify(&bundle).expect("verified");
    let values: Vec<_> = verified
        .values()
        .iter()
        .map(|value| format!("{} {}", value.name, String::from_utf8_lossy(&value.value)))
        .collect();
    values.join(", ")
}

fn every_byte() -> String {
    let mut guest = Guest::new();
    initialized(&mut guest);
    swept(guest.message().to_string().as_bytes(), || {
        let mut question = question();
        question.challenge = Challenge::Nonce(NONCE.to_vec());
        question
    })
}

fn with_device() -> Value {
    let mut guest = Guest::new();
    guest.device_nonce = Some([1; 32]);
    let mut message = guest.message();
    let mut composite = message["tee-evidence"].take();
    composite["primary_evidence"] = evidence();
    composite
}

fn composite_device() -> String {
    let mut question = question();
    question.devices = DeviceTerms::DangerNotVerified { reason: "an audit of the guest".into() };
    question.answer(with_device().to_string().as_bytes())
}

fn composite_nonce() -> String {
    let mut question = question();
    question.devices = DeviceTerms::Exactly(waived_devices());
    question.answer(with_device().to_string().as_bytes())
}

fn waived_devices() -> casemate_attest::bundle::BundleDevices<'static> {
    use casemate_attest::nvidia::{GpuRevocation, NvidiaEndorsements};
    static ENDORSEMENTS: std::sync::LazyLock<NvidiaEndorsements> = std::sync::LazyLock::new(|| {
        let reason = "a case of another rule".to_owned();
        NvidiaEndorsements { revocation: GpuRevocation::DangerNotChecked { reason } }
    });
    casemate_attest::bundle::BundleDevices {
        count: 1,
        anchors: &VENDOR.anchors,
        endorsements: &ENDORSEMENTS,
        manifests: &[],
    }
}

/// A message with a device that answers this, or what it should.
fn device(nonce: Option<[u8; 32]>) -> String {
    use casemate_attest::nvidia::{Architecture, NvidiaPolicy};
    use casemate_attest::{Endorsements, PlatformPolicy, Revocation};
    let mut guest = Guest::new();
    let digest = sha384(guest.canonical().1.as_bytes());
    guest.device_nonce = Some(nonce.unwrap_or(digest[..32].try_into().expect("32 bytes")));
    let bundle = Bundle::parse(guest.message().to_string().as_bytes()).expect("a bundle");
    let any = || Expected::any("a case of another rule");
    let mut policy = Policy::for_tdx(question().terms);
    policy.nvidia = PlatformPolicy::Accepted(NvidiaPolicy {
        architectures: vec![Architecture::Hopper],
        firmware_id_missing: Danger::Refuse,
        certificate_hold: Danger::Refuse,
        driver_manifest_missing: allow(),
        vbios_manifest_missing: allow(),
        device: Expected::any("any device"),
        driver_version: any(),
        vbios_version: any(),
        measurements: Expected::any("no manifests in this case"),
    });
    let vendor = vendor();
    let answer = bundle.verify(&BundleQuestion {
        policy: &policy,
        anchors: &vendor.anchors,
        now: question().now,
        challenge: Challenge::Nonce(NONCE.to_vec()),
        endorsements: Some(Endorsements::tdx(vendor.collateral.clone())),
        revocation: Revocation::Missing,
        ak_certificate: None,
        event_log: None,
        devices: DeviceTerms::Exactly(waived_devices()),
        key_custody: Danger::Refuse,
    });
    answer.map_or_else(|refused| refused.code().to_owned(), |_| "verified".to_owned())
}
