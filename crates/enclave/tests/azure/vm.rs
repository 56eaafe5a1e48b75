//! The virtual machine: swtpm, its provisioning, and what the host would serve.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use casemate_attest::UnixTime;
use casemate_attest::snp::ProductLine;
use casemate_enclave::Roots;
use casemate_enclave::tpm::{Authorization, Tpm};
use casemate_sim::{Machine, MachineConfig, Vendor};

pub(crate) const NOW: UnixTime = UnixTime(1_767_268_800);
pub(crate) const PARAVISOR: [u8; 48] = [0x32; 48];

const OWNER: u32 = 0x4000_0001;
const ENDORSEMENT: u32 = 0x4000_000b;
pub(crate) const REPORT: u32 = 0x0140_0001;
pub(crate) const CERTIFICATE: u32 = 0x01c1_01d0;
const KEY: u32 = 0x8100_0003;

/// Keys take seconds to make: one vendor and one chip for all machines.
pub(crate) static VENDOR: LazyLock<Vendor> =
    LazyLock::new(|| Vendor::create(ProductLine::Genoa, NOW).expect("a vendor"));
pub(crate) static CHIP: LazyLock<Machine> =
    LazyLock::new(|| VENDOR.machine(&MachineConfig::new(PARAVISOR)).expect("a machine"));

/// A machine whose TPM is empty.
pub(crate) struct Vm {
    swtpm: Child,
    pub(crate) dir: PathBuf,
    metadata: String,
}

impl Vm {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("casemate-azure-{}-{number}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir(&dir).expect("a directory");
        fs::write(dir.join("tag"), "7783-7084-3265-9085-8269-3286-77\n").expect("a tag");
        let socket = |name: &str| format!("type=unixio,path={}", dir.join(name).display());
        let swtpm = Command::new("swtpm")
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
        let metadata = serve(http("200 OK", &certification(CHIP.vek_der())));
        Self { swtpm, dir, metadata }
    }

    /// A machine as Azure sets it up, without a certificate of its attestation key.
    pub(crate) fn provisioned() -> Self {
        let vm = Self::new();
        let modulus = vm.make_key();
        vm.nv_write(REPORT, &vm.hcl(&modulus), 2048);
        vm
    }

    pub(crate) fn with_metadata(mut self, answer: Vec<u8>) -> Self {
        self.metadata = serve(answer);
        self
    }

    pub(crate) fn roots(&self) -> Roots {
        let none = || self.dir.join("none");
        Roots {
            nsm: none(),
            chassis_asset_tag: self.dir.join("tag"),
            tpm: self.dir.join("tpm"),
            tpm_event_log: none(),
            azure_metadata: self.metadata.clone(),
            tsm: none(),
            sev_guest: none(),
            tdx_guest: none(),
            quote_service: casemate_enclave::QuoteService::Socket(none()),
        }
    }

    pub(crate) fn tpm(&self) -> Tpm<UnixStream> {
        Tpm::new(UnixStream::connect(self.dir.join("tpm")).expect("swtpm listens"))
    }

    /// A restricted RSA-2048 signing key at 0x81000003; its modulus.
    pub(crate) fn make_key(&self) -> Vec<u8> {
        let mut tpm = self.tpm();
        // fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth, noDA, restricted, sign
        let attributes: u32 = 1 << 1 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 10 | 1 << 16 | 1 << 18;
        let public = [
            &[0, 0x01, 0, 0x0b][..],
            &attributes.to_be_bytes(),
            &[0, 0],                         // authPolicy
            &[0, 0x10],                      // symmetric: none
            &[0, 0x14, 0, 0x0b],             // RSASSA, SHA-256
            &[0x08, 0x00, 0, 0, 0, 0, 0, 0], // 2048 bits, default exponent, no modulus yet
        ]
        .concat();
        // No password and no data; the key; no outside information; no PCRs.
        let parameters = [&[0, 4, 0, 0, 0, 0][..], &sized(&public), &[0, 0], &[0; 4]].concat();
        let made = run(&mut tpm, "TPM2_CreatePrimary", 0x131, &[ENDORSEMENT], &parameters);
        let transient = u32::from_be_bytes(made[..4].try_into().expect("a handle"));
        run(&mut tpm, "TPM2_EvictControl", 0x120, &[OWNER, transient], &KEY.to_be_bytes());
        tpm.command("TPM2_FlushContext", 0x165, &[transient], Authorization::None, &[]).expect("flushed");
        tpm.rsa_modulus(KEY).expect("readable").expect("there")
    }

