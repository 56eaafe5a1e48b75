//! Recorded evidence of real machines: where it lies, and how a case over it is written.

#![allow(dead_code)] // each test binary uses its own part

use std::path::PathBuf;

use casemate_attest::snp::{Floor, HostTrustPolicy, MinimumTcb, SnpPolicy, Tcb, Version};
use casemate_attest::{
    Authentic, Binding, Danger, Endorsements, Evidence, Expected, ParseError, Policy, Rejected, Revocation,
    TrustAnchors, UnixTime, verify,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

/// Within the validity of the Genoa revocation list of 2024-10-23 to 2025-11-03.
pub(crate) const OCTOBER_2025: UnixTime = UnixTime(1_759_320_000); // 2025-10-01T12:00:00Z
/// Within the validity of the Milan revocation list of 2025-05-06 to 2026-05-12.
pub(crate) const JUNE_2025: UnixTime = UnixTime(1_748_779_200); // 2025-06-01T12:00:00Z
/// After the recorded VLEK (2025-12-10) and within the Milan revocation list.
pub(crate) const JANUARY_2026: UnixTime = UnixTime(1_767_268_800); // 2026-01-01T12:00:00Z

/// `CASEMATE_VECTORS`, or `shared/vectors` beside the repository; `None` where neither exists.
pub(crate) fn folder() -> Option<PathBuf> {
    let beside = || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/vectors"));
    let folder = std::env::var_os("CASEMATE_VECTORS").map_or_else(beside, PathBuf::from);
    folder.join("snp").is_dir().then_some(folder)
}

/// A recorded file's bytes.
pub(crate) fn file(path: &str) -> Vec<u8> {
    let path = folder().expect("recordings are at hand").join(path);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Certificate number `index` of a recorded PEM file, or the whole of a DER file.
pub(crate) fn certificate(path: &str, index: usize) -> Vec<u8> {
    let bytes = file(path);
    if bytes.first() == Some(&0x30) {
        return bytes;
    }
    let certificates: Vec<_> =
        CertificateDer::pem_slice_iter(&bytes).map(|section| section.expect("PEM").to_vec()).collect();
    certificates[index].clone()
}

/// A report of a recorded machine, with what endorses it and when.
#[derive(Clone)]
pub(crate) struct Recording {
    pub(crate) report: Vec<u8>,
    pub(crate) vek: Vec<u8>,
    pub(crate) revocation: Revocation,
    pub(crate) now: UnixTime,
}

impl Recording {
    pub(crate) fn new(report: &str, vek: &str, revocation: Revocation, now: UnixTime) -> Self {
        Self { report: file(report), vek: certificate(vek, 0), revocation, now }
    }

    pub(crate) fn parse(&self) -> Result<Evidence, ParseError> {
        Evidence::parse(&self.report)
    }

    /// Under AMD's roots.
    pub(crate) fn verify(&self) -> Result<Authentic, Rejected> {
        let evidence = self.parse().expect("the report has the right form");
        let endorsements = Endorsements::snp(self.vek.clone(), self.revocation.clone());
        verify(&evidence, &endorsements, &TrustAnchors::amd(), self.now)
    }

    /// Terms that this very machine meets exactly, with the fewest concessions.
    pub(crate) fn exact_policy(&self) -> SnpPolicy {
        let authentic = self.verify().expect("genuine");
        let claims = authentic.claims();
        let snp = claims.snp().expect("a SEV-SNP report");
        let mut policy = SnpPolicy::strict(Expected::OneOf(vec![*claims.measurement()]));
        policy.host_data = Expected::OneOf(vec![*claims.host_data().expect("SEV-SNP has host data")]);
        policy.id_key_digest = Expected::OneOf(vec![snp.id_key_digest]);
        policy.author_key_digest = Expected::OneOf(vec![snp.author_key_digest]);
        policy.family_id = Expected::OneOf(vec![snp.family_id]);
        policy.image_id = Expected::OneOf(vec![snp.image_id]);
        policy.minimum_guest_svn = snp.guest_svn;
        policy.minimum_report_version = snp.report_version;
        policy.minimum_tcb = MinimumTcb {
            milan: Floor::AtLeast(Tcb { fmc: 0, ..snp.reported_tcb }),
            genoa: Floor::AtLeast(Tcb { fmc: 0, ..snp.reported_tcb }),
            turin: Floor::AtLeast(snp.reported_tcb),
        };
        policy.host_trust = HostTrustPolicy::ProviderTrusted { reason: "recorded on Milan".to_owned() };
        if snp.report_version == Version::V2 {
            policy.platform_must.clear();
        }
        if let Some(chip_id) = snp.chip_id() {
            policy.chip_id = Expected::OneOf(vec![*chip_id]);
        }
        policy
    }

    pub(crate) fn bound(&self) -> Binding {
        let data = self.report[0x50..0x90].try_into().expect("64 bytes");
        Binding::report_data(data)
    }

    /// The code of the answer: "verified", or that of the error.
    pub(crate) fn appraise(&self, policy: SnpPolicy) -> &'static str {
        match self.verify().expect("genuine").appraise(&Policy::for_snp(policy), &self.bound()) {
            Ok(_) => "verified",
            Err(denied) => denied.code(),
        }
    }
}

pub(crate) fn crl(line: &str) -> Revocation {
    Revocation::Crl(file(&format!("roots/amd/{line}_crl.der")))
}

pub(crate) fn not_checked() -> Revocation {
    Revocation::DangerNotChecked { reason: "no list of this line was recorded".to_owned() }
}

pub(crate) fn allow() -> Danger {
    Danger::Allow { reason: "the case needs it".to_owned() }
}

/// Genoa, version 3, VCEK: the report that most other cases change in one place.
pub(crate) fn genoa() -> Recording {
    Recording::new(
        "snp/clerk_genoa_alias_check/report.bin",
        "snp/clerk_genoa_alias_check/vcek_chain.pem",
        crl("genoa"),
        OCTOBER_2025,
    )
}

/// Milan on AWS, version 3, VLEK.
pub(crate) fn vlek() -> Recording {
    Recording::new("snp/trustee_vlek/report.bin", "snp/trustee_vlek/vlek.der", crl("milan"), JUNE_2025)
}

/// Turin, version 5, VCEK; no revocation list of Turin was recorded.
pub(crate) fn turin() -> Recording {
    Recording::new(
        "snp/clerk_turin/report.bin",
        "snp/clerk_turin/vcek_chain.pem",
        not_checked(),
        OCTOBER_2025,
    )
}
