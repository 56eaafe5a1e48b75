//! Saving and loading a vendor; each broken directory is refused by name.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::OnceLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use casemate_attest::UnixTime;
use casemate_attest::snp::ProductLine;
use casemate_sim::{AuthorityMistake, CrlMistake, MachineConfig, SimError, Vendor};
use tempfile::TempDir;

const NOW: UnixTime = UnixTime(1_795_478_400);

/// Two vendors of one line and one of another.
fn vendors() -> &'static [Vendor; 3] {
    static VENDORS: OnceLock<[Vendor; 3]> = OnceLock::new();
    VENDORS.get_or_init(|| {
        [ProductLine::Genoa, ProductLine::Genoa, ProductLine::Milan]
            .map(|line| Vendor::create(line, NOW).expect("a vendor"))
    })
}

fn saved(vendor: &Vendor) -> TempDir {
    let directory = TempDir::new().expect("a directory");
    vendor.save(directory.path()).expect("saved");
    directory
}

fn refusal(directory: &Path) -> SimError {
    Vendor::load(directory).expect_err("must be refused")
}

#[test]
fn what_was_saved_is_loaded() {
    let [vendor, ..] = vendors();
    let directory = TempDir::new().expect("a directory");
    let nested = directory.path().join("a/b");
    vendor.save(&nested).expect("saved");
    let loaded = Vendor::load(&nested).expect("loaded");
    assert_eq!(loaded.root_pem(), vendor.root_pem());
    assert_eq!(loaded.crl_der(), vendor.crl_der());
    assert_eq!((loaded.line(), loaded.issued()), (ProductLine::Genoa, NOW));
    loaded.machine(&MachineConfig::new([1; 48])).expect("a machine");
}

#[test]
fn only_the_keys_are_private() {
    let directory = saved(&vendors()[0]);
    let mut files: Vec<_> = fs::read_dir(directory.path())
        .expect("a directory")
        .map(|entry| {
            let entry = entry.expect("an entry");
            (
                entry.file_name().into_string().expect("text"),
                entry.metadata().expect("metadata").mode() & 0o777,
            )
        })
        .collect();
    files.sort();
    let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["ark.key.pem", "ask.key.pem", "asvk.key.pem", "crl.der", "roots.pem"]);
    for (name, mode) in &files {
        let private = name.ends_with(".key.pem");
        assert_eq!(*mode & 0o077 == 0, private, "{name} has mode {mode:o}");
    }
    let public = fs::read_to_string(directory.path().join("roots.pem")).expect("text");
    assert!(!public.contains("PRIVATE"));
}

#[test]
fn saving_again_replaces_every_file() {
    let [one, other, _] = vendors();
    let directory = saved(one);
    other.save(directory.path()).expect("saved over it");
    assert_eq!(Vendor::load(directory.path()).expect("loaded").root_pem(), other.root_pem());
}

#[test]
fn missing_files_are_named() {
    for file in ["ark.key.pem", "ask.key.pem", "asvk.key.pem", "crl.der", "roots.pem"] {
        let directory = saved(&vendors()[0]);
        let path = directory.path().join(file);
        fs::remove_file(&path).expect("removed");
        let kind = std::io::ErrorKind::NotFound;
        assert_eq!(refusal(directory.path()), SimError::File { action: "read", path, kind });
    }
}

#[test]
fn keys_that_others_can_read_are_refused() {
    for (file, mode) in [("ark.key.pem", 0o640), ("ask.key.pem", 0o604), ("asvk.key.pem", 0o620)] {
        let directory = saved(&vendors()[0]);
        let path = directory.path().join(file);
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("changed");
        assert_eq!(refusal(directory.path()), SimError::KeyFileMode { path, mode });
    }
}

