//! A driver in memory for every mistake. It reads the request by the offsets of AMD's and Linux's structures.

use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use casemate_attest::UnixTime;
use casemate_attest::snp::ProductLine;
use casemate_sim::{Machine, MachineConfig, Vendor};

use super::*;
use crate::attester::tsm::tests::vcek;
use crate::attester::{Attester, Hardware};

const DATA: [u8; 64] = [0xa7; 64];
const QUICK: Patience = Patience { attempts: 4, pause: Duration::ZERO };

/// Keys take seconds to make: one machine for all cases.
static MACHINE: LazyLock<Machine> = LazyLock::new(|| {
    let vendor = Vendor::create(ProductLine::Genoa, UnixTime(1_767_225_600)).unwrap();
    vendor.machine(&MachineConfig::new([7; 48])).unwrap()
});

type Mistake = fn(&mut Driver);

/// What the driver does with the n-th call.
struct Driver {
    call: u32,
    error: Option<i32>,
    exitinfo2: u64,
    /// What the host says that its certificates need.
    needs: u32,
    table: Vec<u8>,
    status: u32,
    size: u32,
    data: Option<[u8; 64]>,
    mistake: Mistake,
    asked: Arc<Mutex<Vec<(&'static str, Request)>>>,
}

impl Driver {
    fn answer(&mut self, name: &'static str, request: &Request, response: &mut Response) -> Answer {
        self.call += 1;
        (self.mistake)(self);
        self.asked.lock().unwrap().push((name, *request));
        if let Some(number) = self.error {
            let result = Err(io::Error::from_raw_os_error(number));
            return Answer { result, exitinfo2: self.exitinfo2, certificates: self.needs };
        }
        response[0..4].copy_from_slice(&self.status.to_le_bytes());
        response[4..8].copy_from_slice(&self.size.to_le_bytes());
        let report = MACHINE.report(&self.data.unwrap_or(request.report_data)).unwrap();
        response[32..32 + report.len()].copy_from_slice(&report);
        Answer { result: Ok(()), exitinfo2: 0, certificates: 0 }
    }
}

impl Guest for Driver {
    fn report(&mut self, request: &Request, response: &mut Response) -> Answer {
        self.answer("report", request, response)
    }

    fn extended(&mut self, request: &Request, response: &mut Response, certificates: &mut [u8]) -> Answer {
        // The driver takes whole pages only, and no more than four.
        assert!(
            !certificates.is_empty()
                && certificates.len().is_multiple_of(4096)
                && certificates.len() <= 0x4000
        );
        let answer = self.answer("extended", request, response);
        if answer.result.is_ok() {
            certificates.fill(0);
            certificates[..self.table.len()].copy_from_slice(&self.table);
        }
        answer
    }
}

fn driver(mistake: Mistake) -> Driver {
    Driver {
        call: 0,
        error: None,
        exitinfo2: 0,
        needs: 0,
        table: vcek(MACHINE.vek_der()),
        status: 0,
        size: 1184,
        data: None,
        mistake,
        asked: Arc::default(),
    }
}

fn ask(mistake: Mistake) -> Result<RawEvidence, AttesterError> {
    Hardware::start(SevGuest::with(driver(mistake), QUICK)).evidence(&DATA)
}

fn code(mistake: Mistake) -> &'static str {
    ask(mistake).err().map_or("none", |e| e.code())
}

/// The host's error in the high half.
const fn host(code: u64) -> u64 {
    code << 32
}

fn fail(driver: &mut Driver, number: i32, exitinfo2: u64) {
    driver.error = Some(number);
    driver.exitinfo2 = exitinfo2;
}

#[test]
fn a_report_comes_with_the_hosts_certificate() {
    let raw = ask(|_| {}).unwrap();
    assert_eq!((raw.platform, raw.evidence.len()), (Platform::SevSnp, 1184));
    assert_eq!(raw.endorsements.vek.as_deref(), Some(MACHINE.vek_der()));
    // A host without certificates leaves zeros, which is no mistake.
    assert_eq!(ask(|d| d.table.clear()).unwrap().endorsements, Brought::default());
}

