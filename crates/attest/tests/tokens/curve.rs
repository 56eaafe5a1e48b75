//! Issuers of the test's own with keys on a curve.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
    KeyPair as _,
};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P384_SHA384, PKCS_RSA_SHA256, RsaKeySize, date_time_ymd,
};
use serde_json::{Value, json};

pub(crate) struct CurveKey {
    key: EcdsaKeyPair,
    pub(crate) algorithm: &'static str,
    curve: &'static str,
}

impl CurveKey {
    pub(crate) fn es256() -> Self {
        Self::new(&ECDSA_P256_SHA256_FIXED_SIGNING, "ES256", "P-256")
    }

    pub(crate) fn es384() -> Self {
        Self::new(&ECDSA_P384_SHA384_FIXED_SIGNING, "ES384", "P-384")
    }

    fn new(kind: &'static EcdsaSigningAlgorithm, algorithm: &'static str, curve: &'static str) -> Self {
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(kind, &SystemRandom::new()).expect("a key");
        let key = EcdsaKeyPair::from_pkcs8(kind, pkcs8.as_ref()).expect("a key");
        Self { key, algorithm, curve }
    }

    pub(crate) fn jwk(&self, key_id: &str) -> Value {
        let (x, y) = self.key.public_key().as_ref()[1..].split_at(self.key.public_key().as_ref().len() / 2);
        let [x, y] = [x, y].map(|number| URL_SAFE_NO_PAD.encode(number));
        json!({"kty": "EC", "crv": self.curve, "kid": key_id, "x": x, "y": y})
    }

    pub(crate) fn jwks(&self) -> Vec<u8> {
        json!({"keys": [self.jwk("test")]}).to_string().into_bytes()
    }

    pub(crate) fn header(&self) -> Value {
        json!({"alg": self.algorithm, "kid": "test"})
    }

    pub(crate) fn sign(&self, header: &Value, claims: &Value) -> String {
        let [header, claims] = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
        let signed = format!("{header}.{claims}");
        let signature = self.key.sign(&SystemRandom::new(), signed.as_bytes()).expect("a signature");
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// An intermediate with an RSA key, as NVIDIA's, and a leaf under it or under another of the same name.
pub(crate) struct Service {
    pub(crate) intermediate_pem: String,
    pub(crate) x5c: Vec<String>,
    pub(crate) leaf: CurveKey,
}

impl Service {
    pub(crate) fn new(is_ours: bool, last_day: u8) -> Self {
        let (pem, der, ours) = intermediate();
        let (_, _, other) = intermediate();
        let mut params = named("TEST attestation service GPU");
        params.not_before = date_time_ymd(2025, 12, 31);
        params.not_after = date_time_ymd(2026, 1, last_day);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let leaf_key = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).expect("a key");
        let leaf = params.signed_by(&leaf_key, if is_ours { &ours } else { &other }).expect("a leaf");
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, &leaf_key.serialize_der());
        let key = CurveKey { key: key.expect("a key"), algorithm: "ES384", curve: "P-384" };
        let x5c = [leaf.der().as_ref(), &der].map(|der| STANDARD.encode(der)).to_vec();
        Self { intermediate_pem: pem, x5c, leaf: key }
    }

    /// As the service publishes its keys.
    pub(crate) fn jwks(&self) -> Vec<u8> {
        let mut jwk = self.leaf.jwk("test");
        jwk["x5c"] = json!(self.x5c);
        json!({"keys": [jwk]}).to_string().into_bytes()
    }
}

fn intermediate() -> (String, Vec<u8>, Issuer<'static, KeyPair>) {
    let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).expect("a key");
    let mut params = named("TEST attestation service intermediate");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = params.self_signed(&key).expect("an intermediate");
    (certificate.pem(), certificate.der().to_vec(), Issuer::new(params, key))
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(2025, 1, 1);
    params.not_after = date_time_ymd(2027, 1, 1);
    params
}
