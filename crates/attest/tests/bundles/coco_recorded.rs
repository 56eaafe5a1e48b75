//! Recorded SEV-SNP reports and Azure evidence as guest-components hands them out; Azure's in exactly the form in which trustee
//! recorded it.

use casemate_attest::azure::{AzurePolicy, PcrTerms, UserDataTerms};
use casemate_attest::bundle::{Bundle, BundleQuestion, Challenge, DeviceTerms};
use casemate_attest::snp::{Floor, HostTrustPolicy, MinimumTcb, SnpPolicy};
use casemate_attest::{Danger, Expected, Outcome, Policy, Revocation, TrustAnchors};
use serde_json::{Value, json};

use crate::Case;
use crate::recorded::{OCTOBER_2025, allow, crl, file};
use crate::snp::Recorded;

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, octet| number << 8 | u64::from(*octet))
}

/// A report as crate `sev` 7 writes it.
fn fields(report: &[u8]) -> Value {
    let version = number(&report[..4]);
    let turin = version >= 3 && report[0x188] == 0x1a;
    let octets = |start: usize, length: usize| Value::from(report[start..start + length].to_vec());
    let tcb = |start: usize| {
        let tcb = &report[start..start + 8];
        match turin {
            true => {
                json!({ "fmc": tcb[0], "bootloader": tcb[1], "tee": tcb[2], "snp": tcb[3], "microcode": tcb[7] })
            }
            false => {
                json!({ "fmc": null, "bootloader": tcb[0], "tee": tcb[1], "snp": tcb[6], "microcode": tcb[7] })
            }
        }
    };
    let since = |least: u64, value: u64| if version >= least { Value::from(value) } else { Value::Null };
    let firmware = |start: usize| json!({ "build": report[start], "minor": report[start + 1], "major": report[start + 2] });
    json!({
        "version": version,
        "guest_svn": number(&report[4..8]),
        "policy": number(&report[8..16]),
        "family_id": octets(0x10, 16),
        "image_id": octets(0x20, 16),
        "vmpl": number(&report[0x30..0x34]),
        "sig_algo": number(&report[0x34..0x38]),
        "current_tcb": tcb(0x38),
        "plat_info": number(&report[0x40..0x48]),
        "key_info": number(&report[0x48..0x4c]),
        "report_data": octets(0x50, 64),
        "measurement": octets(0x90, 48),
        "host_data": octets(0xc0, 32),
        "id_key_digest": octets(0xe0, 48),
        "author_key_digest": octets(0x110, 48),
        "report_id": octets(0x140, 32),
        "report_id_ma": octets(0x160, 32),
        "reported_tcb": tcb(0x180),
        "cpuid_fam_id": since(3, report[0x188].into()),
        "cpuid_mod_id": since(3, report[0x189].into()),
        "cpuid_step": since(3, report[0x18a].into()),
        "chip_id": octets(0x1a0, 64),
        "committed_tcb": tcb(0x1e0),
        "current": firmware(0x1e8),
        "committed": firmware(0x1ec),
        "launch_tcb": tcb(0x1f0),
        "launch_mit_vector": since(5, number(&report[0x1f8..0x200])),
        "current_mit_vector": since(5, number(&report[0x200..0x208])),
        "signature": { "r": octets(0x2a0, 72), "s": octets(0x2e8, 72) },
    })
}

/// As an attester hands it out, with its table of certificates.
fn attester(recorded: &Recorded, kind: &str) -> Value {
    json!({
        "attestation_report": fields(&recorded.report()),
        "cert_chain": [
            { "cert_type": "ARK", "data": [1, 2, 3] },
            { "cert_type": kind, "data": recorded.vek() },
            { "cert_type": { "OTHER": "00000000-0000-0000-0000-000000000000" }, "data": [] },
        ],
    })
}

fn snp(recorded: &Recorded, kind: &str) -> String {
    recorded.answer(&attester(recorded, kind), None)
}

fn changed(change: impl FnOnce(&mut Value)) -> String {
    let recorded = Recorded::genoa();
    let mut evidence = attester(&recorded, "VCEK");
    change(&mut evidence);
    recorded.answer(&evidence, None)
}

fn report(change: impl FnOnce(&mut Value)) -> String {
    changed(|evidence| change(&mut evidence["attestation_report"]))
}

