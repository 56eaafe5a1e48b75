//! Attestation reports of Attested Confidential Inference.

use super::{Rule, rules};

rules! {
    /// The rules that only reports of ACI have. BUN-A01 to BUN-A05 come before the appraisal of the evidence, the others after
    /// it.
    ACI
    ROLES "BUN-A01" "no key has two roles" "bundles-aci.md §3 BUN-A01"
        "One key that signs receipts and opens requests lets one protocol be played against the other."
    DIGEST "BUN-A02" "keyset digest is that of the keyset" "bundles-aci.md §3 BUN-A02"
        "Who keeps the digest and who reads the keyset would trust two sets of keys."
    STATEMENT "BUN-A03" "report data is that of the statement over keyset and nonce" "bundles-aci.md §3 BUN-A03"
        "Keys beside a quote are the sender's word. The statement binds all of them, and the nonce says when."
    EXPIRY "BUN-A04" "keyset has not expired" "bundles-aci.md §3 BUN-A04"
        "It is how a service lets go of a key."
    CUSTODY "BUN-A05" "somebody decided on the custody of the private keys" "bundles-aci.md §3 BUN-A05"
        "That a workload names a key does not say that nobody else has its private half. The specification demands a check; \
         there is none here, so that it is either refused or waived."
    LOG "BUN-A06" "event log accounts for RTMR3" "bundles-aci.md §3 BUN-A06"
        "The image is the same for every customer. What it started is in RTMR3 only."
    BOOT "BUN-A07" "every event of RTMR3 is known, and those of the boot come before the application's"
        "bundles-aci.md §3 BUN-A07"
        "An application can measure an event with the name of the boot's, and whoever sends the log can call an early event \
         something else."
    APP "BUN-A08" "boot measured one application and one compose file" "bundles-aci.md §3 BUN-A08"
        "Source provenance that no measurement backs is the service's own word."
    COMPOSE "BUN-A09" "compose file in the report is the one that was measured" "bundles-aci.md §3 BUN-A09"
        "It is what an auditor reads, and it is the sender's."
    SLOT "BUN-A10" "report data that the report repeats is the evidence's" "bundles-aci.md §3 BUN-A10"
        "Who reads the report and who reads the evidence would see two quotes."
}
