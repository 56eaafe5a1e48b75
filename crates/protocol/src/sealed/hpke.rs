//! HPKE's base mode (RFC 9180) with KEM and AEAD chosen at run time. The KDF is HKDF-SHA256.

use ::hpke::aead::{Aead as AeadTrait, AeadCtxR, AeadCtxS, AesGcm128, AesGcm256};
use ::hpke::kdf::HkdfSha256;
use ::hpke::kem::{X25519HkdfSha256, XWing};
use ::hpke::rand_core::{TryCryptoRng, TryRng};
use ::hpke::{Deserializable, Kem as KemTrait, OpModeR, OpModeS, Serializable};
use std::convert::Infallible;
use zeroize::{Zeroize, Zeroizing};

use super::error::SealedError;
use super::keys::{Aead, Kem};

/// Random bytes for one encapsulation: no algorithm of ours takes more.
pub(super) const SEED: usize = 64;

/// A sender's context after the encapsulation.
pub(super) trait Sender: Send {
    fn seal(&mut self, plaintext: &[u8], aad: &[u8]) -> Result<Vec<u8>, SealedError>;
    fn export(&self, label: &[u8], out: &mut [u8]) -> Result<(), SealedError>;
}

/// A receiver's context after the decapsulation.
pub(super) trait Receiver: Send {
    /// `None` where it does not authenticate.
    fn open(&mut self, ciphertext: &[u8], aad: &[u8]) -> Option<Zeroizing<Vec<u8>>>;
    fn export(&self, label: &[u8], out: &mut [u8]) -> Result<(), SealedError>;
}

impl<A: AeadTrait, K: KemTrait> Sender for AeadCtxS<A, HkdfSha256, K>
where
    Self: Send,
{
    fn seal(&mut self, plaintext: &[u8], aad: &[u8]) -> Result<Vec<u8>, SealedError> {
        AeadCtxS::seal(self, plaintext, aad).map_err(|_| SealedError::TooManyChunks)
    }

    fn export(&self, label: &[u8], out: &mut [u8]) -> Result<(), SealedError> {
        AeadCtxS::export(self, label, out).map_err(|_| SealedError::Randomness)
    }
}

impl<A: AeadTrait, K: KemTrait> Receiver for AeadCtxR<A, HkdfSha256, K>
where
    Self: Send,
{
    fn open(&mut self, ciphertext: &[u8], aad: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        AeadCtxR::open(self, ciphertext, aad).ok().map(Zeroizing::new)
    }

    fn export(&self, label: &[u8], out: &mut [u8]) -> Result<(), SealedError> {
        AeadCtxR::export(self, label, out).map_err(|_| SealedError::Randomness)
    }
}

/// Encapsulates to `public`: what is sent, and the context.
pub(super) fn sender(
    (kem, aead): (Kem, Aead),
    public: &[u8],
    info: &[u8],
    seed: &Zeroizing<[u8; SEED]>,
) -> Result<(Vec<u8>, Box<dyn Sender>), SealedError> {
    match (kem, aead) {
        (Kem::XWing, Aead::Aes256Gcm) => send::<XWing, AesGcm256>(public, info, seed),
        (Kem::XWing, Aead::Aes128Gcm) => send::<XWing, AesGcm128>(public, info, seed),
        (Kem::X25519, Aead::Aes256Gcm) => send::<X25519HkdfSha256, AesGcm256>(public, info, seed),
        (Kem::X25519, Aead::Aes128Gcm) => send::<X25519HkdfSha256, AesGcm128>(public, info, seed),
    }
}

fn send<K: KemTrait + 'static, A: AeadTrait + 'static>(
    public: &[u8],
    info: &[u8],
    seed: &Zeroizing<[u8; SEED]>,
) -> Result<(Vec<u8>, Box<dyn Sender>), SealedError>
where
    AeadCtxS<A, HkdfSha256, K>: Send,
{
    let public = K::PublicKey::from_bytes(public).map_err(|_| SealedError::Configuration)?;
    let mut random = Given { left: Zeroizing::new(seed.to_vec()), exhausted: false };
    let (enc, context) =
        ::hpke::setup_sender_with_rng::<A, HkdfSha256, K>(&OpModeS::Base, &public, info, &mut random)
            .map_err(|_| SealedError::Configuration)?;
    if random.exhausted {
        return Err(SealedError::Randomness);
    }
    Ok((enc.to_bytes().to_vec(), Box::new(context)))
}

/// A private key, in the bytes that its algorithm gives it.
pub(super) struct Private(Zeroizing<Vec<u8>>);

/// The key pair that follows from these random bytes: the private key and the bytes of the public one.
pub(super) fn derive(kem: Kem, ikm: &[u8]) -> (Private, Vec<u8>) {
    match kem {
        Kem::XWing => derive_pair::<XWing>(ikm),
        Kem::X25519 => derive_pair::<X25519HkdfSha256>(ikm),
    }
}

fn derive_pair<K: KemTrait>(ikm: &[u8]) -> (Private, Vec<u8>) {
    let (private, public) = K::derive_keypair(ikm);
    (Private::new(&private), public.to_bytes().to_vec())
}

impl Private {
    fn new(key: &impl Serializable) -> Self {
        let mut bytes = key.to_bytes();
        let private = Self(Zeroizing::new(bytes.to_vec()));
        bytes.zeroize();
        private
    }

    #[cfg(test)]
    pub(super) fn from_bytes(bytes: &[u8]) -> Self {
        Self(Zeroizing::new(bytes.to_vec()))
    }
}

/// Decapsulates `enc` with the private key.
pub(super) fn receiver(
    (kem, aead): (Kem, Aead),
    private: &Private,
    enc: &[u8],
    info: &[u8],
) -> Result<Box<dyn Receiver>, SealedError> {
    match (kem, aead) {
        (Kem::XWing, Aead::Aes256Gcm) => receive::<XWing, AesGcm256>(private, enc, info),
        (Kem::XWing, Aead::Aes128Gcm) => receive::<XWing, AesGcm128>(private, enc, info),
        (Kem::X25519, Aead::Aes256Gcm) => receive::<X25519HkdfSha256, AesGcm256>(private, enc, info),
        (Kem::X25519, Aead::Aes128Gcm) => receive::<X25519HkdfSha256, AesGcm128>(private, enc, info),
    }
}

fn receive<K: KemTrait + 'static, A: AeadTrait + 'static>(
    private: &Private,
    enc: &[u8],
    info: &[u8],
) -> Result<Box<dyn Receiver>, SealedError>
where
    AeadCtxR<A, HkdfSha256, K>: Send,
{
    // An encapsulated key that is none cannot have sealed the first chunk.
    let none = |_| SealedError::NotAuthentic { number: 0 };
    let private = K::PrivateKey::from_bytes(&private.0).map_err(none)?;
    let enc = K::EncappedKey::from_bytes(enc).map_err(none)?;
    let context =
        ::hpke::setup_receiver::<A, HkdfSha256, K>(&OpModeR::Base, &private, &enc, info).map_err(none)?;
    Ok(Box::new(context))
}

/// A generator that gives the bytes that it was given, and knows when they did not suffice.
struct Given {
    left: Zeroizing<Vec<u8>>,
    exhausted: bool,
}

impl TryRng for Given {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        for byte in out {
            match self.left.pop() {
                Some(random) => *byte = random,
                None => self.exhausted = true,
            }
        }
        Ok(())
    }
}

impl TryCryptoRng for Given {}
