//! Recorded evidence of a GCE virtual TPM, case by case: what must pass, and what must be refused with which code.
//!
//! One line of a table is one case: a recording with at most one thing about it changed.

mod lists;
#[allow(dead_code)] // the client's cases use more of it
mod provider;
#[path = "../recorded/mod.rs"]
mod recorded;
mod sweeps;

use std::collections::BTreeMap;

use casemate_attest::eventlog::{Bank, EventLog, LogPolicy, LogTerms, RegisterTerms};
use casemate_attest::gce::GcePolicy;
use casemate_attest::tpm::certificates;
use casemate_attest::{
    Authentic, Binding, Danger, Endorsements, Evidence, Expected, Outcome, Policy, Rejected, Report,
    Revocation, TrustAnchors, UnixTime, verify,
};
use libtest_mimic::{Arguments, Failed, Trial};
use provider::message::{self, Message, quote_of};
use recorded::{allow, file, not_checked};

/// Name, what is done, expected answer.
pub(crate) type Case = (&'static str, fn() -> String, &'static str);

const NONCE: &str = "gcp/vtpm/gce-cos-85-nonce9009.pb";
const NO_NONCE: &str = "gcp/vtpm/gce-cos-85-no-nonce.pb";
const INTERMEDIATE: &str = "roots/gcp/tpm_ek_intermediate_2.crt";
/// The next key of the same provider, and the other root's.
const OTHERS: [&str; 2] = ["roots/gcp/tpm_ek_intermediate_3.crt", "gcp/vtpm/gce_ak_intermediate_cert.pem"];
/// Within the life of the recorded key's certificate, which is from 2021 to 2051.
pub(crate) const NOW: UnixTime = UnixTime(1_640_995_200); // 2022-01-01

