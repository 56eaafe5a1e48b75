//! Documents of Tinfoil of version 3, with one change each, under a made-up vendor.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use casemate_attest::bundle::{Bundle, BundleDevices, Challenge, DeviceTerms};
use casemate_attest::eventlog::DstackVersion;
use casemate_attest::nvidia::{Architecture, GpuRevocation, NvidiaAnchors, NvidiaEndorsements, NvidiaPolicy};
use casemate_attest::tdx::TdxPolicy;
use casemate_attest::{Danger, Expected, PlatformPolicy, Policy};
use casemate_sim::nvidia::Report;
use serde_json::{Value, json};

use crate::Case;
use crate::machine::{Asked, swept, vendor};
use crate::nvidia_vendor::VENDOR;
use crate::tdx_vendor::{Td, sha256};

/// As the made-up device is asked, so that document and device can answer one nonce.
const NONCE: [u8; 32] = crate::nvidia_vendor::NONCE;
const TLS: [u8; 32] = [0x75; 32];
const HPKE: [u8; 32] = [0x48; 32];
const ALGORITHM: &str = "https://tinfoil.sh/report-data/v1";

/// A machine before it is asked.
pub(crate) struct Machine {
    keys: Value,
    devices: Value,
    pub(crate) collateral: Value,
    /// What the quote binds, if not what the formula says.
    report_data: Option<[u8; 64]>,
    /// With what the formula begins.
    label: &'static str,
}

impl Machine {
    fn new() -> Self {
        let key = |id: &str, format: &str, data: &[u8]| json!({ "id": id, "format": format!("https://tinfoil.sh/key/{format}/v1"), "data": hex::encode(data) });
        Self {
            keys: json!({
                "format": "https://tinfoil.sh/crypto-material/v1",
                "items": [key("tls", "spki-fp-sha256", &TLS), key("hpke", "x25519-hpke", &HPKE)],
            }),
            devices: json!({ "format": "https://tinfoil.sh/device-evidence/v1", "items": [] }),
            collateral: json!([]),
            report_data: None,
            label: ALGORITHM,
        }
    }

    fn document(&self) -> Value {
        let (keys, devices) = (self.keys.to_string(), self.devices.to_string());
        let (key_digest, device_digest) = (sha256(keys.as_bytes()), sha256(devices.as_bytes()));
        let digest = sha256(&[self.label.as_bytes(), &NONCE, &key_digest, &device_digest].concat());
        let computed: [u8; 64] = [digest, [0; 32]].concat().try_into().expect("64 bytes");
        let report_data = self.report_data.unwrap_or(computed);
        let quote = vendor().quote(&Td { report_data, ..Td::default() });
        json!({
            "format": "https://tinfoil.sh/predicate/attestation/v3",
            "challenge": {
                "nonce": hex::encode(NONCE),
                "report_data": hex::encode(computed),
                "report_data_algorithm": ALGORITHM,
            },
            "cpu_evidence": {
                "format": "https://tinfoil.sh/format/tdx-quote/v1",
                "report_base64": STANDARD.encode(quote),
                "endorsed": {
                    "crypto_material_hash": hex::encode(key_digest),
                    "device_evidence_hash": hex::encode(device_digest),
                },
            },
            "crypto_material": STANDARD.encode(keys),
            "device_evidence": STANDARD.encode(devices),
            "collateral": self.collateral,
        })
    }
}

fn question() -> Asked {
    let mut asked = Asked::new(DstackVersion::V1);
    asked.terms = TdxPolicy::strict(Expected::OneOf(vec![[0x4d; 48]]));
    asked.challenge = Challenge::Nonce(NONCE.to_vec());
    asked
}

pub(crate) fn made(
    machine: impl FnOnce(&mut Machine),
    document: impl FnOnce(&mut Value),
    asked: impl FnOnce(&mut Asked),
) -> String {
    let mut own = Machine::new();
    machine(&mut own);
    let mut value = own.document();
    document(&mut value);
    let mut question = question();
    asked(&mut question);
    question.answer(value.to_string().as_bytes())
}

