//! The parallel walk over a blob: spans of chunks, taken in order by any number of threads.
//!
//! * A span is [`SPAN_CHUNKS`] chunks: the unit that a worker takes.
//! * A strip is the part of a span that is read, opened and delivered in one go; it is small enough to stay
//!   in the core's own cache between those three steps.
//!
//! Spans are handed out in ascending order, and after a failure no further span is handed out while those
//! already taken are finished. So the failure reported is that of the lowest chunk, whatever the number of
//! threads.

use std::io;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use aws_lc_rs::digest;
use zeroize::Zeroizing;

use crate::blob::{BlobKey, CHUNK_PLAIN_LEN, CHUNK_SEALED_LEN, Layout, SPAN_CHUNKS};

/// A source of bytes that many threads read at once. Sealed bytes only: nothing here is secret.
pub trait ReadAt: Sync {
    /// Fills `buf` from `offset` (bytes from the start).
    ///
    /// # Errors
    /// `UnexpectedEof` where the source ends earlier, or what the source says.
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()>;

    /// Length of the source, in bytes.
    ///
    /// # Errors
    /// What the source says.
    fn len(&self) -> io::Result<u64>;

    /// Whether the source has no bytes.
    ///
    /// # Errors
    /// As [`ReadAt::len`].
    fn is_empty(&self) -> io::Result<bool> {
        self.len().map(|len| len == 0)
    }
}

/// A destination that many threads write at once, each to its own range: it receives plaintext.
pub trait WriteAt: Sync {
    /// Writes all of `buf` at `offset` (bytes from the start).
    ///
    /// # Errors
    /// What the destination says.
    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()>;
}

impl ReadAt for [u8] {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let start = usize::try_from(offset).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        let end = start.checked_add(buf.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        let from = self.get(start..end).ok_or(io::ErrorKind::UnexpectedEof)?;
        buf.copy_from_slice(from);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }
}

impl ReadAt for &[u8] {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        (**self).read_exact_at(buf, offset)
    }

    fn len(&self) -> io::Result<u64> {
        ReadAt::len(*self)
    }
}

impl ReadAt for Vec<u8> {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.as_slice().read_exact_at(buf, offset)
    }

    fn len(&self) -> io::Result<u64> {
        ReadAt::len(self.as_slice())
    }
}

/// What went wrong, without the file's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    Chunk(u64),
    Read { offset: u64, kind: io::ErrorKind },
    Write { offset: u64, kind: io::ErrorKind },
    Destination { expected: u64, actual: u64 },
}

/// Where plaintext goes.
pub(crate) enum Target<'a> {
    /// Through a scratch buffer of each worker.
    Writer(&'a dyn WriteAt),
    /// Straight into this memory, which is as long as the file.
    Slice(&'a mut [u8]),
}

/// One walk over one blob.
pub(crate) struct Walk<'a> {
    pub(crate) key: &'a BlobKey,
    pub(crate) layout: Layout,
    pub(crate) source: &'a dyn ReadAt,
    pub(crate) threads: usize,
    /// Also compute SHA-256 of the plaintext.
    pub(crate) hash: bool,
    pub(crate) progress: &'a (dyn Fn(u64) + Sync),
}

impl Walk<'_> {
    /// Opens every chunk into `target`. Gives SHA-256 of the plaintext where `hash` asks for it.
    pub(crate) fn run(&self, target: Target<'_>) -> Result<Option<[u8; 32]>, Fault> {
        let spans = self.layout.chunks().div_ceil(SPAN_CHUNKS);
        let (writer, rest) = match target {
            Target::Writer(writer) => (Some(writer), Default::default()),
            Target::Slice(slice) => {
                let (expected, actual) = (self.layout.plain_len(), slice.len() as u64);
                if expected != actual {
                    return Err(Fault::Destination { expected, actual });
                }
                (None, slice)
            }
        };
        let run = Run {
            walk: self,
            writer,
            queue: Mutex::new(Queue { next: 0, spans, rest, failure: None }),
            hasher: Mutex::new(Hasher {
                turn: 0,
                stopped: false,
                state: digest::Context::new(&digest::SHA256),
            }),
            turn_passed: Condvar::new(),
        };

        let threads = u64::try_from(self.threads).unwrap_or(MAX_THREADS).min(MAX_THREADS).min(spans);
        thread::scope(|scope| {
            for _ in 1..threads {
                // A thread that the system refuses is one worker fewer: this thread always works.
                if thread::Builder::new().name("unseal".into()).spawn_scoped(scope, || run.work()).is_err() {
                    break;
                }
            }
            run.work();
        });
        run.finish()
    }
}

