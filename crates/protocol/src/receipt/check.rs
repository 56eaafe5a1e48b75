//! Whether a receipt is one of an attested machine (spec/receipts.md, RCP-01 to RCP-08).

use casemate_attest::{Check, Outcome, Rule, UnixTime};

use super::{API_VERSION, MAX_LEN, Receipt, ReceiptEvent, SignedReceipt, body_hash, spki_sha256};
use crate::rows::{row, with_rest};
use crate::statement::{RuntimeStatement, Stated};

/// SHA-256 of the bodies that somebody has beside the receipt. What is not there is not compared, and listed as waived.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Digests {
    /// Of the request's body.
    pub request: Option<[u8; 32]>,
    /// Of the answer's body, up to where a stream has its receipt.
    pub response: Option<[u8; 32]>,
}

/// Why a receipt is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptError {
    /// Longer than [`MAX_LEN`].
    #[error("the receipt has {len} bytes, more than {MAX_LEN}")]
    TooLong {
        /// Length found.
        len: usize,
    },
    /// Not the form that the specification describes.
    #[error("{what} is not of the form of a receipt")]
    Malformed {
        /// What of it.
        what: &'static str,
    },
    /// Another schema.
    #[error("the signed receipt is of another schema than {}", super::SCHEMA)]
    Schema,
    /// Another form of receipt.
    #[error("the receipt is of another form than {API_VERSION}")]
    ApiVersion,
    /// Valid JSON in another spelling than RFC 8785 gives it.
    #[error("the receipt is not in canonical form")]
    NotCanonical,
    /// The machine states that it signs no receipts.
    #[error("the attested machine states that it signs no receipts")]
    NoKey,
    /// Signed with another key.
    #[error("the receipt is signed with key {found}, the evidence binds {attested}")]
    Key {
        /// Digest of the receipt's key.
        found: String,
        /// Digest in the statement.
        attested: String,
    },
    /// The signature is not of this text and key.
    #[error("the receipt's signature is not valid")]
    Signature,
    /// A model that the machine does not state.
    #[error(
        "the receipt is of model `{id}` with manifest {manifest}, which the attested machine does not state"
    )]
    Model {
        /// Its name.
        id: String,
        /// Its manifest digest.
        manifest: String,
    },
    /// A time that is not yet.
    #[error("the receipt is of {served_at}, it is {now}")]
    Future {
        /// Its time, seconds since 1970.
        served_at: u64,
        /// The time of the check.
        now: u64,
    },
    /// A body is there, and what opens its hash is not.
    #[error("the {of}'s hash cannot be compared: the receipt was handed on without its salt")]
    Salt {
        /// `request` or `answer`.
        of: &'static str,
    },
    /// Another request.
    #[error("the receipt is of another request than this one")]
    Request,
    /// Another answer.
    #[error("the receipt is of another answer than this one")]
    Response,
    /// Not the next after another one.
    #[error("receipt {sequence} does not follow receipt {before}")]
    Chain {
        /// Number of the later.
        sequence: u64,
        /// Number of the earlier.
        before: u64,
    },
}

impl ReceiptError {
    /// The stable code of this error.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLong { .. } => "receipt.too-long",
            Self::Malformed { .. } => "receipt.malformed",
            Self::Schema => "receipt.schema",
            Self::ApiVersion => "receipt.api-version",
            Self::NotCanonical => "receipt.not-canonical",
            Self::NoKey => "receipt.no-key",
            Self::Key { .. } => "receipt.key",
            Self::Signature => "receipt.signature",
            Self::Model { .. } => "receipt.model",
            Self::Future { .. } => "receipt.future",
            Self::Salt { .. } => "receipt.salt",
            Self::Request => "receipt.request",
            Self::Response => "receipt.response",
            Self::Chain { .. } => "receipt.chain",
        }
    }
}

/// A refused receipt with the checks that ran.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct ReceiptRefused {
    /// Why.
    pub reason: ReceiptError,
    /// Every rule of this module in order; those after the failure are not reached.
    pub checks: Vec<Check>,
}

