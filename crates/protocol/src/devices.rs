//! GPUs and switches that belong to an attested machine (spec/channel.md §6).
//!
//! A device's evidence says nothing about the machine that asked for it. Two things tie it there: the runtime statement,
//! which the CPU's evidence binds, names the digest of the devices' evidence; and every device answers a nonce that is
//! derived from the client's.
//!
//! ```text
//! device nonce           = SHA-256("casemate/device-nonce/v1" || 0x00 || the client's nonce)
//! device_evidence_sha256 = SHA-256("casemate/device-set/v1" || 0x00 || digests of the devices' evidence, ascending)
//! ```

use casemate_attest::nvidia::VerifiedSet;
use casemate_attest::{Check, Outcome, Rule, UnixTime};
use sha2::{Digest, Sha256};

use crate::statement::{AttestedStatement, Stated};

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
    devices: VerifiedSet,
    checks: Vec<Check>,
    valid_until: UnixTime,
}

/// Why verified devices do not belong to an attested machine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DevicesError {
    /// The machine states that it has none, or states others.
    #[error("the machine states the device evidence {stated}, and this is {found}")]
    NotStated {
        /// By the runtime statement.
        stated: String,
        /// Of the devices.
        found: String,
    },
    /// The statement answers no nonce, so that no device's can be derived from it.
    #[error("the machine's statement has no nonce")]
    NoNonce,
    /// A device that answers another nonce.
    #[error("device {device} does not answer the nonce that is derived from ours")]
    Nonce {
        /// Serial number of its certificate.
        device: String,
    },
    /// Simulated devices on a real machine, or the other way round.
    #[error("of the machine and its devices, one is simulated and one is not")]
    Mixed,
}

impl DevicesError {
    /// The stable code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotStated { .. } => "devices.not-stated",
            Self::NoNonce => "devices.no-nonce",
            Self::Nonce { .. } => "devices.nonce",
            Self::Mixed => "devices.mixed",
        }
    }
}

/// Refused devices with the checks that ran.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct DevicesRefused {
    /// Why.
    pub reason: DevicesError,
    /// Every rule of this module in order; those after the failure are not reached.
    pub checks: Vec<Check>,
}

/// The rules of spec/channel.md §6, in order.
pub static RULES: [Rule; 3] = [
    Rule {
        id: "CH-9",
        title: "machine and devices are both real, or both simulated",
        spec: "channel.md §6 CH-9",
        why: "A real CPU must not lend its word to a simulated GPU, which holds the prompt in plaintext.",
    },
    Rule {
        id: "CH-10",
        title: "runtime statement names the evidence of these devices",
        spec: "channel.md §6 CH-10",
        why: "A genuine GPU of another machine proves nothing about this one.",
    },
    Rule {
        id: "CH-11",
        title: "every device answers the nonce that is derived from ours",
        spec: "channel.md §6 CH-11",
        why: "Otherwise the machine could show what its devices were before they were exchanged.",
    },
];

/// The nonce that every device of a machine answers, for a client's nonce.
pub fn nonce(client: &[u8; 32]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(NONCE_DOMAIN);
    hash.update([0]);
    hash.update(client);
    hash.finalize().into()
}

/// Checks that verified devices belong to the machine that an attested statement is of.
///
/// # Errors
/// [`DevicesRefused`], with the first rule that does not hold.
pub fn check(statement: AttestedStatement, devices: VerifiedSet) -> Result<AttestedMachine, DevicesRefused> {
    let mut checks = Vec::with_capacity(RULES.len());
    for (rule, judge) in RULES.iter().zip([unmixed, stated, fresh]) {
        match judge(&statement, &devices) {
            Ok(compared) => checks.push(Check { rule, outcome: Outcome::Pass, compared }),
            Err(reason) => {
                checks.push(Check { rule, outcome: Outcome::Fail, compared: reason.to_string() });
                let rest = RULES.iter().skip(checks.len());
                let row = |rule| Check { rule, outcome: Outcome::NotReached, compared: String::new() };
                let rest: Vec<_> = rest.map(row).collect();
                checks.extend(rest);
                return Err(DevicesRefused { reason, checks });
            }
        }
    }
    let valid_until = statement.valid_until().min(devices.valid_until());
    Ok(AttestedMachine { statement, devices, checks, valid_until })
}

// === impl AttestedMachine ===

impl AttestedMachine {
    /// What the machine stated.
    pub fn statement(&self) -> &AttestedStatement {
        &self.statement
    }

    /// Its devices.
    pub fn devices(&self) -> &VerifiedSet {
        &self.devices
    }

    /// The checks of this module, which passed.
    pub fn checks(&self) -> &[Check] {
        &self.checks
    }

    /// The earliest end of statement and devices.
    pub fn valid_until(&self) -> UnixTime {
        self.valid_until
    }
}

// === the check's steps ===

/// CH-9.
fn unmixed(statement: &AttestedStatement, devices: &VerifiedSet) -> Result<String, DevicesError> {
    if statement.simulated() != devices.simulated() {
        return Err(DevicesError::Mixed);
    }
    Ok(if devices.simulated() { "both simulated" } else { "both real" }.to_owned())
}

/// CH-10.
fn stated(statement: &AttestedStatement, devices: &VerifiedSet) -> Result<String, DevicesError> {
    let stated = statement.statement().device_evidence_sha256;
    let found = devices.evidence_sha256();
    if stated != Stated::Is(found) {
        return Err(DevicesError::NotStated { stated: stated.text(), found: hex::encode(found) });
    }
    Ok(format!("{} of {} devices", hex::encode(found), devices.devices().len()))
}

/// CH-11.
fn fresh(statement: &AttestedStatement, devices: &VerifiedSet) -> Result<String, DevicesError> {
    let Stated::Is(client) = statement.statement().nonce else { return Err(DevicesError::NoNonce) };
    let expected = nonce(&client);
    match devices.devices().iter().find(|device| device.claims().nonce != expected) {
        None => Ok(hex::encode(expected)),
        Some(device) => Err(DevicesError::Nonce { device: device.claims().device.clone() }),
    }
}
