//! A sanity check of a GGUF header, in safe Rust, before llama.cpp sees the file.
//!
//! llama.cpp maps the file and then trusts the tensor ranges of the header, so a file that is cut short would end in a
//! signal, not in an error. This check reads the header only, with bounds on every count, and compares every tensor's
//! byte range with the file's length. It does not judge what the metadata means: that is llama.cpp's part, and its
//! input is a file whose digest was verified.
//!
//! ```text
//! GGUF version 2 and 3, little-endian (ggml's docs/gguf.md)
//! offset  size  field
//!      0     4  magic "GGUF"
//!      4     4  version
//!      8     8  number of tensors
//!     16     8  number of metadata entries
//!     24     …  entries: key (u64 length, bytes), value type u32, value
//!      …     …  tensors: name (u64 length, bytes), dimensions u32, that many u64, element type u32, offset u64
//!      …     …  padding to the alignment, then the tensor data; offsets count from here
//! ```

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;

use crate::error::{EngineError, GgufFault};

const MAGIC: [u8; 4] = *b"GGUF";
const VERSIONS: std::ops::RangeInclusive<u32> = 2..=3;
const DEFAULT_ALIGNMENT: u64 = 32;

const MAX_TENSORS: u64 = 1 << 20;
const MAX_ENTRIES: u64 = 1 << 16;
const MAX_KEY_BYTES: u64 = u16::MAX as u64;
const MAX_STRING_BYTES: u64 = 1 << 24;
const MAX_ARRAY_ITEMS: u64 = 1 << 24;
const MAX_NAME_BYTES: u64 = 63;
const MAX_DIMENSIONS: u64 = 4;
const MAX_ALIGNMENT: u64 = 1 << 20;

const TYPE_STRING: u32 = 8;
const TYPE_ARRAY: u32 = 9;
const TYPE_U32: u32 = 4;

/// What the check learnt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) architecture: String,
    /// Numbers of the metadata that say how much memory the model needs, by the part of their key behind the architecture.
    pub(crate) numbers: BTreeMap<&'static str, Vec<u64>>,
    /// Tokens of the vocabulary.
    pub(crate) vocabulary: u64,
}

/// What of the metadata is kept.
const NUMBERS: [&str; 9] = [
    "block_count",
    "context_length",
    "embedding_length",
    "feed_forward_length",
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.value_length",
    "pooling_type",
];
/// Most layers whose numbers are kept one by one.
const MAX_LAYERS: u64 = 4096;

/// Size of an element type's block: `elements` values in `bytes` bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) elements: u64,
    pub(crate) bytes: u64,
}

/// Opens the file at `path`.
pub(crate) fn open(path: &Path) -> Result<File, EngineError> {
    let file = File::open(path).map_err(unreadable)?;
    // A directory or a device opens, and says so only here.
    if !file.metadata().map_err(unreadable)?.is_file() {
        return Err(EngineError::Unreadable { kind: ErrorKind::InvalidInput });
    }
    Ok(file)
}

/// Checks the header of an open file. `block_of` knows the element types of the linked llama.cpp.
pub(crate) fn check_file(mut file: &File, block_of: fn(u32) -> Option<Block>) -> Result<Header, EngineError> {
    // The length by seeking: a confined process may not ask for a file's metadata.
    let len = file.seek(SeekFrom::End(0)).map_err(unreadable)?;
    file.rewind().map_err(unreadable)?;
    check(BufReader::with_capacity(1 << 16, file), len, block_of)
}

