//! Evidence of Confidential Containers (spec/bundles.md §4): what an attester of guest-components hands out, by itself, beside
//! the devices' evidence, or in the Attestation message of the key broker's protocol.
//!
//! ```text
//! Attestation   { "init-data"?, "runtime-data": { "nonce", "tee-pubkey" }, "tee-evidence": composite }
//! composite     { "primary_evidence": evidence, "additional_evidence": "" or the text of { "nvidia": devices } }
//! evidence      { "attestation_report", "cert_chain" }                       SEV-SNP
//!               { "quote", "cc_eventlog" }                                   TDX
//!               { "version", "tpm_quote", "hcl_report", "vcek" }             Azure on SEV-SNP
//!               { "version", "tpm_quote", "hcl_report", "td_quote" }         Azure on TDX
//! ```

mod evidence;
mod kbs;
mod snp;

use serde_json::{Map, Value};

use super::error::BundleError;
use super::refused::BundleDenial;
use super::{Bound, BoundValue, Content, Opened};
use crate::checks::{Finding, Ledger};
use crate::claims::Claims;
use crate::crypto;
use crate::evidence::{Evidence, Platform};
use crate::rules::bundle_coco as rule;
use crate::verdict::Verified;
use kbs::{InitData, Runtime};

/// PCR 8 of an Azure VM begins as zeros, and is extended once with the digest of the init data.
const INIT_DATA_PCR: u8 = 8;

/// Of an HCL report.
const USER_DATA_LEN: usize = 64;

/// What stands beside the evidence.
#[derive(Debug, Clone)]
pub(crate) struct Coco {
    runtime: Option<Runtime>,
    init_data: Option<InitData>,
    /// Whether the paravisor was asked to bind what the TPM's quote binds: Azure, from version 2 on.
    user_data: bool,
}

/// Whether this is evidence of one of the four platforms, a composite of it, or an Attestation message.
pub(super) fn is_marked(members: &Map<String, Value>) -> bool {
    let has = |name| members.contains_key(name);
    evidence::Kind::of(members).is_some() || has("primary_evidence") || has("tee-evidence")
}

pub(super) fn open(members: Map<String, Value>) -> Result<Opened, BundleError> {
    if members.contains_key("tee-evidence") {
        return kbs::attestation(members);
    }
    if members.contains_key("primary_evidence") {
        return Ok(kbs::composite(members)?.0);
    }
    evidence::open(members)
}

/// Of evidence by itself; what stands beside it is added to it.
fn alone(variant: &'static str, evidence: Evidence, user_data: bool) -> Opened {
    Opened {
        variant,
        evidence,
        carried: None,
        event_log: None,
        devices: Vec::new(),
        device_nonce: None,
        nonce: None,
        content: Content::Coco(Coco { runtime: None, init_data: None, user_data }),
        not_asked: Vec::new(),
    }
}

/// What the evidence binds, as it says itself.
fn report_data(evidence: &Evidence) -> Vec<u8> {
    let snp = evidence.snp().map(|report| report.report_data().to_vec());
    let tdx = || evidence.tdx().map(|quote| quote.report_data().to_vec());
    let azure = || evidence.azure().map(|azure| azure.quote().extra_data().to_vec());
    snp.or_else(tdx).or_else(azure).unwrap_or_default()
}

impl Coco {
    /// BUN-C01.
    pub(super) fn bind(&self, opened: &Opened, ledger: &mut Ledger) -> Result<Bound, BundleDenial> {
        let Some(runtime) = &self.runtime else {
            let none = Finding::Pass("there is none: what must be bound is the verifier's to say".to_owned());
            let none: Result<_, BundleDenial> = Ok(((), none));
            ledger.record(&rule::RUNTIME, none)?;
            return Ok(Bound { report_data: None, values: Vec::new(), until: None });
        };
        let bound = ledger.record(&rule::RUNTIME, runtime.bound(&report_data(&opened.evidence)))?;
        let values = vec![BoundValue::new("tee-pubkey", runtime.key())];
        Ok(Bound { report_data: Some(bound), values, until: None })
    }

    /// BUN-C02 and BUN-C03.
    pub(super) fn confirm(
        &self,
        verified: &Verified,
        ledger: &mut Ledger,
    ) -> Result<Vec<BoundValue>, BundleDenial> {
        let claims = verified.claims();
        let values = ledger.record(&rule::INIT_DATA, self.init_data(claims))?;
        ledger.record(&rule::USER_DATA, self.user_data(claims))?;
        Ok(values)
    }

    fn init_data(&self, claims: &Claims) -> Result<(Vec<BoundValue>, Finding), BundleDenial> {
        let Some(init_data) = &self.init_data else {
            return Ok((Vec::new(), Finding::Pass("there is none".to_owned())));
        };
        let digest = init_data.digest();
        let (expected, found) = match claims.platform() {
            Platform::SevSnp => (fitted(digest, 32), claims.host_data().map(|data| data.to_vec())),
            Platform::Tdx => (fitted(digest, 48), claims.tdx().map(|tdx| tdx.mr_config_id.to_vec())),
            _ => {
                let pcr = claims.azure().and_then(|azure| azure.pcrs.get(INIT_DATA_PCR));
                let extended = crypto::sha256(&[&[0; 32], digest].concat());
                (extended.to_vec(), pcr.map(|pcr| pcr.to_vec()))
            }
        };
        match found {
            Some(found) if crypto::equal(&found, &expected) => {
                let values = vec![BoundValue::new("init-data-digest", digest)];
                Ok((values, Finding::Pass(format!("{} of it", init_data.algorithm()))))
            }
            found => Err(BundleDenial::Digest {
                member: "init-data.body",
                expected,
                found: found.unwrap_or_default(),
            }),
        }
    }

    fn user_data(&self, claims: &Claims) -> Result<((), Finding), BundleDenial> {
        let Some(azure) = claims.azure().filter(|_| self.user_data) else {
            return Ok(((), Finding::Pass("this evidence has none".to_owned())));
        };
        let quoted = claims.report_data();
        let bound = hex::encode(fitted(quoted, USER_DATA_LEN));
        match &azure.user_data {
            Some(found) if *found == bound && quoted.len() <= USER_DATA_LEN => {
                Ok(((), Finding::Pass("all 64 bytes equal".to_owned())))
            }
            _ => Err(BundleDenial::Value { member: "user-data of hcl_report" }),
        }
    }
}

/// Of this length: zeros after it, or only its first bytes.
fn fitted(bytes: &[u8], length: usize) -> Vec<u8> {
    let mut fitted = bytes.to_vec();
    fitted.resize(length, 0);
    fitted
}
