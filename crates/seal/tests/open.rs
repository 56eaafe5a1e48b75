//! Opening: round trips, and every way in which a blob can be wrong.

mod model;

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use casemate_seal::{
    CHUNK_PLAIN_LEN, CHUNK_SEALED_LEN, Layout, Manifest, ModelId, ModelKey, OpenError, Opener, Provider,
    ReadAt, SPAN_CHUNKS, SealError, Sealer, VerifyMode, WriteAt,
};
use model::{ID, KEY, Memory, manifest_of, model, pattern, quiet, seal_file};
use proptest::prelude::*;

const CHUNK: usize = CHUNK_PLAIN_LEN;
const SEALED: usize = CHUNK_SEALED_LEN;
const SPAN: usize = CHUNK * SPAN_CHUNKS as usize;

fn key() -> ModelKey {
    ModelKey::from_bytes(KEY)
}

/// Opens file 0 in every way that there is, requires that they agree, and gives the result.
fn open_all_ways(manifest: &Manifest, blob: &[u8]) -> Result<Vec<u8>, OpenError> {
    let mut results = Vec::new();
    let threads: &[usize] = if blob.len() > SPAN { &[1, 8] } else { &[0, 1, 3, 8] };
    for provider in [Provider::AwsLc, Provider::Ring] {
        for mode in [VerifyMode::Aead, VerifyMode::Full] {
            let opener = Opener::with_provider(provider, &key(), manifest, 0)?.verify(mode);
            for &threads in threads {
                let memory = Memory::new(opener.file().size);
                let opened = opener.open(&blob, &memory, threads, &quiet);
                results.push(opened.map(|()| memory.into_inner()));
                let mut slice = vec![0xee; opener.file().size as usize];
                let opened = opener.open_into_slice(&blob, &mut slice, threads, &quiet);
                if opened.is_err() {
                    assert!(slice.iter().all(|byte| *byte == 0), "the destination is wiped");
                }
                results.push(opened.map(|()| slice));
            }
        }
    }
    assert!(results.iter().all(|result| *result == results[0]), "all ways agree");
    results.swap_remove(0)
}

fn code(result: Result<Vec<u8>, OpenError>) -> &'static str {
    result.map(|_| ()).unwrap_err().code()
}

