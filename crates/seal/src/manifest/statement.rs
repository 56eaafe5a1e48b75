//! The signed payload: an in-toto Statement v1 whose predicate is ours.
//!
//! Parsing and writing are each other's inverse: `Manifest::verify` requires that what was parsed writes the
//! very bytes that were signed. The rules are checked in one place, [`Statement::check`], for readers and for
//! [`super::ManifestBuilder`] alike.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{
    FileEntry, MAX_FILES, MAX_INTEGER, MAX_RECIPIENTS, ManifestError, PREDICATE_TYPE, Recipient,
    RecipientError, SUITE, root_digest,
};
use crate::blob::{HEADER_LEN, MAX_FILE_LEN};
use crate::json::{self, JsonError, Object};
use crate::key::ModelId;
use crate::name::{check_file_name, check_model_name};

const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
const FORMAT: u64 = 1;

/// The content of a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Statement {
    pub(super) id: ModelId,
    pub(super) name: String,
    pub(super) created: u64,
    pub(super) mk_commitment: [u8; 32],
    pub(super) files: Vec<FileEntry>,
    pub(super) recipients: Vec<Recipient>,
}

impl Statement {
    /// Parses and checks a payload whose signature has been verified.
    pub(super) fn parse(payload: &[u8]) -> Result<Self, ManifestError> {
        // 1. The outer statement.
        let mut statement = Object::new(json::parse(payload).map_err(fault)?, "statement").map_err(fault)?;
        let statement_type = statement.string("_type").map_err(fault)?;
        let predicate_type = statement.string("predicateType").map_err(fault)?;
        let subjects = statement.array("subject").map_err(fault)?;
        let mut predicate = statement.object("predicate").map_err(fault)?;
        statement.end().map_err(fault)?;
        if statement_type != STATEMENT_TYPE {
            return Err(ManifestError::StatementType { found: json::shorten(&statement_type) });
        }
        if predicate_type != PREDICATE_TYPE {
            return Err(ManifestError::PredicateType { found: json::shorten(&predicate_type) });
        }

        // 2. Version and suite, before anything whose meaning depends on them.
        let format = predicate.integer("format").map_err(fault)?;
        if format != FORMAT {
            return Err(ManifestError::Format { found: format });
        }
        let suite = predicate.string("suite").map_err(fault)?;
        if suite != SUITE {
            return Err(ManifestError::Suite { found: json::shorten(&suite) });
        }

        // 3. The members.
        let uuid = predicate.string("model_uuid").map_err(fault)?;
        let uuid = ModelId::parse_uuid(&uuid).map_err(|_| ManifestError::Uuid)?;
        let version = predicate.integer("version").map_err(fault)?;
        let created = predicate.integer("created").map_err(fault)?;
        let mk_commitment = hex32(&predicate.string("mk_commitment").map_err(fault)?, "mk_commitment")?;
        let files = predicate.array("files").map_err(fault)?;
        let recipients = predicate.array("recipients").map_err(fault)?;
        predicate.end().map_err(fault)?;
        if files.len() > MAX_FILES {
            return Err(ManifestError::TooManyFiles { count: files.len() });
        }
        if recipients.len() > MAX_RECIPIENTS {
            return Err(ManifestError::TooManyRecipients { count: recipients.len() });
        }
        let (name, root) = parse_subject(subjects)?;
        let files = files.into_iter().enumerate().map(|(index, file)| parse_file(index, file));
        let recipients =
            recipients.into_iter().enumerate().map(|(index, value)| parse_recipient(index, value));
        let parsed = Self {
            id: ModelId { uuid, version },
            name,
            created,
            mk_commitment,
            files: files.collect::<Result<_, _>>()?,
            recipients: recipients.collect::<Result<_, _>>()?,
        };

        // 4. The rules that hold between them.
        parsed.check()?;
        if root != root_digest(&parsed.files) {
            return Err(ManifestError::RootDigest);
        }
        Ok(parsed)
    }

    /// The rules of content (SEAL-19 to SEAL-25).
    pub(super) fn check(&self) -> Result<(), ManifestError> {
        for (field, found) in [("version", self.id.version), ("created", self.created)] {
            if found > MAX_INTEGER {
                return Err(ManifestError::Integer { field, found });
            }
        }
        check_model_name(&self.name).map_err(|problem| ManifestError::ModelName { problem })?;
        self.check_files()?;
        self.check_recipients()
    }

    /// The canonical payload (SEAL-15).
    pub(super) fn to_payload(&self) -> Result<Vec<u8>, ManifestError> {
        let files: Vec<_> = self.files.iter().map(file_value).collect();
        let recipients: Vec<_> = self.recipients.iter().map(recipient_value).collect();
        let value = json!({
            "_type": STATEMENT_TYPE,
            "predicateType": PREDICATE_TYPE,
            "subject": [{ "name": self.name, "digest": { "sha256": hex::encode(root_digest(&self.files)) } }],
            "predicate": {
                "format": FORMAT,
                "suite": SUITE,
                "model_uuid": self.id.uuid_text(),
                "version": self.id.version,
                "created": self.created,
                "mk_commitment": hex::encode(self.mk_commitment),
                "files": files,
                "recipients": recipients,
            },
        });
        json::canonical(&value).ok_or(ManifestError::NotCanonical { document: "payload" })
    }

