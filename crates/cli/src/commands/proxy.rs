//! `casemate proxy`: an address on this machine in front of verified servers.

use std::sync::Arc;

use casemate_client::proxy::{ApiKey, Proxy, ReceiptFolder, router};
use casemate_client::{Anchors, ClientPolicy, Pool, Verifier, Via, keep_renewed};
use casemate_protocol::sealed::cells::Shape;
use serde_json::json;

use super::{HEADER_TIMEOUT, bound, now, runtime, until_stopped};
use crate::args::{ChannelArg, ProxyArgs, ShapeArg};
use crate::error::CliError;
use crate::files;
use crate::output;

pub(crate) fn run(args: &ProxyArgs) -> Result<(), CliError> {
    let loopback = args.listen.ip().is_loopback();
    if !loopback && args.danger_listen.is_none() {
        return Err(CliError::ProxyAddress { address: args.listen });
    }
    let policy = ClientPolicy::from_toml(&files::read_text(&args.policy)?)?;
    let anchors = Anchors {
        machines: files::anchors(&args.anchors)?,
        devices: files::device_anchors(&args.gpu_anchors)?,
    };
    if let Some(url) = args.servers.iter().find(|url| !url.starts_with("https://")) {
        return Err(CliError::ProxyServer { url: url.clone() });
    }
    let simulated = anchors.machines.simulated();
    let api_key = args.api_key_file.as_deref().map(|path| {
        let text = zeroize::Zeroizing::new(files::read_text(path)?);
        ApiKey::new(&text).ok_or_else(|| CliError::ProxyKey { path: path.to_owned() })
    });
    let via = via(args);
    let verifier = Arc::new(Verifier { policy, anchors, via, clock: Box::new(|| now().ok()) });
    let pool = Pool::new(args.servers.iter().map(String::as_str), &verifier);
    let max_body = usize::try_from(args.max_body).unwrap_or(usize::MAX).saturating_mul(1024 * 1024);
    let receipts = args.receipts.as_deref().map(ReceiptFolder::open).transpose()?;
    let proxy = Proxy::new(pool, api_key.transpose()?, max_body, loopback).with_receipts(receipts);
    let proxy = Arc::new(proxy);

    let failed = |source| CliError::Listen { address: args.listen, source };
    let (listener, address) = bound(args.listen)?;
    if simulated {
        output::simulated_banner(output::SIMULATED_MACHINE);
    }
    runtime()?.block_on(async {
        let handle = until_stopped(args.stop_on_stdin_eof, DRAIN);
        let kept = proxy.clone();
        let renewal = tokio::spawn(async move {
            // The person sees at once what is wrong, and the first request need not wait.
            for peer in kept.pool().peers() {
                let _ = peer.session().await;
            }
            keep_renewed(kept.pool().peers()).await;
        });
        output::json(&json!({
            "schema": "casemate.proxy/1", "listening": format!("http://{address}"), "servers": args.servers, "simulated": simulated,
            "channel": match via { Via::Sealed(_) => "sealed", Via::Tls => "tls" },
        }))?;
        let server = axum_server::from_tcp(listener).map_err(failed)?.handle(handle);
        // A piece of an answer does not wait for the last one to be acknowledged.
        let mut server = server.acceptor(axum_server::accept::NoDelayAcceptor::new());
        server.http_builder().http1().header_read_timeout(HEADER_TIMEOUT);
        let ended = server.serve(router(proxy).into_make_service()).await;
        renewal.abort();
        ended.map_err(failed)
    })
}

fn via(args: &ProxyArgs) -> Via {
    let shape = match args.shape {
        ShapeArg::Off => Shape::Off,
        ShapeArg::Default => Shape::Default,
        ShapeArg::Constant => Shape::Constant,
    };
    match args.channel {
        ChannelArg::Sealed => Via::Sealed(shape),
        ChannelArg::Tls => Via::Tls,
    }
}

/// How long answers that are under way may take after a stop was asked for.
const DRAIN: std::time::Duration = std::time::Duration::from_secs(30);
