//! Simulated virtual machines of Azure, on SEV-SNP and on TDX: evidence passes the production verifier under the simulator's roots,
//! and under no others. One mistake each is refused by its name.

use std::sync::OnceLock;

use casemate_attest::azure::{AzurePolicy, HardwareClaims};
use casemate_attest::eventlog::{EventLog as ReadLog, LogPolicy, LogTerms, RegisterTerms};
use casemate_attest::snp::{ProductLine, SnpPolicy};
use casemate_attest::tdx::TdxPolicy;
use casemate_attest::{
    Authentic, Binding, Danger, Endorsements, Evidence, Expected, Outcome, Policy, Revocation, TrustAnchors,
    UnixTime, Verified, verify,
};
use casemate_sim::azure::{AkMistake, AzureConfig, AzureMistake, AzureVendor, Hardware, HardwareConfig};
use casemate_sim::tdx::{CollateralMistake, QuoteMistake, TdxConfig};
use casemate_sim::{EventLog, MachineConfig, Platform, Signer};
use tempfile::TempDir;

const NOW: UnixTime = UnixTime(1_795_478_400);
const DAY: u64 = 86_400;
const MEASUREMENT: [u8; 48] = [0x4d; 48];
const NONCE: [u8; 32] = [0x52; 32];

fn on_snp() -> &'static AzureVendor {
    static VENDOR: OnceLock<AzureVendor> = OnceLock::new();
    VENDOR.get_or_init(|| AzureVendor::on_snp(ProductLine::Genoa, NOW).expect("a vendor"))
}

fn on_tdx() -> &'static AzureVendor {
    static VENDOR: OnceLock<AzureVendor> = OnceLock::new();
    VENDOR.get_or_init(|| AzureVendor::on_tdx(NOW).expect("a vendor"))
}

fn both() -> [&'static AzureVendor; 2] {
    [on_snp(), on_tdx()]
}

fn healthy(vendor: &AzureVendor) -> AzureConfig {
    AzureConfig::new(match vendor.hardware() {
        Hardware::Snp(_) => HardwareConfig::Snp(Box::new(MachineConfig::new(MEASUREMENT))),
        Hardware::Tdx(_) => HardwareConfig::Tdx(Box::new(TdxConfig::new(MEASUREMENT))),
    })
}

/// What a verifier is given.
struct Attempt {
    evidence: Vec<u8>,
    endorsements: Endorsements,
    anchors: TrustAnchors,
    now: UnixTime,
    terms: AzurePolicy,
    log: Option<Vec<u8>>,
}

impl Attempt {
    fn of(vendor: &AzureVendor, config: &AzureConfig) -> Self {
        let machine = vendor.machine(config).expect("a machine");
        let endorsements = match (machine.snp(), vendor.hardware()) {
            (Some(snp), _) => {
                Endorsements::snp(snp.vek_der().to_vec(), Revocation::Crl(snp.crl_der().to_vec()))
            }
            (None, Hardware::Tdx(intel)) => Endorsements::tdx(intel.collateral().expect("collateral")),
            (None, Hardware::Snp(_)) => panic!("a machine on SEV-SNP has its VEK"),
        };
        Self {
            evidence: machine.evidence(&NONCE).expect("evidence"),
            endorsements: endorsements
                .with_ak_certificate(machine.ak_der().to_vec(), machine.ak_issuers().to_vec()),
            anchors: under(&vendor.root_pem()),
            now: NOW,
            terms: strict(vendor),
            log: None,
        }
    }

    fn authenticate(&self) -> Result<Authentic, &'static str> {
        let evidence = Evidence::parse(&self.evidence).map_err(|error| error.code())?;
        verify(&evidence, &self.endorsements, &self.anchors, self.now).map_err(|rejected| rejected.code())
    }

    fn verdict(&self) -> Result<Verified, &'static str> {
        let mut authentic = self.authenticate()?;
        if let Some(log) = &self.log {
            authentic = authentic.with_event_log(ReadLog::parse(log).map_err(|error| error.code())?);
        }
        let policy = Policy::for_azure(self.terms.clone());
        authentic.appraise(&policy, &Binding::qualifying_data(NONCE.to_vec())).map_err(|denied| denied.code())
    }
}

