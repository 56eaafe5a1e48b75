//! `POST /v1/embeddings`: vectors of texts, in OpenAI's shape (spec/serving.md, section 8).

use std::fmt;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use casemate_engine::{Cancel, EmbedInput, EmbedRequest, Embedded, EngineError, MAX_EMBED_INPUTS, Usage};
use casemate_protocol::Plaintext;
use serde::de::{self, Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::chat::check_model;
use super::entry::{Entered, entered};
use super::error::ApiError;
use super::{ApiState, body};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EmbeddingsRequest {
    model: Option<String>,
    input: Option<Inputs>,
    encoding_format: Option<String>,
    dimensions: Option<u64>,

    // Without effect on the answer.
    #[serde(default, rename = "user")]
    _user: IgnoredAny,
}

/// What a vector is computed of.
enum Input {
    Text(Plaintext<String>),
    Tokens(Plaintext<Vec<i32>>),
}

/// A text, tokens, or a list of either.
struct Inputs(Vec<Input>);

/// One element of a list.
enum Element {
    Text(Plaintext<String>),
    Token(i32),
    Tokens(Plaintext<Vec<i32>>),
}

/// By hand: a derived untagged enum would keep a copy of the text while it decides.
impl<'de> Deserialize<'de> for Inputs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InputsVisitor;
        impl<'de> Visitor<'de> for InputsVisitor {
            type Value = Inputs;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string, a list of strings, of tokens or of lists of tokens")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Inputs, E> {
                Ok(Inputs(vec![Input::Text(Plaintext::new(text.to_owned()))]))
            }

            fn visit_string<E: de::Error>(self, text: String) -> Result<Inputs, E> {
                Ok(Inputs(vec![Input::Text(Plaintext::new(text))]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Inputs, A::Error> {
                let (mut inputs, mut tokens) = (Vec::new(), Vec::new());
                while let Some(element) = elements.next_element()? {
                    match element {
                        Element::Token(token) => tokens.push(token),
                        Element::Text(text) => inputs.push(Input::Text(text)),
                        Element::Tokens(list) => inputs.push(Input::Tokens(list)),
                    }
                    if !tokens.is_empty() && !inputs.is_empty() {
                        return Err(de::Error::custom("tokens beside texts or lists"));
                    }
                }
                if !tokens.is_empty() {
                    inputs.push(Input::Tokens(Plaintext::new(tokens)));
                }
                Ok(Inputs(inputs))
            }
        }
        deserializer.deserialize_any(InputsVisitor)
    }
}

impl<'de> Deserialize<'de> for Element {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ElementVisitor;
        impl<'de> Visitor<'de> for ElementVisitor {
            type Value = Element;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string, a token or a list of tokens")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Element, E> {
                Ok(Element::Text(Plaintext::new(text.to_owned())))
            }

            fn visit_string<E: de::Error>(self, text: String) -> Result<Element, E> {
                Ok(Element::Text(Plaintext::new(text)))
            }

            fn visit_u64<E: de::Error>(self, token: u64) -> Result<Element, E> {
                Ok(Element::Token(number(token)))
            }

            fn visit_i64<E: de::Error>(self, _: i64) -> Result<Element, E> {
                Ok(Element::Token(NO_TOKEN))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Element, A::Error> {
                let mut tokens = Vec::new();
                while let Some(token) = elements.next_element::<i64>()? {
                    tokens.push(u64::try_from(token).map_or(NO_TOKEN, number));
                }
                Ok(Element::Tokens(Plaintext::new(tokens)))
            }
        }
        deserializer.deserialize_any(ElementVisitor)
    }
}

