//! `casemate endorse fetch`: what the vendors say about evidence, verified before it is written.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use casemate_attest::snp::ProductLine;
use casemate_attest::{Evidence, Platform, UnixTime};
use casemate_enclave::confidential_space::{Signature, TokenRequest};
use casemate_enclave::{GpuAttester as _, NvmlGpus, vtpm_evidence};
use casemate_endorse::{Fetched, IntelService, Known, Notice, Origin, Settings, fetch, fetch_devices};
use serde_json::json;

use super::kind::Kind;
use super::verify_devices::Devices;
use super::{now, random, runtime};
use crate::args::{EndorseCommand, EndorseFetchArgs};
use crate::error::CliError;
use crate::files;
use crate::output;

pub(crate) fn run(command: &EndorseCommand) -> Result<(), CliError> {
    match command {
        EndorseCommand::Fetch(args) => fetched(args),
        EndorseCommand::GceVtpm { output } => gce_vtpm(output),
        EndorseCommand::Token { audience, nonce, oidc, socket, output: path } => {
            let signature = if *oidc { Signature::Oidc } else { Signature::Pki };
            let request = TokenRequest::new(audience.clone(), nonce.clone(), signature)?;
            files::create(path, &request.fetch(socket)?, files::PUBLIC)?;
            output::talk("nothing is proven by a token that nobody verified: casemate verify");
            output::data(&path.display().to_string());
            Ok(())
        }
        EndorseCommand::Gpus { output } => gpus(output),
    }
}

/// An attestation of go-tpm-tools, which binds nothing.
fn gce_vtpm(path: &Path) -> Result<(), CliError> {
    files::create(path, &vtpm_evidence()?, files::PUBLIC)?;
    output::data(&path.display().to_string());
    Ok(())
}

/// In the form of NVIDIA's own tools, which leave out nothing that is asked for here.
fn gpus(path: &Path) -> Result<(), CliError> {
    let nonce: [u8; 32] = random()?;
    let raw = NvmlGpus::open().and_then(|gpus| gpus.evidence(&nonce))?;
    let list: Vec<_> = raw
        .iter()
        .map(|gpu| {
            json!({
                "certificate": BASE64_STANDARD.encode(&gpu.chain),
                "evidence": BASE64_STANDARD.encode(&gpu.report),
                "nonce": hex::encode(nonce),
            })
        })
        .collect();
    let list = serde_json::to_vec_pretty(&list).map_err(|_| CliError::Render)?;
    files::create(path, &list, files::PUBLIC)?;
    output::data(&path.display().to_string());
    Ok(())
}

fn fetched(args: &EndorseFetchArgs) -> Result<(), CliError> {
    // Nobody is asked for what could not be written.
    if args.output.exists() {
        let source = std::io::ErrorKind::AlreadyExists.into();
        return Err(CliError::Write { path: args.output.clone(), source });
    }
    let bytes = files::read(&args.evidence)?;
    let now = args.at.map_or_else(now, |seconds| Ok(UnixTime(seconds)))?;
    let settings = settings(args)?;
    let (fetched, vendor) = match Devices::recognize(&bytes) {
        Some(devices) => (of_devices(args, devices, &bytes, &settings, now)?, "NVIDIA"),
        None => of_machine(args, &bytes, &settings, now)?,
    };
    files::create(&args.output, &fetched.bundle.to_bytes()?, files::PUBLIC)?;
    show(args, &fetched, vendor)
}

fn of_devices(
    args: &EndorseFetchArgs,
    devices: Devices,
    bytes: &[u8],
    settings: &Settings,
    now: UnixTime,
) -> Result<Fetched, CliError> {
    let kind = devices.kind();
    refuse(
        kind,
        &[
            ("--line", args.line.is_some()),
            ("--vek", args.vek.is_some()),
            ("--kds", args.kds.is_some()),
            ("--pccs", args.pccs.is_some()),
            ("--thim", args.thim.is_some()),
            ("--ak-chain", args.ak_chain.is_some()),
            ("--crl-mirror", args.crl_mirror.is_some()),
            ("--danger-unlisted", args.danger_unlisted.is_some()),
            ("--chain", args.chain.is_some() && kind == Kind::Devices),
        ],
    )?;
    let devices = devices.evidence(bytes, args.chain.as_deref())?;
    let anchors = super::verify_devices::anchors(&args.anchors)?;
    Ok(runtime()?.block_on(fetch_devices(&devices, &anchors, now, settings, &notify))?)
}

/// Also whose machine it is.
fn of_machine(
    args: &EndorseFetchArgs,
    bytes: &[u8],
    settings: &Settings,
    now: UnixTime,
) -> Result<(Fetched, &'static str), CliError> {
    let evidence = Evidence::parse(bytes)?;
    let platform = evidence.platform();
    let by_lists = matches!(platform, Platform::Nitro | Platform::GceVtpm);
    refuse(
        Kind::Evidence(platform),
        &[
            ("--ak-chain", args.ak_chain.is_some() && platform != Platform::GceVtpm),
            ("--crl-mirror", args.crl_mirror.is_some() && !by_lists),
            ("--danger-unlisted", args.danger_unlisted.is_some() && !by_lists),
            ("--chain", args.chain.is_some()),
            ("--rim-service", args.rim_service.is_some()),
            ("--ocsp-service", args.ocsp_service.is_some()),
            ("--ocsp-without-nonce", args.ocsp_without_nonce),
        ],
    )?;
    let known = Known {
        line: args.line.as_deref().map(line).transpose()?,
        vek: args.vek.as_deref().map(files::certificate).transpose()?,
        ak_chain: args.ak_chain.as_deref().map(super::verify::certificates).transpose()?,
        danger_unlisted: args.danger_unlisted.clone(),
    };
    let anchors = files::anchors(&args.anchors)?;
    let fetching = fetch(&evidence, &known, &anchors, now, settings, &notify);
    Ok((runtime()?.block_on(fetching)?, super::kind::vendor(platform)))
}

/// The flags that were given and say nothing about this kind of evidence.
fn refuse(kind: Kind, flags: &[(&'static str, bool)]) -> Result<(), CliError> {
    match flags.iter().find(|(_, given)| *given) {
        Some((flag, _)) => Err(CliError::SuperfluousFlag { flag, of: kind.name() }),
        None => Ok(()),
    }
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
    if let Some(rim) = &args.rim_service {
        settings.nvidia.rim.clone_from(rim);
    }
    if let Some(ocsp) = &args.ocsp_service {
        settings.nvidia.ocsp.clone_from(ocsp);
    }
    settings.nvidia.nonce = !args.ocsp_without_nonce;
    settings.lists.clone_from(&args.crl_mirror);
    settings.proxy.clone_from(&args.proxy);
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

fn show(args: &EndorseFetchArgs, fetched: &Fetched, vendor: &str) -> Result<(), CliError> {
    if fetched.simulated {
        output::simulated_banner(vendor);
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
            "waived": fetched.waived.iter().map(|(rule, _)| rule).collect::<Vec<_>>(),
            "valid_until": fetched.valid_until,
            "bundle": args.output,
        }));
    }
    for item in &fetched.items {
        output::data(&format!("{:8} {}", origin(item.origin), item.name));
    }
    for (rule, compared) in &fetched.waived {
        output::data(&format!("waived   {rule}: {compared}"));
    }
    output::data(&format!(
        "the evidence is genuine with them until {}; written to {}",
        fetched.valid_until,
        args.output.display()
    ));
    Ok(())
}
