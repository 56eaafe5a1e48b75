//! Azure machines on TDX under a made-up Intel and a made-up Microsoft: no recording has its collateral. The whole of verification
//! and appraisal, with a policy that waives nothing but the module's own measurement and RTMR3, and one change each.

use std::sync::LazyLock;

use casemate_attest::eventlog::EventLog as ReadLog;
use casemate_attest::{
    Binding, Check, Endorsements, Evidence, Outcome, Platform, Policy, TrustAnchors, UnixTime, rules, verify,
};
use casemate_sim::azure::{
    AkMistake, AzureConfig, AzureMachine, AzureMistake, AzureVendor, Hardware, HardwareConfig,
};
use casemate_sim::tdx::{CollateralMistake, PckMistake, QuoteFormat, QuoteMistake, TdxConfig, TdxVendor};
use casemate_sim::{EV_IPL, EventLog};

use crate::Case;

const NOON: UnixTime = UnixTime(1_767_268_800); // 2026-01-01T12:00:00Z
const MONTH: u64 = 31 * 86_400;
const NONCE: [u8; 32] = [0x6e; 32];
const USER_DATA: [u8; 64] = [0x75; 64];
const VM_ID: &str = "5EC0DE00-0000-4000-8000-0000000000A9";
const MRTD: [u8; 48] = [0x64; 48];
const TDX: &str = include_str!("../policies/tdx.toml");

static VENDOR: LazyLock<AzureVendor> = LazyLock::new(|| AzureVendor::on_tdx(NOON).expect("a vendor"));

fn intel() -> &'static TdxVendor {
    match VENDOR.hardware() {
        Hardware::Tdx(intel) => intel,
        Hardware::Snp(_) => panic!("on TDX"),
    }
}

/// What a verifier is given, and of what it is asked.
struct Asked {
    config: AzureConfig,
    nonce: Vec<u8>,
    collateral: CollateralMistake,
    certified: bool,
    anchors: TrustAnchors,
    now: UnixTime,
    policy: String,
    log: Option<EventLog>,
    evidence: fn(Vec<u8>) -> Vec<u8>,
}

impl Asked {
    fn new() -> Self {
        let mut td = TdxConfig::new(MRTD);
        td.rtmrs = [[0x65; 48], [0x66; 48], [0x67; 48], [0; 48]];
        let mut config = AzureConfig::new(HardwareConfig::Tdx(Box::new(td)));
        config.vm_id = VM_ID.to_owned();
        config.user_data = Some(USER_DATA);
        Self {
            policy: policy(&config),
            config,
            nonce: NONCE.to_vec(),
            collateral: CollateralMistake::None,
            certified: true,
            anchors: TrustAnchors::danger_only_pem(&VENDOR.root_pem()).expect("a danger bundle"),
            now: NOON,
            log: Some(EventLog::simulated_vm()),
            evidence: |evidence| evidence,
        }
    }

    fn td(&mut self) -> &mut TdxConfig {
        match &mut self.config.hardware {
            HardwareConfig::Tdx(td) => td,
            HardwareConfig::Snp(_) => panic!("on TDX"),
        }
    }

    fn endorsements(&self, machine: &AzureMachine) -> Endorsements {
        let endorsements = Endorsements::tdx(intel().collateral_with(&self.collateral).expect("collateral"));
        if !self.certified {
            return endorsements;
        }
        endorsements.with_ak_certificate(machine.ak_der().to_vec(), machine.ak_issuers().to_vec())
    }

