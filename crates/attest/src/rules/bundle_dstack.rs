//! Attestation reports of inference servers on dstack.

use super::{Rule, rules};

rules! {
    /// The rules that only reports of dstack's inference servers have. BUN-D01 and BUN-D02 come before the appraisal of the
    /// evidence, the others after it.
    DSTACK
    SIGNER "BUN-D01" "report data is computed from signer, TLS key and nonce" "bundles-dstack.md §3 BUN-D01"
        "A key beside a quote is the sender's word. Which of the two formulas holds is the report's choice, never a matter \
         of trying."
    DEVICE_NONCE "BUN-D02" "devices were asked with the nonce of the report" "bundles-dstack.md §3 BUN-D02"
        "Evidence of a device that answers another nonce can be anybody's, of any time."
    LOG "BUN-D03" "event log accounts for RTMR3" "bundles-dstack.md §3 BUN-D03"
        "The image is the same for every customer. What it started is in RTMR3 only."
    BOOT "BUN-D04" "every event of RTMR3 is known, and those of the boot come before the application's"
        "bundles-dstack.md §3 BUN-D04"
        "An application can measure an event with the name of the boot's, and whoever sends the log can call an early event \
         something else."
    APP "BUN-D05" "boot measured one application and one compose file" "bundles-dstack.md §3 BUN-D05"
        "Without them the quote says that dstack runs, and nothing of what runs on it."
    COMPOSE "BUN-D06" "compose file in the report is the one that was measured" "bundles-dstack.md §3 BUN-D06"
        "It is what an auditor reads, and it is the sender's."
    STATED "BUN-D07" "what the report repeats is what the evidence has" "bundles-dstack.md §3 BUN-D07"
        "Who reads the report and who reads the evidence would see two machines."
}
