//! Attestation documents through the server's HTTP handler, on a machine whose device takes a fixed time for its evidence.
//!
//! First the document that is made ahead (`GET /attest`, spec/stapling.md, STAPLE-09): how many of them one core serves in a
//! second, by the handler alone (routes, middleware, log, counters), and over HTTP/1.1 on loopback with the connection kept.
//! Then evidence on demand (`GET /attest?nonce=`): what the handler takes, against what the device takes when it is asked
//! directly.
//!
//! The device is a stand-in: a simulated SEV-SNP machine that signs a report and sleeps for the rest of its time. The model is
//! none: nothing is asked of it.
//!
//! Settings: `ROUNDS` (200), `DOCUMENTS` (2000, in each round of the first part), `DEVICE_MS` (10).

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::http::Request;
use casemate_attest::snp::ProductLine;
use casemate_attest::{Evidence, Platform, TrustAnchors, UnixTime, verify};
use casemate_bench::{Side, alternate, print_json, print_table, setting};
use casemate_enclave::api::{ApiState, router};
use casemate_enclave::{
    AttestationService, Attester, AttesterError, Brought, RawEvidence, Source, Stapler, TlsIdentity,
};
use casemate_engine::{
    ChatSupport, Completion, Engine, EngineError, Event, FinishReason, GenerateRequest, ModelInfo, ToolForm,
    Usage,
};
use casemate_protocol::document::AttestationDocument;
use casemate_sim::{Machine, MachineConfig, Vendor};
use serde_json::json;
use tokio::runtime::Runtime;
use tower::ServiceExt;

const NONCE: &str = "/attest?nonce=abababababababababababababababababababababababababababababababab";

fn main() {
    let rounds = setting("ROUNDS", 200);
    let documents = setting("DOCUMENTS", 2000);
    let latency = Duration::from_millis(setting("DEVICE_MS", 10) as u64);

    let now = UnixTime(SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs());
    let vendor = Vendor::create(ProductLine::Genoa, now).expect("a vendor");
    let machine = vendor.machine(&MachineConfig::new([9; 48])).expect("a machine");
    let anchors = TrustAnchors::danger_only_pem(&vendor.root_pem()).expect("roots");
    let device: Arc<dyn Attester> = Arc::new(Device { machine, latency });

    let several = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let one = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let given = Source::Given(Box::default());
    let stapler = several.block_on(Stapler::start(device.clone(), given, anchors.clone(), now));
    let stapler = stapler.unwrap_or_else(|error| panic!("{}: {error}", error.code()));
    let tls = TlsIdentity::generate(vec!["localhost".into()]).expect("an identity");
    let service = AttestationService::new(device.clone(), stapler.staples(), &tls, Vec::new());
    let service = Arc::new(service);
    service.restaple().expect("a document");
    let routes = router(ApiState::new(Arc::new(NoEngine::new()), "none".into(), service));

    // Both documents are what a client takes, and they are not the same one.
    let (ready, fresh) = (get(&one, &routes, "/attest"), get(&several, &routes, NONCE));
    for bytes in [&ready, &fresh] {
        let document = AttestationDocument::parse(bytes).expect("a document");
        let evidence = Evidence::parse(&document.evidence_bytes().expect("base64")).expect("a report");
        verify(&evidence, &document.endorsements(&evidence).expect("endorsed"), &anchors, now)
            .expect("genuine");
    }
    assert_eq!(get(&one, &routes, "/attest"), ready, "made ahead");
    assert_ne!(get(&several, &routes, NONCE), fresh, "made on demand");

    let address = listen(routes.clone());
    let mut connection = TcpStream::connect(address).expect("a connection");
    connection.set_nodelay(true).expect("a socket");
    assert_eq!(over(&mut connection), ready);

    let per_core = alternate(
        1,
        rounds.div_ceil(20),
        vec![
            Side::timed("the handler", || {
                for _ in 0..documents {
                    assert_eq!(get(&one, &routes, "/attest").len(), ready.len());
                }
            }),
            Side::timed("HTTP/1.1 on loopback, one connection", || {
                for _ in 0..documents {
                    assert_eq!(over(&mut connection).len(), ready.len());
                }
            }),
        ],
    );
    println!("The document that is made ahead, {} bytes: one round is {documents} of them\n", ready.len());
    print_table(&per_core);

    let on_demand = alternate(
        rounds / 10,
        rounds,
        vec![
            Side::timed("casemate: the handler, with a nonce", || {
                get(&several, &routes, NONCE);
            }),
            Side::timed("the device alone", || {
                device.evidence(&[7; 64]).expect("evidence");
            }),
        ],
    );
    println!("Evidence on demand, of a device that takes {} ms\n", latency.as_millis());
    print_table(&on_demand);

    let rate = |side| (documents as f64 / per_core.median(side)).round();
    print_json(
        "staple",
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "rounds": on_demand.rounds(),
            "document_bytes": ready.len(),
            "ready_documents_per_second_and_core": rate(0),
            "ready_documents_per_second_on_one_connection": rate(1),
            "device_ms": latency.as_millis() as u64,
            "on_demand_us": (on_demand.median(0) * 1e6).round(),
            "device_us": (on_demand.median(1) * 1e6).round(),
            "median_ratio": (on_demand.ratio(0, 1) * 1000.0).round() / 1000.0,
            "ratio_is": "time of the handler with a nonce / time of the device alone",
        }),
    );
}

/// One request through the whole stack of the handler, on this thread where the runtime has one.
fn get(runtime: &Runtime, routes: &Router, path: &str) -> Bytes {
    runtime.block_on(async {
        let request = Request::get(path).body(Body::empty()).expect("a request");
        let response = routes.clone().oneshot(request).await.expect("infallible");
        assert_eq!(response.status(), 200);
        to_bytes(response.into_body(), usize::MAX).await.expect("a body")
    })
}

/// The server on a thread of its own, one core for all of it.
fn listen(routes: Router) -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    listener.set_nonblocking(true).expect("a socket");
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
            axum::serve(listener, routes).await.expect("serves");
        });
    });
    address
}

/// One request on a connection that stays: the body by its Content-Length.
fn over(connection: &mut TcpStream) -> Bytes {
    connection.write_all(b"GET /attest HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("sent");
    let mut answer = Vec::with_capacity(16 * 1024);
    let mut part = [0; 16 * 1024];
    loop {
        let count = connection.read(&mut part).expect("an answer");
        assert_ne!(count, 0, "the connection stays");
        answer.extend_from_slice(&part[..count]);
        let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let head = std::str::from_utf8(&answer[..end]).expect("text").to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
        let whole = end + 4 + length.parse::<usize>().expect("a number");
        if answer.len() >= whole {
            return Bytes::copy_from_slice(&answer[end + 4..whole]);
        }
    }
}

/// Takes exactly its time, whatever the signature takes.
struct Device {
    machine: Machine,
    latency: Duration,
}

impl Attester for Device {
    fn platform(&self) -> Platform {
        Platform::SevSnp
    }

    fn evidence(&self, report_data: &[u8; 64]) -> Result<RawEvidence, AttesterError> {
        let until = Instant::now() + self.latency;
        let evidence = self.machine.report(report_data)?;
        std::thread::sleep(until.saturating_duration_since(Instant::now()));
        Ok(RawEvidence {
            platform: Platform::SevSnp,
            evidence,
            endorsements: Brought {
                vek: Some(self.machine.vek_der().to_vec()),
                crl: Some(self.machine.crl_der().to_vec()),
                ak_certificate: None,
            },
        })
    }

    fn simulated(&self) -> bool {
        true
    }
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
