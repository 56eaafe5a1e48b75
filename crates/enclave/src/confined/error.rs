//! Why the engine's process cannot be had.

use std::io;

use casemate_engine::EngineError;

use super::lockdown::LockDownError;

/// The engine's process did not come up.
#[derive(Debug, thiserror::Error)]
pub enum ConfineError {
    /// The system starts no process.
    #[error("cannot start the engine's process: {0}")]
    Start(#[source] io::Error),
    /// The process runs and cannot be confined. An engine is never run unconfined instead.
    #[error("the engine's process cannot be confined: {0}")]
    LockDown(#[from] LockDownError),
    /// The process ended, or was silent, before it said that it is confined.
    #[error("the engine's process did not say that it is confined: {0}")]
    NoAnswer(#[source] EngineError),
}

impl ConfineError {
    /// The stable code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Start(_) => "confine.start",
            Self::LockDown(e) => e.code(),
            Self::NoAnswer(_) => "confine.no-answer",
        }
    }
}
