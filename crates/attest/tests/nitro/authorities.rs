//! Authorities as AWS has them, each with a list of its own: root, region (20 days), zone (6 days), instance (a day),
//! and the module's certificate (3 hours). The first two of those below the root name a list.

use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair};
use casemate_attest::TrustAnchors;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CrlDistributionPoint, DnType, IsCa,
    Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P384_SHA384, RevokedCertParams, SerialNumber,
    date_time_ymd,
};

use super::{Module, Signer};

pub(crate) const ROOT_LIST: &str =
    "http://aws-nitro-enclaves-crl.s3.amazonaws.com/crl/ab4960cc-7d63-42bd-9e9f-000000000001.crl";
pub(crate) const REGION_LIST: &str = concat!(
    "http://crl-eu-test-1-aws-nitro-enclaves.s3.eu-test-1.amazonaws.com",
    "/crl/f3e8f31a-4ead-4f8d-84bf-000000000002.crl"
);

/// Who signs a list, or is listed: places in the path, from the root.
pub(crate) const ROOT: usize = 0;
pub(crate) const REGION: usize = 1;
pub(crate) const ZONE: usize = 2;
pub(crate) const INSTANCE: usize = 3;
pub(crate) const LEAF: usize = 4;

const NAMES: [&str; 5] = [
    "test.aws.nitro-enclaves",
    "0123456789abcdef.eu-test-1.aws.nitro-enclaves",
    "fedcba9876543210.zonal.eu-test-1.aws.nitro-enclaves",
    "i-0123456789abcdef0.eu-test-1.aws.nitro-enclaves",
    "i-0123456789abcdef0-enc0123456789abcdef.eu-test-1.aws",
];

/// The serial number of the certificate at a place.
pub(crate) fn serial(place: usize) -> Vec<u8> {
    vec![0x5e, 0x71, 0xa1, u8::try_from(place).expect("a place")]
}

pub(crate) struct Tree {
    pub(crate) anchors: TrustAnchors,
    pub(crate) root_pem: String,
    pub(crate) module: Module,
    /// What the certificates were made from, and the authorities' keys in PKCS #8.
    params: [CertificateParams; 5],
    keys: [Vec<u8>; 5],
    ders: Vec<Vec<u8>>,
}

impl Tree {
    /// With one thing changed about the certificates' contents.
    pub(crate) fn new(change: impl FnOnce(&mut [CertificateParams; 5])) -> Self {
        let mut params = params();
        change(&mut params);
        let keys =
            [(); 5].map(|()| KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).expect("a key").serialize_der());
        let pair = |place: usize| KeyPair::try_from(keys[place].as_slice()).expect("a key");
        let root = params[ROOT].self_signed(&pair(ROOT)).expect("a root");
        let mut ders = vec![root.der().to_vec()];
        for place in REGION..=LEAF {
            let issuer = Issuer::new(params[place - 1].clone(), pair(place - 1));
            ders.push(params[place].signed_by(&pair(place), &issuer).expect("a certificate").der().to_vec());
        }
        let module = Module {
            signer: Signer::Key(
                EcdsaKeyPair::from_pkcs8(&aws_lc_rs::signature::ECDSA_P384_SHA384_FIXED_SIGNING, &keys[LEAF])
                    .expect("a P-384 key"),
            ),
            leaf: ders[LEAF].clone(),
            cabundle: ders[..LEAF].to_vec(),
        };
        let anchors = TrustAnchors::danger_only_pem(&root.pem()).expect("a danger bundle");
        Self { anchors, root_pem: root.pem(), module, params, keys, ders }
    }

    pub(crate) fn good() -> Self {
        Self::new(|_| ())
    }

    pub(crate) fn document(&self) -> Vec<u8> {
        self.module.sign(&self.module.payload().encode())
    }

    /// A document that brings one certificate more, behind the root's.
    pub(crate) fn document_with(&self, more: &[u8]) -> Vec<u8> {
        let mut bundle = self.module.cabundle.clone();
        bundle.insert(1, more.to_vec());
        let bundle = super::array(bundle.iter().map(|der| super::bytes(der)));
        self.module.sign(&self.module.payload().with("cabundle", bundle).encode())
    }

    pub(crate) fn certificate(&self, place: usize) -> &[u8] {
        &self.ders[place]
    }

    /// The name and key of an authority in a certificate by somebody else, who lets it sign lists.
    pub(crate) fn doubled(&self, place: usize, by: &Self) -> Vec<u8> {
        let mut params = self.params[place].clone();
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let pair = |tree: &Self, place: usize| KeyPair::try_from(tree.keys[place].as_slice()).expect("a key");
        let issuer = Issuer::new(by.params[place - 1].clone(), pair(by, place - 1));
        params.signed_by(&pair(self, place), &issuer).expect("a certificate").der().to_vec()
    }

    /// The list of the authority at this place, with one thing changed. Also of one that may not sign lists.
    pub(crate) fn list(
        &self,
        place: usize,
        change: impl FnOnce(&mut CertificateRevocationListParams),
    ) -> Vec<u8> {
        let mut params = self.params[place].clone();
        params.key_usages.push(KeyUsagePurpose::CrlSign);
        let key = KeyPair::try_from(self.keys[place].as_slice()).expect("a key");
        let mut list = list_params();
        change(&mut list);
        list.signed_by(&Issuer::new(params, key)).expect("a list").der().to_vec()
    }

    /// The two lists that the certificates name.
    pub(crate) fn lists(&self) -> Vec<Vec<u8>> {
        vec![self.list(ROOT, |_| ()), self.list(REGION, |_| ())]
    }

    /// The list of this place with a further extension, signed anew: what the library does not write.
    pub(crate) fn list_with(&self, place: usize, extension: &[u8]) -> Vec<u8> {
        let list = self.list(place, |_| ());
        let body = content(&list);
        let (signed, behind) = element(body);
        let (algorithm, _) = element(behind);
        // The extensions are the last element of what is signed: [0] around a SEQUENCE.
        let mut elements = Vec::new();
        let mut rest = content(signed);
        while !rest.is_empty() {
            let (one, after) = element(rest);
            elements.push(one.to_vec());
            rest = after;
        }
        let last = elements.pop().expect("extensions");
        let extensions = [content(content(&last)), extension].concat();
        elements.push(der(0xa0, &der(0x30, &extensions)));
        let signed = der(0x30, &elements.concat());
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_ASN1_SIGNING, &self.keys[place]);
        let signature = key.expect("a key").sign(&SystemRandom::new(), &signed).expect("a signature");
        let signature = der(0x03, &[&[0][..], signature.as_ref()].concat());
        der(0x30, &[&signed, algorithm, &signature].concat())
    }
}

