//! A SEV-SNP guest whose kernel has `/dev/sev-guest` and no configfs-tsm (Linux 5.19 to 6.6).
//!
//! ```text
//! answer of the firmware (MSG_REPORT_RSP, AMD 56860 table 25), in 4000 octets
//! offset  size  field
//!      0     4  status           0, or why there is no report
//!      4     4  report size      1184
//!      8    24  reserved
//!     32  1184  the report
//! ```
//!
//! The extended request brings the host's certificate table too. It is offered the most that the driver takes.

#[allow(unsafe_code)]
mod device;

use std::fs::File;
use std::io;
use std::path::Path;

use casemate_attest::Platform;
use casemate_attest::snp::REPORT_LEN;

use super::hardware::Device;
use super::patience::{Patience, is_busy};
use super::tsm::endorsement;
use super::{AttesterError, Brought, RawEvidence};
use device::SevGuestDevice;

/// Why `/dev/sev-guest` gives no report.
#[derive(Debug, thiserror::Error)]
pub enum SevGuestError {
    /// The firmware refuses the request (ATT-51).
    #[error("the firmware refuses with error {code:#x}")]
    Firmware {
        /// Its number.
        code: u32,
    },
    /// The host refuses to hand the request to the firmware (ATT-51).
    #[error("the host refuses the request with error {code:#x}")]
    Host {
        /// Its number.
        code: u32,
    },
    /// The driver has no key for the firmware: it gives one up after an error, for good (ATT-51).
    #[error("the driver has no key left with which to ask the firmware, or this is not its device")]
    NoKey,
    /// The answer says that there is no report (ATT-52).
    #[error("the firmware made no report: status {status:#x}")]
    Status {
        /// Its number.
        status: u32,
    },
    /// The answer states another length than a report has (ATT-52).
    #[error("the firmware's answer states a report of {found} bytes, which is not possible")]
    Size {
        /// As stated.
        found: u32,
    },
    /// The host finds the room for its certificates too small and says that they fit (ATT-53).
    #[error("the host says that {stated} bytes of certificates do not fit into {offered}")]
    CertificatesLength {
        /// The room.
        offered: usize,
        /// What the host states.
        stated: u32,
    },
    /// The kernel refuses.
    #[error("the kernel refuses the device of a SEV-SNP guest: {0}")]
    Kernel(#[source] io::Error),
}

impl SevGuestError {
    /// The stable code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Firmware { .. } => "attester.sev-guest.firmware",
            Self::Host { .. } => "attester.sev-guest.host",
            Self::NoKey => "attester.sev-guest.no-key",
            Self::Status { .. } => "attester.sev-guest.status",
            Self::Size { .. } => "attester.sev-guest.size",
            Self::CertificatesLength { .. } => "attester.sev-guest.certificates-length",
            Self::Kernel(_) => "attester.sev-guest.kernel",
        }
    }

    /// What the person can do about it, where we know.
    pub(crate) fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoKey => Some("start the machine anew: see the kernel's log for what happened before"),
            Self::Firmware { .. } | Self::Status { .. } => Some(
                "below an SVSM or a paravisor, mount configfs: only it says at which level this guest may ask",
            ),
            Self::Host { .. } | Self::Size { .. } | Self::CertificatesLength { .. } | Self::Kernel(_) => None,
        }
    }
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) report_data: [u8; 64],
}

/// The room for the firmware's answer.
pub(crate) type Response = [u8; 4000];

/// How an ioctl ended.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) result: io::Result<()>,
    /// The firmware's error in the low half, the host's in the high one.
    pub(crate) exitinfo2: u64,
    /// Octets of certificates that the host needs room for, where it found too little.
    pub(crate) certificates: u32,
}

/// The driver: one request, one answer.
pub(crate) trait Guest: Send + 'static {
    /// A report alone.
    fn report(&mut self, request: &Request, response: &mut Response) -> Answer;
    /// A report and the host's certificate table, for which there is this room, a multiple of 4096 octets.
    fn extended(&mut self, request: &Request, response: &mut Response, certificates: &mut [u8]) -> Answer;
}

/// The attester of a SEV-SNP guest without configfs-tsm.
pub(crate) struct SevGuest<G> {
    guest: G,
    patience: Patience,
}

impl SevGuest<SevGuestDevice> {
    pub(crate) fn open(path: &Path) -> Result<Self, AttesterError> {
        let file = File::options()
            .read(true)
            .write(true)
            .open(path)
            .map_err(|source| AttesterError::Device { what: "open", path: path.to_owned(), source })?;
        Ok(Self::with(SevGuestDevice(file), Patience::USUAL))
    }
}