/// A receipt that the machine of a statement signed. Only [`check`] makes one.
#[derive(Debug)]
pub struct VerifiedReceipt {
    receipt: Receipt,
    digest: [u8; 32],
    checks: Vec<Check>,
}

/// The rules of spec/receipts.md that [`check`] applies, in order.
pub static RULES: [Rule; 7] = [
    Rule {
        id: "RCP-1",
        title: "receipt is canonical and of a known form",
        spec: "receipts.md §3 RCP-1",
        why: "One content has one spelling, so that two programs cannot read the same receipt differently.",
    },
    Rule {
        id: "RCP-2",
        title: "signing key is the attested one",
        spec: "receipts.md §3 RCP-2",
        why: "Anybody can sign a receipt; only a key that the evidence binds was made inside the machine.",
    },
    Rule {
        id: "RCP-3",
        title: "signature is valid",
        spec: "receipts.md §3 RCP-3",
        why: "Without it the receipt is a text that anybody can write.",
    },
    Rule {
        id: "RCP-4",
        title: "model is one that the machine states",
        spec: "receipts.md §3 RCP-4",
        why: "The policy was held against the stated models, and against no others.",
    },
    Rule {
        id: "RCP-5",
        title: "receipt is not of the future",
        spec: "receipts.md §3 RCP-5",
        why: "A machine whose clock runs ahead dates its answers wrongly.",
    },
    Rule {
        id: "RCP-6",
        title: "receipt is of this request",
        spec: "receipts.md §3 RCP-6",
        why: "A genuine receipt of another question proves nothing about this one.",
    },
    Rule {
        id: "RCP-7",
        title: "receipt is of this answer",
        spec: "receipts.md §3 RCP-7",
        why: "A genuine receipt of another answer proves nothing about this one.",
    },
];

/// Checks that the machine of `statement` signed this receipt, of these bodies.
///
/// What it is worth is what the statement is worth: that of an [`AttestedStatement`](crate::statement::AttestedStatement), or one that
/// [`check_offline`](crate::statement::check_offline) read in a document that was kept.
///
/// # Errors
/// [`ReceiptRefused`].
pub fn check(
    signed: &SignedReceipt,
    statement: &RuntimeStatement,
    bodies: &Digests,
    now: UnixTime,
) -> Result<VerifiedReceipt, ReceiptRefused> {
    let mut seen = Vec::new();
    match run(signed, statement, bodies, now, &mut seen) {
        Ok(receipt) => {
            Ok(VerifiedReceipt { receipt, digest: Receipt::digest(&signed.receipt), checks: seen })
        }
        Err(reason) => {
            push(&mut seen, Outcome::Fail, reason.to_string());
            Err(ReceiptRefused { reason, checks: with_rest(seen, &RULES) })
        }
    }
}

/// RCP-8: `later` is the next after `earlier`, of the same boot of the same machine.
///
/// # Errors
/// [`ReceiptError::Chain`].
pub fn follows(later: &VerifiedReceipt, earlier: &VerifiedReceipt) -> Result<(), ReceiptError> {
    let next = earlier.receipt.sequence.checked_add(1) == Some(later.receipt.sequence);
    let same = later.receipt.key_id == earlier.receipt.key_id;
    if next && same && later.receipt.previous == Stated::Is(earlier.digest) {
        return Ok(());
    }
    Err(ReceiptError::Chain { sequence: later.receipt.sequence, before: earlier.receipt.sequence })
}

/// The rows of [`RULES`] as not reached.
#[must_use]
pub fn not_reached() -> Vec<Check> {
    with_rest(Vec::new(), &RULES)
}

// === impl VerifiedReceipt ===

impl VerifiedReceipt {
    /// What it says.
    #[must_use]
    pub fn receipt(&self) -> &Receipt {
        &self.receipt
    }

    /// The checks that passed or were waived.
    #[must_use]
    pub fn checks(&self) -> &[Check] {
        &self.checks
    }
}

// === the check's steps ===

fn push(seen: &mut Vec<Check>, outcome: Outcome, compared: String) {
    if let Some(rule) = RULES.get(seen.len()) {
        seen.push(row(rule, outcome, compared));
    }
}

