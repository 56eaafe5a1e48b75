//! Signs a receipt of each answer, and keeps it for whoever asks for it again (spec/receipts.md, RCP-10 to RCP-15).

mod folder;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use aws_lc_rs::rand;
use casemate_attest::UnixTime;
use casemate_protocol::receipt::{
    API_VERSION, Receipt, ReceiptError, ReceiptEvent, ReceiptKey, ReceiptUsage, SignedReceipt, body_hash,
};
use casemate_protocol::statement::{ModelStatement, Stated};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::clock::Clock;
pub use folder::{FolderError, ReceiptFolder};

/// The receipts of this boot.
pub struct Receipts {
    key: ReceiptKey,
    models: Vec<ModelStatement>,
    clock: Clock,
    chain: Mutex<Chain>,
    kept: Kept,
}

/// Where receipts wait to be fetched.
enum Kept {
    /// The newest, until this process ends.
    Memory(Mutex<Memory>),
    /// All, for [`LIFETIME`], across restarts.
    Folder(ReceiptFolder),
}

/// The last receipt that was given.
struct Chain {
    sequence: u64,
    previous: Stated,
}

#[derive(Default)]
struct Memory {
    by_id: HashMap<String, Entry>,
    /// From the oldest.
    order: VecDeque<String>,
}

/// A kept receipt.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    /// Whose it is; everybody's who knows its id, on a server without tenants.
    tenant: Option<String>,
    /// Seconds since 1970.
    at: u64,
    /// The signed receipt, as JSON.
    signed: String,
}

/// What happened, for a receipt.
#[derive(Debug, Clone)]
pub struct Answered {
    /// The request's path.
    pub endpoint: String,
    /// The name of the model that answered.
    pub model: String,
    /// How tokens were chosen.
    pub parameters: BTreeMap<String, String>,
    /// What was used.
    pub usage: ReceiptUsage,
    /// SHA-256 of the request's body.
    pub request: [u8; 32],
    /// SHA-256 of the answer's body.
    pub response: [u8; 32],
    /// SHA-256 of the evidence that is ready.
    pub evidence: Option<[u8; 32]>,
    /// Whose request it was.
    pub tenant: Option<String>,
}

/// Why an answer has no receipt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unsigned {
    /// The machine's clock is before 1970.
    #[error("the machine's clock is before 1970")]
    Clock,
    /// The system gave no random bytes.
    #[error("the system gives no random bytes")]
    Randomness,
    /// The answer is of no model that is stated.
    #[error("the answer is of no model that is stated")]
    Model,
    /// The receipt cannot be written.
    #[error(transparent)]
    Receipt(#[from] ReceiptError),
}

impl Unsigned {
    /// The stable code of this error.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Clock => "receipt.clock",
            Self::Randomness => "receipt.randomness",
            Self::Model => "receipt.no-model",
            Self::Receipt(error) => error.code(),
        }
    }
}

impl Receipts {
    /// With a key of this moment, for answers of these models, kept in memory.
    ///
    /// # Errors
    /// Without random bytes.
    pub fn new(models: Vec<ModelStatement>, clock: Clock) -> Result<Self, Unsigned> {
        let seed = random::<32>()?;
        let key = ReceiptKey::from_seed(&seed);
        let chain = Mutex::new(Chain { sequence: 0, previous: Stated::None });
        Ok(Self { key, models, clock, chain, kept: Kept::Memory(Mutex::default()) })
    }

    /// With a folder to keep them in.
    #[must_use]
    pub fn with_folder(self, folder: Option<ReceiptFolder>) -> Self {
        match folder {
            Some(folder) => Self { kept: Kept::Folder(folder), ..self },
            None => self,
        }
    }

    /// SHA-256 of the signing key's SubjectPublicKeyInfo.
    #[must_use]
    pub fn key_sha256(&self) -> [u8; 32] {
        self.key.sha256()
    }

    /// An id for an answer that begins.
    ///
    /// # Errors
    /// Without random bytes.
    pub fn id(&self) -> Result<String, Unsigned> {
        Ok(hex::encode(random::<16>()?.as_slice()))
    }

