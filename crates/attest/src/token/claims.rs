//! What a genuine token says: its claims as they are, and who says so. Claims are not a verdict.

use serde::Serialize;
use serde_json::{Map, Value};

use super::TokenKind;

/// A genuine token's claims. It is its issuer who says this, not the hardware: this library has seen none of the evidence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TokenClaims {
    /// What kind of token.
    pub kind: TokenKind,
    /// Who is believed.
    pub attested_by: String,
    /// As signed.
    pub claims: Map<String, Value>,
    /// The claims of each submodule that has a token of its own, by its name; of most kinds there are none.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub submodules: Map<String, Value>,
}

/// Reads claims by their path; another type than the one asked for is as if nothing were there.
#[derive(Clone, Copy)]
pub(crate) struct View<'a>(pub(crate) &'a Map<String, Value>);

impl<'a> View<'a> {
    pub(crate) fn get(self, path: &[&str]) -> Option<&'a Value> {
        let (last, objects) = path.split_last()?;
        let mut members = self.0;
        for name in objects {
            members = members.get(*name)?.as_object()?;
        }
        members.get(*last)
    }

    pub(crate) fn text(self, path: &[&str]) -> Option<&'a str> {
        self.get(path)?.as_str()
    }

    pub(crate) fn number(self, path: &[&str]) -> Option<u64> {
        self.get(path)?.as_u64()
    }

    pub(crate) fn flag(self, path: &[&str]) -> Option<bool> {
        self.get(path)?.as_bool()
    }

    /// A string, or a list of strings.
    pub(crate) fn texts(self, path: &[&str]) -> Option<Vec<&'a str>> {
        match self.get(path)? {
            Value::String(text) => Some(vec![text]),
            Value::Array(list) => list.iter().map(Value::as_str).collect(),
            _ => None,
        }
    }

    pub(crate) fn object(self, path: &[&str]) -> Option<View<'a>> {
        self.get(path)?.as_object().map(View)
    }
}
