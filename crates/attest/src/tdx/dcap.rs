//! The DCAP library (crate `dcap-qvl`): signatures, the quoting enclave's identity and the TCB level. It answers in words;
//! this file gives the words a name and a rule.

use dcap_qvl::config::{Config, CryptoProvider};
use dcap_qvl::signature::DerSigEncoder;
use dcap_qvl::verify::{QuoteVerifier, VerifiedReport};
use dcap_qvl::x509::X509CertBackend;
use rustls_pki_types::SignatureVerificationAlgorithm;

use super::attributes;
use super::collateral::Collateral;
use super::quote::Quote;
use super::reject::TdxRejection;
use crate::crypto;
use crate::time::UnixTime;

/// The rule that a refusal belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// TDX-06.
    Signature,
    /// TDX-07.
    TcbLevel,
    /// TDX-08.
    Attributes,
}

/// The library's own readers of certificates and signatures, over this crate's cryptography.
pub(crate) struct Dcap;

impl Config for Dcap {
    type X509 = X509CertBackend;
    type SigEncoder = DerSigEncoder;
    type Crypto = Self;
}

impl CryptoProvider for Dcap {
    fn sig_algo() -> &'static dyn SignatureVerificationAlgorithm {
        crypto::ECDSA_P256
    }

    fn sha256(data: &[u8]) -> [u8; 32] {
        crypto::sha256(data)
    }

    fn sha384(data: &[u8]) -> [u8; 48] {
        crypto::sha384(data)
    }
}

/// Debug and service TDs are let through, and nothing is asked of the status: rules TDX-10 and on are this crate's own. What else
/// Intel signed is read in collateral.rs, from the very bytes whose signature is verified here.
pub(crate) fn verify(
    quote: &Quote,
    collateral: &Collateral,
    root_der: &[u8],
    now: UnixTime,
) -> Result<VerifiedReport, (Stage, TdxRejection)> {
    let claims = QuoteVerifier::<Dcap>::new_with_config(root_der.to_vec())
        .allow_debug(true)
        .allow_service_td(true)
        .verify(quote.unpadded(), &collateral.whole, now.0)
        .map_err(|error| classify(&format!("{error:#}"), quote.td_attributes()))?;
    if !reads_alike(quote, &claims) {
        return Err((Stage::Signature, TdxRejection::Reading));
    }
    Ok(claims)
}

/// Every field that a rule looks at.
fn reads_alike(quote: &Quote, claims: &VerifiedReport) -> bool {
    let (Some(td), td15) = (claims.report.as_td10(), claims.report.as_td15()) else {
        return false;
    };
    td.tee_tcb_svn == quote.tee_tcb_svn()
        && td.mr_seam == quote.mr_seam()
        && td.mr_signer_seam == quote.mr_signer_seam()
        && u64::from_le_bytes(td.seam_attributes) == quote.seam_attributes()
        && u64::from_le_bytes(td.td_attributes) == quote.td_attributes()
        && u64::from_le_bytes(td.xfam) == quote.xfam()
        && td.mr_td == quote.mr_td()
        && td.mr_config_id == quote.mr_config_id()
        && td.mr_owner == quote.mr_owner()
        && td.mr_owner_config == quote.mr_owner_config()
        && [td.rt_mr0, td.rt_mr1, td.rt_mr2, td.rt_mr3] == quote.rtmrs()
        && td.report_data == quote.report_data()
        && td15.map(|td15| td15.tee_tcb_svn2) == quote.tee_tcb_svn2()
        && td15.map(|td15| td15.mr_service_td) == quote.mr_service_td()
}

/// The library's words, as of 0.7.1. Words that are not known are a refusal without a closer name, never an acceptance.
fn classify(words: &str, td_attributes: u64) -> (Stage, TdxRejection) {
    let has = |part: &str| words.contains(part);
    let detail = words.to_owned();
    if has("Signature is invalid for tcb_info") {
        (Stage::Signature, TdxRejection::Signature { what: "TCB info" })
    } else if has("Signature is invalid for qe_identity") {
        (Stage::Signature, TdxRejection::Signature { what: "QE identity" })
    } else if has("Signature is invalid for qe_report") {
        (Stage::Signature, TdxRejection::Signature { what: "QE report" })
    } else if has("UnknownIssuer") || has("InvalidSignatureForPublicKey") || has("UnknownRevocationStatus") {
        (Stage::Signature, TdxRejection::Signature { what: "a certificate or revocation list" })
    } else if has("ISV enclave report signature is invalid") {
        (Stage::Signature, TdxRejection::QuoteSignature)
    } else if has("QE report hash mismatch") {
        (Stage::Signature, TdxRejection::QeBinding)
    } else if has("No matching TCB level found")
        || has("below minimum required")
        || has("No matching QE TCB level")
    {
        (Stage::TcbLevel, TdxRejection::TcbUnknown)
    } else if has("TCB status is invalid: Revoked") {
        (Stage::TcbLevel, TdxRejection::TcbRevoked)
    } else if has("TDX module") {
        (Stage::TcbLevel, TdxRejection::Module { detail })
    } else if has("QE ") {
        (Stage::Signature, TdxRejection::QeIdentity { detail })
    } else if has("Reserved bits in TD attributes are set") {
        let reserved = attributes::reserved(td_attributes);
        (Stage::Attributes, TdxRejection::AttributesReserved { reserved })
    } else if has("TD migration is enabled") {
        (Stage::Attributes, TdxRejection::Migratable)
    } else if has("SERVTD_EXT is enabled") {
        (Stage::Attributes, TdxRejection::ServiceTdUnnamed)
    } else if has("SEPT_VE_DISABLE is not enabled") {
        (Stage::Attributes, TdxRejection::SeptVe)
    } else {
        (Stage::Signature, TdxRejection::Dcap { detail })
    }
}

#[cfg(test)]
mod tests;
