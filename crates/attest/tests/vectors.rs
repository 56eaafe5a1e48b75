//! Recorded evidence of real machines, case by case: what must pass, and what must be refused with which code.
//!
//! One line of a table is one case. Every case starts from a recording and changes at most one thing about it; the
//! expected answer is the exact code, or "verified", or "verified, waived: …" with the rules that were waived.

mod recorded;

use casemate_attest::snp::{
    Abi, Floor, GuestProtection, HostTrustPolicy, MinimumTcb, PlatformProtection, SnpPolicy, Tcb, Version,
};
use casemate_attest::{Evidence, Expected, Outcome, Policy, Report, Revocation, TrustAnchors, UnixTime};
use libtest_mimic::{Arguments, Failed, Trial};
use recorded::{
    JANUARY_2026, JUNE_2025, OCTOBER_2025, Recording, allow, certificate, crl, file, genoa, not_checked,
    turin, vlek,
};

/// Name, what is done, expected answer.
type Case = (&'static str, fn() -> String, &'static str);

fn main() {
    let arguments = Arguments::from_args();
    let absent = recorded::folder().is_none();
    let tables = [MACHINES, FORMS, ENDORSEMENTS, TERMS, REPORTS];
    let trials = tables.concat().into_iter().map(|(name, answer, expected)| {
        let run = move || {
            let found = answer();
            if found == expected {
                Ok(())
            } else {
                Err(Failed::from(format!("{found:?}, expected {expected:?}")))
            }
        };
        Trial::test(name, run).with_ignored_flag(absent)
    });
    libtest_mimic::run(&arguments, trials.collect()).exit();
}

/// Every recorded machine, on exactly its own terms.
const MACHINES: &[Case] = &[
    ("snp/clerk_default", || exact(&milan("clerk_default/vcek_chain.pem")), "verified, waived: SNP-13"),
    ("snp/virtee_milan", || exact(&milan("virtee_milan/vcek.der")), "verified, waived: SNP-13"),
    ("snp/gosev_milan_v2: debug", || exact(&milan("gosev_milan_v2/vcek.der")), "snp.guest-policy.debug"),
    (
        "snp/gosev_milan_v2: debug allowed",
        || with(&milan("gosev_milan_v2/vcek.der"), |p| p.debug = allow()),
        "verified, waived: SNP-13, SNP-14",
    ),
    (
        "snp/trustee_milan: provisional",
        || exact(&milan("trustee_milan/vcek.der")),
        "snp.firmware.provisional",
    ),
    (
        "snp/trustee_milan: provisional firmware allowed",
        || with(&milan("trustee_milan/vcek.der"), |p| p.provisional_firmware = allow()),
        "verified, waived: SNP-13, SNP-20",
    ),
    ("snp/clerk_genoa", || exact(&clerk_genoa()), "verified"),
    ("snp/sev_attest_tool_genoa: VMPL 1", || exact(&sev_attest_tool()), "snp.vmpl.not-accepted"),
    (
        "snp/sev_attest_tool_genoa: VMPL 1 expected",
        || with(&sev_attest_tool(), |p| p.vmpl = Expected::OneOf(vec![1])),
        "verified",
    ),
    ("snp/clerk_milan", || exact(&milan("clerk_milan/vcek_chain.pem")), "verified, waived: SNP-13"),
    (
        "snp/oak_milan_oc_staging",
        || exact(&milan("oak_milan_oc_staging/vcek.der")),
        "verified, waived: SNP-13",
    ),
    (
        "snp/oak_milan_rk_release",
        || exact(&milan("oak_milan_rk_release/vcek.der")),
        "verified, waived: SNP-13",
    ),
    (
        "snp/oak_milan_rk_staging",
        || exact(&milan("oak_milan_rk_staging/vcek.der")),
        "verified, waived: SNP-13",
    ),
    ("snp/clerk_genoa_alias_check", || exact(&genoa()), "verified"),
    ("snp/trustee_vlek: VMPL 1", || exact(&vlek()), "snp.vmpl.not-accepted"),
    ("snp/trustee_vlek: VMPL 1 expected", || with(&vlek(), aws), "verified, waived: SNP-13, SNP-20, SNP-30"),
    ("snp/clerk_v5", || exact(&clerk_v5(not_checked())), "verified, waived: SNP-07"),
    ("snp/clerk_turin", || exact(&turin()), "verified, waived: SNP-07"),
    ("snp/openpcc_gce: form", || parsed("snp/openpcc_gce/report_and_aux.bin"), "version 4"),
    ("snp/sev-snp_milan_v5: form", || parsed("snp/sev-snp_milan_v5/report.bin"), "version 5"),
];

