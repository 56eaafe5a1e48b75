//! `casemate simulate`: a software silicon vendor.

use std::path::Path;

use casemate_attest::snp::ProductLine;
use casemate_sim::{MachineConfig, Vendor};

use super::measure::{launch_digest, this_program};
use super::now;
use crate::args::SimulateCommand;
use crate::error::CliError;
use crate::files::{self, PUBLIC};
use crate::output;

pub(crate) fn run(command: SimulateCommand) -> Result<(), CliError> {
    output::simulated_banner(output::SIMULATED_MACHINE);
    match command {
        SimulateCommand::Init { dir, line } => init(&dir, &line),
        SimulateCommand::Report { vendor, out, report_data, measurement } => {
            report(&vendor, &out, &report_data, measurement.as_deref())
        }
    }
}

fn init(dir: &Path, line: &str) -> Result<(), CliError> {
    let line = match line {
        "milan" => ProductLine::Milan,
        "genoa" => ProductLine::Genoa,
        "turin" => ProductLine::Turin,
        other => return Err(CliError::ProductLine { found: other.to_owned() }),
    };
    files::create_dir(dir)?;
    let vendor = Vendor::create(line, now()?)?;
    vendor.save(dir)?;
    output::data(&dir.join("roots.pem").display().to_string());
    Ok(())
}

fn report(vendor: &Path, out: &Path, report_data: &str, measurement: Option<&str>) -> Result<(), CliError> {
    let report_data = files::hex_bytes::<64>("--report-data", report_data)?;
    let measurement = match measurement {
        Some(text) => files::hex_bytes::<48>("--measurement", text)?,
        None => launch_digest(&this_program()?)?,
    };
    let vendor = Vendor::load(vendor)?;
    let machine = vendor.machine(&MachineConfig::for_line(vendor.line(), 5, measurement))?;
    let report = machine.report(&report_data)?;
    files::create_dir(out)?;
    files::create(&out.join("report.bin"), &report, PUBLIC)?;
    files::create(&out.join("vek.der"), machine.vek_der(), PUBLIC)?;
    files::create(&out.join("crl.der"), machine.crl_der(), PUBLIC)?;
    output::data(&out.join("report.bin").display().to_string());
    Ok(())
}
