//! Recorded SEV-SNP reports within bundles, each under terms that it meets.

use casemate_attest::bundle::{Bundle, BundleQuestion, Challenge, DeviceTerms};
use casemate_attest::{Danger, Endorsements, Outcome, Policy, Revocation, TrustAnchors};
use serde_json::Value;

use crate::recorded::{JANUARY_2026, JUNE_2025, Recording, crl, genoa, not_checked, turin, vlek};

pub(crate) struct Recorded(Recording);

impl Recorded {
    /// Version 3. It binds zeros.
    pub(crate) fn genoa() -> Self {
        Self(genoa())
    }

    pub(crate) fn turin() -> Self {
        Self(turin())
    }

    pub(crate) fn vlek() -> Self {
        Self(vlek())
    }

    /// Version 2, Milan. It binds 64 bytes of which neither half is zero.
    pub(crate) fn milan() -> Self {
        let folder = "snp/virtee_milan";
        let (report, vek) = (format!("{folder}/report.bin"), format!("{folder}/vcek.der"));
        Self(Recording::new(&report, &vek, crl("milan"), JUNE_2025))
    }

    /// Genoa, version 5.
    pub(crate) fn version_5() -> Self {
        let folder = "snp/clerk_v5";
        let (report, vek) = (format!("{folder}/report.bin"), format!("{folder}/vcek_chain.pem"));
        Self(Recording::new(&report, &vek, not_checked(), JANUARY_2026))
    }

    pub(crate) fn report(&self) -> Vec<u8> {
        self.0.report.clone()
    }

    pub(crate) fn vek(&self) -> Vec<u8> {
        self.0.vek.clone()
    }

    pub(crate) fn endorsements(&self) -> Endorsements {
        Endorsements::snp(self.vek(), self.0.revocation.clone())
    }

    /// What the report binds.
    pub(crate) fn challenge(&self) -> Challenge {
        Challenge::ReportData(self.0.report[0x50..0x90].to_vec())
    }

    /// "verified" and what was waived that the recording's own terms do not waive; or the code.
    pub(crate) fn answer(&self, bundle: &Value, endorsements: Option<Endorsements>) -> String {
        self.judge(bundle, endorsements, self.challenge(), self.0.revocation.clone())
    }

    pub(crate) fn asked(&self, bundle: &Value, challenge: Challenge) -> String {
        self.judge(bundle, Some(self.endorsements()), challenge, self.0.revocation.clone())
    }

    /// With the bundle's own endorsements, and with this about revocation.
    pub(crate) fn with_revocation(&self, bundle: &Value, revocation: Revocation) -> String {
        self.judge(bundle, None, self.challenge(), revocation)
    }

    /// The recorded list.
    pub(crate) fn crl(&self) -> Vec<u8> {
        match &self.0.revocation {
            Revocation::Crl(crl) => crl.clone(),
            _ => panic!("recorded with a list"),
        }
    }

    fn judge(
        &self,
        bundle: &Value,
        endorsements: Option<Endorsements>,
        challenge: Challenge,
        revocation: Revocation,
    ) -> String {
        let bundle = match Bundle::parse(bundle.to_string().as_bytes()) {
            Ok(bundle) => bundle,
            Err(error) => return error.code().to_owned(),
        };
        let answer = bundle.verify(&BundleQuestion {
            policy: &Policy::for_snp(self.0.exact_policy()),
            anchors: &TrustAnchors::amd(),
            now: self.0.now,
            challenge,
            endorsements,
            revocation,
            ak_certificate: None,
            event_log: None,
            devices: DeviceTerms::None,
            key_custody: Danger::Refuse,
        });
        match answer {
            Ok(verified) => {
                assert!(!verified.simulated());
                let checks = verified.verified().checks().iter().chain(verified.checks());
                let waived = checks.filter(|check| check.outcome == Outcome::Waived);
                // The host of Milan and a measurement by its signer are what the terms of recordings concede.
                let waived: Vec<_> = waived.map(|check| check.rule.id).filter(|id| *id != "SNP-13").collect();
                if waived.is_empty() {
                    "verified".to_owned()
                } else {
                    format!("verified, waived: {}", waived.join(", "))
                }
            }
            Err(refused) => {
                assert_eq!(refused.report().code(), Some(refused.code()));
                refused.code().to_owned()
            }
        }
    }
}

/// One gzip member, as Go writes it, of stored blocks; zeros are deflated.
pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut member = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    member.extend(miniz_oxide::deflate::compress_to_vec(bytes, 6));
    let crc = bytes.iter().fold(u32::MAX, |crc, octet| {
        let step = |crc: u32, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
        (0..8).fold(crc ^ u32::from(*octet), step)
    });
    member.extend((!crc).to_le_bytes());
    member.extend(u32::try_from(bytes.len()).expect("short").to_le_bytes());
    member
}
