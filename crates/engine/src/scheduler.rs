//! Continuous batching: one thread works on all requests together, one step after the other.
//!
//! A step is one computation. It reads the newest token of every answer under way, and a part of the prompts that are still
//! being read: so answers go on while a long prompt is read, and many answers together cost little more than one, for the
//! weights are read once a step. Requests start in the order in which they came, as soon as there is a free sequence and
//! room in the attention cache for the whole of prompt and answer: what has started always comes to its end (spec/serving.md,
//! section 3).

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError};
use std::time::{Duration, Instant};

use crate::answer::{Completion, Event, FinishReason, Usage};
use crate::drafts::{Drafts, Price};
use crate::embedder::{EmbedJob, EmbedReply};
use crate::error::EngineError;
use crate::ffi::{ABORTED, Batch, Context, DecodeStatus, Model, Sequence, Token};
use crate::grammar::Guide;
use crate::kept::Kept;
use crate::pace::Pace;
use crate::request::{Cancel, Sampling, Tenant, TokenBudget};
use crate::template::Segment;
use crate::turns::Turns;
use crate::words::Words;
use crate::writer::Writer;

/// What the worker is asked.
pub(crate) enum Task {
    Answer(Box<Job>),
    /// The vectors of texts.
    Embed(EmbedJob),
    /// Tokens of a text, or the text of tokens.
    Words(Words),
    /// How much is left of what was computed for nobody any more.
    Audit(Sender<Option<u64>>),
}

/// What the worker counts, for others to see.
#[derive(Clone, Default)]
pub(crate) struct Counters {
    /// Requests waiting or running.
    pub(crate) depth: Arc<AtomicUsize>,
    /// Tokens that were guessed, and those of them that were right.
    pub(crate) guessed: Arc<AtomicU64>,
    pub(crate) right: Arc<AtomicU64>,
}

/// A request on its way to the worker.
pub(crate) struct Job {
    pub(crate) prompt: Vec<Segment>,
    pub(crate) budget: TokenBudget,
    pub(crate) sampling: Sampling,
    pub(crate) stop: Vec<String>,
    pub(crate) guide: Option<Guide>,
    /// Whether marks of calls are text.
    pub(crate) marks: bool,
    pub(crate) logprobs: Option<u8>,
    pub(crate) tenant: Option<Tenant>,
    pub(crate) cancel: Cancel,
    pub(crate) reply: Sender<Reply>,
}

/// What its caller hears.
pub(crate) enum Reply {
    Event(Event),
    End(Result<Completion, EngineError>),
}

/// What requests must fit into.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room {
    /// Tokens of one request, answer included.
    pub(crate) request: u32,
    /// Tokens of all requests together.
    pub(crate) cells: u32,
    /// Tokens that one step reads at most.
    pub(crate) batch: NonZeroU32,
    /// Texts that are kept after their end.
    pub(crate) kept: u32,
    /// Tokens that one step guesses at most.
    pub(crate) guess: u32,
}

/// A request whose prompt is counted, and that waits for a sequence and room.
struct Counted {
    job: Job,
    prompt: Vec<Token>,
    /// Tokens that the answer may have.
    budget: u32,
}

/// A request that has a sequence.
struct Running {
    /// Prompt and answer. The answer's newest token is not in the cache.
    text: Vec<Token>,
    /// Tokens of the prompt.
    prompt: usize,
    /// Tokens of the text that are in the cache.
    read: u32,
    tenant: Option<Tenant>,
    /// Cells that prompt and answer can come to need.
    reserved: u32,
    /// Counts up: the earlier one's prompt is read first.
    order: u64,
    /// Tokens of it that are in the step's batch.
    part: u32,
    /// Where scores come from in that batch.
    output: Option<usize>,
    /// What may come behind the newest token, which the step reads with it.
    guess: Vec<Token>,
    drafts: Drafts,
    usage: Usage,
    writer: Writer,
    cancel: Cancel,
    reply: Sender<Reply>,
}

impl Running {
    /// Whether the step is for it too.
    fn inside(&self) -> bool {
        self.part > 0
    }

    /// The newest token of the answer, once there is one.
    fn newest(&self) -> Option<Token> {
        self.text.get(self.prompt..).and_then(<[Token]>::last).copied()
    }

