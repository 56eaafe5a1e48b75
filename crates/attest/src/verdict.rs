//! The spine: evidence becomes [`Authentic`], and [`Authentic`] becomes [`Verified`].

use core::fmt;

use thiserror::Error;

use crate::anchors::TrustAnchors;
use crate::azure::{self, AzureDenial, AzureRejection, HardwareEndorsements};
use crate::checks::{Check, Finding, Ledger};
use crate::claims::Claims;
use crate::crypto;
use crate::endorsements::{self, Endorsements};
use crate::eventlog::{self, EventLog, LogDenial, LogPolicy, Registers, Replayed};
use crate::evidence::{Evidence, Kind, Platform};
use crate::gce::{self, GceDenial, GceRejection};
use crate::nitro::{self, NitroDenial, NitroRejection};
use crate::policy::{PlatformPolicy, Policy};
use crate::rules::{self, Rule};
use crate::snp::{self, RejectionKind, SnpDenial, SnpRejection};
use crate::tdx::{self, TdxDenial, TdxRejection};
use crate::time::UnixTime;

/// Genuine hardware said this. Whether it is ours, and fresh, is another question: [`Authentic::appraise`].
///
/// Made only by [`verify`].
///
/// ```compile_fail
/// fn needs_clone(_: impl Clone) {}
/// fn twice(authentic: casemate_attest::Authentic) { needs_clone(authentic) }
/// ```
///
/// It is used up by the appraisal: one genuine report is appraised once.
///
/// ```compile_fail
/// use casemate_attest::{Authentic, Binding, Policy};
/// fn twice(authentic: Authentic, policy: &Policy, binding: &Binding) {
///     let _ = authentic.appraise(policy, binding);
///     let _ = authentic.appraise(policy, binding);
/// }
/// ```
#[derive(Debug)]
pub struct Authentic {
    inner: Inner,
    ledger: Ledger,
    claims: Claims,
    event_log: Option<EventLog>,
    simulated: bool,
    valid_until: UnixTime,
}

#[derive(Debug)]
enum Inner {
    SevSnp { report: snp::Report, genuine: Box<snp::Genuine> },
    Nitro { document: Box<nitro::Document>, genuine: nitro::Genuine },
    Tdx { quote: Box<tdx::Quote>, genuine: Box<tdx::Genuine> },
    Azure { genuine: Box<azure::Genuine> },
    Gce { genuine: Box<gce::Genuine> },
}

/// Genuine hardware said this, it is what the policy asks for, and it is bound to this exchange.
///
/// Made only by [`Authentic::appraise`], after every rule was looked at and none failed. Nothing else makes one: not a
/// literal, not `Default`, not `Clone`, not a deserializer.
///
/// ```
/// fn takes_proof(verified: &casemate_attest::Verified) -> &[u8] { verified.report_data() }
/// ```
/// ```compile_fail
/// fn forge(verified: casemate_attest::Verified) -> casemate_attest::Verified {
///     casemate_attest::Verified { simulated: false, ..verified }
/// }
/// ```
/// ```compile_fail
/// let forged: casemate_attest::Verified = Default::default();
/// ```
/// ```compile_fail
/// fn needs_clone(_: impl Clone) {}
/// fn twice(verified: casemate_attest::Verified) { needs_clone(verified) }
/// ```
/// ```compile_fail
/// let forged: casemate_attest::Verified = toml::from_str("").unwrap();
/// ```
#[derive(Debug)]
pub struct Verified {
    checks: Vec<Check>,
    claims: Claims,
    event_log: Option<Replayed>,
    simulated: bool,
    valid_until: UnixTime,
}

/// What the evidence must be bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    kind: BindingKind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum BindingKind {
    Exactly(Vec<u8>),
    DangerUnchecked { reason: String },
}

/// Evidence that is not proven to be genuine.
#[derive(Debug, PartialEq, Eq)]
pub struct Rejected {
    /// Why.
    pub reason: Rejection,
    /// Every rule, in order.
    pub checks: Vec<Check>,
    /// Whether the trust anchors were a simulator's.
    pub simulated: bool,
}

