//! Texts as tokens and tokens as text, for clients that count or cut.

use std::sync::mpsc::Sender;

use crate::error::EngineError;
use crate::ffi::{Model, Token};
use crate::text::Utf8Stream;

/// A request that needs the vocabulary only.
pub(crate) enum Words {
    /// Control tokens that are written in the text stay text. `special`: with the tokens around it that the model wants.
    Tokenise { text: String, special: bool, reply: Sender<Result<Vec<Token>, EngineError>> },
    /// Control tokens have no text.
    Detokenise { tokens: Vec<Token>, reply: Sender<Result<String, EngineError>> },
}

impl Words {
    /// Answers it. A caller that is gone gets nothing.
    pub(crate) fn answer(self, model: &Model) {
        match self {
            Words::Tokenise { text, special, reply } => {
                let _ = reply.send(tokens(model, &text, special));
            }
            Words::Detokenise { tokens, reply } => {
                let _ = reply.send(text(model, &tokens));
            }
        }
    }
}

/// The tokens of a text, none of which it spells as a control token.
pub(crate) fn tokens(model: &Model, text: &str, special: bool) -> Result<Vec<Token>, EngineError> {
    let mut tokens = Vec::new();
    let limit = i32::MAX.unsigned_abs() as usize;
    let too_long = EngineError::PromptTooManyBytes { bytes: text.len(), limit };
    model.tokenise(text, false, special, &mut tokens).ok_or(too_long)?;
    Ok(tokens)
}

fn text(model: &Model, tokens: &[Token]) -> Result<String, EngineError> {
    known(model, tokens)?;
    let mut utf8 = Utf8Stream::default();
    let mut text: String = tokens.iter().map(|token| utf8.push(&model.piece(*token))).collect();
    text.push_str(&utf8.finish());
    Ok(text)
}

/// That every token is one of this vocabulary.
pub(crate) fn known(model: &Model, tokens: &[Token]) -> Result<(), EngineError> {
    let vocabulary = model.vocabulary();
    match tokens.iter().all(|token| (0..vocabulary).contains(token)) {
        true => Ok(()),
        false => Err(EngineError::TokenUnknown { vocabulary: vocabulary.unsigned_abs() }),
    }
}
