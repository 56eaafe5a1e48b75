//! Certificates and revocation lists as a common library writes them: Intel's, AWS's and Microsoft's. AMD's need a writer of
//! their own (`certificate.rs`).

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_ASN1,
    ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey,
    VerificationAlgorithm,
};
use casemate_attest::UnixTime;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertificateRevocationListParams, DistinguishedName,
    DnType, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
    PKCS_ECDSA_P384_SHA384, PKCS_RSA_SHA256, PublicKeyData as _, RevokedCertParams, RsaKeySize, SerialNumber,
    SignatureAlgorithm,
};
use time::OffsetDateTime;

use crate::certificate::Window;
use crate::error::SimError;

/// Length of the serial numbers that are made here.
const SERIAL_BYTES: usize = 16;

/// What kind of key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyKind {
    P256,
    P384,
    /// For RSASSA-PKCS1-v1_5 with SHA-256, as the next.
    Rsa2048,
    Rsa4096,
}

/// Whose certificate: the two parts of a name that a vendor here writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Subject {
    pub(crate) common_name: &'static str,
    /// Says that it is simulated.
    pub(crate) organization: &'static str,
}

/// An authority: its key, its name and its certificate.
pub(crate) struct Certifier {
    pub(crate) issuer: Issuer<'static, KeyPair>,
    pub(crate) der: Vec<u8>,
}

impl KeyKind {
    pub(crate) fn generate(self) -> Result<KeyPair, SimError> {
        let key = match self {
            Self::P256 | Self::P384 => KeyPair::generate_for(self.algorithm()),
            Self::Rsa2048 => KeyPair::generate_rsa_for(self.algorithm(), RsaKeySize::_2048),
            Self::Rsa4096 => KeyPair::generate_rsa_for(self.algorithm(), RsaKeySize::_4096),
        };
        key.map_err(|_| SimError::KeyGeneration { algorithm: self.name() })
    }

    pub(crate) fn algorithm(self) -> &'static SignatureAlgorithm {
        match self {
            Self::P256 => &PKCS_ECDSA_P256_SHA256,
            Self::P384 => &PKCS_ECDSA_P384_SHA384,
            Self::Rsa2048 | Self::Rsa4096 => &PKCS_RSA_SHA256,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::P256 => "P-256",
            Self::P384 => "P-384",
            Self::Rsa2048 => "RSA-2048",
            Self::Rsa4096 => "RSA-4096",
        }
    }
}

impl Certifier {
    /// A self-signed root.
    pub(crate) fn root(subject: Subject, window: Window, key: KeyPair) -> Result<Self, SimError> {
        let mut params = authority(subject, window)?;
        params.serial_number = Some(SerialNumber::from_slice(&serial(&key)));
        let certificate = params.self_signed(&key).map_err(|_| refused(subject.common_name))?;
        Ok(Self { der: certificate.der().to_vec(), issuer: Issuer::new(params, key) })
    }

    /// The same key under a certificate that was made before. The caller has compared it with name and key.
    pub(crate) fn with_certificate(self, der: Vec<u8>) -> Self {
        Self { der, ..self }
    }

    /// An authority below this one.
    pub(crate) fn subordinate(&self, params: CertificateParams, key: KeyPair) -> Result<Self, SimError> {
        let certificate = self.certify(&params, &key)?;
        Ok(Self { issuer: Issuer::new(params, key), der: certificate.der().to_vec() })
    }

    /// Signs a certificate for somebody's key; its serial number is the key's.
    pub(crate) fn certify(&self, params: &CertificateParams, key: &KeyPair) -> Result<Certificate, SimError> {
        let mut params = params.clone();
        params.serial_number = Some(SerialNumber::from_slice(&serial(key)));
        params.signed_by(key, &self.issuer).map_err(|_| refused("certificate"))
    }

