//! The certificate table that a host gives beside a SEV-SNP report (GHCB specification 56421, "SNP Extended Guest Request").
//! Little-endian.
//!
//! ```text
//! size  field
//! 16    GUID    in the order in which it is written (RFC 9562, not the mixed order of Microsoft's structures)
//! 4     offset  of the certificate, from the start of the table
//! 4     length
//!       ... the next entry; an entry of 24 zeros ends the table, certificates follow
//! ```
//!
//! The host wrote it, so nothing in it is believed; it is handed to the verifier, which asks for AMD's signatures. Entries
//! with other GUIDs (Google puts its launch endorsement there) must lie within the table and are not read.

use std::ops::Range;

/// Entries that we read; hosts write at most six.
const MAX_ENTRIES: usize = 32;
const ENTRY: usize = 24;

const VCEK: [u8; 16] = hex16(0x63da_758d_e664_4564_adc5_f4b9_3be8_accd);
const VLEK: [u8; 16] = hex16(0xa807_4bc2_a25a_483e_aae6_39c0_45a0_b8a1);
const ASK: [u8; 16] = hex16(0x4ab7_b379_bbac_4fe4_a02f_05ae_f327_c782);
const ARK: [u8; 16] = hex16(0xc0b4_06a4_a803_4952_9743_3fb6_014c_d0ae);

/// The endorsement keys' certificates of a table, in DER.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct CertificateTable {
    pub(crate) vcek: Option<Vec<u8>>,
    pub(crate) vlek: Option<Vec<u8>>,
}

/// Why bytes are not a certificate table (ATT-13).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CertificateTableError {
    /// It ends before the entry of zeros.
    #[error("the certificate table has no end")]
    NoEnd,
    /// More entries than anybody writes.
    #[error("the certificate table has more than {MAX_ENTRIES} entries")]
    Entries,
    /// An entry that points outside of the table, into its entries, or at nothing.
    #[error("entry {index} of the certificate table points outside of it or at nothing")]
    Range {
        /// From 0.
        index: usize,
    },
    /// Two entries share bytes.
    #[error("entries of the certificate table overlap")]
    Overlap,
    /// Two certificates of the same kind.
    #[error("the certificate table has a certificate twice")]
    Duplicate,
    /// A certificate that is not one DER structure of exactly its length.
    #[error("entry {index} of the certificate table is not DER of its length")]
    NotDer {
        /// From 0.
        index: usize,
    },
}

impl CertificateTableError {
    /// Stable identifier, for logs, exit codes and tests.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoEnd => "attester.certificates.no-end",
            Self::Entries => "attester.certificates.entries",
            Self::Range { .. } => "attester.certificates.range",
            Self::Overlap => "attester.certificates.overlap",
            Self::Duplicate => "attester.certificates.duplicate",
            Self::NotDer { .. } => "attester.certificates.not-der",
        }
    }
}

impl CertificateTable {
    /// Reads a table. No bytes, or only zeros, are a table without entries: the host has no certificates.
    pub(crate) fn parse(table: &[u8]) -> Result<Self, CertificateTableError> {
        if table.iter().all(|&byte| byte == 0) {
            return Ok(Self::default());
        }
        let entries = entries(table)?;
        let first_byte = (entries.len() + 1) * ENTRY;
        let mut found = Self::default();
        let (mut ask, mut ark) = (None, None);
        let mut taken: Vec<Range<usize>> = Vec::new();
        for (index, (guid, range)) in entries.into_iter().enumerate() {
            let bytes = table
                .get(range.clone())
                .filter(|bytes| !bytes.is_empty() && range.start >= first_byte)
                .ok_or(CertificateTableError::Range { index })?;
            if taken.iter().any(|other| other.start < range.end && range.start < other.end) {
                return Err(CertificateTableError::Overlap);
            }
            taken.push(range);
            let slot = match guid {
                VCEK => &mut found.vcek,
                VLEK => &mut found.vlek,
                ASK => &mut ask,
                ARK => &mut ark,
                _ => continue,
            };
            if !is_der_sequence(bytes) {
                return Err(CertificateTableError::NotDer { index });
            }
            if slot.replace(bytes.to_vec()).is_some() {
                return Err(CertificateTableError::Duplicate);
            }
        }
        Ok(found)
    }
}

type Entry = ([u8; 16], Range<usize>);

/// The entries before the one of zeros.
fn entries(table: &[u8]) -> Result<Vec<Entry>, CertificateTableError> {
    let mut entries = Vec::new();
    for chunk in table.chunks_exact(ENTRY) {
        if chunk.iter().all(|&byte| byte == 0) {
            return Ok(entries);
        }
        if entries.len() == MAX_ENTRIES {
            return Err(CertificateTableError::Entries);
        }
        let index = entries.len();
        let (guid, rest) = chunk.split_first_chunk::<16>().ok_or(CertificateTableError::NoEnd)?;
        let (offset, rest) = rest.split_first_chunk::<4>().ok_or(CertificateTableError::NoEnd)?;
        let length = rest.first_chunk::<4>().ok_or(CertificateTableError::NoEnd)?;
        let start = u32::from_le_bytes(*offset) as usize;
        let end = start
            .checked_add(u32::from_le_bytes(*length) as usize)
            .ok_or(CertificateTableError::Range { index })?;
        entries.push((*guid, start..end));
    }
    Err(CertificateTableError::NoEnd)
}

