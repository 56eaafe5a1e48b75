//! Step 1 of the boot: nothing of this process may reach a disk or another process.
//!
//! No core dump, not dumpable (so no other process of the same user reads our memory), no new privileges, no swap, and an
//! unprivileged user once every input file is open. `unsafe` here is calls into libc that take plain numbers.

use std::fs;
use std::io;

/// What could not be hardened.
#[derive(Debug, thiserror::Error)]
pub enum HardeningError {
    /// A system call failed.
    #[error("cannot {what}: {source}")]
    System {
        /// What was attempted.
        what: &'static str,
        /// The system's answer.
        source: io::Error,
    },
    /// Swap is on, so keys and weights could be written to a disk.
    #[error("swap is on: {device}")]
    SwapOn {
        /// The first swap device.
        device: String,
    },
}

impl HardeningError {
    /// The stable code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::System { .. } => "boot.hardening",
            Self::SwapOn { .. } => "boot.swap-on",
        }
    }
}

/// Whether a machine with swap may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SwapRule {
    /// Refuse to start.
    Refuse,
    /// Somebody wrote `--danger-allow-swap`.
    DangerAllow,
}

/// Proof that [`harden`] ran.
#[derive(Debug)]
pub struct Hardened(());

/// Forbids core dumps, tracing by other processes and new privileges, and checks for swap.
///
/// Call it before the process has a second thread: new privileges are forbidden for the calling thread and those that it
/// starts, not for threads that run already.
///
/// # Errors
/// Swap is on and `swap` refuses it, or the system refuses one of the settings.
pub fn harden(swap: SwapRule) -> Result<Hardened, HardeningError> {
    if swap == SwapRule::Refuse {
        let text = fs::read_to_string("/proc/swaps")
            .map_err(|source| HardeningError::System { what: "read /proc/swaps", source })?;
        if let Some(device) = swap_device(&text) {
            return Err(HardeningError::SwapOn { device });
        }
    }
    no_core_dumps()?;
    prctl(libc::PR_SET_DUMPABLE, 0, "make the process undumpable")?;
    prctl(libc::PR_SET_NO_NEW_PRIVS, 1, "forbid new privileges")?;
    Ok(Hardened(()))
}

/// Whether the process is root.
pub(crate) fn is_root() -> bool {
    // SAFETY: geteuid takes nothing and cannot fail.
    unsafe { libc::geteuid() == 0 }
}

/// Becomes the unprivileged user `uid`:`gid` if the process is root; otherwise it already is unprivileged.
///
/// Every input file must be open before. Returns whether the user changed.
pub(crate) fn drop_privileges(uid: u32, gid: u32) -> Result<bool, HardeningError> {
    if !is_root() {
        return Ok(false);
    }
    // glibc applies these to every thread of the process (setxid), unlike the raw system calls.
    no_other_groups()?;
    // SAFETY: plain numbers.
    check(unsafe { libc::setresgid(gid, gid, gid) }, "change the group")?;
    // SAFETY: plain numbers.
    check(unsafe { libc::setresuid(uid, uid, uid) }, "change the user")?;
    // A change of credentials resets both, see prctl(2).
    prctl(libc::PR_SET_DUMPABLE, 0, "make the process undumpable")?;
    Ok(true)
}

/// Does `work` with the rights of the unprivileged user `uid`:`gid` where the process is root, and is root again afterwards. For what
/// must come before root's rights are given up for good, and needs none of them.
///
/// Nothing else may run meanwhile: the change is of the whole process. It keeps files and folders apart, and is no wall against a
/// process that was taken over, which could take the same way back.
///
/// # Errors
/// The system refuses a change.
pub(crate) async fn as_user<T>(
    uid: u32,
    gid: u32,
    work: impl Future<Output = T>,
) -> Result<T, HardeningError> {
    if !is_root() {
        return Ok(work.await);
    }
    // SAFETY: getegid takes nothing and cannot fail.
    let own_group = unsafe { libc::getegid() };
    no_other_groups()?;
    act_as(None, Some(gid))?;
    act_as(Some(uid), None)?;
    let done = work.await;
    act_as(Some(0), None)?;
    act_as(None, Some(own_group))?;
    Ok(done)
}

/// Changes the effective user, the effective group, or both, and no other.
fn act_as(uid: Option<u32>, gid: Option<u32>) -> Result<(), HardeningError> {
    // glibc applies these to every thread of the process (setxid), unlike the raw system calls.
    if let Some(gid) = gid {
        // SAFETY: plain numbers; KEEP leaves an id as it is.
        check(unsafe { libc::setresgid(KEEP, gid, KEEP) }, "change the effective group")?;
    }
    if let Some(uid) = uid {
        // SAFETY: as above.
        check(unsafe { libc::setresuid(KEEP, uid, KEEP) }, "change the effective user")?;
    }
    // A change of credentials resets it, see prctl(2).
    prctl(libc::PR_SET_DUMPABLE, 0, "make the process undumpable")
}

