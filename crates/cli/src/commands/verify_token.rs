//! `casemate verify` over another verifier's token: whom to believe is said on the command line.

use casemate_attest::token::{Token, TokenAnchors, TokenBinding, TokenClaims, TokenError, verify_token};
use casemate_attest::{Check, Outcome, Verdict};
use casemate_client::ClientPolicy;
use serde_json::json;

use super::verify::{row, time};
use crate::args::VerifyArgs;
use crate::error::CliError;
use crate::files;
use crate::output;

/// What is shown, as far as the verification came.
struct Answer<'a> {
    verdict: Verdict,
    simulated: bool,
    headline: String,
    code: Option<&'static str>,
    checks: &'a [Check],
    claims: Option<&'a TokenClaims>,
    valid_until: Option<casemate_attest::UnixTime>,
}

pub(crate) fn run(args: &VerifyArgs, bytes: &[u8]) -> Result<(), CliError> {
    let policy = ClientPolicy::platform_from_toml(&files::read_text(&args.policy)?)?;
    let anchors = anchors(args)?;
    let binding = binding(args)?;
    let now = time(args)?;
    let simulated = anchors.simulated();
    let token = Token::parse(bytes).or_else(|error: TokenError| {
        let headline = format!("MALFORMED: {error}");
        Answer { headline, code: Some(error.code()), ..nothing(Verdict::Malformed, simulated) }.show(args)?;
        Err(CliError::from(error))
    })?;
    let authentic = match verify_token(&token, &anchors, now) {
        Ok(authentic) => authentic,
        Err(rejected) => {
            let headline = format!("REJECTED: {}", rejected.reason);
            Answer {
                headline,
                code: Some(rejected.code()),
                checks: &rejected.checks,
                ..nothing(Verdict::Rejected, simulated)
            }
            .show(args)?;
            return Err(rejected.into());
        }
    };
    match authentic.appraise(&policy, &binding) {
        Ok(verified) => Answer {
            verdict: Verdict::Verified,
            simulated,
            headline: headline(verified.checks(), verified.claims(), simulated),
            code: None,
            checks: verified.checks(),
            claims: Some(verified.claims()),
            valid_until: Some(verified.valid_until()),
        }
        .show(args),
        Err(denied) => {
            Answer {
                verdict: Verdict::Denied,
                simulated,
                headline: format!("DENIED: {}", denied.reason),
                code: Some(denied.code()),
                checks: &denied.checks,
                claims: Some(&denied.claims),
                valid_until: Some(denied.valid_until),
            }
            .show(args)?;
            Err(denied.into())
        }
    }
}

/// A verdict without anything that is known.
fn nothing<'a>(verdict: Verdict, simulated: bool) -> Answer<'a> {
    Answer {
        verdict,
        simulated,
        headline: String::new(),
        code: None,
        checks: &[],
        claims: None,
        valid_until: None,
    }
}

/// The embedded roots, and the keys that were named. Under a simulated root nobody's, and the verdict says so.
fn anchors(args: &VerifyArgs) -> Result<TokenAnchors, CliError> {
    let mut anchors = match &args.anchors.danger_simulated_root {
        None => TokenAnchors::embedded(),
        Some(_) => TokenAnchors::none().danger_simulated(),
    };
    for named in &args.tokens.jwks {
        let (issuer, path) = named.split_once('=').ok_or(CliError::IssuerKeys { named: named.clone() })?;
        anchors = anchors.with_jwks(issuer, &files::read(std::path::Path::new(path))?)?;
    }
    Ok(anchors)
}

fn binding(args: &VerifyArgs) -> Result<TokenBinding, CliError> {
    match (&args.tokens.nonce_text, &args.nonce, &args.danger_unbound) {
        (Some(text), _, _) => Ok(TokenBinding::nonce(text.as_bytes())),
        (None, Some(text), _) => {
            let bytes =
                hex::decode(text).map_err(|_| CliError::Hex { what: "--nonce", bytes: text.len() / 2 })?;
            Ok(TokenBinding::nonce(bytes))
        }
        (None, None, Some(reason)) => Ok(TokenBinding::danger_unchecked(reason)),
        (None, None, None) => Err(CliError::MissingFlag { flag: "--nonce-text" }),
    }
}

fn headline(checks: &[Check], claims: &TokenClaims, simulated: bool) -> String {
    let waived: Vec<_> =
        checks.iter().filter(|check| check.outcome == Outcome::Waived).map(|check| check.rule.id).collect();
    let simulated = if simulated { " (SIMULATED)" } else { "" };
    let whose = format!("VERIFIED{simulated}, by the word of {}", claims.attested_by);
    match waived.len() {
        0 => whose,
        count => format!("{whose}, {count} waived: {}", waived.join(", ")),
    }
}

impl Answer<'_> {
    fn show(&self, args: &VerifyArgs) -> Result<(), CliError> {
        if self.simulated {
            output::simulated_banner();
        }
        if args.json {
            return output::json(&json!({
                "schema": casemate_attest::SCHEMA,
                "verdict": self.verdict,
                "simulated": self.simulated,
                "headline": self.headline,
                "code": self.code,
                "checks": self.checks.iter().map(row).collect::<Vec<_>>(),
                "claims": self.claims,
                "valid_until": self.valid_until,
            }));
        }
        let table = if args.explain { output::explained_table } else { output::table };
        table(self.checks, output::data);
        output::data(&self.headline);
        Ok(())
    }
}
