//! What an attestation result must say.

use crate::policy::{Danger, Expected};

/// What an attestation result (EAR) must say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EarPolicy {
    /// Verifiers, exactly as in `iss`; where tokens have none, as the anchors name them.
    pub issuers: Vec<String>,
    /// `eat_profile`.
    pub profiles: Vec<String>,
    /// `ear.verifier-id.developer`: who wrote the verifier.
    pub developers: Expected<String>,
    /// The names of the submodules: these, and no other.
    pub submodules: Vec<String>,
    /// Claims of the trustworthiness vector, each of which must be affirming, in every submodule.
    pub affirmed: Expected<String>,
    /// `ear.appraisal-policy-id` of every submodule.
    pub appraisal_policies: Expected<String>,
    /// Whether a submodule with a warning, or of which nothing is said, is accepted. A contraindicated one never is.
    pub not_affirming: Danger,
}
