//! The JSON schema that an answer must fit, bounded before anything is computed from it (spec/serving.md, SRV-41).

use std::collections::HashSet;
use std::fmt;

use serde_json::Value;

use crate::error::{EngineError, SchemaFault};

/// Most bytes of a schema.
pub const MAX_SCHEMA_BYTES: usize = 64 << 10;
/// Deepest nesting of lists and objects in a schema's text.
pub const MAX_SCHEMA_NESTING: usize = 64;
/// Most values in a schema's text, each member of a list of allowed values among them.
pub const MAX_SCHEMA_VALUES: usize = 4096;
/// Most different references (`$ref`) in a schema: reading them goes as deep as they lead.
pub const MAX_SCHEMA_REFERENCES: usize = 64;

/// A schema within these bounds. Whether an answer can be held to it is found when a request has it. Its `Debug` shows its length.
#[derive(Clone)]
pub struct Schema(String);

impl Schema {
    /// Takes a schema as JSON text.
    ///
    /// # Errors
    /// [`EngineError::Schema`]: `engine.schema.too-large` beyond a bound, `engine.schema.invalid` where it is no JSON object.
    pub fn new(text: String) -> Result<Self, EngineError> {
        Self::read(&text)?;
        Ok(Self(text))
    }

    /// The schema of any JSON object.
    #[must_use]
    pub fn object() -> Self {
        Self(r#"{"type":"object"}"#.into())
    }

    /// The text. It is request content: do not log it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The schema as a value.
    pub(crate) fn value(&self) -> Result<serde_json::Map<String, Value>, EngineError> {
        Self::read(&self.0)
    }

    fn read(text: &str) -> Result<serde_json::Map<String, Value>, EngineError> {
        if text.len() > MAX_SCHEMA_BYTES {
            return Err(SchemaFault::Bytes { bytes: text.len(), limit: MAX_SCHEMA_BYTES }.into());
        }
        // Before it is parsed: a parser has a limit of its own, with another name.
        if nesting(text) > MAX_SCHEMA_NESTING {
            return Err(SchemaFault::Nesting { limit: MAX_SCHEMA_NESTING }.into());
        }
        let Ok(Value::Object(schema)) = serde_json::from_str(text) else {
            return Err(SchemaFault::NotAnObject.into());
        };
        // The library takes orders from this member, which no draft of JSON Schema has.
        if schema.contains_key(ORDERS) {
            return Err(SchemaFault::Refused.into());
        }
        let mut found = Found::default();
        schema.iter().for_each(|(key, value)| found.look(key, value));
        if found.values > MAX_SCHEMA_VALUES {
            return Err(SchemaFault::Values { values: found.values, limit: MAX_SCHEMA_VALUES }.into());
        }
        if found.references.len() > MAX_SCHEMA_REFERENCES {
            return Err(SchemaFault::References { limit: MAX_SCHEMA_REFERENCES }.into());
        }
        Ok(schema)
    }
}

/// Content-free: shows the length, never the text.
impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Schema(<{} bytes>)", self.0.len())
    }
}

/// By which a schema gives the library orders.
pub(crate) const ORDERS: &str = "x-guidance";

/// What counts towards the bounds.
#[derive(Default)]
struct Found<'a> {
    values: usize,
    references: HashSet<&'a str>,
}

impl<'a> Found<'a> {
    fn look(&mut self, key: &str, value: &'a Value) {
        self.values += 1;
        match value {
            Value::Array(values) => values.iter().for_each(|value| self.look("", value)),
            Value::Object(members) => members.iter().for_each(|(key, value)| self.look(key, value)),
            Value::String(target) if key == "$ref" => {
                self.references.insert(target);
            }
            Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
}

/// How deep the lists and objects of a JSON text are nested.
fn nesting(text: &str) -> usize {
    let (mut depth, mut deepest, mut inside, mut escaped) = (0_usize, 0, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if inside => escaped = true,
            b'"' => inside = !inside,
            b'[' | b'{' if !inside => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !inside => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> &'static str {
        Schema::new(text.into()).map_or_else(|error| error.code(), |_| "fine")
    }

    #[test]
    fn bounds_have_names() {
        let (invalid, large) = ("engine.schema.invalid", "engine.schema.too-large");
        assert_eq!(code(Schema::object().as_str()), "fine");
        for text in
            ["", "{", "[]", "true", "1", r#"{"type":"object"} x"#, r#"{"x-guidance":{"lenient":true}}"#]
        {
            assert_eq!(code(text), invalid, "{text}");
        }
        let nested = |n: usize| format!("{}1{}", r#"{"a":"#.repeat(n), "}".repeat(n));
        assert_eq!((code(&nested(64)), code(&nested(65)), code(&nested(20_000))), ("fine", large, large));
        assert_eq!(code(&format!(r#"{{"a":"{}"}}"#, r#"\"[{"#.repeat(100))), "fine", "text is not nested");
        let many = |n: usize| format!(r#"{{"enum":[{}0]}}"#, "0,".repeat(n));
        assert_eq!((code(&many(4094)), code(&many(4095))), ("fine", large));
        let references = |n| {
            let all: Vec<_> = (0..n).map(|n| format!(r##"{{"$ref":"#/{n}"}}"##)).collect();
            format!(r#"{{"anyOf":[{}]}}"#, all.join(","))
        };
        assert_eq!((code(&references(64)), code(&references(65))), ("fine", large));
        assert_eq!(code(&format!(r#"{{"title":"{}"}}"#, "x".repeat(MAX_SCHEMA_BYTES))), large);
    }
}
