//! "Is it genuine?": rules NV-01 to NV-07, in this order (spec/attest.md §14).

use super::anchors::NvidiaAnchors;
use super::evidence::{Architecture, DeviceChain, GpuEvidence};
use super::fwid;
use super::reject::GpuRejection;
use super::revocation::{self, GpuRevocation, Held};
use super::spdm::Spdm;
use crate::chain::{self, ChainError, Profile, Role};
use crate::checks::{Finding, Ledger};
use crate::crypto;
use crate::rules::nvidia as rules;
use crate::time::UnixTime;
use crate::x509::{Certificate, PublicKey};

/// Every key is P-384, every signature ECDSA with SHA-384.
pub(super) static PROFILE: Profile = Profile {
    algorithms: crypto::ECDSA_P384,
    issuer_key: |key| matches!(key, PublicKey::P384(_)),
    leaf_key: |key| matches!(key, PublicKey::P384(_)),
};

/// What is known of a device beside its evidence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NvidiaEndorsements {
    /// Revoked certificates.
    pub revocation: GpuRevocation,
}

/// What is known of a report once it is genuine.
#[derive(Debug)]
pub(crate) struct Genuine {
    pub(crate) architecture: Architecture,
    pub(crate) certified_firmware: Option<[u8; 48]>,
    /// Certificates of the path that are on hold.
    pub(crate) held: Vec<Held>,
    pub(crate) valid_until: UnixTime,
}

/// Applies the rules. The ledger holds what was found, also where this fails.
pub(crate) fn verify(
    evidence: &GpuEvidence,
    endorsements: &NvidiaEndorsements,
    anchors: &NvidiaAnchors,
    now: UnixTime,
    ledger: &mut Ledger,
) -> Result<Genuine, GpuRejection> {
    let GpuEvidence { report, chain } = evidence;
    ledger.record(&rules::FORMAT, format(report))?;
    let architecture = ledger.record(&rules::CERTIFICATES, certificates(chain))?;
    let root = ledger.record(&rules::ROOT, root(anchors, chain, now))?;
    let path_until = ledger.record(&rules::CHAIN, path(chain, root, now))?;
    let status = ledger.record(&rules::REVOCATION, revoked(&endorsements.revocation, chain, root, now))?;
    ledger.record(&rules::SIGNATURE, signature(report, &chain.leaf))?;
    let certified_firmware = ledger.record(&rules::FIRMWARE_ID, firmware_id(report, chain))?;
    let valid_until = path_until.min(status.valid_until);
    Ok(Genuine { architecture, certified_firmware, held: status.held, valid_until })
}

type Step<T> = Result<(T, Finding), GpuRejection>;

/// NV-01. `GpuEvidence` exists only after its form was checked; this writes it down.
fn format(report: &Spdm) -> Step<()> {
    let compared =
        format!("SPDM 1.1, {} measurements, {} bytes", report.measurements().len(), report.bytes().len());
    Ok(((), Finding::Pass(compared)))
}

/// NV-02.
fn certificates(chain: &DeviceChain) -> Step<Architecture> {
    let architecture = chain.architecture().ok_or_else(|| GpuRejection::Architecture {
        leaf: chain.leaf.subject_cn.clone(),
        device: chain.device.subject_cn.clone(),
        provisioner: chain.provisioner.subject_cn.clone(),
    })?;
    let compared = format!("{} is {}: {architecture}", chain.leaf.subject_cn, architecture.chip());
    Ok((architecture, Finding::Pass(compared)))
}

/// NV-03. Byte for byte.
fn root<'a>(anchors: &'a NvidiaAnchors, chain: &DeviceChain, now: UnixTime) -> Step<&'a Certificate> {
    let root = anchors.root.as_ref().ok_or(GpuRejection::RootMissing)?;
    if chain.sent_root.der != root.der {
        return Err(GpuRejection::RootForeign { found: chain.sent_root.subject_cn.clone() });
    }
    chain::check_anchor(root, &PROFILE, now).map_err(GpuRejection::Chain)?;
    let whose = if anchors.simulated() { "SIMULATED root" } else { "NVIDIA's root" };
    Ok((root, Finding::Pass(format!("{whose} {}, valid until {}", root.subject_cn, root.not_after))))
}

/// NV-04.
fn path(chain: &DeviceChain, root: &Certificate, now: UnixTime) -> Step<UnixTime> {
    let issuers = [&chain.device, &chain.provisioner, &chain.identity];
    let until =
        chain::validate_path(root, &issuers, &chain.leaf, &PROFILE, now).map_err(GpuRejection::Chain)?;
    let [device, provisioner, identity] = issuers.map(|it| it.subject_cn.as_str());
    let compared = format!(
        "{} > {identity} > {provisioner} > {device} > {}, valid until {until}",
        root.subject_cn, chain.leaf.subject_cn
    );
    Ok((until, Finding::Pass(compared)))
}

/// NV-05. The leaf is not among them: the device itself issued it, and NVIDIA does not know it.
fn revoked(
    revocation: &GpuRevocation,
    chain: &DeviceChain,
    root: &Certificate,
    now: UnixTime,
) -> Step<revocation::Status> {
    let DeviceChain { device, provisioner, identity, .. } = chain;
    let pairs = [(identity, root), (provisioner, identity), (device, provisioner)];
    revocation::check(revocation, &pairs, now).map_err(GpuRejection::Revocation)
}

/// NV-06. Over the bytes that arrived, the request included.
fn signature(report: &Spdm, leaf: &Certificate) -> Step<()> {
    let PublicKey::P384(key) = leaf.key else {
        return Err(GpuRejection::Chain(ChainError::KeyType { role: Role::Leaf }));
    };
    let (r, s) = report.signature();
    for (which, scalar) in [("R", &r), ("S", &s)] {
        if !crypto::is_p384_scalar(scalar) {
            return Err(GpuRejection::SignatureScalar { which });
        }
    }
    if !crypto::verify_p384_sha384(&key, report.signed(), &r, &s) {
        return Err(GpuRejection::SignatureInvalid);
    }
    let compared = format!("ECDSA P-384, SHA-384, over bytes 0..{}", report.signed().len());
    Ok(((), Finding::Pass(compared)))
}

/// NV-07. Whether a report without the field is accepted is a matter of policy (NV-09).
pub(super) fn firmware_id(report: &Spdm, chain: &DeviceChain) -> Step<Option<[u8; 48]>> {
    let certified = fwid::certified(&chain.leaf);
    let Some(reported) = report.opaque().fwid else {
        return Ok((certified, Finding::Pass("not reported: NV-09 decides".to_owned())));
    };
    let certificate = certified.ok_or(GpuRejection::FirmwareIdUncertified)?;
    if certificate != reported {
        return Err(GpuRejection::FirmwareIdMismatch {
            certificate: Box::new(certificate),
            report: Box::new(reported),
        });
    }
    Ok((certified, Finding::Pass(format!("{} in both", hex::encode(reported)))))
}
