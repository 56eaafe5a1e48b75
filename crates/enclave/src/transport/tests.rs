//! Addresses as they are written; sockets over a family that every machine has; the system's answers by name. The data path
//! over vsock itself is in `tests/vsock`.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use rustix::io::Errno;
use socket2::{Domain, SockAddr};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::socket::{self, Listener, Stream};

use super::*;

const LIMIT: Duration = Duration::from_secs(5);

fn vsock(cid: u32, port: u32) -> VsockAddress {
    VsockAddress { cid, port }
}

#[test]
fn addresses_are_read_and_written_alike() {
    let any = VsockAddress::ANY_CID;
    let cases = [
        ("vsock:1", vsock(any, 1)),
        ("vsock:8443", vsock(any, 8443)),
        ("vsock:4294967294", vsock(any, u32::MAX - 1)),
        ("vsock:0:8443", vsock(0, 8443)),
        ("vsock:3:1", vsock(3, 1)),
        ("vsock:4294967294:4294967294", vsock(u32::MAX - 1, u32::MAX - 1)),
    ];
    for (text, address) in cases {
        assert_eq!(VsockAddress::parse(text), Ok(address), "{text}");
        assert_eq!(ListenAddress::parse(text), Ok(ListenAddress::Vsock(address)), "{text}");
        assert_eq!(address.to_string(), text);
    }
    // The number of "any" is any.
    assert_eq!(VsockAddress::parse("vsock:4294967295:9"), VsockAddress::parse("vsock:9"));
    assert_eq!(VsockAddress::parse_destination("vsock:3:8080"), Ok(vsock(3, 8080)));
    for text in ["127.0.0.1:8443", "[::1]:8443"] {
        let address = ListenAddress::parse(text).unwrap();
        assert_eq!((address, address.to_string()), (ListenAddress::Tcp(text.parse().unwrap()), text.into()));
    }
}

#[test]
fn one_mistake_in_an_address_has_its_code() {
    let cases = [
        ("", "address.form"),
        ("8443", "address.form"),
        ("localhost:8443", "address.form"),
        ("127.0.0.1", "address.form"),
        ("VSOCK:8443", "address.form"),
        (" vsock:8443", "address.form"),
        ("vsock", "address.form"),
        ("vsock:", "address.number"),
        ("vsock::", "address.number"),
        ("vsock:3:", "address.number"),
        ("vsock::8443", "address.number"),
        ("vsock:x", "address.number"),
        ("vsock:0x10", "address.number"),
        ("vsock:+1", "address.number"),
        ("vsock:-1", "address.number"),
        ("vsock:1 ", "address.number"),
        ("vsock:host:8443", "address.number"),
        ("vsock:3:8443:1", "address.number"),
        ("vsock://8443", "address.number"),
        ("vsock:0", "address.range"),
        ("vsock:3:0", "address.range"),
        ("vsock:4294967295", "address.range"),
        ("vsock:4294967296", "address.range"),
        ("vsock:4294967296:8443", "address.range"),
        ("vsock:99999999999999999999999999", "address.range"),
    ];
    for (text, code) in cases {
        assert_eq!(ListenAddress::parse(text).unwrap_err().code(), code, "{text}");
        assert_eq!(VsockAddress::parse_destination(text).unwrap_err().code(), code, "{text}");
    }
    // A destination is one machine, and an address on a network is not taken for one (CH-12).
    for (text, code) in [
        ("vsock:8080", "address.any-cid"),
        ("vsock:4294967295:8080", "address.any-cid"),
        ("127.0.0.1:8080", "address.form"),
        ("http://127.0.0.1:8080", "address.form"),
    ] {
        assert_eq!(VsockAddress::parse_destination(text).unwrap_err().code(), code, "{text}");
    }
}

#[test]
fn each_answer_of_the_system_has_its_name() {
    let address = vsock(3, 8080);
    let cases = [
        (Errno::AFNOSUPPORT, "vsock.absent", false),
        (Errno::ADDRINUSE, "vsock.in-use", false),
        (Errno::ACCESS, "vsock.not-permitted", false),
        (Errno::PERM, "vsock.not-permitted", false),
        (Errno::ADDRNOTAVAIL, "vsock.not-ours", false),
        (Errno::CONNREFUSED, "vsock.refused", true),
        (Errno::CONNRESET, "vsock.refused", true),
        (Errno::TIMEDOUT, "vsock.timed-out", true),
        (Errno::NODEV, "vsock.no-route", false),
        (Errno::NETUNREACH, "vsock.no-route", false),
        (Errno::HOSTUNREACH, "vsock.no-route", false),
        (Errno::NOMEM, "vsock.system", false),
    ];
    for (errno, code, may_pass) in cases {
        let error = VsockError::of(address, &errno.into());
        assert_eq!((error.code(), error.may_pass()), (code, may_pass), "{errno}");
        assert!(error.to_string().contains("vsock:3:8080"), "{error}");
        assert_eq!(error.hint().is_some(), code != "vsock.system", "{code}");
    }
    let late = VsockError::of(address, &io::ErrorKind::TimedOut.into());
    assert_eq!(late.code(), "vsock.timed-out");
}

/// A place for a socket of this machine's own family, removed with the case.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("socket")
    }

    fn address(&self) -> SockAddr {
        SockAddr::unix(self.path()).unwrap()
    }
}

