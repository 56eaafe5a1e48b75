//! Version 2: `{"format":"https://tinfoil.sh/predicate/sev-snp-guest/v2","body":"base64 of gzip of the report"}`, and the
//! bundle around it.

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde_json::{Map, Value};

use super::{SNP_V2, TDX_V2, Tinfoil, gzip, unknown, values};
use crate::bundle::error::BundleError;
use crate::bundle::members::Members;
use crate::bundle::refused::BundleDenial;
use crate::bundle::{BoundValue, Carried, Content, NotAsked, Opened};
use crate::checks::Finding;
use crate::crypto;
use crate::evidence::{Evidence, Platform};
use crate::x509::Certificate;

/// Longer evidence is not inflated: a report has 1184 bytes, and the longest recorded quote 8000.
const MAX_EVIDENCE: usize = 64 * 1024;

/// What the report data names, believed by nobody before the evidence is.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    report_data: [u8; 64],
    /// SHA-256 of the SubjectPublicKeyInfo of the certificate beside it.
    certificate: Option<[u8; 32]>,
}

/// A document by itself.
pub(super) fn open(members: Map<String, Value>) -> Result<Opened, BundleError> {
    document(Members::of(Value::Object(members), "the document")?)
}

/// A document with the certificates that a client needs, and with what says whose code it is.
pub(super) fn open_bundle(members: Map<String, Value>) -> Result<Opened, BundleError> {
    let mut members = Members::of(Value::Object(members), "the bundle")?;
    let mut opened = document(members.object("enclaveAttestationReport")?)?;
    if let Some(vek) = given(&mut members, "vcek")? {
        let vek = super::super::members::base64(&vek, "vcek")?;
        opened.carried = Some(Carried::Amd { vek, crl: None });
    }
    if let Some(pem) = given(&mut members, "enclaveCert")? {
        let Content::Tinfoil(Tinfoil::V2(keys)) = &mut opened.content else {
            return Err(BundleError::UnknownSystem);
        };
        keys.certificate = Some(certificate_key(&pem)?);
    }
    for (member, why) in [
        ("domain", "the name of a host is not bound to the evidence"),
        (
            "digest",
            "the digest of a release is an argument of the Sigstore bundle, which is not verified here",
        ),
        ("sigstoreBundle", "code provenance is not verified here: the policy names the measurements"),
    ] {
        if members.optional(member).is_some() {
            opened.not_asked.push(NotAsked { what: member.to_owned(), why });
        }
    }
    members.end()?;
    Ok(Opened { variant: "bundle of v2", ..opened })
}

fn document(mut members: Members) -> Result<Opened, BundleError> {
    let format = members.text("format")?;
    let (named, variant) = match format.as_str() {
        SNP_V2 => (Platform::SevSnp, "sev-snp-guest/v2"),
        TDX_V2 => (Platform::Tdx, "tdx-guest/v2"),
        other => return Err(unknown("format", other)),
    };
    let body = members.base64("body")?;
    members.end()?;
    let bytes = gzip::inflate(&body, MAX_EVIDENCE)
        .ok_or(BundleError::Gzip { member: "body", maximum: MAX_EVIDENCE })?;
    let evidence = Evidence::parse(&bytes)?;
    let report_data = match (named, evidence.snp(), evidence.tdx()) {
        (Platform::SevSnp, Some(report), _) => report.report_data(),
        (Platform::Tdx, _, Some(quote)) => quote.report_data(),
        _ => return Err(BundleError::Platform { named, found: evidence.platform() }),
    };
    Ok(Opened {
        variant,
        evidence,
        carried: None,
        event_log: None,
        devices: Vec::new(),
        device_nonce: None,
        nonce: None,
        content: Content::Tinfoil(Tinfoil::V2(Keys { report_data, certificate: None })),
        not_asked: Vec::new(),
    })
}

/// An empty text is how the bundle leaves a member out.
fn given(members: &mut Members, path: &'static str) -> Result<Option<String>, BundleError> {
    let value = members.optional(path).filter(|value| !value.is_null());
    let text = value.map(|value| crate::bundle::members::text(value, path)).transpose()?;
    Ok(text.filter(|text| !text.is_empty()))
}

fn certificate_key(pem: &str) -> Result<[u8; 32], BundleError> {
    let wrong = || BundleError::Encoding { member: "enclaveCert", expected: "one certificate in PEM" };
    let ders: Vec<_> =
        CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>().map_err(|_| wrong())?;
    let der = ders.first().ok_or_else(wrong)?;
    let certificate = Certificate::parse_unnamed(der).map_err(|_| wrong())?;
    Ok(crypto::sha256(&certificate.spki))
}

impl Keys {
    /// BUN-T02. No key is all zeros, and the certificate beside the evidence is of the key that it names.
    pub(super) fn named(&self) -> Result<(Vec<BoundValue>, Finding), BundleDenial> {
        let (tls, hpke) = self.report_data.split_at(32);
        if tls.iter().all(|octet| *octet == 0) {
            return Err(BundleDenial::NoKey { name: super::TLS });
        }
        let compared = match &self.certificate {
            None => "the TLS key by its digest",
            Some(certificate) if crypto::equal(certificate, tls) => "the TLS key is that of the certificate",
            Some(_) => return Err(BundleDenial::Value { member: "enclaveCert" }),
        };
        let hpke = hpke.iter().any(|octet| *octet != 0).then_some(hpke);
        Ok((values(tls, hpke), Finding::Pass(compared.to_owned())))
    }
}
