//! An embedding model behind the walls.

use std::fs::File;
use std::io::{Seek, Write};

use casemate_enclave::confined::{EngineProcess, Patience, Program};
use casemate_engine::{Cancel, EmbedInput, EmbedRequest, Engine, EngineError, EngineOptions};
use rustix::fs::{MemfdFlags, memfd_create};

use crate::Case;
use crate::made::{self, Pooling};

pub(crate) const CASES: &[(&str, Case)] =
    &[("vectors_are_those_of_the_definition", vectors_are_those_of_the_definition)];

fn vectors_are_those_of_the_definition() {
    let mut file = File::from(memfd_create(c"weights", MemfdFlags::CLOEXEC).unwrap());
    file.write_all(&made::bert(Pooling::Mean)).unwrap();
    file.rewind().unwrap();
    let process = EngineProcess::start(&Program::own(), Patience::default()).unwrap();
    let engine = process.load(file, EngineOptions::default()).unwrap();
    assert_eq!(engine.info().dimensions.map(|n| n.get() as usize), Some(made::WIDTH));
    let words: [&[&str]; 2] = [&["a", "cat", "sat"], &["dog"]];
    let request = |inputs| EmbedRequest { inputs, tenant: None, cancel: Cancel::new() };
    let inputs = vec![EmbedInput::Text("a cat sat".into()), EmbedInput::Tokens(made::tokens(&["dog"]))];
    let embedded = engine.embed(request(inputs)).unwrap();
    assert_eq!(embedded.tokens, 8);
    for (vector, words) in embedded.vectors.iter().zip(words) {
        let wanted = made::vector(&made::tokens(words), Pooling::Mean);
        assert!(vector.iter().zip(&wanted).all(|(a, b)| (f64::from(*a) - b).abs() < 2e-3), "{words:?}");
    }
    let code = |inputs| engine.embed(request(inputs)).unwrap_err();
    assert_eq!(code(vec![EmbedInput::Tokens(vec![-1])]), EngineError::TokenUnknown { vocabulary: 14 });
    let long = vec![EmbedInput::Tokens(vec![5; made::CONTEXT + 1])];
    assert_eq!(
        code(long),
        EngineError::InputTooLong { tokens: made::CONTEXT + 1, limit: made::CONTEXT as u32 }
    );
    assert_eq!(engine.tokenise("cat".into(), true).unwrap(), made::tokens(&["cat"]));
    assert_eq!(engine.detokenise(made::tokens(&["cat"])).unwrap().trim(), "cat");
    // Cancelled from outside, while it waits or is read.
    let many = request(vec![EmbedInput::Tokens(vec![5; made::CONTEXT]); 2000]);
    let cancel = many.cancel.clone();
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| engine.embed(many));
        std::thread::sleep(std::time::Duration::from_millis(20));
        cancel.cancel();
        let ended = asked.join().unwrap();
        assert!(ended.is_ok() || ended == Err(EngineError::Cancelled), "{ended:?}");
    });
    assert_eq!(engine.queue_depth(), 0);
}
