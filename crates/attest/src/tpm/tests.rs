//! Quotes that a key of the tests signs: one mistake each.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RsaKeyPair};

use super::*;
use crate::crypto;
use crate::der;

const SHA1: u16 = 0x0004;
const SHA384: u16 = 0x000c;

/// The parts of a quote that the cases change.
#[derive(Clone)]
pub(crate) struct Parts {
    pub(crate) magic: u32,
    pub(crate) kind: u16,
    pub(crate) signer: Vec<u8>,
    pub(crate) extra: Vec<u8>,
    pub(crate) safe: u8,
    pub(crate) banks: Vec<(u16, Vec<u8>)>,
    pub(crate) digest: Vec<u8>,
    pub(crate) after: Vec<u8>,
}

pub(crate) fn values(indices: &[u8]) -> PcrValues {
    PcrValues::new(indices.iter().map(|&index| (index, [index; 32]))).expect("PCRs")
}

/// As if a quote had selected them.
pub(crate) fn selected(list: impl IntoIterator<Item = (u8, [u8; 32])>) -> SelectedPcrs {
    SelectedPcrs(PcrValues::new(list).expect("PCRs"))
}

pub(crate) fn bitmap(indices: &[u8]) -> Vec<u8> {
    let bits: u32 = indices.iter().map(|index| 1 << index).sum();
    bits.to_le_bytes()[..3].to_vec()
}

/// Over PCRs 4, 7, 9 and 11 of the SHA-256 bank.
pub(crate) fn good() -> Parts {
    Parts {
        magic: 0xff54_4347,
        kind: 0x8018,
        signer: [vec![0, 0x0b], vec![7; 32]].concat(),
        extra: vec![0x5a; 64],
        safe: 1,
        banks: vec![(ALG_SHA256, bitmap(&[4, 7, 9, 11]))],
        digest: crypto::sha256(&values(&[4, 7, 9, 11]).concatenated()).to_vec(),
        after: Vec::new(),
    }
}

fn tpm2b(content: &[u8]) -> Vec<u8> {
    [&u16::try_from(content.len()).expect("short").to_be_bytes()[..], content].concat()
}

impl Parts {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.magic.to_be_bytes().to_vec();
        bytes.extend(self.kind.to_be_bytes());
        bytes.extend(tpm2b(&self.signer));
        bytes.extend(tpm2b(&self.extra));
        bytes.extend([0, 0, 0, 0, 0, 0x1b, 0x6f, 0x9c, 0, 0, 0, 2, 0, 0, 0, 1, self.safe]);
        bytes.extend([0x20, 0x20, 3, 0x12, 0, 0x12, 0, 3]);
        bytes.extend(u32::try_from(self.banks.len()).expect("few").to_be_bytes());
        for (bank, select) in &self.banks {
            bytes.extend(bank.to_be_bytes());
            bytes.push(u8::try_from(select.len()).expect("short"));
            bytes.extend(select);
        }
        bytes.extend(tpm2b(&self.digest));
        bytes.extend(&self.after);
        bytes
    }
}

fn parse_code(change: impl Fn(&mut Parts)) -> &'static str {
    let mut parts = good();
    change(&mut parts);
    Quote::parse(&parts.bytes()).map_or_else(|error| error.code(), |_| "quote")
}

fn select_code(given: &PcrValues, change: impl Fn(&mut Parts)) -> &'static str {
    let mut parts = good();
    change(&mut parts);
    let quote = Quote::parse(&parts.bytes()).expect("the form is right");
    quote.select(given).map_or_else(|rejection| rejection.code(), |_| "selected")
}

pub(crate) fn key() -> (RsaKeyPair, AttestationKey) {
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).expect("a key");
    let (modulus, exponent) = der::rsa_public_key(pair.public_key().as_ref()).expect("RSAPublicKey");
    assert_eq!(exponent, [1, 0, 1]);
    let public = AttestationKey::new(modulus).expect("RSA-2048");
    (pair, public)
}

pub(crate) fn sign(pair: &RsaKeyPair, message: &[u8]) -> Vec<u8> {
    let mut signature = vec![0; 256];
    pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature).expect("a signature");
    signature
}

#[test]
fn a_quote_is_read_as_it_is_written() {
    let bytes = good().bytes();
    let quote = Quote::parse(&bytes).expect("a quote");
    assert_eq!(quote.bytes(), bytes);
    assert_eq!(quote.extra_data(), [0x5a; 64]);
    assert_eq!(quote.qualified_signer().len(), 34);
    assert_eq!(quote.clock(), ClockInfo { clock: 0x1b6f9c, reset_count: 2, restart_count: 1, safe: true });
    assert_eq!(quote.firmware_version(), 0x2020_0312_0012_0003);
    let [selection] = quote.selections() else { panic!("one bank") };
    assert_eq!((selection.bank, selection.indices()), (ALG_SHA256, vec![4, 7, 9, 11]));
    assert!(
        selection.contains(4)
            && !selection.contains(5)
            && !selection.contains(32)
            && !selection.contains(255)
    );
    let all = PcrSelection { bank: ALG_SHA256, bits: 0x00ff_ffff };
    assert_eq!(all.indices(), (0..24).collect::<Vec<u8>>());
}