    /// Takes what the step has computed: the next token, once the prompt is read, and those behind it that were guessed.
    fn advance(&mut self, model: &Model, context: &Context<'_>) -> Result<Advance, EngineError> {
        let mut advance = Advance { finish: None, right: 0 };
        let Some(output) = self.output else {
            self.read += self.part;
            return Ok(advance);
        };
        // Where a step reads guesses, its sums are made in another order: what is not clear is computed again, alone (SRV-71).
        let lead = if self.guess.is_empty() { 0.0 } else { LEAD };
        self.read += self.part - u32::try_from(self.guess.len()).unwrap_or(0);
        for behind in 0..=self.guess.len() {
            let mut send = |event| self.reply.send(Reply::Event(event)).is_ok();
            let Some(next) = self.writer.next(model, context.scores(output + behind), lead, &mut send)?
            else {
                // The token before it is read once more.
                self.read -= 1;
                self.drafts.pause();
                break;
            };
            self.usage.completion_tokens = self.writer.tokens();
            self.text.push(next.token);
            advance.finish = next.finish;
            if next.finish.is_some() || self.guess.get(behind) != Some(&next.token) {
                break;
            }
            self.read += 1;
            advance.right += 1;
        }
        Ok(advance)
    }
}

/// What a step has brought to an answer.
struct Advance {
    /// How it ended, if it did.
    finish: Option<FinishReason>,
    /// Tokens of the guess that were right.
    right: usize,
}

/// The worker's work.
pub(crate) struct Scheduler<'m> {
    model: &'m Model,
    context: Context<'m>,
    batch: Batch,
    pace: Pace,
    room: Room,
    waiting: Turns<Option<Tenant>, Counted>,
    /// At its sequence's number.
    running: Vec<Option<Running>>,
    /// In the sequences behind those.
    kept: Kept,
    started: u64,
    /// Whether there is anything in the cache, or was since it was overwritten.
    used: bool,
    price: Price,
    counters: Counters,
}

impl<'m> Scheduler<'m> {
    pub(crate) fn new(
        model: &'m Model,
        context: Context<'m>,
        room: Room,
        parallel: NonZeroU32,
        threads: u32,
        counters: Counters,
    ) -> Self {
        Self {
            model,
            context,
            batch: Batch::default(),
            pace: Pace::new(threads),
            room,
            waiting: Turns::default(),
            running: (0..parallel.get()).map(|_| None).collect(),
            kept: Kept::new((parallel.get()..parallel.get() + room.kept).filter_map(|n| n.try_into().ok())),
            started: 0,
            used: false,
            price: Price::default(),
            counters,
        }
    }

    /// Works until nobody can send a job any more.
    pub(crate) fn work(mut self, tasks: &Receiver<Task>) {
        while self.listen(tasks) {
            self.drop_cancelled();
            self.admit();
            self.step();
        }
    }

    /// Takes the tasks that have come; with nothing to do, waits for one. False where none can come any more.
    fn listen(&mut self, tasks: &Receiver<Task>) -> bool {
        if self.waiting.is_empty() && self.running.iter().all(Option::is_none) {
            let first = match tasks.recv_timeout(SETTLE) {
                Ok(task) => Some(task),
                Err(RecvTimeoutError::Disconnected) => None,
                Err(RecvTimeoutError::Timeout) => self.rest(tasks),
            };
            let Some(task) = first else { return false };
            self.take(task);
        }
        loop {
            match tasks.try_recv() {
                Ok(task) => self.take(task),
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => return true,
            }
        }
    }

    /// Waits for a task in an idle engine, where nothing of a request stays in memory but texts that are kept, and those not for
    /// long (SRV-25, SRV-33).
    fn rest(&mut self, tasks: &Receiver<Task>) -> Option<Task> {
        if !self.kept.is_empty() {
            match tasks.recv_timeout(KEEP) {
                Ok(task) => return Some(task),
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => {}
            }
            while let Some(oldest) = self.kept.drop_oldest() {
                self.context.forget(oldest);
            }
        }
        if std::mem::take(&mut self.used) && !self.context.overwrites() {
            self.context.clear();
        }
        tasks.recv().ok()
    }

