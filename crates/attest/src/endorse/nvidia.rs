//! NVIDIA's reference manifests: under which identifiers its service files those of a device, and what of its answer is
//! kept. Whether NVIDIA signed a manifest is decided by [`crate::nvidia::Manifest::verify`].

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::intel::AnswerError;
use super::needs::NeedsError;
use crate::nvidia::golden::{edition, product};
use crate::nvidia::{Architecture, GpuEvidence, Manifest};

/// Longer identifiers are of no firmware.
const MAX_ID: usize = 96;

/// Board project, project SKU and chip SKU of the one switch that is known: its reports do not name them (attestation-sdk
/// `switch/evidence.cpp`; its identifiers are `NV_SWITCH_BIOS_5612_0002_890_…`).
const LS10_BOARD: [&str; 3] = ["5612", "0002", "890"];

/// A manifest that a device's firmware needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestNeed {
    /// Under which NVIDIA's service files it. It is not in the signed document; the rest is.
    pub id: String,
    edition: &'static str,
    product: &'static str,
    version: String,
}

#[derive(Deserialize)]
struct Answer {
    id: String,
    rim: String,
    /// `TCG` for the XML that is read here, `CORIM` for another format.
    #[serde(default)]
    rim_format: Option<String>,
}

impl ManifestNeed {
    /// What the devices need, each manifest once: of a GPU that of its driver and that of its VBIOS, of a switch that of
    /// its firmware.
    ///
    /// # Errors
    /// Where a device does not say what it runs, or not in an identifier's letters.
    pub fn of(devices: &[GpuEvidence]) -> Result<Vec<Self>, NeedsError> {
        let mut needs: Vec<Self> = Vec::new();
        for device in devices {
            for need in Self::of_one(device)? {
                if !needs.iter().any(|other| other.id == need.id) {
                    needs.push(need);
                }
            }
        }
        Ok(needs)
    }

    fn of_one(device: &GpuEvidence) -> Result<Vec<Self>, NeedsError> {
        let architecture = device.chain.architecture().ok_or(NeedsError::Device)?;
        let opaque = device.report.opaque();
        let named = |text: &Option<String>, what| text.clone().ok_or(NeedsError::Firmware { what });
        let need = |id: String, version: String| {
            let of_an_id = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'.' | b'_' | b'-');
            if id.len() > MAX_ID || !id.bytes().all(of_an_id) {
                return Err(NeedsError::Firmware { what: "identifier of letters and digits" });
            }
            Ok(Self { id, edition: edition(architecture), product: product(architecture), version })
        };
        let vbios = named(&opaque.vbios_version, "VBIOS version")?;
        let vbios_in_id = vbios.replace('.', "").to_ascii_uppercase();
        if architecture.is_switch() {
            let [project, project_sku, chip_sku] = LS10_BOARD;
            let id = format!("NV_SWITCH_BIOS_{project}_{project_sku}_{chip_sku}_{vbios_in_id}");
            return Ok(vec![need(id, vbios)?]);
        }
        let driver = named(&opaque.driver_version, "driver version")?;
        let driver_id = match (architecture, &opaque.chip_info) {
            (Architecture::Blackwell, Some(chip)) => format!("NV_GPU_CC_DRIVER_{chip}_{driver}"),
            (Architecture::Blackwell, None) => format!("NV_GPU_CC_DRIVER_GB100_{driver}"),
            (Architecture::Hopper | Architecture::Ls10, _) => format!("NV_GPU_DRIVER_GH100_{driver}"),
        };
        let project = named(&opaque.project, "board project")?.to_ascii_uppercase();
        let project_sku = named(&opaque.project_sku, "board project SKU")?;
        let chip_sku = named(&opaque.chip_sku, "chip SKU")?;
        let vbios_id = format!("NV_GPU_VBIOS_{project}_{project_sku}_{chip_sku}_{vbios_in_id}");
        Ok(vec![need(driver_id, driver)?, need(vbios_id, vbios)?])
    }

    /// The manifest's document out of the service's answer (`GET /v1/rim/{id}`).
    ///
    /// # Errors
    /// Where the answer is not of that form, or of another identifier or format.
    pub fn document(&self, body: &[u8]) -> Result<Vec<u8>, AnswerError> {
        const WHAT: &str = "a manifest of NVIDIA's service";
        let form = |_| AnswerError::Form { what: WHAT };
        let answer: Answer = serde_json::from_slice(body).map_err(|_| AnswerError::Form { what: WHAT })?;
        let other = |asked: &str, found: &str| AnswerError::Other {
            what: WHAT,
            asked: asked.to_owned(),
            found: found.chars().filter(char::is_ascii_graphic).take(MAX_ID).collect(),
        };
        if answer.id != self.id {
            return Err(other(&self.id, &answer.id));
        }
        if let Some(format) = answer.rim_format.filter(|format| format != "TCG") {
            return Err(other("TCG", &format));
        }
        STANDARD.decode(answer.rim).map_err(form)
    }

    /// That a verified manifest is the one that was asked for: edition, product and version are signed in it.
    ///
    /// # Errors
    /// Where it is another.
    pub fn check(&self, manifest: &Manifest) -> Result<(), AnswerError> {
        let found = (manifest.edition(), manifest.product(), manifest.version());
        if found == (self.edition, self.product, self.version.as_str()) {
            return Ok(());
        }
        Err(AnswerError::Other {
            what: "a manifest",
            asked: format!("{} {} {}", self.edition, self.product, self.version),
            found: manifest.to_string(),
        })
    }
}
