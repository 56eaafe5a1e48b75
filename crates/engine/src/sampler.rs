//! Chooses the next token from the scores of all of them, in Rust: the same numbers give the same token, whatever else is
//! computed in the same step.

use std::collections::HashMap;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use crate::ffi::Token;
use crate::request::Sampling;

/// Most alternatives that [`GenerateRequest::logprobs`](crate::GenerateRequest::logprobs) reports beside the chosen one.
pub const MAX_ALTERNATIVES: u8 = 20;

/// The state of one answer's choices.
pub(crate) struct Sampler {
    sampling: Sampling,
    random: ChaCha8Rng,
    /// How often each token is in the answer so far; kept only where a penalty asks for it.
    counts: HashMap<Token, f32>,
    /// Scores with penalties and biases.
    adjusted: Vec<f32>,
    candidates: Vec<Candidate>,
}

#[derive(Clone, Copy)]
struct Candidate {
    token: Token,
    /// A score, then a weight: the exponential of its distance to the best one.
    weight: f32,
}

impl Sampler {
    pub(crate) fn new(sampling: Sampling) -> Self {
        let random = ChaCha8Rng::seed_from_u64(sampling.seed);
        Self { sampling, random, counts: HashMap::new(), adjusted: Vec::new(), candidates: Vec::new() }
    }

    pub(crate) fn is_greedy(&self) -> bool {
        self.sampling.temperature <= 0.0
    }

    /// The next token. `scores` has one number for each token of the vocabulary; of equal ones the first is chosen. `None`, and nothing
    /// has happened, where a greedy choice is not ahead of every other token by `lead`.
    pub(crate) fn choose(&mut self, scores: &[f32], lead: f32) -> Option<Token> {
        let scores = if self.sampling.adjusts() {
            self.adjusted.clear();
            self.adjusted.extend_from_slice(scores);
            adjust(&self.sampling, &self.counts, &mut self.adjusted);
            self.adjusted.as_slice()
        } else {
            scores
        };
        let token = if self.sampling.temperature > 0.0 {
            draw(&self.sampling, &mut self.random, &mut self.candidates, scores)
        } else {
            let token = best(scores);
            if lead > 0.0 && !is_ahead(scores, token, lead) {
                return None;
            }
            token
        };
        if self.sampling.penalises() {
            *self.counts.entry(token).or_default() += 1.0;
        }
        Some(token)
    }
}

/// Penalties for what is in the answer already, and the request's own biases.
fn adjust(sampling: &Sampling, counts: &HashMap<Token, f32>, scores: &mut [f32]) {
    let mut add = |token: Token, amount: f32| {
        if let Some(score) = usize::try_from(token).ok().and_then(|index| scores.get_mut(index)) {
            *score += amount;
        }
    };
    for (&token, &count) in counts {
        add(token, -(sampling.frequency_penalty * count + sampling.presence_penalty));
    }
    for &(token, bias) in &sampling.bias {
        add(token, bias);
    }
}

fn best(scores: &[f32]) -> Token {
    let mut best = (0, f32::NEG_INFINITY);
    for (index, &score) in scores.iter().enumerate() {
        if score > best.1 {
            best = (index, score);
        }
    }
    token(best.0)
}

/// Whether a token's score is more than `lead` above every other one.
fn is_ahead(scores: &[f32], token: Token, lead: f32) -> bool {
    let Some(&best) = usize::try_from(token).ok().and_then(|index| scores.get(index)) else { return false };
    scores.iter().filter(|&&score| score + lead >= best).count() == 1
}

