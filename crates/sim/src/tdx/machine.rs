//! A simulated TD on a simulated platform: what its quotes say, and the quotes.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use rcgen::{KeyPair, PublicKeyData as _};

use super::mistakes::{PckMistake, QuoteMistake};
use super::quote::{self, Authentication, QeReport, QuoteFormat};
use crate::certifier::{KeyKind, serial, sign_p256};
use crate::error::SimError;
use crate::eventlog::EventLog;

/// SEPT_VE_DISABLE: the host cannot inject virtualization exceptions.
const SEPT_VE_DISABLE: u64 = 1 << 28;
/// x87, SSE, AVX, AVX-512, PKRU, CET, AMX: as on most recorded machines.
const XFAM: u64 = 0x6_1ae7;

/// Who signed the simulated quoting enclave.
pub(super) const QE_SIGNER: [u8; 32] = [0x51; 32];
/// Of the simulated quoting enclave.
pub(super) const QE_PRODUCT: u16 = 2;
/// Of the simulated quoting enclave.
pub(super) const QE_SVN: u16 = 4;
/// ATTRIBUTES of a quoting enclave: INIT, PROVISION_KEY.
pub(super) const QE_ATTRIBUTES: u8 = 0x11;
const QE_DEBUG: u8 = 0x02;
const QE_AUTHENTICATION: [u8; 32] = [0x0a; 32];

/// Everything that a TD's quotes and its platform's certificate say. Every field may be changed after [`TdxConfig::new`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TdxConfig {
    /// Version and body.
    pub format: QuoteFormat,
    /// TEE_TCB_SVN: the minor and the major version of the module that the TD was launched on, then the microcode's.
    pub tee_tcb_svn: [u8; 16],
    /// MRSEAM.
    pub mr_seam: [u8; 48],
    /// MRSIGNERSEAM: zero is Intel.
    pub mr_signer_seam: [u8; 48],
    /// SEAMATTRIBUTES.
    pub seam_attributes: u64,
    /// TDATTRIBUTES: bit 0 is DEBUG, bit 28 SEPT_VE_DISABLE, bit 29 MIGRATABLE.
    pub td_attributes: u64,
    /// XFAM.
    pub xfam: u64,
    /// MRTD.
    pub mr_td: [u8; 48],
    /// MRCONFIGID.
    pub mr_config_id: [u8; 48],
    /// MROWNER.
    pub mr_owner: [u8; 48],
    /// MROWNERCONFIG.
    pub mr_owner_config: [u8; 48],
    /// RTMR0 to RTMR3.
    pub rtmrs: [[u8; 48]; 4],
    /// TEE_TCB_SVN2: the module that runs now (TD 1.5 bodies only).
    pub tee_tcb_svn2: [u8; 16],
    /// MRSERVICETD (TD 1.5 bodies only).
    pub mr_service_td: [u8; 48],
    /// What is wrong with the platform's certificate.
    pub pck: PckMistake,
    /// What is wrong with its quotes.
    pub quote: QuoteMistake,
}

impl TdxConfig {
    /// A healthy TD with quotes of version 4 that launched `mr_td` and measured nothing since.
    pub fn new(mr_td: [u8; 48]) -> Self {
        let tee_tcb_svn = [5, 1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        Self {
            format: QuoteFormat::V4,
            tee_tcb_svn,
            mr_seam: [0x5e; 48],
            mr_signer_seam: [0; 48],
            seam_attributes: 0,
            td_attributes: SEPT_VE_DISABLE,
            xfam: XFAM,
            mr_td,
            mr_config_id: [0; 48],
            mr_owner: [0; 48],
            mr_owner_config: [0; 48],
            rtmrs: [[0; 48]; 4],
            tee_tcb_svn2: tee_tcb_svn,
            mr_service_td: [0; 48],
            pck: PckMistake::None,
            quote: QuoteMistake::None,
        }
    }

    /// With the RTMRs in which this log ends.
    #[must_use]
    pub fn with_log(mut self, log: &EventLog) -> Self {
        self.rtmrs = log.rtmrs();
        self
    }
}

/// A TD on a platform that a [`super::TdxVendor`] endorsed.
pub struct TdxMachine {
    config: TdxConfig,
    pck: KeyPair,
    pck_chain: String,
}

impl TdxMachine {
    pub(super) fn new(config: TdxConfig, pck: KeyPair, pck_chain: String) -> Self {
        Self { config, pck, pck_chain }
    }

    /// A quote that carries `report_data`, with the PCK certificate chain in it.
    ///
    /// # Errors
    /// [`SimError::KeyGeneration`] or [`SimError::Signing`].
    pub fn quote(&self, report_data: &[u8; 64]) -> Result<Vec<u8>, SimError> {
        self.sign(quote::signed(&self.config, report_data))
    }

    /// Header and body of such a quote, before it is signed: change it and give it to [`TdxMachine::sign`].
    pub fn body(&self, report_data: &[u8; 64]) -> Vec<u8> {
        quote::signed(&self.config, report_data)
    }

    /// Test material: signs any header and body as if a quoting enclave had, with a new attestation key.
    ///
    /// # Errors
    /// [`SimError::KeyGeneration`] or [`SimError::Signing`].
    pub fn sign(&self, signed: Vec<u8>) -> Result<Vec<u8>, SimError> {
        let mistake = &self.config.quote;
        let attestation = KeyKind::P256.generate()?;
        let stranger = KeyKind::P256.generate()?;
        let signer = if *mistake == QuoteMistake::SignedByStranger { &stranger } else { &attestation };
        let bound = if *mistake == QuoteMistake::QeBindsStranger { &stranger } else { &attestation };
        let pck = if *mistake == QuoteMistake::QeReportByStranger { &stranger } else { &self.pck };

        let mut binding = [0; 32];
        let hash = digest(&SHA256, &[coordinates(bound), &QE_AUTHENTICATION].concat());
        binding.iter_mut().zip(hash.as_ref()).for_each(|(to, from)| *to = *from);
        let qe_report = QeReport {
            attributes: if *mistake == QuoteMistake::QeDebug {
                QE_ATTRIBUTES | QE_DEBUG
            } else {
                QE_ATTRIBUTES
            },
            mr_signer: if *mistake == QuoteMistake::OtherQe { [0x52; 32] } else { QE_SIGNER },
            isv_prod_id: QE_PRODUCT,
            isv_svn: if *mistake == QuoteMistake::OlderQe { QE_SVN.saturating_sub(1) } else { QE_SVN },
            bound: binding,
        }
        .to_bytes();
        let parts = Authentication {
            signature: &sign_p256(signer, &signed)?,
            key: coordinates(&attestation),
            qe_signature: &sign_p256(pck, &qe_report)?,
            qe_report: &qe_report,
            qe_authentication: &QE_AUTHENTICATION,
            pck_chain: &self.pck_chain,
        };
        Ok(quote::assemble(&signed, &parts))
    }

    /// The PCK certificate's serial number, for [`super::CollateralMistake::RevokesPck`].
    pub fn pck_serial(&self) -> Vec<u8> {
        serial(&self.pck)
    }

    /// What the TD says about itself.
    pub fn config(&self) -> &TdxConfig {
        &self.config
    }
}

impl fmt::Debug for TdxMachine {
    /// Says which machine this is; never shows the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TdxMachine").field("config", &self.config).finish_non_exhaustive()
    }
}

/// x and y, without the byte that says that both are there.
fn coordinates(key: &KeyPair) -> &[u8] {
    key.der_bytes().strip_prefix(&[4]).unwrap_or_default()
}
