//! What a program must answer before anybody else may ask (spec/upstream.md, section 5): engines have been seen to answer garbage
//! on machines that compute confidentially, and no status says so.

use std::num::NonZeroU32;

use casemate_engine::{
    ChatMessage, Completion, EngineError, FinishReason, GenerateRequest, Input, Role, Tenant, TokenBudget,
};
use casemate_protocol::statement::Separation;

use super::error::UpstreamError;

/// A question and how its answer must begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// What is asked.
    pub question: String,
    /// How the greedy answer must begin, white space before it aside; `None` for any that is language.
    pub expected: Option<String>,
}

impl Default for Question {
    fn default() -> Self {
        Self { question: "What is the capital of France? Answer in one sentence.".into(), expected: None }
    }
}

/// Asks, through `ask` (UP-50, UP-51). An error of it that only means "not yet" comes back as it is.
pub(super) fn run(
    question: &Question,
    separation: Separation,
    ask: &dyn Fn(GenerateRequest) -> Result<(String, Completion), EngineError>,
) -> Result<(), UpstreamError> {
    let [one, other] = TENANTS.map(Tenant);
    let asked = |text: &str, tokens, tenant| {
        let messages = vec![ChatMessage::new(Role::User, text)];
        let request = GenerateRequest::new(Input::Chat(messages), TokenBudget::Exact(tokens));
        ask(GenerateRequest { tenant: Some(tenant), ..request }).map_err(UpstreamError::Probe)
    };
    let (first, completion) = asked(&question.question, ANSWER, one)?;
    if completion.finish == FinishReason::Cancelled {
        return Err(UpstreamError::Probe(EngineError::Cancelled));
    }
    match &question.expected {
        Some(expected) if !first.trim_start().starts_with(expected.trim_start()) => {
            return Err(UpstreamError::Unlike);
        }
        Some(_) => {}
        None if is_language(&first) => {}
        None => return Err(UpstreamError::Garbage),
    }
    let (second, _) = asked(&question.question, ANSWER, one)?;
    if first != second {
        return Err(UpstreamError::Unstable);
    }
    if separation == Separation::None {
        return Ok(());
    }
    // One tenant's text, then another's that is the same: where the program says how much it had kept, it is nothing (UP-31).
    asked(LONG, NonZeroU32::MIN, one)?;
    let (_, completion) = asked(LONG, NonZeroU32::MIN, other)?;
    if completion.usage.cached_tokens > 0 { Err(UpstreamError::CacheShared) } else { Ok(()) }
}

/// Whether a text may be an answer of somebody who speaks: letters of several kinds, and nothing that is no character.
fn is_language(text: &str) -> bool {
    let mut letters: Vec<char> = text.chars().filter(|c| c.is_alphabetic()).collect();
    let most = letters.len();
    letters.sort_unstable();
    letters.dedup();
    let unreadable =
        text.chars().any(|c| c == char::REPLACEMENT_CHARACTER || (c.is_control() && !c.is_whitespace()));
    // The same few letters again and again are what broken engines write.
    !unreadable && letters.len() >= 4 && most * 2 >= text.chars().filter(|c| !c.is_whitespace()).count()
}

/// Of nobody: tenants' names are derived from a secret.
const TENANTS: [[u8; 32]; 2] = [[0x5a; 32], [0xa5; 32]];
const ANSWER: NonZeroU32 = NonZeroU32::new(24).unwrap();
/// Longer than the blocks in which engines keep texts.
const LONG: &str = "The quick brown fox jumps over the lazy dog, and the lazy dog does not mind at all. In the evening, when the sun has gone \
    down behind the hills and the birds have stopped to sing, the fox comes back to the dog, and both of them look at the stars for a long \
    time without a word. Which animal in this story is lazy, and which one is quick?";

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use casemate_engine::{UpstreamFault, Usage};

    use super::*;

    fn code(question: &Question, separation: Separation, answers: &[(&str, u32)]) -> &'static str {
        let left = RefCell::new(answers.to_vec());
        let ask = |request: GenerateRequest| {
            assert!(request.tenant.is_some() && request.sampling.temperature == 0.0);
            let mut left = left.borrow_mut();
            if left.is_empty() {
                return Err(EngineError::Upstream(UpstreamFault::Unreachable));
            }
            let (text, cached_tokens) = left.remove(0);
            let usage = Usage { prompt_tokens: 40, cached_tokens, completion_tokens: 8 };
            Ok((text.to_owned(), Completion { finish: FinishReason::Stop, usage }))
        };
        run(question, separation, &ask).err().map_or("none", |error| error.code())
    }

    const PARIS: &str = "The capital of France is Paris.";

    /// UP-50 to UP-52 and UP-31: one mistake each.
    #[test]
    fn a_program_is_let_in_that_speaks_and_keeps_tenants_apart() {
        let any = Question::default();
        let good = [(PARIS, 0), (PARIS, 9), ("x", 0), ("x", 0)];
        assert_eq!(code(&any, Separation::Salt, &good), "none");
        assert_eq!(code(&any, Separation::None, &good[..2]), "none");
        assert_eq!(code(&any, Separation::Salt, &good[..1]), "upstream.probe.failed");
        assert_eq!(
            code(&any, Separation::Salt, &[(PARIS, 0), ("The capital is Lyon.", 0)]),
            "upstream.probe.unstable"
        );
        let shared = [(PARIS, 0), (PARIS, 9), ("x", 0), ("x", 16)];
        assert_eq!(code(&any, Separation::NoReuse, &shared), "upstream.cache-shared");
        let exactly = |expected: &str| Question { question: "?".into(), expected: Some(expected.into()) };
        assert_eq!(code(&exactly("The capital"), Separation::None, &good[..2]), "none");
        assert_eq!(code(&exactly("Paris"), Separation::None, &good[..2]), "upstream.probe.unlike");
        assert_eq!(code(&exactly("4"), Separation::None, &[(" 4", 0), (" 4", 0)]), "none");
    }

    #[test]
    fn garbage_is_no_language() {
        for text in [PARIS, "Paris", "巴黎是法国的首都。", "Столица Франции — Париж.", "1. Paris\n2. France"]
        {
            assert!(is_language(text), "{text}");
            assert_eq!(code(&Question::default(), Separation::None, &[(text, 0), (text, 0)]), "none");
        }
        for text in [
            "",
            " \n",
            "!!!!!!!!!!!!!!!!",
            "aaaaaaaaaaaaaaaa",
            "\u{fffd}\u{fffd}",
            "the the\u{0}",
            "00000000 a b c d",
            "{\"\":[[[[[[[[[[",
        ] {
            assert!(!is_language(text), "{text}");
            assert_eq!(code(&Question::default(), Separation::None, &[(text, 0)]), "upstream.probe.garbage");
        }
    }
}
