//! What an NVIDIA device must be (spec/attest.md §14.4). Every field is decided on by one rule.

use super::evidence::Architecture;
use super::spdm::MEASUREMENT_LEN;
use crate::policy::{Danger, Expected};

/// Terms for NVIDIA devices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NvidiaPolicy {
    /// Kinds of device (NV-08). There is no "any".
    pub architectures: Vec<Architecture>,
    /// A device that does not report its firmware identity (NV-09): drivers before 545, and every switch.
    pub firmware_id_missing: Danger,
    /// A certificate of the device's, or of a manifest's signer's, that NVIDIA put on hold (NV-15).
    pub certificate_hold: Danger,
    /// No signed manifest of the driver (NV-16).
    pub driver_manifest_missing: Danger,
    /// No signed manifest of the VBIOS (NV-17).
    pub vbios_manifest_missing: Danger,
    /// Serial number of the device certificate, lower-case hexadecimal (NV-10).
    pub device: Expected<String>,
    /// Driver version, compared exactly (NV-11). A switch has no driver.
    pub driver_version: Expected<String>,
    /// VBIOS version, compared exactly (NV-12).
    pub vbios_version: Expected<String>,
    /// SHA-384 of the measurement record (NV-13).
    pub measurements: Expected<[u8; MEASUREMENT_LEN]>,
}
