//! One polite request (END-09 to END-12): no redirections, a limit on length and time, refusals honoured.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use reqwest::{Client, Response, StatusCode, Url};
use rustls::crypto::aws_lc_rs as provider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use super::error::EndorseError;
use super::pace::{Queue, Turn};
use super::settings::{Settings, proxy};
use super::{Answer, Notice, Question, Request};

/// The longest answer that is read. Certificates have 2 KiB, lists and Intel's documents up to 15 KiB; lists may grow.
pub(super) const MAX_ANSWER: usize = 1024 * 1024;

/// Where a service asks for less, at least this part of the wait without its word is kept.
const SHARE_OF_BACKOFF: u32 = 8;

pub(super) struct Http<'a> {
    /// None where nothing may be asked.
    client: Option<Client>,
    settings: &'a Settings,
    notify: &'a (dyn Fn(&Notice) + Sync),
    deadline: Instant,
    /// When the whole fetch ends.
    end: Instant,
}

enum Reply {
    Answer(Answer),
    /// Too many requests, or overloaded; with the wait that the service asks for.
    Refused(Option<Duration>),
}

impl<'a> Http<'a> {
    pub(super) fn new(
        settings: &'a Settings,
        notify: &'a (dyn Fn(&Notice) + Sync),
    ) -> Result<Self, EndorseError> {
        let client = if settings.offline { None } else { Some(client(settings)?) };
        let began = Instant::now();
        let (deadline, end) = (began + settings.pace.patience, began + settings.pace.whole);
        Ok(Self { client, settings, notify, deadline, end })
    }

    /// Asks until there is an answer, a reason, or no patience left.
    pub(super) async fn get(&self, request: &Request) -> Result<Answer, EndorseError> {
        let missing = || EndorseError::CacheMissing { name: request.name.clone() };
        let client = self.client.as_ref().ok_or_else(missing)?;
        let address = || EndorseError::Address { url: request.url.clone() };
        let url = Url::parse(&request.url).map_err(|_| address())?;
        let name = url.host_str().ok_or_else(address)?;
        let host = url.port().map_or_else(|| name.to_owned(), |port| format!("{name}:{port}"));
        let pace = &self.settings.pace;
        let queue = Queue {
            folder: &self.settings.cache,
            host: &host,
            interval: if name == pace.host { pace.interval } else { Duration::ZERO },
            deadline: self.deadline,
            notify: self.notify,
        };
        let mut backoff = pace.backoff;
        loop {
            let mut turn = Turn::take(&queue).await?;
            let asked = ask(client, request, &url, &host);
            let limit = pace.timeout.min(self.end.saturating_duration_since(Instant::now()));
            let late = |_| EndorseError::Timeout { host: host.clone(), seconds: limit.as_secs() };
            match tokio::time::timeout(limit, asked).await.map_err(late)?? {
                Reply::Answer(answer) => return Ok(answer),
                // A service that refuses and names no time, or none to come, is not asked again at once.
                Reply::Refused(wait) => {
                    let least = (backoff / SHARE_OF_BACKOFF).max(queue.interval);
                    turn.next_after(wait.unwrap_or(backoff).max(least))?;
                }
            }
            backoff = backoff.saturating_mul(2).min(pace.longest_wait);
        }
    }
}

