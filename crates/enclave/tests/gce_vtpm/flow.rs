//! What must hold of the whole way, and of every break in it.

use std::sync::Arc;

use casemate_attest::endorse::EndorsementBundle;
use casemate_attest::eventlog::{LogPolicy, LogTerms, RegisterTerms};
use casemate_attest::gce::GcePolicy;
use casemate_attest::snp::SnpPolicy;
use casemate_attest::{
    Binding, Check, Danger, Evidence, Expected, Outcome, Policy, TrustAnchors, UnixTime, Verified, verify,
};
use casemate_enclave::{
    AttestationService, Attester, AttesterError, Clock, RawEvidence, Source, Stapler, TlsIdentity, Vtpm,
    google_vtpm,
};
use casemate_protocol::document::{AttestationDocument, DocumentEndorsements, DocumentVtpm};
use casemate_protocol::statement::{
    self, AttestedStatement, Channel, EngineRule, Expectation, ModelRule, ModelStatement, RuntimeStatement,
    Stated, TlsKeyRule,
};
use casemate_protocol::vtpm::{self, AttestedVtpm, VtpmRefused, VtpmRule};

use crate::google::{Google, KEY_SERIAL, PROJECT, ZONE};
use crate::vm::{
    CERTIFICATE, CHIP, Chip, FIRMWARE, GOOGLE, NOW, RESTRICTED, TEMPLATE, Vm, anchors, template,
};

const NONCE: [u8; 32] = [0x11; 32];
const MODEL: [u8; 32] = [0x77; 32];

// === the server's side ===

fn tls() -> TlsIdentity {
    TlsIdentity::generate(vec!["localhost".into()]).expect("an identity")
}

fn shown(attester: Arc<dyn Attester>, bundle: &EndorsementBundle, unlisted: &Danger) -> Arc<Vtpm> {
    let vtpm = Vtpm::start(attester, bundle, unlisted, &anchors(), NOW);
    Arc::new(vtpm.unwrap_or_else(|e| panic!("{}: {e}", e.code())))
}

pub(crate) fn usual(vm: &Vm) -> Arc<Vtpm> {
    shown(vm.attester(), &GOOGLE.bundle(&[]), &Danger::Refuse)
}

fn service(vtpm: Option<Arc<Vtpm>>, tls: &TlsIdentity) -> AttestationService {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let none = Source::Given(Box::default());
    let stapler = runtime.block_on(Stapler::start(Arc::new(Chip), none, anchors(), NOW)).expect("endorsed");
    let models = vec![ModelStatement { id: "m".into(), manifest_sha256: Stated::Is(MODEL) }];
    AttestationService::new(Arc::new(Chip), stapler.staples(), tls, models)
        .with_clock(Clock::new(|| Some(NOW)))
        .with_vtpm(vtpm)
}

fn document(vtpm: Option<Arc<Vtpm>>, tls: &TlsIdentity, nonce: [u8; 32]) -> AttestationDocument {
    let document = service(vtpm, tls).document(Some(nonce)).expect("a document");
    // As it travels.
    AttestationDocument::parse(&serde_json::to_vec(&document).expect("JSON")).expect("a document")
}

// === the client's side ===

/// These values of all sixteen registers, on any instance of one project in one zone.
pub(crate) fn terms(values: &[(u8, [u8; 32])]) -> GcePolicy {
    GcePolicy {
        memory_encryption_unproven: Danger::Allow { reason: "the report names the key".into() },
        project_id: Expected::OneOf(vec![PROJECT.into()]),
        zone: Expected::OneOf(vec![ZONE.into()]),
        instance_id: Expected::any("machines come and go"),
        pcrs: values.iter().map(|&(index, value)| (index, Expected::OneOf(vec![value]))).collect(),
        event_log: LogPolicy::NotAsked,
    }
}

fn demanding(terms: GcePolicy, unlisted: Danger) -> VtpmRule {
    VtpmRule::Google { policy: Box::new(Policy::for_gce(terms)), unlisted }
}

