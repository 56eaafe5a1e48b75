//! The command line, as typed. Meaning is given in `commands`.

#![allow(rustdoc::bare_urls, reason = "help texts are read in terminals")]

mod client;
mod endorse;
mod kms;
mod operator;
mod serve;
mod upstream;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, Subcommand};

pub(crate) use client::{
    ChannelArg, PolicyInitArgs, ProxyArgs, ReceiptArgs, ReceiptCommand, ReceiptVerifyArgs, ShapeArg,
};
pub(crate) use endorse::{EndorseArgs, EndorseCommand, EndorseFetchArgs};
pub(crate) use kms::KmsInputArgs;
pub(crate) use serve::ServeArgs;

const AFTER_HELP: &str = "\
Exit codes:
  0  done; for `verify` and `ask`: every required check passed; for `doctor`: ready to serve
  1  our fault or the local system's
  2  wrong arguments or configuration
  3  not genuine: signature, chain, revocation, a changed byte
  4  genuine but refused by a policy
  5  cannot decide: malformed, expired or missing evidence
  6  the peer cannot be reached

A whole example, on one machine with simulated hardware:
  casemate simulate init vendor
  export CASEMATE_DANGER_SIMULATED_ROOT=vendor/roots.pem
  casemate keygen publisher
  casemate seal model.gguf -o sealed --publisher-key publisher.key \\
      --key-uri kbs:///models/m/1 --key-out model.key                    # prints DIGEST
  casemate policy release --measurement $(casemate measure) > release-policy.json
  casemate policy client --measurement $(casemate measure) --manifest DIGEST > client.toml
  casemate broker init store
  casemate broker put --store store --key model.key --uri kbs:///models/m/1 \\
      --policy release-policy.json
  casemate broker serve --store store &
  casemate serve --model sealed --publisher-key publisher.pub --broker http://127.0.0.1:8080 \\
      --danger-simulate vendor &
  casemate ask --wait 60 https://127.0.0.1:8443 --policy client.toml \"What is 2+2?\"";

/// Confidential LLM inference that anyone can verify.
#[derive(Parser)]
#[command(name = "casemate", version, after_help = AFTER_HELP)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Write logs as JSON, one object a line
    #[arg(long, global = true)]
    pub(crate) log_json: bool,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Make a publisher's signing key
    Keygen(KeygenArgs),
    /// Encrypt a model and sign its manifest
    Seal(SealArgs),
    /// Hold model keys and release them to attested machines
    Broker(BrokerArgs),
    /// Have AWS KMS hold a model's key, in a broker's place
    Kms(KmsInputArgs),
    /// Attest, obtain the model key, serve the API (inside the TEE)
    Serve(Box<ServeArgs>),
    /// Say who may ask a server
    Keys(KeysArgs),
    /// Verify a server, then ask it
    Ask(AskArgs),
    /// Local address for OpenAI and Anthropic libraries, in front of verified servers
    Proxy(ProxyArgs),
    /// Check evidence, or a running server, against a policy
    Verify(Box<VerifyArgs>),
    /// Check receipts of answers, offline
    Receipt(ReceiptArgs),
    /// Show what a file says; proves nothing
    Inspect(InspectArgs),
    /// Fetch what the vendors say about evidence, for sites without a network
    Endorse(EndorseArgs),
    /// Print a policy to start from
    Policy(PolicyArgs),
    /// Print the launch measurement of a program on the simulated machine
    Measure(MeasureArgs),
    /// Make a simulated silicon vendor, for tests and demonstrations
    Simulate(SimulateArgs),
    /// Say what this machine is, and whether `serve` could start on it
    Doctor(DoctorArgs),
    /// Run the whole product on this machine with simulated hardware
    Demo(DemoArgs),
}

/// Make a publisher's signing key: NAME.key (keep it) and NAME.pub (publish it)
#[derive(clap::Args)]
pub(crate) struct KeygenArgs {
    /// Path without extension
    pub(crate) name: PathBuf,
}

