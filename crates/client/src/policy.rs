//! What a client demands of a server: one TOML file.

use casemate_attest::Policy;
use casemate_protocol::statement::ModelRule;
use serde::Deserialize;

/// A client's policy: which machines and which models.
///
/// ```toml
/// [model]
/// manifests = ["<64 hex digits>"]     # or: danger-any = "why any model will do"
///
/// [sev-snp]                           # spec/attest.md, policy reference
/// …
/// ```
#[derive(Debug)]
pub struct ClientPolicy {
    /// Which machines.
    pub attest: Policy,
    /// Which models.
    pub models: ModelRule,
}

/// Why a file is not a policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientPolicyError {
    /// Not TOML, or keys that are unknown or missing. The text is the parser's and names line and column.
    #[error("the policy is malformed: {0}")]
    Malformed(String),
    /// The platform rules are not acceptable.
    #[error(transparent)]
    Attest(#[from] casemate_attest::PolicyError),
    /// `[model]` names neither manifests nor a reason for taking any.
    #[error("[model] needs either `manifests` or `danger-any`, and not both")]
    ModelRule,
    /// A manifest digest is not 64 hex digits.
    #[error("`{text}` in [model] manifests is not 64 hex digits")]
    ManifestDigest {
        /// What was written.
        text: String,
    },
    /// The list of manifests is empty: no server could ever pass.
    #[error("[model] manifests is empty")]
    NoManifest,
}

impl ClientPolicyError {
    /// The stable code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "policy.malformed",
            Self::Attest(e) => e.code(),
            Self::ModelRule => "policy.model-rule",
            Self::ManifestDigest { .. } => "policy.manifest-digest",
            Self::NoManifest => "policy.no-manifest",
        }
    }
}

impl ClientPolicy {
    /// Reads a policy. Unknown keys are errors.
    pub fn from_toml(text: &str) -> Result<Self, ClientPolicyError> {
        let malformed = |e: toml::de::Error| ClientPolicyError::Malformed(e.to_string());
        let mut table: toml::Table = toml::from_str(text).map_err(malformed)?;
        let model = table.remove("model").ok_or(ClientPolicyError::ModelRule)?;
        let models = model.try_into::<ModelTable>().map_err(malformed)?.rule()?;
        let attest = Policy::from_toml(&table.to_string())?;
        Ok(Self { attest, models })
    }

    /// The platform rules alone, of a client policy or of a file that has no `[model]`: for evidence without a server.
    pub fn platform_from_toml(text: &str) -> Result<Policy, ClientPolicyError> {
        let table: toml::Table =
            toml::from_str(text).map_err(|e| ClientPolicyError::Malformed(e.to_string()))?;
        if table.contains_key("model") {
            return Self::from_toml(text).map(|policy| policy.attest);
        }
        Ok(Policy::from_toml(text)?)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct ModelTable {
    manifests: Option<Vec<String>>,
    danger_any: Option<String>,
}

impl ModelTable {
    fn rule(self) -> Result<ModelRule, ClientPolicyError> {
        match (self.manifests, self.danger_any) {
            (Some(manifests), None) if manifests.is_empty() => Err(ClientPolicyError::NoManifest),
            (Some(manifests), None) => {
                manifests.into_iter().map(digest).collect::<Result<_, _>>().map(ModelRule::OneOf)
            }
            (None, Some(reason)) if !reason.trim().is_empty() => Ok(ModelRule::Any { reason }),
            _ => Err(ClientPolicyError::ModelRule),
        }
    }
}

fn digest(text: String) -> Result<[u8; 32], ClientPolicyError> {
    let mut bytes = [0u8; 32];
    match hex::decode_to_slice(&text, &mut bytes) {
        Ok(()) => Ok(bytes),
        Err(_) => Err(ClientPolicyError::ManifestDigest { text }),
    }
}
