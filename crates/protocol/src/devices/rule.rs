//! Which devices are demanded: `[devices]` says how many, `[nvidia]` of the same policy says what each must be.

use std::num::NonZeroUsize;

use casemate_attest::{PlatformPolicy, Policy};
use serde::Deserialize;

/// More devices are refused; the largest machines have 8 GPUs and 4 switches.
pub const MAX_DEVICES: usize = 64;

/// What a relying party demands of a machine's devices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeviceRule {
    /// No device: a machine that states one is refused.
    None,
    /// Exactly so many, each as the policy's terms for NVIDIA say.
    Exactly {
        /// How many.
        count: NonZeroUsize,
        /// Whose `nvidia` has the terms.
        policy: Box<Policy>,
    },
}

/// `[devices]` of a policy file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct DevicesTable {
    /// How many devices the machine must have.
    pub count: usize,
}

/// Why the two tables are no rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeviceRuleError {
    /// Terms, and nobody says for how many.
    #[error("[nvidia] says what each device must be, and no [devices] says how many there must be")]
    NoCount,
    /// A number, and no terms.
    #[error("[devices] demands devices, and no [nvidia] says what each must be")]
    NoTerms,
    /// A number that no machine has.
    #[error("[devices] count is {found}, not between 1 and {MAX_DEVICES}")]
    Count {
        /// As written.
        found: usize,
    },
}

impl DeviceRuleError {
    /// The stable code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoCount => "policy.devices-without-count",
            Self::NoTerms => "policy.devices-without-terms",
            Self::Count { .. } => "policy.devices-count",
        }
    }
}

impl DeviceRule {
    /// Of a policy's tables: neither of them, or both.
    ///
    /// # Errors
    /// One without the other, or a number that no machine has.
    pub fn new(table: Option<&DevicesTable>, policy: &Policy) -> Result<Self, DeviceRuleError> {
        match (table, &policy.nvidia) {
            (None, PlatformPolicy::NotAccepted) => Ok(Self::None),
            (None, PlatformPolicy::Accepted(_)) => Err(DeviceRuleError::NoCount),
            (Some(_), PlatformPolicy::NotAccepted) => Err(DeviceRuleError::NoTerms),
            (Some(DevicesTable { count }), PlatformPolicy::Accepted(_)) => {
                let wrong = DeviceRuleError::Count { found: *count };
                let count = NonZeroUsize::new(*count).filter(|count| count.get() <= MAX_DEVICES);
                Ok(Self::Exactly { count: count.ok_or(wrong)?, policy: Box::new(policy.clone()) })
            }
        }
    }
}
