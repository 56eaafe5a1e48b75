//! A SEV-SNP report as guest-components hands it out: the fields of crate `sev`, versions 6 and 7, in JSON. There are no raw bytes
//! in it.
//!
//! What is verified is the report that the fields spell, octet for octet: 1184 of them in AMD's layout (spec/attest.md §3),
//! with zeros where no field is. The signature is over those octets, so that a report with anything else in a gap does not
//! verify; and each field has one spelling only.

use super::super::error::BundleError;
use super::super::members::Members;

const TCB: [&str; 5] = [
    "attestation_report.tcb.fmc",
    "attestation_report.tcb.bootloader",
    "attestation_report.tcb.tee",
    "attestation_report.tcb.snp",
    "attestation_report.tcb.microcode",
];

/// The octets that the fields spell.
pub(super) fn report(mut fields: Members) -> Result<Vec<u8>, BundleError> {
    let version = fields.number("attestation_report.version", U32)?;
    let mut report = Writer(Vec::with_capacity(1184));
    report.u32(version);
    report.u32(fields.number("attestation_report.guest_svn", U32)?);
    report.u64(fields.number("attestation_report.policy", u64::MAX)?);
    report.octets(&fields.octets::<16>("attestation_report.family_id")?);
    report.octets(&fields.octets::<16>("attestation_report.image_id")?);
    report.u32(fields.number("attestation_report.vmpl", U32)?);
    report.u32(fields.number("attestation_report.sig_algo", U32)?);
    report.octets(&tcb(fields.object("attestation_report.current_tcb")?)?);
    report.u64(fields.number("attestation_report.plat_info", u64::MAX)?);
    report.u32(fields.number("attestation_report.key_info", U32)?);
    report.zeros(4);
    report.octets(&fields.octets::<64>("attestation_report.report_data")?);
    report.octets(&fields.octets::<48>("attestation_report.measurement")?);
    report.octets(&fields.octets::<32>("attestation_report.host_data")?);
    report.octets(&fields.octets::<48>("attestation_report.id_key_digest")?);
    report.octets(&fields.octets::<48>("attestation_report.author_key_digest")?);
    report.octets(&fields.octets::<32>("attestation_report.report_id")?);
    report.octets(&fields.octets::<32>("attestation_report.report_id_ma")?);
    report.octets(&tcb(fields.object("attestation_report.reported_tcb")?)?);
    // Of a version 2 report these are null.
    for path in [
        "attestation_report.cpuid_fam_id",
        "attestation_report.cpuid_mod_id",
        "attestation_report.cpuid_step",
    ] {
        report.u8(fields.number_or_null(path, U8)?.unwrap_or_default());
    }
    report.zeros(21);
    report.octets(&fields.octets::<64>("attestation_report.chip_id")?);
    report.octets(&tcb(fields.object("attestation_report.committed_tcb")?)?);
    report.octets(&firmware(fields.object("attestation_report.current")?)?);
    report.zeros(1);
    report.octets(&firmware(fields.object("attestation_report.committed")?)?);
    report.zeros(1);
    report.octets(&tcb(fields.object("attestation_report.launch_tcb")?)?);
    // Before version 5 these are null, and crate `sev` 6 has none.
    report.u64(fields.number_or_null("attestation_report.launch_mit_vector", u64::MAX)?.unwrap_or_default());
    report.u64(fields.number_or_null("attestation_report.current_mit_vector", u64::MAX)?.unwrap_or_default());
    report.zeros(152);
    let mut signature = fields.object("attestation_report.signature")?;
    report.octets(&signature.octets::<72>("attestation_report.signature.r")?);
    report.octets(&signature.octets::<72>("attestation_report.signature.s")?);
    signature.end()?;
    report.zeros(368);
    fields.end()?;
    Ok(report.0)
}

const U32: u64 = u32::MAX as u64;
const U8: u64 = u8::MAX as u64;

/// A TCB with an FMC is of Turin, which orders the octets otherwise (AMD 57230 §3).
fn tcb(mut fields: Members) -> Result<[u8; 8], BundleError> {
    let [fmc, bootloader, tee, snp, microcode] = TCB;
    let fmc = fields.number_or_null(fmc, U8)?;
    let bootloader = octet(fields.number(bootloader, U8)?);
    let tee = octet(fields.number(tee, U8)?);
    let snp = octet(fields.number(snp, U8)?);
    let microcode = octet(fields.number(microcode, U8)?);
    fields.end()?;
    Ok(match fmc {
        None => [bootloader, tee, 0, 0, 0, 0, snp, microcode],
        Some(fmc) => [octet(fmc), bootloader, tee, snp, 0, 0, 0, microcode],
    })
}

/// Build, minor and major version, in this order.
fn firmware(mut fields: Members) -> Result<[u8; 3], BundleError> {
    let major = octet(fields.number("attestation_report.firmware.major", U8)?);
    let minor = octet(fields.number("attestation_report.firmware.minor", U8)?);
    let build = octet(fields.number("attestation_report.firmware.build", U8)?);
    fields.end()?;
    Ok([build, minor, major])
}

/// The lowest octet of a number that is one.
fn octet(number: u64) -> u8 {
    let [lowest, ..] = number.to_le_bytes();
    lowest
}

struct Writer(Vec<u8>);

impl Writer {
    fn octets(&mut self, octets: &[u8]) {
        self.0.extend_from_slice(octets);
    }

    fn zeros(&mut self, count: usize) {
        self.0.extend(core::iter::repeat_n(0, count));
    }

    fn u8(&mut self, number: u64) {
        self.0.push(octet(number));
    }

    /// The lower four octets.
    fn u32(&mut self, number: u64) {
        let [a, b, c, d, ..] = number.to_le_bytes();
        self.octets(&[a, b, c, d]);
    }

    fn u64(&mut self, number: u64) {
        self.octets(&number.to_le_bytes());
    }
}
