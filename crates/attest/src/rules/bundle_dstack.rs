//! Attestation reports of inference servers on dstack.

use super::{Rule, rules};

rules! {
    /// The rules that only reports of dstack's inference servers have. BUN-D01 to BUN-D03 come before the appraisal of the
    /// evidence, the others after it.
    DSTACK
    SIGNER "BUN-D01" "report data is computed from signer, TLS key and nonce" "bundles-dstack.md §3 BUN-D01"
        "A key beside a quote is the sender's word. Which of the two formulas holds is the report's choice, never a matter \
         of trying."
    PUBLIC_KEY "BUN-D02" "public key beside the address is the address's" "bundles-dstack.md §3 BUN-D02"
        "Clients encrypt to it. An address is bound, and whoever sends the report writes the key."
    DEVICE_NONCE "BUN-D03" "devices were asked with the nonce of the report" "bundles-dstack.md §3 BUN-D03"
        "Evidence of a device that answers another nonce can be anybody's, of any time."
    LOG "BUN-D04" "event log accounts for RTMR3" "bundles-dstack.md §3 BUN-D04"
        "The image is the same for every customer. What it started is in RTMR3 only."
    BOOT "BUN-D05" "every event of RTMR3 is known, and those of the boot come before the application's"
        "bundles-dstack.md §3 BUN-D05"
        "An application can measure an event with the name of the boot's, and whoever sends the log can call an early event \
         something else."
    APP "BUN-D06" "boot measured one application and one compose file" "bundles-dstack.md §3 BUN-D06"
        "Without them the quote says that dstack runs, and nothing of what runs on it."
    COMPOSE "BUN-D07" "compose file in the report is the one that was measured" "bundles-dstack.md §3 BUN-D07"
        "It is what an auditor reads, and it is the sender's."
    STATED "BUN-D08" "what the report repeats is what the evidence has" "bundles-dstack.md §3 BUN-D08"
        "Who reads the report and who reads the evidence would see two machines."
}
