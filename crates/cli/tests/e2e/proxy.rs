//! The local proxy between an application and a real server, and what stands in the server's place or in the way (spec/proxy.md).

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use casemate_attest::nvidia::NvidiaAnchors;
use casemate_attest::{TrustAnchors, UnixTime};
use casemate_client::{Anchors, ClientPolicy, Peer, PeerState, Request, Verifier, Via};
use casemate_protocol::Plaintext;
use futures_util::StreamExt;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

use crate::Case;
use crate::fixture::{Fixture, Run, Server, casemate, run};
use crate::path::http;

pub const CASES: &[(&str, Case)] = &[
    ("proxy::applications_get_their_answers", applications_get_their_answers),
    ("proxy::nothing_is_sent_to_who_does_not_verify", nothing_is_sent_to_who_does_not_verify),
    ("proxy::an_answer_that_is_cut_is_an_error", an_answer_that_is_cut_is_an_error),
    ("proxy::another_server_answers_where_one_is_gone", another_server_answers),
    ("proxy::only_programs_of_this_machine_may_ask", only_programs_of_this_machine),
    ("proxy::the_persons_key_takes_the_place_of_the_programs", the_persons_key),
    ("proxy::a_policy_is_written_from_what_a_server_shows", a_policy_from_what_a_server_shows),
    ("proxy::no_answer_outlives_the_evidence", no_answer_outlives_the_evidence),
];

const PROMPT: &str = "The patient of room nine";

impl Fixture {
    fn proxy(&self, servers: &[&str], policy: &str, more: &[&str]) -> Server {
        self.proxy_by("tls", servers, policy, more)
    }

    pub fn proxy_by(&self, channel: &str, servers: &[&str], policy: &str, more: &[&str]) -> Server {
        let root = self.root();
        let args = ["proxy", "--listen", "127.0.0.1:0", "--policy", policy, "--danger-simulated-root", &root];
        let args = [&args[..], &["--channel", channel]].concat();
        let args = [&args[..], servers, more].concat();
        Server::start(&casemate(), &args, &[], None).unwrap_or_else(|run| panic!("proxy: {}", run.stderr))
    }
}

