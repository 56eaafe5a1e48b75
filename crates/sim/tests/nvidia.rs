//! Simulated GPUs: reports pass the production verifier under the simulator's roots, with the manifests and the answers about
//! revocation that the vendor gives, and pass under no other root. One mistake each is refused by its name.

use std::sync::OnceLock;

use casemate_attest::nvidia::{
    Architecture, GpuEvidence, GpuRevocation, Manifest, NvidiaAnchors, NvidiaEndorsements, NvidiaPolicy,
    VerifiedGpu, verify_gpu, verify_set,
};
use casemate_attest::{Danger, Expected, OcspNonce, OcspResponse, Policy, UnixTime};
use casemate_sim::Platform;
use casemate_sim::nvidia::{Answer, DRIVER, Gpu, NvidiaVendor, Report, Rim, VBIOS, revoked};
use tempfile::TempDir;

const NOW: UnixTime = UnixTime(1_795_478_400);
const DAY: u64 = 86_400;
const NONCE: [u8; 32] = [0x6e; 32];

fn vendor() -> &'static (NvidiaVendor, Gpu) {
    static VENDOR: OnceLock<(NvidiaVendor, Gpu)> = OnceLock::new();
    VENDOR.get_or_init(|| {
        let vendor = NvidiaVendor::create(NOW).expect("a vendor");
        let gpu = vendor.gpu().expect("a GPU");
        (vendor, gpu)
    })
}

/// A machine's GPU and what is said of it; a case changes one thing.
struct Attempt {
    report: Vec<u8>,
    chain: String,
    manifests: Vec<String>,
    answers: Vec<Vec<u8>>,
    anchors: NvidiaAnchors,
    now: UnixTime,
}

impl Attempt {
    fn healthy() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut Report)) -> Self {
        let (vendor, gpu) = vendor();
        let mut report = Report::new(NONCE);
        change(&mut report);
        Self {
            report: gpu.sign(&report).expect("a report"),
            chain: gpu.chain_pem().to_owned(),
            manifests: vendor.manifests().expect("two manifests").to_vec(),
            answers: vendor.answers([gpu]).expect("answers"),
            anchors: under(&vendor.root_pem()),
            now: NOW,
        }
    }

    fn verdict(&self) -> Result<VerifiedGpu, &'static str> {
        self.verdict_with(|_| {})
    }

    fn verdict_with(&self, change: impl FnOnce(&mut NvidiaPolicy)) -> Result<VerifiedGpu, &'static str> {
        let mut terms = strict();
        change(&mut terms);
        let answer = |der: &Vec<u8>| OcspResponse { der: der.clone(), nonce: OcspNonce::NotSent };
        let revocation = GpuRevocation::Ocsp(self.answers.iter().map(answer).collect());
        let mut manifests = Vec::new();
        for manifest in &self.manifests {
            let verified = Manifest::verify(manifest.as_bytes(), &revocation, &self.anchors, self.now);
            manifests.push(verified.map_err(|rejected| rejected.code())?);
        }
        let evidence =
            GpuEvidence::parse(&self.report, self.chain.as_bytes()).map_err(|error| error.code())?;
        let authentic = verify_gpu(&evidence, &NvidiaEndorsements { revocation }, &self.anchors, self.now)
            .map_err(|rejected| rejected.code())?;
        let policy = Policy::for_nvidia(terms);
        authentic.appraise(&policy, &manifests, &NONCE).map_err(|denied| denied.code())
    }
}

/// No exception, and the only driver and VBIOS.
fn strict() -> NvidiaPolicy {
    NvidiaPolicy {
        architectures: vec![Architecture::Hopper],
        firmware_id_missing: Danger::Refuse,
        certificate_hold: Danger::Refuse,
        driver_manifest_missing: Danger::Refuse,
        vbios_manifest_missing: Danger::Refuse,
        device: Expected::any("keys are made anew in each run"),
        driver_version: Expected::OneOf(vec![DRIVER.to_owned()]),
        vbios_version: Expected::OneOf(vec![VBIOS.to_owned()]),
        measurements: Expected::any("the manifests decide"),
    }
}

fn under(pem: &str) -> NvidiaAnchors {
    NvidiaAnchors::danger_only_pem(pem).expect("two roots")
}

fn refused(what: &str, attempt: &Attempt, code: &str) {
    match attempt.verdict() {
        Ok(_) => panic!("{what}: verified instead of {code}"),
        Err(found) => assert_eq!(found, code, "{what}"),
    }
}

