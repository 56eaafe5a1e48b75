//! Whether certificates of NVIDIA's are revoked (rules NV-05 and RIM-05).

use crate::checks::Finding;
use crate::ocsp::OcspError;
use crate::time::UnixTime;
use crate::x509::Certificate;

/// What is known about revoked certificates. NVIDIA answers by OCSP only; no answer is read here yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GpuRevocation {
    /// Nothing is known. Verification fails with `ocsp.missing`.
    Missing,
    /// Somebody decided not to ask. Verification goes on, and the rule is listed as waived.
    DangerNotChecked {
        /// Why; shown wherever the verdict is shown.
        reason: String,
    },
}

/// A certificate that is on hold: not revoked for good, and not vouched for. Policy decides (NV-15).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Held {
    /// Common name of the certificate.
    pub(crate) certificate: String,
}

/// What was learnt of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Status {
    pub(crate) held: Vec<Held>,
    /// Last second at which every answer counts.
    pub(crate) valid_until: UnixTime,
}

/// Looks at every pair of a certificate and its issuer.
pub(crate) fn check(
    revocation: &GpuRevocation,
    _pairs: &[(&Certificate, &Certificate)],
    _now: UnixTime,
) -> Result<(Status, Finding), OcspError> {
    match revocation {
        GpuRevocation::DangerNotChecked { reason } if !reason.trim().is_empty() => {
            let status = Status { held: Vec::new(), valid_until: UnixTime(u64::MAX) };
            Ok((status, Finding::Waived(format!("revocation not checked: {reason}"))))
        }
        GpuRevocation::DangerNotChecked { .. } | GpuRevocation::Missing => Err(OcspError::Missing),
    }
}