/// Genuine evidence that is refused.
#[derive(Debug, PartialEq, Eq)]
pub struct Denied {
    /// Why.
    pub reason: Denial,
    /// Every rule, in order.
    pub checks: Vec<Check>,
    /// What the evidence says.
    pub claims: Box<Claims>,
    /// Whether the trust anchors were a simulator's.
    pub simulated: bool,
    /// Last second at which the evidence is genuine.
    pub valid_until: UnixTime,
}

/// Why evidence is not proven to be genuine.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Rejection {
    /// The endorsements are of another platform than the evidence.
    #[error("the endorsements are for {endorsements}, and the evidence is of {evidence}")]
    EndorsementsPlatform {
        /// Of the evidence.
        evidence: Platform,
        /// Of the endorsements.
        endorsements: Platform,
    },
    /// A Nitro Enclaves document.
    #[error(transparent)]
    Nitro(#[from] NitroRejection),
    /// Azure evidence.
    #[error(transparent)]
    Azure(#[from] AzureRejection),
    /// Evidence of a GCE virtual TPM.
    #[error(transparent)]
    Gce(#[from] GceRejection),
    /// A SEV-SNP report.
    #[error(transparent)]
    SevSnp(#[from] SnpRejection),
    /// A TDX quote.
    #[error(transparent)]
    Tdx(#[from] TdxRejection),
}

/// Why genuine evidence is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Denial {
    /// The policy does not speak of the platform.
    #[error("the policy does not accept {platform}")]
    PlatformNotAccepted {
        /// Of the evidence.
        platform: Platform,
    },
    /// A waiver that nobody gave a reason for.
    #[error("{what} is waived without a reason")]
    WaiverWithoutReason {
        /// What is waived.
        what: &'static str,
    },
    /// The evidence is not bound to this exchange: it is somebody else's, or an old one.
    #[error("report data {} is not the expected {}", hex::encode(found), hex::encode(expected))]
    ReportData {
        /// By the binding.
        expected: Box<[u8]>,
        /// In the evidence.
        found: Vec<u8>,
    },
    /// A rule was not looked at. It cannot happen; if it does, nothing is verified.
    #[error("not every rule was looked at")]
    Incomplete,
    /// Terms for SEV-SNP.
    #[error(transparent)]
    SevSnp(#[from] SnpDenial),
    /// Terms for Nitro Enclaves.
    #[error(transparent)]
    Nitro(#[from] NitroDenial),
    /// Terms for TDX.
    #[error(transparent)]
    Tdx(#[from] TdxDenial),
    /// Terms for Azure.
    #[error(transparent)]
    Azure(#[from] AzureDenial),
    /// Terms for GCE virtual TPMs.
    #[error(transparent)]
    Gce(#[from] GceDenial),
    /// Terms for the event log.
    #[error(transparent)]
    EventLog(#[from] LogDenial),
}

/// Is it genuine? Rules SNP-01 to SNP-10, NIT-01 to NIT-06, AZ-01 to AZ-05, TDX-01 to TDX-08, GV-01 to GV-08.
///
/// # Errors
/// [`Rejected`], with the first rule that does not hold.
pub fn verify(
    evidence: &Evidence,
    endorsements: &Endorsements,
    anchors: &TrustAnchors,
    now: UnixTime,
) -> Result<Authentic, Rejected> {
    let mut ledger = Ledger::new(rules::of(evidence.platform()));
    let simulated = anchors.simulated();
    match authenticate(evidence, endorsements, anchors, now, &mut ledger) {
        Ok((inner, claims, valid_until)) => {
            Ok(Authentic { inner, ledger, claims, event_log: None, simulated, valid_until })
        }
        Err(reason) => Err(Rejected { reason, checks: ledger.finish(), simulated }),
    }
}

impl Authentic {
    /// Is it ours, and is it bound to this exchange? Rules SNP-11 to SNP-31, NIT-07 to NIT-16, AZ-06 to AZ-11, TDX-09 to
    /// TDX-28; then, where the policy asks for an event log or there is one, LOG-01 to LOG-06.
    ///
    /// # Errors
    /// [`Denied`], with the first rule that does not hold.
    pub fn appraise(self, policy: &Policy, binding: &Binding) -> Result<Verified, Denied> {
        let Self { inner, mut ledger, claims, event_log, simulated, valid_until } = self;
        let asked = event_log.is_some() || matches!(log_policy(&inner, policy), LogPolicy::Demanded(_));
        let mut events = Ledger::new(if asked { rules::EVENT_LOG } else { &[] });
        let judged = judge(&inner, &claims, policy, binding, &mut ledger)
            .and_then(|()| replayed(&inner, event_log.as_ref(), policy, asked, &mut events));
        let checks = [ledger.finish(), events.finish()].concat();
        match judged {
            Ok(event_log) => Ok(Verified { checks, claims, event_log, simulated, valid_until }),
            Err(reason) => Err(Denied { reason, checks, claims: Box::new(claims), simulated, valid_until }),
        }
    }

    /// With the event log that came beside the evidence. It is looked at by [`Authentic::appraise`].
    #[must_use]
    pub fn with_event_log(self, log: EventLog) -> Self {
        Self { event_log: Some(log), ..self }
    }

    /// Whether the policy has terms for an event log of this evidence.
    pub(crate) fn asks_for_log(&self, policy: &Policy) -> bool {
        matches!(log_policy(&self.inner, policy), LogPolicy::Demanded(_))
    }

    /// Whether the trust anchors were a simulator's. Nothing about such evidence is real.
    pub fn simulated(&self) -> bool {
        self.simulated
    }

    /// What the hardware said.
    pub fn claims(&self) -> &Claims {
        &self.claims
    }

    /// The rules that were looked at so far, in order.
    pub fn checks(&self) -> &[Check] {
        self.ledger.checks()
    }

    /// Last second at which certificates and revocation list are all valid.
    pub fn valid_until(&self) -> UnixTime {
        self.valid_until
    }
}

impl Verified {
    /// Whether the trust anchors were a simulator's. Nothing about such evidence is real.
    pub fn simulated(&self) -> bool {
        self.simulated
    }

    /// What the hardware said.
    pub fn claims(&self) -> &Claims {
        &self.claims
    }

    /// Every rule, in order: each passed or was waived by a written decision.
    pub fn checks(&self) -> &[Check] {
        &self.checks
    }

    /// Last second at which certificates and revocation list are all valid.
    pub fn valid_until(&self) -> UnixTime {
        self.valid_until
    }

    /// The events behind the registers that the policy's terms for the event log name; `None` where it asks for none.
    pub fn event_log(&self) -> Option<&Replayed> {
        self.event_log.as_ref()
    }

    /// What the guest bound into the evidence.
    pub fn report_data(&self) -> &[u8] {
        self.claims.report_data()
    }
}

impl Binding {
    /// Exactly these 64 bytes.
    pub fn report_data(expected: [u8; 64]) -> Self {
        Self { kind: BindingKind::Exactly(expected.to_vec()) }
    }

    /// Exactly these bytes, in full length: the qualifying data of a TPM's quote, which seldom holds 64. With none at all,
    /// nothing is bound, and nothing is accepted.
    pub fn qualifying_data(expected: impl Into<Vec<u8>>) -> Self {
        Self { kind: BindingKind::Exactly(expected.into()) }
    }

    /// What the evidence must bind; `None` where that was left open.
    pub(crate) fn expected(&self) -> Option<&[u8]> {
        match &self.kind {
            BindingKind::Exactly(expected) => Some(expected),
            BindingKind::DangerUnchecked { .. } => None,
        }
    }

    /// Nothing: whose evidence it is, and of when, is not known. Listed as a waiver.
    pub fn danger_unchecked(reason: impl Into<String>) -> Self {
        Self { kind: BindingKind::DangerUnchecked { reason: reason.into() } }
    }
}

impl Rejected {
    /// [`Rejection::code`] of the reason.
    pub fn code(&self) -> &'static str {
        self.reason.code()
    }
}

impl Denied {
    /// [`Denial::code`] of the reason.
    pub fn code(&self) -> &'static str {
        self.reason.code()
    }
}

impl Rejection {
    /// Stable identifier, for logs, exit codes and tests.
    pub fn code(&self) -> &'static str {
        match self {
            Self::EndorsementsPlatform { .. } => "endorsements.platform",
            Self::SevSnp(reason) => reason.code(),
            Self::Nitro(reason) => reason.code(),
            Self::Tdx(reason) => reason.code(),
            Self::Azure(reason) => reason.code(),
            Self::Gce(reason) => reason.code(),
        }
    }

    /// What kind of answer this is.
    pub fn kind(&self) -> RejectionKind {
        match self {
            Self::EndorsementsPlatform { .. } => RejectionKind::Missing,
            Self::Nitro(reason) => reason.kind(),
            Self::Tdx(reason) => reason.kind(),
            Self::Azure(reason) => reason.kind(),
            Self::Gce(reason) => reason.kind(),
            Self::SevSnp(reason) => reason.kind(),
        }
    }
}

impl Denial {
    /// Stable identifier, for logs, exit codes and tests.
    pub fn code(&self) -> &'static str {
        match self {
            Self::PlatformNotAccepted { .. } => "policy.platform-not-accepted",
            Self::WaiverWithoutReason { .. } => "policy.waiver-without-reason",
            Self::ReportData { .. } => "binding.report-data",
            Self::Incomplete => "internal.incomplete",
            Self::Tdx(reason) => reason.code(),
            Self::SevSnp(reason) => reason.code(),
            Self::Nitro(reason) => reason.code(),
            Self::Azure(reason) => reason.code(),
            Self::Gce(reason) => reason.code(),
            Self::EventLog(reason) => reason.code(),
        }
    }
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not genuine: {}", self.reason)
    }
}

impl std::error::Error for Rejected {}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "genuine but refused: {}", self.reason)
    }
}

impl std::error::Error for Denied {}

/// The finding for something that somebody decided not to ask for. The decision must say why.
pub(crate) fn waived(what: &'static str, compared: String, reason: &str) -> Result<Finding, Denial> {
    if reason.trim().is_empty() {
        return Err(Denial::WaiverWithoutReason { what });
    }
    Ok(Finding::Waived(format!("{compared}; not required: {reason}")))
}

fn authenticate(
    evidence: &Evidence,
    endorsements: &Endorsements,
    anchors: &TrustAnchors,
    now: UnixTime,
    ledger: &mut Ledger,
) -> Result<(Inner, Claims, UnixTime), Rejection> {
    use endorsements::Kind as Endorsed;
    if endorsements.ak_certificate().is_some() && !matches!(evidence.kind(), Kind::Azure(_)) {
        return Err(Rejection::EndorsementsPlatform {
            evidence: evidence.platform(),
            endorsements: Platform::AzureVtpm,
        });
    }
    match (evidence.kind(), endorsements.kind()) {
        (Kind::SevSnp(report), Endorsed::SevSnp { vek_der, revocation }) => {
            let genuine = snp::verify(report, vek_der, revocation, anchors, now, ledger)?;
            let (claims, valid_until) = (Claims::from_snp(report, &genuine), genuine.valid_until);
            Ok((Inner::SevSnp { report: report.clone(), genuine: Box::new(genuine) }, claims, valid_until))
        }
        (Kind::Nitro(document), Endorsed::Nitro { revocation }) => {
            let genuine = nitro::verify(document, revocation, anchors, now, ledger)?;
            let (claims, valid_until) = (Claims::from_nitro(document), genuine.valid_until);
            Ok((Inner::Nitro { document: document.clone(), genuine }, claims, valid_until))
        }
        (Kind::Azure(evidence), Endorsed::SevSnp { vek_der, revocation })
            if evidence.td_quote().is_none() =>
        {
            let hardware = HardwareEndorsements::Snp { vek_der, revocation };
            on_azure(evidence, &hardware, endorsements, anchors, now, ledger)
        }
        (Kind::Azure(evidence), Endorsed::Tdx { collateral }) if evidence.td_quote().is_some() => {
            on_azure(evidence, &HardwareEndorsements::Tdx { collateral }, endorsements, anchors, now, ledger)
        }
        (Kind::Tdx(quote), Endorsed::Tdx { collateral }) => {
            let genuine = tdx::verify(quote, collateral, anchors, now, ledger)?;
            let (claims, valid_until) = (Claims::from_tdx(quote, &genuine), genuine.valid_until);
            Ok((Inner::Tdx { quote: quote.clone(), genuine: Box::new(genuine) }, claims, valid_until))
        }
        (Kind::Gce(evidence), Endorsed::Gce { intermediates, revocation }) => {
            let genuine = gce::verify(evidence, intermediates, revocation, anchors, now, ledger)?;
            let (claims, valid_until) = (Claims::from_gce(evidence, &genuine), genuine.valid_until);
            Ok((Inner::Gce { genuine: Box::new(genuine) }, claims, valid_until))
        }
        (Kind::SevSnp(_) | Kind::Nitro(_) | Kind::Azure(_) | Kind::Tdx(_) | Kind::Gce(_), _) => {
            Err(Rejection::EndorsementsPlatform {
                evidence: evidence.platform(),
                endorsements: endorsements.platform(),
            })
        }
    }
}

fn on_azure(
    evidence: &azure::AzureEvidence,
    hardware: &HardwareEndorsements<'_>,
    endorsements: &Endorsements,
    anchors: &TrustAnchors,
    now: UnixTime,
    ledger: &mut Ledger,
) -> Result<(Inner, Claims, UnixTime), Rejection> {
    let genuine = azure::verify(evidence, hardware, endorsements.ak_certificate(), anchors, now, ledger)?;
    let (claims, valid_until) = (Claims::from_azure(evidence, &genuine), genuine.valid_until());
    Ok((Inner::Azure { genuine: Box::new(genuine) }, claims, valid_until))
}

fn judge(
    inner: &Inner,
    claims: &Claims,
    policy: &Policy,
    binding: &Binding,
    ledger: &mut Ledger,
) -> Result<(), Denial> {
    let platform = claims.platform();
    let report_data: &'static Rule = match inner {
        Inner::SevSnp { report, genuine } => {
            let terms = ledger.record(&rules::sev_snp::PLATFORM, accepted(&policy.snp, platform))?;
            snp::appraise(report, genuine, terms, ledger)?;
            &rules::sev_snp::REPORT_DATA
        }
        Inner::Nitro { document, genuine } => {
            let terms = ledger.record(&rules::nitro::PLATFORM, accepted(&policy.nitro, platform))?;
            nitro::appraise(document, genuine, terms, ledger)?;
            &rules::nitro::REPORT_DATA
        }
        Inner::Tdx { quote, genuine } => {
            let terms = ledger.record(&rules::tdx::PLATFORM, accepted(&policy.tdx, platform))?;
            tdx::appraise(quote, genuine, terms, ledger)?;
            &rules::tdx::REPORT_DATA
        }
        Inner::Azure { genuine } => {
            let (accepts, report_data) = match &genuine.hardware {
                azure::Hardware::Snp { .. } => (&rules::sev_snp::PLATFORM, &rules::sev_snp::REPORT_DATA),
                azure::Hardware::Tdx { .. } => (&rules::tdx::PLATFORM, &rules::tdx::REPORT_DATA),
            };
            let terms = ledger.record(accepts, accepted(&policy.azure, platform))?;
            azure::appraise(genuine, terms, binding, ledger)?;
            report_data
        }
        Inner::Gce { genuine } => {
            let terms = ledger.record(&rules::gce::PLATFORM, accepted(&policy.gce, platform))?;
            gce::appraise(genuine, terms, ledger)?;
            &rules::gce::REPORT_DATA
        }
    };
    ledger.record(report_data, bound(claims, binding))?;
    if ledger.is_complete() { Ok(()) } else { Err(Denial::Incomplete) }
}

