//! The engine in its confined process against the same engine in this one.
//!
//! Ours: `casemate_enclave::confined`, as `casemate serve` uses it: a process that has given up everything, asked over one
//! socket. Peer: `casemate_engine::LlamaEngine` in this process. Both map the same sealed memory file; same prompt, same
//! budget, same threads and context, greedy; both must write the same text.
//!
//! A server loads once, in a process that is new: so the peer of a load is a load in a new process of this program that
//! gives nothing up. A load in this process, which has loaded the same model many times before, stands beside it.
//!
//! Settings: `ROUNDS` (21), `LOAD_ROUNDS` (15), `THREADS` (all), `MAX_NEW_TOKENS` (128), `CASEMATE_MODEL` (the model that
//! `scripts/fetch-model.sh` leaves in the cache folder).

use std::cell::Cell;
use std::fs::File;
use std::io;
use std::num::{NonZeroU32, NonZeroUsize};
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use casemate_bench::stage::{Fallible, model};
use casemate_bench::{Samples, Side, alternate, cores, cpu, print_json, setting};
use casemate_enclave::confined::{ConfinedEngine, EngineProcess, Patience, Program, WORKER, worker};
use casemate_engine::{
    ChatMessage, Completion, Engine, EngineOptions, GenerateRequest, Input, LlamaEngine, Role, TokenBudget,
};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use serde_json::json;

/// Long enough an answer that the budget ends it.
const PROMPT: &str = "Explain in detail how a lighthouse works, and why sailors need it.";
const WARM_UP: usize = 1;

/// The argument of a process of this program that loads the model on its standard input and says how long it took.
const LOAD_ONCE: &str = "load-once";

