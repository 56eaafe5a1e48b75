//! The fields of a request by which its tokens are chosen, as `POST /v1/chat/completions` and `POST /v1/completions` share them.

use std::collections::BTreeMap;

use casemate_engine::{MAX_ALTERNATIVES, MAX_BIASES, Sampling, StopStrings};
use serde::Deserialize;

use super::error::ApiError;

/// Most stop strings, as OpenAI has it.
const MAX_STOP: usize = 4;
/// Most answers to one request.
const MAX_CHOICES: u64 = 16;

/// As they were sent. OpenAI has neither `top_k` nor `min_p`, which other servers and their users know.
pub(super) struct Choosing {
    pub(super) temperature: Option<f64>,
    pub(super) top_p: Option<f64>,
    pub(super) top_k: Option<u32>,
    pub(super) min_p: Option<f64>,
    pub(super) seed: Option<i64>,
    pub(super) frequency_penalty: Option<f64>,
    pub(super) presence_penalty: Option<f64>,
    pub(super) logit_bias: Option<BTreeMap<i32, f64>>,
}

impl Choosing {
    /// Greedy without a temperature, so that the same request gives the same answer.
    pub(super) fn sampling(self) -> Result<Sampling, ApiError> {
        let within = |param, value: Option<f64>, usual: f64, low: f64, high: f64, expected| match value {
            Some(value) if !(low..=high).contains(&value) => Err(ApiError::OutOfRange { param, expected }),
            value => Ok(value.unwrap_or(usual)),
        };
        let penalty = |param, value| within(param, value, 0.0, -2.0, 2.0, "a number from -2 to 2");
        let temperature = within("temperature", self.temperature, 0.0, 0.0, 2.0, "a number from 0 to 2")?;
        let top_p = self.top_p.unwrap_or(1.0);
        if !(top_p > 0.0 && top_p <= 1.0) {
            return Err(ApiError::OutOfRange { param: "top_p", expected: "a number above 0, at most 1" });
        }
        let min_p = within("min_p", self.min_p, 0.0, 0.0, 1.0, "a number from 0 to 1")?;
        let bias = self.logit_bias.unwrap_or_default();
        if bias.len() > MAX_BIASES || bias.values().any(|bias| !(-100.0..=100.0).contains(bias)) {
            let expected = "at most 1024 tokens with a number from -100 to 100 each";
            return Err(ApiError::OutOfRange { param: "logit_bias", expected });
        }
        let greedy = Sampling {
            bias: bias.into_iter().map(|(token, bias)| (token, bias as f32)).collect(),
            frequency_penalty: penalty("frequency_penalty", self.frequency_penalty)? as f32,
            presence_penalty: penalty("presence_penalty", self.presence_penalty)? as f32,
            ..Sampling::greedy()
        };
        let temperature = temperature as f32;
        // Also where the number is so small that it rounds to nothing.
        if temperature <= 0.0 {
            return Ok(greedy);
        }
        Ok(Sampling {
            temperature,
            top_k: self.top_k.unwrap_or(0),
            top_p: (top_p as f32).max(f32::MIN_POSITIVE),
            min_p: min_p as f32,
            seed: self.seed.map_or_else(|| u64::from_le_bytes(random()), i64::cast_unsigned),
            ..greedy
        })
    }
}

/// One string or several.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Stop {
    One(String),
    Many(Vec<String>),
}

pub(super) fn stop(stop: Option<Stop>) -> Result<StopStrings, ApiError> {
    let strings = match stop {
        None => Vec::new(),
        Some(Stop::One(stop)) => vec![stop],
        Some(Stop::Many(stops)) if stops.len() > MAX_STOP => {
            return Err(ApiError::OutOfRange { param: "stop", expected: "at most four strings" });
        }
        Some(Stop::Many(stops)) => stops,
    };
    Ok(StopStrings::new(strings)?)
}

/// How many answers are asked for.
pub(super) fn choices(n: Option<u64>) -> Result<u32, ApiError> {
    match n.unwrap_or(1) {
        n @ 1..=MAX_CHOICES => Ok(u32::try_from(n).unwrap_or(1)),
        _ => Err(ApiError::OutOfRange { param: "n", expected: "a number from 1 to 16" }),
    }
}

/// A name of a schema or a function: it is given back, and is no text of the model.
pub(super) fn check_name(param: &'static str, name: &str) -> Result<(), ApiError> {
    let fine = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    match (1..=64).contains(&name.len()) && name.chars().all(fine) {
        true => Ok(()),
        false => {
            let expected = "1 to 64 letters, digits, underscores and hyphens";
            Err(ApiError::OutOfRange { param, expected })
        }
    }
}

/// A number of alternatives beside each token.
pub(super) fn alternatives(param: &'static str, asked: u64) -> Result<u8, ApiError> {
    let given = u8::try_from(asked).ok().filter(|asked| *asked <= MAX_ALTERNATIVES);
    given.ok_or(ApiError::OutOfRange { param, expected: "a number from 0 to 20" })
}

/// Names and seeds, no secrets: where the system has no randomness to give, zeros do.
pub(super) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    bytes
}
