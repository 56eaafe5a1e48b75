//! A simulated machine that brings no endorsements, the vendor's service, and the server's HTTP API over both.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::http::{Request, StatusCode};
use casemate_attest::snp::ProductLine;
use casemate_attest::{Evidence, Platform, TrustAnchors, UnixTime, verify};
use casemate_enclave::api::{ApiState, router};
use casemate_enclave::{
    AttestationService, Attester, AttesterError, Brought, Clock, RawEvidence, RefreshError, Source, Stapler,
    TlsIdentity,
};
use casemate_endorse::{IntelService, Pace, Settings};
use casemate_engine::{
    ChatSupport, Completion, Engine, EngineError, Event, FinishReason, GenerateRequest, ModelInfo, ToolForm,
    Usage,
};
use casemate_protocol::document::AttestationDocument;
use casemate_sim::{CrlMistake, Machine, MachineConfig, Vendor};
use serde_json::Value;
use tempfile::TempDir;
use tower::ServiceExt;

use crate::replay::{Replay, Reply};

pub(crate) const DAY: u64 = 86_400;
/// When every case begins.
pub(crate) const T: UnixTime = UnixTime(1_767_268_800);

pub(crate) fn after(seconds: u64) -> UnixTime {
    UnixTime(T.0 + seconds)
}

/// Keys take seconds to make: one vendor and one chip for all cases.
pub(crate) static VENDOR: LazyLock<Vendor> =
    LazyLock::new(|| Vendor::create(ProductLine::Genoa, T).expect("a vendor"));
static CHIP: LazyLock<Machine> =
    LazyLock::new(|| VENDOR.machine(&MachineConfig::new([5; 48])).expect("a machine"));

pub(crate) fn chip() -> &'static Machine {
    &CHIP
}

pub(crate) fn anchors() -> TrustAnchors {
    TrustAnchors::danger_only_pem(&VENDOR.root_pem()).expect("roots")
}

/// A list that holds from so many days before T until so many after.
fn list(before: u64, until: u64) -> Vec<u8> {
    dated(UnixTime(T.0 - before * DAY), UnixTime(T.0 + until * DAY))
}

/// One that was in date until a day before T.
pub(crate) fn run_out() -> Vec<u8> {
    dated(UnixTime(T.0 - 13 * DAY), UnixTime(T.0 - DAY))
}

fn dated(this_update: UnixTime, next_update: UnixTime) -> Vec<u8> {
    VENDOR.crl_with(&CrlMistake::Window { this_update, next_update }).expect("a list")
}

/// Of twelve days: due since a day at T, `expiring` a day after T, and good until three days after it.
pub(crate) static AGEING: LazyLock<Vec<u8>> = LazyLock::new(|| list(9, 3));
/// Issued at T.
pub(crate) static NEW: LazyLock<Vec<u8>> = LazyLock::new(|| list(0, 12));
/// Issued before the ageing one, and good for longer.
pub(crate) static OLDER: LazyLock<Vec<u8>> = LazyLock::new(|| list(20, 20));

/// The service's paths: of the certificate and of the list.
pub(crate) fn targets() -> [String; 2] {
    let config = chip().config();
    let tcb = config.tcb;
    let query = format!(
        "blSPL={:02}&teeSPL={:02}&snpSPL={:02}&ucodeSPL={:02}",
        tcb.bootloader, tcb.tee, tcb.snp, tcb.microcode
    );
    [format!("/vcek/v1/Genoa/{}?{query}", hex::encode(config.chip_id)), "/vcek/v1/Genoa/crl".to_owned()]
}

/// The chip's certificate and this list.
pub(crate) fn service(list: &[u8]) -> Replay {
    let [vcek, crl] = targets();
    let vek = chip().vek_der().to_vec();
    Replay::start([(vcek, Reply::Body(vek)), (crl, Reply::Body(list.to_vec()))])
}

pub(crate) fn settings(service: &str, cache: PathBuf) -> Settings {
    Settings {
        kds: service.to_owned(),
        intel: IntelService::Pccs(service.to_owned()),
        pace: Pace {
            interval: Duration::ZERO,
            host: "127.0.0.1",
            backoff: Duration::from_millis(20),
            longest_wait: Duration::from_millis(20),
            patience: Duration::from_millis(100),
            // One case waits for it; the others must not come near it.
            timeout: Duration::from_secs(3),
            whole: Duration::from_secs(60),
        },
        ..Settings::vendors(cache)
    }
}

/// A machine that makes reports and brings what it is told to.
pub(crate) struct Device {
    pub(crate) brought: Brought,
    /// How often it was asked.
    pub(crate) asked: AtomicUsize,
}

impl Device {
    pub(crate) fn bringing(vek: Option<&[u8]>, crl: Option<&[u8]>) -> Arc<Self> {
        let brought = Brought { vek: vek.map(Into::into), crl: crl.map(Into::into), ak_certificate: None };
        Arc::new(Self { brought, asked: AtomicUsize::new(0) })
    }
}

impl Attester for Device {
    fn platform(&self) -> Platform {
        Platform::SevSnp
    }

