//! NVIDIA GPUs and NVSwitches in confidential computing mode (spec/attest.md §14). Their evidence stands beside the
//! CPU's: a machine is verified when its CPU's evidence is, and each of its devices' is, and they are bound together.
//!
//! ```text
//! GpuEvidence::parse(report, chain_pem)               -> GpuEvidence    believed by nobody    GpuParseError
//! verify_gpu(&evidence, &endorsements, &anchors, now) -> AuthenticGpu   a genuine device      GpuRejected
//! Manifest::verify(xml, &revocation, &anchors, now)   -> Manifest       NVIDIA's word         ManifestRejected
//! authentic.appraise(&policy, &manifests, &nonce)     -> VerifiedGpu    ours, and fresh       GpuDenied
//! verify_set(verified, expected)                      -> VerifiedSet    all of them, once     SetDenied
//! ```

mod anchors;
mod appraise;
mod claims;
mod deny;
mod evidence;
mod fwid;
mod genuine;
pub(crate) mod golden;
mod manifest;
mod opaque;
mod policy;
pub(crate) mod policy_file;
mod question;
mod reject;
mod revocation;
mod serialized;
mod set;
mod spdm;
mod verdict;
mod xml;

pub use anchors::{NvidiaAnchorError, NvidiaAnchors};
pub use claims::NvidiaClaims;
pub use deny::GpuDenial;
pub use evidence::{Architecture, GpuEvidence, GpuParseError};
pub use genuine::NvidiaEndorsements;
pub use manifest::{Manifest, ManifestError, ManifestRejected};
pub use opaque::OpaqueError;
pub use policy::NvidiaPolicy;
pub use question::{OcspQuestion, manifest_questions};
pub use reject::GpuRejection;
pub use revocation::GpuRevocation;
pub use set::{SetDenied, VerifiedSet, set_sha256, verify_set};
pub use spdm::{MEASUREMENT_LEN, NONCE_LEN, SpdmError};
pub use verdict::{AuthenticGpu, GpuDenied, GpuRejected, VerifiedGpu, verify_gpu};

#[cfg(test)]
mod tests;
