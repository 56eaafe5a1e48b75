//! The proof: the events of a register, where their digests end at the value that the evidence has.

use std::collections::{BTreeMap, BTreeSet};

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::bank::Bank;
use super::content::Content;
use super::deny::LogDenial;
use super::event::{Event, event_type_name};
use super::{EventLog, Form};
use crate::crypto;
use crate::tpm::SelectedPcrs;

/// PCRs from 0 that start at a known value and that nothing resets before the machine does (TCG PC Client Platform TPM
/// Profile, "PCR attributes"). PCR 16 and 23 can be reset by software, 17 to 22 by a dynamic launch.
pub(crate) const STATIC_PCRS: u8 = 16;
/// PCRs that an event may be of.
const PCRS: u32 = 24;
/// RTMR0 to RTMR3.
pub(crate) const RTMRS: u8 = 4;
/// TCG_EfiStartupLocalityEvent: this, and one octet.
const STARTUP_LOCALITY: &[u8] = b"StartupLocality\0";
/// More of an event's content than this is not shown, only counted.
const MAX_SHOWN: usize = 1024;

/// The registers of genuine evidence.
pub(crate) enum Registers<'a> {
    /// Of a TDX quote; SHA-384.
    Rtmr([[u8; 48]; 4]),
    /// That a TPM quote selected; SHA-256.
    Pcr(&'a SelectedPcrs),
}

/// The events of some registers, each with the digest that was extended, in the order in which they were. Made only where
/// the digests end at the registers of genuine evidence.
///
/// ```compile_fail
/// let forged: casemate_attest::eventlog::Replayed = Default::default();
/// ```
/// ```compile_fail
/// fn needs_clone(_: impl Clone) {}
/// fn twice(replayed: casemate_attest::eventlog::Replayed) { needs_clone(replayed) }
/// ```
#[derive(Debug, PartialEq, Eq)]
pub struct Replayed {
    bank: Bank,
    registers: BTreeMap<u8, Vec<ReplayedEvent>>,
}

/// An event that is proven to have happened.
#[derive(Debug, PartialEq, Eq)]
pub struct ReplayedEvent {
    digest: Vec<u8>,
    content: Option<Vec<u8>>,
    logged_type: u32,
}

/// What came of a replay: the proof, and the registers whose events are not proven.
pub(crate) struct Outcome {
    pub(crate) replayed: Replayed,
    pub(crate) others: BTreeSet<u8>,
}

/// Events in the order of the log, each with its register, those that extend nothing left out.
pub(crate) struct Extended<'a> {
    bank: Bank,
    events: Vec<(u8, &'a Event)>,
    locality: u8,
}

/// LOG-02: the log is one of these registers.
pub(crate) fn extended<'a>(log: &'a EventLog, registers: &Registers<'_>) -> Result<Extended<'a>, LogDenial> {
    let bank = registers.bank();
    if log.form() == Form::Dstack && bank != Bank::Sha384 {
        return Err(LogDenial::Form);
    }
    if !log.banks().contains(&bank) {
        return Err(LogDenial::BankMissing { wanted: bank });
    }
    let (mut events, mut locality) = (Vec::new(), None);
    for event in log.events() {
        if !event.extends() {
            let started =
                matches!(registers, Registers::Pcr(_)) && event.data().starts_with(STARTUP_LOCALITY);
            if started {
                let late = locality.is_some() || events.iter().any(|(register, _)| *register == 0);
                locality = Some(self::locality(event).filter(|_| !late).ok_or(LogDenial::Locality)?);
            }
            continue;
        }
        let index = event.index();
        let register = registers.register(index).ok_or(LogDenial::RegisterUnknown { index })?;
        events.push((register, event));
    }
    Ok(Extended { bank, events, locality: locality.unwrap_or(0) })
}

/// LOG-03: each of these registers is in the evidence, with the value to which the events replay it.
pub(crate) fn replay(
    extended: &Extended<'_>,
    registers: &Registers<'_>,
    named: impl Iterator<Item = u8>,
) -> Result<Outcome, LogDenial> {
    let bank = extended.bank;
    let mut proven = BTreeMap::new();
    for register in named {
        let authentic = registers.value(register).ok_or(LogDenial::NotQuoted { register })?;
        let mut value = vec![0; bank.digest_len()];
        if let (Registers::Pcr(_), 0, Some(last)) = (registers, register, value.last_mut()) {
            *last = extended.locality;
        }
        let mut events = Vec::new();
        for (_, event) in extended.events.iter().filter(|(own, _)| *own == register) {
            let digest = event.digest(bank).ok_or(LogDenial::BankMissing { wanted: bank })?;
            value.extend_from_slice(digest);
            value = bank.hash(&value).ok_or(LogDenial::BankMissing { wanted: bank })?;
            events.push(ReplayedEvent::new(event, digest, bank));
        }
        if !crypto::equal(&value, authentic) {
            return Err(LogDenial::Mismatch {
                register,
                replayed: value.into(),
                authentic: authentic.into(),
            });
        }
        proven.insert(register, events);
    }
    let others = extended.events.iter().map(|(register, _)| *register);
    let others = others.filter(|register| !proven.contains_key(register)).collect();
    Ok(Outcome { replayed: Replayed { bank, registers: proven }, others })
}

