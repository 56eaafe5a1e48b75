//! `POST /v1/completions`: text that the model continues as it is, in OpenAI's older shape. Control tokens that are written in a
//! prompt stay text.

use std::collections::BTreeMap;
use std::fmt;

use axum::extract::{Request, State};
use axum::response::Response;
use casemate_engine::{GenerateRequest, Input, TokenBudget};
use casemate_protocol::Plaintext;
use serde::Deserialize;
use serde::de::{self, Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::Value;

use super::answer;
use super::chat::{StreamOptions, check_model, include_usage};
use super::choosing::{self, Choosing, Stop};
use super::entry::entered;
use super::error::ApiError;
use super::reply::{Family, Reply};
use super::{ApiState, body};

/// Most prompts of one request.
const MAX_PROMPTS: usize = 16;
/// Tokens of an answer where the request does not say, as OpenAI has it.
const USUAL_TOKENS: u64 = 16;
/// Most alternatives beside each token, as OpenAI has it on this route.
const MAX_LOGPROBS: u64 = 5;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CompletionRequest {
    model: Option<String>,
    prompt: Option<Prompt>,
    max_tokens: Option<u64>,
    temperature: Option<f64>,
    top_p: Option<f64>,
    top_k: Option<u32>,
    min_p: Option<f64>,
    seed: Option<i64>,
    frequency_penalty: Option<f64>,
    presence_penalty: Option<f64>,
    logit_bias: Option<BTreeMap<i32, f64>>,
    logprobs: Option<u64>,
    n: Option<u64>,
    stop: Option<Stop>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,

    // Without effect on the answer.
    #[serde(default, rename = "user")]
    _user: IgnoredAny,

    // Accepted only where they change nothing.
    best_of: Option<u64>,
    echo: Option<bool>,
    suffix: Option<Value>,
}

/// One text or several, or tokens instead, which could be control tokens.
enum Prompt {
    Texts(Vec<Plaintext<String>>),
    Tokens,
}

/// By hand: a derived untagged enum would keep a copy of the text while it decides.
impl<'de> Deserialize<'de> for Prompt {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PromptVisitor;
        impl<'de> Visitor<'de> for PromptVisitor {
            type Value = Prompt;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or a list of strings")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Prompt, E> {
                Ok(Prompt::Texts(vec![Plaintext::new(text.to_owned())]))
            }

            fn visit_string<E: de::Error>(self, text: String) -> Result<Prompt, E> {
                Ok(Prompt::Texts(vec![Plaintext::new(text)]))
            }

            fn visit_u64<E: de::Error>(self, _: u64) -> Result<Prompt, E> {
                Ok(Prompt::Tokens)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Prompt, A::Error> {
                let (mut all, mut tokens) = (Vec::new(), false);
                while let Some(element) = elements.next_element()? {
                    match element {
                        Prompt::Texts(texts) => all.extend(texts),
                        Prompt::Tokens => tokens = true,
                    }
                }
                Ok(if tokens { Prompt::Tokens } else { Prompt::Texts(all) })
            }
        }
        deserializer.deserialize_any(PromptVisitor)
    }
}

pub(super) async fn completions(
    State(state): State<ApiState>,
    request: Request,
) -> Result<Response, ApiError> {
    let entered = entered(&request);
    let request: CompletionRequest = body::json(&state, request).await?;
    check_model(request.model.as_deref(), &state.model_id)?;
    let stream = request.stream.unwrap_or(false);
    let include_usage = include_usage(request.stream_options.as_ref(), stream)?;
    let n = choosing::choices(request.n)?;
    let unused = [
        ("best_of", request.best_of.is_none_or(|best_of| best_of == u64::from(n))),
        ("echo", request.echo.is_none_or(|echo| !echo)),
        ("suffix", request.suffix.as_ref().is_none_or(|suffix| suffix.as_str() == Some(""))),
    ];
    if let Some((param, _)) = unused.into_iter().find(|(_, unused)| !unused) {
        return Err(ApiError::Unsupported { param });
    }
    let prompts = match request.prompt {
        None => return Err(ApiError::Missing { param: "prompt" }),
        Some(Prompt::Texts(prompts)) if (1..=MAX_PROMPTS).contains(&prompts.len()) => prompts,
        Some(Prompt::Texts(_)) => {
            return Err(ApiError::OutOfRange { param: "prompt", expected: "1 to 16 texts" });
        }
        Some(Prompt::Tokens) => return Err(ApiError::Unsupported { param: "prompt" }),
    };
    let tokens = request.max_tokens.unwrap_or(USUAL_TOKENS);
    let budget = TokenBudget::Exact(answer::new_tokens("max_tokens", tokens, &state.limits)?);
    let logprobs = match request.logprobs {
        None => None,
        Some(asked @ 0..=MAX_LOGPROBS) => Some(choosing::alternatives("logprobs", asked)?),
        Some(_) => return Err(ApiError::OutOfRange { param: "logprobs", expected: "a number from 0 to 5" }),
    };
    let sampling = Choosing {
        temperature: request.temperature,
        top_p: request.top_p,
        top_k: request.top_k,
        min_p: request.min_p,
        seed: request.seed,
        frequency_penalty: request.frequency_penalty,
        presence_penalty: request.presence_penalty,
        logit_bias: request.logit_bias,
    }
    .sampling()?;
    let stop = choosing::stop(request.stop)?;
    let mut running = Vec::new();
    for prompt in prompts {
        let input = Input::Raw(prompt.into_inner());
        let request = GenerateRequest {
            sampling: sampling.clone(),
            stop: stop.clone(),
            logprobs,
            ..GenerateRequest::new(input, budget)
        };
        running.push(answer::start_several(&state, request, n, &entered));
    }
    let running = futures_util::future::try_join_all(running).await?.into_iter().flatten().collect();
    let reply = Reply::new(Family::Text, state.model_id.clone(), include_usage, n);
    if stream { Ok(reply.stream(running)) } else { reply.whole(running).await }
}
