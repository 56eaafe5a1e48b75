//! A broker, its clock, and guests that talk to it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, header};
use casemate_attest::snp::ProductLine;
use casemate_attest::{Danger, UnixTime};
use casemate_broker::policy::CLAIM_MEASUREMENT;
use casemate_broker::{
    Baseline, BrokerAnchors, BrokerConfig, BrokerState, Clock, DEFAULT_ISSUER, NewKey, Overwrite,
    ReleasePolicy, Store, SystemEntropy, baseline, router,
};
use casemate_protocol::document::DocumentEndorsements;
use casemate_protocol::jwe::{Jwe, TeePrivateKey};
use casemate_protocol::kbs::{PrimaryEvidence, RuntimeData, report_data};
use casemate_seal::ModelId;
use casemate_sim::{Machine, MachineConfig, Vendor};
use serde_json::{Value, json};
use tempfile::TempDir;
use tower::ServiceExt;
use zeroize::Zeroizing;

/// 2026-09-21.
pub(crate) const NOW: u64 = 1_790_000_000;
pub(crate) const SECRET: &[u8] = b"the key of a model, thirty-two b";
pub(crate) const DIGEST: [u8; 48] = [0xab; 48];
pub(crate) const KEY: &str = "models/smollm2/1";
pub(crate) const UUID: [u8; 16] = [7; 16];

/// A clock that a test moves.
pub(crate) struct TestClock(AtomicU64);

impl Clock for TestClock {
    fn now(&self) -> UnixTime {
        UnixTime(self.0.load(Ordering::SeqCst))
    }
}

pub(crate) struct Broker {
    pub(crate) router: Router,
    pub(crate) state: Arc<BrokerState>,
    pub(crate) clock: Arc<TestClock>,
    _dir: TempDir,
}

/// What came back.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) cookie: Option<String>,
    pub(crate) text: String,
}

/// A machine with its ephemeral key, and how far it came.
pub(crate) struct Guest {
    pub(crate) machine: Machine,
    pub(crate) key: TeePrivateKey,
    pub(crate) crl: Vec<u8>,
    pub(crate) cookie: String,
    pub(crate) nonce: String,
}

/// One vendor for all tests: its RSA keys take seconds to make.
pub(crate) fn vendor() -> &'static Vendor {
    static VENDOR: OnceLock<Vendor> = OnceLock::new();
    VENDOR.get_or_init(|| Vendor::create(ProductLine::Genoa, UnixTime(NOW)).unwrap())
}

pub(crate) fn pinned_policy() -> Value {
    policy_with(json!({ "claim": CLAIM_MEASUREMENT, "equals": hex::encode(DIGEST) }))
}

pub(crate) fn policy_with(condition: Value) -> Value {
    json!({ "version": "1.0.0", "anyOf": [{ "authority": DEFAULT_ISSUER, "allOf": [condition] }] })
}

impl Broker {
    /// A broker that trusts the simulator, with one key.
    pub(crate) fn new() -> Self {
        let broker = Self::with_anchors(BrokerAnchors::danger_simulated(&vendor().root_pem()).unwrap());
        broker.put(KEY, &pinned_policy(), 1);
        broker
    }

    pub(crate) fn with_anchors(anchors: BrokerAnchors) -> Self {
        Self::with(anchors, baseline(Danger::Refuse))
    }

