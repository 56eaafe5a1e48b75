//! TPM 2.0 quotes, on whatever platform the TPM is (spec/attest.md §13; TCG TPM 2.0 Library, Part 2 "Structures").
//!
//! A quote is one signed structure: which key (by name), what the asker bound (`extraData`), which PCRs, and one digest
//! over their values. The values themselves travel beside it and are worth nothing until they are held against the
//! selection *and* the digest: [`Quote::select`] is the only thing that makes [`SelectedPcrs`].

mod ak_chain;
mod pcr;
mod public;
mod quote;
mod reader;
mod reject;
mod roots;
mod signature;
mod terms;

pub use ak_chain::{AkCertificateError, certificates};
pub use pcr::{PCR_COUNT, PcrError, PcrSelection, PcrValues, SelectedPcrs};
pub use public::{AkPublic, PublicError};
pub use quote::{ClockInfo, MAX_QUOTE, Quote, QuoteError};
pub use reject::QuoteRejection;
pub use signature::{QuoteSignature, SignatureError};
pub use terms::PcrTerms;

pub(crate) use ak_chain::revocation;
pub(crate) use ak_chain::{
    AIK_CERTIFICATE, CertifiedAk, EK_CERTIFICATE, LeafPurpose, certify, intermediates, is_key_of, leaf,
    root_of, validate,
};
pub(crate) use roots::{Provider, VtpmRoot, embedded};
pub(crate) use signature::AttestationKey;
pub(crate) use terms::{PcrsDenied, appraise_pcrs, pcr_terms};

/// TPM_ALG_SHA256.
pub(crate) const ALG_SHA256: u16 = 0x000b;

#[cfg(test)]
pub(crate) mod tests;