/// Nothing is waived but whose machine it is and what the guest bound.
fn strict(vendor: &AzureVendor) -> AzurePolicy {
    let pcrs = EventLog::simulated_vm().pcrs();
    let pcrs = pcrs.into_iter().map(|(pcr, value)| (pcr, Expected::OneOf(vec![value]))).collect();
    let measurement = Expected::OneOf(vec![MEASUREMENT]);
    let mut terms = match vendor.hardware() {
        Hardware::Snp(_) => AzurePolicy::strict(SnpPolicy::strict(measurement), pcrs),
        Hardware::Tdx(_) => AzurePolicy::strict_tdx(TdxPolicy::strict(measurement), pcrs),
    };
    terms.ak_uncertified = Danger::Refuse;
    terms
}

fn under(pem: &str) -> TrustAnchors {
    TrustAnchors::danger_only_pem(pem).expect("a danger bundle")
}

fn refused(what: &str, attempt: &Attempt, code: &str) {
    match attempt.verdict() {
        Ok(_) => panic!("{what}: verified instead of {code}"),
        Err(found) => assert_eq!(found, code, "{what}"),
    }
}

#[test]
fn healthy_machines_are_verified_and_simulated() {
    for vendor in both() {
        let what = vendor.platform();
        let verified =
            Attempt::of(vendor, &healthy(vendor)).verdict().unwrap_or_else(|code| panic!("{what}: {code}"));
        assert!(verified.simulated(), "{what}");
        assert_eq!(verified.report_data(), &NONCE, "{what}");
        assert_eq!(verified.claims().measurement(), &MEASUREMENT, "{what}");
        let certified = verified.checks().iter().find(|check| check.rule.id == "AZ-11").expect("a rule");
        assert_eq!(certified.outcome, Outcome::Pass, "{what}: the key is certified");
        let claims = verified.claims().azure().expect("Azure");
        assert!(claims.secure_boot && claims.tpm_enabled && !claims.console_enabled, "{what}");
        assert_eq!(
            matches!(claims.hardware, HardwareClaims::Tdx(_)),
            vendor.platform() == Platform::AzureTdx,
            "{what}"
        );
    }
}

#[test]
fn other_hardware_underneath_is_accepted_too() {
    let HardwareConfig::Snp(snp) = healthy(on_snp()).hardware else { panic!("on SEV-SNP") };
    let vlek = MachineConfig { signer: Signer::Vlek, ..*snp };
    let mut attempt = Attempt::of(on_snp(), &AzureConfig::new(HardwareConfig::Snp(Box::new(vlek))));
    let mut terms = SnpPolicy::strict(Expected::OneOf(vec![MEASUREMENT]));
    terms.vlek_providers = vec![casemate_sim::CSP_ID.to_owned()];
    attempt.terms.snp = casemate_attest::PlatformPolicy::Accepted(terms);
    attempt.verdict().expect("a VLEK");
    for format in casemate_sim::tdx::QuoteFormat::ALL {
        let config = TdxConfig { format, ..TdxConfig::new(MEASUREMENT) };
        let attempt = Attempt::of(on_tdx(), &AzureConfig::new(HardwareConfig::Tdx(Box::new(config))));
        attempt.verdict().unwrap_or_else(|code| panic!("{format:?}: {code}"));
    }
}

