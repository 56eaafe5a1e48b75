//! TDX-06: who said what. From Intel's root to the lists, to TCB info and QE identity, to the PCK certificate, to the quoting
//! enclave, to the quote. Source: Intel SGX DCAP quote verification, as `dcap-qvl` does it; the test `differential` compares.

use core::time::Duration;

use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, UnixTime as WebpkiTime, alg_id};
use webpki::{BorrowedCertRevocationList, CertRevocationList, EndEntityCert, KeyUsage as Purpose};

use super::collateral::{Collateral, Published, Signed};
use super::list::List;
use super::qe::QeReport;
use super::quote::Quote;
use super::reject::TdxRejection;
use crate::chain;
use crate::crypto;
use crate::der;
use crate::time::UnixTime;
use crate::x509::{Certificate, KeyUsage};

/// The one algorithm of Intel's certificates and lists.
static ALGORITHMS: &[&dyn SignatureVerificationAlgorithm] = &[crypto::ECDSA_P256];

/// What is found when a path, or the issuer of a list, does not lead to the root.
const PATH: TdxRejection = TdxRejection::Signature { what: "a certificate or revocation list" };

/// Intel signed the collateral. Nothing here depends on a quote; dates and revocation are rules of their own, which are
/// applied each time.
pub(crate) fn published(
    collateral: &Published,
    root: &Certificate,
    now: UnixTime,
) -> Result<(), TdxRejection> {
    let list = &collateral.root_list;
    if !is_signed(list, &root.spki) {
        return Err(refused("the root CA CRL is not signed by the root"));
    }
    complete(list)?;
    complete(&collateral.pck_list)?;
    if list.issuer != root.subject {
        return Err(PATH);
    }
    let signer = document(&collateral.tcb_info, None, "TCB info", root, now)?;
    document(&collateral.qe_identity, Some(signer), "QE identity", root, now).map(drop)
}

/// The platform's PCK certificate, the quoting enclave and its attestation key are whose they say, and that key signed the
/// quote.
pub(crate) fn quote(
    quote: &Quote,
    collateral: &Collateral,
    root: &Certificate,
    now: UnixTime,
) -> Result<QeReport, TdxRejection> {
    let leaf = collateral.pck_chain.first().ok_or(PATH)?;
    let [authority] = path(&collateral.pck_chain, root, now)?[..] else { return Err(PATH) };
    let list = &collateral.published.pck_list;
    if list.issuer != authority.subject {
        return Err(PATH);
    }
    if matches!(authority.key_usage, KeyUsage::Present { crl_sign: false, .. }) {
        return Err(refused("the issuer of the PCK certificate may not sign revocation lists"));
    }
    if !is_signed(list, &authority.spki) {
        return Err(refused("the PCK CRL is not signed by the issuer of the PCK certificate"));
    }

    let parts = quote.authentication().ok_or(TdxRejection::QuoteSignature)?;
    let is_by_the_platform =
        key(leaf).is_some_and(|key| crypto::verify_p256_sha256(key, parts.qe_report, parts.qe_signature));
    if !is_by_the_platform {
        return Err(TdxRejection::Signature { what: "QE report" });
    }
    let report = QeReport::of(parts.qe_report);
    if crypto::sha256(&[parts.key.as_slice(), parts.qe_authentication].concat()) != report.bound {
        return Err(TdxRejection::QeBinding);
    }
    collateral.published.qe.names(&report)?;

    let mut attestation_key = [0x04; 65];
    attestation_key.iter_mut().skip(1).zip(parts.key).for_each(|(target, source)| *target = *source);
    if !crypto::verify_p256_sha256(&attestation_key, quote.signed(), parts.signature) {
        return Err(TdxRejection::QuoteSignature);
    }
    Ok(report)
}

/// The root issued the signer, and the signer's key signed the text. Returns the signer.
fn document<'a>(
    document: &'a Signed,
    same_signer: Option<&'a Certificate>,
    what: &'static str,
    root: &Certificate,
    now: UnixTime,
) -> Result<&'a Certificate, TdxRejection> {
    let signer = match (document.chain.first(), same_signer) {
        (Some(signer), _) => {
            if !path(&document.chain, root, now)?.is_empty() {
                return Err(refused("the signer of a document must be issued by the root itself"));
            }
            signer
        }
        (None, Some(signer)) => signer,
        (None, None) => return Err(PATH),
    };
    let signature = document.signature.as_slice().try_into().ok();
    let valid = key(signer)
        .zip(signature)
        .is_some_and(|(key, signature)| crypto::verify_p256_sha256(key, document.text.as_bytes(), signature));
    if valid { Ok(signer) } else { Err(TdxRejection::Signature { what }) }
}

/// Validates the path from the root to the first certificate (RFC 5280), and returns those between them, from below.
fn path<'a>(
    chain: &'a [Certificate],
    root: &Certificate,
    now: UnixTime,
) -> Result<Vec<&'a Certificate>, TdxRejection> {
    let root_der = CertificateDer::from(root.der.as_slice());
    let anchors = [webpki::anchor_from_trusted_cert(&root_der).map_err(path_error)?];
    let chain_der: Vec<_> = chain.iter().map(|one| CertificateDer::from(one.der.as_slice())).collect();
    let (leaf, others) = chain_der.split_first().ok_or(PATH)?;
    let leaf = EndEntityCert::try_from(leaf).map_err(path_error)?;
    let time = WebpkiTime::since_unix_epoch(Duration::from_secs(now.0));
    let purpose = Purpose::server_auth();
    let found =
        leaf.verify_for_usage(ALGORITHMS, &anchors, others, time, purpose, None, None).map_err(path_error)?;
    let named = |der: CertificateDer<'_>| chain.iter().find(|one| one.der == der.as_ref());
    found.intermediate_certificates().map(|one| named(one.der()).ok_or(PATH)).collect()
}

fn path_error(error: webpki::Error) -> TdxRejection {
    match error {
        webpki::Error::UnknownIssuer | webpki::Error::InvalidSignatureForPublicKey => PATH,
        other => refused(&format!("a certificate path is not valid: {other:?}")),
    }
}

fn is_signed(list: &List, spki: &[u8]) -> bool {
    der::signed(&list.der).is_some_and(|signed| chain::is_signed_with(ALGORITHMS, &signed, spki))
}

/// Version 2, and for every certificate of its issuer.
fn complete(list: &List) -> Result<(), TdxRejection> {
    let list = BorrowedCertRevocationList::from_der(&list.der)
        .map_err(|error| refused(&format!("a revocation list is not valid: {error:?}")))?;
    match CertRevocationList::from(list).issuing_distribution_point() {
        None => Ok(()),
        Some(_) => Err(PATH),
    }
}

fn key(certificate: &Certificate) -> Option<&[u8; 65]> {
    let (algorithm, key) = der::public_key(&certificate.spki)?;
    if algorithm == alg_id::ECDSA_P256.as_ref() { key.try_into().ok() } else { None }
}

fn refused(detail: &str) -> TdxRejection {
    TdxRejection::Dcap { detail: detail.to_owned() }
}
