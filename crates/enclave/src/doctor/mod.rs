//! Whether `serve` could start on this machine, and what would keep it from it (spec/doctor.md): `casemate doctor`.
//!
//! Each check is a function over a `Scene`: a directory in place of `/`, the processor's answers and the kernel's. So the
//! code that looks at this machine is the code that the tests run over a machine of their own. Nothing is changed, nothing is
//! sent but what a person asked for, and what is printed of firmware and kernel is made plain first.

mod clock;
mod devices;
mod gpu;
#[allow(unsafe_code)]
mod kernel;
mod memory;
mod network;
mod processor;
mod programs;
mod rule;
mod scene;
mod tee;

use std::thread;

pub use network::{broker, endorsement_service};
pub use rule::{Check, Outcome};
use scene::Scene;

/// What the machine says of itself. Believed by nobody: firmware and hypervisor are the host's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Machine {
    /// The kernel's release.
    pub kernel: Option<String>,
    /// The processor's name.
    pub processor: Option<String>,
    /// The hypervisor's signature; none where the processor shows none.
    pub hypervisor: Option<String>,
    /// Who made the machine, by its firmware.
    pub vendor: Option<String>,
    /// Which machine it is, by its firmware.
    pub product: Option<String>,
    /// NVIDIA GPUs on its bus; none where the bus cannot be read.
    pub gpus: Option<usize>,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnosis {
    /// What the machine says of itself.
    pub machine: Machine,
    /// Every check, in the order of the rules.
    pub checks: Vec<Check>,
}

/// What a person asked for beyond looking.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Asked {
    /// On an Azure VM: ask the metadata service for what evidence needs.
    pub metadata_service: bool,
}

/// Looks at this machine. It takes less than two seconds, and up to ten where the metadata service is asked.
pub fn examine(asked: Asked) -> Diagnosis {
    Scene::system(asked).examine()
}

impl Scene {
    fn examine(&self) -> Diagnosis {
        // Both may wait for a driver, each no longer than its own limit.
        let (tee, gpu) = thread::scope(|scope| {
            let gpu = scope.spawn(|| gpu::check(self));
            (tee::checks(self), gpu.join())
        });
        let mut checks = tee;
        checks.extend(devices::checks(self));
        checks.extend(memory::checks(self));
        checks.extend(programs::checks(self));
        checks.extend(clock::checks(self));
        checks.push(gpu.unwrap_or_else(|_| gpu::stopped()));
        Diagnosis { machine: self.machine(), checks }
    }

    fn machine(&self) -> Machine {
        let text = |path: &str| self.read(path).ok().map(|text| rule::plain(&text)).filter(|t| !t.is_empty());
        Machine {
            kernel: text("proc/sys/kernel/osrelease"),
            processor: processor::model(self),
            hypervisor: processor::hypervisor(self),
            vendor: text("sys/class/dmi/id/sys_vendor"),
            product: text("sys/class/dmi/id/product_name"),
            gpus: gpu::count(self).ok(),
        }
    }
}

#[cfg(test)]
mod tests;
