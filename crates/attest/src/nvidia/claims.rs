//! What a genuine device says, as values. Claims are not a verdict.

use serde::Serialize;

use super::evidence::{Architecture, GpuEvidence};
use super::genuine::Genuine;
use super::spdm::{MEASUREMENT_LEN, NONCE_LEN};
use crate::crypto;

/// Claims of a genuine report and of its device's certificates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct NvidiaClaims {
    /// Kind of device, by its certificates.
    pub architecture: Architecture,
    /// Serial number of the device certificate (`... BROM`), lower-case hexadecimal. It is the device's identity.
    pub device: String,
    /// SHA-384 of the device certificate's public key: two certificates of one device have one.
    pub device_key: String,
    /// Common name of the leaf certificate.
    pub leaf: String,
    /// Driver version; none on switches.
    pub driver_version: Option<String>,
    /// VBIOS version.
    pub vbios_version: Option<String>,
    /// Board project, such as "1010".
    pub project: Option<String>,
    /// Board project SKU, such as "0205".
    pub project_sku: Option<String>,
    /// Chip SKU, such as "862".
    pub chip_sku: Option<String>,
    /// Identity of the firmware that holds the signing key, by the leaf certificate.
    pub firmware_id: Option<String>,
    /// Whether the report says the same; false where it says nothing.
    pub firmware_id_reported: bool,
    /// The verifier's nonce.
    #[serde(with = "hex::serde")]
    pub nonce: [u8; NONCE_LEN],
    /// SHA-384 of the measurement record.
    pub measurements_digest: String,
    /// How many measurements there are.
    pub measurements: usize,
    /// How many of them are not zero.
    pub measurements_not_zero: usize,
    /// Whether the first video decoder is on.
    pub nvdec0: Option<bool>,
    /// Whether PCIe protection is on.
    pub protected_pcie: Option<bool>,
    /// FEATURE_FLAG, as it is.
    pub feature_flag: Option<u16>,
    /// Public device identities: of the switch itself, or of the switches that the GPU sees.
    pub pdi: Vec<String>,
}

impl NvidiaClaims {
    pub(crate) fn new(evidence: &GpuEvidence, genuine: &Genuine) -> Self {
        let GpuEvidence { report, chain } = evidence;
        let opaque = report.opaque();
        let zero = [0; MEASUREMENT_LEN];
        Self {
            architecture: genuine.architecture,
            device: hex::encode(&chain.device.serial),
            device_key: hex::encode(crypto::sha384(&chain.device.spki)),
            leaf: chain.leaf.subject_cn.clone(),
            driver_version: opaque.driver_version.clone(),
            vbios_version: opaque.vbios_version.clone(),
            project: opaque.project.clone(),
            project_sku: opaque.project_sku.clone(),
            chip_sku: opaque.chip_sku.clone(),
            firmware_id: genuine.certified_firmware.map(hex::encode),
            firmware_id_reported: opaque.fwid.is_some(),
            nonce: *report.nonce(),
            measurements_digest: hex::encode(crypto::sha384(report.record())),
            measurements: report.measurements().len(),
            measurements_not_zero: report.measurements().iter().filter(|&value| *value != zero).count(),
            nvdec0: opaque.nvdec0,
            protected_pcie: opaque.protected_pcie,
            feature_flag: opaque.feature_flag,
            pdi: opaque.pdi.iter().flatten().map(hex::encode).collect(),
        }
    }
}
