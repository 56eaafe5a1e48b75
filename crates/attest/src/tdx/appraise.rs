//! "Is it ours?": rules TDX-10 to TDX-27, in this order (spec/attest.md §12).

use super::attributes::{Attribute, SERVTD_EXT, TUD};
use super::deny::{Register, TdxDenial};
use super::genuine::Genuine;
use super::policy::TdxPolicy;
use super::quote::Quote;
use crate::checks::{Finding, Ledger};
use crate::policy::{Danger, Expected};
use crate::rules::tdx as rules;
use crate::verdict::{Denial, waived};

type Step = Result<((), Finding), Denial>;

/// Applies the rules. The ledger holds what was found, also where this fails.
pub(crate) fn appraise(
    quote: &Quote,
    genuine: &Genuine,
    policy: &TdxPolicy,
    ledger: &mut Ledger,
) -> Result<(), Denial> {
    let [rtmr0, rtmr1, rtmr2, rtmr3] = quote.rtmrs();
    ledger.record(&rules::TCB_STATUS, status(genuine, policy))?;
    ledger.record(&rules::ADVISORIES, advisories(genuine, policy))?;
    ledger.record(&rules::EVALUATION, evaluation(genuine, policy))?;
    ledger.record(&rules::MODULE, module(quote, policy))?;
    ledger.record(&rules::MRSEAM, listed(Register::MrSeam, &quote.mr_seam(), &policy.mr_seam))?;
    ledger.record(&rules::MRSIGNERSEAM, signer(quote))?;
    ledger.record(&rules::DEBUG, debug(quote, &policy.debug))?;
    ledger.record(&rules::SERVICE_TD, service_td(quote, policy))?;
    ledger.record(&rules::ATTRIBUTES, attributes(quote, genuine, policy))?;
    ledger.record(&rules::XFAM, xfam(quote, policy))?;
    ledger.record(&rules::MRTD, listed(Register::MrTd, &quote.mr_td(), &policy.mrtd))?;
    ledger.record(&rules::RTMR0, listed(Register::Rtmr0, &rtmr0, &policy.rtmr0))?;
    ledger.record(&rules::RTMR1, listed(Register::Rtmr1, &rtmr1, &policy.rtmr1))?;
    ledger.record(&rules::RTMR2, listed(Register::Rtmr2, &rtmr2, &policy.rtmr2))?;
    ledger.record(&rules::RTMR3, listed(Register::Rtmr3, &rtmr3, &policy.rtmr3))?;
    let config = quote.mr_config_id();
    ledger.record(&rules::MRCONFIGID, listed(Register::MrConfigId, &config, &policy.mr_config_id))?;
    ledger.record(&rules::MROWNER, listed(Register::MrOwner, &quote.mr_owner(), &policy.mr_owner))?;
    let config = quote.mr_owner_config();
    ledger.record(&rules::MROWNERCONFIG, listed(Register::MrOwnerConfig, &config, &policy.mr_owner_config))
}

/// TDX-10.
fn status(genuine: &Genuine, policy: &TdxPolicy) -> Step {
    let found = genuine.status;
    if !policy.tcb_statuses.contains(&found) {
        return deny(TdxDenial::TcbStatus { found });
    }
    pass(format!("{found} is accepted"))
}

/// TDX-11.
fn advisories(genuine: &Genuine, policy: &TdxPolicy) -> Step {
    match genuine.advisories.iter().find(|&advisory| !policy.advisories.contains(advisory)) {
        Some(found) => deny(TdxDenial::Advisory { found: found.clone() }),
        None => pass(format!("{:?} are all accepted", genuine.advisories)),
    }
}

/// TDX-12.
fn evaluation(genuine: &Genuine, policy: &TdxPolicy) -> Step {
    let (found, minimum) = (genuine.evaluation, policy.minimum_evaluation);
    if found < minimum {
        return deny(TdxDenial::EvaluationBelowMinimum { found, minimum });
    }
    pass(format!("{found} >= {minimum}"))
}