    fn take(&mut self, task: Task) {
        match task {
            Task::Answer(job) => self.accept(*job),
            Task::Embed(job) => {
                self.counters.depth.fetch_sub(1, Ordering::Relaxed);
                let _ = job.reply.send(EmbedReply::End(Err(EngineError::NoEmbeddings)));
            }
            Task::Words(words) => {
                self.counters.depth.fetch_sub(1, Ordering::Relaxed);
                words.answer(self.model);
            }
            // Whoever asked may be gone.
            Task::Audit(reply) => drop(reply.send(self.context.stale_bytes())),
        }
    }

    /// Counts the prompt; what cannot be served is refused at once.
    fn accept(&mut self, job: Job) {
        let counted = tokens(self.model, &job.prompt).and_then(|prompt| {
            let budget = fit(prompt.len(), job.budget, self.room.request)?;
            Ok((prompt, budget))
        });
        match counted {
            _ if job.cancel.is_cancelled() => self.end(&job.reply, Ok(cancelled(Usage::default()))),
            Ok((prompt, budget)) => self.waiting.push(job.tenant, Counted { job, prompt, budget }),
            Err(error) => self.end(&job.reply, Err(error)),
        }
    }

    fn drop_cancelled(&mut self) {
        for gone in self.waiting.extract(|waiting| waiting.job.cancel.is_cancelled()) {
            self.end(&gone.job.reply, Ok(cancelled(Usage::default())));
        }
        for sequence in 0..self.running.len() {
            let cancelled = |running: &Running| running.cancel.is_cancelled();
            if self.running.get(sequence).and_then(Option::as_ref).is_some_and(cancelled) {
                self.finish(sequence, |running| Ok(self::cancelled(running.usage)));
            }
        }
    }

    /// Gives sequences to those that wait, each tenant's first in turn: one that is large is not passed by (SRV-21).
    fn admit(&mut self) {
        while let Some(waiting) = self.waiting.next() {
            let prompt_tokens = u32::try_from(waiting.prompt.len()).unwrap_or(u32::MAX);
            let reserved = prompt_tokens.saturating_add(waiting.budget);
            let taken: u32 = self.running.iter().flatten().map(|running| running.reserved).sum();
            let Some(free) = self.running.iter().position(Option::is_none) else { return };
            if taken.saturating_add(reserved) > self.room.cells {
                return;
            }
            let Some(Counted { job, prompt, budget }) = self.waiting.take() else { return };
            // Shared first: what is shared does not go with the text that it was computed for.
            let beginning = job.tenant.and_then(|tenant| self.kept.beginning(tenant, &prompt));
            if let Some(beginning) = beginning {
                self.context.share(beginning.sequence, number(free), beginning.tokens);
            }
            while taken.saturating_add(reserved).saturating_add(self.kept.cells()) > self.room.cells {
                let Some(oldest) = self.kept.drop_oldest() else { break };
                self.context.forget(oldest);
            }
            let cached_tokens = beginning.map_or(0, |beginning| beginning.tokens);
            let started = job.reply.send(Reply::Event(Event::Started { prompt_tokens }));
            if started.is_err() {
                // The next look finds it.
                job.cancel.cancel();
            }
            self.started += 1;
            let Some(free) = self.running.get_mut(free) else { return };
            *free = Some(Running {
                prompt: prompt.len(),
                text: prompt,
                read: cached_tokens,
                tenant: job.tenant,
                reserved,
                order: self.started,
                part: 0,
                output: None,
                guess: Vec::new(),
                drafts: Drafts::default(),
                usage: Usage { prompt_tokens, cached_tokens, completion_tokens: 0 },
                writer: Writer::new(job.sampling, job.stop, job.guide, job.marks, job.logprobs, budget),
                cancel: job.cancel,
                reply: job.reply,
            });
        }
    }

