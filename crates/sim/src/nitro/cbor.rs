//! A small CBOR writer (RFC 8949): definite lengths in their shortest form, as the Nitro Security Module writes.

const UNSIGNED: u8 = 0x00;
const BYTES: u8 = 0x40;
const TEXT: u8 = 0x60;
const ARRAY: u8 = 0x80;
const MAP: u8 = 0xa0;

/// null.
pub(super) const NULL: [u8; 1] = [0xf6];

pub(super) fn unsigned(value: u64) -> Vec<u8> {
    head(UNSIGNED, value)
}

pub(super) fn bytes(value: &[u8]) -> Vec<u8> {
    [head(BYTES, length(value.len())), value.to_vec()].concat()
}

pub(super) fn text(value: &str) -> Vec<u8> {
    [head(TEXT, length(value.len())), value.as_bytes().to_vec()].concat()
}

/// Of encoded items.
pub(super) fn array(items: &[Vec<u8>]) -> Vec<u8> {
    [head(ARRAY, length(items.len())), items.concat()].concat()
}

/// Of encoded keys and values, in this order.
pub(super) fn map(entries: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let content = entries.iter().flat_map(|(key, value)| [key.as_slice(), value.as_slice()].concat());
    head(MAP, length(entries.len())).into_iter().chain(content).collect()
}

fn length(of: usize) -> u64 {
    u64::try_from(of).unwrap_or(u64::MAX)
}

/// Major type and argument.
fn head(major: u8, argument: u64) -> Vec<u8> {
    let bytes = argument.to_be_bytes();
    match argument {
        // Below 24, the argument is in the first byte.
        0..=23 => vec![major | bytes.last().copied().unwrap_or(0)],
        24..=0xff => [&[major | 24], bytes.get(7..).unwrap_or_default()].concat(),
        0x100..=0xffff => [&[major | 25], bytes.get(6..).unwrap_or_default()].concat(),
        0x1_0000..=0xffff_ffff => [&[major | 26], bytes.get(4..).unwrap_or_default()].concat(),
        _ => [&[major | 27], &bytes[..]].concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8949, appendix A.
    #[test]
    fn known_answers() {
        for (value, expected) in [
            (0, "00"),
            (23, "17"),
            (24, "1818"),
            (100, "1864"),
            (1000, "1903e8"),
            (1_000_000, "1a000f4240"),
            (1_000_000_000_000, "1b000000e8d4a51000"),
        ] {
            assert_eq!(hex::encode(unsigned(value)), expected);
        }
        assert_eq!(hex::encode(bytes(&[1, 2, 3, 4])), "4401020304");
        assert_eq!(hex::encode(text("IETF")), "6449455446");
        assert_eq!(hex::encode(array(&[unsigned(1), unsigned(2), unsigned(3)])), "83010203");
        assert_eq!(hex::encode(map(&[(unsigned(1), unsigned(2)), (unsigned(3), unsigned(4))])), "a201020304");
    }
}
