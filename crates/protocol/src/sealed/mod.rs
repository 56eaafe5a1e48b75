//! The sealed channel: whole requests and answers, encrypted to a key that evidence binds (spec/sealed-channel.md).
//!
//! Chunked Oblivious HTTP (draft-ietf-ohai-chunked-ohttp-08 on RFC 9458) around Binary HTTP (RFC 9292), with X-Wing or X25519 in HPKE
//! (RFC 9180). What a network sees is a key's number, lengths and times:
//!
//! * [`keys`]: a replica's key configurations, as they are bound, sent and chosen from;
//! * [`request`]: one request, sealed whole and opened whole;
//! * [`response`]: its answer, sealed and opened as it comes;
//! * [`message`]: Binary HTTP;
//! * [`cells`]: lengths that say little about what is in them.
//!
//! Nothing here reads a socket or a clock, and randomness is an argument. What was opened is [`Plaintext`](crate::Plaintext) or is
//! overwritten when it is dropped.

mod aead;
pub mod cells;
mod chunks;
mod error;
mod hpke;
pub mod keys;
pub mod message;
pub mod request;
pub mod response;
#[cfg(test)]
mod tests;
mod varint;

pub use error::SealedError;
pub use keys::{Aead, Kem, KeyPairs, SealingKey, configuration_digest};
pub use request::{Opened, Sealed};
pub use response::{AnswerOpener, AnswerSealer};

/// The media type of a sealed request.
pub const REQUEST_TYPE: &str = "message/ohttp-chunked-req";
/// The media type of a sealed answer.
pub const RESPONSE_TYPE: &str = "message/ohttp-chunked-res";
/// Where a server takes sealed requests.
pub const PATH: &str = "/ohttp";
/// In a sealed request: how the answer's lengths and times are to be shaped ([`cells::Shape`]).
pub const SHAPE_HEADER: &str = "casemate-shape";
