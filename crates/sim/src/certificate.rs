//! Certificates and revocation lists in the form of AMD's (AMD 57230, RFC 5280, RFC 4055).

use aws_lc_rs::digest::{SHA256, digest};
use casemate_attest::UnixTime;

use crate::ORGANIZATION;
use crate::asn1::{
    BOOLEAN, IA5_STRING, NULL, OCTET_STRING, PRINTABLE_STRING, SET, UTF8_STRING, bit_string, bits,
    constructed, context, integer, oid, sequence, time, tlv,
};
use crate::error::SimError;
use crate::keys::RsaKey;
use crate::mistakes::{PssParameters, VekExtension};
use crate::report::Tcb;

const RSASSA_PSS: &[u32] = &[1, 2, 840, 113549, 1, 1, 10];
const MGF1: &[u32] = &[1, 2, 840, 113549, 1, 1, 8];
const SHA256_OID: &[u32] = &[2, 16, 840, 1, 101, 3, 4, 2, 1];
const SHA384_OID: &[u32] = &[2, 16, 840, 1, 101, 3, 4, 2, 2];

const COMMON_NAME: &[u32] = &[2, 5, 4, 3];
const COUNTRY: &[u32] = &[2, 5, 4, 6];
const LOCALITY: &[u32] = &[2, 5, 4, 7];
const STATE: &[u32] = &[2, 5, 4, 8];
const ORGANIZATION_NAME: &[u32] = &[2, 5, 4, 10];
const ORGANIZATIONAL_UNIT: &[u32] = &[2, 5, 4, 11];

const SUBJECT_KEY_IDENTIFIER: &[u32] = &[2, 5, 29, 14];
const KEY_USAGE: &[u32] = &[2, 5, 29, 15];
const BASIC_CONSTRAINTS: &[u32] = &[2, 5, 29, 19];
const CRL_NUMBER: &[u32] = &[2, 5, 29, 20];
const CRL_DISTRIBUTION_POINTS: &[u32] = &[2, 5, 29, 31];
const AUTHORITY_KEY_IDENTIFIER: &[u32] = &[2, 5, 29, 35];

/// AMD's arc for VEK certificates.
const AMD_VEK: &[u32] = &[1, 3, 6, 1, 4, 1, 3704, 1];

/// Key usage bits, as the first byte of the BIT STRING.
pub(crate) const KEY_CERT_SIGN: u8 = 0x04;
/// See [`KEY_CERT_SIGN`].
pub(crate) const CRL_SIGN: u8 = 0x02;

/// Version 3 of a certificate, version 2 of a revocation list: one less on the wire.
const CERTIFICATE_V3: u64 = 2;
const CRL_V2: u64 = 1;

/// Which RSASSA-PSS parameters stand in an AlgorithmIdentifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Algorithm {
    /// SHA-384, salt 48.
    Sha384(PssParameters),
    /// SHA-256, salt 32: test material.
    Sha256,
}

/// A validity window, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) not_before: UnixTime,
    pub(crate) not_after: UnixTime,
}

/// What a certificate says, before it is signed.
pub(crate) struct Tbs {
    pub(crate) serial: u64,
    pub(crate) algorithm: Algorithm,
    pub(crate) issuer: Vec<u8>,
    pub(crate) window: Window,
    pub(crate) subject: Vec<u8>,
    pub(crate) key_info: Vec<u8>,
    pub(crate) extensions: Vec<Vec<u8>>,
}

impl Tbs {
    /// Signs and encloses; `outer` is the AlgorithmIdentifier beside the signature, normally the inner one.
    pub(crate) fn sign(&self, key: &RsaKey, outer: Algorithm) -> Result<Vec<u8>, SimError> {
        let window = sequence(&[time(self.window.not_before)?, time(self.window.not_after)?]);
        let tbs = sequence(&[
            constructed(context(0), &[integer(CERTIFICATE_V3)]),
            integer(self.serial),
            algorithm_identifier(self.algorithm),
            self.issuer.clone(),
            window,
            self.subject.clone(),
            self.key_info.clone(),
            constructed(context(3), &[sequence(&self.extensions)]),
        ]);
        enclose(tbs, key, outer)
    }
}

/// What a revocation list says, before it is signed.
pub(crate) struct TbsCrl {
    pub(crate) issuer: Vec<u8>,
    pub(crate) this_update: UnixTime,
    /// RFC 5280 demands one; `None` is test material.
    pub(crate) next_update: Option<UnixTime>,
    pub(crate) revoked: Vec<u64>,
    pub(crate) authority_key_info: Vec<u8>,
    pub(crate) number: u64,
}

