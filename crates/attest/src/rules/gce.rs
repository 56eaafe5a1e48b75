//! Virtual TPMs of Google Compute Engine.

use super::{Rule, rules};

rules! {
    /// The rules for GCE virtual TPMs. GV-01 to GV-08 answer "is it genuine?", the others "is it ours?".
    GCE
    FORMAT "GV-01" "attestation has its one form" "attest.md §15 GV-01"
        "A field twice, an unknown field or a number in two spellings can show two readers two attestations."
    CERTIFICATE "GV-02" "certificate of the attestation key says which production instance it is for" "attest.md §15 GV-02"
        "A key of a TPM that is not in production is not guarded as those are."
    ROOT "GV-03" "root of Google's virtual TPMs is pinned" "attest.md §15 GV-03"
        "The root is the verifier's own. Roots that a prover sends prove only that the prover can send a file."
    CHAIN "GV-04" "certificate path is valid, and for keys of TPMs" "attest.md §15 GV-04"
        "Signatures, validity, authority flags, key usage, extended key usage and key types, from the root down."
    REVOCATION "GV-05" "no certificate of the path is revoked" "attest.md §15 GV-05"
        "These certificates live for thirty years; revocation is the only way to withdraw one."
    KEY "GV-06" "attestation key is the certified one" "attest.md §15 GV-06"
        "A key beside a certificate of another key is anybody's."
    QUOTE "GV-07" "quote is signed by the attestation key, which is restricted to its TPM's own words" "attest.md §15 GV-07"
        "Any other key can sign a text that only looks like a quote."
    SELECTION "GV-08" "PCR values are exactly those that were quoted, in the SHA-256 bank" "attest.md §15 GV-08"
        "A value beside the quote is the sender's word, unless its PCR is in the selection. SHA-1 can be collided."
    PLATFORM "GV-09" "policy accepts this platform" "attest.md §15 GV-09"
        "A policy that does not speak of a platform has not thought about it."
    MEMORY "GV-10" "host cannot read the instance's memory" "attest.md §15 GV-10"
        "This evidence cannot show it: a plain Shielded VM, which its host reads, has the same. It is refused or waived."
    PROJECT "GV-11" "project is expected" "attest.md §15 GV-11"
        "A genuine instance of somebody else's project is not yours."
    ZONE "GV-12" "zone is expected" "attest.md §15 GV-12"
        "Where a machine stands decides whose law it stands under."
    INSTANCE "GV-13" "instance is expected" "attest.md §15 GV-13"
        "The same image runs in many instances, and not all of them are yours."
    PCRS "GV-14" "quote is over exactly the expected PCRs, with expected values" "attest.md §15 GV-14"
        "They are what was booted."
    REPORT_DATA "GV-15" "qualifying data is bound to this exchange" "attest.md §15 GV-15"
        "In full length. Without it, a genuine quote of somebody else, or of an hour ago, passes."
}
