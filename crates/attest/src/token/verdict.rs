//! The spine for tokens: a token becomes [`AuthenticToken`], and that becomes [`VerifiedToken`].

use core::fmt;

use super::anchors::TokenAnchors;
use super::claims::{TokenClaims, View};
use super::errors::{TokenDenial, TokenRejection};
use super::jws::Algorithm;
use super::keys::Key;
use super::terms::{Judged, Term};
use super::{Token, TokenKind, confidential_space, maa};
use crate::chain::{self, Profile};
use crate::checks::{Check, Finding, Ledger};
use crate::crypto;
use crate::policy::{PlatformPolicy, Policy};
use crate::rules::{self, Rule};
use crate::time::UnixTime;
use crate::x509::{Certificate, PublicKey};

/// How far behind its issuer's clock the caller's may be, in seconds. Nothing is added at a token's end.
const CLOCK_SKEW: u64 = 60;

/// Google's certificates of Confidential Space.
const GOOGLE_PROFILE: Profile =
    Profile { algorithms: crypto::RSA_PKCS1, issuer_key: is_rsa, leaf_key: is_rsa };

/// A token that its issuer made, in date. Whether it is ours is another question: [`AuthenticToken::appraise`].
///
/// Made only by [`verify_token`].
#[derive(Debug)]
pub struct AuthenticToken {
    ledger: Ledger,
    claims: TokenClaims,
    simulated: bool,
    valid_until: UnixTime,
}

/// A token that its issuer made, in date, that says what the policy asks for, for this exchange.
///
/// Made only by [`AuthenticToken::appraise`]. It is no [`crate::Verified`]: nobody here has seen the evidence.
///
/// ```compile_fail
/// fn needs_evidence(_: casemate_attest::Verified) {}
/// fn a_token(token: casemate_attest::token::VerifiedToken) { needs_evidence(token) }
/// ```
/// ```compile_fail
/// let forged: casemate_attest::token::VerifiedToken = Default::default();
/// ```
#[derive(Debug)]
pub struct VerifiedToken {
    checks: Vec<Check>,
    claims: TokenClaims,
    simulated: bool,
    valid_until: UnixTime,
}

/// What a token must be bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenBinding {
    kind: BindingKind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum BindingKind {
    Nonce(Vec<u8>),
    DangerUnchecked { reason: String },
}

/// A token that is not proven to be its issuer's.
#[derive(Debug, PartialEq, Eq)]
pub struct TokenRejected {
    /// Why.
    pub reason: TokenRejection,
    /// Every rule, in order.
    pub checks: Vec<Check>,
    /// Whether the anchors were a simulator's.
    pub simulated: bool,
}

/// A genuine token that is refused.
#[derive(Debug, PartialEq, Eq)]
pub struct TokenDenied {
    /// Why.
    pub reason: Box<TokenDenial>,
    /// Every rule, in order.
    pub checks: Vec<Check>,
    /// What the token says.
    pub claims: Box<TokenClaims>,
    /// Whether the anchors were a simulator's.
    pub simulated: bool,
    /// Its last second.
    pub valid_until: UnixTime,
}

/// Did its issuer make it, and is it in date? The first four rules of its kind.
///
/// # Errors
/// [`TokenRejected`], with the first rule that does not hold.
pub fn verify_token(
    token: &Token,
    anchors: &TokenAnchors,
    now: UnixTime,
) -> Result<AuthenticToken, TokenRejected> {
    let mut ledger = Ledger::new(token.kind.rules());
    let simulated = anchors.simulated();
    match authenticate(token, anchors, now, &mut ledger) {
        Ok(valid_until) => {
            let claims = TokenClaims {
                kind: token.kind,
                attested_by: token.issuer().to_owned(),
                claims: token.jws.claims.clone(),
            };
            Ok(AuthenticToken { ledger, claims, simulated, valid_until })
        }
        Err(reason) => Err(TokenRejected { reason, checks: ledger.finish(), simulated }),
    }
}

fn authenticate(
    token: &Token,
    anchors: &TokenAnchors,
    now: UnixTime,
    ledger: &mut Ledger,
) -> Result<UnixTime, TokenRejection> {
    let [format, named, signed, dated] = first_rules(token.kind);
    // A `Token` exists only after its form was checked; this writes it down.
    let form: Result<_, TokenRejection> =
        Ok(((), Finding::Pass(format!("{}, {}", token.kind, token.jws.header.algorithm.as_str()))));
    ledger.record(format, form)?;
    let (key, until) = ledger.record(named, key(token, anchors, now))?;
    ledger.record(signed, signature(token, &key))?;
    let last = ledger.record(dated, time(token, now))?;
    Ok(last.min(until))
}

