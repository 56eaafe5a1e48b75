//! Test material: the ways in which certificates and revocation lists can be wrong, one at a time.
//!
//! Everything made with one of these is otherwise correct and correctly signed, so a test that sees it refused
//! knows which check refused it. `None` is the product of a vendor without mistakes.

use casemate_attest::UnixTime;

use crate::report::Tcb;

/// How the RSASSA-PSS parameters of a VEK certificate are written. Both are genuine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PssParameters {
    /// With `trailerField` written out although it has its default value: AMD's VEKs until 2023, and all of
    /// AMD's ARK, ASK and ASVK certificates.
    Explicit,
    /// Without `trailerField`: AMD's VEKs since 2024, and AMD's revocation lists.
    Implicit,
}

/// An extension of a VEK certificate, 1.3.6.1.4.1.3704.1.x.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VekExtension {
    /// x = 1.
    StructVersion,
    /// x = 2.
    ProductName,
    /// x = 3.1.
    Bootloader,
    /// x = 3.2.
    Tee,
    /// x = 3.3.
    Snp,
    /// x = 3.8.
    Microcode,
    /// x = 3.9, Turin only.
    Fmc,
    /// x = 4, VCEK only.
    Hwid,
    /// x = 5, VLEK only.
    CspId,
}

/// One mistake in a machine's VEK certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CertificateMistake {
    /// A correct certificate.
    None,
    /// Valid in another window than the usual seven years (VCEK) or one year (VLEK) from the vendor's issue.
    Validity {
        /// First second of validity.
        not_before: UnixTime,
        /// Last second of validity.
        not_after: UnixTime,
    },
    /// Lacks an extension.
    MissingExtension(VekExtension),
    /// Has an extension twice.
    RepeatedExtension(VekExtension),
    /// Certifies another TCB than the report states.
    OtherTcb(Tcb),
    /// Certifies another chip.
    OtherHwid([u8; 64]),
    /// Certifies only the first bytes of the chip identifier (8 is right for Turin and wrong elsewhere).
    HwidLength(usize),
    /// States another product name.
    ProductName(&'static str),
    /// Has another common name than `SEV-VCEK` or `SEV-VLEK`.
    CommonName(&'static str),
    /// Names another issuer than the one that signed it.
    IssuerCommonName(&'static str),
    /// Is signed by the ARK in the name of the ASK or ASVK.
    SignedByArk,
    /// Is signed, and says so, with RSASSA-PSS over SHA-256.
    PssSha256,
    /// Says RSASSA-PSS SHA-384 outside of the signed part and SHA-256 inside.
    PssDisagrees,
    /// Certifies a P-256 key.
    P256Key,
    /// Has a critical extension that nobody knows.
    UnknownCriticalExtension,
    /// Calls itself a certificate authority.
    IsAuthority,
}

/// One mistake in the vendor's root bundle. "Issuer" means both the ASK and the ASVK.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuthorityMistake {
    /// A correct bundle of the same keys.
    None,
    /// The issuers are no certificate authorities.
    IssuerIsNoAuthority,
    /// The issuers' key usage does not include signing certificates.
    IssuerMayNotCertify,
    /// The issuers are valid in another window.
    IssuerValidity {
        /// First second of validity.
        not_before: UnixTime,
        /// Last second of validity.
        not_after: UnixTime,
    },
    /// The issuers' certificates are signed by their own keys in the name of the ARK.
    IssuerNotSignedByArk,
    /// The ASK has this common name (and the ASVK keeps its own).
    AskCommonName(&'static str),
    /// The ARK's key usage does not include signing revocation lists.
    ArkMayNotRevoke,
    /// The ARK's key usage does not include signing certificates.
    ArkMayNotCertify,
    /// The ARK is no certificate authority.
    ArkIsNoAuthority,
    /// The ARK is valid in another window.
    ArkValidity {
        /// First second of validity.
        not_before: UnixTime,
        /// Last second of validity.
        not_after: UnixTime,
    },
}

/// One mistake (or one revocation) in the vendor's revocation list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CrlMistake {
    /// The usual list: nothing revoked.
    None,
    /// Valid in another window.
    Window {
        /// When it was issued.
        this_update: UnixTime,
        /// Until when the next one is due.
        next_update: UnixTime,
    },
    /// Does not say when the next list is due.
    NoNextUpdate,
    /// Revokes the ASK.
    RevokesAsk,
    /// Revokes the ASVK.
    RevokesAsvk,
    /// Lists serial number 0, which every VEK certificate has.
    RevokesVek,
    /// Lists a serial number that no certificate here has, as AMD's Genoa list does.
    RevokesStranger,
    /// Is signed by the ASK in the name of the ARK.
    SignedByAsk,
    /// Is signed by the ARK in another name.
    IssuerCommonName(&'static str),
}
