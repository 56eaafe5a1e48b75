//! An Azure confidential VM: the virtual TPM that its paravisor keeps (spec/attest.md §13).
//!
//! ```text
//! NV 0x01400001   HCL report: the hardware's word for the attestation key; a reading of its beginning makes it anew
//! NV 0x01400002   user data, 64 octets that the report then binds; the guest makes the index and writes it
//! NV 0x01C101D0   the attestation key's certificate, then zeros; not on every VM
//! 0x81000003      the attestation key
//! ```
//!
//! Certificate and the hardware's endorsement stay what they are while the machine runs and are read once. Each request is one
//! quote, whose qualifying data is the SHA-256 of the report data ([`casemate_protocol::statement::bound`]), and one hardware
//! report with the same in its user data: a report of the boot would say nothing of the machine as it is now. The paravisor
//! makes a report every two seconds at most, so that a request may have to wait as long.

mod error;
mod metadata;

use std::path::Path;
use std::time::Duration;

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

/// How old the hardware report in the evidence of an Azure confidential VM is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AzureReport {
    /// Made for each exchange, which it binds.
    Exchange,
    /// The boot's: somebody wrote down why.
    Boot,
}

/// The attester of an Azure confidential VM.
pub(crate) struct AzureVm {
    tpm: Tpm<Box<dyn Transport>>,
    /// The report that was there at the start, with the TD quote over it where the machine is a TD.
    boot: HardwareWord,
    age: AzureReport,
    /// The address of the metadata service; `None` where it is not asked.
    metadata: Option<String>,
    platform: Platform,
    endorsements: Brought,
    patience: Patience,
    pace: Pace,
}

/// What the hardware says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct HardwareWord {
    hcl: Vec<u8>,
    td_quote: Option<Vec<u8>>,
}

/// How often, and after how long, a report is read again that does not show yet what was written for it.
#[derive(Debug, Clone, Copy)]
struct Pace {
    attempts: u32,
    pause: Duration,
}

impl AzureVm {
    /// Reads what does not change. `metadata` is the metadata service's address.
    pub(crate) fn open(tpm: &Path, metadata: &str, age: AzureReport) -> Result<Self, AttesterError> {
        let mut machine = Self::local(tpm, age)?;
        machine.metadata = Some(metadata.to_owned());
        machine.boot.td_quote = machine.td_quote(&machine.boot.hcl)?;
        if machine.platform == Platform::AzureVtpm {
            machine.endorsements.vek = Some(Metadata(metadata).vcek()?);
        }
        Ok(machine)
    }

    /// What the machine's TPM has, without what only the metadata service can add to it.
    pub(crate) fn local(tpm: &Path, age: AzureReport) -> Result<Self, AttesterError> {
        let mut tpm = Tpm::new(open(tpm)?);
        let report = read_report(&mut tpm)?;
        let (hcl, runtime) = parse_report(&report)?;
        let key = tpm.rsa_modulus(ATTESTATION_KEY)?.ok_or(AzureError::NoKey)?;
        if key != runtime.attestation_key_modulus() {
            return Err(AzureError::KeyDiffers.into());
        }
        let ak_certificate = match tpm.nv_read(AK_CERTIFICATE, MAX_CERTIFICATE)? {
            Some(padded) => padded_certificate(&padded).map_err(|_| AzureError::Certificate)?,
            None => None,
        };
        let platform = platform_of(&hcl);
        let endorsements = Brought { vek: None, crl: None, ak_certificate };
        let boot = HardwareWord { hcl: report, td_quote: None };
        let (patience, pace) = (Patience::USUAL, Pace::USUAL);
        Ok(Self { tpm, boot, age, metadata: None, platform, endorsements, patience, pace })
    }

    /// Whether the TPM quotes and the hardware makes a report for these bytes, without what only the metadata service can
    /// add.
    pub(crate) fn attempt(&mut self, data: &[u8; 32]) -> Result<Platform, AttesterError> {
        self.word(data)?;
        self.quote(data)?;
        Ok(self.platform)
    }

    /// The hardware's word for this exchange, or the boot's.
    fn word(&mut self, data: &[u8; 32]) -> Result<HardwareWord, AttesterError> {
        match self.age {
            AzureReport::Boot => Ok(self.boot.clone()),
            AzureReport::Exchange => {
                let mut user_data = [0; 64];
                user_data[..data.len()].copy_from_slice(data);
                let hcl = self.fresh(&user_data)?;
                let td_quote = self.td_quote(&hcl)?;
                Ok(HardwareWord { hcl, td_quote })
            }
        }
    }

