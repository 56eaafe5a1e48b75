//! Why an event log does not pass.

use thiserror::Error;

use super::bank::Bank;
use super::error::LogError;

/// Why an event log, or its absence, is denied by a policy: rules LOG-01 to LOG-06.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LogDenial {
    /// The policy asks for a log.
    #[error("the policy asks for an event log, and there is none")]
    Missing,
    /// The log that the evidence brings is none.
    #[error(transparent)]
    Unreadable(LogError),
    /// Nobody has said what must be in it.
    #[error("there is an event log, and the policy does not speak of it")]
    NotAsked,
    /// A log of RTMRs for a TPM.
    #[error("dstack's log is one of RTMRs, and the evidence has PCRs")]
    Form,
    /// The log has no digests of the hash that the registers of the evidence are of. SHA-1 is not appraised.
    #[error("the log has no {} digests, which the evidence's registers are of", wanted.as_str())]
    BankMissing {
        /// Of the evidence.
        wanted: Bank,
    },
    /// An event of a register that the platform does not have, or that nobody can extend.
    #[error("an event is of register index {index}, which cannot be extended on this platform")]
    RegisterUnknown {
        /// As logged.
        index: u32,
    },
    /// StartupLocality of another form, twice, after an event of PCR 0, or of a locality that cannot start a TPM.
    #[error("the log's StartupLocality is not the one that a TPM can have")]
    Locality,
    /// The evidence says nothing of a register that the policy names.
    #[error("the policy names register {register}, and the evidence does not have it")]
    NotQuoted {
        /// RTMR or PCR.
        register: u8,
    },
    /// The log is not how the register came about.
    #[error(
        "the log replays register {register} to {}, and the evidence has {}",
        hex::encode(replayed),
        hex::encode(authentic)
    )]
    Mismatch {
        /// RTMR or PCR.
        register: u8,
        /// By the log.
        replayed: Box<[u8]>,
        /// In the evidence.
        authentic: Box<[u8]>,
    },
    /// Events of registers of which the policy does not speak.
    #[error("the log has events of the registers {registers:?}, of which the policy does not speak")]
    NotDecided {
        /// RTMRs or PCRs.
        registers: Vec<u8>,
    },
    /// An event that is not listed.
    #[error(
        "event {position} of register {register} has the digest {}, not one of {accepted} accepted",
        hex::encode(digest)
    )]
    EventNotAccepted {
        /// RTMR or PCR.
        register: u8,
        /// Within the register, from 1.
        position: usize,
        /// What was extended.
        digest: Box<[u8]>,
        /// How many digests the policy lists.
        accepted: usize,
    },
    /// A required event did not happen, or not in the order in which it is required.
    #[error(
        "required event {position} of register {register}, {}, did not happen in the order required",
        hex::encode(digest)
    )]
    EventRequired {
        /// RTMR or PCR.
        register: u8,
        /// In the policy's list, from 1.
        position: usize,
        /// What was to be extended.
        digest: Box<[u8]>,
    },
}

impl LogDenial {
    /// Stable identifier, for logs, exit codes and tests.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Missing => "log.missing",
            Self::Unreadable(error) => error.code(),
            Self::NotAsked => "log.not-asked",
            Self::Form => "log.form",
            Self::BankMissing { .. } => "log.bank.missing",
            Self::RegisterUnknown { .. } => "log.register.unknown",
            Self::Locality => "log.locality",
            Self::NotQuoted { .. } => "log.register.not-quoted",
            Self::Mismatch { .. } => "log.register.mismatch",
            Self::NotDecided { .. } => "log.register.not-decided",
            Self::EventNotAccepted { .. } => "log.event.not-accepted",
            Self::EventRequired { .. } => "log.event.required",
        }
    }
}
