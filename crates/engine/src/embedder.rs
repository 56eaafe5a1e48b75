//! The worker of an embedding model: reads as many inputs as one computation holds, of any requests, and gives each a vector.
//!
//! An input is read by one computation, whole: attention that looks ahead cannot be computed in parts. What was computed is
//! forgotten as soon as its vector is there.

use std::cell::Cell;
use std::num::NonZeroU32;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};

use crate::embed::{EmbedInput, MAX_EMBED_TOKENS, normalise};
use crate::error::EngineError;
use crate::ffi::{Batch, Context, DecodeStatus, Model, Sequence, Token};
use crate::pace::Pace;
use crate::request::{Cancel, Tenant};
use crate::scheduler::{Reply, SETTLE, Task};
use crate::turns::Turns;
use crate::words;

/// A request for vectors on its way to the worker.
pub(crate) struct EmbedJob {
    pub(crate) inputs: Vec<EmbedInput>,
    pub(crate) tenant: Option<Tenant>,
    pub(crate) cancel: Cancel,
    pub(crate) reply: Sender<EmbedReply>,
}

/// What its caller hears: vectors, in any order, and then the end.
pub(crate) enum EmbedReply {
    /// Of the input with this number.
    Vector(usize, Vec<f32>),
    /// How many tokens were read.
    End(Result<u32, EngineError>),
}

/// A request whose inputs are counted.
struct Request {
    cancel: Cancel,
    reply: Sender<EmbedReply>,
    tokens: u32,
    /// Inputs without a vector; 0 also once it has ended otherwise.
    left: Cell<usize>,
}

struct Item {
    request: Rc<Request>,
    input: usize,
    tokens: Vec<Token>,
}

pub(crate) struct Embedder<'m> {
    model: &'m Model,
    context: Context<'m>,
    batch: Batch,
    pace: Pace,
    /// Tokens that one computation reads, and so the most of one input.
    room: u32,
    sequences: NonZeroU32,
    waiting: Turns<Option<Tenant>, Item>,
    used: bool,
    depth: Arc<AtomicUsize>,
}

impl<'m> Embedder<'m> {
    pub(crate) fn new(
        model: &'m Model,
        context: Context<'m>,
        room: u32,
        sequences: NonZeroU32,
        threads: u32,
        depth: Arc<AtomicUsize>,
    ) -> Self {
        let (batch, pace, waiting) = (Batch::default(), Pace::new(threads), Turns::default());
        Self { model, context, batch, pace, room, sequences, waiting, used: false, depth }
    }

    /// Works until nobody can send a job any more.
    pub(crate) fn work(mut self, jobs: &Receiver<Task>) {
        while self.listen(jobs) {
            for gone in self.waiting.extract(|item| item.request.cancel.is_cancelled()) {
                self.end(&gone.request, Err(EngineError::Cancelled));
            }
            self.step();
        }
    }

    /// Takes the jobs that have come; with nothing to do, waits for one, and overwrites the memory meanwhile (SRV-25).
    fn listen(&mut self, jobs: &Receiver<Task>) -> bool {
        if self.waiting.is_empty() {
            let first = match jobs.recv_timeout(SETTLE) {
                Err(RecvTimeoutError::Timeout) => {
                    if std::mem::take(&mut self.used) {
                        self.context.clear();
                    }
                    jobs.recv().ok()
                }
                received => received.ok(),
            };
            let Some(job) = first else { return false };
            self.accept(job);
        }
        while let Ok(job) = jobs.try_recv() {
            self.accept(job);
        }
        true
    }

    fn accept(&mut self, job: Task) {
        match job {
            Task::Answer(job) => {
                self.depth.fetch_sub(1, Ordering::Relaxed);
                let _ = job.reply.send(Reply::End(Err(EngineError::EmbedsOnly)));
            }
            // Whoever asked may be gone.
            Task::Audit(reply) => drop(reply.send(self.context.stale_bytes())),
            Task::Words(words) => {
                self.depth.fetch_sub(1, Ordering::Relaxed);
                words.answer(self.model);
            }
            Task::Embed(EmbedJob { inputs, tenant, cancel, reply }) => match self.counted(inputs) {
                Ok((inputs, tokens)) => {
                    let left = Cell::new(inputs.len());
                    let request = Rc::new(Request { cancel, reply, tokens, left });
                    for (input, tokens) in inputs.into_iter().enumerate() {
                        self.waiting.push(tenant, Item { request: Rc::clone(&request), input, tokens });
                    }
                }
                Err(error) => {
                    self.depth.fetch_sub(1, Ordering::Relaxed);
                    let _ = reply.send(EmbedReply::End(Err(error)));
                }
            },
        }
    }

