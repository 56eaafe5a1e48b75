//! dstack's log: JSON, with the events of the firmware and those that were measured at run time.
//!
//! ```json
//! [{"imr":3,"event_type":134217729,"digest":"96 hexadecimal digits","event":"app-id","event_payload":"…"}]
//! ```
//!
//! Source: dstack (github.com/Dstack-TEE/dstack), cc-eventlog/src/tdx.rs and runtime_events.rs. `imr` counts RTMRs from
//! 0. For events of type 0x08000001 the digest is SHA-384 over the type (4 octets, little-endian), `:`, the name, `:` and
//! the payload; a sender may leave it out, and one that is there must be that. Events of any other type are extended
//! with the digest that they bring. A second version of the digest exists, over JSON, whose members differ between the
//! sources; it is refused by its name.

use serde::Deserialize;

use super::MAX_EVENTS;
use super::bank::Bank;
use super::error::LogError;
use super::event::{DSTACK_RUNTIME, Event, NO_ACTION};
use crate::crypto;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    imr: u32,
    event_type: u32,
    #[serde(default)]
    digest: String,
    event: String,
    event_payload: String,
    #[serde(default)]
    version: Option<u32>,
    /// What the digest is over, in hexadecimal. Worked out here, and compared.
    #[serde(default)]
    hash_input: Option<String>,
}

/// The digest of a run-time event of dstack's: what extends RTMR3.
pub fn dstack_event_digest(name: &str, payload: &[u8]) -> [u8; 48] {
    let digest = crypto::sha384(&measured(name, payload));
    let mut out = [0; 48];
    for (target, source) in out.iter_mut().zip(digest) {
        *target = source;
    }
    out
}

pub(super) fn parse(input: &[u8]) -> Result<Vec<Event>, LogError> {
    let files: Vec<File> =
        serde_json::from_slice(input).map_err(|error| LogError::Json(error.to_string()))?;
    if files.len() > MAX_EVENTS {
        return Err(LogError::TooManyEvents);
    }
    files.into_iter().enumerate().map(|(event, file)| read(event, file)).collect()
}

fn read(event: usize, file: File) -> Result<Event, LogError> {
    let wrong = |member| LogError::Member { event, member };
    let index = file.imr.checked_add(1).filter(|index| *index <= 4).ok_or(wrong("imr"))?;
    let digest = hex::decode(&file.digest).map_err(|_| wrong("digest"))?;
    let payload = hex::decode(&file.event_payload).map_err(|_| wrong("event_payload"))?;
    match file.version {
        None | Some(1) => {}
        Some(version) => return Err(LogError::DstackVersion { event, version }),
    }
    let (digest, data) = if file.event_type == DSTACK_RUNTIME {
        let data = measured(&file.event, &payload);
        let own = crypto::sha384(&data).to_vec();
        if !digest.is_empty() && digest != own {
            return Err(LogError::DstackDigest { event });
        }
        (own, data)
    } else {
        if digest.len() != Bank::Sha384.digest_len() {
            return Err(wrong("digest"));
        }
        if file.event_type == NO_ACTION && digest.iter().any(|&octet| octet != 0) {
            return Err(wrong("digest"));
        }
        (digest, payload)
    };
    match file.hash_input.map(hex::decode) {
        None => {}
        Some(Ok(input)) if file.event_type == DSTACK_RUNTIME && input == data => {}
        Some(_) => return Err(wrong("hash_input")),
    }
    Ok(Event { index, event_type: file.event_type, digests: vec![(Bank::Sha384, digest)], data })
}

fn measured(name: &str, payload: &[u8]) -> Vec<u8> {
    [&DSTACK_RUNTIME.to_le_bytes()[..], b":", name.as_bytes(), b":", payload].concat()
}