/// Trustee's own recordings, whole, under terms that they meet.
fn azure(name: &str, change: impl FnOnce(&mut Value), asked: impl FnOnce(&mut Question)) -> String {
    let mut evidence: Value = serde_json::from_slice(&file(&format!("azure/{name}"))).expect("JSON");
    change(&mut evidence);
    let bundle = match Bundle::parse(evidence.to_string().as_bytes()) {
        Ok(bundle) => bundle,
        Err(error) => return error.code().to_owned(),
    };
    let Some(azure) = bundle.evidence().azure() else { panic!("evidence of Azure") };
    let mut question = Question {
        challenge: Challenge::ReportData(azure.quote().extra_data().to_vec()),
        user_data: Expected::any("recorded"),
    };
    asked(&mut question);
    let any = || Expected::any("recorded");
    let mut snp = SnpPolicy::strict(Expected::any("recorded"));
    snp.id_key_digest = Expected::any("recorded");
    snp.author_key_digest = Expected::any("recorded");
    snp.host_data = any();
    snp.family_id = Expected::any("recorded");
    snp.image_id = Expected::any("recorded");
    snp.chip_id = Expected::any("recorded");
    snp.minimum_tcb = MinimumTcb { milan: Floor::AtLeast(ZERO), ..snp.minimum_tcb };
    snp.host_trust = HostTrustPolicy::ProviderTrusted { reason: "recorded on Milan".to_owned() };
    snp.platform_must.clear();
    let pcrs: PcrTerms = (0..24).map(|index| (index, Expected::any("recorded"))).collect();
    let mut terms = AzurePolicy::strict(snp, pcrs);
    terms.vm_id = Expected::any("recorded");
    terms.console = allow();
    terms.user_data = UserDataTerms::Value(question.user_data);
    let answer = bundle.verify(&BundleQuestion {
        policy: &Policy::for_azure(terms),
        anchors: &TrustAnchors::vendors(),
        now: OCTOBER_2025,
        challenge: question.challenge,
        endorsements: None,
        revocation: crl("milan"),
        ak_certificate: None,
        event_log: None,
        devices: DeviceTerms::None,
        key_custody: Danger::Refuse,
    });
    match answer {
        Ok(verified) => {
            let waived = verified.checks().iter().filter(|check| check.outcome == Outcome::Waived).count();
            assert_eq!(waived, 0);
            "verified".to_owned()
        }
        Err(refused) => refused.code().to_owned(),
    }
}

struct Question {
    challenge: Challenge,
    user_data: Expected<[u8; 64]>,
}

const ZERO: casemate_attest::snp::Tcb =
    casemate_attest::snp::Tcb { fmc: 0, bootloader: 0, tee: 0, snp: 0, microcode: 0 };

const V1: &str = "trustee_snp/evidence-v1.json";
const V2: &str = "trustee_snp/evidence-v2.json";
const TDX: &str = "trustee_tdx/evidence-v1.json";

fn as_recorded(name: &str) -> String {
    azure(name, |_| {}, |_| {})
}

fn sent_azure(change: impl FnOnce(&mut Value)) -> String {
    azure(V2, change, |_| {})
}

