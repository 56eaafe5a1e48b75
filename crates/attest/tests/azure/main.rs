//! Evidence of Azure confidential VMs, case by case: what must pass, and what must be refused with which code. Recorded on SEV-SNP;
//! on TDX, where nothing was recorded that could pass, made up under vendors of the tests (made.rs).
//!
//! One line of a table is one case: a recording with at most one thing about it changed. Quotes over other selections need
//! a signature, so those cases are beside the module (src/tpm/tests.rs), under a key of the tests.

mod certificate;
mod event_log;
mod made;
mod nonce;
mod on_tdx;
#[path = "../recorded/mod.rs"]
mod recorded;
mod sweeps;
mod user_data;

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use casemate_attest::azure::{
    AzurePolicy, HardwareClaims, HardwareReport, HclReport, PcrTerms, RuntimeData, UserDataTerms, VmId,
};
use casemate_attest::rules::azure_vtpm;
use casemate_attest::snp::{Floor, HostTrustPolicy, MinimumTcb, SnpPolicy, Tcb};
use casemate_attest::tpm::{PcrValues, Quote, QuoteSignature};
use casemate_attest::{
    Authentic, Binding, Endorsements, Evidence, Expected, Outcome, ParseError, PlatformPolicy, Policy,
    Rejected, Report, Revocation, TrustAnchors, UnixTime, verify,
};
use libtest_mimic::{Arguments, Failed, Trial};
use recorded::{OCTOBER_2025, allow, crl, file, not_checked};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use sweeps::{
    every_bit_of_the_quote, every_bit_of_the_runtime_data, every_byte_of_the_hcl_report, every_length,
    garbage, sweep,
};

/// Name, what is done, expected answer.
pub(crate) type Case = (&'static str, fn() -> String, &'static str);

/// Of the runtime data and REPORT_DATA in an HCL report.
const RUNTIME: usize = 0x4d4;
const REPORT: usize = 0x20;
const REPORT_DATA: usize = REPORT + 0x50;

fn main() {
    let arguments = Arguments::from_args();
    let absent = recorded::folder().is_none();
    let trial = |(name, answer, expected): Case| {
        Trial::test(name, move || {
            let found = answer();
            if found == expected {
                Ok(())
            } else {
                Err(Failed::from(format!("{found:?}, expected {expected:?}")))
            }
        })
    };
    let mut trials: Vec<Trial> = [
        MACHINES,
        FORMS,
        BINDINGS,
        QUOTES,
        TERMS,
        event_log::EVENT_LOGS,
        on_tdx::ON_TDX,
        certificate::CERTIFICATES,
        nonce::NONCES,
        user_data::EXCHANGES,
    ]
    .concat()
    .into_iter()
    .map(trial)
    .collect();
    trials.push(Trial::test("sweep: every bit of the quote", || sweep(every_bit_of_the_quote)));
    trials.push(Trial::test("sweep: every bit of the runtime data", || sweep(every_bit_of_the_runtime_data)));
    trials.push(Trial::test("sweep: every byte of the HCL report", || sweep(every_byte_of_the_hcl_report)));
    trials.push(Trial::test("sweep: garbage within each part", || sweep(garbage)));
    trials.push(Trial::test("sweep: every length of every part", || sweep(every_length)));
    let recorded = trials.into_iter().map(|trial| trial.with_ignored_flag(absent));
    let all = recorded.chain(made::MADE.iter().copied().map(trial)).collect();
    libtest_mimic::run(&arguments, all).exit();
}

/// Every recorded machine, on exactly its own terms.
const MACHINES: &[Case] = &[
    ("genoa", || exact(&genoa()), "verified, waived: AZ-07, AZ-11, SNP-31"),
    ("v0", || exact(&milan("v0")), "verified, waived: SNP-13, AZ-07, AZ-11, SNP-31"),
    ("v1", || exact(&milan("v1")), "verified, waived: SNP-13, AZ-07, AZ-11, SNP-31"),
    ("v2", || exact(&milan("v2")), "verified, waived: SNP-13, AZ-07, AZ-11, SNP-31"),
    (
        "v2: the nonce is 48 bytes, not 64",
        || exact_bound(&milan("v2"), nonce_and_zeros),
        "binding.report-data",
    ),
    (
        "v0: the nonce is 9 bytes, not 64",
        || exact_bound(&milan("v0"), nonce_and_zeros),
        "binding.report-data",
    ),
    ("genoa: another nonce", || exact_bound(&genoa(), |_| [0; 64]), "binding.report-data"),
    ("v2: claims", || claims(&milan("v2")), V2_CLAIMS),
    ("genoa: the protocol lists every rule", || protocol(&genoa()), "42 rules, 42 looked at"),
    ("kinvolk SNP: form", || hcl_form("azure/kinvolk/hcl-report-snp.bin"), "version 1, snp, SHA-256, bound"),
    ("kinvolk TDX: form", || hcl_form("azure/kinvolk/hcl-report-tdx.bin"), "version 2, tdx, SHA-256, bound"),
    ("trustee SNP: form", || hcl_form("azure/trustee_snp/hcl-report.bin"), "version 1, snp, SHA-256, bound"),
    ("trustee TDX: form", || hcl_form("azure/trustee_tdx/hcl-report.bin"), "version 2, tdx, SHA-256, bound"),
    ("kinvolk: var-data.bin: form", kinvolk_var_data, "read"),
    ("tpm: trustee's quote and TPMT_SIGNATURE: form", trustee_tpm, "PCRs selected"),
    ("tpm: dstack's quote: form", dstack_tpm, "4 bytes bound; {11: [0, 1, 2]}"),
];

