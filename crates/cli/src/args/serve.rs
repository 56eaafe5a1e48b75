//! `casemate serve` as typed.

use std::path::PathBuf;

use casemate_enclave::ServeSettings;

use super::operator::OperatorArgs;
use super::upstream::UpstreamArgs;

/// Attest, obtain the model key, serve the API (inside the TEE)
#[derive(clap::Args)]
pub(crate) struct ServeArgs {
    /// Configuration file (TOML); flags and environment win over it
    #[arg(short, long, env = "CASEMATE_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Check the configuration and exit; with another engine, print its digest
    #[arg(long)]
    pub(crate) check_config: bool,
    /// Stop when standard input closes, for a supervisor whose end must be ours
    #[arg(long)]
    pub(crate) stop_on_stdin_eof: bool,
    /// Directory of the sealed model
    #[arg(long, env = "MODEL_PATH")]
    model: Option<PathBuf>,
    /// Public key of the publisher who must have signed the manifest
    #[arg(long, env = "CASEMATE_PUBLISHER_KEY")]
    publisher_key: Option<PathBuf>,
    /// The broker's address, http(s)://HOST:PORT
    #[arg(long, env = "CASEMATE_BROKER")]
    broker: Option<String>,
    /// Certificate authorities of the broker's TLS (PEM)
    #[arg(long, env = "CASEMATE_BROKER_CA")]
    broker_ca: Option<PathBuf>,
    /// Reach the broker through this vsock port, vsock:CID:PORT (3 is the parent of a Nitro enclave), instead of by TCP. Its
    /// address still says whose certificate it must have
    #[arg(long, value_name = "VSOCK", env = "CASEMATE_BROKER_VIA")]
    broker_via: Option<String>,
    #[command(flatten)]
    kms: KmsArgs,
    /// Address to listen on: IP:PORT, vsock:PORT or vsock:CID:PORT [default: 0.0.0.0:8443]
    #[arg(long, value_name = "ADDRESS", env = "CASEMATE_LISTEN")]
    listen: Option<String>,
    /// TLS certificate chain (PEM) [default: a key made inside]
    #[arg(long, env = "CASEMATE_TLS_CERT")]
    tls_cert: Option<PathBuf>,
    /// TLS key (PEM)
    #[arg(long, env = "CASEMATE_TLS_KEY")]
    tls_key: Option<PathBuf>,
    #[command(flatten)]
    operator: OperatorArgs,
    /// Endorsements that this machine does not bring itself, from `casemate endorse fetch`
    #[arg(long, value_name = "FILE", env = "CASEMATE_ENDORSEMENTS")]
    endorsements: Option<PathBuf>,
    /// Ask the silicon vendors for the endorsements that this machine does not bring, and renew them before they run out
    #[arg(long, env = "CASEMATE_FETCH_ENDORSEMENTS")]
    fetch_endorsements: bool,
    /// Folder of the vendors' answers, which a restart finds again
    #[arg(long, value_name = "DIR", env = "CASEMATE_ENDORSEMENT_CACHE")]
    endorsement_cache: Option<PathBuf>,
    /// AMD's Key Distribution Service, or a mirror [default: https://kdsintf.amd.com]
    #[arg(long, value_name = "URL", env = "CASEMATE_KDS")]
    kds: Option<String>,
    /// A provisioning certificate caching service instead of Intel's own
    #[arg(long, value_name = "URL", env = "CASEMATE_PCCS")]
    pccs: Option<String>,
    /// A mirror of the hosts that have AWS's revocation lists: /HOST/PATH below it is asked for
    #[arg(long, value_name = "URL", env = "CASEMATE_CRL_MIRROR")]
    crl_mirror: Option<String>,
    /// Reach the vendors' services through this HTTP proxy: http://HOST:PORT, or vsock:CID:PORT (3 is the parent of a Nitro enclave)
    #[arg(long, value_name = "ADDRESS", env = "CASEMATE_ENDORSEMENT_PROXY")]
    endorsement_proxy: Option<String>,
    /// Believe only these certificate authorities (PEM) for the TLS of the vendors' services
    #[arg(long, value_name = "FILE", env = "CASEMATE_ENDORSEMENT_CA")]
    endorsement_ca: Option<PathBuf>,
    #[command(flatten)]
    nvidia: NvidiaServiceArgs,
    /// Attest this machine's NVIDIA GPUs too. This policy (TOML) says how many there must be (table `devices`) and what each must be
    /// (table `nvidia`); without them the server does not start
    #[arg(long, value_name = "FILE", env = "CASEMATE_GPU_POLICY")]
    gpu_policy: Option<PathBuf>,
    /// What NVIDIA says of the GPUs, from `casemate endorse gpus` and `endorse fetch` [default: with --fetch-endorsements, its services are asked]
    #[arg(long, value_name = "FILE", env = "CASEMATE_GPU_ENDORSEMENTS")]
    gpu_endorsements: Option<PathBuf>,
    /// Show this instance's virtual TPM too, beside SEV-SNP or TDX on Google Cloud: which kernel was booted. The file says what
    /// Google says of its key, from `casemate endorse gce-vtpm` and `endorse fetch`. Without them the server does not start
    #[arg(long, value_name = "FILE", env = "CASEMATE_GCE_VTPM")]
    gce_vtpm: Option<PathBuf>,
    /// Accept certificates of the virtual TPM's key that name no revocation list, as Google's newer ones, because …
    #[arg(long, value_name = "REASON", env = "CASEMATE_DANGER_VTPM_UNLISTED")]
    danger_vtpm_unlisted: Option<String>,
    /// Show the hardware report of an Azure VM's boot, which binds no exchange, instead of one for each (two seconds at most), because …
    #[arg(long, value_name = "REASON", env = "CASEMATE_DANGER_AZURE_BOOT_REPORT")]
    danger_azure_boot_report: Option<String>,
    /// Use a simulated SEV-SNP machine of the vendor in this directory. Every output says SIMULATED
    #[arg(long, value_name = "DIR", env = "CASEMATE_DANGER_SIMULATE")]
    danger_simulate: Option<PathBuf>,
    /// Give the simulated machine as many simulated GPUs of the vendor in this directory as the policy demands
    #[arg(long, value_name = "DIR", env = "CASEMATE_DANGER_SIMULATE_GPUS")]
    danger_simulate_gpus: Option<PathBuf>,
    /// Start although swap is on
    #[arg(long, env = "CASEMATE_DANGER_ALLOW_SWAP")]
    danger_allow_swap: bool,
    /// User and group number to become when started as root [default: 65534]
    #[arg(long, env = "CASEMATE_USER")]
    user: Option<u32>,
    /// Threads for unsealing and for the engine [default: the cores]
    #[arg(long, env = "CASEMATE_THREADS")]
    threads: Option<usize>,
    /// Tokens of context [default: 4096]
    #[arg(long, env = "CASEMATE_CONTEXT")]
    context: Option<u32>,
    /// Requests that are answered at the same time; others wait [default: 8]
    #[arg(long, env = "CASEMATE_PARALLEL")]
    parallel: Option<u32>,
    /// Tenants that may ask, from `casemate keys` [default: everybody may, and nothing of a prompt is kept]
    #[arg(long, value_name = "FILE", env = "CASEMATE_API_KEYS")]
    api_keys: Option<PathBuf>,
    /// Keep receipts of answers in this folder for a day, encrypted under the model's key [default: in memory]
    #[arg(long, value_name = "DIR", env = "CASEMATE_RECEIPT_FOLDER")]
    receipt_folder: Option<PathBuf>,
    /// Tokens that all of them have room for together [default: 16384, at least --context]
    #[arg(long, env = "CASEMATE_CACHE_TOKENS")]
    cache_tokens: Option<u32>,
    /// Tokens that a step guesses at most where an answer repeats itself or its prompt, such as 15; the network sees in a stream's timing
    /// when they were right [default: 0, none]
    #[arg(long, env = "CASEMATE_GUESS_TOKENS")]
    guess_tokens: Option<u32>,
    #[command(flatten)]
    stop: StopArgs,
    #[command(flatten)]
    upstream: UpstreamArgs,
}

