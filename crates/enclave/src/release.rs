//! Asks the broker for the model key: the client side of RCAR 0.4.0 (spec/release.md).
//!
//! The key travels encrypted to a key made for this one release, whose public half the evidence binds. The connection
//! to the broker carries no secret in the clear, so its TLS is defence in depth.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use axum::body::{Body, Bytes, to_bytes};
use axum::http::{HeaderMap, Request, Response, StatusCode, Uri, header};
use casemate_attest::Platform;
use casemate_protocol::jwe::{Jwe, JweError, TeePrivateKey};
use casemate_protocol::kbs::{
    self, Attestation, BASE_PATH, Challenge, ErrorInformation, KbsError, RuntimeData, TokenResponse,
};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::crypto::aws_lc_rs as provider;
use rustls::pki_types::CertificateDer;
use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use crate::attester::AttesterError;
use crate::clock::Clock;
use crate::composite::CompositeAttester;
use crate::gpu::GpuError;
use crate::staple::StapleError;
use crate::transport::{BrokerPath, Connector, VsockError};
use crate::vtpm::VtpmError;

/// The broker, as this enclave reaches it.
pub(crate) struct BrokerClient {
    http: Client<Connector, Body>,
    base: String,
}

/// An attested session with the broker, good for one key.
pub(crate) struct Released {
    /// The secret itself.
    pub(crate) secret: Zeroizing<Vec<u8>>,
    /// The broker's attestation result (EAR, a JWT).
    pub(crate) token: String,
}

