//! The API's listener: TCP or vsock, with the same TLS and the same requests above it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use axum_server::{AddrListener, Address, Handle, Server};
use rustls::ServerConfig;
use socket2::{Domain, SockAddr, Socket};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpSocket;

use super::socket::{self, Stream};
use super::{ListenAddress, VsockAddress, VsockError};

/// Why nothing listens.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// On a network.
    #[error("cannot listen on {address}: {source}")]
    Tcp {
        /// Where.
        address: SocketAddr,
        /// The system's answer.
        source: io::Error,
    },
    /// On vsock.
    #[error("cannot listen: {0}")]
    Vsock(#[source] VsockError),
}

impl ListenError {
    /// The stable code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Tcp { .. } => "boot.listen",
            Self::Vsock(e) => e.code(),
        }
    }

    /// What the person can do about it, where we know.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Tcp { .. } => None,
            Self::Vsock(e) => e.hint(),
        }
    }

    fn of(address: ListenAddress, source: io::Error) -> Self {
        match address {
            ListenAddress::Tcp(address) => Self::Tcp { address, source },
            ListenAddress::Vsock(address) => Self::Vsock(VsockError::of(address, &source)),
        }
    }
}

/// An address that is taken, while nobody listens: until then a connection is refused by the system (CH-14).
pub(crate) struct Bound {
    address: ListenAddress,
    socket: BoundSocket,
}

enum BoundSocket {
    Tcp(TcpSocket),
    Vsock(Socket),
}

/// An open listener.
pub(crate) struct Listening {
    address: ListenAddress,
    listener: Listener,
}

enum Listener {
    Tcp(tokio::net::TcpListener),
    Vsock(socket::Listener),
}

// === impl Bound ===

impl Bound {
    /// Takes the address.
    pub(crate) fn bind(address: ListenAddress) -> Result<Self, ListenError> {
        let socket = match address {
            ListenAddress::Tcp(address) => tcp(address).map(BoundSocket::Tcp),
            ListenAddress::Vsock(address) => vsock(address).map(BoundSocket::Vsock),
        };
        let socket = socket.map_err(|source| ListenError::of(address, source))?;
        Ok(Self { address, socket })
    }

    /// Opens the listener.
    pub(crate) fn listen(self) -> Result<Listening, ListenError> {
        let opened = match self.socket {
            BoundSocket::Tcp(socket) => socket.listen(BACKLOG).and_then(|listener| {
                Ok((ListenAddress::Tcp(listener.local_addr()?), Listener::Tcp(listener)))
            }),
            BoundSocket::Vsock(socket) => socket::Listener::listen(socket, BACKLOG).and_then(|listener| {
                Ok((ListenAddress::Vsock(vsock_address(&listener.local_addr()?)?), Listener::Vsock(listener)))
            }),
        };
        let (address, listener) = opened.map_err(|source| ListenError::of(self.address, source))?;
        Ok(Listening { address, listener })
    }
}

fn tcp(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    // Connections have it from here: a piece of an answer does not wait for the last one to be acknowledged.
    socket.set_nodelay(true)?;
    socket.bind(address)?;
    Ok(socket)
}

fn vsock(VsockAddress { cid, port }: VsockAddress) -> io::Result<Socket> {
    socket::bind(Domain::VSOCK, &SockAddr::vsock(cid, port))
}

// === impl Listening ===

impl Listening {
    /// The address that the listener got.
    pub(crate) fn address(&self) -> ListenAddress {
        self.address
    }

    /// Answers until `shutdown` resolves, and then for [`DRAIN`] at most.
    pub(crate) async fn serve(
        self,
        tls: Arc<ServerConfig>,
        router: Router,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), ListenError> {
        let ended = match self.listener {
            Listener::Tcp(listener) => {
                answer(Server::<SocketAddr>::from_listener(listener), tls, router, shutdown).await
            }
            Listener::Vsock(listener) => {
                answer(Server::<VsockEnd>::from_listener(listener), tls, router, shutdown).await
            }
        };
        ended.map_err(|source| ListenError::of(self.address, source))
    }
}

async fn answer<A>(
    server: Server<A>,
    tls: Arc<ServerConfig>,
    router: Router,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()>
where
    A: Address + Send + Sync + 'static,
    A::Listener: Send,
    A::Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let handle = Handle::new();
    let acceptor = RustlsAcceptor::new(RustlsConfig::from_config(tls));
    let mut server = server.acceptor(acceptor).handle(handle.clone());
    server.http_builder().http1().header_read_timeout(HEADER_TIMEOUT);
    tokio::spawn(async move {
        shutdown.await;
        handle.graceful_shutdown(Some(DRAIN));
    });
    server.serve(router.into_make_service()).await
}

// === vsock, as axum-server wants an address ===

/// An end of a connection that came in. Nothing follows from whose it is (CH-16).
#[derive(Clone)]
struct VsockEnd(VsockAddress);

impl Address for VsockEnd {
    type Stream = Stream;
    type Listener = socket::Listener;
}

impl AddrListener<Stream, VsockEnd> for socket::Listener {
    async fn bind_to(VsockEnd(address): VsockEnd) -> io::Result<Self> {
        Self::listen(vsock(address)?, BACKLOG)
    }

    async fn accept_stream(&self) -> io::Result<(Stream, VsockEnd)> {
        let (stream, peer) = self.accept().await?;
        Ok((stream, VsockEnd(vsock_address(&peer)?)))
    }

    fn get_local_addr(&self) -> io::Result<VsockEnd> {
        vsock_address(&self.local_addr()?).map(VsockEnd)
    }
}

fn vsock_address(address: &SockAddr) -> io::Result<VsockAddress> {
    let (cid, port) = address.as_vsock_address().ok_or(io::ErrorKind::InvalidData)?;
    Ok(VsockAddress { cid, port })
}

/// Connections that the system keeps waiting for us.
const BACKLOG: u32 = 1024;
/// A client that does not finish a request's head in this time is cut off, so that idle ones cannot use up the server.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// How long running answers may take to finish after a stop was asked for.
const DRAIN: Duration = Duration::from_secs(10);
