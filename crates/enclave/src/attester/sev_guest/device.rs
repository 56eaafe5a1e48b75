//! `/dev/sev-guest`: two ioctls (Linux `include/uapi/linux/sev-guest.h`).
//!
//! ```text
//! offset  size  snp_guest_request_ioctl
//!      0     1  msg_version      1, then 7 octets of padding
//!      8     8  req_data         in: snp_report_req, or snp_ext_report_req
//!     16     8  resp_data        out: snp_report_resp, 4000 octets
//!     24     8  exitinfo2        out: the firmware's error in the low half, the host's in the high one
//!
//! offset  size  snp_report_req                  offset  size  snp_ext_report_req
//!      0    64  user_data                            0    96  snp_report_req
//!     64     4  vmpl                                96     8  certs_address
//!     68    28  zeros                              104     4  certs_len        in: room; out: what the host needs
//! ```

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use super::{Answer, Guest, Request, Response};

/// `_IOWR('S', 0, struct snp_guest_request_ioctl)`: 32 bytes, both ways.
const SNP_GET_REPORT: u32 = 0xC020_5300;
/// `_IOWR('S', 2, struct snp_guest_request_ioctl)`.
const SNP_GET_EXT_REPORT: u32 = 0xC020_5302;
/// What Linux knows, in the protocol of guest and firmware.
const MESSAGE_VERSION: u8 = 1;

#[repr(C)]
struct ReportRequest {
    user_data: [u8; 64],
    vmpl: u32,
    zeros: [u8; 28],
}

#[repr(C)]
struct ExtendedRequest {
    report: ReportRequest,
    certificates: u64,
    length: u32,
}

#[repr(C)]
struct Exchange {
    version: u8,
    request: u64,
    response: u64,
    exitinfo2: u64,
}

const _: () = assert!(size_of::<ReportRequest>() == 96 && size_of::<ExtendedRequest>() == 112);
const _: () = assert!(size_of::<Exchange>() == 32, "the ioctl's number has the size of its structure");

/// The device of this guest.
pub(crate) struct SevGuestDevice(pub(crate) File);

impl Guest for SevGuestDevice {
    fn report(&mut self, request: &Request, response: &mut Response) -> Answer {
        let mut request = report_request(request);
        let mut exchange = Exchange {
            version: MESSAGE_VERSION,
            request: (&raw mut request) as u64,
            response: response.as_mut_ptr() as u64,
            exitinfo2: 0,
        };
        // SAFETY: the descriptor is open for the call; `exchange` has the layout that the number stands for; both addresses are
        // of values that live through the call and have the lengths that this ioctl copies: 96 octets from the first, 4000
        // to the second.
        let result =
            unsafe { libc::ioctl(self.0.as_raw_fd(), SNP_GET_REPORT as libc::Ioctl, &raw mut exchange) };
        Answer { result: of(result), exitinfo2: exchange.exitinfo2, certificates: 0 }
    }

    fn extended(&mut self, request: &Request, response: &mut Response, certificates: &mut [u8]) -> Answer {
        // A room that needs more than 32 bits is no room that the driver takes.
        let length = u32::try_from(certificates.len()).unwrap_or(0);
        let mut request = ExtendedRequest {
            report: report_request(request),
            certificates: certificates.as_mut_ptr() as u64,
            length,
        };
        let mut exchange = Exchange {
            version: MESSAGE_VERSION,
            request: (&raw mut request) as u64,
            response: response.as_mut_ptr() as u64,
            exitinfo2: 0,
        };
        // SAFETY: as above, with 112 octets that the kernel reads and may write; and it writes at most `length` octets to the
        // certificates' address, which is the slice's own length or zero.
        let result =
            unsafe { libc::ioctl(self.0.as_raw_fd(), SNP_GET_EXT_REPORT as libc::Ioctl, &raw mut exchange) };
        Answer { result: of(result), exitinfo2: exchange.exitinfo2, certificates: request.length }
    }
}

fn report_request(request: &Request) -> ReportRequest {
    ReportRequest { user_data: request.report_data, vmpl: 0, zeros: [0; 28] }
}

fn of(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
