//! Guesses how an answer goes on, from the text itself: what came the last time that it read like this. A guess is read together
//! with the answer's newest token, and what of it is right saves steps (spec/serving.md, SRV-70 to SRV-72).
//!
//! A wrong guess costs time and nothing else: so each answer has an account of the time that guesses have won and lost.

use std::time::Duration;

use crate::ffi::Token;

/// Fewer tokens that are alike say nothing.
const ALIKE: usize = 3;
/// A longer part that is alike is not looked for.
const ALIKE_MOST: usize = 16;
/// The first guess of an answer.
const FIRST: usize = 2;
/// What an answer may lose before it has won anything, in steps of one token.
const CREDIT: f32 = 1.5;
/// And for each step without a guess: more would be felt.
const ALLOWANCE: f32 = 0.01;
/// What was won counts up to this: a text that no longer repeats must not be guessed at for long.
const MOST: f32 = 8.0;

/// What one answer's guesses have won and lost.
pub(crate) struct Drafts {
    /// Steps of one token that may be lost.
    balance: f32,
    /// How long the next guess is.
    length: usize,
    /// Whether the next token must be chosen alone.
    alone: bool,
}

impl Default for Drafts {
    fn default() -> Self {
        Self { balance: CREDIT, length: FIRST, alone: false }
    }
}

impl Drafts {
    /// At most `most` tokens that may come behind `text`. None where nothing is worth it. `price`: what one costs.
    pub(crate) fn guess(&mut self, text: &[Token], most: usize, price: f32) -> Vec<Token> {
        if std::mem::take(&mut self.alone) {
            return Vec::new();
        }
        // A few at most, so that it is exact.
        let affordable = (self.balance / price).clamp(0.0, 1024.0) as usize;
        let length = self.length.min(affordable).min(most);
        if length == 0 {
            return Vec::new();
        }
        let next = followed(text).unwrap_or(text.len());
        // A text that repeats itself all the time goes round.
        text.get(next..).unwrap_or_default().iter().copied().cycle().take(length).collect()
    }

    /// After a step with a guess of `guessed` tokens, of which `right` were.
    pub(crate) fn learn(&mut self, guessed: usize, right: usize, price: f32) {
        if guessed == 0 {
            self.balance = (self.balance + ALLOWANCE).min(MOST);
            return;
        }
        self.balance = (self.balance + right as f32 - guessed as f32 * price).min(MOST);
        self.length = if right == guessed { guessed.max(self.length) * 2 } else { right.max(FIRST) };
        self.length = self.length.min(1024);
    }

    /// The next token is chosen in a step of its own.
    pub(crate) fn pause(&mut self) {
        self.alone = true;
    }
}

/// Where the text went on the last time that it read as its end does: behind the longest such part, of these the latest.
fn followed(text: &[Token]) -> Option<usize> {
    let end = text.get(text.len().checked_sub(ALIKE)?..)?;
    let mut best: Option<(usize, usize)> = None;
    for (start, window) in text.windows(ALIKE).enumerate().rev().skip(1) {
        if window != end {
            continue;
        }
        let next = start + ALIKE;
        let before = text.get(..next).unwrap_or_default().iter().rev();
        let alike = before.zip(text.iter().rev()).take(ALIKE_MOST).take_while(|(a, b)| a == b).count();
        if best.is_none_or(|(most, _)| alike > most) {
            best = Some((alike, next));
            if alike == ALIKE_MOST {
                break;
            }
        }
    }
    best.map(|(_, next)| next)
}

/// What a guess costs: the time of a step with one, beside that of a step without. Measured, and the same for all answers.
pub(crate) struct Price {
    /// Seconds of a step that reads one token.
    step: f32,
    /// Of each token more, in such steps.
    more: f32,
}

impl Default for Price {
    fn default() -> Self {
        Self { step: 0.0, more: 0.5 }
    }
}

impl Price {
    pub(crate) fn each(&self) -> f32 {
        self.more
    }

