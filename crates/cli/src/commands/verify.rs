//! `casemate verify`: evidence in a file, offline; or a running server.

use std::path::Path;

use casemate_attest::bundle::Bundle;
use casemate_attest::endorse::EndorsementBundle;
use casemate_attest::eventlog::EventLog;
use casemate_attest::nvidia::{NvidiaClaims, VerifiedGpu};
use casemate_attest::token::Token;
use casemate_attest::{
    Binding, Check, Endorsements, Evidence, ParseError, Platform, Policy, Report, Revocation, UnixTime,
    Verified, verify,
};
use casemate_client::operator::{self, OperatorError, OperatorRule};
use casemate_client::{Anchors, ClientPolicy, ConnectError, VerifiedServer, Via, connect};
use casemate_protocol::devices::{self, DeviceRule, DevicesError};
use casemate_protocol::document::{AttestationDocument, DocumentDevices, DocumentOperator, DocumentVtpm};
use casemate_protocol::statement::{self, EngineRule, ModelRule};
use casemate_protocol::vtpm::{self, VtpmError, VtpmRule};
use serde_json::{Value, json};

use super::kind::Kind;
use super::verify_devices::Devices;
use super::{now, random, runtime};
use crate::args::VerifyArgs;
use crate::error::CliError;
use crate::files;
use crate::output;

pub(crate) fn run(args: &VerifyArgs) -> Result<(), CliError> {
    if args.evidence.starts_with("https://") { server(args) } else { file(args) }
}

/// A running server: everything that `ask` checks, without asking.
fn server(args: &VerifyArgs) -> Result<(), CliError> {
    Kind::Server.refuse_others(args)?;
    let policy = ClientPolicy::from_toml(&files::read_text(&args.policy)?)?;
    let anchors = Anchors {
        machines: files::anchors(&args.anchors)?,
        devices: files::device_anchors(&args.gpu_anchors)?,
    };
    let simulated = anchors.machines.simulated();
    let now = time(args)?;
    let connected = runtime()?.block_on(connect(&args.evidence, Via::Tls, &policy, &anchors, random()?, now));
    let checks = match &connected {
        Ok(server) => server.checks(),
        Err(failure) => failure.checks.clone(),
    };
    if simulated {
        let platform = connected.as_ref().ok().map(|server| server.evidence().claims().platform());
        output::simulated_banner(platform.map_or(Kind::Server, Kind::Evidence).vendor());
    }
    let headline = match &connected {
        Ok(server) => super::ask::headline(server),
        Err(failure) => format!("NOT VERIFIED: {failure}"),
    };
    if args.json {
        output::json(&json!({
            "schema": casemate_attest::SCHEMA,
            "verdict": connected.as_ref().map_or_else(|failure| verdict(&failure.error), |_| "verified"),
            "simulated": simulated,
            "headline": headline,
            "code": connected.as_ref().err().map(|failure| failure.error.code()),
            "checks": checks.iter().map(row).collect::<Vec<_>>(),
            "claims": connected.as_ref().ok().map(|server| server.evidence().claims()),
            "statement": connected.as_ref().ok().map(|server| server.statement().statement()),
            "vtpm": connected.as_ref().ok().and_then(|server| server.vtpm().verified()).map(Verified::claims),
            "devices": connected.as_ref().ok().map(device_claims),
            "valid_until": connected.as_ref().ok().map(|server| server.valid_until()),
        }))?;
    } else {
        let table = if args.explain { output::explained_table } else { output::table };
        table(&checks, output::data);
        output::data(&headline);
    }
    connected.map(drop).map_err(Into::into)
}

