//! Bundles of other systems (spec/bundles.md): what Tinfoil, Confidential Containers and others hand out to be verified.
//!
//! ```text
//! Bundle::parse(bytes)        -> Bundle           one system's, by its own marker; believed by nobody    BundleError
//! bundle.verify(&question)    -> VerifiedBundle   the evidence is genuine and ours by the rules of its
//!                                                 platform, and what the bundle says is bound into it    BundleRefused
//! ```
//!
//! A bundle adds nothing to what is believed: its evidence is verified and appraised as evidence in a file is, under the
//! same policy. What it adds are values that the evidence binds (keys, nonces, devices). Those come out of
//! [`VerifiedBundle::bound`]; what a bundle carries and nothing authenticates does not come out at all, and
//! [`VerifiedBundle::not_asked`] lists it.

mod aci;
mod coco;
mod dstack;
mod error;
mod members;
mod refused;
mod tinfoil;
mod verdict;

use core::fmt;

use serde::Serialize;
use serde_json::{Map, Value};

pub use error::BundleError;
pub use refused::{BundleDenial, BundleRefusal, BundleRefused};
pub use verdict::{BundleDevices, BundleQuestion, Challenge, DeviceTerms, VerifiedBundle};

use crate::checks::Ledger;
use crate::endorsements::{Endorsements, Revocation};
use crate::eventlog::EventLog;
use crate::evidence::Evidence;
use crate::nvidia::{GpuEvidence, NONCE_LEN};
use crate::rules::{self, Rule};
use crate::time::UnixTime;
use crate::verdict::Verified;

/// Longer bundles are refused before they are parsed. Documents with eight GPUs have 200 KiB; the longest recorded event
/// log takes 1.4 MiB in base64.
pub const MAX_BUNDLE: usize = 4 * 1024 * 1024;

/// More devices are refused; the largest machines have 8 GPUs and 4 switches.
pub(crate) const MAX_DEVICES: usize = 64;

/// Whose bundle it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum System {
    /// Tinfoil's attestation documents.
    Tinfoil,
    /// Evidence of Confidential Containers.
    Coco,
    /// Reports of inference servers on dstack: RedPill, Phala, NEAR AI.
    Dstack,
    /// Reports of Attested Confidential Inference.
    Aci,
}

/// A bundle as it arrived. Believed by nobody yet.
#[derive(Debug, Clone)]
pub struct Bundle {
    system: System,
    opened: Opened,
}

/// What every system's bundle is opened into.
#[derive(Debug, Clone)]
pub(crate) struct Opened {
    /// The variant, as the bundle names it.
    pub(crate) variant: &'static str,
    pub(crate) evidence: Evidence,
    pub(crate) carried: Option<Carried>,
    pub(crate) event_log: Option<EventLog>,
    pub(crate) devices: Vec<GpuEvidence>,
    /// What every device must answer; without it no device can be verified.
    pub(crate) device_nonce: Option<[u8; NONCE_LEN]>,
    /// The nonce that the bundle says it answers. Without one only report data can be compared.
    pub(crate) nonce: Option<Vec<u8>>,
    pub(crate) content: Content,
    pub(crate) not_asked: Vec<NotAsked>,
}

/// What a system binds, and how.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    Tinfoil(tinfoil::Tinfoil),
    Coco(coco::Coco),
    Dstack(dstack::Dstack),
    Aci(aci::Aci),
}

/// What the evidence must bind, and what is bound by it then.
#[derive(Debug)]
pub(crate) struct Bound {
    /// As computed from the parts of the bundle; `None` where the system has no formula.
    pub(crate) report_data: Option<Vec<u8>>,
    pub(crate) values: Vec<BoundValue>,
    /// The last second at which the bundle itself says that it holds.
    pub(crate) until: Option<UnixTime>,
}

/// A value that the evidence binds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BoundValue {
    /// What it is, as in spec/bundles.md.
    pub name: &'static str,
    /// Which, where there are several of a name, or of a name that is good for something only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub of: Option<String>,
    /// Its bytes.
    #[serde(with = "hex::serde")]
    pub value: Vec<u8>,
}

