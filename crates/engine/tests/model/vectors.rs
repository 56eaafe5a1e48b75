//! Embedding models: a made-up one whose vectors are computed a second time, and a real model that was given a pooling. Tokens.

use std::fs::File;
use std::io::Write;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use casemate_engine::{
    Cancel, EmbedInput, EmbedRequest, Embedded, Engine, EngineError, EngineOptions, LlamaEngine,
    MAX_EMBED_TOKENS, MemoryNeed, Tenant,
};

use crate::made::{self, Pooling};
use crate::{Case, ENGINE, chat, model, model_bytes, n};

/// Without a real model.
pub(crate) const MADE: &[(&str, Case)] = &[
    ("made_up_vectors_are_those_of_the_definition", made_up_vectors_are_those_of_the_definition),
    ("the_file_of_the_made_up_model_is_this_one", the_file_of_the_made_up_model_is_this_one),
    ("inputs_that_cannot_be_read_are_refused", inputs_that_cannot_be_read_are_refused),
    ("a_model_that_pools_otherwise_is_refused", a_model_that_pools_otherwise_is_refused),
];

pub(crate) const CASES: &[(&str, Case)] = &[
    ("real_vectors_know_what_is_alike", real_vectors_know_what_is_alike),
    ("many_inputs_are_read_together_and_in_order", many_inputs_are_read_together_and_in_order),
    ("a_model_that_answers_makes_no_vectors", a_model_that_answers_makes_no_vectors),
    ("texts_become_tokens_and_text_again", texts_become_tokens_and_text_again),
    ("the_memory_is_what_was_counted", the_memory_is_what_was_counted),
];

fn load(bytes: &[u8], context: u32) -> Result<LlamaEngine, EngineError> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    let options = EngineOptions { context_tokens: n(context), ..EngineOptions::default() };
    LlamaEngine::load(file.path(), options)
}

fn request(inputs: Vec<EmbedInput>) -> EmbedRequest {
    EmbedRequest { inputs, tenant: None, cancel: Cancel::new() }
}

fn texts(texts: &[&str]) -> Vec<EmbedInput> {
    texts.iter().map(|text| EmbedInput::Text((*text).to_owned())).collect()
}

fn embed(engine: &LlamaEngine, inputs: Vec<EmbedInput>) -> Embedded {
    let count = inputs.len();
    let embedded = engine.embed(request(inputs)).unwrap();
    assert_eq!(embedded.vectors.len(), count);
    for vector in &embedded.vectors {
        assert_eq!(vector.len(), engine.info().dimensions.unwrap().get() as usize);
        assert!((dot(vector, vector) - 1.0).abs() < 1e-5);
    }
    embedded
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

fn made_up_vectors_are_those_of_the_definition() {
    for pooling in [Pooling::Mean, Pooling::Cls, Pooling::Last] {
        let engine = load(&made::bert(pooling), 4096).unwrap();
        let info = engine.info();
        assert_eq!((info.architecture.as_str(), info.context_tokens), ("bert", made::CONTEXT as u32));
        let words: [&[&str]; 3] =
            [&["a", "cat", "sat"], &["dog"], &["a", "dog", "sat", "a", "cat", "a", "dog"]];
        let as_texts: Vec<_> = words.iter().map(|words| EmbedInput::Text(words.join(" "))).collect();
        let as_tokens: Vec<_> = words.iter().map(|words| EmbedInput::Tokens(made::tokens(words))).collect();
        for inputs in [as_texts, as_tokens] {
            let Embedded { vectors, tokens } = embed(&engine, inputs);
            assert_eq!(tokens, 3 + 1 + 7 + 3 * 2, "each text stands between two control tokens");
            for (vector, words) in vectors.iter().zip(words) {
                let wanted = made::vector(&made::tokens(words), pooling);
                let off =
                    vector.iter().zip(&wanted).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max);
                assert!(off < 2e-3, "{pooling:?} {words:?}: {off}");
            }
        }
        // What spells a control token is text.
        let spelled = embed(&engine, texts(&["[CLS]"]));
        assert!(spelled.tokens > 3, "{}", spelled.tokens);
    }
}

