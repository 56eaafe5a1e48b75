//! The two streams: stdout is data, stderr is talk. The only module that prints.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::io::{IsTerminal, Write};

use casemate_attest::{Check, Outcome, Report};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use tracing_subscriber::EnvFilter;

use crate::error::CliError;

/// Logs go to stderr; `RUST_LOG` chooses, default `info` for our own crates.
pub(crate) fn start_logs(json: bool) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| {
        EnvFilter::new("warn,casemate_broker=info,casemate_enclave=info,casemate_engine=info,casemate_client=info,casemate=info")
    });
    let logs =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    if json { logs.json().init() } else { logs.with_ansi(std::io::stderr().is_terminal()).init() }
}

/// One line of data. A reader that closed the pipe is not an error of ours.
pub(crate) fn data(line: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

/// One JSON object as one line of data.
pub(crate) fn json(value: &impl Serialize) -> Result<(), CliError> {
    data(&serde_json::to_string(value).map_err(|_| CliError::Render)?);
    Ok(())
}

/// One line of talk.
pub(crate) fn talk(line: &str) {
    eprintln!("{line}");
}

/// An error: a fact with its code, and a hint where there is one.
pub(crate) fn error(error: &CliError) {
    eprintln!("error: {error} [{}]", error.code());
    if let Some(hint) = error.hint() {
        eprintln!("\nhint: {hint}");
    }
}

/// Whose machine `casemate simulate` makes, and `casemate serve` runs on.
pub(crate) const SIMULATED_MACHINE: &str = "AMD";

/// The warning that goes with every output that rests on simulated hardware, and whose it is taken for.
pub(crate) fn simulated_banner(vendor: &str) {
    talk(&format!(
        "SIMULATED: the root of trust was made on a computer, not by {vendor}. This proves nothing about a real machine."
    ));
}

/// The table of checks: rule, outcome, title, what was compared.
pub(crate) fn table(checks: &[Check], line: fn(&str)) {
    table_rows(&rows(checks), false, line);
}

/// As [`table`], with why each rule is there.
pub(crate) fn explained_table(checks: &[Check], line: fn(&str)) {
    table_rows(&rows(checks), true, line);
}

/// As [`table`], of a report; with why each rule is there, where that was asked.
pub(crate) fn report_table(report: &Report, explain: bool) {
    let why = |id: &str| casemate_attest::rules::explain(id).unwrap_or_default();
    let rows = report.rows().map(|(id, outcome, title, compared)| (id, outcome, title, compared, why(id)));
    table_rows(&rows.collect::<Vec<_>>(), explain, data);
}

/// Number, outcome, title, what was compared, and why the rule is there.
type Row<'a> = (&'a str, Outcome, &'a str, &'a str, &'a str);

fn rows(checks: &[Check]) -> Vec<Row<'_>> {
    checks.iter().map(|c| (c.rule.id, c.outcome, c.rule.title, c.compared.as_str(), c.rule.why)).collect()
}

fn table_rows(rows: &[Row<'_>], explain: bool, line: fn(&str)) {
    let width = rows.iter().map(|row| row.2.len()).max().unwrap_or(0);
    for (id, outcome, title, compared, why) in rows {
        let outcome = match outcome {
            Outcome::Pass => "pass",
            Outcome::Fail => "FAIL",
            Outcome::NotReached => "not reached",
            Outcome::Waived => "WAIVED",
        };
        line(format!("  {id:<8} {outcome:<12} {title:<width$}  {compared}").trim_end());
        if explain && !why.is_empty() {
            line(&format!("           {why}"));
        }
    }
}

/// A progress bar on a terminal, nothing elsewhere.
pub(crate) fn progress(what: &'static str, bytes: u64) -> ProgressBar {
    let bar =
        ProgressBar::with_draw_target(Some(bytes), ProgressDrawTarget::stderr_with_hz(10)).with_message(what);
    if let Ok(style) = ProgressStyle::with_template("{msg} {bytes}/{total_bytes} {bytes_per_sec} {wide_bar}")
    {
        bar.set_style(style);
    }
    bar
}
