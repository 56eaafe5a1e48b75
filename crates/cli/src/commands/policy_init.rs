//! `casemate policy init`: a policy from what a server shows today; and `policy diff`: what is different in another.

use std::collections::BTreeMap;
use std::path::Path;

use casemate_attest::nitro::NitroClaims;
use casemate_attest::snp::{HostTrust, Identity, ProductLine, SnpClaims};
use casemate_attest::tdx::TdxClaims;
use casemate_attest::{Claims, Platform};
use casemate_client::{Anchors, ClientPolicy, Via, connect, observe};
use casemate_protocol::statement::{EngineStatement, KeyOrigin, Stated};
use serde::Serialize;
use toml::{Table, Value};

use super::{now, random, runtime};
use crate::args::PolicyInitArgs;
use crate::error::CliError;
use crate::files;
use crate::output;

/// Prints a policy that exactly this server meets today.
pub(crate) fn init(args: &PolicyInitArgs) -> Result<(), CliError> {
    let anchors = Anchors {
        machines: files::anchors(&args.anchors)?,
        devices: files::device_anchors(&args.gpu_anchors)?,
    };
    let simulated = anchors.machines.simulated();
    if simulated {
        output::simulated_banner(output::SIMULATED_MACHINE);
    }
    let text = runtime()?.block_on(async {
        let shown = observe(&args.url, &anchors, random()?, now()?).await?;
        let platform = shown.claims().platform();
        let statement = shown.statement();
        if statement.device_evidence_sha256 != Stated::None || statement.vtpm_key_sha256 != Stated::None {
            return Err(CliError::InitParts);
        }
        let mut manifests = Vec::new();
        for model in &statement.models {
            let Stated::Is(digest) = model.manifest_sha256 else { return Err(CliError::InitModel) };
            manifests.push(hex::encode(digest));
        }
        let mut policy = Table::new();
        policy.insert("model".into(), table([("manifests", manifests.into())]));
        if let EngineStatement::Upstream(upstream) = &statement.engine {
            let digest = upstream.digest().map_err(|_| CliError::Render)?;
            policy.insert("engine".into(), table([("upstreams", one(&digest))]));
        }
        if statement.tls_key_origin == KeyOrigin::Operator {
            let reason = "the operator brought the key and can read along: decide whether it may";
            policy.insert("tls".into(), table([("danger-operator-key", reason.into())]));
        }
        if let Some(key) = shown.operator() {
            policy.insert("operator".into(), table([("keys", one(&key))]));
        }
        let (name, terms) = terms(shown.claims()).ok_or(CliError::InitPlatform { platform })?;
        policy.insert(name.into(), terms?);
        let body = toml::to_string(&policy).map_err(|_| CliError::Render)?;
        // What the very server does not meet is no policy to start from.
        let read = ClientPolicy::from_toml(&body)?;
        connect(&args.url, Via::Tls, &read, &anchors, random()?, now()?).await?;
        let hardware = if simulated { "\n# SIMULATED hardware: this says nothing about a real machine." } else { "" };
        let url: String = args.url.chars().filter(|c| !c.is_control()).collect();
        Ok(format!(
            "# What {url} showed at {now}, written by `casemate policy init`: trust on first use.\n\
             # The hardware is genuine; whether the code and the model are the right ones is for you to say: compare the measurement and\n\
             # the manifests below with what their publishers say, and write what may change.{hardware}\n\n{body}",
            now = now()?
        ))
    })?;
    output::data(text.trim_end());
    Ok(())
}

/// Prints what is in one file and not in the other, a line each.
pub(crate) fn diff(old: &Path, new: &Path) -> Result<(), CliError> {
    let read = |path: &Path| -> Result<BTreeMap<String, String>, CliError> {
        let text = files::read_text(path)?;
        // Whatever is wrong with it is said before anything is compared.
        ClientPolicy::from_toml(&text)?;
        let table: Table = text.parse().map_err(|_| CliError::Render)?;
        let mut lines = BTreeMap::new();
        flatten("", &Value::Table(table), &mut lines);
        Ok(lines)
    };
    let (old, new) = (read(old)?, read(new)?);
    let names: std::collections::BTreeSet<_> = old.keys().chain(new.keys()).collect();
    for name in names {
        let (before, after) = (old.get(name), new.get(name));
        if before == after {
            continue;
        }
        if let Some(value) = before {
            output::data(&format!("- {name} = {value}"));
        }
        if let Some(value) = after {
            output::data(&format!("+ {name} = {value}"));
        }
    }
    Ok(())
}

