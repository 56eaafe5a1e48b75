//! The path that must work.

use std::io::{BufRead, BufReader};
use std::time::Duration;

use serde_json::{Value, json};

use crate::Case;
use crate::fixture::{Fixture, run};

pub const CASES: &[(&str, Case)] = &[
    ("path::asks_a_verified_server", asks_a_verified_server),
    ("path::verify_prints_the_report_of_a_server", verify_prints_the_report_of_a_server),
    ("path::an_attestation_document_verifies_offline", an_attestation_document_verifies_offline),
    ("path::infer_is_deterministic_and_bounded", infer_is_deterministic_and_bounded),
    ("path::chat_streams_and_does_not", chat_streams_and_does_not),
    ("path::killed_server_restarts", killed_server_restarts),
    ("path::killed_broker_loses_no_key", killed_broker_loses_no_key),
    ("path::stops_when_asked", stops_when_asked),
];

fn asks_a_verified_server(f: &Fixture) {
    let broker = f.broker(&f.path("store"));
    let server = f.serve(&broker.url);
    assert_eq!(server.announced["simulated"], true);
    assert_eq!(server.announced["model_manifest"], f.manifest.as_str());

    let asked = f.ask(&server.url, &f.path("client.toml"), "What is 2+2?");
    assert_eq!(asked.exit, Some(0), "{}", asked.stderr);
    let last = asked.stdout.lines().last().unwrap();
    let answer: Value = serde_json::from_str(last).unwrap();
    assert_eq!(answer["attestation_status"], "valid");
    assert_eq!(answer["platform"], "sev-snp");
    assert_eq!(answer["simulated"], true);
    assert_eq!(answer["measurement"], f.measurement.as_str());
    assert_eq!(answer["model_manifest"], f.manifest.as_str());
    assert!(answer["response"].as_str().unwrap().contains('4'), "{answer}");
    // The answer itself comes first, the table is talk, and SIMULATED stands in it.
    assert!(asked.stdout.starts_with(answer["response"].as_str().unwrap()));
    for expected in ["SIMULATED", "SNP-08", "CH-5", "VERIFIED (SIMULATED)"] {
        assert!(asked.stderr.contains(expected), "{expected} missing in {}", asked.stderr);
    }

    let audit = f.ok(&[
        "broker",
        "audit",
        "--store",
        &f.path("store"),
        "--danger-simulated-root",
        &f.root(),
        "--json",
    ]);
    let audit: Value = serde_json::from_str(&audit.stdout).unwrap();
    assert_eq!(audit["intact"], true);
    assert!(audit["rows"].as_array().unwrap().iter().any(|row| row["code"] == "ok"));
}

fn verify_prints_the_report_of_a_server(f: &Fixture) {
    let broker = f.broker(&f.path("store"));
    let server = f.serve(&broker.url);
    let verified = run(&[
        "verify",
        &server.url,
        "--policy",
        &f.path("client.toml"),
        "--danger-simulated-root",
        &f.root(),
        "--json",
    ]);
    assert_eq!(verified.exit, Some(0), "{}", verified.stderr);
    let report: Value = serde_json::from_str(&verified.stdout).unwrap();
    assert_eq!(report["schema"], "casemate.verify/1");
    assert_eq!(report["verdict"], "verified");
    assert_eq!(report["simulated"], true);
    let checks = report["checks"].as_array().unwrap();
    assert!(checks.len() > 30);
    assert!(checks.iter().all(|check| check["outcome"] == "pass" || check["outcome"] == "waived"));

    // The same server under AMD's roots: not genuine.
    let verified = run(&["verify", &server.url, "--policy", &f.path("client.toml"), "--json"]);
    assert_eq!(verified.exit, Some(3), "{}", verified.stderr);
    let report: Value = serde_json::from_str(&verified.stdout).unwrap();
    assert_eq!((&report["verdict"], &report["simulated"]), (&json!("rejected"), &json!(false)));
}

fn an_attestation_document_verifies_offline(f: &Fixture) {
    let broker = f.broker(&f.path("store"));
    let server = f.serve(&broker.url);
    let document = http(&server.url).get("/attest").text();
    let folder = f.folder("document");
    let file = folder.join("document.json").to_str().unwrap().to_owned();
    std::fs::write(&file, &document).unwrap();
    let policy = f.path("client.toml");
    let verify =
        |file: &str| run(&["verify", file, "--policy", &policy, "--danger-simulated-root", &f.root()]);
    let verified = verify(&file);
    assert_eq!(verified.exit, Some(0), "{}", verified.stderr);
    assert!(
        verified.stdout.contains("VERIFIED (SIMULATED), 4 waived: SNP-30, CH-3, CH-5, CH-20"),
        "{}",
        verified.stdout
    );
    // The model rule of the policy applies to a file too.
    let other = f.client_policy("offline-other-model.toml", &f.measurement, &"5a".repeat(32));
    run(&["verify", &file, "--policy", &other, "--danger-simulated-root", &f.root()])
        .refused(4, "statement.model");
    // It carries its endorsements: others are refused, not passed over.
    for flag in ["--endorsements", "--vek", "--crl", "--collateral"] {
        let root = f.root();
        run(&["verify", &file, "--policy", &policy, "--danger-simulated-root", &root, flag, &file])
            .refused(2, "cli.superfluous-flag");
    }
    let inspected = f.ok(&["inspect", &file, "--json"]);
    let content: Value = serde_json::from_str(&inspected.stdout).unwrap();
    assert_eq!(content["proves"], "nothing");
    assert_eq!(content["content"]["statement"]["models"][0]["manifest_sha256"], f.manifest.as_str());

    // Another statement beside the same evidence.
    let changed = document.replace("casemate 0", "casemate 9");
    assert_ne!(changed, document);
    std::fs::write(&file, changed).unwrap();
    verify(&file).refused(4, "binding.report-data");
}