    /// Whether `signature` over `message` is by this authority's key, as certificates are signed.
    pub(crate) fn verifies(&self, kind: KeyKind, message: &[u8], signature: &[u8]) -> bool {
        let algorithm: &dyn VerificationAlgorithm = match kind {
            KeyKind::P256 => &ECDSA_P256_SHA256_ASN1,
            KeyKind::P384 => &ECDSA_P384_SHA384_ASN1,
            KeyKind::Rsa2048 | KeyKind::Rsa4096 => &RSA_PKCS1_2048_8192_SHA256,
        };
        let key = UnparsedPublicKey::new(algorithm, self.issuer.key().der_bytes());
        key.verify(message, signature).is_ok()
    }

    /// A revocation list that is complete, with these serial numbers.
    pub(crate) fn revocation_list(&self, window: Window, serials: &[Vec<u8>]) -> Result<Vec<u8>, SimError> {
        let this_update = date(window.not_before)?;
        let revoked = |serial: &Vec<u8>| RevokedCertParams {
            serial_number: SerialNumber::from_slice(serial),
            revocation_time: this_update,
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update,
            next_update: date(window.not_after)?,
            crl_number: SerialNumber::from(window.not_before.0),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = list.signed_by(&self.issuer).map_err(|_| refused("revocation list"))?;
        Ok(list.der().to_vec())
    }

    pub(crate) fn pem(&self) -> String {
        crate::vendor::pem("CERTIFICATE", &self.der)
    }
}

/// A certificate that is no authority's, for one purpose: signatures.
pub(crate) fn leaf(subject: Subject, window: Window) -> Result<CertificateParams, SimError> {
    let mut params = named(subject, window)?;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    Ok(params)
}

/// An authority's certificate.
pub(crate) fn authority(subject: Subject, window: Window) -> Result<CertificateParams, SimError> {
    let mut params = named(subject, window)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

/// A serial number of a key: positive, and of the same length for every key.
pub(crate) fn serial(key: &KeyPair) -> Vec<u8> {
    let hash = digest(&SHA256, key.der_bytes());
    // The top bits keep it positive and in its shortest form.
    let mut bytes: Vec<u8> = hash.as_ref().iter().copied().take(SERIAL_BYTES).collect();
    if let Some(first) = bytes.first_mut() {
        *first = *first & 0x3f | 0x40;
    }
    bytes
}

/// ECDSA with P-256 and SHA-256: r and s, 32 bytes each.
pub(crate) fn sign_p256(key: &KeyPair, message: &[u8]) -> Result<Vec<u8>, SimError> {
    let failed = |_| SimError::Signing { algorithm: "ECDSA P-256" };
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key.serialized_der())
        .map_err(|_| SimError::Signing { algorithm: "ECDSA P-256" })?;
    Ok(pair.sign(&SystemRandom::new(), message).map_err(failed)?.as_ref().to_vec())
}

/// ECDSA with P-384 and SHA-384: r and s, 48 bytes each.
pub(crate) fn sign_p384(key: &KeyPair, message: &[u8]) -> Result<Vec<u8>, SimError> {
    let failed = |_| SimError::Signing { algorithm: "ECDSA P-384" };
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, key.serialized_der())
        .map_err(|_| SimError::Signing { algorithm: "ECDSA P-384" })?;
    Ok(pair.sign(&SystemRandom::new(), message).map_err(failed)?.as_ref().to_vec())
}

/// As rcgen takes dates.
pub(crate) fn date(at: UnixTime) -> Result<OffsetDateTime, SimError> {
    let out_of_range = SimError::TimeOutOfRange { at };
    let seconds = i64::try_from(at.0).map_err(|_| out_of_range.clone())?;
    OffsetDateTime::from_unix_timestamp(seconds).map_err(|_| out_of_range)
}

fn named(subject: Subject, window: Window) -> Result<CertificateParams, SimError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, subject.organization);
    params.distinguished_name.push(DnType::CommonName, subject.common_name);
    params.not_before = date(window.not_before)?;
    params.not_after = date(window.not_after)?;
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn refused(object: &'static str) -> SimError {
    SimError::Issue { object }
}
