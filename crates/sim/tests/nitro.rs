//! Simulated Nitro Enclaves: documents pass the production verifier under the simulator's root, say what the module was told to
//! say, and pass under no other root. One mistake each is refused by its name.

use casemate_attest::nitro::NitroPolicy;
use casemate_attest::{
    Authentic, Binding, Endorsements, Evidence, Expected, Policy, Revocation, TrustAnchors, UnixTime,
    Verified, verify,
};
use casemate_sim::Platform;
use casemate_sim::nitro::{NitroConfig, NitroPathMistake, NitroVendor};
use std::sync::OnceLock;
use tempfile::TempDir;

const NOW: UnixTime = UnixTime(1_795_478_400);
const DAY: u64 = 86_400;
const PCR0: [u8; 48] = [0x4d; 48];
const REPORT_DATA: [u8; 64] = [0x52; 64];

fn vendor() -> &'static NitroVendor {
    static VENDOR: OnceLock<NitroVendor> = OnceLock::new();
    VENDOR.get_or_init(|| NitroVendor::create(NOW).expect("a vendor"))
}

struct Attempt {
    document: Vec<u8>,
    anchors: TrustAnchors,
    now: UnixTime,
    terms: NitroPolicy,
}

impl Attempt {
    fn of(config: &NitroConfig) -> Self {
        let module = vendor().module(config).expect("a module");
        Self {
            document: module.document(&REPORT_DATA).expect("a document"),
            anchors: under(&vendor().root_pem()),
            now: NOW,
            terms: NitroPolicy::strict(Expected::OneOf(vec![PCR0])),
        }
    }

    fn authenticate(&self) -> Result<Authentic, &'static str> {
        let evidence = Evidence::parse(&self.document).map_err(|error| error.code())?;
        let revocation = Revocation::DangerNotChecked { reason: "AWS's lists are not read".to_owned() };
        verify(&evidence, &Endorsements::nitro(revocation), &self.anchors, self.now)
            .map_err(|rejected| rejected.code())
    }

    fn verdict(&self) -> Result<Verified, &'static str> {
        let policy = Policy::for_nitro(self.terms.clone());
        let authentic = self.authenticate()?;
        authentic.appraise(&policy, &Binding::report_data(REPORT_DATA)).map_err(|denied| denied.code())
    }
}

fn under(pem: &str) -> TrustAnchors {
    TrustAnchors::danger_only_pem(pem).expect("a danger bundle")
}

fn healthy() -> NitroConfig {
    NitroConfig::new(PCR0)
}

fn refused(what: &str, attempt: &Attempt, code: &str) {
    match attempt.verdict() {
        Ok(_) => panic!("{what}: verified instead of {code}"),
        Err(found) => assert_eq!(found, code, "{what}"),
    }
}

#[test]
fn a_healthy_enclave_is_verified_and_simulated() {
    let verified = Attempt::of(&healthy()).verdict().expect("verified");
    assert!(verified.simulated());
    assert_eq!(verified.report_data(), &REPORT_DATA);
    assert_eq!(verified.claims().measurement(), &PCR0);
}

#[test]
fn no_other_root_accepts_it() {
    let stranger = NitroVendor::create(NOW).expect("a vendor");
    let tdx = casemate_sim::tdx::TdxVendor::create(NOW).expect("a vendor");
    for (what, anchors, code) in [
        ("production", TrustAnchors::vendors(), "x509.unknown-issuer"),
        ("AWS's root alone", TrustAnchors::aws(), "x509.unknown-issuer"),
        ("no root of AWS's", TrustAnchors::amd(), "nitro.root.missing"),
        ("another simulated vendor", under(&stranger.root_pem()), "x509.signature"),
        ("a simulated vendor of TDX", under(&tdx.root_pem()), "nitro.root.missing"),
    ] {
        refused(what, &Attempt { anchors, ..Attempt::of(&healthy()) }, code);
    }
}

#[test]
fn claims_are_what_the_module_was_told_to_say() {
    let mut config = healthy();
    config.module_id = "i-1-enc2".to_owned();
    config.pcrs = (0..16).map(|index| (index, [0x10 + index; 48])).collect();
    config.public_key = Some(vec![0x21; 300]);
    config.nonce = Some(vec![0x22; 32]);
    config.timestamp_ms = Some(NOW.0 * 1000 - 1);
    let authentic = Attempt::of(&config).authenticate().expect("genuine");
    let claims = authentic.claims().nitro().expect("Nitro").clone();
    assert_eq!((claims.module_id.as_str(), claims.timestamp_ms), ("i-1-enc2", NOW.0 * 1000 - 1));
    let pcrs: Vec<_> = (0..16).map(|index| (index, hex::encode([0x10 + index; 48]))).collect();
    assert_eq!(claims.pcrs.into_iter().collect::<Vec<_>>(), pcrs);
    assert_eq!((claims.public_key, claims.nonce), (config.public_key, config.nonce));
    assert_eq!(authentic.claims().measurement(), &[0x10; 48]);
}

