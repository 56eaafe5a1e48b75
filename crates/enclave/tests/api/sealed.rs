//! The sealed channel before a server (spec/sealed-channel.md): what it answers, and what the network sees of it.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode, header};
use casemate_enclave::api::router;
use casemate_enclave::{Clock, SealedKeys};
use casemate_protocol::sealed::cells::{CellReader, Shape};
use casemate_protocol::sealed::message::{self, AnswerReader, Head};
use casemate_protocol::sealed::{
    AnswerOpener, PATH, REQUEST_TYPE, RESPONSE_TYPE, SHAPE_HEADER, Sealed, SealingKey,
};
use futures_util::StreamExt;
use serde_json::{Value, json};
use tower::ServiceExt;
use zeroize::Zeroizing;

use crate::stub::{Behaviour, CHAT, Served, chat_body, serve};

struct Channel {
    served: Served,
    keys: Arc<SealedKeys>,
    router: Router,
}

impl Channel {
    fn new(behaviour: Behaviour) -> Self {
        let mut served = serve(behaviour);
        let keys = Arc::new(SealedKeys::new(Clock::system()).unwrap());
        served.state.sealed = Some(keys.clone());
        let router = router(served.state.clone());
        Self { served, keys, router }
    }

    fn seal(&self, request: &[u8]) -> Sealed {
        let key = SealingKey::choose(&self.keys.offered().unwrap().configurations).unwrap();
        let mut seed = Zeroizing::new([0; 64]);
        aws_lc_rs::rand::fill(seed.as_mut_slice()).unwrap();
        key.seal(request, &seed).unwrap()
    }

    async fn post(&self, kind: &str, message: impl Into<Body>) -> axum::response::Response {
        let request = Request::post(PATH).header(header::CONTENT_TYPE, kind).body(message.into()).unwrap();
        self.router.clone().oneshot(request).await.unwrap()
    }

    async fn refused(&self, message: impl Into<Body>) -> (StatusCode, String) {
        let response = self.post(REQUEST_TYPE, message).await;
        let status = response.status();
        let body: Value =
            serde_json::from_slice(&to_bytes(response.into_body(), 10_000).await.unwrap()).unwrap();
        (status, body["error"]["code"].as_str().unwrap().to_owned())
    }

    /// The answer, and the sizes of the chunks that it came in.
    async fn ask(&self, request: &message::Request<'_>, shape: Shape) -> (Head, Vec<u8>, Vec<usize>) {
        let sealed = self.seal(&request.write());
        let response = self.post(REQUEST_TYPE, sealed.message).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()[header::CONTENT_TYPE], RESPONSE_TYPE);
        let mut sizes = Vec::new();
        let mut whole = Vec::new();
        let mut chunks = response.into_body().into_data_stream();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.unwrap();
            sizes.push(chunk.len());
            whole.extend_from_slice(&chunk);
        }
        let (head, content) = opened(sealed.answer, &whole);
        if shape == Shape::Off {
            return (head, content, sizes);
        }
        let (mut cells, mut data) = (CellReader::default(), Zeroizing::default());
        cells.push(&content, &mut data).unwrap();
        cells.finish().unwrap();
        (head, data.to_vec(), sizes)
    }
}

fn opened(mut opener: AnswerOpener, whole: &[u8]) -> (Head, Vec<u8>) {
    let (mut reader, mut plain) = (AnswerReader::default(), Zeroizing::default());
    opener.push(whole, &mut plain).unwrap();
    plain.extend_from_slice(&opener.finish().unwrap());
    let found = reader.push(&plain).unwrap();
    reader.finish().unwrap();
    (found.head.unwrap(), found.content.to_vec())
}

fn request<'a>(method: &'a str, target: &'a str, body: &'a str, shape: Shape) -> message::Request<'a> {
    let mut fields = vec![(SHAPE_HEADER, shape.name().as_bytes())];
    if !body.is_empty() {
        fields.push(("content-type", b"application/json"));
    }
    message::Request { method, target, authority: "server", fields, body: message::Body(body.as_bytes()) }
}