/// Runs a case over both families that this machine surely has.
fn over_each_family<F: Future<Output = ()>>(case: impl Fn(Domain, SockAddr) -> F) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let place = Place::new();
    runtime.block_on(case(Domain::UNIX, place.address()));
    let loopback: std::net::SocketAddr = "127.0.0.1:0".parse().unwrap();
    runtime.block_on(case(Domain::IPV4, loopback.into()));
}

/// A listener there, and the address that it got.
fn listening(domain: Domain, address: &SockAddr) -> (Listener, SockAddr) {
    let listener = Listener::listen(socket::bind(domain, address).unwrap(), 8).unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

async fn pair(domain: Domain, address: SockAddr) -> (Stream, Stream) {
    let (listener, address) = listening(domain, &address);
    let dialled = tokio::spawn(async move { socket::connect(domain, &address, LIMIT).await.unwrap() });
    let (accepted, _) = listener.accept().await.unwrap();
    (dialled.await.unwrap(), accepted)
}

/// More than any buffer between the two holds, so that both sides wait for each other.
#[test]
fn bytes_arrive_whole_in_order_and_both_ways() {
    over_each_family(|domain, address| async move {
        let (mut dialled, mut accepted) = pair(domain, address).await;
        let sent: Vec<u8> = (0..8_u32 << 20).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let expected = sent.clone();
        let echo = tokio::spawn(async move {
            let mut received = Vec::new();
            accepted.read_to_end(&mut received).await.unwrap();
            accepted.write_all(&received).await.unwrap();
            accepted.shutdown().await.unwrap();
        });
        dialled.write_all(&sent).await.unwrap();
        // Half closed: the other direction goes on.
        dialled.shutdown().await.unwrap();
        let mut received = Vec::new();
        dialled.read_to_end(&mut received).await.unwrap();
        assert!(received == expected, "{} bytes of {}", received.len(), expected.len());
        echo.await.unwrap();
    });
}

#[test]
fn a_peer_that_is_gone_is_an_error_and_no_signal() {
    over_each_family(|domain, address| async move {
        let (mut dialled, accepted) = pair(domain, address).await;
        drop(accepted);
        let mut buffer = [0; 8];
        assert_eq!(dialled.read(&mut buffer).await.unwrap(), 0);
        let mut ended = Ok(());
        for _ in 0..100 {
            ended = dialled.write_all(&[0; 4096]).await;
            if ended.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let kind = ended.unwrap_err().kind();
        assert!([io::ErrorKind::BrokenPipe, io::ErrorKind::ConnectionReset].contains(&kind), "{kind}");
    });
}

#[test]
fn where_nobody_listens_nothing_connects() {
    over_each_family(|domain, address| async move {
        // Taken, and not yet listening: as `serve` is until it has the key.
        let bound = socket::bind(domain, &address).unwrap();
        let address = bound.local_addr().unwrap();
        let refused = socket::connect(domain, &address, LIMIT).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        let taken = socket::bind(domain, &address).unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
        // The same socket, opened.
        let listener = Listener::listen(bound, 8).unwrap();
        let (dialled, _) = tokio::join!(socket::connect(domain, &address, LIMIT), listener.accept());
        dialled.unwrap();
    });
}

/// An address that no packet comes back from (RFC 5737), or that the machine has no way to: an error within the limit.
#[test]
fn a_connection_that_is_not_answered_ends_in_time() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let silent: std::net::SocketAddr = "192.0.2.1:9".parse().unwrap();
    let limit = Duration::from_millis(300);
    let started = std::time::Instant::now();
    runtime.block_on(socket::connect(Domain::IPV4, &silent.into(), limit)).unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(3));
}

/// Whatever this machine's vsock can do, nobody has this port.
#[test]
fn a_vsock_port_that_nobody_has_is_an_error_with_a_name() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let address = vsock(1, 0xfeed_8443);
    let to = SockAddr::vsock(address.cid, address.port);
    let ended = runtime.block_on(socket::connect(Domain::VSOCK, &to, Duration::from_millis(300)));
    let error = VsockError::of(address, &ended.unwrap_err());
    let known = ["vsock.absent", "vsock.refused", "vsock.timed-out", "vsock.no-route", "vsock.not-permitted"];
    assert!(known.contains(&error.code()), "{error}");
}

/// CH-19, over a family that every machine has.
#[tokio::test]
async fn a_port_of_the_loopback_leads_to_the_other_side() {
    let folder = tempfile::tempdir().unwrap();
    let there = SockAddr::unix(folder.path().join("proxy")).unwrap();
    let to = forward::forward_to(Domain::UNIX, there.clone()).unwrap();
    assert!(to.ip().is_loopback());
    // Nobody is there yet: the connection is closed, and the next one finds somebody.
    let mut early = tokio::net::TcpStream::connect(to).await.unwrap();
    assert_eq!(early.read(&mut [0; 1]).await.unwrap_or(0), 0);
    let listener = Listener::listen(socket::bind(Domain::UNIX, &there).unwrap(), 8).unwrap();
    let echo = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut said = Vec::new();
        stream.read_to_end(&mut said).await.unwrap();
        stream.write_all(&said).await.unwrap();
        stream.shutdown().await.unwrap();
    });
    let said = vec![7; 300_000];
    let mut here = tokio::net::TcpStream::connect(to).await.unwrap();
    let (mut reading, mut writing) = here.split();
    let mut heard = Vec::new();
    let both = async {
        writing.write_all(&said).await.unwrap();
        writing.shutdown().await.unwrap();
        reading.read_to_end(&mut heard).await.unwrap();
    };
    tokio::time::timeout(LIMIT, both).await.unwrap();
    assert_eq!(heard, said);
    echo.await.unwrap();
}