/// Something that the bundle carries and that was not looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NotAsked {
    /// What, shortened where the bundle named it.
    pub what: String,
    /// Why.
    pub why: &'static str,
}

/// Endorsements that came within the bundle. Nothing in them is believed that the vendor did not sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Carried {
    /// AMD's certificate, DER, and its revocation list where that is there.
    Amd { vek: Vec<u8>, crl: Option<Vec<u8>> },
    /// Intel's collateral: the JSON of [`Endorsements::tdx`].
    Intel { collateral: Vec<u8> },
}

impl System {
    /// As in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tinfoil => "tinfoil",
            Self::Coco => "coco",
            Self::Dstack => "dstack",
            Self::Aci => "aci",
        }
    }

    /// The rules that only this system's bundles have, in the order in which they are applied.
    pub(crate) fn rules(self) -> &'static [Rule] {
        match self {
            Self::Tinfoil => rules::TINFOIL,
            Self::Coco => rules::COCO,
            Self::Dstack => rules::DSTACK,
            Self::Aci => rules::ACI,
        }
    }
}

impl fmt::Display for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

type Marker = fn(&Map<String, Value>) -> bool;

/// Each system with its marker: what its own documentation says tells it from others.
static MARKERS: &[(System, Marker)] = &[
    (System::Tinfoil, tinfoil::is_marked),
    (System::Coco, coco::is_marked),
    (System::Dstack, dstack::is_marked),
    (System::Aci, aci::is_marked),
];

impl Bundle {
    /// Whether bytes are a JSON object with the marker of a known system. They may be malformed otherwise.
    pub fn looks_like(input: &[u8]) -> bool {
        if input.len() > MAX_BUNDLE || input.trim_ascii_start().first() != Some(&b'{') {
            return false;
        }
        // As lenient as can be: of a member that is there twice, either may mark.
        serde_json::from_slice(input)
            .is_ok_and(|members| MARKERS.iter().any(|(_, is_marked)| is_marked(&members)))
    }

    /// Recognises the system by its own marker, and takes the bytes as they are.
    ///
    /// # Errors
    /// Every departure from the system's form (spec/bundles.md, rule BUN-01), and from the forms of the parts.
    pub fn parse(input: &[u8]) -> Result<Self, BundleError> {
        Self::parse_part(input, None)
    }

    /// As [`Bundle::parse`]; `part` names one report of several (spec/bundles-dstack.md §1).
    ///
    /// # Errors
    /// As [`Bundle::parse`]; and where there are several and none is named, or none of this name.
    pub fn parse_part(input: &[u8], part: Option<&str>) -> Result<Self, BundleError> {
        if input.len() > MAX_BUNDLE {
            return Err(BundleError::TooLong { found: input.len() });
        }
        let Value::Object(members) = members::parse(input, "the bundle")? else {
            return Err(BundleError::UnknownSystem);
        };
        let system = recognise(&members)?;
        let opened = match system {
            System::Dstack => dstack::open(members, part)?,
            _ if part.is_some() => {
                return Err(BundleError::NoPart { name: crate::json::shorten(part.unwrap_or_default()) });
            }
            System::Tinfoil => tinfoil::open(members)?,
            System::Coco => coco::open(members)?,
            System::Aci => aci::open(members)?,
        };
        Ok(Self { system, opened })
    }

    /// Whose bundle it is.
    pub fn system(&self) -> System {
        self.system
    }