impl EventLog {
    /// The values to which the log replays, by the index that its events have (in a CCEL, 1 is RTMR0). They prove
    /// nothing: whoever writes a log chooses them. Empty for hashes that are not appraised.
    pub fn unproven_registers(&self, bank: Bank) -> BTreeMap<u32, Vec<u8>> {
        let mut values = BTreeMap::new();
        for event in &self.events {
            let start = || vec![0; bank.digest_len()];
            if !event.extends() {
                if let (Some(locality), Some(last)) =
                    (locality(event), values.entry(0).or_insert_with(start).last_mut())
                {
                    *last = locality;
                }
                continue;
            }
            let value = values.entry(event.index()).or_insert_with(start);
            let Some(digest) = event.digest(bank) else {
                return BTreeMap::new();
            };
            let Some(next) = bank.hash(&[value.as_slice(), digest].concat()) else {
                return BTreeMap::new();
            };
            *value = next;
        }
        values
    }
}

/// The octet after the signature: 0, 3, or 4 after a hardware-based core root of trust.
fn locality(event: &Event) -> Option<u8> {
    match event.data().strip_prefix(STARTUP_LOCALITY)? {
        &[locality @ (0 | 3 | 4)] if event.index() == 0 => Some(locality),
        _ => None,
    }
}

impl Registers<'_> {
    /// The hash that the registers are extended with.
    fn bank(&self) -> Bank {
        match self {
            Self::Rtmr(_) => Bank::Sha384,
            Self::Pcr(_) => Bank::Sha256,
        }
    }

    /// The register that an event's index means.
    fn register(&self, index: u32) -> Option<u8> {
        match self {
            // 0 is MRTD, which nothing extends.
            Self::Rtmr(_) => index.checked_sub(1).filter(|rtmr| *rtmr < u32::from(RTMRS))?.try_into().ok(),
            Self::Pcr(_) => (index < PCRS).then_some(index)?.try_into().ok(),
        }
    }

    /// A register that a log can account for from its start.
    fn value(&self, register: u8) -> Option<&[u8]> {
        match self {
            Self::Rtmr(values) => values.get(usize::from(register)).map(<[u8; 48]>::as_slice),
            Self::Pcr(pcrs) => {
                pcrs.get(register).filter(|_| register < STATIC_PCRS).map(<[u8; 32]>::as_slice)
            }
        }
    }
}

impl Replayed {
    /// The hash of the digests.
    pub fn bank(&self) -> Bank {
        self.bank
    }

    /// The registers that were replayed, ascending: RTMRs or PCRs.
    pub fn registers(&self) -> impl Iterator<Item = u8> {
        self.registers.keys().copied()
    }

    /// The events of a register in their order; `None` where it was not replayed.
    pub fn events(&self, register: u8) -> Option<&[ReplayedEvent]> {
        self.registers.get(&register).map(Vec::as_slice)
    }
}

impl ReplayedEvent {
    fn new(event: &Event, digest: &[u8], bank: Bank) -> Self {
        let content = match event.content(bank) {
            Content::Proven(content) => Some(content.to_vec()),
            Content::Unproven => None,
        };
        Self { digest: digest.to_vec(), content, logged_type: event.event_type() }
    }

    /// What was extended.
    pub fn digest(&self) -> &[u8] {
        &self.digest
    }

    /// What has that digest, where the log shows it. Nothing else of an event's data is kept.
    pub fn content(&self) -> Option<&[u8]> {
        self.content.as_deref()
    }

    /// The type that the log gives the event, which is not proven.
    pub fn logged_type(&self) -> u32 {
        self.logged_type
    }
}

/// `{"bank":"SHA-384","registers":{"0":[{"digest":"…","content":{"text":"…"},"logged_type":"EV_SEPARATOR"}]}}`.
impl Serialize for Replayed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("bank", self.bank.as_str())?;
        map.serialize_entry("registers", &self.registers)?;
        map.end()
    }
}

impl Serialize for ReplayedEvent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(3))?;
        map.serialize_entry("digest", &hex::encode(&self.digest))?;
        map.serialize_entry("content", &self.content.as_deref().map(Shown))?;
        let logged = event_type_name(self.logged_type);
        map.serialize_entry(
            "logged_type",
            &logged.map_or_else(|| format!("{:#010x}", self.logged_type), str::to_owned),
        )?;
        map.end()
    }
}

/// `{"text":"…"}` where it is printable, `{"hex":"…"}` where it is not, `{"bytes":1234}` where it is long.
struct Shown<'a>(&'a [u8]);

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        let printable = self.0.iter().all(|octet| octet.is_ascii_graphic() || *octet == b' ');
        match core::str::from_utf8(self.0) {
            _ if self.0.len() > MAX_SHOWN => map.serialize_entry("bytes", &self.0.len())?,
            Ok(text) if printable => map.serialize_entry("text", text)?,
            _ => map.serialize_entry("hex", &hex::encode(self.0))?,
        }
        map.end()
    }
}
