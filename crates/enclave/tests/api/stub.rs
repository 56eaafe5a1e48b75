//! A deterministic engine, a stub for evidence, and how the cases talk to the API.

use std::num::NonZeroU32;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode, header};
use casemate_attest::{Platform, UnixTime};
use casemate_enclave::api::{ApiState, AttestSource, AttestSourceError, Limits, router};
use casemate_enclave::{EndorsementHealth, EndorsementState, Tenants};
use casemate_engine::{
    ChatSupport, Completion, EmbedInput, EmbedRequest, Embedded, Engine, EngineError, Event, FinishReason,
    GenerateRequest, Input, ModelInfo, Scored, TokenBudget, TokenScore, ToolForm, Usage,
};
use casemate_protocol::document::{AttestationDocument, DocumentEndorsements};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::logs::LOG;

/// Answers "echo " and the last message, a word at a time; deterministic.
pub(crate) struct Stub {
    pub(crate) info: ModelInfo,
    pub(crate) behaviour: Behaviour,
    pub(crate) seen: Mutex<Vec<GenerateRequest>>,
    pub(crate) embedded: Mutex<Vec<EmbedRequest>>,
    pub(crate) cancelled: AtomicBool,
}

#[derive(Clone)]
pub(crate) enum Behaviour {
    Echo,
    /// Refuses every request.
    Fail(EngineError),
    /// Fails after the first piece.
    BreakOff,
    /// Starts and then waits to be cancelled.
    Hang,
    /// Ends as cancelled although nobody did.
    EndCancelled,
    /// Panics.
    Panic,
    /// Answers with this.
    Say(&'static str),
    /// Makes vectors: an input's size, and two other numbers.
    Embed,
    /// Refuses every request for vectors.
    FailEmbedding(EngineError),
    /// Waits to be cancelled.
    HangEmbedding,
}

impl Stub {
    pub(crate) fn new(behaviour: Behaviour) -> Arc<Self> {
        let info = ModelInfo {
            name: "stub".into(),
            architecture: "stub".into(),
            parameters: 1,
            tensor_bytes: 4,
            context_tokens: 2048,
            parallel: 8,
            trained_context_tokens: 2048,
            chat: ChatSupport::Template,
            tools: ToolForm::Hermes,
            dimensions: match behaviour {
                Behaviour::Embed | Behaviour::FailEmbedding(_) | Behaviour::HangEmbedding => {
                    NonZeroU32::new(3)
                }
                _ => None,
            },
        };
        let (seen, embedded) = (Mutex::default(), Mutex::default());
        Arc::new(Self { info, behaviour, seen, embedded, cancelled: AtomicBool::new(false) })
    }

    pub(crate) fn last(&self) -> GenerateRequest {
        self.seen.lock().unwrap().last().unwrap().clone()
    }

