//! `[nvidia]` of a policy file.

use serde::Deserialize;

use super::evidence::Architecture;
use super::policy::NvidiaPolicy;
use crate::policy::PolicyError;
use crate::policy::file::{DangerFile, ListOrAny, hex_values, values};

/// A document with this table alone.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NvidiaDocument {
    nvidia: NvidiaFile,
}

/// The table as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct NvidiaFile {
    architectures: Vec<Architecture>,
    #[serde(default)]
    firmware_id_missing: DangerFile,
    #[serde(default)]
    certificate_hold: DangerFile,
    #[serde(default)]
    driver_manifest_missing: DangerFile,
    #[serde(default)]
    vbios_manifest_missing: DangerFile,
    device: ListOrAny<String>,
    driver_version: ListOrAny<String>,
    vbios_version: ListOrAny<String>,
    measurements: ListOrAny<String>,
}

impl TryFrom<NvidiaDocument> for NvidiaPolicy {
    type Error = PolicyError;

    fn try_from(document: NvidiaDocument) -> Result<Self, PolicyError> {
        document.nvidia.into_policy()
    }
}

impl NvidiaFile {
    pub(crate) fn into_policy(self) -> Result<NvidiaPolicy, PolicyError> {
        if self.architectures.is_empty() {
            return Err(PolicyError::EmptyList { field: "nvidia.architectures" });
        }
        Ok(NvidiaPolicy {
            architectures: self.architectures,
            firmware_id_missing: self.firmware_id_missing.into_danger("nvidia.firmware-id-missing")?,
            certificate_hold: self.certificate_hold.into_danger("nvidia.certificate-hold")?,
            driver_manifest_missing: self.driver_manifest_missing.into_danger("nvidia.driver-manifest-missing")?,
            vbios_manifest_missing: self.vbios_manifest_missing.into_danger("nvidia.vbios-manifest-missing")?,
            device: values(self.device, "nvidia.device", lower_hex)?,
            driver_version: values(self.driver_version, "nvidia.driver-version", |text| Ok(text.clone()))?,
            vbios_version: values(self.vbios_version, "nvidia.vbios-version", |text| Ok(text.clone()))?,
            measurements: hex_values(self.measurements, "nvidia.measurements")?,
        })
    }
}

fn lower_hex(text: &String) -> Result<String, PolicyError> {
    hex::decode(text).map(hex::encode).map_err(|_| PolicyError::NotHex { field: "nvidia.device" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Danger, Expected};

    const EXAMPLE: &str = include_str!("../../tests/policies/nvidia.toml");

    fn code(text: &str) -> &'static str {
        NvidiaPolicy::from_toml(text).expect_err("must be refused").code()
    }

    #[test]
    fn the_example_says_what_it_reads_like() {
        let policy = NvidiaPolicy::from_toml(EXAMPLE).expect("the example");
        assert_eq!(policy.architectures, [Architecture::Hopper]);
        assert_eq!(policy.firmware_id_missing, Danger::Refuse);
        assert_eq!(policy.driver_version, Expected::OneOf(vec!["580.159.03".to_owned()]));
    }

    #[test]
    fn every_key_without_a_refusing_default_is_required_and_no_other_is_known() {
        for line in EXAMPLE.lines().filter(|line| line.contains(" = ")) {
            assert_eq!(code(&EXAMPLE.replace(line, "")), "policy.syntax", "without {line}");
        }
        assert_eq!(code(&format!("{EXAMPLE}\ndebug = 1")), "policy.syntax");
        assert_eq!(code(&EXAMPLE.replace("hopper", "volta")), "policy.syntax");
    }

    #[test]
    fn what_accepts_nothing_or_says_nothing_is_refused() {
        assert_eq!(code(&EXAMPLE.replace("[\"hopper\"]", "[]")), "policy.empty-list");
        assert_eq!(code(&EXAMPLE.replace("[\"580.159.03\"]", "[]")), "policy.empty-list");
        assert_eq!(code(&EXAMPLE.replace("[\"580.159.03\"]", "{ any = \" \" }")), "policy.empty-reason");
        assert_eq!(
            code(&format!("{EXAMPLE}\nfirmware-id-missing = {{ danger-allow = \"\" }}")),
            "policy.empty-reason"
        );
        let device = |value: &str| {
            code(&EXAMPLE.replace("device = { any = \"the fleet is rented and changes daily\" }", value))
        };
        assert_eq!(device("device = [\"xy\"]"), "policy.not-hex");
    }
}
