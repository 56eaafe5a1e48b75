//! Endorsements: what the vendor says about the key that signed the evidence.
//!
//! Only what differs from machine to machine is carried: the endorsement certificate and the revocation list. Roots and
//! intermediates are the verifier's own ([`crate::TrustAnchors`]); there is no way to hand in one of a prover's.

use crate::evidence::Platform;
use crate::policy::Danger;

/// The certificate of the key that signed, and the state of revocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endorsements {
    kind: Kind,
    ak_certificate: Option<AkCertificate>,
}

/// The certificate of a virtual TPM's attestation key, and those between it and the provider's root, all in DER.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AkCertificate {
    pub(crate) leaf: Vec<u8>,
    pub(crate) intermediates: Vec<Vec<u8>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    SevSnp { vek_der: Vec<u8>, revocation: Revocation },
    Nitro { revocation: Revocation },
    Tdx { collateral: Vec<u8> },
    Gce { intermediates: Vec<Vec<u8>>, revocation: Revocation },
}

/// What is known about revoked certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Revocation {
    /// The vendor's certificate revocation list, DER.
    Crl(Vec<u8>),
    /// Lists of several authorities, for paths of which each authority publishes its own.
    Lists {
        /// DER, in any order.
        lists: Vec<Vec<u8>>,
        /// Whether a certificate that lives longer than a day may name no list.
        unlisted: Danger,
    },
    /// Nothing is known. Verification fails with `crl.missing`.
    Missing,
    /// Somebody decided not to ask. Verification goes on, and the rule is listed as waived.
    DangerNotChecked {
        /// Why; shown wherever the verdict is shown.
        reason: String,
    },
}

impl Revocation {
    /// These lists, DER, in any order; each certificate must be looked up in one, or live for a day at most and name none.
    pub fn of_lists(lists: Vec<Vec<u8>>) -> Self {
        Self::Lists { lists, unlisted: Danger::Refuse }
    }

    /// With a written decision about certificates that live longer than a day and name no list, which nobody can look
    /// up. It says nothing of the others, and changes nothing where no list was given.
    #[must_use]
    pub fn danger_unlisted(self, reason: String) -> Self {
        let unlisted = Danger::Allow { reason };
        match self {
            Self::Crl(one) => Self::Lists { lists: vec![one], unlisted },
            Self::Lists { lists, .. } => Self::Lists { lists, unlisted },
            other @ (Self::Missing | Self::DangerNotChecked { .. }) => other,
        }
    }

    /// The decision about certificates that name no list.
    pub(crate) fn unlisted(&self) -> Option<&str> {
        match self {
            Self::Lists { unlisted: Danger::Allow { reason }, .. } => Some(reason.as_str()),
            _ => None,
        }
    }

    /// The lists, where there are any.
    pub(crate) fn lists(&self) -> Option<&[Vec<u8>]> {
        match self {
            Self::Crl(one) => Some(core::slice::from_ref(one)),
            Self::Lists { lists, .. } => Some(lists),
            Self::Missing | Self::DangerNotChecked { .. } => None,
        }
    }
}

impl Endorsements {
    /// Of a SEV-SNP report: the VCEK's or VLEK's certificate in DER, and the product line's revocation list.
    pub fn snp(vek_der: Vec<u8>, revocation: Revocation) -> Self {
        Self { kind: Kind::SevSnp { vek_der, revocation }, ak_certificate: None }
    }

    /// Of a Nitro Enclaves document, which carries its certificates itself: the revocation lists that its certificates
    /// name, one of each authority (rule NIT-04).
    pub fn nitro(revocation: Revocation) -> Self {
        Self { kind: Kind::Nitro { revocation }, ak_certificate: None }
    }

    /// Of a TDX quote: the collateral as one JSON object, with the nine fields of the DCAP quote verification library
    /// (spec/attest.md §12.2). Nothing in it is believed that Intel did not sign.
    pub fn tdx(collateral: Vec<u8>) -> Self {
        Self { kind: Kind::Tdx { collateral }, ak_certificate: None }
    }

    /// Of a GCE virtual TPM: the certificates between that of the attestation key, which the evidence brings, and Google's
    /// root, from the key's issuer up, in DER; and the revocation lists of the authorities that the certificates name
    /// (rule GV-05).
    pub fn gce_vtpm(intermediates: Vec<Vec<u8>>, revocation: Revocation) -> Self {
        Self { kind: Kind::Gce { intermediates, revocation }, ak_certificate: None }
    }

    /// With a written decision about certificates that live longer than a day and name no list: see
    /// [`Revocation::danger_unlisted`]. It changes nothing of endorsements that are not lists of several authorities.
    #[must_use]
    pub fn danger_unlisted(self, reason: String) -> Self {
        let kind = match self.kind {
            Kind::Nitro { revocation } => Kind::Nitro { revocation: revocation.danger_unlisted(reason) },
            Kind::Gce { intermediates, revocation } => {
                Kind::Gce { intermediates, revocation: revocation.danger_unlisted(reason) }
            }
            other @ (Kind::SevSnp { .. } | Kind::Tdx { .. }) => other,
        };
        Self { kind, ..self }
    }

    /// With the certificate of an Azure virtual TPM's attestation key: what NV index 0x01C101D0 holds (zeros after the
    /// certificate are not part of it), and the certificates between it and Microsoft's root, from the key's issuer up,
    /// in DER. Only evidence of Azure may have one.
    #[must_use]
    pub fn with_ak_certificate(self, leaf: Vec<u8>, intermediates: Vec<Vec<u8>>) -> Self {
        Self { ak_certificate: Some(AkCertificate { leaf, intermediates }), ..self }
    }

    pub(crate) fn ak_certificate(&self) -> Option<&AkCertificate> {
        self.ak_certificate.as_ref()
    }

    /// Whose evidence these endorsements are for.
    pub fn platform(&self) -> Platform {
        match self.kind {
            Kind::SevSnp { .. } => Platform::SevSnp,
            Kind::Nitro { .. } => Platform::Nitro,
            Kind::Tdx { .. } => Platform::Tdx,
            Kind::Gce { .. } => Platform::GceVtpm,
        }
    }

    pub(crate) fn kind(&self) -> &Kind {
        &self.kind
    }
}
