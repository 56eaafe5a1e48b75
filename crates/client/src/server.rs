//! From an address to a [`VerifiedServer`], and from a prompt to an answer.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use casemate_attest::nvidia::NvidiaAnchors;
use casemate_attest::{
    Check, Claims, Denied, Evidence, ParseError, Rejected, TrustAnchors, UnixTime, Verified, verify,
};
use casemate_protocol::Plaintext;
use casemate_protocol::devices::{self, AttestedMachine, DevicesRefused};
use casemate_protocol::document::{self, AttestationDocument, DocumentError};
use casemate_protocol::sealed::cells::Shape;
use casemate_protocol::sealed::{SealedError, SealingKey, configuration_digest};
use casemate_protocol::statement::{
    self, AttestedStatement, Channel, Expectation, RuntimeStatement, StatementError, StatementRefused,
};
use casemate_protocol::vtpm::{self, AttestedVtpm, VtpmRefused};
use futures_util::{Stream, StreamExt};
use reqwest::header::HeaderMap;
use reqwest::{Response, StatusCode};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::operator::{self, OperatorRefused};
use crate::policy::ClientPolicy;
use crate::sealed::{self, Plain, SealedAnswer};
use crate::tls::OneKey;
use crate::via::Via;

/// A server that passed every check of the policy. Only [`connect`] makes one, and only it takes a prompt.
///
/// All its connections end at the TLS key that the evidence binds, and it sends nothing after
/// [`valid_until`](VerifiedServer::valid_until).
#[derive(Debug)]
pub struct VerifiedServer {
    http: reqwest::Client,
    base: String,
    way: Way,
    verified: Verified,
    vtpm: AttestedVtpm,
    machine: AttestedMachine,
    operator: Vec<Check>,
    token: Option<String>,
    document: bytes::Bytes,
}

/// The attested key, and how requests reach it.
#[derive(Debug)]
enum Way {
    /// SHA-256 of the SubjectPublicKeyInfo of the TLS key at which every connection ends.
    Tls([u8; 32]),
    Sealed {
        key: SealingKey,
        shape: Shape,
        configurations_sha256: [u8; 32],
    },
}

/// Whom a client believes.
#[derive(Debug)]
pub struct Anchors {
    /// For machines.
    pub machines: TrustAnchors,
    /// For their GPUs and switches.
    pub devices: NvidiaAnchors,
}

