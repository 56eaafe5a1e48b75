//! What must be asked of whom, as the evidence itself says. It is believed by nobody yet: whoever wrote it can make a
//! fetcher ask for another chip's certificate, and gets a rejection for it.

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use thiserror::Error;

use super::lists::ListNeeds;
use crate::azure::HardwareReport;
use crate::evidence::{Evidence, Kind, Platform};
use crate::snp::{self, ProductLine, RawTcb, Signer, Tcb};
use crate::tdx::{self, PCK_CHAIN, Pck};
use crate::x509::Certificate;

/// Whose services have the endorsements, and under which name.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Needs {
    /// AMD's Key Distribution Service: one certificate and one revocation list.
    Amd(AmdNeeds),
    /// Intel's Provisioning Certification Service: TCB info, QE identity and two revocation lists.
    Intel(IntelNeeds),
    /// AWS's or Google's: one revocation list of each authority, where the certificates say that it is. Of a GCE virtual
    /// TPM the evidence has the key's certificate only; those above it are added with [`ListNeeds::and_of`].
    Lists(ListNeeds),
}

/// The key that signed a SEV-SNP report (AMD 57230).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AmdNeeds {
    /// The product line.
    pub line: ProductLine,
    /// The kind of key.
    pub signer: Signer,
    /// CHIP_ID as far as the line uses it: 64 octets, or 8 of Turin.
    pub hardware_id: Vec<u8>,
    /// The TCB that the key was derived with.
    pub tcb: Tcb,
    /// The same as the report writes it.
    pub raw_tcb: RawTcb,
}

/// The platform of a TDX quote (Intel SGX PCK certificate specification).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IntelNeeds {
    /// Family, model, stepping, platform and custom SKU.
    pub fmspc: [u8; 6],
    /// Who issued the PCK certificate.
    pub authority: PckAuthority,
}

/// The two authorities below Intel's root that issue PCK certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PckAuthority {
    /// Multi-package platforms.
    Platform,
    /// Single-package platforms.
    Processor,
}

/// Why it cannot be said what to fetch.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NeedsError {
    /// The evidence carries its certificates, and none names a list.
    #[error("evidence of {platform} carries its certificates itself, and none names a revocation list")]
    Nothing {
        /// Of the evidence.
        platform: Platform,
    },
    /// A certificate in the evidence, or beside it, is none.
    #[error("a certificate cannot be read, so that its revocation list cannot be found")]
    Certificate,
    /// What it says of its list is not one address after the other.
    #[error("what a certificate says of its revocation list cannot be read, or is of a part of one")]
    DistributionPoint,
    /// Certificates that are named after no known chip.
    #[error("the device's certificates are not of a known chip of NVIDIA's")]
    Device,
    /// A device that does not say which firmware it runs, so that no manifest can be named.
    #[error("the device's report has no {what}, and manifests are found by nothing else")]
    Firmware {
        /// What is missing.
        what: &'static str,
    },
    /// Hardware below a virtual TPM that cannot be verified.
    #[error("the hardware report below the virtual TPM is neither a SEV-SNP report nor has it a TD quote")]
    Hardware,
    /// The report names no key, or one that nobody endorses.
    #[error("the report is not signed by a VCEK or VLEK (signing key {found})")]
    Signer {
        /// SIGNING_KEY of KEY_INFO.
        found: u32,
    },
    /// The chip hides which it is.
    #[error("the report does not name its chip, and a VCEK is found by nothing else")]
    Chip,
    /// A version 2 report names no processor.
    #[error("a version 2 report does not name its product line")]
    LineUnknown,
    /// Not a processor of a known line.
    #[error("no known product line has the CPUID {found}")]
    Cpu {
        /// Family, model and stepping.
        found: snp::Cpuid,
    },
    /// The report and the person disagree.
    #[error("the report is of a {report}, not of a {given}")]
    LineDiffers {
        /// What the report says.
        report: ProductLine,
        /// What was given.
        given: ProductLine,
    },
    /// Octets of the TCB that the line reserves.
    #[error("the reported TCB has reserved octets of {line} set")]
    Tcb {
        /// The line.
        line: ProductLine,
    },
    /// A quote whose certification data is not a chain.
    #[error("the quote carries certification data of type {found} instead of its PCK certificate chain (5)")]
    NoPckChain {
        /// Type of the inner certification data.
        found: u16,
    },
    /// The PCK certificate cannot be read.
    #[error("the quote's PCK certificate cannot be read")]
    Pck,
    /// Neither of Intel's two authorities.
    #[error("the quote's PCK certificate was not issued by a PCK authority of Intel")]
    PckIssuer,
}

