//! A silicon vendor with a root of its own that makes TDX quotes and the collateral for them: the production path under
//! another root, for cases that need a valid signature over values of their own.
//!
//! Layouts: Intel TDX DCAP Quoting Library API, "Quote format" and "Enclave Report"; Intel SGX PCK Certificate and CRL Profile,
//! "SGX Extensions"; Intel PCS v4, TCB info and QE identity.

#![allow(dead_code)] // each test binary uses its own part

use aws_lc_rs::digest::{SHA256, SHA384, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use casemate_attest::{TrustAnchors, UnixTime};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CustomExtension, DnType, IsCa,
    Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SerialNumber, date_time_ymd,
};
use serde_json::{Value, json};

/// 2026-01-01T12:00:00Z: everything is in date.
pub(crate) const NOON: UnixTime = UnixTime(1_767_268_800);

/// Family, model, stepping, platform type and custom SKU of the made-up processor.
const FMSPC: [u8; 6] = [0x90, 0xc0, 0x6f, 0, 0, 0];
/// Of the made-up quoting enclave.
const QE_SIGNER: [u8; 32] = [0x51; 32];

pub(crate) struct TdxVendor {
    pub(crate) anchors: TrustAnchors,
    /// As `Endorsements::tdx` takes it.
    pub(crate) collateral: Vec<u8>,
    pub(crate) root_pem: String,
    pck: EcdsaKeyPair,
    pck_chain: String,
}

/// What a quote says of the TD.
#[derive(Clone)]
pub(crate) struct Td {
    pub(crate) attributes: u64,
    pub(crate) mrtd: [u8; 48],
    pub(crate) mr_config_id: [u8; 48],
    pub(crate) rtmrs: [[u8; 48]; 4],
    pub(crate) report_data: [u8; 64],
}

impl Default for Td {
    fn default() -> Self {
        Self {
            attributes: 1 << 28,
            mrtd: [0x4d; 48],
            mr_config_id: [0; 48],
            rtmrs: [[0x10; 48], [0x11; 48], [0x12; 48], [0; 48]],
            report_data: [0; 64],
        }
    }
}

impl TdxVendor {
    pub(crate) fn new() -> Self {
        let root_key = key();
        let root_params = authority("Test Intel SGX Root CA");
        let root = root_params.self_signed(&root_key).expect("a root");
        let root_issuer = Issuer::new(root_params, root_key);

        let platform_key = key();
        let platform_params = authority("Test Intel SGX PCK Platform CA");
        let platform = platform_params.signed_by(&platform_key, &root_issuer).expect("an intermediate");
        let platform_issuer = Issuer::new(platform_params, platform_key);

        let pck_key = key();
        let mut pck_params = named("Test Intel SGX PCK Certificate");
        pck_params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let oid = [1, 2, 840, 113_741, 1, 13, 1];
        pck_params.custom_extensions = vec![CustomExtension::from_oid_content(&oid, sgx_extension())];
        let pck = pck_params.signed_by(&pck_key, &platform_issuer).expect("a PCK certificate");

        let signer_key = key();
        let mut signer_params = named("Test Intel SGX TCB Signing");
        signer_params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let signer = signer_params.signed_by(&signer_key, &root_issuer).expect("a signer");

        let (tcb_info, qe_identity) = (tcb_info().to_string(), qe_identity().to_string());
        let signing = pair(&signer_key);
        let signed_by_root = format!("{}{}", signer.pem(), root.pem());
        let collateral = json!({
            "pck_crl_issuer_chain": format!("{}{}", platform.pem(), root.pem()),
            "root_ca_crl": hex::encode(revoked_none(&root_issuer)),
            "pck_crl": hex::encode(revoked_none(&platform_issuer)),
            "tcb_info_issuer_chain": signed_by_root,
            "tcb_info_signature": hex::encode(sign(&signing, tcb_info.as_bytes())),
            "tcb_info": tcb_info,
            "qe_identity_issuer_chain": signed_by_root,
            "qe_identity_signature": hex::encode(sign(&signing, qe_identity.as_bytes())),
            "qe_identity": qe_identity,
        });
        Self {
            anchors: TrustAnchors::danger_only_pem(&root.pem()).expect("a danger bundle"),
            collateral: collateral.to_string().into_bytes(),
            root_pem: root.pem(),
            pck: pair(&pck_key),
            pck_chain: format!("{}{}{}", pck.pem(), platform.pem(), root.pem()),
        }
    }

