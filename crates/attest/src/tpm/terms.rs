//! Terms for PCRs, on whatever platform the TPM is.

use std::collections::BTreeMap;

use super::pcr::{PCR_COUNT, SelectedPcrs};
use crate::checks::Finding;
use crate::crypto;
use crate::policy::file::{ListOrAny, hex_values};
use crate::policy::{Expected, PolicyError};

/// Which PCRs, and which values each may have. With no PCR at all, nothing is accepted.
pub type PcrTerms = BTreeMap<u8, Expected<[u8; 32]>>;

/// Why PCRs are denied.
pub(crate) enum PcrsDenied {
    /// A waiver without a reason.
    Waiver,
    /// Other PCRs than the policy decides on.
    Selection { found: Vec<u8>, expected: Vec<u8> },
    /// A value that is not listed.
    Value { index: u8, found: Box<[u8; 32]>, accepted: usize },
}

/// Exactly the PCRs that the policy decides on: a value that nobody decided on is not let through, and a decision without
/// a value is not skipped. With no PCR in the policy nothing passes, since no quote is over nothing.
pub(crate) fn appraise_pcrs(found: &SelectedPcrs, terms: &PcrTerms) -> Result<Finding, PcrsDenied> {
    let (quoted, expected): (Vec<u8>, Vec<u8>) = (found.indices(), terms.keys().copied().collect());
    if quoted != expected {
        return Err(PcrsDenied::Selection { found: quoted, expected });
    }
    let mut waivers = Vec::new();
    for (&index, expected) in terms {
        let Some(value) = found.get(index) else {
            return Err(PcrsDenied::Selection { found: quoted, expected: vec![index] });
        };
        match expected {
            Expected::Any { reason } if reason.trim().is_empty() => return Err(PcrsDenied::Waiver),
            Expected::Any { reason } => waivers.push(format!("PCR {index} not required: {reason}")),
            Expected::OneOf(values) if values.iter().any(|accepted| crypto::equal(accepted, value)) => {}
            Expected::OneOf(values) => {
                return Err(PcrsDenied::Value { index, found: Box::new(*value), accepted: values.len() });
            }
        }
    }
    if waivers.is_empty() {
        return Ok(Finding::Pass(format!("PCRs {quoted:?} are as accepted")));
    }
    Ok(Finding::Waived(format!("PCRs {quoted:?}; {}", waivers.join("; "))))
}

/// A table from decimal numbers to lists of values.
pub(crate) fn pcr_terms(
    file: BTreeMap<String, ListOrAny<String>>,
    field: &'static str,
) -> Result<PcrTerms, PolicyError> {
    let mut terms = PcrTerms::new();
    for (key, expected) in file {
        let index = (0..PCR_COUNT)
            .find(|index| index.to_string() == key)
            .ok_or(PolicyError::NoSuchPcr { field, found: key })?;
        terms.insert(index, hex_values(expected, field)?);
    }
    if terms.is_empty() { Err(PolicyError::EmptyList { field }) } else { Ok(terms) }
}