/// LOG-01 to LOG-06.
fn replayed(
    inner: &Inner,
    log: Option<&EventLog>,
    policy: &Policy,
    asked: bool,
    ledger: &mut Ledger,
) -> Result<Option<Replayed>, Denial> {
    if !asked {
        return Ok(None);
    }
    let registers = match inner {
        Inner::SevSnp { .. } | Inner::Nitro { .. } => None,
        Inner::Tdx { quote, .. } => Some(Registers::Rtmr(quote.rtmrs())),
        Inner::Azure { genuine } => Some(Registers::Pcr(&genuine.pcrs)),
        Inner::Gce { genuine } => Some(Registers::Pcr(&genuine.pcrs)),
    };
    // The log that the evidence brings, where no other was put beside it.
    let brought = match (log, inner) {
        (None, Inner::Gce { genuine }) if !genuine.event_log.is_empty() => {
            Some(EventLog::parse(&genuine.event_log).map_err(LogDenial::Unreadable)?)
        }
        _ => None,
    };
    let log = log.or(brought.as_ref());
    let replayed = eventlog::appraise(log, log_policy(inner, policy), registers.as_ref(), ledger)?;
    if ledger.is_complete() { Ok(Some(replayed)) } else { Err(Denial::Incomplete) }
}

/// What the policy says of a log, on the platform of the evidence.
fn log_policy<'a>(inner: &Inner, policy: &'a Policy) -> &'a LogPolicy {
    match inner {
        Inner::Tdx { .. } => of_platform(&policy.tdx, |terms| &terms.event_log),
        Inner::Azure { .. } => of_platform(&policy.azure, |terms| &terms.event_log),
        Inner::Gce { .. } => of_platform(&policy.gce, |terms| &terms.event_log),
        Inner::SevSnp { .. } | Inner::Nitro { .. } => &LogPolicy::NotAsked,
    }
}