#[test]
fn no_other_roots_accept_it() {
    let [snp, tdx] = both();
    for (vendor, other, foreign) in [(snp, tdx, "snp.root.missing"), (tdx, snp, "tdx.root.missing")] {
        let (production, stranger, same) = match vendor.hardware() {
            Hardware::Snp(_) => {
                let stranger = casemate_sim::Vendor::create(ProductLine::Genoa, NOW).expect("a vendor");
                ("x509.unknown-issuer", stranger.root_pem(), "x509.signature")
            }
            Hardware::Tdx(_) => {
                let stranger = casemate_sim::tdx::TdxVendor::create(NOW).expect("a vendor");
                ("tdx.dcap.refused", stranger.root_pem(), "tdx.dcap.refused")
            }
        };
        let hardware_only = match vendor.hardware() {
            Hardware::Snp(amd) => amd.root_pem(),
            Hardware::Tdx(intel) => intel.root_pem(),
        };
        for (what, anchors, code) in [
            ("production", TrustAnchors::vendors(), production),
            ("another silicon vendor", under(&stranger), same),
            ("the other hardware", under(&other.root_pem()), foreign),
            ("the silicon vendor alone", under(&hardware_only), "tpm.certificate.root-missing"),
        ] {
            let what = format!("{what}, {}", vendor.platform());
            refused(&what, &Attempt { anchors, ..Attempt::of(vendor, &healthy(vendor)) }, code);
        }
    }
}

#[test]
fn paravisor_and_tpm() {
    use AzureMistake as M;
    for vendor in both() {
        let mut cases = vec![
            (M::RuntimeNotBound, "azure.binding"),
            (M::BoundWithMore, "azure.binding"),
            (M::TwoKeys, "azure.runtime.key-duplicate"),
            (M::QuoteByStranger, "tpm.quote.signature"),
            (M::OtherPcrValues, "tpm.quote.digest"),
            (M::OnePcrLess, "tpm.quote.selection"),
            (M::BankSha1, "tpm.quote.bank"),
        ];
        if vendor.platform() == Platform::AzureTdx {
            cases.push((M::OtherTdReport, "azure.hardware.td-quote"));
        }
        for (mistake, code) in cases {
            let config = AzureConfig { mistake, ..healthy(vendor) };
            refused(&format!("{mistake:?} {}", vendor.platform()), &Attempt::of(vendor, &config), code);
        }
    }
}

#[test]
fn attestation_key_certificates() {
    use AkMistake as M;
    let past = M::Validity { not_before: UnixTime(NOW.0 - 9 * DAY), not_after: UnixTime(NOW.0 - 1) };
    for (mistake, code) in [
        (M::OtherKey, "tpm.certificate.other-key"),
        (M::NotForTpms, "tpm.certificate.purpose"),
        (M::OtherRoot, "x509.signature"),
        (M::IsAuthority, "x509.leaf-is-authority"),
        (past, "x509.expired"),
    ] {
        for vendor in both() {
            let config = AzureConfig { ak: mistake.clone(), ..healthy(vendor) };
            refused(&format!("{mistake:?} {}", vendor.platform()), &Attempt::of(vendor, &config), code);
        }
    }
}

#[test]
fn machines_that_a_policy_refuses() {
    type Change = (&'static str, fn(&mut AzureConfig), &'static str);
    let changes: &[Change] = &[
        ("console", |c| c.console_enabled = true, "azure.console.enabled"),
        ("no secure boot", |c| c.secure_boot = false, "azure.secure-boot.off"),
        ("another PCR 4", |c| c.pcrs[4].1 = [1; 32], "azure.pcr.not-accepted"),
        ("fewer PCRs", |c| c.pcrs.truncate(8), "azure.pcr.selection"),
    ];
    for vendor in both() {
        for (what, change, code) in changes {
            let mut config = healthy(vendor);
            change(&mut config);
            refused(&format!("{what} {}", vendor.platform()), &Attempt::of(vendor, &config), code);
        }
        let mut uncertified = Attempt::of(vendor, &healthy(vendor));
        uncertified.endorsements = match vendor.hardware() {
            Hardware::Snp(amd) => {
                let machine = amd.machine(&MachineConfig::new(MEASUREMENT)).expect("a machine");
                Endorsements::snp(machine.vek_der().to_vec(), Revocation::Crl(machine.crl_der().to_vec()))
            }
            Hardware::Tdx(intel) => Endorsements::tdx(intel.collateral().expect("collateral")),
        };
        let code = match vendor.hardware() {
            // The VEK is that of another machine.
            Hardware::Snp(_) => "snp.signature.invalid",
            Hardware::Tdx(_) => "azure.ak.uncertified",
        };
        refused("without the key's certificate", &uncertified, code);
    }
}

