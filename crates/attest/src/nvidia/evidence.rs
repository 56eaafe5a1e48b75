//! Evidence of one device: its report, and the certificates that it delivers with it. Believed by nobody yet.

use core::fmt;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::spdm::{MEASUREMENT_LEN, NONCE_LEN, Spdm, SpdmError};
use crate::crypto;
use crate::x509::{Certificate, CertificateError};

/// Longer chains are refused before they are parsed; NVIDIA's have about 5 KiB.
const MAX_CHAIN: usize = 64 * 1024;

const EVIDENCE_DOMAIN: &[u8] = b"casemate/device-evidence/v1";

/// A kind of device that is known here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Architecture {
    /// GH100.
    Hopper,
    /// GB100.
    Blackwell,
    /// Third generation NVSwitch.
    Ls10,
}

/// Evidence as it arrived. [`super::verify_gpu`] decides whether it is genuine.
#[derive(Debug, Clone)]
pub struct GpuEvidence {
    pub(crate) report: Spdm,
    pub(crate) chain: DeviceChain,
}

/// The five certificates in the order in which a device delivers them.
#[derive(Debug, Clone)]
pub(crate) struct DeviceChain {
    /// `... FMC LF`: the key that signs reports.
    pub(crate) leaf: Certificate,
    /// `... BROM`: the device's own key.
    pub(crate) device: Certificate,
    /// `NVIDIA ... Provisioner ICA ...`.
    pub(crate) provisioner: Certificate,
    /// `NVIDIA ... Identity`.
    pub(crate) identity: Certificate,
    /// What the device says the root is. Compared with the verifier's own, never believed.
    pub(crate) sent_root: Certificate,
}

/// Why bytes are not evidence of an NVIDIA device (rules NV-01 and NV-02).
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum GpuParseError {
    /// The report.
    #[error(transparent)]
    Report(#[from] SpdmError),
    /// More than any device delivers.
    #[error("the certificate chain has {found} bytes, more than {MAX_CHAIN}")]
    ChainTooLong {
        /// Bytes that arrived.
        found: usize,
    },
    /// Damaged PEM.
    #[error("the certificate chain is not PEM")]
    ChainPem,
    /// Not a list of devices' evidence as NVIDIA's SDK writes it.
    #[error("not a list of NVIDIA devices' evidence: {part}")]
    Serialized {
        /// What is wrong.
        part: &'static str,
    },
    /// The evidence of one device of a list.
    #[error("device {position} of the list: {error}")]
    Device {
        /// From 1.
        position: usize,
        /// What is wrong with it.
        error: Box<GpuParseError>,
    },
    /// Another number of certificates than five.
    #[error("the certificate chain has {found} certificates instead of 5")]
    ChainCount {
        /// Certificates in it.
        found: usize,
    },
    /// A certificate that cannot be judged.
    #[error("certificate {position} of the chain: {error}")]
    Certificate {
        /// From 1, the leaf.
        position: usize,
        /// What is wrong with it.
        error: CertificateError,
    },
}

impl GpuParseError {
    /// Stable identifier, for logs, exit codes and tests.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Report(error) => error.code(),
            Self::Serialized { .. } => "nvidia.serialized.malformed",
            Self::Device { error, .. } => error.code(),
            Self::ChainTooLong { .. } => "nvidia.chain.too-long",
            Self::ChainPem => "nvidia.chain.pem",
            Self::ChainCount { .. } => "nvidia.chain.count",
            Self::Certificate { error, .. } => error.code(),
        }
    }
}

