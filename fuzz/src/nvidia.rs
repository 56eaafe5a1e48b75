//! NVIDIA devices: reports with their chains, lists of them, signed reference manifests, and answers about revocation, under
//! NVIDIA's own roots.

use std::sync::OnceLock;

use casemate_attest::nvidia::{
    GpuEvidence, GpuRevocation, Manifest, NvidiaAnchors, NvidiaClaims, NvidiaEndorsements, verify_gpu,
};
use casemate_attest::{OcspNonce, OcspResponse, UnixTime};

const FOLDER: &str = "nvidia/attestation-sdk/sample_attestation_data/gpu";
const MANIFEST: &str = "nvidia/rim_vbios/1010_0200_882_96005E0001_PROD.swidtag";
const NOW: UnixTime = UnixTime(1_748_736_000); // 2025-06-01

/// A report and its chain.
pub fn gpu(data: &[u8]) {
    static SAMPLE: OnceLock<Option<(Vec<u8>, Vec<u8>, NvidiaClaims)>> = OnceLock::new();
    let Some((first, rest)) = data.split_first() else { return };
    if *first == 0 {
        let split = rest.len() / 2;
        let _ = GpuEvidence::parse(&rest[..split], &rest[split..]);
        let _ = GpuEvidence::parse(rest, b"");
        let _ = GpuEvidence::parse_list(rest);
        return;
    }
    let sample = SAMPLE.get_or_init(|| {
        let read = |name: &str| crate::recorded(&format!("{FOLDER}/{name}"));
        let report = hex::decode(read("hopperAttestationReport.txt")?.trim_ascii()).expect("hexadecimal");
        let chain = read("hopperCertChain.txt")?;
        let claims = claims(&report, &chain).expect("the sample is genuine");
        Some((report, chain, claims))
    });
    let Some((report, chain, good)) = sample else { return };
    let parts = crate::edited(&[report, chain], rest);
    if let Some(claims) = claims(&parts[0], &parts[1]) {
        assert_eq!(claims, *good, "forged");
    }
}

fn claims(report: &[u8], chain: &[u8]) -> Option<NvidiaClaims> {
    let evidence = GpuEvidence::parse(report, chain).ok()?;
    let revocation = waived();
    let authentic =
        verify_gpu(&evidence, &NvidiaEndorsements { revocation }, &NvidiaAnchors::nvidia(), NOW).ok()?;
    Some(authentic.claims().clone())
}

fn waived() -> GpuRevocation {
    GpuRevocation::DangerNotChecked { reason: "fuzzing".to_owned() }
}

/// An answer about revocation, of a genuine device. None of NVIDIA's is at hand, so whatever clears the device is forged.
pub fn answer(data: &[u8]) {
    static SAMPLE: OnceLock<Option<GpuEvidence>> = OnceLock::new();
    let sample = SAMPLE.get_or_init(|| {
        let read = |name: &str| crate::recorded(&format!("{FOLDER}/{name}"));
        let report = hex::decode(read("hopperAttestationReport.txt")?.trim_ascii()).expect("hexadecimal");
        GpuEvidence::parse(&report, &read("hopperCertChain.txt")?).ok()
    });
    let Some(evidence) = sample else { return };
    let response = OcspResponse { der: data.to_vec(), nonce: OcspNonce::NotSent };
    let endorsements = NvidiaEndorsements { revocation: GpuRevocation::Ocsp(vec![response]) };
    let refused = verify_gpu(evidence, &endorsements, &NvidiaAnchors::nvidia(), NOW).expect_err("forged");
    assert!(refused.code().starts_with("ocsp."), "{}", refused.code());
}

/// A reference manifest.
pub fn manifest(data: &[u8]) {
    static SAMPLE: OnceLock<Option<(Vec<u8>, Manifest)>> = OnceLock::new();
    let Some((first, rest)) = data.split_first() else { return };
    let read = |document: &[u8]| Manifest::verify(document, &waived(), &NvidiaAnchors::nvidia(), NOW);
    if *first == 0 {
        let _ = read(rest);
        return;
    }
    let sample = SAMPLE.get_or_init(|| {
        let document = crate::recorded(MANIFEST)?;
        let good = read(&document).expect("the sample is genuine");
        Some((document, good))
    });
    let Some((document, good)) = sample else { return };
    if let Ok(found) = read(&crate::edited(&[document], rest)[0]) {
        assert_eq!(found.golden(), good.golden(), "forged");
        assert_eq!((found.product(), found.version()), (good.product(), good.version()), "forged");
    }
}
