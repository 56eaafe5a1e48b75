//! An Azure confidential VM on this machine: a real TPM 2.0 emulator (swtpm) provisioned as Azure does it, a stand-in of the
//! metadata service, and a simulated SEV-SNP chip underneath. From the devices to a verified statement.

mod flow;
mod paravisor;
#[path = "../swtpm/mod.rs"]
mod swtpm;
mod vm;

use libtest_mimic::{Arguments, Trial};

fn main() {
    let arguments = Arguments::from_args();
    let there = swtpm::is_there();
    let trial = |name: &str, run: fn()| {
        Trial::test(name, move || {
            run();
            Ok(())
        })
        .with_ignored_flag(!there)
    };
    let trials = vec![
        trial("evidence of an Azure VM is verified, from the devices to the statement", flow::whole),
        trial("a statement of another exchange, and a foreign root, are refused", flow::refused),
        trial("a client that wants a report of its exchange refuses the boot's", flow::boots_report),
        trial("exchanges in a row each have a report of their own", flow::in_a_row),
        trial("a report that is never made anew has a name", flow::never_anew),
        trial("a report without user data has a name", flow::no_user_data),
        trial("a report with other user data has a name", flow::other_user_data),
        trial("a report under which other words stand has a name", flow::torn),
        trial("a report that is worse than the first has a name", flow::worse_since),
        trial("an index for user data that cannot be had has a name", flow::no_room),
        trial("an attestation key's certificate is carried without its padding", flow::certificate),
        trial("a VM without a hardware report has a name", flow::no_report),
        trial("a VM without an attestation key has a name", flow::no_key),
        trial("a TPM with another key than the hardware report's has a name", flow::wrong_key),
        trial("a padding that is none has a name", flow::dirty_certificate),
        trial("a metadata service that fails has a name, and nothing else is tried", flow::no_metadata),
        trial("NV indices are read in parts, whole", flow::nv),
    ];
    libtest_mimic::run(&arguments, trials).exit();
}
