//! Who gets no key, and what an operator can have written wrongly.

use std::sync::Arc;

use casemate_enclave::kms::{KmsError, Refusal};

use crate::site::{Enclave, Other, STRANGER, Site, TREE};
use crate::standin::Does;

#[tokio::test]
async fn another_enclave_gets_no_key() {
    let mut site = Site::its();
    // Another image, which AWS signs for as well.
    site.enclave = Arc::new(Enclave { tree: &TREE, pcr0: 0x99 });
    assert_eq!(site.code().await, "kms.denied");
    // An enclave in debug mode measures nothing.
    site.enclave = Arc::new(Enclave { tree: &TREE, pcr0: 0 });
    assert_ne!(site.code().await, "none");
    // This image, which nobody signs for whom the service knows.
    site.enclave = Arc::new(Enclave { tree: &STRANGER, pcr0: 0x10 });
    assert_eq!(site.code().await, "kms.refused");
    assert_eq!(site.kms.seen().len(), 3);
    site.enclave = Arc::new(Enclave { tree: &TREE, pcr0: 0x10 });
    assert_eq!(site.code().await, "none");
}

#[tokio::test]
async fn a_machine_that_names_no_recipient_asks_nobody() {
    let mut site = Site::its();
    site.enclave = Arc::new(Other);
    assert_eq!(site.code().await, "attester.no-recipient");
    assert_eq!(site.kms.connections(), 0);
}

/// KMS-02: the ciphertext is of one manifest.
#[tokio::test]
async fn a_key_of_another_manifest_is_not_asked_out_of_kms() {
    let mut site = Site::its();
    site.of.manifest[0] ^= 1;
    assert_eq!(site.code().await, "kms.ciphertext-refused");
    let mut site = Site::its();
    site.of.commitment[0] ^= 1;
    assert_eq!(site.code().await, "kms.not-the-key");
    let site = Site::its();
    site.write("ciphertext", "c2h1ZmZsZWQ=");
    assert_eq!(site.code().await, "kms.ciphertext-refused");
}

#[tokio::test]
async fn credentials_of_nobody_or_of_yesterday() {
    let site = Site::its();
    for wrong in [
        ("ASIDSOMEBODY", "wJalrXUtnFEMI/K7MDENG+bPxRfiCY", Some("IQoJb3/+==")),
        ("ASIDEXAMPLE", "anothersecret", Some("IQoJb3/+==")),
        ("ASIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCY", Some("yesterday")),
    ] {
        site.credentials(wrong);
        assert_eq!(site.code().await, "kms.credentials-refused", "{wrong:?}");
    }
    assert!(site.kms.seen().is_empty());
    let heard = KmsError::Credentials { reason: "they are too long" };
    assert_eq!(heard.code(), "kms.credentials");
}

#[tokio::test]
async fn what_kms_refuses_with_has_its_names() {
    let cases = [
        ("AccessDeniedException", 400, "kms.denied"),
        ("ExpiredTokenException", 400, "kms.credentials-refused"),
        ("UnrecognizedClientException", 400, "kms.credentials-refused"),
        ("InvalidSignatureException", 400, "kms.credentials-refused"),
        ("IncorrectKeyException", 400, "kms.ciphertext-refused"),
        ("com.amazonaws.kms#InvalidCiphertextException", 400, "kms.ciphertext-refused"),
        ("InvalidKeyUsageException:http://internal.amazon.com/", 400, "kms.ciphertext-refused"),
        ("DisabledException", 400, "kms.key-state"),
        ("KMSInvalidStateException", 400, "kms.key-state"),
        ("NotFoundException", 400, "kms.key-state"),
        ("ThrottlingException", 400, "kms.busy"),
        ("KeyUnavailableException", 500, "kms.busy"),
        ("DependencyTimeoutException", 500, "kms.busy"),
        ("ValidationException", 400, "kms.refused"),
        ("", 403, "kms.refused"),
        ("", 500, "kms.busy"),
    ];
    for (name, status, expected) in cases {
        let body = format!(r#"{{"__type":"{name}","Message":"a\u001b[31mword"}}"#);
        let site = Site::new(vec![Does::Says(status, body)]);
        let error = site.ask().await.err().expect("refused");
        assert_eq!(error.code(), expected, "{name}");
        // A peer's words do not steer a terminal.
        assert!(!error.to_string().contains('\u{1b}'), "{error}");
    }
    let named = Does::Header(400, "x-amzn-ErrorType: AccessDeniedException:http://x/");
    assert_eq!(Site::new(vec![named]).code().await, "kms.denied");
    // No redirection is followed.
    let site = Site::new(vec![Does::Header(307, "Location: https://localhost:1/")]);
    let error = site.ask().await.err().expect("refused");
    assert!(matches!(error, KmsError::Refused { refusal: Refusal::Other, status: 307, .. }), "{error}");
    assert_eq!(site.kms.seen().len(), 1);
}

#[tokio::test]
async fn who_has_not_the_certificate_is_told_nothing() {
    let (site, other) = (Site::its(), Site::its());
    site.write("ca.pem", &other.kms.authority);
    assert_eq!(site.code().await, "kms.unreachable");
    // Nor with the roots of the web.
    let mut settings = site.settings();
    settings.authorities = None;
    assert_eq!(site.ask_with(&settings).await.err().expect("refused").code(), "kms.unreachable");
    assert!(site.kms.connections() > 0 && site.kms.seen().is_empty());
    let mut settings = site.settings();
    settings.endpoint = Some("https://127.0.0.1:1".to_owned());
    assert_eq!(site.ask_with(&settings).await.err().expect("nobody").code(), "kms.unreachable");
}

#[tokio::test]
async fn what_is_written_wrongly_is_found_before_anybody_is_asked() {
    let site = Site::its();
    let refused = async |change: fn(&mut casemate_enclave::kms::KmsSettings)| {
        let mut settings = site.settings();
        change(&mut settings);
        site.ask_with(&settings).await.err().expect("refused").code()
    };
    assert_eq!(refused(|s| s.endpoint = Some("http://localhost:1".into())).await, "kms.endpoint");
    assert_eq!(refused(|s| s.endpoint = Some("https://localhost/kms".into())).await, "kms.endpoint");
    assert_eq!(refused(|s| s.ciphertext = "/nonexistent".into()).await, "kms.file");
    assert_eq!(refused(|s| s.authorities = Some("/nonexistent".into())).await, "kms.file");
    let file = |path: &str| casemate_enclave::kms::CredentialSource::File(path.into());
    assert_eq!(
        refused(|s| s.credentials = casemate_enclave::kms::CredentialSource::File("/nonexistent".into()))
            .await,
        "kms.file"
    );
    let mut settings = site.settings();
    settings.credentials = file(&site.path("ciphertext").display().to_string());
    assert_eq!(site.ask_with(&settings).await.err().expect("refused").code(), "kms.file");
    assert_eq!(site.kms.connections(), 0);
}
