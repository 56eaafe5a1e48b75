//! A real TPM 2.0 emulator (swtpm) in a folder of its own, and the commands that provision it.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use casemate_enclave::tpm::{Authorization, Tpm};

pub(crate) const OWNER: u32 = 0x4000_0001;

/// An emulator whose TPM is empty.
pub(crate) struct Swtpm {
    process: Child,
    pub(crate) dir: PathBuf,
}

/// `scripts/setup.sh` installs it.
pub(crate) fn is_there() -> bool {
    Command::new("swtpm").arg("--version").output().is_ok()
}

impl Swtpm {
    pub(crate) fn start(name: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("casemate-{name}-{}-{number}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir(&dir).expect("a directory");
        let socket = |name: &str| format!("type=unixio,path={}", dir.join(name).display());
        let process = Command::new("swtpm")
            .args(["socket", "--tpm2", "--tpmstate", &format!("dir={}", dir.display())])
            .args(["--server", &socket("tpm"), "--ctrl", &socket("control")])
            .args(["--flags", "not-need-init,startup-clear"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("swtpm starts");
        for _ in 0..500 {
            if dir.join("tpm").exists() {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Self { process, dir }
    }

    pub(crate) fn tpm(&self) -> Tpm<UnixStream> {
        Tpm::new(UnixStream::connect(self.dir.join("tpm")).expect("swtpm listens"))
    }

    /// Defines an index of `size` octets and writes its beginning; the rest is zero.
    pub(crate) fn nv_write(&self, index: u32, content: &[u8], size: u16) {
        let mut tpm = self.tpm();
        tpm.nv_define(index, size).expect("defined");
        nv_fill(&mut tpm, index, content, size);
    }
}

impl Drop for Swtpm {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Writes the beginning of an index; the rest is zero.
pub(crate) fn nv_fill(tpm: &mut Tpm<UnixStream>, index: u32, content: &[u8], size: u16) {
    let mut whole = content.to_vec();
    whole.resize(usize::from(size), 0);
    for (part, chunk) in whole.chunks(1024).enumerate() {
        let offset = u16::try_from(part * 1024).expect("small");
        let parameters = [&sized(chunk)[..], &offset.to_be_bytes()].concat();
        run(tpm, "TPM2_NV_Write", 0x137, &[OWNER, index], &parameters);
    }
}

pub(crate) fn sized(bytes: &[u8]) -> Vec<u8> {
    [&u16::try_from(bytes.len()).expect("short").to_be_bytes()[..], bytes].concat()
}

/// TPMT_PUBLIC of a restricted RSA-2048 signing key with these attributes more, RSASSA with SHA-256.
pub(crate) fn signing_key(more: u32, unique: &[u8]) -> Vec<u8> {
    // fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth, sign
    let attributes: u32 = 1 << 1 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 18 | more;
    [
        &[0, 0x01, 0, 0x0b][..],
        &attributes.to_be_bytes(),
        &[0, 0],                   // authPolicy
        &[0, 0x10],                // symmetric: none
        &[0, 0x14, 0, 0x0b],       // RSASSA, SHA-256
        &[0x08, 0x00, 0, 0, 0, 0], // 2048 bits, default exponent
        &sized(unique),
    ]
    .concat()
}

/// A provisioning command, with the empty password for its first handle.
pub(crate) fn run(
    tpm: &mut Tpm<UnixStream>,
    name: &'static str,
    code: u32,
    handles: &[u32],
    parameters: &[u8],
) -> Vec<u8> {
    tpm.command(name, code, handles, Authorization::EmptyPassword, parameters).expect(name)
}
