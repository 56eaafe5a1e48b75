//! What stands beside a machine's processor in a key release (spec/release.md §2.7): its GPUs, and the virtual TPM that says what
//! it booted where the launch measurement is the provider's firmware alone.
//!
//! ```text
//! part_data   = SHA-384(JCS({"nonce", "tee-pubkey"})) || 16 zero bytes           what every part answers
//! vtpm quote  = over SHA-256(part_data)                                          statement::bound
//! GPU nonce   = SHA-256("casemate/device-nonce/kbs/v1" || 0x00 || part_data)
//! report_data = SHA-384(JCS({"additional-evidence", "nonce", "tee-pubkey"})) …   names all of it: kbs::report_data
//! ```
//!
//! So a part that was asked for another exchange, and thus for another key, is no part of this one; and a machine cannot
//! exchange its parts after its processor signed. [`check`] makes an [`AttestedComposite`], which is what a key is released to.

use casemate_attest::nvidia::{NvidiaAnchors, VerifiedSet};
use casemate_attest::{Danger, Evidence, Platform, Policy, TrustAnchors, UnixTime, Verified, json};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::devices::{self, DeviceRule, DevicesError, MAX_DEVICES};
use crate::document::{DocumentDevices, DocumentVtpm};
use crate::kbs::{self, KbsError, RuntimeData};
use crate::statement::{self, Stated};
use crate::vtpm::{self, VtpmError, VtpmRule};

/// The domain separator of the devices' nonce in a key release.
pub const NONCE_DOMAIN: &[u8] = b"casemate/device-nonce/kbs/v1";

/// The member `additional_evidence` of RCAR: JSON as text, empty where there is nothing beside the processor. Believed by nobody.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdditionalEvidence {
    /// The GPUs.
    #[serde(deserialize_with = "Option::deserialize")]
    pub devices: Option<DocumentDevices>,
    /// The virtual TPM.
    #[serde(deserialize_with = "Option::deserialize")]
    pub vtpm: Option<DocumentVtpm>,
    /// The digest of the program that will answer with the model in the place of the embedded engine, where one will (REL-21). Left out
    /// where none will.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream: Option<Stated>,
}

/// What is demanded of the parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartTerms {
    /// Of the GPUs.
    pub devices: DeviceTerms,
    /// Of the virtual TPM.
    pub vtpm: VtpmTerms,
}

/// Which GPUs a machine must show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeviceTerms {
    /// Any number or none; those that it shows must meet this policy's terms for NVIDIA.
    WhereShown(Box<Policy>),
    /// As a client's policy says.
    Rule(DeviceRule),
}

/// Which virtual TPM a machine must show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VtpmTerms {
    /// One or none; the one that it shows must be Google's and meet this policy's terms for it.
    WhereShown {
        /// Whose `gce` has the terms.
        policy: Box<Policy>,
        /// What is decided about certificates that name no revocation list.
        unlisted: Danger,
    },
    /// As a client's policy says.
    Rule(VtpmRule),
}

/// Whom to believe.
#[derive(Debug, Clone, Copy)]
pub struct PartAnchors<'a> {
    /// About virtual TPMs.
    pub trust: &'a TrustAnchors,
    /// About GPUs.
    pub nvidia: &'a NvidiaAnchors,
}

/// A machine whose processor and whatever stands beside it are verified, are one machine's, and answer one exchange. Only
/// [`check`] makes one.
///
/// ```compile_fail
/// use casemate_protocol::additional::AttestedComposite;
/// fn forge(machine: AttestedComposite) -> AttestedComposite {
///     AttestedComposite { devices: None, ..machine }
/// }
/// ```
#[derive(Debug)]
pub struct AttestedComposite {
    machine: Verified,
    devices: Option<VerifiedSet>,
    vtpm: Option<Verified>,
    upstream: Option<[u8; 32]>,
    valid_until: UnixTime,
}

