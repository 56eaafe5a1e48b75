//! Several devices of one machine: as many as expected, each once.

use thiserror::Error;

use super::verdict::VerifiedGpu;

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

impl VerifiedSet {
    /// The devices, in the order in which they were handed in.
    pub fn devices(&self) -> &[VerifiedGpu] {
        &self.devices
    }

    /// Whether they are a simulator's.
    pub fn simulated(&self) -> bool {
        self.devices.iter().any(VerifiedGpu::simulated)
    }
}