fn run(
    signed: &SignedReceipt,
    statement: &RuntimeStatement,
    bodies: &Digests,
    now: UnixTime,
    seen: &mut Vec<Check>,
) -> Result<Receipt, ReceiptError> {
    // RCP-1
    let (receipt, [request, response]) = read(&signed.receipt)?;
    push(seen, Outcome::Pass, format!("{API_VERSION}, receipt {}", receipt.receipt_id));
    // RCP-2
    let found =
        signed.key().map(|key| spki_sha256(&key)).ok_or(ReceiptError::Malformed { what: "its key" })?;
    let Stated::Is(attested) = statement.receipt_key_sha256 else { return Err(ReceiptError::NoKey) };
    if found != attested || receipt.key_id != Stated::Is(attested) {
        return Err(ReceiptError::Key { found: hex::encode(found), attested: hex::encode(attested) });
    }
    push(seen, Outcome::Pass, hex::encode(found));
    // RCP-3
    if !signed.is_signed() {
        return Err(ReceiptError::Signature);
    }
    push(seen, Outcome::Pass, "Ed25519".into());
    // RCP-4
    let stated = |model: &&crate::statement::ModelStatement| {
        model.id == receipt.model && model.manifest_sha256 == receipt.manifest_sha256
    };
    let manifest = receipt.manifest_sha256.text();
    if receipt.manifest_sha256 == Stated::None || !statement.models.iter().any(|model| stated(&model)) {
        return Err(ReceiptError::Model { id: receipt.model, manifest });
    }
    push(seen, Outcome::Pass, format!("{} {manifest}", receipt.model));
    // RCP-5
    if receipt.served_at > now.0.saturating_add(CLOCKS_DIFFER) {
        return Err(ReceiptError::Future { served_at: receipt.served_at, now: now.0 });
    }
    push(seen, Outcome::Pass, format!("of {}", receipt.served_at));
    // RCP-6, RCP-7
    let compare = [
        (bodies.request, signed.request_salt, request, "request", ReceiptError::Request),
        (bodies.response, signed.response_salt, response, "answer", ReceiptError::Response),
    ];
    for (digest, salt, hash, of, other) in compare {
        let Some(digest) = digest else {
            push(seen, Outcome::Waived, format!("nobody brought the {of}"));
            continue;
        };
        let Stated::Is(salt) = salt else { return Err(ReceiptError::Salt { of }) };
        if body_hash(&salt, &digest) != hash {
            return Err(other);
        }
        push(seen, Outcome::Pass, hex::encode(hash));
    }
    Ok(receipt)
}

/// RCP-1: the receipt, and the hashes of its request and its answer.
fn read(text: &str) -> Result<(Receipt, [[u8; 32]; 2]), ReceiptError> {
    if text.len() > MAX_LEN {
        return Err(ReceiptError::TooLong { len: text.len() });
    }
    let receipt: Receipt =
        serde_json::from_str(text).map_err(|_| ReceiptError::Malformed { what: "the receipt" })?;
    if receipt.api_version != API_VERSION {
        return Err(ReceiptError::ApiVersion);
    }
    if receipt.to_canonical()? != text {
        return Err(ReceiptError::NotCanonical);
    }
    let is_id = |id: &str| id.len() == 32 && id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if !is_id(&receipt.receipt_id) {
        return Err(ReceiptError::Malformed { what: "its id" });
    }
    if (receipt.sequence == 0) != (receipt.previous == Stated::None) {
        return Err(ReceiptError::Malformed { what: "its place in the chain" });
    }
    let [
        ReceiptEvent::RequestReceived { body_hash: Stated::Is(request) },
        ReceiptEvent::ResponseReturned { body_hash: Stated::Is(response) },
    ] = receipt.event_log[..]
    else {
        return Err(ReceiptError::Malformed { what: "its list of events" });
    };
    Ok((receipt, [request, response]))
}

/// Seconds by which two clocks may differ.
const CLOCKS_DIFFER: u64 = 300;
