//! What a bundle must say.

use crate::policy::{Danger, Expected};

/// What a bundle of NVIDIA's remote attestation service must say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NrasPolicy {
    /// Services, exactly as in `iss`.
    pub issuers: Vec<String>,
    /// How many GPUs there are: the bundle has `GPU-0` and on, and no other.
    pub gpus: u64,
    /// How many switches there are: the bundle has `SWITCH-0` and on, and no other.
    pub switches: u64,
    /// `ueid`: which devices. Each of the bundle's is one of these; no device is there twice, whatever is written here.
    pub devices: Expected<String>,
    /// `hwmodel`, such as `GH100 A01 GSP BROM`.
    pub hardware: Expected<String>,
    /// The driver of GPUs. Switches have none, and are not asked.
    pub driver: Expected<String>,
    /// VBIOS of GPUs, BIOS of switches.
    pub firmware: Expected<String>,
    /// Whether a device that can be debugged, or did not boot securely, is accepted.
    pub debug: Danger,
    /// Whether certificates whose revocation status is not "good" are accepted: on hold, or unknown.
    pub revocation: Danger,
    /// Whether a device of which the service warns is accepted.
    pub warnings: Danger,
}
