//! A made-up provider of virtual TPMs, whose authorities sign revocation lists, and its word for another attestation key
//! under the recorded quote: as Google's certificates are, with the root's list named by the intermediate certificate, and a
//! key's certificate of 30 years that names a list or none.

#[path = "message.rs"]
pub(crate) mod message;

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use casemate_attest::{TrustAnchors, UnixTime};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CrlDistributionPoint,
    CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    PKCS_RSA_SHA256, RevokedCertParams, RsaKeySize, SerialNumber, date_time_ymd,
};

use message::Message;

/// 2026-01-01T12:00:00Z: every certificate and list is valid on that day.
pub(crate) const NOON: UnixTime = UnixTime(1_767_268_800);
pub(crate) const ROOT_LIST: &str = concat!(
    "http://privateca-content-62d71773-0000-21da-852e-000000000001.storage.googleapis.com",
    "/032bf9d39db4fa06aade/crl.crl"
);
pub(crate) const ISSUER_LIST: &str = "https://pki.goog/cloud_integrity/test_intermediate.crl";
const EK_CERTIFICATE: [u64; 5] = [2, 23, 133, 8, 1];
const INSTANCE_INFO: [u64; 10] = [1, 3, 6, 1, 4, 1, 11129, 2, 1, 21];

pub(crate) const ISSUER_SERIAL: [u8; 3] = [0x61, 0x0c, 0x01];
pub(crate) const LEAF_SERIAL: [u8; 3] = [0x61, 0x0c, 0x02];

/// Who signs a list.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    Root,
    Issuer,
}

pub(crate) struct Provider {
    pub(crate) anchors: TrustAnchors,
    pub(crate) root_pem: String,
    /// The intermediate certificate, DER.
    pub(crate) issuer: Vec<u8>,
    root: Issuer<'static, KeyPair>,
    intermediate: Issuer<'static, KeyPair>,
    key: Vec<u8>,
}

impl Provider {
    pub(crate) fn new() -> Self {
        let (root_key, issuer_key) = (rsa_key(), rsa_key());
        let root_params = authority("TEST EK/AK CA Root");
        let root = root_params.self_signed(&root_key).expect("a root");
        let root_issuer = Issuer::new(root_params, root_key);
        let mut params = authority("TEST EK/AK CA Intermediate");
        params.serial_number = Some(SerialNumber::from(ISSUER_SERIAL.to_vec()));
        params.crl_distribution_points = vec![CrlDistributionPoint { uris: vec![ROOT_LIST.to_owned()] }];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::Other(EK_CERTIFICATE.to_vec())];
        let issuer = params.signed_by(&issuer_key, &root_issuer).expect("an authority").der().to_vec();
        Self {
            anchors: TrustAnchors::danger_only_pem(&root.pem()).expect("a danger bundle"),
            root_pem: root.pem(),
            issuer,
            root: root_issuer,
            intermediate: Issuer::new(params, issuer_key),
            key: rsa_key().serialize_der(),
        }
    }

    /// The recorded message with this provider's key and certificate, whose list is there, or nowhere.
    pub(crate) fn evidence(&self, recorded: &[u8], list: Option<&str>) -> Vec<u8> {
        let mut message = Message::read(recorded);
        message.quotes.retain(|quote| quote.hash == 0x0b);
        let key = rsa::KeyPair::from_pkcs8(&self.key).expect("a key");
        // RSAPublicKey: the modulus stands before the exponent, an INTEGER of three octets.
        let public = key.public_key().as_ref();
        let modulus = public[public.len() - 261..public.len() - 5].to_vec();
        let at = message.public.len() - 256;
        message.public.splice(at.., modulus);
        message.certificate = self.certificate(&message.certificate, list);

        let quote = &mut message.quotes[0];
        let name = [&[0x00, 0x0b][..], digest(&SHA256, &message.public).as_ref()].concat();
        let qualified = digest(&SHA256, &[&[0x40, 0, 0, 0x0b][..], &name].concat());
        quote.quote.splice(10..42, qualified.as_ref().to_vec());
        let mut signature = [0; 256];
        key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), &quote.quote, &mut signature).expect("a signature");
        quote.signature.splice(6.., signature);
        message.write()
    }

    /// A certificate of the key for the recorded instance.
    fn certificate(&self, recorded: &[u8], list: Option<&str>) -> Vec<u8> {
        let (_, recorded) = x509_parser::parse_x509_certificate(recorded).expect("a certificate");
        let instance = recorded
            .extensions()
            .iter()
            .find(|extension| extension.oid.to_id_string() == "1.3.6.1.4.1.11129.2.1.21")
            .expect("an instance");
        let mut params = named("8033817256003918212");
        params.serial_number = Some(SerialNumber::from(LEAF_SERIAL.to_vec()));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.custom_extensions =
            vec![CustomExtension::from_oid_content(&INSTANCE_INFO, instance.value.to_vec())];
        params.crl_distribution_points =
            list.iter().map(|uri| CrlDistributionPoint { uris: vec![(*uri).to_owned()] }).collect();
        let key = KeyPair::try_from(self.key.as_slice()).expect("a key");
        params.signed_by(&key, &self.intermediate).expect("a certificate").der().to_vec()
    }

    /// A list of this day for a week, with one thing changed.
    pub(crate) fn list(&self, by: By, change: impl FnOnce(&mut CertificateRevocationListParams)) -> Vec<u8> {
        let midnight = date_time_ymd(2026, 1, 1);
        let mut params = CertificateRevocationListParams {
            this_update: midnight,
            next_update: midnight + Duration::from_secs(7 * 86_400),
            crl_number: SerialNumber::from(vec![1]),
            issuing_distribution_point: None,
            revoked_certs: Vec::new(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        change(&mut params);
        let issuer = if by == By::Root { &self.root } else { &self.intermediate };
        params.signed_by(issuer).expect("a list").der().to_vec()
    }
}

/// A list that revokes this serial number.
pub(crate) fn revoking(serial: [u8; 3]) -> impl FnOnce(&mut CertificateRevocationListParams) {
    move |list| {
        list.revoked_certs.push(RevokedCertParams {
            serial_number: SerialNumber::from(serial.to_vec()),
            revocation_time: date_time_ymd(2025, 12, 31),
            reason_code: None,
            invalidity_date: None,
        });
    }
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
