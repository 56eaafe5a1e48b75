//! The cache folder: one file an answer, which can be carried to where there is no network (END-05 to END-08).
//!
//! ```text
//! DIR/amd/vcek/Genoa/{hardware id}/{TCB}.json    {"body","header","name","schema","sha256","url"}
//! DIR/amd/crl/vcek/Genoa.json
//! DIR/intel/…
//! DIR/hosts/{host}                               not an answer: when the host may be asked again
//! ```
//!
//! The digest only tells a damaged file from a forged one: what a file says is believed no more than a stranger's answer.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::digest::{Context, SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::Answer;
use super::error::EndorseError;
use super::http::MAX_ANSWER;

pub(super) struct Cache {
    folder: PathBuf,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    schema: String,
    name: String,
    url: String,
    header: String,
    body: String,
    sha256: String,
}

impl Cache {
    pub(super) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// The answer of this name, whatever its age; `None` where there is none.
    pub(super) fn read(&self, name: &str) -> Result<Option<Answer>, EndorseError> {
        let path = self.path(name);
        let mut bytes = Vec::new();
        match File::open(&path) {
            Ok(file) => file
                .take(MAX_ENTRY.saturating_add(1))
                .read_to_end(&mut bytes)
                .map_err(|source| EndorseError::CacheFile { path, source })?,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(EndorseError::CacheFile { path, source }),
        };
        let answer = decode(name, &bytes);
        answer.map(Some).ok_or_else(|| EndorseError::CacheDamaged { name: name.to_owned() })
    }

    /// Keeps an answer: another reader sees the old file or the new one, never a part.
    pub(super) fn write(&self, name: &str, answer: &Answer) -> Result<(), EndorseError> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let path = self.path(name);
        let failed = |source| EndorseError::CacheFile { path: path.clone(), source };
        let folder = path.parent().unwrap_or(&self.folder);
        fs::create_dir_all(folder).map_err(failed)?;
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let temporary = folder.join(format!(".new-{}-{count}", std::process::id()));
        let entry = Entry {
            schema: SCHEMA.to_owned(),
            name: name.to_owned(),
            url: answer.url.clone(),
            header: answer.header.clone(),
            body: STANDARD.encode(&answer.body),
            sha256: digest(name, answer),
        };
        let bytes = serde_json::to_vec(&entry).map_err(|error| failed(error.into()))?;
        let written = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&temporary)
            .and_then(|mut file| file.write_all(&bytes).and_then(|()| file.sync_all()))
            .and_then(|()| fs::rename(&temporary, &path));
        written.map_err(|source| {
            let _ = fs::remove_file(&temporary);
            failed(source)
        })
    }

    /// Names are this module's callers' own: letters, digits, `-` and `/`.
    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.json"))
    }
}

fn decode(name: &str, bytes: &[u8]) -> Option<Answer> {
    let entry: Entry = serde_json::from_slice(bytes).ok()?;
    let answer = Answer { url: entry.url, body: STANDARD.decode(entry.body).ok()?, header: entry.header };
    let whole = entry.schema == SCHEMA && entry.name == name && entry.sha256 == digest(name, &answer);
    whole.then_some(answer)
}

/// Over name, address and header, each with its length before it, and the body.
fn digest(name: &str, answer: &Answer) -> String {
    let mut context = Context::new(&SHA256);
    for part in [name, &answer.url, &answer.header] {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part.as_bytes());
    }
    context.update(&answer.body);
    hex::encode(context.finish())
}

const SCHEMA: &str = "casemate.endorsement-cache/1";
/// The longest answer in base64, its header, and room for the rest.
const MAX_ENTRY: u64 = 2 * MAX_ANSWER as u64 + 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn answer() -> Answer {
        Answer { url: "https://a.example/b".to_owned(), body: vec![0x30, 0, 0xff], header: "PEM".to_owned() }
    }

    #[test]
    fn what_is_written_is_read_and_nothing_else() {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = Cache::new(folder.path());
        assert_eq!(cache.read("amd/x").expect("readable"), None);
        cache.write("amd/x", &answer()).expect("written");
        assert_eq!(cache.read("amd/x").expect("readable"), Some(answer()));
        cache.write("amd/x", &Answer { body: vec![1], ..answer() }).expect("replaced");
        assert_eq!(cache.read("amd/x").expect("readable").expect("there").body, [1]);
        let files: Vec<_> = fs::read_dir(folder.path().join("amd")).expect("a folder").collect();
        assert_eq!(files.len(), 1, "no temporary file is left");
    }

    #[test]
    fn every_changed_byte_is_damage() {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = Cache::new(folder.path());
        cache.write("x", &answer()).expect("written");
        let path = folder.path().join("x.json");
        let good = fs::read(&path).expect("readable");
        for index in 0..good.len() {
            let mut bad = good.clone();
            bad[index] ^= 1;
            fs::write(&path, bad).expect("written");
            let code = cache.read("x").expect_err("damaged").code();
            assert_eq!(code, "endorse.cache.damaged", "byte {index}");
        }
        for bad in [&good[..good.len() - 1], b"", b"{}"] {
            fs::write(&path, bad).expect("written");
            assert_eq!(cache.read("x").expect_err("damaged").code(), "endorse.cache.damaged");
        }
        // A file under another's name.
        fs::write(folder.path().join("y.json"), &good).expect("written");
        assert_eq!(cache.read("y").expect_err("damaged").code(), "endorse.cache.damaged");
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("amd"), b"").expect("a file in the way");
        let cache = Cache::new(folder.path());
        assert_eq!(cache.write("amd/x", &answer()).expect_err("no folder").code(), "endorse.cache.file");
    }
}
