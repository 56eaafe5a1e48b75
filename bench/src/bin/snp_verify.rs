//! Verification of one SEV-SNP report from its bytes: ours against the crate `sev`.
//!
//! Ours does everything that a verdict needs: parses the report and the VEK certificate, validates the chain to the
//! pinned root (signatures, validity, authority flags, key usage, key sizes, exact algorithm parameters), parses the
//! revocation list and verifies its signature, date and entries, verifies the report's signature, compares TCB, chip and
//! product line, and appraises all 31 rules against a policy with the measurement and the report data.
//!
//! The ARK's signature over the ASK, both embedded, is computed once in a process (the warm-up does it).
//!
//! The peer verifies signatures only: ARK over itself, ARK over ASK, ASK over VEK, VEK over the report. It looks at no
//! date, revocation list, TCB, chip or policy. Its ARK and ASK are parsed beforehand, as our roots are; a third row shows
//! it with all three certificates parsed every time.
//!
//! A fourth row of ours does without the revocation list (a written waiver): the same signatures as the peer's, with every
//! other rule.
//!
//! Settings: `ROUNDS` (2000), `CASEMATE_VECTORS` (`../shared/vectors` beside the workspace). Without recorded evidence
//! it uses a simulated machine and says so.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use casemate_attest::snp::{PlatformWeakness, SnpPolicy, Version};
use casemate_attest::{
    Binding, Endorsements, Evidence, Expected, IssuerCache, Policy, Revocation, TrustAnchors, UnixTime,
    Verified, verify,
};
use casemate_bench::{Side, alternate, print_json, print_table, setting};
use casemate_sim::{MachineConfig, Vendor};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde_json::json;
use sev::certs::snp::{Certificate, Chain, Verifiable, ca};
use sev::firmware::guest::AttestationReport;
use sev::parser::ByteParser;

/// A Genoa machine under the recorded revocation list, which ended on 2025-11-03.
const RECORDED: &str = "clerk_genoa";
const RECORDED_NOW: UnixTime = UnixTime(1_748_736_000); // 2025-06-01

/// The same bytes for both sides.
struct Input {
    what: String,
    report: Vec<u8>,
    vek: Vec<u8>,
    ark: Vec<u8>,
    ask: Vec<u8>,
    crl: Vec<u8>,
    anchors: TrustAnchors,
    now: UnixTime,
}

fn main() {
    let rounds = setting("ROUNDS", 2000);
    let input = recorded().unwrap_or_else(simulated);
    let (policy, binding) = policy(&input);
    let roots = parse_roots(&input);

    // Both accept the report, and both notice one changed byte of it.
    ours(&input, &input.report, &policy, &binding).expect("ours accepts the report");
    peer(&input, &input.report, roots.clone()).expect("the peer accepts the report");
    let mut changed = input.report.clone();
    changed[0x90] ^= 1;
    assert!(ours(&input, &changed, &policy, &binding).is_err(), "ours accepts a changed report");
    assert!(peer(&input, &changed, roots.clone()).is_err(), "the peer accepts a changed report");

    let unlisted = || Revocation::DangerNotChecked { reason: "the peer reads no revocation list".into() };
    let cache = Arc::new(IssuerCache::new());
    let samples = alternate(
        rounds / 10,
        rounds,
        vec![
            Side::timed("casemate: every rule", || {
                ours(&input, &input.report, &policy, &binding).expect("verified");
            }),
            Side::timed("casemate: with an issuer cache", || {
                cache.during(|| ours(&input, &input.report, &policy, &binding)).expect("verified");
            }),
            Side::timed("casemate: without the list", || {
                judged(&input, &input.report, unlisted(), &policy, &binding).expect("verified");
            }),
            Side::timed("sev: signatures, roots parsed", || {
                peer(&input, &input.report, roots.clone()).expect("verified");
            }),
            Side::timed("sev: signatures, all from bytes", || {
                peer(&input, &input.report, parse_roots(&input)).expect("verified");
            }),
        ],
    );

    println!("snp_verify: {}", input.what);
    print_table(&samples);
    print_json(
        "snp_verify",
        json!({
            "input": input.what,
            "ours": concat!("casemate-attest ", env!("CARGO_PKG_VERSION"),
                ": parse, verify (chain, CRL, signature, TCB, chip), appraise; aws-lc-rs"),
            "peer": format!("sev 8.0.0: chain and report signatures only; {}", openssl::version::version()),
            "rounds": samples.rounds(),
            "ours_us": (samples.median(0) * 1e6).round(),
            "ours_cached_us": (samples.median(1) * 1e6).round(),
            "ours_unlisted_us": (samples.median(2) * 1e6).round(),
            "peer_us": (samples.median(3) * 1e6).round(),
            "peer_all_from_bytes_us": (samples.median(4) * 1e6).round(),
            "median_ratio": rounded(samples.ratio(4, 0)),
            "median_ratio_cached": rounded(samples.ratio(4, 1)),
            "median_ratio_unlisted": rounded(samples.ratio(4, 2)),
            "ratio_is": "time of peer, all from bytes / time of ours",
            "median_ratio_parsed": rounded(samples.ratio(3, 0)),
            "median_ratio_parsed_cached": rounded(samples.ratio(3, 1)),
            "median_ratio_parsed_unlisted": rounded(samples.ratio(3, 2)),
            "ratio_parsed_is": "time of peer with parsed roots / time of ours",
        }),
    );
}