fn flatten(prefix: &str, value: &Value, into: &mut BTreeMap<String, String>) {
    match value {
        Value::Table(table) => {
            for (key, value) in table {
                let name = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
                flatten(&name, value, into);
            }
        }
        value => drop(into.insert(prefix.to_owned(), value.to_string())),
    }
}

/// The platform's table and its name; `None` for a platform that no policy is written for here.
fn terms(claims: &Claims) -> Option<(&'static str, Result<Value, CliError>)> {
    match claims.platform() {
        Platform::SevSnp => Some(("sev-snp", snp(claims, claims.snp()?))),
        Platform::Tdx => Some(("tdx", tdx(claims, claims.tdx()?))),
        Platform::Nitro => Some(("nitro", Ok(nitro(claims.nitro()?)))),
        _ => None,
    }
}

fn snp(claims: &Claims, snp: &SnpClaims) -> Result<Value, CliError> {
    let tcb = snp.reported_tcb;
    let mut minimum = vec![
        ("bootloader", number(tcb.bootloader)),
        ("tee", number(tcb.tee)),
        ("snp", number(tcb.snp)),
        ("microcode", number(tcb.microcode)),
    ];
    if !matches!(snp.product_line, ProductLine::Milan | ProductLine::Genoa) {
        minimum.push(("fmc", number(tcb.fmc)));
    }
    let line = snp.product_line.name().to_lowercase();
    // POLICY bits 15:8 and 7:0 (AMD 56860, table 9): what this guest demands of the firmware.
    let [minor, major, ..] = snp.guest_policy.to_le_bytes();
    let abi = table([("major", number(major)), ("minor", number(minor))]);
    let mut terms = vec![
        ("measurement", one(claims.measurement())),
        ("host-data", one(&claims.host_data().copied().unwrap_or_default())),
        ("id-key-digest", one(&snp.id_key_digest)),
        ("author-key-digest", one(&snp.author_key_digest)),
        ("family-id", one(&snp.family_id)),
        ("image-id", one(&snp.image_id)),
        ("vmpl", vec![Value::from(i64::from(snp.vmpl))].into()),
        ("minimum-guest-svn", i64::from(snp.guest_svn).into()),
        ("minimum-report-version", i64::from(u32::from(snp.report_version)).into()),
        ("minimum-abi", abi),
        ("minimum-tcb", table([(line.as_str(), table(minimum))])),
        ("guest-may", shown(&snp.guest_permissions)?),
        ("guest-must", shown(&snp.guest_protections)?),
        ("platform-may", shown(&snp.platform_weaknesses)?),
        ("platform-must", shown(&snp.platform_protections)?),
        ("launch-mitigations", mitigations(snp.launch_mitigations)?),
        ("current-mitigations", mitigations(snp.current_mitigations)?),
    ];
    match &snp.identity {
        Identity::Chip(chip) => terms.push(("chip-id", one(chip))),
        Identity::Provider(provider) => {
            let any = "a provider's key signs, which names no chip";
            terms.push(("chip-id", table([("any", any.into())])));
            terms.push(("vlek-providers", vec![Value::from(provider.as_str())].into()));
        }
    }
    if snp.host_trust == HostTrust::ProviderTrusted {
        let reason = format!("{}: decide whether its host may", snp.host_trust_reason);
        terms.push(("host-trust", table([("provider-trusted", reason.into())])));
    }
    Ok(table(terms))
}

fn tdx(claims: &Claims, tdx: &TdxClaims) -> Result<Value, CliError> {
    let [rtmr0, rtmr1, rtmr2, rtmr3] = tdx.rtmrs.map(|value| one(&value));
    let module = tdx.launch_module;
    let xfam = i64::try_from(tdx.xfam).map_err(|_| CliError::Render)?;
    Ok(table([
        ("tcb-statuses", vec![Value::from("UpToDate")].into()),
        ("minimum-evaluation", i64::from(tdx.evaluation).into()),
        ("minimum-module", table([("major", number(module.major)), ("minor", number(module.minor))])),
        ("mrseam", one(&tdx.mr_seam)),
        ("mrservicetd", one(&tdx.mr_service_td.unwrap_or([0; 48]))),
        ("platform-may", shown(&tdx.platform_flags)?),
        ("xfam-may", xfam.into()),
        ("mrtd", one(claims.measurement())),
        ("rtmr0", rtmr0),
        ("rtmr1", rtmr1),
        ("rtmr2", rtmr2),
        ("rtmr3", rtmr3),
        ("mrconfigid", one(&tdx.mr_config_id)),
        ("mrowner", one(&tdx.mr_owner)),
        ("mrownerconfig", one(&tdx.mr_owner_config)),
    ]))
}

