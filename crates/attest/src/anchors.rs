//! Trust anchors: the roots that a verifier believes, and nobody else's.

use core::fmt;
use std::sync::{Arc, OnceLock};

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use thiserror::Error;

use crate::crypto;
use crate::evidence::Platform;
use crate::snp::{ProductLine, Signer};
use crate::tpm::{self, Provider, VtpmRoot};
use crate::x509::{Certificate, CertificateError};

/// AMD's certificates; `roots/README.md` says where they are from.
const AMD: [&str; 3] = [
    include_str!("../roots/amd-milan.pem"),
    include_str!("../roots/amd-genoa.pem"),
    include_str!("../roots/amd-turin.pem"),
];

/// AWS Nitro Enclaves root G1.
const AWS_NITRO: &str = include_str!("../roots/aws-nitro-g1.pem");

/// How the common name of a root of Nitro Enclaves ends; a simulator may put its own prefix before it.
const NITRO_NAME: &str = "aws.nitro-enclaves";

/// Intel SGX Root CA, which is the root of TDX too.
const INTEL: &str = include_str!("../roots/intel-sgx-root.pem");

/// How the common name of a root of Intel's ends; a simulator may put its own prefix before it.
const INTEL_NAME: &str = "Intel SGX Root CA";

/// The roots, and for SEV-SNP the intermediates, of each vendor.
#[derive(Clone)]
pub struct TrustAnchors {
    lines: Arc<[LineAnchors]>,
    nitro: Option<Arc<Certificate>>,
    intel: Option<Arc<Certificate>>,
    vtpm: Arc<[VtpmRoot]>,
    simulated: bool,
}

/// One product line's certificates.
#[derive(Debug, Clone)]
pub(crate) struct LineAnchors {
    pub(crate) line: ProductLine,
    /// AMD root key: issues the two others and the revocation list.
    pub(crate) ark: Certificate,
    /// AMD SEV key: issues VCEKs.
    pub(crate) ask: Certificate,
    /// AMD SEV VLEK key: issues VLEKs.
    pub(crate) asvk: Certificate,
}

/// A certificate's part in a product line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnchorRole {
    /// Root.
    Ark,
    /// Issuer of VCEKs.
    Ask,
    /// Issuer of VLEKs.
    Asvk,
}

/// Why a bundle of roots is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AnchorError {
    /// No certificate in it.
    #[error("the bundle contains no PEM certificate")]
    Empty,
    /// A PEM section is damaged.
    #[error("the bundle is not PEM")]
    Pem,
    /// A certificate in it cannot be judged.
    #[error("certificate {position} of the bundle: {error}")]
    Certificate {
        /// From 1.
        position: usize,
        /// What is wrong with it.
        error: CertificateError,
    },
    /// A common name that belongs to no product line's ARK, ASK or ASVK.
    #[error(
        "certificate {position} of the bundle is named {common_name:?}, which is no ARK, ASK or ASVK no root of Nitro Enclaves and none of Intel SGX"
    )]
    Name {
        /// From 1.
        position: usize,
        /// The subject's common name.
        common_name: String,
    },
    /// Two certificates for one part.
    #[error("the bundle has two {role} certificates for {line}")]
    Duplicate {
        /// Product line.
        line: ProductLine,
        /// Part.
        role: AnchorRole,
    },
    /// Two roots for one platform.
    #[error("the bundle has two {platform} roots")]
    DuplicateRoot {
        /// Platform.
        platform: Platform,
    },
    /// A part without a certificate.
    #[error("the bundle has no {role} certificate for {line}")]
    Incomplete {
        /// Product line.
        line: ProductLine,
        /// Part.
        role: AnchorRole,
    },
    /// A danger root with a vendor's key: it would make production evidence look simulated, or the other way round.
    #[error("certificate {position} of the bundle has a vendor's own key")]
    VendorKey {
        /// From 1.
        position: usize,
    },
}

