//! The few pieces of DER (X.690) that must be read from the bytes themselves: signed envelopes whose algorithm
//! identifier is compared byte for byte, subject public keys, and AMD's extension values.
//!
//! Strict: one-byte tags, minimal definite lengths up to 2^24, minimal INTEGERs. Everything else is `None`.

/// `SEQUENCE`, constructed.
pub(crate) const SEQUENCE: u8 = 0x30;
/// `INTEGER`.
pub(crate) const INTEGER: u8 = 0x02;
/// `BIT STRING`.
pub(crate) const BIT_STRING: u8 = 0x03;
/// `OCTET STRING`.
pub(crate) const OCTET_STRING: u8 = 0x04;
/// `OBJECT IDENTIFIER`.
pub(crate) const OBJECT_IDENTIFIER: u8 = 0x06;
/// `ENUMERATED`.
pub(crate) const ENUMERATED: u8 = 0x0a;
/// `BOOLEAN`.
pub(crate) const BOOLEAN: u8 = 0x01;
/// `UTF8String`.
pub(crate) const UTF8_STRING: u8 = 0x0c;
/// `IA5String`.
pub(crate) const IA5_STRING: u8 = 0x16;

/// One element: where it starts and what is in it.
pub(crate) struct Element<'a> {
    /// Header and content.
    pub(crate) whole: &'a [u8],
    /// Content only.
    pub(crate) content: &'a [u8],
}

/// An X.509 `SIGNED{}`: certificate or revocation list.
pub(crate) struct Signed<'a> {
    /// What is signed, with its header.
    pub(crate) to_be_signed: &'a [u8],
    /// Content of the outer `AlgorithmIdentifier`.
    pub(crate) algorithm: &'a [u8],
    /// The signature's octets.
    pub(crate) signature: &'a [u8],
}

/// Splits `SEQUENCE { toBeSigned, AlgorithmIdentifier, BIT STRING }` and refuses anything after it.
pub(crate) fn signed(input: &[u8]) -> Option<Signed<'_>> {
    let body = only(input, SEQUENCE)?;
    let (tbs, rest) = take(body, SEQUENCE)?;
    let (algorithm, rest) = take(rest, SEQUENCE)?;
    let signature = bit_string(rest)?;
    Some(Signed { to_be_signed: tbs.whole, algorithm: algorithm.content, signature })
}

/// Splits a `SubjectPublicKeyInfo` into the content of its algorithm identifier and the key's octets.
pub(crate) fn public_key(spki: &[u8]) -> Option<(&[u8], &[u8])> {
    let body = only(spki, SEQUENCE)?;
    let (algorithm, rest) = take(body, SEQUENCE)?;
    Some((algorithm.content, bit_string(rest)?))
}

/// Splits an `RSAPublicKey` into modulus and exponent, big-endian without leading zeros.
pub(crate) fn rsa_public_key(key: &[u8]) -> Option<(&[u8], &[u8])> {
    let body = only(key, SEQUENCE)?;
    let (modulus, rest) = take(body, INTEGER)?;
    let exponent = only(rest, INTEGER)?;
    Some((unsigned(modulus.content)?, unsigned(exponent)?))
}

/// An `INTEGER` between 0 and 255, and nothing else. AMD's SPLs above 127 take two content octets.
pub(crate) fn integer_u8(input: &[u8]) -> Option<u8> {
    match unsigned(only(input, INTEGER)?)? {
        [] => Some(0),
        [value] => Some(*value),
        _ => None,
    }
}

/// An `IA5String` of printable ASCII, and nothing else.
pub(crate) fn ia5_string(input: &[u8]) -> Option<&str> {
    let content = only(input, IA5_STRING)?;
    if content.is_empty() || !content.iter().all(|byte| matches!(byte, 0x20..=0x7e)) {
        return None;
    }
    core::str::from_utf8(content).ok()
}

/// The content of exactly one element with this tag that fills the input.
pub(crate) fn only(input: &[u8], tag: u8) -> Option<&[u8]> {
    let (element, rest) = take(input, tag)?;
    rest.is_empty().then_some(element.content)
}

/// Takes one element with this tag from the front.
pub(crate) fn take(input: &[u8], tag: u8) -> Option<(Element<'_>, &[u8])> {
    let (&found, after_tag) = input.split_first()?;
    if found != tag {
        return None;
    }
    let (length, body) = length(after_tag)?;
    let (content, rest) = body.split_at_checked(length)?;
    let header_and_content = input.len().checked_sub(rest.len())?;
    let (whole, _) = input.split_at_checked(header_and_content)?;
    Some((Element { whole, content }, rest))
}

