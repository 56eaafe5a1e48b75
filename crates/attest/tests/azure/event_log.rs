//! Event logs beside a genuine quote. Of the recorded machine, PCRs 2 and 3 hold nothing but a separator, so that the log
//! of those two can be written here; no log was recorded with it.

use std::collections::BTreeMap;

use casemate_attest::eventlog::{EventLog, LogPolicy, LogTerms, RegisterTerms};
use casemate_attest::{Binding, Danger, Expected, Outcome, Policy, Report, Verified};

use crate::{Case, genoa};

/// Logs with one mistake each.
pub(crate) const EVENT_LOGS: &[Case] = &[
    ("log: none, and one asked for", || code(&[], SEPARATOR), "log.missing"),
    ("log: PCRs 2 and 3, replayed", || code(&separators(&[2, 3]), SEPARATOR), "verified"),
    ("log: PCR 3 is not in it", || code(&separators(&[2]), SEPARATOR), "log.register.mismatch"),
    ("log: a separator too many", || code(&separators(&[2, 3, 3]), SEPARATOR), "log.register.mismatch"),
    ("log: an event of PCR 9, too", || code(&separators(&[2, 3, 9]), SEPARATOR), "log.register.not-decided"),
    ("log: of PCR 24", || code(&separators(&[2, 3, 24]), SEPARATOR), "log.register.unknown"),
    ("log: another event is accepted", || code(&separators(&[2, 3]), OTHER), "log.event.not-accepted"),
    ("log: in the report", in_the_report, "PCR 3: 1 event"),
];

/// SHA-256 of four zero octets.
const SEPARATOR: &str = "df3f619804a92fdb4057192dc43dd748ea778adc52bc498ce80524c014b81119";
const OTHER: &str = "7777777777777777777777777777777777777777777777777777777777777777";

/// A log in which these PCRs are separated from the operating system.
fn separators(pcrs: &[u32]) -> Vec<u8> {
    let mut log = [0, 0, 0, 0, 3, 0, 0, 0].to_vec();
    log.extend([0; 20]);
    log.extend([33, 0, 0, 0]);
    log.extend(b"Spec ID Event03\0");
    log.extend([0, 0, 0, 0, 0, 2, 0, 2, 1, 0, 0, 0, 0x0b, 0, 32, 0, 0]);
    for pcr in pcrs {
        log.extend(pcr.to_le_bytes());
        log.extend([4, 0, 0, 0, 1, 0, 0, 0, 0x0b, 0]);
        log.extend(hex::decode(SEPARATOR).expect("hexadecimal"));
        log.extend([4, 0, 0, 0, 0, 0, 0, 0]);
    }
    log
}

fn appraised(log: &[u8], accepted: &str) -> Result<Verified, &'static str> {
    let machine = genoa();
    let digest = hex::decode(accepted).expect("hexadecimal");
    let terms =
        || RegisterTerms { events: Expected::OneOf(vec![digest.clone()]), required: vec![digest.clone()] };
    let mut policy = machine.exact();
    policy.event_log = LogPolicy::Demanded(LogTerms {
        registers: [(2, terms()), (3, terms())].into(),
        other_registers: Danger::Refuse,
    });
    let mut authentic = machine.verify().expect("genuine");
    if !log.is_empty() {
        authentic = authentic.with_event_log(EventLog::parse(log).expect("a log"));
    }
    let binding = Binding::danger_unchecked("the recorded nonces are shorter");
    authentic.appraise(&Policy::for_azure(policy), &binding).map_err(|denied| denied.code())
}

fn code(log: &[u8], accepted: &str) -> String {
    match appraised(log, accepted) {
        Ok(verified) => {
            let own: Vec<_> =
                verified.checks().iter().filter(|check| check.rule.id.starts_with("LOG-")).collect();
            assert!(own.len() == 6 && own.iter().all(|check| check.outcome == Outcome::Pass));
            "verified".to_owned()
        }
        Err(code) => code.to_owned(),
    }
}

fn in_the_report() -> String {
    let verified = appraised(&separators(&[2, 3]), SEPARATOR).expect("ours");
    let report = serde_json::to_value(Report::from_verified(&verified)).expect("JSON");
    let log = &report["event_log"];
    let events: BTreeMap<String, serde_json::Value> =
        serde_json::from_value(log["registers"].clone()).expect("JSON");
    let event = &events["3"][0];
    assert_eq!((&log["bank"], &event["digest"]), (&"SHA-256".into(), &SEPARATOR.into()));
    assert_eq!(
        (&event["content"]["hex"], &event["logged_type"]),
        (&"00000000".into(), &"EV_SEPARATOR".into())
    );
    format!("PCR 3: {} event", events["3"].as_array().expect("a list").len())
}
