//! Continuous batching: one thread works on all requests together, one step after the other.
//!
//! A step is one computation. It reads the newest token of every answer under way, and a part of the prompts that are still
//! being read: so answers go on while a long prompt is read, and many answers together cost little more than one, for the
//! weights are read once a step. Requests start in the order in which they came, as soon as there is a free sequence and
//! room in the attention cache for the whole of prompt and answer: what has started always comes to its end (spec/serving.md,
//! section 3).

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError};
use std::time::Duration;

use crate::answer::{Completion, Event, FinishReason, Usage};
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

/// What comes to the worker.
pub(crate) enum Work {
    Answer(Box<Job>),
    Embed(EmbedJob),
    Words(Words),
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
    prompt: Vec<Token>,
    /// Tokens of the answer that are in the cache; kept only where the text will be.
    answer: Vec<Token>,
    /// Tokens of prompt and answer that are in the cache.
    read: u32,
    tenant: Option<Tenant>,
    /// The newest token of the answer, which is not.
    newest: Option<Token>,
    /// Cells that prompt and answer can come to need.
    reserved: u32,
    /// Counts up: the earlier one's prompt is read first.
    order: u64,
    /// Tokens of it that are in the step's batch.
    part: u32,
    /// Where scores come from in that batch.
    output: Option<usize>,
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

    /// Takes what the step has computed: the next token, once the prompt is read. Says how the answer ended, if it did.
    fn advance(&mut self, model: &Model, context: &Context<'_>) -> Result<Option<FinishReason>, EngineError> {
        self.read += self.part;
        if let (Some(newest), Some(_)) = (self.newest, self.tenant) {
            self.answer.push(newest);
        }
        let Some(output) = self.output else { return Ok(None) };
        let next = self
            .writer
            .next(model, context.scores(output), &mut |event| self.reply.send(Reply::Event(event)).is_ok())?;
        self.usage.completion_tokens = self.writer.tokens();
        self.newest = Some(next.token);
        Ok(next.finish)
    }
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
    depth: Arc<AtomicUsize>,
}

impl<'m> Scheduler<'m> {
    pub(crate) fn new(
        model: &'m Model,
        context: Context<'m>,
        room: Room,
        parallel: NonZeroU32,
        threads: u32,
        depth: Arc<AtomicUsize>,
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
            depth,
        }
    }

    /// Works until nobody can send a job any more.
    pub(crate) fn work(mut self, jobs: &Receiver<Work>) {
        while self.listen(jobs) {
            self.drop_cancelled();
            self.admit();
            self.step();
        }
    }

    /// Takes the jobs that have come; with nothing to do, waits for one. False where none can come any more.
    fn listen(&mut self, jobs: &Receiver<Work>) -> bool {
        if self.waiting.is_empty() && self.running.iter().all(Option::is_none) {
            let first = match jobs.recv_timeout(SETTLE) {
                Ok(job) => Some(job),
                Err(RecvTimeoutError::Disconnected) => None,
                Err(RecvTimeoutError::Timeout) => self.rest(jobs),
            };
            let Some(job) = first else { return false };
            self.take(job);
        }
        loop {
            match jobs.try_recv() {
                Ok(job) => self.take(job),
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => return true,
            }
        }
    }

    /// Waits for a job in an idle engine, where nothing of a request stays in memory but texts that are kept, and those not for
    /// long (SRV-25, SRV-33).
    fn rest(&mut self, jobs: &Receiver<Work>) -> Option<Work> {
        if !self.kept.is_empty() {
            match jobs.recv_timeout(KEEP) {
                Ok(job) => return Some(job),
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => while self.kept.drop_oldest().is_some() {},
            }
        }
        if std::mem::take(&mut self.used) {
            self.context.clear();
        }
        jobs.recv().ok()
    }

    fn take(&mut self, work: Work) {
        match work {
            Work::Answer(job) => self.accept(*job),
            Work::Embed(job) => {
                self.depth.fetch_sub(1, Ordering::Relaxed);
                let _ = job.reply.send(EmbedReply::End(Err(EngineError::NoEmbeddings)));
            }
            Work::Words(words) => {
                self.depth.fetch_sub(1, Ordering::Relaxed);
                words.answer(self.model);
            }
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
                prompt,
                answer: Vec::new(),
                read: cached_tokens,
                tenant: job.tenant,
                newest: None,
                reserved,
                order: self.started,
                part: 0,
                output: None,
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
        let step = Pace::start();
        let result = self.context.decode(&mut self.batch, aborts);
        if self.pace.end(&step) {
            self.context.set_threads(self.pace.threads());
        }
        for sequence in 0..self.running.len() {
            let Some(running) = self.running.get_mut(sequence).and_then(Option::as_mut) else { continue };
            match result {
                _ if !running.inside() => {}
                Ok(()) => match running.advance(self.model, &self.context) {
                    Ok(None) => {}
                    Ok(Some(finish)) => {
                        self.finish(sequence, |running| Ok(Completion { finish, usage: running.usage }));
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

    /// The newest token of every answer, then as much of the prompts as fits, the earliest first.
    fn fill(&mut self) {
        self.batch.clear();
        let mut prompts = Vec::new();
        for (sequence, running) in self.running.iter_mut().enumerate() {
            let Some(running) = running else { continue };
            running.part = 0;
            running.output = None;
            match running.newest {
                Some(token) => {
                    running.output = Some(self.batch.len());
                    running.part = 1;
                    self.batch.push(token, running.read, number(sequence), true);
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
            let rest = running.prompt.get(running.read as usize..).unwrap_or_default();
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
        let mut tokens = std::mem::take(&mut running.prompt);
        tokens.append(&mut running.answer);
        // Of a prompt that was not read to its end, as much as was read.
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
        self.depth.fetch_sub(1, Ordering::Relaxed);
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
