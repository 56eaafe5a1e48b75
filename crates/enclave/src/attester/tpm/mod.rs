//! A small TPM 2.0 client: the commands that attestation needs, over a device or a socket (TPM 2.0 Library, Parts 1 to 3).
//!
//! ```text
//! command   tag 2, size 4, code 4, handles, with a session: size 4 and the authorization, parameters
//! answer    tag 2, size 4, code 4, with a session: size 4, parameters, the authorization; without one: parameters
//! ```
//!
//! The only authorization is an empty password: nothing here is secret. An answer is read to its last octet.

mod error;
#[cfg(test)]
pub(crate) mod lying;
mod quoted;
mod transport;
mod wire;

use std::io::{Read, Write};

use super::AttesterError;
use super::patience::Patience;
pub use error::TpmError;
pub(crate) use quoted::{Quoted, QuotedError};
pub(crate) use transport::{Transport, open, padded_certificate};
use wire::{Reader, sized};

/// A TPM behind a device or a socket.
pub struct Tpm<T> {
    transport: T,
    patience: Patience,
}

/// Whether a command carries the empty password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authorization {
    /// No.
    None,
    /// Yes, for its first handle.
    EmptyPassword,
}

/// What an NV index is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct NvPublic {
    attributes: u32,
    size: u16,
}

/// A primary key, as long as the transport is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Primary {
    /// Its transient handle.
    pub handle: u32,
    /// TPMT_PUBLIC.
    pub public: Vec<u8>,
}

/// A quote with its signature, as the TPM gave them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedQuote {
    /// TPMS_ATTEST.
    pub quote: Vec<u8>,
    /// TPMT_SIGNATURE.
    pub signature: Vec<u8>,
}

impl<T: Read + Write> Tpm<T> {
    /// A client over this transport.
    pub fn new(transport: T) -> Self {
        Self { transport, patience: Patience::USUAL }
    }

    /// Sends a command and gives the answer's handles and parameters, without the authorization.
    ///
    /// # Errors
    /// What the system or the TPM says, by name; an answer that is not one.
    pub fn command(
        &mut self,
        name: &'static str,
        code: u32,
        handles: &[u32],
        authorization: Authorization,
        parameters: &[u8],
    ) -> Result<Vec<u8>, AttesterError> {
        let tag = match authorization {
            Authorization::None => NO_SESSIONS,
            Authorization::EmptyPassword => SESSIONS,
        };
        let handles: Vec<u8> = handles.iter().flat_map(|handle| handle.to_be_bytes()).collect();
        let session: &[u8] = match authorization {
            Authorization::None => &[],
            Authorization::EmptyPassword => &EMPTY_PASSWORD,
        };
        let body = [&handles[..], session, parameters].concat();
        let size = u32::try_from(body.len() + HEADER).map_err(|_| TpmError::Answer { command: name })?;
        let command = [&tag.to_be_bytes()[..], &size.to_be_bytes(), &code.to_be_bytes(), &body].concat();
        for pause in self.patience.pauses() {
            let answer = self.exchange(name, &command)?;
            let mut reader = Reader::new(name, &answer);
            let (found_tag, _size, rc) = (reader.u16()?, reader.u32()?, reader.u32()?);
            let rest = reader.take(answer.len() - HEADER)?;
            match rc {
                0 if found_tag == tag => return Ok(rest.to_vec()),
                0 => return Err(TpmError::Answer { command: name }.into()),
                rc if AGAIN.contains(&rc) => std::thread::sleep(pause),
                rc => return Err(TpmError::Refused { command: name, rc }.into()),
            }
        }
        Err(AttesterError::Busy { what: "the TPM", attempts: self.patience.attempts })
    }

    /// One command, one answer of exactly the length that it states.
    fn exchange(&mut self, command: &'static str, bytes: &[u8]) -> Result<Vec<u8>, TpmError> {
        let broken = |source| TpmError::Transport { command, source };
        self.transport.write_all(bytes).and_then(|()| self.transport.flush()).map_err(broken)?;
        let mut answer = Vec::new();
        let mut room = [0; MAX_ANSWER];
        loop {
            // The kernel gives an answer whole to whoever has room for it; a socket gives it in parts.
            let len = self.transport.read(&mut room).map_err(broken)?;
            answer.extend_from_slice(room.get(..len).unwrap_or_default());
            let stated = answer.get(2..6).and_then(|size| size.try_into().ok()).map(u32::from_be_bytes);
            match stated.map(|size| size as usize) {
                Some(size) if size == answer.len() && size >= HEADER => return Ok(answer),
                Some(size) if !(HEADER..=MAX_ANSWER).contains(&size) || size < answer.len() => break,
                _ if len == 0 => break,
                _ => {}
            }
        }
        Err(TpmError::Answer { command })
    }