fn ours(values: &[(u8, [u8; 32])]) -> VtpmRule {
    demanding(terms(values), Danger::Refuse)
}

/// The machine alone: genuine, bound to this statement, which answers us on our connection.
fn machine(document: &AttestationDocument, tls: &TlsIdentity) -> (Verified, AttestedStatement) {
    let evidence = Evidence::parse(&document.evidence_bytes().expect("base64")).expect("evidence");
    let endorsements = document.endorsements(&evidence).expect("endorsements");
    let authentic = verify(&evidence, &endorsements, &anchors(), NOW).expect("genuine");
    let policy = Policy::for_snp(SnpPolicy::strict(Expected::OneOf(vec![FIRMWARE])));
    let bound = Binding::report_data(statement::report_data(&document.statement));
    let verified = authentic.appraise(&policy, &bound).expect("ours");
    let expected = Expectation {
        nonce: NONCE,
        channel: Channel::Tls { spki_sha256: tls.spki_sha256(), rule: TlsKeyRule::MadeInside },
        models: ModelRule::OneOf(vec![MODEL]),
        engine: EngineRule::Embedded,
    };
    let statement = statement::check(&verified, &document.statement, &expected, NOW).expect("attested");
    (verified, statement)
}

fn check(
    document: &AttestationDocument,
    tls: &TlsIdentity,
    rule: &VtpmRule,
) -> Result<AttestedVtpm, VtpmRefused> {
    let (_, statement) = machine(document, tls);
    vtpm::check(&statement, &document.statement, document.vtpm.as_ref(), rule, &anchors(), NOW)
}

#[track_caller]
fn refused(result: Result<AttestedVtpm, VtpmRefused>, rule: &str, code: &str) {
    let refused = result.expect_err("must be refused");
    assert_eq!(refused.reason.code(), code, "{refused}");
    assert_eq!(ids(&refused.checks, Outcome::Fail).first().copied().unwrap_or("none"), rule, "{code}");
    let own = refused.checks.iter().filter(|check| check.rule.id.starts_with("CH-")).count();
    assert_eq!(own, vtpm::RULES.len(), "every rule is listed");
}

fn ids(checks: &[Check], outcome: Outcome) -> Vec<&'static str> {
    checks.iter().filter(|check| check.outcome == outcome).map(|check| check.rule.id).collect()
}

pub(crate) fn pcrs(vm: &Vm) -> Vec<(u8, [u8; 32])> {
    vm.0.tpm().pcr_values(&(0..16).collect::<Vec<_>>()).expect("values")
}

// === the cases ===

pub(crate) fn whole() {
    let (vm, tls) = (Vm::provisioned(true), tls());
    let values = pcrs(&vm);
    let document = document(Some(usual(&vm)), &tls, NONCE);
    let attested =
        check(&document, &tls, &ours(&values)).unwrap_or_else(|e| panic!("{}: {e}", e.reason.code()));
    let checks = attested.checks();
    assert_eq!(checks.len(), 15 + vtpm::RULES.len());
    assert_eq!((checks[0].rule.id, checks[16].rule.id), ("CH-17", "CH-18"));
    assert_eq!(ids(checks, Outcome::Waived), ["GV-10", "GV-13"]);
    let verified = attested.verified().expect("demanded");
    assert!(verified.simulated());
    let claims = verified.claims().gce().expect("of GCE");
    assert_eq!(claims.instance.project_id, PROJECT);
    // The statement ends before the lists of this week do.
    assert!(attested.valid_until() <= UnixTime(NOW.0 + 3600));
    // Without a nonce too, and both bind the same statement.
    let made = service(Some(usual(&vm)), &tls);
    made.restaple().expect("a document");
    let ready = AttestationDocument::parse(&made.ready().expect("ready")).expect("a document");
    let kept = RuntimeStatement::parse(&ready.statement).expect("a statement");
    let rule = ours(&values);
    vtpm::check_offline(&kept, &ready.statement, ready.vtpm.as_ref(), &rule, &anchors(), NOW).expect("bound");
}

