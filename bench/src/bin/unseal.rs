//! Unsealing into memory against a plain read of the same plaintext into memory.
//!
//! Ours: `casemate_seal::Opener` reads the sealed blob, verifies and decrypts every chunk, and writes the plaintext into
//! an anonymous memory file, as `casemate serve` does. Peer: the same number of threads read the plaintext file and
//! write it into an anonymous memory file. Both files lie in the page cache, both memory files are new in every round.
//!
//! Settings: `SIZE_MIB` (1024), `ROUNDS` (9), `THREADS` (all). `TMPDIR` says where the two files lie; they need twice
//! the size there, and up to the size again in memory.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use casemate_bench::{Side, alternate, cores, cpu, print_json, setting};
use casemate_seal::{
    Manifest, ManifestBuilder, ModelId, ModelKey, Opener, Provider, PublisherSecret, ReadAt, Recipient,
    Sealer, VerifyMode, WriteAt,
};
use rustix::fs::{MemfdFlags, memfd_create};
use serde_json::json;

/// The peer's read size. Sizes from 64 KiB to 4 MiB were equally fast where this was written, within the noise.
const PLAIN_READ_BYTES: usize = 1 << 20;
const MIB: u64 = 1 << 20;

fn main() {
    let size = setting("SIZE_MIB", 1024) as u64 * MIB;
    let rounds = setting("ROUNDS", 9);
    let threads = setting("THREADS", cores()).max(1);

    let directory = tempfile::tempdir().expect("a temporary directory");
    let plain_path = directory.path().join("plain");
    let sealed_path = directory.path().join("sealed");
    write_pseudo_random(&plain_path, size).expect("the plaintext file");
    let key = ModelKey::from_bytes([1; 32]);
    let manifest = seal(&key, &plain_path, &sealed_path, threads);
    let plain = File::open(&plain_path).expect("the plaintext file");
    let blob = Blob(File::open(&sealed_path).expect("the sealed file"));

    check(&key, &manifest, &blob, &plain, size, threads);
    let open = |mode| {
        let opener = Opener::new(&key, &manifest, 0).expect("the right key").verify(mode);
        let (blob, threads) = (&blob, threads);
        move || timed(size, |memory| opener.open(blob, memory, threads, &|_| {}).expect("opens"))
    };
    let samples = alternate(
        1,
        rounds,
        vec![
            Side { name: "unseal (every chunk authenticated)", work: Box::new(open(VerifyMode::Aead)) },
            Side {
                name: "plain read",
                work: Box::new(|| timed(size, |memory| copy(&plain, memory, size, threads))),
            },
            Side { name: "unseal (also SHA-256 of the file)", work: Box::new(open(VerifyMode::Full)) },
        ],
    );

    let speed = |seconds: f64| size as f64 / 1e6 / seconds;
    println!("unseal: {} MiB into an anonymous memory file, {threads} threads, page cache warm", size / MIB);
    println!(
        "{} ({}), medians of {} alternating rounds\n",
        cpu(),
        Provider::detect().as_str(),
        samples.rounds()
    );
    println!("{:36} {:>8} {:>17} {:>14}", "", "MB/s", "p10..p90", "time vs plain");
    for (side, name) in samples.names().iter().enumerate() {
        let (fast, slow) = samples.spread(side);
        println!(
            "{name:36} {:8.0} {:>17} {:13.2}x",
            speed(samples.median(side)),
            format!("{:.0}..{:.0}", speed(slow), speed(fast)),
            samples.ratio(side, 1)
        );
    }
    println!();
    print_json(
        "unseal",
        json!({
            "ours": concat!("casemate-seal Opener::open, AEAD of every chunk, casemate ", env!("CARGO_PKG_VERSION")),
            "peer": "pread of the plaintext file and pwrite into the memory file, 1 MiB at a time",
            "provider": Provider::detect().as_str(),
            "mib": size / MIB,
            "threads": threads,
            "rounds": samples.rounds(),
            "ours_mb_per_s": speed(samples.median(0)).round(),
            "peer_mb_per_s": speed(samples.median(1)).round(),
            "ours_with_sha256_mb_per_s": speed(samples.median(2)).round(),
            "median_ratio": round(samples.ratio(0, 1)),
            "ratio_is": "time of ours / time of peer",
        }),
    );
}

