use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::{KeyPair as RsaKey, KeySize};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::SigningKey;
use std::sync::Arc;

use super::*;

const NOW: UnixTime = UnixTime(1_900_000_000);
const UNTIL: UnixTime = UnixTime(NOW.0 + 3600);
const STATEMENT: &str = "{\"a statement\":1}";

fn key(pkcs8: Vec<u8>) -> Arc<dyn SigningKey> {
    provider::sign::any_supported_type(&PrivateKeyDer::from(PrivatePkcs8KeyDer::from(pkcs8))).unwrap()
}

fn spki(key: &Arc<dyn SigningKey>) -> Vec<u8> {
    key.public_key().unwrap().to_vec()
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    digest(&SHA256, bytes).as_ref().try_into().unwrap()
}

/// What a server shows, signed over `statement`.
fn shown(
    key: &Arc<dyn SigningKey>,
    scheme: SignatureScheme,
    name: &str,
    certificates: &[&[u8]],
) -> DocumentOperator {
    let signer = key.choose_scheme(&[scheme]).unwrap();
    DocumentOperator::new(&spki(key), certificates, name, &signer.sign(&signed_bytes(STATEMENT)).unwrap())
}

fn p256() -> (KeyPair, Arc<dyn SigningKey>) {
    let pair = KeyPair::generate().unwrap();
    let signing = key(pair.serialize_der());
    (pair, signing)
}

fn code(shown: Option<&DocumentOperator>, rule: &OperatorRule) -> &'static str {
    let refused = check(shown, STATEMENT, rule, NOW, UNTIL).unwrap_err();
    assert_eq!(refused.checks.len(), RULES.len());
    assert!(refused.checks.iter().any(|check| check.outcome == Outcome::Fail));
    refused.reason.code()
}

/// CH-20 and CH-21 with each algorithm.
#[test]
fn a_key_that_the_policy_names_is_enough() {
    let pkcs8 = |algorithm| KeyPair::generate_for(algorithm).unwrap().serialize_der();
    let rsa: Vec<u8> = RsaKey::generate(KeySize::Rsa2048).unwrap().as_der().unwrap().as_ref().to_vec();
    let kinds = [
        ("ed25519", SignatureScheme::ED25519, pkcs8(&rcgen::PKCS_ED25519)),
        (
            "ecdsa_secp256r1_sha256",
            SignatureScheme::ECDSA_NISTP256_SHA256,
            pkcs8(&rcgen::PKCS_ECDSA_P256_SHA256),
        ),
        (
            "ecdsa_secp384r1_sha384",
            SignatureScheme::ECDSA_NISTP384_SHA384,
            pkcs8(&rcgen::PKCS_ECDSA_P384_SHA384),
        ),
        ("rsa_pss_rsae_sha256", SignatureScheme::RSA_PSS_SHA256, rsa.clone()),
        ("rsa_pss_rsae_sha384", SignatureScheme::RSA_PSS_SHA384, rsa.clone()),
        ("rsa_pss_rsae_sha512", SignatureScheme::RSA_PSS_SHA512, rsa),
    ];
    let mut names = Vec::new();
    for (name, scheme, pkcs8) in kinds {
        let key = key(pkcs8);
        let shown = shown(&key, scheme, name, &[]);
        let rule = OperatorRule::Keys(vec![[0; 32], sha256(&spki(&key))]);
        let checks = check(Some(&shown), STATEMENT, &rule, NOW, UNTIL).unwrap();
        assert_eq!(checks.len(), RULES.len());
        assert!(checks.iter().all(|check| check.outcome == Outcome::Pass), "{name}");
        // Of another statement, and another key.
        let other = check(Some(&shown), "{}", &rule, NOW, UNTIL).unwrap_err();
        assert_eq!(other.reason.code(), "operator.signature");
        assert_eq!(code(Some(&shown), &OperatorRule::Keys(vec![[0; 32]])), "operator.key");
        names.push(name);
    }
    assert_eq!(names, casemate_protocol::operator::SCHEMES);
}