#[test]
fn one_mistake_in_the_form_each() {
    assert_eq!(parse_code(|_| {}), "quote");
    for (expected, change) in [
        ("tpm.quote.magic", (|p| p.magic = 0x4347_54ff) as fn(&mut Parts)),
        ("tpm.quote.magic", |p| p.magic = 0),
        ("tpm.quote.type", |p| p.kind = 0x8017), // TPM_ST_ATTEST_CERTIFY
        ("tpm.quote.type", |p| p.kind = 0x8019), // TPM_ST_ATTEST_TIME
        ("tpm.quote.type", |p| p.kind = 0x1880),
        ("tpm.quote.safe", |p| p.safe = 2),
        ("tpm.quote.trailing", |p| p.after = vec![0]),
        ("tpm.quote.too-long", |p| p.after = vec![0; 512]),
        ("tpm.quote.field-too-long", |p| p.extra = vec![0; 67]),
        ("tpm.quote.field-too-long", |p| p.signer = vec![0; 67]),
        ("tpm.quote.field-too-long", |p| p.digest = vec![0; 67]),
        ("tpm.quote.bank-count", |p| p.banks = vec![(ALG_SHA256, vec![0; 3]); 17]),
        ("tpm.quote.selection-width", |p| p.banks[0].1 = vec![0; 2]),
        ("tpm.quote.selection-width", |p| p.banks[0].1 = vec![0x90, 0x0a, 0, 0]),
        ("tpm.quote.selection-width", |p| p.banks[0].1 = vec![0; 255]),
    ] {
        assert_eq!(parse_code(change), expected);
    }
}

#[test]
fn a_quote_that_ends_early_is_refused_at_every_length() {
    let bytes = good().bytes();
    for length in 0..bytes.len() {
        let error = Quote::parse(&bytes[..length]).expect_err("must be refused");
        assert_eq!(error.code(), "tpm.quote.truncated", "{length}");
    }
}

#[test]
fn only_exactly_the_selected_pcrs_are_believed() {
    let four = values(&[4, 7, 9, 11]);
    assert_eq!(select_code(&four, |_| {}), "selected");
    let everything = values(&(0..24).collect::<Vec<u8>>());
    for (expected, given, change) in [
        ("tpm.quote.selection", values(&[4, 7, 9]), (|_| {}) as fn(&mut Parts)), // one omitted
        ("tpm.quote.selection", values(&[4, 7, 8, 9, 11]), |_| {}),              // one too many
        ("tpm.quote.selection", values(&[4, 7, 9, 12]), |_| {}),                 // another one
        ("tpm.quote.selection", everything, |_| {}),                             // list longer than selection
        ("tpm.quote.selection", four.clone(), |p| p.banks[0].1 = bitmap(&[4, 7, 9])),
        ("tpm.quote.selection", four.clone(), |p| p.banks[0].1 = bitmap(&[4, 7, 9, 11, 23])),
        ("tpm.quote.selection", four.clone(), |p| p.banks[0].1 = vec![0; 3]),
        ("tpm.quote.bank", four.clone(), |p| p.banks[0].0 = SHA1),
        ("tpm.quote.bank", four.clone(), |p| p.banks[0].0 = SHA384),
        ("tpm.quote.banks", four.clone(), |p| p.banks.push((SHA1, bitmap(&[0])))),
        ("tpm.quote.banks", four.clone(), |p| p.banks.insert(0, (SHA1, vec![0; 3]))),
        ("tpm.quote.banks", four.clone(), |p| p.banks.push(p.banks[0].clone())),
        ("tpm.quote.banks", four.clone(), |p| p.banks.clear()),
        ("tpm.quote.digest", four.clone(), |p| p.digest[31] ^= 1),
        ("tpm.quote.digest", four.clone(), |p| p.digest.truncate(31)),
        ("tpm.quote.digest", four.clone(), |p| p.digest.clear()),
        ("tpm.quote.digest", four.clone(), |p| p.digest.push(0)),
    ] {
        assert_eq!(select_code(&given, change), expected);
    }
    let swapped = PcrValues::new([(4, [7; 32]), (7, [4; 32]), (9, [9; 32]), (11, [11; 32])]).expect("PCRs");
    assert_eq!(select_code(&swapped, |_| {}), "tpm.quote.digest");
    let selected = Quote::parse(&good().bytes()).expect("a quote").select(&four).expect("selected");
    assert_eq!(selected.get(7), Some(&[7; 32]));
    assert_eq!(selected.get(8), None);
    assert_eq!(selected.indices(), [4, 7, 9, 11]);
}

