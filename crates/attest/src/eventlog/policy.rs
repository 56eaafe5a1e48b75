//! What must, and what may, be in an event log (spec/event-logs.md §5).

use std::collections::BTreeMap;

use crate::policy::{Danger, Expected};

/// Whether an event log is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogPolicy {
    /// Registers are compared as wholes, by the platform's own terms. Evidence with a log is denied: nobody has said
    /// what must be in it.
    NotAsked,
    /// Evidence without a log is denied.
    Demanded(LogTerms),
}

/// Terms for a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogTerms {
    /// By RTMR (0 to 3) or PCR (0 to 15): each must be in the evidence, with the value to which the log replays it
    /// (LOG-03).
    pub registers: BTreeMap<u8, RegisterTerms>,
    /// Events of other registers (LOG-04). They are never proven, whatever is allowed here.
    pub other_registers: Danger,
}

/// Terms for the events of one register. Digests have the length of the register.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegisterTerms {
    /// Every event's digest is one of these; with an empty list, no event may be (LOG-05).
    pub events: Expected<Vec<u8>>,
    /// These happened, in this order, whatever happened between them (LOG-06).
    pub required: Vec<Vec<u8>>,
}