#[test]
fn round_trip_at_every_boundary() {
    let lengths = [
        0,
        1,
        CHUNK - 1,
        CHUNK,
        CHUNK + 1,
        3 * CHUNK,
        16 * CHUNK,
        SPAN - 1,
        SPAN,
        SPAN + 1,
        2 * SPAN,
        2 * SPAN + 3 * CHUNK + 5,
    ];
    for len in lengths {
        let plain = pattern(len);
        let (entry, blob) = seal_file(&ID, "w.bin", &plain, 1);
        assert_eq!(entry.size, len as u64);
        assert_eq!(blob.len() as u64, entry.blob_len());
        for threads in [2, 5] {
            assert!(
                seal_file(&ID, "w.bin", &plain, threads) == (entry.clone(), blob.clone()),
                "{threads} sealers"
            );
        }
        let manifest = manifest_of([entry]);
        assert!(open_all_ways(&manifest, &blob).unwrap() == plain, "{len} bytes");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_length_round_trips_and_any_range_opens(len in 0usize..5 * CHUNK, a in 0u64..90_000, b in 0u64..90_000) {
        let plain = pattern(len);
        let (entry, blob) = seal_file(&ID, "w.bin", &plain, 1 + len % 3);
        let opener = Opener::new(&key(), &manifest_of([entry]), 0).unwrap();
        let mut whole = vec![0; len];
        opener.open_into_slice(&blob, &mut whole, 2, &quiet).unwrap();
        prop_assert_eq!(&whole, &plain);

        let (from, to) = (a.min(b).min(len as u64), a.max(b).min(len as u64));
        let mut part = vec![0; (to - from) as usize];
        opener.open_range(&blob, from, &mut part).unwrap();
        prop_assert_eq!(&part[..], &plain[from as usize..to as usize]);
    }

    #[test]
    fn one_flip_anywhere_never_opens(len in 0usize..3 * CHUNK, at: prop::sample::Index, bit in 0u8..8) {
        let (entry, mut blob) = seal_file(&ID, "w.bin", &pattern(len), 1);
        let manifest = manifest_of([entry]);
        let at = at.index(blob.len());
        blob[at] ^= 1 << bit;
        let expected = if at < 56 {
            OpenError::Header { file: "w.bin".into() }
        } else {
            OpenError::Chunk { file: "w.bin".into(), chunk: ((at - 56) / SEALED) as u64 }
        };
        prop_assert_eq!(open_all_ways(&manifest, &blob), Err(expected));
    }
}

#[test]
fn every_bit_of_a_small_blob_counts() {
    let (entry, blob) = seal_file(&ID, "w.bin", b"twenty bytes of text", 1);
    let opener = Opener::new(&key(), &manifest_of([entry]), 0).unwrap();
    for at in 0..blob.len() {
        for bit in 0..8 {
            let mut blob = blob.clone();
            blob[at] ^= 1 << bit;
            let mut out = vec![0; 20];
            let error = opener.open_into_slice(&blob, &mut out, 1, &quiet).unwrap_err();
            assert_eq!(error.code(), if at < 56 { "seal.blob.header" } else { "seal.chunk.tampered" });
            assert_eq!(out, [0; 20]);
        }
    }
}

#[test]
fn truncation_at_every_boundary() {
    let (entry, blob) = seal_file(&ID, "w.bin", &pattern(2 * CHUNK + 100), 1);
    let manifest = manifest_of([entry]);
    let boundaries = [
        0,
        24,
        55,
        56,
        71,
        72,
        56 + SEALED - 16,
        56 + SEALED,
        56 + SEALED + 16,
        56 + 2 * SEALED,
        56 + 2 * SEALED + 16,
        blob.len() - 16,
        blob.len() - 1,
    ];
    for len in boundaries {
        let short = blob[..len].to_vec();
        let expected =
            OpenError::Truncated { file: "w.bin".into(), expected: blob.len() as u64, actual: len as u64 };
        assert_eq!(open_all_ways(&manifest, &short), Err(expected), "{len}");
    }
}

#[test]
fn trailing_bytes() {
    let (entry, blob) = seal_file(&ID, "w.bin", &pattern(CHUNK + 100), 1);
    let manifest = manifest_of([entry]);
    for extra in [1, 15, 16, 17, SEALED] {
        let mut long = blob.clone();
        long.extend(vec![0; extra]);
        assert_eq!(code(open_all_ways(&manifest, &long)), "seal.blob.trailing", "{extra}");
    }
}

#[test]
fn chunks_out_of_place_are_named() {
    let (entry, blob) = seal_file(&ID, "w.bin", &pattern(4 * CHUNK + 7), 1);
    let manifest = manifest_of([entry]);
    let chunk = |k: usize| 56 + k * SEALED..56 + (k + 1) * SEALED;
    let first_bad = |blob: &[u8]| match open_all_ways(&manifest, blob).unwrap_err() {
        OpenError::Chunk { file, chunk } if file == "w.bin" => chunk,
        other => panic!("{other}"),
    };

    let mut swapped = blob.clone();
    swapped[chunk(1)].copy_from_slice(&blob[chunk(3)]);
    swapped[chunk(3)].copy_from_slice(&blob[chunk(1)]);
    assert_eq!(first_bad(&swapped), 1);

    let mut duplicated = blob.clone();
    duplicated.copy_within(chunk(1), chunk(2).start);
    assert_eq!(first_bad(&duplicated), 2);

    let mut dropped = blob.clone();
    dropped.drain(chunk(2));
    assert_eq!(code(open_all_ways(&manifest, &dropped)), "seal.blob.truncated");

    let mut zeroed = blob.clone();
    zeroed[chunk(0)].fill(0);
    assert_eq!(first_bad(&zeroed), 0);
}

#[test]
fn the_lowest_bad_chunk_is_named_whatever_the_threads() {
    let (entry, mut blob) = seal_file(&ID, "w.bin", &pattern(6 * SPAN + 9), 2);
    let manifest = manifest_of([entry]);
    for bad in [3071, 2600, 1537, 1030] {
        blob[56 + bad * SEALED + 5] ^= 1;
        let expected = OpenError::Chunk { file: "w.bin".into(), chunk: bad as u64 };
        assert_eq!(open_all_ways(&manifest, &blob), Err(expected));
    }
}

#[test]
fn the_empty_final_chunk_is_verified_too() {
    for len in [0, CHUNK, 16 * CHUNK, SPAN] {
        let (entry, mut blob) = seal_file(&ID, "w.bin", &pattern(len), 1);
        let manifest = manifest_of([entry]);
        *blob.last_mut().unwrap() ^= 1;
        let expected = OpenError::Chunk { file: "w.bin".into(), chunk: (len / CHUNK) as u64 };
        assert_eq!(open_all_ways(&manifest, &blob), Err(expected), "{len}");
    }
}

#[test]
fn another_blob_of_the_same_file_is_refused() {
    // The same plaintext, key and name under another salt: an older or newer sealing.
    let plain = pattern(100);
    let (entry, _) = seal_file(&ID, "w.bin", &plain, 1);
    let other = Sealer::new(&key(), &ID, "w.bin", &[1; 24]).unwrap();
    let mut blob = Vec::new();
    other.seal(&mut &*plain, &mut blob, 1, &quiet).unwrap();
    assert_eq!(code(open_all_ways(&manifest_of([entry]), &blob)), "seal.blob.header");
}

#[test]
fn a_header_in_front_of_other_chunks_does_not_help() {
    let plain = pattern(100);
    let (entry, blob) = seal_file(&ID, "w.bin", &plain, 1);
    let (_, mut other) = seal_file(&ID, "v.bin", &plain, 1);
    other[..56].copy_from_slice(&blob[..56]);
    assert_eq!(code(open_all_ways(&manifest_of([entry]), &other)), "seal.chunk.tampered");
}

#[test]
fn wrong_key_name_or_version() {
    let (entry, _) = seal_file(&ID, "w.bin", b"weights", 1);
    let manifest = manifest_of([entry.clone()]);
    let mut wrong = KEY;
    wrong[31] ^= 1;
    let refused = |key: &ModelKey, manifest: &Manifest, index| {
        Opener::new(key, manifest, index).map(|_| ()).unwrap_err()
    };
    assert_eq!(refused(&ModelKey::from_bytes(wrong), &manifest, 0), OpenError::WrongKey);
    assert_eq!(refused(&key(), &manifest, 1), OpenError::NoSuchFile { index: 1, files: 1 });

    // A header signed for another name, and one of another version or model: it does not commit.
    let mut renamed = entry.clone();
    renamed.name = "x.bin".into();
    let commitment = OpenError::Commitment { file: "x.bin".into() };
    assert_eq!(refused(&key(), &manifest_of([renamed]), 0), commitment);
    for id in [ModelId { version: 18, ..ID }, ModelId { uuid: [0xc4; 16], ..ID }] {
        let (foreign, _) = seal_file(&id, "w.bin", b"weights", 1);
        assert_eq!(refused(&key(), &manifest_of([foreign]), 0).code(), "seal.blob.commitment");
    }
    let mut salted = entry;
    salted.header[0] ^= 1;
    assert_eq!(refused(&key(), &manifest_of([salted]), 0).code(), "seal.blob.commitment");
}

#[test]
fn an_insider_with_the_model_key_is_caught_by_the_full_mode() {
    // Another holder of the model key seals other weights under the pinned header: same salt, same keys.
    let (entry, _) = seal_file(&ID, "w.bin", b"honest weights", 1);
    let (forged, blob) = seal_file(&ID, "w.bin", b"forged weights", 1);
    assert_eq!(entry.header, forged.header);
    let opener = || Opener::new(&key(), &manifest_of([entry.clone()]), 0).unwrap();
    let memory = Memory::new(14);
    opener().open(&blob, &memory, 1, &quiet).unwrap();
    assert_eq!(memory.into_inner(), b"forged weights", "tags alone do not stop an insider");
    for threads in [1, 4] {
        let mut out = [1; 14];
        let error = opener().verify(VerifyMode::Full).open_into_slice(&blob, &mut out, threads, &quiet);
        assert_eq!(error, Err(OpenError::Digest { file: "w.bin".into() }));
        assert_eq!(out, [0; 14]);
    }
}

#[test]
fn destinations_and_ranges_of_the_wrong_size() {
    let (entry, blob) = seal_file(&ID, "w.bin", &pattern(CHUNK + 5), 1);
    let opener = Opener::new(&key(), &manifest_of([entry]), 0).unwrap();
    for len in [0, CHUNK + 4, CHUNK + 6] {
        let error = opener.open_into_slice(&blob, &mut vec![0; len], 2, &quiet).unwrap_err();
        assert_eq!(error.code(), "seal.open.destination");
    }
    for (offset, len) in [(0, CHUNK + 6), (CHUNK as u64 + 5, 1), (CHUNK as u64 + 6, 0), (u64::MAX, 1)] {
        let error = opener.open_range(&blob, offset, &mut vec![0; len]).unwrap_err();
        assert_eq!(error.code(), "seal.open.range", "{offset}+{len}");
    }
    opener.open_range(&blob, CHUNK as u64 + 5, &mut []).unwrap();
    let error = opener.open_range(&blob[..100].to_vec(), 0, &mut [0; 5]).unwrap_err();
    assert_eq!(error.code(), "seal.blob.truncated");
}

#[test]
fn ranges_touch_only_their_chunks() {
    let (entry, mut blob) = seal_file(&ID, "w.bin", &pattern(4 * CHUNK), 1);
    let opener = Opener::new(&key(), &manifest_of([entry]), 0).unwrap();
    blob[56 + 2 * SEALED] ^= 1;
    let mut out = vec![0; CHUNK];
    for offset in [0, CHUNK as u64, 3 * CHUNK as u64] {
        opener.open_range(&blob, offset, &mut out).unwrap();
        assert!(out == pattern(4 * CHUNK)[offset as usize..][..CHUNK]);
    }
    for offset in [CHUNK as u64 + 1, 2 * CHUNK as u64, 3 * CHUNK as u64 - 1] {
        let error = opener.open_range(&blob, offset, &mut out).unwrap_err();
        assert_eq!(error, OpenError::Chunk { file: "w.bin".into(), chunk: 2 });
        assert!(out.iter().all(|byte| *byte == 0));
    }
}

#[test]
fn ranges_longer_than_a_span() {
    let plain = pattern(2 * SPAN + 100);
    let (entry, blob) = seal_file(&ID, "w.bin", &plain, 2);
    let opener = Opener::new(&key(), &manifest_of([entry]), 0).unwrap();
    let mut out = vec![0; plain.len() - 77 - 3];
    opener.open_range(&blob, 77, &mut out).unwrap();
    assert!(out == plain[77..plain.len() - 3]);
}

/// A source whose length is right but which fails, or ends, within.
struct Failing<'a> {
    blob: &'a [u8],
    at: u64,
    kind: io::ErrorKind,
}

