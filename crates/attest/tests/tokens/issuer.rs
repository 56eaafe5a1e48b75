//! Issuers of the test's own, for cases that need a valid signature over something wrong.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use casemate_attest::UnixTime;
use casemate_attest::token::TokenAnchors;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer as CertificateIssuer,
    KeyPair, KeyUsagePurpose, PKCS_RSA_SHA256, RsaKeySize, date_time_ymd,
};
use serde_json::{Value, json};

/// 2026-01-01T12:00:00Z.
pub(crate) const NOON: UnixTime = UnixTime(1_767_268_800);

pub(crate) struct Issuer {
    key: RsaKeyPair,
}

impl Issuer {
    pub(crate) fn new() -> Self {
        Self { key: RsaKeyPair::generate(KeySize::Rsa2048).expect("a key") }
    }

    pub(crate) fn jwks(&self) -> Value {
        // RSAPublicKey in DER: 9 octets of headers and a leading zero, the modulus, and 65537.
        let der = self.key.public_key().as_ref();
        let (modulus, exponent) = (URL_SAFE_NO_PAD.encode(&der[9..265]), URL_SAFE_NO_PAD.encode(&der[267..]));
        json!({"keys": [{
            "kty": "RSA", "use": "sig", "alg": "RS256", "kid": "test", "n": modulus, "e": exponent,
        }]})
    }

    pub(crate) fn anchors(&self, issuer: &str) -> TokenAnchors {
        let jwks = self.jwks().to_string();
        TokenAnchors::none().with_jwks(issuer, jwks.as_bytes()).expect("keys").danger_simulated()
    }

    /// With this header and these claims, whatever they are.
    pub(crate) fn sign(&self, header: &Value, claims: &Value) -> String {
        self.sign_text(&header.to_string(), &claims.to_string())
    }

    pub(crate) fn sign_text(&self, header: &str, claims: &str) -> String {
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature)
            .expect("a signature");
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// What is wrong with the certificates of a PKI token.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Path {
    Good,
    LeafExpired,
    LeafByAnotherRoot,
    IntermediateNotAuthority,
    IntermediateForTheWeb,
    IntermediateForBoth,
    IntermediateWithoutPurpose,
    LeafForTheWeb,
    /// The intermediate is not sent.
    NoIntermediate,
}

/// Root, intermediate and leaf as Google's.
pub(crate) struct Pki {
    pub(crate) root_pem: String,
    pub(crate) x5c: Vec<String>,
    leaf: RsaKeyPair,
}

impl Pki {
    pub(crate) fn new(path: Path) -> Self {
        let root_key = rsa();
        let root_params = authority("TEST Confidential Space Root CA");
        let root = root_params.self_signed(&root_key).expect("a root");
        let root_issuer = CertificateIssuer::new(root_params, root_key);
        let mut params = authority("TEST intermediate");
        // tcg-kp-EKCertificate, as Google's has.
        let googles = ExtendedKeyUsagePurpose::Other(vec![2, 23, 133, 8, 1]);
        params.extended_key_usages = match path {
            Path::IntermediateForTheWeb => vec![ExtendedKeyUsagePurpose::ServerAuth],
            Path::IntermediateForBoth => vec![googles, ExtendedKeyUsagePurpose::ServerAuth],
            Path::IntermediateWithoutPurpose => Vec::new(),
            _ => vec![googles],
        };
        if path == Path::IntermediateNotAuthority {
            params.is_ca = IsCa::NoCa;
        }
        let key = rsa();
        let other_key = rsa();
        let other_params = authority("TEST Confidential Space Root CA");
        let other = CertificateIssuer::new(other_params, other_key);
        let signer = if path == Path::LeafByAnotherRoot { &other } else { &root_issuer };
        let intermediate = params.signed_by(&key, signer).expect("an intermediate");
        let issuer = CertificateIssuer::new(params, key);
        let mut params = named("TEST leaf");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        if path == Path::LeafExpired {
            params.not_after = date_time_ymd(2025, 12, 31);
        }
        if path == Path::LeafForTheWeb {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        }
        let leaf_key = rsa();
        let leaf = params.signed_by(&leaf_key, &issuer).expect("a leaf");
        let mut x5c = [leaf.der(), intermediate.der(), root.der()].map(|der| STANDARD.encode(der)).to_vec();
        if path == Path::NoIntermediate {
            x5c.truncate(1);
        }
        Self {
            root_pem: root.pem(),
            x5c,
            leaf: RsaKeyPair::from_pkcs8(&leaf_key.serialize_der()).expect("a key"),
        }
    }

    pub(crate) fn sign(self, claims: &Value) -> String {
        let header = json!({"alg": "RS256", "typ": "JWT", "x5c": self.x5c});
        Issuer { key: self.leaf }.sign(&header, claims)
    }
}

fn rsa() -> KeyPair {
    KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).expect("a key")
}

fn authority(name: &str) -> CertificateParams {
    let mut params = named(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(2025, 1, 1);
    params.not_after = date_time_ymd(2027, 1, 1);
    params
}
