//! What Google's certificate says of the instance: the extension 1.3.6.1.4.1.11129.2.1.21, DER.
//!
//! ```text
//! SEQUENCE {
//!   zone          UTF8String
//!   projectNumber INTEGER
//!   projectId     UTF8String
//!   instanceId    INTEGER
//!   instanceName  UTF8String
//!   [0] SEQUENCE { [0] INTEGER securityVersion, [1] BOOLEAN isProduction, further tagged elements }
//! }
//! ```
//!
//! Source: go-tpm-tools, server/instance_info.go; the recorded certificates have further elements [2] to [5], of which
//! nothing is known, and which are not looked at.

use serde::Serialize;
use thiserror::Error;

use crate::der;
use crate::x509::Certificate;

const INSTANCE_INFO: &str = "1.3.6.1.4.1.11129.2.1.21";

/// Which instance a certificate is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InstanceInfo {
    /// Such as `us-central1-a`.
    pub zone: String,
    /// Of the project.
    pub project_number: u64,
    /// Of the project.
    pub project_id: String,
    /// Of the instance.
    pub instance_id: u64,
    /// Of the instance.
    pub instance_name: String,
    /// Of the virtual TPM.
    pub security_version: u64,
    /// Whether the virtual TPM is one of Google's production.
    pub production: bool,
}

/// Why a certificate does not say which instance it is for.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InstanceInfoError {
    /// It has no such extension.
    #[error("the certificate does not say which instance it is for")]
    Missing,
    /// The extension has another form.
    #[error("what the certificate says of its instance is not understood")]
    Malformed,
}

impl InstanceInfo {
    pub(super) fn of(certificate: &Certificate) -> Result<Self, InstanceInfoError> {
        let value = certificate.extension(INSTANCE_INFO).ok_or(InstanceInfoError::Missing)?;
        Self::parse(value).ok_or(InstanceInfoError::Malformed)
    }

    fn parse(value: &[u8]) -> Option<Self> {
        let rest = der::only(value, der::SEQUENCE)?;
        let (zone, rest) = text(rest)?;
        let (project_number, rest) = number(rest)?;
        let (project_id, rest) = text(rest)?;
        let (instance_id, rest) = number(rest)?;
        let (instance_name, rest) = text(rest)?;
        let security = der::only(der::only(rest, tag(0))?, der::SEQUENCE)?;
        let (version, rest) = der::take(security, tag(0))?;
        let (security_version, nothing) = number(version.content)?;
        let (production, _) = der::take(rest, tag(1))?;
        let production = match der::only(production.content, der::BOOLEAN)? {
            [0x00] => false,
            [0xff] => true,
            _ => return None,
        };
        if !nothing.is_empty() {
            return None;
        }
        Some(Self {
            zone,
            project_number,
            project_id,
            instance_id,
            instance_name,
            security_version,
            production,
        })
    }
}

/// `[n]`, constructed.
const fn tag(number: u8) -> u8 {
    0xa0 | number
}

fn text(input: &[u8]) -> Option<(String, &[u8])> {
    let (element, rest) = der::take(input, der::UTF8_STRING)?;
    let printable = element.content.iter().all(|octet| octet.is_ascii_graphic());
    (printable && !element.content.is_empty()).then_some(())?;
    Some((core::str::from_utf8(element.content).ok()?.to_owned(), rest))
}

fn number(input: &[u8]) -> Option<(u64, &[u8])> {
    let (element, rest) = der::take(input, der::INTEGER)?;
    let octets = der::unsigned(element.content).filter(|octets| octets.len() <= 8)?;
    Some((octets.iter().fold(0, |sum, &octet| (sum << 8) | u64::from(octet)), rest))
}

impl InstanceInfoError {
    /// Stable identifier, for logs, exit codes and tests.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Missing => "gce.instance.missing",
            Self::Malformed => "gce.instance.malformed",
        }
    }
}
