//! Release policies: under which attestation result a key may leave the broker (spec/release.md section 4).
//!
//! The grammar is the release-policy grammar of Azure Key Vault, version 1.0.0, read strictly:
//!
//! ```text
//! policy    = { "version": "1.0.0", "anyOf": [ authority, ... ], "danger-any-workload"?: true }
//! authority = { "authority": issuer, ("allOf" | "anyOf"): [ condition, ... ] }
//! condition = { "claim": name, operator: value } | { "allOf": [ condition, ... ] } | { "anyOf": [ condition, ... ] }
//! operator  = equals | notEquals | less | lessOrEquals | greater | greaterOrEquals | exists
//! ```
//!
//! Absence never opens: a condition on a claim that is not there is not met, whatever its operator.

mod evaluate;
mod parse;

use std::fmt;

use aws_lc_rs::digest;

pub use evaluate::{Failure, NotMet};

/// The one version of the grammar.
pub const VERSION: &str = "1.0.0";
/// A longer policy is refused before it is parsed, in bytes.
pub const MAX_LEN: usize = 64 * 1024;
/// How deep `allOf` and `anyOf` may nest, counted from the authority's own list as 1.
pub const MAX_DEPTH: usize = 8;
/// The longest claim name, in bytes.
pub const MAX_CLAIM_LEN: usize = 256;

/// The claim that names the launch measurement: 48 bytes in lower-case hex.
pub const CLAIM_MEASUREMENT: &str = "x-ms-isolation-tee.x-ms-sevsnpvm-launchmeasurement";
/// The claim that names the host data: 32 bytes in lower-case hex.
pub const CLAIM_HOST_DATA: &str = "x-ms-isolation-tee.x-ms-sevsnpvm-hostdata";
/// The claims that name what a TD was launched with (MRTD), its kernel (RTMR1) and its command line and first file system
/// (RTMR2): 48 bytes each in lower-case hex.
pub const CLAIMS_TDX: [&str; 3] =
    ["x-ms-isolation-tee.tdx_mrtd", "x-ms-isolation-tee.tdx_rtmr1", "x-ms-isolation-tee.tdx_rtmr2"];
/// The claim that names the image of a Nitro enclave: 48 bytes in lower-case hex.
pub const CLAIM_NITRO_IMAGE: &str = "casemate.nitro.pcr0";
/// The claims that name what an Azure machine booted: boot programs (PCR 4), and the kernel's initial file systems and
/// options (PCR 9) or the parts of a unified kernel image (PCR 11): 32 bytes each in lower-case hex.
pub const CLAIMS_AZURE: [&str; 3] = ["casemate.azure.pcr4", "casemate.azure.pcr9", "casemate.azure.pcr11"];

/// As [`CLAIMS_AZURE`], of a Google instance's virtual TPM.
pub const CLAIMS_GCE: [&str; 3] = ["casemate.gce.pcr4", "casemate.gce.pcr9", "casemate.gce.pcr11"];

/// The claim that counts the GPUs and switches that a machine showed: a number; missing where it showed none.
pub const CLAIM_DEVICES: &str = "casemate.devices.count";

/// Claims that together say what runs, each set enough by itself.
const PINS: [&[&str]; 8] = [
    &[CLAIM_MEASUREMENT],
    &[CLAIM_HOST_DATA],
    &CLAIMS_TDX,
    &[CLAIM_NITRO_IMAGE],
    &[CLAIMS_AZURE[0], CLAIMS_AZURE[1]],
    &[CLAIMS_AZURE[0], CLAIMS_AZURE[2]],
    &[CLAIMS_GCE[0], CLAIMS_GCE[1]],
    &[CLAIMS_GCE[0], CLAIMS_GCE[2]],
];

/// A release policy that follows the grammar. It may still pin nothing: see [`ReleasePolicy::require_pinned`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleasePolicy {
    text: String,
    authorities: Vec<Authority>,
    danger_any_workload: bool,
}

/// The conditions that one issuer's attestation results must meet.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Authority {
    issuer: String,
    rule: Condition,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Condition {
    AllOf(Vec<Condition>),
    AnyOf(Vec<Condition>),
    Claim { name: String, test: Test },
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Test {
    Equals(Scalar),
    NotEquals(Scalar),
    Less(i128),
    LessOrEquals(i128),
    Greater(i128),
    GreaterOrEquals(i128),
    Exists,
}

/// A value that a condition names or a claim has. The texts `true` and `false` are the booleans.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scalar {
    /// Any other text.
    Text(String),
    /// A whole number.
    Integer(i128),
    /// A truth value.
    Bool(bool),
}

