//! GPUs and switches that belong to an attested machine (spec/channel.md §6).
//!
//! A device's evidence says nothing about the machine that asked for it. Two things tie it there: the runtime statement,
//! which the CPU's evidence binds, names the digest of the devices' evidence; and every device answers a nonce that is
//! derived from the client's.
//!
//! ```text
//! device nonce           = SHA-256("casemate/device-nonce/v1" || 0x00 || the statement's nonce, or nothing where it is none)
//! device_evidence_sha256 = SHA-256("casemate/device-set/v1" || 0x00 || digests of the devices' evidence, ascending)
//! ```
//!
//! [`check`] is the relying party's: which devices its [`DeviceRule`] demands, whether they are genuine and its own, and
//! whether they are this machine's. A server asks [`verify`] the same of its own devices before it lets them work.

mod error;
mod rule;

use casemate_attest::nvidia::{
    GpuEvidence, GpuRevocation, Manifest, NvidiaAnchors, NvidiaEndorsements, SetDenied, VerifiedSet,
    verify_gpu, verify_set,
};
use casemate_attest::{Check, OcspNonce, OcspResponse, Outcome, Policy, Rule, UnixTime, Verified};
use sha2::{Digest, Sha256};

use crate::document::DocumentDevices;
use crate::rows::{row, with_rest};
use crate::statement::{AttestedStatement, RuntimeStatement, Stated};

pub use error::{DevicesError, DevicesRefused};
pub use rule::{DeviceRule, DeviceRuleError, DevicesTable, MAX_DEVICES};

/// The domain separator of the devices' nonce.
pub const NONCE_DOMAIN: &[u8] = b"casemate/device-nonce/v1";

/// A machine whose CPU and devices are verified, and are one machine's. Only [`check`] makes one.
///
/// ```compile_fail
/// fn forge(machine: casemate_protocol::devices::AttestedMachine) -> casemate_protocol::devices::AttestedMachine {
///     casemate_protocol::devices::AttestedMachine { ..machine }
/// }
/// ```
#[derive(Debug)]
pub struct AttestedMachine {
    statement: AttestedStatement,
    devices: Option<VerifiedSet>,
    checks: Vec<Check>,
    valid_until: UnixTime,
}

/// The rules of spec/channel.md §6, in order. Those of the devices themselves come before the last.
pub static RULES: [Rule; 3] = [
    Rule {
        id: "CH-9",
        title: "machine has the devices that we demand, or has none",
        spec: "channel.md §6 CH-9",
        why: "A GPU holds the prompt in plaintext: none that nobody verifies, and none left out that was promised.",
    },
    Rule {
        id: "CH-10",
        title: "machine and devices are both real, or both simulated",
        spec: "channel.md §6 CH-10",
        why: "A real CPU must not lend its word to a simulated GPU, which holds the prompt in plaintext.",
    },
    Rule {
        id: "CH-11",
        title: "runtime statement names the evidence of these devices",
        spec: "channel.md §6 CH-11",
        why: "A genuine GPU of another machine proves nothing about this one.",
    },
];

/// The nonce that every device of a machine answers, for the nonce of its statement.
pub fn nonce(stated: Stated) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(NONCE_DOMAIN);
    hash.update([0]);
    if let Stated::Is(client) = stated {
        hash.update(client);
    }
    hash.finalize().into()
}

/// Checks that the machine of an attested statement has the devices that `rule` demands, genuine and as its terms say, and
/// that they are this machine's.
///
/// # Errors
/// [`DevicesRefused`], with the first rule that does not hold.
pub fn check(
    statement: AttestedStatement,
    devices: Option<&DocumentDevices>,
    rule: &DeviceRule,
    anchors: &NvidiaAnchors,
    now: UnixTime,
) -> Result<AttestedMachine, DevicesRefused> {
    let machine = Stating { statement: statement.statement(), simulated: statement.simulated() };
    let (devices, checks) = machine.check(devices, rule, anchors, now)?;
    let ends = devices.iter().map(VerifiedSet::valid_until).chain([statement.valid_until()]);
    let valid_until = ends.min().unwrap_or(UnixTime(0));
    Ok(AttestedMachine { statement, devices, checks, valid_until })
}