/// A document that nobody changed.
fn good(machine: impl FnOnce(&mut Machine)) -> String {
    made(machine, |_| {}, |_| {})
}

/// A document that somebody changed on the way.
fn sent(document: impl FnOnce(&mut Value)) -> String {
    made(|_| {}, document, |_| {})
}

fn asked(asked: impl FnOnce(&mut Asked)) -> String {
    made(|_| {}, |_| {}, asked)
}

/// As `sent`, of the text itself.
fn text(change: impl FnOnce(String) -> String) -> String {
    question().answer(change(Machine::new().document().to_string()).as_bytes())
}

fn key(id: &str, format: &str, data: &str) -> Value {
    json!({ "id": id, "format": format, "data": data })
}

pub(crate) fn push(list: &mut Value, item: Value) {
    list.as_array_mut().expect("a list").push(item);
}

pub(crate) fn remove(object: &mut Value, member: &str) {
    object.as_object_mut().expect("an object").remove(member).expect("it was there");
}

/// The made-up device, as NVIDIA's SDK writes it.
fn gpu(nonce: [u8; 32]) -> Value {
    json!({
        "arch": "HOPPER",
        "certificate": STANDARD.encode(VENDOR.chain()),
        "evidence": STANDARD.encode(VENDOR.report(&Report::new(nonce))),
        "nonce": hex::encode(nonce),
    })
}

fn device(id: &str, format: &str, evidence: Value) -> Value {
    json!({ "id": id, "kind": "gpu", "vendor": "nvidia", "format": format, "evidence": evidence })
}

const GPU: &str = "https://tinfoil.sh/format/nvidia-gpu-evidence/v1";
const SWITCH: &str = "https://tinfoil.sh/format/nvidia-nvswitch-evidence/v1";

/// A document with these devices, under a policy with terms for them. `count` is how many there must be.
fn devices(items: &[Value], count: usize, anchors: &NvidiaAnchors) -> String {
    let mut machine = Machine::new();
    machine.devices["items"] = items.into();
    let document = machine.document().to_string();
    let any = || Expected::any("a case of another rule");
    let allow = || Danger::Allow { reason: "a case of another rule".to_owned() };
    let terms = NvidiaPolicy {
        architectures: vec![Architecture::Hopper],
        firmware_id_missing: Danger::Refuse,
        certificate_hold: Danger::Refuse,
        driver_manifest_missing: allow(),
        vbios_manifest_missing: allow(),
        device: Expected::any("any device"),
        driver_version: any(),
        vbios_version: any(),
        measurements: Expected::any("no manifests in this case"),
    };
    let revocation = GpuRevocation::DangerNotChecked { reason: "a case of another rule".to_owned() };
    let endorsements = NvidiaEndorsements { revocation };
    let bundle = match Bundle::parse(document.as_bytes()) {
        Ok(bundle) => bundle,
        Err(error) => return error.code().to_owned(),
    };
    let devices =
        DeviceTerms::Exactly(BundleDevices { count, anchors, endorsements: &endorsements, manifests: &[] });
    let asked = question();
    let mut policy = Policy::for_tdx(asked.terms.clone());
    policy.nvidia = PlatformPolicy::Accepted(terms);
    let vendor = vendor();
    let answer = bundle.verify(&casemate_attest::bundle::BundleQuestion {
        policy: &policy,
        anchors: &vendor.anchors,
        now: asked.now,
        challenge: asked.challenge,
        endorsements: Some(casemate_attest::Endorsements::tdx(vendor.collateral.clone())),
        revocation: casemate_attest::Revocation::Missing,
        ak_certificate: None,
        event_log: None,
        devices,
        key_custody: Danger::Refuse,
    });
    match answer {
        Ok(verified) => {
            let set = verified.devices().expect("devices");
            assert_eq!(set.devices().len(), count);
            assert_eq!(verified.valid_until(), set.valid_until().min(verified.verified().valid_until()));
            "verified".to_owned()
        }
        Err(refused) => refused.code().to_owned(),
    }
}