/// Reports with one mistake in their form.
const FORMS: &[Case] = &[
    ("form: empty", || form(|r| r.clear()), "evidence.unknown-format"),
    ("form: truncated by one byte", || form(|r| r.truncate(1183)), "evidence.unknown-format"),
    ("form: one byte too long", || form(|r| r.push(0)), "evidence.unknown-format"),
    ("form: signed part only", || form(|r| r.truncate(0x2a0)), "evidence.unknown-format"),
    ("form: version 1", || form(|r| r[0] = 1), "snp.format.version"),
    ("form: version 6", || form(|r| r[0] = 6), "snp.format.version"),
    ("form: version 3 called 2", || form(|r| r[0] = 2), "snp.format.reserved"),
    ("form: R has 49 bytes", || form(|r| r[0x2d0] = 1), "snp.format.signature-tail"),
    ("form: byte 0x2dc", || form(|r| r[0x2dc] = 1), "snp.format.signature-tail"),
    ("form: S has 49 bytes", || form(|r| r[0x318] = 1), "snp.format.signature-tail"),
    ("form: first padding byte", || form(|r| r[0x330] = 1), "snp.format.padding"),
    ("form: byte 0x3cc", || form(|r| r[0x3cc] = 1), "snp.format.padding"),
    ("form: last padding byte", || form(|r| r[0x49f] = 1), "snp.format.padding"),
];

