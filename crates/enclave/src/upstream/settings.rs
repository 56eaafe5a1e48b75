//! What the operator writes about an upstream, and what is meant.

use serde::Deserialize;

use casemate_protocol::statement::{Separation, Stated, UpstreamStatement};

use super::command::{CommandLine, Kind};
use super::launch::Executable;
use super::probe::Question;
use crate::config::ConfigError;

/// The table `[upstream]` of the configuration file, or the flags `--upstream-…`. Without a command there is no upstream: an address that
/// somebody else answers at is none (UP-04).
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct UpstreamSettings {
    /// The command line.
    pub command: Option<String>,
    /// How it is spoken to.
    pub kind: Option<String>,
    /// Its environment, `NAME=VALUE`.
    pub env: Option<Vec<String>>,
    /// A question that it must answer before anybody else may ask.
    pub ask: Option<String>,
    /// How its answer must begin.
    pub expect: Option<String>,
    /// Why what it writes goes to this server's standard error.
    pub danger_output: Option<String>,
    /// Why tenants may learn of each other by its cache.
    pub danger_shared_cache: Option<String>,
}

/// An upstream to be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamConfig {
    /// The command line.
    pub command: CommandLine,
    /// How it is spoken to.
    pub kind: Kind,
    /// Its environment, `NAME=VALUE`.
    pub environment: Vec<String>,
    /// What it is asked first.
    pub question: Question,
    /// Where what it writes goes.
    pub output: Output,
    /// What keeps tenants apart.
    pub separation: Separation,
}

/// Where what an upstream writes goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Nowhere: it may hold prompts.
    Nowhere,
    /// To this process's standard error, because somebody wrote down why.
    DangerStandardError,
}

impl UpstreamConfig {
    /// What the statement says of it.
    #[must_use]
    pub fn statement(&self, executable: &Executable) -> UpstreamStatement {
        UpstreamStatement {
            kind: self.kind.name().to_owned(),
            command: self.command.words().to_vec(),
            environment: self.environment.clone(),
            program_sha256: Stated::Is(executable.sha256()),
            separation: self.separation,
        }
    }
}

impl UpstreamSettings {
    /// These settings, completed by `below` where nothing was said.
    #[must_use]
    pub fn over(self, below: Self) -> Self {
        Self {
            command: self.command.or(below.command),
            kind: self.kind.or(below.kind),
            env: self.env.or(below.env),
            ask: self.ask.or(below.ask),
            expect: self.expect.or(below.expect),
            danger_output: self.danger_output.or(below.danger_output),
            danger_shared_cache: self.danger_shared_cache.or(below.danger_shared_cache),
        }
    }

    /// What they mean; `None` where there is no upstream.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn resolve(self) -> Result<Option<UpstreamConfig>, ConfigError> {
        let Some(command) = self.command else {
            let given = [
                (KIND, self.kind.is_some()),
                (ENV, self.env.is_some()),
                (ASK, self.ask.is_some()),
                (EXPECT, self.expect.is_some()),
                (OUTPUT, self.danger_output.is_some()),
                (SHARED, self.danger_shared_cache.is_some()),
            ];
            return match given.into_iter().find(|(_, given)| *given) {
                Some((given, _)) => Err(ConfigError::Unpaired { given, other: UPSTREAM_COMMAND }),
                None => Ok(None),
            };
        };
        let command = CommandLine::parse(&command)
            .map_err(|fault| ConfigError::Command { setting: UPSTREAM_COMMAND, fault })?;
        let kind = self.kind.ok_or(ConfigError::Unpaired { given: UPSTREAM_COMMAND, other: KIND })?;
        let kind = Kind::named(&kind).ok_or(ConfigError::Kind { setting: KIND })?;
        let environment = self.env.unwrap_or_default();
        if environment.iter().any(|entry| !is_assignment(entry)) {
            return Err(ConfigError::Environment { setting: ENV });
        }
        let question = match (self.ask, self.expect) {
            (None, None) => Question::default(),
            (Some(question), Some(expected)) => Question { question, expected: Some(expected) },
            (Some(_), None) => return Err(ConfigError::Unpaired { given: ASK, other: EXPECT }),
            (None, Some(_)) => return Err(ConfigError::Unpaired { given: EXPECT, other: ASK }),
        };
        let output = match reason(OUTPUT, self.danger_output)? {
            false => Output::Nowhere,
            true => Output::DangerStandardError,
        };
        // What nothing keeps apart is not taken for apart (UP-30).
        let separation = match (kind.separation(), reason(SHARED, self.danger_shared_cache)?) {
            (Separation::None, false) => {
                return Err(ConfigError::Unpaired { given: "--upstream-kind openai", other: SHARED });
            }
            (_, true) => Separation::None,
            (separation, false) => separation,
        };
        Ok(Some(UpstreamConfig { command, kind, environment, question, output, separation }))
    }
}

