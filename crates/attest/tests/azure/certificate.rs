//! Certificates of the attestation key. None was recorded: what passes is tried beside the module (src/tpm/ak_chain/tests.rs),
//! and here what is not one of this machine's key.

use casemate_attest::tpm::certificates;
use casemate_attest::{Endorsements, Outcome, TrustAnchors, verify};

use crate::recorded::{self, file};
use crate::{Case, genoa};

/// Each with the rule at which it ends.
pub(crate) const CERTIFICATES: &[Case] = &[
    ("certificate: none", || answer(None, &[]), "authentic"),
    ("certificate: empty", || answer(Some(Vec::new()), &[MICROSOFT]), "AZ-03 x509.missing"),
    (
        "certificate: without its issuer",
        || answer(Some(google()), &[]),
        "AZ-03 tpm.certificate.intermediates",
    ),
    ("certificate: Google's", || answer(Some(google()), &[GOOGLE]), "AZ-03 tpm.certificate.root-missing"),
    (
        "certificate: Google's, under Microsoft's issuer",
        || answer(Some(google()), &[MICROSOFT]),
        "AZ-03 tpm.certificate.purpose",
    ),
    (
        "certificate: Microsoft's issuer itself",
        || answer(Some(der(MICROSOFT)), &[MICROSOFT]),
        "AZ-03 x509.leaf-is-authority",
    ),
    ("certificate: beside a bare SEV-SNP report", beside_snp, "endorsements.platform"),
];

const GOOGLE: &str = "gcp/vtpm/gce_ak_intermediate_cert.pem";
const MICROSOFT: &str = "roots/azure/azure_tpm_intermediate_03.pem";

fn der(path: &str) -> Vec<u8> {
    certificates(&file(path)).expect("a certificate").remove(0)
}

fn google() -> Vec<u8> {
    der("gcp/vtpm/gce_ak_cert.pem")
}

/// "authentic", or the rule and the code of the rejection.
fn answer(leaf: Option<Vec<u8>>, issuers: &[&str]) -> String {
    let machine = genoa();
    let mut endorsements = Endorsements::snp(machine.vek.clone(), machine.revocation.clone());
    if let Some(leaf) = leaf {
        endorsements = endorsements.with_ak_certificate(leaf, issuers.iter().map(|path| der(path)).collect());
    }
    let evidence = machine.parse().expect("the form is right");
    match verify(&evidence, &endorsements, &TrustAnchors::vendors(), machine.now) {
        Ok(_) => "authentic".to_owned(),
        Err(rejected) => {
            let failed = rejected.checks.iter().find(|check| check.outcome == Outcome::Fail).expect("a rule");
            format!("{} {}", failed.rule.id, rejected.code())
        }
    }
}

fn beside_snp() -> String {
    let recording = recorded::genoa();
    let endorsements = Endorsements::snp(recording.vek.clone(), recording.revocation.clone());
    let endorsements = endorsements.with_ak_certificate(google(), vec![der(GOOGLE)]);
    let evidence = recording.parse().expect("a report");
    let rejected =
        verify(&evidence, &endorsements, &TrustAnchors::vendors(), recording.now).expect_err("refused");
    rejected.code().to_owned()
}
