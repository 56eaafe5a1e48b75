//! The attestation document: evidence, everything needed to check it, and the runtime statement that it binds.
//!
//! JSON, schema `casemate.attestation/1` (spec/channel.md, CH-7). It carries its endorsements, so checking it needs no
//! network. Parsing believes nothing: the parts go to [`casemate_attest::verify`] and [`crate::statement::check`].

use base64::Engine;
use base64::prelude::BASE64_STANDARD as B64;
use casemate_attest::endorse::Collateral;
use casemate_attest::{Endorsements, Evidence, Platform, Revocation};
use serde::{Deserialize, Serialize};

/// The schema that we read and write.
pub const SCHEMA: &str = "casemate.attestation/1";
/// A larger document is refused before it is parsed; ours are under 64 KiB, most of which is Intel's collateral, and with GPUs
/// some 70 KiB of manifests and 15 KiB for each GPU more, with a virtual TPM its event log.
pub const MAX_LEN: usize = 1024 * 1024;

/// An attestation document as it travels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttestationDocument {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// The platform's name, such as `sev-snp`. A label for people: the evidence decides.
    pub platform: String,
    /// base64 of the evidence, for SEV-SNP the 1184-byte report.
    pub evidence: String,
    /// Certificates and revocation lists, as fetched by the server.
    pub endorsements: DocumentEndorsements,
    /// The runtime statement: the canonical text itself, as a JSON string.
    pub statement: String,
    /// The broker's attestation result (EAR, a JWT) where one was issued, else `null`.
    pub token: Option<String>,
    /// Evidence of the machine's GPUs, where the statement names its digest, else `null`.
    #[serde(deserialize_with = "Option::deserialize")]
    pub devices: Option<DocumentDevices>,
    /// Evidence of the virtual TPM beside the hardware, where the statement names its key, else `null`.
    #[serde(deserialize_with = "Option::deserialize")]
    pub vtpm: Option<DocumentVtpm>,
    /// base64 of the key configurations of the sealed channel (`application/ohttp-keys`), whose digest the statement names, else `null`.
    #[serde(deserialize_with = "Option::deserialize")]
    pub ohttp_keys: Option<String>,
    /// Whose machine it is: the operator's signature over the statement, where there is one, else `null`.
    #[serde(deserialize_with = "Option::deserialize")]
    pub operator: Option<DocumentOperator>,
}

/// An operator's word that a machine is theirs (spec/channel.md §9). Believed by nobody: a client verifies it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DocumentOperator {
    /// base64 of the signing key's SubjectPublicKeyInfo (DER).
    pub spki: String,
    /// base64 of the certificate of this key (DER), and then of those above it; empty where the key stands for itself.
    pub certificates: Vec<String>,
    /// The signature's algorithm, as RFC 8446 §4.2.3 names it.
    pub scheme: String,
    /// base64 of the signature over [`crate::operator::signed_bytes`] of the statement.
    pub signature: String,
}

/// A virtual TPM's evidence and what its provider says of its key. Believed by nobody: [`crate::vtpm`] verifies it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DocumentVtpm {
    /// base64 of the evidence, of Google's an attestation of go-tpm-tools.
    pub evidence: String,
    /// As those of a document whose own evidence it were.
    pub endorsements: DocumentEndorsements,
}

/// The machine's GPUs and what NVIDIA says of them. Believed by nobody: [`crate::devices`] verifies it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DocumentDevices {
    /// One for each device, in any order.
    pub evidence: Vec<DeviceEvidence>,
    /// base64 of answers about revocation (OCSP responses, DER).
    pub ocsp: Vec<String>,
    /// base64 of reference manifests (XML).
    pub rim: Vec<String>,
}

/// A device's own word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceEvidence {
    /// base64 of the attestation report, as the driver delivers it.
    pub report: String,
    /// base64 of the certificate chain (PEM), as the driver delivers it.
    pub chain: String,
}

