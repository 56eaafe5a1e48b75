//! DOC-02 and DOC-03: the platform that `serve` would choose, and whether it makes evidence.

use std::io;
use std::time::Duration;

use casemate_attest::Platform;

use super::processor::{self, Kind};
use super::rule::{Check, Rule};
use super::scene::Scene;
use crate::attester::{
    AttesterError, NsmError, SevGuestError, Shown, TdxGuestError, TpmError, Tried, TsmError, shown, within,
};

const PLATFORM: Rule = Rule("DOC-02", "tee.platform");
const EVIDENCE: Rule = Rule("DOC-03", "tee.evidence");

pub(crate) fn checks(scene: &Scene) -> Vec<Check> {
    let shown = shown(&scene.roots);
    let tried = shown.as_ref().ok().map(|shown| attempt(scene, *shown));
    let made = tried.as_ref().and_then(|tried| tried.as_ref().ok()).and_then(|tried| kind(tried.platform));
    vec![
        processor::check(processor::says(scene), &shown, made),
        platform(&shown),
        evidence(tried.as_ref(), scene.patience),
    ]
}

fn attempt(scene: &Scene, shown: Shown) -> Result<Tried, AttesterError> {
    let (roots, metadata) = (scene.roots.clone(), scene.asked.metadata_service);
    within(scene.patience, move || shown.attempt(&roots, metadata))
}

/// Whose hardware the evidence is of, where the processor would say so too.
fn kind(platform: Platform) -> Option<Kind> {
    match platform {
        Platform::SevSnp | Platform::AzureVtpm => Some(Kind::SevSnp),
        Platform::Tdx | Platform::AzureVtpmTdx => Some(Kind::Tdx),
        _ => None,
    }
}

/// DOC-02.
pub(crate) fn platform(shown: &Result<Shown, AttesterError>) -> Check {
    match shown {
        Ok(shown) => PLATFORM.pass(format!("serve asks {}", shown.name())),
        Err(error) => {
            PLATFORM.fail(error.to_string(), error.hint().unwrap_or(SPECIFICATION)).code(error.code())
        }
    }
}

/// DOC-03.
pub(crate) fn evidence(tried: Option<&Result<Tried, AttesterError>>, patience: Duration) -> Check {
    match tried {
        None => EVIDENCE.unknown("not tried: no platform was chosen", "see tee.platform"),
        Some(Ok(Tried { platform, bytes: Some(bytes) })) => {
            EVIDENCE.pass(format!("{bytes} bytes of {platform}, which bind what they were asked for"))
        }
        Some(Ok(Tried { platform, bytes: None })) => EVIDENCE.warn(
            format!("the TPM quotes for the key that its report of {platform} names; the rest is Azure's metadata service's"),
            "ask that service too with --endorsement-services",
        ),
        Some(Err(AttesterError::Timeout { .. })) => EVIDENCE
            .unknown(
                format!("the device gave no answer within {patience:?}; serve waits longer"),
                "try again; if it stays so, the device or the host's quote service hangs, see the kernel's log",
            )
            .code("attester.timeout"),
        Some(Err(error)) if is_denied(error) || matches!(error, AttesterError::Busy { .. }) => {
            EVIDENCE.unknown(error.to_string(), error.hint().unwrap_or("run it as root")).code(error.code())
        }
        Some(Err(error)) => {
            EVIDENCE.fail(error.to_string(), error.hint().unwrap_or(SPECIFICATION)).code(error.code())
        }
    }
}

/// The system refuses this user: `serve`, started as root, may be served.
fn is_denied(error: &AttesterError) -> bool {
    let source = match error {
        AttesterError::Device { source, .. }
        | AttesterError::Tsm(TsmError::Refused { source, .. })
        | AttesterError::Tpm(TpmError::Transport { source, .. })
        | AttesterError::Nsm(NsmError::Kernel(source))
        | AttesterError::SevGuest(SevGuestError::Kernel(source))
        | AttesterError::TdxGuest(TdxGuestError::Kernel(source)) => source,
        _ => return false,
    };
    source.kind() == io::ErrorKind::PermissionDenied
}

const SPECIFICATION: &str = "see spec/attesters.md for what the code means";
