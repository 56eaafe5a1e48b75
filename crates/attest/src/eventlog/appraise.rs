//! Rules LOG-01 to LOG-06, in this order (spec/event-logs.md §4).

use std::collections::BTreeSet;

use super::EventLog;
use super::deny::LogDenial;
use super::policy::{LogPolicy, LogTerms, RegisterTerms};
use super::replay::{self, Extended, Outcome, Registers, Replayed};
use crate::checks::{Finding, Ledger};
use crate::policy::{Danger, Expected};
use crate::rules::event_log as rules;
use crate::verdict::{Denial, waived};

type Step<T> = Result<(T, Finding), Denial>;

/// Applies the rules. The ledger holds what was found, also where this fails. Without registers there is nothing that a
/// log could be held against.
pub(crate) fn appraise(
    log: Option<&EventLog>,
    policy: &LogPolicy,
    registers: Option<&Registers<'_>>,
    ledger: &mut Ledger,
) -> Result<Replayed, Denial> {
    let (log, terms, registers) = ledger.record(&rules::PRESENT, present(log, policy, registers))?;
    let extended = ledger.record(&rules::FORMAT, format(log, registers))?;
    let Outcome { replayed, others } =
        ledger.record(&rules::REPLAY, replayed(&extended, registers, terms))?;
    ledger.record(&rules::OTHERS, others_decided(&others, &terms.other_registers))?;
    ledger.record(&rules::EVENTS, events(&replayed, terms))?;
    ledger.record(&rules::REQUIRED, required(&replayed, terms))?;
    Ok(replayed)
}

/// LOG-01.
fn present<'a, 'r>(
    log: Option<&'a EventLog>,
    policy: &'a LogPolicy,
    registers: Option<&'a Registers<'r>>,
) -> Step<(&'a EventLog, &'a LogTerms, &'a Registers<'r>)> {
    match (log, policy, registers) {
        (Some(log), LogPolicy::Demanded(terms), Some(registers)) => {
            let compared =
                format!("{} events, and terms for {:?}", log.events().len(), terms.registers.keys());
            Ok(((log, terms, registers), Finding::Pass(compared)))
        }
        (None, LogPolicy::Demanded(_), _) => Err(Denial::EventLog(LogDenial::Missing)),
        (_, LogPolicy::NotAsked, _) | (_, _, None) => Err(Denial::EventLog(LogDenial::NotAsked)),
    }
}

/// LOG-02. An `EventLog` exists only after its form was checked; this adds what the platform asks of it.
fn format<'a>(log: &'a EventLog, registers: &Registers<'_>) -> Step<Extended<'a>> {
    let extended = replay::extended(log, registers).map_err(Denial::EventLog)?;
    let banks: Vec<_> = log.banks().iter().map(|bank| bank.as_str()).collect();
    Ok((extended, Finding::Pass(format!("{:?}, with digests of {}", log.form(), banks.join(", ")))))
}

/// LOG-03.
fn replayed(extended: &Extended<'_>, registers: &Registers<'_>, terms: &LogTerms) -> Step<Outcome> {
    let outcome =
        replay::replay(extended, registers, terms.registers.keys().copied()).map_err(Denial::EventLog)?;
    let counts: Vec<_> = outcome
        .replayed
        .registers()
        .map(|register| {
            format!("{register}: {} events", outcome.replayed.events(register).map_or(0, <[_]>::len))
        })
        .collect();
    Ok((outcome, Finding::Pass(format!("equal to the evidence; {}", counts.join(", ")))))
}

/// LOG-04.
fn others_decided(others: &BTreeSet<u8>, danger: &Danger) -> Step<()> {
    let registers: Vec<u8> = others.iter().copied().collect();
    match danger {
        _ if registers.is_empty() => pass("none".to_owned()),
        Danger::Refuse => deny(LogDenial::NotDecided { registers }),
        Danger::Allow { reason } => {
            waived("other registers", format!("events of {registers:?} are not proven"), reason)
                .map(|finding| ((), finding))
        }
    }
}

/// LOG-05.
fn events(replayed: &Replayed, terms: &LogTerms) -> Step<()> {
    let mut waivers = Vec::new();
    let mut count = 0_usize;
    for (&register, RegisterTerms { events: expected, .. }) in &terms.registers {
        let events = replayed.events(register).unwrap_or_default();
        match expected {
            Expected::Any { reason } if reason.trim().is_empty() => {
                return Err(Denial::WaiverWithoutReason { what: "the events of a register" });
            }
            Expected::Any { reason } => waivers.push(format!("those of {register} not required: {reason}")),
            Expected::OneOf(values) => {
                let listed = |digest: &[u8]| values.iter().any(|value| value == digest);
                if let Some((position, event)) = (1..).zip(events).find(|(_, event)| !listed(event.digest()))
                {
                    return deny(LogDenial::EventNotAccepted {
                        register,
                        position,
                        digest: event.digest().into(),
                        accepted: values.len(),
                    });
                }
                count = count.saturating_add(events.len());
            }
        }
    }
    let compared = format!("{count} events are accepted");
    if waivers.is_empty() {
        return pass(compared);
    }
    Ok(((), Finding::Waived(format!("{compared}; {}", waivers.join("; ")))))
}

/// LOG-06. Only the order within a register is proven.
fn required(replayed: &Replayed, terms: &LogTerms) -> Step<()> {
    let mut count = 0_usize;
    for (&register, RegisterTerms { required, .. }) in &terms.registers {
        let mut events = replayed.events(register).unwrap_or_default().iter();
        for (position, digest) in (1..).zip(required) {
            if !events.any(|event| event.digest() == digest.as_slice()) {
                return deny(LogDenial::EventRequired {
                    register,
                    position,
                    digest: digest.as_slice().into(),
                });
            }
            count = count.saturating_add(1);
        }
    }
    pass(format!("{count} required events happened, in order"))
}

fn pass(compared: String) -> Step<()> {
    Ok(((), Finding::Pass(compared)))
}

fn deny(denial: LogDenial) -> Step<()> {
    Err(Denial::EventLog(denial))
}
