//! What must hold of the whole way, and of every break in it.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use casemate_attest::azure::{AzurePolicy, HclReport, RuntimeData, UserDataTerms};
use casemate_attest::endorse::EndorsementBundle;
use casemate_attest::snp::SnpPolicy;
use casemate_attest::{
    Binding, Evidence, Expected, Outcome, Platform, Policy, TrustAnchors, Verified, verify,
};
use casemate_enclave::{
    AttestationService, Attester, Clock, RawEvidence, RefreshError, Source, Stapler, TlsIdentity, detect,
};
use casemate_protocol::document::AttestationDocument;
use casemate_protocol::statement::{
    self, Channel, EngineRule, Expectation, ModelRule, ModelStatement, Stated, TlsKeyRule,
};

use crate::paravisor::Paravisor;
use crate::vm::{CERTIFICATE, CHIP, NOW, PARAVISOR, REPORT, USER_DATA, VENDOR, Vm, hcl, hcl_over, http};

const NONCE: [u8; 32] = [0x11; 32];
const MODEL: [u8; 32] = [0x77; 32];

/// The server's side: detection, evidence, document; as JSON.
fn document(vm: &Vm, tls: &TlsIdentity) -> Vec<u8> {
    let attester = attester(vm);
    // The VCEK comes from the metadata service, the revocation list from the operator's file.
    let bundle = EndorsementBundle::default().with_amd(b"not used".to_vec(), CHIP.crl_der().to_vec());
    let anchors = TrustAnchors::danger_only_pem(&VENDOR.root_pem()).expect("a root");
    // The machine checks itself before anybody sees the document.
    let stapler = stapler(attester.clone(), bundle, anchors).unwrap_or_else(|e| panic!("{}: {e}", e.code()));
    let models = vec![ModelStatement { id: "m".into(), manifest_sha256: Stated::Is(MODEL) }];
    let clock = Clock::new(|| Some(NOW));
    let service = AttestationService::new(attester, stapler.staples(), tls, models).with_clock(clock);
    let document = service.document(Some(NONCE)).expect("a document");
    assert_eq!(document.platform, "azure-vtpm");
    serde_json::to_vec(&document).expect("JSON")
}

fn stapler(
    attester: Arc<dyn Attester>,
    bundle: EndorsementBundle,
    anchors: TrustAnchors,
) -> Result<Stapler, RefreshError> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(Stapler::start(attester, Source::Given(Box::new(bundle)), anchors, NOW))
}

fn attester(vm: &Vm) -> Arc<dyn Attester> {
    let attester = detect(&vm.roots()).unwrap_or_else(|e| panic!("{}: {e}", e.code()));
    assert_eq!((attester.platform(), attester.simulated()), (Platform::AzureVtpm, false));
    attester
}

/// What the client does with the bytes that arrived: the verified evidence, or a code.
fn verified(
    bytes: &[u8],
    anchors: &TrustAnchors,
    values: &[(u8, [u8; 32])],
) -> Result<Verified, &'static str> {
    let document = AttestationDocument::parse(bytes).expect("a document");
    let evidence = Evidence::parse(&document.evidence_bytes().expect("base64")).expect("evidence");
    let endorsements = document.endorsements(&evidence).expect("endorsements");
    let authentic = verify(&evidence, &endorsements, anchors, NOW).map_err(|e| e.code())?;
    let pcrs = values.iter().map(|&(index, value)| (index, Expected::OneOf(vec![value]))).collect();
    let strict = AzurePolicy::strict(SnpPolicy::strict(Expected::OneOf(vec![PARAVISOR])), pcrs);
    let policy = AzurePolicy { user_data: UserDataTerms::Exchange, ..strict };
    let bound = statement::bound(evidence.platform(), &statement::report_data(&document.statement));
    assert_eq!(bound.len(), 32);
    authentic.appraise(&Policy::for_azure(policy), &Binding::qualifying_data(bound)).map_err(|e| e.code())
}

