//! The signed manifest: one mistake per case, each with its own code. Where the mistake is in the payload, the
//! signature over it is correct: a verifier must refuse what a trusted key signed by mistake, too.

mod model;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use casemate_seal::{
    FileEntry, MAX_ENVELOPE_LEN, MAX_FILE_LEN, MAX_FILES, MAX_RECIPIENTS, Manifest, ManifestBuilder,
    ManifestError, ModelId, ModelKey, PublisherKey, PublisherSecret, Recipient,
};
use model::{
    ID, KEY, canonical, envelope_of, payload_of, publisher, recipient, seal_file, sign_payload, trusted,
};
use serde_json::{Value, json};

fn good() -> Vec<u8> {
    envelope_of([seal_file(&ID, "a.bin", b"one", 1).0, seal_file(&ID, "b/c.bin", b"two!", 1).0])
}

fn verify(envelope: &[u8]) -> Result<Manifest, ManifestError> {
    Manifest::verify(envelope, &trusted())
}

fn code(envelope: &[u8]) -> &'static str {
    verify(envelope).map(|_| ()).unwrap_err().code()
}

/// The code for the good payload after one change, canonical and correctly signed.
fn code_after(change: impl FnOnce(&mut Value)) -> &'static str {
    let before: Value = serde_json::from_slice(&payload_of(&good())).unwrap();
    let mut payload = before.clone();
    change(&mut payload);
    assert_ne!(payload, before, "the case changes something");
    code(&sign_payload(&canonical(&payload)))
}

/// The same for the envelope itself, which is not signed.
fn code_after_envelope(change: impl FnOnce(&mut Value)) -> &'static str {
    let before: Value = serde_json::from_slice(&good()).unwrap();
    let mut envelope = before.clone();
    change(&mut envelope);
    assert_ne!(envelope, before, "the case changes something");
    code(&canonical(&envelope))
}

#[test]
fn a_good_manifest_says_what_was_signed() {
    let envelope = good();
    let manifest = verify(&envelope).unwrap();
    assert_eq!(manifest.id(), ID);
    assert_eq!(manifest.name(), "test model");
    assert_eq!(manifest.created(), 1_763_900_000);
    assert_eq!(manifest.recipients(), [recipient()]);
    assert_eq!(manifest.signers(), trusted());
    assert_eq!(manifest.total_size(), 7);
    assert_eq!((manifest.find("b/c.bin"), manifest.find("c.bin")), (Some(1), None));
    assert!(ModelKey::from_bytes(KEY).matches(manifest.mk_commitment()));
    let sha256 =
        |bytes: &[u8]| aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref().to_vec();
    assert_eq!(manifest.digest().to_vec(), sha256(&payload_of(&envelope)));
    assert_eq!(manifest.root_digest().to_vec(), sha256(&[sha256(b"one"), sha256(b"two!")].concat()));
    assert_eq!(manifest.files()[0].blob_name().len(), 38);
    // The forger below makes the same bytes, so its cases differ from a good one by their mistake only.
    assert_eq!(sign_payload(&payload_of(&envelope)), envelope);
}

#[test]
fn every_bit_of_the_envelope_counts() {
    let envelope = good();
    for at in 0..envelope.len() {
        for bit in 0..8 {
            let mut flipped = envelope.clone();
            flipped[at] ^= 1 << bit;
            assert!(verify(&flipped).is_err(), "bit {bit} of byte {at}");
        }
    }
}

#[test]
fn every_cut_and_every_extension_is_refused() {
    let envelope = good();
    for len in 0..envelope.len() {
        assert!(verify(&envelope[..len]).is_err(), "{len} bytes");
    }
    for byte in 0..=255 {
        let mut longer = envelope.clone();
        longer.push(byte);
        assert!(verify(&longer).is_err(), "with byte {byte}");
    }
}

