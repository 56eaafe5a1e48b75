//! Roots of virtual TPMs' attestation keys: whose, and how they are told apart.

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::x509::Certificate;

/// Google's; `roots/README.md` says where they are from.
const GOOGLE: &str = include_str!("../../roots/gce-vtpm.pem");
/// Microsoft's.
const MICROSOFT: &str = include_str!("../../roots/azure-vtpm.pem");

/// Who runs virtual TPMs and certifies their keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Provider {
    /// Google Compute Engine.
    Google,
    /// Microsoft Azure.
    Microsoft,
}

/// A pinned root.
#[derive(Debug, Clone)]
pub(crate) struct VtpmRoot {
    pub(crate) provider: Provider,
    pub(crate) certificate: Certificate,
}

impl Provider {
    /// Whose root a common name is of. A simulator may put its own prefix before it.
    pub(crate) fn of_root(common_name: &str) -> Option<Self> {
        if common_name.ends_with("EK/AK CA Root")
            || common_name.starts_with("tpm_ek_v1_cloud_host_root-signer-0-")
        {
            return Some(Self::Google);
        }
        common_name.ends_with("Azure Virtual TPM Root Certificate Authority 2023").then_some(Self::Microsoft)
    }
}

/// The embedded roots of both. Should a file ever be unreadable, its roots are not pinned and nothing under them is
/// genuine; a unit test reads them.
pub(crate) fn embedded() -> Vec<VtpmRoot> {
    [GOOGLE, MICROSOFT]
        .into_iter()
        .flat_map(|pem| CertificateDer::pem_slice_iter(pem.as_bytes()))
        .filter_map(|section| Certificate::parse(&section.ok()?).ok())
        .filter_map(|certificate| {
            Some(VtpmRoot { provider: Provider::of_root(&certificate.subject_cn)?, certificate })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto;

    #[test]
    fn the_embedded_roots_are_googles_and_microsofts() {
        let found: Vec<_> = embedded()
            .iter()
            .map(|root| (root.provider, hex::encode(crypto::sha256(&root.certificate.der))))
            .collect();
        let expected = [
            (Provider::Google, GOOGLE_SHA256[0].to_owned()),
            (Provider::Google, GOOGLE_SHA256[1].to_owned()),
            (Provider::Microsoft, MICROSOFT_SHA256.to_owned()),
        ];
        assert_eq!(found, expected);
    }

    const GOOGLE_SHA256: [&str; 2] = [
        "594759594b9b61524f6c8ef668f7177f7b9066bc0674f2f49fe9e052be78beb2",
        "9bd5285f8fb18502a7947e621ffd470266f49fcd3b73e19a190f690ad32a7caf",
    ];
    const MICROSOFT_SHA256: &str = "e6c596b17f8ffefba5c300f714cfb1260c6028704ecf7becc4ab5018efb00e95";
}
