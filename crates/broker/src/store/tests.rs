use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use rusqlite::Connection;
use tempfile::TempDir;

use super::*;
use crate::chance::SystemEntropy;
use crate::policy::CLAIM_MEASUREMENT;

const VENDORS: AnchorIdentity = AnchorIdentity::Vendors;
const NOW: UnixTime = UnixTime(1_790_000_000);
const UUID: [u8; 16] = [7; 16];

struct Place {
    dir: TempDir,
}

impl Place {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn db(&self) -> PathBuf {
        self.dir.path().join("keys.db")
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("root.key")
    }

    fn create(&self) -> Store {
        Store::create(&self.db(), &self.root(), VENDORS, &SystemEntropy::default()).unwrap()
    }

    fn open(&self) -> Result<Store, StoreError> {
        Store::open(&self.db(), &self.root(), VENDORS)
    }

    fn opens_with(&self) -> &'static str {
        self.open().map_or_else(|error| error.code(), |_| "ok")
    }

    /// Runs SQL as somebody with write access to the file would.
    fn edit(&self, sql: &str) {
        let changes = "DROP TRIGGER audit_is_append_only_1; DROP TRIGGER audit_is_append_only_2;";
        Connection::open(self.db()).unwrap().execute_batch(&format!("{changes}{sql}")).unwrap();
    }
}

fn path(text: &str) -> ResourcePath {
    text.parse().unwrap()
}

fn policy(digit: char) -> ReleasePolicy {
    let pin = digit.to_string().repeat(96);
    let text = format!(
        r#"{{"version":"1.0.0","anyOf":[{{"authority":"i","allOf":[{{"claim":"{CLAIM_MEASUREMENT}","equals":"{pin}"}}]}}]}}"#
    );
    ReleasePolicy::parse(text.as_bytes()).unwrap()
}

fn key(resource: &str, secret: &'static [u8]) -> NewKey<'static> {
    NewKey {
        resource: path(resource),
        model: ModelId { uuid: UUID, version: 3 },
        policy: policy('a'),
        secret,
    }
}

fn put(store: &Store, key: &NewKey<'_>) -> Result<(), StoreError> {
    store.put(key, Overwrite::Refuse, NOW, &SystemEntropy::default())
}

fn code<T>(result: Result<T, StoreError>) -> &'static str {
    result.map_or_else(|error| error.code(), |_| "ok")
}

fn permit(store: &Store, resource: &str) -> Permit {
    Permit::made_up(&store.record(&path(resource)).unwrap())
}

/// Takes the key out as a release does.
fn secret(store: &Store, resource: &str) -> Vec<u8> {
    store.unwrap(permit(store, resource)).unwrap().0.to_vec()
}

// === files ===

#[test]
fn a_store_is_made_once_for_its_owner_only() {
    let place = Place::new();
    drop(place.create());
    for file in [place.db(), place.root()] {
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600, "{}", file.display());
    }
    assert_eq!(fs::read(place.root()).unwrap().len(), 32);
    let again = |db: &str, root: &str| {
        let (db, root) = (place.dir.path().join(db), place.dir.path().join(root));
        code(Store::create(&db, &root, VENDORS, &SystemEntropy::default()))
    };
    let key = fs::read(place.root()).unwrap();
    assert_eq!(again("keys.db", "other.key"), "store.exists");
    assert_eq!(again("other.db", "root.key"), "store.exists");
    assert!(!place.dir.path().join("other.db").exists());
    assert_eq!(again("nowhere/keys.db", "other.key"), "store.file");
    assert_eq!(fs::read(place.root()).unwrap(), key);
    assert_eq!(place.opens_with(), "ok");
}

#[test]
fn without_random_bytes_nothing_is_made() {
    struct Nothing;
    impl Entropy for Nothing {
        fn fill(&self, _: &mut [u8]) -> Result<(), EntropyError> {
            Err(EntropyError)
        }
    }
    let place = Place::new();
    assert_eq!(code(Store::create(&place.db(), &place.root(), VENDORS, &Nothing)), "broker.entropy");
    assert_eq!(fs::read_dir(place.dir.path()).unwrap().count(), 0);
    let store = place.create();
    assert_eq!(code(store.put(&key("a/b/c", b"k"), Overwrite::Refuse, NOW, &Nothing)), "broker.entropy");
    assert_eq!(store.list().unwrap(), []);
}

