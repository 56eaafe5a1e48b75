//! `casemate simulate`: software silicon vendors, and evidence of machines that they endorse.

mod policy;

use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use casemate_attest::endorse::{Collateral, EndorsementBundle};
use casemate_attest::snp::ProductLine;
use casemate_sim::azure::{AzureConfig, AzureVendor, Hardware, HardwareConfig};
use casemate_sim::nitro::{NitroConfig, NitroVendor};
use casemate_sim::nvidia::NvidiaVendor;
use casemate_sim::tdx::{TdxConfig, TdxVendor};
use casemate_sim::{EventLog, Machine, MachineConfig, Platform, Vendor};
use serde_json::json;

use super::kind;
use super::measure::{launch_digest, this_program};
use super::now;
use crate::args::{SimulateCommand, SimulateReportArgs};
use crate::error::CliError;
use crate::files::{self, PUBLIC};
use crate::output;

/// A TPM holds no more qualifying data: a hash of SHA-384 with its name.
const MAX_NONCE: usize = 50;

pub(crate) fn run(command: SimulateCommand) -> Result<(), CliError> {
    match command {
        SimulateCommand::Init { dir, platform, line } => init(&dir, &platform, line.as_deref()),
        SimulateCommand::Report(args) => report(&args),
    }
}

fn init(dir: &Path, platform: &str, line: Option<&str>) -> Result<(), CliError> {
    let platform = Platform::from_word(platform)
        .ok_or_else(|| CliError::SimulatedPlatform { found: platform.to_owned() })?;
    output::simulated_banner(vendor(platform));
    let line = match (platform, line) {
        (Platform::SevSnp | Platform::AzureSnp, None | Some("genoa")) => ProductLine::Genoa,
        (Platform::SevSnp | Platform::AzureSnp, Some("milan")) => ProductLine::Milan,
        (Platform::SevSnp | Platform::AzureSnp, Some("turin")) => ProductLine::Turin,
        (Platform::SevSnp | Platform::AzureSnp, Some(other)) => {
            return Err(CliError::ProductLine { found: other.to_owned() });
        }
        (_, None) => ProductLine::Genoa,
        (_, Some(_)) => return Err(CliError::SuperfluousFlag { flag: "--line", of: of(platform) }),
    };
    files::create_dir(dir)?;
    let now = now()?;
    match platform {
        Platform::SevSnp => Vendor::create(line, now)?.save(dir)?,
        Platform::Tdx => TdxVendor::create(now)?.save(dir)?,
        Platform::Nitro => NitroVendor::create(now)?.save(dir)?,
        Platform::AzureSnp => AzureVendor::on_snp(line, now)?.save(dir)?,
        Platform::AzureTdx => AzureVendor::on_tdx(now)?.save(dir)?,
        Platform::Nvidia => NvidiaVendor::create(now)?.save(dir)?,
    }
    output::data(&dir.join("roots.pem").display().to_string());
    Ok(())
}

/// What is asked of a machine, whatever it is.
struct Asked<'a> {
    vendor: &'a Path,
    out: &'a Path,
    measurement: [u8; 48],
}

fn report(args: &SimulateReportArgs) -> Result<(), CliError> {
    let platform = Platform::of(&args.vendor)?;
    output::simulated_banner(vendor(platform));
    let is_tpm = matches!(platform, Platform::AzureSnp | Platform::AzureTdx);
    let by_nonce = is_tpm || platform == Platform::Nvidia;
    let (given, flag) =
        if by_nonce { (&args.nonce, "--nonce") } else { (&args.report_data, "--report-data") };
    let Some(bound) = given else { return Err(CliError::MissingFlag { flag }) };
    if platform == Platform::Nvidia && args.measurement.is_some() {
        return Err(CliError::SuperfluousFlag { flag: "--measurement", of: of(platform) });
    }
    let measurement = match &args.measurement {
        Some(text) => files::hex_bytes::<48>("--measurement", text)?,
        None => launch_digest(&this_program()?)?,
    };
    let asked = Asked { vendor: &args.vendor, out: &args.out, measurement };
    let evidence = if is_tpm {
        let nonce = hex::decode(bound).ok().filter(|nonce| (1..=MAX_NONCE).contains(&nonce.len()));
        asked.azure(&nonce.ok_or(CliError::HexUpTo { what: "--nonce", most: MAX_NONCE })?)?
    } else if platform == Platform::Nvidia {
        asked.nvidia(&files::hex_bytes::<32>("--nonce", bound)?)?
    } else {
        let report_data = files::hex_bytes::<64>("--report-data", bound)?;
        match platform {
            Platform::Tdx => asked.tdx(&report_data)?,
            Platform::Nitro => asked.nitro(&report_data)?,
            _ => asked.snp(&report_data)?,
        }
    };
    output::data(&args.out.join(evidence).display().to_string());
    Ok(())
}

