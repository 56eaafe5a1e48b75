//! Which virtual TPM is demanded beside the hardware: `[vtpm]` says whose, `[gce-vtpm]` of the same policy what it must be.

use casemate_attest::{Danger, PlatformPolicy, Policy};
use serde::Deserialize;

/// What a relying party demands of a machine's virtual TPM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VtpmRule {
    /// None: a machine that shows one is refused.
    None,
    /// One of Google Compute Engine, as the policy's terms for it say.
    Google {
        /// Whose `gce` has the terms, and which accepts nothing else.
        policy: Box<Policy>,
        /// What is decided about certificates that name no revocation list (GV-05): a document cannot waive it.
        unlisted: Danger,
    },
}

/// `[vtpm]` of a policy file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct VtpmTable {
    /// Who runs it.
    pub provider: VtpmProvider,
    /// Why certificates that name no revocation list are accepted.
    pub danger_unlisted: Option<String>,
}

/// Who runs a virtual TPM that stands beside the hardware. Azure's stands between: its evidence carries the hardware's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VtpmProvider {
    /// Google Compute Engine.
    Google,
}

/// Why the tables are no rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VtpmRuleError {
    /// A decision without a reason.
    #[error("[vtpm] danger-unlisted is empty; write down the reason")]
    NoReason,
    /// A demand, and no terms.
    #[error("[vtpm] demands a virtual TPM, and no [gce-vtpm] says what it must be")]
    NoTerms,
    /// Nothing beside which it could stand.
    #[error(
        "[vtpm] demands a virtual TPM beside the hardware, and neither [sev-snp] nor [tdx] says what that must be"
    )]
    NoHardware,
}

impl VtpmRuleError {
    /// The stable code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoReason => "policy.vtpm-no-reason",
            Self::NoTerms => "policy.vtpm-without-terms",
            Self::NoHardware => "policy.vtpm-without-hardware",
        }
    }
}

impl VtpmRule {
    /// Of a policy's tables. Where `[vtpm]` is there, the terms for the virtual TPM are taken out of the policy for the machine
    /// itself: a virtual TPM's evidence alone then is no machine's.
    ///
    /// # Errors
    /// `[vtpm]` without terms, without hardware, or with an empty reason.
    pub fn take(table: Option<VtpmTable>, policy: &mut Policy) -> Result<Self, VtpmRuleError> {
        let Some(VtpmTable { provider: VtpmProvider::Google, danger_unlisted }) = table else {
            return Ok(Self::None);
        };
        let unlisted = match danger_unlisted {
            None => Danger::Refuse,
            Some(reason) if reason.trim().is_empty() => return Err(VtpmRuleError::NoReason),
            Some(reason) => Danger::Allow { reason },
        };
        let accepted = core::mem::replace(&mut policy.gce, PlatformPolicy::NotAccepted);
        let PlatformPolicy::Accepted(terms) = accepted else { return Err(VtpmRuleError::NoTerms) };
        if policy.snp == PlatformPolicy::NotAccepted && policy.tdx == PlatformPolicy::NotAccepted {
            return Err(VtpmRuleError::NoHardware);
        }
        Ok(Self::Google { policy: Box::new(Policy::for_gce(terms)), unlisted })
    }
}
