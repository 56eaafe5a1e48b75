//! Why a token is not believed, and why a genuine one is refused.

use thiserror::Error;

use super::TokenKind;
use super::jws::Algorithm;
use crate::chain::{ChainError, Role};
use crate::snp::RejectionKind;
use crate::time::UnixTime;
use crate::x509::CertificateError;

/// Why a token is not proven to be its issuer's.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TokenRejection {
    /// The relying party named no keys for this issuer.
    #[error("no keys of the issuer {issuer:?} are trusted")]
    Issuer {
        /// In the token.
        issuer: String,
    },
    /// Another algorithm than this issuer's.
    #[error("a token of {kind} is signed with {expected}, not with {}", found.as_str())]
    Algorithm {
        /// Which kind.
        kind: TokenKind,
        /// What its issuer uses.
        expected: &'static str,
        /// In the header.
        found: Algorithm,
    },
    /// Neither the name of a key nor certificates.
    #[error("the token does not say which key signed it")]
    KeyUnnamed,
    /// None of the issuer's keys has this name.
    #[error("no trusted key of the issuer is named {key_id:?}")]
    Key {
        /// In the header.
        key_id: String,
    },
    /// The root is not embedded.
    #[error("no root is pinned for certificates of {kind}")]
    RootMissing {
        /// Which kind.
        kind: TokenKind,
    },
    /// A certificate of the header cannot be judged.
    #[error("a certificate of the token is refused: {0}")]
    Certificate(CertificateError),
    /// A certificate of the header is for another purpose, or says none where there must be one.
    #[error("the {role} is not for tokens: its extended key usage is another")]
    CertificatePurpose {
        /// Which.
        role: Role,
    },
    /// The path from the pinned root is not valid.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// Not by the key.
    #[error("the token's signature is not by its issuer's key")]
    Signature,
    /// The overall token does not say which submodules there are, with a SHA-256 digest of each.
    #[error("the overall token's submodules are unreadable")]
    SubmodulesUnreadable,
    /// A submodule is missing from the bundle, or one is too many.
    #[error("the bundle has the submodules {}, and its token speaks of {}", found.join(", "), expected.join(", "))]
    Submodules {
        /// Of the overall token.
        expected: Vec<String>,
        /// Of the bundle.
        found: Vec<String>,
    },
    /// Another token than the one that the overall token speaks of.
    #[error("the overall token has another digest of {name}")]
    SubmoduleDigest {
        /// Which submodule.
        name: String,
    },
    /// A token of somebody else.
    #[error("{name} is of another issuer than the overall token")]
    SubmoduleIssuer {
        /// Which submodule.
        name: String,
    },
    /// A time is missing, or is no whole number of seconds.
    #[error("the token's {claim} is missing or not a time")]
    TimeMissing {
        /// Which claim.
        claim: &'static str,
    },
    /// The time is before.
    #[error("the token is not valid before {from}, and the time is {now}")]
    NotYetValid {
        /// Its first second.
        from: UnixTime,
        /// The time that was given.
        now: UnixTime,
    },
    /// The time is after.
    #[error("the token expired at {until}, and the time is {now}")]
    Expired {
        /// The second at which it is over.
        until: UnixTime,
        /// The time that was given.
        now: UnixTime,
    },
}

/// Why a genuine token is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TokenDenial {
    /// The policy has no terms for this kind.
    #[error("the policy does not accept {kind}")]
    NotAccepted {
        /// Which kind.
        kind: TokenKind,
    },
    /// A waiver that nobody gave a reason for.
    #[error("{what} is waived without a reason")]
    WaiverWithoutReason {
        /// What is waived.
        what: &'static str,
    },
    /// A claim that a rule needs is not there, or is of another type.
    #[error("the token's {claim} is missing or unreadable")]
    Missing {
        /// Stable identifier.
        code: &'static str,
        /// Which claim.
        claim: &'static str,
    },
    /// A claim has another value than the policy accepts.
    #[error("the token's {claim} is {found}, and accepted is {accepted}")]
    Claim {
        /// Stable identifier.
        code: &'static str,
        /// Which claim.
        claim: &'static str,
        /// In the token.
        found: String,
        /// By the policy.
        accepted: String,
    },
    /// The token is not of this exchange: somebody else's, or an old one.
    #[error("the token's nonce is not the expected one")]
    Nonce {
        /// In the token.
        found: Vec<String>,
    },
    /// A rule was not looked at. It cannot happen; if it does, nothing is verified.
    #[error("not every rule was looked at")]
    Incomplete,
}

impl TokenRejection {
    /// What kind of answer this is.
    pub fn kind(&self) -> RejectionKind {
        match self {
            Self::Issuer { .. } | Self::RootMissing { .. } => RejectionKind::Missing,
            Self::Chain(error) => error.kind(),
            Self::NotYetValid { .. } | Self::Expired { .. } => RejectionKind::Stale,
            Self::Algorithm { .. }
            | Self::KeyUnnamed
            | Self::Key { .. }
            | Self::Certificate(_)
            | Self::CertificatePurpose { .. }
            | Self::Signature
            | Self::SubmodulesUnreadable
            | Self::Submodules { .. }
            | Self::SubmoduleDigest { .. }
            | Self::SubmoduleIssuer { .. }
            | Self::TimeMissing { .. } => RejectionKind::NotGenuine,
        }
    }

    /// Stable identifier, for logs, exit codes and tests.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Issuer { .. } => "token.issuer",
            Self::Algorithm { .. } => "token.algorithm-of-issuer",
            Self::KeyUnnamed => "token.key-unnamed",
            Self::Key { .. } => "token.key",
            Self::RootMissing { .. } => "token.root-missing",
            Self::Certificate(_) => "token.certificate",
            Self::CertificatePurpose { .. } => "token.certificate-purpose",
            Self::Chain(error) => error.code(),
            Self::Signature => "token.signature",
            Self::SubmodulesUnreadable => "nras.submodules-unreadable",
            Self::Submodules { .. } => "nras.submodules",
            Self::SubmoduleDigest { .. } => "nras.digest",
            Self::SubmoduleIssuer { .. } => "nras.submodule-issuer",
            Self::TimeMissing { .. } => "token.time-missing",
            Self::NotYetValid { .. } => "token.not-yet-valid",
            Self::Expired { .. } => "token.expired",
        }
    }
}

impl TokenDenial {
    /// Stable identifier, for logs, exit codes and tests.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotAccepted { .. } => "policy.platform-not-accepted",
            Self::WaiverWithoutReason { .. } => "policy.waiver-without-reason",
            Self::Missing { code, .. } | Self::Claim { code, .. } => code,
            Self::Nonce { .. } => "token.nonce",
            Self::Incomplete => "internal.incomplete",
        }
    }
}
