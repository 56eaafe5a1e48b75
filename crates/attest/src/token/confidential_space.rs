//! Google Confidential Space: rules CS-05 and on (spec/tokens.md §4).

use super::claims::View;
use super::errors::TokenDenial;
use super::terms::{Judged, Term, all, word};
use crate::checks::{Finding, Ledger};
use crate::policy::{Danger, Expected};
use crate::rules::token as rules;

/// What a token of Confidential Space must say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfidentialSpacePolicy {
    /// `aud`: for whom the token was made. The token has exactly one.
    pub audience: Vec<String>,
    /// `hwmodel`, such as `GCP_INTEL_TDX`. `GCP_AMD_SEV` has no hardware report at all.
    pub hardware: Expected<String>,
    /// What Google says of the TCB, of hardware models that report one.
    pub tcb_status: Expected<String>,
    /// Least version of the Confidential Space image, such as 250800.
    pub minimum_version: u64,
    /// Whether a debug image is accepted: its operator can log in.
    pub debug: Danger,
    /// Whether an image that Google does not support as STABLE is accepted.
    pub unsupported: Danger,
    /// The workload's image, `sha256:…`.
    pub image_digest: Expected<String>,
    /// Whether the operator may replace the workload's arguments or add environment variables.
    pub overrides: Danger,
    /// Project in which it runs.
    pub project: Expected<String>,
    /// Zone in which it runs.
    pub zone: Expected<String>,
    /// Accounts that it runs as: each of the token's is one of these.
    pub service_accounts: Expected<String>,
}

pub(crate) fn appraise(
    claims: View<'_>,
    terms: &ConfidentialSpacePolicy,
    ledger: &mut Ledger,
) -> Result<(), TokenDenial> {
    ledger.record(&rules::CS_AUDIENCE, audience(claims, terms))?;
    let term = Term::new("confidential-space.software", "swname");
    let software = term.must(claims.text(&["swname"]), "CONFIDENTIAL_SPACE", &Danger::Refuse);
    ledger.record(&rules::CS_SOFTWARE, software)?;
    let term = Term::new("confidential-space.hardware.not-accepted", "hwmodel");
    ledger.record(&rules::CS_HARDWARE, term.one_of(claims.text(&["hwmodel"]), &terms.hardware))?;
    ledger.record(&rules::CS_TCB, tcb(claims, terms))?;
    let term = Term::new("confidential-space.debug", "dbgstat");
    let debug = term.must(claims.text(&["dbgstat"]), "disabled-since-boot", &terms.debug);
    ledger.record(&rules::CS_DEBUG, debug)?;
    ledger.record(&rules::CS_SUPPORT, support(claims, terms))?;
    let term = Term::new("confidential-space.secure-boot", "secboot");
    let secure_boot = term.must(word(claims.flag(&["secboot"])), "true", &Danger::Refuse);
    ledger.record(&rules::CS_SECURE_BOOT, secure_boot)?;
    ledger.record(&rules::CS_VERSION, version(claims, terms))?;
    let term = Term::new("confidential-space.image.not-accepted", "submods.container.image_digest");
    let image = claims.text(&["submods", "container", "image_digest"]);
    ledger.record(&rules::CS_IMAGE, term.one_of(image, &terms.image_digest))?;
    ledger.record(&rules::CS_OVERRIDES, overrides(claims, terms))?;
    ledger.record(&rules::CS_PLACE, place(claims, terms))?;
    ledger.record(&rules::CS_ACCOUNTS, accounts(claims, terms))
}

/// A string, or a list of strings: the token was made for each of them.
pub(crate) fn nonces(claims: View<'_>) -> Vec<Vec<u8>> {
    let texts = claims.texts(&["eat_nonce"]).unwrap_or_default();
    texts.into_iter().map(|text| text.as_bytes().to_vec()).collect()
}

fn audience(claims: View<'_>, terms: &ConfidentialSpacePolicy) -> Judged {
    let term = Term::new("confidential-space.audience.not-accepted", "aud");
    let found = claims.text(&["aud"]).ok_or_else(|| term.missing())?;
    if terms.audience.iter().any(|accepted| accepted == found) {
        return Ok(((), Finding::Pass(found.to_owned())));
    }
    Err(term.refused(found, terms.audience.join(" or ")))
}

fn tcb(claims: View<'_>, terms: &ConfidentialSpacePolicy) -> Judged {
    let term = Term::new("confidential-space.tcb.not-accepted", "gcp_attester_tcb_status");
    let of = |model: &str| claims.text(&[model, "gcp_attester_tcb_status"]);
    term.one_of(of("tdx").or_else(|| of("sev_snp")), &terms.tcb_status)
}

fn support(claims: View<'_>, terms: &ConfidentialSpacePolicy) -> Judged {
    let term = Term::new("confidential-space.support", "support_attributes");
    let path = ["submods", "confidential_space", "support_attributes"];
    let stable = claims.texts(&path).and_then(|all| all.into_iter().find(|one| *one == "STABLE"));
    let found = stable.or_else(|| claims.get(&path).map(|_| "not STABLE"));
    term.must(found, "STABLE", &terms.unsupported)
}

/// A list of one number in decimal.
fn version(claims: View<'_>, terms: &ConfidentialSpacePolicy) -> Judged {
    let term = Term::new("confidential-space.version.below-minimum", "swversion");
    let found = match claims.texts(&["swversion"]).as_deref() {
        Some([only]) => only.parse().ok(),
        _ => None,
    };
    term.at_least(found, terms.minimum_version)
}

/// What the operator changed of what the image's publisher wrote.
fn overrides(claims: View<'_>, terms: &ConfidentialSpacePolicy) -> Judged {
    let changed = |claim: &'static str| {
        let there = claims.get(&["submods", "container", claim]).is_some_and(|value| {
            let empty = value.as_array().is_some_and(Vec::is_empty)
                || value.as_object().is_some_and(serde_json::Map::is_empty);
            !empty
        });
        let term = Term::new("confidential-space.overrides", claim);
        term.must(Some(if there { "there" } else { "not there" }), "not there", &terms.overrides)
    };
    all([changed("cmd_override"), changed("env_override")])
}

fn place(claims: View<'_>, terms: &ConfidentialSpacePolicy) -> Judged {
    let project = Term::new("confidential-space.project.not-accepted", "submods.gce.project_id");
    let zone = Term::new("confidential-space.zone.not-accepted", "submods.gce.zone");
    all([
        project.one_of(claims.text(&["submods", "gce", "project_id"]), &terms.project),
        zone.one_of(claims.text(&["submods", "gce", "zone"]), &terms.zone),
    ])
}

fn accounts(claims: View<'_>, terms: &ConfidentialSpacePolicy) -> Judged {
    let term = Term::new("confidential-space.account.not-accepted", "google_service_accounts");
    let found = claims.texts(&["google_service_accounts"]).unwrap_or_default();
    if found.is_empty() {
        return term.one_of(None, &terms.service_accounts);
    }
    all(found.into_iter().map(|account| term.one_of(Some(account), &terms.service_accounts)))
}
