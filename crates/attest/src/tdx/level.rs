//! TDX-07: what Intel says of the platform's, the module's and the quoting enclave's security versions. Source: Intel SGX
//! DCAP quote verification library (TCB level matching, convergence, relaunch advised), as `dcap-qvl` does it; the test
//! `differential` compares.

use super::body::ModuleSvn;
use super::collateral::{Collateral, date};
use super::pck::Pck;
use super::qe::{QeReport, equal_under};
use super::quote::Quote;
use super::reject::TdxRejection;
use super::status::TcbStatus::{
    self, ConfigurationAndSwHardeningNeeded, ConfigurationNeeded, OutOfDate, OutOfDateConfigurationNeeded,
    SwHardeningNeeded, TdRelaunchAdvised, TdRelaunchAdvisedConfigurationNeeded, UpToDate,
};
use super::tcb_info::{Component, IsvLevel, Level, ModuleIdentity, Rating, TcbInfo};

/// What a platform has: TEE_TCB_SVN, or TEE_TCB_SVN2.
type Svn = [u8; 16];

/// The level that a quote is at.
#[derive(Debug)]
pub(crate) struct Found {
    /// The worst of platform, module and quoting enclave.
    pub(crate) status: TcbStatus,
    /// Of all three, each once.
    pub(crate) advisories: Vec<String>,
    /// Platform and module.
    pub(crate) platform: Rating,
    pub(crate) enclave: Rating,
}

/// What platform and module are worth.
struct Platform {
    rating: Rating,
    advisories: Vec<String>,
}

/// The level at launch and, where the quote says what runs now, the level now.
pub(crate) fn level(
    quote: &Quote,
    collateral: &Collateral,
    report: &QeReport,
) -> Result<Found, TdxRejection> {
    let (info, pck) = (&collateral.published.tcb, &collateral.pck);
    let enclave = collateral.published.qe.level(report)?;
    let launch = platform(info, pck, quote.tee_tcb_svn())?;
    module(info, quote)?;
    let current = match quote.tee_tcb_svn2() {
        None => None,
        Some(svn) => Some(converge(platform(info, pck, svn)?.rating, enclave.rating)),
    };

    let Rating::Status(mut status) = converge(launch.rating, enclave.rating) else {
        return Err(TdxRejection::TcbRevoked);
    };
    match current {
        None => {}
        Some(Rating::Revoked) => return Err(TdxRejection::TcbRevoked),
        Some(Rating::Status(current)) => status = relaunch(status, current),
    }
    let mut advisories = launch.advisories;
    add(&mut advisories, &enclave.advisories);
    Ok(Found { status, advisories, platform: launch.rating, enclave: enclave.rating })
}

/// The first level whose every component the platform meets, converged with the module's.
fn platform(info: &TcbInfo, pck: &Pck, svn: Svn) -> Result<Platform, TdxRejection> {
    let mut met = None;
    for level in &info.levels {
        if is_met(level, pck, svn)? {
            met = Some(level);
            break;
        }
    }
    let level = met.ok_or(TdxRejection::TcbUnknown)?;
    if matches!(level.rating, Rating::Status(TdRelaunchAdvised | TdRelaunchAdvisedConfigurationNeeded)) {
        return Err(refused("the status of a TCB level"));
    }
    date(&level.tcb_date).ok_or(refused("the date of a TCB level"))?;
    let mut found = Platform { rating: level.rating, advisories: level.advisories.clone() };
    if let Some(identity) = identity(info, svn)? {
        let module = module_level(identity, svn)?;
        found.rating = converge(found.rating, module.rating);
        add(&mut found.advisories, &module.advisories);
    }
    Ok(found)
}

fn is_met(level: &Level, pck: &Pck, svn: Svn) -> Result<bool, TdxRejection> {
    let tcb = &level.tcb;
    if tcb.sgx.len() != pck.cpu_svn.len() || tcb.tdx.len() != svn.len() {
        return Err(refused("the number of a TCB level's components"));
    }
    let all = |have: &Svn, needs: &[Component], from: usize| {
        have.iter().zip(needs).skip(from).all(|(have, needs)| *have >= needs.svn)
    };
    // The first two are the module's version, which its own identity judges, where it has one.
    let from = if major(svn) > 0 { 2 } else { 0 };
    Ok(all(&pck.cpu_svn, &tcb.sgx, 0) && pck.pce_svn >= tcb.pce && all(&svn, &tcb.tdx, from))
}