    pub(crate) async fn wait_until_cancelled(&self) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !self.cancelled.load(Ordering::Acquire) {
            assert!(Instant::now() < deadline, "the generation was not cancelled");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

impl Engine for Stub {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn queue_depth(&self) -> usize {
        3
    }

    fn health(&self) -> Result<(), EngineError> {
        match &self.behaviour {
            Behaviour::Fail(error @ (EngineError::Ended(_) | EngineError::Hung { .. })) => Err(error.clone()),
            _ => Ok(()),
        }
    }

    fn embed(&self, request: EmbedRequest) -> Result<Embedded, EngineError> {
        self.embedded.lock().unwrap().push(request.clone());
        match &self.behaviour {
            Behaviour::FailEmbedding(error) => return Err(error.clone()),
            Behaviour::HangEmbedding => {
                let deadline = Instant::now() + Duration::from_secs(15);
                while !request.cancel.is_cancelled() && Instant::now() < deadline {
                    std::thread::sleep(Duration::from_millis(1));
                }
                self.cancelled.store(request.cancel.is_cancelled(), Ordering::Release);
                return Err(EngineError::Cancelled);
            }
            _ => {}
        }
        let size = |input: &EmbedInput| match input {
            EmbedInput::Text(text) => Ok(text.len()),
            EmbedInput::Tokens(tokens) if tokens.contains(&-1) => {
                Err(EngineError::TokenUnknown { vocabulary: 9 })
            }
            EmbedInput::Tokens(tokens) => Ok(tokens.len()),
        };
        let sizes = request.inputs.iter().map(size).collect::<Result<Vec<_>, _>>()?;
        let tokens = u32::try_from(sizes.iter().sum::<usize>()).unwrap();
        Ok(Embedded { vectors: sizes.iter().map(|size| vec![*size as f32, 0.5, -0.25]).collect(), tokens })
    }

    /// Bytes are tokens.
    fn tokenise(&self, text: String, special: bool) -> Result<Vec<i32>, EngineError> {
        Ok(special.then_some(1).into_iter().chain(text.bytes().map(i32::from)).collect())
    }

    fn detokenise(&self, tokens: Vec<i32>) -> Result<String, EngineError> {
        let byte = |token| u8::try_from(token).map_err(|_| EngineError::TokenUnknown { vocabulary: 256 });
        let bytes = tokens.into_iter().map(byte).collect::<Result<Vec<_>, _>>()?;
        Ok(String::from_utf8(bytes).unwrap())
    }

    fn generate(
        &self,
        request: GenerateRequest,
        sink: &mut dyn FnMut(Event) -> ControlFlow<()>,
    ) -> Result<Completion, EngineError> {
        self.seen.lock().unwrap().push(request.clone());
        let (last, words) = match &request.input {
            Input::Raw(text) => (text, text.split(' ').count()),
            Input::Chat(messages) => (
                &messages.last().unwrap().content,
                messages.iter().map(|m| m.content.split(' ').count()).sum(),
            ),
        };
        let mut text = match self.behaviour {
            Behaviour::Say(text) => text.to_owned(),
            _ => format!("echo {last}"),
        };
        let mut finish = FinishReason::Stop;
        for (stop, number) in request.stop.as_slice().iter().zip(0..) {
            if let Some(at) = text.find(stop.as_str()) {
                text.truncate(at);
                finish = FinishReason::StopString(number);
            }
        }
        let prompt_tokens = u32::try_from(words).unwrap();
        let mut usage = Usage { prompt_tokens, ..Usage::default() };
        let end = |finish, usage| Ok(Completion { finish, usage });
        if let Behaviour::Fail(error) = &self.behaviour {
            return Err(error.clone());
        }
        if sink(Event::Started { prompt_tokens }).is_break() {
            return end(FinishReason::Cancelled, usage);
        }
        match &self.behaviour {
            Behaviour::Hang => {
                // Longer than any case waits, so that a case fails and does not hang.
                let deadline = Instant::now() + Duration::from_secs(15);
                while !request.cancel.is_cancelled() && Instant::now() < deadline {
                    std::thread::sleep(Duration::from_millis(1));
                }
                self.cancelled.store(request.cancel.is_cancelled(), Ordering::Release);
                return end(FinishReason::Cancelled, usage);
            }
            Behaviour::EndCancelled => return end(FinishReason::Cancelled, usage),
            Behaviour::Panic => panic!("stub"),
            _ => {}
        }
        let (TokenBudget::Exact(most) | TokenBudget::UpTo(most)) = request.budget;
        for piece in text.split_inclusive(' ') {
            if usage.completion_tokens == most.get() {
                return end(FinishReason::Length, usage);
            }
            usage.completion_tokens += 1;
            if let Some(alternatives) = request.logprobs {
                let scored = |text: &str, logprob| Scored { bytes: text.into(), logprob };
                let top = (0..alternatives).map(|n| scored("x", -1.0 - f32::from(n))).collect();
                let event = Event::Token(TokenScore { chosen: scored(piece, -0.5), top });
                if sink(event).is_break() {
                    return end(FinishReason::Cancelled, usage);
                }
            }
            if sink(Event::Text(piece.to_owned())).is_break() {
                return end(FinishReason::Cancelled, usage);
            }
            if matches!(self.behaviour, Behaviour::BreakOff) {
                return Err(EngineError::Compute { status: -3 });
            }
        }
        end(finish, usage)
    }
}

pub(crate) struct StubAttest {
    pub(crate) fails: bool,
    /// `None` where the clock tells no time.
    pub(crate) health: Option<EndorsementHealth>,
}

impl AttestSource for StubAttest {
    fn attestation_document(&self, nonce: [u8; 32]) -> Result<Bytes, AttestSourceError> {
        self.stating(hex::encode(nonce))
    }

    fn ready_document(&self) -> Result<Bytes, AttestSourceError> {
        self.stating("none".into())
    }

    fn evidence_age(&self) -> Option<u64> {
        Some(11)
    }

    fn endorsements(&self) -> Result<EndorsementHealth, AttestSourceError> {
        self.health.ok_or(AttestSourceError { code: "attestation.clock" })
    }
}

impl StubAttest {
    fn stating(&self, statement: String) -> Result<Bytes, AttestSourceError> {
        if self.fails {
            return Err(AttestSourceError { code: "attester.no-device" });
        }
        let endorsements = DocumentEndorsements::amd(b"vek", b"crl");
        let document = AttestationDocument::new(Platform::SevSnp, b"report", endorsements, statement, None);
        Ok(serde_json::to_vec(&document).unwrap().into())
    }
}

pub(crate) const HEALTH: EndorsementHealth = EndorsementHealth {
    state: EndorsementState::Fresh,
    valid_until: UnixTime(2_000_000_000),
    last_success: UnixTime(1_900_000_000),
    last_error_code: None,
    failures_total: 3,
};

pub(crate) struct Served {
    pub(crate) stub: Arc<Stub>,
    pub(crate) state: ApiState,
    pub(crate) router: Router,
}

pub(crate) fn serve(behaviour: Behaviour) -> Served {
    serve_with(behaviour, Limits::default(), false)
}

pub(crate) fn serve_with(behaviour: Behaviour, limits: Limits, attest_fails: bool) -> Served {
    serve_attested(behaviour, limits, StubAttest { fails: attest_fails, health: Some(HEALTH) })
}

/// A server that knows tenants.
pub(crate) fn serve_tenants(behaviour: Behaviour, tenants: Tenants) -> Served {
    let mut served = serve(behaviour);
    served.state.tenants = Some(Arc::new(tenants));
    served.router = router(served.state.clone());
    served
}

pub(crate) fn serve_health(health: Option<EndorsementHealth>) -> Served {
    serve_attested(Behaviour::Echo, Limits::default(), StubAttest { fails: false, health })
}

fn serve_attested(behaviour: Behaviour, limits: Limits, attest: StubAttest) -> Served {
    LOG.install();
    let stub = Stub::new(behaviour);
    let attest = Arc::new(attest);
    let mut state = ApiState::new(stub.clone(), "stub-1".into(), attest);
    state.limits = limits;
    Served { stub, router: router(state.clone()), state }
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.headers[header::CONTENT_TYPE], "application/json");
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap().to_owned()
    }
}

impl Served {
    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        assert_eq!(head.headers[header::CACHE_CONTROL], "no-store");
        Answer { status: head.status, headers: head.headers, body: to_bytes(body, usize::MAX).await.unwrap() }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Request::get(path).body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn post(&self, path: &str, body: impl Into<Body>) -> Answer {
        self.send(post(path, body)).await
    }

