//! Answers that fit a JSON schema: before each token is chosen, the scores of those that cannot come next are taken away.
//!
//! The library (llguidance) reads a schema into a grammar on a thread of the request, never on the engine's; there is one such thread
//! at a time, and its work is bounded. What a step of an answer costs the engine's thread is bounded too: an answer whose schema asks
//! for more ends with an error (spec/serving.md, SRV-41).

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use llguidance::api::{ParserLimits, StopReason, TopLevelGrammar};
use llguidance::toktrie::{ApproximateTokEnv, InferenceCapabilities, SimpleVob, TokEnv, TokRxInfo, TokTrie};
use llguidance::{Matcher, ParserFactory, panic_utils};
use serde_json::{Value, json};

use crate::error::{EngineError, SchemaFault};
use crate::ffi::{Model, Token};
use crate::sampler::Sampler;
use crate::schema::{ORDERS, Schema};

/// Reading nested schemas recurses. Only the touched part of a stack costs memory.
const STACK_BYTES: usize = 64 << 20;
/// Longer tokens are not used in answers that fit a schema.
const MAX_TOKEN_BYTES: usize = 128;
/// Between two symbols: a space, or a new line with its indentation. Models fall into writing white space without end.
const WHITE_SPACE: &str = r"\x20|\x0A[\x20\x09]{0,40}";

/// Inside a string: tokens that are nothing else are looked at together. More such sets would be faster, and each is another tree.
const TEXT: &str = r#"[^"\\\x00-\x1F\x7F]{1,30}"#;

/// Makes grammars for one vocabulary.
pub(crate) struct Grammars(Mutex<ParserFactory>);

impl Grammars {
    /// `None` where the model has no token that ends an answer, or the library cannot take its vocabulary.
    pub(crate) fn new(model: &Model) -> Option<Self> {
        let tokens = model.vocabulary();
        let ends: Vec<u32> = (0..tokens)
            .filter(|token| model.is_end(*token))
            .filter_map(|token| token.try_into().ok())
            .collect();
        let words: Vec<Vec<u8>> = (0..tokens).map(|token| word(model, token)).collect();
        let factory = panic_utils::catch_unwind(AssertUnwindSafe(|| {
            let mut factory = ParserFactory::new(
                &vocabulary(&words, &ends),
                InferenceCapabilities::default(),
                &[TEXT.to_owned()],
            )?;
            factory.quiet();
            limit(factory.limits_mut());
            Ok(factory)
        }));
        Some(Self(Mutex::new(factory.ok()?)))
    }

    /// Reads a schema.
    pub(crate) fn guide(&self, schema: &Schema) -> Result<Guide, EngineError> {
        let mut schema = schema.value()?;
        schema.insert(ORDERS.into(), json!({"whitespace_pattern": WHITE_SPACE}));
        let reading = || {
            // A factory is only read; a panic leaves nothing half done.
            let factory = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            Guide::new(&factory, schema)
        };
        thread::scope(|scope| {
            let reader = thread::Builder::new().name("schema".into()).stack_size(STACK_BYTES);
            let reader = reader
                .spawn_scoped(scope, reading)
                .map_err(|error| EngineError::Thread { kind: error.kind() })?;
            reader.join().unwrap_or(Err(SchemaFault::Refused.into()))
        })
    }
}

/// What a token adds to an answer; nothing where it must not come. 0xff is no byte of UTF-8, and the library's mark of control tokens.
fn word(model: &Model, token: Token) -> Vec<u8> {
    let mut bytes = model.piece(token);
    bytes.shrink_to_fit();
    let usable = bytes.len() <= MAX_TOKEN_BYTES && !bytes.contains(&0xff) && !model.is_end(token);
    if usable { bytes } else { Vec::new() }
}

/// Panics where there is no end, or where there are too many or too many long tokens.
fn vocabulary(words: &[Vec<u8>], ends: &[u32]) -> TokEnv {
    let size = u32::try_from(words.len()).unwrap_or(u32::MAX);
    let info = TokRxInfo::new(size, ends.first().copied().unwrap_or(u32::MAX));
    let trie = TokTrie::from(&info, words);
    // Which makes a copy.
    let trie = if ends.len() == 1 { trie } else { trie.with_eos_tokens(ends) };
    Arc::new(ApproximateTokEnv::new(trie))
}

fn limit(limits: &mut ParserLimits) {
    // Of reading: about 20 ms of work on patterns.
    limits.initial_lexer_fuel = 1_000_000;
    limits.max_grammar_size = 100_000;
    // Of a step: a few milliseconds each.
    limits.step_lexer_fuel = 50_000;
    limits.step_max_items = 20_000;
    // Of an answer: one to two kilobytes of memory each.
    limits.max_lexer_states = 20_000;
    // Errors do not quote.
    limits.verbose_errors = false;
}

/// Holds one answer to its schema.
pub(crate) struct Guide {
    matcher: Matcher,
    /// What may come next, where it is computed already.
    next: Option<SimpleVob>,
    /// Scores of what may come next; of everything else, none.
    scores: Vec<f32>,
}

impl Guide {
    fn new(factory: &ParserFactory, schema: serde_json::Map<String, Value>) -> Result<Self, EngineError> {
        let grammar = TopLevelGrammar::from_json_schema(Value::Object(schema));
        let mut guide =
            Self { matcher: Matcher::new(factory.create_parser(grammar)), next: None, scores: Vec::new() };
        // A schema that fits no text shows here at the latest.
        guide.next = Some(guide.mask()?);
        Ok(guide)
    }

    /// Chooses a token that may come next. `None` as [`Sampler::choose`].
    pub(crate) fn choose(
        &mut self,
        sampler: &mut Sampler,
        scores: &[f32],
        lead: f32,
    ) -> Result<Option<Token>, EngineError> {
        let mask = match self.next.take() {
            Some(mask) => mask,
            None => self.mask()?,
        };
        self.scores.clear();
        self.scores.extend_from_slice(scores);
        mask.iter_unset_entries(|token| {
            if let Some(score) = self.scores.get_mut(token) {
                *score = f32::NEG_INFINITY;
            }
        });
        let Some(token) = sampler.choose(&self.scores, lead) else {
            self.next = Some(mask);
            return Ok(None);
        };
        let fits = |token: Token| usize::try_from(token).is_ok_and(|at| at < mask.len() && mask.get(at));
        if fits(token) {
            return Ok(Some(token));
        }
        // Nothing that may come has a score that is a number.
        let first = mask.first_bit_set().and_then(|first| Token::try_from(first).ok());
        first.map(Some).ok_or_else(|| self.fault())
    }

    /// Takes a token of the answer, not one that ends it. Whether nothing can come behind it.
    pub(crate) fn take(&mut self, token: Token) -> Result<bool, EngineError> {
        let taken = u32::try_from(token).ok().is_some_and(|token| self.matcher.consume_token(token).is_ok());
        let reason = self.matcher.stop_reason();
        if !taken || !reason.is_ok() {
            return Err(self.fault());
        }
        Ok(reason != StopReason::NotStopped)
    }

    fn mask(&mut self) -> Result<SimpleVob, EngineError> {
        self.matcher.compute_mask().map_err(|_| self.fault())
    }

    /// The library's own text quotes the schema, and is dropped.
    fn fault(&self) -> EngineError {
        match self.matcher.stop_reason() {
            StopReason::LexerTooComplex | StopReason::ParserTooComplex => SchemaFault::Work.into(),
            _ => SchemaFault::Refused.into(),
        }
    }
}