/// What vendors say about the keys behind the evidence, as far as the server has it. Every member is present; what a
/// platform does not use is `null` or empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DocumentEndorsements {
    /// Of SEV-SNP, also below Azure's virtual TPM.
    #[serde(deserialize_with = "Option::deserialize")]
    pub amd: Option<AmdEndorsements>,
    /// Of TDX, also below Azure's virtual TPM.
    #[serde(deserialize_with = "Option::deserialize")]
    pub intel: Option<Collateral>,
    /// base64 of the certificate of a virtual TPM's attestation key (DER), then of those between it and its provider's
    /// root, from its issuer up.
    pub ak: Vec<String>,
    /// base64 of the revocation lists (DER) of the authorities of a Nitro Enclaves document, or of a GCE virtual TPM's
    /// attestation key, one of each authority, in any order.
    pub crl: Vec<String>,
}

/// AMD's endorsements.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AmdEndorsements {
    /// base64 of the VCEK or VLEK certificate (DER).
    pub vek: String,
    /// base64 of the certificate revocation list (DER).
    pub crl: String,
}

/// Why bytes are not an attestation document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// Longer than [`MAX_LEN`].
    #[error("the attestation document has {len} bytes, more than {MAX_LEN}")]
    TooLong {
        /// Length found.
        len: usize,
    },
    /// Not the JSON that the specification describes.
    #[error("the attestation document is malformed at line {line}, column {column}")]
    Malformed {
        /// Line of the fault, from 1.
        line: usize,
        /// Column of the fault, from 1.
        column: usize,
    },
    /// Another schema.
    #[error("the attestation document has another schema than {SCHEMA}")]
    Schema,
    /// A member is not standard base64.
    #[error("the attestation document's member `{member}` is not base64")]
    Base64 {
        /// The member's name.
        member: &'static str,
    },
    /// The endorsements are not those that the evidence needs.
    #[error("the attestation document's endorsements are not those of {platform}")]
    Endorsements {
        /// Of the evidence.
        platform: Platform,
    },
}

impl DocumentError {
    /// The stable code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLong { .. } => "document.too-long",
            Self::Malformed { .. } => "document.malformed",
            Self::Schema => "document.schema",
            Self::Base64 { .. } => "document.base64",
            Self::Endorsements { .. } => "document.endorsements",
        }
    }
}

impl AttestationDocument {
    /// Assembles a document from its parts.
    pub fn new(
        platform: Platform,
        evidence: &[u8],
        endorsements: DocumentEndorsements,
        statement: String,
        token: Option<String>,
    ) -> Self {
        Self {
            schema: SCHEMA.into(),
            platform: platform.as_str().into(),
            evidence: B64.encode(evidence),
            endorsements,
            statement,
            token,
            devices: None,
            vtpm: None,
            ohttp_keys: None,
            operator: None,
        }
    }

    /// With the key configurations of the sealed channel.
    #[must_use]
    pub fn with_ohttp_keys(self, configurations: Option<&[u8]>) -> Self {
        Self { ohttp_keys: configurations.map(|bytes| B64.encode(bytes)), ..self }
    }

    /// The key configurations of the sealed channel, where there are some.
    ///
    /// # Errors
    /// What is not base64.
    pub fn ohttp_key_bytes(&self) -> Result<Option<Vec<u8>>, DocumentError> {
        self.ohttp_keys.as_ref().map(|text| decode("ohttp_keys", text)).transpose()
    }

    /// With the operator's word that the machine is theirs.
    #[must_use]
    pub fn with_operator(self, operator: Option<DocumentOperator>) -> Self {
        Self { operator, ..self }
    }

    /// With the machine's devices.
    #[must_use]
    pub fn with_devices(self, devices: Option<DocumentDevices>) -> Self {
        Self { devices, ..self }
    }

    /// With the virtual TPM beside the machine's hardware.
    #[must_use]
    pub fn with_vtpm(self, vtpm: Option<DocumentVtpm>) -> Self {
        Self { vtpm, ..self }
    }

    /// Reads a document from the bytes that arrived.
    pub fn parse(bytes: &[u8]) -> Result<Self, DocumentError> {
        if bytes.len() > MAX_LEN {
            return Err(DocumentError::TooLong { len: bytes.len() });
        }
        let document: Self = serde_json::from_slice(bytes)
            .map_err(|e| DocumentError::Malformed { line: e.line(), column: e.column() })?;
        if document.schema != SCHEMA {
            return Err(DocumentError::Schema);
        }
        Ok(document)
    }