fn of_platform<P>(policy: &PlatformPolicy<P>, event_log: impl FnOnce(&P) -> &LogPolicy) -> &LogPolicy {
    match policy {
        PlatformPolicy::Accepted(terms) => event_log(terms),
        PlatformPolicy::NotAccepted => &LogPolicy::NotAsked,
    }
}

/// SNP-11, NIT-07, TDX-09, GV-09.
fn accepted<P>(policy: &PlatformPolicy<P>, platform: Platform) -> Result<(&P, Finding), Denial> {
    match policy {
        PlatformPolicy::Accepted(terms) => {
            Ok((terms, Finding::Pass(format!("the policy has terms for {platform}"))))
        }
        PlatformPolicy::NotAccepted => Err(Denial::PlatformNotAccepted { platform }),
    }
}

/// SNP-31, NIT-16, TDX-28, GV-15. In full length, in constant time.
fn bound(claims: &Claims, binding: &Binding) -> Result<((), Finding), Denial> {
    let found = claims.report_data();
    match &binding.kind {
        BindingKind::Exactly(expected) if !expected.is_empty() && crypto::equal(found, expected) => {
            Ok(((), Finding::Pass(format!("all {} bytes equal", expected.len()))))
        }
        BindingKind::Exactly(expected) => {
            Err(Denial::ReportData { expected: expected.as_slice().into(), found: found.to_vec() })
        }
        BindingKind::DangerUnchecked { reason } => {
            waived("report data", hex::encode(found), reason).map(|finding| ((), finding))
        }
    }
}
