//! Attestation results that other verifiers issue as signed tokens (RFC 9334 §8.4): Microsoft Azure Attestation, Google
//! Confidential Space. The rules are numbered in spec/tokens.md.
//!
//! ```text
//! Token::parse(bytes)                      -> Token          read, believed by nobody        TokenError
//! verify_token(&token, &anchors, now)      -> AuthenticToken its issuer said this, in date   TokenRejected
//! authentic.appraise(&policy, &binding)    -> VerifiedToken  ours, and of this exchange      TokenDenied
//! ```
//!
//! A token is weaker than evidence: its issuer has looked at the hardware, and this library has not. [`VerifiedToken`] is
//! therefore another type than [`crate::Verified`], and stands for it nowhere.

mod anchors;
mod claims;
mod confidential_space;
mod errors;
mod jws;
mod keys;
mod maa;
pub(crate) mod policy_file;
mod terms;
mod verdict;

use core::fmt;

use serde::{Serialize, Serializer};

pub use anchors::TokenAnchors;
pub use claims::TokenClaims;
pub use confidential_space::ConfidentialSpacePolicy;
pub use errors::{TokenDenial, TokenRejection};
pub use jws::{Algorithm, MAX_TOKEN, TokenError};
pub use keys::KeySetError;
pub use maa::{MaaPolicy, MinimumSvn};
pub use verdict::{AuthenticToken, TokenBinding, TokenDenied, TokenRejected, VerifiedToken, verify_token};

use crate::rules::{self, Rule};
use jws::Jws;

/// Google's issuer of Confidential Space tokens, and of tokens of other machines too.
const GOOGLE: &str = "https://confidentialcomputing.googleapis.com";

/// How the issuers of Microsoft Azure Attestation end: each provider has a name in this domain.
const MAA_DOMAIN: &str = ".attest.azure.net";

/// Whose tokens these are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TokenKind {
    /// Microsoft Azure Attestation.
    Maa,
    /// Google Cloud Attestation, of a Confidential Space workload.
    ConfidentialSpace,
}

/// A token as it arrived. [`verify_token`] decides whether its issuer made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    kind: TokenKind,
    jws: Jws,
}

impl Token {
    /// Reads a token, with white space around it, and sees whose it claims to be.
    ///
    /// # Errors
    /// Every departure from the compact form, and issuers that are not known here (spec/tokens.md, TOK-01).
    pub fn parse(input: &[u8]) -> Result<Self, TokenError> {
        let jws = Jws::parse(input.trim_ascii())?;
        let issuer = jws.claims.get("iss").and_then(serde_json::Value::as_str).unwrap_or_default();
        let provider = issuer.strip_prefix("https://").and_then(|host| host.strip_suffix(MAA_DOMAIN));
        let kind = if issuer == GOOGLE {
            TokenKind::ConfidentialSpace
        } else if provider.is_some_and(|name| !name.is_empty() && !name.contains(['/', '@', '?', '#', ':'])) {
            TokenKind::Maa
        } else {
            return Err(TokenError::Kind { found: format!("{issuer:?}") });
        };
        Ok(Self { kind, jws })
    }

    /// Whether bytes have the form of a token, readable or not.
    pub fn looks_like(input: &[u8]) -> bool {
        input.trim_ascii().starts_with(b"eyJ")
    }

    /// Whose token it claims to be.
    pub fn kind(&self) -> TokenKind {
        self.kind
    }

    /// Its claims, which nobody has vouched for.
    pub fn unverified_claims(&self) -> &serde_json::Map<String, serde_json::Value> {
        &self.jws.claims
    }

    fn issuer(&self) -> &str {
        self.jws.claims.get("iss").and_then(serde_json::Value::as_str).unwrap_or_default()
    }
}

impl TokenKind {
    /// As in policies and in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Maa => "maa",
            Self::ConfidentialSpace => "confidential-space",
        }
    }

    /// The rules for tokens of this kind.
    pub fn rules(self) -> &'static [Rule] {
        match self {
            Self::Maa => rules::MAA,
            Self::ConfidentialSpace => rules::CONFIDENTIAL_SPACE,
        }
    }
}

impl fmt::Display for TokenKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for TokenKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}