/// Encrypt a model and sign its manifest
#[derive(clap::Args)]
pub(crate) struct SealArgs {
    /// A GGUF file, or a directory of model files
    pub(crate) model: PathBuf,
    /// Directory to create for the sealed model
    #[arg(short, long)]
    pub(crate) out: PathBuf,
    /// The publisher's signing key, from `casemate keygen`
    #[arg(long)]
    pub(crate) publisher_key: PathBuf,
    /// Where the broker will hold the key: kbs:///REPOSITORY/TYPE/TAG
    #[arg(long)]
    pub(crate) key_uri: String,
    /// File to create with the model key, for `casemate broker put`
    #[arg(long)]
    pub(crate) key_out: PathBuf,
    /// The model's name [default: the file's name without its extension]
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// UUID that names the model through its versions [default: random]
    #[arg(long)]
    pub(crate) uuid: Option<String>,
    /// The model's version; a broker can refuse those below a floor
    #[arg(long, default_value_t = 1)]
    pub(crate) model_version: u64,
    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Hold model keys and release them to attested machines
#[derive(clap::Args)]
pub(crate) struct BrokerArgs {
    #[command(subcommand)]
    pub(crate) command: BrokerCommand,
}

#[derive(Subcommand)]
pub(crate) enum BrokerCommand {
    /// Create a store
    Init {
        /// Directory to create
        store: PathBuf,
        #[command(flatten)]
        anchors: AnchorArgs,
    },
    /// Put a model key and its release policy into the store
    Put {
        /// The store's directory
        #[arg(long)]
        store: PathBuf,
        /// The key file that `casemate seal` wrote
        #[arg(long)]
        key: PathBuf,
        /// Where: kbs:///REPOSITORY/TYPE/TAG
        #[arg(long)]
        uri: String,
        /// Release policy (JSON, spec/release.md)
        #[arg(long)]
        policy: PathBuf,
        /// Replace a key that is there
        #[arg(long)]
        replace: bool,
        #[command(flatten)]
        anchors: AnchorArgs,
    },
    /// List the keys (never their values)
    List {
        /// The store's directory
        #[arg(long)]
        store: PathBuf,
        /// Print as JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        anchors: AnchorArgs,
    },
    /// Remove a key
    Remove {
        /// The store's directory
        #[arg(long)]
        store: PathBuf,
        /// Which: kbs:///REPOSITORY/TYPE/TAG
        #[arg(long)]
        uri: String,
        #[command(flatten)]
        anchors: AnchorArgs,
    },
    /// Refuse model versions below a floor from now on
    SetFloor {
        /// The store's directory
        #[arg(long)]
        store: PathBuf,
        /// The model's UUID
        #[arg(long)]
        uuid: String,
        /// The lowest version that may still be released
        #[arg(long)]
        floor: u64,
        #[command(flatten)]
        anchors: AnchorArgs,
    },
    /// Check the audit log's hash chain and print it
    Audit {
        /// The store's directory
        #[arg(long)]
        store: PathBuf,
        /// Print as JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        anchors: AnchorArgs,
    },
    /// Serve the Key Broker protocol
    Serve {
        /// The store's directory
        #[arg(long)]
        store: PathBuf,
        /// Address to listen on
        #[arg(long, default_value = "127.0.0.1:8080")]
        listen: SocketAddr,
        /// Platform policy (TOML, spec/release.md section 2.4) that evidence must meet before any key's own policy is asked
        #[arg(long)]
        platform_policy: Option<PathBuf>,
        /// Why certificates of a Google virtual TPM's key that name no revocation list are accepted, as Google's newer ones
        #[arg(long, value_name = "REASON", value_parser = reason, conflicts_with = "platform_policy")]
        danger_vtpm_unlisted: Option<String>,
        /// Issuer name in attestation results and release policies
        #[arg(long, default_value = casemate_broker::DEFAULT_ISSUER)]
        issuer: String,
        /// TLS certificate chain (PEM); without it plain HTTP, which the protocol's own encryption permits
        #[arg(long, requires = "tls_key")]
        tls_cert: Option<PathBuf>,
        /// TLS key (PEM)
        #[arg(long, requires = "tls_cert")]
        tls_key: Option<PathBuf>,
        /// Stop when standard input closes, for a supervisor whose end must be ours
        #[arg(long)]
        stop_on_stdin_eof: bool,
        #[command(flatten)]
        anchors: AnchorArgs,
        #[command(flatten)]
        gpu_anchors: GpuAnchorArgs,
    },
}

/// Which silicon vendors are believed.
#[derive(clap::Args, Clone, Default)]
pub(crate) struct AnchorArgs {
    /// Believe the simulated vendor whose root certificates are in this file, and nobody else. Every output says
    /// SIMULATED
    #[arg(long, value_name = "FILE", env = "CASEMATE_DANGER_SIMULATED_ROOT")]
    pub(crate) danger_simulated_root: Option<PathBuf>,
}

/// Whom to believe about a machine's GPUs: NVIDIA, unless a person names a simulated vendor.
#[derive(clap::Args, Clone, Default)]
pub(crate) struct GpuAnchorArgs {
    /// Believe the simulated vendor of GPUs whose root certificates are in this file, and not NVIDIA. Every output says
    /// SIMULATED
    #[arg(long, value_name = "FILE")]
    pub(crate) danger_simulated_gpu_root: Option<PathBuf>,
}

/// Say who may ask a server: tenants with their keys and limits, in a file for `serve --api-keys`
#[derive(clap::Args)]
pub(crate) struct KeysArgs {
    #[command(subcommand)]
    pub(crate) command: KeysCommand,
}

#[derive(Subcommand)]
pub(crate) enum KeysCommand {
    /// Make a key for a tenant and print it; only its SHA-256 is kept
    New {
        /// The file of keys; made where there is none
        file: PathBuf,
        /// The tenant's name: letters, digits, dots, hyphens and underscores
        #[arg(long)]
        tenant: String,
        /// Requests at the same time, of all the tenant's keys [default: any number]
        #[arg(long)]
        concurrent: Option<u32>,
        /// Requests in a minute [default: any number]
        #[arg(long)]
        requests_per_minute: Option<u32>,
        /// Tokens in a minute, of prompts and answers [default: any number]
        #[arg(long)]
        tokens_per_minute: Option<u32>,
        /// Days for which the key is good [default: for ever]
        #[arg(long)]
        days: Option<u32>,
    },
    /// List tenants, limits and the names of their keys
    List {
        /// The file of keys
        file: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Take a key away
    Revoke {
        /// The file of keys
        file: PathBuf,
        /// The key's name, as `keys list` prints it
        id: String,
    },
}

/// Verify a server, then ask it
#[derive(clap::Args)]
pub(crate) struct AskArgs {
    /// The server, https://HOST:PORT
    pub(crate) url: String,
    /// The question [default: read from standard input]
    pub(crate) prompt: Option<String>,
    /// Policy file (TOML): which machines, which models
    #[arg(long, env = "CASEMATE_POLICY")]
    pub(crate) policy: PathBuf,
    /// The longest answer, in tokens
    #[arg(long, default_value_t = 256)]
    pub(crate) max_new_tokens: u32,
    /// Seconds to wait for a server that is not up yet
    #[arg(long, default_value_t = 0, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(..=86_400))]
    pub(crate) wait: u64,
    /// Print one JSON object only
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) anchors: AnchorArgs,
    #[command(flatten)]
    pub(crate) gpu_anchors: GpuAnchorArgs,
}

/// Check evidence, or a running server, against a policy
#[derive(clap::Args)]
pub(crate) struct VerifyArgs {
    /// An evidence file (a raw SEV-SNP report, a TDX quote, a Nitro Enclaves document, Azure or GCE vTPM evidence, NVIDIA
    /// devices' evidence, a token of another verifier or an attestation document), or the https address of a server
    pub(crate) evidence: String,
    /// Policy file (TOML). For a server also which models
    #[arg(long, env = "CASEMATE_POLICY")]
    pub(crate) policy: PathBuf,
    /// What `endorse fetch` wrote, instead of --vek, --crl, --collateral, --rim and --ocsp
    #[arg(long, value_name = "BUNDLE", conflicts_with_all = ["vek", "crl", "collateral", "rim", "ocsp", "danger_no_crl"])]
    pub(crate) endorsements: Option<PathBuf>,
    /// VCEK or VLEK certificate of a raw report (DER, or PEM whose first certificate is taken)
    #[arg(long)]
    pub(crate) vek: Option<PathBuf>,
    /// Intel's collateral for a TDX quote (one JSON object, spec/attest.md §12.2)
    #[arg(long)]
    pub(crate) collateral: Option<PathBuf>,
    /// Certificate of an Azure virtual TPM's attestation key (NV index 0x01C101D0)
    #[arg(long, value_name = "FILE", requires = "ak_chain")]
    pub(crate) ak: Option<PathBuf>,
    /// Certificates above that of a virtual TPM's attestation key, from its issuer up (PEM, or one in DER). GCE vTPM
    /// evidence brings the key's own
    #[arg(long, value_name = "FILE")]
    pub(crate) ak_chain: Option<PathBuf>,
    /// Event log of the machine (a CCEL, a TPM's, or dstack's JSON; spec/event-logs.md), for a policy that asks for one
    #[arg(long, value_name = "FILE")]
    pub(crate) event_log: Option<PathBuf>,
    /// Certificate revocation list (DER); again for each authority, for a Nitro Enclaves document and GCE vTPM evidence
    #[arg(long)]
    pub(crate) crl: Vec<PathBuf>,
    /// Do not check revocation, because … (listed as waived)
    #[arg(long, value_name = "REASON", conflicts_with = "crl")]
    pub(crate) danger_no_crl: Option<String>,
    /// Do not check certificates that name no revocation list and live longer than a day, because … (listed as waived), as
    /// the newer ones of GCE's attestation keys. All others are checked
    #[arg(long, value_name = "REASON", conflicts_with = "danger_no_crl")]
    pub(crate) danger_unlisted: Option<String>,
    /// The 64 bytes (hex) that the evidence must bind
    #[arg(long)]
    pub(crate) report_data: Option<String>,
    /// The bytes (hex) that must be bound where they are not 64: by the quote of a TPM, by a token, in full length; or the 32
    /// that every NVIDIA device must answer
    #[arg(long, value_name = "HEX", conflicts_with_all = ["report_data", "danger_unbound"])]
    pub(crate) nonce: Option<String>,
    /// Do not compare the report data, because … (listed as waived)
    #[arg(long, value_name = "REASON", conflicts_with = "report_data")]
    pub(crate) danger_unbound: Option<String>,
    /// The time of the check, seconds since 1970 [default: now]
    #[arg(long)]
    pub(crate) at: Option<u64>,
    /// Print the report as JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Print below each check why its rule is there
    #[arg(long, conflicts_with = "json")]
    pub(crate) explain: bool,
    #[command(flatten)]
    pub(crate) anchors: AnchorArgs,
    #[command(flatten)]
    pub(crate) gpu_anchors: GpuAnchorArgs,
    #[command(flatten)]
    pub(crate) devices: DeviceArgs,
    #[command(flatten)]
    pub(crate) tokens: TokenArgs,
    #[command(flatten)]
    pub(crate) bundles: BundleArgs,
}

/// For what other systems hand out (spec/bundles.md).
#[derive(clap::Args)]
#[command(next_help_heading = "Bundles of other systems")]
pub(crate) struct BundleArgs {
    /// Which report of several: gateway, model-1, …, instance-1, …
    #[arg(long, value_name = "NAME")]
    pub(crate) part: Option<String>,
    /// Do not look at the bundle's devices, because … (listed as waived)
    #[arg(long, value_name = "REASON")]
    pub(crate) danger_devices_not_verified: Option<String>,
    /// Accept that nobody knows who else has the private keys of an ACI service, because … (listed as waived)
    #[arg(long, value_name = "REASON")]
    pub(crate) danger_custody_not_verified: Option<String>,
}

/// For attestation results of other verifiers.
#[derive(clap::Args)]
#[command(next_help_heading = "Tokens of other verifiers")]
pub(crate) struct TokenArgs {
    /// Believe this issuer (as in the token's iss) by the keys in this JSON Web Key Set; again for each
    #[arg(long, value_name = "ISSUER=FILE")]
    pub(crate) jwks: Vec<String>,
    /// Keys of NVIDIA's attestation service (JSON Web Key Set), believed where NVIDIA certified them
    #[arg(long, value_name = "FILE", conflicts_with = "danger_simulated_root")]
    pub(crate) nras_keys: Option<PathBuf>,
    /// The text that the token's nonce must be
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["nonce", "danger_unbound"])]
    pub(crate) nonce_text: Option<String>,
}

