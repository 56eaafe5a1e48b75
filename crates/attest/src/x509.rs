//! A certificate with the fields that this crate decides on, taken once from its bytes.
//!
//! Nothing here is trusted: [`crate::chain`] decides whether a certificate is what it says.

use core::fmt::Write as _;

use rustls_pki_types::alg_id;
use thiserror::Error;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::{FromDer, X509Certificate, X509Version};

use crate::crypto::P384Point;
use crate::der;
use crate::time::UnixTime;

/// Larger certificates are refused before they are parsed; AMD's are about 1.6 KiB.
const MAX_CERTIFICATE: usize = 16 * 1024;

/// An X.509 v3 certificate: its exact bytes and what was read from them.
#[derive(Debug, Clone)]
pub(crate) struct Certificate {
    pub(crate) der: Vec<u8>,
    /// Content octets of the INTEGER; AMD's VEKs have the serial number 0.
    pub(crate) serial: Vec<u8>,
    /// The subject's `Name`, DER.
    pub(crate) subject: Vec<u8>,
    pub(crate) subject_cn: String,
    /// The issuer's `Name`, DER.
    pub(crate) issuer: Vec<u8>,
    pub(crate) issuer_cn: String,
    pub(crate) not_before: UnixTime,
    pub(crate) not_after: UnixTime,
    /// The whole `SubjectPublicKeyInfo`, DER.
    pub(crate) spki: Vec<u8>,
    pub(crate) key: PublicKey,
    /// basicConstraints cA; false where the extension is absent.
    pub(crate) is_ca: bool,
    pub(crate) key_usage: KeyUsage,
    pub(crate) extensions: Vec<Extension>,
}

/// The kinds of key that this crate tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PublicKey {
    /// An uncompressed point; whether it is on the curve shows when a signature is verified.
    P384(P384Point),
    /// RSA with this modulus length in bits and this public exponent (saturating).
    Rsa { bits: usize, exponent: u64 },
    /// Anything else.
    Other,
}

/// The keyUsage extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyUsage {
    /// Not in the certificate.
    Absent,
    /// In the certificate, with these of its bits.
    Present { digital_signature: bool, certificate_sign: bool, crl_sign: bool },
}

/// An extension that is not decoded here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Extension {
    /// Dotted decimal.
    pub(crate) oid: String,
    /// Content of extnValue.
    pub(crate) value: Vec<u8>,
}

/// Why bytes are not a certificate that can be judged.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CertificateError {
    /// No bytes at all.
    #[error("the certificate is missing")]
    Missing,
    /// More than any platform's certificate needs.
    #[error("the certificate has {found} bytes, more than {MAX_CERTIFICATE}")]
    TooLong {
        /// Bytes that arrived.
        found: usize,
    },
    /// Not DER, not X.509, or something follows it.
    #[error("the certificate is not one X.509 certificate in DER")]
    Malformed,
    /// Versions 1 and 2 have no extensions and so no constraints.
    #[error("the certificate is not X.509 version 3")]
    Version,
    /// An extension occurs twice, so that two readers may see two different certificates.
    #[error("the certificate has the extension {oid} twice")]
    DuplicateExtension {
        /// Dotted decimal.
        oid: String,
    },
    /// Subject or issuer has no common name, or several.
    #[error("the certificate's {name} does not have exactly one common name")]
    CommonName {
        /// "subject" or "issuer".
        name: &'static str,
    },
}

impl CertificateError {
    /// Stable identifier, for logs, exit codes and tests.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Missing => "x509.missing",
            Self::TooLong { .. } => "x509.too-long",
            Self::Malformed => "x509.malformed",
            Self::Version => "x509.version",
            Self::DuplicateExtension { .. } => "x509.extension-duplicate",
            Self::CommonName { .. } => "x509.common-name",
        }
    }
}

impl Certificate {
    /// Reads exactly one certificate.
    pub(crate) fn parse(input: &[u8]) -> Result<Self, CertificateError> {
        Self::read(input, false)
    }

    /// As [`Certificate::parse`], where the subject may be empty; its common name is then empty.
    pub(crate) fn parse_unnamed(input: &[u8]) -> Result<Self, CertificateError> {
        Self::read(input, true)
    }