fn no_other_groups() -> Result<(), HardeningError> {
    // SAFETY: a null list of length zero is the documented way to drop all supplementary groups.
    check(unsafe { libc::setgroups(0, std::ptr::null()) }, "drop the supplementary groups")
}

/// -1: an id that setresuid(2) and setresgid(2) leave as it is.
const KEEP: u32 = u32::MAX;

fn no_core_dumps() -> Result<(), HardeningError> {
    let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to a live rlimit for the duration of the call.
    check(unsafe { libc::setrlimit(libc::RLIMIT_CORE, &none) }, "forbid core dumps")
}

fn prctl(option: libc::c_int, value: libc::c_ulong, what: &'static str) -> Result<(), HardeningError> {
    let zero: libc::c_ulong = 0;
    // SAFETY: both options that we use take one number and three zeros.
    check(unsafe { libc::prctl(option, value, zero, zero, zero) }, what)
}

fn check(result: libc::c_int, what: &'static str) -> Result<(), HardeningError> {
    if result == 0 {
        Ok(())
    } else {
        Err(HardeningError::System { what, source: io::Error::last_os_error() })
    }
}

/// The first device of /proc/swaps, whose first line is a heading.
pub(crate) fn swap_device(proc_swaps: &str) -> Option<String> {
    let line = proc_swaps.lines().nth(1)?;
    Some(line.split_whitespace().next().unwrap_or("unknown").to_owned())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Whether this is a process for this case alone. Where it is not, one is started, and has passed the case.
    pub(crate) fn alone(name: &str) -> bool {
        const INSIDE: &str = "CASEMATE_TEST_ALONE";
        if std::env::var_os(INSIDE).is_some() {
            return true;
        }
        let this = std::env::current_exe().unwrap();
        let mut child = std::process::Command::new(this);
        let child = child.args(["--exact", name, "--nocapture"]).env(INSIDE, "1").output().unwrap();
        let said = String::from_utf8_lossy(&child.stdout);
        let why = String::from_utf8_lossy(&child.stderr);
        assert!(child.status.success() && said.contains("1 passed"), "{said}{why}");
        false
    }

    #[test]
    fn swap_is_seen() {
        let heading = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n";
        assert_eq!(swap_device(heading), None);
        assert_eq!(
            swap_device(&format!("{heading}/dev/dm-1 partition 8 0 -2\n")).as_deref(),
            Some("/dev/dm-1")
        );
    }

    /// Users are changed in a process of its own: other cases run in this one.
    #[test]
    fn what_is_done_as_the_user_is_done_without_roots_rights_and_they_come_back() {
        if !alone(
            "hardening::tests::what_is_done_as_the_user_is_done_without_roots_rights_and_they_come_back",
        ) {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let (ours, theirs) = (folder.path().join("ours"), folder.path().join("theirs"));
        for (path, mode) in [(folder.path(), 0o755), (&ours, 0o700), (&theirs, 0o777)] {
            let _ = fs::create_dir(path);
            fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
        }
        let root = is_root();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
        let written = runtime
            .block_on(as_user(65534, 65534, async {
                // On a thread of the runtime's pool, which was there before or is made now.
                let (ours, theirs) = (ours.join("a"), theirs.join("b"));
                let write = move || (fs::write(ours, "").is_ok(), fs::write(theirs, "").is_ok());
                let here = write.clone()();
                assert_eq!(tokio::task::spawn_blocking(write).await.unwrap(), here);
                here
            }))
            .unwrap();
        // Without root's rights there is nothing to give up.
        assert_eq!(written, (!root, true));
        assert_eq!(is_root(), root);
        assert!(fs::write(ours.join("c"), "").is_ok());
        if root {
            let written = fs::metadata(theirs.join("b")).unwrap();
            let owner = (
                std::os::unix::fs::MetadataExt::uid(&written),
                std::os::unix::fs::MetadataExt::gid(&written),
            );
            assert_eq!(owner, (65534, 65534));
            let group = std::os::unix::fs::MetadataExt::gid(&fs::metadata(ours.join("c")).unwrap());
            assert_eq!(group, 0, "root's own group is back");
            // SAFETY: takes a plain number, and answers with one.
            assert_eq!(unsafe { libc::prctl(libc::PR_GET_DUMPABLE) }, 0);
        }
    }
}
