//! Recorded TDX quotes, case by case: what must pass, and what must be refused with which code.
//!
//! One line of a table is one case. Every case starts from a recording and changes at most one thing about it; the
//! expected answer is the exact code, or "verified", or "verified, waived: …" with the rules that were waived.

#[path = "../recorded/mod.rs"]
mod recorded;
mod sweep;

use std::sync::Arc;

use casemate_attest::tdx::{Attribute, ModuleSvn, TcbStatus, TdxPolicy};
use casemate_attest::{
    Authentic, Binding, Endorsements, Evidence, Expected, IssuerCache, Outcome, Policy, Rejected, Report,
    Revocation, TrustAnchors, UnixTime, verify,
};
use libtest_mimic::{Arguments, Failed, Trial};
use recorded::{allow, file};

/// Name, what is done, expected answer.
pub(crate) type Case = (&'static str, fn() -> String, &'static str);

fn main() {
    let arguments = Arguments::from_args();
    let absent = recorded::folder().is_none();
    let tables = [MACHINES, FORMS, COLLATERAL, TERMS, sweep::SWEEPS];
    let trials = tables.concat().into_iter().map(|(name, answer, expected)| {
        let run = move || {
            let found = answer();
            if found == expected {
                Ok(())
            } else {
                Err(Failed::from(format!("{found:?}, expected {expected:?}")))
            }
        };
        Trial::test(name, run).with_ignored_flag(absent)
    });
    let again =
        Trial::test("all of these again, with an issuer cache", with_a_cache).with_ignored_flag(absent);
    libtest_mimic::run(&arguments, trials.chain([again]).collect()).exit();
}

/// No answer depends on what is remembered.
fn with_a_cache() -> Result<(), Failed> {
    let cache = Arc::new(IssuerCache::new());
    cache.during(|| {
        for case in [td10(), td15(), td15ex()] {
            assert_eq!(accepted(&case), "authentic");
        }
        for (name, answer, expected) in [MACHINES, COLLATERAL, TERMS, sweep::REMEMBERED].concat() {
            let found = answer();
            if found != expected {
                return Err(Failed::from(format!("{name}: {found:?}, expected {expected:?}")));
            }
        }
        Ok(())
    })
}

const JUNE_2025: u64 = 1_751_000_000; // 2025-06-27
const MARCH_2026: u64 = 1_772_400_000; // 2026-03-01
const OCTOBER_2026: u64 = 1_792_000_000; // 2026-10-14
const MINIMAL: &str = "verified, waived: TDX-14, TDX-21, TDX-22, TDX-23, TDX-24";

