//! `casemate inspect` of an event log: a table of its events. Without a quote nothing in it is verified, and each line
//! says so; what has the digest beside it is marked, since that much a reader can work out again.

use casemate_attest::eventlog::{Bank, Content, Event, EventLog, event_type_name};
use serde_json::{Value, json};

/// What the log says.
pub(crate) fn fields(log: &EventLog) -> Value {
    let bank = shown_bank(log);
    let events: Vec<_> = log.events().iter().map(|event| event_fields(event, bank)).collect();
    let registers: serde_json::Map<_, _> = log
        .unproven_registers(bank)
        .into_iter()
        .map(|(index, value)| (index.to_string(), hex::encode(value).into()))
        .collect();
    json!({
        "form": format!("{:?}", log.form()),
        "hashes": log.banks().iter().map(|bank| bank.as_str()).collect::<Vec<_>>(),
        "shown_hash": bank.as_str(),
        "verified": false,
        "would_replay_to": registers,
        "events": events,
    })
}

/// The same as lines for people.
pub(crate) fn table(log: &EventLog) -> Vec<String> {
    let bank = shown_bank(log);
    let mut lines = vec![format!(
        "  unverified  index  type                              {} digest…   content",
        bank.as_str()
    )];
    for event in log.events() {
        let digest = event.digest(bank).map(hex::encode).unwrap_or_default();
        let digest = digest.get(..16).unwrap_or(&digest);
        let content = match event.content(bank) {
            Content::Proven(content) => format!("has the digest: {}", printable(content)),
            Content::Unproven => format!("comment: {}", printable(event.data())),
        };
        lines.push(format!(
            "  unverified  {:>5}  {:<32}  {digest}  {content}",
            event.index(),
            type_name(event)
        ));
    }
    for (index, value) in log.unproven_registers(bank) {
        lines.push(format!("  unverified  {index:>5}  would replay to {}", hex::encode(value)));
    }
    lines
}

fn event_fields(event: &Event, bank: Bank) -> Value {
    let has_the_digest = match event.content(bank) {
        Content::Proven(content) => Some(printable(content)),
        Content::Unproven => None,
    };
    json!({
        "index": event.index(),
        "type": type_name(event),
        "digest": event.digest(bank).map(hex::encode),
        "data_matches_digest": has_the_digest.is_some(),
        "content": has_the_digest,
        "comment": printable(event.data()),
    })
}

/// The hash that evidence has registers of.
fn shown_bank(log: &EventLog) -> Bank {
    let of_evidence = [Bank::Sha256, Bank::Sha384].into_iter().find(|bank| log.banks().contains(bank));
    of_evidence.or(log.banks().first().copied()).unwrap_or(Bank::Sha384)
}

fn type_name(event: &Event) -> String {
    event_type_name(event.event_type()).map_or_else(|| format!("{:#010x}", event.event_type()), str::to_owned)
}

/// At most 160 characters, with everything that a terminal might obey as a dot.
fn printable(octets: &[u8]) -> String {
    let visible =
        |octet: &u8| if octet.is_ascii_graphic() || *octet == b' ' { char::from(*octet) } else { '.' };
    let mut text: String = octets.iter().take(160).map(visible).collect();
    if octets.len() > 160 {
        text.push('…');
    }
    text
}
