//! `POST /infer`: one prompt, one answer, deterministic.

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use casemate_engine::{ChatMessage, GenerateRequest, Input, Role, TokenBudget};
use casemate_protocol::Plaintext;
use serde::Deserialize;

use super::entry::entered;
use super::error::ApiError;
use super::{ApiState, answer, body};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InferRequest {
    prompt: Option<Plaintext<String>>,
    max_new_tokens: Option<u64>,
}

pub(super) async fn infer(State(state): State<ApiState>, request: Request) -> Result<Response, ApiError> {
    let entered = entered(&request);
    let InferRequest { prompt, max_new_tokens } = body::json(&state, request).await?;
    let prompt = prompt.ok_or(ApiError::Missing { param: "prompt" })?;
    let limit = state.limits.prompt_chars;
    let chars = prompt.expose().chars().count();
    if chars == 0 {
        return Err(ApiError::PromptEmpty);
    }
    if chars > limit {
        return Err(ApiError::PromptTooLong { chars, limit });
    }
    let budget = match max_new_tokens {
        Some(asked) => TokenBudget::Exact(answer::new_tokens("max_new_tokens", asked, &state.limits)?),
        // Nobody asked for so many: what the prompt leaves is enough.
        None => TokenBudget::UpTo(state.limits.default_new_tokens),
    };
    let messages = vec![ChatMessage::new(Role::User, prompt.into_inner())];
    let running =
        answer::start(&state, GenerateRequest::new(Input::Chat(messages), budget), &entered).await?;
    let answer = running.whole().await?;
    Ok(Json(serde_json::json!({"response": answer.text.expose()})).into_response())
}