fn expectation(tls: &TlsIdentity) -> Expectation {
    Expectation {
        nonce: NONCE,
        channel: Channel::Tls { spki_sha256: tls.spki_sha256(), rule: TlsKeyRule::MadeInside },
        models: ModelRule::OneOf(vec![MODEL]),
        engine: EngineRule::Embedded,
    }
}

fn pcrs(vm: &Vm) -> Vec<(u8, [u8; 32])> {
    vm.tpm().pcr_values(&(0..16).collect::<Vec<_>>()).expect("values")
}

fn tls() -> TlsIdentity {
    TlsIdentity::generate(vec!["localhost".into()]).expect("an identity")
}

pub(crate) fn whole() {
    let (vm, tls) = (Vm::provisioned(), tls());
    let values = pcrs(&vm);
    let bytes = document(&vm, &tls);
    let anchors = TrustAnchors::danger_only_pem(&VENDOR.root_pem()).expect("a root");
    let verified = verified(&bytes, &anchors, &values).unwrap_or_else(|code| panic!("{code}"));
    assert!(verified.simulated());
    let waived: Vec<_> =
        verified.checks().iter().filter(|c| c.outcome == Outcome::Waived).map(|c| c.rule.id).collect();
    assert_eq!(waived, ["SNP-30", "AZ-08", "AZ-11"]);
    let document = AttestationDocument::parse(&bytes).expect("a document");
    let statement = statement::check(&verified, &document.statement, &expectation(&tls), NOW).expect("ours");
    assert_eq!(statement.statement().nonce, Stated::Is(NONCE));
}

pub(crate) fn refused() {
    let (vm, tls) = (Vm::provisioned(), tls());
    let values = pcrs(&vm);
    let bytes = document(&vm, &tls);
    let anchors = TrustAnchors::danger_only_pem(&VENDOR.root_pem()).expect("a root");
    // AMD's own root does not know this chip: the machine would not even start.
    let bundle = EndorsementBundle::default().with_amd(b"not used".to_vec(), CHIP.crl_der().to_vec());
    let error = stapler(attester(&vm), bundle, TrustAnchors::amd()).err().expect("refused");
    assert_eq!(error.code(), "x509.unknown-issuer");
    assert_eq!(verified(&bytes, &TrustAnchors::amd(), &values).err(), Some("x509.unknown-issuer"));
    // Another statement than the quote binds.
    let mut document: serde_json::Value = serde_json::from_slice(&bytes).expect("JSON");
    let text = document["statement"].as_str().expect("a text").replace("11111111", "22222222");
    document["statement"] = text.into();
    let other = serde_json::to_vec(&document).expect("JSON");
    assert_eq!(verified(&other, &anchors, &values).err(), Some("azure.user-data.other-exchange"));
    // Another set of PCRs, and another value.
    assert_eq!(verified(&bytes, &anchors, &values[..15]).err(), Some("azure.pcr.selection"));
    let mut changed = values.clone();
    changed[4].1[0] ^= 1;
    assert_eq!(verified(&bytes, &anchors, &changed).err(), Some("azure.pcr.not-accepted"));
}

/// The paravisor's report is one of the boot, and the client wants one of this exchange.
pub(crate) fn boots_report() {
    let (vm, tls) = (Vm::provisioned().at_boot(), tls());
    let values = pcrs(&vm);
    let bytes = document(&vm, &tls);
    let anchors = TrustAnchors::danger_only_pem(&VENDOR.root_pem()).expect("a root");
    assert_eq!(verified(&bytes, &anchors, &values).err(), Some("azure.user-data.other-exchange"));
}

