//! Every bit, byte and length of recorded NVIDIA evidence, one after the other.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use casemate_attest::nvidia::{GpuEvidence, Manifest, NvidiaAnchors, verify_gpu};
use libtest_mimic::Failed;

use crate::manifests::{SWITCH_VBIOS, waived};
use crate::{NOW, Recording, not_checked, text};

/// The second backend only has to agree with the first, which is asked about every bit: it is slower, and gets every 31st,
/// so that every place of a byte has its turn (scripts/test-backends.sh).
pub(crate) const STEP: usize = if cfg!(casemate_rustcrypto) { 31 } else { 1 };

fn genuine(report: &[u8], chain: &[u8]) -> bool {
    GpuEvidence::parse(report, chain)
        .is_ok_and(|evidence| verify_gpu(&evidence, &not_checked(), &NvidiaAnchors::nvidia(), NOW).is_ok())
}

pub(crate) fn report_bits(case: &Recording) -> Result<(), Failed> {
    if !genuine(&case.report, &case.chain) {
        return Err("the unchanged recording is not genuine".into());
    }
    let mut report = case.report.clone();
    for bit in (0..report.len() * 8).step_by(STEP) {
        report[bit / 8] ^= 1 << (bit % 8);
        if genuine(&report, &case.chain) {
            return Err(format!("genuine with bit {} of byte {} changed", bit % 8, bit / 8).into());
        }
        report[bit / 8] ^= 1 << (bit % 8);
    }
    Ok(())
}

/// Every bit of the five certificates' DER. The PEM around it carries no meaning.
pub(crate) fn chain_bits(case: &Recording) -> Result<(), Failed> {
    use rustls_pki_types::CertificateDer;
    use rustls_pki_types::pem::PemObject;

    let ders: Vec<_> =
        CertificateDer::pem_slice_iter(&case.chain).map(|der| der.expect("PEM").to_vec()).collect();
    let pem = |der: &[u8]| {
        let body = BASE64_STANDARD.encode(der);
        format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n")
    };
    let mut chain: Vec<_> = ders.iter().map(|der| pem(der)).collect();
    if !genuine(&case.report, chain.concat().as_bytes()) {
        return Err("the unchanged recording is not genuine".into());
    }
    for (position, der) in ders.iter().enumerate() {
        let mut der = der.clone();
        let original = chain[position].clone();
        for bit in (0..der.len() * 8).step_by(STEP) {
            der[bit / 8] ^= 1 << (bit % 8);
            chain[position] = pem(&der);
            if genuine(&case.report, chain.concat().as_bytes()) {
                let what = format!("genuine with bit {bit} of certificate {} changed", position + 1);
                return Err(what.into());
            }
            der[bit / 8] ^= 1 << (bit % 8);
        }
        chain[position] = original;
    }
    Ok(())
}

pub(crate) fn prefixes(case: &Recording) -> Result<(), Failed> {
    for length in 0..case.report.len() {
        if genuine(&case.report[..length], &case.chain) {
            return Err(format!("genuine with {length} bytes of the report").into());
        }
    }
    let chain = case.chain.trim_ascii_end();
    for length in 0..chain.len() - "-----".len() {
        if genuine(&case.report, &chain[..length]) {
            return Err(format!("genuine with {length} bytes of the chain").into());
        }
    }
    Ok(())
}

/// Every byte of a manifest, with one bit turned, and with another byte of the subset in its place; in the signature's part,
/// where not every byte is signed, with every bit turned. Only what follows the document says nothing.
pub(crate) fn manifest_bytes() -> Result<(), Failed> {
    let mut document = text(SWITCH_VBIOS).trim_ascii_end().to_vec();
    let believed =
        |document: &[u8]| Manifest::verify(document, &waived(), &NvidiaAnchors::nvidia(), NOW).is_ok();
    if !believed(&document) {
        return Err("the unchanged manifest is refused".into());
    }
    let signature = document.windows(13).position(|part| part == b"<ds:Signature").expect("a signature");
    for position in (0..document.len()).step_by(STEP) {
        let original = document[position];
        let bits: Vec<u8> = match position < signature {
            true => vec![original ^ 1 << (position % 7), if original == b'0' { b'1' } else { b'0' }],
            false => (0..8).map(|bit| original ^ 1 << bit).collect(),
        };
        for other in bits {
            document[position] = other;
            if believed(&document) {
                return Err(format!("believed with byte {position} {original:#x} as {other:#x}").into());
            }
        }
        document[position] = original;
    }
    Ok(())
}

pub(crate) fn manifest_prefixes() -> Result<(), Failed> {
    let document = text(SWITCH_VBIOS);
    let document = document.trim_ascii_end();
    for length in 0..document.len() {
        if Manifest::verify(&document[..length], &waived(), &NvidiaAnchors::nvidia(), NOW).is_ok() {
            return Err(format!("believed with {length} bytes").into());
        }
    }
    Ok(())
}