    /// A quote of version 4.
    pub(crate) fn quote(&self, td: &Td) -> Vec<u8> {
        let mut quote = Vec::new();
        quote.extend([4, 0, 2, 0, 0x81, 0, 0, 0, 0, 0, 0, 0]);
        quote.extend(hex::decode("939a7233f79c4ca9940a0db3957f0607").expect("the QE vendor"));
        quote.extend([0; 20]);
        quote.extend([5, 1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]); // TEE_TCB_SVN
        quote.extend([0x5e; 48]); // MRSEAM
        quote.extend([0; 48 + 8]); // MRSIGNERSEAM, SEAMATTRIBUTES
        quote.extend(td.attributes.to_le_bytes());
        quote.extend(0x6_1ae7_u64.to_le_bytes()); // XFAM
        quote.extend(td.mrtd);
        quote.extend(td.mr_config_id);
        quote.extend([0; 96]); // MROWNER, MROWNERCONFIG
        quote.extend(td.rtmrs.as_flattened());
        quote.extend(td.report_data);
        assert_eq!(quote.len(), 48 + 584);

        let attestation = pair(&key());
        let signature = sign(&attestation, &quote);
        let public = &attestation.public_key().as_ref()[1..];
        let authentication = [0x0a; 32];
        let mut report = vec![0; 384];
        report[48] = 0x11; // ATTRIBUTES: INIT, PROVISION_KEY
        report[128..160].copy_from_slice(&QE_SIGNER);
        report[256] = 2; // ISVPRODID
        report[258] = 4; // ISVSVN
        report[320..352].copy_from_slice(digest(&SHA256, &[public, &authentication].concat()).as_ref());

        let certification = [&[5, 0][..], &length(self.pck_chain.len()), self.pck_chain.as_bytes()].concat();
        let inner =
            [&report[..], &sign(&self.pck, &report), &[32, 0], &authentication, &certification].concat();
        let data = [&signature[..], public, &[6, 0], &length(inner.len()), &inner].concat();
        quote.extend(length(data.len()));
        quote.extend(data);
        quote
    }
}

/// RTMR after these digests.
pub(crate) fn extended(digests: impl IntoIterator<Item = [u8; 48]>) -> [u8; 48] {
    digests.into_iter().fold([0; 48], |register, event| sha384(&[register, event].concat()))
}

pub(crate) fn sha384(message: &[u8]) -> [u8; 48] {
    digest(&SHA384, message).as_ref().try_into().expect("48 bytes")
}

pub(crate) fn sha256(message: &[u8]) -> [u8; 32] {
    digest(&SHA256, message).as_ref().try_into().expect("32 bytes")
}

fn length(value: usize) -> [u8; 4] {
    u32::try_from(value).expect("short").to_le_bytes()
}

fn key() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key")
}

fn pair(key: &KeyPair) -> EcdsaKeyPair {
    EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &key.serialize_der()).expect("a P-256 key")
}

fn sign(key: &EcdsaKeyPair, message: &[u8]) -> Vec<u8> {
    key.sign(&SystemRandom::new(), message).expect("a signature").as_ref().to_vec()
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(2025, 1, 1);
    params.not_after = date_time_ymd(2035, 1, 1);
    params
}