/// Endorsements with one mistake. The report is genuine.
const ENDORSEMENTS: &[Case] = &[
    ("vek: none", || vek(genoa(), Vec::new()), "x509.missing"),
    ("vek: not DER", || vek(genoa(), b"-----BEGIN CERTIFICATE-----".to_vec()), "x509.malformed"),
    ("vek: PEM instead of DER", || vek(genoa(), file(GENOA_PEM)), "x509.malformed"),
    ("vek: trailing byte", || vek(genoa(), [certificate(GENOA_PEM, 0), vec![0]].concat()), "x509.malformed"),
    ("vek: 16 KiB and a byte", || vek(genoa(), vec![0x30; 16 * 1024 + 1]), "x509.too-long"),
    ("vek: the ASK instead", || vek(genoa(), certificate(GENOA_PEM, 1)), "snp.vek.subject"),
    ("vek: the ARK instead", || vek(genoa(), certificate(GENOA_PEM, 2)), "snp.vek.subject"),
    ("vek: VLEK for a report by a VCEK", || vek(genoa(), certificate(VLEK, 0)), "snp.vek.subject"),
    ("vek: VCEK for a report by a VLEK", || vek(vlek(), certificate(CLERK_MILAN, 0)), "snp.vek.subject"),
    (
        "vek: of Milan for a Genoa report",
        || vek(genoa(), certificate(CLERK_MILAN, 0)),
        "snp.product.mismatch",
    ),
    (
        "vek: of Genoa for a Milan report",
        || vek(clerk_milan(), certificate(GENOA_PEM, 0)),
        "snp.product.mismatch",
    ),
    ("vek: of Turin for a Genoa report", || vek(genoa(), certificate(TURIN_PEM, 0)), "snp.product.mismatch"),
    (
        "vek: openpcc_gce's certificate is not of the report's line",
        || {
            let vek = "snp/openpcc_gce/vcek_from_sev_certificates.pem";
            refused(&Recording::new("snp/openpcc_gce/report_and_aux.bin", vek, crl("milan"), OCTOBER_2025))
        },
        "snp.product.mismatch",
    ),
    (
        "vek: of another Genoa chip",
        || vek(genoa(), certificate("snp/clerk_genoa/vcek_chain.pem", 0)),
        "snp.signature.invalid",
    ),
    (
        "vek: of another Turin chip, whose chain is valid",
        || {
            let mut case = turin();
            case.vek = certificate("snp/virtee_turin_certs_only/vcek.der", 0);
            let rejected = case.verify().expect_err("must be refused");
            let chain = rejected.checks.iter().find(|check| check.rule.id == "SNP-06").expect("listed");
            format!("chain {}, {}", chain.outcome, rejected.code())
        },
        "chain pass, snp.signature.invalid",
    ),
    (
        "vek: of another TCB and chip (clerk_negative)",
        || negative("valid_vcek_wrong_tcb_version.pem", OCTOBER_2025),
        "snp.signature.invalid",
    ),
    (
        "vek: self-signed chain (clerk_negative), in its validity: another salt length",
        || refused(&Recording { revocation: not_checked(), ..self_signed(UnixTime(1_680_000_000)) }),
        "x509.algorithm",
    ),
    ("vek: self-signed chain, expired", || refused(&self_signed(JUNE_2025)), "x509.expired"),
    (
        "vek: issuers in the wrong order are the prover's and are not looked at",
        || match (Recording { vek: certificate(WRONG_ORDER, 0), ..milan("clerk_default/vcek_chain.pem") })
            .verify()
        {
            Ok(_) => "authentic".to_owned(),
            Err(rejected) => rejected.code().to_owned(),
        },
        "authentic",
    ),
    (
        "vek: not AMD's, legacy extensions (trustee)",
        || vek(milan("trustee_milan/vcek.der"), certificate("snp/trustee_milan/vcek-invalid-legacy.der", 0)),
        "x509.signature",
    ),
    (
        "vek: not AMD's, new extensions (trustee)",
        || vek(milan("trustee_milan/vcek.der"), certificate("snp/trustee_milan/vcek-invalid-new.der", 0)),
        "x509.signature",
    ),
    ("time: before the VCEK", || at(genoa(), 1_756_587_573), "x509.not-yet-valid"),
    ("time: the VCEK's first second", || at(genoa(), 1_756_587_574), "authentic"),
    (
        "time: after the VCEK",
        || at(Recording { revocation: not_checked(), ..genoa() }, 1_977_512_375),
        "x509.expired",
    ),
    ("time: after the VLEK", || at(vlek(), JANUARY_2026.0), "x509.expired"),
    ("time: 1970", || at(genoa(), 0), "x509.not-yet-valid"),
    ("time: the end of time", || at(genoa(), u64::MAX), "x509.expired"),
    ("crl: missing", || revoked(genoa(), Revocation::Missing), "crl.missing"),
    ("crl: missing for Turin", || revoked(turin(), Revocation::Missing), "crl.missing"),
    ("crl: empty", || revoked(genoa(), Revocation::Crl(Vec::new())), "crl.missing"),
    ("crl: waived without a reason", || revoked(genoa(), not_checked_because(" ")), "crl.missing"),
    ("crl: not DER", || revoked(genoa(), Revocation::Crl(vec![0x30])), "crl.malformed"),
    ("crl: truncated", || revoked(genoa(), crl_with(|crl| crl.truncate(889))), "crl.malformed"),
    ("crl: trailing byte", || revoked(genoa(), crl_with(|crl| crl.push(0))), "crl.malformed"),
    (
        "crl: a certificate instead",
        || revoked(genoa(), Revocation::Crl(certificate(GENOA_PEM, 1))),
        "crl.malformed",
    ),
    ("crl: of Milan for Genoa", || revoked(genoa(), crl("milan")), "crl.issuer"),
    ("crl: of Genoa for Turin", || revoked(turin(), crl("genoa")), "crl.issuer"),
    ("crl: signature changed", || revoked(genoa(), crl_with(|crl| crl[889] ^= 1)), "crl.signature"),
    ("crl: revoked serial changed", || revoked(genoa(), crl_with(|crl| crl[241] ^= 2)), "crl.signature"),
    ("crl: expired", || refused(&clerk_v5(crl("genoa"))), "crl.expired"),
    ("crl: its last second", || at(genoa(), 1_762_131_600), "authentic"),
    ("crl: the second after", || at(genoa(), 1_762_131_601), "crl.expired"),
    ("crl: not yet issued", || at(milan("clerk_default/vcek_chain.pem"), 1_735_689_600), "crl.not-yet-valid"),
];

