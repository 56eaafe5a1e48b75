//! A certificate revocation list as far as rules TDX-04 and TDX-05 look at it (RFC 5280 §5.1). Rule TDX-06 has `webpki` read
//! the same bytes before they are believed.
//!
//! ```text
//! SIGNED SEQUENCE { INTEGER 1, AlgorithmIdentifier, issuer Name, thisUpdate Time, nextUpdate Time OPTIONAL,
//!   SEQUENCE of SEQUENCE { serial INTEGER, revocationDate Time, extensions OPTIONAL } OPTIONAL, [0] extensions OPTIONAL }
//! ```

use core::ops::Range;

use ::der::Decode;
use ::der::asn1::{GeneralizedTime, UtcTime};

use super::reject::TdxRejection;
use crate::der;
use crate::time::UnixTime;

const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const EXTENSIONS: u8 = 0xa0;

/// A revocation list.
#[derive(Debug)]
pub(crate) struct List {
    pub(crate) der: Vec<u8>,
    /// The issuer's `Name`, DER.
    pub(crate) issuer: Vec<u8>,
    /// Where the serial numbers are.
    serials: Vec<Range<usize>>,
    pub(crate) this_update: UnixTime,
    pub(crate) next_update: UnixTime,
}

impl List {
    /// Reads exactly one.
    pub(crate) fn read(what: &'static str, der: Vec<u8>) -> Result<Self, TdxRejection> {
        let Some((issuer, serials, this_update, next_update)) = fields(&der) else {
            return Err(TdxRejection::Malformed { what });
        };
        let next_update =
            next_update.ok_or(TdxRejection::Missing { what: "date of the next revocation list" })?;
        Ok(Self { issuer: issuer.to_vec(), serials, this_update, next_update, der })
    }

    /// Whether it has this serial number, the content of an INTEGER.
    pub(crate) fn has(&self, serial: &[u8]) -> bool {
        self.serials.iter().any(|range| self.der.get(range.clone()).is_none_or(|listed| listed == serial))
    }

    /// How many serial numbers it has.
    pub(crate) fn len(&self) -> usize {
        self.serials.len()
    }
}

type Fields<'a> = (&'a [u8], Vec<Range<usize>>, UnixTime, Option<UnixTime>);

fn fields(input: &[u8]) -> Option<Fields<'_>> {
    let body = der::only(der::signed(input)?.to_be_signed, der::SEQUENCE)?;
    let (version, rest) = der::take(body, der::INTEGER)?;
    let (_algorithm, rest) = der::take(rest, der::SEQUENCE)?;
    let (issuer, rest) = der::take(rest, der::SEQUENCE)?;
    let (this_update, rest) = time(rest)?;
    let (next_update, rest) = match rest.first() {
        Some(&(UTC_TIME | GENERALIZED_TIME)) => time(rest).map(|(time, rest)| (Some(time), rest))?,
        _ => (None, rest),
    };
    let (mut entries, rest) = match rest.first() {
        Some(&der::SEQUENCE) => der::take(rest, der::SEQUENCE).map(|(list, rest)| (list.content, rest))?,
        _ => (&[][..], rest),
    };
    if version.content != [1] || !(rest.is_empty() || der::only(rest, EXTENSIONS).is_some()) {
        return None;
    }
    let mut serials = Vec::new();
    while !entries.is_empty() {
        let (entry, behind) = der::take(entries, der::SEQUENCE)?;
        let (serial, rest) = der::take(entry.content, der::INTEGER)?;
        let (_revoked, rest) = time(rest)?;
        if serial.content.is_empty() || !(rest.is_empty() || der::only(rest, der::SEQUENCE).is_some()) {
            return None;
        }
        serials.push(within(input, serial.content)?);
        entries = behind;
    }
    Some((issuer.whole, serials, this_update, next_update))
}

