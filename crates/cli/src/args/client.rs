//! What `casemate proxy` and `casemate policy init` are told.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::{AnchorArgs, GpuAnchorArgs, reason};

/// Local address for OpenAI and Anthropic libraries, in front of verified servers
#[derive(clap::Args)]
#[command(after_help = "\
Programs then use http://127.0.0.1:8337/v1 as they would use their provider's address:
  casemate proxy --policy client.toml https://server.example:8443 &
  OPENAI_BASE_URL=http://127.0.0.1:8337/v1 OPENAI_API_KEY=none python app.py")]
pub(crate) struct ProxyArgs {
    /// The servers, https://HOST:PORT each; one policy holds for all of them
    #[arg(required = true)]
    pub(crate) servers: Vec<String>,
    /// Policy file (TOML): which machines, which models
    #[arg(long, env = "CASEMATE_POLICY")]
    pub(crate) policy: PathBuf,
    /// Address to listen on, of this machine's loopback
    #[arg(long, default_value = "127.0.0.1:8337")]
    pub(crate) listen: SocketAddr,
    /// Listen on an address that others reach, in plain HTTP, because …
    #[arg(long, value_name = "REASON", value_parser = reason)]
    pub(crate) danger_listen: Option<String>,
    /// File with the key that the servers know this user by; it takes the place of whatever key programs send
    #[arg(long, value_name = "FILE")]
    pub(crate) api_key_file: Option<PathBuf>,
    /// How requests reach the attested machine
    #[arg(long, value_enum, default_value_t = ChannelArg::Sealed)]
    pub(crate) channel: ChannelArg,
    /// What the lengths and times of sealed answers tell the network: `off` everything, `default` little, `constant` least
    #[arg(long, value_enum, default_value_t = ShapeArg::Default)]
    pub(crate) shape: ShapeArg,
    /// Hand on no answer without a good receipt, and keep the receipts in this folder, for `casemate receipt verify`
    #[arg(long, value_name = "DIR")]
    pub(crate) receipts: Option<PathBuf>,
    /// The longest body of a request, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) max_body: u32,
    /// Stop when standard input closes, for a supervisor whose end must be ours
    #[arg(long)]
    pub(crate) stop_on_stdin_eof: bool,
    #[command(flatten)]
    pub(crate) anchors: AnchorArgs,
    #[command(flatten)]
    pub(crate) gpu_anchors: GpuAnchorArgs,
}

/// How requests reach the attested machine
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ChannelArg {
    /// Sealed to its key: load balancers may stand in between
    Sealed,
    /// Over TLS that ends in the machine itself
    Tls,
}

/// What lengths and times tell
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ShapeArg {
    /// Pieces are sent as they come
    Off,
    /// Streams in padded cells at fixed times
    Default,
    /// And of one size, to a length that is a power of two
    Constant,
}

/// A client's policy from what a server shows today: trust on first use (TOML)
#[derive(clap::Args)]
pub(crate) struct PolicyInitArgs {
    /// The server, https://HOST:PORT
    pub(crate) url: String,
    #[command(flatten)]
    pub(crate) anchors: AnchorArgs,
    #[command(flatten)]
    pub(crate) gpu_anchors: GpuAnchorArgs,
}

/// Check receipts of answers, offline
#[derive(clap::Args)]
pub(crate) struct ReceiptArgs {
    #[command(subcommand)]
    pub(crate) command: ReceiptCommand,
}

#[derive(clap::Subcommand)]
pub(crate) enum ReceiptCommand {
    /// Check that an attested machine gave these answers
    Verify(ReceiptVerifyArgs),
}

/// Check that an attested machine gave these answers
#[derive(clap::Args)]
pub(crate) struct ReceiptVerifyArgs {
    /// Receipts: files of `casemate proxy --receipts`, or what GET /v1/receipts/{id} answered
    #[arg(required = true)]
    pub(crate) receipts: Vec<PathBuf>,
    /// Policy file (TOML): which machines, which models
    #[arg(long, env = "CASEMATE_POLICY")]
    pub(crate) policy: PathBuf,
    /// The machine's attestation document, of the same boot [default: the one that the proxy kept beside the receipt]
    #[arg(long, value_name = "FILE")]
    pub(crate) document: Option<PathBuf>,
    /// The request's body, as it was sent
    #[arg(long, value_name = "FILE")]
    pub(crate) request: Option<PathBuf>,
    /// The answer's body, as it was received
    #[arg(long, value_name = "FILE")]
    pub(crate) response: Option<PathBuf>,
    /// The receipts are all of one machine's boot, each the next after the one before it
    #[arg(long)]
    pub(crate) chain: bool,
    /// Look at the machine as of this time, in seconds since 1970 [default: when the receipt says that it answered]
    #[arg(long, value_name = "SECONDS")]
    pub(crate) at: Option<u64>,
    /// Say why each rule is there
    #[arg(long)]
    pub(crate) explain: bool,
    /// Print as JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) anchors: AnchorArgs,
    #[command(flatten)]
    pub(crate) gpu_anchors: GpuAnchorArgs,
}
