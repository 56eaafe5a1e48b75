//! A made-up Intel, as the cases over bundles use it: one vendor, TDs with a few values of their own, hashes.

#![allow(dead_code)] // each test binary uses its own part

use aws_lc_rs::digest::{SHA256, SHA384, digest};
use casemate_attest::{TrustAnchors, UnixTime};
use casemate_sim::tdx;

/// 2026-01-01T12:00:00Z: everything is in date.
pub(crate) const NOON: UnixTime = UnixTime(1_767_268_800);

pub(crate) struct TdxVendor {
    pub(crate) anchors: TrustAnchors,
    /// As `Endorsements::tdx` takes it.
    pub(crate) collateral: Vec<u8>,
    pub(crate) root_pem: String,
    intel: tdx::TdxVendor,
}

/// What a quote says of the TD.
#[derive(Clone)]
pub(crate) struct Td {
    pub(crate) attributes: u64,
    pub(crate) mrtd: [u8; 48],
    pub(crate) mr_config_id: [u8; 48],
    pub(crate) rtmrs: [[u8; 48]; 4],
    pub(crate) report_data: [u8; 64],
}

impl Default for Td {
    fn default() -> Self {
        Self {
            attributes: 1 << 28,
            mrtd: [0x4d; 48],
            mr_config_id: [0; 48],
            rtmrs: [[0x10; 48], [0x11; 48], [0x12; 48], [0; 48]],
            report_data: [0; 64],
        }
    }
}

impl TdxVendor {
    pub(crate) fn new() -> Self {
        let intel = tdx::TdxVendor::create(NOON).expect("a vendor");
        Self {
            anchors: TrustAnchors::danger_only_pem(&intel.root_pem()).expect("a danger bundle"),
            collateral: intel.collateral().expect("collateral"),
            root_pem: intel.root_pem(),
            intel,
        }
    }

    /// A quote of version 4.
    pub(crate) fn quote(&self, td: &Td) -> Vec<u8> {
        let config = tdx::TdxConfig {
            td_attributes: td.attributes,
            mr_config_id: td.mr_config_id,
            rtmrs: td.rtmrs,
            ..tdx::TdxConfig::new(td.mrtd)
        };
        self.intel.machine(&config).expect("a machine").quote(&td.report_data).expect("a quote")
    }
}

/// RTMR after these digests.
pub(crate) fn extended(digests: impl IntoIterator<Item = [u8; 48]>) -> [u8; 48] {
    digests.into_iter().fold([0; 48], |register, event| sha384(&[register, event].concat()))
}

pub(crate) fn sha384(message: &[u8]) -> [u8; 48] {
    digest(&SHA384, message).as_ref().try_into().expect("48 bytes")
}

pub(crate) fn sha256(message: &[u8]) -> [u8; 32] {
    digest(&SHA256, message).as_ref().try_into().expect("32 bytes")
}