/// To three decimals.
fn rounded(ratio: f64) -> f64 {
    (ratio * 1000.0).round() / 1000.0
}

fn ours(input: &Input, report: &[u8], policy: &Policy, binding: &Binding) -> Result<Verified, &'static str> {
    judged(input, report, Revocation::Crl(input.crl.clone()), policy, binding)
}

fn judged(
    input: &Input,
    report: &[u8],
    revocation: Revocation,
    policy: &Policy,
    binding: &Binding,
) -> Result<Verified, &'static str> {
    let evidence = Evidence::parse(report).map_err(|error| error.code())?;
    let endorsements = Endorsements::snp(input.vek.clone(), revocation);
    let authentic =
        verify(&evidence, &endorsements, &input.anchors, input.now).map_err(|rejected| rejected.code())?;
    authentic.appraise(policy, binding).map_err(|denied| denied.code())
}

fn peer(input: &Input, report: &[u8], ca: ca::Chain) -> std::io::Result<()> {
    let report = AttestationReport::from_bytes(report)?;
    let chain = Chain { ca, vek: Certificate::from_der(&input.vek)? };
    (&chain, &report).verify()
}

fn parse_roots(input: &Input) -> ca::Chain {
    ca::Chain::from_der(&input.ark, &input.ask).expect("the peer parses ARK and ASK")
}

/// What this machine is, demanded of it: the comparisons are made, and they hold.
fn policy(input: &Input) -> (Policy, Binding) {
    let evidence = Evidence::parse(&input.report).expect("a report");
    let report = evidence.snp().expect("a SEV-SNP report");
    let terms = SnpPolicy {
        host_data: Expected::OneOf(vec![report.host_data()]),
        chip_id: Expected::OneOf(vec![report.chip_id()]),
        minimum_report_version: Version::V2,
        minimum_tcb: floor_of(&input.report),
        platform_may: vec![PlatformWeakness::Smt],
        platform_must: Vec::new(),
        ..SnpPolicy::strict(Expected::OneOf(vec![report.measurement()]))
    };
    (Policy::for_snp(terms), Binding::report_data(report.report_data()))
}

/// A floor that equals a Genoa machine's reported TCB.
fn floor_of(report: &[u8]) -> casemate_attest::snp::MinimumTcb {
    use casemate_attest::snp::{Floor, MinimumTcb, Tcb};
    let at = 0x180;
    let (bootloader, tee, snp, microcode) = (report[at], report[at + 1], report[at + 6], report[at + 7]);
    let genoa = Floor::AtLeast(Tcb { fmc: 0, bootloader, tee, snp, microcode });
    MinimumTcb { genoa, ..MinimumTcb::BASELINE }
}

fn recorded() -> Option<Input> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/vectors");
    let vectors = std::env::var_os("CASEMATE_VECTORS").map_or_else(beside, PathBuf::from);
    let directory = vectors.join("snp").join(RECORDED);
    let report = fs::read(directory.join("report.bin")).ok()?;
    let vek = certificates(&fs::read(directory.join("vcek_chain.pem")).ok()?).into_iter().next()?;
    // AMD's bundle: ASK, then ARK.
    let roots = certificates(&fs::read(vectors.join("roots/amd/genoa_vcek_ask_ark.pem")).ok()?);
    let [ask, ark] = roots.try_into().ok()?;
    let crl = fs::read(vectors.join("roots/amd/genoa_crl.der")).ok()?;
    Some(Input {
        what: format!("recorded report of a Genoa machine ({RECORDED}), at {RECORDED_NOW}"),
        report,
        vek,
        ark,
        ask,
        crl,
        anchors: TrustAnchors::amd(),
        now: RECORDED_NOW,
    })
}

fn simulated() -> Input {
    let now = UnixTime(1_795_478_400);
    let vendor = Vendor::create(casemate_attest::snp::ProductLine::Genoa, now).expect("a vendor");
    let machine = vendor.machine(&MachineConfig::new([7; 48])).expect("a machine");
    let [ark, ask, _]: [Vec<u8>; 3] =
        certificates(vendor.root_pem().as_bytes()).try_into().expect("three certificates");
    Input {
        what: "SIMULATED report of a Genoa machine (no recorded evidence found)".into(),
        report: machine.report(&[9; 64]).expect("a report"),
        vek: machine.vek_der().to_vec(),
        ark,
        ask,
        crl: machine.crl_der().to_vec(),
        anchors: TrustAnchors::danger_only_pem(&vendor.root_pem()).expect("a root"),
        now,
    }
}

fn certificates(pem: &[u8]) -> Vec<Vec<u8>> {
    CertificateDer::pem_slice_iter(pem).map(|der| der.expect("PEM").to_vec()).collect()
}