    /// "verified", with what is waived; or the rule that failed, and the code.
    fn answer(self) -> String {
        let machine = VENDOR.machine(&self.config).expect("a machine");
        let bytes = (self.evidence)(machine.evidence(&self.nonce).expect("evidence"));
        let evidence = match Evidence::parse(&bytes) {
            Ok(evidence) => evidence,
            Err(error) => return error.code().to_owned(),
        };
        assert_eq!(evidence.platform(), Platform::AzureVtpmTdx);
        let failed = |checks: &[Check], code: &str| {
            let failed: Vec<_> = checks.iter().filter(|check| check.outcome == Outcome::Fail).collect();
            match failed[..] {
                [] => code.to_owned(),
                [failed] => format!("{} {code}", failed.rule.id),
                _ => panic!("one rule fails with {code}"),
            }
        };
        let mut authentic = match verify(&evidence, &self.endorsements(&machine), &self.anchors, self.now) {
            Ok(authentic) => authentic,
            Err(rejected) => return failed(&rejected.checks, rejected.code()),
        };
        if let Some(log) = &self.log {
            authentic = authentic.with_event_log(ReadLog::parse(log.bytes()).expect("a log"));
        }
        let policy = Policy::from_toml(&self.policy).expect("a policy");
        match authentic.appraise(&policy, &Binding::qualifying_data(NONCE.to_vec())) {
            Ok(verified) => {
                assert!(verified.simulated());
                assert_eq!(verified.claims().measurement(), &MRTD);
                let order: Vec<_> = rules::azure_vtpm_tdx().iter().map(|rule| rule.id).collect();
                let found: Vec<_> = verified.checks().iter().map(|check| check.rule.id).collect();
                assert_eq!(found[..order.len()], order, "every rule, in order");
                let waived = verified.checks().iter().filter(|check| check.outcome == Outcome::Waived);
                let waived: Vec<_> = waived.map(|check| check.rule.id).collect();
                format!("verified, waived: {}", waived.join(", "))
            }
            Err(denied) => failed(&denied.checks, denied.code()),
        }
    }
}

/// All that the machine says is asked for by its value, except for the module's own measurement and RTMR3.
fn policy(config: &AzureConfig) -> String {
    let pcrs: Vec<_> =
        config.pcrs.iter().map(|(index, value)| format!("{index} = [\"{}\"]", hex::encode(value))).collect();
    let register = |pcr: u32| {
        format!(
            "[azure.event-log.register.{pcr}]\nevents = [{{ text = \"SIMULATED boot, PCR {pcr}\" }}, \"{}\"]\n\
             required = [{{ text = \"SIMULATED boot, PCR {pcr}\" }}]\n",
            hex::encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &[0; 4]))
        )
    };
    let registers: String = (0..8).map(register).collect();
    let user_data = hex::encode(config.user_data.expect("there is some"));
    format!(
        "[azure]\nvm-id = [\"{}\"]\nuser-data = [\"{user_data}\"]\npcrs = {{ {} }}\n{registers}\n{}",
        config.vm_id,
        pcrs.join(", "),
        TDX.replace("[tdx]", "[azure.tdx]"),
    )
}

fn made(change: impl FnOnce(&mut Asked)) -> String {
    let mut asked = Asked::new();
    change(&mut asked);
    asked.answer()
}

fn config(change: impl FnOnce(&mut AzureConfig)) -> String {
    made(|asked| change(&mut asked.config))
}

fn mistake(mistake: AzureMistake) -> String {
    config(|config| config.mistake = mistake)
}

fn td(change: impl FnOnce(&mut TdxConfig)) -> String {
    made(|asked| change(asked.td()))
}

fn under(pem: &str) -> String {
    made(|asked| asked.anchors = TrustAnchors::danger_only_pem(pem).expect("a danger bundle"))
}

fn replaced(from: &str, to: &str) -> String {
    made(|asked| {
        assert!(asked.policy.contains(from), "{from}");
        asked.policy = asked.policy.replacen(from, to, 1);
    })
}

const VERIFIED: &str = "verified, waived: TDX-14, TDX-24";

