//! Endorsements fetched from a local server that replays answers (spec/endorse.md).

mod machine;
mod polite;
mod recorded;
mod replay;

use libtest_mimic::{Arguments, Trial};

fn main() {
    let arguments = Arguments::from_args();
    let absent = recorded::folder().is_none();
    let polite = polite::CASES.iter().map(|(name, run)| Trial::test(*name, *run));
    let recorded =
        recorded::CASES.iter().map(|(name, run)| Trial::test(*name, *run).with_ignored_flag(absent));
    libtest_mimic::run(&arguments, polite.chain(recorded).collect()).exit();
}