/// A list that revokes this serial number.
pub(crate) fn revoking(serial: Vec<u8>) -> impl FnOnce(&mut CertificateRevocationListParams) {
    move |list| {
        list.revoked_certs.push(RevokedCertParams {
            serial_number: SerialNumber::from(serial),
            revocation_time: date_time_ymd(2025, 12, 31),
            reason_code: None,
            invalidity_date: None,
        });
    }
}

/// cRLDistributionPoints with this content.
pub(crate) fn points(content: &[u8]) -> rcgen::CustomExtension {
    rcgen::CustomExtension::from_oid_content(&[2, 5, 29, 31], content.to_vec())
}

pub(crate) fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let head = match length {
        0..=127 => vec![tag, length as u8],
        128..=255 => vec![tag, 0x81, length as u8],
        _ => vec![tag, 0x82, (length >> 8) as u8, length as u8],
    };
    [head, content.to_vec()].concat()
}

fn params() -> [CertificateParams; 5] {
    let mut all = NAMES.map(named);
    for (place, params) in all.iter_mut().enumerate() {
        params.serial_number = Some(SerialNumber::from(serial(place)));
        if place < LEAF {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        }
        if place < INSTANCE {
            params.key_usages.push(KeyUsagePurpose::CrlSign);
        }
    }
    let midnight = date_time_ymd(2026, 1, 1);
    let [root, region, zone, instance, leaf] = &mut all;
    (root.not_before, root.not_after) = (date_time_ymd(2019, 10, 28), date_time_ymd(2049, 10, 28));
    (region.not_before, region.not_after) = (date_time_ymd(2025, 12, 20), date_time_ymd(2026, 1, 9));
    (zone.not_before, zone.not_after) = (date_time_ymd(2025, 12, 30), date_time_ymd(2026, 1, 5));
    (instance.not_before, instance.not_after) = (midnight, midnight + Duration::from_secs(86_400));
    leaf.not_before = midnight + Duration::from_secs(11 * 3600);
    leaf.not_after = midnight + Duration::from_secs(14 * 3600);
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    region.crl_distribution_points = vec![CrlDistributionPoint { uris: vec![ROOT_LIST.to_owned()] }];
    zone.crl_distribution_points = vec![CrlDistributionPoint { uris: vec![REGION_LIST.to_owned()] }];
    all
}

/// Of 2025-12-31T12:00:00Z, for seven days, and empty.
fn list_params() -> CertificateRevocationListParams {
    let noon = date_time_ymd(2025, 12, 31) + Duration::from_secs(43_200);
    CertificateRevocationListParams {
        this_update: noon,
        next_update: noon + Duration::from_secs(7 * 86_400),
        crl_number: SerialNumber::from(vec![7]),
        issuing_distribution_point: None,
        revoked_certs: Vec::new(),
        key_identifier_method: KeyIdMethod::Sha256,
    }
}

/// The first element, and what is behind it.
fn element(input: &[u8]) -> (&[u8], &[u8]) {
    let (header, length) = header(input);
    input.split_at(header + length)
}

fn content(element: &[u8]) -> &[u8] {
    &element[header(element).0..]
}

/// Octets of the header, and of the content.
fn header(input: &[u8]) -> (usize, usize) {
    match input[1] {
        0x81 => (3, input[2].into()),
        0x82 => (4, usize::from(input[2]) << 8 | usize::from(input[3])),
        short => (2, short.into()),
    }
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.remove(DnType::CommonName);
    params.distinguished_name.push(DnType::CommonName, name);
    params
}
