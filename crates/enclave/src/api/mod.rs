//! The HTTP API, over any [`Engine`] and any [`AttestSource`].
//!
//! | Route | Answer |
//! |---|---|
//! | `GET /health` | `{"status":"ok","endorsements":{…}}`, 503 once they have run out (STAPLE-06, STAPLE-07), or the error that every request would get |
//! | `GET /attest?nonce=` | the attestation document for this nonce (64 hexadecimal digits), or the ready one for none |
//! | `POST /infer` | `{"prompt","max_new_tokens"}` to `{"response"}`, greedy |
//! | `POST /v1/chat/completions` | OpenAI's shape, with and without `stream` |
//! | `POST /v1/completions` | OpenAI's older shape: texts that are continued as they are |
//! | `POST /v1/embeddings` | OpenAI's shape: vectors, where the model makes them |
//! | `POST /v1/messages` | Anthropic's shape, with and without `stream` |
//! | `GET /v1/models`, `GET /v1/models/{model}` | OpenAI's shape |
//! | `POST /tokenize`, `POST /detokenize` | a text as tokens, and back |
//! | `GET /ready` | `{"status":"ready"}`, or the first reason why a client would not be served |
//! | `GET /openapi.json` | these routes as an OpenAPI document |
//! | `GET /v1/receipts/{id}` | the signed receipt of an answer |
//! | `POST /ohttp` | any of these, sealed to the attested key |
//! | `GET /metrics` | Prometheus text: counters, no content |
//!
//! Prompts and answers are [`Plaintext`](casemate_protocol::Plaintext) from the parser to the engine and from the
//! engine to the wire. No log call and no metric takes anything else than routes, codes and numbers.

mod answer;
mod attest;
mod body;
mod calls;
mod chat;
mod choosing;
mod completions;
mod draining;
mod embeddings;
mod entry;
mod error;
mod infer;
mod messages;
mod metrics;
mod ohttp;
mod openapi;
mod ready;
mod receipts;
mod reply;
mod tools;
mod words;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use casemate_engine::Engine;

pub use attest::{AttestSource, AttestSourceError};
pub use draining::Draining;
pub use error::ApiError;
pub use metrics::Metrics;

use crate::receipts::Receipts;
use crate::sealed::SealedKeys;
use crate::staple::EndorsementState;
use crate::tenants::Tenants;
use error::Shape;
use metrics::Route;

/// Most bytes of a request body.
pub const MAX_BODY_BYTES: usize = 1 << 20;
/// Most characters (Unicode scalar values) of a prompt of `POST /infer`.
pub const MAX_PROMPT_CHARS: usize = 4096;
/// Tokens of an answer of `POST /infer` where the request does not say.
pub const DEFAULT_NEW_TOKENS: NonZeroU32 = NonZeroU32::new(256).unwrap();
/// Most tokens that a request may ask for, and the bound of a chat answer where the request does not say.
pub const MAX_NEW_TOKENS: NonZeroU32 = NonZeroU32::new(4096).unwrap();

/// Bounds of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// See [`MAX_BODY_BYTES`].
    pub body_bytes: usize,
    /// See [`MAX_PROMPT_CHARS`].
    pub prompt_chars: usize,
    /// See [`DEFAULT_NEW_TOKENS`].
    pub default_new_tokens: NonZeroU32,
    /// See [`MAX_NEW_TOKENS`].
    pub max_new_tokens: NonZeroU32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: MAX_BODY_BYTES,
            prompt_chars: MAX_PROMPT_CHARS,
            default_new_tokens: DEFAULT_NEW_TOKENS,
            max_new_tokens: MAX_NEW_TOKENS,
        }
    }
}

/// What the handlers share.
#[derive(Clone)]
pub struct ApiState {
    /// Answers prompts.
    pub engine: Arc<dyn Engine>,
    /// The name that clients call the model by.
    pub model_id: String,
    /// Makes attestation documents.
    pub attest: Arc<dyn AttestSource>,
    /// Who may ask; everybody where there are none.
    pub tenants: Option<Arc<Tenants>>,
    /// Opens sealed requests, where there is a sealed channel.
    pub sealed: Option<Arc<SealedKeys>>,
    /// Signs receipts of answers, where there is a key for them.
    pub receipts: Option<Arc<Receipts>>,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// Bounds of requests.
    pub limits: Limits,
    /// Set once the server is to stop.
    pub draining: Draining,
    /// When the model was loaded, in seconds since 1970; clients see it in `GET /v1/models`.
    pub loaded_at: u64,
}

