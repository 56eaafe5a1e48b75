//! Event logs: the events behind a measurement register (spec/event-logs.md).
//!
//! ```text
//! EventLog::parse(bytes)                  -> EventLog    has the form; believed by nobody    LogError
//! authentic.with_event_log(log)           -> Authentic   the log stands beside the evidence
//! authentic.appraise(&policy, &binding)   -> Verified    the log replayed to the registers of the evidence, and each
//!                                                        event is one that the policy lists  LogDenial
//! ```
//!
//! A log is the sender's word. What proves it is the register: SHA(register || digest), event by event, must end at the
//! value that the hardware or the TPM signed. That proves the digests and their order within a register, and nothing
//! else: not the type of an event, not the order across registers, and of an event's data only what has the digest.

mod appraise;
mod bank;
mod content;
mod deny;
mod dstack;
mod error;
mod event;
mod policy;
mod policy_file;
mod replay;
mod tcg;

pub use bank::Bank;
pub use content::Content;
pub use deny::LogDenial;
pub use dstack::{DstackEvent, DstackVersion, dstack_event_digest};
pub use error::LogError;
pub use event::{Event, event_type_name};
pub use policy::{LogPolicy, LogTerms, RegisterTerms};
pub use replay::{Replayed, ReplayedEvent};

pub(crate) use appraise::appraise;
pub(crate) use policy_file::LogFile;
pub(crate) use replay::{RTMRS, Registers, STATIC_PCRS};

/// Longer logs are refused before they are parsed. The longest recorded area has 1 MiB, of which most is fill.
pub const MAX_LOG: usize = 2 * 1024 * 1024;

/// Logs of more events are refused. The longest recorded one has 116; a machine that keeps logging at run time has more.
pub const MAX_EVENTS: usize = 8192;

/// An event log as it arrived. Believed by nobody yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventLog {
    form: Form,
    banks: Vec<Bank>,
    events: Vec<Event>,
}

/// How a log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// TCG PC Client, crypto-agile: of a TPM, or a CCEL.
    Tcg,
    /// JSON of dstack.
    Dstack,
}

impl EventLog {
    /// Recognises the form and takes the bytes as they are.
    ///
    /// # Errors
    /// Every departure from the form (spec/event-logs.md, rule LOG-02).
    pub fn parse(input: &[u8]) -> Result<Self, LogError> {
        if input.len() > MAX_LOG {
            return Err(LogError::TooLong { found: input.len() });
        }
        if input.first() == Some(&b'[') {
            let events = dstack::parse(input)?;
            return Ok(Self { form: Form::Dstack, banks: vec![Bank::Sha384], events });
        }
        let (banks, events) = tcg::parse(input)?;
        Ok(Self { form: Form::Tcg, banks, events })
    }

    /// dstack's list, where it stands in a larger JSON document that was read by [`crate::json`].
    ///
    /// # Errors
    /// Every departure from the form (spec/event-logs.md, rule LOG-02).
    pub fn of_dstack(list: &serde_json::Value) -> Result<Self, LogError> {
        let events = dstack::parse_value(list)?;
        Ok(Self { form: Form::Dstack, banks: vec![Bank::Sha384], events })
    }

    /// Whether bytes mean to be a log of a known form. A log of the older form, which has SHA-1 only, is none.
    pub fn looks_like(input: &[u8]) -> bool {
        let list = input.strip_prefix(b"[").unwrap_or_default();
        tcg::looks_like(input) || list.iter().find(|octet| !octet.is_ascii_whitespace()) == Some(&b'{')
    }

    /// How it is written.
    pub fn form(&self) -> Form {
        self.form
    }

    /// The hashes that every event has a digest of.
    pub fn banks(&self) -> &[Bank] {
        &self.banks
    }

    /// The events, in the order of the log. Reading one proves nothing.
    pub fn events(&self) -> &[Event] {
        &self.events
    }
}

#[cfg(test)]
mod tests;
