//! Rules LOG-01 to LOG-06 over logs that are written here: one mistake each.

use std::collections::BTreeMap;

use super::*;
use crate::checks::{Ledger, Outcome};
use crate::crypto;
use crate::policy::{Danger, Expected};
use crate::rules;
use crate::tpm::SelectedPcrs;
use crate::tpm::tests::selected;
use crate::verdict::Denial;

const ACTION: u32 = 0x8000_0007;

/// A log with these hashes.
fn log(banks: &[Bank], events: &[(u32, u32, &[u8])]) -> Vec<u8> {
    let mut data = b"Spec ID Event03\0".to_vec();
    data.extend([0, 0, 0, 0, 0, 2, 0, 2]);
    data.extend(u32::try_from(banks.len()).expect("few").to_le_bytes());
    for bank in banks {
        data.extend(bank.id().to_le_bytes());
        data.extend(u16::try_from(bank.digest_len()).expect("short").to_le_bytes());
    }
    data.push(0);
    let mut out = [0, 0, 0, 0, 3, 0, 0, 0].to_vec();
    out.extend([0; 20]);
    out.extend(u32::try_from(data.len()).expect("short").to_le_bytes());
    out.extend(data);
    for (index, kind, data) in events {
        out.extend(index.to_le_bytes());
        out.extend(kind.to_le_bytes());
        out.extend(u32::try_from(banks.len()).expect("few").to_le_bytes());
        for bank in banks {
            out.extend(bank.id().to_le_bytes());
            let digest = bank.hash(data).filter(|_| *kind != 3);
            out.extend(digest.unwrap_or_else(|| vec![0; bank.digest_len()]));
        }
        out.extend(u32::try_from(data.len()).expect("short").to_le_bytes());
        out.extend(*data);
    }
    out
}

fn parsed(banks: &[Bank], events: &[(u32, u32, &[u8])]) -> EventLog {
    EventLog::parse(&log(banks, events)).expect("a log")
}

fn extend384(words: &[&[u8]]) -> [u8; 48] {
    let mut value = [0; 48];
    for word in words {
        value =
            crypto::sha384(&[&value[..], &crypto::sha384(word)].concat())[..].try_into().expect("48 bytes");
    }
    value
}

fn extend256(start: u8, words: &[&[u8]]) -> [u8; 32] {
    let mut value = [0; 32];
    value[31] = start;
    for word in words {
        value =
            crypto::sha256(&[&value[..], &crypto::sha256(word)].concat())[..].try_into().expect("32 bytes");
    }
    value
}

fn register(events: &[&[u8]], required: &[&[u8]]) -> RegisterTerms {
    let digests =
        |words: &[&[u8]]| words.iter().map(|word| crypto::sha384(word).to_vec()).collect::<Vec<_>>();
    RegisterTerms { events: Expected::OneOf(digests(events)), required: digests(required) }
}

fn terms(registers: impl IntoIterator<Item = (u8, RegisterTerms)>) -> LogTerms {
    LogTerms { registers: registers.into_iter().collect(), other_registers: Danger::Refuse }
}

fn answer(log: Option<&EventLog>, policy: &LogPolicy, registers: Option<&Registers<'_>>) -> String {
    let mut ledger = Ledger::new(rules::EVENT_LOG);
    match appraise(log, policy, registers, &mut ledger) {
        Ok(_) => {
            assert!(ledger.is_complete());
            let waived = ledger.checks().iter().filter(|check| check.outcome == Outcome::Waived);
            waived.fold("ours".to_owned(), |text, check| format!("{text}, {}", check.rule.id))
        }
        Err(Denial::EventLog(denial)) => {
            let failed = ledger.checks().last().expect("a rule").clone();
            assert_eq!(failed.outcome, Outcome::Fail);
            format!("{} {}", failed.rule.id, denial.code())
        }
        Err(denial) => denial.code().to_owned(),
    }
}

/// Two events in RTMR1, one in RTMR2.
fn boot() -> (EventLog, Registers<'static>) {
    let log = parsed(&[Bank::Sha384], &[(2, ACTION, b"a"), (3, ACTION, b"k"), (2, ACTION, b"b")]);
    let values = [[0; 48], extend384(&[b"a", b"b"]), extend384(&[b"k"]), [0; 48]];
    (log, Registers::Rtmr(values))
}