pub(crate) fn offline() {
    let (vm, tls) = (Vm::provisioned(true), tls());
    let values = pcrs(&vm);
    let document = document(Some(usual(&vm)), &tls, NONCE);
    let (verified, _) = machine(&document, &tls);
    let models = ModelRule::OneOf(vec![MODEL]);
    let (stated, _) =
        statement::check_offline(&verified, &document.statement, &models, &EngineRule::Embedded, NOW)
            .expect("attested");
    let offline = |now| {
        let shown = document.vtpm.as_ref();
        vtpm::check_offline(&stated, &document.statement, shown, &ours(&values), &anchors(), now)
    };
    assert_eq!(offline(NOW).expect("ours").len(), 17);
    // A week later the lists have run out.
    let late = offline(UnixTime(NOW.0 + 8 * 86_400)).expect_err("too late");
    assert_eq!(late.reason.code(), "crl.expired");
}

pub(crate) fn demanded() {
    let (vm, tls) = (Vm::provisioned(true), tls());
    let values = pcrs(&vm);
    let shown = document(Some(usual(&vm)), &tls, NONCE);
    let without = document(None, &tls, NONCE);
    // Nothing is lost where nothing is demanded, and nothing is shown.
    let attested = check(&without, &tls, &VtpmRule::None).expect("none demanded");
    assert!(attested.verified().is_none());
    assert_eq!(ids(attested.checks(), Outcome::Pass), ["CH-17"]);
    refused(check(&without, &tls, &ours(&values)), "CH-17", "vtpm.missing");
    let stripped = AttestationDocument { vtpm: None, ..shown.clone() };
    refused(check(&stripped, &tls, &ours(&values)), "CH-17", "vtpm.missing");
    let added = AttestationDocument { vtpm: shown.vtpm.clone(), ..without };
    refused(check(&added, &tls, &ours(&values)), "CH-17", "vtpm.missing");
    for document in [&shown, &stripped, &added] {
        refused(check(document, &tls, &VtpmRule::None), "CH-17", "vtpm.not-expected");
    }
}

pub(crate) fn borrowed() {
    let (vm, other, tls) = (Vm::provisioned(true), Vm::provisioned(true), tls());
    let values = pcrs(&vm);
    let rule = ours(&values);
    let good = document(Some(usual(&vm)), &tls, NONCE);
    // Another genuine instance of the same project, which quotes for this very statement.
    let lent = usual(&other).evidence(&statement::report_data(&good.statement)).expect("evidence");
    let swapped = AttestationDocument { vtpm: Some(lent), ..good.clone() };
    refused(check(&swapped, &tls, &rule), "CH-18", "vtpm.not-stated");
    // Its own virtual TPM, for another client's nonce, and for none.
    let later = document(Some(usual(&vm)), &tls, [0x12; 32]);
    let stale = AttestationDocument { vtpm: later.vtpm, ..good.clone() };
    refused(check(&stale, &tls, &rule), "GV-15", "binding.report-data");
    let unbound = usual(&vm).evidence(&[0; 64]).expect("evidence");
    let unbound = AttestationDocument { vtpm: Some(unbound), ..good.clone() };
    refused(check(&unbound, &tls, &rule), "GV-15", "binding.report-data");
    // Every bit of a quote is signed.
    let bytes = good.vtpm.clone().expect("shown").evidence;
    let at = bytes.len() / 2;
    let changed = if &bytes[at..=at] == "A" { "B" } else { "A" };
    let mut vtpm = good.vtpm.clone().expect("shown");
    vtpm.evidence.replace_range(at..=at, changed);
    assert!(check(&AttestationDocument { vtpm: Some(vtpm), ..good }, &tls, &rule).is_err());
}

