//! A stand-in for Microsoft's paravisor: between the guest and its TPM, it makes the hardware report anew when the guest begins to
//! read it, with what stands in the index for user data, and no more often than it likes.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use casemate_enclave::tpm::Tpm;

use crate::swtpm::nv_fill;
use crate::vm::{REPORT, USER_DATA, hcl};

/// What it does.
#[derive(Clone, Copy)]
pub(crate) struct Paravisor {
    /// Reports are no closer together.
    pub(crate) pause: Duration,
    /// What a report shows, of what the guest wrote.
    pub(crate) shows: fn(&[u8; 64]) -> Option<Vec<u8>>,
    /// What it leaves in the index, of the report that was made.
    pub(crate) leaves: fn(Vec<u8>) -> Vec<u8>,
    /// What a report names as the attestation key, of its modulus.
    pub(crate) names: fn(Vec<u8>) -> Vec<u8>,
    /// Whether the guest may make an index.
    pub(crate) indices: bool,
}

impl Paravisor {
    /// As Azure's, which pauses for two seconds.
    pub(crate) fn usual() -> Self {
        Self {
            pause: Duration::from_millis(1200),
            shows: |written| Some(written.to_vec()),
            leaves: |report| report,
            names: |modulus| modulus,
            indices: true,
        }
    }
}

/// Where the guest's TPM is: behind the paravisor, if there is one.
pub(crate) fn socket(dir: &Path) -> PathBuf {
    let guest = dir.join("guest-tpm");
    if guest.exists() { guest } else { dir.join("tpm") }
}

/// Until the process ends.
pub(crate) fn start(paravisor: Paravisor, modulus: Vec<u8>, dir: &Path) {
    let listener = UnixListener::bind(dir.join("guest-tpm")).expect("a socket");
    let tpm = dir.join("tpm");
    std::thread::spawn(move || {
        let mut last = None;
        for guest in listener.incoming() {
            let Ok(mut guest) = guest else { return };
            let Ok(mut device) = UnixStream::connect(&tpm) else { return };
            while let Some(command) = message(&mut guest) {
                if begins_report(&command) && due(last, paravisor.pause) {
                    last = Some(Instant::now());
                    renew(paravisor, &modulus, device.try_clone().expect("a socket"));
                }
                if !paravisor.indices && command[6..10] == [0, 0, 0x01, 0x2a] {
                    // TPM_RC_NV_SPACE.
                    guest.write_all(&[0x80, 0x01, 0, 0, 0, 10, 0, 0, 0x01, 0x4b]).expect("the guest listens");
                    continue;
                }
                device.write_all(&command).expect("swtpm takes it");
                let Some(answer) = message(&mut device) else { break };
                if guest.write_all(&answer).is_err() {
                    break;
                }
            }
        }
    });
    assert!(fs::exists(dir.join("guest-tpm")).expect("a folder"));
}

fn due(last: Option<Instant>, pause: Duration) -> bool {
    last.is_none_or(|last: Instant| last.elapsed() > pause)
}

fn renew(paravisor: Paravisor, modulus: &[u8], device: UnixStream) {
    let mut tpm = Tpm::new(device);
    let mut written = [0; 64];
    // Whoever makes the index writes it; the real one reads zeros where there is none.
    if let Ok(Some(found)) = tpm.nv_read(USER_DATA, 64) {
        written[..found.len()].copy_from_slice(&found);
    }
    let report = if written == [0; 64] {
        // Nobody wrote anything: a report like the boot's.
        hcl(modulus, Some(&written))
    } else {
        let modulus = (paravisor.names)(modulus.to_vec());
        (paravisor.leaves)(hcl(&modulus, (paravisor.shows)(&written).as_deref()))
    };
    nv_fill(&mut tpm, REPORT, &report, 2048);
}

/// TPM2_NV_Read of the report at offset 0; the handles stand behind the header of 10 octets, the offset at the end.
fn begins_report(command: &[u8]) -> bool {
    command[6..10] == [0, 0, 0x01, 0x4e]
        && command[14..18] == REPORT.to_be_bytes()
        && command.ends_with(&[0, 0])
}

/// A command or an answer, which state their length.
fn message(stream: &mut UnixStream) -> Option<Vec<u8>> {
    let mut head = [0; 10];
    stream.read_exact(&mut head).ok()?;
    let size = u32::from_be_bytes(head[2..6].try_into().expect("four octets")) as usize;
    let mut whole = head.to_vec();
    whole.resize(size, 0);
    stream.read_exact(&mut whole[10..]).ok()?;
    Some(whole)
}
