//! NVIDIA's reference integrity manifests (RIM): which measurements a driver or a VBIOS makes. A SWID tag
//! (ISO/IEC 19770-2) in XML with an enveloped signature (XML-DSig, Canonical XML 1.1, ECDSA P-384 with SHA-384), of one
//! fixed shape:
//!
//! ```text
//! SoftwareIdentity
//!   ns0:Meta colloquialVersion product ...
//!   ns0:Payload
//!     ns0:Resource index active alternatives ns2:Hash0 ...      index is the SPDM index minus 1
//!   ds:Signature
//!     ds:SignedInfo     one reference, to the whole document
//!     ds:SignatureValue R, S
//!     ds:KeyInfo        four certificates: signer, two authorities, root
//! ```

use core::fmt;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use thiserror::Error;

use super::anchors::NvidiaAnchors;
use super::genuine::PROFILE;
use super::revocation::{self, GpuRevocation, Held};
use super::spdm::MEASUREMENT_LEN;
use super::xml::{self, Element};
use crate::chain::{self, ChainError, Role};
use crate::checks::{Check, Finding, Ledger};
use crate::crypto::{self, Scalar};
use crate::ocsp::OcspError;
use crate::rules::{NVIDIA_RIM, nvidia_rim as rules};
use crate::snp::RejectionKind;
use crate::time::UnixTime;
use crate::x509::{Certificate, CertificateError, PublicKey};

/// Larger manifests are refused before they are parsed; NVIDIA's have about 25 KiB.
const MAX_MANIFEST: usize = 256 * 1024;

/// More alternatives for one measurement are refused; NVIDIA's have at most 4.
const MAX_ALTERNATIVES: usize = 32;

const SWID: &str = "http://standards.iso.org/iso/19770/-2/2015/schema.xsd";
const SHA384: &str = "http://www.w3.org/2001/04/xmlenc#sha384";
const DSIG: &str = "http://www.w3.org/2000/09/xmldsig#";

/// What ds:SignedInfo says, all of it, in canonical form, but the digest.
const SIGNED_INFO: [&str; 2] = [
    concat!(
        "<ds:CanonicalizationMethod Algorithm=\"http://www.w3.org/2006/12/xml-c14n11\"></ds:CanonicalizationMethod>",
        "<ds:SignatureMethod Algorithm=\"http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha384\"></ds:SignatureMethod>",
        "<ds:Reference URI=\"\"><ds:Transforms>",
        "<ds:Transform Algorithm=\"http://www.w3.org/2000/09/xmldsig#enveloped-signature\"></ds:Transform>",
        "<ds:Transform Algorithm=\"http://www.w3.org/2006/12/xml-c14n11\"></ds:Transform>",
        "</ds:Transforms>",
        "<ds:DigestMethod Algorithm=\"http://www.w3.org/2001/04/xmldsig-more#sha384\"></ds:DigestMethod>",
        "<ds:DigestValue>",
    ),
    "</ds:DigestValue></ds:Reference></ds:SignedInfo>",
];

/// A measurement that a manifest speaks of: its index from 0 (SPDM counts from 1), and the values of which one must be
/// there.
pub(crate) type Golden = (usize, Vec<[u8; MEASUREMENT_LEN]>);

/// A manifest that NVIDIA signed, or a simulator. Made only by [`Manifest::verify`].
///
/// ```compile_fail
/// fn forge(manifest: casemate_attest::nvidia::Manifest) -> casemate_attest::nvidia::Manifest {
///     casemate_attest::nvidia::Manifest { simulated: false, ..manifest }
/// }
/// ```
#[derive(Debug)]
pub struct Manifest {
    content: Content,
    held: Vec<Held>,
    checks: Vec<Check>,
    simulated: bool,
    valid_until: UnixTime,
}

/// What a manifest says.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Content {
    edition: String,
    product: String,
    version: String,
    golden: Vec<Golden>,
}

/// A manifest that is not believed.
#[derive(Debug, PartialEq, Eq)]
pub struct ManifestRejected {
    /// Why.
    pub reason: ManifestError,
    /// Every rule, in order.
    pub checks: Vec<Check>,
    /// Whether the root was a simulator's.
    pub simulated: bool,
}

