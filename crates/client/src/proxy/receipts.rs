//! Wants a good receipt of every answer, and keeps it with the document that makes it worth something (spec/proxy.md, PRX-14).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Method, StatusCode};
use casemate_attest::UnixTime;
use casemate_protocol::receipt::{
    self, Digests, HEADER, ReceiptError, ReceiptRefused, SignedReceipt, StreamReader,
};
use casemate_protocol::statement::Stated;
use futures_util::{Stream, StreamExt, stream};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::peer::Session;

/// A folder of receipts.
pub struct ReceiptFolder {
    path: PathBuf,
}

/// A receipt with all that is needed to check it again: a file of the folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeptReceipt {
    /// Always [`KEPT_SCHEMA`].
    pub schema: String,
    /// The server's address.
    pub server: String,
    /// The receipt.
    pub signed: SignedReceipt,
    /// The file beside this one with the attestation document that the server was verified by.
    pub document: String,
    /// SHA-256 of the request's body, as this side sent it.
    pub request_sha256: Stated,
    /// SHA-256 of the answer's body, as this side received it.
    pub response_sha256: Stated,
}

/// The form of [`KeptReceipt`].
pub const KEPT_SCHEMA: &str = "casemate.kept-receipt/1";

/// Why an answer is not handed on.
#[derive(Debug, thiserror::Error)]
pub enum ReceiptFault {
    /// There is none.
    #[error("the server's answer has no receipt")]
    Missing,
    /// It is none of this server's, or of another answer.
    #[error(transparent)]
    Refused(#[from] ReceiptRefused),
    /// It cannot be read.
    #[error(transparent)]
    Unreadable(#[from] ReceiptError),
    /// The answer broke off.
    #[error("the server's answer broke off: {0}")]
    Cut(#[source] io::Error),
    /// The answer is longer than what is held until its receipt is there.
    #[error("the answer has more than {MOST_HELD} bytes")]
    TooLong,
    /// It cannot be written down.
    #[error("the receipt cannot be kept in {}: {source}", path.display())]
    NotKept {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl ReceiptFault {
    /// The stable code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Missing => "receipt.missing",
            Self::Refused(refused) => refused.reason.code(),
            Self::Unreadable(error) => error.code(),
            Self::Cut(_) => "send.broken",
            Self::TooLong => "receipt.answer-too-long",
            Self::NotKept { .. } => "receipt.not-kept",
        }
    }
}

impl ReceiptFolder {
    /// This folder, which is made where there is none.
    ///
    /// # Errors
    /// [`ReceiptFault::NotKept`].
    pub fn open(path: &Path) -> Result<Self, ReceiptFault> {
        let not_kept = |source| ReceiptFault::NotKept { path: path.to_owned(), source };
        fs::create_dir_all(path).map_err(not_kept)?;
        Ok(Self { path: path.to_owned() })
    }

    fn keep(&self, about: &About, signed: SignedReceipt, response: [u8; 32]) -> Result<(), ReceiptFault> {
        let now = about.now;
        let server = about.session.server();
        let bodies = Digests { request: Some(about.request), response: Some(response) };
        let verified = receipt::check(&signed, server.statement().statement(), &bodies, now)?;
        let document = format!("document-{}.json", &hex::encode(Sha256::digest(server.document()))[..32]);
        let kept = KeptReceipt {
            schema: KEPT_SCHEMA.to_owned(),
            server: server.url().to_owned(),
            signed,
            document: document.clone(),
            request_sha256: Stated::Is(about.request),
            response_sha256: Stated::Is(response),
        };
        let text = serde_json::to_vec_pretty(&kept).map_err(|_| ReceiptFault::Missing)?;
        if !self.path.join(&document).exists() {
            self.write(&document, server.document())?;
        }
        // The id was looked at: it is digits.
        self.write(&format!("{}.receipt.json", verified.receipt().receipt_id), &text)
    }

    /// Whole or not at all.
    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), ReceiptFault> {
        let (path, partial) = (self.path.join(name), self.path.join(format!("{name}.part")));
        let written = fs::write(&partial, bytes).and_then(|()| fs::rename(&partial, &path));
        written.map_err(|source| ReceiptFault::NotKept { path, source })
    }
}

/// An exchange whose receipt is awaited.
pub(super) struct About {
    pub(super) session: Arc<Session>,
    /// SHA-256 of what was sent.
    pub(super) request: [u8; 32],
    pub(super) now: UnixTime,
}

/// Whether an answer to this is one that has a receipt.
pub(super) fn expected(method: &Method, target: &str, status: StatusCode) -> bool {
    let path = target.split('?').next().unwrap_or_default();
    method == Method::POST && status == StatusCode::OK && ANSWERS.contains(&path)
}

/// The body, once its receipt is kept.
pub(super) async fn whole(
    folder: &Arc<ReceiptFolder>,
    about: About,
    headers: &HeaderMap,
    body: impl Stream<Item = io::Result<Bytes>>,
) -> Result<Body, ReceiptFault> {
    let value = headers.get(HEADER).ok_or(ReceiptFault::Missing)?;
    let signed = SignedReceipt::from_base64(value.as_bytes())?;
    let mut body = std::pin::pin!(body);
    let mut bytes = Zeroizing::new(Vec::new());
    while let Some(chunk) = body.next().await {
        let chunk = chunk.map_err(ReceiptFault::Cut)?;
        if bytes.len().saturating_add(chunk.len()) > MOST_HELD {
            return Err(ReceiptFault::TooLong);
        }
        bytes.extend_from_slice(&chunk);
    }
    let response = Sha256::digest(&*bytes).into();
    let folder = folder.clone();
    blocking(move || folder.keep(&about, signed, response)).await?;
    Ok(Body::from(Bytes::from_owner(bytes)))
}

/// The stream as it comes. The words that say that it is whole come when its receipt is kept; without a good one it is cut.
pub(super) fn streamed(
    folder: Arc<ReceiptFolder>,
    about: About,
    body: impl Stream<Item = io::Result<Bytes>> + Send + Unpin + 'static,
) -> Body {
    let begun = Some((body, StreamReader::default(), folder, about));
    Body::from_stream(stream::unfold(begun, |state| async move {
        let (mut body, mut reader, folder, about) = state?;
        loop {
            match body.next().await {
                Some(Ok(chunk)) => {
                    let mut on = Vec::with_capacity(chunk.len());
                    reader.push(&chunk, &mut on);
                    if !on.is_empty() {
                        return Some((Ok(Bytes::from(on)), Some((body, reader, folder, about))));
                    }
                }
                Some(Err(error)) => return Some((Err(error), None)),
                None => break,
            }
        }
        let end = reader.finish();
        let kept = blocking(move || {
            let receipt = end.receipt.ok_or(ReceiptFault::Missing)?;
            folder.keep(&about, SignedReceipt::from_base64(&receipt)?, end.digest)?;
            Ok((end.held, receipt))
        });
        match kept.await {
            Ok((held, receipt)) => {
                // The program gets all that the server sent.
                let rest = [held.as_slice(), receipt::COMMENT.as_bytes(), &receipt].concat();
                Some((Ok(Bytes::from(rest)), None))
            }
            Err(fault) => {
                tracing::warn!(code = fault.code(), "an answer is cut: {fault}");
                Some((Err(io::Error::other(fault)), None))
            }
        }
    }))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ReceiptFault> + Send + 'static,
) -> Result<T, ReceiptFault> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(ReceiptFault::Missing))
}

/// What has a receipt (spec/receipts.md, RCP-10), of what the proxy forwards.
const ANSWERS: [&str; 4] = ["/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/messages"];
/// A whole answer is held until its receipt is there.
const MOST_HELD: usize = 256 * 1024 * 1024;
