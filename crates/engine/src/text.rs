//! From token bytes to text that may leave: whole characters, and nothing of a stop string.

/// Turns a stream of bytes into whole characters. A character whose bytes are split over tokens waits for the rest;
/// bytes that are not UTF-8 become U+FFFD.
#[derive(Default)]
pub(crate) struct Utf8Stream {
    pending: Vec<u8>,
}

impl Utf8Stream {
    /// Adds bytes and takes out what is complete.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> String {
        self.pending.extend_from_slice(bytes);
        let mut out = String::new();
        let mut rest = self.pending.as_slice();
        loop {
            match std::str::from_utf8(rest) {
                Ok(text) => {
                    out.push_str(text);
                    rest = &[];
                    break;
                }
                Err(error) => {
                    let (good, bad) = rest.split_at(error.valid_up_to());
                    out.push_str(&String::from_utf8_lossy(good));
                    match error.error_len() {
                        Some(n) => {
                            out.push(char::REPLACEMENT_CHARACTER);
                            rest = bad.get(n..).unwrap_or_default();
                        }
                        None => {
                            rest = bad;
                            break;
                        }
                    }
                }
            }
        }
        self.pending = rest.to_vec();
        out
    }

    /// The end: a character that never became complete is one U+FFFD.
    pub(crate) fn finish(&mut self) -> String {
        if std::mem::take(&mut self.pending).is_empty() {
            String::new()
        } else {
            char::REPLACEMENT_CHARACTER.into()
        }
    }
}

/// Cuts the text before the first stop string, and holds back an end that may become one.
pub(crate) struct StopGate {
    stops: Vec<String>,
    held: String,
}

/// What [`StopGate::push`] lets through.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Passed {
    pub(crate) text: String,
    /// The number of the stop string that appeared.
    pub(crate) stopped: Option<u8>,
}

impl StopGate {
    pub(crate) fn new(stops: Vec<String>) -> Self {
        Self { stops, held: String::new() }
    }

    /// Adds text. After `stopped`, no further call is meaningful.
    pub(crate) fn push(&mut self, text: &str) -> Passed {
        self.held.push_str(text);
        let found = self
            .stops
            .iter()
            .zip(0..)
            .filter_map(|(stop, number)| Some((self.held.find(stop.as_str())?, number)));
        if let Some((at, number)) = found.min() {
            self.held.truncate(at);
            return Passed { text: std::mem::take(&mut self.held), stopped: Some(number) };
        }
        let keep = self.stops.iter().map(|stop| overlap(&self.held, stop)).max().unwrap_or(0);
        let tail = self.held.split_off(self.held.len().saturating_sub(keep));
        Passed { text: std::mem::replace(&mut self.held, tail), stopped: None }
    }

    /// The end: what was held back is text after all.
    pub(crate) fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

/// Length of the longest end of `text` that is a beginning of `stop`, in bytes. A common string starts and ends at
/// character boundaries of both, so the result is one of `text`.
fn overlap(text: &str, stop: &str) -> usize {
    let longest = text.len().min(stop.len().saturating_sub(1));
    (1..=longest)
        .rev()
        .filter(|&n| stop.is_char_boundary(n))
        .find(|&n| text.as_bytes().ends_with(stop.as_bytes().get(..n).unwrap_or_default()))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `text` byte by byte through both stages.
    fn run(text: &[u8], stops: &[&str]) -> (String, bool) {
        let mut utf8 = Utf8Stream::default();
        let mut gate = StopGate::new(stops.iter().map(|s| (*s).to_owned()).collect());
        let mut out = String::new();
        for byte in text {
            let passed = gate.push(&utf8.push(&[*byte]));
            out += &passed.text;
            if passed.stopped.is_some() {
                return (out, true);
            }
        }
        let passed = gate.push(&utf8.finish());
        out += &passed.text;
        out += &gate.finish();
        (out, passed.stopped.is_some())
    }

    #[test]
    fn characters_come_out_whole() {
        let mut utf8 = Utf8Stream::default();
        let crab = "🦀".as_bytes();
        assert_eq!(utf8.push(&crab[..1]), "");
        assert_eq!(utf8.push(&crab[1..3]), "");
        assert_eq!(utf8.push(&crab[3..]), "🦀");
        assert_eq!(utf8.finish(), "");
    }

    #[test]
    fn broken_bytes_become_replacement_characters() {
        assert_eq!(run(b"a\xffb", &[]), ("a\u{fffd}b".into(), false));
        assert_eq!(run(b"a\xf0\x9f\xa6", &[]), ("a\u{fffd}".into(), false), "cut at the end");
        assert_eq!(run(b"\xf0\x9fA", &[]), ("\u{fffd}A".into(), false), "cut in the middle");
    }

    #[test]
    fn stop_strings_are_cut_across_pieces() {
        assert_eq!(run(b"one STOP two", &["STOP"]), ("one ".into(), true));
        assert_eq!(run(b"STOP", &["STOP"]), (String::new(), true));
        assert_eq!(
            run(b"one STO two", &["STOP"]),
            ("one STO two".into(), false),
            "a beginning alone is text"
        );
        assert_eq!(run(b"one STO", &["STOP"]), ("one STO".into(), false), "also at the end");
        assert_eq!(run(b"SSTOP", &["STOP"]), ("S".into(), true));
        assert_eq!(run(b"aab", &["ab"]), ("a".into(), true));
        assert_eq!(run("x🦀y".as_bytes(), &["🦀y"]), ("x".into(), true));
        assert_eq!(run("x🦀z".as_bytes(), &["🦀y"]), ("x🦀z".into(), false));
    }

    #[test]
    fn the_earliest_stop_wins() {
        let mut gate = StopGate::new(vec!["later".into(), "now".into()]);
        assert_eq!(gate.push("a now b later"), Passed { text: "a ".into(), stopped: Some(1) });
    }

    #[test]
    fn nothing_is_held_without_need() {
        let mut gate = StopGate::new(vec!["STOP".into()]);
        assert_eq!(gate.push("plain"), Passed { text: "plain".into(), stopped: None });
        assert_eq!(gate.push("end S"), Passed { text: "end ".into(), stopped: None });
        assert_eq!(gate.finish(), "S");
    }
}