#[test]
fn what_is_no_signature_of_this_key_is_refused() {
    let (_, key) = p256();
    let good = shown(&key, SignatureScheme::ECDSA_NISTP256_SHA256, "ecdsa_secp256r1_sha256", &[]);
    let rule = OperatorRule::Keys(vec![sha256(&spki(&key))]);
    let changed = |change: fn(&mut DocumentOperator)| {
        let mut shown = good.clone();
        change(&mut shown);
        code(Some(&shown), &rule)
    };
    assert_eq!(code(None, &rule), "operator.missing");
    assert_eq!(changed(|shown| shown.scheme = "none".into()), "operator.scheme");
    assert_eq!(changed(|shown| shown.scheme = "rsa_pkcs1_sha256".into()), "operator.scheme");
    assert_eq!(changed(|shown| shown.scheme = "ecdsa_secp384r1_sha384".into()), "operator.signature");
    assert_eq!(changed(|shown| shown.signature = String::new()), "operator.signature");
    assert_eq!(changed(|shown| shown.signature = "!".into()), "document.base64");
    assert_eq!(changed(|shown| shown.spki = "AAAA".into()), "operator.key");
}

/// Who names nobody is told so, whatever is shown.
#[test]
fn nobody_is_asked_in_writing() {
    let checks = check(None, STATEMENT, &OperatorRule::NotAsked, NOW, UNTIL).unwrap();
    assert_eq!((checks.len(), checks[0].outcome), (1, Outcome::Waived));
}

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    anchor: TrustAnchor<'static>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        let anchor = webpki::anchor_from_trusted_cert(certificate.der()).unwrap().to_owned();
        Self { issuer: Issuer::new(params, key), anchor }
    }

    fn certificate(&self, key: &KeyPair, name: &str, from: u64, until: u64) -> Vec<u8> {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(from);
        params.not_after = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(until);
        params.signed_by(key, &self.issuer).unwrap().der().to_vec()
    }

    fn rule(&self, names: &[&'static str]) -> OperatorRule {
        let names = names.iter().map(|name| ServerName::try_from(*name).unwrap()).collect();
        OperatorRule::Names { names, authorities: Authorities::These(vec![self.anchor.clone()]) }
    }
}

/// CH-20 by name: one mistake each.
#[test]
fn a_certificate_for_a_name_that_the_policy_names_is_enough() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let (pair, key) = p256();
    let with = |certificates: &[&[u8]]| {
        shown(&key, SignatureScheme::ECDSA_NISTP256_SHA256, "ecdsa_secp256r1_sha256", certificates)
    };
    let (day, name) = (86_400, "api.example.com");
    let rule = authority.rule(&["other.example", name]);
    let good = authority.certificate(&pair, name, NOW.0 - day, NOW.0 + day);
    let checks = check(Some(&with(&[&good])), STATEMENT, &rule, NOW, UNTIL).unwrap();
    assert!(checks[0].compared.starts_with(name), "{}", checks[0].compared);
    assert!(checks.iter().all(|check| check.outcome == Outcome::Pass));

    let over = authority.certificate(&pair, name, NOW.0 - 2 * day, NOW.0 - 1);
    let early = authority.certificate(&pair, name, NOW.0 + 1, NOW.0 + day);
    let tonight = authority.certificate(&pair, name, NOW.0 - day, UNTIL.0 - 1);
    let foreign = stranger.certificate(&pair, name, NOW.0 - day, NOW.0 + day);
    let (another, _) = p256();
    let others = authority.certificate(&another, name, NOW.0 - day, NOW.0 + day);
    for (certificates, expected) in [
        (&[][..], "operator.certificate"),
        (&[&b"none"[..]][..], "operator.certificate"),
        (&[&over[..]], "operator.certificate"),
        (&[&early], "operator.certificate"),
        (&[&tonight], "operator.certificate"),
        (&[&foreign], "operator.certificate"),
        (&[&others], "operator.other-key"),
    ] {
        assert_eq!(code(Some(&with(certificates)), &rule), expected);
    }
    let elsewhere = authority.rule(&["example.com", "x.api.example.com"]);
    assert_eq!(code(Some(&with(&[&good])), &elsewhere), "operator.name");
    let names = vec![ServerName::try_from(name).unwrap()];
    let public = OperatorRule::Names { names, authorities: Authorities::Public };
    assert_eq!(code(Some(&with(&[&good])), &public), "operator.certificate");
}
