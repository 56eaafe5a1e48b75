//! What the person typed, and what is meant: `ServeSettings` (file, environment, flags) becomes a total `ServeConfig`.

mod kms;

use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use casemate_attest::Danger;
use casemate_engine::{
    DEFAULT_CACHE_TOKENS, DEFAULT_CONTEXT_TOKENS, DEFAULT_GUESS_TOKENS, DEFAULT_PARALLEL, MAX_GUESS_TOKENS,
    MAX_PARALLEL,
};
use serde::Deserialize;

use crate::attester::AzureReport;
use crate::hardening::SwapRule;
use crate::kms::{KmsKeyError, KmsSettings};
use crate::transport::{AddressError, BrokerPath, ListenAddress, VsockAddress};
use crate::upstream::{CommandFault, UPSTREAM_COMMAND, UpstreamConfig, UpstreamSettings};

/// Settings of `casemate serve` as they may stand in the configuration file. A flag or environment variable wins over
/// the file. Unknown keys are refused.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ServeSettings {
    /// Directory of the sealed model (`MODEL_PATH`).
    pub model: Option<PathBuf>,
    /// File with the publisher's public key that must have signed the manifest.
    pub publisher_key: Option<PathBuf>,
    /// The broker's address.
    pub broker: Option<String>,
    /// PEM file with the authorities of the broker's TLS certificate.
    pub broker_ca: Option<PathBuf>,
    /// vsock address of what leads to the broker.
    pub broker_via: Option<String>,
    /// ARN of the KMS key that encrypts the model key, in place of a broker.
    pub kms_key: Option<String>,
    /// File with the encrypted model key.
    pub kms_ciphertext: Option<PathBuf>,
    /// Who has credentials for KMS: a file, or vsock:CID:PORT.
    pub kms_credentials: Option<String>,
    /// vsock address of what leads to KMS.
    pub kms_via: Option<String>,
    /// Another address of KMS than the region's own.
    pub kms_endpoint: Option<String>,
    /// PEM file with the only authorities that KMS's TLS may have.
    pub kms_ca: Option<PathBuf>,
    /// Address to listen on.
    pub listen: Option<String>,
    /// PEM file with the operator's TLS certificate chain.
    pub tls_cert: Option<PathBuf>,
    /// PEM file with the operator's TLS key.
    pub tls_key: Option<PathBuf>,
    /// PEM file with the key by which the operator says that the machine is theirs.
    pub operator_key: Option<PathBuf>,
    /// PEM file with the certificate chain of that key.
    pub operator_cert: Option<PathBuf>,
    /// File with endorsements of this machine, from `casemate endorse fetch`.
    pub endorsements: Option<PathBuf>,
    /// Ask the vendors' services for endorsements, and keep them in date.
    pub fetch_endorsements: Option<bool>,
    /// Folder for the services' answers.
    pub endorsement_cache: Option<PathBuf>,
    /// AMD's Key Distribution Service, or a mirror of it.
    pub kds: Option<String>,
    /// A provisioning certificate caching service instead of Intel's own.
    pub pccs: Option<String>,
    /// A mirror of the hosts that have AWS's revocation lists.
    pub crl_mirror: Option<String>,
    /// NVIDIA's manifests, or a cache of them.
    pub rim_service: Option<String>,
    /// NVIDIA's OCSP responder, or a cache of it.
    pub ocsp_service: Option<String>,
    /// Ask it without a nonce.
    pub ocsp_without_nonce: Option<bool>,
    /// HTTP proxy that leads to the vendors' services, http://HOST:PORT or vsock:CID:PORT.
    pub endorsement_proxy: Option<String>,
    /// PEM file with the only authorities that the services' TLS may have.
    pub endorsement_ca: Option<PathBuf>,
    /// Policy file that the machine's GPUs must meet.
    pub gpu_policy: Option<PathBuf>,
    /// File with endorsements of the GPUs, from `casemate endorse fetch`.
    pub gpu_endorsements: Option<PathBuf>,
    /// File with endorsements of the virtual TPM of Google's that is shown beside the hardware.
    pub gce_vtpm: Option<PathBuf>,
    /// Why certificates of it that name no revocation list are accepted.
    pub danger_vtpm_unlisted: Option<String>,
    /// Why the hardware report of an Azure VM may be as old as the boot.
    pub danger_azure_boot_report: Option<String>,
    /// Directory of the simulated silicon vendor, in place of hardware.
    pub danger_simulate: Option<PathBuf>,
    /// Directory of the simulated vendor of GPUs.
    pub danger_simulate_gpus: Option<PathBuf>,
    /// Run on a machine with swap.
    pub danger_allow_swap: Option<bool>,
    /// Numeric user and group to become when started as root.
    pub user: Option<u32>,
    /// Threads for unsealing and for the engine.
    pub threads: Option<usize>,
    /// Tokens of context.
    pub context: Option<u32>,
    /// Requests that run at the same time.
    pub parallel: Option<u32>,
    /// File of the tenants' keys.
    pub api_keys: Option<PathBuf>,
    /// Folder to keep receipts in, encrypted.
    pub receipt_folder: Option<PathBuf>,
    /// Tokens that all of them have room for together.
    pub cache_tokens: Option<u32>,
    /// Tokens that one step of an answer guesses at most.
    pub guess_tokens: Option<u32>,
    /// Seconds in which a server that was told to stop still takes requests.
    pub drain_seconds: Option<u32>,
    /// A program that answers in the place of the embedded engine.
    #[serde(default)]
    pub upstream: UpstreamSettings,
}

