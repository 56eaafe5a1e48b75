//! The key store: wrapped keys with their policies, version floors and the audit log, in one SQLite file.
//!
//! The store root key lies in a file of its own, so the database alone opens nothing. Every stored key is wrapped
//! together with its path, policy, model, version and root of trust: who can write to the database can destroy keys,
//! but cannot give one key the policy of another (spec/release.md section 7).
//!
//! Commits are durable (`synchronous=FULL`): a killed broker loses no stored key and no audit row.

mod audit;
mod error;
mod root;

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_lc_rs::digest;
use casemate_attest::UnixTime;
use casemate_protocol::ModelId;
use casemate_protocol::jwe::{Jwe, JweError, JweRandomness, encrypt_to};
use casemate_protocol::kbs::TeePubKey;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Transaction, TransactionBehavior, params};
use zeroize::Zeroizing;

pub use audit::{AuditEntry, AuditFault, AuditOutcome, AuditReport, AuditRow, Call};
pub use error::StoreError;
use root::RootKey;

use crate::anchors::AnchorIdentity;
use crate::chance::{Entropy, EntropyError};
use crate::decide::Permit;
use crate::policy::ReleasePolicy;
use crate::resource::ResourcePath;

/// The format of the database.
pub const FORMAT: &str = "casemate-broker-store/1";
/// The longest secret, in bytes.
pub const MAX_SECRET_LEN: usize = 64 * 1024;
/// The highest version and floor: the highest integer that every JSON reader keeps (2^53 - 1).
pub const MAX_VERSION: u64 = (1 << 53) - 1;

/// An open key store. Share it behind an `Arc`; its calls are short and block.
pub struct Store {
    db: Mutex<Connection>,
    root: RootKey,
    anchors: AnchorIdentity,
}

/// A key to store. The secret is borrowed from its owner, who wipes it.
pub struct NewKey<'a> {
    /// Where it will be.
    pub resource: ResourcePath,
    /// The model that it opens, and which version.
    pub model: ModelId,
    /// Who may have it.
    pub policy: ReleasePolicy,
    /// The key itself.
    pub secret: &'a [u8],
}

/// What to do when there is a key at the path already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overwrite {
    /// Refuse.
    Refuse,
    /// Replace the key and its policy.
    Replace,
}

/// Everything about a stored key but the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRecord {
    pub(crate) resource: ResourcePath,
    pub(crate) model: ModelId,
    pub(crate) policy: ReleasePolicy,
    pub(crate) created: UnixTime,
    pub(crate) floor: u64,
    pub(crate) anchors: AnchorIdentity,
}

/// A released key on its way out. It can be encrypted to an attested key, once, and nothing else.
pub struct ContentKey(Zeroizing<Vec<u8>>);

/// Why a released key could not be encrypted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncryptError {
    /// There are no random bytes.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
    /// The attested key cannot be encrypted to.
    #[error(transparent)]
    Jwe(#[from] JweError),
}

// === impl Store ===

impl Store {
    /// Makes a new, empty store at `database` and a new root key at `root_key`, for evidence under `anchors`.
    ///
    /// # Errors
    /// [`StoreError::Exists`] if either file exists: nothing is ever overwritten.
    pub fn create(
        database: &Path,
        root_key: &Path,
        anchors: AnchorIdentity,
        entropy: &dyn Entropy,
    ) -> Result<Self, StoreError> {
        // The database first: its name is taken before a root key exists, and a leftover empty file opens nothing.
        drop(root::create_private(database)?);
        let made = RootKey::create(root_key, entropy).and_then(|root| {
            let mut db = connect(database)?;
            initialise(&mut db, &root, anchors)?;
            Ok(Self { db: Mutex::new(db), root, anchors })
        });
        if made.is_err() {
            // Ours, made a moment ago and without a key in it; the first error is the one to report.
            let _ = std::fs::remove_file(database);
        }
        made
    }