/// The verdict's word in the report, as casemate_attest writes it for evidence in a file.
fn verdict(error: &ConnectError) -> &'static str {
    match error {
        ConnectError::Rejected(_) => "rejected",
        ConnectError::Denied(_) | ConnectError::Statement(_) | ConnectError::Sealed(_) => "denied",
        ConnectError::Vtpm(refused) => match &refused.reason {
            VtpmError::Document(_) | VtpmError::Malformed(_) => "malformed",
            VtpmError::Rejected(_) => "rejected",
            VtpmError::Missing
            | VtpmError::NotExpected
            | VtpmError::Platform { .. }
            | VtpmError::Denied(_)
            | VtpmError::NotStated { .. } => "denied",
        },
        ConnectError::Devices(refused) => match &refused.reason {
            DevicesError::Document(_) | DevicesError::Malformed(_) => "malformed",
            DevicesError::Manifest(_) | DevicesError::Rejected(_) => "rejected",
            DevicesError::Missing { .. }
            | DevicesError::NotExpected
            | DevicesError::Denied(_)
            | DevicesError::Set(_)
            | DevicesError::NotStated { .. }
            | DevicesError::Mixed => "denied",
        },
        ConnectError::Operator(refused) => match &refused.reason {
            OperatorError::Document(_) => "malformed",
            OperatorError::Signature => "rejected",
            OperatorError::Missing
            | OperatorError::Key { .. }
            | OperatorError::Certificate { .. }
            | OperatorError::Name
            | OperatorError::OtherKey
            | OperatorError::Scheme => "denied",
        },
        ConnectError::Document(_) | ConnectError::Malformed(_) | ConnectError::Unreadable(_) => "malformed",
        ConnectError::Address { .. }
        | ConnectError::Tls(_)
        | ConnectError::Unreachable { .. }
        | ConnectError::NoDocument { .. } => "unreachable",
    }
}

/// What its GPUs and switches say, of a server that has some.
fn device_claims(server: &VerifiedServer) -> Vec<&NvidiaClaims> {
    let devices = server.machine().devices().map_or(&[][..], |set| set.devices());
    devices.iter().map(VerifiedGpu::claims).collect()
}

pub(crate) fn row(check: &Check) -> Value {
    json!({
        "id": check.rule.id,
        "title": check.rule.title,
        "spec": check.rule.spec,
        "outcome": check.outcome,
        "compared": check.compared,
    })
}

/// A file: a raw report or document with its endorsements beside it, or an attestation document that carries them.
fn file(args: &VerifyArgs) -> Result<(), CliError> {
    let bytes = files::read(Path::new(&args.evidence))?;
    if Token::looks_like(&bytes) {
        return super::verify_token::run(args, &bytes);
    }
    if let Some(devices) = Devices::recognize(&bytes) {
        return super::verify_devices::run(args, devices, &bytes);
    }
    if Bundle::looks_like(&bytes) {
        return super::verify_bundle::run(args, &bytes);
    }
    let text = files::read_text(&args.policy)?;
    let anchors = files::anchors(&args.anchors)?;
    let input = match Input::read(args, &bytes, &text) {
        Err(CliError::Parse(error)) => {
            show(
                args,
                error.platform().map_or(Kind::Document, Kind::Evidence),
                &Report::from_parse_error(&error, &anchors),
            )?;
            return Err(error.into());
        }
        input => input?,
    };
    let event_log = args.event_log.as_deref().map(files::read).transpose()?;
    let event_log = event_log.as_deref().map(EventLog::parse).transpose()?;
    let now = time(args)?;

    // Genuine?
    let authentic = match verify(&input.evidence, &input.endorsements, &anchors, now) {
        Ok(authentic) => authentic,
        Err(rejected) => {
            show(args, input.kind, &Report::from_rejected(&rejected))?;
            return Err(rejected.into());
        }
    };
    let authentic = match event_log {
        Some(log) => authentic.with_event_log(log),
        None => authentic,
    };
    // Ours?
    let verified = match authentic.appraise(&input.policy, &input.binding) {
        Ok(verified) => verified,
        Err(denied) => {
            show(args, input.kind, &Report::from_denied(&denied))?;
            return Err(denied.into());
        }
    };
    // Is what the document states ours, as far as a file can tell?
    let report = Report::from_verified(&verified);
    let Some(Stated {
        statement,
        models,
        engine,
        operator,
        operator_rule,
        vtpm,
        vtpm_rule,
        devices,
        device_rule,
    }) = &input.stated
    else {
        return show(args, input.kind, &report);
    };
    let (stated, report) = match statement::check_offline(&verified, statement, models, engine, now) {
        Ok((stated, checks)) => (stated, report.extended(&checks, None)),
        Err(refused) => {
            let code = Some((refused.reason.code(), refused.reason.to_string()));
            let rest = [operator::not_reached(), vtpm::not_reached(), devices::not_reached()].concat();
            let checks = [refused.checks.clone(), rest].concat();
            show(args, input.kind, &report.extended(&checks, code))?;
            return Err(refused.into());
        }
    };
    // Is it a machine of an operator of ours?
    let (shown, until) = (operator.as_ref(), UnixTime(stated.not_after));
    let report = match operator::check(shown, statement, operator_rule, now, until) {
        Ok(checks) => report.extended(&checks, None),
        Err(refused) => {
            let code = Some((refused.reason.code(), refused.reason.to_string()));
            let checks = [refused.checks.clone(), vtpm::not_reached(), devices::not_reached()].concat();
            show(args, input.kind, &report.extended(&checks, code))?;
            return Err(refused.into());
        }
    };
    // Is the virtual TPM beside its hardware ours?
    let vtpm = vtpm.as_ref();
    let report = match vtpm::check_offline(&stated, statement, vtpm, vtpm_rule, &anchors, now) {
        Ok(checks) => report.extended(&checks, None),
        Err(refused) => {
            let code = Some((refused.reason.code(), refused.reason.to_string()));
            let checks = [refused.checks.clone(), devices::not_reached()].concat();
            show(args, input.kind, &report.extended(&checks, code))?;
            return Err(refused.into());
        }
    };
    // And are its GPUs ours?
    let anchors = files::device_anchors(&args.gpu_anchors)?;
    match devices::check_offline(&verified, &stated, devices.as_ref(), device_rule, &anchors, now) {
        Ok(checks) => show(args, input.kind, &report.extended(&checks, None)),
        Err(refused) => {
            let code = Some((refused.reason.code(), refused.reason.to_string()));
            show(args, input.kind, &report.extended(&refused.checks, code))?;
            Err(refused.into())
        }
    }
}

