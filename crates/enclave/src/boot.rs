//! `casemate serve`: the boot as a script of numbered steps, top to bottom.
//!
//! The listener opens last. Until the evidence was accepted, the key released and every chunk authenticated, there is
//! no port to talk to, so `GET /health` can say `ok` and mean it.

mod backend;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use casemate_engine::{EngineError, MemoryNeed};
use casemate_protocol::statement::{ModelStatement, Stated};
use casemate_seal::{Manifest, ManifestError, PublisherKey};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::api::{self, ApiState};
use crate::attestation::{AttestationError, AttestationService};
use crate::attester::{Attester, AttesterError, AzureReport, Roots, SimulatedSnp, detect};
use crate::budget::{self, MemoryError};
use crate::clock::Clock;
use crate::composite::CompositeAttester;
use crate::config::{MachineSource, ServeConfig, TlsSource};
use crate::confined::ConfineError;
use crate::endorsed;
use crate::gpu::{self, GpuError};
use crate::hardening::{self, Hardened, HardeningError};
use crate::kms::KmsError;
use crate::operator::{Operator, OperatorError};
use crate::owner::{Given, Owner};
use crate::receipts::{FolderError, ReceiptFolder, Receipts, Unsigned};
use crate::release::ReleaseError;
use crate::sealed::SealedKeys;
use crate::staple::{RefreshError, StapleError};
use crate::tenants::{ApiKeysFile, KeysError, Tenants, watch};
use crate::tls::{TlsError, TlsIdentity};
use crate::transport::{Bound, ListenAddress, ListenError};
use crate::upstream::UpstreamError;
use crate::vtpm::{self, VtpmError};
use crate::weights::{SealedFiles, WeightsError};
use backend::Backend;

/// What is known once the server listens.
#[derive(Debug, Clone)]
pub struct Ready {
    /// The address that the listener got.
    pub address: ListenAddress,
    /// SHA-256 of the TLS key's SubjectPublicKeyInfo.
    pub tls_spki_sha256: [u8; 32],
    /// Digest of the loaded model's manifest.
    pub model_manifest: [u8; 32],
    /// Whether the hardware is simulated.
    pub simulated: bool,
}