/// The module of this major version; `None` of version 0, which has no identity of its own.
fn identity(info: &TcbInfo, svn: Svn) -> Result<Option<&ModuleIdentity>, TdxRejection> {
    let major = major(svn);
    if major == 0 {
        return Ok(None);
    }
    let wanted = format!("TDX_{major:02X}");
    match info.modules.iter().find(|identity| identity.id.eq_ignore_ascii_case(&wanted)) {
        Some(identity) => Ok(Some(identity)),
        None => Err(other_module(&format!("the TCB info names no {wanted}"))),
    }
}

fn module_level(identity: &ModuleIdentity, svn: Svn) -> Result<&IsvLevel<u8>, TdxRejection> {
    let minor = ModuleSvn::of(svn).minor;
    let level = identity.levels.iter().find(|level| minor >= level.tcb.isvsvn);
    let level = level.ok_or(TdxRejection::TcbUnknown)?;
    if !matches!(level.rating, Rating::Revoked | Rating::Status(UpToDate | OutOfDate)) {
        return Err(other_module("the status of a module's level"));
    }
    date(&level.tcb_date).ok_or(other_module("the date of a module's level"))?;
    Ok(level)
}

/// MRSIGNERSEAM and SEAMATTRIBUTES are those of the module that the TD was launched on.
fn module(info: &TcbInfo, quote: &Quote) -> Result<(), TdxRejection> {
    let base = info.tdx_module.as_ref().ok_or(other_module("the TCB info has no tdxModule"))?;
    let mut expected = identity_of(&base.mrsigner, &base.attributes, &base.attributes_mask)?;
    if let Some(named) = identity(info, quote.tee_tcb_svn())? {
        expected = identity_of(&named.mrsigner, &named.attributes, &named.attributes_mask)?;
    }
    let (signer, attributes, mask) = expected;
    if quote.mr_signer_seam() != signer {
        return Err(other_module("MRSIGNERSEAM"));
    }
    let found = quote.seam_attributes().to_le_bytes();
    if !equal_under(&mask, &found, &attributes) {
        return Err(other_module("SEAMATTRIBUTES"));
    }
    // Bits that Intel does not speak of are clear.
    if !equal_under(&mask.map(|octet| !octet), &found, &[0; 8]) {
        return Err(other_module("SEAMATTRIBUTES outside of the mask"));
    }
    Ok(())
}

type ModuleValues = ([u8; 48], [u8; 8], [u8; 8]);

fn identity_of(signer: &str, attributes: &str, mask: &str) -> Result<ModuleValues, TdxRejection> {
    fn bytes<const N: usize>(text: &str) -> Result<[u8; N], TdxRejection> {
        let bytes = hex::decode(text).ok().and_then(|bytes| bytes.try_into().ok());
        bytes.ok_or(other_module("the TCB info's values of a module cannot be read"))
    }
    Ok((bytes(signer)?, bytes(attributes)?, bytes(mask)?))
}

/// Of a component only OutOfDate and Revoked count.
fn converge(platform: Rating, component: Rating) -> Rating {
    match (component, platform) {
        (Rating::Revoked, _) => Rating::Revoked,
        (Rating::Status(OutOfDate), Rating::Status(UpToDate | SwHardeningNeeded)) => {
            Rating::Status(OutOfDate)
        }
        (
            Rating::Status(OutOfDate),
            Rating::Status(ConfigurationNeeded | ConfigurationAndSwHardeningNeeded),
        ) => Rating::Status(OutOfDateConfigurationNeeded),
        _ => platform,
    }
}

/// Out of date when the TD was launched, and no longer.
fn relaunch(launch: TcbStatus, current: TcbStatus) -> TcbStatus {
    let was_out_of_date = matches!(launch, OutOfDate | OutOfDateConfigurationNeeded);
    match current {
        ConfigurationNeeded | ConfigurationAndSwHardeningNeeded if was_out_of_date => {
            TdRelaunchAdvisedConfigurationNeeded
        }
        UpToDate | SwHardeningNeeded if launch == OutOfDateConfigurationNeeded => {
            TdRelaunchAdvisedConfigurationNeeded
        }
        UpToDate | SwHardeningNeeded if was_out_of_date => TdRelaunchAdvised,
        _ => launch,
    }
}

fn add(advisories: &mut Vec<String>, more: &[String]) {
    for advisory in more {
        if !advisories.contains(advisory) {
            advisories.push(advisory.clone());
        }
    }
}

fn major(svn: Svn) -> u8 {
    ModuleSvn::of(svn).major
}

fn refused(what: &str) -> TdxRejection {
    TdxRejection::Dcap { detail: format!("{what} in the TCB info is not one that Intel's library reads") }
}

fn other_module(detail: &str) -> TdxRejection {
    TdxRejection::Module { detail: detail.to_owned() }
}

#[cfg(test)]
mod tests;