fn nitro(nitro: &NitroClaims) -> Value {
    let pcrs = [0, 1, 2, 3, 4, 8].into_iter().filter_map(|pcr| Some((pcr, nitro.pcrs.get(&pcr)?)));
    let pcrs = pcrs.map(|(pcr, value)| (format!("pcr{pcr}"), vec![Value::from(value.as_str())].into()));
    let age = ("maximum-age".to_owned(), Value::from(300));
    Value::Table(pcrs.chain([age]).collect())
}

fn one(bytes: &[u8]) -> Value {
    vec![Value::from(hex::encode(bytes))].into()
}

fn number(value: u8) -> Value {
    i64::from(value).into()
}

/// Every bit that is set must stay set.
fn mitigations(shown: Option<u64>) -> Result<Value, CliError> {
    Ok(i64::try_from(shown.unwrap_or(0)).map_err(|_| CliError::Render)?.into())
}

/// Names as policies write them.
fn shown(values: &impl Serialize) -> Result<Value, CliError> {
    Value::try_from(values).map_err(|_| CliError::Render)
}

fn table<'a>(entries: impl IntoIterator<Item = (&'a str, Value)>) -> Value {
    Value::Table(entries.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use casemate_attest::{
        Binding, Endorsements, Evidence, Policy, Revocation, TrustAnchors, UnixTime, verify,
    };
    use casemate_sim::tdx::{TdxConfig, TdxVendor};
    use casemate_sim::{MachineConfig, Vendor};

    const NOW: UnixTime = UnixTime(1_767_268_800);

    /// The very machine meets what was written of it, and a machine with one thing changed does not.
    fn written(evidence: &[u8], endorsements: &Endorsements, roots: &str) -> Policy {
        let evidence = Evidence::parse(evidence).unwrap();
        let anchors = TrustAnchors::danger_only_pem(roots).unwrap();
        let authentic = verify(&evidence, endorsements, &anchors, NOW).unwrap();
        let (name, terms) = terms(authentic.claims()).unwrap();
        let file = Table::from_iter([(name.to_owned(), terms.unwrap())]);
        let policy = Policy::from_toml(&toml::to_string(&file).unwrap()).unwrap();
        let binding = Binding::danger_unchecked("a test of terms");
        authentic.appraise(&policy, &binding).unwrap();
        policy
    }

    #[test]
    fn an_snp_machine_meets_its_own_policy_on_every_line() {
        for line in ProductLine::ALL {
            let vendor = Vendor::create(line, NOW).unwrap();
            let machine = |digest| {
                let machine = vendor.machine(&MachineConfig::for_line(line, 5, digest)).unwrap();
                let revocation = Revocation::Crl(machine.crl_der().to_vec());
                let endorsements = Endorsements::snp(machine.vek_der().to_vec(), revocation);
                (machine.report(&[7; 64]).unwrap(), endorsements)
            };
            let (report, endorsements) = machine([1; 48]);
            let policy = written(&report, &endorsements, &vendor.root_pem());
            let (other, endorsements) = machine([2; 48]);
            let anchors = TrustAnchors::danger_only_pem(&vendor.root_pem()).unwrap();
            let other = verify(&Evidence::parse(&other).unwrap(), &endorsements, &anchors, NOW).unwrap();
            let binding = Binding::danger_unchecked("a test of terms");
            assert_eq!(other.appraise(&policy, &binding).unwrap_err().code(), "snp.measurement.not-accepted");
        }
    }

    #[test]
    fn a_td_meets_its_own_policy() {
        let vendor = TdxVendor::create(NOW).unwrap();
        let quote = vendor.machine(&TdxConfig::new([3; 48])).unwrap().quote(&[7; 64]).unwrap();
        let endorsements = Endorsements::tdx(vendor.collateral().unwrap());
        written(&quote, &endorsements, &vendor.root_pem());
    }
}