/// OHT-09: whatever a route answers, errors and requests without a body included, is answered sealed and alike.
#[tokio::test]
async fn every_answer_is_the_one_of_the_open_route() {
    let channel = Channel::new(Behaviour::Echo);
    let chat = chat_body(json!({})).to_string();
    for (method, target, body) in [
        ("GET", "/v1/models", ""),
        ("GET", "/health", ""),
        ("POST", CHAT, chat.as_str()),
        ("POST", CHAT, "{"),
        ("POST", CHAT, r#"{"model":"other","messages":[]}"#),
        ("GET", CHAT, ""),
        ("GET", "/nothing", ""),
        ("POST", "/infer", r#"{"prompt":"a"}"#),
    ] {
        let open =
            Request::builder().method(method).uri(target).header(header::CONTENT_TYPE, "application/json");
        let open = channel.served.send(open.body(Body::from(body.to_owned())).unwrap()).await;
        for shape in [Shape::Off, Shape::Default, Shape::Constant] {
            let (head, answer, _) = channel.ask(&request(method, target, body, shape), shape).await;
            assert_eq!(head.status, open.status.as_u16(), "{method} {target}");
            let same = |bytes: &[u8]| {
                let mut value: Value = serde_json::from_slice(bytes).unwrap();
                for member in ["id", "created"] {
                    value.as_object_mut().unwrap().remove(member);
                }
                value
            };
            assert_eq!(same(&answer), same(&open.body), "{method} {target}");
            let named: Vec<_> = head.fields.iter().filter(|(name, _)| name == "cache-control").collect();
            assert_eq!(named.len(), 1);
        }
    }
}

/// OHT-04 to OHT-07, each by name, and nothing of them reaches a route.
#[tokio::test]
async fn what_cannot_be_opened_is_refused() {
    let channel = Channel::new(Behaviour::Echo);
    let chat = chat_body(json!({})).to_string();
    let good = request("POST", CHAT, &chat, Shape::Off).write();

    let sealed = channel.seal(&good).message;
    assert_eq!(channel.post("application/json", sealed.clone()).await.status(), 415);
    assert_eq!(channel.post(REQUEST_TYPE, sealed.clone()).await.status(), 200);
    assert_eq!(channel.refused(sealed.clone()).await, (StatusCode::CONFLICT, "sealed.replayed".into()));

    let seen = channel.served.stub.seen.lock().unwrap().len();
    let other = Channel::new(Behaviour::Echo).seal(&good).message;
    let misdirected = StatusCode::MISDIRECTED_REQUEST;
    assert_eq!(channel.refused(other).await, (misdirected, "sealed.not-authentic".into()));
    let mut foreign = channel.seal(&good).message;
    foreign[0] = 99;
    assert_eq!(channel.refused(foreign).await, (misdirected, "sealed.unknown-key".into()));
    let mut downgraded = channel.seal(&good).message;
    downgraded[1..3].copy_from_slice(&[0, 0x20]);
    assert_eq!(channel.refused(downgraded).await, (StatusCode::BAD_REQUEST, "sealed.suite".into()));
    let cut = channel.seal(&good).message;
    let cut = cut[..cut.len() - 16].to_vec();
    assert_eq!(channel.refused(cut).await, (StatusCode::BAD_REQUEST, "sealed.cut".into()));
    assert_eq!(channel.refused(Body::empty()).await, (StatusCode::BAD_REQUEST, "sealed.cut".into()));
    let long = vec![0; 3 << 20];
    assert_eq!(channel.refused(long).await.0, StatusCode::PAYLOAD_TOO_LARGE);

    let no_shape = message::Request {
        fields: vec![(SHAPE_HEADER, b"round")],
        ..request("GET", "/health", "", Shape::Off)
    };
    for inner in [
        b"not a message".to_vec(),
        request("GET", "health", "", Shape::Off).write().to_vec(),
        request("POST", PATH, "", Shape::Off).write().to_vec(),
        request("POST", "/ohttp?x", "", Shape::Off).write().to_vec(),
        request("G T", "/health", "", Shape::Off).write().to_vec(),
        no_shape.write().to_vec(),
    ] {
        let refused = channel.refused(channel.seal(&inner).message).await;
        assert_eq!(refused, (StatusCode::BAD_REQUEST, "sealed.message".into()));
    }
    assert_eq!(channel.served.stub.seen.lock().unwrap().len(), seen);
    // A server without keys has no such route.
    let none = serve(Behaviour::Echo);
    assert_eq!(none.post(PATH, "").await.status, StatusCode::NOT_FOUND);
}

/// OHT-10 to OHT-13: what is seen of an answer is a few lengths.
#[tokio::test]
async fn shaped_answers_have_the_lengths_of_buckets() {
    let channel = Channel::new(Behaviour::Echo);
    let body = chat_body(json!({"stream": true})).to_string();
    let (_, plain, sizes) = channel.ask(&request("POST", CHAT, &body, Shape::Off), Shape::Off).await;
    assert!(sizes.len() > 3);
    // A chunk has its length and a tag beside its plaintext, the first one the nonce, the end a last chunk.
    let (cell, first, end) = (2048 + 2 + 16, 2048 + 2 + 16 + 32, 2048 + 2 + 16 + 17);
    for shape in [Shape::Default, Shape::Constant] {
        let (head, data, sizes) = channel.ask(&request("POST", CHAT, &body, shape), shape).await;
        assert!(head.fields.contains(&("content-type".into(), b"text/event-stream".into())));
        assert_eq!(data.len(), plain.len());
        let expected = [vec![first], vec![cell; 15], vec![end]].concat();
        assert_eq!(sizes, expected);
    }
    let (_, models, sizes) =
        channel.ask(&request("GET", "/v1/models", "", Shape::Default), Shape::Default).await;
    assert!(models.len() < 1000);
    assert_eq!(sizes, [first, end]);
}

#[tokio::test]
async fn a_client_that_leaves_a_shaped_stream_cancels_it() {
    for shape in [Shape::Off, Shape::Default, Shape::Constant] {
        let channel = Channel::new(Behaviour::Hang);
        let body = chat_body(json!({"stream": true})).to_string();
        let sealed = channel.seal(&request("POST", CHAT, &body, shape).write());
        let response = channel.post(REQUEST_TYPE, sealed.message).await;
        let mut chunks = response.into_body().into_data_stream();
        chunks.next().await.unwrap().unwrap();
        drop(chunks);
        channel.served.stub.wait_until_cancelled().await;
    }
}
