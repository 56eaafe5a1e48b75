//! One attempt to have evidence verified and appraised: everything that a case may change.

use std::sync::OnceLock;

use casemate_attest::snp::{
    Floor, HostTrustPolicy, MinimumTcb, ProductLine, SnpPolicy, Tcb as AttestTcb, Version,
};
use casemate_attest::{
    Authentic, Binding, Endorsements, Evidence, Expected, Policy, Revocation, TrustAnchors, UnixTime,
    Verified, verify,
};
use casemate_sim::{CSP_ID, Machine, MachineConfig, Vendor};

pub(crate) const NOW: UnixTime = UnixTime(1_795_478_400);
pub(crate) const DAY: u64 = 86_400;

pub(crate) const LAUNCH_DIGEST: [u8; 48] = [0x4d; 48];
pub(crate) const REPORT_DATA: [u8; 64] = [0x52; 64];

/// One vendor for each line, and a second one for Genoa. Keys are made once for each test program.
pub(crate) fn vendor(line: ProductLine) -> &'static Vendor {
    static MILAN: OnceLock<Vendor> = OnceLock::new();
    static GENOA: OnceLock<Vendor> = OnceLock::new();
    static TURIN: OnceLock<Vendor> = OnceLock::new();
    let cell = match line {
        ProductLine::Milan => &MILAN,
        ProductLine::Genoa => &GENOA,
        ProductLine::Turin => &TURIN,
        other => panic!("no vendor for {other}"),
    };
    cell.get_or_init(|| Vendor::create(line, NOW).expect("a vendor"))
}

/// What a verifier is given.
pub(crate) struct Attempt {
    pub(crate) report: Vec<u8>,
    pub(crate) vek: Vec<u8>,
    pub(crate) revocation: Revocation,
    pub(crate) anchors: Anchors,
    pub(crate) now: UnixTime,
    pub(crate) terms: SnpPolicy,
    pub(crate) expected: [u8; 64],
}

/// The roots that the verifier trusts.
pub(crate) enum Anchors {
    Pem(String),
    Amd,
}

impl Attempt {
    /// A machine's report under its own vendor's root.
    pub(crate) fn of(vendor: &Vendor, machine: &Machine) -> Self {
        Self {
            report: machine.report(&REPORT_DATA).expect("a report"),
            vek: machine.vek_der().to_vec(),
            revocation: Revocation::Crl(machine.crl_der().to_vec()),
            anchors: Anchors::Pem(vendor.root_pem()),
            now: NOW,
            terms: terms(),
            expected: REPORT_DATA,
        }
    }

    /// A new machine of this configuration, from this vendor.
    pub(crate) fn with(vendor: &Vendor, config: &MachineConfig) -> Self {
        Self::of(vendor, &vendor.machine(config).expect("a machine"))
    }

    /// Genuine?
    pub(crate) fn authenticate(&self) -> Result<Authentic, &'static str> {
        let anchors = match &self.anchors {
            Anchors::Pem(pem) => TrustAnchors::danger_only_pem(pem).map_err(|error| error.code())?,
            Anchors::Amd => TrustAnchors::amd(),
        };
        let evidence = Evidence::parse(&self.report).map_err(|error| error.code())?;
        let endorsements = Endorsements::snp(self.vek.clone(), self.revocation.clone());
        verify(&evidence, &endorsements, &anchors, self.now).map_err(|rejected| rejected.code())
    }

    /// Genuine and ours?
    pub(crate) fn verdict(&self) -> Result<Verified, &'static str> {
        let authentic = self.authenticate()?;
        let policy = Policy::for_snp(self.terms.clone());
        authentic.appraise(&policy, &Binding::report_data(self.expected)).map_err(|denied| denied.code())
    }
}

/// Strict terms, except that Milan is accepted (its host can forge reports, which is not the question here), that any
/// report version is, and that the simulated provider's VLEKs are.
pub(crate) fn terms() -> SnpPolicy {
    let zero = AttestTcb { fmc: 0, bootloader: 0, tee: 0, snp: 0, microcode: 0 };
    SnpPolicy {
        minimum_tcb: MinimumTcb { milan: Floor::AtLeast(zero), ..MinimumTcb::BASELINE },
        host_trust: HostTrustPolicy::ProviderTrusted { reason: "a test of the simulator".into() },
        minimum_report_version: Version::V2,
        platform_must: Vec::new(),
        vlek_providers: vec![CSP_ID.to_owned()],
        ..SnpPolicy::strict(Expected::OneOf(vec![LAUNCH_DIGEST]))
    }
}
