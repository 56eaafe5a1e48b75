//! The vendor's RSA-4096 keys and the machines' P-384 keys (aws-lc-rs).

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair,
    RSA_PSS_2048_8192_SHA384, RSA_PSS_SHA256, RSA_PSS_SHA384, RsaKeyPair, UnparsedPublicKey,
};

use crate::error::SimError;

/// RSA-4096: the length of the modulus and of each signature.
const RSA_BYTES: usize = 512;

/// An authority's RSA-4096 key.
pub(crate) struct RsaKey(RsaKeyPair);

impl RsaKey {
    pub(crate) fn generate() -> Result<Self, SimError> {
        RsaKeyPair::generate(KeySize::Rsa4096)
            .map(Self)
            .map_err(|_| SimError::KeyGeneration { algorithm: "RSA-4096" })
    }

    /// The key in PKCS #8, or nothing where it is not an RSA-4096 key.
    pub(crate) fn from_pkcs8(pkcs8: &[u8]) -> Option<Self> {
        let pair = RsaKeyPair::from_pkcs8(pkcs8).ok()?;
        (pair.public_modulus_len() == RSA_BYTES).then_some(Self(pair))
    }

    /// The private key in PKCS #8.
    pub(crate) fn to_pkcs8(&self) -> Result<Pkcs8V1Der<'static>, SimError> {
        self.0.as_der().map_err(|_| SimError::Signing { algorithm: "RSA-4096 export" })
    }

    /// The public key as a SubjectPublicKeyInfo.
    pub(crate) fn public_key_info(&self) -> Result<Vec<u8>, SimError> {
        let info: PublicKeyX509Der<'_> =
            self.0.public_key().as_der().map_err(|_| SimError::Signing { algorithm: "RSA-4096 export" })?;
        Ok(info.as_ref().to_vec())
    }

    /// RSASSA-PSS, SHA-384, MGF1 with SHA-384, salt of 48 bytes.
    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SimError> {
        let mut signature = vec![0; RSA_BYTES];
        self.0
            .sign(&RSA_PSS_SHA384, &SystemRandom::new(), message, &mut signature)
            .map_err(|_| SimError::Signing { algorithm: "RSA-PSS" })?;
        Ok(signature)
    }

    /// RSASSA-PSS with SHA-256 and a salt of 32 bytes: test material only.
    pub(crate) fn sign_sha256(&self, message: &[u8]) -> Result<Vec<u8>, SimError> {
        let mut signature = vec![0; RSA_BYTES];
        self.0
            .sign(&RSA_PSS_SHA256, &SystemRandom::new(), message, &mut signature)
            .map_err(|_| SimError::Signing { algorithm: "RSA-PSS" })?;
        Ok(signature)
    }

    /// Whether `signature` is this key's RSASSA-PSS SHA-384 signature of `message`.
    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&RSA_PSS_2048_8192_SHA384, self.0.public_key().as_ref())
            .verify(message, signature)
            .is_ok()
    }
}

/// A machine's versioned endorsement key: P-384.
pub(crate) struct VekKey(EcdsaKeyPair);

impl VekKey {
    pub(crate) fn generate() -> Result<Self, SimError> {
        EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING)
            .map(Self)
            .map_err(|_| SimError::KeyGeneration { algorithm: "P-384" })
    }

    /// The public key as a SubjectPublicKeyInfo.
    pub(crate) fn public_key_info(&self) -> Result<Vec<u8>, SimError> {
        public_key_info(&self.0)
    }

    /// ECDSA over SHA-384 of `message`: R and S, 48 bytes each, big endian.
    pub(crate) fn sign(&self, message: &[u8]) -> Result<([u8; 48], [u8; 48]), SimError> {
        let failed = SimError::Signing { algorithm: "ECDSA P-384" };
        let signature = self.0.sign(&SystemRandom::new(), message).map_err(|_| failed.clone())?;
        let (r, s) = signature.as_ref().split_at_checked(48).ok_or(failed.clone())?;
        Ok((r.try_into().map_err(|_| failed.clone())?, s.try_into().map_err(|_| failed)?))
    }
}

/// The SubjectPublicKeyInfo of a new P-256 key that nobody keeps: test material only.
pub(crate) fn throwaway_p256_key_info() -> Result<Vec<u8>, SimError> {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)
        .map_err(|_| SimError::KeyGeneration { algorithm: "P-256" })?;
    public_key_info(&pair)
}

fn public_key_info(pair: &EcdsaKeyPair) -> Result<Vec<u8>, SimError> {
    let info: PublicKeyX509Der<'_> =
        pair.public_key().as_der().map_err(|_| SimError::Signing { algorithm: "EC key export" })?;
    Ok(info.as_ref().to_vec())
}