fn authority(name: &str) -> CertificateParams {
    let mut params = named(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn revoked_none(issuer: &Issuer<'_, KeyPair>) -> Vec<u8> {
    let list = CertificateRevocationListParams {
        this_update: date_time_ymd(2025, 12, 1),
        next_update: date_time_ymd(2026, 2, 1),
        crl_number: SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: Vec::new(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    list.signed_by(issuer).expect("a list").der().to_vec()
}

/// `SEQUENCE OF SEQUENCE { OID, value }` under 1.2.840.113741.1.13.1.
fn sgx_extension() -> Vec<u8> {
    let octets = |bytes: &[u8]| tlv(0x04, bytes);
    let mut tcb: Vec<u8> = (1..=16).flat_map(|number| entry(&[2, number], &tlv(0x02, &[1]))).collect();
    tcb.extend(entry(&[2, 17], &tlv(0x02, &[11])));
    tcb.extend(entry(&[2, 18], &octets(&[1; 16])));
    let configuration: Vec<u8> = [(1, 0), (2, 0xff), (3, 0xff)]
        .iter()
        .flat_map(|(number, flag)| entry(&[7, *number], &tlv(0x01, &[*flag])))
        .collect();
    let entries = [
        entry(&[1], &octets(&[0xbb; 16])),
        entry(&[2], &tlv(0x30, &tcb)),
        entry(&[3], &octets(&[0; 2])),
        entry(&[4], &octets(&FMSPC)),
        entry(&[5], &tlv(0x0a, &[1])),
        entry(&[6], &octets(&[0xcc; 16])),
        entry(&[7], &tlv(0x30, &configuration)),
    ];
    tlv(0x30, &entries.concat())
}

fn entry(arcs: &[u8], value: &[u8]) -> Vec<u8> {
    let oid = [&[0x2a, 0x86, 0x48, 0x86, 0xf8, 0x4d, 1, 13, 1][..], arcs].concat();
    tlv(0x30, &[tlv(0x06, &oid), value.to_vec()].concat())
}

fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let header = match content.len() {
        short @ 0..=127 => vec![tag, short as u8],
        long @ 128..=255 => vec![tag, 0x81, long as u8],
        longer => vec![tag, 0x82, (longer >> 8) as u8, longer as u8],
    };
    [header, content.to_vec()].concat()
}

fn dated(mut document: Value) -> Value {
    document["issueDate"] = "2025-12-15T00:00:00Z".into();
    document["nextUpdate"] = "2026-01-14T00:00:00Z".into();
    document["tcbEvaluationDataNumber"] = 17.into();
    document
}

fn tcb_info() -> Value {
    let ones: Vec<_> = (0..16).map(|_| json!({ "svn": 1 })).collect();
    let zeros: Vec<_> = (0..16).map(|_| json!({ "svn": 0 })).collect();
    let module = json!({
        "mrsigner": "00".repeat(48),
        "attributes": "00".repeat(8),
        "attributesMask": "FF".repeat(8),
    });
    let mut identity = module.clone();
    identity["id"] = "TDX_01".into();
    identity["tcbLevels"] =
        json!([{ "tcb": { "isvsvn": 5 }, "tcbDate": "2025-01-01T00:00:00Z", "tcbStatus": "UpToDate" }]);
    dated(json!({
        "id": "TDX",
        "version": 3,
        "fmspc": hex::encode_upper(FMSPC),
        "pceId": "0000",
        "tcbType": 0,
        "tdxModule": module,
        "tdxModuleIdentities": [identity],
        "tcbLevels": [{
            "tcb": { "sgxtcbcomponents": ones, "pcesvn": 11, "tdxtcbcomponents": zeros },
            "tcbDate": "2025-01-01T00:00:00Z",
            "tcbStatus": "UpToDate",
        }],
    }))
}

fn qe_identity() -> Value {
    dated(json!({
        "id": "TD_QE",
        "version": 2,
        "miscselect": "00000000",
        "miscselectMask": "FFFFFFFF",
        "attributes": "11000000000000000000000000000000",
        "attributesMask": "FBFFFFFFFFFFFFFF0000000000000000",
        "mrsigner": hex::encode_upper(QE_SIGNER),
        "isvprodid": 2,
        "tcbLevels": [{ "tcb": { "isvsvn": 4 }, "tcbDate": "2025-01-01T00:00:00Z", "tcbStatus": "UpToDate" }],
    }))
}
