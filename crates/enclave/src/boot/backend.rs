//! What answers prompts, through the steps of the boot: the embedded engine in its confined process, or an upstream (spec/upstream.md).

use std::sync::Arc;

use casemate_engine::{Engine, EngineOptions, MemoryNeed};
use casemate_protocol::statement::EngineStatement;
use casemate_seal::{Manifest, ModelKey};

use super::{BootError, SIGNALS_IN_LANDLOCK};
use crate::attestation::AttestationError;
use crate::budget;
use crate::config::ServeConfig;
use crate::confined::{EngineProcess, Patience, Program, Restart, SupervisedEngine};
use crate::upstream::{Executable, LAUNCHER, Pace, Upstream, UpstreamConfig, UpstreamEngine};
use crate::weights::{MemoryFile, SealedFile, SealedFiles};

/// Step 2: every input of it is open.
pub(super) enum Backend {
    Embedded { gguf: SealedFile },
    Upstream { files: Vec<SealedFile>, config: UpstreamConfig, executable: Executable },
}

/// Step 3: there is still neither key nor weight.
pub(super) enum Waiting {
    Embedded { gguf: SealedFile, process: EngineProcess },
    Upstream { files: Vec<SealedFile>, config: UpstreamConfig, executable: Executable },
}

/// Step 5: the weights are in memory.
pub(super) enum Unsealed {
    Embedded { process: EngineProcess, memory: MemoryFile },
    Upstream { files: Vec<(String, MemoryFile)>, config: UpstreamConfig, executable: Executable },
}

impl Backend {
    /// Opens what it needs of the model.
    pub(super) fn open(
        config: &ServeConfig,
        sealed: &SealedFiles,
        manifest: &Manifest,
    ) -> Result<Self, BootError> {
        Ok(match &config.upstream {
            None => Self::Embedded { gguf: sealed.gguf(manifest)? },
            Some(upstream) => Self::Upstream {
                files: sealed.all(manifest)?,
                executable: Executable::open(upstream.command.program())?,
                config: upstream.clone(),
            },
        })
    }

    /// Bytes of weights.
    pub(super) fn bytes(&self) -> u64 {
        match self {
            Self::Embedded { gguf } => gguf.size(),
            Self::Upstream { files, .. } => files.iter().map(SealedFile::size).sum(),
        }
    }

    /// The engine's process gives up everything before there is a key or a weight anywhere on this machine (CONF-01). An upstream is
    /// not confined (UP-15), and is not there yet.
    pub(super) fn confine(self) -> Result<Waiting, BootError> {
        match self {
            Self::Embedded { gguf } => {
                let process = EngineProcess::start(&Program::own(), Patience::default())?;
                let (pid, landlock_abi) = (process.pid(), process.confinement().landlock_abi());
                tracing::info!(pid, landlock_abi, "engine confined");
                if landlock_abi < SIGNALS_IN_LANDLOCK {
                    tracing::warn!(
                        landlock_abi,
                        "this kernel's Landlock covers less than all: seccomp alone refuses the rest"
                    );
                }
                Ok(Waiting::Embedded { gguf, process })
            }
            Self::Upstream { files, config, executable } => {
                let program = hex::encode(executable.sha256());
                tracing::warn!(
                    kind = config.kind.name(),
                    program,
                    "an upstream will answer: it sees every prompt, and is not confined as the embedded engine is"
                );
                Ok(Waiting::Upstream { files, config, executable })
            }
        }
    }
}

impl Waiting {
    /// The digest of the program that will answer, where it is not the embedded engine: the key's owner decides whether it may (UP-02; REL-21).
    pub(super) fn upstream(&self) -> Result<Option<[u8; 32]>, BootError> {
        match self {
            Self::Embedded { .. } => Ok(None),
            Self::Upstream { config, executable, .. } => {
                let digest = config.statement(executable).digest();
                Ok(Some(digest.map_err(AttestationError::from)?))
            }
        }
    }

    /// Decrypts into memory, on so many threads.
    pub(super) fn unseal(
        self,
        key: &ModelKey,
        manifest: &Manifest,
        threads: usize,
    ) -> Result<Unsealed, BootError> {
        Ok(match self {
            Self::Embedded { gguf, process } => {
                Unsealed::Embedded { process, memory: gguf.unseal(key, manifest, threads, &|_| {})? }
            }
            Self::Upstream { files, config, executable } => {
                let open = |file: SealedFile| {
                    Ok::<_, BootError>((
                        file.name().to_owned(),
                        file.unseal(key, manifest, threads, &|_| {})?,
                    ))
                };
                let files = files.into_iter().map(open).collect::<Result<_, _>>()?;
                Unsealed::Upstream { files, config, executable }
            }
        })
    }
}

impl Unsealed {
    /// Step 6: the engine, and what is said of it.
    pub(super) fn run(
        self,
        config: &ServeConfig,
        manifest: &Manifest,
    ) -> Result<(Arc<dyn Engine>, EngineStatement), BootError> {
        match self {
            Self::Embedded { process, memory } => {
                Ok((embedded(process, memory, config)?, EngineStatement::Embedded))
            }
            Self::Upstream { files, config: upstream, executable } => {
                let statement = upstream.statement(&executable);
                let read = |(name, memory): &(String, MemoryFile)| Ok((name.clone(), memory.read_only()?));
                let files = files.iter().map(read).collect::<Result<_, BootError>>()?;
                let engine = UpstreamEngine::start(Upstream {
                    config: upstream,
                    executable,
                    launcher: Program { path: "/proc/self/exe".into(), arguments: vec![LAUNCHER.into()] },
                    files,
                    name: manifest.name().to_owned(),
                    parallel: config.parallel.get(),
                    pace: Pace::default(),
                })?;
                Ok((Arc::new(engine), EngineStatement::Upstream(statement)))
            }
        }
    }
}

fn embedded(
    process: EngineProcess,
    memory: MemoryFile,
    config: &ServeConfig,
) -> Result<Arc<dyn Engine>, BootError> {
    let options = EngineOptions {
        threads: config.threads,
        context_tokens: config.context,
        cache_tokens: config.cache_tokens,
        parallel: config.parallel,
        guess_tokens: config.guess_tokens,
    };
    // The weights are there already. The rest is counted before it is taken.
    let need = MemoryNeed::of(&memory.read_only()?, options)?;
    budget::check(need, need.weights)?;
    tracing::info!(
        weights = need.weights,
        cache = need.cache,
        buffers = need.buffers,
        "the model fits, in bytes"
    );
    let engine = process.load(memory.read_only()?, options)?;
    // The engine has its own mapping. The memory file is held for its successor, should it end.
    let restart = Restart {
        program: Program::own(),
        patience: Patience::default(),
        weights: memory.read_only()?,
        options,
    };
    Ok(Arc::new(SupervisedEngine::new(engine, restart)?))
}
