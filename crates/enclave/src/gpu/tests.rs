//! GPUs that are attested: a driver's every answer has its name, and nothing works before it was verified.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use casemate_attest::UnixTime;
use casemate_attest::endorse::EndorsementBundle;
use casemate_attest::nvidia::{NvidiaAnchors, VerifiedSet};
use casemate_protocol::devices;
use casemate_protocol::document::DocumentDevices;
use casemate_protocol::statement::Stated;
use casemate_sim::nvidia::NvidiaVendor;

mod services;

use super::driver::{Asked, Driver};
use super::nvml::State;
use crate::staple::{EndorsementState, PartSource, keep};

use super::{GpuAttester, GpuError, GpuPolicy, Gpus, RawGpu, SimulatedGpus, endorsed};

const NOW: UnixTime = UnixTime(1_795_478_400);
const DAY: u64 = 86_400;
const NONCE: [u8; 32] = [0x6e; 32];

static VENDOR: LazyLock<NvidiaVendor> = LazyLock::new(|| NvidiaVendor::create(NOW).unwrap());

const TERMS: &str = r#"
[nvidia]
architectures = ["hopper"]
device = { any = "keys are made anew in each run" }
driver-version = ["570.10.01"]
vbios-version = ["96.00.9F.00.01"]
measurements = { any = "the manifests decide" }
"#;

fn read(text: &str) -> Result<GpuPolicy, GpuError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gpus.toml");
    std::fs::write(&path, text).unwrap();
    GpuPolicy::read(&path)
}

fn policy(count: usize) -> GpuPolicy {
    read(&format!("[devices]\ncount = {count}\n{TERMS}")).unwrap()
}

// === the policy ===

#[test]
fn the_policy_has_two_tables_and_no_other() {
    assert_eq!(policy(2).count(), 2);
    let code = |text: &str| read(text).unwrap_err().code();
    assert_eq!(code(TERMS), "policy.devices-without-count");
    assert_eq!(code("[devices]\ncount = 1"), "policy.devices-without-terms");
    assert_eq!(code(&format!("[devices]\ncount = 0\n{TERMS}")), "policy.devices-count");
    for wrong in [
        "garbage".to_owned(),
        format!("[devices]\n{TERMS}"),
        format!("[devices]\ncount = 1\nmore = 1\n{TERMS}"),
        format!("[devices]\ncount = 1\n[sev-snp]\n{TERMS}"),
        format!("[devices]\ncount = 1\n{TERMS}more = 1"),
    ] {
        assert_eq!(code(&wrong), "gpu.policy", "{wrong}");
    }
    assert_eq!(GpuPolicy::read(Path::new("/nonexistent/gpus.toml")).unwrap_err().code(), "gpu.policy");
}

// === the start ===

/// Simulated GPUs that count how often they were let work, and may fail.
struct Watched {
    gpus: SimulatedGpus,
    let_work: Arc<AtomicUsize>,
    may_work: bool,
    /// How often evidence is made before it fails.
    answers: AtomicUsize,
}

impl Watched {
    fn new(count: usize) -> Self {
        Self {
            gpus: SimulatedGpus::of(&VENDOR, count).unwrap(),
            let_work: Arc::default(),
            may_work: true,
            answers: AtomicUsize::new(usize::MAX),
        }
    }

    fn start(self, policy: &GpuPolicy) -> (Result<Gpus, &'static str>, usize) {
        let endorsements = self.gpus.endorsements();
        self.start_with(policy, endorsements, NOW)
    }

    fn start_with(
        self,
        policy: &GpuPolicy,
        endorsements: DocumentDevices,
        now: UnixTime,
    ) -> (Result<Gpus, &'static str>, usize) {
        let let_work = self.let_work.clone();
        let started = Gpus::start(Arc::new(self), policy, endorsements, NONCE, now);
        (started.map_err(|error| error.code()), let_work.load(Ordering::SeqCst))
    }
}

impl GpuAttester for Watched {
    fn evidence(&self, nonce: &[u8; 32]) -> Result<Vec<RawGpu>, GpuError> {
        let left = self.answers.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        left.map_err(|_| GpuError::Off)?;
        self.gpus.evidence(nonce)
    }

