//! Linux's configfs-tsm: reports of SEV-SNP and TDX guests (Linux `Documentation/ABI/testing/configfs-tsm-report`).
//!
//! ```text
//! {root}/casemate-{32 hex}/     made with mkdir, which makes the attributes; ours alone
//!     inblob           write  64 bytes
//!     privlevel        write  SEV-SNP: the guest's own privilege level (VMPL), where that is not 0
//!     privlevel_floor  read   SEV-SNP: that level, the most privileged one at which the guest may ask
//!     outblob          read   the report or quote for the inblob
//!     auxblob          read   SEV-SNP: the host's certificate table, or nothing
//!     provider         read   sev_guest or tdx_guest
//!     generation       read   how often something was written
//! ```
//!
//! The kernel makes attributes root's, so an entry is made once, while we are root, and its attributes are handed to the
//! user that the server becomes. It is removed when the attester is dropped.

mod certificates;
mod entry;

use std::io;
use std::path::Path;

use casemate_attest::snp::Signer;
use casemate_attest::{Evidence, Platform};

use super::hardware::Device;
use super::patience::{Patience, is_busy};
use super::{AttesterError, Brought, RawEvidence};
use certificates::CertificateTable;
pub use certificates::CertificateTableError;
use entry::Entry;

/// Why configfs-tsm gives no report.
#[derive(Debug, thiserror::Error)]
pub enum TsmError {
    /// Nothing registered itself with configfs-tsm: no TEE, or its driver is not loaded (ATT-10).
    #[error("configfs-tsm is there, but no driver makes reports for it")]
    NoProvider,
    /// A provider whose reports we do not read (ATT-10).
    #[error("configfs-tsm's provider is {found:?}, which is not known")]
    Provider {
        /// What it calls itself, as far as it is printable.
        found: String,
    },
    /// Somebody else wrote to our entry, again and again (ATT-11).
    #[error("another writer changed our configfs-tsm entry {attempts} times in a row")]
    Race {
        /// How often we tried.
        attempts: u32,
    },
    /// An attribute that must be there is not (ATT-12).
    #[error("the configfs-tsm entry has no {attribute}")]
    Missing {
        /// Its name.
        attribute: &'static str,
    },
    /// An attribute's length is not possible (ATT-12).
    #[error("{attribute} of configfs-tsm has {found} bytes, which is not possible")]
    Size {
        /// Its name.
        attribute: &'static str,
        /// Bytes that were read, at most one more than the limit.
        found: usize,
    },
    /// A number that is none, or too large (ATT-12, ATT-14).
    #[error("{attribute} of configfs-tsm is not a number, or not a possible one")]
    Number {
        /// Its name.
        attribute: &'static str,
    },
    /// A TD without a service that makes quotes (ATT-03).
    #[error("the TD has no quote service: {source}")]
    QuoteService {
        /// The kernel's answer.
        source: io::Error,
    },
    /// The kernel refuses.
    #[error("the kernel refuses {attribute} of configfs-tsm: {source}")]
    Refused {
        /// Its name.
        attribute: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The host's certificate table (ATT-13).
    #[error(transparent)]
    Certificates(#[from] CertificateTableError),
}

impl TsmError {
    /// The stable code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoProvider => "attester.tsm.no-provider",
            Self::Provider { .. } => "attester.tsm.provider",
            Self::Race { .. } => "attester.tsm.race",
            Self::Missing { .. } => "attester.tsm.missing",
            Self::Size { .. } => "attester.tsm.size",
            Self::Number { .. } => "attester.tsm.number",
            Self::QuoteService { .. } => "attester.tsm.quote-service",
            Self::Refused { .. } => "attester.tsm.refused",
            Self::Certificates(e) => e.code(),
        }
    }