fn main() {
    let arguments = Arguments::from_args();
    let absent = recorded::folder().is_none();
    let trials = [MACHINES, CERTIFICATES, FORMS, TERMS, LOGS, lists::LISTS, sweeps::SWEEPS]
        .concat()
        .into_iter()
        .map(|(name, answer, expected)| {
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
    libtest_mimic::run(&arguments, trials.collect()).exit();
}

const MINIMAL: &str = "verified, waived: GV-05, GV-10";

/// The two recordings, and what they bind.
const MACHINES: &[Case] = &[
    ("nonce 9009", || exact(&nonce(), &[0x90, 0x09]), MINIMAL),
    ("nonce 9009: another nonce", || exact(&nonce(), &[0x90, 0x0a]), "binding.report-data"),
    ("nonce 9009: its first byte", || exact(&nonce(), &[0x90]), "binding.report-data"),
    ("nonce 9009: and a zero", || exact(&nonce(), &[0x90, 0x09, 0]), "binding.report-data"),
    ("nonce 9009: 64 bytes", || exact(&nonce(), &[0; 64]), "binding.report-data"),
    ("nonce 9009: nothing expected", || exact(&nonce(), &[]), "binding.report-data"),
    ("no nonce: nothing expected is not what it binds", || exact(&no_nonce(), &[]), "binding.report-data"),
    ("no nonce: unchecked", || unchecked(&no_nonce()), "verified, waived: GV-05, GV-10, GV-15"),
    ("a plain Shielded VM does not read as confidential", shielded, "gce.memory-encryption.unproven"),
    ("claims", claims, "unproven, debug, cos-test in us-central1-a"),
    ("the protocol lists every rule", protocol, "15 rules, in order"),
];

/// Certificates and keys.
const CERTIFICATES: &[Case] = &[
    ("anchors: AMD's", || under(&TrustAnchors::amd()), "tpm.certificate.root-missing"),
    ("anchors: of virtual TPMs", || under(&TrustAnchors::vtpm()), "authentic"),
    ("intermediates: none", || issued_by(&[]), "tpm.certificate.intermediates"),
    ("intermediates: five", || issued_by(&[INTERMEDIATE; 5]), "tpm.certificate.intermediates"),
    ("intermediates: another key of the same root", || issued_by(&[OTHERS[0]]), "x509.unknown-issuer"),
    ("intermediates: of the other root", || issued_by(&[OTHERS[1]]), "x509.unknown-issuer"),
    (
        "intermediates: an end entity",
        || issued_by(&["gcp/vtpm/gce_ak_cert.pem"]),
        "tpm.certificate.root-missing",
    ),
    ("intermediates: the root itself", || issued_by(&["roots/gcp/tpm_ek_root_1.cer"]), "x509.unknown-issuer"),
    (
        "intermediates: a byte of the signature",
        || tampered(|der| *der.last_mut().expect("long") ^= 1),
        "x509.signature",
    ),
    ("intermediates: nothing in it", || tampered(|der| der.clear()), "x509.missing"),
    ("time: before the key's certificate", || at(1_600_000_000), "x509.not-yet-valid"),
    ("time: after it", || at(2_600_000_000), "x509.expired"),
    ("revocation: missing", || revocation(Revocation::Missing), "crl.missing"),
    ("revocation: a list that is none", || revocation(Revocation::Crl(vec![0x30, 0])), "crl.malformed"),
    (
        "revocation: waived without a reason",
        || revocation(Revocation::DangerNotChecked { reason: " ".to_owned() }),
        "crl.missing",
    ),
    ("endorsements: of TDX", foreign, "endorsements.platform"),
    ("certificate: of another key of Google's", another_key, "tpm.certificate.other-key"),
    ("certificate: not one", || changed(|m| m.certificate = vec![0x30, 0]), "x509.malformed"),
    (
        "certificate: without an instance",
        || changed(|m| m.certificate = intermediate()),
        "gce.instance.missing",
    ),
    ("certificate: a byte of its signature", || changed(|m| flip(&mut m.certificate)), "x509.signature"),
    ("key: not restricted", || changed(|m| m.public[5] &= !1), "tpm.public.attributes"),
    ("key: may decrypt", || changed(|m| m.public[5] |= 2), "tpm.public.attributes"),
    ("key: may leave its TPM", || changed(|m| m.public[7] &= !2), "tpm.public.attributes"),
    ("key: other attributes than those that signed", || changed(|m| m.public[7] |= 0x80), "gce.quote.signer"),
    ("key: other modulus", || changed(|m| m.public[100] ^= 1), "tpm.certificate.other-key"),
    ("key: exponent 3", || changed(|m| m.public[21] = 3), "tpm.public.value"),
    ("key: a byte follows", || changed(|m| m.public.push(0)), "tpm.public.length"),
    ("key: ends early", || changed(|m| m.public.truncate(270)), "tpm.public.length"),
];

/// Messages with one mistake in their form, and quotes over something else.
const FORMS: &[Case] = &[
    ("form: as it is, written again", || changed(|_| ()), "authentic"),
    ("form: an attestation and nothing else", || parse(&file(NONCE)[..7]), "gce.protobuf.malformed"),
    ("form: one byte less", || parse(&file(NONCE)[..file(NONCE).len() - 1]), "gce.protobuf.malformed"),
    ("form: a byte follows", || parse(&[file(NONCE), vec![0]].concat()), "gce.protobuf.malformed"),
    ("form: too long", || parse(&[file(NONCE), vec![0; 3 << 20]].concat()), "gce.format.too-long"),
    ("form: key twice", || more(1, &[0x0a]), "gce.protobuf.duplicate"),
    ("form: log twice", || more(3, &[]), "gce.protobuf.duplicate"),
    ("form: certificate twice", || more(6, &[]), "gce.protobuf.duplicate"),
    ("form: unknown field", || more(10, &[]), "gce.protobuf.field"),
    ("form: what is not looked at", || more(4, &[1, 2, 3]), "authentic"),
    (
        "form: what is not looked at, twice",
        || parse(&[file(NONCE), vec![0x22, 0, 0x22, 0]].concat()),
        "gce.protobuf.duplicate",
    ),
    ("form: the prover's intermediates", || more(7, &[1, 2, 3]), "authentic"),
    ("form: key as a number", || parse(&[file(NONCE), vec![0x08, 1]].concat()), "gce.protobuf.field"),
    (
        "form: fixed-size number",
        || parse(&[file(NONCE), vec![0x0d, 0, 0, 0, 0]].concat()),
        "gce.protobuf.wire-type",
    ),
    ("form: without its certificate", || changed(|m| m.without_certificate = true), "gce.protobuf.missing"),
    ("form: nine quotes", nine_quotes, "gce.format.too-many-quotes"),
    ("quotes: none", || changed(|m| m.quotes.clear()), "gce.format.sha256-quotes"),
    ("quotes: SHA-1 alone", || changed(|m| m.quotes.truncate(1)), "gce.format.sha256-quotes"),
    ("quotes: SHA-256 twice", || changed(|m| m.quotes.push(m.quotes[1].clone())), "gce.format.sha256-quotes"),
    ("quotes: SHA-256 alone", || changed(|m| m.quotes = vec![m.quotes[1].clone()]), "authentic"),
    (
        "quotes: SHA-1 called SHA-256",
        || changed(|m| (m.quotes[0].hash, m.quotes[1].hash) = (0x0b, 4)),
        "gce.format.pcr-length",
    ),
    ("quotes: the SHA-384 quote beside SHA-256 values", wrong_bank, "tpm.quote.bank"),
    (
        "quotes: signature of another bank's quote",
        || changed(|m| m.quotes[1].signature = m.quotes[0].signature.clone()),
        "tpm.quote.signature",
    ),
    ("pcrs: one less", || changed(|m| drop(m.quotes[1].pcrs.pop())), "tpm.quote.selection"),
    ("pcrs: one twice", || changed(|m| m.quotes[1].pcrs[0] = m.quotes[1].pcrs[1].clone()), "tpm.pcr.order"),
    ("pcrs: PCR 24", || changed(|m| m.quotes[1].pcrs[0].0 = 24), "tpm.pcr.index"),
    ("pcrs: PCR 2^40", || changed(|m| m.quotes[1].pcrs[0].0 = 1 << 40), "tpm.pcr.index"),
    ("pcrs: 31 bytes", || changed(|m| m.quotes[1].pcrs[0].1.truncate(31)), "gce.format.pcr-length"),
    ("pcrs: another value", || changed(|m| m.quotes[1].pcrs[0].1[0] ^= 1), "tpm.quote.digest"),
    ("pcrs: in another order", || changed(|m| m.quotes[1].pcrs.reverse()), "authentic"),
];

/// Terms that the machine does not meet.
const TERMS: &[Case] = &[
    ("policy: without this platform", not_accepted, "policy.platform-not-accepted"),
    ("policy: another project", || with(|p| p.project_id = one("other")), "gce.instance.not-accepted"),
    ("policy: another zone", || with(|p| p.zone = one("us-central1-b")), "gce.instance.not-accepted"),
    (
        "policy: another instance",
        || with(|p| p.instance_id = Expected::OneOf(vec![1])),
        "gce.instance.not-accepted",
    ),
    ("policy: one PCR less", || with(|p| drop(p.pcrs.remove(&9))), "gce.pcr.selection"),
    (
        "policy: another PCR value",
        || with(|p| drop(p.pcrs.insert(9, Expected::OneOf(vec![[0; 32]])))),
        "gce.pcr.not-accepted",
    ),
    (
        "policy: any value of a PCR",
        || with(|p| drop(p.pcrs.insert(9, Expected::any("a new kernel")))),
        "verified, waived: GV-05, GV-10, GV-14",
    ),
    (
        "policy: any value without a reason",
        || with(|p| drop(p.pcrs.insert(9, Expected::any(" ")))),
        "policy.waiver-without-reason",
    ),
    (
        "policy: memory without a reason",
        || with(|p| p.memory_encryption_unproven = Danger::Allow { reason: String::new() }),
        "policy.waiver-without-reason",
    ),
];

/// The log that the evidence brings, event by event.
const LOGS: &[Case] = &[
    ("log: PCR 0 to 9, each event listed", || logged(&nonce(), 0..10, |_| ()), MINIMAL),
    (
        "log: PCR 10, which the kernel extends without it",
        || logged(&nonce(), 0..11, |_| ()),
        "log.register.mismatch",
    ),
    ("log: PCR 4 alone, the others waived", log_of_pcr_4, "verified, waived: GV-05, GV-10, LOG-04"),
    (
        "log: PCR 4 alone, the others not decided",
        || logged(&nonce(), 4..5, |_| ()),
        "log.register.not-decided",
    ),
    ("log: one event not listed", || logged(&nonce(), 0..10, drop_one), "log.event.not-accepted"),
    ("log: an event required that did not happen", || logged(&nonce(), 0..10, require), "log.event.required"),
    ("log: none in the evidence", || logged(&message(|m| m.log.clear()), 0..10, |_| ()), "log.missing"),
    (
        "log: a digest in it changed",
        || logged(&message(|m| m.log[110] ^= 1), 0..10, |_| ()),
        "log.register.mismatch",
    ),
    ("log: cut off", || logged(&message(|m| m.log.truncate(1000)), 0..10, |_| ()), "log.format.truncated"),
    ("log: beside the evidence, another", other_log, "log.register.mismatch"),
];

pub(crate) fn nonce() -> Vec<u8> {
    file(NONCE)
}

fn no_nonce() -> Vec<u8> {
    file(NO_NONCE)
}

fn intermediate() -> Vec<u8> {
    file(INTERMEDIATE)
}

fn flip(bytes: &mut [u8]) {
    *bytes.last_mut().expect("not empty") ^= 1;
}

fn message(change: impl FnOnce(&mut Message)) -> Vec<u8> {
    let mut message = Message::read(&nonce());
    change(&mut message);
    message.write()
}

fn endorsements() -> Endorsements {
    Endorsements::gce_vtpm(vec![intermediate()], not_checked())
}

fn authentic(bytes: &[u8]) -> Result<Authentic, String> {
    let evidence = Evidence::parse(bytes).map_err(|error| error.code().to_owned())?;
    verify(&evidence, &endorsements(), &TrustAnchors::vendors(), NOW)
        .map_err(|rejected| rejected.code().to_owned())
}

/// "authentic", or the code of the error or rejection.
pub(crate) fn answer(bytes: &[u8]) -> String {
    authentic(bytes).map_or_else(|code| code, |_| "authentic".to_owned())
}

fn changed(change: impl FnOnce(&mut Message)) -> String {
    answer(&message(change))
}

fn parse(bytes: &[u8]) -> String {
    Evidence::parse(bytes).map_or_else(|error| error.code().to_owned(), |_| "evidence".to_owned())
}

/// With this field behind the others.
fn more(field: u8, octets: &[u8]) -> String {
    let length = u8::try_from(octets.len()).expect("short");
    answer(&[nonce(), vec![field << 3 | 2, length], octets.to_vec()].concat())
}

fn by(endorsements: &Endorsements, anchors: &TrustAnchors, now: UnixTime) -> String {
    let evidence = Evidence::parse(&nonce()).expect("the form is right");
    let answer: Result<Authentic, Rejected> = verify(&evidence, endorsements, anchors, now);
    answer.map_or_else(|rejected| rejected.code().to_owned(), |_| "authentic".to_owned())
}

fn under(anchors: &TrustAnchors) -> String {
    by(&endorsements(), anchors, NOW)
}

fn at(seconds: u64) -> String {
    by(&endorsements(), &TrustAnchors::vendors(), UnixTime(seconds))
}

fn issued_by(paths: &[&str]) -> String {
    let ders = paths.iter().flat_map(|path| certificates(&file(path)).expect("certificates")).collect();
    by(&Endorsements::gce_vtpm(ders, not_checked()), &TrustAnchors::vendors(), NOW_2026)
}

/// Within the life of every recorded intermediate.
const NOW_2026: UnixTime = UnixTime(1_767_268_800);

fn tampered(change: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut der = intermediate();
    change(&mut der);
    by(&Endorsements::gce_vtpm(vec![der], not_checked()), &TrustAnchors::vendors(), NOW)
}

fn revocation(revocation: Revocation) -> String {
    by(&Endorsements::gce_vtpm(vec![intermediate()], revocation), &TrustAnchors::vendors(), NOW)
}

fn foreign() -> String {
    by(&Endorsements::tdx(Vec::new()), &TrustAnchors::vendors(), NOW)
}

/// Genuine, of the other root, and of another instance's key.
fn another_key() -> String {
    let leaf = certificates(&file("gcp/vtpm/gce_ak_cert.pem")).expect("a certificate").remove(0);
    let evidence = Evidence::parse(&message(|m| m.certificate = leaf)).expect("the form is right");
    let issuer = certificates(&file(OTHERS[1])).expect("a certificate");
    let endorsements = Endorsements::gce_vtpm(issuer, not_checked());
    let answer = verify(&evidence, &endorsements, &TrustAnchors::vendors(), NOW_2026);
    answer.map_or_else(|rejected| rejected.code().to_owned(), |_| "authentic".to_owned())
}

fn nine_quotes() -> String {
    changed(|m| m.quotes = vec![m.quotes[0].clone(); 9])
}

/// The quote over the SHA-384 bank, with the values of the SHA-256 bank.
fn wrong_bank() -> String {
    changed(|m| {
        m.quotes[1].quote = m.quotes[2].quote.clone();
        m.quotes[1].signature = m.quotes[2].signature.clone();
    })
}

fn one(text: &str) -> Expected<String> {
    Expected::OneOf(vec![text.to_owned()])
}

/// Terms that this very machine meets exactly.
fn exact_terms(bytes: &[u8]) -> GcePolicy {
    let authentic = authentic(bytes).expect("genuine");
    let claims = authentic.claims().gce().expect("of a GCE virtual TPM");
    let pcrs = claims.pcrs.indices().into_iter();
    GcePolicy {
        memory_encryption_unproven: allow(),
        project_id: one(&claims.instance.project_id),
        zone: one(&claims.instance.zone),
        instance_id: Expected::OneOf(vec![claims.instance.instance_id]),
        pcrs: pcrs.map(|pcr| (pcr, Expected::OneOf(vec![*claims.pcrs.get(pcr).expect("quoted")]))).collect(),
        event_log: LogPolicy::NotAsked,
    }
}

/// "verified, waived: …", or the code of the denial.
fn appraised(bytes: &[u8], terms: GcePolicy, binding: &Binding) -> String {
    let authentic = match authentic(bytes) {
        Ok(authentic) => authentic,
        Err(code) => return code,
    };
    appraise(authentic, &Policy::for_gce(terms), binding)
}

fn appraise(authentic: Authentic, policy: &Policy, binding: &Binding) -> String {
    match authentic.appraise(policy, binding) {
        Ok(verified) => {
            let waived = verified.checks().iter().filter(|check| check.outcome == Outcome::Waived);
            format!("verified, waived: {}", waived.map(|check| check.rule.id).collect::<Vec<_>>().join(", "))
        }
        Err(denied) => denied.code().to_owned(),
    }
}

fn exact(bytes: &[u8], bound: &[u8]) -> String {
    appraised(bytes, exact_terms(bytes), &Binding::qualifying_data(bound))
}

fn unchecked(bytes: &[u8]) -> String {
    appraised(bytes, exact_terms(bytes), &Binding::danger_unchecked("recorded"))
}

fn with(change: impl FnOnce(&mut GcePolicy)) -> String {
    let mut terms = exact_terms(&nonce());
    change(&mut terms);
    appraised(&nonce(), terms, &Binding::qualifying_data([0x90, 0x09]))
}

fn shielded() -> String {
    with(|terms| terms.memory_encryption_unproven = Danger::Refuse)
}

fn not_accepted() -> String {
    let binding = Binding::qualifying_data([0x90, 0x09]);
    appraise(authentic(&nonce()).expect("genuine"), &Policy::deny_all(), &binding)
}

fn claims() -> String {
    let authentic = authentic(&nonce()).expect("genuine");
    let report = serde_json::to_value(Report::from_authentic(&authentic)).expect("JSON");
    let claims = &report["claims"];
    let gce = &claims["gce_vtpm"];
    assert_eq!(claims["platform"], "gce-vtpm");
    assert_eq!(claims["measurement"], "00".repeat(48));
    assert_eq!(gce["qualifying_data"], "9009");
    assert_eq!(gce["instance"]["project_id"], "google.com:wuale-gcp-testing");
    assert_eq!(gce["instance"]["production"], true);
    assert_eq!(gce["pcrs"].as_object().expect("an object").len(), 24);
    format!(
        "{}, {}, {} in {}",
        gce["memory_encryption"].as_str().expect("text"),
        if claims["debug"] == true { "debug" } else { "no debug" },
        gce["instance"]["instance_name"].as_str().expect("text"),
        gce["instance"]["zone"].as_str().expect("text"),
    )
}

fn protocol() -> String {
    let terms = exact_terms(&nonce());
    let authentic = authentic(&nonce()).expect("genuine");
    let binding = Binding::qualifying_data([0x90, 0x09]);
    let verified = authentic.appraise(&Policy::for_gce(terms), &binding).expect("ours");
    let rules = casemate_attest::rules::GCE;
    let in_order = verified.checks().iter().zip(rules).all(|(check, rule)| check.rule.id == rule.id);
    assert!(in_order && verified.checks().len() == rules.len());
    format!("{} rules, in order", rules.len())
}

/// These PCRs, each with exactly the events that the log of the recording has.
fn log_terms(pcrs: impl Iterator<Item = u8>) -> LogTerms {
    let evidence = Evidence::parse(&nonce()).expect("evidence");
    let log = EventLog::parse(evidence.gce().expect("of GCE").event_log()).expect("a log");
    let of = |pcr: u8| {
        let own = log.events().iter().filter(|event| event.index() == u32::from(pcr) && event.extends());
        own.map(|event| event.digest(Bank::Sha256).expect("SHA-256").to_vec()).collect::<Vec<_>>()
    };
    let registers: BTreeMap<_, _> = pcrs
        .map(|pcr| (pcr, RegisterTerms { events: Expected::OneOf(of(pcr)), required: of(pcr) }))
        .collect();
    LogTerms { registers, other_registers: Danger::Refuse }
}

fn logged(bytes: &[u8], pcrs: core::ops::Range<u8>, change: fn(&mut LogTerms)) -> String {
    let mut terms = exact_terms(&nonce());
    let mut log = log_terms(pcrs);
    change(&mut log);
    terms.event_log = LogPolicy::Demanded(log);
    appraised(bytes, terms, &Binding::qualifying_data([0x90, 0x09]))
}

fn drop_one(terms: &mut LogTerms) {
    let Expected::OneOf(events) = &mut terms.registers.get_mut(&9).expect("PCR 9").events else {
        panic!("a list")
    };
    assert!(events.pop().is_some());
}

fn require(terms: &mut LogTerms) {
    terms.registers.get_mut(&9).expect("PCR 9").required.push(vec![7; 32]);
}

fn log_of_pcr_4() -> String {
    logged(&nonce(), 4..5, |terms| terms.other_registers = allow())
}

fn other_log() -> String {
    let mut terms = exact_terms(&nonce());
    terms.event_log = LogPolicy::Demanded(log_terms(0..10));
    let other = EventLog::parse(&file("tpm/eventlogs/cos-101-amd-sev.bin")).expect("a log");
    let authentic = authentic(&nonce()).expect("genuine").with_event_log(other);
    appraise(authentic, &Policy::for_gce(terms), &Binding::qualifying_data([0x90, 0x09]))
}

/// The quote that counts, of the recording.
pub(crate) fn counted() -> message::QuoteParts {
    quote_of(&Message::read(&nonce()), 0x0b)
}