/// A complete configuration.
#[derive(Debug, Clone)]
pub struct ServeConfig {
    /// Directory of the sealed model.
    pub model: PathBuf,
    /// The publisher's public key file.
    pub publisher_key: PathBuf,
    /// Who releases the model key.
    pub keys: KeySource,
    /// Address to listen on.
    pub listen: ListenAddress,
    /// Where the TLS identity comes from.
    pub tls: TlsSource,
    /// Where evidence comes from.
    pub machine: MachineSource,
    /// How old the hardware report of an Azure VM may be.
    pub azure_report: AzureReport,
    /// The operator's key, and the certificate chain of it where there is one.
    pub operator: Option<(PathBuf, Option<PathBuf>)>,
    /// Which GPUs are attested.
    pub gpus: GpuSource,
    /// Which virtual TPM is shown beside the hardware.
    pub vtpm: VtpmSource,
    /// Who has the endorsements that the machine itself does not bring.
    pub endorsements: EndorsementSource,
    /// Whether swap is refused.
    pub swap: SwapRule,
    /// User and group to become when started as root.
    pub user: u32,
    /// Threads for unsealing and for the engine.
    pub threads: NonZeroUsize,
    /// Tokens of context.
    pub context: NonZeroU32,
    /// Requests that run at the same time.
    pub parallel: NonZeroU32,
    /// File of the tenants' keys; without it everybody may ask.
    pub api_keys: Option<PathBuf>,
    /// Folder to keep receipts in; without it they are kept in memory.
    pub receipt_folder: Option<PathBuf>,
    /// Tokens that all of them have room for together, at least one context.
    pub cache_tokens: NonZeroU32,
    /// Tokens that one step of an answer guesses at most.
    pub guess_tokens: u32,
    /// How long a server that was told to stop still takes requests.
    pub drain: Duration,
    /// A program that answers in the place of the embedded engine.
    pub upstream: Option<UpstreamConfig>,
}

/// Who releases the model key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// A broker (spec/release.md).
    Broker {
        /// Its address.
        url: String,
        /// Authorities of its TLS certificate; none are needed for `http`.
        authorities: Option<PathBuf>,
        /// How it is reached.
        path: BrokerPath,
    },
    /// AWS KMS, inside a Nitro enclave (spec/kms.md).
    AwsKms(KmsSettings),
}

/// Where the TLS identity comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TlsSource {
    /// A key made inside, gone when the process ends.
    Generated,
    /// The operator's files.
    Files {
        /// Certificate chain, PEM.
        certificate: PathBuf,
        /// Private key, PEM.
        key: PathBuf,
    },
}

/// Where evidence comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MachineSource {
    /// The machine's own device.
    Hardware,
    /// The simulated vendor in this directory. Every output says SIMULATED.
    Simulated(PathBuf),
}

