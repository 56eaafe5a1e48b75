//! The key is asked for and comes (KMS-02 to KMS-08).

use std::time::{Duration, Instant};

use casemate_attest::Evidence;

use crate::site::{ARN, CIPHERTEXT, MANIFEST, SECRET, Site};
use crate::standin::Does;

#[tokio::test]
async fn an_enclave_that_the_key_policy_names_gets_its_models_key() {
    let site = Site::its();
    let key = site.ask().await.unwrap_or_else(|error| panic!("{}: {error}", error.code()));
    assert_eq!(key.expose(), &SECRET);
    let seen = site.kms.seen();
    assert_eq!(seen.len(), 1);
    let body = &seen[0].body;
    use base64::Engine as _;
    assert_eq!(body["KeyId"], ARN);
    assert_eq!(body["CiphertextBlob"], base64::prelude::BASE64_STANDARD.encode(CIPHERTEXT));
    assert_eq!(
        body["EncryptionContext"],
        serde_json::json!({ "casemate-manifest-sha256": hex::encode(MANIFEST) })
    );
    // What KMS was shown binds a key and no statement.
    let document = Evidence::parse(&seen[0].document).expect("a document");
    assert_eq!((document.bound(), seen[0].public_key.len()), (None, 294));
    assert!(!body.to_string().contains("wJalrXUtnFEMI"), "the secret half of the credentials was sent");
}

#[tokio::test]
async fn long_lived_credentials_have_no_token() {
    let site = Site::its();
    let access = ("ASIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCY", None);
    site.credentials(access);
    // The stand-in's are of a session.
    assert_eq!(site.code().await, "kms.credentials-refused");
    site.kms.expects(access);
    assert_eq!(site.code().await, "none");
}

/// KMS-04: a key pair is used up by one answer.
#[tokio::test]
async fn each_attempt_has_another_key_pair_and_another_document() {
    let busy = |name: &str| Does::Says(400, format!(r#"{{"__type":"{name}","message":"slower"}}"#));
    let does = vec![
        busy("ThrottlingException"),
        Does::Says(503, String::new()),
        Does::Closes,
        busy("KMSInternalException"),
        Does::Its,
    ];
    let mut site = Site::new(does);
    site.limits.patience = Duration::from_secs(30);
    let key = site.ask().await.unwrap_or_else(|error| panic!("{}: {error}", error.code()));
    assert_eq!(key.expose(), &SECRET);
    let seen = site.kms.seen();
    assert_eq!(seen.len(), 5);
    for (at, one) in seen.iter().enumerate() {
        for other in &seen[at + 1..] {
            assert!(one.public_key != other.public_key && one.document != other.document);
        }
    }
}

#[tokio::test]
async fn patience_ends() {
    let mut site = Site::new(vec![Does::Says(429, String::new())]);
    // Making a key pair takes a good part of it on a busy machine.
    site.limits.patience = Duration::from_secs(4);
    let started = Instant::now();
    assert_eq!(site.code().await, "kms.busy");
    assert!(site.kms.seen().len() > 1 && started.elapsed() < Duration::from_secs(16));
    // A final word is not asked for twice.
    let mut denied = Site::new(vec![Does::Says(400, r#"{"__type":"AccessDeniedException"}"#.into())]);
    denied.limits.patience = Duration::from_secs(30);
    assert_eq!(denied.code().await, "kms.denied");
    assert_eq!(denied.kms.seen().len(), 1);
}

#[tokio::test]
async fn who_hangs_is_not_waited_for() {
    for does in [Does::Hangs, Does::Trickles] {
        let mut site = Site::new(vec![does]);
        site.limits.call = Duration::from_secs(2);
        let started = Instant::now();
        assert_eq!(site.code().await, "kms.unreachable");
        assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
    }
}

/// KMS-04: an answer to an earlier question is none.
#[tokio::test]
async fn an_answer_that_is_played_again_opens_nothing() {
    let site = Site::new(vec![Does::Its, Does::First]);
    assert!(site.ask().await.is_ok());
    assert_eq!(site.code().await, "kms.not-the-key");
    site.kms.does(Does::Its);
    assert!(site.ask().await.is_ok());
}
