//! Second implementations: the answers read by code that shares none with the broker's.
//!
//! The JWE is opened with aws-lc's ECDH, key wrap and AES-GCM (the broker uses RustCrypto for it), the token's signature
//! is checked with aws-lc over the bytes, and the additional data is rebuilt by the confidential-containers types.

use aws_lc_rs::agreement::{ECDH_P256, PrivateKey, UnparsedPublicKey, agree};
use aws_lc_rs::key_wrap::{AES_256, AesKek, KeyWrap};
use aws_lc_rs::{aead, digest, signature};
use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD as B64URL};
use casemate_attest::token::{Token, TokenAnchors, TokenBinding, TokenKind, verify_token};
use casemate_attest::{Policy, UnixTime};
use casemate_broker::{DEFAULT_ISSUER, EAT_PROFILE};
use casemate_protocol::jwe::TeePrivateKey;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::fixture::{Broker, DIGEST, KEY, NOW, SECRET};

fn b64(text: &Value) -> Vec<u8> {
    B64URL.decode(text.as_str().unwrap()).unwrap()
}

/// What a token says. Who signed it is another question.
pub(crate) fn payload(token: &str) -> Value {
    serde_json::from_slice(&B64URL.decode(token.split('.').nth(1).unwrap()).unwrap()).unwrap()
}

/// RFC 7518 sections 4.6 (Concat KDF), 4.4 and 5.3, with aws-lc.
fn open_with_aws_lc(private: &[u8; 32], jwe: &Value) -> Vec<u8> {
    let header: Value = serde_json::from_slice(&b64(&jwe["protected"])).unwrap();
    let point = [&[4][..], &b64(&header["epk"]["x"]), &b64(&header["epk"]["y"])].concat();
    let private = PrivateKey::from_private_key(&ECDH_P256, private).unwrap();
    let kek = agree(&private, UnparsedPublicKey::new(&ECDH_P256, point), (), |shared| {
        let mut info = vec![0, 0, 0, 1];
        info.extend_from_slice(shared);
        info.extend_from_slice(&[0, 0, 0, 14]);
        info.extend_from_slice(b"ECDH-ES+A256KW");
        info.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
        Ok(digest::digest(&digest::SHA256, &info).as_ref().to_vec())
    })
    .unwrap();
    let mut cek = [0; 40];
    let cek =
        AesKek::new(&AES_256, &kek).unwrap().unwrap(&b64(&jwe["encrypted_key"]), &mut cek).unwrap().to_vec();
    let key = aead::LessSafeKey::new(aead::UnboundKey::new(&aead::AES_256_GCM, &cek).unwrap());
    let nonce = aead::Nonce::try_assume_unique_for_key(&b64(&jwe["iv"])).unwrap();
    let mut text = [b64(&jwe["ciphertext"]), b64(&jwe["tag"])].concat();
    let aad = aead::Aad::from(jwe["protected"].as_str().unwrap());
    key.open_in_place(nonce, aad, &mut text).unwrap().to_vec()
}

#[tokio::test]
async fn the_key_opens_with_another_library_and_its_header_is_the_one_that_clients_rebuild() {
    let broker = Broker::new();
    let mut guest = broker.guest().await;
    let mut private = [0; 32];
    aws_lc_rs::rand::fill(&mut private).unwrap();
    guest.key = TeePrivateKey::from_random(&Zeroizing::new(private)).unwrap();
    assert_eq!(broker.attest(&guest).await.status, 200);
    let answer = broker.resource(&guest, KEY).await;
    let jwe = answer.json();
    assert_eq!(open_with_aws_lc(&private, &jwe), SECRET);

    // The order of members means nothing outside of the header.
    let mut members: Vec<&String> = jwe.as_object().unwrap().keys().collect();
    members.sort();
    assert_eq!(members, ["ciphertext", "encrypted_key", "iv", "protected", "tag"]);
    let header = String::from_utf8(b64(&jwe["protected"])).unwrap();
    let parsed: Value = serde_json::from_str(&header).unwrap();
    let exact = format!(
        r#"{{"alg":"ECDH-ES+A256KW","enc":"A256GCM","epk":{{"crv":"P-256","kty":"EC","x":{},"y":{}}}}}"#,
        parsed["epk"]["x"], parsed["epk"]["y"]
    );
    assert_eq!(header, exact);
    let theirs: kbs_types::Response = serde_json::from_str(&answer.text).unwrap();
    assert_eq!(theirs.protected.generate_aad().unwrap(), jwe["protected"].as_str().unwrap().as_bytes());
}

