//! The spine for bundles: a bundle becomes [`VerifiedBundle`].

use super::refused::{BundleDenial, BundleRefusal, BundleRefused};
use super::{Bound, BoundValue, Bundle, NotAsked, System};
use crate::anchors::TrustAnchors;
use crate::checks::{Check, Finding, Ledger};
use crate::crypto;
use crate::endorsements::{Endorsements, Revocation};
use crate::eventlog::EventLog;
use crate::nvidia::{
    Manifest, NvidiaAnchors, NvidiaEndorsements, SetDenied, VerifiedSet, verify_gpu, verify_set,
};
use crate::policy::{Danger, Policy};
use crate::report::Report;
use crate::rules::{self, bundle as rule};
use crate::time::UnixTime;
use crate::verdict::{Binding, Verified, verify};

/// What a verifier asks of a bundle. Nothing in it has a default: what is not wanted is written down.
#[derive(Debug)]
pub struct BundleQuestion<'a> {
    /// What the machine must be: the same terms as for evidence in a file.
    pub policy: &'a Policy,
    /// Whom to believe.
    pub anchors: &'a TrustAnchors,
    /// The time of the check.
    pub now: UnixTime,
    /// What the bundle must answer.
    pub challenge: Challenge,
    /// Endorsements instead of those that the bundle carries.
    pub endorsements: Option<Endorsements>,
    /// Of AMD's certificate in the bundle: a list here is used instead of the bundle's, and a waiver where there is none.
    pub revocation: Revocation,
    /// The certificate of an Azure virtual TPM's attestation key, and those above it, in DER: no bundle carries them.
    pub ak_certificate: Option<(Vec<u8>, Vec<Vec<u8>>)>,
    /// An event log instead of the one that the bundle carries.
    pub event_log: Option<EventLog>,
    /// What is asked of devices.
    pub devices: DeviceTerms<'a>,
    /// Whether it is acceptable that nobody knows who else has the private keys that the bundle names: asked of bundles of ACI,
    /// whose specification demands a check that is not here.
    pub key_custody: Danger,
}

/// What a bundle must answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Challenge {
    /// The nonce that the verifier sent. The bundle states it, and the evidence binds it.
    Nonce(Vec<u8>),
    /// What the evidence must bind, as a whole, for bundles that state no nonce.
    ReportData(Vec<u8>),
    /// Nothing: of when the bundle is, and for whom it was made, is not known. Listed as a waiver.
    DangerNone {
        /// Why; shown wherever the verdict is shown.
        reason: String,
    },
}

/// What is asked of the devices of a bundle.
#[derive(Debug)]
pub enum DeviceTerms<'a> {
    /// The bundle has none.
    None,
    /// The bundle has these.
    Exactly(BundleDevices<'a>),
    /// They are not looked at. Listed as a waiver, where the bundle has any.
    DangerNotVerified {
        /// Why; shown wherever the verdict is shown.
        reason: String,
    },
}

/// How devices are verified; the policy's terms for NVIDIA apply to each.
#[derive(Debug)]
pub struct BundleDevices<'a> {
    /// How many there must be.
    pub count: usize,
    /// Whom to believe.
    pub anchors: &'a NvidiaAnchors,
    /// What is known of revoked certificates.
    pub endorsements: &'a NvidiaEndorsements,
    /// NVIDIA's reference values.
    pub manifests: &'a [Manifest],
}

/// The evidence of a bundle is genuine and ours, and what the bundle says is bound into it.
///
/// Made only by [`Bundle::verify`], after every rule was looked at and none failed.
///
/// ```
/// fn takes_proof(verified: &casemate_attest::bundle::VerifiedBundle) -> bool { verified.simulated() }
/// ```
/// ```compile_fail
/// fn forge(verified: casemate_attest::bundle::VerifiedBundle) -> casemate_attest::bundle::VerifiedBundle {
///     casemate_attest::bundle::VerifiedBundle { values: Vec::new(), ..verified }
/// }
/// ```
/// ```compile_fail
/// let forged: casemate_attest::bundle::VerifiedBundle = Default::default();
/// ```
/// ```compile_fail
/// fn needs_clone(_: impl Clone) {}
/// fn twice(verified: casemate_attest::bundle::VerifiedBundle) { needs_clone(verified) }
/// ```
#[derive(Debug)]
pub struct VerifiedBundle {
    system: System,
    variant: &'static str,
    verified: Verified,
    devices: Option<VerifiedSet>,
    checks: Vec<Check>,
    values: Vec<BoundValue>,
    not_asked: Vec<NotAsked>,
    until: Option<UnixTime>,
}

