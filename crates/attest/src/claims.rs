//! What genuine evidence says, as values. Claims are not a verdict: only [`crate::Verified`] is.

use serde::{Serialize, Serializer};

use crate::evidence::Platform;
use crate::snp::{Genuine, Report, SnpClaims};

/// What the hardware said. Readable by anybody, made only by [`crate::verify`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Claims {
    platform: Platform,
    #[serde(with = "hex::serde")]
    measurement: [u8; 48],
    #[serde(with = "hex::serde")]
    host_data: [u8; 32],
    #[serde(with = "hex::serde")]
    report_data: [u8; 64],
    debug: bool,
    #[serde(flatten)]
    details: Details,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Details {
    SevSnp(Box<SnpClaims>),
}

impl Claims {
    pub(crate) fn from_snp(report: &Report, genuine: &Genuine) -> Self {
        Self {
            platform: Platform::SevSnp,
            measurement: report.measurement(),
            host_data: report.host_data(),
            report_data: report.report_data(),
            debug: report.guest_policy().debug(),
            details: Details::SevSnp(Box::new(SnpClaims::new(report, genuine))),
        }
    }

    /// Whose evidence it is.
    pub fn platform(&self) -> Platform {
        self.platform
    }

    /// The code that was launched.
    pub fn measurement(&self) -> &[u8; 48] {
        &self.measurement
    }

    /// What the host bound at launch.
    pub fn host_data(&self) -> &[u8; 32] {
        &self.host_data
    }

    /// What the guest bound into the evidence.
    pub fn report_data(&self) -> &[u8; 64] {
        &self.report_data
    }

    /// Whether the host may debug the guest.
    pub fn debug(&self) -> bool {
        self.debug
    }

    /// The claims that only SEV-SNP has.
    pub fn snp(&self) -> Option<&SnpClaims> {
        match &self.details {
            Details::SevSnp(claims) => Some(claims),
        }
    }
}

/// One key, the platform's name in snake case, with the platform's claims.
impl Serialize for Details {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        let mut map = serializer.serialize_map(Some(1))?;
        match self {
            Self::SevSnp(claims) => map.serialize_entry("sev_snp", claims)?,
        }
        map.end()
    }
}
