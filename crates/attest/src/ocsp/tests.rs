//! Answers that are written here, one mistake each. None is signed: what is signed is in `tests/nvidia`.

use proptest::prelude::*;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use super::response::{Answer, CERTIFICATE_HOLD, Hash, Status};
use crate::x509::Certificate;

fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).expect("short");
    match length {
        0..=127 => [&[tag, length as u8], content].concat(),
        128..=255 => [&[tag, 0x81, length as u8], content].concat(),
        _ => [&[tag, 0x82][..], &length.to_be_bytes(), content].concat(),
    }
}

/// Requests about NVIDIA's root, as the `cryptography` package for Python writes them (SHA-384), without and with a nonce.
const ID: &str = "308185300d0609608648016503040202050004304136e1670d50cca9ec47097e7aedbf9eeea0870b9d2824160e179ddfe0dfaa32dae76e1cc1ced67320042471685e01d80430caf2995c609f0c5f443308d6c9b5ca90138c3adee0f0c7076cec3fed65c1b6c2c7b7dc8425843e799af7b07dcbaeba5202102d3670b1ca100411c1fec0e82a065b54";
const WITHOUT_NONCE: &str = "30819130818e30818b308188";
const WITH_NONCE: &str = "3081c63081c330818b308188";
const NONCE_0_TO_31: &str = "a2333031302f06092b060105050730010204220420000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

#[test]
fn a_request_is_what_another_program_writes() {
    let pem = include_str!("../../roots/nvidia-device-identity.pem");
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).expect("PEM");
    let root = Certificate::parse(&der).expect("a certificate");
    let id = super::certificate_id(&root, &root).expect("a key");
    assert_eq!(hex::encode(&id), ID);
    assert_eq!(hex::encode(super::request(&id, None)), [WITHOUT_NONCE, ID].concat());
    let nonce: Vec<u8> = (0..32).collect();
    assert_eq!(hex::encode(super::request(&id, Some(&nonce))), [WITH_NONCE, ID, NONCE_0_TO_31].concat());
}

const TIME: &[u8] = b"20260101000000Z";

/// The parts of an answer; a case changes one.
struct Parts {
    version: Vec<u8>,
    responder: Vec<u8>,
    produced_at: Vec<u8>,
    status: Vec<u8>,
    after_this_update: Vec<u8>,
    extensions: Vec<u8>,
    after_signature: Vec<u8>,
}

impl Parts {
    fn good() -> Self {
        Self {
            version: Vec::new(),
            responder: tlv(0xa2, &tlv(0x04, &[1; 20])),
            produced_at: tlv(0x18, TIME),
            status: vec![0x80, 0],
            after_this_update: tlv(0xa0, &tlv(0x18, b"20260102000000Z")),
            extensions: Vec::new(),
            after_signature: Vec::new(),
        }
    }

    fn der(&self) -> Vec<u8> {
        let algorithm = tlv(0x30, &[0x06, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1]);
        let id = [algorithm.clone(), tlv(4, &[1; 32]), tlv(4, &[2; 32]), tlv(2, &[3])].concat();
        let single =
            [tlv(0x30, &id), self.status.clone(), tlv(0x18, TIME), self.after_this_update.clone()].concat();
        let data = [
            self.version.clone(),
            self.responder.clone(),
            self.produced_at.clone(),
            tlv(0x30, &tlv(0x30, &single)),
            self.extensions.clone(),
        ];
        let basic = [tlv(0x30, &data.concat()), algorithm, tlv(3, &[0, 9]), self.after_signature.clone()];
        let kind = [0x06, 9, 0x2b, 6, 1, 5, 5, 7, 0x30, 1, 1];
        let bytes = tlv(0x30, &[&kind[..], &tlv(0x04, &tlv(0x30, &basic.concat()))].concat());
        tlv(0x30, &[&[0x0a, 1, 0][..], &tlv(0xa0, &bytes)].concat())
    }
}

fn code(change: impl FnOnce(&mut Parts)) -> &'static str {
    let mut parts = Parts::good();
    change(&mut parts);
    Answer::parse(&parts.der()).map_or_else(|error| error.code(), |_| "read")
}

fn nonce(value: &[u8]) -> Vec<u8> {
    tlv(0x30, &[&[0x06, 9, 0x2b, 6, 1, 5, 5, 7, 0x30, 1, 2][..], &tlv(4, value)].concat())
}

fn extensions(list: &[Vec<u8>]) -> Vec<u8> {
    tlv(0xa1, &tlv(0x30, &list.concat()))
}