    /// Which of the system's variants, as the bundle names it.
    pub fn variant(&self) -> &'static str {
        self.opened.variant
    }

    /// The evidence of the CPU. Reading a field of it proves nothing.
    pub fn evidence(&self) -> &Evidence {
        &self.opened.evidence
    }

    /// The devices' evidence. Reading a field of it proves nothing.
    pub fn devices(&self) -> &[GpuEvidence] {
        &self.opened.devices
    }

    /// The event log that the bundle carries.
    pub fn event_log(&self) -> Option<&EventLog> {
        self.opened.event_log.as_ref()
    }

    /// The nonce that the bundle says it answers.
    pub fn nonce(&self) -> Option<&[u8]> {
        self.opened.nonce.as_deref()
    }

    /// Whether it brings endorsements of its evidence.
    pub fn carries_endorsements(&self) -> bool {
        self.opened.carried.is_some()
    }

    /// What it carries and nobody here looks at.
    pub fn not_asked(&self) -> &[NotAsked] {
        &self.opened.not_asked
    }

    /// What the bundle says of itself, as text for a person: nothing of it is proven.
    pub fn unverified(&self) -> Vec<BoundValue> {
        self.opened.content.unverified(&self.opened)
    }
}

impl Content {
    /// Applies the system's own rules: what must the evidence bind?
    pub(crate) fn bind(
        &self,
        opened: &Opened,
        question: &BundleQuestion<'_>,
        ledger: &mut Ledger,
    ) -> Result<Bound, BundleDenial> {
        match self {
            Self::Tinfoil(content) => content.bind(opened, ledger),
            Self::Coco(content) => content.bind(opened, ledger),
            Self::Dstack(content) => content.bind(ledger),
            Self::Aci(content) => content.bind(question, ledger),
        }
    }

    /// Applies those of the system's own rules that need the evidence to be verified: what else does it bind?
    pub(crate) fn confirm(
        &self,
        opened: &Opened,
        verified: &Verified,
        ledger: &mut Ledger,
    ) -> Result<Vec<BoundValue>, BundleDenial> {
        match self {
            Self::Tinfoil(_) => Ok(Vec::new()),
            Self::Coco(content) => content.confirm(verified, ledger),
            Self::Dstack(content) => content.confirm(opened, verified, ledger),
            Self::Aci(content) => content.confirm(opened, verified, ledger),
        }
    }

    /// Whether the nonce that was asked goes into what the evidence must bind, and is not repeated in the bundle.
    pub(crate) fn takes_nonce(&self) -> bool {
        match self {
            Self::Aci(_) => true,
            Self::Tinfoil(_) | Self::Coco(_) | Self::Dstack(_) => false,
        }
    }

    fn unverified(&self, opened: &Opened) -> Vec<BoundValue> {
        let bound = match self {
            Self::Tinfoil(content) => content.bind(opened, &mut Ledger::new(rules::TINFOIL)),
            Self::Coco(content) => content.bind(opened, &mut Ledger::new(rules::COCO)),
            Self::Dstack(content) => content.bind(&mut Ledger::new(rules::DSTACK)),
            Self::Aci(content) => return content.unverified(),
        };
        bound.map(|bound| bound.values).unwrap_or_default()
    }
}

impl BoundValue {
    pub(crate) fn new(name: &'static str, value: &[u8]) -> Self {
        Self { name, of: None, value: value.to_vec() }
    }

    pub(crate) fn of(self, of: String) -> Self {
        Self { of: Some(of), ..self }
    }
}

impl Carried {
    /// As endorsements. A revocation list of the verifier's own is used; else the bundle's; else what the verifier decided.
    pub(crate) fn endorsements(&self, revocation: &Revocation) -> Endorsements {
        match self {
            Self::Amd { vek, crl } => {
                let revocation = match (revocation, crl) {
                    (Revocation::Crl(_) | Revocation::Lists { .. }, _) | (_, None) => revocation.clone(),
                    (_, Some(crl)) => Revocation::Crl(crl.clone()),
                };
                Endorsements::snp(vek.clone(), revocation)
            }
            Self::Intel { collateral } => Endorsements::tdx(collateral.clone()),
        }
    }
}

/// Exactly one system's marker.
fn recognise(members: &Map<String, Value>) -> Result<System, BundleError> {
    let mut marked = MARKERS.iter().filter(|(_, is_marked)| is_marked(members)).map(|(system, _)| *system);
    match (marked.next(), marked.next()) {
        (None, _) => Err(BundleError::UnknownSystem),
        (Some(system), None) => Ok(system),
        (Some(first), Some(second)) => Err(BundleError::TwoSystems { first, second }),
    }
}