/// Why there is no verified server. Nothing confidential was sent.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The address is not `https://host[:port]`.
    #[error("`{url}` is not the https address of a server")]
    Address {
        /// What was given.
        url: String,
    },
    /// TLS could not be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[source] rustls::Error),
    /// No connection, or it broke.
    #[error("the server at {base} cannot be reached: {source}")]
    Unreachable {
        /// The server.
        base: String,
        /// The reason.
        source: reqwest::Error,
    },
    /// The server gave no attestation document.
    #[error("the server answered {status} instead of an attestation document")]
    NoDocument {
        /// The HTTP status.
        status: u16,
    },
    /// The server shows no keys for the sealed channel, or none that we accept.
    #[error("the sealed channel cannot be used: {0}")]
    Sealed(#[source] SealedError),
    /// The document is malformed.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// The evidence is malformed.
    #[error(transparent)]
    Malformed(#[from] ParseError),
    /// The evidence is not genuine.
    #[error(transparent)]
    Rejected(#[from] Rejected),
    /// Genuine, but not what the policy asks for.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// The runtime statement cannot be read.
    #[error(transparent)]
    Unreadable(#[from] StatementError),
    /// The runtime statement is not acceptable.
    #[error(transparent)]
    Statement(#[from] StatementRefused),
    /// The virtual TPM beside the machine's hardware is not acceptable.
    #[error(transparent)]
    Vtpm(#[from] VtpmRefused),
    /// The machine's devices are not acceptable.
    #[error(transparent)]
    Devices(#[from] DevicesRefused),
    /// The machine is not of an operator of ours.
    #[error(transparent)]
    Operator(#[from] OperatorRefused),
}

impl ConnectError {
    /// The stable code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Address { .. } => "connect.address",
            Self::Tls(_) => "connect.tls",
            Self::Unreachable { .. } => "connect.unreachable",
            Self::NoDocument { .. } => "connect.no-document",
            Self::Sealed(e) => e.code(),
            Self::Document(e) => e.code(),
            Self::Malformed(e) => e.code(),
            Self::Rejected(e) => e.code(),
            Self::Denied(e) => e.code(),
            Self::Unreadable(e) => e.code(),
            Self::Statement(e) => e.reason.code(),
            Self::Vtpm(e) => e.reason.code(),
            Self::Devices(e) => e.reason.code(),
            Self::Operator(e) => e.reason.code(),
        }
    }
}

/// A failed [`connect`] with every check that would have run.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct ConnectFailure {
    /// Why.
    pub error: Box<ConnectError>,
    /// The checks of platform, statement, operator, virtual TPM and devices in order; those after the failure are not reached.
    pub checks: Vec<Check>,
}

/// Why a verified server gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The verification has run out; connect again.
    #[error("the server's evidence was good until {valid_until}, it is {now}")]
    Expired {
        /// Deadline, seconds since 1970.
        valid_until: UnixTime,
        /// The time of the request.
        now: UnixTime,
    },
    /// The connection broke.
    #[error("the connection to the verified server broke: {0}")]
    Broken(#[source] reqwest::Error),
    /// The server refused the request.
    #[error("the server answered {status} ({code})")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The server's stable code.
        code: String,
    },
    /// Somebody answered who did not open the request. What they said is no answer.
    #[error("something in between answered {status}{} in place of the verified server", Said(.code))]
    NotSealed {
        /// The HTTP status.
        status: u16,
        /// A stable code, where they named one; else empty.
        code: String,
    },
    /// The sealed answer does not open.
    #[error("the sealed answer cannot be opened: {0}")]
    Sealed(#[from] SealedError),
    /// The system gave no random bytes.
    #[error("the system gives no random bytes")]
    Randomness,
    /// The answer is not of the agreed shape.
    #[error("the server's answer is not of the agreed shape")]
    Shape,
}

impl SendError {
    /// The stable code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Expired { .. } => "send.expired",
            Self::Broken(_) => "send.broken",
            Self::Refused { .. } => "send.refused",
            Self::NotSealed { .. } => "send.not-sealed",
            Self::Sealed(error) => error.code(),
            Self::Randomness => "send.randomness",
            Self::Shape => "send.shape",
        }
    }
}

/// A code in brackets, where there is one.
struct Said<'a>(&'a str);

impl std::fmt::Display for Said<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, " ({})", self.0) }
    }
}

/// What the server answered to `/infer`.
#[derive(Debug, Deserialize)]
pub struct Answer {
    /// The generated text.
    pub response: Plaintext<String>,
}

