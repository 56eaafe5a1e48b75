//! Somebody with a certificate and its key.

use rcgen::{CertificateParams, PublicKeyData as _};

use crate::certificate::Window;
use crate::certifier::{Certifier, KeyKind, Subject, authority, leaf, sign_p384};
use crate::error::SimError;
use casemate_attest::UnixTime;

/// An authority, a signer or a device. Every key is P-384. Whom it certifies has its own time, unless said otherwise.
pub struct Party {
    certifier: Certifier,
    valid: Window,
}

pub(super) const fn subject(common_name: &'static str) -> Subject {
    Subject { common_name, organization: "SIMULATED - not NVIDIA" }
}

impl Party {
    pub(super) fn new(certifier: Certifier, valid: Window) -> Self {
        Self { certifier, valid }
    }

    pub(super) fn root(subject: Subject, valid: Window) -> Result<Self, SimError> {
        Ok(Self::new(Certifier::root(subject, valid, KeyKind::P384.generate()?)?, valid))
    }

    /// An authority that this one certifies.
    ///
    /// # Errors
    /// [`SimError::KeyGeneration`] or [`SimError::Issue`].
    pub fn authority(&self, common_name: &'static str) -> Result<Self, SimError> {
        self.certify(authority(subject(common_name), self.valid)?)
    }

    /// Somebody whom this one certifies for signatures, with whatever else is changed in the certificate.
    ///
    /// # Errors
    /// [`SimError::KeyGeneration`] or [`SimError::Issue`].
    pub fn signer(
        &self,
        common_name: &'static str,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Result<Self, SimError> {
        let mut params = leaf(subject(common_name), self.valid)?;
        change(&mut params);
        self.certify(params)
    }

    pub(super) fn signer_until(
        &self,
        common_name: &'static str,
        not_after: UnixTime,
    ) -> Result<Self, SimError> {
        self.certify(leaf(subject(common_name), Window { not_after, ..self.valid })?)
    }

    fn certify(&self, params: CertificateParams) -> Result<Self, SimError> {
        let certifier = self.certifier.subordinate(params, KeyKind::P384.generate()?)?;
        Ok(Self::new(certifier, self.valid))
    }

    /// ECDSA with SHA-384: R and S, 48 bytes each.
    ///
    /// # Errors
    /// [`SimError::Signing`].
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SimError> {
        sign_p384(self.certifier.issuer.key(), message)
    }

    /// The certificate in DER.
    pub fn der(&self) -> &[u8] {
        &self.certifier.der
    }

    /// The certificate in PEM.
    pub fn pem(&self) -> String {
        self.certifier.pem()
    }

    /// The public key as it stands in the certificate's BIT STRING.
    pub(super) fn public_key(&self) -> &[u8] {
        self.certifier.issuer.key().der_bytes()
    }

    pub(super) fn certifier(&self) -> &Certifier {
        &self.certifier
    }
}