fn booted(change: impl FnOnce(&mut LogTerms)) -> String {
    let (log, registers) = boot();
    let mut terms = terms([(1, register(&[b"a", b"b"], &[b"b"])), (2, register(&[b"k"], &[]))]);
    change(&mut terms);
    answer(Some(&log), &LogPolicy::Demanded(terms), Some(&registers))
}

#[test]
fn a_log_that_is_what_the_policy_lists_is_ours() {
    assert_eq!(booted(|_| ()), "ours");
    assert_eq!(booted(|terms| drop(terms.registers.insert(0, register(&[], &[])))), "ours");
}

#[test]
fn log_01_neither_the_log_nor_the_decision_may_be_left_out() {
    let (log, registers) = boot();
    let demanded = LogPolicy::Demanded(terms([(1, register(&[b"a", b"b"], &[]))]));
    assert_eq!(answer(None, &demanded, Some(&registers)), "LOG-01 log.missing");
    assert_eq!(answer(Some(&log), &LogPolicy::NotAsked, Some(&registers)), "LOG-01 log.not-asked");
    assert_eq!(answer(None, &LogPolicy::NotAsked, Some(&registers)), "LOG-01 log.not-asked");
    assert_eq!(answer(Some(&log), &demanded, None), "LOG-01 log.not-asked");
}

#[test]
fn log_02_the_log_must_be_one_of_these_registers() {
    let demanded = LogPolicy::Demanded(terms([(1, register(&[b"a"], &[]))]));
    let rtmr = Registers::Rtmr([[0; 48]; 4]);
    let with = |log: &EventLog| answer(Some(log), &demanded, Some(&rtmr));
    assert_eq!(with(&parsed(&[Bank::Sha256, Bank::Sha1], &[])), "LOG-02 log.bank.missing");
    for index in [0, 5, 24, u32::MAX - 1] {
        assert_eq!(with(&parsed(&[Bank::Sha384], &[(index, ACTION, b"a")])), "LOG-02 log.register.unknown");
    }
    let pcrs = selected([(1, [0; 32])]);
    let tpm = Registers::Pcr(&pcrs);
    let with = |log: &EventLog| answer(Some(log), &demanded, Some(&tpm));
    assert_eq!(with(&EventLog::parse(b"[]").expect("a log")), "LOG-02 log.form");
    assert_eq!(with(&parsed(&[Bank::Sha1], &[(1, ACTION, b"a")])), "LOG-02 log.bank.missing");
    assert_eq!(with(&parsed(&[Bank::Sha256], &[(24, ACTION, b"a")])), "LOG-02 log.register.unknown");
}

fn pcr0(pcrs: &SelectedPcrs, events: &[(u32, u32, &[u8])]) -> String {
    let listed = RegisterTerms {
        events: Expected::OneOf([b"a", b"b"].iter().map(|word| crypto::sha256(*word).to_vec()).collect()),
        required: Vec::new(),
    };
    let demanded = LogPolicy::Demanded(terms([(0, listed)]));
    answer(Some(&parsed(&[Bank::Sha1, Bank::Sha256], events)), &demanded, Some(&Registers::Pcr(pcrs)))
}

#[test]
fn log_02_the_startup_locality_is_where_pcr_0_starts() {
    let at = |locality: u8| [b"StartupLocality\0".as_slice(), &[locality]].concat();
    let value = |locality| selected([(0, extend256(locality, &[b"a"]))]);
    let (zero, three, four) = (at(0), at(3), at(4));
    assert_eq!(pcr0(&value(0), &[(0, ACTION, b"a")]), "ours");
    assert_eq!(pcr0(&value(0), &[(0, 3, &zero), (0, ACTION, b"a")]), "ours");
    assert_eq!(pcr0(&value(3), &[(0, 3, &three), (0, ACTION, b"a")]), "ours");
    assert_eq!(pcr0(&value(4), &[(0, 3, &four), (0, ACTION, b"a")]), "ours");
    assert_eq!(pcr0(&value(3), &[(0, ACTION, b"a")]), "LOG-03 log.register.mismatch");
    assert_eq!(pcr0(&value(0), &[(0, 3, &three), (0, ACTION, b"a")]), "LOG-03 log.register.mismatch");
    for (wrong, index) in [
        (at(1), 0),
        (at(5), 0),
        (at(3)[..16].to_vec(), 0),
        ([&three[..], &[0]].concat(), 0),
        (three.clone(), 1),
    ] {
        assert_eq!(pcr0(&value(3), &[(index, 3, &wrong), (0, ACTION, b"a")]), "LOG-02 log.locality");
    }
    assert_eq!(pcr0(&value(3), &[(0, 3, &three), (0, 3, &three), (0, ACTION, b"a")]), "LOG-02 log.locality");
    assert_eq!(pcr0(&value(3), &[(0, ACTION, b"a"), (0, 3, &three)]), "LOG-02 log.locality");
}

