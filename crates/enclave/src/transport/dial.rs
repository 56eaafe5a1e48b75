//! Connections to the broker: what its address says, over TCP or over the vsock that a person wrote (CH-12).

use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::http::Uri;
use futures_util::future::BoxFuture;
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use socket2::{Domain, SockAddr};
use tokio::io::{AsyncRead, AsyncWrite};
use tower::Service;

use super::socket::{self, Stream};
use super::{BrokerPath, VsockAddress, VsockError};

/// Makes connections. With `https` the name in the address is what the certificate must be of, whatever is below.
#[derive(Clone)]
pub(crate) struct Connector {
    https: HttpsConnector<Dialer>,
    limit: Duration,
}

/// What a connection failed with: the system's words, TLS's, or a [`VsockError`].
pub(crate) type DialError = Box<dyn std::error::Error + Send + Sync>;

// === impl Connector ===

impl Connector {
    /// Connections with this TLS, each made within `limit`.
    pub(crate) fn new(path: BrokerPath, tls: ClientConfig, limit: Duration) -> Self {
        let dialer = match path {
            BrokerPath::Tcp => {
                let mut tcp = HttpConnector::new();
                // TLS is above.
                tcp.enforce_http(false);
                tcp.set_nodelay(true);
                Dialer::Tcp(tcp)
            }
            BrokerPath::Vsock(address) => Dialer::Vsock(address, limit),
        };
        Self { https: HttpsConnector::from((dialer, tls)), limit }
    }
}

impl Service<Uri> for Connector {
    type Response = MaybeHttpsStream<TokioIo<Box<dyn Io>>>;
    type Error = DialError;
    type Future = BoxFuture<'static, Result<Self::Response, DialError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), DialError>> {
        self.https.poll_ready(cx)
    }

    fn call(&mut self, address: Uri) -> Self::Future {
        let connecting = tokio::time::timeout(self.limit, self.https.call(address));
        Box::pin(async move { connecting.await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))? })
    }
}

/// Makes what TLS, or plain HTTP, is spoken over.
#[derive(Clone)]
enum Dialer {
    Tcp(HttpConnector),
    /// The host and port of the broker's address are not looked up.
    Vsock(VsockAddress, Duration),
}

impl Service<Uri> for Dialer {
    type Response = TokioIo<Box<dyn Io>>;
    type Error = DialError;
    type Future = BoxFuture<'static, Result<Self::Response, DialError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), DialError>> {
        match self {
            Self::Tcp(tcp) => tcp.poll_ready(cx).map_err(Into::into),
            Self::Vsock(..) => Poll::Ready(Ok(())),
        }
    }

    fn call(&mut self, address: Uri) -> Self::Future {
        match self {
            Self::Tcp(tcp) => {
                let connecting = tcp.call(address);
                Box::pin(async move { Ok(over(connecting.await?.into_inner())) })
            }
            Self::Vsock(address, limit) => {
                let (address, limit) = (*address, *limit);
                Box::pin(async move { Ok(over(vsock(address, limit).await?)) })
            }
        }
    }
}

fn over(stream: impl Io + 'static) -> TokioIo<Box<dyn Io>> {
    TokioIo::new(Box::new(stream))
}

async fn vsock(address: VsockAddress, limit: Duration) -> Result<Stream, VsockError> {
    let to = SockAddr::vsock(address.cid, address.port);
    socket::connect(Domain::VSOCK, &to, limit).await.map_err(|error| VsockError::of(address, &error))
}

/// A connection of either kind.
pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

impl Connection for Box<dyn Io> {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}
