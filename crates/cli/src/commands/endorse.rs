//! `casemate endorse fetch`: what the vendors say about evidence, verified before it is written.

use std::path::PathBuf;

use casemate_attest::snp::ProductLine;
use casemate_attest::{Evidence, UnixTime};
use casemate_client::endorse::{Fetched, IntelService, Known, Notice, Origin, Settings, fetch};
use serde_json::json;

use super::{now, runtime};
use crate::args::{EndorseCommand, EndorseFetchArgs};
use crate::error::CliError;
use crate::files;
use crate::output;

pub(crate) fn run(command: &EndorseCommand) -> Result<(), CliError> {
    match command {
        EndorseCommand::Fetch(args) => fetched(args),
    }
}

fn fetched(args: &EndorseFetchArgs) -> Result<(), CliError> {
    // Nobody is asked for what could not be written.
    if args.output.exists() {
        let source = std::io::ErrorKind::AlreadyExists.into();
        return Err(CliError::Write { path: args.output.clone(), source });
    }
    let evidence = Evidence::parse(&files::read(&args.evidence)?)?;
    let known = Known {
        line: args.line.as_deref().map(line).transpose()?,
        vek: args.vek.as_deref().map(files::certificate).transpose()?,
    };
    let anchors = files::anchors(&args.anchors)?;
    let now = args.at.map_or_else(now, |seconds| Ok(UnixTime(seconds)))?;
    let settings = settings(args)?;
    let fetching = fetch(&evidence, &known, &anchors, now, &settings, &notify);
    let fetched = runtime()?.block_on(fetching)?;
    files::create(&args.output, &fetched.bundle.to_bytes()?, files::PUBLIC)?;
    show(args, &fetched)
}

fn settings(args: &EndorseFetchArgs) -> Result<Settings, CliError> {
    let variable = |name| std::env::var_os(name).map(PathBuf::from);
    let folder = match &args.cache {
        Some(folder) => folder.clone(),
        None => Settings::cache_folder(variable("XDG_CACHE_HOME"), variable("HOME"))
            .ok_or(CliError::NoCacheFolder)?,
    };
    let mut settings = Settings::vendors(folder);
    if let Some(kds) = &args.kds {
        settings.kds.clone_from(kds);
    }
    if let Some(pccs) = &args.pccs {
        settings.intel = IntelService::Pccs(pccs.clone());
    }
    settings.thim.clone_from(&args.thim);
    settings.authorities = args.tls_authority.as_deref().map(files::read).transpose()?;
    settings.offline = args.offline;
    Ok(settings)
}

fn line(name: &str) -> Result<ProductLine, CliError> {
    match name {
        "milan" => Ok(ProductLine::Milan),
        "genoa" => Ok(ProductLine::Genoa),
        "turin" => Ok(ProductLine::Turin),
        other => Err(CliError::ProductLine { found: other.to_owned() }),
    }
}

fn notify(notice: &Notice) {
    match notice {
        Notice::Waiting { host, seconds } => {
            output::talk(&format!("waiting {seconds} s before {host} is asked again"));
        }
        Notice::Damaged { name } => {
            output::talk(&format!("the cache's {name} is damaged and is fetched again"))
        }
    }
}

fn show(args: &EndorseFetchArgs, fetched: &Fetched) -> Result<(), CliError> {
    if fetched.simulated {
        output::simulated_banner();
    }
    let origin = |origin: Origin| match origin {
        Origin::Service => "service",
        Origin::Cache => "cache",
        Origin::Given => "given",
    };
    if args.json {
        let items: Vec<_> = fetched
            .items
            .iter()
            .map(|item| json!({"name": item.name, "from": origin(item.origin)}))
            .collect();
        return output::json(&json!({
            "schema": "casemate.endorse/1",
            "platform": fetched.platform,
            "simulated": fetched.simulated,
            "items": items,
            "valid_until": fetched.valid_until,
            "bundle": args.output,
        }));
    }
    for item in &fetched.items {
        output::data(&format!("{:8} {}", origin(item.origin), item.name));
    }
    output::data(&format!(
        "the evidence is genuine with them until {}; written to {}",
        fetched.valid_until,
        args.output.display()
    ));
    Ok(())
}
