//! A simulated confidential virtual machine of Azure: its hardware, its paravisor's report, its virtual TPM.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::KeyPair;
use serde_json::{Value, json};

use super::hcl;
use super::mistakes::{AkMistake, AzureMistake};
use super::tpm;
use crate::certifier::KeyKind;
use crate::error::SimError;
use crate::eventlog::EventLog;
use crate::machine::{Machine, MachineConfig};
use crate::tdx::{TdxConfig, TdxMachine, td_report};

/// Name and version of the document in which evidence is sent (spec/attest.md §13).
const FORMAT: &str = "casemate.azure-vtpm/1";

/// What is underneath, and what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HardwareConfig {
    /// SEV-SNP.
    Snp(Box<MachineConfig>),
    /// TDX.
    Tdx(Box<TdxConfig>),
}

/// Everything that a virtual machine says. Every field may be changed after [`AzureConfig::new`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AzureConfig {
    /// The hardware underneath.
    pub hardware: HardwareConfig,
    /// Whether the host offers a console.
    pub console_enabled: bool,
    /// Whether it was started with secure boot.
    pub secure_boot: bool,
    /// vmUniqueId, a UUID.
    pub vm_id: String,
    /// What the guest had bound into the hardware report.
    pub user_data: Option<[u8; 64]>,
    /// The PCRs that are quoted, ascending, with their values in the bank of SHA-256.
    pub pcrs: Vec<(u8, [u8; 32])>,
    /// What is wrong with the attestation key's certificate.
    pub ak: AkMistake,
    /// What is wrong with the rest.
    pub mistake: AzureMistake,
}

impl AzureConfig {
    /// A healthy machine without a console that booted as [`EventLog::simulated_vm`] says.
    pub fn new(hardware: HardwareConfig) -> Self {
        Self {
            hardware,
            console_enabled: false,
            secure_boot: true,
            vm_id: "5EC0DE00-0000-4000-8000-000000000001".to_owned(),
            user_data: Some([0; 64]),
            pcrs: EventLog::simulated_vm().pcrs(),
            ak: AkMistake::None,
            mistake: AzureMistake::None,
        }
    }

    /// With the PCRs in which this log ends.
    #[must_use]
    pub fn with_log(mut self, log: &EventLog) -> Self {
        self.pcrs = log.pcrs();
        self
    }
}

/// The hardware underneath, endorsed by its vendor.
pub(super) enum HardwareMachine {
    Snp(Machine),
    Tdx(TdxMachine),
}

/// A virtual machine that an [`super::AzureVendor`] endorsed.
pub struct AzureMachine {
    config: AzureConfig,
    hardware: HardwareMachine,
    ak: KeyPair,
    ek_modulus: Vec<u8>,
    ak_certificate: Vec<u8>,
    ak_issuers: Vec<Vec<u8>>,
}

impl AzureMachine {
    pub(super) fn new(
        config: AzureConfig,
        hardware: HardwareMachine,
        ak: KeyPair,
        ak_certificate: Vec<u8>,
        ak_issuers: Vec<Vec<u8>>,
    ) -> Result<Self, SimError> {
        // The endorsement key encrypts, which nothing here asks it to do: a number of its form is enough.
        let mut ek_modulus = vec![0; 256];
        aws_lc_rs::rand::fill(&mut ek_modulus).map_err(|_| SimError::Randomness)?;
        ek_modulus.iter_mut().take(1).for_each(|byte| *byte |= 0x80);
        ek_modulus.iter_mut().skip(255).for_each(|byte| *byte |= 1);
        Ok(Self { config, hardware, ak, ek_modulus, ak_certificate, ak_issuers })
    }

    /// Evidence, as a verifier takes it, with a quote that carries `qualifying_data` (a TPM takes at most 50 bytes, the
    /// format 64).
    ///
    /// # Errors
    /// [`SimError::Signing`] or [`SimError::KeyGeneration`].
    pub fn evidence(&self, qualifying_data: &[u8]) -> Result<Vec<u8>, SimError> {
        let config = &self.config;
        let runtime = hcl::runtime(config, &tpm::modulus(&self.ak)?, &self.ek_modulus);
        let report_data = hcl::report_data(&runtime, config.mistake);
        let (hcl_report, td_quote) = match &self.hardware {
            HardwareMachine::Snp(machine) => {
                (hcl::report(&machine.report(&report_data)?, false, &runtime), None)
            }
            HardwareMachine::Tdx(machine) => {
                let mut reported = report_data;
                if config.mistake == AzureMistake::OtherTdReport {
                    reported.iter_mut().take(1).for_each(|byte| *byte ^= 1);
                }
                let report = td_report(machine.config(), &reported);
                (hcl::report(&report, true, &runtime), Some(machine.quote(&report_data)?))
            }
        };
        let stranger;
        let mut signer = &self.ak;
        if config.mistake == AzureMistake::QuoteByStranger {
            stranger = KeyKind::Rsa2048.generate()?;
            signer = &stranger;
        }
        let (quote, signature) = tpm::quote(&self.ak, signer, &config.pcrs, qualifying_data, config.mistake)?;
        let pcrs: Vec<_> =
            config.pcrs.iter().map(|(index, value)| json!([index, hex::encode(value)])).collect();
        let mut document = json!({
            "format": FORMAT,
            "hcl_report": STANDARD.encode(hcl_report),
            "quote": STANDARD.encode(quote),
            "signature": STANDARD.encode(signature),
            "pcrs": pcrs,
        });
        if let (Some(members), Some(td_quote)) = (document.as_object_mut(), td_quote) {
            members.insert("td_quote".to_owned(), Value::from(STANDARD.encode(td_quote)));
        }
        Ok(document.to_string().into_bytes())
    }

    /// The SEV-SNP machine underneath, which has the VEK certificate and the revocation list; `None` on TDX, whose
    /// endorsements are the vendor's collateral.
    pub fn snp(&self) -> Option<&Machine> {
        match &self.hardware {
            HardwareMachine::Snp(machine) => Some(machine),
            HardwareMachine::Tdx(_) => None,
        }
    }

    /// The certificate of the virtual TPM's attestation key, in DER.
    pub fn ak_der(&self) -> &[u8] {
        &self.ak_certificate
    }

    /// The certificates between that and the root, from below, in DER.
    pub fn ak_issuers(&self) -> &[Vec<u8>] {
        &self.ak_issuers
    }

    /// What the machine says about itself.
    pub fn config(&self) -> &AzureConfig {
        &self.config
    }
}

impl fmt::Debug for AzureMachine {
    /// Says which machine this is; never shows a key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AzureMachine").field("config", &self.config).finish_non_exhaustive()
    }
}
