//! `--gpu-policy`: `[devices]` and `[nvidia]`, as a client's policy has them, and nothing else.

use std::path::Path;

use casemate_attest::Policy;
use casemate_protocol::devices::{DeviceRule, DeviceRuleError, DevicesTable};

use super::error::GpuError;

/// What the operator demands of the machine's GPUs before they work.
#[derive(Debug, Clone)]
pub struct GpuPolicy {
    count: usize,
    terms: Box<Policy>,
}

impl GpuPolicy {
    /// Reads the file.
    ///
    /// # Errors
    /// [`GpuError::Policy`] or [`GpuError::Rule`].
    pub fn read(path: &Path) -> Result<Self, GpuError> {
        let wrong = |reason: String| GpuError::Policy { path: path.to_owned(), reason };
        let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
        let mut table: toml::Table =
            text.parse().map_err(|error: toml::de::Error| wrong(error.to_string()))?;
        // A table that nobody looks at would be taken for a demand.
        if let Some(other) = table.keys().find(|key| !["devices", "nvidia"].contains(&key.as_str())) {
            return Err(wrong(format!("`{other}` says nothing of GPUs; there are [devices] and [nvidia]")));
        }
        let rule_error = |error| GpuError::Rule { path: path.to_owned(), error };
        let devices = table.remove("devices").ok_or(rule_error(DeviceRuleError::NoCount))?;
        let devices: DevicesTable =
            devices.try_into().map_err(|error: toml::de::Error| wrong(error.to_string()))?;
        if table.is_empty() {
            return Err(rule_error(DeviceRuleError::NoTerms));
        }
        let policy = Policy::from_toml(&table.to_string()).map_err(|error| wrong(error.to_string()))?;
        match DeviceRule::new(Some(&devices), &policy).map_err(rule_error)? {
            DeviceRule::None => Err(rule_error(DeviceRuleError::NoTerms)),
            DeviceRule::Exactly { count, policy } => Ok(Self { count: count.get(), terms: policy }),
        }
    }

    /// How many GPUs the machine must have.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Whose `nvidia` says what each must be.
    pub(super) fn terms(&self) -> &Policy {
        &self.terms
    }
}