/// Documents and HCL reports with one mistake in their form.
const FORMS: &[Case] = &[
    ("document: empty object", || parse_code(b"{}"), "evidence.unknown-format"),
    (
        "document: no member but the format",
        || parse_code(br#"{"format":"casemate.azure-vtpm/1"}"#),
        "azure.document.json",
    ),
    ("document: not JSON", || parse_code(br#"{"format":"casemate.azure-vtpm/1""#), "azure.document.json"),
    (
        "document: 32 KiB of brackets and the name",
        || parse_code(&[&[b'{'; 32 * 1024][..], b"casemate.azure-vtpm/1"].concat()),
        "azure.document.too-long",
    ),
    (
        "document: another version",
        || document(|d| d["format"] = json!("casemate.azure-vtpm/2")),
        "azure.document.format",
    ),
    ("document: unknown member", || document(|d| d["vcek"] = json!("")), "azure.document.json"),
    ("document: member missing", || document(|d| drop(remove(d, "signature"))), "azure.document.json"),
    ("document: member twice", member_twice, "azure.document.json"),
    ("document: something follows", something_follows, "azure.document.json"),
    ("document: base64 without padding", || document(|d| trim(d, "quote")), "azure.document.base64"),
    ("document: base64url", || document(|d| d["quote"] = json!("_1RD")), "azure.document.base64"),
    (
        "document: PCR of 31 bytes",
        || document(|d| d["pcrs"][3][1] = json!("00".repeat(31))),
        "azure.document.pcr-value",
    ),
    (
        "document: PCR of 33 bytes",
        || document(|d| d["pcrs"][3][1] = json!("00".repeat(33))),
        "azure.document.pcr-value",
    ),
    ("document: PCR 24", || document(|d| d["pcrs"][23][0] = json!(24)), "tpm.pcr.index"),
    ("document: PCR 256", || document(|d| d["pcrs"][23][0] = json!(256)), "azure.document.json"),
    ("document: PCR twice", || document(|d| d["pcrs"][4][0] = json!(3)), "tpm.pcr.order"),
    ("document: no PCR", || document(|d| d["pcrs"] = json!([])), "tpm.pcr.empty"),
    (
        "document: PCR with a third value",
        || document(|d| d["pcrs"][0] = json!([0, "", ""])),
        "azure.document.json",
    ),
    ("hcl: empty", || hcl(|h| h.clear()), "azure.hcl.length"),
    ("hcl: fixed part only, without its last byte", || hcl(|h| h.truncate(RUNTIME - 1)), "azure.hcl.length"),
    ("hcl: 8 KiB and a byte", || hcl(|h| h.resize(8193, 0)), "azure.hcl.length"),
    ("hcl: magic", || hcl(|h| h[3] = b'B'), "azure.hcl.magic"),
    ("hcl: version 0", || hcl(|h| h[4] = 0), "azure.hcl.value"),
    ("hcl: version 3", || hcl(|h| h[4] = 3), "azure.hcl.value"),
    ("hcl: report size", || hcl(|h| h[8] ^= 1), "azure.hcl.size"),
    ("hcl: request type", || hcl(|h| h[12] = 1), "azure.hcl.value"),
    ("hcl: status", || hcl(|h| h[16] = 1), "azure.hcl.value"),
    ("hcl: reserved", || hcl(|h| h[0x1f] = 1), "azure.hcl.not-zero"),
    ("hcl: hardware report", || hcl(|h| h[REPORT] = 6), "snp.format.version"),
    ("hcl: data size", || hcl(|h| h[0x4c0] ^= 1), "azure.hcl.size"),
    ("hcl: data version", || hcl(|h| h[0x4c4] = 2), "azure.hcl.value"),
    ("hcl: VBS", || hcl(|h| h[0x4c8] = 1), "azure.hcl.report-type"),
    ("hcl: report type 3", || hcl(|h| h[0x4c8] = 3), "azure.hcl.report-type"),
    ("hcl: a SEV-SNP report called TDX", || hcl(|h| h[0x4c8] = 4), "azure.document.td-quote"),
    ("hcl: hash type 0", || hcl(|h| h[0x4cc] = 0), "azure.hcl.hash-type"),
    ("hcl: hash type 4", || hcl(|h| h[0x4cc] = 4), "azure.hcl.hash-type"),
    ("hcl: variable size alone", || hcl(|h| h[0x4d0] ^= 1), "azure.hcl.size"),
    ("hcl: variable size of 4 GiB", || hcl(|h| h[0x4d0..0x4d4].fill(0xff)), "azure.hcl.size"),
    ("hcl: sizes beyond the end", || hcl(|h| resize(h, 8000)), "azure.hcl.size"),
    (
        "hcl: something after the runtime data",
        || hcl(|h| *h.last_mut().expect("long") = 1),
        "azure.hcl.not-zero",
    ),
    ("quote: magic", || quote(|q| q[0] = 0xfe), "tpm.quote.magic"),
    ("quote: type", || quote(|q| q[5] = 0x17), "tpm.quote.type"),
    ("quote: trailing byte", || quote(|q| q.push(0)), "tpm.quote.trailing"),
    ("quote: without its last byte", || quote(|q| q.truncate(q.len() - 1)), "tpm.quote.truncated"),
    ("signature: trailing byte", || signature(|s| s.push(0)), "tpm.signature.length"),
    (
        "signature: of another scheme",
        || signature(|s| *s = [&[0, 0x16, 0, 0x0b, 1, 0][..], s].concat()),
        "tpm.signature.scheme",
    ),
];

/// The hardware report, and what it binds.
const BINDINGS: &[Case] = &[
    ("hardware: no VCEK", || refused(&Machine { vek: Vec::new(), ..genoa() }), "x509.missing"),
    (
        "hardware: the VCEK of another machine",
        || refused(&Machine { vek: milan("v0").vek, ..genoa() }),
        "snp.product.mismatch",
    ),
    (
        "hardware: no revocation list",
        || refused(&Machine { revocation: Revocation::Missing, ..genoa() }),
        "crl.missing",
    ),
    ("hardware: expired", || refused(&Machine { now: UnixTime(u64::MAX), ..genoa() }), "x509.expired"),
    ("hardware: report of VMPL 2", || hcl(|h| h[REPORT + 0x30] = 2), "azure.hardware.vmpl"),
    ("hardware: signed byte", || hcl(|h| h[REPORT + 0x90] ^= 1), "snp.signature.invalid"),
    ("hardware: byte 0x1a6 (trustee)", || hcl(|h| h[REPORT + 0x1a6] ^= 1), "snp.signature.invalid"),
    (
        "hardware: last byte of REPORT_DATA not zero",
        || hcl(|h| h[REPORT_DATA + 63] = 1),
        "snp.signature.invalid",
    ),
    ("hardware: endorsements of Nitro", other_endorsements, "endorsements.platform"),
    ("runtime data: first byte", || hcl(|h| h[RUNTIME] ^= 1), "azure.binding"),
    ("runtime data: byte 0x6e0 (trustee)", || hcl(|h| h[0x6e0] ^= 1), "azure.binding"),
    ("runtime data: AK modulus, byte 0x540 (trustee)", || hcl(|h| h[0x540] ^= 1), "azure.binding"),
    ("runtime data: one NUL more, padding counted in", || hcl(|h| grow(h, 1)), "azure.binding"),
    ("runtime data: all NULs counted in", || hcl(|h| resize(h, 2600 - RUNTIME)), "azure.binding"),
    ("runtime data: one byte less", one_byte_less, "azure.hcl.not-zero"),
    ("runtime data: SHA-384 instead of SHA-256", || hcl(|h| h[0x4cc] = 2), "azure.binding"),
    ("runtime data: SHA-512 instead of SHA-256", || hcl(|h| h[0x4cc] = 3), "azure.binding"),
    (
        "runtime data: another machine's",
        || refused(&Machine { hcl: transplant(&milan("v0"), &milan("v2")), ..milan("v0") }),
        "azure.binding",
    ),
    ("runtime JSON: as it is", || runtime(|_| {}), "read"),
    ("runtime JSON: without user-data", || runtime(|r| drop(remove(r, "user-data"))), "read"),
    ("runtime JSON: unknown members", || runtime(|r| r["vm-configuration"]["new"] = json!(1)), "read"),
    (
        "runtime JSON: no attestation key",
        || runtime(|r| r["keys"][0]["kid"] = json!("HCLAkPub2")),
        "azure.runtime.key-missing",
    ),
    ("runtime JSON: no keys", || runtime(|r| r["keys"] = json!([])), "azure.runtime.key-missing"),
    (
        "runtime JSON: two attestation keys",
        || runtime(|r| r["keys"][1]["kid"] = json!("HCLAkPub")),
        "azure.runtime.key-duplicate",
    ),
    ("runtime JSON: exponent 3", || runtime(|r| r["keys"][0]["e"] = json!("Aw")), "azure.runtime.key-type"),
    ("runtime JSON: EC key", || runtime(|r| r["keys"][0]["kty"] = json!("EC")), "azure.runtime.key-type"),
    (
        "runtime JSON: RSA-1024",
        || runtime(|r| r["keys"][0]["n"] = json!(URL_SAFE_NO_PAD.encode([0xff; 128]))),
        "azure.runtime.key-type",
    ),
    (
        "runtime JSON: RSA-3072",
        || runtime(|r| r["keys"][0]["n"] = json!(URL_SAFE_NO_PAD.encode([0xff; 384]))),
        "azure.runtime.key-type",
    ),
    (
        "runtime JSON: user-data of 63 bytes",
        || runtime(|r| r["user-data"] = json!("00".repeat(63))),
        "azure.runtime.user-data",
    ),
    (
        "runtime JSON: user-data of 65 bytes",
        || runtime(|r| r["user-data"] = json!("00".repeat(65))),
        "azure.runtime.user-data",
    ),
    ("runtime JSON: user-data empty", || runtime(|r| r["user-data"] = json!("")), "azure.runtime.user-data"),
    (
        "runtime JSON: user-data not ASCII",
        || runtime(|r| r["user-data"] = json!("é".repeat(64))),
        "azure.runtime.user-data",
    ),
    (
        "runtime JSON: vmUniqueId",
        || runtime(|r| r["vm-configuration"]["vmUniqueId"] = json!("390CBCF5")),
        "azure.runtime.vm-id",
    ),
    (
        "runtime JSON: secure-boot missing",
        || runtime(|r| drop(remove(&mut r["vm-configuration"], "secure-boot"))),
        "azure.runtime.json",
    ),
    (
        "runtime JSON: secure-boot as text",
        || runtime(|r| r["vm-configuration"]["secure-boot"] = json!("true")),
        "azure.runtime.json",
    ),
    ("runtime JSON: secure-boot twice", || twice(r#""secure-boot":true"#), "azure.runtime.json"),
    ("runtime JSON: trailing NUL", trailing_nul, "azure.runtime.json"),
];

/// The quote, and the values beside it. The quote is genuine.
const QUOTES: &[Case] = &[
    ("quote: nonce", || quote(|q| q[50] ^= 1), "tpm.quote.signature"),
    (
        "quote: another machine's",
        || refused(&Machine { quote: milan("v1").quote, ..milan("v0") }),
        "tpm.quote.signature",
    ),
    ("quote: of the same key, with its signature", same_key, "authentic"),
    (
        "quote: of another key, with its signature",
        || refused(&Machine { quote: milan("v2").quote, signature: milan("v2").signature, ..milan("v0") }),
        "tpm.quote.signature",
    ),
    ("quote: signature reversed (kinvolk)", || signature(|s| s.reverse()), "tpm.quote.signature"),
    ("quote: signature zero", || signature(|s| s.fill(0)), "tpm.quote.signature"),
    (
        "quote: signature as TPMT_SIGNATURE",
        || signature(|s| *s = [&[0, 0x14, 0, 0x0b, 1, 0][..], s].concat()),
        "authentic",
    ),
    ("pcrs: last omitted", || pcrs(|p| p.truncate(23)), "tpm.quote.selection"),
    ("pcrs: first omitted", || pcrs(|p| p.retain(|pcr| pcr.0 != 0)), "tpm.quote.selection"),
    ("pcrs: PCR 8 omitted", || pcrs(|p| p.retain(|pcr| pcr.0 != 8)), "tpm.quote.selection"),
    ("pcrs: one alone", || pcrs(|p| p.truncate(1)), "tpm.quote.selection"),
    ("pcrs: a bit of PCR 8", || pcrs(|p| p[8].1[31] ^= 1), "tpm.quote.digest"),
    ("pcrs: two values swapped", || pcrs(|p| (p[0].1, p[1].1) = (p[1].1, p[0].1)), "tpm.quote.digest"),
];

/// Policies with one other term than the machine's own.
const TERMS: &[Case] = &[
    (
        "policy: of SEV-SNP only",
        || appraised(&genoa(), &Policy::for_snp(snp_terms(&mut genoa().exact()).clone())),
        "policy.platform-not-accepted",
    ),
    ("policy: nothing", || appraised(&genoa(), &Policy::deny_all()), "policy.platform-not-accepted"),
    (
        "policy: measurement",
        || with(|p| snp_terms(p).measurement = Expected::OneOf(vec![[0; 48]])),
        "snp.measurement.not-accepted",
    ),
    (
        "policy: VMPL 2 expected",
        || with(|p| snp_terms(p).vmpl = Expected::OneOf(vec![2])),
        "snp.vmpl.not-accepted",
    ),
    (
        "policy: console refused",
        || with(|p| p.console = casemate_attest::Danger::Refuse),
        "azure.console.enabled",
    ),
    (
        "policy: console without a reason",
        || with(|p| p.console = unwritten()),
        "policy.waiver-without-reason",
    ),
    (
        "policy: secure boot may be off, and is on",
        || with(|p| p.secure_boot_off = allow()),
        "verified, waived: AZ-07, AZ-11, SNP-31",
    ),
    (
        "policy: another machine",
        || with(|p| p.vm_id = Expected::OneOf(vec![vm("00000000-0000-0000-0000-000000000000")])),
        "azure.vm-id.not-accepted",
    ),
    ("policy: no machine", || with(|p| p.vm_id = Expected::OneOf(Vec::new())), "azure.vm-id.not-accepted"),
    (
        "policy: any machine",
        || with(|p| p.vm_id = Expected::any("any")),
        "verified, waived: AZ-07, AZ-08, AZ-11, SNP-31",
    ),
    (
        "policy: any machine, for no reason",
        || with(|p| p.vm_id = Expected::any(" ")),
        "policy.waiver-without-reason",
    ),
    ("policy: no PCR", || with(|p| p.pcrs.clear()), "azure.pcr.selection"),
    ("policy: PCR 4 only", || with(|p| p.pcrs.retain(|&index, _| index == 4)), "azure.pcr.selection"),
    ("policy: all but PCR 8", || with(|p| drop(p.pcrs.remove(&8))), "azure.pcr.selection"),
    ("policy: PCR 24", || with(|p| drop(p.pcrs.insert(24, Expected::any("any")))), "azure.pcr.selection"),
    (
        "policy: another PCR 7",
        || with(|p| drop(p.pcrs.insert(7, Expected::OneOf(vec![[0; 32]])))),
        "azure.pcr.not-accepted",
    ),
    (
        "policy: no PCR 7",
        || with(|p| drop(p.pcrs.insert(7, Expected::OneOf(vec![])))),
        "azure.pcr.not-accepted",
    ),
    (
        "policy: any PCR 7",
        || with(|p| drop(p.pcrs.insert(7, Expected::any("any")))),
        "verified, waived: AZ-07, AZ-09, AZ-11, SNP-31",
    ),
    (
        "policy: any PCR 7, for no reason",
        || with(|p| drop(p.pcrs.insert(7, Expected::any("")))),
        "policy.waiver-without-reason",
    ),
    (
        "policy: another user-data",
        || with(|p| p.user_data = UserDataTerms::one_of(vec![[1; 64]])),
        "azure.user-data.not-accepted",
    ),
    ("policy: user-data of v2 by its first 48 bytes", user_data_prefix, "azure.user-data.not-accepted"),
    (
        "policy: any user-data",
        || with(|p| p.user_data = UserDataTerms::any("any")),
        "verified, waived: AZ-07, AZ-10, AZ-11, SNP-31",
    ),
];

const V2_CLAIMS: &str = "azure-vtpm VM 7DF7B373-B947-4AAA-96E5-C358F2A03D20, secure boot true, console true, report data \
                         982f5c6e45df0ed3f10b6f60b02f0c8390e281300f3805e2279c16168cd6ae9aa398f647caa2338748cd0fd9f5f819ef, \
                         24 PCRs";

/// Recorded evidence, taken apart.
#[derive(Clone)]
struct Machine {
    hcl: Vec<u8>,
    quote: Vec<u8>,
    signature: Vec<u8>,
    pcrs: Vec<(u8, [u8; 32])>,
    vek: Vec<u8>,
    revocation: Revocation,
    now: UnixTime,
}

impl Machine {
    /// Reads trustee's three forms of the same thing: octets as numbers, as hexadecimal, and as base64 of either kind.
    fn new(path: &str, revocation: Revocation) -> Self {
        let json: Value = serde_json::from_slice(&file(path)).expect("JSON");
        let quote = json.get("tpm_quote").or(json.get("quote")).expect("a quote");
        let values = quote["pcrs"].as_array().expect("PCRs").iter();
        Self {
            hcl: octets(json.get("hcl_report").or(json.get("report")).expect("an HCL report")),
            quote: octets(&quote["message"]),
            signature: octets(&quote["signature"]),
            pcrs: (0..).zip(values.map(|value| octets(value).try_into().expect("32 bytes"))).collect(),
            vek: json.get("vcek").map(octets).unwrap_or_default(),
            revocation,
            now: OCTOBER_2025,
        }
    }

    fn document(&self) -> Value {
        let pcrs: Vec<_> =
            self.pcrs.iter().map(|(index, value)| json!([index, hex::encode(value)])).collect();
        json!({
            "format": "casemate.azure-vtpm/1",
            "hcl_report": STANDARD.encode(&self.hcl),
            "quote": STANDARD.encode(&self.quote),
            "signature": STANDARD.encode(&self.signature),
            "pcrs": pcrs,
        })
    }

    fn parse(&self) -> Result<Evidence, ParseError> {
        Evidence::parse(&serde_json::to_vec(&self.document()).expect("JSON"))
    }

    fn verify(&self) -> Result<Authentic, Rejected> {
        let evidence = self.parse().expect("the form is right");
        let endorsements = Endorsements::snp(self.vek.clone(), self.revocation.clone());
        verify(&evidence, &endorsements, &TrustAnchors::vendors(), self.now)
    }

    /// Terms that this very machine meets exactly, with the fewest concessions.
    fn exact(&self) -> AzurePolicy {
        let authentic = self.verify().expect("genuine");
        let claims = authentic.claims();
        let azure = claims.azure().expect("Azure evidence");
        let HardwareClaims::SevSnp(report) = &azure.hardware else { panic!("on SEV-SNP") };
        let mut snp = SnpPolicy::strict(Expected::OneOf(vec![*claims.measurement()]));
        snp.host_data = Expected::OneOf(vec![*claims.host_data().expect("host data")]);
        snp.id_key_digest = Expected::OneOf(vec![report.id_key_digest]);
        snp.author_key_digest = Expected::OneOf(vec![report.author_key_digest]);
        snp.family_id = Expected::OneOf(vec![report.family_id]);
        snp.image_id = Expected::OneOf(vec![report.image_id]);
        snp.chip_id = Expected::OneOf(vec![*report.chip_id().expect("a VCEK")]);
        snp.minimum_guest_svn = report.guest_svn;
        snp.minimum_report_version = report.report_version;
        let floor = Floor::AtLeast(Tcb { fmc: 0, ..report.reported_tcb });
        snp.minimum_tcb = MinimumTcb { milan: floor, genoa: floor, turin: Floor::NotAccepted };
        snp.host_trust = HostTrustPolicy::ProviderTrusted { reason: "recorded on Milan".to_owned() };
        snp.platform_must.clear();
        let pcrs: PcrTerms =
            self.pcrs.iter().map(|&(index, value)| (index, Expected::OneOf(vec![value]))).collect();
        let mut policy = AzurePolicy::strict(snp, pcrs);
        policy.vm_id = Expected::OneOf(vec![azure.vm_id]);
        let user_data = azure.user_data.as_ref().expect("user-data");
        policy.user_data =
            UserDataTerms::one_of(vec![hex::decode(user_data).expect("hex").try_into().expect("64 bytes")]);
        policy.console = allow();
        policy
    }
}

pub(crate) fn genoa() -> Machine {
    Machine::new("azure/trustee_snp/evidence-genoa.json", crl("genoa"))
}

pub(crate) fn milan(version: &str) -> Machine {
    Machine::new(&format!("azure/trustee_snp/evidence-{version}.json"), crl("milan"))
}

fn snp_terms(policy: &mut AzurePolicy) -> &mut SnpPolicy {
    match &mut policy.snp {
        PlatformPolicy::Accepted(terms) => terms,
        PlatformPolicy::NotAccepted => panic!("terms for SEV-SNP"),
    }
}

pub(crate) fn octets(value: &Value) -> Vec<u8> {
    let Value::String(text) = value else {
        let numbers = value.as_array().expect("octets").iter();
        return numbers
            .map(|octet| octet.as_u64().and_then(|octet| octet.try_into().ok()).expect("octet"))
            .collect();
    };
    if text.starts_with("-----BEGIN") {
        return CertificateDer::from_pem_slice(text.as_bytes()).expect("PEM").to_vec();
    }
    hex::decode(text)
        .or_else(|_| STANDARD.decode(text))
        .or_else(|_| URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')))
        .expect("hexadecimal or base64")
}

/// "verified, waived: …", or the code of the refusal.
pub(crate) fn appraised_with(machine: &Machine, policy: &Policy, binding: &Binding) -> String {
    let authentic = match machine.verify() {
        Ok(authentic) => authentic,
        Err(rejected) => return rejected.code().to_owned(),
    };
    let verified = match authentic.appraise(policy, binding) {
        Ok(verified) => verified,
        Err(denied) => return denied.code().to_owned(),
    };
    let waived: Vec<_> = verified
        .checks()
        .iter()
        .filter(|check| check.outcome == Outcome::Waived)
        .map(|check| check.rule.id)
        .collect();
    if waived.is_empty() { "verified".to_owned() } else { format!("verified, waived: {}", waived.join(", ")) }
}

fn appraised(machine: &Machine, policy: &Policy) -> String {
    // No recorded quote binds 64 bytes.
    appraised_with(machine, policy, &Binding::danger_unchecked("the recorded nonces are shorter"))
}

fn exact(machine: &Machine) -> String {
    appraised(machine, &Policy::for_azure(machine.exact()))
}

fn exact_bound(machine: &Machine, data: fn(&[u8]) -> [u8; 64]) -> String {
    let quote = Quote::parse(&machine.quote).expect("a quote");
    let binding = Binding::report_data(data(quote.extra_data()));
    appraised_with(machine, &Policy::for_azure(machine.exact()), &binding)
}

fn nonce_and_zeros(nonce: &[u8]) -> [u8; 64] {
    let mut data = [0; 64];
    data[..nonce.len()].copy_from_slice(nonce);
    data
}

fn with(change: fn(&mut AzurePolicy)) -> String {
    let machine = genoa();
    let mut policy = machine.exact();
    change(&mut policy);
    appraised(&machine, &Policy::for_azure(policy))
}

fn user_data_prefix() -> String {
    let machine = milan("v2");
    let mut policy = machine.exact();
    let UserDataTerms::Value(Expected::OneOf(values)) = &mut policy.user_data else { panic!("a list") };
    values[0][48..].fill(1);
    appraised(&machine, &Policy::for_azure(policy))
}

fn vm(text: &str) -> VmId {
    VmId::parse(text).expect("a UUID")
}

fn unwritten() -> casemate_attest::Danger {
    casemate_attest::Danger::Allow { reason: " ".to_owned() }
}

/// "authentic", or the code of the error or rejection.
fn refused(machine: &Machine) -> String {
    let evidence = match machine.parse() {
        Ok(evidence) => evidence,
        Err(error) => return error.code().to_owned(),
    };
    let endorsements = Endorsements::snp(machine.vek.clone(), machine.revocation.clone());
    match verify(&evidence, &endorsements, &TrustAnchors::vendors(), machine.now) {
        Ok(_) => "authentic".to_owned(),
        Err(rejected) => rejected.code().to_owned(),
    }
}

fn other_endorsements() -> String {
    let evidence = genoa().parse().expect("the form is right");
    let endorsements = Endorsements::nitro(not_checked());
    verify(&evidence, &endorsements, &TrustAnchors::vendors(), OCTOBER_2025)
        .expect_err("refused")
        .code()
        .to_owned()
}

fn parse_code(bytes: &[u8]) -> String {
    Evidence::parse(bytes).map_or_else(|error| error.code().to_owned(), |_| "evidence".to_owned())
}

fn document(change: impl Fn(&mut Value)) -> String {
    let mut document = genoa().document();
    change(&mut document);
    parse_code(&serde_json::to_vec(&document).expect("JSON"))
}

fn remove(object: &mut Value, member: &str) -> Option<Value> {
    object.as_object_mut().expect("an object").remove(member)
}

fn trim(object: &mut Value, member: &str) {
    let text = object[member].as_str().expect("text").to_owned();
    assert!(text.ends_with('='), "the case needs padding");
    object[member] = json!(text.trim_end_matches('='));
}

fn member_twice() -> String {
    let text = genoa().document().to_string();
    parse_code(text.replacen('{', r#"{"quote":"","#, 1).as_bytes())
}

fn something_follows() -> String {
    parse_code(format!("{}{{}}", genoa().document()).as_bytes())
}

fn hcl(change: impl Fn(&mut Vec<u8>)) -> String {
    let mut machine = genoa();
    change(&mut machine.hcl);
    refused(&machine)
}

fn quote(change: impl Fn(&mut Vec<u8>)) -> String {
    let mut machine = genoa();
    change(&mut machine.quote);
    refused(&machine)
}

fn signature(change: impl Fn(&mut Vec<u8>)) -> String {
    let mut machine = genoa();
    change(&mut machine.signature);
    refused(&machine)
}

fn pcrs(change: impl Fn(&mut Vec<(u8, [u8; 32])>)) -> String {
    let mut machine = genoa();
    change(&mut machine.pcrs);
    refused(&machine)
}

/// v0 and v1 are two quotes of one virtual TPM: a later quote of the same key is as genuine as the earlier one.
fn same_key() -> String {
    let (v0, v1) = (milan("v0"), milan("v1"));
    let mixed = Machine { quote: v1.quote, signature: v1.signature, ..v0 };
    refused(&mixed)
}

fn variable_size(hcl: &[u8]) -> usize {
    u32::from_le_bytes(hcl[0x4d0..0x4d4].try_into().expect("4 bytes")) as usize
}

/// Writes all three sizes for runtime data of this length.
fn resize(hcl: &mut [u8], size: usize) {
    let word = |value: usize| u32::try_from(value).expect("small").to_le_bytes();
    hcl[8..12].copy_from_slice(&word(size + RUNTIME));
    hcl[0x4c0..0x4c4].copy_from_slice(&word(size + 20));
    hcl[0x4d0..0x4d4].copy_from_slice(&word(size));
}

fn grow(hcl: &mut [u8], by: usize) {
    let size = variable_size(hcl);
    resize(hcl, size + by);
}

fn one_byte_less() -> String {
    hcl(|h| {
        let size = variable_size(h);
        resize(h, size - 1);
    })
}

/// The report of one machine with the runtime data of another.
fn transplant(report: &Machine, runtime: &Machine) -> Vec<u8> {
    [&report.hcl[..RUNTIME - 20], &runtime.hcl[RUNTIME - 20..]].concat()
}

fn runtime_text() -> Vec<u8> {
    HclReport::parse(&genoa().hcl).expect("an HCL report").runtime().to_vec()
}

fn read(text: &[u8]) -> String {
    RuntimeData::parse(text).map_or_else(|error| error.code().to_owned(), |_| "read".to_owned())
}

fn runtime(change: impl Fn(&mut Value)) -> String {
    let mut json = serde_json::from_slice(&runtime_text()).expect("JSON");
    change(&mut json);
    read(json.to_string().as_bytes())
}

fn twice(member: &str) -> String {
    let text = String::from_utf8(runtime_text()).expect("text");
    assert!(text.contains(member));
    read(text.replacen(member, &format!("{member},{member}"), 1).as_bytes())
}

fn trailing_nul() -> String {
    read(&[runtime_text(), vec![0]].concat())
}

fn kinvolk_var_data() -> String {
    read(&file("azure/kinvolk/var-data.bin"))
}

fn hcl_form(path: &str) -> String {
    let report = HclReport::parse(&file(path)).expect("an HCL report");
    let kind = match report.hardware() {
        HardwareReport::Snp(_) => "snp",
        HardwareReport::Tdx { .. } => "tdx",
    };
    let runtime = RuntimeData::parse(report.runtime()).map_or_else(|error| error.code(), |_| "bound");
    let digest = aws_digest(report.runtime());
    let data = report.hardware().report_data();
    let bound = data[..32] == digest[..] && data[32..] == [0; 32];
    format!(
        "version {}, {kind}, {}, {}",
        report.version(),
        report.hash().as_str(),
        if bound { runtime } else { "not bound" }
    )
}

fn aws_digest(message: &[u8]) -> Vec<u8> {
    aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, message).as_ref().to_vec()
}

fn claims(machine: &Machine) -> String {
    let authentic = machine.verify().expect("genuine");
    let json = serde_json::to_value(Report::from_authentic(&authentic)).expect("JSON");
    let claims = &json["claims"];
    let azure = &claims["azure_vtpm"];
    format!(
        "{} VM {}, secure boot {}, console {}, report data {}, {} PCRs",
        claims["platform"].as_str().expect("text"),
        azure["vm_id"].as_str().expect("text"),
        azure["secure_boot"],
        azure["console_enabled"],
        claims["report_data"].as_str().expect("text"),
        azure["pcrs"].as_object().expect("an object").len()
    )
}

fn protocol(machine: &Machine) -> String {
    let binding = Binding::danger_unchecked("the recorded nonces are shorter");
    let policy = Policy::for_azure(machine.exact());
    let verified = machine.verify().expect("genuine").appraise(&policy, &binding).expect("verified");
    assert!(!azure_vtpm().is_empty());
    let same = verified.checks().iter().zip(azure_vtpm()).filter(|(check, rule)| check.rule.id == rule.id);
    format!("{} rules, {} looked at", azure_vtpm().len(), same.count())
}

fn trustee_tpm() -> String {
    let json: Value = serde_json::from_slice(&file("tpm/trustee_tpm_evidence.json")).expect("JSON");
    let quote = &json["tpm_quote"];
    let base64 = |member: &str| STANDARD.decode(quote[member].as_str().expect("text")).expect("base64");
    QuoteSignature::parse(&base64("signature")).expect("a TPMT_SIGNATURE");
    let values = quote["pcrs"].as_array().expect("PCRs").iter();
    let values =
        PcrValues::new((0..).zip(values.map(|v| octets(v).try_into().expect("32 bytes")))).expect("PCRs");
    let parsed = Quote::parse(&base64("message")).expect("a quote");
    parsed
        .select(&values)
        .map_or_else(|rejection| rejection.code().to_owned(), |_| "PCRs selected".to_owned())
}

fn dstack_tpm() -> String {
    let quote = Quote::parse(&file("tpm/dstack_tpm_quote_sample.bin")).expect("a quote");
    let banks: BTreeMap<_, _> = quote.selections().iter().map(|s| (s.bank, s.indices())).collect();
    format!("{} bytes bound; {banks:?}", quote.extra_data().len())
}