impl ApiState {
    /// A state with fresh counters and the usual limits.
    #[must_use]
    pub fn new(engine: Arc<dyn Engine>, model_id: String, attest: Arc<dyn AttestSource>) -> Self {
        Self {
            engine,
            model_id,
            attest,
            tenants: None,
            sealed: None,
            receipts: None,
            metrics: Arc::default(),
            limits: Limits::default(),
            draining: Draining::default(),
            loaded_at: chat::unix_seconds(),
        }
    }
}

/// All routes.
pub fn router(state: ApiState) -> Router {
    let answers = Router::new()
        .route(Route::Infer.path(), post(infer::infer))
        .route(Route::Chat.path(), post(chat::completions))
        .route(Route::Completions.path(), post(completions::completions))
        .route(Route::Embeddings.path(), post(embeddings::embeddings))
        .route(Route::Messages.path(), post(messages::messages))
        .route_layer(from_fn_with_state(state.clone(), receipts::receipted));
    let for_tenants = answers
        .route(Route::Receipt.path(), get(receipts::receipt))
        .route(Route::Models.path(), get(chat::models))
        .route(Route::Model.path(), get(chat::model))
        .route(Route::Tokenize.path(), post(words::tokenize))
        .route(Route::Detokenize.path(), post(words::detokenize))
        .route_layer(from_fn_with_state(state.clone(), entry::enter));
    let open = Router::new()
        .route(Route::Health.path(), get(health))
        .route(Route::Ready.path(), get(ready::ready))
        .route(Route::OpenApi.path(), get(openapi::openapi))
        .route(Route::Attest.path(), get(attest::attest))
        .route(Route::Metrics.path(), get(metrics::metrics))
        .merge(for_tenants);
    let finished = |routes: Router<ApiState>| {
        routes
            .fallback(async || ApiError::NotFound)
            .method_not_allowed_fallback(async || ApiError::MethodNotAllowed)
            .layer(from_fn_with_state(state.clone(), finish))
            .with_state(state.clone())
    };
    match state.sealed.clone() {
        None => finished(open),
        Some(keys) => {
            let sealed = ohttp::route(state.clone(), keys, finished(open.clone()));
            finished(open.merge(sealed.with_state(())))
        }
    }
}

/// Says `ok` as long as clients can be served (STAPLE-06, STAPLE-07): a server whose endorsements have run out is refused by
/// every one of them.
async fn health(State(state): State<ApiState>) -> Result<Response, ApiError> {
    state.engine.health()?;
    let endorsements = state.attest.endorsements().map_err(ApiError::Attest)?;
    let (status, word) = match endorsements.state {
        EndorsementState::Expired => (StatusCode::SERVICE_UNAVAILABLE, "expired"),
        EndorsementState::Fresh | EndorsementState::RefreshFailing | EndorsementState::Expiring => {
            (StatusCode::OK, "ok")
        }
    };
    let body = serde_json::json!({"status": word, "endorsements": endorsements});
    Ok((status, axum::Json(body)).into_response())
}

/// Around every request: renders errors in the form of the route's family, counts, and keeps answers out of caches.
async fn finish(State(state): State<ApiState>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let path = request.uri().path();
    let (route, shape) = (Route::of(path), Shape::of(path));
    let mut response = next.run(request).await;
    let mut code = "ok";
    if let Some(error) = response.extensions_mut().remove::<ApiError>() {
        code = error.code();
        let allow = response.headers_mut().remove(header::ALLOW);
        response = error.render(shape);
        if let Some(allow) = allow {
            response.headers_mut().insert(header::ALLOW, allow);
        }
    }
    let status = response.status();
    state.metrics.count_request(route, status);
    let ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    if status.is_server_error() {
        tracing::error!(route = route.label(), status = status.as_u16(), code, ms, "request");
    } else {
        tracing::info!(route = route.label(), status = status.as_u16(), code, ms, "request");
    }
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if state.draining.is_set() {
        // Who keeps a connection open comes back on a new one, which a load balancer leads elsewhere.
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}
