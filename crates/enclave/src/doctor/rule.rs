//! The rules' names, and what a check is.

use std::borrow::Cow;
use std::io;

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// As `serve` needs it.
    Pass,
    /// `serve` would start; something is weaker or slower than it need be.
    Warn,
    /// `serve` would refuse, or what it holds could leave its memory.
    Fail,
    /// The check could not be made.
    Unknown,
}

impl Outcome {
    /// As in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Warn => "warn",
            Self::Fail => "fail",
            Self::Unknown => "unknown",
        }
    }
}

/// One rule's outcome on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// The rule's number in spec/doctor.md.
    pub rule: &'static str,
    /// The check's stable name. A rule about several things (devices, services) has one check for each.
    pub id: Cow<'static, str>,
    /// How it ended.
    pub outcome: Outcome,
    /// What was found, in one plain line.
    pub found: String,
    /// The stable code of the error that `serve` would end with, or that the check itself met, where there is one.
    pub code: Option<&'static str>,
    /// What the person can do about it. Everything but a pass has one.
    pub hint: Option<String>,
}

/// A rule, for one thing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rule(pub(crate) &'static str, pub(crate) &'static str);

impl Rule {
    pub(crate) fn pass(self, found: impl AsRef<str>) -> Check {
        self.check(Outcome::Pass, found.as_ref(), None)
    }

    pub(crate) fn warn(self, found: impl AsRef<str>, hint: impl Into<String>) -> Check {
        self.check(Outcome::Warn, found.as_ref(), Some(hint.into()))
    }

    pub(crate) fn fail(self, found: impl AsRef<str>, hint: impl Into<String>) -> Check {
        self.check(Outcome::Fail, found.as_ref(), Some(hint.into()))
    }

    pub(crate) fn unknown(self, found: impl AsRef<str>, hint: impl Into<String>) -> Check {
        self.check(Outcome::Unknown, found.as_ref(), Some(hint.into()))
    }

    /// A file of the kernel that could not be read.
    pub(crate) fn unreadable(self, path: &str, error: &io::Error) -> Check {
        let hint = match error.kind() {
            io::ErrorKind::PermissionDenied => "run it as root",
            _ => "are /proc and /sys mounted, and not hidden by a container?",
        };
        self.unknown(format!("cannot read /{path}: {error}"), hint)
    }

    fn check(self, outcome: Outcome, found: &str, hint: Option<String>) -> Check {
        Check { rule: self.0, id: self.1.into(), outcome, found: plain(found), code: None, hint }
    }
}

impl Check {
    pub(crate) fn code(self, code: &'static str) -> Self {
        Self { code: Some(code), ..self }
    }
}

/// The host's words for a terminal: one short line without control characters.
pub(crate) fn plain(text: &str) -> String {
    let line = text.trim().chars().map(|c| if c.is_whitespace() { ' ' } else { c });
    line.filter(|c| !c.is_control()).take(MAX_FOUND).collect()
}

/// Longer than anything that is found here, and no flood.
const MAX_FOUND: usize = 240;
