//! The sealed channel between real processes, with somebody in between who ends TLS, as a load balancer does, and does worse
//! (spec/sealed-channel.md).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use casemate_protocol::sealed::{KeyPairs, PATH, RESPONSE_TYPE};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::Case;
use crate::fixture::{Fixture, Server};
use crate::path::http;
use crate::proxy::{Asked, Impostor, chat, model_of, ok, state};

pub const CASES: &[(&str, Case)] = &[
    ("sealed::a_load_balancer_may_end_tls", a_load_balancer_may_end_tls),
    ("sealed::what_is_changed_on_the_way_is_an_error", what_is_changed_on_the_way),
    ("sealed::a_request_is_answered_once", a_request_is_answered_once),
    ("sealed::another_replica_opens_nothing", another_replica_opens_nothing),
];

/// What the server says to this, as it would be sent.
fn forwarded(server: &str, asked: &Asked) -> Vec<u8> {
    let through = http(server);
    let url = format!("{server}{}", asked.target);
    through.runtime.block_on(async {
        let method = if asked.body.is_empty() { reqwest::Method::GET } else { reqwest::Method::POST };
        let request = through.client.request(method, url).header("content-type", &asked.content_type);
        let response = request.body(asked.body.clone()).send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.bytes().await.unwrap();
        raw(status, headers["content-type"].to_str().unwrap(), &body)
    })
}

