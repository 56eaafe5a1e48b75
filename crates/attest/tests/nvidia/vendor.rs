//! The simulated NVIDIA for these cases, and for those of other crates that share this file: one vendor, one GPU, one day.

use std::sync::LazyLock;

use casemate_attest::nvidia::NvidiaAnchors;
use casemate_attest::{OcspNonce, OcspResponse, UnixTime};
use casemate_sim::nvidia::{Answer, Gpu, NvidiaVendor, Party, Report, Rim};

/// 2026-01-01T12:00:00Z: everything is valid on that day.
pub(crate) const NOON: UnixTime = UnixTime(1_767_268_800);

pub(crate) const NONCE: [u8; 32] = [7; 32];

/// One for all cases: making keys takes longer than the cases do.
pub(crate) static VENDOR: LazyLock<Vendor> = LazyLock::new(Vendor::new);

pub(crate) struct Vendor {
    pub(crate) anchors: NvidiaAnchors,
    sim: &'static NvidiaVendor,
    gpu: &'static Gpu,
    pub(crate) root: &'static Party,
    pub(crate) identity: &'static Party,
    pub(crate) provisioner: &'static Party,
    pub(crate) device: &'static Party,
    pub(crate) rim_root: &'static Party,
    pub(crate) rim_outer: &'static Party,
    pub(crate) rim_inner: &'static Party,
    pub(crate) rim_signer: &'static Party,
}

impl Vendor {
    fn new() -> Self {
        let sim: &NvidiaVendor = Box::leak(Box::new(NvidiaVendor::create(NOON).expect("a vendor")));
        let gpu: &Gpu = Box::leak(Box::new(sim.gpu().expect("a GPU")));
        Self {
            anchors: NvidiaAnchors::danger_only_pem(&sim.root_pem()).expect("two roots"),
            sim,
            gpu,
            root: sim.root(),
            identity: sim.identity(),
            provisioner: sim.provisioner(),
            device: gpu.device(),
            rim_root: sim.rim_root(),
            rim_outer: sim.rim_outer(),
            rim_inner: sim.rim_inner(),
            rim_signer: sim.rim_signer(),
        }
    }

    /// Its two roots, PEM.
    #[allow(dead_code, reason = "the command line's cases, which share this file, name them to a process")]
    pub(crate) fn roots(&self) -> String {
        self.sim.root_pem()
    }

    /// The five certificates as a device delivers them.
    pub(crate) fn chain(&self) -> Vec<u8> {
        self.gpu.chain_pem().as_bytes().to_vec()
    }

    /// A signed report.
    pub(crate) fn report(&self, report: &Report) -> Vec<u8> {
        self.gpu.sign(report).expect("a report")
    }

    /// A signed manifest.
    pub(crate) fn rim(&self, rim: &Rim) -> String {
        self.sim.manifest(rim).expect("a manifest")
    }
}

pub(crate) fn good_report() -> Report {
    Report::new(NONCE)
}

/// Good, by the issuer itself, for half a day before and after noon.
pub(crate) fn good_answer<'a>(subject: &'a Party, issuer: &'a Party) -> Answer<'a> {
    Answer::new(subject, issuer, "20260101000000Z", Some("20260102000000Z"))
}

pub(crate) fn response(answer: &Answer<'_>) -> OcspResponse {
    OcspResponse { der: answer.der().expect("an answer"), nonce: OcspNonce::NotSent }
}
