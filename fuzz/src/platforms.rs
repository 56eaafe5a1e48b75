//! The platforms' evidence.

use std::sync::OnceLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use casemate_attest::snp::ProductLine;
use casemate_attest::{Claims, Endorsements, Evidence, Revocation, TrustAnchors, UnixTime, verify};
use casemate_sim::nitro::{NitroConfig, NitroVendor};
use casemate_sim::{MachineConfig, Vendor};
use serde_json::{Value, json};

/// Something genuine: evidence, what endorses it, and what it says.
struct Sample {
    parts: Vec<Vec<u8>>,
    anchors: TrustAnchors,
    now: UnixTime,
    good: Claims,
}

/// From the parts.
type Endorse = fn(&[Vec<u8>]) -> Endorsements;

impl Sample {
    fn new(parts: Vec<Vec<u8>>, anchors: TrustAnchors, now: UnixTime, endorse: Endorse) -> Self {
        let good = claims(&parts, &anchors, now, endorse).expect("the sample is genuine");
        Self { parts, anchors, now, good }
    }

    fn changed(&self, edits: &[u8], endorse: Endorse) {
        let parts: Vec<&[u8]> = self.parts.iter().map(Vec::as_slice).collect();
        let parts = crate::edited(&parts, edits);
        if let Some(claims) = claims(&parts, &self.anchors, self.now, endorse) {
            assert_eq!(claims, self.good, "forged");
        }
    }
}

fn claims(parts: &[Vec<u8>], anchors: &TrustAnchors, now: UnixTime, endorse: Endorse) -> Option<Claims> {
    let evidence = Evidence::parse(&parts[0]).ok()?;
    verify(&evidence, &endorse(parts), anchors, now).ok().map(|authentic| authentic.claims().clone())
}

/// Bytes of no declared kind.
pub fn evidence(data: &[u8]) {
    let Ok(evidence) = Evidence::parse(data) else { return };
    for endorsements in [
        Endorsements::snp(data.to_vec(), Revocation::Crl(data.to_vec())),
        Endorsements::nitro(Revocation::DangerNotChecked { reason: "fuzzing".to_owned() }),
        Endorsements::tdx(data.to_vec()),
    ] {
        let answer = verify(&evidence, &endorsements, &TrustAnchors::vendors(), UnixTime(1_770_000_000));
        // Nitro documents carry all that they need; nothing else is genuine by itself.
        assert!(answer.is_err() || evidence.nitro().is_some(), "forged");
    }
}

/// A simulated report, its VCEK certificate and the revocation list.
pub fn snp(data: &[u8]) {
    static SAMPLE: OnceLock<Sample> = OnceLock::new();
    let Some((first, rest)) = data.split_first() else { return };
    if *first == 0 {
        return evidence(rest);
    }
    let endorse: Endorse = |parts| Endorsements::snp(parts[1].clone(), Revocation::Crl(parts[2].clone()));
    let sample = SAMPLE.get_or_init(|| {
        let now = UnixTime(1_795_478_400);
        let vendor = Vendor::create(ProductLine::Genoa, now).expect("a vendor");
        let machine = vendor.machine(&MachineConfig::new([7; 48])).expect("a machine");
        let report = machine.report(&[9; 64]).expect("a report");
        let parts = vec![report, machine.vek_der().to_vec(), machine.crl_der().to_vec()];
        let anchors = TrustAnchors::danger_only_pem(&vendor.root_pem()).expect("a root");
        Sample::new(parts, anchors, now, endorse)
    });
    sample.changed(rest, endorse);
}

/// A document of a made-up Nitro Security Module.
pub fn nitro(data: &[u8]) {
    static SAMPLE: OnceLock<Sample> = OnceLock::new();
    let Some((first, rest)) = data.split_first() else { return };
    if *first == 0 {
        return evidence(rest);
    }
    let endorse: Endorse =
        |_| Endorsements::nitro(Revocation::DangerNotChecked { reason: "fuzzing".to_owned() });
    let sample = SAMPLE.get_or_init(|| {
        let noon = UnixTime(1_767_268_800); // 2026-01-01T12:00:00Z
        let vendor = NitroVendor::create(noon).expect("a vendor");
        let module = vendor.module(&NitroConfig::new([0x10; 48])).expect("a module");
        let document = module.document(&[0xd5; 64]).expect("a document");
        let anchors = TrustAnchors::danger_only_pem(&vendor.root_pem()).expect("a danger bundle");
        Sample::new(vec![document], anchors, noon, endorse)
    });
    sample.changed(rest, endorse);
}

