//! Through an HTTP proxy (END-25): the same TLS to the same names, which here only the proxy can find.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use casemate_endorse::{EndorseKind, Settings};
use libtest_mimic::Failed;

use crate::machine::{cache, genoa, settings};
use crate::replay::{Replay, Reply};

type Case = (&'static str, fn() -> Result<(), Failed>);

pub(crate) const CASES: &[Case] = &[
    ("through a proxy, with TLS to the service's own name", through),
    ("a proxy that refuses, and one that is not there", refusing),
    ("a service of this machine is asked directly", direct),
];

/// Where nobody looks it up but the proxy.
const NAME: &str = "kds.example";

/// A proxy that leads every CONNECT to one port of this machine, or refuses with this status.
struct Proxy {
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    fn start(answer: Result<u16, &'static str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = asked.clone();
        std::thread::spawn(move || {
            for mut here in listener.incoming().flatten() {
                let mut head = Vec::new();
                let mut octet = [0];
                while !head.ends_with(b"\r\n\r\n") && matches!(here.read(&mut octet), Ok(1)) {
                    head.push(octet[0]);
                }
                let line = String::from_utf8_lossy(&head).lines().next().unwrap_or_default().to_owned();
                seen.lock().expect("no panic").push(line);
                match answer {
                    Err(status) => drop(write!(here, "HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n")),
                    Ok(port) => carry(here, port),
                }
            }
        });
        Self { url, asked }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("no panic").clone()
    }
}

fn carry(mut here: TcpStream, port: u16) {
    let mut there = TcpStream::connect(("127.0.0.1", port)).expect("the service");
    here.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").expect("written");
    let (mut from, mut to) = (here.try_clone().expect("a handle"), there.try_clone().expect("a handle"));
    std::thread::spawn(move || drop(std::io::copy(&mut from, &mut to)));
    std::thread::spawn(move || drop(std::io::copy(&mut there, &mut here)));
}

/// The service under [`NAME`], with its authority; and its port.
fn service() -> Result<(Replay, String, u16), Failed> {
    let made = rcgen::generate_simple_self_signed([NAME.to_owned()])?;
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der())?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)?;
    let [vcek, crl] = genoa().targets.clone();
    let answers = [(vcek, Reply::Body(genoa().vek.clone())), (crl, Reply::Body(genoa().crl.clone()))];
    let replay = Replay::start_tls(answers, Arc::new(config));
    let port = replay.url().rsplit(':').next().ok_or("a port")?.parse()?;
    Ok((replay, made.cert.pem(), port))
}

fn through() -> Result<(), Failed> {
    let (service, authority, port) = service()?;
    let (proxy, cache) = (Proxy::start(Ok(port)), cache());
    let settings = Settings {
        proxy: Some(proxy.url.clone()),
        authorities: Some(authority.into_bytes()),
        ..settings(&format!("https://{NAME}"), &cache)
    };
    genoa().fetch(&settings)?;
    assert_eq!(service.seen().len(), 2);
    let asked = proxy.asked();
    assert!(!asked.is_empty());
    // The proxy learns the name, and nothing of what is asked.
    assert!(asked.iter().all(|line| *line == format!("CONNECT {NAME}:443 HTTP/1.1")), "{asked:?}");
    // Another authority's word is not taken because there is a proxy.
    let stranger = Settings { authorities: None, cache: cache.path().join("other"), ..settings };
    let error = genoa().fetch(&stranger).expect_err("an unknown authority");
    assert_eq!(error.code(), "endorse.unreachable");
    assert_eq!(service.seen().len(), 2);
    Ok(())
}

fn refusing() -> Result<(), Failed> {
    let closed = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let absent = format!("http://{closed}");
    for url in [Proxy::start(Err("403 Forbidden")).url, absent] {
        let cache = cache();
        let settings = Settings { proxy: Some(url), ..settings(&format!("https://{NAME}"), &cache) };
        let error = genoa().fetch(&settings).expect_err("no way");
        assert_eq!((error.code(), error.kind()), ("endorse.unreachable", EndorseKind::Unreachable));
    }
    Ok(())
}

fn direct() -> Result<(), Failed> {
    let (service, cache, proxy) = (genoa().service(), cache(), Proxy::start(Err("403 Forbidden")));
    genoa().fetch(&Settings { proxy: Some(proxy.url.clone()), ..settings(&service.url(), &cache) })?;
    assert_eq!(proxy.asked(), Vec::<String>::new());
    Ok(())
}
