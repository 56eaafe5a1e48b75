//! A made-up NVIDIA under roots of its own: devices, reports, reference manifests and a responder, for cases that need a
//! valid signature over something wrong, or something that was not recorded.

use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA256, SHA384, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use casemate_attest::nvidia::NvidiaAnchors;
use casemate_attest::{OcspNonce, OcspResponse, UnixTime};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P384_SHA384, date_time_ymd,
};

/// 2026-01-01T12:00:00Z: everything is valid on that day.
pub(crate) const NOON: UnixTime = UnixTime(1_767_268_800);

pub(crate) const NONCE: [u8; 32] = [7; 32];
pub(crate) const DRIVER: &str = "570.10.01";
pub(crate) const VBIOS: &str = "96.00.9F.00.01";

/// One for all cases: making keys takes longer than the cases do.
pub(crate) static VENDOR: LazyLock<Vendor> = LazyLock::new(Vendor::new);

/// A certificate and its key.
pub(crate) struct Party {
    pub(crate) der: Vec<u8>,
    pem: String,
    pkcs8: Vec<u8>,
    issuer: Issuer<'static, KeyPair>,
}

pub(crate) struct Vendor {
    pub(crate) anchors: NvidiaAnchors,
    pub(crate) root: Party,
    pub(crate) identity: Party,
    pub(crate) provisioner: Party,
    pub(crate) device: Party,
    leaf: Party,
    pub(crate) rim_root: Party,
    pub(crate) rim_outer: Party,
    pub(crate) rim_inner: Party,
    pub(crate) rim_signer: Party,
}

/// What a device reports; a case changes one thing.
pub(crate) struct Report {
    pub(crate) nonce: [u8; 32],
    pub(crate) measurements: Vec<[u8; 48]>,
    pub(crate) driver: Option<&'static str>,
    /// NVDEC0_STATUS, where it is reported.
    pub(crate) nvdec0: Option<u8>,
}

/// A manifest; a case changes one thing.
#[derive(Clone)]
pub(crate) struct Rim {
    pub(crate) edition: &'static str,
    pub(crate) product: &'static str,
    pub(crate) version: &'static str,
    /// Active, and the alternatives' values.
    pub(crate) resources: Vec<(bool, Vec<[u8; 48]>)>,
}

impl Party {
    fn new(name: &str, by: Option<&Party>, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).expect("a key");
        let mut params = CertificateParams::default();
        params.distinguished_name.remove(DnType::CommonName);
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.not_before = date_time_ymd(2025, 1, 1);
        params.not_after = date_time_ymd(2030, 1, 1);
        change(&mut params);
        let certificate = match by {
            Some(by) => params.signed_by(&key, &by.issuer),
            None => params.self_signed(&key),
        }
        .expect("a certificate");
        Self {
            der: certificate.der().to_vec(),
            pem: certificate.pem(),
            pkcs8: key.serialize_der(),
            issuer: Issuer::new(params, key),
        }
    }

    pub(crate) fn authority(name: &str, by: &Party) -> Self {
        Self::new(name, Some(by), |_| {})
    }

    pub(crate) fn signer(name: &str, by: &Party, change: impl FnOnce(&mut CertificateParams)) -> Self {
        Self::new(name, Some(by), |params| {
            params.is_ca = IsCa::ExplicitNoCa;
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            change(params);
        })
    }

    /// R and S, 48 bytes each.
    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, &self.pkcs8).expect("a key");
        key.sign(&SystemRandom::new(), message).expect("a signature").as_ref().to_vec()
    }

    fn public_key(&self) -> Vec<u8> {
        self.issuer.key().public_key_raw().to_vec()
    }

    fn parsed(&self) -> x509_parser::certificate::X509Certificate<'_> {
        x509_parser::parse_x509_certificate(&self.der).expect("a certificate").1
    }
}