    /// Parameters of an answer with a session: their length, they, and one authorization of the empty password.
    fn authorized(
        &mut self,
        name: &'static str,
        code: u32,
        handles: &[u32],
        parameters: &[u8],
    ) -> Result<Vec<u8>, AttesterError> {
        let answer = self.command(name, code, handles, Authorization::EmptyPassword, parameters)?;
        Ok(parameters_of(Reader::new(name, &answer))?.to_vec())
    }

    /// The primary key of the endorsement hierarchy that this template (TPMT_PUBLIC) names: the same one each time, from the
    /// hierarchy's seed.
    ///
    /// # Errors
    /// What the TPM says.
    pub fn endorsement_primary(&mut self, template: &[u8]) -> Result<Primary, AttesterError> {
        let name = "TPM2_CreatePrimary";
        // TPM2B_SENSITIVE_CREATE with neither password nor data; the template; no outside information; no PCRs.
        let parameters = [&[0, 4, 0, 0, 0, 0][..], &sized(template), &[0, 0], &[0; 4]].concat();
        let answer =
            self.command(name, 0x0000_0131, &[ENDORSEMENT], Authorization::EmptyPassword, &parameters)?;
        let mut reader = Reader::new(name, &answer);
        let handle = reader.u32()?;
        let mut parts = Reader::new(name, parameters_of(reader)?);
        let public = parts.sized()?.to_vec();
        let (_creation_data, _creation_hash) = (parts.sized()?, parts.sized()?);
        let (_ticket, _hierarchy, _digest) = (parts.u16()?, parts.u32()?, parts.sized()?);
        let _name = parts.sized()?;
        parts.end()?;
        Ok(Primary { handle, public })
    }

    /// The whole content of an NV index; `None` where the TPM has no such index.
    ///
    /// # Errors
    /// An index that is longer than `limit` or may not be read with an empty password, and what the TPM says.
    pub fn nv_read(&mut self, index: u32, limit: u16) -> Result<Option<Vec<u8>>, AttesterError> {
        let public = match self.nv_public(index) {
            Err(AttesterError::Tpm(error)) if error.is_no_such_handle() => return Ok(None),
            public => public?,
        };
        if public.size > limit {
            return Err(TpmError::NvSize { index, found: public.size }.into());
        }
        if public.attributes & NV_WRITTEN == 0 {
            return Err(TpmError::NvUnwritten { index }.into());
        }
        let reader = match public.attributes {
            attributes if attributes & NV_OWNER_READ != 0 => OWNER,
            attributes if attributes & NV_AUTH_READ != 0 => index,
            _ => return Err(TpmError::NvUnreadable { index }.into()),
        };
        let mut content = Vec::new();
        while content.len() < usize::from(public.size) {
            let offset = u16::try_from(content.len()).map_err(|_| TpmError::Answer { command: NV_READ })?;
            let len = (public.size - offset).min(NV_CHUNK);
            let parameters = [len.to_be_bytes(), offset.to_be_bytes()].concat();
            let answer = self.authorized(NV_READ, 0x0000_014e, &[reader, index], &parameters)?;
            let mut parts = Reader::new(NV_READ, &answer);
            let part = parts.sized()?;
            parts.expect(part.len() == usize::from(len))?;
            parts.end()?;
            content.extend_from_slice(part);
        }
        Ok(Some(content))
    }

    /// Defines an ordinary NV index of this size, which the owner and the index's own authorization, both with an empty
    /// password, may write and read.
    ///
    /// # Errors
    /// What the TPM says.
    pub fn nv_define(&mut self, index: u32, size: u16) -> Result<(), AttesterError> {
        let name = "TPM2_NV_DefineSpace";
        let attributes = NV_OWNER_WRITE | NV_AUTH_WRITE | NV_OWNER_READ | NV_AUTH_READ | NV_NO_DA;
        let public = [
            &index.to_be_bytes()[..],
            &ALG_SHA256.to_be_bytes(),
            &attributes.to_be_bytes(),
            &[0, 0], // no policy
            &size.to_be_bytes(),
        ]
        .concat();
        let parameters = [&[0, 0][..], &sized(&public)].concat();
        let answer = self.authorized(name, 0x0000_012a, &[OWNER], &parameters)?;
        Ok(Reader::new(name, &answer).end()?)
    }

