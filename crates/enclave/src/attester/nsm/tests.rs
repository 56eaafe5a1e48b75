//! The layer of requests and answers, over a module that answers CBOR.

use std::time::Duration;

use minicbor::Encoder;

use super::*;
use crate::attester::{Attester, Hardware};

const QUICK: Patience = Patience { attempts: 3, pause: Duration::ZERO };
const DATA: [u8; 64] = [0xd5; 64];

struct Scripted {
    calls: u32,
    script: fn(u32, &[u8]) -> io::Result<Vec<u8>>,
    stated: Option<usize>,
}

impl Module for Scripted {
    fn call(&mut self, request: &[u8], room: &mut [u8]) -> io::Result<usize> {
        self.calls += 1;
        let answer = (self.script)(self.calls, request)?;
        let len = answer.len().min(room.len());
        room[..len].copy_from_slice(&answer[..len]);
        Ok(self.stated.unwrap_or(answer.len()))
    }
}

/// What a module with a key of nobody's makes: the form of a document, and its signature zero.
fn made(user_data: Option<&[u8]>) -> Vec<u8> {
    made_with(user_data, None)
}

fn made_with(user_data: Option<&[u8]>, public_key: Option<&[u8]>) -> Vec<u8> {
    let mut payload = Encoder::new(Vec::new());
    payload.map(9).unwrap();
    payload.str("module_id").unwrap().str("i-0-enc0").unwrap();
    payload.str("digest").unwrap().str("SHA384").unwrap();
    payload.str("timestamp").unwrap().u64(1).unwrap();
    payload.str("pcrs").unwrap().map(1).unwrap().u8(0).unwrap().bytes(&[1; 48]).unwrap();
    payload.str("certificate").unwrap().bytes(b"c").unwrap();
    payload.str("cabundle").unwrap().array(1).unwrap().bytes(b"r").unwrap();
    payload.str("public_key").unwrap();
    match public_key {
        Some(key) => payload.bytes(key).unwrap(),
        None => payload.null().unwrap(),
    };
    payload.str("user_data").unwrap();
    match user_data {
        Some(data) => payload.bytes(data).unwrap(),
        None => payload.null().unwrap(),
    };
    payload.str("nonce").unwrap().null().unwrap();
    let payload = payload.into_writer();
    let mut document = Encoder::new(b"\x84\x44\xa1\x01\x38\x22\xa0".to_vec());
    document.bytes(&payload).unwrap().bytes(&[0; 96]).unwrap();
    document.into_writer()
}

fn answer(document: &[u8]) -> Vec<u8> {
    let mut answer = Encoder::new(Vec::new());
    answer.map(1).unwrap().str("Attestation").unwrap().map(1).unwrap();
    answer.str("document").unwrap().bytes(document).unwrap();
    answer.into_writer()
}

/// The stand-in reads the request with a general CBOR reader, not with our own template.
fn asked(request: &[u8]) -> Vec<u8> {
    let mut cbor = Decoder::new(request);
    assert_eq!(cbor.map().unwrap(), Some(1));
    assert_eq!(cbor.str().unwrap(), "Attestation");
    assert_eq!(cbor.map().unwrap(), Some(3));
    let mut user_data = Vec::new();
    for _ in 0..3 {
        match cbor.str().unwrap() {
            "user_data" => user_data = cbor.bytes().unwrap().to_vec(),
            "nonce" | "public_key" => cbor.null().unwrap(),
            other => panic!("{other}"),
        }
    }
    assert_eq!(cbor.position(), request.len());
    user_data
}

fn ask(
    script: fn(u32, &[u8]) -> io::Result<Vec<u8>>,
    stated: Option<usize>,
) -> Result<RawEvidence, AttesterError> {
    Hardware::start(Nsm::with(Scripted { calls: 0, script, stated }, QUICK)).evidence(&DATA)
}

fn code(script: fn(u32, &[u8]) -> io::Result<Vec<u8>>) -> &'static str {
    ask(script, None).err().map_or("none", |e| e.code())
}

#[test]
fn a_document_binds_what_was_asked_for() {
    let raw = ask(|_, request| Ok(answer(&made(Some(&asked(request))))), None).unwrap();
    assert_eq!(raw.evidence, made(Some(&DATA)));
    assert_eq!((raw.platform, raw.endorsements), (Platform::Nitro, Brought::default()));
}