#[test]
fn certificates() {
    use NitroPathMistake as M;
    let past = (UnixTime(NOW.0 - 9 * DAY), UnixTime(NOW.0 - 1));
    let future = (UnixTime(NOW.0 + 1), UnixTime(NOW.0 + DAY));
    for (mistake, code) in [
        (M::OtherRoot, "x509.signature"),
        (M::IntermediateIsNoAuthority, "x509.not-an-authority"),
        (M::IntermediateMayNotCertify, "x509.key-usage"),
        (M::IntermediateWithoutKeyUsage, "x509.key-usage"),
        (M::IntermediateValidity { not_before: past.0, not_after: past.1 }, "x509.expired"),
        (M::IntermediateValidity { not_before: future.0, not_after: future.1 }, "x509.not-yet-valid"),
        (M::LeafValidity { not_before: past.0, not_after: past.1 }, "x509.expired"),
        (M::LeafValidity { not_before: future.0, not_after: future.1 }, "x509.not-yet-valid"),
        (M::LeafIsAuthority, "x509.leaf-is-authority"),
        (M::LeafMayNotSign, "x509.key-usage"),
        (M::LeafForTls, "x509.path"),
        (M::LeafP256, "x509.key-type"),
        (M::TooLong, "nitro.format.value"),
    ] {
        let what = format!("{mistake:?}");
        refused(&what, &Attempt::of(&NitroConfig { path: mistake, ..healthy() }), code);
    }
}

#[test]
fn documents() {
    let with = |change: fn(&mut NitroConfig)| {
        let mut config = healthy();
        change(&mut config);
        config
    };
    for (what, config, code) in [
        ("signed by a stranger", with(|c| c.signed_by_stranger = true), "nitro.signature.invalid"),
        ("debug", with(|c| c.pcrs.extend([(0, [0; 48]), (1, [0; 48]), (2, [0; 48])])), "nitro.debug"),
        ("another image", with(|c| c.pcrs.extend([(0, [1; 48])])), "nitro.pcr.not-accepted"),
        (
            "made after its certificate",
            with(|c| c.timestamp_ms = Some((NOW.0 + 4 * 3600) * 1000)),
            "nitro.time.future",
        ),
        (
            "made before its certificate",
            with(|c| c.timestamp_ms = Some((NOW.0 - 2 * 3600) * 1000)),
            "nitro.time.outside-certificate",
        ),
        ("old", with(|c| c.timestamp_ms = Some((NOW.0 - 301) * 1000)), "nitro.time.too-old"),
    ] {
        refused(what, &Attempt::of(&config), code);
    }
    // A payload of somebody's own, signed by the module.
    let module = vendor().module(&healthy()).expect("a module");
    let mut payload = module.payload(&REPORT_DATA);
    payload.push(0);
    let document = module.sign(&payload).expect("signed");
    refused("a byte more", &Attempt { document, ..Attempt::of(&healthy()) }, "nitro.format.trailing");
    // AWS's limit on a path's life: three hours.
    let late = Attempt { now: UnixTime(NOW.0 + 3 * 3600 + 1), ..Attempt::of(&healthy()) };
    refused("a day later", &late, "x509.expired");
}

#[test]
fn what_was_saved_is_loaded() {
    let directory = TempDir::new().expect("a directory");
    vendor().save(directory.path()).expect("saved");
    assert_eq!(Platform::of(directory.path()), Ok(Platform::Nitro));
    let later = UnixTime(NOW.0 + 400 * DAY);
    let loaded = NitroVendor::load(directory.path(), later).expect("loaded");
    assert_eq!(loaded.root_pem(), vendor().root_pem());
    let module = loaded.module(&healthy()).expect("a module");
    let document = module.document(&REPORT_DATA).expect("a document");
    Attempt { document, now: later, ..Attempt::of(&healthy()) }.verdict().expect("verified");

    let error = casemate_sim::tdx::TdxVendor::load(directory.path(), NOW).expect_err("of another platform");
    assert_eq!(error.code(), "sim.load.other-platform");
    let file = directory.path().join("root.key.pem");
    std::fs::remove_file(&file).expect("removed");
    assert_eq!(NitroVendor::load(directory.path(), NOW).expect_err("no key").code(), "sim.file");
}
