//! The HCL report: what the paravisor leaves in NV index 0x01400001 of the virtual TPM. Little-endian.
//!
//! ```text
//! offset  size  field
//! 0x000      4  "HCLA"
//! 0x004      4  version              1, 2
//! 0x008      4  report size          0x4D4 + variable size
//! 0x00C      4  request type         2
//! 0x010      4  status               0
//! 0x014     12  reserved             zero
//! 0x020   1184  hardware report      SNP report; or TDREPORT of 1024 octets, then zeros
//! 0x4C0      4  data size            20 + variable size
//! 0x4C4      4  data version         1
//! 0x4C8      4  report type          2 SNP, 4 TDX (1, VBS, is no hardware's word)
//! 0x4CC      4  hash type            1 SHA-256, 2 SHA-384, 3 SHA-512
//! 0x4D0      4  variable size        n
//! 0x4D4      n  runtime data         JSON
//!               padding              zeros, up to the size of the NV index
//! ```
//!
//! Offsets as in the recorded reports, and as in the public readers of this format (there is no other specification).

use core::fmt;

use thiserror::Error;

use crate::crypto;
use crate::snp;

/// Octets before the runtime data.
const FIXED: usize = 0x4d4;
/// Octets of the header of the runtime data.
const DATA_HEADER: usize = 20;
/// Longer reports are refused before they are parsed; recorded ones have 2048 and 2600 bytes.
pub(crate) const MAX_HCL: usize = 8192;
/// Octets of a TDREPORT; the rest of the hardware report's place is zero.
const TDREPORT_LEN: usize = 1024;
/// REPORTDATA within a TDREPORT (Intel 344425, REPORTMACSTRUCT).
const TDREPORT_DATA: usize = 128;

/// An HCL report with the layout above. Believed by nobody yet.
#[derive(Clone, PartialEq, Eq)]
pub struct HclReport {
    version: u32,
    hardware: HardwareReport,
    hash: HashType,
    runtime: Vec<u8>,
}

/// Whose word the HCL report rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HardwareReport {
    /// AMD's.
    Snp(snp::Report),
    /// A TDREPORT proves nothing away from its machine; the TD quote beside it does.
    Tdx {
        /// REPORTDATA.
        report_data: Box<[u8; 64]>,
    },
}

/// The hash over the runtime data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HashType {
    /// 1.
    Sha256,
    /// 2.
    Sha384,
    /// 3.
    Sha512,
}

/// Why bytes are not an HCL report.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum HclError {
    /// Shorter than its fixed part, or longer than the NV index can be.
    #[error("an HCL report of {found} bytes is shorter than {FIXED} or longer than {MAX_HCL}")]
    Length {
        /// Octets that arrived.
        found: usize,
    },
    /// Not "HCLA".
    #[error("the report does not start with HCLA")]
    Magic,
    /// A field that has another value than it must have.
    #[error("the HCL report's {field} is {found}, which is not understood")]
    Value {
        /// As in the table at the head of this file.
        field: &'static str,
        /// What is there.
        found: u32,
    },
    /// The three sizes contradict each other or the report.
    #[error("the HCL report's {field} is {found}, which contradicts its other sizes")]
    Size {
        /// As in the table at the head of this file.
        field: &'static str,
        /// What is there.
        found: u32,
    },
    /// A virtualization-based report, or one of unknown kind.
    #[error("HCL report type {found} is no report of SEV-SNP or TDX")]
    ReportType {
        /// What is there.
        found: u32,
    },
    /// A hash that is not known.
    #[error("HCL hash type {found} is none of SHA-256, SHA-384, SHA-512")]
    HashType {
        /// What is there.
        found: u32,
    },
    /// Something that must be zero is not.
    #[error("the HCL report's {field} is not zero")]
    NotZero {
        /// As in the table at the head of this file.
        field: &'static str,
    },
    /// The SEV-SNP report within has a mistake.
    #[error("the hardware report: {0}")]
    Snp(snp::ReportError),
}