#[test]
fn a_root_key_that_others_can_read_is_refused() {
    let place = Place::new();
    drop(place.create());
    let mode = |mode| {
        fs::set_permissions(place.root(), fs::Permissions::from_mode(mode)).unwrap();
        place.opens_with()
    };
    for wrong in [0o640, 0o604, 0o660, 0o666, 0o644, 0o610, 0o601] {
        assert_eq!(mode(wrong), "store.root-key.mode", "{wrong:o}");
    }
    assert_eq!(mode(0o600), "ok");
    assert_eq!(mode(0o400), "ok");
}

#[test]
fn a_root_key_of_another_length_or_of_another_store_is_refused() {
    let place = Place::new();
    drop(place.create());
    let good = fs::read(place.root()).unwrap();
    for (bytes, expected) in [
        (good[..31].to_vec(), "store.root-key.length"),
        ([&good[..], b"\n"].concat(), "store.root-key.length"),
        (vec![], "store.root-key.length"),
        (vec![0; 100_000], "store.root-key.length"),
        (vec![9; 32], "store.root-key.wrong"),
        (good.iter().map(|byte| byte ^ 1).collect(), "store.root-key.wrong"),
        (good.clone(), "ok"),
    ] {
        fs::write(place.root(), bytes).unwrap();
        assert_eq!(place.opens_with(), expected);
    }
    fs::remove_file(place.root()).unwrap();
    assert_eq!(place.opens_with(), "store.file");
}

#[test]
fn what_is_no_store_is_named_so() {
    let place = Place::new();
    drop(place.create());
    fs::remove_file(place.db()).unwrap();
    assert_eq!(place.opens_with(), "store.missing");
    assert!(!place.db().exists());
    fs::write(place.db(), b"").unwrap();
    assert_eq!(place.opens_with(), "store.format");
    fs::write(
        place.db(),
        b"not a database, but long enough to be taken for one by a reader of headers".repeat(20),
    )
    .unwrap();
    assert_eq!(place.opens_with(), "store.format");
    fs::remove_file(place.db()).unwrap();
    let other = Connection::open(place.db()).unwrap();
    other
        .execute_batch("CREATE TABLE meta (name TEXT, value BLOB); INSERT INTO meta VALUES ('format', x'00')")
        .unwrap();
    drop(other);
    assert_eq!(place.opens_with(), "store.format");
}

#[test]
fn production_and_simulated_stores_never_mix() {
    let one = AnchorIdentity::Simulated { bundle_sha256: [1; 32] };
    let two = AnchorIdentity::Simulated { bundle_sha256: [2; 32] };
    for recorded in [VENDORS, one] {
        let place = Place::new();
        drop(Store::create(&place.db(), &place.root(), recorded, &SystemEntropy::default()).unwrap());
        for given in [VENDORS, one, two] {
            let opened = Store::open(&place.db(), &place.root(), given).map(|store| store.anchors());
            let expected =
                if given == recorded { Ok(given) } else { Err(StoreError::Anchors { recorded, given }) };
            assert_eq!(opened, expected);
        }
        // Writing another name into the database does not help.
        place.edit(&format!("UPDATE meta SET value = CAST('{two}' AS BLOB) WHERE name = 'anchors'"));
        assert_eq!(code(Store::open(&place.db(), &place.root(), two)), "store.root-key.wrong");
    }
}

// === keys ===

#[test]
fn a_stored_key_survives_without_a_proper_end() {
    let place = Place::new();
    let store = place.create();
    put(&store, &key("models/m/1", b"the key of a model, thirty-two b")).unwrap();
    // No destructor runs: what is on disk now is what a killed broker leaves, write-ahead log included.
    std::mem::forget(store);
    let copy = Place::new();
    for file in fs::read_dir(place.dir.path()).unwrap().map(Result::unwrap) {
        fs::copy(file.path(), copy.dir.path().join(file.file_name())).unwrap();
    }
    for place in [place, copy] {
        let store = place.open().unwrap();
        assert_eq!(secret(&store, "models/m/1"), b"the key of a model, thirty-two b");
        assert_eq!(store.verify_audit().unwrap().rows, 1);
    }
}

