//! Intel TDX (spec/attest.md §12).

mod appraise;
mod attributes;
mod body;
mod claims;
mod collateral;
mod deny;
mod format;
mod genuine;
mod level;
mod list;
mod pck;
mod policy;
mod policy_file;
mod qe;
mod quote;
mod reject;
mod signatures;
mod status;
mod tcb_info;

pub use attributes::Attribute;
pub use body::{Body, ModuleSvn};
pub use claims::TdxClaims;
pub use collateral::MAX_COLLATERAL;
pub use deny::{Register, TdxDenial};
pub use format::QuoteError;
pub use pck::PlatformFlag;
pub use policy::TdxPolicy;
pub use quote::{MAX_QUOTE, Quote};
pub use reject::TdxRejection;
pub use status::TcbStatus;

pub(crate) use appraise::appraise;
#[cfg(test)]
pub(crate) use appraise::tests::{genuine as test_genuine, quote as test_quote};
pub(crate) use collateral::Published;
pub(crate) use genuine::{Genuine, verify};
pub(crate) use pck::Pck;
pub(crate) use policy_file::TdxFile;
pub(crate) use qe::QeIdentity;
pub(crate) use quote::{PCK_CHAIN, looks_like};
pub(crate) use tcb_info::TcbInfo;