/// For evidence of NVIDIA GPUs and switches.
#[derive(clap::Args)]
#[command(next_help_heading = "NVIDIA devices")]
pub(crate) struct DeviceArgs {
    /// Certificate chain of a device's raw report (PEM); a list in JSON has it
    #[arg(long, value_name = "FILE")]
    pub(crate) chain: Option<PathBuf>,
    /// Reference manifest of a driver or VBIOS (XML); again for each
    #[arg(long, value_name = "FILE")]
    pub(crate) rim: Vec<PathBuf>,
    /// Answer about revocation (OCSP response, DER); again for each certificate
    #[arg(long, value_name = "FILE", conflicts_with = "danger_no_crl")]
    pub(crate) ocsp: Vec<PathBuf>,
    /// How many devices there must be [default: 1]
    #[arg(long, value_name = "N")]
    pub(crate) devices: Option<usize>,
}

/// Show what a file says; proves nothing
#[derive(clap::Args)]
pub(crate) struct InspectArgs {
    /// Evidence, an event log, an attestation document or a sealed model's sealed.json
    pub(crate) file: PathBuf,
    /// Certificate chain of an NVIDIA device's raw report (PEM)
    #[arg(long, value_name = "FILE")]
    pub(crate) chain: Option<PathBuf>,
    /// Print as JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Which report of several in a bundle of another system
    #[arg(long, value_name = "NAME")]
    pub(crate) part: Option<String>,
}

