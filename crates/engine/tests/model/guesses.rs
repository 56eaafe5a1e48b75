//! Guesses change no answer (spec/serving.md, SRV-70 to SRV-73), and what they leave behind is overwritten (SRV-25).

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};

use casemate_engine::{
    Cancel, Completion, Engine, EngineOptions, Event, FinishReason, GenerateRequest, Input, LlamaEngine,
    Sampling, Schema, StopStrings, Tenant, TokenBudget,
};
use serde_json::json;

use crate::{Case, chat, model, n};

pub(crate) const CASES: &[(&str, Case)] = &[
    ("guesses_change_no_answer", guesses_change_no_answer),
    ("guesses_hold_to_schemas_stop_strings_and_budgets", guesses_hold_to_schemas_stop_strings_and_budgets),
    ("nothing_is_guessed_by_lot_or_beside_others", nothing_is_guessed_by_lot_or_beside_others),
    ("a_text_with_guesses_can_be_gone_on_with", a_text_with_guesses_can_be_gone_on_with),
    ("cells_are_overwritten_as_soon_as_they_are_nobodys", cells_are_overwritten_as_soon_as_they_are_nobodys),
];

const PASSAGE: &str = "The lamp of the lighthouse at Skarn burns colza oil. Its keeper, Maren Holt, trims the wick every four \
    hours and writes the weather into a book. On the ninth of March the supply boat did not come, and she rowed to the harbour.\n";

fn engine(guess_tokens: u32) -> LlamaEngine {
    let options = EngineOptions { context_tokens: n(1024), guess_tokens, ..EngineOptions::default() };
    LlamaEngine::load(model().unwrap(), options).unwrap()
}

fn raw(text: String, tokens: u32) -> GenerateRequest {
    GenerateRequest::new(Input::Raw(text), TokenBudget::Exact(n(tokens)))
}

/// Goes on with what stands there already.
fn repeating(tokens: u32) -> GenerateRequest {
    raw(format!("{}The lamp of", PASSAGE.repeat(2)), tokens)
}

/// An answer with all that can be seen of it but the exact probabilities.
fn answer(engine: &LlamaEngine, request: &GenerateRequest) -> (String, Vec<Vec<u8>>, Completion) {
    let (mut text, mut tokens) = (String::new(), Vec::new());
    // A request's switch is shared by its clones.
    let request = GenerateRequest { cancel: Cancel::new(), ..request.clone() };
    let completion = engine.generate(request, &mut |event| {
        match event {
            Event::Text(piece) => text.push_str(&piece),
            Event::Token(token) => tokens.push(token.chosen.bytes),
            Event::Started { .. } => {}
        }
        ControlFlow::Continue(())
    });
    (text, tokens, completion.unwrap())
}

/// SRV-71: texts that repeat and texts that do not, with guesses of all lengths.
fn guesses_change_no_answer() {
    let questions = [
        "Repeat this sentence word for word, twice: the quick brown fox jumps over the lazy dog and runs away.",
        "List the numbers from 1 to 30, one on each line.",
        "Correct the spelling: The lihgthouse keper trims the wick evry four hours and writes the wether into a book.",
        "Explain in detail how a lighthouse works, and why sailors need it.",
        "Write a poem with a refrain about the sea.",
        "What is the capital of Norway? Tell me three things about it.",
    ];
    let mut requests: Vec<GenerateRequest> = questions.map(|question| chat(question, 64)).into();
    requests.push(repeating(64));
    requests.push(raw("1, 2, 3, 4, 1, 2, 3, 4, 1, 2,".into(), 60));
    requests.push(raw("def area_of_square(a):\n    return a * a\n\ndef area_of_".into(), 48));
    let penalties = Sampling { frequency_penalty: 0.3, presence_penalty: 0.2, ..Sampling::greedy() };
    requests.push(GenerateRequest { sampling: penalties, ..repeating(40) });
    requests.push(GenerateRequest { logprobs: Some(2), ..repeating(40) });
    let plain = engine(0);
    let expected: Vec<_> = requests.iter().map(|request| answer(&plain, request)).collect();
    assert_eq!(plain.guesses(), (0, 0));
    for length in [1, 15, 40] {
        let engine = engine(length);
        for (request, expected) in requests.iter().zip(&expected) {
            assert_eq!(answer(&engine, request), *expected, "guesses of {length}");
        }
        let (guessed, right) = engine.guesses();
        assert!(right > 60 && right <= guessed, "{right} of {guessed} guesses of {length}");
    }
}

