//! The simulator against recorded evidence: certificates, revocation lists and reports that AMD's key servers
//! and firmware made. Recorded files lie in `CASEMATE_VECTORS`, else in `../shared/vectors` beside the workspace;
//! where neither exists, each case is reported as ignored.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use casemate_attest::UnixTime;
use casemate_attest::snp::ProductLine;
use casemate_sim::{
    Cpuid, CrlMistake, FirmwareVersion, MachineConfig, PssParameters, SIGNED_BYTES, Signer, Tcb, Vendor,
    launch_digest_at,
};
use libtest_mimic::{Arguments, Failed, Trial};

/// 2022-06-01: 25 years later is before 2050, where the form of a time changes, as it is for AMD's roots.
const NOW: UnixTime = UnixTime(1_654_041_600);

type Case = fn(&Path) -> Result<(), Failed>;

const CASES: &[(&str, Case)] = &[
    ("certificate::milan_vcek_with_explicit_parameters", |v| {
        let config = MachineConfig { pss_parameters: PssParameters::Explicit, ..milan() };
        same_vek(v, "snp/trustee_milan/vcek.der", ProductLine::Milan, config)
    }),
    ("certificate::milan_vcek_with_implicit_parameters", |v| {
        same_vek(v, "snp/clerk_milan/vcek_chain.pem", ProductLine::Milan, milan())
    }),
    ("certificate::milan_vlek", |v| {
        same_vek(
            v,
            "snp/trustee_vlek/vlek.der",
            ProductLine::Milan,
            MachineConfig { signer: Signer::Vlek, ..milan() },
        )
    }),
    ("certificate::genoa_vcek", |v| {
        same_vek(v, "snp/clerk_genoa/vcek_chain.pem", ProductLine::Genoa, genoa())
    }),
    ("certificate::turin_vcek", |v| {
        same_vek(v, "snp/clerk_turin/vcek_chain.pem", ProductLine::Turin, turin())
    }),
    ("certificate::milan_authorities", |v| same_roots(v, "milan", ProductLine::Milan)),
    ("certificate::genoa_authorities", |v| same_roots(v, "genoa", ProductLine::Genoa)),
    ("certificate::turin_authorities", |v| same_roots(v, "turin", ProductLine::Turin)),
    ("crl::milan_without_entries", |v| {
        same_shape(&fs::read(v.join("roots/amd/milan_crl.der"))?, vendor(ProductLine::Milan).crl_der())
    }),
    ("crl::genoa_with_one_entry", |v| {
        let recorded = fs::read(v.join("roots/amd/genoa_crl.der"))?;
        same_shape(&recorded, &vendor(ProductLine::Genoa).crl_with(&CrlMistake::RevokesStranger)?)
    }),
    ("report::v2_milan_with_identity", |v| {
        let tcb = Tcb { fmc: 0, bootloader: 3, tee: 0, snp: 8, microcode: 0x73 };
        let version = FirmwareVersion { major: 1, minor: 52, build: 4 };
        let config = MachineConfig {
            report_version: 2,
            guest_svn: 2,
            policy: 0x3_001f,
            platform_info: 0x01,
            current_version: version,
            committed_version: version,
            ..milan().with_all_tcbs(tcb)
        };
        same_report(v, "snp/clerk_default", ProductLine::Milan, config)
    }),
    ("report::v3_milan_vlek_at_vmpl_1", |v| {
        let tcb = |microcode| Tcb { fmc: 0, bootloader: 4, tee: 0, snp: 0x18, microcode };
        let version = FirmwareVersion { major: 1, minor: 55, build: 0x1d };
        let config = MachineConfig {
            report_version: 3,
            vmpl: 1,
            signer: Signer::Vlek,
            platform_info: 0x27,
            tcb: tcb(0xd9),
            current_tcb: tcb(0xdc),
            committed_tcb: tcb(0xdb),
            launch_tcb: tcb(0xdb),
            current_version: version,
            committed_version: version,
            ..milan()
        };
        same_report(v, "snp/trustee_vlek", ProductLine::Milan, config)
    }),
    ("report::v5_genoa", |v| {
        let tcb = Tcb { fmc: 0, bootloader: 0x0a, tee: 0, snp: 0x1b, microcode: 0x58 };
        same_report(v, "snp/clerk_v5", ProductLine::Genoa, genoa().with_all_tcbs(tcb))
    }),
    ("report::v5_turin", |v| {
        let tcb = Tcb { fmc: 0, bootloader: 1, tee: 0, snp: 2, microcode: 0x47 };
        let version = FirmwareVersion { major: 1, minor: 55, build: 0x3d };
        let config = MachineConfig {
            platform_info: 0x67,
            cpuid: Cpuid { family: 0x1a, model: 2, stepping: 1 },
            current_version: version,
            committed_version: version,
            ..turin().with_all_tcbs(tcb)
        };
        same_report(v, "snp/clerk_turin", ProductLine::Turin, config)
    }),
    // What `calc_snp_ovmf_hash` of the crate `sev` 8.0.0 says of these files.
    ("launch::amd_sev_firmware", |v| {
        same_launch(
            v,
            "AmdSev",
            "086e2e9149ebf45abdc3445fba5b2da8270bdbb04094d7a2c37faaa4b24af3aa16aff8c374c2a55c467a50da6d466b74",
        )
    }),
    ("launch::ovmf_x64_firmware", |v| {
        same_launch(
            v,
            "OvmfX64",
            "b91e6fec73d2bcc57ad5fd400a426ce02731c22ea92bc894ce675e7c9921a822977d6cf025b85f8ef4f264bff8839d20",
        )
    }),
];

