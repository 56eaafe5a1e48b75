//! `casemate keys`: who may ask a server. The file holds no secret, and a server that was started by root reads it anew as another
//! user (SRV-57).

use std::io::ErrorKind;
use std::path::Path;

use casemate_enclave::{ApiKeysFile, TenantLimits};
use serde_json::json;

use super::{now, random};
use crate::args::{KeysArgs, KeysCommand};
use crate::error::CliError;
use crate::files;
use crate::output;

pub(crate) fn run(args: &KeysArgs) -> Result<(), CliError> {
    match &args.command {
        KeysCommand::New { file, tenant, concurrent, requests_per_minute, tokens_per_minute, days } => {
            let mut keys = match read(file) {
                Err(CliError::Read { source, .. }) if source.kind() == ErrorKind::NotFound => {
                    ApiKeysFile::default()
                }
                read => read?,
            };
            let limits = TenantLimits {
                concurrent: *concurrent,
                requests_per_minute: *requests_per_minute,
                tokens_per_minute: *tokens_per_minute,
            };
            let until = |days: u32| Ok::<_, CliError>(now()?.0.saturating_add(u64::from(days) * DAY));
            let not_after = days.map(until).transpose()?;
            let new = keys.add(tenant, limits, not_after, random()?).map_err(|e| wrong(file, e))?;
            files::replace(file, keys.render().as_bytes(), files::PUBLIC)?;
            output::talk(&format!("key {} of {tenant}: give it to them, it is not written anywhere", new.id));
            output::talk("running servers read the file anew within seconds");
            output::data(&new.key);
        }
        KeysCommand::Revoke { file, id } => {
            let mut keys = read(file)?;
            keys.revoke(id).map_err(|e| wrong(file, e))?;
            files::replace(file, keys.render().as_bytes(), files::PUBLIC)?;
            output::talk("running servers read the file anew within seconds");
        }
        KeysCommand::List { file, json: true } => {
            let keys = read(file)?;
            output::json(&json!({"schema": "casemate.keys.list/1", "tenants": keys.tenants}))?;
        }
        KeysCommand::List { file, json: false } => {
            for tenant in read(file)?.tenants {
                let TenantLimits { concurrent, requests_per_minute, tokens_per_minute } = tenant.limits;
                let limit = |limit: Option<u32>| limit.map_or("any".to_owned(), |limit| limit.to_string());
                output::data(&format!(
                    "{}: {} at the same time, {} requests and {} tokens a minute",
                    tenant.name,
                    limit(concurrent),
                    limit(requests_per_minute),
                    limit(tokens_per_minute)
                ));
                for key in tenant.keys {
                    let until =
                        key.not_after.map_or("for ever".to_owned(), |seconds| format!("until {seconds}"));
                    output::data(&format!("  {} {until}", key.id));
                }
            }
        }
    }
    Ok(())
}

fn read(file: &Path) -> Result<ApiKeysFile, CliError> {
    ApiKeysFile::parse(&files::read_text(file)?).map_err(|e| wrong(file, e))
}

fn wrong(file: &Path, source: casemate_enclave::KeysError) -> CliError {
    CliError::ApiKeys { path: file.to_owned(), source }
}

const DAY: u64 = 86_400;
