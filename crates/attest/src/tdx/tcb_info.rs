//! TCB info: which security versions Intel knows of a platform, and what it says of each. Source: Intel PCS API v4, "Get
//! TDX TCB Info". Members that are not named here are Intel's.

use core::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Visitor};

use super::status::TcbStatus;

/// The document.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TcbInfo {
    pub(crate) id: String,
    pub(crate) version: u8,
    pub(crate) issue_date: String,
    pub(crate) next_update: String,
    /// Hexadecimal.
    pub(crate) fmspc: String,
    /// Hexadecimal.
    pub(crate) pce_id: String,
    #[serde(rename = "tcbEvaluationDataNumber")]
    pub(crate) evaluation: u32,
    /// From the highest: [`TcbInfo::parse`] sorts them.
    #[serde(rename = "tcbLevels")]
    pub(crate) levels: Vec<Level>,
    /// Of the module's version 0.
    pub(crate) tdx_module: Option<Module>,
    /// Of every other version.
    #[serde(rename = "tdxModuleIdentities", default)]
    pub(crate) modules: Vec<ModuleIdentity>,
}

/// What a platform with at least these versions is worth.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Level {
    pub(crate) tcb: Versions,
    pub(crate) tcb_date: String,
    #[serde(rename = "tcbStatus")]
    pub(crate) rating: Rating,
    #[serde(rename = "advisoryIDs", default)]
    pub(crate) advisories: Vec<String>,
}

/// Ordered as Intel's library orders levels: by the processor, then by the PCE, then by TDX.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub(crate) struct Versions {
    #[serde(rename = "sgxtcbcomponents")]
    pub(crate) sgx: Vec<Component>,
    #[serde(rename = "pcesvn")]
    pub(crate) pce: u16,
    #[serde(rename = "tdxtcbcomponents", default)]
    pub(crate) tdx: Vec<Component>,
}

/// One component's security version.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub(crate) struct Component {
    pub(crate) svn: u8,
}

/// What a TDX module must be; hexadecimal.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Module {
    pub(crate) mrsigner: String,
    pub(crate) attributes: String,
    pub(crate) attributes_mask: String,
}

/// The same of one major version, with its own levels.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ModuleIdentity {
    /// `TDX_` and the major version, two hexadecimal digits.
    pub(crate) id: String,
    pub(crate) mrsigner: String,
    pub(crate) attributes: String,
    pub(crate) attributes_mask: String,
    #[serde(rename = "tcbLevels")]
    pub(crate) levels: Vec<IsvLevel<u8>>,
}

/// What a module or an enclave of at least this version is worth; from the highest.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct IsvLevel<N> {
    pub(crate) tcb: IsvVersion<N>,
    pub(crate) tcb_date: String,
    #[serde(rename = "tcbStatus")]
    pub(crate) rating: Rating,
    #[serde(rename = "advisoryIDs", default)]
    pub(crate) advisories: Vec<String>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct IsvVersion<N> {
    pub(crate) isvsvn: N,
}

/// A status as Intel writes it. Revoked is never accepted, so that [`TcbStatus`] has no such value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rating {
    Revoked,
    Status(TcbStatus),
}

impl TcbInfo {
    /// `None` of what is not a TCB info.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut info: Self = serde_json::from_str(text).ok()?;
        info.levels.sort_by(|a, b| b.tcb.cmp(&a.tcb));
        Some(info)
    }
}

impl fmt::Display for Rating {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Revoked => f.write_str("Revoked"),
            Self::Status(status) => status.fmt(f),
        }
    }
}

impl<'de> Deserialize<'de> for Rating {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Word;
        impl Visitor<'_> for Word {
            type Value = Rating;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a TCB status")
            }

            fn visit_str<E: serde::de::Error>(self, word: &str) -> Result<Rating, E> {
                match TcbStatus::named(word) {
                    Some(status) => Ok(Rating::Status(status)),
                    None if word == "Revoked" => Ok(Rating::Revoked),
                    None => Err(E::custom("not a TCB status")),
                }
            }
        }
        deserializer.deserialize_str(Word)
    }
}
