//! "Is it ours?": rules NIT-08 to NIT-15, in this order (spec/attest.md §11).

use super::deny::NitroDenial;
use super::document::{Document, PCR_LEN};
use super::genuine::Genuine;
use super::policy::NitroPolicy;
use crate::checks::{Finding, Ledger};
use crate::policy::{Danger, Expected};
use crate::rules::nitro as rules;
use crate::verdict::{Denial, waived};

type Step = Result<((), Finding), Denial>;

/// Applies the rules. The ledger holds what was found, also where this fails.
pub(crate) fn appraise(
    document: &Document,
    genuine: &Genuine,
    policy: &NitroPolicy,
    ledger: &mut Ledger,
) -> Result<(), Denial> {
    ledger.record(&rules::DEBUG, debug(document, &policy.debug))?;
    ledger.record(&rules::AGE, age(genuine, policy.maximum_age))?;
    ledger.record(&rules::PCR0, pcr(document, 0, &policy.pcr0))?;
    ledger.record(&rules::PCR1, pcr(document, 1, &policy.pcr1))?;
    ledger.record(&rules::PCR2, pcr(document, 2, &policy.pcr2))?;
    ledger.record(&rules::PCR3, pcr(document, 3, &policy.pcr3))?;
    ledger.record(&rules::PCR4, pcr(document, 4, &policy.pcr4))?;
    ledger.record(&rules::PCR8, pcr(document, 8, &policy.pcr8))
}

/// NIT-08.
fn debug(document: &Document, danger: &Danger) -> Step {
    match danger {
        _ if !document.debug() => pass("PCR0, PCR1 and PCR2 are not zero".to_owned()),
        Danger::Refuse => Err(Denial::Nitro(NitroDenial::Debug)),
        Danger::Allow { reason } => {
            waived("debug mode", NitroDenial::Debug.to_string(), reason).map(|finding| ((), finding))
        }
    }
}

/// NIT-09. NIT-06 has refused documents from the future.
fn age(genuine: &Genuine, maximum: u64) -> Step {
    let age = genuine.now.0.saturating_sub(genuine.made.0);
    if age > maximum {
        return Err(Denial::Nitro(NitroDenial::TooOld { age, maximum }));
    }
    pass(format!("{age} <= {maximum} seconds"))
}

/// NIT-10 to NIT-15.
fn pcr(document: &Document, index: u8, expected: &Expected<[u8; PCR_LEN]>) -> Step {
    let found = document.pcr(index);
    match (found, expected) {
        (_, Expected::Any { reason }) => {
            let compared = found.map_or_else(|| "absent".to_owned(), hex::encode);
            waived("an expected PCR", compared, reason).map(|finding| ((), finding))
        }
        (None, Expected::OneOf(_)) => Err(Denial::Nitro(NitroDenial::PcrAbsent { index })),
        (Some(found), Expected::OneOf(values)) if values.contains(found) => {
            pass(format!("{} is one of {} accepted", hex::encode(found), values.len()))
        }
        (Some(found), Expected::OneOf(values)) => Err(Denial::Nitro(NitroDenial::PcrNotAccepted {
            index,
            found: Box::new(*found),
            accepted: values.len(),
        })),
    }
}

fn pass(compared: String) -> Step {
    Ok(((), Finding::Pass(compared)))
}
