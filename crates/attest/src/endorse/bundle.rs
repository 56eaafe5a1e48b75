//! The file that carries endorsements to where there is no network: `casemate.endorsements/1` (spec/endorse.md §2).
//!
//! ```json
//! {"amd":{"crl":"base64 DER","vek":"base64 DER"},"schema":"casemate.endorsements/1"}
//! {"aws":{"crl":["base64 DER", … ]},"schema":"casemate.endorsements/1"}
//! {"google":{"ak_chain":["base64 DER", … ],"crl":["base64 DER", … ]},"schema":"casemate.endorsements/1"}
//! {"nvidia":{"ocsp":["base64 DER", … ],"rim":["base64 XML", … ]},"schema":"casemate.endorsements/1"}
//! {"intel":{"pck_crl":"hex","pck_crl_issuer_chain":"PEM", … },"schema":"casemate.endorsements/1"}
//! ```
//!
//! Canonical (RFC 8785), so that equal endorsements are equal bytes. Nothing in it is believed: it is handed to
//! [`crate::verify`], which asks for the vendor's signatures.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::intel::Collateral;
use crate::endorsements::{Endorsements, Revocation};
use crate::evidence::{Evidence, Platform};
use crate::nvidia::GpuRevocation;
use crate::ocsp::{OcspNonce, OcspResponse};

/// Name and version of the file.
pub const BUNDLE_SCHEMA: &str = "casemate.endorsements/1";

/// Longer files are refused before they are parsed: every member has a limit of 1 MiB itself, and recorded bundles have
/// 5 to 30 KiB.
pub const MAX_BUNDLE: usize = 8 * 1024 * 1024;

/// What a file of endorsements says. Believed by nobody yet.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EndorsementBundle {
    amd: Option<Amd>,
    aws: Option<Vec<Vec<u8>>>,
    google: Option<Google>,
    intel: Option<Collateral>,
    nvidia: Option<DeviceEndorsements>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Google {
    /// From the key's issuer up.
    ak_chain: Vec<Vec<u8>>,
    lists: Vec<Vec<u8>>,
}

/// Of NVIDIA devices: reference manifests, and answers about revocation. Believed by nobody yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceEndorsements {
    ocsp: Vec<Vec<u8>>,
    rim: Vec<Vec<u8>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Amd {
    vek: Vec<u8>,
    crl: Vec<u8>,
}

/// Why bytes are no such file, or not of use for the evidence.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BundleError {
    /// More than endorsements need.
    #[error("a bundle of {found} bytes is longer than {MAX_BUNDLE}")]
    TooLong {
        /// Bytes that arrived.
        found: usize,
    },
    /// Not JSON, or a member is unknown, missing, there twice or of another type.
    #[error("the bundle is not understood")]
    Form,
    /// Another format, or another version of this one.
    #[error("the bundle's schema is not {BUNDLE_SCHEMA}")]
    Schema,
    /// Not standard base64.
    #[error("{member} is not base64")]
    Base64 {
        /// Of the bundle.
        member: &'static str,
    },
    /// The same content in other bytes.
    #[error("the bundle is not in canonical form")]
    NotCanonical,
    /// A bundle without any endorsement.
    #[error("the bundle endorses nothing")]
    Empty,
    /// Nothing of the vendor of this evidence is in it.
    #[error("the bundle has no endorsement for evidence of {platform}")]
    Missing {
        /// Of the evidence.
        platform: Platform,
    },
    /// Nothing of NVIDIA is in it.
    #[error("the bundle has no endorsement for NVIDIA devices")]
    MissingDevices,
}

/// Members in their canonical order.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    amd: Option<AmdFile>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    aws: Option<AwsFile>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    google: Option<GoogleFile>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    intel: Option<Collateral>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    nvidia: Option<NvidiaFile>,
    schema: String,
}

/// Each list in ascending order of its octets, each once.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct NvidiaFile {
    ocsp: Vec<String>,
    rim: Vec<String>,
}

/// In ascending order of the octets, each once.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AwsFile {
    crl: Vec<String>,
}

/// The chain in its own order; the lists in ascending order of the octets, each once.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct GoogleFile {
    ak_chain: Vec<String>,
    crl: Vec<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AmdFile {
    crl: String,
    vek: String,
}

impl EndorsementBundle {
    /// With AMD's endorsements: the VCEK's or VLEK's certificate and the line's revocation list, both DER.
    #[must_use]
    pub fn with_amd(mut self, vek: Vec<u8>, crl: Vec<u8>) -> Self {
        self.amd = Some(Amd { vek, crl });
        self
    }

    /// With Intel's collateral.
    #[must_use]
    pub fn with_intel(mut self, collateral: Collateral) -> Self {
        self.intel = Some(collateral);
        self
    }