    /// The size of an NV index; `None` where the TPM has no such index.
    ///
    /// # Errors
    /// What the TPM says.
    pub fn nv_size(&mut self, index: u32) -> Result<Option<u16>, AttesterError> {
        match self.nv_public(index) {
            Err(AttesterError::Tpm(error)) if error.is_no_such_handle() => Ok(None),
            public => Ok(Some(public?.size)),
        }
    }

    /// Writes the beginning of an NV index, at most as much as one command holds.
    ///
    /// # Errors
    /// An index that may not be written with an empty password, and what the TPM says.
    pub fn nv_write(&mut self, index: u32, content: &[u8]) -> Result<(), AttesterError> {
        let name = "TPM2_NV_Write";
        let writer = match self.nv_public(index)?.attributes {
            attributes if attributes & NV_OWNER_WRITE != 0 => OWNER,
            attributes if attributes & NV_AUTH_WRITE != 0 => index,
            _ => return Err(TpmError::NvUnwritable { index }.into()),
        };
        let parameters = [&sized(content)[..], &[0, 0]].concat();
        let answer = self.authorized(name, 0x0000_0137, &[writer, index], &parameters)?;
        Ok(Reader::new(name, &answer).end()?)
    }

    fn nv_public(&mut self, index: u32) -> Result<NvPublic, AttesterError> {
        let name = "TPM2_NV_ReadPublic";
        let answer = self.command(name, 0x0000_0169, &[index], Authorization::None, &[])?;
        let mut reader = Reader::new(name, &answer);
        let mut public = Reader::new(name, reader.sized()?);
        let _name = reader.sized()?;
        reader.end()?;
        let (found, _hash, attributes) = (public.u32()?, public.u16()?, public.u32()?);
        let _policy = public.sized()?;
        let size = public.u16()?;
        public.expect(found == index)?;
        public.end()?;
        Ok(NvPublic { attributes, size })
    }

    /// The modulus of the RSA key at a persistent handle, as the TPM states it; `None` where nothing is there.
    ///
    /// # Errors
    /// A key of another kind, and what the TPM says.
    pub fn rsa_modulus(&mut self, handle: u32) -> Result<Option<Vec<u8>>, AttesterError> {
        let name = "TPM2_ReadPublic";
        let answer = match self.command(name, 0x0000_0173, &[handle], Authorization::None, &[]) {
            Err(AttesterError::Tpm(error)) if error.is_no_such_handle() => return Ok(None),
            answer => answer?,
        };
        let mut reader = Reader::new(name, &answer);
        let mut public = Reader::new(name, reader.sized()?);
        let (_name, _qualified) = (reader.sized()?, reader.sized()?);
        reader.end()?;
        // TPMT_PUBLIC (Part 2, 12.2.4), of which only the modulus is used: what kind of key it is, is the verifier's matter.
        let (kind, _hash, _attributes) = (public.u16()?, public.u16()?, public.u32()?);
        if kind != ALG_RSA {
            return Err(TpmError::NotRsa { handle }.into());
        }
        let _policy = public.sized()?;
        if public.u16()? != ALG_NULL {
            let (_bits, _mode) = (public.u16()?, public.u16()?);
        }
        if public.u16()? != ALG_NULL {
            let _hash = public.u16()?;
        }
        let (_bits, _exponent) = (public.u16()?, public.u32()?);
        let modulus = public.sized()?.to_vec();
        public.end()?;
        Ok(Some(modulus))
    }

    /// Gives up what is at a transient handle.
    ///
    /// # Errors
    /// What the TPM says.
    pub fn flush(&mut self, handle: u32) -> Result<(), AttesterError> {
        let name = "TPM2_FlushContext";
        let answer = self.command(name, 0x0000_0165, &[], Authorization::None, &handle.to_be_bytes())?;
        Ok(Reader::new(name, &answer).end()?)
    }

    /// A quote by the key at `handle` over exactly these SHA-256 PCRs, with this qualifying data: RSASSA with SHA-256.
    ///
    /// # Errors
    /// What the TPM says.
    pub fn quote(&mut self, handle: u32, data: &[u8; 32], pcrs: &[u8]) -> Result<SignedQuote, AttesterError> {
        let name = "TPM2_Quote";
        let scheme = [ALG_RSASSA.to_be_bytes(), ALG_SHA256.to_be_bytes()].concat();
        let parameters = [sized(data), scheme, selection(pcrs)].concat();
        let answer = self.authorized(name, 0x0000_0158, &[handle], &parameters)?;
        let mut reader = Reader::new(name, &answer);
        let quote = reader.sized()?.to_vec();
        let head = [reader.u16()?, reader.u16()?];
        reader.expect(head == [ALG_RSASSA, ALG_SHA256])?;
        let raw = reader.sized()?;
        let signature = [scheme_octets(head), sized(raw)].concat();
        reader.end()?;
        Ok(SignedQuote { quote, signature })
    }

