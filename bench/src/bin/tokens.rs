//! Tokens per second through `casemate serve` against the bare engine on the same model.
//!
//! Ours: the built binary as its own process, with simulated hardware: a broker releases the key, the sealed model is
//! unsealed into memory, and the verifying client asks `POST /infer` over TLS 1.3 on loopback, always on the connection
//! that it verified. Peer: `casemate_engine::LlamaEngine` in this process, on the plain GGUF file. Same prompt, same
//! budget, same threads and context, greedy on both sides; both must write the same text.
//!
//! The sides take turns, and the one that waits must leave the processor alone: its processor time during the other's
//! turns is printed.
//!
//! Settings: `ROUNDS` (7), `THREADS` (all), `MAX_NEW_TOKENS` (128), `CASEMATE_MODEL` (the model that
//! `scripts/fetch-model.sh` leaves in the cache folder), `CASEMATE_BIN` (`target/release/casemate` of this checkout).

use std::cell::{Cell, RefCell};
use std::fs;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use casemate_bench::stage::{Fallible, Stage, model, now, program, version};
use casemate_bench::{Side, alternate, cores, cpu, print_json, setting};
use casemate_client::unverified_get;
use casemate_engine::{
    ChatMessage, Completion, Engine, EngineOptions, GenerateRequest, Input, LlamaEngine, Role, TokenBudget,
};
use casemate_protocol::Plaintext;
use serde_json::json;

/// Long enough an answer that the budget ends it.
const PROMPT: &str = "Explain in detail how a lighthouse works, and why sailors need it.";
const WARM_UP: usize = 1;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tokens: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Fallible<()> {
    let rounds = setting("ROUNDS", 7).max(1);
    let threads = NonZeroUsize::new(setting("THREADS", cores())).ok_or("THREADS must not be 0")?;
    let max_new_tokens = NonZeroU32::new(u32::try_from(setting("MAX_NEW_TOKENS", 128))?)
        .ok_or("MAX_NEW_TOKENS must not be 0")?;
    let (model, program) = (model()?, program()?);

    let stage = Stage::new(&program)?;
    let seal_and_serve = stage.server(&model, threads, &[])?;
    let server = &seal_and_serve.server;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let verified = runtime.block_on(stage.connect(&seal_and_serve))?;
    let engine = LlamaEngine::load(&model, EngineOptions { threads, ..EngineOptions::default() })?;

    let prompt = Plaintext::new(PROMPT.to_owned());
    let ask = || runtime.block_on(verified.infer(&prompt, max_new_tokens.get(), now()));
    let request = || {
        let message = ChatMessage::new(Role::User, PROMPT);
        GenerateRequest::new(Input::Chat(vec![message]), TokenBudget::Exact(max_new_tokens))
    };

    // Both must say the same before either is timed, and in every round after.
    let (text, completion) = engine.generate_text(request())?;
    let served = ask()?.response.into_inner();
    if served != text {
        return Err(format!("the two sides differ.\nserve:       {served}\nbare engine: {text}").into());
    }
    let tokens_before = runtime.block_on(generated_tokens(&server.url))?;

    let idle = Idle::new(server.child.id());
    let (serve_failed, wrong) = (RefCell::new(None), Cell::new(0_usize));
    let samples = alternate(
        WARM_UP,
        rounds,
        vec![
            Side {
                name: "casemate serve",
                work: Box::new(|| {
                    let (answer, elapsed) = idle.server_works(ask);
                    match answer {
                        Ok(answer) if *answer.response.expose() == text => {}
                        Ok(_) => wrong.set(wrong.get() + 1),
                        Err(error) => drop(serve_failed.borrow_mut().replace(error)),
                    }
                    elapsed
                }),
            },
            Side {
                name: "bare engine",
                work: Box::new(|| {
                    let (answer, elapsed) = idle.engine_works(|| engine.generate_text(request()));
                    if !matches!(&answer, Ok((said, cost)) if *said == text && *cost == completion) {
                        wrong.set(wrong.get() + 1);
                    }
                    elapsed
                }),
            },
        ],
    );
    if let Some(error) = serve_failed.take() {
        return Err(error.into());
    }
    let asked = (WARM_UP + rounds) as u64;
    let counted = runtime.block_on(generated_tokens(&server.url))? - tokens_before;
    let expected = asked * u64::from(completion.usage.completion_tokens);
    if wrong.get() != 0 || counted != expected {
        let wrong = wrong.get();
        return Err(format!(
            "{wrong} answers differ from the first; the server counted {counted} tokens, not {expected}"
        )
        .into());
    }
    report(&Facts {
        samples,
        completion,
        threads,
        engine: &engine,
        program: &program,
        model: &model,
        idle: &idle,
    })
}

/// What the last lines are made of.
struct Facts<'a> {
    samples: casemate_bench::Samples,
    completion: Completion,
    threads: NonZeroUsize,
    engine: &'a LlamaEngine,
    program: &'a Path,
    model: &'a Path,
    idle: &'a Idle,
}

