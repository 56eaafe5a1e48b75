//! Why bytes are no bundle.

use thiserror::Error;

use super::{MAX_BUNDLE, System};
use crate::eventlog::LogError;
use crate::evidence::{ParseError, Platform};
use crate::json::JsonError;
use crate::nvidia::GpuParseError;

/// Why bytes are no bundle of a known system (rule BUN-01). Members are named by their path.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BundleError {
    /// More than any bundle needs.
    #[error("a bundle of {found} bytes is longer than {MAX_BUNDLE}")]
    TooLong {
        /// Bytes that arrived.
        found: usize,
    },
    /// Not JSON, or an object names a member twice.
    #[error("{what} is not understood: {error}")]
    Json {
        /// Of the bundle.
        what: &'static str,
        /// What is wrong with it.
        error: JsonError,
    },
    /// No system's marker is there.
    #[error("no known system has such a bundle")]
    UnknownSystem,
    /// The markers of two systems are there.
    #[error("this is a bundle of {first} and of {second} at once")]
    TwoSystems {
        /// One of them.
        first: System,
        /// Another one.
        second: System,
    },
    /// The system is known, and this version or variant of its bundle is not.
    #[error("{member} is {found:?}, which is not known here")]
    Version {
        /// Of the bundle.
        member: &'static str,
        /// What was written, shortened.
        found: String,
    },
    /// A member that must be there is not.
    #[error("{member} is missing")]
    Missing {
        /// Of the bundle.
        member: &'static str,
    },
    /// A member that the form does not have.
    #[error("{within} has the member {member:?}, which is not known here")]
    Unknown {
        /// The object.
        within: &'static str,
        /// Its member, shortened.
        member: String,
    },
    /// A value of another type.
    #[error("{member} is not {expected}")]
    Type {
        /// Of the bundle.
        member: &'static str,
        /// What it must be.
        expected: &'static str,
    },
    /// Text that does not encode bytes in the one way that the form has.
    #[error("{member} is not {expected}")]
    Encoding {
        /// Of the bundle.
        member: &'static str,
        /// How it must be written.
        expected: &'static str,
    },
    /// Another length than the form gives.
    #[error("{member} has {found} bytes instead of {expected}")]
    Length {
        /// Of the bundle.
        member: &'static str,
        /// Bytes that it must have.
        expected: usize,
        /// Bytes that it has.
        found: usize,
    },
    /// Two items of one name.
    #[error("{member} has {name:?} twice")]
    Duplicate {
        /// The list.
        member: &'static str,
        /// The name, shortened.
        name: String,
    },
    /// More items than a machine has.
    #[error("{member} has {found} items, more than {maximum}")]
    TooMany {
        /// The list.
        member: &'static str,
        /// Items in it.
        found: usize,
        /// At most.
        maximum: usize,
    },
    /// Several reports, of which one has to be named.
    #[error("there are several reports, and none was named: {names}")]
    Several {
        /// Their names.
        names: String,
    },
    /// No report of this name.
    #[error("there is no report {name:?}")]
    NoPart {
        /// What was named, shortened.
        name: String,
    },
    /// Two members that must say the same, and do not.
    #[error("{member} is not what stands around it")]
    Contradiction {
        /// Of the bundle.
        member: &'static str,
    },
    /// Damaged compression.
    #[error("{member} is not one gzip member over at most {maximum} bytes")]
    Gzip {
        /// Of the bundle.
        member: &'static str,
        /// At most, in bytes.
        maximum: usize,
    },
    /// Evidence of another platform than the bundle says.
    #[error("the bundle names {named}, and its evidence is of {found}")]
    Platform {
        /// By the bundle.
        named: Platform,
        /// Of the evidence.
        found: Platform,
    },
    /// The evidence of the CPU.
    #[error(transparent)]
    Evidence(#[from] ParseError),
    /// The evidence of a device.
    #[error(transparent)]
    Device(#[from] GpuParseError),
    /// The event log.
    #[error(transparent)]
    EventLog(#[from] LogError),
}

impl BundleError {
    /// Stable identifier, for logs, exit codes and tests.
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLong { .. } => "bundle.too-long",
            Self::Json { error: JsonError::Syntax { .. }, .. } => "bundle.json",
            Self::Json { error: JsonError::Duplicate { .. }, .. } => "bundle.member.duplicate",
            Self::UnknownSystem => "bundle.unknown-system",
            Self::TwoSystems { .. } => "bundle.two-systems",
            Self::Version { .. } => "bundle.version",
            Self::Missing { .. } => "bundle.member.missing",
            Self::Unknown { .. } => "bundle.member.unknown",
            Self::Type { .. } => "bundle.member.type",
            Self::Encoding { .. } => "bundle.member.encoding",
            Self::Length { .. } => "bundle.member.length",
            Self::Duplicate { .. } => "bundle.item.duplicate",
            Self::TooMany { .. } => "bundle.item.too-many",
            Self::Several { .. } => "bundle.part.several",
            Self::NoPart { .. } => "bundle.part.unknown",
            Self::Contradiction { .. } => "bundle.contradiction",
            Self::Gzip { .. } => "bundle.gzip",
            Self::Platform { .. } => "bundle.platform",
            Self::Evidence(error) => error.code(),
            Self::Device(error) => error.code(),
            Self::EventLog(error) => error.code(),
        }
    }
}
