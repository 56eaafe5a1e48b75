//! Test material: the ways in which a platform's certificate, Intel's collateral and a quote can be wrong, one at a time.

use casemate_attest::UnixTime;

/// One mistake in a platform's PCK certificate or its chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PckMistake {
    /// A correct certificate.
    None,
    /// Valid in another window than the usual seven years from the vendor's issue.
    Validity {
        /// First second of validity.
        not_before: UnixTime,
        /// Last second of validity.
        not_after: UnixTime,
    },
    /// Of another kind of platform.
    OtherFmspc([u8; 6]),
    /// Of another provisioning certification enclave.
    OtherPceId([u8; 2]),
    /// Without what Intel says of the platform.
    NoExtension,
    /// With an older provisioning certification enclave than any TCB level accepts.
    OlderPce,
    /// Issued by the root itself.
    IssuedByRoot,
    /// Signed by a stranger's key in the name of the PCK Platform CA.
    SignedByStranger,
    /// The chain leaves out the PCK Platform CA.
    ChainWithoutCa,
    /// The chain, root included, is another vendor's of the same names.
    OtherVendor,
}

/// A part of the collateral.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CollateralPart {
    /// TCB info.
    TcbInfo,
    /// Identity of the quoting enclave.
    QeIdentity,
    /// The root's revocation list.
    RootCrl,
    /// The PCK Platform CA's revocation list.
    PckCrl,
}

/// One mistake, or one unwelcome fact, in the collateral.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CollateralMistake {
    /// A healthy platform, and nothing revoked.
    None,
    /// One part is valid in another window.
    Window {
        /// Which.
        part: CollateralPart,
        /// First second of validity.
        from: UnixTime,
        /// Last second of validity.
        until: UnixTime,
    },
    /// One part is signed by a stranger in the right name.
    SignedByStranger(CollateralPart),
    /// Lacks this member.
    Without(&'static str),
    /// TCB info of another kind of platform.
    OtherFmspc([u8; 6]),
    /// TCB info of SGX.
    TcbInfoOfSgx,
    /// Identity of SGX's quoting enclave.
    QeIdentityOfSgx,
    /// Intel says this of the platform: a `tcbStatus`, with advisories.
    PlatformStatus(&'static str, &'static [&'static str]),
    /// Intel says this of the TDX module.
    ModuleStatus(&'static str),
    /// Intel says this of the quoting enclave.
    QeStatus(&'static str),
    /// Demands a newer platform than there is.
    PlatformTooOld,
    /// Names another quoting enclave.
    OtherQe,
    /// Names another TDX module.
    OtherModule,
    /// Revokes the PCK certificate with this serial number.
    RevokesPck(Vec<u8>),
    /// Revokes the PCK Platform CA.
    RevokesPlatformCa,
    /// Revokes the certificate that signs TCB info and QE identity.
    RevokesSigner,
}

/// One mistake in what the quoting enclave made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QuoteMistake {
    /// A correct quote.
    None,
    /// Signed by another key than the attestation key that it names.
    SignedByStranger,
    /// The QE report is signed by another key than the PCK.
    QeReportByStranger,
    /// The QE report binds another attestation key.
    QeBindsStranger,
    /// The quoting enclave is another signer's.
    OtherQe,
    /// The quoting enclave is in debug mode.
    QeDebug,
    /// The quoting enclave is older than any level accepts.
    OlderQe,
}