/// Which GPUs are attested. What is written must be there: nothing is detected, and nothing is left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GpuSource {
    /// None: the statement says so.
    None,
    /// The machine's own.
    Hardware {
        /// What they must be.
        policy: PathBuf,
        /// What NVIDIA says of them.
        endorsements: Option<PathBuf>,
    },
    /// As many as the policy demands, of the simulated vendor in this directory.
    Simulated {
        /// What they must be.
        policy: PathBuf,
        /// The vendor's directory.
        vendor: PathBuf,
    },
}

/// Which virtual TPM is shown beside the hardware. What is written must be there: nothing is detected, and nothing is left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VtpmSource {
    /// None: the statement says so.
    None,
    /// This instance's, of Google Compute Engine.
    Google {
        /// What Google says of its key.
        endorsements: PathBuf,
        /// What is decided about certificates that name no revocation list.
        unlisted: Danger,
    },
}

/// Through whom the vendors' services are reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EndorsementProxy {
    /// An HTTP proxy, `http://HOST:PORT`.
    Http(String),
    /// An HTTP proxy at a vsock address, as a Nitro enclave's parent has it.
    Vsock(VsockAddress),
}

/// Who has what NVIDIA says of GPUs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NvidiaService {
    /// Who has its manifests, where not NVIDIA.
    pub rim: Option<String>,
    /// Who answers about its certificates, where not NVIDIA.
    pub ocsp: Option<String>,
    /// Whether a nonce is sent, which the answer must repeat.
    pub nonce: bool,
}

/// Who has the endorsements that the machine itself does not bring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EndorsementSource {
    /// Nobody.
    Machine,
    /// A file of `casemate endorse fetch`, read once.
    File(PathBuf),
    /// The vendors' services (spec/stapling.md).
    Vendors {
        /// Folder for their answers.
        cache: PathBuf,
        /// AMD's service, where it is another.
        kds: Option<String>,
        /// A caching service instead of Intel's.
        pccs: Option<String>,
        /// A mirror of the hosts that have AWS's revocation lists.
        crl_mirror: Option<String>,
        /// NVIDIA's services, for the machine's GPUs.
        nvidia: NvidiaService,
        /// Through whom they are reached, where not directly.
        proxy: Option<EndorsementProxy>,
        /// PEM file with the authorities of their TLS.
        authorities: Option<PathBuf>,
    },
}

/// Why settings are not a configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A setting has no default and was not given.
    #[error("`{setting}` is not set")]
    Missing {
        /// Its name as a flag.
        setting: &'static str,
    },
    /// One of a pair was given.
    #[error("`{given}` needs `{other}` beside it")]
    Unpaired {
        /// The flag that was given.
        given: &'static str,
        /// The flag that is missing.
        other: &'static str,
    },
    /// Two were given, and only one can be meant.
    #[error("`{one}` and `{other}` exclude each other")]
    Exclusive {
        /// The one.
        one: &'static str,
        /// The other.
        other: &'static str,
    },
    /// A decision without a reason.
    #[error("`{setting}` is empty; write down the reason")]
    NoReason {
        /// Its name as a flag.
        setting: &'static str,
    },
    /// An address is none.
    #[error("`{setting}`: {source}")]
    Address {
        /// Its name as a flag.
        setting: &'static str,
        /// What is wrong.
        source: AddressError,
    },
    /// The name of a KMS key is none.
    #[error("`--kms-key`: {source}")]
    KmsKey {
        /// What is wrong.
        source: KmsKeyError,
    },
    /// A command line is none for an upstream.
    #[error("`{setting}`: {fault}")]
    Command {
        /// Its name as a flag.
        setting: &'static str,
        /// What is wrong.
        fault: CommandFault,
    },
    /// A kind of upstream that is not known.
    #[error("`{setting}` must be llama-server, vllm, sglang or openai")]
    Kind {
        /// Its name as a flag.
        setting: &'static str,
    },
    /// An environment that is none.
    #[error("`{setting}` must have entries of the form NAME=VALUE")]
    Environment {
        /// Its name as a flag.
        setting: &'static str,
    },
    /// A number is out of range.
    #[error("`{setting}` is {found}, not {low} to {high}")]
    Range {
        /// Its name as a flag.
        setting: &'static str,
        /// What was given.
        found: u64,
        /// The smallest permitted value.
        low: u64,
        /// The largest permitted value.
        high: u64,
    },
}

