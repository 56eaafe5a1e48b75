//! A program in the place of the embedded engine (spec/upstream.md): what it is given and what not, how it is watched and ended, and what
//! happens where it is hostile.
//!
//! This program starts itself: as the process that becomes the upstream, as the upstream, and as a server that is killed.

#![allow(unreachable_pub, missing_docs)]

mod hostile;
mod process;
mod roles;
mod stand_in;
mod start;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

type Case = fn();

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(ended) = roles::play(&arguments) {
        return ended;
    }
    let cases = [process::CASES, hostile::CASES, start::CASES].concat();
    let trials = cases.into_iter().map(|(name, case): (&str, Case)| {
        Trial::test(name, move || {
            case();
            Ok(())
        })
    });
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit_code()
}
