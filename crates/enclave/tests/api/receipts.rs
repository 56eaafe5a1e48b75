//! Receipts of answers: which answers have one, what it says, and to whom it is given again (spec/receipts.md, RCP-10 to RCP-14).

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use axum::body::{Body, to_bytes};
use axum::http::{Request, header};
use casemate_attest::UnixTime;
use casemate_enclave::api::{Limits, router};
use casemate_enclave::{ApiKeysFile, Clock, Receipts, TenantLimits, Tenants};
use casemate_protocol::receipt::{
    COMMENT, Digests, HEADER, ID_HEADER, PATH, Receipt, SignedReceipt, StreamReader, check,
};
use casemate_protocol::statement::{
    EngineStatement, FORMAT, KeyOrigin, ModelStatement, RuntimeStatement, Stated,
};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::stub::{Answer, Behaviour, CHAT, COMPLETIONS, MESSAGES, Served, chat_body, post, serve_with};

const NOW: u64 = 1_900_000_000;

/// A server that signs receipts.
struct Signing {
    served: Served,
    receipts: Arc<Receipts>,
}

impl Signing {
    fn new(behaviour: Behaviour) -> Self {
        Self::of(behaviour, &[], || Some(UnixTime(NOW)))
    }

    fn of(
        behaviour: Behaviour,
        more: &[&str],
        clock: impl Fn() -> Option<UnixTime> + Send + Sync + 'static,
    ) -> Self {
        let mut served = serve_with(behaviour, Limits::default(), false);
        let models = ["stub-1"].iter().filter(|_| more.is_empty()).chain(more).map(|id| model(id)).collect();
        let receipts = Arc::new(Receipts::new(models, Clock::new(clock)).unwrap());
        served.state.receipts = Some(receipts.clone());
        served.router = router(served.state.clone());
        Self { served, receipts }
    }

    /// What the machine states of itself.
    fn statement(&self) -> RuntimeStatement {
        RuntimeStatement {
            format: FORMAT,
            nonce: Stated::None,
            tls_spki_sha256: Stated::None,
            tls_key_origin: KeyOrigin::Enclave,
            ohttp_config_sha256: Stated::None,
            receipt_key_sha256: Stated::Is(self.receipts.key_sha256()),
            models: vec![model("stub-1")],
            engine: EngineStatement::Embedded,
            device_evidence_sha256: Stated::None,
            vtpm_key_sha256: Stated::None,
            release_policy_sha256: Stated::None,
            software: "casemate 0".to_owned(),
            not_after: NOW + 60,
        }
    }

    /// The receipt of this answer to this body, checked by the relying party's rules.
    fn verified(&self, body: &str, answer: &Answer) -> Receipt {
        assert_eq!(answer.status, 200, "{}", answer.text());
        let mut reader = StreamReader::default();
        let stream = answer.headers[header::CONTENT_TYPE] == "text/event-stream";
        let (signed, response) = if stream {
            reader.push(&answer.body, &mut Vec::new());
            let end = reader.finish();
            (end.receipt.expect("a receipt at the end"), end.digest)
        } else {
            (answer.headers[HEADER].as_bytes().to_vec(), sha256(&answer.body))
        };
        let signed = SignedReceipt::from_base64(&signed).unwrap();
        let bodies = Digests { request: Some(sha256(body.as_bytes())), response: Some(response) };
        let verified = check(&signed, &self.statement(), &bodies, UnixTime(NOW)).unwrap();
        let receipt = verified.receipt().clone();
        assert_eq!(answer.headers[ID_HEADER], receipt.receipt_id.as_str());
        receipt
    }

    async fn asked(&self, path: &str, body: Value) -> Receipt {
        let body = body.to_string();
        let answer = self.served.post(path, body.clone()).await;
        let receipt = self.verified(&body, &answer);
        assert_eq!((receipt.method.as_str(), receipt.endpoint.as_str()), ("POST", path));
        assert_eq!((receipt.model.as_str(), receipt.served_at), ("stub-1", NOW));
        receipt
    }
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    digest(&SHA256, bytes).as_ref().try_into().unwrap()
}

fn model(id: &str) -> ModelStatement {
    ModelStatement { id: id.to_owned(), manifest_sha256: Stated::Is([3; 32]) }
}