    /// What the person can do about it, where we know.
    pub(crate) fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoProvider => Some("load the guest driver: `modprobe sev-guest` or `modprobe tdx-guest`"),
            Self::QuoteService { .. } => {
                Some("the host must run Intel's quote generation service and offer it to this TD")
            }
            Self::Race { .. } => Some("another program writes to entries that are not its own: find it"),
            Self::Refused { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Some("start as root: the kernel gives these attributes to root only")
            }
            Self::Provider { .. }
            | Self::Missing { .. }
            | Self::Size { .. }
            | Self::Number { .. }
            | Self::Refused { .. }
            | Self::Certificates(_) => None,
        }
    }
}

/// The attributes of one entry.
pub(crate) trait Attributes: Send + 'static {
    /// At most `limit` bytes and one more.
    fn read(&self, name: &'static str, limit: usize) -> io::Result<Vec<u8>>;
    /// In one write, and closed, which is when configfs takes it.
    fn write(&self, name: &'static str, bytes: &[u8]) -> io::Result<()>;
    /// Makes the user the owner of every attribute.
    fn hand_over(&self, uid: u32, gid: u32) -> io::Result<()>;
}

/// An entry of configfs-tsm.
pub(crate) struct Tsm<A> {
    attributes: A,
    platform: Platform,
    /// The guest's own privilege level, 0 to 3 (ATT-14).
    privilege: u64,
    patience: Patience,
}

impl Tsm<Entry> {
    /// Makes an entry below `root`, which is `/sys/kernel/config/tsm/report` on a real machine.
    pub(crate) fn open(root: &Path) -> Result<Self, AttesterError> {
        Self::with(Entry::create(root)?, Patience::USUAL)
    }
}

/// `outblob` and `auxblob`.
type Blobs = (Vec<u8>, Vec<u8>);

impl<A: Attributes> Tsm<A> {
    pub(crate) fn with(attributes: A, patience: Patience) -> Result<Self, AttesterError> {
        let name = read(&attributes, "provider", MAX_TEXT)?;
        let (platform, privilege) = match name.trim_ascii() {
            b"sev_guest" => (Platform::SevSnp, number(&attributes, "privlevel_floor", MAX_LEVEL)?),
            b"tdx_guest" => (Platform::Tdx, 0),
            other => {
                let found = other.iter().map(|&b| if b.is_ascii_graphic() { char::from(b) } else { '?' });
                return Err(TsmError::Provider { found: found.collect() }.into());
            }
        };
        Ok(Self { attributes, platform, privilege, patience })
    }

    /// Outblob and auxblob for these bytes, tried again while the entry is busy or another writes to it.
    fn exchange(&self, report_data: &[u8; 64]) -> Result<Blobs, AttesterError> {
        let mut busy = 0;
        for pause in self.patience.pauses() {
            match self.attempt(report_data) {
                Ok(Some(blobs)) => return Ok(blobs),
                Ok(None) => {}
                Err(TsmError::Refused { source, .. }) if is_busy(&source) => busy += 1,
                Err(error) => return Err(error.into()),
            }
            std::thread::sleep(pause);
        }
        let attempts = self.patience.attempts;
        if busy == attempts {
            return Err(AttesterError::Busy { what: "configfs-tsm", attempts });
        }
        Err(TsmError::Race { attempts }.into())
    }

    /// Once. `None` where something else than our own writes changed the entry between the two looks at its generation.
    fn attempt(&self, report_data: &[u8; 64]) -> Result<Option<Blobs>, TsmError> {
        let before = self.generation()?;
        let mut writes = 1;
        // A new entry asks at level 0, which the firmware refuses to a guest below an SVSM or a paravisor.
        if self.privilege != 0 {
            self.write("privlevel", self.privilege.to_string().as_bytes())?;
            writes += 1;
        }
        self.write("inblob", report_data)?;
        let report = match read(&self.attributes, "outblob", MAX_BLOB) {
            Err(TsmError::Refused { source, .. })
                if self.platform == Platform::Tdx && is_no_quote_service(&source) =>
            {
                return Err(TsmError::QuoteService { source });
            }
            answer => answer?,
        };
        let certificates = match self.platform {
            Platform::SevSnp => read(&self.attributes, "auxblob", MAX_BLOB)?,
            _ => Vec::new(),
        };
        let own = before.checked_add(writes) == Some(self.generation()?);
        Ok(own.then_some((report, certificates)))
    }

    fn generation(&self) -> Result<u64, TsmError> {
        number(&self.attributes, "generation", u64::MAX)
    }

    fn write(&self, attribute: &'static str, bytes: &[u8]) -> Result<(), TsmError> {
        self.attributes.write(attribute, bytes).map_err(|source| refused(attribute, source))
    }
}

impl<A: Attributes> Device for Tsm<A> {
    fn platform(&self) -> Platform {
        self.platform
    }

    fn evidence(&mut self, report_data: &[u8; 64]) -> Result<RawEvidence, AttesterError> {
        let (report, certificates) = self.exchange(report_data)?;
        let possible = match self.platform {
            Platform::SevSnp => report.len() == casemate_attest::snp::REPORT_LEN,
            _ => (1..=MAX_BLOB).contains(&report.len()),
        };
        if !possible {
            return Err(TsmError::Size { attribute: "outblob", found: report.len() }.into());
        }
        let vek = match self.platform {
            Platform::SevSnp => endorsement(&report, &certificates)?,
            _ => None,
        };
        let endorsements = Brought { vek, ..Brought::default() };
        Ok(RawEvidence { platform: self.platform, evidence: report, endorsements })
    }

    fn hand_over(&self, uid: u32, gid: u32) -> Result<(), AttesterError> {
        let refused = |source| refused("the owner of the attributes", source);
        Ok(self.attributes.hand_over(uid, gid).map_err(refused)?)
    }
}

/// The certificate of the key that the report names, where the host gave it.
pub(crate) fn endorsement(report: &[u8], table: &[u8]) -> Result<Option<Vec<u8>>, AttesterError> {
    let table = CertificateTable::parse(table).map_err(TsmError::from)?;
    let evidence = Evidence::parse(report).map_err(AttesterError::Evidence)?;
    Ok(match evidence.snp().and_then(|report| report.key_info().signer()) {
        Some(Signer::Vcek) => table.vcek,
        Some(Signer::Vlek) => table.vlek,
        _ => None,
    })
}

/// An attribute, in at most `limit` bytes.
fn read(attributes: &impl Attributes, attribute: &'static str, limit: usize) -> Result<Vec<u8>, TsmError> {
    let bytes = attributes.read(attribute, limit).map_err(|source| refused(attribute, source))?;
    if bytes.len() > limit {
        return Err(TsmError::Size { attribute, found: bytes.len() });
    }
    Ok(bytes)
}

/// An attribute that is a decimal number of at most `limit`.
fn number(attributes: &impl Attributes, attribute: &'static str, limit: u64) -> Result<u64, TsmError> {
    let text = read(attributes, attribute, MAX_TEXT)?;
    let digits = Some(text.trim_ascii()).filter(|digits| digits.iter().all(u8::is_ascii_digit));
    let number = digits.and_then(|digits| str::from_utf8(digits).ok()?.parse().ok());
    number.filter(|&number| number <= limit).ok_or(TsmError::Number { attribute })
}

fn refused(attribute: &'static str, source: io::Error) -> TsmError {
    match source.kind() {
        io::ErrorKind::NotFound => TsmError::Missing { attribute },
        _ => TsmError::Refused { attribute, source },
    }
}

/// What Linux's tdx-guest says where the host has no service, or one that fails.
fn is_no_quote_service(error: &io::Error) -> bool {
    let known = [libc::EIO, libc::ENXIO, libc::ENODEV, libc::EOPNOTSUPP, libc::ETIMEDOUT, libc::EINVAL];
    error.raw_os_error().is_some_and(|number| known.contains(&number))
}

/// configfs-tsm's own limit of a blob.
const MAX_BLOB: usize = 32 * 1024;
/// A name or a number and a line end.
const MAX_TEXT: usize = 64;
/// The least privileged level of a SEV-SNP guest.
const MAX_LEVEL: u64 = 3;

#[cfg(test)]
pub(crate) mod tests;
