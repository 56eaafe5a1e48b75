//! The same machine asks a broker for a key: what the virtual TPM has to do with it (spec/release.md §2.7).

use std::sync::Arc;

use casemate_attest::nvidia::NvidiaAnchors;
use casemate_attest::snp::SnpPolicy;
use casemate_attest::{Binding, Danger, Evidence, Expected, Policy, TrustAnchors, Verified, verify};
use casemate_enclave::{CompositeAttester, Source, Stapler, Vtpm};
use casemate_protocol::additional::{
    self, AdditionalError, AdditionalEvidence, AttestedComposite, DeviceTerms, PartAnchors, PartTerms,
    VtpmTerms,
};
use casemate_protocol::devices::DeviceRule;
use casemate_protocol::document::DocumentVtpm;
use casemate_protocol::jwe::TeePrivateKey;
use casemate_protocol::kbs::{CompositeEvidence, PrimaryEvidence, RuntimeData, report_data};
use casemate_protocol::vtpm::VtpmRule;

use zeroize::Zeroizing;

use crate::flow::{pcrs, terms, usual};
use crate::google::KEY_SERIAL;
use crate::vm::{CHIP, Chip, FIRMWARE, GOOGLE, NOW, Vm, anchors};

/// An exchange with a key of its own.
fn runtime(byte: u8) -> RuntimeData {
    let key = TeePrivateKey::from_random(&Zeroizing::new([byte; 32])).expect("a key");
    RuntimeData { nonce: "bm9uY2U=".into(), tee_pubkey: key.public() }
}

fn machine(vtpm: Option<Arc<Vtpm>>) -> CompositeAttester {
    let tokio = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let none = Source::Given(Box::default());
    let stapler = tokio.block_on(Stapler::start(Arc::new(Chip), none, anchors(), NOW)).expect("endorsed");
    CompositeAttester::new(Arc::new(Chip), stapler.staples()).with_vtpm(vtpm)
}

fn shown_by(vm: &Vm, runtime: &RuntimeData) -> CompositeEvidence {
    machine(Some(usual(vm))).evidence(runtime, NOW).expect("evidence")
}

fn demanding(rule: VtpmRule) -> PartTerms {
    PartTerms { devices: DeviceTerms::Rule(DeviceRule::None), vtpm: VtpmTerms::Rule(rule) }
}

fn ours(values: &[(u8, [u8; 32])]) -> PartTerms {
    let policy = Box::new(Policy::for_gce(terms(values)));
    demanding(VtpmRule::Google { policy, unlisted: Danger::Refuse })
}

/// The processor alone: genuine, and bound to this exchange with this text.
fn processor(shown: &CompositeEvidence, runtime: &RuntimeData) -> Verified {
    let primary: PrimaryEvidence = serde_json::from_value(shown.primary_evidence.clone()).expect("evidence");
    let evidence = Evidence::parse(&primary.bytes().expect("base64")).expect("evidence");
    let authentic =
        verify(&evidence, &primary.endorsements(&evidence).expect("endorsements"), &anchors(), NOW);
    let data = report_data(runtime, &shown.additional_evidence).expect("canonical");
    let policy = Policy::for_snp(SnpPolicy::strict(Expected::OneOf(vec![FIRMWARE])));
    authentic.expect("genuine").appraise(&policy, &Binding::report_data(data)).expect("bound")
}

fn check(
    shown: &CompositeEvidence,
    runtime: &RuntimeData,
    terms: &PartTerms,
    trust: &TrustAnchors,
) -> Result<AttestedComposite, AdditionalError> {
    let nvidia = NvidiaAnchors::nvidia();
    let parts = PartAnchors { trust, nvidia: &nvidia };
    let text = &shown.additional_evidence;
    additional::check(processor(shown, runtime), runtime, text, terms, parts, NOW)
}

fn code(shown: &CompositeEvidence, runtime: &RuntimeData, terms: &PartTerms) -> &'static str {
    check(shown, runtime, terms, &anchors()).map_or_else(|error| error.code(), |_| "released")
}

/// What a processor signs that has this virtual TPM's evidence, wherever it is from.
fn with(vtpm: Option<DocumentVtpm>, runtime: &RuntimeData) -> CompositeEvidence {
    let text = AdditionalEvidence { vtpm, ..AdditionalEvidence::default() }.to_text().expect("JSON");
    let report = CHIP.report(&report_data(runtime, &text).expect("canonical")).expect("a report");
    let endorsements = casemate_protocol::document::DocumentEndorsements::amd(CHIP.vek_der(), CHIP.crl_der());
    let primary = PrimaryEvidence::new(&report, endorsements);
    CompositeEvidence {
        primary_evidence: serde_json::to_value(primary).expect("JSON"),
        additional_evidence: text,
    }
}

