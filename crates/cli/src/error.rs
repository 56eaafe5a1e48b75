//! Every way in which a command ends badly, and the one place that maps it to an exit code and a hint.

use std::io;
use std::path::PathBuf;

use casemate_broker::{PolicyError, StoreError};

use crate::exit::{Exit, exit};

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write {}: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("{} is not a file or directory that can be sealed", path.display())]
    NotAFile { path: PathBuf },
    #[error("the name of {} is not UTF-8", path.display())]
    NotText { path: PathBuf },
    #[error("{} holds no file", path.display())]
    NothingToSeal { path: PathBuf },
    #[error("{what} is not {bytes} bytes in hex")]
    Hex { what: &'static str, bytes: usize },
    #[error("{what} is not 1 to {most} bytes in hex")]
    HexUpTo { what: &'static str, most: usize },
    #[error("`{found}` is not a product line")]
    ProductLine { found: String },
    #[error("`{found}` is no platform that can be simulated")]
    SimulatedPlatform { found: String },
    #[error("`{flag}` is missing")]
    MissingFlag { flag: &'static str },
    #[error("`{flag}` says nothing about {of}")]
    SuperfluousFlag { flag: &'static str, of: &'static str },
    #[error("{} is not of a kind that can be inspected", path.display())]
    UnknownKind { path: PathBuf },
    #[error("{}: {reason}", path.display())]
    ConfigFile { path: PathBuf, reason: String },
    #[error("{}: {source}", path.display())]
    ApiKeys { path: PathBuf, source: casemate_enclave::KeysError },
    #[error("the system's clock is before 1970")]
    Clock,
    #[error("the system gives no random bytes")]
    Randomness,
    #[error("the network runtime cannot start: {0}")]
    Runtime(#[source] io::Error),
    #[error("the result cannot be written as JSON")]
    Render,
    #[error("cannot start {}: {source}", program.display())]
    Start { program: PathBuf, source: io::Error },
    #[error("`casemate {name}` did not start: {stderr}")]
    DidNotStart { name: &'static str, stderr: String },
    #[error("`casemate {command}` did not answer with JSON")]
    NotJson { command: &'static str },
    #[error("stage {stage} of the demo did not end as it must: expected {expected}")]
    Demo { stage: u32, expected: &'static str },
    #[error("cannot listen on {address}: {source}")]
    Listen { address: std::net::SocketAddr, source: io::Error },
    #[error(
        "{address} can be reached from other machines, and what programs send to the proxy is not encrypted"
    )]
    ProxyAddress { address: std::net::SocketAddr },
    #[error("`{url}` is not the https address of a server")]
    ProxyServer { url: String },
    #[error("no policy is written from evidence of {platform} yet")]
    InitPlatform { platform: casemate_attest::Platform },
    #[error("the server shows GPUs or a virtual TPM, and no policy is written from them yet")]
    InitParts,
    #[error("the server states a model without a manifest")]
    InitModel,
    #[error("{} holds no key", path.display())]
    ProxyKey { path: PathBuf },
    #[error("{}: {source}", path.display())]
    KeyFile { path: PathBuf, source: casemate_seal::KeyFileError },
    #[error("{}: it is not the key of this model", path.display())]
    OtherModelsKey { path: PathBuf },
    #[error(transparent)]
    Tls(#[from] casemate_enclave::TlsError),
    #[error(transparent)]
    Uuid(#[from] casemate_seal::UuidError),
    #[error(transparent)]
    Publisher(#[from] casemate_seal::PublisherError),
    #[error(transparent)]
    Seal(#[from] casemate_seal::SealError),
    #[error(transparent)]
    Manifest(#[from] casemate_seal::ManifestError),
    #[error(transparent)]
    Recipient(#[from] casemate_seal::RecipientError),
    #[error(transparent)]
    Sim(#[from] casemate_sim::SimError),
    #[error(transparent)]
    Anchor(#[from] casemate_attest::AnchorError),
    #[error(transparent)]
    Policy(#[from] casemate_client::ClientPolicyError),
    #[error(transparent)]
    PlatformPolicy(#[from] casemate_attest::PolicyError),
    #[error(transparent)]
    Baseline(#[from] casemate_broker::BaselineError),
    #[error(transparent)]
    Parse(#[from] casemate_attest::ParseError),
    #[error(transparent)]
    EventLog(#[from] casemate_attest::eventlog::LogError),
    #[error(transparent)]
    Document(#[from] casemate_protocol::document::DocumentError),
    #[error(transparent)]
    Rejected(#[from] casemate_attest::Rejected),
    #[error(transparent)]
    Denied(#[from] casemate_attest::Denied),
    #[error(transparent)]
    DeviceParse(#[from] casemate_attest::nvidia::GpuParseError),
    #[error(transparent)]
    Endorse(#[from] casemate_endorse::EndorseError),
    #[error(transparent)]
    Bundle(#[from] casemate_attest::endorse::BundleError),
    #[error(transparent)]
    SystemBundle(#[from] casemate_attest::bundle::BundleError),
    #[error(transparent)]
    BundleRefused(#[from] casemate_attest::bundle::BundleRefused),
    #[error("no cache folder is known: neither XDG_CACHE_HOME nor HOME is an absolute path")]
    NoCacheFolder,
    #[error(transparent)]
    TokenParse(#[from] casemate_attest::token::TokenError),
    #[error("{named:?} is not ISSUER=FILE")]
    IssuerKeys { named: String },
    #[error("the keys of {issuer} are named twice")]
    IssuerTwice { issuer: String },
    #[error(transparent)]
    KeySet(#[from] casemate_attest::token::KeySetError),
    #[error(transparent)]
    TokenRejected(#[from] casemate_attest::token::TokenRejected),
    #[error(transparent)]
    TokenDenied(#[from] casemate_attest::token::TokenDenied),
    #[error(transparent)]
    DeviceRejected(#[from] casemate_attest::nvidia::GpuRejected),
    #[error(transparent)]
    DeviceDenied(#[from] casemate_attest::nvidia::GpuDenied),
    #[error(transparent)]
    DeviceSet(#[from] casemate_attest::nvidia::SetDenied),
    #[error(transparent)]
    DeviceAnchor(#[from] casemate_attest::nvidia::NvidiaAnchorError),
    #[error("{}: {rejected}", path.display())]
    DeviceManifest { path: PathBuf, rejected: Box<casemate_attest::nvidia::ManifestRejected> },
    #[error(transparent)]
    Statement(#[from] casemate_protocol::statement::StatementRefused),
    #[error(transparent)]
    Devices(#[from] casemate_protocol::devices::DevicesRefused),
    /// The machine of a document is of no operator of ours.
    #[error(transparent)]
    Operator(#[from] casemate_client::operator::OperatorRefused),
    #[error(transparent)]
    Vtpm(#[from] casemate_protocol::vtpm::VtpmRefused),
    #[error("{} is larger than {} MiB", path.display(), crate::files::MAX_FILE >> 20)]
    FileTooLarge { path: PathBuf },
    #[error(transparent)]
    Connect(#[from] casemate_client::ConnectFailure),
    #[error(transparent)]
    Fetch(#[from] casemate_client::ConnectError),
    #[error(transparent)]
    Send(#[from] casemate_client::SendError),
    #[error(transparent)]
    ReleasePolicy(#[from] PolicyError),
    #[error(transparent)]
    Resource(#[from] casemate_broker::ResourcePathError),
    #[error(transparent)]
    BrokerStart(#[from] casemate_broker::StartError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Config(#[from] casemate_enclave::ConfigError),
    #[error(transparent)]
    Boot(#[from] casemate_enclave::BootError),
    /// A receipt is none, or is refused.
    #[error(transparent)]
    Receipt(#[from] casemate_protocol::receipt::ReceiptError),
    /// Receipts cannot be kept.
    #[error(transparent)]
    ReceiptFolder(#[from] casemate_client::proxy::ReceiptFault),
    #[error(transparent)]
    Gpu(#[from] casemate_enclave::GpuError),
    #[error(transparent)]
    Attester(#[from] casemate_enclave::AttesterError),
    #[error(transparent)]
    TokenSocket(#[from] casemate_enclave::confidential_space::TokenSocketError),
    #[error("this machine is not ready to serve: {failed} of the checks failed")]
    NotReady { failed: usize },
    #[error("no check of this machine failed, but the broker cannot be reached")]
    BrokerSilent,
    #[error("no check failed, but {unknown} could not be made")]
    Undecided { unknown: usize },
}

impl CliError {
    /// The exit code.
    pub(crate) fn exit(&self) -> Exit {
        exit(self)
    }

    /// The stable code of this error.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Read { .. } => "cli.read",
            Self::Write { .. } => "cli.write",
            Self::NotAFile { .. } => "cli.not-a-file",
            Self::NotText { .. } => "cli.not-text",
            Self::NothingToSeal { .. } => "cli.nothing-to-seal",
            Self::Hex { .. } | Self::HexUpTo { .. } => "cli.hex",
            Self::ProductLine { .. } => "cli.product-line",
            Self::SimulatedPlatform { .. } => "cli.simulated-platform",
            Self::MissingFlag { .. } => "cli.missing-flag",
            Self::SuperfluousFlag { .. } => "cli.superfluous-flag",
            Self::UnknownKind { .. } => "cli.unknown-kind",
            Self::ConfigFile { .. } => "cli.config-file",
            Self::ApiKeys { source, .. } => source.code(),
            Self::Clock => "cli.clock",
            Self::Randomness => "cli.randomness",
            Self::Runtime(_) => "cli.runtime",
            Self::Render => "cli.render",
            Self::Start { .. } => "cli.start",
            Self::DidNotStart { .. } => "cli.did-not-start",
            Self::NotJson { .. } => "cli.not-json",
            Self::Demo { .. } => "cli.demo",
            Self::Listen { .. } => "cli.listen",
            Self::ProxyAddress { .. } => "proxy.address",
            Self::ProxyServer { .. } => "connect.address",
            Self::ProxyKey { .. } => "proxy.api-key",
            Self::InitPlatform { .. } => "policy.init-platform",
            Self::InitParts => "policy.init-parts",
            Self::InitModel => "policy.init-model",
            Self::Tls(e) => e.code(),
            Self::KeyFile { source, .. } => source.code(),
            Self::OtherModelsKey { .. } => "cli.other-models-key",
            Self::Uuid(_) => "cli.uuid",
            Self::Publisher(e) => e.code(),
            Self::Seal(e) => e.code(),
            Self::Manifest(e) => e.code(),
            Self::Recipient(e) => e.code(),
            Self::Sim(e) => e.code(),
            Self::Anchor(e) => e.code(),
            Self::Policy(e) => e.code(),
            Self::PlatformPolicy(e) => e.code(),
            Self::Baseline(e) => e.code(),
            Self::ReleasePolicy(e) => e.code(),
            Self::Resource(e) => e.code(),
            Self::Store(e) => e.code(),
            Self::BrokerStart(e) => e.code(),
            Self::Parse(e) => e.code(),
            Self::EventLog(e) => e.code(),
            Self::Document(e) => e.code(),
            Self::Rejected(e) => e.code(),
            Self::Denied(e) => e.code(),
            Self::DeviceParse(e) => e.code(),
            Self::Endorse(e) => e.code(),
            Self::Bundle(e) => e.code(),
            Self::SystemBundle(e) => e.code(),
            Self::BundleRefused(e) => e.code(),
            Self::NoCacheFolder => "endorse.no-cache-folder",
            Self::TokenParse(e) => e.code(),
            Self::IssuerKeys { .. } => "cli.issuer-keys",
            Self::IssuerTwice { .. } => "cli.issuer-twice",
            Self::KeySet(e) => e.code(),
            Self::TokenRejected(e) => e.code(),
            Self::TokenDenied(e) => e.code(),
            Self::DeviceRejected(e) => e.code(),
            Self::DeviceDenied(e) => e.code(),
            Self::DeviceSet(e) => e.code(),
            Self::DeviceAnchor(e) => e.code(),
            Self::DeviceManifest { rejected, .. } => rejected.code(),
            Self::Statement(e) => e.reason.code(),
            Self::Devices(e) => e.reason.code(),
            Self::Operator(e) => e.reason.code(),
            Self::Vtpm(e) => e.reason.code(),
            Self::FileTooLarge { .. } => "cli.file-too-large",
            Self::Receipt(e) => e.code(),
            Self::ReceiptFolder(e) => e.code(),
            Self::Connect(e) => e.error.code(),
            Self::Fetch(e) => e.code(),
            Self::Send(e) => e.code(),
            Self::Config(e) => e.code(),
            Self::Boot(e) => e.code(),
            Self::Gpu(e) => e.code(),
            Self::Attester(e) => e.code(),
            Self::TokenSocket(e) => e.code(),
            Self::NotReady { .. } => "doctor.not-ready",
            Self::BrokerSilent => "doctor.broker-silent",
            Self::Undecided { .. } => "doctor.undecided",
        }
    }

    /// What the person can do about it, where we know.
    pub(crate) fn hint(&self) -> Option<String> {
        use casemate_client::ConnectError;
        use casemate_enclave::{
            BootError, HardeningError, RefreshError, ReleaseError, StapleError, WeightsError,
        };
        let hint = match self {
            Self::Write { source, .. } if source.kind() == io::ErrorKind::AlreadyExists => {
                "nothing is overwritten: choose another name or remove it first"
            }
            Self::ProductLine { .. } => "choose milan, genoa or turin",
            Self::ProxyAddress { .. } => {
                "listen on 127.0.0.1, or write with --danger-listen why others may read along"
            }
            Self::SimulatedPlatform { .. } => "choose sev-snp, tdx, nitro, azure-snp, azure-tdx or nvidia",
            Self::MissingFlag { flag } if ["--nonce", "--report-data"].contains(flag) => {
                "say what the evidence binds; see `casemate help verify` and `casemate help simulate report`"
            }
            Self::MissingFlag { .. } => "see `casemate help verify`",
            Self::UnknownKind { .. } => {
                "known are SEV-SNP reports (1184 bytes), attestation documents and sealed.json of a sealed model"
            }
            Self::ReleasePolicy(PolicyError::Unpinned { hint })
            | Self::Store(StoreError::Policy(PolicyError::Unpinned { hint })) => {
                return Some(hint.to_string());
            }
            Self::Recipient(_) | Self::Resource(_) => "a key address has the form kbs:///REPOSITORY/TYPE/TAG",
            Self::DeviceDenied(e) if e.code() == "nvidia.manifest.missing" => {
                "give the manifest with --rim FILE, or allow its absence in the policy with a reason"
            }
            Self::DeviceRejected(e) if e.code() == "ocsp.missing" => {
                "give an answer for every certificate with --ocsp FILE, or do without with --danger-no-crl REASON"
            }
            Self::Endorse(e) => match e.code() {
                "endorse.vlek-not-served" => {
                    "the machine has its VLEK's certificate from its host (extended report): give it with --vek FILE"
                }
                "endorse.line-unknown" => "name it with --line milan or --line genoa",
                "ocsp.nonce" => {
                    "a cache in front of NVIDIA's responder cannot repeat a nonce: ask it with --ocsp-without-nonce"
                }
                "endorse.busy" => "run it again later: what was had is in the cache folder",
                "endorse.cache.missing" | "endorse.cache.stale" | "endorse.cache.damaged" => {
                    "run it once without --offline where there is a network, and carry the cache folder"
                }
                _ => return None,
            },
            Self::SystemBundle(e) if e.code() == "bundle.part.several" => "name one of them with --part NAME",
            Self::BundleRefused(e) => match e.code() {
                "bundle.endorsements.missing" => {
                    "fetch them with `casemate endorse fetch`, and give them with --endorsements FILE"
                }
                "bundle.register-not-asked" => "give the policy terms for RTMR3: [tdx.event-log.register.3]",
                "bundle.aci.custody" => {
                    "write down why that is acceptable: --danger-custody-not-verified REASON"
                }
                _ => return None,
            },
            Self::Denied(_) | Self::DeviceDenied(_) => {
                "the evidence is genuine, but not what your policy asks for; the table shows which value"
            }
            Self::Rejected(e) => match e.code() {
                "snp.root.missing" | "x509.unknown-issuer" => SIMULATED_ROOT,
                _ => return None,
            },
            Self::Connect(failure) => match failure.error.as_ref() {
                ConnectError::Address { .. } => "give the address as https://HOST:PORT",
                ConnectError::Unreachable { .. } => {
                    "is the server up? `casemate serve` listens on 8443 by default"
                }
                ConnectError::Rejected(_) => SIMULATED_ROOT,
                ConnectError::Denied(_) => {
                    "nothing was sent; if a new release is expected, its measurement belongs into your policy"
                }
                ConnectError::Statement(_) => {
                    "nothing was sent; the machine is genuine, but not the one, the model or the connection that you asked for"
                }
                ConnectError::Sealed(_) => {
                    "nothing was sent; an older server has no sealed channel: `--channel tls` reaches it where nothing ends TLS in between"
                }
                ConnectError::Vtpm(e) => return vtpm_hint(e.reason.code()),
                ConnectError::Devices(e) => return devices_hint(e.reason.code()),
                ConnectError::Operator(_) => OPERATOR,
                ConnectError::Tls(_)
                | ConnectError::NoDocument { .. }
                | ConnectError::Document(_)
                | ConnectError::Unreadable(_)
                | ConnectError::Malformed(_) => return None,
            },
            Self::Vtpm(e) => return vtpm_hint(e.reason.code()),
            Self::Devices(e) => return devices_hint(e.reason.code()),
            Self::Operator(_) => OPERATOR,
            Self::NotReady { .. } | Self::BrokerSilent | Self::Undecided { .. } => {
                "each check that did not pass has its own, in the table or in `--json`"
            }
            Self::Config(e) if e.hint().is_some() => return e.hint().map(ToOwned::to_owned),
            Self::Config(_) => {
                "see `casemate help serve`; a configuration file with `--config` can hold every setting"
            }
            Self::Gpu(e) => return e.hint().map(ToOwned::to_owned),
            Self::Attester(e) => return e.hint().map(ToOwned::to_owned),
            Self::Boot(e) => match e {
                BootError::Memory(_) => {
                    "ask for less with --cache-tokens, --context or --parallel, or give this machine more memory"
                }
                BootError::Hardening(HardeningError::SwapOn { .. }) => {
                    "turn swap off (`swapoff -a`), or accept that keys may reach a disk with --danger-allow-swap"
                }
                BootError::Kms(e) => return e.hint().map(ToOwned::to_owned),
                BootError::Gpu(e) => return e.hint().map(ToOwned::to_owned),
                BootError::Vtpm(e) => return e.hint().map(ToOwned::to_owned),
                BootError::Upstream(e) => return e.hint().map(ToOwned::to_owned),
                BootError::Attester(e)
                | BootError::Endorsements(RefreshError::Attester(e))
                | BootError::Release(ReleaseError::Attester(e)) => {
                    return e.hint().map(ToOwned::to_owned);
                }
                BootError::Endorsements(RefreshError::Staple(StapleError::Missing { .. })) => {
                    "let the server fetch them with --fetch-endorsements, or give it a file of `casemate endorse fetch` with --endorsements"
                }
                BootError::Endorsements(RefreshError::Rejected(_)) => {
                    "every client would refuse this machine's evidence: are the endorsements of this machine, and of this day?"
                }
                BootError::Release(ReleaseError::Refused { .. }) => {
                    "the broker's audit log has the decision: `casemate broker audit`"
                }
                BootError::Release(ReleaseError::Unreachable { .. }) => {
                    "is the broker up? `casemate broker serve`"
                }
                BootError::Release(ReleaseError::Vsock { source, .. }) => {
                    return source.hint().map(ToOwned::to_owned);
                }
                BootError::Listen(e) => return e.hint().map(ToOwned::to_owned),
                BootError::Weights(WeightsError::Open(_)) => {
                    "the sealed files are not what the publisher sealed: fetch them again"
                }
                BootError::KeyMemory(_) => {
                    "raise the limit of locked memory (`ulimit -l`); one page of 4 KiB is needed"
                }
                _ => return None,
            },
            _ => return None,
        };
        Some(hint.to_owned())
    }
}

fn vtpm_hint(code: &str) -> Option<String> {
    let hint = match code {
        "vtpm.missing" => {
            "the policy demands a virtual TPM ([vtpm]); a server on Google Cloud shows its own with --gce-vtpm"
        }
        "vtpm.not-expected" => {
            "the policy accepts no virtual TPM beside the hardware: demand it with [vtpm], and say what it must be with [gce-vtpm]"
        }
        "vtpm.not-stated" => "nothing was sent; this virtual TPM is not the one that the machine speaks of",
        "gce.memory-encryption.unproven" => {
            "the hardware proves it beside the virtual TPM: write that into [gce-vtpm] memory-encryption-unproven"
        }
        _ => return None,
    };
    Some(hint.to_owned())
}

fn devices_hint(code: &str) -> Option<String> {
    let hint = match code {
        "devices.missing" => "the policy demands GPUs; a server shows them with --gpu-policy",
        "devices.not-expected" => {
            "the policy accepts no GPUs: say how many with [devices], and what each must be with [nvidia]"
        }
        "devices.mixed" => {
            "simulated GPUs are believed under --danger-simulated-gpu-root FILE, beside a simulated machine only"
        }
        "devices.not-stated" => {
            "nothing was sent; these GPUs answered, and are not those that the machine speaks of"
        }
        _ => return None,
    };
    Some(hint.to_owned())
}

const OPERATOR: &str = "nothing was sent; whoever runs this machine is not whom [operator] of your policy names: ask them for the fingerprint of their key";
const SIMULATED_ROOT: &str = "evidence of a simulated machine is genuine only under --danger-simulated-root FILE, and then says SIMULATED";
