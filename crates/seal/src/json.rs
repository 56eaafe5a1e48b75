//! JSON for signed documents: refuses duplicate members, and hands out members by name until none is left.

use std::cell::RefCell;
use std::fmt;

use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Why a text, or a member of it, was refused. `at` names the object by its place in the document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum JsonError {
    Syntax { line: usize, column: usize },
    Duplicate { member: String },
    Missing { at: &'static str, field: &'static str },
    Unknown { at: &'static str, member: String },
    Type { at: &'static str, field: &'static str, expected: &'static str },
}

/// Parses one JSON text, to its end, in which no object names a member twice.
pub(crate) fn parse(bytes: &[u8]) -> Result<Value, JsonError> {
    let duplicate = RefCell::new(None);
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let parsed = Strict { duplicate: &duplicate }
        .deserialize(&mut deserializer)
        .and_then(|v| deserializer.end().map(|()| v));
    match (parsed, duplicate.into_inner()) {
        (_, Some(member)) => Err(JsonError::Duplicate { member }),
        (Ok(value), None) => Ok(value),
        (Err(error), None) => Err(JsonError::Syntax { line: error.line(), column: error.column() }),
    }
}

/// The canonical form (RFC 8785) of `value`. `None` for what has none; every document of ours has one.
pub(crate) fn canonical(value: &Value) -> Option<Vec<u8>> {
    serde_json_canonicalizer::to_vec(value).ok()
}

/// An object whose members are taken one by one.
pub(crate) struct Object {
    at: &'static str,
    members: Map<String, Value>,
}

impl Object {
    /// `value` as an object; `at` is its place in the document, for messages.
    pub(crate) fn new(value: Value, at: &'static str) -> Result<Self, JsonError> {
        match value {
            Value::Object(members) => Ok(Self { at, members }),
            _ => Err(JsonError::Type { at, field: "", expected: "object" }),
        }
    }

    pub(crate) fn string(&mut self, field: &'static str) -> Result<String, JsonError> {
        match self.take(field)? {
            Value::String(text) => Ok(text),
            _ => Err(self.wrong(field, "string")),
        }
    }

    /// An unsigned integer, written without fraction or exponent.
    pub(crate) fn integer(&mut self, field: &'static str) -> Result<u64, JsonError> {
        match self.take(field)? {
            Value::Number(number) => number.as_u64().ok_or_else(|| self.wrong(field, "unsigned integer")),
            _ => Err(self.wrong(field, "unsigned integer")),
        }
    }

    pub(crate) fn array(&mut self, field: &'static str) -> Result<Vec<Value>, JsonError> {
        match self.take(field)? {
            Value::Array(items) => Ok(items),
            _ => Err(self.wrong(field, "array")),
        }
    }

    pub(crate) fn object(&mut self, field: &'static str) -> Result<Self, JsonError> {
        match self.take(field)? {
            Value::Object(members) => Ok(Self { at: field, members }),
            _ => Err(self.wrong(field, "object")),
        }
    }

    /// Ends the object: a member that nobody asked for is an error; of several the first of the alphabet is named.
    pub(crate) fn end(self) -> Result<(), JsonError> {
        match self.members.into_iter().map(|(member, _)| member).min() {
            None => Ok(()),
            Some(member) => Err(JsonError::Unknown { at: self.at, member: shorten(&member) }),
        }
    }

    fn take(&mut self, field: &'static str) -> Result<Value, JsonError> {
        self.members.remove(field).ok_or(JsonError::Missing { at: self.at, field })
    }

    fn wrong(&self, field: &'static str, expected: &'static str) -> JsonError {
        JsonError::Type { at: self.at, field, expected }
    }
}

/// At most 64 characters of a text from the document, with control characters escaped, for an error message.
pub(crate) fn shorten(text: &str) -> String {
    text.chars().take(64).flat_map(char::escape_debug).collect()
}

/// Builds a [`Value`] like serde_json does, but refuses a repeated member and remembers its name.
#[derive(Clone, Copy)]
struct Strict<'a> {
    duplicate: &'a RefCell<Option<String>>,
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some(member) = entries.next_key::<String>()? {
            if members.contains_key(&member) {
                *self.duplicate.borrow_mut() = Some(shorten(&member));
                return Err(A::Error::custom("duplicate member"));
            }
            let value = entries.next_value_seed(self)?;
            members.insert(member, value);
        }
        Ok(Value::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duplicates_are_found_at_any_depth_and_however_they_are_written() {
        for text in [r#"{"a":1,"a":1}"#, r#"{"x":[{"a":1,"b":2,"a":3}]}"#, r#"{"a":1,"\u0061":2}"#] {
            assert_eq!(parse(text.as_bytes()), Err(JsonError::Duplicate { member: "a".into() }), "{text}");
        }
    }

    #[test]
    fn texts_that_are_not_one_json_value() {
        let deep = "[".repeat(200) + &"]".repeat(200);
        for text in ["", "{", "{} {}", "{}x", "[1,]", "nul", "\u{feff}{}", "1e999", "\"\\ud800\"", &deep] {
            assert!(matches!(parse(text.as_bytes()), Err(JsonError::Syntax { .. })), "{text}");
        }
        assert!(matches!(parse(b"\"\xff\""), Err(JsonError::Syntax { .. })));
        assert_eq!(parse(br#" {"a":[null,true,-1,1.5,"x"]} "#).unwrap()["a"][4], "x");
    }

    #[test]
    fn members_are_typed_and_none_is_left_over() {
        let object = || Object::new(parse(br#"{"s":"x","n":1,"f":1.0,"m":-1}"#).unwrap(), "here").unwrap();
        assert_eq!(object().string("s").unwrap(), "x");
        assert_eq!(object().integer("n").unwrap(), 1);
        let integer = "unsigned integer";
        for field in ["f", "m", "s"] {
            assert_eq!(
                object().integer(field),
                Err(JsonError::Type { at: "here", field, expected: integer })
            );
        }
        assert_eq!(object().string("q"), Err(JsonError::Missing { at: "here", field: "q" }));
        assert!(matches!(object().array("s"), Err(JsonError::Type { expected: "array", .. })));
        assert!(matches!(object().object("s"), Err(JsonError::Type { expected: "object", .. })));
        assert_eq!(object().end(), Err(JsonError::Unknown { at: "here", member: "f".into() }));
        assert!(Object::new(Value::Null, "here").is_err());
    }
}
