//! The engine in a process of its own, which reaches neither keys nor network nor files nor other processes
//! (spec/confinement.md).
//!
//! [`EngineProcess::start`] starts it and returns when it has confined itself; [`EngineProcess::load`] gives it the
//! weights, as a descriptor of the memory that they were opened into, and makes a [`ConfinedEngine`] of it: an
//! [`Engine`](casemate_engine::Engine) like any other. A [`SupervisedEngine`] starts the next one when it ends. The other side is
//! [`worker`].
//!
//! `unsafe` stands in `lockdown` only: one system call that no library offers.

mod engine;
mod error;
#[allow(unsafe_code)]
mod lockdown;
mod process;
mod seccomp;
mod supervised;
mod wire;
mod worker;

/// The two walls one at a time, so that tests see that each of them stands.
pub mod walls {
    pub use super::lockdown::landlock;
    pub use super::seccomp::enter as seccomp;
}

/// The argument that asks a program to be the engine's process: `casemate engine-worker`.
pub const WORKER: &str = "engine-worker";

pub use engine::ConfinedEngine;
pub(crate) use engine::{erase, longest_answer};
pub use error::ConfineError;
pub(crate) use lockdown::close_others;
pub use lockdown::{Confinement, LockDownError, Step, lock_down};
pub use process::{EngineProcess, Patience, Program};
pub(crate) use supervised::Pause;
pub use supervised::{Restart, SupervisedEngine};
pub use worker::{worker, worker_with};
