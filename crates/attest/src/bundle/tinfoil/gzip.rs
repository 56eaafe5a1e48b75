//! One gzip member (RFC 1952) without optional fields, to the end, over at most so many bytes.

use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::inflate_flags::TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress};

/// Magic, deflate, no optional fields. What follows, up to the data: time, extra flags and system, which say nothing.
const HEADER: [u8; 4] = [0x1f, 0x8b, 0x08, 0x00];
const HEADER_LEN: usize = 10;
const TRAILER_LEN: usize = 8;

/// The bytes that were compressed; `None` where it is no such member, or more than `maximum` bytes.
pub(super) fn inflate(input: &[u8], maximum: usize) -> Option<Vec<u8>> {
    let (header, rest) = input.split_at_checked(HEADER_LEN)?;
    if !header.starts_with(&HEADER) {
        return None;
    }
    let mut output = vec![0; maximum];
    let (status, read, written) = decompress(
        &mut DecompressorOxide::new(),
        rest,
        &mut output,
        0,
        TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF,
    );
    output.truncate(written);
    let trailer = rest.get(read..)?;
    let length = u32::try_from(written).ok()?;
    let whole = status == TINFLStatus::Done
        && trailer.len() == TRAILER_LEN
        && trailer == [crc32(&output).to_le_bytes(), length.to_le_bytes()].as_flattened();
    whole.then_some(output)
}

/// CRC-32 of ISO 3309, as RFC 1952 §8 has it.
fn crc32(bytes: &[u8]) -> u32 {
    let crc = bytes.iter().fold(u32::MAX, |crc, octet| {
        (0..8).fold(
            crc ^ u32::from(*octet),
            |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 },
        )
    });
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    /// "casemate" in one stored block.
    fn stored() -> Vec<u8> {
        let mut member = HEADER.to_vec();
        member.extend([0, 0, 0, 0, 0, 255, 1, 8, 0, 247, 255]);
        member.extend(b"casemate");
        member.extend(crc32(b"casemate").to_le_bytes());
        member.extend(8_u32.to_le_bytes());
        member
    }

    #[test]
    fn the_check_value_is_that_of_the_standard() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(crc32(b""), 0);
    }

    #[test]
    fn one_whole_member_is_read_and_nothing_else() {
        assert_eq!(inflate(&stored(), 8).as_deref(), Some(&b"casemate"[..]));
        assert_eq!(inflate(&stored(), 7), None);
        assert_eq!(inflate(&[stored(), vec![0]].concat(), 8), None);
        assert_eq!(inflate(&[stored(), stored()].concat(), 64), None);
        for length in 0..stored().len() {
            assert_eq!(inflate(&stored()[..length], 64), None, "{length}");
        }
        // Time, extra flags and system are nobody's business; every other bit counts.
        for bit in (0..stored().len() * 8).filter(|bit| !(32..80).contains(bit)) {
            let mut flipped = stored();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let read = inflate(&flipped, 64);
            // Bits of a stored block's first octet that deflate fills up and nobody reads.
            assert!(read.is_none() || (83..88).contains(&bit), "{bit}");
        }
    }
}