/// One SEQUENCE with a length in two octets (every certificate with an RSA-4096 signature has one), of exactly these bytes.
fn is_der_sequence(bytes: &[u8]) -> bool {
    match bytes {
        [0x30, 0x82, high, low, rest @ ..] => rest.len() == usize::from(u16::from_be_bytes([*high, *low])),
        _ => false,
    }
}

const fn hex16(value: u128) -> [u8; 16] {
    value.to_be_bytes()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A table of these certificates, laid out as hosts do.
    fn table(certificates: &[([u8; 16], &[u8])]) -> Vec<u8> {
        let mut head = Vec::new();
        let mut body = Vec::new();
        let start = (certificates.len() + 1) * ENTRY;
        for (guid, bytes) in certificates {
            head.extend(guid);
            head.extend(u32::try_from(start + body.len()).unwrap().to_le_bytes());
            head.extend(u32::try_from(bytes.len()).unwrap().to_le_bytes());
            body.extend(*bytes);
        }
        head.extend([0; ENTRY]);
        [head, body].concat()
    }

    pub(crate) fn vcek(certificate: &[u8]) -> Vec<u8> {
        table(&[(VCEK, certificate)])
    }

    pub(crate) fn both(vcek: &[u8], vlek: &[u8]) -> Vec<u8> {
        table(&[(VCEK, vcek), (VLEK, vlek)])
    }

    fn der(fill: u8, len: u16) -> Vec<u8> {
        [&[0x30, 0x82], &len.to_be_bytes()[..], &vec![fill; usize::from(len)]].concat()
    }

    fn good() -> Vec<u8> {
        table(&[
            (VLEK, &der(1, 300)),
            (VCEK, &der(2, 400)),
            (ASK, &der(3, 500)),
            (ARK, &der(4, 600)),
            ([9; 16], b"Google's launch endorsement is not DER"),
        ])
    }

    fn code(table: &[u8]) -> &'static str {
        CertificateTable::parse(table).err().map_or("none", |e| e.code())
    }

    #[test]
    fn the_two_that_are_used_are_found() {
        let mut padded = good();
        padded.resize(16 * 1024, 0);
        for bytes in [good(), padded] {
            let found = CertificateTable::parse(&bytes).unwrap();
            assert_eq!((found.vlek, found.vcek), (Some(der(1, 300)), Some(der(2, 400))));
        }
    }

    #[test]
    fn the_guid_has_the_order_in_which_it_is_written() {
        assert_eq!(hex::encode(VCEK), "63da758de6644564adc5f4b93be8accd");
        assert_eq!(hex::encode(VLEK), "a8074bc2a25a483eaae639c045a0b8a1");
        // In the mixed order it is a certificate of nobody that we know.
        let mixed = hex16(0x8d75_da63_64e6_6445_adc5_f4b9_3be8_accd);
        assert_eq!(
            CertificateTable::parse(&table(&[(mixed, &der(1, 300))])),
            Ok(CertificateTable::default())
        );
    }

    #[test]
    fn no_table_has_no_certificates() {
        for empty in [&[][..], &[0; 16384], &[0; 7]] {
            assert_eq!(CertificateTable::parse(empty), Ok(CertificateTable::default()));
        }
    }

    #[test]
    fn one_mistake_each_has_its_code() {
        let edit = |at: usize, value: u32| {
            let mut table = good();
            table[at..at + 4].copy_from_slice(&value.to_le_bytes());
            table
        };
        let start = 6 * 24;
        let len = u32::try_from(good().len()).unwrap();
        assert_eq!(code(&good()), "none");
        assert_eq!(code(&good()[..5 * 24]), "attester.certificates.no-end");
        assert_eq!(code(&good()[..24]), "attester.certificates.no-end");
        assert_eq!(code(&table(&vec![([8; 16], &b"x"[..]); 33])), "attester.certificates.entries");
        assert_eq!(code(&edit(16, start - 1)), "attester.certificates.range");
        assert_eq!(code(&edit(16, len)), "attester.certificates.range");
        assert_eq!(code(&edit(16, u32::MAX)), "attester.certificates.range");
        assert_eq!(code(&edit(20, 0)), "attester.certificates.range");
        assert_eq!(code(&edit(20, u32::MAX)), "attester.certificates.range");
        // Also of an entry that is not read.
        assert_eq!(code(&edit(4 * 24 + 20, len)), "attester.certificates.range");
        assert_eq!(code(&edit(24 + 16, start)), "attester.certificates.overlap");
        assert_eq!(code(&edit(20, 303)), "attester.certificates.not-der");
        assert_eq!(code(&table(&[(VCEK, b"-----BEGIN CERTIFICATE-----")])), "attester.certificates.not-der");
        assert_eq!(
            code(&table(&[(ARK, &der(1, 300)), (ARK, &der(1, 300))])),
            "attester.certificates.duplicate"
        );
    }

    #[test]
    fn every_cut_is_refused_or_the_certificate_is_whole() {
        let whole = vcek(&der(2, 400));
        for len in 1..whole.len() {
            assert!(CertificateTable::parse(&whole[..len]).is_err(), "{len}");
        }
    }
}
