//! A verdict as data: what commands print with `--json` (spec/attest.md §8). Rendering decides nothing.

use serde::Serialize;

use crate::anchors::TrustAnchors;
use crate::bundle::{BoundValue, Bundle, BundleError, BundleRefusal, NotAsked, System, VerifiedBundle};
use crate::checks::{Check, Outcome};
use crate::claims::Claims;
use crate::evidence::{ParseError, Platform};
use crate::rules;
use crate::time::UnixTime;
use crate::token::{TokenAnchors, TokenClaims, TokenDenied, TokenError, TokenRejected, VerifiedToken};
use crate::verdict::{Authentic, Denied, Rejected, Verified};

/// Name and version of the JSON form.
pub const SCHEMA: &str = "casemate.verify/1";

/// A verdict and its protocol.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    schema: &'static str,
    verdict: Verdict,
    simulated: bool,
    headline: String,
    code: Option<&'static str>,
    checks: Vec<ReportedCheck>,
    claims: Option<Said>,
    /// Present only where the policy asked for an event log and it passed (spec/event-logs.md §6).
    #[serde(skip_serializing_if = "Option::is_none")]
    event_log: Option<serde_json::Value>,
    /// Present only for bundles of other systems (spec/bundles.md §5).
    #[serde(skip_serializing_if = "Option::is_none")]
    bundle: Option<ReportedBundle>,
    valid_until: Option<UnixTime>,
}

/// Whose bundle it is, what its evidence binds, and what nobody looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct ReportedBundle {
    system: System,
    variant: &'static str,
    /// Empty where the bundle is refused.
    bound: Vec<BoundValue>,
    not_asked: Vec<NotAsked>,
}

/// Whose word the claims are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
enum Said {
    /// The hardware's.
    Evidence(Box<Claims>),
    /// Another verifier's.
    Token(Box<TokenClaims>),
}

/// The answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Genuine, ours, and bound to this exchange.
    Verified,
    /// Genuine; nobody asked whether it is ours.
    Authentic,
    /// Genuine and refused.
    Denied,
    /// Not proven to be genuine.
    Rejected,
    /// Not evidence.
    Malformed,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct ReportedCheck {
    id: &'static str,
    title: &'static str,
    spec: &'static str,
    outcome: Outcome,
    compared: String,
}

impl Report {
    /// Of evidence that passed everything.
    pub fn from_verified(verified: &Verified) -> Self {
        let headline = verified_headline(verified.checks(), verified.simulated());
        Self {
            claims: Some(Said::Evidence(Box::new(verified.claims().clone()))),
            event_log: verified.event_log().and_then(|log| serde_json::to_value(log).ok()),
            valid_until: Some(verified.valid_until()),
            ..Self::new(Verdict::Verified, verified.simulated(), headline, None, verified.checks())
        }
    }

    /// Of evidence that is genuine and was not held against a policy.
    pub fn from_authentic(authentic: &Authentic) -> Self {
        let headline = "GENUINE, NOT APPRAISED".to_owned();
        Self {
            claims: Some(Said::Evidence(Box::new(authentic.claims().clone()))),
            valid_until: Some(authentic.valid_until()),
            ..Self::new(Verdict::Authentic, authentic.simulated(), headline, None, authentic.checks())
        }
    }

    /// Of evidence that is genuine and refused.
    pub fn from_denied(denied: &Denied) -> Self {
        let headline = format!("DENIED: {}", denied.reason);
        Self {
            claims: Some(Said::Evidence(denied.claims.clone())),
            valid_until: Some(denied.valid_until),
            ..Self::new(Verdict::Denied, denied.simulated, headline, Some(denied.code()), &denied.checks)
        }
    }

    /// Of evidence that is not proven to be genuine. It has no claims: nothing in it is believed.
    pub fn from_rejected(rejected: &Rejected) -> Self {
        let headline = format!("REJECTED: {}", rejected.reason);
        Self::new(Verdict::Rejected, rejected.simulated, headline, Some(rejected.code()), &rejected.checks)
    }

