//! `casemate ask`: verify, then ask.

use std::io::Read;
use std::time::{Duration, Instant};

use casemate_client::{Anchors, ClientPolicy, ConnectError, ConnectFailure, VerifiedServer, Via, connect};
use casemate_protocol::Plaintext;
use serde::Serialize;

use super::{now, random, runtime};
use crate::args::AskArgs;
use crate::error::CliError;
use crate::files;
use crate::output;

/// The last line of standard output. `response` is the answer itself: this is the client's own terminal, where the
/// text leaves our custody.
#[derive(Serialize)]
struct Asked<'a> {
    schema: &'static str,
    attestation_status: &'static str,
    platform: &'static str,
    simulated: bool,
    measurement: String,
    model_manifest: String,
    /// How many GPUs and switches were verified.
    devices: usize,
    valid_until: u64,
    waived: Vec<&'static str>,
    response: &'a str,
}

pub(crate) fn run(args: &AskArgs) -> Result<(), CliError> {
    let policy = ClientPolicy::from_toml(&files::read_text(&args.policy)?)?;
    let anchors = Anchors {
        machines: files::anchors(&args.anchors)?,
        devices: files::device_anchors(&args.gpu_anchors)?,
    };
    let prompt = prompt(args)?;
    runtime()?.block_on(async {
        // 1. Verify. The prompt is not sent before a `VerifiedServer` exists.
        let server = match connect_within(args, &policy, &anchors).await? {
            Ok(server) => server,
            Err(failure) => {
                show_checks(
                    args,
                    &failure.checks,
                    anchors.machines.simulated(),
                    "NOT VERIFIED: nothing was sent",
                );
                return Err(failure.into());
            }
        };
        show_checks(args, &server.checks(), server.evidence().simulated(), &headline(&server));

        // 2. Ask.
        let answer = server.infer(&prompt, args.max_new_tokens, now()?).await?;
        let response = answer.response.into_inner();
        if !args.json {
            output::data(&response);
        }
        output::json(&Asked {
            schema: "casemate.ask/1",
            attestation_status: "valid",
            platform: server.evidence().claims().platform().as_str(),
            simulated: server.evidence().simulated(),
            measurement: hex::encode(server.evidence().claims().measurement()),
            model_manifest: manifests(&server).join(" "),
            devices: server.machine().devices().map_or(0, |set| set.devices().len()),
            valid_until: server.valid_until().0,
            waived: waived(&server),
            response: &response,
        })
    })
}

/// Connects; where the server is not reachable yet, tries again for as long as `--wait` says.
async fn connect_within(
    args: &AskArgs,
    policy: &ClientPolicy,
    anchors: &Anchors,
) -> Result<Result<VerifiedServer, ConnectFailure>, CliError> {
    let deadline = Instant::now() + Duration::from_secs(args.wait);
    let mut told = false;
    loop {
        let connected = connect(&args.url, Via::Tls, policy, anchors, random()?, now()?).await;
        match &connected {
            Err(failure)
                if matches!(*failure.error, ConnectError::Unreachable { .. })
                    && Instant::now() < deadline => {}
            _ => return Ok(connected),
        }
        if !told {
            output::talk(&format!("waiting for {}", args.url));
            told = true;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn prompt(args: &AskArgs) -> Result<Plaintext<String>, CliError> {
    if let Some(text) = &args.prompt {
        return Ok(Plaintext::new(text.clone()));
    }
    let mut text = String::new();
    let read = std::io::stdin().read_to_string(&mut text);
    let prompt = Plaintext::new(text);
    read.map_err(|source| CliError::Read { path: "standard input".into(), source })?;
    Ok(prompt)
}

fn show_checks(args: &AskArgs, checks: &[casemate_attest::Check], simulated: bool, headline: &str) {
    if simulated {
        output::simulated_banner(output::SIMULATED_MACHINE);
    }
    if !args.json {
        output::table(checks, output::talk);
        output::talk(headline);
    }
}

/// VERIFIED, with everything that somebody waived.
pub(super) fn headline(server: &VerifiedServer) -> String {
    let simulated = if server.evidence().simulated() { " (SIMULATED)" } else { "" };
    let waived = waived(server);
    if waived.is_empty() {
        format!("VERIFIED{simulated} until {}", server.valid_until())
    } else {
        format!(
            "VERIFIED{simulated}, {} waived: {}; until {}",
            waived.len(),
            waived.join(", "),
            server.valid_until()
        )
    }
}

pub(super) fn waived(server: &VerifiedServer) -> Vec<&'static str> {
    let mut waived = Vec::new();
    // A rule of devices is there once for each of them.
    for check in server.checks().iter().filter(|check| check.outcome == casemate_attest::Outcome::Waived) {
        if !waived.contains(&check.rule.id) {
            waived.push(check.rule.id);
        }
    }
    waived
}

pub(super) fn manifests(server: &VerifiedServer) -> Vec<String> {
    server.statement().statement().models.iter().map(|m| m.manifest_sha256.text()).collect()
}
