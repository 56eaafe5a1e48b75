//! Calls of functions in the text of an answer, in the forms that models write (spec/serving.md, SRV-45).
//!
//! | Form | What a model writes |
//! |---|---|
//! | Hermes, Qwen | `<tool_call>{"name":…,"arguments":{…}}</tool_call>`, between texts |
//! | Llama 3.x | nothing but `{"name":…,"parameters":{…}}`, several with `;` between them |
//! | Mistral | `[TOOL_CALLS][{"name":…,"arguments":{…}}]` at the end |
//!
//! What is not wholly of its form, or calls a function that the request does not declare, stays text: a call is never guessed.

use std::mem;

use casemate_engine::ToolForm;
use casemate_protocol::Plaintext;
use serde_json::{Map, Value};
use zeroize::{Zeroize, Zeroizing};

use super::choosing::random;

/// A piece of an answer.
pub(super) enum Part {
    Text(Plaintext<String>),
    Call(Call),
}

/// A call of a function that the request declares.
pub(super) struct Call {
    /// Made up here.
    pub(super) id: String,
    pub(super) name: String,
    /// A JSON object as text.
    pub(super) arguments: Plaintext<String>,
}

/// How an answer is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// It is text.
    Text,
    /// It is one call, to which it was held.
    One,
    /// It may have calls in this form.
    Form(ToolForm),
}

/// Reads an answer while it is written.
#[derive(Clone)]
pub(super) struct Reader {
    reading: Reading,
    names: Vec<String>,
    /// Whether more than one call counts.
    parallel: bool,
    /// Text of which it is not clear yet what it is.
    held: Zeroizing<String>,
    /// Whether `held` is to be read at the end only.
    waits: bool,
    calls: usize,
}

impl Reader {
    pub(super) fn text() -> Self {
        Self::new(Reading::Text, Vec::new(), true)
    }

    pub(super) fn new(reading: Reading, names: Vec<String>, parallel: bool) -> Self {
        let waits = reading == Reading::One;
        Self { reading, names, parallel, held: Zeroizing::default(), waits, calls: 0 }
    }

    /// Adds text, and takes out what is clear.
    pub(super) fn push(&mut self, text: Plaintext<String>) -> Vec<Part> {
        let form = match self.reading {
            Reading::Text | Reading::Form(ToolForm::None | ToolForm::Other) => return vec![Part::Text(text)],
            Reading::One => None,
            Reading::Form(form) => Some(form),
        };
        self.held.push_str(text.expose());
        let mut parts = Vec::new();
        match form {
            _ if self.waits => {}
            Some(ToolForm::Hermes) => while self.next_hermes(&mut parts) {},
            Some(ToolForm::Mistral) => match self.held.find(MISTRAL) {
                Some(at) => {
                    self.let_out(at, &mut parts);
                    self.waits = true;
                }
                None => self.let_out(self.held.len() - undecided(&self.held, MISTRAL), &mut parts),
            },
            Some(ToolForm::Llama) => {
                let begun = self.held.trim_start();
                if begun.starts_with('{') || begun.starts_with(LLAMA) {
                    self.waits = true;
                } else if !LLAMA.starts_with(begun) {
                    self.reading = Reading::Text;
                    self.let_out(self.held.len(), &mut parts);
                }
            }
            Some(ToolForm::None | ToolForm::Other) | None => {}
        }
        parts
    }

    /// The end of the answer: what was held is a call, or text after all.
    pub(super) fn finish(&mut self) -> Vec<Part> {
        let held = mem::take(&mut self.held);
        let text = held.trim();
        let calls = match self.reading {
            Reading::Text | Reading::Form(ToolForm::None | ToolForm::Other) => None,
            Reading::One => self.all(text),
            Reading::Form(ToolForm::Hermes) => {
                text.strip_prefix(HERMES).and_then(|rest| self.all(rest.trim_end_matches(HERMES_END)))
            }
            Reading::Form(ToolForm::Mistral) => text.strip_prefix(MISTRAL).and_then(|list| self.list(list)),
            Reading::Form(ToolForm::Llama) => self.all(text.strip_prefix(LLAMA).unwrap_or(text)),
        };
        let mut parts = Vec::new();
        match calls {
            Some(calls) => calls.into_iter().for_each(|call| self.add(call, &mut parts)),
            None if held.is_empty() || (self.calls > 0 && text.is_empty()) => {}
            None => parts.push(Part::Text(Plaintext::new(held.as_str().to_owned()))),
        }
        parts
    }