/// Why no key was released.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// The broker's address is not `http(s)://host[:port]`.
    #[error("`{url}` is not the http or https address of a broker")]
    Address {
        /// What was given.
        url: String,
    },
    /// The address of the key in the manifest is not `kbs:///repository/type/tag`.
    #[error("`{uri}` is not a key address of the form kbs:///repository/type/tag")]
    ResourceUri {
        /// What the manifest says.
        uri: String,
    },
    /// TLS could not be configured with the operator's certificate authority.
    #[error("the broker's certificate authority cannot be used: {0}")]
    Authority(#[source] rustls::Error),
    /// No connection, or it broke.
    #[error("the broker at {base} cannot be reached during {call}: {source}")]
    Unreachable {
        /// The broker.
        base: String,
        /// The call.
        call: &'static str,
        /// The reason.
        source: io::Error,
    },
    /// No connection over the vsock that was written (CH-15).
    #[error("the broker at {base} cannot be reached during {call}: {source}")]
    Vsock {
        /// The broker.
        base: String,
        /// The call.
        call: &'static str,
        /// The reason.
        source: VsockError,
    },
    /// The broker said no.
    #[error("the broker refused {call} with status {status}: {detail}")]
    Refused {
        /// The call.
        call: &'static str,
        /// The HTTP status.
        status: u16,
        /// The broker's words, with its code in front.
        detail: String,
    },
    /// The broker's answer is not the protocol.
    #[error("the broker's answer to {call} is not RCAR {}", kbs::VERSION)]
    Protocol {
        /// The call.
        call: &'static str,
    },
    /// A message could not be formed.
    #[error(transparent)]
    Message(#[from] KbsError),
    /// The released key does not open.
    #[error(transparent)]
    Jwe(#[from] JweError),
    /// There is no evidence.
    #[error(transparent)]
    Attester(#[from] AttesterError),
    /// There is no evidence of the GPUs.
    #[error(transparent)]
    Gpu(#[from] GpuError),
    /// There is no evidence of the virtual TPM.
    #[error(transparent)]
    Vtpm(#[from] VtpmError),
    /// An endorsement is missing.
    #[error(transparent)]
    Staple(#[from] StapleError),
    /// No verification without a time.
    #[error("the machine's clock is before 1970")]
    Clock,
    /// Key brokers take no evidence of this platform.
    #[error("evidence of {platform} opens no key at a key broker")]
    Platform {
        /// Of this machine.
        platform: Platform,
    },
    /// The system gave no random bytes.
    #[error("the system gives no random bytes")]
    Randomness,
}

impl ReleaseError {
    /// The stable code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Address { .. } => "release.address",
            Self::ResourceUri { .. } => "release.resource-uri",
            Self::Authority(_) => "release.authority",
            Self::Unreachable { .. } => "release.unreachable",
            Self::Vsock { source, .. } => source.code(),
            Self::Refused { .. } => "release.refused",
            Self::Protocol { .. } => "release.protocol",
            Self::Message(e) => e.code(),
            Self::Jwe(e) => e.code(),
            Self::Attester(e) => e.code(),
            Self::Gpu(e) => e.code(),
            Self::Vtpm(e) => e.code(),
            Self::Staple(e) => e.code(),
            Self::Clock => "release.clock",
            Self::Platform { .. } => "release.platform",
            Self::Randomness => "release.randomness",
        }
    }

    /// Whether the same may succeed a moment later: the broker is not up yet.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Vsock { source, .. } => source.may_pass(),
            _ => false,
        }
    }
}

// === impl BrokerClient ===

impl BrokerClient {
    /// A client for the broker at `url`, reached by `path`. `authorities` are the only roots that its TLS certificate may
    /// have; its name there is the one in `url` (CH-12).
    pub(crate) fn new(
        url: &str,
        path: BrokerPath,
        authorities: Vec<CertificateDer<'static>>,
    ) -> Result<Self, ReleaseError> {
        let base = url.trim_end_matches('/').to_owned();
        let address = || ReleaseError::Address { url: url.to_owned() };
        let parsed: Uri = base.parse().map_err(|_| address())?;
        if !(base.starts_with("http://") || base.starts_with("https://")) || parsed.host().is_none() {
            return Err(address());
        }
        let mut roots = rustls::RootCertStore::empty();
        for authority in authorities {
            roots.add(authority).map_err(ReleaseError::Authority)?;
        }
        let tls = rustls::ClientConfig::builder_with_provider(Arc::new(provider::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(ReleaseError::Authority)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        // It follows no redirection and knows no proxy.
        let http = Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(Connector::new(
            path,
            tls,
            CONNECT_TIMEOUT,
        ));
        Ok(Self { http, base })
    }

    /// What the broker answers to a question that starts nothing: the status of its `/healthz`.
    pub(crate) async fn reach(&self, limit: Duration) -> Result<u16, ReleaseError> {
        let request = get(&format!("{}/healthz", self.base), None)?;
        Ok(self.ask(request, "health", limit).await?.status().as_u16())
    }

    /// Attests and fetches the key at `resource` (`kbs:///repository/type/tag`).
    pub(crate) async fn release(
        &self,
        machine: &CompositeAttester,
        resource: &str,
    ) -> Result<Released, ReleaseError> {
        let path = resource_path(resource)?;
        let key = tee_key()?;
        let session = self.attest(machine, &key).await?;

        let url = format!("{}{BASE_PATH}/resource/{path}", self.base);
        let request = get(&url, Some(&session.cookie))?;
        let (_, jwe): (_, Jwe) = self.send(request, "resource").await?;
        Ok(Released { secret: key.open(&jwe)?, token: session.token })
    }

    /// Attests anew and returns a fresh attestation result.
    pub(crate) async fn renew_token(&self, machine: &CompositeAttester) -> Result<String, ReleaseError> {
        Ok(self.attest(machine, &tee_key()?).await?.token)
    }

    async fn attest(
        &self,
        machine: &CompositeAttester,
        key: &TeePrivateKey,
    ) -> Result<Session, ReleaseError> {
        // 1. Ask for a nonce.
        let platform = machine.platform();
        let wish = kbs::Request::of(platform).ok_or(ReleaseError::Platform { platform })?;
        let url = format!("{}{BASE_PATH}/auth", self.base);
        let auth = post(&url, None, &wish, "auth")?;
        let (headers, challenge): (_, Challenge) = self.send(auth, "auth").await?;
        let cookie = session_cookie(&headers).ok_or(ReleaseError::Protocol { call: "auth" })?;
        let algorithm = challenge.extra_params.get("selected-hash-algorithm").and_then(|v| v.as_str());
        // Without a selection the protocol's default is the same algorithm.
        if algorithm.is_some_and(|a| a != kbs::HASH_ALGORITHM) {
            return Err(ReleaseError::Protocol { call: "auth" });
        }

        // 2. Bind nonce and key into evidence, of every part of the machine.
        let runtime_data = RuntimeData { nonce: challenge.nonce, tee_pubkey: key.public() };
        let now = Clock::system().now().ok_or(ReleaseError::Clock)?;
        let tee_evidence = machine.evidence(&runtime_data, now)?;
        let attestation = Attestation { init_data: None, runtime_data, tee_evidence };

        // 3. Present it.
        let url = format!("{}{BASE_PATH}/attest", self.base);
        let attest = post(&url, Some(&cookie), &attestation, "attest")?;
        let (_, TokenResponse { token }) = self.send(attest, "attest").await?;
        Ok(Session { cookie, token })
    }

    /// One call: the answer's headers, and what its body says.
    async fn send<T: DeserializeOwned>(
        &self,
        request: Request<Body>,
        call: &'static str,
    ) -> Result<(HeaderMap, T), ReleaseError> {
        let response = self.ask(request, call, CALL_TIMEOUT).await?;
        let (status, headers) = (response.status(), response.headers().clone());
        match status {
            StatusCode::OK => {
                let body = body(response, call).await?;
                let said = serde_json::from_slice(&body).map_err(|_| ReleaseError::Protocol { call })?;
                Ok((headers, said))
            }
            status => {
                let body = body(response, call).await.unwrap_or_default();
                let detail = serde_json::from_slice::<ErrorInformation>(&body)
                    .map_or_else(|_| "no reason given".to_owned(), |e| plain(&e.detail));
                Err(ReleaseError::Refused { call, status: status.as_u16(), detail })
            }
        }
    }

    async fn ask(
        &self,
        request: Request<Body>,
        call: &'static str,
        limit: Duration,
    ) -> Result<Response<Body>, ReleaseError> {
        let base = self.base.clone();
        match tokio::time::timeout(limit, self.http.request(request)).await {
            Ok(Ok(response)) => Ok(response.map(Body::new)),
            Ok(Err(error)) => Err(match vsock(&error) {
                Some(source) => ReleaseError::Vsock { base, call, source },
                None => ReleaseError::Unreachable { base, call, source: innermost(&error) },
            }),
            Err(_) => Err(ReleaseError::Unreachable { base, call, source: io::ErrorKind::TimedOut.into() }),
        }
    }
}

/// The name of a vsock connection that was not made.
pub(crate) fn vsock(error: &(dyn Error + 'static)) -> Option<VsockError> {
    causes(error).find_map(|cause| cause.downcast_ref::<VsockError>().cloned())
}

/// The reason below the library's own words for it.
pub(crate) fn innermost(error: &(dyn Error + 'static)) -> io::Error {
    io::Error::other(causes(error).last().map(ToString::to_string).unwrap_or_default())
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    let mut next = Some(error);
    std::iter::from_fn(move || {
        let error = next?;
        next = error.source();
        Some(error)
    })
}

struct Session {
    cookie: String,
    token: String,
}

/// `kbs:///repository/type/tag` to `repository/type/tag`; each part in a plain alphabet, so that none can climb.
fn resource_path(uri: &str) -> Result<&str, ReleaseError> {
    let wrong = || ReleaseError::ResourceUri { uri: uri.to_owned() };
    let path = uri.strip_prefix("kbs:///").ok_or_else(wrong)?;
    let plain = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    };
    if path.split('/').count() != 3 || !path.split('/').all(plain) {
        return Err(wrong());
    }
    Ok(path)
}

fn tee_key() -> Result<TeePrivateKey, ReleaseError> {
    let rng = SystemRandom::new();
    // A draw outside 1..n has a chance of 2^-32 at most; a second failure means that the generator is broken.
    for _ in 0..2 {
        let mut bytes = Zeroizing::new([0u8; 32]);
        rng.fill(bytes.as_mut_slice()).map_err(|_| ReleaseError::Randomness)?;
        if let Ok(key) = TeePrivateKey::from_random(&bytes) {
            return Ok(key);
        }
    }
    Err(ReleaseError::Randomness)
}

fn get(url: &str, cookie: Option<&str>) -> Result<Request<Body>, ReleaseError> {
    let request = match cookie {
        Some(cookie) => Request::get(url).header(header::COOKIE, cookie),
        None => Request::get(url),
    };
    request.body(Body::empty()).map_err(|_| ReleaseError::Address { url: url.to_owned() })
}

fn post(
    url: &str,
    cookie: Option<&str>,
    message: &impl Serialize,
    call: &'static str,
) -> Result<Request<Body>, ReleaseError> {
    let body = serde_json::to_vec(message).map_err(|_| ReleaseError::Protocol { call })?;
    let mut request = Request::post(url).header(header::CONTENT_TYPE, "application/json");
    if let Some(cookie) = cookie {
        request = request.header(header::COOKIE, cookie);
    }
    request.body(body.into()).map_err(|_| ReleaseError::Address { url: url.to_owned() })
}

fn session_cookie(headers: &HeaderMap) -> Option<String> {
    let name = format!("{}=", kbs::SESSION_COOKIE);
    headers
        .get_all(header::SET_COOKIE)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .filter_map(|v| v.split(';').next())
        .find(|pair| pair.trim().starts_with(&name))
        .map(|pair| pair.trim().to_owned())
}

/// A peer's words for a log and a terminal: short, and without control characters.
fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(600).collect()
}

/// The whole body, up to [`MAX_ANSWER`].
async fn body(response: Response<Body>, call: &'static str) -> Result<Bytes, ReleaseError> {
    let whole = to_bytes(response.into_body(), MAX_ANSWER);
    match tokio::time::timeout(CALL_TIMEOUT, whole).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(_)) | Err(_) => Err(ReleaseError::Protocol { call }),
    }
}

/// The largest answer that we read: a token of a few KiB or a wrapped key.
const MAX_ANSWER: usize = 256 * 1024;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const CALL_TIMEOUT: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_resource_addresses_are_followed() {
        assert_eq!(resource_path("kbs:///models/smollm2/1").unwrap(), "models/smollm2/1");
        for wrong in [
            "",
            "kbs://host/a/b/c",
            "kbs:///a/b",
            "kbs:///a/b/c/d",
            "kbs:///a//c",
            "kbs:///a/../c",
            "kbs:///a/b/c?x=1",
            "kbs:///a/b/c#x",
            "kbs:///a/b/%2e",
            "https://x/a/b/c",
        ] {
            assert_eq!(resource_path(wrong).unwrap_err().code(), "release.resource-uri", "{wrong}");
        }
    }
}