impl Needs {
    /// Reads the evidence. `line` is needed for version 2 reports, and must not contradict later ones.
    ///
    /// # Errors
    /// Where the evidence does not say what it needs, or needs nothing that can be fetched.
    pub fn of(evidence: &Evidence, line: Option<ProductLine>) -> Result<Self, NeedsError> {
        match evidence.kind() {
            Kind::SevSnp(report) => amd(report, line).map(Self::Amd),
            Kind::Azure(azure) => match (azure.hcl().hardware(), azure.td_quote()) {
                (HardwareReport::Snp(report), _) => amd(report, line).map(Self::Amd),
                (HardwareReport::Tdx { .. }, Some(quote)) => intel(quote).map(Self::Intel),
                (HardwareReport::Tdx { .. }, None) => Err(NeedsError::Hardware),
            },
            Kind::Tdx(quote) => intel(quote).map(Self::Intel),
            Kind::Nitro(document) => {
                let path = document.intermediates().iter().map(Vec::as_slice);
                ListNeeds::of(path.chain([document.certificate()])).map(Self::Lists)
            }
            Kind::Gce(evidence) => ListNeeds::of([evidence.certificate()].into_iter()).map(Self::Lists),
        }
    }
}

impl PckAuthority {
    /// As in requests to the service.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Platform => "platform",
            Self::Processor => "processor",
        }
    }
}

impl NeedsError {
    /// Stable identifier, for logs, exit codes and tests.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Nothing { .. } => "endorse.nothing-to-fetch",
            Self::Certificate => "endorse.certificate",
            Self::DistributionPoint => "endorse.distribution-point",
            Self::Device => "endorse.device",
            Self::Firmware { .. } => "endorse.firmware",
            Self::Hardware => "endorse.hardware",
            Self::Signer { .. } => "endorse.signer",
            Self::Chip => "endorse.chip",
            Self::LineUnknown => "endorse.line-unknown",
            Self::Cpu { .. } => "endorse.cpu",
            Self::LineDiffers { .. } => "endorse.line-differs",
            Self::Tcb { .. } => "endorse.tcb",
            Self::NoPckChain { .. } => "endorse.pck-chain",
            Self::Pck => "endorse.pck",
            Self::PckIssuer => "endorse.pck-issuer",
        }
    }
}

fn amd(report: &snp::Report, given: Option<ProductLine>) -> Result<AmdNeeds, NeedsError> {
    let key_info = report.key_info();
    let signer = key_info.signer().ok_or(NeedsError::Signer { found: key_info.signing_key() })?;
    let line = match (report.cpuid(), given) {
        (None, None) => return Err(NeedsError::LineUnknown),
        (None, Some(given)) => given,
        (Some(found), given) => {
            let line = ProductLine::from_cpuid(found).ok_or(NeedsError::Cpu { found })?;
            match given {
                Some(given) if given != line => return Err(NeedsError::LineDiffers { report: line, given }),
                _ => line,
            }
        }
    };
    let chip_id = report.chip_id();
    let hardware_id = chip_id.get(..line.hardware_id_len()).unwrap_or_default().to_vec();
    let hidden = key_info.chip_key_masked() || hardware_id.iter().all(|octet| *octet == 0);
    if signer == Signer::Vcek && hidden {
        return Err(NeedsError::Chip);
    }
    let raw_tcb = report.reported_tcb();
    let tcb = raw_tcb.decode(line).ok_or(NeedsError::Tcb { line })?;
    Ok(AmdNeeds { line, signer, hardware_id, tcb, raw_tcb })
}

fn intel(quote: &tdx::Quote) -> Result<IntelNeeds, NeedsError> {
    if quote.certification() != PCK_CHAIN {
        return Err(NeedsError::NoPckChain { found: quote.certification() });
    }
    let certificate = pck(quote)?;
    let authority = match certificate.issuer_cn.as_str() {
        "Intel SGX PCK Platform CA" => PckAuthority::Platform,
        "Intel SGX PCK Processor CA" => PckAuthority::Processor,
        _ => return Err(NeedsError::PckIssuer),
    };
    Ok(IntelNeeds { fmspc: fmspc(quote)?, authority })
}

/// Of the platform that made this quote, as its PCK certificate says.
pub(crate) fn fmspc(quote: &tdx::Quote) -> Result<[u8; 6], NeedsError> {
    Ok(Pck::read(&pck(quote)?).ok_or(NeedsError::Pck)?.fmspc)
}

fn pck(quote: &tdx::Quote) -> Result<Certificate, NeedsError> {
    let der = CertificateDer::from_pem_slice(quote.certificates()).map_err(|_| NeedsError::Pck)?;
    Certificate::parse(&der).map_err(|_| NeedsError::Pck)
}
