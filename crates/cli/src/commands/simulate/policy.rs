//! Policies that simulated machines meet: every value that one says, written down.

use casemate_attest::snp::ProductLine;
use casemate_sim::MachineConfig;
use casemate_sim::azure::{AzureConfig, HardwareConfig};
use casemate_sim::nitro::NitroConfig;
use casemate_sim::nvidia::{DRIVER, VBIOS};
use casemate_sim::tdx::TdxConfig;

/// Terms for a SEV-SNP machine, in a table of this name.
pub(super) fn snp(table: &str, config: &MachineConfig) -> String {
    let (line, fmc) = match config.line {
        ProductLine::Milan => ("milan", String::new()),
        ProductLine::Genoa => ("genoa", String::new()),
        _ => ("turin", format!("fmc = {}, ", config.tcb.fmc)),
    };
    // A Milan host can forge reports (CVE-2024-56161); without this sentence none is accepted.
    let host_trust = match config.line {
        ProductLine::Milan => "host-trust = { provider-trusted = \"the machine is simulated\" }\n",
        _ => "",
    };
    format!(
        r#"[{table}]
measurement = ["{measurement}"]
host-data = ["{host_data}"]
id-key-digest = ["{id_key}"]
author-key-digest = ["{author_key}"]
family-id = ["{family}"]
image-id = ["{image}"]
chip-id = ["{chip}"]
vmpl = [{vmpl}]
minimum-guest-svn = {svn}
minimum-report-version = {version}
minimum-abi = {{ major = 0, minor = 0 }}
minimum-tcb = {{ {line} = {{ {fmc}bootloader = {bootloader}, tee = {tee}, snp = {snp}, microcode = {microcode} }} }}
{host_trust}guest-may = ["smt"]
guest-must = []
platform-may = ["smt"]
platform-must = ["alias-check-complete"]
launch-mitigations = 0
current-mitigations = 0
"#,
        measurement = hex::encode(config.launch_digest),
        host_data = hex::encode(config.host_data),
        id_key = hex::encode(config.id_key_digest),
        author_key = hex::encode(config.author_key_digest),
        family = hex::encode(config.family_id),
        image = hex::encode(config.image_id),
        chip = hex::encode(config.chip_id),
        vmpl = config.vmpl,
        svn = config.guest_svn,
        version = config.report_version,
        bootloader = config.tcb.bootloader,
        tee = config.tcb.tee,
        snp = config.tcb.snp,
        microcode = config.tcb.microcode,
    )
}

/// Terms for a TD, in a table of this name.
pub(super) fn tdx(table: &str, config: &TdxConfig) -> String {
    let [minor, major, ..] = config.tee_tcb_svn;
    let [rtmr0, rtmr1, rtmr2, rtmr3] = config.rtmrs.map(hex::encode);
    format!(
        r#"[{table}]
tcb-statuses = ["UpToDate"]
minimum-evaluation = 0
minimum-module = {{ major = {major}, minor = {minor} }}
mrseam = ["{mr_seam}"]
mrservicetd = ["{service}"]
platform-may = ["cached-keys", "smt"]
xfam-may = {xfam:#x}
mrtd = ["{mrtd}"]
rtmr0 = ["{rtmr0}"]
rtmr1 = ["{rtmr1}"]
rtmr2 = ["{rtmr2}"]
rtmr3 = ["{rtmr3}"]
mrconfigid = ["{config_id}"]
mrowner = ["{owner}"]
mrownerconfig = ["{owner_config}"]
"#,
        mr_seam = hex::encode(config.mr_seam),
        service = hex::encode(config.mr_service_td),
        xfam = config.xfam,
        mrtd = hex::encode(config.mr_td),
        config_id = hex::encode(config.mr_config_id),
        owner = hex::encode(config.mr_owner),
        owner_config = hex::encode(config.mr_owner_config),
    )
}

/// Terms for an enclave.
pub(super) fn nitro(config: &NitroConfig) -> String {
    let asked = [0, 1, 2, 3, 4, 8].into_iter().filter_map(|pcr| Some((pcr, config.pcrs.get(&pcr)?)));
    let pcrs: String =
        asked.map(|(pcr, value)| format!("pcr{pcr} = [\"{}\"]\n", hex::encode(value))).collect();
    format!("[nitro]\nmaximum-age = 300\n{pcrs}")
}

/// Terms for a GPU: as strict as can be, with the versions of every simulated one.
pub(super) fn nvidia() -> String {
    format!(
        r#"[nvidia]
architectures = ["hopper"]
device = {{ any = "a simulated GPU's keys are made anew each time" }}
driver-version = ["{DRIVER}"]
vbios-version = ["{VBIOS}"]
measurements = {{ any = "the manifests say which" }}
"#
    )
}

/// Terms for a virtual machine of Azure.
pub(super) fn azure(config: &AzureConfig) -> String {
    let pcrs: Vec<_> =
        config.pcrs.iter().map(|(pcr, value)| format!("{pcr} = [\"{}\"]", hex::encode(value))).collect();
    let user_data = config.user_data.map_or_else(
        || "{ any = \"there is none\" }".to_owned(),
        |user_data| format!("[\"{}\"]", hex::encode(user_data)),
    );
    let hardware = match &config.hardware {
        HardwareConfig::Snp(config) => snp("azure.sev-snp", config),
        HardwareConfig::Tdx(config) => tdx("azure.tdx", config),
    };
    format!(
        "[azure]\nvm-id = [\"{}\"]\nuser-data = {user_data}\npcrs = {{ {} }}\n\n{hardware}",
        config.vm_id,
        pcrs.join(", ")
    )
}
