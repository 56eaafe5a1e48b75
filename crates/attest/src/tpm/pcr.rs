//! Platform configuration registers: which, and with which values.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};
use thiserror::Error;

/// PCRs of a PC Client TPM: 0 to 23, three octets of a selection.
pub const PCR_COUNT: u8 = 24;

/// A set of PCRs of one bank, as TPMS_PCR_SELECTION writes it: bit `i % 8` of octet `i / 8` is PCR `i`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PcrSelection {
    /// TPM_ALG_ID of the bank's hash.
    pub bank: u16,
    /// The three octets, little-endian: bit `i` is PCR `i`.
    pub(super) bits: u32,
}

/// SHA-256 PCR values by index, as somebody sent them. They are believed by nobody: [`super::Quote::select`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PcrValues(BTreeMap<u8, [u8; 32]>);

/// SHA-256 PCR values that a quote selected, each of them, and no other. Made only by [`super::Quote::select`], so that
/// a value which the TPM did not vouch for can never be a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelectedPcrs(pub(super) PcrValues);

/// Why a list is not a list of PCR values.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PcrError {
    /// Nothing is listed; a quote over nothing says nothing.
    #[error("no PCR is listed")]
    Empty,
    /// No such PCR.
    #[error("PCR {index} does not exist: they are 0 to 23")]
    Index {
        /// As listed.
        index: u8,
    },
    /// Indices must strictly ascend: a PCR listed twice would have two values, and one list has one spelling.
    #[error("PCR {index} is listed twice or out of order")]
    Order {
        /// As listed.
        index: u8,
    },
}

impl PcrSelection {
    /// Whether this PCR is in the set.
    pub fn contains(&self, index: u8) -> bool {
        1_u32.checked_shl(u32::from(index)).is_some_and(|bit| self.bits & bit != 0)
    }

    /// The set, ascending.
    pub fn indices(&self) -> Vec<u8> {
        (0..PCR_COUNT).filter(|&index| self.contains(index)).collect()
    }
}

impl PcrValues {
    /// Takes a list of (index, value), ascending.
    ///
    /// # Errors
    /// An empty list, an index above 23, an index that does not ascend.
    pub fn new(list: impl IntoIterator<Item = (u8, [u8; 32])>) -> Result<Self, PcrError> {
        let mut values = BTreeMap::new();
        for (index, value) in list {
            if index >= PCR_COUNT {
                return Err(PcrError::Index { index });
            }
            if values.last_key_value().is_some_and(|(&last, _)| last >= index) {
                return Err(PcrError::Order { index });
            }
            values.insert(index, value);
        }
        if values.is_empty() { Err(PcrError::Empty) } else { Ok(Self(values)) }
    }

    /// The indices, ascending.
    pub fn indices(&self) -> Vec<u8> {
        self.0.keys().copied().collect()
    }

    /// The values one after another, in the order of their indices: what a quote's digest is over.
    pub(super) fn concatenated(&self) -> Vec<u8> {
        self.0.values().flatten().copied().collect()
    }
}

impl SelectedPcrs {
    /// The value of a PCR; `None` where the quote did not select it.
    pub fn get(&self, index: u8) -> Option<&[u8; 32]> {
        self.0.0.get(&index)
    }

    /// The indices, ascending.
    pub fn indices(&self) -> Vec<u8> {
        self.0.indices()
    }
}

/// An object from index to lowercase hexadecimal.
impl Serialize for SelectedPcrs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.0.iter().map(|(index, value)| (index.to_string(), hex::encode(value))))
    }
}

impl PcrError {
    /// Stable identifier, for logs, exit codes and tests.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Empty => "tpm.pcr.empty",
            Self::Index { .. } => "tpm.pcr.index",
            Self::Order { .. } => "tpm.pcr.order",
        }
    }
}
