//! `casemate verify` over evidence of NVIDIA GPUs and switches: a raw report with its chain, or a list in JSON.

use std::path::{Path, PathBuf};

use casemate_attest::endorse::EndorsementBundle;
use casemate_attest::nvidia::{
    GpuDenied, GpuEvidence, GpuParseError, GpuRejected, GpuRevocation, Manifest, ManifestRejected,
    NvidiaAnchors, NvidiaClaims, NvidiaEndorsements, VerifiedGpu, verify_gpu, verify_set,
};
use casemate_attest::{Check, OcspNonce, OcspResponse, Outcome, Policy, UnixTime, Verdict, rules};
use casemate_client::ClientPolicy;
use serde_json::{Value, json};

use super::kind::Kind;
use super::verify::{row, time};
use crate::args::{AnchorArgs, VerifyArgs};
use crate::error::CliError;
use crate::files;
use crate::output;

/// A report begins so: SPDM 1.1 GET_MEASUREMENTS, signed, all measurements.
const REPORT: [u8; 4] = [0x11, 0xe0, 0x01, 0xff];

/// What a file of NVIDIA devices' evidence holds.
pub(crate) enum Devices {
    /// A raw report, in bytes.
    Report(Vec<u8>),
    /// A list in JSON.
    List,
}

impl Devices {
    /// Whether it looks like one; a report also as text in hexadecimal.
    pub(crate) fn recognize(bytes: &[u8]) -> Option<Self> {
        if bytes.starts_with(&REPORT) {
            return Some(Self::Report(bytes.to_vec()));
        }
        let text = bytes.trim_ascii();
        if text.starts_with(b"[") {
            return Some(Self::List);
        }
        let report = text.starts_with(hex::encode(REPORT).as_bytes()).then(|| hex::decode(text).ok())?;
        report.map(Self::Report)
    }

    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Report(_) => Kind::Device,
            Self::List => Kind::Devices,
        }
    }

    /// The evidence, believed by nobody.
    pub(crate) fn evidence(self, bytes: &[u8], chain: Option<&Path>) -> Result<Vec<GpuEvidence>, CliError> {
        match self {
            Self::List => Ok(GpuEvidence::parse_list(bytes)?),
            Self::Report(report) => {
                let chain = chain.ok_or(CliError::MissingFlag { flag: "--chain" })?;
                Ok(vec![GpuEvidence::parse(&report, &files::read(chain)?)?])
            }
        }
    }
}

pub(crate) fn run(args: &VerifyArgs, devices: Devices, bytes: &[u8]) -> Result<(), CliError> {
    devices.kind().refuse_others(args)?;
    let policy = ClientPolicy::platform_from_toml(&files::read_text(&args.policy)?)?;
    let anchors = anchors(&args.anchors)?;
    let now = time(args)?;
    let nonce = args.nonce.as_deref().ok_or(CliError::MissingFlag { flag: "--nonce" })?;
    let (revocation, manifests) = endorsements(args)?;
    let question = Question {
        policy,
        anchors,
        now,
        nonce: files::hex_bytes::<32>("--nonce", nonce)?,
        endorsements: NvidiaEndorsements { revocation },
        manifests,
    };
    let evidence = devices.evidence(bytes, args.devices.chain.as_deref());
    let mut answer = Answer { simulated: question.anchors.simulated(), ..Answer::default() };
    let result = evidence.and_then(|evidence| judge(args, &question, &evidence, &mut answer));
    answer.conclude(&result);
    answer.show(args)?;
    result
}

/// What is asked of every device.
struct Question {
    policy: Policy,
    anchors: NvidiaAnchors,
    now: UnixTime,
    nonce: [u8; 32],
    endorsements: NvidiaEndorsements,
    manifests: Vec<Document>,
}

/// A manifest's document, and what it is called in an error.
struct Document {
    name: PathBuf,
    bytes: Vec<u8>,
}

