//! AWS Nitro Enclaves: recorded documents of real enclaves, and one mistake each under a root of the test's own.

#[path = "../recorded/mod.rs"]
mod recorded;
mod revocation;
mod vendor;

use std::sync::LazyLock;

use casemate_attest::nitro::NitroPolicy;
use casemate_attest::rules::NITRO;
use casemate_attest::{
    Authentic, Binding, Danger, Endorsements, Evidence, Expected, Outcome, Policy, Report, Revocation,
    TrustAnchors, UnixTime, verify,
};
use libtest_mimic::{Arguments, Failed, Trial};
use vendor::{Module, NOON, Path, Payload, Vendor, array, bytes, envelope, map, text, uint};

type Case = (&'static str, fn() -> String, &'static str);

/// Until a second before noon.
const EXPIRED: Path =
    Path::IntermediateValidity { not_before: UnixTime(NOON.0 - 86_400), not_after: UnixTime(NOON.0 - 1) };

static VENDOR: LazyLock<Vendor> = LazyLock::new(Vendor::new);
static MODULE: LazyLock<Module> = LazyLock::new(|| VENDOR.module(Path::None));

fn main() {
    let arguments = Arguments::from_args();
    let recordings = recorded::folder().is_some();
    let recorded = RECORDED.iter().map(|case| trial("recorded", case).with_ignored_flag(!recordings));
    let made = MADE.iter().chain(revocation::CASES).map(|case| trial("made", case));
    let sweeps = [
        Trial::test("recorded: every bit of the document", every_bit).with_ignored_flag(!recordings),
        Trial::test("recorded: every length", every_length).with_ignored_flag(!recordings),
        Trial::test("the rule at fault is the one of the PCR", the_rule_at_fault),
        Trial::test("made: every bit of a list", revocation::every_bit),
    ];
    libtest_mimic::run(&arguments, recorded.chain(made).chain(sweeps).collect()).exit();
}

fn trial(kind: &str, &(name, run, expected): &'static Case) -> Trial {
    Trial::test(format!("{kind}: {name}"), move || {
        let found = run();
        if found == expected { Ok(()) } else { Err(format!("{found:?}, expected {expected:?}").into()) }
    })
}

/// MANIFEST.md, Nitro.
static RECORDED: &[Case] = &[
    ("nitro_attest is genuine and ours", || good().appraise(&exact()), "verified, waived: NIT-04, NIT-16"),
    ("nitro_attest, PCR0 of another image", || good().appraise(&other_image()), "nitro.pcr.not-accepted"),
    (
        "nitro_attest a day later",
        || Recording { now: UnixTime(1_736_266_025), ..good() }.appraise(&exact()),
        "x509.expired",
    ),
    (
        "nitro_attest a day earlier",
        || Recording { now: UnixTime(1_736_093_225), ..good() }.appraise(&exact()),
        "x509.not-yet-valid",
    ),
    (
        "nitro_attest under AMD's roots only",
        || Recording { anchors: TrustAnchors::amd(), ..good() }.appraise(&exact()),
        "nitro.root.missing",
    ),
    (
        "nitro_attest under a root of the test's",
        || Recording { anchors: VENDOR.anchors.clone(), ..good() }.appraise(&exact()),
        "x509.unknown-issuer",
    ),
    (
        "nitro_attest with a tag",
        || Recording { bytes: [&[0xd2][..], &good().bytes].concat(), ..good() }.appraise(&exact()),
        "verified, waived: NIT-04, NIT-16",
    ),
    ("nitro_ad_debug is in debug mode", || debug().appraise(&exact()), "nitro.debug"),
    (
        "nitro_ad_debug, where debug mode is allowed",
        || debug().appraise(&debug_allowed()),
        "verified, waived: NIT-04, NIT-08, NIT-16",
    ),
    (
        "the example is in debug mode",
        || recording("remote-attestation-verifier_example_attestation", 1_725_911_352).appraise(&exact()),
        "nitro.debug",
    ),
    (
        "the invalid document's signature is wrong",
        || recording("remote-attestation-verifier_invalid_attestation", 1_721_770_180).appraise(&exact()),
        "nitro.signature.invalid",
    ),
];

