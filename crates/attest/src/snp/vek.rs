//! The versioned endorsement key's certificate: VCEK (one chip) or VLEK (one provider).
//!
//! AMD 57230 "Versioned Chip Endorsement Key (VCEK) Certificate and KDS Interface Specification". Extensions under
//! 1.3.6.1.4.1.3704.1:
//!
//! ```text
//! .1    structVersion INTEGER        not decided on
//! .2    productName   IA5String      "Milan-B0", "Genoa", "Turin": the line is what stands before a hyphen
//! .3.1  blSPL         INTEGER        every SPL is 0..255, so that values from 128 on take two content octets
//! .3.2  teeSPL        INTEGER
//! .3.3  snpSPL        INTEGER
//! .3.8  ucodeSPL      INTEGER
//! .3.9  fmcSPL        INTEGER        Turin only
//! .4    hwID          64 or 8 octets, bare or in an OCTET STRING    VCEK only
//! .5    cspID         IA5String      VLEK only
//! ```

use super::bits::Signer;
use super::product::ProductLine;
use super::reject::SnpRejection;
use super::tcb::Tcb;
use crate::der;
use crate::x509::Certificate;

/// The extensions that are decided on.
pub(crate) mod oid {
    pub(crate) const PRODUCT_NAME: &str = "1.3.6.1.4.1.3704.1.2";
    pub(crate) const BOOTLOADER: &str = "1.3.6.1.4.1.3704.1.3.1";
    pub(crate) const TEE: &str = "1.3.6.1.4.1.3704.1.3.2";
    pub(crate) const SNP: &str = "1.3.6.1.4.1.3704.1.3.3";
    pub(crate) const MICROCODE: &str = "1.3.6.1.4.1.3704.1.3.8";
    pub(crate) const FMC: &str = "1.3.6.1.4.1.3704.1.3.9";
    pub(crate) const HARDWARE_ID: &str = "1.3.6.1.4.1.3704.1.4";
    pub(crate) const CSP_ID: &str = "1.3.6.1.4.1.3704.1.5";
}

/// An endorsement certificate with everything that rules compare. It cannot exist with a hole.
#[derive(Debug)]
pub(crate) struct Vek {
    pub(crate) certificate: Certificate,
    pub(crate) line: ProductLine,
    pub(crate) product_name: String,
    pub(crate) tcb: CertTcb,
    pub(crate) subject: Subject,
}

/// The TCB that AMD wrote into the certificate: each component was there, once, and in range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CertTcb(Tcb);

/// Whose key it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Subject {
    /// One chip's: its CHIP_ID as a report must show it.
    Chip([u8; 64]),
    /// One provider's.
    Provider(String),
}

impl CertTcb {
    #[cfg(test)]
    pub(crate) fn of(tcb: Tcb) -> Self {
        Self(tcb)
    }

    pub(crate) fn get(self) -> Tcb {
        self.0
    }

    fn read(certificate: &Certificate, line: ProductLine) -> Result<Self, SnpRejection> {
        let spl = |oid: &'static str| {
            let value = extension(certificate, oid)?;
            der::integer_u8(value).ok_or(SnpRejection::ExtensionMalformed { oid })
        };
        let fmc = match line {
            ProductLine::Turin => spl(oid::FMC)?,
            ProductLine::Milan | ProductLine::Genoa => {
                absent(certificate, oid::FMC)?;
                0
            }
        };
        Ok(Self(Tcb {
            fmc,
            bootloader: spl(oid::BOOTLOADER)?,
            tee: spl(oid::TEE)?,
            snp: spl(oid::SNP)?,
            microcode: spl(oid::MICROCODE)?,
        }))
    }
}

