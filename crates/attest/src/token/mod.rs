//! Attestation results that other verifiers issue as signed tokens (RFC 9334 §8.4): Microsoft Azure Attestation, Google
//! Confidential Space, NVIDIA's remote attestation service, and EAT attestation results of anybody. The rules are numbered in
//! spec/tokens.md, tokens-nras.md and tokens-ear.md.
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
mod ear;
mod errors;
mod jws;
mod keys;
mod maa;
mod nras;
pub(crate) mod policy_file;
mod signer;
mod terms;
mod verdict;

use core::fmt;

use serde::{Serialize, Serializer};

pub use anchors::TokenAnchors;
pub use claims::TokenClaims;
pub use confidential_space::ConfidentialSpacePolicy;
pub use ear::EarPolicy;
pub use errors::{TokenDenial, TokenRejection};
pub use jws::{Algorithm, MAX_TOKEN, TokenError};
pub use keys::KeySetError;
pub use maa::{MaaPolicy, MaaTdx, MinimumSvn};
pub use nras::NrasPolicy;
pub use verdict::{AuthenticToken, TokenBinding, TokenDenied, TokenRejected, VerifiedToken, verify_token};

use crate::rules::{self, Rule};
use claims::View;
use jws::Jws;
use nras::{Bundle, Submodule};

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
    /// NVIDIA's remote attestation service: a bundle of tokens.
    Nras,
    /// An EAT attestation result, of whoever the relying party names.
    Ear,
}

/// A token as it arrived, or a bundle of them. [`verify_token`] decides whether its issuer made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    kind: TokenKind,
    /// Of a bundle, the token over all others.
    jws: Jws,
    /// Of a bundle.
    submodules: Vec<Submodule>,
}

impl Token {
    /// Reads a token or a bundle, with white space around it, and sees whose it claims to be.
    ///
    /// # Errors
    /// Every departure from the compact form, and issuers that are not known here (spec/tokens.md, TOK-01).
    pub fn parse(input: &[u8]) -> Result<Self, TokenError> {
        let input = input.trim_ascii();
        if nras::is_bundle(input) {
            let Bundle { overall: jws, submodules } = Bundle::parse(input)?;
            return Ok(Self { kind: TokenKind::Nras, jws, submodules });
        }
        let jws = Jws::parse(input)?;
        let issuer = jws.claims.get("iss").and_then(serde_json::Value::as_str).unwrap_or_default();
        let provider = issuer.strip_prefix("https://").and_then(|host| host.strip_suffix(MAA_DOMAIN));
        let kind = if issuer == GOOGLE {
            TokenKind::ConfidentialSpace
        } else if provider.is_some_and(|name| !name.is_empty() && !name.contains(['/', '@', '?', '#', ':'])) {
            TokenKind::Maa
        } else if ear::is_ear(View(&jws.claims)) {
            return Ok(Self { kind: TokenKind::Ear, jws, submodules: Vec::new() });
        } else {
            return Err(TokenError::Kind { found: format!("{issuer:?}") });
        };
        Ok(Self { kind, jws: jws.without_key()?, submodules: Vec::new() })
    }

    /// Whether bytes have the form of a token, readable or not.
    pub fn looks_like(input: &[u8]) -> bool {
        input.trim_ascii().starts_with(b"eyJ") || nras::is_bundle(input)
    }

    /// Whose token it claims to be.
    pub fn kind(&self) -> TokenKind {
        self.kind
    }

    /// Its claims, which nobody has vouched for.
    pub fn unverified_claims(&self) -> &serde_json::Map<String, serde_json::Value> {
        &self.jws.claims
    }

    /// The claims of each submodule that has a token of its own, which nobody has vouched for.
    pub fn unverified_submodules(&self) -> serde_json::Map<String, serde_json::Value> {
        self.submodules.iter().map(|one| (one.name.clone(), one.jws.claims.clone().into())).collect()
    }

    /// Itself, and the tokens of its submodules.
    fn tokens(&self) -> impl Iterator<Item = &Jws> {
        core::iter::once(&self.jws).chain(self.submodules.iter().map(|one| &one.jws))
    }

    /// Whose it claims to be. Attestation results need not say: then it is the one issuer that the relying party named.
    fn issuer<'a>(&'a self, anchors: &'a TokenAnchors) -> &'a str {
        match self.jws.claims.get("iss") {
            None if self.kind == TokenKind::Ear => anchors.only_issuer().unwrap_or_default(),
            issuer => issuer.and_then(serde_json::Value::as_str).unwrap_or_default(),
        }
    }
}

impl TokenKind {
    /// As in policies and in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Maa => "maa",
            Self::ConfidentialSpace => "confidential-space",
            Self::Nras => "nras",
            Self::Ear => "ear",
        }
    }

    /// The rules for tokens of this kind.
    pub fn rules(self) -> &'static [Rule] {
        match self {
            Self::Maa => rules::MAA,
            Self::ConfidentialSpace => rules::CONFIDENTIAL_SPACE,
            Self::Nras => rules::NRAS,
            Self::Ear => rules::EAR,
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
