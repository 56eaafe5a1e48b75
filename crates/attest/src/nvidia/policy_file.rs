//! `[nvidia]` of a policy file.

use serde::Deserialize;

use super::evidence::Architecture;
use super::policy::NvidiaPolicy;
use crate::policy::PolicyError;
use crate::policy::file::{DangerFile, ListOrAny, hex_values, values};

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

impl NvidiaFile {
    pub(crate) fn into_policy(self) -> Result<NvidiaPolicy, PolicyError> {
        if self.architectures.is_empty() {
            return Err(PolicyError::EmptyList { field: "nvidia.architectures" });
        }
        Ok(NvidiaPolicy {
            architectures: self.architectures,
            firmware_id_missing: self.firmware_id_missing.into_danger("nvidia.firmware-id-missing")?,
            certificate_hold: self.certificate_hold.into_danger("nvidia.certificate-hold")?,
            driver_manifest_missing: self
                .driver_manifest_missing
                .into_danger("nvidia.driver-manifest-missing")?,
            vbios_manifest_missing: self
                .vbios_manifest_missing
                .into_danger("nvidia.vbios-manifest-missing")?,
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
    use crate::policy::{Danger, Expected, PlatformPolicy, Policy};

    const EXAMPLE: &str = include_str!("../../tests/policies/nvidia.toml");

    fn code(text: &str) -> &'static str {
        Policy::from_toml(text).expect_err("must be refused").code()
    }

    #[test]
    fn the_example_says_what_it_reads_like() {
        let policy = Policy::from_toml(EXAMPLE).expect("the example");
        assert_eq!(policy.snp, PlatformPolicy::NotAccepted);
        let PlatformPolicy::Accepted(policy) = policy.nvidia else { panic!("the table is there") };
        assert_eq!(policy.architectures, [Architecture::Hopper]);
        for danger in [
            policy.firmware_id_missing,
            policy.certificate_hold,
            policy.driver_manifest_missing,
            policy.vbios_manifest_missing,
        ] {
            assert_eq!(danger, Danger::Refuse, "every default refuses");
        }
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
        for key in
            ["firmware-id-missing", "certificate-hold", "driver-manifest-missing", "vbios-manifest-missing"]
        {
            let text = format!("{EXAMPLE}\n{key} = {{ danger-allow = \"\" }}");
            assert_eq!(code(&text), "policy.empty-reason", "{key}");
        }
        let device = |value: &str| {
            code(&EXAMPLE.replace("device = { any = \"the fleet is rented and changes daily\" }", value))
        };
        assert_eq!(device("device = [\"xy\"]"), "policy.not-hex");
    }
}
