//! Quotes, byte by byte: versions 4 and 5 of Intel's TDX DCAP Quoting Library API ("Quote format"), with the three bodies of
//! version 5, and the TDREPORT (Intel TDX Module ABI, TDREPORT_STRUCT) that a body is made of. Numbers are little endian.

use super::machine::TdxConfig;

/// The layout of a quote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuoteFormat {
    /// Version 4, which has a TD 1.0 body.
    V4,
    /// Version 5 with a TD 1.0 body.
    V5Td10,
    /// Version 5 with a TD 1.5 body.
    V5Td15,
    /// Version 5 with a TD 1.5 body and its extension, which is zero here.
    V5Td15Extended,
}

/// ECDSA P-256.
const ATTESTATION_KEY: u16 = 2;
/// TDX.
const TEE_TYPE: u32 = 0x81;
/// Intel's quoting enclave, 939a7233-f79c-4ca9-940a-0db3957f0607.
const QE_VENDOR: [u8; 16] =
    [0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9, 0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f, 0x06, 0x07];
/// Certification data: a QE report with its own certification data.
const QE_REPORT: u16 = 6;
/// Certification data: a PCK certificate chain.
const PCK_CHAIN: u16 = 5;
/// Octets of a TDREPORT.
const TDREPORT_BYTES: usize = 1024;

impl QuoteFormat {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::V4, Self::V5Td10, Self::V5Td15, Self::V5Td15Extended];

    fn version(self) -> u16 {
        match self {
            Self::V4 => 4,
            Self::V5Td10 | Self::V5Td15 | Self::V5Td15Extended => 5,
        }
    }

    /// Type of the body, and its length.
    fn body(self) -> (u16, u32) {
        match self {
            Self::V4 | Self::V5Td10 => (2, 584),
            Self::V5Td15 => (3, 648),
            Self::V5Td15Extended => (4, 885),
        }
    }
}

/// Header and body: what the attestation key signs.
pub(super) fn signed(config: &TdxConfig, report_data: &[u8; 64]) -> Vec<u8> {
    let mut quote = Vec::new();
    quote.extend(config.format.version().to_le_bytes());
    quote.extend(ATTESTATION_KEY.to_le_bytes());
    quote.extend(TEE_TYPE.to_le_bytes());
    quote.extend([0; 4]);
    quote.extend(QE_VENDOR);
    quote.extend([0; 20]);
    let (kind, length) = config.format.body();
    if config.format != QuoteFormat::V4 {
        quote.extend(kind.to_le_bytes());
        quote.extend(length.to_le_bytes());
    }
    let mut body = td_body(config, report_data);
    body.resize(usize::try_from(length).unwrap_or(0), 0);
    quote.extend(body);
    quote
}

/// All fields in their order; a shorter body has the first of them.
fn td_body(config: &TdxConfig, report_data: &[u8; 64]) -> Vec<u8> {
    let mut body = Vec::new();
    body.extend(config.tee_tcb_svn);
    body.extend(config.mr_seam);
    body.extend(config.mr_signer_seam);
    body.extend(config.seam_attributes.to_le_bytes());
    body.extend(config.td_attributes.to_le_bytes());
    body.extend(config.xfam.to_le_bytes());
    body.extend(config.mr_td);
    body.extend(config.mr_config_id);
    body.extend(config.mr_owner);
    body.extend(config.mr_owner_config);
    body.extend(config.rtmrs.as_flattened());
    body.extend(report_data);
    body.extend(config.tee_tcb_svn2);
    body.extend(config.mr_service_td);
    body
}

/// What the quoting enclave adds to header and body.
pub(super) struct Authentication<'a> {
    /// The attestation key's, over header and body: r and s.
    pub(super) signature: &'a [u8],
    /// The attestation key: x and y.
    pub(super) key: &'a [u8],
    pub(super) qe_report: &'a [u8],
    /// The PCK's, over the QE report.
    pub(super) qe_signature: &'a [u8],
    pub(super) qe_authentication: &'a [u8],
    /// PEM, the leaf first.
    pub(super) pck_chain: &'a str,
}

/// The whole quote.
pub(super) fn assemble(signed: &[u8], parts: &Authentication<'_>) -> Vec<u8> {
    let chain = [&PCK_CHAIN.to_le_bytes()[..], &sized(parts.pck_chain.as_bytes())].concat();
    let authentication_length = u16::try_from(parts.qe_authentication.len()).unwrap_or(u16::MAX);
    let certification = [
        parts.qe_report,
        parts.qe_signature,
        &authentication_length.to_le_bytes(),
        parts.qe_authentication,
        &chain,
    ]
    .concat();
    let data = [parts.signature, parts.key, &QE_REPORT.to_le_bytes()[..], &sized(&certification)].concat();
    [signed, &sized(&data)].concat()
}

/// A length of four bytes, and what has it. Everything here is a few kilobytes long.
fn sized(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    [&length.to_le_bytes()[..], bytes].concat()
}

/// A quoting enclave's report (Intel SDM volume 3D, REPORTBODY), 384 bytes.
pub(super) struct QeReport {
    /// Low byte of ATTRIBUTES: bit 1 is DEBUG.
    pub(super) attributes: u8,
    pub(super) mr_signer: [u8; 32],
    pub(super) isv_prod_id: u16,
    pub(super) isv_svn: u16,
    /// First half of REPORTDATA.
    pub(super) bound: [u8; 32],
}

impl QeReport {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut report = Vec::new();
        report.extend([0; 48]); // CPUSVN, MISCSELECT, reserved
        report.push(self.attributes);
        report.extend([0; 15 + 32 + 32]); // rest of ATTRIBUTES, MRENCLAVE, reserved
        report.extend(self.mr_signer);
        report.extend([0; 96]);
        report.extend(self.isv_prod_id.to_le_bytes());
        report.extend(self.isv_svn.to_le_bytes());
        report.extend([0; 60]);
        report.extend(self.bound);
        report.extend([0; 32]);
        report
    }
}

/// A TDREPORT, which is nobody's word away from its machine: its MAC is zero.
///
/// ```text
///   0  4   type 0x81, subtype, version, reserved     256  239  TEE_TCB_INFO
/// 128  64  REPORTDATA                                512  512  TDINFO: attributes, XFAM, MRTD, … RTMR3
/// 224  32  MAC
/// ```
pub(crate) fn td_report(config: &TdxConfig, report_data: &[u8; 64]) -> Vec<u8> {
    let mut report = vec![0x81, 0, 0, 0];
    report.resize(128, 0);
    report.extend(report_data);
    report.resize(512, 0);
    report.extend(config.td_attributes.to_le_bytes());
    report.extend(config.xfam.to_le_bytes());
    report.extend(config.mr_td);
    report.extend(config.mr_config_id);
    report.extend(config.mr_owner);
    report.extend(config.mr_owner_config);
    report.extend(config.rtmrs.as_flattened());
    report.resize(TDREPORT_BYTES, 0);
    report
}
