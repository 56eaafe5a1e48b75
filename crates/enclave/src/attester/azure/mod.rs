//! An Azure confidential VM: the virtual TPM that its paravisor keeps (spec/attest.md §13).
//!
//! ```text
//! NV 0x01400001   HCL report: the hardware's word, made at boot, for the attestation key
//! NV 0x01C101D0   the attestation key's certificate, then zeros; not on every VM
//! 0x81000003      the attestation key
//! ```
//!
//! Report, certificate and the hardware's endorsement stay what they are while the machine runs and are read once. Each
//! request is one quote, whose qualifying data is the SHA-256 of the report data ([`casemate_protocol::statement::bound`]).

mod error;
mod metadata;

use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as B64;
use casemate_attest::Platform;
use casemate_attest::azure::{FORMAT, HardwareReport, HclReport, RuntimeData};
use casemate_protocol::statement;
use serde_json::json;

use super::hardware::Device;
use super::patience::Patience;
use super::tpm::{Quoted, QuotedError, Tpm, Transport, open, padded_certificate};
use super::{AttesterError, Brought, RawEvidence};
pub use error::{AzureError, MetadataReason};
use metadata::Metadata;

/// The attester of an Azure confidential VM.
pub(crate) struct AzureVm {
    tpm: Tpm<Box<dyn Transport>>,
    hcl: Vec<u8>,
    platform: Platform,
    td_quote: Option<Vec<u8>>,
    endorsements: Brought,
    patience: Patience,
}

impl AzureVm {
    /// Reads what does not change. `metadata` is the metadata service's address.
    pub(crate) fn open(tpm: &Path, metadata: &str) -> Result<Self, AttesterError> {
        let mut machine = Self::local(tpm)?;
        let metadata = Metadata(metadata);
        match machine.platform {
            Platform::AzureVtpmTdx => {
                let td_report = machine.hcl.get(TD_REPORT).unwrap_or_default();
                machine.td_quote = Some(metadata.td_quote(td_report)?);
            }
            _ => machine.endorsements.vek = Some(metadata.vcek()?),
        }
        Ok(machine)
    }

    /// What the machine's TPM has, without what only the metadata service can add to it.
    pub(crate) fn local(tpm: &Path) -> Result<Self, AttesterError> {
        let mut tpm = Tpm::new(open(tpm)?);
        let report = tpm.nv_read(HCL_REPORT, MAX_HCL)?.ok_or(AzureError::NoReport)?;
        let hcl = HclReport::parse(&report).map_err(AzureError::Hcl)?;
        let runtime = RuntimeData::parse(hcl.runtime()).map_err(AzureError::Runtime)?;
        let key = tpm.rsa_modulus(ATTESTATION_KEY)?.ok_or(AzureError::NoKey)?;
        if key != runtime.attestation_key_modulus() {
            return Err(AzureError::KeyDiffers.into());
        }
        let ak_certificate = match tpm.nv_read(AK_CERTIFICATE, MAX_CERTIFICATE)? {
            Some(padded) => padded_certificate(&padded).map_err(|_| AzureError::Certificate)?,
            None => None,
        };
        let platform = match hcl.hardware() {
            HardwareReport::Snp(_) => Platform::AzureVtpm,
            HardwareReport::Tdx { .. } => Platform::AzureVtpmTdx,
        };
        let endorsements = Brought { vek: None, crl: None, ak_certificate };
        Ok(Self { tpm, hcl: report, platform, td_quote: None, endorsements, patience: Patience::USUAL })
    }

    /// Whether the TPM quotes, without the evidence that only the metadata service can complete.
    pub(crate) fn try_quote(&mut self) -> Result<Platform, AttesterError> {
        self.quote(&[0; 32])?;
        Ok(self.platform)
    }