/// A recorded quote and its collateral.
pub fn tdx(data: &[u8]) {
    static SAMPLE: OnceLock<Option<Sample>> = OnceLock::new();
    let Some((first, rest)) = data.split_first() else { return };
    if *first == 0 {
        return evidence(rest);
    }
    let endorse: Endorse = |parts| Endorsements::tdx(parts[1].clone());
    let sample = SAMPLE.get_or_init(|| {
        let quote = crate::recorded("tdx/dcap-qvl/tdx_quote.bin")?;
        let collateral = crate::recorded("tdx/dcap-qvl/tdx_quote_collateral.json")?;
        Some(Sample::new(vec![quote, collateral], TrustAnchors::vendors(), UnixTime(1_751_000_000), endorse))
    });
    if let Some(sample) = sample {
        sample.changed(rest, endorse);
    }
}

/// A recorded attestation of a GCE virtual TPM, and the certificate above its key's.
pub fn gce(data: &[u8]) {
    static SAMPLE: OnceLock<Option<Sample>> = OnceLock::new();
    let Some((first, rest)) = data.split_first() else { return };
    if *first == 0 {
        return evidence(rest);
    }
    let endorse: Endorse = |parts| {
        let revocation = Revocation::DangerNotChecked { reason: "fuzzing".to_owned() };
        Endorsements::gce_vtpm(vec![parts[1].clone()], revocation)
    };
    let sample = SAMPLE.get_or_init(|| {
        let attestation = crate::recorded("gcp/vtpm/gce-cos-85-nonce9009.pb")?;
        let issuer = crate::recorded("roots/gcp/tpm_ek_intermediate_2.crt")?;
        Some(Sample::new(
            vec![attestation, issuer],
            TrustAnchors::vendors(),
            UnixTime(1_640_995_200),
            endorse,
        ))
    });
    if let Some(sample) = sample {
        sample.changed(rest, endorse);
    }
}

/// Recorded Azure evidence on Genoa: HCL report, quote, its signature, the VCEK certificate.
pub fn azure(data: &[u8]) {
    static SAMPLE: OnceLock<Option<(Vec<Vec<u8>>, Value, Claims)>> = OnceLock::new();
    let Some((first, rest)) = data.split_first() else { return };
    if *first == 0 {
        return evidence(rest);
    }
    let sample = SAMPLE.get_or_init(|| {
        let recording: Value =
            serde_json::from_slice(&crate::recorded("azure/trustee_snp/evidence-genoa.json")?).expect("JSON");
        let (parts, pcrs) = azure_parts(&recording)?;
        let good = azure_claims(&parts, &pcrs).expect("the sample is genuine");
        Some((parts, pcrs, good))
    });
    let Some((parts, pcrs, good)) = sample else { return };
    let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
    if let Some(claims) = azure_claims(&crate::edited(&parts, rest), pcrs) {
        assert_eq!(claims, *good, "forged");
    }
}

/// What is signed, and the list of PCR values.
fn azure_parts(recording: &Value) -> Option<(Vec<Vec<u8>>, Value)> {
    let octets = |value: &Value| -> Option<Vec<u8>> {
        let numbers = value.as_array()?.iter();
        numbers.map(|octet| octet.as_u64().and_then(|octet| u8::try_from(octet).ok())).collect()
    };
    let text = |value: &Value| -> Option<Vec<u8>> {
        let text = value.as_str()?.trim_end_matches('=');
        base64::engine::general_purpose::URL_SAFE_NO_PAD
            .decode(text)
            .or_else(|_| base64::engine::general_purpose::STANDARD_NO_PAD.decode(text))
            .ok()
    };
    let quote = &recording["quote"];
    let pcrs: Vec<Value> = quote["pcrs"]
        .as_array()?
        .iter()
        .enumerate()
        .map(|(index, value)| Some(json!([index, hex::encode(octets(value)?)])))
        .collect::<Option<_>>()?;
    let vcek = recording["vcek"].as_str()?;
    let vcek = rustls_pki_types::pem::PemObject::from_pem_slice(vcek.as_bytes())
        .map(|der: rustls_pki_types::CertificateDer<'_>| der.to_vec())
        .ok()?;
    let hcl = octets(&recording["report"]).or_else(|| text(&recording["report"]))?;
    Some((vec![hcl, octets(&quote["message"])?, octets(&quote["signature"])?, vcek], Value::Array(pcrs)))
}

fn azure_claims(parts: &[Vec<u8>], pcrs: &Value) -> Option<Claims> {
    let document = json!({
        "format": "casemate.azure-vtpm/1",
        "hcl_report": STANDARD.encode(&parts[0]),
        "quote": STANDARD.encode(&parts[1]),
        "signature": STANDARD.encode(&parts[2]),
        "pcrs": pcrs,
    });
    let evidence = Evidence::parse(document.to_string().as_bytes()).ok()?;
    let revocation = Revocation::DangerNotChecked { reason: "fuzzing".to_owned() };
    let endorsements = Endorsements::snp(parts[3].clone(), revocation);
    let authentic =
        verify(&evidence, &endorsements, &TrustAnchors::vendors(), UnixTime(1_759_320_000)).ok()?;
    Some(authentic.claims().clone())
}