/// Every recorded quote.
const MACHINES: &[Case] = &[
    ("tdx/dcap-qvl/tdx_quote.bin, TD 1.0", || strict(&td10()), MINIMAL),
    ("tdx/dcap-qvl/tdx_quote_td15ex.bin: MRCONFIGID", || strict(&td15ex()), "tdx.mrconfigid.not-accepted"),
    (
        "tdx/dcap-qvl/tdx_quote_td15ex.bin, MRCONFIGID accepted",
        || with(&td15ex(), |terms| terms.mr_config_id = any()),
        "verified, waived: TDX-14, TDX-21, TDX-22, TDX-23, TDX-24, TDX-25",
    ),
    ("tdx/go-tdx-guest/quote_v5_sample.dat, TD 1.5", || strict(&td15()), MINIMAL),
    (
        "tdx/dcap-qvl/tdx_quote_outdated.bin",
        || refused(&of(OUTDATED, OUTDATED_JSON, MARCH_2026)),
        "tdx.tcb.unknown",
    ),
    (
        "tdx/trustee/tdx_quote_5.dat",
        || refused(&of("tdx/trustee/tdx_quote_5.dat", OUTDATED_JSON, MARCH_2026)),
        "tdx.tcb.unknown",
    ),
    ("tdx/dcap-qvl/sgx_quote.bin", || form_of("tdx/dcap-qvl/sgx_quote.bin"), "tdx.format.sgx"),
    ("tdx/dcap-qvl/tdx-quote.hex", || hexadecimal("tdx/dcap-qvl/tdx-quote.hex"), "version 4, Td10"),
    (
        "tdx/dcap-qvl/quote-from-tappd.hex",
        || hexadecimal("tdx/dcap-qvl/quote-from-tappd.hex"),
        "version 4, Td10",
    ),
    (
        "tdx/trustee/tdx_quote_4.dat: form",
        || form_of("tdx/trustee/tdx_quote_4.dat"),
        "version 4, Td10, debug",
    ),
    (
        "tdx/trustee/tdx_quote_5.dat: form",
        || form_of("tdx/trustee/tdx_quote_5.dat"),
        "version 5, Td15, service TD",
    ),
    ("tdx/trustee/tdx_quote_6.dat: form", || form_of("tdx/trustee/tdx_quote_6.dat"), "version 4, Td10"),
    (
        "tdx/trustee/tdx_quote_6.dat: no revocation lists",
        || {
            refused(&Recording {
                collateral: json(&td10().collateral, |c| c["pck_crl"] = "".into()),
                ..td10()
            })
        },
        "tdx.collateral.missing",
    ),
    (
        "tdx/go-tdx-guest/tdx_prod_quote_SPR_E4.dat: bytes behind the end",
        || form_of("tdx/go-tdx-guest/tdx_prod_quote_SPR_E4.dat"),
        "tdx.format.trailing",
    ),
    (
        "tdx/go-tdx-guest/ccel/cos-113-tdx-quote.dat",
        || form_of("tdx/go-tdx-guest/ccel/cos-113-tdx-quote.dat"),
        "version 4, Td10",
    ),
    ("tdx/openpcc_gce/td-quote.bin", || form_of("tdx/openpcc_gce/td-quote.bin"), "version 4, Td10"),
    (
        "tdx/intel-qvl-sample/quote.dat",
        || form_of("tdx/intel-qvl-sample/quote.dat"),
        "tdx.format.qe-authentication",
    ),
];

/// Quotes with one mistake in their form.
const FORMS: &[Case] = &[
    ("form: v5, exactly as long", || form5(|q| q.truncate(5006)), "accepted"),
    ("form: empty", || form(|q| q.clear()), "evidence.unknown-format"),
    ("form: header only", || form(|q| q.truncate(48)), "tdx.format.truncated"),
    ("form: signed part only", || form(|q| q.truncate(632)), "tdx.format.truncated"),
    ("form: 16 KiB and a byte", || form(|q| q.resize(16 * 1024 + 1, 0)), "tdx.format.too-long"),
    ("form: padded to 16 KiB", || form(|q| q.resize(16 * 1024, 0)), "accepted"),
    ("form: without its padding", || form(|q| q.truncate(4936)), "accepted"),
    ("form: one byte less than that", || form(|q| q.truncate(4935)), "tdx.format.truncated"),
    ("form: first padding byte", || form(|q| q[4936] = 1), "tdx.format.trailing"),
    ("form: last padding byte", || form(|q| q[5005] = 1), "tdx.format.trailing"),
    ("form: version 3", || form(|q| q[0] = 3), "tdx.format.sgx"),
    ("form: version 6", || form(|q| q[0] = 6), "tdx.format.version"),
    ("form: version 4 called 5", || form(|q| q[0] = 5), "tdx.format.body-type"),
    ("form: key type 3", || form(|q| q[2] = 3), "tdx.format.key-type"),
    ("form: TEE type of SGX", || form(|q| q[4] = 0), "tdx.format.sgx"),
    ("form: TEE type 0x82", || form(|q| q[4] = 0x82), "tdx.format.tee-type"),
    ("form: reserved byte 11", || form(|q| q[11] = 1), "tdx.format.reserved"),
    ("form: other vendor", || form(|q| q[12] ^= 1), "tdx.format.vendor"),
    ("form: length of the signature data", || form(|q| q[632] ^= 1), "tdx.format.nesting"),
    ("form: length beyond the end", || form(|q| q[635] = 1), "tdx.format.truncated"),
    ("form: certification type 5", || form(|q| q[764] = 5), "tdx.format.certification"),
    ("form: inner certification type 4", || form(|q| q[1252] = 4), "tdx.format.pck-certification"),
    ("form: inner certification type 6", || form(|q| q[1252] = 6), "tdx.format.pck-certification"),
    ("form: inner certification type 261", || form(|q| q[1253] = 1), "tdx.format.pck-certification"),
    ("form: length of the certification data", || form(|q| q[766] ^= 1), "tdx.format.nesting"),
    ("form: second half of the QE's report data", || form(|q| q[770 + 352] = 1), "tdx.format.qe-report-data"),
    ("form: QE authentication data of 33 bytes", || form(|q| q[1218] = 33), "tdx.format.qe-authentication"),
    ("form: length of the certificates", || form(|q| q[1254] ^= 1), "tdx.format.nesting"),
    ("form: v5, SGX body", || form5(|q| q[48] = 1), "tdx.format.sgx"),
    ("form: v5, TD 1.5 called TD 1.0", || form5(|q| q[48] = 2), "tdx.format.body-size"),
    ("form: v5, body type 5", || form5(|q| q[48] = 5), "tdx.format.body-type"),
    ("form: v5, body a byte longer", || form5(|q| q[50] += 1), "tdx.format.body-size"),
];