/// Print a policy to start from
#[derive(clap::Args)]
pub(crate) struct PolicyArgs {
    #[command(subcommand)]
    pub(crate) command: PolicyCommand,
}

#[derive(Subcommand)]
pub(crate) enum PolicyCommand {
    /// A release policy for the broker: this measurement, or these claims, and nothing else (JSON)
    Release {
        /// The launch measurement of an SEV-SNP guest, 48 bytes hex
        #[arg(long, required_unless_present = "equals")]
        measurement: Option<String>,
        /// A claim of spec/release.md section 3 and the value that it must have, CLAIM=VALUE; can be repeated
        #[arg(long, value_name = "CLAIM=VALUE", value_parser = claim_and_value)]
        equals: Vec<(String, String)>,
        /// How many GPUs and switches the machine must show, each genuine and as NVIDIA's manifests say
        #[arg(long, value_name = "N")]
        devices: Option<u64>,
        /// The broker's issuer name
        #[arg(long, default_value = casemate_broker::DEFAULT_ISSUER)]
        issuer: String,
    },
    /// A client's policy from what a server shows today: trust on first use (TOML)
    Init(PolicyInitArgs),
    /// What is different in another client's policy, a line each: - for what is gone, + for what is new
    Diff {
        /// A policy file
        old: PathBuf,
        /// Another
        new: PathBuf,
    },
    /// A client's policy: this measurement, this model, current firmware (TOML)
    Client {
        /// The launch measurement, 48 bytes hex
        #[arg(long)]
        measurement: String,
        /// The manifest digest that `casemate seal` printed, 32 bytes hex
        #[arg(long)]
        manifest: String,
    },
}