impl Vendor {
    fn new() -> Self {
        let root = Party::new("Test Device Identity CA", None, |_| {});
        let identity = Party::authority("Test GH100 Identity", &root);
        let provisioner = Party::authority("NVIDIA GH100 Provisioner ICA 1", &identity);
        let device = Party::authority("GH100 A01 GSP BROM", &provisioner);
        let leaf = Party::signer("GH100 A01 GSP FMC LF", &device, |params| {
            let oid = [0x06, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 2];
            let fwid = tlv(0x30, &[&oid[..], &tlv(0x04, &[5; 48])].concat());
            let composite = tlv(0x30, &[&[2, 1, 1, 0x30, 0][..], &fwid].concat());
            let extension = CustomExtension::from_oid_content(&[2, 23, 133, 5, 4, 1], composite);
            params.custom_extensions.push(extension);
        });
        let rim_root = Party::new("Test CoRIM signing Root CA", None, |_| {});
        let rim_outer = Party::authority("Test Reference Value CA", &rim_root);
        let rim_inner = Party::authority("Test Reference Value L3", &rim_outer);
        let rim_signer = Party::signer("Test RIM Signer", &rim_inner, |params| {
            params.not_after = date_time_ymd(2027, 1, 1);
        });
        let anchors = NvidiaAnchors::danger_only_pem(&format!("{}{}", root.pem, rim_root.pem));
        Self {
            anchors: anchors.expect("two roots"),
            root,
            identity,
            provisioner,
            device,
            leaf,
            rim_root,
            rim_outer,
            rim_inner,
            rim_signer,
        }
    }

    /// Its two roots, PEM.
    #[allow(dead_code, reason = "the command line's cases, which share this file, name them to a process")]
    pub(crate) fn roots(&self) -> String {
        format!("{}{}", self.root.pem, self.rim_root.pem)
    }

    /// The five certificates as a device delivers them.
    pub(crate) fn chain(&self) -> Vec<u8> {
        let parties = [&self.leaf, &self.device, &self.provisioner, &self.identity, &self.root];
        parties.map(|party| party.pem.as_str()).concat().into_bytes()
    }

    /// A signed report.
    pub(crate) fn report(&self, report: &Report) -> Vec<u8> {
        let mut bytes = [&[0x11, 0xe0, 0x01, 0xff][..], &report.nonce, &[0], &[0x11, 0x60, 0, 0]].concat();
        let count = u8::try_from(report.measurements.len()).expect("few");
        bytes.push(count);
        bytes.extend(&(u32::from(count) * 55).to_le_bytes()[..3]);
        for (index, value) in (1..).zip(&report.measurements) {
            bytes.extend([index, 1, 51, 0, 1, 48, 0]);
            bytes.extend(value);
        }
        bytes.extend([9; 32]);
        let mut fields = vec![(6, vec![0, 0x9f, 0, 0x96, 1, 0, 0, 0]), (20, vec![5; 48])];
        let board = [(15, "882"), (17, "1010"), (18, "0200")];
        fields.extend(board.map(|(kind, text)| (kind, text.as_bytes().to_vec())));
        fields.extend(report.driver.map(|version| (3, version.as_bytes().to_vec())));
        fields.extend(report.nvdec0.map(|status| (11, vec![status])));
        let opaque: Vec<u8> = fields
            .into_iter()
            .flat_map(|(kind, value): (u16, Vec<u8>)| {
                [&kind.to_le_bytes()[..], &(value.len() as u16).to_le_bytes(), &value].concat()
            })
            .collect();
        bytes.extend((opaque.len() as u16).to_le_bytes());
        bytes.extend(opaque);
        bytes.extend(self.leaf.sign(&bytes));
        bytes
    }

