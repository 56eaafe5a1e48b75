//! What a TPM, or the way to it, says instead of an answer.

use std::io;

/// Why a TPM gives nothing.
#[derive(Debug, thiserror::Error)]
pub enum TpmError {
    /// The device or socket fails.
    #[error("the TPM cannot be asked with {command}: {source}")]
    Transport {
        /// The command.
        command: &'static str,
        /// The system's answer.
        source: io::Error,
    },
    /// Not an answer to this command (ATT-30).
    #[error("the TPM's answer to {command} is not understood")]
    Answer {
        /// The command.
        command: &'static str,
    },
    /// The TPM refuses (ATT-31).
    #[error("the TPM refuses {command}: {} ({rc:#05x})", name_of(*rc))]
    Refused {
        /// The command.
        command: &'static str,
        /// TPM_RC.
        rc: u32,
    },
    /// An NV index is longer than it can be.
    #[error("NV index {index:#010x} has {found} bytes, more than it can need")]
    NvSize {
        /// The index.
        index: u32,
        /// Its size.
        found: u16,
    },
    /// Nobody has written the index.
    #[error("NV index {index:#010x} was never written")]
    NvUnwritten {
        /// The index.
        index: u32,
    },
    /// Neither the owner nor the index's own authorization reads it.
    #[error("NV index {index:#010x} cannot be read with an empty password")]
    NvUnreadable {
        /// The index.
        index: u32,
    },
    /// Neither the owner nor the index's own authorization writes it.
    #[error("NV index {index:#010x} cannot be written with an empty password")]
    NvUnwritable {
        /// The index.
        index: u32,
    },
    /// A key of another kind.
    #[error("the key at {handle:#010x} is not RSA")]
    NotRsa {
        /// The handle.
        handle: u32,
    },
}

impl TpmError {
    /// The stable code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Transport { .. } => "attester.tpm.transport",
            Self::Answer { .. } => "attester.tpm.answer",
            Self::Refused { .. } => "attester.tpm.refused",
            Self::NvSize { .. } => "attester.tpm.nv-size",
            Self::NvUnwritten { .. } => "attester.tpm.nv-unwritten",
            Self::NvUnreadable { .. } => "attester.tpm.nv-unreadable",
            Self::NvUnwritable { .. } => "attester.tpm.nv-unwritable",
            Self::NotRsa { .. } => "attester.tpm.not-rsa",
        }
    }

    /// TPM_RC_HANDLE of any handle: nothing is there.
    pub(super) fn is_no_such_handle(&self) -> bool {
        matches!(self, Self::Refused { rc, .. } if rc & FORMAT_ONE != 0 && rc & ERROR_OF_ONE == 0x0b && rc & PARAMETER == 0)
    }
}

/// Bit 7: a format-one code (Part 2, 6.6.2).
const FORMAT_ONE: u32 = 1 << 7;
/// Bit 6: of a parameter, not of a handle or session.
const PARAMETER: u32 = 1 << 6;
/// The error of a format-one code.
const ERROR_OF_ONE: u32 = 0x3f;

/// The names of the codes that attestation meets (Part 2, 6.6.3).
fn name_of(rc: u32) -> &'static str {
    match (rc & FORMAT_ONE != 0, rc & ERROR_OF_ONE, rc) {
        (true, 0x04, _) => "TPM_RC_VALUE",
        (true, 0x0b, _) => "TPM_RC_HANDLE",
        (true, 0x0e, _) => "TPM_RC_AUTH_FAIL",
        (true, 0x12, _) => "TPM_RC_SCHEME",
        (true, 0x15, _) => "TPM_RC_SIZE",
        (true, 0x1c, _) => "TPM_RC_KEY",
        (true, 0x22, _) => "TPM_RC_BAD_AUTH",
        (_, _, 0x100) => "TPM_RC_INITIALIZE",
        (_, _, 0x101) => "TPM_RC_FAILURE",
        (_, _, 0x120) => "TPM_RC_DISABLED",
        (_, _, 0x143) => "TPM_RC_COMMAND_CODE",
        (_, _, 0x148) => "TPM_RC_NV_LOCKED",
        (_, _, 0x149) => "TPM_RC_NV_AUTHORIZATION",
        (_, _, 0x14a) => "TPM_RC_NV_UNINITIALIZED",
        (_, _, 0x902) => "TPM_RC_OBJECT_MEMORY",
        (_, _, 0x910) => "TPM_RC_REFERENCE_H0",
        (_, _, 0x921) => "TPM_RC_LOCKOUT",
        _ => "a code without a name here",
    }
}
