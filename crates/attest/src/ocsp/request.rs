//! OCSPRequest in DER (RFC 6960 §4.1.1), about one certificate.
//!
//! ```text
//! OCSPRequest  SEQUENCE { TBSRequest }
//! TBSRequest   SEQUENCE { SEQUENCE { SEQUENCE { CertID } }, [2] { SEQUENCE { nonce } } OPTIONAL }
//! CertID       SEQUENCE { { sha384, NULL }, issuerNameHash, issuerKeyHash, serialNumber }
//! nonce        SEQUENCE { OID id-pkix-ocsp-nonce, OCTET STRING { OCTET STRING } }
//! ```

use super::response::{NONCE, SHA384};
use crate::crypto;
use crate::der::{self, INTEGER, OBJECT_IDENTIFIER, OCTET_STRING, SEQUENCE};
use crate::x509::Certificate;

/// `[2]`, constructed.
const EXTENSIONS: u8 = 0xa2;
const NULL: [u8; 2] = [0x05, 0x00];

/// The CertID of a certificate of this issuer, with SHA-384: NVIDIA's responder answers in the hash that it was asked in,
/// and an answer in SHA-1 counts for nobody here. `None` where the issuer's key cannot be read.
pub(crate) fn certificate_id(subject: &Certificate, issuer: &Certificate) -> Option<Vec<u8>> {
    let (_, key) = der::public_key(&issuer.spki)?;
    let parts = [
        der::element(SEQUENCE, &[SHA384, &NULL]),
        der::element(OCTET_STRING, &[&crypto::sha384(&issuer.subject)]),
        der::element(OCTET_STRING, &[&crypto::sha384(key)]),
        der::element(INTEGER, &[&subject.serial]),
    ];
    Some(der::element(SEQUENCE, &[&parts.concat()]))
}

/// The request for one CertID, with this nonce (RFC 9654: 1 to 128 octets) or without.
pub(crate) fn request(certificate_id: &[u8], nonce: Option<&[u8]>) -> Vec<u8> {
    let one = |content: &[u8]| der::element(SEQUENCE, &[content]);
    let list = one(&one(certificate_id));
    let extensions = nonce.map_or_else(Vec::new, |nonce| {
        let value = der::element(OCTET_STRING, &[&der::element(OCTET_STRING, &[nonce])]);
        let extension = der::element(SEQUENCE, &[&der::element(OBJECT_IDENTIFIER, &[NONCE]), &value]);
        der::element(EXTENSIONS, &[&one(&extension)])
    });
    one(&der::element(SEQUENCE, &[&list, &extensions]))
}