fn time(input: &[u8]) -> Option<(UnixTime, &[u8])> {
    let &tag = input.first()?;
    let (element, rest) = der::take(input, tag)?;
    let since = match tag {
        UTC_TIME => UtcTime::from_der(element.whole).ok()?.to_unix_duration(),
        GENERALIZED_TIME => GeneralizedTime::from_der(element.whole).ok()?.to_unix_duration(),
        _ => return None,
    };
    Some((UnixTime(since.as_secs()), rest))
}

/// Where a part of the input is in it.
fn within(input: &[u8], part: &[u8]) -> Option<Range<usize>> {
    let start = part.as_ptr().addr().checked_sub(input.as_ptr().addr())?;
    let end = start.checked_add(part.len())?;
    (end <= input.len()).then_some(start..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let content = parts.concat();
        let length = u8::try_from(content.len()).expect("short");
        if length < 0x80 {
            [vec![tag, length], content].concat()
        } else {
            [vec![tag, 0x81, length], content].concat()
        }
    }

    const FROM: &[u8] = b"\x17\x0d250101000000Z";
    const UNTIL: &[u8] = b"\x18\x0f20500101000000Z";

    fn entry(serial: &[u8]) -> Vec<u8> {
        der(0x30, &[&der(0x02, &[serial]), FROM])
    }

    fn list(parts: &[&[u8]]) -> Vec<u8> {
        der(0x30, &[&der(0x30, parts), &der(0x30, &[]), &[0x03, 0x02, 0, 0]])
    }

    fn read(parts: &[&[u8]]) -> Result<List, &'static str> {
        List::read("list", list(parts)).map_err(|rejection| rejection.code())
    }

    #[test]
    fn serial_numbers_and_dates_are_read() {
        let (version, empty) = ([0x02, 1, 1], [0x30, 0]);
        let entries = der(0x30, &[&entry(&[7]), &entry(&[0, 0x81])]);
        let found = read(&[&version, &empty, &empty, FROM, UNTIL, &entries, &[0xa0, 0]]).expect("a list");
        assert_eq!(
            (found.this_update, found.next_update),
            (UnixTime(1_735_689_600), UnixTime(2_524_608_000))
        );
        assert_eq!((found.len(), found.has(&[7]), found.has(&[0, 0x81])), (2, true, true));
        assert!(!found.has(&[0x81]) && !found.has(&[]));
        let none = read(&[&version, &empty, &empty, FROM, UNTIL]).expect("a list");
        assert_eq!((none.len(), none.has(&[7]), none.issuer), (0, false, empty.to_vec()));
    }

    #[test]
    fn one_mistake_each() {
        let (version, empty, malformed) = ([0x02, 1, 1], [0x30, 0], Some("tdx.collateral.malformed"));
        let code = |parts: &[&[u8]]| read(parts).err();
        assert_eq!(code(&[&version, &empty, &empty, FROM]), Some("tdx.collateral.missing"), "no nextUpdate");
        assert_eq!(code(&[&[0x02, 1, 0], &empty, &empty, FROM, UNTIL]), malformed, "version 1");
        assert_eq!(code(&[&empty, &empty, FROM, UNTIL]), malformed, "no version");
        assert_eq!(code(&[&version, &empty, &empty, UNTIL, FROM, FROM]), malformed, "three dates");
        assert_eq!(code(&[&version, &empty, &empty, b"\x17\x0d251301000000Z", UNTIL]), malformed, "month 13");
        assert_eq!(code(&[&version, &empty, &empty, FROM, UNTIL, &[0xa1, 0]]), malformed, "another tag");
        for bad in [
            der(0x30, &[&der(0x02, &[&[]]), FROM]),
            der(0x30, &[&der(0x02, &[&[7]])]),
            der(0x30, &[&der(0x02, &[&[7]]), FROM, &empty, &empty]),
            der(0x31, &[&der(0x02, &[&[7]]), FROM]),
        ] {
            assert_eq!(
                code(&[&version, &empty, &empty, FROM, UNTIL, &der(0x30, &[&bad])]),
                malformed,
                "{bad:x?}"
            );
        }
        let mut trailing = list(&[&version, &empty, &empty, FROM, UNTIL]);
        trailing.push(0);
        assert!(List::read("list", trailing).is_err());
    }
}