    /// One computation, and what follows from it.
    fn step(&mut self) {
        self.fill();
        if self.batch.len() == 0 {
            return;
        }
        self.used = true;
        let inside = self.running.iter().flatten().filter(|running| running.inside());
        let aborts = inside.map(|running| Arc::clone(running.cancel.flag())).collect();
        let (step, started) = (Pace::start(), Instant::now());
        let result = self.context.decode(&mut self.batch, aborts);
        let took = started.elapsed();
        if self.pace.end(&step) {
            self.context.set_threads(self.pace.threads());
        }
        if self.is_answer_alone() {
            self.price.observe(self.batch.len(), took);
        }
        for sequence in 0..self.running.len() {
            let Some(running) = self.running.get_mut(sequence).and_then(Option::as_mut) else { continue };
            match result {
                _ if !running.inside() => {}
                Ok(()) => match running.advance(self.model, &self.context) {
                    Ok(Advance { finish, right }) => {
                        self.weigh(sequence, right);
                        if let Some(finish) = finish {
                            self.finish(sequence, |running| Ok(Completion { finish, usage: running.usage }));
                        }
                    }
                    Err(error) => self.finish(sequence, |_| Err(error)),
                },
                // All of them are cancelled; the next look finds them.
                Err(DecodeStatus(ABORTED)) => running.cancel.cancel(),
                Err(DecodeStatus(status)) => {
                    self.finish(sequence, |_| Err(EngineError::Compute { status }));
                }
            }
        }
    }

    /// Counts what a guess has brought. What was wrong of it leaves the cache.
    fn weigh(&mut self, sequence: usize, right: usize) {
        let Some(running) = self.running.get_mut(sequence).and_then(Option::as_mut) else { return };
        if running.output.is_none() {
            return;
        }
        let guessed = std::mem::take(&mut running.guess).len();
        running.drafts.learn(guessed, right, self.price.each());
        if guessed > 0 {
            self.context.cut(number(sequence), running.read);
            self.counters.guessed.fetch_add(guessed as u64, Ordering::Relaxed);
            self.counters.right.fetch_add(right as u64, Ordering::Relaxed);
        }
    }

    /// Whether one answer is being written, and nothing else is done.
    fn is_answer_alone(&self) -> bool {
        let mut running = self.running.iter().flatten();
        running.next().is_some_and(|one| one.newest().is_some()) && running.next().is_none()
    }

    /// The newest token of every answer, then as much of the prompts as fits, the earliest first.
    fn fill(&mut self) {
        self.batch.clear();
        // Beside others a guess would make them wait (SRV-70).
        let guess = if self.is_answer_alone() { self.room.guess } else { 0 };
        let price = self.price.each();
        let mut prompts = Vec::new();
        for (sequence, running) in self.running.iter_mut().enumerate() {
            let Some(running) = running else { continue };
            running.part = 0;
            running.output = None;
            running.guess.clear();
            match running.newest() {
                Some(token) => {
                    running.output = Some(self.batch.len());
                    // The last token of an answer needs no step of its own.
                    let most = guess.min(running.writer.left().saturating_sub(1));
                    if most > 0 && running.writer.is_greedy() {
                        let most = usize::try_from(most).unwrap_or(0);
                        running.guess = running.drafts.guess(&running.text, most, price);
                    }
                    for (position, &token) in
                        (running.read..).zip(std::iter::once(&token).chain(&running.guess))
                    {
                        running.part += 1;
                        self.batch.push(token, position, number(sequence), true);
                    }
                }
                None => prompts.push((running.order, sequence)),
            }
        }
        // While answers wait for their next token, a step must not take long (SRV-22).
        let room = if self.batch.len() == 0 { self.room.batch } else { self.room.batch.min(PART) };
        let mut left = usize::try_from(room.get()).unwrap_or(usize::MAX).saturating_sub(self.batch.len());
        prompts.sort_unstable();
        for (_, sequence) in prompts {
            let Some(running) = self.running.get_mut(sequence).and_then(Option::as_mut) else { continue };
            let rest = running.text.get(running.read as usize..).unwrap_or_default();
            let part = rest.get(..rest.len().min(left)).unwrap_or_default();
            left -= part.len();
            for (position, &token) in (running.read..).zip(part) {
                running.part += 1;
                let last = running.part as usize == rest.len();
                if last {
                    running.output = Some(self.batch.len());
                }
                self.batch.push(token, position, number(sequence), last);
            }
        }
    }

    /// Takes a request's sequence away, and tells its caller.
    fn finish(&mut self, sequence: usize, result: impl FnOnce(&Running) -> Result<Completion, EngineError>) {
        let Some(mut running) = self.running.get_mut(sequence).and_then(Option::take) else { return };
        let result = result(&running);
        if result.is_ok() {
            self.keep(sequence, &mut running);
        }
        self.context.forget(number(sequence));
        self.end(&running.reply, result);
    }