    fn read(input: &[u8], may_be_unnamed: bool) -> Result<Self, CertificateError> {
        if input.is_empty() {
            return Err(CertificateError::Missing);
        }
        if input.len() > MAX_CERTIFICATE {
            return Err(CertificateError::TooLong { found: input.len() });
        }
        der::signed(input).ok_or(CertificateError::Malformed)?;
        let (rest, parsed) = X509Certificate::from_der(input).map_err(|_| CertificateError::Malformed)?;
        if !rest.is_empty() {
            return Err(CertificateError::Malformed);
        }
        if parsed.version() != X509Version::V3 {
            return Err(CertificateError::Version);
        }

        let mut is_ca = false;
        let mut key_usage = KeyUsage::Absent;
        let mut extensions: Vec<Extension> = Vec::with_capacity(parsed.extensions().len());
        for extension in parsed.extensions() {
            let oid = dotted(&extension.oid);
            if extensions.iter().any(|seen| seen.oid == oid) {
                return Err(CertificateError::DuplicateExtension { oid });
            }
            match extension.parsed_extension() {
                ParsedExtension::ParseError { .. } => return Err(CertificateError::Malformed),
                ParsedExtension::BasicConstraints(constraints) => is_ca = constraints.ca,
                ParsedExtension::KeyUsage(usage) => {
                    key_usage = KeyUsage::Present {
                        digital_signature: usage.digital_signature(),
                        certificate_sign: usage.key_cert_sign(),
                        crl_sign: usage.crl_sign(),
                    };
                }
                _ => {}
            }
            extensions.push(Extension { oid, value: extension.value.to_vec() });
        }

        let spki = parsed.public_key().raw.to_vec();
        Ok(Self {
            der: input.to_vec(),
            serial: parsed.raw_serial().to_vec(),
            subject: parsed.subject().as_raw().to_vec(),
            subject_cn: match common_name(parsed.subject(), "subject") {
                Err(_) if may_be_unnamed && parsed.subject().iter_rdn().next().is_none() => String::new(),
                name => name?,
            },
            issuer: parsed.issuer().as_raw().to_vec(),
            issuer_cn: common_name(parsed.issuer(), "issuer")?,
            not_before: unix_time(parsed.validity().not_before.timestamp())?,
            not_after: unix_time(parsed.validity().not_after.timestamp())?,
            key: public_key(&spki).ok_or(CertificateError::Malformed)?,
            spki,
            is_ca,
            key_usage,
            extensions,
        })
    }

    /// The content of the extension with this OID in dotted decimal.
    pub(crate) fn extension(&self, oid: &str) -> Option<&[u8]> {
        self.extensions
            .iter()
            .find(|extension| extension.oid == oid)
            .map(|extension| extension.value.as_slice())
    }
}

/// Dotted decimal, in one piece; the library's own way makes a string of every arc first.
fn dotted(oid: &x509_parser::der_parser::oid::Oid<'_>) -> String {
    let Some(arcs) = oid.iter() else {
        // An arc beyond 64 bits.
        return oid.to_id_string();
    };
    let mut text = String::with_capacity(32);
    for (place, arc) in arcs.enumerate() {
        if place > 0 {
            text.push('.');
        }
        // Writing to a string does not fail.
        let _ = write!(text, "{arc}");
    }
    text
}

fn common_name(
    name: &x509_parser::x509::X509Name<'_>,
    which: &'static str,
) -> Result<String, CertificateError> {
    let error = CertificateError::CommonName { name: which };
    let mut names = name.iter_common_name();
    match (names.next(), names.next()) {
        (Some(only), None) => Ok(only.as_str().map_err(|_| error)?.to_owned()),
        _ => Err(error),
    }
}

fn unix_time(timestamp: i64) -> Result<UnixTime, CertificateError> {
    u64::try_from(timestamp).map(UnixTime).map_err(|_| CertificateError::Malformed)
}

/// `None` where the encoding contradicts its own algorithm identifier.
fn public_key(spki: &[u8]) -> Option<PublicKey> {
    let (algorithm, key) = der::public_key(spki)?;
    if algorithm == alg_id::ECDSA_P384.as_ref() {
        let point: P384Point = key.try_into().ok()?;
        return (point.first() == Some(&0x04)).then_some(PublicKey::P384(point));
    }
    if algorithm == alg_id::RSA_ENCRYPTION.as_ref() {
        let (modulus, exponent) = der::rsa_public_key(key)?;
        let leading_zeros = usize::try_from(modulus.first()?.leading_zeros()).ok()?;
        let bits = modulus.len().checked_mul(8)?.checked_sub(leading_zeros)?;
        let exponent = match exponent.len() {
            0..=8 => exponent.iter().fold(0_u64, |sum, &octet| (sum << 8) | u64::from(octet)),
            _ => u64::MAX,
        };
        return Some(PublicKey::Rsa { bits, exponent });
    }
    Some(PublicKey::Other)
}
