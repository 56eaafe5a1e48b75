//! The instance: swtpm with what Google puts into it, and a simulated chip underneath.

use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use casemate_attest::snp::ProductLine;
use casemate_attest::{Platform, TrustAnchors, UnixTime};
use casemate_enclave::{
    Attester, AttesterError, AzureReport, Brought, QuoteService, RawEvidence, Roots, google_vtpm,
};
use casemate_sim::{Machine, MachineConfig, Vendor};

use crate::google::Google;
use crate::swtpm::{Swtpm, signing_key};

/// 2026-01-01T12:00:00Z
pub(crate) const NOW: UnixTime = UnixTime(1_767_268_800);
pub(crate) const FIRMWARE: [u8; 48] = [0x32; 48];
pub(crate) const CERTIFICATE: u32 = 0x01c1_0000;
pub(crate) const TEMPLATE: u32 = 0x01c1_0001;
/// restricted
pub(crate) const RESTRICTED: u32 = 1 << 16;

/// Keys take seconds to make: one vendor of each kind, and one chip for all machines.
pub(crate) static VENDOR: LazyLock<Vendor> =
    LazyLock::new(|| Vendor::create(ProductLine::Genoa, NOW).expect("a vendor"));
pub(crate) static CHIP: LazyLock<Machine> =
    LazyLock::new(|| VENDOR.machine(&MachineConfig::new(FIRMWARE)).expect("a machine"));
pub(crate) static GOOGLE: LazyLock<Google> = LazyLock::new(Google::new);

/// The silicon vendor's roots, and Google's.
pub(crate) fn anchors() -> TrustAnchors {
    let pem = format!("{}{}", VENDOR.root_pem(), GOOGLE.root_pem);
    TrustAnchors::danger_only_pem(&pem).expect("roots")
}

/// The chip, as an instance's configfs-tsm gives its reports: with the certificate and the list.
pub(crate) struct Chip;

impl Attester for Chip {
    fn platform(&self) -> Platform {
        Platform::SevSnp
    }
    fn evidence(&self, report_data: &[u8; 64]) -> Result<RawEvidence, AttesterError> {
        Ok(RawEvidence {
            platform: Platform::SevSnp,
            evidence: CHIP.report(report_data)?,
            endorsements: Brought {
                vek: Some(CHIP.vek_der().to_vec()),
                crl: Some(CHIP.crl_der().to_vec()),
                ak_certificate: None,
            },
        })
    }
    fn simulated(&self) -> bool {
        true
    }
}

/// An instance.
pub(crate) struct Vm(pub(crate) Swtpm);

impl Vm {
    /// Whose TPM is empty.
    pub(crate) fn new() -> Self {
        Self(Swtpm::start("gce"))
    }

    /// As Google sets it up; the key's certificate names a list, or none.
    pub(crate) fn provisioned(lists: bool) -> Self {
        let vm = Self::new();
        let template = template(RESTRICTED);
        let modulus = vm.modulus(&template);
        vm.0.nv_write(TEMPLATE, &template, 280);
        // Larger than the certificate: padded with zeros.
        vm.0.nv_write(CERTIFICATE, &GOOGLE.certificate(&modulus, lists), 1600);
        vm
    }

    /// Of the key that the TPM makes from this template.
    pub(crate) fn modulus(&self, template: &[u8]) -> Vec<u8> {
        let mut tpm = self.0.tpm();
        let primary = tpm.endorsement_primary(template).expect("a key");
        tpm.flush(primary.handle).expect("flushed");
        primary.public[primary.public.len() - 256..].to_vec()
    }

    pub(crate) fn roots(&self) -> Roots {
        let none = || self.0.dir.join("none");
        Roots {
            nsm: none(),
            chassis_asset_tag: none(),
            tpm: self.0.dir.join("tpm"),
            tpm_event_log: self.log(),
            confidential_space: none(),
            azure_metadata: String::new(),
            azure_report: AzureReport::Exchange,
            tsm: none(),
            sev_guest: none(),
            tdx_guest: none(),
            quote_service: QuoteService::Socket(none()),
        }
    }

    /// Where the kernel would have the boot's log.
    pub(crate) fn log(&self) -> PathBuf {
        self.0.dir.join("log")
    }

    pub(crate) fn attester(&self) -> Arc<dyn Attester> {
        google_vtpm(&self.roots()).unwrap_or_else(|e| panic!("{}: {e}", e.code()))
    }
}

/// With room for a modulus, as Google's has 280 octets.
pub(crate) fn template(more: u32) -> Vec<u8> {
    let template = signing_key(more, &[0; 256]);
    assert_eq!(template.len(), 280);
    template
}