#[tokio::test]
async fn the_token_verifies_under_the_published_key_and_says_what_the_specification_has() {
    let broker = Broker::new();
    let (guest, token) = broker.attested().await;
    let set = broker.get("/.well-known/jwks.json", &[]).await;
    assert_eq!(set.status, 200);

    // By hand: fixed r || s over the first two parts.
    let parts: Vec<&str> = token.split('.').collect();
    let key = &set.json()["keys"][0];
    let point = [&[4][..], &b64(&key["x"]), &b64(&key["y"])].concat();
    let signed = format!("{}.{}", parts[0], parts[1]);
    let signature = B64URL.decode(parts[2]).unwrap();
    let verifier = signature::UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, point);
    verifier.verify(signed.as_bytes(), &signature).unwrap();

    // With a JWT library, as a relying party does.
    let jwks: JwkSet = serde_json::from_str(&set.text).unwrap();
    let header = jsonwebtoken::decode_header(&token).unwrap();
    let jwk = jwks.find(header.kid.as_ref().unwrap()).unwrap();
    assert_eq!(
        (header.alg, header.typ.as_deref(), header.jwk.as_ref()),
        (Algorithm::ES256, Some("JWT"), Some(jwk))
    );
    let mut validation = Validation::new(Algorithm::ES256);
    validation.set_issuer(&[DEFAULT_ISSUER]);
    validation.set_required_spec_claims(&["iss", "exp", "nbf"]);
    // The library reads the system's clock; the times are compared below.
    validation.validate_exp = false;
    let key = DecodingKey::from_jwk(jwk).unwrap();
    let claims = jsonwebtoken::decode::<Value>(&token, &key, &validation).unwrap().claims;

    assert_eq!(
        [&claims["iat"], &claims["nbf"], &claims["exp"]],
        [&json!(NOW), &json!(NOW), &json!(NOW + 300)]
    );
    let nonce = B64URL.encode(BASE64_STANDARD.decode(&guest.nonce).unwrap());
    assert_eq!((&claims["eat_profile"], &claims["eat_nonce"]), (&json!(EAT_PROFILE), &json!(nonce)));
    let tee_pubkey = serde_json::to_value(guest.key.public()).unwrap();
    assert_eq!(claims["cnf"]["jwk"], tee_pubkey);
    assert_eq!(claims["casemate"], json!({ "simulated": true }));
    let cpu = &claims["submods"]["cpu0"];
    // Simulated hardware is never affirmed.
    assert_eq!(
        (cpu["ear.status"].as_str(), &cpu["ear.trustworthiness-vector"]["hardware"]),
        (Some("warning"), &json!(32))
    );
    let evidence = &cpu["ear.veraison.annotated-evidence"];
    assert_eq!(evidence["runtime_data_claims"]["tee-pubkey"], tee_pubkey);
    let tee = &evidence["x-ms-isolation-tee"];
    assert_eq!(tee["x-ms-sevsnpvm-launchmeasurement"], hex::encode(DIGEST));
    assert_eq!(tee["x-ms-attestation-type"], "sevsnpvm");
    assert_eq!(tee.get("x-ms-compliance-status"), None);
    assert_eq!(evidence["casemate"]["simulated"], true);
    // The private key is nowhere.
    assert!(!set.text.contains("\"d\""));
}

#[tokio::test]
async fn two_brokers_have_two_keys() {
    let keys = [Broker::new(), Broker::new()].map(|broker| broker.state.key_set());
    assert_ne!(keys[0], keys[1]);
}

/// Our own verifier reads our own tokens. This broker's machine is simulated, which is never affirmed.
#[tokio::test]
async fn the_token_is_an_attestation_result_for_our_verifier_and_a_simulated_machine_is_not_affirmed() {
    let broker = Broker::new();
    let (guest, token) = broker.attested().await;
    let set = broker.get("/.well-known/jwks.json", &[]).await;
    let anchors = TokenAnchors::none().with_jwks(DEFAULT_ISSUER, set.text.as_bytes()).unwrap();
    let token = Token::parse(token.as_bytes()).unwrap();
    assert_eq!(token.kind(), TokenKind::Ear);
    let nonce = B64URL.encode(BASE64_STANDARD.decode(&guest.nonce).unwrap());
    let judged = |waiver: &str, nonce: &str| {
        let policy = Policy::from_toml(&format!(
            r#"
            [ear]
            issuers = ["{DEFAULT_ISSUER}"]
            profiles = ["{EAT_PROFILE}"]
            developers = ["https://casemate.dev"]
            submodules = ["cpu0"]
            affirmed = ["instance-identity", "configuration"]
            appraisal-policies = {{ any = "it names none" }}
            {waiver}
            "#
        ));
        let authentic = verify_token(&token, &anchors, UnixTime(NOW)).unwrap();
        match authentic.appraise(&policy.unwrap(), &TokenBinding::nonce(nonce)) {
            Ok(_) => "verified",
            Err(denied) => denied.code(),
        }
    };
    let waiver = r#"not-affirming = { danger-allow = "simulated" }"#;
    assert_eq!(judged("", &nonce), "ear.status");
    assert_eq!(judged(waiver, &nonce), "verified");
    assert_eq!(judged(waiver, "another"), "token.nonce");
}
