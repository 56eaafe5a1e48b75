//! A driver of GPUs on a thread of its own: one request at a time, each with a deadline.
//!
//! As with the CPU's devices (`attester::hardware`), a call into a driver can block for as long as the host likes; whoever
//! asks waits for the answer and not for the driver.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use super::nvml::State;
use super::{GpuError, RawGpu};

/// What a driver of GPUs can be asked. One caller at a time.
pub(super) trait Driver {
    /// How many GPUs there are.
    fn count(&mut self) -> Result<u32, GpuError>;
    /// One answer for all of them.
    fn state(&mut self) -> Result<State, GpuError>;
    /// Report and chain of one.
    fn evidence(&mut self, index: u32, nonce: &[u8; 32]) -> Result<RawGpu, GpuError>;
    /// Report and chain of each switch between them, where the machine shows its switches.
    fn switches(&mut self, nonce: &[u8; 32]) -> Result<Vec<RawGpu>, GpuError>;
    /// Lets all of them take work.
    fn accept_work(&mut self) -> Result<(), GpuError>;
}

/// The thread of a driver.
pub(super) struct Asked {
    requests: Sender<Request>,
    deadline: Duration,
}

enum Request {
    Evidence { nonce: [u8; 32], until: Instant, answer: Sender<Result<Vec<RawGpu>, GpuError>> },
    LetWork { answer: Sender<Result<(), GpuError>> },
}

impl Asked {
    /// Opens the driver on its thread, and says how it went.
    pub(super) fn start<D: Driver>(
        open: impl FnOnce() -> Result<D, GpuError> + Send + 'static,
        deadline: Duration,
    ) -> Result<Self, GpuError> {
        let (requests, queue) = channel();
        let (opened, answer) = channel();
        std::thread::spawn(move || match open() {
            Ok(driver) => {
                let _ = opened.send(Ok(()));
                serve(driver, &queue);
            }
            Err(error) => drop(opened.send(Err(error))),
        });
        wait(deadline, &answer)?;
        Ok(Self { requests, deadline })
    }

    pub(super) fn evidence(&self, nonce: &[u8; 32]) -> Result<Vec<RawGpu>, GpuError> {
        let (answer, answered) = channel();
        let until = Instant::now() + self.deadline;
        self.ask(Request::Evidence { nonce: *nonce, until, answer }, &answered)
    }

    pub(super) fn let_work(&self) -> Result<(), GpuError> {
        let (answer, answered) = channel();
        self.ask(Request::LetWork { answer }, &answered)
    }

    fn ask<T>(&self, request: Request, answer: &Receiver<Result<T, GpuError>>) -> Result<T, GpuError> {
        self.requests.send(request).map_err(|_| GpuError::Stopped)?;
        wait(self.deadline, answer)
    }
}

fn wait<T>(deadline: Duration, answer: &Receiver<Result<T, GpuError>>) -> Result<T, GpuError> {
    answer.recv_timeout(deadline).unwrap_or_else(|error| match error {
        RecvTimeoutError::Timeout => Err(GpuError::Timeout { seconds: deadline.as_secs() }),
        RecvTimeoutError::Disconnected => Err(GpuError::Stopped),
    })
}

/// Until the [`Asked`] is dropped.
fn serve(mut driver: impl Driver, queue: &Receiver<Request>) {
    for request in queue {
        // Whoever asked may have stopped waiting: then nobody takes the answer, and nothing is made for them.
        match request {
            Request::Evidence { until, .. } if Instant::now() >= until => {}
            Request::Evidence { nonce, answer, .. } => {
                let _ = answer.send(evidence(&mut driver, &nonce));
            }
            Request::LetWork { answer } => {
                let _ = answer.send(let_work(&mut driver));
            }
        }
    }
}

/// Every time anew: the mode of the GPUs is asked with their evidence.
fn evidence(driver: &mut impl Driver, nonce: &[u8; 32]) -> Result<Vec<RawGpu>, GpuError> {
    let count = driver.count()?;
    if count == 0 {
        return Err(GpuError::NoGpu);
    }
    let state = driver.state()?;
    confidential(state)?;
    let mut devices = (0..count).map(|index| driver.evidence(index, nonce)).collect::<Result<Vec<_>, _>>()?;
    // ATT-77: in this mode what goes from one GPU to another is not encrypted, and switches can read it.
    if state.protected_pcie {
        let switches = driver.switches(nonce)?;
        if switches.is_empty() {
            return Err(GpuError::NoSwitch);
        }
        devices.extend(switches);
    }
    Ok(devices)
}

fn confidential(state: State) -> Result<(), GpuError> {
    match state {
        State { developer: true, .. } => Err(GpuError::Developer),
        State { on: false, protected_pcie: false, .. } => Err(GpuError::Off),
        State { .. } => Ok(()),
    }
}

/// Somebody before us may have let them; only root may.
fn let_work(driver: &mut impl Driver) -> Result<(), GpuError> {
    if driver.state()?.ready {
        return Ok(());
    }
    driver.accept_work()?;
    if driver.state()?.ready { Ok(()) } else { Err(GpuError::NotReady) }
}
