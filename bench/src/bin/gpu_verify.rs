//! Verification of one GPU's evidence from its bytes: ours against the signatures alone.
//!
//! Ours does everything that a verdict needs: parses the report, its opaque data and five certificates, validates the path to
//! the pinned root (signatures, validity, authority flags, key usage, key types), verifies the report's signature, compares
//! the firmware identity, reads the VBIOS's manifest, brings it into canonical form, verifies its digest, its signer's path and
//! its signature, compares its 12 golden measurements, and appraises all 19 rules against a policy. It does not read answers
//! about revocation and no driver's manifest: none was recorded that fits.
//!
//! The other side is the arithmetic that nobody can do without: as many ECDSA P-384 verifications with SHA-384, by the same
//! library, over messages of the same lengths. It parses nothing. A second row has ours with the manifest verified beforehand,
//! as for the second GPU of a machine, and the third the arithmetic that this needs.
//!
//! Settings: `ROUNDS` (500), `CASEMATE_VECTORS` (`../shared/vectors` beside the workspace). Without recorded evidence nothing
//! is measured.

use std::fs;
use std::path::{Path, PathBuf};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P384_SHA384_FIXED, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair, UnparsedPublicKey,
};
use casemate_attest::nvidia::{
    Architecture, GpuEvidence, GpuRevocation, Manifest, NvidiaAnchors, NvidiaEndorsements, NvidiaPolicy,
    VerifiedGpu, verify_gpu,
};
use casemate_attest::{Danger, Expected, Policy, UnixTime};
use casemate_bench::{Side, alternate, print_json, print_table, setting};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde_json::json;

const REPORT: &str = "nvidia/attestation-sdk/sample_attestation_data/gpu/hopperAttestationReport.txt";
const CHAIN: &str = "nvidia/attestation-sdk/sample_attestation_data/gpu/hopperCertChain.txt";
const RIM: &str = "nvidia/rim_vbios/1010_0200_882_96005E0001_PROD.swidtag";
/// The manifest's signer was valid until 2025-06-22.
const NOW: UnixTime = UnixTime(1_748_779_200); // 2025-06-01T12:00:00Z

struct Input {
    report: Vec<u8>,
    chain: Vec<u8>,
    rim: Vec<u8>,
    policy: Policy,
    anchors: NvidiaAnchors,
}

fn main() {
    let rounds = setting("ROUNDS", 500);
    let Some(input) = recorded() else {
        println!("gpu_verify: not measured: no recorded evidence at hand");
        return;
    };

    // Ours accepts the evidence, and notices one changed byte of the report and of the manifest.
    ours(&input, &input.report, &input.rim).expect("ours accepts the evidence");
    let mut changed = input.report.clone();
    changed[60] ^= 1;
    assert!(ours(&input, &changed, &input.rim).is_err(), "ours accepts a changed report");
    let mut changed = input.rim.clone();
    changed[1200] ^= 1;
    assert!(ours(&input, &input.report, &changed).is_err(), "ours accepts a changed manifest");

    let device = lengths_of_device(&input);
    let all: Vec<usize> = device.iter().copied().chain(lengths_of_manifest(&input.rim)).collect();
    let (arithmetic, arithmetic_of_device) = (Arithmetic::new(&all), Arithmetic::new(&device));
    let manifests = [manifest(&input, &input.rim).expect("a manifest")];

    let samples = alternate(
        rounds / 10,
        rounds,
        vec![
            Side::timed("casemate: every rule", || {
                ours(&input, &input.report, &input.rim).expect("verified");
            }),
            Side::timed("aws-lc-rs: the same signatures", || arithmetic.run()),
            Side::timed("casemate: manifest verified before", || {
                device_only(&input, &input.report, &manifests).expect("verified");
            }),
            Side::timed("aws-lc-rs: those signatures", || arithmetic_of_device.run()),
        ],
    );
    println!("gpu_verify: recorded report of an H100 with its VBIOS's manifest, at {NOW}");
    print_table(&samples);
    let three = |ratio: f64| (ratio * 1000.0).round() / 1000.0;
    print_json(
        "gpu_verify",
        json!({
            "input": [REPORT, CHAIN, RIM],
            "ours": concat!("casemate-attest ", env!("CARGO_PKG_VERSION"),
                ": parse, verify (chain, signature, manifest), appraise; aws-lc-rs"),
            "peer": "aws-lc-rs: ECDSA P-384 verifications alone, over messages of the same lengths",
            "signatures": all.len(),
            "rounds": samples.rounds(),
            "ours_us": (samples.median(0) * 1e6).round(),
            "peer_us": (samples.median(1) * 1e6).round(),
            "median_ratio": three(samples.ratio(0, 1)),
            "ratio_is": "time of ours / time of the signatures",
            "device_only": {
                "signatures": device.len(),
                "ours_us": (samples.median(2) * 1e6).round(),
                "peer_us": (samples.median(3) * 1e6).round(),
                "median_ratio": three(samples.ratio(2, 3)),
            },
        }),
    );
}