    /// The tokens of each input; what cannot be served is refused at once.
    fn counted(&self, inputs: Vec<EmbedInput>) -> Result<(Vec<Vec<Token>>, u32), EngineError> {
        let (mut all, mut total) = (Vec::with_capacity(inputs.len()), 0_usize);
        for input in inputs {
            let tokens = match input {
                EmbedInput::Text(text) if text.is_empty() => return Err(EngineError::PromptEmpty),
                EmbedInput::Text(text) => words::tokens(self.model, &text, true)?,
                EmbedInput::Tokens(tokens) => {
                    words::known(self.model, &tokens)?;
                    tokens
                }
            };
            if tokens.is_empty() {
                return Err(EngineError::PromptEmpty);
            }
            if u32::try_from(tokens.len()).map_or(true, |tokens| tokens > self.room) {
                return Err(EngineError::InputTooLong { tokens: tokens.len(), limit: self.room });
            }
            total = total.saturating_add(tokens.len());
            if total > MAX_EMBED_TOKENS {
                return Err(EngineError::InputsTooLong { limit: MAX_EMBED_TOKENS });
            }
            all.push(tokens);
        }
        if all.is_empty() {
            return Err(EngineError::PromptEmpty);
        }
        Ok((all, u32::try_from(total).unwrap_or(u32::MAX)))
    }

    /// One computation, and the vectors that it gives.
    fn step(&mut self) {
        self.batch.clear();
        let mut inside: Vec<Item> = Vec::new();
        while let Some(item) = self.waiting.next()
            && inside.len() < self.sequences.get() as usize
            && self.batch.len() + item.tokens.len() <= self.room as usize
        {
            let Some(item) = self.waiting.take() else { break };
            if item.request.left.get() == 0 {
                continue;
            }
            for (&token, position) in item.tokens.iter().zip(0..) {
                self.batch.push(token, position, sequence(inside.len()), true);
            }
            inside.push(item);
        }
        if inside.is_empty() {
            return;
        }
        self.used = true;
        let aborts = inside.iter().map(|item| Arc::clone(item.request.cancel.flag())).collect();
        let step = Pace::start();
        let result = self.context.decode(&mut self.batch, aborts);
        if self.pace.end(&step) {
            self.context.set_threads(self.pace.threads());
        }
        for (number, item) in inside.iter().enumerate() {
            let vector = match result {
                Ok(()) => self.vector(sequence(number)),
                Err(_) if item.request.cancel.is_cancelled() => Err(EngineError::Cancelled),
                Err(DecodeStatus(status)) => Err(EngineError::Compute { status }),
            };
            self.context.forget(sequence(number));
            match vector {
                Ok(vector) => self.give(item, vector),
                Err(error) => self.end(&item.request, Err(error)),
            }
        }
    }

    fn vector(&self, of: Sequence) -> Result<Vec<f32>, EngineError> {
        let mut vector = self.context.embedding(of).to_vec();
        match normalise(&mut vector) {
            true => Ok(vector),
            false => Err(EngineError::NoVector),
        }
    }

    fn give(&self, item: &Item, vector: Vec<f32>) {
        let request = &item.request;
        if request.reply.send(EmbedReply::Vector(item.input, vector)).is_err() {
            // The next look finds it.
            request.cancel.cancel();
        }
        match request.left.get() {
            0 => {}
            1 => self.end(request, Ok(request.tokens)),
            left => request.left.set(left - 1),
        }
    }

    /// The last word to a caller, once. What is left of its inputs is passed by.
    fn end(&self, request: &Request, result: Result<u32, EngineError>) {
        if request.left.replace(0) > 0 {
            self.depth.fetch_sub(1, Ordering::Relaxed);
            let _ = request.reply.send(EmbedReply::End(result));
        }
    }
}

fn sequence(number: usize) -> Sequence {
    Sequence::try_from(number).unwrap_or(Sequence::MAX)
}
