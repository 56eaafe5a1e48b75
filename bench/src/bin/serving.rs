//! `casemate serve` against llama.cpp's own server: one stream, many streams, and the time to the first token of a long prompt.
//!
//! Ours: the built binary as its own process, with simulated hardware, a tenant's key, and TLS 1.3 on loopback. Peer:
//! llama-server, as the Python package xllamacpp has it (`bench/llama_server.py`), over plain HTTP on loopback. Same model
//! file, threads, number of places and room; the same client, which reads the streams of both; greedy; the sides take turns.
//!
//! Settings: `ROUNDS` (5), `STREAMS` (8), `MAX_NEW_TOKENS` (128), `THREADS` (all), `CASEMATE_MODEL`, `CASEMATE_BIN`, `PEER_PYTHON` (a Python
//! that has xllamacpp; `scripts/bench.sh` makes one in `bench/target/peer`).

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use casemate_bench::stage::{Fallible, Stage, model, program, version};
use casemate_bench::{cores, cpu, print_json, setting};
use futures_util::StreamExt;
use futures_util::future::try_join_all;
use serde_json::{Value, json};

fn main() -> ExitCode {
    let run = || tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(run());
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("serving: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A server of either side.
struct Side {
    name: &'static str,
    url: String,
    key: String,
    model: String,
    client: reqwest::Client,
}

/// One stream: when its pieces came.
struct Stream {
    first: Duration,
    /// Between one piece and the next.
    gaps: Vec<Duration>,
    whole: Duration,
    tokens: u64,
}

/// What one turn of a side gave.
#[derive(Default, Clone)]
struct Turn {
    /// Tokens per second of one stream, from its first piece to its last.
    single: f64,
    /// Tokens per second of all streams together.
    together: f64,
    /// 99th percentile of the time between two pieces of one of many streams, in milliseconds.
    gap_p99: f64,
    /// Milliseconds to the first token of a prompt of about 512 tokens that nobody has sent before.
    first: f64,
    /// Milliseconds to the first token behind a beginning of about 1,000 tokens that was sent before.
    first_shared: f64,
}

async fn run() -> Fallible<()> {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let rounds = setting("ROUNDS", 5).max(1);
    let streams = setting("STREAMS", 8).max(1);
    let tokens = setting("MAX_NEW_TOKENS", 128).max(2);
    let threads = NonZeroUsize::new(setting("THREADS", cores())).ok_or("THREADS must not be 0")?;
    let (model, program) = (model()?, program()?);
    let stage = Stage::new(&program)?;
    let keys = stage.path("keys.json");
    let key = stage.command(&["keys", "new", &keys, "--tenant", "bench"])?.trim().to_owned();
    let parallel = streams.to_string();
    let serving = stage.server(&model, threads, &["--api-keys", &keys, "--parallel", &parallel])?;
    let peer = Peer::start(&model, threads, streams).await?;
    let name = model.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    // llama-server closes connections that it has said to keep.
    let client = |kept| {
        let builder = reqwest::Client::builder().danger_accept_invalid_certs(true).no_proxy();
        builder.pool_max_idle_per_host(kept).build()
    };
    let sides = [
        Side {
            name: "casemate serve",
            url: serving.server.url.clone(),
            key,
            model: name.clone(),
            client: client(64)?,
        },
        Side {
            name: "llama-server",
            url: peer.url.clone(),
            key: String::new(),
            model: name,
            client: client(0)?,
        },
    ];
    let mut turns: [Vec<Turn>; 2] = Default::default();
    for round in 0..=rounds {
        for which in [round % 2, 1 - round % 2] {
            let turn = turn(&sides[which], round, streams, tokens).await?;
            // The first round warms up.
            if round > 0 {
                turns[which].push(turn);
            }
        }
    }
    report(&turns, &sides, &Facts { rounds, streams, tokens, threads, program: &program, model: &model })
}

async fn turn(side: &Side, round: usize, streams: usize, tokens: usize) -> Fallible<Turn> {
    let question =
        |n: usize| format!("Explain in detail how lighthouse number {n} works, and why sailors need it.");
    let single = side.ask(None, &question(round), tokens).await?;
    let started = Instant::now();
    let many = (0..streams).map(|n| {
        let question = question(1000 + 100 * round + n);
        async move { side.ask(None, &question, tokens).await }
    });
    let many = try_join_all(many).await?;
    let elapsed = started.elapsed();
    let mut gaps: Vec<_> = many.iter().flat_map(|stream| stream.gaps.iter().copied()).collect();
    gaps.sort_unstable();
    // Words that differ from the first on, so that no beginning is shared.
    let fresh: String = (0..170).map(|n| format!("{} tide ", 7919 * (round + 1) + n)).collect();
    let first = side.ask(None, &fresh, 2).await?;
    let system = "You are the keeper of a lighthouse and answer briefly and in plain words. ".repeat(65);
    side.ask(Some(&system), "Who are you?", 2).await?;
    let shared = side.ask(Some(&system), &format!("What is rule {round}?"), 2).await?;
    let rate = |tokens: u64, time: Duration| tokens as f64 / time.as_secs_f64();
    Ok(Turn {
        single: rate(single.tokens - 1, single.whole - single.first),
        together: rate(many.iter().map(|stream| stream.tokens).sum(), elapsed),
        gap_p99: ms(gaps.get(gaps.len() * 99 / 100).copied().unwrap_or_default()),
        first: ms(first.first),
        first_shared: ms(shared.first),
    })
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

impl Side {
    /// Asks and reads the stream to its end.
    async fn ask(&self, system: Option<&str>, question: &str, tokens: usize) -> Fallible<Stream> {
        let mut messages: Vec<Value> = Vec::new();
        messages.extend(system.map(|content| json!({"role": "system", "content": content})));
        messages.push(json!({"role": "user", "content": question}));
        let body = json!({
            "model": self.model, "messages": messages, "max_tokens": tokens, "temperature": 0, "stream": true,
            "stream_options": {"include_usage": true},
        });
        let started = Instant::now();
        let request = self.client.post(format!("{}/v1/chat/completions", self.url)).bearer_auth(&self.key);
        let response =
            request.header("content-type", "application/json").body(body.to_string()).send().await?;
        if !response.status().is_success() {
            return Err(format!("{}: {}: {}", self.name, response.status(), response.text().await?).into());
        }
        let (mut pieces, mut buffer, mut tokens) = (Vec::new(), Vec::new(), 0);
        let mut bytes = response.bytes_stream();
        while let Some(chunk) = bytes.next().await {
            buffer.extend_from_slice(&chunk?);
            while let Some(end) = buffer.windows(2).position(|pair| pair == b"\n\n") {
                let event: Vec<u8> = buffer.drain(..end + 2).collect();
                let data = event.strip_prefix(b"data: ").unwrap_or_default();
                let Ok(event) = serde_json::from_slice::<Value>(data) else { continue };
                if event["choices"][0]["delta"]["content"].as_str().is_some_and(|text| !text.is_empty()) {
                    pieces.push(started.elapsed());
                }
                tokens = event["usage"]["completion_tokens"].as_u64().unwrap_or(tokens);
            }
        }
        let whole = started.elapsed();
        let first = *pieces.first().ok_or_else(|| format!("{}: an answer without text", self.name))?;
        let gaps = pieces.windows(2).map(|pair| pair[1] - pair[0]).collect();
        Ok(Stream { first, gaps, whole, tokens: tokens.max(2) })
    }
}

struct Facts<'a> {
    rounds: usize,
    streams: usize,
    tokens: usize,
    threads: NonZeroUsize,
    program: &'a Path,
    model: &'a Path,
}

fn report(turns: &[Vec<Turn>; 2], sides: &[Side; 2], facts: &Facts<'_>) -> Fallible<()> {
    let Facts { rounds, streams, tokens, threads, program, model } = facts;
    println!(
        "serving: {tokens} tokens an answer, {streams} streams, {threads} threads, {rounds} alternating rounds"
    );
    println!("{}\n", cpu());
    let rows: [(&str, &str, fn(&Turn) -> f64); 5] = [
        ("one stream, tokens/s", "single", |turn| turn.single),
        ("all streams together, tokens/s", "together", |turn| turn.together),
        ("99th percentile between pieces, ms", "gap_p99", |turn| turn.gap_p99),
        ("first token of a new prompt, ms", "first", |turn| turn.first),
        ("first token behind a shared beginning, ms", "first_shared", |turn| turn.first_shared),
    ];
    let [ours, theirs] = turns;
    println!("{:44} {:>15} {:>15} {:>15}", "", sides[0].name, sides[1].name, "ours / theirs");
    let mut figures = serde_json::Map::new();
    for (title, name, figure) in rows {
        let of = |turns: &[Turn]| median(turns.iter().map(figure).collect());
        let ratio =
            median(ours.iter().zip(theirs).map(|(ours, theirs)| figure(ours) / figure(theirs)).collect());
        println!("{title:44} {:15.1} {:15.1} {ratio:15.2}", of(ours), of(theirs));
        let round = |value: f64| (value * 1000.0).round() / 1000.0;
        figures.insert(
            name.into(),
            json!({"ours": round(of(ours)), "peer": round(of(theirs)), "median_ratio": round(ratio)}),
        );
    }
    println!();
    print_json(
        "serving",
        json!({
            "ours": format!("{} (casemate serve --danger-simulate, TLS 1.3)", version(program)?),
            "peer": "llama-server in xllamacpp (see bench/llama_server.py), HTTP",
            "model": model.file_name().map(|name| name.to_string_lossy()),
            "threads": threads, "streams": streams, "new_tokens": tokens, "rounds": rounds,
            "figures": figures,
            "ratio_is": "ours / peer: above 1 is better for tokens/s, below 1 for ms",
        }),
    );
    Ok(())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// llama-server, until this value is dropped.
struct Peer {
    child: Child,
    url: String,
}

impl Peer {
    async fn start(model: &Path, threads: NonZeroUsize, streams: usize) -> Fallible<Self> {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let python = std::env::var_os("PEER_PYTHON")
            .map_or_else(|| here.join("target/peer/bin/python"), PathBuf::from);
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let child = Command::new(&python)
            .arg(here.join("llama_server.py"))
            .arg(model)
            .args([port.to_string(), threads.to_string(), streams.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|e| format!("cannot start {}: {e}", python.display()))?;
        let peer = Self { child, url: format!("http://127.0.0.1:{port}") };
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            match reqwest::get(format!("{}/health", peer.url)).await {
                Ok(answer) if answer.status().is_success() => return Ok(peer),
                _ if Instant::now() > deadline => return Err("llama-server does not start".into()),
                _ => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
