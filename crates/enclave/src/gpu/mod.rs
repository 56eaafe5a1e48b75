//! The machine's GPUs (spec/attesters.md, "GPUs"): their evidence is collected with the CPU's, bound to it, and checked by the
//! server itself before the GPUs may work.
//!
//! [`GpuAttester`] is small on purpose: reports for a nonce, and permission to work, which takes a proof. [`NvmlGpus`] asks
//! NVIDIA's library, [`SimulatedGpus`] stands behind the same trait with roots of its own. [`Gpus`] exist only after the
//! operator's policy was met; a server that was told to attest GPUs and cannot does not start, and one whose GPUs stop
//! answering hands out no document.

mod driver;
mod error;
#[allow(unsafe_code)]
mod nscq;
mod nvml;
mod policy;
mod simulated;

use std::sync::Arc;

use casemate_attest::UnixTime;
use casemate_attest::endorse::{DeviceEndorsements, EndorsementBundle};
use casemate_attest::nvidia::{GpuEvidence, NvidiaAnchors, VerifiedSet, set_sha256};
use casemate_endorse::{Settings, fetch_devices};
use casemate_protocol::devices;
use casemate_protocol::document::DocumentDevices;
use casemate_protocol::statement::Stated;

use crate::attester::AttesterError;
use crate::boot::BootError;
use crate::config::GpuSource;
use crate::hardening;
use crate::staple::{EndorsementHealth, Part, PartSource, RefreshError, Said, notify, read_bundle};

pub use error::GpuError;
pub(crate) use nscq::Nscq;
pub use nvml::NvmlGpus;
#[cfg(test)]
pub(crate) use nvml::state_by;
pub(crate) use nvml::{State, library_state};
pub use policy::GpuPolicy;
pub use simulated::SimulatedGpus;

/// Evidence of a GPU or of a switch between GPUs, believed by nobody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawGpu {
    /// The report: request and response.
    pub report: Vec<u8>,
    /// Its certificate chain, PEM.
    pub chain: Vec<u8>,
}

/// GPUs that make evidence.
pub trait GpuAttester: Send + Sync {
    /// Evidence of every GPU of the machine, and of every switch where they leave their links open to switches (ATT-77), each
    /// with an answer to this nonce.
    ///
    /// # Errors
    /// Everything that keeps one of them from it, and a machine without any.
    fn evidence(&self, nonce: &[u8; 32]) -> Result<Vec<RawGpu>, GpuError>;

    /// Lets the GPUs take work. Whoever asks has verified them.
    ///
    /// # Errors
    /// Where the driver refuses, or says afterwards that they do not.
    fn let_work(&self, verified: &VerifiedSet) -> Result<(), GpuError>;

    /// The roots under which a verifier must find them genuine: NVIDIA's, unless they are not real.
    fn anchors(&self) -> NvidiaAnchors {
        NvidiaAnchors::nvidia()
    }
}

/// The machine's GPUs, which met the operator's policy at the start and may work. Only [`Gpus::start`] makes them.
pub struct Gpus {
    attester: Arc<dyn GpuAttester>,
    policy: GpuPolicy,
    /// Without a device: what is said of them.
    said: Said<DocumentDevices>,
}

/// The GPUs that the operator wrote down, with a driver that answers, believed by nobody yet.
pub(crate) struct Opened {
    attester: Arc<dyn GpuAttester>,
    policy: GpuPolicy,
    /// What a file or a simulated vendor says of them.
    said: Option<DocumentDevices>,
}

/// Opens the GPUs that the operator wrote down; `None` where nobody wrote that there are any.
pub(crate) fn open(source: &GpuSource, now: UnixTime) -> Result<Option<Opened>, GpuError> {
    let (policy, attester, said): (_, Arc<dyn GpuAttester>, _) = match source {
        GpuSource::None => return Ok(None),
        GpuSource::Hardware { policy, endorsements } => {
            let policy = GpuPolicy::read(policy)?;
            let said = match endorsements {
                Some(path) => Some(endorsed(read_bundle(path)?.devices().map_err(GpuError::Bundle)?)),
                None => None,
            };
            (policy, Arc::new(NvmlGpus::open()?), said)
        }
        GpuSource::Simulated { policy, vendor } => {
            let policy = GpuPolicy::read(policy)?;
            let gpus = SimulatedGpus::launch(vendor, policy.count(), now)?;
            let said = gpus.endorsements();
            (policy, Arc::new(gpus), Some(said))
        }
    };
    Ok(Some(Opened { attester, policy, said }))
}

impl Opened {
    /// Obtains what nobody brought (ATT-79), and starts the GPUs. As root, who alone may let them work; the vendors' services are asked
    /// with the rights of `user`.
    pub(crate) async fn start(
        self,
        source: &PartSource,
        user: u32,
        now: UnixTime,
    ) -> Result<Arc<Gpus>, BootError> {
        let said = match (self.said, source) {
            (Some(said), _) => said,
            (None, PartSource::Vendors(settings)) => {
                let devices = devices_of(self.attester.clone()).await?;
                let anchors = self.attester.anchors();
                let asking = fetch_devices(&devices, &anchors, now, settings, &notify);
                let fetched = hardening::as_user(user, user, asking).await?.map_err(RefreshError::from)?;
                endorsed(fetched.bundle.devices().map_err(GpuError::Bundle)?)
            }
            // Without a word of NVIDIA's they are not genuine, and the check says so by name.
            (None, PartSource::File(_) | PartSource::Nobody) => DocumentDevices::default(),
        };
        let gpus = Gpus::start(self.attester, &self.policy, said, random_nonce()?, now)?;
        tracing::info!(
            gpus = self.policy.count(),
            valid_until = gpus.valid_until().0,
            "GPUs verified, and ready to work"
        );
        Ok(Arc::new(gpus))
    }
}

