//! The model key from AWS KMS, inside a Nitro enclave (spec/kms.md).
//!
//! KMS decrypts the model owner's ciphertext of the key for an enclave that its key policy accepts, and encrypts the key to a public
//! key that the enclave's attestation document names. Whoever carries the messages learns nothing, and whoever changes them gets
//! one answer to everything (KMS-10): the key is of the manifest, or it is not.

mod ber;
mod credentials;
mod envelope;
mod error;
mod recipient;
mod settings;
mod sigv4;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, to_bytes};
use axum::http::{Request, Response, StatusCode, Uri, header};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use casemate_attest::UnixTime;
use casemate_seal::{Manifest, ModelKey};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::crypto::aws_lc_rs as provider;
use serde::{Deserialize, Serialize};

use crate::attester::Attester;
use crate::boot::broker_authorities;
use crate::clock::Clock;
use crate::release::{innermost, vsock};
use crate::transport::Connector;

pub use error::{KmsError, Refusal};
pub use settings::{CredentialSource, KmsKey, KmsKeyError, KmsSettings};

use credentials::Credentials;
use recipient::KeyPair;

/// The one member of the encryption context: the key is good for one manifest (KMS-02).
pub const CONTEXT: &str = "casemate-manifest-sha256";

/// AWS KMS, as this enclave reaches it, with the model owner's ciphertext.
pub struct Kms {
    http: Client<Connector, Body>,
    key: KmsKey,
    endpoint: String,
    host: String,
    ciphertext: String,
    credentials: CredentialSource,
    /// Of a file, which only the starting user may be able to read.
    read: Option<Credentials>,
    limits: KmsLimits,
}

/// How long KMS is waited for.
#[derive(Debug, Clone, Copy)]
pub struct KmsLimits {
    /// For one answer.
    pub call: Duration,
    /// For a service that cannot be reached or is busy.
    pub patience: Duration,
    /// Between two attempts.
    pub pause: Duration,
}

/// The model that a key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyOf {
    /// Digest of its manifest.
    pub manifest: [u8; 32],
    /// The commitment to its key.
    pub commitment: [u8; 32],
}

impl KeyOf {
    /// That of this manifest.
    pub fn manifest(manifest: &Manifest) -> Self {
        Self { manifest: manifest.digest(), commitment: *manifest.mk_commitment() }
    }
}

/// What `casemate kms` writes for `aws kms encrypt --cli-input-json` (KMS-02). It holds the model key: for a file that only its owner
/// reads.
pub fn encrypt_input(
    kms_key: &KmsKey,
    manifest: &[u8; 32],
    model_key: &ModelKey,
) -> zeroize::Zeroizing<String> {
    let secret = zeroize::Zeroizing::new(BASE64_STANDARD.encode(model_key.expose()));
    // Longer than any key's name, the digest and the rest: the text never moves and leaves no copy behind.
    let mut text = zeroize::Zeroizing::new(String::with_capacity(1024));
    let digest = hex::encode(manifest);
    for part in [
        r#"{"KeyId":""#,
        kms_key.as_str(),
        r#"","EncryptionContext":{""#,
        CONTEXT,
        r#"":""#,
        &digest,
        r#""},"Plaintext":""#,
        &secret,
        "\"}\n",
    ] {
        text.push_str(part);
    }
    text
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Decrypt<'a> {
    key_id: &'a str,
    ciphertext_blob: &'a str,
    encryption_context: BTreeMap<&'static str, String>,
    recipient: Recipient,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Recipient {
    key_encryption_algorithm: &'static str,
    attestation_document: String,
}

/// Members that are not named here are not looked at.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Decrypted {
    key_id: String,
    encryption_algorithm: String,
    ciphertext_for_recipient: Option<String>,
    plaintext: Option<String>,
}

#[derive(Deserialize, Default)]
struct Fault {
    #[serde(rename = "__type", default)]
    kind: String,
    #[serde(alias = "Message", default)]
    message: String,
}

// === impl Kms ===

