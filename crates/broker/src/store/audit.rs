//! The audit log: every decision, chained by hashes (spec/release.md section 8).
//!
//! ```text
//! hash[n] = SHA-256("casemate/broker-audit/v1" || 0x00 || hash[n-1] || content[n])      hash[0] = 32 zero bytes
//! ```
//!
//! `content` is canonical JSON (RFC 8785) with the row's own number in it. The chain alone shows edits in the middle;
//! the end of the log is authenticated under the store root key, which also shows a cut or rewritten log.

use aws_lc_rs::digest;
use casemate_attest::UnixTime;
use casemate_protocol::ModelId;
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use serde_json::json;

use super::root::RootKey;
use super::{StoreError, uuid_text};
use crate::resource::ResourcePath;

/// What a decision was about. `None` is written as `none`: the log has every member in every row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// When.
    pub time: UnixTime,
    /// Which call.
    pub call: Call,
    /// How it ended.
    pub outcome: AuditOutcome,
    /// The stable code of a refusal, `ok` otherwise.
    pub code: &'static str,
    /// First 8 bytes of the SHA-256 of the session's name: links rows of one session and opens nothing.
    pub session: Option<[u8; 8]>,
    /// The key.
    pub resource: Option<ResourcePath>,
    /// The model that the key belongs to.
    pub model: Option<ModelId>,
    /// The launch measurement, once the evidence is genuine.
    pub measurement: Option<[u8; 48]>,
    /// SHA-256 of the release policy that decided.
    pub policy_sha256: Option<[u8; 32]>,
    /// SHA-256 of the evidence (the attestation report as it arrived).
    pub evidence_sha256: Option<[u8; 32]>,
}

/// What was asked of the broker or its store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// Evidence was presented.
    Attest,
    /// A key was asked for.
    Resource,
    /// A key was stored.
    Put,
    /// A key was removed.
    Remove,
    /// A version floor was raised.
    Floor,
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuditOutcome {
    /// The evidence is genuine and meets the baseline.
    Attested,
    /// The decision to release the key. Written before the key leaves.
    Released,
    /// The broker said no.
    Refused,
    /// A change of the store.
    Done,
}

/// What a check of the whole log found in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditReport {
    /// Number of rows.
    pub rows: u64,
    /// Hash of the last row, 32 zero bytes for an empty log.
    pub head: [u8; 32],
}

/// One row of the log, as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRow {
    /// The row's number, from 1.
    pub seq: u64,
    /// Canonical JSON.
    pub content: String,
    /// The row's hash.
    pub hash: [u8; 32],
}

/// Where the log is not what was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuditFault {
    /// A row is missing, or one has another number than its place.
    #[error("audit row {expected} is missing")]
    Gap {
        /// The number that should come here.
        expected: u64,
    },
    /// A row does not follow from the row before it, or its content was edited.
    #[error("audit row {seq} does not match its hash: it or a row before it was edited")]
    Row {
        /// The row's number.
        seq: u64,
    },
    /// The end of the log is not the end that was written.
    #[error("the audit log was cut or rewritten: its end is not authentic")]
    Head,
}

impl AuditFault {
    /// The stable code of this fault.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Gap { .. } => "audit.gap",
            Self::Row { .. } => "audit.row",
            Self::Head => "audit.head",
        }
    }
}

/// Tables of the log. The triggers stop slips, not an attacker: the hashes are for those.
pub(super) const SCHEMA: &str = "
    CREATE TABLE audit (
        seq      INTEGER PRIMARY KEY,
        content  TEXT NOT NULL,
        hash     BLOB NOT NULL
    ) STRICT;
    CREATE TABLE audit_head (
        id   INTEGER PRIMARY KEY CHECK (id = 1),
        seq  INTEGER NOT NULL,
        hash BLOB NOT NULL,
        tag  BLOB NOT NULL
    ) STRICT;
    CREATE TRIGGER audit_is_append_only_1 BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'append only'); END;
    CREATE TRIGGER audit_is_append_only_2 BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'append only'); END;
";

/// Writes the end of an empty log.
pub(super) fn begin(tx: &Transaction<'_>, root: &RootKey) -> Result<(), StoreError> {
    write_head(tx, root, 0, &GENESIS)
}

/// Appends a row. The caller's transaction must be IMMEDIATE, so that no other process appends in between.
pub(super) fn append(tx: &Transaction<'_>, root: &RootKey, entry: &AuditEntry) -> Result<(), StoreError> {
    let (last, previous) = head(tx, root)?;
    let seq = last.checked_add(1).ok_or(StoreError::Crypto)?;
    let content = entry.content(seq)?;
    let hash = chain(&previous, content.as_bytes());
    tx.execute("INSERT INTO audit (seq, content, hash) VALUES (?1, ?2, ?3)", params![seq, content, hash])?;
    write_head(tx, root, seq, &hash)
}

