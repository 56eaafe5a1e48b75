//! Which report of several: a gateway answers with its own and with those of the models behind it, a load balancer with
//! those of every server.
//!
//! ```text
//! { "gateway_attestation": report, "model_attestations": [report, …] }     gateway, model-1, …
//! { report, "all_attestations": [report, …] }                              instance-1, …; the first stands twice
//! { report, "model_attestations": [report, …] }                            model-1, …; one of them stands twice
//! ```

use serde_json::{Map, Value};

use crate::bundle::NotAsked;
use crate::bundle::error::BundleError;
use crate::bundle::members;
use crate::json;

/// More reports in one answer are refused; the largest recorded answer has three.
const MAX_PARTS: usize = 64;

struct Part {
    name: String,
    members: Map<String, Value>,
}

/// The report of this name, or the only one; and what beside it is not looked at.
pub(super) fn choose(
    mut members: Map<String, Value>,
    wanted: Option<&str>,
) -> Result<(Map<String, Value>, Vec<NotAsked>), BundleError> {
    let gateway = given(&mut members, "gateway_attestation");
    let models = listed(&mut members, "model_attestations", "model")?;
    let instances = listed(&mut members, "all_attestations", "instance")?;

    let mut parts: Vec<Part> = Vec::new();
    if let Some(gateway) = gateway {
        parts.push(Part { name: "gateway".to_owned(), members: object(gateway, "gateway_attestation")? });
    }
    let flat = members.contains_key("intel_quote");
    let repeats = |part: &Part| part.members.iter().all(|(name, value)| members.get(name) == Some(value));
    let lists: Vec<Part> = models.into_iter().chain(instances).collect();
    if flat && !lists.is_empty() && !lists.iter().any(repeats) {
        // Two readers would see two reports.
        return Err(BundleError::Contradiction { member: "all_attestations" });
    }
    let alone = flat && lists.is_empty();
    parts.extend(lists);
    if alone {
        return match (wanted, parts.is_empty()) {
            (None | Some("report"), true) => Ok((members, Vec::new())),
            (Some(name), true) => Err(BundleError::NoPart { name: json::shorten(name) }),
            // A report beside a gateway's: whose it is, the answer does not say.
            (_, false) => Err(BundleError::Contradiction { member: "gateway_attestation" }),
        };
    }

    let names = || parts.iter().map(|part| part.name.as_str()).collect::<Vec<_>>().join(", ");
    let position = match wanted {
        None if parts.len() == 1 => Some(0),
        None if parts.is_empty() => return Err(BundleError::Missing { member: "intel_quote" }),
        None => return Err(BundleError::Several { names: names() }),
        Some(name) => parts.iter().position(|part| part.name == name),
    };
    let Some(position) = position else {
        return Err(BundleError::NoPart { name: json::shorten(wanted.unwrap_or_default()) });
    };
    let chosen = parts.swap_remove(position);
    let mut not_asked: Vec<_> = parts
        .iter()
        .map(|part| NotAsked { what: part.name.clone(), why: "a report of its own: name it to verify it" })
        .collect();
    let beside = members.keys().filter(|name| !chosen.members.contains_key(*name));
    not_asked
        .extend(beside.map(|name| NotAsked { what: json::shorten(name), why: super::report::why(name) }));
    Ok((chosen.members, not_asked))
}

/// `null` is as good as absent: servers write either.
fn given(members: &mut Map<String, Value>, name: &str) -> Option<Value> {
    members.remove(name).filter(|value| !value.is_null())
}

fn listed(
    members: &mut Map<String, Value>,
    path: &'static str,
    prefix: &str,
) -> Result<Vec<Part>, BundleError> {
    let Some(list) = given(members, path) else { return Ok(Vec::new()) };
    let list = members::list(list, path, MAX_PARTS)?;
    (1..)
        .zip(list)
        .map(|(number, part)| Ok(Part { name: format!("{prefix}-{number}"), members: object(part, path)? }))
        .collect()
}

fn object(value: Value, path: &'static str) -> Result<Map<String, Value>, BundleError> {
    match value {
        Value::Object(members) => Ok(members),
        _ => Err(BundleError::Type { member: path, expected: "an object" }),
    }
}
