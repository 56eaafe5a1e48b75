//! Real machines' evidence, and the answers that the vendors' services gave for it, replayed.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use casemate_attest::endorse::EndorsementBundle;
use casemate_attest::snp::ProductLine;
use casemate_attest::{Evidence, TrustAnchors, UnixTime, verify};
use casemate_endorse::{EndorseKind, Fetched, IntelService, Known, Origin, Settings};
use libtest_mimic::Failed;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};

use crate::machine::{cache, run, settings};
use crate::replay::{Replay, Reply};

pub(crate) type Case = (&'static str, fn() -> Result<(), Failed>);

pub(crate) const CASES: &[Case] = &[
    ("AMD: Genoa", genoa),
    ("AMD: Milan, version 3", milan),
    ("AMD: Milan, version 2, the line named by a person", milan_v2),
    ("AMD: version 2 without a line, and with another than the report's", lines),
    ("AMD: Turin: the certificate by 8 octets and FMC; no list is an error", turin),
    ("AMD: a VLEK is not served, and taken where it is given", vlek),
    ("AMD: another chip's certificate is refused and not kept", foreign_vcek),
    ("Azure: the certificate from AMD's service", azure),
    ("Azure: the certificate from the metadata service", thim),
    ("Azure: metadata that is none", thim_malformed),
    ("Azure on TDX: Intel is asked about the quote's platform", azure_tdx),
    ("Intel: TD10, Intel's service", || intel(TD10, JUNE_2025, false)),
    ("Intel: TD15 extended, Intel's service", || intel(TD15, OCTOBER_2026, false)),
    ("Intel: TD10, a PCCS with lists in hexadecimal", || intel(TD10, JUNE_2025, true)),
    ("Intel: the second fetch asks nobody, and the third offline", intel_cache),
    ("Intel: out of date offline, and asked again online", intel_stale),
    ("Intel: what is due is asked for anew, and nothing else", intel_renewal),
    ("Intel: one mistake in each answer", intel_mistakes),
    ("Intel: a forged answer is not kept", intel_forged),
    ("Nitro: the lists that a real document names are asked for", nitro),
];

const OCTOBER_2025: UnixTime = UnixTime(1_759_320_000);
const JUNE_2025_AMD: UnixTime = UnixTime(1_748_779_200);
const JUNE_2025: UnixTime = UnixTime(1_751_000_000);
const OCTOBER_2026: UnixTime = UnixTime(1_792_000_000);

fn genoa() -> Result<(), Failed> {
    let folder = "clerk_genoa_alias_check";
    let (report, vcek) =
        (file(&format!("snp/{folder}/report.bin")), first(&format!("snp/{folder}/vcek_chain.pem")));
    let target = format!(
        "/vcek/v1/Genoa/{}?blSPL=09&teeSPL=00&snpSPL=23&ucodeSPL=72",
        hex::encode(&report[0x1a0..0x1e0])
    );
    let service = Replay::start([
        (target.clone(), Reply::Body(vcek)),
        ("/vcek/v1/Genoa/crl".to_owned(), Reply::Body(file("roots/amd/genoa_crl.der"))),
    ]);
    good(&report, &Known::default(), OCTOBER_2025, &service)?;
    assert_eq!(service.targets(), [target, "/vcek/v1/Genoa/crl".to_owned()]);
    Ok(())
}

fn milan() -> Result<(), Failed> {
    let (report, vcek) = (file("snp/clerk_milan/report.bin"), first("snp/clerk_milan/vcek_chain.pem"));
    let target = format!(
        "/vcek/v1/Milan/{}?blSPL=04&teeSPL=00&snpSPL=24&ucodeSPL=219",
        hex::encode(&report[0x1a0..0x1e0])
    );
    let service = milan_service(&target, vcek);
    good(&report, &Known::default(), JUNE_2025_AMD, &service)?;
    assert_eq!(service.targets(), [target, "/vcek/v1/Milan/crl".to_owned()]);
    Ok(())
}

fn milan_v2() -> Result<(), Failed> {
    let (report, vcek) = (file("snp/virtee_milan/report.bin"), file("snp/virtee_milan/vcek.der"));
    let target = format!(
        "/vcek/v1/Milan/{}?blSPL=03&teeSPL=00&snpSPL=08&ucodeSPL=115",
        hex::encode(&report[0x1a0..0x1e0])
    );
    let service = milan_service(&target, vcek);
    let known = Known { line: Some(ProductLine::Milan), vek: None, ..Known::default() };
    good(&report, &known, JUNE_2025_AMD, &service)?;
    assert_eq!(service.targets(), [target, "/vcek/v1/Milan/crl".to_owned()]);
    Ok(())
}

fn lines() -> Result<(), Failed> {
    for (report, line, expected) in [
        ("snp/virtee_milan/report.bin", None, "endorse.line-unknown"),
        ("snp/clerk_milan/report.bin", Some(ProductLine::Genoa), "endorse.line-differs"),
    ] {
        let service = Replay::start([]);
        let error =
            refused(&file(report), &Known { line, vek: None, ..Known::default() }, JUNE_2025_AMD, &service);
        assert_eq!(error, (expected, EndorseKind::Usage));
        assert!(service.seen().is_empty());
    }
    Ok(())
}

fn turin() -> Result<(), Failed> {
    let (report, vcek) = (file("snp/clerk_turin/report.bin"), first("snp/clerk_turin/vcek_chain.pem"));
    let target = format!(
        "/vcek/v1/Turin/{}?fmcSPL=00&blSPL=01&teeSPL=00&snpSPL=02&ucodeSPL=71",
        hex::encode(&report[0x1a0..0x1a8])
    );
    let crl = "/vcek/v1/Turin/crl".to_owned();
    // No list of Turin was recorded.
    let service = Replay::start([(target.clone(), Reply::Body(vcek))]);
    let cache = cache();
    let settings = settings(&service.url(), &cache);
    let evidence = Evidence::parse(&report)?;
    for _ in 0..2 {
        let (fetched, _) =
            run(&evidence, &Known::default(), &TrustAnchors::vendors(), OCTOBER_2025, &settings);
        let error = fetched.expect_err("no list");
        assert_eq!(error.code(), "endorse.not-found");
        assert!(error.to_string().contains("amd/crl/vcek/Turin"), "{error}");
    }
    assert_eq!(service.targets(), [target, crl.clone(), crl], "the certificate is kept");
    Ok(())
}

fn vlek() -> Result<(), Failed> {
    let (report, vlek) = (file("snp/trustee_vlek/report.bin"), file("snp/trustee_vlek/vlek.der"));
    let crl = "/vlek/v1/Milan/crl".to_owned();
    let service = Replay::start([(crl.clone(), Reply::Body(file("roots/amd/milan_crl.der")))]);
    let error = refused(&report, &Known::default(), JUNE_2025_AMD, &service);
    assert_eq!(error, ("endorse.vlek-not-served", EndorseKind::Undecidable));
    assert!(service.seen().is_empty());
    let fetched =
        good(&report, &Known { line: None, vek: Some(vlek), ..Known::default() }, JUNE_2025_AMD, &service)?;
    assert_eq!(service.targets(), [crl]);
    assert_eq!(fetched.items[0].origin, Origin::Given);
    let wrong = first("snp/clerk_milan/vcek_chain.pem");
    let error = refused(
        &report,
        &Known { line: None, vek: Some(wrong), ..Known::default() },
        JUNE_2025_AMD,
        &service,
    );
    assert_eq!(error, ("snp.vek.subject", EndorseKind::Rejected));
    Ok(())
}

fn foreign_vcek() -> Result<(), Failed> {
    let report = file("snp/clerk_milan/report.bin");
    let target = format!(
        "/vcek/v1/Milan/{}?blSPL=04&teeSPL=00&snpSPL=24&ucodeSPL=219",
        hex::encode(&report[0x1a0..0x1e0])
    );
    let service = milan_service(&target, file("snp/oak_milan_rk_release/vcek.der"));
    let cache = cache();
    let evidence = Evidence::parse(&report)?;
    let settings = settings(&service.url(), &cache);
    let (fetched, _) = run(&evidence, &Known::default(), &TrustAnchors::vendors(), JUNE_2025_AMD, &settings);
    let error = fetched.expect_err("another chip's");
    assert_eq!(error.code(), "snp.signature.invalid");
    assert!(!cache.path().join("amd").exists());
    Ok(())
}

fn azure() -> Result<(), Failed> {
    let (document, vcek, target) = azure_evidence();
    let service = Replay::start([
        (target.clone(), Reply::Body(vcek)),
        ("/vcek/v1/Genoa/crl".to_owned(), Reply::Body(file("roots/amd/genoa_crl.der"))),
    ]);
    good(&document, &Known::default(), OCTOBER_2025, &service)?;
    assert_eq!(service.targets(), [target, "/vcek/v1/Genoa/crl".to_owned()]);
    Ok(())
}

const THIM: &str = "/metadata/THIM/amd/certification";

fn thim() -> Result<(), Failed> {
    let (document, vcek, _) = azure_evidence();
    let pem = format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", STANDARD.encode(vcek));
    let answer =
        json!({"vcekCert": pem, "tcbm": "", "certificateChain": "", "cacheControl": "86400"}).to_string();
    let service = Replay::start([
        (THIM.to_owned(), Reply::Body(answer.into_bytes())),
        ("/vcek/v1/Genoa/crl".to_owned(), Reply::Body(file("roots/amd/genoa_crl.der"))),
    ]);
    let cache = cache();
    let settings = Settings { thim: Some(service.url()), ..settings(&service.url(), &cache) };
    let evidence = Evidence::parse(&document)?;
    let (fetched, _) = run(&evidence, &Known::default(), &TrustAnchors::vendors(), OCTOBER_2025, &settings);
    fetched?;
    let seen = service.seen();
    assert_eq!(service.targets(), [THIM, "/vcek/v1/Genoa/crl"]);
    assert!(seen[0].head.to_lowercase().contains("\r\nmetadata: true\r\n"), "{}", seen[0].head);
    assert!(!seen[1].head.to_lowercase().contains("metadata: "), "{}", seen[1].head);
    Ok(())
}

fn thim_malformed() -> Result<(), Failed> {
    let (document, ..) = azure_evidence();
    for bad in ["", "{}", "{\"vcekCert\":\"\"}", "{\"vcekCert\":1}", "<html>"] {
        let service = Replay::start([(THIM.to_owned(), Reply::Body(bad.as_bytes().to_vec()))]);
        let cache = cache();
        let settings = Settings { thim: Some(service.url()), ..settings(&service.url(), &cache) };
        let evidence = Evidence::parse(&document)?;
        let (fetched, _) =
            run(&evidence, &Known::default(), &TrustAnchors::vendors(), OCTOBER_2025, &settings);
        assert_eq!(fetched.expect_err("malformed").code(), "endorse.answer.form", "{bad}");
    }
    Ok(())
}

/// No collateral of this platform was recorded: the request is all that can be compared.
fn azure_tdx() -> Result<(), Failed> {
    let recorded: Value = serde_json::from_slice(&file("azure/trustee_tdx/evidence-v1.json"))?;
    let hexadecimal = |value: &Value| hex::decode(value.as_str().expect("text")).expect("hexadecimal");
    let unpadded = base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let decoded = |value: &Value| {
        unpadded.decode(value.as_str().expect("text").trim_end_matches('=')).expect("base64url")
    };
    let pcrs = recorded["tpm_quote"]["pcrs"].as_array().expect("PCRs").iter();
    let pcrs: Vec<_> = pcrs.map(hexadecimal).map(hex::encode).enumerate().collect();
    let document = json!({
        "format": "casemate.azure-vtpm/1",
        "hcl_report": STANDARD.encode(decoded(&recorded["hcl_report"])),
        "quote": STANDARD.encode(hexadecimal(&recorded["tpm_quote"]["message"])),
        "signature": STANDARD.encode(hexadecimal(&recorded["tpm_quote"]["signature"])),
        "pcrs": pcrs,
        "td_quote": STANDARD.encode(decoded(&recorded["td_quote"])),
    });
    let service = Replay::start([]);
    let error = refused(document.to_string().as_bytes(), &Known::default(), JUNE_2025, &service);
    assert_eq!(error, ("endorse.not-found", EndorseKind::Undecidable));
    assert_eq!(service.targets(), ["/tdx/certification/v4/tcb?fmspc=00806F050000"]);
    Ok(())
}

struct Quote {
    quote: &'static str,
    collateral: &'static str,
    fmspc: &'static str,
}

const TD10: Quote = Quote {
    quote: "tdx/dcap-qvl/tdx_quote.bin",
    collateral: "tdx/dcap-qvl/tdx_quote_collateral.json",
    fmspc: "B0C06F000000",
};
const TD15: Quote = Quote {
    quote: "tdx/dcap-qvl/tdx_quote_td15ex.bin",
    collateral: "tdx/dcap-qvl/tdx_quote_td15ex_collateral.json",
    fmspc: "B0C06F000000",
};

const QE_IDENTITY: &str = "/tdx/certification/v4/qe/identity";
const PCK_CRL: &str = "/sgx/certification/v4/pckcrl?ca=platform&encoding=der";
const ROOT_CRL: &str = "/IntelSGXRootCA.der";
const PCCS_ROOT_CRL: &str = "/sgx/certification/v4/rootcacrl";

fn tcb_info(quote: &Quote) -> String {
    format!("/tdx/certification/v4/tcb?fmspc={}", quote.fmspc)
}

fn intel(quote: Quote, now: UnixTime, pccs: bool) -> Result<(), Failed> {
    let service = intel_service(&quote, pccs);
    let cache = cache();
    let mut settings = settings(&service.url(), &cache);
    if pccs {
        settings.intel = IntelService::Pccs(format!("{}/", service.url()));
    }
    let evidence = Evidence::parse(&file(quote.quote))?;
    let (fetched, _) = run(&evidence, &Known::default(), &TrustAnchors::vendors(), now, &settings);
    let fetched = fetched?;
    let root = if pccs { PCCS_ROOT_CRL } else { ROOT_CRL };
    assert_eq!(service.targets(), [tcb_info(&quote).as_str(), QE_IDENTITY, PCK_CRL, root]);
    again(&evidence, &fetched, now)
}

fn intel_cache() -> Result<(), Failed> {
    let (service, cache) = (intel_service(&TD10, false), cache());
    let mut settings = settings(&service.url(), &cache);
    let evidence = Evidence::parse(&file(TD10.quote))?;
    let anchors = TrustAnchors::vendors();
    let first = run(&evidence, &Known::default(), &anchors, JUNE_2025, &settings).0?;
    let second = run(&evidence, &Known::default(), &anchors, JUNE_2025, &settings).0?;
    settings.offline = true;
    let third = run(&evidence, &Known::default(), &anchors, JUNE_2025, &settings).0?;
    assert_eq!(service.seen().len(), 4);
    assert_eq!((&second.bundle, &third.bundle), (&first.bundle, &first.bundle));
    assert!(third.items.iter().all(|item| item.origin == Origin::Cache) && third.items.len() == 4);
    Ok(())
}

fn intel_stale() -> Result<(), Failed> {
    let (service, cache) = (intel_service(&TD10, false), cache());
    let mut settings = settings(&service.url(), &cache);
    let evidence = Evidence::parse(&file(TD10.quote))?;
    let anchors = TrustAnchors::vendors();
    run(&evidence, &Known::default(), &anchors, JUNE_2025, &settings).0?;
    let later = UnixTime(1_753_000_000);
    settings.offline = true;
    let error = run(&evidence, &Known::default(), &anchors, later, &settings).0.expect_err("out of date");
    assert_eq!(error.code(), "endorse.cache.stale");
    settings.offline = false;
    let error = run(&evidence, &Known::default(), &anchors, later, &settings).0.expect_err("out of date");
    assert_eq!((error.code(), error.kind()), ("endorse.answer.out-of-date", EndorseKind::Undecidable));
    assert_eq!(service.seen().len(), 5, "one more: the TCB info");
    Ok(())
}

/// The dates that the parts say of themselves, and the first of them past which a part is asked for anew (END-23).
fn intel_renewal() -> Result<(), Failed> {
    let (service, cache) = (intel_service(&TD10, false), cache());
    let mut settings = settings(&service.url(), &cache);
    let evidence = Evidence::parse(&file(TD10.quote))?;
    let anchors = TrustAnchors::vendors();
    let first = run(&evidence, &Known::default(), &anchors, JUNE_2025, &settings).0?;
    let parts = first.bundle.dates()?;
    assert_eq!(parts.len(), 4);
    assert!(parts.iter().all(|part| part.listing && part.dated.holds(JUNE_2025)));
    let first_end = parts.iter().map(|part| part.dated.until).min().expect("parts");
    assert_eq!(first_end, first.valid_until);
    assert_eq!(first.bundle.older_than(&first.bundle)?, None);
    let due: Vec<_> = parts.iter().map(|part| part.dated.renewal()).collect();
    // Just before the first of them is due nobody is asked; then that part is, and those that are due as well.
    settings.renew = true;
    let at = |time: UnixTime| due.iter().filter(|due| **due <= time).count();
    let soon = *due.iter().min().expect("parts");
    assert!(soon > JUNE_2025 && soon < first_end, "{soon}");
    run(&evidence, &Known::default(), &anchors, UnixTime(soon.0 - 1), &settings).0?;
    assert_eq!(service.seen().len(), 4);
    run(&evidence, &Known::default(), &anchors, soon, &settings).0?;
    assert_eq!(service.seen().len(), 4 + at(soon));
    Ok(())
}

fn intel_mistakes() -> Result<(), Failed> {
    let collateral = collateral(&TD10);
    let text = |name: &str| collateral[name].as_str().expect("text").to_owned();
    let chain = encoded(&text("tcb_info_issuer_chain"));
    let tcb = |info: &str, signature: &str| {
        let body = format!("{{\"tcbInfo\":{info},\"signature\":\"{signature}\"}}");
        Reply::With("TCB-Info-Issuer-Chain", chain.clone(), body.into_bytes())
    };
    let (info, signature) = (text("tcb_info"), text("tcb_info_signature"));
    let (target, qe) = (tcb_info(&TD10), QE_IDENTITY.to_owned());
    let cases: Vec<(&str, String, Reply, &str)> = vec![
        ("no header", target.clone(), Reply::Body(b"{}".to_vec()), "endorse.answer.header"),
        (
            "a header that is no chain",
            target.clone(),
            Reply::With("TCB-Info-Issuer-Chain", "x".into(), vec![]),
            "endorse.answer.header",
        ),
        (
            "another header",
            target.clone(),
            Reply::With("SGX-TCB-Info-Issuer-Chain", chain.clone(), vec![]),
            "endorse.answer.header",
        ),
        (
            "a page",
            target.clone(),
            Reply::With("TCB-Info-Issuer-Chain", chain.clone(), b"<html>".to_vec()),
            "endorse.answer.form",
        ),
        (
            "of SGX",
            target.clone(),
            tcb(&info.replacen("\"TDX\"", "\"SGX\"", 1), &signature),
            "endorse.answer.other",
        ),
        (
            "of another platform",
            target.clone(),
            tcb(&info.replacen("B0C06F", "90C06F", 1), &signature),
            "endorse.answer.other",
        ),
        ("a short signature", target.clone(), tcb(&info, &signature[2..]), "endorse.answer.form"),
        (
            "a signature that is not hexadecimal",
            target.clone(),
            tcb(&info, &signature.replace(['0', '1', '2'], "x")),
            "endorse.answer.form",
        ),
        (
            "a QE identity instead",
            target.clone(),
            intel_reply(&collateral, "qe_identity"),
            "endorse.answer.header",
        ),
        (
            "of the SGX enclave",
            qe.clone(),
            {
                let body = format!(
                    "{{\"enclaveIdentity\":{},\"signature\":\"{}\"}}",
                    text("qe_identity").replacen("TD_QE", "QE", 1),
                    text("qe_identity_signature")
                );
                Reply::With("SGX-Enclave-Identity-Issuer-Chain", chain.clone(), body.into_bytes())
            },
            "endorse.answer.other",
        ),
        ("not there", qe, Reply::Status(404, ""), "endorse.not-found"),
        (
            "no list",
            PCK_CRL.to_owned(),
            Reply::With("SGX-PCK-CRL-Issuer-Chain", chain.clone(), b"zz".to_vec()),
            "endorse.answer.form",
        ),
        ("an empty list", ROOT_CRL.to_owned(), Reply::Body(vec![]), "endorse.answer.form"),
        (
            "the other list",
            ROOT_CRL.to_owned(),
            Reply::Body(hex::decode(text("pck_crl"))?),
            "tdx.dcap.refused",
        ),
    ];
    for (name, target, reply, expected) in cases {
        let (service, cache) = (intel_service(&TD10, false), cache());
        service.answer(&target, reply);
        let evidence = Evidence::parse(&file(TD10.quote))?;
        let settings = settings(&service.url(), &cache);
        let (fetched, _) = run(&evidence, &Known::default(), &TrustAnchors::vendors(), JUNE_2025, &settings);
        assert_eq!(fetched.expect_err(name).code(), expected, "{name}");
        assert!(!cache.path().join("intel").exists(), "{name}: nothing is kept");
    }
    Ok(())
}

/// A service that lowers what Intel demands: everything has the right form, and nothing is kept.
fn intel_forged() -> Result<(), Failed> {
    let collateral = collateral(&TD10);
    let mut forged = collateral.clone();
    let info = collateral["tcb_info"].as_str().expect("text");
    forged["tcb_info"] = info.replacen("\"pcesvn\":11", "\"pcesvn\":10", 1).into();
    assert_ne!(forged, collateral);
    let (service, cache) = (intel_service(&TD10, false), cache());
    service.answer(&tcb_info(&TD10), intel_reply(&forged, "tcb_info"));
    let evidence = Evidence::parse(&file(TD10.quote))?;
    let settings = settings(&service.url(), &cache);
    let (fetched, _) = run(&evidence, &Known::default(), &TrustAnchors::vendors(), JUNE_2025, &settings);
    let error = fetched.expect_err("forged");
    assert_eq!((error.code(), error.kind()), ("tdx.collateral.signature", EndorseKind::Rejected));
    assert!(!cache.path().join("intel").exists());
    Ok(())
}

fn nitro() -> Result<(), Failed> {
    let document = file("nitro/cose/nitro_attest_attestation.cbor");
    let service = Replay::start([]);
    let error = refused(&document, &Known::default(), UnixTime(1_736_179_625), &service);
    assert_eq!(error, ("endorse.not-found", EndorseKind::Undecidable));
    let root = "/aws-nitro-enclaves-crl.s3.amazonaws.com/crl/ab4960cc-7d63-42bd-9e9f-59338cb67f84.crl";
    assert_eq!(service.targets(), [root]);
    // One that is of no authority of the path.
    service.answer(root, Reply::Body(file("roots/amd/genoa_crl.der")));
    let error = refused(&document, &Known::default(), UnixTime(1_736_179_625), &service);
    assert_eq!(error, ("crl.issuer", EndorseKind::Rejected));
    Ok(())
}

fn milan_service(target: &str, vcek: Vec<u8>) -> Replay {
    Replay::start([
        (target.to_owned(), Reply::Body(vcek)),
        ("/vcek/v1/Milan/crl".to_owned(), Reply::Body(file("roots/amd/milan_crl.der"))),
    ])
}

/// The recorded answers as Intel gives them: the document beside its signature, the chain in a header.
fn intel_service(quote: &Quote, pccs: bool) -> Replay {
    let collateral = collateral(quote);
    let list = |name: &str| {
        let text = collateral[name].as_str().expect("hexadecimal");
        if pccs { text.as_bytes().to_vec() } else { hex::decode(text).expect("hexadecimal") }
    };
    let chain = encoded(collateral["pck_crl_issuer_chain"].as_str().expect("text"));
    Replay::start([
        (tcb_info(quote), intel_reply(&collateral, "tcb_info")),
        (QE_IDENTITY.to_owned(), intel_reply(&collateral, "qe_identity")),
        (PCK_CRL.to_owned(), Reply::With("SGX-PCK-CRL-Issuer-Chain", chain, list("pck_crl"))),
        (if pccs { PCCS_ROOT_CRL } else { ROOT_CRL }.to_owned(), Reply::Body(list("root_ca_crl"))),
    ])
}

fn intel_reply(collateral: &Value, name: &str) -> Reply {
    let text = |suffix: &str| collateral[format!("{name}{suffix}")].as_str().expect("text");
    let (member, header) = match name {
        "tcb_info" => ("tcbInfo", "TCB-Info-Issuer-Chain"),
        _ => ("enclaveIdentity", "SGX-Enclave-Identity-Issuer-Chain"),
    };
    let body = format!("{{\"{member}\":{},\"signature\":\"{}\"}}", text(""), text("_signature"));
    Reply::With(header, encoded(text("_issuer_chain")), body.into_bytes())
}

fn encoded(pem: &str) -> String {
    pem.bytes()
        .map(|octet| match octet {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' => char::from(octet).to_string(),
            _ => format!("%{octet:02X}"),
        })
        .collect()
}

fn collateral(quote: &Quote) -> Value {
    serde_json::from_slice(&file(quote.collateral)).expect("JSON")
}

/// The document, its VCEK, and where AMD's service has it.
fn azure_evidence() -> (Vec<u8>, Vec<u8>, String) {
    let recorded: Value =
        serde_json::from_slice(&file("azure/trustee_snp/evidence-genoa.json")).expect("JSON");
    let octets = |value: &Value| -> Vec<u8> {
        let numbers = value.as_array().expect("octets").iter();
        numbers.map(|octet| octet.as_u64().and_then(|octet| octet.try_into().ok()).expect("octet")).collect()
    };
    let hcl = octets(&recorded["report"]);
    let pcrs = recorded["quote"]["pcrs"].as_array().expect("PCRs").iter();
    let pcrs: Vec<_> = pcrs.map(octets).map(hex::encode).enumerate().collect();
    let document = json!({
        "format": "casemate.azure-vtpm/1",
        "hcl_report": STANDARD.encode(&hcl),
        "quote": STANDARD.encode(octets(&recorded["quote"]["message"])),
        "signature": STANDARD.encode(octets(&recorded["quote"]["signature"])),
        "pcrs": pcrs,
    });
    let report = &hcl[0x20..0x20 + 1184];
    let [bootloader, tee, .., snp, microcode] = report[0x180..0x188] else { panic!("a TCB") };
    let target = format!(
        "/vcek/v1/Genoa/{}?blSPL={bootloader:02}&teeSPL={tee:02}&snpSPL={snp:02}&ucodeSPL={microcode:02}",
        hex::encode(&report[0x1a0..0x1e0])
    );
    let vcek = CertificateDer::from_pem_slice(recorded["vcek"].as_str().expect("PEM").as_bytes());
    (document.to_string().into_bytes(), vcek.expect("PEM").to_vec(), target)
}

/// Fetches, writes, reads and verifies.
fn good(evidence: &[u8], known: &Known, now: UnixTime, service: &Replay) -> Result<Fetched, Failed> {
    let cache = cache();
    let evidence = Evidence::parse(evidence)?;
    let settings = settings(&service.url(), &cache);
    let fetched = run(&evidence, known, &TrustAnchors::vendors(), now, &settings).0?;
    assert!(!fetched.simulated);
    again(&evidence, &fetched, now)?;
    Ok(fetched)
}

fn again(evidence: &Evidence, fetched: &Fetched, now: UnixTime) -> Result<(), Failed> {
    let bundle = EndorsementBundle::parse(&fetched.bundle.to_bytes()?)?;
    let authentic = verify(evidence, &bundle.endorsements(evidence)?, &TrustAnchors::vendors(), now)?;
    assert_eq!(authentic.valid_until(), fetched.valid_until);
    let late = UnixTime(fetched.valid_until.0 + 1);
    assert!(verify(evidence, &bundle.endorsements(evidence)?, &TrustAnchors::vendors(), late).is_err());
    Ok(())
}

fn refused(evidence: &[u8], known: &Known, now: UnixTime, service: &Replay) -> (&'static str, EndorseKind) {
    let cache = cache();
    let evidence = Evidence::parse(evidence).expect("evidence");
    let settings = settings(&service.url(), &cache);
    let error = run(&evidence, known, &TrustAnchors::vendors(), now, &settings).0.expect_err("refused");
    (error.code(), error.kind())
}

fn first(path: &str) -> Vec<u8> {
    CertificateDer::from_pem_slice(&file(path)).expect("PEM").to_vec()
}

pub(crate) fn file(path: &str) -> Vec<u8> {
    let path = folder().expect("recordings are at hand").join(path);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// `CASEMATE_VECTORS`, or `shared/vectors` beside the repository; `None` where neither exists.
pub(crate) fn folder() -> Option<PathBuf> {
    let beside = || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/vectors"));
    let folder = std::env::var_os("CASEMATE_VECTORS").map_or_else(beside, PathBuf::from);
    folder.join("snp").is_dir().then_some(folder)
}
