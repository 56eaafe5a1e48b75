//! The key broker: it holds model keys and releases each to machines that its policy names (spec/release.md).
//!
//! ```text
//! attest::verify, appraise             -> Verified     genuine, meets the baseline, bound to the machine's key
//! decide(&verified, &record, ..)       -> Permit       this key's own policy is met; one use
//! store.unwrap(permit)                 -> ContentKey   the permit is used up
//! content_key.encrypt_to(&tee_pubkey)  -> Jwe          only the attested machine reads it
//! ```
//!
//! [`router`] serves this over the Key Broker Service protocol of confidential-containers, RCAR 0.4.0.

#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::panic
    )
)]

mod anchors;
mod baseline;
mod broker;
mod chance;
mod claims;
#[cfg(doctest)]
mod compile_fail;
mod decide;
mod fault;
mod http;
pub mod policy;
mod resource;
mod session;
pub mod store;
mod token;

pub use anchors::{AnchorIdentity, BrokerAnchors};
pub use baseline::{Baseline, BaselineError, PCRS, baseline};
pub use broker::{BrokerConfig, BrokerState, DEFAULT_ISSUER, StartError};
pub use chance::{Clock, Entropy, EntropyError, SystemClock, SystemEntropy};
pub use decide::{Denial, Permit, decide};
pub use http::{MAX_ATTEST_BODY, MAX_AUTH_BODY, router};
pub use policy::{PolicyError, ReleasePolicy, pins_workload};
pub use resource::{ResourcePath, ResourcePathError};
pub use session::{MAX_SESSIONS, SESSION_SECONDS};
pub use store::{KeyRecord, NewKey, Overwrite, Store, StoreError};
pub use token::{EAT_PROFILE, TokenError};