/// Terms that a genuine Genoa report does not meet. It has version 3, VMPL 0, TCB bl 9 snp 0x17 ucode 0x48.
const TERMS: &[Case] = &[
    ("terms: strict, without a word about the chip", || strict(&genoa()), "verified, waived: SNP-30"),
    ("terms: strict, on Turin", || strict(&turin()), "verified, waived: SNP-07, SNP-30"),
    ("terms: strict refuses Milan", || strict(&clerk_milan()), "snp.host-trust.provider-trusted"),
    (
        "terms: Milan has no floor unless somebody writes one",
        || with(&clerk_milan(), |p| p.minimum_tcb = MinimumTcb::BASELINE),
        "snp.tcb.no-minimum",
    ),
    (
        "terms: Milan, provider not trusted",
        || with(&clerk_milan(), |p| p.host_trust = HostTrustPolicy::HostUntrusted),
        "snp.host-trust.provider-trusted",
    ),
    (
        "terms: version 3 and later (clerk_default)",
        || with(&milan("clerk_default/vcek_chain.pem"), |p| p.minimum_report_version = Version::V3),
        "snp.version.below-minimum",
    ),
    (
        "terms: version 3 and later (virtee_milan)",
        || with(&milan("virtee_milan/vcek.der"), |p| p.minimum_report_version = Version::V3),
        "snp.version.below-minimum",
    ),
    (
        "terms: version 3 and later (clerk_genoa)",
        || with(&clerk_genoa(), |p| p.minimum_report_version = Version::V3),
        "snp.version.below-minimum",
    ),
    (
        "terms: version 4",
        || with(&genoa(), |p| p.minimum_report_version = Version::V4),
        "snp.version.below-minimum",
    ),
    ("terms: guest may not have SMT", || with(&genoa(), |p| p.guest_may.clear()), "snp.guest-policy.permits"),
    (
        "terms: ABI",
        || with(&genoa(), |p| p.minimum_abi = Abi { major: 0, minor: 1 }),
        "snp.guest-policy.abi-below-minimum",
    ),
    ("terms: single socket", || must(GuestProtection::SingleSocket), "snp.guest-policy.does-not-demand"),
    ("terms: AES-256-XTS", || must(GuestProtection::Aes256Xts), "snp.guest-policy.does-not-demand"),
    (
        "terms: RAPL off, by the guest",
        || must(GuestProtection::RaplDisabled),
        "snp.guest-policy.does-not-demand",
    ),
    (
        "terms: ciphertext hiding",
        || must(GuestProtection::CiphertextHiding),
        "snp.guest-policy.does-not-demand",
    ),
    ("terms: no page swap", || must(GuestProtection::PageSwapDisabled), "snp.guest-policy.does-not-demand"),
    (
        "terms: VMPL 1",
        || with(&genoa(), |p| p.vmpl = Expected::OneOf(vec![1, 2, 3])),
        "snp.vmpl.not-accepted",
    ),
    ("terms: any VMPL", || with(&genoa(), |p| p.vmpl = Expected::any("case")), "verified, waived: SNP-17"),
    ("terms: bootloader", || floor(Tcb { bootloader: 10, ..GENOA_TCB }), "snp.tcb.below-minimum"),
    ("terms: tee", || floor(Tcb { tee: 1, ..GENOA_TCB }), "snp.tcb.below-minimum"),
    ("terms: snp", || floor(Tcb { snp: 0x18, ..GENOA_TCB }), "snp.tcb.below-minimum"),
    ("terms: microcode", || floor(Tcb { microcode: 0x49, ..GENOA_TCB }), "snp.tcb.below-minimum"),
    (
        "terms: microcode, with everything else far lower",
        || floor(Tcb { fmc: 0, bootloader: 0, tee: 0, snp: 0, microcode: 0x49 }),
        "snp.tcb.below-minimum",
    ),
    ("terms: exactly this TCB", || floor(GENOA_TCB), "verified"),
    (
        "terms: mitigations of a version 3 report",
        || with(&genoa(), |p| p.current_mitigations = 1),
        "snp.mitigations.not-reported",
    ),
    (
        "terms: mitigations 0x0b (clerk_v5)",
        || {
            with(&clerk_v5(not_checked()), |p| {
                p.launch_mitigations = 0x0b;
                p.current_mitigations = 0x0b;
            })
        },
        "verified, waived: SNP-07",
    ),
    (
        "terms: one more mitigation at launch",
        || with(&clerk_v5(not_checked()), |p| p.launch_mitigations = 0x0f),
        "snp.mitigations.missing",
    ),
    (
        "terms: one more mitigation now",
        || with(&clerk_v5(not_checked()), |p| p.current_mitigations = 0x0f),
        "snp.mitigations.missing",
    ),
    ("terms: platform without SMT", || with(&genoa(), |p| p.platform_may.clear()), "snp.platform.weakness"),
    (
        "terms: TSME",
        || with(&genoa(), |p| p.platform_must.push(PlatformProtection::Tsme)),
        "snp.platform.protection-missing",
    ),
    (
        "terms: alias check on a version 2 report",
        || with(&clerk_genoa(), |p| p.platform_must.push(PlatformProtection::AliasCheckComplete)),
        "snp.platform.protection-missing",
    ),
    (
        "terms: measurement",
        || with(&genoa(), |p| p.measurement = one([1; 48])),
        "snp.measurement.not-accepted",
    ),
    (
        "terms: an empty list of measurements accepts none",
        || with(&genoa(), |p| p.measurement = Expected::OneOf(Vec::new())),
        "snp.measurement.not-accepted",
    ),
    (
        "terms: any measurement",
        || with(&genoa(), |p| p.measurement = Expected::any("x")),
        "verified, waived: SNP-23",
    ),
    (
        "terms: any measurement, without a reason",
        || with(&genoa(), |p| p.measurement = Expected::any("")),
        "policy.waiver-without-reason",
    ),
    ("terms: host data", || with(&genoa(), |p| p.host_data = one([1; 32])), "snp.host-data.not-accepted"),
    ("terms: ID key", || with(&genoa(), |p| p.id_key_digest = one([1; 48])), "snp.id-key.not-accepted"),
    (
        "terms: no ID key (clerk_default has one)",
        || with(&milan("clerk_default/vcek_chain.pem"), |p| p.id_key_digest = one([0; 48])),
        "snp.id-key.not-accepted",
    ),
    (
        "terms: author key",
        || with(&genoa(), |p| p.author_key_digest = one([1; 48])),
        "snp.author-key.not-accepted",
    ),
    ("terms: family id", || with(&genoa(), |p| p.family_id = one([1; 16])), "snp.family-id.not-accepted"),
    ("terms: image id", || with(&genoa(), |p| p.image_id = one([1; 16])), "snp.image-id.not-accepted"),
    ("terms: guest SVN", || with(&genoa(), |p| p.minimum_guest_svn = 1), "snp.guest-svn.below-minimum"),
    ("terms: chip", || with(&genoa(), |p| p.chip_id = one([1; 64])), "snp.chip-id.not-accepted"),
    (
        "terms: VLEK of another provider",
        || {
            with(&vlek(), |p| {
                aws(p);
                p.vlek_providers = vec!["CN=cc-eu-west-1.amazonaws.com".to_owned()];
            })
        },
        "snp.vlek.provider-not-accepted",
    ),
    (
        "terms: no VLEK",
        || {
            with(&vlek(), |p| {
                aws(p);
                p.vlek_providers.clear();
            })
        },
        "snp.vlek.provider-not-accepted",
    ),
    (
        "terms: a list of chips, and a VLEK",
        || {
            with(&vlek(), |p| {
                aws(p);
                p.chip_id = one([0; 64]);
            })
        },
        "snp.chip-id.not-named",
    ),
    (
        "terms: none for SEV-SNP",
        || code_of(genoa().verify().expect("genuine").appraise(&Policy::deny_all(), &genoa().bound())),
        "policy.platform-not-accepted",
    ),
    ("binding: last byte", || bound(|data| data[63] ^= 1), "binding.report-data"),
    ("binding: first byte", || bound(|data| data[0] ^= 0x80), "binding.report-data"),
    ("binding: second half not zero", || bound(|data| data[32..].fill(1)), "binding.report-data"),
    ("binding: as it is", || bound(|_| ()), "verified"),
    (
        "binding: danger, unchecked",
        || {
            let policy = Policy::for_snp(genoa().exact_policy());
            let binding = casemate_attest::Binding::danger_unchecked("an audit of an old report");
            code_of(genoa().verify().expect("genuine").appraise(&policy, &binding))
        },
        "verified, waived: SNP-31",
    ),
    (
        "binding: danger, unchecked without a reason",
        || {
            let policy = Policy::for_snp(genoa().exact_policy());
            let binding = casemate_attest::Binding::danger_unchecked("");
            code_of(genoa().verify().expect("genuine").appraise(&policy, &binding))
        },
        "policy.waiver-without-reason",
    ),
];