pub(crate) const MADE: &[Case] = &[
    ("made tdx: as it is", || made(|_| {}), VERIFIED),
    ("made tdx: version 5, TD 1.0", || td(|t| t.format = QuoteFormat::V5Td10), VERIFIED),
    ("made tdx: version 5, TD 1.5", || td(|t| t.format = QuoteFormat::V5Td15), VERIFIED),
    ("made tdx: version 5, extended", || td(|t| t.format = QuoteFormat::V5Td15Extended), VERIFIED),
    ("made tdx: in the last second of its collateral", || made(|a| a.now = last()), VERIFIED),
    // Genuine?
    (
        "made tdx: production's roots",
        || made(|a| a.anchors = TrustAnchors::vendors()),
        "TDX-06 tdx.dcap.refused",
    ),
    (
        "made tdx: no root of Intel's",
        || made(|a| a.anchors = TrustAnchors::vtpm()),
        "TDX-02 tdx.root.missing",
    ),
    ("made tdx: Intel's root alone", || under(&intel().root_pem()), "AZ-03 tpm.certificate.root-missing"),
    (
        "made tdx: another Intel of the same name",
        || under(&TdxVendor::create(NOON).expect("a vendor").root_pem()),
        "TDX-06 tdx.dcap.refused",
    ),
    (
        "made tdx: a second later",
        || made(|a| a.now = UnixTime(last().0 + 1)),
        "TDX-04 tdx.collateral.expired",
    ),
    ("made tdx: the quote of another machine", other_quote, "AZ-01 azure.hardware.td-quote"),
    ("made tdx: another TDREPORT", || mistake(AzureMistake::OtherTdReport), "AZ-01 azure.hardware.td-quote"),
    ("made tdx: runtime data not bound", || mistake(AzureMistake::RuntimeNotBound), "AZ-02 azure.binding"),
    ("made tdx: a byte behind the hash", || mistake(AzureMistake::BoundWithMore), "AZ-02 azure.binding"),
    ("made tdx: two keys", || mistake(AzureMistake::TwoKeys), "AZ-03 azure.runtime.key-duplicate"),
    ("made tdx: certificate of another key", || ak(AkMistake::OtherKey), "AZ-03 tpm.certificate.other-key"),
    ("made tdx: certificate under another root", || ak(AkMistake::OtherRoot), "AZ-03 x509.signature"),
    (
        "made tdx: quote of another key",
        || mistake(AzureMistake::QuoteByStranger),
        "AZ-04 tpm.quote.signature",
    ),
    ("made tdx: other PCR values", || mistake(AzureMistake::OtherPcrValues), "AZ-05 tpm.quote.digest"),
    (
        "made tdx: TD quote by a stranger",
        || quote(QuoteMistake::SignedByStranger),
        "TDX-06 tdx.signature.invalid",
    ),
    ("made tdx: another quoting enclave", || quote(QuoteMistake::OtherQe), "TDX-06 tdx.qe.identity"),
    (
        "made tdx: a platform of another vendor",
        || td(|t| t.pck = PckMistake::OtherVendor),
        "TDX-06 tdx.collateral.signature",
    ),
    (
        "made tdx: the platform's authority is revoked",
        || made(|a| a.collateral = CollateralMistake::RevokesPlatformCa),
        "TDX-05 tdx.collateral.revoked",
    ),
    (
        "made tdx: the platform's TCB is revoked",
        || made(|a| a.collateral = CollateralMistake::PlatformStatus("Revoked", &[])),
        "TDX-07 tdx.tcb.revoked",
    ),
    ("made tdx: migratable", || td(|t| t.td_attributes |= 1 << 29), "TDX-08 tdx.td.migratable"),
    // Ours?
    (
        "made tdx: out of date",
        || made(|a| a.collateral = CollateralMistake::PlatformStatus("OutOfDate", &[])),
        "TDX-10 tdx.tcb.status",
    ),
    (
        "made tdx: an advisory",
        || made(|a| a.collateral = CollateralMistake::PlatformStatus("UpToDate", &["INTEL-SA-00615"])),
        "TDX-11 tdx.tcb.advisory",
    ),
    ("made tdx: debug", || td(|t| t.td_attributes |= 1), "TDX-16 tdx.td.debug"),
    ("made tdx: another paravisor", || td(|t| t.mr_td = [1; 48]), "TDX-20 tdx.mrtd.not-accepted"),
    ("made tdx: another RTMR2", || td(|t| t.rtmrs[2] = [1; 48]), "TDX-23 tdx.rtmr2.not-accepted"),
    ("made tdx: an owner", || td(|t| t.mr_owner = [1; 48]), "TDX-26 tdx.mrowner.not-accepted"),
    ("made tdx: secure boot off", || config(|c| c.secure_boot = false), "AZ-06 azure.secure-boot.off"),
    ("made tdx: a console", || config(|c| c.console_enabled = true), "AZ-07 azure.console.enabled"),
    (
        "made tdx: another machine",
        || replaced(VM_ID, "5EC0DE00-0000-4000-8000-0000000000AA"),
        "AZ-08 azure.vm-id.not-accepted",
    ),
    ("made tdx: another PCR 7", || config(|c| c.pcrs[7].1 = [1; 32]), "AZ-09 azure.pcr.not-accepted"),
    ("made tdx: eight PCRs", || config(|c| c.pcrs.truncate(8)), "AZ-09 azure.pcr.selection"),
    (
        "made tdx: other user data",
        || config(|c| c.user_data = Some([1; 64])),
        "AZ-10 azure.user-data.not-accepted",
    ),
    ("made tdx: no user data", || config(|c| c.user_data = None), "AZ-10 azure.user-data.absent"),
    ("made tdx: key without a certificate", || made(|a| a.certified = false), "AZ-11 azure.ak.uncertified"),
    ("made tdx: another nonce", || made(|a| a.nonce[31] ^= 1), "TDX-28 binding.report-data"),
    ("made tdx: half the nonce", || made(|a| a.nonce.truncate(16)), "TDX-28 binding.report-data"),
    // What it booted.
    ("made tdx: no log", || made(|a| a.log = None), "LOG-01 log.missing"),
    (
        "made tdx: an event more than was measured",
        || made(|a| a.log.as_mut().expect("a log").measure(4, EV_IPL, b"more")),
        "LOG-03 log.register.mismatch",
    ),
    ("made tdx: an event more, and measured", || measured(b"more"), "LOG-05 log.event.not-accepted"),
    (
        "made tdx: hardware of SEV-SNP only",
        || replaced(&TDX.replace("[tdx]", "[azure.tdx]"), SNP),
        "policy.platform-not-accepted",
    ),
];

