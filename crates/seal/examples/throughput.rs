//! Speed of sealing and opening in memory, on both libraries: `cargo run --release --example throughput`.
//!
//! Arguments: size in MiB (default 1024), rounds (default 7). Prints the median of the rounds in GB/s
//! (10^9 bytes of plaintext per second), by the wall clock, so an otherwise idle machine gives better figures.
#![allow(clippy::print_stdout, reason = "its output is its purpose")]

use std::io;
use std::sync::Mutex;
use std::time::Instant;

use casemate_seal::{
    Manifest, ManifestBuilder, ModelId, ModelKey, Opener, Provider, Recipient, Sealer, VerifyMode, WriteAt,
};

fn main() {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<usize>().expect("a number"));
    let size = arguments.next().unwrap_or(1024) << 20;
    let rounds = arguments.next().unwrap_or(7);
    println!(
        "{} MiB, median of {rounds} rounds, GB/s; this CPU's choice: {}",
        size >> 20,
        Provider::detect().as_str()
    );

    let mut plain = vec![0u8; size];
    let mut state = 1u64;
    for word in plain.chunks_exact_mut(8) {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        word.copy_from_slice(&state.to_le_bytes());
    }
    let (manifest, blob) = seal(&plain, rounds);

    let mut out = vec![1u8; size];
    for threads in [1, 2] {
        let half = size.div_ceil(threads);
        let copy = median(rounds, size, || {
            std::thread::scope(|scope| {
                for (to, from) in out.chunks_mut(half).zip(plain.chunks(half)) {
                    scope.spawn(|| to.copy_from_slice(from));
                }
            });
        });
        println!("{:40} {threads} threads {copy:6.2}", "copy");
    }
    let key = ModelKey::from_bytes(KEY);
    for provider in [Provider::AwsLc, Provider::Ring] {
        for (mode, name) in [(VerifyMode::Aead, "tags"), (VerifyMode::Full, "tags and SHA-256")] {
            let opener = Opener::with_provider(provider, &key, &manifest, 0).expect("opener").verify(mode);
            for threads in [1, 2] {
                let speed = median(rounds, size, || {
                    opener.open_into_slice(&blob, &mut out, threads, &|_| {}).expect("opens");
                });
                report(&format!("open into memory, {name}"), provider, threads, speed);
            }
        }
        let opener = Opener::with_provider(provider, &key, &manifest, 0).expect("opener");
        for threads in [1, 2] {
            let sink = Discard(Mutex::new(0));
            let speed = median(rounds, size, || opener.open(&blob, &sink, threads, &|_| {}).expect("opens"));
            report("open to a writer that discards", provider, threads, speed);
        }
    }
    assert!(out == plain);
}

const KEY: [u8; 32] = [1; 32];

fn seal(plain: &[u8], rounds: usize) -> (Manifest, Vec<u8>) {
    let key = ModelKey::from_bytes(KEY);
    let id = ModelId { uuid: [2; 16], version: 1 };
    let mut blob = Vec::with_capacity(plain.len() + plain.len() / 512);
    let mut entry = None;
    for provider in [Provider::AwsLc, Provider::Ring] {
        for threads in [1, 2] {
            let speed = median(rounds, plain.len(), || {
                blob.clear();
                let sealer = Sealer::with_provider(provider, &key, &id, "w", &[3; 24]).expect("sealer");
                entry = Some(sealer.seal(&mut &*plain, &mut blob, threads, &|_| {}).expect("seals"));
            });
            report("seal (always with SHA-256)", provider, threads, speed);
        }
    }
    let publisher = casemate_seal::PublisherSecret::from_seed([4; 32]);
    let envelope = ManifestBuilder::new(id, "throughput", 0, &key)
        .file(entry.expect("sealed"))
        .recipient(Recipient::kbs("kbs:///a/b/c").expect("uri"))
        .sign(&publisher)
        .expect("signs");
    let manifest = Manifest::verify(&envelope, &[publisher.public().expect("key")]).expect("verifies");
    (manifest, blob)
}

struct Discard(Mutex<u64>);

impl WriteAt for Discard {
    fn write_all_at(&self, buf: &[u8], _: u64) -> io::Result<()> {
        *self.0.lock().expect("lock") += buf.len() as u64;
        Ok(())
    }
}

fn report(what: &str, provider: Provider, threads: usize, speed: f64) {
    println!("{what:30} {:>9} {threads} threads {speed:6.2}", provider.as_str());
}

/// Median of `rounds` timings after one warm-up, in 10^9 bytes per second.
fn median(rounds: usize, bytes: usize, mut work: impl FnMut()) -> f64 {
    work();
    let mut speeds: Vec<f64> = (0..rounds)
        .map(|_| {
            let start = Instant::now();
            work();
            bytes as f64 / start.elapsed().as_secs_f64() / 1e9
        })
        .collect();
    speeds.sort_by(f64::total_cmp);
    speeds.get(rounds / 2).copied().unwrap_or_default()
}
