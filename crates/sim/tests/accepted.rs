//! Simulated evidence passes the production verifier under the simulator's root, says exactly what the machine was
//! told to say, and passes under no other root.

mod attempt;

use attempt::{Anchors, Attempt, DAY, LAUNCH_DIGEST, NOW, REPORT_DATA, vendor};
use casemate_attest::snp::{
    FirmwareVersion, Identity, ProductLine, Signer as ClaimedSigner, Tcb as ClaimedTcb,
};
use casemate_attest::{Outcome, Revocation, UnixTime};
use casemate_sim::{
    AuthorityMistake, CSP_ID, CertificateMistake, CrlMistake, MachineConfig, PssParameters, Signer, Tcb,
    VekExtension, Vendor, launch_digest,
};

const LINES: [ProductLine; 3] = [ProductLine::Milan, ProductLine::Genoa, ProductLine::Turin];

/// Every line, report version, signer and parameter encoding.
fn healthy() -> impl Iterator<Item = (ProductLine, MachineConfig)> {
    LINES.into_iter().flat_map(|line| {
        (2..=5).flat_map(move |version| {
            [Signer::Vcek, Signer::Vlek].into_iter().flat_map(move |signer| {
                [PssParameters::Explicit, PssParameters::Implicit].into_iter().map(move |pss_parameters| {
                    let config = MachineConfig::for_line(line, version, LAUNCH_DIGEST);
                    (line, MachineConfig { signer, pss_parameters, ..config })
                })
            })
        })
    })
}

fn named(line: ProductLine, config: &MachineConfig) -> String {
    format!("{line} v{} {:?} {:?}", config.report_version, config.signer, config.pss_parameters)
}

#[test]
fn healthy_machines_are_verified_and_simulated() {
    let mut cases = 0;
    for (line, config) in healthy() {
        let what = named(line, &config);
        let verified =
            Attempt::with(vendor(line), &config).verdict().unwrap_or_else(|code| panic!("{what}: {code}"));
        assert!(verified.simulated(), "{what}");
        assert_eq!(verified.report_data(), &REPORT_DATA, "{what}");
        assert_eq!(verified.claims().measurement(), &LAUNCH_DIGEST, "{what}");
        assert!(!verified.checks().iter().any(|check| check.outcome == Outcome::NotReached), "{what}");
        let claims = verified.claims().snp().expect("SEV-SNP");
        assert_eq!(claims.product_line, line, "{what}");
        let (signer, identity) = match config.signer {
            Signer::Vcek => (ClaimedSigner::Vcek, Identity::Chip(config.chip_id)),
            Signer::Vlek => (ClaimedSigner::Vlek, Identity::Provider(CSP_ID.to_owned())),
        };
        assert_eq!((claims.signer, &claims.identity), (signer, &identity), "{what}");
        cases += 1;
    }
    assert_eq!(cases, 48);
}

#[test]
fn amds_roots_never_accept_a_simulated_machine() {
    for (line, config) in healthy() {
        let attempt = Attempt { anchors: Anchors::Amd, ..Attempt::with(vendor(line), &config) };
        assert_eq!(attempt.verdict().err(), Some("x509.unknown-issuer"), "{}", named(line, &config));
    }
}

#[test]
fn another_simulated_vendor_of_the_same_name_is_not_accepted() {
    let stranger = Vendor::create(ProductLine::Genoa, NOW).expect("a vendor");
    let genoa = vendor(ProductLine::Genoa);
    let attempt = Attempt::with(genoa, &MachineConfig::new(LAUNCH_DIGEST));
    let attempt = Attempt { anchors: Anchors::Pem(stranger.root_pem()), ..attempt };
    assert_eq!(attempt.verdict().err(), Some("x509.signature"));
}