    /// One step of reading Hermes' form. Whether there may be another.
    fn next_hermes(&mut self, parts: &mut Vec<Part>) -> bool {
        let Some(at) = self.held.find(HERMES) else {
            // White space before a call is no text.
            let clear = self.held.len() - undecided(&self.held, HERMES);
            let clear = self.held.get(..clear).map_or(0, |text| text.trim_end().len());
            self.let_out(clear, parts);
            return false;
        };
        let Some(length) = self.held.get(at..).and_then(|rest| rest.find(HERMES_END)) else {
            let before = self.held.get(..at).map_or(0, |text| text.trim_end().len());
            self.let_out(before, parts);
            return false;
        };
        let end = at + length + HERMES_END.len();
        let inside = self.held.get(at + HERMES.len()..at + length).unwrap_or_default();
        match self.all(inside) {
            Some(calls) => {
                let before = self.held.get(..at).map_or(0, |text| text.trim_end().len());
                self.let_out(before, parts);
                // What is left of it is white space, and the call.
                let rest = self.held.split_off(end - before);
                self.held.zeroize();
                self.held = Zeroizing::new(rest);
                calls.into_iter().for_each(|call| self.add(call, parts));
            }
            None => self.let_out(end, parts),
        }
        true
    }

    /// Lets the first bytes of what is held go as text.
    fn let_out(&mut self, bytes: usize, parts: &mut Vec<Part>) {
        if bytes > 0 {
            let rest = Zeroizing::new(self.held.split_off(bytes));
            parts.push(Part::Text(Plaintext::new(mem::take(&mut *self.held))));
            self.held = rest;
        }
    }

    fn add(&mut self, call: Call, parts: &mut Vec<Part>) {
        if self.parallel || self.calls == 0 {
            parts.push(Part::Call(call));
        }
        self.calls += 1;
    }

    /// One call after the other, `;` or white space between them, and nothing else.
    fn all(&self, text: &str) -> Option<Vec<Call>> {
        let mut calls = Vec::new();
        let mut rest = text.trim();
        while !rest.is_empty() {
            let mut values = serde_json::Deserializer::from_str(rest).into_iter::<Value>();
            let value = values.next()?.ok()?;
            let end = values.byte_offset();
            calls.push(self.call(value)?);
            rest = rest.get(end..)?.trim_start();
            rest = rest.strip_prefix(';').unwrap_or(rest).trim_start();
        }
        Some(calls).filter(|calls| !calls.is_empty())
    }

    fn list(&self, text: &str) -> Option<Vec<Call>> {
        let values: Vec<Value> = serde_json::from_str(text.trim()).ok()?;
        let calls: Option<Vec<_>> = values.into_iter().map(|value| self.call(value)).collect();
        calls.filter(|calls| !calls.is_empty())
    }

    /// A declared function's name and an object of arguments, under either of their names.
    fn call(&self, value: Value) -> Option<Call> {
        let Value::Object(mut members) = value else { return None };
        let name = members.get("name")?.as_str()?.to_owned();
        let mut object = |member: &str| -> Option<Map<String, Value>> {
            match members.remove(member)? {
                Value::Object(object) => Some(object),
                _ => None,
            }
        };
        let arguments = object("arguments").or_else(|| object("parameters"))?;
        self.names.contains(&name).then(|| Call {
            id: format!("call_{}", hex::encode(random::<12>())),
            name,
            arguments: Plaintext::new(Value::Object(arguments).to_string()),
        })
    }
}

/// How many bytes at the end of `text` may be the beginning of `mark`, which is ASCII.
fn undecided(text: &str, mark: &str) -> usize {
    (1..mark.len()).rev().find(|&n| mark.get(..n).is_some_and(|part| text.ends_with(part))).unwrap_or(0)
}