/// Collateral with one mistake, or somebody else's, or of another time.
const COLLATERAL: &[Case] = &[
    ("anchors: AMD's", || under(&TrustAnchors::amd(), &td10()), "tdx.root.missing"),
    ("anchors: all vendors'", || under(&TrustAnchors::vendors(), &td10()), "authentic"),
    ("endorsements: of Nitro", || foreign(), "endorsements.platform"),
    ("root: before it", || at(&td10(), 1_500_000_000), "tdx.collateral.not-yet-valid"),
    ("collateral: none", || collateral(|c| c.clear()), "tdx.collateral.missing"),
    ("collateral: not JSON", || collateral(|c| c.push(b'}')), "tdx.collateral.malformed"),
    (
        "collateral: 1 MiB and a byte",
        || collateral(|c| c.resize(1024 * 1024 + 1, b' ')),
        "tdx.collateral.too-long",
    ),
    ("collateral: unknown key", || changed(|c| c["x"] = "".into()), "tdx.collateral.malformed"),
    ("collateral: no TCB info", || changed(|c| c["tcb_info"] = "".into()), "tdx.collateral.missing"),
    ("collateral: no root CRL", || changed(|c| c["root_ca_crl"] = "".into()), "tdx.collateral.missing"),
    ("collateral: CRL not DER", || changed(|c| c["pck_crl"] = "00".into()), "tdx.collateral.malformed"),
    (
        "collateral: CRL not hexadecimal",
        || changed(|c| c["pck_crl"] = "x".into()),
        "tdx.collateral.malformed",
    ),
    ("collateral: no QE identity", || removed("qe_identity"), "tdx.collateral.missing"),
    (
        "collateral: of another FMSPC",
        || refused(&Recording { collateral: file(OUTDATED_JSON), now: MARCH_2026, ..td10() }),
        "tdx.tcb-info.platform",
    ),
    ("collateral: of SGX", || of_sgx("tcb_info"), "tdx.tcb-info.kind"),
    ("collateral: identity of the SGX QE", || of_sgx("qe_identity"), "tdx.qe-identity.kind"),
    (
        "collateral: another PCE id",
        || replaced("tcb_info", "pceId\":\"0000", "pceId\":\"0001"),
        "tdx.tcb-info.platform",
    ),
    (
        "collateral: TCB info, one number",
        || replaced("tcb_info", "\"svn\":5", "\"svn\":4"),
        "tdx.collateral.signature",
    ),
    (
        "collateral: QE identity, one number",
        || replaced("qe_identity", "\"isvsvn\":4", "\"isvsvn\":3"),
        "tdx.collateral.signature",
    ),
    ("collateral: PCK CRL, last bit of its signature", || last_bit("pck_crl"), "tdx.dcap.refused"),
    ("collateral: root CRL, last bit of its signature", || last_bit("root_ca_crl"), "tdx.dcap.refused"),
    ("collateral: root CRL is the PCK CRL", || swapped("root_ca_crl", "pck_crl"), "tdx.dcap.refused"),
    (
        "collateral: brings another machine's PCK chain, which is not looked at",
        || {
            let other: serde_json::Value = serde_json::from_slice(&td15ex().collateral).expect("JSON");
            let chain = other["pck_certificate_chain"].clone();
            accepted(&Recording {
                collateral: json(&td10().collateral, |c| c["pck_certificate_chain"] = chain),
                ..td10()
            })
        },
        "authentic",
    ),
    ("revocation: the PCK certificate is listed", revoked, "tdx.collateral.revoked"),
    ("time: a second before the QE identity", || at(&td10(), 1_750_320_000), "tdx.collateral.not-yet-valid"),
    ("time: a month later", || at(&td10(), 1_753_000_000), "tdx.collateral.expired"),
    ("time: kinds", || kinds(), "Stale, Missing"),
    ("quote: body", || quote(|q| q[48 + 136] ^= 1), "tdx.signature.invalid"),
    ("quote: user data", || quote(|q| q[28] ^= 1), "tdx.signature.invalid"),
    ("quote: signature", || quote(|q| q[636 + 10] ^= 1), "tdx.signature.invalid"),
    ("quote: attestation key", || quote(|q| q[700] ^= 1), "tdx.qe.binding"),
    ("quote: QE report", || quote(|q| q[770] ^= 1), "tdx.collateral.signature"),
    ("quote: QE report signature", || quote(|q| q[770 + 384] ^= 1), "tdx.collateral.signature"),
    ("quote: a zero byte in the certificates' text", || quote(|q| q[4000] = 0), "tdx.collateral.malformed"),
    ("quote: QE authentication data", || quote(|q| q[1220] ^= 1), "tdx.qe.binding"),
];