impl ReadAt for Failing<'_> {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        if offset + buf.len() as u64 > self.at {
            return Err(self.kind.into());
        }
        self.blob.read_exact_at(buf, offset)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.blob.len() as u64)
    }
}

#[test]
fn faults_of_source_and_destination() {
    let (entry, blob) = seal_file(&ID, "w.bin", &pattern(3 * SPAN), 1);
    let opener = Opener::new(&key(), &manifest_of([entry]), 0).unwrap();
    let memory = Memory::new(3 * SPAN as u64);
    for (at, offset) in [(10, 0), (60, 56), (10_000_000, 9_971_256)] {
        let source = Failing { blob: &blob, at, kind: io::ErrorKind::TimedOut };
        let error = opener.open(&source, &memory, 3, &quiet).unwrap_err();
        let kind = io::ErrorKind::TimedOut;
        assert_eq!(error, OpenError::Read { file: "w.bin".into(), offset, kind });
    }
    let small = Memory::new(SPAN as u64 + 1);
    for mode in [VerifyMode::Aead, VerifyMode::Full] {
        let (entry, blob) = seal_file(&ID, "w.bin", &pattern(3 * SPAN), 1);
        let opener = Opener::new(&key(), &manifest_of([entry]), 0).unwrap().verify(mode);
        let error = opener.open(&blob, &small, 3, &quiet).unwrap_err();
        let kind = io::ErrorKind::WriteZero;
        assert_eq!(error, OpenError::Write { file: "w.bin".into(), offset: SPAN as u64, kind });
    }
}