/// Why the server did not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// Step 2 or 6: the model does not fit.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// Step 3.
    #[error(transparent)]
    Hardening(#[from] HardeningError),
    /// Step 2 or 5.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// Step 2: a key or certificate file.
    #[error("cannot use {}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: &'static str,
    },
    /// Step 2: the tenants' keys.
    #[error("{}: {source}", path.display())]
    ApiKeys {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: KeysError,
    },
    /// Step 2: the manifest.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// Step 2: evidence device.
    #[error(transparent)]
    Attester(#[from] AttesterError),
    /// Step 2: the machine's GPUs.
    #[error(transparent)]
    Gpu(#[from] GpuError),
    /// Step 2: the virtual TPM beside the hardware.
    #[error(transparent)]
    Vtpm(#[from] VtpmError),
    /// Step 2: the file of endorsements.
    #[error(transparent)]
    Staple(#[from] StapleError),
    /// Step 2: the way over vsock to the vendors' services.
    #[error("no port of this machine's loopback can be opened for the vendors' services: {0}")]
    Forward(#[source] std::io::Error),
    /// Step 4: the machine's own evidence, as clients will see it.
    #[error(transparent)]
    Endorsements(#[from] RefreshError),
    /// Step 4: no verification without a time.
    #[error("the machine's clock is before 1970")]
    Clock,
    /// Step 2: the TLS identity.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Step 2: the operator's key.
    #[error(transparent)]
    Operator(#[from] OperatorError),
    /// Step 3: the engine's process.
    #[error(transparent)]
    Confine(#[from] ConfineError),
    /// Step 4.
    #[error(transparent)]
    Release(#[from] ReleaseError),
    /// Step 2 or 4: AWS KMS.
    #[error(transparent)]
    Kms(#[from] KmsError),
    /// Step 2: the manifest names nobody who holds the key.
    #[error("the manifest names no broker that holds the key")]
    NoRecipient,
    /// Step 4: what the broker released is not a model key.
    #[error("the broker released {found} bytes, not a 32-byte model key")]
    KeyLength {
        /// Length found.
        found: usize,
    },
    /// Step 4: no page could be locked for the key.
    #[error("cannot lock memory for the model key: {0}")]
    KeyMemory(#[source] std::io::Error),
    /// Step 6.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Step 2 or 6: the program that answers in the engine's place.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// Step 6: the folder of receipts.
    #[error(transparent)]
    Receipts(#[from] FolderError),
    /// Step 7: the key that signs receipts.
    #[error("there is no key for receipts: {0}")]
    ReceiptKey(#[source] Unsigned),
    /// Step 7.
    #[error(transparent)]
    Attestation(#[from] AttestationError),
    /// Step 2 or 7: the listener.
    #[error(transparent)]
    Listen(#[from] ListenError),
}

impl BootError {
    /// The stable code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Memory(_) => "boot.memory",
            Self::Hardening(e) => e.code(),
            Self::Weights(e) => e.code(),
            Self::File { .. } => "boot.file",
            Self::ApiKeys { source, .. } => source.code(),
            Self::Manifest(e) => e.code(),
            Self::Attester(e) => e.code(),
            Self::Gpu(e) => e.code(),
            Self::Vtpm(e) => e.code(),
            Self::Staple(e) => e.code(),
            Self::Endorsements(e) => e.code(),
            Self::Forward(_) => "boot.forward",
            Self::Clock => "boot.clock",
            Self::Tls(e) => e.code(),
            Self::Operator(e) => e.code(),
            Self::Confine(e) => e.code(),
            Self::Release(e) => e.code(),
            Self::Kms(e) => e.code(),
            Self::NoRecipient => "boot.no-recipient",
            Self::KeyLength { .. } => "boot.key-length",
            Self::KeyMemory(_) => "boot.key-memory",
            Self::Engine(e) => e.code(),
            Self::Upstream(e) => e.code(),
            Self::Receipts(e) => e.code(),
            Self::ReceiptKey(e) => e.code(),
            Self::Attestation(e) => e.code(),
            Self::Listen(e) => e.code(),
        }
    }
}

/// Boots and serves until `shutdown` resolves. `ready` is called once, when the listener is open.
pub async fn serve(
    config: ServeConfig,
    _hardened: Hardened,
    ready: impl FnOnce(&Ready),
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), BootError> {
    // 1. Nothing of this process reaches a disk or another process: `Hardened` is the proof.

    // 2. Open every input while we may; verify the manifest before anything that it names is used.
    let publisher = publisher_key(&config.publisher_key)?;
    let sealed = SealedFiles::read(&config.model)?;
    let manifest = Manifest::verify(sealed.envelope(), &[publisher])?;
    let backend = Backend::open(&config, &sealed, &manifest)?;
    // A model whose weights alone do not fit needs no key; how large its cache is, only its header says (step 6).
    let bytes = backend.bytes();
    budget::check(MemoryNeed { weights: bytes, ..MemoryNeed::default() }, 0)?;
    let attester: Arc<dyn Attester> = match &config.machine {
        MachineSource::Simulated(vendor) => Arc::new(SimulatedSnp::launch(vendor)?),
        MachineSource::Hardware => {
            if config.azure_report == AzureReport::Boot {
                tracing::warn!(
                    "the hardware report of an Azure VM is as old as its boot, and binds no exchange"
                );
            }
            detect(&Roots { azure_report: config.azure_report, ..Roots::system() })?
        }
    };
    let owner = Owner::open(config.keys.clone(), &manifest, attester.platform())?;
    let source = endorsed::source(&config)?;
    let (gpus_source, vtpm_source) =
        (endorsed::of_gpus(&config, &source), endorsed::of_vtpm(&config, &source));
    let vtpm =
        vtpm::start(&config.vtpm, attester.platform(), Clock::system().now().ok_or(BootError::Clock)?)?;
    tracing::info!(platform = %attester.platform(), "machine found");
    if hardening::is_root() {
        endorsed::hand_over_folders(&config)?;
    }
    // Only root may let GPUs work, and they work only after they were verified.
    let now = Clock::system().now().ok_or(BootError::Clock)?;
    let gpus = match gpu::open(&config.gpus, now)? {
        Some(opened) => Some(opened.start(&gpus_source, config.user, now).await?),
        None => None,
    };
    let tls = match &config.tls {
        // The operator's files need the starting user; a generated key is this boot's own.
        TlsSource::Generated => TlsIdentity::generate(vec!["localhost".into()])?,
        TlsSource::Files { certificate, key } => TlsIdentity::from_files(certificate, key)?,
    };
    let operator = config.operator.as_ref();
    let operator =
        operator.map(|(key, certificate)| Operator::from_files(key, certificate.as_deref())).transpose()?;
    let tenants = config.api_keys.as_deref().map(tenants).transpose()?;
    let socket = Bound::bind(config.listen)?;
    tracing::info!(manifest = %hex::encode(manifest.digest()), model = manifest.name(), "manifest verified");

    // 3. From here on an unprivileged user.
    if hardening::is_root() {
        attester.hand_over(config.user, config.user)?;
    }
    if hardening::drop_privileges(config.user, config.user)? {
        tracing::info!(user = config.user, "privileges dropped");
    }

    // The engine's process gives up everything before there is a key or a weight anywhere on this machine (CONF-01).
    let backend = backend.confine()?;

    // 4. Be endorsed: obtain what the machine does not bring, and check our own evidence as every client will.
    let stapler = endorsed::first(attester.clone(), source).await?;
    let staples = stapler.staples();
    //    Attest to the broker, or to AWS KMS; the key arrives encrypted to a key that only this evidence binds.
    let simulated = attester.simulated();
    if simulated {
        tracing::warn!("SIMULATED hardware: the evidence of this server proves nothing about a real machine");
    }
    let machine = CompositeAttester::new(attester.clone(), staples.clone());
    let machine = machine.with_gpus(gpus.clone()).with_vtpm(vtpm.clone()).with_upstream(backend.upstream()?);
    let Given { key, token } = owner.give(&attester, &machine, &manifest).await?;

    // 5. Decrypt straight into anonymous memory, every chunk authenticated, the whole compared with the
    //    publisher's digest.
    let started = Instant::now();
    let backend = backend.unseal(&key, &manifest, config.threads.get())?;
    // 6. The key has done its work: zeroised and its page returned. The engine's process maps the memory.
    let folder = config.receipt_folder.as_deref();
    let folder = folder.map(|path| ReceiptFolder::open(path, key.expose())).transpose()?;
    drop(key);
    tracing::info!(bytes, ms = started.elapsed().as_millis() as u64, "weights unsealed into memory");
    let (engine, answering) = backend.run(&config, &manifest)?;

    // 7. State what runs here, bind it into evidence, and open the listener.
    let models = vec![ModelStatement {
        id: manifest.name().to_owned(),
        manifest_sha256: Stated::Is(manifest.digest()),
    }];
    let receipts = Receipts::new(models.clone(), Clock::system()).map_err(BootError::ReceiptKey)?;
    let receipts = Arc::new(receipts.with_folder(folder));
    let service = AttestationService::new(attester, staples, &tls, models);
    let service = service.with_receipts(receipts.clone()).with_operator(operator).with_engine(answering);
    let sealed = Arc::new(SealedKeys::new(Clock::system()).map_err(AttestationError::from)?);
    let service = service.with_gpus(gpus.clone()).with_vtpm(vtpm.clone()).with_sealed(sealed.clone());
    let service = Arc::new(service);
    let (gpus, vtpm) = (gpus.map(|it| (it, gpus_source)), vtpm.map(|it| (it, vtpm_source)));
    if let Some(token) = token {
        service.set_token(token)?;
    }
    // A document that cannot be made now would fail every client later.
    service.restaple()?;
    let mut state = ApiState::new(engine, manifest.name().to_owned(), service.clone());
    state.tenants = tenants.map(Arc::new);
    state.sealed = Some(sealed);
    state.receipts = Some(receipts.clone());
    let keys = config.api_keys.zip(state.tenants.clone());
    let listening = socket.listen()?;
    let mut renewals = vec![
        tokio::spawn(owner.renew_token(machine, service.clone())),
        tokio::spawn(endorsed::renew(stapler, service.clone())),
        tokio::spawn(endorsed::renew_parts(gpus, vtpm, service.clone())),
        tokio::spawn(endorsed::renew_document(service)),
        tokio::spawn(expire(receipts)),
    ];
    renewals.extend(keys.map(|(path, tenants)| tokio::spawn(watch(path, tenants))));
    ready(&Ready {
        address: listening.address(),
        tls_spki_sha256: tls.spki_sha256(),
        model_manifest: manifest.digest(),
        simulated,
    });
    let shutdown = state.draining.clone().after(shutdown, config.drain);
    let ended = listening.serve(tls.config(), api::router(state), shutdown).await;
    for renewal in renewals {
        renewal.abort();
    }
    Ok(ended?)
}

/// Forgets receipts that are too old, for as long as the server runs.
async fn expire(receipts: Arc<Receipts>) {
    let mut hourly = tokio::time::interval(RECEIPTS_EXPIRE);
    loop {
        hourly.tick().await;
        let receipts = receipts.clone();
        let _ = tokio::task::spawn_blocking(move || receipts.expire()).await;
    }
}

fn publisher_key(path: &Path) -> Result<PublisherKey, BootError> {
    let wrong = |reason| BootError::File { path: path.to_owned(), reason };
    let text = std::fs::read_to_string(path).map_err(|_| wrong("it cannot be read"))?;
    PublisherKey::from_pem(&text).map_err(|_| wrong("it is not an Ed25519 public key in PEM"))
}

/// The authorities of the broker's TLS certificate, from the operator's file; none where there is none.
///
/// # Errors
/// [`BootError::File`] where it does not hold PEM certificates.
pub fn broker_authorities(path: Option<&Path>) -> Result<Vec<CertificateDer<'static>>, BootError> {
    let Some(path) = path else { return Ok(Vec::new()) };
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    read.map_err(|_| BootError::File { path: path.to_owned(), reason: "it does not hold PEM certificates" })
}

fn tenants(path: &Path) -> Result<Tenants, BootError> {
    let file =
        ApiKeysFile::read(path).map_err(|source| BootError::ApiKeys { path: path.to_owned(), source })?;
    let mut secret = [0; 32];
    aws_lc_rs::rand::fill(&mut secret).map_err(|_| AttesterError::Randomness)?;
    Ok(Tenants::new(&file, secret))
}

/// The version of Landlock's interface from which on it refuses signals too: the last of what this version asks it for.
const SIGNALS_IN_LANDLOCK: u32 = 6;
/// How often receipts that are too old are looked for.
const RECEIPTS_EXPIRE: Duration = Duration::from_secs(3600);
