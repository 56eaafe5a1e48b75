//! Why a genuine device is refused.

use thiserror::Error;

use super::evidence::Architecture;
use super::spdm::{MEASUREMENT_LEN, NONCE_LEN};

/// Why a genuine report is refused: rules NV-08 to NV-19.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum GpuDenial {
    /// The policy does not speak of NVIDIA's devices.
    #[error("the policy does not accept NVIDIA devices")]
    NotAccepted,
    /// The policy does not speak of this kind of device.
    #[error("the policy does not accept {found}")]
    Architecture {
        /// Of the device.
        found: Architecture,
    },
    /// The report does not say which firmware wrote it.
    #[error("the device does not report its firmware identity")]
    FirmwareIdMissing,
    /// Another device.
    #[error("device {found} is none of the {accepted} accepted")]
    Device {
        /// Serial number of the device certificate.
        found: String,
        /// How many the policy lists.
        accepted: usize,
    },
    /// A GPU that does not report its driver's version.
    #[error("the GPU reports no driver version")]
    DriverMissing,
    /// Another driver.
    #[error("driver {found} is none of the {accepted} accepted")]
    Driver {
        /// In the report.
        found: String,
        /// How many the policy lists.
        accepted: usize,
    },
    /// A device that does not report its VBIOS's version.
    #[error("the device reports no VBIOS version")]
    VbiosMissing,
    /// Another VBIOS.
    #[error("VBIOS {found} is none of the {accepted} accepted")]
    Vbios {
        /// In the report.
        found: String,
        /// How many the policy lists.
        accepted: usize,
    },
    /// Other measurements.
    #[error("measurements {found} are none of the {accepted} accepted")]
    Measurements {
        /// SHA-384 of the measurement record.
        found: String,
        /// How many the policy lists.
        accepted: usize,
    },
    /// Somebody else's report, or an old one.
    #[error("nonce {} is not the expected {}", hex::encode(found), hex::encode(expected))]
    Nonce {
        /// By the verifier.
        expected: [u8; NONCE_LEN],
        /// In the report.
        found: [u8; NONCE_LEN],
    },
    /// NVIDIA put a certificate on hold.
    #[error("on hold by NVIDIA: {certificates}")]
    CertificateHold {
        /// Their common names.
        certificates: String,
    },
    /// No manifest of the device's firmware was given.
    #[error("there is no manifest of {wanted}")]
    ManifestMissing {
        /// Edition, product and version.
        wanted: String,
    },
    /// Two manifests of one firmware: which one counts would be chance.
    #[error("there are two manifests of {manifest}")]
    ManifestDuplicate {
        /// Edition, product and version.
        manifest: String,
    },
    /// A simulator's manifest for a real device, or the other way round.
    #[error("of the manifest of {manifest} and the device, one is simulated and one is not")]
    ManifestMixed {
        /// Edition, product and version.
        manifest: String,
    },
    /// Both manifests have a golden value for one measurement.
    #[error("the manifests of driver and VBIOS both speak of measurement {index}")]
    ManifestConflict {
        /// From 0.
        index: usize,
    },
    /// A measurement that the report does not have.
    #[error("the report has no measurement {index}, which {manifest} speaks of")]
    GoldenAbsent {
        /// Edition, product and version.
        manifest: String,
        /// From 0.
        index: usize,
    },
    /// A measurement that is none of the manifest's.
    #[error("measurement {index} is {}, none of the {alternatives} of {manifest}", hex::encode(found.as_slice()))]
    Golden {
        /// Edition, product and version.
        manifest: String,
        /// From 0.
        index: usize,
        /// In the report.
        found: Box<[u8; MEASUREMENT_LEN]>,
        /// How many values the manifest has for it.
        alternatives: usize,
    },
    /// A waiver that nobody gave a reason for.
    #[error("{what} is waived without a reason")]
    WaiverWithoutReason {
        /// What is waived.
        what: &'static str,
    },
    /// A rule was not looked at. It cannot happen; if it does, nothing is verified.
    #[error("not every rule was looked at")]
    Incomplete,
}

impl GpuDenial {
    /// Stable identifier, for logs, exit codes and tests.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotAccepted => "policy.platform-not-accepted",
            Self::Architecture { .. } => "nvidia.architecture.not-accepted",
            Self::FirmwareIdMissing => "nvidia.firmware-id.missing",
            Self::Device { .. } => "nvidia.device.not-accepted",
            Self::DriverMissing => "nvidia.driver.missing",
            Self::Driver { .. } => "nvidia.driver.not-accepted",
            Self::VbiosMissing => "nvidia.vbios.missing",
            Self::Vbios { .. } => "nvidia.vbios.not-accepted",
            Self::Measurements { .. } => "nvidia.measurements.not-accepted",
            Self::Nonce { .. } => "nvidia.nonce",
            Self::CertificateHold { .. } => "nvidia.certificate.on-hold",
            Self::ManifestMissing { .. } => "nvidia.manifest.missing",
            Self::ManifestDuplicate { .. } => "nvidia.manifest.duplicate",
            Self::ManifestMixed { .. } => "nvidia.manifest.mixed",
            Self::ManifestConflict { .. } => "nvidia.manifest.conflict",
            Self::GoldenAbsent { .. } => "nvidia.golden.absent",
            Self::Golden { .. } => "nvidia.golden.mismatch",
            Self::WaiverWithoutReason { .. } => "policy.waiver-without-reason",
            Self::Incomplete => "internal.incomplete",
        }
    }
}
