//! A replica's keys and their configurations (RFC 9458 §3).

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::error::SealedError;
use super::hpke::{self, Private};

/// How a key is encapsulated (RFC 9180 §7.1 and its registry).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kem {
    /// X-Wing: X25519 and ML-KEM-768 together (draft-connolly-cfrg-xwing-kem).
    XWing,
    /// DHKEM(X25519, HKDF-SHA256), for clients without X-Wing.
    X25519,
}

/// How chunks are encrypted (RFC 9180 §7.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aead {
    /// AES-256-GCM.
    Aes256Gcm,
    /// AES-128-GCM.
    Aes128Gcm,
}

/// A key of a server, chosen from its configurations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealingKey {
    pub(super) id: u8,
    pub(super) kem: Kem,
    pub(super) aead: Aead,
    pub(super) public: Vec<u8>,
}

/// A replica's keys, one for each KEM. They cannot be printed or copied.
pub struct KeyPairs {
    pairs: [KeyPair; 2],
    configurations: Vec<u8>,
}

pub(super) struct KeyPair {
    pub(super) id: u8,
    pub(super) kem: Kem,
    pub(super) private: Private,
    public: Vec<u8>,
}

/// SHA-256 of key configurations, as the runtime statement names them (OHT-01).
pub fn configuration_digest(configurations: &[u8]) -> [u8; 32] {
    Sha256::digest(configurations).into()
}

// === impl KeyPairs ===

impl KeyPairs {
    /// Those that follow from 64 random bytes. `generation` numbers them: the keys of 128 generations have different numbers.
    pub fn derive(generation: u8, seed: &Zeroizing<[u8; 64]>) -> Self {
        let first = generation.wrapping_mul(2);
        let (for_xwing, for_x25519) = seed.split_at(32);
        let pair = |id, kem, ikm| {
            let (private, public) = hpke::derive(kem, ikm);
            KeyPair { id, kem, private, public }
        };
        let pairs =
            [pair(first, Kem::XWing, for_xwing), pair(first.wrapping_add(1), Kem::X25519, for_x25519)];
        let mut configurations = Vec::new();
        for pair in &pairs {
            let one = pair.configuration();
            configurations.extend_from_slice(&u16_of(one.len()));
            configurations.extend_from_slice(&one);
        }
        Self { pairs, configurations }
    }

    /// The configurations, as `application/ohttp-keys`: what is bound and sent.
    pub fn configurations(&self) -> &[u8] {
        &self.configurations
    }

    /// Whether one of them has this number.
    pub fn has(&self, id: u8) -> bool {
        self.pair(id).is_some()
    }

    pub(super) fn pair(&self, id: u8) -> Option<&KeyPair> {
        self.pairs.iter().find(|pair| pair.id == id)
    }
}

impl KeyPair {
    fn configuration(&self) -> Vec<u8> {
        let mut out = vec![self.id];
        out.extend_from_slice(&self.kem.code().to_be_bytes());
        out.extend_from_slice(&self.public);
        out.extend_from_slice(&u16_of(SUITES.len().saturating_mul(4)));
        for aead in SUITES {
            out.extend_from_slice(&HKDF_SHA256.to_be_bytes());
            out.extend_from_slice(&aead.code().to_be_bytes());
        }
        out
    }
}

// === impl SealingKey ===

impl SealingKey {
    /// The X-Wing key among `configurations`, with the first of its suites that we know. A list without one is refused, so that nobody in
    /// between can talk us into another (OHT-03); what it has beside is passed over.
    ///
    /// # Errors
    /// [`SealedError::Configuration`] and [`SealedError::NoKey`].
    pub fn choose(configurations: &[u8]) -> Result<Self, SealedError> {
        Self::choose_of(configurations, Kem::XWing)
    }

