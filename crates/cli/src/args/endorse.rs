//! `casemate endorse`, as typed.

use std::path::PathBuf;

use clap::Subcommand;

use super::AnchorArgs;

/// Fetch what the vendors say about evidence
#[derive(clap::Args)]
pub(crate) struct EndorseArgs {
    #[command(subcommand)]
    pub(crate) command: EndorseCommand,
}

#[derive(Subcommand)]
pub(crate) enum EndorseCommand {
    /// Ask the vendors' services, verify the evidence with their answers, and write a bundle for `verify --endorsements`
    Fetch(Box<EndorseFetchArgs>),
    /// Write evidence of this instance's virtual TPM on Google Cloud, for `endorse fetch` (as root)
    GceVtpm {
        /// Where it is written
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
    },
    /// Ask for a token for a verifier's nonce, for `verify` (inside a container of Google's Confidential Space)
    Token {
        /// Whom the token is for
        #[arg(long)]
        audience: String,
        /// The verifier's nonce, 10 to 74 bytes of text
        #[arg(long, value_name = "TEXT")]
        nonce: String,
        /// Have it signed by a key of Google's published key set, and not by one whose certificate the token brings
        #[arg(long)]
        oidc: bool,
        /// The launcher's socket
        #[arg(long, value_name = "PATH", default_value = casemate_enclave::confidential_space::LAUNCHER)]
        socket: PathBuf,
        /// Where it is written
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
    },
    /// Write the evidence of this machine's NVIDIA GPUs, for `endorse fetch` (inside the TEE)
    Gpus {
        /// Where the list (JSON) is written
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
    },
}

/// Ask the vendors' services, verify the evidence with their answers, and write a bundle for `verify --endorsements`
#[derive(clap::Args)]
pub(crate) struct EndorseFetchArgs {
    /// A raw SEV-SNP report, a TDX quote, a Nitro Enclaves document, Azure or GCE vTPM evidence, or NVIDIA devices' evidence
    pub(crate) evidence: PathBuf,
    /// Where the bundle is written
    #[arg(short, long, value_name = "BUNDLE")]
    pub(crate) output: PathBuf,
    /// Product line of a version 2 report, which does not name it: milan, genoa or turin
    #[arg(long)]
    pub(crate) line: Option<String>,
    /// VCEK or VLEK certificate that the machine gave (DER or PEM): AMD gives VLEKs to nobody but their provider
    #[arg(long, value_name = "FILE")]
    pub(crate) vek: Option<PathBuf>,
    /// Certificates above that of a GCE virtual TPM's attestation key, from its issuer up (PEM, or one in DER)
    #[arg(long, value_name = "FILE")]
    pub(crate) ak_chain: Option<PathBuf>,
    /// Do not ask about certificates that name no revocation list and live longer than a day, because …
    #[arg(long, value_name = "REASON")]
    pub(crate) danger_unlisted: Option<String>,
    /// A mirror of the hosts that have AWS's and Google's revocation lists: /HOST/PATH below it is asked for
    #[arg(long, value_name = "URL")]
    pub(crate) crl_mirror: Option<String>,
    /// Reach the services through this HTTP proxy, http://HOST:PORT
    #[arg(long, value_name = "URL")]
    pub(crate) proxy: Option<String>,
    /// AMD's Key Distribution Service, or a mirror [default: https://kdsintf.amd.com]
    #[arg(long, value_name = "URL")]
    pub(crate) kds: Option<String>,
    /// A provisioning certificate caching service instead of Intel's own
    #[arg(long, value_name = "URL")]
    pub(crate) pccs: Option<String>,
    /// Azure's metadata service instead of AMD's, inside a virtual machine of Azure
    #[arg(long, value_name = "URL", num_args = 0..=1, default_missing_value = "http://169.254.169.254")]
    pub(crate) thim: Option<String>,
    /// Certificate chain of an NVIDIA device's raw report (PEM); a list in JSON has it
    #[arg(long, value_name = "FILE")]
    pub(crate) chain: Option<PathBuf>,
    /// NVIDIA's manifests, or a cache of them [default: https://rim.attestation.nvidia.com]
    #[arg(long, value_name = "URL")]
    pub(crate) rim_service: Option<String>,
    /// NVIDIA's OCSP responder, or a cache of it [default: https://ocsp.ndis.nvidia.com]
    #[arg(long, value_name = "URL")]
    pub(crate) ocsp_service: Option<String>,
    /// Ask the responder without a nonce: a cache of it cannot repeat one
    #[arg(long)]
    pub(crate) ocsp_without_nonce: bool,
    /// Believe only these certificate authorities (PEM) for the services' TLS
    #[arg(long, value_name = "FILE")]
    pub(crate) tls_authority: Option<PathBuf>,
    /// Folder of answers, which can be carried elsewhere [default: casemate/endorsements in the user's cache folder]
    #[arg(long, value_name = "DIR")]
    pub(crate) cache: Option<PathBuf>,
    /// Ask nobody: use the cache folder alone
    #[arg(long)]
    pub(crate) offline: bool,
    /// The time of the check, seconds since 1970 [default: now]
    #[arg(long)]
    pub(crate) at: Option<u64>,
    /// Print what was fetched as JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) anchors: AnchorArgs,
}
