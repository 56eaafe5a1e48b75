//! Intel's quote generation service: one message, one answer, each behind its length (Intel SGX DCAP, `qgs_msg_lib.h`).
//!
//! ```text
//! size  field                             request      answer
//!    4  length of what follows            big-endian   big-endian
//!    2  major version                     1            1
//!    2  minor version                     1            any
//!    4  type                              0            1
//!    4  length with this header           1048         as stated above
//!    4  error                             0            0, or why there is no quote
//!    4  length of the report | of the id  1024         any
//!    4  length of the ids    | quote      0            any
//!       the rest                          TDREPORT     id, quote
//! ```
//!
//! All numbers but the first are little-endian.

use std::io::{self, Read, Write};

use super::{TD_REPORT_LEN, TdxGuestError};

/// A stream to the service.
pub(crate) trait Stream: Read + Write {}

impl<T: Read + Write> Stream for T {}

/// The quote over a TDREPORT.
pub(crate) fn quote(stream: &mut dyn Stream, report: &[u8; TD_REPORT_LEN]) -> Result<Vec<u8>, TdxGuestError> {
    stream.write_all(&request(report)).and_then(|()| stream.flush()).map_err(TdxGuestError::QuoteService)?;
    let mut length = [0; 4];
    stream.read_exact(&mut length).map_err(TdxGuestError::QuoteService)?;
    let length = u32::from_be_bytes(length);
    if !(HEADER..=MAX_ANSWER).contains(&length) {
        return Err(TdxGuestError::Size { found: length });
    }
    let mut answer = Vec::new();
    stream.take(length.into()).read_to_end(&mut answer).map_err(TdxGuestError::QuoteService)?;
    if answer.len() != length as usize {
        return Err(TdxGuestError::QuoteService(io::ErrorKind::UnexpectedEof.into()));
    }
    answer_quote(&answer)
}

fn request(report: &[u8; TD_REPORT_LEN]) -> Vec<u8> {
    const LENGTH: u32 = HEADER + 8 + TD_REPORT_LEN as u32;
    let mut request = LENGTH.to_be_bytes().to_vec();
    for version in [1_u16, 1] {
        request.extend(version.to_le_bytes());
    }
    for number in [GET_QUOTE, LENGTH, 0, TD_REPORT_LEN as u32, 0] {
        request.extend(number.to_le_bytes());
    }
    request.extend(report);
    request
}

/// The quote in an answer, all of which is accounted for.
fn answer_quote(answer: &[u8]) -> Result<Vec<u8>, TdxGuestError> {
    let number = |at: usize| -> Result<u32, TdxGuestError> {
        let octets = answer.get(at..at + 4).and_then(|octets| octets.try_into().ok());
        octets.map(u32::from_le_bytes).ok_or(TdxGuestError::Answer { at })
    };
    let expect = |holds: bool, at| if holds { Ok(()) } else { Err(TdxGuestError::Answer { at }) };
    expect(number(0)? & 0xffff == 1, 0)?;
    expect(number(4)? == GOT_QUOTE, 4)?;
    expect(number(8)? as usize == answer.len(), 8)?;
    match number(12)? {
        0 => {}
        code => return Err(TdxGuestError::Refused { code }),
    }
    let (id, length) = (number(16)? as usize, number(20)? as usize);
    let rest = answer.get(24..).unwrap_or_default();
    expect(rest.len().checked_sub(id) == Some(length) && length != 0, 20)?;
    Ok(rest.get(id..).unwrap_or_default().to_vec())
}

const HEADER: u32 = 16;
const GET_QUOTE: u32 = 0;
const GOT_QUOTE: u32 = 1;
/// A quote has 5 KiB; Linux's own room for an answer is 16 KiB.
const MAX_ANSWER: u32 = 32 * 1024;
