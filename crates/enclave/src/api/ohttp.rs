//! `POST /ohttp`: a request of any of the other routes, sealed whole, and its answer, sealed as it comes (spec/sealed-channel.md).

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use casemate_protocol::Plaintext;
use casemate_protocol::sealed::cells::{self, Shape};
use casemate_protocol::sealed::message::{self, END, Head};
use casemate_protocol::sealed::{AnswerSealer, PATH, REQUEST_TYPE, RESPONSE_TYPE, SHAPE_HEADER, SealedError};
use futures_util::{StreamExt, stream};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval_at};
use tower::ServiceExt;
use zeroize::Zeroizing;

use super::ApiState;
use super::body::read_up_to;
use super::error::ApiError;
use crate::sealed::{SealedKeys, Unopened};

/// The way in.
#[derive(Clone)]
struct Entrance {
    state: ApiState,
    keys: Arc<SealedKeys>,
    /// The routes behind it.
    api: Router,
}

/// The route, with the routes behind it.
pub(super) fn route(state: ApiState, keys: Arc<SealedKeys>, api: Router) -> Router {
    Router::new().route(PATH, post(opened)).with_state(Entrance { state, keys, api })
}

async fn opened(State(entrance): State<Entrance>, request: Request) -> Result<Response, ApiError> {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if !kind.is_some_and(|kind| kind.eq_ignore_ascii_case(REQUEST_TYPE)) {
        return Err(ApiError::NotSealed);
    }
    let sealed = read_up_to(&entrance.state, request.into_body(), most(&entrance.state)).await?;
    let keys = entrance.keys.clone();
    let opened = keys.open(&sealed)?;
    drop(sealed);
    let (request, shape) = request_of(opened.request)?;
    // The routes render their errors themselves, so that those are sealed too.
    let response = entrance.api.oneshot(request).await.unwrap_or_else(|never| match never {});
    let (sender, receiver) = mpsc::channel(AHEAD);
    tokio::spawn(async move {
        // An answer that cannot be sealed, or that broke, is not finished: the client sees that it was cut.
        let _ = send(opened.answer, response, shape, &sender).await;
    });
    let chunks = stream::unfold(receiver, |mut receiver| async {
        receiver.recv().await.map(|chunk| (Ok::<_, std::convert::Infallible>(chunk), receiver))
    });
    Ok(([(header::CONTENT_TYPE, RESPONSE_TYPE)], Body::from_stream(chunks)).into_response())
}

/// Bytes of a sealed request whose body is as long as one may be: its head, its padding and its chunks.
fn most(state: &ApiState) -> usize {
    let padded = message::bucket(state.limits.body_bytes.saturating_add(LONGEST_HEAD));
    padded.saturating_add(padded / 256).saturating_add(4096)
}

/// The request that was sealed, and how its answer is to be shaped.
fn request_of(opened: Plaintext<Vec<u8>>) -> Result<(Request, Shape), ApiError> {
    let wrong = |what| ApiError::Unopened(Unopened::Sealed(SealedError::Message { what }));
    let sealed = message::Request::read(opened.expose()).map_err(Unopened::Sealed)?;
    let method = Method::from_bytes(sealed.method.as_bytes()).map_err(|_| wrong("its method is none"))?;
    // Nothing is sealed twice: an answer within an answer would not be padded as asked.
    let path = sealed.target.split('?').next().unwrap_or_default();
    if !path.starts_with('/') || path == PATH {
        return Err(wrong("its target is not a path of the API"));
    }
    let mut headers = HeaderMap::new();
    let mut shape = Shape::Off;
    for (name, value) in &sealed.fields {
        if *name == SHAPE_HEADER {
            let named = std::str::from_utf8(value).ok().and_then(Shape::of);
            shape = named.ok_or(wrong("its shape is none that we know"))?;
            continue;
        }
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong("a field's name is none"))?;
        let mut value = HeaderValue::from_bytes(value).map_err(|_| wrong("a field's value is none"))?;
        value.set_sensitive(name == header::AUTHORIZATION || name == "x-api-key");
        headers.append(name, value);
    }
    let target = sealed.target.parse::<axum::http::Uri>().map_err(|_| wrong("its target is none"))?;
    let at = range_of(opened.expose(), sealed.body.0);
    let body = Bytes::from_owner(Part { whole: opened, at });
    let mut request = Request::new(Body::from(body));
    *request.method_mut() = method;
    *request.uri_mut() = target;
    *request.headers_mut() = headers;
    Ok((request, shape))
}

