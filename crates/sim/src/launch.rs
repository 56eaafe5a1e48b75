//! The SNP launch digest of an image that is loaded page by page from guest-physical address 0.
//!
//! SEV-SNP firmware ABI (AMD 56860), SNP_LAUNCH_UPDATE: the digest starts as 48 zero bytes, and each page
//! replaces it by SHA-384 of this PAGE_INFO structure (little endian):
//!
//! ```text
//! offset  size  field
//!   0x00    48  digest so far
//!   0x30    48  contents: SHA-384 of the 4096 bytes of a NORMAL page
//!   0x60     2  length of this structure = 0x70
//!   0x62     1  page type, NORMAL = 1
//!   0x63     1  IMI page flag = 0
//!   0x64     3  permissions of VMPL 3, 2, 1 = 0
//!   0x67     1  reserved = 0
//!   0x68     8  guest-physical address of the page
//! ```
//!
//! A real guest's launch digest also covers metadata pages and one VMSA per virtual CPU. A simulated machine
//! has neither: its digest says "this image, and nothing else".

use std::io::{self, Read};

use aws_lc_rs::digest::{SHA384, digest};

const PAGE_BYTES: usize = 4096;
const PAGE_INFO_BYTES: u16 = 0x70;
const PAGE_TYPE_NORMAL: u8 = 1;

/// The launch digest of `image`, its last page padded with zeros. An empty image has the initial digest, zeros.
pub fn launch_digest(image: &[u8]) -> [u8; 48] {
    launch_digest_at(0, image)
}

/// [`launch_digest`] of an image whose first page lies at this guest-physical address (firmware ends at 4 GiB).
pub fn launch_digest_at(first_page: u64, image: &[u8]) -> [u8; 48] {
    let mut chain = Chain::starting_at(first_page);
    for page in image.chunks(PAGE_BYTES) {
        chain.extend(page);
    }
    chain.digest
}

/// [`launch_digest`] of everything that `image` yields, one page in memory at a time.
///
/// # Errors
/// What the reader reports; interruptions are retried.
pub fn launch_digest_reader(image: &mut dyn Read) -> io::Result<[u8; 48]> {
    let mut chain = Chain::starting_at(0);
    let mut page = Vec::with_capacity(PAGE_BYTES);
    loop {
        page.clear();
        // A page may arrive in several reads; only the last one may be short.
        (&mut *image).take(PAGE_BYTES as u64).read_to_end(&mut page)?;
        if page.is_empty() {
            return Ok(chain.digest);
        }
        chain.extend(&page);
        if page.len() < PAGE_BYTES {
            return Ok(chain.digest);
        }
    }
}

/// The digest so far and the address of the next page.
struct Chain {
    digest: [u8; 48],
    next_page: u64,
}

impl Chain {
    fn starting_at(address: u64) -> Self {
        Self { digest: [0; 48], next_page: address }
    }

    /// Measures one page of at most 4096 bytes as if zeros followed it.
    fn extend(&mut self, page: &[u8]) {
        let mut padded = [0; PAGE_BYTES];
        for (to, from) in padded.iter_mut().zip(page) {
            *to = *from;
        }
        let mut info = Vec::with_capacity(usize::from(PAGE_INFO_BYTES));
        info.extend_from_slice(&self.digest);
        info.extend_from_slice(&sha384(&padded));
        info.extend_from_slice(&PAGE_INFO_BYTES.to_le_bytes());
        info.push(PAGE_TYPE_NORMAL);
        info.extend_from_slice(&[0; 5]); // IMI flag, permissions of VMPL 3, 2, 1, reserved
        info.extend_from_slice(&self.next_page.to_le_bytes());
        self.digest = sha384(&info);
        self.next_page = self.next_page.saturating_add(PAGE_BYTES as u64);
    }
}

fn sha384(bytes: &[u8]) -> [u8; 48] {
    let mut out = [0; 48];
    for (to, from) in out.iter_mut().zip(digest(&SHA384, bytes).as_ref()) {
        *to = *from;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives its bytes in pieces of changing length, as pipes do, and an interruption now and then.
    struct Dribble<'a>(&'a [u8], usize);

    impl Read for Dribble<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            self.1 += 1;
            if self.1.is_multiple_of(7) {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let piece = out.len().min(self.0.len()).min(1 + self.1 * 37 % 900);
            let (now, later) = self.0.split_at(piece);
            out[..piece].copy_from_slice(now);
            self.0 = later;
            Ok(piece)
        }
    }

    fn pattern(length: usize) -> Vec<u8> {
        (0..length).map(|at| (at % 251) as u8).collect()
    }

    /// Computed with a separate program (Python's hashlib) from the table above.
    #[test]
    fn known_answers() {
        for (image, expected) in [
            (
                vec![],
                "000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000",
            ),
            (
                vec![0; 4096],
                "9d13634b6014bb21cf059b2dc694e7bff01a8a7137041100cd2b695f3d10fb687267b97808b27f8f471d943bc6f53a20",
            ),
            (
                b"casemate".to_vec(),
                "94b56a486e99cf31e518e396f45a7eb61b4a1fbcafc4d01cccb032f65d0768d81a8d3b5cde71f93b5678b3e886610819",
            ),
            (
                pattern(3 * 4096 + 17),
                "e951ebe6fe653eb405efab06b76ebb6e7ffdbb9c5ad1cffbc48ce9305834e3167b84c34a44d0dfb2a9c45c94f64922b1",
            ),
        ] {
            assert_eq!(hex::encode(launch_digest(&image)), expected, "{} bytes", image.len());
        }
    }

    #[test]
    fn a_reader_gives_the_same_digest_however_it_dribbles() {
        for length in [0, 1, 4095, 4096, 4097, 8192, 3 * 4096 + 17] {
            let image = pattern(length);
            let streamed = launch_digest_reader(&mut Dribble(&image, 0)).expect("read");
            assert_eq!(streamed, launch_digest(&image), "{length} bytes");
        }
    }

    #[test]
    fn a_failing_reader_gives_no_digest() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::UnexpectedEof.into())
            }
        }
        let error = launch_digest_reader(&mut pattern(5000).as_slice().chain(Broken)).expect_err("broken");
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn every_page_and_its_place_count() {
        let two = [vec![1; 4096], vec![2; 4096]].concat();
        let swapped = [vec![2; 4096], vec![1; 4096]].concat();
        assert_ne!(launch_digest(&two), launch_digest(&swapped));
        assert_ne!(launch_digest(&two), launch_digest(&two[..4096]));
        // Padding to a page is part of the definition, so these two images are one.
        assert_eq!(
            launch_digest(&two[..4097]),
            launch_digest(&[vec![1; 4096], vec![2], vec![0; 4095]].concat())
        );
    }
}