    /// The evidence's bytes.
    pub fn evidence_bytes(&self) -> Result<Vec<u8>, DocumentError> {
        B64.decode(&self.evidence).map_err(|_| DocumentError::Base64 { member: "evidence" })
    }

    /// The endorsements of this evidence for [`casemate_attest::verify`]: see [`DocumentEndorsements::of`].
    ///
    /// # Errors
    /// Endorsements that are not exactly those of the evidence's platform, or not base64.
    pub fn endorsements(&self, evidence: &Evidence) -> Result<Endorsements, DocumentError> {
        self.endorsements.of(evidence)
    }
}

impl DocumentOperator {
    /// With this key, the certificates that say whose it is, and its signature.
    pub fn new(spki: &[u8], certificates: &[&[u8]], scheme: &str, signature: &[u8]) -> Self {
        Self {
            spki: B64.encode(spki),
            certificates: certificates.iter().map(|der| B64.encode(der)).collect(),
            scheme: scheme.to_owned(),
            signature: B64.encode(signature),
        }
    }

    /// The key's SubjectPublicKeyInfo (DER).
    ///
    /// # Errors
    /// What is not base64.
    pub fn spki_bytes(&self) -> Result<Vec<u8>, DocumentError> {
        decode("operator.spki", &self.spki)
    }

    /// The certificates (DER), that of the key first.
    ///
    /// # Errors
    /// What is not base64.
    pub fn certificate_bytes(&self) -> Result<Vec<Vec<u8>>, DocumentError> {
        self.certificates.iter().map(|text| decode("operator.certificates", text)).collect()
    }

    /// The signature.
    ///
    /// # Errors
    /// What is not base64.
    pub fn signature_bytes(&self) -> Result<Vec<u8>, DocumentError> {
        decode("operator.signature", &self.signature)
    }
}

impl DocumentVtpm {
    /// Of this evidence, with these endorsements.
    pub fn new(evidence: &[u8], endorsements: DocumentEndorsements) -> Self {
        Self { evidence: B64.encode(evidence), endorsements }
    }

    /// The evidence's bytes.
    ///
    /// # Errors
    /// What is not base64.
    pub(crate) fn evidence_bytes(&self) -> Result<Vec<u8>, DocumentError> {
        decode("vtpm.evidence", &self.evidence)
    }
}

impl DeviceEvidence {
    /// Report and chain.
    ///
    /// # Errors
    /// What is not base64.
    pub(crate) fn bytes(&self) -> Result<(Vec<u8>, Vec<u8>), DocumentError> {
        Ok((decode("devices.evidence.report", &self.report)?, decode("devices.evidence.chain", &self.chain)?))
    }
}

impl DocumentDevices {
    /// With these answers about revocation and manifests, and no device yet.
    pub fn endorsed<'a>(
        ocsp: impl IntoIterator<Item = &'a [u8]>,
        rim: impl IntoIterator<Item = &'a [u8]>,
    ) -> Self {
        let encoded = |bytes: &[u8]| B64.encode(bytes);
        let (ocsp, rim) = (ocsp.into_iter().map(encoded).collect(), rim.into_iter().map(encoded).collect());
        Self { evidence: Vec::new(), ocsp, rim }
    }

    /// With one device more.
    pub fn push(&mut self, report: &[u8], chain: &[u8]) {
        self.evidence.push(DeviceEvidence { report: B64.encode(report), chain: B64.encode(chain) });
    }

    /// The answers about revocation.
    ///
    /// # Errors
    /// What is not base64.
    pub(crate) fn answers(&self) -> Result<Vec<Vec<u8>>, DocumentError> {
        self.ocsp.iter().map(|text| decode("devices.ocsp", text)).collect()
    }

    /// The manifests.
    ///
    /// # Errors
    /// What is not base64.
    pub(crate) fn manifests(&self) -> Result<Vec<Vec<u8>>, DocumentError> {
        self.rim.iter().map(|text| decode("devices.rim", text)).collect()
    }
}

impl DocumentEndorsements {
    /// AMD's endorsements: the VCEK's or VLEK's certificate and its authority's revocation list, both DER.
    pub fn amd(vek: &[u8], crl: &[u8]) -> Self {
        let amd = AmdEndorsements { vek: B64.encode(vek), crl: B64.encode(crl) };
        Self { amd: Some(amd), ..Self::default() }
    }