pub(crate) const RECORDED: &[Case] = &[
    // SEV-SNP.
    ("coco snp: version 2 of Milan", || snp(&Recorded::milan(), "VCEK"), "verified"),
    ("coco snp: version 3 of Genoa", || snp(&Recorded::genoa(), "VCEK"), "verified"),
    ("coco snp: version 3 with a VLEK", || snp(&Recorded::vlek(), "VLEK"), "snp.vmpl.not-accepted"),
    ("coco snp: version 5 of Genoa", || snp(&Recorded::version_5(), "VCEK"), "verified, waived: SNP-07"),
    ("coco snp: version 5 of Turin", || snp(&Recorded::turin(), "VCEK"), "verified, waived: SNP-07"),
    ("coco snp: no table", || changed(|e| e["cert_chain"] = Value::Null), "bundle.endorsements.missing"),
    (
        "coco snp: no member of the table",
        || changed(|e| remove(e, "cert_chain")),
        "bundle.endorsements.missing",
    ),
    ("coco snp: an empty table", || changed(|e| e["cert_chain"] = json!([])), "bundle.endorsements.missing"),
    (
        "coco snp: a certificate twice",
        || {
            changed(|e| {
                let again = e["cert_chain"][1].clone();
                e["cert_chain"].as_array_mut().expect("a list").push(again);
            })
        },
        "bundle.item.duplicate",
    ),
    (
        "coco snp: a VCEK and a VLEK",
        || {
            changed(|e| {
                let mut again = e["cert_chain"][1].clone();
                again["cert_type"] = "VLEK".into();
                e["cert_chain"].as_array_mut().expect("a list").push(again);
            })
        },
        "bundle.item.duplicate",
    ),
    (
        "coco snp: 17 certificates",
        || changed(|e| e["cert_chain"] = vec![e["cert_chain"][0].clone(); 17].into()),
        "bundle.item.too-many",
    ),
    (
        "coco snp: a certificate with an unknown member",
        || changed(|e| e["cert_chain"][1]["x"] = 1.into()),
        "bundle.member.unknown",
    ),
    (
        "coco snp: a certificate with 256 in it",
        || changed(|e| e["cert_chain"][1]["data"][7] = 256.into()),
        "bundle.member.type",
    ),
    (
        "coco snp: a damaged certificate",
        || changed(|e| e["cert_chain"][1]["data"][700] = 0.into()),
        "x509.signature",
    ),
    ("coco snp: an unknown member", || changed(|e| e["x"] = 1.into()), "bundle.member.unknown"),
    ("coco snp: an unknown field", || report(|r| r["_reserved_0"] = 0.into()), "bundle.member.unknown"),
    (
        "coco snp: a report that is no object",
        || changed(|e| e["attestation_report"] = "".into()),
        "bundle.unknown-system",
    ),
    ("coco snp: without a field", || report(|r| remove(r, "vmpl")), "bundle.member.missing"),
    ("coco snp: a field of zero", || report(|r| r["guest_svn"] = Value::Null), "bundle.member.type"),
    ("coco snp: a field below zero", || report(|r| r["guest_svn"] = json!(-1)), "bundle.member.type"),
    ("coco snp: a field with a point", || report(|r| r["guest_svn"] = json!(0.0)), "bundle.member.type"),
    (
        "coco snp: a field beyond its size",
        || report(|r| r["guest_svn"] = json!(1_u64 << 32)),
        "bundle.member.type",
    ),
    (
        "coco snp: a digest of 47 octets",
        || report(|r| drop(r["measurement"].as_array_mut().expect("a list").pop())),
        "bundle.member.length",
    ),
    (
        "coco snp: a digest of 49 octets",
        || report(|r| r["measurement"].as_array_mut().expect("a list").push(0.into())),
        "bundle.item.too-many",
    ),
    ("coco snp: version 6", || report(|r| r["version"] = 6.into()), "snp.format.version"),
    (
        "coco snp: another measurement",
        || report(|r| r["measurement"][0] = json!(255 - r["measurement"][0].as_u64().expect("a number"))),
        "snp.signature.invalid",
    ),
    (
        "coco snp: another version of the firmware",
        || report(|r| r["current"]["build"] = json!(r["current"]["build"].as_u64().expect("a number") + 1)),
        "snp.signature.invalid",
    ),
    ("coco snp: without its CPU", || report(|r| r["cpuid_fam_id"] = Value::Null), "snp.product.unknown-cpu"),
    (
        "coco snp: an FMC, which Genoa has not",
        || report(|r| r["current_tcb"]["fmc"] = 0.into()),
        "snp.tcb.reserved",
    ),
    (
        "coco snp: mitigations, which version 3 has not",
        || report(|r| r["launch_mit_vector"] = 1.into()),
        "snp.format.reserved",
    ),
    (
        "coco snp: a padded signature",
        || report(|r| r["signature"]["r"][71] = 1.into()),
        "snp.format.signature-tail",
    ),
    (
        "coco snp: a longer signature",
        || report(|r| r["signature"]["r"].as_array_mut().expect("a list").push(0.into())),
        "bundle.item.too-many",
    ),
    (
        "coco snp: another exchange",
        || {
            let genoa = Recorded::genoa();
            genoa.asked(&attester(&genoa, "VCEK"), Challenge::ReportData(vec![1; 64]))
        },
        "binding.report-data",
    ),
    ("coco snp: with a list of its own", || listed(Revocation::Missing), "verified"),
    ("coco snp: without any list", || unlisted(Revocation::Missing), "crl.missing"),
    (
        "coco snp: without any list, for a reason",
        || unlisted(Revocation::DangerNotChecked { reason: "an audit".into() }),
        "verified, waived: SNP-07",
    ),
    ("coco snp: the verifier's list before its own", || listed(Revocation::Crl(vec![0])), "crl.malformed"),
    (
        "coco snp: with a list of its own, and a waiver",
        || listed(Revocation::DangerNotChecked { reason: "an audit".into() }),
        "verified",
    ),
    ("coco snp: every field", every_field, "none passes"),
    // Azure, exactly as trustee recorded it.
    ("coco azure: version 2, as recorded", || as_recorded(V2), "verified"),
    ("coco azure: version 1, as recorded", || as_recorded(V1), "verified"),
    (
        "coco azure: version 0, as recorded",
        || as_recorded("trustee_snp/evidence-v0.json"),
        "bundle.unknown-system",
    ),
    (
        "coco azure: version 0 on TDX, as recorded",
        || as_recorded("trustee_tdx/evidence-v0.json"),
        "bundle.member.missing",
    ),
    ("coco azure: on TDX, as recorded", || as_recorded(TDX), "bundle.endorsements.missing"),
    (
        "coco azure: on TDX, with a VCEK",
        || azure(TDX, |e| e["vcek"] = "".into(), |_| {}),
        "bundle.member.unknown",
    ),
    ("coco azure: version 3", || sent_azure(|e| e["version"] = 3.into()), "bundle.version"),
    ("coco azure: version 2 as a text", || sent_azure(|e| e["version"] = "2".into()), "bundle.member.type"),
    ("coco azure: an unknown member", || sent_azure(|e| e["x"] = 1.into()), "bundle.member.unknown"),
    (
        "coco azure: an unknown member of the quote",
        || sent_azure(|e| e["tpm_quote"]["x"] = 1.into()),
        "bundle.member.unknown",
    ),
    ("coco azure: no VCEK", || sent_azure(|e| remove(e, "vcek")), "bundle.member.missing"),
    (
        "coco azure: a TD quote that is not there",
        || sent_azure(|e| e["td_quote"] = "".into()),
        "bundle.member.unknown",
    ),
    ("coco azure: standard base64", || sent_azure(|e| e["vcek"] = "+/+/".into()), "bundle.member.encoding"),
    (
        "coco azure: a quote in capitals",
        || sent_azure(|e| e["tpm_quote"]["message"] = "FF".into()),
        "bundle.member.encoding",
    ),
    (
        "coco azure: a PCR of 31 bytes",
        || sent_azure(|e| e["tpm_quote"]["pcrs"][0] = "00".repeat(31).into()),
        "bundle.member.length",
    ),
    (
        "coco azure: 25 PCRs",
        || {
            sent_azure(|e| {
                let again = e["tpm_quote"]["pcrs"][0].clone();
                e["tpm_quote"]["pcrs"].as_array_mut().expect("a list").push(again);
            })
        },
        "bundle.item.too-many",
    ),
    (
        "coco azure: 23 PCRs",
        || sent_azure(|e| drop(e["tpm_quote"]["pcrs"].as_array_mut().expect("a list").pop())),
        "tpm.quote.selection",
    ),
    (
        "coco azure: another PCR",
        || sent_azure(|e| e["tpm_quote"]["pcrs"][8] = "11".repeat(32).into()),
        "tpm.quote.digest",
    ),
    (
        "coco azure: another signature",
        || sent_azure(|e| e["tpm_quote"]["signature"] = "00".repeat(256).into()),
        "tpm.quote.signature",
    ),
    (
        "coco azure: another nonce was asked",
        || azure(V2, |_| {}, |q| q.challenge = Challenge::ReportData(vec![1; 48])),
        "binding.report-data",
    ),
    (
        "coco azure: the nonce with zeros was asked",
        || azure(V2, |_| {}, |q| zeros(&mut q.challenge)),
        "binding.report-data",
    ),
    ("coco azure: version 1 called 2", || azure(V1, |e| e["version"] = 2.into(), |_| {}), "bundle.value"),
];