impl ConfigError {
    /// The stable code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "config.missing",
            Self::Unpaired { .. } => "config.unpaired",
            Self::Exclusive { .. } => "config.exclusive",
            Self::NoReason { .. } => "config.no-reason",
            Self::Address { source, .. } => source.code(),
            Self::KmsKey { .. } => "config.kms-key",
            Self::Command { .. } => "config.upstream-command",
            Self::Kind { .. } => "config.upstream-kind",
            Self::Environment { .. } => "config.upstream-env",
            Self::Range { .. } => "config.range",
        }
    }

    /// What the person can do about it, where we know more than the help.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Address { source, .. } => source.hint(),
            Self::Missing { .. }
            | Self::Unpaired { .. }
            | Self::Exclusive { .. }
            | Self::NoReason { .. }
            | Self::KmsKey { .. }
            | Self::Command { .. }
            | Self::Kind { .. }
            | Self::Environment { .. }
            | Self::Range { .. } => None,
        }
    }
}

impl ServeSettings {
    /// These settings, completed by `below` where nothing was said.
    pub fn over(self, below: Self) -> Self {
        Self {
            model: self.model.or(below.model),
            publisher_key: self.publisher_key.or(below.publisher_key),
            broker: self.broker.or(below.broker),
            broker_ca: self.broker_ca.or(below.broker_ca),
            broker_via: self.broker_via.or(below.broker_via),
            kms_key: self.kms_key.or(below.kms_key),
            kms_ciphertext: self.kms_ciphertext.or(below.kms_ciphertext),
            kms_credentials: self.kms_credentials.or(below.kms_credentials),
            kms_via: self.kms_via.or(below.kms_via),
            kms_endpoint: self.kms_endpoint.or(below.kms_endpoint),
            kms_ca: self.kms_ca.or(below.kms_ca),
            listen: self.listen.or(below.listen),
            tls_cert: self.tls_cert.or(below.tls_cert),
            tls_key: self.tls_key.or(below.tls_key),
            operator_key: self.operator_key.or(below.operator_key),
            operator_cert: self.operator_cert.or(below.operator_cert),
            endorsements: self.endorsements.or(below.endorsements),
            fetch_endorsements: self.fetch_endorsements.or(below.fetch_endorsements),
            endorsement_cache: self.endorsement_cache.or(below.endorsement_cache),
            kds: self.kds.or(below.kds),
            pccs: self.pccs.or(below.pccs),
            crl_mirror: self.crl_mirror.or(below.crl_mirror),
            rim_service: self.rim_service.or(below.rim_service),
            ocsp_service: self.ocsp_service.or(below.ocsp_service),
            ocsp_without_nonce: self.ocsp_without_nonce.or(below.ocsp_without_nonce),
            endorsement_proxy: self.endorsement_proxy.or(below.endorsement_proxy),
            endorsement_ca: self.endorsement_ca.or(below.endorsement_ca),
            gpu_policy: self.gpu_policy.or(below.gpu_policy),
            gpu_endorsements: self.gpu_endorsements.or(below.gpu_endorsements),
            gce_vtpm: self.gce_vtpm.or(below.gce_vtpm),
            danger_vtpm_unlisted: self.danger_vtpm_unlisted.or(below.danger_vtpm_unlisted),
            danger_azure_boot_report: self.danger_azure_boot_report.or(below.danger_azure_boot_report),
            danger_simulate: self.danger_simulate.or(below.danger_simulate),
            danger_simulate_gpus: self.danger_simulate_gpus.or(below.danger_simulate_gpus),
            danger_allow_swap: self.danger_allow_swap.or(below.danger_allow_swap),
            user: self.user.or(below.user),
            threads: self.threads.or(below.threads),
            context: self.context.or(below.context),
            parallel: self.parallel.or(below.parallel),
            api_keys: self.api_keys.or(below.api_keys),
            receipt_folder: self.receipt_folder.or(below.receipt_folder),
            cache_tokens: self.cache_tokens.or(below.cache_tokens),
            guess_tokens: self.guess_tokens.or(below.guess_tokens),
            drain_seconds: self.drain_seconds.or(below.drain_seconds),
            upstream: self.upstream.over(below.upstream),
        }
    }