/// As [`check`] for a document that was kept. The devices answer what the statement's nonce demands of them, whoever sent
/// it; this says what a machine was, and yields no [`AttestedMachine`].
///
/// # Errors
/// As [`check`].
pub fn check_offline(
    verified: &Verified,
    statement: &RuntimeStatement,
    devices: Option<&DocumentDevices>,
    rule: &DeviceRule,
    anchors: &NvidiaAnchors,
    now: UnixTime,
) -> Result<Vec<Check>, DevicesRefused> {
    let machine = Stating { statement, simulated: verified.simulated() };
    machine.check(devices, rule, anchors, now).map(|(_, checks)| checks)
}

/// Are these exactly `count` different devices, each genuine, as `policy` says and with an answer to `nonce`? To whom they
/// belong is another question.
///
/// # Errors
/// [`DevicesRefused`], with the checks of manifests and devices.
pub fn verify(
    devices: &DocumentDevices,
    count: usize,
    policy: &Policy,
    anchors: &NvidiaAnchors,
    nonce: &[u8; 32],
    now: UnixTime,
) -> Result<(VerifiedSet, Vec<Check>), DevicesRefused> {
    let mut checks = Vec::new();
    match run(devices, count, policy, anchors, nonce, now, &mut checks) {
        Ok(set) => Ok((set, checks)),
        Err(reason) => Err(DevicesRefused { reason, checks }),
    }
}

/// The rows of [`RULES`] as not reached, for a report that ended before devices were looked at.
pub fn not_reached() -> Vec<Check> {
    with_rest(Vec::new(), &RULES)
}

// === impl AttestedMachine ===

impl AttestedMachine {
    /// What the machine stated.
    pub fn statement(&self) -> &AttestedStatement {
        &self.statement
    }

    /// Its devices, where the rule demanded some.
    pub fn devices(&self) -> Option<&VerifiedSet> {
        self.devices.as_ref()
    }

    /// The checks of devices and of this module, which passed or were waived.
    pub fn checks(&self) -> &[Check] {
        &self.checks
    }

    /// The earliest end of statement and devices.
    pub fn valid_until(&self) -> UnixTime {
        self.valid_until
    }
}

// === the check's steps ===

/// A machine whose statement its CPU's evidence binds.
struct Stating<'a> {
    statement: &'a RuntimeStatement,
    simulated: bool,
}

impl Stating<'_> {
    fn check(
        &self,
        devices: Option<&DocumentDevices>,
        rule: &DeviceRule,
        anchors: &NvidiaAnchors,
        now: UnixTime,
    ) -> Result<(Option<VerifiedSet>, Vec<Check>), DevicesRefused> {
        let [demanded, unmixed, stated] = &RULES;
        let mut checks = Vec::new();
        // CH-9
        let found = self.demanded(devices, rule);
        let Some((devices, count, policy)) = record(demanded, found, &mut checks)? else {
            return Ok((None, checks));
        };
        record(unmixed, self.unmixed(anchors), &mut checks)?;
        // RIM-01 to RIM-07 of each manifest, and NV-01 to NV-19 of each device; the nonce of NV-14 is the statement's.
        let nonce = nonce(self.statement.nonce);
        let set = match verify(devices, count, policy, anchors, &nonce, now) {
            Ok((set, of_devices)) => {
                checks.extend(of_devices);
                set
            }
            Err(DevicesRefused { reason, checks: of_devices }) => {
                checks.extend(of_devices);
                return Err(DevicesRefused { reason, checks: with_rest(checks, &RULES) });
            }
        };
        record(stated, self.stated(&set), &mut checks)?;
        Ok((Some(set), checks))
    }

    /// CH-9.
    fn demanded<'d>(
        &self,
        devices: Option<&'d DocumentDevices>,
        rule: &'d DeviceRule,
    ) -> Step<Option<(&'d DocumentDevices, usize, &'d Policy)>> {
        match (rule, self.statement.device_evidence_sha256, devices) {
            (DeviceRule::None, Stated::None, None) => Ok((None, "none stated, none demanded".to_owned())),
            (DeviceRule::None, ..) => Err(DevicesError::NotExpected),
            (DeviceRule::Exactly { count, .. }, Stated::None, _)
            | (DeviceRule::Exactly { count, .. }, _, None) => {
                Err(DevicesError::Missing { demanded: count.get() })
            }
            (DeviceRule::Exactly { count, policy }, Stated::Is(_), Some(devices)) => {
                Ok((Some((devices, count.get(), policy)), format!("{count} demanded")))
            }
        }
    }

    /// CH-10. Devices that verify are what the roots are.
    fn unmixed(&self, anchors: &NvidiaAnchors) -> Step<()> {
        if self.simulated != anchors.simulated() {
            return Err(DevicesError::Mixed);
        }
        Ok(((), if self.simulated { "both simulated" } else { "both real" }.to_owned()))
    }

    /// CH-11.
    fn stated(&self, devices: &VerifiedSet) -> Step<()> {
        let stated = self.statement.device_evidence_sha256;
        let found = devices.evidence_sha256();
        if stated != Stated::Is(found) {
            return Err(DevicesError::NotStated { stated: stated.text(), found: hex::encode(found) });
        }
        Ok(((), format!("{} of {} devices", hex::encode(found), devices.devices().len())))
    }
}