/// The table has the revocation list.
fn listed(revocation: Revocation) -> String {
    let recorded = Recorded::genoa();
    let mut evidence = attester(&recorded, "VCEK");
    let entry = json!({ "cert_type": "CRL", "data": recorded.crl() });
    evidence["cert_chain"].as_array_mut().expect("a list").push(entry);
    recorded.with_revocation(&evidence, revocation)
}

fn unlisted(revocation: Revocation) -> String {
    let recorded = Recorded::genoa();
    recorded.with_revocation(&attester(&recorded, "VCEK"), revocation)
}

fn zeros(challenge: &mut Challenge) {
    if let Challenge::ReportData(data) = challenge {
        data.resize(64, 0);
    }
}

/// One octet or number of the report, each in turn: nothing else passes.
fn every_field() -> String {
    let recorded = Recorded::genoa();
    let evidence = attester(&recorded, "VCEK");
    let fields = evidence["attestation_report"].as_object().expect("an object");
    let mut tried = 0;
    for (name, value) in fields {
        let count = value.as_array().map_or(1, Vec::len);
        for position in 0..count {
            let mut other = evidence.clone();
            let target = &mut other["attestation_report"][name];
            let target = if value.is_array() { &mut target[position] } else { target };
            match target.as_u64() {
                Some(number) => *target = json!(number ^ 1),
                None => continue,
            }
            tried += 1;
            let answer = recorded.answer(&other, None);
            assert!(!answer.starts_with("verified"), "{name} {position}: {answer}");
        }
    }
    assert!(tried > 400, "{tried}");
    "none passes".to_owned()
}

fn remove(object: &mut Value, member: &str) {
    object.as_object_mut().expect("an object").remove(member).expect("it was there");
}