#[test]
fn one_mistake_each_has_its_code() {
    type Call = fn(u32, &[u8]) -> io::Result<Vec<u8>>;
    let cases: [(Call, &str); 15] = [
        (|_, _| Ok(b"\xa1\x65Error\x6fInvalidArgument".to_vec()), "attester.nsm.refused"),
        (|_, _| Ok(b"\xa1\x65Error\x6fInvalidArgument\x00".to_vec()), "attester.nsm.answer"),
        (|_, _| Ok(b"\xa1\x65Other\x60".to_vec()), "attester.nsm.answer"),
        (|_, _| Ok(b"\xa0".to_vec()), "attester.nsm.answer"),
        (|_, _| Ok(b"\xbf\xff".to_vec()), "attester.nsm.answer"),
        (|_, _| Ok(b"<html>".to_vec()), "attester.nsm.answer"),
        (|_, _| Ok(Vec::new()), "attester.nsm.size"),
        (|_, _| Ok(vec![0; MAX_ANSWER + 1]), "attester.nsm.size"),
        (|_, _| Err(io::Error::from_raw_os_error(libc::EBUSY)), "attester.busy"),
        (|_, _| Err(io::Error::from_raw_os_error(libc::ENODEV)), "attester.nsm.kernel"),
        (
            |n, request| match n {
                1 | 2 => Err(io::Error::from_raw_os_error(libc::EINTR)),
                _ => Ok(answer(&made(Some(&asked(request))))),
            },
            "none",
        ),
        // Another caller's, an old one's, a prefix, nobody's.
        (|_, _| Ok(answer(&made(Some(&[0; 64])))), "attester.echo"),
        (|_, request| Ok(answer(&made(Some(&asked(request)[..32])))), "attester.echo"),
        (|_, _| Ok(answer(&made(None))), "attester.echo"),
        (|_, _| Ok(answer(b"not a document")), "attester.evidence"),
    ];
    for (index, (script, expected)) in cases.into_iter().enumerate() {
        assert_eq!(code(script), expected, "case {index}");
    }
}

/// The request that names a recipient, read with a general reader: its key.
fn asked_key(request: &[u8]) -> Vec<u8> {
    let mut cbor = Decoder::new(request);
    assert_eq!((cbor.map().unwrap(), cbor.str().unwrap()), (Some(1), "Attestation"));
    assert_eq!(cbor.map().unwrap(), Some(3));
    let mut key = Vec::new();
    for _ in 0..3 {
        match cbor.str().unwrap() {
            "public_key" => key = cbor.bytes().unwrap().to_vec(),
            "nonce" | "user_data" => cbor.null().unwrap(),
            other => panic!("{other}"),
        }
    }
    assert_eq!(cbor.position(), request.len());
    key
}

/// ATT-22.
#[test]
fn a_document_names_the_recipient_that_was_asked_for_and_nothing_else() {
    const KEY: [u8; 294] = [0x5a; 294];
    let ask = |script| {
        Hardware::start(Nsm::with(Scripted { calls: 0, script, stated: None }, QUICK)).recipient(&KEY)
    };
    let document = ask(|_, request| Ok(answer(&made_with(None, Some(&asked_key(request)))))).unwrap();
    assert_eq!(document, made_with(None, Some(&KEY)));
    type Call = fn(u32, &[u8]) -> io::Result<Vec<u8>>;
    let cases: [(Call, &str); 7] = [
        (|_, _| Ok(answer(&made_with(None, Some(&[0x5b; 294])))), "attester.echo"),
        (|_, _| Ok(answer(&made_with(None, Some(&KEY[..293])))), "attester.echo"),
        (|_, _| Ok(answer(&made_with(None, None))), "attester.echo"),
        // What names a recipient must not bind a statement.
        (|_, _| Ok(answer(&made_with(Some(&DATA), Some(&KEY)))), "attester.echo"),
        (|_, _| Ok(answer(b"not a document")), "attester.evidence"),
        (|_, _| Ok(b"\xa1\x65Error\x6fInvalidArgument".to_vec()), "attester.nsm.refused"),
        (|_, _| Err(io::Error::from_raw_os_error(libc::EBUSY)), "attester.busy"),
    ];
    for (index, (script, expected)) in cases.into_iter().enumerate() {
        assert_eq!(ask(script).unwrap_err().code(), expected, "case {index}");
    }
}

#[test]
fn no_prefix_of_an_answer_is_one() {
    let whole = answer(&made(Some(&DATA)));
    assert!(document(&whole).is_ok());
    for len in 0..whole.len() {
        assert!(document(&whole[..len]).is_err(), "{len}");
    }
}

#[test]
fn a_file_that_is_no_module_is_refused_by_the_kernel() {
    let error = Nsm::open(Path::new("/dev/null")).unwrap().evidence(&DATA).err().unwrap();
    assert_eq!(error.code(), "attester.nsm.kernel");
    assert_eq!(Nsm::open(Path::new("/nonexistent")).err().unwrap().code(), "attester.device");
}
