//! Event logs: the CCEL of a TD, and the log of a TPM (TCG PC Client Platform Firmware Profile 1.06, "Event logging"; UEFI 2.10
//! §38.4). A TCG_PCR_EVENT with a TCG_EfiSpecIdEvent, then TCG_PCR_EVENT2 with one digest each. Numbers are little endian.

use std::collections::BTreeMap;

use aws_lc_rs::digest::{Algorithm, SHA256, SHA384, digest};

/// EV_NO_ACTION, which measures nothing.
const NO_ACTION: u32 = 3;
/// TPM_ALG_SHA256 and TPM_ALG_SHA384.
const ALG_SHA256: u16 = 0x0b;
const ALG_SHA384: u16 = 0x0c;

/// EV_SEPARATOR.
pub const EV_SEPARATOR: u32 = 4;
/// EV_EVENT_TAG.
pub const EV_EVENT_TAG: u32 = 6;
/// EV_IPL.
pub const EV_IPL: u32 = 13;

/// A log that is being written, and the registers in which it ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventLog {
    algorithm: u16,
    bytes: Vec<u8>,
    registers: BTreeMap<u32, Vec<u8>>,
}

impl EventLog {
    /// The CCEL of a TD: SHA-384, measurement registers from 1, which is RTMR0.
    pub fn ccel() -> Self {
        Self::with(ALG_SHA384, 48)
    }

    /// The log of a TPM: SHA-256, PCRs from 0.
    pub fn tpm() -> Self {
        Self::with(ALG_SHA256, 32)
    }

    /// What a made-up boot of a TD measures: the firmware's configuration, a kernel, a command line. RTMR3 is left to the
    /// application.
    pub fn simulated_td() -> Self {
        let mut log = Self::ccel();
        log.measure(1, EV_EVENT_TAG, b"SIMULATED firmware configuration");
        log.measure(1, EV_SEPARATOR, &[0; 4]);
        log.measure(2, EV_EVENT_TAG, b"SIMULATED kernel");
        log.measure(2, EV_SEPARATOR, &[0; 4]);
        log.measure(3, EV_EVENT_TAG, b"SIMULATED command line");
        log
    }

    /// What a made-up boot of a virtual machine with a TPM measures, one event and a separator for each of PCRs 0 to 7.
    pub fn simulated_vm() -> Self {
        let mut log = Self::tpm();
        for pcr in 0..8 {
            log.measure(pcr, EV_EVENT_TAG, format!("SIMULATED boot, PCR {pcr}").as_bytes());
            log.measure(pcr, EV_SEPARATOR, &[0; 4]);
        }
        log
    }

    fn with(algorithm: u16, digest_bytes: u16) -> Self {
        let mut bytes = Vec::new();
        let first_register: u32 = if algorithm == ALG_SHA384 { 1 } else { 0 };
        bytes.extend(first_register.to_le_bytes());
        bytes.extend(NO_ACTION.to_le_bytes());
        bytes.extend([0; 20]);
        bytes.extend(33_u32.to_le_bytes());
        bytes.extend(b"Spec ID Event03\0");
        bytes.extend([0, 0, 0, 0, 0, 2, 0, 2]); // class, minor, major, errata, uintnSize
        bytes.extend(1_u32.to_le_bytes());
        bytes.extend(algorithm.to_le_bytes());
        bytes.extend(digest_bytes.to_le_bytes());
        bytes.push(0);
        Self { algorithm, bytes, registers: BTreeMap::new() }
    }

    /// Extends a register with the hash of `data`, and logs it.
    pub fn measure(&mut self, register: u32, event_type: u32, data: &[u8]) {
        let hash = digest(self.hash(), data).as_ref().to_vec();
        self.extend(register, event_type, &hash, data);
    }

    /// Extends a register with this digest, and logs it beside any data.
    pub fn extend(&mut self, register: u32, event_type: u32, event_digest: &[u8], data: &[u8]) {
        self.bytes.extend(register.to_le_bytes());
        self.bytes.extend(event_type.to_le_bytes());
        self.bytes.extend(1_u32.to_le_bytes());
        self.bytes.extend(self.algorithm.to_le_bytes());
        self.bytes.extend(event_digest);
        self.bytes.extend(u32::try_from(data.len()).unwrap_or(u32::MAX).to_le_bytes());
        self.bytes.extend(data);
        let before = self.register(register);
        let after = digest(self.hash(), &[&before, event_digest].concat());
        self.registers.insert(register, after.as_ref().to_vec());
    }

    /// The log as the firmware leaves it, without fill.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// A register's value: zeros where nothing was measured.
    pub fn register(&self, register: u32) -> Vec<u8> {
        let zero = || vec![0; self.hash().output_len()];
        self.registers.get(&register).cloned().unwrap_or_else(zero)
    }

    /// RTMR0 to RTMR3, of a CCEL.
    pub fn rtmrs(&self) -> [[u8; 48]; 4] {
        [1, 2, 3, 4].map(|register| fixed(&self.register(register)))
    }

    /// PCR 0 to 23, of a TPM's log. PCR 17 to 22 are all ones after a boot without a dynamic launch.
    pub fn pcrs(&self) -> Vec<(u8, [u8; 32])> {
        (0..24)
            .map(|pcr| match pcr {
                17..=22 => (pcr, [0xff; 32]),
                _ => (pcr, fixed(&self.register(pcr.into()))),
            })
            .collect()
    }

    fn hash(&self) -> &'static Algorithm {
        if self.algorithm == ALG_SHA384 { &SHA384 } else { &SHA256 }
    }
}

/// Zeros behind a shorter value.
fn fixed<const N: usize>(value: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    out.iter_mut().zip(value).for_each(|(to, from)| *to = *from);
    out
}