#[test]
fn log_03_every_named_register_must_be_in_the_evidence_and_equal() {
    let (log, _) = boot();
    let demanded =
        LogPolicy::Demanded(terms([(1, register(&[b"a", b"b"], &[])), (2, register(&[b"k"], &[]))]));
    for values in [
        [[0; 48]; 4],
        [[0; 48], extend384(&[b"b", b"a"]), extend384(&[b"k"]), [0; 48]],
        [[0; 48], extend384(&[b"a", b"b"]), [0; 48], [0; 48]],
        [extend384(&[b"a", b"b"]), extend384(&[b"k"]), [0; 48], [0; 48]],
    ] {
        let registers = Registers::Rtmr(values);
        assert_eq!(answer(Some(&log), &demanded, Some(&registers)), "LOG-03 log.register.mismatch");
    }
    assert_eq!(
        booted(|terms| drop(terms.registers.insert(4, register(&[], &[])))),
        "LOG-03 log.register.not-quoted"
    );
    let pcrs = selected([(1, [0; 32]), (16, [0; 32])]);
    for number in [0, 2, 16] {
        let demanded = LogPolicy::Demanded(terms([(number, register(&[], &[]))]));
        let empty = parsed(&[Bank::Sha256], &[]);
        let found = answer(Some(&empty), &demanded, Some(&Registers::Pcr(&pcrs)));
        assert_eq!(found, "LOG-03 log.register.not-quoted", "{number}");
    }
}

#[test]
fn log_04_other_registers_are_refused_or_waived_and_never_proven() {
    assert_eq!(booted(|terms| drop(terms.registers.remove(&2))), "LOG-04 log.register.not-decided");
    let allow = |reason: &str| Danger::Allow { reason: reason.to_owned() };
    let waive = |reason: &str| {
        booted(|terms| {
            terms.registers.remove(&2);
            terms.other_registers = allow(reason);
        })
    };
    assert_eq!(waive("because"), "ours, LOG-04");
    assert_eq!(waive(" "), "policy.waiver-without-reason");
    assert_eq!(booted(|terms| terms.other_registers = allow("not needed")), "ours");
    let (log, registers) = boot();
    let mut terms = terms([(2, register(&[b"k"], &[]))]);
    terms.other_registers = allow("because");
    let mut ledger = Ledger::new(rules::EVENT_LOG);
    let replayed =
        appraise(Some(&log), &LogPolicy::Demanded(terms), Some(&registers), &mut ledger).expect("ours");
    assert_eq!(replayed.registers().collect::<Vec<_>>(), [2]);
    assert!(replayed.events(1).is_none());
}

#[test]
fn log_05_an_event_that_is_not_listed_is_refused() {
    assert_eq!(
        booted(|t| drop(t.registers.insert(1, register(&[b"a"], &[])))),
        "LOG-05 log.event.not-accepted"
    );
    assert_eq!(booted(|t| drop(t.registers.insert(1, register(&[], &[])))), "LOG-05 log.event.not-accepted");
    let any = |reason: &str| RegisterTerms { events: Expected::any(reason), required: Vec::new() };
    assert_eq!(booted(|t| drop(t.registers.insert(1, any("because")))), "ours, LOG-05");
    assert_eq!(booted(|t| drop(t.registers.insert(1, any("")))), "policy.waiver-without-reason");
}

#[test]
fn log_06_required_events_happen_in_their_order() {
    let required = |list: &[&[u8]]| booted(|t| drop(t.registers.insert(1, register(&[b"a", b"b"], list))));
    assert_eq!(required(&[b"a"]), "ours");
    assert_eq!(required(&[b"a", b"b"]), "ours");
    for wrong in [&[b"b".as_slice(), b"a"][..], &[b"a", b"a"], &[b"a", b"b", b"b"], &[b"k"]] {
        assert_eq!(required(wrong), "LOG-06 log.event.required");
    }
}

