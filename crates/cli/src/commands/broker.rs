//! `casemate broker`: the key broker role.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use casemate_attest::Danger;
use casemate_broker::{
    Baseline, BrokerAnchors, BrokerConfig, BrokerState, NewKey, Overwrite, ReleasePolicy, ResourcePath,
    Store, SystemClock, SystemEntropy,
};
use casemate_enclave::TlsIdentity;
use casemate_seal::{KeyFile, ModelId};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::{HEADER_TIMEOUT, bound, now, runtime, until_stopped};
use crate::args::{AnchorArgs, BrokerCommand};
use crate::error::CliError;
use crate::files;
use crate::output;

pub(crate) fn run(command: BrokerCommand) -> Result<(), CliError> {
    match command {
        BrokerCommand::Init { store, anchors } => init(&store, &anchors),
        BrokerCommand::Put { store, key, uri, policy, replace, anchors } => {
            put(&open(&store, &anchors)?, &key, &uri, &policy, replace)
        }
        BrokerCommand::List { store, json, anchors } => list(&open(&store, &anchors)?, json),
        BrokerCommand::Remove { store, uri, anchors } => {
            Ok(open(&store, &anchors)?.remove(&uri.parse::<ResourcePath>()?, now()?)?)
        }
        BrokerCommand::SetFloor { store, uuid, floor, anchors } => {
            Ok(open(&store, &anchors)?.set_floor(ModelId::parse_uuid(&uuid)?, floor, now()?)?)
        }
        BrokerCommand::Audit { store, json, anchors } => audit(&open(&store, &anchors)?, json),
        BrokerCommand::Serve {
            store,
            listen,
            platform_policy,
            danger_vtpm_unlisted,
            issuer,
            tls_cert,
            tls_key,
            stop_on_stdin_eof,
            anchors,
            gpu_anchors,
        } => {
            let tls = match (&tls_cert, &tls_key) {
                (Some(certificate), Some(key)) => Some(TlsIdentity::from_files(certificate, key)?),
                _ => None,
            };
            let baseline = match platform_policy {
                Some(path) => Baseline::from_toml(&files::read_text(&path)?)?,
                None => casemate_broker::baseline(unlisted(danger_vtpm_unlisted)),
            };
            let mut anchors = broker_anchors(&anchors)?;
            if let Some(path) = &gpu_anchors.danger_simulated_gpu_root {
                anchors = anchors.danger_simulated_gpus(&files::read_text(path)?)?;
            }
            let store = open_with(&store, &anchors)?;
            let config = BrokerConfig {
                store,
                anchors,
                baseline,
                issuer,
                clock: Arc::new(SystemClock),
                entropy: Arc::new(SystemEntropy::default()),
            };
            serve(BrokerState::new(config)?, listen, tls, stop_on_stdin_eof)
        }
    }
}

fn init(dir: &Path, anchors: &AnchorArgs) -> Result<(), CliError> {
    let anchors = broker_anchors(anchors)?;
    files::create_dir(dir)?;
    let (database, root_key) = paths(dir);
    Store::create(&database, &root_key, anchors.identity(), &SystemEntropy::default()).inspect_err(|_| {
        // Ours, made a moment ago, and without a key in it.
        let _ = std::fs::remove_dir_all(dir);
    })?;
    output::talk(&format!("key store for {} in {}", anchors.identity(), dir.display()));
    output::talk(&format!("{} opens it: back it up apart from the database", root_key.display()));
    Ok(())
}

fn put(store: &Store, key: &Path, uri: &str, policy: &Path, replace: bool) -> Result<(), CliError> {
    let text = Zeroizing::new(files::read_text(key)?);
    let key =
        KeyFile::from_json(&text).map_err(|source| CliError::KeyFile { path: key.to_owned(), source })?;
    let policy = ReleasePolicy::parse(&files::read(policy)?)?;
    let resource: ResourcePath = uri.parse()?;
    let new = NewKey { resource: resource.clone(), model: key.id, policy, secret: key.key.expose() };
    let overwrite = if replace { Overwrite::Replace } else { Overwrite::Refuse };
    store.put(&new, overwrite, now()?, &SystemEntropy::default())?;
    output::talk(&format!("kbs:///{resource} holds the key of {}", key.id));
    Ok(())
}