/// One after the other, faster than the paravisor makes reports: each is of its own exchange.
pub(crate) fn in_a_row() {
    let vm = Vm::provisioned();
    let attester = attester(&vm);
    for byte in 1..4 {
        let raw = attester.evidence(&[byte; 64]).unwrap_or_else(|e| panic!("{}: {e}", e.code()));
        let document: serde_json::Value = serde_json::from_slice(&raw.evidence).expect("JSON");
        let report =
            base64::prelude::BASE64_STANDARD.decode(document["hcl_report"].as_str().expect("a text"));
        let report = HclReport::parse(&report.expect("base64")).expect("a report");
        let mut expected = [0; 64];
        expected[..32].copy_from_slice(&statement::bound(Platform::AzureVtpm, &[byte; 64]));
        let runtime = RuntimeData::parse(report.runtime()).expect("runtime data");
        assert_eq!(runtime.user_data.as_deref(), Some(&expected));
        assert_eq!(report.bound(), report.hardware().report_data());
    }
}

/// What evidence of a machine with this paravisor is refused with, though it was good at the start.
fn refused_over(paravisor: Paravisor) -> &'static str {
    let vm = Vm::over(Paravisor { pause: Duration::ZERO, ..paravisor });
    attester(&vm).evidence(&[1; 64]).err().map_or("none", |e| e.code())
}

pub(crate) fn never_anew() {
    let vm = Vm::over(Paravisor { pause: Duration::from_secs(600), ..Paravisor::usual() });
    let error = attester(&vm).evidence(&[1; 64]).err().expect("refused");
    assert_eq!(error.code(), "attester.azure.stale");
    assert!(error.to_string().ends_with(&"00".repeat(64)), "it shows what it showed at the start: {error}");
}

pub(crate) fn no_user_data() {
    let usual = Paravisor::usual();
    assert_eq!(refused_over(Paravisor { shows: |_| None, ..usual }), "attester.azure.stale");
}

pub(crate) fn other_user_data() {
    let one_bit = |written: &[u8; 64]| {
        let mut other = written.to_vec();
        other[63] ^= 1;
        Some(other)
    };
    let usual = Paravisor::usual();
    assert_eq!(refused_over(Paravisor { shows: one_bit, ..usual }), "attester.azure.stale");
}

/// The right words under a hardware report that does not bind them.
pub(crate) fn torn() {
    let of_others = |mut report: Vec<u8>| {
        // REPORT_DATA, in the hardware's report at 0x20.
        report[0x20 + 0x50] ^= 1;
        report
    };
    assert_eq!(refused_over(Paravisor { leaves: of_others, ..Paravisor::usual() }), "attester.azure.stale");
}

/// What came later is no report, or one for another key.
pub(crate) fn worse_since() {
    let usual = Paravisor::usual();
    let other = |mut modulus: Vec<u8>| {
        modulus[100] ^= 1;
        modulus
    };
    assert_eq!(refused_over(Paravisor { names: other, ..usual }), "attester.azure.key-differs");
    let nothing = |_| b"nothing of the kind".to_vec();
    assert_eq!(refused_over(Paravisor { leaves: nothing, ..usual }), "attester.azure.report");
}

pub(crate) fn no_room() {
    // Whoever made the index made another one.
    let vm = Vm::provisioned();
    vm.nv_write(USER_DATA, &[0; 32], 32);
    assert_eq!(
        attester(&vm).evidence(&[1; 64]).err().map(|e| e.code()),
        Some("attester.azure.user-data-size")
    );
    // Neither the owner nor the index's own authorization writes it.
    let vm = Vm::provisioned();
    vm.define_unwritable(USER_DATA, 64);
    let error = attester(&vm).evidence(&[1; 64]).err().expect("refused");
    assert_eq!(error.code(), "attester.azure.user-data");
    assert!(
        error.to_string().ends_with("NV index 0x01400002 cannot be written with an empty password"),
        "{error}"
    );
    // No index can be made.
    let vm = Vm::over(Paravisor { indices: false, ..Paravisor::usual() });
    let error = attester(&vm).evidence(&[1; 64]).err().expect("refused");
    assert_eq!(error.code(), "attester.azure.user-data");
    assert!(error.to_string().contains("the TPM refuses TPM2_NV_DefineSpace"), "{error}");
}