/// Scripts serve it. `CASEMATE_WRITE=1` writes it.
fn the_file_of_the_made_up_model_is_this_one() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../vectors/models/made-up-bert.gguf");
    let made = made::bert(Pooling::Mean);
    if std::env::var_os("CASEMATE_WRITE").is_some() {
        std::fs::write(path, &made).unwrap();
    }
    assert!(std::fs::read(path).unwrap() == made, "{path} is another model");
}

fn inputs_that_cannot_be_read_are_refused() {
    let engine = load(&made::bert(Pooling::Mean), 4096).unwrap();
    let code = |inputs| engine.embed(request(inputs)).unwrap_err().code();
    assert_eq!(code(vec![]), "engine.prompt.empty");
    assert_eq!(code(texts(&["a", ""])), "engine.prompt.empty");
    assert_eq!(code(vec![EmbedInput::Tokens(vec![])]), "engine.prompt.empty");
    for token in [-1, 14, i32::MAX] {
        assert_eq!(code(vec![EmbedInput::Tokens(vec![5, token])]), "engine.token.unknown");
    }
    let long = |tokens| vec![EmbedInput::Tokens(vec![5; tokens])];
    assert_eq!(embed(&engine, long(made::CONTEXT)).tokens, made::CONTEXT as u32, "all of the context");
    assert_eq!(
        engine.embed(request(long(made::CONTEXT + 1))),
        Err(EngineError::InputTooLong { tokens: made::CONTEXT + 1, limit: made::CONTEXT as u32 })
    );
    let many = vec![EmbedInput::Tokens(vec![5; made::CONTEXT]); MAX_EMBED_TOKENS / made::CONTEXT + 1];
    assert_eq!(code(many), "engine.inputs.too-long");
    assert_eq!(engine.generate_text(chat("hello", 4)).unwrap_err().code(), "engine.answers.unavailable");
    // Nothing of it stays behind.
    assert_eq!(engine.queue_depth(), 0);
    let cancelled = request(texts(&["a cat"]));
    cancelled.cancel.cancel();
    assert_eq!(engine.embed(cancelled), Err(EngineError::Cancelled));
    assert_eq!(engine.detokenise(made::tokens(&["cat"])).unwrap().trim(), "cat");
    assert_eq!(engine.tokenise("cat".into(), true).unwrap(), made::tokens(&["cat"]));
    assert_eq!(engine.queue_depth(), 0);
}

fn a_model_that_pools_otherwise_is_refused() {
    for pooling in [Pooling::None, Pooling::Rank] {
        let error = load(&made::bert(pooling), 4096).err().unwrap();
        assert_eq!(error.code(), "engine.model.no-pooling", "{pooling:?}");
    }
}

/// The real model, whose file now names a pooling: two more entries of metadata, of a length that leaves the rest where it is.
fn pooled(pooling: Pooling) -> Vec<u8> {
    let mut bytes = model_bytes();
    let text = |text: &[u8]| [&(text.len() as u64).to_le_bytes()[..], text].concat();
    let mut entry = text(b"llama.pooling_type");
    entry.extend([4u32.to_le_bytes(), (pooling as u32).to_le_bytes()].concat());
    entry.extend(text(b"general.filler"));
    entry.extend(8u32.to_le_bytes());
    let filler = (entry.len() + 8).next_multiple_of(32) - entry.len() - 8;
    entry.extend(text(&vec![b'x'; filler]));
    assert_eq!(entry.len() % 32, 0);
    let entries = u64::from_le_bytes(bytes[16..24].try_into().unwrap()) + 2;
    bytes[16..24].copy_from_slice(&entries.to_le_bytes());
    bytes.splice(24..24, entry);
    bytes
}

static MEAN: LazyLock<LlamaEngine> = LazyLock::new(|| load(&pooled(Pooling::Mean), 512).unwrap());

fn real_vectors_know_what_is_alike() {
    let sentences = [
        "The cat sleeps on the sofa.",
        "A kitten is napping on the couch.",
        "Interest rates rose sharply in the last quarter.",
    ];
    let Embedded { vectors, .. } = embed(&MEAN, texts(&sentences));
    let (alike, other) = (dot(&vectors[0], &vectors[1]), dot(&vectors[0], &vectors[2]));
    assert!(alike > other + 0.05, "{alike} {other}");
    let last = load(&pooled(Pooling::Last), 512).unwrap();
    let of_last = embed(&last, texts(&sentences));
    assert!(dot(&of_last.vectors[0], &vectors[0]) < 0.99, "another pooling is another vector");
}