/// Why a manifest is not believed: rules RIM-01 to RIM-07.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ManifestError {
    /// Too long, not of the XML subset, or not of the one shape.
    #[error("the manifest is not of the shape of NVIDIA's: {part}")]
    Malformed {
        /// Where.
        part: &'static str,
    },
    /// The document was changed after it was signed.
    #[error("the manifest's digest is not the signed one")]
    Digest,
    /// The signature is not by the signer's key.
    #[error("the manifest is not signed by its signer's key")]
    Signature,
    /// No root pinned, or another was sent.
    #[error("the manifest's root is not the pinned one")]
    Root,
    /// A certificate that cannot be judged.
    #[error("a certificate of the manifest: {0}")]
    Certificate(CertificateError),
    /// The signer's path is not valid.
    #[error("the manifest's signer: {0}")]
    Chain(ChainError),
    /// Revocation is unknown, or a certificate is revoked.
    #[error("the manifest's signer: {0}")]
    Revocation(OcspError),
}

impl ManifestError {
    /// Stable identifier, for logs, exit codes and tests.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Malformed { .. } => "nvidia.manifest.malformed",
            Self::Digest => "nvidia.manifest.digest",
            Self::Signature => "nvidia.manifest.signature",
            Self::Root => "nvidia.manifest.root",
            Self::Certificate(error) => error.code(),
            Self::Chain(error) => error.code(),
            Self::Revocation(error) => error.code(),
        }
    }
}

/// What the rules look at, in the order of the document.
pub(crate) struct Signed<'a> {
    root: Element<'a>,
    pub(crate) leaf: Certificate,
    /// The signer's issuer, and its issuer.
    pub(crate) issuers: [Certificate; 2],
    pub(crate) sent_root: Certificate,
    /// ds:SignedInfo in canonical form: the signed octets.
    info: String,
    r: Scalar,
    s: Scalar,
}

type Step<T> = Result<(T, Finding), ManifestError>;

impl Manifest {
    /// Reads a manifest and verifies it up to the pinned root of manifests. One manifest serves every device of its
    /// version.
    ///
    /// # Errors
    /// [`ManifestRejected`], with the first rule that does not hold.
    pub fn verify(
        document: &[u8],
        revocation: &GpuRevocation,
        anchors: &NvidiaAnchors,
        now: UnixTime,
    ) -> Result<Self, ManifestRejected> {
        let simulated = anchors.simulated();
        let mut ledger = Ledger::new(NVIDIA_RIM);
        match judge(document, revocation, anchors, now, &mut ledger) {
            Ok((content, held, valid_until)) => {
                Ok(Self { content, held, checks: ledger.finish(), simulated, valid_until })
            }
            Err(reason) => Err(ManifestRejected { reason, checks: ledger.finish(), simulated }),
        }
    }

    /// Kind of device that it is for: "GPU" or "SWITCH".
    pub fn edition(&self) -> &str {
        &self.content.edition
    }

    /// Product that it is for, such as "GH100".
    pub fn product(&self) -> &str {
        &self.content.product
    }

    /// Version of the driver or VBIOS that it is for.
    pub fn version(&self) -> &str {
        &self.content.version
    }

    /// Active measurements: index from 0 (SPDM counts from 1), and the values of which one must be there.
    pub fn golden(&self) -> &[(usize, Vec<[u8; MEASUREMENT_LEN]>)] {
        &self.content.golden
    }

    /// Its certificates that are on hold.
    pub(crate) fn held(&self) -> &[Held] {
        &self.held
    }

    /// Every rule, in order: each passed or was waived by a written decision.
    pub fn checks(&self) -> &[Check] {
        &self.checks
    }

    /// Whether the root was a simulator's.
    pub fn simulated(&self) -> bool {
        self.simulated
    }

    /// Last second at which its signer's certificates, and the answers about them, are all valid.
    pub fn valid_until(&self) -> UnixTime {
        self.valid_until
    }
}

impl fmt::Display for Manifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.content.edition, self.content.product, self.content.version)
    }
}

impl ManifestRejected {
    /// [`ManifestError::code`] of the reason.
    pub fn code(&self) -> &'static str {
        self.reason.code()
    }

    /// What kind of answer this is.
    pub fn kind(&self) -> RejectionKind {
        match &self.reason {
            ManifestError::Malformed { .. }
            | ManifestError::Digest
            | ManifestError::Signature
            | ManifestError::Root
            | ManifestError::Certificate(_) => RejectionKind::NotGenuine,
            ManifestError::Chain(error) => error.kind(),
            ManifestError::Revocation(error) => error.kind(),
        }
    }
}

impl fmt::Display for ManifestRejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not a manifest of NVIDIA's: {}", self.reason)
    }
}

impl std::error::Error for ManifestRejected {}