/// The JSON form.
const REPORTS: &[Case] = &[
    (
        "report: verified",
        || {
            let verified = genoa().verify().expect("genuine").appraise(&exact_of(&genoa()), &genoa().bound());
            summary(&Report::from_verified(&verified.expect("ours")))
        },
        "casemate.verify/1 verified simulated=false VERIFIED code=null 31 checks: 31 pass; claims; until 1762131600",
    ),
    (
        "report: verified with waivers",
        || {
            let policy = Policy::for_snp(SnpPolicy { vmpl: Expected::any("x"), ..turin().exact_policy() });
            let verified = turin().verify().expect("genuine").appraise(&policy, &turin().bound());
            Report::from_verified(&verified.expect("ours")).headline().to_owned()
        },
        "VERIFIED, 2 waived: SNP-07, SNP-17",
    ),
    (
        "report: authentic",
        || summary(&Report::from_authentic(&genoa().verify().expect("genuine"))),
        "casemate.verify/1 authentic simulated=false GENUINE, NOT APPRAISED code=null 31 checks: 10 pass, 21 not-reached; \
         claims; until 1762131600",
    ),
    (
        "report: denied at SNP-12",
        || {
            let policy =
                Policy::for_snp(SnpPolicy { minimum_report_version: Version::V5, ..genoa().exact_policy() });
            let denied = genoa().verify().expect("genuine").appraise(&policy, &genoa().bound());
            summary(&Report::from_denied(&denied.expect_err("must be refused")))
        },
        "casemate.verify/1 denied simulated=false DENIED: report version 3 is below the minimum 5 \
         code=\"snp.version.below-minimum\" 31 checks: 11 pass, 1 fail, 19 not-reached; claims; until 1762131600",
    ),
    (
        "report: rejected at SNP-07",
        || summary(&Report::from_rejected(&clerk_v5(crl("genoa")).verify().expect_err("must be refused"))),
        "casemate.verify/1 rejected simulated=false REJECTED: the revocation list expired at 1762131600, and the time is \
         1767268800 code=\"crl.expired\" 31 checks: 6 pass, 1 fail, 24 not-reached; no claims",
    ),
    (
        "report: malformed",
        || {
            let error = Evidence::parse(&[]).expect_err("must be refused");
            summary(&Report::from_parse_error(&error, &TrustAnchors::amd()))
        },
        "casemate.verify/1 malformed simulated=false MALFORMED: 0 bytes are not evidence of a known platform \
         code=\"evidence.unknown-format\" 31 checks: 1 fail, 30 not-reached; no claims",
    ),
];

