//! A quote with the values that it is over. Registers may change between the two: then both are made again.

use std::io::{Read, Write};

use casemate_attest::tpm::{PcrValues, Quote, QuoteError, QuoteRejection};

use super::Tpm;
use crate::attester::AttesterError;
use crate::attester::patience::Patience;

/// What firmware, boot loader, kernel and initial RAM disk are measured into. 16 is for debugging, 17 to 22 belong to
/// launches of another kind, 23 is an application's.
pub(crate) const PCRS: [u8; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

/// A quote over [`PCRS`], and their values.
pub(crate) struct Quoted {
    /// TPMS_ATTEST.
    pub(crate) quote: Vec<u8>,
    /// TPMT_SIGNATURE.
    pub(crate) signature: Vec<u8>,
    /// In their order.
    pub(crate) pcrs: Vec<(u8, [u8; 32])>,
}

/// Why there is none. Each platform has its own names for the last three.
pub(crate) enum QuotedError {
    /// The TPM, or the way to it.
    Attester(AttesterError),
    /// What came is no quote.
    Quote(QuoteError),
    /// It is over something else.
    Selection(QuoteRejection),
    /// Registers changed, again and again.
    Unsteady {
        /// How often we tried.
        attempts: u32,
    },
}

impl From<AttesterError> for QuotedError {
    fn from(error: AttesterError) -> Self {
        Self::Attester(error)
    }
}

impl<T: Read + Write> Tpm<T> {
    /// By the key at `handle`, with this qualifying data.
    pub(crate) fn quoted(
        &mut self,
        handle: u32,
        data: &[u8; 32],
        patience: Patience,
    ) -> Result<Quoted, QuotedError> {
        for pause in patience.pauses() {
            let pcrs = self.pcr_values(&PCRS)?;
            let signed = self.quote(handle, data, &PCRS)?;
            let quote = Quote::parse(&signed.quote).map_err(QuotedError::Quote)?;
            let values = PcrValues::new(pcrs.iter().copied());
            let selected = values.map_or(Err(QuoteRejection::Digest), |values| quote.select(&values));
            match selected {
                Ok(_) => return Ok(Quoted { quote: signed.quote, signature: signed.signature, pcrs }),
                Err(QuoteRejection::Digest) => std::thread::sleep(pause),
                Err(other) => return Err(QuotedError::Selection(other)),
            }
        }
        Err(QuotedError::Unsteady { attempts: patience.attempts })
    }
}
