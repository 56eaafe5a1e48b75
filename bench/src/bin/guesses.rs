//! What guessing the next tokens brings: `casemate_engine::LlamaEngine` with guesses against the same engine without, in this process.
//!
//! Two kinds of task: those whose answer repeats the prompt (to correct, to go on with a list, to quote), and those whose answer does
//! not. Greedy, one request at a time, the sides taking turns; both must write the same text. The time is of the answer alone: from its
//! first piece to its end.
//!
//! Settings: `ROUNDS` (5), `THREADS` (all), `MAX_NEW_TOKENS` (128), `GUESS_TOKENS` (15), `CASEMATE_MODEL`.

use std::num::{NonZeroU32, NonZeroUsize};
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::time::Instant;

use casemate_bench::stage::{Fallible, model};
use casemate_bench::{cores, cpu, print_json, setting};
use casemate_engine::{
    ChatMessage, Engine, EngineOptions, Event, GenerateRequest, Input, LlamaEngine, Role, TokenBudget,
};
use serde_json::json;

const TEXT: &str = "The lamp of the lighthouse at Skarn burns colza oil. Its keeper, Maren Holt, trims the wick every four hours and \
    writes the weather into a book. On the ninth of March the supply boat did not come, and she rowed to the harbour. There she \
    learnt that the boat had lost its rudder in the storm. She bought oil, flour and a new clock, and was back before dark.";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("guesses: {error}");
            ExitCode::FAILURE
        }
    }
}

/// One task, its answers' seconds for a token on both sides, by round.
struct Task {
    name: &'static str,
    repeats: bool,
    input: Input,
    with: Vec<f64>,
    without: Vec<f64>,
    right: u64,
    guessed: u64,
    tokens: u32,
}

fn tasks() -> Vec<Task> {
    let chat = |text: String| Input::Chat(vec![ChatMessage::new(Role::User, text)]);
    let task = |name, repeats, input| Task {
        name,
        repeats,
        input,
        with: Vec::new(),
        without: Vec::new(),
        right: 0,
        guessed: 0,
        tokens: 0,
    };
    let code = "fn area(shape: &Shape) -> f64 {\n    match shape {\n        Shape::Circle { radius } => 3.14 * radius * radius,\n        \
        Shape::Square { side } => side * side,\n    }\n}\n";
    vec![
        task(
            "edit a text",
            true,
            chat(format!("Replace \"Maren\" by \"Anna\" and write the whole text again:\n\n{TEXT}")),
        ),
        task("quote a text", true, chat(format!("Write this text again, word for word:\n\n{TEXT}"))),
        task("go on with code", true, Input::Raw(format!("// Before:\n{code}\n// After, with triangles:\n"))),
        task(
            "explain",
            false,
            chat("Explain in detail how a lighthouse works, and why sailors need it.".into()),
        ),
        task("tell a story", false, chat("Tell a story about a sailor who is afraid of the sea.".into())),
        task("give advice", false, chat("How do I prepare for a job interview at a bank?".into())),
    ]
}

fn run() -> Fallible<()> {
    let model = model()?;
    let threads = NonZeroUsize::new(setting("THREADS", cores())).ok_or("THREADS must not be 0")?;
    let budget = NonZeroU32::new(u32::try_from(setting("MAX_NEW_TOKENS", 128))?)
        .ok_or("MAX_NEW_TOKENS must not be 0")?;
    let guess = u32::try_from(setting("GUESS_TOKENS", 15))?;
    let rounds = setting("ROUNDS", 5).max(1);
    let load = |guess_tokens| {
        LlamaEngine::load(&model, EngineOptions { threads, guess_tokens, ..EngineOptions::default() })
    };
    let (with, without) = (load(guess)?, load(0)?);
    let mut tasks = tasks();
    for round in 0..=rounds {
        for task in &mut tasks {
            let before = with.guesses();
            let request = || GenerateRequest::new(task.input.clone(), TokenBudget::UpTo(budget));
            let (ours, plain) = if round % 2 == 0 {
                let ours = ask(&with, request())?;
                (ours, ask(&without, request())?)
            } else {
                let plain = ask(&without, request())?;
                (ask(&with, request())?, plain)
            };
            if ours.text != plain.text {
                return Err(format!(
                    "{}: the two sides differ.\nwith guesses: {}\nwithout: {}",
                    task.name, ours.text, plain.text
                )
                .into());
            }
            // The first round warms up.
            if round == 0 {
                continue;
            }
            task.with.push(ours.each);
            task.without.push(plain.each);
            task.tokens = ours.tokens;
            let after = with.guesses();
            task.guessed += after.0 - before.0;
            task.right += after.1 - before.1;
        }
    }
    report(&tasks, rounds, threads, guess, &model)
}

struct Answer {
    text: String,
    tokens: u32,
    /// Seconds for each token behind the first.
    each: f64,
}

fn ask(engine: &LlamaEngine, request: GenerateRequest) -> Fallible<Answer> {
    let (mut text, mut first) = (String::new(), None);
    let completion = engine.generate(request, &mut |event| {
        if let Event::Text(piece) = event {
            first.get_or_insert_with(Instant::now);
            text.push_str(&piece);
        }
        ControlFlow::Continue(())
    })?;
    let first = first.ok_or("an answer without text")?;
    let tokens = completion.usage.completion_tokens;
    Ok(Answer { text, tokens, each: first.elapsed().as_secs_f64() / f64::from(tokens.max(2) - 1) })
}

fn report(
    tasks: &[Task],
    rounds: usize,
    threads: NonZeroUsize,
    guess: u32,
    model: &std::path::Path,
) -> Fallible<()> {
    println!(
        "guesses: at most {guess} tokens a step, {threads} threads, {rounds} alternating rounds; the same text from both sides"
    );
    println!("{}\n", cpu());
    println!(
        "{:18} {:>7} {:>14} {:>14} {:>8} {:>16}",
        "", "tokens", "with, tok/s", "without, tok/s", "ratio", "right of guessed"
    );
    let median = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
    };
    let ratios = |task: &Task| {
        task.without.iter().zip(&task.with).map(|(without, with)| without / with).collect::<Vec<_>>()
    };
    for task in tasks {
        println!(
            "{:18} {:7} {:14.1} {:14.1} {:8.3} {:>16}",
            task.name,
            task.tokens,
            1.0 / median(task.with.clone()),
            1.0 / median(task.without.clone()),
            median(ratios(task)),
            format!("{} of {}", task.right, task.guessed)
        );
    }
    let all = |repeats: bool| {
        median(tasks.iter().filter(|task| task.repeats == repeats).flat_map(ratios).collect())
    };
    let least = tasks
        .iter()
        .filter(|task| !task.repeats)
        .map(|task| median(ratios(task)))
        .fold(f64::INFINITY, f64::min);
    let (repeating, fresh) = (all(true), all(false));
    println!(
        "\nmedian of the tasks that repeat: {repeating:.3}; of those that do not: {fresh:.3}, the least of them {least:.3}\n"
    );
    let round = |value: f64| (value * 1000.0).round() / 1000.0;
    print_json(
        "guesses",
        json!({
            "model": model.file_name().map(|name| name.to_string_lossy()),
            "threads": threads, "guess_tokens": guess, "rounds": rounds,
            "repeating_ratio": round(repeating), "fresh_ratio": round(fresh), "least_fresh_ratio": round(least),
            "ratio_is": "tokens per second with guesses / without, the same text",
        }),
    );
    Ok(())
}
