//! What a genuine quote says, as values.

use serde::{Serialize, Serializer};

use super::body::{Body, ModuleSvn};
use super::genuine::Genuine;
use super::pck::PlatformFlag;
use super::quote::Quote;
use super::status::TcbStatus;

/// Claims of a genuine TDX quote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
#[allow(missing_docs)] // the fields' own names; spec/attest.md §12.1
pub struct TdxClaims {
    pub quote_version: u16,
    pub body: Body,
    /// The worst of platform, module and quoting enclave.
    pub tcb_status: TcbStatus,
    /// Security advisories that apply.
    pub advisories: Vec<String>,
    /// The lower of TCB info's and QE identity's.
    pub evaluation: u32,
    #[serde(with = "hex::serde")]
    pub fmspc: [u8; 6],
    /// What the PCK certificate says of the platform; `unstated` where it leaves something out.
    pub platform_flags: Vec<PlatformFlag>,
    #[serde(with = "hex::serde")]
    pub tee_tcb_svn: [u8; 16],
    pub launch_module: ModuleSvn,
    /// `None` in a TD 1.0 body.
    pub current_module: Option<ModuleSvn>,
    pub td_attributes: u64,
    pub xfam: u64,
    #[serde(with = "hex::serde")]
    pub mr_seam: [u8; 48],
    #[serde(with = "hex::serde")]
    pub mr_config_id: [u8; 48],
    #[serde(with = "hex::serde")]
    pub mr_owner: [u8; 48],
    #[serde(with = "hex::serde")]
    pub mr_owner_config: [u8; 48],
    #[serde(serialize_with = "hexadecimal")]
    pub rtmrs: [[u8; 48]; 4],
    /// `None` in a TD 1.0 body.
    #[serde(serialize_with = "optional_hex")]
    pub mr_service_td: Option<[u8; 48]>,
}

impl TdxClaims {
    pub(crate) fn new(quote: &Quote, genuine: &Genuine) -> Self {
        Self {
            quote_version: quote.version(),
            body: quote.body(),
            tcb_status: genuine.status,
            advisories: genuine.advisories.clone(),
            evaluation: genuine.evaluation,
            fmspc: genuine.fmspc,
            platform_flags: genuine.flags.clone(),
            tee_tcb_svn: quote.tee_tcb_svn(),
            launch_module: quote.launch_module(),
            current_module: quote.current_module(),
            td_attributes: quote.td_attributes(),
            xfam: quote.xfam(),
            mr_seam: quote.mr_seam(),
            mr_config_id: quote.mr_config_id(),
            mr_owner: quote.mr_owner(),
            mr_owner_config: quote.mr_owner_config(),
            rtmrs: quote.rtmrs(),
            mr_service_td: quote.mr_service_td(),
        }
    }
}

fn hexadecimal<S: Serializer>(values: &[[u8; 48]; 4], serializer: S) -> Result<S::Ok, S::Error> {
    values.map(hex::encode).serialize(serializer)
}

fn optional_hex<S: Serializer>(value: &Option<[u8; 48]>, serializer: S) -> Result<S::Ok, S::Error> {
    value.map(hex::encode).serialize(serializer)
}