const GENOA_PEM: &str = "snp/clerk_genoa_alias_check/vcek_chain.pem";
const TURIN_PEM: &str = "snp/clerk_turin/vcek_chain.pem";
const CLERK_MILAN: &str = "snp/clerk_milan/vcek_chain.pem";
const VLEK: &str = "snp/trustee_vlek/vlek.der";
const WRONG_ORDER: &str = "snp/clerk_negative/vcek_wrong_order.pem";
const GENOA_TCB: Tcb = Tcb { fmc: 0, bootloader: 9, tee: 0, snp: 0x17, microcode: 0x48 };

// === Recordings ===

/// A Milan report beside its certificate, within the Milan revocation list.
fn milan(vek: &str) -> Recording {
    let (folder, _) = vek.split_once('/').expect("folder/file");
    Recording::new(&format!("snp/{folder}/report.bin"), &format!("snp/{vek}"), crl("milan"), JUNE_2025)
}

fn clerk_milan() -> Recording {
    milan("clerk_milan/vcek_chain.pem")
}

fn clerk_genoa() -> Recording {
    let vek = "snp/clerk_genoa/vcek_chain.pem";
    Recording::new("snp/clerk_genoa/report.bin", vek, crl("genoa"), OCTOBER_2025)
}

/// Issued after the recorded Genoa revocation list had expired.
fn clerk_v5(revocation: Revocation) -> Recording {
    Recording::new("snp/clerk_v5/report.bin", "snp/clerk_v5/vcek_chain.pem", revocation, JANUARY_2026)
}