fn judge(
    document: &[u8],
    revocation: &GpuRevocation,
    anchors: &NvidiaAnchors,
    now: UnixTime,
    ledger: &mut Ledger,
) -> Result<(Content, Vec<Held>, UnixTime), ManifestError> {
    let signed = ledger.record(&rules::FORMAT, format(document))?;
    let root = ledger.record(&rules::ROOT, root(anchors, &signed))?;
    let path_until = ledger.record(&rules::CHAIN, path(root, &signed, now))?;
    let status = ledger.record(&rules::REVOCATION, revoked(revocation, root, &signed, now))?;
    ledger.record(&rules::DIGEST, digest(&signed))?;
    ledger.record(&rules::SIGNATURE, signature(&signed))?;
    let content = ledger.record(&rules::CONTENT, content(&signed.root))?;
    Ok((content, status.held, path_until.min(status.valid_until)))
}

fn malformed(part: &'static str) -> ManifestError {
    ManifestError::Malformed { part }
}

/// RIM-01.
fn format(document: &[u8]) -> Step<Signed<'_>> {
    let signed = Signed::read(document)?;
    let compared = format!("{} bytes, signed by {}", document.len(), signed.leaf.subject_cn);
    Ok((signed, Finding::Pass(compared)))
}

impl<'a> Signed<'a> {
    pub(crate) fn read(document: &'a [u8]) -> Result<Self, ManifestError> {
        if document.len() > MAX_MANIFEST {
            return Err(malformed("length"));
        }
        let root = xml::parse(document).ok_or(malformed("XML"))?;
        let signature = root.only("ds:Signature").ok_or(malformed("ds:Signature"))?;
        let declared =
            [root.declares(""), root.declares("ns0"), root.declares("ns2"), signature.declares("ds")];
        if root.name != "SoftwareIdentity" || declared != [Some(SWID), Some(SWID), Some(SHA384), Some(DSIG)] {
            return Err(malformed("names"));
        }
        let [info, value, keys] = signature.exactly().ok_or(malformed("ds:Signature"))?;
        let in_order =
            [info.name, value.name, keys.name] == ["ds:SignedInfo", "ds:SignatureValue", "ds:KeyInfo"];
        if !in_order || !signature.attributes.is_empty() {
            return Err(malformed("ds:Signature"));
        }
        let info = info.canonical(&[&root, signature], None);
        let value = value.text().and_then(base64).ok_or(malformed("ds:SignatureValue"))?;
        let (r, s) = value.split_first_chunk::<48>().ok_or(malformed("ds:SignatureValue"))?;
        let (r, s) = (*r, s.try_into().map_err(|_| malformed("ds:SignatureValue"))?);
        let [leaf, inner, outer, sent_root] = certificates(keys)?;
        Ok(Self { leaf, issuers: [inner, outer], sent_root, info, r, s, root: root.clone() })
    }
}

/// RIM-02. Byte for byte.
fn root<'a>(anchors: &'a NvidiaAnchors, signed: &Signed<'_>) -> Step<&'a Certificate> {
    let root = anchors.manifests.as_ref().filter(|pinned| pinned.der == signed.sent_root.der);
    let root = root.ok_or(ManifestError::Root)?;
    let whose = if anchors.simulated() { "SIMULATED root" } else { "NVIDIA's root" };
    Ok((root, Finding::Pass(format!("{whose} {}, valid until {}", root.subject_cn, root.not_after))))
}

/// RIM-03.
fn path(root: &Certificate, signed: &Signed<'_>, now: UnixTime) -> Step<UnixTime> {
    let [inner, outer] = &signed.issuers;
    let until = chain::validate_path(root, &[inner, outer], &signed.leaf, &PROFILE, now)
        .map_err(ManifestError::Chain)?;
    let compared = format!(
        "{} > {} > {} > {}, valid until {until}",
        root.subject_cn, outer.subject_cn, inner.subject_cn, signed.leaf.subject_cn
    );
    Ok((until, Finding::Pass(compared)))
}

/// RIM-04.
fn revoked(
    revocation: &GpuRevocation,
    root: &Certificate,
    signed: &Signed<'_>,
    now: UnixTime,
) -> Step<revocation::Status> {
    let [inner, outer] = &signed.issuers;
    let pairs = [(outer, root), (inner, outer), (&signed.leaf, inner)];
    revocation::check(revocation, &pairs, now).map_err(ManifestError::Revocation)
}