impl Bundle {
    /// Is its evidence genuine and ours, and does it bind what the bundle says? The rules of the evidence's platform, then
    /// BUN-02 and after.
    ///
    /// # Errors
    /// [`BundleRefused`], with the first rule that does not hold.
    pub fn verify(&self, question: &BundleQuestion<'_>) -> Result<VerifiedBundle, BundleRefused> {
        let mut run = Run {
            bundle: self,
            question,
            common: Ledger::new(rules::BUNDLE),
            own: Ledger::new(self.system.rules()),
            devices: Vec::new(),
        };
        run.verify()
    }
}

impl VerifiedBundle {
    /// Whose bundle it is.
    pub fn system(&self) -> System {
        self.system
    }

    /// Which of the system's variants.
    pub fn variant(&self) -> &'static str {
        self.variant
    }

    /// The evidence.
    pub fn verified(&self) -> &Verified {
        &self.verified
    }

    /// The devices; `None` where the bundle has none, or nobody asked for them.
    pub fn devices(&self) -> Option<&VerifiedSet> {
        self.devices.as_ref()
    }

    /// The rules of bundles and of devices, in order; those of the evidence are with it.
    pub fn checks(&self) -> &[Check] {
        &self.checks
    }

    /// Every value that the evidence binds.
    pub fn values(&self) -> &[BoundValue] {
        &self.values
    }

    /// The value of this name, as in spec/bundles.md.
    pub fn bound(&self, name: &str) -> Option<&[u8]> {
        self.values.iter().find(|bound| bound.name == name).map(|bound| bound.value.as_slice())
    }

    /// What the bundle carries and nobody looked at.
    pub fn not_asked(&self) -> &[NotAsked] {
        &self.not_asked
    }

    /// Whether a trust anchor was a simulator's. Nothing about such a bundle is real.
    pub fn simulated(&self) -> bool {
        self.verified.simulated() || self.devices.as_ref().is_some_and(VerifiedSet::simulated)
    }

    /// Last second at which all of it is verified.
    pub fn valid_until(&self) -> UnixTime {
        let devices = self.devices.as_ref().map(VerifiedSet::valid_until);
        let until = [devices, self.until].into_iter().flatten();
        until.fold(self.verified.valid_until(), UnixTime::min)
    }

    /// The verdict as data.
    pub fn report(&self) -> Report {
        Report::from_verified(&self.verified).of_bundle(self)
    }
}

/// One verification, as far as it came.
struct Run<'a> {
    bundle: &'a Bundle,
    question: &'a BundleQuestion<'a>,
    common: Ledger,
    own: Ledger,
    /// The checks of every device that was looked at.
    devices: Vec<Check>,
}

