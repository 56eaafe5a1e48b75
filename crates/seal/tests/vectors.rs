//! The conformance vectors in `vectors/sealed-model`, which a second implementation made
//! (`spec/tools/sealed_model.py`): both must read, and write, the same bytes.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use casemate_seal::{
    Manifest, ManifestBuilder, ModelId, ModelKey, Opener, Provider, PublisherKey, PublisherSecret, Recipient,
    Sealer, VerifyMode,
};
use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../vectors/sealed-model")
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn bytes<const N: usize>(value: &Value) -> [u8; N] {
    hex::decode(value.as_str().unwrap()).unwrap().try_into().unwrap()
}

fn publisher(facts: &Value) -> PublisherKey {
    PublisherKey::from_bytes(bytes(&facts["publisher"]))
}

#[test]
fn the_model_of_the_second_implementation_opens() {
    let facts = json(&root().join("model.json"));
    let envelope = fs::read(root().join("model/sealed.json")).unwrap();
    let manifest = Manifest::verify(&envelope, &[publisher(&facts)]).unwrap();
    assert_eq!(manifest.digest(), bytes(&facts["manifest_digest"]));
    assert_eq!(manifest.root_digest(), bytes(&facts["root_digest"]));
    assert_eq!(manifest.id().uuid_text(), facts["uuid"]);
    assert_eq!(manifest.id().version, facts["version"]);
    assert_eq!(manifest.created(), facts["created"]);
    assert_eq!(manifest.name(), facts["name"]);

    let key = ModelKey::from_bytes(bytes(&facts["model_key"]));
    assert_eq!(manifest.files().len(), facts["files"].as_array().unwrap().len());
    for provider in [Provider::AwsLc, Provider::Ring] {
        for (index, file) in manifest.files().iter().enumerate() {
            assert_eq!(file.name, facts["files"][index]["name"]);
            assert_eq!(file.sha256, bytes(&facts["files"][index]["sha256"]));
            let blob = fs::read(root().join("model").join(file.blob_name())).unwrap();
            let opener =
                Opener::with_provider(provider, &key, &manifest, index).unwrap().verify(VerifyMode::Full);
            let mut plain = vec![0; file.size as usize];
            opener.open_into_slice(&blob, &mut plain, 2, &|_| {}).unwrap();
            let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &plain);
            assert_eq!(digest.as_ref(), file.sha256, "{}", file.name);
        }
    }
}

#[test]
fn sealing_again_gives_the_same_bytes() {
    let facts = json(&root().join("model.json"));
    let envelope = fs::read(root().join("model/sealed.json")).unwrap();
    let manifest = Manifest::verify(&envelope, &[publisher(&facts)]).unwrap();
    let key = ModelKey::from_bytes(bytes(&facts["model_key"]));
    let uuid = ModelId::parse_uuid(facts["uuid"].as_str().unwrap()).unwrap();
    let id = ModelId { uuid, version: facts["version"].as_u64().unwrap() };
    let name = facts["name"].as_str().unwrap();
    let mut builder = ManifestBuilder::new(id, name, facts["created"].as_u64().unwrap(), &key)
        .recipient(Recipient::kbs(facts["uri"].as_str().unwrap()).unwrap());
    for (index, file) in manifest.files().iter().enumerate() {
        let theirs = fs::read(root().join("model").join(file.blob_name())).unwrap();
        let mut plain = vec![0; file.size as usize];
        Opener::new(&key, &manifest, index)
            .unwrap()
            .open_into_slice(&theirs, &mut plain, 1, &|_| {})
            .unwrap();
        let salt = bytes(&facts["files"][index]["salt"]);
        for provider in [Provider::AwsLc, Provider::Ring] {
            let mut ours = Vec::new();
            let sealer = Sealer::with_provider(provider, &key, &id, &file.name, &salt).unwrap();
            let entry = sealer.seal(&mut plain.as_slice(), &mut ours, 2, &|_| {}).unwrap();
            assert!(ours == theirs, "{}", file.name);
            assert_eq!(entry, *file);
        }
        builder = builder.file(file.clone());
    }
    let secret = PublisherSecret::from_seed(bytes(&facts["publisher_seed"]));
    assert_eq!(secret.public().unwrap(), publisher(&facts));
    assert!(builder.sign(&secret).unwrap() == envelope);
}

#[test]
fn every_refused_manifest_is_refused_for_its_reason() {
    let facts = json(&root().join("model.json"));
    let mut codes = BTreeSet::new();
    let mut count = 0;
    for entry in fs::read_dir(root().join("refused")).unwrap() {
        let path = entry.unwrap().path();
        let case = json(&path);
        let envelope = STANDARD.decode(case["envelope"].as_str().unwrap()).unwrap();
        let error = Manifest::verify(&envelope, &[publisher(&facts)]).map(|_| ()).unwrap_err();
        assert_eq!(error.code(), case["expect"], "{}", path.display());
        codes.insert(error.code());
        count += 1;
    }
    assert_eq!(count, 26, "a case was added or lost: run spec/tools/sealed_model.py make");
    assert!(codes.len() >= 20);
}
