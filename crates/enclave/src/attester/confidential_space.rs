//! The token of a container in Google's Confidential Space (spec/attesters.md §11; go-tpm-tools, `launcher/teeserver`).
//!
//! ```text
//! POST /v1/token   {"audience": TEXT, "nonces": [TEXT], "token_type": "OIDC" | "PKI"}     over a Unix socket
//! 200              the token
//! ```
//!
//! Such a container has no device: its launcher shows Google the machine's evidence, and Google's word of it is the token. It is
//! somebody's word and no evidence, so it is nothing that a server could attest with. This obtains one for a verifier's nonce;
//! who it is from is for `casemate verify` to find out.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use casemate_attest::token::{Token, TokenError, TokenKind};
use serde_json::{Value, json};

/// Where the launcher listens.
pub const LAUNCHER: &str = "/run/container_launcher/teeserver.sock";

/// With which key Google signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signature {
    /// One of its published keys (JWKS).
    Oidc,
    /// One with a certificate, which the token brings.
    Pki,
}

/// What a token is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRequest {
    audience: String,
    nonce: String,
    signature: Signature,
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenSocketError {
    /// A nonce that Google does not take (ATT-91).
    #[error("the nonce has {found} bytes, not 10 to 74")]
    Nonce {
        /// Its length.
        found: usize,
    },
    /// An empty audience: the launcher then gives its default token, without a nonce (ATT-91).
    #[error("the audience is empty")]
    Audience,
    /// Nobody listens (ATT-92).
    #[error("{} is not there: this is no container of Confidential Space", path.display())]
    Absent {
        /// Where it should be.
        path: PathBuf,
    },
    /// The socket fails, or nothing comes in time (ATT-92).
    #[error("the launcher cannot be asked: {0}")]
    Unreachable(#[source] std::io::Error),
    /// More than a token has (ATT-92).
    #[error("the launcher's answer has more than {MAX_ANSWER} bytes")]
    TooLong,
    /// Not an answer of HTTP (ATT-92).
    #[error("the launcher's answer is not understood")]
    Form,
    /// Another status than 200 (ATT-92).
    #[error("the launcher answers with status {found}")]
    Status {
        /// As it came.
        found: u16,
    },
    /// What came is no token (ATT-93).
    #[error("what the launcher gave is no token: {0}")]
    Token(#[source] TokenError),
    /// Somebody else's token (ATT-93).
    #[error("the launcher gave a token of {found}")]
    Kind {
        /// Whose.
        found: &'static str,
    },
    /// A token for somebody else, or for another nonce (ATT-93).
    #[error("the token's {claim} is not what was asked for")]
    Other {
        /// Which.
        claim: &'static str,
    },
}

impl TokenRequest {
    /// For this audience and nonce.
    ///
    /// # Errors
    /// What Google would not answer.
    pub fn new(audience: String, nonce: String, signature: Signature) -> Result<Self, TokenSocketError> {
        if audience.is_empty() {
            return Err(TokenSocketError::Audience);
        }
        if !(10..=74).contains(&nonce.len()) {
            return Err(TokenSocketError::Nonce { found: nonce.len() });
        }
        Ok(Self { audience, nonce, signature })
    }

    /// Asks the launcher behind this socket. The token is believed by nobody.
    ///
    /// # Errors
    /// Everything but a token of Confidential Space for this audience and nonce.
    pub fn fetch(&self, socket: &Path) -> Result<Vec<u8>, TokenSocketError> {
        self.within(socket, PATIENCE)
    }

    fn within(&self, socket: &Path, patience: Duration) -> Result<Vec<u8>, TokenSocketError> {
        let answer = exchange(socket, &self.written(), patience)?;
        let token = body(&answer)?.trim_ascii();
        let read = Token::parse(token).map_err(TokenSocketError::Token)?;
        match read.kind() {
            TokenKind::ConfidentialSpace => {}
            other => return Err(TokenSocketError::Kind { found: other.as_str() }),
        }
        let claims = read.unverified_claims();
        if claims.get("aud").and_then(Value::as_str) != Some(&self.audience) {
            return Err(TokenSocketError::Other { claim: "aud" });
        }
        let nonce = Some(self.nonce.as_str());
        match claims.get("eat_nonce") {
            Some(Value::String(one)) if Some(one.as_str()) == nonce => {}
            Some(Value::Array(several)) if several.iter().any(|one| one.as_str() == nonce) => {}
            _ => return Err(TokenSocketError::Other { claim: "eat_nonce" }),
        }
        Ok(token.to_vec())
    }

    /// HTTP/1.0: the answer then has one form, and ends with the connection.
    fn written(&self) -> Vec<u8> {
        let signature = match self.signature {
            Signature::Oidc => "OIDC",
            Signature::Pki => "PKI",
        };
        let body =
            json!({ "audience": self.audience, "nonces": [self.nonce], "token_type": signature }).to_string();
        let head = "POST /v1/token HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/json\r\n";
        format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
    }
}

/// Everything that comes until the connection ends.
fn exchange(socket: &Path, request: &[u8], patience: Duration) -> Result<Vec<u8>, TokenSocketError> {
    if !socket.exists() {
        return Err(TokenSocketError::Absent { path: socket.to_owned() });
    }
    let until = Instant::now() + patience;
    let broken = TokenSocketError::Unreachable;
    let mut stream = UnixStream::connect(socket).map_err(broken)?;
    stream.set_write_timeout(Some(patience)).map_err(broken)?;
    stream.write_all(request).map_err(broken)?;
    let (mut answer, mut room) = (Vec::new(), [0; 4096]);
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(broken(std::io::ErrorKind::TimedOut.into()));
        }
        stream.set_read_timeout(Some(left)).map_err(broken)?;
        let len = stream.read(&mut room).map_err(broken)?;
        if len == 0 {
            return Ok(answer);
        }
        answer.extend_from_slice(room.get(..len).unwrap_or_default());
        if answer.len() > MAX_ANSWER {
            return Err(TokenSocketError::TooLong);
        }
    }
}

