//! A request and its answer over the sealed channel (spec/sealed-channel.md).

use std::io;
use std::pin::Pin;

use bytes::Bytes;
use casemate_protocol::sealed::cells::{CellReader, Shape};
use casemate_protocol::sealed::message::{AnswerReader, Body, Head, Request};
use casemate_protocol::sealed::{
    AnswerOpener, PATH, REQUEST_TYPE, RESPONSE_TYPE, SHAPE_HEADER, SealedError, SealingKey,
};
use futures_util::{Stream, StreamExt};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Response, StatusCode};
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::server::SendError;

/// What is sealed.
pub(crate) struct Plain<'a> {
    pub(crate) method: &'a Method,
    pub(crate) target: &'a str,
    pub(crate) authority: &'a str,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) body: &'a [u8],
}

/// An answer that is opened as it comes.
pub(crate) struct SealedAnswer {
    arriving: Pin<Box<dyn Stream<Item = reqwest::Result<Bytes>> + Send>>,
    opener: AnswerOpener,
    reader: AnswerReader,
    /// Where the answer is shaped.
    cells: Option<CellReader>,
    /// Content that came with the head.
    early: Zeroizing<Vec<u8>>,
    ended: bool,
}

/// Seals `plain`, posts it to `base`, and reads the head of its answer.
///
/// # Errors
/// [`SendError`]. Nothing that is not sealed is taken for an answer (OHT-09).
pub(crate) async fn send(
    http: &reqwest::Client,
    base: &str,
    key: &SealingKey,
    shape: Shape,
    plain: &Plain<'_>,
) -> Result<(StatusCode, HeaderMap, SealedAnswer), SendError> {
    let mut seed = Zeroizing::new([0; 64]);
    aws_lc_rs::rand::fill(seed.as_mut_slice()).map_err(|_| SendError::Randomness)?;
    let fields = plain.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    let shaped = (SHAPE_HEADER, shape.name().as_bytes());
    let request = Request {
        method: plain.method.as_str(),
        target: plain.target,
        authority: plain.authority,
        fields: fields.chain([shaped]).collect(),
        body: Body(plain.body),
    };
    let sealed = key.seal(&request.write(), &seed)?;
    let posted = http
        .post(format!("{base}{PATH}"))
        .header(CONTENT_TYPE, REQUEST_TYPE)
        .body(sealed.message)
        .send()
        .await
        .map_err(|error| SendError::Broken(error.without_url()))?;
    let kind = posted.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    if posted.status() != StatusCode::OK || kind != Some(RESPONSE_TYPE.as_bytes()) {
        return Err(not_sealed(posted).await);
    }
    let mut answer = SealedAnswer {
        arriving: Box::pin(posted.bytes_stream()),
        opener: sealed.answer,
        reader: AnswerReader::default(),
        cells: (shape != Shape::Off).then(CellReader::default),
        early: Zeroizing::default(),
        ended: false,
    };
    let (status, headers) = answer.head().await?;
    Ok((status, headers, answer))
}

impl SealedAnswer {
    async fn head(&mut self) -> Result<(StatusCode, HeaderMap), SendError> {
        loop {
            let Some(arrived) = self.arriving.next().await else { return Err(SealedError::Cut.into()) };
            let arrived = arrived.map_err(|error| SendError::Broken(error.without_url()))?;
            let (head, content) = self.take(&arrived)?;
            self.early.extend_from_slice(&content);
            if let Some(head) = head {
                return Ok(http_head(head)?);
            }
        }
    }

    /// The next of the body, and `None` when it is whole.
    pub(crate) async fn next(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            if !self.early.is_empty() {
                let content = Zeroizing::new(std::mem::take(&mut *self.early));
                return Ok(Some(Bytes::from_owner(content)));
            }
            // The last cell of a shaped answer is authenticated and says so: what follows is there to be seen by others.
            if self.ended && self.cells.is_some() {
                return Ok(None);
            }
            let Some(arrived) = self.arriving.next().await else {
                return self.finish().map(|()| None).map_err(io::Error::other);
            };
            let arrived = arrived.map_err(|error| io::Error::other(error.without_url()))?;
            let (_, content) = self.take(&arrived).map_err(io::Error::other)?;
            self.early = content;
        }
    }

    /// Opens what arrived: the head, where it is whole now, and content.
    fn take(&mut self, arrived: &[u8]) -> Result<(Option<Head>, Zeroizing<Vec<u8>>), SealedError> {
        let mut opened = Zeroizing::new(Vec::new());
        self.opener.push(arrived, &mut opened)?;
        let found = self.reader.push(&opened)?;
        let content = match &mut self.cells {
            None => {
                self.ended |= found.ended;
                found.content
            }
            Some(cells) => {
                let mut data = Zeroizing::new(Vec::new());
                self.ended = cells.push(&found.content, &mut data)?;
                data
            }
        };
        Ok((found.head, content))
    }

    /// Nothing more arrives: that must be the end.
    fn finish(&mut self) -> Result<(), SealedError> {
        let opener = std::mem::replace(&mut self.opener, AnswerOpener::spent());
        let last = opener.finish()?;
        self.reader.push(&last)?;
        self.reader.finish()?;
        if self.ended { Ok(()) } else { Err(SealedError::Cut) }
    }
}

/// What follows the data is read too, and by nobody: whoever watches cannot tell when the answer ended.
impl Drop for SealedAnswer {
    fn drop(&mut self) {
        if self.ended
            && self.cells.is_some()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let mut rest = std::mem::replace(&mut self.arriving, Box::pin(futures_util::stream::empty()));
            runtime.spawn(async move { while let Some(Ok(_)) = rest.next().await {} });
        }
    }
}

fn http_head(head: Head) -> Result<(StatusCode, HeaderMap), SealedError> {
    let wrong = |what| SealedError::Message { what };
    let status = StatusCode::from_u16(head.status).map_err(|_| wrong("its status is none"))?;
    let mut headers = HeaderMap::new();
    for (name, value) in head.fields {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong("a field's name is none"))?;
        headers.append(name, HeaderValue::from_bytes(&value).map_err(|_| wrong("a field's value is none"))?);
    }
    Ok((status, headers))
}

/// What somebody says who did not open the request: an error, whatever it claims to be.
async fn not_sealed(mut response: Response) -> SendError {
    let status = response.status().as_u16();
    let mut body = Vec::new();
    while body.len() < MOST_OF_AN_ERROR {
        match response.chunk().await {
            Ok(Some(part)) => body.extend_from_slice(&part),
            Ok(None) | Err(_) => break,
        }
    }
    let code = serde_json::from_slice::<Said>(&body).map(|said| said.error.code).unwrap_or_default();
    let known = |c: char| c.is_ascii_lowercase() || ".-".contains(c);
    let code = if code.len() <= 64 && code.chars().all(known) { code } else { String::new() };
    SendError::NotSealed { status, code }
}

#[derive(Deserialize)]
struct Said {
    error: SaidError,
}

#[derive(Deserialize)]
struct SaidError {
    code: String,
}

const MOST_OF_AN_ERROR: usize = 4096;