    /// Signs the receipt of an answer that has ended, and keeps it. May write a file.
    ///
    /// # Errors
    /// [`Unsigned`]. A folder that cannot be written to is reported, and the receipt is given all the same.
    pub fn sign(&self, id: &str, answered: Answered) -> Result<SignedReceipt, Unsigned> {
        let served_at = self.clock.now().ok_or(Unsigned::Clock)?;
        let model = self.models.iter().find(|model| model.id == answered.model).ok_or(Unsigned::Model)?;
        let salts = [*random::<32>()?, *random::<32>()?];
        let [request, response] = &salts;
        let mut receipt = Receipt {
            api_version: API_VERSION.to_owned(),
            receipt_id: id.to_owned(),
            sequence: 0,
            previous: Stated::None,
            served_at: served_at.0,
            method: "POST".to_owned(),
            endpoint: answered.endpoint,
            model: model.id.clone(),
            manifest_sha256: model.manifest_sha256,
            parameters: answered.parameters,
            usage: answered.usage,
            evidence_sha256: answered.evidence.map_or(Stated::None, Stated::Is),
            event_log: vec![
                ReceiptEvent::RequestReceived {
                    body_hash: Stated::Is(body_hash(request, &answered.request)),
                },
                ReceiptEvent::ResponseReturned {
                    body_hash: Stated::Is(body_hash(response, &answered.response)),
                },
            ],
            software: concat!("casemate ", env!("CARGO_PKG_VERSION")).into(),
            key_id: Stated::None,
        };
        let signed = {
            let mut chain = lock(&self.chain);
            (receipt.sequence, receipt.previous) = (chain.sequence, chain.previous);
            let signed = self.key.sign(&receipt, salts)?;
            chain.sequence = chain.sequence.saturating_add(1);
            chain.previous = Stated::Is(Receipt::digest(&signed.receipt));
            signed
        };
        self.keep(id, Entry { tenant: answered.tenant, at: served_at.0, signed: signed.to_json()? });
        Ok(signed)
    }

    /// The receipt with this id, as JSON, where it is this tenant's and not too old. May read a file.
    #[must_use]
    pub fn find(&self, id: &str, tenant: Option<&str>) -> Option<String> {
        if !is_id(id) {
            return None;
        }
        let entry = match &self.kept {
            Kept::Memory(memory) => lock(memory).by_id.get(id).cloned()?,
            Kept::Folder(folder) => folder.read(id)?,
        };
        let age = self.clock.now()?.0.saturating_sub(entry.at);
        (entry.tenant.as_deref() == tenant && age < LIFETIME).then_some(entry.signed)
    }

    /// Forgets what is too old.
    pub fn expire(&self) {
        let Some(now) = self.clock.now() else { return };
        match &self.kept {
            Kept::Memory(memory) => lock(memory).expire(now),
            Kept::Folder(folder) => folder.expire(now),
        }
    }

    fn keep(&self, id: &str, entry: Entry) {
        match &self.kept {
            Kept::Memory(memory) => lock(memory).keep(id, entry),
            Kept::Folder(folder) => {
                if let Err(error) = folder.write(id, &entry) {
                    tracing::error!(code = error.code(), "a receipt was given and is not kept: {error}");
                }
            }
        }
    }
}

impl Memory {
    fn keep(&mut self, id: &str, entry: Entry) {
        if self.order.len() >= MOST_IN_MEMORY
            && let Some(oldest) = self.order.pop_front()
        {
            self.by_id.remove(&oldest);
        }
        self.order.push_back(id.to_owned());
        self.by_id.insert(id.to_owned(), entry);
    }

    fn expire(&mut self, now: UnixTime) {
        while let Some(oldest) = self.order.front() {
            let at = self.by_id.get(oldest).map_or(0, |entry| entry.at);
            if now.0.saturating_sub(at) < LIFETIME {
                return;
            }
            self.by_id.remove(oldest);
            self.order.pop_front();
        }
    }
}