    fn let_work(&self, _verified: &VerifiedSet) -> Result<(), GpuError> {
        self.let_work.fetch_add(1, Ordering::SeqCst);
        if self.may_work { Ok(()) } else { Err(GpuError::NotReady) }
    }

    fn anchors(&self) -> NvidiaAnchors {
        self.gpus.anchors()
    }
}

#[test]
fn gpus_work_after_they_were_verified() {
    let (gpus, let_work) = Watched::new(2).start(&policy(2));
    assert_eq!(let_work, 1);
    let gpus = gpus.unwrap();
    let (stated, shown) = gpus.evidence(&devices::nonce(Stated::Is([7; 32])), NOW).unwrap();
    assert_eq!(shown.evidence.len(), 2);
    let nonce = devices::nonce(Stated::Is([7; 32]));
    let anchors = NvidiaAnchors::danger_only_pem(&VENDOR.root_pem()).unwrap();
    let (set, _) = devices::verify(&shown, 2, policy(2).terms(), &anchors, &nonce, NOW).unwrap();
    assert_eq!(Stated::Is(set.evidence_sha256()), stated);
    // The document without a nonce has GPUs that answer nobody's.
    let (_, ahead) = gpus.evidence(&devices::nonce(Stated::None), NOW).unwrap();
    let nobodys = devices::nonce(Stated::None);
    assert!(devices::verify(&ahead, 2, policy(2).terms(), &anchors, &nobodys, NOW).is_ok());
}

#[test]
fn gpus_that_do_not_meet_the_policy_never_work() {
    let refused = |watched: Watched, policy: &GpuPolicy| {
        let (started, let_work) = watched.start(policy);
        assert_eq!(let_work, 0, "they were let work");
        started.err().unwrap()
    };
    assert_eq!(refused(Watched::new(1), &policy(2)), "nvidia.set.count");
    assert_eq!(refused(Watched::new(2), &policy(1)), "nvidia.set.count");
    let other = read(&format!("[devices]\ncount = 1\n{TERMS}").replace("570.10.01", "570.10.02")).unwrap();
    assert_eq!(refused(Watched::new(1), &other), "nvidia.driver.not-accepted");
    let silent = Watched { answers: AtomicUsize::new(0), ..Watched::new(1) };
    assert_eq!(refused(silent, &policy(1)), "gpu.off");
    let (started, let_work) = Watched::new(1).start_with(&policy(1), DocumentDevices::default(), NOW);
    assert_eq!((started.err(), let_work), (Some("ocsp.missing"), 0));
    let old = Watched::new(1);
    let endorsements = old.gpus.endorsements();
    let (started, let_work) = old.start_with(&policy(1), endorsements, UnixTime(NOW.0 + 40 * DAY));
    assert_eq!((started.err(), let_work), (Some("ocsp.expired"), 0));
}

#[test]
fn gpus_that_may_not_work_are_no_gpus() {
    let (started, let_work) = Watched { may_work: false, ..Watched::new(1) }.start(&policy(1));
    assert_eq!((started.err(), let_work), (Some("gpu.not-ready"), 1));
}

/// What the operator's file says of them goes into the documents.
#[test]
fn a_file_of_endorsements_says_the_same() {
    let watched = Watched::new(1);
    let decoded = |texts: &[String]| texts.iter().map(|text| BASE64_STANDARD.decode(text).unwrap()).collect();
    let brought = watched.gpus.endorsements();
    let bundle = EndorsementBundle::default().with_nvidia(decoded(&brought.ocsp), decoded(&brought.rim));
    let read = EndorsementBundle::parse(&bundle.to_bytes().unwrap()).unwrap();
    let said = endorsed(read.devices().unwrap());
    assert_eq!((said.ocsp.len(), said.rim.len(), said.evidence.len()), (6, 2, 0));
    assert!(watched.start_with(&policy(1), said, NOW).0.is_ok());
    assert_eq!(EndorsementBundle::default().devices().unwrap_err().code(), "endorse.bundle.missing");
}