#[test]
fn who_signed() {
    let envelope = good();
    let refused = |envelope: &[u8], trusted: &[PublisherKey]| {
        Manifest::verify(envelope, trusted).map(|_| ()).unwrap_err()
    };
    let other = PublisherSecret::from_seed([8; 32]);
    let other_key = other.public().unwrap();
    assert_eq!(refused(&envelope, &[]), ManifestError::NoTrustedPublisher);
    let keyids = vec![trusted()[0].fingerprint()];
    assert_eq!(refused(&envelope, &[other_key]), ManifestError::UnknownPublisher { keyids });

    // Two signers: each is enough; a bad signature of a trusted one is not outvoted.
    let key = ModelKey::from_bytes(KEY);
    let both = ManifestBuilder::new(ID, "m", 0, &key)
        .file(seal_file(&ID, "a", b"one", 1).0)
        .recipient(recipient())
        .sign_with_all(&[&publisher(), &other, &other])
        .unwrap();
    assert_eq!(Manifest::verify(&both, &[other_key]).unwrap().signers(), [other_key]);
    assert_eq!(Manifest::verify(&both, &[other_key, trusted()[0]]).unwrap().signers().len(), 2);
    let mut value: Value = serde_json::from_slice(&both).unwrap();
    let position = |value: &Value, key: &PublisherKey| {
        let signatures = value["signatures"].as_array().unwrap();
        signatures.iter().position(|signature| signature["keyid"] == key.fingerprint()).unwrap()
    };
    let at = position(&value, &other_key);
    value["signatures"][at]["sig"] = STANDARD.encode([0; 64]).into();
    let bad = ManifestError::BadSignature { keyid: other_key.fingerprint() };
    assert_eq!(refused(&canonical(&value), &[other_key, trusted()[0]]), bad);
    assert!(
        Manifest::verify(&canonical(&value), &trusted()).is_ok(),
        "a stranger's signature counts for nothing"
    );

    let nobody = ManifestBuilder::new(ID, "m", 0, &key)
        .file(seal_file(&ID, "a", b"one", 1).0)
        .recipient(recipient())
        .sign_with_all(&[]);
    assert_eq!(nobody, Err(ManifestError::Unsigned));
}

#[test]
fn envelope_mistakes() {
    let text = String::from_utf8(good()).unwrap();
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (vec![], "seal.manifest.syntax"),
        (b"garbage".to_vec(), "seal.manifest.syntax"),
        (b"[]".to_vec(), "seal.manifest.wrong-type"),
        (b"{}".to_vec(), "seal.manifest.missing-member"),
        (vec![b' '; MAX_ENVELOPE_LEN + 1], "seal.manifest.oversized"),
        (format!("{text}{text}").into(), "seal.manifest.syntax"),
        (format!("{text}\n").into(), "seal.manifest.not-canonical"),
        (text.replace("\":\"", "\": \"").into(), "seal.manifest.not-canonical"),
        (text.replace("payloadType", "\\u0070ayloadType").into(), "seal.manifest.not-canonical"),
        (
            text.replace("\"payloadType\":", "\"payload\":\"\",\"payloadType\":").into(),
            "seal.manifest.duplicate-member",
        ),
        (text.replace("\"sig\":", "\"sig\":\"\",\"sig\":").into(), "seal.manifest.duplicate-member"),
        (text.replace("{\"payload\"", "{\"a\":0,\"payload\"").into(), "seal.manifest.unknown-member"),
    ];
    for (envelope, expected) in cases {
        assert_eq!(
            code(&envelope),
            expected,
            "{}",
            String::from_utf8_lossy(&envelope[..envelope.len().min(80)])
        );
    }
}

