//! The flags of `serve` about a program that answers in the place of the embedded engine.

use casemate_enclave::upstream::UpstreamSettings;

/// For a program that answers in the place of the embedded engine (spec/upstream.md).
#[derive(clap::Args)]
#[command(next_help_heading = "Another engine")]
pub(crate) struct UpstreamArgs {
    /// Start this program and let it answer: COMMAND with {model} (the GGUF file) or {folder} (all files of the model, by links into
    /// memory), and {port} or {socket}, where it must listen. It sees every prompt and is not confined; clients refuse it unless their
    /// policy names it
    #[arg(long, value_name = "COMMAND", env = "CASEMATE_UPSTREAM_COMMAND")]
    upstream_command: Option<String>,
    /// How it is spoken to: llama-server, vllm, sglang or openai
    #[arg(long, value_name = "KIND", env = "CASEMATE_UPSTREAM_KIND")]
    upstream_kind: Option<String>,
    /// A variable of its environment, which has nothing of this one; again for each
    #[arg(long, value_name = "NAME=VALUE")]
    upstream_env: Vec<String>,
    /// Ask it this before anybody else may ask [default: a question whose answer must be language]
    #[arg(long, value_name = "QUESTION", env = "CASEMATE_UPSTREAM_ASK")]
    upstream_ask: Option<String>,
    /// How its greedy answer to that must begin
    #[arg(long, value_name = "TEXT", env = "CASEMATE_UPSTREAM_EXPECT")]
    upstream_expect: Option<String>,
    /// Show what it writes, which may hold prompts, on standard error, because …
    #[arg(long, value_name = "REASON", env = "CASEMATE_DANGER_UPSTREAM_OUTPUT")]
    danger_upstream_output: Option<String>,
    /// Let clients learn by its cache how others' prompts begin, because …
    #[arg(long, value_name = "REASON", env = "CASEMATE_DANGER_UPSTREAM_SHARED_CACHE")]
    danger_upstream_shared_cache: Option<String>,
}

impl UpstreamArgs {
    pub(super) fn settings(self) -> UpstreamSettings {
        UpstreamSettings {
            command: self.upstream_command,
            kind: self.upstream_kind,
            env: (!self.upstream_env.is_empty()).then_some(self.upstream_env),
            ask: self.upstream_ask,
            expect: self.upstream_expect,
            danger_output: self.danger_upstream_output,
            danger_shared_cache: self.danger_upstream_shared_cache,
        }
    }
}