impl Vek {
    /// Reads the certificate of the key that the report names (rule SNP-03).
    pub(crate) fn read(vek_der: &[u8], signer: Signer) -> Result<Self, SnpRejection> {
        let certificate = Certificate::parse(vek_der).map_err(SnpRejection::Certificate)?;
        if certificate.subject_cn != signer.common_name() {
            return Err(SnpRejection::CertificateSubject {
                expected: signer.common_name(),
                found: certificate.subject_cn,
            });
        }
        let product_name = der::ia5_string(extension(&certificate, oid::PRODUCT_NAME)?)
            .ok_or(SnpRejection::ExtensionMalformed { oid: oid::PRODUCT_NAME })?
            .to_owned();
        let line_name = product_name.split_once('-').map_or(product_name.as_str(), |(line, _stepping)| line);
        let Some(line) = ProductLine::from_name(line_name) else {
            return Err(SnpRejection::ProductUnknown { name: product_name });
        };
        let tcb = CertTcb::read(&certificate, line)?;
        let subject = match signer {
            Signer::Vcek => {
                absent(&certificate, oid::CSP_ID)?;
                Subject::Chip(chip_id(extension(&certificate, oid::HARDWARE_ID)?, line)?)
            }
            Signer::Vlek => {
                absent(&certificate, oid::HARDWARE_ID)?;
                let provider = der::ia5_string(extension(&certificate, oid::CSP_ID)?)
                    .ok_or(SnpRejection::ExtensionMalformed { oid: oid::CSP_ID })?;
                Subject::Provider(provider.to_owned())
            }
        };
        Ok(Self { certificate, line, product_name, tcb, subject })
    }
}

fn extension<'a>(certificate: &'a Certificate, oid: &'static str) -> Result<&'a [u8], SnpRejection> {
    certificate.extension(oid).ok_or(SnpRejection::ExtensionMissing { oid })
}

fn absent(certificate: &Certificate, oid: &'static str) -> Result<(), SnpRejection> {
    match certificate.extension(oid) {
        None => Ok(()),
        Some(_) => Err(SnpRejection::ExtensionUnexpected { oid }),
    }
}

/// The CHIP_ID that a chip with this hwID reports: the identity, then zeros.
fn chip_id(value: &[u8], line: ProductLine) -> Result<[u8; 64], SnpRejection> {
    let malformed = SnpRejection::ExtensionMalformed { oid: oid::HARDWARE_ID };
    let length = line.hardware_id_len();
    let bare = if value.len() == length { Some(value) } else { der::only(value, der::OCTET_STRING) };
    let identity = bare.filter(|identity| identity.len() == length).ok_or(malformed)?;
    if identity.iter().all(|octet| *octet == 0) {
        return Err(SnpRejection::ExtensionMalformed { oid: oid::HARDWARE_ID });
    }
    let mut chip_id = [0; 64];
    for (target, source) in chip_id.iter_mut().zip(identity) {
        *target = *source;
    }
    Ok(chip_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(value: &[u8], line: ProductLine) -> &'static str {
        chip_id(value, line).expect_err("must be refused").code()
    }

    #[test]
    fn a_hardware_id_is_bare_or_in_an_octet_string() {
        let wrapped = [&[0x04, 0x40][..], &[7; 64]].concat();
        assert_eq!(chip_id(&[7; 64], ProductLine::Genoa), Ok([7; 64]));
        assert_eq!(chip_id(&wrapped, ProductLine::Milan), Ok([7; 64]));
        let mut turin = [0; 64];
        turin[..8].copy_from_slice(&[7; 8]);
        assert_eq!(chip_id(&[7; 8], ProductLine::Turin), Ok(turin));
        assert_eq!(chip_id(&[&[0x04, 0x08][..], &[7; 8]].concat(), ProductLine::Turin), Ok(turin));
    }

    #[test]
    fn a_hardware_id_has_its_lines_length() {
        for (length, line) in [
            (0, ProductLine::Genoa),
            (8, ProductLine::Genoa),
            (63, ProductLine::Genoa),
            (65, ProductLine::Milan),
            (64, ProductLine::Turin),
            (7, ProductLine::Turin),
            (9, ProductLine::Turin),
        ] {
            assert_eq!(code(&vec![7; length], line), "snp.vek.extension-malformed", "{line} {length}");
        }
        assert_eq!(code(&[0; 64], ProductLine::Genoa), "snp.vek.extension-malformed", "zero names no chip");
    }
}