#[test]
fn no_file_holds_a_secret_in_the_clear() {
    let place = Place::new();
    let store = place.create();
    put(&store, &key("models/m/1", b"the key of a model, thirty-two b")).unwrap();
    for file in fs::read_dir(place.dir.path()).unwrap().map(Result::unwrap) {
        let bytes = fs::read(file.path()).unwrap();
        for part in [&b"the key of a"[..], b"thirty-two b", &hex::encode(b"thirty-two b").into_bytes()] {
            assert!(!bytes.windows(part.len()).any(|window| window == part), "{:?}", file.file_name());
        }
    }
}

#[test]
fn put_list_replace_and_remove() {
    let place = Place::new();
    let store = place.create();
    put(&store, &key("b/b/b", b"two")).unwrap();
    put(&store, &key("a/a/a", b"one")).unwrap();
    let listed = store.list().unwrap();
    assert_eq!(
        listed.iter().map(|record| record.resource().as_str()).collect::<Vec<_>>(),
        ["a/a/a", "b/b/b"]
    );
    assert_eq!(
        (listed[0].model(), listed[0].created(), listed[0].floor()),
        (key("x/x/x", b"").model, NOW, 0)
    );
    assert_eq!(listed[0].policy(), &policy('a'));

    assert_eq!(code(put(&store, &key("a/a/a", b"three"))), "store.key.exists");
    assert_eq!(secret(&store, "a/a/a"), b"one");
    let other = NewKey { policy: policy('b'), ..key("a/a/a", b"three") };
    store.put(&other, Overwrite::Replace, NOW, &SystemEntropy::default()).unwrap();
    assert_eq!(secret(&store, "a/a/a"), b"three");
    assert_eq!(store.record(&path("a/a/a")).unwrap().policy(), &policy('b'));

    store.remove(&path("a/a/a"), NOW).unwrap();
    assert_eq!(code(store.record(&path("a/a/a"))), "store.key.missing");
    assert_eq!(code(store.remove(&path("a/a/a"), NOW)), "store.key.missing");
    assert_eq!(secret(&store, "b/b/b"), b"two");
}

#[test]
fn what_may_not_be_stored() {
    let place = Place::new();
    let store = place.create();
    let unpinned = r#"{"version":"1.0.0","anyOf":[{"authority":"i","allOf":[{"claim":"a","equals":"b"}]}]}"#;
    let unpinned = ReleasePolicy::parse(unpinned.as_bytes()).unwrap();
    assert_eq!(code(put(&store, &NewKey { policy: unpinned, ..key("a/b/c", b"k") })), "policy.unpinned");
    assert_eq!(code(put(&store, &key("a/b/c", b""))), "store.key.length");
    let long = vec![1; MAX_SECRET_LEN + 1];
    assert_eq!(code(put(&store, &NewKey { secret: &long, ..key("a/b/c", b"k") })), "store.key.length");
    let model = ModelId { uuid: UUID, version: MAX_VERSION + 1 };
    assert_eq!(code(put(&store, &NewKey { model, ..key("a/b/c", b"k") })), "store.version.range");
    assert_eq!(store.list().unwrap(), []);
    assert_eq!(store.verify_audit().unwrap().rows, 0);

    let danger = r#"{"version":"1.0.0","danger-any-workload":true,"anyOf":[{"authority":"i","allOf":[{"claim":"a","equals":"b"}]}]}"#;
    let danger = ReleasePolicy::parse(danger.as_bytes()).unwrap();
    assert_eq!(put(&store, &NewKey { policy: danger, ..key("a/b/c", b"k") }), Ok(()));
    assert_eq!(put(&store, &NewKey { secret: &long[1..], ..key("a/b/d", b"k") }), Ok(()));
}