/// Why what stands beside a machine's processor is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdditionalError {
    /// The processor's evidence is for other parts, or for none.
    #[error("the machine's evidence does not bind this additional evidence")]
    NotBound,
    /// The exchange has no canonical form.
    #[error(transparent)]
    Message(#[from] KbsError),
    /// Not the JSON that the specification describes.
    #[error(
        "the additional evidence is not a JSON object of exactly `devices` and `vtpm`, or of these and the digest `upstream`"
    )]
    Malformed,
    /// It says that there is nothing, which is said by no text at all.
    #[error("the additional evidence holds nothing: an empty text says that")]
    Nothing,
    /// More devices than any machine has.
    #[error("the machine shows {found} devices, not between 1 and {MAX_DEVICES}")]
    DeviceCount {
        /// How many.
        found: usize,
    },
    /// A virtual TPM of Google's beside something that Google has not got.
    #[error("a virtual TPM of Google's stands beside SEV-SNP or TDX, and this is {found}")]
    VtpmBeside {
        /// What it stands beside.
        found: Platform,
    },
    /// The virtual TPM.
    #[error("the virtual TPM: {0}")]
    Vtpm(VtpmError),
    /// The GPUs.
    #[error("the devices: {0}")]
    Devices(DevicesError),
}

/// What every part of a machine answers in this exchange.
///
/// # Errors
/// [`KbsError::NotCanonical`].
pub fn part_data(runtime: &RuntimeData) -> Result<[u8; 64], KbsError> {
    kbs::padded_digest(&serde_json::json!({ "nonce": runtime.nonce, "tee-pubkey": runtime.tee_pubkey }))
}

/// The nonce that every device answers, of what [`part_data`] gave.
pub fn device_nonce(part_data: &[u8; 64]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(NONCE_DOMAIN);
    hash.update([0]);
    hash.update(part_data);
    hash.finalize().into()
}

/// Checks everything beside the processor of a machine whose own evidence was verified, in the order of spec/release.md §2.7
/// (REL-16 to REL-21). `text` is the member as it arrived.
///
/// # Errors
/// [`AdditionalError`], the first that applies.
pub fn check(
    machine: Verified,
    runtime: &RuntimeData,
    text: &str,
    terms: &PartTerms,
    anchors: PartAnchors<'_>,
    now: UnixTime,
) -> Result<AttestedComposite, AdditionalError> {
    // REL-16
    let platform = machine.claims().platform();
    let expected = statement::bound(platform, &kbs::report_data(runtime, text)?);
    if machine.report_data() != expected {
        return Err(AdditionalError::NotBound);
    }
    // REL-17
    let shown = AdditionalEvidence::parse(text)?;
    let asked = part_data(runtime)?;
    // REL-18
    let vtpm = terms.vtpm.check(shown.vtpm.as_ref(), platform, &asked, anchors.trust, now)?;
    // REL-19, REL-20
    let devices =
        terms.devices.check(shown.devices.as_ref(), machine.simulated(), &asked, anchors.nvidia, now)?;
    let ends = [Some(machine.valid_until()), vtpm.as_ref().map(Verified::valid_until)];
    let ends = ends.into_iter().chain([devices.as_ref().map(VerifiedSet::valid_until)]).flatten();
    let valid_until = ends.min().unwrap_or(UnixTime(0));
    let upstream = match shown.upstream {
        None | Some(Stated::None) => None,
        Some(Stated::Is(digest)) => Some(digest),
    };
    Ok(AttestedComposite { machine, devices, vtpm, upstream, valid_until })
}

// === impl AdditionalEvidence ===

impl AdditionalEvidence {
    /// Reads the member; an empty text is nothing. Believes nothing.
    ///
    /// # Errors
    /// Text that is not the specification's, or that holds nothing.
    pub fn parse(text: &str) -> Result<Self, AdditionalError> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let value = json::parse(text.as_bytes()).map_err(|_| AdditionalError::Malformed)?;
        let read: Self = serde_json::from_value(value).map_err(|_| AdditionalError::Malformed)?;
        // That there is none is said by leaving it out.
        if read.upstream == Some(Stated::None) {
            return Err(AdditionalError::Malformed);
        }
        if read == Self::default() { Err(AdditionalError::Nothing) } else { Ok(read) }
    }

    /// The member: JSON, or empty where there is nothing.
    ///
    /// # Errors
    /// [`KbsError::NotCanonical`].
    pub fn to_text(&self) -> Result<String, KbsError> {
        if *self == Self::default() {
            return Ok(String::new());
        }
        serde_json::to_string(self).map_err(|_| KbsError::NotCanonical)
    }
}

// === impl DeviceTerms ===