pub(super) async fn embeddings(
    State(state): State<ApiState>,
    request: Request,
) -> Result<Response, ApiError> {
    let entered = entered(&request);
    let request: EmbeddingsRequest = body::json(&state, request).await?;
    check_model(request.model.as_deref(), &state.model_id)?;
    let base64 = match request.encoding_format.as_deref() {
        None | Some("float") => false,
        Some("base64") => true,
        Some(_) => {
            return Err(ApiError::OutOfRange { param: "encoding_format", expected: "float or base64" });
        }
    };
    let own = state.engine.info().dimensions.ok_or(EngineError::NoEmbeddings)?;
    // A shorter vector is another one: only models that were trained for it may be cut, and no file says that of its model.
    if request.dimensions.is_some_and(|asked| asked != u64::from(own.get())) {
        return Err(ApiError::Unsupported { param: "dimensions" });
    }
    let Inputs(inputs) = request.input.ok_or(ApiError::Missing { param: "input" })?;
    if !(1..=MAX_EMBED_INPUTS).contains(&inputs.len()) {
        return Err(ApiError::OutOfRange { param: "input", expected: "1 to 2048 texts or lists of tokens" });
    }
    let (vectors, tokens) = embed(&state, inputs, &entered).await?;
    let data = vectors.iter().enumerate().map(|(index, vector)| Vector {
        object: "embedding",
        index,
        embedding: match base64 {
            true => Numbers::Base64(encoded(vector.expose())),
            false => Numbers::Float(vector.expose()),
        },
    });
    let answer = Answer {
        object: "list",
        data: data.collect(),
        model: &state.model_id,
        usage: json!({"prompt_tokens": tokens, "total_tokens": tokens}),
    };
    Ok(axum::Json(answer).into_response())
}

#[derive(Serialize)]
struct Answer<'a> {
    object: &'static str,
    data: Vec<Vector<'a>>,
    model: &'a str,
    usage: Value,
}

#[derive(Serialize)]
struct Vector<'a> {
    object: &'static str,
    index: usize,
    embedding: Numbers<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Numbers<'a> {
    Float(&'a [f32]),
    Base64(String),
}

/// Has the engine compute the vectors, on a thread of its own. A handler that goes away ends the work.
async fn embed(
    state: &ApiState,
    inputs: Vec<Input>,
    entered: &Entered,
) -> Result<(Vec<Plaintext<Vec<f32>>>, u32), ApiError> {
    let inputs = inputs.into_iter().map(|input| match input {
        Input::Text(text) => EmbedInput::Text(text.into_inner()),
        Input::Tokens(tokens) => EmbedInput::Tokens(tokens.into_inner()),
    });
    let Entered { visit, draft } = entered.clone();
    if let Some(draft) = &draft {
        draft.begin(&state.model_id, None);
    }
    let cancel = Cancel::new();
    let request = EmbedRequest {
        inputs: inputs.collect(),
        tenant: visit.as_ref().map(|visit| visit.tenant()),
        cancel: cancel.clone(),
    };
    let _guard = CancelOnDrop(cancel);
    let (engine, metrics) = (Arc::clone(&state.engine), Arc::clone(&state.metrics));
    let computed = tokio::task::spawn_blocking(move || {
        let embedded = engine.embed(request)?;
        let usage = Usage { prompt_tokens: embedded.tokens, ..Usage::default() };
        metrics.count_usage(usage);
        if let Some(visit) = &visit {
            visit.count(usage);
        }
        if let Some(draft) = &draft {
            draft.end(usage);
        }
        Ok::<_, EngineError>(embedded)
    });
    // An engine that panicked.
    let Embedded { vectors, tokens } = computed.await.unwrap_or(Err(EngineError::Stopped))?;
    Ok((vectors.into_iter().map(Plaintext::new).collect(), tokens))
}

/// Ends the work of a handler that is dropped.
struct CancelOnDrop(Cancel);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// Little-endian numbers, as OpenAI has it.
fn encoded(vector: &[f32]) -> String {
    let bytes: Vec<u8> = vector.iter().flat_map(|number| number.to_le_bytes()).collect();
    BASE64_STANDARD.encode(bytes)
}

/// A number that no vocabulary has stays one.
pub(super) fn number(token: u64) -> i32 {
    i32::try_from(token).unwrap_or(NO_TOKEN)
}

const NO_TOKEN: i32 = -1;
