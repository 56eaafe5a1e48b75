//! Binary HTTP (RFC 9292), as far as it is spoken here: requests of known length and answers of indeterminate length. Own, because what is
//! in a message must not stay behind in memory, and because an answer is read as it comes.

use zeroize::Zeroizing;

use super::error::SealedError;
use super::varint;

/// A request, as it was sealed.
#[derive(Debug)]
pub struct Request<'a> {
    /// Such as `POST`.
    pub method: &'a str,
    /// Path and query.
    pub target: &'a str,
    /// The host that the client knows the server by.
    pub authority: &'a str,
    /// Names in lower case, with their values.
    pub fields: Vec<(&'a str, &'a [u8])>,
    /// The body. Empty where there is none.
    pub body: Body<'a>,
}

/// A body, which is not printed.
#[derive(Clone, Copy)]
pub struct Body<'a>(pub &'a [u8]);

/// The beginning of an answer.
#[derive(Debug, PartialEq, Eq)]
pub struct Head {
    /// 200 to 599.
    pub status: u16,
    /// Names in lower case, with their values.
    pub fields: Vec<(String, Vec<u8>)>,
}

/// Reads an answer as it comes.
pub struct AnswerReader {
    waiting: Zeroizing<Vec<u8>>,
    place: Place,
}

enum Place {
    Head,
    /// Between pieces of content.
    Between,
    /// In a piece, of which so much is to come.
    Inside(u64),
    /// Behind the content: no trailer, and zeros.
    End,
}

/// What an answer's reader found.
#[derive(Default)]
pub struct Found {
    /// The head, once.
    pub head: Option<Head>,
    /// Content that follows what was found before.
    pub content: Zeroizing<Vec<u8>>,
    /// Whether the content is whole.
    pub ended: bool,
}

// === requests ===

impl Request<'_> {
    /// The message, with zeros behind it until its length is a bucket's ([`bucket`]).
    pub fn write(&self) -> Zeroizing<Vec<u8>> {
        let mut fields = Zeroizing::new(Vec::new());
        for (name, value) in &self.fields {
            write_vec(name.as_bytes(), &mut fields);
            write_vec(value, &mut fields);
        }
        let Body(body) = self.body;
        let head = [self.method, SCHEME, self.authority, self.target]
            .iter()
            .map(|part| part.len().saturating_add(LONGEST))
            .sum();
        let len: usize = [head, fields.len(), body.len(), LONGEST.saturating_mul(4)].iter().sum();
        // One allocation, so that no half-grown copies stay behind.
        let mut out = Zeroizing::new(Vec::with_capacity(bucket(len)));
        varint::write(KNOWN_REQUEST, &mut out);
        for part in [self.method, SCHEME, self.authority, self.target] {
            write_vec(part.as_bytes(), &mut out);
        }
        write_vec(&fields, &mut out);
        write_vec(body, &mut out);
        write_vec(&[], &mut out);
        let padded = bucket(out.len());
        out.resize(padded, 0);
        out
    }
}

impl<'a> Request<'a> {
    /// Reads one.
    ///
    /// # Errors
    /// [`SealedError::Message`].
    pub fn read(message: &'a [u8]) -> Result<Self, SealedError> {
        let mut reader = Reader(message);
        if reader.number()? != KNOWN_REQUEST as u64 {
            return Err(wrong("not a request of known length"));
        }
        let method = reader.text()?;
        let _scheme = reader.text()?;
        let authority = reader.text()?;
        let target = reader.text()?;
        // What is empty at the end may be left out (RFC 9292 §3.8).
        let mut section = Reader(if reader.0.is_empty() { &[] } else { reader.vec()? });
        let mut fields = Vec::new();
        while !section.0.is_empty() {
            if fields.len() == MOST_FIELDS {
                return Err(wrong("too many fields"));
            }
            fields.push((name(section.text()?)?, section.vec()?));
        }
        let body = if reader.0.is_empty() { &[] } else { reader.vec()? };
        let trailer = if reader.0.is_empty() { &[] } else { reader.vec()? };
        if !trailer.is_empty() {
            return Err(wrong("a trailer"));
        }
        if reader.0.iter().any(|byte| *byte != 0) {
            return Err(wrong("padding that is not zero"));
        }
        Ok(Self { method, target, authority, fields, body: Body(body) })
    }
}

impl std::fmt::Debug for Body<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Body")
    }
}

// === answers ===

impl Head {
    /// The beginning of a message.
    pub fn write(&self) -> Vec<u8> {
        let mut out = Vec::new();
        varint::write(INDETERMINATE_RESPONSE, &mut out);
        varint::write(self.status.into(), &mut out);
        for (name, value) in &self.fields {
            write_vec(name.as_bytes(), &mut out);
            write_vec(value, &mut out);
        }
        varint::write(0, &mut out);
        out
    }
}

/// A piece of content, which is not empty, as it goes into a message.
pub fn write_content(content: &[u8], out: &mut Vec<u8>) {
    if !content.is_empty() {
        write_vec(content, out);
    }
}

/// The end of the content and of the trailer, which is none.
pub const END: [u8; 2] = [0, 0];

impl Default for AnswerReader {
    fn default() -> Self {
        Self { waiting: Zeroizing::default(), place: Place::Head }
    }
}

