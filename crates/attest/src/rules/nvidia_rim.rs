//! NVIDIA's reference manifests.

use super::{Rule, rules};

rules! {
    /// The rules for a reference manifest of NVIDIA's, before any device is compared with it.
    NVIDIA_RIM
    FORMAT "RIM-01" "manifest is of the one shape that is read" "attest.md §14.6 RIM-01"
        "XML has many ways to show two readers two documents. What is not of the subset is refused, not skipped."
    ROOT "RIM-02" "root is pinned, and the root that was sent is the same" "attest.md §14.6 RIM-02"
        "A manifest carries a root too. It proves only that the sender has a file."
    CHAIN "RIM-03" "signer's certificate path is valid" "attest.md §14.6 RIM-03"
        "A manifest outlives its firmware's holes: the end of its signer's validity is when NVIDIA stops vouching for it."
    REVOCATION "RIM-04" "no certificate of the signer's path is revoked" "attest.md §14.6 RIM-04"
        "NVIDIA withdraws the manifest of a broken driver by revoking its signer."
    DIGEST "RIM-05" "document is the one that was signed" "attest.md §14.6 RIM-05"
        "A golden value changed after signing would make any firmware look right."
    SIGNATURE "RIM-06" "manifest is signed by its signer's key" "attest.md §14.6 RIM-06"
        "Who can write golden values decides what a good device is."
    CONTENT "RIM-07" "manifest says what it is for, and has golden values" "attest.md §14.6 RIM-07"
        "A manifest without a version fits every device; one without golden values is satisfied by every device."
}