/// RIM-05. ds:SignedInfo says exactly one thing, and the digest in it is that of the document without its signature.
fn digest(signed: &Signed<'_>) -> Step<()> {
    let digest = crypto::sha384(signed.root.canonical(&[], Some("ds:Signature")).as_bytes());
    let [before, after] = SIGNED_INFO;
    let (_, claimed) = signed.info.split_once('>').ok_or(malformed("ds:SignedInfo"))?;
    let claimed = claimed.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
    if claimed.ok_or(malformed("ds:SignedInfo"))? != BASE64_STANDARD.encode(digest) {
        return Err(ManifestError::Digest);
    }
    Ok(((), Finding::Pass(format!("SHA-384 {}", hex::encode(digest)))))
}

/// RIM-06. Over ds:SignedInfo in canonical form.
fn signature(signed: &Signed<'_>) -> Step<()> {
    let PublicKey::P384(key) = signed.leaf.key else {
        return Err(ManifestError::Chain(ChainError::KeyType { role: Role::Leaf }));
    };
    let in_range = crypto::is_p384_scalar(&signed.r) && crypto::is_p384_scalar(&signed.s);
    if !in_range || !crypto::verify_p384_sha384(&key, signed.info.as_bytes(), &signed.r, &signed.s) {
        return Err(ManifestError::Signature);
    }
    Ok(((), Finding::Pass(format!("ECDSA P-384, SHA-384, by {}", signed.leaf.subject_cn))))
}

/// RIM-07.
fn content(root: &Element<'_>) -> Step<Content> {
    let meta = root.only("ns0:Meta").ok_or(malformed("ns0:Meta"))?;
    let said = |name: &'static str| {
        let value = meta.attribute(name).filter(|value| !value.is_empty());
        value.map(str::to_owned).ok_or(malformed(name))
    };
    let payload = root.only("ns0:Payload").ok_or(malformed("ns0:Payload"))?;
    let golden = golden(payload).ok_or(malformed("ns0:Resource"))?;
    if golden.is_empty() {
        return Err(malformed("no active ns0:Resource"));
    }
    let content = Content {
        edition: said("edition")?,
        product: said("product")?,
        version: said("colloquialVersion")?,
        golden,
    };
    let Content { edition, product, version, golden } = &content;
    let compared = format!("{edition} {product} {version}, {} golden measurements", golden.len());
    Ok((content, Finding::Pass(compared)))
}

fn certificates(keys: &Element<'_>) -> Result<[Certificate; 4], ManifestError> {
    let [data] = keys.exactly().ok_or(malformed("ds:KeyInfo"))?;
    let elements: [_; 4] = data.exactly().ok_or(malformed("ds:X509Data"))?;
    let plain = keys.is_plain() && data.is_plain() && data.name == "ds:X509Data";
    if !plain || elements.iter().any(|element| element.name != "ds:X509Certificate") {
        return Err(malformed("ds:X509Data"));
    }
    let mut certificates = Vec::with_capacity(elements.len());
    for element in elements {
        let der = element.text().and_then(base64).ok_or(malformed("ds:X509Certificate"))?;
        certificates.push(Certificate::parse(&der).map_err(ManifestError::Certificate)?);
    }
    certificates.try_into().map_err(|_| malformed("ds:X509Data"))
}

fn base64(text: &str) -> Option<Vec<u8>> {
    let compact: String = text.chars().filter(|c| *c != '\n').collect();
    BASE64_STANDARD.decode(compact).ok()
}

/// Resources are numbered 0, 1, 2 ...; those that are not active measure nothing that is known.
fn golden(payload: &Element<'_>) -> Option<Vec<Golden>> {
    let mut golden = Vec::new();
    for (position, resource) in payload.elements().enumerate() {
        let index: usize = resource.attribute("index")?.parse().ok()?;
        let alternatives: usize = resource.attribute("alternatives")?.parse().ok()?;
        let is_measurement = resource.name == "ns0:Resource"
            && resource.attribute("type") == Some("Measurement")
            && resource.attribute("size") == Some("48");
        if !is_measurement || index != position || !(1..=MAX_ALTERNATIVES).contains(&alternatives) {
            return None;
        }
        let values = (0..alternatives)
            .map(|number| {
                hex::decode(resource.attribute(&format!("ns2:Hash{number}"))?).ok()?.try_into().ok()
            })
            .collect::<Option<Vec<[u8; MEASUREMENT_LEN]>>>()?;
        if resource.attribute(&format!("ns2:Hash{alternatives}")).is_some() {
            return None;
        }
        match resource.attribute("active")? {
            "True" => golden.push((index, values)),
            "False" => {}
            _ => return None,
        }
    }
    Some(golden)
}
