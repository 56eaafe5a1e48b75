//! What an operator signs to say that a machine is theirs (spec/channel.md §9).
//!
//! Evidence says what runs on which hardware, and not whose machine it is. The operator's key signs the runtime statement, which the evidence
//! binds: for no other machine, no other keys and no other nonce.

const DOMAIN: &[u8] = b"casemate/operator/v1";

/// `0x20 * 64 || "casemate/operator/v1" || 0x00 || statement`. The 64 spaces are those of TLS 1.3 (RFC 8446 §4.4.3): what a server of an
/// older TLS signs with the same key begins with bytes that a client chose, and is never this.
#[must_use]
pub fn signed_bytes(statement: &str) -> Vec<u8> {
    [&[0x20; 64], DOMAIN, &[0], statement.as_bytes()].concat()
}

/// The algorithms that are accepted, by their names in RFC 8446 §4.2.3.
pub const SCHEMES: [&str; 6] = [
    "ed25519",
    "ecdsa_secp256r1_sha256",
    "ecdsa_secp384r1_sha384",
    "rsa_pss_rsae_sha256",
    "rsa_pss_rsae_sha384",
    "rsa_pss_rsae_sha512",
];