#[test]
fn envelope_member_mistakes() {
    let remove = |name: &'static str| {
        move |value: &mut Value| {
            value.as_object_mut().unwrap().remove(name);
        }
    };
    for name in ["payload", "payloadType", "signatures"] {
        assert_eq!(code_after_envelope(remove(name)), "seal.manifest.missing-member", "{name}");
    }
    let set =
        |at: &'static str, new: Value| code_after_envelope(|value| *value.pointer_mut(at).unwrap() = new);
    let sig = || STANDARD.encode([1; 64]);
    assert_eq!(set("/payloadType", json!("application/json")), "seal.manifest.payload-type");
    assert_eq!(set("/payloadType", json!(1)), "seal.manifest.wrong-type");
    assert_eq!(set("/payload", json!("a-_b")), "seal.manifest.base64");
    assert_eq!(set("/payload", json!("YQ")), "seal.manifest.base64");
    assert_eq!(set("/payload", json!("YR==")), "seal.manifest.base64");
    assert_eq!(set("/payload", json!("YQ==")), "seal.signature.bad");
    assert_eq!(set("/payload", json!("")), "seal.signature.bad");
    assert_eq!(set("/signatures", json!([])), "seal.signature.none");
    assert_eq!(set("/signatures", Value::Null), "seal.manifest.wrong-type");
    assert_eq!(set("/signatures/0", json!("x")), "seal.manifest.wrong-type");
    assert_eq!(set("/signatures/0", json!({ "sig": sig() })), "seal.manifest.missing-member");
    assert_eq!(set("/signatures/0/sig", json!(sig())), "seal.signature.bad");
    assert_eq!(set("/signatures/0/sig", json!(STANDARD.encode([1; 63]))), "seal.manifest.base64");
    assert_eq!(set("/signatures/0/sig", json!("")), "seal.manifest.base64");
    assert_eq!(set("/signatures/0/keyid", json!("00".repeat(32))), "seal.signature.unknown-publisher");
    assert_eq!(set("/signatures/0/keyid", json!("00".repeat(31))), "seal.manifest.hex");
    assert_eq!(
        set("/signatures/0/keyid", json!(trusted()[0].fingerprint().to_uppercase())),
        "seal.manifest.hex"
    );
    assert_eq!(set("/signatures/0/keyid", json!("")), "seal.manifest.hex");

    let entry = |i: u8| json!({ "keyid": hex::encode([i; 32]), "sig": sig() });
    assert_eq!(set("/signatures", (0..17).map(entry).collect()), "seal.signature.too-many");
    assert_eq!(set("/signatures", json!([entry(2), entry(1)])), "seal.signature.order");
    assert_eq!(set("/signatures", json!([entry(1), entry(1)])), "seal.signature.order");
    let extra = code_after_envelope(|value| value["signatures"][0]["cert"] = json!("x"));
    assert_eq!(extra, "seal.manifest.unknown-member");
}

#[test]
fn payloads_that_are_not_a_canonical_statement() {
    let text = String::from_utf8(payload_of(&good())).unwrap();
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (vec![], "seal.manifest.syntax"),
        (vec![0xff], "seal.manifest.syntax"),
        (b"null".to_vec(), "seal.manifest.wrong-type"),
        (format!("{text} ").into(), "seal.manifest.not-canonical"),
        (text.replace("a.bin", "\\u0061.bin").into(), "seal.manifest.not-canonical"),
        (
            text.replace("\"format\":1,", "").replace("{\"created\"", "{\"format\":1,\"created\"").into(),
            "seal.manifest.not-canonical",
        ),
        (text.replace("\"format\":1", "\"format\":1.0").into(), "seal.manifest.wrong-type"),
        (text.replace("\"format\":1", "\"format\":1e0").into(), "seal.manifest.wrong-type"),
        (text.replace("\"version\":17", "\"version\":-17").into(), "seal.manifest.wrong-type"),
        (
            text.replace("\"version\":17", "\"version\":17,\"version\":18").into(),
            "seal.manifest.duplicate-member",
        ),
        (text.replace("\"size\":3", "\"size\":3,\"size\":3").into(), "seal.manifest.duplicate-member"),
        (format!("{}{}", "[".repeat(500), "]".repeat(500)).into(), "seal.manifest.syntax"),
    ];
    for (payload, expected) in cases {
        assert_ne!(payload, text.as_bytes());
        assert_eq!(code(&sign_payload(&payload)), expected, "{}", String::from_utf8_lossy(&payload));
    }
}

