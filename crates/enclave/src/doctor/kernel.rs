//! What only a system call can say. Each asks and changes nothing.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

/// The kernel's answers.
#[derive(Debug)]
pub(crate) struct Calls {
    /// Whether an NTP service keeps the clock, by adjtimex(2).
    pub(crate) synchronised: io::Result<bool>,
    /// Landlock's ABI version, by landlock_create_ruleset(2).
    pub(crate) landlock: io::Result<u32>,
    /// Whether memory can be taken out of the kernel's own map, by memfd_secret(2).
    pub(crate) secret_memory: io::Result<()>,
}

impl Calls {
    pub(crate) fn make() -> Self {
        Self { synchronised: synchronised(), landlock: landlock(), secret_memory: secret_memory() }
    }
}

fn synchronised() -> io::Result<bool> {
    // SAFETY: `timex` is a structure of numbers, for which zeros are valid; zero `modes` asks and sets nothing.
    let mut state: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a live timex for the duration of the call.
    let clock = unsafe { libc::adjtimex(&raw mut state) };
    if clock < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(clock != libc::TIME_ERROR && state.status & libc::STA_UNSYNC == 0)
}

fn landlock() -> io::Result<u32> {
    /// `LANDLOCK_CREATE_RULESET_VERSION` (Linux `include/uapi/linux/landlock.h`).
    const VERSION: libc::c_uint = 1;
    let none: *const libc::c_void = std::ptr::null();
    let size: libc::size_t = 0;
    // SAFETY: with this flag, no attributes and size zero the call makes nothing and returns a number.
    let version = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, none, size, VERSION) };
    u32::try_from(version).map_err(|_| io::Error::last_os_error())
}

fn secret_memory() -> io::Result<()> {
    // SAFETY: takes flags only.
    let fd = unsafe { libc::syscall(libc::SYS_memfd_secret, libc::O_CLOEXEC as libc::c_uint) };
    let fd = i32::try_from(fd).ok().filter(|fd| *fd >= 0).ok_or_else(io::Error::last_os_error)?;
    // SAFETY: the kernel just gave us this descriptor, and nobody else has it; it is closed here.
    drop(unsafe { OwnedFd::from_raw_fd(fd) });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// On any Linux: an answer, or one of the refusals that the checks know.
    #[test]
    fn this_kernel_answers() {
        let known = |error: &io::Error| {
            matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EOPNOTSUPP | libc::EPERM))
        };
        let Calls { synchronised, landlock, secret_memory } = Calls::make();
        assert!(synchronised.is_ok());
        match landlock {
            Ok(version) => assert!((1..1000).contains(&version), "{version}"),
            Err(error) => assert!(known(&error), "{error}"),
        }
        if let Err(error) = secret_memory {
            assert!(known(&error), "{error}");
        }
    }
}
