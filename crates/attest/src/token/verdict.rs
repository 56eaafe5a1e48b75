//! The spine for tokens: a token becomes [`AuthenticToken`], and that becomes [`VerifiedToken`].

use core::fmt;

use super::anchors::TokenAnchors;
use super::claims::{TokenClaims, View};
use super::errors::{TokenDenial, TokenRejection};
use super::jws::Jws;
use super::signer::{self, Signer};
use super::terms::{Judged, Term};
use super::{Token, TokenKind, confidential_space, ear, maa, nras};
use crate::checks::{Check, Finding, Ledger};
use crate::crypto;
use crate::policy::{PlatformPolicy, Policy};
use crate::rules::{self, Rule};
use crate::time::UnixTime;

/// How far behind its issuer's clock the caller's may be, in seconds. Nothing is added at a token's end.
const CLOCK_SKEW: u64 = 60;

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

/// Did its issuer make it, and is it in date? The first four rules of its kind; of a bundle, five.
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
                attested_by: token.issuer(anchors).to_owned(),
                claims: token.jws.claims.clone(),
                submodules: token.unverified_submodules(),
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
    let signers = ledger.record(named, signer::signers(token, anchors, now))?;
    ledger.record(signed, signatures(token, &signers))?;
    let last = ledger.record(dated, times(token, now))?;
    if token.kind == TokenKind::Nras {
        ledger.record(&rules::nras::NRAS_BUNDLE, nras::whole(&token.jws.claims, &token.submodules))?;
    }
    Ok(signers.iter().fold(last, |last, signer| last.min(signer.until)))
}

/// Form, key, signature and time, of each kind.
fn first_rules(kind: TokenKind) -> [&'static Rule; 4] {
    use rules::{ear, nras, token};
    match kind {
        TokenKind::Maa => [&token::MAA_FORMAT, &token::MAA_KEY, &token::MAA_SIGNATURE, &token::MAA_TIME],
        TokenKind::ConfidentialSpace => {
            [&token::CS_FORMAT, &token::CS_KEY, &token::CS_SIGNATURE, &token::CS_TIME]
        }
        TokenKind::Nras => [&nras::NRAS_FORMAT, &nras::NRAS_KEY, &nras::NRAS_SIGNATURE, &nras::NRAS_TIME],
        TokenKind::Ear => [&ear::EAR_FORMAT, &ear::EAR_KEY, &ear::EAR_SIGNATURE, &ear::EAR_TIME],
    }
}

/// Each token by its own key.
fn signatures(token: &Token, signers: &[Signer]) -> Result<((), Finding), TokenRejection> {
    let mut verified = 0_usize;
    for (jws, signer) in token.tokens().zip(signers) {
        if !signer.key.verifies(jws.header.algorithm, jws.signed.as_bytes(), &jws.signature) {
            return Err(TokenRejection::Signature);
        }
        verified = verified.saturating_add(1);
    }
    if verified != token.tokens().count() {
        return Err(TokenRejection::KeyUnnamed);
    }
    let algorithm = token.jws.header.algorithm.as_str();
    Ok(((), Finding::Pass(format!("{algorithm} over header and claims of each of {verified}"))))
}

/// Each token at its own time; the last second is the first at which one of them ends.
fn times(token: &Token, now: UnixTime) -> Result<(UnixTime, Finding), TokenRejection> {
    let mut last = UnixTime(u64::MAX);
    let mut words = Vec::new();
    for jws in token.tokens() {
        let (until, compared) = time(jws, token.kind, now)?;
        last = last.min(until);
        words.push(compared);
    }
    words.dedup();
    Ok((last, Finding::Pass(words.join(", "))))
}

/// `nbf`, `exp` and `iat` are all there (RFC 7519 §4.1), except that attestation results need no `nbf`.
fn time(jws: &Jws, kind: TokenKind, now: UnixTime) -> Result<(UnixTime, String), TokenRejection> {
    let claims = View(&jws.claims);
    let at = |claim| claims.number(&[claim]).map(UnixTime).ok_or(TokenRejection::TimeMissing { claim });
    let (until, made) = (at("exp")?, at("iat")?);
    let from = match claims.get(&["nbf"]) {
        None if kind == TokenKind::Ear => made,
        _ => at("nbf")?,
    };
    let latest = UnixTime(now.0.saturating_add(CLOCK_SKEW));
    for from in [from, made] {
        if latest < from {
            return Err(TokenRejection::NotYetValid { from, now });
        }
    }
    // At `exp` itself a token is over (RFC 7519 §4.1.4).
    if now >= until {
        return Err(TokenRejection::Expired { until, now });
    }
    Ok((UnixTime(until.0.saturating_sub(1)), format!("{from} <= {now} < {until}")))
}

impl AuthenticToken {
    /// Does it say what the policy asks for, and is it of this exchange? The other rules of its kind.
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
        TokenKind::Nras => {
            let terms = ledger.record(&rules::nras::NRAS_PLATFORM, accepted(&policy.nras, claims.kind))?;
            nras::appraise(view, &claims.submodules, terms, ledger)?;
            let judged = nras::nonce(view, &claims.submodules).and_then(|nonces| bound(&nonces, binding));
            ledger.record(&rules::nras::NRAS_NONCE, judged)?;
            return complete(ledger);
        }
        TokenKind::Ear => {
            let terms = ledger.record(&rules::ear::EAR_PLATFORM, accepted(&policy.ear, claims.kind))?;
            ear::appraise(view, &claims.attested_by, terms, ledger)?;
            (confidential_space::nonces(view), &rules::ear::EAR_NONCE)
        }
    };
    ledger.record(rule, bound(&nonces, binding))?;
    complete(ledger)
}

fn complete(ledger: &Ledger) -> Result<(), TokenDenial> {
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
