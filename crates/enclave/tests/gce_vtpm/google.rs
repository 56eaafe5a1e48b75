//! A made-up Google, which certifies attestation keys of virtual TPMs as Google does: root, intermediate, key, and the
//! revocation lists of both authorities.

use std::time::Duration;

use casemate_attest::endorse::EndorsementBundle;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CrlDistributionPoint,
    CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    PKCS_RSA_SHA256, PublicKeyData, RevokedCertParams, RsaKeySize, SerialNumber, SignatureAlgorithm,
    date_time_ymd,
};

pub(crate) const PROJECT: &str = "casemate-test";
pub(crate) const ZONE: &str = "us-central1-a";
const INSTANCE: u64 = 8_033_817_256_003_918_212;
pub(crate) const KEY_SERIAL: [u8; 3] = [0x61, 0x0c, 0x02];
const LIST: &str = "https://pki.goog/cloud_integrity/test_intermediate.crl";
const EK_CERTIFICATE: [u64; 5] = [2, 23, 133, 8, 1];
const INSTANCE_INFO: [u64; 10] = [1, 3, 6, 1, 4, 1, 11129, 2, 1, 21];

pub(crate) struct Google {
    pub(crate) root_pem: String,
    intermediate: Vec<u8>,
    root: Issuer<'static, KeyPair>,
    issuer: Issuer<'static, KeyPair>,
}

/// A key whose secret half is in a TPM.
struct Certified {
    /// RSAPublicKey, DER.
    der: Vec<u8>,
}

impl PublicKeyData for Certified {
    fn der_bytes(&self) -> &[u8] {
        &self.der
    }
    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_RSA_SHA256
    }
}

impl Google {
    pub(crate) fn new() -> Self {
        let (root_key, issuer_key) = (rsa_key(), rsa_key());
        let root_params = authority("TEST EK/AK CA Root");
        let root_pem = root_params.self_signed(&root_key).expect("a root").pem();
        let root = Issuer::new(root_params, root_key);
        let mut params = authority("TEST EK/AK CA Intermediate");
        params.serial_number = Some(SerialNumber::from(vec![0x61, 0x0c, 0x01]));
        params.crl_distribution_points = vec![CrlDistributionPoint {
            uris: vec!["https://pki.goog/cloud_integrity/test_root.crl".into()],
        }];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::Other(EK_CERTIFICATE.to_vec())];
        let intermediate = params.signed_by(&issuer_key, &root).expect("an authority").der().to_vec();
        Self { root_pem, intermediate, root, issuer: Issuer::new(params, issuer_key) }
    }

    /// A certificate of this key, DER; it names the list of its issuer, or none.
    pub(crate) fn certificate(&self, modulus: &[u8], lists: bool) -> Vec<u8> {
        let mut params = named("8033817256003918212");
        params.serial_number = Some(SerialNumber::from(KEY_SERIAL.to_vec()));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.custom_extensions = vec![CustomExtension::from_oid_content(&INSTANCE_INFO, instance())];
        let list = lists.then(|| CrlDistributionPoint { uris: vec![LIST.to_owned()] });
        params.crl_distribution_points = list.into_iter().collect();
        let key = Certified { der: sequence(&[integer(modulus), integer(&[1, 0, 1])].concat()) };
        params.signed_by(&key, &self.issuer).expect("a certificate").der().to_vec()
    }

    /// What Google says of its keys, of this day, with these of the intermediate's revoked.
    pub(crate) fn bundle(&self, revoked: &[[u8; 3]]) -> EndorsementBundle {
        self.with_lists(vec![list(&self.root, &[]), list(&self.issuer, revoked)])
    }

    /// With the root's list alone.
    pub(crate) fn bundle_of_root(&self) -> EndorsementBundle {
        self.with_lists(vec![list(&self.root, &[])])
    }

    fn with_lists(&self, lists: Vec<Vec<u8>>) -> EndorsementBundle {
        EndorsementBundle::default().with_google(vec![self.intermediate.clone()], lists)
    }
}

fn list(issuer: &Issuer<'static, KeyPair>, revoked: &[[u8; 3]]) -> Vec<u8> {
    let midnight = date_time_ymd(2026, 1, 1);
    let params = CertificateRevocationListParams {
        this_update: midnight,
        next_update: midnight + Duration::from_secs(7 * 86_400),
        crl_number: SerialNumber::from(vec![1]),
        issuing_distribution_point: None,
        revoked_certs: revoked
            .iter()
            .map(|serial| RevokedCertParams {
                serial_number: SerialNumber::from(serial.to_vec()),
                revocation_time: date_time_ymd(2025, 12, 31),
                reason_code: None,
                invalidity_date: None,
            })
            .collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    params.signed_by(issuer).expect("a list").der().to_vec()
}

/// The extension that says which instance a key is of (attest.md §15.2 GV-02).
fn instance() -> Vec<u8> {
    let text = |text: &str| element(0x0c, text.as_bytes());
    let security = [element(0xa0, &integer(&[1])), element(0xa1, &element(0x01, &[0xff]))].concat();
    sequence(
        &[
            text(ZONE),
            integer(&[7]),
            text(PROJECT),
            integer(&INSTANCE.to_be_bytes()),
            text("instance-1"),
            element(0xa0, &sequence(&security)),
        ]
        .concat(),
    )
}

fn sequence(content: &[u8]) -> Vec<u8> {
    element(0x30, content)
}

/// Of a positive number whose first octet is not zero.
fn integer(octets: &[u8]) -> Vec<u8> {
    let sign: &[u8] = if octets[0] & 0x80 == 0 { &[] } else { &[0] };
    element(0x02, &[sign, octets].concat())
}

fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let [.., high, low] = length;
    let head = match content.len() {
        0..=0x7f => vec![tag, low],
        0x80..=0xff => vec![tag, 0x81, low],
        _ => vec![tag, 0x82, high, low],
    };
    [head, content.to_vec()].concat()
}

fn rsa_key() -> KeyPair {
    KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).expect("a key")
}

fn authority(name: &str) -> CertificateParams {
    let mut params = named(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.remove(DnType::CommonName);
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(2025, 1, 1);
    params.not_after = date_time_ymd(2055, 1, 1);
    params
}
