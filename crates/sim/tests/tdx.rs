//! Simulated TDX: quotes of every version and body pass the production verifier under the simulator's root, say what the TD was
//! told to say, and pass under no other root. One mistake each is refused by its name.

use casemate_attest::tdx::{Body, ModuleSvn, PlatformFlag, TcbStatus, TdxPolicy};
use casemate_attest::{
    Authentic, Binding, Endorsements, Evidence, Expected, Outcome, Policy, TrustAnchors, UnixTime, Verified,
    verify,
};
use casemate_sim::tdx::{
    CollateralMistake, CollateralPart, PckMistake, QuoteFormat, QuoteMistake, TdxConfig, TdxVendor,
};
use casemate_sim::{EventLog, Platform, SimError};
use std::sync::OnceLock;
use tempfile::TempDir;

const NOW: UnixTime = UnixTime(1_795_478_400);
const DAY: u64 = 86_400;
const MRTD: [u8; 48] = [0x4d; 48];
const REPORT_DATA: [u8; 64] = [0x52; 64];

fn vendor() -> &'static TdxVendor {
    static VENDOR: OnceLock<TdxVendor> = OnceLock::new();
    VENDOR.get_or_init(|| TdxVendor::create(NOW).expect("a vendor"))
}

/// What a verifier is given.
struct Attempt {
    quote: Vec<u8>,
    collateral: Vec<u8>,
    anchors: TrustAnchors,
    now: UnixTime,
    terms: TdxPolicy,
}

impl Attempt {
    fn with(config: &TdxConfig, mistake: &CollateralMistake) -> Self {
        let machine = vendor().machine(config).expect("a machine");
        Self {
            quote: machine.quote(&REPORT_DATA).expect("a quote"),
            collateral: vendor().collateral_with(mistake).expect("collateral"),
            anchors: under(&vendor().root_pem()),
            now: NOW,
            terms: TdxPolicy::strict(Expected::OneOf(vec![MRTD])),
        }
    }

    fn of(config: &TdxConfig) -> Self {
        Self::with(config, &CollateralMistake::None)
    }

    fn authenticate(&self) -> Result<Authentic, &'static str> {
        let evidence = Evidence::parse(&self.quote).map_err(|error| error.code())?;
        let endorsements = Endorsements::tdx(self.collateral.clone());
        verify(&evidence, &endorsements, &self.anchors, self.now).map_err(|rejected| rejected.code())
    }

    fn verdict(&self) -> Result<Verified, &'static str> {
        let policy = Policy::for_tdx(self.terms.clone());
        let authentic = self.authenticate()?;
        authentic.appraise(&policy, &Binding::report_data(REPORT_DATA)).map_err(|denied| denied.code())
    }
}

fn under(pem: &str) -> TrustAnchors {
    TrustAnchors::danger_only_pem(pem).expect("a danger bundle")
}

fn healthy() -> TdxConfig {
    TdxConfig::new(MRTD)
}

fn refused(what: &str, attempt: &Attempt, code: &str) {
    match attempt.verdict() {
        Ok(_) => panic!("{what}: verified instead of {code}"),
        Err(found) => assert_eq!(found, code, "{what}"),
    }
}

#[test]
fn every_format_is_verified_and_simulated() {
    for format in QuoteFormat::ALL {
        let attempt = Attempt::of(&TdxConfig { format, ..healthy() });
        let verified = attempt.verdict().unwrap_or_else(|code| panic!("{format:?}: {code}"));
        assert!(verified.simulated(), "{format:?}");
        assert_eq!(verified.report_data(), &REPORT_DATA, "{format:?}");
        assert_eq!(verified.claims().measurement(), &MRTD, "{format:?}");
        assert!(!verified.checks().iter().any(|check| check.outcome == Outcome::NotReached), "{format:?}");
    }
}

