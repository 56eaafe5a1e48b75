//! Recorded reference manifests: by themselves, and compared with recorded devices.

use casemate_attest::nvidia::{
    GpuEvidence, GpuRevocation, Manifest, NvidiaAnchors, NvidiaPolicy, verify_gpu,
};
use casemate_attest::{Danger, Policy, UnixTime};

use crate::made::simulated_manifests;
use crate::{Case, H100, NOW, Recording, allow, device, nonce, not_checked, sample, switch, terms, text};

/// Within the validity of the signer of the recorded GH100 manifests.
const RIM_TIME: u64 = 1_748_779_200; // 2025-06-01T12:00:00Z

pub(crate) fn waived() -> GpuRevocation {
    not_checked().revocation
}

fn manifest(path: &str, change: impl FnOnce(&mut String)) -> String {
    let mut document = String::from_utf8(text(path)).expect("text");
    change(&mut document);
    // Each within its signer's validity; the times of the recordings differ.
    let now = if path == SWITCH_VBIOS { NOW } else { UnixTime(RIM_TIME) };
    match Manifest::verify(document.as_bytes(), &waived(), &NvidiaAnchors::nvidia(), now) {
        Ok(it) => format!("{} {}: {} active", it.product(), it.version(), it.golden().len()),
        Err(error) => error.code().to_owned(),
    }
}

const DRIVER: &str = "attestation-sdk/NV_GPU_DRIVER_GH100_550.144.03.xml";
pub(crate) const SWITCH_VBIOS: &str =
    "attestation-sdk/switchVBIOSRim_NV_SWITCH_BIOS_5612_0002_890_9610550001.xml";

/// Reference manifests.
pub(crate) const MANIFESTS: &[Case] = &[
    ("manifest: driver 550.144.03", || manifest(DRIVER, |_| {}), "GH100 550.144.03: 21 active"),
    ("manifest: VBIOS of LS10", || manifest(SWITCH_VBIOS, |_| {}), "LS10 96.10.55.00.01: 31 active"),
    (
        "manifest: VBIOS of GH100",
        || manifest("rim_vbios/1010_0200_882_96005E0001_PROD.swidtag", |_| {}),
        "GH100 96.00.5E.00.01: 12 active",
    ),
    (
        "manifest: incorrect_signature_driver_rim",
        || manifest("attestation-sdk/incorrect_signature_driver_rim.xml", |_| {}),
        "nvidia.manifest.signature",
    ),
    (
        "manifest: incorrect_cert_chain_driver_rim",
        || manifest("attestation-sdk/incorrect_cert_chain_driver_rim.xml", |_| {}),
        "nvidia.manifest.malformed",
    ),
    (
        "manifest: sample 535.86.09 measurement mismatch",
        || {
            manifest(
                "attestation-sdk/sample_rims/NV_GPU_DRIVER_GH100_535.86.09_measurement_mismatch.xml",
                |_| {},
            )
        },
        "nvidia.manifest.digest",
    ),
    (
        "manifest: sample 570.124.03 expired",
        || manifest("attestation-sdk/sample_rims/NV_GPU_DRIVER_GH100_570.124.03_expired.xml", |_| {}),
        "x509.expired",
    ),
    (
        "manifest: sample switch, invalid signature",
        || {
            let path =
                "attestation-sdk/sample_rims/NV_SWITCH_BIOS_5612_0002_890_9610550001_invalid_signature.xml";
            manifest(path, |_| {})
        },
        "nvidia.manifest.digest",
    ),
    (
        "manifest: VBIOS of GH100, after its signer's last day",
        || {
            let (anchors, path) =
                (NvidiaAnchors::nvidia(), "rim_vbios/1010_0200_882_96005E0001_PROD.swidtag");
            Manifest::verify(&text(path), &waived(), &anchors, NOW).expect_err("expired").code().to_owned()
        },
        "x509.expired",
    ),
    (
        "manifest: one golden value changed",
        || manifest(SWITCH_VBIOS, |d| *d = d.replace("9083ccee", "9083ccef")),
        "nvidia.manifest.digest",
    ),
    (
        "manifest: one resource made inactive",
        || manifest(SWITCH_VBIOS, |d| *d = d.replacen("\"True\"", "\"False\"", 1)),
        "nvidia.manifest.digest",
    ),
    (
        "manifest: a space more between elements",
        || manifest(SWITCH_VBIOS, |d| *d = d.replacen("    <ns0:Meta", "     <ns0:Meta", 1)),
        "nvidia.manifest.digest",
    ),
    (
        "manifest: attributes in another order say the same",
        || {
            let (from, to) = ("corpus=\"false\" name=\"LS10\"", "name=\"LS10\" corpus=\"false\"");
            manifest(SWITCH_VBIOS, |d| *d = d.replacen(from, to, 1))
        },
        "LS10 96.10.55.00.01: 31 active",
    ),
    (
        "manifest: document type",
        || manifest(SWITCH_VBIOS, |d| d.insert_str(0, "<!DOCTYPE a>")),
        "nvidia.manifest.malformed",
    ),
    (
        "manifest: comment",
        || manifest(SWITCH_VBIOS, |d| *d = d.replacen("<ns0:Payload", "<!-- --><ns0:Payload", 1)),
        "nvidia.manifest.malformed",
    ),
    (
        "manifest: exclusive canonical form",
        || manifest(SWITCH_VBIOS, |d| *d = d.replace("2006/12/xml-c14n11", "2001/10/xml-exc-c14n#")),
        "nvidia.manifest.malformed",
    ),
    (
        "manifest: another element's digest",
        || manifest(SWITCH_VBIOS, |d| *d = d.replace("URI=\"\"", "URI=\"#a\"")),
        "nvidia.manifest.malformed",
    ),
    (
        "manifest: two signatures",
        || {
            manifest(SWITCH_VBIOS, |d| {
                *d = d.replace("</SoftwareIdentity>", "<ds:Signature xmlns:ds=\"a\"/></SoftwareIdentity>");
            })
        },
        "nvidia.manifest.malformed",
    ),
];