/// No document without them: neither when they stop answering nor when what is said of them has run out.
#[test]
fn gpus_that_fail_later_have_no_substitute() {
    let once = Watched { answers: AtomicUsize::new(2), ..Watched::new(1) };
    let gpus = once.start(&policy(1)).0.unwrap();
    assert!(gpus.evidence(&devices::nonce(Stated::None), gpus.valid_until()).is_ok());
    assert_eq!(gpus.evidence(&devices::nonce(Stated::None), NOW).unwrap_err().code(), "gpu.off");
    let late = UnixTime(gpus.valid_until().0 + 1);
    assert_eq!(gpus.evidence(&devices::nonce(Stated::None), late).unwrap_err().code(), "gpu.expired");
}

#[test]
fn a_directory_without_a_vendor_of_gpus_has_none() {
    let missing = PathBuf::from("/nonexistent/vendor");
    assert!(SimulatedGpus::launch(&missing, 1, NOW).is_err());
}

// === several GPUs and their switches ===

/// Devices as they are, of one vendor.
struct Devices(Vec<casemate_sim::nvidia::Gpu>);

impl GpuAttester for Devices {
    fn evidence(&self, nonce: &[u8; 32]) -> Result<Vec<RawGpu>, GpuError> {
        let raw = |device: &casemate_sim::nvidia::Gpu| {
            Ok(RawGpu { report: device.report(nonce)?, chain: device.chain_pem().into() })
        };
        self.0.iter().map(raw).collect()
    }

    fn let_work(&self, _verified: &VerifiedSet) -> Result<(), GpuError> {
        Ok(())
    }

    fn anchors(&self) -> NvidiaAnchors {
        NvidiaAnchors::danger_only_pem(&VENDOR.root_pem()).unwrap()
    }
}

