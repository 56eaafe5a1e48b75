//! One request and its answer on a local socket (spec/upstream.md, section 4).
//!
//! HTTP/1.1 as far as such servers speak it: a status line, few and short headers, and a body with a length, in chunks or to the end
//! of the connection. Nothing else is understood, everything has a bound, and buffers that held a prompt or an answer are overwritten.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use casemate_engine::{Cancel, EngineError, UpstreamFault};
use zeroize::Zeroizing;

/// Where an upstream listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// On this machine's loopback.
    Port(u16),
    Socket(PathBuf),
}

/// How long an answer is waited for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waits {
    /// Until its first byte.
    pub(super) first: Duration,
    /// Between two pieces.
    pub(super) between: Duration,
    /// Until its end.
    pub(super) whole: Duration,
}

/// Why an exchange ended early.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stopped {
    /// Nobody waits for the answer any more.
    Cancelled,
    Fault(UpstreamFault),
}

impl From<UpstreamFault> for Stopped {
    fn from(fault: UpstreamFault) -> Self {
        Self::Fault(fault)
    }
}

impl From<Stopped> for EngineError {
    fn from(stopped: Stopped) -> Self {
        match stopped {
            Stopped::Cancelled => Self::Cancelled,
            Stopped::Fault(fault) => Self::Upstream(fault),
        }
    }
}

/// What is no answer.
pub(super) fn wrong(what: &'static str) -> Stopped {
    UpstreamFault::Answer { what }.into()
}

/// An answer whose head was read.
pub(super) struct Answer<'a> {
    pub(super) status: u16,
    /// Lower case, without parameters.
    pub(super) kind: String,
    pub(super) body: Body<'a>,
}

/// Sends a request and reads the head of its answer. `limit` bounds the bytes of the body.
pub(super) fn send<'a>(
    place: &Place,
    method: &str,
    path: &str,
    body: &[u8],
    limit: u64,
    waits: Waits,
    cancel: &'a Cancel,
) -> Result<Answer<'a>, Stopped> {
    let mut socket = Socket::connect(place).map_err(|_| UpstreamFault::Unreachable)?;
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAccept-Encoding: identity\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let written = socket.write_all(head.as_bytes()).and_then(|()| socket.write_all(body));
    // A server that refuses a request early may not read it whole; then its answer says so.
    if let Err(error) = written
        && matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
    {
        return Err(UpstreamFault::Silent { seconds: WRITE.as_secs().try_into().unwrap_or(u32::MAX) }.into());
    }
    let now = Instant::now();
    let mut wire = Wire {
        socket,
        buffer: Zeroizing::new(vec![0; BUFFER]),
        from: 0,
        to: 0,
        waits,
        wait: waits.first,
        started: now,
        heard: now,
        cancel,
    };
    let Head { status, kind, framing } = wire.head()?;
    wire.wait = waits.between;
    Ok(Answer { status, kind, body: Body { wire, framing, left: limit } })
}

/// The body of an answer.
pub(super) struct Body<'a> {
    wire: Wire<'a>,
    framing: Framing,
    /// Bytes that it may still have.
    left: u64,
}

