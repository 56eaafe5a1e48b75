//! End to end, with real processes and a real model: broker, server and client as three processes, on simulated hardware.
//!
//! Without the model (CASEMATE_MODEL, or the cache folder of `make model`) every case is reported as ignored, by name.

#![allow(unreachable_pub, missing_docs)]

mod fixture;
mod gpus;
mod machine;
mod operator;
mod path;
mod proxy;
mod receipts;
mod refusals;
mod sealed;
mod upstream;
mod vsock;

use std::sync::{Arc, OnceLock};

use libtest_mimic::{Arguments, Failed, Trial};

use fixture::Fixture;

type Case = fn(&Fixture);

fn main() {
    let mut args = Arguments::from_args();
    // Two servers at once are enough for two cores.
    args.test_threads.get_or_insert(2);
    let cases: Vec<(&str, Case)> = [
        path::CASES,
        refusals::CASES,
        machine::CASES,
        gpus::CASES,
        operator::CASES,
        proxy::CASES,
        receipts::CASES,
        sealed::CASES,
    ]
    .concat();
    let model = fixture::model();
    let shared: Arc<OnceLock<Fixture>> = Arc::default();
    let vsock = vsock::trials(model.as_deref(), &shared);
    let upstream = upstream::trials(model.as_deref(), &shared);
    let trials = cases
        .into_iter()
        .map(|(name, case)| {
            let (model, shared) = (model.clone(), Arc::clone(&shared));
            let ignored = model.is_none();
            let test = move || -> Result<(), Failed> {
                let model = model.ok_or("no model")?;
                case(shared.get_or_init(|| Fixture::new(&model)));
                Ok(())
            };
            Trial::test(name, test).with_ignored_flag(ignored)
        })
        .chain(vsock)
        .chain(upstream)
        .collect();
    let conclusion = libtest_mimic::run(&args, trials);
    // The fixture's folder goes with it.
    drop(Arc::into_inner(shared));
    conclusion.exit();
}
