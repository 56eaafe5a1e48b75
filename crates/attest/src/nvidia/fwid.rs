//! The firmware identity that a device's boot ROM certified, in the leaf certificate (TCG DICE Attestation Architecture).
//!
//! ```text
//! Hopper, LS10   2.23.133.5.4.1     SEQUENCE { INTEGER 1, SubjectPublicKeyInfo, FWID }
//! Blackwell      2.23.133.5.4.1.1   SEQUENCE { ..., [6] { FWID, ... }, ... }      DiceTcbInfo
//! FWID           SEQUENCE { OID sha384, OCTET STRING of 48 }
//! ```
//!
//! Of DiceTcbInfo the first FWID counts.

use crate::der;
use crate::x509::Certificate;

const COMPOSITE: &str = "2.23.133.5.4.1";
const TCB_INFO: &str = "2.23.133.5.4.1.1";
/// `[6]`, constructed.
const FWIDS: u8 = 0xa6;
const SHA384: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02];

/// The firmware identity, where the certificate has exactly one of the two extensions and it is well-formed.
pub(crate) fn certified(leaf: &Certificate) -> Option<[u8; 48]> {
    match (leaf.extension(COMPOSITE), leaf.extension(TCB_INFO)) {
        (Some(value), None) => composite(value),
        (None, Some(value)) => tcb_info(value),
        _ => None,
    }
}

fn composite(value: &[u8]) -> Option<[u8; 48]> {
    let body = der::only(value, der::SEQUENCE)?;
    let (version, rest) = der::take(body, der::INTEGER)?;
    if version.content != [1] {
        return None;
    }
    let (_key, rest) = der::take(rest, der::SEQUENCE)?;
    fwid(der::only(rest, der::SEQUENCE)?)
}

fn tcb_info(value: &[u8]) -> Option<[u8; 48]> {
    let mut rest = der::only(value, der::SEQUENCE)?;
    while let Some(&tag) = rest.first() {
        let (element, after) = der::take(rest, tag)?;
        if tag == FWIDS {
            let (first, _) = der::take(element.content, der::SEQUENCE)?;
            return fwid(first.content);
        }
        rest = after;
    }
    None
}

fn fwid(content: &[u8]) -> Option<[u8; 48]> {
    let (algorithm, rest) = der::take(content, der::OBJECT_IDENTIFIER)?;
    let digest = der::only(rest, der::OCTET_STRING)?;
    (algorithm.content == SHA384).then(|| digest.try_into().ok())?
}