impl TrustAnchors {
    /// AMD's own roots, embedded in this library: Milan, Genoa and Turin.
    pub fn amd() -> Self {
        static LINES: OnceLock<Arc<[LineAnchors]>> = OnceLock::new();
        // Should the embedded files ever be unreadable, no line is pinned and nothing is genuine; a unit test reads them.
        let lines = LINES.get_or_init(|| {
            let lines: Arc<[LineAnchors]> = AMD
                .iter()
                .filter_map(|pem| load(pem).ok())
                .flat_map(|bundle| bundle.lines)
                .map(|(anchors, _)| anchors)
                .collect();
            crypto::pin(lines.iter().flat_map(|line| [(&line.ark, &line.ask), (&line.ark, &line.asvk)]));
            lines
        });
        Self { lines: Arc::clone(lines), nitro: None, intel: None, vtpm: Arc::default(), simulated: false }
    }

    /// AWS's own root of Nitro Enclaves, embedded in this library: G1.
    pub fn aws() -> Self {
        static ROOT: OnceLock<Option<Arc<Certificate>>> = OnceLock::new();
        // As above: an unreadable file would pin nothing, and a unit test reads it.
        let root = ROOT.get_or_init(|| load(AWS_NITRO).ok()?.nitro.map(|(root, _)| Arc::new(root)));
        Self {
            lines: Arc::default(),
            nitro: root.clone(),
            intel: None,
            vtpm: Arc::default(),
            simulated: false,
        }
    }

    /// Intel's own root of SGX and TDX, embedded in this library.
    pub fn intel_sgx() -> Self {
        static ROOT: OnceLock<Option<Arc<Certificate>>> = OnceLock::new();
        // As above: an unreadable file would pin nothing, and a unit test reads it.
        let root = ROOT.get_or_init(|| load(INTEL).ok()?.intel.map(|(root, _)| Arc::new(root)));
        Self {
            lines: Arc::default(),
            nitro: None,
            intel: root.clone(),
            vtpm: Arc::default(),
            simulated: false,
        }
    }

    /// Google's and Microsoft's own roots of virtual TPMs, embedded in this library.
    pub fn vtpm() -> Self {
        static ROOTS: OnceLock<Arc<[VtpmRoot]>> = OnceLock::new();
        let vtpm = ROOTS.get_or_init(|| tpm::embedded().into());
        Self { lines: Arc::default(), nitro: None, intel: None, vtpm: Arc::clone(vtpm), simulated: false }
    }

    /// Every vendor's own roots that are embedded in this library: AMD's, AWS's, Intel's, and Google's and Microsoft's of
    /// virtual TPMs.
    pub fn vendors() -> Self {
        Self {
            nitro: Self::aws().nitro,
            intel: Self::intel_sgx().intel,
            vtpm: Self::vtpm().vtpm,
            ..Self::amd()
        }
    }

    /// Only the roots in this PEM bundle, made by a simulator. No vendor's root is among them, and every verdict under
    /// them says that it is simulated.
    ///
    /// # Errors
    /// Unless the bundle has exactly one ARK (`ARK-<Line>`, after any prefix), ASK (`SEV-<Line>`) and ASVK
    /// (`SEV-VLEK-<Line>`) for each product line that it mentions, at most one root of Nitro Enclaves
    /// (`…aws.nitro-enclaves`) and one of Intel's (`…Intel SGX Root CA`), any of virtual TPMs (`…EK/AK CA Root`, `…Azure
    /// Virtual TPM Root Certificate Authority 2023`), and none of a vendor's keys.
    pub fn danger_only_pem(pem: &str) -> Result<Self, AnchorError> {
        let Loaded { lines, nitro, intel, vtpm } = load(pem)?;
        let vendor = Self::vendors();
        for (root, position) in &vtpm {
            if vendor.owns_key(&root.certificate) {
                return Err(AnchorError::VendorKey { position: *position });
            }
        }
        for (root, position) in nitro.iter().chain(&intel) {
            if vendor.owns_key(root) {
                return Err(AnchorError::VendorKey { position: *position });
            }
        }
        for (anchors, positions) in &lines {
            for (certificate, &position) in anchors.certificates().into_iter().zip(positions) {
                if vendor.owns_key(certificate) {
                    return Err(AnchorError::VendorKey { position });
                }
            }
        }
        Ok(Self {
            lines: lines.into_iter().map(|(anchors, _)| anchors).collect(),
            nitro: nitro.map(|(root, _)| Arc::new(root)),
            intel: intel.map(|(root, _)| Arc::new(root)),
            vtpm: vtpm.into_iter().map(|(root, _)| root).collect(),
            simulated: true,
        })
    }