#[test]
fn a_line_without_a_pinned_root_is_not_accepted() {
    let milan = vendor(ProductLine::Milan);
    let attempt = Attempt::with(vendor(ProductLine::Genoa), &MachineConfig::new(LAUNCH_DIGEST));
    let attempt = Attempt { anchors: Anchors::Pem(milan.root_pem()), ..attempt };
    assert_eq!(attempt.verdict().err(), Some("snp.root.missing"));
}

#[test]
fn several_vendors_are_one_bundle() {
    let bundle = LINES.map(|line| vendor(line).root_pem()).concat();
    for line in LINES {
        let attempt = Attempt::with(vendor(line), &MachineConfig::for_line(line, 5, LAUNCH_DIGEST));
        Attempt { anchors: Anchors::Pem(bundle.clone()), ..attempt }.verdict().expect("verified");
    }
}

/// Every field has a value of its own, so that no two can be confused.
#[test]
fn claims_are_what_the_machine_was_told_to_say() {
    for (line, fmc) in [(ProductLine::Genoa, 0), (ProductLine::Turin, 7)] {
        let tcb = |n: u8| Tcb {
            fmc: if fmc == 0 { 0 } else { fmc + n },
            bootloader: 0x80 + n,
            tee: 0x90 + n,
            snp: 0xa0 + n,
            microcode: 0xd9 + n,
        };
        let claimed = |n: u8| {
            let Tcb { fmc, bootloader, tee, snp, microcode } = tcb(n);
            ClaimedTcb { fmc, bootloader, tee, snp, microcode }
        };
        let config = MachineConfig {
            guest_svn: 0x0102_0304,
            policy: 0x001b_0000 | 0x1337,
            family_id: [0x11; 16],
            image_id: [0x12; 16],
            vmpl: 3,
            platform_info: 0x67,
            author_key_enabled: true,
            host_data: [0x13; 32],
            id_key_digest: [0x14; 48],
            author_key_digest: [0x15; 48],
            report_id_ma: [0x16; 32],
            tcb: tcb(0),
            current_tcb: tcb(3),
            committed_tcb: tcb(2),
            launch_tcb: tcb(1),
            current_version: casemate_sim::FirmwareVersion { major: 1, minor: 58, build: 3 },
            committed_version: casemate_sim::FirmwareVersion { major: 1, minor: 57, build: 2 },
            launch_mitigations: 0x0102_0304_0506_0708,
            current_mitigations: 0x1112_1314_1516_1718,
            ..MachineConfig::for_line(line, 5, LAUNCH_DIGEST)
        };
        let authentic = Attempt::with(vendor(line), &config).authenticate().expect("genuine");
        let claims = authentic.claims();
        assert_eq!(claims.measurement(), &LAUNCH_DIGEST);
        assert_eq!(claims.host_data(), Some(&config.host_data));
        assert_eq!(claims.report_data(), &REPORT_DATA);
        assert!(claims.debug());
        let snp = claims.snp().expect("SEV-SNP");
        assert_eq!(snp.report_version.number(), 5);
        assert_eq!(snp.guest_svn, config.guest_svn);
        assert_eq!(snp.guest_policy, config.policy);
        assert!(!snp.migration_agent);
        assert_eq!(snp.vmpl, 3);
        assert_eq!(snp.platform_info, config.platform_info);
        assert_eq!((snp.family_id, snp.image_id), (config.family_id, config.image_id));
        assert_eq!(
            (snp.id_key_digest, snp.author_key_digest),
            (config.id_key_digest, config.author_key_digest)
        );
        assert!(snp.author_key_enabled);
        assert_eq!(snp.report_id_ma, config.report_id_ma);
        assert_eq!(snp.reported_tcb, claimed(0));
        assert_eq!(snp.launch_tcb, claimed(1));
        assert_eq!(snp.committed_tcb, claimed(2));
        assert_eq!(snp.current_tcb, claimed(3));
        assert_eq!(snp.current_firmware, FirmwareVersion { major: 1, minor: 58, build: 3 });
        assert_eq!(snp.committed_firmware, FirmwareVersion { major: 1, minor: 57, build: 2 });
        assert_eq!(snp.launch_mitigations, Some(config.launch_mitigations));
        assert_eq!(snp.current_mitigations, Some(config.current_mitigations));
        let cpuid = snp.cpuid.expect("version 5 names the processor");
        assert_eq!(
            (cpuid.family, cpuid.model, cpuid.stepping),
            (config.cpuid.family, config.cpuid.model, config.cpuid.stepping)
        );
    }
}

