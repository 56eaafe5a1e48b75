//! Another program in the place of the embedded engine: any server with OpenAI's interface, which this process starts, gives the
//! unsealed weights, watches and ends (spec/upstream.md).
//!
//! [`UpstreamEngine`] is an [`Engine`](casemate_engine::Engine) like any other: what clients may ask, who they are and what they get
//! stays with the API, and nothing that the program sends reaches a client or a log unread.
//!
//! | module | what it knows |
//! |---|---|
//! | `command` | the operator's command line, and what is filled in |
//! | `launch` | how the program is started with descriptors of memory in the place of files |
//! | `listener` | who listens at its port |
//! | `http` | one request and its answer on a local socket, within bounds |
//! | `ask` | a request in the program's dialect |
//! | `answer` | its stream, read strictly |
//! | `probe` | what it is asked before anybody else may |
//! | `engine` | the [`Engine`](casemate_engine::Engine), and the watch over the program |

mod answer;
mod ask;
mod command;
mod engine;
mod error;
mod http;
mod launch;
mod listener;
mod probe;
mod settings;

/// The argument that asks a program to start an upstream: `casemate upstream-launcher`.
pub const LAUNCHER: &str = "upstream-launcher";

pub use command::{CommandFault, CommandLine, Kind};
pub use engine::{Pace, Upstream, UpstreamEngine};
pub use error::UpstreamError;
pub use launch::{Executable, launcher};
pub use probe::Question;
pub(crate) use settings::UPSTREAM_COMMAND;
pub use settings::{Output, UpstreamConfig, UpstreamSettings};
