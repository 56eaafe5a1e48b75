//! `casemate inspect`: what a file says. Nothing here proves anything, and every output says so.

use casemate_attest::bundle::Bundle;
use casemate_attest::eventlog::EventLog;
use casemate_attest::nvidia::GpuEvidence;
use casemate_attest::token::Token;
use casemate_attest::{Evidence, ParseError, Platform, azure, gce, nitro, snp, tdx};
use casemate_protocol::document::AttestationDocument;
use casemate_protocol::statement::RuntimeStatement;
use serde_json::{Value, json};

use super::inspect_log;
use super::verify_devices::Devices;
use crate::args::InspectArgs;
use crate::error::CliError;
use crate::files;
use crate::output;

const DISCLAIMER: &str =
    "This is what the file SAYS. No signature was checked; it proves nothing. Use `casemate verify`.";

pub(crate) fn run(args: &InspectArgs) -> Result<(), CliError> {
    let bytes = files::read(&args.file)?;
    if EventLog::looks_like(&bytes) && !is_list_of_devices(&bytes) {
        return event_log(&bytes, args);
    }
    let (kind, content) = decode(&bytes, args)?;
    if args.json {
        return output::json(&json!({
            "schema": "casemate.inspect/1", "proves": "nothing", "kind": kind, "content": content,
        }));
    }
    output::talk(DISCLAIMER);
    output::data(kind);
    output::data(&serde_json::to_string_pretty(&content).map_err(|_| CliError::Render)?);
    Ok(())
}

/// dstack's logs and lists of devices are both JSON lists; only devices have an architecture.
fn is_list_of_devices(bytes: &[u8]) -> bool {
    let list: Vec<Value> = serde_json::from_slice(bytes).unwrap_or_default();
    list.first().is_some_and(|first| first.get("arch").is_some())
}

fn event_log(bytes: &[u8], args: &InspectArgs) -> Result<(), CliError> {
    let log = EventLog::parse(bytes)?;
    if args.json {
        return output::json(&json!({
            "schema": "casemate.inspect/1", "proves": "nothing", "kind": "event log",
            "content": inspect_log::fields(&log),
        }));
    }
    output::talk(DISCLAIMER);
    output::data("event log");
    for line in inspect_log::table(&log) {
        output::data(&line);
    }
    Ok(())
}

fn decode(bytes: &[u8], args: &InspectArgs) -> Result<(&'static str, Value), CliError> {
    if Token::looks_like(bytes) {
        let token = Token::parse(bytes)?;
        let mut fields = json!({"kind": token.kind(), "claims": token.unverified_claims()});
        let submodules = token.unverified_submodules();
        if !submodules.is_empty() {
            fields["submodules"] = submodules.into();
        }
        return Ok(("token of another verifier", fields));
    }
    if let Some(devices) = Devices::recognize(bytes) {
        let devices = devices.evidence(bytes, args.chain.as_deref())?;
        return Ok(("nvidia device evidence", devices.iter().map(device_fields).collect()));
    }
    if Bundle::looks_like(bytes) {
        let bundle = Bundle::parse_part(bytes, args.part.as_deref())?;
        let content = json!({
            "system": bundle.system(),
            "variant": bundle.variant(),
            "says": bundle.unverified(),
            "not_asked": bundle.not_asked(),
            "evidence": evidence_fields(bundle.evidence())?,
            "event_log": bundle.event_log().map(inspect_log::fields),
            "devices": bundle.devices().iter().map(device_fields).collect::<Vec<_>>(),
        });
        return Ok(("bundle of another system", content));
    }
    match Evidence::parse(bytes) {
        Ok(evidence) => return Ok((kind_of(&evidence), evidence_fields(&evidence)?)),
        Err(ParseError::UnknownFormat { .. }) => {}
        // It looks like evidence, but is broken: say what is wrong with it.
        Err(e) => return Err(e.into()),
    }
    let unknown = || CliError::UnknownKind { path: args.file.clone() };
    let value: Value = serde_json::from_slice(bytes).map_err(|_| unknown())?;
    if value.get("schema").is_some() {
        let document = AttestationDocument::parse(bytes)?;
        let evidence = Evidence::parse(&document.evidence_bytes()?)?;
        let statement = RuntimeStatement::parse(&document.statement).ok();
        let content = json!({
            "evidence": evidence_fields(&evidence)?,
            "statement": statement,
            "token": document.token,
        });
        return Ok(("attestation document", content));
    }
    if value.get("payloadType").is_some() {
        return Ok((
            "sealed model manifest (signature not checked)",
            manifest_fields(&value).ok_or_else(unknown)?,
        ));
    }
    Err(unknown())
}

fn kind_of(evidence: &Evidence) -> &'static str {
    match evidence.platform() {
        Platform::SevSnp => "sev-snp attestation report",
        Platform::Nitro => "nitro attestation document",
        Platform::Tdx => "tdx quote",
        Platform::AzureVtpm => "azure vtpm evidence",
        Platform::GceVtpm => "gce vtpm evidence",
        Platform::AzureVtpmTdx => "azure vtpm evidence on tdx",
        _ => "attestation evidence",
    }
}

fn evidence_fields(evidence: &Evidence) -> Result<Value, CliError> {
    if let Some(report) = evidence.snp() {
        return Ok(snp_fields(report));
    }
    if let Some(document) = evidence.nitro() {
        return Ok(nitro_fields(document));
    }
    if let Some(quote) = evidence.tdx() {
        return Ok(tdx_fields(quote));
    }
    if let Some(evidence) = evidence.gce() {
        return Ok(gce_fields(evidence));
    }
    evidence.azure().map(azure_fields).ok_or(CliError::Render)
}

