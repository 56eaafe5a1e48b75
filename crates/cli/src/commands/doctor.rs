//! `casemate doctor`: what this machine is, and whether `serve` could start on it.

use std::time::Duration;

use casemate_enclave::doctor::{
    Asked, Check, Diagnosis, Machine, Outcome, broker, endorsement_service, examine,
};
use casemate_enclave::{BootError, BrokerPath, broker_authorities, broker_path};
use casemate_endorse::{Settings, reach};
use serde_json::json;

use super::runtime;
use crate::args::DoctorArgs;
use crate::error::CliError;
use crate::output;

pub(crate) fn run(args: &DoctorArgs) -> Result<(), CliError> {
    let Diagnosis { machine, mut checks } = examine(Asked { metadata_service: args.endorsement_services });
    if args.broker.is_some() || args.endorsement_services {
        checks.extend(runtime()?.block_on(network(args))?);
    }
    let verdict = verdict(&checks);
    if args.json {
        output::json(&rendered(&machine, &checks, verdict.is_ok()))?;
    } else {
        table(&machine, &checks);
    }
    verdict
}

/// Only whom a person named.
async fn network(args: &DoctorArgs) -> Result<Vec<Check>, CliError> {
    let mut checks = Vec::new();
    if let Some(url) = &args.broker {
        let authorities = broker_authorities(args.broker_ca.as_deref())?;
        let path = args.broker_via.as_deref().map_or(Ok(BrokerPath::Tcp), broker_path)?;
        checks.push(broker(url, path, authorities).await.map_err(BootError::from)?);
    }
    if args.endorsement_services {
        // The folder is not looked at: nothing is fetched.
        for it in reach(&Settings::vendors("".into()), LIMIT).await? {
            let answer = it.answer.map_err(|error| (error.to_string(), error.code()));
            checks.push(endorsement_service(it.service, &it.host, answer));
        }
    }
    Ok(checks)
}

/// A failure of the machine itself comes before everything else.
fn verdict(checks: &[Check]) -> Result<(), CliError> {
    let count = |outcome: Outcome| checks.iter().filter(|check| check.outcome == outcome).count();
    let failed = count(Outcome::Fail);
    let silent = checks.iter().any(|check| check.outcome == Outcome::Fail && check.id == "network.broker");
    match (failed, silent, count(Outcome::Unknown)) {
        (0, _, 0) => Ok(()),
        (0, _, unknown) => Err(CliError::Undecided { unknown }),
        (1, true, _) => Err(CliError::BrokerSilent),
        _ => Err(CliError::NotReady { failed }),
    }
}

fn rendered(machine: &Machine, checks: &[Check], ready: bool) -> serde_json::Value {
    let checks: Vec<_> = checks
        .iter()
        .map(|check| {
            json!({
                "rule": check.rule,
                "id": check.id,
                "outcome": check.outcome.name(),
                "found": check.found,
                "code": check.code,
                "hint": check.hint,
            })
        })
        .collect();
    json!({
        "schema": "casemate.doctor/1",
        "ready": ready,
        "machine": {
            "kernel": machine.kernel,
            "processor": machine.processor,
            "hypervisor": machine.hypervisor,
            "vendor": machine.vendor,
            "product": machine.product,
            "gpus": machine.gpus,
        },
        "checks": checks,
    })
}

fn table(machine: &Machine, checks: &[Check]) {
    let facts = [
        ("kernel", machine.kernel.clone()),
        ("processor", machine.processor.clone()),
        ("hypervisor", machine.hypervisor.clone()),
        ("vendor", machine.vendor.clone()),
        ("product", machine.product.clone()),
        ("NVIDIA GPUs", machine.gpus.map(|gpus| gpus.to_string())),
    ];
    for (name, value) in facts {
        output::data(&format!("  {name:<12} {}", value.as_deref().unwrap_or("not said")));
    }
    output::data("");
    let width = checks.iter().map(|check| check.id.len()).max().unwrap_or(0);
    for Check { rule, id, outcome, found, code, hint } in checks {
        let outcome = match outcome {
            Outcome::Pass => "pass",
            Outcome::Warn => "warn",
            Outcome::Fail => "FAIL",
            Outcome::Unknown => "unknown",
        };
        let code = code.map(|code| format!(" [{code}]")).unwrap_or_default();
        output::data(&format!("  {rule:<7} {outcome:<8} {id:<width$}  {found}{code}"));
        if let Some(hint) = hint {
            output::data(&format!("  {:<7} {:<8} {:<width$}  hint: {hint}", "", "", ""));
        }
    }
}

/// For the head of one answer.
const LIMIT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    fn check(id: &'static str, outcome: Outcome) -> Check {
        Check { rule: "DOC-00", id: id.into(), outcome, found: String::new(), code: None, hint: None }
    }

    /// (checks, exit code, code): spec/doctor.md §2.
    #[test]
    fn the_worst_decides_how_it_ends() {
        use Outcome::{Fail, Pass, Unknown, Warn};
        type Case = (&'static [(&'static str, Outcome)], u8, &'static str);
        let cases: [Case; 7] = [
            (&[("a", Pass), ("b", Warn)], 0, ""),
            (&[("a", Pass), ("b", Unknown), ("c", Warn)], 5, "doctor.undecided"),
            (&[("a", Fail), ("b", Unknown)], 1, "doctor.not-ready"),
            (&[("a", Fail), ("network.broker", Fail)], 1, "doctor.not-ready"),
            (&[("a", Pass), ("network.broker", Fail)], 6, "doctor.broker-silent"),
            (&[("a", Unknown), ("network.broker", Fail)], 6, "doctor.broker-silent"),
            (&[("network.broker", Warn)], 0, ""),
        ];
        for (checks, exit, code) in cases {
            let checks: Vec<_> = checks.iter().map(|(id, outcome)| check(id, *outcome)).collect();
            let found = verdict(&checks).err();
            assert_eq!(found.as_ref().map_or(0, |e| e.exit() as u8), exit);
            assert_eq!(found.as_ref().map_or("", |e| e.code()), code);
        }
    }
}