/// A machine that runs something else, on the same firmware, beside one that runs what the policy asks for: it asks that one
/// with the client's nonce, and binds what it got into its own hardware's report.
pub(crate) fn relayed() {
    let (good, tls, evil_tls) = (Vm::provisioned(true), tls(), tls());
    let values = pcrs(&good);
    let relayed = document(Some(usual(&good)), &tls, NONCE);
    let mut stated = RuntimeStatement::parse(&relayed.statement).expect("a statement");
    // Everything as the good machine says, and the other's TLS key.
    stated.tls_spki_sha256 = Stated::Is(evil_tls.spki_sha256());
    let text = stated.to_canonical().expect("a statement");
    let report = CHIP.report(&statement::report_data(&text)).expect("a report");
    let endorsements = relayed.endorsements.clone();
    let evil = AttestationDocument::new(casemate_attest::Platform::SevSnp, &report, endorsements, text, None)
        .with_vtpm(relayed.vtpm);
    refused(check(&evil, &evil_tls, &ours(&values)), "GV-15", "binding.report-data");
}

pub(crate) fn registers() {
    let (vm, tls) = (Vm::provisioned(true), tls());
    let values = pcrs(&vm);
    let good = document(Some(usual(&vm)), &tls, NONCE);
    let with = |values: &[(u8, [u8; 32])]| check(&good, &tls, &ours(values));
    assert!(with(&values).is_ok());
    let mut other_kernel = values.clone();
    other_kernel[4].1[0] ^= 1;
    refused(with(&other_kernel), "GV-14", "gce.pcr.not-accepted");
    refused(with(&values[..15]), "GV-14", "gce.pcr.selection");
    let of = |change: fn(&mut GcePolicy)| {
        let mut terms = terms(&values);
        change(&mut terms);
        check(&good, &tls, &demanding(terms, Danger::Refuse))
    };
    refused(of(|t| t.memory_encryption_unproven = Danger::Refuse), "GV-10", "gce.memory-encryption.unproven");
    refused(
        of(|t| t.project_id = Expected::OneOf(vec!["theirs".into()])),
        "GV-11",
        "gce.instance.not-accepted",
    );
    // What was measured after the policy was written.
    let digest = [&[0, 0, 0, 1, 0, 0x0b][..], &[9; 32]].concat();
    crate::swtpm::run(&mut vm.0.tpm(), "TPM2_PCR_Extend", 0x182, &[4], &digest);
    let later = document(Some(usual(&vm)), &tls, NONCE);
    refused(check(&later, &tls, &ours(&values)), "GV-14", "gce.pcr.not-accepted");
    assert!(check(&later, &tls, &ours(&pcrs(&vm))).is_ok());
}

pub(crate) fn endorsements() {
    let (vm, tls) = (Vm::provisioned(true), tls());
    let rule = ours(&pcrs(&vm));
    let good = document(Some(usual(&vm)), &tls, NONCE);
    let with = |change: &dyn Fn(&mut DocumentVtpm)| {
        let mut vtpm = good.vtpm.clone().expect("shown");
        change(&mut vtpm);
        check(&AttestationDocument { vtpm: Some(vtpm), ..good.clone() }, &tls, &rule)
    };
    assert!(with(&|_| ()).is_ok());
    refused(with(&|v| v.endorsements.ak.clear()), "GV-03", "tpm.certificate.intermediates");
    refused(with(&|v| v.endorsements.crl.clear()), "GV-05", "crl.missing");
    refused(with(&|v| v.endorsements = good.endorsements.clone()), "none", "document.endorsements");
    refused(with(&|v| v.endorsements.ak = vec!["*".into()]), "none", "document.base64");
    refused(with(&|v| v.evidence = "*".into()), "CH-17", "document.base64");
    let revoked = GOOGLE.bundle(&[KEY_SERIAL]);
    let lists: Vec<_> = revoked.google_lists().expect("lists").to_vec();
    let ak: Vec<_> = revoked.google_ak_chain().expect("a chain").to_vec();
    let revoking = DocumentEndorsements::default()
        .with_ak(ak.iter().map(Vec::as_slice))
        .with_lists(lists.iter().map(Vec::as_slice));
    refused(with(&|v| v.endorsements = revoking.clone()), "GV-05", "crl.revoked");
    // Another Google of these names.
    let (_, statement) = machine(&good, &tls);
    let another = TrustAnchors::danger_only_pem(&Google::new().root_pem).expect("a root");
    let foreign = vtpm::check(&statement, &good.statement, good.vtpm.as_ref(), &rule, &another, NOW);
    refused(foreign, "GV-04", "x509.signature");
    let real =
        vtpm::check(&statement, &good.statement, good.vtpm.as_ref(), &rule, &TrustAnchors::vendors(), NOW);
    refused(real, "GV-03", "tpm.certificate.root-missing");
}