fn list(store: &Store, as_json: bool) -> Result<(), CliError> {
    let rows: Vec<Value> = store
        .list()?
        .iter()
        .map(|record| {
            json!({
                "uri": format!("kbs:///{}", record.resource()),
                "model": record.model().uuid_text(),
                "version": record.model().version,
                "floor": record.floor(),
                "created": record.created().0,
                "policy_sha256": hex::encode(record.policy().digest()),
            })
        })
        .collect();
    if as_json {
        return output::json(&json!({ "schema": "casemate.broker.list/1", "keys": rows }));
    }
    for row in &rows {
        output::data(&format!("{} {} version {}", text(row, "uri"), text(row, "model"), row["version"]));
    }
    Ok(())
}

fn audit(store: &Store, as_json: bool) -> Result<(), CliError> {
    let report = store.verify_audit()?;
    let rows = store.audit_tail(u32::MAX)?;
    if as_json {
        let contents: Vec<Value> =
            rows.iter().filter_map(|r| serde_json::from_str(&r.content).ok()).collect();
        return output::json(&json!({
            "schema": "casemate.broker.audit/1", "rows": contents, "head": hex::encode(report.head), "intact": true,
        }));
    }
    for row in &rows {
        output::data(&format!("{} {}", row.seq, row.content));
    }
    output::talk(&format!("{} rows, hash chain intact, head {}", report.rows, hex::encode(report.head)));
    Ok(())
}

fn serve(
    state: BrokerState,
    listen: SocketAddr,
    tls: Option<TlsIdentity>,
    on_stdin: bool,
) -> Result<(), CliError> {
    let simulated = state.store().anchors().simulated();
    let failed = |source| CliError::Listen { address: listen, source };
    let router = casemate_broker::router(Arc::new(state)).into_make_service();
    let (listener, address) = bound(listen)?;
    if simulated {
        output::simulated_banner(output::SIMULATED_MACHINE);
    }
    runtime()?.block_on(async {
        let handle = until_stopped(on_stdin, DRAIN);
        let scheme = if tls.is_some() { "https" } else { "http" };
        output::json(&json!({
            "schema": "casemate.broker.serve/1", "listening": format!("{scheme}://{address}"), "simulated": simulated,
        }))?;
        let ended = match tls {
            Some(tls) => {
                let config = axum_server::tls_rustls::RustlsConfig::from_config(tls.config());
                let mut server = axum_server::from_tcp_rustls(listener, config).map_err(failed)?.handle(handle);
                server.http_builder().http1().header_read_timeout(HEADER_TIMEOUT);
                server.serve(router).await
            }
            None => {
                let mut server = axum_server::from_tcp(listener).map_err(failed)?.handle(handle);
                server.http_builder().http1().header_read_timeout(HEADER_TIMEOUT);
                server.serve(router).await
            }
        };
        ended.map_err(failed)
    })
}

fn open(dir: &Path, anchors: &AnchorArgs) -> Result<Store, CliError> {
    open_with(dir, &broker_anchors(anchors)?)
}

fn open_with(dir: &Path, anchors: &BrokerAnchors) -> Result<Store, CliError> {
    let (database, root_key) = paths(dir);
    Ok(Store::open(&database, &root_key, anchors.identity())?)
}

fn broker_anchors(args: &AnchorArgs) -> Result<BrokerAnchors, CliError> {
    match &args.danger_simulated_root {
        None => Ok(BrokerAnchors::vendors()),
        Some(path) => Ok(BrokerAnchors::danger_simulated(&files::read_text(path)?)?),
    }
}

fn unlisted(reason: Option<String>) -> Danger {
    reason.map_or(Danger::Refuse, |reason| Danger::Allow { reason })
}

/// Database and root key of the store in `dir`.
fn paths(dir: &Path) -> (PathBuf, PathBuf) {
    (dir.join("keys.db"), dir.join("root.key"))
}

fn text<'a>(row: &'a Value, name: &str) -> &'a str {
    row.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// How long running calls may take to finish after a stop was asked for.
const DRAIN: std::time::Duration = std::time::Duration::from_secs(5);