/// What is shown, as far as the verification came.
#[derive(Default)]
struct Answer {
    simulated: bool,
    verdict: Option<Verdict>,
    headline: String,
    code: Option<&'static str>,
    /// Of each manifest and device: what it is, and its rules.
    sections: Vec<(String, Vec<Check>)>,
    claims: Vec<NvidiaClaims>,
    valid_until: Option<UnixTime>,
}

fn judge(
    args: &VerifyArgs,
    question: &Question,
    evidence: &[GpuEvidence],
    answer: &mut Answer,
) -> Result<(), CliError> {
    let mut manifests = Vec::with_capacity(question.manifests.len());
    for Document { name, bytes } in &question.manifests {
        let Question { endorsements, anchors, now, .. } = question;
        match Manifest::verify(bytes, &endorsements.revocation, anchors, *now) {
            Ok(manifest) => {
                answer.sections.push((format!("manifest {manifest}"), manifest.checks().to_vec()));
                manifests.push(manifest);
            }
            Err(rejected) => {
                answer.sections.push((format!("manifest {}", name.display()), rejected.checks.clone()));
                return Err(CliError::DeviceManifest { path: name.clone(), rejected: Box::new(rejected) });
            }
        }
    }
    let mut verified = Vec::with_capacity(evidence.len());
    for (position, evidence) in (1..).zip(evidence) {
        verified.push(device(question, &manifests, position, evidence, answer)?);
    }
    let set = verify_set(verified, args.devices.devices.unwrap_or(1))?;
    answer.valid_until = Some(set.valid_until());
    Ok(())
}

fn device(
    question: &Question,
    manifests: &[Manifest],
    position: usize,
    evidence: &GpuEvidence,
    answer: &mut Answer,
) -> Result<VerifiedGpu, CliError> {
    let title = |what: &str| format!("device {position}: {what}");
    let Question { policy, anchors, now, nonce, endorsements, .. } = question;
    let authentic = verify_gpu(evidence, endorsements, anchors, *now).inspect_err(|rejected| {
        answer.sections.push((title("not genuine"), rejected.checks.clone()));
    })?;
    let name = title(&format!("{} {}", authentic.claims().architecture, authentic.claims().device));
    let verified = authentic.appraise(policy, manifests, nonce).inspect_err(|denied| {
        answer.sections.push((name.clone(), denied.checks.clone()));
        answer.claims.push((*denied.claims).clone());
    })?;
    answer.sections.push((name, verified.checks().to_vec()));
    answer.claims.push(verified.claims().clone());
    Ok(verified)
}

impl Answer {
    fn conclude(&mut self, result: &Result<(), CliError>) {
        let Err(error) = result else {
            self.verdict = Some(Verdict::Verified);
            self.headline = self.verified();
            return;
        };
        self.code = Some(error.code());
        let (verdict, headline) = match error {
            CliError::DeviceParse(error) => {
                self.sections.push(malformed(error));
                (Verdict::Malformed, format!("MALFORMED: {error}"))
            }
            CliError::DeviceRejected(GpuRejected { reason, .. }) => {
                (Verdict::Rejected, format!("REJECTED: {reason}"))
            }
            CliError::DeviceManifest { rejected, .. } => {
                let ManifestRejected { reason, .. } = rejected.as_ref();
                (Verdict::Rejected, format!("REJECTED: {reason}"))
            }
            CliError::DeviceDenied(GpuDenied { reason, .. }) => {
                (Verdict::Denied, format!("DENIED: {reason}"))
            }
            CliError::DeviceSet(denied) => (Verdict::Denied, format!("DENIED: {denied}")),
            // A file that cannot be read, a flag that is missing: nothing was judged.
            _ => return,
        };
        self.verdict = Some(verdict);
        self.headline = headline;
    }