/// Checks a header that `input` starts with, in a file of `len` bytes.
pub(crate) fn check<R: Read + Seek>(
    input: R,
    len: u64,
    block_of: fn(u32) -> Option<Block>,
) -> Result<Header, EngineError> {
    let mut reader = Reader { input, at: 0, len };
    let magic: [u8; 4] = match reader.array() {
        Ok(magic) => magic,
        // Too short to carry a magic: it is not a cut GGUF file, it is no GGUF file.
        Err(EngineError::Gguf(GgufFault::Truncated { .. })) => return Err(EngineError::NotGguf),
        Err(other) => return Err(other),
    };
    if magic != MAGIC {
        return Err(EngineError::NotGguf);
    }
    let version = reader.u32()?;
    if !VERSIONS.contains(&version) {
        return Err(GgufFault::Version { version }.into());
    }
    let tensors = reader.count("number of tensors", MAX_TENSORS)?;
    let entries = reader.count("number of metadata entries", MAX_ENTRIES)?;
    if tensors == 0 {
        return Err(GgufFault::NoTensors.into());
    }

    let mut architecture = None;
    let mut alignment = DEFAULT_ALIGNMENT;
    let (mut numbers, mut vocabulary) = (BTreeMap::new(), 0);
    for index in 0..entries {
        let key = reader.string("length of a metadata key", MAX_KEY_BYTES)?;
        let kind = reader.u32()?;
        match (key.as_str(), kind) {
            ("general.architecture", TYPE_STRING) => {
                architecture = Some(reader.string("length of general.architecture", MAX_KEY_BYTES)?);
            }
            ("general.alignment", TYPE_U32) => alignment = u64::from(reader.u32()?),
            ("tokenizer.ggml.tokens", TYPE_ARRAY) => vocabulary = reader.strings(index)?,
            (key, kind) => {
                let name = key.split_once('.').and_then(|(_, name)| NUMBERS.iter().find(|n| **n == name));
                match name {
                    Some(name) => {
                        numbers.insert(*name, reader.numbers(index, kind)?);
                    }
                    None => reader.skip_value(index, kind)?,
                }
            }
        }
    }
    let architecture = architecture.ok_or(GgufFault::NoArchitecture)?;
    if !alignment.is_power_of_two() || alignment > MAX_ALIGNMENT {
        return Err(GgufFault::Alignment { alignment }.into());
    }

    // The largest end, relative to the data section, and whose it is.
    let mut furthest = (0, 0);
    for index in 0..tensors {
        let end = tensor_end(&mut reader, index, alignment, block_of)?;
        if end > furthest.0 {
            furthest = (end, index);
        }
    }
    let (end, index) = furthest;
    let shape = || EngineError::from(GgufFault::TensorShape { index });
    let data = reader.at.checked_next_multiple_of(alignment).ok_or_else(shape)?;
    let end = data.checked_add(end).ok_or_else(shape)?;
    if end > len {
        return Err(GgufFault::TensorOutside { index, end, len }.into());
    }
    Ok(Header { architecture, numbers, vocabulary })
}

/// Reads one tensor's description and returns where its bytes end, counted from the start of the data section.
fn tensor_end<R: Read + Seek>(
    reader: &mut Reader<R>,
    index: u64,
    alignment: u64,
    block_of: fn(u32) -> Option<Block>,
) -> Result<u64, EngineError> {
    reader.string("length of a tensor name", MAX_NAME_BYTES)?;
    let dimensions = u64::from(reader.u32()?);
    if dimensions > MAX_DIMENSIONS {
        return Err(GgufFault::TooMuch {
            what: "number of dimensions",
            value: dimensions,
            limit: MAX_DIMENSIONS,
        }
        .into());
    }
    let mut row = 1;
    let mut elements: u64 = 1;
    let shape = || EngineError::from(GgufFault::TensorShape { index });
    for d in 0..dimensions {
        let size = reader.u64()?;
        if d == 0 {
            row = size;
        }
        if size == 0 {
            return Err(shape());
        }
        elements = elements.checked_mul(size).ok_or_else(shape)?;
    }
    let kind = reader.u32()?;
    let offset = reader.u64()?;
    let block = block_of(kind).ok_or(GgufFault::TensorType { index, kind })?;
    if block.elements == 0 || row % block.elements != 0 || offset % alignment != 0 {
        return Err(shape());
    }
    (elements / block.elements)
        .checked_mul(block.bytes)
        .and_then(|bytes| offset.checked_add(bytes))
        .ok_or_else(shape)
}

fn unreadable(error: std::io::Error) -> EngineError {
    EngineError::Unreadable { kind: error.kind() }
}

/// Little-endian reads that never pass the file's length.
struct Reader<R> {
    input: R,
    at: u64,
    len: u64,
}