fn main() {
    let vectors = vectors_dir();
    let trials = CASES.iter().map(|(name, case)| match vectors.clone() {
        Some(vectors) => Trial::test(*name, move || case(&vectors)),
        None => Trial::test(*name, || Ok(())).with_ignored_flag(true),
    });
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit();
}

fn vectors_dir() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors");
    let dir = std::env::var_os("CASEMATE_VECTORS").map_or_else(beside, PathBuf::from);
    dir.join("snp").is_dir().then_some(dir)
}

fn vendor(line: ProductLine) -> &'static Vendor {
    static VENDORS: [OnceLock<Vendor>; 3] = [const { OnceLock::new() }; 3];
    let index = match line {
        ProductLine::Milan => 0,
        ProductLine::Genoa => 1,
        _ => 2,
    };
    VENDORS[index].get_or_init(|| Vendor::create(line, NOW).expect("a vendor"))
}

fn milan() -> MachineConfig {
    MachineConfig::for_line(ProductLine::Milan, 5, [0; 48])
}

fn genoa() -> MachineConfig {
    MachineConfig::new([0; 48])
}

fn turin() -> MachineConfig {
    MachineConfig::for_line(ProductLine::Turin, 5, [0; 48])
}

fn same_vek(vectors: &Path, file: &str, line: ProductLine, config: MachineConfig) -> Result<(), Failed> {
    let recorded = first_certificate(&fs::read(vectors.join(file))?)?;
    same_shape(&recorded, vendor(line).machine(&config)?.vek_der())
}

fn same_roots(vectors: &Path, recorded: &str, line: ProductLine) -> Result<(), Failed> {
    // AMD's bundles are issuer first, ours root first.
    let chain = |kind: &str| -> Result<Vec<Vec<u8>>, Failed> {
        certificates(&fs::read(vectors.join(format!("roots/amd/{recorded}_{kind}_ark.pem")))?)
    };
    let (vcek, vlek) = (chain("vcek_ask")?, chain("vlek_asvk")?);
    let ours = certificates(vendor(line).root_pem().as_bytes())?;
    for (ours, theirs) in ours.iter().zip([&vcek[1], &vcek[0], &vlek[0]]) {
        same_shape(theirs, ours)?;
    }
    Ok(())
}

/// The same elements in the same order, with the same object identifiers, flags, serial numbers and names;
/// keys, identifiers, signatures, dates and the organization differ.
fn same_shape(recorded: &[u8], simulated: &[u8]) -> Result<(), Failed> {
    let (recorded, simulated) = (shape(recorded)?, shape(simulated)?);
    for (number, (recorded, simulated)) in recorded.iter().zip(&simulated).enumerate() {
        if recorded != simulated {
            return Err(format!("element {number}: recorded {recorded}, simulated {simulated}").into());
        }
    }
    if recorded.len() != simulated.len() {
        return Err(format!("recorded {} elements, simulated {}", recorded.len(), simulated.len()).into());
    }
    Ok(())
}

fn shape(der: &[u8]) -> Result<Vec<String>, Failed> {
    let mut out = Vec::new();
    walk(der, 0, "", &mut out)?;
    Ok(out)
}

/// The depth of an extension's value, after certificate, signed part, `[3]`, list and extension.
const EXTENSION_VALUE: usize = 5;
/// Certificate extensions whose values are compared as they are: AMD's structure version and product name, key usage,
/// basic constraints.
const COMPARED_EXTENSIONS: [&str; 4] = ["2b060104019c780101", "2b060104019c780102", "551d0f", "551d13"];
/// AMD's HWID: bare bytes.
const HWID: &str = "2b060104019c780104";