fn waived() -> GpuRevocation {
    GpuRevocation::DangerNotChecked { reason: "no answer was recorded".to_owned() }
}

fn manifest(input: &Input, rim: &[u8]) -> Result<Manifest, &'static str> {
    Manifest::verify(rim, &waived(), &input.anchors, NOW).map_err(|rejected| rejected.code())
}

fn ours(input: &Input, report: &[u8], rim: &[u8]) -> Result<VerifiedGpu, &'static str> {
    device_only(input, report, &[manifest(input, rim)?])
}

fn device_only(input: &Input, report: &[u8], manifests: &[Manifest]) -> Result<VerifiedGpu, &'static str> {
    let evidence = GpuEvidence::parse(report, &input.chain).map_err(|error| error.code())?;
    let endorsements = NvidiaEndorsements { revocation: waived() };
    let authentic =
        verify_gpu(&evidence, &endorsements, &input.anchors, NOW).map_err(|rejected| rejected.code())?;
    let nonce = *evidence.nonce();
    authentic.appraise(&input.policy, manifests, &nonce).map_err(|denied| denied.code())
}

/// Keys, messages and signatures, made once.
struct Arithmetic {
    parts: Vec<(UnparsedPublicKey<Vec<u8>>, Vec<u8>, Vec<u8>)>,
}

impl Arithmetic {
    fn new(lengths: &[usize]) -> Self {
        let random = SystemRandom::new();
        let part = |&length: &usize| {
            let key = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).expect("a key");
            let message = vec![0x5a; length];
            let signature = key.sign(&random, &message).expect("a signature").as_ref().to_vec();
            let public = key.public_key().as_ref().to_vec();
            (UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, public), message, signature)
        };
        Self { parts: lengths.iter().map(part).collect() }
    }

    fn run(&self) {
        for (key, message, signature) in &self.parts {
            key.verify(message, signature).expect("a signature");
        }
    }
}

/// The four certificates below the root, and the report without its signature.
fn lengths_of_device(input: &Input) -> Vec<usize> {
    let ders: Vec<_> =
        CertificateDer::pem_slice_iter(&input.chain).map(|der| der.expect("PEM").to_vec()).collect();
    let signed = ders.iter().take(4).map(|der| to_be_signed(der));
    signed.chain([input.report.len() - 96]).collect()
}

/// The three certificates below the root, and ds:SignedInfo.
fn lengths_of_manifest(rim: &[u8]) -> Vec<usize> {
    let text = std::str::from_utf8(rim).expect("text");
    let between = |open: &str, close: &str| -> Vec<String> {
        let parts = text.split(open).skip(1);
        parts.map(|part| part.split(close).next().unwrap_or_default().to_owned()).collect()
    };
    let certificates =
        between("<ds:X509Certificate>", "</ds:X509Certificate>").into_iter().take(3).map(|body| {
            let pem = format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", body.trim());
            to_be_signed(&CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate"))
        });
    certificates.chain(between("<ds:SignedInfo>", "</ds:SignedInfo>").iter().map(String::len)).collect()
}

/// Length of TBSCertificate: behind the certificate's header of four bytes stands its own, of four.
fn to_be_signed(der: &[u8]) -> usize {
    assert_eq!((der[4], der[5]), (0x30, 0x82), "a certificate of 256 bytes and more");
    4 + usize::from(u16::from_be_bytes([der[6], der[7]]))
}

fn recorded() -> Option<Input> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/vectors");
    let vectors = std::env::var_os("CASEMATE_VECTORS").map_or_else(beside, PathBuf::from);
    let report = hex::decode(fs::read_to_string(vectors.join(REPORT)).ok()?.trim()).ok()?;
    let allow = |reason: &str| Danger::Allow { reason: reason.to_owned() };
    let exactly = |value: &str| Expected::OneOf(vec![value.to_owned()]);
    let policy = Policy::for_nvidia(NvidiaPolicy {
        architectures: vec![Architecture::Hopper],
        firmware_id_missing: allow("driver 535 does not report it"),
        certificate_hold: Danger::Refuse,
        driver_manifest_missing: allow("none was recorded"),
        vbios_manifest_missing: Danger::Refuse,
        device: Expected::any("any genuine one"),
        driver_version: exactly("535.86.09"),
        vbios_version: exactly("96.00.5E.00.01"),
        measurements: Expected::any("the manifest decides"),
    });
    let chain = fs::read(vectors.join(CHAIN)).ok()?;
    let rim = fs::read(vectors.join(RIM)).ok()?;
    Some(Input { report, chain, rim, policy, anchors: NvidiaAnchors::nvidia() })
}
