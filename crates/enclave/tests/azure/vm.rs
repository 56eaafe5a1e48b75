//! The virtual machine: swtpm, its provisioning, and what the host would serve.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use casemate_attest::UnixTime;
use casemate_attest::snp::ProductLine;
use casemate_enclave::tpm::{Authorization, Tpm};
use casemate_enclave::{AzureReport, Roots};
use casemate_sim::{Machine, MachineConfig, Vendor};

use crate::paravisor::{self, Paravisor};
use crate::swtpm::{OWNER, Swtpm, run, signing_key, sized};

pub(crate) const NOW: UnixTime = UnixTime(1_767_268_800);
pub(crate) const PARAVISOR: [u8; 48] = [0x32; 48];

const ENDORSEMENT: u32 = 0x4000_000b;
pub(crate) const REPORT: u32 = 0x0140_0001;
pub(crate) const USER_DATA: u32 = 0x0140_0002;
pub(crate) const CERTIFICATE: u32 = 0x01c1_01d0;
const KEY: u32 = 0x8100_0003;

/// Keys take seconds to make: one vendor and one chip for all machines.
pub(crate) static VENDOR: LazyLock<Vendor> =
    LazyLock::new(|| Vendor::create(ProductLine::Genoa, NOW).expect("a vendor"));
pub(crate) static CHIP: LazyLock<Machine> =
    LazyLock::new(|| VENDOR.machine(&MachineConfig::new(PARAVISOR)).expect("a machine"));

/// A machine whose TPM is empty.
pub(crate) struct Vm {
    swtpm: Swtpm,
    metadata: String,
    report: AzureReport,
}

impl Vm {
    pub(crate) fn new() -> Self {
        let swtpm = Swtpm::start("azure");
        fs::write(swtpm.dir.join("tag"), "7783-7084-3265-9085-8269-3286-77\n").expect("a tag");
        let metadata = serve(http("200 OK", &certification(CHIP.vek_der())));
        Self { swtpm, metadata, report: AzureReport::Exchange }
    }

    /// A machine as Azure sets it up, without a certificate of its attestation key.
    pub(crate) fn provisioned() -> Self {
        Self::over(Paravisor::usual())
    }

    /// With this paravisor between the guest and its TPM.
    pub(crate) fn over(paravisor: Paravisor) -> Self {
        let vm = Self::new();
        let modulus = vm.make_key();
        vm.nv_write(REPORT, &hcl(&modulus, Some(&[0; 64])), 2048);
        paravisor::start(paravisor, modulus, &vm.swtpm.dir);
        vm
    }

    /// The report of the boot is good enough.
    pub(crate) fn at_boot(mut self) -> Self {
        self.report = AzureReport::Boot;
        self
    }

    pub(crate) fn with_metadata(mut self, answer: Vec<u8>) -> Self {
        self.metadata = serve(answer);
        self
    }

    pub(crate) fn roots(&self) -> Roots {
        let none = || self.swtpm.dir.join("none");
        Roots {
            nsm: none(),
            chassis_asset_tag: self.swtpm.dir.join("tag"),
            tpm: paravisor::socket(&self.swtpm.dir),
            tpm_event_log: none(),
            confidential_space: none(),
            azure_metadata: self.metadata.clone(),
            azure_report: self.report,
            tsm: none(),
            sev_guest: none(),
            tdx_guest: none(),
            quote_service: casemate_enclave::QuoteService::Socket(none()),
        }
    }

    pub(crate) fn tpm(&self) -> Tpm<UnixStream> {
        self.swtpm.tpm()
    }

    pub(crate) fn nv_write(&self, index: u32, content: &[u8], size: u16) {
        self.swtpm.nv_write(index, content, size);
    }

    /// An index that only a policy writes, which nobody fulfils.
    pub(crate) fn define_unwritable(&self, index: u32, size: u16) {
        // POLICYWRITE, OWNERREAD, AUTHREAD, NO_DA
        let attributes: u32 = 1 << 3 | 1 << 17 | 1 << 18 | 1 << 25;
        let public =
            [&index.to_be_bytes()[..], &[0, 0x0b], &attributes.to_be_bytes(), &[0, 0], &size.to_be_bytes()]
                .concat();
        let parameters = [&[0, 0][..], &sized(&public)].concat();
        run(&mut self.tpm(), "TPM2_NV_DefineSpace", 0x12a, &[OWNER], &parameters);
    }

    /// A restricted RSA-2048 signing key at 0x81000003; its modulus.
    pub(crate) fn make_key(&self) -> Vec<u8> {
        let mut tpm = self.tpm();
        // noDA, restricted; no modulus yet
        let public = signing_key(1 << 10 | 1 << 16, &[]);
        // No password and no data; the key; no outside information; no PCRs.
        let parameters = [&[0, 4, 0, 0, 0, 0][..], &sized(&public), &[0, 0], &[0; 4]].concat();
        let made = run(&mut tpm, "TPM2_CreatePrimary", 0x131, &[ENDORSEMENT], &parameters);
        let transient = u32::from_be_bytes(made[..4].try_into().expect("a handle"));
        run(&mut tpm, "TPM2_EvictControl", 0x120, &[OWNER, transient], &KEY.to_be_bytes());
        tpm.command("TPM2_FlushContext", 0x165, &[transient], Authorization::None, &[]).expect("flushed");
        tpm.rsa_modulus(KEY).expect("readable").expect("there")
    }
}

/// What the paravisor writes: the chip's report binds a text that names the key, and what the guest wrote.
pub(crate) fn hcl(modulus: &[u8], user_data: Option<&[u8]>) -> Vec<u8> {
    let mut runtime = serde_json::json!({
        "keys": [{ "kid": "HCLAkPub", "kty": "RSA", "e": "AQAB", "n": URL_SAFE_NO_PAD.encode(modulus) }],
        "vm-configuration": {
            "console-enabled": false, "secure-boot": true, "tpm-enabled": true,
            "vmUniqueId": "7DF7B373-B947-4AAA-96E5-C358F2A03D20",
        },
    });
    if let Some(user_data) = user_data {
        runtime["user-data"] = hex::encode_upper(user_data).into();
    }
    hcl_over(&runtime.to_string())
}

pub(crate) fn hcl_over(runtime: &str) -> Vec<u8> {
    let mut bound = [0; 64];
    bound[..32].copy_from_slice(digest(&SHA256, runtime.as_bytes()).as_ref());
    let report = CHIP.report(&bound).expect("a report");
    let len = u32::try_from(runtime.len()).expect("short");
    let head: Vec<u8> =
        [2, 0x4d4 + len, 2, 0, 0, 0, 0].iter().flat_map(|word: &u32| word.to_le_bytes()).collect();
    let data: Vec<u8> = [20 + len, 1, 2, 1, len].iter().flat_map(|word: &u32| word.to_le_bytes()).collect();
    [b"HCLA", &head[..], &report, &data, runtime.as_bytes()].concat()
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
