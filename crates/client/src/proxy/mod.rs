//! `casemate proxy`: an address on this machine for applications that know nothing of attestation (spec/proxy.md).
//!
//! What comes in is sent to verified servers only, and what goes wrong is an error that the application's library understands.
//! Nothing of a request or an answer is logged or kept; of receipts, only where a person asked for it.

mod error;
mod headers;
mod http;
mod receipts;

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::pool::Pool;

pub use error::ProxyError;
pub use http::{answer, router};
pub use receipts::{KEPT_SCHEMA, KeptReceipt, ReceiptFault, ReceiptFolder};

/// What a proxy works with.
pub struct Proxy {
    pool: Pool,
    /// A key that applications need not know, in place of theirs.
    api_key: Option<ApiKey>,
    max_body: usize,
    places: Arc<Semaphore>,
    /// Whether only programs on this machine can reach it, so that the names they call it by are known.
    loopback: bool,
    /// Where receipts are kept; without it nobody asks for them.
    receipts: Option<Arc<ReceiptFolder>>,
}

/// The key that the server knows this user by. It cannot be printed.
pub struct ApiKey(reqwest::header::HeaderValue);

impl Proxy {
    /// A proxy to these servers. `loopback` says whether it listens on a loopback address.
    pub fn new(pool: Pool, api_key: Option<ApiKey>, max_body: usize, loopback: bool) -> Self {
        let places = Arc::new(Semaphore::new(MOST_REQUESTS));
        Self { pool, api_key, max_body, places, loopback, receipts: None }
    }

    /// That hands on no answer without a good receipt, and keeps those in this folder.
    #[must_use]
    pub fn with_receipts(self, folder: Option<ReceiptFolder>) -> Self {
        Self { receipts: folder.map(Arc::new), ..self }
    }

    /// The servers.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }
}

impl ApiKey {
    /// Of a file's content, without the white space around it; `None` where that is no header's value, or empty.
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        let mut value = reqwest::header::HeaderValue::from_str(&format!("Bearer {text}")).ok()?;
        value.set_sensitive(true);
        (!text.is_empty()).then_some(Self(value))
    }
}

/// The longest body that is taken where nobody says otherwise: several images.
pub const DEFAULT_MAX_BODY: usize = 32 * 1024 * 1024;
/// Requests at once. One more is told to come again.
pub const MOST_REQUESTS: usize = 1024;
