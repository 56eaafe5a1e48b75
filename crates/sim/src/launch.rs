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
    let mut chain = Chain::new();
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
    let mut chain = Chain::new();
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
    fn new() -> Self {
        Self { digest: [0; 48], next_page: 0 }
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