impl Kms {
    /// Reads every file that the settings name. As the starting user.
    ///
    /// # Errors
    /// Files or addresses that cannot be used.
    pub fn open(settings: &KmsSettings) -> Result<Self, KmsError> {
        let endpoint = match &settings.endpoint {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => settings.key.endpoint(),
        };
        let host = host(&endpoint).ok_or_else(|| KmsError::Endpoint { url: endpoint.clone() })?;
        let mut roots = rustls::RootCertStore::empty();
        match &settings.authorities {
            None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
            Some(path) => {
                let file =
                    |_| KmsError::File { path: path.clone(), reason: "it does not hold PEM certificates" };
                for authority in broker_authorities(Some(path)).map_err(file)? {
                    roots.add(authority).map_err(KmsError::Authority)?;
                }
            }
        }
        let tls = rustls::ClientConfig::builder_with_provider(Arc::new(provider::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(KmsError::Authority)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let read = match &settings.credentials {
            CredentialSource::File(path) => Some(Credentials::read(path)?),
            CredentialSource::Vsock(_) => None,
        };
        // It follows no redirection and knows no proxy.
        let http = Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(Connector::new(
            settings.path,
            tls,
            CONNECT_TIMEOUT,
        ));
        Ok(Self {
            http,
            key: settings.key.clone(),
            endpoint,
            host,
            ciphertext: ciphertext(&settings.ciphertext)?,
            credentials: settings.credentials.clone(),
            read,
            limits: KmsLimits::USUAL,
        })
    }

    /// With these limits instead of the usual ones.
    #[must_use]
    pub fn with_limits(self, limits: KmsLimits) -> Self {
        Self { limits, ..self }
    }

    /// The key of this model, for this enclave. A service that cannot be reached or is busy is asked again for a while, each time with
    /// another key pair and another document (KMS-04); any other word of its is final.
    ///
    /// # Errors
    /// By name, whatever keeps KMS from giving it, or what it gave from being it.
    pub async fn key(&self, attester: &Arc<dyn Attester>, of: KeyOf) -> Result<ModelKey, KmsError> {
        let deadline = Instant::now() + self.limits.patience;
        loop {
            match self.ask(attester, of).await {
                Err(error) if error.may_pass() && Instant::now() < deadline => {
                    tracing::info!(code = error.code(), "KMS gives no key yet");
                    tokio::time::sleep(self.limits.pause).await;
                }
                ended => return ended,
            }
        }
    }

    async fn ask(&self, attester: &Arc<dyn Attester>, of: KeyOf) -> Result<ModelKey, KmsError> {
        // 1. A key pair that nobody else has, for this one answer, and a document of this enclave that names it.
        let attester = attester.clone();
        let made = tokio::task::spawn_blocking(move || {
            let pair = KeyPair::generate()?;
            let document = attester.recipient(pair.public())?;
            Ok::<_, KmsError>((pair, document))
        });
        let (pair, document) = made.await.map_err(|_| KmsError::KeyPair)??;

        // 2. The question, signed with the operator's credentials, which are no secret from the operator.
        let asked;
        let credentials = match (&self.read, &self.credentials) {
            (Some(read), _) => read,
            (None, source) => {
                asked = Credentials::ask(source, self.limits.call).await?;
                &asked
            }
        };
        let now = Clock::system().now().ok_or(KmsError::Clock)?;
        let request = self.request(&document, of, credentials, now)?;

        // 3. The answer, with a key in it that is encrypted to ours.
        let envelope = self.send(request).await?;
        pair.open(&envelope, &of.commitment)
    }

    fn request(
        &self,
        document: &[u8],
        of: KeyOf,
        credentials: &Credentials,
        now: UnixTime,
    ) -> Result<Request<Body>, KmsError> {
        let wrong = |_| KmsError::Endpoint { url: self.endpoint.clone() };
        let question = Decrypt {
            key_id: self.key.as_str(),
            ciphertext_blob: &self.ciphertext,
            encryption_context: BTreeMap::from([(CONTEXT, hex::encode(of.manifest))]),
            recipient: Recipient {
                key_encryption_algorithm: "RSAES_OAEP_SHA_256",
                attestation_document: BASE64_STANDARD.encode(document),
            },
        };
        let unwritten = |_| KmsError::Answer { what: "was not asked for: the question cannot be written" };
        let body = serde_json::to_vec(&question).map_err(unwritten)?;
        let (date, _) = sigv4::date(now).ok_or(KmsError::Clock)?;
        let mut headers = vec![
            ("content-type", "application/x-amz-json-1.1"),
            ("host", self.host.as_str()),
            ("x-amz-date", date.as_str()),
        ];
        if let Some(token) = credentials.token() {
            headers.push(("x-amz-security-token", token));
        }
        headers.push(("x-amz-target", "TrentService.Decrypt"));
        let signed = sigv4::Signed { method: "POST", path: "/", headers: &headers, body: &body };
        let authorization =
            signed.authorization(credentials, self.key.region(), "kms", now).ok_or(KmsError::Clock)?;
        let mut request = Request::post(format!("{}/", self.endpoint));
        for (name, value) in headers {
            request = request.header(name, value);
        }
        request.header(header::AUTHORIZATION, authorization).body(body.into()).map_err(wrong)
    }

    /// The envelope of the answer.
    async fn send(&self, request: Request<Body>) -> Result<Vec<u8>, KmsError> {
        let late = || KmsError::Unreachable {
            endpoint: self.endpoint.clone(),
            source: std::io::ErrorKind::TimedOut.into(),
        };
        let limit = tokio::time::Instant::now() + self.limits.call;
        let answered =
            tokio::time::timeout_at(limit, self.http.request(request)).await.map_err(|_| late())?;
        let response = answered.map_err(|error| match vsock(&error) {
            Some(source) => KmsError::Vsock(source),
            None => KmsError::Unreachable { endpoint: self.endpoint.clone(), source: innermost(&error) },
        })?;
        let (head, body) = response.map(Body::new).into_parts();
        let body = tokio::time::timeout_at(limit, to_bytes(body, MAX_ANSWER)).await.map_err(|_| late())?;
        let body = body.map_err(|_| KmsError::Answer { what: "is longer than it can be, or broke off" })?;
        if head.status != StatusCode::OK {
            return Err(refusal(&Response::from_parts(head, ()), &body));
        }
        self.envelope(&body)
    }

    /// KMS-08 and KMS-09.
    fn envelope(&self, body: &[u8]) -> Result<Vec<u8>, KmsError> {
        let answer: Decrypted =
            serde_json::from_slice(body).map_err(|_| KmsError::Answer { what: "is not that of Decrypt" })?;
        if answer.plaintext.is_some_and(|plain| !plain.is_empty()) {
            return Err(KmsError::InTheClear);
        }
        if answer.encryption_algorithm != "SYMMETRIC_DEFAULT" {
            return Err(KmsError::Answer { what: "is of an algorithm that binds no encryption context" });
        }
        if answer.key_id != self.key.as_str() {
            return Err(KmsError::OtherKey { found: error::plain(&answer.key_id) });
        }
        let sealed = answer.ciphertext_for_recipient.unwrap_or_default();
        let envelope = BASE64_STANDARD.decode(sealed);
        envelope.map_err(|_| KmsError::Answer { what: "holds an envelope that is not base64" })
    }
}

impl KmsLimits {
    /// As for a broker.
    const USUAL: Self = Self {
        call: Duration::from_secs(30),
        patience: Duration::from_secs(20),
        pause: Duration::from_secs(1),
    };
}

/// What KMS says where it gives no key (KMS-07). The name is in the body, and in a header where the body has none.
fn refusal(head: &Response<()>, body: &[u8]) -> KmsError {
    let fault: Fault = serde_json::from_slice(body).unwrap_or_default();
    let named = head.headers().get("x-amzn-errortype").and_then(|value| value.to_str().ok());
    let name = if fault.kind.is_empty() { named.unwrap_or_default() } else { &fault.kind };
    // `prefix#Name:address`, of which only the name counts.
    let name = name.rsplit('#').next().unwrap_or_default();
    let name = name.split(':').next().unwrap_or_default();
    let status = head.status().as_u16();
    KmsError::Refused {
        refusal: Refusal::of(name, status),
        status,
        name: error::plain(name),
        message: error::plain(&fault.message),
    }
}

/// Base64 text, as `aws kms encrypt --query CiphertextBlob --output text` prints it.
fn ciphertext(path: &Path) -> Result<String, KmsError> {
    let wrong = |reason| KmsError::File { path: path.to_owned(), reason };
    let text = credentials::read_text(path, MAX_CIPHERTEXT_TEXT).map_err(wrong)?;
    let text = text.trim_end();
    let blob =
        BASE64_STANDARD.decode(text).map_err(|_| wrong("it does not hold one ciphertext in base64"))?;
    if !(1..=MAX_CIPHERTEXT).contains(&blob.len()) {
        return Err(wrong("a ciphertext of KMS has 1 to 6144 bytes"));
    }
    Ok(text.to_owned())
}

/// The host of an `https` address with nothing behind it, as a request names it (KMS-06).
fn host(url: &str) -> Option<String> {
    let uri: Uri = url.parse().ok()?;
    let authority = uri.authority()?;
    let bare = uri.scheme_str() == Some("https")
        && uri.path() == "/"
        && uri.query().is_none()
        && !authority.as_str().contains('@');
    // The usual port is not named.
    bare.then(|| authority.as_str().trim_end_matches(":443").to_owned())
}

/// KMS's own limit.
const MAX_CIPHERTEXT: usize = 6144;
/// In base64, with a line's end.
const MAX_CIPHERTEXT_TEXT: u64 = 8200;
/// An answer has about two KiB.
const MAX_ANSWER: usize = 64 * 1024;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_and_nothing_behind_the_host() {
        assert_eq!(
            host("https://kms.eu-west-1.amazonaws.com").as_deref(),
            Some("kms.eu-west-1.amazonaws.com")
        );
        assert_eq!(host("https://a.example:8443").as_deref(), Some("a.example:8443"));
        assert_eq!(host("https://a.example:443").as_deref(), Some("a.example"));
        for wrong in
            ["", "kms", "http://a.example", "https://a.example/x", "https://a.example?x", "https://u@a"]
        {
            assert_eq!(host(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_ciphertext_is_one_line_of_base64() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c");
        for (text, good) in [
            ("AQIC\n", true),
            ("AQIC", true),
            ("", false),
            ("\n", false),
            ("AQ IC", false),
            ("not base64!", false),
        ] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(ciphertext(&path).is_ok(), good, "{text:?}");
        }
        let of = |len: usize| {
            std::fs::write(&path, BASE64_STANDARD.encode(vec![7; len])).unwrap();
            ciphertext(&path).map(|_| ()).map_err(|error| error.code())
        };
        assert_eq!((of(MAX_CIPHERTEXT), of(MAX_CIPHERTEXT + 1)), (Ok(()), Err("kms.file")));
        std::fs::write(&path, [0xff, 0xfe]).unwrap();
        assert_eq!(ciphertext(&path).unwrap_err().code(), "kms.file");
        assert_eq!(ciphertext(&folder.path().join("none")).unwrap_err().code(), "kms.file");
    }
}