/// Terms that the genuine quote does not meet, one at a time.
const TERMS: &[Case] = &[
    (
        "terms: other platform",
        || with_policy(&td10(), &Policy::strict_for_measurement([0; 48])),
        "policy.platform-not-accepted",
    ),
    ("terms: status", || with(&td10(), |t| t.tcb_statuses = vec![TcbStatus::OutOfDate]), "tdx.tcb.status"),
    ("terms: evaluation 17", || with(&td10(), |t| t.minimum_evaluation = 17), MINIMAL),
    (
        "terms: evaluation 18",
        || with(&td10(), |t| t.minimum_evaluation = 18),
        "tdx.tcb.evaluation-below-minimum",
    ),
    ("terms: module 1.6", || with(&td10(), |t| t.minimum_module = ModuleSvn { major: 1, minor: 6 }), MINIMAL),
    (
        "terms: module 1.7",
        || with(&td10(), |t| t.minimum_module = ModuleSvn { major: 1, minor: 7 }),
        "tdx.module.below-minimum",
    ),
    ("terms: MRSEAM", || with(&td10(), |t| t.mr_seam = other()), "tdx.mrseam.not-accepted"),
    ("terms: MRSERVICETD", || with(&td15(), |t| t.mr_service_td = other()), "tdx.mrservicetd.not-accepted"),
    ("terms: XFAM without AMX", || with(&td10(), |t| t.xfam_may = 0x2e7), "tdx.td.xfam"),
    (
        "terms: further attributes need not be there",
        || with(&td10(), |t| t.attributes_may = vec![Attribute::Pks]),
        MINIMAL,
    ),
    ("terms: debug allowed and not there", || with(&td10(), |t| t.debug = allow()), MINIMAL),
    ("terms: MRTD", || with(&td10(), |t| t.mrtd = other()), "tdx.mrtd.not-accepted"),
    (
        "terms: MRTD, nothing accepted",
        || with(&td10(), |t| t.mrtd = Expected::OneOf(vec![])),
        "tdx.mrtd.not-accepted",
    ),
    ("terms: RTMR0", || with(&td10(), |t| t.rtmr0 = other()), "tdx.rtmr0.not-accepted"),
    ("terms: RTMR1", || with(&td10(), |t| t.rtmr1 = other()), "tdx.rtmr1.not-accepted"),
    ("terms: RTMR2", || with(&td10(), |t| t.rtmr2 = other()), "tdx.rtmr2.not-accepted"),
    ("terms: RTMR3", || with(&td10(), |t| t.rtmr3 = other()), "tdx.rtmr3.not-accepted"),
    ("terms: every register", || exact(&td10()), "verified"),
    ("terms: every register, TD 1.5", || exact(&td15()), "verified"),
    ("terms: every register, extended TD 1.5", || exact(&td15ex()), "verified"),
    ("terms: MROWNER", || with(&td10(), |t| t.mr_owner = other()), "tdx.mrowner.not-accepted"),
    (
        "terms: MROWNERCONFIG",
        || with(&td10(), |t| t.mr_owner_config = other()),
        "tdx.mrownerconfig.not-accepted",
    ),
    (
        "terms: a waiver without a reason",
        || with(&td10(), |t| t.rtmr3 = Expected::any(" ")),
        "policy.waiver-without-reason",
    ),
    ("binding: another last byte", || bound(|data| data[63] ^= 1), "binding.report-data"),
];