impl Asked<'_> {
    fn snp(&self, report_data: &[u8; 64]) -> Result<&'static str, CliError> {
        let vendor = Vendor::load(self.vendor)?;
        let config = MachineConfig::for_line(vendor.line(), 5, self.measurement);
        let machine = vendor.machine(&config)?;
        let report = machine.report(report_data)?;
        files::create_dir(self.out)?;
        self.create("report.bin", &report)?;
        self.create_amd(&machine)?;
        self.create("policy.toml", policy::snp("sev-snp", &config).as_bytes())?;
        Ok("report.bin")
    }

    fn tdx(&self, report_data: &[u8; 64]) -> Result<&'static str, CliError> {
        let vendor = TdxVendor::load(self.vendor, now()?)?;
        let log = EventLog::simulated_td();
        let config = TdxConfig::new(self.measurement).with_log(&log);
        let quote = vendor.machine(&config)?.quote(report_data)?;
        let collateral = vendor.collateral()?;
        files::create_dir(self.out)?;
        self.create("quote.bin", &quote)?;
        self.create("ccel.bin", log.bytes())?;
        self.create_intel(&collateral)?;
        self.create("policy.toml", policy::tdx("tdx", &config).as_bytes())?;
        Ok("quote.bin")
    }

    fn nitro(&self, report_data: &[u8; 64]) -> Result<&'static str, CliError> {
        let vendor = NitroVendor::load(self.vendor, now()?)?;
        let config = NitroConfig::new(self.measurement);
        let document = vendor.module(&config)?.document(report_data)?;
        files::create_dir(self.out)?;
        self.create("document.cbor", &document)?;
        self.create("policy.toml", policy::nitro(&config).as_bytes())?;
        Ok("document.cbor")
    }

    fn azure(&self, nonce: &[u8]) -> Result<&'static str, CliError> {
        let vendor = AzureVendor::load(self.vendor, now()?)?;
        let log = EventLog::simulated_vm();
        let hardware = match vendor.hardware() {
            Hardware::Snp(amd) => {
                HardwareConfig::Snp(Box::new(MachineConfig::for_line(amd.line(), 5, self.measurement)))
            }
            Hardware::Tdx(_) => HardwareConfig::Tdx(Box::new(TdxConfig::new(self.measurement))),
        };
        let config = AzureConfig::new(hardware).with_log(&log);
        let machine = vendor.machine(&config)?;
        let evidence = machine.evidence(nonce)?;
        let chain: Vec<_> =
            machine.ak_issuers().iter().map(|der| casemate_sim::certificate_pem(der)).collect();
        files::create_dir(self.out)?;
        self.create("evidence.json", &evidence)?;
        self.create("eventlog.bin", log.bytes())?;
        self.create("ak.der", machine.ak_der())?;
        self.create("ak-chain.pem", chain.concat().as_bytes())?;
        match (machine.snp(), vendor.hardware()) {
            (Some(machine), _) => self.create_amd(machine)?,
            (None, Hardware::Tdx(intel)) => self.create_intel(&intel.collateral()?)?,
            (None, Hardware::Snp(_)) => {}
        }
        self.create("policy.toml", policy::azure(&config).as_bytes())?;
        Ok("evidence.json")
    }

    fn nvidia(&self, nonce: &[u8; 32]) -> Result<&'static str, CliError> {
        let vendor = NvidiaVendor::load(self.vendor, now()?)?;
        let gpu = vendor.gpu()?;
        let list = serde_json::to_vec_pretty(&json!([{
            "arch": "HOPPER",
            "certificate": BASE64_STANDARD.encode(gpu.chain_pem()),
            "evidence": BASE64_STANDARD.encode(gpu.report(nonce)?),
            "nonce": hex::encode(nonce),
        }]));
        let [driver, vbios] = vendor.manifests()?;
        let rim = [&driver, &vbios].map(|manifest| manifest.as_bytes().to_vec()).to_vec();
        let bundle = EndorsementBundle::default().with_nvidia(vendor.answers([&gpu])?, rim);
        files::create_dir(self.out)?;
        self.create("gpus.json", &list.map_err(|_| CliError::Render)?)?;
        self.create("driver.xml", driver.as_bytes())?;
        self.create("vbios.xml", vbios.as_bytes())?;
        self.create("endorsements.json", &bundle.to_bytes()?)?;
        self.create("policy.toml", policy::nvidia().as_bytes())?;
        Ok("gpus.json")
    }

    /// What AMD says of it, as files and as a bundle.
    fn create_amd(&self, machine: &Machine) -> Result<(), CliError> {
        let (vek, crl) = (machine.vek_der(), machine.crl_der());
        self.create("vek.der", vek)?;
        self.create("crl.der", crl)?;
        let bundle = EndorsementBundle::default().with_amd(vek.to_vec(), crl.to_vec());
        self.create("endorsements.json", &bundle.to_bytes()?)
    }

    /// What Intel says of it, as a file and as a bundle.
    fn create_intel(&self, collateral: &[u8]) -> Result<(), CliError> {
        self.create("collateral.json", collateral)?;
        let collateral: Collateral = serde_json::from_slice(collateral).map_err(|_| CliError::Render)?;
        let bundle = EndorsementBundle::default().with_intel(collateral);
        self.create("endorsements.json", &bundle.to_bytes()?)
    }

    fn create(&self, name: &str, bytes: &[u8]) -> Result<(), CliError> {
        files::create(&self.out.join(name), bytes, PUBLIC)
    }
}

/// Whom it is taken for.
fn vendor(platform: Platform) -> &'static str {
    use casemate_attest::Platform as Verified;
    kind::vendor(match platform {
        Platform::Nvidia => return kind::Kind::Devices.vendor(),
        Platform::SevSnp => Verified::SevSnp,
        Platform::Tdx => Verified::Tdx,
        Platform::Nitro => Verified::Nitro,
        Platform::AzureSnp => Verified::AzureVtpm,
        Platform::AzureTdx => Verified::AzureVtpmTdx,
    })
}

/// For people.
fn of(platform: Platform) -> &'static str {
    match platform {
        Platform::SevSnp => "a simulated vendor of SEV-SNP",
        Platform::Tdx => "a simulated vendor of TDX",
        Platform::Nitro => "a simulated vendor of Nitro Enclaves",
        Platform::AzureSnp => "a simulated vendor of Azure on SEV-SNP",
        Platform::AzureTdx => "a simulated vendor of Azure on TDX",
        Platform::Nvidia => "a simulated vendor of NVIDIA GPUs",
    }
}