/// Verifies the server at `url`, with its virtual TPM and its GPUs, against `policy` under `anchors`. `nonce` must be fresh random bytes; `now` is
/// the client's clock. Nothing but the nonce is sent. What is sent later goes `via` TLS to the attested key, or sealed to it.
pub async fn connect(
    url: &str,
    via: Via,
    policy: &ClientPolicy,
    anchors: &Anchors,
    nonce: [u8; 32],
    now: UnixTime,
) -> Result<VerifiedServer, ConnectFailure> {
    let early = |error: ConnectError| ConnectFailure { error: Box::new(error), checks: Vec::new() };

    // 1. Connect and remember the key that the connection ends at.
    // 2. Parse; believe nothing yet.
    let Shown { http, base, spki, document, bytes, evidence } =
        show(url, via, &nonce).await.map_err(early)?;
    let way = way(via, spki, &document).map_err(early)?;
    let endorsements = document.endorsements(&evidence).map_err(|e| early(e.into()))?;

    // 3. Genuine?
    let authentic = verify(&evidence, &endorsements, &anchors.machines, now).map_err(|rejected| {
        let checks = [rejected.checks.clone(), statement::not_reached(), beside_not_reached()].concat();
        ConnectFailure { checks, error: Box::new(rejected.into()) }
    })?;

    // 4. Ours, and bound to this statement?
    let report_data = statement::report_data(&document.statement);
    let bound = statement::bound(evidence.platform(), &report_data);
    let binding = casemate_attest::Binding::qualifying_data(bound);
    let verified = authentic.appraise(&policy.attest, &binding).map_err(|denied| {
        let checks = [denied.checks.clone(), statement::not_reached(), beside_not_reached()].concat();
        ConnectFailure { checks, error: Box::new(denied.into()) }
    })?;

    // 5. Does the statement answer our nonce, on our connection, with our model?
    let expected = Expectation {
        nonce,
        channel: match &way {
            Way::Tls(spki) => Channel::Tls { spki_sha256: *spki, rule: policy.tls_key.clone() },
            Way::Sealed { configurations_sha256, .. } => {
                Channel::Sealed { configurations_sha256: *configurations_sha256 }
            }
        },
        models: policy.models.clone(),
        engine: policy.engine.clone(),
    };
    let statement = statement::check(&verified, &document.statement, &expected, now).map_err(|refused| {
        let checks = [verified.checks(), &refused.checks, &beside_not_reached()].concat();
        ConnectFailure { checks, error: Box::new(refused.into()) }
    })?;

    // 6. Is the machine of an operator of ours?
    let before = [verified.checks(), statement.checks()].concat();
    let (shown, text) = (document.operator.as_ref(), document.statement.as_str());
    let until = statement.valid_until();
    let operator = operator::check(shown, text, &policy.operator, now, until).map_err(|refused| {
        let rest = [vtpm::not_reached(), devices::not_reached()].concat();
        ConnectFailure {
            checks: [&before[..], &refused.checks, &rest].concat(),
            error: Box::new(refused.into()),
        }
    })?;

    // 7. Is the virtual TPM beside its hardware the one that we demand, genuine, and this machine's?
    let before = [&before[..], &operator].concat();
    let shown = document.vtpm.as_ref();
    let vtpm =
        vtpm::check(&statement, text, shown, &policy.vtpm, &anchors.machines, now).map_err(|refused| {
            let checks = [&before[..], &refused.checks, &devices::not_reached()].concat();
            ConnectFailure { checks, error: Box::new(refused.into()) }
        })?;

    // 8. Are its GPUs those that we demand, genuine, and this machine's?
    let before = [&before[..], vtpm.checks()].concat();
    let devices = document.devices.as_ref();
    let machine =
        devices::check(statement, devices, &policy.devices, &anchors.devices, now).map_err(|refused| {
            ConnectFailure {
                checks: [before, refused.checks.clone()].concat(),
                error: Box::new(refused.into()),
            }
        })?;
    let token = document.token;
    Ok(VerifiedServer { http, base, way, verified, vtpm, machine, operator, token, document: bytes })
}

/// What a server shows to somebody who has no policy yet. Its hardware is genuine; what it states is not held against anything, so that it
/// takes no prompt: a policy is written from it, and then [`connect`] looks at everything.
#[derive(Debug)]
pub struct Observed {
    claims: Claims,
    statement: RuntimeStatement,
    operator: Option<[u8; 32]>,
}

impl Observed {
    /// What the genuine hardware says.
    pub fn claims(&self) -> &Claims {
        &self.claims
    }

    /// What it states. Believed by nobody.
    pub fn statement(&self) -> &RuntimeStatement {
        &self.statement
    }