    fn verified(&self) -> String {
        let mut waived: Vec<&str> = Vec::new();
        for check in self.sections.iter().flat_map(|(_, checks)| checks) {
            if check.outcome == Outcome::Waived && !waived.contains(&check.rule.id) {
                waived.push(check.rule.id);
            }
        }
        let simulated = if self.simulated { " (SIMULATED)" } else { "" };
        let devices = match self.claims.len() {
            1 => "1 device".to_owned(),
            several => format!("{several} devices"),
        };
        match waived.len() {
            0 => format!("VERIFIED{simulated}, {devices}"),
            count => format!("VERIFIED{simulated}, {devices}, {count} waived: {}", waived.join(", ")),
        }
    }

    fn show(&self, args: &VerifyArgs) -> Result<(), CliError> {
        let Some(verdict) = self.verdict else { return Ok(()) };
        if self.simulated {
            output::simulated_banner(Kind::Devices.vendor());
        }
        if args.json {
            return output::json(&json!({
                "schema": casemate_attest::SCHEMA,
                "verdict": verdict,
                "simulated": self.simulated,
                "headline": self.headline,
                "code": self.code,
                "checks": self.sections.iter().flat_map(|(of, checks)| rows(of, checks)).collect::<Vec<_>>(),
                "claims": null,
                "devices": self.claims,
                "valid_until": self.valid_until,
            }));
        }
        let table = if args.explain { output::explained_table } else { output::table };
        for (of, checks) in &self.sections {
            output::data(of);
            table(checks, output::data);
        }
        output::data(&self.headline);
        Ok(())
    }
}

fn rows(of: &str, checks: &[Check]) -> Vec<Value> {
    let mut rows: Vec<_> = checks.iter().map(row).collect();
    for row in &mut rows {
        row["of"] = of.into();
    }
    rows
}

/// Evidence that is not evidence: the first rule says why, the others were not reached.
fn malformed(error: &GpuParseError) -> (String, Vec<Check>) {
    let checks = rules::NVIDIA.iter().enumerate().map(|(position, rule)| match position {
        0 => Check { rule, outcome: Outcome::Fail, compared: error.to_string() },
        _ => Check { rule, outcome: Outcome::NotReached, compared: String::new() },
    });
    ("devices".to_owned(), checks.collect())
}

pub(crate) fn anchors(args: &AnchorArgs) -> Result<NvidiaAnchors, CliError> {
    match &args.danger_simulated_root {
        None => Ok(NvidiaAnchors::nvidia()),
        Some(path) => Ok(NvidiaAnchors::danger_only_pem(&files::read_text(path)?)?),
    }
}

/// Of the bundle, or what stands in files.
fn endorsements(args: &VerifyArgs) -> Result<(GpuRevocation, Vec<Document>), CliError> {
    let document = |name: &Path, bytes| Document { name: name.to_owned(), bytes };
    let Some(path) = &args.endorsements else {
        let read = |path: &PathBuf| Ok(document(path, files::read(path)?));
        let manifests = args.devices.rim.iter().map(read).collect::<Result<_, CliError>>()?;
        return Ok((revocation(args)?, manifests));
    };
    let bundle = EndorsementBundle::parse(&files::read(path)?)?;
    let devices = bundle.devices()?;
    let manifests = devices.manifests().map(|bytes| document(path, bytes.to_vec())).collect();
    Ok((devices.revocation(), manifests))
}

/// Answers in files were fetched by somebody else: which nonce was sent is not known here, so none is compared.
pub(crate) fn revocation(args: &VerifyArgs) -> Result<GpuRevocation, CliError> {
    let answers = args
        .devices
        .ocsp
        .iter()
        .map(|path| Ok(OcspResponse { der: files::read(path)?, nonce: OcspNonce::NotSent }));
    let answers = answers.collect::<Result<Vec<_>, CliError>>()?;
    Ok(match &args.danger_no_crl {
        Some(reason) => GpuRevocation::DangerNotChecked { reason: reason.clone() },
        None if answers.is_empty() => GpuRevocation::Missing,
        None => GpuRevocation::Ocsp(answers),
    })
}
