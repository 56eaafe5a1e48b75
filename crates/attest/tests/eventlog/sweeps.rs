//! Every bit and every length of recorded logs, bombs, and garbage.

use std::collections::BTreeMap;

use casemate_attest::Evidence;
use casemate_attest::eventlog::{Bank, Content, Event, EventLog, MAX_EVENTS, MAX_LOG};

use crate::{CCEL, COS, Case, file};

const NO_ACTION: u32 = 3;

pub(crate) const SWEEPS: &[Case] = &[
    ("sweep: every bit of COS 113's CCEL", || bits(CCEL, Bank::Sha384, 1), COVERED_384),
    (
        "sweep: every 7th bit of a TPM's log",
        || bits("tpm/eventlogs/cos-101-amd-sev.bin", Bank::Sha256, 7),
        COVERED_256,
    ),
    ("sweep: every length of COS 113's CCEL", lengths, "none is the whole log"),
    ("sweep: every byte of the fill", fill, "none passes"),
    ("bombs", bombs, "all refused"),
    ("garbage, to 10 MiB", garbage, "no log"),
];

/// What a flip may do without being noticed; spec/event-logs.md §1 lists the same.
const COVERED_384: &str = "not covered: data that is not proven, event type, header";
const COVERED_256: &str = "not covered: data that is not proven, digest of another hash, event type, header";

/// The log without its fill, and where its events start, from the sizes that it has.
fn events_of(path: &str) -> (Vec<u8>, EventLog, usize) {
    let mut bytes = file(path);
    let log = EventLog::parse(&bytes).expect("a log");
    let header =
        32 + usize::try_from(u32::from_le_bytes(bytes[28..32].try_into().expect("4 bytes"))).expect("small");
    let length = header + log.events().iter().map(event_len).sum::<usize>();
    bytes.truncate(length);
    (bytes, log, header)
}

fn event_len(event: &Event) -> usize {
    digests_len(event) + 12 + 4 + event.data().len()
}

fn digests_len(event: &Event) -> usize {
    let banks = [Bank::Sha1, Bank::Sha256, Bank::Sha384];
    banks.iter().filter_map(|bank| event.digest(*bank)).map(|digest| 2 + digest.len()).sum()
}

/// What the byte at this place is: for the header nothing, for an event the event and the offset in it.
fn at(log: &EventLog, header: usize, place: usize) -> Option<(usize, &Event, usize)> {
    let mut start = header;
    for (number, event) in log.events().iter().enumerate() {
        if (start..start + event_len(event)).contains(&place) {
            return Some((number, event, place - start));
        }
        start += event_len(event);
    }
    None
}

/// A flip is a parse error, or changes what a register replays to, or is of one of the kinds that are returned; and what
/// is shown as content is never changed.
fn bits(path: &str, bank: Bank, step: usize) -> String {
    let (mut bytes, log, header) = events_of(path);
    let before = log.unproven_registers(bank);
    let mut kinds = BTreeMap::<&str, usize>::new();
    for bit in (0..bytes.len() * 8).step_by(step) {
        let place = bit / 8;
        bytes[place] ^= 1 << (bit % 8);
        if let Ok(flipped) = EventLog::parse(&bytes)
            && flipped.unproven_registers(bank) == before
        {
            let kind = unnoticed(&log, &flipped, header, place, bank);
            *kinds.entry(kind).or_default() += 1;
        }
        bytes[place] ^= 1 << (bit % 8);
    }
    let kinds: Vec<_> = kinds.into_keys().collect();
    format!("not covered: {}", kinds.join(", "))
}

fn unnoticed(log: &EventLog, flipped: &EventLog, header: usize, place: usize, bank: Bank) -> &'static str {
    let Some((number, event, offset)) = at(log, header, place) else {
        // errata, vendor information, and the values of which several are possible
        assert!(matches!(place, 0 | 48 | 54 | 55) || place > 68, "byte {place} of the header");
        return "header";
    };
    // Nothing that was not measured is ever shown as measured.
    for (was, is) in log.events().iter().zip(flipped.events()) {
        match (was.content(bank), is.content(bank)) {
            (_, Content::Unproven) => {}
            (Content::Proven(was), Content::Proven(is)) => assert_eq!(was, is),
            (Content::Unproven, Content::Proven(is)) => panic!("{is:?} is proven after a flip at {place}"),
        }
    }
    let data = digests_len(event) + 16;
    match offset {
        4..8 => "event type",
        _ if event.event_type() == NO_ACTION => "event of type EV_NO_ACTION",
        _ if offset >= data => {
            let was = event.content(bank);
            let is = flipped.events()[number].content(bank);
            // Around a proven part, such as after "grub_cmd: ", a flip may leave the part as it was.
            assert!(is == Content::Unproven || is == was, "data at {place}");
            "data that is not proven"
        }
        12.. => "digest of another hash",
        _ => panic!("byte {place}, {offset} of event {number}"),
    }
}

