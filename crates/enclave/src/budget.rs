//! Whether a model fits into this machine's memory, before it is loaded: what does not fit is refused with the numbers, and not by
//! the kernel in the middle of a request (spec/serving.md, SRV-58).

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use casemate_engine::MemoryNeed;

/// The model does not fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{} are needed ({} of weights, {} of attention cache for {} tokens, {} of buffers; {} are there already) and {} are available ({bound})",
    Mib(need.total()), Mib(need.weights), Mib(need.cache), need.cache_tokens, Mib(need.buffers), Mib(*there), Mib(*available)
)]
pub struct MemoryError {
    /// All that is needed, as far as it is known.
    pub need: MemoryNeed,
    /// What of it is in memory already.
    pub there: u64,
    /// What can be had.
    pub available: u64,
    /// Who says so.
    pub bound: Bound,
}

/// What bounds the memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// The machine: MemAvailable of /proc/meminfo.
    Machine,
    /// The control group of this process, or one above it.
    ControlGroup,
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Machine => "MemAvailable of this machine",
            Self::ControlGroup => "the limit of this process's control group",
        })
    }
}

/// Checks that so much can be had now, of which `there` bytes are in memory already. A system that says nothing about its memory bounds
/// nothing.
///
/// # Errors
/// [`MemoryError`], by the bound that leaves the least.
pub(crate) fn check(need: MemoryNeed, there: u64) -> Result<(), MemoryError> {
    within(need, there, Path::new("/"))
}

/// As [`check`], on a system whose files are below `root`.
fn within(need: MemoryNeed, there: u64, root: &Path) -> Result<(), MemoryError> {
    let bounds = [(machine(root), Bound::Machine), (control_group(root), Bound::ControlGroup)];
    let known = bounds.into_iter().filter_map(|(bytes, bound)| Some((bytes?, bound)));
    match known.min_by_key(|(bytes, _)| *bytes) {
        Some((available, bound)) if need.total().saturating_sub(there) > available => {
            Err(MemoryError { need, there, available, bound })
        }
        _ => Ok(()),
    }
}

/// Of the whole machine.
fn machine(root: &Path) -> Option<u64> {
    let text = fs::read_to_string(root.join("proc/meminfo")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

/// Of the control group, and of all above it: version 2, or the memory controller of version 1.
fn control_group(root: &Path) -> Option<u64> {
    let text = fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    let groups = text.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        let path = path.trim_start_matches('/');
        match controllers {
            "" => Some((root.join("sys/fs/cgroup"), path, ["memory.max", "memory.current"])),
            controllers if controllers.split(',').any(|c| c == "memory") => {
                let files = ["memory.limit_in_bytes", "memory.usage_in_bytes"];
                Some((root.join("sys/fs/cgroup/memory"), path, files))
            }
            _ => None,
        }
    });
    groups.filter_map(|(mount, path, files)| left(&mount, path, files)).min()
}

/// The least that a group or one above it leaves. In a container the path may name nothing below the mount: then the mount itself is
/// the group.
fn left(mount: &Path, path: &str, [limit, usage]: [&str; 2]) -> Option<u64> {
    let mut group: PathBuf = mount.join(path);
    let mut least = None;
    loop {
        let number = |name| fs::read_to_string(group.join(name)).ok()?.trim().parse::<u64>().ok();
        if let (Some(limit), Some(usage)) = (number(limit), number(usage)) {
            // Pages of files that nobody has changed are given back when somebody needs them.
            let left = limit.saturating_sub(usage).saturating_add(inactive(&group));
            least = Some(least.map_or(left, |least: u64| least.min(left)));
        }
        if group == mount || !group.pop() {
            return least;
        }
    }
}

fn inactive(group: &Path) -> u64 {
    let text = fs::read_to_string(group.join("memory.stat")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("inactive_file "));
    line.and_then(|number| number.trim().parse().ok()).unwrap_or(0)
}

/// A number of bytes for people.
struct Mib(u64);

impl fmt::Display for Mib {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} MiB", self.0.div_ceil(1 << 20))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn need(total: u64) -> MemoryNeed {
        MemoryNeed { weights: total - 3 * MIB, cache: 2 * MIB, buffers: MIB, cache_tokens: 4096 }
    }

    fn system(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    fn available(files: &[(&str, &str)]) -> Option<(u64, Bound)> {
        let root = system(files);
        let error = within(need(u64::MAX / 2), 0, root.path()).err()?;
        assert_eq!(within(need(error.available), 0, root.path()), Ok(()), "exactly as much fits");
        assert!(within(need(error.available + 1), 0, root.path()).is_err(), "one byte more does not");
        assert_eq!(
            within(need(error.available + MIB), MIB, root.path()),
            Ok(()),
            "what is there is not needed again"
        );
        Some((error.available, error.bound))
    }

    #[test]
    fn the_least_of_all_bounds_counts() {
        let machine = ("proc/meminfo", "MemTotal: 900000 kB\nMemAvailable:  102400 kB\n");
        assert_eq!(available(&[machine]), Some((100 * MIB, Bound::Machine)));
        let own = ("proc/self/cgroup", "0::/a/b\n");
        let group = |name| (name, "");
        let (max, current) = ("sys/fs/cgroup/a/b/memory.max", "sys/fs/cgroup/a/b/memory.current");
        let limited = [machine, own, (max, "94371840\n"), (current, "31457280\n")];
        assert_eq!(available(&limited), Some((60 * MIB, Bound::ControlGroup)));
        let stat = ("sys/fs/cgroup/a/b/memory.stat", "anon 5\ninactive_file 10485760\n");
        assert_eq!(available(&[&limited[..], &[stat]].concat()), Some((70 * MIB, Bound::ControlGroup)));
        let above = [("sys/fs/cgroup/a/memory.max", "20971520"), ("sys/fs/cgroup/a/memory.current", "0")];
        assert_eq!(available(&[&limited[..], &above].concat()), Some((20 * MIB, Bound::ControlGroup)));
        let unlimited = [machine, own, (max, "max\n"), (current, "31457280\n")];
        assert_eq!(available(&unlimited), Some((100 * MIB, Bound::Machine)));
        let old = [
            machine,
            ("proc/self/cgroup", "5:cpu:/x\n4:memory:/docker/1\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "52428800"),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "10485760"),
        ];
        assert_eq!(available(&old), Some((40 * MIB, Bound::ControlGroup)));
        assert_eq!(available(&[group("proc/meminfo"), group("proc/self/cgroup")]), None, "nothing is said");
    }

    #[test]
    fn the_error_has_the_numbers() {
        let root = system(&[("proc/meminfo", "MemAvailable: 10240 kB\n")]);
        let error = within(need(100 * MIB), 20 * MIB, root.path()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "100 MiB are needed (97 MiB of weights, 2 MiB of attention cache for 4096 tokens, 1 MiB of buffers; 20 MiB are there \
             already) and 10 MiB are available (MemAvailable of this machine)"
        );
    }
}
