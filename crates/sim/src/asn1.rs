//! A small DER writer (ITU-T X.690): enough for the certificates and revocation lists of one vendor.
//!
//! Written by hand, and not with a certificate library, because AMD's certificates differ from what
//! libraries write (an explicit default `trailerField`, serial number 0, raw bytes as an extension value).

use casemate_attest::UnixTime;
use der::asn1::{GeneralizedTime, UtcTime};
use der::{DateTime, Encode};

use crate::error::SimError;

pub(crate) const BOOLEAN: u8 = 0x01;
pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const BIT_STRING: u8 = 0x03;
pub(crate) const OCTET_STRING: u8 = 0x04;
pub(crate) const NULL: u8 = 0x05;
pub(crate) const OBJECT_IDENTIFIER: u8 = 0x06;
pub(crate) const UTF8_STRING: u8 = 0x0c;
pub(crate) const PRINTABLE_STRING: u8 = 0x13;
pub(crate) const IA5_STRING: u8 = 0x16;
pub(crate) const SEQUENCE: u8 = 0x30;
pub(crate) const SET: u8 = 0x31;

/// RFC 5280 section 4.1.2.5: dates from 2050 on are GeneralizedTime.
const FIRST_GENERALIZED_YEAR: u16 = 2050;

/// One element: tag, definite length in the shortest form, content.
pub(crate) fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let significant: Vec<u8> = length.iter().copied().skip_while(|byte| *byte == 0).collect();
    let mut out = vec![tag];
    match significant.as_slice() {
        [] => out.push(0),
        [short] if *short < 0x80 => out.push(*short),
        long => {
            // At most 8 length bytes on any machine, so the sum stays in a byte.
            out.push(0x80 | u8::try_from(long.len()).unwrap_or(8));
            out.extend_from_slice(long);
        }
    }
    out.extend_from_slice(content);
    out
}

/// A constructed element (SEQUENCE, SET, context tag) of its parts in order.
pub(crate) fn constructed<P: AsRef<[u8]>>(tag: u8, parts: &[P]) -> Vec<u8> {
    let content: Vec<u8> = parts.iter().flat_map(|part| part.as_ref().iter().copied()).collect();
    tlv(tag, &content)
}

/// A SEQUENCE of its parts in order.
pub(crate) fn sequence<P: AsRef<[u8]>>(parts: &[P]) -> Vec<u8> {
    constructed(SEQUENCE, parts)
}

/// The tag of a constructed, context-specific element.
pub(crate) const fn context(number: u8) -> u8 {
    0xa0 | number
}

/// A non-negative INTEGER: shortest form, with a leading zero where the top bit is set (0xd9 takes two bytes).
pub(crate) fn integer(value: u64) -> Vec<u8> {
    let mut bytes: Vec<u8> = value.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect();
    if bytes.first().is_none_or(|top| top & 0x80 != 0) {
        bytes.insert(0, 0);
    }
    tlv(INTEGER, &bytes)
}

/// An OBJECT IDENTIFIER from its arcs; the first two share a byte.
pub(crate) fn oid(arcs: &[u32]) -> Vec<u8> {
    let mut content = Vec::new();
    if let [first, second, rest @ ..] = arcs {
        push_arc(&mut content, first.saturating_mul(40).saturating_add(*second));
        for arc in rest {
            push_arc(&mut content, *arc);
        }
    }
    tlv(OBJECT_IDENTIFIER, &content)
}

/// A BIT STRING of whole bytes.
pub(crate) fn bit_string(bytes: &[u8]) -> Vec<u8> {
    bits(bytes, 0)
}

/// A BIT STRING whose last byte ends in `unused` unused bits.
pub(crate) fn bits(bytes: &[u8], unused: u8) -> Vec<u8> {
    let mut content = vec![unused];
    content.extend_from_slice(bytes);
    tlv(BIT_STRING, &content)
}

/// A `Time` of RFC 5280: UTCTime until 2049, GeneralizedTime after.
pub(crate) fn time(at: UnixTime) -> Result<Vec<u8>, SimError> {
    let out_of_range = |_| SimError::TimeOutOfRange { at };
    let date = DateTime::from_unix_duration(std::time::Duration::from_secs(at.0)).map_err(out_of_range)?;
    if date.year() >= FIRST_GENERALIZED_YEAR {
        GeneralizedTime::from_date_time(date).to_der().map_err(out_of_range)
    } else {
        UtcTime::from_date_time(date).and_then(|utc| utc.to_der()).map_err(out_of_range)
    }
}

/// Base 128, high bit set on all bytes but the last.
fn push_arc(out: &mut Vec<u8>, arc: u32) {
    for shift in [28u32, 21, 14, 7] {
        if arc >> shift != 0 {
            out.push(0x80 | (arc >> shift & 0x7f) as u8);
        }
    }
    out.push((arc & 0x7f) as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_shortest_and_never_negative() {
        assert_eq!(integer(0), [2, 1, 0]);
        assert_eq!(integer(0x7f), [2, 1, 0x7f]);
        assert_eq!(integer(0xd9), [2, 2, 0, 0xd9]);
        assert_eq!(integer(0x0002_0002), [2, 3, 2, 0, 2]);
    }

    #[test]
    fn lengths_take_the_shortest_form() {
        assert_eq!(tlv(OCTET_STRING, &[]), [4, 0]);
        assert_eq!(tlv(OCTET_STRING, &[7; 127]).get(..2), Some(&[4, 127][..]));
        assert_eq!(tlv(OCTET_STRING, &[7; 128]).get(..3), Some(&[4, 0x81, 128][..]));
        assert_eq!(tlv(OCTET_STRING, &[7; 256]).get(..4), Some(&[4, 0x82, 1, 0][..]));
    }

    #[test]
    fn object_identifiers_use_base_128() {
        // rsassaPss and AMD's bootloader SPL, as they stand in a recorded VCEK.
        assert_eq!(hex::encode(oid(&[1, 2, 840, 113549, 1, 1, 10])), "06092a864886f70d01010a");
        assert_eq!(hex::encode(oid(&[1, 3, 6, 1, 4, 1, 3704, 1, 3, 1])), "060a2b060104019c78010301");
    }

    #[test]
    fn the_year_2050_changes_the_form_of_time() {
        assert_eq!(time(UnixTime(2_524_607_999)).unwrap(), b"\x17\x0d491231235959Z");
        assert_eq!(time(UnixTime(2_524_608_000)).unwrap(), b"\x18\x0f20500101000000Z");
        assert_eq!(
            time(UnixTime(u64::MAX)).unwrap_err(),
            SimError::TimeOutOfRange { at: UnixTime(u64::MAX) }
        );
    }
}