const OUTDATED: &str = "tdx/dcap-qvl/tdx_quote_outdated.bin";
const OUTDATED_JSON: &str = "tdx/dcap-qvl/tdx_quote_outdated_collateral.json";

#[derive(Clone)]
pub(crate) struct Recording {
    pub(crate) quote: Vec<u8>,
    pub(crate) collateral: Vec<u8>,
    pub(crate) now: u64,
}

fn of(quote: &str, collateral: &str, now: u64) -> Recording {
    Recording { quote: file(quote), collateral: file(collateral), now }
}

pub(crate) fn td10() -> Recording {
    of("tdx/dcap-qvl/tdx_quote.bin", "tdx/dcap-qvl/tdx_quote_collateral.json", JUNE_2025)
}

pub(crate) fn td15() -> Recording {
    of("tdx/go-tdx-guest/quote_v5_sample.dat", OUTDATED_JSON, MARCH_2026)
}

pub(crate) fn td15ex() -> Recording {
    of("tdx/dcap-qvl/tdx_quote_td15ex.bin", "tdx/dcap-qvl/tdx_quote_td15ex_collateral.json", OCTOBER_2026)
}

impl Recording {
    fn evidence(&self) -> Evidence {
        Evidence::parse(&self.quote).expect("the quote has the right form")
    }

    fn verify(&self) -> Result<Authentic, Rejected> {
        self.verify_under(&TrustAnchors::intel_sgx())
    }

    fn verify_under(&self, anchors: &TrustAnchors) -> Result<Authentic, Rejected> {
        let endorsements = Endorsements::tdx(self.collateral.clone());
        verify(&self.evidence(), &endorsements, anchors, UnixTime(self.now))
    }

    fn bound(&self) -> Binding {
        Binding::report_data(self.evidence().tdx().expect("a TDX quote").report_data())
    }
}

// === What is done with them ===

fn strict(case: &Recording) -> String {
    with(case, |_| ())
}

/// On strict terms with its own MRTD, with one change.
fn with(case: &Recording, change: impl FnOnce(&mut TdxPolicy)) -> String {
    let evidence = case.evidence();
    let mut terms = TdxPolicy::strict(one(evidence.tdx().expect("a TDX quote").mr_td()));
    change(&mut terms);
    with_policy(case, &Policy::for_tdx(terms))
}

fn with_policy(case: &Recording, policy: &Policy) -> String {
    code_of(case.verify().expect("genuine").appraise(policy, &case.bound()))
}