fn report(facts: &Facts<'_>) -> Fallible<()> {
    let Facts { samples, completion, threads, engine, idle, .. } = facts;
    let (server_cores, engine_cores) = (idle.server.get(), idle.engine.get());
    let usage = completion.usage;
    let speed = |seconds: f64| f64::from(usage.completion_tokens) / seconds;
    println!(
        "tokens: {}, {} prompt tokens, {} new tokens ({}), {threads} threads; the same text from both",
        engine.info().name,
        usage.prompt_tokens,
        usage.completion_tokens,
        completion.finish.as_str(),
    );
    println!("{}, medians of {} alternating rounds\n", cpu(), samples.rounds());
    println!(
        "{:16} {:>9} {:>13} {:>15} {:>11} {:>12}",
        "", "tokens/s", "p10..p90", "serve / engine", "cores busy", "while idle"
    );
    let busy = [server_cores, engine_cores];
    for (side, name) in samples.names().iter().enumerate() {
        let (fast, slow) = samples.spread(side);
        println!(
            "{name:16} {:9.1} {:>13} {:15.3} {:11.2} {:12.3}",
            speed(samples.median(side)),
            format!("{:.1}..{:.1}", speed(slow), speed(fast)),
            samples.ratio(1, side),
            busy[side].working(),
            busy[side].waiting(),
        );
    }
    println!();
    let version = version(facts.program)?;
    let round = |value: f64, unit: f64| (value * unit).round() / unit;
    print_json(
        "tokens",
        json!({
            "ours": format!("{version} (casemate serve --danger-simulate, POST /infer, TLS 1.3, one connection)"),
            "peer": concat!("casemate-engine LlamaEngine::generate_text in process, casemate ", env!("CARGO_PKG_VERSION")),
            "model": facts.model.file_name().map(|name| name.to_string_lossy()),
            "threads": threads,
            "prompt_tokens": usage.prompt_tokens,
            "new_tokens": usage.completion_tokens,
            "same_text": true,
            "rounds": samples.rounds(),
            "ours_tokens_per_s": round(speed(samples.median(0)), 10.0),
            "peer_tokens_per_s": round(speed(samples.median(1)), 10.0),
            "ours_cores_while_idle": round(server_cores.waiting(), 1000.0),
            "peer_cores_while_idle": round(engine_cores.waiting(), 1000.0),
            "median_ratio": round(samples.ratio(1, 0), 1000.0),
            "ratio_is": "tokens per second of ours / tokens per second of peer",
        }),
    );
    Ok(())
}

// === who used the processor, and when ===

/// Processor time of one side, in its own turns and in the other's.
#[derive(Clone, Copy, Default)]
struct Use {
    own: (Duration, Duration),
    others: (Duration, Duration),
}

impl Use {
    /// Cores in use during its own turns.
    fn working(&self) -> f64 {
        self.own.0.as_secs_f64() / self.own.1.as_secs_f64()
    }

    /// Cores in use while the other side had its turn.
    fn waiting(&self) -> f64 {
        self.others.0.as_secs_f64() / self.others.1.as_secs_f64()
    }
}

/// Watches the server, with its engine's process, and this process. The client's part of the server's turn is in this process, so it counts
/// as the engine not being idle; it is small.
struct Idle {
    server_pids: Vec<u32>,
    server: Cell<Use>,
    engine: Cell<Use>,
}

impl Idle {
    fn new(pid: u32) -> Self {
        let server_pids = [vec![pid], children(pid)].concat();
        Self { server_pids, server: Cell::default(), engine: Cell::default() }
    }

    fn server_works<T>(&self, work: impl FnOnce() -> T) -> (T, Duration) {
        let (value, wall, [server, here]) = self.watch(work);
        add(&self.server, |used| &mut used.own, server, wall);
        add(&self.engine, |used| &mut used.others, here, wall);
        (value, wall)
    }

    fn engine_works<T>(&self, work: impl FnOnce() -> T) -> (T, Duration) {
        let (value, wall, [server, here]) = self.watch(work);
        add(&self.server, |used| &mut used.others, server, wall);
        add(&self.engine, |used| &mut used.own, here, wall);
        (value, wall)
    }

    fn watch<T>(&self, work: impl FnOnce() -> T) -> (T, Duration, [Duration; 2]) {
        let times = || {
            let server = self.server_pids.iter().map(|pid| process_time(*pid)).sum::<Duration>();
            [server, process_time(std::process::id())]
        };
        let before = times();
        let start = Instant::now();
        let value = work();
        let wall = start.elapsed();
        let after = times();
        (value, wall, [after[0].saturating_sub(before[0]), after[1].saturating_sub(before[1])])
    }
}

fn add(to: &Cell<Use>, which: impl Fn(&mut Use) -> &mut (Duration, Duration), cpu: Duration, wall: Duration) {
    let mut used = to.get();
    let sum = which(&mut used);
    *sum = (sum.0 + cpu, sum.1 + wall);
    to.set(used);
}

/// The processes that a process has started.
fn children(pid: u32) -> Vec<u32> {
    let parent = format!("PPid:\t{pid}");
    let is_child = |pid: &u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        status.lines().any(|line| line == parent)
    };
    let entries = fs::read_dir("/proc").expect("/proc").map(|entry| entry.expect("an entry").file_name());
    entries.filter_map(|name| name.to_str()?.parse().ok()).filter(is_child).collect()
}

/// User and system time of a process so far (proc(5), `stat`, fields 14 and 15).
fn process_time(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process lives");
    // The name in parentheses may hold anything; after it comes field 3.
    let fields = stat.rsplit_once(')').expect("a name").1.split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).map(|ticks| ticks.parse::<u64>().expect("a number")).sum();
    Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// The server's own count.
async fn generated_tokens(url: &str) -> Fallible<u64> {
    let (_, metrics) = unverified_get(url, "/metrics").await?;
    let value = metrics.lines().find_map(|line| line.strip_prefix("casemate_generated_tokens_total "));
    Ok(value.ok_or("the server does not count its tokens")?.parse()?)
}