    /// Opens the store at `database`.
    ///
    /// # Errors
    /// [`StoreError::NoStore`], [`StoreError::Format`], every root-key error, and [`StoreError::Anchors`] if the store
    /// was created for another root of trust.
    pub fn open(database: &Path, root_key: &Path, anchors: AnchorIdentity) -> Result<Self, StoreError> {
        if !database.is_file() {
            return Err(StoreError::NoStore { path: database.to_owned() });
        }
        let root = RootKey::read(root_key)?;
        let db = connect(database).map_err(|error| not_a_store(error, database))?;
        let format = meta(&db, "format").map_err(|error| not_a_store(error, database))?;
        if format.as_deref() != Some(FORMAT.as_bytes()) {
            return Err(StoreError::Format { path: database.to_owned() });
        }
        let recorded = meta(&db, "anchors")?.unwrap_or_default();
        if !root.is_tag(HEADER_LABEL, &recorded, &meta(&db, "check")?.unwrap_or_default()) {
            return Err(StoreError::RootKey);
        }
        let recorded = std::str::from_utf8(&recorded).ok().and_then(AnchorIdentity::parse);
        match recorded {
            None => Err(StoreError::Format { path: database.to_owned() }),
            Some(recorded) if recorded != anchors => Err(StoreError::Anchors { recorded, given: anchors }),
            Some(_) => Ok(Self { db: Mutex::new(db), root, anchors }),
        }
    }

    /// What this store was created for.
    pub fn anchors(&self) -> AnchorIdentity {
        self.anchors
    }

