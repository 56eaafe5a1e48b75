//! A hostile engine tries everything, behind both walls, behind each of them, and behind none.

use std::fs::File;
use std::net::{TcpListener, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::PathBuf;

use casemate_enclave::Locked;
use casemate_engine::{Engine, EngineError, ProcessEnd};
use libc::{EACCES, EBADF, EPERM};

use crate::Case;
use crate::attempts::Outcome;
use crate::hostile::order;
use crate::roles::{Victim, hostile, run};

pub(crate) const CASES: &[(&str, Case)] = &[
    ("a_hostile_engine_reaches_nothing", a_hostile_engine_reaches_nothing),
    ("what_no_honest_engine_does_ends_it", what_no_honest_engine_does_ends_it),
    ("landlock_alone_refuses_files_ports_and_processes", landlock_alone_refuses_files_ports_and_processes),
    ("seccomp_alone_refuses_as_both_do", seccomp_alone_refuses_as_both_do),
    ("nothing_is_inherited", nothing_is_inherited),
    ("a_key_is_out_of_every_reach", a_key_is_out_of_every_reach),
];

/// Things to reach: they live as long as this value.
struct Prey {
    tcp: TcpListener,
    udp: UdpSocket,
    _unix: UnixListener,
    _abstract: UnixListener,
    victim: Victim,
    directory: PathBuf,
    name: String,
}

impl Prey {
    fn new(case: &str) -> Self {
        let name = format!("casemate-confined-{case}-{}", std::process::id());
        let directory = std::env::temp_dir().join(&name);
        std::fs::create_dir(&directory).unwrap();
        std::fs::write(directory.join("file"), "x").unwrap();
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        Self {
            tcp: TcpListener::bind("127.0.0.1:0").unwrap(),
            udp: UdpSocket::bind("127.0.0.1:0").unwrap(),
            _unix: UnixListener::bind(directory.join("socket")).unwrap(),
            _abstract: UnixListener::bind_addr(&address).unwrap(),
            victim: Victim::start(),
            directory,
            name,
        }
    }

    /// Every attempt that is refused and lets the process live. With it, whether it reaches its aim without walls on every
    /// kernel; the others ask for what not every kernel has, or what only root may do.
    fn attempts(&self) -> Vec<(String, bool)> {
        let (pid, address) = (self.victim.pid(), self.victim.address);
        let tcp = self.tcp.local_addr().unwrap().port();
        let udp = self.udp.local_addr().unwrap().port();
        let (directory, name) = (self.directory.display(), &self.name);
        let sure = [
            format!("tcp {tcp}"),
            format!("udp {udp}"),
            format!("unix {directory}/socket"),
            format!("abstract {name}"),
            "listen".into(),
            "socketpair".into(),
            "read /etc/passwd".into(),
            format!("create {directory}/new"),
            format!("list {directory}"),
            "stat /etc/passwd".into(),
            format!("unlink {directory}/file"),
            "own-memory".into(),
            format!("memory-of {pid} {address}"),
            format!("descriptor-of {pid} 0"),
            format!("kill {pid}"),
            format!("signal-thread {pid}"),
            format!("queue-signal {pid}"),
            format!("pidfd {pid}"),
            format!("limits-of {pid}"),
            format!("clock-of {pid}"),
            "fork".into(),
            "executable-memory".into(),
            "make-executable".into(),
            "dumpable".into(),
            "outlive".into(),
        ];
        // At a socket as standard input, which an unconfined process here does not have.
        let others =
            [format!("signal-by-descriptor {pid}"), "signal-at-input".into(), "clone-new-net".into()];
        sure.into_iter().map(|line| (line, true)).chain(others.map(|line| (line, false))).collect()
    }

    /// Every attempt that ends the process, likewise.
    fn deadly(&self) -> Vec<(String, bool)> {
        let (pid, address) = (self.victim.pid(), self.victim.address);
        let sure = [format!("vm-read {pid} {address}"), format!("ptrace {pid}"), "exec".into()];
        let others = ["new-user", "io-uring", "bpf", "keyring"].map(ToOwned::to_owned);
        sure.into_iter().map(|line| (line, true)).chain(others.map(|line| (line, false))).collect()
    }
}

impl Drop for Prey {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// The same attempt in a process of its own behind one wall or none.
fn behind(wall: &str, line: &str) -> Result<Outcome, Option<i32>> {
    let (status, said) = run(&["attempt", wall, line]);
    match Outcome::parse(&said) {
        Some(outcome) => Ok(outcome),
        // Another program runs in its place, and it ended well.
        None if status.success() => Ok(Outcome::Reached),
        None => Err(std::os::unix::process::ExitStatusExt::signal(&status)),
    }
}

fn a_hostile_engine_reaches_nothing() {
    let prey = Prey::new("both");
    let engine = hostile();
    for (line, sure) in prey.attempts() {
        let (answer, _) = engine.generate_text(order(&line)).unwrap();
        assert_eq!(Outcome::parse(&answer), Some(Outcome::Refused(EPERM)), "{line}");
        // The attempt is a real one: without the walls it gets what it wants.
        if sure {
            assert_eq!(behind("none", &line), Ok(Outcome::Reached), "{line}");
        }
    }
    // The server itself, its memory and its descriptors are no nearer.
    let ours = std::process::id();
    let file = File::open("/etc/passwd").unwrap();
    for line in [
        format!("memory-of {ours} {}", prey.victim.address),
        format!("descriptor-of {ours} {}", file.as_raw_fd()),
        format!("kill {ours}"),
        format!("signal-by-descriptor {ours}"),
    ] {
        let (answer, _) = engine.generate_text(order(&line)).unwrap();
        assert_eq!(Outcome::parse(&answer), Some(Outcome::Refused(EPERM)), "{line}");
    }
    assert!(engine.health().is_ok());
}

fn what_no_honest_engine_does_ends_it() {
    let prey = Prey::new("deadly");
    for (line, sure) in prey.deadly() {
        let engine = hostile();
        let ended = EngineError::Ended(ProcessEnd::Signal(libc::SIGSYS));
        assert_eq!(engine.generate_text(order(&line)), Err(ended.clone()), "{line}");
        assert_eq!(engine.health(), Err(ended));
        if sure {
            assert_eq!(behind("none", &line), Ok(Outcome::Reached), "{line}");
        }
    }
}

fn landlock_alone_refuses_files_ports_and_processes() {
    let prey = Prey::new("landlock");
    let (pid, address) = (prey.victim.pid(), prey.victim.address);
    let tcp = prey.tcp.local_addr().unwrap().port();
    let directory = prey.directory.display();
    let abi = casemate_enclave::confined::EngineProcess::start(
        &crate::roles::program(&["hostile"]),
        casemate_enclave::confined::Patience::default(),
    )
    .unwrap()
    .confinement()
    .landlock_abi();
    for (since, line, errno) in [
        (1, "read /etc/passwd".into(), EACCES),
        (1, format!("create {directory}/new"), EACCES),
        (1, format!("list {directory}"), EACCES),
        (1, format!("unlink {directory}/file"), EACCES),
        (1, format!("memory-of {pid} {address}"), EACCES),
        (1, format!("ptrace {pid}"), EPERM),
        (1, format!("vm-read {pid} {address}"), EPERM),
        (4, format!("tcp {tcp}"), EACCES),
        (4, "listen".into(), EACCES),
        (6, format!("abstract {}", prey.name), EPERM),
        (6, format!("kill {pid}"), EPERM),
        (6, format!("signal-thread {pid}"), EPERM),
    ] {
        let expected = if abi >= since { Outcome::Refused(errno) } else { Outcome::Reached };
        assert_eq!(behind("landlock", &line), Ok(expected), "{line}, Landlock {abi}");
    }
}

fn seccomp_alone_refuses_as_both_do() {
    let prey = Prey::new("seccomp");
    for (line, _) in prey.attempts() {
        assert_eq!(behind("seccomp", &line), Ok(Outcome::Refused(EPERM)), "{line}");
    }
    for (line, _) in prey.deadly() {
        assert_eq!(behind("seccomp", &line), Err(Some(libc::SIGSYS)), "{line}");
    }
}

fn nothing_is_inherited() {
    // A descriptor that every child of ours gets, and that the engine's process must close.
    // A high number, which the process does not give to one of its own.
    let leaked = rustix::io::fcntl_dupfd_cloexec(File::open("/etc/passwd").unwrap(), 200).unwrap();
    rustix::io::fcntl_setfd(&leaked, rustix::io::FdFlags::empty()).unwrap();
    let line = format!("inherited {}", leaked.as_raw_fd());
    assert_eq!(behind("none", &line), Ok(Outcome::Reached));
    let engine = hostile();
    let (answer, _) = engine.generate_text(order(&line)).unwrap();
    assert_eq!(Outcome::parse(&answer), Some(Outcome::Refused(EBADF)));
    let (names, _) = engine.generate_text(order("environment")).unwrap();
    assert_eq!(names, "GGML_NO_BACKTRACE");
    assert_eq!(engine.info().name, "hostile", "without the line break, which a log would take for its own");
}

fn a_key_is_out_of_every_reach() {
    let key = Locked::new([7u8; 32]).unwrap();
    let (pid, address) = (std::process::id(), std::ptr::from_ref(&*key) as usize);
    let line = format!("memory-of {pid} {address}");
    let (answer, _) = hostile().generate_text(order(&line)).unwrap();
    assert_eq!(Outcome::parse(&answer), Some(Outcome::Refused(EPERM)));
    // A kernel without secret memory says so, and locks.
    let (status, said) = run(&["key-without-secret-memory"]);
    assert!(
        status.success() && said.starts_with("mlock (no memfd_secret: Function not implemented"),
        "{said}"
    );
}
