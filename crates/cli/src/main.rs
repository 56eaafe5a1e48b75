//! `casemate`: confidential LLM inference that anyone can verify. One binary, every role.
//!
//! The contract (spec/cli.md): stdout is data, stderr is talk, `--json` is versioned, exit codes are those of
//! [`exit::Exit`], errors are a fact and a `hint:`. Commands parse, call and render; they decide nothing.

mod args;
mod commands;
mod error;
mod exit;
mod files;
mod output;

use std::process::ExitCode;

use casemate_enclave::confined::WORKER;
use casemate_enclave::upstream::LAUNCHER;
use clap::Parser;

use crate::args::{Args, Command};
use crate::error::CliError;

fn main() -> ExitCode {
    // The engine's process, which `serve` starts: before anything is set up, so that it has nothing to give up.
    if std::env::args_os().skip(1).eq([WORKER]) {
        return casemate_enclave::confined::worker();
    }
    // And the one that becomes another engine's.
    if std::env::args_os().skip(1).eq([LAUNCHER]) {
        return casemate_enclave::upstream::launcher();
    }
    let args = Args::parse();
    output::start_logs(args.log_json);
    // One provider for everything that speaks TLS in this process; a second call would only fail.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    match run(args.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::error(&error);
            error.exit().into()
        }
    }
}

fn run(command: Command) -> Result<(), CliError> {
    match command {
        Command::Keygen(args) => commands::keygen::run(&args),
        Command::Keys(args) => commands::keys::run(&args),
        Command::Seal(args) => commands::seal::run(&args),
        Command::Kms(args) => commands::kms::run(&args),
        Command::Broker(args) => commands::broker::run(args.command),
        Command::Serve(args) => commands::serve::run(*args),
        Command::Ask(args) => commands::ask::run(&args),
        Command::Proxy(args) => commands::proxy::run(&args),
        Command::Receipt(args) => commands::receipt::run(&args),
        Command::Verify(args) => commands::verify::run(&args),
        Command::Inspect(args) => commands::inspect::run(&args),
        Command::Endorse(args) => commands::endorse::run(&args.command),
        Command::Policy(args) => commands::policy::run(args.command),
        Command::Measure(args) => commands::measure::run(&args),
        Command::Simulate(args) => commands::simulate::run(args.command),
        Command::Doctor(args) => commands::doctor::run(&args),
        Command::Demo(args) => commands::demo::run(&args),
    }
}
