//! A directory of configfs-tsm: `mkdir` makes it, `rmdir` removes it with its attributes.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_lc_rs::rand::{SecureRandom, SystemRandom};

use super::{Attributes, TsmError};
use crate::attester::AttesterError;

/// An entry that this process made.
pub(crate) struct Entry {
    directory: PathBuf,
}

impl Entry {
    pub(crate) fn create(root: &Path) -> Result<Self, AttesterError> {
        let mut random = [0; 16];
        SystemRandom::new().fill(&mut random).map_err(|_| AttesterError::Randomness)?;
        let directory = root.join(format!("casemate-{}", hex::encode(random)));
        fs::create_dir(&directory).map_err(|source| not_made(&directory, source))?;
        let entry = Self { directory };
        entry.settle();
        Ok(entry)
    }

    /// The kernel makes attributes with their directory. A file system in user space that stands in for it may need a
    /// moment; an attribute that is not there after it is an error where it is read.
    fn settle(&self) {
        for _ in 0..SETTLE_STEPS {
            if self.directory.join("provider").exists() {
                return;
            }
            std::thread::sleep(SETTLE_STEP);
        }
    }
}

fn not_made(directory: &Path, source: io::Error) -> AttesterError {
    match source.raw_os_error() {
        // What the kernel says where no provider is registered.
        Some(libc::ENXIO) => TsmError::NoProvider.into(),
        _ => AttesterError::Device { what: "make", path: directory.to_owned(), source },
    }
}

impl Attributes for Entry {
    fn read(&self, name: &'static str, limit: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(self.directory.join(name))?.take(limit as u64 + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn write(&self, name: &'static str, bytes: &[u8]) -> io::Result<()> {
        // configfs takes a binary attribute when its file is closed, and says there what it thinks of it; what it says is
        // lost, as close always is. The generation then stays behind, which is seen.
        OpenOptions::new().write(true).open(self.directory.join(name))?.write_all(bytes)
    }

    fn hand_over(&self, uid: u32, gid: u32) -> io::Result<()> {
        for attribute in fs::read_dir(&self.directory)? {
            std::os::unix::fs::lchown(attribute?.path(), Some(uid), Some(gid))?;
        }
        Ok(())
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        // After privileges were dropped the directory is root's and stays until the machine ends: it is this guest's own.
        if let Err(error) = fs::remove_dir(&self.directory) {
            tracing::debug!(%error, "a configfs-tsm entry stays behind");
        }
    }
}

const SETTLE_STEPS: u32 = 50;
const SETTLE_STEP: Duration = Duration::from_millis(4);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_says_of_a_new_entry_has_a_name() {
        let of = |number| not_made(Path::new("/x"), io::Error::from_raw_os_error(number));
        assert_eq!(of(libc::ENXIO).code(), "attester.tsm.no-provider");
        let denied = of(libc::EACCES);
        assert_eq!(denied.code(), "attester.device");
        assert!(denied.hint().is_some_and(|hint| hint.contains("root")));
        let gone = Entry::create(Path::new("/nonexistent")).err().map(|e| e.code());
        assert_eq!(gone, Some("attester.device"));
    }
}