    /// Keeps what was computed, where somebody may share it.
    fn keep(&mut self, sequence: usize, running: &mut Running) {
        let Some(tenant) = running.tenant.filter(|_| self.room.kept > 0) else { return };
        let mut tokens = std::mem::take(&mut running.text);
        // As much as is in the cache.
        tokens.truncate(usize::try_from(running.read).unwrap_or(usize::MAX));
        if let Some((kept, gone)) = self.kept.keep(tenant, tokens) {
            for gone in gone {
                self.context.forget(gone);
            }
            self.context.share(number(sequence), kept, running.read);
        }
    }

    /// The last word to a caller, who may be gone.
    fn end(&self, reply: &Sender<Reply>, result: Result<Completion, EngineError>) {
        self.counters.depth.fetch_sub(1, Ordering::Relaxed);
        let _ = reply.send(Reply::End(result));
    }
}

fn cancelled(usage: Usage) -> Completion {
    Completion { finish: FinishReason::Cancelled, usage }
}

fn number(sequence: usize) -> Sequence {
    Sequence::try_from(sequence).unwrap_or(Sequence::MAX)
}

/// The prompt's tokens, with the token that starts a text in front where the model wants it.
fn tokens(model: &Model, prompt: &[Segment]) -> Result<Vec<Token>, EngineError> {
    let mut tokens = Vec::new();
    for segment in prompt {
        let bytes = segment.text.len();
        model
            .tokenise(&segment.text, !segment.literal, false, &mut tokens)
            .ok_or(EngineError::PromptTooManyBytes { bytes, limit: i32::MAX.unsigned_abs() as usize })?;
    }
    if tokens.is_empty() {
        return Err(EngineError::PromptEmpty);
    }
    // Templates often write it themselves.
    if let Some(bos) = model.bos().filter(|bos| model.wants_bos() && tokens.first() != Some(bos)) {
        tokens.insert(0, bos);
    }
    Ok(tokens)
}

/// Checks that prompt and answer fit into `room` tokens; returns the answer's bound.
fn fit(prompt_tokens: usize, budget: TokenBudget, room: u32) -> Result<u32, EngineError> {
    let too_long = EngineError::PromptTooLong { prompt_tokens, context_tokens: room };
    let prompt = match u32::try_from(prompt_tokens) {
        Ok(n) if n < room => n,
        _ => return Err(too_long),
    };
    let left = room - prompt;
    match budget {
        TokenBudget::UpTo(most) => Ok(left.min(most.get())),
        TokenBudget::Exact(n) if n.get() <= left => Ok(n.get()),
        TokenBudget::Exact(n) => Err(EngineError::ContextOverflow {
            prompt_tokens: prompt,
            max_new_tokens: n.get(),
            context_tokens: room,
        }),
    }
}

/// The most that one step reads while answers are under way: it takes a few times as long as a step without a prompt.
const PART: NonZeroU32 = NonZeroU32::new(128).unwrap();
/// By how much the likeliest token must be ahead of the next one, so that sums in another order do not change which it is.
const LEAD: f32 = 0.1;
/// How long the engine waits for a next request before it overwrites the cache.
pub(crate) const SETTLE: Duration = Duration::from_millis(20);
/// How long texts are kept in an idle engine.
const KEEP: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests {
    use super::*;

    fn n(v: u32) -> NonZeroU32 {
        NonZeroU32::new(v).unwrap()
    }

    #[test]
    fn prompt_and_answer_fit_exactly_or_not() {
        assert_eq!(fit(90, TokenBudget::Exact(n(10)), 100), Ok(10));
        assert_eq!(
            fit(91, TokenBudget::Exact(n(10)), 100),
            Err(EngineError::ContextOverflow { prompt_tokens: 91, max_new_tokens: 10, context_tokens: 100 })
        );
        assert_eq!(fit(99, TokenBudget::UpTo(n(10)), 100), Ok(1));
        assert_eq!(fit(5, TokenBudget::UpTo(n(10)), 100), Ok(10));
        for prompt_tokens in [100, 101, usize::MAX] {
            assert_eq!(
                fit(prompt_tokens, TokenBudget::UpTo(n(1)), 100),
                Err(EngineError::PromptTooLong { prompt_tokens, context_tokens: 100 })
            );
        }
    }
}