/// One mistake each; everything else is right.
static MADE: &[Case] = &[
    ("good", || made(payload()), "verified, waived: NIT-04"),
    ("simulated", || format!("{}", authentic(payload()).simulated()), "true"),
    ("report", report, "casemate.verify/1 VERIFIED (SIMULATED), 1 waived: NIT-04, 16 checks"),
    // NIT-01, around the payload
    ("empty", || parse(&[]), "evidence.unknown-format"),
    ("array only", || parse(&[0x84, 0x44]), "nitro.format.headers"),
    ("17 KiB", || parse(&[&[0x84, 0x44][..], &[0; 17 * 1024]].concat()), "nitro.format.too-long"),
    ("alg ES256", || change(|it| it[5] = 0x26), "nitro.format.headers"),
    (
        "alg in the unprotected header",
        || {
            change(|it| {
                it.splice(6..7, [0xa1, 0x01, 0x38, 0x22]);
            })
        },
        "nitro.format.headers",
    ),
    (
        "crit in the protected header",
        || {
            change(|it| {
                it.splice(1..6, [0x46, 0xa2, 0x01, 0x38, 0x22, 0x02, 0x80]);
            })
        },
        "evidence.unknown-format",
    ),
    ("array of five", || change(|it| it[0] = 0x85), "evidence.unknown-format"),
    ("another tag", || change(|it| it.insert(0, 0xd8)), "evidence.unknown-format"),
    (
        "payload length not the shortest",
        || {
            change(|it| {
                let n = [it[8], it[9]];
                it.splice(7..10, [0x5a, 0, 0, n[0], n[1]]);
            })
        },
        "nitro.format.framing",
    ),
    ("payload of indefinite length", || change(|it| it[7] = 0x5f), "nitro.format.framing"),
    (
        "signature of 95 bytes",
        || {
            change(|it| {
                let end = it.len() - 97;
                it[end] = 0x5f;
                it.pop();
            })
        },
        "nitro.format.framing",
    ),
    (
        "signature is text",
        || {
            change(|it| {
                let end = it.len() - 98;
                it[end] = 0x78;
            })
        },
        "nitro.format.framing",
    ),
    ("a byte behind the signature", || change(|it| it.push(0)), "nitro.format.trailing"),
    // NIT-01, the payload
    ("a byte behind the map", || raw(&[payload().encode(), vec![0]].concat()), "nitro.format.trailing"),
    ("payload is an array", || raw(&array([text("module_id")].into_iter())), "nitro.format.malformed"),
    (
        "map of indefinite length",
        || raw(&[&[0xbf][..], &payload().encode()[1..], &[0xff]].concat()),
        "nitro.format.malformed",
    ),
    (
        "map longer than the payload",
        || raw(&[&[0xaa][..], &payload().encode()[1..]].concat()),
        "nitro.format.malformed",
    ),
    (
        "map of 2^64-1",
        || raw(&[0xbb, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
        "nitro.format.malformed",
    ),
    (
        "a thousand nested arrays",
        || raw(&[&[0xa1][..], &text("pcrs"), &[0x81; 1000]].concat()),
        "nitro.format.malformed",
    ),
    ("a key that is a number", || raw(&[0xa1, 0x01, 0x01]), "nitro.format.malformed"),
    ("unknown key", || made(payload().and("pcr", uint(0))), "nitro.format.unknown-key"),
    ("user_data twice", || made(payload().and("user_data", bytes(&[0; 64]))), "nitro.format.duplicate"),
    (
        "PCR 0 twice",
        || made(payload().with("pcrs", map((0..2).map(|_| (uint(0), bytes(&[1; 48])))))),
        "nitro.format.duplicate",
    ),
    ("no module_id", || made(payload().without("module_id")), "nitro.format.missing"),
    ("no digest", || made(payload().without("digest")), "nitro.format.missing"),
    ("no timestamp", || made(payload().without("timestamp")), "nitro.format.missing"),
    ("no pcrs", || made(payload().without("pcrs")), "nitro.format.missing"),
    ("no certificate", || made(payload().without("certificate")), "nitro.format.missing"),
    ("no cabundle", || made(payload().without("cabundle")), "nitro.format.missing"),
    ("no public_key", || made(payload().without("public_key")), "nitro.format.missing"),
    ("no user_data key", || made(payload().without("user_data")), "nitro.format.missing"),
    ("no nonce", || made(payload().without("nonce")), "nitro.format.missing"),
    ("empty module_id", || made(payload().with("module_id", text(""))), "nitro.format.value"),
    (
        "module_id with a line break",
        || made(payload().with("module_id", text("i-0\n"))),
        "nitro.format.value",
    ),
    ("digest SHA512", || made(payload().with("digest", text("SHA512"))), "nitro.format.value"),
    ("timestamp 0", || made(payload().with("timestamp", uint(0))), "nitro.format.value"),
    ("negative timestamp", || made(payload().with("timestamp", vec![0x20])), "nitro.format.malformed"),
    ("no PCR at all", || made(payload().with("pcrs", map(std::iter::empty()))), "nitro.format.value"),
    (
        "PCR 32",
        || made(payload().with("pcrs", map([(uint(32), bytes(&[1; 48]))].into_iter()))),
        "nitro.format.value",
    ),
    (
        "PCR of 32 bytes",
        || made(payload().with("pcrs", map([(uint(0), bytes(&[1; 32]))].into_iter()))),
        "nitro.format.value",
    ),
    ("empty cabundle", || made(payload().with("cabundle", array(std::iter::empty()))), "nitro.format.value"),
    ("cabundle of ten", || path(Path::TooLong), "nitro.format.value"),
    (
        "certificate of 1025 bytes",
        || made(payload().with("certificate", bytes(&[0x30; 1025]))),
        "nitro.format.value",
    ),
    (
        "user_data of 1025 bytes",
        || made(payload().with("user_data", bytes(&[0; 1025]))),
        "nitro.format.value",
    ),
    ("user_data is text", || made(payload().with("user_data", text("x"))), "nitro.format.malformed"),
    // NIT-02, NIT-03
    ("no root", || authenticate(&document(payload()), &TrustAnchors::amd(), NOON), "nitro.root.missing"),
    (
        "AWS's root",
        || authenticate(&document(payload()), &TrustAnchors::vendors(), NOON),
        "x509.unknown-issuer",
    ),
    (
        "before the root",
        || authenticate(&document(payload()), &VENDOR.anchors, UnixTime(1_500_000_000)),
        "x509.not-yet-valid",
    ),
    ("not a certificate", || made(payload().with("certificate", bytes(&[0x30, 0]))), "x509.malformed"),
    ("intermediate is not an authority", || path(Path::IntermediateIsNoAuthority), "x509.not-an-authority"),
    ("intermediate without key usage", || path(Path::IntermediateWithoutKeyUsage), "x509.key-usage"),
    ("intermediate expired", || path(EXPIRED), "x509.expired"),
    ("leaf is an authority", || path(Path::LeafIsAuthority), "x509.leaf-is-authority"),
    ("leaf may not sign", || path(Path::LeafMayNotSign), "x509.key-usage"),
    ("leaf of another curve", || path(Path::LeafP256), "x509.key-type"),
    ("leaf for web servers", || path(Path::LeafForTls), "x509.path"),
    ("intermediate by another root", || path(Path::OtherRoot), "x509.signature"),
    ("no intermediate", no_intermediate, "x509.unknown-issuer"),
    (
        "leaf expired",
        || authenticate(&document(payload()), &VENDOR.anchors, UnixTime(NOON.0 + 86_400)),
        "x509.expired",
    ),
    // NIT-04
    ("revocation missing", || endorsed(Endorsements::nitro(Revocation::Missing)), "crl.missing"),
    ("revocation waived without a reason", || endorsed(Endorsements::nitro(not_checked(" "))), "crl.missing"),
    (
        "a revocation list that is none",
        || endorsed(Endorsements::nitro(Revocation::Crl(vec![0x30]))),
        "crl.malformed",
    ),
    (
        "endorsements of SEV-SNP",
        || endorsed(Endorsements::snp(vec![], not_checked("x"))),
        "endorsements.platform",
    ),
    // NIT-05
    (
        "signature zero",
        || authenticate(&envelope(&payload().encode(), &[0; 96]), &VENDOR.anchors, NOON),
        "nitro.signature.scalar",
    ),
    (
        "signature R above the order",
        || authenticate(&envelope(&payload().encode(), &[0xff; 96]), &VENDOR.anchors, NOON),
        "nitro.signature.scalar",
    ),
    (
        "signature by another module",
        || authenticate(&VENDOR.module(Path::None).sign(&payload().encode()), &VENDOR.anchors, NOON),
        "nitro.signature.invalid",
    ),
    ("signature of other bytes", other_bytes, "nitro.signature.invalid"),
    // NIT-06
    (
        "301 seconds ahead",
        || made(payload().with("timestamp", uint((NOON.0 + 301) * 1000))),
        "nitro.time.future",
    ),
    (
        "300 seconds ahead",
        || made(payload().with("timestamp", uint((NOON.0 + 300) * 1000))),
        "verified, waived: NIT-04",
    ),
    (
        "made before the leaf",
        || made(payload().with("timestamp", uint((NOON.0 - 43_201) * 1000))),
        "nitro.time.outside-certificate",
    ),
    // NIT-07 to NIT-16
    (
        "platform not accepted",
        || appraise(payload(), &Policy::deny_all(), &bound()),
        "policy.platform-not-accepted",
    ),
    ("PCR0 zero", || made(with_pcr(0, [0; 48])), "nitro.debug"),
    ("PCR1 zero", || made(with_pcr(1, [0; 48])), "nitro.debug"),
    (
        "PCR2 absent",
        || {
            made(payload().with(
                "pcrs",
                map([0_u8, 1, 3, 4, 8].map(|i| (uint(i.into()), bytes(&[0x10 + i; 48]))).into_iter()),
            ))
        },
        "nitro.debug",
    ),
    (
        "301 seconds old",
        || made(payload().with("timestamp", uint((NOON.0 - 301) * 1000))),
        "nitro.time.too-old",
    ),
    (
        "300 seconds old",
        || made(payload().with("timestamp", uint((NOON.0 - 300) * 1000))),
        "verified, waived: NIT-04",
    ),
    ("PCR0 of another image", || made(with_pcr(0, [1; 48])), "nitro.pcr.not-accepted"),
    ("PCR1", || made(with_pcr(1, [1; 48])), "nitro.pcr.not-accepted"),
    ("PCR2", || made(with_pcr(2, [1; 48])), "nitro.pcr.not-accepted"),
    ("PCR3", || made(with_pcr(3, [1; 48])), "nitro.pcr.not-accepted"),
    ("PCR4", || made(with_pcr(4, [1; 48])), "nitro.pcr.not-accepted"),
    ("PCR8", || made(with_pcr(8, [1; 48])), "nitro.pcr.not-accepted"),
    (
        "PCR8 absent",
        || made(payload().with("pcrs", map((0..8_u8).map(|i| (uint(i.into()), bytes(&[0x10 + i; 48])))))),
        "nitro.pcr.absent",
    ),
    (
        "waiver without a reason",
        || {
            appraise(
                payload(),
                &Policy::for_nitro(NitroPolicy { pcr3: Expected::any(""), ..terms() }),
                &bound(),
            )
        },
        "policy.waiver-without-reason",
    ),
    (
        "user data of another exchange",
        || made(payload().with("user_data", bytes(&[0xd6; 64]))),
        "binding.report-data",
    ),
    (
        "user data of 63 bytes",
        || made(payload().with("user_data", bytes(&[0xd5; 63]))),
        "binding.report-data",
    ),
    (
        "user data of 65 bytes",
        || made(payload().with("user_data", bytes(&[0xd5; 65]))),
        "binding.report-data",
    ),
    ("no user data", || made(payload().with("user_data", vec![0xf6])), "binding.report-data"),
    // The policy file
    ("the specification's policy", || toml(EXAMPLE), "nitro.pcr.not-accepted"),
    ("a policy without an age", || toml(&EXAMPLE.replace("maximum-age = 300\n", "")), "policy.syntax"),
    (
        "a policy with an unknown key",
        || toml(&EXAMPLE.replace("[nitro]", "[nitro]\npcr5 = []")),
        "policy.syntax",
    ),
    ("a policy with a short PCR", || toml(&EXAMPLE.replace("[\"64", "[\"")), "policy.wrong-length"),
    (
        "a policy with an empty reason",
        || toml(&EXAMPLE.replace("any account may run it", " ")),
        "policy.empty-reason",
    ),
    ("an empty policy", || toml(""), "policy.no-platform"),
];

const EXAMPLE: &str = include_str!("../policies/nitro.toml");

struct Recording {
    bytes: Vec<u8>,
    anchors: TrustAnchors,
    now: UnixTime,
}

fn recording(name: &str, now: u64) -> Recording {
    let bytes = recorded::file(&format!("nitro/cose/{name}.cbor"));
    Recording { bytes, anchors: TrustAnchors::vendors(), now: UnixTime(now) }
}

fn good() -> Recording {
    recording("nitro_attest_attestation", 1_736_179_625)
}

fn debug() -> Recording {
    recording("aws-nitro-enclaves-attestation_nitro_ad_debug", 1_614_963_709)
}

impl Recording {
    fn appraise(&self, policy: &dyn Fn(&Authentic) -> NitroPolicy) -> String {
        let authentic = match verified(&self.bytes, &self.anchors, self.now) {
            Ok(authentic) => authentic,
            Err(code) => return code,
        };
        let policy = Policy::for_nitro(policy(&authentic));
        answer(authentic, &policy, &Binding::danger_unchecked("it was recorded"))
    }
}

/// Terms that ask for exactly the PCRs of the evidence.
fn exact() -> impl Fn(&Authentic) -> NitroPolicy {
    |authentic| {
        let claims = authentic.claims().nitro().expect("a Nitro document");
        let pcr = |index| {
            let value = hex::decode(&claims.pcrs[&index]).expect("hexadecimal");
            Expected::OneOf(vec![value.try_into().expect("48 bytes")])
        };
        NitroPolicy {
            debug: Danger::Refuse,
            maximum_age: 1,
            pcr0: pcr(0),
            pcr1: pcr(1),
            pcr2: pcr(2),
            pcr3: pcr(3),
            pcr4: pcr(4),
            pcr8: pcr(8),
        }
    }
}

fn other_image() -> impl Fn(&Authentic) -> NitroPolicy {
    |authentic| NitroPolicy { pcr0: Expected::OneOf(vec![[0x32; 48]]), ..exact()(authentic) }
}

fn debug_allowed() -> impl Fn(&Authentic) -> NitroPolicy {
    |authentic| NitroPolicy { debug: recorded::allow(), ..exact()(authentic) }
}

fn not_checked(reason: &str) -> Revocation {
    Revocation::DangerNotChecked { reason: reason.to_owned() }
}

fn parse(bytes: &[u8]) -> String {
    Evidence::parse(bytes).expect_err("must be refused").code().to_owned()
}

fn verified(bytes: &[u8], anchors: &TrustAnchors, now: UnixTime) -> Result<Authentic, String> {
    let evidence = Evidence::parse(bytes).map_err(|error| error.code().to_owned())?;
    let endorsements = Endorsements::nitro(not_checked("no list is read"));
    verify(&evidence, &endorsements, anchors, now).map_err(|rejected| {
        assert_eq!(rejected.checks.len(), NITRO.len());
        rejected.code().to_owned()
    })
}

fn answer(authentic: Authentic, policy: &Policy, binding: &Binding) -> String {
    match authentic.appraise(policy, binding) {
        Ok(verified) => {
            let waived: Vec<_> = verified
                .checks()
                .iter()
                .filter(|check| check.outcome == Outcome::Waived)
                .map(|check| check.rule.id)
                .collect();
            format!("verified, waived: {}", waived.join(", "))
        }
        Err(denied) => denied.code().to_owned(),
    }
}

fn authenticate(bytes: &[u8], anchors: &TrustAnchors, now: UnixTime) -> String {
    verified(bytes, anchors, now).map_or_else(|code| code, |_| "authentic".to_owned())
}

fn endorsed(endorsements: Endorsements) -> String {
    let evidence = Evidence::parse(&document(payload())).expect("the right form");
    verify(&evidence, &endorsements, &VENDOR.anchors, NOON).expect_err("must be refused").code().to_owned()
}

fn payload() -> Payload {
    MODULE.payload()
}

fn with_pcr(index: u8, value: [u8; 48]) -> Payload {
    let pcrs = (0..16_u8).map(|i| (uint(i.into()), bytes(if i == index { &value } else { &[0; 48] })));
    let good = (0..16_u8).map(|i| (uint(i.into()), bytes(&[0x10 + i; 48])));
    let changed =
        pcrs.zip(good).enumerate().map(|(i, (new, old))| if i == usize::from(index) { new } else { old });
    payload().with("pcrs", map(changed))
}

fn document(payload: Payload) -> Vec<u8> {
    MODULE.sign(&payload.encode())
}

fn authentic(payload: Payload) -> Authentic {
    verified(&document(payload), &VENDOR.anchors, NOON).expect("genuine")
}

fn terms() -> NitroPolicy {
    let pcr = |index: u8| Expected::OneOf(vec![[0x10 + index; 48]]);
    NitroPolicy {
        debug: Danger::Refuse,
        maximum_age: 300,
        pcr0: pcr(0),
        pcr1: pcr(1),
        pcr2: pcr(2),
        pcr3: pcr(3),
        pcr4: pcr(4),
        pcr8: pcr(8),
    }
}

fn bound() -> Binding {
    Binding::report_data([0xd5; 64])
}

fn appraise(payload: Payload, policy: &Policy, binding: &Binding) -> String {
    match verified(&document(payload), &VENDOR.anchors, NOON) {
        Ok(authentic) => answer(authentic, policy, binding),
        Err(code) => code,
    }
}

fn made(payload: Payload) -> String {
    appraise(payload, &Policy::for_nitro(terms()), &bound())
}

/// A good document, changed after it was signed.
fn change(change: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut bytes = document(payload());
    change(&mut bytes);
    parse(&bytes)
}

/// Any payload, properly signed.
fn raw(payload: &[u8]) -> String {
    parse(&MODULE.sign(payload))
}

fn path(path: Path) -> String {
    let module = VENDOR.module(path);
    let bytes = module.sign(&module.payload().encode());
    authenticate(&bytes, &VENDOR.anchors, NOON)
}

fn no_intermediate() -> String {
    made(payload().with("cabundle", array([bytes(&[0x30; 100])].into_iter())))
}

fn other_bytes() -> String {
    let signed = document(payload());
    let other = payload().with("nonce", bytes(&[1])).encode();
    authenticate(&envelope(&other, &signed[signed.len() - 96..]), &VENDOR.anchors, NOON)
}

fn toml(text: &str) -> String {
    match Policy::from_toml(text) {
        Ok(policy) => appraise(payload(), &policy, &bound()),
        Err(error) => error.code().to_owned(),
    }
}

fn report() -> String {
    let verified = authentic(payload()).appraise(&Policy::for_nitro(terms()), &bound()).expect("ours");
    let json = serde_json::to_value(Report::from_verified(&verified)).expect("JSON");
    assert_eq!(json["claims"]["platform"], "nitro");
    assert_eq!(json["claims"]["measurement"], "10".repeat(48));
    assert!(json["claims"]["host_data"].is_null());
    assert_eq!(json["claims"]["nitro"]["pcrs"]["8"], "18".repeat(48));
    let checks = json["checks"].as_array().expect("checks").len();
    format!("{} {}, {checks} checks", json["schema"].as_str().unwrap(), json["headline"].as_str().unwrap())
}

/// Every bit of a genuine document, head and lengths included, one after the other. The second backend only has to agree
/// with the first: it is slower, and gets every 31st bit (scripts/test-backends.sh).
fn every_bit() -> Result<(), Failed> {
    let step = if cfg!(casemate_rustcrypto) { 31 } else { 1 };
    let recording = good();
    for bit in (0..recording.bytes.len() * 8).step_by(step) {
        let mut bytes = recording.bytes.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        if verified(&bytes, &recording.anchors, recording.now).is_ok() {
            return Err(format!("bit {} of byte {} does not matter", bit % 8, bit / 8).into());
        }
    }
    Ok(())
}

fn every_length() -> Result<(), Failed> {
    let bytes = good().bytes;
    for length in 0..bytes.len() {
        if Evidence::parse(&bytes[..length]).is_ok() {
            return Err(format!("{length} bytes are taken for a document").into());
        }
    }
    Ok(())
}

/// One code serves six rules; the failing check says which PCR it was.
fn the_rule_at_fault() -> Result<(), Failed> {
    let failing = |policy: NitroPolicy, payload: Payload, binding: Binding| {
        let denied =
            authentic(payload).appraise(&Policy::for_nitro(policy), &binding).expect_err("must be denied");
        let failed = denied.checks.iter().filter(|check| check.outcome == Outcome::Fail);
        failed.map(|check| check.rule.id).collect::<Vec<_>>().join(" ")
    };
    for (index, id) in
        [(0, "NIT-10"), (1, "NIT-11"), (2, "NIT-12"), (3, "NIT-13"), (4, "NIT-14"), (8, "NIT-15")]
    {
        let found = failing(terms(), with_pcr(index, [1; 48]), bound());
        if found != id {
            return Err(format!("PCR{index}: {found} fails instead of {id}").into());
        }
    }
    let found = failing(terms(), payload(), Binding::report_data([0; 64]));
    if found == "NIT-16" { Ok(()) } else { Err(found.into()) }
}
