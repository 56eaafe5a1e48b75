//! A receipt for each answer, in its header or at the end of its stream; and `GET /v1/receipts/{id}` (spec/receipts.md).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_lc_rs::digest::{Context, SHA256};
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use casemate_engine::{GenerateRequest, TokenBudget, Usage};
use casemate_protocol::receipt::{COMMENT, HEADER, ID_HEADER, ReceiptUsage, SignedReceipt};
use futures_util::{StreamExt, stream};

use super::ApiState;
use super::entry::{Entered, entered};
use super::error::ApiError;
use crate::receipts::{Answered, Receipts, Unsigned};

/// What handlers find out about an answer while they make it.
#[derive(Default)]
pub(super) struct Draft(Mutex<Drafted>);

#[derive(Default)]
struct Drafted {
    model: String,
    parameters: BTreeMap<String, String>,
    usage: ReceiptUsage,
    /// Parts of the answer that began and have not ended well.
    open: usize,
    ended: bool,
}

impl Draft {
    /// A part of the answer begins: of this model, with tokens chosen like this.
    pub(super) fn begin(&self, model: &str, request: Option<&GenerateRequest>) {
        let mut drafted = lock(&self.0);
        drafted.open = drafted.open.saturating_add(1);
        if drafted.model.is_empty() {
            drafted.model = model.to_owned();
            drafted.parameters = request.map(parameters).unwrap_or_default();
        }
    }

    /// It has ended well. The prompt is counted once, however many answers there are to it.
    pub(super) fn end(&self, usage: Usage) {
        let mut drafted = lock(&self.0);
        drafted.open = drafted.open.saturating_sub(1);
        drafted.ended = true;
        let all = &mut drafted.usage;
        all.prompt_tokens = all.prompt_tokens.max(usage.prompt_tokens.into());
        all.completion_tokens = all.completion_tokens.saturating_add(usage.completion_tokens.into());
    }

    fn whole(&self) -> bool {
        let drafted = lock(&self.0);
        drafted.ended && drafted.open == 0
    }
}