#[test]
fn floors_only_rise() {
    let place = Place::new();
    let store = place.create();
    put(&store, &key("a/b/c", b"version 3")).unwrap();
    assert_eq!(store.set_floor(UUID, 3, NOW), Ok(()));
    assert_eq!(store.set_floor(UUID, 3, NOW), Ok(()));
    assert_eq!(store.set_floor(UUID, 2, NOW), Err(StoreError::FloorFalls { current: 3, asked: 2 }));
    assert_eq!(code(store.set_floor(UUID, MAX_VERSION + 1, NOW)), "store.version.range");
    let decided = permit(&store, "a/b/c");
    assert_eq!(store.set_floor(UUID, 4, NOW), Ok(()));
    assert_eq!(store.record(&path("a/b/c")).unwrap().floor(), 4);
    assert_eq!(code(put(&store, &key("a/b/d", b"version 3"))), "store.version.below-floor");
    // A floor that rises between the decision and the release wins.
    assert_eq!(code(store.unwrap(decided)), "store.key.changed");
    // A floor may be there before the first key.
    assert_eq!(store.set_floor([8; 16], 5, NOW), Ok(()));
    let early = NewKey { model: ModelId { uuid: [8; 16], version: 4 }, ..key("a/b/e", b"k") };
    assert_eq!(code(put(&store, &early)), "store.version.below-floor");
    store.remove(&path("a/b/c"), NOW).unwrap();
    assert_eq!(code(put(&store, &key("a/b/c", b"version 3"))), "store.version.below-floor");
}

#[test]
fn a_permit_is_for_what_was_decided() {
    let place = Place::new();
    let store = place.create();
    put(&store, &key("a/b/c", b"one")).unwrap();
    let replace =
        |new: NewKey<'_>| store.put(&new, Overwrite::Replace, NOW, &SystemEntropy::default()).unwrap();

    let decided = permit(&store, "a/b/c");
    replace(NewKey { policy: policy('b'), ..key("a/b/c", b"two") });
    assert_eq!(code(store.unwrap(decided)), "store.key.changed");

    let decided = permit(&store, "a/b/c");
    replace(NewKey {
        policy: policy('b'),
        model: ModelId { uuid: UUID, version: 4 },
        ..key("a/b/c", b"two")
    });
    assert_eq!(code(store.unwrap(decided)), "store.key.changed");

    let decided = permit(&store, "a/b/c");
    store.remove(&path("a/b/c"), NOW).unwrap();
    assert_eq!(code(store.unwrap(decided)), "store.key.missing");
}

#[test]
fn every_edit_of_a_row_is_detected() {
    let pinned_elsewhere = policy('b');
    let text = pinned_elsewhere.text();
    for (edit, expected) in [
        // Give a key another one's policy, path, model, version or time.
        ("UPDATE keys SET policy = (SELECT policy FROM keys WHERE resource = 'o/o/o') WHERE resource = 'a/b/c'".into(), "store.key.tampered"),
        (format!("UPDATE keys SET policy = '{text}' WHERE resource = 'a/b/c'"), "store.key.tampered"),
        ("UPDATE keys SET policy = policy || ' ' WHERE resource = 'a/b/c'".into(), "store.key.tampered"),
        ("UPDATE keys SET wrapped = (SELECT wrapped FROM keys WHERE resource = 'o/o/o') WHERE resource = 'a/b/c'".into(), "store.key.tampered"),
        ("UPDATE keys SET resource = 'x' WHERE resource = 'a/b/c'; UPDATE keys SET resource = 'a/b/c' WHERE resource = 'o/o/o'".into(), "store.key.tampered"),
        ("UPDATE keys SET model = x'08080808080808080808080808080808' WHERE resource = 'a/b/c'".into(), "store.key.tampered"),
        ("UPDATE keys SET version = 4 WHERE resource = 'a/b/c'".into(), "store.key.tampered"),
        ("UPDATE keys SET created = 1 WHERE resource = 'a/b/c'".into(), "store.key.tampered"),
        // Values that we never write.
        ("UPDATE keys SET model = x'07' WHERE resource = 'a/b/c'".into(), "store.key.tampered"),
        ("UPDATE keys SET version = -1 WHERE resource = 'a/b/c'".into(), "store.key.tampered"),
        ("UPDATE keys SET wrapped = x'' WHERE resource = 'a/b/c'".into(), "store.key.tampered"),
        ("UPDATE keys SET wrapped = x'000102030405060708090a0b' WHERE resource = 'a/b/c'".into(), "store.key.tampered"),
        ("UPDATE keys SET policy = CAST(x'ff' AS TEXT) WHERE resource = 'a/b/c'".into(), "store.key.tampered"),
        // Floors.
        ("UPDATE floors SET floor = 1".into(), "store.floor.tampered"),
        ("UPDATE floors SET floor = -1".into(), "store.floor.tampered"),
        ("UPDATE floors SET tag = x'00'".into(), "store.floor.tampered"),
        ("DELETE FROM floors".into(), "store.floor.tampered"),
        ("INSERT INTO floors SELECT x'08080808080808080808080808080808', 0, tag FROM floors; DELETE FROM floors WHERE floor = 2".into(), "store.floor.tampered"),
    ] as [(String, &str); 18] {
        let place = Place::new();
        let store = place.create();
        put(&store, &key("a/b/c", b"one")).unwrap();
        put(&store, &NewKey { policy: policy('b'), ..key("o/o/o", b"other") }).unwrap();
        store.set_floor(UUID, 2, NOW).unwrap();
        let before = permit(&store, "a/b/c");
        drop(store);
        place.edit(&edit);
        let store = place.open().unwrap();
        assert_eq!(code(store.record(&path("a/b/c"))), expected, "{edit}");
        assert_eq!(code(store.unwrap(before)), expected, "{edit}");
        assert_eq!(code(store.list()), expected, "{edit}");
    }
}

