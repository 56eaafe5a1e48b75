//! A simulated vendor's machine and the service that endorses it, under the production code path.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use casemate_attest::snp::ProductLine;
use casemate_attest::{Evidence, TrustAnchors, UnixTime};
use casemate_endorse::{
    EndorseError, Fetched, IntelService, Known, Notice, NvidiaServices, Pace, Settings, fetch,
};
use casemate_sim::{MachineConfig, Vendor};
use tempfile::TempDir;

use crate::replay::{Replay, Reply};

pub(crate) const NOW: UnixTime = UnixTime(1_760_000_000);

/// One vendor a line is enough: making one costs a second.
pub(crate) struct Made {
    pub(crate) report: Vec<u8>,
    pub(crate) vek: Vec<u8>,
    pub(crate) crl: Vec<u8>,
    pub(crate) roots: String,
    /// Path and query of the certificate, and of the list.
    pub(crate) targets: [String; 2],
}

pub(crate) fn genoa() -> &'static Made {
    static MADE: OnceLock<Made> = OnceLock::new();
    MADE.get_or_init(|| Made::new(ProductLine::Genoa))
}

pub(crate) fn turin() -> &'static Made {
    static MADE: OnceLock<Made> = OnceLock::new();
    MADE.get_or_init(|| Made::new(ProductLine::Turin))
}

impl Made {
    fn new(line: ProductLine) -> Self {
        Self::of(&Vendor::create(line, NOW).expect("a vendor"), [7; 48])
    }

    /// The chip's name follows from the digest.
    pub(crate) fn of(vendor: &Vendor, launch_digest: [u8; 48]) -> Self {
        let line = vendor.line();
        let config = MachineConfig::for_line(line, 5, launch_digest);
        let machine = vendor.machine(&config).expect("a machine");
        let (tcb, chip) = (config.tcb, hex::encode(config.chip_id));
        let (chip, fmc) = match line {
            ProductLine::Turin => (chip[..16].to_owned(), format!("fmcSPL={:02}&", tcb.fmc)),
            _ => (chip, String::new()),
        };
        let query = format!(
            "{fmc}blSPL={:02}&teeSPL={:02}&snpSPL={:02}&ucodeSPL={:02}",
            tcb.bootloader, tcb.tee, tcb.snp, tcb.microcode
        );
        Self {
            report: machine.report(&[1; 64]).expect("a report"),
            vek: machine.vek_der().to_vec(),
            crl: machine.crl_der().to_vec(),
            roots: vendor.root_pem(),
            targets: [format!("/vcek/v1/{line}/{chip}?{query}"), format!("/vcek/v1/{line}/crl")],
        }
    }

    pub(crate) fn evidence(&self) -> Evidence {
        Evidence::parse(&self.report).expect("a report")
    }

    pub(crate) fn anchors(&self) -> TrustAnchors {
        TrustAnchors::danger_only_pem(&self.roots).expect("roots")
    }

    /// A service with the certificate and the list.
    pub(crate) fn service(&self) -> Replay {
        self.service_with(Reply::Body(self.vek.clone()))
    }

    /// A service with this answer for the certificate, and the list.
    pub(crate) fn service_with(&self, reply: Reply) -> Replay {
        let [vcek, crl] = self.targets.clone();
        Replay::start([(vcek, reply), (crl, Reply::Body(self.crl.clone()))])
    }

    pub(crate) fn fetch(&self, settings: &Settings) -> Result<Fetched, EndorseError> {
        self.fetch_at(settings, NOW)
    }

    pub(crate) fn fetch_at(&self, settings: &Settings, now: UnixTime) -> Result<Fetched, EndorseError> {
        run(&self.evidence(), &Known::default(), &self.anchors(), now, settings).0
    }
}

pub(crate) fn run(
    evidence: &Evidence,
    known: &Known,
    anchors: &TrustAnchors,
    now: UnixTime,
    settings: &Settings,
) -> (Result<Fetched, EndorseError>, Vec<Notice>) {
    let notices = std::sync::Mutex::new(Vec::new());
    let notify = |notice: &Notice| notices.lock().expect("no panic").push(notice.clone());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let fetched = runtime.block_on(fetch(evidence, known, anchors, now, settings, &notify));
    (fetched, notices.into_inner().expect("no panic"))
}

pub(crate) fn settings(service: &str, cache: &TempDir) -> Settings {
    settings_in(service, cache.path().to_owned())
}

pub(crate) fn settings_in(service: &str, cache: PathBuf) -> Settings {
    Settings {
        kds: service.to_owned(),
        intel: IntelService::Pcs { service: service.to_owned(), certificates: service.to_owned() },
        nvidia: NvidiaServices { rim: service.to_owned(), ocsp: service.to_owned(), nonce: true },
        // No test asks a vendor.
        lists: Some(service.to_owned()),
        pace: Pace {
            interval: Duration::ZERO,
            host: "127.0.0.1",
            backoff: Duration::from_millis(100),
            longest_wait: Duration::from_millis(400),
            patience: Duration::from_secs(5),
            timeout: Duration::from_secs(5),
            whole: Duration::from_secs(60),
        },
        ..Settings::vendors(cache)
    }
}

pub(crate) fn cache() -> TempDir {
    tempfile::tempdir().expect("a folder")
}
