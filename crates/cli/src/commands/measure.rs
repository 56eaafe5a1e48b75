//! `casemate measure`: the launch digest that the simulated machine measures for a program.

use std::fs::File;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::args::MeasureArgs;
use crate::error::CliError;
use crate::output;

#[derive(Serialize)]
struct Measured {
    schema: &'static str,
    platform: &'static str,
    simulated: bool,
    measurement: String,
}

pub(crate) fn run(args: &MeasureArgs) -> Result<(), CliError> {
    let program = match &args.program {
        Some(path) => path.clone(),
        None => this_program()?,
    };
    let measurement = hex::encode(launch_digest(&program)?);
    output::simulated_banner(output::SIMULATED_MACHINE);
    if args.json {
        let (schema, platform) = ("casemate.measure/1", "sev-snp");
        return output::json(&Measured { schema, platform, simulated: true, measurement });
    }
    output::data(&measurement);
    Ok(())
}

/// The launch digest of a program whose bytes are the machine's initial pages.
pub(crate) fn launch_digest(program: &Path) -> Result<[u8; 48], CliError> {
    let read = |source| CliError::Read { path: program.to_owned(), source };
    casemate_sim::launch_digest_reader(&mut File::open(program).map_err(read)?).map_err(read)
}

/// This binary's path.
pub(crate) fn this_program() -> Result<PathBuf, CliError> {
    std::env::current_exe().map_err(|source| CliError::Read { path: "/proc/self/exe".into(), source })
}
