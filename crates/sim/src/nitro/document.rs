//! A simulated Nitro Security Module, and the documents that it signs: COSE_Sign1 (RFC 9052 §4.2) around a CBOR map.

use std::collections::BTreeMap;
use std::fmt;

use casemate_attest::UnixTime;

use super::Chain;
use super::cbor::{NULL, array, bytes, map, text, unsigned};
use crate::certifier::sign_p384;
use crate::error::SimError;

/// COSE_Sign1 without a tag: array of four, protected header { alg: ES384 }, empty unprotected header.
const HEAD: [u8; 7] = [0x84, 0x44, 0xa1, 0x01, 0x38, 0x22, 0xa0];
/// The protected header as a byte string.
const PROTECTED: [u8; 5] = [0x44, 0xa1, 0x01, 0x38, 0x22];

/// One mistake in the certificates of a module's documents. "Intermediate" is one of the three between root and leaf.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NitroPathMistake {
    /// A correct path.
    None,
    /// Under another root of the same name.
    OtherRoot,
    /// An intermediate is no authority.
    IntermediateIsNoAuthority,
    /// An intermediate's key usage does not include signing certificates.
    IntermediateMayNotCertify,
    /// An intermediate says nothing of what its key may be used for.
    IntermediateWithoutKeyUsage,
    /// An intermediate is valid in another window.
    IntermediateValidity {
        /// First second of validity.
        not_before: UnixTime,
        /// Last second of validity.
        not_after: UnixTime,
    },
    /// The module's certificate is valid in another window.
    LeafValidity {
        /// First second of validity.
        not_before: UnixTime,
        /// Last second of validity.
        not_after: UnixTime,
    },
    /// The module's certificate calls itself an authority.
    LeafIsAuthority,
    /// The module's key usage does not include signatures.
    LeafMayNotSign,
    /// The module's certificate is for TLS servers.
    LeafForTls,
    /// The module's certificate is of a P-256 key.
    LeafP256,
    /// Nine certificates where AWS has four.
    TooLong,
}

/// What a module says of its enclave. Every field may be changed after [`NitroConfig::new`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NitroConfig {
    /// Instance and enclave.
    pub module_id: String,
    /// PCR0 to PCR15; zero in PCR0 to PCR2 is an enclave in debug mode.
    pub pcrs: BTreeMap<u8, [u8; 48]>,
    /// The enclave's public key.
    pub public_key: Option<Vec<u8>>,
    /// The asker's nonce.
    pub nonce: Option<Vec<u8>>,
    /// How many milliseconds since 1970 the document says; `None` is the vendor's issue.
    pub timestamp_ms: Option<u64>,
    /// What is wrong with the certificates.
    pub path: NitroPathMistake,
    /// Whether another key signs than the certificate's.
    pub signed_by_stranger: bool,
}

impl NitroConfig {
    /// A healthy enclave of this image (PCR0). PCR1 and PCR2 are made up, PCR3 to PCR15 zero, as of an enclave without a role,
    /// an instance or a signed image.
    pub fn new(pcr0: [u8; 48]) -> Self {
        let mut pcrs: BTreeMap<u8, [u8; 48]> = (0..16).map(|index| (index, [0; 48])).collect();
        pcrs.extend([(0, pcr0), (1, [0x11; 48]), (2, [0x12; 48])]);
        Self {
            module_id: "i-0123456789abcdef0-enc0123456789abcdef".to_owned(),
            pcrs,
            public_key: None,
            nonce: None,
            timestamp_ms: None,
            path: NitroPathMistake::None,
            signed_by_stranger: false,
        }
    }
}

/// A module that a [`super::NitroVendor`] endorsed.
pub struct NitroModule {
    config: NitroConfig,
    issued: UnixTime,
    path: Chain,
}

impl NitroModule {
    pub(super) fn new(config: NitroConfig, issued: UnixTime, path: Chain) -> Self {
        Self { config, issued, path }
    }

    /// A document that carries `user_data`, with the certificates in it.
    ///
    /// # Errors
    /// [`SimError::Signing`] or [`SimError::KeyGeneration`].
    pub fn document(&self, user_data: &[u8]) -> Result<Vec<u8>, SimError> {
        self.sign(&self.payload(user_data))
    }

    /// The payload of such a document, before it is signed: change it and give it to [`NitroModule::sign`].
    pub fn payload(&self, user_data: &[u8]) -> Vec<u8> {
        let config = &self.config;
        let made = config.timestamp_ms.unwrap_or(self.issued.0.saturating_mul(1000));
        let optional = |value: &Option<Vec<u8>>| value.as_ref().map_or(NULL.to_vec(), |value| bytes(value));
        let pcrs: Vec<_> =
            config.pcrs.iter().map(|(index, value)| (unsigned((*index).into()), bytes(value))).collect();
        let cabundle: Vec<_> = self.path.cabundle.iter().map(|der| bytes(der)).collect();
        map(&[
            (text("module_id"), text(&config.module_id)),
            (text("digest"), text("SHA384")),
            (text("timestamp"), unsigned(made)),
            (text("pcrs"), map(&pcrs)),
            (text("certificate"), bytes(&self.path.leaf)),
            (text("cabundle"), array(&cabundle)),
            (text("public_key"), optional(&config.public_key)),
            (text("user_data"), bytes(user_data)),
            (text("nonce"), optional(&config.nonce)),
        ])
    }

    /// Test material: signs any payload as if the module had made it.
    ///
    /// # Errors
    /// [`SimError::Signing`] or [`SimError::KeyGeneration`].
    pub fn sign(&self, payload: &[u8]) -> Result<Vec<u8>, SimError> {
        let payload = bytes(payload);
        let signed = [&[0x84][..], &text("Signature1"), &PROTECTED, &bytes(&[]), &payload].concat();
        let signature = if self.config.signed_by_stranger {
            sign_p384(&crate::certifier::KeyKind::P384.generate()?, &signed)?
        } else {
            sign_p384(&self.path.key, &signed)?
        };
        Ok([&HEAD[..], &payload, &bytes(&signature)].concat())
    }

    /// The certificate of the key that signs, in DER.
    pub fn certificate(&self) -> &[u8] {
        &self.path.leaf
    }

    /// The certificates above it, the root first, in DER.
    pub fn cabundle(&self) -> &[Vec<u8>] {
        &self.path.cabundle
    }

    /// What the module says.
    pub fn config(&self) -> &NitroConfig {
        &self.config
    }
}

impl fmt::Debug for NitroModule {
    /// Says which module this is; never shows the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NitroModule").field("config", &self.config).finish_non_exhaustive()
    }
}