impl Gpus {
    /// Verifies the GPUs as every client will, with this fresh nonce, and lets them work.
    ///
    /// # Errors
    /// GPUs that make no evidence, do not meet the policy, or may not work.
    pub fn start(
        attester: Arc<dyn GpuAttester>,
        policy: &GpuPolicy,
        endorsements: DocumentDevices,
        nonce: [u8; 32],
        now: UnixTime,
    ) -> Result<Self, GpuError> {
        let verified = judge(&*attester, policy, &endorsements, &nonce, now)?;
        attester.let_work(&verified)?;
        let said = Said::new(endorsements, now, verified.valid_until());
        Ok(Self { attester, policy: policy.clone(), said })
    }

    /// Fresh evidence, each device with an answer to this nonce: the digest that a statement names, and the document's member.
    ///
    /// # Errors
    /// GPUs that make no evidence, or endorsements that have run out: no client would believe them.
    pub fn evidence(&self, nonce: &[u8; 32], now: UnixTime) -> Result<(Stated, DocumentDevices), GpuError> {
        self.in_date(now)?;
        let raw = self.attester.evidence(nonce)?;
        let digests = raw.iter().map(|gpu| Ok(GpuEvidence::parse(&gpu.report, &gpu.chain)?.sha256()));
        let digests = digests.collect::<Result<Vec<_>, GpuError>>()?;
        Ok((Stated::Is(set_sha256(digests)), with_evidence(&self.said.get(), &raw)))
    }

    /// That what is said of them has not run out: a verifier would refuse a document with it (ATT-75).
    ///
    /// # Errors
    /// [`GpuError::Expired`].
    pub fn in_date(&self, now: UnixTime) -> Result<(), GpuError> {
        let valid_until = self.valid_until();
        if now > valid_until { Err(GpuError::Expired { valid_until }) } else { Ok(()) }
    }

    /// Last second at which their certificates, manifests and the answers about revocation are all valid.
    pub fn valid_until(&self) -> UnixTime {
        self.said.valid_until()
    }

    /// How their endorsements stand.
    pub(crate) fn health(&self, now: UnixTime) -> EndorsementHealth {
        self.said.health(now)
    }
}

impl Part for Gpus {
    const NAME: &'static str = "GPUs";
    type Error = GpuError;
    type Said = DocumentDevices;

    fn said(&self) -> &Said<DocumentDevices> {
        &self.said
    }

    async fn fetch(&self, settings: &Settings, now: UnixTime) -> Result<EndorsementBundle, RefreshError> {
        fetch_for(self.attester.clone(), settings, now).await
    }

    fn judge(
        &self,
        bundle: &EndorsementBundle,
        now: UnixTime,
    ) -> Result<(DocumentDevices, UnixTime), GpuError> {
        let said = endorsed(bundle.devices().map_err(GpuError::Bundle)?);
        let verified = judge(&*self.attester, &self.policy, &said, &random_nonce()?, now)?;
        Ok((said, verified.valid_until()))
    }

    fn code(error: &GpuError) -> &'static str {
        error.code()
    }
}

/// The GPUs' fresh evidence with these endorsements, through a client's eyes.
fn judge(
    attester: &dyn GpuAttester,
    policy: &GpuPolicy,
    endorsements: &DocumentDevices,
    nonce: &[u8; 32],
    now: UnixTime,
) -> Result<VerifiedSet, GpuError> {
    let shown = with_evidence(endorsements, &attester.evidence(nonce)?);
    let verified = devices::verify(&shown, policy.count(), policy.terms(), &attester.anchors(), nonce, now);
    Ok(verified.map(|(set, _)| set)?)
}

/// What NVIDIA's services say of these GPUs.
async fn fetch_for(
    attester: Arc<dyn GpuAttester>,
    settings: &Settings,
    now: UnixTime,
) -> Result<EndorsementBundle, RefreshError> {
    let devices = devices_of(attester.clone()).await?;
    Ok(fetch_devices(&devices, &attester.anchors(), now, settings, &notify).await?.bundle)
}

/// Evidence for a nonce that nobody sent, of every device.
async fn devices_of(attester: Arc<dyn GpuAttester>) -> Result<Vec<GpuEvidence>, RefreshError> {
    let raw = tokio::task::spawn_blocking(move || attester.evidence(&random_nonce()?)).await;
    // The driver's code panicked.
    let raw = raw.map_err(|_| AttesterError::Stopped)??;
    let parse = |gpu: &RawGpu| GpuEvidence::parse(&gpu.report, &gpu.chain).map_err(GpuError::from);
    Ok(raw.iter().map(parse).collect::<Result<Vec<_>, _>>()?)
}

fn with_evidence(endorsements: &DocumentDevices, raw: &[RawGpu]) -> DocumentDevices {
    let mut shown = endorsements.clone();
    for gpu in raw {
        shown.push(&gpu.report, &gpu.chain);
    }
    shown
}

fn endorsed(bundle: &DeviceEndorsements) -> DocumentDevices {
    DocumentDevices::endorsed(bundle.answers(), bundle.manifests())
}

fn random_nonce() -> Result<[u8; 32], GpuError> {
    let mut nonce = [0; 32];
    aws_lc_rs::rand::fill(&mut nonce).map_err(|_| GpuError::Randomness)?;
    Ok(nonce)
}

#[cfg(test)]
mod tests;
