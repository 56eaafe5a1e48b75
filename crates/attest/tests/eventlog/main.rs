//! Recorded event logs, and logs beside recorded evidence: what must pass, and what must be refused with which code.
//!
//! There is no recording of a TDX quote that has both collateral and a log. So the quote of COS 113 and its CCEL are held
//! against each other here without Intel's word, whole policies are tried under a made-up Intel (made.rs), and the rules are tried
//! beside the module (src/eventlog/tests.rs).

mod made;
#[path = "../recorded/mod.rs"]
mod recorded;
mod sweeps;

use casemate_attest::eventlog::{Bank, Content, EventLog, Form, LogPolicy, LogTerms, RegisterTerms};
use casemate_attest::tdx::TdxPolicy;
use casemate_attest::{
    Authentic, Binding, Danger, Endorsements, Evidence, Expected, Outcome, Policy, TrustAnchors, UnixTime,
    verify,
};
use libtest_mimic::{Arguments, Failed, Trial};
use recorded::{allow, file};

/// Name, what is done, expected answer.
pub(crate) type Case = (&'static str, fn() -> String, &'static str);

pub(crate) const CCEL: &str = "tdx/go-tdx-guest/ccel/ccel_data.dat";
pub(crate) const COS: &str = "tdx/go-tdx-guest/ccel/cos-113-tdx-quote.dat";
const JUNE_2025: u64 = 1_751_000_000; // 2025-06-27

fn main() {
    let arguments = Arguments::from_args();
    let absent = recorded::folder().is_none();
    let recorded = [RECORDED, BESIDE, sweeps::SWEEPS, made::RECORDED_LOG].concat().into_iter();
    let cases = recorded.map(|case| (case, absent)).chain(made::MADE.iter().map(|&case| (case, false)));
    let trials = cases.map(|((name, answer, expected), ignored)| {
        let run = move || {
            let found = answer();
            if found == expected {
                Ok(())
            } else {
                Err(Failed::from(format!("{found:?}, expected {expected:?}")))
            }
        };
        Trial::test(name, run).with_ignored_flag(ignored)
    });
    libtest_mimic::run(&arguments, trials.collect()).exit();
}

/// Every recorded log: its hashes, how many events, of which registers, and how many events show what was measured.
const RECORDED: &[Case] = &[
    ("COS 113: CCEL and quote", cos_113, "RTMR0 equal, RTMR1 equal, RTMR2 equal, RTMR3 equal"),
    ("COS 113: CCEL", || form(CCEL), "SHA-384; 43 events of [1, 2, 3]; 31 shown"),
    ("trustee/CCEL_data", || form("tdx/trustee/CCEL_data"), "SHA-384; 5 events of [1, 2]; 2 shown"),
    (
        "trustee/CCEL_data_ovmf",
        || form("tdx/trustee/CCEL_data_ovmf"),
        "SHA-384; 20 events of [1, 2, 3]; 12 shown",
    ),
    (
        "trustee/CCEL_AAEL_alibabacloud",
        || form("tdx/trustee/eventlog/CCEL_AAEL_alibabacloud"),
        "SHA-384; 87 events of [1, 2, 3, 4]; 21 shown",
    ),
    (
        "trustee/CCEL_data_gcp",
        || form("tdx/trustee/eventlog/CCEL_data_gcp"),
        "SHA-384; 21 events of [1, 2]; 14 shown",
    ),
    (
        "trustee/CCEL_data_grub",
        || form("tdx/trustee/eventlog/CCEL_data_grub"),
        "SHA-384; 37 events of [1, 2, 3]; 19 shown",
    ),
    (
        "trustee/CCEL_data_grub_gke",
        || form("tdx/trustee/eventlog/CCEL_data_grub_gke"),
        "SHA-384; 35 events of [0, 1, 2, 3]; 14 shown",
    ),
    (
        "tpm: arch-linux-workstation",
        || form("tpm/eventlogs/arch-linux-workstation.bin"),
        "SHA-1, SHA-256; 24 events of [0, 1, 2, 3, 4, 5, 6, 7, 8]; 19 shown",
    ),
    (
        "tpm: cos-101-amd-sev",
        || form("tpm/eventlogs/cos-101-amd-sev.bin"),
        "SHA-1, SHA-256, SHA-384; 48 events of [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 14]; 40 shown",
    ),
    ("tpm: debian-10, SHA-1 only", || form("tpm/eventlogs/debian-10.bin"), "log.format.header"),
    (
        "tpm: eventlogwithsp800155",
        || form("tpm/eventlogs/eventlogwithsp800155.bin"),
        "SHA-1, SHA-256, SHA-384; 53 events of [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 14]; 41 shown",
    ),
    (
        "tpm: rhel8-uefi",
        || form("tpm/eventlogs/rhel8-uefi.bin"),
        "SHA-1, SHA-256, SHA-384; 82 events of [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 14]; 25 shown",
    ),
    (
        "tpm: ubuntu-2104-no-secure-boot",
        || form("tpm/eventlogs/ubuntu-2104-no-secure-boot.bin"),
        "SHA-1, SHA-256, SHA-384; 105 events of [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 14]; 92 shown",
    ),
    (
        "tpm: ubuntu-2404-amd-sevsnp",
        || form("tpm/eventlogs/ubuntu-2404-amd-sevsnp.bin"),
        "SHA-1, SHA-256, SHA-384; 116 events of [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 14]; 96 shown",
    ),
    (
        "tpm: openpcc",
        || form("tpm/openpcc_tcg_eventlog.bin"),
        "SHA-1, SHA-256, SHA-384; 100 events of [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 14]; 79 shown",
    ),
    ("COS 113: what was measured is shown, and file names are not", shown, "grub's commands; no file name"),
];