const HERMES: &str = "<tool_call>";
const HERMES_END: &str = "</tool_call>";
const MISTRAL: &str = "[TOOL_CALLS]";
const LLAMA: &str = "<|python_tag|>";

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes out, text joined and calls as `name(arguments)`, for every way to cut the answer in two and in bytes.
    fn read(reading: Reading, parallel: bool, answer: &str) -> Vec<String> {
        let run = |pieces: Vec<&str>| {
            let mut reader = Reader::new(reading, vec!["f".into(), "g".into()], parallel);
            let mut parts = Vec::new();
            for piece in pieces {
                parts.extend(reader.push(Plaintext::new(piece.to_owned())));
            }
            parts.extend(reader.finish());
            let mut out: Vec<String> = Vec::new();
            let mut joins = false;
            for part in parts {
                match &part {
                    Part::Text(text) if joins => out.last_mut().unwrap().push_str(text.expose()),
                    Part::Text(text) => out.push(text.expose().clone()),
                    Part::Call(call) => out.push(format!("{}({})", call.name, call.arguments.expose())),
                }
                joins = matches!(part, Part::Text(_));
            }
            out
        };
        let whole = run(vec![answer]);
        for (at, _) in answer.char_indices() {
            let (one, two) = answer.split_at(at);
            assert_eq!(run(vec![one, two]), whole, "cut at {at}");
        }
        assert_eq!(run(answer.split_inclusive(|_| true).collect()), whole, "a character at a time");
        whole
    }

    #[test]
    fn hermes() {
        let read = |answer: &str| read(Reading::Form(ToolForm::Hermes), true, answer);
        let call = r#"<tool_call>
{"name": "f", "arguments": {"b": 1, "a": "</b>"}}
</tool_call>"#;
        assert_eq!(read(call), [r#"f({"b":1,"a":"</b>"})"#]);
        assert_eq!(read(&format!("I look.\n{call}\n")), ["I look.", r#"f({"b":1,"a":"</b>"})"#]);
        let g = r#"<tool_call>{"name":"g","arguments":{}}</tool_call>"#;
        assert_eq!(read(&format!("{call}\n{g}")), [r#"f({"b":1,"a":"</b>"})"#, "g({})"]);
        // The end mark may be a control token, which is no text.
        assert_eq!(read(r#"<tool_call>{"name":"g","arguments":{}}"#), ["g({})"]);
        for text in [
            "no call",
            "a < b, <tool, <tool_call",
            "<tool_call>{\"name\":\"unknown\",\"arguments\":{}}</tool_call> x",
            "<tool_call>{\"name\":\"f\",\"arguments\":[]}</tool_call> x",
            "<tool_call>{\"name\":\"f\",\"argum",
            "<tool_call>not JSON</tool_call>",
        ] {
            assert_eq!(read(text), [text]);
        }
    }

    #[test]
    fn llama() {
        let read = |answer: &str| read(Reading::Form(ToolForm::Llama), true, answer);
        let call = r#"{"name": "f", "parameters": {"a": 1}}"#;
        assert_eq!(read(call), [r#"f({"a":1})"#]);
        assert_eq!(read(&format!("<|python_tag|>{call}; {call}\n")), [r#"f({"a":1})"#, r#"f({"a":1})"#]);
        for text in
            ["no call", "{\"a\": 1} x", r#"{"name":"h","parameters":{}} x"#, "<|python", "a {\"name\""]
        {
            assert_eq!(read(text), [text]);
        }
        assert_eq!(read(&format!("{call} and more")), [format!("{call} and more")], "nothing but calls");
    }

    #[test]
    fn mistral() {
        let read = |answer: &str| read(Reading::Form(ToolForm::Mistral), true, answer);
        let calls = r#"[TOOL_CALLS][{"name":"f","arguments":{"a":1}},{"name":"g","arguments":{}}]"#;
        assert_eq!(read(calls), [r#"f({"a":1})"#, "g({})"]);
        for text in ["no call", "[TOOL", "[TOOL_CALLS]", "[TOOL_CALLS][]", "[TOOL_CALLS][{\"name\":\"f\"}] x"]
        {
            assert_eq!(read(text), [text]);
        }
    }

    #[test]
    fn one_call_that_the_answer_was_held_to() {
        assert_eq!(
            read(Reading::One, true, r#"{ "name": "f", "arguments": {"a": [1]} }"#),
            [r#"f({"a":[1]})"#]
        );
        assert_eq!(read(Reading::One, true, r#"{"name":"f","argu"#), [r#"{"name":"f","argu"#], "cut");
    }

    #[test]
    fn without_parallel_calls_the_first_one_counts() {
        let g = r#"<tool_call>{"name":"g","arguments":{}}</tool_call>"#;
        assert_eq!(read(Reading::Form(ToolForm::Hermes), false, &format!("{g}{g}")), ["g({})"]);
    }

    #[test]
    fn text_passes_as_it_comes() {
        for reading in [Reading::Text, Reading::Form(ToolForm::Other)] {
            let mut reader = Reader::new(reading, vec!["f".into()], true);
            let parts = reader.push(Plaintext::new("<tool_call>".into()));
            assert!(matches!(&parts[..], [Part::Text(text)] if text.expose() == "<tool_call>"));
            assert!(reader.finish().is_empty());
        }
    }
}
