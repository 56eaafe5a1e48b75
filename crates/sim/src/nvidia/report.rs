//! What a simulated GPU reports: SPDM 1.1 GET_MEASUREMENTS and MEASUREMENTS, concatenated (DMTF DSP0274 §10.11), with
//! NVIDIA's opaque fields (type u16, size u16, value; little-endian).

/// Driver version of every simulated GPU.
pub const DRIVER: &str = "570.10.01";
/// VBIOS version of every simulated GPU.
pub const VBIOS: &str = "96.00.9F.00.01";
/// VBIOS version of every simulated switch.
pub const SWITCH_VBIOS: &str = "96.10.6D.00.01";
/// Digest of the firmware of every simulated GPU.
pub const FIRMWARE_ID: [u8; 48] = [5; 48];
/// How many measurements a simulated GPU makes; number n is 48 bytes of n, counted from 0.
pub const MEASUREMENTS: u8 = 40;

/// [`VBIOS`] as it stands in a report: 00.01 behind 96.00.9F, each word little-endian.
const VBIOS_WORDS: [u8; 8] = [0, 0x9f, 0, 0x96, 1, 0, 0, 0];

/// Bytes of one block: header, and a measurement.
const BLOCK_BYTES: u32 = 55;

/// What a report says before it is signed; each field can be made wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The verifier's nonce.
    pub nonce: [u8; 32],
    /// At most 255.
    pub measurements: Vec<[u8; 48]>,
    /// DRIVER_VERSION, where it is reported.
    pub driver: Option<&'static str>,
    /// VBIOS_VERSION.
    pub vbios: Vec<u8>,
    /// PROTECTED_PCIE_STATUS, where it is reported: 0xAA on, 0x55 off.
    pub protected_pcie: Option<u8>,
    /// PDI, where it is reported: of a switch its own; of a GPU those of its switches, last octet first.
    pub pdi: Vec<[u8; 8]>,
    /// NVDEC0_STATUS, where it is reported: 0xAA on, 0x55 off.
    pub nvdec0: Option<u8>,
    /// FWID, where it is reported.
    pub firmware_id: Option<[u8; 48]>,
}

impl Report {
    /// A right one: the first video decoder is off.
    pub fn new(nonce: [u8; 32]) -> Self {
        Self {
            nonce,
            measurements: (0..MEASUREMENTS).map(|index| [index; 48]).collect(),
            driver: Some(DRIVER),
            vbios: VBIOS_WORDS.to_vec(),
            protected_pcie: None,
            pdi: Vec::new(),
            nvdec0: Some(0x55),
            firmware_id: Some(FIRMWARE_ID),
        }
    }

    /// Of a switch with this identity.
    pub(super) fn of_switch(pdi: [u8; 8]) -> Self {
        Self {
            driver: None,
            vbios: SWITCH_VBIOS.as_bytes().to_vec(),
            pdi: vec![pdi],
            nvdec0: None,
            ..Self::new([0; 32])
        }
    }

    /// Of a GPU that protects PCIe and is linked with these switches. A second link of each is off.
    pub(super) fn linked(switches: &[[u8; 8]]) -> Self {
        let links = switches.iter().flat_map(|pdi| {
            let mut seen = *pdi;
            seen.reverse();
            [seen, [0; 8]]
        });
        Self { protected_pcie: Some(0xaa), pdi: links.collect(), ..Self::new([0; 32]) }
    }

    /// The bytes that are signed.
    pub(super) fn message(&self) -> Vec<u8> {
        let count = u8::try_from(self.measurements.len()).unwrap_or(u8::MAX);
        let [low, middle, high, _] = u32::from(count).saturating_mul(BLOCK_BYTES).to_le_bytes();
        let mut bytes = vec![0x11, 0xe0, 0x01, 0xff];
        bytes.extend(self.nonce);
        bytes.extend([0, 0x11, 0x60, 0, 0, count, low, middle, high]);
        for (index, value) in (1..=u8::MAX).zip(&self.measurements) {
            bytes.extend([index, 1, 51, 0, 1, 48, 0]);
            bytes.extend(value);
        }
        bytes.extend([9; 32]);
        let opaque = self.opaque();
        bytes.extend(length(&opaque));
        bytes.extend(opaque);
        bytes
    }

    fn opaque(&self) -> Vec<u8> {
        let mut fields: Vec<(u16, &[u8])> = vec![(6, self.vbios.as_slice())];
        fields.extend(self.firmware_id.as_ref().map(|digest| (20, digest.as_slice())));
        fields.extend([(15, b"882".as_slice()), (17, b"1010"), (18, b"0200")]);
        fields.extend(self.driver.map(|version| (3, version.as_bytes())));
        let nvdec0 = self.nvdec0.map(|status| [status]);
        fields.extend(nvdec0.as_ref().map(|status| (11, status.as_slice())));
        let protected_pcie = self.protected_pcie.map(|status| [status]);
        fields.extend(protected_pcie.as_ref().map(|status| (21, status.as_slice())));
        let pdi = self.pdi.as_flattened();
        fields.extend((!pdi.is_empty()).then_some((22, pdi)));
        let mut bytes = Vec::new();
        for (kind, value) in fields {
            bytes.extend(kind.to_le_bytes());
            bytes.extend(length(value));
            bytes.extend(value);
        }
        bytes
    }
}

/// As both of the format's lengths are written; nothing here comes near the limit.
fn length(value: &[u8]) -> [u8; 2] {
    u16::try_from(value.len()).unwrap_or(u16::MAX).to_le_bytes()
}