fn self_signed(now: UnixTime) -> Recording {
    let vek = certificate("snp/clerk_negative/selfsigned_vcek_chain.pem", 0);
    Recording { vek, now, ..milan("clerk_default/vcek_chain.pem") }
}

/// A report that was recorded as the JSON of an old library, put back into its bytes.
fn sev_attest_tool() -> Recording {
    let json: serde_json::Value =
        serde_json::from_slice(&file("snp/sev_attest_tool_genoa/report.json")).expect("JSON");
    let number = |name: &str| json[name].as_u64().expect("number");
    let list = |value: &serde_json::Value| -> Vec<u8> {
        value.as_array().expect("list").iter().map(|octet| octet.as_u64().expect("octet") as u8).collect()
    };
    let tcb = |name: &str| {
        let part = |part: &str| json[name][part].as_u64().expect("SVN") as u8;
        vec![part("bootloader"), part("tee"), 0, 0, 0, 0, part("snp"), part("microcode")]
    };
    let word = |name: &str| (number(name) as u32).to_le_bytes().to_vec();
    let version = |name: &str| {
        ["build", "minor", "major"]
            .iter()
            .map(|part| number(&format!("{name}_{part}")) as u8)
            .chain([0])
            .collect()
    };
    let report = [
        word("version"),
        word("guest_svn"),
        number("policy").to_le_bytes().to_vec(),
        list(&json["family_id"]),
        list(&json["image_id"]),
        word("vmpl"),
        word("sig_algo"),
        tcb("current_tcb"),
        number("plat_info").to_le_bytes().to_vec(),
        word("_author_key_en"),
        vec![0; 4],
        list(&json["report_data"]),
        list(&json["measurement"]),
        list(&json["host_data"]),
        list(&json["id_key_digest"]),
        list(&json["author_key_digest"]),
        list(&json["report_id"]),
        list(&json["report_id_ma"]),
        tcb("reported_tcb"),
        vec![0; 24],
        list(&json["chip_id"]),
        tcb("committed_tcb"),
        version("current"),
        version("committed"),
        tcb("launch_tcb"),
        vec![0; 168],
        list(&json["signature"]["r"]),
        list(&json["signature"]["s"]),
        vec![0; 368],
    ]
    .concat();
    let vek = "snp/sev_attest_tool_genoa/vcek.crt";
    Recording { report, vek: certificate(vek, 0), revocation: crl("genoa"), now: OCTOBER_2025 }
}

// === What is done with them ===

fn exact(case: &Recording) -> String {
    with(case, |_| ())
}

fn exact_of(case: &Recording) -> Policy {
    Policy::for_snp(case.exact_policy())
}

/// On its own terms, with one change.
fn with(case: &Recording, change: impl FnOnce(&mut SnpPolicy)) -> String {
    let mut policy = case.exact_policy();
    change(&mut policy);
    code_of(case.verify().expect("genuine").appraise(&Policy::for_snp(policy), &case.bound()))
}

fn strict(case: &Recording) -> String {
    let authentic = case.verify().expect("genuine");
    let policy = Policy::strict_for_measurement(*authentic.claims().measurement());
    code_of(authentic.appraise(&policy, &case.bound()))
}

fn must(protection: GuestProtection) -> String {
    with(&genoa(), |policy| policy.guest_must.push(protection))
}

fn floor(tcb: Tcb) -> String {
    with(&genoa(), |policy| policy.minimum_tcb.genoa = Floor::AtLeast(tcb))
}

