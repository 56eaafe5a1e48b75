//! How many threads to compute with, from the cores that are really free.
//!
//! llama.cpp's threads meet after every operation, hundreds of times per token, and wait for each other without
//! sleeping. Where another process takes a core away for one time slice, all the others burn theirs: two threads on two
//! busy cores are many times slower than one thread. So the processor time that the threads got is compared with the
//! time that passed. What is missing was taken by somebody else, and the next steps do without those cores; after a
//! while one more core is tried again.
//!
//! The number of threads changes no result of a matrix: threads share out rows, and each row is summed by one thread. It does of the attention
//! of a single token over 512 cells and more, which llama.cpp cuts into as many parts as there are threads (spec/serving.md, SRV-23).

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// Measure over at least this much computation.
const WINDOW: Duration = Duration::from_millis(30);
/// Cores that may be missing, in thousandths, before a thread is given up.
const TOLERANCE_MILLICORES: u128 = 250;
/// How long to wait before a core is tried again. Doubles with each failed attempt, up to the longest.
const RETRY_FIRST: Duration = Duration::from_millis(500);
const RETRY_LONGEST: Duration = Duration::from_secs(8);

/// Chooses the number of threads.
pub(crate) struct Pace {
    most: u32,
    now: u32,
    wall: Duration,
    cpu: Duration,
    retry_at: Option<Instant>,
    retry_after: Duration,
}

/// A started measurement.
pub(crate) struct Step {
    wall: Instant,
    cpu: Duration,
}

impl Pace {
    pub(crate) fn new(most: u32) -> Self {
        Self {
            most: most.max(1),
            now: most.max(1),
            wall: Duration::ZERO,
            cpu: Duration::ZERO,
            retry_at: None,
            retry_after: RETRY_FIRST,
        }
    }

    /// Call before a computation with [`Pace::threads`] threads.
    pub(crate) fn start() -> Step {
        Step { wall: Instant::now(), cpu: process_time() }
    }

    /// Call after it. Returns true where the number of threads changed.
    pub(crate) fn end(&mut self, step: &Step) -> bool {
        let now = Instant::now();
        self.observe(now.duration_since(step.wall), process_time().saturating_sub(step.cpu), now)
    }

    pub(crate) fn threads(&self) -> i32 {
        i32::try_from(self.now).unwrap_or(1)
    }

    fn observe(&mut self, wall: Duration, cpu: Duration, now: Instant) -> bool {
        self.wall += wall;
        self.cpu += cpu;
        if self.wall < WINDOW {
            return false;
        }
        let (wall, cpu) = (std::mem::take(&mut self.wall), std::mem::take(&mut self.cpu));
        let before = self.now;
        let due = wall.as_nanos() * 1000 * u128::from(self.now);
        let missing = due.saturating_sub(cpu.as_nanos() * 1000) / wall.as_nanos().max(1);
        if self.now > 1 && missing > TOLERANCE_MILLICORES {
            let cores = u32::try_from(missing.div_ceil(1000)).unwrap_or(u32::MAX);
            self.now = self.now.saturating_sub(cores).max(1);
            self.retry_at = now.checked_add(self.retry_after);
            self.retry_after = (self.retry_after * 2).min(RETRY_LONGEST);
        } else if self.now < self.most {
            if self.retry_at.is_none_or(|at| now >= at) {
                self.now += 1;
                self.retry_at = now.checked_add(self.retry_after);
            }
        } else {
            self.retry_after = RETRY_FIRST;
        }
        self.now != before
    }
}

/// Processor time of all threads of this process so far.
fn process_time() -> Duration {
    let t = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(t.tv_sec).unwrap_or(0), u32::try_from(t.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn free_cores_are_all_used() {
        let mut pace = Pace::new(4);
        for _ in 0..100 {
            assert!(!pace.observe(40 * MS, 158 * MS, Instant::now()));
        }
        assert_eq!(pace.threads(), 4);
    }

    #[test]
    fn a_taken_core_is_given_up_and_tried_again_later() {
        let mut pace = Pace::new(4);
        let start = Instant::now();
        assert!(pace.observe(40 * MS, 140 * MS, start), "half a core is missing");
        assert_eq!(pace.threads(), 3);
        assert!(!pace.observe(40 * MS, 120 * MS, start + RETRY_FIRST / 2), "too early");
        assert!(pace.observe(40 * MS, 120 * MS, start + RETRY_FIRST));
        assert_eq!(pace.threads(), 4);
        assert!(pace.observe(40 * MS, 60 * MS, start + RETRY_FIRST), "two and a half are missing");
        assert_eq!(pace.threads(), 1);
        assert!(!pace.observe(40 * MS, 40 * MS, start + RETRY_FIRST * 2), "the second wait is longer");
    }

    #[test]
    fn one_thread_stays() {
        let mut pace = Pace::new(1);
        assert!(!pace.observe(40 * MS, MS, Instant::now()));
        assert_eq!(pace.threads(), 1);
    }

    #[test]
    fn short_steps_are_added_up() {
        let mut pace = Pace::new(2);
        let now = Instant::now();
        assert!(!pace.observe(10 * MS, 10 * MS, now));
        assert!(!pace.observe(10 * MS, 10 * MS, now));
        assert!(pace.observe(10 * MS, 10 * MS, now));
    }
}
