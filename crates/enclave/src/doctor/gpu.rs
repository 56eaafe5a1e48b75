//! DOC-40: whether NVIDIA's GPUs compute confidentially, as NVIDIA's own library says (NVML, "Confidential Compute").
//!
//! The library is loaded only where a GPU is on the bus. Nothing here was run against a driver.

use std::io;
use std::path::Path;
use std::sync::mpsc::channel;

use nvml_wrapper::error::NvmlError;

use super::rule::{Check, Rule};
use super::scene::{Scene, read};
use crate::gpu::{GpuError, Nscq, State, library_state};

const RULE: Rule = Rule("DOC-40", "gpu.confidential");

/// What NVIDIA's driver says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Driver {
    /// No library, or no driver behind it.
    None,
    /// The driver, the GPU or this user's rights do not let it say.
    Refuses(String),
    /// GPU or driver know no confidential computing.
    NotSupported,
    /// It says.
    State(State),
    /// It says that several GPUs protect PCIe together; how their switches are.
    Protected(State, Result<usize, &'static str>),
}

/// GPUs of NVIDIA on the bus.
pub(crate) fn count(scene: &Scene) -> io::Result<usize> {
    let directory = scene.at("sys/bus/pci/devices");
    let entries = match directory.read_dir() {
        // A machine without such a bus.
        Err(error) if error.kind() == io::ErrorKind::NotFound && scene.at("sys/bus").is_dir() => {
            return Ok(0);
        }
        entries => entries?,
    };
    let mut gpus = 0;
    for entry in entries {
        gpus += usize::from(is_gpu(&entry?.path())?);
    }
    Ok(gpus)
}

/// NVIDIA's number, and the class of displays and of processors that show nothing (PCI Code and ID Assignment, 0x03).
fn is_gpu(device: &Path) -> io::Result<bool> {
    let starts = |name, with: &str| read(&device.join(name)).map(|text| text.starts_with(with));
    Ok(starts("vendor", "0x10de")? && starts("class", "0x03")?)
}

pub(crate) fn check(scene: &Scene) -> Check {
    match count(scene) {
        Err(error) => RULE.unreadable("sys/bus/pci/devices", &error),
        Ok(0) => RULE.pass("no NVIDIA GPU; serve computes on the processor"),
        Ok(gpus) => {
            // The library waits for a driver that may wait for a GPU.
            let (answer, answered) = channel();
            let ask = scene.driver;
            std::thread::spawn(move || answer.send(ask()));
            match answered.recv_timeout(scene.patience) {
                Ok(driver) => judge(gpus, &driver),
                Err(_) => RULE.unknown(
                    format!("{gpus} of NVIDIA; the driver gave no answer within {:?}", scene.patience),
                    "try again: the first answer takes longer where nvidia-persistenced does not run",
                ),
            }
        }
    }
}

/// The check itself broke.
pub(crate) fn stopped() -> Check {
    RULE.unknown("the check ended before it was made", "this is a fault of ours")
}

pub(crate) fn judge(gpus: usize, driver: &Driver) -> Check {
    let found = |what: &str| format!("{gpus} of NVIDIA: {what}");
    match driver {
        Driver::None => {
            RULE.warn(found("no NVIDIA driver"), "serve computes on the processor, and --gpu-policy would fail")
        }
        Driver::Refuses(reason) => {
            RULE.unknown(found(reason), "run it as root, with the driver's library beside it")
        }
        Driver::NotSupported => RULE.warn(
            found("no confidential computing"),
            "serve computes on the processor; --gpu-policy takes a Hopper or newer",
        ),
        // Also where the GPUs do not take work yet: without its switches such a machine never lets them.
        Driver::Protected(State { developer: false, .. }, Err(code)) => RULE.warn(
            found(&format!("protected PCIe is on, and its switches give no evidence ({code})")),
            "--gpu-policy would fail: it needs libnvidia-nscq, and the host's switches, locked",
        ),
        Driver::Protected(State { developer: false, ready: true, .. }, Ok(switches)) => {
            RULE.pass(found(&format!("protected PCIe is on and ready, with {switches} switches")))
        }
        Driver::Protected(state, _) => judge(gpus, &Driver::State(*state)),
        Driver::State(State { on: false, protected_pcie: false, .. }) => RULE.warn(
            found("confidential computing is off"),
            "serve computes on the processor, and --gpu-policy would fail; the host turns it on before the machine starts",
        ),
        Driver::State(State { developer: true, .. }) => RULE.warn(
            found("in developers' mode: its memory can be read"),
            "--gpu-policy would fail: the host must set it to `on`, not to `devtools`",
        ),
        Driver::State(State { ready: false, .. }) => RULE.warn(
            found("confidential computing is on, and no work is accepted yet"),
            "serve with --gpu-policy verifies the GPUs' evidence, and then lets them work",
        ),
        Driver::State(State { on: true, .. }) => RULE.pass(found("confidential computing is on and ready")),
        Driver::State(_) => RULE.pass(found("protected PCIe is on and ready")),
    }
}

/// Asks NVIDIA's library.
pub(crate) fn ask() -> Driver {
    match judge_library(library_state()) {
        Driver::State(state) if state.protected_pcie => {
            Driver::Protected(state, switches().map_err(|error| error.code()))
        }
        driver => driver,
    }
}

fn switches() -> Result<usize, GpuError> {
    match Nscq::open()?.locked()?.len() {
        0 => Err(GpuError::NoSwitch),
        some => Ok(some),
    }
}

fn judge_library(state: Result<State, NvmlError>) -> Driver {
    match state {
        Ok(state) => Driver::State(state),
        Err(NvmlError::LibloadingError(_) | NvmlError::DriverNotLoaded | NvmlError::LibraryNotFound) => {
            Driver::None
        }
        Err(NvmlError::NotSupported | NvmlError::FailedToLoadSymbol(_) | NvmlError::FunctionNotFound) => {
            Driver::NotSupported
        }
        Err(error) => Driver::Refuses(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;
    use crate::gpu::state_by;

    #[test]
    fn without_the_library_there_is_no_driver() {
        let ask = |library| judge_library(state_by(OsStr::new(library)));
        assert_eq!(ask("/nonexistent/libnvidia-ml.so.1"), Driver::None);
        // A library, but another one.
        assert_eq!(ask("libc.so.6"), Driver::NotSupported);
    }
}