impl TbsCrl {
    pub(crate) fn sign(&self, key: &RsaKey) -> Result<Vec<u8>, SimError> {
        let algorithm = Algorithm::Sha384(PssParameters::Implicit);
        let mut fields = vec![
            integer(CRL_V2),
            algorithm_identifier(algorithm),
            self.issuer.clone(),
            time(self.this_update)?,
        ];
        if let Some(next_update) = self.next_update {
            fields.push(time(next_update)?);
        }
        if !self.revoked.is_empty() {
            let at = time(self.this_update)?;
            let entries: Vec<Vec<u8>> =
                self.revoked.iter().map(|serial| sequence(&[integer(*serial), at.clone()])).collect();
            fields.push(sequence(&entries));
        }
        let extensions = [
            authority_key_identifier(&self.authority_key_info),
            extension(CRL_NUMBER, false, &integer(self.number)),
        ];
        fields.push(constructed(context(0), &[sequence(&extensions)]));
        enclose(sequence(&fields), key, algorithm)
    }
}

/// The name of AMD's scheme with this common name and the simulator's organization.
pub(crate) fn name(common_name: &str) -> Vec<u8> {
    let attribute = |kind: &[u32], tag: u8, value: &str| {
        constructed(SET, &[sequence(&[oid(kind), tlv(tag, value.as_bytes())])])
    };
    sequence(&[
        attribute(ORGANIZATIONAL_UNIT, UTF8_STRING, "Engineering"),
        attribute(COUNTRY, PRINTABLE_STRING, "US"),
        attribute(LOCALITY, UTF8_STRING, "Santa Clara"),
        attribute(STATE, UTF8_STRING, "CA"),
        attribute(ORGANIZATION_NAME, UTF8_STRING, ORGANIZATION),
        attribute(COMMON_NAME, UTF8_STRING, common_name),
    ])
}

/// Extensions of an ASK or ASVK, in AMD's order.
pub(crate) fn issuer_extensions(
    key_info: &[u8],
    ark_key_info: &[u8],
    authority: bool,
    usage: u8,
    crl_url: &str,
) -> Vec<Vec<u8>> {
    vec![
        subject_key_identifier(key_info),
        authority_key_identifier(ark_key_info),
        basic_constraints(authority, Some(0)),
        key_usage(usage),
        crl_distribution_point(crl_url),
    ]
}

/// Extensions of an ARK, in AMD's order.
pub(crate) fn ark_extensions(key_info: &[u8], authority: bool, usage: u8, crl_url: &str) -> Vec<Vec<u8>> {
    vec![
        key_usage(usage),
        subject_key_identifier(key_info),
        basic_constraints(authority, None),
        crl_distribution_point(crl_url),
    ]
}

/// Basic constraints; a certificate that is no authority carries none of the two fields.
pub(crate) fn basic_constraints(authority: bool, path_length: Option<u64>) -> Vec<u8> {
    let mut fields = Vec::new();
    if authority {
        fields.push(tlv(BOOLEAN, &[0xff]));
        fields.extend(path_length.map(integer));
    }
    extension(BASIC_CONSTRAINTS, true, &sequence(&fields))
}

/// What a VEK certificate says about the machine.
pub(crate) struct VekFacts<'a> {
    /// Whether the line has the FMC component, and with it Turin's order of extensions.
    pub(crate) has_fmc: bool,
    pub(crate) product_name: &'a str,
    pub(crate) tcb: Tcb,
    /// VCEK: the chip; VLEK: nothing.
    pub(crate) hwid: Option<&'a [u8]>,
    /// VLEK: the cloud provider; VCEK: nothing.
    pub(crate) csp_id: Option<&'a str>,
}

