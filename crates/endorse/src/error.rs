//! Why there is no bundle.

use std::io;
use std::path::PathBuf;

use casemate_attest::endorse::{AnswerError, BundleError, NeedsError};
use casemate_attest::nvidia::{GpuRejected, ManifestError, ManifestRejected};
use casemate_attest::{OcspError, Platform, Rejected, RejectionKind, UnixTime};

/// Why there is no bundle. Nothing was written but what verified.
#[derive(Debug, thiserror::Error)]
pub enum EndorseError {
    /// The evidence does not say what it needs.
    #[error(transparent)]
    Needs(#[from] NeedsError),
    /// No service for this platform is known to this version.
    #[error("endorsements for evidence of {platform} cannot be fetched")]
    Platform {
        /// Of the evidence.
        platform: Platform,
    },
    /// AMD gives provider keys to the provider only.
    #[error(
        "the report is signed by a VLEK, and AMD's service gives a VLEK's certificate to its provider only"
    )]
    VlekNotServed,
    /// Not an address that may be asked.
    #[error("`{url}` is not an https address, or http to this machine")]
    Address {
        /// What was given.
        url: String,
    },
    /// Not a proxy's address.
    #[error("`{url}` is not a proxy's address of the form http://HOST:PORT")]
    Proxy {
        /// What was given.
        url: String,
    },
    /// The certificates above that of the attestation key are neither in the evidence nor fetched.
    #[error("the certificates above that of the attestation key were not given")]
    ChainNotGiven,
    /// A certificate names a place that nobody is asked at: its list is fetched from the vendor's own hosts only.
    #[error(
        "a certificate of {platform} names `{url}`, which is not on a host of the vendor's revocation lists"
    )]
    ListAddress {
        /// Of the evidence.
        platform: Platform,
        /// What it names.
        url: String,
    },
    /// TLS or the client cannot be set up.
    #[error("the HTTP client cannot be set up: {reason}")]
    Client {
        /// Why.
        reason: String,
    },
    /// No connection, or it broke.
    #[error("{host} cannot be reached: {source}")]
    Unreachable {
        /// The service.
        host: String,
        /// The reason.
        source: reqwest::Error,
    },
    /// No whole answer in time.
    #[error("{host} gave no whole answer within {seconds} s")]
    Timeout {
        /// The service.
        host: String,
        /// The limit.
        seconds: u64,
    },
    /// The service asks for longer waits than this fetch has patience for.
    #[error("{host} may not be asked again for {seconds} s, longer than this fetch waits")]
    Busy {
        /// The service.
        host: String,
        /// Seconds until the next request.
        seconds: u64,
    },
    /// The service does not have it.
    #[error("{host} has no {name}")]
    NotFound {
        /// The service.
        host: String,
        /// What was asked for.
        name: String,
    },
    /// The service sends elsewhere.
    #[error("{host} redirects the request for {name}, and redirections are not followed")]
    Redirect {
        /// The service.
        host: String,
        /// What was asked for.
        name: String,
    },
    /// Any other answer than 200.
    #[error("{host} answered {status} to the request for {name}")]
    Status {
        /// The service.
        host: String,
        /// What was asked for.
        name: String,
        /// The HTTP status.
        status: u16,
    },
    /// More than an endorsement has.
    #[error("the answer of {host} for {name} is longer than {limit} bytes")]
    TooLong {
        /// The service.
        host: String,
        /// What was asked for.
        name: String,
        /// The limit.
        limit: usize,
    },
    /// A header that belongs to the answer is missing or malformed.
    #[error("the answer of {host} for {name} has no usable header {header}")]
    Header {
        /// The service.
        host: String,
        /// What was asked for.
        name: String,
        /// Which.
        header: &'static str,
    },
    /// Not what was asked for.
    #[error("{name}, of {service}: {reason}")]
    Answer {
        /// What was asked for.
        name: String,
        /// Of which service: its address.
        service: String,
        /// Why.
        reason: AnswerError,
    },
    /// What was asked for, but not of this time.
    #[error("{name}, of {service}, does not hold at {now}")]
    OutOfDate {
        /// What was asked for.
        name: String,
        /// Of which service: its address.
        service: String,
        /// The time that was given.
        now: UnixTime,
    },
    /// In date, and older than the one that is kept.
    #[error("{name}, of {service}, is of {found}, older than the kept one of {kept}")]
    Older {
        /// What was asked for.
        name: String,
        /// Of which service: its address.
        service: String,
        /// Its first second.
        found: UnixTime,
        /// The kept one's.
        kept: UnixTime,
    },
    /// Not in the cache folder, and nothing else may be asked.
    #[error("the cache has no {name}")]
    CacheMissing {
        /// Name in the cache.
        name: String,
    },
    /// In the cache folder, out of date or another authority's, and nothing else may be asked.
    #[error("the cache's {name} does not serve this verifier at this time")]
    CacheStale {
        /// Name in the cache.
        name: String,
    },
    /// In the cache folder, and not as it was written.
    #[error("the cache's {name} is damaged")]
    CacheDamaged {
        /// Name in the cache.
        name: String,
    },
    /// The cache folder cannot be read or written.
    #[error("the cache: {}: {source}", path.display())]
    CacheFile {
        /// Of the file or folder.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The evidence does not verify with what the service gave.
    #[error("the evidence does not verify with its endorsements: {0}")]
    Rejected(#[from] Rejected),
    /// A device does not verify.
    #[error("the device does not verify: {0}")]
    Device(Box<GpuRejected>),
    /// What the service gave is no manifest of NVIDIA's.
    #[error("{name}, of {service}: {rejected}")]
    Manifest {
        /// What was asked for.
        name: String,
        /// Of which service: its address.
        service: String,
        /// Why.
        rejected: Box<ManifestRejected>,
    },
    /// What the service gave is not of the shape of a manifest.
    #[error("{name}, of {service}: {error}")]
    ManifestForm {
        /// What was asked for.
        name: String,
        /// Of which service: its address.
        service: String,
        /// Why.
        error: Box<ManifestError>,
    },
    /// What the responder gave does not clear the certificate.
    #[error("{name}, about {certificate}, of {service}: {error}")]
    Ocsp {
        /// What was asked for.
        name: String,
        /// Of which service: its address.
        service: String,
        /// Common name.
        certificate: String,
        /// Why.
        error: Box<OcspError>,
    },
    /// The bundle cannot be written down.
    #[error(transparent)]
    Bundle(#[from] BundleError),
}

/// What kind of failure it is: whoever shows it decides what to do by this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndorseKind {
    /// What was given is wrong.
    Usage,
    /// The local system.
    Local,
    /// The service cannot be reached, or not now: try again.
    Unreachable,
    /// The endorsements are missing, malformed or out of date.
    Undecidable,
    /// The evidence, or what was fetched, was judged, and is not genuine.
    Rejected,
}

impl EndorseError {
    /// The stable code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Needs(error) => error.code(),
            Self::Platform { .. } => "endorse.platform",
            Self::VlekNotServed => "endorse.vlek-not-served",
            Self::Address { .. } => "endorse.address",
            Self::Proxy { .. } => "endorse.proxy",
            Self::ChainNotGiven => "endorse.ak-chain",
            Self::ListAddress { .. } => "endorse.list-address",
            Self::Client { .. } => "endorse.client",
            Self::Unreachable { .. } => "endorse.unreachable",
            Self::Timeout { .. } => "endorse.timeout",
            Self::Busy { .. } => "endorse.busy",
            Self::NotFound { .. } => "endorse.not-found",
            Self::Redirect { .. } => "endorse.redirect",
            Self::Status { .. } => "endorse.status",
            Self::TooLong { .. } => "endorse.answer.too-long",
            Self::Header { .. } => "endorse.answer.header",
            Self::Answer { reason, .. } => reason.code(),
            Self::OutOfDate { .. } => "endorse.answer.out-of-date",
            Self::Older { .. } => "endorse.answer.older",
            Self::CacheMissing { .. } => "endorse.cache.missing",
            Self::CacheStale { .. } => "endorse.cache.stale",
            Self::CacheDamaged { .. } => "endorse.cache.damaged",
            Self::CacheFile { .. } => "endorse.cache.file",
            Self::Rejected(rejected) => rejected.code(),
            Self::Device(rejected) => rejected.code(),
            Self::Manifest { rejected, .. } => rejected.code(),
            Self::ManifestForm { error, .. } => error.code(),
            Self::Ocsp { error, .. } => error.code(),
            Self::Bundle(error) => error.code(),
        }
    }

    /// What kind of failure it is.
    pub fn kind(&self) -> EndorseKind {
        match self {
            Self::Needs(NeedsError::LineUnknown | NeedsError::LineDiffers { .. })
            | Self::Address { .. }
            | Self::Proxy { .. }
            | Self::ChainNotGiven
            | Self::Client { .. } => EndorseKind::Usage,
            Self::CacheFile { .. } => EndorseKind::Local,
            Self::Unreachable { .. } | Self::Timeout { .. } | Self::Busy { .. } => EndorseKind::Unreachable,
            Self::Needs(_)
            | Self::Platform { .. }
            | Self::VlekNotServed
            | Self::ListAddress { .. }
            | Self::NotFound { .. }
            | Self::Redirect { .. }
            | Self::Status { .. }
            | Self::TooLong { .. }
            | Self::Header { .. }
            | Self::Answer { .. }
            | Self::OutOfDate { .. }
            | Self::Older { .. }
            | Self::CacheMissing { .. }
            | Self::CacheStale { .. }
            | Self::CacheDamaged { .. }
            | Self::Bundle(_) => EndorseKind::Undecidable,
            Self::Rejected(rejected) => judged(rejected.reason.kind()),
            Self::Device(rejected) => judged(rejected.reason.kind()),
            Self::Manifest { rejected, .. } => judged(rejected.kind()),
            Self::ManifestForm { .. } => EndorseKind::Rejected,
            Self::Ocsp { error, .. } => judged(error.kind()),
        }
    }
}

fn judged(kind: RejectionKind) -> EndorseKind {
    match kind {
        RejectionKind::NotGenuine => EndorseKind::Rejected,
        RejectionKind::Stale | RejectionKind::Missing => EndorseKind::Undecidable,
    }
}