/// The terms that the recorded AWS machine needs.
fn aws(policy: &mut SnpPolicy) {
    policy.vmpl = Expected::OneOf(vec![1]);
    policy.provisional_firmware = allow();
    policy.vlek_providers = vec!["CN=cc-us-east-2.amazonaws.com".to_owned()];
}

fn one<const N: usize>(value: [u8; N]) -> Expected<[u8; N]> {
    Expected::OneOf(vec![value])
}

fn bound(change: impl FnOnce(&mut [u8; 64])) -> String {
    let case = genoa();
    let mut data: [u8; 64] = case.report[0x50..0x90].try_into().expect("64 bytes");
    change(&mut data);
    let binding = casemate_attest::Binding::report_data(data);
    code_of(case.verify().expect("genuine").appraise(&exact_of(&case), &binding))
}

fn form(change: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut case = genoa();
    change(&mut case.report);
    case.parse().expect_err("must be refused").code().to_owned()
}

fn parsed(path: &str) -> String {
    let evidence = Evidence::parse(&file(path)).expect("the report has the right form");
    format!("version {}", evidence.snp().expect("a SEV-SNP report").version().number())
}

fn vek(case: Recording, vek: Vec<u8>) -> String {
    refused(&Recording { vek, ..case })
}

fn negative(path: &str, now: UnixTime) -> String {
    let vek = certificate(&format!("snp/clerk_negative/{path}"), 0);
    refused(&Recording { vek, now, ..milan("clerk_default/vcek_chain.pem") })
}

fn revoked(case: Recording, revocation: Revocation) -> String {
    refused(&Recording { revocation, ..case })
}

fn not_checked_because(reason: &str) -> Revocation {
    Revocation::DangerNotChecked { reason: reason.to_owned() }
}

fn crl_with(change: impl FnOnce(&mut Vec<u8>)) -> Revocation {
    let mut crl = file("roots/amd/genoa_crl.der");
    change(&mut crl);
    Revocation::Crl(crl)
}

fn at(case: Recording, now: u64) -> String {
    match (Recording { now: UnixTime(now), ..case }).verify() {
        Ok(_) => "authentic".to_owned(),
        Err(rejected) => rejected.code().to_owned(),
    }
}

fn refused(case: &Recording) -> String {
    let rejected = case.verify().expect_err("must be refused");
    let failed: Vec<_> = rejected.checks.iter().filter(|check| check.outcome == Outcome::Fail).collect();
    assert_eq!(failed.len(), 1, "exactly one rule fails");
    assert_eq!(rejected.checks.len(), 31, "every rule is listed");
    rejected.code().to_owned()
}

fn code_of(result: Result<casemate_attest::Verified, casemate_attest::Denied>) -> String {
    match result {
        Ok(verified) => {
            let headline = Report::from_verified(&verified).headline().to_owned();
            match headline.split_once(" waived: ") {
                None => headline.to_lowercase(),
                Some((_, rules)) => format!("verified, waived: {rules}"),
            }
        }
        Err(denied) => {
            assert_eq!(denied.checks.len(), 31, "every rule is listed");
            denied.code().to_owned()
        }
    }
}

/// What matters of the JSON form, in one line.
fn summary(report: &Report) -> String {
    let json = serde_json::to_value(report).expect("JSON");
    let checks = json["checks"].as_array().expect("checks");
    let count = |outcome: &str| match checks.iter().filter(|check| check["outcome"] == outcome).count() {
        0 => None,
        count => Some(format!("{count} {outcome}")),
    };
    let counts: Vec<_> = ["pass", "waived", "fail", "not-reached"].into_iter().filter_map(count).collect();
    let claims = match (&json["claims"], &json["valid_until"]) {
        (serde_json::Value::Null, serde_json::Value::Null) => "no claims".to_owned(),
        (claims, until) => {
            assert_eq!(claims["platform"], "sev-snp");
            assert_eq!(claims["measurement"].as_str().map(str::len), Some(96));
            format!("claims; until {until}")
        }
    };
    format!(
        "{} {} simulated={} {} code={} {} checks: {}; {claims}",
        json["schema"].as_str().expect("schema"),
        json["verdict"].as_str().expect("verdict"),
        json["simulated"],
        json["headline"].as_str().expect("headline"),
        json["code"],
        checks.len(),
        counts.join(", "),
    )
}
