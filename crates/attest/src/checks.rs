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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::SEV_SNP;

    fn pass() -> Result<((), Finding), &'static str> {
        Ok(((), Finding::Pass(String::new())))
    }

    fn full(outcome: impl Fn(usize) -> Option<Finding>) -> Ledger {
        let mut ledger = Ledger::new(SEV_SNP);
        for (index, rule) in SEV_SNP.iter().enumerate() {
            if let Some(finding) = outcome(index) {
                ledger.record(rule, Ok::<_, &str>(((), finding))).expect("a finding");
            }
        }
        ledger
    }

    #[test]
    fn complete_means_every_rule_once_in_order_and_none_failed() {
        assert!(full(|_| Some(Finding::Pass(String::new()))).is_complete());
        assert!(full(|_| Some(Finding::Waived(String::new()))).is_complete());
        assert!(!Ledger::new(SEV_SNP).is_complete());
        for skipped in 0..SEV_SNP.len() {
            let ledger = full(|index| (index != skipped).then(|| Finding::Pass(String::new())));
            assert!(!ledger.is_complete(), "without rule {skipped}");
        }
    }

    #[test]
    fn a_failed_rule_or_one_too_many_is_not_complete() {
        let mut twice = full(|_| Some(Finding::Pass(String::new())));
        twice.record(&SEV_SNP[0], pass()).expect("a finding");
        assert!(!twice.is_complete());

        let mut failed = full(|index| (index != 30).then(|| Finding::Pass(String::new())));
        assert_eq!(failed.record(&SEV_SNP[30], Err::<((), Finding), _>("no")), Err("no"));
        assert!(!failed.is_complete());

        let mut swapped = Ledger::new(SEV_SNP);
        for index in [1, 0].into_iter().chain(2..SEV_SNP.len()) {
            swapped.record(&SEV_SNP[index], pass()).expect("a finding");
        }
        assert!(!swapped.is_complete());
    }

    #[test]
    fn rules_after_a_failure_are_not_reached() {
        let mut ledger = Ledger::new(SEV_SNP);
        ledger.record(&SEV_SNP[0], pass()).expect("a finding");
        ledger.record(&SEV_SNP[1], Err::<((), Finding), _>("because")).expect_err("an error");
        let checks = ledger.finish();
        assert_eq!(checks.len(), SEV_SNP.len());
        assert_eq!((checks[1].outcome, checks[1].compared.as_str()), (Outcome::Fail, "because"));
        assert!(checks[2..].iter().all(|check| check.outcome == Outcome::NotReached));
        assert!(checks.iter().zip(SEV_SNP).all(|(check, rule)| check.rule == rule));
    }
}