const VBIOS_535: &str = "rim_vbios/1010_0200_882_96005E0001_PROD.swidtag";
const SAMPLES: &str = "attestation-sdk/sample_rims";

fn driver_535() -> Recording {
    sample("hopperAttestationReport.txt", "hopperCertChain.txt")
}

/// Driver 570.124.03. Its manifest's signer was valid until 2025-01-02.
fn driver_570() -> Recording {
    sample("hopperAttestationReportExpired.txt", "hopperCertChainExpired.txt")
}

/// A recorded device against recorded manifests, each at a time of its own.
fn compared(
    case: &Recording,
    manifests: &[(&str, UnixTime)],
    change: impl FnOnce(&mut NvidiaPolicy),
) -> String {
    let anchors = NvidiaAnchors::nvidia();
    let mut verified = Vec::new();
    for (path, now) in manifests {
        match Manifest::verify(&text(path), &waived(), &anchors, *now) {
            Ok(manifest) => verified.push(manifest),
            Err(rejected) => return rejected.code().to_owned(),
        }
    }
    judged(case, &verified, change)
}

fn judged(case: &Recording, manifests: &[Manifest], change: impl FnOnce(&mut NvidiaPolicy)) -> String {
    let mut policy = NvidiaPolicy {
        firmware_id_missing: allow(),
        driver_manifest_missing: Danger::Refuse,
        vbios_manifest_missing: Danger::Refuse,
        ..terms()
    };
    change(&mut policy);
    let evidence = GpuEvidence::parse(&case.report, &case.chain).expect("well-formed");
    let authentic = verify_gpu(&evidence, &not_checked(), &NvidiaAnchors::nvidia(), NOW).expect("genuine");
    match authentic.appraise(&Policy::for_nvidia(policy), manifests, &nonce(case)) {
        Ok(verified) => {
            let golden = verified.checks().last().expect("NV-19");
            format!("{}: {}", golden.outcome, golden.compared)
        }
        Err(denied) => denied.code().to_owned(),
    }
}