fn guesses_hold_to_schemas_stop_strings_and_budgets() {
    let schema = json!({
        "type": "array",
        "items": {
            "type": "object",
            "properties": {"name": {"enum": ["red", "green"]}, "value": {"type": "integer", "minimum": 1, "maximum": 3}},
            "required": ["name", "value"],
            "additionalProperties": false,
        },
        "minItems": 8,
        "maxItems": 8,
    });
    let schema = Some(Schema::new(schema.to_string()).unwrap());
    let stop = |text: &str| StopStrings::new(vec![text.into()]).unwrap();
    let requests = [
        (GenerateRequest { schema, ..chat("Name colours.", 300) }, FinishReason::Stop),
        // In the middle of what is guessed.
        (GenerateRequest { stop: stop("the weather"), ..repeating(100) }, FinishReason::StopString(0)),
        (
            GenerateRequest { stop: stop("supply boat"), logprobs: Some(0), ..repeating(100) },
            FinishReason::StopString(0),
        ),
        (repeating(1), FinishReason::Length),
        (repeating(2), FinishReason::Length),
        (repeating(33), FinishReason::Length),
    ];
    let (plain, guessing) = (engine(0), engine(15));
    for (request, finish) in requests {
        let expected = answer(&plain, &request);
        assert_eq!(expected.2.finish, finish, "{}", expected.0);
        let before = guessing.guesses().1;
        assert_eq!(answer(&guessing, &request), expected);
        let right = guessing.guesses().1 - before;
        assert!(right > 5 || expected.2.usage.completion_tokens <= 2, "{right}: {}", expected.0);
        assert!(right < u64::from(expected.2.usage.completion_tokens), "one token is never guessed");
    }
    assert_eq!(guessing.stale_bytes(), Some(0));
}

fn nothing_is_guessed_by_lot_or_beside_others() {
    let engine = engine(15);
    let sampling = Sampling::random(0.01, 1.0, 1);
    answer(&engine, &GenerateRequest { sampling, ..repeating(40) });
    assert_eq!(engine.guesses(), (0, 0), "by lot");
    let other =
        GenerateRequest { sampling: Sampling::random(0.7, 1.0, 2), ..chat("Write a very long story.", 600) };
    let (cancel, started) = (other.cancel.clone(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| {
            engine.generate(other, &mut |event| {
                started.fetch_or(matches!(event, Event::Text(_)), Ordering::SeqCst);
                ControlFlow::Continue(())
            })
        });
        while !started.load(Ordering::SeqCst) {
            assert!(!writing.is_finished());
            std::thread::yield_now();
        }
        answer(&engine, &repeating(40));
        assert!(!writing.is_finished(), "too short to say anything");
        assert_eq!(engine.guesses(), (0, 0), "beside another answer");
        cancel.cancel();
        writing.join().unwrap().unwrap();
    });
    answer(&engine, &repeating(40));
    assert!(engine.guesses().1 > 20, "alone");
}

/// What is kept of an answer ends where the answer does, and not where a guess did (SRV-30).
fn a_text_with_guesses_can_be_gone_on_with() {
    let twice = |engine: &LlamaEngine| {
        let request = GenerateRequest { tenant: Some(Tenant([7; 32])), ..repeating(41) };
        let first = answer(engine, &request);
        let Input::Raw(prompt) = request.input.clone() else { panic!("`repeating` asks with a raw prompt") };
        let longer = GenerateRequest { input: Input::Raw(format!("{prompt}{} And", first.0)), ..request };
        (first, answer(engine, &longer))
    };
    let (plain, guessing) = (engine(0), engine(15));
    let (first, second) = twice(&guessing);
    assert!(guessing.guesses().1 > 20);
    // All but the answer's last token, which was never read, and where the text's end is cut into tokens in another way.
    let whole = first.2.usage.prompt_tokens + first.2.usage.completion_tokens;
    let cached = second.2.usage.cached_tokens;
    assert!(cached + 4 >= whole && cached < whole, "{cached} {whole}");
    assert_eq!((first, second), twice(&plain));
}

/// While others run, and while texts of tenants are kept (SRV-25).
fn cells_are_overwritten_as_soon_as_they_are_nobodys() {
    let engine = engine(15);
    assert_eq!(engine.stale_bytes(), Some(0), "nothing was computed");
    let other =
        GenerateRequest { sampling: Sampling::random(0.7, 1.0, 2), ..chat("Write a very long story.", 800) };
    let (cancel, started) = (other.cancel.clone(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| {
            engine.generate(other, &mut |event| {
                started.fetch_or(matches!(event, Event::Text(_)), Ordering::SeqCst);
                ControlFlow::Continue(())
            })
        });
        while !started.load(Ordering::SeqCst) {
            assert!(!writing.is_finished());
            std::thread::yield_now();
        }
        for (number, tenant) in
            [None, Some(Tenant([1; 32])), Some(Tenant([2; 32])), None].into_iter().enumerate()
        {
            let question = format!("What is rule {number}? ").repeat(1 + 20 * number);
            answer(&engine, &GenerateRequest { tenant, ..chat(&question, 8) });
            assert_eq!(engine.stale_bytes(), Some(0), "after request {number}");
        }
        // A prompt that was not read to its end.
        let cut = chat(&"What is this? ".repeat(200), 8);
        let switch = cut.cancel.clone();
        let finish = engine.generate(cut, &mut |_| {
            switch.cancel();
            ControlFlow::Continue(())
        });
        assert_eq!(finish.unwrap().finish, FinishReason::Cancelled);
        assert_eq!(engine.stale_bytes(), Some(0));
        assert!(!writing.is_finished(), "too short to say anything");
        cancel.cancel();
        writing.join().unwrap().unwrap();
    });
    assert_eq!(engine.stale_bytes(), Some(0));
    // Of a guess, only what was right stays.
    answer(&engine, &repeating(60));
    assert!(engine.guesses().0 > 0);
    assert_eq!(engine.stale_bytes(), Some(0));
}