#[test]
fn only_what_has_the_digest_is_content() {
    let event = |kind: u32, data: &[u8], measured: &[u8]| Event {
        index: 1,
        event_type: kind,
        digests: vec![(Bank::Sha256, crypto::sha256(measured).to_vec())],
        data: data.to_vec(),
    };
    let proven = |event: &Event| match event.content(Bank::Sha256) {
        Content::Proven(part) => String::from_utf8_lossy(part).into_owned(),
        Content::Unproven => "-".to_owned(),
    };
    let variable = [&[7; 16][..], &[2, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0], b"n\0m\0val"].concat();
    assert_eq!(proven(&event(ACTION, b"words", b"words")), "words");
    assert_eq!(proven(&event(ACTION, b"words", b"other")), "-");
    assert_eq!(proven(&event(ACTION, b"", b"")), "-");
    assert_eq!(proven(&event(0xd, b"grub_cmd: set x\0", b"set x")), "set x");
    assert_eq!(proven(&event(0xd, b"kernel_cmdline: ro\0", b"ro")), "ro");
    assert_eq!(proven(&event(0xd, b"grub_cmd: set x\0", b"set y")), "-");
    assert_eq!(proven(&event(0xd, b"grub_cmd: set x\0\0", b"set x")), "-");
    assert_eq!(
        proven(&event(ACTION, b"grub_cmd: set x\0", b"set x")),
        "-",
        "another type is not looked into"
    );
    assert_eq!(proven(&event(0x8000_0002, &variable, b"val")), "val");
    assert_eq!(
        proven(&event(0x8000_0002, &variable[..variable.len() - 1], b"va")),
        "-",
        "its length is another"
    );
    assert_eq!(proven(&event(0x8000_0002, b"short", b"")), "-");
    assert_eq!(proven(&event(3, b"words", b"words")), "-", "it extends nothing");
    assert_eq!(event(ACTION, b"words", b"words").content(Bank::Sha384), Content::Unproven);
}

#[test]
fn dstack_events_are_measured_with_their_name() {
    // 0x08000001 in little-endian, ":", name, ":", payload.
    let measured = crypto::sha384(b"\x01\0\0\x08:app-id:\xab\xcd");
    assert_eq!(dstack_event_digest("app-id", &[0xab, 0xcd])[..], measured[..]);
    let text = r#"[{"imr":3,"event_type":134217729,"digest":"","event":"app-id","event_payload":"abcd"}]"#;
    let log = EventLog::parse(text.as_bytes()).expect("a log");
    let [event] = log.events() else { panic!("one event") };
    assert_eq!((event.index(), event.digest(Bank::Sha384)), (4, Some(&measured[..])));
    assert_eq!(event.content(Bank::Sha384), Content::Proven(b"\x01\0\0\x08:app-id:\xab\xcd"));
    let rtmr3 = crypto::sha384(&[&[0; 48], &measured[..]].concat());
    assert_eq!(log.unproven_registers(Bank::Sha384), BTreeMap::from([(4, rtmr3.to_vec())]));
}

