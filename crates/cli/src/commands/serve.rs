//! `casemate serve`: the enclave role.

use std::num::NonZeroUsize;

use casemate_enclave::upstream::Executable;
use casemate_enclave::{BootError, ListenAddress, Ready, ServeSettings};
use serde::Serialize;

use super::{runtime, stop_signal};
use crate::args::ServeArgs;
use crate::error::CliError;
use crate::files;
use crate::output;

#[derive(Serialize)]
struct Listening {
    schema: &'static str,
    listening: String,
    tls_spki_sha256: String,
    model_manifest: String,
    simulated: bool,
}

pub(crate) fn run(args: ServeArgs) -> Result<(), CliError> {
    let file = match &args.config {
        Some(path) => {
            let text = files::read_text(path)?;
            toml::from_str::<ServeSettings>(&text)
                .map_err(|e| CliError::ConfigFile { path: path.clone(), reason: e.to_string() })?
        }
        None => ServeSettings::default(),
    };
    let (check_only, on_stdin) = (args.check_config, args.stop_on_stdin_eof);
    let cores = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let config = args.settings().over(file).resolve(cores)?;
    if check_only {
        output::talk("the configuration is complete");
        if let Some(upstream) = &config.upstream {
            let executable = Executable::open(upstream.command.program()).map_err(BootError::from)?;
            // By which policies of clients and of the model's key name it.
            let digest = upstream.statement(&executable).digest().map_err(|_| CliError::Render)?;
            output::data(&hex::encode(digest));
        }
        return Ok(());
    }
    // Before the runtime starts its threads.
    let hardened = casemate_enclave::harden(config.swap).map_err(BootError::from)?;
    let runtime = runtime()?;
    let _inside = runtime.enter();
    runtime.block_on(casemate_enclave::serve(config, hardened, announce, stop_signal(on_stdin)))?;
    Ok(())
}

/// One line on stdout, so that a supervisor knows the address and that the server is up.
fn announce(ready: &Ready) {
    if ready.simulated {
        output::simulated_banner(output::SIMULATED_MACHINE);
    }
    let line = Listening {
        schema: "casemate.serve/1",
        listening: match ready.address {
            ListenAddress::Tcp(address) => format!("https://{address}"),
            // No URL has a name for this.
            ListenAddress::Vsock(address) => address.to_string(),
        },
        tls_spki_sha256: hex::encode(ready.tls_spki_sha256),
        model_manifest: hex::encode(ready.model_manifest),
        simulated: ready.simulated,
    };
    if output::json(&line).is_err() {
        output::talk("the server is up");
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use casemate_enclave::ServeSettings;
    use clap::CommandFactory;

    use crate::args::Args;

    /// Of the process, and no setting of a server.
    const NOT_SETTINGS: [&str; 4] = ["config", "check-config", "stop-on-stdin-eof", "help"];

    /// spec/config.md has every setting, with the key that the file takes for it, its type, its flag and its variable; and nothing else.
    #[test]
    fn the_reference_is_that_of_this_program() {
        let page = include_str!("../../../../spec/config.md");
        let example = page.split("```toml").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
        toml::from_str::<ServeSettings>(example).unwrap();
        let mut rows = BTreeMap::new();
        for line in page.lines().filter(|line| line.starts_with("| `")) {
            let cells: Vec<&str> = line.split('|').map(|cell| cell.trim().trim_matches('`')).collect();
            let [_, key, kind, flag, variable, default, says, _] = cells[..] else { panic!("{line}") };
            assert!(!default.is_empty() && !says.is_empty(), "{line}");
            let value = match kind {
                "path" | "string" => "\"x\"",
                "number" => "1",
                "boolean" => "true",
                "list" => "[\"x\"]",
                _ => panic!("{line}"),
            };
            toml::from_str::<ServeSettings>(&format!("{key} = {value}"))
                .unwrap_or_else(|error| panic!("{key}: {error}"));
            let wrong = if value == "1" { "true" } else { "1" };
            assert!(toml::from_str::<ServeSettings>(&format!("{key} = {wrong}")).is_err(), "{key}");
            assert!(rows.insert(flag.to_owned(), variable.to_owned()).is_none(), "{line}");
        }
        let command = Args::command();
        let serve = command.find_subcommand("serve").unwrap();
        let flags = serve.get_arguments().filter_map(|argument| {
            let flag = argument.get_long().filter(|flag| !NOT_SETTINGS.contains(flag))?;
            let variable = argument.get_env().map(|name| name.to_str().unwrap().to_owned());
            Some((format!("--{flag}"), variable.unwrap_or_default()))
        });
        assert_eq!(rows, flags.collect());
    }
}