impl ServeArgs {
    /// The settings given by flags and environment.
    pub(crate) fn settings(self) -> ServeSettings {
        ServeSettings {
            model: self.model,
            publisher_key: self.publisher_key,
            broker: self.broker,
            broker_ca: self.broker_ca,
            broker_via: self.broker_via,
            kms_key: self.kms.kms_key,
            kms_ciphertext: self.kms.kms_ciphertext,
            kms_credentials: self.kms.kms_credentials,
            kms_via: self.kms.kms_via,
            kms_endpoint: self.kms.kms_endpoint,
            kms_ca: self.kms.kms_ca,
            rim_service: self.nvidia.rim_service,
            ocsp_service: self.nvidia.ocsp_service,
            ocsp_without_nonce: self.nvidia.ocsp_without_nonce.then_some(true),
            listen: self.listen,
            tls_cert: self.tls_cert,
            tls_key: self.tls_key,
            operator_key: self.operator.operator_key,
            operator_cert: self.operator.operator_cert,
            endorsements: self.endorsements,
            fetch_endorsements: self.fetch_endorsements.then_some(true),
            endorsement_cache: self.endorsement_cache,
            kds: self.kds,
            pccs: self.pccs,
            crl_mirror: self.crl_mirror,
            endorsement_proxy: self.endorsement_proxy,
            endorsement_ca: self.endorsement_ca,
            gpu_policy: self.gpu_policy,
            gpu_endorsements: self.gpu_endorsements,
            gce_vtpm: self.gce_vtpm,
            danger_vtpm_unlisted: self.danger_vtpm_unlisted,
            danger_azure_boot_report: self.danger_azure_boot_report,
            danger_simulate: self.danger_simulate,
            danger_simulate_gpus: self.danger_simulate_gpus,
            danger_allow_swap: self.danger_allow_swap.then_some(true),
            user: self.user,
            threads: self.threads,
            context: self.context,
            parallel: self.parallel,
            api_keys: self.api_keys,
            receipt_folder: self.receipt_folder,
            cache_tokens: self.cache_tokens,
            guess_tokens: self.guess_tokens,
            drain_seconds: self.stop.drain_seconds,
            upstream: self.upstream.settings(),
        }
    }
}