/// A body within the message that it came in. The whole is overwritten when it is dropped.
struct Part {
    whole: Plaintext<Vec<u8>>,
    at: Range<usize>,
}

impl AsRef<[u8]> for Part {
    fn as_ref(&self) -> &[u8] {
        self.whole.expose().get(self.at.clone()).unwrap_or_default()
    }
}

fn range_of(whole: &[u8], part: &[u8]) -> Range<usize> {
    let start = (part.as_ptr() as usize).wrapping_sub(whole.as_ptr() as usize);
    start..start.saturating_add(part.len())
}

/// Why an answer ends without its end.
enum Broken {
    /// The client has gone, or the answer broke.
    Ended,
    Sealed,
}

impl From<SealedError> for Broken {
    fn from(_: SealedError) -> Self {
        Self::Sealed
    }
}

type Out = mpsc::Sender<Bytes>;

async fn send(sealer: AnswerSealer, response: Response, shape: Shape, out: &Out) -> Result<(), Broken> {
    let (parts, body) = response.into_parts();
    let fields = parts.headers.iter();
    let fields =
        fields.map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_owned())).collect();
    let head = Head { status: parts.status.as_u16(), fields }.write();
    let kind = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let stream = kind.is_some_and(|kind| kind.starts_with("text/event-stream"));
    match shape {
        Shape::Off => as_it_comes(sealer, &head, body, out).await,
        Shape::Default | Shape::Constant if stream => at_fixed_times(sealer, &head, body, shape, out).await,
        Shape::Default | Shape::Constant => in_one_piece(sealer, &head, body, out).await,
    }
}

/// Waits for the next of the answer, unless the client goes: then whoever makes the answer must hear of it.
async fn next(body: &mut axum::body::BodyDataStream, out: &Out) -> Result<Option<Bytes>, Broken> {
    tokio::select! {
        () = out.closed() => Err(Broken::Ended),
        frame = body.next() => frame.transpose().map_err(|_| Broken::Ended),
    }
}

async fn put(out: &Out, chunk: Vec<u8>) -> Result<(), Broken> {
    out.send(chunk.into()).await.map_err(|_| Broken::Ended)
}

async fn as_it_comes(mut sealer: AnswerSealer, head: &[u8], body: Body, out: &Out) -> Result<(), Broken> {
    put(out, sealer.seal(head)?).await?;
    let mut body = body.into_data_stream();
    while let Some(frame) = next(&mut body, out).await? {
        let mut content = Zeroizing::new(Vec::with_capacity(frame.len().saturating_add(8)));
        message::write_content(&frame, &mut content);
        put(out, sealer.seal(&content)?).await?;
    }
    let mut end = sealer.seal(&END)?;
    end.extend(sealer.finish()?);
    put(out, end).await
}

