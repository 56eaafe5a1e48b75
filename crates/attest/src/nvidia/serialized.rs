//! A list of devices' evidence in JSON, as NVIDIA's attestation SDK serializes it:
//!
//! ```text
//! [ { "arch": "HOPPER", "certificate": "<base64 of the PEM chain>", "evidence": "<base64 of the report>",
//!     "nonce": "<hex>" }, ... ]
//! ```
//!
//! `certificate` and `evidence` are read. What else stands there are labels of the sender's: the certificates say what a
//! device is, and the verifier knows its own nonce.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;

use super::evidence::{GpuEvidence, GpuParseError};

/// Longer lists are refused before they are parsed; NVIDIA's have about 12 KiB for each device.
const MAX_LIST: usize = 2 * 1024 * 1024;
/// More devices are refused; the largest machines have 8 GPUs and 4 switches.
const MAX_DEVICES: usize = 64;

#[derive(Deserialize)]
struct Device {
    certificate: String,
    evidence: String,
}

impl GpuEvidence {
    /// Takes a list of devices, at least one, each as [`GpuEvidence::parse`] takes it.
    ///
    /// # Errors
    /// Every departure from the format (spec/attest.md §14.5).
    pub fn parse_list(json: &[u8]) -> Result<Vec<Self>, GpuParseError> {
        let refused = |part| GpuParseError::Serialized { part };
        if json.len() > MAX_LIST {
            return Err(refused("length"));
        }
        let devices: Vec<Device> = serde_json::from_slice(json).map_err(|_| refused("JSON"))?;
        if devices.is_empty() || devices.len() > MAX_DEVICES {
            return Err(refused("number of devices"));
        }
        (1..)
            .zip(&devices)
            .map(|(position, device)| {
                let decode = |text: &str| BASE64_STANDARD.decode(text).map_err(|_| refused("base64"));
                let (report, chain) = (decode(&device.evidence)?, decode(&device.certificate)?);
                Self::parse(&report, &chain)
                    .map_err(|error| GpuParseError::Device { position, error: Box::new(error) })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(json: &str) -> &'static str {
        GpuEvidence::parse_list(json.as_bytes()).expect_err("must be refused").code()
    }

    #[test]
    fn what_is_not_a_list_of_devices_is_refused() {
        let nested = "[".repeat(1_000_000);
        let many = format!("[{}]", vec![r#"{"certificate":"","evidence":""}"#; 65].join(","));
        let long = " ".repeat(10 * 1024 * 1024);
        for json in [
            "",
            "[]",
            "{}",
            "[{}]",
            r#"{"certificate":"","evidence":""}"#,
            r#"[{"certificate":""}]"#,
            r#"[{"certificate":1,"evidence":""}]"#,
            r#"[{"certificate":"","evidence":"","evidence":""}]"#,
            r#"[{"certificate":"","evidence":""}] x"#,
            r#"[{"certificate":"","evidence":"*"}]"#,
            nested.as_str(),
            many.as_str(),
            long.as_str(),
        ] {
            assert_eq!(code(json), "nvidia.serialized.malformed", "{json:.60}");
        }
        assert_eq!(code(r#"[{"certificate":"","evidence":"","arch":"?"}]"#), "nvidia.format.truncated");
    }
}
