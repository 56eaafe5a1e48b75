//! What the benchmarks share: alternating rounds, medians, a table for people and a line of JSON for programs.

pub mod stage;

use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

/// One side of a comparison: its name, and one unit of its work, measured by itself.
pub struct Side<'a> {
    /// What stands in the table.
    pub name: &'static str,
    /// Does the work once and gives the time that counts.
    pub work: Box<dyn FnMut() -> Duration + 'a>,
}

/// The samples of all sides, side by side: round `i` of each was taken within the same moment.
pub struct Samples {
    names: Vec<&'static str>,
    rounds: Vec<Vec<Duration>>,
}

impl<'a> Side<'a> {
    /// A side whose whole work counts.
    pub fn timed(name: &'static str, mut work: impl FnMut() + 'a) -> Self {
        let work = move || {
            let start = Instant::now();
            work();
            start.elapsed()
        };
        Self { name, work: Box::new(work) }
    }
}

/// Runs every side once in every round, after `warm_up` rounds that do not count. The side that begins changes with
/// every round, so that none always follows the same neighbour.
pub fn alternate(warm_up: usize, rounds: usize, mut sides: Vec<Side<'_>>) -> Samples {
    let mut kept = Vec::with_capacity(rounds);
    for round in 0..warm_up + rounds {
        let mut times = vec![Duration::ZERO; sides.len()];
        for turn in 0..sides.len() {
            let which = (round + turn) % sides.len();
            times[which] = (sides[which].work)();
        }
        if round >= warm_up {
            kept.push(times);
        }
    }
    Samples { names: sides.iter().map(|side| side.name).collect(), rounds: kept }
}

impl Samples {
    /// Number of rounds that count.
    pub fn rounds(&self) -> usize {
        self.rounds.len()
    }

    /// Names in the order in which the sides were given.
    pub fn names(&self) -> &[&'static str] {
        &self.names
    }

    /// Median time of one side, in seconds.
    pub fn median(&self, side: usize) -> f64 {
        median(self.rounds.iter().map(|times| times[side].as_secs_f64()).collect())
    }

    /// Tenth and ninetieth percentile of one side, in seconds.
    pub fn spread(&self, side: usize) -> (f64, f64) {
        let mut times: Vec<f64> = self.rounds.iter().map(|times| times[side].as_secs_f64()).collect();
        times.sort_by(f64::total_cmp);
        (times[times.len() / 10], times[times.len() * 9 / 10])
    }

    /// Median over the rounds of (time of `slower`) / (time of `faster`) in the same round.
    pub fn ratio(&self, slower: usize, faster: usize) -> f64 {
        median(
            self.rounds
                .iter()
                .map(|times| times[slower].as_secs_f64() / times[faster].as_secs_f64())
                .collect(),
        )
    }
}

/// Prints the table for people: each side's median and spread in microseconds, and its time compared with the first side's.
pub fn print_table(samples: &Samples) {
    println!("{}, one thread, medians of {} alternating rounds\n", cpu(), samples.rounds());
    println!("{:34} {:>8} {:>15} {:>14}", "", "us", "p10..p90", "time vs ours");
    for (side, name) in samples.names().iter().enumerate() {
        let (fast, slow) = samples.spread(side);
        println!(
            "{name:34} {:8.0} {:>15} {:13.2}x",
            samples.median(side) * 1e6,
            format!("{:.0}..{:.0}", fast * 1e6, slow * 1e6),
            samples.ratio(side, 0)
        );
    }
    println!();
}

/// Prints the JSON line that ends every benchmark.
pub fn print_json(name: &str, facts: Value) {
    let mut line = Map::new();
    line.insert("bench".into(), json!(name));
    line.insert("cpu".into(), json!(cpu()));
    line.insert("cores".into(), json!(cores()));
    if let Value::Object(facts) = facts {
        line.extend(facts);
    }
    println!("{}", Value::Object(line));
}

/// The processor as the kernel names it.
pub fn cpu() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name"));
    model.map_or("unknown".into(), |model| model.trim_start_matches([' ', '\t', ':']).into())
}

/// How many threads the machine runs at once.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// A whole number from the environment, or the default.
pub fn setting(name: &str, default: usize) -> usize {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} must be a whole number, not {text:?}")),
        Err(_) => default,
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    assert!(!values.is_empty(), "a median needs values");
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(rounds: &[[u64; 2]]) -> Samples {
        let rounds = rounds.iter().map(|times| times.map(Duration::from_millis).to_vec()).collect();
        Samples { names: vec!["ours", "peer"], rounds }
    }

    #[test]
    fn medians_are_of_the_rounds() {
        let samples = samples(&[[10, 30], [20, 40], [1000, 1000]]);
        assert_eq!((samples.median(0), samples.median(1)), (0.020, 0.040));
        // 3, 2, 1: paired within each round, not the ratio of the medians over another order.
        assert_eq!(samples.ratio(1, 0), 2.0);
        assert_eq!(median(vec![4.0, 1.0]), 2.5);
    }

    #[test]
    fn every_side_runs_in_every_round_and_warm_up_does_not_count() {
        let calls = std::cell::RefCell::new(Vec::new());
        let log = &calls;
        let side = |name: &'static str| Side {
            name,
            work: Box::new(move || {
                log.borrow_mut().push(name);
                Duration::from_secs(1)
            }),
        };
        let samples = alternate(1, 2, vec![side("a"), side("b")]);
        assert_eq!(samples.rounds(), 2);
        assert_eq!(*calls.borrow(), ["a", "b", "b", "a", "a", "b"]);
    }
}
