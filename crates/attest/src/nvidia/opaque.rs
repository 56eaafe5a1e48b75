//! Opaque data of a MEASUREMENTS response: what an NVIDIA device says about itself, as a list of fields (type u16,
//! size u16, value; little-endian), each type at most once. Names are those of NVIDIA's attestation SDK.
//!
//! ```text
//! type  size    name                    form
//! 3     1..     DRIVER_VERSION          text, then zeros; absent on switches
//! 6     8, 14   VBIOS_VERSION           GPU: two little-endian words; switch: text
//! 11    1       NVDEC0_STATUS           0xAA on, 0x55 off
//! 15    1..     CHIP_SKU                text, then zeros
//! 17    1..     PROJECT                 text, then zeros
//! 18    1..     PROJECT_SKU             text, then zeros
//! 20    48      FWID                    digest of the firmware that holds the signing key; absent before driver 545
//! 21    1       PROTECTED_PCIE_STATUS   0xAA on, 0x55 off
//! 22    8       DEVICE_PDI              of a switch; on GPUs of a PCIe-protected set: 8 for each switch
//! 35    1..     CHIP_INFO               name of the chip under which manifests are filed; decides nothing
//! 36    2       FEATURE_FLAG            number
//! ```
//!
//! Other types are carried by number and decide nothing. Drivers from CUDA 13.5 on write a versioned container that
//! begins with `NVDAOD`; it is refused by name, because nobody here has read one.

use thiserror::Error;

const VERSIONED: &[u8] = b"NVDAOD";
const MAX_FIELDS: usize = 64;

mod field {
    pub(super) const DRIVER_VERSION: u16 = 3;
    pub(super) const VBIOS_VERSION: u16 = 6;
    pub(super) const NVDEC0_STATUS: u16 = 11;
    pub(super) const CHIP_SKU: u16 = 15;
    pub(super) const PROJECT: u16 = 17;
    pub(super) const PROJECT_SKU: u16 = 18;
    pub(super) const FWID: u16 = 20;
    pub(super) const PROTECTED_PCIE_STATUS: u16 = 21;
    pub(super) const PDI: u16 = 22;
    pub(super) const CHIP_INFO: u16 = 35;
    pub(super) const FEATURE_FLAG: u16 = 36;
}

/// The fields that are read. Each is `None` where the device does not write it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Opaque {
    pub(crate) driver_version: Option<String>,
    pub(crate) vbios_version: Option<String>,
    pub(crate) nvdec0: Option<bool>,
    pub(crate) chip_sku: Option<String>,
    pub(crate) project: Option<String>,
    pub(crate) project_sku: Option<String>,
    pub(crate) fwid: Option<[u8; 48]>,
    pub(crate) protected_pcie: Option<bool>,
    /// Eight octets for each device.
    pub(crate) pdi: Option<Vec<[u8; 8]>>,
    /// Not on every device; text that is none is no chip's name.
    pub(crate) chip_info: Option<String>,
    pub(crate) feature_flag: Option<u16>,
}

/// Why opaque data is refused (rule NV-01).
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum OpaqueError {
    /// The versioned container of newer drivers.
    #[error("the opaque data is in the versioned container NVDAOD, which is not read")]
    Versioned,
    /// A field is longer than what follows, or there are too many.
    #[error("the opaque data is not a list of fields")]
    Malformed,
    /// A type occurs twice, so that two readers may see two values.
    #[error("the opaque data has field {field} twice")]
    Duplicate {
        /// Type.
        field: u16,
    },
    /// A field's value does not have its form.
    #[error("field {field} of the opaque data does not have its form")]
    Field {
        /// Type.
        field: u16,
    },
}

impl OpaqueError {
    /// Stable identifier, for logs, exit codes and tests.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Versioned => "nvidia.opaque.versioned",
            Self::Malformed => "nvidia.opaque.malformed",
            Self::Duplicate { .. } => "nvidia.opaque.duplicate",
            Self::Field { .. } => "nvidia.opaque.field",
        }
    }
}

impl Opaque {
    pub(crate) fn parse(input: &[u8]) -> Result<Self, OpaqueError> {
        if input.starts_with(VERSIONED) {
            return Err(OpaqueError::Versioned);
        }
        let mut seen = Vec::new();
        let mut opaque = Self::default();
        let mut rest = input;
        while !rest.is_empty() {
            let (kind, value, after) = split_field(rest).ok_or(OpaqueError::Malformed)?;
            if seen.contains(&kind) {
                return Err(OpaqueError::Duplicate { field: kind });
            }
            if seen.len() >= MAX_FIELDS {
                return Err(OpaqueError::Malformed);
            }
            seen.push(kind);
            opaque.read(kind, value).ok_or(OpaqueError::Field { field: kind })?;
            rest = after;
        }
        Ok(opaque)
    }

    /// `None` where the value does not have the form of its type.
    fn read(&mut self, kind: u16, value: &[u8]) -> Option<()> {
        match kind {
            field::DRIVER_VERSION => self.driver_version = Some(text(value)?),
            field::VBIOS_VERSION => self.vbios_version = Some(vbios(value)?),
            field::NVDEC0_STATUS => self.nvdec0 = Some(status(value)?),
            field::CHIP_SKU => self.chip_sku = Some(text(value)?),
            field::PROJECT => self.project = Some(text(value)?),
            field::PROJECT_SKU => self.project_sku = Some(text(value)?),
            field::FWID => self.fwid = Some(value.try_into().ok()?),
            field::PROTECTED_PCIE_STATUS => self.protected_pcie = Some(status(value)?),
            field::PDI => self.pdi = Some(pdis(value)?),
            field::CHIP_INFO => self.chip_info = text(value),
            field::FEATURE_FLAG => self.feature_flag = Some(u16::from_le_bytes(value.try_into().ok()?)),
            _ => {}
        }
        Some(())
    }
}

fn split_field(input: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let (kind, rest) = input.split_first_chunk::<2>()?;
    let (size, rest) = rest.split_first_chunk::<2>()?;
    let (value, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*size)))?;
    Some((u16::from_le_bytes(*kind), value, rest))
}

/// Printable ASCII without spaces, then zeros.
fn text(value: &[u8]) -> Option<String> {
    let end = value.iter().position(|&octet| octet == 0).unwrap_or(value.len());
    let (shown, padding) = value.split_at_checked(end)?;
    let well_formed = !shown.is_empty()
        && shown.iter().all(u8::is_ascii_graphic)
        && padding.iter().all(|&octet| octet == 0);
    well_formed.then(|| String::from_utf8_lossy(shown).into_owned())
}

/// `00 9f 00 96 01 00 00 00` is 96.00.9F.00.01.
fn vbios(value: &[u8]) -> Option<String> {
    match *value {
        [d, c, b, a, e, 0, 0, 0] => Some(format!("{a:02X}.{b:02X}.{c:02X}.{d:02X}.{e:02X}")),
        _ if value.len() == 14 => text(value),
        _ => None,
    }
}

fn status(value: &[u8]) -> Option<bool> {
    match value {
        [0xaa] => Some(true),
        [0x55] => Some(false),
        _ => None,
    }
}

fn pdis(value: &[u8]) -> Option<Vec<[u8; 8]>> {
    let (devices, rest) = value.as_chunks::<8>();
    (rest.is_empty() && !devices.is_empty()).then(|| devices.to_vec())
}
