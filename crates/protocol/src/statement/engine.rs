//! Which engine answers (spec/channel.md, CH-22; spec/upstream.md, UP-01): the one inside the software, or another program that it started.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Stated, StatementError};

/// The domain separator of an upstream's digest.
pub const UPSTREAM_DOMAIN: &[u8] = b"casemate/upstream/v1";

/// What answers prompts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum EngineStatement {
    /// The engine that is part of the software, confined in a process of its own (spec/confinement.md).
    Embedded,
    /// A program beside it, which sees every prompt and is not confined (spec/upstream.md).
    Upstream(UpstreamStatement),
}

/// A program that answers in the place of the embedded engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpstreamStatement {
    /// How it is spoken to, such as `vllm`.
    pub kind: String,
    /// Its command line as the operator wrote it: places for the model and the address are not filled in.
    pub command: Vec<String>,
    /// What the operator wrote into its environment, `NAME=VALUE`.
    pub environment: Vec<String>,
    /// SHA-256 of the file that is executed.
    pub program_sha256: Stated,
    /// What keeps one tenant's texts out of another's timing.
    pub separation: Separation,
}

/// What keeps the prefix cache of one tenant from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Separation {
    /// Every request carries a salt of its tenant, which the engine mixes into the keys of its cache.
    Salt,
    /// Every request forbids the engine to use what it kept.
    NoReuse,
    /// Nothing: the operator wrote down why.
    None,
}

/// Which engines a relying party accepts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EngineRule {
    /// Only the one that is part of the software, which the launch measurement covers with it.
    Embedded,
    /// Also upstreams with one of these digests ([`UpstreamStatement::digest`]).
    OneOf(Vec<[u8; 32]>),
    /// Any: somebody wrote down why.
    Any {
        /// The written reason.
        reason: String,
    },
}

impl UpstreamStatement {
    /// By which a policy names it: SHA-256 of the domain, a zero byte and the canonical form.
    ///
    /// # Errors
    /// Where it has no canonical form.
    pub fn digest(&self) -> Result<[u8; 32], StatementError> {
        let text = serde_json_canonicalizer::to_string(self).map_err(|_| StatementError::NotCanonical)?;
        let mut hash = Sha256::new();
        hash.update(UPSTREAM_DOMAIN);
        hash.update([0]);
        hash.update(text.as_bytes());
        Ok(hash.finalize().into())
    }
}

/// What CH-22 found.
pub(super) enum Accepted {
    Pass(String),
    Waived(String),
}

/// CH-22.
pub(super) fn accept(stated: &EngineStatement, rule: &EngineRule) -> Result<Accepted, StatementError> {
    let EngineStatement::Upstream(upstream) = stated else {
        return Ok(Accepted::Pass("embedded".into()));
    };
    let digest = upstream.digest()?;
    let shown = format!("upstream {}", hex::encode(digest));
    match rule {
        EngineRule::OneOf(named) if named.contains(&digest) => Ok(Accepted::Pass(shown)),
        EngineRule::Any { reason } => Ok(Accepted::Waived(format!("{shown}: {reason}"))),
        EngineRule::OneOf(_) | EngineRule::Embedded => {
            Err(StatementError::Engine { digest: hex::encode(digest) })
        }
    }
}
