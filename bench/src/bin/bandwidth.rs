//! How near decoding comes to what the memory gives: each token of one answer reads all weights once, so that tokens per second times
//! the bytes of the weights cannot be more than the memory's reading speed.
//!
//! Reading speed: as many threads as the engine has each sum up a part of a buffer far larger than the caches. Decoding: one greedy
//! answer without guesses. The two take turns. Weights are counted from the file's list of tensors: the table of embeddings, of which a
//! token reads one row, counts only where it is the output matrix too. The attention cache is not counted, so that the share is a
//! little too low.
//!
//! Settings: `ROUNDS` (5), `THREADS` (all), `MAX_NEW_TOKENS` (64), `BUFFER_MIB` (1024), `CASEMATE_MODEL`.

use std::fs::File;
use std::hint::black_box;
use std::io::{BufReader, Read};
use std::num::{NonZeroU32, NonZeroUsize};
use std::ops::ControlFlow;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use casemate_bench::stage::{Fallible, model};
use casemate_bench::{Side, alternate, cores, cpu, print_json, setting};
use casemate_engine::{Engine, EngineOptions, Event, GenerateRequest, Input, LlamaEngine, TokenBudget};
use serde_json::json;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bandwidth: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Fallible<()> {
    let model = model()?;
    let threads = NonZeroUsize::new(setting("THREADS", cores())).ok_or("THREADS must not be 0")?;
    let tokens = NonZeroU32::new(u32::try_from(setting("MAX_NEW_TOKENS", 64).max(2))?).ok_or("no tokens")?;
    let weights = weights(&model)?;
    let engine =
        LlamaEngine::load(&model, EngineOptions { threads, guess_tokens: 0, ..EngineOptions::default() })?;
    // Written, so that each page is its own.
    let buffer: Vec<u64> = (0..setting("BUFFER_MIB", 1024) as u64 * (1 << 17)).collect();
    let failed = std::cell::RefCell::new(None);
    let samples = alternate(
        1,
        setting("ROUNDS", 5).max(1),
        vec![
            Side::timed("read", || {
                let _ = black_box(read(&buffer, threads));
            }),
            Side {
                name: "decode",
                work: Box::new(|| {
                    let (mut first, mut count) = (None, 0);
                    let started = Instant::now();
                    let input = Input::Raw("The keeper of the lighthouse looked out at the sea and".into());
                    let request = GenerateRequest::new(input, TokenBudget::Exact(tokens));
                    let request = GenerateRequest { logprobs: Some(0), ..request };
                    let done = engine.generate(request, &mut |event| {
                        if let Event::Token(_) = event {
                            first.get_or_insert_with(Instant::now);
                            count += 1;
                        }
                        ControlFlow::Continue(())
                    });
                    if let Err(error) = done {
                        *failed.borrow_mut() = Some(error);
                    }
                    // As if it were one token.
                    first.unwrap_or(started).elapsed().div_f64(f64::from((count - 1).max(1)))
                }),
            },
        ],
    );
    if let Some(error) = failed.into_inner() {
        return Err(error.into());
    }
    let bytes = size_of_val(buffer.as_slice()) as f64;
    let (speed, rate) = (bytes / samples.median(0), 1.0 / samples.median(1));
    let used = rate * weights as f64;
    // In each round for itself.
    let share = samples.ratio(0, 1) * weights as f64 / bytes;
    let name = model.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    println!(
        "bandwidth: {name}, {threads} threads, medians of {} alternating rounds; {}\n",
        samples.rounds(),
        cpu()
    );
    println!("the memory gives            {:8.2} GB/s", speed / 1e9);
    println!("weights read for a token    {:8.1} MB", weights as f64 / 1e6);
    println!("one answer                  {rate:8.2} tokens/s, which reads {:.2} GB/s", used / 1e9);
    println!("share of the limit          {share:8.2}\n");
    let round = |value: f64| (value * 1000.0).round() / 1000.0;
    print_json(
        "bandwidth",
        json!({
            "model": name, "threads": threads, "rounds": samples.rounds(), "read_gb_per_s": round(speed / 1e9),
            "weights_bytes": weights, "tokens_per_s": round(rate), "share": round(share),
            "share_is": "tokens per second * bytes of the weights / bytes per second that the threads read",
        }),
    );
    Ok(())
}