fn many_inputs_are_read_together_and_in_order() {
    let inputs: Vec<String> =
        (0..24).map(|n| format!("Sentence number {n} {}", "and more ".repeat(n % 8))).collect();
    let alone: Vec<_> = inputs.iter().map(|text| embed(&MEAN, texts(&[text])).vectors.remove(0)).collect();
    let together = |tenant: Option<Tenant>| {
        let inputs = inputs.iter().map(|text| EmbedInput::Text(text.clone())).collect();
        MEAN.embed(EmbedRequest { tenant, ..request(inputs) }).unwrap().vectors
    };
    let check = |vectors: Vec<Vec<f32>>| {
        for (n, vector) in vectors.iter().enumerate() {
            let near = dot(vector, &alone[n]);
            assert!(near > 0.999, "{n}: {near}");
        }
    };
    std::thread::scope(|scope| {
        for tenant in [None, Some(Tenant([1; 32])), Some(Tenant([2; 32]))] {
            scope.spawn(move || check(together(tenant)));
        }
    });
    // One that goes away does not end the others.
    let cancel = Cancel::new();
    let gone =
        EmbedRequest { cancel: cancel.clone(), ..request(texts(&vec!["word ".repeat(100).as_str(); 200])) };
    let gone = std::thread::spawn(move || MEAN.embed(gone));
    std::thread::sleep(Duration::from_millis(100));
    cancel.cancel();
    assert_eq!(gone.join().unwrap(), Err(EngineError::Cancelled));
    assert_eq!(MEAN.queue_depth(), 0);
    check(together(None));
}

fn a_model_that_answers_makes_no_vectors() {
    assert_eq!(ENGINE.info().dimensions, None);
    assert_eq!(ENGINE.embed(request(texts(&["a"]))), Err(EngineError::NoEmbeddings));
}

fn texts_become_tokens_and_text_again() {
    for text in [
        "",
        "Hello, world!",
        "¡Olé! 🦀 日本語",
        "  two  spaces\n\tand a tab",
        "\u{0}\u{7f}",
        "<|im_start|>user",
    ] {
        let tokens = ENGINE.tokenise(text.into(), false).unwrap();
        assert_eq!(ENGINE.detokenise(tokens.clone()).unwrap(), text);
        assert!(text.is_empty() || !tokens.contains(&1), "no control token: {text}");
    }
    assert_eq!(ENGINE.detokenise(vec![1, 2]).unwrap(), "", "control tokens have no text");
    assert_eq!(ENGINE.detokenise(vec![-1]).unwrap_err().code(), "engine.token.unknown");
    // Also beside an answer that is being written.
    let busy = std::thread::spawn(|| ENGINE.generate_text(chat("Write a long story.", 64)));
    for _ in 0..10 {
        assert_eq!(ENGINE.tokenise("Hello".into(), false).unwrap().len(), 1);
    }
    busy.join().unwrap().unwrap();
}

/// What the system has given, in bytes: the file's pages are not counted.
fn private() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

fn the_memory_is_what_was_counted() {
    let options =
        |cache| EngineOptions { cache_tokens: n(cache), context_tokens: n(2048), ..EngineOptions::default() };
    let file = || File::open(model().unwrap()).unwrap();
    let need = MemoryNeed::of(&file(), options(65_536)).unwrap();
    assert_eq!(need.weights, file().metadata().unwrap().len());
    // 30 layers of 3 heads with 64 numbers, twice, of two bytes each.
    assert_eq!(need.cache, 30 * 3 * 64 * 2 * 2 * 65_536);
    let before = private();
    let engine = Arc::new(LlamaEngine::load_file(file(), options(65_536)).unwrap());
    // Every cell is touched when the cache is made.
    engine.generate_text(chat(&"word ".repeat(1500), 8)).unwrap();
    let taken = private().saturating_sub(before);
    let counted = need.cache + need.buffers;
    assert!(taken <= counted, "{taken} bytes were taken and {counted} counted");
    assert!(taken >= need.cache / 2 && counted < taken + (320 << 20), "{taken} taken, {counted} counted");
}