#[test]
fn every_member_is_required_and_none_else_is_known() {
    let objects = [
        ("", vec!["_type", "predicateType", "subject", "predicate"]),
        ("/subject/0", vec!["name", "digest"]),
        ("/subject/0/digest", vec!["sha256"]),
        (
            "/predicate",
            vec![
                "format",
                "suite",
                "model_uuid",
                "version",
                "created",
                "mk_commitment",
                "files",
                "recipients",
            ],
        ),
        ("/predicate/files/1", vec!["name", "size", "header", "sha256", "blob"]),
        ("/predicate/recipients/0", vec!["type", "uri"]),
    ];
    for (at, members) in objects {
        let object = |value: &Value| value.pointer(at).unwrap().as_object().unwrap().clone();
        let payload: Value = serde_json::from_slice(&payload_of(&good())).unwrap();
        assert_eq!(object(&payload).len(), members.len(), "{at}: all members are in the table");
        for member in members {
            let missing = code_after(|value| {
                value.pointer_mut(at).unwrap().as_object_mut().unwrap().remove(member);
            });
            assert_eq!(missing, "seal.manifest.missing-member", "{at}/{member}");
            let null = code_after(|value| value.pointer_mut(at).unwrap()[member] = Value::Null);
            assert_eq!(null, "seal.manifest.wrong-type", "{at}/{member}");
        }
        let extra = code_after(|value| value.pointer_mut(at).unwrap()["zz"] = json!(1));
        assert_eq!(extra, "seal.manifest.unknown-member", "{at}");
    }
}

#[test]
fn member_mistakes() {
    let set = |at: &'static str, new: Value| code_after(|value| *value.pointer_mut(at).unwrap() = new);
    let too_big = json!(1u64 << 53);
    assert_eq!(set("/_type", json!("https://in-toto.io/Statement/v0.1")), "seal.manifest.statement-type");
    assert_eq!(
        set("/predicateType", json!("https://casemate.dev/sealed-model/v2")),
        "seal.manifest.predicate-type"
    );
    assert_eq!(set("/predicate/format", json!(2)), "seal.manifest.format");
    assert_eq!(set("/predicate/format", json!(0)), "seal.manifest.format");
    assert_eq!(set("/predicate/suite", json!("cobblestone-128")), "seal.manifest.suite");
    assert_eq!(set("/predicate/suite", json!("Cobblestone-256")), "seal.manifest.suite");
    assert_eq!(set("/predicate/model_uuid", json!("c5c5c5c5")), "seal.manifest.uuid");
    assert_eq!(
        set("/predicate/model_uuid", json!("C5C5C5C5-c5c5-c5c5-c5c5-c5c5c5c5c5c5")),
        "seal.manifest.uuid"
    );
    assert_eq!(set("/predicate/version", too_big.clone()), "seal.manifest.integer");
    assert_eq!(set("/predicate/created", too_big.clone()), "seal.manifest.integer");
    assert_eq!(set("/predicate/mk_commitment", json!("00")), "seal.manifest.hex");
    assert_eq!(set("/predicate/mk_commitment", json!("AB".repeat(32))), "seal.manifest.hex");
    assert_eq!(set("/subject", json!([])), "seal.manifest.subjects");
    let two = code_after(|value| {
        let subject = value["subject"][0].clone();
        value["subject"].as_array_mut().unwrap().push(subject);
    });
    assert_eq!(two, "seal.manifest.subjects");
    assert_eq!(set("/subject/0/name", json!("")), "seal.name.empty");
    assert_eq!(set("/subject/0/name", json!("a\nb")), "seal.name.control");
    assert_eq!(set("/subject/0/name", json!("a".repeat(256))), "seal.name.too-long");
    assert_eq!(set("/subject/0/digest/sha256", json!("00".repeat(32))), "seal.manifest.root-digest");
    assert_eq!(set("/subject/0/digest/sha256", json!("00".repeat(33))), "seal.manifest.hex");
    let other_digest = code_after(|value| value["subject"][0]["digest"]["sha512"] = json!(""));
    assert_eq!(other_digest, "seal.manifest.unknown-member");
}

