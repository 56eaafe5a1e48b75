//! Rules EAR-06 and on (spec/tokens-ear.md §3).

use serde_json::Value;

use super::EarPolicy;
use super::tier::Tier;
use crate::checks::{Finding, Ledger};
use crate::policy::{Danger, Expected};
use crate::rules::ear as rules;
use crate::token::claims::View;
use crate::token::errors::TokenDenial;
use crate::token::terms::{Judged, Term, all};

const VECTOR: &str = "ear.trustworthiness-vector";

/// A submodule, by its name.
type Submodule<'a> = (&'a str, View<'a>);

pub(crate) fn appraise(
    claims: View<'_>,
    issuer: &str,
    terms: &EarPolicy,
    ledger: &mut Ledger,
) -> Result<(), TokenDenial> {
    let issuers = Expected::OneOf(terms.issuers.clone());
    let named = Term::new("ear.issuer.not-accepted", "iss").one_of(Some(issuer), &issuers);
    ledger.record(&rules::EAR_ISSUER, named)?;
    let profiles = Expected::OneOf(terms.profiles.clone());
    let profile = Term::new("ear.profile.not-accepted", "eat_profile");
    ledger.record(&rules::EAR_PROFILE, profile.one_of(claims.text(&["eat_profile"]), &profiles))?;
    ledger.record(&rules::EAR_VERIFIER, verifier(claims, terms))?;
    let submodules = ledger.record(&rules::EAR_SUBMODULES, submodules(claims, terms))?;
    let each = |judge: &dyn Fn(Submodule<'_>) -> Judged| all(submodules.iter().map(|one| judge(*one)));
    ledger.record(&rules::EAR_STATUS, each(&|one| status(one, terms)))?;
    ledger.record(&rules::EAR_VECTOR, each(&|one| vector(one, terms)))?;
    ledger.record(&rules::EAR_AFFIRMED, each(&|one| affirmed(one, terms)))?;
    let policy = Term::new("ear.policy.not-accepted", "ear.appraisal-policy-id");
    let expected = &terms.appraisal_policies;
    let judged = each(&|(_, claims)| policy.one_of(claims.text(&["ear.appraisal-policy-id"]), expected));
    ledger.record(&rules::EAR_POLICY, judged)
}

fn verifier(claims: View<'_>, terms: &EarPolicy) -> Judged {
    let build = Term::new("ear.verifier.unnamed", "ear.verifier-id.build");
    let developer = Term::new("ear.developer.not-accepted", "ear.verifier-id.developer");
    let found = claims.text(&["ear.verifier-id", "build"]).ok_or_else(|| build.missing())?;
    all([
        Ok(((), Finding::Pass(format!("build {found}")))),
        developer.one_of(claims.text(&["ear.verifier-id", "developer"]), &terms.developers),
    ])
}

fn submodules<'a>(claims: View<'a>, terms: &EarPolicy) -> Result<(Vec<Submodule<'a>>, Finding), TokenDenial> {
    let term = Term::new("ear.submodules", "submods");
    let members = claims.object(&["submods"]).ok_or_else(|| term.missing())?;
    let mut found = Vec::new();
    for (name, value) in members.0 {
        found.push((name.as_str(), View(value.as_object().ok_or_else(|| term.missing())?)));
    }
    let names: Vec<_> = found.iter().map(|(name, _)| *name).collect();
    let all_expected = names.iter().all(|name| terms.submodules.iter().any(|one| one == name));
    let all_there = terms.submodules.iter().all(|one| names.contains(&one.as_str()));
    if names.is_empty() || !all_expected || !all_there {
        return Err(term.refused(names.join(", "), terms.submodules.join(", ")));
    }
    Ok((found, Finding::Pass(names.join(", "))))
}

fn status((name, claims): Submodule<'_>, terms: &EarPolicy) -> Judged {
    let term = Term::new("ear.status", "ear.status");
    let found = claims.get(&["ear.status"]).and_then(Tier::of_status).ok_or_else(|| term.missing())?;
    judge(term, found, &format!("of {name}"), found == Tier::Affirming, &terms.not_affirming)
}

/// Of a submodule without a vector only its status is known.
fn vector((name, claims): Submodule<'_>, terms: &EarPolicy) -> Judged {
    let term = Term::new("ear.vector", VECTOR);
    let members = match claims.get(&[VECTOR]) {
        None => return Ok(((), Finding::Pass(format!("{name} has none")))),
        Some(vector) => vector.as_object().ok_or_else(|| term.missing())?,
    };
    all(members.iter().map(|(claim, value)| {
        let found = Tier::of_claim(value).ok_or_else(|| term.missing())?;
        judge(term, found, &format!("in {claim} of {name}"), found <= Tier::Affirming, &terms.not_affirming)
    }))
}

/// Good, or bad and allowed in writing; the worst is never allowed.
fn judge(term: Term, found: Tier, of: &str, is_good: bool, otherwise: &Danger) -> Judged {
    let words = format!("{} {of}", found.as_str());
    match otherwise {
        _ if is_good => Ok(((), Finding::Pass(words))),
        Danger::Allow { reason } if found < Tier::Contraindicated => term.waived(&words, reason),
        Danger::Allow { .. } | Danger::Refuse => Err(term.refused(words, Tier::Affirming.as_str())),
    }
}

fn affirmed((name, claims): Submodule<'_>, terms: &EarPolicy) -> Judged {
    let term = Term::new("ear.affirmed", VECTOR);
    match &terms.affirmed {
        Expected::Any { reason } => term.waived("not looked at", reason),
        Expected::OneOf(required) if required.is_empty() => Err(term.missing()),
        Expected::OneOf(required) => {
            for claim in required {
                let found = claims.get(&[VECTOR, claim]).map_or(&Value::Null, |value| value);
                if Tier::of_claim(found) != Some(Tier::Affirming) {
                    let words = format!("{found} in {claim} of {name}");
                    return Err(term.refused(words, Tier::Affirming.as_str()));
                }
            }
            Ok(((), Finding::Pass(format!("{name}: {}", required.join(", ")))))
        }
    }
}