#[test]
fn an_answer_is_read_as_it_is_laid_out() {
    let mut parts = Parts::good();
    parts.version = tlv(0xa0, &[2, 1, 0]);
    parts.status = tlv(0xa1, &[tlv(0x18, TIME), tlv(0xa0, &[0x0a, 1, 6])].concat());
    parts.extensions = extensions(&[nonce(&tlv(4, &[7; 32]))]);
    parts.after_signature = tlv(0xa0, &tlv(0x30, &tlv(0x30, &[])));
    let der = parts.der();
    let answer = Answer::parse(&der).expect("an answer");
    assert_eq!(answer.nonce, Some(&[7; 32][..]));
    assert_eq!(answer.certificates, [&[0x30, 0][..]]);
    assert_eq!(answer.signed.signature, [9]);
    let [single] = answer.singles.as_slice() else { panic!("one certificate") };
    assert_eq!(single.status, Status::Revoked { reason: Some(CERTIFICATE_HOLD) });
    assert_eq!((single.id.hash, single.id.serial), (Hash::Sha256, &[3][..]));
    assert_eq!((single.id.issuer_name_hash, single.id.issuer_key_hash), (&[1; 32][..], &[2; 32][..]));
    assert_eq!(single.this_update.0, 1_767_225_600);
    assert_eq!(single.next_update.map(|time| time.0), Some(1_767_312_000));
}

#[test]
fn one_mistake_in_the_form() {
    assert_eq!(code(|_| {}), "read");
    assert_eq!(code(|p| p.version = tlv(0xa0, &[2, 1, 1])), "ocsp.malformed", "version 2");
    assert_eq!(code(|p| p.responder.clear()), "ocsp.malformed", "no responder");
    assert_eq!(code(|p| p.responder = tlv(0xa3, &[])), "ocsp.malformed", "unknown responder");
    assert_eq!(code(|p| p.produced_at = tlv(0x17, b"260101000000Z")), "ocsp.malformed", "UTCTime");
    assert_eq!(code(|p| p.produced_at = tlv(0x18, b"20260101000060Z")), "ocsp.malformed", "no such second");
    assert_eq!(code(|p| p.status = vec![0x80, 1, 0]), "ocsp.malformed", "good and more");
    assert_eq!(code(|p| p.status = vec![0x83, 0]), "ocsp.malformed", "no such status");
    assert_eq!(code(|p| p.status = tlv(0xa1, &[])), "ocsp.malformed", "revoked, never");
    assert_eq!(code(|p| p.after_this_update = vec![5, 0]), "ocsp.malformed");
    assert_eq!(code(|p| p.after_signature = vec![5, 0]), "ocsp.malformed");
    assert_eq!(code(|p| p.extensions = vec![5, 0]), "ocsp.malformed");
    let five = tlv(0x30, &[]).repeat(5);
    assert_eq!(code(|p| p.after_signature = tlv(0xa0, &tlv(0x30, &five))), "ocsp.malformed");
}

#[test]
fn extensions_are_known_or_not_critical_and_the_nonce_is_there_once() {
    let good = nonce(&tlv(4, &[7; 32]));
    assert_eq!(code(|p| p.extensions = extensions(std::slice::from_ref(&good))), "read");
    assert_eq!(code(|p| p.extensions = extensions(&[good.clone(), good.clone()])), "ocsp.malformed");
    assert_eq!(code(|p| p.extensions = extensions(&[nonce(&[7; 32])])), "ocsp.malformed", "bare octets");
    let other = |critical: &[u8]| tlv(0x30, &[&[0x06, 1, 0x2a], critical, &tlv(4, &[])].concat());
    assert_eq!(code(|p| p.extensions = extensions(&[other(&[])])), "read");
    assert_eq!(code(|p| p.extensions = extensions(&[other(&[1, 1, 0xff])])), "ocsp.extension");
    assert_eq!(code(|p| p.extensions = extensions(&[other(&[1, 1, 1])])), "ocsp.malformed", "BOOLEAN 1");
    assert_eq!(code(|p| p.extensions = extensions(&[other(&[1, 1, 0])])), "ocsp.malformed", "a default");
    let single = |list: &[Vec<u8>]| [tlv(0xa0, &tlv(0x18, TIME)), extensions(list)].concat();
    assert_eq!(code(|p| p.after_this_update = single(&[other(&[])])), "read");
    assert_eq!(code(|p| p.after_this_update = single(&[other(&[1, 1, 0xff])])), "ocsp.extension");
    assert_eq!(code(|p| p.extensions = extensions(&vec![other(&[]); 65])), "ocsp.malformed", "too many");
}

#[test]
fn a_responder_that_does_not_answer_is_named() {
    for (der, expected) in [
        (&[0x30, 3, 0x0a, 1, 1][..], "ocsp.unsuccessful"),
        (&[0x30, 3, 0x0a, 1, 6], "ocsp.unsuccessful"),
        (&[0x30, 3, 0x0a, 1, 0], "ocsp.malformed"),
        (&[0x30, 4, 0x0a, 2, 0, 0], "ocsp.malformed"),
        (&[], "ocsp.malformed"),
    ] {
        assert_eq!(Answer::parse(der).map_or_else(|error| error.code(), |_| "read"), expected, "{der:?}");
    }
    let long = [Parts::good().der(), vec![0; 64 * 1024]].concat();
    assert!(Answer::parse(&long).is_err());
}

proptest! {
    #[test]
    fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(Answer::parse(&bytes).is_err());
    }

    #[test]
    fn a_changed_answer_never_panics(position in 0_usize..200, value: u8) {
        let mut der = Parts::good().der();
        let position = position % der.len();
        der[position] = value;
        let _ = Answer::parse(&der);
    }
}
