//! ATT-06, ATT-07 and ATT-22: a device's own evidence is read back before anybody else sees it.
//!
//! A device that answers another caller, an old request or with another platform's bytes is caught here, by name, and not by
//! every client. Nothing is proven by it: the verifier does that.

use casemate_attest::{Evidence, Platform};
use casemate_protocol::statement;

use super::{AttesterError, RawEvidence};

/// Reads the evidence and compares what it binds with what was asked for, in full length.
pub(crate) fn check(raw: &RawEvidence, report_data: &[u8; 64]) -> Result<Evidence, AttesterError> {
    let evidence = Evidence::parse(&raw.evidence).map_err(AttesterError::Evidence)?;
    let found = evidence.platform();
    if found != raw.platform {
        return Err(AttesterError::Platform { expected: raw.platform, found });
    }
    if evidence.bound() != Some(statement::bound(found, report_data)) {
        return Err(AttesterError::Echo);
    }
    Ok(evidence)
}

/// Reads a document that names a recipient: that key, in full length, and nothing else that anybody could take for a statement.
pub(crate) fn check_recipient(document: &[u8], public_key: &[u8]) -> Result<(), AttesterError> {
    let evidence = Evidence::parse(document).map_err(AttesterError::Evidence)?;
    let found = evidence.platform();
    let document = evidence.nitro().ok_or(AttesterError::Platform { expected: Platform::Nitro, found })?;
    if document.public_key() != Some(public_key) || document.user_data().is_some() {
        return Err(AttesterError::Echo);
    }
    Ok(())
}