    fn quote(&mut self, data: &[u8; 32]) -> Result<Quoted, AttesterError> {
        let quoted = self.tpm.quoted(ATTESTATION_KEY, data, self.patience);
        quoted.map_err(|error| match error {
            QuotedError::Attester(error) => error,
            QuotedError::Quote(error) => AzureError::Quote(error).into(),
            QuotedError::Selection(error) => AzureError::Selection(error).into(),
            QuotedError::Unsteady { attempts } => AzureError::Unsteady { attempts }.into(),
        })
    }
}

impl Device for AzureVm {
    fn platform(&self) -> Platform {
        self.platform
    }

    fn evidence(&mut self, report_data: &[u8; 64]) -> Result<RawEvidence, AttesterError> {
        let bound = statement::bound(self.platform, report_data);
        // 32 bytes on every platform with a virtual TPM.
        let data: [u8; 32] = bound.try_into().map_err(|_| AttesterError::Echo)?;
        let Quoted { quote, signature, pcrs } = self.quote(&data)?;
        let pcrs: Vec<_> = pcrs.iter().map(|(index, value)| json!([index, hex::encode(value)])).collect();
        let mut document = json!({
            "format": FORMAT,
            "hcl_report": B64.encode(&self.hcl),
            "quote": B64.encode(quote),
            "signature": B64.encode(signature),
            "pcrs": pcrs,
        });
        if let (Some(quote), Some(members)) = (&self.td_quote, document.as_object_mut()) {
            members.insert("td_quote".into(), B64.encode(quote).into());
        }
        let evidence = document.to_string().into_bytes();
        Ok(RawEvidence { platform: self.platform, evidence, endorsements: self.endorsements.clone() })
    }
}

const HCL_REPORT: u32 = 0x0140_0001;
const AK_CERTIFICATE: u32 = 0x01c1_01d0;
const ATTESTATION_KEY: u32 = 0x8100_0003;
/// Recorded indices have 2048 and 2600 bytes; the verifier reads as many.
const MAX_HCL: u16 = 8192;
const MAX_CERTIFICATE: u16 = 8192;
/// Where a TDREPORT is in an HCL report.
const TD_REPORT: std::ops::Range<usize> = 0x20..0x420;
#[cfg(test)]
mod tests {
    use super::*;
    use crate::attester::tpm::lying::{Lying, attest, digest_of_zeros};

    fn quoted(quote: Vec<u8>) -> &'static str {
        let tpm: Box<dyn Transport> = Box::new(Lying::quoting(quote));
        let mut vm = AzureVm {
            tpm: Tpm::new(tpm),
            hcl: Vec::new(),
            platform: Platform::AzureVtpm,
            td_quote: None,
            endorsements: Brought::default(),
            patience: Patience { attempts: 3, pause: std::time::Duration::ZERO },
        };
        vm.quote(&[5; 32]).err().map_or("none", |e| e.code())
    }

    #[test]
    fn a_quote_over_something_else_has_a_name() {
        let digest = digest_of_zeros();
        let right = [0, 0, 0, 1, 0, 0x0b, 3, 0xff, 0xff, 0];
        assert_eq!(quoted(attest(&right, &digest)), "none");
        // The values changed under way, each time.
        assert_eq!(quoted(attest(&right, &[9; 32])), "attester.azure.unsteady");
        // One PCR less, one more, another bank, none, two banks.
        for wrong in [
            &[0, 0, 0, 1, 0, 0x0b, 3, 0xff, 0x7f, 0][..],
            &[0, 0, 0, 1, 0, 0x0b, 3, 0xff, 0xff, 1],
            &[0, 0, 0, 1, 0, 0x0c, 3, 0xff, 0xff, 0],
            &[0, 0, 0, 0],
            &[0, 0, 0, 2, 0, 0x0b, 3, 0xff, 0xff, 0, 0, 0x0c, 3, 1, 0, 0],
        ] {
            assert_eq!(quoted(attest(wrong, &digest)), "attester.azure.selection", "{wrong:?}");
        }
        assert_eq!(quoted(attest(&right, &digest)[..100].to_vec()), "attester.azure.quote");
        assert_eq!(quoted(Vec::new()), "attester.azure.quote");
    }
}
