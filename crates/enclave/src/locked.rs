//! A value in memory that is never swapped, dumped or inherited, and that is overwritten when dropped.
//!
//! Holds the model key between its release and the end of unsealing, on a page of its own. Where the kernel has
//! `memfd_secret`, the page is out of the kernel's own reach too: it is not in its map of memory, so that no other process,
//! not even root's debugger, and no bug that reads memory through the kernel, gets at it. Elsewhere it is an anonymous page,
//! locked and kept out of core dumps; which of the two it is, [`Locked::locked_by`] says. The value passes through the stack
//! once on its way in; its own `Drop` zeroises.

use std::ffi::c_void;
use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Deref;
use std::os::fd::{FromRawFd, OwnedFd};
use std::ptr::NonNull;

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mlock, mmap, mmap_anonymous, munmap};

/// What locking the model key takes, in bytes.
pub(crate) const KEY_MEMORY: u64 = 4096;

/// `T` on a page of its own. `T` must zeroise itself on drop and fit the page.
pub struct Locked<T> {
    page: NonNull<T>,
    by: LockedBy,
}

/// What keeps a page where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockedBy {
    /// `memfd_secret`: the page is out of the kernel's map too.
    MemfdSecret,
    /// `mlock`, for this kernel refuses `memfd_secret`.
    Mlock {
        /// With this error number: 38 (ENOSYS) where it is not built in or not switched on.
        errno: i32,
    },
}

impl fmt::Display for LockedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MemfdSecret => f.write_str("memfd_secret"),
            Self::Mlock { errno } => {
                write!(f, "mlock (no memfd_secret: {})", io::Error::from_raw_os_error(*errno))
            }
        }
    }
}

impl<T> Locked<T> {
    const LEN: usize = KEY_MEMORY as usize;

    /// Moves `value` onto a page of its own.
    ///
    /// # Errors
    /// The system neither gives secret memory nor locks an ordinary page.
    pub fn new(value: T) -> io::Result<Self> {
        match secret_page(Self::LEN) {
            Ok(raw) => Self::on(raw, LockedBy::MemfdSecret, value),
            Err(error) => {
                let raw = locked_page(Self::LEN)?;
                Self::on(raw, LockedBy::Mlock { errno: error.raw_os_error().unwrap_or(0) }, value)
            }
        }
    }

    /// What keeps the page where it is.
    pub fn locked_by(&self) -> LockedBy {
        self.by
    }

    /// `raw` is a fresh mapping of [`Self::LEN`] bytes, ours from now on.
    fn on(raw: *mut c_void, by: LockedBy, value: T) -> io::Result<Self> {
        const { assert!(size_of::<T>() <= 4096 && align_of::<T>() <= 4096) };
        let page = NonNull::new(raw.cast::<T>()).ok_or_else(|| io::Error::other("mmap gave no address"))?;
        // SAFETY: the page is writable, large enough and aligned (the assertion above), and holds no value yet.
        unsafe { page.write(value) };
        Ok(Self { page, by })
    }
}

/// A page of secret memory. Its descriptor is closed again: the mapping is the only way to it, and no child inherits it.
fn secret_page(len: usize) -> io::Result<*mut c_void> {
    // The manual says FD_CLOEXEC; the kernel knows only O_CLOEXEC.
    // SAFETY: the call takes one number; the flag closes the descriptor on exec.
    let descriptor = unsafe { libc::syscall(libc::SYS_memfd_secret, libc::O_CLOEXEC) };
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    let descriptor = i32::try_from(descriptor).map_err(io::Error::other)?;
    // SAFETY: the kernel just made this descriptor, and nobody else knows it.
    let file = File::from(unsafe { OwnedFd::from_raw_fd(descriptor) });
    file.set_len(len as u64)?;
    // SAFETY: a new mapping at an address that the kernel chooses touches no existing memory. Secret memory can only be
    // mapped shared; nobody shares it, for the descriptor is closed below.
    let raw = unsafe {
        mmap(std::ptr::null_mut(), len, ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED, &file, 0)?
    };
    // SAFETY: the mapping above has this address and length; the advice changes no contents.
    unsafe { prepared(raw, len, madvise(raw, len, Advice::LinuxDontFork)) }
}

/// An anonymous page that is locked, left out of core dumps and wiped in a forked child.
fn locked_page(len: usize) -> io::Result<*mut c_void> {
    // SAFETY: a new anonymous private mapping at an address that the kernel chooses touches no existing memory.
    let raw = unsafe {
        mmap_anonymous(std::ptr::null_mut(), len, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE)?
    };
    // SAFETY: the mapping above has this address and length; locking and advising change no contents.
    unsafe {
        let done = mlock(raw, len)
            .and_then(|()| madvise(raw, len, Advice::LinuxDontDump))
            .and_then(|()| madvise(raw, len, Advice::LinuxWipeOnFork));
        prepared(raw, len, done)
    }
}