    /// The configuration that these settings mean, on a machine with `cores` cores.
    pub fn resolve(self, cores: NonZeroUsize) -> Result<ServeConfig, ConfigError> {
        let endorsements = self.endorsement_source()?;
        let listen = match &self.listen {
            None => ListenAddress::Tcp(SocketAddr::from(([0, 0, 0, 0], DEFAULT_PORT))),
            Some(text) => ListenAddress::parse(text).map_err(wrong_address("--listen"))?,
        };
        // What every server needs is missed first.
        let keys = self.key_source();
        let azure_report = self.azure_report()?;
        let gpus = self.gpu_source()?;
        let vtpm = self.vtpm_source()?;
        let tls = match (self.tls_cert, self.tls_key) {
            (None, None) => TlsSource::Generated,
            (Some(certificate), Some(key)) => TlsSource::Files { certificate, key },
            (Some(_), None) => return Err(ConfigError::Unpaired { given: "--tls-cert", other: "--tls-key" }),
            (None, Some(_)) => return Err(ConfigError::Unpaired { given: "--tls-key", other: "--tls-cert" }),
        };
        let threads = match self.threads {
            None => cores,
            Some(threads) => NonZeroUsize::new(threads).filter(|t| *t <= cores).ok_or(out_of_range(
                "--threads",
                threads as u64,
                1,
                cores.get() as u64,
            ))?,
        };
        let context = match self.context {
            None => DEFAULT_CONTEXT_TOKENS,
            Some(context) => NonZeroU32::new(context)
                .filter(|c| (MIN_CONTEXT..=MAX_CONTEXT).contains(&c.get()))
                .ok_or(out_of_range("--context", context.into(), MIN_CONTEXT.into(), MAX_CONTEXT.into()))?,
        };
        let parallel = match self.parallel {
            None => DEFAULT_PARALLEL,
            Some(parallel) => NonZeroU32::new(parallel)
                .filter(|p| p.get() <= MAX_PARALLEL)
                .ok_or(out_of_range("--parallel", parallel.into(), 1, MAX_PARALLEL.into()))?,
        };
        let cache_tokens = match self.cache_tokens {
            None => DEFAULT_CACHE_TOKENS.max(context),
            Some(tokens) => NonZeroU32::new(tokens)
                .filter(|t| (context.get()..=MAX_CACHE_TOKENS).contains(&t.get()))
                .ok_or(out_of_range(
                    "--cache-tokens",
                    tokens.into(),
                    context.get().into(),
                    MAX_CACHE_TOKENS.into(),
                ))?,
        };
        let guess_tokens = self.guess_tokens.unwrap_or(DEFAULT_GUESS_TOKENS);
        if guess_tokens > MAX_GUESS_TOKENS {
            return Err(out_of_range("--guess-tokens", guess_tokens.into(), 0, MAX_GUESS_TOKENS.into()));
        }
        let drain = self.drain_seconds.unwrap_or(0);
        if drain > MAX_DRAIN_SECONDS {
            return Err(out_of_range("--drain-seconds", drain.into(), 0, MAX_DRAIN_SECONDS.into()));
        }
        let upstream = self.upstream.resolve()?;
        // What only the embedded engine can be told is an upstream's own command line's to say.
        let embedded = [
            ("--context", self.context.is_some()),
            ("--cache-tokens", self.cache_tokens.is_some()),
            ("--guess-tokens", self.guess_tokens.is_some()),
        ];
        if let Some((one, _)) = embedded.into_iter().find(|(_, given)| *given && upstream.is_some()) {
            return Err(ConfigError::Exclusive { one, other: UPSTREAM_COMMAND });
        }
        // KMS looks at the machine alone, and not at which program of it will read the model (KMS-01).
        if upstream.is_some() && matches!(keys, Ok(KeySource::AwsKms(_))) {
            return Err(ConfigError::Exclusive { one: "--kms-key", other: UPSTREAM_COMMAND });
        }
        let user = self.user.unwrap_or(NOBODY);
        if user == 0 || user == u32::MAX {
            return Err(out_of_range("--user", user.into(), 1, u64::from(u32::MAX) - 1));
        }
        let operator = match (self.operator_key, self.operator_cert) {
            (Some(key), certificate) => Some((key, certificate)),
            (None, None) => None,
            (None, Some(_)) => {
                return Err(ConfigError::Unpaired { given: "--operator-cert", other: "--operator-key" });
            }
        };
        Ok(ServeConfig {
            model: self.model.ok_or(ConfigError::Missing { setting: "--model" })?,
            publisher_key: self.publisher_key.ok_or(ConfigError::Missing { setting: "--publisher-key" })?,
            keys: keys?,
            listen,
            tls,
            machine: self.danger_simulate.map_or(MachineSource::Hardware, MachineSource::Simulated),
            azure_report,
            operator,
            gpus,
            vtpm,
            endorsements,
            swap: if self.danger_allow_swap == Some(true) { SwapRule::DangerAllow } else { SwapRule::Refuse },
            user,
            threads,
            context,
            parallel,
            api_keys: self.api_keys,
            receipt_folder: self.receipt_folder,
            cache_tokens,
            guess_tokens,
            drain: Duration::from_secs(drain.into()),
            upstream,
        })
    }
}

