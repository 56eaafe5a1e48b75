//! AES-256-GCM from two native libraries behind one enum, chosen once per process from the CPU.
//!
//! * `aws-lc-rs` has an AVX-512 + VAES path and no AVX2 + VAES path;
//! * `ring` has an AVX2 + VAES path and no AVX-512 path.
//!
//! So each is the faster one on the CPUs that the other neglects. Both give the same bytes (tested against
//! each other and against the published vectors), and the choice is never a matter of trust.

use aws_lc_rs::aead as aws;
use ring::aead as ring_aead;

use crate::blob::TAG_LEN;

/// Which library does AES-256-GCM. [`Provider::detect`] is right for everybody who does not compare them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Provider {
    /// The crate `aws-lc-rs`.
    AwsLc,
    /// The crate `ring`.
    Ring,
}

impl Provider {
    /// The faster one on this CPU. AVX-512 with VAES: aws-lc-rs. Anything else: ring.
    pub fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx512f") && std::arch::is_x86_feature_detected!("vaes") {
            return Self::AwsLc;
        }
        Self::Ring
    }

    /// The name of the crate.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AwsLc => "aws-lc-rs",
            Self::Ring => "ring",
        }
    }
}

/// The library refused the operation: a tag that does not verify, or an input that it cannot process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refused;

/// One AES-256-GCM key. Nonces are the caller's duty: see `blob::BlobKey`, the only user.
pub(crate) enum Aead {
    AwsLc(aws::LessSafeKey),
    /// Boxed: ring keeps its key schedule in place, aws-lc-rs behind a pointer.
    Ring(Box<ring_aead::LessSafeKey>),
}

impl Aead {
    pub(crate) fn new(provider: Provider, key: &[u8; 32]) -> Result<Self, Refused> {
        match provider {
            Provider::AwsLc => {
                let key = aws::UnboundKey::new(&aws::AES_256_GCM, key).map_err(|_| Refused)?;
                Ok(Self::AwsLc(aws::LessSafeKey::new(key)))
            }
            Provider::Ring => {
                let key = ring_aead::UnboundKey::new(&ring_aead::AES_256_GCM, key).map_err(|_| Refused)?;
                Ok(Self::Ring(Box::new(ring_aead::LessSafeKey::new(key))))
            }
        }
    }

    /// Opens `sealed` (ciphertext, then the 16-byte tag) into `plain`, which is exactly 16 bytes shorter.
    /// `sealed` is overwritten. On refusal `plain` may hold anything: the caller wipes it.
    pub(crate) fn open(&self, nonce: [u8; 12], sealed: &mut [u8], plain: &mut [u8]) -> Result<(), Refused> {
        if sealed.len().checked_sub(TAG_LEN) != Some(plain.len()) {
            return Err(Refused);
        }
        match self {
            Self::AwsLc(key) => {
                let (text, tag) = sealed.split_at(plain.len());
                let nonce = aws::Nonce::assume_unique_for_key(nonce);
                key.open_separate_gather(nonce, aws::Aad::empty(), text, tag, plain).map_err(|_| Refused)
            }
            Self::Ring(key) => {
                let nonce = ring_aead::Nonce::assume_unique_for_key(nonce);
                let opened =
                    key.open_in_place(nonce, ring_aead::Aad::empty(), sealed).map_err(|_| Refused)?;
                if opened.len() != plain.len() {
                    return Err(Refused);
                }
                plain.copy_from_slice(opened);
                Ok(())
            }
        }
    }

    /// Seals `plain` into `sealed` (ciphertext, then the 16-byte tag), which is exactly 16 bytes longer.
    pub(crate) fn seal(&self, nonce: [u8; 12], plain: &[u8], sealed: &mut [u8]) -> Result<(), Refused> {
        if sealed.len().checked_sub(TAG_LEN) != Some(plain.len()) {
            return Err(Refused);
        }
        let (text, tag_out) = sealed.split_at_mut(plain.len());
        match self {
            Self::AwsLc(key) => {
                let nonce = aws::Nonce::assume_unique_for_key(nonce);
                key.seal_out_of_place_scatter(nonce, aws::Aad::empty(), plain, text, &[], tag_out)
                    .map_err(|_| Refused)
            }
            Self::Ring(key) => {
                text.copy_from_slice(plain);
                let nonce = ring_aead::Nonce::assume_unique_for_key(nonce);
                let tag = key
                    .seal_in_place_separate_tag(nonce, ring_aead::Aad::empty(), text)
                    .map_err(|_| Refused)?;
                tag_out.copy_from_slice(tag.as_ref());
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// AES-256-GCM, all-zero key and nonce, empty message (GCM specification, test case 13).
    #[test]
    fn both_libraries_give_the_published_tag() {
        for provider in [Provider::AwsLc, Provider::Ring] {
            let aead = Aead::new(provider, &[0; 32]).unwrap();
            let mut sealed = [0; 16];
            aead.seal([0; 12], &[], &mut sealed).unwrap();
            assert_eq!(hex::encode(sealed), "530f8afbc74536b9a963b4f1c4cb738b", "{provider:?}");
            aead.open([0; 12], &mut sealed, &mut []).unwrap();
        }
    }

    #[test]
    fn wrong_lengths_are_refused() {
        for provider in [Provider::AwsLc, Provider::Ring] {
            let aead = Aead::new(provider, &[0; 32]).unwrap();
            assert_eq!(aead.open([0; 12], &mut [0; 15], &mut []), Err(Refused));
            assert_eq!(aead.open([0; 12], &mut [0; 20], &mut [0; 5]), Err(Refused));
            assert_eq!(aead.seal([0; 12], &[0; 4], &mut [0; 19]), Err(Refused));
        }
    }

    #[test]
    fn both_libraries_agree_and_refuse_a_changed_tag() {
        let plain: Vec<u8> = (0..16384u32).map(|i| i as u8).collect();
        let mut outputs = Vec::new();
        for provider in [Provider::AwsLc, Provider::Ring] {
            let aead = Aead::new(provider, &[7; 32]).unwrap();
            let mut sealed = vec![0; plain.len() + TAG_LEN];
            aead.seal([9; 12], &plain, &mut sealed).unwrap();
            let mut opened = vec![0; plain.len()];
            aead.open([9; 12], &mut sealed.clone(), &mut opened).unwrap();
            assert_eq!(opened, plain);
            let mut bad = sealed.clone();
            *bad.last_mut().unwrap() ^= 1;
            assert_eq!(aead.open([9; 12], &mut bad, &mut opened), Err(Refused));
            outputs.push(sealed);
        }
        assert_eq!(outputs[0], outputs[1]);
    }
}
