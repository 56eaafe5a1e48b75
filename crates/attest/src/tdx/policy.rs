//! What a TD must be (spec/attest.md §12.4). Every field is decided on by one rule.

use super::attributes::Attribute;
use super::body::ModuleSvn;
use super::pck::PlatformFlag;
use super::status::TcbStatus;
use crate::eventlog::LogPolicy;
use crate::policy::{Danger, Expected};

/// Terms for Intel TDX quotes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TdxPolicy {
    /// TCB statuses that are accepted (TDX-10).
    pub tcb_statuses: Vec<TcbStatus>,
    /// Security advisories that may apply, as `INTEL-SA-00000` (TDX-11).
    pub advisories: Vec<String>,
    /// Least tcbEvaluationDataNumber of TCB info and QE identity (TDX-12).
    pub minimum_evaluation: u32,
    /// Least version of the TDX module, at launch and now (TDX-13).
    pub minimum_module: ModuleSvn,
    /// Measurements of the TDX module (TDX-14).
    pub mr_seam: Expected<[u8; 48]>,
    /// DEBUG and the other TUD attributes (TDX-16).
    pub debug: Danger,
    /// The attribute SERVTD_EXT (TDX-17).
    pub service_td_extension: Danger,
    /// Service TDs; zero without any (TDX-17).
    pub mr_service_td: Expected<[u8; 48]>,
    /// Further attributes that may be set (TDX-18).
    pub attributes_may: Vec<Attribute>,
    /// What the PCK certificate may say of the platform (TDX-18).
    pub platform_may: Vec<PlatformFlag>,
    /// Bits that XFAM may have (TDX-19).
    pub xfam_may: u64,
    /// The initial image (TDX-20).
    pub mrtd: Expected<[u8; 48]>,
    /// The firmware's configuration (TDX-21).
    pub rtmr0: Expected<[u8; 48]>,
    /// The kernel (TDX-22).
    pub rtmr1: Expected<[u8; 48]>,
    /// The application (TDX-23).
    pub rtmr2: Expected<[u8; 48]>,
    /// What was extended at run time (TDX-24).
    pub rtmr3: Expected<[u8; 48]>,
    /// Configuration that the host chose (TDX-25).
    pub mr_config_id: Expected<[u8; 48]>,
    /// Owner that the host chose (TDX-26).
    pub mr_owner: Expected<[u8; 48]>,
    /// Owner's configuration that the host chose (TDX-27).
    pub mr_owner_config: Expected<[u8; 48]>,
    /// The event log behind the RTMRs (LOG-01 to LOG-06).
    pub event_log: LogPolicy,
}

impl TdxPolicy {
    /// x87, SSE, AVX, AVX-512, PKRU, CET, UINTR and AMX: state that a TD keeps to itself. No processor trace, last branch
    /// records or hardware power state.
    pub const XFAM: u64 = 0x6_5ae7;

    /// Strict terms with this image: up to date, no advisory, no debugging, no service TD, nothing that the host chose.
    ///
    /// What a PCK certificate states of the platform is accepted; one that leaves it out is not.
    ///
    /// MRTD alone is the firmware. What it starts is in the RTMRs, which are not asked here, and listed as waived: set
    /// them to vouch for a kernel and an application.
    pub fn strict(mrtd: Expected<[u8; 48]>) -> Self {
        let zero = || Expected::OneOf(vec![[0; 48]]);
        let unnamed = || Expected::any("MRTD alone was asked for");
        Self {
            tcb_statuses: vec![TcbStatus::UpToDate],
            advisories: Vec::new(),
            minimum_evaluation: 0,
            minimum_module: ModuleSvn { major: 0, minor: 0 },
            mr_seam: Expected::any("the version of the module is what Intel vouches for"),
            debug: Danger::Refuse,
            service_td_extension: Danger::Refuse,
            mr_service_td: zero(),
            attributes_may: Vec::new(),
            platform_may: vec![PlatformFlag::DynamicPlatform, PlatformFlag::CachedKeys, PlatformFlag::Smt],
            xfam_may: Self::XFAM,
            mrtd,
            rtmr0: unnamed(),
            rtmr1: unnamed(),
            rtmr2: unnamed(),
            rtmr3: unnamed(),
            mr_config_id: zero(),
            mr_owner: zero(),
            mr_owner_config: zero(),
            event_log: LogPolicy::NotAsked,
        }
    }
}
