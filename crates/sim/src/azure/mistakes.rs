//! Test material: the ways in which a virtual machine's evidence and its attestation key's certificate can be wrong, one at a time.

use casemate_attest::UnixTime;

/// One mistake in what paravisor and virtual TPM made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AzureMistake {
    /// Correct evidence.
    None,
    /// The hardware report binds other runtime data.
    RuntimeNotBound,
    /// The hardware report binds the runtime data and more: a byte behind the hash is not zero.
    BoundWithMore,
    /// Of a TD: the HCL report holds another TDREPORT than the quote is of.
    OtherTdReport,
    /// The runtime data names two attestation keys.
    TwoKeys,
    /// Another key signs the TPM's quote than the runtime data names.
    QuoteByStranger,
    /// The quote is over other values than are sent.
    OtherPcrValues,
    /// The quote is over one PCR less than is sent.
    OnePcrLess,
    /// The quote is over the bank of SHA-1.
    BankSha1,
}

/// One mistake in the certificate of a virtual TPM's attestation key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AkMistake {
    /// A correct certificate.
    None,
    /// Of another key.
    OtherKey,
    /// Not for keys of TPMs.
    NotForTpms,
    /// Under another root of the same name.
    OtherRoot,
    /// Calls itself an authority.
    IsAuthority,
    /// Valid in another window than the usual.
    Validity {
        /// First second of validity.
        not_before: UnixTime,
        /// Last second of validity.
        not_after: UnixTime,
    },
}
