//! A made-up dstack machine under a made-up vendor: what it measures, what its quote says, and who asks.

use std::sync::OnceLock;

use casemate_attest::bundle::{
    Bundle, BundleError, BundleQuestion, BundleRefused, Challenge, DeviceTerms, VerifiedBundle,
};
use casemate_attest::eventlog::{DstackVersion, LogPolicy, LogTerms, RegisterTerms};
use casemate_attest::tdx::TdxPolicy;
use casemate_attest::{Danger, Endorsements, Expected, Outcome, Policy, Revocation};
use serde_json::{Value, json};

use crate::tdx_vendor::{NOON, Td, TdxVendor, extended, sha256, sha384};

pub(crate) const NONCE: [u8; 32] = [0x6e; 32];
pub(crate) const COMPOSE: &str = r#"{"docker_compose_file":"services: {}"}"#;
pub(crate) const APP_ID: [u8; 20] = [0xa9; 20];

const RUNTIME: u32 = 0x0800_0001;

pub(crate) fn vendor() -> &'static TdxVendor {
    static VENDOR: OnceLock<TdxVendor> = OnceLock::new();
    VENDOR.get_or_init(TdxVendor::new)
}

/// What dstack's boot measures, and after it the application.
#[derive(Clone)]
pub(crate) struct Measured {
    pub(crate) version: DstackVersion,
    pub(crate) events: Vec<(String, Vec<u8>)>,
}

impl Measured {
    pub(crate) fn new() -> Self {
        let events = [
            ("system-preparing", Vec::new()),
            ("app-id", APP_ID.to_vec()),
            ("compose-hash", sha256(COMPOSE.as_bytes()).to_vec()),
            ("init-script-hash", vec![1; 32]),
            ("init-script-hash", vec![2; 32]),
            ("instance-id", vec![0x19; 20]),
            ("boot-mr-done", Vec::new()),
            ("os-image-hash", vec![0x05; 32]),
            ("key-provider", br#"{"name":"kms","id":"00"}"#.to_vec()),
            ("system-ready", Vec::new()),
            ("miner", b"hotkey: x".to_vec()),
        ];
        let events = events.into_iter().map(|(name, payload)| (name.to_owned(), payload)).collect();
        Self { version: DstackVersion::V1, events }
    }

    /// Puts an event after the one of this name; an empty name is before all.
    pub(crate) fn after(&mut self, name: &str, event: &str, payload: &[u8]) {
        let position = self.events.iter().position(|(own, _)| own == name).map_or(0, |position| position + 1);
        self.events.insert(position, (event.to_owned(), payload.to_vec()));
    }

    pub(crate) fn without(&mut self, name: &str) {
        self.events.retain(|(own, _)| own != name);
    }

    pub(crate) fn set(&mut self, name: &str, payload: &[u8]) {
        let event = self.events.iter_mut().find(|(own, _)| own == name).expect("it is there");
        event.1 = payload.to_vec();
    }

    pub(crate) fn digests(&self) -> Vec<[u8; 48]> {
        self.events.iter().map(|(name, payload)| sha384(&self.version.measured(name, payload))).collect()
    }

    pub(crate) fn td(&self, report_data: [u8; 64]) -> Td {
        let mut td = Td { report_data, ..Td::default() };
        td.rtmrs[3] = extended(self.digests());
        td
    }

    /// As the guest agent writes it.
    pub(crate) fn log(&self) -> Value {
        let events = self.events.iter().zip(self.digests()).map(|((name, payload), digest)| {
            let mut event = json!({
                "imr": 3,
                "event_type": RUNTIME,
                "digest": hex::encode(digest),
                "event": name,
                "event_payload": hex::encode(payload),
            });
            if self.version == DstackVersion::V2 {
                event["version"] = 2.into();
                event["preimage"] = hex::encode(self.version.measured(name, payload)).into();
            }
            event
        });
        Value::Array(events.collect())
    }
}

/// Terms for the made-up image, and for the compose file that boot measures.
pub(crate) fn terms(version: DstackVersion) -> TdxPolicy {
    let mut terms = TdxPolicy::strict(Expected::OneOf(vec![[0x4d; 48]]));
    let compose = version.measured("compose-hash", &sha256(COMPOSE.as_bytes()));
    let register = RegisterTerms {
        events: Expected::any("an instance has a name of its own"),
        required: vec![sha384(&compose).to_vec()],
    };
    terms.event_log =
        LogPolicy::Demanded(LogTerms { registers: [(3, register)].into(), other_registers: Danger::Refuse });
    terms
}

/// Who asks, and what.
pub(crate) struct Asked {
    pub(crate) part: Option<&'static str>,
    pub(crate) terms: TdxPolicy,
    pub(crate) challenge: Challenge,
    pub(crate) custody: Danger,
    pub(crate) devices: DeviceTerms<'static>,
    pub(crate) now: casemate_attest::UnixTime,
    pub(crate) endorsed: bool,
}

impl Asked {
    pub(crate) fn new(version: DstackVersion) -> Self {
        Self {
            part: None,
            terms: terms(version),
            challenge: Challenge::Nonce(NONCE.to_vec()),
            custody: Danger::Refuse,
            devices: DeviceTerms::None,
            now: NOON,
            endorsed: true,
        }
    }

