//! A simulated SEV-SNP machine, behind the same trait as a real one.

use std::fs::File;
use std::path::Path;

use casemate_attest::{Platform, TrustAnchors};
use casemate_sim::{Machine, MachineConfig, Vendor};

use super::{Attester, AttesterError, Brought, RawEvidence};

/// A simulated SEV-SNP machine that was "launched" with this very program as its image.
pub struct SimulatedSnp {
    machine: Machine,
    anchors: TrustAnchors,
}

impl SimulatedSnp {
    /// Measures the running program and puts it on a machine of the software vendor in `vendor_dir`.
    pub fn launch(vendor_dir: &Path) -> Result<Self, AttesterError> {
        let vendor = Vendor::load(vendor_dir)?;
        let mut image = File::open("/proc/self/exe").map_err(AttesterError::Image)?;
        let digest = casemate_sim::launch_digest_reader(&mut image).map_err(AttesterError::Image)?;
        let machine = vendor.machine(&MachineConfig::for_line(vendor.line(), REPORT_VERSION, digest))?;
        let anchors = TrustAnchors::danger_only_pem(&vendor.root_pem())?;
        Ok(Self { machine, anchors })
    }
}

impl Attester for SimulatedSnp {
    fn platform(&self) -> Platform {
        Platform::SevSnp
    }

    fn evidence(&self, report_data: &[u8; 64]) -> Result<RawEvidence, AttesterError> {
        Ok(RawEvidence {
            platform: Platform::SevSnp,
            evidence: self.machine.report(report_data)?,
            endorsements: Brought {
                vek: Some(self.machine.vek_der().to_vec()),
                crl: Some(self.machine.crl_der().to_vec()),
                ak_certificate: None,
            },
        })
    }

    fn simulated(&self) -> bool {
        true
    }

    fn anchors(&self) -> TrustAnchors {
        self.anchors.clone()
    }
}

/// The newest report version, as current firmware writes it.
const REPORT_VERSION: u32 = 5;
