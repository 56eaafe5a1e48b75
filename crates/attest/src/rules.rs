//! The numbered rules of spec/attest.md §6, in the order in which they are applied.

/// A rule: what must hold, and where it is specified.
#[derive(Debug, PartialEq, Eq)]
pub struct Rule {
    /// Stable number, such as `SNP-09`.
    pub id: &'static str,
    /// What must hold, in a few words.
    pub title: &'static str,
    /// Where it is specified.
    pub spec: &'static str,
    /// Why it is there: what goes wrong without it.
    pub why: &'static str,
}

macro_rules! sev_snp {
    ($($name:ident $id:literal $title:literal $spec:literal $why:literal)*) => {
        /// The rules for AMD SEV-SNP. SNP-01 to SNP-10 answer "is it genuine?", the others "is it ours?".
        pub static SEV_SNP: &[Rule] = &[$(Rule { id: $id, title: $title, spec: $spec, why: $why }),*];
        $(pub(crate) static $name: Rule = Rule { id: $id, title: $title, spec: $spec, why: $why };)*
    };
}

sev_snp! {
    FORMAT "SNP-01" "report has the layout of its version" "attest.md §6 SNP-01"
        "Two programs that read the same bytes differently can be played against each other. Exact length, known version, \
         zero where zero is written: one report has one meaning."
    SIGNER "SNP-02" "signing key is a VCEK or VLEK, and fits the chip identity" "attest.md §6 SNP-02"
        "The report says which key signed it. A report whose chip key is masked is not signed at all."
    CERTIFICATE "SNP-03" "endorsement certificate is complete and of that key" "attest.md §6 SNP-03"
        "A certificate without one of its TCB extensions would silently skip the comparison that the extension is for."
    PRODUCT "SNP-04" "processor, certificate and chain are of one product line" "attest.md §6 SNP-04"
        "A key of one line must not vouch for a machine of another: the lines have different weaknesses."
    ROOT "SNP-05" "root of the product line is pinned and valid" "attest.md §6 SNP-05"
        "The root is the verifier's own. Roots that a prover sends prove only that the prover can send a file."
    CHAIN "SNP-06" "certificate path is valid" "attest.md §6 SNP-06"
        "Signatures, validity, authority flags, key usage, key sizes and exact algorithm parameters, from the root down."
    REVOCATION "SNP-07" "no certificate of the path is revoked" "attest.md §6 SNP-07"
        "A list that is missing or out of date cannot say that nothing was revoked."
    SIGNATURE "SNP-08" "report is signed by the endorsed key" "attest.md §6 SNP-08"
        "Only firmware of a genuine processor holds the key."
    CERTIFIED_TCB "SNP-09" "certified TCB equals the reported TCB" "attest.md §6 SNP-09"
        "Who broke an old firmware holds its key and can sign any TCB. Only the certificate tells which TCB the key is of."
    CERTIFIED_CHIP "SNP-10" "certified chip equals the reported chip" "attest.md §6 SNP-10"
        "A VCEK is one chip's. A VLEK is one provider's, and names no chip."
    PLATFORM "SNP-11" "policy accepts this platform" "attest.md §6 SNP-11"
        "A policy that does not speak of a platform has not thought about it."
    VERSION "SNP-12" "report version is recent enough" "attest.md §6 SNP-12"
        "Older firmware writes older reports, which say less: version 2 does not even name the processor."
    HOST_TRUST "SNP-13" "host of this product line is trusted no further than the policy says" "attest.md §6 SNP-13"
        "On some lines host software can forge reports. There a report proves the provider's word and nothing else."
    DEBUG "SNP-14" "debugging by the host is off" "attest.md §6 SNP-14"
        "With debugging on, the host reads and writes the guest's memory at will."
    MIGRATION "SNP-15" "no migration agent" "attest.md §6 SNP-15"
        "A migration agent can move the guest, with its memory, to wherever it decides."
    GUEST_POLICY "SNP-16" "guest launch policy grants and demands what it must" "attest.md §6 SNP-16"
        "The firmware enforces what the guest policy demands; it does not enforce what nobody demanded."
    VMPL "SNP-17" "report was asked for at the expected privilege level" "attest.md §6 SNP-17"
        "Less privileged software in the same guest, or the host itself, can ask for a report too."
    MINIMUM_TCB "SNP-18" "reported, committed and launch TCB are at or above the floor" "attest.md §6 SNP-18"
        "Each component by itself. The committed TCB is what prevents a rollback after the report."
    CURRENT_TCB "SNP-19" "current TCB is at or above the reported TCB" "attest.md §6 SNP-19"
        "Firmware that runs below what it reports is a contradiction."
    PROVISIONAL "SNP-20" "firmware is committed" "attest.md §6 SNP-20"
        "Provisional firmware can still be rolled back to the committed one."
    MITIGATIONS "SNP-21" "required mitigations are active, and were at launch" "attest.md §6 SNP-21"
        "Version 5 reports name single mitigations; a security version says it only for all together."
    PLATFORM_INFO "SNP-22" "platform is configured as required" "attest.md §6 SNP-22"
        "SMT, memory encryption, aliased memory: the machine's owner configures them, and the report says how."
    MEASUREMENT "SNP-23" "launch measurement is expected" "attest.md §6 SNP-23"
        "It is the code. Everything else only says that the code is left alone."
    HOST_DATA "SNP-24" "host data is expected" "attest.md §6 SNP-24"
        "The host chose it at launch; software that reads configuration from it must see the approved one."
    ID_KEY "SNP-25" "ID key is expected" "attest.md §6 SNP-25"
        "The key that signed the ID block speaks for the image's publisher."
    AUTHOR_KEY "SNP-26" "author key is expected" "attest.md §6 SNP-26"
        "The key that certified the ID key. Its digest means nothing unless the report says that it is in use."
    FAMILY_ID "SNP-27" "family id is expected" "attest.md §6 SNP-27"
        "The publisher's name for a family of images."
    IMAGE_ID "SNP-28" "image id is expected" "attest.md §6 SNP-28"
        "The publisher's name for one image."
    GUEST_SVN "SNP-29" "guest security version is at or above the floor" "attest.md §6 SNP-29"
        "It lets a publisher retire vulnerable images that have the same ID key."
    CHIP "SNP-30" "chip or provider is expected" "attest.md §6 SNP-30"
        "A genuine machine somewhere is not your machine. A list of chips is what defeats physical attacks on other ones."
    REPORT_DATA "SNP-31" "report data is bound to this exchange" "attest.md §6 SNP-31"
        "All 64 bytes. Without it, a genuine report of somebody else, or of yesterday, passes."
}

/// Why the rule with this id exists.
pub fn explain(id: &str) -> Option<&'static str> {
    SEV_SNP.iter().find(|rule| rule.id == id).map(|rule| rule.why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_count_up_without_a_gap() {
        for (index, rule) in SEV_SNP.iter().enumerate() {
            assert_eq!(rule.id, format!("SNP-{:02}", index + 1));
            assert!(rule.spec.ends_with(rule.id), "{}", rule.id);
            assert_eq!(explain(rule.id), Some(rule.why));
        }
        assert_eq!(explain("SNP-00"), None);
        assert_eq!(explain(""), None);
    }
}