fn infer_is_deterministic_and_bounded(f: &Fixture) {
    let broker = f.broker(&f.path("store"));
    let server = f.serve(&broker.url);
    let http = http(&server.url);
    let body = json!({ "prompt": "Name three colours.", "max_new_tokens": 24 });
    let first = http.post("/infer", &body).json();
    assert_eq!(first, http.post("/infer", &body).json());
    assert!(!first["response"].as_str().unwrap().is_empty());
    assert_eq!(http.post("/infer", &json!({ "prompt": "x".repeat(4097) })).status, 400);
    assert_eq!(http.post("/infer", &json!({ "prompt": "x", "temprature": 1 })).status, 400);
    assert_eq!(http.post("/infer", &json!(["x"])).status, 400);
}

fn chat_streams_and_does_not(f: &Fixture) {
    let broker = f.broker(&f.path("store"));
    let server = f.serve(&broker.url);
    let http = http(&server.url);
    let models = http.get("/v1/models").json();
    let model = models["data"][0]["id"].as_str().unwrap().to_owned();
    let mut body = json!({
        "model": model, "temperature": 0, "max_tokens": 16,
        "messages": [{ "role": "user", "content": "What is 2+2?" }],
    });
    let whole = http.post("/v1/chat/completions", &body).json();
    let text = whole["choices"][0]["message"]["content"].as_str().unwrap().to_owned();
    assert!(text.contains('4'), "{whole}");

    body["stream"] = json!(true);
    let stream = http.post("/v1/chat/completions", &body).text();
    let mut streamed = String::new();
    let mut done = false;
    for line in BufReader::new(stream.as_bytes()).lines().map_while(Result::ok) {
        match line.strip_prefix("data: ") {
            Some("[DONE]") => done = true,
            Some(data) => {
                let chunk: Value = serde_json::from_str(data).unwrap();
                streamed.push_str(chunk["choices"][0]["delta"]["content"].as_str().unwrap_or_default());
            }
            None => assert!(line.is_empty() || line.starts_with(':'), "{line}"),
        }
    }
    assert!(done);
    assert_eq!(streamed, text);
}

fn killed_server_restarts(f: &Fixture) {
    let broker = f.broker(&f.path("store"));
    let folder = f.folder("killed");
    let args = f.serve_args(&broker.url, &f.path("sealed"));
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    let program = crate::fixture::casemate();
    for _ in 0..2 {
        let mut server = crate::fixture::Server::start(&program, &args, &[], Some(&folder)).unwrap();
        server.kill9();
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0, "the killed server left files");
    }
}

fn killed_broker_loses_no_key(f: &Fixture) {
    let store = f.new_store("killed-store");
    let mut broker = f.broker(&store);
    drop(f.serve(&broker.url));
    broker.kill9();
    let list = f.ok(&["broker", "list", "--store", &store, "--danger-simulated-root", &f.root()]);
    assert!(list.stdout.contains(crate::fixture::KEY_URI), "{}", list.stdout);
    let again = f.broker(&store);
    drop(f.serve(&again.url));
}

fn stops_when_asked(f: &Fixture) {
    let mut broker = f.broker(&f.path("store"));
    let mut server = f.serve(&broker.url);
    assert_eq!(server.terminate(), Some(0));
    assert_eq!(broker.terminate(), Some(0));
}

// === a plain HTTP client that verifies nothing ===

pub struct Http {
    pub client: reqwest::Client,
    pub runtime: tokio::runtime::Runtime,
    base: String,
}

pub struct Answer {
    pub status: u16,
    body: String,
}

/// A client for `base` that accepts any certificate, as a curious stranger would.
pub fn http(base: &str) -> Http {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let client = reqwest::Client::builder()
        .danger_accept_invalid_certs(true)
        .no_proxy()
        .timeout(Duration::from_secs(120))
        .build()
        .unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    Http { client, runtime, base: base.to_owned() }
}

impl Http {
    pub fn get(&self, path: &str) -> Answer {
        self.send(self.client.get(format!("{}{path}", self.base)))
    }

    /// With a tenant's key.
    pub fn get_with(&self, path: &str, key: &str) -> Answer {
        self.send(self.client.get(format!("{}{path}", self.base)).bearer_auth(key))
    }

    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(self.client.post(format!("{}{path}", self.base)).json(body))
    }

    fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        self.runtime.block_on(async {
            let response = request.send().await.unwrap();
            Answer { status: response.status().as_u16(), body: response.text().await.unwrap() }
        })
    }
}

impl Answer {
    pub fn text(self) -> String {
        assert_eq!(self.status, 200, "{}", self.body);
        self.body
    }

    /// The whole body of an error with this status.
    pub fn error_text(self, status: u16) -> String {
        assert_eq!(self.status, status, "{}", self.body);
        self.body
    }

    /// The code of an error with this status.
    pub fn refused(self, status: u16) -> String {
        assert_eq!(self.status, status, "{}", self.body);
        let body: Value = serde_json::from_str(&self.body).unwrap();
        body["error"]["code"].as_str().unwrap().to_owned()
    }

    pub fn json(self) -> Value {
        serde_json::from_str(&self.text()).unwrap()
    }
}