    /// Whether the roots are a simulator's. Nothing that they validate is real.
    pub fn simulated(&self) -> bool {
        self.simulated
    }

    pub(crate) fn line(&self, line: ProductLine) -> Option<&LineAnchors> {
        self.lines.iter().find(|anchors| anchors.line == line)
    }

    /// The root of Nitro Enclaves.
    pub(crate) fn nitro(&self) -> Option<&Certificate> {
        self.nitro.as_deref()
    }

    /// The root of Intel SGX and TDX.
    pub(crate) fn intel(&self) -> Option<&Certificate> {
        self.intel.as_deref()
    }

    /// The roots of virtual TPMs.
    pub(crate) fn vtpm_roots(&self) -> &[VtpmRoot] {
        &self.vtpm
    }

    #[cfg(test)]
    pub(crate) fn without(&self, line: ProductLine) -> Self {
        let lines = self.lines.iter().filter(|anchors| anchors.line != line).cloned().collect();
        Self { lines, ..self.clone() }
    }

    fn owns_key(&self, certificate: &Certificate) -> bool {
        let lines = self.lines.iter().flat_map(LineAnchors::certificates);
        let vtpm = self.vtpm.iter().map(|root| &root.certificate);
        lines.chain(self.nitro()).chain(self.intel()).chain(vtpm).any(|own| own.spki == certificate.spki)
    }
}

impl fmt::Debug for TrustAnchors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<_> = self.lines.iter().map(|anchors| anchors.line.name()).collect();
        f.debug_struct("TrustAnchors")
            .field("simulated", &self.simulated)
            .field("lines", &lines)
            .field("nitro", &self.nitro.is_some())
            .field("intel", &self.intel.is_some())
            .field("vtpm", &self.vtpm.len())
            .finish()
    }
}

impl LineAnchors {
    /// The certificate that issues this kind of key.
    pub(crate) fn issuer_of(&self, signer: Signer) -> &Certificate {
        match signer {
            Signer::Vcek => &self.ask,
            Signer::Vlek => &self.asvk,
        }
    }

    fn certificates(&self) -> [&Certificate; 3] {
        [&self.ark, &self.ask, &self.asvk]
    }
}

impl fmt::Display for AnchorRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ark => "ARK",
            Self::Ask => "ASK",
            Self::Asvk => "ASVK",
        })
    }
}

impl AnchorError {
    /// Stable identifier, for logs, exit codes and tests.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Empty => "anchors.empty",
            Self::Pem => "anchors.pem",
            Self::Certificate { .. } => "anchors.certificate",
            Self::Name { .. } => "anchors.name",
            Self::Duplicate { .. } | Self::DuplicateRoot { .. } => "anchors.duplicate",
            Self::Incomplete { .. } => "anchors.incomplete",
            Self::VendorKey { .. } => "anchors.vendor-key",
        }
    }
}

/// What is in a bundle.
struct Loaded {
    /// Each with the positions of its ARK, ASK and ASVK.
    lines: Vec<(LineAnchors, [usize; 3])>,
    /// With its position.
    nitro: Option<(Certificate, usize)>,
    /// With its position.
    intel: Option<(Certificate, usize)>,
    /// Each with its position.
    vtpm: Vec<(VtpmRoot, usize)>,
}

