//! NVIDIA's management library (NVML, "Confidential Compute"), loaded at run time by the name that the driver's installation
//! gives it. Nothing here was run against a driver.

use std::ffi::OsStr;
use std::time::Duration;

use casemate_attest::nvidia::VerifiedSet;
use nvml_wrapper::Nvml;
use nvml_wrapper::error::NvmlError;

use super::driver::{Asked, Driver};
use super::nscq::Nscq;
use super::{GpuAttester, GpuError, RawGpu};

/// What the driver says of all GPUs of the machine.
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

/// The GPUs of this machine, as NVIDIA's driver has them.
pub struct NvmlGpus(Asked);

impl NvmlGpus {
    /// Loads the library.
    ///
    /// # Errors
    /// [`GpuError::NoDriver`] and the like.
    pub fn open() -> Result<Self, GpuError> {
        Self::of_library(OsStr::new(LIBRARY))
    }

    fn of_library(library: &'static OsStr) -> Result<Self, GpuError> {
        let open = move || {
            let nvml = Nvml::builder().lib_path(library).init().map_err(failed("be loaded"))?;
            Ok(Library { nvml, nscq: None })
        };
        Ok(Self(Asked::start(open, PATIENCE)?))
    }
}

impl GpuAttester for NvmlGpus {
    fn evidence(&self, nonce: &[u8; 32]) -> Result<Vec<RawGpu>, GpuError> {
        self.0.evidence(nonce)
    }

    fn let_work(&self, _verified: &VerifiedSet) -> Result<(), GpuError> {
        self.0.let_work()
    }
}

/// The state that the driver's own library tells, for the doctor.
pub(crate) fn library_state() -> Result<State, NvmlError> {
    state_by(OsStr::new(LIBRARY))
}

pub(crate) fn state_by(library: &OsStr) -> Result<State, NvmlError> {
    state(&Nvml::builder().lib_path(library).init()?)
}

/// The state is the machine's; the wrapper has it on its devices.
fn state(nvml: &Nvml) -> Result<State, NvmlError> {
    let device = nvml.device_by_index(0)?;
    Ok(State {
        on: device.is_cc_enabled()?,
        protected_pcie: device.is_multi_gpu_protected_pcie_enabled()?,
        developer: device.is_cc_dev_mode_enabled()?,
        ready: device.get_confidential_compute_state()?,
    })
}

struct Library {
    nvml: Nvml,
    /// Asked from the first machine of several GPUs on that shows its switches.
    nscq: Option<Nscq>,
}

impl Driver for Library {
    fn count(&mut self) -> Result<u32, GpuError> {
        self.nvml.device_count().map_err(failed("count the GPUs"))
    }

    fn state(&mut self) -> Result<State, GpuError> {
        state(&self.nvml).map_err(failed("say whether the GPUs compute confidentially"))
    }

    fn evidence(&mut self, index: u32, nonce: &[u8; 32]) -> Result<RawGpu, GpuError> {
        let device = self.nvml.device_by_index(index).map_err(failed("open a GPU"))?;
        let report = device.confidential_compute_gpu_attestation_report(*nonce);
        let report = report.map_err(failed("make a GPU's report"))?.attestation_report;
        let chain = device.confidential_compute_gpu_certificate();
        let chain = chain.map_err(failed("give a GPU's certificates"))?.attestation_cert_chain;
        Ok(RawGpu { report, chain })
    }

    fn switches(&mut self, nonce: &[u8; 32]) -> Result<Vec<RawGpu>, GpuError> {
        let nscq = match &mut self.nscq {
            Some(nscq) => nscq,
            empty => empty.insert(Nscq::open()?),
        };
        nscq.evidence(nonce)
    }

    fn accept_work(&mut self) -> Result<(), GpuError> {
        let what = "let the GPUs work";
        let device = self.nvml.device_by_index(0).map_err(failed(what))?;
        device.set_confidential_compute_state(true).map_err(failed(what))
    }
}

fn failed(what: &'static str) -> impl Fn(NvmlError) -> GpuError {
    move |error| match error {
        NvmlError::LibloadingError(_) | NvmlError::DriverNotLoaded | NvmlError::LibraryNotFound => {
            GpuError::NoDriver
        }
        NvmlError::NotSupported | NvmlError::FailedToLoadSymbol(_) | NvmlError::FunctionNotFound => {
            GpuError::NotSupported
        }
        error => GpuError::Driver { what, reason: error.to_string() },
    }
}

/// By the name that the driver's installation gives it.
const LIBRARY: &str = "libnvidia-ml.so.1";
/// As for the CPU's devices. All GPUs are asked one after the other, and the first call may wait for the driver to wake up.
const PATIENCE: Duration = Duration::from_secs(32);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_the_library_there_is_no_driver() {
        let code = |library| NvmlGpus::of_library(OsStr::new(library)).err().map(|error| error.code());
        assert_eq!(code("/nonexistent/libnvidia-ml.so.1"), Some("gpu.no-driver"));
        assert_eq!(code("libc.so.6"), Some("gpu.not-supported"), "a library, but another one");
    }
}
