//! The HCL report: what the paravisor leaves in a virtual TPM's NV index. Offsets as in the recorded reports. Numbers are little
//! endian.
//!
//! ```text
//! 0x000  4  "HCLA"        0x010  4  status 0              0x4C0  4  data size = 20 + n
//! 0x004  4  version       0x014  12 reserved              0x4C4  4  data version 1
//! 0x008  4  0x4D4 + n     0x020  1184  SEV-SNP report,    0x4C8  4  report type: 2 SNP, 4 TDX
//! 0x00C  4  request 2            or TDREPORT and zeros    0x4CC  4  hash type: 1 SHA-256
//!                                                         0x4D0  4  n, then as many bytes of runtime data
//! ```

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::{AzureConfig, AzureMistake};

/// Size of the NV index in the recorded machines.
const NV_INDEX_BYTES: usize = 2600;
/// Bytes of the place of the hardware report.
const HARDWARE_BYTES: usize = 1184;
/// Bytes before the runtime data.
const FIXED: u32 = 0x4d4;
const DATA_HEADER: u32 = 20;
const REQUEST_TYPE: u32 = 2;
const DATA_VERSION: u32 = 1;
const HASH_SHA256: u32 = 1;
const REPORT_SNP: u32 = 2;
const REPORT_TDX: u32 = 4;

/// The runtime data, as the paravisor writes it.
pub(super) fn runtime(config: &AzureConfig, ak_modulus: &[u8], ek_modulus: &[u8]) -> Vec<u8> {
    let key = |kid: &str, operation: &str, modulus: &[u8]| {
        json!({
            "kid": kid,
            "key_ops": [operation],
            "kty": "RSA",
            "e": "AQAB",
            "n": URL_SAFE_NO_PAD.encode(modulus),
        })
    };
    let second = if config.mistake == AzureMistake::TwoKeys { "HCLAkPub" } else { "HCLEkPub" };
    let mut runtime = json!({
        "keys": [key("HCLAkPub", "sign", ak_modulus), key(second, "encrypt", ek_modulus)],
        "vm-configuration": {
            "console-enabled": config.console_enabled,
            "secure-boot": config.secure_boot,
            "tpm-enabled": true,
            "vmUniqueId": config.vm_id,
        },
    });
    if let (Some(members), Some(user_data)) = (runtime.as_object_mut(), &config.user_data) {
        members.insert("user-data".to_owned(), Value::from(hex::encode_upper(user_data)));
    }
    runtime.to_string().into_bytes()
}

/// What the hardware is asked to bind: the hash of the runtime data, and zeros.
pub(super) fn report_data(runtime: &[u8], mistake: AzureMistake) -> [u8; 64] {
    let mut bound = [0; 64];
    bound.iter_mut().zip(digest(&SHA256, runtime).as_ref()).for_each(|(to, from)| *to = *from);
    match mistake {
        AzureMistake::RuntimeNotBound => bound.iter_mut().take(1).for_each(|byte| *byte ^= 1),
        AzureMistake::BoundWithMore => bound.iter_mut().skip(63).for_each(|byte| *byte = 1),
        _ => {}
    }
    bound
}

/// The whole report. `is_tdx` says which of the two the hardware report is.
pub(super) fn report(hardware: &[u8], is_tdx: bool, runtime: &[u8]) -> Vec<u8> {
    let size = u32::try_from(runtime.len()).unwrap_or(u32::MAX);
    let words = |words: &[u32]| -> Vec<u8> { words.iter().flat_map(|word| word.to_le_bytes()).collect() };
    let version = if is_tdx { 2 } else { 1 };
    let mut report = b"HCLA".to_vec();
    report.extend(words(&[version, size.saturating_add(FIXED), REQUEST_TYPE, 0, 0, 0, 0]));
    let start = report.len();
    report.extend(hardware);
    report.resize(start.saturating_add(HARDWARE_BYTES), 0);
    let kind = if is_tdx { REPORT_TDX } else { REPORT_SNP };
    report.extend(words(&[size.saturating_add(DATA_HEADER), DATA_VERSION, kind, HASH_SHA256, size]));
    report.extend(runtime);
    if report.len() < NV_INDEX_BYTES {
        report.resize(NV_INDEX_BYTES, 0);
    }
    report
}