fn device_items(items: &[Value]) -> String {
    devices(items, 1, &VENDOR.anchors)
}

pub(crate) const CASES: &[Case] = &[
    ("tinfoil: as it is made", || good(|_| {}), "verified"),
    ("tinfoil: what is bound", bound, "tls-spki-sha256 75, hpke-x25519 48"),
    (
        "tinfoil: further keys",
        further_keys,
        "tls-spki-sha256, spki of workload-key, x25519 of other; 1 not asked",
    ),
    ("tinfoil: a workload key alone", || good(workload), "verified"),
    // BUN-01: the form.
    ("tinfoil: empty object", || question().answer(b"{}"), "bundle.unknown-system"),
    ("tinfoil: not an object", || question().answer(b"[]"), "bundle.unknown-system"),
    ("tinfoil: nothing", || question().answer(b""), "bundle.json"),
    ("tinfoil: something follows", || text(|t| t + "{}"), "bundle.json"),
    (
        "tinfoil: without its end",
        || {
            text(|mut t| {
                t.pop();
                t
            })
        },
        "bundle.json",
    ),
    ("tinfoil: nested 129 times", || question().answer(nested(129).as_bytes()), "bundle.json"),
    ("tinfoil: nested a million times", || question().answer(nested(1_000_000).as_bytes()), "bundle.json"),
    ("tinfoil: 4 MiB and a byte", || question().answer(&vec![b' '; 4 * 1024 * 1024 + 1]), "bundle.too-long"),
    ("tinfoil: 10 MiB", || question().answer(&vec![b'{'; 10 * 1024 * 1024]), "bundle.too-long"),
    (
        "tinfoil: a member twice",
        || text(|t| t.replacen('{', r#"{"collateral":[],"#, 1)),
        "bundle.member.duplicate",
    ),
    (
        "tinfoil: a member twice, deeper",
        || {
            text(|t| {
                t.replacen(
                    r#""endorsed":{"#,
                    &format!(r#""endorsed":{{"device_evidence_hash":"{}","#, "00".repeat(32)),
                    1,
                )
            })
        },
        "bundle.member.duplicate",
    ),
    ("tinfoil: an unknown member", || sent(|d| d["x"] = 1.into()), "bundle.member.unknown"),
    (
        "tinfoil: an unknown member of the challenge",
        || sent(|d| d["challenge"]["x"] = 1.into()),
        "bundle.member.unknown",
    ),
    (
        "tinfoil: an unknown member of the evidence",
        || sent(|d| d["cpu_evidence"]["x"] = 1.into()),
        "bundle.member.unknown",
    ),
    (
        "tinfoil: an unknown member of the digests",
        || sent(|d| d["cpu_evidence"]["endorsed"]["x"] = 1.into()),
        "bundle.member.unknown",
    ),
    ("tinfoil: no challenge", || sent(|d| remove(d, "challenge")), "bundle.member.missing"),
    ("tinfoil: no nonce", || sent(|d| remove(&mut d["challenge"], "nonce")), "bundle.member.missing"),
    ("tinfoil: no collateral", || sent(|d| remove(d, "collateral")), "bundle.member.missing"),
    ("tinfoil: no devices' section", || sent(|d| remove(d, "device_evidence")), "bundle.member.missing"),
    (
        "tinfoil: version 4",
        || sent(|d| d["format"] = "https://tinfoil.sh/predicate/attestation/v4".into()),
        "bundle.version",
    ),
    (
        "tinfoil: version 3 in capitals",
        || sent(|d| d["format"] = "https://tinfoil.sh/predicate/attestation/V3".into()),
        "bundle.version",
    ),
    (
        "tinfoil: version 1",
        || question().answer(br#"{"format":"https://tinfoil.sh/predicate/sev-snp-guest/v1","body":""}"#),
        "bundle.version",
    ),
    (
        "tinfoil: a dummy",
        || question().answer(br#"{"format":"https://tinfoil.sh/predicate/dummy/v2","body":""}"#),
        "bundle.version",
    ),
    (
        "tinfoil: another algorithm",
        || sent(|d| d["challenge"]["report_data_algorithm"] = "https://tinfoil.sh/report-data/v2".into()),
        "bundle.version",
    ),
    (
        "tinfoil: a quote of another format",
        || sent(|d| d["cpu_evidence"]["format"] = "https://tinfoil.sh/format/tdx-quote/v2".into()),
        "bundle.version",
    ),
    (
        "tinfoil: a TD quote called a SEV-SNP report",
        || sent(|d| d["cpu_evidence"]["format"] = "https://tinfoil.sh/format/sev-snp-report/v1".into()),
        "bundle.platform",
    ),
    (
        "tinfoil: no evidence",
        || sent(|d| d["cpu_evidence"]["report_base64"] = "".into()),
        "evidence.unknown-format",
    ),
    (
        "tinfoil: the nonce in capitals",
        || sent(|d| d["challenge"]["nonce"] = "AB".repeat(32).into()),
        "bundle.member.encoding",
    ),
    (
        "tinfoil: a nonce of 31 bytes",
        || sent(|d| d["challenge"]["nonce"] = "07".repeat(31).into()),
        "bundle.member.length",
    ),
    (
        "tinfoil: a nonce of 33 bytes",
        || sent(|d| d["challenge"]["nonce"] = "07".repeat(33).into()),
        "bundle.member.length",
    ),
    (
        "tinfoil: half a byte",
        || sent(|d| d["challenge"]["nonce"] = "7".repeat(63).into()),
        "bundle.member.encoding",
    ),
    (
        "tinfoil: a nonce that is a number",
        || sent(|d| d["challenge"]["nonce"] = 7.into()),
        "bundle.member.type",
    ),
    (
        "tinfoil: a section without padding",
        || sent(|d| trim(&mut d["device_evidence"])),
        "bundle.member.encoding",
    ),
    (
        "tinfoil: a section with a line break",
        || sent(|d| broken(&mut d["device_evidence"])),
        "bundle.member.encoding",
    ),
    (
        "tinfoil: a section that is no JSON",
        || sent(|d| d["crypto_material"] = STANDARD.encode("{").into()),
        "bundle.json",
    ),
    (
        "tinfoil: keys in a section of another format",
        || good(|m| m.keys["format"] = "x".into()),
        "bundle.version",
    ),
    ("tinfoil: an unknown member of the keys", || good(|m| m.keys["x"] = 1.into()), "bundle.member.unknown"),
    (
        "tinfoil: an unknown member of a key",
        || good(|m| m.keys["items"][0]["x"] = 1.into()),
        "bundle.member.unknown",
    ),
    (
        "tinfoil: a key twice",
        || good(|m| m.keys["items"][1] = m.keys["items"][0].clone()),
        "bundle.item.duplicate",
    ),
    (
        "tinfoil: a key without a name",
        || good(|m| m.keys["items"][1] = key("", "x", "00")),
        "bundle.item.duplicate",
    ),
    (
        "tinfoil: a TLS key of another format",
        || good(|m| m.keys["items"][0]["format"] = "x".into()),
        "bundle.version",
    ),
    (
        "tinfoil: a TLS key of 31 bytes",
        || good(|m| m.keys["items"][0]["data"] = "75".repeat(31).into()),
        "bundle.member.length",
    ),
    (
        "tinfoil: an empty SubjectPublicKeyInfo",
        || good(|m| m.keys["items"][0] = key("tls", "https://tinfoil.sh/key/spki/v1", "")),
        "bundle.member.encoding",
    ),
    (
        "tinfoil: 17 keys",
        || good(|m| m.keys["items"] = (0..17).map(|n| key(&n.to_string(), "x", "00")).collect()),
        "bundle.item.too-many",
    ),
    (
        "tinfoil: devices in a section of another format",
        || good(|m| m.devices["format"] = "x".into()),
        "bundle.version",
    ),
    (
        "tinfoil: a device of another format",
        || device_items(&[device("gpu0", "x", gpu(NONCE))]),
        "bundle.version",
    ),
    (
        "tinfoil: a device twice",
        || device_items(&[device("gpu0", GPU, gpu(NONCE)), device("gpu0", GPU, gpu(NONCE))]),
        "bundle.item.duplicate",
    ),
    (
        "tinfoil: a device with an unknown member",
        || {
            let mut item = device("gpu0", GPU, gpu(NONCE));
            item["x"] = 1.into();
            device_items(&[item])
        },
        "bundle.member.unknown",
    ),
    (
        "tinfoil: a device without a report",
        || {
            let mut item = device("gpu0", GPU, gpu(NONCE));
            item["evidence"]["evidence"] = "".into();
            device_items(&[item])
        },
        "nvidia.format.truncated",
    ),
    (
        "tinfoil: 65 devices",
        || good(|m| m.devices["items"] = (0..65).map(|n| device(&n.to_string(), GPU, Value::Null)).collect()),
        "bundle.item.too-many",
    ),
    (
        "tinfoil: 65 switches in one item",
        || good(|m| m.devices["items"] = json!([device("s", SWITCH, json!({ "evidences": vec![0; 65] }))])),
        "bundle.item.too-many",
    ),
    // BUN-03: the challenge.
    (
        "tinfoil: another nonce was asked",
        || asked(|a| a.challenge = Challenge::Nonce(vec![8; 32])),
        "BUN-03 bundle.challenge.differs",
    ),
    (
        "tinfoil: a shorter nonce was asked",
        || asked(|a| a.challenge = Challenge::Nonce(vec![7; 31])),
        "BUN-03 bundle.challenge.differs",
    ),
    (
        "tinfoil: no nonce was asked",
        || asked(|a| a.challenge = Challenge::Nonce(Vec::new())),
        "BUN-03 bundle.challenge.differs",
    ),
    (
        "tinfoil: report data was asked",
        || asked(|a| a.challenge = Challenge::ReportData(vec![0; 64])),
        "BUN-03 bundle.challenge.not-report-data",
    ),
    (
        "tinfoil: nothing was asked",
        || asked(|a| a.challenge = Challenge::DangerNone { reason: "an audit".into() }),
        "verified, waived: BUN-03",
    ),
    (
        "tinfoil: nothing was asked, for no reason",
        || asked(|a| a.challenge = Challenge::DangerNone { reason: " ".into() }),
        "BUN-03 policy.waiver-without-reason",
    ),
    (
        "tinfoil: nothing was asked, of another quote",
        || {
            made(
                |m| m.report_data = Some([1; 64]),
                |_| {},
                |a| a.challenge = Challenge::DangerNone { reason: "an audit".into() },
            )
        },
        "TDX-28 binding.report-data",
    ),
    // BUN-T01: what is stated.
    (
        "tinfoil: another digest of the keys",
        || sent(|d| d["cpu_evidence"]["endorsed"]["crypto_material_hash"] = "00".repeat(32).into()),
        "BUN-T01 bundle.digest",
    ),
    (
        "tinfoil: another digest of the devices",
        || sent(|d| d["cpu_evidence"]["endorsed"]["device_evidence_hash"] = "00".repeat(32).into()),
        "BUN-T01 bundle.digest",
    ),
    (
        "tinfoil: other report data stated",
        || sent(|d| d["challenge"]["report_data"] = "00".repeat(64).into()),
        "BUN-T01 bundle.digest",
    ),
    (
        "tinfoil: other keys",
        || sent(|d| d["crypto_material"] = STANDARD.encode(other_keys().to_string()).into()),
        "BUN-T01 bundle.digest",
    ),
    (
        "tinfoil: the keys with a space",
        || sent(|d| spaced(&mut d["crypto_material"])),
        "BUN-T01 bundle.digest",
    ),
    ("tinfoil: other keys, with all that can be computed", swapped, "TDX-28 binding.report-data"),
    // BUN-T02: the keys.
    ("tinfoil: no key", || good(|m| m.keys["items"] = json!([])), "BUN-T02 bundle.no-key"),
    (
        "tinfoil: only a key that nobody knows",
        || good(|m| m.keys["items"] = json!([key("x", "y", "00")])),
        "BUN-T02 bundle.no-key",
    ),
    (
        "tinfoil: a TLS key of zeros",
        || good(|m| m.keys["items"][0]["data"] = "00".repeat(32).into()),
        "BUN-T02 bundle.no-key",
    ),
    (
        "tinfoil: an HPKE key of zeros",
        || good(|m| m.keys["items"][1]["data"] = "00".repeat(32).into()),
        "BUN-T02 bundle.no-key",
    ),
    // TDX-28: what the evidence binds.
    ("tinfoil: another quote", || good(|m| m.report_data = Some([1; 64])), "TDX-28 binding.report-data"),
    (
        "tinfoil: the formula without its label",
        || made(|m| m.label = "", |_| {}, |_| {}),
        "BUN-T01 bundle.digest",
    ),
    (
        "tinfoil: a bit behind the digest",
        || good(|m| m.report_data = Some(with_last_bit())),
        "TDX-28 binding.report-data",
    ),
    (
        "tinfoil: another image",
        || asked(|a| a.terms = TdxPolicy::strict(Expected::OneOf(vec![[1; 48]]))),
        "TDX-20 tdx.mrtd.not-accepted",
    ),
    ("tinfoil: a byte of the quote", || sent(flipped), "TDX-06 tdx.signature.invalid"),
    // BUN-04: devices.
    (
        "tinfoil: a device that nobody expects",
        || good(|m| m.devices["items"] = json!([device("gpu0", GPU, gpu(NONCE))])),
        "BUN-04 bundle.devices.not-expected",
    ),
    (
        "tinfoil: a device that is not looked at",
        || {
            made(
                |m| m.devices["items"] = json!([device("gpu0", GPU, gpu(NONCE))]),
                |_| {},
                |a| a.devices = DeviceTerms::DangerNotVerified { reason: "an audit".into() },
            )
        },
        "verified, waived: BUN-04",
    ),
    (
        "tinfoil: a device that is not looked at, for no reason",
        || {
            made(
                |m| m.devices["items"] = json!([device("gpu0", GPU, gpu(NONCE))]),
                |_| {},
                |a| a.devices = DeviceTerms::DangerNotVerified { reason: "".into() },
            )
        },
        "BUN-04 policy.waiver-without-reason",
    ),
    ("tinfoil: a device", || device_items(&[device("gpu0", GPU, gpu(NONCE))]), "verified"),
    (
        "tinfoil: a device in a switch's form",
        || {
            device_items(&[device(
                "nvswitch0",
                SWITCH,
                json!({ "evidences": [gpu(NONCE)], "result_code": 0 }),
            )])
        },
        "verified",
    ),
    (
        "tinfoil: a device of another nonce",
        || device_items(&[device("gpu0", GPU, gpu([9; 32]))]),
        "nvidia.nonce",
    ),
    (
        "tinfoil: one device twice, as two",
        || devices(&[device("gpu0", GPU, gpu(NONCE)), device("gpu1", GPU, gpu(NONCE))], 2, &VENDOR.anchors),
        "nvidia.set.duplicate",
    ),
    (
        "tinfoil: a device too few",
        || devices(&[device("gpu0", GPU, gpu(NONCE))], 2, &VENDOR.anchors),
        "nvidia.set.count",
    ),
    (
        "tinfoil: a device too many",
        || devices(&[device("gpu0", GPU, gpu(NONCE)), device("gpu1", GPU, gpu(NONCE))], 1, &VENDOR.anchors),
        "nvidia.set.count",
    ),
    ("tinfoil: devices expected, and none there", || devices(&[], 1, &VENDOR.anchors), "nvidia.set.count"),
    (
        "tinfoil: a device of nobody's",
        || devices(&[device("gpu0", GPU, gpu(NONCE))], 1, &NvidiaAnchors::nvidia()),
        "nvidia.root.foreign",
    ),
    (
        "tinfoil: every byte",
        || swept(Machine::new().document().to_string().as_bytes(), question),
        "what is accepted says nothing else",
    ),
];

fn bound() -> String {
    let bundle = Bundle::parse(Machine::new().document().to_string().as_bytes()).expect("a bundle");
    let verified = question().verify(&bundle).expect("verified");
    assert_eq!(verified.bound("tls-spki-sha256"), Some(&TLS[..]));
    assert_eq!(verified.bound("x"), None);
    let values: Vec<_> = verified.values().iter().map(|v| format!("{} {:02x}", v.name, v.value[0])).collect();
    values.join(", ")
}

fn workload(machine: &mut Machine) {
    machine.keys["items"] = json!([key("workload-key", "https://tinfoil.sh/key/spki/v1", "302a")]);
}

fn further_keys() -> String {
    let mut machine = Machine::new();
    machine.keys["items"] = json!([
        key("tls", "https://tinfoil.sh/key/spki/v1", "3059"),
        key("workload-key", "https://tinfoil.sh/key/spki/v1", "302a"),
        key("other", "https://tinfoil.sh/key/x25519-hpke/v1", &"48".repeat(32)),
        key("unknown", "https://tinfoil.sh/key/pq/v1", "00"),
    ]);
    let bundle = Bundle::parse(machine.document().to_string().as_bytes()).expect("a bundle");
    let verified = question().verify(&bundle).expect("verified");
    assert_eq!(verified.bound("tls-spki-sha256"), Some(&sha256(&[0x30, 0x59])[..]));
    let name = |v: &casemate_attest::bundle::BoundValue| match &v.of {
        Some(of) => format!("{} of {of}", v.name),
        None => v.name.to_owned(),
    };
    let values: Vec<_> = verified.values().iter().map(name).collect();
    format!("{}; {} not asked", values.join(", "), verified.not_asked().len())
}

fn nested(depth: usize) -> String {
    format!(r#"{{"format":"https://tinfoil.sh/predicate/attestation/v3","x":{}"#, "[".repeat(depth))
}

fn trim(section: &mut Value) {
    let text = section.as_str().expect("text");
    let bytes = STANDARD.decode(text).expect("base64");
    // With a space more or less there is a padding to leave out.
    let spaced = [&bytes[..], b" "].concat();
    let padded = [text.to_owned(), STANDARD.encode(spaced)].into_iter().find(|t| t.ends_with('='));
    *section = padded.expect("one of them").trim_end_matches('=').into();
}

fn broken(section: &mut Value) {
    let text = section.as_str().expect("text");
    *section = format!("{}\n{}", &text[..4], &text[4..]).into();
}

fn spaced(section: &mut Value) {
    let bytes = STANDARD.decode(section.as_str().expect("text")).expect("base64");
    *section = STANDARD.encode([&bytes[..], b" "].concat()).into();
}

fn other_keys() -> Value {
    let mut keys = Machine::new().keys;
    keys["items"][0]["data"] = "66".repeat(32).into();
    keys
}

/// Everything but the quote is as for the other keys.
fn swapped() -> String {
    let honest = Machine::new().document();
    let mut other = Machine { keys: other_keys(), ..Machine::new() }.document();
    other["cpu_evidence"]["report_base64"] = honest["cpu_evidence"]["report_base64"].clone();
    question().answer(other.to_string().as_bytes())
}

fn with_last_bit() -> [u8; 64] {
    let document = Machine::new().document();
    let text = document["challenge"]["report_data"].as_str().expect("text");
    let mut data: [u8; 64] = hex::decode(text).expect("hexadecimal").try_into().expect("64 bytes");
    data[63] |= 1;
    data
}

fn flipped(document: &mut Value) {
    let evidence = &mut document["cpu_evidence"]["report_base64"];
    let mut quote = STANDARD.decode(evidence.as_str().expect("text")).expect("base64");
    quote[48 + 136] ^= 1;
    *evidence = STANDARD.encode(quote).into();
}
