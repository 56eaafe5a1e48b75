//! Bundles of NVIDIA's remote attestation service: a token over all devices, and one for each (spec/tokens-nras.md).

mod appraise;
mod bundle;
mod device;
mod policy;
pub(crate) mod policy_file;

pub(crate) use appraise::{appraise, nonce};
pub(crate) use bundle::{Bundle, Submodule, is_bundle, whole};
pub use policy::NrasPolicy;