/// One line for each element: depth, tag, and the value where a value is structure. `owner` is the object identifier
/// that an element inside of an extension belongs to.
fn walk(mut der: &[u8], depth: usize, owner: &str, out: &mut Vec<String>) -> Result<(), Failed> {
    let mut owner = owner.to_owned();
    while !der.is_empty() {
        let (tag, value, rest) = element(der).ok_or("malformed DER")?;
        der = rest;
        let extension_value = tag == 0x04 && depth == EXTENSION_VALUE;
        if tag == 0x06 {
            owner = hex::encode(value);
        }
        let said = match tag {
            0x06 => owner.clone(),
            0x01 | 0x05 => hex::encode(value),
            // Versions, serial numbers, salt lengths and trailer fields. The rest (the serial numbers that a list
            // revokes, keys, security version numbers) differs.
            0x02 if matches!(depth, 2 | 3 | 5) => hex::encode(value),
            0x0c if value == b"Advanced Micro Devices" => casemate_sim::ORGANIZATION.to_owned(),
            0x0c | 0x13 => String::from_utf8_lossy(value).into_owned(),
            0x03 => format!("{} bytes", value.len()),
            0x04 if extension_value && COMPARED_EXTENSIONS.contains(&owner.as_str()) => hex::encode(value),
            0x04 if extension_value && owner == HWID => format!("{} bytes", value.len()),
            _ => String::new(),
        };
        out.push(format!("{depth} {tag:02x} {said}"));
        let constructed = tag & 0x20 != 0;
        if constructed || (extension_value && owner != HWID) {
            walk(value, depth + 1, &owner, out)?;
        }
    }
    Ok(())
}

/// Tag, value, and what follows the first element.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
        (bytes.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)), rest)
    };
    let (value, rest) = rest.split_at_checked(length)?;
    Some((tag, value, rest))
}

/// The whole signed part, byte for byte: what the configuration says must be what the firmware wrote. Values that mean
/// nothing here (digests, identifiers) are taken from the recorded report.
fn same_report(
    vectors: &Path,
    directory: &str,
    line: ProductLine,
    mut config: MachineConfig,
) -> Result<(), Failed> {
    let recorded = fs::read(vectors.join(directory).join("report.bin"))?;
    let take = |at: usize, length: usize| recorded[at..at + length].to_vec();
    config.family_id.copy_from_slice(&take(0x010, 16));
    config.image_id.copy_from_slice(&take(0x020, 16));
    config.launch_digest.copy_from_slice(&take(0x090, 48));
    config.host_data.copy_from_slice(&take(0x0c0, 32));
    config.id_key_digest.copy_from_slice(&take(0x0e0, 48));
    config.author_key_digest.copy_from_slice(&take(0x110, 48));
    if config.signer == Signer::Vcek {
        config.chip_id.copy_from_slice(&take(0x1a0, 64));
    }
    let report_data: [u8; 64] = take(0x050, 64).try_into().expect("64 bytes");
    let machine = vendor(line).machine(&config)?;
    let mut simulated = machine.report(&report_data)?;
    if simulated.len() != recorded.len() {
        return Err(format!("{} bytes instead of {}", simulated.len(), recorded.len()).into());
    }
    simulated[0x140..0x160].copy_from_slice(&take(0x140, 32)); // REPORT_ID is drawn
    for at in 0..SIGNED_BYTES {
        if simulated[at] != recorded[at] {
            return Err(
                format!("{at:#05x}: recorded {:02x}, simulated {:02x}", recorded[at], simulated[at]).into()
            );
        }
    }
    // Of the signature only the zeros can be compared: the tails of R and S, and the padding.
    for zeros in [0x2d0..0x2e8, 0x318..0x330, 0x330..0x4a0] {
        if simulated[zeros.clone()].iter().chain(&recorded[zeros.clone()]).any(|byte| *byte != 0) {
            return Err(format!("{zeros:#x?} is not zero").into());
        }
    }
    Ok(())
}

/// The digest of recorded firmware, which is loaded so that it ends at 4 GiB.
fn same_launch(vectors: &Path, firmware: &str, expected: &str) -> Result<(), Failed> {
    let image = fs::read(vectors.join(format!("measurement/ovmf_{firmware}_suffix.bin")))?;
    let digest = hex::encode(launch_digest_at((4 << 30) - image.len() as u64, &image));
    if digest == expected { Ok(()) } else { Err(format!("{digest} instead of {expected}").into()) }
}

/// The first certificate of a PEM file, or a DER file as it is.
fn first_certificate(file: &[u8]) -> Result<Vec<u8>, Failed> {
    if file.first() == Some(&0x30) {
        return Ok(file.to_vec());
    }
    certificates(file)?.into_iter().next().ok_or_else(|| "no certificate".into())
}

fn certificates(pem: &[u8]) -> Result<Vec<Vec<u8>>, Failed> {
    use rustls_pki_types::pem::PemObject;
    rustls_pki_types::CertificateDer::pem_slice_iter(pem)
        .map(|certificate| certificate.map(|der| der.to_vec()).map_err(|error| error.to_string().into()))
        .collect()
}