fn raw(status: u16, kind: &str, body: &[u8]) -> Vec<u8> {
    let len = body.len();
    let head = format!(
        "HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {len}\r\nConnection: close\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

/// Splits what [`raw`] made.
fn body_of(response: &[u8]) -> &[u8] {
    let at = response.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    &response[at + 4..]
}

fn proxy(f: &Fixture, server: &str, more: &[&str]) -> Server {
    f.proxy_by("sealed", &[server], &f.path("client.toml"), more)
}

fn a_load_balancer_may_end_tls(f: &Fixture) {
    let broker = f.broker(&f.path("store"));
    let server = f.serve(&broker.url);
    let real = server.url.clone();
    let balancer = Impostor::between(Box::new(move |asked| forwarded(&real, asked)));
    // Over TLS to the machine's own key that is a man in the middle.
    let direct = f.proxy_by("tls", &[&balancer.url], &f.path("client.toml"), &[]);
    assert_eq!(http(&direct.url).get("/v1/models").refused(502), "statement.tls-key");
    for shape in ["off", "default", "constant"] {
        let proxy = proxy(f, &balancer.url, &["--shape", shape]);
        assert_eq!(proxy.announced["channel"], "sealed");
        let model = model_of(&proxy);
        let through = http(&proxy.url);
        let body = chat(&json!({ "model": model }));
        let answer = through.post("/v1/chat/completions", &body).json();
        assert_eq!(answer["object"], "chat.completion");
        let streamed =
            through.post("/v1/chat/completions", &chat(&json!({ "model": model, "stream": true }))).text();
        assert!(streamed.contains("data: [DONE]\n\n: casemate-receipt "), "{shape}: {streamed}");
        // Errors are the server's own, and sealed.
        let wrong = chat(&json!({ "model": "no such model" }));
        let code = http(&server.url).post("/v1/chat/completions", &wrong).refused(404);
        assert_eq!(through.post("/v1/chat/completions", &wrong).refused(404), code);
        assert_eq!(state(&proxy), "verified");
    }
    // Nothing but these two was asked for, and nothing in clear.
    let seen = balancer.seen();
    assert!(seen.iter().all(|target| target == PATH || target.starts_with("/attest?nonce=")), "{seen:?}");
    let bodies = balancer.bodies();
    assert!(bodies.iter().any(|body| !body.is_empty()));
    assert!(bodies.iter().all(|body| !body.windows(7).any(|seven| seven == b"patient")));
    assert!(bodies.iter().filter(|body| !body.is_empty()).all(|body| body.len() < 3000), "one bucket");
}

fn what_is_changed_on_the_way(f: &Fixture) {
    let broker = f.broker(&f.path("store"));
    let server = f.serve(&broker.url);
    let document = |change: fn(&mut Value)| {
        let real = server.url.clone();
        move |asked: &Asked| {
            if asked.target == PATH {
                return forwarded(&real, asked);
            }
            let mut document: Value = serde_json::from_slice(body_of(&forwarded(&real, asked))).unwrap();
            change(&mut document);
            raw(200, "application/json", document.to_string().as_bytes())
        }
    };
    let answers = |change: fn(&mut Vec<u8>)| {
        let real = server.url.clone();
        move |asked: &Asked| {
            let answer = forwarded(&real, asked);
            if asked.target != PATH {
                return answer;
            }
            let mut body = body_of(&answer).to_vec();
            change(&mut body);
            raw(200, RESPONSE_TYPE, &body)
        }
    };
    let instead = |response: fn() -> Vec<u8>| {
        let real = server.url.clone();
        move |asked: &Asked| if asked.target == PATH { response() } else { forwarded(&real, asked) }
    };
    type Between = Box<dyn Fn(&Asked) -> Vec<u8> + Send + Sync>;
    let cases: Vec<(&str, u16, &str, Between)> = vec![
        (
            "other keys",
            502,
            "statement.sealed-keys",
            Box::new(document(|document| {
                let keys = KeyPairs::derive(0, &Zeroizing::new([1; 64]));
                document["ohttp_keys"] = base64(keys.configurations()).into();
            })),
        ),
        (
            "no keys",
            502,
            "sealed.no-key",
            Box::new(document(|document| document["ohttp_keys"] = Value::Null)),
        ),
        (
            "only X25519",
            502,
            "sealed.no-key",
            Box::new(document(|document| {
                let keys = KeyPairs::derive(0, &Zeroizing::new([1; 64]));
                let list = keys.configurations();
                let second = 2 + usize::from(u16::from_be_bytes([list[0], list[1]]));
                document["ohttp_keys"] = base64(&list[second..]).into();
            })),
        ),
        (
            "keys that are none",
            502,
            "sealed.configuration",
            Box::new(document(|document| document["ohttp_keys"] = "AAAA".into())),
        ),
        ("a bit of the answer", 502, "sealed.not-authentic", Box::new(answers(|body| body[60] ^= 1))),
        ("nothing of the answer", 502, "sealed.cut", Box::new(answers(|body| body.clear()))),
        ("half of its first chunk", 502, "sealed.cut", Box::new(answers(|body| body.truncate(100)))),
        (
            "an answer in clear",
            502,
            "send.not-sealed",
            Box::new(instead(|| ok("{\"choices\":[]}").into_bytes())),
        ),
        (
            "an answer in clear that says it is sealed",
            502,
            "sealed.chunk-too-long",
            Box::new(instead(|| raw(200, RESPONSE_TYPE, &[0xff; 500]))),
        ),
        (
            "a redirection",
            502,
            "send.not-sealed",
            Box::new(instead(|| {
                b"HTTP/1.1 307 T\r\nLocation: https://localhost/\r\nContent-Length: 0\r\n\r\n".to_vec()
            })),
        ),
        (
            "an error of the balancer's own",
            502,
            "send.not-sealed",
            Box::new(instead(|| raw(503, "text/html", b"<html>"))),
        ),
    ];
    for (name, status, code, between) in cases {
        let middle = Impostor::between(between);
        let proxy = proxy(f, &middle.url, &["--shape", "off"]);
        let through = http(&proxy.url);
        assert_eq!(through.post("/v1/chat/completions", &chat(&json!({}))).refused(status), code, "{name}");
        assert_eq!(through.get("/v1/models").refused(status), code, "{name}: without a body");
        assert!(
            middle.bodies().iter().all(|body| !body.windows(7).any(|seven| seven == b"patient")),
            "{name}"
        );
    }
}

/// A request that somebody keeps and sends again is refused, and the application hears the first answer.
fn a_request_is_answered_once(f: &Fixture) {
    let broker = f.broker(&f.path("store"));
    let server = f.serve(&broker.url);
    let real = server.url.clone();
    let again: Arc<std::sync::Mutex<Vec<String>>> = Arc::default();
    let said = again.clone();
    let middle = Impostor::between(Box::new(move |asked| {
        let first = forwarded(&real, asked);
        if asked.target == PATH {
            let second = forwarded(&real, asked);
            said.lock().unwrap().push(String::from_utf8_lossy(&second).into_owned());
        }
        first
    }));
    let proxy = proxy(f, &middle.url, &[]);
    let model = model_of(&proxy);
    http(&proxy.url).post("/v1/chat/completions", &chat(&json!({ "model": model }))).json();
    let again = again.lock().unwrap();
    assert!(again.len() >= 2);
    assert!(
        again.iter().all(|said| said.starts_with("HTTP/1.1 409") && said.contains("sealed.replayed")),
        "{again:?}"
    );
}

/// A balancer that sends requests to another replica than the one that was verified: that one cannot open them, and the proxy verifies
/// whoever it gets to and seals anew.
fn another_replica_opens_nothing(f: &Fixture) {
    let broker = f.broker(&f.path("store"));
    let (one, two) = (f.serve(&broker.url), f.serve(&broker.url));
    let (first, second) = (one.url.clone(), two.url.clone());
    let turn = Arc::new(AtomicUsize::new(0));
    let at = turn.clone();
    let balancer = Impostor::between(Box::new(move |asked| {
        let to = if at.load(Ordering::SeqCst) == 0 { &first } else { &second };
        forwarded(to, asked)
    }));
    let proxy = proxy(f, &balancer.url, &["--shape", "off"]);
    let through = http(&proxy.url);
    let model = model_of(&proxy);
    turn.store(1, Ordering::SeqCst);
    let body = chat(&json!({ "model": model }));
    assert_eq!(through.post("/v1/chat/completions", &body).json()["object"], "chat.completion");
    let attests = balancer.seen().iter().filter(|target| target.starts_with("/attest")).count();
    assert_eq!(attests, 2, "verified anew, once");
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::prelude::BASE64_STANDARD.encode(bytes)
}