    /// SHA-256 of the key that it shows as its operator's. Nobody looked at a signature yet.
    pub fn operator(&self) -> Option<[u8; 32]> {
        self.operator
    }
}

/// What the server at `url` shows, if its hardware is genuine under `anchors`.
///
/// # Errors
/// As [`connect`], but for what a policy would refuse.
pub async fn observe(
    url: &str,
    anchors: &Anchors,
    nonce: [u8; 32],
    now: UnixTime,
) -> Result<Observed, ConnectFailure> {
    let early = |error: ConnectError| ConnectFailure { error: Box::new(error), checks: Vec::new() };
    let shown = show(url, Via::Tls, &nonce).await.map_err(early)?;
    let Shown { document, evidence, .. } = &shown;
    let endorsements = document.endorsements(evidence).map_err(|e| early(e.into()))?;
    let authentic = verify(evidence, &endorsements, &anchors.machines, now).map_err(|rejected| {
        ConnectFailure { checks: rejected.checks.clone(), error: Box::new(rejected.into()) }
    })?;
    let statement = RuntimeStatement::parse(&document.statement).map_err(|error| early(error.into()))?;
    let operator = document.operator.as_ref().map(|shown| shown.spki_bytes()).transpose();
    let operator = operator.map_err(|error| early(error.into()))?.map(|spki| Sha256::digest(spki).into());
    Ok(Observed { claims: authentic.claims().clone(), statement, operator })
}

/// A document, and the connection that it came over. Believed by nobody.
struct Shown {
    http: reqwest::Client,
    base: String,
    /// Of the one key that its connections end at, where they must.
    spki: Option<[u8; 32]>,
    document: AttestationDocument,
    /// It, as it arrived.
    bytes: bytes::Bytes,
    evidence: Evidence,
}

/// Connects, remembers the key that the connection ends at, and reads the document.
async fn show(url: &str, via: Via, nonce: &[u8; 32]) -> Result<Shown, ConnectError> {
    let base = url.trim_end_matches('/').to_owned();
    if !base.starts_with("https://") {
        return Err(ConnectError::Address { url: url.to_owned() });
    }
    let key = match via {
        Via::Tls => OneKey::new(),
        Via::Sealed(_) => OneKey::any(),
    };
    let http = http_client(&key, &base)?;
    let bytes = fetch_document(&http, &base, nonce).await?;
    let spki = key.spki_sha256();
    let document = AttestationDocument::parse(&bytes)?;
    let evidence = Evidence::parse(&document.evidence_bytes()?)?;
    Ok(Shown { http, base, spki, document, bytes: bytes.into(), evidence })
}

/// The key that the document shows for this way. Nobody believes it yet.
fn way(via: Via, spki: Option<[u8; 32]>, document: &AttestationDocument) -> Result<Way, ConnectError> {
    match via {
        Via::Tls => spki.map(Way::Tls).ok_or(ConnectError::Tls(rustls::Error::NoCertificatesPresented)),
        Via::Sealed(shape) => {
            let shown = document.ohttp_key_bytes()?.ok_or(ConnectError::Sealed(SealedError::NoKey))?;
            let key = SealingKey::choose(&shown).map_err(ConnectError::Sealed)?;
            Ok(Way::Sealed { key, shape, configurations_sha256: configuration_digest(&shown) })
        }
    }
}

/// What is not looked at once the machine or its statement is refused.
fn beside_not_reached() -> Vec<Check> {
    [operator::not_reached(), vtpm::not_reached(), devices::not_reached()].concat()
}

/// Fetches a public page, such as `/health`, from a server that nobody verified. What it says proves nothing.
pub async fn unverified_get(base: &str, path: &str) -> Result<(u16, String), ConnectError> {
    let base = base.trim_end_matches('/');
    let http = http_client(&OneKey::new(), base)?;
    let unreachable = |source| ConnectError::Unreachable { base: base.to_owned(), source };
    let sent = http.get(format!("{base}{path}")).timeout(ATTEST_TIMEOUT).send().await;
    let response = sent.map_err(unreachable)?;
    let status = response.status().as_u16();
    let body = body_up_to(response, document::MAX_LEN).await.map_err(unreachable)?.unwrap_or_default();
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}

