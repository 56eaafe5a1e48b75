//! JSON from a stranger: one value, to the end, in which no object names a member twice.
//!
//! serde_json keeps the last of two equal members silently. Two readers of one policy or one request must never see
//! two different documents, so here a repeated member is an error of its own.

use std::cell::RefCell;
use std::fmt;

use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use thiserror::Error;

/// Why a text is not a JSON document that we read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum JsonError {
    /// Not one JSON value in UTF-8, or nested deeper than the parser goes (128 levels).
    #[error("it is not one JSON value (line {line}, column {column})")]
    Syntax {
        /// Line of the fault, from 1.
        line: usize,
        /// Column of the fault, from 1.
        column: usize,
    },
    /// An object names a member twice.
    #[error("member {member:?} is there twice")]
    Duplicate {
        /// The member, shortened.
        member: String,
    },
}

/// Parses one JSON text.
///
/// # Errors
/// Where it is not one, or names a member twice.
pub fn parse(bytes: &[u8]) -> Result<Value, JsonError> {
    let repeated = RefCell::new(None);
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = Unrepeated(&repeated).deserialize(&mut deserializer);
    let value = value.and_then(|value| deserializer.end().map(|()| value));
    match (repeated.into_inner(), value) {
        (Some(member), _) => Err(JsonError::Duplicate { member }),
        (None, Ok(value)) => Ok(value),
        (None, Err(error)) => Err(JsonError::Syntax { line: error.line(), column: error.column() }),
    }
}

/// At most 64 characters of a stranger's text, control characters escaped, for a message.
pub fn shorten(text: &str) -> String {
    shorten_to(text, 64)
}

/// As [`shorten`], to `length` characters.
pub fn shorten_to(text: &str, length: usize) -> String {
    text.chars().take(length).flat_map(char::escape_debug).collect()
}

#[derive(Clone, Copy)]
struct Unrepeated<'a>(&'a RefCell<Option<String>>);

impl<'de> DeserializeSeed<'de> for Unrepeated<'_> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Unrepeated<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("not a finite number"))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            if object.contains_key(&name) {
                self.0.replace(Some(shorten(&name)));
                return Err(A::Error::custom("a member is named twice"));
            }
            object.insert(name, members.next_value_seed(self)?);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_member_is_found_at_any_depth_and_in_any_spelling() {
        for text in [r#"{"a":1,"a":1}"#, r#"{"x":[{"b":0,"a":1,"a":2}]}"#, r#"{"a":{},"\u0061":2}"#] {
            assert_eq!(parse(text.as_bytes()), Err(JsonError::Duplicate { member: "a".into() }), "{text}");
        }
        assert_eq!(parse(br#"{"a":{"a":1}}"#).unwrap()["a"]["a"], 1);
    }

    #[test]
    fn what_is_not_one_json_value_is_refused() {
        let deep = "[".repeat(129) + &"]".repeat(129);
        for text in ["", "{", "{}{}", "{} x", "[1,]", "\u{feff}{}", "1e999", r#""\ud800""#, &deep] {
            assert!(matches!(parse(text.as_bytes()), Err(JsonError::Syntax { .. })), "{text:.20}");
        }
        assert!(matches!(parse(b"\"\xff\""), Err(JsonError::Syntax { .. })));
    }
}