/// A whole answer at once, of a bucket's length (OHT-12).
async fn in_one_piece(mut sealer: AnswerSealer, head: &[u8], body: Body, out: &Out) -> Result<(), Broken> {
    let mut body = body.into_data_stream();
    let mut data = Zeroizing::new(Vec::new());
    while let Some(frame) = next(&mut body, out).await? {
        data.extend_from_slice(&frame);
    }
    let (mut head, mut rest) = (head, data.as_slice());
    let mut sent = 0_usize;
    loop {
        let size = Shape::Default.size(head.len(), rest.len());
        let taken = cells::room(head.len(), size).min(rest.len());
        let last = taken == rest.len();
        put(out, sealer.seal(&cells::write(head, rest, last, size))?).await?;
        (head, rest) = (&[], rest.get(taken..).unwrap_or_default());
        sent = sent.saturating_add(1);
        if last {
            break;
        }
    }
    let whole = if sent == 1 { 1 } else { sent.checked_next_power_of_two().unwrap_or(sent) };
    for _ in sent..whole {
        let size = Shape::Default.size(0, usize::MAX);
        put(out, sealer.seal(&cells::write(&[], &[], false, size))?).await?;
    }
    end(sealer, out).await
}

/// A stream in cells (OHT-11, OHT-13): its first two pieces, which are the answer's head and the first of its text, at once, for whoever waits
/// for them; from then on one cell or more every [`TICK`].
async fn at_fixed_times(
    sealer: AnswerSealer,
    head: &[u8],
    body: Body,
    shape: Shape,
    out: &Out,
) -> Result<(), Broken> {
    let mut body = body.into_data_stream();
    let mut cells = Cells { sealer, shape, head, waiting: Zeroizing::default(), sent: 0, last: false };
    let mut ended = false;
    for _ in 0..AT_ONCE {
        match next(&mut body, out).await? {
            Some(frame) => cells.waiting.extend_from_slice(&frame),
            None => {
                ended = true;
                break;
            }
        }
        cells.send(ended, out).await?;
    }
    let mut ticks = interval_at(tokio::time::Instant::now() + TICK, TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !cells.done() {
        tokio::select! {
            biased;
            () = out.closed() => return Err(Broken::Ended),
            frame = body.next(), if !ended => match frame {
                Some(Ok(frame)) => cells.waiting.extend_from_slice(&frame),
                Some(Err(_)) => return Err(Broken::Ended),
                None => ended = true,
            },
            _ = ticks.tick() => cells.send(ended, out).await?,
        }
    }
    end(cells.sealer, out).await
}

/// A stream on its way into cells.
struct Cells<'a> {
    sealer: AnswerSealer,
    shape: Shape,
    /// What goes before the first cell.
    head: &'a [u8],
    waiting: Zeroizing<Vec<u8>>,
    sent: usize,
    /// Whether the last of the data was sent.
    last: bool,
}

impl Cells<'_> {
    /// One cell with what waits, or without anything; `Default` sends more where one does not hold it.
    async fn send(&mut self, ended: bool, out: &Out) -> Result<(), Broken> {
        loop {
            let size = self.shape.size(self.head.len(), self.waiting.len());
            let taken = cells::room(self.head.len(), size).min(self.waiting.len());
            let is_last = ended && !self.last && taken == self.waiting.len();
            let chunk = self.sealer.seal(&cells::write(self.head, &self.waiting, is_last, size))?;
            put(out, chunk).await?;
            self.waiting.drain(..taken);
            self.head = &[];
            self.sent = self.sent.saturating_add(1);
            self.last |= is_last;
            if self.waiting.is_empty() || self.shape == Shape::Constant {
                return Ok(());
            }
        }
    }

    /// Whether the data was sent, and as many cells as its shape asks for.
    fn done(&self) -> bool {
        self.last && self.sent >= self.shape.rounded(self.sent)
    }
}

async fn end(mut sealer: AnswerSealer, out: &Out) -> Result<(), Broken> {
    let mut padded = Vec::from(END);
    padded.resize(cells::SMALLEST, 0);
    let mut end = sealer.seal(&padded)?;
    end.extend(sealer.finish()?);
    put(out, end).await
}

/// How far an answer may be ahead of a client that reads slowly, in chunks.
const AHEAD: usize = 8;
/// Pieces of a shaped stream that are sent as they come.
const AT_ONCE: usize = 2;
/// Every so often a shaped stream has a cell.
const TICK: Duration = Duration::from_millis(50);
const LONGEST_HEAD: usize = 64 * 1024;
