//! What a hostile engine tries. Each attempt is the same code in a confined process and in an unconfined one.

use std::ffi::CString;
use std::mem::size_of;

use libc::{c_int, c_long};

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It reached what it wanted.
    Reached,
    /// The system refused it with this error number.
    Refused(c_int),
}

impl Outcome {
    pub(crate) fn render(&self) -> String {
        match self {
            Self::Reached => "reached".into(),
            Self::Refused(errno) => format!("refused {errno}"),
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text.trim().split_once(' ') {
            None if text.trim() == "reached" => Some(Self::Reached),
            Some(("refused", errno)) => errno.parse().ok().map(Self::Refused),
            _ => None,
        }
    }
}

/// Makes the attempt that `line` describes: its name and its arguments.
pub(crate) fn attempt(line: &str) -> Outcome {
    match attempted(&line.split(' ').collect::<Vec<_>>()) {
        Ok(()) => Outcome::Reached,
        Err(errno) => Outcome::Refused(errno),
    }
}

fn attempted(line: &[&str]) -> Result<(), c_int> {
    let number = |at: usize| line[at].parse::<c_long>().unwrap();
    match line[0] {
        "tcp" => connect(libc::AF_INET, libc::SOCK_STREAM, &inet(number(1))),
        "udp" => connect(libc::AF_INET, libc::SOCK_DGRAM, &inet(number(1))),
        "unix" => connect(libc::AF_UNIX, libc::SOCK_STREAM, &unix(line[1].as_bytes())),
        "abstract" => connect(libc::AF_UNIX, libc::SOCK_STREAM, &unix(format!("\0{}", line[1]).as_bytes())),
        "listen" => {
            let socket = call(libc::SYS_socket, &[libc::AF_INET.into(), libc::SOCK_STREAM.into(), 0])?;
            let address = inet(0);
            call(libc::SYS_bind, &[socket, address.as_ptr() as c_long, address.len() as c_long]).map(drop)
        }
        "socketpair" => {
            let mut pair = [0 as c_int; 2];
            let address = pair.as_mut_ptr() as c_long;
            call(libc::SYS_socketpair, &[libc::AF_UNIX.into(), libc::SOCK_STREAM.into(), 0, address])
                .map(drop)
        }
        "read" => {
            let file = open(line[1], libc::O_RDONLY)?;
            let mut byte = 0u8;
            call(libc::SYS_read, &[file, &raw mut byte as c_long, 1]).map(drop)
        }
        "create" => open(line[1], libc::O_CREAT | libc::O_WRONLY).map(drop),
        "list" => open(line[1], libc::O_DIRECTORY).map(drop),
        "stat" => {
            let path = CString::new(line[1]).unwrap();
            let mut found = [0u8; 512];
            let arguments = [libc::AT_FDCWD.into(), path.as_ptr() as c_long, found.as_mut_ptr() as c_long, 0];
            call(libc::SYS_newfstatat, &arguments).map(drop)
        }
        "unlink" => {
            let path = CString::new(line[1]).unwrap();
            call(libc::SYS_unlinkat, &[libc::AT_FDCWD.into(), path.as_ptr() as c_long, 0]).map(drop)
        }
        "inherited" => call(libc::SYS_fcntl, &[number(1), libc::F_GETFD.into()]).map(drop),
        "own-memory" => call(libc::SYS_memfd_create, &[c"x".as_ptr() as c_long, 0]).map(drop),
        "memory-of" => {
            let file = open(&format!("/proc/{}/mem", line[1]), libc::O_RDONLY)?;
            let mut byte = 0u8;
            call(libc::SYS_pread64, &[file, &raw mut byte as c_long, 1, number(2)]).map(drop)
        }
        "descriptor-of" => open(&format!("/proc/{}/fd/{}", line[1], line[2]), libc::O_RDONLY).map(drop),
        "vm-read" => {
            let mut byte = 0u8;
            let ours = [&raw mut byte as usize, 1];
            let theirs = [usize::try_from(number(2)).unwrap(), 1];
            let (ours, theirs) = (ours.as_ptr() as c_long, theirs.as_ptr() as c_long);
            call(libc::SYS_process_vm_readv, &[number(1), ours, 1, theirs, 1, 0]).map(drop)
        }
        "ptrace" => call(libc::SYS_ptrace, &[libc::PTRACE_SEIZE.into(), number(1), 0, 0]).map(drop),
        "kill" => call(libc::SYS_kill, &[number(1), 0]).map(drop),
        "signal-thread" => call(libc::SYS_tgkill, &[number(1), number(1), 0]).map(drop),
        "queue-signal" => {
            // A siginfo from a user: si_code is SI_QUEUE.
            let mut info = [0i32; 32];
            info[2] = libc::SI_QUEUE;
            call(libc::SYS_rt_sigqueueinfo, &[number(1), libc::SIGCONT.into(), info.as_ptr() as c_long])
                .map(drop)
        }
        "signal-by-descriptor" => call(libc::SYS_fcntl, &[0, libc::F_SETOWN.into(), number(1)]).map(drop),
        "signal-at-input" => {
            let mut on: c_int = 0;
            call(libc::SYS_ioctl, &[0, libc::FIOASYNC as c_long, &raw mut on as c_long]).map(drop)
        }
        "pidfd" => call(libc::SYS_pidfd_open, &[number(1), 0]).map(drop),
        "limits-of" => {
            let mut limit = [0u64; 2];
            let arguments = [number(1), libc::RLIMIT_CORE as c_long, 0, limit.as_mut_ptr() as c_long];
            call(libc::SYS_prlimit64, &arguments).map(drop)
        }
        "clock-of" => {
            // The CPU clock of another process: the complement of its number, shifted, with 2 for "scheduled".
            let clock = (!number(1) << 3) | 2;
            let mut time = [0i64; 2];
            call(libc::SYS_clock_gettime, &[clock, time.as_mut_ptr() as c_long]).map(drop)
        }
        "exec" => {
            let path = CString::new("/bin/true").unwrap();
            let arguments = [path.as_ptr(), std::ptr::null()];
            call(libc::SYS_execve, &[path.as_ptr() as c_long, arguments.as_ptr() as c_long, 0]).map(drop)
        }
        "fork" => match call(libc::SYS_clone, &[libc::SIGCHLD.into(), 0, 0, 0, 0])? {
            0 => std::process::exit(0),
            _ => Ok(()),
        },
        "new-user" => call(libc::SYS_unshare, &[libc::CLONE_NEWUSER.into()]).map(drop),
        "clone-new-net" => {
            let flags = libc::CLONE_NEWNET | libc::CLONE_NEWUSER | libc::SIGCHLD;
            match call(libc::SYS_clone, &[flags.into(), 0, 0, 0, 0])? {
                0 => std::process::exit(0),
                _ => Ok(()),
            }
        }
        "io-uring" => {
            let mut parameters = [0u8; 120];
            call(libc::SYS_io_uring_setup, &[1, parameters.as_mut_ptr() as c_long]).map(drop)
        }
        "bpf" => {
            // An empty map of one element.
            let attributes: [u32; 18] = std::array::from_fn(|at| [2, 4, 4, 1].get(at).copied().unwrap_or(0));
            let size = size_of::<[u32; 18]>() as c_long;
            call(libc::SYS_bpf, &[0, attributes.as_ptr() as c_long, size]).map(drop)
        }
        "keyring" => call(libc::SYS_keyctl, &[0, -3, 1, 0, 0]).map(drop),
        "executable-memory" => {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            let protection = libc::PROT_READ | libc::PROT_EXEC;
            call(libc::SYS_mmap, &[0, 4096, protection.into(), flags.into(), -1, 0]).map(drop)
        }
        "make-executable" => {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            let page = call(libc::SYS_mmap, &[0, 4096, libc::PROT_READ.into(), flags.into(), -1, 0])?;
            call(libc::SYS_mprotect, &[page, 4096, (libc::PROT_READ | libc::PROT_EXEC).into()]).map(drop)
        }
        "dumpable" => call(libc::SYS_prctl, &[libc::PR_SET_DUMPABLE.into(), 1, 0, 0, 0]).map(drop),
        "outlive" => call(libc::SYS_prctl, &[libc::PR_SET_PDEATHSIG.into(), 0, 0, 0, 0]).map(drop),
        other => panic!("no attempt is called {other:?}"),
    }
}

/// A system call. Pointers among the arguments are to live memory of the caller's.
fn call(number: c_long, arguments: &[c_long]) -> Result<c_long, c_int> {
    let at = |index: usize| arguments.get(index).copied().unwrap_or(0);
    // SAFETY: every caller above passes numbers, and pointers to values of its own that are large enough for the call; the
    // kernel checks all of them. `fork` and `exec` are made for processes that do nothing else afterwards.
    let result = unsafe { libc::syscall(number, at(0), at(1), at(2), at(3), at(4), at(5)) };
    match result {
        -1 => Err(std::io::Error::last_os_error().raw_os_error().unwrap()),
        result => Ok(result),
    }
}

fn open(path: &str, flags: c_int) -> Result<c_long, c_int> {
    let path = CString::new(path).unwrap();
    call(libc::SYS_openat, &[libc::AT_FDCWD.into(), path.as_ptr() as c_long, flags.into(), 0o600])
}

fn connect(family: c_int, kind: c_int, address: &[u8]) -> Result<(), c_int> {
    let socket = call(libc::SYS_socket, &[family.into(), kind.into(), 0])?;
    call(libc::SYS_connect, &[socket, address.as_ptr() as c_long, address.len() as c_long]).map(drop)
}

/// 127.0.0.1 and a port as a `sockaddr_in`.
fn inet(port: c_long) -> Vec<u8> {
    let family = u16::try_from(libc::AF_INET).unwrap().to_ne_bytes();
    let port = u16::try_from(port).unwrap().to_be_bytes();
    [&family[..], &port, &[127, 0, 0, 1], &[0; 8]].concat()
}

/// A `sockaddr_un`.
fn unix(name: &[u8]) -> Vec<u8> {
    let family = u16::try_from(libc::AF_UNIX).unwrap().to_ne_bytes();
    [&family[..], name].concat()
}
