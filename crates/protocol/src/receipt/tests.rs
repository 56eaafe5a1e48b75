use casemate_attest::{Outcome, UnixTime};
use sha2::{Digest, Sha256};

use super::*;
use crate::statement::{EngineStatement, FORMAT, KeyOrigin, ModelStatement, RuntimeStatement};

const NOW: UnixTime = UnixTime(2_000_000_000);
const SALTS: [[u8; 32]; 2] = [[7; 32], [8; 32]];
const REQUEST: &[u8] = br#"{"model":"m"}"#;
const RESPONSE: &[u8] = b"data: [DONE]\n\n";

fn key() -> ReceiptKey {
    ReceiptKey::from_seed(&[1; 32])
}

fn digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

fn receipt() -> Receipt {
    let [request, response] = SALTS;
    Receipt {
        api_version: API_VERSION.to_owned(),
        receipt_id: "0123456789abcdef0123456789abcdef".to_owned(),
        sequence: 0,
        previous: Stated::None,
        served_at: NOW.0,
        method: "POST".to_owned(),
        endpoint: "/v1/chat/completions".to_owned(),
        model: "m".to_owned(),
        manifest_sha256: Stated::Is([3; 32]),
        parameters: [("temperature".to_owned(), "0.7".to_owned())].into(),
        usage: ReceiptUsage { prompt_tokens: 5, completion_tokens: 6 },
        evidence_sha256: Stated::Is([4; 32]),
        event_log: vec![
            ReceiptEvent::RequestReceived { body_hash: Stated::Is(body_hash(&request, &digest(REQUEST))) },
            ReceiptEvent::ResponseReturned { body_hash: Stated::Is(body_hash(&response, &digest(RESPONSE))) },
        ],
        software: "casemate 0".to_owned(),
        key_id: Stated::None,
    }
}

fn statement() -> RuntimeStatement {
    RuntimeStatement {
        format: FORMAT,
        nonce: Stated::None,
        tls_spki_sha256: Stated::None,
        tls_key_origin: KeyOrigin::Enclave,
        ohttp_config_sha256: Stated::None,
        receipt_key_sha256: Stated::Is(key().sha256()),
        models: vec![ModelStatement { id: "m".to_owned(), manifest_sha256: Stated::Is([3; 32]) }],
        engine: EngineStatement::Embedded,
        device_evidence_sha256: Stated::None,
        vtpm_key_sha256: Stated::None,
        release_policy_sha256: Stated::None,
        software: "casemate 0".to_owned(),
        not_after: NOW.0 + 60,
    }
}

fn bodies() -> Digests {
    Digests { request: Some(digest(REQUEST)), response: Some(digest(RESPONSE)) }
}

fn signed(receipt: &Receipt) -> SignedReceipt {
    key().sign(receipt, SALTS).expect("writable")
}

#[test]
fn a_receipt_is_checked_whole() {
    let signed = signed(&receipt());
    let verified = check(&signed, &statement(), &bodies(), NOW).expect("genuine");
    assert_eq!(verified.receipt().usage.completion_tokens, 6);
    assert_eq!(verified.checks().len(), RULES.len());
    assert!(verified.checks().iter().all(|check| check.outcome == Outcome::Pass));
    // As it travels.
    let carried =
        SignedReceipt::from_base64(signed.to_base64().expect("writable").as_bytes()).expect("whole");
    assert_eq!(carried, signed);
    // Without the bodies it is the machine's all the same, and says so.
    let verified = check(&signed, &statement(), &Digests::default(), NOW).expect("genuine");
    let outcomes: Vec<_> = verified.checks().iter().map(|check| check.outcome).collect();
    assert_eq!(outcomes[5..], [Outcome::Waived; 2]);
}

/// The formulas, written down a second time.
#[test]
fn the_bytes_are_those_of_the_specification() {
    let signed = signed(&receipt());
    let spki = [&SPKI_PREFIX[..], &STANDARD.decode(&signed.public_key).expect("base64")].concat();
    assert_eq!(spki.len(), 44);
    assert_eq!(key().sha256(), digest(&spki));
    let hash = digest(&[b"casemate/receipt-body/v1\0", &[7; 32][..], &digest(REQUEST)].concat());
    assert!(signed.receipt.contains(&hex::encode(hash)), "{}", signed.receipt);
    let message = [b"casemate/receipt/v1\0", signed.receipt.as_bytes()].concat();
    let signature = SigningKey::from_bytes(&[1; 32]).sign(&message).to_bytes();
    assert_eq!(STANDARD.encode(signature), signed.signature);
}