pub fn chat(more: &Value) -> Value {
    let mut body = json!({ "model": "any", "messages": [{ "role": "user", "content": PROMPT }], "max_tokens": 8, "temperature": 0 });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

pub fn model_of(proxy: &Server) -> String {
    let models = http(&proxy.url).get("/v1/models").json();
    models["data"][0]["id"].as_str().unwrap().to_owned()
}

pub fn state(proxy: &Server) -> String {
    http(&proxy.url).get("/health").json()["servers"][0]["state"].as_str().unwrap().to_owned()
}

fn applications_get_their_answers(f: &Fixture) {
    let broker = f.broker(&f.path("store"));
    let server = f.serve(&broker.url);
    let proxy = f.proxy(&[&server.url], &f.path("client.toml"), &[]);
    assert_eq!(proxy.announced["simulated"], true);
    let model = model_of(&proxy);
    let direct = http(&server.url);
    let through = http(&proxy.url);
    let body = chat(&json!({ "model": model }));
    let answer = through.post("/v1/chat/completions", &body).json();
    assert_eq!(
        answer["choices"],
        direct.post("/v1/chat/completions", &body).json()["choices"],
        "the same as without it"
    );
    let streamed =
        through.post("/v1/chat/completions", &chat(&json!({ "model": model, "stream": true }))).text();
    assert!(
        streamed.starts_with("data: ") && streamed.contains("data: [DONE]\n\n: casemate-receipt "),
        "{streamed}"
    );
    let message =
        json!({ "model": model, "max_tokens": 8, "messages": [{ "role": "user", "content": PROMPT }] });
    assert_eq!(through.post("/v1/messages", &message).json()["type"], "message");
    // What the server refuses, in its own words.
    let wrong = chat(&json!({ "model": "no such model" }));
    let status = direct.post("/v1/chat/completions", &wrong).status;
    let (code, here) = (
        direct.post("/v1/chat/completions", &wrong).refused(status),
        through.post("/v1/chat/completions", &wrong),
    );
    assert_eq!(here.refused(status), code);
    let health = through.get("/health").json();
    assert_eq!(
        (&health["servers"][0]["state"], &health["servers"][0]["simulated"]),
        (&json!("verified"), &json!(true))
    );
    let log = proxy.log();
    assert!(log.contains("SIMULATED") && log.contains("verified"), "{log}");
    assert!(!log.contains("patient"), "{log}");
}

// === who stands in the server's place ===

/// What an impostor was asked.
pub struct Asked {
    pub target: String,
    pub content_type: String,
    pub body: Vec<u8>,
}

/// What an impostor answers to `GET /attest?nonce=…`, given the target.
type Attest = Box<dyn Fn(&str) -> String + Send + Sync>;
/// The targets and bodies, in order.
type Seen = Arc<Mutex<Vec<(String, Vec<u8>)>>>;
type Answers = Box<dyn Fn(&Asked) -> Vec<u8> + Send + Sync>;

/// A TLS server with a certificate of its own that writes down what it was asked.
pub struct Impostor {
    pub url: String,
    seen: Seen,
}

impl Impostor {
    fn start(attest: Attest) -> Self {
        Self::between(Box::new(move |asked| attest(&asked.target).into_bytes()))
    }

    pub fn between(answers: Answers) -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        Self::with_key(&made, answers)
    }

    /// Somebody who has this key: where it is an attested machine's, nobody can tell the difference.
    pub fn with_key(made: &rcgen::CertifiedKey<rcgen::KeyPair>, answers: Answers) -> Self {
        let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let (config, answers) = (Arc::new(config), Arc::new(answers));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let seen = Seen::default();
        let noted = seen.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (config, answers, noted) = (config.clone(), answers.clone(), noted.clone());
                thread::spawn(move || {
                    let mut tls = StreamOwned::new(ServerConnection::new(config).unwrap(), stream);
                    let Some(asked) = asked(&mut tls) else { return };
                    noted.lock().unwrap().push((asked.target.clone(), asked.body.clone()));
                    let _ = tls.write_all(&answers(&asked));
                    tls.conn.send_close_notify();
                    let _ = tls.flush();
                });
            }
        });
        Self { url, seen }
    }

    pub fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().iter().map(|(target, _)| target.clone()).collect()
    }

    pub fn bodies(&self) -> Vec<Vec<u8>> {
        self.seen.lock().unwrap().iter().map(|(_, body)| body.clone()).collect()
    }
}

