//! The protocol of a verification: every rule, in order, with what was compared and what came of it.

use core::fmt;

use serde::Serialize;

use crate::rules::Rule;

/// One rule's outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Which rule.
    pub rule: &'static Rule,
    /// What came of it.
    pub outcome: Outcome,
    /// What was compared with what, for a person to read; empty where the rule was not reached.
    pub compared: String,
}

/// What came of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It holds.
    Pass,
    /// It does not hold; nothing after it was looked at.
    Fail,
    /// An earlier rule failed, or nobody asked yet.
    NotReached,
    /// It, or a part of it, was not asked for, by a written decision.
    Waived,
}

impl Outcome {
    /// As in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::NotReached => "not-reached",
            Self::Waived => "waived",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a rule found when it did not fail.
pub(crate) enum Finding {
    Pass(String),
    Waived(String),
}

/// Writes checks down in the order of the rules.
#[derive(Debug)]
pub(crate) struct Ledger {
    rules: &'static [Rule],
    checks: Vec<Check>,
}

impl Ledger {
    pub(crate) fn new(rules: &'static [Rule]) -> Self {
        Self { rules, checks: Vec::with_capacity(rules.len()) }
    }

    /// Writes down a rule's outcome and passes its value or its error on.
    pub(crate) fn record<T, E: fmt::Display>(
        &mut self,
        rule: &'static Rule,
        result: Result<(T, Finding), E>,
    ) -> Result<T, E> {
        match result {
            Ok((value, finding)) => {
                let (outcome, compared) = match finding {
                    Finding::Pass(compared) => (Outcome::Pass, compared),
                    Finding::Waived(compared) => (Outcome::Waived, compared),
                };
                self.checks.push(Check { rule, outcome, compared });
                Ok(value)
            }
            Err(error) => {
                self.checks.push(Check { rule, outcome: Outcome::Fail, compared: error.to_string() });
                Err(error)
            }
        }
    }

    pub(crate) fn checks(&self) -> &[Check] {
        &self.checks
    }

    /// Whether every rule was looked at, once and in order, and none failed. `Verified` is not built without it.
    pub(crate) fn is_complete(&self) -> bool {
        self.checks.len() == self.rules.len()
            && self.checks.iter().zip(self.rules).all(|(check, rule)| {
                check.rule.id == rule.id && matches!(check.outcome, Outcome::Pass | Outcome::Waived)
            })
    }

    /// The protocol, with the rules that nobody came to as not reached.
    pub(crate) fn finish(self) -> Vec<Check> {
        let Self { rules, mut checks } = self;
        for rule in rules.iter().skip(checks.len()) {
            checks.push(Check { rule, outcome: Outcome::NotReached, compared: String::new() });
        }
        checks
    }
}