/// The body of a whole answer with status 200.
fn body(answer: &[u8]) -> Result<&[u8], TokenSocketError> {
    let form = TokenSocketError::Form;
    let at = answer.windows(4).position(|four| four == b"\r\n\r\n").ok_or(form)?;
    let (head, rest) = answer.split_at(at);
    let body = rest.get(4..).unwrap_or_default();
    let head = std::str::from_utf8(head).map_err(|_| TokenSocketError::Form)?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.")?.get(2..5)?.parse().ok());
    match status.ok_or(TokenSocketError::Form)? {
        200 => {}
        found => return Err(TokenSocketError::Status { found }),
    }
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        let wrong = name.eq_ignore_ascii_case("transfer-encoding")
            || (name.eq_ignore_ascii_case("content-length") && value.trim().parse() != Ok(body.len()));
        if wrong {
            return Err(TokenSocketError::Form);
        }
    }
    Ok(body)
}

impl TokenSocketError {
    /// The stable code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Nonce { .. } => "attester.token-socket.nonce",
            Self::Audience => "attester.token-socket.audience",
            Self::Absent { .. } => "attester.token-socket.absent",
            Self::Unreachable(_) => "attester.token-socket.unreachable",
            Self::TooLong => "attester.token-socket.too-long",
            Self::Form => "attester.token-socket.form",
            Self::Status { .. } => "attester.token-socket.status",
            Self::Token(_) => "attester.token-socket.token",
            Self::Kind { .. } => "attester.token-socket.kind",
            Self::Other { .. } => "attester.token-socket.other",
        }
    }
}