    pub(crate) async fn complete(&self, extra: Value) -> Answer {
        let mut body = json!({"model": "stub-1", "prompt": "a b"});
        for (key, value) in extra.as_object().unwrap() {
            body[key] = value.clone();
        }
        self.post(COMPLETIONS, body.to_string()).await
    }

    /// A good request in Anthropic's shape, with some fields set.
    pub(crate) async fn message(&self, extra: Value) -> Answer {
        let mut body = chat_body(extra);
        body.as_object_mut().unwrap().entry("max_tokens").or_insert(json!(64));
        self.post(MESSAGES, body.to_string()).await
    }

    pub(crate) async fn chat(&self, extra: Value) -> Answer {
        self.post(CHAT, chat_body(extra).to_string()).await
    }
}

pub(crate) const CHAT: &str = "/v1/chat/completions";
pub(crate) const MESSAGES: &str = "/v1/messages";
pub(crate) const COMPLETIONS: &str = "/v1/completions";

pub(crate) fn post(path: &str, body: impl Into<Body>) -> Request<Body> {
    Request::post(path).header(header::CONTENT_TYPE, "application/json").body(body.into()).unwrap()
}

/// A good chat request with some fields set or, with null, taken away.
pub(crate) fn chat_body(extra: Value) -> Value {
    let mut body = json!({"model": "stub-1", "messages": [{"role": "user", "content": "a b"}]});
    for (key, value) in extra.as_object().unwrap() {
        body[key] = value.clone();
    }
    body
}

pub(crate) fn n(v: u32) -> NonZeroU32 {
    NonZeroU32::new(v).unwrap()
}

/// The JSON of each event; `None` for the end mark.
pub(crate) fn events(text: &str) -> Vec<Option<Value>> {
    assert!(text.ends_with("\n\n"));
    text.trim_end()
        .split("\n\n")
        .map(|event| {
            let data = event.strip_prefix("data: ").unwrap();
            assert!(!data.contains('\n'));
            (data != "[DONE]").then(|| serde_json::from_str(data).unwrap())
        })
        .collect()
}

pub(crate) async fn listen(served: &Served) -> std::net::SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = served.router.clone();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

pub(crate) fn raw_post(path: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}