/// Checks every row and the end.
pub(super) fn verify(db: &Connection, root: &RootKey) -> Result<AuditReport, StoreError> {
    let mut rows = db.prepare("SELECT seq, content, hash FROM audit ORDER BY seq")?;
    let mut rows = rows.query([])?;
    let (mut count, mut previous) = (0u64, GENESIS);
    while let Some(row) = rows.next()? {
        let expected = count.saturating_add(1);
        let seq: i64 = row.get(0)?;
        if u64::try_from(seq) != Ok(expected) {
            return Err(AuditFault::Gap { expected }.into());
        }
        let (content, hash): (String, Vec<u8>) = (row.get(1)?, row.get(2)?);
        let computed = chain(&previous, content.as_bytes());
        if hash != computed || !names_its_number(&content, expected) {
            return Err(AuditFault::Row { seq: expected }.into());
        }
        (count, previous) = (expected, computed);
    }
    if head(db, root)? != (count, previous) {
        return Err(AuditFault::Head.into());
    }
    Ok(AuditReport { rows: count, head: previous })
}

/// The last `limit` rows, oldest first.
pub(super) fn tail(db: &Connection, limit: u32) -> Result<Vec<AuditRow>, StoreError> {
    let mut query = db.prepare("SELECT seq, content, hash FROM audit ORDER BY seq DESC LIMIT ?1")?;
    let mut rows = query
        .query_map([limit], |row| Ok(AuditRow { seq: row.get(0)?, content: row.get(1)?, hash: row.get(2)? }))?
        .collect::<Result<Vec<_>, _>>()?;
    rows.reverse();
    Ok(rows)
}

impl AuditEntry {
    /// An entry that so far says when, what and how it ended.
    pub fn new(time: UnixTime, call: Call, outcome: AuditOutcome, code: &'static str) -> Self {
        Self {
            time,
            call,
            outcome,
            code,
            session: None,
            resource: None,
            model: None,
            measurement: None,
            policy_sha256: None,
            evidence_sha256: None,
        }
    }

    fn content(&self, seq: u64) -> Result<String, StoreError> {
        fn text(value: Option<impl AsRef<[u8]>>) -> String {
            value.map_or_else(|| "none".into(), hex::encode)
        }
        let model =
            self.model.map_or_else(|| "none".into(), |m| format!("{}@{}", uuid_text(&m.uuid), m.version));
        let content = json!({
            "call": self.call.as_str(),
            "code": self.code,
            "evidence_sha256": text(self.evidence_sha256),
            "measurement": text(self.measurement),
            "model": model,
            "outcome": self.outcome.as_str(),
            "policy_sha256": text(self.policy_sha256),
            "resource": self.resource.as_ref().map_or("none", ResourcePath::as_str),
            "seq": seq,
            "session": text(self.session),
            "time": self.time.0,
        });
        serde_json_canonicalizer::to_string(&content).map_err(|_| StoreError::Crypto)
    }
}

impl Call {
    /// As the log spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Attest => "attest",
            Self::Resource => "resource",
            Self::Put => "put",
            Self::Remove => "remove",
            Self::Floor => "floor",
        }
    }
}

impl AuditOutcome {
    /// As the log spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Attested => "attested",
            Self::Released => "released",
            Self::Refused => "refused",
            Self::Done => "done",
        }
    }
}

const GENESIS: [u8; 32] = [0; 32];

fn chain(previous: &[u8; 32], content: &[u8]) -> [u8; 32] {
    let mut hash = digest::Context::new(&digest::SHA256);
    hash.update(b"casemate/broker-audit/v1\0");
    hash.update(previous);
    hash.update(content);
    let mut out = [0; 32];
    out.copy_from_slice(hash.finish().as_ref());
    out
}

fn names_its_number(content: &str, seq: u64) -> bool {
    serde_json::from_str::<serde_json::Value>(content)
        .is_ok_and(|value| value.get("seq") == Some(&seq.into()))
}

fn head(db: &Connection, root: &RootKey) -> Result<(u64, [u8; 32]), StoreError> {
    let row = db
        .query_row("SELECT seq, hash, tag FROM audit_head", [], |row| {
            Ok((row.get::<_, u64>(0)?, row.get::<_, [u8; 32]>(1)?, row.get::<_, Vec<u8>>(2)?))
        })
        .optional();
    // A value of another type or length is an edit as much as a wrong one.
    let Ok(Some((seq, hash, tag))) = row else { return Err(AuditFault::Head.into()) };
    if !root.is_tag(HEAD_LABEL, &head_data(seq, &hash), &tag) {
        return Err(AuditFault::Head.into());
    }
    Ok((seq, hash))
}

fn write_head(tx: &Transaction<'_>, root: &RootKey, seq: u64, hash: &[u8; 32]) -> Result<(), StoreError> {
    let tag = root.tag(HEAD_LABEL, &head_data(seq, hash));
    let sql = "INSERT OR REPLACE INTO audit_head (id, seq, hash, tag) VALUES (1, ?1, ?2, ?3)";
    tx.execute(sql, params![seq, hash, tag])?;
    Ok(())
}

fn head_data(seq: u64, hash: &[u8; 32]) -> Vec<u8> {
    [seq.to_be_bytes().as_slice(), hash].concat()
}

const HEAD_LABEL: &str = "audit-head";
