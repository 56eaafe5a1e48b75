//! The recorded message in its parts, so that a case can change one of them and write it again.

/// `attest.Attestation`, as far as the cases change it.
#[derive(Clone)]
pub(crate) struct Message {
    pub(crate) public: Vec<u8>,
    pub(crate) quotes: Vec<QuoteParts>,
    pub(crate) log: Vec<u8>,
    pub(crate) certificate: Vec<u8>,
    pub(crate) without_certificate: bool,
}

/// One quote.
#[derive(Clone)]
pub(crate) struct QuoteParts {
    pub(crate) quote: Vec<u8>,
    pub(crate) signature: Vec<u8>,
    pub(crate) hash: u64,
    pub(crate) pcrs: Vec<(u64, Vec<u8>)>,
}

/// Number, and octets or a number.
type Field = (u64, Result<Vec<u8>, u64>);

impl Message {
    pub(crate) fn read(bytes: &[u8]) -> Self {
        let fields = fields(bytes);
        Self {
            public: octets(&fields, 1),
            quotes: all(&fields, 2).iter().map(|quote| QuoteParts::read(quote)).collect(),
            log: octets(&fields, 3),
            certificate: octets(&fields, 6),
            without_certificate: false,
        }
    }

    pub(crate) fn write(&self) -> Vec<u8> {
        let mut out = field(1, &self.public);
        for quote in &self.quotes {
            out.extend(field(2, &quote.write()));
        }
        if !self.log.is_empty() {
            out.extend(field(3, &self.log));
        }
        if !self.without_certificate {
            out.extend(field(6, &self.certificate));
        }
        out
    }
}

impl QuoteParts {
    fn read(bytes: &[u8]) -> Self {
        let quote = fields(bytes);
        let pcrs = fields(&octets(&quote, 3));
        let entries = all(&pcrs, 2).into_iter().map(|entry| {
            let entry = fields(&entry);
            (number(&entry, 1).unwrap_or(0), octets(&entry, 2))
        });
        Self {
            quote: octets(&quote, 1),
            signature: octets(&quote, 2),
            hash: number(&pcrs, 1).expect("a hash"),
            pcrs: entries.collect(),
        }
    }

    fn write(&self) -> Vec<u8> {
        let mut pcrs = [varint(1 << 3), varint(self.hash)].concat();
        for (index, value) in &self.pcrs {
            pcrs.extend(field(2, &[varint(1 << 3), varint(*index), field(2, value)].concat()));
        }
        [field(1, &self.quote), field(2, &self.signature), field(3, &pcrs)].concat()
    }
}

pub(crate) fn quote_of(message: &Message, hash: u64) -> QuoteParts {
    message.quotes.iter().find(|quote| quote.hash == hash).expect("a quote of that bank").clone()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        let low = u8::try_from(value & 0x7f).expect("7 bits");
        value >>= 7;
        if value == 0 {
            out.push(low);
            return out;
        }
        out.push(low | 0x80);
    }
}

fn field(number: u64, octets: &[u8]) -> Vec<u8> {
    [varint(number << 3 | 2), varint(octets.len() as u64), octets.to_vec()].concat()
}

fn fields(mut bytes: &[u8]) -> Vec<Field> {
    let mut out = Vec::new();
    while !bytes.is_empty() {
        let key = take(&mut bytes);
        let value = take(&mut bytes);
        out.push(match key & 7 {
            0 => (key >> 3, Err(value)),
            _ => {
                let (octets, rest) = bytes.split_at(usize::try_from(value).expect("small"));
                bytes = rest;
                (key >> 3, Ok(octets.to_vec()))
            }
        });
    }
    out
}

fn take(bytes: &mut &[u8]) -> u64 {
    let (mut value, mut shift) = (0, 0);
    loop {
        let (first, rest) = bytes.split_first().expect("a number");
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        shift += 7;
        if first & 0x80 == 0 {
            return value;
        }
    }
}

fn all(fields: &[Field], number: u64) -> Vec<Vec<u8>> {
    fields.iter().filter(|(own, _)| *own == number).filter_map(|(_, value)| value.clone().ok()).collect()
}

fn octets(fields: &[Field], number: u64) -> Vec<u8> {
    all(fields, number).into_iter().next().expect("the field is there")
}

fn number(fields: &[Field], number: u64) -> Option<u64> {
    fields.iter().find(|(own, _)| *own == number).and_then(|(_, value)| value.clone().err())
}