/// What an NVIDIA device's report and certificates say, under the names of NVIDIA's SDK.
fn device_fields(device: &GpuEvidence) -> Value {
    let [project, project_sku, chip_sku] = device.board();
    json!({
        "certificates": device.certificate_names(),
        "nonce": hex::encode(device.nonce()),
        "driver_version": device.driver_version(),
        "vbios_version": device.vbios_version(),
        "project": project,
        "project_sku": project_sku,
        "chip_sku": chip_sku,
        "measurements": device.measurements().iter().map(hex::encode).collect::<Vec<_>>(),
        "evidence_sha256": hex::encode(device.sha256()),
    })
}

/// Every field of a TD that a person asks for, under Intel's names.
fn tdx_fields(td: &tdx::Quote) -> Value {
    json!({
        "version": td.version(),
        "tee_tcb_svn": hex::encode(td.tee_tcb_svn()),
        "mrseam": hex::encode(td.mr_seam()),
        "mrsignerseam": hex::encode(td.mr_signer_seam()),
        "td_attributes": format!("{:#x}", td.td_attributes()),
        "debug": td.debug(),
        "xfam": format!("{:#x}", td.xfam()),
        "mrtd": hex::encode(td.mr_td()),
        "mrconfigid": hex::encode(td.mr_config_id()),
        "mrowner": hex::encode(td.mr_owner()),
        "mrownerconfig": hex::encode(td.mr_owner_config()),
        "rtmrs": td.rtmrs().map(hex::encode),
        "mrservicetd": td.mr_service_td().map(hex::encode),
        "report_data": hex::encode(td.report_data()),
    })
}

/// The parts of Azure evidence: the runtime data as the text that it is, and what the quote says.
fn azure_fields(evidence: &azure::AzureEvidence) -> Value {
    let (hcl, quote) = (evidence.hcl(), evidence.quote());
    json!({
        "hcl_version": hcl.version(),
        "hash": hcl.hash().as_str(),
        "hardware_report_data": hex::encode(hcl.hardware().report_data()),
        "runtime_data": String::from_utf8_lossy(hcl.runtime()),
        "quote_extra_data": hex::encode(quote.extra_data()),
        "quote_qualified_signer": hex::encode(quote.qualified_signer()),
        "tpm_firmware_version": quote.firmware_version(),
        "td_quote": evidence.td_quote().map(tdx_fields),
    })
}

/// The parts of a GCE virtual TPM's evidence. Its certificate, and so the instance, is for `verify` to look at.
fn gce_fields(evidence: &gce::GceEvidence) -> Value {
    let quote = evidence.quote();
    json!({
        "memory_encryption": "unproven: this evidence says nothing about it",
        "attestation_key": hex::encode(evidence.public().name()),
        "quote_extra_data": hex::encode(quote.extra_data()),
        "quote_qualified_signer": hex::encode(quote.qualified_signer()),
        "tpm_firmware_version": quote.firmware_version(),
        "event_log_bytes": evidence.event_log().len(),
    })
}

/// Every field of a Nitro Enclaves document, under AWS's names.
fn nitro_fields(document: &nitro::Document) -> Value {
    let pcrs: serde_json::Map<_, _> =
        document.pcrs().iter().map(|(index, value)| (index.to_string(), hex::encode(value).into())).collect();
    json!({
        "module_id": document.module_id(),
        "timestamp": document.timestamp_ms(),
        "debug_mode": document.debug(),
        "pcrs": pcrs,
        "public_key": document.public_key().map(hex::encode),
        "user_data": document.user_data().map(hex::encode),
        "nonce": document.nonce().map(hex::encode),
    })
}

/// Every field of a SEV-SNP report that a person asks for, under the names of AMD's specification (57230 table 23).
fn snp_fields(report: &snp::Report) -> Value {
    json!({
        "version": report.version().number(),
        "guest_svn": report.guest_svn(),
        "policy": format!("{:#x}", report.guest_policy().raw()),
        "debug_allowed": report.guest_policy().debug(),
        "family_id": hex::encode(report.family_id()),
        "image_id": hex::encode(report.image_id()),
        "vmpl": report.vmpl(),
        "platform_info": format!("{:#x}", report.platform_info().raw()),
        "report_data": hex::encode(report.report_data()),
        "measurement": hex::encode(report.measurement()),
        "host_data": hex::encode(report.host_data()),
        "id_key_digest": hex::encode(report.id_key_digest()),
        "author_key_digest": hex::encode(report.author_key_digest()),
        "report_id": hex::encode(report.report_id()),
        "chip_id": hex::encode(report.chip_id()),
        "cpuid": report.cpuid(),
        "current_tcb": hex::encode(report.current_tcb().0),
        "reported_tcb": hex::encode(report.reported_tcb().0),
        "committed_tcb": hex::encode(report.committed_tcb().0),
        "launch_tcb": hex::encode(report.launch_tcb().0),
        "launch_mitigations": report.launch_mitigations(),
        "current_mitigations": report.current_mitigations(),
    })
}

/// The payload of a DSSE envelope, as it is.
fn manifest_fields(envelope: &Value) -> Option<Value> {
    use base64::Engine;
    let payload = envelope.get("payload")?.as_str()?;
    let payload = base64::prelude::BASE64_STANDARD.decode(payload).ok()?;
    serde_json::from_slice(&payload).ok()
}
