//! `casemate verify` over what other systems hand out (spec/bundles.md): the same policy, and flags for what a bundle lacks.

use casemate_attest::bundle::{Bundle, BundleDevices, BundleQuestion, Challenge, DeviceTerms};
use casemate_attest::endorse::EndorsementBundle;
use casemate_attest::eventlog::EventLog;
use casemate_attest::nvidia::{Manifest, NvidiaEndorsements};
use casemate_attest::{Danger, Endorsements, Platform, PlatformPolicy, Report};
use casemate_client::ClientPolicy;

use super::kind::Kind;
use super::verify::{ak_chain, nonce, revocation, show, time};
use super::verify_devices;
use crate::args::VerifyArgs;
use crate::error::CliError;
use crate::files;

pub(crate) fn run(args: &VerifyArgs, bytes: &[u8]) -> Result<(), CliError> {
    let policy = ClientPolicy::platform_from_toml(&files::read_text(&args.policy)?)?;
    let anchors = files::anchors(&args.anchors)?;
    let bundle = match Bundle::parse_part(bytes, args.bundles.part.as_deref()) {
        Ok(bundle) => bundle,
        Err(error) => {
            show(args, Kind::Bundle(None), &Report::from_bundle_error(&error, &anchors))?;
            return Err(error.into());
        }
    };
    let kind = Kind::Bundle(Some(bundle.evidence().platform()));
    kind.refuse_others(args)?;
    let now = time(args)?;
    let event_log = args.event_log.as_deref().map(files::read).transpose()?;
    let event_log = event_log.as_deref().map(EventLog::parse).transpose()?;
    let ak_certificate = match &args.ak {
        Some(path) => Some((files::read(path)?, ak_chain(args)?)),
        None => None,
    };
    let device_anchors = verify_devices::anchors(&args.anchors)?;
    let device_endorsements = NvidiaEndorsements { revocation: verify_devices::revocation(args)? };
    let manifests = manifests(args, &device_endorsements, &device_anchors, now)?;
    let devices = match (&args.bundles.danger_devices_not_verified, &policy.nvidia) {
        (Some(reason), _) => DeviceTerms::DangerNotVerified { reason: reason.clone() },
        (None, PlatformPolicy::Accepted(_)) => DeviceTerms::Exactly(BundleDevices {
            count: args.devices.devices.unwrap_or(1),
            anchors: &device_anchors,
            endorsements: &device_endorsements,
            manifests: &manifests,
        }),
        // A policy that does not speak of devices expects none.
        (None, PlatformPolicy::NotAccepted) => DeviceTerms::None,
    };
    let verified = bundle.verify(&BundleQuestion {
        policy: &policy,
        anchors: &anchors,
        now,
        challenge: challenge(args, &bundle)?,
        endorsements: endorsements(args, &bundle)?,
        revocation: revocation(args)?,
        ak_certificate,
        event_log,
        devices,
        key_custody: match &args.bundles.danger_custody_not_verified {
            Some(reason) => Danger::Allow { reason: reason.clone() },
            None => Danger::Refuse,
        },
    });
    match verified {
        Ok(verified) => show(args, kind, &verified.report()),
        Err(refused) => {
            show(args, kind, refused.report())?;
            Err(refused.into())
        }
    }
}

fn challenge(args: &VerifyArgs, bundle: &Bundle) -> Result<Challenge, CliError> {
    let quoted = matches!(bundle.evidence().platform(), Platform::AzureVtpm | Platform::AzureVtpmTdx);
    match (&args.nonce, &args.report_data, &args.danger_unbound) {
        // As of bare evidence: what a TPM's quote binds, which the bundle does not repeat.
        (Some(hex), _, _) if quoted && bundle.nonce().is_none() => Ok(Challenge::ReportData(nonce(hex)?)),
        (Some(hex), _, _) => Ok(Challenge::Nonce(nonce(hex)?)),
        (None, Some(hex), _) => {
            Ok(Challenge::ReportData(files::hex_bytes::<64>("--report-data", hex)?.to_vec()))
        }
        (None, None, Some(reason)) => Ok(Challenge::DangerNone { reason: reason.clone() }),
        (None, None, None) => Err(CliError::MissingFlag { flag: "--nonce" }),
    }
}

/// What was named; without it, the bundle's own.
fn endorsements(args: &VerifyArgs, bundle: &Bundle) -> Result<Option<Endorsements>, CliError> {
    let evidence = bundle.evidence();
    if let Some(path) = &args.endorsements {
        return Ok(Some(EndorsementBundle::parse(&files::read(path)?)?.endorsements(evidence)?));
    }
    Ok(match (evidence.platform(), &args.collateral, &args.vek) {
        (Platform::Tdx | Platform::AzureVtpmTdx, Some(path), _) => {
            Some(Endorsements::tdx(files::read(path)?))
        }
        (Platform::SevSnp | Platform::AzureVtpm, _, Some(path)) => {
            Some(Endorsements::snp(files::certificate(path)?, revocation(args)?))
        }
        _ => None,
    })
}

fn manifests(
    args: &VerifyArgs,
    endorsements: &NvidiaEndorsements,
    anchors: &casemate_attest::nvidia::NvidiaAnchors,
    now: casemate_attest::UnixTime,
) -> Result<Vec<Manifest>, CliError> {
    let read = |path: &std::path::PathBuf| {
        Manifest::verify(&files::read(path)?, &endorsements.revocation, anchors, now)
            .map_err(|rejected| CliError::DeviceManifest { path: path.clone(), rejected: Box::new(rejected) })
    };
    args.devices.rim.iter().map(read).collect()
}