fn asked(tls: &mut impl Read) -> Option<Asked> {
    let mut head = Vec::new();
    let mut octet = [0];
    while !head.ends_with(b"\r\n\r\n") && matches!(tls.read(&mut octet), Ok(1)) {
        head.push(octet[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let target = head.split(' ').nth(1)?.to_owned();
    let field = |name: &str| {
        let line = head.lines().find(|line| line.to_lowercase().starts_with(&format!("{name}:")));
        line.map(|line| line[name.len() + 1..].trim().to_owned())
    };
    let mut body = vec![0; field("content-length").map_or(0, |len| len.parse().unwrap())];
    tls.read_exact(&mut body).ok()?;
    Some(Asked { target, content_type: field("content-type").unwrap_or_default(), body })
}

pub fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}

fn nothing_is_sent_to_who_does_not_verify(f: &Fixture) {
    let broker = f.broker(&f.path("store"));
    let server = f.serve(&broker.url);
    let real = server.url.clone();
    let old = http(&real).get(&format!("/attest?nonce={}", "11".repeat(32))).text();
    let ahead = http(&real).get("/attest").text();
    let (to_real, to_ready) = (real.clone(), real.clone());
    let cases: Vec<(&str, u16, &str, Attest)> = vec![
        (
            "no document",
            502,
            "connect.no-document",
            Box::new(|_| "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".into()),
        ),
        ("a page", 502, "document.malformed", Box::new(|_| ok("<html>sign in</html>"))),
        ("nothing", 503, "connect.unreachable", Box::new(|_| String::new())),
        (
            "a redirection to the real one",
            502,
            "connect.no-document",
            Box::new(move |target| {
                format!("HTTP/1.1 307 T\r\nLocation: {to_real}{target}\r\nContent-Length: 0\r\n\r\n")
            }),
        ),
        ("a document for another nonce", 502, "statement.nonce", Box::new(move |_| ok(&old))),
        ("a document for none", 502, "statement.nonce", Box::new(move |_| ok(&ahead))),
        // The real server's answer to the very nonce: but the connection ends at another key.
        (
            "a man in the middle",
            502,
            "statement.tls-key",
            Box::new(move |target| ok(&http(&to_ready).get(target).text())),
        ),
    ];
    for (name, status, code, attest) in cases {
        let impostor = Impostor::start(attest);
        let proxy = f.proxy(&[&impostor.url], &f.path("client.toml"), &[]);
        let through = http(&proxy.url);
        for path in ["/v1/chat/completions", "/v1/embeddings"] {
            let answer = through.post(path, &chat(&json!({})));
            assert_eq!(answer.refused(status), code, "{name}");
        }
        let anthropic = through.post("/v1/messages", &chat(&json!({}))).error_text(status);
        assert!(anthropic.contains("nothing was sent") && anthropic.contains(code), "{name}: {anthropic}");
        assert_eq!(state(&proxy), "failed", "{name}");
        let seen = impostor.seen();
        assert!(
            !seen.is_empty() && seen.iter().all(|target| target.starts_with("/attest?nonce=")),
            "{name}: {seen:?}"
        );
        assert!(!proxy.log().contains("patient"), "{name}");
    }
    // The real server, and a policy that names another model.
    let other = f.client_policy("proxy-other-model.toml", &f.measurement, &"ab".repeat(32));
    let proxy = f.proxy(&[&real], &other, &[]);
    let refused = http(&proxy.url).post("/v1/chat/completions", &chat(&json!({}))).refused(502);
    assert_eq!(refused, "statement.model");
}

// === what is in the way ===

/// Carries bytes to a server and back, and stops carrying its answers when `budget` is used up.
struct Relay {
    url: String,
    budget: Arc<AtomicI64>,
}

impl Relay {
    fn start(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let budget = Arc::new(AtomicI64::new(i64::MAX));
        let (to, left) = (server.trim_start_matches("https://").to_owned(), budget.clone());
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let server = TcpStream::connect(&to).unwrap();
                let (mut from, mut into) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                thread::spawn(move || drop(std::io::copy(&mut from, &mut into)));
                let left = left.clone();
                thread::spawn(move || answers(server, client, &left));
            }
        });
        Self { url, budget }
    }
}

fn answers(mut server: TcpStream, mut client: TcpStream, budget: &AtomicI64) {
    let mut bytes = [0; 512];
    while let Ok(read @ 1..) = server.read(&mut bytes) {
        let left = budget.fetch_sub(read as i64, Ordering::SeqCst).clamp(0, read as i64) as usize;
        if client.write_all(&bytes[..left]).is_err() || left < read {
            break;
        }
    }
    let _ = client.shutdown(Shutdown::Both);
    let _ = server.shutdown(Shutdown::Both);
}

fn an_answer_that_is_cut_is_an_error(f: &Fixture) {
    let broker = f.broker(&f.path("store"));
    let server = f.serve(&broker.url);
    let relay = Relay::start(&server.url);
    let proxy = f.proxy(&[&relay.url], &f.path("client.toml"), &[]);
    let model = model_of(&proxy);
    let body = chat(&json!({ "model": model, "stream": true, "max_tokens": 24 }));
    let url = format!("{}/v1/chat/completions", proxy.url);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let ask = || {
        runtime.block_on(async {
            let response = client.post(&url).json(&body).send().await.unwrap();
            let status = response.status().as_u16();
            (status, response.text().await)
        })
    };
    let (status, whole) = ask();
    let whole = whole.unwrap();
    assert_eq!(status, 200);
    assert!(whole.contains("data: [DONE]\n\n: casemate-receipt "));
    let mut cut = 0;
    for bytes in [1, 100, 400, 700, 1200, 2000, 3000, 4000] {
        relay.budget.store(bytes, Ordering::SeqCst);
        match ask() {
            // Before anything was answered, and again when it was verified anew: nobody answers.
            (503, Ok(body)) => {
                assert!(body.contains("connect.unreachable") || body.contains("send.broken"), "{body}")
            }
            (200, Err(_)) => cut += 1,
            (status, text) => panic!("after {bytes} bytes: {status} {text:?}"),
        }
        // The failed verification stands for a second.
        relay.budget.store(i64::MAX, Ordering::SeqCst);
        thread::sleep(casemate_client::FAILURE_KEPT);
        assert!(ask().1.unwrap().contains("data: [DONE]\n\n: casemate-receipt "), "whole again");
    }
    assert!(cut >= 2, "some were cut in the middle of the stream: {cut}");
}

