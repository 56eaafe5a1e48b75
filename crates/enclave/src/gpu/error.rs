//! Why there are no GPUs to work with.

use std::path::PathBuf;

use casemate_attest::UnixTime;
use casemate_attest::endorse::BundleError;
use casemate_attest::nvidia::{GpuParseError, NvidiaAnchorError};
use casemate_protocol::devices::{DeviceRuleError, DevicesRefused};
use casemate_sim::SimError;

use crate::staple::StapleError;

/// Why the machine's GPUs are not attested. A server that was told to attest them does not start.
#[derive(Debug, thiserror::Error)]
pub enum GpuError {
    /// The policy's file.
    #[error("the policy for GPUs in {}: {reason}", path.display())]
    Policy {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The policy's two tables.
    #[error("the policy for GPUs in {}: {error}", path.display())]
    Rule {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: DeviceRuleError,
    },
    /// The file of endorsements.
    #[error(transparent)]
    File(#[from] StapleError),
    /// The file of endorsements has none of NVIDIA.
    #[error(transparent)]
    Bundle(BundleError),
    /// NVIDIA's library or the driver behind it.
    #[error("this machine has no NVIDIA driver")]
    NoDriver,
    /// The library says that there is no GPU.
    #[error("NVIDIA's driver has no GPU")]
    NoGpu,
    /// GPU or driver know no confidential computing.
    #[error("GPU or driver know no confidential computing")]
    NotSupported,
    /// Confidential computing is off.
    #[error("confidential computing of the GPUs is off")]
    Off,
    /// Debuggers can read the GPUs.
    #[error("the GPUs are in developers' mode: their memory can be read")]
    Developer,
    /// The driver refuses.
    #[error("NVIDIA's driver cannot {what}: {reason}")]
    Driver {
        /// What was attempted.
        what: &'static str,
        /// The driver's words.
        reason: String,
    },
    /// The GPUs protect PCIe, and nobody can be asked about their switches.
    #[error("the GPUs protect PCIe, and this machine has no library for their switches (libnvidia-nscq)")]
    NoSwitchDriver,
    /// The library is another one than it should be.
    #[error("libnvidia-nscq has not the functions that it is documented to have")]
    SwitchLibrary,
    /// The GPUs protect PCIe, and the library says that there is no switch.
    #[error("the GPUs protect PCIe, and the machine shows no switch")]
    NoSwitch,
    /// A switch that is not closed to its host.
    #[error("switch {switch} is not locked for confidential computing (mode {mode})")]
    SwitchOpen {
        /// Its name.
        switch: String,
        /// As the library has it: bit 0 the mode is on, bit 1 it is locked.
        mode: i8,
    },
    /// The library of the switches refuses, or gives what it must not.
    #[error("NVIDIA's library of switches cannot {what}: {} ({rc})", super::nscq::name_of(*rc))]
    Switch {
        /// What was attempted.
        what: &'static str,
        /// nscq_rc_t.
        rc: i8,
    },
    /// The driver did not answer in time.
    #[error("NVIDIA's driver gave no answer within {seconds} seconds")]
    Timeout {
        /// The limit.
        seconds: u64,
    },
    /// The thread that owns the driver is gone, which is a fault of ours or of the library's.
    #[error("the thread that asks NVIDIA's driver is gone")]
    Stopped,
    /// What a GPU gave is not evidence.
    #[error("what a GPU gave is not evidence: {0}")]
    Evidence(#[from] GpuParseError),
    /// The GPUs do not meet the operator's policy.
    #[error("the GPUs of this machine: {0}")]
    Refused(#[from] DevicesRefused),
    /// The GPUs met the policy, and do not take work.
    #[error("the GPUs were verified and told to work, and the driver says that they do not take work")]
    NotReady,
    /// What was said of the GPUs has run out.
    #[error("what NVIDIA says of the GPUs ran out at {valid_until}")]
    Expired {
        /// Its last good second.
        valid_until: UnixTime,
    },
    /// The operating system gave no random bytes.
    #[error("could not draw random bytes")]
    Randomness,
    /// Simulated GPUs could not be made.
    #[error(transparent)]
    Simulator(#[from] SimError),
    /// A simulated vendor's roots.
    #[error(transparent)]
    Anchor(#[from] NvidiaAnchorError),
}

impl GpuError {
    /// The stable code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Policy { .. } => "gpu.policy",
            Self::Rule { error, .. } => error.code(),
            Self::File(error) => error.code(),
            Self::Bundle(error) => error.code(),
            Self::NoDriver => "gpu.no-driver",
            Self::NoGpu => "gpu.none",
            Self::NotSupported => "gpu.not-supported",
            Self::Off => "gpu.off",
            Self::Developer => "gpu.developer-mode",
            Self::Driver { .. } => "gpu.driver",
            Self::NoSwitchDriver => "gpu.no-switch-driver",
            Self::SwitchLibrary => "gpu.switch-library",
            Self::NoSwitch => "gpu.no-switch",
            Self::SwitchOpen { .. } => "gpu.switch-open",
            Self::Switch { .. } => "gpu.switch",
            Self::Timeout { .. } => "gpu.timeout",
            Self::Stopped => "gpu.stopped",
            Self::Evidence(error) => error.code(),
            Self::Refused(refused) => refused.reason.code(),
            Self::NotReady => "gpu.not-ready",
            Self::Expired { .. } => "gpu.expired",
            Self::Randomness => "gpu.randomness",
            Self::Simulator(error) => error.code(),
            Self::Anchor(error) => error.code(),
        }
    }

    /// What the operator can do about it, where we know.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::NoDriver | Self::NoGpu | Self::NotSupported => {
                "`casemate doctor` says what this machine has"
            }
            Self::Off => "the host turns confidential computing on before the machine starts",
            Self::Developer => "the host must set confidential computing to `on`, not to `devtools`",
            Self::NoSwitchDriver | Self::SwitchLibrary => {
                "install the driver's package libnvidia-nscq, of the driver's own version"
            }
            Self::NoSwitch | Self::SwitchOpen { .. } => {
                "the host gives all switches of the set to the machine, and locks them before it starts"
            }
            Self::Driver { .. } => "run it as root; a server becomes another user before it listens",
            Self::Refused(refused) if refused.reason.code() == "ocsp.missing" => {
                "fetch what NVIDIA says of the GPUs (`casemate endorse gpus`, then `endorse fetch`), and give it with --gpu-endorsements"
            }
            Self::Refused(refused) if refused.reason.code() == "nvidia.manifest.missing" => {
                "the file of --gpu-endorsements has no manifest of this driver or VBIOS: fetch it anew"
            }
            Self::Refused(_) => "the GPUs do not meet --gpu-policy, and were not told to work",
            _ => return None,
        })
    }
}
