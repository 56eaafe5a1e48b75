//! The one call that makes a socket's descriptor known to tokio.

use std::io;

use socket2::Socket;
use tokio::io::unix::AsyncFd;

/// This socket, watched by the runtime that the caller runs in.
pub(super) fn registered(socket: Socket) -> io::Result<AsyncFd<Socket>> {
    // SAFETY: a `Socket` owns its descriptor, which is open as long as it lives and never another; `AsyncFd` takes it over, and
    // nobody replaces it there, because only shared references are asked for.
    let watched = unsafe { AsyncFd::register(socket) };
    Ok(watched?)
}