/// Writes one element. Contents of 64 KiB and more are not written here.
pub(crate) fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let mut whole = vec![tag];
    match u16::try_from(content.len()).unwrap_or(u16::MAX).to_be_bytes() {
        [0, short @ 0..=0x7f] => whole.push(short),
        [0, one] => whole.extend([0x81, one]),
        two => whole.extend([0x82].iter().chain(&two)),
    }
    whole.extend(content);
    whole
}

fn length(input: &[u8]) -> Option<(usize, &[u8])> {
    let (&first, rest) = input.split_first()?;
    if first < 0x80 {
        return Some((usize::from(first), rest));
    }
    let (octets, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
    let (&leading, _) = octets.split_first()?;
    if octets.len() > 3 || leading == 0 {
        return None;
    }
    let length = octets.iter().fold(0_usize, |sum, &octet| (sum << 8) | usize::from(octet));
    (length >= 0x80).then_some((length, rest))
}

fn bit_string(input: &[u8]) -> Option<&[u8]> {
    let (&unused_bits, octets) = only(input, BIT_STRING)?.split_first()?;
    (unused_bits == 0).then_some(octets)
}

/// A minimal, non-negative INTEGER's content without its sign octet; zero is the empty slice.
pub(crate) fn unsigned(content: &[u8]) -> Option<&[u8]> {
    match content {
        [] => None,
        [0] => Some(&[]),
        [0, next, ..] if *next < 0x80 => None,
        [0, magnitude @ ..] => Some(magnitude),
        [first, ..] if *first >= 0x80 => None,
        magnitude => Some(magnitude),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for length in [0, 1, 127, 128, 255, 256, 65_535] {
            let content = vec![7; length];
            let (first, second) = content.split_at(length / 2);
            assert_eq!(
                only(&element(OCTET_STRING, &[first, second]), OCTET_STRING),
                Some(content.as_slice())
            );
        }
    }

    #[test]
    fn an_spl_above_127_is_two_octets() {
        assert_eq!(integer_u8(&[0x02, 0x02, 0x00, 0xd9]), Some(0xd9));
        assert_eq!(integer_u8(&[0x02, 0x01, 0x00]), Some(0));
        assert_eq!(integer_u8(&[0x02, 0x01, 0x7f]), Some(0x7f));
    }

    #[test]
    fn integers_that_are_not_one_minimal_octet_are_refused() {
        let negative = [0x02, 0x01, 0xd9];
        let padded = [0x02, 0x02, 0x00, 0x7f];
        let wide = [0x02, 0x02, 0x01, 0x00];
        let empty = [0x02, 0x00];
        let trailing = [0x02, 0x01, 0x00, 0x00];
        let long_form = [0x02, 0x81, 0x01, 0x00];
        let truncated = [0x02, 0x02, 0x00];
        let cases: [&[u8]; 9] =
            [&negative, &padded, &wide, &empty, &trailing, &long_form, &truncated, &[], &[0x02]];
        for case in cases {
            assert_eq!(integer_u8(case), None, "{case:02x?}");
        }
    }

    #[test]
    fn lengths_must_be_minimal_and_inside_the_input() {
        assert!(only(&[0x04, 0x80], OCTET_STRING).is_none(), "indefinite");
        assert!(only(&[0x04, 0x82, 0x00, 0x80], OCTET_STRING).is_none(), "leading zero");
        assert!(only(&[0x04, 0x84, 1, 0, 0, 0], OCTET_STRING).is_none(), "four octets");
        assert!(only(&[0x04, 0x05, 0, 0], OCTET_STRING).is_none(), "beyond the end");
    }

    #[test]
    fn strings_must_be_printable() {
        assert_eq!(ia5_string(b"\x16\x05Genoa"), Some("Genoa"));
        assert_eq!(ia5_string(b"\x16\x00"), None);
        assert_eq!(ia5_string(b"\x16\x02A\n"), None);
        assert_eq!(ia5_string(b"\x0c\x05Genoa"), None, "UTF8String");
    }

    #[test]
    fn bit_strings_have_no_unused_bits() {
        assert!(public_key(&[0x30, 0x06, 0x30, 0x00, 0x03, 0x02, 0x00, 0x04]).is_some());
        assert!(public_key(&[0x30, 0x06, 0x30, 0x00, 0x03, 0x02, 0x01, 0x04]).is_none());
    }
}