fn exact(case: &Recording) -> String {
    let evidence = case.evidence();
    let quote = evidence.tdx().expect("a TDX quote");
    let [rtmr0, rtmr1, rtmr2, rtmr3] = quote.rtmrs();
    with(case, |terms| {
        terms.mr_seam = one(quote.mr_seam());
        terms.rtmr0 = one(rtmr0);
        terms.rtmr1 = one(rtmr1);
        terms.rtmr2 = one(rtmr2);
        terms.rtmr3 = one(rtmr3);
        terms.mr_config_id = one(quote.mr_config_id());
        terms.minimum_module = quote.launch_module();
    })
}

fn any() -> Expected<[u8; 48]> {
    Expected::any("the case needs it")
}

fn one(value: [u8; 48]) -> Expected<[u8; 48]> {
    Expected::OneOf(vec![value])
}

fn other() -> Expected<[u8; 48]> {
    one([0xab; 48])
}

fn bound(change: impl FnOnce(&mut [u8; 64])) -> String {
    let case = td10();
    let evidence = case.evidence();
    let quote = evidence.tdx().expect("a TDX quote");
    let mut data = quote.report_data();
    change(&mut data);
    let policy = Policy::for_tdx(TdxPolicy::strict(one(quote.mr_td())));
    code_of(case.verify().expect("genuine").appraise(&policy, &Binding::report_data(data)))
}

fn described(bytes: &[u8]) -> String {
    match Evidence::parse(bytes) {
        Ok(evidence) => {
            let quote = evidence.tdx().expect("a TDX quote");
            assert_eq!(evidence.bytes(), bytes);
            let debug = if quote.debug() { ", debug" } else { "" };
            let service =
                if quote.mr_service_td().is_some_and(|td| td != [0; 48]) { ", service TD" } else { "" };
            format!("version {}, {:?}{debug}{service}", quote.version(), quote.body())
        }
        Err(error) => error.code().to_owned(),
    }
}

fn form_of(path: &str) -> String {
    described(&file(path))
}

fn hexadecimal(path: &str) -> String {
    let text = String::from_utf8(file(path)).expect("text");
    let text = text.trim();
    described(&hex::decode(text.strip_prefix("0x").unwrap_or(text)).expect("hexadecimal"))
}

fn form(change: impl FnOnce(&mut Vec<u8>)) -> String {
    formed(td10().quote, change)
}

fn form5(change: impl FnOnce(&mut Vec<u8>)) -> String {
    formed(td15().quote, change)
}

fn formed(mut quote: Vec<u8>, change: impl FnOnce(&mut Vec<u8>)) -> String {
    change(&mut quote);
    match Evidence::parse(&quote) {
        Ok(evidence) => evidence.tdx().map_or("another platform", |_| "accepted").to_owned(),
        Err(error) => error.code().to_owned(),
    }
}

fn quote(change: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut case = td10();
    change(&mut case.quote);
    refused(&case)
}

fn collateral(change: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut case = td10();
    change(&mut case.collateral);
    refused(&case)
}

pub(crate) fn json(text: &[u8], change: impl FnOnce(&mut serde_json::Value)) -> Vec<u8> {
    let mut value = serde_json::from_slice(text).expect("JSON");
    change(&mut value);
    serde_json::to_vec(&value).expect("JSON")
}

fn changed(change: impl FnOnce(&mut serde_json::Value)) -> String {
    collateral(|text| *text = json(text, change))
}

fn removed(key: &str) -> String {
    changed(|value| {
        value.as_object_mut().expect("an object").remove(key).expect("is there");
    })
}

fn replaced(key: &str, from: &str, to: &str) -> String {
    changed(|value| {
        let text = value[key].as_str().expect("text");
        assert!(text.contains(from), "{from} is not in {text}");
        value[key] = text.replacen(from, to, 1).into();
    })
}

