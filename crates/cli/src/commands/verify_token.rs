//! `casemate verify` over another verifier's token: whom to believe is said on the command line.

use std::path::Path;

use casemate_attest::Report;
use casemate_attest::token::{Token, TokenAnchors, TokenBinding, verify_token};
use casemate_client::ClientPolicy;

use super::kind::Kind;
use super::verify::{nonce, show, time};
use crate::args::VerifyArgs;
use crate::error::CliError;
use crate::files;

pub(crate) fn run(args: &VerifyArgs, bytes: &[u8]) -> Result<(), CliError> {
    Kind::Token.refuse_others(args)?;
    let policy = ClientPolicy::platform_from_toml(&files::read_text(&args.policy)?)?;
    let anchors = anchors(args)?;
    let binding = binding(args)?;
    let now = time(args)?;
    let token = match Token::parse(bytes) {
        Ok(token) => token,
        Err(error) => {
            show(args, Kind::Token, &Report::from_token_error(&error, &anchors))?;
            return Err(error.into());
        }
    };
    let authentic = match verify_token(&token, &anchors, now) {
        Ok(authentic) => authentic,
        Err(rejected) => {
            show(args, Kind::Token, &Report::from_rejected_token(&rejected))?;
            return Err(rejected.into());
        }
    };
    match authentic.appraise(&policy, &binding) {
        Ok(verified) => show(args, Kind::Token, &Report::from_verified_token(&verified)),
        Err(denied) => {
            show(args, Kind::Token, &Report::from_denied_token(&denied))?;
            Err(denied.into())
        }
    }
}

/// The embedded roots, and the keys that were named. Under a simulated root only the keys, and the verdict says so.
fn anchors(args: &VerifyArgs) -> Result<TokenAnchors, CliError> {
    let mut anchors = match &args.anchors.danger_simulated_root {
        None => TokenAnchors::embedded(),
        Some(_) => TokenAnchors::none().danger_simulated(),
    };
    if let Some(path) = &args.tokens.nras_keys {
        anchors = anchors.with_nras_keys(&files::read(path)?)?;
    }
    let mut named_before = Vec::new();
    for named in &args.tokens.jwks {
        let (issuer, path) = named.split_once('=').ok_or(CliError::IssuerKeys { named: named.clone() })?;
        // One of two key sets would be passed over.
        if named_before.contains(&issuer) {
            return Err(CliError::IssuerTwice { issuer: issuer.to_owned() });
        }
        named_before.push(issuer);
        anchors = anchors.with_jwks(issuer, &files::read(Path::new(path))?)?;
    }
    Ok(anchors)
}

fn binding(args: &VerifyArgs) -> Result<TokenBinding, CliError> {
    match (&args.tokens.nonce_text, &args.nonce, &args.danger_unbound) {
        (Some(text), _, _) => Ok(TokenBinding::nonce(text.as_bytes())),
        (None, Some(text), _) => Ok(TokenBinding::nonce(nonce(text)?)),
        (None, None, Some(reason)) => Ok(TokenBinding::danger_unchecked(reason)),
        (None, None, None) => Err(CliError::MissingFlag { flag: "--nonce-text" }),
    }
}