// === impl VerifiedServer ===

impl VerifiedServer {
    /// Its address.
    pub fn url(&self) -> &str {
        &self.base
    }

    /// The attestation document that it was verified by, as it arrived.
    pub fn document(&self) -> &[u8] {
        &self.document
    }

    /// The verified evidence.
    pub fn evidence(&self) -> &Verified {
        &self.verified
    }

    /// What the enclave states about itself.
    pub fn statement(&self) -> &AttestedStatement {
        self.machine.statement()
    }

    /// The machine with its GPUs, where the policy demanded some.
    pub fn machine(&self) -> &AttestedMachine {
        &self.machine
    }

    /// The virtual TPM beside its hardware, where the policy demanded one.
    pub fn vtpm(&self) -> &AttestedVtpm {
        &self.vtpm
    }

    /// The broker's attestation result, where the server has one. A claim of the server, not checked here.
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// Every check of platform, statement, operator, virtual TPM and devices, in order.
    pub fn checks(&self) -> Vec<Check> {
        let (machine, statement) = (self.verified.checks(), self.statement().checks());
        [machine, statement, &self.operator, self.vtpm.checks(), self.machine.checks()].concat()
    }

    /// The moment after which nothing more is sent.
    pub fn valid_until(&self) -> UnixTime {
        self.machine.valid_until().min(self.vtpm.valid_until())
    }

    /// SHA-256 of the attested key that requests are encrypted to: of the TLS key's SubjectPublicKeyInfo, or of the sealed channel's
    /// configurations.
    pub fn key_sha256(&self) -> [u8; 32] {
        match &self.way {
            Way::Tls(spki) => *spki,
            Way::Sealed { configurations_sha256, .. } => *configurations_sha256,
        }
    }

    /// Sends a request to `target`, a path with its query, and waits for the beginning of the answer.
    ///
    /// # Errors
    /// [`SendError`], but for those of [`VerifiedServer::infer`].
    pub(crate) async fn request(
        &self,
        method: reqwest::Method,
        target: &str,
        headers: &HeaderMap,
        body: Arc<Plaintext<Vec<u8>>>,
        now: UnixTime,
    ) -> Result<(StatusCode, HeaderMap, Arriving), SendError> {
        if now >= self.valid_until() {
            return Err(SendError::Expired { valid_until: self.valid_until(), now });
        }
        match &self.way {
            Way::Tls(_) => {
                let url = format!("{}{target}", self.base);
                let body = bytes::Bytes::from_owner(Shared(body));
                let request = self.http.request(method, url).headers(headers.clone()).body(body);
                let sent = request.send().await.map_err(|error| SendError::Broken(error.without_url()))?;
                let (status, headers) = (sent.status(), sent.headers().clone());
                Ok((status, headers, Arriving::Direct(Box::pin(sent.bytes_stream()))))
            }
            Way::Sealed { key, shape, .. } => {
                let authority = self.base.split_once("://").map_or("", |(_, authority)| authority);
                let plain = Plain { method: &method, target, authority, headers, body: body.expose() };
                let (status, headers, answer) =
                    sealed::send(&self.http, &self.base, key, *shape, &plain).await?;
                Ok((status, headers, Arriving::Sealed(Box::new(answer))))
            }
        }
    }

