//! `attest.Attestation` as `casemate_attest::gce` reads it (spec/attest.md §15.1), written: a few fields of Protocol Buffers.

use super::super::tpm::Quoted;

/// The parts of an attestation, of one bank.
pub(super) struct Parts<'a> {
    /// TPMT_PUBLIC.
    pub(super) public: &'a [u8],
    pub(super) quoted: &'a Quoted,
    /// Of the boot; empty where there is none.
    pub(super) event_log: &'a [u8],
    /// DER.
    pub(super) certificate: &'a [u8],
}

impl Parts<'_> {
    pub(super) fn write(&self) -> Vec<u8> {
        let mut pcrs = number(1, SHA256);
        for (index, value) in &self.quoted.pcrs {
            pcrs.extend(octets(2, &[number(1, u64::from(*index)), octets(2, value)].concat()));
        }
        let quote =
            [octets(1, &self.quoted.quote), octets(2, &self.quoted.signature), octets(3, &pcrs)].concat();
        let log = if self.event_log.is_empty() { Vec::new() } else { octets(3, self.event_log) };
        [octets(1, self.public), octets(2, &quote), log, octets(6, self.certificate)].concat()
    }
}

/// A field of wire type 0. Zero is the default, which is not written.
fn number(field: u64, value: u64) -> Vec<u8> {
    if value == 0 { Vec::new() } else { [varint(field << 3), varint(value)].concat() }
}

/// A field of wire type 2.
fn octets(field: u64, value: &[u8]) -> Vec<u8> {
    [varint(field << 3 | 2), varint(value.len() as u64), value.to_vec()].concat()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        let [low, ..] = (value & 0x7f).to_le_bytes();
        value >>= 7;
        if value == 0 {
            out.push(low);
            return out;
        }
        out.push(low | 0x80);
    }
}

/// TPM_ALG_SHA256.
const SHA256: u64 = 0x0b;