/// A source or destination that panics at one offset, and is otherwise a good one.
struct Panicking<'a> {
    blob: &'a [u8],
    read_at: u64,
    write_at: u64,
}

impl ReadAt for Panicking<'_> {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        assert!(offset != self.read_at, "deliberate");
        self.blob.read_exact_at(buf, offset)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.blob.len() as u64)
    }
}

impl WriteAt for Panicking<'_> {
    fn write_all_at(&self, _: &[u8], offset: u64) -> io::Result<()> {
        assert!(offset != self.write_at, "deliberate");
        Ok(())
    }
}

#[test]
fn a_panic_in_one_thread_does_not_hang_the_others() {
    let (entry, blob) = seal_file(&ID, "w.bin", &pattern(8 * SPAN), 2);
    let second_span = Layout::of_plain(entry.size).unwrap().chunk_offset(SPAN_CHUNKS);
    for (read_at, write_at) in [(second_span, u64::MAX), (u64::MAX, SPAN as u64)] {
        for mode in [VerifyMode::Aead, VerifyMode::Full] {
            let opener = Opener::new(&key(), &manifest_of([entry.clone()]), 0).unwrap().verify(mode);
            let blob = blob.clone();
            let (done, panicked) = std::sync::mpsc::channel();
            std::thread::spawn(move || {
                let faulty = Panicking { blob: &blob, read_at, write_at };
                let opened = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                    opener.open(&faulty, &faulty, 4, &quiet)
                }));
                done.send(opened.is_err()).unwrap();
            });
            let panicked = panicked.recv_timeout(Duration::from_secs(60));
            assert_eq!(panicked, Ok(true), "{mode:?}: the panic is passed on, and no thread waits for ever");
        }
    }
}