#[test]
fn no_other_root_accepts_it() {
    let stranger = TdxVendor::create(NOW).expect("a vendor");
    let snp = casemate_sim::Vendor::create(casemate_attest::snp::ProductLine::Genoa, NOW).expect("a vendor");
    for format in QuoteFormat::ALL {
        for (what, anchors, code) in [
            ("production", TrustAnchors::vendors(), "tdx.dcap.refused"),
            ("Intel's root alone", TrustAnchors::intel_sgx(), "tdx.dcap.refused"),
            ("no root of Intel's", TrustAnchors::amd(), "tdx.root.missing"),
            ("another simulated vendor", under(&stranger.root_pem()), "tdx.dcap.refused"),
            ("a simulated vendor of SEV-SNP", under(&snp.root_pem()), "tdx.root.missing"),
        ] {
            let attempt = Attempt { anchors, ..Attempt::of(&TdxConfig { format, ..healthy() }) };
            refused(&format!("{what}, {format:?}"), &attempt, code);
        }
    }
    // With the collateral of the root that is asked, it is the platform that is foreign.
    let attempt = Attempt {
        anchors: under(&stranger.root_pem()),
        collateral: stranger.collateral().expect("collateral"),
        ..Attempt::of(&healthy())
    };
    refused("another vendor's root and collateral", &attempt, "tdx.collateral.signature");
}

/// A bundle may hold vendors of several platforms, and one of each.
#[test]
fn a_bundle_may_hold_several_platforms_vendors() {
    let snp = casemate_sim::Vendor::create(casemate_attest::snp::ProductLine::Genoa, NOW).expect("a vendor");
    let both = under(&format!("{}{}", snp.root_pem(), vendor().root_pem()));
    Attempt { anchors: both, ..Attempt::of(&healthy()) }.verdict().expect("verified");
    let twice = format!("{}{}", vendor().root_pem(), TdxVendor::create(NOW).expect("a vendor").root_pem());
    let error = TrustAnchors::danger_only_pem(&twice).expect_err("two roots");
    assert_eq!(error.code(), "anchors.duplicate");
}

