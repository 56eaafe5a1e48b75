//! What a genuine report says, as values.

use serde::{Serialize, Serializer};

use super::bits::{
    GuestPermission, GuestProtection, InformationalBit, PlatformProtection, PlatformWeakness, Signer,
};
use super::genuine::Genuine;
use super::product::{Cpuid, HostTrust, ProductLine};
use super::report::{FirmwareVersion, Report, Version};
use super::tcb::Tcb;
use super::vek::Subject;

/// Claims of a genuine SEV-SNP report and of its endorsement certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SnpClaims {
    /// Report version.
    pub report_version: Version,
    /// Product line, by CPUID (version 3 and later), certificate and chain.
    pub product_line: ProductLine,
    /// As in the certificate, such as "Milan-B0".
    pub product_name: String,
    /// Family, model, stepping; none in version 2 reports.
    pub cpuid: Option<Cpuid>,
    /// Kind of key that signed.
    pub signer: Signer,
    /// Whose key signed.
    pub identity: Identity,
    /// What the machine's host can do.
    pub host_trust: HostTrust,
    /// Why `host_trust` says so.
    pub host_trust_reason: &'static str,
    /// Privilege level at which the report was asked for; 0xFFFFFFFF for the host.
    pub vmpl: u32,
    /// POLICY.
    #[serde(serialize_with = "hex_u64")]
    pub guest_policy: u64,
    /// What the guest policy permits.
    pub guest_permissions: Vec<GuestPermission>,
    /// What the guest policy demands.
    pub guest_protections: Vec<GuestProtection>,
    /// Whether a migration agent is permitted.
    pub migration_agent: bool,
    /// PLATFORM_INFO.
    #[serde(serialize_with = "hex_u64")]
    pub platform_info: u64,
    /// The platform's weaknesses.
    pub platform_weaknesses: Vec<PlatformWeakness>,
    /// The platform's protections.
    pub platform_protections: Vec<PlatformProtection>,
    /// PLATFORM_INFO bits that are known and decide nothing.
    pub platform_notes: Vec<InformationalBit>,
    /// PLATFORM_INFO bits that nobody here knows.
    #[serde(serialize_with = "hex_u64")]
    pub platform_unknown_bits: u64,
    /// TCB of the firmware that runs.
    pub current_tcb: Tcb,
    /// TCB that the signing key is for.
    pub reported_tcb: Tcb,
    /// TCB below which the machine cannot be rolled back.
    pub committed_tcb: Tcb,
    /// TCB at launch.
    pub launch_tcb: Tcb,
    /// Version of the firmware that runs.
    pub current_firmware: FirmwareVersion,
    /// Version of the firmware that is committed.
    pub committed_firmware: FirmwareVersion,
    /// Mitigations at launch; none before report version 5.
    pub launch_mitigations: Option<u64>,
    /// Mitigations now; none before report version 5.
    pub current_mitigations: Option<u64>,
    /// Digest of the ID key; zero without an ID block.
    #[serde(with = "hex::serde")]
    pub id_key_digest: [u8; 48],
    /// Digest of the author key.
    #[serde(with = "hex::serde")]
    pub author_key_digest: [u8; 48],
    /// Whether the author key is in use.
    pub author_key_enabled: bool,
    /// Family id of the ID block.
    #[serde(with = "hex::serde")]
    pub family_id: [u8; 16],
    /// Image id of the ID block.
    #[serde(with = "hex::serde")]
    pub image_id: [u8; 16],
    /// Security version of the guest image.
    pub guest_svn: u32,
    /// Id of this guest.
    #[serde(with = "hex::serde")]
    pub report_id: [u8; 32],
    /// Id of the guest's migration agent; all ones without one.
    #[serde(with = "hex::serde")]
    pub report_id_ma: [u8; 32],
}

/// Whose key signed a report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Identity {
    /// One chip's: CHIP_ID.
    Chip(#[serde(with = "hex::serde")] [u8; 64]),
    /// One provider's: CSP_ID of the certificate.
    Provider(String),
}

impl SnpClaims {
    pub(crate) fn new(report: &Report, genuine: &Genuine) -> Self {
        let guest_policy = report.guest_policy();
        let platform_info = report.platform_info();
        Self {
            report_version: report.version(),
            product_line: genuine.line,
            product_name: genuine.product_name.clone(),
            cpuid: report.cpuid(),
            signer: genuine.signer,
            identity: match &genuine.subject {
                Subject::Chip(chip_id) => Identity::Chip(*chip_id),
                Subject::Provider(provider) => Identity::Provider(provider.clone()),
            },
            host_trust: genuine.line.host_trust(),
            host_trust_reason: genuine.line.host_trust_reason(),
            vmpl: report.vmpl(),
            guest_policy: guest_policy.raw(),
            guest_permissions: GuestPermission::ALL
                .into_iter()
                .filter(|&bit| guest_policy.permits(bit))
                .collect(),
            guest_protections: GuestProtection::ALL
                .into_iter()
                .filter(|&bit| guest_policy.demands(bit))
                .collect(),
            migration_agent: guest_policy.migration_agent(),
            platform_info: platform_info.raw(),
            platform_weaknesses: PlatformWeakness::ALL
                .into_iter()
                .filter(|&bit| platform_info.shows(bit))
                .collect(),
            platform_protections: PlatformProtection::ALL
                .into_iter()
                .filter(|&bit| platform_info.has(bit))
                .collect(),
            platform_notes: platform_info.informational(),
            platform_unknown_bits: platform_info.unknown(),
            current_tcb: genuine.tcbs.current,
            reported_tcb: genuine.tcbs.reported,
            committed_tcb: genuine.tcbs.committed,
            launch_tcb: genuine.tcbs.launch,
            current_firmware: report.current_version(),
            committed_firmware: report.committed_version(),
            launch_mitigations: report.launch_mitigations(),
            current_mitigations: report.current_mitigations(),
            id_key_digest: report.id_key_digest(),
            author_key_digest: report.author_key_digest(),
            author_key_enabled: report.key_info().author_key_enabled(),
            family_id: report.family_id(),
            image_id: report.image_id(),
            guest_svn: report.guest_svn(),
            report_id: report.report_id(),
            report_id_ma: report.report_id_ma(),
        }
    }

    /// CHIP_ID; `None` where a VLEK signed.
    pub fn chip_id(&self) -> Option<&[u8; 64]> {
        match &self.identity {
            Identity::Chip(chip_id) => Some(chip_id),
            Identity::Provider(_) => None,
        }
    }
}

fn hex_u64<S: Serializer>(value: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{value:#x}"))
}