impl Body<'_> {
    /// Appends what is there, at least a byte; `false` at its end.
    pub(super) fn more(&mut self, into: &mut Wiped) -> Result<bool, Stopped> {
        let most = match &mut self.framing {
            Framing::Ended => return Ok(false),
            Framing::Length(0) => {
                self.framing = Framing::Ended;
                return Ok(false);
            }
            Framing::Length(left) | Framing::Chunk(left) if *left > 0 => *left,
            Framing::Length(_) | Framing::Chunk(_) => {
                let size = self.wire.chunk()?;
                if size == 0 {
                    self.framing = Framing::Ended;
                    return Ok(false);
                }
                self.framing = Framing::Chunk(size);
                size
            }
            Framing::ToTheEnd => u64::MAX,
        };
        if self.wire.from == self.wire.to && !self.wire.fill()? {
            return match self.framing {
                Framing::ToTheEnd => {
                    self.framing = Framing::Ended;
                    Ok(false)
                }
                _ => Err(wrong("it ends in the middle")),
            };
        }
        let there = self.wire.buffer.get(self.wire.from..self.wire.to).unwrap_or_default();
        let taken = there.len().min(usize::try_from(most).unwrap_or(usize::MAX));
        self.left = self.left.checked_sub(taken as u64).ok_or_else(|| wrong("it is too long"))?;
        into.push(there.get(..taken).unwrap_or_default());
        self.wire.from += taken;
        match &mut self.framing {
            Framing::Length(left) => *left -= taken as u64,
            Framing::Chunk(left) => {
                *left -= taken as u64;
                if *left == 0 && !self.wire.line()?.is_empty() {
                    return Err(wrong("a chunk that is longer than it says"));
                }
            }
            Framing::ToTheEnd | Framing::Ended => {}
        }
        Ok(true)
    }

    /// The rest of it.
    pub(super) fn whole(&mut self) -> Result<Wiped, Stopped> {
        let mut all = Wiped::default();
        while self.more(&mut all)? {}
        Ok(all)
    }
}

/// Bytes that are overwritten when they go, also those that a growing list leaves behind.
#[derive(Default)]
pub(super) struct Wiped(Zeroizing<Vec<u8>>);

impl Wiped {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        let needed = self.0.len() + bytes.len();
        if needed > self.0.capacity() {
            let mut larger = Zeroizing::new(Vec::with_capacity(needed.max(2 * self.0.capacity()).max(4096)));
            larger.extend_from_slice(&self.0);
            self.0 = larger;
        }
        self.0.extend_from_slice(bytes);
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Forgets the first bytes.
    pub(super) fn forget(&mut self, first: usize) {
        let first = first.min(self.0.len());
        self.0.copy_within(first.., 0);
        let left = self.0.len() - first;
        self.0.truncate(left);
    }
}

impl Write for Wiped {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.push(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// How a body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    /// After so many bytes.
    Length(u64),
    /// With an empty chunk; so many bytes are left of this one.
    Chunk(u64),
    ToTheEnd,
    Ended,
}

struct Head {
    status: u16,
    kind: String,
    framing: Framing,
}

/// A socket that is read in small waits, so that a request can be cancelled (UP-44).
struct Wire<'a> {
    socket: Socket,
    buffer: Zeroizing<Vec<u8>>,
    from: usize,
    to: usize,
    waits: Waits,
    /// The longest silence now.
    wait: Duration,
    started: Instant,
    heard: Instant,
    cancel: &'a Cancel,
}