impl<R: Read + Seek> Reader<R> {
    /// Claims the next `n` bytes.
    fn advance(&mut self, n: u64) -> Result<(), EngineError> {
        match self.at.checked_add(n) {
            Some(end) if end <= self.len => {
                self.at = end;
                Ok(())
            }
            _ => Err(GgufFault::Truncated { at: self.len }.into()),
        }
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), EngineError> {
        self.advance(buffer.len() as u64)?;
        self.input.read_exact(buffer).map_err(|e| match e.kind() {
            // The file shrank under us.
            ErrorKind::UnexpectedEof => GgufFault::Truncated { at: self.len }.into(),
            _ => unreadable(e),
        })
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], EngineError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn u32(&mut self) -> Result<u32, EngineError> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, EngineError> {
        self.array().map(u64::from_le_bytes)
    }

    fn count(&mut self, what: &'static str, limit: u64) -> Result<u64, EngineError> {
        let value = self.u64()?;
        if value > limit {
            return Err(GgufFault::TooMuch { what, value, limit }.into());
        }
        Ok(value)
    }

    fn string(&mut self, what: &'static str, limit: u64) -> Result<String, EngineError> {
        let n = self.count(what, limit)?;
        // Before the allocation: a length that the file cannot hold costs nothing.
        if n > self.len.saturating_sub(self.at) {
            return Err(GgufFault::Truncated { at: self.len }.into());
        }
        let mut bytes = vec![0; usize::try_from(n).unwrap_or(usize::MAX)];
        self.fill(&mut bytes)?;
        String::from_utf8(bytes).map_err(|_| GgufFault::Utf8 { at: self.at }.into())
    }

    fn skip(&mut self, n: u64) -> Result<(), EngineError> {
        self.advance(n)?;
        self.input.seek(SeekFrom::Start(self.at)).map_err(unreadable)?;
        Ok(())
    }

    fn skip_string(&mut self) -> Result<(), EngineError> {
        let n = self.count("length of a metadata string", MAX_STRING_BYTES)?;
        // Short strings are read through the buffer; a seek would throw the buffer away.
        let mut left = n;
        let mut scrap = [0; 256];
        if left > scrap.len() as u64 {
            return self.skip(left);
        }
        while left > 0 {
            let step = left.min(scrap.len() as u64);
            let (part, _) = scrap.split_at_mut(usize::try_from(step).unwrap_or(0));
            self.fill(part)?;
            left -= step;
        }
        Ok(())
    }

    /// A list of strings, of which the number is kept; of anything else, nothing.
    fn strings(&mut self, index: u64) -> Result<u64, EngineError> {
        let item = self.u32()?;
        let items = self.count("length of a metadata array", MAX_ARRAY_ITEMS)?;
        self.skip_items(index, item, items)?;
        Ok(if item == TYPE_STRING { items } else { 0 })
    }

    /// A number, or a number of each layer. What is no number that is not negative is kept as none.
    fn numbers(&mut self, index: u64, kind: u32) -> Result<Vec<u64>, EngineError> {
        let (kind, items) = match kind {
            TYPE_ARRAY => (self.u32()?, self.count("length of a metadata array", MAX_ARRAY_ITEMS)?),
            kind => (kind, 1),
        };
        let mut numbers = Vec::new();
        match kind {
            // u32, i32
            4 | 5 if items <= MAX_LAYERS => {
                for _ in 0..items {
                    let number = self.u32()?;
                    numbers.push(if kind == 5 && number > i32::MAX.unsigned_abs() {
                        0
                    } else {
                        number.into()
                    });
                }
            }
            // u64
            10 if items <= MAX_LAYERS => {
                for _ in 0..items {
                    numbers.push(self.u64()?);
                }
            }
            TYPE_ARRAY => return Err(GgufFault::ValueType { index, kind }.into()),
            kind => self.skip_items(index, kind, items)?,
        }
        Ok(numbers)
    }

    fn skip_items(&mut self, index: u64, item: u32, items: u64) -> Result<(), EngineError> {
        if item == TYPE_STRING {
            for _ in 0..items {
                self.skip_string()?;
            }
            return Ok(());
        }
        let size = scalar_bytes(item).ok_or(GgufFault::ValueType { index, kind: item })?;
        // Cannot overflow: MAX_ARRAY_ITEMS times 8.
        self.skip(items * size)
    }

    fn skip_value(&mut self, index: u64, kind: u32) -> Result<(), EngineError> {
        match kind {
            TYPE_STRING => self.skip_string(),
            TYPE_ARRAY => {
                let item = self.u32()?;
                let items = self.count("length of a metadata array", MAX_ARRAY_ITEMS)?;
                self.skip_items(index, item, items)
            }
            _ => {
                let size = scalar_bytes(kind).ok_or(GgufFault::ValueType { index, kind })?;
                self.skip(size)
            }
        }
    }
}