    fn evidence(&self, report_data: &[u8; 64]) -> Result<RawEvidence, AttesterError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        Ok(RawEvidence {
            platform: Platform::SevSnp,
            evidence: chip().report(report_data)?,
            endorsements: self.brought.clone(),
        })
    }

    fn simulated(&self) -> bool {
        true
    }
}

/// A server that was started at T.
pub(crate) struct Server {
    pub(crate) vendor: Replay,
    pub(crate) cache: TempDir,
    pub(crate) device: Arc<Device>,
    pub(crate) stapler: Stapler,
    pub(crate) service: Arc<AttestationService>,
    router: Router,
    time: Arc<AtomicU64>,
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    pub(crate) fn code(&self) -> String {
        self.json()["error"]["code"].as_str().expect("a code").to_owned()
    }
}

pub(crate) async fn start(source: Source, device: Arc<Device>) -> Result<Stapler, RefreshError> {
    Stapler::start(device, source, anchors(), T).await
}

impl Server {
    /// With this list at the vendor's service.
    pub(crate) async fn start(list: &[u8]) -> Self {
        let (vendor, cache) = (service(list), tempfile::tempdir().expect("a folder"));
        let source = Source::Vendors(Box::new(settings(&vendor.url(), cache.path().join("cache"))));
        let device = Device::bringing(None, None);
        let stapler = start(source, device.clone()).await.unwrap_or_else(|e| panic!("{}: {e}", e.code()));
        let time = Arc::new(AtomicU64::new(T.0));
        let shared = time.clone();
        let clock = Clock::new(move || Some(UnixTime(shared.load(Ordering::Relaxed))));
        let tls = TlsIdentity::generate(vec!["localhost".into()]).expect("an identity");
        let service =
            AttestationService::new(device.clone(), stapler.staples(), &tls, Vec::new()).with_clock(clock);
        let service = Arc::new(service);
        service.restaple().expect("a document");
        let router = router(ApiState::new(Arc::new(NoEngine::new()), "m".into(), service.clone()));
        Self { vendor, cache, device, stapler, service, router, time }
    }

    /// What the background does by this time: one step, and another document where one can be made.
    pub(crate) async fn at(&self, now: UnixTime) -> bool {
        self.clock(now);
        let step = self.stapler.step(now).await;
        let made = self.service.restaple();
        assert!(made.is_ok() || !step.renewed, "{made:?}");
        step.renewed
    }

    /// Only the time goes on.
    pub(crate) fn clock(&self, now: UnixTime) {
        self.time.store(now.0, Ordering::Relaxed);
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        let request = Request::get(path).body(Body::empty()).expect("a request");
        let response = self.router.clone().oneshot(request).await.expect("infallible");
        let (head, body) = response.into_parts();
        Answer { status: head.status, body: to_bytes(body, usize::MAX).await.expect("a body") }
    }

    /// The revocation list that both documents carry; both verify at the server's time.
    pub(crate) async fn carried(&self) -> Vec<u8> {
        let now = UnixTime(self.time.load(Ordering::Relaxed));
        let nonce = format!("/attest?nonce={}", "ab".repeat(32));
        let [ready, fresh] = [self.get("/attest").await, self.get(&nonce).await].map(|answer| {
            assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.body);
            let document = AttestationDocument::parse(&answer.body).expect("a document");
            let evidence = Evidence::parse(&document.evidence_bytes().expect("base64")).expect("a report");
            let endorsements = document.endorsements(&evidence).expect("endorsements");
            verify(&evidence, &endorsements, &anchors(), now).unwrap_or_else(|e| panic!("{}", e.code()));
            document.endorsements.amd.expect("AMD's").crl
        });
        assert_eq!(ready, fresh);
        use base64::Engine as _;
        base64::prelude::BASE64_STANDARD.decode(ready).expect("base64")
    }

    /// (HTTP status, state, code of the last error) of `/health`.
    pub(crate) async fn health(&self) -> (u16, String, Option<String>) {
        let answer = self.get("/health").await;
        let health = &answer.json()["endorsements"];
        let text = |name: &str| health[name].as_str().map(ToOwned::to_owned);
        (answer.status.as_u16(), text("state").expect("a state"), text("last_error_code"))
    }
}

/// Health as it is compared.
pub(crate) fn says(status: u16, state: &str, code: Option<&str>) -> (u16, String, Option<String>) {
    (status, state.to_owned(), code.map(ToOwned::to_owned))
}

struct NoEngine(ModelInfo);

impl NoEngine {
    fn new() -> Self {
        Self(ModelInfo {
            name: "none".into(),
            architecture: "none".into(),
            parameters: 0,
            tensor_bytes: 0,
            context_tokens: 0,
            parallel: 0,
            trained_context_tokens: 0,
            chat: ChatSupport::Template,
            tools: ToolForm::None,
            dimensions: None,
        })
    }
}

impl Engine for NoEngine {
    fn info(&self) -> &ModelInfo {
        &self.0
    }

    fn queue_depth(&self) -> usize {
        0
    }

    fn generate(
        &self,
        _: GenerateRequest,
        _: &mut dyn FnMut(Event) -> ControlFlow<()>,
    ) -> Result<Completion, EngineError> {
        Ok(Completion { finish: FinishReason::Stop, usage: Usage::default() })
    }
}
