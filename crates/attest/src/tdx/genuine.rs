//! "Is it genuine?": rules TDX-01 to TDX-08, in this order (spec/attest.md §12).

use dcap_qvl::verify::VerifiedReport;

use super::attributes::{self, MIGRATABLE, SEPT_VE_DISABLE};
use super::collateral::Collateral;
use super::dcap::{self, Stage};
use super::pck::PlatformFlag;
use super::quote::Quote;
use super::reject::TdxRejection;
use super::status::TcbStatus;
use crate::anchors::TrustAnchors;
use crate::checks::{Finding, Ledger};
use crate::rules::tdx as rules;
use crate::time::UnixTime;
use crate::x509::Certificate;

/// What is known of a quote once it is genuine.
#[derive(Debug)]
pub(crate) struct Genuine {
    /// The worst of platform, module and quoting enclave.
    pub(crate) status: TcbStatus,
    /// Of platform, module and quoting enclave.
    pub(crate) advisories: Vec<String>,
    /// The lower of TCB info's and QE identity's.
    pub(crate) evaluation: u32,
    /// Family, model, stepping, platform type and custom SKU.
    pub(crate) fmspc: [u8; 6],
    /// What the PCK certificate says of the platform.
    pub(crate) flags: Vec<PlatformFlag>,
    /// Last second at which collateral and certificates are all valid.
    pub(crate) valid_until: UnixTime,
}

type Step<T> = Result<(T, Finding), TdxRejection>;

/// Applies the rules. The ledger holds what was found, also where this fails.
pub(crate) fn verify(
    quote: &Quote,
    collateral: &[u8],
    anchors: &TrustAnchors,
    now: UnixTime,
    ledger: &mut Ledger,
) -> Result<Genuine, TdxRejection> {
    ledger.record(&rules::FORMAT, format(quote))?;
    let root = ledger.record(&rules::ROOT, root(anchors, now))?;
    let collateral = ledger.record(&rules::COLLATERAL, read(collateral, quote))?;
    let until = ledger.record(&rules::TIME, time(&collateral, now))?;
    ledger.record(&rules::REVOCATION, revocation(&collateral))?;
    let (claims, refusal) = match dcap::verify(quote, &collateral, &root.der, now) {
        Ok(claims) => (Some(claims), None),
        Err((stage, reason)) => (None, Some((stage, reason))),
    };
    let until_stage = |stage: Stage, found: &'static str| match &refusal {
        Some((refused, reason)) if *refused == stage => Err(reason.clone()),
        _ => Ok(((), Finding::Pass(found.to_owned()))),
    };
    ledger
        .record(&rules::SIGNATURE, until_stage(Stage::Signature, "root to PCK to QE to quote; collateral"))?;
    match &claims {
        Some(claims) => ledger.record(&rules::TCB_LEVEL, level(claims))?,
        None => ledger.record(&rules::TCB_LEVEL, until_stage(Stage::TcbLevel, "a level is met"))?,
    }
    ledger.record(&rules::TD_ATTRIBUTES, until_stage(Stage::Attributes, "").and_then(|_| kind(quote)))?;
    // Only a refusal leaves no claims, and each of its stages has been recorded and returned above.
    let claims = claims.ok_or(TdxRejection::Reading)?;
    Ok(Genuine {
        status: TcbStatus::named(&claims.status).ok_or(TdxRejection::TcbRevoked)?,
        advisories: claims.advisory_ids,
        evaluation: collateral.evaluation,
        fmspc: collateral.fmspc,
        flags: collateral.flags.clone(),
        valid_until: until.min(root.not_after),
    })
}

/// TDX-01. A `Quote` exists only after its form was checked; this writes it down.
fn format(quote: &Quote) -> Step<()> {
    let padding = quote.bytes().len().saturating_sub(quote.unpadded().len());
    let compared = format!("version {}, {:?}, {padding} bytes of padding", quote.version(), quote.body());
    Ok(((), Finding::Pass(compared)))
}

/// TDX-02.
fn root(anchors: &TrustAnchors, now: UnixTime) -> Step<&Certificate> {
    let what = "root";
    let root = anchors.intel().ok_or(TdxRejection::RootMissing)?;
    if now < root.not_before {
        return Err(TdxRejection::NotYetValid { what, from: root.not_before, now });
    }
    if now > root.not_after {
        return Err(TdxRejection::Expired { what, until: root.not_after, now });
    }
    let whose = if anchors.simulated() { "SIMULATED root" } else { "Intel's root" };
    Ok((root, Finding::Pass(format!("{whose} {}, valid until {}", root.subject_cn, root.not_after))))
}

/// TDX-03.
fn read(json: &[u8], quote: &Quote) -> Step<Collateral> {
    let collateral = Collateral::read(json, quote)?;
    let compared = format!("complete, for FMSPC {}", hex::encode(collateral.fmspc));
    Ok((collateral, Finding::Pass(compared)))
}

/// TDX-04.
fn time(collateral: &Collateral, now: UnixTime) -> Step<UnixTime> {
    let until = collateral.in_date(now)?;
    Ok((until, Finding::Pass(format!("{now} <= {until}"))))
}

/// TDX-05.
fn revocation(collateral: &Collateral) -> Step<()> {
    let listed = collateral.not_revoked()?;
    Ok(((), Finding::Pass(format!("none is among {listed} revoked"))))
}

/// TDX-07.
fn level(claims: &VerifiedReport) -> Step<()> {
    let status = TcbStatus::named(&claims.status).ok_or(TdxRejection::TcbRevoked)?;
    let (platform, enclave) = (claims.platform_status.status, claims.qe_status.status);
    Ok(((), Finding::Pass(format!("{status}: platform {platform}, quoting enclave {enclave}"))))
}

/// TDX-08. The library has refused these already; they are looked at again because nothing else may decide it.
fn kind(quote: &Quote) -> Step<()> {
    let attributes = quote.td_attributes();
    let reserved = attributes::reserved(attributes);
    if reserved != 0 {
        return Err(TdxRejection::AttributesReserved { reserved });
    }
    if attributes & MIGRATABLE != 0 {
        return Err(TdxRejection::Migratable);
    }
    if attributes & SEPT_VE_DISABLE == 0 {
        return Err(TdxRejection::SeptVe);
    }
    Ok(((), Finding::Pass(format!("{attributes:#x}"))))
}
