//! "Is it genuine?": AZ-01, SNP-01 to SNP-10 or TDX-01 to TDX-08, AZ-02 to AZ-05, in this order (spec/attest.md §13).

use super::document::AzureEvidence;
use super::hcl::HardwareReport;
use super::reject::AzureRejection;
use super::runtime::RuntimeData;
use crate::anchors::TrustAnchors;
use crate::checks::{Finding, Ledger};
use crate::crypto;
use crate::endorsements::{AkCertificate, Revocation};
use crate::rules;
use crate::snp;
use crate::tdx;
use crate::time::UnixTime;
use crate::tpm::{self, AIK_CERTIFICATE, CertifiedAk, LeafPurpose, Provider, SelectedPcrs};

/// What is known of Azure evidence once it is genuine.
#[derive(Debug)]
pub(crate) struct Genuine {
    pub(crate) hardware: Hardware,
    pub(crate) runtime: RuntimeData,
    pub(crate) pcrs: SelectedPcrs,
    /// Microsoft's word on the attestation key, where its certificate came with the endorsements.
    pub(crate) certified: Option<CertifiedAk>,
}

/// The hardware underneath, once its evidence is genuine.
#[derive(Debug)]
pub(crate) enum Hardware {
    Snp { report: snp::Report, genuine: Box<snp::Genuine> },
    Tdx { quote: Box<tdx::Quote>, genuine: Box<tdx::Genuine> },
}

/// What endorses the hardware underneath.
pub(crate) enum HardwareEndorsements<'a> {
    Snp { vek_der: &'a [u8], revocation: &'a Revocation },
    Tdx { collateral: &'a [u8] },
}

/// Evidence of the hardware, believed by nobody yet.
enum Underneath<'a> {
    Snp(&'a snp::Report),
    Tdx(&'a tdx::Quote),
}

/// Applies the rules. The ledger holds what was found, also where this fails.
pub(crate) fn verify(
    evidence: &AzureEvidence,
    endorsements: &HardwareEndorsements<'_>,
    ak_certificate: Option<&AkCertificate>,
    anchors: &TrustAnchors,
    now: UnixTime,
    ledger: &mut Ledger,
) -> Result<Genuine, AzureRejection> {
    use HardwareEndorsements as Endorsed;
    let underneath = ledger.record(&rules::azure::HARDWARE, hardware(evidence))?;
    let hardware = match (&underneath, endorsements) {
        (Underneath::Snp(report), Endorsed::Snp { vek_der, revocation }) => {
            let genuine = snp::verify(report, vek_der, revocation, anchors, now, ledger)?;
            Hardware::Snp { report: (*report).clone(), genuine: Box::new(genuine) }
        }
        (Underneath::Tdx(quote), Endorsed::Tdx { collateral }) => {
            let genuine = tdx::verify(quote, collateral, anchors, now, ledger)?;
            Hardware::Tdx { quote: Box::new((*quote).clone()), genuine: Box::new(genuine) }
        }
        // The caller has looked at this already; it is refused here because nothing else may decide it.
        _ => return Err(AzureRejection::HardwareTdQuote),
    };
    ledger.record(&rules::azure::BINDING, binding(evidence, &underneath))?;
    let (runtime, certified) =
        ledger.record(&rules::azure::KEY, key(evidence, ak_certificate, anchors, now))?;
    ledger.record(&rules::azure::QUOTE, quote(evidence, &runtime))?;
    let pcrs = ledger.record(&rules::azure::SELECTION, selection(evidence))?;
    Ok(Genuine { hardware, runtime, pcrs, certified })
}

impl Genuine {
    /// Last second at which everything that endorses it is valid.
    pub(crate) fn valid_until(&self) -> UnixTime {
        let hardware = self.hardware.valid_until();
        self.certified.as_ref().map_or(hardware, |certified| certified.valid_until.min(hardware))
    }
}

impl Hardware {
    /// Last second at which everything that endorses it is valid.
    fn valid_until(&self) -> UnixTime {
        match self {
            Self::Snp { genuine, .. } => genuine.valid_until,
            Self::Tdx { genuine, .. } => genuine.valid_until,
        }
    }
}

type Step<T> = Result<(T, Finding), AzureRejection>;

/// AZ-01. An `AzureEvidence` exists only after its form was checked; this writes it down.
fn hardware(evidence: &AzureEvidence) -> Step<Underneath<'_>> {
    let hcl = &evidence.hcl;
    let version = hcl.version();
    match (hcl.hardware(), evidence.td_quote()) {
        (HardwareReport::Snp(report), None) if report.vmpl() == 0 => {
            let compared = format!("HCL version {version}, over a SEV-SNP report at VMPL 0");
            Ok((Underneath::Snp(report), Finding::Pass(compared)))
        }
        (HardwareReport::Snp(report), None) => Err(AzureRejection::HardwareVmpl { found: report.vmpl() }),
        (HardwareReport::Tdx { report_data }, Some(quote))
            if crypto::equal(report_data.as_slice(), &quote.report_data()) =>
        {
            let compared = format!("HCL version {version}, over a TDREPORT, and a quote with its REPORTDATA");
            Ok((Underneath::Tdx(quote), Finding::Pass(compared)))
        }
        _ => Err(AzureRejection::HardwareTdQuote),
    }
}

/// AZ-02. All 64 bytes: what stands after a shorter hash is part of the binding. Of a TD, those of the quote: a TDREPORT
/// is nobody's word here.
fn binding(evidence: &AzureEvidence, underneath: &Underneath<'_>) -> Step<()> {
    let hcl = &evidence.hcl;
    let report_data = match underneath {
        Underneath::Snp(report) => report.report_data(),
        Underneath::Tdx(quote) => quote.report_data(),
    };
    if !crypto::equal(&hcl.bound(), &report_data) {
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

/// AZ-03, and the key's certificate where there is one: of this key, by Microsoft.
fn key(
    evidence: &AzureEvidence,
    ak_certificate: Option<&AkCertificate>,
    anchors: &TrustAnchors,
    now: UnixTime,
) -> Step<(RuntimeData, Option<CertifiedAk>)> {
    let (runtime, finding) = runtime(evidence)?;
    let Some(AkCertificate { leaf, intermediates }) = ak_certificate else {
        return Ok(((runtime, None), finding));
    };
    let roots = (anchors.vtpm_roots(), Provider::Microsoft);
    let purpose = (AIK_CERTIFICATE, LeafPurpose::Required);
    let certified = tpm::certify(&runtime.attestation_key, leaf, intermediates, roots, purpose, now)?;
    let compared = format!("certified by {}, under {}", certified.issuer, certified.root);
    Ok(((runtime, Some(certified)), Finding::Pass(compared)))
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