/// All threads read the buffer once, each its part, in eight sums so that no addition waits for another.
fn read(buffer: &[u64], threads: NonZeroUsize) -> u64 {
    std::thread::scope(|scope| {
        let parts = buffer.chunks(buffer.len().div_ceil(threads.get()));
        let sums: Vec<_> = parts
            .map(|part| {
                scope.spawn(|| {
                    let mut sums = [0_u64; 32];
                    for eight in part.chunks_exact(32) {
                        for (sum, value) in sums.iter_mut().zip(eight) {
                            *sum = sum.wrapping_add(*value);
                        }
                    }
                    sums.iter().fold(0_u64, |a, b| a.wrapping_add(*b))
                })
            })
            .collect();
        sums.into_iter().map(|sum| sum.join().unwrap_or(0)).fold(0, u64::wrapping_add)
    })
}

/// Bytes of the weights that a token reads.
fn weights(path: &Path) -> Fallible<u64> {
    let mut header = Header(BufReader::new(File::open(path)?));
    if header.bytes(4)? != b"GGUF" || header.u32()? != 3 {
        return Err("not a GGUF file of version 3".into());
    }
    let (tensors, values) = (header.u64()?, header.u64()?);
    let mut alignment = 32;
    for _ in 0..values {
        let key = header.text()?;
        let kind = header.u32()?;
        if key == b"general.alignment" {
            alignment = u64::from(header.u32()?);
        } else {
            header.skip(kind)?;
        }
    }
    let mut list = Vec::new();
    for _ in 0..tensors {
        let name = header.text()?;
        let dimensions = header.u32()?;
        header.bytes(8 * u64::from(dimensions) + 4)?;
        list.push((header.u64()?, name));
    }
    list.sort();
    // One begins where the one before ends, but for padding.
    let end = std::fs::metadata(path)?.len() - header.position()?.next_multiple_of(alignment);
    let ends = list.iter().skip(1).map(|(offset, _)| *offset).chain([end]);
    let sizes: Vec<u64> = ends.zip(&list).map(|(end, (offset, _))| end - offset).collect();
    let own_output = list.iter().any(|(_, name)| name == b"output.weight");
    let read = list.iter().zip(&sizes).filter(|((_, name), _)| !(own_output && name == b"token_embd.weight"));
    Ok(read.map(|(_, size)| size).sum())
}

struct Header(BufReader<File>);

impl Header {
    fn bytes(&mut self, count: u64) -> Fallible<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(count)?];
        self.0.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn u32(&mut self) -> Fallible<u32> {
        Ok(u32::from_le_bytes(self.bytes(4)?.as_slice().try_into()?))
    }

    fn u64(&mut self) -> Fallible<u64> {
        Ok(u64::from_le_bytes(self.bytes(8)?.as_slice().try_into()?))
    }

    fn text(&mut self) -> Fallible<Vec<u8>> {
        let length = self.u64()?;
        self.bytes(length)
    }

    fn skip(&mut self, kind: u32) -> Fallible<()> {
        match kind {
            0 | 1 | 7 => drop(self.bytes(1)?),
            2 | 3 => drop(self.bytes(2)?),
            4..=6 => drop(self.bytes(4)?),
            8 => drop(self.text()?),
            9 => {
                let kind = self.u32()?;
                for _ in 0..self.u64()? {
                    self.skip(kind)?;
                }
            }
            10..=12 => drop(self.bytes(8)?),
            _ => return Err(format!("a value of the unknown kind {kind}").into()),
        }
        Ok(())
    }

    fn position(&mut self) -> Fallible<u64> {
        use std::io::Seek;
        Ok(self.0.stream_position()?)
    }
}
