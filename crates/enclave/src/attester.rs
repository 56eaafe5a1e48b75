//! Where evidence comes from.
//!
//! The trait is small on purpose: a platform's device makes evidence for 64 bytes and names its endorsements. The
//! simulated machine stands behind the same trait, with a root of its own (invariant 4). Real devices follow.

use std::fs::File;
use std::io;
use std::path::Path;

use casemate_sim::{Machine, MachineConfig, SimError, Vendor};

/// Evidence for one set of report data, with its endorsements, as the device gave it.
pub struct RawEvidence {
    /// The platform's name, such as `sev-snp`.
    pub platform: &'static str,
    /// The evidence, for SEV-SNP the 1184-byte report.
    pub evidence: Vec<u8>,
    /// VCEK or VLEK certificate, DER.
    pub vek_der: Vec<u8>,
    /// AMD's certificate revocation list, DER.
    pub crl_der: Vec<u8>,
}

/// Why there is no evidence.
#[derive(Debug, thiserror::Error)]
pub enum AttesterError {
    /// This machine offers no TEE device that we can use.
    #[error("this machine has no confidential-computing device that this version can use")]
    NoDevice,
    /// The program's own image could not be read for the simulated launch measurement.
    #[error("cannot read the program's own image: {0}")]
    Image(#[source] io::Error),
    /// The simulator failed.
    #[error("the simulated machine failed: {0}")]
    Simulator(#[from] SimError),
}

impl AttesterError {
    /// The stable code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoDevice => "attester.no-device",
            Self::Image(_) => "attester.image",
            Self::Simulator(_) => "attester.simulator",
        }
    }
}

/// A device that makes evidence.
pub trait Attester: Send + Sync {
    /// Evidence whose report data is exactly `report_data`.
    fn evidence(&self, report_data: &[u8; 64]) -> Result<RawEvidence, AttesterError>;
    /// A warning that belongs into every output, if this hardware is not real.
    fn simulated(&self) -> bool;
}

/// A simulated SEV-SNP machine that was "launched" with this very program as its image.
pub struct SimulatedSnp {
    machine: Machine,
}

impl SimulatedSnp {
    /// Measures the running program and puts it on a machine of the software vendor in `vendor_dir`.
    pub fn launch(vendor_dir: &Path) -> Result<Self, AttesterError> {
        let vendor = Vendor::load(vendor_dir)?;
        let mut image = File::open("/proc/self/exe").map_err(AttesterError::Image)?;
        let digest = casemate_sim::launch_digest_reader(&mut image).map_err(AttesterError::Image)?;
        let machine = vendor.machine(&MachineConfig::for_line(vendor.line(), REPORT_VERSION, digest))?;
        Ok(Self { machine })
    }
}

impl Attester for SimulatedSnp {
    fn evidence(&self, report_data: &[u8; 64]) -> Result<RawEvidence, AttesterError> {
        Ok(RawEvidence {
            platform: "sev-snp",
            evidence: self.machine.report(report_data)?,
            vek_der: self.machine.vek_der().to_vec(),
            crl_der: self.machine.crl_der().to_vec(),
        })
    }

    fn simulated(&self) -> bool {
        true
    }
}

/// The newest report version, as current firmware writes it.
const REPORT_VERSION: u32 = 5;
