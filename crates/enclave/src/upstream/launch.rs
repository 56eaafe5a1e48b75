//! How an upstream is started: by a process of this same program, which is handed everything as descriptors over one socket, lays out
//! links to them, and becomes the upstream (spec/upstream.md, UP-10).
//!
//! ```text
//! serve ── spawns ──> casemate upstream-launcher ── becomes ──> the upstream
//!    4 bytes    length of the order, little-endian
//!    n bytes    the order (postcard)
//!    1 byte     with a descriptor: the program
//!    1 byte     with a descriptor, for each file of the model
//! ```

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use rustix::process::{Signal, getppid, set_parent_process_death_signal};
use serde::{Deserialize, Serialize};

use super::error::UpstreamError;
use super::settings::Output;
use crate::confined::{Program, close_others};

/// The program of an upstream: an open file, so that what was hashed is what runs (UP-13).
pub struct Executable {
    file: File,
    sha256: [u8; 32],
}

impl Executable {
    /// Opens and hashes it. A name without a slash is looked for where programs are.
    ///
    /// # Errors
    /// [`UpstreamError::Program`].
    pub fn open(program: &str) -> Result<Self, UpstreamError> {
        let unusable = |source| UpstreamError::Program { program: program.to_owned(), source };
        let file = match program.contains('/') {
            // A relative path would mean another file in another directory.
            true if !program.starts_with('/') => Err(ErrorKind::InvalidInput.into()),
            true => executable(Path::new(program)),
            false => PATH
                .split(':')
                .map(|folder| executable(&Path::new(folder).join(program)))
                .find(Result::is_ok)
                .unwrap_or(Err(ErrorKind::NotFound.into())),
        };
        let file = file.map_err(unusable)?;
        let sha256 = hash(&file).map_err(unusable)?;
        Ok(Self { file, sha256 })
    }

    /// SHA-256 of the file.
    #[must_use]
    pub fn sha256(&self) -> [u8; 32] {
        self.sha256
    }

    /// Checks that the file is still what was hashed.
    pub(super) fn unchanged(&self) -> Result<(), UpstreamError> {
        match hash(&self.file) {
            Ok(now) if now == self.sha256 => Ok(()),
            Ok(_) | Err(_) => Err(UpstreamError::Changed),
        }
    }
}

fn executable(path: &Path) -> io::Result<File> {
    let file = File::open(path)?;
    let found = file.metadata()?;
    match found.is_file() && found.permissions().mode() & 0o111 != 0 {
        true => Ok(file),
        false => Err(ErrorKind::PermissionDenied.into()),
    }
}

fn hash(file: &File) -> io::Result<[u8; 32]> {
    use std::os::unix::fs::FileExt;
    let mut context = Context::new(&SHA256);
    let (mut buffer, mut at) = (vec![0; 1 << 16], 0);
    loop {
        match file.read_at(&mut buffer, at)? {
            0 => return context.finish().as_ref().try_into().map_err(|_| ErrorKind::InvalidData.into()),
            read => {
                context.update(buffer.get(..read).unwrap_or_default());
                at += read as u64;
            }
        }
    }
}

/// What an upstream is started with.
pub(super) struct Launch<'a> {
    /// The program of the first process.
    pub(super) launcher: &'a Program,
    pub(super) executable: &'a Executable,
    /// The upstream's, its own name first.
    pub(super) arguments: Vec<String>,
    /// What the operator wrote, `NAME=VALUE`.
    pub(super) environment: &'a [String],
    /// Its home.
    pub(super) home: &'a Path,
    /// Where the links go.
    pub(super) folder: &'a Path,
    /// The model's files, open for reading.
    pub(super) files: &'a [(String, File)],
    pub(super) output: Output,
}

/// Starts it. The process ends with the calling thread (UP-14).
pub(super) fn launch(what: Launch<'_>) -> io::Result<Child> {
    let (ours, theirs) = UnixStream::pair()?;
    ours.set_write_timeout(Some(PATIENCE))?;
    let output = || match what.output {
        Output::Nowhere => Ok::<_, io::Error>(Stdio::null()),
        Output::DangerStandardError => Ok(io::stderr().as_fd().try_clone_to_owned()?.into()),
    };
    let mut child = Command::new(&what.launcher.path)
        .arg0("casemate")
        .args(&what.launcher.arguments)
        .env_clear()
        .current_dir("/")
        .stdin(OwnedFd::from(theirs))
        .stdout(output()?)
        .stderr(output()?)
        // Its own children end with it.
        .process_group(0)
        .spawn()?;
    let order = Order {
        parent: std::process::id(),
        arguments: what.arguments,
        environment: environment(what.environment, what.home),
        folder: what.folder.to_string_lossy().into_owned(),
        names: what.files.iter().map(|(name, _)| name.clone()).collect(),
    };
    let files = what.files.iter().map(|(_, file)| file);
    let sent = send(&ours, &order, std::iter::once(&what.executable.file).chain(files));
    if let Err(error) = sent {
        let _ = child.kill();
        let _ = child.wait();
        return Err(error);
    }
    Ok(child)
}

/// Nothing of this process's environment is the upstream's (UP-11). What its operator wrote is in the statement, and wins.
fn environment(written: &[String], home: &Path) -> BTreeMap<String, String> {
    let home = home.to_string_lossy();
    let usual = [
        ("PATH", PATH),
        ("LANG", "C.UTF-8"),
        ("HOME", &*home),
        // There is nobody to be told, and nothing to be fetched.
        ("HF_HUB_OFFLINE", "1"),
        ("TRANSFORMERS_OFFLINE", "1"),
        ("VLLM_NO_USAGE_STATS", "1"),
        ("DO_NOT_TRACK", "1"),
    ];
    let usual = usual.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
    let written = written.iter().filter_map(|entry| entry.split_once('='));
    usual.chain(written.map(|(name, value)| (name.to_owned(), value.to_owned()))).collect()
}

