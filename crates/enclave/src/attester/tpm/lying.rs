//! A TPM for tests, which quotes whatever it was told to.

use std::io::{Read, Write};

/// A TPM that answers a reading of PCRs with zeros, and a request for a quote with this.
pub(crate) struct Lying {
    quote: Vec<u8>,
    answer: Vec<u8>,
}

impl Lying {
    pub(crate) fn quoting(quote: Vec<u8>) -> Self {
        Self { quote, answer: Vec::new() }
    }
}

impl Write for Lying {
    fn write(&mut self, command: &[u8]) -> std::io::Result<usize> {
        let sized = |bytes: &[u8]| [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat();
        let (tag, body) = match command[6..10] {
            [0, 0, 0x01, 0x7e] => {
                let values = sized(&[0; 32]).repeat(8);
                (0x8001_u16, [&[0; 4][..], &command[10..], &[0, 0, 0, 8], &values].concat())
            }
            [0, 0, 0x01, 0x58] => {
                let signed = [sized(&self.quote), vec![0, 0x14, 0, 0x0b], sized(&[1; 256])].concat();
                let len = u32::try_from(signed.len()).unwrap().to_be_bytes();
                (0x8002, [&len[..], &signed, &[0, 0, 0, 0, 0]].concat())
            }
            [0, 0, 0x01, 0x65] => (0x8001, Vec::new()),
            _ => panic!("another command"),
        };
        let size = u32::try_from(body.len() + 10).unwrap().to_be_bytes();
        self.answer = [&tag.to_be_bytes()[..], &size, &[0; 4], &body].concat();
        Ok(command.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Read for Lying {
    fn read(&mut self, room: &mut [u8]) -> std::io::Result<usize> {
        let len = self.answer.len();
        room[..len].copy_from_slice(&self.answer);
        self.answer.clear();
        Ok(len)
    }
}

/// TPMS_ATTEST of a quote over these selections, with this digest.
pub(crate) fn attest(selections: &[u8], digest: &[u8]) -> Vec<u8> {
    let head = [&[0xff, 0x54, 0x43, 0x47, 0x80, 0x18, 0, 0, 0, 32][..], &[5; 32], &[0; 25]].concat();
    [&head[..], selections, &[0, 32], digest].concat()
}

/// Of the values of sixteen registers that nobody extended.
pub(crate) fn digest_of_zeros() -> Vec<u8> {
    aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &[0; 512]).as_ref().to_vec()
}