    /// Stores a key.
    ///
    /// # Errors
    /// `policy.unpinned` for a policy that does not pin the workload; [`StoreError::KeyExists`] unless told to replace;
    /// [`StoreError::BelowFloor`] for a version that could never be released.
    pub fn put(
        &self,
        key: &NewKey<'_>,
        overwrite: Overwrite,
        now: UnixTime,
        entropy: &dyn Entropy,
    ) -> Result<(), StoreError> {
        key.policy.require_pinned()?;
        if !(1..=MAX_SECRET_LEN).contains(&key.secret.len()) {
            return Err(StoreError::SecretLength { len: key.secret.len() });
        }
        check_version(key.model.version)?;
        self.write(|tx| {
            let floor = match floor(tx, &self.root, &key.model.uuid)? {
                Some(floor) => floor,
                // The floor of a model with keys was written with the first of them.
                None if model_has_keys(tx, &key.model.uuid)? => return Err(StoreError::FloorTampered),
                None => {
                    write_floor(tx, &self.root, &key.model.uuid, 0)?;
                    0
                }
            };
            if key.model.version < floor {
                return Err(StoreError::BelowFloor { version: key.model.version, floor });
            }
            if overwrite == Overwrite::Refuse && key_row(tx, &key.resource)?.is_some() {
                return Err(StoreError::KeyExists { resource: key.resource.clone() });
            }
            let digest = key.policy.digest();
            let aad = associated_data(self.anchors, &key.resource, &digest, &key.model, now);
            let wrapped = self.root.wrap(key.secret, &aad, entropy)?;
            tx.execute(
                "INSERT OR REPLACE INTO keys (resource, wrapped, policy, model, version, created)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                params![
                    key.resource.as_str(),
                    wrapped,
                    key.policy.text(),
                    key.model.uuid,
                    key.model.version,
                    now.0
                ],
            )?;
            let entry = AuditEntry {
                resource: Some(key.resource.clone()),
                model: Some(key.model),
                policy_sha256: Some(digest),
                ..AuditEntry::new(now, Call::Put, AuditOutcome::Done, "ok")
            };
            audit::append(tx, &self.root, &entry)
        })
    }

    /// Every stored key, by path.
    ///
    /// # Errors
    /// As [`Store::record`].
    pub fn list(&self) -> Result<Vec<KeyRecord>, StoreError> {
        let mut db = self.db();
        let tx = db.transaction()?;
        let paths = tx
            .prepare("SELECT resource FROM keys ORDER BY resource")?
            .query_map([], |row| row.get::<_, String>(0))?
            .collect::<Result<Vec<_>, _>>()?;
        let path =
            |text: String| text.parse().map_err(|_| StoreError::Database(rusqlite::Error::InvalidQuery));
        paths.into_iter().map(|text| self.read(&tx, &path(text)?).map(|(record, _)| record)).collect()
    }

    /// The record of the key at `resource`.
    ///
    /// # Errors
    /// [`StoreError::NoKey`], and the tamper errors where the database was edited.
    pub fn record(&self, resource: &ResourcePath) -> Result<KeyRecord, StoreError> {
        let mut db = self.db();
        let tx = db.transaction()?;
        self.read(&tx, resource).map(|(record, _)| record)
    }

    /// Removes a key. The model's floor stays.
    ///
    /// # Errors
    /// [`StoreError::NoKey`].
    pub fn remove(&self, resource: &ResourcePath, now: UnixTime) -> Result<(), StoreError> {
        self.write(|tx| {
            if tx.execute("DELETE FROM keys WHERE resource = ?1", [resource.as_str()])? == 0 {
                return Err(StoreError::NoKey { resource: resource.clone() });
            }
            let entry = AuditEntry {
                resource: Some(resource.clone()),
                ..AuditEntry::new(now, Call::Remove, AuditOutcome::Done, "ok")
            };
            audit::append(tx, &self.root, &entry)
        })
    }

    /// Raises the version floor of the model `uuid`: older versions are no longer released.
    ///
    /// # Errors
    /// [`StoreError::FloorFalls`]: floors only rise.
    pub fn set_floor(&self, uuid: [u8; 16], asked: u64, now: UnixTime) -> Result<(), StoreError> {
        check_version(asked)?;
        self.write(|tx| {
            let current = match floor(tx, &self.root, &uuid)? {
                Some(current) => current,
                None if model_has_keys(tx, &uuid)? => return Err(StoreError::FloorTampered),
                None => 0,
            };
            if asked < current {
                return Err(StoreError::FloorFalls { current, asked });
            }
            write_floor(tx, &self.root, &uuid, asked)?;
            let entry = AuditEntry {
                model: Some(ModelId { uuid, version: asked }),
                ..AuditEntry::new(now, Call::Floor, AuditOutcome::Done, "ok")
            };
            audit::append(tx, &self.root, &entry)
        })
    }

    /// Takes out the key that `permit` is for, and uses the permit up.
    ///
    /// The caller has written the decision to the audit log before.
    ///
    /// # Errors
    /// [`StoreError::Changed`] if the key, its policy or its floor changed since the decision;
    /// [`StoreError::KeyTampered`] if the database was edited.
    pub fn unwrap(&self, permit: Permit) -> Result<ContentKey, StoreError> {
        let mut db = self.db();
        let tx = db.transaction()?;
        let (record, secret) = self.read(&tx, permit.resource())?;
        let same = record.policy.digest() == permit.policy_sha256()
            && record.model == permit.model()
            && record.floor <= record.model.version;
        if !same {
            return Err(StoreError::Changed { resource: record.resource });
        }
        Ok(ContentKey(secret))
    }

    /// Appends a decision to the audit log, durably.
    ///
    /// # Errors
    /// [`StoreError::Audit`] if the end of the log is not authentic: then nothing may be released.
    pub fn log(&self, entry: &AuditEntry) -> Result<(), StoreError> {
        self.write(|tx| audit::append(tx, &self.root, entry))
    }

    /// Checks the whole audit log.
    ///
    /// # Errors
    /// [`StoreError::Audit`] names the first row that is not what was written.
    pub fn verify_audit(&self) -> Result<AuditReport, StoreError> {
        let mut db = self.db();
        audit::verify(&*db.transaction()?, &self.root)
    }

    /// The last `limit` rows of the audit log, oldest first.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub fn audit_tail(&self, limit: u32) -> Result<Vec<AuditRow>, StoreError> {
        audit::tail(&self.db(), limit)
    }

    /// A poisoned lock means that a thread panicked between two statements: its transaction was rolled back.
    fn db(&self) -> MutexGuard<'_, Connection> {
        self.db.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write<T>(
        &self,
        change: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut db = self.db();
        let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let value = change(&tx)?;
        tx.commit()?;
        Ok(value)
    }

    /// The record at `resource` with its secret: opening the wrapped key is what proves that the rest belongs to it.
    fn read(
        &self,
        tx: &Connection,
        resource: &ResourcePath,
    ) -> Result<(KeyRecord, Zeroizing<Vec<u8>>), StoreError> {
        let tampered = || StoreError::KeyTampered { resource: resource.clone() };
        let row = key_row(tx, resource)?.ok_or_else(|| StoreError::NoKey { resource: resource.clone() })?;
        let model = ModelId { uuid: row.model, version: row.version };
        let created = UnixTime(row.created);
        let aad = associated_data(self.anchors, resource, &sha256(row.policy.as_bytes()), &model, created);
        let secret = self.root.unwrap(&row.wrapped, &aad).ok_or_else(tampered)?;
        // It parsed when it was stored, under these very bytes.
        let policy = ReleasePolicy::parse(row.policy.as_bytes())?;
        let floor = floor(tx, &self.root, &model.uuid)?.ok_or(StoreError::FloorTampered)?;
        let record =
            KeyRecord { resource: resource.clone(), model, policy, created, floor, anchors: self.anchors };
        Ok((record, secret))
    }
}