impl ServeSettings {
    /// GPUs are attested where a policy says what they must be, and are simulated exactly where the machine is.
    fn gpu_source(&self) -> Result<GpuSource, ConfigError> {
        const POLICY: &str = "--gpu-policy";
        const ENDORSEMENTS: &str = "--gpu-endorsements";
        const SIMULATE: &str = "--danger-simulate";
        const SIMULATE_GPUS: &str = "--danger-simulate-gpus";
        let unpaired = |given, other| Err(ConfigError::Unpaired { given, other });
        let policy = match (&self.gpu_policy, &self.gpu_endorsements, &self.danger_simulate_gpus) {
            (None, Some(_), _) => return unpaired(ENDORSEMENTS, POLICY),
            (None, None, Some(_)) => return unpaired(SIMULATE_GPUS, POLICY),
            (None, None, None) => return Ok(GpuSource::None),
            (Some(policy), ..) => policy.clone(),
        };
        let endorsements = self.gpu_endorsements.clone();
        match (&self.danger_simulate, &self.danger_simulate_gpus, endorsements) {
            (None, None, endorsements) => Ok(GpuSource::Hardware { policy, endorsements }),
            (Some(_), None, _) => unpaired(SIMULATE, SIMULATE_GPUS),
            (None, Some(_), _) => unpaired(SIMULATE_GPUS, SIMULATE),
            (Some(_), Some(_), Some(_)) => {
                Err(ConfigError::Exclusive { one: ENDORSEMENTS, other: SIMULATE_GPUS })
            }
            (Some(_), Some(vendor), None) => Ok(GpuSource::Simulated { policy, vendor: vendor.clone() }),
        }
    }

    /// A report of the boot is shown where somebody wrote down why; a client decides for itself.
    fn azure_report(&self) -> Result<AzureReport, ConfigError> {
        const BOOT: &str = "--danger-azure-boot-report";
        match &self.danger_azure_boot_report {
            None => Ok(AzureReport::Exchange),
            Some(reason) if reason.trim().is_empty() => Err(ConfigError::NoReason { setting: BOOT }),
            Some(_) if self.danger_simulate.is_some() => {
                Err(ConfigError::Exclusive { one: BOOT, other: "--danger-simulate" })
            }
            Some(_) => Ok(AzureReport::Boot),
        }
    }

    /// A real virtual TPM quotes for no simulated machine: a client takes its quote for the word of software that runs on real
    /// hardware.
    fn vtpm_source(&self) -> Result<VtpmSource, ConfigError> {
        const SHOWN: &str = "--gce-vtpm";
        const UNLISTED: &str = "--danger-vtpm-unlisted";
        let Some(endorsements) = self.gce_vtpm.clone() else {
            return match self.danger_vtpm_unlisted {
                Some(_) => Err(ConfigError::Unpaired { given: UNLISTED, other: SHOWN }),
                None => Ok(VtpmSource::None),
            };
        };
        if self.danger_simulate.is_some() {
            return Err(ConfigError::Exclusive { one: SHOWN, other: "--danger-simulate" });
        }
        let unlisted = match self.danger_vtpm_unlisted.clone() {
            None => Danger::Refuse,
            Some(reason) if reason.trim().is_empty() => {
                return Err(ConfigError::NoReason { setting: UNLISTED });
            }
            Some(reason) => Danger::Allow { reason },
        };
        Ok(VtpmSource::Google { endorsements, unlisted })
    }

