//! Event logs, on any platform whose evidence has registers that software extends.

use super::{Rule, rules};

rules! {
    /// The rules for event logs. They are applied after the platform's, where the policy asks for a log or there is one.
    EVENT_LOG
    PRESENT "LOG-01" "there is an event log, and the policy has terms for it" "event-logs.md §4 LOG-01"
        "A log that is left out must not pass, and neither must one of which nobody has said what may be in it."
    FORMAT "LOG-02" "log has the one layout of its form, and is of these registers" "event-logs.md §4 LOG-02"
        "Two programs that read the same log differently would appraise two boots."
    REPLAY "LOG-03" "log replays to the registers of the evidence" "event-logs.md §4 LOG-03"
        "The log is the sender's word. Only the register, which the hardware signed, makes its digests a fact."
    OTHERS "LOG-04" "no event of a register of which the policy does not speak" "event-logs.md §4 LOG-04"
        "Such events are not proven, and nobody has decided on what was measured there."
    EVENTS "LOG-05" "every event is expected" "event-logs.md §4 LOG-05"
        "One further boot loader, driver or command is enough to change what runs."
    REQUIRED "LOG-06" "every required event happened, in the order required" "event-logs.md §4 LOG-06"
        "What was never measured may never have run."
}
