//! Bundles of other systems (spec/bundles.md): rules of all of them, and of each.

use super::{Rule, rules};

rules! {
    /// The rules for every bundle. They are applied beside those of the evidence that the bundle carries.
    BUNDLE
    FORM "BUN-01" "bundle has the one form of its system" "bundles.md §2 BUN-01"
        "A member twice, an unknown member or two systems in one text can show two readers two bundles."
    ENDORSED "BUN-02" "there are endorsements, the bundle's or the verifier's own" "bundles.md §2 BUN-02"
        "What a bundle carries is as good as what the vendor signed of it; what it leaves out must come from elsewhere."
    CHALLENGE "BUN-03" "bundle answers this exchange" "bundles.md §2 BUN-03"
        "A nonce that the sender chose proves no freshness: the whole bundle can be somebody else's, or an hour old."
    DEVICES "BUN-04" "devices are exactly those expected, each verified" "bundles.md §2 BUN-04"
        "A device whose evidence is left out, or carried and never looked at, is a device of which nothing is known."
}

rules! {
    /// The rules that only documents of Tinfoil have.
    TINFOIL
    DIGESTS "BUN-T01" "stated digests and report data are those of the sections" "bundles.md §3 BUN-T01"
        "Who reads the stated values and who computes them would see two documents."
    KEYS "BUN-T02" "keys are those that the report data names" "bundles.md §3 BUN-T02"
        "A key beside the evidence is the sender's word: a proxy puts its own there."
}
