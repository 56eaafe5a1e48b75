//! The log of a TPM, and the CCEL of a TD: a TCG_PCR_EVENT with a TCG_EfiSpecIdEvent, then TCG_PCR_EVENT2, then fill.
//!
//! Sources: TCG PC Client Platform Firmware Profile 1.06, "Event logging"; UEFI 2.10, 38.4 (confidential computing, event
//! log); ACPI 6.5, CCEL table. Little-endian.
//!
//! ```text
//! size  field of the header                      size  field of an event
//! 4     pcrIndex         0; 1 in TDVF's CCEL     4     pcrIndex         CCEL: measurement register, from 1
//! 4     eventType        3, EV_NO_ACTION         4     eventType
//! 20    digest           zero                    4     digests.count    as many as the header lists
//! 4     eventSize        all that follows        then as often: 2 hash, and its digest
//! 16    signature        "Spec ID Event03", 0    4     eventSize
//! 4     platformClass    0 client, 1 server      n     event
//! 1     specVersionMinor 0
//! 1     specVersionMajor 2                       The log ends with the input, or where all that remains is 0xFF or all
//! 1     specErrata       any                     that remains is zero: the area's fill. (A CCEL ends with 0xFFFFFFFF in
//! 1     uintnSize        1, 2                    the place of pcrIndex, and is filled with 0xFF or with zeros.)
//! 4     numberOfAlgorithms  1..=5
//! then as often: 2 hash, 2 octets of its digest
//! 1     vendorInfoSize   exactly what remains
//! n     vendorInfo
//! ```

use super::MAX_EVENTS;
use super::bank::Bank;
use super::error::LogError;
use super::event::{Event, NO_ACTION};

const SIGNATURE: &[u8; 16] = b"Spec ID Event03\0";
/// Where the signature stands.
const SIGNATURE_AT: usize = 32;
/// Hashes that are known.
const MAX_BANKS: u32 = 5;

pub(super) fn looks_like(input: &[u8]) -> bool {
    input.get(SIGNATURE_AT..).is_some_and(|rest| rest.starts_with(SIGNATURE))
}

pub(super) fn parse(input: &[u8]) -> Result<(Vec<Bank>, Vec<Event>), LogError> {
    if !looks_like(input) {
        return Err(LogError::Header);
    }
    let mut reader = Reader { rest: input, length: input.len() };
    let banks = header(&mut reader)?;
    let mut events = Vec::new();
    while !at_the_end(&reader)? {
        if events.len() == MAX_EVENTS {
            return Err(LogError::TooManyEvents);
        }
        events.push(event(&mut reader, &banks)?);
    }
    Ok((banks, events))
}

fn header(reader: &mut Reader<'_>) -> Result<Vec<Bank>, LogError> {
    let ends = LogError::Truncated { offset: 0 };
    let expect = |field, found: u32, good: bool| {
        if good { Ok(()) } else { Err(LogError::HeaderValue { field, found }) }
    };
    let index = reader.u32().ok_or(ends.clone())?;
    expect("pcrIndex", index, index <= 1)?;
    let event_type = reader.u32().ok_or(ends.clone())?;
    expect("eventType", event_type, event_type == NO_ACTION)?;
    let digest = reader.take(20).ok_or(ends.clone())?;
    if digest.iter().any(|&octet| octet != 0) {
        return Err(LogError::NoAction { offset: 0 });
    }
    let data = reader.sized().ok_or(ends.clone())?;

    let mut data = Reader { rest: data, length: data.len() };
    data.take(SIGNATURE.len()).ok_or(ends.clone())?;
    let class = data.u32().ok_or(ends.clone())?;
    expect("platformClass", class, class <= 1)?;
    let minor = data.u8().ok_or(ends.clone())?;
    expect("specVersionMinor", minor.into(), minor == 0)?;
    let major = data.u8().ok_or(ends.clone())?;
    expect("specVersionMajor", major.into(), major == 2)?;
    data.u8().ok_or(ends.clone())?;
    let uintn = data.u8().ok_or(ends.clone())?;
    expect("uintnSize", uintn.into(), matches!(uintn, 1 | 2))?;
    let count = data.u32().ok_or(ends.clone())?;
    expect("numberOfAlgorithms", count, (1..=MAX_BANKS).contains(&count))?;
    let mut banks: Vec<Bank> = Vec::new();
    for _ in 0..count {
        let (id, size) = (data.u16().ok_or(ends.clone())?, data.u16().ok_or(ends.clone())?);
        let known =
            Bank::of(id).filter(|bank| bank.digest_len() == usize::from(size) && !banks.contains(bank));
        banks.push(known.ok_or(LogError::Algorithm { id, size })?);
    }
    let vendor = data.u8().ok_or(ends)?;
    expect("vendorInfoSize", vendor.into(), usize::from(vendor) == data.rest.len())?;
    Ok(banks)
}

/// Neither of the two fills can be an event: an event has as many digests as the header lists.
fn at_the_end(reader: &Reader<'_>) -> Result<bool, LogError> {
    let start = reader.rest.get(..8).unwrap_or(reader.rest);
    for fill in [0x00, 0xff] {
        if start.iter().all(|&octet| octet == fill) {
            return match reader.rest.iter().position(|&octet| octet != fill) {
                None => Ok(true),
                Some(at) => Err(LogError::Fill { offset: reader.offset().saturating_add(at) }),
            };
        }
    }
    // The terminator, and then zeros. An EV_NO_ACTION may be of no register, and have the same index.
    if let Some(rest) =
        reader.rest.strip_prefix(&[0xff; 4]).filter(|rest| !rest.starts_with(&NO_ACTION.to_le_bytes()))
    {
        return match rest.iter().position(|&octet| octet != 0) {
            None => Ok(true),
            Some(at) => Err(LogError::Fill { offset: reader.offset().saturating_add(at).saturating_add(4) }),
        };
    }
    Ok(false)
}

fn event(reader: &mut Reader<'_>, banks: &[Bank]) -> Result<Event, LogError> {
    let offset = reader.offset();
    let ends = LogError::Truncated { offset };
    let index = reader.u32().ok_or(ends.clone())?;
    let event_type = reader.u32().ok_or(ends.clone())?;
    let count = reader.u32().ok_or(ends.clone())?;
    if usize::try_from(count) != Ok(banks.len()) {
        return Err(LogError::Digests { offset });
    }
    let mut digests: Vec<(Bank, Vec<u8>)> = Vec::with_capacity(banks.len());
    for _ in banks {
        let id = reader.u16().ok_or(ends.clone())?;
        let seen = |bank: &Bank| digests.iter().any(|(seen, _)| seen == bank);
        let bank = Bank::of(id).filter(|bank| banks.contains(bank) && !seen(bank));
        let bank = bank.ok_or(LogError::Digests { offset })?;
        digests.push((bank, reader.take(bank.digest_len()).ok_or(ends.clone())?.to_vec()));
    }
    let data = reader.sized().ok_or(ends)?.to_vec();
    if event_type == NO_ACTION && digests.iter().flat_map(|(_, digest)| digest).any(|&octet| octet != 0) {
        return Err(LogError::NoAction { offset });
    }
    Ok(Event { index, event_type, digests, data })
}

/// Little-endian reading that cannot leave its input.
struct Reader<'a> {
    rest: &'a [u8],
    length: usize,
}

impl<'a> Reader<'a> {
    fn offset(&self) -> usize {
        self.length.saturating_sub(self.rest.len())
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_le_bytes)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    /// A length, and as many octets.
    fn sized(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.u32()?).ok()?;
        self.take(length)
    }
}
