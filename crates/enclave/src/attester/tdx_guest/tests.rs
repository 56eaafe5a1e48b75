//! A device in memory, and a service on a socket that reads requests by the offsets of Intel's structures.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::attester::{Attester, Hardware};

const DATA: [u8; 64] = [0x3c; 64];
const QUICK: Patience = Patience { attempts: 4, pause: Duration::ZERO };

/// The TDREPORT of these bytes: they and nothing else, behind a mark.
struct Scripted {
    call: u32,
    error: fn(u32) -> Option<i32>,
}

impl Guest for Scripted {
    fn report(&mut self, report_data: &[u8; 64]) -> io::Result<[u8; TD_REPORT_LEN]> {
        self.call += 1;
        if let Some(number) = (self.error)(self.call) {
            return Err(io::Error::from_raw_os_error(number));
        }
        let mut report = [0x81; TD_REPORT_LEN];
        report[128..192].copy_from_slice(report_data);
        Ok(report)
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// What a service says to a request, with its length in front.
type Say = fn(&[u8]) -> Vec<u8>;

/// A right answer, before whatever a case does to it.
fn message(id: &[u8], quote: &[u8]) -> Vec<u8> {
    let length = u32::try_from(24 + id.len() + quote.len()).unwrap();
    let numbers = [1, length, 0, u32::try_from(id.len()).unwrap(), u32::try_from(quote.len()).unwrap()];
    let numbers = numbers.iter().flat_map(|number| number.to_le_bytes());
    [1, 0, 7, 0].into_iter().chain(numbers).chain(id.iter().copied()).chain(quote.iter().copied()).collect()
}

fn sent(message: &[u8]) -> Vec<u8> {
    [&u32::try_from(message.len()).unwrap().to_be_bytes()[..], message].concat()
}

/// One of its octets is another.
fn edited(at: usize, value: u8) -> Vec<u8> {
    let mut message = message(b"", b"quote");
    message[at] = value;
    sent(&message)
}

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A service for one request, at a place that is removed with it.
fn service(say: Say) -> (QuoteService, std::thread::JoinHandle<Vec<u8>>) {
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("casemate-qgs-{}-{number}", std::process::id()));
    let _ = fs::remove_file(&path);
    let listener = UnixListener::bind(&path).unwrap();
    let served = std::thread::spawn({
        let path = path.clone();
        move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = vec![0; 4 + 1048];
            stream.read_exact(&mut request).unwrap();
            // The peer may have heard enough.
            let _ = stream.write_all(&say(&request[4..]));
            fs::remove_file(path).unwrap();
            request
        }
    });
    (QuoteService::Socket(path), served)
}

fn ask(say: Say) -> Result<RawEvidence, AttesterError> {
    let (service, _served) = service(say);
    TdxGuest::with(Scripted { call: 0, error: |_| None }, service, QUICK).evidence(&DATA)
}

fn code(say: Say) -> &'static str {
    ask(say).err().map_or("none", |e| e.code())
}

#[test]
fn the_request_is_intels() {
    let (service, served) = service(|_| sent(&message(b"", b"quote")));
    let raw = TdxGuest::with(Scripted { call: 0, error: |_| None }, service, QUICK).evidence(&DATA).unwrap();
    assert_eq!((raw.platform, &raw.evidence[..]), (Platform::Tdx, &b"quote"[..]));
    let request = served.join().unwrap();
    assert_eq!(request[..4], 1048_u32.to_be_bytes());
    let message = &request[4..];
    assert_eq!(message[..4], [1, 0, 1, 0]);
    let numbers: Vec<_> = [4, 8, 12, 16, 20].into_iter().map(|at| word(message, at)).collect();
    assert_eq!(numbers, [0, 1048, 0, 1024, 0]);
    let report = &message[24..];
    assert_eq!((report.len(), &report[128..192]), (1024, &DATA[..]));
}

#[test]
fn the_quote_is_behind_the_chosen_id() {
    let raw = ask(|_| sent(&message(&[9; 16], b"quote"))).unwrap();
    assert_eq!(raw.evidence, b"quote");
}

