//! Many answers at the same time against one after the other: `casemate_engine::LlamaEngine` in this process.
//!
//! Settings: `ROUNDS` (3), `THREADS` (all), `MAX_NEW_TOKENS` (96), `CASEMATE_MODEL`.

use std::num::{NonZeroU32, NonZeroUsize};
use std::process::ExitCode;
use std::time::Instant;

use casemate_bench::stage::{Fallible, model};
use casemate_bench::{cores, setting};
use casemate_engine::{
    ChatMessage, Engine, EngineOptions, GenerateRequest, Input, LlamaEngine, Role, TokenBudget,
};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("streams: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Fallible<()> {
    let model = model()?;
    let threads = NonZeroUsize::new(setting("THREADS", cores())).ok_or("THREADS must not be 0")?;
    let tokens = NonZeroU32::new(u32::try_from(setting("MAX_NEW_TOKENS", 96))?)
        .ok_or("MAX_NEW_TOKENS must not be 0")?;
    let engine = LlamaEngine::load(model, EngineOptions { threads, ..EngineOptions::default() })?;
    let request = |number: usize| {
        let content =
            format!("Explain in detail how lighthouse number {number} works, and why sailors need it.");
        let message = ChatMessage::new(Role::User, content);
        GenerateRequest::new(Input::Chat(vec![message]), TokenBudget::Exact(tokens))
    };
    for _ in 0..setting("ROUNDS", 3) {
        for streams in [1, 2, 4, 8] {
            let started = Instant::now();
            let total: u32 = std::thread::scope(|scope| {
                let ask =
                    |n| engine.generate_text(request(n)).map_or(0, |(_, done)| done.usage.completion_tokens);
                let asked: Vec<_> = (0..streams).map(|n| scope.spawn(move || ask(n))).collect();
                asked.into_iter().map(|thread| thread.join().unwrap_or(0)).sum()
            });
            let rate = f64::from(total) / started.elapsed().as_secs_f64();
            println!("{streams} streams: {total} tokens, {rate:.1} tokens/s");
        }
    }
    Ok(())
}