#[test]
fn a_later_failure_of_an_earlier_span_is_the_one_named() {
    struct Slow<'a>(&'a [u8]);
    impl ReadAt for Slow<'_> {
        fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
            if (56..SPAN as u64).contains(&offset) {
                std::thread::sleep(Duration::from_millis(20));
            }
            self.0.read_exact_at(buf, offset)
        }

        fn len(&self) -> io::Result<u64> {
            Ok(self.0.len() as u64)
        }
    }
    let (entry, mut blob) = seal_file(&ID, "w.bin", &pattern(3 * SPAN), 2);
    let manifest = manifest_of([entry]);
    blob[56 + 100 * SEALED] ^= 1;
    blob[56 + 513 * SEALED] ^= 1;
    for mode in [VerifyMode::Aead, VerifyMode::Full] {
        let opener = Opener::new(&key(), &manifest, 0).unwrap().verify(mode);
        let error = opener.open_into_slice(&Slow(&blob), &mut vec![0; 3 * SPAN], 2, &quiet).unwrap_err();
        assert_eq!(error, OpenError::Chunk { file: "w.bin".into(), chunk: 100 });
    }
}

#[test]
fn progress_adds_up_to_the_size() {
    let plain = pattern(2 * SPAN + 5);
    let done = AtomicU64::new(0);
    let count = |bytes: u64| {
        done.fetch_add(bytes, Ordering::Relaxed);
    };
    let mut blob = Vec::new();
    let sealer = Sealer::new(&key(), &ID, "w.bin", &[3; 24]).unwrap();
    let entry = sealer.seal(&mut &*plain, &mut blob, 2, &count).unwrap();
    assert_eq!(done.swap(0, Ordering::Relaxed), plain.len() as u64);
    let opener = Opener::new(&key(), &manifest_of([entry]), 0).unwrap();
    opener.open_into_slice(&blob, &mut vec![0; plain.len()], 3, &count).unwrap();
    assert_eq!(done.into_inner(), plain.len() as u64);
}