    /// AMD's endorsements, where it has them: the VCEK's or VLEK's certificate and the revocation list, both DER.
    pub fn amd(&self) -> Option<(&[u8], &[u8])> {
        self.amd.as_ref().map(|amd| (amd.vek.as_slice(), amd.crl.as_slice()))
    }

    /// Intel's collateral, where it has it.
    pub fn intel(&self) -> Option<&Collateral> {
        self.intel.as_ref()
    }

    /// Revocation lists of AWS's authorities, where it has them, DER.
    pub fn aws(&self) -> Option<&[Vec<u8>]> {
        self.aws.as_deref()
    }

    /// The certificates between that of a GCE virtual TPM's key and Google's root, where it has them, from the key's issuer
    /// up, DER.
    pub fn google_ak_chain(&self) -> Option<&[Vec<u8>]> {
        self.google.as_ref().map(|google| google.ak_chain.as_slice())
    }

    /// The revocation lists of Google's authorities, where it has them, DER.
    pub fn google_lists(&self) -> Option<&[Vec<u8>]> {
        self.google.as_ref().map(|google| google.lists.as_slice())
    }

    /// With revocation lists of AWS's authorities, DER, in any order.
    #[must_use]
    pub fn with_aws(mut self, lists: Vec<Vec<u8>>) -> Self {
        self.aws = Some(sorted(lists));
        self
    }

    /// With the certificates between that of a GCE virtual TPM's key and Google's root, from the key's issuer up, and the
    /// revocation lists of their authorities in any order, all DER.
    #[must_use]
    pub fn with_google(mut self, ak_chain: Vec<Vec<u8>>, lists: Vec<Vec<u8>>) -> Self {
        self.google = Some(Google { ak_chain, lists: sorted(lists) });
        self
    }

    /// With NVIDIA's answers about revocation (OCSP responses, DER) and reference manifests (XML), in any order.
    #[must_use]
    pub fn with_nvidia(mut self, ocsp: Vec<Vec<u8>>, rim: Vec<Vec<u8>>) -> Self {
        self.nvidia = Some(DeviceEndorsements { ocsp: sorted(ocsp), rim: sorted(rim) });
        self
    }

    /// Takes the file as it is.
    ///
    /// # Errors
    /// Every departure from the form at the head of this file, canonical form included.
    pub fn parse(input: &[u8]) -> Result<Self, BundleError> {
        if input.len() > MAX_BUNDLE {
            return Err(BundleError::TooLong { found: input.len() });
        }
        let file: File = serde_json::from_slice(input).map_err(|_| BundleError::Form)?;
        if file.schema != BUNDLE_SCHEMA {
            return Err(BundleError::Schema);
        }
        let amd = match &file.amd {
            Some(amd) => Some(Amd { vek: base64(&amd.vek, "amd.vek")?, crl: base64(&amd.crl, "amd.crl")? }),
            None => None,
        };
        let aws = match &file.aws {
            Some(aws) => Some(sorted(base64_list(&aws.crl, "aws.crl")?)),
            None => None,
        };
        let google = match &file.google {
            Some(google) => Some(Google {
                ak_chain: base64_list(&google.ak_chain, "google.ak_chain")?,
                lists: sorted(base64_list(&google.crl, "google.crl")?),
            }),
            None => None,
        };
        let nvidia = match &file.nvidia {
            Some(nvidia) => Some(DeviceEndorsements {
                ocsp: sorted(base64_list(&nvidia.ocsp, "nvidia.ocsp")?),
                rim: sorted(base64_list(&nvidia.rim, "nvidia.rim")?),
            }),
            None => None,
        };
        let bundle = Self { amd, aws, google, intel: file.intel, nvidia };
        if bundle == Self::default() {
            return Err(BundleError::Empty);
        }
        if bundle.to_bytes()? != input {
            return Err(BundleError::NotCanonical);
        }
        Ok(bundle)
    }

    /// The file's bytes. All text is ASCII without control characters other than the line ends of PEM, so that the order
    /// of the members is all that RFC 8785 asks for.
    ///
    /// # Errors
    /// Where a member is not such text.
    pub fn to_bytes(&self) -> Result<Vec<u8>, BundleError> {
        if !self.intel.iter().flat_map(Collateral::texts).all(is_plain) {
            return Err(BundleError::Form);
        }
        let amd = self.amd.as_ref();
        let file = File {
            amd: amd.map(|amd| AmdFile { crl: STANDARD.encode(&amd.crl), vek: STANDARD.encode(&amd.vek) }),
            aws: self.aws.as_ref().map(|lists| AwsFile { crl: encoded(lists) }),
            google: self.google.as_ref().map(|google| GoogleFile {
                ak_chain: encoded(&google.ak_chain),
                crl: encoded(&google.lists),
            }),
            intel: self.intel.clone(),
            nvidia: self
                .nvidia
                .as_ref()
                .map(|nvidia| NvidiaFile { ocsp: encoded(&nvidia.ocsp), rim: encoded(&nvidia.rim) }),
            schema: BUNDLE_SCHEMA.to_owned(),
        };
        serde_json::to_vec(&file).map_err(|_| BundleError::Form)
    }

