//! AWS Nitro Enclaves (spec/attest.md §11).

mod appraise;
mod claims;
mod deny;
mod document;
mod genuine;
mod policy;
mod policy_file;
mod reject;

pub use claims::NitroClaims;
pub use deny::NitroDenial;
pub use document::{Document, DocumentError, MAX_DOCUMENT, PCR_LEN};
pub use policy::NitroPolicy;
pub use reject::NitroRejection;

pub(crate) use appraise::appraise;
pub(crate) use document::looks_like;
pub(crate) use genuine::{Genuine, verify};
pub(crate) use policy_file::NitroFile;