/// How tokens are chosen, defaults included.
fn parameters(request: &GenerateRequest) -> BTreeMap<String, String> {
    let sampling = &request.sampling;
    let (TokenBudget::Exact(most) | TokenBudget::UpTo(most)) = request.budget;
    [
        ("max_tokens", most.to_string()),
        ("temperature", sampling.temperature.to_string()),
        ("top_p", sampling.top_p.to_string()),
        ("top_k", sampling.top_k.to_string()),
        ("min_p", sampling.min_p.to_string()),
        ("frequency_penalty", sampling.frequency_penalty.to_string()),
        ("presence_penalty", sampling.presence_penalty.to_string()),
        ("seed", sampling.seed.to_string()),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}

/// Around the routes that answer.
pub(super) async fn receipted(State(state): State<ApiState>, request: Request, next: Next) -> Response {
    let Some(receipts) = state.receipts.clone() else { return next.run(request).await };
    let Ok(id) = receipts.id() else { return failed(&Unsigned::Randomness) };
    let draft = Arc::new(Draft::default());
    let (mut parts, body) = request.into_parts();
    let Entered { visit, .. } = parts.extensions.get().cloned().unwrap_or_default();
    let tenant = visit.as_ref().map(|visit| visit.name().to_owned());
    let endpoint = parts.uri.path().to_owned();
    parts.extensions.insert(Entered { visit, draft: Some(draft.clone()) });
    let read = Arc::new(Mutex::new(Context::new(&SHA256)));
    let reading = read.clone();
    let body = body.into_data_stream().map(move |frame| frame.inspect(|frame| lock(&reading).update(frame)));
    let response = next.run(Request::from_parts(parts, Body::from_stream(body))).await;
    if response.status() != StatusCode::OK || response.extensions().get::<ApiError>().is_some() {
        return response;
    }
    let about = About { state, receipts, draft, id, tenant, endpoint, read };
    let kind = response.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    match kind.is_some_and(|kind| kind.starts_with("text/event-stream")) {
        true => about.stream(response),
        false => about.whole(response).await,
    }
}

/// What a receipt will be about.
struct About {
    state: ApiState,
    receipts: Arc<Receipts>,
    draft: Arc<Draft>,
    id: String,
    tenant: Option<String>,
    endpoint: String,
    /// Of the request's body.
    read: Arc<Mutex<Context>>,
}

impl About {
    async fn whole(self, response: Response) -> Response {
        let (mut parts, body) = response.into_parts();
        // One piece already: nothing is copied.
        let Ok(body) = to_bytes(body, usize::MAX).await else { return ApiError::Interrupted.into_response() };
        let mut given = Context::new(&SHA256);
        given.update(&body);
        let id = self.id.clone();
        let signed = match self.sign(given).await {
            Ok(Some(signed)) => signed,
            Ok(None) => return Response::from_parts(parts, body.into()),
            Err(error) => return failed(&error),
        };
        let value = signed.to_base64().ok().and_then(|text| HeaderValue::try_from(text).ok());
        if let (Some(value), Ok(id)) = (value, HeaderValue::try_from(id)) {
            parts.headers.insert(HEADER, value);
            parts.headers.insert(ID_HEADER, id);
        }
        Response::from_parts(parts, body.into())
    }

    /// The same stream, with the receipt as a comment behind it where it ended well.
    fn stream(self, response: Response) -> Response {
        let (mut parts, body) = response.into_parts();
        if let Ok(id) = HeaderValue::try_from(self.id.as_str()) {
            parts.headers.insert(ID_HEADER, id);
        }
        let begun = (body.into_data_stream(), Context::new(&SHA256), self);
        let pieces = stream::unfold(Some(begun), |state| async move {
            let (mut body, mut given, about) = state?;
            match body.next().await {
                Some(Ok(frame)) => {
                    given.update(&frame);
                    Some((Ok(frame), Some((body, given, about))))
                }
                Some(Err(error)) => Some((Err(error), None)),
                None => match about.sign(given).await {
                    Ok(Some(signed)) => {
                        let text = signed.to_base64().ok()?;
                        Some((Ok(Bytes::from(format!("{COMMENT}{text}\n\n"))), None))
                    }
                    Ok(None) => None,
                    // The answer was promised a receipt: without one it is cut.
                    Err(error) => {
                        tracing::error!(code = error.code(), "an answer has no receipt");
                        Some((Err(axum::Error::new(error)), None))
                    }
                },
            }
        });
        Response::from_parts(parts, Body::from_stream(pieces))
    }

    /// `None` for an answer that did not end well.
    async fn sign(self, given: Context) -> Result<Option<SignedReceipt>, Unsigned> {
        if !self.draft.whole() {
            return Ok(None);
        }
        let Self { state, receipts, draft, id, tenant, endpoint, read } = self;
        let answered = {
            let drafted = lock(&draft.0);
            Answered {
                endpoint,
                model: drafted.model.clone(),
                parameters: drafted.parameters.clone(),
                usage: drafted.usage,
                request: digest(lock(&read).clone()),
                response: digest(given),
                evidence: state.attest.evidence_sha256(),
                tenant,
            }
        };
        // It may write a file.
        let signed = tokio::task::spawn_blocking(move || receipts.sign(&id, answered)).await;
        signed.unwrap_or(Err(Unsigned::Randomness)).map(Some)
    }
}

/// The receipt with this id, for the tenant whose request it was.
pub(super) async fn receipt(
    State(state): State<ApiState>,
    id: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, ApiError> {
    let (Some(receipts), Ok(Path(id))) = (state.receipts, id) else { return Err(ApiError::NoReceipt) };
    let tenant = entered(&request).visit.map(|visit| visit.name().to_owned());
    let found = tokio::task::spawn_blocking(move || receipts.find(&id, tenant.as_deref())).await;
    let found = found.ok().flatten().ok_or(ApiError::NoReceipt)?;
    Ok(([(header::CONTENT_TYPE, "application/json")], found).into_response())
}

fn failed(error: &Unsigned) -> Response {
    ApiError::Unsigned(error.clone()).into_response()
}

fn digest(context: Context) -> [u8; 32] {
    context.finish().as_ref().try_into().unwrap_or_default()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