/// Form, key, signature and time, of each kind.
fn first_rules(kind: TokenKind) -> [&'static Rule; 4] {
    use rules::token;
    match kind {
        TokenKind::Maa => [&token::MAA_FORMAT, &token::MAA_KEY, &token::MAA_SIGNATURE, &token::MAA_TIME],
        TokenKind::ConfidentialSpace => {
            [&token::CS_FORMAT, &token::CS_KEY, &token::CS_SIGNATURE, &token::CS_TIME]
        }
    }
}

/// The issuer's key, and the last second at which certificates for it are valid.
fn key(
    token: &Token,
    anchors: &TokenAnchors,
    now: UnixTime,
) -> Result<((Key, UnixTime), Finding), TokenRejection> {
    let header = &token.jws.header;
    if header.algorithm != Algorithm::Rs256 {
        let (kind, found) = (token.kind, header.algorithm);
        return Err(TokenRejection::Algorithm { kind, expected: Algorithm::Rs256.as_str(), found });
    }
    if token.kind == TokenKind::ConfidentialSpace && !header.certificates.is_empty() {
        return certified(token, anchors, now);
    }
    // Certificates in the header of other tokens are not looked at: the issuer's keys are known without them.
    let issuer = token.issuer();
    let keys = anchors.keys_of(issuer).ok_or_else(|| TokenRejection::Issuer { issuer: issuer.to_owned() })?;
    let key_id = header.key_id.as_deref().ok_or(TokenRejection::KeyUnnamed)?;
    let key = keys.find(key_id).ok_or_else(|| TokenRejection::Key { key_id: key_id.to_owned() })?;
    let compared = format!("{issuer}, key {key_id}");
    Ok(((key.clone(), UnixTime(u64::MAX)), Finding::Pass(compared)))
}

/// A PKI token of Google's: leaf and intermediate from the header, the root from here. The root that it brings is not
/// looked at.
fn certified(
    token: &Token,
    anchors: &TokenAnchors,
    now: UnixTime,
) -> Result<((Key, UnixTime), Finding), TokenRejection> {
    let root = anchors.confidential_space().ok_or(TokenRejection::RootMissing { kind: token.kind })?;
    let parsed: Vec<Certificate> = token
        .jws
        .header
        .certificates
        .iter()
        .take(2)
        .map(|der| Certificate::parse(der).map_err(TokenRejection::Certificate))
        .collect::<Result<_, _>>()?;
    let [leaf, intermediates @ ..] = parsed.as_slice() else { return Err(TokenRejection::KeyUnnamed) };
    let intermediates: Vec<_> = intermediates.iter().collect();
    let until = chain::validate_path_of_purpose(root, &intermediates, leaf, &GOOGLE_PROFILE, now)?;
    let key = Key::of(leaf).ok_or(TokenRejection::KeyUnnamed)?;
    Ok(((key, until), Finding::Pass(format!("{} under {}", leaf.subject_cn, root.subject_cn))))
}

fn is_rsa(key: &PublicKey) -> bool {
    matches!(key, PublicKey::Rsa { bits: 2048..=8192, exponent: 65537 })
}

fn signature(token: &Token, key: &Key) -> Result<((), Finding), TokenRejection> {
    let jws = &token.jws;
    if !key.verifies(jws.header.algorithm, jws.signed.as_bytes(), &jws.signature) {
        return Err(TokenRejection::Signature);
    }
    Ok(((), Finding::Pass(format!("{} over header and claims", jws.header.algorithm.as_str()))))
}

/// `nbf`, `exp` and `iat` are all there (RFC 7519 §4.1).
fn time(token: &Token, now: UnixTime) -> Result<(UnixTime, Finding), TokenRejection> {
    let claims = View(&token.jws.claims);
    let at = |claim| claims.number(&[claim]).map(UnixTime).ok_or(TokenRejection::TimeMissing { claim });
    let (from, until, made) = (at("nbf")?, at("exp")?, at("iat")?);
    let latest = UnixTime(now.0.saturating_add(CLOCK_SKEW));
    for from in [from, made] {
        if latest < from {
            return Err(TokenRejection::NotYetValid { from, now });
        }
    }
    if now > until {
        return Err(TokenRejection::Expired { until, now });
    }
    Ok((until, Finding::Pass(format!("{from} <= {now} <= {until}"))))
}

impl AuthenticToken {
    /// Does it say what the policy asks for, and is it of this exchange? The rules of its kind from the fifth.
    ///
    /// # Errors
    /// [`TokenDenied`], with the first rule that does not hold.
    pub fn appraise(self, policy: &Policy, binding: &TokenBinding) -> Result<VerifiedToken, TokenDenied> {
        let Self { mut ledger, claims, simulated, valid_until } = self;
        match judge(&claims, policy, binding, &mut ledger) {
            Ok(()) => Ok(VerifiedToken { checks: ledger.finish(), claims, simulated, valid_until }),
            Err(reason) => Err(TokenDenied {
                reason: Box::new(reason),
                checks: ledger.finish(),
                claims: Box::new(claims),
                simulated,
                valid_until,
            }),
        }
    }

