//! NVIDIA's roots, embedded; or a simulator's.

use crate::x509::{Certificate, CertificateError};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use thiserror::Error;

const DEVICE_IDENTITY: &str = include_str!("../../roots/nvidia-device-identity.pem");
const MANIFESTS: &str = include_str!("../../roots/nvidia-rim.pem");

const MANIFESTS_NAME: &str = "CoRIM signing Root CA";

/// The roots that a verifier believes for NVIDIA devices.
#[derive(Debug, Clone)]
pub struct NvidiaAnchors {
    pub(crate) root: Option<Certificate>,
    /// Of reference manifests.
    pub(crate) manifests: Option<Certificate>,
    simulated: bool,
}

/// Why a root is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NvidiaAnchorError {
    /// Not exactly one root of devices, and at most one of manifests, in PEM.
    #[error("the roots are not exactly one PEM certificate for devices and at most one for manifests")]
    Pem,
    /// It cannot be judged.
    #[error("the root: {0}")]
    Certificate(CertificateError),
    /// A danger root with a key of NVIDIA's: what is simulated and what is not would look alike.
    #[error("the danger root has NVIDIA's own key")]
    VendorKey,
}

impl NvidiaAnchorError {
    /// Stable identifier, for logs, exit codes and tests.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Pem => "anchors.pem",
            Self::Certificate(_) => "anchors.certificate",
            Self::VendorKey => "anchors.vendor-key",
        }
    }
}

impl NvidiaAnchors {
    /// NVIDIA Device Identity CA, SHA-256 102bf659…7b48, valid from 2021-11-05 without an end; and NVIDIA CoRIM signing
    /// Root CA, SHA-256 12977b51…f5d1, valid from 2023-03-16 to 2053-03-08.
    pub fn nvidia() -> Self {
        // A unit test reads the embedded root; if it could not be read there would be no root, and all is refused.
        Self { root: one(DEVICE_IDENTITY), manifests: one(MANIFESTS), simulated: false }
    }

    /// Other roots, for simulators and tests. Everything that is verified with them says `simulated`. Of devices there is
    /// one; of manifests there may be one, named `…CoRIM signing Root CA`.
    ///
    /// # Errors
    /// Not exactly these readable certificates, or one with a key of NVIDIA's.
    pub fn danger_only_pem(pem: &str) -> Result<Self, NvidiaAnchorError> {
        let (mut root, mut manifests) = (None, None);
        for certificate in all(pem)? {
            let is_of_manifests = certificate.subject_cn.ends_with(MANIFESTS_NAME);
            let place = if is_of_manifests { &mut manifests } else { &mut root };
            if place.replace(certificate).is_some() {
                return Err(NvidiaAnchorError::Pem);
            }
        }
        let root = root.ok_or(NvidiaAnchorError::Pem)?;
        let vendor = Self::nvidia();
        let own = vendor.root.zip(vendor.manifests).ok_or(NvidiaAnchorError::VendorKey)?;
        let foreign = |it: &Certificate| it.spki != own.0.spki && it.spki != own.1.spki;
        if !foreign(&root) || !manifests.as_ref().is_none_or(foreign) {
            return Err(NvidiaAnchorError::VendorKey);
        }
        Ok(Self { root: Some(root), manifests, simulated: true })
    }

    /// Whether the root is a simulator's.
    pub fn simulated(&self) -> bool {
        self.simulated
    }
}

fn one(pem: &str) -> Option<Certificate> {
    let mut certificates = all(pem).ok()?.into_iter();
    certificates.next().filter(|_| certificates.next().is_none())
}

fn all(pem: &str) -> Result<Vec<Certificate>, NvidiaAnchorError> {
    CertificateDer::pem_slice_iter(pem.as_bytes())
        .map(|der| {
            let der = der.map_err(|_| NvidiaAnchorError::Pem)?;
            Certificate::parse(&der).map_err(NvidiaAnchorError::Certificate)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_roots_are_the_pinned_ones() {
        let anchors = NvidiaAnchors::nvidia();
        for (root, name, expected) in [
            (
                anchors.root,
                "NVIDIA Device Identity CA",
                "102bf659d5419614c9d8e6aecebc80454eb26b1df6a769ac720b9a690b167b48",
            ),
            (
                anchors.manifests,
                "NVIDIA CoRIM signing Root CA",
                "12977b5115acb0381179279fffeb5a8c4d264971ebb32298023a465fa41df5d1",
            ),
        ] {
            let root = root.expect("embedded");
            assert_eq!(root.subject_cn, name);
            let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &root.der);
            assert_eq!(hex::encode(digest), expected);
        }
    }

    #[test]
    fn a_danger_root_is_not_nvidias() {
        let code = |pem: &str| NvidiaAnchors::danger_only_pem(pem).expect_err("must be refused").code();
        assert_eq!(code(DEVICE_IDENTITY), "anchors.vendor-key");
        assert_eq!(code(MANIFESTS), "anchors.pem", "no root of devices");
        assert_eq!(code(&format!("{DEVICE_IDENTITY}{MANIFESTS}")), "anchors.vendor-key");
        assert_eq!(code(""), "anchors.pem");
        let amd = include_str!("../../roots/amd-genoa.pem");
        assert_eq!(code(amd), "anchors.pem", "three roots of devices");
    }
}
