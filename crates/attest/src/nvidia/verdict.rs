//! The spine for devices: evidence becomes [`AuthenticGpu`], and that becomes [`VerifiedGpu`].

use core::fmt;

use super::anchors::NvidiaAnchors;
use super::appraise;
use super::claims::NvidiaClaims;
use super::deny::GpuDenial;
use super::evidence::GpuEvidence;
use super::genuine::{self, NvidiaEndorsements};
use super::golden::Device;
use super::manifest::Manifest;
use super::reject::GpuRejection;
use super::spdm::NONCE_LEN;
use crate::checks::{Check, Ledger};
use crate::policy::Policy;
use crate::rules;
use crate::time::UnixTime;

/// A genuine device said this. Whether it is ours, and fresh, is another question: [`AuthenticGpu::appraise`].
///
/// Made only by [`verify_gpu`], and used up by the appraisal.
///
/// ```compile_fail
/// fn needs_clone(_: impl Clone) {}
/// fn twice(authentic: casemate_attest::nvidia::AuthenticGpu) { needs_clone(authentic) }
/// ```
#[derive(Debug)]
pub struct AuthenticGpu {
    claims: NvidiaClaims,
    evidence_sha256: [u8; 32],
    device: Device,
    ledger: Ledger,
    simulated: bool,
    valid_until: UnixTime,
}

/// A genuine device said this, it is what the policy asks for, and it is the answer to this nonce.
///
/// Made only by [`AuthenticGpu::appraise`], after every rule was looked at and none failed.
///
/// ```
/// fn takes_proof(verified: &casemate_attest::nvidia::VerifiedGpu) -> bool { verified.simulated() }
/// ```
/// ```compile_fail
/// fn forge(verified: casemate_attest::nvidia::VerifiedGpu) -> casemate_attest::nvidia::VerifiedGpu {
///     casemate_attest::nvidia::VerifiedGpu { simulated: false, ..verified }
/// }
/// ```
/// ```compile_fail
/// let forged: casemate_attest::nvidia::VerifiedGpu = Default::default();
/// ```
/// ```compile_fail
/// fn needs_clone(_: impl Clone) {}
/// fn twice(verified: casemate_attest::nvidia::VerifiedGpu) { needs_clone(verified) }
/// ```
/// ```compile_fail
/// let forged: casemate_attest::nvidia::VerifiedGpu = toml::from_str("").unwrap();
/// ```
#[derive(Debug)]
pub struct VerifiedGpu {
    claims: NvidiaClaims,
    evidence_sha256: [u8; 32],
    checks: Vec<Check>,
    simulated: bool,
    valid_until: UnixTime,
}

/// Evidence that is not proven to be a genuine device's.
#[derive(Debug, PartialEq, Eq)]
pub struct GpuRejected {
    /// Why.
    pub reason: GpuRejection,
    /// Every rule, in order.
    pub checks: Vec<Check>,
    /// Whether the root was a simulator's.
    pub simulated: bool,
}

/// A genuine device that is refused.
#[derive(Debug, PartialEq, Eq)]
pub struct GpuDenied {
    /// Why.
    pub reason: GpuDenial,
    /// Every rule, in order.
    pub checks: Vec<Check>,
    /// What the device says.
    pub claims: Box<NvidiaClaims>,
    /// Whether the root was a simulator's.
    pub simulated: bool,
}

/// Is it a genuine device? Rules NV-01 to NV-07.
///
/// # Errors
/// [`GpuRejected`], with the first rule that does not hold.
pub fn verify_gpu(
    evidence: &GpuEvidence,
    endorsements: &NvidiaEndorsements,
    anchors: &NvidiaAnchors,
    now: UnixTime,
) -> Result<AuthenticGpu, GpuRejected> {
    let simulated = anchors.simulated();
    let mut ledger = Ledger::new(rules::NVIDIA);
    match genuine::verify(evidence, endorsements, anchors, now, &mut ledger) {
        Ok(genuine) => Ok(AuthenticGpu {
            claims: NvidiaClaims::new(evidence, &genuine),
            evidence_sha256: evidence.sha256(),
            device: Device {
                measurements: evidence.report.measurements().to_vec(),
                held: genuine.held,
                simulated,
            },
            ledger,
            simulated,
            valid_until: genuine.valid_until,
        }),
        Err(reason) => Err(GpuRejected { reason, checks: ledger.finish(), simulated }),
    }
}

impl AuthenticGpu {
    /// Is it ours, is it the answer to this nonce, and does it measure what NVIDIA released? Rules NV-08 to NV-19.
    /// Manifests of other firmware may be among these; those of this device's are found by what is signed in them.
    ///
    /// # Errors
    /// [`GpuDenied`], with the first rule that does not hold.
    pub fn appraise(
        self,
        policy: &Policy,
        manifests: &[Manifest],
        nonce: &[u8; NONCE_LEN],
    ) -> Result<VerifiedGpu, GpuDenied> {
        let Self { claims, evidence_sha256, device, mut ledger, simulated, valid_until } = self;
        match appraise::appraise(&claims, &device, policy, manifests, nonce, &mut ledger) {
            Ok(until) => {
                let valid_until = valid_until.min(until);
                Ok(VerifiedGpu { claims, evidence_sha256, checks: ledger.finish(), simulated, valid_until })
            }
            Err(reason) => {
                Err(GpuDenied { reason, checks: ledger.finish(), claims: Box::new(claims), simulated })
            }
        }
    }

    /// What the device said.
    pub fn claims(&self) -> &NvidiaClaims {
        &self.claims
    }

    /// The rules that were looked at so far, in order.
    pub fn checks(&self) -> &[Check] {
        self.ledger.checks()
    }

    /// Whether the root was a simulator's. Nothing about such evidence is real.
    pub fn simulated(&self) -> bool {
        self.simulated
    }

    /// Last second at which the certificates, the answers about them and the manifests are all valid.
    pub fn valid_until(&self) -> UnixTime {
        self.valid_until
    }
}

impl VerifiedGpu {
    /// What the device said.
    pub fn claims(&self) -> &NvidiaClaims {
        &self.claims
    }

    /// [`GpuEvidence::sha256`] of the evidence that this was verified from.
    pub fn evidence_sha256(&self) -> &[u8; 32] {
        &self.evidence_sha256
    }

    /// Every rule, in order: each passed or was waived by a written decision.
    pub fn checks(&self) -> &[Check] {
        &self.checks
    }

    /// Whether the root was a simulator's. Nothing about such evidence is real.
    pub fn simulated(&self) -> bool {
        self.simulated
    }

    /// Last second at which the certificates, the answers about them and the manifests are all valid.
    pub fn valid_until(&self) -> UnixTime {
        self.valid_until
    }
}

impl GpuRejected {
    /// [`GpuRejection::code`] of the reason.
    pub fn code(&self) -> &'static str {
        self.reason.code()
    }
}

impl GpuDenied {
    /// [`GpuDenial::code`] of the reason.
    pub fn code(&self) -> &'static str {
        self.reason.code()
    }
}

impl fmt::Display for GpuRejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not a genuine device: {}", self.reason)
    }
}

impl std::error::Error for GpuRejected {}

impl fmt::Display for GpuDenied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a genuine device, but refused: {}", self.reason)
    }
}

impl std::error::Error for GpuDenied {}
