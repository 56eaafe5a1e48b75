//! Azure confidential VMs. Their evidence contains that of the hardware, so that the rules for SEV-SNP or TDX are among
//! theirs.

use std::sync::LazyLock;

use super::{Rule, SEV_SNP, TDX, rules};

rules! {
    /// The rules that only Azure has. AZ-01 to AZ-05 answer "is it genuine?", the others "is it ours?".
    AZURE
    HARDWARE "AZ-01" "HCL report has its layout, over hardware evidence of the paravisor's" "attest.md §13 AZ-01"
        "Only software at VMPL 0 is Microsoft's paravisor. What the guest asks for itself can bind any key that it likes. A \
         TDREPORT proves nothing away from its machine; the quote over it does."
    BINDING "AZ-02" "runtime data is what the hardware report binds" "attest.md §13 AZ-02"
        "The hash over exactly the bytes, and zeros after it: the text names the key that everything else rests on."
    KEY "AZ-03" "attestation key is in the runtime data, RSA-2048 with the exponent 65537" "attest.md §13 AZ-03"
        "A key from anywhere else is anybody's. Two keys of one name would show two readers two keys."
    QUOTE "AZ-04" "quote is signed by the attestation key" "attest.md §13 AZ-04"
        "Only the virtual TPM of this machine holds the key."
    SELECTION "AZ-05" "PCR values are exactly those that were quoted" "attest.md §13 AZ-05"
        "A value beside the quote is the sender's word, unless its PCR is in the selection, in the SHA-256 bank."
    SECURE_BOOT "AZ-06" "machine was started with secure boot" "attest.md §13 AZ-06"
        "Without it PCR 7 says nothing, and whoever has the disk boots what he likes."
    CONSOLE "AZ-07" "host offers no console to the guest" "attest.md §13 AZ-07"
        "A console is a way in for whoever runs the host."
    VM "AZ-08" "virtual machine is expected" "attest.md §13 AZ-08"
        "The same image runs in many machines, and not all of them are yours."
    PCRS "AZ-09" "quote is over exactly the expected PCRs, with expected values" "attest.md §13 AZ-09"
        "They are the guest's code. The launch measurement is only that of the paravisor."
    USER_DATA "AZ-10" "user-data is expected" "attest.md §13 AZ-10"
        "All 64 bytes. It is what the guest had bound into the hardware report itself: the exchange, if the report is no older."
    CERTIFIED "AZ-11" "attestation key is certified by Azure" "attest.md §13 AZ-11"
        "The hardware report says that some paravisor has the key; the certificate says that it is one of Azure's."
}

/// How many rules for SEV-SNP, and for TDX, answer "is it genuine?".
const SNP_GENUINE: usize = 10;
const TDX_GENUINE: usize = 8;
/// How many rules of Azure come before, and how many after those.
const BEFORE: usize = 1;
const GENUINE: usize = 4;
static ON_SNP: LazyLock<Vec<Rule>> = LazyLock::new(|| combined(SEV_SNP, SNP_GENUINE));
static ON_TDX: LazyLock<Vec<Rule>> = LazyLock::new(|| combined(TDX, TDX_GENUINE));

/// The last rule for either hardware is the one about report data. It is the last for Azure too.
fn combined(hardware: &'static [Rule], genuine: usize) -> Vec<Rule> {
    let (last, hardware) = match hardware.split_last() {
        Some((last, rest)) => (Some(last), rest),
        None => (None, hardware),
    };
    let (genuine, ours) = hardware.split_at_checked(genuine).unwrap_or((hardware, &[]));
    let azure = |skip, take| AZURE.iter().skip(skip).take(take);
    azure(0, BEFORE)
        .chain(genuine)
        .chain(azure(BEFORE, GENUINE))
        .chain(ours)
        .chain(azure(BEFORE.saturating_add(GENUINE), AZURE.len()))
        .chain(last)
        .copied()
        .collect()
}

/// All rules for Azure evidence on SEV-SNP in the order in which they are applied: AZ-01, SNP-01 to SNP-10, AZ-02 to
/// AZ-05, SNP-11 to SNP-30, AZ-06 to AZ-11, SNP-31.
pub fn azure_vtpm() -> &'static [Rule] {
    &ON_SNP
}

/// All rules for Azure evidence on TDX in the order in which they are applied: AZ-01, TDX-01 to TDX-08, AZ-02 to AZ-05,
/// TDX-09 to TDX-27, AZ-06 to AZ-11, TDX-28.
pub fn azure_vtpm_tdx() -> &'static [Rule] {
    &ON_TDX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_of_both_are_all_there_once_and_in_order() {
        let ids: Vec<_> = azure_vtpm().iter().map(|rule| rule.id).collect();
        assert_eq!(ids.len(), SEV_SNP.len() + AZURE.len());
        assert_eq!(ids[..3], ["AZ-01", "SNP-01", "SNP-02"]);
        assert_eq!(ids[9..17], ["SNP-09", "SNP-10", "AZ-02", "AZ-03", "AZ-04", "AZ-05", "SNP-11", "SNP-12"]);
        assert_eq!(ids[34..], ["SNP-30", "AZ-06", "AZ-07", "AZ-08", "AZ-09", "AZ-10", "AZ-11", "SNP-31"]);
        let tdx: Vec<_> = azure_vtpm_tdx().iter().map(|rule| rule.id).collect();
        assert_eq!(tdx.len(), TDX.len() + AZURE.len());
        assert_eq!(tdx[..3], ["AZ-01", "TDX-01", "TDX-02"]);
        assert_eq!(tdx[7..15], ["TDX-07", "TDX-08", "AZ-02", "AZ-03", "AZ-04", "AZ-05", "TDX-09", "TDX-10"]);
        assert_eq!(tdx[31..], ["TDX-27", "AZ-06", "AZ-07", "AZ-08", "AZ-09", "AZ-10", "AZ-11", "TDX-28"]);
        for family in [SEV_SNP, AZURE] {
            let own: Vec<_> = azure_vtpm().iter().filter(|rule| family.contains(rule)).collect();
            assert!(own.iter().zip(family).all(|(found, rule)| *found == rule) && own.len() == family.len());
        }
    }
}
