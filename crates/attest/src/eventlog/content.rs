//! What of an event's data has the event's digest.
//!
//! The type of an event says how its digest should have been made, but no digest covers the type. So the type is only a
//! hint where to look: a part of the data counts as proven when its hash *is* the digest, and never otherwise. Whatever
//! stands around that part, such as the words `grub_cmd: `, is the sender's.
//!
//! | type | parts that are tried |
//! |---|---|
//! | any | the whole data |
//! | EV_EFI_VARIABLE_* | the variable's data (EV_EFI_VARIABLE_BOOT is measured so by EDK II) |
//! | EV_IPL | what follows `grub_cmd: `, `kernel_cmdline: ` or `module_cmdline: `, without the zero at its end (GRUB) |

use super::bank::Bank;
use super::event::{Event, IPL, VARIABLE_AUTHORITY, VARIABLE_BOOT, VARIABLE_BOOT2, VARIABLE_DRIVER_CONFIG};
use crate::crypto;

/// What of an event's data has its digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content<'a> {
    /// These octets, a part of the data or all of it.
    Proven(&'a [u8]),
    /// Nothing: the digest is of something that the log does not show. The data is a comment of the sender's.
    Unproven,
}

/// What GRUB writes before the text that it measures.
const GRUB: [&[u8]; 3] = [b"grub_cmd: ", b"kernel_cmdline: ", b"module_cmdline: "];

pub(crate) fn of(event: &Event, bank: Bank) -> Content<'_> {
    let Some(digest) = event.digest(bank) else {
        return Content::Unproven;
    };
    let data = event.data.as_slice();
    let part = match event.event_type {
        VARIABLE_DRIVER_CONFIG | VARIABLE_BOOT | VARIABLE_BOOT2 | VARIABLE_AUTHORITY => variable_data(data),
        IPL => grub_text(data),
        _ => None,
    };
    let is_it = |part: &&[u8]| bank.hash(part).is_some_and(|hash| crypto::equal(&hash, digest));
    match [Some(data), part].into_iter().flatten().filter(|part| !part.is_empty()).find(is_it) {
        Some(proven) if event.extends() => Content::Proven(proven),
        _ => Content::Unproven,
    }
}

/// UEFI_VARIABLE_DATA: GUID 16, UnicodeNameLength 8, VariableDataLength 8, the name in as many UTF-16 units, the data.
fn variable_data(data: &[u8]) -> Option<&[u8]> {
    let (_, rest) = data.split_at_checked(16)?;
    let (name_units, rest) = rest.split_first_chunk::<8>()?;
    let (length, rest) = rest.split_first_chunk::<8>()?;
    let name = usize::try_from(u64::from_le_bytes(*name_units)).ok()?.checked_mul(2)?;
    let (_, variable) = rest.split_at_checked(name)?;
    (u64::try_from(variable.len()) == Ok(u64::from_le_bytes(*length))).then_some(variable)
}

fn grub_text(data: &[u8]) -> Option<&[u8]> {
    let text = GRUB.into_iter().find_map(|prefix| data.strip_prefix(prefix))?;
    Some(text.strip_suffix(&[0]).unwrap_or(text))
}
