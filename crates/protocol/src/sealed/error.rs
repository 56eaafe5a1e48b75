//! Why something sealed is refused.

/// Why something sealed is refused. It never says what was in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealedError {
    /// The key configurations are not of the form of RFC 9458 §3.
    #[error("the key configurations are malformed")]
    Configuration,
    /// There is no configuration for X-Wing, or none of its suites is known.
    #[error("the server offers no X-Wing key with a suite that we know")]
    NoKey,
    /// The message is sealed to a key that is not one of these.
    #[error("the request is sealed to key {id}, which this server does not have")]
    UnknownKey {
        /// The key's number.
        id: u8,
    },
    /// The message names another algorithm than its key's.
    #[error("the request names algorithms that key {id} is not for")]
    Suite {
        /// The key's number.
        id: u8,
    },
    /// The message ends before its final chunk.
    #[error("the sealed message was cut")]
    Cut,
    /// A chunk is longer than a chunk may be.
    #[error("a chunk has {len} bytes, more than {most}")]
    ChunkTooLong {
        /// What it says.
        len: u64,
        /// The most.
        most: usize,
    },
    /// A chunk does not authenticate: changed, moved, of another message, or of another key.
    #[error("chunk {number} of the sealed message does not authenticate")]
    NotAuthentic {
        /// Its number, from 0.
        number: u64,
    },
    /// There is something after the end.
    #[error("the sealed message goes on after its end")]
    Trailing,
    /// What was sealed is not Binary HTTP.
    #[error("what was sealed is not a Binary HTTP message: {what}")]
    Message {
        /// What is wrong.
        what: &'static str,
    },
    /// What was sealed is not in cells.
    #[error("the answer's padding is malformed")]
    Padding,
    /// The random bytes do not suffice.
    #[error("the algorithm takes more random bytes than there are")]
    Randomness,
    /// More chunks than one key may seal.
    #[error("the message has more chunks than its key may seal")]
    TooManyChunks,
}

impl SealedError {
    /// The stable code of this error.
    pub fn code(self) -> &'static str {
        match self {
            Self::Configuration => "sealed.configuration",
            Self::NoKey => "sealed.no-key",
            Self::UnknownKey { .. } => "sealed.unknown-key",
            Self::Suite { .. } => "sealed.suite",
            Self::Cut => "sealed.cut",
            Self::ChunkTooLong { .. } => "sealed.chunk-too-long",
            Self::NotAuthentic { .. } => "sealed.not-authentic",
            Self::Trailing => "sealed.trailing",
            Self::Message { .. } => "sealed.message",
            Self::Padding => "sealed.padding",
            Self::Randomness => "sealed.randomness",
            Self::TooManyChunks => "sealed.too-many-chunks",
        }
    }
}
