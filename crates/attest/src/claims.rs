//! What genuine evidence says, as values. Claims are not a verdict: only [`crate::Verified`] is.

use serde::{Serialize, Serializer};

use crate::azure::{self, AzureClaims, AzureEvidence};
use crate::evidence::Platform;
use crate::gce::{self, GceClaims};
use crate::nitro::{self, NitroClaims};
use crate::snp::{Genuine, Report, SnpClaims};
use crate::tdx::{self, TdxClaims};

/// What the hardware said. Readable by anybody, made only by [`crate::verify`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Claims {
    platform: Platform,
    #[serde(with = "hex::serde")]
    measurement: [u8; 48],
    #[serde(serialize_with = "optional_hex")]
    host_data: Option<[u8; 32]>,
    #[serde(with = "hex::serde")]
    report_data: Vec<u8>,
    debug: bool,
    #[serde(flatten)]
    details: Details,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Details {
    SevSnp(Box<SnpClaims>),
    Nitro(Box<NitroClaims>),
    Tdx(Box<TdxClaims>),
    Azure(Box<AzureClaims>),
    Gce(Box<GceClaims>),
}

impl Claims {
    pub(crate) fn from_snp(report: &Report, genuine: &Genuine) -> Self {
        Self {
            platform: Platform::SevSnp,
            measurement: report.measurement(),
            host_data: Some(report.host_data()),
            report_data: report.report_data().to_vec(),
            debug: report.guest_policy().debug(),
            details: Details::SevSnp(Box::new(SnpClaims::new(report, genuine))),
        }
    }

    pub(crate) fn from_nitro(document: &nitro::Document) -> Self {
        Self {
            platform: Platform::Nitro,
            measurement: document.pcr(0).copied().unwrap_or([0; 48]),
            host_data: None,
            report_data: document.user_data().unwrap_or_default().to_vec(),
            debug: document.debug(),
            details: Details::Nitro(Box::new(NitroClaims::new(document))),
        }
    }

    pub(crate) fn from_azure(evidence: &AzureEvidence, genuine: &azure::Genuine) -> Self {
        let (measurement, host_data, debug) = match &genuine.hardware {
            azure::Hardware::Snp { report, .. } => {
                (report.measurement(), Some(report.host_data()), report.guest_policy().debug())
            }
            azure::Hardware::Tdx { quote, .. } => (quote.mr_td(), None, quote.debug()),
        };
        Self {
            platform: genuine.hardware.platform(),
            measurement,
            host_data,
            report_data: evidence.quote().extra_data().to_vec(),
            debug,
            details: Details::Azure(Box::new(AzureClaims::new(evidence, genuine))),
        }
    }

    /// No launch is measured, so that the measurement is zero; and nothing keeps the host out, so that `debug` is true.
    pub(crate) fn from_gce(evidence: &gce::GceEvidence, genuine: &gce::Genuine) -> Self {
        Self {
            platform: Platform::GceVtpm,
            measurement: [0; 48],
            host_data: None,
            report_data: evidence.quote().extra_data().to_vec(),
            debug: true,
            details: Details::Gce(Box::new(GceClaims::new(evidence, genuine))),
        }
    }

    pub(crate) fn from_tdx(quote: &tdx::Quote, genuine: &tdx::Genuine) -> Self {
        Self {
            platform: Platform::Tdx,
            measurement: quote.mr_td(),
            host_data: None,
            report_data: quote.report_data().to_vec(),
            debug: quote.debug(),
            details: Details::Tdx(Box::new(TdxClaims::new(quote, genuine))),
        }
    }

    /// Whose evidence it is.
    pub fn platform(&self) -> Platform {
        self.platform
    }

    /// The code that was launched; of a Nitro enclave PCR0, which is zero in debug mode; of a TD MRTD; of an Azure VM its
    /// paravisor, not its guest.
    pub fn measurement(&self) -> &[u8; 48] {
        &self.measurement
    }

    /// What the host bound at launch, where the platform has such a field.
    pub fn host_data(&self) -> Option<&[u8; 32]> {
        self.host_data.as_ref()
    }

    /// What the guest bound into the evidence: 64 bytes of SEV-SNP and of TDX; of Nitro the user data, which may be absent and then
    /// is empty here; of an Azure VM the qualifying data of the quote.
    pub fn report_data(&self) -> &[u8] {
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
            Details::Nitro(_) | Details::Azure(_) | Details::Tdx(_) | Details::Gce(_) => None,
        }
    }

    /// The claims that only Nitro Enclaves have.
    pub fn nitro(&self) -> Option<&NitroClaims> {
        match &self.details {
            Details::Nitro(claims) => Some(claims),
            Details::SevSnp(_) | Details::Azure(_) | Details::Tdx(_) | Details::Gce(_) => None,
        }
    }

    /// The claims that only TDX has.
    pub fn tdx(&self) -> Option<&TdxClaims> {
        match &self.details {
            Details::Tdx(claims) => Some(claims),
            Details::SevSnp(_) | Details::Nitro(_) | Details::Azure(_) | Details::Gce(_) => None,
        }
    }

    /// The claims that only GCE virtual TPMs have.
    pub fn gce(&self) -> Option<&GceClaims> {
        match &self.details {
            Details::Gce(claims) => Some(claims),
            Details::SevSnp(_) | Details::Nitro(_) | Details::Tdx(_) | Details::Azure(_) => None,
        }
    }

    /// The claims that only Azure VMs have.
    pub fn azure(&self) -> Option<&AzureClaims> {
        match &self.details {
            Details::Azure(claims) => Some(claims),
            Details::SevSnp(_) | Details::Nitro(_) | Details::Tdx(_) | Details::Gce(_) => None,
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
            Self::Nitro(claims) => map.serialize_entry("nitro", claims)?,
            Self::Tdx(claims) => map.serialize_entry("tdx", claims)?,
            Self::Azure(claims) => map.serialize_entry("azure_vtpm", claims)?,
            Self::Gce(claims) => map.serialize_entry("gce_vtpm", claims)?,
        }
        map.end()
    }
}

fn optional_hex<S: Serializer>(value: &Option<[u8; 32]>, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(bytes) => serializer.serialize_some(&hex::encode(bytes)),
        None => serializer.serialize_none(),
    }
}