/// TDX-13. Where the quote names the module that runs now, both count.
fn module(quote: &Quote, policy: &TdxPolicy) -> Step {
    let minimum = policy.minimum_module;
    let launch = quote.launch_module();
    for (when, found) in [("at launch", Some(launch)), ("now", quote.current_module())] {
        match found {
            Some(found) if found < minimum => {
                return deny(TdxDenial::ModuleBelowMinimum { when, found, minimum });
            }
            _ => {}
        }
    }
    pass(format!("{launch} >= {minimum}"))
}

/// TDX-15. No policy accepts another.
fn signer(quote: &Quote) -> Step {
    let found = quote.mr_signer_seam();
    if found != [0; 48] {
        return deny(TdxDenial::ModuleSigner { found: Box::new(found) });
    }
    pass("zero, which is Intel".to_owned())
}

/// TDX-16.
fn debug(quote: &Quote, danger: &Danger) -> Step {
    let tud = quote.td_attributes() & TUD;
    match danger {
        _ if tud == 0 => pass("TUD is zero".to_owned()),
        Danger::Refuse => deny(TdxDenial::Debug { tud }),
        Danger::Allow { reason } => waive("debug", TdxDenial::Debug { tud }.to_string(), reason),
    }
}

/// TDX-17. A TD 1.0 body names no service TD and has none.
fn service_td(quote: &Quote, policy: &TdxPolicy) -> Step {
    let found = quote.mr_service_td().unwrap_or([0; 48]);
    let checked = listed(Register::MrServiceTd, &found, &policy.mr_service_td)?;
    match &policy.service_td_extension {
        _ if quote.td_attributes() & SERVTD_EXT == 0 => Ok(checked),
        Danger::Refuse => deny(TdxDenial::ServiceTdExtension),
        Danger::Allow { reason } => {
            waive("service-td-extension", TdxDenial::ServiceTdExtension.to_string(), reason)
        }
    }
}

/// TDX-18.
fn attributes(quote: &Quote, genuine: &Genuine, policy: &TdxPolicy) -> Step {
    let found = quote.td_attributes();
    for attribute in Attribute::ALL {
        if found & attribute.mask() != 0 && !policy.attributes_may.contains(&attribute) {
            return deny(TdxDenial::Attribute { attribute });
        }
    }
    if let Some(&flag) = genuine.flags.iter().find(|flag| !policy.platform_may.contains(flag)) {
        return deny(TdxDenial::PlatformFlag { flag });
    }
    pass(format!("TD {found:#x}, may {:?}; platform {:?}", policy.attributes_may, genuine.flags))
}

/// TDX-19.
fn xfam(quote: &Quote, policy: &TdxPolicy) -> Step {
    let found = quote.xfam();
    let excess = found & !policy.xfam_may;
    if excess != 0 {
        return deny(TdxDenial::Xfam { found, excess });
    }
    pass(format!("{found:#x} is within {:#x}", policy.xfam_may))
}

fn listed(register: Register, found: &[u8; 48], expected: &Expected<[u8; 48]>) -> Step {
    match expected {
        Expected::Any { reason } => waive("an expected value", hex::encode(found), reason),
        Expected::OneOf(values) if values.contains(found) => {
            pass(format!("{} is one of {} accepted", hex::encode(found), values.len()))
        }
        Expected::OneOf(values) => {
            deny(TdxDenial::NotAccepted { register, found: Box::new(*found), accepted: values.len() })
        }
    }
}

fn pass(compared: String) -> Step {
    Ok(((), Finding::Pass(compared)))
}

fn waive(what: &'static str, compared: String, reason: &str) -> Step {
    waived(what, compared, reason).map(|finding| ((), finding))
}

fn deny(denial: TdxDenial) -> Step {
    Err(Denial::Tdx(denial))
}

#[cfg(test)]
pub(crate) mod tests;
