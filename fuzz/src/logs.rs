//! Event logs.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use casemate_attest::eventlog::{Bank, Content, EventLog};

/// By register, what was extended, in order.
type Extended = BTreeMap<u32, Vec<Vec<u8>>>;

/// Bytes of no declared form, or edits to a recorded log: one that replays to the same registers has the same digests.
pub fn log(data: &[u8]) {
    static SAMPLE: OnceLock<Option<(Vec<u8>, BTreeMap<u32, Vec<u8>>, Extended)>> = OnceLock::new();
    let Some((first, rest)) = data.split_first() else { return };
    if *first == 0 {
        if let Ok(log) = EventLog::parse(rest) {
            look(&log);
        }
        return;
    }
    let sample = SAMPLE.get_or_init(|| {
        let mut bytes = crate::recorded("tdx/go-tdx-guest/ccel/ccel_data.dat")?;
        // With a little of its fill.
        bytes.truncate(18_200);
        let log = EventLog::parse(&bytes).expect("the sample is a log");
        Some((bytes, log.unproven_registers(Bank::Sha384), extended(&log)))
    });
    let Some((bytes, registers, events)) = sample else { return };
    let edited = crate::edited(&[bytes], rest).remove(0);
    let Ok(log) = EventLog::parse(&edited) else { return };
    look(&log);
    if log.unproven_registers(Bank::Sha384) == *registers {
        assert_eq!(extended(&log), *events, "two logs of one register");
    }
}

fn extended(log: &EventLog) -> Extended {
    let mut events = Extended::new();
    for event in log.events().iter().filter(|event| event.extends()) {
        let digest = event.digest(Bank::Sha384).map(<[u8]>::to_vec).unwrap_or_default();
        events.entry(event.index()).or_default().push(digest);
    }
    events
}

/// What is shown as proven is a part of the data.
fn look(log: &EventLog) {
    for event in log.events() {
        for bank in [Bank::Sha256, Bank::Sha384] {
            if let Content::Proven(part) = event.content(bank) {
                assert!(event.data().windows(part.len()).any(|window| window == part), "not in the data");
            }
        }
    }
}