#[test]
fn every_flipped_byte_of_a_wrapped_key_is_detected() {
    let place = Place::new();
    drop(put(&place.create(), &key("a/b/c", b"0123456789abcdef0123456789abcdef")));
    let db = Connection::open(place.db()).unwrap();
    let good: Vec<u8> = db.query_row("SELECT wrapped FROM keys", [], |row| row.get(0)).unwrap();
    assert_eq!(good.len(), 12 + 32 + 16);
    let store = place.open().unwrap();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x40;
        db.execute("UPDATE keys SET wrapped = ?1", [&bad]).unwrap();
        assert_eq!(code(store.record(&path("a/b/c"))), "store.key.tampered", "byte {at}");
    }
    db.execute("UPDATE keys SET wrapped = ?1", [&good]).unwrap();
    assert_eq!(secret(&store, "a/b/c"), b"0123456789abcdef0123456789abcdef");
}

// === the audit log ===

fn logged(place: &Place) -> Store {
    let store = place.create();
    for code in ["one", "two", "three", "four"] {
        store.log(&AuditEntry::new(NOW, Call::Attest, AuditOutcome::Refused, code)).unwrap();
    }
    store
}

#[test]
fn the_log_is_a_chain_with_every_member_in_every_row() {
    let place = Place::new();
    let store = logged(&place);
    let entry = AuditEntry {
        session: Some([0xab; 8]),
        resource: Some(path("a/b/c")),
        model: Some(ModelId { uuid: UUID, version: 3 }),
        measurement: Some([1; 48]),
        policy_sha256: Some([2; 32]),
        evidence_sha256: Some([3; 32]),
        ..AuditEntry::new(NOW, Call::Resource, AuditOutcome::Released, "ok")
    };
    store.log(&entry).unwrap();
    let rows = store.audit_tail(2).unwrap();
    assert_eq!((rows[0].seq, rows[1].seq), (4, 5));
    let expected = concat!(
        r#"{"call":"attest","code":"four","evidence_sha256":"none","measurement":"none","model":"none","outcome":"refused","#,
        r#""policy_sha256":"none","resource":"none","seq":4,"session":"none","time":1790000000}"#
    );
    assert_eq!(rows[0].content, expected);
    let expected = format!(
        concat!(
            r#"{{"call":"resource","code":"ok","evidence_sha256":"{}","measurement":"{}","#,
            r#""model":"07070707-0707-0707-0707-070707070707@3","outcome":"released","#,
            r#""policy_sha256":"{}","resource":"a/b/c","seq":5,"session":"abababababababab","time":1790000000}}"#
        ),
        "03".repeat(32),
        "01".repeat(48),
        "02".repeat(32)
    );
    assert_eq!(rows[1].content, expected);
    // The chain, computed here by hand.
    let mut hash = [0; 32];
    for row in store.audit_tail(10).unwrap() {
        hash = sha256(&[&b"casemate/broker-audit/v1\0"[..], &hash, row.content.as_bytes()].concat());
        assert_eq!(row.hash, hash);
    }
    assert_eq!(store.verify_audit(), Ok(AuditReport { rows: 5, head: hash }));
}