/// Terms for the other hardware.
const SNP: &str = r#"
[azure.sev-snp]
measurement = { any = "a case" }
host-data = { any = "a case" }
id-key-digest = { any = "a case" }
author-key-digest = { any = "a case" }
family-id = { any = "a case" }
image-id = { any = "a case" }
chip-id = { any = "a case" }
vmpl = [0]
minimum-guest-svn = 0
minimum-report-version = 2
minimum-abi = { major = 0, minor = 0 }
guest-must = []
platform-must = []
launch-mitigations = 0
current-mitigations = 0
"#;

/// Intel's documents live for a month from the day before they are issued.
fn last() -> UnixTime {
    UnixTime(NOON.0 - 86_400 + MONTH)
}

fn ak(mistake: AkMistake) -> String {
    config(|config| config.ak = mistake)
}

fn quote(mistake: QuoteMistake) -> String {
    td(|td| td.quote = mistake)
}

/// The PCRs end where the longer log does; the policy knows them, and not the event.
fn measured(event: &[u8]) -> String {
    made(|asked| {
        let log = asked.log.as_mut().expect("a log");
        log.measure(4, EV_IPL, event);
        asked.config.pcrs = log.pcrs();
        let pcr4 = |config: &AzureConfig| format!("4 = [\"{}\"]", hex::encode(config.pcrs[4].1));
        let (before, after) = (pcr4(&Asked::new().config), pcr4(&asked.config));
        assert!(asked.policy.contains(&before));
        asked.policy = asked.policy.replacen(&before, &after, 1);
    })
}

/// Both machines are genuine.
fn other_quote() -> String {
    made(|asked| {
        asked.evidence = |evidence| {
            let other = VENDOR.machine(&Asked::new().config).expect("a machine");
            let other = other.evidence(&NONCE).expect("evidence");
            let read = |bytes: &[u8]| serde_json::from_slice::<serde_json::Value>(bytes).expect("JSON");
            let mut evidence = read(&evidence);
            evidence["td_quote"] = read(&other)["td_quote"].clone();
            evidence.to_string().into_bytes()
        };
    })
}