    /// Sends a prompt and waits for the whole answer (`POST /infer`).
    pub async fn infer(
        &self,
        prompt: &Plaintext<String>,
        max_new_tokens: u32,
        now: UnixTime,
    ) -> Result<Answer, SendError> {
        if now >= self.valid_until() {
            return Err(SendError::Expired { valid_until: self.valid_until(), now });
        }
        let body = InferBody { prompt: prompt.expose(), max_new_tokens };
        let sent =
            self.http.post(format!("{}/infer", self.base)).timeout(ANSWER_TIMEOUT).json(&body).send().await;
        let response = sent.map_err(|e| SendError::Broken(e.without_url()))?;
        let status = response.status();
        let bytes =
            body_up_to(response, MAX_ANSWER).await.map_err(SendError::Broken)?.ok_or(SendError::Shape)?;
        if status != StatusCode::OK {
            let code = serde_json::from_slice::<ErrorBody>(&bytes)
                .map_or_else(|_| "unknown".into(), |e| plain(&e.error.code));
            return Err(SendError::Refused { status: status.as_u16(), code });
        }
        serde_json::from_slice(&bytes).map_err(|_| SendError::Shape)
    }
}

/// The body of an answer, as it comes.
pub(crate) enum Arriving {
    Direct(Pin<Box<dyn Stream<Item = reqwest::Result<bytes::Bytes>> + Send>>),
    Sealed(Box<SealedAnswer>),
}

impl Arriving {
    /// The next of it, and `None` when it is whole.
    pub(crate) async fn next(&mut self) -> io::Result<Option<bytes::Bytes>> {
        match self {
            Self::Direct(chunks) => {
                chunks.next().await.transpose().map_err(|error| io::Error::other(error.without_url()))
            }
            Self::Sealed(answer) => answer.next().await,
        }
    }
}

/// A body that is overwritten when the last request with it has ended.
struct Shared(Arc<Plaintext<Vec<u8>>>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        self.0.expose()
    }
}

#[derive(Serialize)]
struct InferBody<'a> {
    prompt: &'a str,
    max_new_tokens: u32,
}

#[derive(Deserialize)]
struct ErrorBody {
    error: ErrorMember,
}

#[derive(Deserialize)]
struct ErrorMember {
    code: String,
}

fn http_client(key: &Arc<OneKey>, base: &str) -> Result<reqwest::Client, ConnectError> {
    reqwest::Client::builder()
        .use_preconfigured_tls(key.client_config().map_err(ConnectError::Tls)?)
        .https_only(true)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .connect_timeout(CONNECT_TIMEOUT)
        .build()
        .map_err(|source| ConnectError::Unreachable { base: base.to_owned(), source })
}

async fn fetch_document(
    http: &reqwest::Client,
    base: &str,
    nonce: &[u8; 32],
) -> Result<Vec<u8>, ConnectError> {
    let unreachable = |source| ConnectError::Unreachable { base: base.to_owned(), source };
    let url = format!("{base}/attest?nonce={}", hex::encode(nonce));
    let response = http.get(url).timeout(ATTEST_TIMEOUT).send().await.map_err(unreachable)?;
    if response.status() != StatusCode::OK {
        return Err(ConnectError::NoDocument { status: response.status().as_u16() });
    }
    let body = body_up_to(response, document::MAX_LEN).await.map_err(unreachable)?;
    body.ok_or(ConnectError::Document(DocumentError::TooLong { len: document::MAX_LEN.saturating_add(1) }))
}

/// The body, or `None` where it is longer than `limit`.
async fn body_up_to(mut response: Response, limit: usize) -> Result<Option<Vec<u8>>, reqwest::Error> {
    let mut body = Vec::new();
    while let Some(part) = response.chunk().await? {
        if body.len().saturating_add(part.len()) > limit {
            return Ok(None);
        }
        body.extend_from_slice(&part);
    }
    Ok(Some(body))
}

/// A peer's word for a terminal: short, and without control characters.
fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(80).collect()
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const ATTEST_TIMEOUT: Duration = Duration::from_secs(30);
/// A server that says nothing for that long will not answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(900);
/// The longest answer that `/infer` can give is far below.
const MAX_ANSWER: usize = 16 * 1024 * 1024;
