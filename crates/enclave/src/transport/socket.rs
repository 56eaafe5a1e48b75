//! Stream sockets of any family under tokio. Nothing here knows which: the tests run it over the families that every
//! machine has.

use std::io::{self, Read};
use std::net::Shutdown;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::io::Errno;
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::registered::registered;

/// One end of a connection.
#[derive(Debug)]
pub(crate) struct Stream(AsyncFd<Socket>);

/// A socket that connections come in on.
#[derive(Debug)]
pub(crate) struct Listener(AsyncFd<Socket>);

/// Takes the address, without listening.
pub(crate) fn bind(domain: Domain, address: &SockAddr) -> io::Result<Socket> {
    let socket = open(domain)?;
    socket.bind(address)?;
    Ok(socket)
}

/// A connection to `address`, within `limit`.
pub(crate) async fn connect(domain: Domain, address: &SockAddr, limit: Duration) -> io::Result<Stream> {
    let socket = open(domain)?;
    match socket.connect(address) {
        Err(error) if Errno::from_io_error(&error) != Some(Errno::INPROGRESS) => return Err(error),
        Err(_) | Ok(()) => {}
    }
    let stream = registered(socket)?;
    tokio::time::timeout(limit, connected(&stream)).await.map_err(|_| io::ErrorKind::TimedOut)??;
    Ok(Stream(stream))
}

async fn connected(stream: &AsyncFd<Socket>) -> io::Result<()> {
    loop {
        let mut ready = stream.writable().await?;
        if let Some(error) = stream.get_ref().take_error()? {
            return Err(error);
        }
        match stream.get_ref().peer_addr() {
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotConnected => ready.clear_ready(),
            Err(error) => return Err(error),
        }
    }
}

/// Not blocking, and closed in programs that this one starts.
fn open(domain: Domain) -> io::Result<Socket> {
    let socket = Socket::new(domain, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

// === impl Listener ===

impl Listener {
    /// From here on connections are taken.
    pub(crate) fn listen(bound: Socket, backlog: u32) -> io::Result<Self> {
        bound.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
        registered(bound).map(Self)
    }

    /// The next connection, and who made it.
    pub(crate) async fn accept(&self) -> io::Result<(Stream, SockAddr)> {
        loop {
            let mut ready = self.0.readable().await?;
            if let Ok(accepted) = ready.try_io(|listener| listener.get_ref().accept()) {
                let (socket, peer) = accepted?;
                socket.set_nonblocking(true)?;
                return Ok((Stream(registered(socket)?), peer));
            }
        }
    }

    /// The address that this socket has.
    pub(crate) fn local_addr(&self) -> io::Result<SockAddr> {
        self.0.get_ref().local_addr()
    }
}

// === impl Stream ===

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut ready = ready!(self.0.poll_read_ready(cx))?;
            let room = buf.initialize_unfilled();
            if let Ok(read) = ready.try_io(|stream| stream.get_ref().read(room)) {
                buf.advance(read?);
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let mut ready = ready!(self.0.poll_write_ready(cx))?;
            // A peer that is gone is an error, not a signal.
            let written = ready.try_io(|stream| stream.get_ref().send_with_flags(bytes, libc::MSG_NOSIGNAL));
            if let Ok(written) = written {
                return Poll::Ready(written);
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.0.get_ref().shutdown(Shutdown::Write) {
            // The peer was first.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Poll::Ready(Ok(())),
            ended => Poll::Ready(ended),
        }
    }
}
