//! `POST /kbs/v0/auth`, and everything that is not a call.

use axum::http::header;
use casemate_broker::MAX_AUTH_BODY;
use serde_json::json;

use crate::fixture::{Broker, auth_body};

#[tokio::test]
async fn a_challenge_is_fresh_and_selects_sha384() {
    let broker = Broker::new();
    let one = broker.post("/kbs/v0/auth", None, auth_body().to_string()).await;
    let two = broker.post("/kbs/v0/auth", None, auth_body().to_string()).await;
    assert_eq!((one.status, two.status), (200, 200));
    assert_eq!(one.json()["extra-params"], json!({ "selected-hash-algorithm": "sha384" }));
    assert_ne!(one.json()["nonce"], two.json()["nonce"]);
    // Standard base64 of 32 bytes.
    let nonce = one.json()["nonce"].as_str().unwrap().to_owned();
    assert!(nonce.len() == 44 && nonce.ends_with('='));

    let cookie = one.cookie.unwrap();
    assert_ne!(Some(&cookie), two.cookie.as_ref());
    let (id, attributes) = cookie.strip_prefix("kbs-session-id=").unwrap().split_once("; ").unwrap();
    assert!(id.len() == 32 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')), "{id}");
    // 1790000000 + 300, from GNU date.
    let expected =
        "Path=/kbs/v0; Max-Age=300; Expires=Mon, 21 Sep 2026 14:18:20 GMT; HttpOnly; SameSite=Strict";
    assert_eq!(attributes, expected);
}

#[tokio::test]
async fn no_hash_is_selected_where_none_is_offered() {
    let broker = Broker::new();
    for extra in [json!(""), json!({}), json!({ "other": 1 })] {
        let body = json!({ "version": "0.4.0", "tee": "snp", "extra-params": extra });
        let answer = broker.post("/kbs/v0/auth", None, body.to_string()).await;
        assert_eq!((answer.status, answer.json()["extra-params"].clone()), (200, json!("")), "{extra}");
    }
}

#[tokio::test]
async fn one_mistake_each_is_refused() {
    let broker = Broker::new();
    let edit = |member: &str, value| {
        let mut body = auth_body();
        body[member] = value;
        body.to_string()
    };
    let without = |member: &str| {
        let mut body = auth_body();
        body.as_object_mut().unwrap().remove(member);
        body.to_string()
    };
    let cases = [
        (edit("version", json!("0.1.1")), 401, "kbs.version"),
        (edit("version", json!("0.4.1")), 401, "kbs.version"),
        (edit("version", json!("0.4")), 401, "kbs.version"),
        (edit("version", json!("=0.4.0")), 401, "kbs.version"),
        (edit("version", json!("")), 401, "kbs.version"),
        (edit("version", json!(0.4)), 400, "kbs.malformed"),
        (edit("tee", json!("sample")), 401, "kbs.tee"),
        (edit("tee", json!("tpm")), 401, "kbs.tee"),
        (edit("tee", json!("SNP")), 401, "kbs.tee"),
        (edit("tee", json!("")), 401, "kbs.tee"),
        (edit("tee", json!(null)), 400, "kbs.malformed"),
        (edit("extra-params", json!({ "supported-hash-algorithms": ["sha256"] })), 401, "kbs.hash-algorithm"),
        (edit("extra-params", json!({ "supported-hash-algorithms": [] })), 401, "kbs.hash-algorithm"),
        (edit("extra-params", json!({ "supported-hash-algorithms": "sha384" })), 400, "kbs.malformed"),
        (edit("extra-params", json!("sha384")), 400, "kbs.malformed"),
        (edit("extra-params", json!(null)), 400, "kbs.malformed"),
        (without("version"), 400, "kbs.malformed"),
        (without("tee"), 400, "kbs.malformed"),
        (without("extra-params"), 400, "kbs.malformed"),
        (auth_body().to_string().replacen('{', r#"{"tee":"snp","#, 1), 400, "kbs.duplicate-member"),
        (String::new(), 400, "kbs.json"),
        ("null".into(), 400, "kbs.malformed"),
        ("{".into(), 400, "kbs.json"),
        ("\u{0}\u{1}".into(), 400, "kbs.json"),
        ("[".repeat(10_000), 400, "kbs.json"),
        (" ".repeat(MAX_AUTH_BODY + 1), 413, "kbs.body"),
    ];
    for (body, status, code) in cases {
        broker.post("/kbs/v0/auth", None, body.clone()).await.assert_refused(status, code);
    }
    assert_eq!(broker.audit().len(), 1, "only the stored key");
}

#[tokio::test]
async fn other_paths_and_methods_answer_in_the_same_form() {
    let broker = Broker::new();
    assert_eq!(broker.get("/healthz", &[]).await.status, 200);
    for path in [
        "/",
        "/kbs/v0",
        "/kbs/v0/",
        "/kbs/v1/auth",
        "/kbs/v0/pkcs11/wrap-key",
        "/kbs/v0/resource",
        "/x/../kbs",
    ] {
        broker.get(path, &[]).await.assert_refused(404, "kbs.path");
    }
    for path in ["/kbs/v0/auth", "/kbs/v0/attest"] {
        broker.get(path, &[]).await.assert_refused(405, "kbs.method");
    }
    // There is no upload over HTTP.
    broker.post("/kbs/v0/resource/a/b/c", None, "x").await.assert_refused(405, "kbs.method");
    let answer = broker.get("/kbs/v0/resource/a/b/c", &[(header::ACCEPT, "*/*")]).await;
    answer.assert_refused(401, "kbs.session.missing");
}