/// Two GPUs, linked with two switches, are a machine with both switches, and with no other.
#[test]
fn switches_belong_to_the_machine_whose_gpus_see_them() {
    let (first, second, other) = ([1, 2, 3, 4, 5, 6, 7, 8], [9; 8], [7; 8]);
    let terms = TERMS
        .replace(r#"["hopper"]"#, r#"["hopper", "ls10"]"#)
        .replace(r#"["96.00.9F.00.01"]"#, r#"["96.00.9F.00.01", "96.10.6D.00.01"]"#);
    let start = |switches: &[[u8; 8]], seen: &[[u8; 8]]| {
        let gpus = (0..2).map(|_| VENDOR.linked_gpu(seen));
        let devices = gpus.chain(switches.iter().map(|pdi| VENDOR.switch(*pdi)));
        let devices = devices.collect::<Result<Vec<_>, _>>().unwrap();
        let manifests =
            [VENDOR.manifests().unwrap().to_vec(), vec![VENDOR.switch_manifest().unwrap()]].concat();
        let answers = VENDOR.answers(&devices).unwrap();
        let said = DocumentDevices::endorsed(
            answers.iter().map(Vec::as_slice),
            manifests.iter().map(|manifest| manifest.as_bytes()),
        );
        let policy = read(&format!("[devices]\ncount = {}\n{terms}", devices.len())).unwrap();
        Gpus::start(Arc::new(Devices(devices)), &policy, said, NONCE, NOW).map_err(|error| error.code())
    };
    let gpus = start(&[first, second], &[first, second]).unwrap_or_else(|code| panic!("{code}"));
    let (stated, shown) = gpus.evidence(&NONCE, NOW).unwrap();
    assert_eq!(shown.evidence.len(), 4);
    assert!(matches!(stated, Stated::Is(_)));
    let missing = Some("nvidia.set.switch-missing");
    assert_eq!(start(&[first], &[first, second]).err(), missing, "one is not shown");
    assert_eq!(start(&[], &[first, second]).err(), missing, "none is shown");
    assert_eq!(start(&[first, other], &[first, second]).err(), missing, "another machine's is shown");
    assert_eq!(start(&[first, second], &[]).err(), missing, "the GPUs see none");
    assert!(start(&[first, second, other], &[first, second]).is_ok(), "the count is the policy's matter");
}

// === renewal ===

/// One GPU of a vendor whose answers the test makes.
struct One(casemate_sim::nvidia::Gpu, NvidiaAnchors);

impl GpuAttester for One {
    fn evidence(&self, nonce: &[u8; 32]) -> Result<Vec<RawGpu>, GpuError> {
        Ok(vec![RawGpu { report: self.0.report(nonce)?, chain: self.0.chain_pem().into() }])
    }

    fn let_work(&self, _verified: &VerifiedSet) -> Result<(), GpuError> {
        Ok(())
    }

    fn anchors(&self) -> NvidiaAnchors {
        self.1.clone()
    }
}

/// STAPLE-11: from a file that somebody else renews. NVIDIA's answers last for a month here.
#[tokio::test]
async fn what_is_said_of_gpus_is_renewed_from_its_file() {
    let mut vendor = NvidiaVendor::create(NOW).unwrap();
    let one = One(vendor.gpu().unwrap(), NvidiaAnchors::danger_only_pem(&vendor.root_pem()).unwrap());
    let bundle = |vendor: &NvidiaVendor| {
        let manifests = vendor.manifests().unwrap().map(String::into_bytes).to_vec();
        EndorsementBundle::default().with_nvidia(vendor.answers([&one.0]).unwrap(), manifests)
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("endorsements");
    let write = |bundle: &EndorsementBundle| std::fs::write(&path, bundle.to_bytes().unwrap()).unwrap();
    let first = bundle(&vendor);
    let (later, mut stranger) = (UnixTime(NOW.0 + 25 * DAY), NvidiaVendor::create(NOW).unwrap());
    vendor.renew(later).unwrap();
    stranger.renew(later).unwrap();
    let newer = bundle(&vendor);
    let theirs = EndorsementBundle::default()
        .with_nvidia(stranger.answers([&stranger.gpu().unwrap()]).unwrap(), Vec::new());

    let said = endorsed(first.devices().unwrap());
    let gpus = Arc::new(Gpus::start(Arc::new(one), &policy(1), said, NONCE, NOW).unwrap());
    let source = PartSource::File(path.clone());
    let ends = gpus.valid_until();
    // Nothing is due yet: the file is not even there.
    let step = keep(&gpus, &source, NOW).await;
    assert!(!step.renewed && step.wait > 0);
    assert_eq!(gpus.health(NOW).state, EndorsementState::Fresh);
    // Every attempt comes later than the waits of the one before it.
    let mut now = later;
    let mut fails = async |code: &str| {
        assert!(!keep(&gpus, &source, now).await.renewed);
        assert_eq!(gpus.health(now).last_error_code, Some(code));
        assert!(gpus.health(now).state >= EndorsementState::RefreshFailing);
        assert_eq!(gpus.valid_until(), ends, "what is carried stays");
        now = UnixTime(now.0 + 3601);
    };
    fails("staple.unreadable").await;
    write(&first);
    fails("staple.not-newer").await;
    std::fs::write(&path, "{}").unwrap();
    fails("endorse.bundle.form").await;
    write(&theirs);
    fails("ocsp.missing").await;
    write(&newer);
    assert!(keep(&gpus, &source, now).await.renewed);
    assert!(gpus.valid_until() > ends);
    let health = gpus.health(now);
    assert_eq!((health.state, health.last_error_code), (EndorsementState::Fresh, None));
    // What is carried in documents is the newer one: it is good when the first is not.
    let after = UnixTime(ends.0 + DAY);
    let (_, shown) = gpus.evidence(&NONCE, after).unwrap();
    let anchors = NvidiaAnchors::danger_only_pem(&vendor.root_pem()).unwrap();
    assert!(devices::verify(&shown, 1, policy(1).terms(), &anchors, &NONCE, after).is_ok());
}

// === the driver's thread ===

struct Fake {
    count: u32,
    state: State,
    /// What the state becomes when work is accepted.
    obeys: bool,
    slow: Duration,
    switches: u8,
}

const GOOD: State = State { on: true, protected_pcie: false, developer: false, ready: false };

impl Driver for Fake {
    fn count(&mut self) -> Result<u32, GpuError> {
        std::thread::sleep(self.slow);
        Ok(self.count)
    }

    fn state(&mut self) -> Result<State, GpuError> {
        Ok(self.state)
    }

    fn evidence(&mut self, index: u32, nonce: &[u8; 32]) -> Result<RawGpu, GpuError> {
        assert!(index < 8, "a library that breaks");
        Ok(RawGpu { report: nonce.to_vec(), chain: vec![index as u8] })
    }

    fn switches(&mut self, nonce: &[u8; 32]) -> Result<Vec<RawGpu>, GpuError> {
        assert!(self.state.protected_pcie, "nobody asks for switches otherwise");
        let raw = |number| RawGpu { report: nonce.to_vec(), chain: vec![b's', number] };
        Ok((0..self.switches).map(raw).collect())
    }

    fn accept_work(&mut self) -> Result<(), GpuError> {
        if !self.state.on {
            return Err(GpuError::Driver { what: "let the GPUs work", reason: "only root may".into() });
        }
        self.state.ready = self.obeys;
        Ok(())
    }
}

fn fake(change: impl FnOnce(&mut Fake)) -> Asked {
    let mut fake = Fake { count: 2, state: GOOD, obeys: true, slow: Duration::ZERO, switches: 4 };
    change(&mut fake);
    Asked::start(move || Ok(fake), Duration::from_millis(500)).unwrap()
}

#[test]
fn every_gpu_answers() {
    let raw = fake(|_| {}).evidence(&NONCE).unwrap();
    let expected = |index| RawGpu { report: NONCE.to_vec(), chain: vec![index] };
    assert_eq!(raw, [expected(0), expected(1)]);
}

/// ATT-77.
#[test]
fn gpus_that_protect_pcie_are_shown_with_their_switches() {
    let pcie = State { on: false, protected_pcie: true, ..GOOD };
    let raw = fake(|f| f.state = pcie).evidence(&NONCE).unwrap();
    let chains: Vec<_> = raw.iter().map(|device| device.chain.as_slice()).collect();
    assert_eq!(chains, [&[0][..], &[1], b"s\0", b"s\x01", b"s\x02", b"s\x03"]);
    let none = |fake: &mut Fake| (fake.state, fake.switches) = (pcie, 0);
    assert_eq!(fake(none).evidence(&NONCE).unwrap_err().code(), "gpu.no-switch");
    // Of GPUs on their own nobody asks for switches.
    assert_eq!(fake(|f| f.switches = 0).evidence(&NONCE).unwrap().len(), 2);
}

#[test]
fn one_mistake_each_has_its_code() {
    let code = |change: fn(&mut Fake)| fake(change).evidence(&NONCE).unwrap_err().code();
    assert_eq!(code(|f| f.count = 0), "gpu.none");
    assert_eq!(code(|f| f.state.on = false), "gpu.off");
    assert_eq!(code(|f| f.state.developer = true), "gpu.developer-mode");
    assert_eq!(code(|f| f.slow = Duration::from_secs(5)), "gpu.timeout");
    assert_eq!(code(|f| f.count = 9), "gpu.stopped");
    let start = |error: GpuError| {
        let opened: Result<Asked, _> = Asked::start::<Fake>(move || Err(error), Duration::from_secs(5));
        opened.err().unwrap().code()
    };
    assert_eq!(start(GpuError::NoDriver), "gpu.no-driver");
}

#[test]
fn work_is_accepted_where_the_driver_says_so_afterwards() {
    assert!(fake(|_| {}).let_work().is_ok());
    assert_eq!(fake(|f| f.obeys = false).let_work().unwrap_err().code(), "gpu.not-ready");
    assert_eq!(fake(|f| f.state.on = false).let_work().unwrap_err().code(), "gpu.driver");
    assert!(fake(|f| (f.state.ready, f.obeys) = (true, false)).let_work().is_ok(), "they work already");
}