/// Who answers about the machine's GPUs.
#[derive(clap::Args)]
pub(crate) struct NvidiaServiceArgs {
    /// NVIDIA's manifests, or a cache of them [default: https://rim.attestation.nvidia.com]
    #[arg(long, value_name = "URL", env = "CASEMATE_RIM_SERVICE")]
    rim_service: Option<String>,
    /// NVIDIA's OCSP responder, or a cache of it [default: https://ocsp.ndis.nvidia.com]
    #[arg(long, value_name = "URL", env = "CASEMATE_OCSP_SERVICE")]
    ocsp_service: Option<String>,
    /// Ask the responder without a nonce: a cache of it cannot repeat one
    #[arg(long, env = "CASEMATE_OCSP_WITHOUT_NONCE")]
    ocsp_without_nonce: bool,
}

/// How it stops.
#[derive(clap::Args)]
pub(crate) struct StopArgs {
    /// Still take requests for so many seconds after being told to stop, while /ready refuses, so that a load balancer leads clients
    /// elsewhere first; then answers under way have 10 seconds more [default: 0]
    #[arg(long, value_name = "SECONDS", env = "CASEMATE_DRAIN_SECONDS")]
    drain_seconds: Option<u32>,
}

/// AWS KMS in a broker's place.
#[derive(clap::Args)]
pub(crate) struct KmsArgs {
    /// Have AWS KMS release the model key, instead of a broker: the ARN of the KMS key that encrypts it (in a Nitro enclave)
    #[arg(long, value_name = "ARN", env = "CASEMATE_KMS_KEY")]
    kms_key: Option<String>,
    /// The encrypted model key, from `casemate kms` and `aws kms encrypt` (base64)
    #[arg(long, value_name = "FILE", env = "CASEMATE_KMS_CIPHERTEXT")]
    kms_ciphertext: Option<PathBuf>,
    /// Credentials that may ask KMS, as `aws configure export-credentials --format process` prints them: a file, or vsock:CID:PORT
    /// where they are written to whoever connects
    #[arg(long, value_name = "SOURCE", env = "CASEMATE_KMS_CREDENTIALS")]
    kms_credentials: Option<String>,
    /// Reach KMS through this vsock port, vsock:CID:PORT (3 is the parent of a Nitro enclave). TLS ends in the enclave
    #[arg(long, value_name = "VSOCK", env = "CASEMATE_KMS_VIA")]
    kms_via: Option<String>,
    /// Another address of KMS than the region's own, https://HOST:PORT
    #[arg(long, value_name = "URL", env = "CASEMATE_KMS_ENDPOINT")]
    kms_endpoint: Option<String>,
    /// Believe only these certificate authorities (PEM) for KMS's TLS
    #[arg(long, value_name = "FILE", env = "CASEMATE_KMS_CA")]
    kms_ca: Option<PathBuf>,
}