/// SRV-12: temperature, then the most likely `top_k`, then those with the total probability `top_p`, then those that are at least
/// `min_p` times as likely as the best one; and out of these by lot.
fn draw(
    sampling: &Sampling,
    random: &mut ChaCha8Rng,
    candidates: &mut Vec<Candidate>,
    scores: &[f32],
) -> Token {
    candidates.clear();
    candidates.extend(
        scores
            .iter()
            .enumerate()
            .filter(|(_, score)| score.is_finite())
            .map(|(index, &weight)| Candidate { token: token(index), weight }),
    );
    let top_k = usize::try_from(sampling.top_k).unwrap_or(usize::MAX);
    if (1..candidates.len()).contains(&top_k) {
        candidates.select_nth_unstable_by(top_k, descending);
        candidates.truncate(top_k);
    }
    let Some(most) = candidates.iter().map(|c| c.weight).reduce(f32::max) else { return best(scores) };
    let mut total = 0.0_f64;
    for candidate in candidates.iter_mut() {
        candidate.weight = ((candidate.weight - most) / sampling.temperature).exp();
        total += f64::from(candidate.weight);
    }
    if sampling.top_p < 1.0 {
        total = nucleus(candidates, f64::from(sampling.top_p) * total);
    }
    if sampling.min_p > 0.0 {
        // The best one has weight 1.
        candidates.retain(|c| c.weight >= sampling.min_p);
        total = candidates.iter().map(|c| f64::from(c.weight)).sum();
    }
    // 53 bits: a number in [0, 1).
    let lot = (random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64 * total;
    let mut sum = 0.0;
    for candidate in candidates.iter() {
        sum += f64::from(candidate.weight);
        if lot < sum {
            return candidate.token;
        }
    }
    candidates.last().map_or_else(|| best(scores), |last| last.token)
}

/// Leaves the likeliest candidates that have this total weight, at least one; returns what they have. A few of them are
/// sorted at a time, for the vocabulary is large and they are few.
fn nucleus(candidates: &mut Vec<Candidate>, wanted: f64) -> f64 {
    let (mut sorted, mut sum) = (0, 0.0);
    while let Some(rest) = candidates.get_mut(sorted..).filter(|rest| !rest.is_empty()) {
        let part = rest.len().min(PART);
        if part < rest.len() {
            rest.select_nth_unstable_by(part, descending);
        }
        let Some(part) = rest.get_mut(..part) else { break };
        part.sort_unstable_by(descending);
        for candidate in part.iter() {
            sum += f64::from(candidate.weight);
            sorted += 1;
            if sum >= wanted {
                candidates.truncate(sorted);
                return sum;
            }
        }
    }
    sum
}

/// By weight, the largest first; of equal ones the lower token. Weights are finite.
fn descending(a: &Candidate, b: &Candidate) -> std::cmp::Ordering {
    b.weight.total_cmp(&a.weight).then(a.token.cmp(&b.token))
}

/// The natural logarithm of the chosen token's probability, and the likeliest `alternatives` tokens with theirs: as the model
/// has them, before temperature, penalties and biases.
pub(crate) fn logprobs(scores: &[f32], chosen: Token, alternatives: u8) -> (f32, Vec<(Token, f32)>) {
    let most = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = scores.iter().map(|&score| f64::from((score - most).exp())).sum();
    let log = sum.ln() as f32 + most;
    let chosen = usize::try_from(chosen).ok().and_then(|index| scores.get(index));
    let chosen = chosen.map_or(f32::NEG_INFINITY, |score| score - log);
    let mut top: Vec<(Token, f32)> = Vec::new();
    let room = usize::from(alternatives.min(MAX_ALTERNATIVES));
    for (index, &score) in scores.iter().enumerate() {
        if top.len() == room && top.last().is_none_or(|last| score - log <= last.1) {
            continue;
        }
        let at = top.partition_point(|other| other.1 >= score - log);
        top.insert(at, (token(index), score - log));
        top.truncate(room);
    }
    (chosen, top)
}

/// A vocabulary has fewer than 2^31 tokens.
fn token(index: usize) -> Token {
    Token::try_from(index).unwrap_or(Token::MAX)
}

/// Candidates that are sorted at a time.
const PART: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn random(seed: u64) -> Sampling {
        Sampling { temperature: 1.0, seed, ..Sampling::greedy() }
    }

    /// How often each token comes in 20,000 choices from the same scores.
    fn shares(sampling: &Sampling, scores: &[f32]) -> Vec<f64> {
        let mut sampler = Sampler::new(sampling.clone());
        let mut counts = vec![0.0; scores.len()];
        for _ in 0..20_000 {
            counts[usize::try_from(sampler.choose(scores, 0.0).unwrap()).unwrap()] += 1.0 / 20_000.0;
        }
        counts
    }

    /// The scores of these probabilities.
    fn scores(probabilities: &[f32]) -> Vec<f32> {
        probabilities.iter().map(|p| p.ln() + 3.0).collect()
    }

    fn near(found: &[f64], expected: &[f64]) {
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 0.015, "{found} {expected}");
        }
    }

    #[test]
    fn greedy_takes_the_first_of_the_best() {
        assert_eq!(Sampler::new(Sampling::greedy()).choose(&[1.0, 5.0, 5.0, -3.0], 0.0), Some(1));
        assert_eq!(Sampler::new(Sampling::greedy()).choose(&[f32::NAN, -1.0, -2.0], 0.0), Some(1));
        assert_eq!(Sampler::new(Sampling::greedy()).choose(&[f32::NAN], 0.0), Some(0));
    }

    #[test]
    fn a_lot_follows_the_probabilities() {
        let given = scores(&[0.5, 0.25, 0.15, 0.1]);
        near(&shares(&random(1), &given), &[0.5, 0.25, 0.15, 0.1]);
        // Half the temperature squares them: 0.25, 0.0625, 0.0225, 0.01 of 0.345.
        near(&shares(&Sampling { temperature: 0.5, ..random(2) }, &given), &[0.7246, 0.1812, 0.0652, 0.029]);
        near(&shares(&Sampling { top_k: 2, ..random(3) }, &given), &[0.6667, 0.3333, 0.0, 0.0]);
        // 0.5 and 0.25 are not enough for 0.8, with 0.15 they are.
        near(&shares(&Sampling { top_p: 0.8, ..random(4) }, &given), &[0.5556, 0.2778, 0.1667, 0.0]);
        near(&shares(&Sampling { top_p: 0.01, ..random(5) }, &given), &[1.0, 0.0, 0.0, 0.0]);
        near(&shares(&Sampling { min_p: 0.4, ..random(6) }, &given), &[0.6667, 0.3333, 0.0, 0.0]);
    }

    #[test]
    fn a_nucleus_of_many_is_found_in_parts() {
        // 1,000 equal ones: half of them have half of the probability.
        let found = shares(&Sampling { top_p: 0.5, ..random(7) }, &[0.0; 1000]);
        let taken = found.iter().filter(|&&share| share > 0.0).count();
        assert!((498..=501).contains(&taken), "{taken}");
    }

    #[test]
    fn a_seed_repeats() {
        let draw = |seed| {
            let mut sampler = Sampler::new(random(seed));
            (0..50).map(|_| sampler.choose(&[0.0; 100], 0.0)).collect::<Vec<_>>()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }

    #[test]
    fn penalties_and_biases_move_scores() {
        let scores = [2.0, 1.5, 0.0];
        let mut sampler = Sampler::new(Sampling { presence_penalty: 1.0, ..Sampling::greedy() });
        // 2.0, then 1.0 against 1.5, then both are 1.0 and 0.5.
        assert_eq!([(); 4].map(|()| sampler.choose(&scores, 0.0).unwrap()), [0, 1, 0, 0]);
        let mut sampler = Sampler::new(Sampling { frequency_penalty: 0.4, ..Sampling::greedy() });
        // 2.0; 1.6 and 1.5; 1.2 and 1.5; 1.2 and 1.1; 0.8 and 1.1.
        assert_eq!([(); 5].map(|()| sampler.choose(&scores, 0.0).unwrap()), [0, 0, 1, 0, 1]);
        let bias = vec![(2, 5.0), (0, -100.0), (-1, 9.0), (7, 9.0)];
        assert_eq!(Sampler::new(Sampling { bias, ..Sampling::greedy() }).choose(&scores, 0.0), Some(2));
    }

    #[test]
    fn a_choice_that_is_not_clear_is_none() {
        let mut sampler = Sampler::new(Sampling { presence_penalty: 1.0, ..Sampling::greedy() });
        assert_eq!(sampler.choose(&[2.0, 1.75, 0.0], 0.5), None);
        assert_eq!(sampler.choose(&[2.0, 2.0, 0.0], 0.5), None);
        // Nothing was counted by these.
        assert_eq!(sampler.choose(&[2.0, 1.25, 0.0], 0.5), Some(0));
        assert_eq!(sampler.choose(&[2.0, 1.25, 0.0], 0.5), None, "now they are 1.0 and 1.25");
        assert_eq!(sampler.choose(&[2.0, 1.25, 0.0], 0.0), Some(1));
        assert_eq!(Sampler::new(Sampling::greedy()).choose(&[f32::NAN], 0.5), None);
        assert_eq!(Sampler::new(random(1)).choose(&[1.0], 0.5), Some(0), "by lot there is no lead");
    }

    #[test]
    fn probabilities_are_those_of_the_scores() {
        let given = scores(&[0.1, 0.6, 0.25, 0.05]);
        let (chosen, top) = logprobs(&given, 2, 2);
        assert!((chosen - 0.25_f32.ln()).abs() < 1e-5);
        assert_eq!(top.iter().map(|s| s.0).collect::<Vec<_>>(), [1, 2]);
        assert!((top[0].1 - 0.6_f32.ln()).abs() < 1e-5);
        assert_eq!(logprobs(&given, 9, 0), (f32::NEG_INFINITY, Vec::new()));
        assert_eq!(logprobs(&given, 0, 255).1.len(), 4);
    }
}
