//! One mistake each in what KMS answers (KMS-08 to KMS-10).

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use crate::site::{SECRET, Site};
use crate::standin::Does;

#[tokio::test]
async fn one_mistake_in_the_answer_each() {
    type Change = fn(Value) -> Value;
    fn with(mut answer: Value, name: &str, value: Value) -> Value {
        answer[name] = value;
        answer
    }
    let cases: [(&str, Change, &str); 11] = [
        ("empty plaintext is none", |a| with(a, "Plaintext", json!("")), "none"),
        ("in the clear", |a| with(a, "Plaintext", json!(BASE64_STANDARD.encode(SECRET))), "kms.in-the-clear"),
        ("of another key", |a| with(a, "KeyId", json!("arn:aws:kms:eu-test-1:1:key/2")), "kms.other-key"),
        ("of no key", |a| with(a, "KeyId", Value::Null), "kms.answer"),
        (
            "of an algorithm without a context",
            |a| with(a, "EncryptionAlgorithm", json!("RSAES_OAEP_SHA_256")),
            "kms.answer",
        ),
        ("of no algorithm", |a| with(a, "EncryptionAlgorithm", Value::Null), "kms.answer"),
        ("without an envelope", |a| with(a, "CiphertextForRecipient", Value::Null), "kms.envelope"),
        ("with an empty one", |a| with(a, "CiphertextForRecipient", json!("")), "kms.envelope"),
        ("not in base64", |a| with(a, "CiphertextForRecipient", json!("%%%")), "kms.answer"),
        ("not an object", |_| json!([]), "kms.answer"),
        ("too long", |a| with(a, "More", json!("x".repeat(70_000))), "kms.answer"),
    ];
    for (name, change, expected) in cases {
        let site = Site::new(vec![Does::Answers(change)]);
        assert_eq!(site.code().await, expected, "{name}");
    }
    let site = Site::new(vec![Does::Says(200, "<html>".into())]);
    assert_eq!(site.code().await, "kms.answer");
}

/// Where something stands in an envelope of the stand-in's.
fn at(envelope: &[u8], part: &[u8]) -> usize {
    envelope.windows(part.len()).position(|window| window == part).expect("it is there") + part.len()
}

#[tokio::test]
async fn one_mistake_in_the_envelope_each() {
    type Change = fn(Vec<u8>) -> Vec<u8>;
    let cases: [(&str, Change, &str); 11] = [
        ("as it is", |e| e, "none"),
        ("cut", |e| e[..e.len() - 1].to_vec(), "kms.envelope"),
        ("cut in the content", |e| e[..e.len() - 20].to_vec(), "kms.envelope"),
        ("with something behind", |e| [e, vec![0]].concat(), "kms.envelope"),
        (
            "AES-128",
            |mut e| {
                let algorithm = at(&e, &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 1]);
                e[algorithm] = 2;
                e
            },
            "kms.envelope",
        ),
        (
            "PKCS #1 v1.5",
            |mut e| {
                let algorithm = at(&e, &[0x30, 0x3c, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1]);
                e[algorithm] = 1;
                e
            },
            "kms.envelope",
        ),
        (
            "OAEP with SHA-512",
            |mut e| {
                let algorithm = at(&e, &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2]);
                e[algorithm] = 3;
                e
            },
            "kms.envelope",
        ),
        (
            "another identifier, which nobody needs",
            |mut e| {
                let identifier = at(&e, &[2, 1, 2, 0x80, 0x20]);
                e[identifier] ^= 1;
                e
            },
            "none",
        ),
        (
            "another key inside",
            |mut e| {
                let key = at(&e, &[4, 0x82, 1, 0]);
                e[key + 9] ^= 1;
                e
            },
            "kms.not-the-key",
        ),
        (
            "another vector",
            |mut e| {
                let iv = at(&e, &[1, 42, 4, 16]);
                e[iv] ^= 1;
                e
            },
            "kms.not-the-key",
        ),
        (
            "another padding",
            |mut e| {
                let content = at(&e, &[0xa0, 0x80, 4, 48]);
                e[content + 31] ^= 1;
                e
            },
            "kms.not-the-key",
        ),
    ];
    for (name, change, expected) in cases {
        let site = Site::new(vec![Does::Envelopes(change)]);
        assert_eq!(site.code().await, expected, "{name}");
    }
}

/// What the owner encrypted is not a model key, or not this model's.
#[tokio::test]
async fn something_else_was_encrypted() {
    let site = Site::its();
    for (secret, expected) in [
        (vec![], "kms.key-length"),
        (SECRET[..16].to_vec(), "kms.key-length"),
        (SECRET[..31].to_vec(), "kms.key-length"),
        // One octet more has as many blocks.
        ([&SECRET[..], &[0]].concat(), "kms.not-the-key"),
        ([SECRET, SECRET].concat(), "kms.key-length"),
        (vec![0x43; 32], "kms.not-the-key"),
        (SECRET.to_vec(), "none"),
    ] {
        site.kms.holds(&secret);
        assert_eq!(site.code().await, expected, "{} bytes", secret.len());
    }
}