// === impl KeyRecord ===

impl KeyRecord {
    /// Where the key is.
    pub fn resource(&self) -> &ResourcePath {
        &self.resource
    }

    /// The model that it opens, and which version.
    pub fn model(&self) -> ModelId {
        self.model
    }

    /// Who may have it.
    pub fn policy(&self) -> &ReleasePolicy {
        &self.policy
    }

    /// When it was stored.
    pub fn created(&self) -> UnixTime {
        self.created
    }

    /// The model's version floor.
    pub fn floor(&self) -> u64 {
        self.floor
    }
}

// === impl ContentKey ===

impl ContentKey {
    /// Encrypts the key so that only the holder of `recipient`'s private half reads it. Uses the key up.
    ///
    /// # Errors
    /// [`EncryptError::Jwe`] if `recipient` is not a key that can be encrypted to.
    pub fn encrypt_to(self, recipient: &TeePubKey, entropy: &dyn Entropy) -> Result<Jwe, EncryptError> {
        Ok(encrypt_to(recipient, &self.0, jwe_randomness(entropy)?)?)
    }
}

/// Fresh random bytes for one encryption.
pub(crate) fn jwe_randomness(entropy: &dyn Entropy) -> Result<JweRandomness, EntropyError> {
    let mut random =
        JweRandomness { ephemeral: Zeroizing::new([0; 32]), cek: Zeroizing::new([0; 32]), iv: [0; 12] };
    entropy.fill(random.ephemeral.as_mut_slice())?;
    entropy.fill(random.cek.as_mut_slice())?;
    entropy.fill(&mut random.iv)?;
    Ok(random)
}

impl EncryptError {
    /// The stable code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Entropy(error) => error.code(),
            Self::Jwe(error) => error.code(),
        }
    }
}

// === the database ===

const SCHEMA: &str = "
    CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT;
    CREATE TABLE keys (
        resource TEXT PRIMARY KEY,
        wrapped  BLOB NOT NULL,
        policy   TEXT NOT NULL,
        model    BLOB NOT NULL,
        version  INTEGER NOT NULL,
        created  INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE floors (model BLOB PRIMARY KEY, floor INTEGER NOT NULL, tag BLOB NOT NULL) STRICT;
";
const HEADER_LABEL: &str = "anchors";
const FLOOR_LABEL: &str = "floor";
/// How long one process waits for another one's write.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

struct KeyRow {
    wrapped: Vec<u8>,
    policy: String,
    model: [u8; 16],
    version: u64,
    created: u64,
}

fn connect(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags)?;
    db.busy_timeout(BUSY_TIMEOUT)?;
    db.pragma_update(None, "trusted_schema", false)?;
    db.pragma_update(None, "journal_mode", "WAL")?;
    db.pragma_update(None, "synchronous", "FULL")?;
    db.pragma_update(None, "secure_delete", true)?;
    Ok(db)
}

fn initialise(db: &mut Connection, root: &RootKey, anchors: AnchorIdentity) -> Result<(), StoreError> {
    let anchors = anchors.to_string();
    let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    tx.execute_batch(SCHEMA)?;
    tx.execute_batch(audit::SCHEMA)?;
    let mut insert = tx.prepare("INSERT INTO meta (name, value) VALUES (?1, ?2)")?;
    insert.execute(params!["format", FORMAT.as_bytes()])?;
    insert.execute(params!["anchors", anchors.as_bytes()])?;
    insert.execute(params!["check", root.tag(HEADER_LABEL, anchors.as_bytes())])?;
    drop(insert);
    audit::begin(&tx, root)?;
    Ok(tx.commit()?)
}

fn meta(db: &Connection, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
    Ok(db.query_row("SELECT value FROM meta WHERE name = ?1", [name], |row| row.get(0)).optional()?)
}