/// What was found, and what was compared.
type Step<T> = Result<(T, String), DevicesError>;

fn record<T>(rule: &'static Rule, step: Step<T>, checks: &mut Vec<Check>) -> Result<T, DevicesRefused> {
    match step {
        Ok((found, compared)) => {
            checks.push(row(rule, Outcome::Pass, compared));
            Ok(found)
        }
        Err(reason) => {
            checks.push(row(rule, Outcome::Fail, reason.to_string()));
            Err(DevicesRefused { reason, checks: with_rest(std::mem::take(checks), &RULES) })
        }
    }
}

fn run(
    devices: &DocumentDevices,
    count: usize,
    policy: &Policy,
    anchors: &NvidiaAnchors,
    nonce: &[u8; 32],
    now: UnixTime,
    checks: &mut Vec<Check>,
) -> Result<VerifiedSet, DevicesError> {
    // Before anything costs a signature.
    let found = devices.evidence.len();
    if found != count {
        return Err(SetDenied::Count { expected: count, found }.into());
    }
    let answers = devices.answers()?.into_iter();
    // The server asked: which nonce it sent to the responder is not known here, so none is compared.
    let answers: Vec<_> = answers.map(|der| OcspResponse { der, nonce: OcspNonce::NotSent }).collect();
    let revocation = if answers.is_empty() { GpuRevocation::Missing } else { GpuRevocation::Ocsp(answers) };
    let mut manifests = Vec::with_capacity(devices.rim.len());
    for document in devices.manifests()? {
        let manifest = Manifest::verify(&document, &revocation, anchors, now).map_err(|rejected| {
            checks.extend(rejected.checks.iter().cloned());
            DevicesError::Manifest(Box::new(rejected))
        })?;
        checks.extend(manifest.checks().iter().cloned());
        manifests.push(manifest);
    }
    let endorsements = NvidiaEndorsements { revocation };
    let mut verified = Vec::with_capacity(count);
    for device in &devices.evidence {
        let (report, chain) = device.bytes()?;
        let evidence = GpuEvidence::parse(&report, &chain)?;
        let authentic = verify_gpu(&evidence, &endorsements, anchors, now).map_err(|rejected| {
            checks.extend(rejected.checks.iter().cloned());
            DevicesError::Rejected(Box::new(rejected))
        })?;
        let device = authentic.appraise(policy, &manifests, nonce).map_err(|denied| {
            checks.extend(denied.checks.iter().cloned());
            DevicesError::Denied(Box::new(denied))
        })?;
        checks.extend(device.checks().iter().cloned());
        verified.push(device);
    }
    Ok(verify_set(verified, count)?.with_switches()?)
}
