//! The steps between the hardware report and the quote, with an attestation key of the tests: what no recording shows.

use aws_lc_rs::signature::RsaKeyPair;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::*;
use crate::snp::accepted;
use crate::tpm::tests::{Parts, bitmap, good, key, sign};

/// Evidence in its parts, from the runtime data up.
pub(in crate::azure) struct Made {
    pub(in crate::azure) runtime: Value,
    /// What follows the hash in REPORT_DATA.
    pub(in crate::azure) tail: u8,
    pub(in crate::azure) vmpl: u8,
    /// On TDX: what is added to the quote's REPORT_DATA, at which byte.
    pub(in crate::azure) td: Option<(usize, u8)>,
    pub(in crate::azure) hash_type: u8,
    pub(in crate::azure) parts: Parts,
    pub(in crate::azure) pcrs: Vec<u8>,
    pub(in crate::azure) signer: RsaKeyPair,
}

pub(in crate::azure) fn made() -> Made {
    let (signer, public) = key();
    let runtime = json!({
        "keys": [
            { "kid": "HCLAkPub", "key_ops": ["sign"], "kty": "RSA", "e": "AQAB",
              "n": URL_SAFE_NO_PAD.encode(public.modulus()) },
            { "kid": "HCLEkPub", "key_ops": ["encrypt"], "kty": "RSA", "e": "AQAB",
              "n": URL_SAFE_NO_PAD.encode([0xff; 256]) },
        ],
        "vm-configuration": { "console-enabled": false, "secure-boot": true, "tpm-enabled": true,
                              "vmUniqueId": "390CBCF5-6C67-4D9B-98EF-C3F1699CC8FC" },
        "user-data": "11".repeat(64),
    });
    Made { runtime, tail: 0, vmpl: 0, td: None, hash_type: 1, parts: good(), pcrs: vec![4, 7, 9, 11], signer }
}

impl Made {
    pub(in crate::azure) fn evidence(&self) -> AzureEvidence {
        let text = self.runtime.to_string();
        let mut bound = match self.hash_type {
            1 => crypto::sha256(text.as_bytes()).to_vec(),
            2 => crypto::sha384(text.as_bytes()).to_vec(),
            _ => crypto::sha512(text.as_bytes()).to_vec(),
        };
        bound.resize(64, self.tail);
        let (mut report, _, _) = accepted(|bytes| {
            bytes[0x30] = self.vmpl;
            bytes[0x50..0x90].copy_from_slice(&bound);
        });
        if self.td.is_some() {
            report = vec![0; 1184];
            report[128..192].copy_from_slice(&bound);
        }
        let word = |number: usize| u32::try_from(number).expect("small").to_le_bytes();
        let hcl = [
            b"HCLA".to_vec(),
            [1, 0x4d4 + text.len(), 2, 0, 0, 0, 0].map(word).concat(),
            report,
            [
                20 + text.len(),
                1,
                if self.td.is_some() { 4 } else { 2 },
                usize::from(self.hash_type),
                text.len(),
            ]
            .map(word)
            .concat(),
            text.into_bytes(),
        ];
        let quote = self.parts.bytes();
        let pcrs: Vec<_> = self.pcrs.iter().map(|&index| json!([index, hex::encode([index; 32])])).collect();
        let mut document = json!({
            "format": super::super::FORMAT,
            "hcl_report": STANDARD.encode(hcl.concat()),
            "signature": STANDARD.encode(sign(&self.signer, &quote)),
            "quote": STANDARD.encode(quote),
            "pcrs": pcrs,
        });
        if let Some((at, more)) = self.td {
            let quote = tdx::test_quote(|body| {
                body[520..584].copy_from_slice(&bound);
                body[520 + at] ^= more;
            });
            document["td_quote"] = json!(STANDARD.encode(quote.bytes()));
        }
        AzureEvidence::parse(document.to_string().as_bytes()).expect("the form is right")
    }
}

/// The steps of Azure's own, without those for SEV-SNP between them.
pub(in crate::azure) fn steps(
    evidence: &AzureEvidence,
) -> Result<(RuntimeData, SelectedPcrs), AzureRejection> {
    let (underneath, _) = hardware(evidence)?;
    binding(evidence, &underneath)?;
    let (runtime, _) = runtime(evidence)?;
    quote(evidence, &runtime)?;
    let (pcrs, _) = selection(evidence)?;
    Ok((runtime, pcrs))
}

fn code(change: impl FnOnce(&mut Made)) -> &'static str {
    let mut made = made();
    change(&mut made);
    steps(&made.evidence()).map_or_else(|rejection| rejection.code(), |_| "genuine")
}

#[test]
fn each_hash_binds_the_runtime_data_and_zeros() {
    assert_eq!(code(|_| {}), "genuine");
    for hash_type in [1, 2, 3] {
        assert_eq!(code(|made| made.hash_type = hash_type), "genuine", "{hash_type}");
    }
    for hash_type in [1, 2] {
        let tail = |made: &mut Made| (made.hash_type, made.tail) = (hash_type, 1);
        assert_eq!(code(tail), "azure.binding", "{hash_type}: what follows the hash counts");
    }
}

#[test]
fn only_the_paravisors_report_counts() {
    for vmpl in [1, 2, 3] {
        assert_eq!(code(|made| made.vmpl = vmpl), "azure.hardware.vmpl", "{vmpl}");
    }
}

#[test]
fn the_attestation_key_is_the_one_of_that_name() {
    let swap = |made: &mut Made| {
        made.runtime["keys"][0]["kid"] = json!("HCLEkPub");
        made.runtime["keys"][1]["kid"] = json!("HCLAkPub");
    };
    assert_eq!(code(swap), "tpm.quote.signature");
    assert_eq!(code(|made| made.signer = key().0), "tpm.quote.signature");
    let twice = |made: &mut Made| made.runtime["keys"][1]["kid"] = json!("HCLAkPub");
    assert_eq!(code(twice), "azure.runtime.key-duplicate");
}

#[test]
fn a_signed_quote_over_another_selection_is_refused() {
    for (expected, change) in [
        ("tpm.quote.selection", (|made| made.parts.banks[0].1 = bitmap(&[0])) as fn(&mut Made)),
        ("tpm.quote.selection", |made| made.pcrs = vec![4, 7, 9]),
        ("tpm.quote.selection", |made| made.pcrs = vec![4, 7, 8, 9, 11]),
        ("tpm.quote.selection", |made| made.pcrs = (0..24).collect()),
        ("tpm.quote.bank", |made| made.parts.banks[0].0 = 0x0004),
        ("tpm.quote.bank", |made| made.parts.banks[0].0 = 0x000c),
        ("tpm.quote.banks", |made| made.parts.banks.push((0x0004, bitmap(&[8])))),
        ("tpm.quote.banks", |made| made.parts.banks.clear()),
        ("tpm.quote.digest", |made| made.parts.digest[0] ^= 1),
    ] {
        assert_eq!(code(change), expected);
    }
}

#[test]
fn on_tdx_the_quote_binds_the_runtime_data() {
    assert_eq!(code(|made| made.td = Some((0, 0))), "genuine");
    for at in [0, 31, 32, 63] {
        assert_eq!(code(|made| made.td = Some((at, 1))), "azure.hardware.td-quote", "{at}");
    }
    // TDREPORT and quote agree on something else than the hash and zeros.
    assert_eq!(code(|made| (made.td, made.tail) = (Some((0, 0)), 1)), "azure.binding");
    // What SEV-SNP says of a privilege level means nothing here.
    assert_eq!(code(|made| (made.td, made.vmpl) = (Some((0, 0)), 2)), "genuine");
}