fn part(shown: &CompositeEvidence) -> DocumentVtpm {
    AdditionalEvidence::parse(&shown.additional_evidence).expect("parts").vtpm.expect("a virtual TPM")
}

pub(crate) fn shown() {
    let (vm, runtime) = (Vm::provisioned(true), runtime(1));
    let values = pcrs(&vm);
    let evidence = shown_by(&vm, &runtime);
    let attested = check(&evidence, &runtime, &ours(&values), &anchors()).expect("attested");
    let claims = attested.vtpm().expect("shown").claims();
    assert_eq!(claims.gce().expect("of GCE").pcrs.get(4), Some(&values[4].1));
    assert!(attested.simulated() && attested.devices().is_none());
    assert!(attested.valid_until() <= attested.machine().valid_until());
    // The broker's own baseline, which leaves registers to the key's policy.
    let baseline = PartTerms {
        vtpm: VtpmTerms::WhereShown {
            policy: Box::new(Policy::for_gce(terms(&values))),
            unlisted: Danger::Refuse,
        },
        ..ours(&values)
    };
    assert_eq!(code(&evidence, &runtime, &baseline), "released");
    let bare = machine(None).evidence(&runtime, NOW).expect("evidence");
    assert_eq!(bare.additional_evidence, "");
    assert_eq!(code(&bare, &runtime, &baseline), "released");
    // Demanded and absent, or present and not demanded.
    assert_eq!(code(&bare, &runtime, &ours(&values)), "vtpm.missing");
    assert_eq!(code(&evidence, &runtime, &demanding(VtpmRule::None)), "vtpm.not-expected");
    assert_eq!(code(&bare, &runtime, &demanding(VtpmRule::None)), "released");
}

pub(crate) fn borrowed() {
    let (good, runtime) = (Vm::provisioned(true), runtime(1));
    let values = pcrs(&good);
    let rule = ours(&values);
    let other = self::runtime(2);
    // The good machine asks for a key of its own; another machine, which runs something else, puts what it got beside its own
    // processor and its own key.
    let lent = part(&shown_by(&good, &runtime));
    assert_eq!(code(&with(Some(lent.clone()), &runtime), &runtime, &rule), "released");
    assert_eq!(code(&with(Some(lent.clone()), &other), &other, &rule), "binding.report-data");
    // For an earlier nonce.
    let earlier = RuntimeData { nonce: "ZWFybGllcg==".into(), ..runtime.clone() };
    assert_eq!(code(&with(Some(lent), &earlier), &earlier, &rule), "binding.report-data");
    // A quote for a client's statement is none for a broker.
    let quoted = usual(&good).evidence(&[7; 64]).expect("a quote");
    assert_eq!(code(&with(Some(quoted), &runtime), &runtime, &rule), "binding.report-data");
    // What the processor did not sign.
    let whole = shown_by(&good, &runtime);
    let proof = processor(&whole, &runtime);
    let nvidia = NvidiaAnchors::nvidia();
    let trust = anchors();
    let parts = PartAnchors { trust: &trust, nvidia: &nvidia };
    let stripped = additional::check(proof, &runtime, "", &demanding(VtpmRule::None), parts, NOW);
    assert_eq!(stripped.map_err(|e| e.code()).err(), Some("kbs.additional.not-bound"));
}

pub(crate) fn refused() {
    let (vm, runtime) = (Vm::provisioned(true), runtime(1));
    let values = pcrs(&vm);
    let good = part(&shown_by(&vm, &runtime));
    let mut other_kernel = values.clone();
    other_kernel[4].1[0] ^= 1;
    assert_eq!(
        code(&with(Some(good.clone()), &runtime), &runtime, &ours(&other_kernel)),
        "gce.pcr.not-accepted"
    );
    let changed = |change: &dyn Fn(&mut DocumentVtpm)| {
        let mut vtpm = good.clone();
        change(&mut vtpm);
        code(&with(Some(vtpm), &runtime), &runtime, &ours(&values))
    };
    assert_eq!(changed(&|_| ()), "released");
    assert_eq!(changed(&|vtpm| vtpm.endorsements.ak.clear()), "tpm.certificate.intermediates");
    assert_eq!(changed(&|vtpm| vtpm.endorsements.crl.clear()), "crl.missing");
    let revoked = Vtpm::start(vm.attester(), &GOOGLE.bundle(&[KEY_SERIAL]), &Danger::Refuse, &anchors(), NOW);
    assert_eq!(revoked.err().map(|e| e.code()), Some("crl.revoked"));
    // The vendors' own roots know no such Google.
    let shown = with(Some(good), &runtime);
    let vendors = check(&shown, &runtime, &ours(&values), &TrustAnchors::vendors());
    assert_eq!(vendors.map_err(|e| e.code()).err(), Some("tpm.certificate.root-missing"));
}
