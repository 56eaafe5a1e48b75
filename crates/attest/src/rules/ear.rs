//! EAT attestation results.

use super::{Rule, rules};

rules! {
    /// The rules for EAT attestation results. EAR-01 to EAR-04 answer "did its issuer make it?".
    EAR
    EAR_FORMAT "EAR-01" "token has the one form of a signed token" "tokens-ear.md §3 EAR-01"
        "A member twice, a padded part or an unknown critical header shows two readers two tokens."
    EAR_KEY "EAR-02" "a trusted key of the issuer is meant" "tokens-ear.md §3 EAR-02"
        "A token brings its own key (jwk). Whoever forges the token brings his; it is not looked at."
    EAR_SIGNATURE "EAR-03" "token is signed by that key" "tokens-ear.md §3 EAR-03"
        "Only the verifier holds the key."
    EAR_TIME "EAR-04" "token is in date" "tokens-ear.md §3 EAR-04"
        "A verifier's word holds for minutes; a machine can change in more."
    EAR_PLATFORM "EAR-05" "policy accepts tokens of this kind" "tokens-ear.md §3 EAR-05"
        "A policy that does not speak of a verifier has not thought about believing it."
    EAR_ISSUER "EAR-06" "verifier is accepted" "tokens-ear.md §3 EAR-06"
        "Anybody can run a verifier, with a policy of his own."
    EAR_PROFILE "EAR-07" "profile is accepted" "tokens-ear.md §3 EAR-07"
        "The profile says what the claims mean."
    EAR_VERIFIER "EAR-08" "verifier's software says who wrote it, and is accepted" "tokens-ear.md §3 EAR-08"
        "What a status rests on is what this software checks."
    EAR_SUBMODULES "EAR-09" "submodules are exactly the expected ones" "tokens-ear.md §3 EAR-09"
        "A device that is left out is a device that nobody looked at."
    EAR_STATUS "EAR-10" "every submodule is affirming" "tokens-ear.md §3 EAR-10"
        "A verifier signs warnings and failures too, with the right nonce."
    EAR_VECTOR "EAR-11" "no claim of a trustworthiness vector is worse" "tokens-ear.md §3 EAR-11"
        "A status that is better than what it summarizes is a mistake or a policy of somebody else's."
    EAR_AFFIRMED "EAR-12" "the claims that matter are affirmed" "tokens-ear.md §3 EAR-12"
        "A status is affirming too where one claim was judged and the rest were not."
    EAR_POLICY "EAR-13" "verifier's own policy is expected" "tokens-ear.md §3 EAR-13"
        "What a verifier demands before it affirms is configured, by its owner."
    EAR_NONCE "EAR-14" "token is bound to this exchange" "tokens-ear.md §3 EAR-14"
        "A genuine token of another exchange stays genuine."
}
