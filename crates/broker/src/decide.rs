//! The decision: the only place where a [`Permit`] comes into being.
//!
//! A pure function of the verified evidence of a machine's processor and of what stands beside it, the key's record, the issuer's name and the time (spec/release.md section 5).

use casemate_attest::{Check, Outcome, UnixTime};
use casemate_protocol::ModelId;
use casemate_protocol::additional::AttestedComposite;

use crate::claims::ClaimSet;
use crate::policy::{NotMet, PolicyError, Scalar};
use crate::resource::ResourcePath;
use crate::store::KeyRecord;

/// Permission to take one key out of the store, once.
///
/// It has no public constructor, `Clone`, `Default` or `Deserialize`: [`decide`] makes it and
/// [`Store::unwrap`](crate::Store::unwrap) takes it.
#[derive(Debug)]
pub struct Permit {
    resource: ResourcePath,
    policy_sha256: [u8; 32],
    model: ModelId,
}

/// Why the key stays.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    /// The evidence was good, and its time has passed.
    #[error("the evidence was valid until {valid_until}, and it is {now}")]
    Expired {
        /// When it ended.
        valid_until: UnixTime,
        /// When the key was asked for.
        now: UnixTime,
    },
    /// Nobody checked what the evidence is bound to, so it could be anybody's.
    #[error("the evidence was verified without what it is bound to")]
    NotBound,
    /// Evidence of a simulator asks for a production key.
    #[error("the evidence is SIMULATED and this key store is for genuine hardware")]
    Simulated,
    /// Genuine evidence asks for a key of a simulator's store. Production and simulation never mix.
    #[error("the evidence is genuine and this key store is for a simulator")]
    NotSimulated,
    /// A version that is no longer released.
    #[error("version {version} of the model is below its floor {floor}")]
    BelowFloor {
        /// The key's version.
        version: u64,
        /// The model's floor.
        floor: u64,
    },
    /// The stored policy pins nothing. The store refuses such policies; this is the second lock.
    #[error(transparent)]
    Unpinned(PolicyError),
    /// The policy relies on other issuers only.
    #[error("the policy relies on the authority \"{expected}\", and this broker is \"{found}\"")]
    Authority {
        /// The first authority that the policy names.
        expected: String,
        /// This broker's issuer name.
        found: String,
    },
    /// A condition of the policy is not met.
    #[error("the claim {claim} is {}, and the policy requires {operator} {expected}", spoken(found))]
    NotMet {
        /// The claim's dotted name.
        claim: String,
        /// The operator.
        operator: &'static str,
        /// What the policy compares with.
        expected: Scalar,
        /// What the evidence says; `None` when it says nothing that can be compared.
        found: Option<Scalar>,
    },
    /// Another program than the embedded engine would read the model, and the policy would be met without a word about it.
    #[error(
        "the program {digest} would read the model in the place of the embedded engine, and the policy does not speak of casemate.upstream"
    )]
    Upstream {
        /// Its digest.
        digest: String,
    },
}

/// Decides whether the machine behind `composite` may have the key of `key`, now.
///
/// `issuer` is this broker's name as an authority.
///
/// # Errors
/// [`Denial`], the first reason that applies, in the order of its variants.
pub fn decide(
    composite: &AttestedComposite,
    key: &KeyRecord,
    issuer: &str,
    now: UnixTime,
) -> Result<Permit, Denial> {
    let case = Case {
        bound: composite.machine().checks().iter().any(is_binding),
        simulated: composite.simulated(),
        valid_until: composite.valid_until(),
        claims: ClaimSet::of(composite),
    };
    case.judge(key, issuer, now)?;
    Ok(Permit { resource: key.resource.clone(), policy_sha256: key.policy.digest(), model: key.model })
}

/// The rules of attest.md that hold report data against what it should be. Azure's is that of the hardware underneath.
const BINDING_RULES: [&str; 3] = ["SNP-31", "TDX-28", "NIT-16"];

/// Passed, and not waived.
fn is_binding(check: &Check) -> bool {
    BINDING_RULES.contains(&check.rule.id) && check.outcome == Outcome::Pass
}

/// What the decision needs to know about the evidence. It carries no authority: only [`decide`] makes permits.
struct Case {
    bound: bool,
    simulated: bool,
    valid_until: UnixTime,
    claims: ClaimSet,
}

impl Case {
    fn judge(&self, key: &KeyRecord, issuer: &str, now: UnixTime) -> Result<(), Denial> {
        if now > self.valid_until {
            return Err(Denial::Expired { valid_until: self.valid_until, now });
        }
        if !self.bound {
            return Err(Denial::NotBound);
        }
        match (self.simulated, key.anchors.simulated()) {
            (false, false) | (true, true) => {}
            (true, false) => return Err(Denial::Simulated),
            (false, true) => return Err(Denial::NotSimulated),
        }
        if key.model.version < key.floor {
            return Err(Denial::BelowFloor { version: key.model.version, floor: key.floor });
        }
        key.policy.require_pinned().map_err(Denial::Unpinned)?;
        key.policy.evaluate(issuer, &self.claims).map_err(|not_met| match not_met {
            NotMet::Authority { expected, found } => Denial::Authority { expected, found },
            NotMet::Condition(failure) => Denial::NotMet {
                claim: failure.claim,
                operator: failure.operator,
                expected: failure.expected,
                found: failure.found,
            },
        })?;
        // Whoever reads the model's plaintext can give it away (REL-21): a policy that does not need the claim was written without it in mind.
        match self.claims.without_upstream() {
            Some((without, digest)) if !key.policy.needs(issuer, &self.claims, &without) => {
                Err(Denial::Upstream { digest })
            }
            _ => Ok(()),
        }
    }
}

impl Permit {
    /// The key that may leave.
    pub fn resource(&self) -> &ResourcePath {
        &self.resource
    }

    /// SHA-256 of the policy that was met.
    pub fn policy_sha256(&self) -> [u8; 32] {
        self.policy_sha256
    }

    /// The model and version that the key opens.
    pub fn model(&self) -> ModelId {
        self.model
    }

    /// For the tests of the store, which are not about decisions.
    #[cfg(test)]
    pub(crate) fn made_up(key: &KeyRecord) -> Self {
        Self { resource: key.resource.clone(), policy_sha256: key.policy.digest(), model: key.model }
    }
}

impl Denial {
    /// The stable code of this denial.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Expired { .. } => "release.evidence.expired",
            Self::NotBound => "release.evidence.not-bound",
            Self::Simulated => "release.evidence.simulated",
            Self::NotSimulated => "release.evidence.not-simulated",
            Self::BelowFloor { .. } => "release.version.below-floor",
            Self::Unpinned(error) => error.code(),
            Self::Authority { .. } => "release.policy.authority",
            Self::NotMet { .. } => "release.policy.not-met",
            Self::Upstream { .. } => "release.upstream",
        }
    }
}

fn spoken(found: &Option<Scalar>) -> String {
    found.as_ref().map_or_else(|| "not there".into(), Scalar::to_string)
}

#[cfg(test)]
mod tests;
