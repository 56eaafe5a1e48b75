//! A port of this machine's own loopback that leads to a vsock address: for HTTP clients that know TCP only (CH-19).

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, SockAddr};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::VsockAddress;
use super::socket;

/// Opens the port. It forwards bytes for as long as the runtime lives, 8 connections at once; whatever is spoken over them ends
/// elsewhere, so that nothing here is believed or kept.
///
/// # Errors
/// No port on the loopback.
pub(crate) fn forward(to: VsockAddress) -> io::Result<SocketAddr> {
    forward_to(Domain::VSOCK, SockAddr::vsock(to.cid, to.port))
}

/// As [`forward`], over any family: the tests run it over those that every machine has.
pub(super) fn forward_to(domain: Domain, to: SockAddr) -> io::Result<SocketAddr> {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let listener = TcpListener::from_std(listener)?;
    tokio::spawn(accept(listener, domain, to));
    Ok(address)
}

async fn accept(listener: TcpListener, domain: Domain, to: SockAddr) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let to = to.clone();
                tokio::spawn(async move {
                    if let Err(error) = carry(stream, domain, &to).await {
                        tracing::info!(code = "forward.ended", "a forwarded connection ended: {error}");
                    }
                    drop(place);
                });
            }
            // Out of descriptors: others end.
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// One connection, until both sides have said everything.
async fn carry(mut here: TcpStream, domain: Domain, to: &SockAddr) -> io::Result<()> {
    let mut there = socket::connect(domain, to, CONNECT_LIMIT).await?;
    copy_bidirectional(&mut here, &mut there).await.map(|_| ())
}

/// The fetcher asks one after the other.
const CONNECTIONS: usize = 8;
/// As of a connection to the broker (CH-15).
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(100);