pub(crate) fn unlisted() {
    let (vm, tls) = (Vm::provisioned(false), tls());
    let values = pcrs(&vm);
    let allowed = Danger::Allow { reason: "Google lists none".into() };
    let start = |unlisted| Vtpm::start(vm.attester(), &GOOGLE.bundle_of_root(), unlisted, &anchors(), NOW);
    assert_eq!(start(&Danger::Refuse).err().map(|e| e.code()), Some("crl.unlisted"));
    let vtpm = shown(vm.attester(), &GOOGLE.bundle_of_root(), &allowed);
    let document = document(Some(vtpm), &tls, NONCE);
    // The server's decision is not the client's.
    refused(check(&document, &tls, &ours(&values)), "GV-05", "crl.unlisted");
    let attested = check(&document, &tls, &demanding(terms(&values), allowed)).expect("ours");
    assert_eq!(ids(attested.checks(), Outcome::Waived), ["GV-05", "GV-10", "GV-13"]);
}

pub(crate) fn misplaced() {
    let (vm, tls) = (Vm::provisioned(true), tls());
    let rule = ours(&pcrs(&vm));
    let good = document(Some(usual(&vm)), &tls, NONCE);
    let report = good.evidence_bytes().expect("base64");
    let hardware = DocumentVtpm::new(&report, good.endorsements.clone());
    let misplaced = AttestationDocument { vtpm: Some(hardware), ..good.clone() };
    refused(check(&misplaced, &tls, &rule), "CH-17", "vtpm.platform");
    let nothing = DocumentVtpm::new(&[], DocumentEndorsements::default());
    let nothing = AttestationDocument { vtpm: Some(nothing), ..good };
    assert!(check(&nothing, &tls, &rule).is_err_and(|e| matches!(e.reason, vtpm::VtpmError::Malformed(_))));
}

/// No log that accounts for swtpm's registers, which nobody extended, is at hand: what is demanded is looked at.
pub(crate) fn log() {
    let (vm, tls) = (Vm::provisioned(true), tls());
    let values = pcrs(&vm);
    let demanded = || {
        let events = RegisterTerms { events: Expected::OneOf(vec![vec![7; 32]]), required: Vec::new() };
        let other_registers = Danger::Allow { reason: "one is enough here".into() };
        let log = LogTerms { registers: [(4, events)].into(), other_registers };
        GcePolicy { event_log: LogPolicy::Demanded(log), ..terms(&values) }
    };
    let rule = demanding(demanded(), Danger::Refuse);
    let without = document(Some(usual(&vm)), &tls, NONCE);
    assert_eq!(check(&without, &tls, &rule).unwrap_err().reason.code(), "log.missing");
    std::fs::write(vm.log(), [7; 20]).expect("written");
    let with = document(Some(usual(&vm)), &tls, NONCE);
    let code = check(&with, &tls, &rule).unwrap_err().reason.code();
    assert!(code.starts_with("log.format."), "{code}");
    // What nobody asks about is not looked at.
    assert!(check(&with, &tls, &ours(&values)).is_ok());
}

