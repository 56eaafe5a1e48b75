//! A value in memory that is never swapped, dumped or inherited, and that is overwritten when dropped.
//!
//! Holds the model key between its release and the end of unsealing. One anonymous page, `mlock`ed, left out of core
//! dumps, and wiped in a forked child. The value passes through the stack once on its way in; its own `Drop` zeroises.

use std::io;
use std::ops::Deref;
use std::ptr::NonNull;

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mlock, mmap_anonymous, munmap};

/// What locking the model key takes, in bytes.
pub(crate) const KEY_MEMORY: u64 = 4096;

/// `T` on a page of its own. `T` must zeroise itself on drop and fit the page.
pub(crate) struct Locked<T> {
    page: NonNull<T>,
}

impl<T> Locked<T> {
    const LEN: usize = KEY_MEMORY as usize;

    /// Moves `value` onto a locked page. Fails where the system refuses to lock memory.
    pub(crate) fn new(value: T) -> io::Result<Self> {
        const { assert!(size_of::<T>() <= 4096 && align_of::<T>() <= 4096) };
        // SAFETY: a new anonymous private mapping at an address that the kernel chooses touches no existing memory.
        let raw = unsafe {
            mmap_anonymous(
                std::ptr::null_mut(),
                Self::LEN,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE,
            )?
        };
        // SAFETY: the mapping above has this address and length; locking and advising change no contents.
        let prepared = unsafe {
            mlock(raw, Self::LEN)
                .and_then(|()| madvise(raw, Self::LEN, Advice::LinuxDontDump))
                .and_then(|()| madvise(raw, Self::LEN, Advice::LinuxWipeOnFork))
        };
        let page = NonNull::new(raw.cast::<T>());
        match (prepared, page) {
            (Ok(()), Some(page)) => {
                // SAFETY: the page is writable, large enough and aligned (the assertion above), and holds no value yet.
                unsafe { page.write(value) };
                Ok(Self { page })
            }
            (failed, _) => {
                // SAFETY: nothing points into the mapping yet.
                unsafe { munmap(raw, Self::LEN)? };
                Err(failed.err().map_or_else(|| io::Error::other("mmap gave no address"), Into::into))
            }
        }
    }
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

    #[test]
    fn the_page_is_locked_and_kept_out_of_dumps() {
        let locked = Locked::new([7u8; 32]).unwrap();
        assert_eq!(*locked, [7; 32]);
        let address = format!("{:x}-", locked.page.as_ptr() as usize);
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let flags = maps
            .lines()
            .skip_while(|l| !l.starts_with(&address))
            .find(|l| l.starts_with("VmFlags:"))
            .expect("the page has a mapping of its own");
        for flag in [" lo", " dd", " wf"] {
            assert!(flags.contains(flag), "{flag} missing in {flags}");
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
