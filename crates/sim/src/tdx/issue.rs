//! What a simulated Intel certifies below its root: the PCK Platform CA, the signer of its documents, and platforms.
//!
//! Source: Intel SGX PCK Certificate and CRL Profile, "SGX Extensions".

use rcgen::{CertificateParams, CustomExtension, KeyPair};

use super::TdxVendor;
use super::machine::{TdxConfig, TdxMachine};
use super::mistakes::PckMistake;
use crate::asn1::{BOOLEAN, OCTET_STRING, integer, oid, sequence, tlv};
use crate::certificate::Window;
use crate::certifier::{Certifier, KeyKind, Subject, leaf};
use crate::error::SimError;
use crate::vendor::{DAY, window};

/// Family, model, stepping, platform type and custom SKU of the simulated processor.
pub(super) const FMSPC: [u8; 6] = [0x90, 0xc0, 0x6f, 0, 0, 0];
/// Of the simulated provisioning certification enclave.
pub(super) const PCE_ID: [u8; 2] = [0, 0];
/// Security version of the simulated provisioning certification enclave.
pub(super) const PCE_SVN: u64 = 11;
/// Security version of each of the processor's sixteen components.
pub(super) const COMPONENT_SVN: u8 = 1;

/// A PCK certificate lives for seven years.
const PCK_SECONDS: u64 = 7 * 365 * DAY;

/// Intel's arc for what a PCK certificate says of the platform.
const SGX_EXTENSION: [u32; 7] = [1, 2, 840, 113_741, 1, 13, 1];
const ENUMERATED: u8 = 0x0a;

pub(super) const ROOT: Subject = subject("Intel SGX Root CA");
pub(super) const PLATFORM_CA: Subject = subject("Intel SGX PCK Platform CA");
pub(super) const SIGNER: Subject = subject("Intel SGX TCB Signing");
const PCK: Subject = subject("Intel SGX PCK Certificate");

const fn subject(common_name: &'static str) -> Subject {
    Subject { common_name, organization: "SIMULATED - not Intel" }
}

impl TdxVendor {
    /// Makes a TD on a new platform: a new PCK, endorsed by a certificate of the PCK Platform CA.
    ///
    /// # Errors
    /// [`SimError::KeyGeneration`], [`SimError::Issue`] or [`SimError::TimeOutOfRange`].
    pub fn machine(&self, config: &TdxConfig) -> Result<TdxMachine, SimError> {
        let pck = KeyKind::P256.generate()?;
        let chain = match config.pck {
            // From that vendor's root to a certificate of this very key.
            PckMistake::OtherVendor => Self::create(self.issued())?.pck_chain(config, &pck)?,
            _ => self.pck_chain(config, &pck)?,
        };
        Ok(TdxMachine::new(config.clone(), pck, chain))
    }

    /// PEM, the leaf first and the root last.
    fn pck_chain(&self, config: &TdxConfig, key: &KeyPair) -> Result<String, SimError> {
        let params = self.pck_params(config)?;
        let certificate = match config.pck {
            PckMistake::IssuedByRoot => self.root.certify(&params, key)?,
            PckMistake::SignedByStranger => self.stranger(PLATFORM_CA)?.certify(&params, key)?,
            _ => self.platform_ca.certify(&params, key)?,
        };
        let leaf = crate::vendor::pem("CERTIFICATE", certificate.der());
        let authority = match config.pck {
            PckMistake::ChainWithoutCa => String::new(),
            _ => self.platform_ca.pem(),
        };
        Ok([leaf, authority, self.root.pem()].concat())
    }

    fn pck_params(&self, config: &TdxConfig) -> Result<CertificateParams, SimError> {
        let window = match &config.pck {
            PckMistake::Validity { not_before, not_after } => {
                Window { not_before: *not_before, not_after: *not_after }
            }
            _ => window(self.issued(), PCK_SECONDS)?,
        };
        let mut params = leaf(PCK, window)?;
        if config.pck != PckMistake::NoExtension {
            let arcs = SGX_EXTENSION.map(u64::from);
            params.custom_extensions =
                vec![CustomExtension::from_oid_content(&arcs, sgx_extension(&config.pck))];
        }
        Ok(params)
    }

    /// An authority of this name with a key that nobody here certified.
    pub(super) fn stranger(&self, subject: Subject) -> Result<Certifier, SimError> {
        Certifier::root(subject, window(self.issued(), PCK_SECONDS)?, KeyKind::P256.generate()?)
    }
}

/// What the certificate says of the platform: SEQUENCE OF SEQUENCE { OID, value }.
fn sgx_extension(mistake: &PckMistake) -> Vec<u8> {
    let fmspc = if let PckMistake::OtherFmspc(other) = mistake { *other } else { FMSPC };
    let pce_id = if let PckMistake::OtherPceId(other) = mistake { *other } else { PCE_ID };
    let pce_svn = if *mistake == PckMistake::OlderPce { PCE_SVN.saturating_sub(1) } else { PCE_SVN };
    let octets = |bytes: &[u8]| tlv(OCTET_STRING, bytes);
    let flag = |on: bool| tlv(BOOLEAN, &[if on { 0xff } else { 0 }]);

    let mut tcb: Vec<Vec<u8>> =
        (1..=16).map(|component| entry(&[2, component], integer(COMPONENT_SVN.into()))).collect();
    tcb.push(entry(&[2, 17], integer(pce_svn)));
    tcb.push(entry(&[2, 18], octets(&[COMPONENT_SVN; 16])));
    let configuration = [
        entry(&[7, 1], flag(false)), // dynamic platform
        entry(&[7, 2], flag(true)),  // cached keys
        entry(&[7, 3], flag(true)),  // SMT
    ];
    sequence(&[
        entry(&[1], octets(&[0xbb; 16])), // PPID
        entry(&[2], sequence(&tcb)),
        entry(&[3], octets(&pce_id)),
        entry(&[4], octets(&fmspc)),
        entry(&[5], tlv(ENUMERATED, &[1])), // SGX type: scalable
        entry(&[6], octets(&[0xcc; 16])),   // platform instance
        entry(&[7], sequence(&configuration)),
    ])
}

fn entry(arcs: &[u32], value: Vec<u8>) -> Vec<u8> {
    sequence(&[oid(&[&SGX_EXTENSION[..], arcs].concat()), value])
}
