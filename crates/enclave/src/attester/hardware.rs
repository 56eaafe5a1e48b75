//! One real machine: a thread that owns the device, one request at a time, each with a deadline.
//!
//! A call into a kernel driver can block for as long as the host likes. So the device has a thread of its own, and whoever
//! asks waits for its answer and not for the device (ATT-05).

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use casemate_attest::Platform;

use super::{Attester, AttesterError, RawEvidence, echo};

/// What a platform must do; one caller at a time.
pub(crate) trait Device: Send + 'static {
    /// Whose evidence it makes.
    fn platform(&self) -> Platform;
    /// Evidence for these bytes. What is echoed is checked by the caller.
    fn evidence(&mut self, report_data: &[u8; 64]) -> Result<RawEvidence, AttesterError>;
    /// See [`Attester::recipient`]. What is echoed is checked by the caller.
    fn recipient(&mut self, _public_key: &[u8]) -> Result<Vec<u8>, AttesterError> {
        Err(AttesterError::NoRecipient { platform: self.platform() })
    }
    /// See [`Attester::hand_over`].
    fn hand_over(&self, _uid: u32, _gid: u32) -> Result<(), AttesterError> {
        Ok(())
    }
}

impl Device for Box<dyn Device> {
    fn platform(&self) -> Platform {
        (**self).platform()
    }

    fn evidence(&mut self, report_data: &[u8; 64]) -> Result<RawEvidence, AttesterError> {
        (**self).evidence(report_data)
    }

    fn recipient(&mut self, public_key: &[u8]) -> Result<Vec<u8>, AttesterError> {
        (**self).recipient(public_key)
    }

    fn hand_over(&self, uid: u32, gid: u32) -> Result<(), AttesterError> {
        (**self).hand_over(uid, gid)
    }
}

/// A real machine's device.
pub struct Hardware {
    platform: Platform,
    requests: Sender<Request>,
    deadline: Duration,
}

enum Request {
    Evidence { report_data: [u8; 64], until: Instant, answer: Sender<Result<RawEvidence, AttesterError>> },
    Recipient { public_key: Vec<u8>, until: Instant, answer: Sender<Result<Vec<u8>, AttesterError>> },
    HandOver { uid: u32, gid: u32, answer: Sender<Result<(), AttesterError>> },
}

impl Hardware {
    pub(crate) fn start(device: impl Device) -> Self {
        Self::with_deadline(device, DEADLINE)
    }

    pub(crate) fn with_deadline(device: impl Device, deadline: Duration) -> Self {
        let platform = device.platform();
        let (requests, queue) = channel();
        std::thread::spawn(move || serve(device, &queue));
        Self { platform, requests, deadline }
    }

    fn wait<T>(&self, answer: &Receiver<Result<T, AttesterError>>) -> Result<T, AttesterError> {
        wait(self.deadline, answer)
    }
}

impl Attester for Hardware {
    fn platform(&self) -> Platform {
        self.platform
    }

    fn evidence(&self, report_data: &[u8; 64]) -> Result<RawEvidence, AttesterError> {
        let (answer, answered) = channel();
        let until = Instant::now() + self.deadline;
        let request = Request::Evidence { report_data: *report_data, until, answer };
        self.requests.send(request).map_err(|_| AttesterError::Stopped)?;
        let raw = self.wait(&answered)?;
        echo::check(&raw, report_data)?;
        Ok(raw)
    }

    fn recipient(&self, public_key: &[u8]) -> Result<Vec<u8>, AttesterError> {
        let (answer, answered) = channel();
        let until = Instant::now() + self.deadline;
        let request = Request::Recipient { public_key: public_key.to_vec(), until, answer };
        self.requests.send(request).map_err(|_| AttesterError::Stopped)?;
        let document = self.wait(&answered)?;
        echo::check_recipient(&document, public_key)?;
        Ok(document)
    }

    fn simulated(&self) -> bool {
        false
    }

    fn hand_over(&self, uid: u32, gid: u32) -> Result<(), AttesterError> {
        let (answer, answered) = channel();
        self.requests.send(Request::HandOver { uid, gid, answer }).map_err(|_| AttesterError::Stopped)?;
        self.wait(&answered)
    }
}

/// The result of something that may block for as long as a device likes, on a thread of its own.
pub(crate) fn within<T: Send + 'static>(
    deadline: Duration,
    work: impl FnOnce() -> Result<T, AttesterError> + Send + 'static,
) -> Result<T, AttesterError> {
    let (answer, answered) = channel();
    std::thread::spawn(move || answer.send(work()));
    wait(deadline, &answered)
}

