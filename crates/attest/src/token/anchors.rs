//! Whose tokens a relying party believes, and by which keys.

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use super::keys::{KeySet, KeySetError};
use crate::anchors::AnchorError;
use crate::x509::{Certificate, CertificateError};

/// Google's root of Confidential Space's PKI tokens; `roots/README.md` says where it is from.
const CONFIDENTIAL_SPACE: &str = include_str!("../../roots/gcp-confidential-space-root.pem");

/// NVIDIA's intermediate that issues the keys of its attestation service; NVIDIA does not publish the CA above it.
const NRAS: &str = include_str!("../../roots/nvidia-nras-gpu-intermediate-004.pem");

/// Issuers with their keys, and the roots of those who send certificates with their tokens.
///
/// Nothing in a token adds to it: a key or an address that a token brings is an assertion by whoever made the token.
#[derive(Debug, Clone)]
pub struct TokenAnchors {
    issuers: Vec<(String, KeySet)>,
    confidential_space: Option<Certificate>,
    nras: Option<Certificate>,
    /// Keys that are believed only with a certificate under the one above.
    nras_keys: Option<KeySet>,
    simulated: bool,
}

impl TokenAnchors {
    /// The roots that are embedded in this library, and no issuer's keys.
    pub fn embedded() -> Self {
        // Should the embedded file ever be unreadable, nothing is pinned and no token passes; a test reads it.
        let confidential_space = root(CONFIDENTIAL_SPACE).ok();
        Self { confidential_space, nras: root(NRAS).ok(), ..Self::none() }
    }

    /// Nobody at all.
    pub fn none() -> Self {
        Self { issuers: Vec::new(), confidential_space: None, nras: None, nras_keys: None, simulated: false }
    }

    /// Believes this issuer (exactly as in a token's `iss`) by these keys (a JSON Web Key Set, RFC 7517 §5). Where the set
    /// is from is for the caller to answer for.
    ///
    /// # Errors
    /// A set that is not understood as a whole.
    pub fn with_jwks(mut self, issuer: impl Into<String>, jwks: &[u8]) -> Result<Self, KeySetError> {
        let keys = KeySet::parse(jwks)?;
        let issuer = issuer.into();
        self.issuers.retain(|(other, _)| *other != issuer);
        self.issuers.push((issuer, keys));
        Ok(self)
    }

    /// A simulator's root (PEM) in the place of Google's; every verdict under it says that it is simulated.
    ///
    /// # Errors
    /// A certificate that cannot be judged, or Google's own: its tokens would look simulated.
    pub fn danger_confidential_space_root(mut self, pem: &str) -> Result<Self, AnchorError> {
        self.confidential_space = Some(simulators(pem, Self::embedded().confidential_space())?);
        Ok(self.danger_simulated())
    }

    /// Keys of NVIDIA's attestation service, from wherever: each is believed only where the first certificate of its `x5c` is
    /// the key's own and stands under NVIDIA's pinned intermediate. An issuer of [`Self::with_jwks`] goes before.
    ///
    /// # Errors
    /// A set that is not understood as a whole.
    pub fn with_nras_keys(mut self, jwks: &[u8]) -> Result<Self, KeySetError> {
        self.nras_keys = Some(KeySet::parse(jwks)?);
        Ok(self)
    }

    /// A simulator's intermediate (PEM) in the place of NVIDIA's; every verdict under it says that it is simulated.
    ///
    /// # Errors
    /// A certificate that cannot be judged, or NVIDIA's own: its tokens would look simulated.
    pub fn danger_nras_intermediate(mut self, pem: &str) -> Result<Self, AnchorError> {
        self.nras = Some(simulators(pem, Self::embedded().nras())?);
        Ok(self.danger_simulated())
    }

    /// Every verdict under these anchors says that it is simulated: the issuers are a simulator's.
    #[must_use]
    pub fn danger_simulated(mut self) -> Self {
        self.simulated = true;
        self
    }

    /// Whether a verdict under them is worth nothing.
    pub fn simulated(&self) -> bool {
        self.simulated
    }

    pub(crate) fn keys_of(&self, issuer: &str) -> Option<&KeySet> {
        self.issuers.iter().find(|(name, _)| name == issuer).map(|(_, keys)| keys)
    }

    /// The one issuer that was named, where it was one.
    pub(crate) fn only_issuer(&self) -> Option<&str> {
        match self.issuers.as_slice() {
            [(name, _)] => Some(name),
            _ => None,
        }
    }

    pub(crate) fn nras(&self) -> Option<&Certificate> {
        self.nras.as_ref()
    }

    pub(crate) fn nras_keys(&self) -> Option<&KeySet> {
        self.nras_keys.as_ref()
    }

    pub(crate) fn confidential_space(&self) -> Option<&Certificate> {
        self.confidential_space.as_ref()
    }
}

/// A certificate with another key than the vendor's own.
fn simulators(pem: &str, vendors: Option<&Certificate>) -> Result<Certificate, AnchorError> {
    let position = 1;
    let root = root(pem).map_err(|error| AnchorError::Certificate { position, error })?;
    if vendors.is_some_and(|own| own.spki == root.spki) {
        return Err(AnchorError::VendorKey { position });
    }
    Ok(root)
}

fn root(pem: &str) -> Result<Certificate, CertificateError> {
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| CertificateError::Malformed)?;
    Certificate::parse(&der)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto;

    #[test]
    fn the_embedded_root_is_googles() {
        let anchors = TokenAnchors::embedded();
        let root = anchors.confidential_space().expect("embedded");
        let expected = "148b293821bb0c6a317f413c8ba475814091cb22d49b9e3c94198db8e8f86c39";
        assert_eq!(hex::encode(crypto::sha256(&root.der)), expected);
        assert!(!anchors.simulated());
        let refused = TokenAnchors::none().danger_confidential_space_root(CONFIDENTIAL_SPACE);
        assert_eq!(refused.expect_err("it is Google's own").code(), "anchors.vendor-key");
        let refused = TokenAnchors::none().danger_confidential_space_root("no certificate");
        assert_eq!(refused.expect_err("it is none").code(), "anchors.certificate");
    }

    #[test]
    fn nvidias_own_intermediate_is_no_simulators() {
        let refused = TokenAnchors::none().danger_nras_intermediate(NRAS);
        assert_eq!(refused.expect_err("it is NVIDIA's").code(), "anchors.vendor-key");
    }

    #[test]
    fn the_embedded_intermediate_is_nvidias() {
        let anchors = TokenAnchors::embedded();
        let intermediate = anchors.nras().expect("embedded");
        let expected = "fd32837f954e2c45db073105166dfe6985ae0480bb113fba63b091a75affe896";
        assert_eq!(hex::encode(crypto::sha256(&intermediate.spki)), expected);
    }
}
