//! Endorsements fetched from a local server that replays answers (spec/endorse.md).

#[path = "../../../attest/tests/gce/provider.rs"]
#[allow(dead_code)] // the cases of attest use more of it
mod google;
#[path = "../../../attest/tests/nitro/vendor.rs"]
#[allow(dead_code)] // the cases of attest use more of it
mod nitro;
#[path = "../../../attest/tests/nvidia/vendor.rs"]
#[allow(dead_code)] // the cases of attest use more of it
mod vendor;

mod devices;
mod devices_recorded;
mod lists;
mod machine;
mod polite;
mod proxy;
mod recorded;
mod renewal;
mod replay;
mod specification;

use libtest_mimic::{Arguments, Trial};

fn main() {
    if let Some(fetched) = polite::child() {
        std::process::exit(if fetched { 0 } else { 1 });
    }
    let arguments = Arguments::from_args();
    let absent = recorded::folder().is_none();
    let polite = polite::CASES.iter().map(|(name, run)| Trial::test(*name, *run));
    let proxied = proxy::CASES.iter().map(|(name, run)| Trial::test(*name, *run));
    let renewal = renewal::CASES.iter().map(|(name, run)| Trial::test(*name, *run));
    let devices = devices::CASES.iter().map(|(name, run)| Trial::test(*name, *run));
    let lists = lists::CASES.iter().map(|(name, run)| Trial::test(*name, *run));
    let specified = Trial::test("every code is in the specification", specification::codes);
    let recorded = recorded::CASES
        .iter()
        .chain(devices_recorded::CASES)
        .chain(lists::RECORDED)
        .map(|(name, run)| Trial::test(*name, *run).with_ignored_flag(absent));
    libtest_mimic::run(
        &arguments,
        polite
            .chain(proxied)
            .chain(renewal)
            .chain(devices)
            .chain(lists)
            .chain([specified])
            .chain(recorded)
            .collect(),
    )
    .exit();
}
