//! A Google Cloud instance on this machine: a real TPM 2.0 emulator (swtpm) provisioned as Google does it, under a made-up
//! Google, beside a simulated SEV-SNP chip. From the devices to a verified document, and every break in it.

mod flow;
mod google;
mod release;
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
        trial("a document with a virtual TPM is verified, from the devices on", flow::whole),
        trial("the same document is verified offline", flow::offline),
        trial("demanded and absent, or present and not demanded", flow::demanded),
        trial("another machine's virtual TPM, and another statement's quote", flow::borrowed),
        trial("a machine that lends its virtual TPM nothing more than its own statement", flow::relayed),
        trial("registers that are not as in the policy", flow::registers),
        trial("endorsements that are missing, foreign, or revoke the key", flow::endorsements),
        trial("a key whose certificate names no list", flow::unlisted),
        trial("evidence of something else in its place", flow::misplaced),
        trial("the boot's log is carried, and appraised where it is demanded", flow::log),
        trial("a server's own check refuses what every client would", flow::own_check),
        trial("a TPM that is none of Google's has a name", flow::provisioning),
        trial("a broker is shown the virtual TPM, bound to the exchange", release::shown),
        trial("a broker refuses another machine's virtual TPM, and one for another key", release::borrowed),
        trial(
            "a broker refuses a virtual TPM that nobody vouches for, or that is not as demanded",
            release::refused,
        ),
    ];
    libtest_mimic::run(&arguments, trials).exit();
}
