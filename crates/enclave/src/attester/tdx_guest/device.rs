//! `/dev/tdx_guest`: one ioctl (Linux `include/uapi/linux/tdx-guest.h`, `struct tdx_report_req`); and a socket to the host.
//!
//! ```text
//! offset  size  field
//!      0    64  reportdata     in
//!     64  1024  tdreport       out
//! ```

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

use super::{Guest, TD_REPORT_LEN};

/// `_IOWR('T', 1, struct tdx_report_req)`: 1088 bytes, both ways.
const TDX_CMD_GET_REPORT0: u32 = 0xC440_5401;

#[repr(C)]
struct ReportRequest {
    report_data: [u8; 64],
    report: [u8; TD_REPORT_LEN],
}

const _: () =
    assert!(size_of::<ReportRequest>() == 0x440, "the ioctl's number has the size of its structure");

/// The device of this TD.
pub(crate) struct TdxGuestDevice(pub(crate) File);

impl Guest for TdxGuestDevice {
    fn report(&mut self, report_data: &[u8; 64]) -> io::Result<[u8; TD_REPORT_LEN]> {
        let mut request = ReportRequest { report_data: *report_data, report: [0; TD_REPORT_LEN] };
        // SAFETY: the descriptor is open for the call; `request` has the layout and the length that the number stands for, and
        // lives through the call.
        let result =
            unsafe { libc::ioctl(self.0.as_raw_fd(), TDX_CMD_GET_REPORT0 as libc::Ioctl, &raw mut request) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(request.report) }
    }
}

/// A stream to the host or to a peer of it, on which each reading and writing takes at most `limit`.
pub(crate) fn vsock(cid: u32, port: u32, limit: Duration) -> io::Result<File> {
    // SAFETY: takes plain numbers.
    let socket = unsafe { libc::socket(libc::AF_VSOCK, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) };
    if socket < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just gave us this descriptor, and nobody else has it.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    let time = libc::timeval { tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX), tv_usec: 0 };
    for option in [libc::SO_RCVTIMEO, libc::SO_SNDTIMEO] {
        // SAFETY: the descriptor is open; the pointer is to a live timeval, whose length is given.
        let result = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                option,
                (&raw const time).cast(),
                size_of::<libc::timeval>() as libc::socklen_t,
            )
        };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    // SAFETY: a structure of numbers, for which zeros are valid.
    let mut address: libc::sockaddr_vm = unsafe { std::mem::zeroed() };
    address.svm_family = libc::AF_VSOCK as libc::sa_family_t;
    address.svm_cid = cid;
    address.svm_port = port;
    // SAFETY: the descriptor is open; the pointer is to a live address of this family, whose length is given.
    let result = unsafe {
        libc::connect(
            socket.as_raw_fd(),
            (&raw const address).cast(),
            size_of::<libc::sockaddr_vm>() as libc::socklen_t,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(File::from(socket)) }
}
