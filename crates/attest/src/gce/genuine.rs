//! "Is it genuine?": rules GV-01 to GV-08, in this order (spec/attest.md §15).

use super::certificate::InstanceInfo;
use super::evidence::GceEvidence;
use super::reject::GceRejection;
use crate::anchors::TrustAnchors;
use crate::checks::{Finding, Ledger};
use crate::endorsements::Revocation;
use crate::rules::gce as rules;
use crate::time::UnixTime;
use crate::tpm::{self, AkCertificateError, EK_CERTIFICATE, LeafPurpose, Provider, SelectedPcrs};
use crate::x509::Certificate;

/// What is known of evidence once it is genuine.
#[derive(Debug)]
pub(crate) struct Genuine {
    pub(crate) instance: InstanceInfo,
    pub(crate) pcrs: SelectedPcrs,
    /// As it came; believed by nobody.
    pub(crate) event_log: Vec<u8>,
    pub(crate) valid_until: UnixTime,
}

type Step<T> = Result<(T, Finding), GceRejection>;

/// Applies the rules. The ledger holds what was found, also where this fails.
pub(crate) fn verify(
    evidence: &GceEvidence,
    intermediates: &[Vec<u8>],
    revocation: &Revocation,
    anchors: &TrustAnchors,
    now: UnixTime,
    ledger: &mut Ledger,
) -> Result<Genuine, GceRejection> {
    ledger.record(&rules::FORMAT, format(evidence))?;
    let (leaf, instance) = ledger.record(&rules::CERTIFICATE, certificate(evidence))?;
    let (root, issuers) = ledger.record(&rules::ROOT, root(intermediates, anchors))?;
    let path_until = ledger.record(&rules::CHAIN, path(root, &issuers, &leaf, now))?;
    let lists_until = ledger.record(&rules::REVOCATION, revoked(revocation, root, &issuers, &leaf, now))?;
    ledger.record(&rules::KEY, key(evidence, &leaf))?;
    ledger.record(&rules::QUOTE, quote(evidence))?;
    let pcrs = ledger.record(&rules::SELECTION, selection(evidence))?;
    let valid_until = path_until.min(lists_until);
    Ok(Genuine { instance, pcrs, event_log: evidence.event_log.clone(), valid_until })
}

/// GV-01. A `GceEvidence` exists only after its form was checked; this writes it down.
fn format(evidence: &GceEvidence) -> Step<()> {
    Ok(((), Finding::Pass(format!("attestation of {} bytes", evidence.bytes().len()))))
}

/// GV-02.
fn certificate(evidence: &GceEvidence) -> Step<(Certificate, InstanceInfo)> {
    let leaf = tpm::leaf(&evidence.certificate)?;
    let instance = InstanceInfo::of(&leaf)?;
    if !instance.production {
        return Err(GceRejection::NotProduction);
    }
    let compared = format!("of instance {} in {}", instance.instance_id, instance.zone);
    Ok(((leaf, instance), Finding::Pass(compared)))
}

/// GV-03. The root's own validity is looked at with the path.
fn root<'a>(
    intermediates: &[Vec<u8>],
    anchors: &'a TrustAnchors,
) -> Step<(&'a Certificate, Vec<Certificate>)> {
    let issuers = tpm::intermediates(intermediates)?;
    let root = tpm::root_of(anchors.vtpm_roots(), Provider::Google, &issuers)?;
    let whose = if anchors.simulated() { "SIMULATED root" } else { "Google's root" };
    let compared = format!("{whose} {}", root.subject_cn);
    Ok(((root, issuers), Finding::Pass(compared)))
}

/// GV-04.
fn path(root: &Certificate, issuers: &[Certificate], leaf: &Certificate, now: UnixTime) -> Step<UnixTime> {
    let until = tpm::validate(root, issuers, leaf, (EK_CERTIFICATE, LeafPurpose::IfAny), now)?;
    Ok((until, Finding::Pass(format!("{} certificates below the root, valid until {until}", issuers.len()))))
}

/// GV-05. Google's lists are one per authority. Returns the last second at which every list counts.
fn revoked(
    revocation: &Revocation,
    root: &Certificate,
    issuers: &[Certificate],
    leaf: &Certificate,
    now: UnixTime,
) -> Step<UnixTime> {
    tpm::revocation(revocation, root, issuers, leaf, now).map_err(GceRejection::Revocation)
}

/// GV-06.
fn key(evidence: &GceEvidence, leaf: &Certificate) -> Step<()> {
    if !tpm::is_key_of(&evidence.public.key, leaf) {
        return Err(AkCertificateError::OtherKey.into());
    }
    Ok(((), Finding::Pass(format!("name {}", hex::encode(evidence.public.name())))))
}

/// GV-07. The TPM says which key signed, with the key's own attributes hashed in.
fn quote(evidence: &GceEvidence) -> Step<()> {
    evidence.quote.signed_by(&evidence.public.key, &evidence.signature)?;
    if evidence.quote.qualified_signer() != evidence.public.qualified_name() {
        return Err(GceRejection::Signer);
    }
    let compared = format!(
        "RSASSA-PKCS1-v1_5, SHA-256, over the quote's {} bytes, by a restricted key",
        evidence.quote.bytes().len()
    );
    Ok(((), Finding::Pass(compared)))
}

/// GV-08.
fn selection(evidence: &GceEvidence) -> Step<SelectedPcrs> {
    let pcrs = evidence.quote.select(&evidence.pcrs)?;
    let compared = format!("one bank, SHA-256, PCRs {:?}, and their digest", pcrs.indices());
    Ok((pcrs, Finding::Pass(compared)))
}
