//! AWS Nitro Enclaves: the Nitro Security Module (AWS Nitro Enclaves NSM API, `docs/attestation_process.md` §2.1).
//!
//! ```text
//! request   {"Attestation": {"user_data": 64 bytes, "nonce": null, "public_key": null}}      CBOR
//!       or  {"Attestation": {"user_data": null, "nonce": null, "public_key": bytes}}         for AWS KMS (ATT-22)
//! answer    {"Attestation": {"document": bytes}}  or  {"Error": text}
//! ```
//!
//! The report data is the document's `user_data`, which is what the verifier compares.

#[allow(unsafe_code)]
mod device;

use std::fs::File;
use std::io;
use std::path::Path;

use casemate_attest::Platform;
use minicbor::decode::{Decoder, Error as CborError};

use super::hardware::Device;
use super::patience::{Patience, is_busy};
use super::{AttesterError, Brought, RawEvidence};
use device::NsmDevice;

/// Why the Nitro Security Module gives no document.
#[derive(Debug, thiserror::Error)]
pub enum NsmError {
    /// The module answers with an error (ATT-21).
    #[error("the Nitro Security Module refuses: {found:?}")]
    Refused {
        /// Its word, as far as it is printable.
        found: String,
    },
    /// The answer is not one of the two above (ATT-20).
    #[error("the Nitro Security Module's answer is not understood at byte {at}")]
    Answer {
        /// Offset in the answer.
        at: usize,
    },
    /// The answer has another length than it can have (ATT-20).
    #[error("the Nitro Security Module's answer has {found} bytes, which is not possible")]
    Size {
        /// Bytes that the kernel states.
        found: usize,
    },
    /// The kernel refuses.
    #[error("the kernel refuses the Nitro Security Module: {0}")]
    Kernel(#[source] io::Error),
}

impl NsmError {
    /// The stable code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Refused { .. } => "attester.nsm.refused",
            Self::Answer { .. } => "attester.nsm.answer",
            Self::Size { .. } => "attester.nsm.size",
            Self::Kernel(_) => "attester.nsm.kernel",
        }
    }
}

/// A module: one request, one answer.
pub(crate) trait Module: Send + 'static {
    /// The answer's length, as the module states it.
    fn call(&mut self, request: &[u8], answer: &mut [u8]) -> io::Result<usize>;
}

/// The attester of a Nitro enclave.
pub(crate) struct Nsm<M> {
    module: M,
    patience: Patience,
}

impl Nsm<NsmDevice> {
    pub(crate) fn open(path: &Path) -> Result<Self, AttesterError> {
        let file = File::options()
            .read(true)
            .write(true)
            .open(path)
            .map_err(|source| AttesterError::Device { what: "open", path: path.to_owned(), source })?;
        Ok(Self::with(NsmDevice(file), Patience::USUAL))
    }
}

impl<M: Module> Nsm<M> {
    pub(crate) fn with(module: M, patience: Patience) -> Self {
        Self { module, patience }
    }
}

impl<M: Module> Device for Nsm<M> {
    fn platform(&self) -> Platform {
        Platform::Nitro
    }

    fn evidence(&mut self, report_data: &[u8; 64]) -> Result<RawEvidence, AttesterError> {
        let evidence = self.ask(&request(report_data))?;
        Ok(RawEvidence { platform: Platform::Nitro, evidence, endorsements: Brought::default() })
    }

    fn recipient(&mut self, public_key: &[u8]) -> Result<Vec<u8>, AttesterError> {
        self.ask(&recipient_request(public_key)?)
    }
}

impl<M: Module> Nsm<M> {
    /// The document of one answer.
    fn ask(&mut self, request: &[u8]) -> Result<Vec<u8>, AttesterError> {
        let mut answer = vec![0; MAX_ANSWER];
        for pause in self.patience.pauses() {
            match self.module.call(request, &mut answer) {
                Ok(len) => {
                    let found = answer.get(..len).filter(|found| !found.is_empty());
                    return Ok(document(found.ok_or(NsmError::Size { found: len })?)?);
                }
                Err(error) if is_busy(&error) => std::thread::sleep(pause),
                Err(error) => return Err(NsmError::Kernel(error).into()),
            }
        }
        Err(AttesterError::Busy { what: "the Nitro Security Module", attempts: self.patience.attempts })
    }
}

/// The request that names a recipient. The module takes a key of at most 1024 bytes, and one of RSA is longer than 255.
fn recipient_request(public_key: &[u8]) -> Result<Vec<u8>, AttesterError> {
    let length = u16::try_from(public_key.len()).map_err(|_| AttesterError::Echo)?;
    Ok([
        b"\xa1\x6bAttestation\xa3\x69user_data\xf6\x65nonce\xf6\x6apublic_key\x59".as_slice(),
        &length.to_be_bytes(),
        public_key,
    ]
    .concat())
}

/// The request for evidence, whose only variable part has a fixed length.
fn request(report_data: &[u8; 64]) -> Vec<u8> {
    [
        b"\xa1\x6bAttestation\xa3\x69user_data\x58\x40".as_slice(),
        report_data,
        b"\x65nonce\xf6\x6apublic_key\xf6",
    ]
    .concat()
}

/// The document of an answer: maps of one, definite lengths, and nothing behind.
fn document(answer: &[u8]) -> Result<Vec<u8>, NsmError> {
    let mut cbor = Decoder::new(answer);
    let map_of_one = |cbor: &mut Decoder<'_>| {
        let at = cbor.position();
        if cbor.map().ok().flatten() == Some(1) { Ok(()) } else { Err(NsmError::Answer { at }) }
    };
    map_of_one(&mut cbor)?;
    let kind = cbor.str().map_err(malformed(&cbor))?;
    let found = match kind {
        "Attestation" => {
            map_of_one(&mut cbor)?;
            if cbor.str().map_err(malformed(&cbor))? != "document" {
                return Err(NsmError::Answer { at: cbor.position() });
            }
            Ok(cbor.bytes().map_err(malformed(&cbor))?.to_vec())
        }
        "Error" => {
            let word = cbor.str().map_err(malformed(&cbor))?;
            let plain = word.chars().map(|c| if c.is_ascii_graphic() { c } else { '?' });
            Err(NsmError::Refused { found: plain.take(MAX_WORD).collect() })
        }
        _ => return Err(NsmError::Answer { at: 0 }),
    };
    if cbor.position() != answer.len() {
        return Err(NsmError::Answer { at: cbor.position() });
    }
    found
}

fn malformed(cbor: &Decoder<'_>) -> impl FnOnce(CborError) -> NsmError + use<> {
    let at = cbor.position();
    move |_| NsmError::Answer { at }
}

/// The driver's own room for an answer (`NSM_RESPONSE_MAX_SIZE`).
const MAX_ANSWER: usize = 0x3000;
/// An error's name has about 20 characters.
const MAX_WORD: usize = 64;

#[cfg(test)]
mod tests;
