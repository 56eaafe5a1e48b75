//! What a Nitro enclave must be (spec/attest.md §11.4). Every field is decided on by one rule.

use super::document::PCR_LEN;
use crate::policy::{Danger, Expected};

/// Terms for Nitro Enclaves documents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NitroPolicy {
    /// Debug mode (NIT-08). Where it is allowed, PCR0 to PCR2 are zero and must be listed so, or waived.
    pub debug: Danger,
    /// Seconds that may have passed since the document was made (NIT-09).
    pub maximum_age: u64,
    /// The enclave image (NIT-10).
    pub pcr0: Expected<[u8; PCR_LEN]>,
    /// Kernel and first ramdisk (NIT-11).
    pub pcr1: Expected<[u8; PCR_LEN]>,
    /// The application's ramdisks (NIT-12).
    pub pcr2: Expected<[u8; PCR_LEN]>,
    /// The IAM role of the parent instance (NIT-13).
    pub pcr3: Expected<[u8; PCR_LEN]>,
    /// The parent instance's id (NIT-14).
    pub pcr4: Expected<[u8; PCR_LEN]>,
    /// The certificate that signed the image; zero where it is unsigned (NIT-15).
    pub pcr8: Expected<[u8; PCR_LEN]>,
}

impl NitroPolicy {
    /// Strict terms with this image: no debug mode, at most five minutes old. PCR0 covers what PCR1 and PCR2 cover;
    /// whose role and instance it runs under and who signed it are not asked, and listed as waived.
    pub fn strict(pcr0: Expected<[u8; PCR_LEN]>) -> Self {
        let unnamed = "an image alone was asked for";
        Self {
            debug: Danger::Refuse,
            maximum_age: 300,
            pcr0,
            pcr1: Expected::any("PCR0 covers it"),
            pcr2: Expected::any("PCR0 covers it"),
            pcr3: Expected::any(unnamed),
            pcr4: Expected::any(unnamed),
            pcr8: Expected::any(unnamed),
        }
    }
}
