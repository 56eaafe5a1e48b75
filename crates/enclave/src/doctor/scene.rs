//! What is looked at. Data, so that the same code runs over a machine of the tests' own.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Asked;
use super::gpu::Driver;
use super::kernel::Calls;
use crate::attester::Roots;

/// EAX, EBX, ECX and EDX of a leaf and a subleaf.
pub(crate) type Cpuid = dyn Fn(u32, u32) -> [u32; 4] + Send + Sync;

/// A machine to look at.
pub(crate) struct Scene {
    /// In place of `/`.
    pub(crate) root: PathBuf,
    /// Where the attesters look.
    pub(crate) roots: Roots,
    /// The processor's word.
    pub(crate) cpuid: Box<Cpuid>,
    /// The kernel's answers.
    pub(crate) calls: Calls,
    /// NVIDIA's driver, asked only where there is a GPU.
    pub(crate) driver: fn() -> Driver,
    /// Seconds since 1970, by the machine's clock.
    pub(crate) now: u64,
    /// How long a device may take.
    pub(crate) patience: Duration,
    /// What a person asked for.
    pub(crate) asked: Asked,
}

impl Scene {
    /// This machine.
    pub(crate) fn system(asked: Asked) -> Self {
        Self {
            root: "/".into(),
            roots: Roots::system(),
            cpuid: Box::new(super::processor::cpuid),
            calls: Calls::make(),
            driver: super::gpu::ask,
            now: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
            patience: if asked.metadata_service { WITH_METADATA } else { PATIENCE },
            asked,
        }
    }

    /// A path below the root.
    pub(crate) fn at(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// A file of the kernel or of the firmware, as text.
    pub(crate) fn read(&self, path: &str) -> io::Result<String> {
        read(&self.at(path))
    }
}

/// At most [`MAX_TEXT`] bytes; what is not UTF-8 is replaced.
pub(crate) fn read(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_TEXT).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// /proc/cpuinfo has 2 KiB for each of the machine's processors, and the first is enough.
const MAX_TEXT: u64 = 64 * 1024;
/// A report takes milliseconds, a quote under a second.
pub(crate) const PATIENCE: Duration = Duration::from_millis(1500);
/// The metadata service has eight seconds of its own.
const WITH_METADATA: Duration = Duration::from_secs(10);