impl DeviceTerms {
    fn check(
        &self,
        shown: Option<&DocumentDevices>,
        simulated: bool,
        asked: &[u8; 64],
        anchors: &NvidiaAnchors,
        now: UnixTime,
    ) -> Result<Option<VerifiedSet>, AdditionalError> {
        let refused = AdditionalError::Devices;
        let (shown, count, policy) = match (self, shown) {
            (Self::WhereShown(_) | Self::Rule(DeviceRule::None), None) => return Ok(None),
            (Self::Rule(DeviceRule::None), Some(_)) => return Err(refused(DevicesError::NotExpected)),
            (Self::Rule(DeviceRule::Exactly { count, .. }), None) => {
                return Err(refused(DevicesError::Missing { demanded: count.get() }));
            }
            (Self::Rule(DeviceRule::Exactly { count, policy }), Some(shown)) => (shown, count.get(), policy),
            (Self::WhereShown(policy), Some(shown)) => match shown.evidence.len() {
                count @ 1..=MAX_DEVICES => (shown, count, policy),
                found => return Err(AdditionalError::DeviceCount { found }),
            },
        };
        if simulated != anchors.simulated() {
            return Err(refused(DevicesError::Mixed));
        }
        let verified = devices::verify(shown, count, policy, anchors, &device_nonce(asked), now);
        verified.map(|(set, _)| Some(set)).map_err(|it| refused(it.reason))
    }
}

// === impl VtpmTerms ===

impl VtpmTerms {
    fn check(
        &self,
        shown: Option<&DocumentVtpm>,
        beside: Platform,
        asked: &[u8; 64],
        anchors: &TrustAnchors,
        now: UnixTime,
    ) -> Result<Option<Verified>, AdditionalError> {
        let refused = AdditionalError::Vtpm;
        let (shown, policy, unlisted) = match (self, shown) {
            (Self::WhereShown { .. } | Self::Rule(VtpmRule::None), None) => return Ok(None),
            (Self::Rule(VtpmRule::None), Some(_)) => return Err(refused(VtpmError::NotExpected)),
            (Self::Rule(VtpmRule::Google { .. }), None) => return Err(refused(VtpmError::Missing)),
            (Self::WhereShown { policy, unlisted }, Some(shown))
            | (Self::Rule(VtpmRule::Google { policy, unlisted }), Some(shown)) => (shown, policy, unlisted),
        };
        if !matches!(beside, Platform::SevSnp | Platform::Tdx) {
            return Err(AdditionalError::VtpmBeside { found: beside });
        }
        let evidence: Evidence = vtpm::read(shown).map_err(refused)?;
        let verified = vtpm::appraise(&evidence, shown, policy, unlisted, asked, anchors, now);
        verified.map(Some).map_err(|(reason, _)| refused(reason))
    }
}

// === impl AttestedComposite ===

impl AttestedComposite {
    /// The machine's own evidence, verified.
    pub fn machine(&self) -> &Verified {
        &self.machine
    }

    /// Its GPUs, where it showed some.
    pub fn devices(&self) -> Option<&VerifiedSet> {
        self.devices.as_ref()
    }

    /// Its virtual TPM beside the hardware, where it showed one.
    pub fn vtpm(&self) -> Option<&Verified> {
        self.vtpm.as_ref()
    }

    /// The digest of the program that will answer in the place of the embedded engine, by the word of the machine's software; `None`
    /// where none will.
    pub fn upstream(&self) -> Option<[u8; 32]> {
        self.upstream
    }

    /// Whether any part of it is simulated.
    pub fn simulated(&self) -> bool {
        self.machine.simulated()
            || self.devices.as_ref().is_some_and(VerifiedSet::simulated)
            || self.vtpm.as_ref().is_some_and(Verified::simulated)
    }

    /// The last second at which every part is genuine.
    pub fn valid_until(&self) -> UnixTime {
        self.valid_until
    }
}

// === impl AdditionalError ===

impl AdditionalError {
    /// The stable code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotBound => "kbs.additional.not-bound",
            Self::Message(error) => error.code(),
            Self::Malformed => "kbs.additional.malformed",
            Self::Nothing => "kbs.additional.nothing",
            Self::DeviceCount { .. } => "kbs.additional.device-count",
            Self::VtpmBeside { .. } => "kbs.additional.vtpm-beside",
            Self::Vtpm(error) => error.code(),
            Self::Devices(error) => error.code(),
        }
    }
}
