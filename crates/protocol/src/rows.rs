//! The rows of a report, as the checks of statement, virtual TPM and devices write them.

use casemate_attest::{Check, Outcome, Rule};

pub(crate) fn row(rule: &'static Rule, outcome: Outcome, compared: String) -> Check {
    Check { rule, outcome, compared }
}

/// With those of `rules` that are not among them, as not reached.
pub(crate) fn with_rest(mut checks: Vec<Check>, rules: &'static [Rule]) -> Vec<Check> {
    let reached = |rule: &Rule| checks.iter().any(|check| check.rule.id == rule.id);
    let rest: Vec<_> = rules.iter().filter(|rule| !reached(rule)).collect();
    checks.extend(rest.into_iter().map(|rule| row(rule, Outcome::NotReached, String::new())));
    checks
}
