//! Numbers of variable length (RFC 9000 §16), which chunks and Binary HTTP use alike.

/// Appends `value`, below 2^62, in its shortest form. Lengths in memory are.
pub(super) fn write(value: usize, out: &mut Vec<u8>) {
    let value = value as u64;
    let bytes = value.to_be_bytes();
    let (tag, from) = match value {
        0..=0x3f => (0x00, 7),
        0x40..=0x3fff => (0x40, 6),
        0x4000..=0x3fff_ffff => (0x80, 4),
        _ => (0xc0, 0),
    };
    let start = out.len();
    out.extend_from_slice(bytes.get(from..).unwrap_or_default());
    if let Some(first) = out.get_mut(start) {
        *first |= tag;
    }
}

/// The number at the beginning of `bytes` and how many bytes it has; `None` where they end before it does. Longer forms than needed are
/// numbers too.
pub(super) fn read(bytes: &[u8]) -> Option<(u64, usize)> {
    let first = *bytes.first()?;
    let len = 1_usize << (first >> 6);
    let rest = bytes.get(1..len)?;
    let value = rest.iter().fold(u64::from(first & 0x3f), |value, byte| (value << 8) | u64::from(*byte));
    Some((value, len))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_standard() {
        // RFC 9000 A.1
        assert_eq!(read(&hex::decode("c2197c5eff14e88c").unwrap()), Some((151_288_809_941_952_652, 8)));
        assert_eq!(read(&hex::decode("9d7f3e7d").unwrap()), Some((494_878_333, 4)));
        assert_eq!(read(&hex::decode("7bbd").unwrap()), Some((15_293, 2)));
        assert_eq!(read(&hex::decode("25").unwrap()), Some((37, 1)));
        assert_eq!(read(&hex::decode("4025").unwrap()), Some((37, 2)));
        for value in [0, 0x3f, 0x40, 0x3fff, 0x4000, 0x3fff_ffff, 0x4000_0000, 1 << 61] {
            let mut out = Vec::new();
            write(value, &mut out);
            assert_eq!(read(&out), Some((value as u64, out.len())));
            assert_eq!(read(&out[..out.len() - 1]), None);
        }
    }
}