impl VekFacts<'_> {
    /// The extensions in the order of AMD's certificates: Turin has FMC first and no reserved SPL 4.
    pub(crate) fn extensions(
        &self,
        missing: Option<VekExtension>,
        repeated: Option<VekExtension>,
    ) -> Vec<Vec<u8>> {
        let spl = |value: u8| integer(u64::from(value));
        // Each with the arc below AMD_VEK, its value, and the name under which a test may drop or repeat it.
        let mut all: Vec<(&[u32], Vec<u8>, Option<VekExtension>)> = vec![
            (&[1], integer(u64::from(self.has_fmc)), Some(VekExtension::StructVersion)),
            (&[2], tlv(IA5_STRING, self.product_name.as_bytes()), Some(VekExtension::ProductName)),
        ];
        if self.has_fmc {
            all.push((&[3, 9], spl(self.tcb.fmc), Some(VekExtension::Fmc)));
        }
        all.push((&[3, 1], spl(self.tcb.bootloader), Some(VekExtension::Bootloader)));
        all.push((&[3, 2], spl(self.tcb.tee), Some(VekExtension::Tee)));
        if self.has_fmc {
            all.push((&[3, 3], spl(self.tcb.snp), Some(VekExtension::Snp)));
            all.extend([&[3, 5], &[3, 6], &[3, 7]].map(|arc: &[u32; 2]| (&arc[..], spl(0), None)));
        } else {
            all.extend([&[3, 4], &[3, 5], &[3, 6], &[3, 7]].map(|arc: &[u32; 2]| (&arc[..], spl(0), None)));
            all.push((&[3, 3], spl(self.tcb.snp), Some(VekExtension::Snp)));
        }
        all.push((&[3, 8], spl(self.tcb.microcode), Some(VekExtension::Microcode)));
        if let Some(hwid) = self.hwid {
            // The extension's value is the bare identifier, not an OCTET STRING around it.
            all.push((&[4], hwid.to_vec(), Some(VekExtension::Hwid)));
        }
        if let Some(csp_id) = self.csp_id {
            all.push((&[5], tlv(IA5_STRING, csp_id.as_bytes()), Some(VekExtension::CspId)));
        }

        let mut out = Vec::new();
        for (arc, value, which) in all {
            if which.is_some() && which == missing {
                continue;
            }
            let encoded = extension(&[AMD_VEK, arc].concat(), false, &value);
            if which.is_some() && which == repeated {
                out.push(encoded.clone());
            }
            out.push(encoded);
        }
        out
    }
}

/// A critical extension under an arc that means nothing (2.999 is reserved for examples).
pub(crate) fn unknown_critical_extension() -> Vec<u8> {
    extension(&[2, 999, 1], true, &tlv(NULL, &[]))
}

/// The AlgorithmIdentifier of RSASSA-PSS (RFC 4055 section 3.1).
fn algorithm_identifier(algorithm: Algorithm) -> Vec<u8> {
    let (hash, salt) = match algorithm {
        Algorithm::Sha384(_) => (SHA384_OID, 48),
        Algorithm::Sha256 => (SHA256_OID, 32),
    };
    let hash = sequence(&[oid(hash), tlv(NULL, &[])]);
    let mut parameters = vec![
        constructed(context(0), &[&hash]),
        constructed(context(1), &[sequence(&[&oid(MGF1), &hash])]),
        constructed(context(2), &[integer(salt)]),
    ];
    if algorithm == Algorithm::Sha384(PssParameters::Explicit) {
        parameters.push(constructed(context(3), &[integer(1)]));
    }
    sequence(&[oid(RSASSA_PSS), sequence(&parameters)])
}

/// SEQUENCE { what is signed, algorithm, signature }.
fn enclose(tbs: Vec<u8>, key: &RsaKey, outer: Algorithm) -> Result<Vec<u8>, SimError> {
    let signature = match outer {
        Algorithm::Sha384(_) => key.sign(&tbs)?,
        Algorithm::Sha256 => key.sign_sha256(&tbs)?,
    };
    Ok(sequence(&[tbs, algorithm_identifier(outer), bit_string(&signature)]))
}

fn extension(arcs: &[u32], critical: bool, value: &[u8]) -> Vec<u8> {
    let mut fields = vec![oid(arcs)];
    if critical {
        fields.push(tlv(BOOLEAN, &[0xff]));
    }
    fields.push(tlv(OCTET_STRING, value));
    sequence(&fields)
}

/// Key usage. AMD always counts one unused bit, although DER would drop the zero before it where the lowest usage is
/// keyCertSign.
fn key_usage(usage: u8) -> Vec<u8> {
    extension(KEY_USAGE, true, &bits(&[usage], 1))
}

fn subject_key_identifier(key_info: &[u8]) -> Vec<u8> {
    extension(SUBJECT_KEY_IDENTIFIER, false, &tlv(OCTET_STRING, &key_identifier(key_info)))
}

fn authority_key_identifier(key_info: &[u8]) -> Vec<u8> {
    let implicit_octets = 0x80;
    let identifier = tlv(implicit_octets, &key_identifier(key_info));
    extension(AUTHORITY_KEY_IDENTIFIER, false, &sequence(&[identifier]))
}

/// One distribution point with one URL: SEQUENCE OF SEQUENCE { [0] distributionPoint { [0] fullName { [6] URI } } }.
fn crl_distribution_point(url: &str) -> Vec<u8> {
    let implicit_uri = 0x86;
    let full_name = constructed(context(0), &[tlv(implicit_uri, url.as_bytes())]);
    let point = sequence(&[constructed(context(0), &[full_name])]);
    extension(CRL_DISTRIBUTION_POINTS, false, &sequence(&[point]))
}

/// Twenty bytes that identify a key (RFC 7093 section 2, method 4, truncated as in method 1).
fn key_identifier(key_info: &[u8]) -> Vec<u8> {
    digest(&SHA256, key_info).as_ref().iter().copied().take(20).collect()
}