    pub(crate) fn parse(&self, bundle: &[u8]) -> Result<Bundle, BundleError> {
        Bundle::parse_part(bundle, self.part)
    }

    pub(crate) fn verify(self, bundle: &Bundle) -> Result<VerifiedBundle, BundleRefused> {
        let vendor = vendor();
        bundle.verify(&BundleQuestion {
            policy: &Policy::for_tdx(self.terms),
            anchors: &vendor.anchors,
            now: self.now,
            challenge: self.challenge,
            endorsements: self.endorsed.then(|| Endorsements::tdx(vendor.collateral.clone())),
            revocation: Revocation::Missing,
            ak_certificate: None,
            event_log: None,
            devices: self.devices,
            key_custody: self.custody,
        })
    }

    /// The code of the answer; "verified", and which rules of the bundle were waived.
    pub(crate) fn answer(self, bundle: &[u8]) -> String {
        let parsed = match self.parse(bundle) {
            Ok(parsed) => parsed,
            Err(error) => return error.code().to_owned(),
        };
        match self.verify(&parsed) {
            Ok(verified) => {
                assert!(verified.simulated());
                let waived = verified.checks().iter().filter(|check| check.outcome == Outcome::Waived);
                let waived: Vec<_> = waived.map(|check| check.rule.id).collect();
                if waived.is_empty() {
                    "verified".to_owned()
                } else {
                    format!("verified, waived: {}", waived.join(", "))
                }
            }
            Err(refused) => {
                let report = refused.report();
                assert_eq!(report.code(), Some(refused.code()));
                let failed: Vec<_> = report
                    .rows()
                    .filter(|(_, outcome, ..)| *outcome == Outcome::Fail)
                    .map(|(id, ..)| id)
                    .collect();
                let [failed] = failed[..] else { panic!("one rule fails: {failed:?}") };
                format!("{failed} {}", refused.code())
            }
        }
    }
}

/// One bit of every byte of a bundle, in turn: what is accepted all the same says nothing else. It may say less, where the name of
/// an optional member was hit.
pub(crate) fn swept(bundle: &[u8], asked: impl Fn() -> Asked) -> String {
    let values = |bytes: &[u8]| {
        let verified = asked().parse(bytes).ok().and_then(|bundle| asked().verify(&bundle).ok())?;
        Some(verified.values().to_vec())
    };
    let original = values(bundle).expect("verified");
    let mut accepted = 0_usize;
    for (index, position) in (0..bundle.len()).enumerate() {
        let mut flipped = bundle.to_vec();
        flipped[position] ^= 1 << (index % 8);
        if let Some(found) = values(&flipped) {
            assert!(found.iter().all(|value| original.contains(value)), "byte {position}: {found:?}");
            accepted += 1;
        }
    }
    // Of more than ten thousand bytes, most are the quote's, the log's and the keys'.
    assert!(accepted * 4 < bundle.len(), "{accepted} of {}", bundle.len());
    "what is accepted says nothing else".to_owned()
}
