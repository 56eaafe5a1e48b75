//! Why a machine's devices are refused.

use casemate_attest::Check;
use casemate_attest::nvidia::{GpuDenied, GpuParseError, GpuRejected, ManifestRejected, SetDenied};

use crate::document::DocumentError;

/// Why devices are not those that are demanded, are not genuine, or do not belong to an attested machine.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum DevicesError {
    /// The machine states no devices, or its document has none.
    #[error("{demanded} devices are demanded, and the machine shows none")]
    Missing {
        /// How many.
        demanded: usize,
    },
    /// The machine has devices, and nobody said what they must be.
    #[error("the machine has devices, and the policy accepts none")]
    NotExpected,
    /// The document's members are not base64.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// Evidence that is not evidence.
    #[error(transparent)]
    Malformed(#[from] GpuParseError),
    /// A reference manifest that is not believed.
    #[error("{}", .0.reason)]
    Manifest(Box<ManifestRejected>),
    /// A device that is not genuine.
    #[error(transparent)]
    Rejected(Box<GpuRejected>),
    /// A genuine device that is not what the policy asks for.
    #[error(transparent)]
    Denied(Box<GpuDenied>),
    /// Verified devices that are not a machine's set.
    #[error(transparent)]
    Set(#[from] SetDenied),
    /// The machine states others.
    #[error("the machine states the device evidence {stated}, and this is {found}")]
    NotStated {
        /// By the runtime statement.
        stated: String,
        /// Of the devices.
        found: String,
    },
    /// Simulated devices on a real machine, or the other way round.
    #[error("of the machine and its devices, one is simulated and one is not")]
    Mixed,
}

impl DevicesError {
    /// The stable code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "devices.missing",
            Self::NotExpected => "devices.not-expected",
            Self::Document(error) => error.code(),
            Self::Malformed(error) => error.code(),
            Self::Manifest(rejected) => rejected.code(),
            Self::Rejected(rejected) => rejected.code(),
            Self::Denied(denied) => denied.code(),
            Self::Set(denied) => denied.code(),
            Self::NotStated { .. } => "devices.not-stated",
            Self::Mixed => "devices.mixed",
        }
    }
}

/// Refused devices with the checks that ran.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct DevicesRefused {
    /// Why.
    pub reason: DevicesError,
    /// Every rule that was looked at, of manifests, devices and machine; those of the machine after the failure are not reached.
    pub checks: Vec<Check>,
}