    /// A hardware report with these octets as its user data (ATT-46, ATT-47).
    fn fresh(&mut self, user_data: &[u8; 64]) -> Result<Vec<u8>, AttesterError> {
        self.index()?;
        let attempts = self.pace.attempts;
        let mut last = AzureError::Stale { attempts, found: None };
        for attempt in 0..attempts {
            if attempt > 0 {
                std::thread::sleep(self.pace.pause);
            }
            // Each time anew: another program may have written the index for a report of its own.
            self.tpm.nv_write(USER_DATA, user_data).map_err(user_data_failed)?;
            let report = read_report(&mut self.tpm)?;
            // One that was made anew while another program read it is not whole: it is read again.
            let (hcl, runtime) = match parse_report(&report) {
                Ok(parsed) => parsed,
                Err(error) => {
                    last = error;
                    continue;
                }
            };
            let found = runtime.user_data.as_ref().map(|data| data.to_vec());
            let whole = hcl.bound() == hcl.hardware().report_data();
            if whole && found.as_deref() == Some(user_data.as_slice()) {
                self.same_machine(&hcl, &runtime)?;
                return Ok(report);
            }
            last = AzureError::Stale { attempts, found };
        }
        Err(last.into())
    }

    /// The index is the guest's to make.
    fn index(&mut self) -> Result<(), AttesterError> {
        match self.tpm.nv_size(USER_DATA).map_err(user_data_failed)? {
            Some(USER_DATA_LEN) => Ok(()),
            Some(found) => Err(AzureError::UserDataSize { found }.into()),
            None => self.tpm.nv_define(USER_DATA, USER_DATA_LEN).map_err(user_data_failed),
        }
    }

    /// ATT-42, for a report that was made since.
    fn same_machine(&self, hcl: &HclReport, runtime: &RuntimeData) -> Result<(), AttesterError> {
        let (_, first) = parse_report(&self.boot.hcl)?;
        let same_key = runtime.attestation_key_modulus() == first.attestation_key_modulus();
        if !same_key || platform_of(hcl) != self.platform {
            return Err(AzureError::KeyDiffers.into());
        }
        Ok(())
    }

    /// The quote over a report's TDREPORT, where the machine is a TD and somebody may be asked for one.
    fn td_quote(&self, hcl: &[u8]) -> Result<Option<Vec<u8>>, AttesterError> {
        match (self.platform, &self.metadata) {
            (Platform::AzureVtpmTdx, Some(metadata)) => {
                let td_report = hcl.get(TD_REPORT).unwrap_or_default();
                Ok(Some(Metadata(metadata).td_quote(td_report)?))
            }
            _ => Ok(None),
        }
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
        let HardwareWord { hcl, td_quote } = self.word(&data)?;
        let Quoted { quote, signature, pcrs } = self.quote(&data)?;
        let pcrs: Vec<_> = pcrs.iter().map(|(index, value)| json!([index, hex::encode(value)])).collect();
        let mut document = json!({
            "format": FORMAT,
            "hcl_report": B64.encode(hcl),
            "quote": B64.encode(quote),
            "signature": B64.encode(signature),
            "pcrs": pcrs,
        });
        if let (Some(quote), Some(members)) = (td_quote, document.as_object_mut()) {
            members.insert("td_quote".into(), B64.encode(quote).into());
        }
        let evidence = document.to_string().into_bytes();
        Ok(RawEvidence { platform: self.platform, evidence, endorsements: self.endorsements.clone() })
    }
}

impl Pace {
    /// 10 seconds: firmware makes a report every two seconds at most, and another program may have taken a turn or two.
    const USUAL: Self = Self { attempts: 21, pause: Duration::from_millis(500) };
}

fn read_report(tpm: &mut Tpm<Box<dyn Transport>>) -> Result<Vec<u8>, AttesterError> {
    Ok(tpm.nv_read(HCL_REPORT, MAX_HCL)?.ok_or(AzureError::NoReport)?)
}

fn parse_report(report: &[u8]) -> Result<(HclReport, RuntimeData), AzureError> {
    let hcl = HclReport::parse(report).map_err(AzureError::Hcl)?;
    let runtime = RuntimeData::parse(hcl.runtime()).map_err(AzureError::Runtime)?;
    Ok((hcl, runtime))
}

fn platform_of(hcl: &HclReport) -> Platform {
    match hcl.hardware() {
        HardwareReport::Snp(_) => Platform::AzureVtpm,
        HardwareReport::Tdx { .. } => Platform::AzureVtpmTdx,
    }
}

fn user_data_failed(error: AttesterError) -> AttesterError {
    AzureError::UserData(Box::new(error)).into()
}

const HCL_REPORT: u32 = 0x0140_0001;
const USER_DATA: u32 = 0x0140_0002;
/// What the paravisor reads.
const USER_DATA_LEN: u16 = 64;
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
            boot: HardwareWord::default(),
            age: AzureReport::Exchange,
            metadata: None,
            platform: Platform::AzureVtpm,
            endorsements: Brought::default(),
            patience: Patience { attempts: 3, pause: Duration::ZERO },
            pace: Pace { attempts: 3, pause: Duration::ZERO },
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
