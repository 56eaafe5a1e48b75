//! An Azure confidential VM on this machine: a real TPM 2.0 emulator (swtpm) provisioned as Azure does it, a stand-in of the
//! metadata service, and a simulated SEV-SNP chip underneath. From the devices to a verified statement.

mod flow;
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