fn wait<T>(deadline: Duration, answer: &Receiver<Result<T, AttesterError>>) -> Result<T, AttesterError> {
    answer.recv_timeout(deadline).unwrap_or_else(|e| match e {
        RecvTimeoutError::Timeout => Err(AttesterError::Timeout { seconds: deadline.as_secs() }),
        RecvTimeoutError::Disconnected => Err(AttesterError::Stopped),
    })
}

/// Until the [`Hardware`] is dropped; the device is then dropped with its thread.
fn serve(mut device: impl Device, queue: &Receiver<Request>) {
    for request in queue {
        // Whoever asked may have stopped waiting: then nobody takes the answer.
        match request {
            // Nor is anything made for somebody who has stopped waiting.
            Request::Evidence { until, .. } | Request::Recipient { until, .. } if Instant::now() >= until => {
            }
            Request::Evidence { report_data, answer, .. } => {
                let _ = answer.send(device.evidence(&report_data));
            }
            Request::Recipient { public_key, answer, .. } => {
                let _ = answer.send(device.recipient(&public_key));
            }
            Request::HandOver { uid, gid, answer } => {
                let _ = answer.send(device.hand_over(uid, gid));
            }
        }
    }
}

/// As long as Linux waits for a TD's quote service (30 s in tdx-guest), and far beyond what any platform needs.
const DEADLINE: Duration = Duration::from_secs(32);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attester::Brought;
    use std::sync::LazyLock;

    use casemate_attest::UnixTime;
    use casemate_attest::snp::ProductLine;
    use casemate_sim::{Machine, MachineConfig, Vendor};

    /// Keys take seconds to make: one machine for all cases.
    static MACHINE: LazyLock<Machine> = LazyLock::new(|| {
        let vendor = Vendor::create(ProductLine::Genoa, UnixTime(1_767_225_600)).unwrap();
        vendor.machine(&MachineConfig::new([7; 48])).unwrap()
    });

    struct Scripted(fn(&Machine, &[u8; 64]) -> RawEvidence);

    impl Device for Scripted {
        fn platform(&self) -> Platform {
            Platform::SevSnp
        }
        fn evidence(&mut self, report_data: &[u8; 64]) -> Result<RawEvidence, AttesterError> {
            Ok((self.0)(&MACHINE, report_data))
        }
    }

    fn attester(script: fn(&Machine, &[u8; 64]) -> RawEvidence) -> Hardware {
        LazyLock::force(&MACHINE);
        Hardware::with_deadline(Scripted(script), Duration::from_millis(800))
    }

    fn raw(platform: Platform, evidence: Vec<u8>) -> RawEvidence {
        RawEvidence { platform, evidence, endorsements: Brought::default() }
    }

    fn code(script: fn(&Machine, &[u8; 64]) -> RawEvidence) -> &'static str {
        attester(script).evidence(&[5; 64]).err().map_or("none", |e| e.code())
    }

    #[test]
    fn only_a_nitro_enclave_names_a_recipient() {
        let refused = attester(|m, data| raw(Platform::SevSnp, m.report(data).unwrap())).recipient(b"a key");
        assert_eq!(refused.unwrap_err().code(), "attester.no-recipient");
    }

    #[test]
    fn own_evidence_passes() {
        assert_eq!(code(|m, data| raw(Platform::SevSnp, m.report(data).unwrap())), "none");
    }

    #[test]
    fn foreign_short_and_late_answers_have_their_names() {
        let one_bit = |m: &Machine, data: &[u8; 64]| {
            let mut other = *data;
            other[63] ^= 1;
            raw(Platform::SevSnp, m.report(&other).unwrap())
        };
        assert_eq!(code(one_bit), "attester.echo");
        assert_eq!(code(|m, _| raw(Platform::SevSnp, m.report(&[0; 64]).unwrap())), "attester.echo");
        let short =
            |m: &Machine, data: &[u8; 64]| raw(Platform::SevSnp, m.report(data).unwrap()[..1183].into());
        assert_eq!(code(short), "attester.evidence");
        assert_eq!(code(|_, _| raw(Platform::SevSnp, Vec::new())), "attester.evidence");
        let other = |m: &Machine, data: &[u8; 64]| raw(Platform::Nitro, m.report(data).unwrap());
        assert_eq!(code(other), "attester.platform");
        let late = |m: &Machine, data: &[u8; 64]| {
            std::thread::sleep(Duration::from_secs(4));
            raw(Platform::SevSnp, m.report(data).unwrap())
        };
        let started = Instant::now();
        assert_eq!(code(late), "attester.timeout");
        assert!(started.elapsed() < Duration::from_millis(3500));
        assert_eq!(code(|_, _| panic!("a fault of ours")), "attester.stopped");
    }
}