/// RCP-10, RCP-11: of every route, whole and as a stream, with one chain through all of them.
#[tokio::test]
async fn every_answer_has_a_receipt() {
    let server = Signing::new(Behaviour::Echo);
    let completion = |more: Value| {
        let mut body = json!({"model": "stub-1", "prompt": "a b c"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let cases = [
        (CHAT, chat_body(json!({})), [2, 3]),
        (CHAT, chat_body(json!({"stream": true})), [2, 3]),
        (CHAT, chat_body(json!({"n": 3})), [2, 9]),
        (CHAT, chat_body(json!({"n": 3, "stream": true})), [2, 9]),
        (COMPLETIONS, completion(json!({})), [3, 4]),
        (COMPLETIONS, completion(json!({"stream": true})), [3, 4]),
        (COMPLETIONS, completion(json!({"max_tokens": 1})), [3, 1]),
        (MESSAGES, chat_body(json!({"max_tokens": 64})), [2, 3]),
        (MESSAGES, chat_body(json!({"max_tokens": 64, "stream": true})), [2, 3]),
        ("/infer", json!({"prompt": "a b"}), [2, 3]),
    ];
    for ((path, body, [prompt, completion]), sequence) in cases.into_iter().zip(0..) {
        let receipt = server.asked(path, body).await;
        let usage = receipt.usage;
        assert_eq!((usage.prompt_tokens, usage.completion_tokens), (prompt, completion), "{path}");
        assert_eq!(receipt.sequence, sequence);
        assert!(receipt.parameters.contains_key("temperature"));
    }
}

#[tokio::test]
async fn vectors_have_a_receipt() {
    let server = Signing::new(Behaviour::Embed);
    let body = json!({"model": "stub-1", "input": ["ab", "c"]});
    let receipt = server.asked("/v1/embeddings", body).await;
    assert_eq!((receipt.usage.prompt_tokens, receipt.usage.completion_tokens), (3, 0));
    assert!(receipt.parameters.is_empty());
}

#[tokio::test]
async fn it_says_how_tokens_were_chosen() {
    let server = Signing::new(Behaviour::Echo);
    let body = chat_body(json!({"temperature": 0.5, "top_p": 0.25, "seed": 7, "max_tokens": 9}));
    let parameters = server.asked(CHAT, body).await.parameters;
    let said = [("temperature", "0.5"), ("top_p", "0.25"), ("seed", "7"), ("max_tokens", "9")];
    for (name, value) in said {
        assert_eq!(parameters[name], value, "{name}");
    }
}

/// In a stream it is behind the words that say that the stream is whole, and nothing is behind it.
#[tokio::test]
async fn a_stream_has_it_at_its_end() {
    let server = Signing::new(Behaviour::Echo);
    for (path, end) in [(CHAT, "data: [DONE]\n\n"), (MESSAGES, "{\"type\":\"message_stop\"}\n\n")] {
        let answer =
            server.served.post(path, chat_body(json!({"max_tokens": 9, "stream": true})).to_string()).await;
        let (stream, receipt) = answer.text().split_once(COMMENT).unwrap();
        assert!(stream.ends_with(end), "{stream}");
        assert!(receipt.ends_with("\n\n") && !receipt.trim_end().contains('\n'));
        assert!(answer.headers.get(HEADER).is_none());
    }
}

/// RCP-10: what ended with an error says nothing that could be kept.
#[tokio::test]
async fn errors_and_answers_that_broke_off_have_none() {
    for (behaviour, stream) in [
        (Behaviour::BreakOff, true),
        (Behaviour::EndCancelled, true),
        (Behaviour::Panic, true),
        (Behaviour::BreakOff, false),
        (Behaviour::Panic, false),
    ] {
        let server = Signing::new(behaviour);
        let answer = server.served.post(CHAT, chat_body(json!({"stream": stream})).to_string()).await;
        assert!(!answer.text().contains(COMMENT), "{}", answer.text());
        assert!(answer.headers.get(HEADER).is_none());
        let unused = server.asked_again(&answer).await;
        assert_eq!(unused.status, 404);
    }
    let server = Signing::new(Behaviour::Echo);
    for body in ["{", r#"{"model":"other","messages":[]}"#] {
        let answer = server.served.post(CHAT, body).await;
        assert!(answer.headers.get(HEADER).is_none() && answer.headers.get(ID_HEADER).is_none());
    }
    let models = server.served.get("/v1/models").await;
    assert!(models.headers.get(HEADER).is_none());
}

impl Signing {
    /// What is kept under the id that an answer has.
    async fn asked_again(&self, answer: &Answer) -> Answer {
        let id = answer.headers.get(ID_HEADER).map_or("0", |id| id.to_str().unwrap());
        self.served.get(&format!("{PATH}{id}")).await
    }
}

/// An application that stops listening gets no receipt, and the chain goes on without it.
#[tokio::test]
async fn an_answer_that_nobody_read_to_its_end_has_none() {
    let server = Signing::new(Behaviour::Echo);
    let request = post(CHAT, chat_body(json!({"stream": true})).to_string());
    let response = server.served.router.clone().oneshot(request).await.unwrap();
    let id = response.headers()[ID_HEADER].to_str().unwrap().to_owned();
    drop(response);
    assert_eq!(server.served.get(&format!("{PATH}{id}")).await.status, 404);
    assert_eq!(server.asked(CHAT, chat_body(json!({}))).await.sequence, 0);
}

/// RCP-12.
#[tokio::test]
async fn it_is_given_again_to_its_owner() {
    let mut server = Signing::new(Behaviour::Echo);
    let answer = server.served.post(CHAT, chat_body(json!({})).to_string()).await;
    let again = server.asked_again(&answer).await;
    assert_eq!(again.status, 200);
    let first = SignedReceipt::from_base64(answer.headers[HEADER].as_bytes()).unwrap();
    assert_eq!(SignedReceipt::parse(&again.body).unwrap(), first);
    for path in ["/v1/receipts/", "/v1/receipts/x", "/v1/receipts/%ff", "/v1/receipts/..%2f..%2fx"] {
        let none = server.served.get(path).await;
        assert_eq!(none.status, 404, "{path}");
    }
    assert_eq!(
        server.served.get(&format!("{PATH}{}", "0".repeat(32))).await.code(),
        "request.receipt.unknown"
    );

    let mut file = ApiKeysFile::default();
    let keys = [1, 2].map(|n| {
        let name = format!("t{n}");
        file.add(&name, TenantLimits::NONE, None, [n; 32]).unwrap().key.clone()
    });
    server.served.state.tenants = Some(Arc::new(Tenants::new(&file, [7; 32])));
    server.served.router = router(server.served.state.clone());
    let with = |mut request: Request<Body>, key: &str| {
        request.headers_mut().insert("x-api-key", key.parse().unwrap());
        request
    };
    let request = with(post(CHAT, chat_body(json!({})).to_string()), &keys[0]);
    let owned = server.served.send(request).await;
    let id = owned.headers[ID_HEADER].to_str().unwrap().to_owned();
    let get = || Request::get(format!("{PATH}{id}")).body(Body::empty()).unwrap();
    assert_eq!(server.served.send(with(get(), &keys[0])).await.status, 200);
    assert_eq!(server.served.send(with(get(), &keys[1])).await.code(), "request.receipt.unknown");
    assert_eq!(server.served.send(get()).await.status, 401);
    // What was given while there were no tenants is no tenant's.
    let earlier = answer.headers[ID_HEADER].to_str().unwrap();
    let earlier = Request::get(format!("{PATH}{earlier}")).body(Body::empty()).unwrap();
    assert_eq!(server.served.send(with(earlier, &keys[0])).await.status, 404);
}

/// RCP-11: what should have a receipt and cannot have one is not given.
#[tokio::test]
async fn without_a_receipt_there_is_no_answer() {
    for (server, code) in [
        (Signing::of(Behaviour::Echo, &["another"], || Some(UnixTime(NOW))), "receipt.no-model"),
        (Signing::of(Behaviour::Echo, &[], || None), "receipt.clock"),
    ] {
        let answer = server.served.post(CHAT, chat_body(json!({})).to_string()).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (500, code));
        let request = post(CHAT, chat_body(json!({"stream": true})).to_string());
        let response = server.served.router.clone().oneshot(request).await.unwrap();
        assert!(to_bytes(response.into_body(), usize::MAX).await.is_err(), "the stream is cut");
    }
}

/// A server without receipts gives answers as they are.
#[tokio::test]
async fn a_server_without_receipts_says_so() {
    let served = serve_with(Behaviour::Echo, Limits::default(), false);
    let answer = served.post(CHAT, chat_body(json!({})).to_string()).await;
    assert!(answer.headers.get(HEADER).is_none() && answer.headers.get(ID_HEADER).is_none());
    assert_eq!(served.get(&format!("{PATH}{}", "0".repeat(32))).await.code(), "request.receipt.unknown");
}
