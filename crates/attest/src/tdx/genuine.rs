//! "Is it genuine?": rules TDX-01 to TDX-08, in this order (spec/attest.md §12).

use super::attributes::{self, MIGRATABLE, SEPT_VE_DISABLE, SERVTD_EXT, TUD_RESERVED};
use super::body::Body;
use super::collateral::Collateral;
use super::level::{self, Found};
use super::pck::PlatformFlag;
use super::qe::QeReport;
use super::quote::Quote;
use super::reject::TdxRejection;
use super::signatures;
use super::status::TcbStatus;
use crate::anchors::TrustAnchors;
use crate::checks::{Finding, Ledger};
use crate::crypto::IssuerCache;
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
    json: &[u8],
    anchors: &TrustAnchors,
    now: UnixTime,
    ledger: &mut Ledger,
) -> Result<Genuine, TdxRejection> {
    ledger.record(&rules::FORMAT, format(quote))?;
    let root = ledger.record(&rules::ROOT, root(anchors, now))?;
    let collateral = ledger.record(&rules::COLLATERAL, read(json, quote, root, now))?;
    let until = ledger.record(&rules::TIME, time(&collateral, now))?;
    ledger.record(&rules::REVOCATION, revocation(&collateral))?;
    let report = ledger.record(&rules::SIGNATURE, signature(json, quote, &collateral, root, now))?;
    let found = ledger.record(&rules::TCB_LEVEL, level(quote, &collateral, &report))?;
    ledger.record(&rules::TD_ATTRIBUTES, kind(quote))?;
    Ok(Genuine {
        status: found.status,
        advisories: found.advisories,
        evaluation: collateral.evaluation(),
        fmspc: collateral.pck.fmspc,
        flags: collateral.pck.flags,
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
fn read(json: &[u8], quote: &Quote, root: &Certificate, now: UnixTime) -> Step<Collateral> {
    let collateral = Collateral::read(json, quote, root, now)?;
    let compared = format!("complete, for FMSPC {}", hex::encode(collateral.pck.fmspc));
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

/// TDX-06. What was found of the collateral, which no quote changes, is remembered where there is a cache.
fn signature(
    json: &[u8],
    quote: &Quote,
    collateral: &Collateral,
    root: &Certificate,
    now: UnixTime,
) -> Step<QeReport> {
    if !collateral.remembered {
        signatures::published(&collateral.published, root, now)?;
        if let Some(cache) = IssuerCache::current() {
            cache.collateral.remember(&root.der, json, &collateral.published);
        }
    }
    let report = signatures::quote(quote, collateral, root, now)?;
    Ok((report, Finding::Pass("root to PCK to QE to quote; collateral".to_owned())))
}

/// TDX-07.
fn level(quote: &Quote, collateral: &Collateral, report: &QeReport) -> Step<Found> {
    let found = level::level(quote, collateral, report)?;
    let compared =
        format!("{}: platform {}, quoting enclave {}", found.status, found.platform, found.enclave);
    Ok((found, Finding::Pass(compared)))
}

/// TDX-08.
fn kind(quote: &Quote) -> Step<()> {
    let attributes = quote.td_attributes();
    let reserved = attributes::reserved(attributes) | attributes & TUD_RESERVED;
    if reserved != 0 {
        return Err(TdxRejection::AttributesReserved { reserved });
    }
    if attributes & MIGRATABLE != 0 {
        return Err(TdxRejection::Migratable);
    }
    if attributes & SERVTD_EXT != 0 && quote.body() == Body::Td10 {
        return Err(TdxRejection::ServiceTdUnnamed);
    }
    if attributes & SEPT_VE_DISABLE == 0 {
        return Err(TdxRejection::SeptVe);
    }
    Ok(((), Finding::Pass(format!("{attributes:#x}"))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tdx::test_quote;

    fn found(attributes: u64) -> Result<(), &'static str> {
        let quote = test_quote(|body| body[120..128].copy_from_slice(&attributes.to_le_bytes()));
        kind(&quote).map(drop).map_err(|rejection| rejection.code())
    }

    #[test]
    fn every_bit_of_the_attributes_is_decided() {
        for bit in 0..64 {
            let expected = match bit {
                29 => Err("tdx.td.migratable"),
                // DEBUG, profiling, and what a policy may accept.
                0 | 4..=6 | 16 | 17 | 27 | 28 | 30 | 31 | 62 | 63 => Ok(()),
                _ => Err("tdx.td.reserved"),
            };
            assert_eq!(found(1 << bit | SEPT_VE_DISABLE), expected, "bit {bit}");
        }
        assert_eq!(found(0), Err("tdx.td.sept-ve"));
    }
}