    /// Nobody is asked unless a person wrote that somebody may be (STAPLE-01).
    fn endorsement_source(&self) -> Result<EndorsementSource, ConfigError> {
        const FETCH: &str = "--fetch-endorsements";
        const PROXY: &str = "--endorsement-proxy";
        if self.fetch_endorsements != Some(true) {
            let given = [
                ("--endorsement-cache", self.endorsement_cache.is_some()),
                ("--kds", self.kds.is_some()),
                ("--pccs", self.pccs.is_some()),
                ("--crl-mirror", self.crl_mirror.is_some()),
                ("--rim-service", self.rim_service.is_some()),
                ("--ocsp-service", self.ocsp_service.is_some()),
                ("--ocsp-without-nonce", self.ocsp_without_nonce == Some(true)),
                (PROXY, self.endorsement_proxy.is_some()),
                ("--endorsement-ca", self.endorsement_ca.is_some()),
            ];
            if let Some((given, _)) = given.into_iter().find(|(_, given)| *given) {
                return Err(ConfigError::Unpaired { given, other: FETCH });
            }
            let file = self.endorsements.clone();
            return Ok(file.map_or(EndorsementSource::Machine, EndorsementSource::File));
        }
        if self.endorsements.is_some() {
            return Err(ConfigError::Exclusive { one: "--endorsements", other: FETCH });
        }
        let cache = self.endorsement_cache.clone();
        Ok(EndorsementSource::Vendors {
            cache: cache.ok_or(ConfigError::Unpaired { given: FETCH, other: "--endorsement-cache" })?,
            kds: self.kds.clone(),
            pccs: self.pccs.clone(),
            crl_mirror: self.crl_mirror.clone(),
            nvidia: NvidiaService {
                rim: self.rim_service.clone(),
                ocsp: self.ocsp_service.clone(),
                nonce: self.ocsp_without_nonce != Some(true),
            },
            proxy: self.endorsement_proxy.as_deref().map(endorsement_proxy).transpose()?,
            authorities: self.endorsement_ca.clone(),
        })
    }
}

/// What `--broker-via` says.
///
/// # Errors
/// [`ConfigError::Address`]; see spec/channel.md, CH-13.
pub fn broker_path(text: &str) -> Result<BrokerPath, ConfigError> {
    VsockAddress::parse_destination(text).map(BrokerPath::Vsock).map_err(wrong_address("--broker-via"))
}

/// What `--endorsement-proxy` says. The form of an HTTP proxy's address is looked at where it is used (endorse.md, END-25).
fn endorsement_proxy(text: &str) -> Result<EndorsementProxy, ConfigError> {
    if text.starts_with("vsock:") {
        let address = VsockAddress::parse_destination(text).map_err(wrong_address("--endorsement-proxy"))?;
        return Ok(EndorsementProxy::Vsock(address));
    }
    Ok(EndorsementProxy::Http(text.to_owned()))
}

fn wrong_address(setting: &'static str) -> impl Fn(AddressError) -> ConfigError {
    move |source| ConfigError::Address { setting, source }
}

fn out_of_range(setting: &'static str, found: u64, low: u64, high: u64) -> ConfigError {
    ConfigError::Range { setting, found, low, high }
}

/// HTTPS port of the enclave.
pub const DEFAULT_PORT: u16 = 8443;
/// User and group `nobody` of Debian and of the containers built from it.
const NOBODY: u32 = 65534;
/// Less holds no useful conversation.
const MIN_CONTEXT: u32 = 256;
/// More than any model was trained with.
const MAX_CONTEXT: u32 = 1 << 20;
const MAX_CACHE_TOKENS: u32 = 1 << 24;
/// No supervisor waits longer.
const MAX_DRAIN_SECONDS: u32 = 300;

#[cfg(test)]
mod tests;
