//! What NVIDIA's responder is asked: one certificate at a time (rules NV-05 and RIM-04). Nothing is asked here.

use super::evidence::{DeviceChain, GpuEvidence};
use super::genuine::PROFILE;
use super::manifest::{ManifestError, Signed};
use crate::crypto;
use crate::endorse::Dated;
use crate::ocsp::{self, Answers, OcspError, OcspResponse};
use crate::time::UnixTime;
use crate::x509::Certificate;

/// Whether one certificate is revoked: the question, and whether an answer answers it.
#[derive(Debug, Clone)]
pub struct OcspQuestion {
    subject: Certificate,
    issuer: Certificate,
    certificate_id: Vec<u8>,
}

impl OcspQuestion {
    fn new(subject: &Certificate, issuer: &Certificate) -> Option<Self> {
        let certificate_id = ocsp::certificate_id(subject, issuer)?;
        Some(Self { subject: subject.clone(), issuer: issuer.clone(), certificate_id })
    }

    /// The certificate's common name.
    pub fn certificate(&self) -> &str {
        &self.subject.subject_cn
    }

    /// SHA-256 of the CertID: the same for the same certificate, whoever asks.
    pub fn id(&self) -> [u8; 32] {
        crypto::sha256(&self.certificate_id)
    }

    /// The request, DER, with this nonce or without. A nonce has 1 to 128 octets (RFC 9654 §2.1).
    pub fn request(&self, nonce: Option<&[u8]>) -> Vec<u8> {
        ocsp::request(&self.certificate_id, nonce)
    }

    /// From when until when this answer clears the certificate, or holds it (spec/attest.md §14.7). That the issuer is
    /// NVIDIA's is the caller's to have verified.
    ///
    /// # Errors
    /// Where the answer is of another certificate, not the issuer's word, out of date, or does not clear it.
    pub fn check(&self, answer: &OcspResponse, now: UnixTime) -> Result<Dated, OcspError> {
        let answers = Answers::read(core::slice::from_ref(answer))?;
        let cleared = answers.about(&self.subject, &self.issuer, &PROFILE, now)?;
        Ok(Dated { from: cleared.this_update, until: cleared.next_update })
    }
}

impl GpuEvidence {
    /// What must be asked about the device's certificates (NV-05), the root's child first. They are believed by nobody
    /// before [`super::verify_gpu`] said that they are NVIDIA's.
    pub fn questions(&self) -> Vec<OcspQuestion> {
        let DeviceChain { device, provisioner, identity, sent_root, .. } = &self.chain;
        questions([(identity, sent_root), (provisioner, identity), (device, provisioner)])
    }
}

/// What must be asked about the certificates of a manifest's signer (RIM-04), the root's child first. They are believed by
/// nobody before [`super::Manifest::verify`] said that they are NVIDIA's.
///
/// # Errors
/// Where the document is not of the shape of a manifest (RIM-01).
pub fn manifest_questions(document: &[u8]) -> Result<Vec<OcspQuestion>, ManifestError> {
    let Signed { leaf, issuers: [inner, outer], sent_root, .. } = Signed::read(document)?;
    Ok(questions([(&outer, &sent_root), (&inner, &outer), (&leaf, &inner)]))
}

/// A key that cannot be read is no issuer's: what it is said to have issued is refused without an answer.
fn questions(pairs: [(&Certificate, &Certificate); 3]) -> Vec<OcspQuestion> {
    pairs.into_iter().filter_map(|(subject, issuer)| OcspQuestion::new(subject, issuer)).collect()
}