#[test]
fn file_mistakes() {
    let set = |at: &'static str, new: Value| code_after(|value| *value.pointer_mut(at).unwrap() = new);
    for (name, expected) in [
        ("", "seal.name.empty"),
        ("../a.bin", "seal.name.traversal"),
        ("a/../../b", "seal.name.traversal"),
        ("/etc/passwd", "seal.name.absolute"),
        ("a\\b", "seal.name.backslash"),
        ("C:a", "seal.name.colon"),
        ("a\0", "seal.name.control"),
        ("a//b", "seal.name.empty-segment"),
    ] {
        assert_eq!(set("/predicate/files/0/name", json!(name)), expected, "{name:?}");
    }
    assert_eq!(set("/predicate/files/0/name", json!("a".repeat(256))), "seal.name.too-long");
    assert_eq!(set("/predicate/files/0/name", json!("z")), "seal.files.order");
    assert_eq!(set("/predicate/files/0/name", json!("b/c.bin")), "seal.files.duplicate-name");
    assert_eq!(set("/predicate/files/0/name", json!("b")), "seal.files.name-conflict");
    assert_eq!(set("/predicate/files/0/size", json!(MAX_FILE_LEN + 1)), "seal.file.too-large");
    assert_eq!(set("/predicate/files/0/size", json!(3.5)), "seal.manifest.wrong-type");
    assert_eq!(set("/predicate/files/0/header", json!("")), "seal.manifest.base64");
    assert_eq!(set("/predicate/files/0/header", json!(STANDARD.encode([0; 55]))), "seal.manifest.base64");
    assert_eq!(set("/predicate/files/0/header", json!(STANDARD.encode([0; 56]))), "seal.files.blob-name");
    assert_eq!(set("/predicate/files/0/sha256", json!("0")), "seal.manifest.hex");
    assert_eq!(set("/predicate/files/0/sha256", json!("00".repeat(32))), "seal.manifest.root-digest");
    assert_eq!(set("/predicate/files/0/blob", json!("blobs/../../x")), "seal.files.blob-name");
    assert_eq!(set("/predicate/files/0/blob", json!("00".repeat(16))), "seal.files.blob-name");
    assert_eq!(set("/predicate/files/0", json!([])), "seal.manifest.wrong-type");
    assert_eq!(set("/predicate/files", json!([])), "seal.files.none");
    let reversed = code_after(|value| value["predicate"]["files"].as_array_mut().unwrap().reverse());
    assert_eq!(reversed, "seal.files.order");
    let copied = code_after(|value| {
        let (header, blob) = (
            value["predicate"]["files"][0]["header"].clone(),
            value["predicate"]["files"][0]["blob"].clone(),
        );
        value["predicate"]["files"][1]["header"] = header;
        value["predicate"]["files"][1]["blob"] = blob;
    });
    assert_eq!(copied, "seal.files.duplicate-blob");
    let many = code_after(|value| {
        let file = value["predicate"]["files"][0].clone();
        value["predicate"]["files"] = Value::Array(vec![file; MAX_FILES + 1]);
    });
    assert_eq!(many, "seal.files.too-many");
    // Three files that are each allowed, together above 2^53 - 1 bytes.
    let huge = code_after(|value| {
        let third = seal_file(&ID, "c", b"", 1).0;
        let third = json!({ "name": "c", "size": 0, "header": STANDARD.encode(third.header),
            "sha256": hex::encode(third.sha256), "blob": third.blob_name() });
        let files = value["predicate"]["files"].as_array_mut().unwrap();
        files.push(third);
        files.iter_mut().for_each(|file| file["size"] = json!(MAX_FILE_LEN));
    });
    assert_eq!(huge, "seal.files.total-too-large");
}