#[test]
fn several_files_keep_apart() {
    let (manifest, blobs) = model(&[("b/2.bin", b"two"), ("a.bin", b"one"), ("b/1.bin", b"")]);
    let names: Vec<_> = manifest.files().iter().map(|file| file.name.as_str()).collect();
    assert_eq!(names, ["a.bin", "b/1.bin", "b/2.bin"]);
    for (index, plain) in [b"one".as_slice(), b"", b"two"].into_iter().enumerate() {
        let opener = Opener::new(&key(), &manifest, index).unwrap();
        let mut out = vec![0; plain.len()];
        opener.open_into_slice(&blobs[index], &mut out, 1, &quiet).unwrap();
        assert_eq!(out, plain);
    }
    // The blobs of two files of one length, exchanged.
    let opener = Opener::new(&key(), &manifest, 0).unwrap();
    let error = opener.open_into_slice(&blobs[2], &mut [0; 3], 1, &quiet).unwrap_err();
    assert_eq!(error, OpenError::Header { file: "a.bin".into() });
}

#[test]
fn sealing_refuses() {
    let refused = |id: ModelId, name: &str| Sealer::new(&key(), &id, name, &[0; 24]).map(|_| ()).unwrap_err();
    assert_eq!(refused(ID, "../w.bin").code(), "seal.name.traversal");
    let version = 1 << 53;
    assert_eq!(refused(ModelId { version, ..ID }, "w.bin"), SealError::Version { version });

    struct Broken;
    impl io::Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::PermissionDenied.into())
        }
    }
    let sealer = || Sealer::new(&key(), &ID, "w.bin", &[0; 24]).unwrap();
    let error = sealer().seal(&mut Broken, &mut Vec::new(), 1, &quiet).unwrap_err();
    let kind = io::ErrorKind::PermissionDenied;
    assert_eq!(error, SealError::Read { file: "w.bin".into(), offset: 0, kind });
    let mut room = [0u8; 60];
    let error = sealer().seal(&mut &[0u8; 100][..], &mut &mut room[..], 1, &quiet).unwrap_err();
    assert_eq!(error, SealError::Write { file: "w.bin".into(), kind: io::ErrorKind::WriteZero });
}

#[test]
fn sealing_reads_sources_that_give_little_at_a_time() {
    struct Slow<'a>(&'a [u8], bool);
    impl io::Read for Slow<'_> {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            self.1 = !self.1;
            if self.1 {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let len = buf.len().min(self.0.len()).min(5000);
            io::Read::read(&mut self.0, &mut buf[..len])
        }
    }
    let plain = pattern(5 * CHUNK + 1);
    let (entry, blob) = seal_file(&ID, "w.bin", &plain, 1);
    let mut salt = [0x5a; 24];
    for (i, byte) in "w.bin".bytes().enumerate() {
        salt[i] ^= byte;
    }
    let mut slow = Vec::new();
    let sealer = Sealer::new(&key(), &ID, "w.bin", &salt).unwrap();
    assert_eq!(sealer.blob_name(), entry.blob_name());
    let again = sealer.seal(&mut Slow(&plain, false), &mut slow, 2, &quiet).unwrap();
    assert!((again, slow) == (entry, blob));
}

#[test]
fn the_layout_says_where_the_chunks_are() {
    let (entry, blob) = seal_file(&ID, "w.bin", &pattern(3 * CHUNK), 1);
    let layout = Opener::new(&key(), &manifest_of([entry]), 0).unwrap().layout();
    assert_eq!(layout, Layout::of_blob(blob.len() as u64).unwrap());
    assert_eq!(layout.chunks(), 4);
}