    /// Intel's collateral.
    pub fn intel(collateral: Collateral) -> Self {
        Self { intel: Some(collateral), ..Self::default() }
    }

    /// The endorsements of this evidence for [`casemate_attest::verify`].
    ///
    /// # Errors
    /// Endorsements that are not exactly those of the evidence's platform, or not base64.
    pub fn of(&self, evidence: &Evidence) -> Result<Endorsements, DocumentError> {
        let platform = evidence.platform();
        let wrong = DocumentError::Endorsements { platform };
        let mut ak = self.ak.iter().map(|text| decode("endorsements.ak", text));
        let lists =
            self.crl.iter().map(|text| decode("endorsements.crl", text)).collect::<Result<Vec<_>, _>>()?;
        if !lists.is_empty() && !matches!(platform, Platform::Nitro | Platform::GceVtpm) {
            return Err(wrong);
        }
        match (platform, &self.amd, &self.intel) {
            (Platform::SevSnp | Platform::AzureVtpm, Some(amd), None) => {
                let crl = Revocation::Crl(decode("endorsements.amd.crl", &amd.crl)?);
                let endorsements = Endorsements::snp(decode("endorsements.amd.vek", &amd.vek)?, crl);
                with_ak(endorsements, platform, ak)
            }
            (Platform::Tdx | Platform::AzureVtpmTdx, None, Some(collateral)) => {
                let collateral = serde_json::to_vec(collateral).map_err(|_| wrong)?;
                with_ak(Endorsements::tdx(collateral), platform, ak)
            }
            (Platform::Nitro, None, None) if ak.len() == 0 => {
                Ok(Endorsements::nitro(Revocation::of_lists(lists)))
            }
            (Platform::GceVtpm, None, None) => {
                // The evidence brings the key's own certificate.
                let intermediates = ak.by_ref().collect::<Result<_, _>>()?;
                Ok(Endorsements::gce_vtpm(intermediates, Revocation::of_lists(lists)))
            }
            _ => Err(wrong),
        }
    }

    /// With the certificates of a virtual TPM's attestation key, in DER.
    #[must_use]
    pub fn with_ak<'a>(self, certificates: impl IntoIterator<Item = &'a [u8]>) -> Self {
        Self { ak: certificates.into_iter().map(|der| B64.encode(der)).collect(), ..self }
    }

    /// With the revocation lists of a Nitro Enclaves document's authorities, or of a GCE attestation key's, in DER.
    #[must_use]
    pub fn with_lists<'a>(self, lists: impl IntoIterator<Item = &'a [u8]>) -> Self {
        Self { crl: lists.into_iter().map(|der| B64.encode(der)).collect(), ..self }
    }
}

/// Only evidence of Azure may have certificates of an attestation key.
fn with_ak(
    endorsements: Endorsements,
    platform: Platform,
    mut ak: impl Iterator<Item = Result<Vec<u8>, DocumentError>>,
) -> Result<Endorsements, DocumentError> {
    match (ak.next().transpose()?, platform) {
        (None, _) => Ok(endorsements),
        (Some(leaf), Platform::AzureVtpm | Platform::AzureVtpmTdx) => {
            Ok(endorsements.with_ak_certificate(leaf, ak.collect::<Result<_, _>>()?))
        }
        (Some(_), _) => Err(DocumentError::Endorsements { platform }),
    }
}

