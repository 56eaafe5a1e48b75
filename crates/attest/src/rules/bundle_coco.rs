//! Evidence of Confidential Containers (spec/bundles.md §4).

use super::{Rule, rules};

rules! {
    /// The rules that only evidence of Confidential Containers has. The first comes before the evidence is appraised.
    COCO
    RUNTIME "BUN-C01" "evidence binds the runtime data beside it" "bundles.md §4 BUN-C01"
        "A key beside the evidence is the sender's word, and a secret that is encrypted to it is the sender's."
    INIT_DATA "BUN-C02" "evidence binds the init data beside it" "bundles.md §4 BUN-C02"
        "Init data says which policy and which key server a guest obeys; the host hands it in, and can hand in another."
    USER_DATA "BUN-C03" "paravisor's report binds what the quote of its TPM binds" "bundles.md §4 BUN-C03"
        "From version 2 on both are asked for the same data. If they differ, one of them is from another exchange."
}