#[derive(Serialize, Deserialize)]
struct Order {
    /// Who gives it.
    parent: u32,
    arguments: Vec<String>,
    environment: BTreeMap<String, String>,
    folder: String,
    names: Vec<String>,
}

fn send<'a>(socket: &UnixStream, order: &Order, files: impl Iterator<Item = &'a File>) -> io::Result<()> {
    let order = postcard::to_stdvec(order).map_err(|_| ErrorKind::InvalidInput)?;
    let length = u32::try_from(order.len()).map_err(|_| ErrorKind::InvalidInput)?;
    (&*socket).write_all(&length.to_le_bytes())?;
    (&*socket).write_all(&order)?;
    for file in files {
        let descriptors = [file.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
            return Err(ErrorKind::InvalidInput.into());
        }
        sendmsg(socket, &[IoSlice::new(&[0])], &mut control, SendFlags::NOSIGNAL)?;
    }
    Ok(())
}

// === the other side ===

/// The process that becomes the upstream: `casemate upstream-launcher`, which only `casemate serve` starts.
pub fn launcher() -> ExitCode {
    // The files of the process that started this one are not the upstream's.
    if close_others().is_err() {
        return ExitCode::FAILURE;
    }
    match become_upstream() {
        Ok(never) => match never {},
        // As a shell says that there is no such program.
        Err(_) => ExitCode::from(127),
    }
}

enum Never {}

fn become_upstream() -> io::Result<Never> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut length = [0; 4];
    (&socket).read_exact(&mut length)?;
    let length = usize::try_from(u32::from_le_bytes(length)).map_err(|_| ErrorKind::InvalidData)?;
    if length > MAX_ORDER {
        return Err(ErrorKind::InvalidData.into());
    }
    let mut order = vec![0; length];
    (&socket).read_exact(&mut order)?;
    let order: Order = postcard::from_bytes(&order).map_err(|_| ErrorKind::InvalidData)?;
    // It may have ended before the kernel was told to tell.
    if getppid().is_none_or(|parent| parent.as_raw_nonzero().get().cast_unsigned() != order.parent) {
        return Err(ErrorKind::NotFound.into());
    }
    let program = receive(&socket)?;
    let folder = PathBuf::from(&order.folder);
    let mut open = Vec::new();
    for name in &order.names {
        let file = receive(&socket)?;
        link(&folder, name, file.as_raw_fd())?;
        open.push(file);
    }
    let (name, arguments) = order.arguments.split_first().ok_or(ErrorKind::InvalidData)?;
    let error = Command::new(format!("/proc/self/fd/{}", program.as_raw_fd()))
        .arg0(name)
        .args(arguments)
        .env_clear()
        .envs(&order.environment)
        .stdin(Stdio::null())
        .exec();
    drop((open, program));
    Err(error)
}

/// A descriptor that stays open when this process becomes another program.
fn receive(socket: &UnixStream) -> io::Result<OwnedFd> {
    let mut byte = [0];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    recvmsg(socket, &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::empty())?;
    let mut found = None;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            found = descriptors.last().or(found);
        }
    }
    found.ok_or(ErrorKind::InvalidData.into())
}

/// A link in the place of a file: to a descriptor of this very process, whatever program it becomes. Names were checked with the
/// manifest: relative, and without a step upwards.
fn link(folder: &Path, name: &str, descriptor: i32) -> io::Result<()> {
    let path = folder.join(name);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    match fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    symlink(format!("/proc/{}/fd/{descriptor}", std::process::id()), path)
}

/// Where programs are looked for, by this server and by the upstream.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// How long the first process may leave its order unread.
const PATIENCE: Duration = Duration::from_secs(20);
const MAX_ORDER: usize = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_a_file_that_can_be_executed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("program");
        fs::write(&path, "#!/bin/sh\n").unwrap();
        let code = |program: &str| Executable::open(program).err().map_or("none", |error| error.code());
        let text = path.to_str().unwrap();
        assert_eq!(code(text), "upstream.program", "not executable");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(code(text), "none");
        assert_eq!(code(folder.path().to_str().unwrap()), "upstream.program", "a folder");
        assert_eq!(code("./program"), "upstream.program", "relative");
        assert_eq!(code("no-such-program-anywhere"), "upstream.program");
        assert_eq!(code("sh"), "none");
        let found = Executable::open(text).unwrap();
        let expected = aws_lc_rs::digest::digest(&SHA256, b"#!/bin/sh\n");
        assert_eq!(found.sha256(), expected.as_ref());
        assert!(found.unchanged().is_ok());
        fs::write(&path, "#!/bin/sh\nexit 1\n").unwrap();
        assert_eq!(found.unchanged().unwrap_err().code(), "upstream.program-changed");
    }

    #[test]
    fn the_operators_environment_wins_and_ours_is_not_there() {
        let made = environment(&["HOME=/x".into(), "A=b=c".into()], Path::new("/f"));
        assert_eq!((made["HOME"].as_str(), made["A"].as_str(), made["PATH"].as_str()), ("/x", "b=c", PATH));
        assert!(!made.contains_key("CARGO_MANIFEST_DIR"));
    }
}
