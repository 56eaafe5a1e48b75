//! Names that a manifest may carry: file names are relative paths that stay below their directory.

use thiserror::Error;

/// Longest file name, in bytes of UTF-8.
pub const MAX_NAME_LEN: usize = 512;
/// Longest part of a file name between slashes, in bytes: the limit of the usual file systems.
pub const MAX_SEGMENT_LEN: usize = 255;
/// Longest model name, in bytes of UTF-8.
pub const MAX_MODEL_NAME_LEN: usize = 255;

/// Why a name was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NameError {
    /// The name has no characters.
    #[error("the name is empty")]
    Empty,
    /// The name, or a part of it, is longer than its limit.
    #[error("the name is too long: {len} bytes where {limit} are allowed")]
    TooLong {
        /// Bytes found.
        len: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// The name starts at a root: `/`.
    #[error("the name is an absolute path")]
    Absolute,
    /// Two slashes in a row, or one at the end.
    #[error("the name has an empty part between slashes")]
    EmptySegment,
    /// A part is `.` or `..`.
    #[error("the name has a part that is `.` or `..`")]
    Traversal,
    /// A backslash: a path separator on one system and a character on another.
    #[error("the name has a backslash")]
    Backslash,
    /// A colon: a drive letter on one system, a shard range in OMS signatures.
    #[error("the name has a colon")]
    Colon,
    /// A control character (NUL and line ends included).
    #[error("the name has a control character U+{code_point:04X}")]
    Control {
        /// The character.
        code_point: u32,
    },
    /// A character that changes how the text around it is displayed.
    #[error("the name has a text-direction character U+{code_point:04X}")]
    Direction {
        /// The character.
        code_point: u32,
    },
}

/// Checks a file name (SEAL-21): a relative path with `/` between its parts.
///
/// # Errors
/// [`NameError`], by the first rule broken.
pub fn check_file_name(name: &str) -> Result<(), NameError> {
    check_text(name, MAX_NAME_LEN)?;
    if name.starts_with('/') {
        return Err(NameError::Absolute);
    }
    if name.contains('\\') {
        return Err(NameError::Backslash);
    }
    if name.contains(':') {
        return Err(NameError::Colon);
    }
    for segment in name.split('/') {
        match segment {
            "" => return Err(NameError::EmptySegment),
            "." | ".." => return Err(NameError::Traversal),
            long if long.len() > MAX_SEGMENT_LEN => {
                return Err(NameError::TooLong { len: long.len(), limit: MAX_SEGMENT_LEN });
            }
            _ => {}
        }
    }
    Ok(())
}

/// Checks a model's display name (SEAL-20): text of one line.
///
/// # Errors
/// [`NameError`], by the first rule broken.
pub fn check_model_name(name: &str) -> Result<(), NameError> {
    check_text(name, MAX_MODEL_NAME_LEN)
}

impl NameError {
    /// The stable code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Empty => "seal.name.empty",
            Self::TooLong { .. } => "seal.name.too-long",
            Self::Absolute => "seal.name.absolute",
            Self::EmptySegment => "seal.name.empty-segment",
            Self::Traversal => "seal.name.traversal",
            Self::Backslash => "seal.name.backslash",
            Self::Colon => "seal.name.colon",
            Self::Control { .. } => "seal.name.control",
            Self::Direction { .. } => "seal.name.direction",
        }
    }
}

/// What every name obeys.
fn check_text(name: &str, limit: usize) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    if name.len() > limit {
        return Err(NameError::TooLong { len: name.len(), limit });
    }
    for c in name.chars() {
        if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') {
            return Err(NameError::Control { code_point: c.into() });
        }
        // Unicode Bidi_Control.
        if matches!(c, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        {
            return Err(NameError::Direction { code_point: c.into() });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_file_names() {
        for name in
            ["model.gguf", "a/b/c.safetensors", "naïve 模型.bin", ".hidden", "..x", "x..", "a..b/c", "-"]
        {
            assert_eq!(check_file_name(name), Ok(()), "{name}");
        }
        assert_eq!(check_file_name(&"a".repeat(255)), Ok(()));
        assert_eq!(check_file_name(&format!("{0}/{0}", "a".repeat(255))), Ok(()));
        assert_eq!(check_file_name(&"a/".repeat(256)[..511]), Ok(()));
    }

    #[test]
    fn bad_file_names() {
        let long = "a".repeat(256);
        let longer = "a/".repeat(256) + "b";
        for (name, code) in [
            ("", "seal.name.empty"),
            (&long, "seal.name.too-long"),
            (&longer, "seal.name.too-long"),
            ("/etc/passwd", "seal.name.absolute"),
            ("a//b", "seal.name.empty-segment"),
            ("a/", "seal.name.empty-segment"),
            ("..", "seal.name.traversal"),
            ("../x", "seal.name.traversal"),
            ("a/../b", "seal.name.traversal"),
            ("a/..", "seal.name.traversal"),
            (".", "seal.name.traversal"),
            ("a/./b", "seal.name.traversal"),
            ("a\\b", "seal.name.backslash"),
            ("C:x", "seal.name.colon"),
            ("w.gguf:0:16", "seal.name.colon"),
            ("a\0b", "seal.name.control"),
            ("a\nb", "seal.name.control"),
            ("a\u{7f}", "seal.name.control"),
            ("a\u{85}", "seal.name.control"),
            ("a\u{2028}", "seal.name.control"),
            ("gpj.\u{202e}x", "seal.name.direction"),
            ("a\u{2066}", "seal.name.direction"),
        ] {
            assert_eq!(check_file_name(name).map_err(|e| e.code()), Err(code), "{name:?}");
        }
    }

    #[test]
    fn model_names() {
        for name in ["SmolLM2-135M-Instruct", "org/model:8b", "模型"] {
            assert_eq!(check_model_name(name), Ok(()));
        }
        assert_eq!(check_model_name(""), Err(NameError::Empty));
        assert_eq!(check_model_name("a\tb").unwrap_err().code(), "seal.name.control");
        assert_eq!(check_model_name(&"a".repeat(256)).unwrap_err().code(), "seal.name.too-long");
    }
}