/// The production default for one measurement accepts the default machine: what the demo relies on.
#[test]
fn the_default_machine_meets_the_strict_policy() {
    let config = MachineConfig::new(launch_digest(b"the program"));
    let mut attempt = Attempt::with(vendor(ProductLine::Genoa), &config);
    attempt.terms =
        casemate_attest::snp::SnpPolicy::strict(casemate_attest::Expected::OneOf(vec![config.launch_digest]));
    attempt.verdict().expect("verified");
}

/// Differences that a verifier must not mind.
#[test]
fn genuine_variations_are_accepted() {
    let genoa = vendor(ProductLine::Genoa);
    let healthy = || MachineConfig::new(LAUNCH_DIGEST);
    let bergamo = casemate_sim::Cpuid { family: 0x19, model: 0xa0, stepping: 2 };
    let without_struct_version = CertificateMistake::MissingExtension(VekExtension::StructVersion);
    for (what, config) in [
        ("Bergamo is a Genoa", MachineConfig { cpuid: bergamo, ..healthy() }),
        (
            "a structure version decides nothing",
            MachineConfig { certificate: without_struct_version, ..healthy() },
        ),
        ("PLATFORM_INFO bit 6 is informational", MachineConfig { platform_info: 0x67, ..healthy() }),
    ] {
        Attempt::with(genoa, &config).verdict().unwrap_or_else(|code| panic!("{what}: {code}"));
    }
    for mistake in [CrlMistake::RevokesStranger, CrlMistake::RevokesAsvk] {
        let list = genoa.crl_with(&mistake).expect("a list");
        let attempt = Attempt { revocation: Revocation::Crl(list), ..Attempt::with(genoa, &healthy()) };
        attempt.verdict().unwrap_or_else(|code| panic!("{mistake:?}: {code}"));
    }
}

#[test]
fn evidence_is_good_until_the_first_of_its_deadlines() {
    let genoa = vendor(ProductLine::Genoa);
    let config = MachineConfig::new(LAUNCH_DIGEST);
    let vlek = MachineConfig { signer: Signer::Vlek, ..config.clone() };
    let (list_until, vlek_until) = (NOW.0 - DAY + 371 * DAY, NOW.0 - DAY + 365 * DAY);
    for (config, until) in [(&config, list_until), (&vlek, vlek_until)] {
        let attempt = Attempt::with(genoa, config);
        let deadline = attempt.verdict().expect("verified").valid_until();
        assert_eq!(deadline, UnixTime(until));
        let last = Attempt { now: deadline, ..attempt };
        last.verdict().expect("the last second");
        let late = Attempt { now: UnixTime(until + 1), ..last };
        assert!(matches!(late.verdict().err(), Some("crl.expired" | "x509.expired")));
    }
}

#[test]
fn a_renewed_vendor_serves_verifiers_that_know_the_old_root() {
    let mut later = vendor(ProductLine::Genoa).with_mistake(&AuthorityMistake::None).expect("a copy");
    let known = later.root_pem();
    let now = UnixTime(NOW.0 + 400 * DAY);
    let config = MachineConfig::new(LAUNCH_DIGEST);
    let stale = Attempt { now, anchors: Anchors::Pem(known.clone()), ..Attempt::with(&later, &config) };
    assert_eq!(stale.verdict().err(), Some("crl.expired"));
    later.renew(now).expect("renewed");
    let fresh = Attempt { now, anchors: Anchors::Pem(known), ..Attempt::with(&later, &config) };
    fresh.verdict().expect("verified");
}
