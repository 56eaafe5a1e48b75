//! Attestation reports of Attested Confidential Inference, `aci/1` (spec/bundles-aci.md): what `/v1/aci/attestation` answers.
//!
//! ```text
//! keyset digest = "sha256:" || hexadecimal of SHA-256(workload_keyset, as RFC 8785 writes it)
//! statement     = {"keyset_digest":"sha256:…","nonce":"hexadecimal of 32" or null,"purpose":"aci.report_data.v1"}
//! REPORT_DATA   = SHA-256(statement) || 32 zeros
//! ```
//!
//! Source: ACI specification `aci/1`, §3.1, §3.2, §4 and Appendix A (github.com/Dstack-TEE/private-ai-gateway, spec/aci.md).

mod keyset;
mod report;

use serde_json::{Map, Value};

use super::dstack::boot::{self, BootRules};
use super::error::BundleError;
use super::refused::BundleDenial;
use super::{Bound, BoundValue, BundleQuestion, Challenge, Opened};
use crate::checks::{Finding, Ledger};
use crate::crypto;
use crate::policy::Danger;
use crate::rules::bundle_aci as rule;
use crate::time::UnixTime;
use crate::verdict::Verified;
use keyset::Keyset;

/// The statement's domain.
const PURPOSE: &str = "aci.report_data.v1";

/// A nonce has 32 bytes.
const NONCE_LEN: usize = 32;

/// What a report binds.
#[derive(Debug, Clone)]
pub(crate) struct Aci {
    keyset: Keyset,
    stated_digest: [u8; 32],
    stated_report_data: [u8; 32],
    /// What `quote_report_data` says.
    stated_slot: Option<Vec<u8>>,
    app_compose: Option<String>,
}

/// Whether this is a report. The gateway's answer to older clients has these members too, beside `intel_quote`: its quote
/// binds what those clients expect, and no keyset.
pub(super) fn is_marked(members: &Map<String, Value>) -> bool {
    let version = members.get("api_version").and_then(Value::as_str);
    version.is_some_and(|version| version.starts_with("aci/"))
        && members.contains_key("workload_keyset_digest")
        && !members.contains_key("intel_quote")
}

pub(super) fn open(members: Map<String, Value>) -> Result<Opened, BundleError> {
    report::open(members)
}

impl Aci {
    /// BUN-A01 to BUN-A05.
    pub(super) fn bind(
        &self,
        question: &BundleQuestion<'_>,
        ledger: &mut Ledger,
    ) -> Result<Bound, BundleDenial> {
        ledger.record(&rule::ROLES, self.keyset.roles())?;
        let digest = ledger.record(&rule::DIGEST, self.digest())?;
        let report_data = ledger.record(&rule::STATEMENT, self.statement(&digest, &question.challenge))?;
        let until = ledger.record(&rule::EXPIRY, self.keyset.in_date(question.now))?;
        ledger.record(&rule::CUSTODY, custody(&question.key_custody))?;
        Ok(Bound { report_data: Some(report_data), values: self.keyset.values(&digest), until: Some(until) })
    }

    /// What the keyset says of itself.
    pub(super) fn unverified(&self) -> Vec<BoundValue> {
        self.keyset.values(&self.keyset.digest())
    }

    /// BUN-A06 to BUN-A10.
    pub(super) fn confirm(
        &self,
        opened: &Opened,
        verified: &Verified,
        ledger: &mut Ledger,
    ) -> Result<Vec<BoundValue>, BundleDenial> {
        let boot = boot::confirm(verified, &RULES, ledger)?;
        ledger.record(&rule::COMPOSE, boot.compose(self.app_compose.as_deref()))?;
        ledger.record(&rule::SLOT, self.slot(opened))?;
        Ok(boot.values())
    }

    fn digest(&self) -> Result<([u8; 32], Finding), BundleDenial> {
        let digest = self.keyset.digest();
        if digest == self.stated_digest {
            return Ok((digest, Finding::Pass(format!("sha256:{}", hex::encode(digest)))));
        }
        let (expected, found) = (digest.to_vec(), self.stated_digest.to_vec());
        Err(BundleDenial::Digest { member: "workload_keyset_digest", expected, found })
    }

    /// What the evidence must bind. Without a nonce it is the form that answers none.
    fn statement(
        &self,
        digest: &[u8; 32],
        challenge: &Challenge,
    ) -> Result<(Vec<u8>, Finding), BundleDenial> {
        let nonce = match challenge {
            Challenge::Nonce(nonce) if nonce.len() == NONCE_LEN => format!("\"{}\"", hex::encode(nonce)),
            Challenge::Nonce(nonce) => {
                return Err(BundleDenial::NonceLength { expected: NONCE_LEN, found: nonce.len() });
            }
            Challenge::ReportData(_) => return Err(BundleDenial::NotReportData),
            Challenge::DangerNone { .. } => "null".to_owned(),
        };
        let statement = format!(
            r#"{{"keyset_digest":"sha256:{}","nonce":{nonce},"purpose":"{PURPOSE}"}}"#,
            hex::encode(digest)
        );
        let report_data = crypto::sha256(statement.as_bytes());
        if report_data != self.stated_report_data {
            let (expected, found) = (report_data.to_vec(), self.stated_report_data.to_vec());
            return Err(BundleDenial::Digest { member: "attestation.report_data", expected, found });
        }
        Ok(([report_data, [0; 32]].concat(), Finding::Pass(statement)))
    }

    fn slot(&self, opened: &Opened) -> Result<((), Finding), BundleDenial> {
        let slot = opened.evidence.tdx().map(|quote| quote.report_data().to_vec()).unwrap_or_default();
        match &self.stated_slot {
            None => Ok(((), Finding::Pass("the report states none".to_owned()))),
            Some(stated) if *stated == slot => Ok(((), Finding::Pass("equal".to_owned()))),
            Some(stated) => Err(BundleDenial::Digest {
                member: "attestation.evidence.quote_report_data",
                expected: slot,
                found: stated.clone(),
            }),
        }
    }
}

/// BUN-A05. The chain of a key service's signatures is not verified here, so that somebody has to decide.
fn custody(decision: &Danger) -> Result<((), Finding), BundleDenial> {
    match decision {
        Danger::Refuse => Err(BundleDenial::CustodyNotDecided),
        Danger::Allow { reason } if reason.trim().is_empty() => {
            Err(BundleDenial::WaiverWithoutReason { what: "the custody of the keys" })
        }
        Danger::Allow { reason } => Ok((
            (),
            Finding::Waived(format!("who else has the private keys is not verified; not required: {reason}")),
        )),
    }
}

impl Keyset {
    /// BUN-A04. The last second at which the keyset is accepted.
    fn in_date(&self, now: UnixTime) -> Result<(UnixTime, Finding), BundleDenial> {
        let not_after = UnixTime(self.not_after());
        if now >= not_after {
            return Err(BundleDenial::KeysetExpired { now, not_after });
        }
        let until = UnixTime(not_after.0.saturating_sub(1));
        Ok((until, Finding::Pass(format!("accepted before {not_after}"))))
    }
}

/// The rules of [`boot::confirm`] in reports of this system.
static RULES: BootRules = BootRules { log: &rule::LOG, boot: &rule::BOOT, app: &rule::APP };