impl Architecture {
    /// The chip's name at the start of its certificates' common names.
    pub(crate) fn chip(self) -> &'static str {
        match self {
            Self::Hopper => "GH100",
            Self::Blackwell => "GB100",
            Self::Ls10 => "LS_10",
        }
    }

    /// As in policies and claims.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hopper => "hopper",
            Self::Blackwell => "blackwell",
            Self::Ls10 => "ls10",
        }
    }

    /// Whether it is a switch, which has no driver.
    pub fn is_switch(self) -> bool {
        self == Self::Ls10
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl GpuEvidence {
    /// Takes a report (request and response, as the driver delivers them) and the certificate chain in PEM.
    ///
    /// # Errors
    /// Every departure from the format (spec/attest.md §14, rules NV-01 and NV-02).
    pub fn parse(report: &[u8], chain_pem: &[u8]) -> Result<Self, GpuParseError> {
        Ok(Self { report: Spdm::parse(report)?, chain: DeviceChain::parse(chain_pem)? })
    }

    /// The nonce that the report answers: the verifier's, if it is whose it should be.
    pub fn nonce(&self) -> &[u8; NONCE_LEN] {
        self.report.nonce()
    }

    /// Driver version; none on switches.
    pub fn driver_version(&self) -> Option<&str> {
        self.report.opaque().driver_version.as_deref()
    }

    /// VBIOS version.
    pub fn vbios_version(&self) -> Option<&str> {
        self.report.opaque().vbios_version.as_deref()
    }

    /// Board project, project SKU and chip SKU: under which NVIDIA files manifests.
    pub fn board(&self) -> [Option<&str>; 3] {
        let opaque = self.report.opaque();
        [opaque.project.as_deref(), opaque.project_sku.as_deref(), opaque.chip_sku.as_deref()]
    }

    /// The measurements; the one with SPDM index 1 comes first.
    pub fn measurements(&self) -> &[[u8; MEASUREMENT_LEN]] {
        self.report.measurements()
    }

    /// Common names of the certificates that were sent, the leaf's first.
    pub fn certificate_names(&self) -> [&str; 5] {
        let DeviceChain { leaf, device, provisioner, identity, sent_root } = &self.chain;
        [leaf, device, provisioner, identity, sent_root].map(|it| it.subject_cn.as_str())
    }

    /// Exactly the bytes of the report that arrived.
    pub fn report(&self) -> &[u8] {
        self.report.bytes()
    }

    /// Digest of the report and the five certificates, in DER, that arrived (spec/channel.md §6):
    /// `SHA-256("casemate/device-evidence/v1" || 0x00 || report || leaf || ... || root)`, each of the six with its length
    /// before it, as u32 big-endian.
    pub fn sha256(&self) -> [u8; 32] {
        let DeviceChain { leaf, device, provisioner, identity, sent_root } = &self.chain;
        let certificates = [leaf, device, provisioner, identity, sent_root];
        let certificates = certificates.map(|certificate| certificate.der.as_slice());
        let mut message = [EVIDENCE_DOMAIN, &[0]].concat();
        for part in core::iter::once(self.report()).chain(certificates) {
            // Both lengths are limited far below.
            message.extend(u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
            message.extend(part);
        }
        crypto::sha256(&message)
    }
}

impl DeviceChain {
    fn parse(pem: &[u8]) -> Result<Self, GpuParseError> {
        if pem.len() > MAX_CHAIN {
            return Err(GpuParseError::ChainTooLong { found: pem.len() });
        }
        let ders = CertificateDer::pem_slice_iter(pem)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| GpuParseError::ChainPem)?;
        let certificates = (1..)
            .zip(&ders)
            .map(|(position, der)| {
                Certificate::parse(der).map_err(|error| GpuParseError::Certificate { position, error })
            })
            .collect::<Result<Vec<_>, _>>()?;
        let [leaf, device, provisioner, identity, sent_root] = <[Certificate; 5]>::try_from(certificates)
            .map_err(|others| GpuParseError::ChainCount { found: others.len() })?;
        Ok(Self { leaf, device, provisioner, identity, sent_root })
    }

    /// The chip that leaf, device and provisioner are all named after.
    pub(crate) fn architecture(&self) -> Option<Architecture> {
        [Architecture::Hopper, Architecture::Blackwell, Architecture::Ls10].into_iter().find(|it| {
            let chip = it.chip();
            named(&self.leaf, "", chip, " FMC LF")
                && named(&self.device, "", chip, " BROM")
                && named(&self.provisioner, "NVIDIA ", &format!("{chip} Provisioner ICA"), "")
        })
    }
}

/// `<before><chip> ...<after>`, with a space behind the chip's name.
fn named(certificate: &Certificate, before: &str, chip: &str, after: &str) -> bool {
    certificate
        .subject_cn
        .strip_prefix(before)
        .and_then(|name| name.strip_prefix(chip))
        .is_some_and(|rest| rest.starts_with(' ') && rest.ends_with(after))
}
