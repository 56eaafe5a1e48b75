//! Bundles of other systems.

mod aci;
mod coco;
mod coco_recorded;
mod dstack;
mod machine;
#[allow(dead_code)]
#[path = "../nvidia/vendor.rs"]
mod nvidia_vendor;
#[path = "../recorded/mod.rs"]
mod recorded;
mod snp;
#[path = "../tdx_vendor/mod.rs"]
mod tdx_vendor;
mod tinfoil;
mod tinfoil_carried;
mod tinfoil_v2;

use libtest_mimic::{Arguments, Failed, Trial};

/// Name, what is done, expected answer.
pub(crate) type Case = (&'static str, fn() -> String, &'static str);

fn main() {
    let arguments = Arguments::from_args();
    let absent = recorded::folder().is_none();
    let made = [dstack::CASES, aci::CASES, tinfoil::CASES, tinfoil_carried::CASES, coco::CASES]
        .concat()
        .into_iter()
        .map(|case| (case, false));
    let recorded = [dstack::RECORDED, tinfoil_v2::RECORDED, coco_recorded::RECORDED]
        .concat()
        .into_iter()
        .map(|case| (case, absent));
    let trials = made.chain(recorded).map(|((name, answer, expected), ignored)| {
        let run = move || {
            let found = answer();
            if found == expected {
                Ok(())
            } else {
                Err(Failed::from(format!("{found:?}, expected {expected:?}")))
            }
        };
        Trial::test(name, run).with_ignored_flag(ignored)
    });
    libtest_mimic::run(&arguments, trials.collect()).exit();
}
