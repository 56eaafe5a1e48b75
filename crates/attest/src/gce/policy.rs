//! What a GCE instance must be (spec/attest.md §15.3). Every field is decided on by one rule.

use crate::eventlog::LogPolicy;
use crate::policy::{Danger, Expected};
use crate::tpm::PcrTerms;

/// Terms for evidence of a GCE virtual TPM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GcePolicy {
    /// A host that may read the instance's memory: nothing in this evidence says that it cannot (GV-10). Where the
    /// hardware's evidence is verified beside it, and binds the key's name, say so here.
    pub memory_encryption_unproven: Danger,
    /// Project IDs (GV-11).
    pub project_id: Expected<String>,
    /// Zones (GV-12).
    pub zone: Expected<String>,
    /// Instance IDs (GV-13).
    pub instance_id: Expected<u64>,
    /// The PCRs that the quote must be over, these and no other, each with its values (GV-14).
    pub pcrs: PcrTerms,
    /// The event log behind the PCRs (LOG-01 to LOG-06). The evidence brings one; another may be put beside it.
    pub event_log: LogPolicy,
}
