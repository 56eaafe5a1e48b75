//! Recorded evidence of NVIDIA devices and recorded manifests of NVIDIA's. No answer of its responder was recorded, so
//! that each fetch ends there.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use casemate_attest::UnixTime;
use casemate_attest::endorse::ManifestNeed;
use casemate_attest::nvidia::{GpuEvidence, GpuRevocation, Manifest, NvidiaAnchors};
use casemate_endorse::{EndorseError, EndorseKind, Settings, fetch_devices};
use libtest_mimic::Failed;
use serde_json::json;

use crate::machine::{cache, settings};
use crate::recorded::{Case, file};
use crate::replay::{Replay, Reply};

pub(crate) const CASES: &[Case] = &[
    ("NVIDIA, recorded: under which identifiers manifests are filed", identifiers),
    ("NVIDIA, recorded: manifests by those identifiers are the devices'", by_identifier),
    ("NVIDIA, recorded: a switch's manifest is verified and kept, the first answer is missing", switch),
    ("NVIDIA, recorded: a manifest out of date, and one that was changed", refused_manifests),
];

/// 2026-10-01T12:00:00Z.
const OCTOBER_2026: UnixTime = UnixTime(1_790_856_000);

/// 2026-02-02, before the older signer's end.
const FEBRUARY_2026: UnixTime = UnixTime(1_770_000_000);

const SWITCH_RIM: &str = "nvidia/attestation-sdk/switchVBIOSRim_NV_SWITCH_BIOS_5612_0002_890_9610550001.xml";
const SWITCH_TARGET: &str = "/v1/rim/NV_SWITCH_BIOS_5612_0002_890_9610550001";

fn device(report: &str, chain: &str) -> GpuEvidence {
    let read = |name: &str| file(&format!("nvidia/{name}"));
    let report = hex::decode(read(report).trim_ascii()).expect("hexadecimal");
    GpuEvidence::parse(&report, &read(chain)).expect("a report")
}

fn sample(name: &str) -> GpuEvidence {
    let chain = match name {
        "hopperAttestationReportExpired" => "hopperCertChainExpired",
        other => &other.replace("AttestationReport", "CertChain"),
    };
    let path = |name: &str| format!("attestation-sdk/sample_attestation_data/gpu/{name}.txt");
    device(&path(name), &path(chain))
}

fn h100() -> GpuEvidence {
    device("h100_sample/hopperAttestationReport.txt", "h100_sample/hopperCertChain.txt")
}

fn newer() -> GpuEvidence {
    device("attestation-sdk/hopperAttestationReport.txt", "attestation-sdk/hopperCertChain.txt")
}

fn ls10() -> GpuEvidence {
    device("attestation-sdk/switchAttestationReport.txt", "attestation-sdk/switchCertChain.txt")
}

fn identifiers() -> Result<(), Failed> {
    for (device, expected) in [
        (h100(), &["NV_GPU_DRIVER_GH100_550.90.07", "NV_GPU_VBIOS_1010_0200_882_96009F0001"][..]),
        (newer(), &["NV_GPU_DRIVER_GH100_580.159.03", "NV_GPU_VBIOS_1010_0205_862_9600740020"]),
        (
            sample("blackwellAttestationReport"),
            &["NV_GPU_CC_DRIVER_GB100_575.32", "NV_GPU_VBIOS_G525_0220_886_970088000F"],
        ),
        (ls10(), &["NV_SWITCH_BIOS_5612_0002_890_9610550001"]),
    ] {
        let needs = ManifestNeed::of(&[device.clone(), device])?;
        assert_eq!(needs.iter().map(|need| need.id.as_str()).collect::<Vec<_>>(), expected);
    }
    let all = ManifestNeed::of(&[ls10(), h100(), newer(), ls10()])?;
    assert_eq!(all.len(), 5);
    Ok(())
}