#[test]
fn one_mistake_each() {
    let [one, other, milan] = vendors();
    type Break = Box<dyn Fn(&Path)>;
    let copy = |vendor: &'static Vendor, file: &'static str| -> Break {
        Box::new(move |directory| {
            let from = saved(vendor);
            fs::copy(from.path().join(file), directory.join(file)).expect("copied");
        })
    };
    let edit = |file: &'static str, change: fn(Vec<u8>) -> Vec<u8>| -> Break {
        Box::new(move |directory| {
            let path = directory.join(file);
            let content = change(fs::read(&path).expect("read"));
            fs::write(&path, content).expect("written");
        })
    };
    let write = |file: &'static str, content: Vec<u8>| -> Break {
        Box::new(move |directory| fs::write(directory.join(file), &content).expect("written"))
    };
    let mistaken =
        |mistake: AuthorityMistake| one.with_mistake(&mistake).expect("issued").root_pem().into_bytes();
    let crl = |mistake: CrlMistake| one.crl_with(&mistake).expect("issued");

    let cases: Vec<(&str, Break, &str)> = vec![
        ("another vendor's ARK key", copy(other, "ark.key.pem"), "sim.load.key-mismatch"),
        ("another vendor's ASK key", copy(other, "ask.key.pem"), "sim.load.key-mismatch"),
        ("another vendor's ASVK key", copy(other, "asvk.key.pem"), "sim.load.key-mismatch"),
        ("another vendor's roots", copy(other, "roots.pem"), "sim.load.key-mismatch"),
        ("another line's roots", copy(milan, "roots.pem"), "sim.load.key-mismatch"),
        ("another vendor's list", copy(other, "crl.der"), "sim.load.bad-signature"),
        ("another line's list", copy(milan, "crl.der"), "sim.load.wrong-name"),
        (
            "an ASK not signed by the ARK",
            write("roots.pem", mistaken(AuthorityMistake::IssuerNotSignedByArk)),
            "sim.load.bad-signature",
        ),
        (
            "an ASK of another name",
            write("roots.pem", mistaken(AuthorityMistake::AskCommonName("SEV-Milan"))),
            "sim.load.wrong-name",
        ),
        (
            "a list signed by the ASK",
            write("crl.der", crl(CrlMistake::SignedByAsk)),
            "sim.load.bad-signature",
        ),
        (
            "a list in another name",
            write("crl.der", crl(CrlMistake::IssuerCommonName("ARK-Milan"))),
            "sim.load.wrong-name",
        ),
        ("a list of no bytes", write("crl.der", Vec::new()), "sim.load.malformed"),
        (
            "a list with a byte after it",
            edit("crl.der", |mut der| {
                der.push(0);
                der
            }),
            "sim.load.malformed",
        ),
        (
            "a list cut short",
            edit("crl.der", |mut der| {
                der.pop();
                der
            }),
            "sim.load.malformed",
        ),
        (
            "a changed list",
            edit("crl.der", |mut der| {
                der[240] ^= 1;
                der
            }),
            "sim.load.bad-signature",
        ),
        ("an empty bundle", write("roots.pem", Vec::new()), "sim.load.pem"),
        ("a bundle of two", edit("roots.pem", first_two), "sim.load.pem"),
        (
            "a bundle of four",
            edit("roots.pem", |pem| [first_two(pem.clone()), first_two(pem)].concat()),
            "sim.load.pem",
        ),
        ("a bundle in another order", edit("roots.pem", reversed), "sim.load.wrong-name"),
        ("a key file without a key", write("ark.key.pem", b"nothing\n".to_vec()), "sim.load.pem"),
        ("a key file with another key", edit("ark.key.pem", |_| p256_key()), "sim.load.private-key"),
    ];
    for (what, break_it, code) in cases {
        let directory = saved(one);
        break_it(directory.path());
        for key in ["ark.key.pem", "ask.key.pem", "asvk.key.pem"] {
            let private = fs::Permissions::from_mode(0o600);
            fs::set_permissions(directory.path().join(key), private).expect("changed");
        }
        let error = refusal(directory.path());
        assert_eq!(error.code(), code, "{what}: {error}");
    }
}

#[test]
fn a_renewed_vendor_has_the_same_roots_and_a_later_list() {
    let directory = saved(&vendors()[0]);
    let mut vendor = Vendor::load(directory.path()).expect("loaded");
    let (roots, list) = (vendor.root_pem(), vendor.crl_der().to_vec());
    let earlier = UnixTime(NOW.0 - 1);
    assert_eq!(vendor.renew(earlier), Err(SimError::RenewalInThePast { now: earlier, issued: NOW }));
    assert_eq!((vendor.issued(), vendor.crl_der()), (NOW, list.as_slice()));

    let later = UnixTime(NOW.0 + 300 * 86_400);
    vendor.renew(later).expect("renewed");
    assert_eq!((vendor.issued(), vendor.root_pem()), (later, roots));
    assert_ne!(vendor.crl_der(), list);
    vendor.save(directory.path()).expect("saved");
    assert_eq!(Vendor::load(directory.path()).expect("loaded").issued(), later);

    let never = UnixTime(u64::MAX);
    assert_eq!(vendor.renew(never).map_err(|error| error.code()), Err("sim.time-out-of-range"));
    assert_eq!(vendor.issued(), later);
}

fn first_two(pem: Vec<u8>) -> Vec<u8> {
    sections(pem).into_iter().take(2).collect::<String>().into_bytes()
}

fn reversed(pem: Vec<u8>) -> Vec<u8> {
    sections(pem).into_iter().rev().collect::<String>().into_bytes()
}

fn sections(pem: Vec<u8>) -> Vec<String> {
    let text = String::from_utf8(pem).expect("text");
    text.split_inclusive("-----END CERTIFICATE-----\n").map(str::to_owned).collect()
}

/// A private key of another algorithm.
fn p256_key() -> Vec<u8> {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
    let encoded = STANDARD.encode(pair.to_pkcs8v1().expect("exported"));
    format!("-----BEGIN PRIVATE KEY-----\n{encoded}\n-----END PRIVATE KEY-----\n").into_bytes()
}