    /// The endorsements of this evidence.
    ///
    /// # Errors
    /// Where the bundle has none for it.
    pub fn endorsements(&self, evidence: &Evidence) -> Result<Endorsements, BundleError> {
        let platform = evidence.platform();
        let missing = BundleError::Missing { platform };
        match platform {
            Platform::SevSnp | Platform::AzureVtpm => {
                let amd = self.amd.as_ref().ok_or(missing)?;
                Ok(Endorsements::snp(amd.vek.clone(), Revocation::Crl(amd.crl.clone())))
            }
            Platform::Tdx | Platform::AzureVtpmTdx => {
                let collateral = self.intel.as_ref().ok_or(missing)?;
                let json = serde_json::to_vec(collateral).map_err(|_| BundleError::Form)?;
                Ok(Endorsements::tdx(json))
            }
            Platform::Nitro => {
                let lists = self.aws.clone().ok_or(missing)?;
                Ok(Endorsements::nitro(Revocation::of_lists(lists)))
            }
            Platform::GceVtpm => {
                let google = self.google.clone().ok_or(missing)?;
                Ok(Endorsements::gce_vtpm(google.ak_chain, Revocation::of_lists(google.lists)))
            }
        }
    }
}

impl EndorsementBundle {
    /// The endorsements of NVIDIA devices.
    ///
    /// # Errors
    /// Where the bundle has none.
    pub fn devices(&self) -> Result<&DeviceEndorsements, BundleError> {
        self.nvidia.as_ref().ok_or(BundleError::MissingDevices)
    }
}

impl DeviceEndorsements {
    /// The reference manifests, for [`crate::nvidia::Manifest::verify`].
    pub fn manifests(&self) -> impl Iterator<Item = &[u8]> {
        self.rim.iter().map(Vec::as_slice)
    }

    /// The answers about revocation as they are, DER.
    pub fn answers(&self) -> impl Iterator<Item = &[u8]> {
        self.ocsp.iter().map(Vec::as_slice)
    }

    /// The answers about revocation. Somebody else asked: which nonce was sent is not known here, so none is compared.
    pub fn revocation(&self) -> GpuRevocation {
        if self.ocsp.is_empty() {
            return GpuRevocation::Missing;
        }
        let response = |der: &Vec<u8>| OcspResponse { der: der.clone(), nonce: OcspNonce::NotSent };
        GpuRevocation::Ocsp(self.ocsp.iter().map(response).collect())
    }
}

impl Collateral {
    fn texts(&self) -> [&str; 9] {
        [
            &self.pck_crl,
            &self.pck_crl_issuer_chain,
            &self.qe_identity,
            &self.qe_identity_issuer_chain,
            &self.qe_identity_signature,
            &self.root_ca_crl,
            &self.tcb_info,
            &self.tcb_info_issuer_chain,
            &self.tcb_info_signature,
        ]
    }
}

impl BundleError {
    /// Stable identifier, for logs, exit codes and tests.
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLong { .. } => "endorse.bundle.too-long",
            Self::Form => "endorse.bundle.form",
            Self::Schema => "endorse.bundle.schema",
            Self::Base64 { .. } => "endorse.bundle.base64",
            Self::NotCanonical => "endorse.bundle.not-canonical",
            Self::Empty => "endorse.bundle.empty",
            Self::Missing { .. } | Self::MissingDevices => "endorse.bundle.missing",
        }
    }
}

fn base64(text: &str, member: &'static str) -> Result<Vec<u8>, BundleError> {
    STANDARD.decode(text).map_err(|_| BundleError::Base64 { member })
}

fn encoded(items: &[Vec<u8>]) -> Vec<String> {
    items.iter().map(|item| STANDARD.encode(item)).collect()
}

fn base64_list(texts: &[String], member: &'static str) -> Result<Vec<Vec<u8>>, BundleError> {
    texts.iter().map(|text| base64(text, member)).collect()
}

/// Equal endorsements are equal bytes, in whatever order they were fetched.
fn sorted(mut items: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    items.sort_unstable();
    items.dedup();
    items
}

fn is_plain(text: &str) -> bool {
    text.bytes().all(|octet| matches!(octet, b' '..=b'~' | b'\n' | b'\r'))
}

#[cfg(test)]
mod tests;