struct Input {
    /// Also of what a document carries.
    kind: Kind,
    evidence: Evidence,
    endorsements: Endorsements,
    policy: Policy,
    binding: Binding,
    /// A bare report states nothing.
    stated: Option<Stated>,
}

/// What a document states, and what it may.
struct Stated {
    statement: String,
    models: ModelRule,
    operator: Option<DocumentOperator>,
    operator_rule: OperatorRule,
    engine: EngineRule,
    vtpm: Option<DocumentVtpm>,
    vtpm_rule: VtpmRule,
    devices: Option<DocumentDevices>,
    device_rule: DeviceRule,
}

impl Input {
    fn read(args: &VerifyArgs, bytes: &[u8], policy: &str) -> Result<Self, CliError> {
        let evidence = Evidence::parse(bytes);
        if bytes.first() == Some(&b'{') && matches!(evidence, Err(ParseError::UnknownFormat { .. })) {
            let document = AttestationDocument::parse(bytes)?;
            Kind::Document.refuse_others(args)?;
            let policy = ClientPolicy::from_toml(policy)?;
            let evidence = Evidence::parse(&document.evidence_bytes()?)?;
            let report_data = statement::report_data(&document.statement);
            return Ok(Self {
                kind: Kind::Evidence(evidence.platform()),
                endorsements: document.endorsements(&evidence)?,
                policy: policy.attest,
                binding: Binding::qualifying_data(statement::bound(evidence.platform(), &report_data)),
                evidence,
                stated: Some(Stated {
                    statement: document.statement,
                    models: policy.models,
                    operator: document.operator,
                    operator_rule: policy.operator,
                    engine: policy.engine,
                    vtpm: document.vtpm,
                    vtpm_rule: policy.vtpm,
                    devices: document.devices,
                    device_rule: policy.devices,
                }),
            });
        }
        let evidence = evidence?;
        let kind = Kind::Evidence(evidence.platform());
        kind.refuse_others(args)?;
        let policy = ClientPolicy::platform_from_toml(policy)?;
        let revocation = revocation(args)?;
        let binding = match (&args.nonce, &args.report_data, &args.danger_unbound) {
            (Some(hex), _, _) => Binding::qualifying_data(nonce(hex)?),
            (None, Some(hex), _) => Binding::report_data(files::hex_bytes::<64>("--report-data", hex)?),
            (None, None, Some(reason)) => Binding::danger_unchecked(reason.clone()),
            (None, None, None) => return Err(CliError::MissingFlag { flag: "--report-data" }),
        };
        let endorsements = match evidence.platform() {
            _ if args.endorsements.is_some() => bundled(args, &evidence)?,
            Platform::Nitro => Endorsements::nitro(revocation),
            // The collateral carries Intel's revocation lists.
            Platform::Tdx | Platform::AzureVtpmTdx => {
                let collateral =
                    args.collateral.as_deref().ok_or(CliError::MissingFlag { flag: "--collateral" })?;
                Endorsements::tdx(files::read(collateral)?)
            }
            Platform::GceVtpm => Endorsements::gce_vtpm(ak_chain(args)?, revocation),
            _ => {
                let vek = args.vek.as_deref().ok_or(CliError::MissingFlag { flag: "--vek" })?;
                Endorsements::snp(files::certificate(vek)?, revocation)
            }
        };
        let endorsements = match &args.ak {
            Some(path) => endorsements.with_ak_certificate(files::read(path)?, ak_chain(args)?),
            None => endorsements,
        };
        output::talk(
            "a bare report says nothing of models and connections: only the platform rules of the policy apply",
        );
        Ok(Self { kind, evidence, endorsements, policy, binding, stated: None })
    }
}