fn another_server_answers(f: &Fixture) {
    let broker = f.broker(&f.path("store"));
    let (mut one, mut two) = (f.serve(&broker.url), f.serve(&broker.url));
    let proxy = f.proxy(&[&one.url, &two.url], &f.path("client.toml"), &[]);
    let through = http(&proxy.url);
    let ask = || through.post("/v1/chat/completions", &chat(&json!({ "model": "smollm", "max_tokens": 1 })));
    let model = model_of(&proxy);
    let ask_model =
        || through.post("/v1/chat/completions", &chat(&json!({ "model": model, "max_tokens": 1 })));
    let _ = ask();
    for _ in 0..4 {
        ask_model().json();
    }
    // Both answered in turn.
    let answered = |server: &Server| http(&server.url).get("/metrics").text();
    for server in [&one, &two] {
        let requests = answered(server);
        assert!(
            requests.lines().any(|line| line.starts_with("casemate_") && line.ends_with(" 2")),
            "{requests}"
        );
    }
    one.kill9();
    for _ in 0..4 {
        ask_model().json();
    }
    two.kill9();
    assert_eq!(ask_model().refused(503), "connect.unreachable");
    let states = through.get("/health").json();
    assert!(
        states["servers"].as_array().unwrap().iter().all(|server| server["state"] == "failed"),
        "{states}"
    );
}