pub(crate) fn own_check() {
    let vm = Vm::provisioned(true);
    let start = |bundle: &EndorsementBundle, anchors: &TrustAnchors, now| {
        Vtpm::start(vm.attester(), bundle, &Danger::Refuse, anchors, now).err().map_or("none", |e| e.code())
    };
    let good = GOOGLE.bundle(&[]);
    assert_eq!(start(&good, &anchors(), NOW), "none");
    assert_eq!(start(&good, &TrustAnchors::vendors(), NOW), "tpm.certificate.root-missing");
    assert_eq!(start(&EndorsementBundle::default(), &anchors(), NOW), "staple.missing");
    assert_eq!(start(&GOOGLE.bundle(&[KEY_SERIAL]), &anchors(), NOW), "crl.revoked");
    assert_eq!(start(&good, &anchors(), UnixTime(NOW.0 + 8 * 86_400)), "crl.expired");
    // Once they have run out there is no document, and `/health` says so.
    let vtpm = usual(&vm);
    assert!(vtpm.in_date(vtpm.valid_until()).is_ok());
    let after = UnixTime(vtpm.valid_until().0 + 1);
    assert_eq!(vtpm.in_date(after).unwrap_err().code(), "staple.expired");
    let tls = tls();
    let late = service(Some(vtpm), &tls).with_clock(Clock::new(move || Some(after)));
    assert_eq!(late.document(Some(NONCE)).unwrap_err().code(), "staple.expired");
    // swtpm has room for one at a time.
    drop(late);
    // A TPM that comes back with another key.
    struct Changing(std::sync::Mutex<Vec<Arc<dyn Attester>>>);
    impl Attester for Changing {
        fn platform(&self) -> casemate_attest::Platform {
            casemate_attest::Platform::GceVtpm
        }
        fn evidence(&self, report_data: &[u8; 64]) -> Result<RawEvidence, AttesterError> {
            self.0.lock().expect("whole").pop().expect("one more").evidence(report_data)
        }
        fn simulated(&self) -> bool {
            false
        }
    }
    let other = Vm::provisioned(true);
    let changing = Arc::new(Changing(vec![other.attester(), vm.attester()].into()));
    let changed = shown(changing, &good, &Danger::Refuse).evidence(&[0; 64]).unwrap_err();
    assert_eq!(changed.code(), "attester.gce.key-changed");
}

pub(crate) fn provisioning() {
    let code = |vm: &Vm| google_vtpm(&vm.roots()).err().map_or("none", |e| e.code());
    let vm = Vm::new();
    let nowhere = casemate_enclave::Roots { tpm: vm.0.dir.join("none"), ..vm.roots() };
    assert_eq!(google_vtpm(&nowhere).err().map(|e| e.code()), Some("attester.gce.no-device"));
    assert_eq!(code(&vm), "attester.gce.no-template");
    vm.0.nv_write(TEMPLATE, &template(RESTRICTED), 280);
    assert_eq!(code(&vm), "attester.gce.no-certificate");
    vm.0.nv_write(CERTIFICATE, &[], 1600);
    assert_eq!(code(&vm), "attester.gce.no-certificate");

    let with = |template: &[u8], certificate: &[u8]| {
        let vm = Vm::new();
        vm.0.nv_write(TEMPLATE, template, u16::try_from(template.len()).expect("short"));
        vm.0.nv_write(CERTIFICATE, certificate, 1600);
        code(&vm)
    };
    let modulus = vm.modulus(&template(RESTRICTED));
    let another = GOOGLE.certificate(&modulus, true);
    assert_eq!(with(&template(RESTRICTED), &another), "attester.gce.key-differs");
    assert_eq!(with(&template(RESTRICTED), &[&another[..], &[1]].concat()), "attester.gce.certificate");
    assert_eq!(with(&template(RESTRICTED), &[0x30, 0x82, 0, 2, 5, 0]), "attester.gce.certificate");
    // A key that signs anything, and a template that is none.
    assert_eq!(with(&template(0), &another), "attester.gce.form");
    assert_eq!(with(&[0xff; 280], &another), "attester.tpm.refused");
}
