//! Why an upstream does not come up.

use std::io;

use casemate_engine::EngineError;

/// Why an upstream was not started, or is not let near a prompt.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// The program is not there, or no program.
    #[error("cannot use the upstream's program `{program}`: {source}")]
    Program {
        /// As the operator wrote it.
        program: String,
        /// The system's answer.
        source: io::Error,
    },
    /// The program's file is another one than at the first start.
    #[error("the upstream's program has changed since it was stated")]
    Changed,
    /// The sealed model has no file for the place `{model}`.
    #[error(
        "the upstream's command wants one GGUF file, and the sealed model has none, or several that are no parts of one"
    )]
    Model,
    /// A core dump would be handed to another program.
    #[error(
        "this kernel hands core dumps to a program (kernel.core_pattern), and an upstream's would hold prompts"
    )]
    CorePattern,
    /// The folder of links cannot be made.
    #[error("the upstream's folder cannot be made: {0}")]
    Folder(#[source] io::Error),
    /// No process.
    #[error("the upstream cannot be started: {0}")]
    Start(#[source] io::Error),
    /// It ended, or never answered.
    #[error("the upstream did not come up: {0}")]
    NoAnswer(#[source] EngineError),
    /// Whoever listens at its port is another user's.
    #[error("what listens at the upstream's port is of user {user}, not of this server's")]
    Foreign {
        /// Whose.
        user: u32,
    },
    /// It listens where others than this machine can connect.
    #[error("the upstream does not listen on the loopback only: whoever connects would need no key")]
    Exposed,
    /// The probe was not answered.
    #[error("the upstream did not answer the probe: {0}")]
    Probe(#[source] EngineError),
    /// The answer is not language.
    #[error("the upstream answered the probe with garbage")]
    Garbage,
    /// The answer is not the expected one.
    #[error("the upstream did not answer the probe as expected")]
    Unlike,
    /// The same greedy request has two answers.
    #[error("the upstream answered the same greedy request in two ways")]
    Unstable,
    /// One tenant's text made another's faster.
    #[error("the upstream used what it kept of one tenant for another")]
    CacheShared,
}

impl UpstreamError {
    /// The stable code of this error.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Program { .. } => "upstream.program",
            Self::Changed => "upstream.program-changed",
            Self::Model => "upstream.model",
            Self::CorePattern => "upstream.core-pattern",
            Self::Folder(_) => "upstream.folder",
            Self::Start(_) => "upstream.start",
            Self::NoAnswer(_) => "upstream.no-answer",
            Self::Foreign { .. } => "upstream.foreign",
            Self::Exposed => "upstream.exposed",
            Self::Probe(_) => "upstream.probe.failed",
            Self::Garbage => "upstream.probe.garbage",
            Self::Unlike => "upstream.probe.unlike",
            Self::Unstable => "upstream.probe.unstable",
            Self::CacheShared => "upstream.cache-shared",
        }
    }

    /// Whether somebody has to change the configuration.
    #[must_use]
    pub fn is_configuration(&self) -> bool {
        match self {
            Self::Program { .. } | Self::Model | Self::CorePattern | Self::Exposed => true,
            Self::Changed
            | Self::Folder(_)
            | Self::Start(_)
            | Self::NoAnswer(_)
            | Self::Foreign { .. }
            | Self::Probe(_)
            | Self::Garbage
            | Self::Unlike
            | Self::Unstable
            | Self::CacheShared => false,
        }
    }

    /// What the person can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoAnswer(_) | Self::Probe(_) => Some(
                "what the program writes is thrown away, because it may hold prompts; to see it on a machine without clients: \
                 --danger-upstream-output",
            ),
            Self::CorePattern => Some("sysctl kernel.core_pattern=core in the image"),
            Self::Exposed => Some("give it the address 127.0.0.1, such as --host 127.0.0.1, or a {socket}"),
            Self::CacheShared => Some("switch its prefix cache off"),
            _ => None,
        }
    }
}
