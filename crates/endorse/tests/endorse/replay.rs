//! A server that replays answers: one thread, one request a connection, every request written down.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// What the server does with a request.
#[derive(Clone)]
pub(crate) enum Reply {
    /// 200 with what this says to the request's body.
    To(fn(&[u8]) -> Vec<u8>),
    /// 200 with this body.
    Body(Vec<u8>),
    /// 200 with a header and this body.
    With(&'static str, String, Vec<u8>),
    /// A status with a header line, or with none (empty).
    Status(u16, &'static str),
    /// A body shorter than its Content-Length.
    Truncated(Vec<u8>),
    /// Nothing for this long, then this.
    Late(Duration, Vec<u8>),
    /// The answers one after the other; the last one stays.
    Then(Vec<Reply>),
}

/// A request as it arrived.
#[derive(Clone)]
pub(crate) struct Seen {
    pub(crate) at: Instant,
    /// Path and query.
    pub(crate) target: String,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

pub(crate) struct Replay {
    address: String,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    answers: BTreeMap<String, Reply>,
    seen: Vec<Seen>,
}

impl Replay {
    /// Answers exactly these targets; every other one is 404.
    pub(crate) fn start(answers: impl IntoIterator<Item = (String, Reply)>) -> Self {
        Self::listen(answers, None)
    }

    pub(crate) fn start_tls(
        answers: impl IntoIterator<Item = (String, Reply)>,
        config: Arc<ServerConfig>,
    ) -> Self {
        Self::listen(answers, Some(config))
    }

    fn listen(answers: impl IntoIterator<Item = (String, Reply)>, tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let state = Arc::new(Mutex::new(State { answers: answers.into_iter().collect(), seen: Vec::new() }));
        let shared = state.clone();
        let address = if tls.is_some() {
            format!("https://localhost:{port}")
        } else {
            format!("http://127.0.0.1:{port}")
        };
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (shared, tls) = (shared.clone(), tls.clone());
                std::thread::spawn(move || match tls {
                    None => serve(stream, &shared),
                    Some(config) => {
                        let connection = ServerConnection::new(config).expect("a configuration");
                        serve(StreamOwned::new(connection, stream), &shared);
                    }
                });
            }
        });
        Self { address, state }
    }

    pub(crate) fn url(&self) -> String {
        self.address.clone()
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.state.lock().expect("no panic").seen.clone()
    }

    pub(crate) fn targets(&self) -> Vec<String> {
        self.seen().into_iter().map(|seen| seen.target).collect()
    }

    pub(crate) fn answer(&self, target: &str, reply: Reply) {
        self.state.lock().expect("no panic").answers.insert(target.to_owned(), reply);
    }
}

trait Stream: Read + Write {}
impl Stream for TcpStream {}
impl Stream for StreamOwned<ServerConnection, TcpStream> {}

fn serve(mut stream: impl Stream, state: &Mutex<State>) {
    let mut head = Vec::new();
    let mut octet = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut octet) {
            Ok(1) => head.push(octet[0]),
            _ => return,
        }
    }
    let head = String::from_utf8(head).expect("ASCII");
    let target = head.split(' ').nth(1).expect("a request line").to_owned();
    let length = head
        .to_lowercase()
        .split_once("\r\ncontent-length: ")
        .map(|(_, rest)| rest.lines().next().and_then(|line| line.parse().ok()).expect("a number"));
    let mut body = vec![0; length.unwrap_or(0)];
    if stream.read_exact(&mut body).is_err() {
        return;
    }
    assert!(head.starts_with(if body.is_empty() { "GET " } else { "POST " }), "{head}");
    let reply = {
        let mut state = state.lock().expect("no panic");
        state.seen.push(Seen { at: Instant::now(), target: target.clone(), head, body: body.clone() });
        match state.answers.get_mut(&target) {
            Some(Reply::Then(replies)) if replies.len() > 1 => replies.remove(0),
            Some(Reply::Then(replies)) => replies[0].clone(),
            Some(reply) => reply.clone(),
            None => Reply::Status(404, ""),
        }
    };
    // A client that went away is one of the cases.
    let _ = answer(&mut stream, reply, &body);
    let _ = stream.flush();
}

fn answer(stream: &mut impl Stream, reply: Reply, request: &[u8]) -> std::io::Result<()> {
    let ok = |length: usize, header: &str| {
        format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n{header}Connection: close\r\n\r\n")
    };
    match reply {
        Reply::To(respond) => {
            let body = respond(request);
            stream.write_all(ok(body.len(), "").as_bytes())?;
            stream.write_all(&body)
        }
        Reply::Body(body) => {
            stream.write_all(ok(body.len(), "").as_bytes())?;
            stream.write_all(&body)
        }
        Reply::With(name, value, body) => {
            stream.write_all(ok(body.len(), &format!("{name}: {value}\r\n")).as_bytes())?;
            stream.write_all(&body)
        }
        Reply::Status(status, header) => {
            let header = if header.is_empty() { String::new() } else { format!("{header}\r\n") };
            let head =
                format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n{header}Connection: close\r\n\r\n");
            stream.write_all(head.as_bytes())
        }
        Reply::Truncated(body) => {
            stream.write_all(ok(body.len() + 1, "").as_bytes())?;
            stream.write_all(&body)
        }
        Reply::Late(wait, body) => {
            std::thread::sleep(wait);
            stream.write_all(ok(body.len(), "").as_bytes())?;
            stream.write_all(&body)
        }
        Reply::Then(_) => unreachable!("resolved by the caller"),
    }
}