impl Run<'_> {
    fn verify(&mut self) -> Result<VerifiedBundle, BundleRefused> {
        let Self { bundle, question, .. } = *self;
        let opened = &bundle.opened;
        let form = Finding::Pass(format!("{} ({})", bundle.system, opened.variant));
        let formed: Result<_, BundleDenial> = self.common.record(&rule::FORM, Ok(((), form)));

        // Genuine?
        let endorsements = formed.and_then(|()| self.common.record(&rule::ENDORSED, self.endorsed()));
        let endorsements = match endorsements {
            Ok(endorsements) => endorsements,
            Err(denial) => return Err(self.refused_before(denial)),
        };
        let authentic =
            verify(&opened.evidence, &endorsements, question.anchors, question.now).map_err(|rejected| {
                let report = Report::from_rejected(&rejected);
                self.refused(BundleRefusal::Rejected(rejected.reason), report)
            })?;
        // What must it bind?
        let challenge = self.common.record(&rule::CHALLENGE, self.challenge());
        let bound = challenge.and_then(|()| opened.content.bind(opened, question, &mut self.own));
        let bound = match bound.and_then(|bound| Ok((self.binding(&bound)?, bound))) {
            Ok(bound) => bound,
            Err(denial) => {
                let report = Report::from_authentic(&authentic);
                return Err(self.refused(BundleRefusal::Bundle(denial), report));
            }
        };
        let (binding, bound) = bound;
        // Ours, and bound?
        let log = question.event_log.as_ref().or(opened.event_log.as_ref());
        let carried_only = question.event_log.is_none();
        let authentic = match log {
            // A log that nobody asked for is not looked at; one that somebody handed in is.
            Some(log) if !carried_only || authentic.asks_for_log(question.policy) => {
                authentic.with_event_log(log.clone())
            }
            _ => authentic,
        };
        let verified = authentic.appraise(question.policy, &binding).map_err(|denied| {
            let report = Report::from_denied(&denied);
            self.refused(BundleRefusal::Denied(denied.reason), report)
        })?;
        // What else does it bind?
        let confirmed = opened.content.confirm(opened, &verified, &mut self.own);
        let confirmed = confirmed.map_err(|denial| {
            self.refused(BundleRefusal::Bundle(denial), Report::from_verified(&verified))
        })?;
        let devices = self.judge_devices(verified.simulated());
        let devices = devices.map_err(|reason| self.refused(reason, Report::from_verified(&verified)))?;
        if !(self.common.is_complete() && self.own.is_complete()) {
            let report = Report::from_verified(&verified);
            return Err(self.refused(BundleRefusal::Denied(crate::verdict::Denial::Incomplete), report));
        }
        Ok(VerifiedBundle {
            system: bundle.system,
            variant: opened.variant,
            verified,
            devices,
            checks: self.checks(),
            values: [bound.values, confirmed].concat(),
            not_asked: opened.not_asked.clone(),
            until: bound.until,
        })
    }

    /// BUN-02.
    fn endorsed(&self) -> Result<(Endorsements, Finding), BundleDenial> {
        let Self { bundle, question, .. } = self;
        let (endorsements, whose) = match (&question.endorsements, &bundle.opened.carried) {
            (Some(given), _) => (given.clone(), "the verifier's own"),
            (None, Some(carried)) => (carried.endorsements(&question.revocation), "the bundle's"),
            (None, None) => return Err(BundleDenial::EndorsementsMissing),
        };
        let endorsements = match question.ak_certificate.clone() {
            Some((leaf, chain)) => endorsements.with_ak_certificate(leaf, chain),
            None => endorsements,
        };
        Ok((endorsements, Finding::Pass(whose.to_owned())))
    }

    /// BUN-03.
    fn challenge(&self) -> Result<((), Finding), BundleDenial> {
        let finding = match (&self.question.challenge, &self.bundle.opened.nonce) {
            (Challenge::Nonce(expected), Some(found)) if crypto::equal(expected, found) => {
                Finding::Pass(format!("all {} bytes of the nonce equal", found.len()))
            }
            (Challenge::Nonce(expected), Some(found)) => {
                return Err(BundleDenial::ChallengeDiffers {
                    expected: expected.clone(),
                    found: found.clone(),
                });
            }
            (Challenge::Nonce(expected), None) if self.bundle.opened.content.takes_nonce() => {
                Finding::Pass(format!("{} bytes, which go into what the evidence must bind", expected.len()))
            }
            (Challenge::Nonce(_), None) => return Err(BundleDenial::NoNonce),
            (Challenge::ReportData(_), Some(_)) => return Err(BundleDenial::NotReportData),
            (Challenge::ReportData(_), None) if self.bundle.opened.content.takes_nonce() => {
                return Err(BundleDenial::NotReportData);
            }
            (Challenge::ReportData(_), None) => {
                Finding::Pass("the bundle states no nonce; report data is compared".to_owned())
            }
            (Challenge::DangerNone { reason }, _) if reason.trim().is_empty() => {
                return Err(BundleDenial::WaiverWithoutReason { what: "the challenge" });
            }
            (Challenge::DangerNone { reason }, nonce) => {
                let nonce = nonce.as_ref().map_or_else(|| "no nonce".to_owned(), hex::encode);
                Finding::Waived(format!("the bundle answers {nonce}; not required: {reason}"))
            }
        };
        Ok(((), finding))
    }

    /// What the platform's last rule compares.
    fn binding(&self, bound: &Bound) -> Result<Binding, BundleDenial> {
        match (&bound.report_data, &self.question.challenge) {
            (Some(computed), _) => Ok(Binding::qualifying_data(computed.clone())),
            (None, Challenge::ReportData(expected)) => Ok(Binding::qualifying_data(expected.clone())),
            (None, Challenge::DangerNone { reason }) => Ok(Binding::danger_unchecked(reason.clone())),
            (None, Challenge::Nonce(_)) => Err(BundleDenial::NoNonce),
        }
    }

    /// BUN-04.
    fn judge_devices(&mut self, simulated: bool) -> Result<Option<VerifiedSet>, BundleRefusal> {
        let found = self.bundle.opened.devices.len();
        let finding = match &self.question.devices {
            DeviceTerms::None if found == 0 => Ok((None, Finding::Pass("none".to_owned()))),
            DeviceTerms::None => Err(BundleRefusal::Bundle(BundleDenial::DevicesNotExpected { found })),
            DeviceTerms::DangerNotVerified { reason } if reason.trim().is_empty() => {
                Err(BundleRefusal::Bundle(BundleDenial::WaiverWithoutReason { what: "the devices" }))
            }
            DeviceTerms::DangerNotVerified { reason } => {
                Ok((None, Finding::Waived(format!("{found} devices; not looked at: {reason}"))))
            }
            DeviceTerms::Exactly(terms) => self.verify_devices(terms, simulated).map(|set| {
                let finding = Finding::Pass(format!("{found} devices, each verified"));
                (Some(set), finding)
            }),
        };
        self.common.record(&rule::DEVICES, finding)
    }

    fn verify_devices(
        &mut self,
        terms: &BundleDevices<'_>,
        simulated: bool,
    ) -> Result<VerifiedSet, BundleRefusal> {
        let Self { bundle, question, .. } = *self;
        let opened = &bundle.opened;
        if opened.devices.len() != terms.count {
            let (expected, found) = (terms.count, opened.devices.len());
            return Err(BundleRefusal::Devices(SetDenied::Count { expected, found }));
        }
        let nonce = opened.device_nonce.ok_or(BundleRefusal::Bundle(BundleDenial::DeviceNonce))?;
        let mut verified = Vec::with_capacity(opened.devices.len());
        for (position, evidence) in (1..).zip(&opened.devices) {
            let authentic = verify_gpu(evidence, terms.endorsements, terms.anchors, question.now).map_err(
                |rejected| {
                    self.devices.extend(rejected.checks);
                    BundleRefusal::DeviceRejected { position, reason: rejected.reason }
                },
            )?;
            let device = authentic.appraise(question.policy, terms.manifests, &nonce).map_err(|denied| {
                self.devices.extend(denied.checks);
                BundleRefusal::DeviceDenied { position, reason: denied.reason }
            })?;
            self.devices.extend_from_slice(device.checks());
            verified.push(device);
        }
        let set = verify_set(verified, terms.count).map_err(BundleRefusal::Devices)?;
        if set.simulated() == simulated { Ok(set) } else { Err(BundleRefusal::Devices(SetDenied::Mixed)) }
    }

    /// Of the bundle, of its system, and of its devices. The ledgers are at their end.
    fn checks(&mut self) -> Vec<Check> {
        let common = core::mem::replace(&mut self.common, Ledger::new(&[]));
        let own = core::mem::replace(&mut self.own, Ledger::new(&[]));
        let mut checks = common.finish();
        checks.extend(own.finish());
        checks.append(&mut self.devices);
        checks
    }

    fn refused(&mut self, reason: BundleRefusal, report: Report) -> BundleRefused {
        let report = Box::new(report.of_refused_bundle(self.bundle, &self.checks(), &reason));
        BundleRefused { system: self.bundle.system, reason, report }
    }

    /// Before the evidence was looked at.
    fn refused_before(&mut self, denial: BundleDenial) -> BundleRefused {
        let report = Report::not_reached(self.bundle.opened.evidence.platform(), self.question.anchors);
        self.refused(BundleRefusal::Bundle(denial), report)
    }
}
