//! Which endorsements evidence needs, what of a service's answer is kept, and the file that carries them
//! (spec/endorse.md). Nothing here fetches: the caller asks the services and hands the answers in.

mod bundle;
mod dates;
mod intel;
mod lists;
mod needs;
mod nvidia;

pub use bundle::{BUNDLE_SCHEMA, BundleError, DeviceEndorsements, EndorsementBundle, MAX_BUNDLE};
pub use dates::{DatedPart, certificate as certificate_dates};
pub use intel::{AnswerError, Collateral, Dated, SignedDocument, qe_identity, revocation_list, tcb_info};
pub use lists::{ListNeed, ListNeeds};
pub(crate) use needs::fmspc;
pub use needs::{AmdNeeds, IntelNeeds, Needs, NeedsError, PckAuthority};
pub use nvidia::ManifestNeed;