/// What is wrong underneath is refused by the hardware's own rules.
#[test]
fn hardware() {
    let vmpl = MachineConfig { vmpl: 2, ..MachineConfig::new(MEASUREMENT) };
    let attempt = Attempt::of(on_snp(), &AzureConfig::new(HardwareConfig::Snp(Box::new(vmpl))));
    refused("VMPL 2", &attempt, "azure.hardware.vmpl");
    let quote = TdxConfig { quote: QuoteMistake::SignedByStranger, ..TdxConfig::new(MEASUREMENT) };
    let attempt = Attempt::of(on_tdx(), &AzureConfig::new(HardwareConfig::Tdx(Box::new(quote))));
    refused("quote by a stranger", &attempt, "tdx.signature.invalid");
    let Hardware::Tdx(intel) = on_tdx().hardware() else { panic!("on TDX") };
    let collateral = intel.collateral_with(&CollateralMistake::PlatformStatus("OutOfDate", &[]));
    let mut attempt = Attempt::of(on_tdx(), &healthy(on_tdx()));
    attempt.endorsements = Endorsements::tdx(collateral.expect("collateral"));
    refused("out of date", &attempt, "tdx.tcb.status");
    let error = on_snp().machine(&healthy(on_tdx())).expect_err("of other hardware");
    assert_eq!(error.code(), "sim.load.other-platform");
}

#[test]
fn the_log_of_the_boot_is_accepted() {
    for vendor in both() {
        let log = EventLog::simulated_vm();
        let mut attempt = Attempt::of(vendor, &healthy(vendor));
        let required = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, b"SIMULATED boot, PCR 4");
        let terms = RegisterTerms {
            events: Expected::any("a case of the replay"),
            required: vec![required.as_ref().to_vec()],
        };
        attempt.terms.event_log = LogPolicy::Demanded(LogTerms {
            registers: [(4, terms)].into(),
            other_registers: Danger::Allow { reason: "a case of PCR 4".to_owned() },
        });
        refused("no log", &attempt, "log.missing");
        attempt.log = Some(log.bytes().to_vec());
        attempt.verdict().unwrap_or_else(|code| panic!("{}: {code}", vendor.platform()));
        let mut longer = log.clone();
        longer.measure(4, casemate_sim::EV_IPL, b"one event more");
        attempt.log = Some(longer.bytes().to_vec());
        refused("an event more", &attempt, "log.register.mismatch");
    }
}

#[test]
fn what_was_saved_is_loaded() {
    for vendor in both() {
        let directory = TempDir::new().expect("a directory");
        vendor.save(directory.path()).expect("saved");
        assert_eq!(Platform::of(directory.path()), Ok(vendor.platform()));
        let loaded = AzureVendor::load(directory.path(), NOW).expect("loaded");
        assert_eq!(loaded.root_pem(), vendor.root_pem());
        assert_eq!(
            std::fs::read_to_string(directory.path().join("roots.pem")).expect("text"),
            vendor.root_pem()
        );
        let attempt =
            Attempt { anchors: under(&vendor.root_pem()), ..Attempt::of(&loaded, &healthy(&loaded)) };
        attempt.verdict().unwrap_or_else(|code| panic!("{}: {code}", vendor.platform()));
        let error = casemate_sim::Vendor::load(directory.path()).expect_err("of another platform");
        assert_eq!(error.code(), "sim.load.other-platform");
        std::fs::remove_dir_all(directory.path().join("hardware")).expect("removed");
        let error = AzureVendor::load(directory.path(), NOW).expect_err("no hardware");
        // A directory that does not say what it is counts as one of SEV-SNP.
        let code =
            if vendor.platform() == Platform::AzureSnp { "sim.file" } else { "sim.load.other-platform" };
        assert_eq!(error.code(), code);
    }
}