#[test]
fn a_list_of_pcrs_ascends() {
    let code = |list: &[u8]| {
        PcrValues::new(list.iter().map(|&index| (index, [0; 32])))
            .map_or_else(|error| error.code(), |_| "PCRs")
    };
    assert_eq!(code(&[0, 23]), "PCRs");
    assert_eq!(code(&[]), "tpm.pcr.empty");
    assert_eq!(code(&[24]), "tpm.pcr.index");
    assert_eq!(code(&[255]), "tpm.pcr.index");
    assert_eq!(code(&[4, 4]), "tpm.pcr.order");
    assert_eq!(code(&[7, 4]), "tpm.pcr.order");
}

#[test]
fn a_signature_counts_for_exactly_its_bytes_and_its_key() {
    let (pair, public) = key();
    let (other_pair, other) = key();
    let bytes = good().bytes();
    let quote = Quote::parse(&bytes).expect("a quote");
    let raw = sign(&pair, &bytes);
    let signature = QuoteSignature::parse(&raw).expect("256 bytes");
    let tpmt = [&[0, 0x14, 0, 0x0b, 1, 0][..], &raw].concat();
    assert_eq!(QuoteSignature::parse(&tpmt), Ok(signature.clone()));
    assert_eq!(quote.signed_by(&public, &signature), Ok(()));
    assert_eq!(quote.signed_by(&other, &signature), Err(QuoteRejection::Signature));
    let forged = QuoteSignature::parse(&sign(&other_pair, &bytes)).expect("256 bytes");
    assert_eq!(quote.signed_by(&public, &forged), Err(QuoteRejection::Signature));
    let mut sha384 = vec![0; 256];
    pair.sign(&RSA_PKCS1_SHA384, &SystemRandom::new(), &bytes, &mut sha384).expect("a signature");
    let sha384 = QuoteSignature::parse(&sha384).expect("256 bytes");
    assert_eq!(quote.signed_by(&public, &sha384), Err(QuoteRejection::Signature));
    let mut reversed = raw.clone();
    reversed.reverse();
    for wrong in [vec![0; 256], vec![0xff; 256], reversed] {
        let wrong = QuoteSignature::parse(&wrong).expect("256 bytes");
        assert_eq!(quote.signed_by(&public, &wrong), Err(QuoteRejection::Signature));
    }
}

#[test]
fn no_flipped_bit_of_a_signed_quote_is_believed() {
    let (pair, public) = key();
    let bytes = good().bytes();
    let signature = QuoteSignature::parse(&sign(&pair, &bytes)).expect("256 bytes");
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        if let Ok(quote) = Quote::parse(&flipped) {
            assert_eq!(quote.signed_by(&public, &signature), Err(QuoteRejection::Signature), "bit {bit}");
        }
    }
}

#[test]
fn a_signature_has_one_of_two_forms() {
    let code = |bytes: &[u8]| QuoteSignature::parse(bytes).map_or_else(|error| error.code(), |_| "signature");
    let tpmt = |head: [u8; 6]| [&head[..], &[7; 256]].concat();
    assert_eq!(code(&[7; 256]), "signature");
    assert_eq!(code(&tpmt([0, 0x14, 0, 0x0b, 1, 0])), "signature");
    assert_eq!(code(&tpmt([0, 0x16, 0, 0x0b, 1, 0])), "tpm.signature.scheme"); // RSAPSS
    assert_eq!(code(&tpmt([0, 0x14, 0, 0x04, 1, 0])), "tpm.signature.scheme"); // SHA-1
    assert_eq!(code(&tpmt([0, 0x14, 0, 0x0b, 0, 0xff])), "tpm.signature.scheme");
    for length in [0, 255, 257, 261, 263, 384, 512] {
        assert_eq!(code(&vec![7; length]), "tpm.signature.length", "{length}");
    }
}

#[test]
fn an_attestation_key_has_2048_bits_and_is_odd() {
    let mut modulus = [0xff; 256];
    assert!(AttestationKey::new(&modulus).is_some());
    assert!(AttestationKey::new(&modulus[1..]).is_none());
    assert!(AttestationKey::new(&[0xff; 257]).is_none());
    assert!(AttestationKey::new(&[]).is_none());
    modulus[0] = 0x7f;
    assert!(AttestationKey::new(&modulus).is_none());
    modulus[0] = 0xff;
    modulus[255] = 0xfe;
    assert!(AttestationKey::new(&modulus).is_none());
}