fn load(pem: &str) -> Result<Loaded, AnchorError> {
    let mut nitro = None;
    let mut intel = None;
    let mut vtpm = Vec::new();
    let mut found: Vec<(ProductLine, AnchorRole, usize, Certificate)> = Vec::new();
    for (section, position) in CertificateDer::pem_slice_iter(pem.as_bytes()).zip(1_usize..) {
        let der = section.map_err(|_| AnchorError::Pem)?;
        let certificate =
            Certificate::parse(&der).map_err(|error| AnchorError::Certificate { position, error })?;
        if certificate.subject_cn.ends_with(NITRO_NAME) {
            if nitro.replace((certificate, position)).is_some() {
                return Err(AnchorError::DuplicateRoot { platform: Platform::Nitro });
            }
            continue;
        }
        if certificate.subject_cn.ends_with(INTEL_NAME) {
            if intel.replace((certificate, position)).is_some() {
                return Err(AnchorError::DuplicateRoot { platform: Platform::Tdx });
            }
            continue;
        }
        if let Some(provider) = Provider::of_root(&certificate.subject_cn) {
            vtpm.push((VtpmRoot { provider, certificate }, position));
            continue;
        }
        let Some((line, role)) = part(&certificate.subject_cn) else {
            return Err(AnchorError::Name { position, common_name: certificate.subject_cn });
        };
        if found.iter().any(|(other_line, other_role, ..)| (*other_line, *other_role) == (line, role)) {
            return Err(AnchorError::Duplicate { line, role });
        }
        found.push((line, role, position, certificate));
    }
    if found.is_empty() && nitro.is_none() && intel.is_none() && vtpm.is_empty() {
        return Err(AnchorError::Empty);
    }

    let mut lines = Vec::new();
    for line in ProductLine::ALL {
        if !found.iter().any(|(other, ..)| *other == line) {
            continue;
        }
        let take = |role: AnchorRole| {
            found
                .iter()
                .find(|(other_line, other_role, ..)| (*other_line, *other_role) == (line, role))
                .map(|(_, _, position, certificate)| (certificate.clone(), *position))
                .ok_or(AnchorError::Incomplete { line, role })
        };
        let (ark, ark_position) = take(AnchorRole::Ark)?;
        let (ask, ask_position) = take(AnchorRole::Ask)?;
        let (asvk, asvk_position) = take(AnchorRole::Asvk)?;
        lines.push((LineAnchors { line, ark, ask, asvk }, [ark_position, ask_position, asvk_position]));
    }
    Ok(Loaded { lines, nitro, intel, vtpm })
}

