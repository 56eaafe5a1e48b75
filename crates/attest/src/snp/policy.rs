//! What a SEV-SNP machine must be (spec/attest.md §7). Every field is decided on by one rule.

use super::bits::{GuestPermission, GuestProtection, PlatformProtection, PlatformWeakness};
use super::product::ProductLine;
use super::report::Version;
use super::tcb::Tcb;
use crate::policy::{Danger, Expected};

/// Terms for SEV-SNP evidence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnpPolicy {
    /// Launch measurements (SNP-23).
    pub measurement: Expected<[u8; 48]>,
    /// Host data (SNP-24).
    pub host_data: Expected<[u8; 32]>,
    /// Digests of the ID key; zero where an image has no ID block (SNP-25).
    pub id_key_digest: Expected<[u8; 48]>,
    /// Digests of the author key; zero where none is in use (SNP-26).
    pub author_key_digest: Expected<[u8; 48]>,
    /// Family ids of the ID block (SNP-27).
    pub family_id: Expected<[u8; 16]>,
    /// Image ids of the ID block (SNP-28).
    pub image_id: Expected<[u8; 16]>,
    /// Chips whose VCEK is accepted (SNP-30). A list also refuses every VLEK, which names no chip.
    pub chip_id: Expected<[u8; 64]>,
    /// Providers (CSP_ID, exactly as in the certificate) whose VLEK is accepted; none in an empty list (SNP-30).
    pub vlek_providers: Vec<String>,
    /// Privilege levels, 0 to 3 (SNP-17). A report that the host asked for is refused always.
    pub vmpl: Expected<u8>,
    /// Least security version of the guest image (SNP-29).
    pub minimum_guest_svn: u32,
    /// Least report version (SNP-12).
    pub minimum_report_version: Version,
    /// Least firmware ABI that the guest policy must demand (SNP-16).
    pub minimum_abi: Abi,
    /// Least TCB per product line, for the reported, the committed and the launch TCB (SNP-18).
    pub minimum_tcb: MinimumTcb,
    /// How far the host is trusted (SNP-13).
    pub host_trust: HostTrustPolicy,
    /// Debugging by the host (SNP-14).
    pub debug: Danger,
    /// A migration agent (SNP-15).
    pub migration_agent: Danger,
    /// Firmware that is not committed (SNP-20).
    pub provisional_firmware: Danger,
    /// What the guest policy may permit (SNP-16).
    pub guest_may: Vec<GuestPermission>,
    /// What the guest policy must demand (SNP-16).
    pub guest_must: Vec<GuestProtection>,
    /// Weaknesses that the platform may have (SNP-22).
    pub platform_may: Vec<PlatformWeakness>,
    /// Protections that the platform must have (SNP-22).
    pub platform_must: Vec<PlatformProtection>,
    /// Bits that LAUNCH_MIT_VECTOR must have (SNP-21).
    pub launch_mitigations: u64,
    /// Bits that CURRENT_MIT_VECTOR must have (SNP-21).
    pub current_mitigations: u64,
}

/// A firmware ABI version; ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Abi {
    /// Major.
    pub major: u8,
    /// Minor.
    pub minor: u8,
}

/// The floor of each product line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MinimumTcb {
    /// For Milan.
    pub milan: Floor,
    /// For Genoa, Bergamo and Siena.
    pub genoa: Floor,
    /// For Turin.
    pub turin: Floor,
}

/// The floor of one product line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Floor {
    /// The line is denied.
    NotAccepted,
    /// No component may be lower.
    AtLeast(Tcb),
}

/// How far a machine's host may be trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostTrustPolicy {
    /// Not at all: product lines whose host software can forge reports are denied.
    HostUntrusted,
    /// The provider's word is enough. The rule is listed as waived where it is all that there is.
    ProviderTrusted {
        /// Why; shown wherever the verdict is shown.
        reason: String,
    },
}

impl SnpPolicy {
    /// Strict terms with this measurement: production guests only, at VMPL 0, on Genoa or Turin at or above the
    /// baseline TCBs, with committed firmware, no ID block and zero host data; on any genuine chip, which is listed as a
    /// waiver. Change single fields to deviate.
    pub fn strict(measurement: Expected<[u8; 48]>) -> Self {
        Self {
            measurement,
            host_data: Expected::OneOf(vec![[0; 32]]),
            id_key_digest: Expected::OneOf(vec![[0; 48]]),
            author_key_digest: Expected::OneOf(vec![[0; 48]]),
            family_id: Expected::OneOf(vec![[0; 16]]),
            image_id: Expected::OneOf(vec![[0; 16]]),
            chip_id: Expected::any("no chip is named: a measurement alone was asked for"),
            vlek_providers: Vec::new(),
            vmpl: Expected::OneOf(vec![0]),
            minimum_guest_svn: 0,
            minimum_report_version: Version::V3,
            minimum_abi: Abi { major: 0, minor: 0 },
            minimum_tcb: MinimumTcb::BASELINE,
            host_trust: HostTrustPolicy::HostUntrusted,
            debug: Danger::Refuse,
            migration_agent: Danger::Refuse,
            provisional_firmware: Danger::Refuse,
            guest_may: vec![GuestPermission::Smt],
            guest_must: Vec::new(),
            platform_may: vec![PlatformWeakness::Smt],
            platform_must: vec![PlatformProtection::AliasCheckComplete],
            launch_mitigations: 0,
            current_mitigations: 0,
        }
    }
}

impl MinimumTcb {
    /// The lowest TCBs at which this project has seen genuine firmware complete the memory alias check: a Genoa report
    /// of version 3 and a Turin report of version 5. Milan is not accepted.
    pub const BASELINE: Self = Self {
        milan: Floor::NotAccepted,
        genoa: Floor::AtLeast(Tcb { fmc: 0, bootloader: 9, tee: 0, snp: 0x17, microcode: 0x48 }),
        turin: Floor::AtLeast(Tcb { fmc: 0, bootloader: 1, tee: 0, snp: 2, microcode: 0x47 }),
    };

    /// The floor of this line.
    pub fn of(&self, line: ProductLine) -> Floor {
        match line {
            ProductLine::Milan => self.milan,
            ProductLine::Genoa => self.genoa,
            ProductLine::Turin => self.turin,
        }
    }
}