/// Google's service answers the launcher in a second or two.
const PATIENCE: Duration = Duration::from_secs(30);
/// Recorded tokens have 3 to 8 KiB.
const MAX_ANSWER: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::sync::atomic::{AtomicU32, Ordering};

    use base64::Engine as _;
    use base64::prelude::BASE64_URL_SAFE_NO_PAD as B64;

    use super::*;

    const NONCE: &str = "0123456789abcdef";
    const SHORT: Duration = Duration::from_millis(500);

    /// In the place of the launcher: answers once, and says what it was asked.
    fn asked(answer: Vec<u8>, hangs: bool) -> (Result<Vec<u8>, TokenSocketError>, String) {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("casemate-tee-{}-{number}", std::process::id()));
        let listener = UnixListener::bind(&path).unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let (mut request, mut room) = (Vec::new(), [0; 4096]);
            while !request.ends_with(b"}") {
                let len = stream.read(&mut room).unwrap();
                request.extend_from_slice(&room[..len]);
            }
            // Whoever has had enough is gone.
            let _ = stream.write_all(&answer);
            if hangs {
                std::thread::sleep(3 * SHORT);
            }
            String::from_utf8(request).unwrap()
        });
        let request = TokenRequest::new("aud".into(), NONCE.into(), Signature::Pki).unwrap();
        let found = request.within(&path, SHORT);
        let seen = server.join().unwrap();
        std::fs::remove_file(&path).unwrap();
        (found, seen)
    }

    fn code(answer: impl Into<Vec<u8>>) -> &'static str {
        asked(answer.into(), false).0.err().map_or("none", |e| e.code())
    }

    /// Signed by nobody.
    fn token(claims: &Value) -> String {
        let part = |value: &Value| B64.encode(value.to_string());
        let head = json!({ "alg": "RS256", "kid": "k", "typ": "JWT" });
        format!("{}.{}.{}", part(&head), part(claims), B64.encode([7; 256]))
    }

    fn claims() -> Value {
        json!({
            "iss": "https://confidentialcomputing.googleapis.com", "aud": "aud", "eat_nonce": NONCE,
            "exp": 2, "iat": 1, "nbf": 1, "swname": "CONFIDENTIAL_SPACE",
        })
    }

    fn http(body: &str) -> String {
        format!("HTTP/1.0 200 OK\r\nContent-Type: text/html\r\n\r\n{body}")
    }

    fn with(change: impl FnOnce(&mut Value)) -> &'static str {
        let mut changed = claims();
        change(&mut changed);
        code(http(&token(&changed)))
    }

    #[test]
    fn a_token_for_this_nonce_is_taken_as_it_came() {
        let good = token(&claims());
        let (found, seen) = asked(http(&format!("{good}\n")).into_bytes(), false);
        assert_eq!(found.unwrap(), good.into_bytes());
        assert!(seen.starts_with("POST /v1/token HTTP/1.0\r\n"), "{seen}");
        let (_, body) = seen.split_once("\r\n\r\n").unwrap();
        let expected = json!({ "audience": "aud", "nonces": [NONCE], "token_type": "PKI" });
        assert_eq!(serde_json::from_str::<Value>(body).unwrap(), expected);
        assert_eq!(with(|c| c["eat_nonce"] = json!(["another-nonce", NONCE])), "none");
    }

    #[test]
    fn a_token_for_something_else_is_refused() {
        assert_eq!(with(|c| c["eat_nonce"] = "another-nonce".into()), "attester.token-socket.other");
        assert_eq!(with(|c| c["eat_nonce"] = json!([])), "attester.token-socket.other");
        assert_eq!(
            with(|c| drop(c.as_object_mut().unwrap().remove("eat_nonce"))),
            "attester.token-socket.other"
        );
        assert_eq!(with(|c| c["aud"] = "https://sts.googleapis.com".into()), "attester.token-socket.other");
        assert_eq!(with(|c| c["aud"] = json!(["aud"])), "attester.token-socket.other");
        let maa =
            json!({ "iss": "https://shared.eus.attest.azure.net", "x-ms-ver": "1.0", "eat_nonce": NONCE });
        let found = code(http(&token(&maa)));
        assert!(["attester.token-socket.kind", "attester.token-socket.token"].contains(&found), "{found}");
    }

    #[test]
    fn what_is_no_answer_has_a_name() {
        let good = token(&claims());
        assert_eq!(code(""), "attester.token-socket.form");
        assert_eq!(code(good.clone()), "attester.token-socket.form");
        assert_eq!(code("HTTP/1.0 200 OK\r\n"), "attester.token-socket.form");
        assert_eq!(code("HTTP/2 200\r\n\r\n"), "attester.token-socket.form");
        assert_eq!(code("HTTP/1.0 200 OK\r\nContent-Length: 7\r\n\r\n12"), "attester.token-socket.form");
        let chunked = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{good}");
        assert_eq!(code(chunked), "attester.token-socket.form");
        assert_eq!(code("HTTP/1.0 400 Bad Request\r\n\r\nno"), "attester.token-socket.status");
        assert_eq!(code(http("<html>a proxy</html>")), "attester.token-socket.token");
        assert_eq!(code(http(&"A".repeat(MAX_ANSWER))), "attester.token-socket.too-long");
    }

    #[test]
    fn one_that_hangs_and_one_that_is_not_there_have_names() {
        for part in ["", "HTTP/1.0 200 OK\r\n\r\n"] {
            let (found, _) = asked(part.as_bytes().to_vec(), true);
            assert_eq!(found.unwrap_err().code(), "attester.token-socket.unreachable");
        }
        let nowhere = std::env::temp_dir().join(format!("casemate-tee-{}-none", std::process::id()));
        let request = TokenRequest::new("aud".into(), NONCE.into(), Signature::Oidc).unwrap();
        assert_eq!(request.fetch(&nowhere).unwrap_err().code(), "attester.token-socket.absent");
        std::fs::write(&nowhere, "").unwrap();
        assert_eq!(request.fetch(&nowhere).unwrap_err().code(), "attester.token-socket.unreachable");
        std::fs::remove_file(&nowhere).unwrap();
    }

    #[test]
    fn what_google_would_not_answer_is_not_asked() {
        let code = |audience: &str, nonce: &str| {
            TokenRequest::new(audience.into(), nonce.into(), Signature::Oidc)
                .err()
                .map_or("none", |e| e.code())
        };
        assert_eq!(code("a", "0123456789"), "none");
        assert_eq!(code("a", &"n".repeat(74)), "none");
        assert_eq!(code("a", "012345678"), "attester.token-socket.nonce");
        assert_eq!(code("a", &"n".repeat(75)), "attester.token-socket.nonce");
        assert_eq!(code("", "0123456789"), "attester.token-socket.audience");
    }
}
