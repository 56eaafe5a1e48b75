//! What a process does to itself before it touches a model: from here on it has the descriptors that it was given, memory
//! and processor time, and nothing else (spec/confinement.md, section 2).
//!
//! Two walls, each of which would do: Landlock, by which the kernel refuses files, ports, abstract sockets and signals to
//! this process and its threads; and seccomp, by which it refuses the system calls themselves.

use std::fs;
use std::io;

use landlock::{
    ABI, Access, AccessFs, AccessNet, LandlockStatus, Ruleset, RulesetAttr, RulesetStatus, Scope,
};
use serde::{Deserialize, Serialize};

use super::seccomp;
use crate::hardening::{self, HardeningError, SwapRule};

/// Proof that [`lock_down`] ran in this process, and how far it went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Confinement {
    /// The version of Landlock's interface that is enforced: from 4 on it covers TCP ports, from 6 on signals and abstract
    /// sockets too. What it does not cover, seccomp refuses alone.
    landlock_abi: u32,
}

impl Confinement {
    /// The version of Landlock's interface that is enforced.
    pub fn landlock_abi(self) -> u32 {
        self.landlock_abi
    }

    pub(super) fn reported(landlock_abi: u32) -> Self {
        Self { landlock_abi }
    }
}

/// Why a process could not be confined. It must then do nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum LockDownError {
    /// A system call failed.
    #[error("cannot {step}: {}", io::Error::from_raw_os_error(*errno))]
    System {
        /// What was attempted.
        step: Step,
        /// The system's answer.
        errno: i32,
    },
    /// The kernel is built or started without Landlock.
    #[error(
        "this kernel has no Landlock (Linux 5.13 and CONFIG_SECURITY_LANDLOCK are needed, and `landlock` among lsm=)"
    )]
    NoLandlock,
    /// Landlock is there and refused.
    #[error("Landlock refuses: {}", io::Error::from_raw_os_error(*errno))]
    Landlock {
        /// The system's answer.
        errno: i32,
    },
    /// The kernel has no seccomp filters, or refused them.
    #[error("seccomp refuses: {}", io::Error::from_raw_os_error(*errno))]
    Seccomp {
        /// The system's answer.
        errno: i32,
    },
    /// A second thread runs already, and would not be confined.
    #[error("the process has {found} threads; only one can be confined")]
    Threads {
        /// How many.
        found: u32,
    },
}

/// The steps that are one plain system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum Step {
    /// No core dump, not dumpable, no new privileges.
    #[error("harden the process")]
    Harden,
    /// To end when the parent does.
    #[error("tie the process to its parent")]
    Tie,
    /// To close every descriptor but the standard ones.
    #[error("close descriptors")]
    Close,
    /// To count threads.
    #[error("count the threads of the process")]
    Count,
}

impl LockDownError {
    /// The stable code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::System { .. } => "confine.system",
            Self::NoLandlock => "confine.landlock.absent",
            Self::Landlock { .. } => "confine.landlock.refused",
            Self::Seccomp { .. } => "confine.seccomp",
            Self::Threads { .. } => "confine.threads",
        }
    }
}

/// Confines this process, for good. Call it first of all: with one thread, before anything is open that must not stay.
///
/// # Errors
/// The system refuses a step. The process is then confined in part, and must end.
pub fn lock_down() -> Result<Confinement, LockDownError> {
    let system = |step| move |error: io::Error| LockDownError::System { step, errno: errno(&error) };
    // Swap is the parent's decision and was taken there (CONF-03).
    hardening::harden(SwapRule::DangerAllow).map_err(|error| match error {
        HardeningError::System { source, .. } => system(Step::Harden)(source),
        HardeningError::SwapOn { .. } => LockDownError::System { step: Step::Harden, errno: 0 },
    })?;
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
        .map_err(|e| system(Step::Tie)(e.into()))?;
    let threads = fs::read_dir("/proc/self/task").map_err(system(Step::Count))?.count();
    if threads != 1 {
        return Err(LockDownError::Threads { found: u32::try_from(threads).unwrap_or(u32::MAX) });
    }
    close_others().map_err(system(Step::Close))?;
    let landlock_abi = landlock()?;
    seccomp::enter()?;
    Ok(Confinement { landlock_abi })
}

/// Every descriptor from 3 on.
pub(crate) fn close_others() -> io::Result<()> {
    // SAFETY: nothing of this process owns a descriptor yet but the three standard ones: it has one thread, which is here,
    // and the listing above is closed.
    match unsafe { libc::close_range(3, libc::c_uint::MAX, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// A set of rules that allows nothing, of everything that this kernel can refuse. Returns the version of its interface.
///
/// # Errors
/// [`LockDownError::NoLandlock`], [`LockDownError::Landlock`].
pub fn landlock() -> Result<u32, LockDownError> {
    let refused = |_| LockDownError::Landlock { errno: errno(&io::Error::last_os_error()) };
    let status = Ruleset::default()
        .handle_access(AccessFs::from_all(KNOWN))
        .and_then(|rules| rules.handle_access(AccessNet::from_all(KNOWN)))
        .and_then(|rules| rules.scope(Scope::from_all(KNOWN)))
        .and_then(Ruleset::create)
        .and_then(|rules| rules.restrict_self())
        .map_err(refused)?;
    match status.landlock {
        LandlockStatus::Available { effective_abi, .. } if status.ruleset != RulesetStatus::NotEnforced => {
            Ok(effective_abi.min(KNOWN) as u32)
        }
        LandlockStatus::Available { .. } => Err(LockDownError::Landlock { errno: 0 }),
        LandlockStatus::NotEnabled | LandlockStatus::NotImplemented => Err(LockDownError::NoLandlock),
    }
}

pub(super) fn errno(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(0)
}

/// What this code was written and tested for; what later versions can refuse is refused by seccomp.
const KNOWN: ABI = ABI::V7;
