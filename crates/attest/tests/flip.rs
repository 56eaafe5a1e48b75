//! A good report and its endorsements, with one bit or one byte changed: never genuine again.
//!
//! The loops are complete: every bit of the signed part, of the certificate and of the revocation list, and every value
//! of every byte of the signature and the padding that differs in one bit.

mod recorded;

use casemate_attest::snp::SIGNED_LEN;
use casemate_attest::{Endorsements, Evidence, Revocation, TrustAnchors, verify};
use libtest_mimic::{Arguments, Failed, Trial};
use recorded::{Recording, genoa, turin, vlek};

/// The second backend only has to agree with the first, which is asked about every bit: it is slower, and gets every 31st,
/// so that every place of a byte has its turn (scripts/test-backends.sh).
const STEP: usize = if cfg!(casemate_rustcrypto) { 31 } else { 1 };

fn main() {
    let arguments = Arguments::from_args();
    let absent = recorded::folder().is_none();
    let trials = [
        ("every bit of the signed part of a Genoa report", report_bits as fn() -> Result<(), Failed>),
        ("every bit of the signature and padding of a Genoa report", tail_bits),
        ("every bit of a VCEK certificate (short PSS parameters)", || certificate_bits(&genoa())),
        ("every bit of a VCEK certificate of Turin", || certificate_bits(&turin())),
        ("every bit of a VLEK certificate", || certificate_bits(&vlek())),
        (
            "every bit of a VCEK certificate (explicit trailer field)",
            || certificate_bits(&explicit_trailer()),
        ),
        ("every bit of a revocation list with an entry", || list_bits(&genoa())),
        ("every bit of a revocation list without one", || list_bits(&vlek())),
        ("every prefix of the report, the certificate and the list", prefixes),
    ];
    let trials = trials.map(|(name, run)| Trial::test(name, run).with_ignored_flag(absent));
    libtest_mimic::run(&arguments, trials.into()).exit();
}

/// Without it, a loop could pass because nothing was genuine to begin with.
fn unchanged_is_genuine(case: &Recording) -> Result<(), Failed> {
    match refused(&case.report, &case.vek, case.revocation.clone(), "nothing changed") {
        Err(_) => Ok(()),
        Ok(()) => Err("the unchanged recording is not genuine".into()),
    }
}

fn report_bits() -> Result<(), Failed> {
    let case = genoa();
    unchanged_is_genuine(&case)?;
    for (changed, what) in flips(&case.report[..SIGNED_LEN]) {
        let report = [&changed, &case.report[SIGNED_LEN..]].concat();
        refused(&report, &case.vek, case.revocation.clone(), &what)?;
    }
    Ok(())
}

fn tail_bits() -> Result<(), Failed> {
    let case = genoa();
    unchanged_is_genuine(&case)?;
    for (changed, what) in flips(&case.report[SIGNED_LEN..]) {
        let report = [&case.report[..SIGNED_LEN], &changed].concat();
        refused(&report, &case.vek, case.revocation.clone(), &what)?;
    }
    Ok(())
}

fn certificate_bits(case: &Recording) -> Result<(), Failed> {
    unchanged_is_genuine(case)?;
    for (vek, what) in flips(&case.vek) {
        refused(&case.report, &vek, case.revocation.clone(), &what)?;
    }
    Ok(())
}

fn list_bits(case: &Recording) -> Result<(), Failed> {
    let Revocation::Crl(crl) = &case.revocation else {
        return Err("the recording has no list".into());
    };
    unchanged_is_genuine(case)?;
    for (crl, what) in flips(crl) {
        refused(&case.report, &case.vek, Revocation::Crl(crl), &what)?;
    }
    Ok(())
}

fn prefixes() -> Result<(), Failed> {
    let case = genoa();
    let Revocation::Crl(crl) = &case.revocation else {
        return Err("the recording has no list".into());
    };
    for length in 0..case.report.len() {
        refused(&case.report[..length], &case.vek, case.revocation.clone(), &format!("report of {length}"))?;
    }
    for length in 0..case.vek.len() {
        refused(
            &case.report,
            &case.vek[..length],
            case.revocation.clone(),
            &format!("certificate of {length}"),
        )?;
    }
    for length in 0..crl.len() {
        refused(
            &case.report,
            &case.vek,
            Revocation::Crl(crl[..length].to_vec()),
            &format!("list of {length}"),
        )?;
    }
    Ok(())
}

fn explicit_trailer() -> Recording {
    let vek = "snp/virtee_milan/vcek.der";
    Recording::new("snp/virtee_milan/report.bin", vek, recorded::crl("milan"), recorded::JUNE_2025)
}

fn flips(bytes: &[u8]) -> impl Iterator<Item = (Vec<u8>, String)> + '_ {
    (0..bytes.len() * 8).step_by(STEP).map(|position| {
        let mut changed = bytes.to_vec();
        changed[position / 8] ^= 1 << (position % 8);
        (changed, format!("bit {} of byte {:#x}", position % 8, position / 8))
    })
}

fn refused(report: &[u8], vek: &[u8], revocation: Revocation, what: &str) -> Result<(), Failed> {
    let Ok(evidence) = Evidence::parse(report) else {
        return Ok(());
    };
    let endorsements = Endorsements::snp(vek.to_vec(), revocation);
    match verify(&evidence, &endorsements, &TrustAnchors::amd(), recorded::OCTOBER_2025) {
        Err(_) => Ok(()),
        Ok(_) => Err(format!("still genuine with a change: {what}").into()),
    }
}
