//! Why bytes are not an event log.

use thiserror::Error;

use super::{MAX_EVENTS, MAX_LOG};

/// Why bytes are not an event log.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LogError {
    /// More than a log needs.
    #[error("a log of {found} bytes is longer than {MAX_LOG}")]
    TooLong {
        /// Octets that arrived.
        found: usize,
    },
    /// It ends within an event.
    #[error("the log ends within the event at byte {offset}")]
    Truncated {
        /// Where the event starts.
        offset: usize,
    },
    /// No TCG_EfiSpecIdEvent at its start. The older form of a log starts with its first event; it has SHA-1 only.
    #[error("the log does not start with a TCG_EfiSpecIdEvent, so that it is not crypto-agile")]
    Header,
    /// A field of the header has another value than it must have.
    #[error("the header's {field} is {found}, which is not understood")]
    HeaderValue {
        /// As in the PC Client Platform Firmware Profile.
        field: &'static str,
        /// What is there.
        found: u32,
    },
    /// A hash that is not known, of another size, or there twice.
    #[error(
        "the header lists the hash {id:#06x} with {size} bytes, which is unknown, of another size or there twice"
    )]
    Algorithm {
        /// TPM_ALG_ID.
        id: u16,
        /// Octets of a digest.
        size: u16,
    },
    /// An event without exactly one digest of each hash that the header lists.
    #[error("the event at byte {offset} does not have one digest of each hash that the header lists")]
    Digests {
        /// Where the event starts.
        offset: usize,
    },
    /// EV_NO_ACTION with a digest: it extends nothing, and its digests are zero.
    #[error("the event at byte {offset} extends nothing, and has a digest that is not zero")]
    NoAction {
        /// Where the event starts.
        offset: usize,
    },
    /// More events than a machine logs.
    #[error("the log has more than {MAX_EVENTS} events")]
    TooManyEvents,
    /// Something else than fill after the end.
    #[error("byte {offset}, after the end of the log, is not fill")]
    Fill {
        /// The first such byte.
        offset: usize,
    },
    /// Not JSON, something follows it, or a member is unknown, missing, there twice or of another type.
    #[error("the log is not understood: {0}")]
    Json(String),
    /// A member of a dstack event has a value that it cannot have.
    #[error("{member} of event {event} is not possible")]
    Member {
        /// From 0.
        event: usize,
        /// Its name.
        member: &'static str,
    },
    /// A version of dstack's events whose digest is not known here.
    #[error("event {event} is of version {version}, whose digest is not known")]
    DstackVersion {
        /// From 0.
        event: usize,
        /// As written.
        version: u32,
    },
    /// The digest of a dstack event is not that of its name and payload.
    #[error("the digest of event {event} is not that of its name and payload")]
    DstackDigest {
        /// From 0.
        event: usize,
    },
}

impl LogError {
    /// Stable identifier, for logs, exit codes and tests.
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLong { .. } => "log.format.too-long",
            Self::Truncated { .. } => "log.format.truncated",
            Self::Header => "log.format.header",
            Self::HeaderValue { .. } => "log.format.header-value",
            Self::Algorithm { .. } => "log.format.algorithm",
            Self::Digests { .. } => "log.format.digests",
            Self::NoAction { .. } => "log.format.no-action",
            Self::TooManyEvents => "log.format.too-many-events",
            Self::Fill { .. } => "log.format.fill",
            Self::Json(_) => "log.format.json",
            Self::Member { .. } => "log.format.member",
            Self::DstackVersion { .. } => "log.format.dstack-version",
            Self::DstackDigest { .. } => "log.format.dstack-digest",
        }
    }
}