fn by_identifier() -> Result<(), Failed> {
    let open = GpuRevocation::DangerNotChecked { reason: "no answer was recorded".to_owned() };
    for (device, id, recording) in [
        (newer(), "NV_GPU_VBIOS_1010_0205_862_9600740020", "1010_0205_862_9600740020_PROD.swidtag"),
        (
            sample("hopperAttestationReport"),
            "NV_GPU_VBIOS_1010_0200_882_96005E0001",
            "1010_0200_882_96005E0001_PROD.swidtag",
        ),
    ] {
        let needs = ManifestNeed::of(&[device])?;
        let need = needs.iter().find(|need| need.id == id).ok_or(id)?;
        let document = need.document(&answer(id, &file(&format!("nvidia/rim_vbios/{recording}"))))?;
        // The day on which the recorded signer was valid is the verifier's matter; here it is asked which one it is.
        let day = UnixTime(1_717_243_200);
        let manifest = Manifest::verify(&document, &open, &NvidiaAnchors::nvidia(), day)?;
        need.check(&manifest)?;
        let other = needs.iter().find(|need| need.id != id).ok_or("two needs")?;
        assert_eq!(other.check(&manifest).expect_err("the driver's").code(), "endorse.answer.other");
    }
    Ok(())
}

/// As NVIDIA's service answers.
fn answer(id: &str, document: &[u8]) -> Vec<u8> {
    json!({"id": id, "rim": STANDARD.encode(document), "rim_format": "TCG"}).to_string().into_bytes()
}

fn fetch(device: GpuEvidence, now: UnixTime, settings: &Settings) -> EndorseError {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let anchors = NvidiaAnchors::nvidia();
    let fetched = runtime.block_on(fetch_devices(&[device], &anchors, now, settings, &|_| ()));
    fetched.expect_err("no answer of the responder was recorded")
}

fn switch() -> Result<(), Failed> {
    let target = SWITCH_TARGET.to_owned();
    let id = SWITCH_TARGET.trim_start_matches("/v1/rim/");
    let service = Replay::start([(target, Reply::Body(answer(id, &file(SWITCH_RIM))))]);
    let cache = cache();
    for asked in 1..3 {
        let error = fetch(ls10(), OCTOBER_2026, &settings(&service.url(), &cache));
        assert_eq!((error.code(), error.kind()), ("endorse.not-found", EndorseKind::Undecidable));
        assert!(error.to_string().contains("nvidia/ocsp/"), "{error}");
        assert_eq!(service.targets()[..2], [SWITCH_TARGET, "/"]);
        assert_eq!(service.seen().len(), 1 + asked, "the manifest is kept");
    }
    assert!(cache.path().join(format!("nvidia/rim/{id}.json")).exists());
    Ok(())
}

fn refused_manifests() -> Result<(), Failed> {
    let rims = "nvidia/attestation-sdk/sample_rims";
    for (device, id, recording, now, code, kind) in [
        (
            sample("hopperAttestationReportExpired"),
            "NV_GPU_DRIVER_GH100_570.124.03",
            "NV_GPU_DRIVER_GH100_570.124.03_expired.xml",
            OCTOBER_2026,
            "x509.expired",
            EndorseKind::Undecidable,
        ),
        (
            ls10(),
            "NV_SWITCH_BIOS_5612_0002_890_9610550001",
            "NV_SWITCH_BIOS_5612_0002_890_9610550001_invalid_signature.xml",
            FEBRUARY_2026,
            "nvidia.manifest.digest",
            EndorseKind::Rejected,
        ),
    ] {
        let document = file(&format!("{rims}/{recording}"));
        let service = Replay::start([(format!("/v1/rim/{id}"), Reply::Body(answer(id, &document)))]);
        let cache = cache();
        let error = fetch(device, now, &settings(&service.url(), &cache));
        assert_eq!((error.code(), error.kind()), (code, kind), "{error}");
        assert!(!cache.path().join("nvidia").exists());
    }
    Ok(())
}
