//! Whether certificates of NVIDIA's are revoked (rules NV-05 and RIM-04).

use super::genuine::PROFILE;
use crate::checks::Finding;
use crate::ocsp::{Answers, OcspError, OcspResponse};
use crate::time::UnixTime;
use crate::x509::Certificate;

/// What is known about revoked certificates. NVIDIA answers by OCSP only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GpuRevocation {
    /// Nothing is known. Verification fails with `ocsp.missing`.
    Missing,
    /// Answers that were fetched. There must be one for every certificate that is asked about; others may be among them.
    Ocsp(Vec<OcspResponse>),
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

/// Looks at every pair of a certificate and its issuer, the root's child first.
pub(crate) fn check(
    revocation: &GpuRevocation,
    pairs: &[(&Certificate, &Certificate)],
    now: UnixTime,
) -> Result<(Status, Finding), OcspError> {
    match revocation {
        GpuRevocation::DangerNotChecked { reason } if !reason.trim().is_empty() => {
            let status = Status { held: Vec::new(), valid_until: UnixTime(u64::MAX) };
            Ok((status, Finding::Waived(format!("revocation not checked: {reason}"))))
        }
        GpuRevocation::DangerNotChecked { .. } | GpuRevocation::Missing => {
            Err(OcspError::Missing { certificate: "any certificate".to_owned() })
        }
        GpuRevocation::Ocsp(responses) => {
            let answers = Answers::read(responses)?;
            let mut status = Status { held: Vec::new(), valid_until: UnixTime(u64::MAX) };
            for (subject, issuer) in pairs {
                let cleared = answers.about(subject, issuer, &PROFILE, now)?;
                status.valid_until = status.valid_until.min(cleared.next_update);
                if cleared.on_hold {
                    status.held.push(Held { certificate: subject.subject_cn.clone() });
                }
            }
            let compared = match status.held.len() {
                0 => format!("{} certificates good until {}", pairs.len(), status.valid_until),
                held => format!("{held} of {} certificates on hold: NV-15 decides", pairs.len()),
            };
            Ok((status, Finding::Pass(compared)))
        }
    }
}