fn lengths() -> String {
    let (bytes, log, _) = events_of(CCEL);
    let whole = log.unproven_registers(Bank::Sha384);
    let Ok(quote) = Evidence::parse(&file(COS)) else { panic!("a quote") };
    assert_eq!(whole[&1], quote.tdx().expect("a quote").rtmrs()[0]);
    let mut parsed = 0;
    for length in 0..bytes.len() {
        if let Ok(short) = EventLog::parse(&bytes[..length]) {
            parsed += 1;
            if short.unproven_registers(Bank::Sha384) == whole {
                return format!("{length} bytes are the whole log");
            }
        }
    }
    assert_eq!(parsed, log.events().len(), "it ends between events, and nowhere else");
    "none is the whole log".to_owned()
}

fn fill() -> String {
    let (events, ..) = events_of(CCEL);
    let mut bytes = file(CCEL);
    bytes.truncate(events.len() + 256);
    assert!(EventLog::parse(&bytes).is_ok());
    for at in events.len()..bytes.len() {
        for bit in 0..8 {
            bytes[at] ^= 1 << bit;
            if EventLog::parse(&bytes).is_ok() {
                return format!("byte {at} bit {bit} passes");
            }
            bytes[at] ^= 1 << bit;
        }
    }
    "none passes".to_owned()
}

fn bombs() -> String {
    let (bytes, _, header) = events_of(CCEL);
    let head = &bytes[..header];
    let event = [&[1, 0, 0, 0, 5, 0, 0, 0, 1, 0, 0, 0, 0x0c, 0][..], &[7; 48], &[0; 4]].concat();
    let many = |count: usize| [head, &event.repeat(count)].concat();
    let code = |bytes: &[u8]| EventLog::parse(bytes).map_or_else(|error| error.code(), |_| "log");
    assert_eq!(code(&many(MAX_EVENTS)), "log");
    assert_eq!(code(&many(MAX_EVENTS + 1)), "log.format.too-many-events");
    let mut long = file(CCEL);
    long.resize(MAX_LOG, 0xff);
    assert_eq!(code(&long), "log");
    long.push(0xff);
    assert_eq!(code(&long), "log.format.too-long");
    for size in [5_u32, 0x7fff_ffff, 0x8000_0000, u32::MAX] {
        let mut one = many(1);
        let end = one.len();
        one[end - 4..].copy_from_slice(&size.to_le_bytes());
        assert_eq!(code(&one), "log.format.truncated", "{size}");
        let mut one = many(1);
        one[header + 8..header + 12].copy_from_slice(&size.to_le_bytes());
        assert_eq!(code(&one), "log.format.digests", "{size}");
        let mut one = many(1);
        one[56..60].copy_from_slice(&size.to_le_bytes());
        assert_ne!(code(&one), "log", "{size}");
    }
    for depth in [100, 100_000, MAX_LOG] {
        assert_eq!(code(&vec![b'['; depth]), "log.format.json");
    }
    let object = r#"{"imr":3,"event_type":134217729,"event":"x","event_payload":""}"#;
    let list = |count: usize| format!("[{}]", vec![object; count].join(","));
    assert_eq!(code(list(MAX_EVENTS).as_bytes()), "log");
    assert_eq!(code(list(MAX_EVENTS + 1).as_bytes()), "log.format.too-many-events");
    "all refused".to_owned()
}

fn garbage() -> String {
    let (bytes, ..) = events_of(CCEL);
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for length in [0, 1, 31, 32, 48, 69, 1000, 100_000, MAX_LOG, 10 * 1024 * 1024] {
        let noise: Vec<u8> = (0..length).map(|_| next().to_le_bytes()[0]).collect();
        if EventLog::parse(&noise).is_ok() {
            return format!("{length} bytes of noise are a log");
        }
        // Behind a header that is right.
        let mut behind = bytes.clone();
        behind.truncate(65);
        behind.extend(&noise);
        if length > 8 && EventLog::parse(&behind).is_ok() {
            return format!("a header and {length} bytes of noise are a log");
        }
    }
    "no log".to_owned()
}