/// Print the launch measurement of a program on the simulated machine
#[derive(clap::Args)]
pub(crate) struct MeasureArgs {
    /// The program [default: this very binary]
    pub(crate) program: Option<PathBuf>,
    /// Print as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Make a simulated silicon vendor, for tests and demonstrations
#[derive(clap::Args)]
pub(crate) struct SimulateArgs {
    #[command(subcommand)]
    pub(crate) command: SimulateCommand,
}

#[derive(Subcommand)]
pub(crate) enum SimulateCommand {
    /// Create a vendor: roots.pem for verifiers, and the keys that sign
    Init {
        /// Directory to create
        dir: PathBuf,
        /// What it makes: sev-snp, tdx, nitro, azure-snp, azure-tdx or nvidia
        #[arg(long, default_value = "sev-snp")]
        platform: String,
        /// Product line of AMD's: milan, genoa or turin [default: genoa]
        #[arg(long)]
        line: Option<String>,
    },
    /// Write evidence of one simulated machine, what endorses it, and a policy that it meets
    Report(SimulateReportArgs),
}

/// Write evidence of one simulated machine, what endorses it, and a policy that it meets
#[derive(clap::Args)]
#[command(after_help = "\
Files, by the vendor's platform; beside each a policy.toml that the machine meets:
  sev-snp    report.bin, vek.der, crl.der, endorsements.json
  tdx        quote.bin, collateral.json, endorsements.json, ccel.bin (what booted)
  nitro      document.cbor
  azure-snp  evidence.json, vek.der, crl.der, endorsements.json, ak.der, ak-chain.pem, eventlog.bin
  azure-tdx  evidence.json, collateral.json, endorsements.json, ak.der, ak-chain.pem, eventlog.bin
  nvidia     gpus.json, driver.xml, vbios.xml, endorsements.json")]
pub(crate) struct SimulateReportArgs {
    /// The vendor's directory
    pub(crate) vendor: PathBuf,
    /// Directory to create
    #[arg(short, long)]
    pub(crate) out: PathBuf,
    /// The 64 bytes (hex) to bind
    #[arg(long, value_name = "HEX", required_unless_present = "nonce")]
    pub(crate) report_data: Option<String>,
    /// What Azure's virtual TPM binds instead (hex, at most 50 bytes), or what a GPU answers (hex, 32 bytes)
    #[arg(long, value_name = "HEX", conflicts_with = "report_data")]
    pub(crate) nonce: Option<String>,
    /// The launch measurement: SEV-SNP's, MRTD or PCR0 (48 bytes hex) [default: of this binary]
    #[arg(long)]
    pub(crate) measurement: Option<String>,
}

/// Say what this machine is, and whether `serve` could start on it. Nothing is changed, and nothing is sent that is not asked
/// for below
#[derive(clap::Args)]
pub(crate) struct DoctorArgs {
    /// Ask whether this broker answers, http(s)://HOST:PORT
    #[arg(long, value_name = "URL")]
    pub(crate) broker: Option<String>,
    /// Certificate authorities of the broker's TLS (PEM)
    #[arg(long, value_name = "FILE", requires = "broker")]
    pub(crate) broker_ca: Option<PathBuf>,
    /// Reach the broker through this vsock port, vsock:CID:PORT, as `serve` would
    #[arg(long, value_name = "VSOCK", requires = "broker")]
    pub(crate) broker_via: Option<String>,
    /// Ask whether the vendors' services answer; on a machine of Azure its metadata service too
    #[arg(long)]
    pub(crate) endorsement_services: bool,
    /// Print as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Run the whole product on this machine with simulated hardware
#[derive(clap::Args)]
pub(crate) struct DemoArgs {
    /// A GGUF model
    #[arg(long, env = "MODEL")]
    pub(crate) model: PathBuf,
    /// The question
    #[arg(long, default_value = "What is 2+2?")]
    pub(crate) prompt: String,
}

/// A decision is written down with words.
fn reason(text: &str) -> Result<String, String> {
    if text.trim().is_empty() { Err("write down the reason".into()) } else { Ok(text.into()) }
}

/// `CLAIM=VALUE`, both not empty. The value is a text; the texts `true` and `false` are read as booleans by the broker.
fn claim_and_value(text: &str) -> Result<(String, String), &'static str> {
    match text.split_once('=') {
        Some((claim, value)) if !claim.is_empty() && !value.is_empty() => Ok((claim.into(), value.into())),
        _ => Err("not of the form CLAIM=VALUE"),
    }
}
