//! Whether claims meet a policy.

use serde_json::Value;

use super::{Condition, ReleasePolicy, Scalar, Test};
use crate::claims::ClaimSet;

/// Why claims do not meet a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotMet {
    /// No authority of the policy is the issuer of these claims.
    Authority {
        /// The first authority that the policy names.
        expected: String,
        /// The issuer.
        found: String,
    },
    /// A condition failed.
    Condition(Failure),
}

/// A condition that failed. Where alternatives failed, the first of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The claim's dotted name.
    pub claim: String,
    /// The operator, as the grammar spells it.
    pub operator: &'static str,
    /// What the policy compares with.
    pub expected: Scalar,
    /// What the claims say; `None` when they say nothing that can be compared.
    pub found: Option<Scalar>,
}

impl ReleasePolicy {
    /// Whether `claims`, stated by `issuer`, meet this policy.
    ///
    /// # Errors
    /// The first reason why they do not.
    pub(crate) fn evaluate(&self, issuer: &str, claims: &ClaimSet) -> Result<(), NotMet> {
        let mut failed = None;
        for authority in self.authorities.iter().filter(|authority| authority.issuer == issuer) {
            match authority.rule.holds(claims) {
                Ok(()) => return Ok(()),
                Err(failure) => failed = failed.or(Some(failure)),
            }
        }
        Err(match failed {
            Some(failure) => NotMet::Condition(failure),
            None => NotMet::Authority {
                expected: self.authorities.first().map(|a| a.issuer.clone()).unwrap_or_default(),
                found: issuer.to_owned(),
            },
        })
    }
}

impl ReleasePolicy {
    /// Whether one of the policy's authorities is met by `claims` and would not be by `less`, which lack something: it was written with
    /// that in mind.
    pub(crate) fn needs(&self, issuer: &str, claims: &ClaimSet, less: &ClaimSet) -> bool {
        let mut of_issuer = self.authorities.iter().filter(|authority| authority.issuer == issuer);
        of_issuer.any(|authority| authority.rule.holds(claims).is_ok() && authority.rule.holds(less).is_err())
    }
}

impl Condition {
    /// Depth is bounded by the parser.
    fn holds(&self, claims: &ClaimSet) -> Result<(), Failure> {
        match self {
            Self::AllOf(children) => children.iter().try_for_each(|child| child.holds(claims)),
            Self::AnyOf(children) => {
                let mut failed = None;
                for child in children {
                    match child.holds(claims) {
                        Ok(()) => return Ok(()),
                        Err(failure) => failed = failed.or(Some(failure)),
                    }
                }
                // The parser refuses empty lists; one would hold for nobody.
                failed.map_or(Err(Failure::empty()), Err)
            }
            Self::Claim { name, test } => {
                let found = claims.lookup(name).and_then(Scalar::of);
                if test.holds(found.as_ref()) {
                    return Ok(());
                }
                Err(Failure {
                    claim: name.clone(),
                    operator: test.operator(),
                    expected: test.expected(),
                    found,
                })
            }
        }
    }
}

impl Failure {
    fn empty() -> Self {
        Self { claim: String::new(), operator: "anyOf", expected: Scalar::Bool(true), found: None }
    }
}

impl Test {
    /// Absence holds for nobody. Values of two kinds are neither equal nor different: no test on them holds.
    fn holds(&self, found: Option<&Scalar>) -> bool {
        let Some(found) = found else { return false };
        let integer = match found {
            Scalar::Integer(number) => Some(*number),
            Scalar::Text(_) | Scalar::Bool(_) => None,
        };
        match self {
            Self::Equals(expected) => found == expected,
            Self::NotEquals(expected) => found.is_same_kind_as(expected) && found != expected,
            Self::Less(limit) => integer.is_some_and(|number| number < *limit),
            Self::LessOrEquals(limit) => integer.is_some_and(|number| number <= *limit),
            Self::Greater(limit) => integer.is_some_and(|number| number > *limit),
            Self::GreaterOrEquals(limit) => integer.is_some_and(|number| number >= *limit),
            Self::Exists => true,
        }
    }

    fn operator(&self) -> &'static str {
        match self {
            Self::Equals(_) => "equals",
            Self::NotEquals(_) => "notEquals",
            Self::Less(_) => "less",
            Self::LessOrEquals(_) => "lessOrEquals",
            Self::Greater(_) => "greater",
            Self::GreaterOrEquals(_) => "greaterOrEquals",
            Self::Exists => "exists",
        }
    }

    fn expected(&self) -> Scalar {
        match self {
            Self::Equals(value) | Self::NotEquals(value) => value.clone(),
            Self::Less(limit)
            | Self::LessOrEquals(limit)
            | Self::Greater(limit)
            | Self::GreaterOrEquals(limit) => Scalar::Integer(*limit),
            Self::Exists => Scalar::Bool(true),
        }
    }
}

impl Scalar {
    /// The value of a JSON scalar; `None` for null, objects, lists and numbers with a fraction.
    pub(super) fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Bool(value) => Some(Self::Bool(*value)),
            Value::Number(number) => {
                let unsigned = number.as_u64().map(i128::from);
                unsigned.or_else(|| number.as_i64().map(i128::from)).map(Self::Integer)
            }
            Value::String(text) => Some(match text.as_str() {
                "true" => Self::Bool(true),
                "false" => Self::Bool(false),
                _ => Self::Text(text.clone()),
            }),
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        }
    }

    fn is_same_kind_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Text(_), Self::Text(_))
            | (Self::Integer(_), Self::Integer(_))
            | (Self::Bool(_), Self::Bool(_)) => true,
            (Self::Text(_) | Self::Integer(_) | Self::Bool(_), _) => false,
        }
    }
}