/// Why a document is not a release policy that this broker takes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// Longer than [`MAX_LEN`].
    #[error("the policy has {len} bytes, more than {MAX_LEN}")]
    TooLarge {
        /// Bytes found.
        len: usize,
    },
    /// Not JSON.
    #[error("the policy is not JSON (line {line}, column {column})")]
    Syntax {
        /// Line of the fault, from 1.
        line: usize,
        /// Column of the fault, from 1.
        column: usize,
    },
    /// An object names a member twice, so two readers could see two policies.
    #[error("the policy names the member `{member}` twice in one object")]
    DuplicateMember {
        /// The member.
        member: String,
    },
    /// A member that the grammar does not know.
    #[error("{at}: unknown member `{member}`")]
    UnknownMember {
        /// The object's place in the document.
        at: String,
        /// The member.
        member: String,
    },
    /// A member that the grammar requires is not there.
    #[error("{at}: the member `{member}` is missing")]
    MissingMember {
        /// The object's place in the document.
        at: String,
        /// The member.
        member: &'static str,
    },
    /// A member has another JSON type than the grammar gives it.
    #[error("{at}: this must be {expected}")]
    Type {
        /// The value's place in the document.
        at: String,
        /// What the grammar has here.
        expected: &'static str,
    },
    /// Another version of the grammar.
    #[error("the policy has version `{found}`, not {VERSION}")]
    Version {
        /// The version found.
        found: String,
    },
    /// Both lists in one object.
    #[error("{at}: has both allOf and anyOf")]
    BothLists {
        /// The object's place in the document.
        at: String,
    },
    /// An authority without conditions, or a condition that is neither a claim nor a list.
    #[error("{at}: has neither allOf nor anyOf nor a claim")]
    NoCondition {
        /// The object's place in the document.
        at: String,
    },
    /// A list that can never or always be met, depending on whom one asks.
    #[error("{at}: the list is empty")]
    EmptyList {
        /// The list's place in the document.
        at: String,
    },
    /// A condition that says nothing about its claim.
    #[error("{at}: the condition has no operator")]
    NoOperator {
        /// The condition's place in the document.
        at: String,
    },
    /// A condition with two operators.
    #[error("{at}: the condition has two operators, {first} and {second}")]
    TwoOperators {
        /// The condition's place in the document.
        at: String,
        /// The one.
        first: &'static str,
        /// The other.
        second: &'static str,
    },
    /// More nesting than [`MAX_DEPTH`].
    #[error("{at}: allOf and anyOf nest deeper than {MAX_DEPTH}")]
    TooDeep {
        /// Where the limit was passed.
        at: String,
    },
    /// A claim name that can name no claim.
    #[error("{at}: `{claim}` is not a claim name (parts of printable ASCII joined by dots, no array index)")]
    ClaimName {
        /// The condition's place in the document.
        at: String,
        /// The name found.
        claim: String,
    },
    /// An operator with a value that it cannot compare.
    #[error("{at}: {operator} needs {expected}")]
    Value {
        /// The condition's place in the document.
        at: String,
        /// The operator.
        operator: &'static str,
        /// What it compares with.
        expected: &'static str,
    },
    /// `exists: false` would open where evidence is silent.
    #[error("{at}: `exists` must be true, because the absence of a claim never opens")]
    ExistsFalse {
        /// The condition's place in the document.
        at: String,
    },
    /// A measurement or host data that no evidence can ever have in this spelling.
    #[error("{at}: `{claim}` equals must be {digits} lower-case hex digits")]
    PinValue {
        /// The condition's place in the document.
        at: String,
        /// The claim.
        claim: &'static str,
        /// The number of digits.
        digits: usize,
    },
    /// Somebody who runs other code could satisfy it.
    #[error("the policy does not pin what runs: {hint}")]
    Unpinned {
        /// What to do about it.
        hint: Hint,
    },
}

/// Advice on a policy that pins nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hint {
    /// The policy of the Azure tutorials.
    AnyAzureCustomer,
    /// It names a pinning claim at the top level, where this broker asserts none.
    TopLevelClaim,
    /// It names some claims of a set that pins a workload, and not all.
    PartOfAPin,
    /// Everything else.
    AnyWorkload,
}

// === impl ReleasePolicy ===

impl ReleasePolicy {
    /// Reads a policy.
    ///
    /// # Errors
    /// Everything that section 4 of spec/release.md does not allow, each under its own name.
    pub fn parse(text: &[u8]) -> Result<Self, PolicyError> {
        parse::policy(text)
    }

    /// The bytes that were uploaded.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// SHA-256 of the bytes that were uploaded.
    pub fn digest(&self) -> [u8; 32] {
        let mut digest = [0; 32];
        digest.copy_from_slice(digest::digest(&digest::SHA256, self.text.as_bytes()).as_ref());
        digest
    }

    /// Whether somebody wrote that any workload may have the key.
    pub fn danger_any_workload(&self) -> bool {
        self.danger_any_workload
    }

    /// Accepts a policy that pins the workload, or whose author wrote that it shall not.
    ///
    /// # Errors
    /// [`PolicyError::Unpinned`] otherwise.
    pub fn require_pinned(&self) -> Result<(), PolicyError> {
        if pins_workload(self) || self.danger_any_workload {
            return Ok(());
        }
        Err(PolicyError::Unpinned { hint: self.hint() })
    }

