//! dstack's log: JSON, with the events of the firmware and those that were measured at run time.
//!
//! ```json
//! [{"imr":3,"event_type":134217729,"digest":"96 hexadecimal digits","event":"app-id","event_payload":"…"}]
//! ```
//!
//! Source: dstack (github.com/Dstack-TEE/dstack), cc-eventlog/src/tdx.rs and runtime_events.rs. `imr` counts RTMRs from
//! 0. For events of type 0x08000001 the digest is SHA-384 over what [`DstackEvent::measured`] says; a sender may leave it
//! out, and one that is there must be that. Events of any other type are extended with the digest that they bring.

use serde::Deserialize;
use serde_json::Value;

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
    /// What the digest is over, in hexadecimal. Worked out here, and compared. Older releases call it `hash_input`.
    #[serde(default, alias = "hash_input")]
    preimage: Option<String>,
}

/// How a run-time event of dstack's is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DstackVersion {
    /// The type (4 octets, little-endian), `:`, the name, `:`, the payload.
    V1,
    /// `{"name":…,"payload":"hexadecimal","type":134217729}`, as RFC 8785 writes it.
    V2,
}

/// A run-time event of dstack's, read back from what was measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DstackEvent {
    /// Up to the first colon, where it is of version 1: the digest does not say where a name ends.
    pub name: String,
    /// What the event says.
    pub payload: Vec<u8>,
}

impl DstackVersion {
    /// What the digest of an event is over.
    pub fn measured(self, name: &str, payload: &[u8]) -> Vec<u8> {
        match self {
            Self::V1 => [&DSTACK_RUNTIME.to_le_bytes()[..], b":", name.as_bytes(), b":", payload].concat(),
            // serde_json escapes a string as RFC 8785 §3.2.2.2 does.
            Self::V2 => format!(
                r#"{{"name":{},"payload":"{}","type":{DSTACK_RUNTIME}}}"#,
                Value::from(name),
                hex::encode(payload)
            )
            .into_bytes(),
        }
    }

    /// By the number that a log writes; version 1 where it writes none.
    fn of(number: Option<u32>) -> Option<Self> {
        match number {
            None | Some(1) => Some(Self::V1),
            Some(2) => Some(Self::V2),
            Some(_) => None,
        }
    }
}

impl DstackEvent {
    /// Reads what was measured. `None` where it is not an event of dstack's in one of its two forms. The forms cannot be
    /// taken for each other: they differ in the first octet.
    pub fn of_measured(measured: &[u8]) -> Option<Self> {
        if let Some(rest) = measured.strip_prefix(&DSTACK_RUNTIME.to_le_bytes()) {
            let rest = rest.strip_prefix(b":")?;
            let colon = rest.iter().position(|octet| *octet == b':')?;
            let (name, payload) = rest.split_at_checked(colon)?;
            let name = core::str::from_utf8(name).ok()?.to_owned();
            return Some(Self { name, payload: payload.strip_prefix(b":")?.to_vec() });
        }
        let value = crate::json::parse(measured).ok()?;
        let event = Self {
            name: value.get("name")?.as_str()?.to_owned(),
            payload: hex::decode(value.get("payload")?.as_str()?).ok()?,
        };
        // Only the one canonical writing is what dstack measures.
        (DstackVersion::V2.measured(&event.name, &event.payload) == measured).then_some(event)
    }
}

/// The digest of a run-time event of dstack's, in version 1: what extends RTMR3.
pub fn dstack_event_digest(name: &str, payload: &[u8]) -> [u8; 48] {
    crypto::sha384(&DstackVersion::V1.measured(name, payload))
}

pub(super) fn parse(input: &[u8]) -> Result<Vec<Event>, LogError> {
    let files: Vec<File> =
        serde_json::from_slice(input).map_err(|error| LogError::Json(error.to_string()))?;
    events(files)
}

/// A list that stands in a larger document.
pub(super) fn parse_value(list: &Value) -> Result<Vec<Event>, LogError> {
    let files = Vec::<File>::deserialize(list).map_err(|error| LogError::Json(error.to_string()))?;
    events(files)
}

fn events(files: Vec<File>) -> Result<Vec<Event>, LogError> {
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
    let unknown = || LogError::DstackVersion { event, version: file.version.unwrap_or_default() };
    let version = DstackVersion::of(file.version).ok_or_else(unknown)?;
    let (digest, data) = if file.event_type == DSTACK_RUNTIME {
        let data = version.measured(&file.event, &payload);
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
        // The firmware's events have no version of dstack's.
        if version != DstackVersion::V1 {
            return Err(wrong("version"));
        }
        (digest, payload)
    };
    match file.preimage.map(hex::decode) {
        None => {}
        Some(Ok(input)) if file.event_type == DSTACK_RUNTIME && input == data => {}
        Some(_) => return Err(wrong("preimage")),
    }
    Ok(Event { index, event_type: file.event_type, digests: vec![(Bank::Sha384, digest)], data })
}