    fn check_files(&self) -> Result<(), ManifestError> {
        if self.files.is_empty() {
            return Err(ManifestError::NoFiles);
        }
        if self.files.len() > MAX_FILES {
            return Err(ManifestError::TooManyFiles { count: self.files.len() });
        }
        let mut names = BTreeSet::new();
        let mut headers = BTreeSet::new();
        let mut total = 0u64;
        let mut before: Option<&str> = None;
        for (index, file) in self.files.iter().enumerate() {
            check_file_name(&file.name).map_err(|problem| ManifestError::FileName { index, problem })?;
            match before.map(|before| before.cmp(file.name.as_str())) {
                None | Some(std::cmp::Ordering::Less) => {}
                Some(std::cmp::Ordering::Equal) => return Err(ManifestError::DuplicateName { index }),
                Some(std::cmp::Ordering::Greater) => return Err(ManifestError::FileOrder { index }),
            }
            before = Some(&file.name);
            // A directory sorts before what lies in it, so every file that could be one is already known.
            let mut parents = file.name.match_indices('/').filter_map(|(at, _)| file.name.get(..at));
            if parents.any(|parent| names.contains(parent)) {
                return Err(ManifestError::NameConflict { index });
            }
            names.insert(file.name.as_str());
            if file.size > MAX_FILE_LEN {
                return Err(ManifestError::FileTooLarge { index, size: file.size });
            }
            total = total.saturating_add(file.size);
            if total > MAX_INTEGER {
                return Err(ManifestError::TotalTooLarge);
            }
            if !headers.insert(file.header) {
                return Err(ManifestError::DuplicateBlob { index });
            }
        }
        Ok(())
    }

    fn check_recipients(&self) -> Result<(), ManifestError> {
        if self.recipients.is_empty() {
            return Err(ManifestError::NoRecipients);
        }
        if self.recipients.len() > MAX_RECIPIENTS {
            return Err(ManifestError::TooManyRecipients { count: self.recipients.len() });
        }
        let mut seen: Vec<&Recipient> = Vec::with_capacity(self.recipients.len());
        for (index, recipient) in self.recipients.iter().enumerate() {
            let Recipient::Kbs { uri } = recipient;
            Recipient::kbs(uri).map_err(|problem| ManifestError::Recipient { index, problem })?;
            if seen.contains(&recipient) {
                return Err(ManifestError::DuplicateRecipient { index });
            }
            seen.push(recipient);
        }
        Ok(())
    }
}

/// `[{"name":…,"digest":{"sha256":…}}]`: name and root digest.
fn parse_subject(subjects: Vec<Value>) -> Result<(String, [u8; 32]), ManifestError> {
    let count = subjects.len();
    let Ok([subject]) = <[Value; 1]>::try_from(subjects) else {
        return Err(ManifestError::Subjects { count });
    };
    let mut subject = Object::new(subject, "subject").map_err(fault)?;
    let name = subject.string("name").map_err(fault)?;
    let mut digest = subject.object("digest").map_err(fault)?;
    let sha256 = digest.string("sha256").map_err(fault)?;
    digest.end().map_err(fault)?;
    subject.end().map_err(fault)?;
    Ok((name, hex32(&sha256, "digest.sha256")?))
}

fn parse_file(index: usize, value: Value) -> Result<FileEntry, ManifestError> {
    let mut object = Object::new(value, "files").map_err(fault)?;
    let name = object.string("name").map_err(fault)?;
    let size = object.integer("size").map_err(fault)?;
    let header = object.string("header").map_err(fault)?;
    let sha256 = object.string("sha256").map_err(fault)?;
    let blob = object.string("blob").map_err(fault)?;
    object.end().map_err(fault)?;
    let header: Option<[u8; HEADER_LEN]> =
        STANDARD.decode(header).ok().and_then(|header| header.try_into().ok());
    let header = header.ok_or(ManifestError::Base64 { field: "header" })?;
    let file = FileEntry { name, size, header, sha256: hex32(&sha256, "sha256")? };
    if file.blob_name() != blob {
        return Err(ManifestError::BlobName { index });
    }
    Ok(file)
}

fn file_value(file: &FileEntry) -> Value {
    json!({
        "name": file.name,
        "size": file.size,
        "header": STANDARD.encode(file.header),
        "sha256": hex::encode(file.sha256),
        "blob": file.blob_name(),
    })
}

fn parse_recipient(index: usize, value: Value) -> Result<Recipient, ManifestError> {
    let refused = |problem| ManifestError::Recipient { index, problem };
    let mut object = Object::new(value, "recipients").map_err(fault)?;
    let kind = object.string("type").map_err(fault)?;
    match kind.as_str() {
        "kbs" => {
            let uri = object.string("uri").map_err(fault)?;
            object.end().map_err(fault)?;
            Recipient::kbs(&uri).map_err(refused)
        }
        other => Err(refused(RecipientError::UnknownType { found: json::shorten(other) })),
    }
}

fn recipient_value(recipient: &Recipient) -> Value {
    let Recipient::Kbs { uri } = recipient;
    json!({ "type": "kbs", "uri": uri })
}

fn hex32(text: &str, field: &'static str) -> Result<[u8; 32], ManifestError> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(text, &mut bytes).map_err(|_| ManifestError::Hex { field })?;
    if hex::encode(bytes) == text { Ok(bytes) } else { Err(ManifestError::Hex { field }) }
}

fn fault(error: JsonError) -> ManifestError {
    ManifestError::json("payload", error)
}
