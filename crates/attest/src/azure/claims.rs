//! What genuine Azure evidence says, as values.

use serde::Serialize;

use super::document::AzureEvidence;
use super::genuine::{Genuine, Hardware};
use super::runtime::VmId;
use crate::crypto;
use crate::snp::SnpClaims;
use crate::tdx::TdxClaims;
use crate::tpm::{ClockInfo, SelectedPcrs};

/// Claims of genuine Azure evidence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct AzureClaims {
    /// Which virtual machine.
    pub vm_id: VmId,
    /// Whether it was started with secure boot.
    pub secure_boot: bool,
    /// Whether the host offers a console.
    pub console_enabled: bool,
    /// Whether there is a virtual TPM.
    pub tpm_enabled: bool,
    /// What the guest had bound into the hardware report, in hexadecimal; none in early forms.
    pub user_data: Option<String>,
    /// SHA-256 of the attestation key's modulus.
    pub attestation_key: String,
    /// PCR values that the quote selected, each of them and no other.
    pub pcrs: SelectedPcrs,
    /// What the quote binds, in hexadecimal and in full length.
    pub qualifying_data: String,
    /// The TPM's clock.
    pub clock: ClockInfo,
    /// The TPM's firmware.
    pub tpm_firmware: u64,
    /// Of the hardware underneath.
    #[serde(flatten)]
    pub hardware: HardwareClaims,
}

/// Claims of the hardware underneath, under the platform's name in snake case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HardwareClaims {
    /// Of the SEV-SNP report.
    SevSnp(Box<SnpClaims>),
    /// Of the TD quote.
    Tdx(Box<TdxClaims>),
}

impl AzureClaims {
    pub(crate) fn new(evidence: &AzureEvidence, genuine: &Genuine) -> Self {
        let (quote, runtime) = (&evidence.quote, &genuine.runtime);
        Self {
            vm_id: runtime.vm_id,
            secure_boot: runtime.secure_boot,
            console_enabled: runtime.console_enabled,
            tpm_enabled: runtime.tpm_enabled,
            user_data: runtime.user_data.as_ref().map(|data| hex::encode(data.as_slice())),
            attestation_key: hex::encode(crypto::sha256(runtime.attestation_key.modulus())),
            pcrs: genuine.pcrs.clone(),
            qualifying_data: hex::encode(quote.extra_data()),
            clock: quote.clock(),
            tpm_firmware: quote.firmware_version(),
            hardware: match &genuine.hardware {
                Hardware::Snp { report, genuine } => {
                    HardwareClaims::SevSnp(Box::new(SnpClaims::new(report, genuine)))
                }
                Hardware::Tdx { quote, genuine } => {
                    HardwareClaims::Tdx(Box::new(TdxClaims::new(quote, genuine)))
                }
            },
        }
    }
}