/// The time that the work takes into a new memory file of this size; making and freeing it does not count.
fn timed(size: u64, work: impl FnOnce(&Memory)) -> Duration {
    let memory = Memory::new(size).expect("a memory file");
    let start = Instant::now();
    work(&memory);
    start.elapsed()
}

/// The peer: each thread reads and writes its own part.
fn copy(plain: &File, memory: &Memory, size: u64, threads: usize) {
    let share = size.div_ceil(threads as u64);
    std::thread::scope(|scope| {
        for part in 0..threads as u64 {
            scope.spawn(move || {
                let mut buffer = vec![0; PLAIN_READ_BYTES];
                let end = size.min((part + 1) * share);
                let mut at = part * share;
                while at < end {
                    let piece = &mut buffer[..(end - at).min(PLAIN_READ_BYTES as u64) as usize];
                    plain.read_exact_at(piece, at).expect("reads");
                    memory.0.write_all_at(piece, at).expect("writes");
                    at += piece.len() as u64;
                }
            });
        }
    });
}

/// Both sides must deliver the plaintext before either is timed.
fn check(key: &ModelKey, manifest: &Manifest, blob: &Blob, plain: &File, size: u64, threads: usize) {
    let opener = Opener::new(key, manifest, 0).expect("the right key").verify(VerifyMode::Full);
    let (ours, theirs) = (Memory::new(size).expect("memory"), Memory::new(size).expect("memory"));
    opener.open(blob, &ours, threads, &|_| {}).expect("opens");
    copy(plain, &theirs, size, threads);
    let (mut one, mut other) = (vec![0; PLAIN_READ_BYTES], vec![0; PLAIN_READ_BYTES]);
    for at in (0..size).step_by(PLAIN_READ_BYTES) {
        let length = (size - at).min(PLAIN_READ_BYTES as u64) as usize;
        ours.0.read_exact_at(&mut one[..length], at).expect("reads");
        theirs.0.read_exact_at(&mut other[..length], at).expect("reads");
        assert!(one[..length] == other[..length], "the two sides differ at {at}");
    }
}

fn seal(key: &ModelKey, plain: &std::path::Path, sealed: &std::path::Path, threads: usize) -> Manifest {
    let id = ModelId { uuid: [2; 16], version: 1 };
    let mut source = File::open(plain).expect("the plaintext file");
    let mut destination = BufWriter::new(File::create(sealed).expect("the sealed file"));
    let sealer = Sealer::new(key, &id, "model.gguf", &[3; 24]).expect("a sealer");
    let entry = sealer.seal(&mut source, &mut destination, threads, &|_| {}).expect("seals");
    let publisher = PublisherSecret::from_seed([4; 32]);
    let envelope = ManifestBuilder::new(id, "bench", 0, key)
        .file(entry)
        .recipient(Recipient::kbs("kbs:///bench/key/1").expect("a name"))
        .sign(&publisher)
        .expect("signs");
    Manifest::verify(&envelope, &[publisher.public().expect("a key")]).expect("verifies")
}

/// Bytes that no file system compresses (xorshift64*).
fn write_pseudo_random(path: &std::path::Path, size: u64) -> io::Result<()> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let numbers = std::iter::repeat_with(|| {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    });
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path)?);
    for number in numbers.take((size / 8) as usize) {
        file.write_all(&number.to_le_bytes())?;
    }
    file.flush()?;
    Ok(())
}

fn round(ratio: f64) -> f64 {
    (ratio * 1000.0).round() / 1000.0
}

struct Blob(File);

impl ReadAt for Blob {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(buf, offset)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}

struct Memory(File);

impl Memory {
    fn new(size: u64) -> io::Result<Self> {
        let file = File::from(memfd_create(c"casemate-bench", MemfdFlags::CLOEXEC)?);
        file.set_len(size)?;
        Ok(Self(file))
    }
}

impl WriteAt for Memory {
    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(buf, offset)
    }
}
