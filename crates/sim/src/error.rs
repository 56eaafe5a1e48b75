//! What can go wrong in making, saving and loading a simulated vendor.

use std::io;
use std::path::PathBuf;

use casemate_attest::UnixTime;
use casemate_attest::snp::ProductLine;

use crate::platform::Platform;

/// Why the simulator could not do what it was asked to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SimError {
    /// This crate does not know what certificates and reports of the line look like.
    #[error("no simulated vendor can be made for {line}")]
    UnsupportedLine {
        /// The product line.
        line: ProductLine,
    },
    /// The cryptographic library refused to make a key.
    #[error("could not generate a {algorithm} key")]
    KeyGeneration {
        /// The kind of key.
        algorithm: &'static str,
    },
    /// The cryptographic library refused to sign or verify with a key that it holds.
    #[error("could not make a {algorithm} signature")]
    Signing {
        /// The kind of signature.
        algorithm: &'static str,
    },
    /// A certificate or revocation list could not be written as it was asked for.
    #[error("could not issue the {object}")]
    Issue {
        /// What.
        object: &'static str,
    },
    /// The operating system gave no random bytes.
    #[error("could not draw random bytes")]
    Randomness,
    /// A certificate cannot carry this time (before 1970-01-02 or after the year 9999).
    #[error("time {at} is outside of what a certificate can say")]
    TimeOutOfRange {
        /// The time that was asked for.
        at: UnixTime,
    },
    /// A vendor is never renewed to a time before its last issue.
    #[error("renewal time {now} lies before the last issue at {issued}")]
    RenewalInThePast {
        /// The time that was asked for.
        now: UnixTime,
        /// When the vendor's present revocation list was issued.
        issued: UnixTime,
    },
    /// A file of the vendor's directory could not be read or written.
    #[error("could not {action} {}: {kind}", .path.display())]
    File {
        /// What was tried: "create", "write", "read" …
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The operating system's answer.
        kind: io::ErrorKind,
    },
    /// A private key file can be read by others.
    #[error("{} has mode {mode:04o}; a private key must be readable by its owner only (0600)", .path.display())]
    KeyFileMode {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A file is not PEM, or holds another number of objects than it should.
    #[error("{} holds {found} PEM objects of the wanted kind instead of {wanted}", .path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// How many it should hold.
        wanted: usize,
        /// How many were found before the end or the first malformed one.
        found: usize,
    },
    /// A private key file does not hold such a key in PKCS #8.
    #[error("{} does not hold a private key for {wanted}", .path.display())]
    PrivateKey {
        /// The file.
        path: PathBuf,
        /// "RSA-4096", "P-256" …
        wanted: &'static str,
    },
    /// The directory says that it is of a platform that is not known.
    #[error("{} names no platform that can be simulated", .path.display())]
    UnknownPlatform {
        /// The file.
        path: PathBuf,
    },
    /// The directory is of another platform's vendor.
    #[error("the directory holds a vendor of {found}, not of {expected}")]
    OtherPlatform {
        /// What it says.
        found: Platform,
        /// What was asked for.
        expected: Platform,
    },
    /// A certificate or revocation list of the directory is not the DER that this crate writes.
    #[error("the {object} is malformed")]
    Malformed {
        /// "ARK certificate", "revocation list" …
        object: &'static str,
    },
    /// A name is not the one that a simulated vendor has: not simulated, another role, or another line.
    #[error("the {object} does not carry the name of a simulated vendor")]
    WrongName {
        /// Which object.
        object: &'static str,
    },
    /// A certificate certifies another key than the private key beside it.
    #[error("the {object} does not belong to the private key beside it")]
    KeyMismatch {
        /// Which object.
        object: &'static str,
    },
    /// A signature by the vendor's own root does not verify.
    #[error("the {object} is not signed by the vendor's root")]
    BadSignature {
        /// Which object.
        object: &'static str,
    },
}

impl SimError {
    /// A stable name for the kind of error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::UnsupportedLine { .. } => "sim.unsupported-line",
            Self::KeyGeneration { .. } => "sim.key-generation",
            Self::Signing { .. } => "sim.signing",
            Self::Issue { .. } => "sim.issue",
            Self::Randomness => "sim.randomness",
            Self::TimeOutOfRange { .. } => "sim.time-out-of-range",
            Self::RenewalInThePast { .. } => "sim.renewal-in-the-past",
            Self::File { .. } => "sim.file",
            Self::KeyFileMode { .. } => "sim.load.key-file-mode",
            Self::Pem { .. } => "sim.load.pem",
            Self::PrivateKey { .. } => "sim.load.private-key",
            Self::UnknownPlatform { .. } => "sim.load.unknown-platform",
            Self::OtherPlatform { .. } => "sim.load.other-platform",
            Self::Malformed { .. } => "sim.load.malformed",
            Self::WrongName { .. } => "sim.load.wrong-name",
            Self::KeyMismatch { .. } => "sim.load.key-mismatch",
            Self::BadSignature { .. } => "sim.load.bad-signature",
        }
    }
}