/// Every field has a value of its own, so that no two can be confused.
#[test]
fn claims_are_what_the_td_was_told_to_say() {
    let config = TdxConfig {
        format: QuoteFormat::V5Td15,
        tee_tcb_svn: [6, 1, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        mr_seam: [0x21; 48],
        td_attributes: 1 << 28 | 1 << 30,
        xfam: 0xe7,
        mr_config_id: [0x22; 48],
        mr_owner: [0x23; 48],
        mr_owner_config: [0x24; 48],
        rtmrs: [[0x25; 48], [0x26; 48], [0x27; 48], [0x28; 48]],
        tee_tcb_svn2: [7, 1, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        mr_service_td: [0x29; 48],
        ..healthy()
    };
    let authentic = Attempt::of(&config).authenticate().expect("genuine");
    let claims = authentic.claims().tdx().expect("TDX").clone();
    assert_eq!((claims.quote_version, claims.body), (5, Body::Td15));
    assert_eq!((claims.tcb_status, claims.evaluation), (TcbStatus::UpToDate, 17));
    assert_eq!(claims.platform_flags, [PlatformFlag::CachedKeys, PlatformFlag::Smt]);
    assert_eq!(claims.tee_tcb_svn, config.tee_tcb_svn);
    assert_eq!(claims.launch_module, ModuleSvn { major: 1, minor: 6 });
    assert_eq!(claims.current_module, Some(ModuleSvn { major: 1, minor: 7 }));
    assert_eq!((claims.td_attributes, claims.xfam), (config.td_attributes, config.xfam));
    assert_eq!((claims.mr_seam, claims.mr_config_id), (config.mr_seam, config.mr_config_id));
    assert_eq!((claims.mr_owner, claims.mr_owner_config), (config.mr_owner, config.mr_owner_config));
    assert_eq!((claims.rtmrs, claims.mr_service_td), (config.rtmrs, Some(config.mr_service_td)));
    assert_eq!(authentic.claims().measurement(), &MRTD);
}

#[test]
fn the_rtmrs_are_those_of_the_log() {
    let log = EventLog::simulated_td();
    let read = casemate_attest::eventlog::EventLog::parse(log.bytes()).expect("a log");
    let replayed = read.unproven_registers(casemate_attest::eventlog::Bank::Sha384);
    let config = healthy().with_log(&log);
    for (register, rtmr) in (1..).zip(config.rtmrs).take(3) {
        assert_eq!(replayed[&register], rtmr, "register {register}");
    }
    assert_eq!((replayed.len(), config.rtmrs[3]), (3, [0; 48]));
    let vm = EventLog::simulated_vm();
    let read = casemate_attest::eventlog::EventLog::parse(vm.bytes()).expect("a log");
    let replayed = read.unproven_registers(casemate_attest::eventlog::Bank::Sha256);
    assert_eq!(replayed.len(), 8);
    for (pcr, value) in vm.pcrs().into_iter().take(8) {
        assert_eq!(replayed[&pcr.into()], value, "PCR {pcr}");
    }
}

#[test]
fn pck_certificates() {
    use PckMistake as M;
    for (mistake, code) in [
        (
            M::Validity { not_before: UnixTime(NOW.0 - 9 * DAY), not_after: UnixTime(NOW.0 - 1) },
            "tdx.collateral.expired",
        ),
        (
            M::Validity { not_before: UnixTime(NOW.0 + 1), not_after: UnixTime(NOW.0 + DAY) },
            "tdx.collateral.not-yet-valid",
        ),
        (M::OtherFmspc([0x50, 0x80, 0x6f, 0, 0, 0]), "tdx.tcb-info.platform"),
        (M::OtherPceId([1, 0]), "tdx.tcb-info.platform"),
        (M::NoExtension, "tdx.collateral.malformed"),
        (M::OlderPce, "tdx.tcb.unknown"),
        (M::IssuedByRoot, "tdx.collateral.signature"),
        (M::SignedByStranger, "tdx.collateral.signature"),
        (M::ChainWithoutCa, "tdx.collateral.signature"),
        (M::OtherVendor, "tdx.collateral.signature"),
    ] {
        let what = format!("{mistake:?}");
        refused(&what, &Attempt::of(&TdxConfig { pck: mistake, ..healthy() }), code);
    }
}

#[test]
fn collateral() {
    use CollateralMistake as M;
    use CollateralPart::{PckCrl, QeIdentity, RootCrl, TcbInfo};
    let mut cases = vec![
        (M::SignedByStranger(TcbInfo), "tdx.collateral.signature"),
        (M::SignedByStranger(QeIdentity), "tdx.collateral.signature"),
        (M::SignedByStranger(RootCrl), "tdx.dcap.refused"),
        (M::SignedByStranger(PckCrl), "tdx.dcap.refused"),
        (M::OtherFmspc([0x50, 0x80, 0x6f, 0, 0, 0]), "tdx.tcb-info.platform"),
        (M::TcbInfoOfSgx, "tdx.tcb-info.kind"),
        (M::QeIdentityOfSgx, "tdx.qe-identity.kind"),
        (M::PlatformStatus("OutOfDate", &[]), "tdx.tcb.status"),
        (M::PlatformStatus("SWHardeningNeeded", &[]), "tdx.tcb.status"),
        (M::PlatformStatus("Revoked", &[]), "tdx.tcb.revoked"),
        (M::PlatformStatus("UpToDate", &["INTEL-SA-00615"]), "tdx.tcb.advisory"),
        (M::PlatformStatus("Splendid", &[]), "tdx.collateral.malformed"),
        (M::ModuleStatus("OutOfDate"), "tdx.tcb.status"),
        (M::ModuleStatus("Revoked"), "tdx.tcb.revoked"),
        (M::ModuleStatus("SWHardeningNeeded"), "tdx.module.identity"),
        (M::QeStatus("OutOfDate"), "tdx.tcb.status"),
        (M::QeStatus("Revoked"), "tdx.tcb.revoked"),
        (M::PlatformTooOld, "tdx.tcb.unknown"),
        (M::OtherQe, "tdx.qe.identity"),
        (M::OtherModule, "tdx.module.identity"),
        (M::RevokesPlatformCa, "tdx.collateral.revoked"),
        (M::RevokesSigner, "tdx.collateral.revoked"),
    ];
    for part in [TcbInfo, QeIdentity, RootCrl, PckCrl] {
        let window = |from, until| M::Window { part, from: UnixTime(from), until: UnixTime(until) };
        cases.push((window(NOW.0 - 2 * DAY, NOW.0 - 1), "tdx.collateral.expired"));
        cases.push((window(NOW.0 + 1, NOW.0 + DAY), "tdx.collateral.not-yet-valid"));
    }
    for member in [
        "pck_crl_issuer_chain",
        "root_ca_crl",
        "pck_crl",
        "tcb_info_issuer_chain",
        "tcb_info",
        "tcb_info_signature",
        "qe_identity_issuer_chain",
        "qe_identity",
        "qe_identity_signature",
    ] {
        cases.push((M::Without(member), "tdx.collateral.missing"));
    }
    for (mistake, code) in cases {
        refused(&format!("{mistake:?}"), &Attempt::with(&healthy(), &mistake), code);
    }
}

#[test]
fn a_revoked_platform_is_refused_and_its_neighbour_is_not() {
    let machines = [(); 2].map(|()| vendor().machine(&healthy()).expect("a machine"));
    let revokes = CollateralMistake::RevokesPck(machines[0].pck_serial());
    let collateral = vendor().collateral_with(&revokes).expect("collateral");
    let answers = machines.map(|machine| {
        let quote = machine.quote(&REPORT_DATA).expect("a quote");
        Attempt { quote, collateral: collateral.clone(), ..Attempt::of(&healthy()) }.verdict().map(drop)
    });
    assert_eq!(answers, [Err("tdx.collateral.revoked"), Ok(())]);
}

#[test]
fn quotes() {
    use QuoteMistake as M;
    for (mistake, code) in [
        (M::SignedByStranger, "tdx.signature.invalid"),
        (M::QeReportByStranger, "tdx.collateral.signature"),
        (M::QeBindsStranger, "tdx.qe.binding"),
        (M::OtherQe, "tdx.qe.identity"),
        (M::QeDebug, "tdx.qe.identity"),
        (M::OlderQe, "tdx.tcb.unknown"),
    ] {
        for format in QuoteFormat::ALL {
            let config = TdxConfig { quote: mistake.clone(), format, ..healthy() };
            refused(&format!("{mistake:?} {format:?}"), &Attempt::of(&config), code);
        }
    }
}

#[test]
fn tds() {
    let service = TdxConfig { format: QuoteFormat::V5Td15, mr_service_td: [1; 48], ..healthy() };
    let svn = |minor: u8, major: u8| {
        let mut svn = [0; 16];
        (svn[0], svn[1]) = (minor, major);
        svn
    };
    for (what, config, code) in [
        ("migratable", TdxConfig { td_attributes: 1 << 28 | 1 << 29, ..healthy() }, "tdx.td.migratable"),
        ("reserved", TdxConfig { td_attributes: 1 << 28 | 1 << 40, ..healthy() }, "tdx.td.reserved"),
        ("SEPT_VE_DISABLE clear", TdxConfig { td_attributes: 0, ..healthy() }, "tdx.td.sept-ve"),
        ("debug", TdxConfig { td_attributes: 1 << 28 | 1, ..healthy() }, "tdx.td.debug"),
        ("processor trace", TdxConfig { xfam: 0x1e7, ..healthy() }, "tdx.td.xfam"),
        ("another image", TdxConfig { mr_td: [1; 48], ..healthy() }, "tdx.mrtd.not-accepted"),
        ("configured", TdxConfig { mr_config_id: [1; 48], ..healthy() }, "tdx.mrconfigid.not-accepted"),
        ("owned", TdxConfig { mr_owner: [1; 48], ..healthy() }, "tdx.mrowner.not-accepted"),
        (
            "owner's configuration",
            TdxConfig { mr_owner_config: [1; 48], ..healthy() },
            "tdx.mrownerconfig.not-accepted",
        ),
        ("a service TD", service, "tdx.mrservicetd.not-accepted"),
        (
            "a module of another signer",
            TdxConfig { mr_signer_seam: [1; 48], ..healthy() },
            "tdx.module.identity",
        ),
        ("a module's attribute", TdxConfig { seam_attributes: 1, ..healthy() }, "tdx.module.identity"),
        ("a module of version 2", TdxConfig { tee_tcb_svn: svn(5, 2), ..healthy() }, "tdx.module.identity"),
        ("an older module", TdxConfig { tee_tcb_svn: svn(4, 1), ..healthy() }, "tdx.tcb.unknown"),
    ] {
        refused(what, &Attempt::of(&config), code);
    }
    // Signed anew after one byte was changed.
    let machine = vendor().machine(&healthy()).expect("a machine");
    let mut body = machine.body(&REPORT_DATA);
    body[0] = 3;
    let quote = machine.sign(body).expect("signed");
    refused("of SGX", &Attempt { quote, ..Attempt::of(&healthy()) }, "tdx.format.sgx");
}

#[test]
fn what_was_saved_is_loaded() {
    let directory = TempDir::new().expect("a directory");
    let folder = directory.path().join("a/b");
    vendor().save(&folder).expect("saved");
    assert_eq!(Platform::of(&folder), Ok(Platform::Tdx));
    let later = UnixTime(NOW.0 + 100 * DAY);
    let mut loaded = TdxVendor::load(&folder, later).expect("loaded");
    assert_eq!((loaded.root_pem(), loaded.issued()), (vendor().root_pem(), later));
    // Old machines under new collateral, and new machines.
    let collateral = loaded.collateral().expect("collateral");
    let fresh = loaded.machine(&healthy()).expect("a machine").quote(&REPORT_DATA).expect("a quote");
    let old = Attempt { now: later, ..Attempt::of(&healthy()) };
    refused("old collateral", &old, "tdx.collateral.expired");
    let old = Attempt { collateral, ..old };
    old.verdict().expect("verified");
    Attempt { quote: fresh, ..old }.verdict().expect("verified");

    assert_eq!(loaded.renew(NOW), Err(SimError::RenewalInThePast { now: NOW, issued: later }));
    let error = casemate_sim::Vendor::load(&folder).expect_err("of another platform");
    assert_eq!(error.code(), "sim.load.other-platform");
}

#[test]
fn broken_directories_are_refused_by_name() {
    let other = TdxVendor::create(NOW).expect("a vendor");
    type Change = fn(&std::path::Path, &std::path::Path);
    let cases: &[(&str, Change, &str)] = &[
        ("no such platform", |d, _| write(d, "platform", "sgx\n"), "sim.load.unknown-platform"),
        ("another platform", |d, _| write(d, "platform", "nitro\n"), "sim.load.other-platform"),
        ("no root", |d, _| remove(d, "roots.pem"), "sim.file"),
        ("an empty root", |d, _| write(d, "roots.pem", ""), "sim.load.pem"),
        ("another root", |d, o| copy(o, d, "roots.pem"), "sim.load.key-mismatch"),
        ("another root's key", |d, o| copy(o, d, "root.key.pem"), "sim.load.key-mismatch"),
        ("another authority's key", |d, o| copy(o, d, "platform-ca.key.pem"), "sim.load.key-mismatch"),
        (
            "another vendor's authority",
            |d, o| {
                copy(o, d, "platform-ca.key.pem");
                copy(o, d, "platform-ca.pem");
            },
            "sim.load.bad-signature",
        ),
        (
            "the authority as a signer",
            |d, _| {
                std::fs::copy(d.join("platform-ca.pem"), d.join("signer.pem")).expect("copied");
            },
            "sim.load.wrong-name",
        ),
        ("a key that is none", |d, _| write(d, "signer.key.pem", "none"), "sim.load.pem"),
    ];
    let from = TempDir::new().expect("a directory");
    other.save(from.path()).expect("saved");
    for (what, change, code) in cases {
        let directory = TempDir::new().expect("a directory");
        vendor().save(directory.path()).expect("saved");
        change(directory.path(), from.path());
        let error = TdxVendor::load(directory.path(), NOW).expect_err("must be refused");
        assert_eq!(error.code(), *code, "{what}: {error}");
    }
}

fn write(directory: &std::path::Path, file: &str, content: &str) {
    std::fs::write(directory.join(file), content).expect("written");
}

fn remove(directory: &std::path::Path, file: &str) {
    std::fs::remove_file(directory.join(file)).expect("removed");
}

fn copy(from: &std::path::Path, to: &std::path::Path, file: &str) {
    std::fs::copy(from.join(file), to.join(file)).expect("copied");
}