/// Size of a metadata number, in bytes.
fn scalar_bytes(kind: u32) -> Option<u64> {
    match kind {
        0 | 1 | 7 => Some(1),
        2 | 3 => Some(2),
        4..=6 => Some(4),
        10..=12 => Some(8),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    fn blocks(kind: u32) -> Option<Block> {
        match kind {
            0 => Some(Block { elements: 1, bytes: 4 }),
            3 => Some(Block { elements: 32, bytes: 20 }),
            _ => None,
        }
    }

    /// A GGUF file under construction; every field can be bent.
    struct Draft {
        magic: [u8; 4],
        version: u32,
        tensors: u64,
        entries: u64,
        metadata: Vec<u8>,
        name: Vec<u8>,
        shape: Vec<u64>,
        dimensions: Option<u32>,
        kind: u32,
        offset: u64,
        data: usize,
    }

    impl Draft {
        fn good() -> Self {
            let mut metadata = Vec::new();
            entry(&mut metadata, "general.architecture", TYPE_STRING, &text("llama"));
            Self {
                magic: MAGIC,
                version: 3,
                tensors: 1,
                entries: 1,
                metadata,
                name: text("w"),
                shape: vec![64, 2],
                dimensions: None,
                kind: 3,
                offset: 0,
                data: 80,
            }
        }

        fn with_entry(mut self, key: &str, kind: u32, value: &[u8]) -> Self {
            entry(&mut self.metadata, key, kind, value);
            self.entries += 1;
            self
        }

        fn bytes(&self) -> Vec<u8> {
            let mut b = Vec::new();
            b.extend(self.magic);
            b.extend(self.version.to_le_bytes());
            b.extend(self.tensors.to_le_bytes());
            b.extend(self.entries.to_le_bytes());
            b.extend(&self.metadata);
            b.extend(&self.name);
            b.extend(self.dimensions.unwrap_or(u32::try_from(self.shape.len()).unwrap()).to_le_bytes());
            for d in &self.shape {
                b.extend(d.to_le_bytes());
            }
            b.extend(self.kind.to_le_bytes());
            b.extend(self.offset.to_le_bytes());
            b.resize(b.len().next_multiple_of(32), 0);
            b.resize(b.len() + self.data, 7);
            b
        }

        fn code(&self) -> &'static str {
            code(&self.bytes())
        }
    }

    fn text(s: &str) -> Vec<u8> {
        let mut b = (s.len() as u64).to_le_bytes().to_vec();
        b.extend(s.as_bytes());
        b
    }

    fn entry(to: &mut Vec<u8>, key: &str, kind: u32, value: &[u8]) {
        to.extend(text(key));
        to.extend(kind.to_le_bytes());
        to.extend(value);
    }

    fn code(bytes: &[u8]) -> &'static str {
        match check(Cursor::new(bytes), bytes.len() as u64, blocks) {
            Ok(_) => "ok",
            Err(e) => e.code(),
        }
    }

    #[test]
    fn a_sound_header_gives_its_architecture() {
        let bytes = Draft::good().bytes();
        let header = check(Cursor::new(&bytes), bytes.len() as u64, blocks).unwrap();
        assert_eq!(header.architecture, "llama");
    }

    #[test]
    fn every_value_type_is_skipped_exactly() {
        let mut draft = Draft::good();
        for (i, kind) in (0..=7).chain(10..=12).enumerate() {
            let size = usize::try_from(scalar_bytes(kind).unwrap()).unwrap();
            draft = draft.with_entry(&format!("k{i}"), kind, &vec![1; size]);
            let mut array = kind.to_le_bytes().to_vec();
            array.extend(3u64.to_le_bytes());
            array.extend(vec![1; size * 3]);
            draft = draft.with_entry(&format!("a{i}"), TYPE_ARRAY, &array);
        }
        draft = draft.with_entry("long", TYPE_STRING, &text(&"x".repeat(5000)));
        let mut strings = TYPE_STRING.to_le_bytes().to_vec();
        strings.extend(2u64.to_le_bytes());
        strings.extend(text("one"));
        strings.extend(text(""));
        assert_eq!(draft.with_entry("strings", TYPE_ARRAY, &strings).code(), "ok");
    }

    #[test]
    fn every_truncation_is_an_error() {
        let bytes = Draft::good().bytes();
        for n in 0..bytes.len() {
            let expected = if n < 4 { "engine.model.not-gguf" } else { "engine.model.truncated" };
            assert_eq!(code(&bytes[..n]), expected, "cut at {n}");
        }
    }

    #[test]
    fn one_mistake_each() {
        let cases: Vec<(&str, Draft, &str)> = vec![
            ("magic", Draft { magic: *b"GGUX", ..Draft::good() }, "engine.model.not-gguf"),
            ("version 1", Draft { version: 1, ..Draft::good() }, "engine.model.version"),
            ("version 4", Draft { version: 4, ..Draft::good() }, "engine.model.version"),
            ("big-endian", Draft { version: 3u32.swap_bytes(), ..Draft::good() }, "engine.model.version"),
            ("no tensors", Draft { tensors: 0, ..Draft::good() }, "engine.model.malformed"),
            ("tensor count", Draft { tensors: u64::MAX, ..Draft::good() }, "engine.model.malformed"),
            ("entry count", Draft { entries: u64::MAX, ..Draft::good() }, "engine.model.malformed"),
            (
                "one tensor more than there is",
                Draft { tensors: 2, ..Draft::good() },
                "engine.model.truncated",
            ),
            ("unknown value type", Draft::good().with_entry("x", 13, &[0; 8]), "engine.model.malformed"),
            (
                "nested array",
                Draft::good().with_entry("x", 9, &[9, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]),
                "engine.model.malformed",
            ),
            (
                "array length",
                Draft::good().with_entry("x", 9, &[0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0]),
                "engine.model.malformed",
            ),
            ("string length", Draft::good().with_entry("x", 8, &[0xff; 8]), "engine.model.malformed"),
            (
                "string past the end",
                Draft::good().with_entry("x", 8, &(1u64 << 20).to_le_bytes()),
                "engine.model.truncated",
            ),
            (
                "alignment 0",
                Draft::good().with_entry("general.alignment", TYPE_U32, &[0; 4]),
                "engine.model.malformed",
            ),
            (
                "alignment 3",
                Draft::good().with_entry("general.alignment", TYPE_U32, &[3, 0, 0, 0]),
                "engine.model.malformed",
            ),
            (
                "no architecture",
                Draft { metadata: Vec::new(), entries: 0, ..Draft::good() },
                "engine.model.malformed",
            ),
            (
                "name too long",
                Draft { name: text(&"n".repeat(64)), ..Draft::good() },
                "engine.model.malformed",
            ),
            (
                "name not UTF-8",
                Draft { name: vec![1, 0, 0, 0, 0, 0, 0, 0, 0xff], ..Draft::good() },
                "engine.model.malformed",
            ),
            (
                "five dimensions",
                Draft { shape: vec![32, 1, 1, 1, 1], ..Draft::good() },
                "engine.model.malformed",
            ),
            ("a zero dimension", Draft { shape: vec![32, 0], ..Draft::good() }, "engine.model.malformed"),
            ("row not whole blocks", Draft { shape: vec![33], ..Draft::good() }, "engine.model.malformed"),
            (
                "elements overflow",
                Draft { shape: vec![1 << 33, 1 << 33], ..Draft::good() },
                "engine.model.malformed",
            ),
            ("unknown element type", Draft { kind: 99, ..Draft::good() }, "engine.model.malformed"),
            ("offset not aligned", Draft { offset: 1, ..Draft::good() }, "engine.model.malformed"),
            ("offset overflow", Draft { offset: u64::MAX - 31, ..Draft::good() }, "engine.model.malformed"),
            ("offset past the end", Draft { offset: 32, ..Draft::good() }, "engine.model.truncated"),
            ("one data byte short", Draft { data: 79, ..Draft::good() }, "engine.model.truncated"),
        ];
        for (name, draft, expected) in cases {
            assert_eq!(draft.code(), expected, "{name}");
        }
    }

    #[test]
    fn a_directory_and_a_missing_file_are_unreadable() {
        for path in ["/", "/nonexistent/model.gguf"] {
            assert_eq!(open(Path::new(path)).unwrap_err().code(), "engine.model.unreadable");
        }
    }
}
