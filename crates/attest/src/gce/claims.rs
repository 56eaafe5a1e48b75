//! What genuine evidence of a GCE virtual TPM says, as values.

use serde::Serialize;

use super::certificate::InstanceInfo;
use super::evidence::GceEvidence;
use super::genuine::Genuine;
use crate::tpm::{ClockInfo, SelectedPcrs};

/// Claims of genuine evidence of a GCE virtual TPM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct GceClaims {
    /// Always `unproven`: this evidence says nothing about it.
    pub memory_encryption: &'static str,
    /// Which instance, by Google's word.
    pub instance: InstanceInfo,
    /// Name of the attestation key, in hexadecimal: what the hardware's evidence must bind, where there is any.
    pub attestation_key: String,
    /// PCR values that the quote selected, each of them and no other.
    pub pcrs: SelectedPcrs,
    /// What the quote binds, in hexadecimal and in full length.
    pub qualifying_data: String,
    /// The TPM's clock.
    pub clock: ClockInfo,
    /// The TPM's firmware.
    pub tpm_firmware: u64,
}

impl GceClaims {
    pub(crate) fn new(evidence: &GceEvidence, genuine: &Genuine) -> Self {
        let quote = evidence.quote();
        Self {
            memory_encryption: "unproven",
            instance: genuine.instance.clone(),
            attestation_key: hex::encode(evidence.public().name()),
            pcrs: genuine.pcrs.clone(),
            qualifying_data: hex::encode(quote.extra_data()),
            clock: quote.clock(),
            tpm_firmware: quote.firmware_version(),
        }
    }
}
