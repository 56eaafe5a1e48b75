//! The members of a JSON object, each taken once; what is left at the end is refused. Paths name members in errors.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use serde_json::{Map, Value};

use super::error::BundleError;
use crate::json;

/// An object of a bundle that is being read.
pub(super) struct Members {
    within: &'static str,
    members: Map<String, Value>,
}

impl Members {
    /// Of this value; `within` is its path.
    pub(super) fn of(value: Value, within: &'static str) -> Result<Self, BundleError> {
        match value {
            Value::Object(members) => Ok(Self { within, members }),
            _ => Err(BundleError::Type { member: within, expected: "an object" }),
        }
    }

    /// Of this JSON text.
    pub(super) fn parse(text: &[u8], within: &'static str) -> Result<Self, BundleError> {
        Self::of(parse(text, within)?, within)
    }

    /// The member that the path ends in, where it is there. `null` is there.
    pub(super) fn optional(&mut self, path: &'static str) -> Option<Value> {
        self.members.remove(path.rsplit('.').next().unwrap_or(path))
    }

    /// The member that the path ends in.
    pub(super) fn take(&mut self, path: &'static str) -> Result<Value, BundleError> {
        self.optional(path).ok_or(BundleError::Missing { member: path })
    }

    pub(super) fn text(&mut self, path: &'static str) -> Result<String, BundleError> {
        text(self.take(path)?, path)
    }

    pub(super) fn object(&mut self, path: &'static str) -> Result<Self, BundleError> {
        Self::of(self.take(path)?, path)
    }

    pub(super) fn list(&mut self, path: &'static str, maximum: usize) -> Result<Vec<Value>, BundleError> {
        list(self.take(path)?, path, maximum)
    }

    /// Standard base64 with padding, in its one spelling.
    pub(super) fn base64(&mut self, path: &'static str) -> Result<Vec<u8>, BundleError> {
        base64(&self.text(path)?, path)
    }

    /// URL-safe base64 with padding, in its one spelling.
    pub(super) fn base64_url(&mut self, path: &'static str) -> Result<Vec<u8>, BundleError> {
        let text = self.text(path)?;
        URL_SAFE
            .decode(text)
            .map_err(|_| BundleError::Encoding { member: path, expected: "URL-safe base64 with padding" })
    }

    /// Hexadecimal in lower case, of exactly this many bytes.
    pub(super) fn hex<const N: usize>(&mut self, path: &'static str) -> Result<[u8; N], BundleError> {
        hex(&self.text(path)?, path)
    }

    /// An integer from 0 to `maximum`.
    pub(super) fn number(&mut self, path: &'static str, maximum: u64) -> Result<u64, BundleError> {
        number(&self.take(path)?, path, maximum)
    }

    /// An integer from 0 to `maximum`, where it is there and not `null`.
    pub(super) fn number_or_null(
        &mut self,
        path: &'static str,
        maximum: u64,
    ) -> Result<Option<u64>, BundleError> {
        self.given(path).map(|value| number(&value, path, maximum)).transpose()
    }

    /// A list of at most so many octets, each as an integer.
    pub(super) fn bytes(&mut self, path: &'static str, maximum: usize) -> Result<Vec<u8>, BundleError> {
        let wrong = BundleError::Type { member: path, expected: "a list of octets" };
        let octets = self.list(path, maximum)?;
        let octet = |value: &Value| value.as_u64().and_then(|number| u8::try_from(number).ok());
        octets.iter().map(octet).collect::<Option<_>>().ok_or(wrong)
    }

    /// A list of exactly so many octets.
    pub(super) fn octets<const N: usize>(&mut self, path: &'static str) -> Result<[u8; N], BundleError> {
        let bytes = self.bytes(path, N)?;
        let found = bytes.len();
        bytes.try_into().map_err(|_| BundleError::Length { member: path, expected: N, found })
    }

    /// The member that the path ends in, where it is there and not `null`.
    pub(super) fn given(&mut self, path: &'static str) -> Option<Value> {
        self.optional(path).filter(|value| !value.is_null())
    }

    /// What is left, in the order of the names, for forms that others add members to.
    pub(super) fn rest(self) -> Vec<String> {
        let mut names: Vec<_> = self.members.into_iter().map(|(name, _)| name).collect();
        names.sort();
        names
    }

    /// Nothing is left.
    pub(super) fn end(self) -> Result<(), BundleError> {
        match self.members.keys().next() {
            Some(member) => Err(BundleError::Unknown { within: self.within, member: json::shorten(member) }),
            None => Ok(()),
        }
    }
}

/// One JSON value, strictly.
pub(super) fn parse(text: &[u8], what: &'static str) -> Result<Value, BundleError> {
    json::parse(text).map_err(|error| BundleError::Json { what, error })
}

pub(super) fn text(value: Value, path: &'static str) -> Result<String, BundleError> {
    match value {
        Value::String(text) => Ok(text),
        _ => Err(BundleError::Type { member: path, expected: "text" }),
    }
}

pub(super) fn list(value: Value, path: &'static str, maximum: usize) -> Result<Vec<Value>, BundleError> {
    match value {
        Value::Array(items) if items.len() > maximum => {
            Err(BundleError::TooMany { member: path, found: items.len(), maximum })
        }
        Value::Array(items) => Ok(items),
        _ => Err(BundleError::Type { member: path, expected: "a list" }),
    }
}

fn number(value: &Value, path: &'static str, maximum: u64) -> Result<u64, BundleError> {
    let number = value.as_u64().filter(|number| *number <= maximum);
    number.ok_or(BundleError::Type { member: path, expected: "an integer of its range" })
}

/// Standard base64 with padding. The decoder refuses every other spelling of the same bytes.
pub(super) fn base64(text: &str, path: &'static str) -> Result<Vec<u8>, BundleError> {
    STANDARD
        .decode(text)
        .map_err(|_| BundleError::Encoding { member: path, expected: "standard base64 with padding" })
}

/// Hexadecimal in lower case.
pub(super) fn hex_bytes(text: &str, path: &'static str) -> Result<Vec<u8>, BundleError> {
    let wrong = BundleError::Encoding { member: path, expected: "hexadecimal in lower case" };
    if text.bytes().any(|octet| octet.is_ascii_uppercase()) {
        return Err(wrong);
    }
    ::hex::decode(text).map_err(|_| wrong)
}

/// Hexadecimal in lower case, of exactly this many bytes.
pub(super) fn hex<const N: usize>(text: &str, path: &'static str) -> Result<[u8; N], BundleError> {
    let bytes = hex_bytes(text, path)?;
    let found = bytes.len();
    bytes.try_into().map_err(|_| BundleError::Length { member: path, expected: N, found })
}
