//! A virtual TPM's attestation key and its quotes (TPM 2.0 Part 2, 10.12 and 12.2.4). Numbers are big endian.

use aws_lc_rs::digest::{SHA256, digest};
use der::asn1::UintRef;
use der::{Decode, Tag};
use rcgen::{KeyPair, PublicKeyData as _, SigningKey as _};

use super::AzureMistake;
use crate::error::SimError;
use crate::store::elements;

const ALG_SHA1: u16 = 0x0004;
const ALG_SHA256: u16 = 0x000b;
/// TPM_GENERATED_VALUE.
const MAGIC: u32 = 0xff54_4347;
/// TPM_ST_ATTEST_QUOTE.
const TYPE_QUOTE: u16 = 0x8018;
/// fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth, restricted, sign.
const AK_ATTRIBUTES: u32 = 0x0005_0072;
/// TPM_RH_ENDORSEMENT.
const ENDORSEMENT: u32 = 0x4000_000b;
/// In its vendor's own form.
const FIRMWARE_VERSION: u64 = 0x2020_0312_0012_0003;

/// The modulus of an RSA key, big endian.
pub(super) fn modulus(key: &KeyPair) -> Result<Vec<u8>, SimError> {
    let read = || -> der::Result<Vec<u8>> {
        let parts = elements(key.der_bytes())?;
        let number = parts.first().ok_or(Tag::Integer.value_error())?;
        Ok(UintRef::from_der(number)?.as_bytes().to_vec())
    };
    read().map_err(|_| SimError::Malformed { object: "attestation key" })
}

/// A quote over these PCRs that carries `qualifying_data`, and its signature by `ak`.
pub(super) fn quote(
    ak: &KeyPair,
    signer: &KeyPair,
    pcrs: &[(u8, [u8; 32])],
    qualifying_data: &[u8],
    mistake: AzureMistake,
) -> Result<(Vec<u8>, Vec<u8>), SimError> {
    let quoted = match (mistake, pcrs) {
        (AzureMistake::OnePcrLess, [others @ .., _]) => others,
        _ => pcrs,
    };
    let mut values: Vec<u8> = quoted.iter().flat_map(|(_, value)| *value).collect();
    if mistake == AzureMistake::OtherPcrValues {
        values.iter_mut().take(1).for_each(|byte| *byte ^= 1);
    }
    let bank = if mistake == AzureMistake::BankSha1 { ALG_SHA1 } else { ALG_SHA256 };
    let mut selection = [0_u8; 3];
    for (pcr, _) in quoted {
        selection.iter_mut().skip(usize::from(pcr / 8)).take(1).for_each(|byte| *byte |= 1 << (pcr % 8));
    }

    let mut quote = Vec::new();
    quote.extend(MAGIC.to_be_bytes());
    quote.extend(TYPE_QUOTE.to_be_bytes());
    quote.extend(sized(&qualified_name(&modulus(ak)?)));
    quote.extend(sized(qualifying_data));
    quote.extend(1_000_000_u64.to_be_bytes()); // clock, in milliseconds
    quote.extend(1_u32.to_be_bytes()); // resets
    quote.extend(0_u32.to_be_bytes()); // restarts
    quote.push(1); // safe
    quote.extend(FIRMWARE_VERSION.to_be_bytes());
    quote.extend(1_u32.to_be_bytes()); // banks
    quote.extend(bank.to_be_bytes());
    quote.push(3);
    quote.extend(selection);
    quote.extend(sized(digest(&SHA256, &values).as_ref()));
    let signature = signer.sign(&quote).map_err(|_| SimError::Signing { algorithm: "RSA-2048" })?;
    Ok((quote, signature))
}

/// TPM2B_NAME of a primary key of the endorsement hierarchy: two hashes over its public area.
fn qualified_name(modulus: &[u8]) -> Vec<u8> {
    let mut public = Vec::new();
    public.extend(0x0001_u16.to_be_bytes()); // RSA
    public.extend(ALG_SHA256.to_be_bytes());
    public.extend(AK_ATTRIBUTES.to_be_bytes());
    public.extend(sized(&[])); // authPolicy
    public.extend(0x0010_u16.to_be_bytes()); // no symmetric algorithm
    public.extend(0x0014_u16.to_be_bytes()); // RSASSA
    public.extend(ALG_SHA256.to_be_bytes());
    public.extend(2048_u16.to_be_bytes());
    public.extend(0_u32.to_be_bytes()); // exponent 65537
    public.extend(sized(modulus));
    named(&[&ENDORSEMENT.to_be_bytes()[..], &named(&public)].concat())
}

fn named(octets: &[u8]) -> Vec<u8> {
    [&ALG_SHA256.to_be_bytes()[..], digest(&SHA256, octets).as_ref()].concat()
}

/// A TPM2B.
fn sized(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    [&length.to_be_bytes()[..], bytes].concat()
}