/// Of the bundle that `endorse fetch` wrote.
fn bundled(args: &VerifyArgs, evidence: &Evidence) -> Result<Endorsements, CliError> {
    let path = args.endorsements.as_deref().ok_or(CliError::MissingFlag { flag: "--endorsements" })?;
    if evidence.platform() == Platform::GceVtpm && args.ak_chain.is_some() {
        let of = "a bundle of endorsements, which has these certificates";
        return Err(CliError::SuperfluousFlag { flag: "--ak-chain", of });
    }
    let endorsements = EndorsementBundle::parse(&files::read(path)?)?.endorsements(evidence)?;
    Ok(match &args.danger_unlisted {
        Some(reason) => endorsements.danger_unlisted(reason.clone()),
        None => endorsements,
    })
}

/// What the flags say of revocation.
pub(crate) fn revocation(args: &VerifyArgs) -> Result<Revocation, CliError> {
    if let Some(reason) = &args.danger_no_crl {
        return Ok(Revocation::DangerNotChecked { reason: reason.clone() });
    }
    let mut lists = args.crl.iter().map(|path| files::read(path)).collect::<Result<Vec<_>, _>>()?;
    let revocation = match (lists.pop(), lists.is_empty()) {
        (None, _) => Revocation::Missing,
        (Some(only), true) => Revocation::Crl(only),
        (Some(last), false) => {
            lists.push(last);
            Revocation::of_lists(lists)
        }
    };
    Ok(match &args.danger_unlisted {
        Some(reason) => revocation.danger_unlisted(reason.clone()),
        None => revocation,
    })
}

/// What `--nonce` says: as many bytes as the relying party chose.
pub(crate) fn nonce(text: &str) -> Result<Vec<u8>, CliError> {
    hex::decode(text).map_err(|_| CliError::Hex { what: "--nonce", bytes: text.len() / 2 })
}

/// Certificates above that of an attestation key.
pub(crate) fn ak_chain(args: &VerifyArgs) -> Result<Vec<Vec<u8>>, CliError> {
    certificates(args.ak_chain.as_deref().ok_or(CliError::MissingFlag { flag: "--ak-chain" })?)
}

/// Of a file: PEM, or one in DER.
pub(crate) fn certificates(path: &Path) -> Result<Vec<Vec<u8>>, CliError> {
    casemate_attest::tpm::certificates(&files::read(path)?)
        .ok_or_else(|| CliError::UnknownKind { path: path.to_path_buf() })
}

pub(crate) fn time(args: &VerifyArgs) -> Result<UnixTime, CliError> {
    args.at.map_or_else(now, |seconds| Ok(UnixTime(seconds)))
}

pub(crate) fn show(args: &VerifyArgs, kind: Kind, report: &Report) -> Result<(), CliError> {
    if report.simulated() {
        output::simulated_banner(kind.vendor());
    }
    if args.json {
        return output::json(report);
    }
    output::report_table(report, args.explain);
    output::data(report.headline());
    Ok(())
}