/// Whether there is a reason; an empty one is none.
fn reason(setting: &'static str, reason: Option<String>) -> Result<bool, ConfigError> {
    match reason {
        Some(reason) if reason.trim().is_empty() => Err(ConfigError::NoReason { setting }),
        reason => Ok(reason.is_some()),
    }
}

fn is_assignment(entry: &str) -> bool {
    let Some((name, value)) = entry.split_once('=') else { return false };
    let fine = |c: char| c.is_ascii_alphanumeric() || c == '_';
    !name.is_empty()
        && name.chars().all(fine)
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && !value.contains('\0')
}

/// The flag that makes an upstream of all the others.
pub(crate) const UPSTREAM_COMMAND: &str = "--upstream-command";
const KIND: &str = "--upstream-kind";
const ENV: &str = "--upstream-env";
const ASK: &str = "--upstream-ask";
const EXPECT: &str = "--upstream-expect";
const OUTPUT: &str = "--danger-upstream-output";
const SHARED: &str = "--danger-upstream-shared-cache";

#[cfg(test)]
mod tests {
    use super::*;

    fn complete() -> UpstreamSettings {
        UpstreamSettings {
            command: Some("/bin/x {model} {port}".into()),
            kind: Some("llama-server".into()),
            ..UpstreamSettings::default()
        }
    }

    #[test]
    fn defaults_are_the_careful_ones() {
        assert_eq!(UpstreamSettings::default().resolve(), Ok(None));
        let config = complete().resolve().unwrap().unwrap();
        assert_eq!((config.output, config.separation), (Output::Nowhere, Separation::NoReuse));
        assert_eq!(config.question, Question::default());
        let shared = UpstreamSettings { danger_shared_cache: Some("one tenant".into()), ..complete() };
        assert_eq!(shared.resolve().unwrap().unwrap().separation, Separation::None);
    }

    #[test]
    fn one_mistake_each() {
        let with = |edit: fn(&mut UpstreamSettings)| {
            let mut settings = complete();
            edit(&mut settings);
            settings.resolve().err().map_or("none", |error| error.code())
        };
        assert_eq!(with(|_| ()), "none");
        assert_eq!(with(|s| s.command = None), "config.unpaired");
        assert_eq!(with(|s| s.kind = None), "config.unpaired");
        assert_eq!(with(|s| s.kind = Some("tgi".into())), "config.upstream-kind");
        assert_eq!(with(|s| s.command = Some("x".into())), "config.upstream-command");
        assert_eq!(with(|s| s.env = Some(vec!["A".into()])), "config.upstream-env");
        assert_eq!(with(|s| s.env = Some(vec!["1A=b".into()])), "config.upstream-env");
        assert_eq!(with(|s| s.env = Some(vec!["A_1=b=c".into()])), "none");
        assert_eq!(with(|s| s.ask = Some("x".into())), "config.unpaired");
        assert_eq!(with(|s| s.expect = Some("x".into())), "config.unpaired");
        assert_eq!(with(|s| s.danger_output = Some(" ".into())), "config.no-reason");
        assert_eq!(with(|s| s.danger_shared_cache = Some(" ".into())), "config.no-reason");
        // UP-30: nothing is known to keep tenants apart there.
        assert_eq!(with(|s| s.kind = Some("openai".into())), "config.unpaired");
        let alone = UpstreamSettings { ask: Some("x".into()), ..UpstreamSettings::default() };
        assert_eq!(alone.resolve().unwrap_err().code(), "config.unpaired");
    }
}