pub(crate) fn certificate() {
    let vm = Vm::provisioned();
    let der = CHIP.vek_der().to_vec();
    vm.nv_write(CERTIFICATE, &der, 2048);
    let RawEvidence { endorsements, .. } = attester(&vm).evidence(&[1; 64]).expect("evidence");
    assert_eq!(endorsements.ak_certificate, Some(der));
    assert_eq!(endorsements.vek.as_deref(), Some(CHIP.vek_der()));
    assert_eq!(endorsements.crl, None);
}

fn code(vm: &Vm) -> &'static str {
    detect(&vm.roots()).err().map_or("none", |e| e.code())
}

pub(crate) fn no_report() {
    let vm = Vm::new();
    vm.make_key();
    assert_eq!(code(&vm), "attester.azure.no-report");
    vm.nv_write(REPORT, b"nothing of the kind", 2048);
    assert_eq!(code(&vm), "attester.azure.report");
    let vm = Vm::new();
    vm.nv_write(REPORT, &hcl_over(r#"{"keys":[]}"#), 2048);
    assert_eq!(code(&vm), "attester.azure.runtime");
}

pub(crate) fn no_key() {
    let vm = Vm::new();
    vm.nv_write(REPORT, &hcl(&[0xff; 256], None), 2048);
    assert_eq!(code(&vm), "attester.azure.no-key");
}

pub(crate) fn wrong_key() {
    let vm = Vm::new();
    let mut modulus = vm.make_key();
    modulus[100] ^= 1;
    vm.nv_write(REPORT, &hcl(&modulus, None), 2048);
    assert_eq!(code(&vm), "attester.azure.key-differs");
}

pub(crate) fn dirty_certificate() {
    let vm = Vm::provisioned();
    let dirty = [CHIP.vek_der(), &[0, 0, 1]].concat();
    vm.nv_write(CERTIFICATE, &dirty, 2048);
    assert_eq!(code(&vm), "attester.azure.certificate");
}

pub(crate) fn no_metadata() {
    let vm = Vm::provisioned().with_metadata(http("503 Busy", ""));
    assert_eq!(code(&vm), "attester.metadata.status");
    let vm = vm.with_metadata(http("200 OK", "<html>"));
    assert_eq!(code(&vm), "attester.metadata.form");
}

pub(crate) fn nv() {
    let vm = Vm::new();
    let content: Vec<u8> = (0..2000_u32).map(|i| i.to_le_bytes()[0] ^ i.to_le_bytes()[1]).collect();
    vm.nv_write(0x0150_0001, &content, 2000);
    let mut tpm = vm.tpm();
    assert_eq!(tpm.nv_read(0x0150_0001, 2000).expect("readable"), Some(content));
    assert_eq!(tpm.nv_read(0x0150_0002, 2000).expect("answered"), None);
    assert_eq!(tpm.nv_read(0x0150_0001, 1999).unwrap_err().code(), "attester.tpm.nv-size");
    assert_eq!(tpm.rsa_modulus(0x8100_0003).expect("answered"), None);
    // What was defined is written from its beginning, and what nobody may write is not.
    assert_eq!(tpm.nv_size(0x0150_0003).expect("answered"), None);
    tpm.nv_define(0x0150_0003, 64).expect("defined");
    assert_eq!(tpm.nv_read(0x0150_0003, 64).unwrap_err().code(), "attester.tpm.nv-unwritten");
    tpm.nv_write(0x0150_0003, &[7; 64]).expect("written");
    assert_eq!(tpm.nv_read(0x0150_0003, 64).expect("readable"), Some(vec![7; 64]));
    drop(tpm);
    vm.define_unwritable(0x0150_0004, 64);
    assert_eq!(vm.tpm().nv_write(0x0150_0004, &[7; 64]).unwrap_err().code(), "attester.tpm.nv-unwritable");
}