impl Wire<'_> {
    /// Reads what is there; `false` at the end of the connection.
    fn fill(&mut self) -> Result<bool, Stopped> {
        if self.from > 0 {
            self.buffer.copy_within(self.from..self.to, 0);
            self.to -= self.from;
            self.from = 0;
        }
        loop {
            if self.cancel.is_cancelled() {
                return Err(Stopped::Cancelled);
            }
            let room = self.buffer.get_mut(self.to..).unwrap_or_default();
            if room.is_empty() {
                return Err(wrong("a line that is too long"));
            }
            match self.socket.read(room) {
                Ok(0) => return Ok(false),
                Ok(read) => {
                    self.to += read;
                    self.heard = Instant::now();
                    if self.started.elapsed() > self.waits.whole {
                        return Err(silent(self.waits.whole));
                    }
                    return Ok(true);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    if self.heard.elapsed() > self.wait {
                        return Err(silent(self.wait));
                    }
                }
                // As a program that ended leaves it.
                Err(_) => return Ok(false),
            }
        }
    }

    fn head(&mut self) -> Result<Head, Stopped> {
        let length = loop {
            let there = self.buffer.get(self.from..self.to).unwrap_or_default();
            if let Some(at) = there.windows(4).position(|four| four == b"\r\n\r\n") {
                break at;
            }
            if there.len() > MAX_HEAD {
                return Err(wrong("a head that is too long"));
            }
            if !self.fill()? {
                return Err(wrong("it ends before it begins"));
            }
        };
        if length > MAX_HEAD {
            return Err(wrong("a head that is too long"));
        }
        let head = self.buffer.get(self.from..self.from + length).unwrap_or_default();
        let head = head_of(head)?;
        self.from += length + 4;
        Ok(head)
    }

    /// The size of the next chunk.
    fn chunk(&mut self) -> Result<u64, Stopped> {
        let line = self.line()?;
        let digits = line.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        let fine = (1..=8).contains(&digits.len()) && digits.iter().all(u8::is_ascii_hexdigit);
        let size = std::str::from_utf8(digits).ok().filter(|_| fine);
        size.and_then(|size| u64::from_str_radix(size, 16).ok())
            .ok_or_else(|| wrong("a chunk without a size"))
    }

    /// A short line, without its end.
    fn line(&mut self) -> Result<Vec<u8>, Stopped> {
        loop {
            let there = self.buffer.get(self.from..self.to).unwrap_or_default();
            if let Some(at) = there.iter().take(MAX_LINE).position(|byte| *byte == b'\n') {
                let line = there.get(..at).unwrap_or_default();
                let line =
                    line.strip_suffix(b"\r").ok_or_else(|| wrong("a line that does not end as one"))?;
                let line = line.to_vec();
                self.from += at + 1;
                return Ok(line);
            }
            if there.len() >= MAX_LINE {
                return Err(wrong("a chunk without a size"));
            }
            if !self.fill()? {
                return Err(wrong("it ends in the middle"));
            }
        }
    }
}

fn silent(waited: Duration) -> Stopped {
    UpstreamFault::Silent { seconds: u32::try_from(waited.as_secs()).unwrap_or(u32::MAX) }.into()
}

/// Reads a status line and headers, without the empty line after them.
fn head_of(head: &[u8]) -> Result<Head, Stopped> {
    let head = std::str::from_utf8(head).map_err(|_| wrong("a head that is no text"))?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| {
        let rest = line.strip_prefix("HTTP/1.1 ").or_else(|| line.strip_prefix("HTTP/1.0 "))?;
        let code = rest.get(..3).filter(|code| code.bytes().all(|byte| byte.is_ascii_digit()))?;
        matches!(rest.as_bytes().get(3), None | Some(b' ')).then(|| code.parse::<u16>().ok())?
    });
    let status =
        status.filter(|status| (200..600).contains(status)).ok_or_else(|| wrong("no status line"))?;
    let (mut length, mut chunked, mut kind) = (None, false, String::new());
    for (number, line) in lines.enumerate() {
        let (name, value) = line.split_once(':').ok_or_else(|| wrong("a header without a name"))?;
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if number >= MAX_HEADERS || name.is_empty() || !name.bytes().all(token) {
            return Err(wrong("headers that are none, or too many"));
        }
        let value = value.trim_matches([' ', '\t']);
        if value.bytes().any(|byte| byte.is_ascii_control() && byte != b'\t') {
            return Err(wrong("a header with a control character"));
        }
        match name.to_ascii_lowercase().as_str() {
            "content-length" => {
                let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
                let bytes = value.parse::<u64>().ok().filter(|_| digits && length.is_none());
                length = Some(bytes.ok_or_else(|| wrong("a length that is none"))?);
            }
            "transfer-encoding" if value.eq_ignore_ascii_case("chunked") && !chunked => chunked = true,
            "transfer-encoding" => return Err(wrong("an encoding that nobody asked for")),
            "content-encoding" if !value.eq_ignore_ascii_case("identity") => {
                return Err(wrong("an encoding that nobody asked for"));
            }
            "content-type" => {
                kind = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
            }
            _ => {}
        }
    }
    let framing = match (length, chunked) {
        (Some(_), true) => return Err(wrong("two lengths")),
        (Some(length), false) => Framing::Length(length),
        (None, true) => Framing::Chunk(0),
        (None, false) => Framing::ToTheEnd,
    };
    Ok(Head { status, kind, framing })
}

enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    fn connect(place: &Place) -> io::Result<Self> {
        match place {
            Place::Port(port) => {
                let socket = TcpStream::connect_timeout(&(Ipv4Addr::LOCALHOST, *port).into(), CONNECT)?;
                socket.set_read_timeout(Some(TICK))?;
                socket.set_write_timeout(Some(WRITE))?;
                socket.set_nodelay(true)?;
                Ok(Self::Tcp(socket))
            }
            Place::Socket(path) => {
                let socket = UnixStream::connect(path)?;
                socket.set_read_timeout(Some(TICK))?;
                socket.set_write_timeout(Some(WRITE))?;
                Ok(Self::Unix(socket))
            }
        }
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.read(buffer),
            Self::Unix(socket) => socket.read(buffer),
        }
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.write(bytes),
            Self::Unix(socket) => socket.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A server that writes as long as it can hears that nobody reads.
impl Drop for Socket {
    fn drop(&mut self) {
        let _ = match self {
            Self::Tcp(socket) => socket.shutdown(Shutdown::Both),
            Self::Unix(socket) => socket.shutdown(Shutdown::Both),
        };
    }
}

/// How soon a cancelled request ends.
const TICK: Duration = Duration::from_millis(50);
const CONNECT: Duration = Duration::from_secs(5);
/// How long the upstream may leave a request unread.
const WRITE: Duration = Duration::from_secs(30);
const BUFFER: usize = 64 << 10;
const MAX_HEAD: usize = 32 << 10;
const MAX_HEADERS: usize = 100;
/// Of a chunk's size and what stands beside it.
const MAX_LINE: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;
    use std::thread;

    const SHORT: Waits = Waits {
        first: Duration::from_millis(300),
        between: Duration::from_millis(300),
        whole: Duration::from_secs(2),
    };

    /// Asks a server that says `pieces`, one after the other, and reads its whole answer.
    fn ask(pieces: Vec<Vec<u8>>, then_hang: bool) -> Result<(u16, String, Vec<u8>), Stopped> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        let server = thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            let mut asked = [0; 4096];
            let _ = socket.read(&mut asked);
            for piece in pieces {
                if socket.write_all(&piece).is_err() {
                    return;
                }
                thread::sleep(Duration::from_millis(1));
            }
            if then_hang {
                // Until the client goes away.
                while socket.read(&mut asked).is_ok_and(|read| read > 0) {}
            }
        });
        let cancel = Cancel::new();
        let answer =
            send(&Place::Socket(path), "GET", "/", b"", 1 << 16, SHORT, &cancel).and_then(|mut answer| {
                Ok((answer.status, answer.kind.clone(), answer.body.whole()?.bytes().to_vec()))
            });
        server.join().unwrap();
        answer
    }

    fn bytes(answer: &str) -> Result<(u16, String, Vec<u8>), Stopped> {
        let whole = ask(vec![answer.into()], false);
        // However it is cut, it reads the same.
        let cut = answer.bytes().map(|byte| vec![byte]).collect();
        assert_eq!(ask(cut, false), whole);
        whole
    }

    #[test]
    fn a_body_ends_as_it_says() {
        let good = |head: &str, body: &str| {
            let (status, _, read) = bytes(&format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{body}")).unwrap();
            assert_eq!(status, 200);
            String::from_utf8(read).unwrap()
        };
        assert_eq!(good("Content-Length: 5", "hello and more"), "hello");
        assert_eq!(good("transfer-encoding: chunked", "3\r\nhel\r\n02;x=y\r\nlo\r\n0\r\n\r\n"), "hello");
        assert_eq!(good("Server: x", "hello"), "hello");
        let (status, kind, _) =
            bytes("HTTP/1.0 503 \r\nContent-Type: Text/HTML; charset=x\r\nContent-Length: 0\r\n\r\n")
                .unwrap();
        assert_eq!((status, kind.as_str()), (503, "text/html"));
    }

    /// UP-40: one mistake each.
    #[test]
    fn what_is_no_answer_is_refused() {
        for answer in [
            "",
            "<html>",
            "<html>\r\n\r\n",
            "HTTP/2 200 OK\r\n\r\n",
            "HTTP/1.1 20 OK\r\n\r\n",
            "HTTP/1.1 200OK\r\n\r\n",
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
            "HTTP/1.1 200 OK\r\n folded: x\r\n\r\n",
            "HTTP/1.1 200 OK\r\nx: a\rb\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhell",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello!\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nhello\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n111111111\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\r\n",
        ] {
            let refused = bytes(answer).unwrap_err();
            assert!(matches!(refused, Stopped::Fault(UpstreamFault::Answer { .. })), "{answer}: {refused:?}");
        }
    }

    #[test]
    fn everything_has_a_bound() {
        let is_wrong = |answer| matches!(answer, Err(Stopped::Fault(UpstreamFault::Answer { .. })));
        let mut header = b"HTTP/1.1 200 OK\r\nx: ".to_vec();
        header.resize(1 << 20, b'a');
        assert!(is_wrong(ask(vec![header], true)), "a header without an end");
        let many = (0..200).map(|n| format!("x{n}: y\r\n")).collect::<String>();
        assert!(is_wrong(ask(vec![format!("HTTP/1.1 200 OK\r\n{many}\r\n").into()], false)), "many headers");
        let long = [b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), vec![b'a'; (1 << 16) + 1]];
        assert!(is_wrong(ask(long.to_vec(), false)), "a long body");
        let size = [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec(), vec![b'1'; 4096]];
        assert!(is_wrong(ask(size.to_vec(), true)), "a long size");
        let silent = |answer: Result<(u16, String, Vec<u8>), Stopped>| {
            answer.err().map(|stopped| EngineError::from(stopped).code()) == Some("upstream.silent")
        };
        assert!(silent(ask(vec![], true)), "nothing");
        assert!(silent(ask(vec![b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhel".to_vec()], true)), "half");
        // A byte now and then, for ever.
        let mut drip = vec![b"HTTP/1.1 200 OK\r\n\r\n".to_vec()];
        drip.extend((0..20_000).map(|_| b"a".to_vec()));
        assert!(silent(ask(drip, true)), "dripping");
    }

    #[test]
    fn nobody_there_and_nobody_waiting() {
        let cancel = Cancel::new();
        let nowhere = Place::Socket("/nonexistent/socket".into());
        let asked = send(&nowhere, "GET", "/", b"", 1, SHORT, &cancel);
        assert_eq!(
            asked.err().map(|stopped| EngineError::from(stopped).code()),
            Some("upstream.unreachable")
        );
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let _listener = UnixListener::bind(&path).unwrap();
        cancel.cancel();
        let asked = send(&Place::Socket(path), "GET", "/", b"", 1, SHORT, &cancel);
        assert_eq!(asked.err(), Some(Stopped::Cancelled));
    }

    #[test]
    fn what_grows_keeps_its_bytes() {
        let mut wiped = Wiped::default();
        for n in 0..10_000u32 {
            wiped.push(&n.to_le_bytes());
        }
        assert_eq!(wiped.bytes().len(), 40_000);
        wiped.forget(39_996);
        assert_eq!(wiped.bytes(), 9999u32.to_le_bytes());
        wiped.forget(9);
        assert!(wiped.bytes().is_empty());
    }
}
