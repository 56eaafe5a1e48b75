//! The stand-in of AWS KMS.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::cipher::{AES_256, DecryptionContext, PaddedBlockEncryptingKey, UnboundCipherKey};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac::{self, HMAC_SHA256};
use aws_lc_rs::rsa::{OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use casemate_attest::{Endorsements, Evidence, Revocation, TrustAnchors, verify};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::nitro::NOON;

/// What the stand-in knows, and what it demands.
pub(crate) struct Knows {
    /// Under which documents must be genuine.
    pub(crate) anchors: TrustAnchors,
    pub(crate) lists: Vec<Vec<u8>>,
    /// The key policy's condition.
    pub(crate) pcr0: [u8; 48],
    pub(crate) key: String,
    pub(crate) ciphertext: Vec<u8>,
    /// With which it was encrypted.
    pub(crate) context: BTreeMap<String, String>,
    pub(crate) secret: Vec<u8>,
    pub(crate) access: (&'static str, &'static str, Option<&'static str>),
}

/// What the stand-in does with a request that is in order.
#[derive(Clone)]
pub(crate) enum Does {
    /// What the service does.
    Its,
    /// This status and body.
    Says(u16, String),
    /// A status with a header.
    Header(u16, &'static str),
    /// Its answer, changed.
    Answers(fn(Value) -> Value),
    /// Its envelope, changed.
    Envelopes(fn(Vec<u8>) -> Vec<u8>),
    /// The envelope of its first answer.
    First,
    /// Nothing, with the connection open.
    Hangs,
    /// A head and half a body, and nothing more.
    Trickles,
    /// The connection is closed.
    Closes,
}

/// A request as it arrived.
#[derive(Clone)]
pub(crate) struct Seen {
    pub(crate) public_key: Vec<u8>,
    pub(crate) document: Vec<u8>,
    pub(crate) body: Value,
}

pub(crate) struct Kms {
    pub(crate) url: String,
    pub(crate) authority: String,
    state: Arc<Mutex<State>>,
}

struct State {
    knows: Knows,
    /// One after the other; the last one stays.
    does: Vec<Does>,
    seen: Vec<Seen>,
    envelopes: Vec<Vec<u8>>,
    connections: usize,
}

impl Kms {
    pub(crate) fn start(knows: Knows, does: Vec<Does>) -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .expect("an identity");
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("https://localhost:{}", listener.local_addr().expect("an address").port());
        let state = Arc::new(Mutex::new(State {
            knows,
            does,
            seen: Vec::new(),
            envelopes: Vec::new(),
            connections: 0,
        }));
        let shared = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                shared.lock().expect("no panic").connections += 1;
                let (shared, config) = (shared.clone(), config.clone());
                std::thread::spawn(move || {
                    let connection = ServerConnection::new(config).expect("a configuration");
                    serve(StreamOwned::new(connection, stream), &shared);
                });
            }
        });
        Self { url, authority: made.cert.pem(), state }
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.state.lock().expect("no panic").seen.clone()
    }

    pub(crate) fn connections(&self) -> usize {
        self.state.lock().expect("no panic").connections
    }

    pub(crate) fn does(&self, does: Does) {
        self.state.lock().expect("no panic").does = vec![does];
    }

    pub(crate) fn expects(&self, access: (&'static str, &'static str, Option<&'static str>)) {
        self.state.lock().expect("no panic").knows.access = access;
    }

    pub(crate) fn holds(&self, secret: &[u8]) {
        self.state.lock().expect("no panic").knows.secret = secret.to_vec();
    }
}