#[test]
fn a_healthy_gpu_is_verified_and_simulated() {
    let verified = Attempt::healthy().verdict().expect("verified");
    assert!(verified.simulated());
    assert_eq!(verified.claims().nonce, NONCE);
    assert_eq!(verified.claims().driver_version.as_deref(), Some(DRIVER));
    assert_eq!(verified.claims().vbios_version.as_deref(), Some(VBIOS));
    let golden = verified.checks().iter().find(|check| check.rule.id == "NV-19").expect("a rule");
    assert_eq!(golden.compared, "6 of 40 measurements, index 35 left out: NVDEC0 is off");
}

#[test]
fn no_other_root_accepts_it() {
    let stranger = NvidiaVendor::create(NOW).expect("a vendor");
    for (what, anchors) in
        [("NVIDIA's own", NvidiaAnchors::nvidia()), ("another simulated vendor", under(&stranger.root_pem()))]
    {
        let attempt = Attempt { anchors, ..Attempt::healthy() };
        refused(what, &attempt, "nvidia.manifest.root");
        let attempt = Attempt { manifests: Vec::new(), ..attempt };
        refused(what, &attempt, "nvidia.root.foreign");
    }
}

#[test]
fn one_mistake_in_the_report_is_refused() {
    for (what, change, code) in [
        ("another nonce", (|r| r.nonce[31] ^= 1) as fn(&mut Report), "nvidia.nonce"),
        ("another driver", |r| r.driver = Some("570.10.02"), "nvidia.driver.not-accepted"),
        ("no driver", |r| r.driver = None, "nvidia.driver.missing"),
        ("another measurement of the driver", |r| r.measurements[21][0] ^= 1, "nvidia.golden.mismatch"),
        ("another measurement of the VBIOS", |r| r.measurements[2][47] ^= 1, "nvidia.golden.mismatch"),
        ("too few measurements", |r| r.measurements.truncate(22), "nvidia.golden.absent"),
        ("other firmware", |r| r.firmware_id = Some([6; 48]), "nvidia.firmware-id.mismatch"),
        ("firmware not reported", |r| r.firmware_id = None, "nvidia.firmware-id.missing"),
    ] {
        refused(what, &Attempt::with(change), code);
    }
    let mut attempt = Attempt::healthy();
    attempt.report[60] ^= 1;
    refused("a changed byte", &attempt, "nvidia.signature.invalid");
    let (vendor, gpu) = vendor();
    let other = vendor.gpu().expect("another GPU");
    let chain = other.chain_pem().to_owned();
    let answers = vendor.answers([gpu, &other]).expect("answers");
    refused(
        "the chain of another GPU",
        &Attempt { chain, answers, ..Attempt::healthy() },
        "nvidia.signature.invalid",
    );
}

#[test]
fn one_mistake_in_what_is_said_of_it_is_refused() {
    let (vendor, gpu) = vendor();
    let about = |status: Vec<u8>, from: &str, until: &str| {
        let mut answers = vendor.answers([]).expect("answers");
        let answer = Answer { status, ..Answer::new(gpu.device(), vendor.provisioner(), from, Some(until)) };
        answers.push(answer.der().expect("an answer"));
        Attempt { answers, ..Attempt::healthy() }
    };
    let (from, until) = ("20260101000000Z", "20990101000000Z");
    let good = casemate_sim::nvidia::GOOD.to_vec();
    assert!(about(good.clone(), from, until).verdict().is_ok());
    refused("revoked", &about(revoked(Some(1)), from, until), "ocsp.revoked");
    refused("on hold", &about(revoked(Some(6)), from, until), "nvidia.certificate.on-hold");
    refused("unknown", &about(casemate_sim::nvidia::UNKNOWN.to_vec(), from, until), "ocsp.unknown");
    refused("an old answer", &about(good, from, "20260102000000Z"), "ocsp.expired");
    let answers = vendor.answers([]).expect("answers");
    refused("no answer about the device", &Attempt { answers, ..Attempt::healthy() }, "ocsp.missing");

    let manifests = vec![vendor.manifest(&Rim::driver()).expect("a manifest")];
    refused(
        "no manifest of the VBIOS",
        &Attempt { manifests, ..Attempt::healthy() },
        "nvidia.manifest.missing",
    );
    let mut changed = Attempt::healthy();
    changed.manifests[0] = changed.manifests[0].replacen("active=\"False\"", "active=\"True\"", 1);
    refused("a changed manifest", &changed, "nvidia.manifest.digest");
    let late = Attempt { now: UnixTime(NOW.0 + 40 * DAY), ..Attempt::healthy() };
    refused("after the answers' month", &late, "ocsp.expired");
}