    /// Of bytes that are not evidence. The anchors only say whether the verifier would believe a simulator.
    pub fn from_parse_error(error: &ParseError, anchors: &TrustAnchors) -> Self {
        let rules = error.platform().map_or(rules::SEV_SNP, rules::of);
        let rule = rules.first().unwrap_or(&rules::sev_snp::FORMAT);
        let format = Check { rule, outcome: Outcome::Fail, compared: error.to_string() };
        let headline = format!("MALFORMED: {error}");
        Self::new(Verdict::Malformed, anchors.simulated(), headline, Some(error.code()), &[format])
    }

    /// Of a token that passed everything: the headline says by whose word.
    pub fn from_verified_token(token: &VerifiedToken) -> Self {
        let outcomes = token.checks().iter().map(|check| (check.rule.id, check.outcome));
        let whose = format!(", by the word of {}", token.claims().attested_by);
        let headline = headline(outcomes, token.simulated(), &whose);
        Self {
            claims: Some(Said::Token(Box::new(token.claims().clone()))),
            valid_until: Some(token.valid_until()),
            ..Self::new(Verdict::Verified, token.simulated(), headline, None, token.checks())
        }
    }

    /// Of a token that is its issuer's and refused.
    pub fn from_denied_token(denied: &TokenDenied) -> Self {
        let headline = format!("DENIED: {}", denied.reason);
        Self {
            claims: Some(Said::Token(denied.claims.clone())),
            valid_until: Some(denied.valid_until),
            ..Self::new(Verdict::Denied, denied.simulated, headline, Some(denied.code()), &denied.checks)
        }
    }

    /// Of a token that is not proven to be its issuer's. It has no claims: nothing in it is believed.
    pub fn from_rejected_token(rejected: &TokenRejected) -> Self {
        let headline = format!("REJECTED: {}", rejected.reason);
        Self::new(Verdict::Rejected, rejected.simulated, headline, Some(rejected.code()), &rejected.checks)
    }

    /// Of bytes that are not a token. Whose rules would have been applied is not known.
    pub fn from_token_error(error: &TokenError, anchors: &TokenAnchors) -> Self {
        let headline = format!("MALFORMED: {error}");
        Self::new(Verdict::Malformed, anchors.simulated(), headline, Some(error.code()), &[])
    }

    /// With the rules of a further specification, which were applied after this one's; `failure` is the code and the
    /// words of the one that failed. The headline and the verdict then speak of all of them.
    #[must_use]
    pub fn extended(mut self, further: &[Check], failure: Option<(&'static str, String)>) -> Self {
        self.checks.extend(further.iter().map(ReportedCheck::new));
        match failure {
            Some((code, words)) => {
                self.verdict = Verdict::Denied;
                self.headline = format!("DENIED: {words}");
                self.code = Some(code);
            }
            None => {
                let outcomes = self.checks.iter().map(|check| (check.id, check.outcome));
                self.headline = headline(outcomes, self.simulated, "");
            }
        }
        self
    }

    /// Of a bundle that passed everything; this is its evidence's.
    pub(crate) fn of_bundle(mut self, bundle: &VerifiedBundle) -> Self {
        self.checks.extend(bundle.checks().iter().map(ReportedCheck::new));
        self.simulated = bundle.simulated();
        let outcomes = self.checks.iter().map(|check| (check.id, check.outcome));
        self.headline = headline(outcomes, self.simulated, &format!(", bundle of {}", bundle.system()));
        self.valid_until = Some(bundle.valid_until());
        self.bundle = Some(ReportedBundle {
            system: bundle.system(),
            variant: bundle.variant(),
            bound: bundle.values().to_vec(),
            not_asked: bundle.not_asked().to_vec(),
        });
        self
    }

    /// Of a bundle that is refused; this is its evidence's, as far as it came.
    pub(crate) fn of_refused_bundle(
        mut self,
        bundle: &Bundle,
        checks: &[Check],
        reason: &BundleRefusal,
    ) -> Self {
        self.checks.extend(checks.iter().map(ReportedCheck::new));
        let (verdict, word) = match reason {
            BundleRefusal::Rejected(_) | BundleRefusal::DeviceRejected { .. } => {
                (Verdict::Rejected, "REJECTED")
            }
            BundleRefusal::Denied(_)
            | BundleRefusal::Bundle(_)
            | BundleRefusal::DeviceDenied { .. }
            | BundleRefusal::Devices(_) => (Verdict::Denied, "DENIED"),
        };
        self.verdict = verdict;
        self.headline = format!("{word}: {reason}");
        self.code = Some(reason.code());
        self.bundle = Some(ReportedBundle {
            system: bundle.system(),
            variant: bundle.variant(),
            bound: Vec::new(),
            not_asked: bundle.not_asked().to_vec(),
        });
        self
    }

    /// Of bytes that are not a bundle.
    pub fn from_bundle_error(error: &BundleError, anchors: &TrustAnchors) -> Self {
        let format =
            Check { rule: &rules::bundle::FORM, outcome: Outcome::Fail, compared: error.to_string() };
        let headline = format!("MALFORMED: {error}");
        Self::new(Verdict::Malformed, anchors.simulated(), headline, Some(error.code()), &[format])
    }

    /// Of evidence that nobody came to.
    pub(crate) fn not_reached(platform: Platform, anchors: &TrustAnchors) -> Self {
        let checks = crate::checks::Ledger::new(rules::of(platform)).finish();
        Self::new(Verdict::Denied, anchors.simulated(), String::new(), None, &checks)
    }

    /// The answer.
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// The answer in one line, with what was waived.
    pub fn headline(&self) -> &str {
        &self.headline
    }

    /// Why not, as a stable identifier.
    pub fn code(&self) -> Option<&'static str> {
        self.code
    }

