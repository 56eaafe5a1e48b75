//! What a client demands of a server: one TOML file.

use casemate_attest::Policy;
use casemate_protocol::devices::{DeviceRule, DeviceRuleError, DevicesTable};
use casemate_protocol::statement::{EngineRule, ModelRule, TlsKeyRule};
use casemate_protocol::vtpm::{VtpmRule, VtpmRuleError, VtpmTable};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use serde::Deserialize;

use crate::operator::{Authorities, OperatorRule};

/// A client's policy: which machines with which devices and which virtual TPM beside them, and which models.
///
/// ```toml
/// [model]
/// manifests = ["<64 hex digits>"]     # or: danger-any = "why any model will do"
///
/// [engine]                            # leave out: only the engine inside the software is accepted
/// upstreams = ["<64 hex digits>"]     # spec/upstream.md, or: danger-any = "why any program may answer"
///
/// [tls]                               # leave out: only a TLS key made inside the enclave is accepted
/// danger-operator-key = "why the operator may read along"
///
/// [operator]                          # leave out: anybody's machine that meets the rest, which is listed as waived
/// keys = ["<64 hex digits>"]          # or: names = ["api.example.com"], from public authorities or `authorities = """<PEM>"""`
///
/// [sev-snp]                           # spec/attest.md, policy reference
/// …
///
/// [devices]                           # leave out, with [nvidia]: a machine with GPUs is refused
/// count = 1
///
/// [nvidia]                            # spec/attest.md §14.4
/// …
///
/// [vtpm]                              # leave out: a machine with a virtual TPM beside its hardware is refused
/// provider = "google"
/// danger-unlisted = "why a certificate that names no revocation list will do"   # or leave out
///
/// [gce-vtpm]                          # spec/attest.md §15.3; without [vtpm], terms for a virtual TPM that stands alone
/// …
/// ```
#[derive(Debug)]
pub struct ClientPolicy {
    /// Which machines.
    pub attest: Policy,
    /// Which models.
    pub models: ModelRule,
    /// Which engines.
    pub engine: EngineRule,
    /// Who may hold the server's TLS key.
    pub tls_key: TlsKeyRule,
    /// Whose machines.
    pub operator: OperatorRule,
    /// Which GPUs.
    pub devices: DeviceRule,
    /// Which virtual TPM beside the hardware.
    pub vtpm: VtpmRule,
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
    /// `[tls]` accepts the operator's key without a reason.
    #[error("[tls] danger-operator-key is empty; write down the reason")]
    NoReason,
    /// A manifest digest is not 64 hex digits.
    #[error("`{text}` in [model] manifests is not 64 hex digits")]
    ManifestDigest {
        /// What was written.
        text: String,
    },
    /// `[operator]` names nobody, or keys and names, or authorities without names.
    #[error("[operator] needs either `keys` or `names`, some of them, and `authorities` only beside `names`")]
    OperatorRule,
    /// A value of `[operator]` is none.
    #[error("`{text}` in [operator] {member} is not {wanted}")]
    OperatorValue {
        /// The key of the table.
        member: &'static str,
        /// What was written.
        text: String,
        /// What was expected.
        wanted: &'static str,
    },
    /// `[engine]` names neither upstreams nor a reason for taking any.
    #[error("[engine] needs either `upstreams`, at least one, or `danger-any`, and not both")]
    EngineRule,
    /// An upstream's digest is not 64 hex digits.
    #[error("`{text}` in [engine] upstreams is not 64 hex digits")]
    UpstreamDigest {
        /// What was written.
        text: String,
    },
    /// `[devices]` and `[nvidia]` do not go together.
    #[error(transparent)]
    Devices(#[from] DeviceRuleError),
    /// `[vtpm]` and the terms do not go together.
    #[error(transparent)]
    Vtpm(#[from] VtpmRuleError),
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
            Self::NoReason => "policy.no-reason",
            Self::ManifestDigest { .. } => "policy.manifest-digest",
            Self::OperatorRule => "policy.operator-rule",
            Self::OperatorValue { .. } => "policy.operator-value",
            Self::EngineRule => "policy.engine-rule",
            Self::UpstreamDigest { .. } => "policy.upstream-digest",
            Self::Devices(e) => e.code(),
            Self::Vtpm(e) => e.code(),
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
        let tls_key = match table.remove("tls") {
            None => TlsKeyRule::MadeInside,
            Some(tls) => tls.try_into::<TlsTable>().map_err(malformed)?.rule()?,
        };
        let operator = match table.remove("operator") {
            None => OperatorRule::NotAsked,
            Some(operator) => operator.try_into::<OperatorTable>().map_err(malformed)?.rule()?,
        };
        let engine = match table.remove("engine") {
            None => EngineRule::Embedded,
            Some(engine) => engine.try_into::<EngineTable>().map_err(malformed)?.rule()?,
        };
        let devices = table.remove("devices").map(toml::Value::try_into::<DevicesTable>);
        let devices = devices.transpose().map_err(malformed)?;
        let vtpm = table.remove("vtpm").map(toml::Value::try_into::<VtpmTable>);
        let vtpm = vtpm.transpose().map_err(malformed)?;
        let mut attest = Policy::from_toml(&table.to_string())?;
        let devices = DeviceRule::new(devices.as_ref(), &attest)?;
        let vtpm = VtpmRule::take(vtpm, &mut attest)?;
        Ok(Self { attest, models, engine, tls_key, operator, devices, vtpm })
    }

    /// The platform rules alone, of a client policy or of a file that has no `[model]`: for bare evidence, which says
    /// nothing of models or connections.
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct TlsTable {
    danger_operator_key: String,
}

impl TlsTable {
    fn rule(self) -> Result<TlsKeyRule, ClientPolicyError> {
        let reason = self.danger_operator_key;
        if reason.trim().is_empty() {
            return Err(ClientPolicyError::NoReason);
        }
        Ok(TlsKeyRule::DangerOperatorHeld { reason })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct OperatorTable {
    keys: Option<Vec<String>>,
    names: Option<Vec<String>>,
    authorities: Option<String>,
}

impl OperatorTable {
    fn rule(self) -> Result<OperatorRule, ClientPolicyError> {
        let value = |member, text, wanted| ClientPolicyError::OperatorValue { member, text, wanted };
        match (self.keys, self.names) {
            (Some(keys), None) if !keys.is_empty() && self.authorities.is_none() => {
                let key = |text: String| {
                    let mut bytes = [0; 32];
                    hex::decode_to_slice(&text, &mut bytes)
                        .map_err(|_| value("keys", text, "64 hex digits"))?;
                    Ok(bytes)
                };
                keys.into_iter().map(key).collect::<Result<_, _>>().map(OperatorRule::Keys)
            }
            (None, Some(names)) if !names.is_empty() => {
                let name = |text: String| match ServerName::try_from(text.clone()) {
                    Ok(name @ ServerName::DnsName(_)) => Ok(name),
                    _ => Err(value("names", text, "a DNS name")),
                };
                let names = names.into_iter().map(name).collect::<Result<_, _>>()?;
                let authorities = match self.authorities {
                    None => Authorities::Public,
                    Some(pem) => anchors(&pem)
                        .map(Authorities::These)
                        .ok_or_else(|| value("authorities", "…".to_owned(), "certificates in PEM"))?,
                };
                Ok(OperatorRule::Names { names, authorities })
            }
            _ => Err(ClientPolicyError::OperatorRule),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct EngineTable {
    upstreams: Option<Vec<String>>,
    danger_any: Option<String>,
}

impl EngineTable {
    fn rule(self) -> Result<EngineRule, ClientPolicyError> {
        match (self.upstreams, self.danger_any) {
            (Some(named), None) if !named.is_empty() => {
                let digests = named.into_iter().map(|text| match digest(text) {
                    Err(ClientPolicyError::ManifestDigest { text }) => {
                        Err(ClientPolicyError::UpstreamDigest { text })
                    }
                    read => read,
                });
                digests.collect::<Result<_, _>>().map(EngineRule::OneOf)
            }
            (None, Some(reason)) if !reason.trim().is_empty() => Ok(EngineRule::Any { reason }),
            _ => Err(ClientPolicyError::EngineRule),
        }
    }
}

fn anchors(pem: &str) -> Option<Vec<rustls::pki_types::TrustAnchor<'static>>> {
    let certificates = CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<Vec<_>, _>>().ok()?;
    let anchor = |der| webpki::anchor_from_trusted_cert(der).ok().map(|anchor| anchor.to_owned());
    let anchors = certificates.iter().map(anchor).collect::<Option<Vec<_>>>()?;
    (!anchors.is_empty()).then_some(anchors)
}

fn digest(text: String) -> Result<[u8; 32], ClientPolicyError> {
    let mut bytes = [0u8; 32];
    match hex::decode_to_slice(&text, &mut bytes) {
        Ok(()) => Ok(bytes),
        Err(_) => Err(ClientPolicyError::ManifestDigest { text }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use casemate_attest::{Danger, PlatformPolicy};

    /// A policy with `head` before complete platform rules.
    fn policy(head: &str) -> Result<ClientPolicy, ClientPolicyError> {
        let zero = |bytes: usize| "00".repeat(bytes);
        ClientPolicy::from_toml(&format!(
            r#"{head}
[sev-snp]
measurement = ["{key}"]
host-data = ["{data}"]
id-key-digest = ["{key}"]
author-key-digest = ["{key}"]
family-id = ["{id}"]
image-id = ["{id}"]
chip-id = {{ any = "test" }}
vmpl = [0]
minimum-guest-svn = 0
minimum-report-version = 3
minimum-abi = {{ major = 0, minor = 0 }}
guest-must = []
platform-must = []
launch-mitigations = 0
current-mitigations = 0
"#,
            key = zero(48),
            data = zero(32),
            id = zero(16),
        ))
    }

    #[test]
    fn the_default_refuses_an_operators_key() {
        let digest = "a5".repeat(32);
        let read = policy(&format!("[model]\nmanifests = [\"{digest}\"]")).unwrap();
        assert_eq!(read.tls_key, TlsKeyRule::MadeInside);
        assert_eq!(read.models, ModelRule::OneOf(vec![[0xa5; 32]]));
        assert_eq!(read.engine, EngineRule::Embedded);
        let read =
            policy(&format!("[model]\ndanger-any = \"x\"\n[engine]\nupstreams = [\"{digest}\"]")).unwrap();
        assert_eq!(read.engine, EngineRule::OneOf(vec![[0xa5; 32]]));
        let read = policy("[model]\ndanger-any = \"test\"\n[tls]\ndanger-operator-key = \"ours\"").unwrap();
        assert_eq!(read.tls_key, TlsKeyRule::DangerOperatorHeld { reason: "ours".into() });
    }

    const NVIDIA: &str = r#"[nvidia]
architectures = ["hopper"]
device = { any = "test" }
driver-version = { any = "test" }
vbios-version = { any = "test" }
measurements = { any = "test" }
"#;

    #[test]
    fn devices_are_demanded_by_two_tables_or_by_none() {
        assert_eq!(policy("[model]\ndanger-any = \"x\"").unwrap().devices, DeviceRule::None);
        let read = policy(&format!("[model]\ndanger-any = \"x\"\n[devices]\ncount = 2\n{NVIDIA}")).unwrap();
        assert!(matches!(read.devices, DeviceRule::Exactly { count, .. } if count.get() == 2));
    }

    const GCE: &str = r#"[gce-vtpm]
memory-encryption-unproven = { danger-allow = "the SEV-SNP report names the key" }
project-id = ["p"]
zone = { any = "test" }
instance-id = { any = "test" }
pcrs = { 0 = { any = "test" } }
"#;

    #[test]
    fn a_virtual_tpm_beside_the_hardware_never_stands_for_it() {
        let read =
            policy(&format!("[model]\ndanger-any = \"x\"\n[vtpm]\nprovider = \"google\"\n{GCE}")).unwrap();
        assert_eq!(read.attest.gce, PlatformPolicy::NotAccepted);
        let VtpmRule::Google { policy: terms, unlisted: Danger::Refuse } = read.vtpm else {
            panic!("demanded")
        };
        assert_eq!(terms.snp, PlatformPolicy::NotAccepted);
        assert!(matches!(terms.gce, PlatformPolicy::Accepted(_)));
        // Without [vtpm] it is a platform like others, and none is accepted beside the hardware.
        let read = policy(&format!("[model]\ndanger-any = \"x\"\n{GCE}")).unwrap();
        assert!(matches!(read.attest.gce, PlatformPolicy::Accepted(_)));
        assert_eq!(read.vtpm, VtpmRule::None);
        let alone = format!("[model]\ndanger-any = \"x\"\n[vtpm]\nprovider = \"google\"\n{GCE}");
        assert_eq!(ClientPolicy::from_toml(&alone).unwrap_err().code(), "policy.vtpm-without-hardware");
    }

    #[test]
    fn one_mistake_each_has_its_code() {
        let digest = "a5".repeat(32);
        let cases = [
            (String::new(), "policy.model-rule"),
            ("[model]".into(), "policy.model-rule"),
            ("[model]\nmanifests = []".into(), "policy.no-manifest"),
            ("[model]\nmanifests = [\"zz\"]".into(), "policy.manifest-digest"),
            ("[model]\ndanger-any = \" \"".into(), "policy.model-rule"),
            (format!("[model]\nmanifests = [\"{digest}\"]\ndanger-any = \"x\""), "policy.model-rule"),
            (format!("[model]\nmanifests = [\"{digest}\"]\nmanifest = 1"), "policy.malformed"),
            ("[model]\ndanger-any = \"x\"\n[tls]".into(), "policy.malformed"),
            ("[model]\ndanger-any = \"x\"\n[tls]\ndanger-operator-key = \"\"".into(), "policy.no-reason"),
            ("[model]\ndanger-any = \"x\"\n[engine]".into(), "policy.engine-rule"),
            ("[model]\ndanger-any = \"x\"\n[engine]\nupstreams = []".into(), "policy.engine-rule"),
            ("[model]\ndanger-any = \"x\"\n[engine]\ndanger-any = \" \"".into(), "policy.engine-rule"),
            (
                format!(
                    "[model]\ndanger-any = \"x\"\n[engine]\nupstreams = [\"{digest}\"]\ndanger-any = \"x\""
                ),
                "policy.engine-rule",
            ),
            ("[model]\ndanger-any = \"x\"\n[engine]\nupstreams = [\"a5\"]".into(), "policy.upstream-digest"),
            ("[model]\ndanger-any = \"x\"\n[engine]\nupstream = \"a5\"".into(), "policy.malformed"),
            ("[model]\ndanger-any = \"x\"\n[nitro]".into(), "policy.syntax"),
            ("[model]\ndanger-any = \"x\"\n[devices]".into(), "policy.malformed"),
            ("[model]\ndanger-any = \"x\"\n[devices]\ncount = 1".into(), "policy.devices-without-terms"),
            (format!("[model]\ndanger-any = \"x\"\n{NVIDIA}"), "policy.devices-without-count"),
            (format!("[model]\ndanger-any = \"x\"\n[devices]\ncount = 0\n{NVIDIA}"), "policy.devices-count"),
            (
                "[model]\ndanger-any = \"x\"\n[vtpm]\nprovider = \"google\"".into(),
                "policy.vtpm-without-terms",
            ),
            (format!("[model]\ndanger-any = \"x\"\n[vtpm]\n{GCE}"), "policy.malformed"),
            (
                format!(
                    "[model]\ndanger-any = \"x\"\n[vtpm]\nprovider = \"google\"\ndanger-unlisted = \" \"\n{GCE}"
                ),
                "policy.vtpm-no-reason",
            ),
            (format!("[model]\ndanger-any = \"x\"\n[vtpm]\nprovider = \"azure\"\n{GCE}"), "policy.malformed"),
            ("garbage".into(), "policy.malformed"),
        ];
        for (head, code) in cases {
            assert_eq!(policy(&head).unwrap_err().code(), code, "{head}");
        }
    }

    const MODEL: &str = "[model]\ndanger-any = \"a test\"\n";

    #[test]
    fn operators_are_keys_or_names() {
        let operator =
            |table: &str| policy(&format!("{MODEL}[operator]\n{table}")).map(|policy| policy.operator);
        assert_eq!(policy(MODEL).unwrap().operator, OperatorRule::NotAsked);
        let keys = format!("keys = [\"{}\"]", "ab".repeat(32));
        assert_eq!(operator(&keys).unwrap(), OperatorRule::Keys(vec![[0xab; 32]]));
        let names = operator("names = [\"api.example.com\"]").unwrap();
        assert!(matches!(names, OperatorRule::Names { authorities: Authorities::Public, .. }));
        for (table, code) in [
            ("", "policy.operator-rule"),
            ("keys = []", "policy.operator-rule"),
            ("names = []", "policy.operator-rule"),
            ("authorities = \"\"", "policy.operator-rule"),
            (&format!("{keys}\nnames = [\"a.example\"]"), "policy.operator-rule"),
            (&format!("{keys}\nauthorities = \"\""), "policy.operator-rule"),
            ("keys = [\"ab\"]", "policy.operator-value"),
            ("names = [\"10.0.0.1\"]", "policy.operator-value"),
            ("names = [\"a b\"]", "policy.operator-value"),
            ("names = [\"a.example\"]\nauthorities = \"none\"", "policy.operator-value"),
            ("key = [\"ab\"]", "policy.malformed"),
        ] {
            assert_eq!(operator(table).unwrap_err().code(), code, "{table}");
        }
    }
}
