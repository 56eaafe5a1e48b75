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

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use thiserror::Error;

use super::anchors::NvidiaAnchors;
use super::genuine::PROFILE;
use super::spdm::MEASUREMENT_LEN;
use super::xml::{self, Element};
use crate::chain::{self, ChainError};
use crate::crypto;
use crate::time::UnixTime;
use crate::x509::{Certificate, CertificateError, PublicKey};

/// Larger manifests are refused before they are parsed; NVIDIA's have about 25 KiB.
const MAX_MANIFEST: usize = 256 * 1024;

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

/// A manifest that NVIDIA signed. Made only by [`Manifest::verify`]. No rule reads one yet.
#[derive(Debug, PartialEq, Eq)]
pub struct Manifest {
    version: String,
    product: String,
    golden: Vec<(usize, Vec<[u8; MEASUREMENT_LEN]>)>,
    valid_until: UnixTime,
}

/// Why a manifest is refused.
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
        }
    }
}

impl Manifest {
    /// Reads a manifest and verifies its signature up to the pinned root of manifests.
    ///
    /// # Errors
    /// [`ManifestError`].
    pub fn verify(document: &[u8], anchors: &NvidiaAnchors, now: UnixTime) -> Result<Self, ManifestError> {
        let malformed = |part| ManifestError::Malformed { part };
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

        let [leaf, inner, outer, sent] = certificates(signature)?;
        let pinned = anchors.manifests.as_ref().filter(|pinned| pinned.der == sent.der);
        let pinned = pinned.ok_or(ManifestError::Root)?;
        let valid_until = chain::validate_path(pinned, &[&inner, &outer], &leaf, &PROFILE, now)
            .map_err(ManifestError::Chain)?;

        let info = signature.only("ds:SignedInfo").ok_or(malformed("ds:SignedInfo"))?;
        let info = info.canonical(&[&root, signature], None);
        let digest = crypto::sha384(root.canonical(&[], Some("ds:Signature")).as_bytes());
        let [before, after] = SIGNED_INFO;
        let (_, claimed) = info.split_once('>').ok_or(malformed("ds:SignedInfo"))?;
        let claimed = claimed.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
        if claimed.ok_or(malformed("ds:SignedInfo"))? != BASE64_STANDARD.encode(digest) {
            return Err(ManifestError::Digest);
        }
        let value = signature.only("ds:SignatureValue").and_then(Element::text).and_then(base64);
        let (r, s) = value
            .as_deref()
            .and_then(|value| value.split_first_chunk::<48>())
            .and_then(|(r, s)| Some((*r, <[u8; 48]>::try_from(s).ok()?)))
            .ok_or(malformed("ds:SignatureValue"))?;
        let PublicKey::P384(key) = leaf.key else { return Err(ManifestError::Signature) };
        let in_range = crypto::is_p384_scalar(&r) && crypto::is_p384_scalar(&s);
        if !in_range || !crypto::verify_p384_sha384(&key, info.as_bytes(), &r, &s) {
            return Err(ManifestError::Signature);
        }

        let meta = root.only("ns0:Meta").ok_or(malformed("ns0:Meta"))?;
        let version = meta.attribute("colloquialVersion").ok_or(malformed("colloquialVersion"))?;
        let product = meta.attribute("product").ok_or(malformed("product"))?;
        let payload = root.only("ns0:Payload").ok_or(malformed("ns0:Payload"))?;
        let golden = golden(payload).ok_or(malformed("ns0:Resource"))?;
        Ok(Self { version: version.to_owned(), product: product.to_owned(), golden, valid_until })
    }

    /// Version of the driver or VBIOS that it is for.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Product that it is for, such as "GH100".
    pub fn product(&self) -> &str {
        &self.product
    }

    /// Active measurements: index from 0 (SPDM counts from 1), and the values of which one must be there.
    pub fn golden(&self) -> &[(usize, Vec<[u8; MEASUREMENT_LEN]>)] {
        &self.golden
    }

    /// Last second at which its signer's certificates are all valid.
    pub fn valid_until(&self) -> UnixTime {
        self.valid_until
    }
}

fn certificates(signature: &Element<'_>) -> Result<[Certificate; 4], ManifestError> {
    let malformed = ManifestError::Malformed { part: "ds:KeyInfo" };
    let data = signature.only("ds:KeyInfo").and_then(|info| info.only("ds:X509Data"));
    let mut certificates = Vec::new();
    for element in data.ok_or_else(|| malformed.clone())?.elements() {
        let der = element.text().and_then(base64).ok_or_else(|| malformed.clone())?;
        certificates.push(Certificate::parse(&der).map_err(ManifestError::Certificate)?);
    }
    certificates.try_into().map_err(|_| malformed)
}

fn base64(text: &str) -> Option<Vec<u8>> {
    let compact: String = text.chars().filter(|c| *c != '\n').collect();
    BASE64_STANDARD.decode(compact).ok()
}

/// Resources are numbered 0, 1, 2 ...; those that are not active measure nothing that is known.
fn golden(payload: &Element<'_>) -> Option<Vec<(usize, Vec<[u8; MEASUREMENT_LEN]>)>> {
    let mut golden = Vec::new();
    for (position, resource) in payload.elements().enumerate() {
        let index: usize = resource.attribute("index")?.parse().ok()?;
        let alternatives: usize = resource.attribute("alternatives")?.parse().ok()?;
        if resource.name != "ns0:Resource" || index != position || !(1..=32).contains(&alternatives) {
            return None;
        }
        let values = (0..alternatives)
            .map(|number| {
                hex::decode(resource.attribute(&format!("ns2:Hash{number}"))?).ok()?.try_into().ok()
            })
            .collect::<Option<Vec<[u8; MEASUREMENT_LEN]>>>()?;
        match resource.attribute("active")? {
            "True" => golden.push((index, values)),
            "False" => {}
            _ => return None,
        }
    }
    Some(golden)
}
