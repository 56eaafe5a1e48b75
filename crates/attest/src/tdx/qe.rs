//! The quoting enclave: what Intel says it must be, and what its report says it is. Sources: Intel PCS API v4, "Get TD QE
//! Identity"; Intel SDM volume 3D, REPORTBODY.
//!
//! ```text
//! offset  size  of the report
//! 16      4     MISCSELECT              256     2     ISVPRODID (little endian)
//! 48      16    ATTRIBUTES (bit 1 DEBUG)  258     2     ISVSVN (little endian)
//! 128     32    MRSIGNER                320     64    REPORTDATA
//! ```

use serde::Deserialize;

use super::reject::TdxRejection;
use super::status::TcbStatus::{ConfigurationNeeded, OutOfDate, OutOfDateConfigurationNeeded, UpToDate};
use super::tcb_info::{IsvLevel, Rating};

/// Bytes of a report.
pub(crate) const QE_REPORT_LEN: usize = 384;

/// ATTRIBUTES bit 1.
const DEBUG: u8 = 0x02;

/// What Intel's library accepts as a status of a quoting enclave.
const RATINGS: &[Rating] = &[
    Rating::Status(UpToDate),
    Rating::Status(OutOfDate),
    Rating::Status(ConfigurationNeeded),
    Rating::Status(OutOfDateConfigurationNeeded),
    Rating::Revoked,
];

/// The document; binary members are hexadecimal.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct QeIdentity {
    pub(crate) id: String,
    pub(crate) version: u8,
    pub(crate) issue_date: String,
    pub(crate) next_update: String,
    #[serde(rename = "tcbEvaluationDataNumber")]
    pub(crate) evaluation: u32,
    #[serde(with = "hex::serde")]
    miscselect: [u8; 4],
    #[serde(with = "hex::serde")]
    miscselect_mask: [u8; 4],
    #[serde(with = "hex::serde")]
    attributes: [u8; 16],
    #[serde(with = "hex::serde")]
    attributes_mask: [u8; 16],
    #[serde(with = "hex::serde")]
    mrsigner: [u8; 32],
    isvprodid: u16,
    #[serde(rename = "tcbLevels")]
    levels: Vec<IsvLevel<u16>>,
}

/// A report, with the fields that are compared.
pub(crate) struct QeReport {
    miscselect: [u8; 4],
    attributes: [u8; 16],
    mrsigner: [u8; 32],
    isvprodid: u16,
    isvsvn: u16,
    /// The digest that the enclave bound.
    pub(crate) bound: [u8; 32],
}

impl QeReport {
    pub(crate) fn of(report: &[u8; QE_REPORT_LEN]) -> Self {
        Self {
            miscselect: at(report, 16),
            attributes: at(report, 48),
            mrsigner: at(report, 128),
            isvprodid: u16::from_le_bytes(at(report, 256)),
            isvsvn: u16::from_le_bytes(at(report, 258)),
            bound: at(report, 320),
        }
    }
}

impl QeIdentity {
    /// `None` of what is not a QE identity.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// The report is of the enclave that this names (a part of TDX-06).
    pub(crate) fn names(&self, report: &QeReport) -> Result<(), TdxRejection> {
        let refuse = |detail: &str| Err(TdxRejection::QeIdentity { detail: detail.to_owned() });
        if report.mrsigner != self.mrsigner {
            return refuse("MRSIGNER");
        }
        if report.attributes.first().is_none_or(|low| low & DEBUG != 0) {
            return refuse("it is in debug mode");
        }
        if report.isvprodid != self.isvprodid {
            return refuse("ISVPRODID");
        }
        if !equal_under(&self.miscselect_mask, &report.miscselect, &self.miscselect) {
            return refuse("MISCSELECT");
        }
        if !equal_under(&self.attributes_mask, &report.attributes, &self.attributes) {
            return refuse("ATTRIBUTES");
        }
        Ok(())
    }

    /// The first level that the report meets (a part of TDX-07).
    pub(crate) fn level(&self, report: &QeReport) -> Result<&IsvLevel<u16>, TdxRejection> {
        let level = self.levels.iter().find(|level| report.isvsvn >= level.tcb.isvsvn);
        let level = level.ok_or(TdxRejection::TcbUnknown)?;
        if !RATINGS.contains(&level.rating) {
            let detail = format!("the status of a quoting enclave cannot be {}", level.rating);
            return Err(TdxRejection::QeIdentity { detail });
        }
        Ok(level)
    }
}

/// Whether the bits of the mask are the same in both.
pub(crate) fn equal_under<const N: usize>(mask: &[u8; N], found: &[u8; N], expected: &[u8; N]) -> bool {
    mask.iter().zip(found).zip(expected).all(|((mask, found), expected)| (found ^ expected) & mask == 0)
}

/// Offsets here are constants within the report.
fn at<const N: usize>(report: &[u8; QE_REPORT_LEN], offset: usize) -> [u8; N] {
    let mut value = [0; N];
    for (target, source) in value.iter_mut().zip(report.iter().skip(offset)) {
        *target = *source;
    }
    value
}
