//! Reference integrity manifests as NVIDIA writes them: a SWID tag (ISO/IEC 19770-2) in XML with an enveloped signature
//! (XML-DSig, Canonical XML 1.1, ECDSA P-384 with SHA-384).

use aws_lc_rs::digest::{SHA384 as SHA384_DIGEST, digest};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::party::Party;
use super::report::{DRIVER, MEASUREMENTS, VBIOS};
use crate::error::SimError;

const SWID: &str = "http://standards.iso.org/iso/19770/-2/2015/schema.xsd";
const SHA384: &str = "http://www.w3.org/2001/04/xmlenc#sha384";
const DSIG: &str = "http://www.w3.org/2000/09/xmldsig#";
const MORE: &str = "http://www.w3.org/2001/04/xmldsig-more#";
const C14N: &str = "http://www.w3.org/2006/12/xml-c14n11";

/// What a manifest says before it is signed; each field can be made wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rim {
    /// "GPU".
    pub edition: &'static str,
    /// The chip.
    pub product: &'static str,
    /// Of driver or VBIOS.
    pub version: &'static str,
    /// By index: whether the measurement is active, and the values of which one must be there.
    pub resources: Vec<(bool, Vec<[u8; 48]>)>,
}

impl Rim {
    /// Of the driver of every simulated GPU. Index 35 counts only where the first video decoder is on.
    pub fn driver() -> Self {
        Self::of(DRIVER, &[7, 21, 22, 35])
    }

    /// Of the VBIOS of every simulated GPU.
    pub fn vbios() -> Self {
        Self::of(VBIOS, &[0, 1, 2])
    }

    /// For these indices the right value, second of two; everything else is not active.
    fn of(version: &'static str, active: &[u8]) -> Self {
        let resource = |index: u8| (active.contains(&index), vec![[0xee; 48], [index; 48]]);
        Self {
            edition: "GPU",
            product: "GH100",
            version,
            resources: (0..MEASUREMENTS).map(resource).collect(),
        }
    }

    /// The document, already in its canonical form, with the certificates of `signer` and of those above it.
    pub(super) fn signed(&self, signer: &Party, above: [&Party; 3]) -> Result<String, SimError> {
        let open = format!(
            "<SoftwareIdentity xmlns=\"{SWID}\" xmlns:ns0=\"{SWID}\" xmlns:ns2=\"{SHA384}\" name=\"SIMULATED\">"
        );
        let content = self.content();
        let document = format!("{open}{content}</SoftwareIdentity>");
        let digest = BASE64_STANDARD.encode(digest(&SHA384_DIGEST, document.as_bytes()));
        let info = format!(
            "<ds:CanonicalizationMethod Algorithm=\"{C14N}\"></ds:CanonicalizationMethod>\
             <ds:SignatureMethod Algorithm=\"{MORE}ecdsa-sha384\"></ds:SignatureMethod>\
             <ds:Reference URI=\"\"><ds:Transforms>\
             <ds:Transform Algorithm=\"{DSIG}enveloped-signature\"></ds:Transform>\
             <ds:Transform Algorithm=\"{C14N}\"></ds:Transform></ds:Transforms>\
             <ds:DigestMethod Algorithm=\"{MORE}sha384\"></ds:DigestMethod>\
             <ds:DigestValue>{digest}</ds:DigestValue></ds:Reference></ds:SignedInfo>"
        );
        // Canonical XML of a part of the document names the namespaces that are in scope there.
        let message = format!(
            "<ds:SignedInfo xmlns=\"{SWID}\" xmlns:ds=\"{DSIG}\" xmlns:ns0=\"{SWID}\" xmlns:ns2=\"{SHA384}\">{info}"
        );
        let value = BASE64_STANDARD.encode(signer.sign(message.as_bytes())?);
        let [inner, outer, root] = above;
        let certificate = |party: &Party| {
            format!("<ds:X509Certificate>{}</ds:X509Certificate>", BASE64_STANDARD.encode(party.der()))
        };
        let certificates = [signer, inner, outer, root].map(certificate).concat();
        Ok(format!(
            "{open}{content}<ds:Signature xmlns:ds=\"{DSIG}\"><ds:SignedInfo>{info}\
             <ds:SignatureValue>{value}</ds:SignatureValue>\
             <ds:KeyInfo><ds:X509Data>{certificates}</ds:X509Data></ds:KeyInfo></ds:Signature></SoftwareIdentity>"
        ))
    }

    fn content(&self) -> String {
        let said = format!(
            "colloquialVersion=\"{}\" edition=\"{}\" product=\"{}\"",
            self.version, self.edition, self.product
        );
        let resources: String = (0_usize..).zip(&self.resources).map(resource).collect();
        format!("<ns0:Meta {said}></ns0:Meta><ns0:Payload>{resources}</ns0:Payload>")
    }
}

fn resource((index, (active, values)): (usize, &(bool, Vec<[u8; 48]>))) -> String {
    let active = if *active { "True" } else { "False" };
    let alternatives = values.len();
    // Attributes in the order of Canonical XML: Hash10 stands before Hash2.
    let mut hashes: Vec<_> = (0_usize..)
        .zip(values)
        .map(|(number, value)| (format!("ns2:Hash{number}"), hex::encode(value)))
        .collect();
    hashes.sort();
    let hashes: String = hashes.iter().map(|(name, value)| format!(" {name}=\"{value}\"")).collect();
    format!(
        "<ns0:Resource active=\"{active}\" alternatives=\"{alternatives}\" index=\"{index}\" size=\"48\" \
         type=\"Measurement\"{hashes}></ns0:Resource>"
    )
}
