//! A TD whose kernel has `/dev/tdx_guest` and no configfs-tsm (Linux 6.2 to 6.6): the TDREPORT comes from the device, and the
//! quote over it from the host's quote generation service, over vsock.

#[allow(unsafe_code)]
mod device;
mod qgs;

use std::fs::File;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use casemate_attest::Platform;

use super::hardware::Device;
use super::patience::{Patience, is_busy};
use super::{AttesterError, Brought, RawEvidence};
use device::TdxGuestDevice;
use qgs::Stream;

/// Why a TD without configfs-tsm gives no quote.
#[derive(Debug, thiserror::Error)]
pub enum TdxGuestError {
    /// The kernel refuses, or the processor made no TDREPORT (ATT-61).
    #[error("the kernel refuses the device of a TD: {0}")]
    Kernel(#[source] io::Error),
    /// The host's service is not there, or broke off (ATT-62).
    #[error("the host's quote service does not answer: {0}")]
    QuoteService(#[source] io::Error),
    /// The service makes no quote (ATT-62).
    #[error("the host's quote service refuses with error {code:#x}")]
    Refused {
        /// Its number.
        code: u32,
    },
    /// The answer is not one (ATT-63).
    #[error("the host's quote service's answer is not understood at byte {at}")]
    Answer {
        /// Offset behind the length.
        at: usize,
    },
    /// The answer states a length that it cannot have (ATT-63).
    #[error("the host's quote service states an answer of {found} bytes, which is not possible")]
    Size {
        /// As stated.
        found: u32,
    },
}

impl TdxGuestError {
    /// The stable code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Kernel(_) => "attester.tdx-guest.kernel",
            Self::QuoteService(_) => "attester.tdx-guest.quote-service",
            Self::Refused { .. } => "attester.tdx-guest.refused",
            Self::Answer { .. } => "attester.tdx-guest.answer",
            Self::Size { .. } => "attester.tdx-guest.size",
        }
    }

    /// What the person can do about it, where we know.
    pub(crate) fn hint(&self) -> Option<&'static str> {
        match self {
            Self::QuoteService(_) => Some(
                "the host must run Intel's quote generation service on vsock port 4050; a kernel from 6.7 on has another way",
            ),
            Self::Refused { .. } => Some("the host's service has the reason in its log"),
            Self::Kernel(_) | Self::Answer { .. } | Self::Size { .. } => None,
        }
    }
}

/// Where the quote service is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QuoteService {
    /// On a vsock port, where a TD's is.
    Vsock {
        /// Whose: 2 is the host's.
        cid: u32,
        /// Which.
        port: u32,
    },
    /// On a socket of this machine.
    Socket(PathBuf),
}

impl QuoteService {
    /// Where Intel's guide has it.
    pub(crate) const USUAL: Self = Self::Vsock { cid: 2, port: 4050 };

    fn connect(&self) -> io::Result<Box<dyn Stream>> {
        Ok(match self {
            Self::Vsock { cid, port } => Box::new(device::vsock(*cid, *port, LIMIT)?),
            Self::Socket(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(LIMIT))?;
                stream.set_write_timeout(Some(LIMIT))?;
                Box::new(stream)
            }
        })
    }
}

/// The driver.
pub(crate) trait Guest: Send + 'static {
    /// The TDREPORT for these bytes.
    fn report(&mut self, report_data: &[u8; 64]) -> io::Result<[u8; TD_REPORT_LEN]>;
}

/// The attester of a TD without configfs-tsm.
pub(crate) struct TdxGuest<G> {
    guest: G,
    service: QuoteService,
    patience: Patience,
}

impl TdxGuest<TdxGuestDevice> {
    pub(crate) fn open(path: &Path, service: QuoteService) -> Result<Self, AttesterError> {
        let file = File::options()
            .read(true)
            .write(true)
            .open(path)
            .map_err(|source| AttesterError::Device { what: "open", path: path.to_owned(), source })?;
        Ok(Self::with(TdxGuestDevice(file), service, Patience::USUAL))
    }
}

impl<G: Guest> TdxGuest<G> {
    pub(crate) fn with(guest: G, service: QuoteService, patience: Patience) -> Self {
        Self { guest, service, patience }
    }

    fn td_report(&mut self, report_data: &[u8; 64]) -> Result<[u8; TD_REPORT_LEN], AttesterError> {
        for pause in self.patience.pauses() {
            match self.guest.report(report_data) {
                Ok(report) => return Ok(report),
                Err(error) if is_busy(&error) => std::thread::sleep(pause),
                Err(error) => return Err(TdxGuestError::Kernel(error).into()),
            }
        }
        Err(AttesterError::Busy { what: "the device of a TD", attempts: self.patience.attempts })
    }
}

impl<G: Guest> Device for TdxGuest<G> {
    fn platform(&self) -> Platform {
        Platform::Tdx
    }

    fn evidence(&mut self, report_data: &[u8; 64]) -> Result<RawEvidence, AttesterError> {
        let report = self.td_report(report_data)?;
        // A connection for each quote: the service may close it after one.
        let mut stream = self.service.connect().map_err(TdxGuestError::QuoteService)?;
        let evidence = qgs::quote(&mut *stream, &report)?;
        Ok(RawEvidence { platform: Platform::Tdx, evidence, endorsements: Brought::default() })
    }
}

/// TDREPORT_STRUCT (Intel TDX module ABI).
pub(crate) const TD_REPORT_LEN: usize = 1024;
/// For each reading and writing; a service that fetches certificates first takes seconds.
const LIMIT: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests;