    /// Takes the time of a step that read `tokens` tokens of one answer and nothing else.
    pub(crate) fn observe(&mut self, tokens: usize, took: Duration) {
        let took = took.as_secs_f32();
        if tokens <= 1 {
            self.step = if self.step == 0.0 { took } else { self.step + (took - self.step) * WEIGHT };
        } else if self.step > 0.0 {
            let more = (took / self.step - 1.0) / (tokens - 1) as f32;
            // A step that was interrupted says nothing of the next.
            self.more += (more.clamp(0.02, 1.0) - self.more) * WEIGHT;
        }
    }
}

/// Of the newest measurement.
const WEIGHT: f32 = 0.1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_followed_the_longest_likeness_follows_again() {
        assert_eq!(followed(&[]), None);
        assert_eq!(followed(&[1, 2, 3]), None, "the end is not its own likeness");
        assert_eq!(followed(&[1, 2, 3, 4, 9, 1, 2, 3]), Some(3));
        assert_eq!(followed(&[1, 2, 3, 4, 1, 2, 3, 5, 1, 2, 3]), Some(7), "the latest");
        assert_eq!(followed(&[7, 1, 2, 3, 4, 8, 1, 2, 3, 5, 7, 1, 2, 3]), Some(4), "the longest");
        assert_eq!(followed(&[5, 5, 5, 5]), Some(3), "a likeness may overlap the end");
        assert_eq!(followed(&[1, 2, 9, 1, 2]), None, "too short");
    }

    #[test]
    fn guesses_grow_while_they_are_right() {
        let text: Vec<Token> = (0..200).chain(0..4).collect();
        let mut drafts = Drafts::default();
        let mut lengths = Vec::new();
        for _ in 0..5 {
            let guess = drafts.guess(&text, 15, 0.4);
            assert_eq!(guess, (4..4 + Token::try_from(guess.len()).unwrap()).collect::<Vec<_>>());
            lengths.push(guess.len());
            drafts.learn(guess.len(), guess.len(), 0.4);
        }
        assert_eq!(lengths, [2, 4, 8, 15, 15]);
        assert_eq!(drafts.guess(&text, 3, 0.4).len(), 3, "no more than there is room for");
        assert_eq!(drafts.guess(&[8, 9, 8, 9, 8], 5, 0.4), [9, 8, 9, 8, 9]);
        drafts.pause();
        assert_eq!(drafts.guess(&text, 15, 0.4).len(), 0);
        assert_eq!(drafts.guess(&text, 15, 0.4).len(), 15, "once");
    }

    #[test]
    fn an_answer_loses_little_to_wrong_guesses() {
        let text: Vec<Token> = (0..200).chain(0..4).collect();
        for price in [0.1, 0.4, 0.9] {
            let (mut drafts, mut lost) = (Drafts::default(), 0.0);
            for _ in 0..128 {
                let guessed = drafts.guess(&text, 15, price).len();
                lost += guessed as f32 * price;
                drafts.learn(guessed, 0, price);
            }
            assert!(lost > 0.0 && lost <= 0.03 * 128.0, "{lost} steps at {price}");
        }
    }

    #[test]
    fn a_text_that_no_longer_repeats_is_left_alone() {
        let text: Vec<Token> = (0..200).chain(0..4).collect();
        let mut drafts = Drafts::default();
        for _ in 0..100 {
            let guessed = drafts.guess(&text, 15, 0.4).len();
            drafts.learn(guessed, guessed, 0.4);
        }
        let mut lost = 0.0;
        for _ in 0..100 {
            let guessed = drafts.guess(&text, 15, 0.4).len();
            lost += guessed as f32 * 0.4;
            drafts.learn(guessed, 0, 0.4);
        }
        assert!(lost <= MOST + 1.0, "{lost}");
    }

    #[test]
    fn a_price_is_measured() {
        let mut price = Price::default();
        let (step, guess) = (Duration::from_millis(10), Duration::from_millis(25));
        price.observe(16, guess);
        assert!((price.each() - 0.5).abs() < 1e-6, "there is nothing to compare with");
        for _ in 0..100 {
            price.observe(1, step);
            price.observe(16, guess);
        }
        assert!((price.each() - 0.1).abs() < 0.01, "{}", price.each());
        price.observe(16, Duration::from_secs(9));
        assert!(price.each() < 0.2, "one interruption does not end it");
    }
}
