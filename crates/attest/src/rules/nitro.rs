//! AWS Nitro Enclaves.

use super::{Rule, rules};

rules! {
    /// The rules for AWS Nitro Enclaves. NIT-01 to NIT-06 answer "is it genuine?", the others "is it ours?".
    NITRO
    FORMAT "NIT-01" "document has the one layout of an attestation document" "attest.md §11 NIT-01"
        "A key twice, a length written in two ways or a byte behind the end can show two readers two documents."
    ROOT "NIT-02" "root of Nitro Enclaves is pinned and valid" "attest.md §11 NIT-02"
        "The document carries a root too. It proves only that the sender has a file; it is not looked at."
    CHAIN "NIT-03" "certificate path is valid" "attest.md §11 NIT-03"
        "Signatures, validity, authority flags, key usage and key types, from the root down."
    REVOCATION "NIT-04" "no certificate of the path is revoked" "attest.md §11 NIT-04"
        "A leaf lives three hours, but the authorities above it live for weeks and can be revoked."
    SIGNATURE "NIT-05" "document is signed by the endorsed key" "attest.md §11 NIT-05"
        "Only the Nitro Security Module of the instance holds the key."
    TIME "NIT-06" "document was made while its certificate was valid, and not in the future" "attest.md §11 NIT-06"
        "A document from outside its certificate's life was not made by the module that the certificate is for."
    PLATFORM "NIT-07" "policy accepts this platform" "attest.md §11 NIT-07"
        "A policy that does not speak of a platform has not thought about it."
    DEBUG "NIT-08" "enclave is not in debug mode" "attest.md §11 NIT-08"
        "In debug mode the parent instance reads the console, and PCR0 to PCR2 are zero: any image looks alike."
    AGE "NIT-09" "document is no older than the policy says" "attest.md §11 NIT-09"
        "A genuine document stays genuine; a stopped enclave does not come back."
    PCR0 "NIT-10" "PCR0, the enclave image, is expected" "attest.md §11 NIT-10"
        "It is the code. Everything else only says that the code is left alone."
    PCR1 "NIT-11" "PCR1, kernel and first ramdisk, is expected" "attest.md §11 NIT-11"
        "A publisher may vouch for a kernel apart from an image."
    PCR2 "NIT-12" "PCR2, the application, is expected" "attest.md §11 NIT-12"
        "A publisher may vouch for an application apart from a kernel."
    PCR3 "NIT-13" "PCR3, the IAM role of the parent, is expected" "attest.md §11 NIT-13"
        "A genuine enclave of another AWS account is not your enclave."
    PCR4 "NIT-14" "PCR4, the parent instance, is expected" "attest.md §11 NIT-14"
        "It ties the enclave to one instance."
    PCR8 "NIT-15" "PCR8, the image's signing certificate, is expected" "attest.md §11 NIT-15"
        "The key that signed the image speaks for its publisher."
    REPORT_DATA "NIT-16" "user data is bound to this exchange" "attest.md §11 NIT-16"
        "All 64 bytes. Without it, a genuine document of somebody else, or of an hour ago, passes."
}