fn main() -> ExitCode {
    // The engine's process is this program again.
    if std::env::args_os().skip(1).eq([WORKER]) {
        return worker();
    }
    let result = match std::env::args().nth(1) {
        Some(argument) if argument == LOAD_ONCE => load_once(),
        _ => run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("confined: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Fallible<()> {
    let tokens = NonZeroU32::new(u32::try_from(setting("MAX_NEW_TOKENS", 128))?)
        .ok_or("MAX_NEW_TOKENS must not be 0")?;
    let options = options()?;
    let memory = memory(&model()?)?;

    let ours = process()?.load(weights(&memory), options)?;
    let peer = LlamaEngine::load_file(weights(&memory), options)?;
    let (speed, completion) = speed(&ours, &peer, tokens)?;
    drop((ours, peer));
    let load = load(&memory, options)?;
    report(&speed, &load, completion, options.threads)
}

fn options() -> Fallible<EngineOptions> {
    let threads = NonZeroUsize::new(setting("THREADS", cores())).ok_or("THREADS must not be 0")?;
    Ok(EngineOptions { threads, ..EngineOptions::default() })
}

/// In a new process: loads the model and prints the nanoseconds.
fn load_once() -> Fallible<()> {
    let weights = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let options = options()?;
    let start = Instant::now();
    let engine = LlamaEngine::load_file(weights, options)?;
    println!("{}", start.elapsed().as_nanos());
    drop(engine);
    Ok(())
}

/// A load in a new process that gives nothing up.
fn unconfined(memory: &File) -> Fallible<Duration> {
    let output = Command::new(std::env::current_exe()?)
        .arg(LOAD_ONCE)
        .stdin(Stdio::from(weights(memory)))
        .stderr(Stdio::inherit())
        .output()?;
    let nanoseconds = String::from_utf8(output.stdout)?.trim().parse()?;
    Ok(Duration::from_nanos(nanoseconds))
}

/// Answers of both sides, in turns.
fn speed(ours: &ConfinedEngine, peer: &LlamaEngine, tokens: NonZeroU32) -> Fallible<(Samples, Completion)> {
    let request = || {
        let message = ChatMessage::new(Role::User, PROMPT);
        GenerateRequest::new(Input::Chat(vec![message]), TokenBudget::Exact(tokens))
    };
    let expected = peer.generate_text(request())?;
    let wrong = Cell::new(0_usize);
    let ask = |engine: &dyn Engine| {
        let answer = engine.generate_text(request());
        if answer.as_ref() != Ok(&expected) {
            wrong.set(wrong.get() + 1);
        }
    };
    let sides = vec![Side::timed("confined", || ask(ours)), Side::timed("in this process", || ask(peer))];
    let samples = alternate(WARM_UP, setting("ROUNDS", 21).max(1), sides);
    match wrong.get() {
        0 => Ok((samples, expected.1)),
        wrong => Err(format!("{wrong} answers differ from the first").into()),
    }
}

/// Loads of both sides, in turns: in a process that is confined already, in this one, and with the start of the process.
fn load(memory: &File, options: EngineOptions) -> Fallible<Samples> {
    let failed = Cell::new(None);
    let keep = |result: Fallible<()>| {
        if let Err(error) = result {
            failed.set(Some(error));
        }
    };
    let confined = || {
        let mut elapsed = Duration::ZERO;
        keep((|| {
            let (process, weights) = (process()?, weights(memory));
            let start = Instant::now();
            let engine = process.load(weights, options)?;
            elapsed = start.elapsed();
            drop(engine);
            Ok(())
        })());
        elapsed
    };
    let fresh = || {
        let mut elapsed = Duration::ZERO;
        keep(unconfined(memory).map(|taken| elapsed = taken));
        elapsed
    };
    let plain = || {
        let mut elapsed = Duration::ZERO;
        keep((|| {
            let weights = weights(memory);
            let start = Instant::now();
            let engine = LlamaEngine::load_file(weights, options)?;
            elapsed = start.elapsed();
            drop(engine);
            Ok(())
        })());
        elapsed
    };
    let started = || {
        let mut elapsed = Duration::ZERO;
        keep((|| {
            let weights = weights(memory);
            let start = Instant::now();
            let engine = process()?.load(weights, options)?;
            elapsed = start.elapsed();
            drop(engine);
            Ok(())
        })());
        elapsed
    };
    let sides = vec![
        Side { name: "confined: load", work: Box::new(confined) },
        Side { name: "new process: load", work: Box::new(fresh) },
        Side { name: "in this process: load", work: Box::new(plain) },
        Side { name: "confined: start and load", work: Box::new(started) },
    ];
    let samples = alternate(WARM_UP, setting("LOAD_ROUNDS", 15).max(1), sides);
    match failed.take() {
        None => Ok(samples),
        Some(error) => Err(error),
    }
}

fn report(speed: &Samples, load: &Samples, completion: Completion, threads: NonZeroUsize) -> Fallible<()> {
    let usage = completion.usage;
    let per_second = |seconds: f64| f64::from(usage.completion_tokens) / seconds;
    println!(
        "confined: {} prompt tokens, {} new tokens, {threads} threads; the same text from both",
        usage.prompt_tokens, usage.completion_tokens
    );
    println!("{}, medians of {} and {} alternating rounds\n", cpu(), speed.rounds(), load.rounds());
    println!("{:26} {:>9} {:>15} {:>16}", "", "tokens/s", "p10..p90", "ours / this");
    for (side, name) in speed.names().iter().enumerate() {
        let (fast, slow) = speed.spread(side);
        let spread = format!("{:.1}..{:.1}", per_second(slow), per_second(fast));
        let ratio = speed.ratio(side, 0);
        println!("{name:26} {:9.1} {spread:>15} {ratio:16.3}", per_second(speed.median(side)));
    }
    println!("\n{:26} {:>9} {:>15} {:>16}", "", "ms", "p10..p90", "this / peer's");
    for (side, name) in load.names().iter().enumerate() {
        let (fast, slow) = load.spread(side);
        let spread = format!("{:.1}..{:.1}", fast * 1e3, slow * 1e3);
        println!("{name:26} {:9.1} {spread:>15} {:16.3}", load.median(side) * 1e3, load.ratio(side, 1));
    }
    println!();
    let round = |value: f64, unit: f64| (value * unit).round() / unit;
    print_json(
        "confined",
        json!({
            "ours": concat!("casemate-enclave confined::ConfinedEngine, casemate ", env!("CARGO_PKG_VERSION")),
            "peer": concat!("casemate-engine LlamaEngine in process, casemate ", env!("CARGO_PKG_VERSION")),
            "threads": threads,
            "prompt_tokens": usage.prompt_tokens,
            "new_tokens": usage.completion_tokens,
            "same_text": true,
            "rounds": speed.rounds(),
            "load_rounds": load.rounds(),
            "ours_tokens_per_s": round(per_second(speed.median(0)), 10.0),
            "peer_tokens_per_s": round(per_second(speed.median(1)), 10.0),
            "median_ratio": round(speed.ratio(1, 0), 1000.0),
            "ratio_is": "tokens per second of ours / tokens per second of peer",
            "ours_load_ms": round(load.median(0) * 1e3, 10.0),
            "peer_load_ms": round(load.median(1) * 1e3, 10.0),
            "peer_in_this_process_load_ms": round(load.median(2) * 1e3, 10.0),
            "ours_start_and_load_ms": round(load.median(3) * 1e3, 10.0),
            "load_ratio": round(load.ratio(0, 1), 1000.0),
            "start_and_load_ratio": round(load.ratio(3, 1), 1000.0),
            "load_ratio_is": "time of ours / time of peer in a new process",
        }),
    );
    Ok(())
}

fn process() -> Fallible<EngineProcess> {
    Ok(EngineProcess::start(&Program::own(), Patience::default())?)
}

/// The model in sealed memory, as `casemate serve` has it.
fn memory(model: &Path) -> Fallible<File> {
    let memory = memfd_create(c"weights", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut memory = File::from(memory);
    io::copy(&mut File::open(model)?, &mut memory)?;
    fcntl_add_seals(&memory, SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)?;
    Ok(memory)
}

/// The memory file once more, open for reading.
fn weights(memory: &File) -> File {
    File::open(format!("/proc/self/fd/{}", memory.as_raw_fd())).expect("the memory file opens again")
}
