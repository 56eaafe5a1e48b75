//! Time and chance, as arguments: what the broker asks the world for.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use casemate_attest::UnixTime;

/// Tells the time.
pub trait Clock: Send + Sync {
    /// Now, in seconds since 1970-01-01 UTC.
    fn now(&self) -> UnixTime;
}

/// Gives random bytes.
pub trait Entropy: Send + Sync {
    /// Fills `bytes` from a cryptographic generator.
    ///
    /// # Errors
    /// [`EntropyError`] where there are none. Nothing goes on without them.
    fn fill(&self, bytes: &mut [u8]) -> Result<(), EntropyError>;
}

/// The operating system's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

/// The operating system's generator, through aws-lc.
#[derive(Debug, Default)]
pub struct SystemEntropy(SystemRandom);

/// There are no random bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the system gives no random bytes")]
pub struct EntropyError;

impl EntropyError {
    /// The stable code of this error.
    pub fn code(&self) -> &'static str {
        "broker.entropy"
    }
}

impl Clock for SystemClock {
    /// A clock before 1970 reads 0, at which no certificate is valid.
    fn now(&self) -> UnixTime {
        UnixTime(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
    }
}

impl Entropy for SystemEntropy {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        self.0.fill(bytes).map_err(|_| EntropyError)
    }
}

/// `N` random bytes that are not secret.
pub(crate) fn random<const N: usize>(entropy: &dyn Entropy) -> Result<[u8; N], EntropyError> {
    let mut bytes = [0; N];
    entropy.fill(&mut bytes)?;
    Ok(bytes)
}