/// Threads beyond this number are not started: the walk is bound by memory bandwidth long before.
const MAX_THREADS: u64 = 256;

/// Chunks per strip. With 16 KiB chunks, 16 of them are 256 KiB sealed and 256 KiB plain, which together
/// stay in a 1 MiB second-level cache.
const STRIP_CHUNKS: u64 = 16;

struct Run<'a, 'b> {
    walk: &'a Walk<'a>,
    writer: Option<&'a dyn WriteAt>,
    queue: Mutex<Queue<'b>>,
    hasher: Mutex<Hasher>,
    turn_passed: Condvar,
}

/// The spans not yet taken.
struct Queue<'b> {
    next: u64,
    spans: u64,
    /// The destination memory of the spans not yet taken; empty for a writer.
    rest: &'b mut [u8],
    /// The failure of the lowest span so far.
    failure: Option<(u64, Fault)>,
}

/// The plaintext hash, which takes the spans in order.
struct Hasher {
    turn: u64,
    stopped: bool,
    state: digest::Context,
}

/// One taken span: chunks `first..end`.
struct Span<'b> {
    index: u64,
    first: u64,
    end: u64,
    /// The memory of the span; empty for a writer.
    memory: &'b mut [u8],
}

impl<'b> Run<'_, 'b> {
    fn work(&self) {
        let _stop = StopOnPanic(self);
        let mut scratch = Scratch::default();
        while let Some(span) = self.take() {
            let index = span.index;
            if let Err(fault) = self.open_span(span, &mut scratch) {
                self.fail(index, fault);
            }
        }
    }

    fn take(&self) -> Option<Span<'b>> {
        let mut queue = lock(&self.queue);
        if queue.failure.is_some() || queue.next >= queue.spans {
            return None;
        }
        let layout = &self.walk.layout;
        let index = queue.next;
        queue.next = index.saturating_add(1);
        let first = index.saturating_mul(SPAN_CHUNKS);
        let end = first.saturating_add(SPAN_CHUNKS).min(layout.chunks());
        let mut memory: &mut [u8] = &mut [];
        if self.writer.is_none() {
            let len = layout.plain_offset(end).saturating_sub(layout.plain_offset(first));
            let rest = std::mem::take(&mut queue.rest);
            let len = usize::try_from(len).unwrap_or(usize::MAX).min(rest.len());
            (memory, queue.rest) = rest.split_at_mut(len);
        }
        Some(Span { index, first, end, memory })
    }

    /// Reads, opens and delivers one span, strip by strip.
    fn open_span(&self, span: Span<'b>, scratch: &mut Scratch) -> Result<(), Fault> {
        let Walk { layout, source, progress, .. } = self.walk;
        // The hash takes whole spans in order, so that a waiting worker has its span's work behind it.
        let strip_chunks = if self.walk.hash { SPAN_CHUNKS } else { STRIP_CHUNKS };
        let Span { index, mut first, end, mut memory } = span;
        while first < end {
            let strip_end = first.saturating_add(strip_chunks).min(end);
            let (sealed_at, plain_at) = (layout.chunk_offset(first), layout.plain_offset(first));
            let sealed_len = span_len(sealed_at, layout.chunk_offset(strip_end));
            let plain_len = span_len(plain_at, layout.plain_offset(strip_end));

            let sealed = sized(&mut scratch.sealed, sealed_len);
            source
                .read_exact_at(sealed, sealed_at)
                .map_err(|error| Fault::Read { offset: sealed_at, kind: error.kind() })?;

            let plain = if self.writer.is_some() {
                sized(&mut scratch.plain, plain_len)
            } else {
                let whole = std::mem::take(&mut memory);
                let (strip, rest) = whole.split_at_mut_checked(plain_len).ok_or(Fault::Chunk(first))?;
                memory = rest;
                strip
            };
            open_chunks(self.walk.key, first, sealed, plain)?;
            if self.walk.hash {
                self.hash_in_turn(index, plain);
            }
            if let Some(writer) = self.writer {
                writer
                    .write_all_at(plain, plain_at)
                    .map_err(|error| Fault::Write { offset: plain_at, kind: error.kind() })?;
            }
            progress(plain_len as u64);
            first = strip_end;
        }
        Ok(())
    }

    /// Waits for the spans before this one, then hashes it. Returns at once after a failure anywhere.
    fn hash_in_turn(&self, index: u64, plain: &[u8]) {
        let mut hasher = lock(&self.hasher);
        while hasher.turn != index && !hasher.stopped {
            hasher = self.turn_passed.wait(hasher).unwrap_or_else(PoisonError::into_inner);
        }
        if hasher.stopped {
            return;
        }
        hasher.state.update(plain);
        hasher.turn = index.saturating_add(1);
        self.turn_passed.notify_all();
    }

    fn fail(&self, index: u64, fault: Fault) {
        let mut queue = lock(&self.queue);
        if queue.failure.as_ref().is_none_or(|(lowest, _)| index < *lowest) {
            queue.failure = Some((index, fault));
        }
        drop(queue);
        self.stop_hashing();
    }

    fn stop_hashing(&self) {
        lock(&self.hasher).stopped = true;
        self.turn_passed.notify_all();
    }

    fn finish(self) -> Result<Option<[u8; 32]>, Fault> {
        let queue = self.queue.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, fault)) = queue.failure {
            return Err(fault);
        }
        let hasher = self.hasher.into_inner().unwrap_or_else(PoisonError::into_inner);
        if !self.walk.hash {
            return Ok(None);
        }
        Ok(hasher.state.finish().as_ref().try_into().ok())
    }
}

