//! A Nitro Security Module under a root of its own, for cases that need a valid signature over something wrong.

#[path = "authorities.rs"]
#[allow(dead_code)] // the client's and the command line's cases use more of it
pub(crate) mod authorities;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair};
use casemate_attest::{TrustAnchors, UnixTime};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, SignatureAlgorithm, date_time_ymd,
};

/// 2026-01-01T12:00:00Z: the leaf is valid on that day.
pub(crate) const NOON: UnixTime = UnixTime(1_767_268_800);

/// What is in a document; a case changes one thing.
pub(crate) struct Payload {
    pub(crate) members: Vec<(&'static str, Vec<u8>)>,
}

/// What is wrong with the certificates.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Path {
    Good,
    IntermediateNotAuthority,
    IntermediateWithoutKeyUsage,
    IntermediateExpired,
    LeafIsAuthority,
    LeafKeyUsage,
    LeafOtherCurve,
    LeafExtendedKeyUsage,
    LeafByAnotherRoot,
    ManyIntermediates,
}

pub(crate) struct Vendor {
    pub(crate) anchors: TrustAnchors,
    root: Issuer<'static, KeyPair>,
    root_der: Vec<u8>,
}

/// Certificates of a module, and the key that signs for it.
pub(crate) struct Module {
    key: EcdsaKeyPair,
    leaf: Vec<u8>,
    cabundle: Vec<Vec<u8>>,
}

impl Vendor {
    pub(crate) fn new() -> Self {
        let key = key(&PKCS_ECDSA_P384_SHA384);
        let mut params = authority("test.aws.nitro-enclaves");
        params.not_before = date_time_ymd(2020, 1, 1);
        let certificate = params.self_signed(&key).expect("a root");
        Self {
            anchors: TrustAnchors::danger_only_pem(&certificate.pem()).expect("a danger bundle"),
            root_der: certificate.der().to_vec(),
            root: Issuer::new(params, key),
        }
    }

    pub(crate) fn module(&self, path: Path) -> Module {
        let other = Vendor::new;
        let intermediate_key = key(&PKCS_ECDSA_P384_SHA384);
        let mut params = authority("region");
        match path {
            Path::IntermediateNotAuthority => params.is_ca = IsCa::ExplicitNoCa,
            Path::IntermediateWithoutKeyUsage => params.key_usages.clear(),
            Path::IntermediateExpired => params.not_after = date_time_ymd(2025, 12, 31),
            _ => {}
        }
        let intermediate = match path {
            Path::LeafByAnotherRoot => params.signed_by(&intermediate_key, &other().root),
            _ => params.signed_by(&intermediate_key, &self.root),
        };
        let intermediate = intermediate.expect("an intermediate").der().to_vec();

        let algorithm = match path {
            Path::LeafOtherCurve => &PKCS_ECDSA_P256_SHA256,
            _ => &PKCS_ECDSA_P384_SHA384,
        };
        let leaf_key = key(algorithm);
        let mut leaf = named("module");
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.not_before = date_time_ymd(2026, 1, 1);
        leaf.not_after = date_time_ymd(2026, 1, 2);
        match path {
            Path::LeafIsAuthority => leaf.is_ca = IsCa::Ca(BasicConstraints::Unconstrained),
            Path::LeafKeyUsage => leaf.key_usages = vec![KeyUsagePurpose::KeyAgreement],
            Path::LeafExtendedKeyUsage => {
                leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            }
            _ => {}
        }
        let issuer = Issuer::new(authority("region"), intermediate_key);
        let leaf = leaf.signed_by(&leaf_key, &issuer).expect("a leaf").der().to_vec();
        let signing = match path {
            Path::LeafOtherCurve => key(&PKCS_ECDSA_P384_SHA384),
            _ => leaf_key,
        };
        let count = if path == Path::ManyIntermediates { 9 } else { 1 };
        let cabundle =
            std::iter::once(self.root_der.clone()).chain(std::iter::repeat_n(intermediate, count)).collect();
        Module {
            key: EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, &signing.serialize_der())
                .expect("a P-384 key"),
            leaf,
            cabundle,
        }
    }
}