fn serve(mut stream: StreamOwned<ServerConnection, TcpStream>, state: &Mutex<State>) {
    let mut head = Vec::new();
    let mut octet = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut octet) {
            Ok(1) => head.push(octet[0]),
            _ => return,
        }
    }
    let head = String::from_utf8(head).expect("ASCII");
    let mut lines = head.lines();
    let line = lines.next().expect("a request line").to_owned();
    let headers: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    let mut body = vec![0; headers["content-length"].parse().expect("a number")];
    if stream.read_exact(&mut body).is_err() {
        return;
    }
    assert_eq!(line, "POST / HTTP/1.1");
    assert_eq!(headers["content-type"], "application/x-amz-json-1.1");
    assert_eq!(headers["x-amz-target"], "TrentService.Decrypt");
    let (status, answer, does) = state.lock().expect("no panic").answer(&headers, &body);
    let reply = |header: &str, length: usize| {
        format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\n{header}Connection: close\r\n\r\n")
    };
    let mut say = |bytes: &[u8]| {
        // Who went away is one of the cases.
        let _ = stream.write_all(bytes);
        let _ = stream.flush();
    };
    match does {
        Does::Closes => {}
        Does::Hangs => std::thread::sleep(Duration::from_secs(20)),
        Does::Trickles => {
            say(reply("", answer.len()).as_bytes());
            say(&answer.as_bytes()[..answer.len() / 2]);
            std::thread::sleep(Duration::from_secs(20));
        }
        Does::Header(_, header) => say(reply(&format!("{header}\r\n"), 0).as_bytes()),
        _ => {
            say(reply("", answer.len()).as_bytes());
            say(answer.as_bytes());
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct Decrypt {
    ciphertext_blob: String,
    encryption_context: BTreeMap<String, String>,
    key_id: String,
    recipient: Recipient,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct Recipient {
    attestation_document: String,
    key_encryption_algorithm: String,
}

impl State {
    /// Status, body, and what else is done.
    fn answer(&mut self, headers: &BTreeMap<String, String>, body: &[u8]) -> (u16, String, Does) {
        let does = if self.does.len() > 1 { self.does.remove(0) } else { self.does[0].clone() };
        let fault = |name: &str| {
            (400, json!({ "__type": name, "message": "the stand-in says so" }).to_string(), Does::Its)
        };
        if let Err(name) = self.signed(headers, body) {
            return fault(name);
        }
        let asked: Decrypt = serde_json::from_slice(body).expect("the request of Decrypt");
        let decoded = |text: &str| BASE64_STANDARD.decode(text).expect("base64");
        assert_eq!(asked.recipient.key_encryption_algorithm, "RSAES_OAEP_SHA_256");
        let document = decoded(&asked.recipient.attestation_document);
        let evidence = Evidence::parse(&document).expect("a document");
        let found = evidence.nitro().expect("of Nitro's");
        let public_key = found.public_key().expect("a public key").to_vec();
        let seen = Seen {
            public_key: public_key.clone(),
            document: document.clone(),
            body: serde_json::from_slice(body).expect("JSON"),
        };
        self.seen.push(seen);
        let endorsements = Endorsements::nitro(Revocation::of_lists(self.knows.lists.clone()));
        if verify(&evidence, &endorsements, &self.knows.anchors, NOON).is_err() {
            return fault("ValidationException");
        }
        if found.pcr(0) != Some(&self.knows.pcr0) {
            return fault("AccessDeniedException");
        }
        if asked.key_id != self.knows.key {
            return fault("IncorrectKeyException");
        }
        if decoded(&asked.ciphertext_blob) != self.knows.ciphertext
            || asked.encryption_context != self.knows.context
        {
            return fault("com.amazonaws.kms#InvalidCiphertextException");
        }
        let mut envelope = envelope(&public_key, &self.knows.secret);
        self.envelopes.push(envelope.clone());
        match &does {
            Does::Envelopes(change) => envelope = change(envelope),
            Does::First => envelope = self.envelopes[0].clone(),
            _ => {}
        }
        let mut answer = json!({
            "CiphertextForRecipient": BASE64_STANDARD.encode(envelope),
            "EncryptionAlgorithm": "SYMMETRIC_DEFAULT",
            "KeyId": self.knows.key,
            "KeyMaterialId": "a member that nobody knows",
            "Plaintext": null,
        });
        match &does {
            Does::Says(status, body) => return (*status, body.clone(), does),
            Does::Header(status, _) => return (*status, String::new(), does),
            Does::Answers(change) => answer = change(answer),
            _ => {}
        }
        (200, answer.to_string(), does)
    }

    /// Signature Version 4 over the headers as they arrived, computed anew.
    fn signed(&self, headers: &BTreeMap<String, String>, body: &[u8]) -> Result<(), &'static str> {
        let (id, secret, token) = self.knows.access;
        let fields: BTreeMap<&str, &str> = headers["authorization"]
            .strip_prefix("AWS4-HMAC-SHA256 ")
            .expect("the algorithm")
            .split(", ")
            .filter_map(|field| field.split_once('='))
            .collect();
        let region = self.knows.key.split(':').nth(3).expect("a region");
        let date = headers["x-amz-date"].as_str();
        let scope = format!("{}/{region}/kms/aws4_request", &date[..8]);
        if fields["Credential"] != format!("{id}/{scope}") {
            return Err("UnrecognizedClientException");
        }
        if headers.get("x-amz-security-token").map(String::as_str) != token {
            return Err("ExpiredTokenException");
        }
        let names: Vec<_> = fields["SignedHeaders"].split(';').collect();
        assert!(names.is_sorted());
        for name in ["content-type", "host", "x-amz-date", "x-amz-target"] {
            assert!(names.contains(&name), "{name} is not signed");
        }
        assert_eq!(names.contains(&"x-amz-security-token"), token.is_some());
        let lines: String = names.iter().map(|name| format!("{name}:{}\n", headers[*name])).collect();
        let hashed = |bytes: &[u8]| hex::encode(digest(&SHA256, bytes));
        let canonical = format!("POST\n/\n\n{lines}\n{}\n{}", fields["SignedHeaders"], hashed(body));
        let to_sign = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", hashed(canonical.as_bytes()));
        let tag = |key: &[u8], text: &str| {
            hmac::sign(&hmac::Key::new(HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec()
        };
        let start = format!("AWS4{secret}").into_bytes();
        let key = scope.split('/').fold(start, |key, part| tag(&key, part));
        if fields["Signature"] != hex::encode(tag(&key, &to_sign)) {
            return Err("InvalidSignatureException");
        }
        // As the service: within five minutes.
        if seconds(date).abs_diff(SystemTime::now().duration_since(UNIX_EPOCH).expect("a time").as_secs())
            > 300
        {
            return Err("RequestExpired");
        }
        Ok(())
    }
}

/// Of `20260101T120000Z`: days are counted one by one.
fn seconds(date: &str) -> u64 {
    let number = |from: usize, to: usize| date[from..to].parse::<u64>().expect("a number");
    let (year, month) = (number(0, 4), number(4, 6));
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let of_years: u64 = (1970..year).map(|year| 365 + u64::from(leap(year))).sum();
    let months = [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let of_months: u64 = months.iter().take(month as usize - 1).sum();
    (of_years + of_months + number(6, 8) - 1) * 86_400
        + number(9, 11) * 3600
        + number(11, 13) * 60
        + number(13, 15)
}

// === the envelope: outer values without lengths, as the service writes it ===

fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let length = match content.len() {
        short @ 0..0x80 => vec![short as u8],
        long @ 0x80..0x100 => vec![0x81, long as u8],
        longer => vec![0x82, (longer >> 8) as u8, longer as u8],
    };
    [vec![tag], length, content].concat()
}

fn endless(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    [&[tag, 0x80], parts.concat().as_slice(), &[0, 0]].concat()
}

const PKCS: [u8; 7] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1];
const NIST: [u8; 7] = [0x60, 0x86, 0x48, 1, 0x65, 3, 4];

fn envelope(public_key: &[u8], secret: &[u8]) -> Vec<u8> {
    let oid = |arc: &[u8], rest: &[u8]| tlv(6, &[arc, rest]);
    let content_key = [0x77; 32];
    let recipient = PublicEncryptingKey::from_der(public_key).expect("SubjectPublicKeyInfo");
    assert!(recipient.key_size_bits() >= 2048);
    let recipient = OaepPublicEncryptingKey::new(recipient).expect("a key");
    let mut room = vec![0; recipient.ciphertext_size()];
    let wrapped = recipient
        .encrypt(&OAEP_SHA256_MGF1SHA256, &content_key, &mut room, None)
        .expect("encrypted")
        .to_vec();
    let cipher = UnboundCipherKey::new(&AES_256, &content_key).expect("a key");
    let mut content = secret.to_vec();
    let cipher = PaddedBlockEncryptingKey::cbc_pkcs7(cipher).expect("a key");
    let context: DecryptionContext = cipher.encrypt(&mut content).expect("encrypted");
    let iv: &[u8] = (&context).try_into().expect("a vector");

    let sha256 = tlv(0x30, &[&oid(&NIST, &[2, 1]), &[5, 0]]);
    let mgf1 = tlv(0x30, &[&oid(&PKCS, &[1, 8]), &sha256]);
    let parameters = tlv(0x30, &[&tlv(0xa0, &[&sha256]), &tlv(0xa1, &[&mgf1])]);
    let algorithm = tlv(0x30, &[&oid(&PKCS, &[1, 7]), &parameters]);
    let identifier = tlv(0x80, &[digest(&SHA256, public_key).as_ref()]);
    let info = tlv(0x30, &[&[2, 1, 2], &identifier, &algorithm, &tlv(4, &[&wrapped])]);
    let cipher = tlv(0x30, &[&oid(&NIST, &[1, 42]), &tlv(4, &[iv])]);
    let content = endless(0xa0, &[&tlv(4, &[&content])]);
    let content = endless(0x30, &[&oid(&PKCS, &[7, 1]), &cipher, &content]);
    let enveloped = endless(0x30, &[&[2, 1, 2], &tlv(0x31, &[&info]), &content]);
    endless(0x30, &[&oid(&PKCS, &[7, 3]), &endless(0xa0, &[&enveloped])])
}