impl HclReport {
    /// Takes the bytes as they are.
    ///
    /// # Errors
    /// Every departure from the table at the head of this file.
    pub fn parse(input: &[u8]) -> Result<Self, HclError> {
        let length = HclError::Length { found: input.len() };
        if input.len() > MAX_HCL {
            return Err(length);
        }
        let (fixed, variable) = input.split_at_checked(FIXED).ok_or(length.clone())?;
        let (magic, rest) = fixed.split_at_checked(4).ok_or(length.clone())?;
        if magic != b"HCLA" {
            return Err(HclError::Magic);
        }
        let (header, rest) = rest.split_at_checked(16).ok_or(length.clone())?;
        let [version, report_size, request_type, status] = words(header).ok_or(length.clone())?;
        let (reserved, rest) = rest.split_at_checked(12).ok_or(length.clone())?;
        let (hardware, data) = rest.split_at_checked(snp::REPORT_LEN).ok_or(length.clone())?;
        let [data_size, data_version, report_type, hash_type, size] = words(data).ok_or(length)?;

        let expect =
            |field, found, good: bool| if good { Ok(()) } else { Err(HclError::Value { field, found }) };
        expect("version", version, version == 1 || version == 2)?;
        expect("request type", request_type, request_type == 2)?;
        expect("status", status, status == 0)?;
        expect("data version", data_version, data_version == 1)?;
        zero("reserved field", reserved)?;
        let hash = HashType::from_number(hash_type).ok_or(HclError::HashType { found: hash_type })?;

        let contradicts = |field, found| HclError::Size { field, found };
        let variable_size = usize::try_from(size).unwrap_or(usize::MAX);
        if number(data_size) != variable_size.checked_add(DATA_HEADER) {
            return Err(contradicts("data size", data_size));
        }
        if number(report_size) != variable_size.checked_add(FIXED) {
            return Err(contradicts("report size", report_size));
        }
        let (runtime, padding) =
            variable.split_at_checked(variable_size).ok_or(contradicts("variable size", size))?;
        zero("padding", padding)?;

        let hardware = match report_type {
            2 => HardwareReport::Snp(snp::Report::parse(hardware).map_err(HclError::Snp)?),
            4 => tdx(hardware)?,
            found => return Err(HclError::ReportType { found }),
        };
        Ok(Self { version, hardware, hash, runtime: runtime.to_vec() })
    }

    /// Of the layout: 1 or 2.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Whose word it rests on.
    pub fn hardware(&self) -> &HardwareReport {
        &self.hardware
    }

    /// The hash over the runtime data.
    pub fn hash(&self) -> HashType {
        self.hash
    }

    /// The runtime data: exactly as many octets as the variable size says, with nothing trimmed.
    pub fn runtime(&self) -> &[u8] {
        &self.runtime
    }

    /// What REPORT_DATA must be: the hash of the runtime data, then zeros.
    pub fn bound(&self) -> [u8; 64] {
        let digest = match self.hash {
            HashType::Sha256 => crypto::sha256(&self.runtime).to_vec(),
            HashType::Sha384 => crypto::sha384(&self.runtime).to_vec(),
            HashType::Sha512 => crypto::sha512(&self.runtime).to_vec(),
        };
        let mut bound = [0; 64];
        for (target, source) in bound.iter_mut().zip(digest) {
            *target = source;
        }
        bound
    }
}

impl HardwareReport {
    /// REPORT_DATA of either.
    pub fn report_data(&self) -> [u8; 64] {
        match self {
            Self::Snp(report) => report.report_data(),
            Self::Tdx { report_data } => **report_data,
        }
    }
}

impl HashType {
    fn from_number(number: u32) -> Option<Self> {
        match number {
            1 => Some(Self::Sha256),
            2 => Some(Self::Sha384),
            3 => Some(Self::Sha512),
            _ => None,
        }
    }

    /// As people write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "SHA-256",
            Self::Sha384 => "SHA-384",
            Self::Sha512 => "SHA-512",
        }
    }
}

impl fmt::Debug for HclReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HclReport(version {}, {} bytes of runtime data)", self.version, self.runtime.len())
    }
}

impl HclError {
    /// Stable identifier, for logs, exit codes and tests.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Length { .. } => "azure.hcl.length",
            Self::Magic => "azure.hcl.magic",
            Self::Value { .. } => "azure.hcl.value",
            Self::Size { .. } => "azure.hcl.size",
            Self::ReportType { .. } => "azure.hcl.report-type",
            Self::HashType { .. } => "azure.hcl.hash-type",
            Self::NotZero { .. } => "azure.hcl.not-zero",
            Self::Snp(error) => error.code(),
        }
    }
}

fn tdx(place: &[u8]) -> Result<HardwareReport, HclError> {
    let short = HclError::Length { found: place.len() };
    let (report, rest) = place.split_at_checked(TDREPORT_LEN).ok_or(short.clone())?;
    zero("rest after the TDREPORT", rest)?;
    let (_, from_data) = report.split_at_checked(TDREPORT_DATA).ok_or(short.clone())?;
    let report_data = from_data.first_chunk::<64>().ok_or(short)?;
    Ok(HardwareReport::Tdx { report_data: Box::new(*report_data) })
}

fn zero(field: &'static str, octets: &[u8]) -> Result<(), HclError> {
    if octets.iter().all(|&octet| octet == 0) { Ok(()) } else { Err(HclError::NotZero { field }) }
}

fn number(value: u32) -> Option<usize> {
    usize::try_from(value).ok()
}

/// Exactly N little-endian words.
fn words<const N: usize>(octets: &[u8]) -> Option<[u32; N]> {
    let (chunks, rest) = octets.as_chunks::<4>();
    let chunks: &[[u8; 4]; N] = chunks.try_into().ok()?;
    rest.is_empty().then(|| chunks.map(u32::from_le_bytes))
}