    /// A signed manifest, already in its canonical form.
    pub(crate) fn rim(&self, rim: &Rim) -> String {
        let swid = "http://standards.iso.org/iso/19770/-2/2015/schema.xsd";
        let sha384 = "http://www.w3.org/2001/04/xmlenc#sha384";
        let dsig = "http://www.w3.org/2000/09/xmldsig#";
        let more = "http://www.w3.org/2001/04/xmldsig-more#";
        let c14n = "http://www.w3.org/2006/12/xml-c14n11";
        let resources: String = rim
            .resources
            .iter()
            .enumerate()
            .map(|(index, (active, values))| {
                let active = if *active { "True" } else { "False" };
                let count = values.len();
                let mut hashes: Vec<_> = (0..)
                    .zip(values)
                    .map(|(number, value)| (format!("ns2:Hash{number}"), hex::encode(value)))
                    .collect();
                hashes.sort();
                let hashes: String =
                    hashes.iter().map(|(name, value)| format!(" {name}=\"{value}\"")).collect();
                let said = format!("active=\"{active}\" alternatives=\"{count}\" index=\"{index}\"");
                format!("<ns0:Resource {said} size=\"48\" type=\"Measurement\"{hashes}></ns0:Resource>")
            })
            .collect();
        let open = format!(
            "<SoftwareIdentity xmlns=\"{swid}\" xmlns:ns0=\"{swid}\" xmlns:ns2=\"{sha384}\" name=\"Test\">"
        );
        let said = format!(
            "colloquialVersion=\"{}\" edition=\"{}\" product=\"{}\"",
            rim.version, rim.edition, rim.product
        );
        let content = format!("<ns0:Meta {said}></ns0:Meta><ns0:Payload>{resources}</ns0:Payload>");
        let document = format!("{open}{content}</SoftwareIdentity>");
        let digest = BASE64_STANDARD.encode(digest(&SHA384, document.as_bytes()));
        let info = format!(
            "<ds:CanonicalizationMethod Algorithm=\"{c14n}\"></ds:CanonicalizationMethod>\
             <ds:SignatureMethod Algorithm=\"{more}ecdsa-sha384\"></ds:SignatureMethod>\
             <ds:Reference URI=\"\"><ds:Transforms>\
             <ds:Transform Algorithm=\"{dsig}enveloped-signature\"></ds:Transform>\
             <ds:Transform Algorithm=\"{c14n}\"></ds:Transform></ds:Transforms>\
             <ds:DigestMethod Algorithm=\"{more}sha384\"></ds:DigestMethod>\
             <ds:DigestValue>{digest}</ds:DigestValue></ds:Reference></ds:SignedInfo>"
        );
        let signed = format!(
            "<ds:SignedInfo xmlns=\"{swid}\" xmlns:ds=\"{dsig}\" xmlns:ns0=\"{swid}\" xmlns:ns2=\"{sha384}\">{info}"
        );
        let value = BASE64_STANDARD.encode(self.rim_signer.sign(signed.as_bytes()));
        let path = [&self.rim_signer, &self.rim_inner, &self.rim_outer, &self.rim_root];
        let certificates: String = path
            .into_iter()
            .map(|party| {
                format!("<ds:X509Certificate>{}</ds:X509Certificate>", BASE64_STANDARD.encode(&party.der))
            })
            .collect();
        format!(
            "{open}{content}<ds:Signature xmlns:ds=\"{dsig}\"><ds:SignedInfo>{info}\
             <ds:SignatureValue>{value}</ds:SignatureValue>\
             <ds:KeyInfo><ds:X509Data>{certificates}</ds:X509Data></ds:KeyInfo></ds:Signature></SoftwareIdentity>"
        )
    }
}

impl Report {
    /// Measurement n is 48 bytes of n; the first video decoder is off.
    pub(crate) fn good() -> Self {
        let measurements = (0..40).map(|index| [index; 48]).collect();
        Self { nonce: NONCE, measurements, driver: Some(DRIVER), nvdec0: Some(0x55) }
    }
}

impl Rim {
    /// For these indices the right value, second of two; everything else is not active.
    fn of(version: &'static str, active: &[usize]) -> Self {
        let resources = (0..40_u8)
            .map(|index| (active.contains(&usize::from(index)), vec![[0xee; 48], [index; 48]]))
            .collect();
        Self { edition: "GPU", product: "GH100", version, resources }
    }

    pub(crate) fn driver() -> Self {
        Self::of(DRIVER, &[7, 21, 22, 35])
    }

    pub(crate) fn vbios() -> Self {
        Self::of(VBIOS, &[0, 1, 2])
    }
}

/// An answer about one certificate; a case changes one thing.
pub(crate) struct Answer<'a> {
    pub(crate) subject: &'a Party,
    pub(crate) issuer: &'a Party,
    /// Who signs, and the certificates that are sent along.
    pub(crate) responder: &'a Party,
    pub(crate) sent: Vec<&'a Party>,
    pub(crate) status: Vec<u8>,
    pub(crate) this_update: &'a str,
    pub(crate) next_update: Option<&'a str>,
    pub(crate) nonce: Option<Vec<u8>>,
    pub(crate) extension: Vec<u8>,
    pub(crate) hash: Hash,
    /// In place of the subject's and the issuer's own.
    pub(crate) serial: Option<Vec<u8>>,
    pub(crate) name_hash: Option<Vec<u8>>,
    pub(crate) key_hash: Option<Vec<u8>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hash {
    Sha1,
    Sha256,
    Sha384,
}

pub(crate) const GOOD: [u8; 2] = [0x80, 0];
pub(crate) const UNKNOWN: [u8; 2] = [0x82, 0];

type Digest = fn(&[u8]) -> Vec<u8>;

/// `revoked`, for this reason.
pub(crate) fn revoked(reason: Option<u8>) -> Vec<u8> {
    let reason = reason.map_or_else(Vec::new, |reason| tlv(0xa0, &tlv(0x0a, &[reason])));
    tlv(0xa1, &[tlv(0x18, b"20251230120000Z"), reason].concat())
}

