//! What each fuzz target does with its input, so that a test can do the same with a kept corpus.
//!
//! The first byte of an input chooses: 0, and the rest is given to the parser as it is; otherwise the rest is a list of
//! edits to a good sample (evidence and endorsements), which is then verified in full. Whatever is still genuine must say
//! the same as the good sample: otherwise something was forged, and the target panics. Inputs so hold no evidence.
//!
//! Samples are of a simulated machine or of a made-up vendor, under that one's root, or recorded evidence under the
//! vendor's own root, read at run time (`CASEMATE_VECTORS`); without recordings those targets only parse.

use std::path::PathBuf;

pub mod bundles;
pub mod logs;
pub mod nvidia;
pub mod platforms;
pub mod policy;
pub mod tokens;

/// A target: its name, and what it does.
pub const TARGETS: &[(&str, fn(&[u8]))] = &[
    ("snp", platforms::snp),
    ("nitro", platforms::nitro),
    ("tdx", platforms::tdx),
    ("azure", platforms::azure),
    ("gce", platforms::gce),
    ("log", logs::log),
    ("bundle", bundles::bundle),
    ("evidence", platforms::evidence),
    ("gpu", nvidia::gpu),
    ("manifest", nvidia::manifest),
    ("answer", nvidia::answer),
    ("policy", policy::policy),
    ("token", tokens::token),
    ("files", tokens::files),
];

/// Applies edits of five bytes each: which part, where (2 bytes), what, with which value.
pub fn edited(parts: &[&[u8]], edits: &[u8]) -> Vec<Vec<u8>> {
    let mut parts: Vec<Vec<u8>> = parts.iter().map(|part| part.to_vec()).collect();
    let count = parts.len();
    for edit in edits.chunks_exact(5).take(64) {
        let part = &mut parts[usize::from(edit[0]) % count];
        if part.is_empty() {
            continue;
        }
        let at = usize::from(u16::from_be_bytes([edit[1], edit[2]])) % part.len();
        let value = edit[4];
        let end = part.len().min(at + usize::from(value));
        match edit[3] % 7 {
            0 => part[at] ^= value,
            1 => part[at] = value,
            2 => part.insert(at, value),
            3 => drop(part.drain(at..end)),
            4 => {
                let copy = part[at..end].to_vec();
                part.splice(at..at, copy);
            }
            5 => part.truncate(at),
            _ => part[at..end].reverse(),
        }
    }
    parts
}

/// A recorded file, where recordings are at hand.
pub fn recorded(path: &str) -> Option<Vec<u8>> {
    let beside = || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/vectors"));
    let folder = std::env::var_os("CASEMATE_VECTORS").map_or_else(beside, PathBuf::from);
    std::fs::read(folder.join(path)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kept_corpus_and_the_empty_input() {
        for (name, target) in TARGETS {
            target(&[]);
            // No edit at all: the good sample, which must be genuine.
            target(&[1]);
            let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
            for entry in std::fs::read_dir(&folder).into_iter().flatten() {
                target(&std::fs::read(entry.expect("an entry").path()).expect("a file"));
            }
        }
    }
}
