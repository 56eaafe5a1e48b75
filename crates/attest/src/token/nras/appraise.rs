//! Rules NRAS-07 and on (spec/tokens-nras.md §3).

use serde_json::{Map, Value};

use super::NrasPolicy;
use super::device::{Device, GPU, Names, SWITCH};
use crate::checks::{Finding, Ledger};
use crate::policy::{Danger, Expected};
use crate::rules::nras as rules;
use crate::token::claims::View;
use crate::token::errors::TokenDenial;
use crate::token::terms::{Judged, Term, all, word};

/// The version of NVIDIA's claims that is known here.
const VERSION: &str = "3.0";

pub(crate) fn appraise(
    overall: View<'_>,
    submodules: &Map<String, Value>,
    terms: &NrasPolicy,
    ledger: &mut Ledger,
) -> Result<(), TokenDenial> {
    let issuer = Term::new("nras.issuer.not-accepted", "iss");
    let issuers = Expected::OneOf(terms.issuers.clone());
    ledger.record(&rules::NRAS_ISSUER, issuer.one_of(overall.text(&["iss"]), &issuers))?;
    ledger.record(&rules::NRAS_RESULT, result(overall))?;
    let devices = ledger.record(&rules::NRAS_DEVICES, devices(submodules, terms))?;
    ledger.record(&rules::NRAS_MEASUREMENTS, each(&devices, measurements))?;
    ledger.record(&rules::NRAS_DEBUG, each(&devices, |device| debug(device, terms)))?;
    let report = |device: Device<'_>| words(device.each_true("nras.report", device.names.report));
    ledger.record(&rules::NRAS_REPORT, each(&devices, report))?;
    let manifests = |device: Device<'_>| words(device.each_true("nras.manifest", device.names.manifests));
    ledger.record(&rules::NRAS_MANIFESTS, each(&devices, manifests))?;
    ledger.record(&rules::NRAS_CERTIFICATES, each(&devices, |device| certificates(device, terms)))?;
    ledger.record(&rules::NRAS_WARNINGS, each(&devices, |device| warnings(device, terms)))?;
    let hardware = |device: Device<'_>| {
        Term::new("nras.hardware.not-accepted", "hwmodel")
            .one_of(device.claims.text(&["hwmodel"]), &terms.hardware)
    };
    ledger.record(&rules::NRAS_HARDWARE, each(&devices, hardware))?;
    ledger.record(&rules::NRAS_DRIVER, each(&devices, |device| driver(device, terms)))?;
    let firmware = |device: Device<'_>| {
        let claim = device.names.firmware;
        Term::new("nras.firmware.not-accepted", claim).one_of(device.claims.text(&[claim]), &terms.firmware)
    };
    ledger.record(&rules::NRAS_FIRMWARE, each(&devices, firmware))
}

/// The nonce of the overall token, decoded from hexadecimal, if every device's token has the same one.
pub(crate) fn nonce(overall: View<'_>, submodules: &Map<String, Value>) -> Result<Vec<Vec<u8>>, TokenDenial> {
    let term = Term::new("nras.nonce", "eat_nonce");
    let whole = overall.text(&["eat_nonce"]).ok_or_else(|| term.missing())?;
    for (name, claims) in submodules {
        let found = claims.get("eat_nonce").and_then(Value::as_str).ok_or_else(|| term.missing())?;
        if found != whole {
            return Err(term.refused(format!("{found} of {name}"), whole));
        }
    }
    Ok(vec![hex::decode(whole).map_err(|_| term.missing())?])
}

fn words(compared: Result<String, TokenDenial>) -> Judged {
    Ok(((), Finding::Pass(compared?)))
}

fn each(devices: &[Device<'_>], judge: impl Fn(Device<'_>) -> Judged) -> Judged {
    all(devices.iter().map(|device| judge(*device)))
}

/// Null says the same as nothing.
fn without_errors(claims: View<'_>) -> Judged {
    match claims.get(&["x-nvidia-error-details"]) {
        None | Some(Value::Null) => Ok(((), Finding::Pass("no errors".to_owned()))),
        Some(found) => {
            Err(Term::new("nras.error", "x-nvidia-error-details").refused(found.to_string(), "nothing"))
        }
    }
}

