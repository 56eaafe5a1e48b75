//! The verifying client: believes nothing before the evidence is checked.
//!
//! [`connect`] fetches the attestation document, verifies and appraises it, and checks that it speaks of this very TLS
//! connection. Only then a [`VerifiedServer`] exists, and only a [`VerifiedServer`] takes a prompt.

mod policy;
mod server;
mod tls;

pub use policy::{ClientPolicy, ClientPolicyError};
pub use server::{
    Anchors, Answer, ConnectError, ConnectFailure, SendError, VerifiedServer, connect, unverified_get,
};