/// What SQLite says about a file that is none of its own, or that is not ours.
fn not_a_store(error: StoreError, path: &Path) -> StoreError {
    use rusqlite::ErrorCode::{NotADatabase, Unknown};
    match &error {
        StoreError::Database(rusqlite::Error::SqliteFailure(failure, _))
            if matches!(failure.code, NotADatabase | Unknown) =>
        {
            StoreError::Format { path: path.to_owned() }
        }
        _ => error,
    }
}

fn key_row(db: &Connection, resource: &ResourcePath) -> Result<Option<KeyRow>, StoreError> {
    let sql = "SELECT wrapped, policy, model, version, created FROM keys WHERE resource = ?1";
    let row = db.query_row(sql, [resource.as_str()], |row| {
        Ok(KeyRow {
            wrapped: row.get(0)?,
            policy: row.get(1)?,
            model: row.get(2)?,
            version: row.get(3)?,
            created: row.get(4)?,
        })
    });
    row.optional().map_err(|error| edited(error, || StoreError::KeyTampered { resource: resource.clone() }))
}

/// A value of a type or length that we never write is an edit, not a failure of the database.
fn edited(error: rusqlite::Error, tampered: impl FnOnce() -> StoreError) -> StoreError {
    match error {
        rusqlite::Error::FromSqlConversionFailure(..)
        | rusqlite::Error::IntegralValueOutOfRange(..)
        | rusqlite::Error::InvalidColumnType(..)
        | rusqlite::Error::Utf8Error(..) => tampered(),
        other => StoreError::Database(other),
    }
}

fn model_has_keys(db: &Connection, uuid: &[u8; 16]) -> Result<bool, StoreError> {
    Ok(db.query_row("SELECT EXISTS (SELECT 1 FROM keys WHERE model = ?1)", [uuid], |row| row.get(0))?)
}

fn floor(db: &Connection, root: &RootKey, uuid: &[u8; 16]) -> Result<Option<u64>, StoreError> {
    let row = db.query_row("SELECT floor, tag FROM floors WHERE model = ?1", [uuid], |row| {
        Ok((row.get::<_, u64>(0)?, row.get::<_, Vec<u8>>(1)?))
    });
    match row.optional().map_err(|error| edited(error, || StoreError::FloorTampered))? {
        None => Ok(None),
        Some((floor, tag)) if root.is_tag(FLOOR_LABEL, &floor_data(uuid, floor), &tag) => Ok(Some(floor)),
        Some(_) => Err(StoreError::FloorTampered),
    }
}

fn write_floor(tx: &Transaction<'_>, root: &RootKey, uuid: &[u8; 16], floor: u64) -> Result<(), StoreError> {
    let tag = root.tag(FLOOR_LABEL, &floor_data(uuid, floor));
    tx.execute(
        "INSERT OR REPLACE INTO floors (model, floor, tag) VALUES (?1, ?2, ?3)",
        params![uuid, floor, tag],
    )?;
    Ok(())
}

fn floor_data(uuid: &[u8; 16], floor: u64) -> Vec<u8> {
    [uuid.as_slice(), &floor.to_be_bytes()].concat()
}

fn check_version(version: u64) -> Result<(), StoreError> {
    match version {
        0..=MAX_VERSION => Ok(()),
        _ => Err(StoreError::VersionRange { version }),
    }
}

/// What a wrapped key is bound to. Every part has a fixed length or is preceded by its own.
fn associated_data(
    anchors: AnchorIdentity,
    resource: &ResourcePath,
    policy_sha256: &[u8; 32],
    model: &ModelId,
    created: UnixTime,
) -> Vec<u8> {
    let mut aad = b"casemate/broker-store/v1/key\0".to_vec();
    for text in [anchors.to_string().as_str(), resource.as_str()] {
        aad.extend_from_slice(&(text.len() as u64).to_be_bytes());
        aad.extend_from_slice(text.as_bytes());
    }
    aad.extend_from_slice(policy_sha256);
    aad.extend_from_slice(&model.uuid);
    aad.extend_from_slice(&model.version.to_be_bytes());
    aad.extend_from_slice(&created.0.to_be_bytes());
    aad
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    out
}

/// A UUID in its 8-4-4-4-12 form.
pub(crate) fn uuid_text(uuid: &[u8; 16]) -> String {
    let hex = hex::encode(uuid);
    let mut text = String::with_capacity(36);
    for (index, digit) in hex.chars().enumerate() {
        if matches!(index, 8 | 12 | 16 | 20) {
            text.push('-');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests;
