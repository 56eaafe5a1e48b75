//! The system calls that a confined engine has. Everything else is refused with EPERM, or ends the process.
//!
//! llama.cpp needs memory, threads, time, and reads of what it was given. Beyond that it asks for a few things that it can
//! do without (the number of processors from `/sys`, names for its memory), which is why a refusal is an error number and
//! not the end. What no honest engine asks for ends it, so that the server's log tells (CONF-07).

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, Error, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter_all_threads,
};

use super::lockdown::{LockDownError, errno};

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Allows every thread of this process the calls of `ALLOWED` and few others, for good.
///
/// # Errors
/// [`LockDownError::Seccomp`].
pub fn enter() -> Result<(), LockDownError> {
    let programs = programs().map_err(|_| LockDownError::Seccomp { errno: libc::EINVAL })?;
    for program in &programs {
        apply_filter_all_threads(program).map_err(|error| LockDownError::Seccomp {
            errno: match error {
                Error::Prctl(error) | Error::Seccomp(error) => errno(&error),
                _ => libc::EINVAL,
            },
        })?;
    }
    Ok(())
}

/// The filters, in the order in which they are installed. The kernel runs all of them and does the strictest.
fn programs() -> Result<[BpfProgram; 3], seccompiler::BackendError> {
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    let compile = |rules, otherwise, matched| {
        SeccompFilter::new(rules, otherwise, matched, arch).and_then(BpfProgram::try_from)
    };
    let any = |calls: &[i64]| calls.iter().map(|call| (*call, Vec::new())).collect::<Rules>();
    Ok([
        // Its arguments are in memory, where a filter cannot see them. The C library then uses `clone`.
        compile(
            any(&[libc::SYS_clone3]),
            SeccompAction::Allow,
            SeccompAction::Errno(libc::ENOSYS.unsigned_abs()),
        )?,
        compile(any(DEADLY), SeccompAction::Allow, SeccompAction::KillProcess)?,
        compile(allowed()?, SeccompAction::Errno(libc::EPERM.unsigned_abs()), SeccompAction::Allow)?,
    ])
}

fn allowed() -> Result<Rules, seccompiler::BackendError> {
    use SeccompCmpOp::{Eq, Le, MaskedEq};
    let mut rules: Rules = ALLOWED.iter().map(|call| (*call, Vec::new())).collect();
    let pid = u64::from(std::process::id());
    let prot_exec = libc::PROT_EXEC.unsigned_abs().into();
    let when: &[(i64, u8, SeccompCmpOp, u64)] = &[
        // Memory never becomes code.
        (libc::SYS_mmap, 2, MaskedEq(prot_exec), 0),
        (libc::SYS_mprotect, 2, MaskedEq(prot_exec), 0),
        // Threads, and no processes and no namespaces.
        (libc::SYS_clone, 0, MaskedEq(THREAD | NOT_A_THREAD), THREAD),
        // What `abort` sends itself.
        (libc::SYS_tgkill, 0, Eq, pid),
        // A thread's name.
        (libc::SYS_prctl, 0, Eq, libc::PR_SET_NAME.unsigned_abs().into()),
        // The clocks of the machine and of this process; negative numbers name other processes' clocks.
        (libc::SYS_clock_gettime, 0, Le, libc::CLOCK_BOOTTIME.unsigned_abs().into()),
        // Not `F_SETOWN` and `F_SETSIG`, by which a descriptor sends signals to another process.
        (libc::SYS_fcntl, 1, Eq, libc::F_GETFL.unsigned_abs().into()),
        (libc::SYS_fcntl, 1, Eq, libc::F_GETFD.unsigned_abs().into()),
        (libc::SYS_fcntl, 1, Eq, libc::F_DUPFD_CLOEXEC.unsigned_abs().into()),
    ];
    for (call, argument, operation, value) in when {
        // Of these, only the flags of `clone` are 64 bits wide.
        let length = if *call == libc::SYS_clone { SeccompCmpArgLen::Qword } else { SeccompCmpArgLen::Dword };
        let condition = SeccompCondition::new(*argument, length, operation.clone(), *value)?;
        rules.entry(*call).or_default().push(SeccompRule::new(vec![condition])?);
    }
    Ok(rules)
}

/// What makes a thread of this process.
const THREAD: u64 = (libc::CLONE_VM | libc::CLONE_SIGHAND | libc::CLONE_THREAD).unsigned_abs() as u64;
/// What no thread of ours is made with.
const NOT_A_THREAD: u64 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_VFORK
    | libc::CLONE_PTRACE
    | libc::CLONE_PIDFD
    | libc::CLONE_PARENT)
    .unsigned_abs() as u64;

/// Allowed with any argument: none of them names a path, an address or another process.
const ALLOWED: &[i64] = &[
    // The descriptors that it was given.
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_pread64,
    libc::SYS_lseek,
    libc::SYS_fstat,
    libc::SYS_fadvise64,
    libc::SYS_close,
    libc::SYS_recvmsg,
    // Memory.
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    // Threads. `clone3` is refused by a filter of its own: of two refusals the one of the later filter would count.
    libc::SYS_clone3,
    libc::SYS_futex,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_restart_syscall,
    // Its own signals.
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    // How much memory the machine has; the C library does not look whether it was refused.
    libc::SYS_sysinfo,
    // Time and chance.
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    libc::SYS_getrandom,
];

/// The end of the process: another program, another process's memory, the kernel's own machinery.
const DEADLY: &[i64] = &[
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_bpf,
    libc::SYS_io_uring_setup,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_mount,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_chroot,
    libc::SYS_pivot_root,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_kexec_load,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filters_compile_for_this_machine_and_say_nothing_twice() {
        assert_eq!(programs().unwrap().len(), 3);
        for call in DEADLY {
            assert!(!allowed().unwrap().contains_key(call), "{call}");
        }
        assert!(!allowed().unwrap().contains_key(&libc::SYS_openat));
    }
}
