//! "Is it genuine?": rules SNP-01 to SNP-10, in this order (spec/attest.md §6).

use super::bits::Signer;
use super::product::ProductLine;
use super::reject::{SnpRejection, issuer_name};
use super::report::Report;
use super::tcb::{RawTcb, Tcb};
use super::vek::{Subject, Vek};
use crate::anchors::{LineAnchors, TrustAnchors};
use crate::chain::{self, Issuers, Profile};
use crate::checks::{Finding, Ledger};
use crate::crypto;
use crate::endorsements::Revocation;
use crate::rules::sev_snp as rules;
use crate::time::UnixTime;
use crate::x509::PublicKey;

/// What AMD's certificates are like: RSA-4096 authorities, P-384 endorsement keys, RSASSA-PSS with SHA-384.
static PROFILE: Profile = Profile {
    algorithms: crypto::RSA_PSS_SHA384,
    issuer_key: |key| *key == PublicKey::Rsa { bits: 4096, exponent: 65537 },
    leaf_key: |key| matches!(key, PublicKey::P384(_)),
};

/// What is known of a report once it is genuine.
#[derive(Debug)]
pub(crate) struct Genuine {
    pub(crate) signer: Signer,
    pub(crate) line: ProductLine,
    pub(crate) product_name: String,
    pub(crate) subject: Subject,
    pub(crate) tcbs: Tcbs,
    pub(crate) valid_until: UnixTime,
}

/// The four TCBs of a report, read as its product line writes them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tcbs {
    pub(crate) current: Tcb,
    pub(crate) reported: Tcb,
    pub(crate) committed: Tcb,
    pub(crate) launch: Tcb,
}

/// Applies the rules. The ledger holds what was found, also where this fails.
pub(crate) fn verify(
    report: &Report,
    vek_der: &[u8],
    revocation: &Revocation,
    anchors: &TrustAnchors,
    now: UnixTime,
    ledger: &mut Ledger,
) -> Result<Genuine, SnpRejection> {
    ledger.record(&rules::FORMAT, format(report))?;
    let signer = ledger.record(&rules::SIGNER, signer(report))?;
    let vek = ledger.record(&rules::CERTIFICATE, certificate(vek_der, signer))?;
    let tcbs = ledger.record(&rules::PRODUCT, product(report, &vek))?;
    let line = ledger.record(&rules::ROOT, root(anchors, &vek, now))?;
    let issuers = Issuers { anchor: &line.ark, intermediate: line.issuer_of(signer) };
    let chain_until = ledger.record(&rules::CHAIN, path(&issuers, &vek, now))?;
    let valid_until =
        ledger.record(&rules::REVOCATION, revoked(revocation, &issuers, &vek, now, chain_until))?;
    ledger.record(&rules::SIGNATURE, signature(report, &vek))?;
    ledger.record(&rules::CERTIFIED_TCB, certified_tcb(&vek, tcbs.reported))?;
    ledger.record(&rules::CERTIFIED_CHIP, certified_chip(report, &vek))?;
    Ok(Genuine {
        signer,
        line: vek.line,
        product_name: vek.product_name,
        subject: vek.subject,
        tcbs,
        valid_until,
    })
}

type Step<T> = Result<(T, Finding), SnpRejection>;

/// SNP-01. A `Report` exists only after its form was checked; this writes it down.
fn format(report: &Report) -> Step<()> {
    Ok(((), Finding::Pass(format!("version {}, {} bytes", report.version().number(), report.bytes().len()))))
}

/// SNP-02. The report says who signed it; the certificate is asked afterwards whether that is so.
fn signer(report: &Report) -> Step<Signer> {
    let key_info = report.key_info();
    let signer =
        key_info.signer().ok_or(SnpRejection::SignerUnsupported { found: key_info.signing_key() })?;
    let chip_id_is_zero = report.chip_id() == [0; 64];
    match signer {
        Signer::Vcek if key_info.chip_key_masked() => return Err(SnpRejection::ChipKeyMasked),
        Signer::Vcek if chip_id_is_zero => return Err(SnpRejection::ChipIdZero),
        Signer::Vlek if !chip_id_is_zero => return Err(SnpRejection::ChipIdNotZero),
        Signer::Vcek | Signer::Vlek => {}
    }
    Ok((signer, Finding::Pass(format!("report names {}", signer.as_str()))))
}

/// SNP-03.
fn certificate(vek_der: &[u8], signer: Signer) -> Step<Vek> {
    let vek = Vek::read(vek_der, signer)?;
    let expected = issuer_name(signer, vek.line);
    if vek.certificate.issuer_cn != expected {
        return Err(SnpRejection::CertificateIssuer { expected, found: vek.certificate.issuer_cn });
    }
    let compared = format!(
        "{} of {}, issued by {}",
        vek.certificate.subject_cn, vek.product_name, vek.certificate.issuer_cn
    );
    Ok((vek, Finding::Pass(compared)))
}