#[test]
fn one_gpu_does_not_stand_for_two() {
    let verified = || Attempt::healthy().verdict().expect("verified");
    assert_eq!(verify_set(vec![verified()], 2).expect_err("one").code(), "nvidia.set.count");
    assert_eq!(verify_set(vec![verified(), verified()], 2).expect_err("one").code(), "nvidia.set.duplicate");
    let (vendor, gpu) = vendor();
    let other = vendor.gpu().expect("another GPU");
    let attempt = Attempt {
        report: other.report(&NONCE).expect("a report"),
        chain: other.chain_pem().to_owned(),
        answers: vendor.answers([gpu, &other]).expect("answers"),
        ..Attempt::healthy()
    };
    let second = attempt.verdict().expect("verified");
    assert!(verify_set(vec![verified(), second], 2).expect("two").simulated());
}

#[test]
fn a_switch_is_verified_and_gpus_that_leave_their_links_open_need_theirs() {
    let (vendor, _) = vendor();
    let pdi = [0x20, 0x3e, 0xb3, 0x1a, 0xd9, 0xed, 0, 8];
    let verdict = |device: &Gpu| {
        let manifests =
            [vendor.manifests().expect("manifests").to_vec(), vec![vendor.switch_manifest().expect("one")]];
        let attempt = Attempt {
            report: device.report(&NONCE).expect("a report"),
            chain: device.chain_pem().to_owned(),
            answers: vendor.answers([device]).expect("answers"),
            manifests: manifests.concat(),
            ..Attempt::healthy()
        };
        attempt.verdict_with(|policy| {
            policy.architectures = vec![Architecture::Hopper, Architecture::Ls10];
            policy.vbios_version = Expected::any("of both kinds");
        })
    };
    let switch = |pdi| verdict(&vendor.switch(pdi).expect("a switch")).expect("verified");
    let gpu = |seen: &[[u8; 8]]| verdict(&vendor.linked_gpu(seen).expect("a GPU")).expect("verified");
    assert_eq!(switch(pdi).claims().pdi, [hex::encode(pdi)]);
    let set = |devices: Vec<VerifiedGpu>| {
        let count = devices.len();
        let set = verify_set(devices, count).expect("a set");
        set.with_switches().map(|set| set.devices().len()).map_err(|denied| denied.code())
    };
    let missing = Err("nvidia.set.switch-missing");
    assert_eq!(set(vec![gpu(&[pdi]), switch(pdi)]), Ok(2));
    assert_eq!(set(vec![gpu(&[pdi])]), missing);
    assert_eq!(set(vec![gpu(&[pdi]), switch([1; 8])]), missing);
    // The octets of a GPU's word stand the other way round.
    let mut reversed = pdi;
    reversed.reverse();
    assert_eq!(set(vec![gpu(&[pdi]), switch(reversed)]), missing);
    assert_eq!(set(vec![gpu(&[]), switch(pdi)]), missing);
    assert_eq!(set(vec![gpu(&[pdi, [1; 8]]), switch(pdi)]), missing);
    // GPUs that do not protect PCIe encrypt what they say to each other, or say nothing.
    assert_eq!(set(vec![Attempt::healthy().verdict().expect("verified")]), Ok(1));
}

#[test]
fn a_vendor_in_a_directory() {
    let folder = TempDir::new().expect("a folder");
    let (vendor, _) = vendor();
    vendor.save(folder.path()).expect("saved");
    assert_eq!(Platform::of(folder.path()), Ok(Platform::Nvidia));
    let roots = std::fs::read_to_string(folder.path().join("roots.pem")).expect("roots");
    assert_eq!(roots, vendor.root_pem());
    let later = UnixTime(NOW.0 + 60 * DAY);
    let loaded = NvidiaVendor::load(folder.path(), later).expect("loaded");
    let gpu = loaded.gpu().expect("a GPU");
    let attempt = Attempt {
        report: gpu.report(&NONCE).expect("a report"),
        chain: gpu.chain_pem().to_owned(),
        manifests: loaded.manifests().expect("two manifests").to_vec(),
        answers: loaded.answers([&gpu]).expect("answers"),
        anchors: under(&roots),
        now: later,
    };
    assert!(attempt.verdict().expect("verified under the roots that were saved").simulated());
    let other = casemate_sim::nitro::NitroVendor::load(folder.path(), later).expect_err("another platform");
    assert_eq!(other.code(), "sim.load.other-platform");
    assert_eq!(NvidiaVendor::create(UnixTime(0)).expect_err("too early").code(), "sim.time-out-of-range");
}
