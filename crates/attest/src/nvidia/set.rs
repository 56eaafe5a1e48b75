//! Several devices of one machine: as many as expected, each once.

use thiserror::Error;

use super::verdict::VerifiedGpu;
use crate::crypto;
use crate::time::UnixTime;

const SET_DOMAIN: &[u8] = b"casemate/device-set/v1";

/// All devices of a machine. Made only by [`verify_set`].
///
/// ```compile_fail
/// let forged = casemate_attest::nvidia::VerifiedSet { devices: Vec::new() };
/// ```
#[derive(Debug)]
pub struct VerifiedSet {
    devices: Vec<VerifiedGpu>,
}

/// Why verified devices are not a machine's set.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SetDenied {
    /// No device was expected, so that nothing would be proven.
    #[error("a set of no devices proves nothing")]
    Empty,
    /// Fewer devices than expected, or more.
    #[error("{found} devices instead of {expected}")]
    Count {
        /// By the verifier.
        expected: usize,
        /// Handed in.
        found: usize,
    },
    /// One device stands for two.
    #[error("device {device} is there twice")]
    Duplicate {
        /// Serial number of the device certificate.
        device: String,
    },
    /// A GPU whose links to other GPUs are open to their switches, and a switch of these is not there.
    #[error(
        "GPU {gpu} protects PCIe and leaves its links to switches open, and {} is not among the devices",
        switch.as_ref().map_or_else(|| "a switch".to_owned(), |pdi| format!("switch {pdi}"))
    )]
    SwitchMissing {
        /// Serial number of the GPU's device certificate.
        gpu: String,
        /// Its public device identity, as switches write it; none where the GPU names no switch.
        switch: Option<String>,
    },
    /// A simulated device beside a real one.
    #[error("some devices are simulated and some are not")]
    Mixed,
}

impl SetDenied {
    /// Stable identifier, for logs, exit codes and tests.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Empty => "nvidia.set.empty",
            Self::Count { .. } => "nvidia.set.count",
            Self::Duplicate { .. } => "nvidia.set.duplicate",
            Self::SwitchMissing { .. } => "nvidia.set.switch-missing",
            Self::Mixed => "nvidia.set.mixed",
        }
    }
}

/// Are these exactly `expected` different devices? Two are the same if serial number or key of the device certificate
/// is.
///
/// # Errors
/// [`SetDenied`].
pub fn verify_set(devices: Vec<VerifiedGpu>, expected: usize) -> Result<VerifiedSet, SetDenied> {
    if expected == 0 {
        return Err(SetDenied::Empty);
    }
    if devices.len() != expected {
        return Err(SetDenied::Count { expected, found: devices.len() });
    }
    let mut seen: Vec<&VerifiedGpu> = Vec::with_capacity(devices.len());
    for device in &devices {
        let claims = device.claims();
        let same = |other: &&VerifiedGpu| {
            other.claims().device == claims.device || other.claims().device_key == claims.device_key
        };
        if seen.iter().any(same) {
            return Err(SetDenied::Duplicate { device: claims.device.clone() });
        }
        if seen.iter().any(|other| other.simulated() != device.simulated()) {
            return Err(SetDenied::Mixed);
        }
        seen.push(device);
    }
    Ok(VerifiedSet { devices })
}

/// Digest of the evidence of a set, whatever its order (spec/channel.md §6):
/// `SHA-256("casemate/device-set/v1" || 0x00 || digests)`, with the digests of the devices' evidence
/// ([`super::GpuEvidence::sha256`]) in ascending order.
pub fn set_sha256(evidence: impl IntoIterator<Item = [u8; 32]>) -> [u8; 32] {
    let mut digests: Vec<_> = evidence.into_iter().collect();
    digests.sort_unstable();
    crypto::sha256(&[SET_DOMAIN, &[0], digests.as_flattened()].concat())
}

impl VerifiedSet {
    /// Is every switch there that can read along? With protected PCIe (one mode of several GPUs) the links between GPUs are not
    /// encrypted, so that a machine is shown with the switches that its GPUs see (spec/attest.md §14.5).
    ///
    /// # Errors
    /// [`SetDenied::SwitchMissing`].
    pub fn with_switches(self) -> Result<Self, SetDenied> {
        let claims = || self.devices.iter().map(VerifiedGpu::claims);
        let (switches, gpus): (Vec<_>, Vec<_>) = claims().partition(|it| it.architecture.is_switch());
        let shown: Vec<&String> = switches.iter().flat_map(|switch| &switch.pdi).collect();
        for gpu in gpus.iter().filter(|gpu| gpu.protected_pcie == Some(true)) {
            let missing = |switch| SetDenied::SwitchMissing { gpu: gpu.device.clone(), switch };
            // A link that is off has no switch.
            let mut seen =
                gpu.pdi.iter().map(|pdi| reversed(pdi)).filter(|pdi| pdi.bytes().any(|it| it != b'0'));
            match seen.next() {
                None => return Err(missing(None)),
                Some(first) => {
                    if let Some(unseen) =
                        core::iter::once(first).chain(seen).find(|pdi| !shown.contains(&pdi))
                    {
                        return Err(missing(Some(unseen)));
                    }
                }
            }
        }
        Ok(self)
    }

    /// [`set_sha256`] of the devices' evidence: what a machine binds into its CPU's evidence.
    pub fn evidence_sha256(&self) -> [u8; 32] {
        set_sha256(self.devices.iter().map(|device| *device.evidence_sha256()))
    }

    /// Last second at which every device is verified.
    pub fn valid_until(&self) -> UnixTime {
        let ends = self.devices.iter().map(VerifiedGpu::valid_until);
        // A set is never empty; if it could be, it would be over.
        ends.min().unwrap_or(UnixTime(0))
    }

    /// The devices, in the order in which they were handed in.
    pub fn devices(&self) -> &[VerifiedGpu] {
        &self.devices
    }

    /// Whether they are a simulator's.
    pub fn simulated(&self) -> bool {
        self.devices.iter().any(VerifiedGpu::simulated)
    }
}

/// A GPU writes a switch's identity with the last octet first.
fn reversed(hexadecimal: &str) -> String {
    let mut octets = hex::decode(hexadecimal).unwrap_or_default();
    octets.reverse();
    hex::encode(octets)
}