    /// Defines an index of `size` octets and writes its beginning; the rest is zero.
    pub(crate) fn nv_write(&self, index: u32, content: &[u8], size: u16) {
        let mut tpm = self.tpm();
        // OWNERWRITE, AUTHWRITE, OWNERREAD, AUTHREAD, NO_DA
        let attributes: u32 = 1 << 1 | 1 << 2 | 1 << 17 | 1 << 18 | 1 << 25;
        let public =
            [&index.to_be_bytes()[..], &[0, 0x0b], &attributes.to_be_bytes(), &[0, 0], &size.to_be_bytes()]
                .concat();
        run(&mut tpm, "TPM2_NV_DefineSpace", 0x12a, &[OWNER], &[&[0, 0][..], &sized(&public)].concat());
        let mut whole = content.to_vec();
        whole.resize(usize::from(size), 0);
        for (part, chunk) in whole.chunks(1024).enumerate() {
            let offset = u16::try_from(part * 1024).expect("small");
            let parameters = [&sized(chunk)[..], &offset.to_be_bytes()].concat();
            run(&mut tpm, "TPM2_NV_Write", 0x137, &[OWNER, index], &parameters);
        }
    }

    /// What the paravisor leaves at boot: the chip's report binds a text that names the key.
    pub(crate) fn hcl(&self, modulus: &[u8]) -> Vec<u8> {
        let runtime = serde_json::json!({
            "keys": [{ "kid": "HCLAkPub", "kty": "RSA", "e": "AQAB", "n": URL_SAFE_NO_PAD.encode(modulus) }],
            "vm-configuration": {
                "console-enabled": false, "secure-boot": true, "tpm-enabled": true,
                "vmUniqueId": "7DF7B373-B947-4AAA-96E5-C358F2A03D20",
            },
        })
        .to_string();
        self.hcl_over(&runtime)
    }

    pub(crate) fn hcl_over(&self, runtime: &str) -> Vec<u8> {
        let mut bound = [0; 64];
        bound[..32].copy_from_slice(digest(&SHA256, runtime.as_bytes()).as_ref());
        let report = CHIP.report(&bound).expect("a report");
        let len = u32::try_from(runtime.len()).expect("short");
        let head: Vec<u8> =
            [2, 0x4d4 + len, 2, 0, 0, 0, 0].iter().flat_map(|word: &u32| word.to_le_bytes()).collect();
        let data: Vec<u8> =
            [20 + len, 1, 2, 1, len].iter().flat_map(|word: &u32| word.to_le_bytes()).collect();
        [b"HCLA", &head[..], &report, &data, runtime.as_bytes()].concat()
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        let _ = self.swtpm.kill();
        let _ = self.swtpm.wait();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

pub(crate) fn sized(bytes: &[u8]) -> Vec<u8> {
    [&u16::try_from(bytes.len()).expect("short").to_be_bytes()[..], bytes].concat()
}

/// A provisioning command, with the empty password for its first handle.
fn run(
    tpm: &mut Tpm<UnixStream>,
    name: &'static str,
    code: u32,
    handles: &[u32],
    parameters: &[u8],
) -> Vec<u8> {
    tpm.command(name, code, handles, Authorization::EmptyPassword, parameters).expect(name)
}

pub(crate) fn http(status: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
        .into_bytes()
}

fn certification(vcek: &[u8]) -> String {
    let text = STANDARD.encode(vcek);
    let lines: Vec<_> =
        text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).expect("ASCII")).collect();
    let pem = format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"));
    serde_json::json!({ "vcekCert": pem, "tcbm": "0", "certificateChain": "", "cacheControl": "86400" })
        .to_string()
}

/// Gives the same answer to everybody, until the process ends.
fn serve(answer: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let base = format!("http://{}", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(&answer);
        }
    });
    base
}