fn only_programs_of_this_machine(f: &Fixture) {
    let broker = f.broker(&f.path("store"));
    let server = f.serve(&broker.url);
    let proxy = f.proxy(&[&server.url], &f.path("client.toml"), &["--max-body", "1"]);
    let model = model_of(&proxy);
    let address = proxy.url.trim_start_matches("http://").to_owned();
    let body = chat(&json!({ "model": model })).to_string();
    let raw = |head: &str, length: usize, body: &str| {
        let mut stream = TcpStream::connect(&address).unwrap();
        let request = format!(
            "POST /v1/chat/completions HTTP/1.1\r\n{head}Content-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    let plain = |head: &str| raw(head, body.len(), &body);
    for (head, status, code) in [
        ("Host: localhost\r\n", "200", ""),
        ("Host: [::1]:8337\r\n", "200", ""),
        ("Host: 127.0.0.1\r\nOrigin: http://localhost:3000\r\n", "200", ""),
        ("Host: evil.example\r\n", "403", "proxy.host"),
        ("Host: localhost.evil.example\r\n", "403", "proxy.host"),
        ("Host: 127.0.0.1.evil.example\r\n", "403", "proxy.host"),
        ("Host: user@127.0.0.1\r\n", "", ""),
        ("Host: 127.0.0.1\r\nOrigin: https://evil.example\r\n", "403", "proxy.origin"),
        ("Host: 127.0.0.1\r\nOrigin: null\r\n", "403", "proxy.origin"),
        ("Host: 127.0.0.1\r\nOrigin: https://localhost.evil.example\r\n", "403", "proxy.origin"),
    ] {
        let answer = plain(head);
        let found = answer.split(' ').nth(1).unwrap_or_default();
        if !status.is_empty() {
            assert_eq!(found, status, "{head}: {answer}");
        }
        assert!(answer.contains(code), "{head}: {answer}");
    }
    let mut page = TcpStream::connect(&address).unwrap();
    page.write_all(b"GET /health HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    page.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("proxy.host") && !answer.contains("servers"), "{answer}");
    // Refused by what it states, before any of it is there; and by what comes.
    assert!(raw("Host: localhost\r\n", 1 << 30, "").contains("proxy.body"));
    let through = http(&proxy.url);
    let long =
        chat(&json!({ "model": model, "messages": [{ "role": "user", "content": "a".repeat(1 << 20) }] }));
    assert_eq!(through.post("/v1/chat/completions", &long).refused(413), "proxy.body");
    for path in ["/infer", "/attest", "/metrics", "/v1", "/v1x/models", "/"] {
        assert_eq!(through.get(path).refused(404), "proxy.path", "{path}");
    }
    // An application that goes away in the middle of its request costs nothing.
    let mut gone = TcpStream::connect(&address).unwrap();
    gone.write_all(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900\r\n\r\n{")
        .unwrap();
    drop(gone);
    through.post("/v1/chat/completions", &chat(&json!({ "model": model }))).json();

    let (policy, root) = (f.path("client.toml"), f.root());
    let start = |args: &[&str]| -> Run {
        run(&[&["proxy", "--policy", &policy, "--danger-simulated-root", &root], args].concat())
    };
    start(&["--listen", "0.0.0.0:0", &server.url]).refused(2, "[proxy.address]");
    start(&["http://127.0.0.1:1"]).refused(2, "[connect.address]");
    assert_eq!(start(&["--danger-listen", " ", &server.url]).exit, Some(2));
}

fn the_persons_key(f: &Fixture) {
    let folder = f.folder("proxy-key");
    let (keys, key) = (folder.join("keys.json"), folder.join("key"));
    let made = f.ok(&["keys", "new", keys.to_str().unwrap(), "--tenant", "t"]).stdout;
    fs::write(&key, made).unwrap();
    let broker = f.broker(&f.path("store"));
    let mut args = f.serve_args(&broker.url, &f.path("sealed"));
    args.extend(["--api-keys".to_owned(), keys.to_str().unwrap().to_owned()]);
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    let server = Server::start(&casemate(), &args, &[], None).unwrap_or_else(|run| panic!("{}", run.stderr));
    let policy = f.path("client.toml");
    let without = f.proxy(&[&server.url], &policy, &[]);
    assert_eq!(http(&without.url).get("/v1/models").status, 401);
    let with = f.proxy(&[&server.url], &policy, &["--api-key-file", key.to_str().unwrap()]);
    let model = model_of(&with);
    http(&with.url).post("/v1/chat/completions", &chat(&json!({ "model": model }))).json();
    fs::write(&key, "\n").unwrap();
    let root = f.root();
    let args =
        ["proxy", "--policy", &policy, "--danger-simulated-root", &root, &server.url, "--api-key-file"];
    run(&[&args[..], &[key.to_str().unwrap()]].concat()).refused(2, "[proxy.api-key]");
}

// === the policy ===

fn a_policy_from_what_a_server_shows(f: &Fixture) {
    let broker = f.broker(&f.path("store"));
    let server = f.serve(&broker.url);
    let root = f.root();
    let init = |url: &str, more: &[&str]| run(&[&["policy", "init", url], more].concat());
    let written = init(&server.url, &["--danger-simulated-root", &root]);
    assert_eq!(written.exit, Some(0), "{}", written.stderr);
    for expected in ["trust on first use", "SIMULATED", &f.measurement, &f.manifest] {
        assert!(written.stdout.contains(expected), "{expected} missing in {}", written.stdout);
    }
    let policy = f.path("first-use.toml");
    fs::write(&policy, &written.stdout).unwrap();
    let proxy = f.proxy(&[&server.url], &policy, &[]);
    model_of(&proxy);
    // Under no root that anybody named there is nothing genuine to write down; and an impostor has no evidence.
    init(&server.url, &[]).refused(3, "[");
    let impostor = Impostor::start(Box::new(|_| ok("{}")));
    init(&impostor.url, &["--danger-simulated-root", &root]).refused(5, "[document.malformed]");
    let old = http(&server.url).get("/attest").text();
    let replaying = Impostor::start(Box::new(move |_| ok(&old)));
    init(&replaying.url, &["--danger-simulated-root", &root]).refused(4, "[statement.");

    let other = f.client_policy("other-model.toml", &f.measurement, &"ab".repeat(32));
    let diff = f.ok(&["policy", "diff", &f.path("client.toml"), &other]).stdout;
    let expected =
        format!("- model.manifests = [\"{}\"]\n+ model.manifests = [\"{}\"]\n", f.manifest, "ab".repeat(32));
    assert_eq!(diff, expected);
    assert_eq!(f.ok(&["policy", "diff", &other, &other]).stdout, "");
    run(&["policy", "diff", &other, &f.path("publisher.pub")]).refused(2, "[policy.");
}

// === time ===

/// The library, with a clock that the test moves: an answer under way ends with the evidence, unless that is renewed.
fn no_answer_outlives_the_evidence(f: &Fixture) {
    let broker = f.broker(&f.path("store"));
    let server = f.serve(&broker.url);
    let ahead = Arc::new(AtomicU64::new(0));
    let shift = ahead.clone();
    let clock = move || {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs();
        Some(UnixTime(now + shift.load(Ordering::SeqCst)))
    };
    let verifier = Arc::new(Verifier {
        policy: ClientPolicy::from_toml(&fs::read_to_string(f.path("client.toml")).unwrap()).unwrap(),
        via: Via::Tls,
        anchors: Anchors {
            machines: TrustAnchors::danger_only_pem(&fs::read_to_string(f.root()).unwrap()).unwrap(),
            devices: NvidiaAnchors::nvidia(),
        },
        clock: Box::new(clock),
    });
    let peer = Peer::new(&server.url, verifier.clone());
    assert_eq!(peer.state(), PeerState::Unverified);
    let request = |max_tokens: u32| {
        let model = http(&server.url).get("/v1/models").json()["data"][0]["id"].clone();
        let body = chat(&json!({ "model": model, "stream": true, "max_tokens": max_tokens }));
        let json = "application/json".parse().unwrap();
        Request {
            method: reqwest::Method::POST,
            target: "/v1/chat/completions".into(),
            headers: [(reqwest::header::CONTENT_TYPE, json)].into_iter().collect(),
            body: Arc::new(Plaintext::new(body.to_string().into_bytes())),
        }
    };
    let (long, short) = (request(400), request(1));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let session = peer.session().await.unwrap();
        assert!(matches!(peer.state(), PeerState::Verified { simulated: true, .. }));
        let answer = casemate_client::send(session.clone(), verifier.clone(), &long).await.unwrap();
        assert_eq!(answer.status, 200);
        let mut body = Box::pin(answer.body);
        assert!(body.next().await.unwrap().is_ok());
        // Not due, and then two thirds of the hour are over: renewed, at the same key, so that the answer may go on behind the first
        // end. The server's clock is not ours: its hour begins a little later than before.
        let first_end = session.valid_until();
        tokio::time::sleep(Duration::from_secs(2)).await;
        peer.renew().await;
        assert_eq!(session.valid_until(), first_end);
        ahead.store(45 * 60, Ordering::SeqCst);
        peer.renew().await;
        assert!(session.valid_until() > first_end, "the same key was verified again");
        let renewed = peer.session().await.unwrap();
        assert!(!Arc::ptr_eq(&session, &renewed));
        assert!(body.next().await.unwrap().is_ok());
        // Now nobody renews it.
        ahead.store(3 * 3600, Ordering::SeqCst);
        let mut ended = None;
        while let Some(chunk) = body.next().await {
            ended = Some(chunk);
        }
        let error = ended.unwrap().unwrap_err();
        assert!(error.to_string().contains("ran out"), "{error}");
        let late = casemate_client::send(renewed, verifier.clone(), &short).await;
        assert_eq!(late.err().map(|error| error.code()), Some("send.expired"));
        // A server whose clock is hours behind ours gives no fresh document.
        let refused = peer.session().await.err().unwrap();
        assert_eq!(refused.code(), "statement.expired");
    });
}
