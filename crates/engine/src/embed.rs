//! What goes into an engine beside requests for answers, and what comes out: vectors of texts, and texts as tokens.

use std::fmt;

use crate::request::{Cancel, Tenant};

/// Most inputs of one request for vectors.
pub const MAX_EMBED_INPUTS: usize = 2048;
/// Most tokens of all inputs of one request for vectors.
pub const MAX_EMBED_TOKENS: usize = 300_000;

/// A request for vectors. Its `Debug` shows no content.
#[derive(Debug, Clone)]
pub struct EmbedRequest {
    /// At least one, at most [`MAX_EMBED_INPUTS`], none of them empty.
    pub inputs: Vec<EmbedInput>,
    /// Whose it is: tenants take turns.
    pub tenant: Option<Tenant>,
    /// Ends the request from outside.
    pub cancel: Cancel,
}

/// What a vector is computed of.
#[derive(Clone)]
pub enum EmbedInput {
    /// Text, with the tokens around it that the model wants. Control tokens written in it stay plain text.
    Text(String),
    /// Tokens of the model, as they are.
    Tokens(Vec<i32>),
}

/// Content-free: shows sizes, never the text.
impl fmt::Debug for EmbedInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EmbedInput::Text(text) => write!(f, "Text(<{} bytes>)", text.len()),
            EmbedInput::Tokens(tokens) => write!(f, "Tokens(<{}>)", tokens.len()),
        }
    }
}

/// The vectors of a request's inputs, in their order, each of length 1.
#[derive(Clone, PartialEq)]
pub struct Embedded {
    /// One of each input.
    pub vectors: Vec<Vec<f32>>,
    /// Tokens of all inputs.
    pub tokens: u32,
}

/// Content-free: a vector says what its text was about.
impl fmt::Debug for Embedded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Embedded(<{}>, {} tokens)", self.vectors.len(), self.tokens)
    }
}

/// Divides a vector by its length. One without a length, or with a number that is none, stays as it is: `false`.
pub(crate) fn normalise(vector: &mut [f32]) -> bool {
    let length = vector.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
    if !(length > 0.0 && length.is_finite()) {
        return false;
    }
    for value in vector {
        *value = (f64::from(*value) / length) as f32;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_have_length_one_or_none() {
        let mut vector = [3.0, 0.0, -4.0];
        assert!(normalise(&mut vector));
        assert_eq!(vector, [0.6, 0.0, -0.8]);
        for mut none in [[0.0, 0.0], [f32::NAN, 1.0], [f32::INFINITY, 1.0]] {
            assert!(!normalise(&mut none));
        }
    }

    #[test]
    fn debug_shows_sizes() {
        let inputs = vec![EmbedInput::Text("secret".into()), EmbedInput::Tokens(vec![7, 8])];
        let shown = format!("{:?}", EmbedRequest { inputs, tenant: None, cancel: Cancel::new() });
        assert!(shown.contains("Text(<6 bytes>), Tokens(<2>)") && !shown.contains("secret"), "{shown}");
        let shown = format!("{:?}", Embedded { vectors: vec![vec![0.25]], tokens: 3 });
        assert_eq!(shown, "Embedded(<1>, 3 tokens)");
    }
}