impl AnswerReader {
    /// Takes what was opened.
    ///
    /// # Errors
    /// [`SealedError::Message`].
    pub fn push(&mut self, bytes: &[u8]) -> Result<Found, SealedError> {
        self.waiting.extend_from_slice(bytes);
        let mut found = Found::default();
        let mut at = 0_usize;
        loop {
            let rest = self.waiting.get(at..).unwrap_or_default();
            let taken = match self.place {
                Place::Head => match head(rest)? {
                    None if rest.len() > LONGEST_HEAD => return Err(wrong("too long a head")),
                    None => break,
                    Some((head, len)) => {
                        found.head = Some(head);
                        self.place = Place::Between;
                        len
                    }
                },
                Place::Between => match varint::read(rest) {
                    None => break,
                    Some((0, len)) => {
                        found.ended = true;
                        self.place = Place::End;
                        len
                    }
                    Some((left, len)) => {
                        self.place = Place::Inside(left);
                        len
                    }
                },
                Place::Inside(left) => {
                    let piece = rest.get(..usize::try_from(left).unwrap_or(usize::MAX)).unwrap_or(rest);
                    if piece.is_empty() {
                        break;
                    }
                    found.content.extend_from_slice(piece);
                    let left = left.saturating_sub(piece.len() as u64);
                    self.place = if left == 0 { Place::Between } else { Place::Inside(left) };
                    piece.len()
                }
                Place::End => {
                    if rest.iter().any(|byte| *byte != 0) {
                        return Err(wrong("a trailer, or padding that is not zero"));
                    }
                    at = self.waiting.len();
                    break;
                }
            };
            at = at.saturating_add(taken);
        }
        self.waiting.drain(..at);
        Ok(found)
    }

    /// Says that nothing more comes.
    ///
    /// # Errors
    /// [`SealedError::Message`] where the message is not whole.
    pub fn finish(&self) -> Result<(), SealedError> {
        match self.place {
            Place::End => Ok(()),
            Place::Head | Place::Between | Place::Inside(_) => Err(wrong("it ends too early")),
        }
    }
}

/// The head at the beginning of `bytes` and its length, if it is whole.
fn head(bytes: &[u8]) -> Result<Option<(Head, usize)>, SealedError> {
    let mut reader = Reader(bytes);
    let read = (|| {
        let framing = reader.number()?;
        let status = reader.number()?;
        let mut fields = Vec::new();
        loop {
            let field = reader.text()?;
            if field.is_empty() {
                return Ok((framing, status, fields));
            }
            fields.push((field, reader.vec()?));
        }
    })();
    let (framing, status, fields) = match read {
        Err(SealedError::Message { what: EARLY }) => return Ok(None),
        Err(error) => return Err(error),
        Ok(read) => read,
    };
    if framing != INDETERMINATE_RESPONSE as u64 {
        return Err(wrong("not an answer of indeterminate length"));
    }
    let status = u16::try_from(status).ok().filter(|status| (200..600).contains(status));
    let status = status.ok_or(wrong("a status that is not final"))?;
    if fields.len() > MOST_FIELDS {
        return Err(wrong("too many fields"));
    }
    let named = |(field, value): (&str, &[u8])| Ok((name(field)?.to_owned(), value.to_owned()));
    let fields = fields.into_iter().map(named).collect::<Result<_, SealedError>>()?;
    Ok(Some((Head { status, fields }, bytes.len().saturating_sub(reader.0.len()))))
}

// === parts ===

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn number(&mut self) -> Result<u64, SealedError> {
        let (value, len) = varint::read(self.0).ok_or(wrong(EARLY))?;
        self.0 = self.0.get(len..).unwrap_or_default();
        Ok(value)
    }

    fn vec(&mut self) -> Result<&'a [u8], SealedError> {
        let len = usize::try_from(self.number()?).map_err(|_| wrong(EARLY))?;
        let (vec, rest) = self.0.split_at_checked(len).ok_or(wrong(EARLY))?;
        self.0 = rest;
        Ok(vec)
    }

    fn text(&mut self) -> Result<&'a str, SealedError> {
        std::str::from_utf8(self.vec()?).map_err(|_| wrong("a name that is not text"))
    }
}

/// Names are in lower case, and no message of ours has pseudo-fields (RFC 9292 §3.6).
fn name(name: &str) -> Result<&str, SealedError> {
    let token =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"!#$%&'*+-.^_`|~".contains(&byte);
    (!name.is_empty() && name.bytes().all(token)).then_some(name).ok_or(wrong("a name that is none"))
}

fn write_vec(bytes: &[u8], out: &mut Vec<u8>) {
    varint::write(bytes.len(), out);
    out.extend_from_slice(bytes);
}

fn wrong(what: &'static str) -> SealedError {
    SealedError::Message { what }
}

/// The length that a message of `len` bytes is sent with: the next power of two, 1 KiB at least.
pub fn bucket(len: usize) -> usize {
    len.checked_next_power_of_two().unwrap_or(len).max(1024)
}

const KNOWN_REQUEST: usize = 0;
const INDETERMINATE_RESPONSE: usize = 3;
const SCHEME: &str = "https";
const EARLY: &str = "it ends too early";
const MOST_FIELDS: usize = 64;
const LONGEST_HEAD: usize = 64 * 1024;
/// Bytes of a number.
const LONGEST: usize = 8;
