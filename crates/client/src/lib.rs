//! The verifying client: believes nothing before the evidence is checked.
//!
//! [`connect`] fetches the attestation document, verifies and appraises it, and checks that it speaks of this very TLS
//! connection. Only then a [`VerifiedServer`] exists, and only a [`VerifiedServer`] takes a prompt. A [`Peer`] keeps one verified, a
//! [`Pool`] has several, and [`proxy`] is an address on this machine in front of them.

mod forward;
mod kept;
pub mod operator;
mod peer;
mod policy;
mod pool;
pub mod proxy;
mod sealed;
mod server;
mod tls;
mod via;

pub use forward::{Answer as ForwardedAnswer, Request, keep_renewed, send};
pub use kept::{KeptServer, check_kept};
pub use peer::{FAILURE_KEPT, Peer, PeerError, PeerState, Session, Verifier};
pub use policy::{ClientPolicy, ClientPolicyError};
pub use pool::{Pool, PoolError};
pub use server::{
    Anchors, Answer, ConnectError, ConnectFailure, Observed, SendError, VerifiedServer, connect, observe,
    unverified_get,
};
pub use via::Via;