/// The part that a common name stands for. A simulator may put its own prefix before `ARK-`.
fn part(common_name: &str) -> Option<(ProductLine, AnchorRole)> {
    if let Some((_, line)) = common_name.rsplit_once("ARK-") {
        return Some((ProductLine::from_name(line)?, AnchorRole::Ark));
    }
    if let Some(line) = common_name.strip_prefix("SEV-VLEK-") {
        return Some((ProductLine::from_name(line)?, AnchorRole::Asvk));
    }
    let line = common_name.strip_prefix("SEV-")?;
    Some((ProductLine::from_name(line)?, AnchorRole::Ask))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(pem: &str) -> &'static str {
        TrustAnchors::danger_only_pem(pem).expect_err("must be refused").code()
    }

    fn certificates(pem: &str) -> Vec<String> {
        pem.split_inclusive("-----END CERTIFICATE-----\n").map(str::to_owned).collect()
    }

    #[test]
    fn the_embedded_roots_are_amds() {
        let anchors = TrustAnchors::amd();
        assert!(!anchors.simulated());
        for (line, expected) in [
            (ProductLine::Milan, "69d063b45344d26a2e94e1f4210de49ef555308287d4c174445c95639a540bcd"),
            (ProductLine::Genoa, "4c6598d19c18719c5dfd4a7d335f674e5bfe1d8f800cea2cf270c10d103db2f1"),
            (ProductLine::Turin, "1f084161a44bb6d93778a904877d4819cafa5d05ef4193b2ded9dd9c73dd3f6a"),
        ] {
            let ark = &anchors.line(line).expect("line is embedded").ark;
            let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &ark.der);
            assert_eq!(hex::encode(digest), expected, "{line}");
        }
    }

    #[test]
    fn the_embedded_intel_root_is_intels_own() {
        let anchors = TrustAnchors::vendors();
        assert!(!anchors.simulated());
        let digest =
            aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &anchors.intel().expect("embedded").der);
        let expected = "44a0196b2b99f889b8e149e95b807a350e7424964399e885a7cbb8ccfab674d3";
        assert_eq!(hex::encode(digest), expected);
        assert!(TrustAnchors::amd().intel().is_none());
        assert_eq!(code(&format!("{INTEL}{INTEL}")), "anchors.duplicate");
    }

    #[test]
    fn the_embedded_nitro_root_is_aws_own() {
        let anchors = TrustAnchors::vendors();
        assert!(!anchors.simulated());
        let digest =
            aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &anchors.nitro().expect("embedded").der);
        assert_eq!(hex::encode(digest), "641a0321a3e244efe456463195d606317ed7cdcc3c1756e09893f3c68f79bb5b");
        assert!(TrustAnchors::amd().nitro().is_none());
        assert!(TrustAnchors::aws().line(ProductLine::Genoa).is_none());
    }

    #[test]
    fn a_danger_bundle_never_contains_a_vendors_keys() {
        let vtpm = [include_str!("../roots/gce-vtpm.pem"), include_str!("../roots/azure-vtpm.pem")];
        for pem in AMD.into_iter().chain([AWS_NITRO, INTEL]).chain(vtpm) {
            assert_eq!(code(pem), "anchors.vendor-key");
        }
    }

    #[test]
    fn bundles_with_one_mistake_each() {
        let [milan, genoa, _] = AMD;
        let parts = certificates(milan);
        assert_eq!(parts.len(), 3);
        assert_eq!(code(""), "anchors.empty");
        assert_eq!(code("no certificate here"), "anchors.empty");
        assert_eq!(code("-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n"), "anchors.pem");
        assert_eq!(
            code("-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"),
            "anchors.certificate"
        );
        assert_eq!(code(&format!("{milan}{milan}")), "anchors.duplicate");
        assert_eq!(code(&format!("{AWS_NITRO}{AWS_NITRO}")), "anchors.duplicate");
        assert_eq!(code(&format!("{genoa}{}", parts[0])), "anchors.incomplete");
        for missing in 0..3 {
            let kept: String = parts
                .iter()
                .enumerate()
                .filter(|(index, _)| *index != missing)
                .map(|(_, part)| part.as_str())
                .collect();
            assert_eq!(code(&kept), "anchors.incomplete", "without part {missing}");
        }
    }

    #[test]
    fn a_simulators_prefix_stands_before_ark_only() {
        use AnchorRole::{Ark, Ask, Asvk};
        let genoa = ProductLine::Genoa;
        assert_eq!(part("ARK-Genoa"), Some((genoa, Ark)));
        assert_eq!(part("SIMULATED-ARK-Genoa"), Some((genoa, Ark)));
        assert_eq!(part("SEV-Genoa"), Some((genoa, Ask)));
        assert_eq!(part("SEV-VLEK-Genoa"), Some((genoa, Asvk)));
        for name in ["Genoa", "ARK-Rome", "ARK-", "SEV-", "SEV-VCEK", "SEV-VLEK", "X-SEV-Genoa", "ARK-Genoa "]
        {
            assert_eq!(part(name), None, "{name}");
        }
    }
}