#[test]
fn dstack_logs_with_one_mistake_each() {
    let digest = hex::encode(dstack_event_digest("app-id", &[0xab, 0xcd]));
    let text = format!(
        r#"[{{"imr":3,"event_type":134217729,"digest":"{digest}","event":"app-id","event_payload":"abcd"}}]"#
    );
    let code = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        EventLog::parse(text.replacen(from, to, 1).as_bytes()).map_or_else(|error| error.code(), |_| "log")
    };
    let input = hex::encode(b"\x01\0\0\x08:app-id:\xab\xcd");
    for (from, to, expected) in [
        ("app-id", "app-id", "log"),
        (&digest, "", "log"),
        ("}]", r#","version":1}]"#, "log"),
        ("}]", r#","version":2}]"#, "log.format.dstack-digest"),
        ("}]", r#","version":0}]"#, "log.format.dstack-version"),
        ("}]", r#","version":3}]"#, "log.format.dstack-version"),
        ("}]", &format!(r#","preimage":"{input}"}}]"#), "log"),
        ("}]", &format!(r#","preimage":"{input}","hash_input":"{input}"}}]"#), "log.format.json"),
        ("}]", &format!(r#","hash_input":"{input}"}}]"#), "log"),
        ("}]", r#","hash_input":"00"}]"#, "log.format.member"),
        ("}]", r#","hash_input":"zz"}]"#, "log.format.member"),
        ("}]", r#","imr":3}]"#, "log.format.json"),
        ("}]", r#","other":3}]"#, "log.format.json"),
        ("}]", "}] ]", "log.format.json"),
        ("\"imr\":3,", "", "log.format.json"),
        ("\"imr\":3", "\"imr\":4", "log.format.member"),
        ("\"imr\":3", "\"imr\":4294967295", "log.format.member"),
        ("\"imr\":3", "\"imr\":-1", "log.format.json"),
        ("app-id", "app-ie", "log.format.dstack-digest"),
        ("abcd", "abce", "log.format.dstack-digest"),
        ("abcd", "abc", "log.format.member"),
        (&digest[..2], "zz", "log.format.member"),
        ("134217729", "4", "log"),
        ("\"event_type\":134217729", "\"event_type\":4,\"version\":2", "log.format.member"),
        ("134217729", "3", "log.format.member"),
        (&format!("134217729,\"digest\":\"{digest}"), "4,\"digest\":\"", "log.format.member"),
        (&format!("134217729,\"digest\":\"{digest}"), "4,\"digest\":\"00", "log.format.member"),
    ] {
        assert_eq!(code(from, to), expected, "{to}");
    }
}

#[test]
fn dstack_events_of_version_2_are_measured_as_canonical_json() {
    let measured = br#"{"name":"compose-hash","payload":"abcd","type":134217729}"#;
    assert_eq!(DstackVersion::V2.measured("compose-hash", &[0xab, 0xcd]), measured);
    let escaped = DstackVersion::V2.measured("\u{8}\u{c}\n\r\t\u{1}\"\\/\u{7f}é", &[]);
    let expected =
        "{\"name\":\"\\b\\f\\n\\r\\t\\u0001\\\"\\\\/\u{7f}é\",\"payload\":\"\",\"type\":134217729}";
    assert_eq!(String::from_utf8_lossy(&escaped), expected);
    let digest = hex::encode(crypto::sha384(measured));
    let good = format!(
        r#"[{{"imr":3,"event_type":134217729,"digest":"{digest}","event":"compose-hash","event_payload":"ABCD","version":2,"preimage":"{}"}}]"#,
        hex::encode(measured)
    );
    let log = EventLog::parse(good.as_bytes()).expect("a log");
    assert_eq!(EventLog::of_dstack(&crate::json::parse(good.as_bytes()).expect("JSON")), Ok(log.clone()));
    let [event] = log.events() else { panic!("one event") };
    assert_eq!(event.content(Bank::Sha384), Content::Proven(measured));
    let code = |from: &str, to: &str| {
        assert!(good.contains(from), "{from}");
        EventLog::parse(good.replacen(from, to, 1).as_bytes()).map_or_else(|error| error.code(), |_| "log")
    };
    assert_eq!(code(&digest, ""), "log");
    assert_eq!(code("\"version\":2", "\"version\":1"), "log.format.dstack-digest");
    assert_eq!(code("\"version\":2,", ""), "log.format.dstack-digest");
    assert_eq!(code("compose-hash", "compose-hasi"), "log.format.dstack-digest");
    assert_eq!(code("\"preimage\":\"7b", "\"preimage\":\"7c"), "log.format.member");
}

#[test]
fn what_was_measured_is_read_back_in_one_way() {
    let event = |name: &str, payload: &[u8]| Some(DstackEvent { name: name.into(), payload: payload.into() });
    let v1 = DstackVersion::V1.measured("app-id", b"\xab:c");
    assert_eq!(DstackEvent::of_measured(&v1), event("app-id", b"\xab:c"));
    // A name with a colon has the digest of a shorter name with a longer payload: it is read as that.
    let colon = DstackVersion::V1.measured("compose-hash:x", b"y");
    assert_eq!(DstackEvent::of_measured(&colon), event("compose-hash", b"x:y"));
    let v2 = DstackVersion::V2.measured("compose-hash:x", b"y");
    assert_eq!(DstackEvent::of_measured(&v2), event("compose-hash:x", b"y"));
    for other in [
        &b""[..],
        b"\x01\0\0\x08",
        b"\x01\0\0\x08:app-id",
        b"\x01\0\0\x08:\xff:",
        b"\x01\0\0\x09:app-id:",
        b"{}",
        br#"{"name":"a","payload":"00","type":134217730}"#,
        br#"{"name":"a","payload":"AA","type":134217729}"#,
        br#"{"payload":"00","name":"a","type":134217729}"#,
        br#"{"name":"a","payload":"00","type":134217729} "#,
        br#"{"name":"a","name":"a","payload":"00","type":134217729}"#,
    ] {
        assert_eq!(DstackEvent::of_measured(other), None, "{}", String::from_utf8_lossy(other));
    }
}

#[test]
fn logs_with_one_mistake_in_their_form_each() {
    let good = log(&[Bank::Sha1, Bank::Sha384], &[(1, ACTION, b"a"), (1, 3, b"note")]);
    assert!(EventLog::parse(&good).is_ok());
    let code = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        change(&mut bytes);
        EventLog::parse(&bytes).map_or_else(|error| error.code(), |_| "log")
    };
    // The header is 32 + 37 octets, then index 4, type 4, count 4, 2 + 20, 2 + 48, size 4, data 1.
    let event = 32 + 37;
    let second = event + 12 + 22 + 50 + 4 + 1;
    type Change<'a> = &'a dyn Fn(&mut Vec<u8>);
    let cases: [(&str, Change<'_>, &str); 29] = [
        ("nothing", &|b| b.clear(), "log.format.header"),
        ("older form", &|b| drop(b.drain(..event)), "log.format.header"),
        ("signature", &|b| b[32 + 14] = b'2', "log.format.header"),
        ("header of register 2", &|b| b[0] = 2, "log.format.header-value"),
        ("header of another type", &|b| b[4] = 4, "log.format.header-value"),
        ("header with a digest", &|b| b[27] = 1, "log.format.no-action"),
        ("header longer than the log", &|b| b[31] = 1, "log.format.truncated"),
        ("header shorter than it is", &|b| b[28] -= 1, "log.format.truncated"),
        ("platform class 2", &|b| b[48] = 2, "log.format.header-value"),
        ("minor version 1", &|b| b[52] = 1, "log.format.header-value"),
        ("major version 3", &|b| b[53] = 3, "log.format.header-value"),
        ("word size 3", &|b| b[55] = 3, "log.format.header-value"),
        ("no hash", &|b| b[56] = 0, "log.format.header-value"),
        ("six hashes", &|b| b[56] = 6, "log.format.header-value"),
        ("unknown hash", &|b| b[60] = 5, "log.format.algorithm"),
        ("hash of another size", &|b| b[62] = 32, "log.format.algorithm"),
        ("hash twice", &|b| b.copy_within(60..64, 64), "log.format.algorithm"),
        ("vendor information", &|b| b[68] = 1, "log.format.header-value"),
        ("one digest of two", &|b| b[event + 8] = 1, "log.format.digests"),
        ("three digests of two", &|b| b[event + 8] = 3, "log.format.digests"),
        ("a digest of a hash that is not listed", &|b| b[event + 12] = 0x0b, "log.format.digests"),
        ("a digest twice", &|b| b[event + 12 + 22] = 4, "log.format.digests"),
        ("size beyond the end", &|b| b[event + 84 + 3] = 0xff, "log.format.truncated"),
        ("something that extends nothing, with a digest", &|b| b[second + 14] = 1, "log.format.no-action"),
        ("fill", &|b| b.extend([0xff; 100]), "log"),
        ("fill of zeros", &|b| b.extend([0; 100]), "log"),
        ("terminator, then zeros", &|b| b.extend([&[0xff; 4][..], &[0; 100]].concat()), "log"),
        ("fill of two kinds", &|b| b.extend([&[0xff; 40][..], &[0; 1]].concat()), "log.format.fill"),
        ("fill with something in it", &|b| b.extend([&[0; 40][..], &[1]].concat()), "log.format.fill"),
    ];
    for (name, change, expected) in cases {
        assert_eq!(code(change), expected, "{name}");
    }
    let unregistered = log(&[Bank::Sha384], &[(u32::MAX, 3, b"note"), (1, ACTION, b"a")]);
    assert_eq!(EventLog::parse(&unregistered).expect("a log").events().len(), 2);
}