    /// The values of these SHA-256 PCRs, in their order. A TPM gives at most eight at a time.
    ///
    /// # Errors
    /// A TPM that gives others than were asked for, and what it says.
    pub fn pcr_values(&mut self, pcrs: &[u8]) -> Result<Vec<(u8, [u8; 32])>, AttesterError> {
        let name = "TPM2_PCR_Read";
        let mut values = Vec::new();
        for some in pcrs.chunks(8) {
            let answer = self.command(name, 0x0000_017e, &[], Authorization::None, &selection(some))?;
            let mut reader = Reader::new(name, &answer);
            let _update_counter = reader.u32()?;
            let asked = selection(some);
            let found = reader.take(asked.len())?;
            reader.expect(found == asked)?;
            let count = reader.u32()? as usize;
            reader.expect(count == some.len())?;
            for &index in some {
                let wrong = reader.wrong();
                values.push((index, reader.sized()?.try_into().map_err(|_| wrong)?));
            }
            reader.end()?;
        }
        Ok(values)
    }
}

/// The parameters of an answer with a session, behind which is one authorization of the empty password and nothing else.
fn parameters_of(mut reader: Reader<'_>) -> Result<&[u8], TpmError> {
    let len = reader.u32()? as usize;
    let parameters = reader.take(len)?;
    let (nonce, _attributes, hmac) = (reader.sized()?, reader.u8()?, reader.sized()?);
    reader.expect(nonce.is_empty() && hmac.is_empty())?;
    reader.end()?;
    Ok(parameters)
}

/// TPML_PCR_SELECTION of one bank, SHA-256, with three octets.
fn selection(pcrs: &[u8]) -> Vec<u8> {
    let bits = pcrs.iter().fold(0_u32, |bits, &index| bits | 1_u32.checked_shl(index.into()).unwrap_or(0));
    let [low, middle, high, _] = bits.to_le_bytes();
    let [hash_high, hash_low] = ALG_SHA256.to_be_bytes();
    vec![0, 0, 0, 1, hash_high, hash_low, 3, low, middle, high]
}

fn scheme_octets([scheme, hash]: [u16; 2]) -> Vec<u8> {
    [scheme.to_be_bytes(), hash.to_be_bytes()].concat()
}

const NV_READ: &str = "TPM2_NV_Read";
/// tag, size, code.
const HEADER: usize = 10;
/// The kernel's buffer (`TPM_BUFSIZE`).
const MAX_ANSWER: usize = 4096;
const NO_SESSIONS: u16 = 0x8001;
const SESSIONS: u16 = 0x8002;
/// Size 9; TPM_RS_PW; no nonce; no attributes; no password.
const EMPTY_PASSWORD: [u8; 13] = [0, 0, 0, 9, 0x40, 0, 0, 9, 0, 0, 0, 0, 0];
/// TPM_RH_OWNER.
const OWNER: u32 = 0x4000_0001;
/// TPM_RH_ENDORSEMENT.
const ENDORSEMENT: u32 = 0x4000_000b;
/// TPMA_NV_OWNERWRITE, TPMA_NV_AUTHWRITE, TPMA_NV_OWNERREAD, TPMA_NV_AUTHREAD, TPMA_NV_NO_DA, TPMA_NV_WRITTEN.
const NV_OWNER_WRITE: u32 = 1 << 1;
const NV_AUTH_WRITE: u32 = 1 << 2;
const NV_OWNER_READ: u32 = 1 << 17;
const NV_AUTH_READ: u32 = 1 << 18;
const NV_NO_DA: u32 = 1 << 25;
const NV_WRITTEN: u32 = 1 << 29;
/// Every TPM reads as many octets of an index at once; the PC Client profile demands twice as many.
const NV_CHUNK: u16 = 512;
const ALG_RSA: u16 = 0x0001;
const ALG_SHA256: u16 = 0x000b;
const ALG_NULL: u16 = 0x0010;
const ALG_RSASSA: u16 = 0x0014;
/// TPM_RC_YIELDED, TESTING, NV_RATE, RETRY: the same command may be sent again (Part 2, 6.6.3).
const AGAIN: [u32; 4] = [0x908, 0x90a, 0x920, 0x922];

#[cfg(test)]
mod tests;