pub(super) fn client(settings: &Settings) -> Result<Client, EndorseError> {
    let failed = |reason: String| EndorseError::Client { reason };
    let mut roots = RootCertStore::empty();
    match &settings.authorities {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(pem) => {
            for certificate in CertificateDer::pem_slice_iter(pem) {
                let certificate = certificate.map_err(|error| failed(error.to_string()))?;
                roots.add(certificate).map_err(|error| failed(error.to_string()))?;
            }
            if roots.is_empty() {
                return Err(failed("no certificate authority in the file".to_owned()));
            }
        }
    }
    let tls = ClientConfig::builder_with_provider(Arc::new(provider::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    // What the environment names is not used.
    let client = Client::builder().no_proxy();
    let client = match &settings.proxy {
        None => client,
        Some(url) => client.proxy(proxy(url)?),
    };
    client
        .use_preconfigured_tls(tls)
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("casemate/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| failed(error.to_string()))
}

async fn ask(client: &Client, request: &Request, url: &Url, host: &str) -> Result<Reply, EndorseError> {
    let (host, name) = (host.to_owned(), request.name.clone());
    let unreachable = |source: reqwest::Error| EndorseError::Unreachable {
        host: host.clone(),
        source: source.without_url(),
    };
    let sending = match &request.question {
        Question::Get => client.get(url.clone()),
        Question::Metadata => client.get(url.clone()).header("Metadata", "true"),
        Question::Ocsp(der) => client
            .post(url.clone())
            .header(CONTENT_TYPE, "application/ocsp-request")
            .header(ACCEPT, "application/ocsp-response")
            .body(der.clone()),
    };
    let response = sending.send().await.map_err(unreachable)?;
    match response.status() {
        StatusCode::OK => {}
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            return Ok(Reply::Refused(retry_after(response.headers(), SystemTime::now())));
        }
        StatusCode::NOT_FOUND => return Err(EndorseError::NotFound { host, name }),
        status if status.is_redirection() => return Err(EndorseError::Redirect { host, name }),
        status => return Err(EndorseError::Status { host, name, status: status.as_u16() }),
    }
    let header = match request.header {
        None => String::new(),
        Some(header) => match response.headers().get(header).and_then(|value| pem_of(value.as_bytes())) {
            Some(pem) => pem,
            None => return Err(EndorseError::Header { host, name, header }),
        },
    };
    match body_up_to(response).await.map_err(unreachable)? {
        Some(body) => Ok(Reply::Answer(Answer { url: request.url.clone(), body, header })),
        None => Err(EndorseError::TooLong { host, name, limit: MAX_ANSWER }),
    }
}

/// The body, or `None` where it is longer than [`MAX_ANSWER`].
async fn body_up_to(mut response: Response) -> Result<Option<Vec<u8>>, reqwest::Error> {
    let mut body = Vec::new();
    while let Some(part) = response.chunk().await? {
        if body.len().saturating_add(part.len()) > MAX_ANSWER {
            return Ok(None);
        }
        body.extend_from_slice(&part);
    }
    Ok(Some(body))
}

/// RFC 9110 §10.2.3: seconds, or a date.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u32>() {
        return Some(Duration::from_secs(u64::from(seconds)));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

/// A PEM chain in a header: percent-encoded (RFC 3986 §2.1), one certificate at least, plain text.
fn pem_of(value: &[u8]) -> Option<String> {
    let mut text = String::with_capacity(value.len());
    let mut rest = value.iter();
    while let Some(octet) = rest.next() {
        let octet = match octet {
            b'%' => {
                let digits = [*rest.next()?, *rest.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            octet => *octet,
        };
        text.push(matches!(octet, b' '..=b'~' | b'\n' | b'\r').then_some(char::from(octet))?);
    }
    text.starts_with("-----BEGIN CERTIFICATE-----").then_some(text)
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    #[test]
    fn a_wait_is_seconds_or_a_date() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").expect("a date");
        for (text, expected) in [
            ("7", Some(7)),
            (" 7 ", Some(7)),
            ("0", Some(0)),
            ("Sun, 06 Nov 1994 08:50:07 GMT", Some(30)),
            ("Sun, 06 Nov 1994 08:49:00 GMT", Some(0)),
            ("-1", None),
            ("soon", None),
            ("99999999999", None),
            ("", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, HeaderValue::from_static(text));
            assert_eq!(retry_after(&headers, now), expected.map(Duration::from_secs), "{text}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }

    #[test]
    fn a_chain_in_a_header_is_percent_encoded_text() {
        let good = pem_of(b"-----BEGIN%20CERTIFICATE-----%0AMAA%3D%0a").expect("good");
        assert_eq!(good, "-----BEGIN CERTIFICATE-----\nMAA=\n");
        for bad in [
            &b""[..],
            b"MAA",
            b"-----BEGIN%20CERTIFICATE-----%0",
            b"-----BEGIN%20CERTIFICATE-----%zz",
            b"-----BEGIN%20CERTIFICATE-----%+1",
            b"-----BEGIN%20CERTIFICATE-----%00",
            b"-----BEGIN%20CERTIFICATE-----\xff",
        ] {
            assert_eq!(pem_of(bad), None, "{bad:?}");
        }
    }
}