/// What a server gives out as an id: 32 hexadecimal digits.
fn is_id(id: &str) -> bool {
    id.len() == 32 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn random<const N: usize>() -> Result<Zeroizing<[u8; N]>, Unsigned> {
    let mut bytes = Zeroizing::new([0; N]);
    rand::fill(bytes.as_mut_slice()).map_err(|_| Unsigned::Randomness)?;
    Ok(bytes)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Seconds for which a receipt can be fetched.
const LIFETIME: u64 = 24 * 3600;
/// About 2 KiB each.
const MOST_IN_MEMORY: usize = 16_384;

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    fn receipts(now: &Arc<AtomicU64>) -> Receipts {
        let now = now.clone();
        let clock = Clock::new(move || Some(UnixTime(now.load(Ordering::SeqCst))));
        let models = vec![ModelStatement { id: "m".into(), manifest_sha256: Stated::Is([3; 32]) }];
        Receipts::new(models, clock).unwrap()
    }

    fn answered(tenant: Option<&str>) -> Answered {
        Answered {
            endpoint: "/infer".into(),
            model: "m".into(),
            parameters: BTreeMap::new(),
            usage: ReceiptUsage { prompt_tokens: 1, completion_tokens: 2 },
            request: [1; 32],
            response: [2; 32],
            evidence: None,
            tenant: tenant.map(str::to_owned),
        }
    }

    fn given(receipts: &Receipts, tenant: Option<&str>) -> (String, Receipt) {
        let id = receipts.id().unwrap();
        let signed = receipts.sign(&id, answered(tenant)).unwrap();
        (id, serde_json::from_str(&signed.receipt).unwrap())
    }

    fn keeps(receipts: &Receipts, now: &Arc<AtomicU64>) {
        let (one, _) = given(receipts, Some("a"));
        let (open, _) = given(receipts, None);
        let found = receipts.find(&one, Some("a")).unwrap();
        assert!(SignedReceipt::parse(found.as_bytes()).unwrap().receipt.contains(&one));
        assert!(receipts.find(&open, None).is_some());
        // Nobody else's, and nothing that is no id.
        for (id, tenant) in [(&one, Some("b")), (&one, None), (&open, Some("a"))] {
            assert!(receipts.find(id, tenant).is_none());
        }
        for id in ["", "../../etc/passwd", &one.to_uppercase(), &"0".repeat(32)] {
            assert!(receipts.find(id, Some("a")).is_none(), "{id}");
        }
        let then = now.load(Ordering::SeqCst);
        now.store(then + LIFETIME - 1, Ordering::SeqCst);
        receipts.expire();
        assert!(receipts.find(&one, Some("a")).is_some());
        now.store(then + LIFETIME, Ordering::SeqCst);
        assert!(receipts.find(&one, Some("a")).is_none());
        receipts.expire();
        now.store(then, Ordering::SeqCst);
        assert!(receipts.find(&one, Some("a")).is_none(), "it was forgotten");
    }

    /// RCP-12 to RCP-14.
    #[test]
    fn receipts_are_kept_for_their_owner_and_a_day() {
        let now = Arc::new(AtomicU64::new(1_000_000));
        keeps(&receipts(&now), &now);
    }

    #[test]
    fn a_folder_keeps_them_across_restarts_and_for_nobody_else() {
        let now = Arc::new(AtomicU64::new(1_000_000));
        let dir = tempfile::tempdir().unwrap();
        let folder = |key: u8| ReceiptFolder::open(dir.path(), &[key; 32]).unwrap();
        let first = receipts(&now).with_folder(Some(folder(1)));
        keeps(&first, &now);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        let (id, receipt) = given(&first, Some("tenant"));
        // The next boot has another signing key, and finds it.
        let next = receipts(&now).with_folder(Some(folder(1)));
        let found = SignedReceipt::parse(next.find(&id, Some("tenant")).unwrap().as_bytes()).unwrap();
        assert_eq!(serde_json::from_str::<Receipt>(&found.receipt).unwrap(), receipt);
        assert_ne!(next.key_sha256(), first.key_sha256());
        // Whoever has the disk reads neither whose it is nor what it says, nor its id.
        let file = std::fs::read_dir(dir.path()).unwrap().next().unwrap().unwrap();
        let bytes = std::fs::read(file.path()).unwrap();
        let holds = |what: &str| bytes.windows(what.len()).any(|part| part == what.as_bytes());
        assert!(!holds("tenant") && !holds(&id) && !holds("infer"));
        assert!(!file.file_name().to_string_lossy().contains(&id));
        // Another model's key opens nothing, and neither does a changed or exchanged file.
        assert!(receipts(&now).with_folder(Some(folder(2))).find(&id, Some("tenant")).is_none());
        let (second, _) = given(&next, Some("tenant"));
        let other = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
        let other = other.into_iter().find(|path| *path != file.path()).unwrap();
        std::fs::copy(&other, file.path()).unwrap();
        assert!(next.find(&id, Some("tenant")).is_none());
        assert!(next.find(&second, Some("tenant")).is_some());
        for at in [0, bytes.len() / 2, bytes.len() - 1] {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            std::fs::write(file.path(), &changed).unwrap();
            assert!(next.find(&id, Some("tenant")).is_none());
        }
        std::fs::write(file.path(), &bytes).unwrap();
        assert!(next.find(&id, Some("tenant")).is_some());
    }

    #[test]
    fn receipts_are_a_chain() {
        let receipts = receipts(&Arc::new(AtomicU64::new(1_000_000)));
        let mut previous = Stated::None;
        for sequence in 0..3 {
            let signed = receipts.sign(&receipts.id().unwrap(), answered(None)).unwrap();
            let receipt: Receipt = serde_json::from_str(&signed.receipt).unwrap();
            assert_eq!((receipt.sequence, receipt.previous), (sequence, previous));
            previous = Stated::Is(Receipt::digest(&signed.receipt));
        }
    }

    #[test]
    fn memory_is_bounded() {
        let receipts = receipts(&Arc::new(AtomicU64::new(1_000_000)));
        let (first, _) = given(&receipts, None);
        let Kept::Memory(memory) = &receipts.kept else { panic!("in memory") };
        let entry = memory.lock().unwrap().by_id[&first].clone();
        for n in 0..MOST_IN_MEMORY {
            memory.lock().unwrap().keep(&format!("{n:032x}"), entry.clone());
        }
        assert!(receipts.find(&first, None).is_none());
        assert!(receipts.find(&format!("{:032x}", 0), None).is_some());
        let memory = memory.lock().unwrap();
        assert_eq!((memory.by_id.len(), memory.order.len()), (MOST_IN_MEMORY, MOST_IN_MEMORY));
    }

    #[test]
    fn an_answer_without_model_time_or_chance_has_none() {
        let receipts = receipts(&Arc::new(AtomicU64::new(1)));
        let other = Answered { model: "other".into(), ..answered(None) };
        assert_eq!(receipts.sign("id", other).unwrap_err().code(), "receipt.no-model");
        let timeless = Receipts::new(Vec::new(), Clock::new(|| None)).unwrap();
        assert_eq!(timeless.sign("id", answered(None)).unwrap_err().code(), "receipt.clock");
    }
}
