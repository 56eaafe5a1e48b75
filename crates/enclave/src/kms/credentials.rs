//! The operator's credentials (KMS-05): what `aws configure export-credentials --format process` prints.
//!
//! They are no secret from the operator, and are wiped and kept out of every output all the same.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use socket2::{Domain, SockAddr};
use tokio::io::AsyncReadExt;
use zeroize::Zeroizing;

use super::{CredentialSource, KmsError};
use crate::transport::{VsockError, socket};

/// An access key, long-lived or of a session. Nothing prints it.
pub(super) struct Credentials {
    id: Zeroizing<String>,
    secret: Zeroizing<String>,
    token: Option<Zeroizing<String>>,
}

/// Members that are not named here, as the time of its end, are not looked at: KMS knows.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Process<'a> {
    version: u32,
    access_key_id: &'a str,
    secret_access_key: &'a str,
    session_token: Option<&'a str>,
}

impl Credentials {
    /// From a file.
    pub(super) fn read(path: &Path) -> Result<Self, KmsError> {
        let wrong = |reason| KmsError::File { path: path.to_owned(), reason };
        let text = Zeroizing::new(read_text(path, MAX_TEXT).map_err(wrong)?);
        Self::parse(&text).map_err(wrong)
    }

    /// From whoever the source names, now.
    pub(super) async fn ask(source: &CredentialSource, limit: Duration) -> Result<Self, KmsError> {
        let address = match source {
            CredentialSource::File(path) => return Self::read(path),
            CredentialSource::Vsock(address) => *address,
        };
        let to = SockAddr::vsock(address.cid, address.port);
        let text = Self::from_peer(Domain::VSOCK, &to, limit).await.map_err(|error| match error {
            Heard::Connect(error) => KmsError::Vsock(VsockError::of(address, &error)),
            Heard::Wrong(reason) => KmsError::Credentials { reason },
        })?;
        Self::parse(&text).map_err(|reason| KmsError::Credentials { reason })
    }

    /// Over any family of addresses: the tests ask over one that every machine has.
    pub(super) async fn from_peer(
        domain: Domain,
        to: &SockAddr,
        limit: Duration,
    ) -> Result<Zeroizing<String>, Heard> {
        let deadline = tokio::time::Instant::now() + limit;
        let stream = socket::connect(domain, to, limit).await.map_err(Heard::Connect)?;
        let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_TEXT as usize + 1));
        let mut stream = stream.take(MAX_TEXT + 1);
        let heard = tokio::time::timeout_at(deadline, stream.read_to_end(&mut bytes)).await;
        heard
            .map_err(|_| Heard::Wrong("they did not come in time"))?
            .map_err(|_| Heard::Wrong("they broke off"))?;
        if bytes.len() as u64 > MAX_TEXT {
            return Err(Heard::Wrong("they are too long"));
        }
        let text = std::str::from_utf8(&bytes).map_err(|_| Heard::Wrong("they are not text"))?;
        Ok(Zeroizing::new(text.to_owned()))
    }

    fn parse(text: &str) -> Result<Self, &'static str> {
        // The members are borrowed from the text: the parser makes no copy of the key.
        let wire: Process<'_> = serde_json::from_str(text)
            .map_err(|_| "it is not what `aws configure export-credentials --format process` prints")?;
        if wire.version != 1 {
            return Err("it is of another version than 1");
        }
        let graphic = |text: &str, most: usize| {
            (1..=most).contains(&text.len()) && text.bytes().all(|octet| octet.is_ascii_graphic())
        };
        // A name goes into a header, in front of what is signed.
        let is_id = |text: &str| text.bytes().all(|octet| octet.is_ascii_alphanumeric());
        if !graphic(wire.access_key_id, 128) || !is_id(wire.access_key_id) {
            return Err("its AccessKeyId is none");
        }
        if !graphic(wire.secret_access_key, 256) {
            return Err("its SecretAccessKey is none");
        }
        if wire.session_token.is_some_and(|token| !graphic(token, 8192)) {
            return Err("its SessionToken is none");
        }
        Ok(Self {
            id: Zeroizing::new(wire.access_key_id.to_owned()),
            secret: Zeroizing::new(wire.secret_access_key.to_owned()),
            token: wire.session_token.map(|token| Zeroizing::new(token.to_owned())),
        })
    }

    #[cfg(test)]
    pub(super) fn example(id: &str, secret: &str) -> Self {
        let text = |text: &str| Zeroizing::new(text.to_owned());
        Self { id: text(id), secret: text(secret), token: None }
    }

    /// The access key's name.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// What signs.
    pub(super) fn secret(&self) -> &str {
        &self.secret
    }

    /// The session's token.
    pub(super) fn token(&self) -> Option<&str> {
        self.token.as_ref().map(|token| token.as_str())
    }
}

