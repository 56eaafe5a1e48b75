//! The engine's process (spec/confinement.md): a hostile engine behind the same walls reaches nothing, an honest one answers
//! as it does without them, and whatever the process does has a name.
//!
//! This program starts itself as the engine's process, so it has a `main` of its own.

#![allow(unreachable_pub, missing_docs)]

#[allow(unsafe_code)]
mod attempts;
mod faults;
mod hostile;
#[allow(dead_code, clippy::needless_range_loop)]
#[path = "../../../engine/tests/model/made.rs"]
mod made;
mod model;
mod roles;
mod vectors;
mod walls;

use std::process::ExitCode;

use casemate_enclave::{SwapRule, harden};
use libtest_mimic::{Arguments, Trial};

type Case = fn();

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(ended) = roles::play(&arguments) {
        return ended;
    }
    // As `casemate serve` does, before there is a second thread.
    harden(SwapRule::DangerAllow).expect("a system that can be hardened");
    let always = [walls::CASES, faults::CASES, vectors::CASES].concat();
    let with_model = model::file().is_none();
    let trial = |(name, case): (&str, Case)| {
        Trial::test(name, move || {
            case();
            Ok(())
        })
    };
    let trials = always
        .into_iter()
        .map(trial)
        .chain(model::CASES.iter().map(|case| trial(*case).with_ignored_flag(with_model)))
        .collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