/// One mistake each.
#[test]
fn whatever_is_wrong_is_named() {
    let of = |change: fn(&mut Receipt)| {
        let mut receipt = receipt();
        change(&mut receipt);
        signed(&receipt)
    };
    let text = |change: fn(&str) -> String| {
        let mut one = signed(&receipt());
        one.receipt = change(&one.receipt);
        let message = signed_bytes(&one.receipt);
        one.signature = STANDARD.encode(SigningKey::from_bytes(&[1; 32]).sign(&message).to_bytes());
        one
    };
    let envelope = |change: fn(&mut SignedReceipt)| {
        let mut one = signed(&receipt());
        change(&mut one);
        one
    };
    let cases = [
        ("receipt.malformed", text(|text| text.replace("\"method\"", "\"methods\""))),
        ("receipt.malformed", text(|text| text.replace("\"sequence\":0", "\"sequence\":-1"))),
        ("receipt.malformed", of(|receipt| receipt.receipt_id = "../../../etc/passwd".to_owned())),
        (
            "receipt.malformed",
            of(|receipt| receipt.receipt_id = "0123456789ABCDEF0123456789ABCDEF".to_owned()),
        ),
        ("receipt.malformed", of(|receipt| receipt.previous = Stated::Is([1; 32]))),
        ("receipt.malformed", of(|receipt| receipt.sequence = 1)),
        ("receipt.malformed", of(|receipt| receipt.event_log.reverse())),
        ("receipt.malformed", of(|receipt| receipt.event_log.truncate(1))),
        (
            "receipt.malformed",
            of(|receipt| receipt.event_log[0] = ReceiptEvent::RequestReceived { body_hash: Stated::None }),
        ),
        ("receipt.too-long", of(|receipt| receipt.software = "x".repeat(MAX_LEN))),
        ("receipt.api-version", of(|receipt| receipt.api_version = "casemate.receipt/2".to_owned())),
        ("receipt.not-canonical", text(|text| text.replacen('{', "{ ", 1))),
        ("receipt.malformed", envelope(|one| one.public_key = "AAAA".to_owned())),
        ("receipt.key", ReceiptKey::from_seed(&[2; 32]).sign(&receipt(), SALTS).expect("writable")),
        ("receipt.key", text(|text| text.replace(&hex::encode(key().sha256()), &"00".repeat(32)))),
        ("receipt.signature", envelope(|one| one.receipt = one.receipt.replace("\"m\"", "\"n\""))),
        ("receipt.signature", envelope(|one| one.signature = "AAAA".to_owned())),
        ("receipt.signature", envelope(|one| one.signature = STANDARD.encode([0; 64]))),
        ("receipt.model", of(|receipt| receipt.model = "other".to_owned())),
        ("receipt.model", of(|receipt| receipt.manifest_sha256 = Stated::Is([5; 32]))),
        ("receipt.model", of(|receipt| receipt.manifest_sha256 = Stated::None)),
        ("receipt.future", of(|receipt| receipt.served_at += 301)),
        ("receipt.salt", envelope(|one| one.request_salt = Stated::None)),
        ("receipt.salt", envelope(|one| one.response_salt = Stated::None)),
        ("receipt.request", envelope(|one| one.request_salt = Stated::Is([9; 32]))),
        ("receipt.response", envelope(|one| one.response_salt = Stated::Is([9; 32]))),
    ];
    for (index, (code, signed)) in cases.iter().enumerate() {
        let refused = check(signed, &statement(), &bodies(), NOW).expect_err("refused");
        assert_eq!(refused.reason.code(), *code, "case {index}");
        assert_eq!(refused.checks.len(), RULES.len(), "case {index}");
        assert_eq!(refused.checks.iter().filter(|check| check.outcome == Outcome::Fail).count(), 1);
    }
    let other = Digests { request: Some(digest(b"other")), ..bodies() };
    assert_eq!(
        check(&signed(&receipt()), &statement(), &other, NOW).expect_err("other").reason.code(),
        "receipt.request"
    );
    let other = Digests { response: Some(digest(b"other")), ..bodies() };
    assert_eq!(
        check(&signed(&receipt()), &statement(), &other, NOW).expect_err("other").reason.code(),
        "receipt.response"
    );
    let none = RuntimeStatement { receipt_key_sha256: Stated::None, ..statement() };
    assert_eq!(
        check(&signed(&receipt()), &none, &bodies(), NOW).expect_err("none").reason.code(),
        "receipt.no-key"
    );
    let another =
        signed(&receipt()).to_json().expect("writable").replace(SCHEMA, "casemate.signed-receipt/2");
    assert_eq!(SignedReceipt::parse(another.as_bytes()).expect_err("another").code(), "receipt.schema");
    assert_eq!(SignedReceipt::parse(b"{}").expect_err("none").code(), "receipt.malformed");
    assert_eq!(SignedReceipt::parse(&vec![b' '; MAX_LEN + 1]).expect_err("long").code(), "receipt.too-long");
    assert_eq!(SignedReceipt::from_base64(b"*").expect_err("none").code(), "receipt.malformed");
}

/// No single bit of a signed receipt can be changed.
#[test]
fn every_bit_counts() {
    let good = signed(&receipt()).to_json().expect("writable");
    for at in 0..good.len() {
        for bit in 0..8 {
            let mut changed = good.clone().into_bytes();
            changed[at] ^= 1 << bit;
            if let Ok(parsed) = SignedReceipt::parse(&changed) {
                assert!(check(&parsed, &statement(), &bodies(), NOW).is_err(), "byte {at}, bit {bit}");
            }
        }
    }
}

/// RCP-8.
#[test]
fn receipts_follow_one_another() {
    let verified =
        |receipt: &Receipt| check(&signed(receipt), &statement(), &bodies(), NOW).expect("genuine");
    let first = verified(&receipt());
    let previous = Stated::Is(Receipt::digest(&signed(&receipt()).receipt));
    let next = Receipt { sequence: 1, previous, ..receipt() };
    let second = verified(&next);
    assert_eq!(follows(&second, &first), Ok(()));
    for wrong in
        [Receipt { sequence: 2, ..next.clone() }, Receipt { previous: Stated::Is([6; 32]), ..next.clone() }]
    {
        assert_eq!(follows(&verified(&wrong), &first).expect_err("gap").code(), "receipt.chain");
    }
    assert_eq!(follows(&first, &second).expect_err("backwards").code(), "receipt.chain");
}
