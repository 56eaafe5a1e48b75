//! DOC-20 to DOC-23: what a crash writes, and what a program can be kept from.

use std::io;

use super::memory::with;
use super::rule::{Check, Rule};
use super::scene::Scene;

const CORE_DUMPS: Rule = Rule("DOC-20", "crash.core-dumps");
const KERNEL_DUMPS: Rule = Rule("DOC-21", "crash.kernel-dumps");
const LANDLOCK: Rule = Rule("DOC-22", "confinement.landlock");
const SECCOMP: Rule = Rule("DOC-23", "confinement.seccomp");

pub(crate) fn checks(scene: &Scene) -> Vec<Check> {
    vec![
        with(scene, CORE_DUMPS, "proc/sys/kernel/core_pattern", core_dumps),
        kernel_dumps(scene),
        landlock(&scene.calls.landlock),
        seccomp(scene),
    ]
}

/// `serve` forbids its own. A program that is handed everybody else's is still root's ear in this machine.
fn core_dumps(pattern: &str) -> Check {
    match pattern.trim().strip_prefix('|') {
        Some(program) => CORE_DUMPS.warn(
            format!(
                "dumps of crashed programs are handed to {}",
                program.split(' ').next().unwrap_or_default()
            ),
            "serve makes none of its own; without the program nobody does: `sysctl kernel.core_pattern=core`",
        ),
        None => CORE_DUMPS.pass("serve makes none, and no program is handed those of others"),
    }
}

/// A crashed kernel that has another one to start writes all memory to a disk.
fn kernel_dumps(scene: &Scene) -> Check {
    let path = "sys/kernel/kexec_crash_loaded";
    match scene.read(path) {
        Ok(text) if text.trim() == "0" => KERNEL_DUMPS.pass("no crash kernel is loaded"),
        Ok(_) => KERNEL_DUMPS.fail(
            "a crash kernel is loaded: when this kernel crashes, all memory is written to a disk, keys too",
            "unload it (`kexec -p -u`), disable kdump, and boot without crashkernel=",
        ),
        // A kernel that knows none has no such file, but its directory.
        Err(error) if error.kind() == io::ErrorKind::NotFound && scene.at("sys/kernel").is_dir() => {
            KERNEL_DUMPS.pass("this kernel knows no crash kernel")
        }
        Err(error) => KERNEL_DUMPS.unreadable(path, &error),
    }
}

fn landlock(answer: &io::Result<u32>) -> Check {
    match answer {
        Ok(version) => LANDLOCK.pass(format!("version {version} of its interface")),
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EOPNOTSUPP)) => LANDLOCK
            .fail(
                "the kernel has no Landlock: the engine cannot be confined, and serve does not start",
                "boot with landlock in lsm=, on a kernel built with CONFIG_SECURITY_LANDLOCK",
            )
            .code("confine.landlock.absent"),
        Err(error) => LANDLOCK.unknown(format!("Landlock: {error}"), "does a container forbid the call?"),
    }
}

fn seccomp(scene: &Scene) -> Check {
    let path = "proc/sys/kernel/seccomp/actions_avail";
    match scene.read(path) {
        Ok(actions)
            if ["kill_process", "errno"].iter().all(|a| actions.split_whitespace().any(|b| a == &b)) =>
        {
            SECCOMP.pass("system calls can be filtered")
        }
        Ok(actions) => SECCOMP.fail(
            format!("the kernel can filter system calls only with: {actions}"),
            "serve confines the engine with a filter that ends the process: a kernel from 4.14 on has it",
        ),
        Err(error) if error.kind() == io::ErrorKind::NotFound && scene.at("proc/sys/kernel").is_dir() => {
            SECCOMP.fail(
                "the kernel cannot filter system calls",
                "serve confines the engine with it: use a kernel built with CONFIG_SECCOMP_FILTER",
            )
        }
        Err(error) => SECCOMP.unreadable(path, &error),
    }
}