/// What one attempt gave.
enum Attempt {
    Made,
    Busy,
    /// The certificates are longer than the driver's room for them: the report comes without.
    TooLong {
        bytes: u32,
    },
}

impl<G: Guest> SevGuest<G> {
    pub(crate) fn with(guest: G, patience: Patience) -> Self {
        Self { guest, patience }
    }

    /// The answer and the host's table, asked again while the device is busy.
    fn exchange(&mut self, request: &Request) -> Result<(Box<Response>, Vec<u8>), AttesterError> {
        let mut certificates = vec![0; MAX_CERTIFICATES];
        for pause in self.patience.pauses() {
            let mut response = Box::new([0; 4000]);
            let answer = match certificates.len() {
                0 => self.guest.report(request, &mut response),
                _ => self.guest.extended(request, &mut response, &mut certificates),
            };
            match judge(answer, certificates.len())? {
                Attempt::Made => return Ok((response, certificates)),
                Attempt::Busy => {}
                Attempt::TooLong { bytes } => {
                    tracing::warn!(
                        bytes,
                        "the host's certificates are longer than the driver's room: a report without them"
                    );
                    certificates.clear();
                }
            }
            std::thread::sleep(pause);
        }
        Err(AttesterError::Busy { what: "the device of a SEV-SNP guest", attempts: self.patience.attempts })
    }
}

/// Which of the ends an ioctl had.
fn judge(answer: Answer, offered: usize) -> Result<Attempt, SevGuestError> {
    let Err(error) = answer.result else { return Ok(Attempt::Made) };
    let stated = answer.certificates;
    // The kernel's own errors leave the value that it starts with, as releases differ.
    if matches!(answer.exitinfo2, 0 | NO_CALL | u64::MAX) {
        return match error.raw_os_error() {
            _ if is_busy(&error) => Ok(Attempt::Busy),
            Some(libc::ENOTTY) => Err(SevGuestError::NoKey),
            _ => Err(SevGuestError::Kernel(error)),
        };
    }
    let [host, firmware] = [answer.exitinfo2 >> 32, answer.exitinfo2 & 0xffff_ffff].map(|half| half as u32);
    match host {
        0 => Err(SevGuestError::Firmware { code: firmware }),
        HOST_LENGTH if stated as usize > MAX_CERTIFICATES => Ok(Attempt::TooLong { bytes: stated }),
        HOST_LENGTH => Err(SevGuestError::CertificatesLength { offered, stated }),
        HOST_BUSY => Ok(Attempt::Busy),
        code => Err(SevGuestError::Host { code }),
    }
}

impl<G: Guest> Device for SevGuest<G> {
    fn platform(&self) -> Platform {
        Platform::SevSnp
    }

    fn evidence(&mut self, report_data: &[u8; 64]) -> Result<RawEvidence, AttesterError> {
        let request = Request { report_data: *report_data };
        let (response, certificates) = self.exchange(&request)?;
        let report = report(&response)?.to_vec();
        let vek = endorsement(&report, &certificates)?;
        let endorsements = Brought { vek, ..Brought::default() };
        Ok(RawEvidence { platform: Platform::SevSnp, evidence: report, endorsements })
    }
}

/// The report in the firmware's answer.
fn report(response: &Response) -> Result<&[u8], SevGuestError> {
    let (header, rest) = response.split_at(HEADER);
    let number = |at: std::ops::Range<usize>| {
        header.get(at).and_then(|octets| octets.try_into().ok()).map_or(u32::MAX, u32::from_le_bytes)
    };
    match (number(0..4), number(4..8)) {
        (0, size) => {
            let report = rest.get(..REPORT_LEN).filter(|_| size as usize == REPORT_LEN);
            report.ok_or(SevGuestError::Size { found: size })
        }
        (status, _) => Err(SevGuestError::Status { status }),
    }
}

/// Before the report.
const HEADER: usize = 32;
/// `SEV_FW_BLOB_MAX_SIZE`: the driver takes no more.
const MAX_CERTIFICATES: usize = 16 * 1024;
/// `SNP_GUEST_VMM_ERR_INVALID_LEN`.
const HOST_LENGTH: u32 = 1;
/// `SNP_GUEST_VMM_ERR_BUSY`.
const HOST_BUSY: u32 = 2;
/// `exitinfo2` where the firmware was not asked (Linux `sev-guest.c`).
const NO_CALL: u64 = 0xff;

#[cfg(test)]
mod tests;