fn decode(member: &'static str, text: &str) -> Result<Vec<u8>, DocumentError> {
    B64.decode(text).map_err(|_| DocumentError::Base64 { member })
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use super::*;
    use casemate_attest::UnixTime;
    use casemate_attest::snp::ProductLine;
    use casemate_sim::{MachineConfig, Vendor};

    /// Keys take seconds to make: one report for all cases.
    static REPORT: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let vendor = Vendor::create(ProductLine::Genoa, UnixTime(1_767_225_600)).unwrap();
        vendor.machine(&MachineConfig::new([7; 48])).unwrap().report(&[1; 64]).unwrap()
    });

    fn document(endorsements: DocumentEndorsements) -> AttestationDocument {
        AttestationDocument::new(Platform::SevSnp, &REPORT, endorsements, "{}".into(), None)
    }

    fn good() -> String {
        serde_json::to_string(&document(DocumentEndorsements::amd(b"v", b"c"))).unwrap()
    }

    fn collateral() -> Collateral {
        let names = [
            "pck_crl",
            "pck_crl_issuer_chain",
            "qe_identity",
            "qe_identity_issuer_chain",
            "qe_identity_signature",
            "root_ca_crl",
            "tcb_info",
            "tcb_info_issuer_chain",
            "tcb_info_signature",
        ];
        let members: serde_json::Map<_, _> =
            names.map(|name| (name.to_owned(), "00".into())).into_iter().collect();
        serde_json::from_value(members.into()).unwrap()
    }

    #[test]
    fn round_trip() {
        let parsed = AttestationDocument::parse(good().as_bytes()).unwrap();
        let evidence = Evidence::parse(&parsed.evidence_bytes().unwrap()).unwrap();
        let expected = Endorsements::snp(b"v".to_vec(), Revocation::Crl(b"c".to_vec()));
        assert_eq!(parsed.endorsements(&evidence).unwrap(), expected);
    }

    #[test]
    fn endorsements_are_exactly_those_of_the_platform() {
        let evidence = Evidence::parse(&REPORT).unwrap();
        let code =
            |endorsements| document(endorsements).endorsements(&evidence).err().map_or("none", |e| e.code());
        let amd = || DocumentEndorsements::amd(b"v", b"c");
        assert_eq!(code(amd()), "none");
        assert_eq!(code(DocumentEndorsements::default()), "document.endorsements");
        assert_eq!(code(DocumentEndorsements::intel(collateral())), "document.endorsements");
        assert_eq!(
            code(DocumentEndorsements { intel: Some(collateral()), ..amd() }),
            "document.endorsements"
        );
        assert_eq!(code(amd().with_ak([&b"a"[..]])), "document.endorsements");
        assert_eq!(code(amd().with_lists([&b"l"[..]])), "document.endorsements");
        assert_eq!(code(DocumentEndorsements { crl: vec!["*".into()], ..amd() }), "document.base64");
    }

    #[test]
    fn one_mistake_each_has_its_code() {
        let edit = |from: &str, to: &str| {
            let (good, edited) = (good(), good().replacen(from, to, 1));
            assert_ne!(good, edited, "{from}");
            edited
        };
        let cases = [
            (edit("casemate.attestation/1", "casemate.attestation/2"), "document.schema"),
            (edit("\"token\"", "\"tokens\""), "document.malformed"),
            (edit(",\"crl\":\"Yw==\"", ""), "document.malformed"),
            (edit(",\"intel\":null", ""), "document.malformed"),
            (edit(",\"ak\":[]", ""), "document.malformed"),
            (edit(",\"crl\":[]", ""), "document.malformed"),
            (edit(",\"devices\":null", ""), "document.malformed"),
            (edit("\"devices\":null", "\"devices\":{\"evidence\":[],\"ocsp\":[]}"), "document.malformed"),
            (edit("\"devices\":null", "\"devices\":[]"), "document.malformed"),
            (edit(",\"vtpm\":null", ""), "document.malformed"),
            (edit("\"vtpm\":null", "\"vtpm\":{\"evidence\":\"\"}"), "document.malformed"),
            (edit("\"ak\":[]", "\"ak\":[],\"arm\":null"), "document.malformed"),
            (edit("{", "[{"), "document.malformed"),
            (String::new(), "document.malformed"),
            (" ".repeat(MAX_LEN + 1), "document.too-long"),
        ];
        for (text, code) in cases {
            assert_eq!(AttestationDocument::parse(text.as_bytes()).unwrap_err().code(), code, "{text:.60}");
        }
        let evidence = Evidence::parse(&REPORT).unwrap();
        let parsed =
            AttestationDocument::parse(edit("\"evidence\":\"", "\"evidence\":\"?").as_bytes()).unwrap();
        assert_eq!(parsed.evidence_bytes().unwrap_err().code(), "document.base64");
        let parsed = AttestationDocument::parse(edit("\"Yw==\"", "\"*\"").as_bytes()).unwrap();
        assert_eq!(parsed.endorsements(&evidence).unwrap_err().code(), "document.base64");
    }
}