    /// Whether the trust anchors were a simulator's.
    pub fn simulated(&self) -> bool {
        self.simulated
    }

    /// Every rule in order: its number, its outcome, what must hold, and what was compared.
    pub fn rows(&self) -> impl Iterator<Item = (&'static str, Outcome, &'static str, &str)> {
        self.checks.iter().map(|check| (check.id, check.outcome, check.title, check.compared.as_str()))
    }

    fn new(
        verdict: Verdict,
        simulated: bool,
        headline: String,
        code: Option<&'static str>,
        checks: &[Check],
    ) -> Self {
        let mut reported: Vec<_> = checks.iter().map(ReportedCheck::new).collect();
        // The first rule that was looked at tells whose rules these are.
        let first = checks.first().map(|check| check.rule.id);
        let whose = rules::ALL.iter().find(|rules| rules.first().map(|rule| rule.id) == first);
        let not_reached =
            whose.into_iter().copied().flatten().skip(reported.len()).map(|rule| ReportedCheck {
                id: rule.id,
                title: rule.title,
                spec: rule.spec,
                outcome: Outcome::NotReached,
                compared: String::new(),
            });
        reported.extend(not_reached);
        Self {
            schema: SCHEMA,
            verdict,
            simulated,
            headline,
            code,
            checks: reported,
            claims: None,
            event_log: None,
            bundle: None,
            valid_until: None,
        }
    }
}

impl ReportedCheck {
    fn new(check: &Check) -> Self {
        Self {
            id: check.rule.id,
            title: check.rule.title,
            spec: check.rule.spec,
            outcome: check.outcome,
            compared: check.compared.clone(),
        }
    }
}

fn verified_headline(checks: &[Check], simulated: bool) -> String {
    headline(checks.iter().map(|check| (check.rule.id, check.outcome)), simulated, "")
}

fn headline(checks: impl Iterator<Item = (&'static str, Outcome)>, simulated: bool, whose: &str) -> String {
    let waived: Vec<_> =
        checks.filter(|(_, outcome)| *outcome == Outcome::Waived).map(|(id, _)| id).collect();
    let simulated = if simulated { " (SIMULATED)" } else { "" };
    match waived.len() {
        0 => format!("VERIFIED{simulated}{whose}"),
        count => format!("VERIFIED{simulated}{whose}, {count} waived: {}", waived.join(", ")),
    }
}