#[test]
fn recipient_mistakes() {
    let set = |new: Value| code_after(|value| value["predicate"]["recipients"] = new);
    let kbs = |uri: &str| json!({ "type": "kbs", "uri": uri });
    assert_eq!(set(json!([])), "seal.recipients.none");
    assert_eq!(set(json!([kbs("kbs://host/a/b/c")])), "seal.recipient.uri-form");
    assert_eq!(set(json!([kbs("kbs:///a/b/..")])), "seal.recipient.uri-form");
    assert_eq!(set(json!([kbs(&format!("kbs:///a/b/{}", "c".repeat(512)))])), "seal.recipient.uri-too-long");
    assert_eq!(set(json!([{ "type": "hpke", "enc": "", "ct": "" }])), "seal.recipient.unknown-type");
    assert_eq!(set(json!([{ "type": "KBS", "uri": "kbs:///a/b/c" }])), "seal.recipient.unknown-type");
    assert_eq!(set(json!([kbs("kbs:///a/b/c"), kbs("kbs:///a/b/c")])), "seal.recipients.duplicate");
    let many: Vec<_> = (0..=MAX_RECIPIENTS).map(|i| kbs(&format!("kbs:///a/b/{i}"))).collect();
    assert_eq!(set(json!(many)), "seal.recipients.too-many");
}

#[test]
fn the_builder_refuses_what_the_verifier_refuses() {
    let key = ModelKey::from_bytes(KEY);
    let file = || seal_file(&ID, "a", b"one", 1).0;
    let sign = |id: ModelId, files: Vec<FileEntry>, recipients: Vec<Recipient>| {
        let builder = files.into_iter().fold(ManifestBuilder::new(id, "m", 0, &key), ManifestBuilder::file);
        let builder = recipients.into_iter().fold(builder, ManifestBuilder::recipient);
        builder.sign(&publisher()).map(|_| ()).map_err(|error| error.code())
    };
    assert_eq!(sign(ID, vec![file()], vec![recipient()]), Ok(()));
    assert_eq!(sign(ID, vec![], vec![recipient()]), Err("seal.files.none"));
    assert_eq!(sign(ID, vec![file()], vec![]), Err("seal.recipients.none"));
    assert_eq!(sign(ID, vec![file(), file()], vec![recipient()]), Err("seal.files.duplicate-name"));
    assert_eq!(sign(ID, vec![file()], vec![recipient(), recipient()]), Err("seal.recipients.duplicate"));
    let version = 1 << 53;
    assert_eq!(
        sign(ModelId { version, ..ID }, vec![file()], vec![recipient()]),
        Err("seal.manifest.integer")
    );
    let bad = FileEntry { name: "../a".into(), ..file() };
    assert_eq!(sign(ID, vec![bad], vec![recipient()]), Err("seal.name.traversal"));
    let uri = "https://x".into();
    assert_eq!(sign(ID, vec![file()], vec![Recipient::Kbs { uri }]), Err("seal.recipient.uri-form"));
}

#[test]
fn the_greatest_manifest_fits() {
    let files = (0..MAX_FILES).map(|i| {
        let (dir, tail) = ("d".repeat(255), format!("{i:0255}"));
        let mut header = [0; 56];
        header[..8].copy_from_slice(&(i as u64).to_le_bytes());
        FileEntry { name: format!("{dir}/{tail}"), size: 1 << 40, header, sha256: [9; 32] }
    });
    let envelope = envelope_of(files);
    assert!(envelope.len() <= MAX_ENVELOPE_LEN);
    assert_eq!(verify(&envelope).unwrap().files().len(), MAX_FILES);
}

#[test]
fn names_are_ordered_by_their_bytes() {
    // A byte order that differs from UTF-16 order, which JSON canonicalisation uses for members.
    let names = ["a", "a-b", "a.b", "b", "\u{ff5e}", "\u{10000}"];
    let files = names.iter().rev().map(|name| seal_file(&ID, name, name.as_bytes(), 1).0);
    let manifest = verify(&envelope_of(files)).unwrap();
    let found: Vec<_> = manifest.files().iter().map(|file| file.name.as_str()).collect();
    assert_eq!(found, names);
}