/// Logs beside genuine evidence.
const BESIDE: &[Case] = &[
    ("tdx: no log, and none asked for", || tdx(None, &LogPolicy::NotAsked), "verified"),
    ("tdx: no log, and one asked for", || tdx(None, &demanded()), "log.missing"),
    (
        "tdx: a log of which the policy does not speak",
        || tdx(Some(CCEL), &LogPolicy::NotAsked),
        "log.not-asked",
    ),
    ("tdx: the log of another machine", || tdx(Some(CCEL), &demanded()), "log.register.mismatch"),
    (
        "tdx: the log of a TPM",
        || tdx(Some("tpm/eventlogs/arch-linux-workstation.bin"), &demanded()),
        "log.bank.missing",
    ),
    ("tdx: RTMR3 is empty, and the log says so", empty_rtmr3, "verified, waived: LOG-04"),
    ("snp: a log", snp, "log.not-asked"),
];

fn cos_113() -> String {
    let evidence = Evidence::parse(&file(COS)).expect("a quote");
    let rtmrs = evidence.tdx().expect("a quote").rtmrs();
    let replayed = EventLog::parse(&file(CCEL)).expect("a log").unproven_registers(Bank::Sha384);
    let answers = (0_u32..).zip(rtmrs).map(|(number, rtmr)| {
        let value = replayed.get(&(number + 1)).cloned().unwrap_or_else(|| vec![0; 48]);
        format!("RTMR{number} {}", if value == rtmr { "equal" } else { "differs" })
    });
    answers.collect::<Vec<_>>().join(", ")
}

fn form(path: &str) -> String {
    let log = match EventLog::parse(&file(path)) {
        Ok(log) => log,
        Err(error) => return error.code().to_owned(),
    };
    assert_eq!(log.form(), Form::Tcg);
    let bank = if log.banks().contains(&Bank::Sha256) { Bank::Sha256 } else { Bank::Sha384 };
    let banks: Vec<_> = log.banks().iter().map(|bank| bank.as_str()).collect();
    let registers: Vec<_> = log.unproven_registers(bank).into_keys().collect();
    let shown = log.events().iter().filter(|event| event.content(bank) != Content::Unproven).count();
    format!("{}; {} events of {registers:?}; {shown} shown", banks.join(", "), log.events().len())
}

fn shown() -> String {
    let log = EventLog::parse(&file(CCEL)).expect("a log");
    let mut commands = 0;
    for event in log.events() {
        let data = String::from_utf8_lossy(event.data()).into_owned();
        match event.content(Bank::Sha384) {
            Content::Proven(text) if data.starts_with("grub_cmd: ") => {
                commands += 1;
                assert_eq!(format!("grub_cmd: {}\0", String::from_utf8_lossy(text)), data);
            }
            Content::Proven(_) => {
                assert!(!data.ends_with("grub.cfg\0") && !data.contains("MokList\0"), "{data}")
            }
            Content::Unproven => assert!(!data.starts_with("grub_cmd: "), "{data}"),
        }
    }
    assert_eq!(commands, 14);
    "grub's commands; no file name".to_owned()
}

/// Terms for RTMR1 that no machine meets.
fn demanded() -> LogPolicy {
    let terms = RegisterTerms { events: Expected::OneOf(vec![vec![0x77; 48]]), required: Vec::new() };
    LogPolicy::Demanded(LogTerms { registers: [(1, terms)].into(), other_registers: Danger::Refuse })
}

/// Of a quote whose RTMR3 is zero, beside a log without an event of it.
fn empty_rtmr3() -> String {
    let none = RegisterTerms { events: Expected::OneOf(Vec::new()), required: Vec::new() };
    let terms = LogTerms { registers: [(3, none)].into(), other_registers: allow() };
    tdx(Some(CCEL), &LogPolicy::Demanded(terms))
}

fn with_log(authentic: Authentic, log: &[u8]) -> Authentic {
    if log.is_empty() { authentic } else { authentic.with_event_log(EventLog::parse(log).expect("a log")) }
}

fn tdx(log: Option<&str>, event_log: &LogPolicy) -> String {
    let evidence = Evidence::parse(&file("tdx/dcap-qvl/tdx_quote.bin")).expect("a quote");
    let endorsements = Endorsements::tdx(file("tdx/dcap-qvl/tdx_quote_collateral.json"));
    let authentic =
        verify(&evidence, &endorsements, &TrustAnchors::vendors(), UnixTime(JUNE_2025)).expect("genuine");
    let mut terms = TdxPolicy::strict(Expected::OneOf(vec![*authentic.claims().measurement()]));
    terms.event_log = event_log.clone();
    let authentic = with_log(authentic, &log.map(file).unwrap_or_default());
    code(authentic, &Policy::for_tdx(terms))
}

fn snp() -> String {
    let recording = recorded::genoa();
    let policy = Policy::for_snp(recording.exact_policy());
    code(with_log(recording.verify().expect("genuine"), &file(CCEL)), &policy)
}

fn code(authentic: Authentic, policy: &Policy) -> String {
    match authentic.appraise(policy, &Binding::danger_unchecked("recorded")) {
        Ok(verified) => match verified.event_log() {
            None => "verified".to_owned(),
            Some(_) => {
                let own: Vec<_> =
                    verified.checks().iter().filter(|check| check.rule.id.starts_with("LOG-")).collect();
                assert_eq!(own.len(), 6);
                let waived =
                    own.iter().filter(|check| check.outcome == Outcome::Waived).map(|check| check.rule.id);
                format!("verified, waived: {}", waived.collect::<Vec<_>>().join(", "))
            }
        },
        Err(denied) => {
            assert!(denied.checks.iter().any(|check| check.rule.id == "LOG-06"));
            denied.code().to_owned()
        }
    }
}