/// A list that its issuer did not sign.
fn last_bit(member: &str) -> String {
    changed(|collateral| {
        let mut list = hex::decode(collateral[member].as_str().expect("text")).expect("hexadecimal");
        *list.last_mut().expect("not empty") ^= 1;
        collateral[member] = hex::encode(list).into();
    })
}

fn swapped(key: &str, with: &str) -> String {
    changed(|value| value[key] = value[with].clone())
}

fn of_sgx(key: &str) -> String {
    let sgx: serde_json::Value =
        serde_json::from_slice(&file("tdx/dcap-qvl/sgx_quote_collateral.json")).expect("JSON");
    changed(|value| value[key] = sgx[key].clone())
}

/// The list says so, and nobody has asked yet whether Intel said so.
fn revoked() -> String {
    use rustls_pki_types::pem::PemObject;
    use x509_parser::prelude::FromDer;
    let case = td10();
    let text = case.quote.windows(10).position(|part| part == b"-----BEGIN").expect("a chain");
    let leaf = rustls_pki_types::CertificateDer::from_pem_slice(&case.quote[text..]).expect("PEM");
    let (_, leaf) = x509_parser::certificate::X509Certificate::from_der(&leaf).expect("a certificate");
    let value: serde_json::Value = serde_json::from_slice(&case.collateral).expect("JSON");
    let crl = value["pck_crl"].as_str().expect("text").to_lowercase();
    let der = hex::decode(&crl).expect("hexadecimal");
    let (_, list) = x509_parser::revocation_list::CertificateRevocationList::from_der(&der).expect("a list");
    let listed = list
        .iter_revoked_certificates()
        .find(|entry| entry.raw_serial().len() == leaf.raw_serial().len())
        .expect("a serial number of the same length");
    let changed_list = crl.replacen(&hex::encode(listed.raw_serial()), &hex::encode(leaf.raw_serial()), 1);
    changed(|value| value["pck_crl"] = changed_list.into())
}

fn foreign() -> String {
    let endorsements = Endorsements::nitro(Revocation::Missing);
    let case = td10();
    verify(&case.evidence(), &endorsements, &TrustAnchors::intel_sgx(), UnixTime(case.now))
        .expect_err("must be refused")
        .code()
        .to_owned()
}

fn under(anchors: &TrustAnchors, case: &Recording) -> String {
    answer(case.verify_under(anchors))
}

fn accepted(case: &Recording) -> String {
    under(&TrustAnchors::intel_sgx(), case)
}

fn at(case: &Recording, now: u64) -> String {
    accepted(&Recording { now, ..case.clone() })
}

fn kinds() -> String {
    let kind = |case: Recording| case.verify().expect_err("must be refused").reason.kind();
    let late = kind(Recording { now: 1_800_000_000, ..td10() });
    let none = kind(Recording { collateral: Vec::new(), ..td10() });
    format!("{late:?}, {none:?}")
}

fn answer(result: Result<Authentic, Rejected>) -> String {
    match result {
        Ok(authentic) => {
            assert!(!authentic.simulated());
            "authentic".to_owned()
        }
        Err(rejected) => rejected.code().to_owned(),
    }
}

fn refused(case: &Recording) -> String {
    let rejected = case.verify().expect_err("must be refused");
    let failed: Vec<_> = rejected.checks.iter().filter(|check| check.outcome == Outcome::Fail).collect();
    assert_eq!(failed.len(), 1, "exactly one rule fails");
    assert_eq!(rejected.checks.len(), 28, "every rule is listed");
    rejected.code().to_owned()
}

fn code_of(result: Result<casemate_attest::Verified, casemate_attest::Denied>) -> String {
    match result {
        Ok(verified) => {
            let headline = Report::from_verified(&verified).headline().to_owned();
            match headline.split_once(" waived: ") {
                None => headline.to_lowercase(),
                Some((_, rules)) => format!("verified, waived: {rules}"),
            }
        }
        Err(denied) => {
            assert_eq!(denied.checks.len(), 28, "every rule is listed");
            denied.code().to_owned()
        }
    }
}