/// SNP-04. Version 2 reports do not name the processor; there the certificate alone does.
fn product(report: &Report, vek: &Vek) -> Step<Tcbs> {
    let compared = match report.cpuid() {
        None => format!("certificate: {}; a version 2 report names no processor", vek.line),
        Some(cpuid) => {
            let line = ProductLine::from_cpuid(cpuid).ok_or(SnpRejection::CpuUnknown { cpuid })?;
            if line != vek.line {
                return Err(SnpRejection::ProductMismatch { report: line, certificate: vek.line });
            }
            format!("CPUID {cpuid}: {line}; certificate: {}", vek.line)
        }
    };
    let decode = |which, raw: RawTcb| raw.decode(vek.line).ok_or(SnpRejection::TcbReserved { which });
    let tcbs = Tcbs {
        current: decode("current", report.current_tcb())?,
        reported: decode("reported", report.reported_tcb())?,
        committed: decode("committed", report.committed_tcb())?,
        launch: decode("launch", report.launch_tcb())?,
    };
    Ok((tcbs, Finding::Pass(compared)))
}

/// SNP-05.
fn root<'a>(anchors: &'a TrustAnchors, vek: &Vek, now: UnixTime) -> Step<&'a LineAnchors> {
    let line = anchors.line(vek.line).ok_or(SnpRejection::RootMissing { line: vek.line })?;
    chain::check_anchor(&line.ark, &PROFILE, now).map_err(SnpRejection::Root)?;
    let whose = if anchors.simulated() { "SIMULATED root" } else { "AMD's root" };
    let compared = format!("{whose} {}, valid until {}", line.ark.subject_cn, line.ark.not_after);
    Ok((line, Finding::Pass(compared)))
}

/// SNP-06.
fn path(issuers: &Issuers<'_>, vek: &Vek, now: UnixTime) -> Step<UnixTime> {
    let until = chain::validate(issuers, &vek.certificate, &PROFILE, now).map_err(SnpRejection::Chain)?;
    let compared = format!(
        "{} > {} > {}, valid until {until}",
        issuers.anchor.subject_cn, issuers.intermediate.subject_cn, vek.certificate.subject_cn
    );
    Ok((until, Finding::Pass(compared)))
}

/// SNP-07. The result is the last second at which the verdict holds.
fn revoked(
    revocation: &Revocation,
    issuers: &Issuers<'_>,
    vek: &Vek,
    now: UnixTime,
    until: UnixTime,
) -> Step<UnixTime> {
    use chain::CrlError::{self, Missing};
    match revocation {
        Revocation::Lists { lists, .. } if lists.len() > 1 => {
            Err(SnpRejection::Revocation(CrlError::TooMany { found: lists.len() }))
        }
        Revocation::Crl(_) | Revocation::Lists { .. } => {
            let crl = revocation.lists().and_then(<[_]>::first).ok_or(SnpRejection::Revocation(Missing))?;
            let cleared = chain::check_revocation(crl, issuers, &vek.certificate, &PROFILE, now)
                .map_err(SnpRejection::Revocation)?;
            let compared =
                format!("list of {} until {}: nothing of the path", cleared.this_update, cleared.next_update);
            Ok((until.min(cleared.next_update), Finding::Pass(compared)))
        }
        Revocation::Missing => Err(SnpRejection::Revocation(Missing)),
        Revocation::DangerNotChecked { reason } if reason.trim().is_empty() => {
            Err(SnpRejection::Revocation(Missing))
        }
        Revocation::DangerNotChecked { reason } => {
            Ok((until, Finding::Waived(format!("not checked: {reason}"))))
        }
    }
}

/// SNP-08. Over the bytes that arrived.
fn signature(report: &Report, vek: &Vek) -> Step<()> {
    let PublicKey::P384(key) = vek.certificate.key else {
        return Err(SnpRejection::Chain(chain::ChainError::KeyType { role: chain::Role::Leaf }));
    };
    let (r, s) = report.signature();
    for (which, scalar) in [("R", &r), ("S", &s)] {
        if !crypto::is_p384_scalar(scalar) {
            return Err(SnpRejection::SignatureScalar { which });
        }
    }
    if !crypto::verify_p384_sha384(&key, &report.signed(), &r, &s) {
        return Err(SnpRejection::SignatureInvalid);
    }
    Ok(((), Finding::Pass("ECDSA P-384, SHA-384, over bytes 0x000..0x2a0".to_owned())))
}

/// SNP-09.
fn certified_tcb(vek: &Vek, reported: Tcb) -> Step<()> {
    let certificate = vek.tcb.get();
    if certificate != reported {
        return Err(SnpRejection::TcbMismatch { certificate, report: reported });
    }
    Ok(((), Finding::Pass(format!("[{certificate}] in both"))))
}

/// SNP-10.
fn certified_chip(report: &Report, vek: &Vek) -> Step<()> {
    match &vek.subject {
        Subject::Chip(chip_id) => {
            let found = report.chip_id();
            if *chip_id != found {
                return Err(SnpRejection::ChipMismatch {
                    certificate: Box::new(*chip_id),
                    report: Box::new(found),
                });
            }
            Ok(((), Finding::Pass(format!("chip {} in both", hex::encode(found)))))
        }
        Subject::Provider(provider) => {
            Ok(((), Finding::Pass(format!("no chip: a key of the provider {provider:?}"))))
        }
    }
}

#[cfg(test)]
mod tests;
