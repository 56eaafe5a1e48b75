//! One module a command: parse, call, render.

pub(crate) mod ask;
pub(crate) mod broker;
pub(crate) mod demo;
pub(crate) mod doctor;
pub(crate) mod endorse;
pub(crate) mod inspect;
mod inspect_log;
pub(crate) mod keygen;
pub(crate) mod keys;
mod kind;
pub(crate) mod kms;
pub(crate) mod measure;
pub(crate) mod policy;
mod policy_init;
pub(crate) mod proxy;
pub(crate) mod receipt;
pub(crate) mod seal;
pub(crate) mod serve;
pub(crate) mod simulate;
pub(crate) mod verify;
mod verify_bundle;
mod verify_devices;
mod verify_token;

use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand;
use casemate_attest::UnixTime;

use crate::error::CliError;

/// The machine's clock.
pub(crate) fn now() -> Result<UnixTime, CliError> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|_| CliError::Clock)?;
    Ok(UnixTime(since.as_secs()))
}

/// `N` random bytes from the system.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], CliError> {
    let mut bytes = [0u8; N];
    rand::fill(&mut bytes).map_err(|_| CliError::Randomness)?;
    Ok(bytes)
}

/// A runtime for the commands that speak over the network.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, CliError> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(CliError::Runtime)
}

/// A socket that listens on this address, and the address that it got.
pub(crate) fn bound(address: SocketAddr) -> Result<(TcpListener, SocketAddr), CliError> {
    let failed = |source| CliError::Listen { address, source };
    let listener = TcpListener::bind(address).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let got = listener.local_addr().map_err(failed)?;
    Ok((listener, got))
}

/// A server's handle, which lets running calls take `drain` to finish once [`stop_signal`] resolves. Inside a runtime.
pub(crate) fn until_stopped(on_stdin: bool, drain: Duration) -> axum_server::Handle<SocketAddr> {
    let handle = axum_server::Handle::new();
    let (stop, asked) = (handle.clone(), stop_signal(on_stdin));
    tokio::spawn(async move {
        asked.await;
        stop.graceful_shutdown(Some(drain));
    });
    handle
}

/// A client that does not finish a request's head in this time is cut off.
pub(crate) const HEADER_TIMEOUT: Duration = Duration::from_secs(30);

/// Resolves on SIGTERM or SIGINT and, where `on_stdin` says so, when standard input closes. Both signals are heard from this call on,
/// which is made inside a runtime: somebody may send one as soon as the program says that it is up.
pub(crate) fn stop_signal(on_stdin: bool) -> impl Future<Output = ()> {
    use tokio::signal::unix::{SignalKind, signal};
    let (closed, stdin_closed) = tokio::sync::oneshot::channel::<()>();
    let mut unused = Some(closed);
    if on_stdin {
        let closed = unused.take();
        // A thread of its own: a blocking read must not hold up the runtime's end.
        std::thread::spawn(move || {
            let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
            drop(closed);
        });
    }
    let signals = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    async move {
        // Its end would be standard input's.
        let _open = unused;
        let (Ok(mut term), Ok(mut int)) = signals else { return std::future::pending().await };
        tokio::select! {
            _ = term.recv() => (),
            _ = int.recv() => (),
            _ = stdin_closed => (),
        }
    }
}