const THEN: UnixTime = UnixTime(RIM_TIME);
/// Within the validity of the expired driver manifest's signer.
const NEW_YEAR_2025: UnixTime = UnixTime(1_735_732_800); // 2025-01-01T12:00:00Z

/// Rules NV-16 to NV-19 over recordings. No recorded driver manifest matches a recorded device.
pub(crate) const COMPARED: &[Case] = &[
    (
        "compared: switch and its manifest",
        || compared(&switch(), &[(SWITCH_VBIOS, NOW)], |_| {}),
        "pass: 31 of 31 measurements",
    ),
    ("compared: switch without a manifest", || compared(&switch(), &[], |_| {}), "nvidia.manifest.missing"),
    (
        "compared: GPU of driver 535 and its VBIOS manifest",
        || compared(&driver_535(), &[(VBIOS_535, THEN)], |p| p.driver_manifest_missing = allow()),
        "pass: 12 of 64 measurements",
    ),
    (
        "compared: the same, and nobody allowed a missing driver manifest",
        || compared(&driver_535(), &[(VBIOS_535, THEN)], |_| {}),
        "nvidia.manifest.missing",
    ),
    (
        "compared: the other manifest of that VBIOS, with a value that the device does not have",
        || {
            let path = "rim_vbios/1010_0200_882_96005E0001_test_no_gpu.swidtag";
            compared(&driver_535(), &[(path, THEN)], |p| p.driver_manifest_missing = allow())
        },
        "nvidia.golden.mismatch",
    ),
    (
        "compared: both manifests of that VBIOS",
        || {
            let other = "rim_vbios/1010_0200_882_96005E0001_test_no_gpu.swidtag";
            compared(&driver_535(), &[(VBIOS_535, THEN), (other, THEN)], |p| {
                p.driver_manifest_missing = allow();
            })
        },
        "nvidia.manifest.duplicate",
    ),
    (
        "compared: sample_rims VBIOS measurement mismatch",
        || {
            let path = format!("{SAMPLES}/NV_GPU_VBIOS_1010_0200_882_96005E0001_measurement_mismatch.xml");
            compared(&driver_535(), &[(&path, THEN)], |p| p.driver_manifest_missing = allow())
        },
        "nvidia.golden.mismatch",
    ),
    (
        "compared: sample_rims switch measurement mismatch, which is a manifest of a GPU",
        || {
            let path = format!("{SAMPLES}/NV_SWITCH_BIOS_5612_0002_890_9610550001_measurement_mismatch.xml");
            compared(&switch(), &[(&path, THEN)], |_| {})
        },
        "nvidia.manifest.digest",
    ),
    (
        "compared: another VBIOS's manifest",
        || {
            let path = "rim_vbios/1010_0200_882_96005E0003_PROD.swidtag";
            compared(&driver_535(), &[(path, THEN)], |p| p.driver_manifest_missing = allow())
        },
        "nvidia.manifest.missing",
    ),
    (
        "compared: driver 570 and its manifest, before its signer expired: it was changed after signing",
        || {
            let path = format!("{SAMPLES}/NV_GPU_DRIVER_GH100_570.124.03_expired.xml");
            compared(&driver_570(), &[(&path, NEW_YEAR_2025)], |p| p.vbios_manifest_missing = allow())
        },
        "nvidia.manifest.digest",
    ),
    (
        "compared: driver 570 and its manifest, after",
        || {
            let path = format!("{SAMPLES}/NV_GPU_DRIVER_GH100_570.124.03_expired.xml");
            compared(&driver_570(), &[(&path, NOW)], |_| {})
        },
        "x509.expired",
    ),
    (
        "compared: driver 570 and its VBIOS manifest: one value differs",
        || {
            let path = "rim_vbios/1010_0205_862_96005E0004_PROD.swidtag";
            compared(&driver_570(), &[(path, THEN)], |p| p.driver_manifest_missing = allow())
        },
        "nvidia.golden.mismatch",
    ),
    (
        "compared: a simulated manifest for a real device",
        || judged(&device(H100), &simulated_manifests(), |p| p.vbios_manifest_missing = allow()),
        "nvidia.manifest.mixed",
    ),
];