#[test]
fn every_edit_of_the_log_is_detected() {
    // A forger who rewrites the chain after an edit, without the root key.
    let rechained = |place: &Place| {
        let db = Connection::open(place.db()).unwrap();
        let mut hash = [0; 32];
        for seq in 1..=4i64 {
            let content: String =
                db.query_row("SELECT content FROM audit WHERE seq = ?1", [seq], |r| r.get(0)).unwrap();
            hash = sha256(&[&b"casemate/broker-audit/v1\0"[..], &hash, content.as_bytes()].concat());
            db.execute("UPDATE audit SET hash = ?1 WHERE seq = ?2", params![hash, seq]).unwrap();
        }
        db.execute("UPDATE audit_head SET hash = ?1", params![hash]).unwrap();
    };
    for (edit, forge, expected) in [
        ("", false, "ok"),
        ("UPDATE audit SET content = replace(content, 'two', 'ten') WHERE seq = 2", false, "audit.row"),
        ("UPDATE audit SET content = replace(content, 'two', 'ten') WHERE seq = 2", true, "audit.head"),
        ("UPDATE audit SET hash = zeroblob(32) WHERE seq = 2", false, "audit.row"),
        ("UPDATE audit SET hash = x'00' WHERE seq = 2", false, "audit.row"),
        ("DELETE FROM audit WHERE seq = 2", false, "audit.gap"),
        ("DELETE FROM audit WHERE seq = 1", false, "audit.gap"),
        ("DELETE FROM audit WHERE seq = 4", false, "audit.head"),
        ("DELETE FROM audit", false, "audit.head"),
        ("DELETE FROM audit_head", false, "audit.head"),
        ("UPDATE audit_head SET seq = 3", false, "audit.head"),
        ("UPDATE audit_head SET tag = zeroblob(32)", false, "audit.head"),
        ("UPDATE audit_head SET hash = x'00'", false, "audit.head"),
        (
            "DELETE FROM audit WHERE seq = 4; UPDATE audit_head SET seq = 3, hash = (SELECT hash FROM audit WHERE seq = 3)",
            false,
            "audit.head",
        ),
        ("UPDATE audit SET seq = 5 WHERE seq = 4", false, "audit.gap"),
        (
            "UPDATE audit SET content = (SELECT content FROM audit WHERE seq = 1) WHERE seq = 3",
            true,
            "audit.row",
        ),
    ] {
        let place = Place::new();
        drop(logged(&place));
        place.edit(edit);
        if forge {
            rechained(&place);
        }
        assert_eq!(code(place.open().unwrap().verify_audit()), expected, "{edit} {forge}");
    }
}

#[test]
fn nothing_is_appended_to_a_log_whose_end_is_not_authentic() {
    let place = Place::new();
    drop(logged(&place));
    place.edit("UPDATE audit_head SET seq = 3");
    let store = place.open().unwrap();
    assert_eq!(
        code(store.log(&AuditEntry::new(NOW, Call::Attest, AuditOutcome::Refused, "x"))),
        "audit.head"
    );
    assert_eq!(code(put(&store, &key("a/b/c", b"k"))), "audit.head");
    assert_eq!(store.list().unwrap(), []);
}

#[test]
fn the_database_itself_refuses_slips() {
    let place = Place::new();
    let store = logged(&place);
    for sql in ["UPDATE audit SET content = 'x' WHERE seq = 1", "DELETE FROM audit WHERE seq = 4"] {
        assert!(store.db().execute(sql, []).unwrap_err().to_string().contains("append only"), "{sql}");
    }
    let one: String = store.db().query_row("PRAGMA journal_mode", [], |row| row.get(0)).unwrap();
    let two: i64 = store.db().query_row("PRAGMA synchronous", [], |row| row.get(0)).unwrap();
    assert_eq!((one.as_str(), two), ("wal", 2));
}

#[test]
fn two_processes_share_one_store() {
    let place = Place::new();
    let (one, two) = (place.create(), place.open().unwrap());
    std::thread::scope(|scope| {
        for store in [&one, &two] {
            scope.spawn(move || {
                for _ in 0..20 {
                    store.log(&AuditEntry::new(NOW, Call::Attest, AuditOutcome::Refused, "x")).unwrap();
                }
            });
        }
    });
    assert_eq!(one.verify_audit().unwrap().rows, 40);
    put(&two, &key("a/b/c", b"k")).unwrap();
    assert_eq!(secret(&one, "a/b/c"), b"k");
}
