//! Why genuine Azure evidence is not ours.

use thiserror::Error;

use super::runtime::VmId;

/// Why genuine Azure evidence is denied by a policy: rules AZ-06 to AZ-11.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AzureDenial {
    /// Whoever owns the disk chose what was booted.
    #[error("the machine was started without secure boot")]
    SecureBootOff,
    /// The host has a console into the guest.
    #[error("the host offers a console to the guest")]
    Console,
    /// Another virtual machine.
    #[error("virtual machine {found} is not one of {accepted} accepted")]
    VmNotAccepted {
        /// vmUniqueId.
        found: VmId,
        /// How many the policy names.
        accepted: usize,
    },
    /// The quote is over other PCRs than the policy decides on: fewer, more, or others.
    #[error("the quote is over the PCRs {found:?}, and the policy is over {expected:?}")]
    PcrSelection {
        /// In the quote.
        found: Vec<u8>,
        /// By policy.
        expected: Vec<u8>,
    },
    /// Something else was booted.
    #[error("PCR {index} is {}, not one of {accepted} accepted", hex::encode(found.as_slice()))]
    PcrNotAccepted {
        /// Which PCR.
        index: u8,
        /// Its value.
        found: Box<[u8; 32]>,
        /// How many values the policy names.
        accepted: usize,
    },
    /// The report is of a form without user-data.
    #[error("the evidence has no user-data")]
    UserDataAbsent,
    /// The hardware report was made for something else: at the boot, or for another exchange.
    #[error("user-data {} is not this exchange's {}", hex::encode(found.as_slice()), hex::encode(expected))]
    UserDataOtherExchange {
        /// All 64 bytes.
        found: Box<[u8; 64]>,
        /// What must be there, with zeros after it.
        expected: Box<[u8]>,
    },
    /// A report for this exchange is wanted, and which exchange this is was left open.
    #[error("the policy wants user-data of this exchange, and the exchange was not named")]
    UserDataNoExchange,
    /// Microsoft's own word on the key is not there.
    #[error("no certificate of the attestation key came with the endorsements")]
    Uncertified,
    /// Another user-data.
    #[error("user-data {} is not one of {accepted} accepted", hex::encode(found.as_slice()))]
    UserDataNotAccepted {
        /// All 64 bytes.
        found: Box<[u8; 64]>,
        /// How many values the policy names.
        accepted: usize,
    },
}

impl AzureDenial {
    /// Stable identifier, for logs, exit codes and tests.
    pub fn code(&self) -> &'static str {
        match self {
            Self::SecureBootOff => "azure.secure-boot.off",
            Self::Console => "azure.console.enabled",
            Self::VmNotAccepted { .. } => "azure.vm-id.not-accepted",
            Self::PcrSelection { .. } => "azure.pcr.selection",
            Self::PcrNotAccepted { .. } => "azure.pcr.not-accepted",
            Self::Uncertified => "azure.ak.uncertified",
            Self::UserDataAbsent => "azure.user-data.absent",
            Self::UserDataNotAccepted { .. } => "azure.user-data.not-accepted",
            Self::UserDataOtherExchange { .. } => "azure.user-data.other-exchange",
            Self::UserDataNoExchange => "azure.user-data.no-exchange",
        }
    }
}