impl<'a> Answer<'a> {
    /// Good, by the issuer itself.
    pub(crate) fn new(subject: &'a Party, issuer: &'a Party) -> Self {
        Self {
            subject,
            issuer,
            responder: issuer,
            sent: Vec::new(),
            status: GOOD.to_vec(),
            this_update: "20260101000000Z",
            next_update: Some("20260102000000Z"),
            nonce: None,
            extension: Vec::new(),
            hash: Hash::Sha256,
            serial: None,
            name_hash: None,
            key_hash: None,
        }
    }

    pub(crate) fn der(&self) -> Vec<u8> {
        let (oid, hash): (u8, Digest) = match self.hash {
            Hash::Sha384 => (2, |bytes| digest(&SHA384, bytes).as_ref().to_vec()),
            Hash::Sha256 | Hash::Sha1 => (1, |bytes| digest(&SHA256, bytes).as_ref().to_vec()),
        };
        let algorithm = match self.hash {
            Hash::Sha1 => vec![0x06, 5, 0x2b, 0x0e, 3, 2, 0x1a, 5, 0],
            _ => vec![0x06, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, oid, 5, 0],
        };
        let name_hash = hash(self.issuer.parsed().subject().as_raw());
        let serial = self.subject.parsed().raw_serial().to_vec();
        let id = [
            tlv(0x30, &algorithm),
            tlv(0x04, self.name_hash.as_ref().unwrap_or(&name_hash)),
            tlv(0x04, self.key_hash.as_ref().unwrap_or(&hash(&self.issuer.public_key()))),
            tlv(0x02, self.serial.as_ref().unwrap_or(&serial)),
        ];
        let next = self.next_update.map_or_else(Vec::new, |time| tlv(0xa0, &tlv(0x18, time.as_bytes())));
        let this = tlv(0x18, self.this_update.as_bytes());
        let single = tlv(0x30, &[tlv(0x30, &id.concat()), self.status.clone(), this, next].concat());
        let nonce = self.nonce.as_ref().map_or_else(Vec::new, |nonce| {
            let oid = [0x06, 9, 0x2b, 6, 1, 5, 5, 7, 0x30, 1, 2];
            tlv(0x30, &[&oid[..], &tlv(0x04, &tlv(0x04, nonce))].concat())
        });
        let extensions = match [nonce, self.extension.clone()].concat() {
            none if none.is_empty() => none,
            some => tlv(0xa1, &tlv(0x30, &some)),
        };
        let responder = tlv(0xa1, self.responder.parsed().subject().as_raw());
        let produced = tlv(0x18, b"20260101000000Z");
        let data = tlv(0x30, &[responder, produced, tlv(0x30, &single), extensions].concat());
        let basic = self.sign(&data);
        let kind = [0x06, 9, 0x2b, 6, 1, 5, 5, 7, 0x30, 1, 1];
        let bytes = tlv(0x30, &[&kind[..], &tlv(0x04, &basic)].concat());
        tlv(0x30, &[&[0x0a, 1, 0][..], &tlv(0xa0, &bytes)].concat())
    }

    fn sign(&self, data: &[u8]) -> Vec<u8> {
        let signature = self.responder.sign(data);
        let (r, s) = signature.split_at(48);
        let signature = tlv(0x30, &[integer(r), integer(s)].concat());
        let algorithm = tlv(0x30, &[0x06, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3]);
        let certificates = if self.sent.is_empty() {
            Vec::new()
        } else {
            let all: Vec<u8> = self.sent.iter().flat_map(|party| party.der.clone()).collect();
            tlv(0xa0, &tlv(0x30, &all))
        };
        let signature = tlv(0x03, &[&[0][..], &signature].concat());
        tlv(0x30, &[data.to_vec(), algorithm, signature, certificates].concat())
    }

    pub(crate) fn response(&self) -> OcspResponse {
        OcspResponse { der: self.der(), nonce: OcspNonce::NotSent }
    }
}

fn integer(magnitude: &[u8]) -> Vec<u8> {
    let skipped = magnitude.iter().take_while(|&&octet| octet == 0).count();
    let magnitude = &magnitude[skipped..];
    let sign: &[u8] = if magnitude[0] >= 0x80 { &[0] } else { &[] };
    tlv(0x02, &[sign, magnitude].concat())
}

/// One DER element.
pub(crate) fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let head = match length {
        0..=127 => vec![tag, length as u8],
        128..=255 => vec![tag, 0x81, length as u8],
        _ => vec![tag, 0x82, (length >> 8) as u8, length as u8],
    };
    [head, content.to_vec()].concat()
}
