//! Virtual TPMs of Google Compute Engine (spec/attest.md §15): go-tpm-tools' attestation.
//!
//! Google certifies the attestation key of an instance's virtual TPM; the key signs a quote, which binds what the relying
//! party asked for. That says what an instance of Google's booted. It says **nothing** about memory encryption: a plain
//! Shielded VM, whose memory the host reads, has the same evidence. Rule GV-10 refuses unless a policy has written down
//! that this is known.

mod appraise;
mod certificate;
mod claims;
mod deny;
mod evidence;
mod genuine;
mod policy;
mod policy_file;
mod protobuf;
mod reject;

pub use certificate::{InstanceInfo, InstanceInfoError};
pub use claims::GceClaims;
pub use deny::GceDenial;
pub use evidence::{GceEvidence, GceFormatError};
pub use policy::GcePolicy;
pub use protobuf::ProtobufError;
pub use reject::GceRejection;

pub(crate) use appraise::appraise;
pub(crate) use evidence::looks_like;
pub(crate) use genuine::{Genuine, verify};
pub(crate) use policy_file::GceFile;