    /// Whether the anchors were a simulator's.
    pub fn simulated(&self) -> bool {
        self.simulated
    }

    /// What the token says.
    pub fn claims(&self) -> &TokenClaims {
        &self.claims
    }

    /// The rules that were looked at so far, in order.
    pub fn checks(&self) -> &[Check] {
        self.ledger.checks()
    }

    /// Its last second.
    pub fn valid_until(&self) -> UnixTime {
        self.valid_until
    }
}

fn judge(
    claims: &TokenClaims,
    policy: &Policy,
    binding: &TokenBinding,
    ledger: &mut Ledger,
) -> Result<(), TokenDenial> {
    let view = View(&claims.claims);
    let (nonces, rule): (Vec<Vec<u8>>, &'static Rule) = match claims.kind {
        TokenKind::Maa => {
            let terms = ledger.record(&rules::token::MAA_PLATFORM, accepted(&policy.maa, claims.kind))?;
            maa::appraise(view, &claims.attested_by, terms, ledger)?;
            (maa::nonces(view), &rules::token::MAA_NONCE)
        }
        TokenKind::ConfidentialSpace => {
            let accepted = accepted(&policy.confidential_space, claims.kind);
            let terms = ledger.record(&rules::token::CS_PLATFORM, accepted)?;
            confidential_space::appraise(view, terms, ledger)?;
            (confidential_space::nonces(view), &rules::token::CS_NONCE)
        }
    };
    ledger.record(rule, bound(&nonces, binding))?;
    if ledger.is_complete() { Ok(()) } else { Err(TokenDenial::Incomplete) }
}

fn accepted<P>(policy: &PlatformPolicy<P>, kind: TokenKind) -> Result<(&P, Finding), TokenDenial> {
    match policy {
        PlatformPolicy::Accepted(terms) => {
            Ok((terms, Finding::Pass(format!("the policy has terms for {kind}"))))
        }
        PlatformPolicy::NotAccepted => Err(TokenDenial::NotAccepted { kind }),
    }
}

/// One of the token's nonces is the expected one, whole.
fn bound(nonces: &[Vec<u8>], binding: &TokenBinding) -> Judged {
    match &binding.kind {
        BindingKind::Nonce(expected) => {
            let equal = nonces.iter().any(|nonce| crypto::equal(nonce, expected));
            if equal && !expected.is_empty() {
                return Ok(((), Finding::Pass("equal".to_owned())));
            }
            Err(TokenDenial::Nonce { found: nonces.iter().map(hex::encode).collect() })
        }
        BindingKind::DangerUnchecked { reason } => {
            let found = nonces.first().map_or_else(|| "nothing".to_owned(), hex::encode);
            Term::new("token.nonce", "nonce").waived(&found, reason)
        }
    }
}

impl TokenBinding {
    /// These bytes, exactly; what a kind encodes as text is decoded before it is compared.
    pub fn nonce(expected: impl Into<Vec<u8>>) -> Self {
        Self { kind: BindingKind::Nonce(expected.into()) }
    }

    /// Nothing: of whose exchange the token is, and of when, is not known. Listed as a waiver.
    pub fn danger_unchecked(reason: impl Into<String>) -> Self {
        Self { kind: BindingKind::DangerUnchecked { reason: reason.into() } }
    }
}

impl VerifiedToken {
    /// Whether the anchors were a simulator's.
    pub fn simulated(&self) -> bool {
        self.simulated
    }

    /// What the token says, and who is believed.
    pub fn claims(&self) -> &TokenClaims {
        &self.claims
    }

    /// Every rule, in order.
    pub fn checks(&self) -> &[Check] {
        &self.checks
    }

    /// Its last second.
    pub fn valid_until(&self) -> UnixTime {
        self.valid_until
    }
}

impl TokenRejected {
    /// [`TokenRejection::code`] of the reason.
    pub fn code(&self) -> &'static str {
        self.reason.code()
    }
}

impl TokenDenied {
    /// [`TokenDenial::code`] of the reason.
    pub fn code(&self) -> &'static str {
        self.reason.code()
    }
}

impl fmt::Display for TokenRejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not genuine: {}", self.reason)
    }
}

impl std::error::Error for TokenRejected {}

impl fmt::Display for TokenDenied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "genuine but refused: {}", self.reason)
    }
}

impl std::error::Error for TokenDenied {}
