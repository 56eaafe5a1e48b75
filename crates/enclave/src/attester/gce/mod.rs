//! The virtual TPM of a Google Compute Engine instance (spec/attesters.md §10; go-tpm-tools, `client/handles.go`).
//!
//! ```text
//! NV 0x01C10000   the attestation key's certificate (RSA), DER
//! NV 0x01C10001   its template, TPMT_PUBLIC; the key is the primary key of the endorsement hierarchy that it names
//! ```
//!
//! It stands beside the hardware's own device, and is asked only where the operator wrote so. Certificate and key stay what
//! they are while the machine runs and are read once; so is the log of the boot. Each request is one quote, whose qualifying
//! data is the SHA-256 of the report data ([`casemate_protocol::statement::bound`]).

mod error;
mod message;

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use casemate_attest::Platform;
use casemate_attest::gce::GceEvidence;
use casemate_protocol::statement;

use super::hardware::{Device, Hardware, within};
use super::patience::Patience;
use super::tpm::{Primary, Quoted, QuotedError, Tpm, Transport, open, padded_certificate};
use super::{Attester, AttesterError, Brought, RawEvidence, Roots};
pub use error::GceError;
use message::Parts;

/// The attester of a virtual TPM of Google's, at the place of the system's TPM.
///
/// # Errors
/// Where there is none, or it is none of Google's.
pub fn google_vtpm(roots: &Roots) -> Result<Arc<dyn Attester>, AttesterError> {
    let roots = roots.clone();
    let device = within(DEADLINE, move || GceVtpm::open(&roots.tpm, &roots.tpm_event_log))?;
    Ok(Arc::new(Hardware::start(device)))
}

/// Only beside hardware that binds the statement itself (ATT-80): Azure's evidence has its own virtual TPM in it, and an enclave of
/// Nitro has none.
pub(crate) fn beside(hardware: Platform) -> Result<(), GceError> {
    match hardware {
        Platform::SevSnp | Platform::Tdx => Ok(()),
        found => Err(GceError::Beside { found }),
    }
}

struct GceVtpm {
    tpm: Tpm<Box<dyn Transport>>,
    key: Primary,
    certificate: Vec<u8>,
    event_log: Vec<u8>,
    patience: Patience,
}

impl GceVtpm {
    /// Reads what does not change, and quotes once: a key that is not the certified one is found out here.
    fn open(tpm: &Path, event_log: &Path) -> Result<Self, AttesterError> {
        if matches!(tpm.metadata(), Err(error) if error.kind() == ErrorKind::NotFound) {
            return Err(GceError::NoDevice { path: tpm.to_owned() }.into());
        }
        let mut tpm = Tpm::new(open(tpm)?);
        let template = tpm.nv_read(TEMPLATE, MAX_TEMPLATE)?.ok_or(GceError::NoTemplate)?;
        let padded = tpm.nv_read(CERTIFICATE, MAX_CERTIFICATE)?.ok_or(GceError::NoCertificate)?;
        let certificate = padded_certificate(&padded).map_err(|_| GceError::Certificate)?;
        let certificate = certificate.ok_or(GceError::NoCertificate)?;
        let event_log = log(event_log)?;
        let key = tpm.endorsement_primary(&template)?;
        let mut vtpm = Self { tpm, key, certificate, event_log, patience: Patience::USUAL };
        let evidence = GceEvidence::parse(&vtpm.attestation(&TRIAL)?).map_err(GceError::Form)?;
        match evidence.is_of_its_key() {
            Ok(true) => Ok(vtpm),
            Ok(false) => Err(GceError::KeyDiffers.into()),
            Err(_) => Err(GceError::Certificate.into()),
        }
    }

    fn attestation(&mut self, data: &[u8; 32]) -> Result<Vec<u8>, AttesterError> {
        let quoted = self.quote(data)?;
        let Self { key, certificate, event_log, .. } = self;
        Ok(Parts { public: &key.public, quoted: &quoted, event_log, certificate }.write())
    }

    fn quote(&mut self, data: &[u8; 32]) -> Result<Quoted, AttesterError> {
        let quoted = self.tpm.quoted(self.key.handle, data, self.patience);
        quoted.map_err(|error| match error {
            QuotedError::Attester(error) => error,
            QuotedError::Quote(error) => GceError::Quote(error).into(),
            QuotedError::Selection(error) => GceError::Selection(error).into(),
            QuotedError::Unsteady { attempts } => GceError::Unsteady { attempts }.into(),
        })
    }
}

/// A TPM without a resource manager has room for three keys, and keeps this one otherwise.
impl Drop for GceVtpm {
    fn drop(&mut self) {
        // One that answers no more has nothing to give up.
        let _ = self.tpm.flush(self.key.handle);
    }
}

impl Device for GceVtpm {
    fn platform(&self) -> Platform {
        Platform::GceVtpm
    }

    fn evidence(&mut self, report_data: &[u8; 64]) -> Result<RawEvidence, AttesterError> {
        let bound = statement::bound(Platform::GceVtpm, report_data);
        // 32 bytes on every platform with a virtual TPM.
        let data: [u8; 32] = bound.try_into().map_err(|_| AttesterError::Echo)?;
        let evidence = self.attestation(&data)?;
        Ok(RawEvidence { platform: Platform::GceVtpm, evidence, endorsements: Brought::default() })
    }
}

/// The boot's log, as the kernel has it; empty where it has none. A policy that asks for a log refuses a machine without one.
fn log(path: &Path) -> Result<Vec<u8>, AttesterError> {
    let failed = |source| AttesterError::Device { what: "read", path: path.to_owned(), source };
    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        file => file.map_err(failed)?,
    };
    let mut log = Vec::new();
    file.take(MAX_LOG + 1).read_to_end(&mut log).map_err(failed)?;
    if log.len() as u64 > MAX_LOG { Err(GceError::LogTooLong { limit: MAX_LOG }.into()) } else { Ok(log) }
}

const CERTIFICATE: u32 = 0x01c1_0000;
const TEMPLATE: u32 = 0x01c1_0001;
/// A template of RSA-2048 has 280 octets.
const MAX_TEMPLATE: u16 = 1024;
const MAX_CERTIFICATE: u16 = 8192;
/// Recorded logs have some 40 KiB; a document of 1 MiB has room for this one in base64.
const MAX_LOG: u64 = 512 * 1024;
/// No hash of anything that is said on a channel.
const TRIAL: [u8; 32] = *b"casemate: a trial, binds nothing";
/// A key takes a second or two to make again.
const DEADLINE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests;