    fn hint(&self) -> Hint {
        let mut claims = Vec::new();
        self.authorities.iter().for_each(|authority| authority.rule.claims(&mut claims));
        let last = |name: &str| name.rsplit('.').next().unwrap_or_default().to_owned();
        let pins: Vec<_> = PINS.into_iter().flatten().map(|claim| last(claim)).collect();
        if claims.iter().any(|name| last(name) == "x-ms-compliance-status") {
            Hint::AnyAzureCustomer
        } else if claims.iter().any(|name| pins.iter().any(|pin| pin == name)) {
            Hint::TopLevelClaim
        } else if claims.iter().any(|name| pin_digits(name).is_some()) {
            Hint::PartOfAPin
        } else {
            Hint::AnyWorkload
        }
    }
}

/// Whether every way to satisfy the policy requires `equals` on all claims of one set that pins a workload.
///
/// Every authority counts, also one whose results this broker does not issue: a changed issuer must not widen a
/// policy. A value of zeros pins nothing, because machines without one carry zeros.
pub fn pins_workload(policy: &ReleasePolicy) -> bool {
    !policy.authorities.is_empty() && policy.authorities.iter().all(|authority| authority.rule.pins(&[]))
}

// === impl Condition ===

impl Condition {
    /// Whether every way to meet this, where the claims of `required` are pinned already, pins a whole set.
    fn pins(&self, required: &[&str]) -> bool {
        match self {
            Self::AllOf(children) => {
                let own = children.iter().filter_map(Self::pin);
                let required: Vec<_> = required.iter().copied().chain(own).collect();
                is_whole(&required) || children.iter().any(|child| child.pins(&required))
            }
            Self::AnyOf(children) => {
                !children.is_empty() && children.iter().all(|child| child.pins(required))
            }
            Self::Claim { .. } => {
                let required: Vec<_> = required.iter().copied().chain(self.pin()).collect();
                is_whole(&required)
            }
        }
    }

    /// The claim that this condition pins, alone or with others.
    fn pin(&self) -> Option<&str> {
        match self {
            Self::Claim { name, test: Test::Equals(Scalar::Text(value)) }
                if value.bytes().any(|digit| digit != b'0') =>
            {
                pin_digits(name).map(|(name, _)| name)
            }
            _ => None,
        }
    }

    fn claims<'a>(&'a self, into: &mut Vec<&'a str>) {
        match self {
            Self::AllOf(children) | Self::AnyOf(children) => {
                children.iter().for_each(|child| child.claims(into))
            }
            Self::Claim { name, .. } => into.push(name),
        }
    }
}

fn is_whole(required: &[&str]) -> bool {
    PINS.iter().any(|set| set.iter().all(|claim| required.contains(claim)))
}

/// The claim's canonical name and its number of hex digits, for the claims that pin a workload, alone or with others.
fn pin_digits(claim: &str) -> Option<(&'static str, usize)> {
    let name = *PINS.into_iter().flatten().find(|name| **name == claim)?;
    let short = name == CLAIM_HOST_DATA || CLAIMS_AZURE.contains(&name) || CLAIMS_GCE.contains(&name);
    Some((name, if short { 64 } else { 96 }))
}

// === impl PolicyError ===

impl PolicyError {
    /// The stable code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "policy.too-large",
            Self::Syntax { .. } => "policy.json",
            Self::DuplicateMember { .. } => "policy.duplicate-member",
            Self::UnknownMember { .. } => "policy.unknown-member",
            Self::MissingMember { .. } => "policy.missing-member",
            Self::Type { .. } => "policy.type",
            Self::Version { .. } => "policy.version",
            Self::BothLists { .. } => "policy.both-lists",
            Self::NoCondition { .. } => "policy.no-condition",
            Self::EmptyList { .. } => "policy.list-empty",
            Self::NoOperator { .. } => "policy.no-operator",
            Self::TwoOperators { .. } => "policy.two-operators",
            Self::TooDeep { .. } => "policy.too-deep",
            Self::ClaimName { .. } => "policy.claim-name",
            Self::Value { .. } => "policy.value",
            Self::ExistsFalse { .. } => "policy.exists-false",
            Self::PinValue { .. } => "policy.pin-value",
            Self::Unpinned { .. } => "policy.unpinned",
        }
    }
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let advice = match self {
            Self::AnyAzureCustomer => {
                "a compliance status says where a machine runs and not what it runs, so this policy would release the \
                 key to any confidential VM of any customer."
            }
            Self::TopLevelClaim => "this broker asserts these claims under x-ms-isolation-tee and casemate.",
            Self::PartOfAPin => {
                "it names one part of what runs, and other code could run with the same part. On TDX the kernel is in RTMR1 \
                 and RTMR2, on Azure in PCR 4 with PCR 9 or 11."
            }
            Self::AnyWorkload => "anyone with such a machine could load other code and get the key.",
        };
        write!(
            f,
            "{advice} Require `equals` in every alternative on {}, or write \"danger-any-workload\": true",
            PINS.map(|set| set.join(" with ")).join(", or ")
        )
    }
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "\"{}\"", casemate_attest::json::shorten_to(text, 128)),
            Self::Integer(number) => write!(f, "{number}"),
            Self::Bool(value) => write!(f, "{value}"),
        }
    }
}

#[cfg(test)]
mod tests;