/// The mapping, or nothing of it where a step failed.
///
/// # Safety
/// `raw` is a mapping of `len` bytes that nothing points into.
unsafe fn prepared(raw: *mut c_void, len: usize, done: rustix::io::Result<()>) -> io::Result<*mut c_void> {
    if let Err(error) = done {
        // SAFETY: by this function's contract.
        unsafe { munmap(raw, len)? };
        return Err(error.into());
    }
    Ok(raw)
}

impl<T> Deref for Locked<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: `new` wrote a valid value that lives until `drop`, and nobody else has the pointer.
        unsafe { self.page.as_ref() }
    }
}

impl<T> Drop for Locked<T> {
    fn drop(&mut self) {
        // SAFETY: the value is valid and dropped once; afterwards the mapping is removed with its own address and length.
        unsafe {
            self.page.drop_in_place();
            let _ = munmap(self.page.as_ptr().cast(), Self::LEN);
        }
    }
}

// SAFETY: `Locked<T>` owns its value as a `Box<T>` does.
unsafe impl<T: Send> Send for Locked<T> {}
// SAFETY: as above; sharing gives out `&T` only.
unsafe impl<T: Sync> Sync for Locked<T> {}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kernel's flags of the mapping at `address`.
    fn flags(address: usize) -> String {
        let address = format!("{address:x}-");
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut lines = maps.lines().skip_while(|l| !l.starts_with(&address));
        lines.find(|l| l.starts_with("VmFlags:")).expect("the page has a mapping of its own").to_owned()
    }

    #[test]
    fn the_page_is_locked_and_kept_out_of_dumps() {
        let locked = Locked::new([7u8; 32]).unwrap();
        assert_eq!(*locked, [7; 32]);
        let found = flags(locked.page.as_ptr() as usize);
        let wanted = match locked.locked_by() {
            // Not inherited: "dc", do not copy on fork.
            LockedBy::MemfdSecret => [" lo", " dd", " dc"],
            // A kernel without it says so; any other refusal is a mistake of ours.
            LockedBy::Mlock { errno } => {
                assert!([libc::ENOSYS, libc::EPERM].contains(&errno), "{}", locked.locked_by());
                [" lo", " dd", " wf"]
            }
        };
        for flag in wanted {
            assert!(found.contains(flag), "{flag} missing in {found}");
        }
    }

    #[test]
    fn a_kernel_without_secret_memory_gets_a_locked_page_that_says_so() {
        let by = LockedBy::Mlock { errno: libc::ENOSYS };
        let locked = Locked::on(locked_page(4096).unwrap(), by, [7u8; 32]).unwrap();
        assert_eq!((*locked, locked.locked_by()), ([7; 32], by));
        assert!(by.to_string().starts_with("mlock (no memfd_secret: "));
        let found = flags(locked.page.as_ptr() as usize);
        for flag in [" lo", " dd", " wf"] {
            assert!(found.contains(flag), "{flag} missing in {found}");
        }
    }

    /// Through the kernel an ordinary page can be read, and secret memory cannot.
    #[test]
    fn secret_memory_is_out_of_the_kernels_reach() {
        use std::os::unix::fs::FileExt;
        let memory = File::open("/proc/self/mem").unwrap();
        let read = |address: usize| {
            let mut bytes = [0u8; 32];
            memory.read_exact_at(&mut bytes, address as u64).map(|()| bytes)
        };
        let locked = Locked::new([7u8; 32]).unwrap();
        let ordinary = Box::new([7u8; 32]);
        assert_eq!(read(ordinary.as_ptr() as usize).unwrap(), [7; 32]);
        let through = read(locked.page.as_ptr() as usize);
        match locked.locked_by() {
            LockedBy::MemfdSecret => assert_eq!(through.unwrap_err().raw_os_error(), Some(libc::EIO)),
            LockedBy::Mlock { .. } => assert_eq!(through.unwrap(), [7; 32]),
        }
    }

    #[test]
    fn the_value_is_dropped_once() {
        struct Counted<'a>(&'a std::cell::Cell<u32>);
        impl Drop for Counted<'_> {
            fn drop(&mut self) {
                self.0.set(self.0.get() + 1);
            }
        }
        let drops = std::cell::Cell::new(0);
        drop(Locked::new(Counted(&drops)).unwrap());
        assert_eq!(drops.get(), 1);
    }
}
