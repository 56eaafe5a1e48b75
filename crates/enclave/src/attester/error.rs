//! Why a machine makes no evidence.

use std::io;
use std::path::PathBuf;

use casemate_attest::{AnchorError, ParseError, Platform};
use casemate_sim::SimError;

use super::azure::AzureError;
use super::gce::GceError;
use super::nsm::NsmError;
use super::sev_guest::SevGuestError;
use super::tdx_guest::TdxGuestError;
use super::tpm::TpmError;
use super::tsm::TsmError;

/// Why there is no evidence.
#[derive(Debug, thiserror::Error)]
pub enum AttesterError {
    /// This machine offers no TEE (ATT-02).
    #[error("this machine offers no confidential-computing device")]
    NoDevice,
    /// A container of Google's, which has no device (ATT-90).
    #[error(
        "this is a container of Google's Confidential Space: it has no device, and its token is not evidence"
    )]
    ConfidentialSpace,
    /// A platform is there in part, and nothing else is tried instead (ATT-03).
    #[error("this machine has {found}, but {missing}")]
    HalfPresent {
        /// What is there.
        found: &'static str,
        /// What is not.
        missing: &'static str,
    },
    /// The system refuses a device or a file.
    #[error("cannot {what} {}: {source}", path.display())]
    Device {
        /// What was attempted.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The device stayed busy (ATT-05).
    #[error("{what} was busy {attempts} times in a row")]
    Busy {
        /// Which device.
        what: &'static str,
        /// How often it was asked.
        attempts: u32,
    },
    /// The device did not answer in time (ATT-05).
    #[error("the device made no evidence within {seconds} seconds")]
    Timeout {
        /// The limit.
        seconds: u64,
    },
    /// The thread that owns the device is gone, which is a fault of ours.
    #[error("the thread that owns the device is gone")]
    Stopped,
    /// What the device gave is not evidence (ATT-06).
    #[error("what the device gave is not evidence: {0}")]
    Evidence(#[source] ParseError),
    /// What the device gave is evidence of another platform (ATT-06).
    #[error("the device gave evidence of {found}, not of {expected}")]
    Platform {
        /// As detected.
        expected: Platform,
        /// As parsed.
        found: Platform,
    },
    /// The evidence does not bind what we asked it to (ATT-07).
    #[error("the evidence does not bind the report data that it was asked for")]
    Echo,
    /// AWS KMS encrypts for Nitro enclaves only (ATT-22).
    #[error("AWS KMS knows no recipient on {platform}: only a Nitro enclave names one")]
    NoRecipient {
        /// Of this machine.
        platform: Platform,
    },
    /// No randomness for a name.
    #[error("the system gives no random bytes")]
    Randomness,
    /// Linux's configfs-tsm.
    #[error(transparent)]
    Tsm(#[from] TsmError),
    /// A TPM.
    #[error(transparent)]
    Tpm(#[from] TpmError),
    /// An Azure confidential VM.
    #[error(transparent)]
    Azure(#[from] AzureError),
    /// The virtual TPM of a Google Compute Engine instance.
    #[error(transparent)]
    Gce(#[from] GceError),
    /// AWS's Nitro Security Module.
    #[error(transparent)]
    Nsm(#[from] NsmError),
    /// A SEV-SNP guest's own device.
    #[error(transparent)]
    SevGuest(#[from] SevGuestError),
    /// A TD's own device, or its host's quote service.
    #[error(transparent)]
    TdxGuest(#[from] TdxGuestError),
    /// The program's own image could not be read for the simulated launch measurement.
    #[error("cannot read the program's own image: {0}")]
    Image(#[source] io::Error),
    /// The simulator failed.
    #[error("the simulated machine failed: {0}")]
    Simulator(#[from] SimError),
    /// The simulated vendor's own certificates are not roots.
    #[error("the simulated vendor's roots: {0}")]
    SimulatedRoots(#[from] AnchorError),
}

impl AttesterError {
    /// The stable code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoDevice => "attester.no-device",
            Self::ConfidentialSpace => "attester.confidential-space",
            Self::HalfPresent { .. } => "attester.half-present",
            Self::Device { .. } => "attester.device",
            Self::Busy { .. } => "attester.busy",
            Self::Timeout { .. } => "attester.timeout",
            Self::Stopped => "attester.stopped",
            Self::Evidence(_) => "attester.evidence",
            Self::Platform { .. } => "attester.platform",
            Self::Echo => "attester.echo",
            Self::NoRecipient { .. } => "attester.no-recipient",
            Self::Randomness => "attester.randomness",
            Self::Tsm(e) => e.code(),
            Self::Tpm(e) => e.code(),
            Self::Azure(e) => e.code(),
            Self::Gce(e) => e.code(),
            Self::Nsm(e) => e.code(),
            Self::SevGuest(e) => e.code(),
            Self::TdxGuest(e) => e.code(),
            Self::Image(_) => "attester.image",
            Self::Simulator(_) | Self::SimulatedRoots(_) => "attester.simulator",
        }
    }

    /// What the person can do about it, where we know.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoDevice => Some(
                "run it inside a confidential VM or a Nitro enclave; --danger-simulate DIR runs on a simulated machine",
            ),
            Self::ConfidentialSpace => Some(
                "run it in a confidential VM of Google's (with --gce-vtpm); `casemate endorse token` asks for the container's token",
            ),
            Self::HalfPresent { .. } => {
                Some("nothing weaker is used instead: complete the platform's set-up, see spec/attesters.md")
            }
            Self::Device { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => Some(
                "start as root (privileges are dropped after the device is open), or give this user the device",
            ),
            Self::Busy { .. } => Some("another program uses the device all the time: find it and stop it"),
            Self::Timeout { .. } => {
                Some("the device or the host's quote service hangs; see the kernel's log")
            }
            Self::NoRecipient { .. } => Some("a key broker (--broker) gives keys to every platform"),
            Self::Tsm(e) => e.hint(),
            Self::Azure(e) => e.hint(),
            Self::Gce(e) => e.hint(),
            Self::SevGuest(e) => e.hint(),
            Self::TdxGuest(e) => e.hint(),
            Self::Device { .. }
            | Self::Stopped
            | Self::Evidence(_)
            | Self::Platform { .. }
            | Self::Echo
            | Self::Randomness
            | Self::Tpm(_)
            | Self::Nsm(_)
            | Self::Image(_)
            | Self::Simulator(_)
            | Self::SimulatedRoots(_) => None,
        }
    }
}