#[test]
fn the_request_has_what_was_asked_for() {
    let driver = driver(|_| {});
    let asked = driver.asked.clone();
    SevGuest::with(driver, QUICK).evidence(&DATA).unwrap();
    assert_eq!(asked.lock().unwrap()[..], [("extended", Request { report_data: DATA })]);
}

#[test]
fn certificates_beyond_the_drivers_room_are_left_out() {
    let driver = driver(|d| {
        d.error = None;
        if d.call == 1 {
            fail(d, libc::EIO, host(1));
            d.needs = 0x5000;
        }
    });
    let asked = driver.asked.clone();
    let raw = SevGuest::with(driver, QUICK).evidence(&DATA).unwrap();
    assert_eq!((raw.evidence.len(), raw.endorsements), (1184, Brought::default()));
    let names: Vec<_> = asked.lock().unwrap().iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["extended", "report"]);
}

#[test]
fn one_mistake_each_has_its_code() {
    let cases: [(Mistake, &str); 22] = [
        (|_| {}, "none"),
        (|d| fail(d, libc::EIO, 0x16), "attester.sev-guest.firmware"),
        (|d| fail(d, libc::EIO, host(3)), "attester.sev-guest.host"),
        (|d| fail(d, libc::EIO, host(3) | 0x16), "attester.sev-guest.host"),
        // It fits, says its own number.
        (|d| fail(d, libc::EIO, host(1)), "attester.sev-guest.certificates-length"),
        (
            |d| {
                fail(d, libc::EIO, host(1));
                d.needs = 0x4000;
            },
            "attester.sev-guest.certificates-length",
        ),
        // Too long, and then too long for a report alone.
        (
            |d| {
                fail(d, libc::EIO, host(1));
                d.needs = 0x5000;
            },
            "attester.busy",
        ),
        (|d| fail(d, libc::EIO, host(2)), "attester.busy"),
        (|d| fail(d, libc::EBUSY, 0), "attester.busy"),
        (|d| fail(d, libc::EINTR, NO_CALL), "attester.busy"),
        (
            |d| match d.call {
                1 | 2 => fail(d, libc::EAGAIN, 0),
                _ => d.error = None,
            },
            "none",
        ),
        (|d| fail(d, libc::ENOTTY, NO_CALL), "attester.sev-guest.no-key"),
        (|d| fail(d, libc::EIO, 0), "attester.sev-guest.kernel"),
        (|d| fail(d, libc::EINVAL, u64::MAX), "attester.sev-guest.kernel"),
        (|d| fail(d, libc::ETIMEDOUT, 0), "attester.sev-guest.kernel"),
        (|d| d.status = 0x16, "attester.sev-guest.status"),
        (|d| d.size = 1183, "attester.sev-guest.size"),
        (|d| d.size = 4000, "attester.sev-guest.size"),
        (|d| d.size = 0, "attester.sev-guest.size"),
        (|d| d.data = Some([0; 64]), "attester.echo"),
        (|d| d.table = vec![1; 100], "attester.certificates.range"),
        // An answer of zeros: success of nothing.
        (
            |d| {
                d.size = 0;
                d.data = Some([0; 64]);
            },
            "attester.sev-guest.size",
        ),
    ];
    for (index, (mistake, expected)) in cases.into_iter().enumerate() {
        assert_eq!(code(mistake), expected, "case {index}");
    }
}

#[test]
fn a_file_that_is_no_device_is_refused() {
    let error = SevGuest::open(Path::new("/dev/null")).unwrap().evidence(&DATA).err().unwrap();
    assert_eq!(error.code(), "attester.sev-guest.no-key");
    assert_eq!(SevGuest::open(Path::new("/nonexistent")).err().unwrap().code(), "attester.device");
}
