//! "Is it genuine?": AZ-01, SNP-01 to SNP-10, AZ-02 to AZ-05, in this order (spec/attest.md §13).

use super::document::AzureEvidence;
use super::hcl::HardwareReport;
use super::reject::AzureRejection;
use super::runtime::RuntimeData;
use crate::anchors::TrustAnchors;
use crate::checks::{Finding, Ledger};
use crate::crypto;
use crate::endorsements::Revocation;
use crate::rules;
use crate::snp;
use crate::time::UnixTime;
use crate::tpm::SelectedPcrs;

/// What is known of Azure evidence once it is genuine.
#[derive(Debug)]
pub(crate) struct Genuine {
    pub(crate) report: snp::Report,
    pub(crate) hardware: snp::Genuine,
    pub(crate) runtime: RuntimeData,
    pub(crate) pcrs: SelectedPcrs,
}

/// Applies the rules. The ledger holds what was found, also where this fails.
pub(crate) fn verify(
    evidence: &AzureEvidence,
    vek_der: &[u8],
    revocation: &Revocation,
    anchors: &TrustAnchors,
    now: UnixTime,
    ledger: &mut Ledger,
) -> Result<Genuine, AzureRejection> {
    let report = ledger.record(&rules::azure::HARDWARE, hardware(evidence))?;
    let genuine = snp::verify(report, vek_der, revocation, anchors, now, ledger)?;
    ledger.record(&rules::azure::BINDING, binding(evidence, report))?;
    let runtime = ledger.record(&rules::azure::KEY, runtime(evidence))?;
    ledger.record(&rules::azure::QUOTE, quote(evidence, &runtime))?;
    let pcrs = ledger.record(&rules::azure::SELECTION, selection(evidence))?;
    Ok(Genuine { report: report.clone(), hardware: genuine, runtime, pcrs })
}

type Step<T> = Result<(T, Finding), AzureRejection>;

/// AZ-01. An `HclReport` exists only after its form was checked; this writes it down.
fn hardware(evidence: &AzureEvidence) -> Step<&snp::Report> {
    let hcl = &evidence.hcl;
    match hcl.hardware() {
        HardwareReport::Snp(report) if report.vmpl() == 0 => {
            let compared = format!("HCL version {}, over a SEV-SNP report at VMPL 0", hcl.version());
            Ok((report, Finding::Pass(compared)))
        }
        HardwareReport::Snp(report) => Err(AzureRejection::HardwareVmpl { found: report.vmpl() }),
        HardwareReport::Tdx { .. } => Err(AzureRejection::HardwareUnsupported),
    }
}

/// AZ-02. All 64 bytes: what stands after a shorter hash is part of the binding.
fn binding(evidence: &AzureEvidence, report: &snp::Report) -> Step<()> {
    let hcl = &evidence.hcl;
    if !crypto::equal(&hcl.bound(), &report.report_data()) {
        return Err(AzureRejection::Binding);
    }
    let compared = format!("{} of {} bytes, and zeros after it", hcl.hash().as_str(), hcl.runtime().len());
    Ok(((), Finding::Pass(compared)))
}

/// AZ-03. Read only now, when the text is known to be the hardware's.
fn runtime(evidence: &AzureEvidence) -> Step<RuntimeData> {
    let runtime = RuntimeData::parse(evidence.hcl.runtime())?;
    let digest = crypto::sha256(runtime.attestation_key.modulus());
    let compared = format!("RSA-2048, exponent 65537, SHA-256 of the modulus {}", hex::encode(digest));
    Ok((runtime, Finding::Pass(compared)))
}

/// AZ-04. Over the bytes that arrived.
fn quote(evidence: &AzureEvidence, runtime: &RuntimeData) -> Step<()> {
    evidence.quote.signed_by(&runtime.attestation_key, &evidence.signature)?;
    let compared =
        format!("RSASSA-PKCS1-v1_5, SHA-256, over the quote's {} bytes", evidence.quote.bytes().len());
    Ok(((), Finding::Pass(compared)))
}

/// AZ-05.
fn selection(evidence: &AzureEvidence) -> Step<SelectedPcrs> {
    let pcrs = evidence.quote.select(&evidence.pcrs)?;
    let compared = format!("one bank, SHA-256, PCRs {:?}, and their digest", pcrs.indices());
    Ok((pcrs, Finding::Pass(compared)))
}

#[cfg(test)]
pub(super) mod tests;
