//! Attestation reports of inference servers on dstack (spec/bundles-dstack.md): what `/v1/attestation/report` of RedPill,
//! Phala and NEAR AI answers.
//!
//! ```text
//! { "signing_address": hex, "signing_algo": "ecdsa" | "ed25519", "request_nonce": hex of 32, "intel_quote": hex,
//!   "tls_cert_fingerprint"?: hex of 32, "event_log": dstack's list, "info": {…}, "nvidia_payload"?: {…} }
//!
//! REPORT_DATA = signer, zeros to 32                         || nonce    without tls_cert_fingerprint
//! REPORT_DATA = SHA-256(signer || tls_cert_fingerprint)     || nonce    with it
//! ```
//!
//! The member `tls_cert_fingerprint` is what tells the two formulas apart; neither is tried for the other.

pub(super) mod boot;
mod parts;
mod report;
mod stated;

use serde_json::{Map, Value};

use super::error::BundleError;
use super::refused::BundleDenial;
use super::{Bound, BoundValue, Opened};
use crate::checks::{Finding, Ledger};
use crate::crypto;
use crate::rules::bundle_dstack as rule;
use crate::verdict::Verified;

pub(super) use report::{decoded, event_log, quote};

/// SHA-256 of the SubjectPublicKeyInfo of the TLS key.
const TLS: &str = "tls-spki-sha256";

/// What signs the server's answers: an address of Ethereum, the last 20 bytes of Keccak-256 of the public key.
const ETHEREUM: &str = "signer-ethereum-address";

/// What signs the server's answers: an Ed25519 public key.
const ED25519: &str = "signer-ed25519";

/// The point of an address, x and y: what answers are signed with, and what clients encrypt to.
const SECP256K1: &str = "signer-secp256k1";

/// x and y.
const POINT_LEN: usize = 64;

type Step<T> = Result<(T, Finding), BundleDenial>;

/// What a report binds.
#[derive(Debug, Clone)]
pub(crate) struct Dstack {
    signer: Signer,
    /// SHA-256 of the SubjectPublicKeyInfo of the TLS key.
    tls: Option<[u8; 32]>,
    nonce: [u8; 32],
    /// What the devices' payload says they were asked with.
    device_nonce: Option<[u8; 32]>,
    stated: stated::Stated,
}

/// Whose signatures the answers have.
#[derive(Debug, Clone)]
struct Signer {
    algorithm: Algorithm,
    /// As long as the report has it.
    address: Vec<u8>,
    /// Beside the address; as long as the report has it.
    public: Option<Vec<u8>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Algorithm {
    Ecdsa,
    Ed25519,
}

/// Whether this is a report, or several of them.
pub(super) fn is_marked(members: &Map<String, Value>) -> bool {
    let has = |name: &str| members.get(name).is_some_and(|value| !value.is_null());
    // What Chutes answers has lists of the same name, and a form of its own.
    !has("attestation_type")
        && ((has("intel_quote") && has("signing_address"))
            || has("gateway_attestation")
            || has("model_attestations"))
}

/// One report of those in the bundle: the one of this name, or the only one.
pub(super) fn open(members: Map<String, Value>, part: Option<&str>) -> Result<Opened, BundleError> {
    let (members, not_asked) = parts::choose(members, part)?;
    report::open(members, not_asked)
}

impl Dstack {
    /// BUN-D01 to BUN-D03.
    pub(super) fn bind(&self, ledger: &mut Ledger) -> Result<Bound, BundleDenial> {
        let mut bound = ledger.record(&rule::SIGNER, self.report_data())?;
        bound.values.extend(ledger.record(&rule::PUBLIC_KEY, self.signer.public_key())?);
        ledger.record(&rule::DEVICE_NONCE, self.devices())?;
        Ok(bound)
    }

    /// BUN-D04 to BUN-D08.
    pub(super) fn confirm(
        &self,
        opened: &Opened,
        verified: &Verified,
        ledger: &mut Ledger,
    ) -> Result<Vec<BoundValue>, BundleDenial> {
        let boot = boot::confirm(verified, &RULES, ledger)?;
        let compose = self.stated.app_compose.as_deref();
        ledger.record(&rule::COMPOSE, boot.compose(compose))?;
        ledger.record(&rule::STATED, self.stated.compare(&opened.evidence, &boot))?;
        Ok(boot.values())
    }

    fn report_data(&self) -> Step<Bound> {
        let Signer { algorithm, address, .. } = &self.signer;
        let (expected, name) = match algorithm {
            Algorithm::Ecdsa => (20, ETHEREUM),
            Algorithm::Ed25519 => (32, ED25519),
        };
        if address.len() != expected || address.iter().all(|octet| *octet == 0) {
            return Err(BundleDenial::Signer { name, expected, found: address.len() });
        }
        let mut values = vec![BoundValue::new(name, address)];
        let (first, formula) = match &self.tls {
            Some(tls) => {
                values.push(BoundValue::new(TLS, tls));
                (
                    crypto::sha256(&[address.as_slice(), tls].concat()).to_vec(),
                    "SHA-256(signer || TLS key) || nonce",
                )
            }
            None => {
                let mut padded = address.clone();
                padded.resize(32, 0);
                (padded, "signer || nonce")
            }
        };
        let report_data = [first.as_slice(), &self.nonce].concat();
        let finding = format!("{formula} is to be {}", hex::encode(&report_data));
        Ok((Bound { report_data: Some(report_data), values, until: None }, Finding::Pass(finding)))
    }

    fn devices(&self) -> Step<()> {
        match &self.device_nonce {
            None => Ok(((), Finding::Pass("the report says nothing of devices".to_owned()))),
            Some(nonce) if *nonce == self.nonce => Ok(((), Finding::Pass("all 32 bytes equal".to_owned()))),
            Some(nonce) => Err(BundleDenial::Digest {
                member: "nvidia_payload.nonce",
                expected: self.nonce.to_vec(),
                found: nonce.to_vec(),
            }),
        }
    }
}

impl Signer {
    /// BUN-D02. An address is the last 20 bytes of Keccak-256 of x and y; of Ed25519 it is the key.
    fn public_key(&self) -> Step<Option<BoundValue>> {
        let Some(public) = &self.public else {
            return Ok((None, Finding::Pass("the report has none".to_owned())));
        };
        let point = match (self.algorithm, public.as_slice()) {
            (Algorithm::Ed25519, key) if key == self.address => {
                return Ok((None, Finding::Pass("equal to the address".to_owned())));
            }
            (Algorithm::Ed25519, _) => None,
            // Uncompressed, with or without the octet that says so.
            (Algorithm::Ecdsa, [0x04, point @ ..]) if point.len() == POINT_LEN => Some(point),
            (Algorithm::Ecdsa, point) => Some(point).filter(|point| point.len() == POINT_LEN),
        };
        let point = point.ok_or(BundleDenial::Value { member: "signing_public_key" })?;
        if crypto::keccak256(point).get(12..) != Some(self.address.as_slice()) {
            return Err(BundleDenial::Value { member: "signing_public_key" });
        }
        Ok((
            Some(BoundValue::new(SECP256K1, point)),
            Finding::Pass("its address is the one that is bound".to_owned()),
        ))
    }
}

/// The rules of [`boot::confirm`] in reports of this system.
static RULES: boot::BootRules = boot::BootRules { log: &rule::LOG, boot: &rule::BOOT, app: &rule::APP };