/// A worker that panics (in a callback) must not leave the others waiting for its turn.
struct StopOnPanic<'r, 'a, 'b>(&'r Run<'a, 'b>);

impl Drop for StopOnPanic<'_, '_, '_> {
    fn drop(&mut self) {
        if thread::panicking() {
            lock(&self.0.queue).next = u64::MAX;
            self.0.stop_hashing();
        }
    }
}

/// The buffers of one worker; wiped when it ends.
#[derive(Default)]
struct Scratch {
    /// Sealed bytes, which `ring` turns into plaintext in place.
    sealed: Zeroizing<Vec<u8>>,
    plain: Zeroizing<Vec<u8>>,
}

/// Opens the chunks from number `first` on that `sealed` holds.
pub(crate) fn open_chunks(
    key: &BlobKey,
    first: u64,
    sealed: &mut [u8],
    mut plain: &mut [u8],
) -> Result<(), Fault> {
    for (k, chunk) in (first..).zip(sealed.chunks_mut(CHUNK_SEALED_LEN)) {
        let rest = std::mem::take(&mut plain);
        let len = rest.len().min(CHUNK_PLAIN_LEN);
        let (out, rest) = rest.split_at_mut(len);
        key.open_chunk(k, chunk, out).map_err(|_| Fault::Chunk(k))?;
        plain = rest;
    }
    // Lengths come from one layout, so nothing is left over; if it were, it would be unopened.
    if plain.is_empty() { Ok(()) } else { Err(Fault::Chunk(first)) }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn span_len(from: u64, to: u64) -> usize {
    usize::try_from(to.saturating_sub(from)).unwrap_or(usize::MAX)
}

/// The first `len` bytes of `buffer`, which grows at most once per worker (a strip is never longer than the
/// first one), so no half-used copy stays behind in freed memory.
fn sized(buffer: &mut Zeroizing<Vec<u8>>, len: usize) -> &mut [u8] {
    if buffer.len() < len {
        **buffer = vec![0; len];
    }
    buffer.get_mut(..len).unwrap_or_default()
}
