//! Octets of commands and answers, big-endian (TPM 2.0 Part 1, 18).

use super::TpmError;

/// Reads an answer; every departure is [`TpmError::Answer`].
pub(super) struct Reader<'a> {
    command: &'static str,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(command: &'static str, bytes: &'a [u8]) -> Self {
        Self { command, rest: bytes }
    }

    pub(super) fn take(&mut self, len: usize) -> Result<&'a [u8], TpmError> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(self.wrong())?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], TpmError> {
        let wrong = self.wrong();
        self.take(N)?.try_into().map_err(|_| wrong)
    }

    pub(super) fn u8(&mut self) -> Result<u8, TpmError> {
        Ok(u8::from_be_bytes(self.array()?))
    }

    pub(super) fn u16(&mut self) -> Result<u16, TpmError> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    pub(super) fn u32(&mut self) -> Result<u32, TpmError> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    /// A TPM2B: two octets of length, then as many octets.
    pub(super) fn sized(&mut self) -> Result<&'a [u8], TpmError> {
        let len = usize::from(self.u16()?);
        self.take(len)
    }

    /// The value must be this one.
    pub(super) fn expect(&self, holds: bool) -> Result<(), TpmError> {
        if holds { Ok(()) } else { Err(self.wrong()) }
    }

    /// Nothing may be left.
    pub(super) fn end(self) -> Result<(), TpmError> {
        self.expect(self.rest.is_empty())
    }

    pub(super) fn wrong(&self) -> TpmError {
        TpmError::Answer { command: self.command }
    }
}

/// A TPM2B around these octets, which are fewer than 65,536.
pub(super) fn sized(bytes: &[u8]) -> Vec<u8> {
    let len = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    [&len.to_be_bytes()[..], bytes].concat()
}