impl Module {
    /// A good payload: PCR n is 48 bytes of 0x10 + n, the user data 64 bytes of 0xd5.
    pub(crate) fn payload(&self) -> Payload {
        let pcrs = (0..16_u8).map(|index| (uint(index.into()), bytes(&[0x10 + index; 48])));
        Payload {
            members: vec![
                ("module_id", text("i-0123456789abcdef0-enc0123456789abcdef")),
                ("digest", text("SHA384")),
                ("timestamp", uint(NOON.0 * 1000)),
                ("pcrs", map(pcrs)),
                ("certificate", bytes(&self.leaf)),
                ("cabundle", array(self.cabundle.iter().map(|der| bytes(der)))),
                ("public_key", vec![0xf6]),
                ("user_data", bytes(&[0xd5; 64])),
                ("nonce", vec![0xf6]),
            ],
        }
    }

    pub(crate) fn sign(&self, payload: &[u8]) -> Vec<u8> {
        let protected = [0x44, 0xa1, 0x01, 0x38, 0x22];
        let to_be_signed = [&[0x84][..], &text("Signature1"), &protected, &[0x40], &bytes(payload)].concat();
        let signature = self.key.sign(&SystemRandom::new(), &to_be_signed).expect("a signature");
        envelope(payload, signature.as_ref())
    }
}

impl Payload {
    pub(crate) fn encode(&self) -> Vec<u8> {
        map(self.members.iter().map(|(key, value)| (text(key), value.clone())))
    }

    /// With another value for a member.
    pub(crate) fn with(mut self, key: &str, value: Vec<u8>) -> Self {
        self.members.iter_mut().find(|(name, _)| *name == key).expect("a member").1 = value;
        self
    }

    pub(crate) fn without(mut self, key: &str) -> Self {
        self.members.retain(|(name, _)| *name != key);
        self
    }

    pub(crate) fn and(mut self, key: &'static str, value: Vec<u8>) -> Self {
        self.members.push((key, value));
        self
    }
}

pub(crate) fn envelope(payload: &[u8], signature: &[u8]) -> Vec<u8> {
    [&[0x84, 0x44, 0xa1, 0x01, 0x38, 0x22, 0xa0][..], &bytes(payload), &bytes(signature)].concat()
}

pub(crate) fn map(entries: impl Iterator<Item = (Vec<u8>, Vec<u8>)>) -> Vec<u8> {
    let entries: Vec<_> = entries.collect();
    let body = entries.iter().flat_map(|(key, value)| [key.as_slice(), value].concat());
    head(0xa0, entries.len()).into_iter().chain(body).collect()
}

pub(crate) fn array(items: impl Iterator<Item = Vec<u8>>) -> Vec<u8> {
    let items: Vec<_> = items.collect();
    head(0x80, items.len()).into_iter().chain(items.into_iter().flatten()).collect()
}

pub(crate) fn bytes(value: &[u8]) -> Vec<u8> {
    [head(0x40, value.len()), value.to_vec()].concat()
}

pub(crate) fn text(value: &str) -> Vec<u8> {
    [head(0x60, value.len()), value.as_bytes().to_vec()].concat()
}

pub(crate) fn uint(value: u64) -> Vec<u8> {
    match value {
        0..=23 => vec![value as u8],
        24..=255 => vec![0x18, value as u8],
        _ => [&[0x1b][..], &value.to_be_bytes()].concat(),
    }
}

fn head(major: u8, length: usize) -> Vec<u8> {
    match length {
        0..=23 => vec![major | length as u8],
        24..=255 => vec![major | 24, length as u8],
        _ => [&[major | 25][..], &(length as u16).to_be_bytes()].concat(),
    }
}

fn authority(name: &str) -> CertificateParams {
    let mut params = named(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = date_time_ymd(2025, 12, 1);
    params.not_after = date_time_ymd(2030, 1, 1);
    params
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.remove(DnType::CommonName);
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn key(algorithm: &'static SignatureAlgorithm) -> KeyPair {
    KeyPair::generate_for(algorithm).expect("a key")
}
