//! DOC-40: whether NVIDIA's GPUs compute confidentially, as NVIDIA's own library says (NVML, "Confidential Compute").
//!
//! The library is loaded only where a GPU is on the bus. Nothing here was run against a driver.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::sync::mpsc::channel;

use nvml_wrapper::Nvml;
use nvml_wrapper::error::NvmlError;

use super::rule::{Check, Rule};
use super::scene::{Scene, read};

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
}

/// One for all GPUs of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) on: bool,
    /// Several GPUs with the traffic between them and the processor encrypted (PPCIe), in place of the mode of one.
    pub(crate) protected_pcie: bool,
    /// Debuggers can read it.
    pub(crate) developer: bool,
    /// Whether it takes work: a verifier of its evidence sets that.
    pub(crate) ready: bool,
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
            RULE.warn(found("no NVIDIA driver"), "serve does not use GPUs; nothing says what this one does")
        }
        Driver::Refuses(reason) => {
            RULE.unknown(found(reason), "run it as root, with the driver's library beside it")
        }
        Driver::NotSupported => RULE.warn(
            found("no confidential computing"),
            "serve does not use GPUs; for confidential computing it takes a Hopper or newer",
        ),
        Driver::State(State { on: false, protected_pcie: false, .. }) => RULE.warn(
            found("confidential computing is off"),
            "serve does not use GPUs; the host turns it on before the machine starts",
        ),
        Driver::State(State { developer: true, .. }) => RULE.warn(
            found("in developers' mode: its memory can be read"),
            "the host must set it to `on`, not to `devtools`",
        ),
        Driver::State(State { ready: false, .. }) => RULE.warn(
            found("confidential computing is on, and no work is accepted yet"),
            "verify the GPU's evidence, then set it ready (`nvidia-smi conf-compute -srs 1`)",
        ),
        Driver::State(State { on: true, .. }) => RULE.pass(found("confidential computing is on and ready")),
        Driver::State(_) => RULE.pass(found("protected PCIe is on and ready")),
    }
}

/// Asks the library by the name that the driver's installation gives it.
pub(crate) fn ask() -> Driver {
    ask_library(OsStr::new("libnvidia-ml.so.1"))
}

fn ask_library(library: &OsStr) -> Driver {
    let state = || -> Result<State, NvmlError> {
        let nvml = Nvml::builder().lib_path(library).init()?;
        // The state is the machine's; the wrapper has it on its devices.
        let device = nvml.device_by_index(0)?;
        Ok(State {
            on: device.is_cc_enabled()?,
            protected_pcie: device.is_multi_gpu_protected_pcie_enabled()?,
            developer: device.is_cc_dev_mode_enabled()?,
            ready: device.get_confidential_compute_state()?,
        })
    };
    match state() {
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
    use super::*;

    #[test]
    fn without_the_library_there_is_no_driver() {
        assert_eq!(ask_library(OsStr::new("/nonexistent/libnvidia-ml.so.1")), Driver::None);
        // A library, but another one.
        let other = ask_library(OsStr::new("libc.so.6"));
        assert_eq!(other, Driver::NotSupported);
    }
}
