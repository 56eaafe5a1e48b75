//! Where a key is: `repository/type/tag`.

use std::fmt;
use std::str::FromStr;

/// The path of a key, as in `kbs:///repository/type/tag`.
///
/// Each part has 1 to 64 characters of `A-Z a-z 0-9 . _ -` and does not begin with a dot, so no part can climb, be
/// escaped or be spelled in two ways.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourcePath(String);

/// A text that is no path of a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{found}` is not a key path of the form repository/type/tag")]
pub struct ResourcePathError {
    /// What was found, shortened.
    pub found: String,
}

/// The longest part, in bytes.
const MAX_PART: usize = 64;

impl ResourcePath {
    /// `repository/type/tag`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl ResourcePathError {
    /// The stable code of this error.
    pub fn code(&self) -> &'static str {
        "release.path"
    }
}

impl FromStr for ResourcePath {
    type Err = ResourcePathError;

    /// Takes `repository/type/tag`, also with `kbs:///` in front.
    fn from_str(text: &str) -> Result<Self, ResourcePathError> {
        let path = text.strip_prefix("kbs:///").unwrap_or(text);
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let part = |part: &str| {
            (1..=MAX_PART).contains(&part.len()) && !part.starts_with('.') && part.bytes().all(plain)
        };
        if path.split('/').count() != 3 || !path.split('/').all(part) {
            return Err(ResourcePathError { found: casemate_attest::json::shorten(text) });
        }
        Ok(Self(path.to_owned()))
    }
}

impl fmt::Display for ResourcePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_plain_parts_and_nothing_else() {
        for good in ["models/smollm2/1", "kbs:///models/smollm2/1", "a/b_c/d-e.f"] {
            assert!(good.parse::<ResourcePath>().is_ok(), "{good}");
        }
        assert_eq!("kbs:///a/b/c".parse::<ResourcePath>().unwrap().as_str(), "a/b/c");
        let long = format!("a/b/{}", "c".repeat(65));
        for wrong in [
            "",
            "a",
            "a/b",
            "a/b/c/d",
            "/a/b/c",
            "a/b/c/",
            "a//c",
            "a/../c",
            "a/./c",
            "a/.b/c",
            "a/b/%63",
            "a/b/c?d",
            "a/b/c#d",
            "a/b/c d",
            "a\\b/c/d",
            "a/b/é",
            "a/b/c\0",
            "kbs://host/a/b/c",
            &long,
        ] {
            assert_eq!(wrong.parse::<ResourcePath>().unwrap_err().code(), "release.path", "{wrong:?}");
        }
    }
}