    /// The same with this KEM, for clients that have no other.
    ///
    /// # Errors
    /// As [`SealingKey::choose`].
    pub fn choose_of(mut configurations: &[u8], kem: Kem) -> Result<Self, SealedError> {
        let mut chosen = None;
        while !configurations.is_empty() {
            let (one, rest) = prefixed(configurations)?;
            configurations = rest;
            let key = Self::parse(one)?.filter(|key| key.kem == kem);
            chosen = chosen.or(key);
        }
        chosen.ok_or(SealedError::NoKey)
    }

    /// `None` where its algorithms are not ours.
    fn parse(one: &[u8]) -> Result<Option<Self>, SealedError> {
        let malformed = SealedError::Configuration;
        let (id, rest) = one.split_first().ok_or(malformed)?;
        let (kem, rest) = u16_from(rest)?;
        let Some(kem) = Kem::of(kem) else { return Ok(None) };
        let (public, rest) = rest.split_at_checked(kem.public_len()).ok_or(malformed)?;
        let (suites, rest) = prefixed(rest)?;
        let (suites, odd) = suites.as_chunks::<4>();
        if !rest.is_empty() || suites.is_empty() || !odd.is_empty() {
            return Err(malformed);
        }
        let aead = suites.iter().find_map(|[k0, k1, a0, a1]| {
            let ours = u16::from_be_bytes([*k0, *k1]) == HKDF_SHA256;
            Aead::of(u16::from_be_bytes([*a0, *a1])).filter(|_| ours)
        });
        Ok(aead.map(|aead| Self { id: *id, kem, aead, public: public.to_vec() }))
    }

    /// Its number.
    pub fn id(&self) -> u8 {
        self.id
    }

    /// Its KEM.
    pub fn kem(&self) -> Kem {
        self.kem
    }
}

// === the registries ===

impl Kem {
    /// The number in the registry of HPKE KEM identifiers.
    pub fn code(self) -> u16 {
        match self {
            Self::XWing => 0x647a,
            Self::X25519 => 0x0020,
        }
    }

    pub(super) fn of(code: u16) -> Option<Self> {
        [Self::XWing, Self::X25519].into_iter().find(|kem| kem.code() == code)
    }

    /// Bytes of a public key.
    fn public_len(self) -> usize {
        match self {
            Self::XWing => 1216,
            Self::X25519 => 32,
        }
    }

    /// Bytes of an encapsulated key.
    pub(super) fn enc_len(self) -> usize {
        match self {
            Self::XWing => 1120,
            Self::X25519 => 32,
        }
    }
}

impl Aead {
    /// The number in the registry of HPKE AEAD identifiers.
    pub fn code(self) -> u16 {
        match self {
            Self::Aes128Gcm => 1,
            Self::Aes256Gcm => 2,
        }
    }

    pub(super) fn of(code: u16) -> Option<Self> {
        [Self::Aes256Gcm, Self::Aes128Gcm].into_iter().find(|aead| aead.code() == code)
    }
}

/// The number of HKDF-SHA256 in the registry of HPKE KDF identifiers.
pub(super) const HKDF_SHA256: u16 = 1;
/// What a server offers with each key, the better first.
const SUITES: [Aead; 2] = [Aead::Aes256Gcm, Aead::Aes128Gcm];

fn u16_of(len: usize) -> [u8; 2] {
    // A configuration has 1229 bytes at most.
    u16::try_from(len).unwrap_or(u16::MAX).to_be_bytes()
}

fn u16_from(bytes: &[u8]) -> Result<(u16, &[u8]), SealedError> {
    let (number, rest) = bytes.split_first_chunk::<2>().ok_or(SealedError::Configuration)?;
    Ok((u16::from_be_bytes(*number), rest))
}

/// What a length of 16 bits precedes, and the rest.
fn prefixed(bytes: &[u8]) -> Result<(&[u8], &[u8]), SealedError> {
    let (len, rest) = u16_from(bytes)?;
    rest.split_at_checked(len.into()).ok_or(SealedError::Configuration)
}