#[test]
fn one_mistake_each_has_its_code() {
    let cases: [(Say, &str); 22] = [
        (|_| sent(&message(b"", b"quote")), "none"),
        // Lengths of the whole.
        (|_| Vec::new(), "attester.tdx-guest.quote-service"),
        (|_| vec![0, 0, 0], "attester.tdx-guest.quote-service"),
        (|_| vec![0; 4], "attester.tdx-guest.size"),
        (|_| 15_u32.to_be_bytes().to_vec(), "attester.tdx-guest.size"),
        (|_| 32_769_u32.to_be_bytes().to_vec(), "attester.tdx-guest.size"),
        (|_| u32::MAX.to_be_bytes().to_vec(), "attester.tdx-guest.size"),
        // Little-endian it would be another.
        (
            |_| {
                let mut swapped = sent(&message(b"", b"quote"));
                swapped[..4].reverse();
                swapped
            },
            "attester.tdx-guest.size",
        ),
        (|_| sent(&message(b"", b"quote"))[..20].to_vec(), "attester.tdx-guest.quote-service"),
        (|_| sent(&message(b"", b"quote")[..16]), "attester.tdx-guest.answer"),
        // Version, type, length, error.
        (|_| edited(0, 2), "attester.tdx-guest.answer"),
        (|_| edited(4, 0), "attester.tdx-guest.answer"),
        (|_| edited(4, 3), "attester.tdx-guest.answer"),
        (|_| edited(8, 28), "attester.tdx-guest.answer"),
        (|_| edited(12, 2), "attester.tdx-guest.refused"),
        // Id and quote: beyond the end, before it, none.
        (|_| edited(16, 1), "attester.tdx-guest.answer"),
        (|_| edited(16, 255), "attester.tdx-guest.answer"),
        (|_| edited(20, 4), "attester.tdx-guest.answer"),
        (|_| edited(20, 6), "attester.tdx-guest.answer"),
        (|_| edited(23, 255), "attester.tdx-guest.answer"),
        (|_| sent(&message(b"", b"")), "attester.tdx-guest.answer"),
        // Somebody else's words.
        (|_| b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), "attester.tdx-guest.size"),
    ];
    for (index, (say, expected)) in cases.into_iter().enumerate() {
        assert_eq!(code(say), expected, "case {index}");
    }
    // An error has no quote behind it, and may have nothing at all.
    assert_eq!(
        code(|_| sent(&[1, 0, 1, 0, 1, 0, 0, 0, 16, 0, 0, 0, 1, 0x20, 0, 0])),
        "attester.tdx-guest.refused"
    );
}

#[test]
fn a_service_that_is_not_there_has_a_name() {
    let nowhere = QuoteService::Socket("/nonexistent/qgs".into());
    let error = TdxGuest::with(Scripted { call: 0, error: |_| None }, nowhere, QUICK).evidence(&DATA);
    assert_eq!(error.err().unwrap().code(), "attester.tdx-guest.quote-service");
    // Nobody has this port of this machine's own, or the kernel has no vsock: an error, and no quote.
    let vsock = QuoteService::Vsock { cid: 1, port: 0xfeed_4050 };
    let error = TdxGuest::with(Scripted { call: 0, error: |_| None }, vsock, QUICK).evidence(&DATA);
    assert_eq!(error.err().unwrap().code(), "attester.tdx-guest.quote-service");
}

#[test]
fn the_devices_errors_have_names() {
    fn ask(error: fn(u32) -> Option<i32>) -> &'static str {
        let (service, _served) = service(|_| sent(&message(b"", b"quote")));
        TdxGuest::with(Scripted { call: 0, error }, service, QUICK)
            .evidence(&DATA)
            .err()
            .map_or("none", |e| e.code())
    }
    assert_eq!(ask(|_| Some(libc::EIO)), "attester.tdx-guest.kernel");
    assert_eq!(ask(|_| Some(libc::EBUSY)), "attester.busy");
    assert_eq!(ask(|call| (call < 3).then_some(libc::EINTR)), "none");
}

#[test]
fn what_is_no_quote_is_refused_by_everybodys_check() {
    let (service, _served) = service(|_| sent(&message(b"", b"quote")));
    let td = TdxGuest::with(Scripted { call: 0, error: |_| None }, service, QUICK);
    let error = Hardware::start(td).evidence(&DATA).err().unwrap();
    assert_eq!(error.code(), "attester.evidence");
}

#[test]
fn a_file_that_is_no_device_is_refused_by_the_kernel() {
    let service = || QuoteService::Socket("/nonexistent/qgs".into());
    let error = TdxGuest::open(Path::new("/dev/null"), service()).unwrap().evidence(&DATA).err().unwrap();
    assert_eq!(error.code(), "attester.tdx-guest.kernel");
    assert_eq!(TdxGuest::open(Path::new("/none"), service()).err().unwrap().code(), "attester.device");
}