fn result(overall: View<'_>) -> Judged {
    let version = Term::new("nras.version", "x-nvidia-ver");
    let result = Term::new("nras.result", "x-nvidia-overall-att-result");
    let found = word(overall.flag(&["x-nvidia-overall-att-result"]));
    all([
        version.must(overall.text(&["x-nvidia-ver"]), VERSION, &Danger::Refuse),
        without_errors(overall),
        result.must(found, "true", &Danger::Refuse),
    ])
}

/// As many as expected, numbered from zero, each with an identity of its own.
fn devices<'a>(
    submodules: &'a Map<String, Value>,
    terms: &NrasPolicy,
) -> Result<(Vec<Device<'a>>, Finding), TokenDenial> {
    let set = Term::new("nras.devices", "submods");
    let ueid = Term::new("nras.device.not-accepted", "ueid");
    let accepted = format!("{} GPUs and {} switches", terms.gpus, terms.switches);
    let mut devices: Vec<Device<'a>> = Vec::new();
    for (name, claims) in submodules {
        let device = claims.as_object().and_then(|claims| Device::new(name, View(claims)));
        devices.push(device.ok_or_else(|| set.refused(name, accepted.clone()))?);
    }
    let are_numbered = |names: &'static Names, count: u64| {
        let numbers: Vec<_> = devices.iter().filter(|one| one.is(names)).map(|one| one.number()).collect();
        u64::try_from(numbers.len()).is_ok_and(|found| found == count) && numbers.iter().all(|n| *n < count)
    };
    if !are_numbered(&GPU, terms.gpus) || !are_numbered(&SWITCH, terms.switches) {
        let found: Vec<_> = devices.iter().map(|one| one.name).collect();
        return Err(set.refused(found.join(", "), accepted));
    }
    let mut seen: Vec<&str> = Vec::new();
    let mut judged = Vec::new();
    for device in &devices {
        let identity = device.claims.text(&["ueid"]).ok_or_else(|| ueid.missing())?;
        if seen.contains(&identity) {
            return Err(Term::new("nras.device.twice", "ueid").refused(identity, "each device once"));
        }
        seen.push(identity);
        judged.push(ueid.one_of(Some(identity), &terms.devices));
    }
    let ((), finding) = all(judged)?;
    Ok((devices, finding))
}

fn measurements(device: Device<'_>) -> Judged {
    let term = Term::new("nras.measurements", "measres");
    all([
        without_errors(device.claims),
        term.must(device.claims.text(&["measres"]), "success", &Danger::Refuse),
    ])
}

fn debug(device: Device<'_>, terms: &NrasPolicy) -> Judged {
    let boot = Term::new("nras.secure-boot", "secboot");
    let debug = Term::new("nras.debug", "dbgstat");
    all([
        boot.must(word(device.claims.flag(&["secboot"])), "true", &terms.debug),
        debug.must(device.claims.text(&["dbgstat"]), "disabled", &terms.debug),
    ])
}

fn certificates(device: Device<'_>, terms: &NrasPolicy) -> Judged {
    let status = Term::new("nras.certificate", "x-nvidia-cert-status");
    let revocation = Term::new("nras.revocation", "x-nvidia-cert-ocsp-status");
    all(device.names.chains.iter().flat_map(|chain| {
        let text = |claim| device.claims.text(&[chain, claim]);
        [
            status.must(text("x-nvidia-cert-status"), "valid", &Danger::Refuse),
            revocation.must(text("x-nvidia-cert-ocsp-status"), "good", &terms.revocation),
        ]
    }))
}

/// Said to be none: a token that does not speak of warnings is refused.
fn warnings(device: Device<'_>, terms: &NrasPolicy) -> Judged {
    let term = Term::new("nras.warning", "x-nvidia-attestation-warning");
    let found = device.claims.get(&["x-nvidia-attestation-warning"]).map(Value::to_string);
    term.must(found.as_deref(), "null", &terms.warnings)
}

/// Switches have no driver.
fn driver(device: Device<'_>, terms: &NrasPolicy) -> Judged {
    match device.names.driver {
        None => Ok(((), Finding::Pass(format!("{} has none", device.name)))),
        Some(claim) => {
            Term::new("nras.driver.not-accepted", claim).one_of(device.claims.text(&[claim]), &terms.driver)
        }
    }
}