    pub(crate) fn with(anchors: BrokerAnchors, baseline: Baseline) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (db, root) = (dir.path().join("keys.db"), dir.path().join("root.key"));
        let entropy = Arc::new(SystemEntropy::default());
        let store = Store::create(&db, &root, anchors.identity(), &*entropy).unwrap();
        let clock = Arc::new(TestClock(AtomicU64::new(NOW)));
        let config = BrokerConfig {
            store,
            anchors,
            baseline,
            issuer: DEFAULT_ISSUER.into(),
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            entropy,
        };
        let state = Arc::new(BrokerState::new(config).unwrap());
        Self { router: router(Arc::clone(&state)), state, clock, _dir: dir }
    }

    pub(crate) fn put(&self, path: &str, policy: &Value, version: u64) {
        let key = NewKey {
            resource: path.parse().unwrap(),
            model: ModelId { uuid: UUID, version },
            policy: ReleasePolicy::parse(policy.to_string().as_bytes()).unwrap(),
            secret: SECRET,
        };
        self.state.store().put(&key, Overwrite::Refuse, UnixTime(NOW), &SystemEntropy::default()).unwrap();
    }

    /// Moves the clock to `seconds` after [`NOW`].
    pub(crate) fn at(&self, seconds: u64) {
        self.now_is(NOW + seconds);
    }

    /// Sets the clock, in seconds since 1970.
    pub(crate) fn now_is(&self, now: u64) {
        self.clock.0.store(now, Ordering::SeqCst);
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let cookie =
            response.headers().get(header::SET_COOKIE).map(|value| value.to_str().unwrap().to_owned());
        let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        Answer { status, cookie, text: String::from_utf8(body.to_vec()).unwrap() }
    }

    pub(crate) async fn post(&self, path: &str, cookie: Option<&str>, body: impl Into<Body>) -> Answer {
        let mut request = Request::post(path).header(header::CONTENT_TYPE, "application/json");
        if let Some(cookie) = cookie {
            request = request.header(header::COOKIE, cookie);
        }
        self.send(request.body(body.into()).unwrap()).await
    }

    pub(crate) async fn get(&self, path: &str, headers: &[(header::HeaderName, &str)]) -> Answer {
        let mut request = Request::get(path);
        for (name, value) in headers {
            request = request.header(name, *value);
        }
        self.send(request.body(Body::empty()).unwrap()).await
    }

    /// Opens a session for a guest with this configuration.
    pub(crate) async fn guest_with(&self, config: &MachineConfig) -> Guest {
        let answer = self.post("/kbs/v0/auth", None, auth_body().to_string()).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let cookie = answer.cookie.clone().unwrap().split(';').next().unwrap().to_owned();
        let nonce = answer.json()["nonce"].as_str().unwrap().to_owned();
        let machine = vendor().machine(config).unwrap();
        let crl = machine.crl_der().to_vec();
        Guest { machine, key: tee_key(), crl, cookie, nonce }
    }

    /// Opens a session for a healthy guest that runs what the key's policy names.
    pub(crate) async fn guest(&self) -> Guest {
        self.guest_with(&MachineConfig::new(DIGEST)).await
    }

    pub(crate) async fn attest(&self, guest: &Guest) -> Answer {
        self.attest_with(guest, guest.attestation()).await
    }

    pub(crate) async fn attest_with(&self, guest: &Guest, body: Value) -> Answer {
        self.post("/kbs/v0/attest", Some(&guest.cookie), body.to_string()).await
    }

    pub(crate) async fn resource(&self, guest: &Guest, path: &str) -> Answer {
        self.get(&format!("/kbs/v0/resource/{path}"), &[(header::COOKIE, &guest.cookie)]).await
    }

    /// A guest whose evidence was accepted, and its token.
    pub(crate) async fn attested(&self) -> (Guest, String) {
        let guest = self.guest().await;
        let answer = self.attest(&guest).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let token = answer.json()["token"].as_str().unwrap().to_owned();
        (guest, token)
    }

    /// The audit log's rows as JSON, after a check of the chain.
    pub(crate) fn audit(&self) -> Vec<Value> {
        self.state.store().verify_audit().unwrap();
        let rows = self.state.store().audit_tail(1000).unwrap();
        rows.iter().map(|row| serde_json::from_str(&row.content).unwrap()).collect()
    }
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap()
    }

    pub(crate) fn jwe(&self) -> Jwe {
        assert_eq!(self.status, 200, "{}", self.text);
        serde_json::from_str(&self.text).unwrap()
    }

    /// The status and the code of an error, after a check of its form.
    pub(crate) fn refusal(&self) -> (u16, String) {
        let json = self.json();
        let kind = json["type"].as_str().unwrap();
        let name = kind.strip_prefix("https://github.com/confidential-containers/kbs/errors/").unwrap();
        assert!(!name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphabetic()), "{kind}");
        assert_eq!(json.as_object().unwrap().len(), 2);
        let detail = json["detail"].as_str().unwrap();
        (self.status, detail.split_once(": ").unwrap().0.to_owned())
    }

    #[track_caller]
    pub(crate) fn assert_refused(&self, status: u16, code: &str) {
        assert_eq!(self.refusal(), (status, code.to_owned()), "{}", self.text);
    }
}

impl Guest {
    pub(crate) fn runtime(&self) -> RuntimeData {
        RuntimeData { nonce: self.nonce.clone(), tee_pubkey: self.key.public() }
    }

    /// A report over what the session must bind.
    pub(crate) fn report(&self) -> Vec<u8> {
        self.machine.report(&report_data(&self.runtime(), "").unwrap()).unwrap()
    }

    pub(crate) fn attestation(&self) -> Value {
        self.attestation_of(&self.report(), &self.runtime())
    }

    pub(crate) fn attestation_of(&self, report: &[u8], runtime: &RuntimeData) -> Value {
        let endorsements = DocumentEndorsements::amd(self.machine.vek_der(), &self.crl);
        let evidence = PrimaryEvidence::new(report, endorsements);
        json!({
            "init-data": null,
            "runtime-data": runtime,
            "tee-evidence": { "primary_evidence": evidence, "additional_evidence": "" },
        })
    }
}

pub(crate) fn auth_body() -> Value {
    let algorithms = ["sha256", "sha384", "sha512", "sm3"];
    json!({ "version": "0.4.0", "tee": "snp", "extra-params": { "supported-hash-algorithms": algorithms } })
}

pub(crate) fn tee_key() -> TeePrivateKey {
    let mut bytes = Zeroizing::new([0; 32]);
    aws_lc_rs::rand::fill(bytes.as_mut_slice()).unwrap();
    TeePrivateKey::from_random(&bytes).unwrap()
}
