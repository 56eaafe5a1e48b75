//! Simulated GPUs, behind the same trait as real ones.

use std::path::Path;

use casemate_attest::UnixTime;
use casemate_attest::nvidia::{NvidiaAnchors, VerifiedSet};
use casemate_protocol::document::DocumentDevices;
use casemate_sim::nvidia::{Gpu, NvidiaVendor};

use super::{GpuAttester, GpuError, RawGpu};

/// Simulated GPUs of one vendor, with what it says of them.
pub struct SimulatedGpus {
    gpus: Vec<Gpu>,
    anchors: NvidiaAnchors,
    answers: Vec<Vec<u8>>,
    manifests: [String; 2],
}

impl SimulatedGpus {
    /// Makes so many GPUs of the software vendor in `directory`.
    ///
    /// # Errors
    /// A directory that holds no vendor of GPUs.
    pub fn launch(directory: &Path, count: usize, now: UnixTime) -> Result<Self, GpuError> {
        Self::of(&NvidiaVendor::load(directory, now)?, count)
    }

    /// Makes so many GPUs of this vendor.
    ///
    /// # Errors
    /// What the vendor says.
    pub fn of(vendor: &NvidiaVendor, count: usize) -> Result<Self, GpuError> {
        let gpus = (0..count).map(|_| vendor.gpu()).collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            anchors: NvidiaAnchors::danger_only_pem(&vendor.root_pem())?,
            answers: vendor.answers(&gpus)?,
            manifests: vendor.manifests()?,
            gpus,
        })
    }

    /// What the vendor says of them.
    pub fn endorsements(&self) -> DocumentDevices {
        let manifests = self.manifests.iter().map(String::as_bytes);
        DocumentDevices::endorsed(self.answers.iter().map(Vec::as_slice), manifests)
    }
}

impl GpuAttester for SimulatedGpus {
    fn evidence(&self, nonce: &[u8; 32]) -> Result<Vec<RawGpu>, GpuError> {
        let raw =
            |gpu: &Gpu| Ok(RawGpu { report: gpu.report(nonce)?, chain: gpu.chain_pem().as_bytes().to_vec() });
        self.gpus.iter().map(raw).collect()
    }

    /// Nothing here computes.
    fn let_work(&self, _verified: &VerifiedSet) -> Result<(), GpuError> {
        Ok(())
    }

    fn anchors(&self) -> NvidiaAnchors {
        self.anchors.clone()
    }
}
