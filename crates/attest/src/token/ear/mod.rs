//! EAT attestation results (draft-ietf-rats-ear) over AR4SI's vectors (draft-ietf-rats-ar4si): spec/tokens-ear.md.

mod appraise;
mod policy;
pub(crate) mod policy_file;
mod tier;

pub(crate) use appraise::appraise;
pub use policy::EarPolicy;

use crate::token::claims::View;

/// Whether claims are an attestation result's: it names its profile and its verifier, and has submodules.
pub(crate) fn is_ear(claims: View<'_>) -> bool {
    claims.text(&["eat_profile"]).is_some()
        && claims.object(&["ear.verifier-id"]).is_some()
        && claims.object(&["submods"]).is_some()
}
