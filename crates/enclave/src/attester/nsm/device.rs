//! `/dev/nsm`: one ioctl with a request and a place for the answer (Linux `include/uapi/linux/nsm.h`, `struct nsm_raw`).
//!
//! ```text
//! offset  size  field
//!      0     8  request.base
//!      8     8  request.len
//!     16     8  response.base
//!     24     8  response.len     in: the room; out: the answer's length
//! ```

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use super::Module;

/// `_IOWR(0x0A, 0, struct nsm_raw)`: 32 bytes, both ways.
const NSM_IOCTL: u32 = 0xC020_0A00;

#[repr(C)]
struct Raw {
    request: libc::iovec,
    response: libc::iovec,
}

const _: () = assert!(size_of::<Raw>() == 32, "the ioctl's number has the size of its structure");

/// The module of this enclave.
pub(crate) struct NsmDevice(pub(crate) File);

impl Module for NsmDevice {
    fn call(&mut self, request: &[u8], answer: &mut [u8]) -> io::Result<usize> {
        let mut raw = Raw {
            // The kernel only reads it.
            request: libc::iovec { iov_base: request.as_ptr().cast_mut().cast(), iov_len: request.len() },
            response: libc::iovec { iov_base: answer.as_mut_ptr().cast(), iov_len: answer.len() },
        };
        // SAFETY: the descriptor is open for the call; `raw` has the layout that the number stands for; both buffers live
        // through the call, the kernel reads `request.len` bytes of the first and writes at most `response.len` to the second.
        let result = unsafe { libc::ioctl(self.0.as_raw_fd(), NSM_IOCTL as libc::Ioctl, &raw mut raw) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(raw.response.iov_len) }
    }
}