/// Why nothing was heard.
#[derive(Debug)]
pub(super) enum Heard {
    /// Nobody there.
    Connect(std::io::Error),
    /// Something else came.
    Wrong(&'static str),
}

/// A file of text, of at most this many bytes.
pub(super) fn read_text(path: &Path, most: u64) -> Result<String, &'static str> {
    let mut text = String::new();
    let file = File::open(path).map_err(|_| "it cannot be read")?;
    file.take(most.saturating_add(1)).read_to_string(&mut text).map_err(|_| "it is not text")?;
    if text.len() as u64 > most { Err("it is too long") } else { Ok(text) }
}

/// A session's token has about a KiB.
const MAX_TEXT: u64 = 16 * 1024;

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::TcpListener;

    use super::*;

    const GOOD: &str = concat!(
        r#"{"Version":1,"AccessKeyId":"AKIDEXAMPLE","SecretAccessKey":"wJalr/K7+x","#,
        r#""SessionToken":"IQoJ/+==","Expiration":"2026-11-30T12:00:00+00:00"}"#
    );

    #[test]
    fn what_the_command_line_of_aws_exports() {
        let credentials = Credentials::parse(GOOD).ok().unwrap();
        assert_eq!((credentials.id(), credentials.secret()), ("AKIDEXAMPLE", "wJalr/K7+x"));
        assert_eq!(credentials.token(), Some("IQoJ/+=="));
        let long = GOOD.replace(r#""SessionToken":"IQoJ/+==","#, "");
        assert_eq!(Credentials::parse(&long).ok().unwrap().token(), None);
    }

    #[test]
    fn one_mistake_each() {
        for (from, to) in [
            ("\"Version\":1", "\"Version\":2"),
            ("\"Version\":1,", ""),
            ("\"AccessKeyId\":\"AKIDEXAMPLE\",", ""),
            ("AKIDEXAMPLE", ""),
            ("AKIDEXAMPLE", "AKID/EXAMPLE"),
            ("AKIDEXAMPLE", "AKID EXAMPLE"),
            ("wJalr/K7+x", ""),
            ("wJalr/K7+x", "wJalr\\nK7+x"),
            ("IQoJ/+==", ""),
            ("IQoJ/+==", "a\\r\\nx: y"),
            ("{", "["),
            ("}", ""),
            ("}", "}{}"),
        ] {
            let text = GOOD.replacen(from, to, 1);
            assert!(text != GOOD && Credentials::parse(&text).is_err(), "{text}");
        }
        assert!(Credentials::parse("").is_err());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c");
        std::fs::write(&path, "x".repeat(MAX_TEXT as usize + 1)).unwrap();
        assert_eq!(Credentials::read(&path).err().map(|error| error.code()), Some("kms.file"));
        std::fs::write(&path, GOOD).unwrap();
        assert!(Credentials::read(&path).is_ok());
    }

    /// Over TCP, which every machine has: above the socket nothing differs.
    async fn heard(answer: Vec<u8>, wait: Duration) -> Result<Zeroizing<String>, Heard> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = SockAddr::from(listener.local_addr().unwrap());
        let peer = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            std::thread::sleep(wait);
            let _ = stream.write_all(&answer);
        });
        let heard = Credentials::from_peer(Domain::IPV4, &to, Duration::from_secs(1)).await;
        peer.join().unwrap();
        heard
    }

    #[tokio::test]
    async fn they_come_from_a_peer_that_writes_and_closes() {
        let text = heard(GOOD.into(), Duration::ZERO).await.unwrap();
        assert!(Credentials::parse(&text).is_ok());
        for (answer, wait, expected) in [
            (vec![b'x'; MAX_TEXT as usize + 1], 0, "they are too long"),
            (vec![0xff], 0, "they are not text"),
            (GOOD.into(), 2, "they did not come in time"),
        ] {
            match heard(answer, Duration::from_secs(wait)).await {
                Err(Heard::Wrong(reason)) => assert_eq!(reason, expected),
                other => panic!("{expected}: {:?}", other.err()),
            }
        }
        let nobody = SockAddr::from(std::net::SocketAddr::from(([127, 0, 0, 1], 1)));
        let error = Credentials::from_peer(Domain::IPV4, &nobody, Duration::from_secs(1)).await;
        assert!(matches!(error, Err(Heard::Connect(_))));
    }

    #[tokio::test]
    async fn over_vsock_where_nobody_is() {
        let address = crate::transport::VsockAddress { cid: 3, port: 8003 };
        let asked = Credentials::ask(&CredentialSource::Vsock(address), Duration::from_secs(2)).await;
        let code = asked.err().map(|error| error.code()).unwrap_or_default();
        assert!(code.starts_with("vsock."), "{code}");
    }
}
