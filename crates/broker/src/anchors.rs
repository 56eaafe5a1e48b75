//! Which root of trust a broker works under, and the name that its key store records.

use std::fmt;

use aws_lc_rs::digest;
use casemate_attest::nvidia::{NvidiaAnchorError, NvidiaAnchors};
use casemate_attest::{AnchorError, TrustAnchors};
use casemate_protocol::additional::PartAnchors;

/// Trust anchors with the identity that a key store is created for.
///
/// Both are made from one input, so a store for genuine hardware can never be opened under a simulator's root, nor the
/// other way round: keys of the two kinds do not mix.
pub struct BrokerAnchors {
    trust: TrustAnchors,
    nvidia: NvidiaAnchors,
    identity: AnchorIdentity,
}

/// The name of a root of trust: `vendors`, or `simulated:` with the SHA-256 of the root bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnchorIdentity {
    /// The vendors' own roots.
    Vendors,
    /// A simulator's root, by the digest of its PEM file.
    Simulated {
        /// SHA-256 of the PEM file, byte for byte.
        bundle_sha256: [u8; 32],
    },
}

impl BrokerAnchors {
    /// The vendors' roots, of AMD, Intel, AWS, Microsoft, Google and NVIDIA: the production choice.
    pub fn vendors() -> Self {
        let (trust, nvidia) = (TrustAnchors::vendors(), NvidiaAnchors::nvidia());
        Self { trust, nvidia, identity: AnchorIdentity::Vendors }
    }

    /// Only the roots in `pem`, which somebody named: evidence of simulated hardware is then accepted.
    ///
    /// # Errors
    /// [`AnchorError`] if `pem` holds no usable root.
    pub fn danger_simulated(pem: &str) -> Result<Self, AnchorError> {
        let trust = TrustAnchors::danger_only_pem(pem)?;
        let mut bundle_sha256 = [0; 32];
        bundle_sha256.copy_from_slice(digest::digest(&digest::SHA256, pem.as_bytes()).as_ref());
        // Beside a simulated machine no device of NVIDIA's passes (REL-20), so that these stand for none.
        let nvidia = NvidiaAnchors::nvidia();
        Ok(Self { trust, nvidia, identity: AnchorIdentity::Simulated { bundle_sha256 } })
    }

    /// With the roots in `pem` for GPUs, which somebody named. The key store's name does not speak of them: genuine machines
    /// never pass with simulated GPUs, and what a simulator's store holds is a simulator's.
    ///
    /// # Errors
    /// [`NvidiaAnchorError`] if `pem` holds no usable root.
    pub fn danger_simulated_gpus(self, pem: &str) -> Result<Self, NvidiaAnchorError> {
        Ok(Self { nvidia: NvidiaAnchors::danger_only_pem(pem)?, ..self })
    }

    /// What [`casemate_attest::verify`] needs.
    pub fn trust(&self) -> &TrustAnchors {
        &self.trust
    }

    /// What [`casemate_protocol::additional::check`] needs.
    pub fn parts(&self) -> PartAnchors<'_> {
        PartAnchors { trust: &self.trust, nvidia: &self.nvidia }
    }

    /// What the key store records.
    pub fn identity(&self) -> AnchorIdentity {
        self.identity
    }
}

impl AnchorIdentity {
    /// Whether evidence of simulated hardware may open keys.
    pub fn simulated(&self) -> bool {
        match self {
            Self::Vendors => false,
            Self::Simulated { .. } => true,
        }
    }

    /// Reads what [`fmt::Display`] writes.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text == "vendors" {
            return Some(Self::Vendors);
        }
        let mut bundle_sha256 = [0; 32];
        hex::decode_to_slice(text.strip_prefix("simulated:")?, &mut bundle_sha256).ok()?;
        Some(Self::Simulated { bundle_sha256 })
    }
}

impl fmt::Display for AnchorIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vendors => f.write_str("vendors"),
            Self::Simulated { bundle_sha256 } => write!(f, "simulated:{}", hex::encode(bundle_sha256)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for identity in [AnchorIdentity::Vendors, AnchorIdentity::Simulated { bundle_sha256: [0xa5; 32] }] {
            assert_eq!(AnchorIdentity::parse(&identity.to_string()), Some(identity));
        }
        for wrong in ["", "amd", "Vendors", "vendors ", "simulated", "simulated:", "simulated:a5", "intel"] {
            assert_eq!(AnchorIdentity::parse(wrong), None, "{wrong}");
        }
    }
}
